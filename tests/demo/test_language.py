"""The page in the visitor's language: the catalogues, whose language a sentence is in, and the page as it is sent."""

import ast
import threading
from types import SimpleNamespace

import messages
import pytest
from gradio.context import LocalContext

from bsoftmax.utils import language
from demo.components.inputs import error_notices
from demo.language import catalogue, sources
from demo.language.catalogue import FIELD, LANGUAGES, translated
from demo.language.visitor import OfVisitors, current, language_of, preferred, speaking

# whose errors are for those who run the page, or write for it
OPERATORS, PROGRAMS = ("serve", "storage", "permissions", "canvas"), "api"
OTHERS = [tag for tag in LANGUAGES if tag != catalogue.DEFAULT]


@pytest.fixture(scope="module", params=OTHERS)
def entries(request):
    """{English text: its translation} of a catalogue."""
    found = {}
    for message in catalogue.catalogue(request.param):
        if message.id:
            forms = message.id if isinstance(message.id, tuple) else (message.id,)
            strings = message.string if isinstance(message.string, tuple) else (message.string,)
            found |= {form: " ".join(strings) if all(strings) else "" for form in forms}
    return found


def fields(text):
    return sorted({match[0] for match in FIELD.finditer(text)})


def test_every_text_that_the_page_translates_is_in_the_catalogue(entries):
    asked = {text for tree in messages.SPEAKING.values() for text in messages.asked(tree)}
    missing = [text for text in sorted({*asked, *messages.static()}) if not entries.get(text)]
    assert not missing


def test_every_error_that_the_page_raises_is_in_the_catalogue(entries):
    known = {messages.normal(text) for text in entries}
    for path, tree in messages.of_demo().items():
        missing = {text for text in messages.raised(tree) if messages.normal(text) not in known}
        assert not missing or path.stem in OPERATORS or path.parent.name == PROGRAMS, path


def test_every_entry_is_translated_with_the_same_fields_and_markup(entries):
    for english, words in entries.items():
        assert words, english
        assert fields(words) == fields(english), english
        assert sorted(set(sources.ATTRIBUTE.findall(words))) == sorted(set(sources.ATTRIBUTE.findall(english)))
        assert english.count("<") == words.count("<"), english


def test_no_entry_is_left_over(entries):
    known, example = messages.everything(), messages.example()
    left = [english for english in entries if messages.normal(english) not in known]
    assert not [english for english in left if not catalogue.pattern(english).search(example)]


def test_no_module_that_translates_uses_the_name_for_something_else():
    for path, tree in messages.SPEAKING.items():
        names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "_")
        stored = [node.lineno for node in names if isinstance(node.ctx, ast.Store)]
        assert not stored, f"{path}: the name _ is given away in the lines {stored}"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"), ("en-US,en;q=0.9,ko;q=0.8", "en"), ("fr-FR, ko;q=0.5, en;q=0.4", "ko"),
        ("fr", "en"), ("", "en"), ("ko;q=0, en;q=0.1", "en"), ("ko;q=x", "en"), ("*", "en"), ("KO", "ko"),
    ],
)  # fmt: skip
def test_the_first_known_language_of_the_browser_is_the_visitors(header, expected):
    assert preferred(header) == expected
    assert language_of({"accept-language": header}, {}) == expected
    assert language_of({"accept-language": header}, {"lang": "ko"}) == "ko"
    assert language_of({"accept-language": header}, {"lang": "en"}) == "en"
    assert language_of({"accept-language": header}, {"lang": "xx"}) == expected


def asks(header):
    return SimpleNamespace(headers={"accept-language": header}, query_params={}, session_hash="anna")


@error_notices
def answer(started: threading.Barrier):
    started.wait(10)
    return language.gettext("No map.")


def test_visitors_at_once_are_answered_each_in_their_own_language():
    language.use(OfVisitors())
    started, said = threading.Barrier(3), {}

    def visit(header):
        LocalContext.request.set(asks(header) if header else None)
        said[header] = answer.__wrapped__(started)

    threads = [threading.Thread(target=visit, args=(header,)) for header in ("ko-KR", "en-US", "")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert said == {"ko-KR": "맵이 없습니다.", "en-US": "No map.", "": "No map."}


def test_files_are_in_english_whoever_asks():
    token = LocalContext.request.set(asks("ko"))
    assert current() == "ko"
    with speaking("en"):
        assert current() == "en"
    LocalContext.request.reset(token)
    assert current() == "en"


def test_a_sentence_that_is_made_already_finds_its_template():
    asked = (
        "One photograph, one pass: left, what raises the softmax logit of {x}; "
        "right, what the sigmoid branch counts as evidence for {x}."
    )
    assert "tabby {cat}" in translated(asked.replace("{x}", "tabby {cat}"), "ko")
    assert translated(asked.replace("{x}", "lion", 1), "ko") == asked.replace("{x}", "lion", 1)  # the two must agree
    assert translated("The branch finds none of its 20 classes here.", "ko").count("20") == 1
    assert translated("logit −3.21", "ko") == "로짓 −3.21"
    for unknown in ("Nobody says this.", "12.5", "", "가나다"):
        assert translated(unknown, "ko") == unknown
    assert translated("No map.", "en") == "No map."


def test_sources_are_rewritten_where_they_speak_and_nowhere_else():
    say = {"Box": "박스", "an <b>x</b>": "<b>x</b> ㄱ", "it's": 'ㄴ"'}.get
    html = '<p><i>+</i></p><div title="Box">\n <span>an\n <b>x</b></span><input> <em>Box</em></div>'
    told = sources.html(html, lambda text: say(text, text))
    assert told == '<p><i>+</i></p><div title="박스">\n <span><b>x</b> ㄱ</span><input> <em>박스</em></div>'
    script = "const f = (_, i) => i; g_('Box'); _('it\\'s', { a: _('Box') });"
    told = sources.script(script, lambda text: say(text, text))
    assert told == 'const f = (_, i) => i; g_(\'Box\'); _("ㄴ\\"", { a: _("박스") });'
    assert sources.style('a { content: "Box "; } b { content: "·"; }', lambda text: say(text, text)).count("박스 ") == 1
