"""Lineage: a run and those that resume it, `<run>.r<N>`: which is the last, and all that is recorded along the line.

Reads and names; what becomes of it is the business of whoever goes on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from msgspec import UNSET

from golden.errors import FormatError, StoreError
from golden.event import ResumedFrom, RunStart, parse_event
from golden.files import open_regular
from golden.lines import first_line
from golden.recording import Record, Recording
from golden.store import Store
from replay.past import recorded

_RESUMED = re.compile(r"(.*)\.r([1-9][0-9]*)\Z")


def latest(store: Store, run_id: str) -> str:
    """Return the id of the last run that resumed `run_id`, or `run_id` where none did."""
    return _line(store, run_id)[0]


def next_id(store: Store, run_id: str) -> str:
    """Return an id for a run that resumes `run_id`: one that none of its line has had."""
    return _line(store, run_id)[1]


def origin(run_id: str, came_from: ResumedFrom, store: Store) -> Recording:
    """Return the recording that a run resumes; raises StoreError where that is another one."""
    source = Recording.open(store.file(came_from.run_id), store.read())
    if (source.statement.file_id, source.statement.sha256) != (came_from.file_id, came_from.sha256):
        source.close()
        raise StoreError(
            f"run {came_from.run_id} is not the one that {run_id} resumes",
            hint="restore it: what it had done would be made again",
        )
    return source


def history(source: Recording, store: Store) -> tuple[list[Record], int]:
    """Return all that is recorded of a run and of those it resumes, and what was spent on it in integer cents.

    One that ended before it ran anything has perhaps not carried over everything: what it lacks, the one before has.
    """
    start, records = source.start, recorded(source)
    charged = start.budget_snapshot.accumulated_cost_cents + (source.end.total_cost_cents if source.end else 0)
    came_from = start.resumed_from
    if not came_from or has_run(records):
        return records, charged
    with origin(source.run_id, came_from, store) as before:
        earlier, spent = history(before, store)
    good = {record.step.index for record in records if record.step.success}
    missing = (record for record in until(earlier, came_from.at or None) if record.step.index not in good)
    # A fork is another run: it begins with nothing spent.
    return [*(r for r in records if r.step.success), *missing], charged if came_from.at else max(charged, spent)


def until(records: Iterable[Record], before: str | None) -> list[Record]:
    """Return the records before the one of that step."""
    found = []
    for record in records:
        if record.step.step_id == before:
            break
        found.append(record)
    return found


def has_run(records: Iterable[Record]) -> bool:
    """Whether any step was run: what is carried over comes before."""
    return any(record.step.attempts and not record.step.carried for record in records)


def _line(store: Store, run_id: str) -> tuple[str, str]:
    """Return the id of the last run that resumed `run_id`, or that itself, and an id that none of its line has had."""
    root, own = _root(run_id)
    found, highest = run_id, own
    known = set(store.read().runs)
    named = {stem for stem in (*store.stems(), *known) if _root(stem)[0] == root}
    for number, stem in sorted((_root(stem)[1], stem) for stem in named):
        begun = store.is_begun(stem)
        # One whose recorder died within its first line is no run: its number is free.
        highest = max(highest, number if begun or stem in known else 0)
        # Somebody may have called another run like that, or set this one apart.
        if number > own and begun and _goes_on(store, stem, root):
            found = stem
    return found, f"{root}.r{highest + 1}"


def _goes_on(store: Store, run_id: str, root: str) -> bool:
    """Whether a run says of itself that it resumes one of that line; it is not believed before it is verified."""
    fd = open_regular(store.file(run_id).place)
    if fd is None:
        return False
    try:
        data = parse_event(first_line(fd) or b"").data
    except FormatError:
        return False
    finally:
        os.close(fd)
    came_from = data.resumed_from if isinstance(data, RunStart) else UNSET
    return came_from is not UNSET and _root(came_from.run_id)[0] == root


def _root(run_id: str) -> tuple[str, int]:
    found = _RESUMED.match(run_id)
    return (found[1], int(found[2])) if found else (run_id, 0)
