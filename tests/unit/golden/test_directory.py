"""Directory: a ledger read and judged, what it says of a run, and lines appended to it under its lock."""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import directory as module
from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import GoldenError, KeyringError, StoreError, TamperedError
from golden.files import write_all
from golden.keyring import HmacKey, Keyring, key_from
from golden.ledger import (
    LEDGER,
    Accept,
    Anchor,
    Create,
    Delete,
    Fold,
    KeyState,
    Open,
    Quarantine,
    Recover,
    Restore,
    Span,
    draft,
)
from golden.memory import Memory
from golden.seal import statement_line
from tests.runs import ACTIVE, FILE_ID, RETIRED, STRANGER, Scribe, pem, policy, said, statement_of

A, B, C = HmacKey(ACTIVE), HmacKey(RETIRED), HmacKey(STRANGER)
E = key_from(pem("directory"))
RING = policy((ACTIVE, "active"), (RETIRED, "retired"))
ONE = statement_of("r-1", b"one", 1, bytes(32))
TWO = statement_of("r-1", b"two", 1, bytes(32))
OPEN = draft(Open, run_id="r-9", file_id=FILE_ID)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty golden directory."""
    made = tmp_path / "golden"
    made.mkdir()
    return made


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """A host's memory, in which nothing is yet."""
    return Memory(str(tmp_path / "state"))


def seen(folder: Path, ring: Keyring = RING, memory: Memory | None = None, *anchors: Anchor) -> Directory:
    return Directory(str(folder), ring, memory=memory, anchors=anchors)


def verdict(directory: Directory) -> str | None:
    return directory.finding.verdict if directory.finding else None


def whole() -> Scribe:
    """Return a good ledger of four lines."""
    return Scribe(A).opened(A, "r-1").sealed(A, ONE).opened(A, "r-2")


# What a ledger is worth


def test_a_directory_without_a_ledger_has_nothing_against_it(folder: Path, memory: Memory) -> None:
    for place in (folder, folder / "absent"):
        found = seen(place, memory=memory)
        assert (found.present, found.exists, found.finding, found.anchor, found.runs) == (False, False, None, None, {})
        found.require_good()


def test_a_good_ledger_says_what_it_holds(folder: Path) -> None:
    scribe = whole()
    scribe.write(folder)
    found = seen(folder)
    assert (found.present, found.finding, found.anchor) == (True, None, scribe.anchor)
    assert {run_id: run.op for run_id, run in found.runs.items()} == {"r-1": "seal", "r-2": "open"}
    assert (found.aside, found.believed, found.rest, found.notes) == ([], {}, b"", [])


def test_a_reader_needs_no_permission_to_write_and_leaves_nothing_behind(folder: Path) -> None:
    whole().write(folder)
    seen(folder)
    assert [path.name for path in folder.iterdir()] == [LEDGER]


@pytest.mark.parametrize(
    "story",
    [
        lambda s: s.replace(b'"r-2"', b'"r-3"'),
        lambda s: s.replace(b'"r-1"', b'"r-3"', 1),
        lambda s: b"".join(s.splitlines(keepends=True)[1:]),
        lambda s: b"".join(s.splitlines(keepends=True)[::2]),
        lambda s: s + s.splitlines(keepends=True)[-1],
        lambda s: s + b"\n",
        lambda s: s + b"{}\n",
        lambda s: b"\n" + s,
        lambda s: s.replace(b"\n", b"\r\n"),
        lambda s: s + b"x" * (17 << 20) + b"\n",
    ],
)
def test_a_changed_ledger_is_tampered_and_nothing_it_says_is_believed(folder: Path, story: object) -> None:
    (folder / LEDGER).write_bytes(story(whole().data))  # type: ignore[operator]
    found = seen(folder)
    assert (verdict(found), found.runs, found.anchor) == ("tampered", {}, None)
    with pytest.raises(TamperedError) as refusal:
        found.require_good()
    assert "restore ledger.jsonl from backup" in refusal.value.hint


def test_a_last_line_nobody_signed_is_tampered(folder: Path) -> None:
    whole().add(A, Open, signer=C, run_id="r-3", file_id=FILE_ID).write(folder)
    found = seen(folder)
    assert verdict(found) == "tampered"
    assert "line 5 of the ledger is not signed by key" in (found.finding.problem if found.finding else "")


def test_a_last_line_by_a_key_not_at_hand_is_unknown_key(folder: Path) -> None:
    whole().opened(C, "r-3").write(folder)
    found = seen(folder)
    assert (verdict(found), found.runs) == ("unknown-key", {})
    with pytest.raises(KeyringError):
        found.require_good()
    whole().write(folder)
    assert verdict(seen(folder, Keyring())) == "unknown-key"


def test_a_stretch_by_a_key_not_at_hand_counts_by_who_signed_after_it(folder: Path) -> None:
    Scribe(C).opened(C, "r-1").sealed(C, ONE).opened(A, "r-2").write(folder)
    found = seen(folder)
    assert found.finding is None
    assert found.runs["r-1"].digest


def test_a_bad_signature_within_is_vouched_for_by_nobody(folder: Path) -> None:
    Scribe(A).add(B, Open, signer=C, run_id="r-1", file_id=FILE_ID).opened(A, "r-2").write(folder)
    assert verdict(seen(folder)) == "tampered"


def test_every_line_by_a_revoked_key_is_revoked_key(folder: Path) -> None:
    Scribe(B).opened(B, "r-1").write(folder)
    found = seen(folder, policy((ACTIVE, "active"), (RETIRED, "revoked")))
    assert (verdict(found), found.runs) == ("revoked-key", {})
    with pytest.raises(TamperedError):
        found.require_good()


def test_a_public_key_alone_verifies_a_ledger_and_cannot_write_it(folder: Path) -> None:
    Scribe(E).opened(E, "r-1").write(folder)
    public = policy((pem("directory"), "active"), held=[])
    found = seen(folder, public)
    assert (found.finding, list(found.runs)) == (None, ["r-1"])
    before = (folder / LEDGER).read_bytes()
    with pytest.raises(KeyringError), found.writing():
        found.append(OPEN)
    assert (folder / LEDGER).read_bytes() == before


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "mode"])
def test_a_ledger_that_is_no_regular_file_is_unreadable(folder: Path, tmp_path: Path, kind: str) -> None:
    place = folder / LEDGER
    if kind == "link":
        place.symlink_to(whole().write(tmp_path / "other"))
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        whole().write(folder).chmod(0)
    found = seen(folder)
    assert (verdict(found), found.present) == ("unreadable", True)
    with pytest.raises(StoreError):
        found.require_good()


def test_an_incomplete_last_line_is_torn_and_the_rest_is_believed(folder: Path) -> None:
    scribe = whole()
    for end in (1, 10, len(scribe.lines[-1]) - 1):
        (folder / LEDGER).write_bytes(b"".join(scribe.lines[:-1]) + scribe.lines[-1][:end])
        found = seen(folder)
        assert (verdict(found), found.rest) == ("torn", scribe.lines[-1][:end])
        assert list(found.runs) == ["r-1"]
        found.require_good()


def test_an_empty_ledger_is_torn(folder: Path) -> None:
    (folder / LEDGER).write_bytes(b"")
    found = seen(folder)
    assert (verdict(found), found.anchor, found.runs) == ("torn", None, {})


@pytest.fixture
def held(folder: Path) -> Iterator[int]:
    """The ledger's lock, held by somebody else."""
    fd = os.open(folder / "ledger.lock", os.O_RDWR | os.O_CREAT, 0o640)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    os.close(fd)


def test_half_a_line_under_a_held_lock_is_waited_for(folder: Path, held: int) -> None:
    scribe = whole()
    place = scribe.write(folder)
    place.write_bytes(scribe.data[:-40])

    def goes_on() -> None:
        with place.open("ab") as file:
            file.write(scribe.data[-40:])

    timer = threading.Timer(0.1, goes_on)
    timer.start()
    assert seen(folder).finding is None
    timer.join()


def test_a_lock_hides_a_torn_line_for_a_moment_only(folder: Path, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APPENDING_SECONDS", 0.1)
    (folder / LEDGER).write_bytes(whole().data[:-40])
    assert verdict(seen(folder)) == "torn"


# What was seen before


ROLLED: dict[str, Scribe] = {
    "fewer lines": Scribe(A).opened(A, "r-1"),
    "other lines": Scribe(A).opened(A, "r-1").sealed(A, TWO).opened(A, "r-2"),
    "other lines and more": Scribe(A).opened(A, "r-1").sealed(A, TWO).opened(A, "r-2").opened(A, "r-3"),
    "another directory": Scribe(A, "0" * 32).opened(A, "r-1").sealed(A, ONE).opened(A, "r-2").opened(A, "r-3"),
}


@pytest.mark.parametrize("story", ROLLED)
def test_what_is_not_a_continuation_of_what_was_seen_is_rolled_back(folder: Path, memory: Memory, story: str) -> None:
    good = whole()
    good.write(folder)
    seen(folder, memory=memory).remember()
    ROLLED[story].write(folder)
    for found, whose in ((seen(folder, memory=memory), "this host"), (seen(folder, RING, None, good.anchor), "anchor")):
        assert verdict(found) == "rolled-back"
        assert whose in (found.finding.problem if found.finding else "")
        with pytest.raises(TamperedError):
            found.require_good()
        # Its lines are still good ones: what they say of each run is shown.
        assert "r-1" in found.runs
    assert seen(folder).finding is None


def test_a_ledger_that_went_on_since_it_was_seen_is_good(folder: Path, memory: Memory) -> None:
    scribe = whole()
    scribe.write(folder)
    seen(folder, memory=memory).remember()
    before = scribe.anchor
    scribe.opened(A, "r-3").write(folder)
    assert seen(folder, RING, memory, before).finding is None


def test_a_ledger_that_is_gone_is_missing_for_who_has_seen_it(folder: Path, memory: Memory) -> None:
    place = whole().write(folder)
    seen(folder, memory=memory).remember()
    place.unlink()
    found = seen(folder, memory=memory)
    assert (verdict(found), found.present, found.exists, found.runs) == ("missing", False, True, {})
    assert "with 4 lines" in (found.finding.problem if found.finding else "")
    with pytest.raises(TamperedError), found.writing():
        pytest.fail("it may be written")
    assert seen(folder).finding is None


def test_only_what_is_good_is_remembered(folder: Path, memory: Memory) -> None:
    whole().write(folder)
    seen(folder, memory=memory).remember()
    before = memory.recall(str(folder))
    Scribe(A, "0" * 32).write(folder)
    seen(folder, memory=memory).remember()
    assert memory.recall(str(folder)) == before


def test_a_key_that_a_keyring_revoked_is_revoked_for_good(folder: Path, memory: Memory) -> None:
    Scribe(B).opened(B, "r-1").revoked(A, B, 2).write(folder)
    first = seen(folder, policy((ACTIVE, "active"), (RETIRED, "revoked")), memory)
    assert (first.finding, first.keyring.state(B.kid), first.certain) == (None, "revoked", {B.kid})
    first.remember()
    remembered = memory.recall(str(folder))
    assert remembered is not None
    assert remembered.revoked == [B.kid]
    # A keyring and a ledger that say nothing of it, or that call it active.
    (folder / LEDGER).unlink()
    for ring in (RING, policy((RETIRED, "active"))):
        assert seen(folder, ring, memory).keyring.state(B.kid) == "revoked"


def test_what_a_line_says_of_a_key_is_not_remembered_and_ends_when_it_is_set_aside(
    folder: Path, memory: Memory
) -> None:
    scribe = Scribe(A).revoked(B, A, 1).opened(B, "r-1")
    scribe.write(folder)
    found = seen(folder, memory=memory)
    assert (found.believed, found.certain, found.keyring.state(A.kid)) == ({A.kid: 1}, set(), "revoked")
    found.remember()
    remembered = memory.recall(str(folder))
    assert remembered is not None
    assert remembered.revoked == []
    # The owner speaks: the thief's line is set aside, and the active key is active again.
    scribe.revoked(A, B, 1).write(folder)
    found = seen(folder, memory=memory)
    assert (found.finding, found.believed, found.keyring.state(A.kid)) == (None, {B.kid: 1}, "active")


def test_a_memory_that_cannot_be_read_or_written_is_a_note_for_readers(folder: Path, tmp_path: Path) -> None:
    whole().write(folder)
    (tmp_path / "state").write_text("no directory")
    found = seen(folder, memory=Memory(str(tmp_path / "state")))
    found.remember()
    assert found.finding is None
    assert any("what was seen here is not remembered" in note for note in found.notes)


def test_a_memory_that_cannot_be_written_is_a_refusal_for_writers(folder: Path, tmp_path: Path) -> None:
    place = whole().write(folder)
    (tmp_path / "state").write_text("no directory")
    found = seen(folder, memory=Memory(str(tmp_path / "state")))
    before = place.read_bytes()
    for begin in (found.writing, found.mending):
        with pytest.raises(StoreError, match="cannot be written") as refusal, begin():
            pytest.fail("it may be written")
        assert "GOLDEN_STATE_DIR" in refusal.value.hint
    assert place.read_bytes() == before


def test_a_damaged_memory_is_a_note_for_readers_and_a_refusal_for_writers(folder: Path, memory: Memory) -> None:
    place = whole().write(folder)
    seen(folder, memory=memory).remember()
    for path in Path(memory.folder).glob("*.json"):
        path.write_text("{}")
    found = seen(folder, memory=memory)
    assert found.finding is None
    assert any("is damaged" in note for note in found.notes)
    before = place.read_bytes()
    with pytest.raises(StoreError, match="is damaged"), found.writing():
        pytest.fail("it may be written")
    assert place.read_bytes() == before


# Lines set aside


def test_lines_beyond_what_is_believed_of_a_revoked_key_have_no_effect(folder: Path) -> None:
    scribe = Scribe(B).opened(B, "r-1").revoked(A, B, 2)
    scribe.opened(B, "forged-1").opened(B, "forged-2").opened(A, "r-2").opened(B, "forged-3").write(folder)
    found = seen(folder)
    assert (found.finding, list(found.runs)) == (None, ["r-1", "r-2"])
    assert found.aside == [Span(3, 4), Span(6, 6)]
    assert (found.believed, found.anchor) == ({B.kid: 2}, scribe.anchor)


def test_lines_set_aside_that_somebody_named_are_no_finding_any_more(folder: Path) -> None:
    scribe = Scribe(B).opened(B, "r-1").revoked(A, B, 2).opened(B, "forged")
    scribe.add(A, Recover, lines=[Span(3, 3)], reason="seen").write(folder)
    found = seen(folder)
    assert (found.finding, found.aside, list(found.runs)) == (None, [], ["r-1"])


def test_a_revoked_key_cannot_name_its_own_lines(folder: Path) -> None:
    scribe = Scribe(B).opened(B, "r-1").revoked(A, B, 2).opened(B, "forged")
    scribe.add(B, Recover, lines=[Span(3, 4)], reason="nothing to see").write(folder)
    found = seen(folder)
    assert (found.aside, list(found.runs)) == ([Span(3, 4)], ["r-1"])


def test_a_line_that_counts_is_named_in_vain(folder: Path) -> None:
    scribe = Scribe(A).opened(A, "r-1").opened(A, "r-2").add(A, Recover, lines=[Span(2, 2)], reason="a mistake")
    scribe.write(folder)
    assert list(seen(folder).runs) == ["r-1", "r-2"]


def test_what_is_said_to_have_leaked_counts_up_to_the_anchor_alone(folder: Path) -> None:
    scribe = Scribe(B).opened(B, "r-1").opened(B, "forged")
    scribe.write(folder)
    anchor = Scribe(B).opened(B, "r-1").anchor
    found = Directory(str(folder), RING, anchors=[anchor], leaked={B.kid: anchor.lines})
    assert (found.finding, list(found.runs), found.aside) == (None, ["r-1"], [Span(2, 2)])
    assert found.keyring.state(B.kid) == "revoked"
    # Without the anchor of somebody who asks, a ledger by a revoked key alone is worth nothing.
    assert verdict(seen(folder, policy((ACTIVE, "active"), (RETIRED, "revoked")))) == "revoked-key"


def test_the_revocations_of_a_ledger_reach_the_keyring_in_force(folder: Path) -> None:
    Scribe(B).revoked(A, B, 1).write(folder)
    found = seen(folder)
    assert (found.keyring.state(B.kid), RING.state(B.kid)) == ("revoked", "retired")
    assert found.written == {B.kid: 1}


def test_a_revoked_key_proves_nothing_of_what_was_sealed_after_it_was_to_be_trusted(folder: Path) -> None:
    three, four = (statement_of(run_id, b"x", 1, bytes(32)) for run_id in ("r-3", "r-4"))
    scribe = Scribe(B).opened(B, "r-1").sealed(B, ONE).opened(A, "r-2")
    scribe.sealed(A, three).add(A, Accept, run_id="r-4", file_id=FILE_ID, seal=four, reason="seen")
    for believed, doubted in ((3, {"r-2", "r-3", "r-9"}), (4, {"r-2", "r-3", "r-9"}), (5, {"r-2", "r-9"})):
        scribe.revoked(A, B, believed).write(folder)
        found = seen(folder)
        scribe.lines.pop()
        assert found.finding is None
        named = {run_id for run_id in ("r-1", "r-2", "r-3", "r-4", "r-9") if found.doubted(run_id)}
        assert named == doubted
        assert all(found.doubted(run_id) == {B.kid} for run_id in named)
    scribe.write(folder)
    assert seen(folder).doubted("r-3") == set()


# What the ledger says of a file


def said_of(scribe: Scribe, folder: Path, statement: object = ONE, file_id: str = FILE_ID) -> str | None:
    scribe.write(folder)
    return seen(folder).listing("r-1", file_id, statement_line(statement)).verdict  # type: ignore[arg-type]


def test_a_sealed_file_is_held_against_what_the_ledger_believes_last(folder: Path) -> None:
    run: dict[str, Any] = {"run_id": "r-1", "file_id": FILE_ID}
    assert said_of(Scribe(A), folder) == "unlisted"
    assert said_of(Scribe(A).opened(A, "r-2"), folder) == "unlisted"
    assert said_of(Scribe(A).sealed(A, ONE), folder) is None
    assert said_of(Scribe(A).sealed(A, TWO), folder) == "unlisted"
    assert said_of(Scribe(A).sealed(A, ONE).sealed(A, TWO), folder) == "rolled-back"
    assert said_of(Scribe(A).sealed(A, ONE).opened(A, "r-1"), folder) == "rolled-back"
    assert said_of(Scribe(A).sealed(A, TWO).add(A, Accept, reason="r", seal=ONE, **run), folder) is None
    for form in (Delete, Quarantine):
        assert said_of(Scribe(A).sealed(A, ONE).add(A, form, reason="r", **run), folder) == "unlisted"
    gone = Scribe(A).sealed(A, ONE).add(A, Delete, reason="r", **run)
    assert said_of(gone.add(A, Restore, archive="a.tar", **run), folder) is None


def test_a_run_sealed_and_not_yet_said_to_be_is_noted(folder: Path) -> None:
    Scribe(A).opened(A, "r-1").write(folder)
    found = seen(folder).listing("r-1", FILE_ID, statement_line(ONE))
    assert found.verdict is None
    assert "its own recorder's keys may say so" in (found.note or "")
    assert said_of(Scribe(A).opened(A, "r-1"), folder, file_id="0" * 32) == "unlisted"


def test_a_ledger_that_is_not_believed_has_nothing_to_say(folder: Path) -> None:
    (folder / LEDGER).write_bytes(whole().data.replace(b'"r-1"', b'"r-3"'))
    assert seen(folder).listing("r-7", FILE_ID, b"").verdict is None


def test_a_statement_is_given_as_the_ledger_has_it(folder: Path) -> None:
    scribe = whole().add(A, Accept, run_id="r-1", file_id=FILE_ID, reason="r", seal=TWO)
    place = scribe.write(folder)
    found = seen(folder)
    assert found.statement("r-1") == statement_line(TWO)
    assert found.statement("r-2") is None
    assert found.statement("r-7") is None
    place.write_bytes(scribe.data.replace(statement_line(TWO), statement_line(ONE)))
    with pytest.raises(TamperedError, match="changed while"):
        found.statement("r-1")
    place.unlink()
    with pytest.raises(TamperedError):
        found.statement("r-1")


def test_a_statement_of_a_run_that_is_gone_proves_nothing(folder: Path) -> None:
    whole().add(A, Quarantine, run_id="r-1", file_id=FILE_ID, reason="r").write(folder)
    assert seen(folder).statement("r-1") is None


# Writing


def test_a_new_ledger_begins_with_an_id_of_its_own(folder: Path, memory: Memory) -> None:
    found = seen(folder, memory=memory)
    with found.writing():
        found.create()
        found.append(OPEN)
    assert [type(line) for line in said(folder)] == [Create, Open]
    assert seen(folder, memory=memory).anchor == found.anchor
    remembered = memory.recall(str(folder))
    assert remembered is not None
    assert remembered.anchor == found.anchor
    assert (folder / LEDGER).stat().st_mode & 0o777 == 0o640
    assert not (folder / "ledger.lock").exists()
    other = folder.parent / "other"
    other.mkdir()
    with seen(other).writing():
        pass
    second = seen(other)
    with second.writing():
        second.create()
    assert second.fold.dir_id != found.fold.dir_id


def test_lines_are_appended_in_one_write_and_made_durable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole().write(folder)
    found = seen(folder)
    calls: list[str] = []
    fdatasync = os.fdatasync

    def counted(fd: int, data: bytes) -> None:
        calls.append(f"write {len(data.splitlines())}")
        write_all(fd, data)

    monkeypatch.setattr(module, "write_all", counted)

    def synced(fd: int) -> None:
        calls.append("sync")
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", synced)
    with found.writing():
        found.append(OPEN, OPEN)
        found.append()
        found.append(OPEN, durable=False)
    assert calls == ["write 2", "sync", "write 1"]
    assert seen(folder).finding is None
    assert len(said(folder)) == 7


def test_a_line_says_who_when_and_where(folder: Path) -> None:
    scribe = whole()
    scribe.write(folder)
    before = timestamp()
    found = seen(folder)
    with found.writing():
        found.append(OPEN)
    line = said(folder)[-1]
    assert (line.seq, line.prev, line.kid, line.actor) == (4, scribe.anchor.hash, A.kid, found.actor)
    assert before <= line.timestamp <= timestamp()
    assert "@" in line.actor


def test_the_strongest_active_key_signs(folder: Path) -> None:
    whole().write(folder)
    ring = policy((ACTIVE, "active"), (pem("directory"), "active"))
    found = seen(folder, ring)
    with found.writing():
        found.append(OPEN)
    assert said(folder)[-1].kid == E.kid
    assert seen(folder, ring).finding is None


def test_without_an_active_key_nothing_is_written_not_even_an_empty_ledger(folder: Path) -> None:
    found = seen(folder, policy((ACTIVE, "retired")))
    with pytest.raises(KeyringError), found.writing():
        found.create()
    assert list(folder.iterdir()) == []


def test_a_torn_last_line_is_cut_and_said_to_be_before_anything_is_added(folder: Path, memory: Memory) -> None:
    scribe = whole()
    (folder / LEDGER).write_bytes(scribe.data + b'{"half')
    found = seen(folder, memory=memory)
    with found.writing():
        found.append(OPEN)
    lines = said(folder)
    assert [type(line) for line in lines[4:]] == [Recover, Open]
    assert isinstance(lines[4], Recover)
    assert isinstance(lines[4].dropped, msgspec.Struct)
    assert (lines[4].dropped.bytes, lines[4].lines, lines[4].lost) == (6, msgspec.UNSET, msgspec.UNSET)
    assert seen(folder, memory=memory).finding is None


@pytest.mark.parametrize("story", ["tampered", "unsigned", "unknown-key", "rolled-back", "fifo"])
def test_nothing_is_written_where_the_ledger_is_not_good(folder: Path, memory: Memory, story: str) -> None:
    place = whole().write(folder)
    seen(folder, memory=memory).remember()
    if story == "tampered":
        place.write_bytes(whole().data.replace(b'"r-1"', b'"r-3"'))
    elif story == "unsigned":
        whole().add(A, Open, signer=C, run_id="r-3", file_id=FILE_ID).write(folder)
    elif story == "unknown-key":
        whole().opened(C, "r-3").write(folder)
    elif story == "rolled-back":
        Scribe(A).write(folder)
    else:
        place.unlink()
        os.mkfifo(place)
    before = place.read_bytes() if story != "fifo" else b""
    with pytest.raises(GoldenError), seen(folder, memory=memory).writing():
        pytest.fail("it may be written")
    assert story == "fifo" or place.read_bytes() == before


def test_a_full_disk_leaves_the_ledger_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = whole().write(folder)
    found = seen(folder)
    before = place.read_bytes()

    def full(fd: int, data: bytes) -> None:
        os.write(fd, data[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_all", full)
        with pytest.raises(StoreError, match="No space left on device"), found.writing():
            found.append(OPEN)
    assert place.read_bytes() == before
    with found.writing():
        found.append(OPEN)
    assert seen(folder).finding is None
    assert len(said(folder)) == 5


def test_a_revocation_that_was_written_is_in_force_at_the_next_look(folder: Path) -> None:
    Scribe(B).opened(B, "r-1").write(folder)
    found = seen(folder)
    line = draft(KeyState, alg="hmac-sha256", key=B.kid, state="revoked", believed=2, reason=None)
    with found.writing():
        found.append(line)
    found.refresh()
    assert (found.keyring.state(B.kid), found.written) == ("revoked", {B.kid: 2})


# Looking again


def test_a_ledger_that_went_on_is_read_from_where_it_was_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scribe = whole()
    scribe.write(folder)
    found = seen(folder)
    fold = found.fold
    scribe.opened(A, "r-3").write(folder)
    assert found.changed()
    found.refresh()
    assert (found.fold, found.anchor, "r-3" in found.runs) == (fold, scribe.anchor, True)
    assert not found.changed()


@pytest.mark.parametrize("story", ROLLED)
def test_a_ledger_that_was_replaced_is_judged_as_a_whole(folder: Path, memory: Memory, story: str) -> None:
    place = whole().write(folder)
    found = seen(folder, memory=memory)
    found.remember()
    place.unlink()
    ROLLED[story].write(folder)
    found.refresh()
    assert verdict(found) == "rolled-back"


def test_what_was_added_badly_is_noticed_at_the_next_look(folder: Path) -> None:
    found_verdicts = []
    for story in (
        whole().add(A, Open, signer=C, run_id="r-3", file_id=FILE_ID),
        whole().opened(C, "r-3"),
        whole().opened(C, "r-3").opened(A, "r-4"),
    ):
        whole().write(folder)
        found = seen(folder)
        story.write(folder)
        found.refresh()
        found_verdicts.append(verdict(found))
    assert found_verdicts == ["tampered", "unknown-key", None]


def test_a_revocation_by_another_is_noticed_at_the_next_look(folder: Path) -> None:
    scribe = Scribe(B).opened(B, "r-1")
    scribe.write(folder)
    found = seen(folder)
    assert found.finding is None
    scribe.revoked(A, B, 1).write(folder)
    found.refresh()
    assert (found.keyring.state(B.kid), found.runs, found.aside) == ("revoked", {}, [Span(1, 1)])


def test_another_keyring_is_in_force_from_the_next_look(folder: Path) -> None:
    whole().write(folder)
    found = seen(folder)
    found.refresh(policy((ACTIVE, "retired"), (STRANGER, "active")))
    with found.writing():
        found.append(OPEN)
    assert said(folder)[-1].kid == C.kid


def test_the_same_directory_by_another_name_is_the_same(folder: Path, tmp_path: Path) -> None:
    whole().write(folder)
    (tmp_path / "link").symlink_to(folder)
    found = seen(folder)
    assert found.at(str(tmp_path / "link")) is found
    assert found.at(f"{folder}/../golden") is found
    other = found.at(str(tmp_path))
    assert (other is found, other.present) == (False, False)


def test_the_directory_stays_where_it_was_when_the_process_goes_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole().write(folder)
    monkeypatch.chdir(folder)
    found = Directory(".", RING)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with found.writing():
        found.append(OPEN)
    assert len(said(folder)) == 5
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Many at once


def test_writers_in_one_process_and_in_others_write_one_ledger(folder: Path) -> None:
    whole().write(folder)
    shared = seen(folder)

    def writes(directory: Directory, name: str) -> None:
        for n in range(10):
            with directory.writing():
                directory.append(draft(Open, run_id=f"{name}-{n}", file_id=FILE_ID), durable=False)

    children = []
    for name in "ab":
        child = os.fork()
        if not child:
            try:
                writes(seen(folder), name)
            finally:
                os._exit(0)
        children.append(child)
    threads = [threading.Thread(target=writes, args=(shared, name)) for name in "cd"]
    threads += [threading.Thread(target=writes, args=(seen(folder), name)) for name in "ef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    found = seen(folder)
    assert (found.finding, found.fold.lines) == (None, 4 + 60)
    assert len(found.runs) == 2 + 60


def test_a_reader_beside_a_writer_never_finds_anything_wrong(folder: Path) -> None:
    whole().write(folder)
    writer, stop = seen(folder), threading.Event()
    wrong: list[str | None] = []

    def reads() -> None:
        reader = seen(folder)
        while not stop.is_set():
            wrong.append(verdict(seen(folder)))
            reader.refresh()
            wrong.append(verdict(reader))

    thread = threading.Thread(target=reads)
    thread.start()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        with writer.writing():
            writer.append(OPEN, durable=False)
    stop.set()
    thread.join()
    assert set(wrong) == {None}


def test_no_secret_is_in_any_text_of_a_directory(folder: Path) -> None:
    whole().write(folder)
    found = seen(folder)
    shown = repr(found) + repr(vars(found)) + (folder / LEDGER).read_text()
    for secret in (ACTIVE, RETIRED):
        assert secret.decode() not in shown


def test_lines_are_vouched_for_by_a_signature_or_by_an_anchor_that_they_extend() -> None:
    lines = Scribe(A).opened(A, "r-1").opened(B, "r-2").lines
    watched = Fold(policy((STRANGER, "active")), [2])
    for line in lines:
        watched.feed(line[:-1])
    watched.settle()
    (anchor,) = (moment.anchor for moment in watched.moments.values())
    assert module._vouched(watched, []) == 0
    assert module._vouched(watched, [anchor]) == 2
    assert module._vouched(watched, [msgspec.structs.replace(anchor, hash="0" * 64)]) == 0
