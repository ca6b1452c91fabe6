"""The page of a gate in a real browser: readable, quiet, usable by keyboard, on paper and without scripts."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from replay.judgement import Judgement
from replay.report.html import html_page
from tests.browser.conftest import Visiting
from tests.judgements import LEDGER_GONE, judgements, summary_of

EVERY = [
    *("report-copy", "report-fails", "report-shaped", "report-reworded", "report-shaped", "report-fails"),
    *("report-elsewhere", "report-respec", "report-1"),
]
# Luminance and contrast as WCAG 2 has them, of the text of an element against what is painted behind it.
CONTRAST = """
(elements) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, n) => (c * a + below[n] * (255 - a)) / 255);
  const behind = (node) => {
    return node ? over(rgba(getComputedStyle(node).backgroundColor), behind(node.parentElement)) : [255, 255, 255];
  };
  const light = (rgb) => rgb
    .map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  return elements.filter((element) => element.textContent.trim()).map((element) => {
    const ground = behind(element);
    const [one, other] = [light(over(rgba(getComputedStyle(element).color), ground)), light(ground)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    return [Math.round(ratio * 100) / 100, element.outerHTML.slice(0, 80)];
  });
}
"""


@pytest.fixture
def found(tmp_path: Path) -> list[Judgement]:
    return list(judgements(tmp_path / "golden"))


@pytest.fixture
def page(found: list[Judgement]) -> str:
    return html_page(summary_of(found, findings=[LEDGER_GONE], warnings=("beware",)), found)


def test_page_says_nothing_to_the_console_and_asks_for_nothing(page: str, visit: Visiting) -> None:
    visited = visit(page)
    visited.page.get_by_role("button", name="Open all").click()
    assert visited.console == []
    assert [url for url in visited.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in visited.requests if url.startswith("file:")]) == 1
    assert visited.shown() == EVERY


def test_policy_is_in_force(page: str, visit: Visiting) -> None:
    visited = visit(page)
    script = "const s = document.createElement('script'); s.textContent = 'window.came = 1'; document.body.append(s)"
    visited.page.evaluate(f"() => {{ {script} }}")
    assert visited.page.evaluate("window.came") is None
    assert "Content Security Policy" in visited.console[0]


def test_filter_is_used_by_keyboard_alone(page: str, visit: Visiting) -> None:
    visited = visit(page)
    keyboard, count = visited.page.keyboard, visited.page.get_by_role("status")
    assert count.inner_text() == "9 shown"
    keyboard.press("/")
    keyboard.type("Rank error")
    assert visited.shown() == ["report-fails"]
    assert count.inner_text() == "1 of 9 shown"
    keyboard.type("no such thing")
    assert visited.shown() == []
    assert visited.page.locator(".nothing").is_visible()
    keyboard.press("Escape")
    assert visited.shown() == EVERY


def test_verdicts_are_chosen_by_keyboard_and_add_up(page: str, visit: Visiting) -> None:
    visited = visit(page)
    keyboard = visited.page.keyboard
    visited.page.get_by_role("button", name="tampered").focus()
    keyboard.press("Space")
    assert visited.shown() == ["report-fails"]
    visited.page.get_by_role("button", name="matched").focus()
    keyboard.press("Enter")
    assert visited.shown() == ["report-fails", "report-1"]
    assert visited.page.get_by_role("button", pressed=True).count() == 2
    keyboard.press("Escape")
    assert visited.shown() == EVERY
    assert visited.page.get_by_role("button", pressed=True).count() == 0


def test_keys_walk_through_what_is_shown_and_open_it(page: str, visit: Visiting) -> None:
    visited = visit(page)
    keyboard = visited.page.keyboard
    focused = "document.activeElement.closest('.run')?.id"
    keyboard.press("/")
    keyboard.type("report-re")
    keyboard.press("Tab")
    keyboard.press("j")
    assert visited.page.evaluate(focused) == "run-report-reworded"
    keyboard.press("j")
    assert visited.page.evaluate(focused) == "run-report-respec"
    keyboard.press("Enter")
    assert visited.page.locator("#run-report-respec").get_attribute("open") is not None
    keyboard.press("k")
    assert visited.page.evaluate(focused) == "run-report-reworded"


def test_focus_can_be_seen_and_the_first_one_skips_to_the_recordings(page: str, visit: Visiting) -> None:
    visited = visit(page)
    visited.page.keyboard.press("Tab")
    style = "(name) => getComputedStyle(document.activeElement)[name]"
    assert visited.page.evaluate("document.activeElement.textContent") == "Skip to the recordings"
    assert visited.page.evaluate(style, "outlineStyle") == "solid"
    visited.page.keyboard.press("Enter")
    assert visited.page.evaluate("document.activeElement.id") == "recordings"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(page: str, visit: Visiting, scheme: str) -> None:
    visited = visit(page, color_scheme=scheme)
    visited.page.get_by_role("button", name="Open all").click()
    visited.page.get_by_role("button", name="diverged").click()
    visited.page.get_by_role("button", name="diverged").click()
    ground = visited.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 23, 26)") == (scheme == "dark")
    texts = "h1, p, li, code, b, th, td, del, ins, em, i, button, input, kbd, .found, .quiet, .sign, .seal, .time"
    measured = visited.page.locator(texts).evaluate_all(CONTRAST)
    assert len(measured) > 200
    assert [said for said in measured if said[0] < 4.5] == []


def test_address_of_a_recording_opens_it(page: str, visit: Visiting) -> None:
    visited = visit(page, "#run-report-respec")
    run = visited.page.locator("#run-report-respec")
    assert run.get_attribute("open") is not None
    assert run.locator(".sides").is_visible()


def test_paper_shows_everything_that_did_not_pass(page: str, visit: Visiting) -> None:
    visited = visit(page)
    visited.page.emulate_media(media="print")
    count = "document.querySelectorAll('.run[open]').length"
    assert visited.page.evaluate(count) == 3
    visited.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visited.page.evaluate(count) == 8
    assert not visited.page.locator("#filter").is_visible()
    visited.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert visited.page.evaluate(count) == 3
    assert visited.page.pdf().startswith(b"%PDF")


def test_page_is_read_without_scripts(page: str, visit: Visiting) -> None:
    visited = visit(page, java_script_enabled=False)
    assert visited.shown() == EVERY
    assert not visited.page.locator("#filter").is_visible()
    assert visited.page.locator(".chips button:enabled").count() == 0
    run = visited.page.locator("#run-report-respec")
    run.locator("summary").click()
    assert run.locator(".sides").is_visible()


@pytest.mark.parametrize("width", [360, 1200])
def test_page_is_never_wider_than_the_window(found: list[Judgement], visit: Visiting, width: int) -> None:
    wide = [msgspec.structs.replace(x, run_id="x" * 128, notes=("y" * 500,), path="z" * 300) for x in found]
    visited = visit(html_page(summary_of(wide), wide), viewport={"width": width, "height": 800})
    visited.page.get_by_role("button", name="Open all").click()
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_texts_stay_texts(found: list[Judgement], visit: Visiting) -> None:
    text = "</script></style><script>window.came = 1</script><img src=x onerror='window.came = 2'>\"'><b>bold</b>\u202e"
    changes: dict[str, Any] = {"run_id": text, "path": text, "spec_id": text, "notes": (text,), "problem": text}
    steps = tuple(msgspec.structs.replace(step, step_id=text) for step in found[1].steps)
    changed = {"path": text, "expected": text, "actual": f"\n{text}"}
    sides = tuple(msgspec.structs.replace(difference, **changed) for difference in found[1].differences)
    hostile = [msgspec.structs.replace(found[1], **changes, steps=steps, differences=sides)]
    visited = visit(html_page(summary_of(hostile, warnings=(text,)), hostile))
    assert visited.console == []
    assert visited.page.evaluate("window.came") is None
    assert visited.page.locator("img").count() == 0
    assert visited.shown() == [text.replace("\u202e", "\\u202e")]
