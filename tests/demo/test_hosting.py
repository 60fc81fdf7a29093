"""Where the page is hosted: a GPU lent for moments, a folder that outlives the server, models shared while it runs."""

import gc
import importlib
import pickle
import sys
import weakref
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from toys import refusal, small_model

from bsoftmax import View, class_map
from bsoftmax.cams import view as views
from demo.app import serve
from demo.app.serve import Serving
from demo.compare.handlers import Handlers
from demo.server import gpu, lost_files, permissions, storage
from demo.server.session import Session

MODEL = small_model(("cat", "dog"), branch=False)
X = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class FakeSpaces:
    """As ZeroGPU's package: what goes to the GPU and comes back is pickled, and a lent GPU may be taken away."""

    def __init__(self, chunks):
        self.chunks, self.asked, self.closed = chunks, [], 0

    def GPU(self, duration):
        def decorate(function):
            def lent(*arguments):
                self.asked.append(duration(*arguments))
                try:
                    for n, value in enumerate(function(*pickle.loads(pickle.dumps(arguments)))):
                        if n == self.chunks:
                            raise gr.Error("GPU task aborted")
                        yield pickle.loads(pickle.dumps(value))
                finally:
                    self.closed += 1

            return lent

        return decorate


@pytest.fixture
def lend(monkeypatch):
    """The module as on ZeroGPU, with a GPU that is taken away after some chunks."""

    def lent(chunks, variable="true"):
        spaces = FakeSpaces(chunks)
        monkeypatch.setitem(sys.modules, "spaces", spaces)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # what is lent is the CPU
        monkeypatch.setenv("SPACES_ZERO_GPU", variable)
        return spaces, importlib.reload(gpu)

    yield lent
    monkeypatch.undo()
    importlib.reload(gpu)


@pytest.mark.parametrize("chunks", [99, 1, 0], ids=["to the end", "taken away", "no quota"])
def test_score_cam_runs_on_a_lent_gpu_and_ends_on_the_cpu_without_it(lend, monkeypatch, chunks):
    monkeypatch.setattr(views, "CHUNK", 24)
    spaces, module = lend(chunks)
    view, ticks = View(MODEL, X, module.masked_vectors), []
    weights = {name: p.clone() for name, p in MODEL.named_parameters()}
    S = class_map(view.evidence("softmax", 0), "scorecam", tick=lambda done, total: ticks.append((done, total)))
    assert torch.equal(S, class_map(View(MODEL, X).evidence("softmax", 0), "scorecam"))
    N = view.F.shape[1]
    assert ticks == [(done, N) for done in range(24, N + 1, 24)]
    assert len(spaces.asked) == spaces.closed == 1
    assert all(torch.equal(p, weights[name]) for name, p in MODEL.named_parameters())


def test_a_stop_gives_the_gpu_back_and_the_rest_is_asked_for_anew(lend, monkeypatch):
    monkeypatch.setattr(views, "CHUNK", 24)
    spaces, module = lend(99)
    view = View(MODEL, X, module.masked_vectors)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view.masked(views.ChannelMasks(view.F), stop)
    assert spaces.closed == 1
    masks = views.ChannelMasks(view.F)
    assert torch.equal(view.masked(masks), View(MODEL, X).masked(masks))
    assert len(spaces.asked) == 2


def test_the_time_asked_for_grows_with_passes_and_parameters():
    net = SimpleNamespace(parameters=lambda: [torch.empty(25_000_000, device="meta")])
    masks = views.ChannelMasks(torch.empty(1, 2048, 14, 14, device="meta"))
    assert gpu.seconds(net, X, masks) == 10 + round(2048 * 25 / 2000) == 36
    assert gpu.seconds(net, X, masks, 32) == 10 + round(1024 * 25 / 2000)
    assert gpu.seconds(net, X.expand(9, -1, -1, -1), masks) == gpu.LONGEST


def test_elsewhere_nothing_is_decorated_and_spaces_is_not_needed(lend, monkeypatch):
    assert "spaces" not in sys.modules
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert importlib.reload(gpu).masked_vectors is views.masked_vectors
    spaces, module = lend(99, variable="")  # installed, as on a Space with a CPU
    assert module.masked_vectors is views.masked_vectors
    assert not spaces.asked


@pytest.fixture
def own_gpu(monkeypatch):
    """The module as on a machine with a GPU of its own, which is the CPU here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    module = importlib.reload(gpu)
    monkeypatch.setattr(module, "_device", lambda: "cpu")
    monkeypatch.setattr(views, "CHUNK", 24)
    yield module
    monkeypatch.undo()
    importlib.reload(gpu)


def test_a_gpu_of_the_machine_runs_a_copy_of_the_model_for_as_long_as_the_page_has_it(own_gpu, monkeypatch):
    run, used = views.masked_vectors, []
    monkeypatch.setattr(views, "masked_vectors", lambda model, *more: used.append(model) or run(model, *more))
    for _ in range(2):
        masks = views.ChannelMasks(View(MODEL, X).F)
        assert torch.equal(View(MODEL, X, own_gpu.masked_vectors).masked(masks), View(MODEL, X, run).masked(masks))
    first, again = used
    assert first is again is not MODEL
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), MODEL.parameters()))
    brief = small_model(("cat", "dog"), branch=False)
    view = View(brief, X, own_gpu.masked_vectors)
    view.masked(views.ChannelMasks(view.F))
    copied, used[:] = weakref.ref(used[-1]), []
    del brief, view
    gc.collect()
    assert copied() is None


def test_the_cpu_goes_on_where_the_gpu_is_full(own_gpu, monkeypatch):
    run, used = views.masked_vectors, []

    def full_after_a_chunk(model, x, masks, done=0):
        used.append((model, done))
        for h in run(model, x, masks, done):
            yield h
            if model is not MODEL:
                raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(views, "masked_vectors", full_after_a_chunk)
    masks = views.ChannelMasks(View(MODEL, X).F)
    assert torch.equal(View(MODEL, X, own_gpu.masked_vectors).masked(masks), View(MODEL, X, run).masked(masks))
    assert used[1] == (MODEL, 1)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Neither a Space nor a folder of its own."""
    for name in ("SPACE_ID", "HF_HOME", storage.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(storage, "OF_A_SPACE", str(tmp_path))
    return monkeypatch


def test_a_folder_that_outlives_the_server_is_used_where_there_is_one(nowhere, tmp_path):
    assert storage.folder() is storage.shared_models() is None  # a folder of that name, and not a Space
    storage.keep_hub_cache()
    assert "HF_HOME" not in storage.os.environ
    nowhere.setenv("SPACE_ID", "someone/bsoftmax")
    assert storage.folder() == tmp_path
    assert storage.shared_models() == tmp_path / "models"
    assert (tmp_path / "models").is_dir()
    nowhere.setenv("HF_HOME", "")
    nowhere.delenv("HF_HOME")  # restored at the end
    storage.keep_hub_cache()
    assert storage.os.environ["HF_HOME"] == str(tmp_path / "huggingface")
    nowhere.setattr(storage, "OF_A_SPACE", str(tmp_path / "absent"))
    assert storage.folder() is None
    nowhere.setenv(storage.VARIABLE, str(tmp_path / "models"))
    assert storage.folder() == tmp_path / "models"
    nowhere.setenv(storage.VARIABLE, str(tmp_path / "absent"))
    assert "BSOFTMAX_STORAGE must name a folder that can be written" in refusal(storage.folder)


def test_a_model_shared_while_the_server_runs_is_in_the_menu(nowhere, tmp_path):
    menu = serve.menu(Serving(share_models=str(tmp_path)))
    session = Session(menu)
    handlers, request = Handlers(session), SimpleNamespace(query_params={})
    assert "pets" not in session.model_names()
    MODEL.save(tmp_path / "pets.safetensors")
    MODEL.save(tmp_path / "imagenet.safetensors")  # does not take the place of the bundled one
    assert session.model_names()[-1] == "pets"
    assert handlers.open_link(request)[1].choices[-1] == ("pets", "pets")
    assert session.model("pets").classes == ("cat", "dog")
    assert menu["imagenet"] == "imagenet"
    (tmp_path / "pets.safetensors").unlink()
    assert session.model("pets").classes == ("cat", "dog")  # one that is open stays open
    assert "pets" not in session.model_names()
    assert "no model 'pets'" in refusal(lambda: Session(menu).model("pets"))


def test_what_is_kept_is_shared_without_being_asked_for(nowhere, tmp_path):
    nowhere.setenv(storage.VARIABLE, str(tmp_path))
    menu = serve.menu(Serving())
    MODEL.save(tmp_path / "models" / "pets.safetensors")
    assert "pets" in menu
    assert len(menu) == len(list(menu))


def test_behind_a_proxy_folders_of_this_machine_are_not_read(monkeypatch):
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.delenv("GRADIO_ROOT_PATH", raising=False)
    assert permissions.is_local()
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/bsoftmax")
    assert not permissions.is_local()


@pytest.fixture
def echo(monkeypatch):
    """A server that answers what it was sent, whose own folder is bsoftmax-server-here."""
    monkeypatch.setattr(lost_files.tempfile, "gettempdir", lambda: "/tmp/bsoftmax-server-here")

    async def answer(request):
        return PlainTextResponse(await request.body())

    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(lost_files.LostFiles)]))


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/call/classify", "/gradio_api/run/predict/"])
def test_a_page_of_a_server_that_has_ended_is_told_so(echo, path):
    own, other = ({"data": [{"path": f"/tmp/bsoftmax-server-{name}/cache/a.jpeg"}]} for name in ("here", "gone_-1"))
    assert echo.post(path, json=own).json() == own
    assert echo.post(path, json={"data": []}).status_code == 200
    answer = echo.post(path, json=other)
    assert (answer.status_code, answer.json()["detail"]) == (409, lost_files.SENTENCE)
    assert echo.post(path, content=b"bsoftmax-server-here bsoftmax-server-gone").status_code == 409


def test_other_requests_are_passed_on_unread(echo):
    assert echo.post("/gradio_api/upload", content=b"bsoftmax-server-gone").content == b"bsoftmax-server-gone"
    assert echo.get("/gradio_api/queue/join").status_code == 200


def test_an_address_that_this_server_gave_is_its_file_again(echo):
    def sent(path):
        return echo.post("/gradio_api/call/classify", json={"data": [{"path": path, "url": path}]}).json()["data"][0]

    given = "http://127.0.0.1:7860/gradio_api/file=/tmp/bsoftmax-server-here/cache/a%20b.jpeg"
    assert sent(given) == {"path": "/tmp/bsoftmax-server-here/cache/a b.jpeg", "url": given}
    for other in (
        "http://127.0.0.1:7860/gradio_api/file=/etc/passwd", "https://example.org/lion.jpg", given + "%22%2C",
        given.replace("a%20b", "a%0Ab"),
    ):  # fmt: skip
        assert sent(other)["path"] == other
