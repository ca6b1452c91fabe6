"""Recorder: one write per line, durable as asked for, and after a line that failed nothing more."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from golden import directory as directory_module
from golden import recorder as module
from golden import repair
from golden.canonical import decode
from golden.chain import split_line
from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import FormatError, KeyringError, StoreError, TamperedError, UsageError
from golden.event import Data, parse_event
from golden.keyring import HmacKey, Keyring, key_from
from golden.ledger import Create, Draft, KeyState, Open, Sealed, draft
from golden.recorder import Recorder, open_recorder
from golden.recording import Record
from golden.seal import statement_line
from golden.store import Store
from golden.verdict import verify, verify_file
from tests import runs
from tests.runs import ACTIVE, RETIRED, ROOT, pem, policy, said

EVENTS: list[Data] = [runs.start(), runs.effect(0, 0, 1), runs.step(0, 2), runs.end()]


class Calls:
    """Counts the calls of some functions of `os`, which are made all the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.written: list[bytes] = []
        for name in ("write", "fsync", "fdatasync", "rename"):
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.names.append(name)
            if name == "write":
                self.written.append(bytes(arguments[1]))
            return function(*arguments, **named)

        return call


@pytest.mark.parametrize(
    "durability, syncs", [("always", {"fdatasync": 4, "fsync": 2}), ("seal", {"fsync": 3}), ("never", {})]
)
def test_each_durability_syncs_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, syncs: dict[str, int]
) -> None:
    calls = Calls(monkeypatch)
    file = runs.record(runs.store_in(tmp_path, durability=durability), "r-1", EVENTS)
    counted = Counter(calls.names)
    assert {name: counted[name] for name in ("fdatasync", "fsync") if counted[name]} == syncs
    assert calls.written[:4] == [line + b"\n" for line in file.path.read_bytes().splitlines()]
    assert (len(calls.written), counted["rename"]) == (5, 1)


def test_the_file_is_durable_before_its_seal_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    runs.record(runs.store_in(tmp_path, durability="seal"), "r-1", EVENTS)
    assert calls.names == [*["write"] * 4, "fsync", "write", "fsync", "rename", "fsync"]


def test_an_event_is_durable_before_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    with open_recorder(runs.store_in(tmp_path, durability="always"), "r-1") as recorder:
        recorder.write(runs.start())
        assert calls.names == ["write", "fdatasync"]


@pytest.mark.parametrize(
    "durability, first, second, again",
    [
        ("always", ["write", "fdatasync", "fsync"], ["write", "fdatasync"], []),
        ("seal", ["write", "fsync", "fsync"], ["write", "fsync"], []),
        ("never", ["write"], ["write"], []),
    ],
)
def test_who_relies_on_an_event_elsewhere_can_have_it_and_its_file_made_durable(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    durability: str,
    first: list[str],
    second: list[str],
    again: list[str],
) -> None:
    calls = Calls(monkeypatch)
    with open_recorder(runs.store_in(tmp_path, durability=durability), "r-1") as recorder:
        for expected, data in ((first, EVENTS[0]), (second, EVENTS[1]), (again, None)):
            calls.names.clear()
            if data is not None:
                recorder.write(data, runs.duration(data))
            recorder.sync()
            assert calls.names == expected


def test_after_a_sync_that_failed_nothing_is_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    with open_recorder(runs.store_in(tmp_path, durability="seal"), "r-1") as recorder:
        recorder.write(EVENTS[0])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fails)
            with pytest.raises(StoreError, match="Input/output error"):
                recorder.sync()
        # The system may say now that all is well, and have dropped what it could not write.
        for last in (recorder.sync, recorder.seal, lambda: recorder.write(runs.end())):
            with pytest.raises(StoreError, match="broken off"):
                last()


def test_a_recorder_says_how_far_it_is_and_in_which_file(store: Store) -> None:
    with open_recorder(store, "r-1") as recorder:
        for count, data in enumerate(EVENTS):
            assert recorder.events == count
            recorder.write(data, runs.duration(data))
    header = decode(store.file("r-1").path.read_bytes().splitlines()[0])
    assert recorder.file_id == header["golden"]["file_id"]


def test_events_come_from_any_thread(store: Store) -> None:
    gate = threading.Barrier(8)

    def writes(recorder: Recorder, first: int) -> None:
        gate.wait()
        for index in range(first, first + 25):
            recorder.write(runs.effect(index, 0, index), 1)
            recorder.write(runs.step(index, index), 1)
            recorder.sync()

    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        threads = [threading.Thread(target=writes, args=(recorder, first)) for first in range(0, 200, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.events == 401
        recorder.write(runs.end())
        recorder.seal()
    assert verify(store.file("r-1").path, store.keyring).verdict == "intact"
    lines = [parse_event(line) for line in store.file("r-1").path.read_bytes().splitlines()]
    assert [event.seq for event in lines] == list(range(402))
    assert [event.timestamp for event in lines] == sorted(event.timestamp for event in lines)
    with runs.opened(store.file("r-1")) as recording:
        found = [item for item in recording.records() if isinstance(item, Record)]
    assert sorted(item.step.index for item in found) == list(range(200))
    assert all(len(item.effects) == 1 for item in found)


def test_the_seal_states_what_was_written(store: Store) -> None:
    file = runs.record(store, "r-1", EVENTS)
    statement = decode(file.seal_path.read_bytes().splitlines()[0])
    data = file.path.read_bytes()
    last = data.splitlines()[-1]
    assert statement["bytes"] == len(data)
    assert (statement["events"], statement["gen"], statement["status"]) == (4, 0, "completed")
    assert statement["last_mac"].encode() == split_line(last)[1]
    assert statement["file_id"] == decode(data.splitlines()[0])["golden"]["file_id"]


def test_the_seal_is_of_what_was_written_not_of_what_lies_there(store: Store) -> None:
    path = store.file("r-1").path
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start({"a": 1}))
        data = path.read_bytes()
        recorder.write(runs.end())
        with path.open("r+b") as file:
            file.write(data.replace(b'{"a":1}', b'{"a":2}'))
        recorder.seal()
    assert verify(path, store.keyring).verdict == "tampered"


def test_two_recordings_of_one_run_share_no_line(tmp_path: Path) -> None:
    ones, others = (
        runs.record(runs.store_in(tmp_path / n), "r-1", EVENTS).path.read_bytes().splitlines() for n in "ab"
    )
    assert not set(ones) & set(others)
    prefixes = [[line.rpartition(b',"run_id":')[0] for line in lines[1:]] for lines in (ones, others)]
    assert prefixes[0] == prefixes[1]


def test_an_event_may_say_when_it_was(store: Store) -> None:
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start(), at=runs.NOW)
    assert decode(store.file("r-1").path.read_bytes())["timestamp"] == runs.NOW


def test_time_is_written_with_six_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    for now, text in ((0, "1970-01-01T00:00:00.000000Z"), (1_767_225_600_000_001_999, "2026-01-01T00:00:00.000001Z")):
        monkeypatch.setattr("golden.clock.time_ns", lambda now=now: now)
        assert timestamp() == text


def test_no_key_to_sign_with_makes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "golden", Keyring(None, [RETIRED]))
    with pytest.raises(KeyringError, match="no key to sign with"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert not store.directory.exists()


def test_nothing_is_written_after_the_end_and_nothing_sealed_before_it(store: Store) -> None:
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        with pytest.raises(UsageError, match="has no end to seal"):
            recorder.seal()
        recorder.write(runs.end("aborted"))
        with pytest.raises(UsageError, match="has ended"):
            recorder.write(runs.step(0, 1), 1)
        assert recorder.seal().status == "aborted"
    assert verify(store.file("r-1").path, store.keyring).events == 2


def test_a_run_that_broke_off_stays_as_it_is(store: Store) -> None:
    def broken_off() -> None:
        with open_recorder(store, "r-1") as recorder:
            recorder.write(runs.start())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert verify(store.file("r-1").path, store.keyring).verdict == "live"
    assert sorted(p.name for p in store.directory.iterdir()) == ["r-1.steps.jsonl"]


def test_an_event_too_large_is_refused_and_the_run_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 10_000)
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        size = store.file("r-1").path.stat().st_size
        with pytest.raises(FormatError, match="at most"):
            recorder.write(runs.step(0, "x" * 10_000), 1)
        assert store.file("r-1").path.stat().st_size == size
        recorder.write(runs.step(0, "x"), 1)
        recorder.write(runs.end())
        recorder.seal()
    found = verify(store.file("r-1").path, store.keyring)
    assert (found.verdict, found.events) == ("intact", 3)


@pytest.mark.slow
def test_a_line_at_the_limit_is_written_and_read_and_one_above_is_not(store: Store) -> None:
    room = (16 << 20) - 1000
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start({"x": "x" * (17 << 20)}))
        recorder.write(runs.step(0, "x" * room), 1)
        with pytest.raises(FormatError, match="at most 16 MiB"):
            recorder.write(runs.step(1, "x" * (16 << 20)), 1)
    assert verify(store.file("r-1").path, store.keyring).verdict == "live"


FULL = """
import json, os, resource, signal, sys
from golden.errors import StoreError
from golden.keyring import HmacKey, Keyring, key_from
from golden.ledger import Create, Draft, KeyState, Open, Sealed, draft
from golden.recorder import open_recorder
from golden.verdict import verify
from tests import runs

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
found = []
for limit in json.loads(sys.argv[2]):
    store = runs.store_in(__import__("pathlib").Path(sys.argv[1]) / str(limit))
    refused = []
    with open_recorder(store, "r-1") as recorder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for data in [runs.start(), runs.effect(0, 0, 1), runs.step(0, 2), runs.end()]:
            try:
                recorder.write(data, runs.duration(data))
            except StoreError as error:
                refused.append(error.problem)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        for last in (lambda: recorder.write(runs.end()), recorder.seal):
            try:
                last()
            except StoreError as error:
                refused.append(error.problem)
    path = store.file("r-1").path
    there = path.exists()
    found.append([limit, there and path.stat().st_size, refused, there and verify(path, runs.keyring()).verdict])
print(json.dumps(found))
"""


def test_a_full_disk_leaves_a_prefix_that_nothing_is_added_to(tmp_path: Path, store: Store) -> None:
    sample = runs.record(store, "r-1", EVENTS).path.read_bytes()
    ends = {n + 1 for n, byte in enumerate(sample) if byte == 0x0A}
    limits = sorted({0, 1, 100, *(end + more for end in sorted(ends)[:-1] for more in (-1, 0, 1, 50))})
    command = [sys.executable, "-c", FULL, str(tmp_path / "full"), json.dumps(limits)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert [case[0] for case in found] == limits
    for limit, size, refused, verdict in found:
        # Space came back before the last two calls, and yet nothing follows the line that failed.
        assert size == limit
        assert verdict == ("live" if limit in ends else "torn" if limit else False)
        assert "cannot be written" in refused[0]
        assert all("broken off" in problem for problem in refused[1:])
        assert len(refused) >= 3


def test_no_secret_is_in_any_text_of_a_recorder(store: Store) -> None:
    with open_recorder(store, "r-1") as recorder:
        shown = repr(recorder) + repr(vars(recorder)) + repr(store) + repr(vars(store))
    for secret in (runs.ACTIVE, runs.RETIRED):
        assert secret.decode() not in shown
        assert repr(secret) not in shown


# With a ledger


@pytest.fixture
def listed(tmp_path: Path) -> Store:
    """An empty golden directory that gets a ledger."""
    return runs.store_in(tmp_path / "listed", ledger=True)


def test_a_run_is_said_to_begin_and_to_be_sealed(listed: Store) -> None:
    file = runs.record(listed, "r-1", EVENTS)
    create, begun, ended = said(listed.directory)
    assert isinstance(create, Create)
    header = decode(file.path.read_bytes().splitlines()[0])["golden"]
    assert isinstance(begun, Open)
    assert (begun.run_id, begun.file_id, begun.kid) == ("r-1", header["file_id"], header["kid"])
    assert isinstance(ended, Sealed)
    assert (ended.run_id, ended.file_id) == ("r-1", header["file_id"])
    assert statement_line(ended.seal) == file.seal_path.read_bytes().splitlines()[0]
    assert listed.read().finding is None
    names = sorted(path.name for path in listed.directory.iterdir())
    assert names == ["ledger.jsonl", file.path.name, f"{file.path.name}.sig"]


def test_each_line_follows_what_it_speaks_of(listed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file, seen = listed.file("r-1"), []
    append = Directory.append

    def looks(self: Directory, *drafts: Draft, **options: Any) -> None:
        lines = file.path.read_bytes().count(b"\n") if file.path.exists() else 0
        seen.append((lines, file.seal_path.exists()))
        append(self, *drafts, **options)

    monkeypatch.setattr(Directory, "append", looks)
    runs.record(listed, "r-1", EVENTS)
    # The run's beginning once its first line stands there, its seal once that lies beside it.
    assert seen == [(1, False), (4, True)]


def test_what_the_ledger_is_told_is_durable_unless_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for durability in ("always", "seal", "never"):
        store = runs.store_in(tmp_path / durability, durability=durability, ledger=True)
        runs.record(store, "r-0", EVENTS)
        with monkeypatch.context() as patched:
            calls = Calls(patched)
            runs.record(store, "r-1", EVENTS)
        found[durability] = calls.names
    first, events, last = ["write", "write"], ["write"] * 3, ["write", "rename", "write"]
    assert found["never"] == [*first, *events, *last]
    synced = ["write", "fsync", "rename", "fsync", "write", "fdatasync"]
    assert found["seal"] == ["write", "write", "fdatasync", *events, "fsync", *synced]
    each = ["write", "fdatasync"]
    assert found["always"] == [*each, *each, *each * 3, *synced]


def rotating(directory: Path, *later: Keyring) -> tuple[Store, list[int]]:
    """Return a store whose keyring is another one whenever it is read after a run began, and how often it was read."""
    asked: list[int] = []
    first = policy((ACTIVE, "active"), (RETIRED, "retired"))

    def reload() -> Keyring:
        asked.append(1)
        return (first, *later)[len(asked) - 1]

    return Store(directory, first, durability="never", reload=reload), asked


NEWER = policy((ACTIVE, "retired"), (RETIRED, "active"))


@pytest.mark.parametrize("ledger", [True, False])
def test_a_run_during_which_the_keys_were_rotated_is_sealed_by_the_new_one(tmp_path: Path, ledger: bool) -> None:
    store, asked = rotating(tmp_path, NEWER)
    store.ledger = ledger
    file = runs.record(store, "r-1", EVENTS)
    # When the run began, and when it was sealed.
    assert len(asked) == 2
    assert decode(file.path.read_bytes().splitlines()[0])["golden"]["kid"] == HmacKey(ACTIVE).kid
    found = verify(file.path, NEWER)
    assert (found.verdict, found.kid) == ("intact", HmacKey(RETIRED).kid)
    if ledger:
        assert [line.kid for line in said(tmp_path)] == [HmacKey(ACTIVE).kid] * 2 + [HmacKey(RETIRED).kid]
        assert Directory(str(tmp_path), NEWER).finding is None


@pytest.mark.parametrize("ledger", [True, False])
@pytest.mark.parametrize(
    "later",
    [
        policy((ACTIVE, "retired")),
        policy((ACTIVE, "retired"), (RETIRED, "active"), held=[ACTIVE]),
    ],
    ids=["none", "one whose secret is not here yet"],
)
def test_a_key_retired_meanwhile_finishes_its_run_where_no_other_can(
    tmp_path: Path, ledger: bool, later: Keyring
) -> None:
    store, _ = rotating(tmp_path, later)
    store.ledger = ledger
    file = runs.record(store, "r-1", EVENTS)
    found = verify(file.path, policy((ACTIVE, "retired")))
    assert (found.verdict, found.kid, found.notes) == ("intact", HmacKey(ACTIVE).kid, ())


def test_a_run_begins_under_the_keyring_as_it_is_by_then(tmp_path: Path) -> None:
    store = Store(tmp_path, policy((ACTIVE, "active")), durability="never", reload=lambda: NEWER)
    file = runs.record(store, "r-1", EVENTS)
    assert decode(file.path.read_bytes().splitlines()[0])["golden"]["kid"] == HmacKey(RETIRED).kid
    assert [line.kid for line in said(tmp_path)] == [HmacKey(RETIRED).kid] * 3


def test_a_run_is_sealed_by_every_active_key_that_is_at_hand(tmp_path: Path) -> None:
    store, _ = rotating(tmp_path, policy((ACTIVE, "active"), (pem("recorder"), "active")))
    file = runs.record(store, "r-1", EVENTS)
    signers = [decode(line)["kid"] for line in file.seal_path.read_bytes().splitlines()[1:]]
    assert signers == [key_from(pem("recorder")).kid, HmacKey(ACTIVE).kid]
    assert said(tmp_path)[-1].kid == key_from(pem("recorder")).kid


@pytest.mark.parametrize("ledger", [True, False])
def test_a_run_whose_key_was_revoked_meanwhile_is_refused_and_stays_unsealed(tmp_path: Path, ledger: bool) -> None:
    revoked = policy((ACTIVE, "revoked"), (RETIRED, "active"))
    store, _ = rotating(tmp_path, revoked)
    store.ledger = ledger
    # With a ledger by that key alone, the ledger itself is worth nothing any more.
    words = "every line of the ledger is by a key that is revoked" if ledger else "was revoked while run r-1"
    with pytest.raises((KeyringError, TamperedError), match=words) as refusal:
        runs.record(store, "r-1", EVENTS)
    assert vars(refusal.value)["verdict"] == "revoked-key"
    file = store.file("r-1")
    assert not file.seal_path.exists()
    assert (tmp_path / "ledger.jsonl").exists() is ledger
    if ledger:
        assert [type(line) for line in said(tmp_path)] == [Create, Open]
    assert not (tmp_path / "r-1.lock").exists()


def test_a_revocation_that_only_the_ledger_knows_is_heeded_at_the_seal(listed: Store) -> None:
    with open_recorder(listed, "r-1") as recorder:
        for data in EVENTS:
            recorder.write(data, runs.duration(data))
        other = Directory(listed.folder, NEWER)
        members = {"alg": "hmac-sha256", "key": HmacKey(ACTIVE).kid, "state": "revoked", "reason": None}
        with other.writing():
            other.append(draft(KeyState, believed=2, **members))
        listed.reload = lambda: NEWER
        with pytest.raises(KeyringError, match="was revoked"):
            recorder.seal()
    assert not listed.file("r-1").seal_path.exists()


def test_a_run_that_broke_off_is_known_to_have_begun(listed: Store) -> None:
    runs.record(listed, "r-1", EVENTS[:2], sealed=False)
    assert listed.read().runs["r-1"].op == "open"
    assert verify(listed.file("r-1").path, listed.keyring).verdict == "live"


def test_a_ledger_that_cannot_be_written_breaks_the_run_off(listed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.record(listed, "r-1", EVENTS)
    before = (listed.directory / "ledger.jsonl").read_bytes()

    def full(_: int, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    with open_recorder(listed, "r-2") as recorder:
        with monkeypatch.context() as patched:
            patched.setattr(directory_module, "write_all", full)
            with pytest.raises(StoreError, match="the ledger cannot be written"):
                recorder.write(EVENTS[0])
        with pytest.raises(StoreError, match="broken off"):
            recorder.write(EVENTS[1], 5)
    assert (listed.directory / "ledger.jsonl").read_bytes() == before
    assert verify(listed.file("r-2").path, listed.keyring).verdict == "live"
    assert verify(runs.record(listed, "r-3", EVENTS).path, listed.keyring).verdict == "intact"
    assert listed.read().finding is None


def test_a_seal_whose_line_could_not_be_written_is_good_and_told_by_the_next(
    listed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    with open_recorder(listed, "r-1") as recorder:
        for data in EVENTS:
            recorder.write(data, runs.duration(data))
        with monkeypatch.context() as patched:
            patched.setattr(directory_module, "write_all", full)
            with pytest.raises(StoreError, match="the ledger cannot be written"):
                recorder.seal()
    found = verify(listed.file("r-1").path, listed.keyring)
    assert (found.verdict, len(found.notes)) == ("intact", 1)
    repair.finish(listed.read())
    assert verify(listed.file("r-1").path, listed.keyring).notes == ()
    assert listed.read().runs["r-1"].op == "seal"


def record_many(store: Store, name: str, count: int) -> None:
    for n in range(count):
        runs.record(store, f"{name}-{n}", EVENTS)


def test_recorders_in_threads_and_processes_share_one_ledger(listed: Store) -> None:
    children = []
    for name in ("p", "q"):
        child = os.fork()
        if not child:
            code = 1
            try:
                record_many(runs.store_in(listed.directory, ledger=True), name, 6)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    threads = [threading.Thread(target=record_many, args=(listed, name, 6)) for name in ("s", "t")]
    other = runs.store_in(listed.directory, ledger=True)
    threads.append(threading.Thread(target=record_many, args=(other, "u", 6)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    directory = Directory(listed.folder, runs.keyring())
    assert (directory.finding, directory.fold.lines) == (None, 1 + 2 * 30)
    assert {run.op for run in directory.runs.values()} == {"seal"}
    stems = listed.stems()
    assert len(stems) == 30
    for stem in stems:
        found = verify_file(listed.file(stem), directory)
        assert (found.verdict, found.notes) == ("intact", ())


def test_one_of_many_who_begin_the_same_run_records_it(listed: Store) -> None:
    outcomes: list[str] = []
    gate = threading.Barrier(6)

    def tries() -> None:
        gate.wait()
        try:
            runs.record(listed, "r-1", EVENTS)
        except UsageError:
            outcomes.append("refused")
        else:
            outcomes.append("recorded")

    threads = [threading.Thread(target=tries) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["recorded", *["refused"] * 5]
    assert verify(listed.file("r-1").path, listed.keyring).verdict == "intact"
    assert len(said(listed.directory)) == 3
