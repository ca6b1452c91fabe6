"""Glance: what a golden file says of itself, for every way a run may have ended, and for files that say nothing."""

from pathlib import Path

import pytest

from cli.glance import Glance, glance
from golden.errors import StoreError
from golden.event import Data
from golden.store import GoldenFile, Store
from tests import runs


def seen(store: Store, run_id: str = "r-1") -> Glance:
    return glance(store.folder, run_id)


def recorded(store: Store, *events: Data, run_id: str = "r-1") -> GoldenFile:
    return runs.record(store, run_id, [runs.start({}), *events])


def test_a_sealed_run_says_how_it_ended(run: GoldenFile, store: Store) -> None:
    found = seen(store)
    assert (found.status, found.sealed, found.events) == ("completed", True, 5)
    assert (found.steps_completed, found.steps_total, found.next_step_index) == (2, 2, 2)
    assert found.last_result_hash == runs.step(1, "mean 2").output_hash
    assert found.started_at is not None
    assert found.ended_at is not None
    assert found.updated_at is not None
    assert found.started_at <= found.ended_at <= found.updated_at


def test_a_file_without_its_seal_says_how_the_run_ended_all_the_same(run: GoldenFile, store: Store) -> None:
    run.seal_path.unlink()
    found = seen(store)
    assert (found.status, found.sealed, found.events) == ("completed", False, 5)


def test_a_file_without_an_end_is_of_a_running_run(run: GoldenFile, store: Store) -> None:
    run.seal_path.unlink()
    lines = run.path.read_bytes().splitlines(keepends=True)
    for count, following in ((1, 0), (2, 0), (3, 1), (4, 2)):
        run.path.write_bytes(b"".join(lines[:count]))
        found = seen(store)
        assert (found.status, found.events, found.ended_at) == ("running", count, None)
        assert (found.next_step_index, found.steps_completed) == (following, following)


def test_a_line_that_is_not_whole_says_nothing(run: GoldenFile, store: Store) -> None:
    run.seal_path.unlink()
    lines = run.path.read_bytes().splitlines(keepends=True)
    run.path.write_bytes(b"".join(lines[:3]) + lines[3][:-1])
    found = seen(store)
    assert (found.status, found.events, found.next_step_index) == ("running", 3, 1)


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_no_damage_at_the_end_is_more_than_a_refusal(run: GoldenFile, store: Store, size: int) -> None:
    run.seal_path.unlink()
    data = run.path.read_bytes()
    run.path.write_bytes(data[: len(data) - size])
    assert seen(store).status in {"running", "completed"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b"garbage\n",
        b"\x00" * 9999,
        b"[" * 99999 + b"\n",
        b'{"run_id":"r-1","timestamp":"yesterday","data":{"seed":1},"golden":{"file_id":"00","v":1}}\n',
        b'{"run_id":"r-1","data":{"\xff":1}}\n',
    ],
    ids=range(8),
)
def test_what_says_nothing_is_refused(store: Store, content: bytes) -> None:
    Path(store.folder).mkdir()
    Path(store.folder, "r-1.steps.jsonl").write_bytes(content)
    with pytest.raises(StoreError, match="run r-1") as refusal:
        seen(store)
    assert refusal.value.hint == "see `golden verify r-1`"


def test_a_file_of_another_run_is_refused(run: GoldenFile, store: Store) -> None:
    run.path.rename(run.path.with_name("r-2.steps.jsonl"))
    with pytest.raises(StoreError, match="run r-2"):
        seen(store, "r-2")
    with pytest.raises(StoreError, match="run r-1: the file is missing"):
        seen(store, "r-1")


@pytest.mark.parametrize("data", [b"", b"{}\n", b"garbage"])
def test_a_seal_that_is_none_is_refused(run: GoldenFile, store: Store, data: bytes) -> None:
    run.seal_path.write_bytes(data)
    with pytest.raises(StoreError, match="run r-1"):
        seen(store)


def test_a_seal_of_another_run_is_refused(run: GoldenFile, store: Store) -> None:
    other = recorded(store, runs.end(), run_id="r-2")
    run.seal_path.write_bytes(other.seal_path.read_bytes())
    with pytest.raises(StoreError, match="run r-1"):
        seen(store)


def test_a_long_file_is_not_read_whole(run: GoldenFile, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run.seal_path.unlink()
    run.path.write_bytes(b"".join(run.path.read_bytes().splitlines(keepends=True)[:4]))
    monkeypatch.setattr("cli.glance._MAX_READ", 10)
    found = seen(store)
    assert (found.status, found.events, found.next_step_index) == ("running", 4, None)


def test_a_run_that_failed_says_at_which_step(store: Store) -> None:
    recorded(store, runs.step(0, 1), runs.failed(1), runs.end("failed", steps_completed=1, steps_total=3))
    found = seen(store)
    assert (found.status, found.next_step_index, found.steps_completed, found.steps_total) == ("failed", 1, 1, 3)
    assert found.error_code == runs.failed(1).error_code
    assert found.last_result_hash == runs.step(0, 1).output_hash


def test_the_first_step_that_has_not_succeeded_is_the_next_whatever_the_order(store: Store) -> None:
    steps = (runs.step(2, 1), runs.step(0, 1), runs.failed(1), runs.step(3, 1))
    recorded(store, *steps, runs.end("failed", steps_completed=3, steps_total=4))
    assert seen(store).next_step_index == 1


def test_of_a_step_that_was_made_again_the_last_event_counts(store: Store) -> None:
    events: list[Data] = [runs.start({}), runs.step(0, 1), runs.failed(1), runs.resume(1), runs.step(1, 2)]
    file = runs.broken_off(store, "r-1", events)
    found = seen(store)
    assert (found.next_step_index, found.steps_completed) == (2, 2)
    file.path.write_bytes(b"".join(file.path.read_bytes().splitlines(keepends=True)[:-1]))
    assert seen(store).next_step_index == 1
