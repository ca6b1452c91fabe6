"""Judging: one recording's judgement, made of its verdict at rest or of its replay and what was watched of it.

Verifies and replays nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from golden.canonical import decode
from golden.event import Event, StepData
from golden.recording import Record, Recording
from golden.values import Kind, value_differences
from golden.verdict import Verdict
from golden.volatile import Volatile
from replay.answers import is_timed_out
from replay.divergence import Divergence
from replay.excerpt import excerpts, short
from replay.frames import Failure
from replay.judgement import Judgement, State, StepMark, code_of, kind_of
from replay.paths import is_nested
from replay.replayer import Replay


class Watch:
    """Watches one replay (see `Observer`): which steps were compared, and what the diverging one came to."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.diverged: StepData | None = None

    def step(self, data: StepData, divergence: Divergence | None, _failure: Failure | None) -> None:
        """See `Observer`."""
        self.seen.add(data.index)
        if divergence is not None:
            self.diverged = data


def judged_at_rest(verdict: Verdict) -> Judgement:
    """Return the judgement on a file that is not intact, and so is not replayed."""
    return Judgement(
        run_id=verdict.run_id,
        path=verdict.path,
        verdict=verdict.verdict,
        code=code_of(verdict.verdict),
        event=verdict.first_bad.event if verdict.first_bad else None,
        problem=verdict.problem,
        hint=verdict.hint,
        notes=verdict.notes,
    )


def judged(recording: Recording, answer: Replay, watch: Watch, *, path: str, timeline: bool = True) -> Judgement:
    """Return the judgement on a recording that was replayed with `watch` as its observer.

    For a `timeline` it reads the recording once more.
    """
    found = answer.divergence
    differences, more = excerpts(_places(recording, found, watch.diverged)) if found else ((), 0)
    return Judgement(
        run_id=answer.run_id,
        path=path,
        verdict=answer.verdict,
        code=code_of(answer.verdict),
        kind=kind_of(found) if found else None,
        spec_id=recording.start.spec_id,
        spec_source=answer.spec_source,
        steps_recorded=answer.steps_recorded,
        steps_compared=answer.steps_compared,
        steps_answered=answer.steps_answered,
        divergence=short(found) if found else None,
        differences=differences,
        more=more,
        failure=answer.failure,
        problem=answer.problem,
        hint=answer.hint,
        notes=tuple(answer.notes),
        idle=tuple(answer.idle),
        steps=tuple(_marks(recording, found, watch)) if timeline else (),
    )


def _places(recording: Recording, found: Divergence, came: StepData | None) -> Iterator[tuple[Kind, str, Any, Any]]:
    """Give all places that differ where both sides are at hand, which is in outputs, else the divergence's own."""
    if found.cause == "output" and came is not None:
        records = (record.step for record in recording.records() if isinstance(record, Record))
        recorded = next((step for step in records if step.index == came.index), None)
        if recorded is not None:
            volatile = Volatile(recording.start.volatile)
            place = ("steps", recorded.step_id, "output")
            yield from value_differences(*(volatile.strip(place, decode(x.output)) for x in (recorded, came)))
            return
    yield found.kind, found.path, found.expected, found.actual


def _marks(recording: Recording, found: Divergence | None, watch: Watch) -> Iterator[StepMark]:
    start = recording.start
    document = decode(start.spec) or {}
    external = {step["id"] for step in document.get("steps", ()) if step.get("external")}
    began = datetime.fromisoformat(recording.timestamp)
    # Of a step that a resumption ran again the last event counts.
    steps = {event.data.index: event for event in recording.events() if isinstance(event.data, StepData)}
    at = found.index if found else None
    for index, event in steps.items():
        yield _mark(event, _state(event.data, external, watch, diverged=index == at), began)
    if found and found.step_id is not None and at not in steps:
        yield StepMark(found.step_id, at or 0, "diverged")


def _mark(event: Event, state: State, began: datetime) -> StepMark:
    data: Any = event.data
    took = event.timing.duration_us if event.timing else None
    # A step's event is written when it ends.
    ended = (datetime.fromisoformat(event.timestamp) - began) // timedelta(microseconds=1)
    return StepMark(
        step_id=data.step_id,
        index=data.index,
        state=state,
        offset_us=None if took is None else max(ended - took, 0),
        duration_us=took,
        error_code=data.error_code or None,
    )


def _state(data: Any, external: set[str], watch: Watch, *, diverged: bool) -> State:
    if diverged:
        return "diverged"
    if data.index not in watch.seen:
        return "not reached"
    if not data.attempts:
        return "skipped"
    timed_out = is_timed_out(data) and not is_nested(data.step_id)
    return "answered" if data.step_id in external or timed_out else "compared"
