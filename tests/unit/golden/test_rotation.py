"""Rotation: every honest file under the new key, every other one named, as a table of stories."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import provenance
from golden import rotation as module
from golden.directory import Directory
from golden.errors import GoldenError, TamperedError, UsageError
from golden.event import Data
from golden.files import is_temporary, locked, open_folder
from golden.keyring import Entry, HmacKey, Keyring, key_from
from golden.ledger import Accept, Anchor, Delete, KeyState, Open, Quarantine, Rotate, Sealed, draft
from golden.memory import Memory
from golden.proof import Outcome, Plan
from golden.recorder import open_recorder
from golden.rotation import Made, Rotation, leaked_keys, rotate
from golden.seal import Statement, make_seal, parse_seal, statement_line
from golden.store import SEAL_SUFFIX, GoldenFile, Store
from golden.verdict import verify_file
from tests import runs
from tests.runs import pem, policy, said

OLD, NEW, ED = runs.ACTIVE, runs.RETIRED, pem("rotation")
OLD_KEY, NEW_KEY = HmacKey(OLD), HmacKey(NEW)
BEFORE = policy((OLD, "active"))
AFTER = policy((OLD, "retired"), (NEW, "active"))
WITHOUT_OLD = policy((OLD, "retired"), (NEW, "active"), held=[NEW])
EVENTS: list[Data] = [runs.start(), runs.step(0, 1), runs.end()]
OTHERS: list[Data] = [runs.start(), runs.step(0, 2), runs.end()]


@dataclass
class Place:
    """A directory of four honest runs under the old key, and what was known of it before the leak."""

    folder: Path
    ledger: bool = True
    anchor: Anchor | None = None
    before: dict[str, tuple[bytes, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        store = self.store(BEFORE)
        for n in range(4):
            runs.record(store, f"r-{n}", EVENTS)
        self.anchor = store.read().anchor
        self.before = self.files()

    def store(self, ring: Keyring) -> Store:
        return Store(self.folder, ring, durability="never", ledger=self.ledger)

    def file(self, run_id: str) -> GoldenFile:
        return GoldenFile(self.folder, run_id)

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Return bytes, time and mode of every golden file."""
        return {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in self.folder.glob("*.steps.jsonl")
        }

    def rotate(self, plan: Plan, ring: Keyring = AFTER, **options: Any) -> dict[str, str]:
        work = Rotation(self.store(ring), plan, **options)
        return {one.run_id: one.outcome for one in rotate(work)}

    def compromised(self, ring: Keyring = WITHOUT_OLD, **changes: Any) -> dict[str, str]:
        """Rotate after the old key leaked, which is not at hand any more."""
        members = {"anchor": self.anchor if self.ledger else None, "leaked": (OLD_KEY.kid,), **changes}
        return self.rotate(Plan("compromised", **members), ring)

    def verdicts(self, ring: Keyring = WITHOUT_OLD) -> dict[str, str]:
        directory = Directory(str(self.folder), ring)
        known = (run_id for run_id, run in directory.runs.items() if run.present)
        stems = sorted({*self.store(ring).stems(), *known})
        return {stem: verify_file(self.file(stem), directory).verdict for stem in stems}

    def append(self, ring: Keyring, *lines: Any) -> None:
        directory = Directory(str(self.folder), ring)
        with directory.writing():
            directory.append(*lines)

    def statement(self, run_id: str) -> Statement:
        return parse_seal(self.file(run_id).seal_path.read_bytes()).statement

    def put(self, run_id: str, events: Iterable[Data], *, key: HmacKey = OLD_KEY, listed: bool = False) -> None:
        """Put a file in the place of a run, sealed by a key, and listed by it where that is said."""
        runs.forge(self.folder, run_id, events, keys=[key])
        if listed:
            statement = self.statement(run_id)
            members = {"run_id": run_id, "file_id": statement.file_id}
            self.append(BEFORE, draft(Open, **members), draft(Sealed, seal=statement, **members))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A directory with a ledger."""
    return Place(tmp_path / "golden")


@pytest.fixture
def bare(tmp_path: Path) -> Place:
    """A directory without one."""
    return Place(tmp_path / "bare", ledger=False)


def signers(file: GoldenFile) -> list[str]:
    return [signature.kid for signature in parse_seal(file.seal_path.read_bytes()).signatures]


ALL = {f"r-{n}": "resealed" for n in range(4)}
INTACT = dict.fromkeys(ALL, "intact")


# Routine


def test_a_scheduled_rotation_puts_every_seal_under_the_new_key_and_touches_no_file(place: Place) -> None:
    lines = {run_id: place.file(run_id).seal_path.read_bytes().splitlines()[0] for run_id in ALL}
    assert place.rotate(Plan("scheduled", note="yearly")) == ALL
    for run_id, line in lines.items():
        file = place.file(run_id)
        assert signers(file) == [NEW_KEY.kid]
        assert file.seal_path.read_bytes().splitlines()[0] == line
        assert file.seal_path.stat().st_mode == file.path.stat().st_mode
    assert place.files() == place.before
    assert place.verdicts() == INTACT
    told = said(place.folder)[-1]
    assert isinstance(told, Rotate)
    assert (told.keys, told.note, told.outcomes, told.reason) == (
        *([NEW_KEY.kid], "yearly", {"resealed": 4}),
        "scheduled",
    )
    assert not [path for path in place.folder.iterdir() if path.suffix in {".tmp", ".lock"}]


def test_done_again_it_says_already_and_writes_nothing(place: Place) -> None:
    place.rotate(Plan("scheduled"))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.folder.iterdir()}
    assert place.rotate(Plan("scheduled")) == dict.fromkeys(ALL, "already")
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.folder.iterdir()} == before


def test_an_old_signature_is_kept_beside_the_new_one_where_that_is_asked_for(place: Place) -> None:
    assert place.rotate(Plan("scheduled", keep_old=True)) == ALL
    assert signers(place.file("r-0")) == [NEW_KEY.kid, OLD_KEY.kid]
    assert place.verdicts(BEFORE)["r-0"] != "tampered"
    assert place.rotate(Plan("scheduled", keep_old=True)) == dict.fromkeys(ALL, "already")
    assert place.rotate(Plan("scheduled")) == ALL
    assert signers(place.file("r-0")) == [NEW_KEY.kid]


def test_every_active_key_signs_and_one_that_cannot_is_kept(place: Place) -> None:
    both = policy((OLD, "retired"), (NEW, "active"), (ED, "active"))
    assert place.rotate(Plan("scheduled"), both) == ALL
    ed = key_from(ED).kid
    assert signers(place.file("r-0")) == [ed, NEW_KEY.kid]
    public = policy((OLD, "retired"), (NEW, "active"), (ED, "active"), held=[NEW])
    assert place.rotate(Plan("scheduled"), public) == dict.fromkeys(ALL, "already")
    newest = policy((NEW, "retired"), (runs.STRANGER, "active"), (ED, "active"), held=[NEW, runs.STRANGER])
    assert place.rotate(Plan("scheduled"), newest) == ALL
    assert signers(place.file("r-0")) == [HmacKey(runs.STRANGER).kid, ed]
    assert place.verdicts(newest) == INTACT


def test_a_dry_run_says_the_same_and_changes_nothing(place: Place) -> None:
    place.put("r-9", EVENTS)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.folder.iterdir()}
    for plan in (Plan("scheduled"), Plan("compromised", place.anchor, (OLD_KEY.kid,))):
        assert place.rotate(plan, dry_run=True) == {**ALL, "r-9": "unproven"}
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.folder.iterdir()} == before


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_batches_of_any_size_do_the_same(place: Place, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    assert place.rotate(Plan("scheduled")) == ALL
    assert place.verdicts() == INTACT


def test_one_run_alone_may_be_signed_anew(place: Place) -> None:
    work = Rotation(place.store(AFTER), Plan("scheduled"))
    assert [one.run_id for one in rotate(work, ["r-2"])] == ["r-2"]
    assert {run_id: signers(place.file(run_id)) for run_id in ALL} == {
        run_id: [(NEW_KEY if run_id == "r-2" else OLD_KEY).kid] for run_id in ALL
    }


# After a leak, with an anchor from before it: a table of stories

Story = Callable[[Place], None]


def forged_run(place: Place) -> None:
    place.put("r-9", EVENTS)


def forged_and_listed_run(place: Place) -> None:
    place.put("r-9", EVENTS, listed=True)


def rewritten_run(place: Place) -> None:
    place.put("r-1", OTHERS)


def rewritten_and_listed_run(place: Place) -> None:
    place.put("r-1", OTHERS, listed=True)


def changed_bytes(place: Place) -> None:
    path = place.file("r-1").path
    path.write_bytes(path.read_bytes().replace(b'"output":1', b'"output":2'))


def cut_file(place: Place) -> None:
    path = place.file("r-1").path
    path.write_bytes(path.read_bytes()[:-10])


def grown_file(place: Place) -> None:
    path = place.file("r-1").path
    path.write_bytes(path.read_bytes() + b"{}\n")


def edited_statement(place: Place) -> None:
    statement = msgspec.structs.replace(place.statement("r-1"), status="failed", events=99)
    place.file("r-1").seal_path.write_bytes(make_seal(statement_line(statement), [OLD_KEY]))


def lost_seal(place: Place) -> None:
    place.file("r-1").seal_path.unlink()


def rubbish_seal(place: Place) -> None:
    place.file("r-1").seal_path.write_bytes(b"rubbish\n")


def seal_of_another(place: Place) -> None:
    place.file("r-1").seal_path.write_bytes(place.file("r-2").seal_path.read_bytes())


def lost_file(place: Place) -> None:
    place.file("r-1").path.unlink()


def lost_both(place: Place) -> None:
    place.file("r-1").path.unlink()
    place.file("r-1").seal_path.unlink()


def swapped(place: Place) -> None:
    one, two = place.file("r-1"), place.file("r-2")
    for a, b in ((one.path, two.path), (one.seal_path, two.seal_path)):
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second)
        b.write_bytes(first)


def live_run(place: Place) -> None:
    runs.record(place.store(BEFORE), "r-9", EVENTS[:2], sealed=False)


def unsealed_run(place: Place) -> None:
    runs.record(place.store(BEFORE), "r-9", EVENTS, sealed=False)


def sealed_after_the_anchor(place: Place) -> None:
    runs.record(place.store(BEFORE), "r-9", EVENTS)


def forged_delete(place: Place) -> None:
    members = {"run_id": "r-1", "file_id": place.statement("r-1").file_id, "reason": "r"}
    place.append(BEFORE, draft(Delete, **members))


def forged_accept(place: Place) -> None:
    place.put("r-1", OTHERS)
    statement = place.statement("r-1")
    place.append(BEFORE, draft(Accept, run_id="r-1", file_id=statement.file_id, reason="r", seal=statement))


def thief_revokes_the_new_key(place: Place) -> None:
    members = {"alg": "hmac-sha256", "key": NEW_KEY.kid, "state": "revoked", "believed": 0, "reason": None}
    place.append(BEFORE, draft(KeyState, **members))


def thief_retires_and_revokes_after_us(place: Place) -> None:
    place.compromised()
    thief_revokes_the_new_key(place)


STORIES: list[tuple[Story, dict[str, str]]] = [
    (lambda _: None, {}),
    (forged_run, {"r-9": "unproven"}),
    (forged_and_listed_run, {"r-9": "unproven"}),
    (rewritten_run, {"r-1": "tampered"}),
    (rewritten_and_listed_run, {"r-1": "tampered"}),
    (changed_bytes, {"r-1": "tampered"}),
    (cut_file, {"r-1": "tampered"}),
    (grown_file, {"r-1": "tampered"}),
    (edited_statement, {}),
    (lost_seal, {}),
    (rubbish_seal, {}),
    (seal_of_another, {}),
    (lost_file, {"r-1": "missing"}),
    (lost_both, {"r-1": "missing"}),
    (swapped, {"r-1": "tampered", "r-2": "tampered"}),
    (live_run, {"r-9": "live"}),
    (unsealed_run, {"r-9": "unproven"}),
    (sealed_after_the_anchor, {"r-9": "unproven"}),
    (forged_delete, {}),
    (forged_accept, {"r-1": "tampered"}),
    (thief_revokes_the_new_key, {}),
]


@pytest.mark.parametrize("story, changed", [pytest.param(s, c, id=s.__name__) for s, c in STORIES])
def test_after_a_leak_every_honest_file_is_resealed_and_no_other(
    place: Place, story: Story, changed: dict[str, str]
) -> None:
    honest = {run_id: statement_line(place.statement(run_id)) for run_id in ALL}
    story(place)
    before = place.files()
    expected = {**ALL, **changed}
    assert place.compromised() == expected
    assert place.files() == before
    for run_id, outcome in expected.items():
        file = place.file(run_id)
        if outcome == "resealed":
            # The statement is the ledger's, whatever the seal said.
            assert file.seal_path.read_bytes().splitlines()[0] == honest[run_id]
            assert signers(file) == [NEW_KEY.kid]
        elif file.seal_path.exists():
            assert NEW_KEY.kid not in signers(file)
    verdicts = place.verdicts()
    assert {run_id for run_id, verdict in verdicts.items() if verdict == "intact"} == {
        run_id for run_id, outcome in expected.items() if outcome == "resealed"
    }
    assert Directory(str(place.folder), WITHOUT_OLD).keyring.state(OLD_KEY.kid) == "revoked"
    # Done again it ends the same.
    again = {run_id: "already" if outcome == "resealed" else outcome for run_id, outcome in expected.items()}
    assert place.compromised() == again


def test_what_the_thief_writes_after_the_revocation_has_no_effect(place: Place) -> None:
    place.compromised()
    size = len(said(place.folder))
    forged = runs.Scribe(OLD_KEY, place.anchor.dir_id if place.anchor else "")
    forged.lines = (place.folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    forged.revoked(OLD_KEY, NEW_KEY, 0)
    forged.opened(OLD_KEY, "r-9")
    forged.write(place.folder)
    directory = Directory(str(place.folder), WITHOUT_OLD)
    assert (directory.finding, [(span.first, span.last) for span in directory.aside]) == (None, [(size, size + 1)])
    assert "r-9" not in directory.runs
    assert place.compromised() == dict.fromkeys(ALL, "already")


def test_an_earlier_version_put_back_is_rolled_back(place: Place) -> None:
    before = place.file("r-1").path.read_bytes(), place.file("r-1").seal_path.read_bytes()
    place.put("r-1", OTHERS)
    statement = place.statement("r-1")
    place.append(BEFORE, draft(Accept, run_id="r-1", file_id=statement.file_id, reason="r", seal=statement))
    place.anchor = Directory(str(place.folder), BEFORE).anchor
    place.file("r-1").path.write_bytes(before[0])
    place.file("r-1").seal_path.write_bytes(before[1])
    for outcomes in (place.rotate(Plan("scheduled")), place.compromised()):
        assert outcomes["r-1"] == "rolled-back"
    assert signers(place.file("r-1")) == [OLD_KEY.kid]


def test_the_revocation_is_written_before_any_seal(place: Place) -> None:
    work = Rotation(place.store(WITHOUT_OLD), Plan("compromised", place.anchor, (OLD_KEY.kid,), note="leak"))
    seen: list[Any] = []

    def looks() -> None:
        seen.append(said(place.folder)[-1])
        assert {run_id: signers(place.file(run_id)) for run_id in ALL} == {run_id: [OLD_KEY.kid] for run_id in ALL}

    list(rotate(work, revoked=looks))
    (line,) = seen
    assert isinstance(line, KeyState)
    assert place.anchor is not None
    assert (line.key, line.state, line.believed, line.reason) == (OLD_KEY.kid, "revoked", place.anchor.lines, "leak")
    assert line.kid == NEW_KEY.kid


def test_without_the_anchor_of_a_ledger_nothing_is_proven_after_a_leak(place: Place) -> None:
    with pytest.raises(UsageError, match="without an anchor") as refusal:
        place.rotate(Plan("compromised", leaked=(OLD_KEY.kid,)))
    assert "golden anchors" in refusal.value.hint
    other = Anchor("0" * 32, 3, "0" * 64)
    with pytest.raises(TamperedError):
        place.rotate(Plan("compromised", other, (OLD_KEY.kid,)))


def test_bytes_are_believed_that_somebody_vouches_for_by_hash(place: Place) -> None:
    sealed_after_the_anchor(place)
    forged_run_id = "r-8"
    place.put(forged_run_id, EVENTS)
    sha256 = hashlib.sha256(place.file("r-9").path.read_bytes()).hexdigest()
    outcomes = place.compromised(accepted={"r-9": sha256, forged_run_id: "0" * 64, "r-7": sha256}, note="from backup")
    assert outcomes == {**ALL, "r-9": "resealed", forged_run_id: "unproven"}
    accepts = [line for line in said(place.folder) if isinstance(line, Accept)]
    assert [(line.run_id, line.reason, line.seal.sha256) for line in accepts] == [("r-9", "from backup", sha256)]
    statement = place.statement("r-9")
    assert (statement.gen, statement.sha256) == (1, sha256)
    assert place.verdicts()["r-9"] == "intact"
    assert place.compromised()["r-9"] == "already"


def test_nobody_can_vouch_for_what_the_ledger_contradicts(place: Place) -> None:
    rewritten_run(place)
    sha256 = hashlib.sha256(place.file("r-1").path.read_bytes()).hexdigest()
    assert place.compromised(accepted={"r-1": sha256})["r-1"] == "tampered"


# Without a ledger


def test_without_a_ledger_a_good_seal_is_the_proof_of_a_scheduled_rotation(bare: Place) -> None:
    bare.put("r-1", OTHERS, key=HmacKey(runs.STRANGER))
    changed = bare.file("r-2").path
    changed.write_bytes(changed.read_bytes().replace(b'"output":1', b'"output":2'))
    bare.file("r-3").seal_path.unlink()
    assert bare.rotate(Plan("scheduled")) == {
        "r-0": "resealed",
        "r-1": "unproven",
        "r-2": "tampered",
        "r-3": "unproven",
    }
    assert signers(bare.file("r-1")) == [HmacKey(runs.STRANGER).kid]


def test_without_a_ledger_no_seal_by_a_leaked_key_proves_anything(bare: Place, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing but hashes from outside"):
        bare.compromised()
    kept = {run_id: hashlib.sha256(bare.file(run_id).path.read_bytes()).hexdigest() for run_id in ALL}
    bare.put("r-1", OTHERS)
    bare.put("r-9", EVENTS)
    edited_statement_of = msgspec.structs.replace(bare.statement("r-2"), status="failed")
    bare.file("r-2").seal_path.write_bytes(make_seal(statement_line(edited_statement_of), [OLD_KEY]))
    outcomes = bare.compromised(kept=kept)
    assert outcomes == {**ALL, "r-1": "unproven", "r-9": "unproven"}
    assert bare.statement("r-2").status == "completed"
    assert bare.verdicts() == {**INTACT, "r-1": "unknown-key", "r-9": "unknown-key"}


def test_without_a_ledger_an_acceptance_stands_in_the_seal_itself(bare: Place) -> None:
    sha256 = hashlib.sha256(bare.file("r-1").path.read_bytes()).hexdigest()
    outcomes = bare.compromised(accepted={"r-1": sha256}, note="by hand")
    assert outcomes == {**dict.fromkeys(ALL, "unproven"), "r-1": "resealed"}
    accepted = bare.statement("r-1").accepted
    assert accepted is not msgspec.UNSET
    assert (accepted.reason, bare.statement("r-1").gen) == ("by hand", 1)


def test_a_leak_without_a_ledger_is_remembered_by_this_host(bare: Place, tmp_path: Path) -> None:
    memory = Memory(str(tmp_path / "state"))
    store = Store(bare.folder, WITHOUT_OLD, durability="never", ledger=False, memory=memory)
    sha256 = hashlib.sha256(bare.file("r-1").path.read_bytes()).hexdigest()
    list(rotate(Rotation(store, Plan("compromised", None, (OLD_KEY.kid,), {"r-1": sha256}))))
    assert Directory(str(bare.folder), BEFORE, memory=memory).keyring.state(OLD_KEY.kid) == "revoked"


# Which keys have leaked


def entries(*states: tuple[bytes, Any, str]) -> Keyring:
    ring = [msgspec.structs.replace(_entry(secret, state), created=created) for secret, state, created in states]
    return Keyring.of(ring, lambda _: None)


def _entry(secret: bytes, state: Any) -> Entry:
    (entry,) = policy((secret, state))
    return entry


def test_a_seal_of_another_recording_of_a_run_that_began_proves_nothing(place: Place) -> None:
    place.append(BEFORE, draft(Open, run_id="r-9", file_id="f" * 32))
    place.put("r-9", OTHERS)
    assert place.rotate(Plan("scheduled"))["r-9"] == "unproven"


def test_a_run_that_was_set_apart_and_put_back_is_not_signed(place: Place) -> None:
    place.append(BEFORE, draft(Open, run_id="r-9", file_id=runs.FILE_ID))
    place.append(BEFORE, draft(Quarantine, run_id="r-9", file_id=runs.FILE_ID, reason="r"))
    place.put("r-9", OTHERS)
    assert place.rotate(Plan("scheduled"))["r-9"] == "unproven"


def test_a_file_of_another_run_is_tampered_whoever_vouches_for_it(place: Place) -> None:
    place.file("r-9").path.write_bytes(place.file("r-1").path.read_bytes())
    statement = msgspec.structs.replace(place.statement("r-1"), run_id="r-9")
    place.file("r-9").seal_path.write_bytes(make_seal(statement_line(statement), [OLD_KEY]))
    members = {"run_id": "r-9", "file_id": statement.file_id}
    place.append(BEFORE, draft(Open, **members), draft(Sealed, seal=statement, **members))
    assert place.rotate(Plan("scheduled"))["r-9"] == "tampered"


NOT_WHOLE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a hole": lambda lines: [lines[0], *lines[2:]],
    "half a line": lambda lines: [*lines, b'{"half'],
    "no end": lambda lines: lines[:-1],
    "another run": lambda lines: [line.replace(b'"r-9"', b'"r-8"') for line in lines],
}


def _copied(place: Place) -> list[bytes]:
    """Put what r-1 is in the place of r-9, in its name; return its lines."""
    for suffix in (".steps.jsonl", ".steps.jsonl.sig"):
        data = (place.folder / f"r-1{suffix}").read_bytes()
        (place.folder / f"r-9{suffix}").write_bytes(data.replace(b'"r-1"', b'"r-9"'))
    return place.file("r-9").path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_what_is_no_whole_run_is_accepted_by_no_hash(place: Place, name: str) -> None:
    data = b"".join(NOT_WHOLE[name](_copied(place)))
    place.file("r-9").path.write_bytes(data)
    before = len(said(place.folder))
    assert place.compromised(accepted={"r-9": hashlib.sha256(data).hexdigest()})["r-9"] != "resealed"
    assert not any(isinstance(line, Accept) for line in said(place.folder)[before:])


def test_a_whole_run_is_accepted_by_its_hash(place: Place) -> None:
    data = b"".join(_copied(place))
    assert place.compromised(accepted={"r-9": hashlib.sha256(data).hexdigest()})["r-9"] == "resealed"


def test_events_by_a_good_key_are_only_those_that_were_hashed(bare: Place) -> None:
    file = bare.file("r-1")
    sha256 = bare.statement("r-1").sha256
    assert provenance.is_recorded_under(file, BEFORE, {OLD_KEY.kid}, sha256)
    assert not provenance.is_recorded_under(file, BEFORE, {OLD_KEY.kid}, "0" * 64)
    assert not provenance.is_recorded_under(file, BEFORE, {NEW_KEY.kid}, sha256)
    assert not provenance.is_recorded_under(bare.file("r-8"), BEFORE, {OLD_KEY.kid}, sha256)


def test_a_run_begun_before_the_leak_and_sealed_by_the_thief_is_not_proven_by_a_signature_on_top(place: Place) -> None:
    place.append(BEFORE, draft(Open, run_id="r-9", file_id=runs.FILE_ID))
    anchor = place.store(BEFORE).read().anchor
    place.put("r-9", OTHERS)
    assert place.rotate(Plan("scheduled"))["r-9"] == "resealed", "nobody knows yet"
    assert place.compromised(anchor=anchor) == {**dict.fromkeys(ALL, "already"), "r-9": "unproven"}


JAN, FEB, MAR = ("2026-01-01T00:00:00.000000Z", "2026-02-01T00:00:00.000000Z", "2026-03-01T00:00:00.000000Z")


def test_every_key_older_than_the_newest_active_one_has_leaked_unless_it_is_safe() -> None:
    ring = entries((OLD, "retired", JAN), (ED, "active", JAN), (NEW, "active", FEB))
    assert set(leaked_keys(ring)) == {OLD_KEY.kid, key_from(ED).kid}
    assert leaked_keys(ring, [key_from(ED).kid]) == (OLD_KEY.kid,)


def test_a_key_made_after_the_active_one_has_not_leaked() -> None:
    ring = entries((OLD, "retired", JAN), (NEW, "active", FEB), (ED, "active", MAR))
    assert leaked_keys(ring) == (OLD_KEY.kid,)


def test_no_hmac_key_is_safe_and_no_stranger() -> None:
    ring = entries((OLD, "retired", JAN), (NEW, "active", FEB))
    for kid in (OLD_KEY.kid, NEW_KEY.kid, "0" * 16):
        with pytest.raises(UsageError, match="names no Ed25519 key"):
            leaked_keys(ring, [kid])


def test_without_a_newer_key_there_is_nothing_to_rotate_to() -> None:
    with pytest.raises(UsageError, match="no key is older than the active key") as refusal:
        leaked_keys(entries((OLD, "active", JAN)))
    assert "keys add" in refusal.value.hint
    with pytest.raises(UsageError, match="no HMAC key is active"):
        leaked_keys(entries((OLD, "retired", JAN)))
    with pytest.raises(UsageError, match="no active key is at hand"):
        Rotation(Store("nowhere", policy((OLD, "retired"))), Plan("scheduled"))


# Others at work, kills, full disks


def test_no_two_rotations_are_at_work_in_one_directory(place: Place) -> None:
    with (
        open_folder(str(place.folder)) as folder,
        locked(folder, "rotate.lock"),
        pytest.raises(UsageError, match="another rotation"),
    ):
        place.rotate(Plan("scheduled"))
    assert place.rotate(Plan("scheduled")) == ALL


def test_a_run_that_is_being_written_is_live_and_left_alone(place: Place) -> None:
    store = place.store(BEFORE)
    store.reload = lambda: AFTER
    with open_recorder(store, "r-9") as recorder:
        recorder.write(EVENTS[0])
        assert place.rotate(Plan("scheduled"))["r-9"] == "live"
        for data in EVENTS[1:]:
            recorder.write(data, runs.duration(data))
        recorder.seal()
    # Its recorder has read the keyring again.
    assert place.rotate(Plan("scheduled")) == {**dict.fromkeys(ALL, "already"), "r-9": "already"}


def test_a_run_whose_lock_is_held_is_named_and_left_as_it_is(place: Place) -> None:
    before = place.file("r-1").seal_path.read_bytes()
    with open_folder(str(place.folder)) as folder, locked(folder, "r-1.lock"):
        assert place.rotate(Plan("scheduled")) == {**ALL, "r-1": "failed"}
    assert place.file("r-1").seal_path.read_bytes() == before
    assert place.rotate(Plan("scheduled"))["r-1"] == "resealed"


def test_a_seal_that_changed_meanwhile_is_not_overwritten(place: Place) -> None:
    work = Rotation(place.store(AFTER), Plan("scheduled"))

    def meddles(make: Callable[[str], Made], ids: Sequence[str]) -> Iterable[Made]:
        for run_id in ids:
            made = make(run_id)
            if run_id == "r-1":
                place.file(run_id).seal_path.write_bytes(b"changed\n")
            yield made

    outcomes = {one.run_id: one.outcome for one in rotate(work, work=meddles)}
    assert outcomes == {**ALL, "r-1": "failed"}
    assert place.file("r-1").seal_path.read_bytes() == b"changed\n"
    assert not [path for path in place.folder.iterdir() if path.suffix == ".tmp"]


def test_a_file_changed_after_it_was_proven_does_not_fit_its_new_seal(place: Place) -> None:
    work = Rotation(place.store(AFTER), Plan("scheduled"))

    def meddles(make: Callable[[str], Made], ids: Sequence[str]) -> Iterable[Made]:
        for run_id in ids:
            made = make(run_id)
            path = place.file(run_id).path
            path.write_bytes(path.read_bytes().replace(b'"output":1', b'"output":2'))
            yield made

    list(rotate(work, work=meddles))
    assert set(place.verdicts().values()) == {"tampered"}


class KilledError(BaseException):
    """What stands for SIGKILL: nothing of the product may catch it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> Callable[[], int]:
    """Let the n-th call that changes something never return; give how many were made."""
    calls = 0
    for name in ("rename", "fchmod", "fsync", "fdatasync", "write"):
        real = getattr(os, name)

        def call(*arguments: Any, real: Any = real, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                raise KilledError
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, call)
    return lambda: calls


def test_killed_anywhere_and_run_again_it_always_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    count, killed = 0, True
    while killed:
        count += 1
        place = Place(tmp_path / str(count))
        place.put("r-9", EVENTS, listed=True)
        before = place.files()
        # A killed process unlinks nothing.
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", lambda *_, **__: None)
            kill_at(patched, count)
            try:
                place.compromised()
                killed = False
            except KilledError:
                pass
        outcomes = place.compromised()
        assert {run_id: outcome for run_id, outcome in outcomes.items() if outcome not in {"resealed", "already"}} == {
            "r-9": "unproven"
        }, count
        assert place.files() == before
        assert {**place.verdicts(), "r-9": ""} == {**INTACT, "r-9": ""}, count
        assert not [path for path in place.folder.iterdir() if is_temporary(path.name, SEAL_SUFFIX)], count
        assert Directory(str(place.folder), WITHOUT_OLD).finding is None
    assert count > 15


def test_a_full_disk_is_named_and_every_seal_is_the_old_one_or_the_new(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.write, 0

    def full(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 2:
            write(fd, data[:7])
            raise OSError(28, "No space left on device")
        return write(fd, data)

    work = Rotation(place.store(AFTER), Plan("scheduled"))
    outcomes: list[Outcome] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(GoldenError, match="No space left"):
            outcomes.extend(rotate(work))
    assert [one.outcome for one in outcomes] == ["resealed", "resealed", "failed", "failed"]
    assert outcomes[2].problem == "No space left on device"
    assert [signers(place.file(run_id)) for run_id in ALL] == [[NEW_KEY.kid]] * 2 + [[OLD_KEY.kid]] * 2
    assert sorted(place.rotate(Plan("scheduled")).values()) == ["already"] * 2 + ["resealed"] * 2


def test_what_a_killed_one_left_is_cleared_away_and_nothing_else(place: Place) -> None:
    for name in (".r-1.steps.jsonl.sig.0123456789abcdef.tmp", ".gone.steps.jsonl.sig.0123456789abcdef.tmp"):
        (place.folder / name).write_text("")
    for name in (".notes.tmp", ".r-1.steps.jsonl.sig.tmp", "r-1.steps.jsonl.sig.0123456789abcdef.tmp"):
        (place.folder / name).write_text("")
    place.rotate(Plan("scheduled"))
    left = sorted(path.name for path in place.folder.iterdir() if path.suffix == ".tmp")
    assert left == [".notes.tmp", ".r-1.steps.jsonl.sig.tmp", "r-1.steps.jsonl.sig.0123456789abcdef.tmp"]


def test_a_link_in_the_place_of_a_file_or_a_seal_is_named_and_not_followed(place: Place, tmp_path: Path) -> None:
    for run_id, path in (("r-1", place.file("r-1").path), ("r-2", place.file("r-2").seal_path)):
        target = tmp_path / path.name
        path.rename(target)
        path.symlink_to(target)
        assert place.rotate(Plan("scheduled"))[run_id] == "failed"
        assert path.is_symlink()


def test_a_signature_that_is_wrong_is_not_kept_whoever_it_names(place: Place) -> None:
    line, signature = place.file("r-1").seal_path.read_bytes().splitlines()
    forged = signature[:-3] + (b"A" if signature[-3:-2] != b"A" else b"E") + b'"}'
    place.file("r-1").seal_path.write_bytes(b"%b\n%b\n" % (line, forged))
    assert place.verdicts(AFTER)["r-1"] == "tampered"
    assert place.rotate(Plan("scheduled", keep_old=True)) == ALL
    assert place.verdicts(AFTER) == INTACT


def test_no_secret_is_in_any_text_of_a_rotation(place: Place) -> None:
    work = Rotation(place.store(AFTER), Plan("scheduled"))
    shown = repr(work) + repr(vars(work)) + repr(list(rotate(work)))
    for path in place.folder.iterdir():
        shown += path.read_text()
    for secret in (OLD, NEW):
        assert secret.decode() not in shown
