"""Unfinished: what a dead recorder left is verified in one read, held, and gone on with; nothing else ever is."""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import directory as directory_module
from golden.canonical import decode
from golden.directory import Directory
from golden.errors import GoldenError, KeyringError, StoreError, TamperedError, UsageError
from golden.event import Data, Extent, RunEnd, RunResume, parse_event
from golden.keyring import HmacKey, Keyring
from golden.ledger import Open, Quarantine, Sealed, draft
from golden.lines import BLOCK
from golden.memory import Memory
from golden.recording import Record, Recording
from golden.store import GoldenFile, Store
from golden.unfinished import Unfinished, open_unfinished
from golden.verdict import verify
from tests import independent_verifier, runs
from tests.runs import ACTIVE, RETIRED, STRANGER, policy, said

EVENTS: list[Data] = [
    runs.start({"city": "Seattle"}),
    runs.effect(0, 0, {"max_c": 12.8}),
    runs.step(0, [1, 2]),
    runs.effect(1, 0, "a"),
    runs.effect(1, 1, "b"),
    runs.step(1, "x"),
    runs.end(steps_completed=2, steps_total=2),
]
A, B = HmacKey(ACTIVE), HmacKey(RETIRED)
OLD = policy((RETIRED, "active"))
NEW = policy((RETIRED, "retired"), (ACTIVE, "active"))
BIG = "x" * 300_000


@pytest.fixture
def listed(tmp_path: Path) -> Store:
    """An empty golden directory that gets a ledger."""
    return runs.store_in(tmp_path / "listed", ledger=True)


def again(store: Store, keyring: Keyring | None = None, **changes: Any) -> Store:
    """Return the same directory as another process sees it."""
    options = {"durability": "never", "ledger": store.ledger, "memory": store.memory, **changes}
    return Store(store.directory, keyring or store.keyring, **options)


def resume(store: Store, run_id: str = "r-1") -> None:
    with open_unfinished(store, run_id) as past:
        past.recorder([], 0)


def effective(found: Iterable[Record | RunEnd]) -> list[tuple[Any, ...]]:
    return [
        (item.step.index, bytes(item.step.output), [(x.attempt, x.call, bytes(x.result)) for x in item.effects])
        if isinstance(item, Record)
        else (item.status,)
        for item in found
    ]


def events_of(file: GoldenFile) -> list[Any]:
    return [parse_event(line).data for line in file.path.read_bytes().splitlines()]


# What is found


def test_what_stands_there_is_given_to_be_gone_on_with(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5], half=b'{"data":{"half')
    data = file.path.read_bytes()
    good = data[:-14]
    with open_unfinished(store, "r-1") as past:
        assert (past.run_id, past.place, past.size, past.count) == ("r-1", file.place, len(good), 5)
        assert b"".join(past.blocks()) == good
        assert past.start.seed == 7
        assert past.timestamp == decode(data.splitlines()[0])["timestamp"]
        assert past.signing == parse_event(data.splitlines()[0]).golden
        assert effective(past.records()) == [(0, b"[1,2]", [(0, 0, b'{"max_c":12.8}')])]
        assert {index: [bytes(x.result) for x in found] for index, found in past.pending.items()} == {
            1: [b'"a"', b'"b"']
        }
        assert past.dropped == Extent(bytes=14, sha256=hashlib.sha256(b'{"data":{"half').hexdigest())
        assert (past.ended, past.is_resumed) == (None, False)
    # Looking changes nothing.
    assert file.path.read_bytes() == data


def test_it_is_read_once_to_be_verified(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = runs.broken_off(store, "r-1", [EVENTS[0], *(runs.step(n, BIG) for n in range(8))], half=b"x" * 40_000)
    size = file.path.stat().st_size
    read, preadv = [], os.preadv

    def counted(fd: int, views: list[memoryview], offset: int) -> int:
        read.append(preadv(fd, views, offset))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    with open_unfinished(store, "r-1"):
        assert sum(read) == size


@pytest.mark.parametrize("lengths", [[BLOCK - 2000], [2 * BLOCK], [10], [BLOCK + 10, 10]])
@pytest.mark.parametrize("half", [0, 1, 5000, BLOCK, 3 * BLOCK + 17])
def test_wherever_its_last_whole_line_ends_the_bytes_before_are_what_is_held(
    store: Store, lengths: list[int], half: int
) -> None:
    file = runs.broken_off(store, "r-1", [EVENTS[0], *(runs.step(n, "x" * size) for n, size in enumerate(lengths))])
    good = file.path.read_bytes()
    with file.path.open("ab") as out:
        out.write(b"x" * half)
    with open_unfinished(store, "r-1") as past:
        assert b"".join(past.blocks()) == good
        assert past.read(len(good) - 5, len(good)) == good[-5:]
        recorder = past.recorder([], 1)
        recorder.write(runs.end())
        assert recorder.seal().sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert verify(file.path, store.keyring).verdict == "intact"


def test_a_last_line_that_ends_with_its_block_leaves_no_empty_one(store: Store) -> None:
    start = runs.broken_off(store, "r-0", EVENTS[:1]).path.stat().st_size
    step = runs.broken_off(store, "r-1", [EVENTS[0], runs.step(0, "")]).path.stat().st_size - start
    file = runs.broken_off(store, "r-2", [EVENTS[0], runs.step(0, "x" * (BLOCK - start - step))], half=b"half")
    assert file.path.stat().st_size == BLOCK + 4
    with open_unfinished(store, "r-2") as past:
        assert [len(block) for block in past.blocks()] == [BLOCK]
        past.recorder([], 1).write(runs.end())
    runs.go_on(store, "r-2", [])
    assert verify(file.path, store.keyring).verdict == "intact"


def test_what_is_changed_after_it_verified_is_not_read(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5])
    with open_unfinished(store, "r-1") as past:
        data = file.path.read_bytes()
        file.path.write_bytes(data.replace(b'"output":[1,2]', b'"output":[1,3]'))
        with pytest.raises(TamperedError, match="changed while it was being read"):
            list(past.records())


@pytest.mark.parametrize("change", [b"more\n", b"{"])
def test_what_has_grown_since_it_verified_is_not_added_to(store: Store, change: bytes) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5])
    with open_unfinished(store, "r-1") as past:
        with file.path.open("ab") as out:
            out.write(change)
        data = file.path.read_bytes()
        with pytest.raises(TamperedError, match="changed since it was verified"):
            past.recorder([], 1)
    assert file.path.read_bytes() == data


def test_a_change_between_the_check_and_the_seal_is_met_by_whoever_verifies(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5])
    with open_unfinished(store, "r-1") as past:
        recorder = past.recorder([], 1)
        data = file.path.read_bytes()
        with file.path.open("r+b") as out:
            out.write(data.replace(b'"output":[1,2]', b'"output":[1,3]'))
        recorder.write(runs.end())
        recorder.seal()
    assert verify(file.path, store.keyring).verdict == "tampered"


def test_the_effects_under_way_are_gathered_over_all_who_had_a_try(store: Store) -> None:
    first = [EVENTS[0], runs.effect(0, 0, "done"), runs.step(0, 1), runs.effect(1, 0, "a"), runs.effect(1, 1, "b")]
    runs.broken_off(store, "r-1", [*first, runs.effect(2, 0, "other")])
    with open_unfinished(store, "r-1") as past:
        # It was killed again before it had written all that it was answered.
        past.recorder([], 1).write(runs.effect(1, 0, "a2"), 5)
    with open_unfinished(store, "r-1") as past:
        found = {index: [(x.call, bytes(x.result)) for x in effects] for index, effects in past.pending.items()}
        assert found == {1: [(0, b'"a2"'), (1, b'"b"')], 2: [(0, b'"other"')]}
        assert (past.is_resumed, past.count) == (True, 8)
        recorder = past.recorder([], 1)
        recorder.write(runs.effect(1, 0, "a3"), 5)
        recorder.write(runs.step(1, 2), 5)
        recorder.write(runs.end())
        recorder.seal()
    with runs.opened(store.file("r-1")) as recording:
        assert effective(recording.records()) == [
            (0, b"1", [(0, 0, b'"done"')]),
            (1, b"2", [(0, 0, b'"a3"')]),
            ("completed",),
        ]


def test_attempts_keep_their_own_effects(store: Store) -> None:
    runs.broken_off(store, "r-1", [EVENTS[0], runs.effect(0, 0, "x"), runs.effect(0, 0, "y", attempt=1)])
    with open_unfinished(store, "r-1") as past:
        assert [(x.attempt, bytes(x.result)) for x in past.pending[0]] == [(0, b'"x"'), (1, b'"y"')]


# Going on


@pytest.mark.parametrize("half", [b"", b"{", b"\0" * 700, b'{"data":' + b"x" * 70_000])
@pytest.mark.parametrize("ledger", [False, True])
def test_a_resumption_says_what_stands_before_it_and_what_it_dropped(tmp_path: Path, half: bytes, ledger: bool) -> None:
    store = runs.store_in(tmp_path / "golden", ledger=ledger)
    file = runs.broken_off(store, "r-1", EVENTS[:5])
    good = file.path.read_bytes()
    with file.path.open("ab") as out:
        out.write(half)
    with open_unfinished(store, "r-1") as past:
        recorder = past.recorder(["code", "context"], 1)
        assert (recorder.file_id, recorder.events) == (past.signing.file_id, 6)
    data = file.path.read_bytes()
    assert data.startswith(good)
    event = parse_event(data.splitlines()[5])
    assert event.golden == past.signing
    assert isinstance(event.data, RunResume)
    assert event.data.accepted_changes == ["code", "context"]
    assert event.data.next_index == 1
    assert event.data.prefix == Extent(bytes=len(good), sha256=hashlib.sha256(good).hexdigest())
    expected = Extent(bytes=len(half), sha256=hashlib.sha256(half).hexdigest()) if half else msgspec.UNSET
    assert event.data.dropped == expected
    assert verify(file.path, store.keyring).verdict == "live"
    assert independent_verifier.verdict(file.path, [ACTIVE, RETIRED]) == "live"


def test_a_run_that_went_on_is_intact_and_says_the_same_as_an_undisturbed_one(listed: Store) -> None:
    runs.record(listed, "r-0", EVENTS)
    file = runs.broken_off(listed, "r-1", EVENTS[:5], half=b"{")
    assert runs.go_on(listed, "r-1", EVENTS) == []
    found = verify(file.path, listed.keyring)
    assert (found.verdict, found.events, found.notes) == ("intact", 10, ())
    assert independent_verifier.verdict(file.path, [ACTIVE, RETIRED]) == "intact"
    ones, others = (list(runs.opened(listed.file(run_id)).records()) for run_id in ("r-0", "r-1"))
    assert effective(ones) == effective(others)
    assert [type(line).__name__ for line in said(listed.directory)] == ["Create", "Open", "Sealed", "Open", "Sealed"]
    assert listed.read().finding is None
    assert not list(listed.directory.glob("*.lock"))


def test_a_run_whose_last_line_stands_is_only_sealed(listed: Store) -> None:
    file = runs.broken_off(listed, "r-1", EVENTS, half=b"{")
    data = file.path.read_bytes()[:-1]
    assert verify(file.path, listed.keyring).verdict == "unsealed"
    with open_unfinished(listed, "r-1") as past:
        assert past.ended == EVENTS[-1]
        assert effective(past.records())[-1] == ("completed",)
        recorder = past.recorder()
        with pytest.raises(UsageError, match="has ended"):
            recorder.write(runs.end())
        statement = recorder.seal()
    assert file.path.read_bytes() == data
    assert (statement.events, statement.status) == (7, "completed")
    found = verify(file.path, listed.keyring)
    assert (found.verdict, found.notes) == ("intact", ())
    assert isinstance(said(listed.directory)[-1], Sealed)


def test_the_key_that_is_active_now_goes_on_and_seals(tmp_path: Path) -> None:
    store = Store(tmp_path, OLD, durability="never")
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    runs.go_on(again(store, NEW), "r-1", EVENTS)
    events = [parse_event(line) for line in file.path.read_bytes().splitlines()]
    assert [event.golden.kid for event in events if event.golden] == [B.kid, A.kid]
    assert len({event.golden.file_id for event in events if event.golden}) == 1
    assert [decode(line)["kid"] for line in file.seal_path.read_bytes().splitlines()[1:]] == [A.kid]
    for keyring in (NEW, policy((ACTIVE, "active"))):
        found = verify(file.path, keyring)
        assert (found.verdict, found.kid) == ("intact", A.kid)
    assert [line.kid for line in said(tmp_path)] == [B.kid, B.kid, A.kid]


def test_the_keyring_as_it_is_by_then_decides_who_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path, OLD, durability="never")
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    runs.go_on(again(store, OLD, reload=lambda: NEW), "r-1", EVENTS)
    assert verify(file.path, NEW).kid == A.kid


@pytest.mark.parametrize("calls", [1, 2])
def test_a_run_of_which_the_ledger_was_not_told_is_told_of_first(listed: Store, calls: int) -> None:
    runs.record(listed, "r-0", EVENTS)
    ledger = listed.directory / "ledger.jsonl"
    before = ledger.read_bytes()
    file = runs.broken_off(listed, "r-1", EVENTS[:1])
    ledger.write_bytes(before)
    for _ in range(calls):
        resume(again(listed))
    begun = [line for line in said(listed.directory) if isinstance(line, Open)][1:]
    assert [(line.run_id, line.file_id) for line in begun] == [("r-1", parse_header_id(file))]
    runs.go_on(again(listed), "r-1", EVENTS)
    assert verify(file.path, listed.keyring).verdict == "intact"


def parse_header_id(file: GoldenFile) -> str:
    golden = parse_event(file.path.read_bytes().splitlines()[0]).golden
    assert golden is not None
    return golden.file_id


def test_where_there_is_no_ledger_none_is_needed(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    runs.go_on(store, "r-1", EVENTS)
    assert verify(file.path, store.keyring).verdict == "intact"
    assert sorted(path.name for path in store.directory.iterdir()) == [file.path.name, f"{file.path.name}.sig"]


def test_what_a_recorder_killed_while_it_sealed_has_left_is_cleared_away(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS)
    left = store.directory / f".{file.path.name}.sig.0123456789abcdef.tmp"
    other = store.directory / ".r-2.steps.jsonl.sig.0123456789abcdef.tmp"
    left.write_text("")
    other.write_text("")
    runs.go_on(store, "r-1", EVENTS)
    assert not left.exists()
    assert other.exists()


def test_a_run_that_another_recorder_left_sealed_is_ended_in_the_ledger_too(listed: Store) -> None:
    runs.broken_off(listed, "r-1", EVENTS[:3])
    runs.record(listed, "r-0", EVENTS)
    ledger = listed.directory / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-1]))
    resume(again(listed))
    assert listed.read().runs["r-0"].op == "seal"


# What is refused


def lay(store: Store, events: Iterable[Data], *keys: HmacKey) -> GoldenFile:
    """Put a file there that no recorder of this store wrote."""
    store.directory.mkdir(exist_ok=True)
    return runs.forge(store.directory, "r-1", events, keys=keys, sealed=False)


def damaged(file: GoldenFile, old: bytes, new: bytes) -> None:
    data = file.path.read_bytes()
    assert data.count(old)
    file.path.write_bytes(data.replace(old, new, 1))


HEADER = b'{"data":{},"event_type":"run_start","golden":{"v":2},"run_id":"r-1"}\n'


@pytest.mark.parametrize(
    "old, new, word",
    [
        (b'"output":[1,2]', b'"output":[1,3]', "tampered"),
        (b'"city":"Seattle"', b'"city":"Sevilla"', "tampered"),
        (b'"mac":"', b'"mac":"A', "tampered"),
        (b'"seq":1', b'"seq":2', "tampered"),
        (b'"run_id":"r-1"', b'"run_id":"r-2"', "wrong-run"),
        (b'"v":1}', b'"v":2}', "unreadable"),
        (b'"golden":{', b'"gilded":{', "tampered"),
    ],
)
def test_lines_that_are_not_good_are_not_gone_on_with(store: Store, old: bytes, new: bytes, word: str) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5])
    damaged(file, old, new)
    data = file.path.read_bytes()
    with pytest.raises(GoldenError) as refusal:
        resume(store)
    assert vars(refusal.value)["verdict"] == word == verify(file.path, store.keyring).verdict
    assert isinstance(refusal.value, StoreError if word == "unreadable" else TamperedError)
    assert file.path.read_bytes() == data


@pytest.mark.parametrize("data", [b"", b"{", b"x" * 5000, HEADER[:-1]])
def test_a_file_without_a_whole_line_is_torn_and_nothing_can_go_on(store: Store, data: bytes) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:1])
    file.path.write_bytes(data)
    with pytest.raises(StoreError, match="r-1 is torn: no complete line") as refusal:
        resume(store)
    assert refusal.value.verdict == "torn"


def test_a_run_under_a_key_that_is_not_at_hand_does_not_go_on(store: Store) -> None:
    runs.broken_off(store, "r-1", EVENTS[:3])
    with pytest.raises(KeyringError, match="not at hand") as refusal:
        resume(again(store, Keyring(STRANGER)))
    assert refusal.value.verdict == "unknown-key"
    lay(store, [EVENTS[0], runs.resume(0), EVENTS[1]], A, HmacKey(STRANGER))
    with pytest.raises(KeyringError, match="not at hand"):
        resume(store)


@pytest.mark.parametrize("keys", [[B, A, A], [A, B, A], [A, A, B]])
def test_no_run_goes_on_of_which_any_line_is_under_a_revoked_key(store: Store, keys: list[HmacKey]) -> None:
    lay(store, [EVENTS[0], runs.resume(0), EVENTS[1], runs.resume(0), EVENTS[1]], *keys)
    revoked = policy((ACTIVE, "active"), (RETIRED, "revoked"))
    with pytest.raises(TamperedError, match="revoked") as refusal:
        resume(again(store, revoked))
    assert refusal.value.verdict == "revoked-key" == verify(store.file("r-1").path, revoked).verdict


def test_without_an_active_key_nothing_goes_on(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    data = file.path.read_bytes()
    for keyring in (Keyring(None, [ACTIVE]), policy((ACTIVE, "retired"), (RETIRED, "active"), held=[ACTIVE])):
        with pytest.raises(KeyringError):
            resume(again(store, keyring))
    assert file.path.read_bytes() == data


def test_an_ended_run_never_goes_on(store: Store) -> None:
    file = runs.record(store, "r-1", EVENTS)
    with pytest.raises(UsageError, match="run r-1 has ended"):
        resume(store)
    # Not even where somebody has put another seal there, or a link that leads nowhere.
    file.seal_path.unlink()
    file.seal_path.symlink_to("nowhere")
    with pytest.raises(UsageError, match="run r-1 has ended"):
        resume(store)


def test_a_run_whose_seal_was_taken_away_is_not_sealed_anew(listed: Store) -> None:
    file = runs.record(listed, "r-1", EVENTS)
    seal = file.seal_path.read_bytes()
    file.seal_path.unlink()
    for data in (file.path.read_bytes(), b"".join(file.path.read_bytes().splitlines(keepends=True)[:4])):
        file.path.write_bytes(data)
        with pytest.raises(TamperedError, match="it was sealed, and its seal is gone") as refusal:
            resume(again(listed))
        assert refusal.value.verdict == "unsealed"
        assert refusal.value.hint == "restore the .sig from backup"
    file.seal_path.write_bytes(seal)
    assert verify(file.path, listed.keyring).verdict == "truncated"


def test_a_run_that_was_set_apart_does_not_go_on(listed: Store) -> None:
    file = runs.broken_off(listed, "r-1", EVENTS[:3])
    with listed.read().writing():
        listed.read().append(draft(Quarantine, run_id="r-1", file_id=None, reason="no"))
    with pytest.raises(TamperedError, match=r"it is gone \(quarantine, line 3\)") as refusal:
        resume(again(listed))
    assert refusal.value.verdict == "unlisted"
    assert file.path.read_bytes().count(b"\n") == 3


def test_another_file_under_the_name_of_a_run_does_not_go_on(listed: Store, tmp_path: Path) -> None:
    runs.broken_off(listed, "r-1", EVENTS[:3])
    other = runs.broken_off(runs.store_in(tmp_path / "other"), "r-1", EVENTS[:3])
    listed.file("r-1").path.write_bytes(other.path.read_bytes())
    with pytest.raises(TamperedError, match="its file is another one") as refusal:
        resume(again(listed))
    assert refusal.value.verdict == "unlisted"


def test_a_file_that_the_ledger_does_not_know_goes_on_from_its_first_line_alone(listed: Store, tmp_path: Path) -> None:
    runs.record(listed, "r-0", EVENTS)
    for count in (2, 3, 5):
        other = runs.broken_off(runs.store_in(tmp_path / str(count)), "r-1", EVENTS[:count])
        listed.file("r-1").path.write_bytes(other.path.read_bytes())
        with pytest.raises(TamperedError, match="the ledger does not know run r-1") as refusal:
            resume(again(listed))
        assert refusal.value.verdict == "unlisted"


def test_a_ledger_that_is_not_good_stops_everything(listed: Store) -> None:
    file = runs.broken_off(listed, "r-1", EVENTS[:3])
    ledger = listed.directory / "ledger.jsonl"
    good, data = ledger.read_bytes(), file.path.read_bytes()
    ledger.write_bytes(good.replace(b'"op":"open"', b'"op":"oqen"'))
    with pytest.raises(TamperedError, match="of the ledger"):
        resume(again(listed))
    ledger.unlink()
    with pytest.raises(UsageError, match="holds golden files but no ledger"):
        resume(again(listed))
    assert file.path.read_bytes() == data
    ledger.write_bytes(good + b'{"half')
    resume(again(listed))
    assert listed.read().finding is None


def test_a_ledger_that_this_host_remembers_is_missed(tmp_path: Path) -> None:
    store = Store(tmp_path / "golden", runs.keyring(), durability="never", memory=Memory(str(tmp_path / "state")))
    runs.broken_off(store, "r-1", EVENTS[:3])
    (store.directory / "ledger.jsonl").unlink()
    with pytest.raises(TamperedError, match="the ledger is gone"):
        resume(again(store))


def test_what_changes_between_the_look_and_going_on_is_seen(listed: Store) -> None:
    file = runs.broken_off(listed, "r-1", EVENTS[:3])
    data = file.path.read_bytes()
    with open_unfinished(listed, "r-1") as past:
        other = Directory(listed.folder, listed.keyring)
        with other.writing():
            other.append(draft(Quarantine, run_id="r-1", file_id=None, reason="no"))
        with pytest.raises(TamperedError, match="it is gone"):
            past.recorder([], 1)
    assert file.path.read_bytes() == data


def test_a_key_that_is_revoked_between_the_look_and_going_on_is_not_vouched_for(tmp_path: Path) -> None:
    revoked = policy((RETIRED, "revoked"), (ACTIVE, "active"))
    store = Store(tmp_path, OLD, durability="never")
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    data = file.path.read_bytes()
    later = again(store, NEW)
    with open_unfinished(later, "r-1") as past:
        later.reload = lambda: revoked
        with pytest.raises(TamperedError, match="revoked"):
            past.recorder([], 1)
    assert file.path.read_bytes() == data


@pytest.mark.parametrize("run_id", ["../r-1", "", "a/b"])
def test_what_is_no_run_id_opens_nothing(store: Store, run_id: str) -> None:
    with pytest.raises(UsageError):
        resume(store, run_id)
    assert not store.directory.exists()


@pytest.mark.parametrize("run_id", ["ledger", "rotate"])
def test_a_file_that_has_the_name_of_a_lock_does_not_go_on(store: Store, run_id: str) -> None:
    store.directory.mkdir()
    runs.forge(store.directory, run_id, EVENTS[:2], sealed=False)
    with pytest.raises(UsageError, match="taken by the directory's own lock"):
        resume(store, run_id)


def test_a_run_that_is_not_there_is_refused_and_makes_nothing(listed: Store) -> None:
    with pytest.raises(StoreError, match="no recording r-1"):
        resume(listed)
    assert not listed.directory.exists()
    runs.record(listed, "r-0", EVENTS)
    with pytest.raises(StoreError, match="no recording r-1"):
        resume(listed)
    runs.broken_off(listed, "r-1", EVENTS[:2]).path.unlink()
    with pytest.raises(TamperedError, match="r-1 is missing"):
        resume(again(listed))
    listed.file("r-1").seal_path.write_text("")
    with pytest.raises(TamperedError, match="r-1 is missing: there is a seal but no file"):
        resume(again(listed))
    assert not list(listed.directory.glob("*.lock"))


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder", "hard link"])
def test_nothing_but_a_regular_file_of_one_name_goes_on(store: Store, tmp_path: Path, kind: str) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    data = file.path.read_bytes()
    target = tmp_path / "target"
    file.path.rename(target)
    if kind == "link":
        file.path.symlink_to(target)
    elif kind == "dangling":
        file.path.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(file.path)
    elif kind == "folder":
        file.path.mkdir()
    else:
        file.path.hardlink_to(target)
    why = {"link": "symbolic link", "dangling": "symbolic link", "fifo": "not a regular", "folder": "cannot be opened"}
    with pytest.raises(StoreError, match=why.get(kind, "hard link")):
        resume(store)
    assert target.read_bytes() == data


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_does_not_go_on(store: Store) -> None:
    runs.broken_off(store, "r-1", EVENTS[:3]).path.chmod(0o440)
    with pytest.raises(StoreError, match="cannot be opened"):
        resume(store)


def test_an_aos_file_does_not_go_on(store: Store) -> None:
    store.directory.mkdir()
    source = runs.FIXTURES / "recordings/aos/good-1.steps.jsonl"
    store.file("good-1").path.write_bytes(source.read_bytes())
    with pytest.raises(StoreError, match="never signed"):
        resume(store, "good-1")
    store.file("good-1").seal_path.write_bytes(Path(f"{source}.sig").read_bytes())
    with pytest.raises(UsageError, match="has ended"):
        resume(store, "good-1")


# Two at once


def test_a_run_that_is_being_written_is_left_alone(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:3])
    with open_unfinished(store, "r-1"):
        data = file.path.read_bytes()
        with pytest.raises(UsageError, match="run r-1 is being written"):
            resume(again(store))
        assert file.path.read_bytes() == data
    fd = os.open(store.directory / "r-1.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="run r-1 is being written"):
        resume(store)
    os.close(fd)
    resume(store)


def test_of_many_who_go_on_with_a_run_at_once_one_does(listed: Store) -> None:
    runs.broken_off(listed, "r-1", EVENTS[:5], half=b"{")
    outcomes: list[str] = []
    gate = threading.Barrier(6)

    def tries() -> None:
        store = again(listed)
        gate.wait()
        try:
            runs.go_on(store, "r-1", EVENTS)
        except UsageError as error:
            outcomes.append(error.problem)
        else:
            outcomes.append("went on")

    threads = [threading.Thread(target=tries) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("went on") == 1
    assert set(outcomes) <= {"went on", "run r-1 is being written", "run r-1 has ended"}
    assert verify(listed.file("r-1").path, listed.keyring).verdict == "intact"
    assert listed.file("r-1").path.read_bytes().count(b'"run_resume"') == 1


# The disk


class Full:
    """A disk that takes `room` more bytes of golden files, and then says that it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room, self.write = room, os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, fd: int, data: bytes) -> int:
        taken = self.write(fd, bytes(data)[: self.room])
        self.room -= taken
        if taken < len(data):
            raise OSError(28, "No space left on device")
        return taken


@pytest.mark.parametrize("room", [0, 1, 300, 700, 1200, 2500])
def test_a_disk_that_fills_while_a_run_goes_on_leaves_it_to_be_gone_on_with(
    store: Store, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5], half=b"{")
    good = file.path.read_bytes()[:-1]
    with monkeypatch.context() as patched:
        Full(patched, room)
        with pytest.raises(StoreError, match="No space left on device") as refusal:
            runs.go_on(store, "r-1", EVENTS)
    assert "golden resume r-1" in refusal.value.hint
    assert file.path.read_bytes().startswith(good)
    assert verify(file.path, store.keyring).verdict in {"live", "torn", "unsealed"}
    runs.go_on(store, "r-1", EVENTS)
    assert verify(file.path, store.keyring).verdict == "intact"
    with runs.opened(file) as recording:
        assert [item[:2] for item in effective(recording.records())[:-1]] == [(0, b"[1,2]"), (1, b'"x"')]


@pytest.mark.parametrize("name", ["ftruncate", "fsync"])
def test_a_half_line_that_cannot_be_cut_off_stays_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store = runs.store_in(tmp_path / "golden", durability="seal")
    file = runs.broken_off(store, "r-1", EVENTS[:5], half=b"{")
    good = file.path.read_bytes()[:-1]

    def fails(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, name, fails)
        with pytest.raises(StoreError, match="Input/output error"):
            resume(store)
    assert file.path.read_bytes() == good + b"{" * (name == "ftruncate")
    runs.go_on(store, "r-1", EVENTS)
    assert verify(file.path, store.keyring).verdict == "intact"


def test_a_ledger_that_cannot_be_told_keeps_the_run_from_going_on(
    listed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.record(listed, "r-0", EVENTS)
    before = (listed.directory / "ledger.jsonl").read_bytes()
    file = runs.broken_off(listed, "r-1", EVENTS[:1], half=b"{")
    (listed.directory / "ledger.jsonl").write_bytes(before)
    data = file.path.read_bytes()

    def full(_: int, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(directory_module, "write_all", full)
        with pytest.raises(StoreError, match="the ledger cannot be written"):
            resume(again(listed))
    assert (file.path.read_bytes(), (listed.directory / "ledger.jsonl").read_bytes()) == (data, before)


def test_a_file_that_cannot_be_read_is_said_to_be_unreadable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.broken_off(store, "r-1", EVENTS[:3])

    def broken(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", broken)
        with pytest.raises(StoreError, match="read failed: Input/output error") as refusal:
            resume(store)
    assert refusal.value.verdict == "unreadable"


@pytest.mark.parametrize("durability, expected", [("always", 1), ("seal", 1), ("never", 0)])
def test_what_was_cut_off_is_gone_from_the_disk_before_anything_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, expected: int
) -> None:
    store = runs.store_in(tmp_path / "golden", durability=durability)
    runs.broken_off(store, "r-1", EVENTS[:3], half=b"{")
    calls: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        return call

    for name in ("ftruncate", "fsync", "write"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    resume(store)
    assert calls == ["ftruncate", *["fsync"] * expected, "write"]


# Of nothing that is closed, and of no secret, anything is left


def test_a_file_that_was_let_go_is_not_read_any_more(store: Store) -> None:
    runs.broken_off(store, "r-1", EVENTS[:3])
    with open_unfinished(store, "r-1") as past:
        kept = past
    with pytest.raises((StoreError, TamperedError)):
        list(kept.records())
    assert not list(store.directory.glob("*.lock"))


def test_a_refusal_leaves_no_descriptor_open(store: Store) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:5])
    damaged(file, b'"output":[1,2]', b'"output":[1,3]')
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(TamperedError):
            resume(store)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_no_secret_is_in_any_text_of_a_run_that_goes_on(store: Store) -> None:
    runs.broken_off(store, "r-1", EVENTS[:3])
    with open_unfinished(store, "r-1") as past:
        shown = repr(past) + repr(vars(past)) + repr(past._begun()) + repr(vars(past.recorder([], 1)))
    for secret in (ACTIVE, RETIRED):
        assert secret.decode() not in shown


def test_a_recording_is_no_unfinished_file_nor_the_other_way_round(run: GoldenFile) -> None:
    with runs.opened(run) as recording:
        assert not isinstance(recording, Unfinished)
    assert not issubclass(Unfinished, Recording)
