"""Checkpoints, for any history: every store does what a dictionary would, and no output changes on its way."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from golden.canonical import canonical_bytes
from golden.errors import StoreError
from replay.checkpoints.contract import (
    RUNNING,
    STATUSES,
    Checkpoint,
    CheckpointStore,
    CheckpointVersionConflictError,
    LeaseHeldError,
    StepOutput,
)
from replay.checkpoints.state import NO_OUTPUTS, content_hash, outputs_hash
from tests.checkpoint_places import KINDS, begin, failed, output, place

RUNS = ("r-1", "r-2")
OWNERS = (None, "host:1", "host:2")

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@dataclass
class Known:
    """What a run's checkpoint is, as far as a dictionary would say."""

    version: int = 1
    status: str = RUNNING
    owner: str | None = None
    outputs: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass
class World:
    """A store, what each run's holders think that they hold, and what stands there."""

    store: CheckpointStore
    known: dict[str, Known] = field(default_factory=dict)
    held: dict[str, list[Checkpoint]] = field(default_factory=lambda: {run_id: [] for run_id in RUNS})

    def attempt(self, run_id: str, work: Callable[[], Checkpoint | None], expected: int) -> Checkpoint | None:
        """Do something that needs a version; where that is another, or none, the refusal must say so."""
        known = self.known.get(run_id)
        actual = known.version if known else 0
        try:
            given = work()
        except CheckpointVersionConflictError as error:
            told = (error.run_id, error.expected, error.actual)
        except StoreError as error:
            told = (run_id, expected, 0) if "checkpoint not found" in error.problem else ("?", 0, 0)
        else:
            assert expected == actual
            self.held[run_id] += [given] if given else []
            return given or begin()
        assert told == (run_id, expected, actual)
        assert expected != actual or not actual
        return None

    def create(self, run_id: str, owner: str | None) -> None:
        if self.attempt(run_id, lambda: self.store.create(begin(run_id, lease_owner=owner)), 0):
            self.known[run_id] = Known(owner=owner)

    def save(self, run_id: str, which: int, status: str, owner: str | None, outputs: list[StepOutput]) -> None:
        if not self.held[run_id]:
            return
        held = self.held[run_id][which % len(self.held[run_id])]
        changed = replace(held, status=status, lease_owner=owner, events=held.events + 1)
        if self.attempt(run_id, lambda: self.store.save(changed, outputs), held.version):
            known = self.known[run_id]
            known.version += 1
            known.status = status
            known.owner = owner if status == RUNNING else None
            known.outputs += [(known.version, found.output) for found in outputs]

    def acquire(self, run_id: str, owner: str, dead: bool) -> None:
        known = self.known.get(run_id)
        if known is None:
            return
        free = dead or known.owner in {None, owner}
        try:
            self.held[run_id].append(self.store.acquire(run_id, owner, lambda _: dead))
        except LeaseHeldError as error:
            told = error.owner
        else:
            assert free
            known.version += 1
            known.owner = owner
            return
        assert (told, free) == (known.owner, False)

    def set_status(self, run_id: str, status: str, expected: int) -> None:
        if self.attempt(run_id, lambda: self.store.set_status(run_id, status, expected), expected):
            known = self.known[run_id]
            known.version += 1
            known.status, known.owner = status, None

    def delete(self, run_id: str, expected: int) -> None:
        if self.attempt(run_id, lambda: self.store.delete(run_id, expected), expected):
            # Who still holds it would be refused for another reason than its version.
            del self.known[run_id], self.held[run_id][:]

    def check(self) -> None:
        for run_id in RUNS:
            found, known = self.store.load(run_id), self.known.get(run_id)
            if known is None:
                assert found is None
                continue
            assert found is not None
            assert (found.version, found.status, found.lease_owner) == (known.version, known.status, known.owner)
            assert (found.lease_until is None) == (known.owner is None)
            assert content_hash(found) == found.content_hash
            outputs = self.store.outputs(run_id)
            assert [(each.version, each.output) for each in outputs] == known.outputs
            assert outputs_hash(NO_OUTPUTS, outputs) == found.outputs_hash
            if self.held[run_id]:
                assert self.held[run_id][-1].updated_at <= found.updated_at
        assert sorted(c.run_id for c in self.store.overview().checkpoints) == sorted(self.known)


runs = st.sampled_from(RUNS)
numbers = st.integers(0, 6)
statuses = st.sampled_from(STATUSES)
outputs_of_steps = st.lists(st.builds(output, numbers, json_values) | st.builds(failed, numbers), max_size=3)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("create"), runs, st.sampled_from(OWNERS)),
        st.tuples(st.just("save"), runs, st.just(-1), st.just(RUNNING), st.sampled_from(OWNERS), outputs_of_steps),
        st.tuples(st.just("save"), runs, numbers, statuses, st.sampled_from(OWNERS), outputs_of_steps),
        st.tuples(st.just("acquire"), runs, st.sampled_from(OWNERS[1:]), st.booleans()),
        st.tuples(st.just("set_status"), runs, statuses, numbers),
        st.tuples(st.just("delete"), runs, numbers),
    ),
    max_size=15,
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_store_does_what_a_dictionary_would(kind: str) -> None:
    @settings(max_examples=15 if kind == "postgres" else 60)
    @given(operations)
    def check(history: list[tuple[Any, ...]]) -> None:
        with tempfile.TemporaryDirectory() as folder, place(kind, Path(folder)) as found:
            world = World(found.store())
            for name, *arguments in history:
                getattr(world, name)(*arguments)
                world.check()

    check()


@given(st.lists(json_values, min_size=1, max_size=6))
def test_outputs_come_back_byte_for_byte(values: list[Any]) -> None:
    for kind in KINDS[:3]:
        with tempfile.TemporaryDirectory() as folder, place(kind, Path(folder)) as found:
            store = found.store()
            store.save(store.create(begin()), [output(number, value) for number, value in enumerate(values)])
            assert [each.output for each in found.store().outputs("r-1")] == [canonical_bytes(v) for v in values]


@given(st.lists(st.builds(output, numbers, json_values) | st.builds(failed, numbers), max_size=4), st.data())
def test_other_outputs_or_another_order_give_another_hash(outputs: list[StepOutput], data: st.DataObject) -> None:
    others = data.draw(st.permutations(outputs) | st.just([*outputs, failed(0)]) | st.just(outputs[1:]))
    assert (outputs_hash(NO_OUTPUTS, outputs) == outputs_hash(NO_OUTPUTS, others)) == (outputs == others)
    split = data.draw(st.integers(0, len(outputs)))
    first = outputs_hash(NO_OUTPUTS, outputs[:split])
    assert outputs_hash(first, outputs[split:]) == outputs_hash(NO_OUTPUTS, outputs)
