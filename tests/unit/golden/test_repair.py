"""Repair: acts on purpose are lines of the ledger first, keep every byte, and can be done again after a kill."""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import repair
from golden.directory import Directory
from golden.errors import KeyringError, StoreError, TamperedError, UsageError
from golden.event import Data
from golden.keyring import HmacKey, Keyring
from golden.ledger import Create, KeyState, Open, Quarantine, Recover, Remnant, Sealed, Span
from golden.memory import Memory
from golden.proof import Plan
from golden.recorder import open_recorder
from golden.repair import Damage, damage, finish, needed_by, quarantine, recover, revoke, start_ledger, untold
from golden.rotation import Rotation, rotate
from golden.seal import make_seal
from golden.store import RESERVED, Store, stems
from golden.verdict import verify
from tests import runs
from tests.runs import ACTIVE, FILE_ID, RETIRED, STRANGER, Scribe, policy, said

A, B, C = HmacKey(ACTIVE), HmacKey(RETIRED), HmacKey(STRANGER)
EVENTS: list[Data] = [runs.start(), runs.step(0, 1), runs.end()]


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """A host's memory."""
    return Memory(str(tmp_path / "state"))


def again(store: Store, ring: Keyring | None = None, memory: Memory | None = None) -> Store:
    """Return the store as the next command opens it."""
    return Store(store.folder, ring or store.keyring, durability="never", memory=memory or store.memory)


@pytest.fixture
def listed(tmp_path: Path, memory: Memory) -> Store:
    """A directory with a ledger, two sealed runs, and a host that has seen it."""
    store = Store(tmp_path / "golden", runs.keyring(), durability="never", memory=memory)
    for run_id in ("r-1", "r-2"):
        runs.record(store, run_id, EVENTS)
    return again(store)


def verdict(store: Store) -> str | None:
    finding = again(store).read().finding
    return finding.verdict if finding else None


def names(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.folder)) for path in store.directory.rglob("*") if path.is_file())


def ledger(store: Store) -> Path:
    return store.directory / "ledger.jsonl"


# Quarantine


def test_a_run_set_apart_is_moved_whole_and_said_to_be(listed: Store) -> None:
    file = listed.file("r-1")
    before = file.path.read_bytes(), file.seal_path.read_bytes()
    place = quarantine(listed, "r-1", "forged")
    moved = listed.directory / place / file.path.name
    assert (moved.read_bytes(), moved.with_name(f"{moved.name}.sig").read_bytes()) == before
    line = said(listed.directory)[-1]
    assert isinstance(line, Quarantine)
    assert (line.run_id, line.reason) == ("r-1", "forged")
    assert line.file_id is not None
    assert listed.stems() == ["r-2"]
    assert verdict(listed) is None
    with pytest.raises(StoreError, match="no recording r-1"):
        verify(file.path, again(listed).read())


@pytest.mark.parametrize("left", ["file", "seal", "nothing"])
def test_what_is_left_of_a_run_is_set_apart(listed: Store, left: str) -> None:
    file = listed.file("r-1")
    if left != "file":
        file.path.unlink()
    if left != "seal":
        file.seal_path.unlink()
    quarantine(listed, "r-1", "gone")
    assert listed.stems() == ["r-2"]
    assert isinstance(said(listed.directory)[-1], Quarantine)
    assert verdict(listed) is None


def test_what_no_ledger_knows_is_set_apart_too(listed: Store) -> None:
    runs.forge(listed.directory, "r-9", EVENTS)
    (listed.directory / "r-8.steps.jsonl").write_text("rubbish\n")
    for run_id in ("r-9", "r-8"):
        quarantine(listed, run_id, "planted")
    assert listed.stems() == ["r-1", "r-2"]
    lines = [line for line in said(listed.directory) if isinstance(line, Quarantine)]
    assert [(line.run_id, line.file_id) for line in lines] == [("r-9", FILE_ID), ("r-8", None)]


def test_a_run_set_apart_twice_is_told_once_and_what_was_put_there_again_is_moved(listed: Store) -> None:
    runs.forge(listed.directory, "r-9", EVENTS)
    place = quarantine(listed, "r-9", "planted")
    for path in (listed.directory / place).iterdir():
        path.rename(listed.directory / path.name)
    quarantine(again(listed), "r-9", "planted")
    assert listed.stems() == ["r-1", "r-2"]
    assert len(said(listed.directory)) == 6


def test_killed_after_the_line_it_is_completed_by_doing_it_again(
    listed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for call in ("mkdir", "rename"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, killed)
            with pytest.raises(KeyboardInterrupt):
                quarantine(again(listed), "r-1", "forged")
    assert verify(listed.file("r-1").path, again(listed).read()).verdict == "unlisted"
    quarantine(again(listed), "r-1", "forged")
    assert listed.stems() == ["r-2"]
    assert [type(line) for line in said(listed.directory)].count(Quarantine) == 1


def test_killed_between_file_and_seal_it_is_completed_by_doing_it_again(
    listed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def killed(source: str, *arguments: Any, **named: Any) -> None:
        if source == "r-1.steps.jsonl.sig":
            raise KeyboardInterrupt
        rename(source, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            quarantine(listed, "r-1", "forged")
    # An hour later.
    monkeypatch.setattr(time, "strftime", lambda *_: "99991231T235959Z")
    place = quarantine(again(listed), "r-1", "forged")
    assert listed.stems() == ["r-2"]
    apart = sorted(str(path.relative_to(listed.directory)) for path in listed.directory.glob("quarantine/*/*"))
    assert apart == [f"{place}/r-1.steps.jsonl", f"{place}/r-1.steps.jsonl.sig"]


def test_what_is_moved_is_durable_where_it_went_before_it_is_where_it_was(
    listed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def told(fd: int) -> None:
        synced.append(os.path.realpath(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", told)
    place = quarantine(listed, "r-1", "forged")
    assert synced == [str(listed.directory / name) for name in (place, "quarantine", "")]


@pytest.mark.parametrize("run_id", RESERVED)
def test_a_file_planted_under_a_name_of_the_directorys_own_locks_is_set_apart(listed: Store, run_id: str) -> None:
    (listed.directory / f"{run_id}.steps.jsonl").write_text("rubbish")
    place = quarantine(listed, run_id, "planted")
    assert (listed.directory / place / f"{run_id}.steps.jsonl").exists()
    assert verdict(listed) is None


def test_a_dry_run_moves_and_says_nothing(listed: Store) -> None:
    before = names(listed), ledger(listed).read_bytes()
    assert quarantine(listed, "r-1", "forged", dry_run=True).startswith("quarantine/")
    assert (names(listed), ledger(listed).read_bytes()) == before


def test_a_run_that_is_being_written_or_is_not_there_is_refused(listed: Store) -> None:
    with open_recorder(listed, "r-3") as recorder:
        recorder.write(EVENTS[0])
        with pytest.raises(UsageError, match="is being written"):
            quarantine(again(listed), "r-3", "forged")
    for run_id in ("r-4",):
        with pytest.raises(StoreError, match="no recording r-4"):
            quarantine(again(listed), run_id, "forged")
    with pytest.raises(UsageError, match="is not a run id"):
        quarantine(again(listed), "../r-1", "forged")
    assert "quarantine" not in {path.name for path in listed.directory.iterdir()}


def test_nothing_is_set_apart_where_the_ledger_is_not_good(listed: Store) -> None:
    ledger(listed).write_bytes(ledger(listed).read_bytes().replace(b'"r-2"', b'"r-3"'))
    with pytest.raises(TamperedError):
        quarantine(again(listed), "r-1", "forged")
    assert listed.stems() == ["r-1", "r-2"]


def test_without_a_ledger_files_are_moved_all_the_same(tmp_path: Path) -> None:
    store = runs.store_in(tmp_path / "bare")
    runs.record(store, "r-1", EVENTS)
    place = quarantine(store, "r-1", "forged")
    assert names(store) == [f"{place}/r-1.steps.jsonl", f"{place}/r-1.steps.jsonl.sig"]


def test_a_link_to_elsewhere_is_moved_as_a_link(listed: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (listed.directory / "r-9.steps.jsonl").symlink_to(tmp_path / "precious")
    place = quarantine(listed, "r-9", "planted")
    assert (listed.directory / place / "r-9.steps.jsonl").is_symlink()
    assert (tmp_path / "precious").read_text() == "x"


# Recover


def cut(data: bytes, lines: int) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:lines])


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "torn": (lambda data: data + b'{"half', "torn"),
    "rubbish after": (lambda data: data + b"rubbish\n", "tampered"),
    "a bad line within": (
        lambda data: data.replace(b'"actor"', b'"Actor"').replace(b'"Actor"', b'"actor"', 3),
        "tampered",
    ),
    "a changed line": (lambda data: data.replace(b'"r-2"', b'"r-3"', 1), "tampered"),
    "lines cut off": (lambda data: cut(data, 3), "rolled-back"),
    "a line and a half cut off": (lambda data: cut(data, 3) + b"{", "rolled-back"),
}


@pytest.mark.parametrize("story", DAMAGES)
def test_a_damaged_ledger_is_good_again_once_the_damage_is_written_down(listed: Store, story: str) -> None:
    change, word = DAMAGES[story]
    before = ledger(listed).read_bytes()
    ledger(listed).write_bytes(change(before))
    damaged = ledger(listed).read_bytes()
    assert verdict(listed) == word
    found = damage(again(listed))
    assert found.any
    assert ledger(listed).read_bytes() == damaged
    recover(again(listed), found, "a bad disk")
    assert verdict(listed) is None
    line = next(line for line in said(listed.directory) if isinstance(line, Recover))
    assert line.reason == "a bad disk"
    # Every byte is still there, in the ledger or beside it.
    kept = b"".join(path.read_bytes() for path in listed.directory.rglob("quarantine/*"))
    assert damaged.startswith(ledger(listed).read_bytes()[: len(damaged) - len(kept)])
    assert damaged.endswith(kept)
    assert not damage(again(listed)).any
    runs.record(again(listed), "r-7", EVENTS)
    assert verdict(listed) is None


def test_a_ledger_that_was_cut_says_how_long_it_is_remembered_to_have_been(listed: Store) -> None:
    anchor = listed.read().anchor
    assert anchor is not None
    ledger(listed).write_bytes(cut(ledger(listed).read_bytes(), 3))
    recover(again(listed), damage(again(listed)), "restored from backup")
    lines = said(listed.directory)
    assert isinstance(lines[3], Recover)
    assert lines[3].lost == Remnant(anchor.dir_id, anchor.hash, anchor.lines)
    # What it does not know any more is not believed again.
    directory = again(listed).read()
    assert verify(listed.file("r-1").path, directory).verdict == "intact"
    assert verify(listed.file("r-2").path, directory).verdict == "unlisted"


def test_a_ledger_that_is_gone_begins_anew_and_says_what_was_lost(listed: Store) -> None:
    anchor = listed.read().anchor
    assert anchor is not None
    ledger(listed).unlink()
    assert verdict(listed) == "missing"
    found = damage(again(listed))
    assert (found.begun, found.lost) == (True, Remnant(anchor.dir_id, anchor.hash, anchor.lines))
    recover(again(listed), found, "deleted by hand")
    assert [type(line) for line in said(listed.directory)] == [Create, Recover, Sealed, Sealed]
    assert verdict(listed) is None
    assert again(listed).read().fold.dir_id != anchor.dir_id
    assert verify(listed.file("r-2").path, again(listed).read()).verdict == "intact"


def test_lines_set_aside_are_named_and_then_no_finding(listed: Store) -> None:
    scribe = Scribe(A, listed.read().fold.dir_id)
    scribe.lines = ledger(listed).read_bytes().splitlines(keepends=True)
    scribe.revoked(A, B, len(scribe.lines)).opened(B, "forged").opened(A, "r-3").opened(B, "forged-2")
    scribe.write(listed.directory)
    found = damage(again(listed))
    assert found.lines == (Span(6, 6), Span(8, 8))
    recover(again(listed), found, "after the leak")
    directory = again(listed).read()
    assert (directory.finding, directory.aside, "forged" in directory.runs) == (None, [], False)
    assert "r-3" in directory.runs


def test_lines_nobody_signed_are_cut_off_and_kept(listed: Store) -> None:
    scribe = Scribe(A, listed.read().fold.dir_id)
    scribe.lines = ledger(listed).read_bytes().splitlines(keepends=True)
    members = {"run_id": "r-1", "file_id": FILE_ID, "reason": "r"}
    scribe.add(A, Quarantine, signer=C, **members).write(listed.directory)
    assert verdict(listed) == "tampered"
    found = damage(again(listed))
    assert (found.lines, found.dropped) == ((), scribe.lines[5])
    recover(again(listed), found, "somebody without a key wrote there")
    assert verdict(listed) is None
    assert verify(listed.file("r-1").path, again(listed).read()).verdict == "intact"


def test_without_any_line_that_can_be_checked_nothing_is_recovered(listed: Store) -> None:
    before = ledger(listed).read_bytes()
    for ring in (Keyring(STRANGER), policy((ACTIVE, "revoked"), (STRANGER, "active"))):
        with pytest.raises(KeyringError, match="no line of the ledger"):
            damage(again(listed, ring))
    assert ledger(listed).read_bytes() == before


def test_a_good_ledger_has_no_damage(listed: Store) -> None:
    assert not damage(again(listed)).any
    before = ledger(listed).read_bytes()
    recover(again(listed), Damage(), "nothing")
    assert ledger(listed).read_bytes() == before


def test_a_ledger_that_changed_since_it_was_looked_at_is_not_cut(listed: Store) -> None:
    ledger(listed).write_bytes(ledger(listed).read_bytes() + b"rubbish\n")
    found = damage(again(listed))
    ledger(listed).write_bytes(ledger(listed).read_bytes() + b"more\n")
    before = ledger(listed).read_bytes()
    with pytest.raises(UsageError, match="changed since"):
        recover(again(listed), found, "a bad disk")
    assert ledger(listed).read_bytes() == before
    assert "quarantine" not in {path.name for path in listed.directory.iterdir()}


def test_a_ledger_that_changed_where_nothing_is_cut_is_not_written_either(listed: Store) -> None:
    scribe = scribbled(listed)
    scribe.revoked(A, B, len(scribe.lines)).opened(B, "forged").opened(A, "r-3").write(listed.directory)
    found = damage(again(listed))
    assert found.lines
    scribe.opened(B, "forged-2").opened(A, "r-4").write(listed.directory)
    before = ledger(listed).read_bytes()
    with pytest.raises(UsageError, match="changed since"):
        recover(again(listed), found, "after the leak")
    assert ledger(listed).read_bytes() == before


def scribbled(store: Store) -> Scribe:
    """Return who goes on with the ledger by hand."""
    scribe = Scribe(A, store.read().fold.dir_id)
    scribe.lines = ledger(store).read_bytes().splitlines(keepends=True)
    return scribe


def test_honest_lines_whose_key_is_not_at_hand_are_not_thrown_away(listed: Store) -> None:
    scribbled(listed).opened(B, "r-3").opened(B, "r-4").write(listed.directory)
    ring = policy((RETIRED, "retired"), (ACTIVE, "active"), held=[ACTIVE])
    before = ledger(listed).read_bytes()
    for more in (b"", b"rubbish"):
        ledger(listed).write_bytes(before + more)
        with pytest.raises(KeyringError, match=f"2 of the last lines of the ledger are signed by {B.kid}") as refusal:
            damage(again(listed, ring))
        assert refusal.value.verdict == "unknown-key"
    # Whoever has the key says that they are good.
    assert damage(again(listed)).lines == ()
    assert damage(again(listed)).dropped == b"rubbish"


def test_lines_by_a_key_that_no_keyring_names_are_counted_before_they_lose_their_effect(listed: Store) -> None:
    scribbled(listed).revoked(C, A, 0).opened(C, "r-3").write(listed.directory)
    assert verdict(listed) == "unknown-key"
    found = damage(again(listed))
    assert (found.lines, found.dropped.count(b"\n"), found.strangers) == ((), 2, {C.kid: 2})
    recover(again(listed), found, "somebody wrote there")
    assert (verdict(listed), damage(again(listed)).any) == (None, False)
    assert again(listed).read().keyring.state(A.kid) == "active"


def test_a_forged_revocation_in_the_name_of_another_key_is_not_vouched_for_by_taking_note_of_it(listed: Store) -> None:
    said_ = {"alg": A.alg, "key": A.kid, "state": "revoked", "believed": 0, "reason": None}
    scribbled(listed).add(B, KeyState, signer=C, **said_).write(listed.directory)
    assert verdict(listed) == "tampered"
    recover(again(listed), damage(again(listed)), "somebody wrote there")
    assert (verdict(listed), again(listed).read().keyring.state(A.kid)) == (None, "active")


def emptied(data: bytes) -> bytes:
    return b""


def first_line_garbled(data: bytes) -> bytes:
    return b"x" + data[1:]


def first_line_edited(data: bytes) -> bytes:
    return data.replace(b'"actor":"', b'"actor":"x', 1)


@pytest.mark.parametrize("change", [emptied, first_line_garbled, first_line_edited])
def test_a_ledger_without_a_line_to_go_on_from_is_begun_anew_and_its_bytes_kept(
    listed: Store, change: Callable[[bytes], bytes]
) -> None:
    anchor = listed.read().anchor
    assert anchor is not None
    damaged = change(ledger(listed).read_bytes())
    ledger(listed).write_bytes(damaged)
    found = damage(again(listed))
    assert (found.begun, found.anchor, found.dropped) == (True, None, damaged)
    recover(again(listed), found, "a bad disk")
    _, line, *sealed = said(listed.directory)
    assert isinstance(line, Recover)
    assert line.lost == Remnant(anchor.dir_id, anchor.hash, anchor.lines)
    assert [type(line) for line in sealed] == [Sealed, Sealed]
    assert b"".join(path.read_bytes() for path in listed.directory.rglob("quarantine/*")) == damaged
    assert (verdict(listed), damage(again(listed)).any) == (None, False)


def test_an_emptied_ledger_is_called_empty(listed: Store) -> None:
    ledger(listed).write_bytes(b"")
    finding = again(listed).read().finding
    assert finding is not None
    assert finding.problem == "the ledger is empty, it had 5 lines: this host has seen it"


def test_nothing_is_cut_where_nobody_can_sign_or_remember(listed: Store, memory: Memory) -> None:
    public = policy((ACTIVE, "retired"), (RETIRED, "retired"))
    for data in (ledger(listed).read_bytes() + b"rubbish\n", b"x" + ledger(listed).read_bytes()):
        ledger(listed).write_bytes(data)
        before = names(listed)
        with pytest.raises(KeyringError, match="no key to sign with"):
            recover(again(listed, public), damage(again(listed, public)), "r")
        found = damage(again(listed))
        (state,) = Path(memory.folder).glob("*.json")
        seen = state.read_bytes()
        state.write_bytes(b"{")
        with pytest.raises(StoreError, match="is damaged"):
            recover(again(listed), found, "r")
        state.write_bytes(seen)
        assert (names(listed), ledger(listed).read_bytes()) == (before, data)
        ledger(listed).write_bytes(data.removeprefix(b"x").removesuffix(b"rubbish\n"))


@pytest.mark.parametrize("lost", [True, False])
def test_a_ledger_begun_meanwhile_is_not_overwritten(
    listed: Store, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    ledger(listed).unlink()
    if not lost:
        listed.memory = None
    store = Store(listed.folder, listed.keyring, durability="never", memory=listed.memory)
    found = damage(store) if lost else None
    begun = b""

    def meanwhile(folder: str) -> list[str]:
        nonlocal begun
        if not ledger(listed).exists():
            with monkeypatch.context() as patched:
                patched.setattr(repair, "stems", stems)
                start_ledger(Store(listed.folder, listed.keyring, durability="never"), "somebody else")
            begun = ledger(listed).read_bytes()
        return stems(folder)

    monkeypatch.setattr(repair, "stems", meanwhile)
    with pytest.raises(UsageError, match="has a ledger"):
        start_ledger(store, "again", found)
    assert begun
    assert ledger(listed).read_bytes() == begun


def test_a_new_ledger_lists_what_an_active_key_signed_and_names_the_rest(tmp_path: Path) -> None:
    bare = Store(tmp_path / "bare", policy((RETIRED, "active")), durability="never", ledger=False)
    runs.record(bare, "r-1", EVENTS)
    runs.record(bare, "r-2", EVENTS[:1], sealed=False)
    rekeyed = policy((RETIRED, "retired"), (ACTIVE, "active"))
    runs.record(Store(bare.folder, rekeyed, durability="never", ledger=False), "r-3", EVENTS)
    found = start_ledger(again(bare, rekeyed), "from now on")
    problem = f"signed by {B.kid}, which is not active"
    assert [(one.run_id, one.verdict, one.listed, one.problem) for one in found] == [
        ("r-1", "intact", False, problem),
        ("r-2", "live", False, problem),
        ("r-3", "intact", True, None),
    ]
    assert [type(line) for line in said(bare.directory)] == [Create, Sealed]


# Runs whose recorder was killed between its seal and its line


@pytest.fixture
def killed(listed: Store) -> Store:
    """A directory whose last run is sealed, and its ledger knows only that it began."""
    listed.memory = None
    ledger(listed).write_bytes(cut(ledger(listed).read_bytes(), 4))
    return again(listed)


def test_a_sealed_run_that_is_only_known_to_have_begun_is_finished_by_the_next_writer(killed: Store) -> None:
    killed.memory = None
    directory = killed.read()
    assert [run.run_id for run in untold(directory)] == ["r-2"]
    finish(directory)
    line = said(killed.directory)[-1]
    assert isinstance(line, Sealed)
    assert line.run_id == "r-2"
    assert list(untold(again(killed).read())) == []


def test_a_run_that_does_not_verify_is_finished_by_nobody(killed: Store) -> None:
    path = killed.file("r-2").path
    path.write_bytes(path.read_bytes()[:-1])
    finish(killed.read())
    assert len(said(killed.directory)) == 4


def test_a_run_whose_recorder_is_at_work_is_finished_by_nobody_else(killed: Store) -> None:
    fd = os.open(killed.directory / "r-2.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert list(untold(killed.read())) == []
    os.close(fd)
    assert [run.run_id for run in untold(killed.read())] == ["r-2"]


def test_what_was_proven_is_told_whatever_lies_there_by_then(killed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = killed.read()
    (proven,) = untold(directory)
    path, writing = killed.file("r-2").seal_path, directory.writing

    def changed() -> AbstractContextManager[None]:
        path.write_bytes(path.read_bytes().replace(b'"completed"', b'"forgotten"'))
        return writing()

    monkeypatch.setattr(directory, "writing", changed)
    finish(directory)
    line = said(killed.directory)[-1]
    assert isinstance(line, Sealed)
    assert line.seal == proven


def test_what_another_writer_has_ended_meanwhile_is_not_told_twice(
    killed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = killed.read()
    writing = directory.writing

    def later() -> AbstractContextManager[None]:
        finish(again(killed).read())
        return writing()

    monkeypatch.setattr(directory, "writing", later)
    before = len(said(killed.directory))
    finish(directory)
    assert len(said(killed.directory)) == before + 1


@pytest.mark.parametrize("op", ["open", "seal"])
def test_a_run_whose_recorder_had_another_key_is_finished_by_nobody(killed: Store, op: str) -> None:
    if op == "seal":
        line = killed.file("r-2").seal_path.read_bytes().split(b"\n")[0]
        killed.file("r-2").seal_path.write_bytes(make_seal(line, [B]))
    else:
        killed.keyring = Keyring(RETIRED, [ACTIVE])
    assert [verify(killed.file("r-2").path, killed.keyring).verdict, *untold(again(killed).read())] == ["intact"]


# A ledger for a directory that has none


@pytest.fixture
def bare(tmp_path: Path) -> Store:
    """A directory of four runs without a ledger: two good ones, a live one, a tampered one."""
    store = runs.store_in(tmp_path / "bare")
    for run_id in ("r-1", "r-2", "r-4"):
        runs.record(store, run_id, EVENTS)
    runs.record(store, "r-3", EVENTS[:1], sealed=False)
    path = store.file("r-4").path
    path.write_bytes(path.read_bytes()[:-1])
    return again(store)


def test_a_new_ledger_lists_what_verifies_and_names_what_does_not(bare: Store) -> None:
    found = start_ledger(bare, "from now on")
    assert [(one.run_id, one.verdict, one.listed) for one in found] == [
        ("r-1", "intact", True),
        ("r-2", "intact", True),
        ("r-3", "live", True),
        ("r-4", "truncated", False),
    ]
    assert [type(line) for line in said(bare.directory)] == [Create, Sealed, Sealed, Open]
    directory = again(bare).read()
    assert verify(bare.file("r-1").path, directory).verdict == "intact"
    assert verify(bare.file("r-4").path, directory).verdict == "truncated"


def test_a_run_that_broke_off_is_listed_with_its_good_lines_and_can_be_gone_on_with(bare: Store) -> None:
    file = runs.broken_off(runs.store_in(bare.directory), "r-5", EVENTS[:2], half=b"{")
    bare.file("r-6").path.write_bytes(file.path.read_bytes()[:100])
    found = {one.run_id: (one.verdict, one.listed) for one in start_ledger(bare, "from now on")}
    assert (found["r-5"], found["r-6"]) == (("torn", True), ("torn", False))
    runs.go_on(runs.store_in(bare.directory, ledger=True), "r-5", EVENTS)
    assert verify(file.path, bare.keyring).verdict == "intact"


def test_a_dry_run_lists_the_same_and_makes_nothing(bare: Store) -> None:
    before = names(bare)
    assert [one.listed for one in start_ledger(bare, "r", dry_run=True)] == [True, True, True, False]
    assert names(bare) == before


def test_a_second_ledger_is_not_begun(listed: Store) -> None:
    with pytest.raises(UsageError, match="has a ledger"):
        start_ledger(again(listed), "again")
    ledger(listed).unlink()
    with pytest.raises(TamperedError, match="the ledger is gone"):
        start_ledger(again(listed), "again")
    assert not ledger(listed).exists()


# A key out of use


def test_a_key_that_a_file_needs_is_not_revoked_and_the_file_named(tmp_path: Path) -> None:
    ring = policy((RETIRED, "active"))
    store = Store(tmp_path / "golden", ring, durability="never")
    runs.record(store, "r-1", EVENTS)
    later = again(store, policy((RETIRED, "retired"), (ACTIVE, "active")))
    assert list(needed_by(later.read(), B.kid)) == [
        ("r-1", "no other key signed its seal; `golden rotate` signs it anew")
    ]
    with pytest.raises(UsageError, match=f"run r-1 needs key {B.kid}"):
        revoke(later, B.kid, "old")
    list(rotate(Rotation(later, Plan("scheduled"))))
    assert list(needed_by(again(later).read(), B.kid)) == []
    assert revoke(again(later), B.kid, "old")
    line = said(later.directory)[-1]
    assert isinstance(line, KeyState)
    assert (line.key, line.state, line.believed, line.reason) == (B.kid, "revoked", line.seq, "old")
    # What it signed until now stays believed.
    directory = again(later).read()
    assert (directory.finding, directory.aside, list(directory.runs)) == (None, [], ["r-1"])
    assert verify(later.file("r-1").path, directory).verdict == "intact"
    assert not revoke(again(later), B.kid, "old")


def test_a_run_that_has_not_ended_needs_its_key(tmp_path: Path) -> None:
    store = Store(tmp_path / "golden", policy((RETIRED, "active")), durability="never")
    runs.record(store, "r-1", EVENTS[:1], sealed=False)
    later = again(store, policy((RETIRED, "retired"), (ACTIVE, "active")))
    why = "the run has not ended; its recorder died, `golden resume r-1` goes on or `golden recover r-1` seals it"
    assert list(needed_by(later.read(), B.kid)) == [("r-1", why)]
    fd = os.open(store.directory / "r-1.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = "the run has not ended; wait until it has, then `golden rotate`"
    assert list(needed_by(later.read(), B.kid)) == [("r-1", waiting)]
    os.close(fd)
    assert list(needed_by(later.read(), A.kid)) == []
    # Once it has gone on under another key it needs both.
    runs.go_on(later, "r-1", EVENTS[:1], sealed=False)
    assert [list(needed_by(later.read(), key.kid)) for key in (A, B)] == [[("r-1", why)]] * 2
    runs.go_on(later, "r-1", EVENTS)
    assert list(needed_by(later.read(), B.kid)) == []


def test_revoking_is_tried_first_and_remembered_by_this_host(listed: Store, memory: Memory) -> None:
    before = ledger(listed).read_bytes()
    assert revoke(again(listed), B.kid, None, dry_run=True)
    assert ledger(listed).read_bytes() == before
    assert revoke(again(listed), B.kid, None)
    remembered = memory.recall(listed.folder)
    assert remembered is not None
    assert remembered.revoked == [B.kid]
    with pytest.raises(UsageError, match="knows no key"):
        revoke(again(listed), "0" * 16, None)


def test_without_a_ledger_a_revocation_is_remembered(bare: Store, memory: Memory) -> None:
    store = again(bare, memory=memory)
    assert revoke(store, B.kid, None)
    assert Directory(bare.folder, runs.keyring(), memory=memory).keyring.state(B.kid) == "revoked"


def test_a_new_ledger_carries_the_statements_of_the_seals(bare: Store) -> None:
    statement = msgspec.json.decode(bare.file("r-1").seal_path.read_bytes().splitlines()[0])
    start_ledger(bare, "r")
    line = next(line for line in said(bare.directory) if isinstance(line, Sealed))
    assert msgspec.to_builtins(line.seal) == statement


def test_what_a_recorder_in_another_thread_tells_the_directory_meanwhile_is_no_obstacle(killed: Store) -> None:
    directory = killed.read()
    found = untold(directory)
    assert next(found).run_id == "r-2"
    directory.runs["r-3"] = directory.runs["r-2"]
    assert list(found) == []


def test_the_half_line_of_a_killed_writer_is_ended_by_the_next(listed: Store) -> None:
    before = ledger(listed).read_bytes()
    ledger(listed).write_bytes(before + b'{"half')
    finish(again(listed).read())
    assert ledger(listed).read_bytes().startswith(before)
    assert again(listed).read().finding is None
