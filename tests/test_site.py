"""The documentation site is built without a warning, has what the docs have, and its pages fetch nothing."""

import ast
import re

import pytest
from paths import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by name; a broken link, an unknown name or a page that the menu lacks is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    pages = folder.rglob("*.html")
    return {path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8") for path in pages}


def test_every_page_of_docs_is_there(site):
    docs = ROOT / "docs"
    assert {p.relative_to(docs).with_suffix("").as_posix() for p in docs.rglob("*.md")} | {"404"} == site.keys()


def test_pages_fetch_nothing(site):
    for name, page in site.items():
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\">\s]+)", page)
        fetched += re.findall(r"<link[^>]*rel=\"?(?:stylesheet|icon|preconnect)[^>]*href=\"?([^\">\s]+)", page)
        assert fetched, name
        assert not [url for url in fetched if re.match(r"(https?:)?//", url)], name


def test_what_github_unfolds_is_rendered(site):
    assert "| --- |" not in site["results"]
    assert site["results"].count("<details") == (ROOT / "docs" / "results.md").read_text(encoding="utf-8").count(
        "<details"
    )
    assert "mermaid" not in site["architecture"].split("<article")[1]
    assert re.search(r"<code>cams</code></td>\s*<td>View, sources", site["architecture"])


@pytest.mark.parametrize("package", re.findall(r"^## (\S+)", (ROOT / "docs" / "reference.md").read_text(), re.M))
def test_the_reference_has_every_public_name(site, package):
    text = (ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    for name in ast.literal_eval(re.search(r"^__all__ = (\[.*?\])", text, re.M | re.S)[1]):
        places = (f"{package}.{name}", f"{package}.{name}.{name}")  # a function may have the name of its module
        assert any(f'id="{place}"' in site["reference"] for place in places), name
