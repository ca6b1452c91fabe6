"""Recording: what verified is what is read, and the effective record is what counts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from golden.errors import FormatError, KeyringError, StoreError, TamperedError
from golden.event import Data, EffectData, RunEnd
from golden.keyring import Keyring
from golden.lines import BLOCK
from golden.recording import Record, Recording
from golden.store import GoldenFile, Store
from tests import runs
from tests.runs import STRANGER

BIG = "x" * 300_000


@pytest.fixture
def large(store: Store) -> GoldenFile:
    """A sealed file of a little more than two blocks."""
    events: list[Data] = [runs.start(), *(runs.step(n, BIG) for n in range(8)), runs.end()]
    file = runs.record(store, "r-1", events)
    assert 2 * BLOCK < file.path.stat().st_size < 3 * BLOCK
    return file


@pytest.fixture
def recording(large: GoldenFile) -> Iterator[Recording]:
    """The large file, verified and held open."""
    with runs.opened(large) as recording:
        yield recording


def test_a_recording_gives_the_bytes_that_verified(large: GoldenFile, recording: Recording) -> None:
    data = large.path.read_bytes()
    assert b"".join(recording.blocks()) == data
    assert [line for batch in recording.lines() for line in batch] == data.splitlines()
    assert [event.seq for event in recording.events()] == list(range(10))
    assert recording.read(5, 2 * BLOCK + 7) == data[5 : 2 * BLOCK + 7]
    assert recording.read(BLOCK, BLOCK) == b""
    assert recording.run_id == "r-1"
    assert recording.start.seed == 7
    assert isinstance(recording.end, RunEnd)
    assert recording.timestamp.startswith("2")


@pytest.mark.parametrize("block", range(3))
def test_a_change_in_any_block_is_met_before_that_block_is_given(
    large: GoldenFile, recording: Recording, block: int
) -> None:
    with large.path.open("r+b") as file:
        file.seek(block * BLOCK + 1000)
        file.write(b"#")
    given = recording.blocks()
    for _ in range(block):
        assert b"#" not in next(given)
    with pytest.raises(TamperedError, match=f"changed while it was being read, after byte {block * BLOCK}"):
        next(given)
    with pytest.raises(TamperedError):
        list(recording.events())
    with pytest.raises(TamperedError):
        recording.read(block * BLOCK + 10, block * BLOCK + 20)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_a_file_cut_after_it_verified_is_met(large: GoldenFile, recording: Recording, size: int) -> None:
    os.truncate(large.path, size)
    with pytest.raises(TamperedError, match=f"after byte {size // BLOCK * BLOCK}"):
        list(recording.events())
    with pytest.raises(TamperedError):
        _ = recording.end


def test_a_file_appended_to_after_it_verified_gives_nothing_new(large: GoldenFile, recording: Recording) -> None:
    before = large.path.read_bytes()
    with large.path.open("ab") as file:
        file.write(b'{"more":1}\n' * 200_000)
    assert b"".join(recording.blocks()) == before
    assert len(list(recording.events())) == 10


def test_a_file_replaced_after_it_verified_is_not_the_one_that_is_read(
    large: GoldenFile, recording: Recording, store: Store
) -> None:
    before = large.path.read_bytes()
    other = runs.record(store, "r-2", [runs.start(), runs.end()])
    other.path.replace(large.path)
    assert b"".join(recording.blocks()) == before


def test_a_change_that_was_taken_back_is_no_change(large: GoldenFile, recording: Recording) -> None:
    before = large.path.read_bytes()
    os.truncate(large.path, 10)
    large.path.write_bytes(before)
    assert b"".join(recording.blocks()) == before


@pytest.mark.parametrize("position", ["start", "first step"])
def test_a_file_changed_before_its_first_step_never_gives_that_step(large: GoldenFile, position: str) -> None:
    with runs.opened(large) as recording:
        if position == "first step":
            assert recording.start.seed == 7
        data = large.path.read_bytes()
        large.path.write_bytes(data.replace(b'"index":0,', b'"index":9,', 1))
        with pytest.raises(TamperedError):
            next(iter(recording.records()))


def test_a_closed_recording_holds_no_descriptor(large: GoldenFile) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        recording = runs.opened(large)
        recording.close()
        recording.close()
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20


def records(store: Store, *events: Data) -> list[Record | RunEnd]:
    store.directory.mkdir()
    with runs.opened(runs.forge(store.directory, "r-1", [runs.start(), *events])) as recording:
        return list(recording.records())


def brief(found: list[Record | RunEnd]) -> list[tuple[int, bytes, list[bytes]]]:
    return [
        (item.step.index, bytes(item.step.output), [bytes(effect.result) for effect in item.last_effects])
        for item in found
        if isinstance(item, Record)
    ]


def test_a_record_is_a_step_with_its_effects_by_call(store: Store) -> None:
    found = records(store, runs.effect(0, 1, "b"), runs.effect(0, 0, "a"), runs.step(0, 1), runs.step(1, 2), runs.end())
    assert brief(found) == [(0, b"1", [b'"a"', b'"b"']), (1, b"2", [])]
    assert isinstance(found[-1], RunEnd)


def test_only_the_last_attempt_counts(store: Store) -> None:
    tried = [*runs.failed(0).attempts, *runs.step(0).attempts]
    found = records(
        store,
        runs.effect(0, 0, "first", attempt=0),
        runs.effect(0, 0, "second", attempt=1),
        runs.step(0, 1, attempts=tried),
        runs.end(),
    )
    assert brief(found) == [(0, b"1", [b'"second"'])]


def test_the_last_step_of_an_index_counts_in_a_resumed_file(store: Store) -> None:
    found = records(
        store,
        runs.effect(0, 0, "old"),
        runs.step(0, 1),
        runs.step(1, 1),
        runs.resume(1),
        runs.effect(1, 0, "new"),
        runs.step(1, 2),
        runs.step(2, 3),
        runs.end(),
    )
    assert brief(found) == [(0, b"1", [b'"old"']), (1, b"2", [b'"new"']), (2, b"3", [])]


def test_effects_of_a_step_that_never_ended_belong_to_no_record(store: Store) -> None:
    found = records(store, runs.step(0, 1), runs.effect(1, 0, "x"), runs.end("aborted"))
    assert brief(found) == [(0, b"1", [])]


def test_effects_that_a_resumption_found_under_way_belong_to_no_record(store: Store) -> None:
    found = records(
        store,
        runs.effect(0, 0, "kept"),
        runs.step(0, 1),
        runs.effect(1, 0, "old"),
        runs.effect(1, 1, "never asked again"),
        runs.resume(1),
        runs.effect(1, 0, "old"),
        runs.step(1, 2),
        runs.end(),
    )
    assert brief(found) == [(0, b"1", [b'"kept"']), (1, b"2", [b'"old"'])]


def test_steps_that_ran_side_by_side_keep_their_own_effects(store: Store) -> None:
    found = records(
        store,
        runs.effect(0, 0, "a"),
        runs.effect(1, 0, "b"),
        runs.effect(0, 1, "c"),
        runs.step(1, 1),
        runs.step(0, 0),
        runs.end(),
    )
    assert brief(found) == [(1, b"1", [b'"b"']), (0, b"0", [b'"a"', b'"c"'])]
    assert all(
        isinstance(effect, EffectData) for item in found[:2] if isinstance(item, Record) for effect in item.effects
    )


def test_what_does_not_verify_is_no_recording(store: Store, run: GoldenFile) -> None:
    with pytest.raises(KeyringError, match="r-1 is unknown-key"):
        Recording.open(run, Keyring(STRANGER))
    good = run.path.read_bytes()
    run.path.write_bytes(good[:-1])
    with pytest.raises(TamperedError, match="r-1 is truncated") as refusal:
        Recording.open(run, runs.keyring())
    assert refusal.value.verdict == "truncated"
    run.seal_path.unlink()
    with pytest.raises(StoreError, match="r-1 is torn") as torn:
        Recording.open(run.path, runs.keyring())
    assert torn.value.verdict == "torn"
    with pytest.raises(StoreError, match="no recording r-9"):
        Recording.open(store.file("r-9"), runs.keyring())


def test_an_aos_file_is_intact_and_yet_no_recording() -> None:
    path = runs.FIXTURES / "recordings/aos/good-1.steps.jsonl"
    with pytest.raises(FormatError, match="AOS format"):
        Recording.open(path, Keyring(runs.AOS_SECRET))
