"""One trunk run serves every question, nothing is left behind, and what explain takes and refuses."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
import torch
from looks_made import K, close, model_of
from torch import nn
from toys import HEADS, C, N, counted, hooks, images, refusal, toy

from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.methods import METHODS, class_map, explain, identical_by_construction, unavailable
from bsoftmax.cams.sources import SOURCES
from bsoftmax.cams.view import View

GAP = [m for m in METHODS if unavailable(model_of("gap"), m) is None]


# --- one pass, nothing left behind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", HEADS)
def test_a_batch_equals_its_images_one_by_one(method, head):
    model, x, k = model_of(head), images(4, seed=3), torch.tensor([0, 2, 2, 4])
    if unavailable(model, method) or (head == "token" and method == "deeplift"):  # found out: test_pixels.py
        return
    for source in SOURCES:
        S = explain(model, x, k, method, source)
        for b in range(4):
            close(explain(model, x[b : b + 1], k[b : b + 1], method, source)[0], S[b])


@pytest.mark.parametrize("head", ["gap", "mlp", "token"])
def test_one_trunk_run_serves_every_quick_method_source_and_class(head):
    model, x = model_of(head), images(3)
    quick = [m for m in METHODS if not METHODS[m].slow and unavailable(model, m) is None]
    assert len(quick) >= 7
    with counted(model) as calls:
        view = View(model, x)
        view.logits("softmax"), view.logits("sigmoid")
        for method, source, k in product(quick, SOURCES, (0, 4)):
            class_map(view.evidence(source, k), method)
    assert calls == [3]


@pytest.mark.parametrize("method", [m for m in GAP if not METHODS[m].slow])
def test_explaining_runs_the_trunk_once(method):
    model = model_of("gap")
    with counted(model) as calls:
        explain(model, images(2), None, method)
    assert calls == [2]


@pytest.mark.parametrize("batch", [1, 2])
def test_score_cam_runs_the_trunk_once_a_channel_for_all_sources_and_classes(batch):
    model = model_of("mlp")
    with counted(model) as calls:
        view = View(model, images(batch))
        maps = [class_map(view.evidence(s, k), "scorecam") for s, k in product(SOURCES, (0, 1, 4))]
    assert sum(calls) == batch * (N + 1)
    assert not torch.allclose(maps[0], maps[1])
    assert METHODS["scorecam"].slow
    assert [m for m in METHODS if METHODS[m].slow and not METHODS[m].more] == ["scorecam"]


def test_perturbing_in_chunks_changes_nothing_and_reports_progress(monkeypatch):
    model, x = model_of("mlp"), images()
    for method in ("scorecam", "ablationcam"):
        whole = explain(model, x, K, method)
        monkeypatch.setattr("bsoftmax.cams.view.CHUNK", 4)
        seen = []
        view = View(model, x)
        tick = lambda done, of, seen=seen: seen.append((done, of))
        close(class_map(view.evidence("sigmoid", K), method, tick=tick), whole)
        monkeypatch.undo()
        assert seen == [(4, 12), (6, 12), (10, 12), (12, 12)]


def test_an_interrupted_score_cam_goes_on_where_it_was(monkeypatch):
    model, x = model_of("mlp"), images()
    whole = explain(model, x, K, "scorecam")
    monkeypatch.setattr("bsoftmax.cams.view.CHUNK", 4)
    view = View(model, x)

    def interrupted(done, of):
        if done == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        class_map(view.evidence("sigmoid", K), "scorecam", tick=interrupted)
    assert not view.has("channels")
    with counted(model) as calls:
        close(class_map(view.evidence("sigmoid", K), "scorecam"), whole)
    assert sum(calls) == 6  # the other image's


@pytest.mark.parametrize("method", GAP)
def test_what_was_asked_before_does_not_show_in_the_next_answer(method):
    """One view keeps weights by method: clamp, source, class and head must not leak from one question to another."""
    model, x = model_of("gap"), images()
    shared = View(model, x)
    evidence = {(s, k): shared.evidence(s, k) for s in SOURCES for k in (0, 3)}
    for clamp in (True, False, None, True):
        for (source, k), asked in evidence.items():
            close(class_map(asked, method, clamp), explain(model, x, k, method, source, clamp))


@pytest.mark.parametrize("method", [m for m in GAP if m != "rise"])  # which asks a branch for sigmoids
def test_another_classifier_may_stand_in_for_the_sources_own(method):
    model, x = model_of("gap"), images()
    view = View(model, x)
    own = class_map(view.evidence("softmax", K), method, clamp=True)
    guest = class_map(view.evidence("softmax", K, model.sigmoid), method, clamp=True)
    close(guest, class_map(View(model, x).evidence("sigmoid", K), method, clamp=True))
    assert METHODS[method].class_free or not torch.allclose(own, guest)


@pytest.mark.parametrize("method", GAP)
def test_explaining_leaves_model_features_and_image_untouched(method):
    model, x = toy("gap"), images()
    model.requires_grad_(True)  # the hardest case: everything could receive a gradient
    state, image = {k: v.clone() for k, v in model.state_dict().items()}, x.clone()
    view = View(model, x)
    F = view.F.clone()
    for source in SOURCES:
        S = class_map(view.evidence(source, K), method)
        assert not S.requires_grad
        assert S.grad_fn is None
    assert not view.F.requires_grad
    assert torch.equal(view.F, F)
    assert torch.equal(x, image)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert hooks(model) == 0


def test_the_hook_counter_counts():
    layer = nn.Sequential(nn.Linear(1, 1))
    layer[0].register_forward_hook(lambda *_: None)
    assert hooks(layer) == 1


def test_explaining_works_where_gradients_are_switched_off():
    model, x = model_of("mlp"), images()
    with torch.no_grad():
        S = explain(model, x, K, "gradcam")
    close(S, explain(model, x, K, "gradcam"))


def test_eight_threads_on_one_view_give_what_one_gives():
    model, x = toy("mlp"), images()
    jobs = [(m, s, k) for m in METHODS if unavailable(model, m) is None for s in SOURCES for k in (0, 3)]
    ask = lambda view, job: class_map(view.evidence(job[1], job[2]), job[0])
    alone = [ask(View(model, x), job) for job in jobs]
    shared = View(model, x)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: ask(shared, job), jobs))
        apart = list(pool.map(lambda job: explain(model, x, job[2], job[0], job[1]), jobs))
    for expected, one, other in zip(alone, together, apart):
        close(one, expected, 1e-12)
        close(other, expected, 1e-12)


# --- what explain takes, and refuses ----------------------------------------------------------------------------------


def test_the_class_explained_by_default_is_the_one_softmax_predicts():
    model, x = model_of("gap"), images(4)
    p, s = (model(x)[branch].argmax(1) for branch in ("softmax", "sigmoid"))
    assert (p != s).any()
    close(explain(model, x), explain(model, x, p))
    close(explain(model, x), explain(model, x, p, "cam", "sigmoid", True))  # the paper's map is the default


def test_a_class_may_be_one_number_for_all_images():
    model, x = model_of("gap"), images(3)
    close(explain(model, x, 2), explain(model, x, torch.tensor([2, 2, 2])))
    assert explain(model, x, 0).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"method": "gradcamm"}, "gradcamm"),
        ({"source": "softmin"}, "softmin"),
        ({"k": C}, f"from 0 to {C - 1}"),
        ({"k": -1}, f"from 0 to {C - 1}"),
        ({"k": torch.tensor([0, 99])}, "99"),
        ({"k": torch.tensor([0, 1, 2])}, "one each, got [0, 1, 2]"),
        ({"k": 1.5}, "1.5"),
    ],
)
def test_bad_questions_are_refused_with_one_sentence(asked, named):
    assert named in refusal(lambda: explain(model_of("gap"), images(), **asked))


def test_a_method_that_the_head_does_not_allow_is_refused():
    for head in ("mlp", "token", "norm", "pooled mlp"):
        assert "Grad-CAM" in refusal(lambda head=head: explain(model_of(head), images(), 0, "cam"))
        assert unavailable(model_of(head), "gradcam") is None
    assert {m for m in METHODS if m not in GAP} == {"rollout", "tscam"}


def test_without_a_branch_the_sigmoid_source_is_refused_and_the_others_work():
    model = toy("gap", branch=False)
    assert "log-odds" in refusal(lambda: explain(model, images(), 0))
    for source in ("softmax", "log-odds"):
        close(explain(model, images(), 0, "gradcam", source), explain(toy("gap"), images(), 0, "gradcam", source))


def test_refusals_of_the_registry_name_what_there_is():
    assert all(key in refusal(lambda: cam_methods.find("x")) for key in METHODS)
    assert "softmin" in refusal(lambda: identical_by_construction(model_of("gap"), "softmin"))
