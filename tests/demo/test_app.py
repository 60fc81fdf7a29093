"""The page as programs use it: every endpoint."""

from pathlib import Path

import pytest
from demo_made import LION, stored
from gradio_client import Client, handle_file
from toys import small_model

from bsoftmax import METHODS, SOURCES


@pytest.fixture(scope="module")
def client(app):
    return Client(app.local_url, verbose=False)


TRAINING = (
    "open_checkpoint", "bring_zip", "bring_sample", "bring_folder", "add_class", "plan", "train", "stop", "discard",
)  # fmt: skip
EVALUATION = ("evaluate", *(f"evaluate_{n}" for n in ("plan", "zip", "sample", "folder", "look", "stop", "discard")))


def test_every_endpoint_answers(client, session):
    photo, seen = handle_file(LION), {}
    value, _, _ = client.predict(photo, "wild20", "cam", api_name="/compare")
    seen["compare"] = value["info"]["class"] == "lion"
    seen["explain"] = stored(client.predict(photo, "wild20", "lion", "cam", api_name="/explain")).shape == (
        2 * len(SOURCES),
        14,
        14,
    )
    seen["classify"] = client.predict(photo, "wild20", api_name="/classify")["label"] == "lion"
    for name in ("figure_png", "figure_pdf", "maps_npz"):
        path = Path(client.predict(photo, "wild20", "lion", "cam", api_name=f"/{name}"))
        seen[name] = path.stat().st_size > 1000 and path.suffix == "." + name.split("_")[1]
    seen["stand"] = "rms" in client.predict(photo, "wild20", "lion", "cam", api_name="/stand")
    seen["overview"] = (
        len(client.predict(photo, "wild20", "lion", api_name="/overview")["info"]["rows"]) == len(METHODS) - 3
    )  # four methods are one picture on this head
    session._models.get("inception_v3", lambda: small_model(("lion", "tench")))  # a tiny one: a pass for every channel
    rows = client.predict(photo, "inception_v3", "lion", api_name="/overview_slow")["info"]["rows"]
    seen["overview_slow"] = all(cell["map"] is not None for row in rows for cell in row["cells"])
    seen["stop_slow"] = client.predict(api_name="/stop_slow") in ((), None)
    # tried in test_train_browser.py, test_train_parts.py, test_evaluate_browser.py and test_evaluate_tab.py
    seen |= dict.fromkeys((*TRAINING, *EVALUATION), True)
    public = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {f"/{name}" for name in seen} == set(public)
    assert all(seen.values()), seen


def test_an_error_reaches_programs_as_a_sentence(client):
    with pytest.raises(Exception, match="no class 'unicorn'"):
        client.predict(handle_file(LION), "wild20", "unicorn", "cam", api_name="/explain")
