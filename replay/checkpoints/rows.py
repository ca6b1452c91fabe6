"""Rows: checkpoints and step outputs as the rows of a database, whichever it is. Asks none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from replay.checkpoints.base import Wanted
from replay.checkpoints.contract import Checkpoint, StepOutput
from replay.checkpoints.state import changed, verified

# The first is the run id, which never changes.
COLUMNS = Checkpoint.__struct_fields__
OUTPUT_COLUMNS = ("version", "step_index", "step_id", "output", "output_hash")
_values = attrgetter(*COLUMNS)
_SEED = COLUMNS.index("seed")


def values(checkpoint: Checkpoint) -> list[Any]:
    """Return what stands in `COLUMNS`; the seed as text, for it may be larger than any integer of a database."""
    row = list(_values(checkpoint))
    row[_SEED] = str(row[_SEED])
    return row


def condition(wanted: Wanted, mark: str) -> tuple[str, list[str | int]]:
    """Return the end of a SELECT of what is wanted, newest first, and the values for each `mark` in it."""
    tests = {"status =": wanted.status, "workflow_id =": wanted.workflow_id, "updated_at <": wanted.before}
    given: dict[str, str | int] = {test: value for test, value in tests.items() if value is not None}
    where = f"WHERE {' AND '.join(f'{test} {mark}' for test in given)} " if given else ""
    order = "ORDER BY updated_at DESC, run_id DESC"
    if wanted.limit is None:
        return where + order, list(given.values())
    return f"{where}{order} LIMIT {mark}", [*given.values(), wanted.limit]


def checkpoint_of(row: Sequence[Any], place: str) -> Checkpoint:
    """Return the checkpoint of a row of `COLUMNS`, its hash checked; raises StoreError where it is none."""
    members = dict(zip(COLUMNS, row, strict=True))
    try:
        members["seed"] = int(members["seed"])
        found = msgspec.convert(members, Checkpoint)
    except (ValueError, TypeError):
        raise changed(members["run_id"], place, "checkpoint is") from None
    return verified(found, place)


def outputs_of(rows: Iterable[Sequence[Any]], run_id: str, place: str) -> list[StepOutput]:
    """Return the outputs of rows of `OUTPUT_COLUMNS`; raises StoreError where one is none."""
    try:
        return [msgspec.convert(dict(zip(OUTPUT_COLUMNS, row, strict=True)), StepOutput) for row in rows]
    except msgspec.ValidationError:
        raise changed(run_id, place, "outputs are") from None
