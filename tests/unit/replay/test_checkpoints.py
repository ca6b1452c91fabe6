"""Four stores keep one contract: what is saved comes back, what is stale is refused, what was edited not believed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from golden.clock import timestamp
from golden.errors import GoldenError, StoreError, UsageError
from replay.checkpoints import state
from replay.checkpoints.contract import (
    LEASE_SECONDS,
    STATUSES,
    CheckpointStore,
    CheckpointVersionConflictError,
    LeaseHeldError,
)
from tests.checkpoint_places import KINDS, PAST, InPostgres, Place, begin, ended, failed, output, place, said, step

FUTURE = "2199-01-01T00:00:00.000000Z"


@pytest.fixture(params=KINDS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place of each kind."""
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def store(here: Place) -> CheckpointStore:
    """A store there."""
    return here.store()


def nobody_is_dead(owner: str) -> bool:
    return False


def conflict(error: CheckpointVersionConflictError) -> tuple[str, int, int]:
    return error.run_id, error.expected, error.actual


def test_the_first_checkpoint_is_version_1_and_comes_back_as_it_is(here: Place, store: CheckpointStore) -> None:
    given = begin(tenant_id="acme", lease_owner="host:1", total_cost_cents=3)
    created = store.create(given)
    assert created.version == 1
    assert said(created) == said(given)
    assert here.store().load("r-1") == created
    assert here.store().outputs("r-1") == []


def test_a_save_is_the_next_version_with_its_outputs(here: Place, store: CheckpointStore) -> None:
    first = store.create(begin())
    changed = replace(first, next_step_index=2, events=4, total_cost_cents=9, last_result_hash="b" * 64)
    second = store.save(changed, [output(1, {"b": [1, 2.5, None]}), output(0, "ä\u0000")])
    assert second.version == 2
    assert said(second) == said(changed)
    third = store.save(replace(second, events=5), [failed(2)])
    found = here.store().outputs("r-1")
    assert [(o.version, o.step_index, o.step_id, o.output) for o in found] == [
        (2, 1, "step-1", b'{"b":[1,2.5,null]}'),
        (2, 0, "step-0", '"ä\\u0000"'.encode()),
        (3, 2, "step-2", None),
    ]
    assert here.store().load("r-1") == third


def test_an_output_of_null_is_not_that_of_a_failed_step(store: CheckpointStore) -> None:
    store.save(store.create(begin()), [output(0, None), failed(1)])
    assert [o.output for o in store.outputs("r-1")] == [b"null", None]


def test_outputs_are_those_up_to_a_version_of_the_checkpoint(store: CheckpointStore) -> None:
    held = store.create(begin())
    for value in "abc":
        held = step(store, held, value)
    assert [o.output for o in store.outputs("r-1", 3)] == [b'"a"', b'"b"']
    assert store.outputs("r-1", 1) == []
    assert store.outputs("r-1", 4) == store.outputs("r-1")


@pytest.mark.parametrize("version", [0, 3, -1])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(store: CheckpointStore, version: int) -> None:
    step(store, store.create(begin()))
    with pytest.raises(StoreError, match=f"checkpoint not found: {version} of run r-1") as caught:
        store.outputs("r-1", version)
    assert "from 1 to 2" in caught.value.hint


def test_a_run_that_was_never_saved_is_absent(store: CheckpointStore) -> None:
    assert store.load("r-1") is None
    with pytest.raises(StoreError, match="checkpoint not found: run r-1"):
        store.outputs("r-1")
    with pytest.raises(StoreError, match="checkpoint not found: run r-1"):
        store.acquire("r-1", "host:1", nobody_is_dead)


def test_a_run_is_created_once(store: CheckpointStore) -> None:
    held = step(store, store.create(begin()))
    with pytest.raises(CheckpointVersionConflictError) as caught:
        store.create(begin(seed=8))
    assert conflict(caught.value) == ("r-1", 0, 2)
    assert store.load("r-1") == held


def test_a_stale_version_is_refused_and_changes_nothing(here: Place, store: CheckpointStore) -> None:
    stale = store.create(begin())
    newest = step(store, step(store, stale, "a"), "b")
    with pytest.raises(CheckpointVersionConflictError, match="CheckpointVersionConflictError: run r-1") as caught:
        step(here.store(), stale, "lost")
    assert conflict(caught.value) == ("r-1", 1, 3)
    assert isinstance(caught.value, GoldenError)
    assert here.store().load("r-1") == newest
    assert [o.output for o in here.store().outputs("r-1")] == [b'"a"', b'"b"']


def test_what_was_deleted_is_not_saved_again(store: CheckpointStore) -> None:
    held = step(store, store.create(begin()))
    store.delete("r-1", 2)
    with pytest.raises(CheckpointVersionConflictError) as caught:
        step(store, held)
    assert conflict(caught.value) == ("r-1", 2, 0)
    assert store.load("r-1") is None


def test_a_run_begun_anew_is_not_overwritten_by_who_held_the_old_one(store: CheckpointStore) -> None:
    old = store.create(begin())
    store.delete("r-1", 1)
    new = store.create(begin())
    with pytest.raises(StoreError, match="run r-1 was begun anew: its version 1"):
        step(store, old)
    assert store.load("r-1") == new


def test_deleting_takes_the_outputs_along(store: CheckpointStore) -> None:
    step(store, store.create(begin()), "old")
    with pytest.raises(CheckpointVersionConflictError) as caught:
        store.delete("r-1", 1)
    assert conflict(caught.value) == ("r-1", 1, 2)
    store.delete("r-1", 2)
    store.create(begin())
    assert store.outputs("r-1") == []
    with pytest.raises(StoreError, match="checkpoint not found: run r-2"):
        store.delete("r-2", 1)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_kept(store: CheckpointStore, status: str) -> None:
    store.save(replace(store.create(begin()), status=status))
    found = store.load("r-1")
    assert found is not None
    assert found.status == status


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "paused"},
        {"next_step_index": -1},
        {"events": -1},
        {"total_cost_cents": 1 << 63},
        {"lease_owner": ""},
        {"lease_owner": "a\nb"},
        {"ended_at": "yesterday"},
    ],
    ids=str,
)
def test_what_no_checkpoint_can_say_is_refused_and_nothing_stored(store: CheckpointStore, changes: Any) -> None:
    held = store.create(begin())
    with pytest.raises(UsageError):
        store.save(replace(held, **changes))
    assert store.load("r-1") == held


@pytest.mark.parametrize(
    "members",
    [
        {"run_id": "../x"},
        {"run_id": "a/b"},
        {"workflow_id": ""},
        {"workflow_id": "a\x00b"},
        {"tenant_id": "x" * 256},
        {"golden_path": "\udce4"},
        {"golden_path": "a\x00b"},
        {"started_at": "2025-06-01T10:00:00Z"},
        {"version": 1},
        {"seed": "7"},
        {"spec_hash": "a" * 63},
    ],
    ids=str,
)
def test_what_cannot_begin_a_run_is_refused(store: CheckpointStore, members: Any) -> None:
    with pytest.raises(UsageError):
        store.create(begin(**members))
    assert store.overview().checkpoints == []


@pytest.mark.parametrize("run_id", ["../x", "", "a/b", ".hidden", "x" * 129, "a\nb"])
def test_what_is_no_run_id_is_refused_everywhere(store: CheckpointStore, run_id: str) -> None:
    for attempt in (
        lambda: store.load(run_id),
        lambda: store.outputs(run_id),
        lambda: store.acquire(run_id, "me", nobody_is_dead),
        lambda: store.set_status(run_id, "failed", 1),
        lambda: store.delete(run_id, 1),
        lambda: store.save(begin(run_id, version=1)),
    ):
        with pytest.raises(UsageError, match="is not a run id"):
            attempt()


@pytest.mark.parametrize("seed", [0, -1, 1 << 63, (1 << 64) - 1, 1 << 80, -(1 << 80)])
def test_a_seed_has_all_its_bits(here: Place, store: CheckpointStore, seed: int) -> None:
    store.create(begin(seed=seed))
    found = here.store().load("r-1")
    assert found is not None
    assert found.seed == seed


def test_an_output_of_a_megabyte_and_a_thousand_small_ones_come_back(here: Place, store: CheckpointStore) -> None:
    held = step(store, store.create(begin()), "x" * (1 << 20))
    values = [{"n": n, "t": "ü" * (n % 7)} for n in range(1000)]
    store.save(replace(held, events=9), [output(n, value) for n, value in enumerate(values)])
    found = here.store().outputs("r-1")
    assert [json.loads(o.output or b"") for o in found] == ["x" * (1 << 20), *values]


def test_an_output_without_its_hash_is_refused(store: CheckpointStore) -> None:
    held = store.create(begin())
    with pytest.raises(UsageError, match="the output of step step-0 has no hash"):
        store.save(held, [output(0, output_hash=None)])
    assert store.outputs("r-1") == []


# Leases


def test_a_lease_begins_anew_with_each_save_and_ends_with_the_run(store: CheckpointStore) -> None:
    first = store.create(begin(lease_owner="host:1"))
    assert first.lease_until is not None
    second = step(store, first)
    assert second.lease_until is not None
    assert first.updated_at <= second.updated_at < second.lease_until
    assert second.lease_until > first.lease_until
    last = store.save(replace(second, status="completed", ended_at=timestamp()))
    assert (last.lease_owner, last.lease_until) == (None, None)
    assert store.load("r-1") == last


def test_a_lease_lasts_as_long_as_it_says(store: CheckpointStore) -> None:
    before = timestamp(LEASE_SECONDS - 60)
    held = store.create(begin(lease_owner="host:1"))
    assert held.lease_until is not None
    assert before < held.lease_until < timestamp(LEASE_SECONDS + 60)


def test_a_run_is_one_owners_at_a_time(store: CheckpointStore) -> None:
    held = store.create(begin(lease_owner="host:1"))
    with pytest.raises(LeaseHeldError, match="run r-1 belongs to host:1 until") as caught:
        store.acquire("r-1", "host:2", nobody_is_dead)
    assert (caught.value.run_id, caught.value.owner, caught.value.until) == ("r-1", "host:1", held.lease_until)
    assert store.load("r-1") == held


@pytest.mark.parametrize("why", ["dead", "run out", "given back", "its own"])
def test_a_lease_can_be_taken_and_whoever_had_it_saves_no_more(here: Place, store: CheckpointStore, why: str) -> None:
    held = step(store, store.create(begin(lease_owner="host:1")), "a")
    if why == "run out":
        here.edit("r-1", lease_until=PAST)
    if why == "given back":
        held = store.save(replace(held, lease_owner=None))
    taken = here.store().acquire("r-1", "host:1" if why == "its own" else "host:2", lambda _: why == "dead")
    assert taken.version == held.version + 1
    assert taken.lease_until is not None
    assert here.store().load("r-1") == taken
    with pytest.raises(CheckpointVersionConflictError) as caught:
        step(store, held, "lost")
    assert conflict(caught.value) == ("r-1", held.version, taken.version)
    step(store, taken, "b")
    assert [o.output for o in store.outputs("r-1")] == [b'"a"', b'"b"']


def test_somebody_saving_without_a_lease_cannot_keep_another_from_taking_it(store: CheckpointStore) -> None:
    store.create(begin())
    assert store.acquire("r-1", "host:2", nobody_is_dead).lease_owner == "host:2"


# Set by hand


def test_a_status_set_by_hand_ends_the_lease_and_the_writer(here: Place, store: CheckpointStore) -> None:
    held = store.create(begin(lease_owner="host:1"))
    found = here.store().set_status("r-1", "failed", 1)
    assert (found.status, found.version, found.lease_owner, found.lease_until) == ("failed", 2, None, None)
    assert found.ended_at is not None
    assert here.store().load("r-1") == found
    with pytest.raises(CheckpointVersionConflictError):
        step(store, held)
    again = store.set_status("r-1", "running", 2)
    assert (again.status, again.ended_at) == ("running", None)


def test_a_status_is_set_on_the_version_expected(store: CheckpointStore) -> None:
    held = step(store, store.create(begin()))
    for expected in (1, 3):
        with pytest.raises(CheckpointVersionConflictError) as caught:
            store.set_status("r-1", "failed", expected)
        assert conflict(caught.value) == ("r-1", expected, 2)
    with pytest.raises(StoreError, match="checkpoint not found: run r-9"):
        store.set_status("r-9", "failed", 1)
    with pytest.raises(UsageError, match="paused"):
        store.set_status("r-1", "paused", 2)
    assert store.load("r-1") == held


# Overview


def test_the_newest_come_first_and_only_those_that_fit(here: Place, store: CheckpointStore) -> None:
    store.create(begin("a"))
    ended(store, "b", "failed", workflow_id="other")
    store.create(begin("c", workflow_id="other"))
    ended(store, "d")
    for place_in_time, run_id in enumerate("abcd"):
        here.edit(run_id, updated_at=f"2025-06-0{place_in_time + 1}T00:00:00.000000Z")

    def names(**wanted: Any) -> str:
        found = here.store().overview(**wanted)
        assert found.bad == []
        return "".join(checkpoint.run_id for checkpoint in found.checkpoints)

    assert names() == "dcba"
    assert names(limit=2) == "dc"
    assert names(limit=0) == ""
    assert names(status="running") == "ca"
    assert names(workflow_id="other") == "cb"
    assert names(updated_before="2025-06-03T00:00:00.000000Z") == "ba"
    assert names(status="running", workflow_id="other", updated_before=FUTURE, limit=1) == "c"
    with pytest.raises(UsageError, match="status 'paused' does not exist"):
        store.overview(status="paused")
    with pytest.raises(UsageError, match="'yesterday' is no time"):
        store.overview(updated_before="yesterday")
    with pytest.raises(UsageError, match="limit -1 is negative"):
        store.overview(limit=-1)


def test_what_is_stored_comes_back_in_an_overview(store: CheckpointStore) -> None:
    checkpoints = [
        ended(store, "a", tenant_id="acme"),
        store.create(begin("b", lease_owner="host:1", seed=(1 << 64) - 1)),
    ]
    assert sorted(store.overview().checkpoints, key=lambda c: c.run_id) == checkpoints


# Pruning


def test_pruning_keeps_the_newest_and_what_still_runs(here: Place, store: CheckpointStore) -> None:
    runs = ["old", "older", "oldest", "new"]
    for run_id in runs:
        ended(store, run_id)
    for day, run_id in enumerate(reversed(runs[:3]), 1):
        here.edit(run_id, updated_at=f"2025-06-0{day}T00:00:00.000000Z")
    store.create(begin("running"))
    here.edit("running", updated_at=PAST)
    ended(store, "taken")
    store.acquire("taken", "host:1", nobody_is_dead)
    here.edit("taken", updated_at=PAST)

    before = "2025-06-03T00:00:00.000000Z"
    foreseen = store.prune(before, 1, dry_run=True)
    assert len(store.overview().checkpoints) == 6
    pruned = here.store().prune(before, 1)
    assert pruned == foreseen
    assert (pruned.scanned, pruned.removed, pruned.remaining) == (6, ["oldest", "older"], 4)
    assert pruned.reclaimed > 0
    assert {c.run_id for c in store.overview().checkpoints} == {"old", "new", "running", "taken"}
    assert store.prune(FUTURE, 1).removed == ["old"]
    assert store.prune(FUTURE, 1).removed == []


@pytest.mark.parametrize("keep", [0, -1])
def test_pruning_keeps_at_least_one(store: CheckpointStore, keep: int) -> None:
    ended(store, "a")
    with pytest.raises(UsageError, match=f"cannot keep {keep}"):
        store.prune(FUTURE, keep)
    with pytest.raises(UsageError, match="'yesterday' is no time"):
        store.prune("yesterday", 1)
    assert store.load("a") is not None


def test_pruning_an_empty_place_finds_nothing(store: CheckpointStore) -> None:
    pruned = store.prune(FUTURE, 1)
    assert (pruned.scanned, pruned.removed, pruned.reclaimed, pruned.remaining) == (0, [], 0, 0)


# Clocks


def test_a_clock_that_is_put_back_puts_no_checkpoint_back(
    here: Place, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = step(store, store.create(begin(lease_owner="host:1")))
    # Of the server's clock we can only say that it was ahead.
    here.edit("r-1", updated_at=FUTURE)
    held = replace(held, updated_at=FUTURE)
    monkeypatch.setattr(state, "timestamp", lambda _later=0: PAST)
    after = step(store, held)
    assert after.updated_at == FUTURE
    assert here.store().load("r-1") == after


# The place itself


def test_reading_makes_nothing(here: Place, store: CheckpointStore, tmp_path: Path) -> None:
    store.ping()
    assert store.overview().checkpoints == []
    assert store.load("r-1") is None
    assert list(tmp_path.iterdir()) == []
    if isinstance(here, InPostgres):
        assert here.execute("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace") == []


def test_a_closed_store_opens_again(here: Place, store: CheckpointStore) -> None:
    held = store.create(begin())
    store.close()
    store.close()
    assert store.load("r-1") == held


def test_a_place_is_called_by_its_name(here: Place, store: CheckpointStore, tmp_path: Path) -> None:
    expected = {
        "memory": "memory",
        "file": f"{tmp_path}/kept",
        "sqlite": f"{tmp_path}/c.sqlite",
        "postgres": "postgresql://postgres@127.0.0.1:5432/test",
    }
    assert store.place == expected[here.kind]


def test_only_what_is_in_the_golden_directory_is_beside_its_files(
    here: Place, store: CheckpointStore, tmp_path: Path
) -> None:
    assert store.is_beside(str(tmp_path)) is (here.kind != "postgres")
    assert store.is_beside(str(tmp_path / "elsewhere")) is (here.kind == "memory")


# Damage and editing


@pytest.fixture(params=KINDS[1:])
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place that others can edit, with a run of two steps."""
    with place(request.param, tmp_path) as found:
        store = found.store()
        step(store, step(store, store.create(begin()), "a"), "b")
        yield found


EDITS = [
    {"workflow_id": "other"},
    {"tenant_id": "acme"},
    {"next_step_index": 9},
    {"last_result_hash": "c" * 64},
    {"last_result_hash": None},
    {"status": "completed"},
    {"version": 4},
    {"created_at": PAST},
    {"started_at": PAST},
    {"ended_at": PAST},
    {"seed": 8},
    {"spec_hash": "c" * 64},
    {"golden_path": "elsewhere"},
    {"file_id": "e" * 32},
    {"events": 9},
    {"total_cost_cents": 0 + 1},
    {"outputs_hash": "c" * 64},
    {"content_hash": "c" * 64},
]


@pytest.mark.parametrize("changes", EDITS, ids=str)
def test_an_edited_checkpoint_is_not_believed(outside: Place, changes: Any) -> None:
    outside.edit("r-1", **changes)
    survey = outside.store().overview()
    assert [(len(survey.checkpoints), len(survey.bad))] == [(0, 1)]
    with pytest.raises(StoreError, match="run r-1") as caught:
        outside.store().load("r-1")
    assert caught.value.hint.startswith("the golden file is the truth")


OUTPUT_EDITS = [
    {"step_index": 5},
    {"step_id": "other"},
    {"output_hash": "c" * 64},
    {"output_hash": None},
    {"version": 4},
]


@pytest.mark.parametrize("changes", OUTPUT_EDITS, ids=str)
def test_an_edited_output_is_not_believed(outside: Place, changes: Any) -> None:
    outside.edit_output("r-1", 0, **changes)
    with pytest.raises(StoreError, match="run r-1"):
        outside.store().outputs("r-1")


def test_an_output_with_another_value_is_not_believed(outside: Place) -> None:
    outside.edit_output("r-1", 0, output="z" if outside.kind == "file" else b'"z"')
    with pytest.raises(StoreError, match="run r-1"):
        outside.store().load("r-1")


def test_a_bad_checkpoint_hides_no_other(outside: Place) -> None:
    good = outside.store().create(begin("r-2"))
    outside.edit("r-1", events=99)
    survey = outside.store().overview()
    assert survey.checkpoints == [good]
    assert [("r-1" in bad.problem, bool(bad.hint)) for bad in survey.bad] == [(True, True)]
    assert outside.store().prune(FUTURE, 1).scanned == 2


def test_an_edited_checkpoint_gets_no_status_and_no_owner_that_would_make_it_good(outside: Place) -> None:
    outside.edit("r-1", total_cost_cents=77)
    with pytest.raises(StoreError):
        outside.store().set_status("r-1", "failed", 3)


def test_the_lease_and_the_time_may_be_edited(outside: Place) -> None:
    outside.edit("r-1", lease_owner="host:9", lease_until=FUTURE, updated_at=PAST)
    found = outside.store().load("r-1")
    assert found is not None
    assert (found.lease_owner, found.lease_until, found.updated_at) == ("host:9", FUTURE, PAST)


# Several processes


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_forked_child_uses_the_store_and_so_does_its_parent_after(kind: str, tmp_path: Path) -> None:
    with place(kind, tmp_path) as found:
        store = found.store()
        held = step(store, store.create(begin()), "parent")
        child = os.fork()
        if not child:
            code = 1
            try:
                seen = store.load("r-1")
                step(store, seen or held, "child")
                store.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        newest = store.load("r-1")
        assert newest is not None
        step(store, newest, "parent again")
        assert [o.output for o in store.outputs("r-1")] == [b'"parent"', b'"child"', b'"parent again"']
