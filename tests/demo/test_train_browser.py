"""The Train tab as people and programs use it: in a real browser and through the API, mostly with a stand-in child."""

from functools import partial

import pytest
from demo_made import HITS, SHOTS, guided, until
from toys import coloured, small_model

from bsoftmax.data.sample import sample_zip
from demo.workspace import data_handlers, jobs

REAL, TAB = jobs.PROGRAM, "Train"


@pytest.fixture
def visit(visit_tab):
    """Opens the Train tab in browsers of their own; nothing may fail in any of them."""
    return partial(visit_tab, tab="Train")


def bring(page, path):
    page.set_input_files("#zip input[type=file]", path)
    page.wait_for_selector("#samples img")
    page.wait_for_function("!document.querySelector('#train-go').disabled")


def compared(page):
    """What the Compare tab says once it shows a model of one's own."""
    page.wait_for_selector("#compare:visible")
    page.wait_for_function("/colours|sample/.test(document.querySelector('#compare').innerText)")
    return page.locator("#compare").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_from_a_zip_to_both_heads_and_names_are_only_text(visit, stayed, colours, width, scheme):
    page = stayed if scheme == "light" else visit(width, scheme)
    assert "A zip may have up to" in page.locator("#limits").inner_text()
    guided(page, "train", "#zip")
    bring(page, colours)
    assert not page.locator("#train-guide").is_visible()
    assert HITS in page.locator("#preview").inner_text()
    assert HITS in page.locator("#samples").inner_text()
    page.screenshot(path=SHOTS / f"train-{width}-preview.png", full_page=True)
    page.locator("#train-go").click()
    page.wait_for_selector("#curves:visible")
    page.wait_for_selector("#result table")
    assert HITS in page.locator("#result").inner_text()
    assert "100.0 %" in page.locator("#result").inner_text()
    assert page.locator("#result table").count() == 2
    assert page.locator("#command textarea").input_value().startswith("bsoftmax train colours.zip")
    page.wait_for_function("!document.querySelector('#train-go').disabled")
    page.screenshot(path=SHOTS / f"train-{width}-done.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button, suffix in (("#get-checkpoint", ".safetensors"), ("#get-card", ".md")):
        with page.expect_download() as download:
            page.locator(button).click()
        assert download.value.suggested_filename == f"colours{suffix}"
    page.locator("#see").click()
    text = compared(page)
    assert "Softmax head" in text
    assert "Sigmoid branch" in text
    page.wait_for_timeout(1000)  # nothing that comes later may bring the first model back
    assert "colours" in compared(page)
    assert page.locator("#own-examples img").count() >= 3
    assert "colours" not in page.url
    assert "own-" not in page.url
    assert page.evaluate("window.hit === undefined")


@pytest.mark.browser
def test_a_picture_the_heads_disagree_on_opens_in_compare(stayed, colours):
    page = stayed
    if not page.locator("#differing img").count():
        bring(page, colours)
        page.locator("#train-go").click()
    page.wait_for_selector("#differing img")
    page.locator("#differing button:has(img)").first.click()
    compared(page)
    for tab, pictures, nth in (("Compare", "#own-examples", -1), ("Train", "#differing", 0)):
        page.get_by_role("tab", name=tab).click()
        turn = int(page.eval_on_selector("#compare [data-ready]", "e => e.dataset.ready"))
        page.locator(f"{pictures} button:has(img)").nth(nth).click()
        page.wait_for_function(f"Number(document.querySelector('#compare [data-ready]').dataset.ready) > {turn}")
        assert "colours" in compared(page)
    page.get_by_role("tab", name="All methods").click()
    page.wait_for_selector("#grid [data-ready]")


@pytest.mark.browser
def test_a_checkpoint_can_be_dragged_back_in(stayed, tmp_path):
    path = small_model((HITS, "green")).save(tmp_path / "mine.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(path.read_bytes()[:1000])
    page = stayed
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Model").first.click()
    page.set_input_files("input[type=file][accept*=safetensors]", tmp_path / "broken.safetensors")
    page.wait_for_selector("text=not a readable safetensors file")
    page.set_input_files("input[type=file][accept*=safetensors]", path)
    page.wait_for_function("document.querySelector('#compare').innerText.includes('mine · test_resnet')")
    assert page.locator("#model input").input_value() == "mine"
    assert page.evaluate("window.hit === undefined")


@pytest.mark.browser
def test_a_failed_training_is_a_sentence_and_the_page_lives(visit, colours, child):
    child.setenv("FAKE_JOB", "kill")
    page = visit()
    bring(page, colours)
    page.locator("#train-go").click()
    page.wait_for_selector("#status .error:has-text('want of memory')")
    page.wait_for_function("!document.querySelector('#train-go').disabled")
    child.setenv("FAKE_JOB", "done")
    page.locator("#train-go").click()
    page.wait_for_selector("#result table")


@pytest.mark.browser
def test_two_browsers_the_second_waits_and_sees_nothing_of_the_first(visit, colours, child):
    child.setenv("FAKE_JOB", "slow")
    first, second = visit(apart=True), visit(apart=True)
    for page in (first, second):
        bring(page, colours)
        page.locator("#train-go").click()
        if page is first:
            page.wait_for_selector("#curves:visible")
    second.wait_for_selector("text=Waiting: 1 job ahead of yours.")
    first.locator("#train-stop").click()
    first.wait_for_selector("#result table")
    second.wait_for_selector("#curves:visible")
    second.locator("#train-discard").click()
    second.wait_for_selector("text=Discarded; your images are still here.")
    second.wait_for_function("!document.querySelector('#train-go').disabled")
    second.wait_for_timeout(1000)
    assert second.locator("#result:visible").count() == 0
    assert "Discarded" in second.locator("#status").inner_text()
    second.get_by_role("tab", name="Compare").click()
    second.get_by_role("button", name="Model").first.click()
    second.locator("#model input").click()
    assert "colours" not in second.get_by_role("listbox").inner_text()


@pytest.mark.browser
def test_a_closed_tab_leaves_nothing_behind(visit, colours, child):
    child.setenv("FAKE_JOB", "slow")
    started = []
    start = jobs.Job.__init__
    child.setattr(jobs.Job, "__init__", lambda self, *a: started.append(self) or start(self, *a))
    page = visit()
    bring(page, colours)
    page.locator("#train-go").click()
    page.wait_for_selector("#curves:visible")
    (job,) = started
    page.close()
    until(lambda: not job.running and not job.folder.parent.parent.exists())
    assert not job.running
    assert not job.folder.parent.parent.exists()


@pytest.mark.browser
def test_classes_brought_one_by_one_and_a_notice_that_names_one_runs_nothing(visit, tmp_path):
    root = coloured(tmp_path, {"all": 4})
    page = visit()
    page.get_by_role("tab", name="Class by class").click()

    def add(name, colour):
        page.fill("#class-name input, #class-name textarea", name)
        page.set_input_files("#class-files input[type=file]", sorted((root / "all" / colour).iterdir()))
        page.wait_for_selector("#class-files >> text=0.png")
        page.locator("#add-class").click()

    add(HITS, "red")
    page.wait_for_selector("#preview >> text=Add at least one more class.")
    page.wait_for_selector("#class-files >> text=0.png", state="detached")  # else the emptying takes the new ones too
    add(HITS, "green")
    page.wait_for_selector("text=There is a class")
    assert page.evaluate("window.hit === undefined")
    page.fill("#class-name input, #class-name textarea", "green")
    page.locator("#add-class").click()
    page.wait_for_selector("#preview table")
    assert HITS in page.locator("#preview table").inner_text()
    page.wait_for_function("!document.querySelector('#train-go').disabled")
    assert page.evaluate("window.hit === undefined")


@pytest.mark.browser
def test_the_sample_set_is_trained_by_the_real_command(visit, child, forks):
    child.setattr(jobs, "PROGRAM", (*forks, *REAL[1:]))
    child.setattr(data_handlers, "sample_zip", lambda path: sample_zip(path, per_class=3))
    page = visit()
    page.set_default_timeout(120_000)
    page.locator("#use-sample").click()
    page.wait_for_selector("#preview table")
    page.wait_for_function("!document.querySelector('#train-go').disabled")
    page.locator("#train-go").click()
    page.wait_for_selector("#result table")
    assert page.locator("#command textarea").input_value().split("\n") == [
        "bsoftmax sample sample", "bsoftmax train sample --classes own --out sample.safetensors",
    ]  # fmt: skip
    page.screenshot(path=SHOTS / "train-real.png", full_page=True)
    page.locator("#see").click()
    text = compared(page)
    assert "sample · " in text
    assert "Sigmoid branch" in text
    assert page.locator("#compare .marks").is_visible()
