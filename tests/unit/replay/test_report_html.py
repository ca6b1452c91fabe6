"""The page: whole in itself, nothing on it that is not ours, everything on it that was found."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from replay.judgement import Judgement
from replay.report.html import html_page
from tests.judgements import LEDGER_GONE, judgements, summary_of


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and the text of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        """Return the attributes of the elements of this tag, and class where one is given."""
        return [attrs for name, attrs in self.elements if name == tag and css in (attrs.get("class") or "").split(" ")]

    @property
    def runs(self) -> list[dict[str, str | None]]:
        return self.all("details", "run")


@pytest.fixture
def found(tmp_path: Path) -> list[Judgement]:
    return list(judgements(tmp_path))


def test_page_shows_every_recording_the_worst_first_and_open(found: list[Judgement]) -> None:
    page = Page(html_page(summary_of(found), found))
    verdicts = [run["data-verdict"] for run in page.runs]
    assert verdicts == ["wrong-run", "tampered", "unknown-key", *["diverged"] * 5, "matched"]
    assert ["open" in run for run in page.runs] == [True] * 3 + [False] * 6
    assert "2 of 9 recordings are not what was recorded" in page.texts


def test_green_page_has_nothing_open(found: list[Judgement]) -> None:
    page = Page(html_page(summary_of(found[:1]), found[:1]))
    assert ["open" in run for run in page.runs] == [False]
    assert page.all("body", "good")


def test_page_asks_nobody_for_anything(found: list[Judgement]) -> None:
    page = Page(html_page(summary_of(found), found))
    addresses = {value for _, attrs in page.elements for name, value in attrs.items() if name in ("src", "href")}
    assert addresses == {"data:,", "#recordings"}
    assert not [attrs for _, attrs in page.elements if any(name == "style" or name.startswith("on") for name in attrs)]


def test_policy_lets_run_exactly_what_is_on_the_page(found: list[Judgement]) -> None:
    text = html_page(summary_of(found), found)
    policy = next(m["content"] or "" for m in Page(text).all("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_difference_is_marked_on_both_sides(found: list[Judgement]) -> None:
    text = html_page(summary_of(found), found)
    assert "<del>The mean</del> maximum was" in text
    assert "<ins>On average, the</ins> maximum was" in text


def test_step_on_the_line_of_time_says_what_became_of_it(found: list[Judgement]) -> None:
    page = Page(html_page(summary_of(found[1:2]), found[1:2]))
    assert [attrs["class"] for tag, attrs in page.elements if tag == "li" and "class" in attrs] == list("cccdn")
    assert "5 steps: 3 compared, 1 diverged, 1 not reached" in page.texts


def test_findings_and_warnings_are_on_the_page(found: list[Judgement]) -> None:
    page = Page(html_page(summary_of(found, findings=[LEDGER_GONE], warnings=("beware",)), found))
    assert {LEDGER_GONE.problem, LEDGER_GONE.hint, "beware"} <= set(page.texts)


def test_page_about_nothing_says_so() -> None:
    text = html_page(summary_of([]), [])
    assert "There is no recording here." in text
    assert not Page(text).runs


def test_recording_has_an_address_of_its_own_whatever_its_name(found: list[Judgement]) -> None:
    names = ["r-1", "r-1", "x y", "../up"]
    many = [msgspec.structs.replace(found[0], run_id=name) for name in names]
    page = Page(html_page(summary_of(many), many))
    assert [run["id"] for run in page.runs] == ["run-r-1", "recording-1", "recording-2", "recording-3"]


def test_thousand_recordings_of_twenty_steps_are_below_5_mb(found: list[Judgement]) -> None:
    steps = tuple(msgspec.structs.replace(found[0].steps[n % 5], step_id=f"step-number-{n}") for n in range(20))
    names = [f"weather-report-20260101T000000Z-{n:04x}" for n in range(1000)]
    bases = [msgspec.structs.replace(x, steps=steps) for x in found[:2]]
    many = [msgspec.structs.replace(bases[n % 10 == 0], run_id=name) for n, name in enumerate(names)]
    assert len(html_page(summary_of(many), many).encode()) < 5_000_000
