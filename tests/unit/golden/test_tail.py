"""Tail: the last events, checked first; new ones as they come; nothing that nothing vouches for."""

import threading
import time
from pathlib import Path

import pytest

from golden.errors import GoldenError, KeyringError, StoreError, TamperedError
from golden.event import Data
from golden.keyring import HmacKey, Keyring
from golden.recorder import open_recorder
from golden.store import GoldenFile, Store
from golden.tail import Tail
from golden.unfinished import open_unfinished
from tests import runs
from tests.runs import ACTIVE, RETIRED, STRANGER, policy


@pytest.fixture
def ten(store: Store) -> GoldenFile:
    """A sealed run of ten steps."""
    events: list[Data] = [runs.start(), *(runs.step(n, n) for n in range(10)), runs.end()]
    return runs.record(store, "r-1", events)


def shown(file: GoldenFile, count: int = 3, *, ring: Keyring | None = None, unverified: bool = False) -> list[int]:
    tail = Tail(file, ring or runs.keyring(), count=count, unverified=unverified)
    try:
        found = list(tail)
    finally:
        tail.close()
    assert all(line.checked is not unverified for line in found)
    return [line.event.seq for line in found if line.event]


@pytest.mark.parametrize("count, seqs", [(0, []), (1, [11]), (3, [9, 10, 11]), (12, [*range(12)]), (99, [*range(12)])])
def test_the_last_events_are_shown_in_order(ten: GoldenFile, count: int, seqs: list[int]) -> None:
    assert shown(ten, count) == seqs
    ten.seal_path.unlink()
    assert shown(ten, count) == seqs


def test_only_accepted_events_count(ten: GoldenFile) -> None:
    tail = Tail(ten, runs.keyring(), count=2, accept=lambda event: event.event_type == "step" and event.seq % 2 == 0)
    assert [line.event and line.event.seq for line in tail] == [8, 10]
    tail.close()


def test_the_seal_vouches_where_the_event_key_is_not_at_hand(store: Store) -> None:
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.resume(0), runs.step(0, 1), runs.end()]
    file = runs.forge(store.directory, "r-1", events, keys=[HmacKey(STRANGER), HmacKey(ACTIVE)])
    assert shown(file, 2, ring=Keyring(ACTIVE)) == [2, 3]


def test_a_resumed_file_is_shown_across_its_keys(store: Store) -> None:
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.step(0, 1), runs.resume(1), runs.step(1, 1), runs.end()]
    file = runs.forge(store.directory, "r-1", events, keys=[HmacKey(RETIRED), HmacKey(ACTIVE)])
    for count in range(6):
        assert shown(file, count) == list(range(5))[5 - min(count, 5) :]


@pytest.mark.parametrize("back", range(1, 4))
def test_a_changed_line_among_those_shown_is_met(ten: GoldenFile, back: int) -> None:
    lines = ten.path.read_bytes().splitlines(keepends=True)
    lines[-back] = lines[-back].replace(b'"timestamp":"2', b'"timestamp":"3')
    ten.path.write_bytes(b"".join(lines))
    with pytest.raises(TamperedError):
        shown(ten)
    ten.seal_path.unlink()
    with pytest.raises(TamperedError):
        shown(ten)
    assert len(shown(ten, unverified=True)) == 3


@pytest.mark.parametrize("cut", [1, 100])
def test_a_cut_or_grown_sealed_file_is_met(ten: GoldenFile, cut: int) -> None:
    good = ten.path.read_bytes()
    for data in (good[:-cut], good[: good.rindex(b"\n", 0, -1) + 1], good + b"x" * cut, b""):
        ten.path.write_bytes(data)
        with pytest.raises(GoldenError):
            shown(ten)


def test_a_wrong_secret_shows_nothing(ten: GoldenFile) -> None:
    with pytest.raises(KeyringError):
        shown(ten, ring=Keyring(STRANGER))
    assert shown(ten, ring=Keyring(STRANGER), unverified=True) == [9, 10, 11]


def test_a_renamed_file_shows_nothing(ten: GoldenFile, store: Store) -> None:
    renamed = store.file("r-2")
    ten.path.rename(renamed.path)
    with pytest.raises(TamperedError) as refusal:
        shown(renamed)
    assert refusal.value.verdict == "wrong-run"


def test_a_run_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no recording r-9"):
        Tail(store.file("r-9"), runs.keyring(), count=1)


def test_a_file_being_written_is_followed_until_it_ends(store: Store) -> None:
    written = threading.Event()

    def write() -> None:
        with open_recorder(store, "r-1") as recorder:
            recorder.write(runs.start())
            written.set()
            for n in range(5):
                time.sleep(0.02)
                recorder.write(runs.step(n, n), 1)
            recorder.write(runs.end())
            recorder.seal()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(20)
        tail = Tail(store.file("r-1"), runs.keyring(), count=9)
        seqs = [line.event.seq for part in (tail, tail.follow()) for line in part if line.event and line.checked]
        tail.close()
    finally:
        writer.join()
    assert seqs == list(range(7))


@pytest.fixture
def live(store: Store) -> GoldenFile:
    """A run that has begun and not ended."""
    return runs.record(store, "r-1", [runs.start(), runs.step(0, 1)], sealed=False)


def test_an_appended_line_that_does_not_fit_the_chain_is_met(live: GoldenFile) -> None:
    tail = Tail(live, runs.keyring(), count=9)
    assert len(list(tail)) == 2
    with live.path.open("ab") as file:
        file.write(live.path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(TamperedError):
        next(tail.follow())
    tail.close()


def test_a_followed_file_that_becomes_shorter_is_met(live: GoldenFile) -> None:
    tail = Tail(live, runs.keyring(), count=9)
    assert len(list(tail)) == 2
    live.path.write_bytes(b"")
    with pytest.raises(TamperedError, match="became shorter"):
        next(tail.follow())
    tail.close()


@pytest.mark.parametrize("count", range(1, 4))
def test_what_went_on_under_a_revoked_key_is_shown_only_under_a_seal(store: Store, count: int) -> None:
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.resume(0), runs.step(0, 1), runs.resume(1), runs.end()]
    keys = [HmacKey(secret) for secret in (ACTIVE, RETIRED, ACTIVE)]
    ring = policy((ACTIVE, "active"), (RETIRED, "revoked"))
    file = runs.forge(store.directory, "r-1", events, keys=keys)
    assert shown(file, 3, ring=ring) == [2, 3, 4]
    file.seal_path.unlink()
    file.path.write_bytes(b"".join(file.path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(TamperedError, match="revoked") as refusal:
        shown(file, count, ring=ring)
    assert refusal.value.verdict == "revoked-key"


def test_a_run_that_is_resumed_while_it_is_followed_is_followed_on(
    live: GoldenFile, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live.path.open("ab") as file:
        file.write(b'{"data":' + b"x" * 5000)
    resumed: list[bool] = []

    def resume(_: float) -> None:
        # Only once the half line has been seen.
        if not resumed:
            resumed.append(True)
            with open_unfinished(store, "r-1") as past:
                recorder = past.recorder([], 1)
                recorder.write(runs.step(1, 2), 5)
                recorder.write(runs.end())

    monkeypatch.setattr(time, "sleep", resume)
    tail = Tail(live, runs.keyring(), count=9)
    assert [line.event.seq for part in (tail, tail.follow()) for line in part if line.event] == list(range(5))
    tail.close()
    assert resumed


def test_a_torn_end_is_not_shown(live: GoldenFile) -> None:
    with live.path.open("ab") as file:
        file.write(b'{"data":')
    assert shown(live, 9) == [0, 1]
    assert shown(live, 9, unverified=True) == [0, 1]


@pytest.mark.parametrize("data", [b"", b"rubbish", b"rubbish\n", b"{}\n", b"\n\n\n"])
def test_what_is_no_golden_file_is_a_refusal_never_a_traceback(tmp_path: Path, data: bytes) -> None:
    file = GoldenFile(tmp_path, "r-1")
    file.path.write_bytes(data)
    with pytest.raises(GoldenError):
        shown(file)
    assert shown(file, unverified=True) == []
