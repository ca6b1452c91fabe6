"""Halves: runs as their checkpoints and their golden files say of themselves, brought together; one may be missing.

Where both speak of a run the golden file is believed. Nothing is verified here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec

from cli.command import Session
from cli.glance import Glance, glance
from cli.moments import seconds_between
from cli.render import dim, safe
from cli.settings import Settings
from golden.errors import GoldenError, StoreError
from golden.store import GoldenFile, stems
from replay.checkpoints.contract import RUNNING, Checkpoint, CheckpointStore

Function = Callable[..., Any]
UNKNOWN = "unknown"
_ALL = 1 << 31
_MOST = 10


class Row(msgspec.Struct, kw_only=True):
    """One run. Times are as events carry them, costs integer cents; None is what nobody says.

    `writer` says of a run that is not sealed whether a process holds its lock here, `checkpoint_status` what the
    checkpoint says of it, and `path` where its golden file lies, if it is in this golden directory.
    """

    run_id: str
    workflow_id: str | None = None
    tenant_id: str | None = None
    next_step_index: int | None = None
    last_result_hash: str | None = None
    status: str = UNKNOWN
    version: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    next_step_id: str | None = None
    steps_completed: int | None = None
    steps_total: int | None = None
    total_cost_cents: int | None = None
    seed: int | None = None
    events: int | None = None
    resumed_from: str | None = None
    sealed: bool | None = None
    writer: bool | None = None
    path: str | None = None
    golden_path: str | None = None
    checkpoint_status: str | None = None
    lease_owner: str | None = None
    lease_until: str | None = None
    error_code: str | None = None
    recovery_hint: str | None = None

    @property
    def is_dead(self) -> bool:
        """Whether it runs no more though nobody has ended it: its lock is free, as far as can be seen from here."""
        return self.status == RUNNING and self.writer is False

    @property
    def is_unsealed(self) -> bool:
        """Whether it has ended and nobody has sealed its golden file, nor does so now."""
        return self.status != RUNNING and self.sealed is False and not self.writer

    @property
    def standing(self) -> str:
        """Its status in words, with what is to be known besides."""
        return (
            f"{self.status}, dead"
            if self.is_dead
            else f"{self.status}, not sealed"
            if self.is_unsealed
            else self.status
        )

    @property
    def seconds(self) -> float | None:
        """How long it took; of one that runs, has taken until it was last heard of."""
        return seconds_between(self.started_at, self.ended_at or self.updated_at or "never")


class Runs(msgspec.Struct):
    """All runs, newest first, the halves that could not be read, and what is wrong with single ones.

    `unclear` are those whose golden file is here and could not be understood; `files` and `checkpoints` count what
    there is, None where nobody can say.
    """

    rows: list[Row] = []
    missing: list[GoldenError] = []
    bad: list[GoldenError] = []
    unclear: set[str] = set()
    files: int | None = None
    checkpoints: int | None = None

    @property
    def exit_code(self) -> int:
        """0 where everything could be read, else 4."""
        return 4 if self.missing or self.bad else 0


def checkpoints_option(function: Function) -> Function:
    """Add `--checkpoints URL`, where the checkpoints are that a command looks at."""
    return click.option(
        "--checkpoints", "url", metavar="URL", help="Where checkpoints are.  [default: in the golden directory]"
    )(function)


def open_store(settings: Settings, url: str | None) -> CheckpointStore:
    """Return the store of checkpoints that is there already; raises GoldenError where it is not, or not readable."""
    if url is not None:
        settings.use_checkpoints(url)
    store = settings.open_checkpoints(create=False)
    store.ping()
    return store


def all_runs(settings: Settings, url: str | None = None) -> Runs:
    """Return every run that a checkpoint or a golden file speaks of."""
    found = Runs()
    glances = _glances(settings.directory, found)
    checkpoints: dict[str, Checkpoint] = {}
    # Of runs that are sealed their files say everything: where nobody keeps checkpoints, none are missed.
    ended = not found.missing and not found.bad and all(seen.sealed for seen in glances.values())
    if ended and url is None and settings.keeps_no_checkpoints:
        found.checkpoints = 0
    else:
        checkpoints = _checkpoints(settings, url, found)
    found.rows = [row_of(glances.get(run_id), checkpoints.get(run_id)) for run_id in {*glances, *checkpoints}]
    seen = {*glances, *(found.unclear)}
    found.bad += _gone(settings.directory, [row for row in found.rows if row.run_id not in seen])
    found.rows.sort(key=lambda row: (row.started_at or "", row.run_id), reverse=True)
    return found


def _glances(folder: str, found: Runs) -> dict[str, Glance]:
    glances: dict[str, Glance] = {}
    try:
        names = _stems(folder)
    except GoldenError as error:
        found.missing.append(error)
        return glances
    found.files = len(names)
    for stem in names:
        try:
            glances[stem] = glance(folder, stem)
        except StoreError as error:
            found.bad.append(error)
            found.unclear.add(stem)
    return glances


def _checkpoints(settings: Settings, url: str | None, found: Runs) -> dict[str, Checkpoint]:
    try:
        store = open_store(settings, url)
        try:
            overview = store.overview(limit=_ALL)
        finally:
            store.close()
    except GoldenError as error:
        found.missing.append(error)
        return {}
    found.checkpoints = len(overview.checkpoints)
    found.bad += overview.bad
    return {one.run_id: one for one in overview.checkpoints}


def row_of(seen: Glance | None, saved: Checkpoint | None) -> Row:
    """Return a run as both halves say, of which one may be None."""
    row = Row(run_id=seen.run_id if seen else saved.run_id if saved else "")
    if saved is not None:
        for name in _OF_CHECKPOINT:
            setattr(row, name, getattr(saved, name))
        row.checkpoint_status = saved.status
    if seen is not None:
        for name in _OF_FILE:
            value = getattr(seen, name)
            if value is not None:
                setattr(row, name, value)
        # What was saved before the file's last line says no more of when it ended.
        row.ended_at = seen.ended_at
        row.created_at = row.created_at or seen.started_at
        row.updated_at = max(filter(None, (seen.updated_at, saved.updated_at if saved else None)), default=None)
        row.writer = None if seen.sealed else _has_writer(seen)
    return row


def tell_missing(session: Session, errors: Sequence[GoldenError]) -> None:
    """Say of each half that is missing, and of each run that cannot be read, what is so and what to do."""
    for error in errors[:_MOST]:
        session.out.talk(f"golden: {safe(error.problem)}")
        session.out.talk(dim(f"hint: {safe(error.hint)}"))
    if len(errors) > _MOST:
        session.out.talk(f"golden: and {len(errors) - _MOST} more of these: --json shows all")


def told(runs: Runs) -> list[dict[str, str]]:
    """Return for a machine what `tell_missing` says to people."""
    return [{"problem": error.problem, "hint": error.hint} for error in (*runs.missing, *runs.bad)]


def _gone(folder: str, rows: list[Row]) -> list[GoldenError]:
    """Return what is to be said of runs whose golden file was in this directory, by their checkpoints, and is not."""
    here = os.path.realpath(folder)
    lost = [row for row in rows if row.golden_path and os.path.dirname(os.path.realpath(row.golden_path)) == here]
    return [
        StoreError(f"run {row.run_id}: its golden file is gone", hint=f"see `golden inspect {row.run_id}`")
        for row in sorted(lost, key=lambda row: row.run_id)
    ]


def _has_writer(seen: Glance) -> bool:
    return GoldenFile.at(seen.path).has_writer()


def _stems(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        raise StoreError(f"there is no golden directory {folder}", hint="check --dir; golden record makes it")
    return stems(folder)


_OF_CHECKPOINT = set(Checkpoint.__struct_fields__) & set(Row.__struct_fields__) - {"run_id"}
_OF_FILE = set(Glance.__struct_fields__) & set(Row.__struct_fields__) - {"run_id", "ended_at", "updated_at"}
