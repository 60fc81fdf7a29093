"""The tour, the story of Fig. 1, the teacher's mode and what hands do, in one page of a phone."""

from pathlib import Path

import pytest
from demo_made import LION, SHOTS

READY = "#compare [data-distort-ready]"
DELTA = "input[type=range][data-distort=delta]"


@pytest.fixture(scope="module")
def page(app, browse_long):
    """A phone's page, opened by a teacher's link that plays; no motion is wanted."""
    small = {"width": 390, "height": 844}
    page = browse_long(f"{app.local_url}?teach=1&play=fig1", READY, True, small, reduced_motion="reduce")
    page.wait_for_selector(".tour-card")
    return page


def said(page):
    return page.locator(".tour-card").inner_text()


@pytest.mark.browser
def test_a_link_plays_the_story_until_it_is_the_visitors_turn(page):
    assert page.get_by_role("dialog", name="The story of Fig. 1").is_visible()
    assert "cheetah" in said(page)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play", exact=True).wait_for()
    for shows in ("Fig. 1 (a)", "Fig. 1 (b)", "The branch", "Your turn"):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f".tour-card h2 >> text={shows}")
        if shows == "Fig. 1 (b)":  # computed: the answer stays, the map turns over
            page.wait_for_function("Number(document.querySelector('[data-out=dp]').dataset.value) < 1e-5")
            page.wait_for_function("/correlation −1.00/.test(document.querySelector('.tour-card .facts').textContent)")
        if shows == "The branch":
            page.wait_for_function("/0.99 → <0.01/.test(document.querySelector('.tour-card .facts').textContent)")
        card = page.locator(".tour-card").bounding_box()
        assert card["x"] >= 0
        assert card["x"] + card["width"] <= 390
    page.screenshot(path=SHOTS / "teach-390.png")
    page.keyboard.press("Escape")
    page.wait_for_selector(".tour-card", state="detached")
    assert page.evaluate(f"document.activeElement.matches('{DELTA}')")
    assert "play=" not in page.url
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_the_teachers_mode_keeps_photograph_class_and_two_sliders(page):
    shown = [s for s in ("#photo", "#class", DELTA, "input[type=range][data-distort=flip]") if page.is_visible(s)]
    assert len(shown) == 4
    for hidden in ("#examples", "#method", "#compare .tools", "#compare .pills", "#compare .presets"):
        assert not page.is_visible(hidden)
    page.get_by_role("button", name="Leave teacher's mode").click()
    assert page.is_visible("#method")
    assert "teach=" not in page.url


@pytest.mark.browser
def test_the_tour_is_three_steps_and_the_visitors_own_photograph(page, browse_long):
    link = page.locator("#compare .show")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".tour-card h2 >> text=Look")
    assert page.get_by_role("dialog", name="The tour").is_visible()
    assert page.evaluate("document.activeElement.textContent") == "Next"
    assert page.evaluate("document.querySelector('.frames').matches('.tour-part')")
    for n, shows in ((2, "Distort"), (3, "Who is right?")):
        page.keyboard.press("Enter")
        page.wait_for_selector(f".tour-card h2 >> text={shows}")
        assert f"{n} of 3" in said(page)
        page.wait_for_selector(".distorted:visible")
        if shows == "Distort":  # the slider that moves is not behind the card
            ends = "(part) => document.querySelector(part).getBoundingClientRect()"
            page.wait_for_function(f"({ends})('.tour-part').bottom <= ({ends})('.tour-card').top")
    page.keyboard.press("Enter")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photograph").click()
    assert chooser.value.element.evaluate("input => Boolean(input.closest('#photo'))")
    page.keyboard.press("Escape")
    page.wait_for_selector(".tour-card", state="detached")
    assert page.evaluate("document.activeElement.matches('.show')")
    assert page.locator(".distorted:visible").count() == 0
    assert not browse_long.errors


def test_nothing_of_it_is_fetched_before_it_is_asked_for(app):
    config = str(app.get_config_file())
    assert "tour.js" in config
    assert "tour-card" not in config


# ---- hands: on the same page ---------------------------------------------------------------------------------------

FILE = "new File([Uint8Array.from(bytes)], 'lion', {type: 'image/jpeg'})"
HELD = f"const held = new DataTransfer(); held.items.add({FILE});"


def explained(page, word):
    page.wait_for_function(f"document.querySelector('#compare .topic .class').textContent === '{word}'")


@pytest.mark.browser
def test_a_photograph_may_be_pasted_anywhere_and_dropped(page, browse_long):
    lion = list(Path(LION).read_bytes())
    paste = "document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: held, bubbles: true}));"
    photo, drop = "document.querySelector('#photo img')", "new DragEvent('drop', {dataTransfer: held, bubbles: true})"
    for how in (paste, f"{photo}.dispatchEvent({drop});"):
        page.locator("#examples button").first.click()
        explained(page, "cheetah")
        page.evaluate(f"bytes => {{ {HELD} {how} }}", lion)
        explained(page, "lion")
    assert not browse_long.errors


@pytest.mark.browser
def test_a_finger_moves_a_slider_and_one_that_scrolls_does_not(page):
    hand, slider = page.context.new_cdp_session(page), page.locator(DELTA)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 1})
    slider.evaluate("node => node.scrollIntoView({block: 'center', behavior: 'instant'})")
    box = slider.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def swipe(across, down):
        hand.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for part in range(1, 11):
            point = {"x": x + across * part / 10, "y": y + down * part / 10}
            hand.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    before = page.evaluate("scrollY")
    swipe(box["width"] / 4, 2)
    page.wait_for_function(f"document.querySelector('{DELTA}').value > 20")
    moved = slider.input_value()
    assert page.evaluate("scrollY") == before
    swipe(0, -150)
    page.wait_for_function(f"scrollY > {before + 50}")
    page.wait_for_function(f"document.querySelector('{DELTA}').value === '{moved}'")
