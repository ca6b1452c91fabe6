"""Verdict: each row of the format's table that a file alone can show, and which row comes first."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.chain import NO_MAC
from golden.directory import Directory
from golden.errors import KeyringError, StoreError
from golden.event import Data
from golden.keyring import HmacKey, Keyring, key_from
from golden.ledger import Accept, Delete, KeyState, Operation, Quarantine, draft
from golden.recorder import open_recorder
from golden.seal import Statement, make_seal, statement_line
from golden.store import GoldenFile, Store
from golden.verdict import FirstBad, Verdict, examine, verify, verify_file
from tests import runs
from tests.runs import ACTIVE, RETIRED, STRANGER, pem, policy

EVENTS: list[Data] = [runs.start(), runs.effect(0, 0, 1), runs.step(0, 2), runs.end()]


def judged(file: GoldenFile, ring: Keyring | None = None) -> Verdict:
    found = verify(file.path, ring or runs.keyring())
    assert found.run_id == file.stem
    assert (found.problem is None) is (found.hint is None) is (found.verdict == "intact")
    return found


def offsets(file: GoldenFile) -> list[int]:
    """Return where each line starts."""
    place, found = 0, []
    for line in file.path.read_bytes().splitlines(keepends=True):
        found.append(place)
        place += len(line)
    return found


def spoil(file: GoldenFile, old: bytes, new: bytes) -> None:
    data = file.path.read_bytes()
    assert data.count(old) == 1
    file.path.write_bytes(data.replace(old, new))


def test_an_intact_file_says_how_many_events_and_whose_key(run: GoldenFile) -> None:
    found = judged(run)
    assert (found.verdict, found.events, found.kid) == ("intact", 5, HmacKey(ACTIVE).kid)
    assert (found.first_bad, found.writer, found.notes) == (None, None, ())


# Row 1


def test_a_link_is_unreadable_even_to_the_file_itself(run: GoldenFile, tmp_path: Path) -> None:
    for path in (run.path, run.seal_path):
        moved = tmp_path / path.name
        path.rename(moved)
        path.symlink_to(moved)
        assert judged(run).verdict == "unreadable"
        path.unlink()
        moved.rename(path)
    assert judged(run).verdict == "intact"


def test_a_fifo_is_unreadable_without_waiting(run: GoldenFile) -> None:
    for path in (run.seal_path, run.path):
        path.unlink()
        os.mkfifo(path)
        assert judged(run).verdict == "unreadable"


@pytest.mark.parametrize("name", ["_r.steps.jsonl", "a..b.steps.jsonl", "r-1.jsonl", ".steps.jsonl"])
def test_a_file_not_named_after_a_run_is_unreadable(run: GoldenFile, name: str) -> None:
    path = run.path.rename(run.path.with_name(name))
    run.seal_path.rename(path.with_name(f"{name}.sig"))
    found = verify(path, runs.keyring())
    assert found.verdict == "unreadable"
    assert found.hint == "rename it to its run id"


# Rows 2 and 3


def test_a_malformed_seal_is_tampered_before_the_file_is_looked_at(run: GoldenFile) -> None:
    run.seal_path.write_bytes(b"{}\n")
    run.path.write_bytes(b"")
    assert judged(run).verdict == "tampered"


def test_a_seal_of_a_later_version_is_unreadable(run: GoldenFile) -> None:
    run.seal_path.write_bytes(run.seal_path.read_bytes().replace(b'"v":1', b'"v":2'))
    assert judged(run).verdict == "unreadable"


def test_a_wrong_signature_comes_before_everything_in_the_file(run: GoldenFile) -> None:
    statement, signature = run.seal_path.read_bytes().splitlines()
    run.seal_path.write_bytes(b"%b\n%b\n" % (statement.replace(b'"events":5', b'"events":6'), signature))
    run.path.unlink()
    run.path.write_bytes(b"")
    found = judged(run)
    assert (found.verdict, found.kid) == ("tampered", HmacKey(ACTIVE).kid)
    assert "does not match the statement" in (found.problem or "")


@pytest.mark.parametrize("ring", [Keyring(), Keyring(STRANGER), Keyring(STRANGER, [RETIRED])], ids="abc")
def test_a_missing_or_wrong_secret_is_unknown_key_not_tampered(run: GoldenFile, ring: Keyring) -> None:
    run.path.write_bytes(run.path.read_bytes()[:-1])
    found = judged(run, ring)
    assert found.verdict == "unknown-key"
    assert "GOLDEN_SECRET_FILE" in (found.hint or "")
    run.seal_path.unlink()
    assert judged(run, ring).verdict == "unknown-key"


def test_a_file_whose_run_ended_is_unsealed_whatever_key_is_at_hand(run: GoldenFile) -> None:
    run.seal_path.unlink()
    spoil(run, b'"city":"Seattle"', b'"city":"Tacoma!"')
    for ring in (runs.keyring(), Keyring(STRANGER)):
        assert judged(run, ring).verdict == "unsealed"


def test_a_weak_secret_is_a_refusal_not_a_verdict(run: GoldenFile) -> None:
    with pytest.raises(KeyringError, match="32 are needed"):
        verify(run.path, Keyring(b"short"))


# Row 4


def test_a_seal_or_a_header_of_another_run_is_wrong_run(store: Store, run: GoldenFile) -> None:
    other = runs.record(store, "r-2", EVENTS)
    same_name = runs.record(runs.store_in(store.directory / "b"), "r-1", EVENTS)
    kept = run.seal_path.read_bytes()
    for seal in (other.seal_path, same_name.seal_path):
        run.seal_path.write_bytes(seal.read_bytes())
        assert judged(run).verdict == "wrong-run"
    run.seal_path.write_bytes(kept)
    for file in (other.path, same_name.path):
        run.path.write_bytes(file.read_bytes())
        assert judged(run).verdict == "wrong-run"


def test_wrong_run_comes_before_size_and_bytes(store: Store, run: GoldenFile) -> None:
    other = runs.record(store, "r-2", EVENTS)
    run.seal_path.write_bytes(other.seal_path.read_bytes())
    run.path.write_bytes(b"")
    assert judged(run).verdict == "wrong-run"


# Row 5


def test_a_shorter_file_is_truncated_and_says_what_is_still_good(run: GoldenFile) -> None:
    starts, data = offsets(run), run.path.read_bytes()
    run.path.write_bytes(data[: starts[3]])
    found = judged(run)
    assert (found.verdict, found.events, found.first_bad) == ("truncated", 3, None)
    run.path.write_bytes(data[: starts[1]] + data[starts[2] :])
    found = judged(run)
    assert (found.verdict, found.events, found.first_bad) == ("truncated", 1, FirstBad(1, starts[1]))


def test_changed_bytes_are_tampered_with_the_first_bad_event(run: GoldenFile) -> None:
    starts = offsets(run)
    spoil(run, b"mean 2", b"mean 3")
    found = judged(run)
    assert (found.verdict, found.events, found.first_bad) == ("tampered", 3, FirstBad(3, starts[3]))
    assert f"event 3 at byte {starts[3]} is bad" in (found.problem or "")


def test_a_longer_file_is_tampered(run: GoldenFile) -> None:
    size = run.path.stat().st_size
    with run.path.open("ab") as file:
        file.write(b"{}\n")
    found = judged(run)
    assert (found.verdict, found.first_bad) == ("tampered", FirstBad(5, size))
    assert "longer than its seal says" in (found.problem or "")


def test_where_is_not_known_without_the_event_key(store: Store) -> None:
    store.directory.mkdir()
    file = runs.forge(store.directory, "r-1", EVENTS, keys=[HmacKey(RETIRED)])
    data = file.path.read_bytes()
    statement = runs.statement_of("r-1", data, 4, NO_MAC)
    file.seal_path.write_bytes(make_seal(statement_line(statement), [HmacKey(ACTIVE)]))
    assert judged(file, Keyring(ACTIVE)).verdict == "intact"
    spoil(file, b'"seed":7,', b'"seed":8,')
    found = judged(file, Keyring(ACTIVE))
    assert (found.verdict, found.first_bad) == ("tampered", None)
    assert "its event key is not at hand" in (found.problem or "")


def test_a_statement_of_other_bytes_says_that_the_events_are_good(store: Store) -> None:
    store.directory.mkdir()
    file = runs.forge(store.directory, "r-1", EVENTS)
    statement = runs.statement_of("r-1", file.path.read_bytes(), 4, NO_MAC)
    wrong = msgspec.structs.replace(statement, sha256=hashlib.sha256(b"").hexdigest())
    file.seal_path.write_bytes(make_seal(statement_line(wrong), [HmacKey(ACTIVE)]))
    found = judged(file)
    assert (found.verdict, found.events, found.first_bad) == ("tampered", 4, None)
    assert "the 4 events that are there are good" in (found.problem or "")


# Row 7


def unsealed(store: Store, *events: Data) -> GoldenFile:
    return runs.record(store, "r-1", events or EVENTS, sealed=False)


def test_an_ended_file_without_seal_is_unsealed_whatever_else_is_wrong(store: Store) -> None:
    file = unsealed(store)
    assert judged(file).verdict == "unsealed"
    with file.path.open("ab") as opened:
        opened.write(b"half a li")
    assert judged(file).verdict == "unsealed"
    file.path.write_bytes(b"rubbish\n" + file.path.read_bytes())
    assert judged(file).verdict == "unsealed"


@pytest.mark.parametrize("data", [b"", b"{", b'{"data":', b"\x00" * 5000])
def test_a_file_without_a_complete_line_is_torn(store: Store, data: bytes) -> None:
    file = unsealed(store)
    file.path.write_bytes(data)
    assert judged(file).verdict == "torn"


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{}", b"[]", b"null", b"rubbish", b"\xff", b"[" * 5000, b'{"run_id":"r-1"}'),
        *(b'{"golden":null}', b'{"golden":{}}', b'{"golden":{"v":true}}', b'{"golden":{"v":0},"run_id":"r-1"}'),
        b'\xef\xbb\xbf{"golden":{"v":2}}',
    ],
)
def test_a_file_without_a_header_is_tampered_from_its_first_line(store: Store, line: bytes) -> None:
    file = unsealed(store)
    file.path.write_bytes(line + b"\n" + file.path.read_bytes().partition(b"\n")[2][:-100])
    found = judged(file)
    assert (found.verdict, found.first_bad) == ("tampered", FirstBad(0, 0))


def test_a_file_of_a_later_version_is_unreadable_whoever_wrote_it(store: Store) -> None:
    file = unsealed(store, *EVENTS[:2])
    spoil(file, b'"v":1}', b'"v":2}')
    assert judged(file).verdict == "unreadable"
    file.path.write_bytes(b'{"golden":{"v":9},"run_id":"r-2","more":[]}\n')
    assert judged(file).verdict == "unreadable"


def test_a_renamed_live_file_is_wrong_run_whatever_its_key(store: Store) -> None:
    file = unsealed(store, *EVENTS[:2])
    renamed = store.file("r-2")
    file.path.rename(renamed.path)
    for ring in (runs.keyring(), Keyring(STRANGER)):
        assert judged(renamed, ring).verdict == "wrong-run"


def test_a_live_file_of_another_key_is_unknown_key(store: Store) -> None:
    file = unsealed(store, *EVENTS[:2])
    assert judged(file, Keyring(STRANGER)).verdict == "unknown-key"
    spoil(file, b'"name":"get"', b'"name":"put"')
    assert judged(file, Keyring(STRANGER)).verdict == "unknown-key"
    assert judged(file).verdict == "tampered"


def test_a_changed_line_of_a_live_file_is_tampered_with_its_place(store: Store) -> None:
    file = unsealed(store, *EVENTS[:3])
    starts = offsets(file)
    spoil(file, b'"name":"get"', b'"name":"put"')
    with file.path.open("ab") as opened:
        opened.write(b"half a li")
    found = judged(file)
    assert (found.verdict, found.first_bad, found.events) == ("tampered", FirstBad(1, starts[1]), 1)


def test_a_live_file_that_ends_within_a_line_is_torn(store: Store) -> None:
    file = unsealed(store, *EVENTS[:3])
    file.path.write_bytes(file.path.read_bytes()[:-1])
    found = judged(file)
    assert (found.verdict, found.events, found.first_bad) == ("torn", 2, None)


def test_a_live_file_is_live(store: Store) -> None:
    found = judged(unsealed(store, *EVENTS[:3]))
    assert (found.verdict, found.events, found.writer) == ("live", 3, False)
    assert found.hint == "its recorder died: `golden resume r-1` goes on, `golden recover r-1` seals it as it is"


@pytest.mark.parametrize("half, word", [(b"", "live"), (b'{"data"', "torn")])
def test_what_is_being_written_is_waited_for_and_what_broke_off_can_be_gone_on_with(
    store: Store, half: bytes, word: str
) -> None:
    file = runs.broken_off(store, "r-1", EVENTS[:3], half=half)
    died = "its recorder died: `golden resume r-1` goes on, `golden recover r-1` seals it as it is"
    assert (judged(file).verdict, judged(file).hint) == (word, died)
    fd = os.open(store.directory / "r-1.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert (judged(file).verdict, judged(file).hint) == (word, "wait until it ends")
    os.close(fd)


def test_a_run_that_has_ended_is_sealed_by_whoever_recovers_it_unless_it_was_sealed(
    store: Store, tmp_path: Path
) -> None:
    file = runs.broken_off(store, "r-1", EVENTS)
    recovered = "restore the .sig from backup; if its recorder died before it sealed, `golden recover r-1` does"
    assert (judged(file).verdict, judged(file).hint) == ("unsealed", recovered)
    listed = runs.record(runs.store_in(tmp_path / "listed", ledger=True), "r-1", EVENTS)
    listed.seal_path.unlink()
    assert (judged(listed).verdict, judged(listed).hint) == ("unsealed", "restore the .sig from backup")


def test_a_line_over_the_limit_is_unreadable(store: Store) -> None:
    file = unsealed(store, *EVENTS[:1])
    with file.path.open("ab") as opened:
        opened.seek(17 << 20, os.SEEK_CUR)
        opened.truncate(file.path.stat().st_size + (17 << 20))
    found = judged(file)
    assert (found.verdict, found.events) == ("unreadable", 1)


def test_a_first_line_of_200_mib_is_unreadable_and_not_held(store: Store) -> None:
    file = unsealed(store)
    with file.path.open("wb") as opened:
        opened.truncate(200 << 20)  # a hole: 200 MiB of zero bytes that take no room
    assert judged(file).verdict == "unreadable"


def test_a_line_of_2000_nested_lists_is_unreadable(store: Store) -> None:
    file = unsealed(store, *EVENTS[:3])
    spoil(file, b'"output":2', b'"output":' + b"[" * 2000 + b"]" * 2000)
    assert judged(file).verdict == "unreadable"


# Row 8


def test_a_seal_without_its_file_is_missing(run: GoldenFile) -> None:
    run.path.unlink()
    assert judged(run).verdict == "missing"


def test_neither_file_nor_seal_is_a_refusal(store: Store) -> None:
    with pytest.raises(StoreError, match="no recording r-9"):
        verify(store.directory / "r-9.steps.jsonl", runs.keyring())


def test_a_proof_is_given_for_intact_files_only_and_leaks_nothing(run: GoldenFile) -> None:
    directory = Directory(run.folder, runs.keyring())
    found, proof = examine(run, directory)
    assert proof is not None
    proof.close()
    assert found.verdict == "intact"
    spoil(run, b"mean 2", b"mean 3")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        assert examine(run, directory)[1] is None
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20


def test_a_second_key_in_a_resumed_live_file_must_be_at_hand(store: Store) -> None:
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.resume(0), runs.step(0, 1)]
    file = runs.forge(store.directory, "r-1", events, keys=[HmacKey(ACTIVE), HmacKey(RETIRED)], sealed=False)
    assert judged(file).verdict == "live"
    found = judged(file, Keyring(ACTIVE))
    assert found.verdict == "unknown-key"
    assert "line 2" in (found.problem or "")


# With a ledger


@pytest.fixture
def listed(tmp_path: Path) -> Store:
    """A golden directory with a ledger and one sealed run."""
    store = runs.store_in(tmp_path / "listed", ledger=True)
    runs.record(store, "r-1", EVENTS)
    return store


def elsewhere(listed: Store, run_id: str, *events: Data) -> GoldenFile:
    """Record a run without a ledger and bring it into a directory that has one."""
    made = runs.record(runs.store_in(listed.directory.parent / "elsewhere"), run_id, events or EVENTS)
    file = listed.file(run_id)
    for old, new in ((made.path, file.path), (made.seal_path, file.seal_path)):
        old.replace(new)
    return file


def tell(store: Store, form: type[Operation], run_id: str, **members: Any) -> None:
    """Write a line about a run into the ledger."""
    directory = store.read()
    with directory.writing():
        directory.append(draft(form, run_id=run_id, file_id=directory.runs[run_id].file_id, **members))


# Row 3


def test_a_file_sealed_by_a_revoked_key_alone_is_revoked_key(run: GoldenFile) -> None:
    ring = policy((ACTIVE, "revoked"), (RETIRED, "active"))
    assert judged(run, ring).verdict == "revoked-key"
    run.path.write_bytes(b"")
    # Before anything in the file is looked at.
    assert judged(run, ring).verdict == "revoked-key"


def test_a_file_that_another_key_sealed_too_is_intact_and_says_who_is_ignored(run: GoldenFile) -> None:
    line = run.seal_path.read_bytes().splitlines()[0]
    run.seal_path.write_bytes(make_seal(line, [HmacKey(ACTIVE), HmacKey(RETIRED)]))
    found = judged(run, policy((ACTIVE, "revoked"), (RETIRED, "active")))
    assert (found.verdict, found.kid) == ("intact", HmacKey(RETIRED).kid)
    assert found.notes == (f"signature by {HmacKey(ACTIVE).kid} ignored: its key is revoked",)


def test_a_revocation_in_the_ledger_counts_as_one_in_the_keyring(tmp_path: Path) -> None:
    store = Store(tmp_path / "golden", Keyring(RETIRED), durability="never")
    file = runs.record(store, "r-1", EVENTS)
    newer = Store(store.folder, policy((ACTIVE, "active"), (RETIRED, "retired")), durability="never")
    assert judged(file, newer.keyring).verdict == "intact"
    directory = newer.read()
    with directory.writing():
        members = {"alg": "hmac-sha256", "key": HmacKey(RETIRED).kid, "state": "revoked", "reason": None}
        directory.append(draft(KeyState, believed=directory.fold.lines, **members))
    assert judged(file, newer.keyring).verdict == "revoked-key"


def test_a_stripped_ed25519_line_is_unknown_key(run: GoldenFile) -> None:
    line = run.seal_path.read_bytes().splitlines()[0]
    ring = policy((ACTIVE, "active"), (pem("verdict"), "active"))
    run.seal_path.write_bytes(make_seal(line, [key_from(pem("verdict")), HmacKey(ACTIVE)]))
    assert judged(run, ring).verdict == "intact"
    run.seal_path.write_bytes(make_seal(line, [HmacKey(ACTIVE)]))
    assert judged(run, ring).verdict == "unknown-key"


# Row 6


def test_a_file_that_the_ledger_does_not_know_is_unlisted(listed: Store) -> None:
    assert judged(elsewhere(listed, "r-2")).verdict == "unlisted"
    # Another recording of a run that it knows.
    assert judged(elsewhere(listed, "r-1")).verdict == "unlisted"


def test_a_file_put_back_after_it_was_said_to_be_gone_is_unlisted(listed: Store) -> None:
    for form in (Quarantine, Delete):
        tell(listed, form, "r-1", reason="r")
        assert judged(listed.file("r-1")).verdict == "unlisted"


def test_an_earlier_version_of_a_run_is_rolled_back(listed: Store) -> None:
    file = listed.file("r-1")
    before = file.path.read_bytes(), file.seal_path.read_bytes()
    statement = msgspec.json.decode(before[1].splitlines()[0], type=Statement)
    later = msgspec.structs.replace(statement, gen=1, sealed_at=runs.NOW)
    tell(listed, Accept, "r-1", reason="r", seal=later)
    assert judged(file).verdict == "rolled-back"
    file.seal_path.write_bytes(make_seal(statement_line(later), [HmacKey(ACTIVE)]))
    assert judged(file).verdict == "intact"


def test_a_run_sealed_whose_recorder_was_killed_before_it_said_so_is_intact_and_noted(listed: Store) -> None:
    ledger = listed.directory / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    found = judged(listed.file("r-1"))
    assert found.verdict == "intact"
    assert any("its own recorder's keys may say so" in note for note in found.notes)


def test_what_is_wrong_with_the_file_itself_comes_before_the_ledger(listed: Store) -> None:
    file = elsewhere(listed, "r-2")
    data = file.path.read_bytes()
    for changed, verdict in ((data[:-1], "truncated"), (data + b"x", "tampered"), (data, "unlisted")):
        file.path.write_bytes(changed)
        assert judged(file).verdict == verdict
    renamed = listed.file("r-3")
    file.path.rename(renamed.path)
    file.seal_path.rename(renamed.seal_path)
    assert judged(renamed).verdict == "wrong-run"


def test_a_file_of_the_aos_format_is_unlisted_beside_a_ledger(listed: Store) -> None:
    shelf = runs.FIXTURES / "recordings/aos"
    ring = policy((ACTIVE, "active"))
    ring.aos_secret = runs.AOS_SECRET
    source = next(path for path in sorted(shelf.glob("*.steps.jsonl")) if verify(path, ring).verdict == "intact")
    planted = listed.file(source.name.removesuffix(".steps.jsonl"))
    for suffix in ("", ".sig"):
        planted.path.with_name(f"{planted.name}{suffix}").write_bytes(Path(f"{source}{suffix}").read_bytes())
    assert verify(planted.path, ring).verdict == "unlisted"


# Row 7


def test_a_run_that_the_ledger_says_was_sealed_is_unsealed_without_its_seal(listed: Store) -> None:
    file = listed.file("r-1")
    file.seal_path.unlink()
    data = file.path.read_bytes()
    # However little of it is left: it cannot pass for a run that has not ended.
    for end in (len(data), data.rindex(b"\n", 0, -1) + 1, data.index(b"\n") + 1, 10, 0):
        file.path.write_bytes(data[:end])
        assert judged(file).verdict == "unsealed", end


def test_a_live_run_beside_a_ledger_is_live_and_one_that_nobody_began_too(listed: Store) -> None:
    assert judged(runs.record(listed, "r-2", EVENTS[:2], sealed=False)).verdict == "live"
    other = runs.record(runs.store_in(listed.directory.parent / "other"), "r-3", EVENTS[:2], sealed=False)
    other.path.rename(listed.file("r-3").path)
    assert judged(listed.file("r-3")).verdict == "live"


def test_a_live_run_under_a_revoked_key_is_revoked_key(store: Store) -> None:
    file = runs.record(store, "r-1", EVENTS[:2], sealed=False)
    found = judged(file, policy((ACTIVE, "revoked"), (RETIRED, "active")))
    assert (found.verdict, found.kid) == ("revoked-key", HmacKey(ACTIVE).kid)


def test_a_run_that_went_on_under_a_revoked_key_is_revoked_key(store: Store) -> None:
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.resume(0), runs.step(0, 1)]
    keys = [HmacKey(ACTIVE), HmacKey(RETIRED)]
    file = runs.forge(store.directory, "r-1", events, keys=keys, sealed=False)
    found = judged(file, policy((ACTIVE, "active"), (RETIRED, "revoked")))
    assert (found.verdict, found.kid) == ("revoked-key", HmacKey(RETIRED).kid)
    # And so it is once it has gone on from there under a good one.
    file = runs.forge(store.directory, "r-1", [*events, runs.resume(1)], keys=[*keys, keys[0]], sealed=False)
    found = judged(file, policy((ACTIVE, "active"), (RETIRED, "revoked")))
    assert (found.verdict, found.kid) == ("revoked-key", HmacKey(RETIRED).kid)


# Row 8


def test_a_run_that_the_ledger_knows_is_missing_without_its_file(listed: Store) -> None:
    file = listed.file("r-1")
    file.path.unlink()
    assert judged(file).verdict == "missing"
    file.seal_path.unlink()
    assert judged(file).verdict == "missing"
    runs.record(listed, "r-2", EVENTS[:2], sealed=False).path.unlink()
    assert judged(listed.file("r-2")).verdict == "missing"


@pytest.mark.parametrize("form", [Delete, Quarantine])
def test_a_run_that_is_gone_on_purpose_is_missed_by_nobody(listed: Store, form: type[Operation]) -> None:
    file = listed.file("r-1")
    tell(listed, form, "r-1", reason="r")
    file.path.unlink()
    file.seal_path.unlink()
    with pytest.raises(StoreError, match="no recording r-1"):
        judged(file)


# The ledger itself, and what happens while it is looked at


@pytest.mark.parametrize(
    "damage, verdict",
    [
        (lambda data: data.replace(b'"r-1"', b'"r-2"'), "tampered"),
        (lambda data: data[:-1] + b" \n", "tampered"),
        (lambda data: data[:-5], "intact"),
        (lambda data: data + b"{", "intact"),
    ],
)
def test_a_file_is_not_called_intact_where_its_ledger_is_not_good(listed: Store, damage: Any, verdict: str) -> None:
    place = listed.directory / "ledger.jsonl"
    place.write_bytes(damage(place.read_bytes()))
    assert judged(listed.file("r-1")).verdict == verdict


def test_a_file_that_is_worse_than_its_ledger_keeps_its_own_verdict(listed: Store) -> None:
    file = listed.file("r-1")
    file.path.write_bytes(file.path.read_bytes()[:-1])
    (listed.directory / "ledger.jsonl").write_bytes(b"rubbish\n")
    assert judged(file).verdict == "truncated"


def test_a_run_sealed_while_the_directory_is_looked_at_is_intact(listed: Store) -> None:
    directory = Directory(listed.folder, runs.keyring())
    file = runs.record(runs.store_in(listed.directory), "r-2", EVENTS)
    assert directory.listing("r-2", "", b"").verdict == "unlisted"
    assert verify_file(file, directory).verdict == "intact"
    assert "r-2" in directory.runs


def test_a_run_whose_end_is_told_while_it_is_looked_at_is_intact(listed: Store) -> None:
    with open_recorder(listed, "r-2") as recorder:
        for data in EVENTS:
            recorder.write(data, runs.duration(data))
        directory = Directory(listed.folder, runs.keyring())
        recorder.seal()
    found = verify_file(listed.file("r-2"), directory)
    assert found.verdict == "intact"


def test_a_run_set_apart_while_the_directory_is_looked_at_is_missed_by_nobody(listed: Store) -> None:
    directory = Directory(listed.folder, runs.keyring())
    file = listed.file("r-1")
    tell(runs.store_in(listed.directory), Quarantine, "r-1", reason="r")
    file.path.unlink()
    file.seal_path.unlink()
    with pytest.raises(StoreError, match="no recording r-1"):
        verify_file(file, directory)


def test_a_run_accepted_anew_while_it_is_looked_at_is_judged_by_the_later_line(listed: Store) -> None:
    directory = Directory(listed.folder, runs.keyring())
    file = listed.file("r-1")
    statement = msgspec.json.decode(file.seal_path.read_bytes().splitlines()[0], type=Statement)
    later = msgspec.structs.replace(statement, gen=1)
    tell(runs.store_in(listed.directory), Accept, "r-1", reason="r", seal=later)
    file.seal_path.write_bytes(make_seal(statement_line(later), [HmacKey(ACTIVE)]))
    assert verify_file(file, directory).verdict == "intact"


def test_a_verdict_that_owes_nothing_to_the_ledger_asks_it_no_second_time(
    listed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory(listed.folder, runs.keyring())
    runs.record(listed, "r-2", EVENTS)
    monkeypatch.setattr(Directory, "refresh", lambda *_: pytest.fail("asked again"))
    assert verify_file(listed.file("r-1"), directory).verdict == "intact"
