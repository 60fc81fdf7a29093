"""The Evaluate tab as people and programs use it: in a real browser and through the API, mostly with a stand-in."""

from functools import partial

import pytest
from demo_made import HITS, SHOTS, guided, until

from demo.workspace import jobs

REAL, TAB = jobs.PROGRAM, "Evaluate"


@pytest.fixture
def visit(visit_tab):
    """Opens the Evaluate tab in browsers of their own; nothing may fail in any of them."""
    return partial(visit_tab, tab="Evaluate")


def ready(page):
    page.wait_for_selector("#evaluate-samples img")
    page.wait_for_function("!document.querySelector('#evaluate-go').disabled")


def bring(page, path):
    """Once for a page: a zip stays until another is chosen."""
    if not page.locator("#evaluate-go").is_enabled():
        page.set_input_files("#evaluate-zip input[type=file]", path)
        ready(page)


def done(page):
    page.wait_for_selector("#evaluate-verdict table")
    page.wait_for_function("!document.querySelector('#evaluate-go').disabled")


def unfold(page):
    """Opens what lies behind the small tables: every metric."""
    page.locator("#evaluate-full > button").click()
    page.wait_for_selector("#evaluate-table table")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_from_a_zip_to_the_table_and_names_are_only_text(visit, stayed, colours, child, tmp_path, width, scheme):
    child.setenv("FAKE_GATE", str(tmp_path / "gate"))
    page = stayed if scheme == "light" else visit(width, scheme)
    guided(page, "evaluate", "#evaluate-zip")
    bring(page, colours)
    assert not page.locator("#evaluate-guide").is_visible()
    assert "Localisation is left out" in page.locator("#evaluate-preview").inner_text()
    assert HITS in page.locator("#evaluate-samples").inner_text()
    page.locator("#evaluate-preview summary").first.click()
    assert HITS in page.locator("#evaluate-preview").inner_text()
    page.locator("#evaluate-go").click()
    page.wait_for_selector("#evaluate-status table")  # fills while it runs
    (tmp_path / "gate").touch()
    done(page)
    assert page.locator("#evaluate-table:visible").count() == 0
    assert "softmax not): better. Average Drop" in page.locator("#evaluate-verdict .strong").last.inner_text()
    assert page.locator("#evaluate-verdict .best").all_inner_texts() == ["30.0"]
    page.wait_for_function("document.querySelector('#evaluate-forest img').naturalWidth > 0")
    unfold(page)
    assert "no source and no clamp differs" in page.locator("#evaluate-table .strong").inner_text()
    page.locator("#evaluate-group").get_by_text("Fidelity").click()
    page.wait_for_selector("#evaluate-table >> text=by Average Drop and against softmax unclamped:")
    assert page.locator("#evaluate-table .whisker").count() == 7  # CAM = Grad-CAM, all but the baseline
    assert (
        HITS
        in page.locator("#evaluate-best, #evaluate-worst").first.inner_text()
        + page.locator("#evaluate-worst").inner_text()
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#evaluate-command textarea").input_value() == "bsoftmax evaluate colours.zip"
    for button, name in (
        ("results-md", "results.md"), ("results-csv", "results.csv"), ("results-json", "results.json"),
        ("evaluation-zip", "evaluation.zip"),
    ):  # fmt: skip
        with page.expect_download() as download:
            page.locator(f"#evaluate-{button}").click()
        assert download.value.suggested_filename == name
    page.locator("#evaluate-protocol button").first.click()
    page.wait_for_selector("#evaluate-how table")
    page.screenshot(path=SHOTS / f"evaluate-{width}.png", full_page=True)
    page.locator("#evaluate-best button:has(img)").first.click()
    page.wait_for_selector("#compare:visible")
    assert page.evaluate("window.hit === undefined")


@pytest.mark.browser
def test_a_failure_is_a_sentence_and_the_page_lives(stayed, colours, child):
    child.setenv("FAKE_JOB", "error")
    page = stayed
    page.locator("#evaluate-trained").click()
    page.wait_for_selector("text=Nothing has been trained here yet")
    bring(page, colours)
    page.locator("#evaluate-go").click()
    page.wait_for_selector("#evaluate-status .error:has-text('name them alike')")
    page.wait_for_function("!document.querySelector('#evaluate-go').disabled")
    assert page.locator("#evaluate-verdict:visible").count() == 0
    child.setenv("FAKE_JOB", "done")
    page.locator("#evaluate-go").click()
    done(page)


@pytest.mark.browser
def test_two_browsers_the_second_waits_and_sees_nothing_of_the_first(visit, stayed, colours, child):
    child.setenv("FAKE_JOB", "slow")
    first, second = stayed, visit(apart=True)
    for page in (first, second):
        bring(page, colours)
        page.locator("#evaluate-go").click()
        if page is first:
            page.wait_for_selector("#evaluate-status table")
    second.wait_for_selector("text=Waiting: 1 job ahead of yours.")
    first.locator("#evaluate-stop").click()
    done(first)
    assert "Stopped early" in first.locator("#evaluate-verdict").inner_text()
    second.wait_for_selector("#evaluate-status table")
    second.locator("#evaluate-discard").click()
    second.wait_for_selector("text=Discarded; your images are still here.")
    second.wait_for_function("!document.querySelector('#evaluate-go').disabled")
    second.wait_for_timeout(1000)
    assert second.locator("#evaluate-verdict:visible").count() == 0


@pytest.mark.browser
def test_a_closed_tab_leaves_nothing_behind(stayed, colours, child):
    child.setenv("FAKE_JOB", "slow")
    started = []
    start = jobs.Job.__init__
    child.setattr(jobs.Job, "__init__", lambda self, *a: started.append(self) or start(self, *a))
    page = stayed
    bring(page, colours)
    page.locator("#evaluate-go").click()
    until(lambda: started)
    page.wait_for_selector("#evaluate-status table")
    (job,) = started
    page.close()
    until(lambda: not job.running and not job.folder.parent.parent.exists())
    assert not job.running
    assert not job.folder.parent.parent.exists()


@pytest.mark.browser
def test_what_was_trained_is_measured_on_its_own_images_with_one_click(visit, colours):
    page = visit(tab="Train")
    page.set_input_files("#zip input[type=file]", colours)
    page.wait_for_function("!document.querySelector('#train-go').disabled")
    page.locator("#train-go").click()
    page.wait_for_selector("#result table")
    page.get_by_role("tab", name="Evaluate").click()
    page.locator("#evaluate-trained").click()
    ready(page)
    text = page.locator("#evaluate-preview").inner_text()
    assert "3 images, of val." in text  # a fifth of six, of each of three classes
    assert "Model: colours, both heads." in text
    page.locator("#evaluate-go").click()
    done(page)
    unfold(page)
    page.locator("#evaluate-group").get_by_text("Fidelity").click()
    page.locator("#evaluate-best button:has(img)").first.click()
    page.wait_for_selector("#compare:visible")
    page.wait_for_function("/colours/.test(document.querySelector('#compare').innerText)")
    page.wait_for_timeout(1000)  # nothing that comes later may bring the first model back
    assert "colours" in page.locator("#compare").inner_text()


@pytest.mark.browser
def test_the_sample_set_is_measured_by_the_real_command(visit, child, forks):
    child.setattr(jobs, "PROGRAM", (*forks, *REAL[1:]))
    page = visit()
    page.set_default_timeout(120_000)
    page.locator("#evaluate-sample").click()
    ready(page)
    page.locator("#evaluate-settings button").first.click()
    page.locator("#evaluate-limit input").fill("2")
    page.locator("#evaluate-explain input").click()
    page.get_by_role("option", name="The predicted class").click()
    page.wait_for_selector("#evaluate-preview >> text=Localisation, explaining the predicted class")
    page.wait_for_selector("#evaluate-preview >> text=2 of 60 images")
    page.locator("#evaluate-go").click()
    done(page)
    verdict = page.locator("#evaluate-verdict").inner_text()
    assert "2 images of sample" in verdict
    assert "The paper's step (branch clamped, softmax not): " in verdict
    assert "CAM = Grad-CAM = XGrad-CAM = HiRes-CAM" in verdict
    page.wait_for_function("document.querySelector('#evaluate-forest img').naturalWidth > 1000")
    page.screenshot(path=SHOTS / "evaluate-verdict.png", full_page=True)
    unfold(page)
    assert "On these 2 images" in page.locator("#evaluate-table").inner_text()
    assert page.locator("#curve-box_accuracy:visible, #curve-precision_recall:visible").count() == 2
    assert page.locator("#evaluate-command textarea").input_value().split("\n") == [
        "bsoftmax sample sample",
        "bsoftmax evaluate sample --limit 2 --split val --explain predicted --batch 8 --out evaluation",
    ]
    page.screenshot(path=SHOTS / "evaluate-real.png", full_page=True)
