"""The page in Korean: its labels, what handlers answer, reports, and a browser that asks for it."""

import copy
import re
import urllib.request

import pytest
from demo_made import LION
from gradio_client import Client, handle_file
from results_made import FOUND, contrast, measured

from bsoftmax import METHODS
from bsoftmax.evaluation.metrics import METRICS
from bsoftmax.models import backbones, zoo
from bsoftmax.reports.verdict import unfinished
from bsoftmax.utils import language
from demo.evaluate.results import Evaluation
from demo.evaluate.table import comparison_table, verdict
from demo.language.page import TEXTS, in_language
from demo.language.visitor import OfVisitors, speaking
from demo.server.lost_files import SENTENCE
from demo.workspace.progress import JobProgress

HANGUL, ENGLISH = re.compile("[가-힣]"), re.compile(r"[A-Za-z]{3,}")
NAMES = {  # what is the same in every language
    *(m.label for m in METHODS.values()), *(word for m in METRICS.values() for word in re.findall(r"[\w-]+", m.title)),
    *zoo.names(), *backbones.BACKBONES, *zoo.bundled(), "bsoftmax", "Turbo", "Viridis", "Inferno", "Jet", "CSV", "JSON",
    "Markdown", "English", "SGD", "BFGS", "Oh and Noh",
}  # fmt: skip
OF_GRADIO = (  # what it says in English whatever the browser's language
    r"Stop Recording|More tabs|Remove Image|File upload|Upload file|Capture from camera|Paste from clipboard|"
    r"localization|fidelity|curves|"  # the values of boxes, as their titles
    r"Thumbnail \d+ of \d+|Gradio footer navigation|Click to upload or drop files|(number input|range slider) for .*"
)
CHOICES = ("class", "model", "method", "set-trunk", "evaluate-methods")  # menus of names


def english(text):
    """The English words of a text that are no names."""
    for name in sorted(NAMES, key=len, reverse=True):
        text = text.replace(name, "")
    return ENGLISH.findall(text)


def test_every_label_of_every_component_is_translated_and_no_value_changes(app):
    before = [component for component in app.config["components"] if component["props"].get("visible", True)]
    after = in_language({"components": copy.deepcopy(before)}, "ko")["components"]
    for old, new in zip(before, after):
        kind, props, spoken = old["type"], old["props"], new["props"]
        shown = [spoken[name] for name in TEXTS if isinstance(spoken.get(name), str)]
        shown += [spoken["value"]] if kind == "button" and spoken["value"] else []
        if props.get("choices") and props.get("elem_id") not in CHOICES:
            shown += [label for label, _ in spoken["choices"]]
        assert not [text for text in shown if english(text) and not HANGUL.search(text)], props.get("elem_id")
        if "choices" in props:
            assert [value for _, value in props["choices"]] == [value for _, value in spoken["choices"]]
            assert props.get("value") == spoken.get("value")
        assert props.get("elem_id") == spoken.get("elem_id")


def fetched(app, path="", header=""):
    request = urllib.request.Request(app.local_url + path, headers={"Accept-Language": header})
    with urllib.request.urlopen(request) as answer:
        assert "Accept-Language" in answer.headers["Vary"]
        return answer.read().decode()


def test_the_page_is_sent_in_the_language_of_the_browser_or_of_its_address(app):
    english, korean = fetched(app, header="en-GB,ko;q=0.5"), fetched(app, header="ko-KR,ko;q=0.9,en;q=0.8")
    assert '<html\n\tlang="en"' in english
    assert not HANGUL.search(english.replace("한국어", ""))
    assert '<html\n\tlang="ko"' in korean
    assert "소프트맥스 헤드" in korean
    assert "navigator" not in korean.partition("window.gradio_config")[0]
    assert len(korean.encode()) < 1.1 * len(english.encode())
    asked = fetched(app, "?lang=ko", "en")
    assert 'Object.defineProperty(navigator, "language", { value: "ko" })' in asked
    assert asked.count("소프트맥스 헤드") == korean.count("소프트맥스 헤드")
    assert "소프트맥스 헤드" in fetched(app, "config", "ko")
    assert "소프트맥스 헤드" not in fetched(app, "?lang=en", "ko")


def test_handlers_answer_in_the_language_of_the_caller(app):
    client = Client(app.local_url, verbose=False, headers={"Accept-Language": "ko"})
    photo = handle_file(LION)
    info = client.predict(photo, "wild20", "cam", api_name="/page_compare")[0]["info"]
    assert info["columns"][0]["title"] == "소프트맥스 헤드"
    assert "사진 한 장, 순전파 한 번" in info["caption"]
    assert info["class"] == "lion"
    with pytest.raises(Exception, match="이 모델의 클래스 20개 중에 'unicorn'이"):
        client.predict(photo, "wild20", "unicorn", "cam", api_name="/page_explain")
    assert "클래스 평균 행의 노름" in client.predict(photo, "wild20", "lion", "cam", api_name="/page_stand")


def test_a_call_that_names_a_lost_file_is_refused_in_the_callers_language(app):
    body = b'{"data": ["/tmp/bsoftmax-server-gone/a.png"], "session_hash": "x", "fn_index": 0}'
    headers = {"Accept-Language": "ko", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{app.local_url}gradio_api/queue/join", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    words = refused.value.read().decode()
    assert "서버가 종료되어" in words
    assert SENTENCE not in words


@pytest.fixture
def korean():
    language.use(OfVisitors())
    with speaking("ko"):
        yield


def test_reports_are_in_korean_but_for_names(korean):
    asked = [
        contrast("cam", "the paper's step: branch clamped, softmax not", average_drop=(-25, -20, -15)),
        contrast("gradcam++", "the paper's step: branch clamped, softmax not", average_drop=(-1, 0, 1)),
        contrast("cam", "no training: log-odds clamped, softmax not", average_drop=(-3, -1, 1)),
    ]
    columns = [*FOUND["columns"], measured("eigencam", ("softmax", False), 41, "average_drop")]
    found = {**FOUND, "contrasts": asked, "columns": columns, "complete": False, "asked": 90, "data": {"source": "1"}}
    found |= {"notes": ["The data has no boxes and no masks, so that localisation is left out."]}
    found |= {"unreadable": [["1", "it is empty"]], "best": {"cam/sigmoid/on": ["average_drop"]}}
    told = Evaluation(found).summary()
    said = [unfinished(found), verdict(found, "average_drop")]
    for block in [*told, comparison_table(found, "average_drop")]:
        said += [block.get(key, "") for key in ("text", "title", "caption")]
        said += [*block.get("items", []), *block.get("head", [])]
        said += [cell["text"] if isinstance(cell, dict) else str(cell) for row in block.get("rows", []) for cell in row]
    left = {word for text in said for word in english(text)} - {"contrasts", "results", "csv", "Holm"}
    assert not left
    assert sum(map(bool, map(HANGUL.search, said))) > 20


def test_progress_tells_of_a_child_in_korean(korean):
    progress = JobProgress()
    progress.update([{"event": "progress", "done": 3, "total": 10}])
    progress.title = "Reading the data set"
    assert progress.blocks()[0]["text"] == "데이터셋을 읽고 있습니다 …"
    assert progress.blocks()[1]["text"].startswith("10 중 3, 약 ")
    message = "'a.zip' is not a zip, or was cut off on its way: make it again and bring the whole file."
    progress.update([{"event": "error", "message": message}])
    assert "전송 중에 잘렸습니다" in progress.blocks()[0]["text"]


TABS = {  # and what appears in them
    "모든 기법": "#grid [data-ready]", "학습": "#preview .report p", "평가": "text=평가할 이미지",
    "소개": "text=왜 헤드가 둘인가",
}  # fmt: skip
LEFT = """() => {
  const out = new Set();
  const skip = '.class, .scores .name, .meta .model, code, pre, em, #examples *, .nav-holder *, script, style';
  const page = document.querySelector('.gradio-container');
  const walk = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode())
    if (!node.parentElement.closest(skip)) out.add(node.textContent.trim());
  for (const node of page.querySelectorAll('*:not(.name)'))
    for (const name of ['aria-label', 'title', 'alt', 'placeholder', 'aria-valuetext'])
      out.add(node.getAttribute(name) ?? '');
  return [...out].filter((text) => /[A-Za-z]{3}/.test(text) && !/[가-힣]/.test(text));
}"""


@pytest.mark.browser
def test_a_korean_browser_reads_no_english_but_names(chromium, app):
    context = chromium.new_context(locale="ko-KR", viewport={"width": 1280, "height": 900})
    page, errors = context.new_page(), []
    page.set_default_timeout(90_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(app.local_url)
    page.wait_for_selector("#compare [data-distort-ready]")
    assert page.evaluate("document.documentElement.lang").startswith("ko")
    page.locator("#compare [data-view=difference]").check(force=True)
    page.locator("#compare .brighten").click()
    page.wait_for_function(
        "document.querySelector('.explanation').textContent.includes('확률은 전혀 변하지 않았습니다')"
    )
    assert not page.locator(".nav-holder").is_visible()  # Gradio's menu of pages is hidden
    left = set(page.evaluate(LEFT))
    for tab, ready in TABS.items():
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(ready)
        left |= set(page.evaluate(LEFT))
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert not errors
    cited = {method.paper for method in METHODS.values()}
    assert not {text for text in left if english(text) and text not in cited and not re.fullmatch(OF_GRADIO, text)}
