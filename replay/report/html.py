"""HTML: a gate's judgements as one page that asks nobody for anything: look at it, filter it, print it, mail it.

Every text from a recording is escaped by the template; the page's policy lets no script and no style run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from golden.event import RUN_ID
from golden.spelling import spelt_out
from golden.values import Kind
from replay.judgement import Judgement, State, StepMark, Summary, worst_first
from replay.report.rows import Row, side_by_side
from replay.report.words import (
    KINDS,
    compared,
    counted,
    headline,
    next_steps,
    rule_of,
    rule_of_finding,
    shown_time,
    verdict_sentence,
)

_HERE = Path(__file__).parent
_CLASSES = {0: "good", 1: "differs", 3: "tampered", 4: "undecided"}
_SIGNS = {0: "✓", 1: "✗", 3: "!", 4: "?"}
# Open from the start: what would be opened first.
_OPEN = 3
_STRIP_WIDTH = 240
_STRIP_HEIGHT = 14
_STATE_CLASSES: dict[State, str] = {
    "compared": "c",
    "answered": "a",
    "skipped": "s",
    "diverged": "d",
    "not reached": "n",
}


class Bar(NamedTuple):
    """A step on the line of time: where it begins and how long it is, in percent of the whole."""

    mark: StepMark
    name: str
    css: str
    start: str
    width: str
    took: str


class Side(NamedTuple):
    """One place that differs, side by side; `kind` says whether one side is absent."""

    path: str
    kind: Kind
    rows: list[Row]
    cut: bool


class Strip(NamedTuple):
    """The steps of a recording as a row of little blocks: one SVG path per state."""

    width: int
    height: int
    paths: list[tuple[str, str]]
    label: str


def html_page(summary: Summary, judgements: Sequence[Judgement]) -> str:
    """Return the page, complete in itself."""
    style, script = _asset("page.css"), _asset("page.js")
    ordered = worst_first(judgements)
    return _template().render(
        summary=summary,
        judgements=list(zip(ordered, _anchors(ordered), strict=True)),
        verdicts=_verdicts(ordered),
        policy="; ".join(
            [
                "default-src 'none'",
                f"style-src '{_digest(style)}'",
                f"script-src '{_digest(script)}'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
        when=f"{summary.when[:10]} {summary.when[11:16]} UTC",
        # Ours, and the one place where nothing is escaped.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        sentence=verdict_sentence(summary),
        open=_OPEN,
    )


def _verdicts(judgements: Sequence[Judgement]) -> list[tuple[str, str, int]]:
    """Return (verdict, class, how many) for each verdict there is, the worst first."""
    found: dict[str, tuple[str, int]] = {}
    for judgement in judgements:
        _, count = found.get(judgement.verdict, ("", 0))
        found[judgement.verdict] = (_CLASSES[judgement.code], count + 1)
    return [(verdict, css, count) for verdict, (css, count) in found.items()]


def _anchors(judgements: Sequence[Judgement]) -> Iterator[str]:
    """Give what each recording is called in the page's address: its id where that is one of its own."""
    seen: set[str] = set()
    for n, judgement in enumerate(judgements):
        own = re.fullmatch(RUN_ID, judgement.run_id) and judgement.run_id not in seen
        seen.add(judgement.run_id)
        yield f"run-{judgement.run_id}" if own else f"recording-{n}"


def _strip(judgement: Judgement) -> Strip | None:
    steps = judgement.steps
    if not steps:
        return None
    unit = max(min(_STRIP_WIDTH // len(steps), 12), 1)
    gap = 2 if unit > 4 else 0  # noqa: PLR2004  narrower blocks stand side by side
    paths: dict[str, list[str]] = {}
    for n, step in enumerate(steps[:_STRIP_WIDTH]):
        block = f"M{n * unit} 0h{unit - gap}v{_STRIP_HEIGHT}h-{unit - gap}z"
        paths.setdefault(_STATE_CLASSES[step.state], []).append(block)
    states = [step.state for step in steps]
    label = ", ".join(f"{states.count(state)} {state}" for state in _STATE_CLASSES if state in states)
    drawn = [(css, "".join(blocks)) for css, blocks in paths.items()]
    return Strip(min(len(steps), _STRIP_WIDTH) * unit, _STRIP_HEIGHT, drawn, f"{counted(len(steps), 'step')}: {label}")


def _bars(judgement: Judgement) -> Iterator[Bar]:
    """Give the steps on the line of time; one after the other and of equal length where the times are not known."""
    steps = judgement.steps
    known = [(step.offset_us, step.duration_us) for step in steps if step.offset_us is not None]
    first = min((began for began, _ in known), default=0)
    whole = max((began + (took or 0) for began, took in known), default=0) - first
    for n, step in enumerate(steps):
        if whole and step.offset_us is not None:
            start, width = (step.offset_us - first) / whole, (step.duration_us or 0) / whole
        else:
            start, width = n / len(steps), 1 / len(steps)
        # Seen however short it was, and inside however late.
        width = max(width, 0.008)
        yield Bar(
            mark=step,
            name=spelt_out(step.step_id),
            css=_STATE_CLASSES[step.state],
            start=f"{100 * min(start, 1 - width):.3g}%",
            width=f"{100 * width:.3g}%",
            took="" if step.duration_us is None else shown_time(step.duration_us / 1e6),
        )


def _sides(judgement: Judgement) -> Iterator[Side]:
    for difference in judgement.differences:
        yield Side(difference.path, difference.kind, list(side_by_side(difference)), difference.cut)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals |= {
        "bars": _bars,
        "classes": _CLASSES,
        "compared": compared,
        "counted": counted,
        "headline": headline,
        "kinds": KINDS,
        "next_steps": next_steps,
        "rule_of": rule_of,
        "rule_of_finding": rule_of_finding,
        "shown_time": shown_time,
        "sides": _sides,
        "signs": _SIGNS,
        "strip": _strip,
    }
    return environment.get_template("page.html")


def _shown(value: Any) -> Any:
    """Return what may stand on the page: a text that nothing in it turns around or ends."""
    return spelt_out(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
