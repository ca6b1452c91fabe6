"""Glance: what golden files say of themselves: the seal's statement, the first line and the last ones.

Verifies nothing: whoever wants to know what a file is worth asks `golden verify`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from golden.errors import FormatError, StoreError
from golden.event import Count, Hash, Id128, RunEnd, Time
from golden.files import open_regular
from golden.lines import Splitter, backward, blocks, first_line, reader
from golden.seal import MAX_SEAL, Statement, parse_seal
from golden.store import GoldenFile

# So many lines are looked through for the last step that succeeded; effects of a long one may stand before it.
_LINES_BACK = 64
# A run that ended early is read whole for how far it came, unless it is longer than this.
_MAX_READ = 16 << 20


class Glance(msgspec.Struct, kw_only=True):
    """One golden file as it says of itself; times are as events carry them, None is what it does not say.

    `status` is `running` where it has no end. `next_step_index` is the position of the first step of the spec that has
    not succeeded, `next_step_id` that step. `error_code` and `recovery_hint` are of the last step that failed.
    """

    run_id: str
    path: str
    status: str = "running"
    sealed: bool = False
    file_id: str | None = None
    workflow_id: str | None = None
    seed: int | None = None
    spec_hash: str | None = None
    ceiling_cents: int | None = None
    resumed_from: str | None = None
    started_at: str | None = None
    updated_at: str | None = None
    ended_at: str | None = None
    events: int | None = None
    steps_total: int | None = None
    steps_completed: int | None = None
    next_step_index: int | None = None
    next_step_id: str | None = None
    last_result_hash: str | None = None
    total_cost_cents: int | None = None
    error_code: str | None = None
    recovery_hint: str | None = None


class _Step(msgspec.Struct, frozen=True):
    id: str = ""


class _Spec(msgspec.Struct, frozen=True):
    steps: list[_Step] = []


class _Budget(msgspec.Struct, frozen=True):
    workflow_ceiling_cents: int | None = None
    accumulated_cost_cents: int | None = None


class _Source(msgspec.Struct, frozen=True):
    run_id: str | None = None


class _Start(msgspec.Struct, frozen=True):
    seed: int
    spec_id: str | None = None
    spec_hash: Hash | None = None
    spec: _Spec | None = None
    budget_snapshot: _Budget = _Budget()
    resumed_from: _Source | None = None


class _Signing(msgspec.Struct, frozen=True):
    file_id: Id128
    v: int


class _First(msgspec.Struct, frozen=True):
    run_id: str
    timestamp: Time
    data: _Start
    golden: _Signing


class _StepData(msgspec.Struct, frozen=True):
    index: Count
    success: bool
    output_hash: Hash | None = None
    budget_snapshot: _Budget = _Budget()
    error_code: str | None = None
    recovery_hint: str | None = None


class _Line(msgspec.Struct, frozen=True):
    event_type: str
    timestamp: Time
    seq: Count
    data: msgspec.Raw


_first = msgspec.json.Decoder(_First)
_line = msgspec.json.Decoder(_Line)
_step = msgspec.json.Decoder(_StepData)
_end = msgspec.json.Decoder(RunEnd)


def glance(folder: str, stem: str) -> Glance:
    """Return what the golden file of a run says of itself.

    Raises:
        StoreError: it cannot be read, or says nothing that can be understood; `golden verify` says more.
    """
    file = GoldenFile(folder, stem)
    fd = open_regular(file.place)
    if fd is None:
        raise _unclear(stem, "the file is missing")
    found = Glance(run_id=stem, path=file.place)
    try:
        statement = _statement(file)
        steps = _begin(found, fd)
        _last(found, fd)
        if statement is not None:
            found.sealed, found.status, found.events = True, statement.status, statement.events
            found.updated_at = statement.sealed_at
        _count(found, fd)
        if found.next_step_index is not None and found.next_step_index < len(steps):
            found.next_step_id = steps[found.next_step_index].id
    except (msgspec.MsgspecError, FormatError, RecursionError, UnicodeDecodeError):
        raise _unclear(stem, "it is no golden/v1 file, or damaged") from None
    except OSError as error:
        raise _unclear(stem, f"it cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    return found


def _statement(file: GoldenFile) -> Statement | None:
    sealed = file.read_seal(MAX_SEAL)
    if sealed is None:
        return None
    statement = parse_seal(sealed).statement
    if statement.run_id != file.stem:
        raise FormatError("its seal is of another run", hint="see golden verify")
    return statement


def _begin(found: Glance, fd: int) -> list[_Step]:
    """Take in the first line, and return the steps of its spec."""
    line = first_line(fd)
    if line is None:
        raise FormatError("no complete line", hint="see golden verify")
    first = _first.decode(line)
    if first.run_id != found.run_id:
        raise FormatError("its first line is of another run", hint="see golden verify")
    data = first.data
    found.file_id, found.started_at = first.golden.file_id, first.timestamp
    found.workflow_id, found.spec_hash, found.seed = data.spec_id, data.spec_hash, data.seed
    found.ceiling_cents = data.budget_snapshot.workflow_ceiling_cents
    found.total_cost_cents = data.budget_snapshot.accumulated_cost_cents
    found.resumed_from = data.resumed_from.run_id if data.resumed_from else None
    found.steps_total = len(data.spec.steps) if data.spec else None
    return data.spec.steps if data.spec else []


def _last(found: Glance, fd: int) -> None:
    """Take in the last lines, back to the last step that succeeded."""
    charged = False
    for _, (_, line) in zip(range(_LINES_BACK), backward(reader(fd), os.fstat(fd).st_size), strict=False):
        event = _line.decode(line)
        if found.updated_at is None:
            found.updated_at, found.events = event.timestamp, event.seq + 1
        if event.event_type == "run_end":
            end = _end.decode(event.data)
            found.status, found.ended_at = end.status, event.timestamp
            found.steps_completed, found.steps_total = end.steps_completed, end.steps_total
            found.total_cost_cents, charged = end.total_cost_cents, True
        elif event.event_type == "step":
            step = _step.decode(event.data)
            if not charged:
                found.total_cost_cents, charged = step.budget_snapshot.accumulated_cost_cents, True
            if step.success:
                found.last_result_hash = step.output_hash
                return
            if found.error_code is None:
                found.error_code, found.recovery_hint = step.error_code, step.recovery_hint


def _count(found: Glance, fd: int) -> None:
    """Say how far the run came: of one that completed, to its end; of another, as its steps say."""
    if found.status == "completed":
        found.next_step_index = found.steps_total
        return
    if os.fstat(fd).st_size > _MAX_READ:
        return
    done = {}
    for step in _steps(fd):
        done[step.index] = step.success
    succeeded = {index for index, success in done.items() if success}
    found.next_step_index = next(index for index in range(len(done) + 1) if index not in succeeded)
    if found.steps_completed is None:
        found.steps_completed = len(succeeded)


def _steps(fd: int) -> Iterator[_StepData]:
    splitter = Splitter()
    for block in blocks(fd):
        for line in splitter.feed(block):
            event = _line.decode(line)
            if event.event_type == "step":
                yield _step.decode(event.data)


def _unclear(stem: str, why: str) -> StoreError:
    return StoreError(f"run {stem}: {why}", hint=f"see `golden verify {stem}`")
