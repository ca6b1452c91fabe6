"""Difference: where two recordings are unlike, aligned by step id over their effective records.

Equal bytes are never parsed and equal hashes never descended into; two values that differ are `values`' business.
Judges nothing: a recording that does not verify cannot get here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Any

import msgspec

from golden.canonical import decode
from golden.event import EffectData, RunEnd, RunStart, StepData, parse_event
from golden.pair import OutOfStepError, Place, side_by_side, unlike
from golden.recording import Record, Recording
from golden.values import Kind, value_differences
from golden.volatile import Volatile

# As many differences are held back until it is known that no line later in the file supersedes a step.
UNCERTAIN = 1000


class Difference(msgspec.Struct, frozen=True):
    """One place where two recordings are unlike.

    `path` is a JSON Pointer into the event's data (`/output/…`, `/effects/0/result/…`); `step_id` and `index` are None
    for the run as a whole; the side that lacks the value says null and `kind` says which side it is.
    """

    kind: Kind
    step_id: str | None
    index: int | None
    path: str
    expected: Any
    actual: Any


def diff(
    expected: Recording, actual: Recording, *, noted: list[tuple[Place, Place]] | None = None
) -> Iterator[Difference]:
    """Give the differences between two recordings, in the order of the expected one.

    Not compared: run ids, file ids, times, MACs, the environment (see `environment_differs`), and what the expected
    recording declares volatile. `noted` are the unlike lines where they are known (see `pair`), which saves a pass.

    Raises:
        TamperedError: a file changed while it was read.
    """
    yield from _Comparison(expected, actual, noted).run()


def environment_differs(expected: Recording, actual: Recording) -> list[str]:
    """Return the names of the members of `environment` in which two recordings differ."""
    one, other = (
        msgspec.structs.asdict(expected.start.environment),
        msgspec.structs.asdict(actual.start.environment),
    )
    return [name for name in one if one[name] != other[name]]


class _Comparison:
    def __init__(self, expected: Recording, actual: Recording, noted: list[tuple[Place, Place]] | None) -> None:
        self.noted = noted
        self.expected = expected
        self.actual = actual
        self.volatile = Volatile()
        self.reseeded = False
        self.compared: set[str | None] = set()

    def run(self) -> Iterator[Difference]:
        one, other = self.expected.start, self.actual.start
        self.volatile = Volatile(one.volatile)
        self.reseeded = (one.seed, one.seed_scheme) != (other.seed, other.seed_scheme)
        found: list[Difference] = []
        in_step = self._in_step()
        try:
            found.extend(islice(in_step, UNCERTAIN))
            if len(found) == UNCERTAIN and (self.expected.is_resumed or self.actual.is_resumed):
                raise OutOfStepError
        except OutOfStepError:
            # Nothing was given yet: a step found unlike may be superseded by what stands behind a resumption.
            self.compared.clear()
            yield from self._aligned()
            return
        yield from found
        try:
            yield from in_step
        except OutOfStepError:
            yield from self._aligned()

    # In step: line beside line, which is all there is to do for two runs of one spec that took the same course.

    def _in_step(self) -> Iterator[Difference]:
        held: list[tuple[EffectData, EffectData]] = []
        for one, other in self._unequal_lines():
            left, right = parse_event(one), parse_event(other)
            a, b = left.data, right.data
            if isinstance(a, RunStart) and isinstance(b, RunStart):
                yield from self._starts(a, b)
                self.compared.add(None)
            elif isinstance(a, RunEnd) and isinstance(b, RunEnd):
                yield from self._ends(a, b)
            elif isinstance(a, EffectData) and isinstance(b, EffectData) and _same_call(a, b):
                held.append((a, b))
            elif (
                isinstance(a, StepData)
                and isinstance(b, StepData)
                and (a.step_id, a.index, len(a.attempts)) == (b.step_id, b.index, len(b.attempts))
            ):
                mine = [(x, y) for x, y in held if x.index == a.index]
                held = [(x, y) for x, y in held if x.index != a.index]
                yield from self._steps(Record(a, [x for x, _ in mine]), Record(b, [y for _, y in mine]))
                self.compared.add(a.step_id)
            else:
                raise OutOfStepError
        if held:
            yield from self._effects_of_equal_steps(held)

    def _unequal_lines(self) -> Iterator[tuple[bytes, bytes]]:
        if self.noted is not None:
            for one, other in self.noted:
                yield self.expected.read(*one), self.actual.read(*other)
            return
        for ones, others in side_by_side(self.expected.lines(), self.actual.lines()):
            for n in unlike(ones, others):
                yield ones[n], others[n]

    def _effects_of_equal_steps(self, held: list[tuple[EffectData, EffectData]]) -> Iterator[Difference]:
        # A step's line does not hold its effects' results, so it can be equal where they are not. Effects of an
        # earlier attempt, or of a step that never ended, belong to no record.
        waiting = {x.index for x, _ in held}
        for record in self.expected.records():
            if isinstance(record, Record) and record.step.index in waiting:
                last = {effect.call for effect in record.last_effects}
                for x, y in held:
                    if x.index == record.step.index and x.attempt == record.last_attempt and x.call in last:
                        yield from self._effect(x, y, x.call)

    # Aligned: record beside record of the same step id, wherever it stands.

    def _aligned(self) -> Iterator[Difference]:
        if None not in self.compared:
            yield from self._starts(self.expected.start, self.actual.start)
        waiting: tuple[dict[str, Record], dict[str, Record]] = ({}, {})
        ends: list[RunEnd | None] = [None, None]
        for pair in zip_longest(self.expected.records(), self.actual.records()):
            for side, item in enumerate(pair):
                if isinstance(item, RunEnd):
                    ends[side] = item
                elif item is not None:
                    rival = waiting[1 - side].pop(item.step.step_id, None)
                    if rival is None:
                        waiting[side][item.step.step_id] = item
                    elif item.step.step_id not in self.compared:
                        yield from self._steps(*((rival, item) if side else (item, rival)))
        for record in waiting[0].values():
            step = record.step
            yield Difference("removed", step.step_id, step.index, "", _shown(step), None)
        for record in waiting[1].values():
            step = record.step
            yield Difference("added", step.step_id, step.index, "", None, _shown(step))
        if ends[0] is not None and ends[1] is not None:
            yield from self._ends(ends[0], ends[1])

    def _starts(self, a: RunStart, b: RunStart) -> Iterator[Difference]:
        for name in (
            "spec",
            "seed",
            "seed_scheme",
            "budget_snapshot",
            "policy",
            "canonical",
            "volatile",
            "redacted",
        ):
            yield from _members(None, None, name, getattr(a, name), getattr(b, name))
        if self.volatile.hash_inputs(a.inputs) != self.volatile.hash_inputs(b.inputs):
            yield from self._values(None, None, ("inputs",), "/inputs", a.inputs, b.inputs)

    def _ends(self, a: RunEnd, b: RunEnd) -> Iterator[Difference]:
        # A result that is one value may hold volatile places, which its hash does not leave out; its step is compared.
        names = ("status", "result_hash", "steps_completed", "steps_total", "total_cost_cents")
        for name in names if not self.volatile.rules else names[:1] + names[2:]:
            yield from _members(None, None, name, getattr(a, name), getattr(b, name))

    def _steps(self, one: Record, other: Record) -> Iterator[Difference]:
        a, b = one.step, other.step
        place = (a.step_id, a.index)
        # Another seed of the run makes every step's another: that is said once.
        names = (
            ("index", "skill_id", "skill_version") if self.reseeded else ("index", "seed", "skill_id", "skill_version")
        )
        for name in names:
            yield from _members(*place, name, getattr(a, name), getattr(b, name))
        if a.input_hash != b.input_hash:
            yield from _members(*place, "inputs", a.inputs, b.inputs)
        calls = ({effect.call: effect for effect in record.last_effects} for record in (one, other))
        ours, theirs = calls
        for call in sorted({*ours, *theirs}):
            yield from self._effect(ours.get(call), theirs.get(call), call)
        # The budget snapshot repeats the header's ceilings and sums up costs that are compared one by one.
        for name in ("success", "skipped", "because", "cost_cents"):
            yield from _members(*place, name, _said(getattr(a, name)), _said(getattr(b, name)))
        yield from _members(*place, "attempts", len(a.attempts), len(b.attempts))
        yield from _members(*place, "error", _error(a), _error(b))
        if a.output_hash != b.output_hash:
            yield from self._values(*place, ("steps", a.step_id, "output"), "/output", a.output, b.output)

    def _effect(self, x: EffectData | None, y: EffectData | None, call: int) -> Iterator[Difference]:
        path = f"/effects/{call}"
        if x is None or y is None:
            some = x or y
            if some is not None:
                kind: Kind = "added" if x is None else "removed"
                yield Difference(kind, some.step_id, some.index, path, x and _call(x), y and _call(y))
            return
        place = (x.step_id, x.index)
        yield from _members(*place, f"{path[1:]}/name", x.name, y.name)
        if x.args_hash != y.args_hash:
            yield from _members(*place, f"{path[1:]}/args", x.args, y.args)
            yield from _members(*place, f"{path[1:]}/kwargs", x.kwargs, y.kwargs)
        yield from _members(*place, f"{path[1:]}/error", _plain(x.error), _plain(y.error))
        if x.result_hash != y.result_hash:
            below = ("steps", x.step_id, "effects", x.name, "result")
            yield from self._values(*place, below, f"{path}/result", x.result, y.result)

    def _values(
        self,
        step_id: str | None,
        index: int | None,
        below: tuple[str, ...],
        path: str,
        a: msgspec.Raw,
        b: msgspec.Raw,
    ) -> Iterator[Difference]:
        one, other = (self.volatile.strip(below, decode(raw)) for raw in (a, b))
        for kind, rest, x, y in value_differences(one, other):
            yield Difference(kind, step_id, index, path + rest, x, y)


def _same_call(a: EffectData, b: EffectData) -> bool:
    return (a.index, a.step_id, a.attempt, a.call) == (b.index, b.step_id, b.attempt, b.call)


def _members(step_id: str | None, index: int | None, name: str, a: Any, b: Any) -> Iterator[Difference]:
    if isinstance(a, msgspec.Raw) and isinstance(b, msgspec.Raw):
        a, b = (None if bytes(a) == bytes(b) else decode(raw) for raw in (a, b))
    one, other = msgspec.to_builtins(a), msgspec.to_builtins(b)
    if one == other and type(one) is type(other) and not isinstance(one, dict | list | float):
        return
    for kind, rest, x, y in value_differences(one, other):
        yield Difference(kind, step_id, index, f"/{name}{rest}", x, y)


def _said(value: Any) -> Any:
    return None if value is msgspec.UNSET else value


def _error(step: StepData) -> Any:
    # Where in the code it was raised belongs to the code, not to the run.
    error = step.error
    return {"code": error.code, "type": error.type, "message": error.message} if error else None


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value) if value else None


def _call(effect: EffectData) -> Any:
    return {"name": effect.name, "args": decode(effect.args), "kwargs": decode(effect.kwargs)}


def _shown(step: StepData) -> Any:
    return {"skill_id": step.skill_id, "success": step.success, "output": decode(step.output)}
