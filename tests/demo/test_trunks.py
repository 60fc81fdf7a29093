"""The trunks of the page: those who wait share a pass, nobody gets another's features, and folding changes none."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from timm.layers import BatchNormAct2d
from torch import nn
from toys import ToyTrunk, images, refusal, small_model, toy

from demo.server import trunks
from demo.server.lanes import StoppedError
from demo.server.session import Session
from demo.server.trunks import BATCH, TrunkLane, faster


class Gate:
    """A model whose passes begin when they are let go; `passes` are the sizes of those begun."""

    def __init__(self, model, fails=False):
        self.model, self.trunk, self.fails = model, model.trunk, fails
        self.passes, self.open = [], threading.Semaphore(0)

    def features(self, x):
        self.passes.append(len(x))
        assert self.open.acquire(timeout=20)
        if self.fails:
            raise RuntimeError("no memory")
        return self.model.features(x)


@pytest.fixture
def visitors():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def waiting(lane, count):
    until(lambda: len(lane._waiting) == count)


def crowd(lane, gate, visitors, count):
    """One photograph in its pass and `count` that wait, of sessions "0", "1", ...: what each will get."""
    photographs = [images(1, seed=n) for n in range(count + 1)]
    asked = [visitors.submit(lane.features, gate, photographs[0], "first")]
    until(lambda: gate.passes)
    for n, x in enumerate(photographs[1:]):
        asked.append(visitors.submit(lane.features, gate, x, str(n)))
        waiting(lane, n + 1)
    return photographs, asked


@pytest.mark.parametrize("head", ["gap", "token"])
def test_those_who_wait_share_a_pass_and_each_gets_its_own(visitors, head):
    lane, gate = TrunkLane(most=8), Gate(toy(head))
    photographs, asked = crowd(lane, gate, visitors, 5)
    gate.open.release(2)
    for x, future in zip(photographs, asked):
        for got, alone in zip(future.result(20), gate.model.features(x)):
            assert got is alone is None or torch.allclose(got, alone, rtol=1e-12, atol=1e-12)
            assert got is None or got.untyped_storage().nbytes() == alone.untyped_storage().nbytes()
    assert gate.passes == [1, 5]


def test_a_pass_has_a_limit_and_the_longest_wait_is_first(visitors):
    lane, gate = TrunkLane(most=2), Gate(toy())
    _, asked = crowd(lane, gate, visitors, 5)
    gate.open.release(2)
    for future in asked[:3]:
        future.result(20)
    assert not any(future.done() for future in asked[3:])
    gate.open.release(2)
    for future in asked[3:]:
        future.result(20)
    assert gate.passes == [1, 2, 2, 1]
    assert BATCH > 2


def test_models_do_not_share_passes(visitors):
    lane, gate, other = TrunkLane(), Gate(toy()), Gate(toy(seed=1))
    _, asked = crowd(lane, gate, visitors, 2)
    x = images(1, seed=9)
    theirs = visitors.submit(lane.features, other, x)
    waiting(lane, 3)
    gate.open.release(2)
    other.open.release(1)
    assert torch.equal(theirs.result(20)[0], other.model.features(x)[0])
    assert [future.result(20)[0].shape[0] for future in asked] == [1, 1, 1]
    assert (gate.passes, other.passes) == ([1, 2], [1])


def test_who_leaves_is_not_computed(visitors):
    lane, gate = TrunkLane(), Gate(toy())
    _, asked = crowd(lane, gate, visitors, 3)
    lane.leave("1")
    assert "closed" in refusal(lambda: asked[2].result(20), StoppedError)
    lane.leave("nobody")
    lane.leave("first")  # whose pass has begun
    gate.open.release(2)
    assert all(asked[n].result(20)[0].shape[0] == 1 for n in (0, 1, 3))
    assert gate.passes == [1, 2]


def test_an_error_ends_its_pass_alone(visitors):
    lane, gate, sound = TrunkLane(), Gate(toy(), fails=True), Gate(toy())
    _, asked = crowd(lane, gate, visitors, 2)
    gate.open.release(2)
    for future in asked:
        with pytest.raises(RuntimeError, match="no memory"):
            future.result(20)
    sound.open.release(1)
    assert lane.features(sound, images(1))[0].shape[0] == 1


def test_ten_visitors_get_their_own_answers_and_a_shared_photograph_one_pass(visitors, tmp_path):
    session, model = Session({"small": "small"}), small_model(("lion", "tench", "cab"))
    session._models.get("small", lambda: model)
    paths = [tmp_path / f"{n}.png" for n in range(8)]
    for n, path in enumerate(paths):
        Image.effect_noise((64 + n, 48), 80).save(path)
    passes, features = [], model.features
    session.trunks._faster[model] = None
    model.features = lambda x: passes.append(len(x)) or features(x)
    asked = [visitors.submit(session.analysis, path, "small") for path in [*paths, paths[0], paths[0]]]
    found = [future.result(20) for future in asked]
    assert found[0] is found[8] is found[9]
    assert sum(passes) == len(paths)
    for path, analysis in zip(paths, found):
        with Image.open(path) as image:
            assert analysis.image.size == image.size
            alone = features(model.preprocess(image.convert("RGB")))[0]
        torch.testing.assert_close(analysis.view.F, alone, rtol=1e-4, atol=1e-5)


# ---- folding -------------------------------------------------------------------------------------------------------


def test_a_network_with_batchnorm_keeps_its_features_and_is_left_alone():
    model = small_model(("lion", "tench"))
    before = model.frozen_hash()
    x = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    F, tokens = faster(model)(x)
    expected, _ = model.features(x)
    torch.testing.assert_close(F, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert tokens is None
    assert not F.requires_grad
    assert model.frozen_hash() == before


def test_it_is_recorded_as_one_call_for_batches_of_any_size():
    model, x = small_model(("lion", "tench")), torch.randn(5, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    run = faster(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", lambda *_: pytest.fail("a layer was called from Python"))
        found = [run(x[:n]) for n in range(1, 6)]
    for n, (F, tokens) in enumerate(found, 1):
        expected, _ = model.features(x[:n])
        torch.testing.assert_close(F, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        assert tokens is None


class OfOne(nn.Module):
    """A network that looks at the first image of a batch alone."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x[:1])


def test_what_cannot_be_recorded_runs_layer_by_layer(monkeypatch):
    model, x = small_model(("lion", "tench")), torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    expected, _ = model.features(x)

    def refused(*_, **__):
        raise RuntimeError("not of this version")

    real = torch.jit.trace
    kept = lambda net, x, **more: real(OfOne(net), x, **more)
    for trace in (refused, kept):
        monkeypatch.setattr(torch.jit, "trace", trace)
        F, _ = faster(model)(x)
        torch.testing.assert_close(F, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_what_has_no_batchnorm_or_is_large_is_not_copied(monkeypatch):
    assert faster(toy()) is None
    monkeypatch.setattr(trunks, "MOST_PARAMETERS", 10)
    assert faster(small_model(("lion", "tench"))) is None


class Backwards(ToyTrunk):
    """BatchNorm that stands behind a convolution and runs before it."""

    def __init__(self, broken=False):
        super().__init__()
        self.norm = nn.BatchNorm2d(6) if broken else BatchNormAct2d(3)
        self.net = nn.Sequential(nn.Conv2d(3, 3, 1), self.norm, self.net) if not broken else self.net
        self.broken = broken
        self.eval()

    def forward(self, x):
        if self.broken:
            raise RuntimeError("not here")
        first, norm, rest = self.net
        return rest(first(norm(x))), None


@pytest.mark.parametrize("broken", [False, True])
def test_a_copy_that_answers_otherwise_is_not_used(broken):
    model = toy(double=False)
    model.trunk = Backwards(broken)
    model.trunk.norm.running_mean += 1
    assert faster(model) is None
