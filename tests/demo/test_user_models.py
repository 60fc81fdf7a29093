"""Models of one's own: tokens, who sees them, when they leave, checkpoints brought back, the Hub's refusals."""

from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from demo_made import LION, ask
from safetensors.torch import save_file
from toys import refusal, small_model

from bsoftmax.models import checkpoints
from demo.compare.user_models import UserModelHandlers
from demo.components.canvas import STATIC
from demo.server import push, user_models
from demo.server.session import Session
from demo.server.user_models import UserModels

# ---- own models --------------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def models(clock):
    models = UserModels(removed=lambda token: models.gone.append(token), clock=lambda: clock.now)
    models.gone = []
    return models


def test_tokens_cannot_be_guessed_and_models_are_listed_for_their_owner(models):
    first, second = models.add("anna", "a", Sized()), models.add("ben", "a", Sized())
    assert first.token != second.token
    assert len(first.token) > 20
    assert models.of("anna") == [first]
    assert models.get(second.token) is second  # whoever has the token
    models.remove("anna")
    assert models.gone == [first.token]
    assert "no longer on the server" in refusal(lambda: models.get(first.token))


class Sized:
    """A model of so many parameters."""

    def __init__(self, size=1):
        self.size = int(size)

    def parameters(self):
        return [torch.empty(self.size, device="meta")]


def test_a_session_keeps_its_last_models_and_nobody_elses_leave(models):
    other = models.add("ben", "b", Sized())
    kept = [models.add("anna", str(n), Sized()) for n in range(user_models.MAX_EACH)]
    models.get(kept[0].token)
    for n in range(20):
        models.add(f"stranger {n}", "s", Sized())
    assert models.gone == []
    models.add("anna", "new", Sized())
    assert models.gone == [kept[1].token]
    assert models.get(other.token) is other


def test_where_memory_is_short_only_what_is_long_unused_makes_room(models, clock):
    old = models.add("ben", "b", Sized(user_models.MAX_PARAMETERS * 0.6))
    assert "try again" in refusal(lambda: models.add("anna", "a", Sized(user_models.MAX_PARAMETERS * 0.6)))
    assert models.gone == []
    clock.now = user_models.RECENT_SECONDS + 1
    models.add("anna", "a", Sized(user_models.MAX_PARAMETERS * 0.6))
    assert models.gone == [old.token]


def test_models_leave_after_some_hours(models, clock):
    user_model = models.add("anna", "a", Sized())
    clock.now = user_models.MAX_IDLE_HOURS * 3600 - 1
    models.get(user_model.token)
    clock.now *= 2
    models.get(user_model.token)
    clock.now += user_models.MAX_IDLE_HOURS * 3600 + 1
    refusal(lambda: models.get(user_model.token))
    assert models.gone == [user_model.token]


def test_the_model_trained_last_is_not_the_one_looked_at_last(models):
    first = models.add("anna", "a", Sized(), [("x", "x")])
    last = models.add("anna", "b", Sized(), [("x", "x")])
    models.add("anna", "opened", Sized())
    models.get(first.token)
    assert models.last_trained("anna") is last
    refusal(lambda: models.last_trained("ben"))


# ---- a checkpoint brought back -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_model(("<b>bold</b>", "green")).save(tmp_path_factory.mktemp("own") / "mine.safetensors")


def test_a_checkpoint_opens_for_one_browser(checkpoint):
    handlers = UserModelHandlers(Session())
    update = handlers.open_checkpoint(str(checkpoint), LION, "cam", ask())
    assert update["canvas"].info["model"] == "mine · test_resnet"
    assert {c["source"] for c in update["canvas"].info["columns"]} >= {"softmax", "sigmoid"}
    again = handlers.open_checkpoint(str(checkpoint), None, "cam", ask())
    assert [name for name, _ in again["model"].choices][-2:] == ["mine", "mine (2)"]
    assert "mine" not in [name for name, _ in handlers.menu("ben").choices]


def spoiled(kind, checkpoint, path):
    data = checkpoint.read_bytes()
    if kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "pickle":
        torch.save({"softmax.weight": torch.zeros(2)}, path)
    elif kind == "foreign":
        save_file({"weight": torch.zeros(2)}, path)
    else:
        model = small_model(("a", "b"))
        change = {"nan": lambda w: w.fill_(float("nan")), "shape": lambda w: None}[kind]
        change(model.softmax.weight.data)
        model.save(path)
        if kind == "shape":
            path.write_bytes(path.read_bytes().replace(b"test_resnet", b"resnet10t  "))
    return path


@pytest.mark.parametrize("kind", ["cut", "pickle", "foreign", "nan", "shape"])
def test_a_bad_checkpoint_is_a_sentence(checkpoint, tmp_path, kind):
    handlers = UserModelHandlers(Session())
    path = spoiled(kind, checkpoint, tmp_path / "x.safetensors")
    with pytest.raises(gr.Error) as caught:
        handlers.open_checkpoint(str(path), LION, "cam", ask())
    assert caught.value.message.endswith(".")
    assert len(caught.value.message) < 500
    assert handlers.session.user_models.of("anna") == []


def test_a_link_cannot_name_an_own_model(checkpoint):
    handlers = UserModelHandlers(Session())
    token = handlers.open_checkpoint(str(checkpoint), None, "cam", ask())["opened"]
    with pytest.raises(gr.Error, match="link cannot open"):
        handlers.open_link(SimpleNamespace(query_params={"model": token}))


@pytest.mark.browser
def test_the_address_of_an_own_model_says_nothing_of_it(page):
    script = (STATIC / "components/link.js").read_text(encoding="utf-8")
    call = "([search, info]) => { SCRIPT; return Link.write(search, {channels: []}, false, info); }"
    info = {"model_name": None, "class": "boat", "method": "cam", "example": None}
    made = page.evaluate(call.replace("SCRIPT", script), ["?model=wild20&class=lion&x=1", info])
    assert made == "?x=1&method=cam"


# ---- the Hub -----------------------------------------------------------------------------------------------------


def test_the_hubs_refusal_never_quotes_the_token(monkeypatch):
    model = small_model(("a", "b"))
    sent = []
    monkeypatch.setattr(push, "_reach", lambda: None)
    monkeypatch.setattr(type(model), "push_to_hub", lambda self, name, token: sent.append((name, token)))
    assert push.push(model, " me/mine ", " hf_secret ").endswith("/me/mine")
    assert sent == [("me/mine", "hf_secret")]

    def refuse(self, name, token):
        raise RuntimeError(f"401 for {token}")

    monkeypatch.setattr(type(model), "push_to_hub", refuse)
    for repository, token in (("me/mine", "hf_secret"), ("mine", "hf_secret"), ("me/../x y", "hf_secret"), ("a/b", "")):
        assert "hf_secret" not in refusal(lambda r=repository, t=token: push.push(model, r, t))


def test_a_brought_checkpoint_of_a_giant_is_refused_before_it_is_built(tmp_path):
    path = small_model(("a", "b")).save(tmp_path / "m.safetensors")
    tensors, meta = checkpoints.read(path)
    checkpoints.write(path, tensors, {**meta, "trunk": "vit_giant_patch14_clip_224"})
    assert "million parameters" in refusal(lambda: user_models.load_checkpoint(path))
