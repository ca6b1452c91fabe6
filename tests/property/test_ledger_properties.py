"""Ledger and rotation, for any history: what was done is what stands there, and no stranger takes anybody out."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from golden.directory import Directory
from golden.event import Data
from golden.keyring import Ed25519Key, HmacKey, Key, Keyring, State, entry_of, key_from
from golden.ledger import FORMS, Fold, KeyState, Open, Operation, draft, parse_line, revocations
from golden.memory import Memory
from golden.proof import Plan
from golden.rotation import Rotation, rotate
from golden.seal import Statement, make_seal, parse_seal, statement_line
from golden.store import GoldenFile, Store
from tests import runs
from tests.runs import ACTIVE, FILE_ID, RETIRED, STRANGER, Scribe, pem, policy, said

A, B, C = HmacKey(ACTIVE), HmacKey(RETIRED), HmacKey(STRANGER)
E = key_from(pem("property"))
KEYS: tuple[Key, ...] = (A, B, C)
RUNS = ("r-1", "r-2", "r-3")

# Honest operations


@dataclass
class Known:
    """What a simple model says of one run."""

    op: str = ""
    present: bool = True
    statement: Statement | None = None
    earlier: list[Statement] = field(default_factory=list)

    def does(self, op: str, statement: Statement) -> None:
        self.op, self.present = op, op not in {"delete", "quarantine", "archive"}
        if op in {"seal", "accept", "open"}:
            self.earlier += [self.statement] if self.statement else []
            self.statement = None if op == "open" else statement


def digest(statement: Statement | None) -> bytes:
    return hashlib.sha256(statement_line(statement)).digest() if statement else b""


ABOUT_RUNS = ("open", "seal", "accept", "archive", "restore", "delete", "quarantine")
HONEST = st.lists(st.tuples(st.sampled_from(ABOUT_RUNS), st.sampled_from(RUNS), st.integers(0, 3)), max_size=12)


@given(HONEST, st.lists(st.integers(1, 4), max_size=4), st.booleans())
def test_any_honest_operations_add_up_to_what_a_simple_model_says(
    done: list[tuple[str, str, int]], batches: list[int], strong: bool
) -> None:
    ring = policy((ACTIVE, "active"), (pem("property"), "active" if strong else "retired"))
    model: dict[str, Known] = {}
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(f"{folder}/state")
        writer = Directory(folder, ring, memory=memory)
        follower: Directory | None = None
        with writer.writing():
            writer.create()
        lines = []
        for n, (op, run_id, which) in enumerate(done):
            statement = runs.statement_of(run_id, b"%d" % which, 1, bytes(32))
            model.setdefault(run_id, Known()).does(op, statement)
            members: dict[str, Any] = {"run_id": run_id, "file_id": FILE_ID}
            members |= {"seal": statement} if op in {"seal", "accept"} else {}
            members |= {"reason": "r"} if op in {"accept", "delete", "quarantine"} else {}
            members |= {"archive": "a"} if op in {"archive", "restore"} else {}
            lines.append(draft(FORMS[op], **members))
            if len(lines) >= (batches[n % len(batches)] if batches else 1) or n == len(done) - 1:
                with writer.writing():
                    writer.append(*lines, durable=False)
                lines = []
                follower = follower or Directory(folder, ring, memory=memory)
                follower.refresh()
        for found in (writer, follower or writer, Directory(folder, ring, memory=memory)):
            assert found.finding is None
            assert found.anchor == writer.anchor
            assert set(found.runs) == set(model)
            for run_id, known in model.items():
                run = found.runs[run_id]
                assert (run.op, run.present, run.digest) == (known.op, known.present, digest(known.statement))
                assert list(run.earlier) == [digest(one) for one in known.earlier]
                believed = known.statement if known.present else None
                assert found.statement(run_id) == (statement_line(believed) if believed else None)
        assert len(said(Path(folder))) == len(done) + 1
        assert {line.kid for line in said(Path(folder))} == {E.kid if strong else A.kid}


# Keys that revoke each other

Act = tuple[int, int | None, int]  # who, whom they revoke (or nobody: a run begins), how much they leave believed
ACTS = st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 2), st.integers(0, 8)), max_size=8)
STATES = st.tuples(
    *[st.sampled_from(["active", "retired", "revoked", None])] * 2, st.sampled_from(["retired", "revoked", None])
)


def ring_of(states: tuple[State | None, ...]) -> Keyring:
    """Return a keyring in which at most one key is active; None leaves a key out of it."""
    active = [state for state in states if state == "active"]
    if len(active) > 1:
        states = ("active", "retired", *states[2:])
    secrets = {key.kid: secret for key, secret in zip(KEYS, (ACTIVE, RETIRED, STRANGER), strict=True)}
    return Keyring.of(
        [entry_of(key, state) for key, state in zip(KEYS, states, strict=True) if state is not None], secrets.get
    )


def history(acts: list[Act], scribe: Scribe | None = None) -> Scribe:
    scribe = scribe or Scribe(A)
    for who, whom, believed in acts:
        if whom is None:
            scribe.opened(KEYS[who], f"r-{len(scribe.lines)}")
        else:
            scribe.revoked(KEYS[who], KEYS[whom], believed)
    return scribe


def heard(scribe: Scribe, ring: Keyring) -> dict[str, int]:
    lines: list[Operation] = [parse_line(line[:-1])[0] for line in scribe.lines]
    return revocations(lines, ring, [], {}, len(lines))[0]


def told(scribe: Scribe, key: Key | None) -> dict[str, int]:
    """Return whom a key revokes, and how much it leaves believed of each."""
    limits: dict[str, int] = {}
    for line in (parse_line(line[:-1])[0] for line in scribe.lines):
        if isinstance(line, KeyState) and key is not None and line.kid == key.kid != line.key:
            limit = 0 if line.believed is msgspec.UNSET else line.believed
            limits[line.key] = min(limit, limits.get(line.key, limit))
    return limits


def active_of(ring: Keyring) -> Key | None:
    return next((key for key in KEYS if ring.state(key.kid) == "active"), None)


def judged(scribe: Scribe, ring: Keyring, memory: Memory | None = None) -> tuple[Directory, dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        scribe.write(Path(folder))
        found = Directory(folder, ring, memory=memory)
        return found, {run_id: (run.op, run.present, run.digest) for run_id, run in found.runs.items()}


@given(ACTS, STATES)
def test_who_is_not_active_never_takes_out_the_active_key_from_where_that_one_revoked_it(
    acts: list[Act], states: tuple[State | None, ...]
) -> None:
    ring = ring_of(states)
    scribe = history(acts)
    believed, active = heard(scribe, ring), active_of(ring)
    limits = told(scribe, active)
    # Whoever takes the active key out was not revoked by it, or spoke where it left them believed.
    if active is not None and active.kid in believed:
        lines = (parse_line(line[:-1])[0] for line in scribe.lines)
        takers = [line for line in lines if isinstance(line, KeyState) and line.key == active.kid != line.kid]
        assert any(line.seq < limits.get(line.kid, line.seq + 1) for line in takers)
    # And what the active key says of the others holds.
    for kid, limit in limits.items():
        assert believed[kid] <= limit


@given(ACTS, ACTS, STATES)
def test_what_the_active_key_revoked_stays_revoked_whatever_is_added(
    before: list[Act], after: list[Act], states: tuple[State | None, ...]
) -> None:
    ring = ring_of(states)
    scribe = history(before)
    limits = told(scribe, active_of(ring))
    later = heard(history(after, scribe), ring)
    assert all(later[kid] <= limit for kid, limit in limits.items())
    assert later.keys() >= {entry.kid for entry in ring if entry.state == "revoked"}


@given(ACTS, STATES, STATES)
def test_a_key_once_seen_revoked_is_revoked_for_every_keyring_and_every_ledger(
    acts: list[Act], states: tuple[State | None, ...], others: tuple[State | None, ...]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "golden"
        memory = Memory(f"{home}/state")
        history(acts).write(folder)
        first = Directory(str(folder), ring_of(states), memory=memory)
        first.remember()
        seen = first.certain if first.finding is None else set()
        Scribe(A).write(folder)
        second = Directory(str(folder), ring_of(others), memory=memory)
        for kid in seen:
            assert second.keyring.state(kid) in {"revoked", None}


@given(ACTS, ACTS, STATES)
def test_no_line_added_by_a_key_that_the_active_one_or_the_keyring_revoked_changes_a_run(
    before: list[Act], added: list[Act], states: tuple[State | None, ...]
) -> None:
    ring = ring_of(states)
    scribe = history(before)
    believed = heard(scribe, ring)
    sure = told(scribe, active_of(ring)).keys() | {entry.kid for entry in ring if entry.state == "revoked"}
    out = [n for n, key in enumerate(KEYS) if key.kid in sure and believed[key.kid] <= len(scribe.lines)]
    if not out:
        return
    first, runs_before = judged(scribe, ring)
    forged = [(out[who % len(out)], whom, limit) for who, whom, limit in added]
    second, runs_after = judged(history(forged, scribe), ring)
    assert runs_after == runs_before
    assert (second.finding is None) == (first.finding is None)
    assert sum(span.last - span.first + 1 for span in second.aside) >= len(forged) * (first.finding is None)


@given(ACTS, STATES)
def test_every_line_is_believed_or_set_aside_and_no_third(acts: list[Act], states: tuple[State | None, ...]) -> None:
    ring = ring_of(states)
    scribe = history(acts)
    found, _ = judged(scribe, ring)
    aside = {seq for span in found.aside for seq in range(span.first, span.last + 1)}
    for line in (parse_line(line[:-1])[0] for line in scribe.lines):
        assert (line.seq in aside) == (line.seq >= found.believed.get(line.kid, line.seq + 1))
        if isinstance(line, Open) and found.finding is None:
            assert (f"r-{line.seq}" in found.runs) == (line.seq not in aside)


@given(ACTS)
def test_lines_are_counted_hashed_and_placed_whoever_is_believed(acts: list[Act]) -> None:
    scribe = history(acts)
    for ring in (policy((ACTIVE, "active")), Keyring(), ring_of(("active", "revoked", None))):
        fold = Fold(ring)
        for line in scribe.lines:
            fold.feed(line[:-1])
        assert (fold.anchor, fold.offset) == (scribe.anchor, len(scribe.data))


# Rotation

OLD, NEW = HmacKey(ACTIVE), HmacKey(RETIRED)
SMALL: list[Data] = [runs.start(), runs.step(0, 1), runs.end()]
Change = Callable[[GoldenFile, GoldenFile, int], None]


def resigned(file: GoldenFile, key: Key, **changes: Any) -> None:
    """Sign a statement of one's own under the file that lies there."""
    if not file.path.exists():
        return
    data = file.path.read_bytes()
    statement = runs.statement_of(file.stem, data, max(1, data.count(b"\n")), bytes(32))
    file.seal_path.write_bytes(make_seal(statement_line(msgspec.structs.replace(statement, **changes)), [key]))


def flipped(file: GoldenFile, _: GoldenFile, n: int) -> None:
    data = bytearray(file.path.read_bytes() if file.path.exists() else b"")
    if data:
        data[n % len(data)] ^= 1 << n % 8
        file.path.write_bytes(data)


def moved(file: GoldenFile, other: GoldenFile, _: int) -> None:
    for one, two in ((file.path, other.path), (file.seal_path, other.seal_path)):
        if two.exists():
            one.write_bytes(two.read_bytes())


def cut(file: GoldenFile, _: GoldenFile, n: int) -> None:
    if file.path.exists():
        file.path.write_bytes(file.path.read_bytes()[:-n])


def rewritten(file: GoldenFile, _: GoldenFile, n: int) -> None:
    runs.forge(Path(file.folder), file.stem, [runs.start({"n": n}), *SMALL[1:]])


def rubbish(file: GoldenFile, _: GoldenFile, n: int) -> None:
    file.seal_path.write_bytes(b"%d\n" % n)


CHANGES: list[Change] = [
    *(flipped, moved, cut, rewritten, rubbish),
    lambda file, *_: file.seal_path.unlink(missing_ok=True),
    lambda file, *_: file.path.unlink(missing_ok=True),
    lambda file, *_: resigned(file, OLD),
    lambda file, *_: resigned(file, C),
    lambda file, _, n: resigned(file, OLD, sha256=f"{n:064x}"),
    lambda file, _, n: resigned(file, OLD, bytes=n),
    lambda file, other, _: resigned(file, OLD, run_id=other.stem),
]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, len(CHANGES) - 1), st.integers(1, 400)), max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_no_seal_by_the_new_key_is_of_other_bytes_than_those_it_states_and_those_were_proven(
    changes: list[tuple[int, int, int]], ledger: bool, leak: bool, keep_old: bool, vouched: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, Keyring(ACTIVE), durability="never", ledger=ledger)
        files = [runs.record(store, f"r-{n}", SMALL) for n in range(3)]
        honest = {file.stem: file.path.read_bytes() for file in files}
        anchor = store.read().anchor
        for which, change, n in changes:
            CHANGES[change](files[which], files[(which + 1) % 3], n)
        before = {file.stem: file.path.read_bytes() if file.path.exists() else None for file in files}
        hashes = {stem: hashlib.sha256(data).hexdigest() for stem, data in honest.items()}
        plan = Plan("scheduled", keep_old=keep_old)
        ring = policy((ACTIVE, "retired"), (RETIRED, "active"))
        if leak:
            kept = None if ledger else hashes
            plan = Plan("compromised", anchor, (OLD.kid,), hashes if vouched else {}, kept, keep_old)
            ring = policy((ACTIVE, "retired"), (RETIRED, "active"), held=[RETIRED])
        outcomes = {one.run_id: one for one in rotate(Rotation(Store(folder, ring, durability="never"), plan))}
        for file in files:
            outcome = outcomes.get(file.stem)
            now = file.path.read_bytes() if file.path.exists() else None
            assert now == before[file.stem]
            sealed = file.seal_path.read_bytes() if file.seal_path.exists() else b""
            is_new = NEW.kid.encode() in sealed
            assert is_new == (outcome is not None and outcome.outcome == "resealed")
            if is_new and now is not None:
                seal = parse_seal(sealed)
                said_of = (seal.statement.run_id, seal.statement.bytes, seal.statement.sha256)
                assert said_of == (file.stem, len(now), hashlib.sha256(now).hexdigest())
                if ledger or leak:
                    assert now == honest[file.stem]
            if (ledger or leak) and now == honest[file.stem]:
                assert is_new


def test_the_keys_of_these_tests_are_of_both_algorithms() -> None:
    assert isinstance(E, Ed25519Key)
    assert len({key.kid for key in KEYS}) == 3
