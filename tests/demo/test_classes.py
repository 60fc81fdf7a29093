"""The menu of classes: its order, its other names, and a search of it in the browser."""

import numpy as np
import pytest
from demo_made import LION, look_at
from toys import small_model

from bsoftmax.images.read import read_rgb
from bsoftmax.models.backbones import class_names
from demo.compare.classes import LONGEST, label, ranked_classes
from demo.compare.handlers import Handlers

NAMES = ("cougar", "lion", "cab", "golf_ball", "jaguar", "tench", "tiger", "zebra")


@pytest.fixture(scope="module")
def model():
    return small_model(NAMES)


def test_the_first_five_come_first_and_the_rest_by_the_alphabet(model):
    analysis = look_at(model, model.preprocess(read_rgb(LION)))
    order = np.argsort(-analysis.view.logits("softmax")[0].numpy())
    entries = ranked_classes(analysis)
    assert [k for _, k in entries[:5]] == order[:5].tolist()
    rest = [NAMES[k] for _, k in entries[5:]]
    assert sorted(rest) == rest
    assert sorted(k for _, k in entries) == list(range(len(NAMES)))
    assert {k: text for text, k in entries}[2] == "cab (hack, taxi, taxicab)"
    assert {k: text for text, k in entries}[3] == "golf ball"


def test_a_label_holds_what_fits_and_nothing_twice():
    assert label("crane (bird)", ("crane",)) == "crane (bird)"
    text = label("cougar", ("puma", "x" * LONGEST, "panther"))
    assert text == "cougar (puma, panther)"


def test_a_menu_of_a_thousand_classes_stays_small():
    from demo.compare import classes

    entries = classes._alphabetical(class_names(1000, native=True))
    assert len({text for text, _ in entries}) == 1000
    assert max(len(text) for text, _ in entries) <= LONGEST
    assert sum(len(text) for text, _ in entries) < 30_000  # fetched once for a model


def test_handlers_take_a_synonym_and_show_the_short_name(session, model):
    session._models.get("efficientnet_lite0", lambda: model)
    value = Handlers(session).explain(LION, "efficientnet_lite0", "Mountain lion", "cam")
    assert value.info["class"] == "cougar"
    bars = {bar["name"] for column in value.info["columns"] for bar in column["bars"]}
    assert bars <= {name.replace("_", " ") for name in NAMES}


@pytest.mark.browser
def test_the_menu_is_searched_by_another_name(browse, app, session, model):
    session._models.get("efficientnet_lite0", lambda: model)
    page = browse(f"{app.local_url}?model=efficientnet_lite0&example=lion.jpg&class=taxi", "#compare")
    page.wait_for_function("document.querySelector('#compare')?.innerText.includes('Evidence for cab')")
    page.wait_for_function("document.querySelector('#class input').value.startsWith('cab (')")
    box = page.locator("#class input")
    box.click()
    box.fill("")
    box.press_sequentially("puma", delay=60)
    page.wait_for_function("document.querySelectorAll('li[role=option]').length === 1")
    box.press("Enter")
    page.wait_for_function("document.querySelector('#compare').innerText.includes('Evidence for cougar')")
    assert box.input_value() == "cougar (puma, catamount, mountain lion, painter, panther)"
