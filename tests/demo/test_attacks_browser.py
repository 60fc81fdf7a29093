"""Words of others in a real browser: nothing is fetched from elsewhere, and no foreign element is drawn."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from toys import small_model

from bsoftmax.models import checkpoints

pytestmark = pytest.mark.browser


@pytest.fixture
def listener():
    """A server on the loopback, and the paths that anybody asked it for."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def markup(address):
    return (
        f'<img class="foreign" src="{address}/picture"><form class="foreign" action="{address}/form"><input></form>'
        f'<a class="foreign" href="{address}/link">x</a><style>@import "{address}/style";</style>'
        f'<iframe class="foreign" src="{address}/frame"></iframe><svg class="foreign" onload="window.hit=1"></svg>'
        f"![x]({address}/markdown) [y]({address}/markdown)"
    )


def untouched(page, asked):
    page.wait_for_timeout(600)
    assert page.locator(".foreign").count() == 0
    assert page.evaluate("window.hit") is None
    assert asked == []


@pytest.mark.parametrize("name", ["class", "model", "method", "example"])
def test_a_link_draws_and_fetches_nothing(name, browse, app, listener):
    address, asked = listener
    page = browse(f"{app.local_url}?{name}={quote(markup(address))}", "#compare [data-ready]")
    if name in ("class", "model"):
        toast = page.wait_for_selector(".toast-body").inner_text()
        assert f"choose one under {name.capitalize()}" in toast
        assert "foreign" not in toast
        assert address not in toast
    untouched(page, asked)


@pytest.fixture(scope="module")
def page(app, browse_long):
    """One page that is brought all checkpoints."""
    page = browse_long(app.local_url, "#compare [data-ready]")
    page.locator("#controls .label-wrap", has_text="Model").click()
    return page


@pytest.mark.parametrize("field", ["trunk", "format", "class"])
def test_a_checkpoint_draws_and_fetches_nothing(field, page, browse_long, listener, tmp_path):
    address, asked = listener
    tensors, meta = checkpoints.read(small_model(("a", "b")).save(tmp_path / "m.safetensors"))
    change = {"classes": [markup(address)[:400], "b"]} if field == "class" else {field: markup(address)[:400]}
    path = checkpoints.write(tmp_path / "m.safetensors", tensors, {**meta, **change})
    with page.expect_file_chooser() as chooser:
        page.click("#open-checkpoint")
    chooser.value.set_files(str(path))
    if field == "class":
        page.wait_for_selector("text=<img class=")
    else:
        assert "<img" in page.wait_for_selector(".toast-body").inner_text()  # as text
        page.locator(".toast-close").click()
        page.wait_for_selector(".toast-body", state="detached")
    untouched(page, asked)
    assert not browse_long.errors
