"""The photographs to begin with, and what the page says of a branch that finds several of its classes, or none."""

import json

import gradio as gr
import pytest
from demo_made import LION, SCRIPTS_OF_READOUT, look_at
from PIL import Image
from toys import small_model

from bsoftmax.images.read import read_rgb
from demo.compare import examples
from demo.compare.handlers import Handlers
from demo.compare.present import present


def opened(session, **query):
    return Handlers(session).open_link(type("Request", (), {"query_params": {"model": "wild20", **query}})())


def test_every_example_is_a_photograph_with_a_title_of_its_own(session):
    shown = examples.available()
    assert shown[0].name == "cheetah1.jpg"
    assert len({example.title for example in shown}) == len({example.name for example in shown}) == len(shown) >= 5
    for example in shown:
        assert min(read_rgb(examples.path_of(example.name)).size) >= 200
        assert len(example.title) <= 24


@pytest.mark.parametrize("name", ["cheetah1.jpg", "lion.jpg", "tower.jpg", "two-cats.jpg", "groot.jpeg"])
def test_a_link_opens_an_example_and_is_written_again(session, name):
    photo, *_ = values = opened(session, example=name)
    assert values[3].info["example"] == name
    if name in ("cheetah1.jpg", "lion.jpg", "tower.jpg"):
        assert read_rgb(photo).tobytes() == read_rgb(gr.get_image(name)).tobytes()


def test_an_unknown_example_is_the_first(session):
    assert opened(session, example="../secret.jpg")[3].info["example"] == "cheetah1.jpg"


def test_two_cats_are_a_cheetah_left_and_a_lion_right():
    whole = read_rgb(examples.path_of("two-cats.jpg"))
    half = whole.width // 2
    for name, left in (("cheetah1.jpg", 0), ("lion.jpg", half)):
        alone = read_rgb(gr.get_image(name)).resize((half, whole.height))
        difference = Image.blend(alone, whole.crop((left, 0, left + half, whole.height)), 1.0)
        assert (
            sum(abs(a - b) for a, b in zip(alone.resize((8, 8)).tobytes(), difference.resize((8, 8)).tobytes())) < 1500
        )


# ---- how many classes the branch finds -----------------------------------------------------------------------------


@pytest.fixture(params=[0, 1, 3])
def analysis(request):
    """A model whose branch gives the first `param` of its classes 0.5 or more."""
    model = small_model(("cougar", "lion", "cab", "tench", "tiger"))
    x = model.preprocess(read_rgb(LION))
    model.sigmoid.weight.zero_()
    model.sigmoid.bias.fill_(-0.01)
    model.sigmoid.bias[: request.param] = 0.0  # a probability of exactly 0.5
    return look_at(model, x), request.param


def test_the_page_says_how_many_classes_the_branch_finds(analysis):
    looked, count = analysis
    info = present(looked, 1, "cam").info
    columns = {column["source"]: column for column in info["columns"]}
    p = 1 / (1 + (-looked.view.logits("sigmoid")[0].double()).exp())
    assert int((p >= 0.5).sum()) == count == columns["sigmoid"]["found"]
    words = {0: "none", 1: "1", 3: "3"}[count]
    assert columns["sigmoid"]["found_text"] == f"The branch finds {words} of its 5 classes here."
    assert "found" not in columns["softmax"]
    assert "found" not in columns["log-odds"]
    assert ("finds none" in info["caption"]) == (count == 0)
    json.dumps(info, allow_nan=False)


@pytest.mark.browser
def test_the_browser_says_the_same_of_distorted_logits(page, analysis):
    looked, count = analysis
    logits = looked.view.logits("sigmoid")[0].tolist()
    names = list(looked.model.classes)
    call = "Readout.bars('sigmoid', 'sigmoid', logits, 1, names).found"
    script = f"([logits, names]) => {{ {SCRIPTS_OF_READOUT}; return {call}; }}"
    said = page.evaluate(script, [logits, names])
    assert said == f"The branch finds {count or 'none'} of its 5 classes here."
