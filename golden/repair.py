"""Repair: what somebody does to a directory on purpose: set runs apart, acknowledge damage, list, revoke.

Each act is a signed line of the ledger first; nothing is ever deleted, and no file is sealed here.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress

import msgspec

from golden.canonical import sha256_hex
from golden.directory import LOCK, Directory
from golden.errors import FormatError, GoldenError, KeyringError, StoreError, TamperedError, UsageError
from golden.event import Extent, Signing, parse_header
from golden.files import exists, locked, open_folder, open_regular, put, sweep
from golden.ledger import LEDGER, Anchor, Draft, Fold, KeyState, Open, Quarantine, Recover, Remnant, Sealed, Span, draft
from golden.lines import Splitter, blocks, first_line
from golden.provenance import is_recorded_under, signed_by
from golden.seal import MAX_SEAL, Statement, check, parse_seal
from golden.store import RESERVED, GoldenFile, Store, check_run_id, stems
from golden.verdict import examine

FOLDER = "quarantine"


def quarantine(store: Store, run_id: str, reason: str, *, dry_run: bool = False) -> str:
    """Set a run's files apart, into a folder below the directory that is named after the moment; return that folder.

    Done again after a kill, it is completed.

    Raises:
        UsageError: there is no such run, or it is being written.
    """
    file = GoldenFile(store.folder, check_run_id(run_id))
    directory = store.read()
    directory.require_good()
    known = directory.runs.get(run_id)
    busy = UsageError(f"run {run_id} is being written", hint="wait until it ends")
    # No run is recorded under a reserved id: that lock is the directory's own, and is taken below.
    alone = run_id not in RESERVED
    with open_folder(store.folder) as folder, locked(folder, f"{run_id}.lock", busy) if alone else nullcontext():
        names = [name for name in (file.name, f"{file.name}.sig") if exists(folder, name)]
        place = _place(folder, file, names)
        if not names and known is not None and known.op == "quarantine":
            return FOLDER
        if not names and (known is None or not known.present):
            raise StoreError(f"no recording {run_id} in {store.folder}", hint="check its id and the golden directory")
        if dry_run:
            return place
        sweep(folder, f"{file.name}.sig")
        if directory.present and (known is None or known.op != "quarantine"):
            with directory.writing():
                directory.append(draft(Quarantine, run_id=run_id, file_id=_file_id(file), reason=reason))
        if names:
            _move(folder, names, place)
    return place


def _place(folder: int, file: GoldenFile, names: Sequence[str]) -> str:
    """Return where the files go: to their other half, where a killed command moved that, else into a new folder."""
    others = {file.name, f"{file.name}.sig"} - set(names)
    if names and others and exists(folder, FOLDER):
        for entry in sorted(os.listdir(os.path.join(file.folder, FOLDER)), reverse=True):
            place = os.path.join(FOLDER, entry)
            if [name for name in (*names, *others) if exists(folder, os.path.join(place, name))] == list(others):
                return place
    return os.path.join(FOLDER, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))


def _move(folder: int, names: Sequence[str], place: str) -> None:
    for part in (FOLDER, place):
        with suppress(FileExistsError):
            os.mkdir(part, 0o750, dir_fd=folder)
    for name in names:
        target = os.path.join(place, name)
        if exists(folder, target):
            raise StoreError(f"{target} is there already", hint="run the command again in a second")
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=folder)
    # Where they are now comes first: at no moment are they durable nowhere.
    for part in (place, FOLDER, "."):
        fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _signing(file: GoldenFile) -> Signing | None:
    """Return what a file's first line says of itself, None where it says nothing that can be read."""
    try:
        fd = open_regular(file.place)
    except StoreError:
        return None
    if fd is None:
        return None
    try:
        header = parse_header(first_line(fd) or b"")
    except FormatError:
        return None
    finally:
        os.close(fd)
    return header.signing if header else None


def _file_id(file: GoldenFile) -> str | None:
    signing = _signing(file)
    return signing.file_id if signing else None


def _recorders(file: GoldenFile) -> set[str]:
    """Return the keys that a file's lines say they stand under, none where it cannot be read."""
    try:
        fd = open_regular(file.place)
    except StoreError:
        return set()
    if fd is None:
        return set()
    try:
        return signed_by(fd)
    finally:
        os.close(fd)


class Damage(msgspec.Struct, frozen=True):
    """What is wrong with a ledger that `recover` can write down, so that it is a finding no longer.

    `anchor` is that of the lines to go on from, None where there is none. `dropped` are the bytes after them, of which
    `strangers` says how many lines each key claims that the keyring does not name; `lines` are those without effect.
    """

    anchor: Anchor | None = None
    dropped: bytes = b""
    lines: tuple[Span, ...] = ()
    strangers: dict[str, int] = {}
    lost: Remnant | None = None
    unfinished: tuple[Statement, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is anything to write down."""
        return bool(self.dropped or self.lines or self.lost or self.unfinished)

    @property
    def begun(self) -> bool:
        """Whether a new ledger is to be begun: there was one, and none of its lines is left."""
        return self.any and self.anchor is None


def damage(store: Store) -> Damage:
    """Return what is wrong with a directory's ledger, as far as writing it down can help.

    Raises:
        KeyringError: lines that may be honest cannot be checked, because their key is not at hand.
    """
    directory = store.read()
    remembered = directory.remembered.anchor if directory.remembered else None
    lost = Remnant(remembered.dir_id, remembered.hash, remembered.lines) if remembered else None
    if not directory.present:
        return Damage(lost=lost)
    if not directory.fold.lines and not directory.rest and lost is None and directory.finding is not None:
        raise UsageError(directory.finding.problem, hint=directory.finding.hint)
    found = _readable(directory)
    if found.anchor is None:
        return Damage(dropped=found.rest, lost=lost)
    lines = [span for span in directory.aside if span.last < found.anchor.lines]
    if found.anchor.lines > found.trusted:
        lines.append(Span(found.trusted, found.anchor.lines - 1))
    return Damage(
        anchor=found.anchor,
        dropped=found.rest,
        lines=tuple(_merged(lines)),
        strangers=found.strangers,
        lost=None if found.holds else lost,
        unfinished=tuple(untold(directory)) if directory.finding is None else (),
    )


def recover(store: Store, found: Damage, reason: str) -> None:
    """Write down what is wrong, keeping every byte that is cut off, so that the ledger is good from here on.

    Raises:
        KeyringError: no active key is at hand.
        UsageError: it was another ledger when it was looked at.
    """
    if found.begun:
        start_ledger(store, reason, found)
    if found.anchor is None:
        return
    directory = store.read()
    _require_writable(directory)
    if found.dropped:
        _cut(store, found.anchor, found.dropped)
    with directory.mending():
        if directory.fold.anchor != found.anchor:
            raise _changed()
        directory.append(*_noted(found, reason), instead=found.lost is not None)
        _finish(directory, found.unfinished)


def _require_writable(directory: Directory) -> None:
    """Raise what would keep a line from being signed, or from being remembered, before anything is cut."""
    if not directory.keyring.signers:
        directory.keyring.active  # noqa: B018  says why there is none
    if directory.memory is not None:
        directory.memory.require_writable(directory.folder)


def _changed() -> UsageError:
    return UsageError("the ledger changed since it was looked at", hint="run the command again")


def _noted(found: Damage, reason: str) -> list[Draft]:
    """Return the line that says what was found, none where only runs are to be finished."""
    members = {
        "dropped": Extent(bytes=len(found.dropped), sha256=sha256_hex(found.dropped))
        if found.dropped
        else msgspec.UNSET,
        "lines": list(found.lines) or msgspec.UNSET,
        "lost": found.lost or msgspec.UNSET,
    }
    said = any(value is not msgspec.UNSET for value in members.values())
    return [draft(Recover, reason=reason, **members)] if said else []


class _Readable(msgspec.Struct, frozen=True):
    """A ledger as far as it can be gone on with: how many lines of it a trusted key vouches for, and the bytes after.

    `anchor` is that of its lines, None where there is none; those after the `trusted` ones are by revoked keys.
    `strangers` says how many lines of the `rest` each key claims that the keyring does not name, `holds` whether the
    lines extend what this host remembers.
    """

    anchor: Anchor | None
    trusted: int
    rest: bytes
    strangers: dict[str, int]
    holds: bool


def _readable(directory: Directory) -> _Readable:
    """Read a ledger up to the first line that nobody vouches for, not even whoever signed after it.

    Where every line was checked and is bad, or none can be read, none is left.

    Raises:
        KeyringError: the keys of lines that may be honest are not at hand.
    """
    fd = open_regular(directory.place)
    remembered = directory.remembered.anchor if directory.remembered else None
    keyring = directory.keyring
    fold = Fold(keyring, [remembered.lines] if remembered else [])
    splitter, trusted, unchecked = Splitter(), 0, False
    bad: tuple[Anchor, int] | None = None
    claimed: Counter[str] = Counter()
    if fd is None:
        return _Readable(None, 0, b"", {}, holds=False)
    with os.fdopen(fd, "rb") as file:
        with suppress(TamperedError, FormatError):
            for block in blocks(file.fileno()):
                for line in splitter.feed(block):
                    before = fold.anchor, fold.offset
                    fold.feed(line)
                    # Every line, not only the last of a stretch: a bad one may stand behind good ones by its key.
                    fold.settle()
                    last = fold.stretches[-1]
                    if last.good:
                        trusted, bad = fold.lines, None
                        claimed.clear()
                    elif last.good is None and keyring.state(last.kid) == "revoked":
                        unchecked = True
                    else:
                        # Naming it would not do: what it revokes would be vouched for by whoever names it.
                        bad = bad or before
                        unchecked |= last.good is None
                        claimed[last.kid] += last.good is None
        anchor, offset = bad or (fold.anchor, fold.offset)
        file.seek(offset)
        rest = file.read()
    if not trusted and unchecked:
        raise KeyringError(
            "no line of the ledger is signed by a key that is at hand",
            hint="provide the secret or the keyring that it was written with",
            verdict="unknown-key",
        )
    for kid in (+claimed).keys() & {entry.kid for entry in keyring}:
        raise KeyringError(
            f"{claimed[kid]} of the last lines of the ledger are signed by {kid}, whose key is not at hand",
            hint="provide the secret, or the keyring that has its public key",
            verdict="unknown-key",
        )
    moment = fold.moments.get(remembered.lines) if remembered and remembered.lines <= anchor.lines else None
    holds = remembered is None or (moment is not None and moment.anchor == remembered)
    return _Readable(anchor if offset else None, trusted, rest, dict(+claimed), holds)


def _merged(spans: Sequence[Span]) -> Iterator[Span]:
    last: Span | None = None
    for span in sorted(spans, key=lambda span: span.first):
        if last is not None and span.first <= last.last + 1:
            last = Span(last.first, max(last.last, span.last))
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _cut(store: Store, anchor: Anchor, dropped: bytes) -> None:
    """Keep the unreadable end of the ledger in quarantine, then take it off; no writer comes in between."""
    with open_folder(store.folder) as folder, locked(folder, LOCK):
        sweep(folder, LEDGER)
        data, like = _content(store)
        kept = data[: len(data) - len(dropped)]
        last = kept[:-1].rpartition(b"\n")[2]
        if kept + dropped != data or like is None or sha256_hex(last) != anchor.hash:
            raise _changed()
        _keep(store, folder, dropped, like)
        put(folder, LEDGER, kept, like, durable=True)


def _content(store: Store) -> tuple[bytes, os.stat_result | None]:
    """Return the bytes of the ledger and its mode and owner, none where it is gone."""
    fd = open_regular(os.path.join(store.folder, LEDGER))
    if fd is None:
        return b"", None
    with os.fdopen(fd, "rb") as file:
        return file.read(), os.fstat(file.fileno())


def _keep(store: Store, folder: int, dropped: bytes, like: os.stat_result) -> None:
    with suppress(FileExistsError):
        os.mkdir(FOLDER, 0o750, dir_fd=folder)
    with open_folder(os.path.join(store.folder, FOLDER)) as apart:
        name = f"{LEDGER}.{sha256_hex(dropped)[:16]}"
        sweep(apart, name)
        put(apart, name, dropped, like, durable=True)
    os.fsync(folder)


def untold(directory: Directory) -> Iterator[Statement]:
    """Give the statements of runs that are sealed, and of which the ledger knows only that they began.

    Nobody holds their lock, and the keys that sign here now signed both the beginning and the seal: by signing that a
    run has ended one vouches for it, and with a key that has been replaced since somebody else may have sealed it.
    """
    own = {key.kid for key in directory.keyring.signers}
    # A copy: recorders in other threads share the directory, and tell it of their runs meanwhile.
    for run_id, run in list(directory.runs.items()):
        if run.op != "open" or not run.present or run.kid not in own:
            continue
        file = GoldenFile(directory.folder, run_id)
        if not os.path.exists(f"{file.place}.sig") or file.has_writer():
            continue
        verdict, proof = examine(file, directory)
        if proof is not None:
            proof.close()
            if verdict.kid in own:
                yield proof.seal.statement


def finish(directory: Directory) -> None:
    """End in the ledger what a killed writer left: its half line, and runs that were sealed without its saying so."""
    if directory.fold.lines and (directory.finding is None or directory.finding.tolerable):
        found = list(untold(directory))
        if found or directory.rest:
            with directory.writing():
                _finish(directory, found)


def _finish(directory: Directory, statements: Iterable[Statement]) -> None:
    lines = []
    for statement in statements:
        known = directory.runs.get(statement.run_id)
        # What was proven, never what lies there by now; and not what somebody else has ended since.
        if known is not None and (known.op, known.file_id) == ("open", statement.file_id):
            lines.append(draft(Sealed, run_id=statement.run_id, file_id=statement.file_id, seal=statement))
    directory.append(*lines)


class Listed(msgspec.Struct, frozen=True):
    """What became of one file when a ledger was begun: `verdict` is that of the file itself."""

    run_id: str
    verdict: str
    listed: bool
    problem: str | None = None


def start_ledger(store: Store, reason: str, found: Damage | None = None, *, dry_run: bool = False) -> list[Listed]:
    """Begin a ledger in a directory that has none, and list in it what verifies by the signature of an active key.

    A key out of use may be out of use because it leaked, and the ledger that would tell is not there: what only such a
    key signed is for somebody to vouch for.

    Raises:
        KeyringError: no active key is at hand.
        UsageError: there is a ledger.
        TamperedError: this host remembers one, and nobody has `found` it to be gone for good.
    """
    directory = store.read()
    there = UsageError(f"{store.folder} has a ledger", hint="`golden verify` says what it is worth")
    if found is None:
        if directory.fold.lines:
            raise there
        directory.require_good()
        found = Damage(dropped=directory.rest)
    outcomes, lines = [], _noted(found, reason)
    active = {entry.kid for entry in directory.keyring if entry.state == "active"}
    for stem in stems(store.folder):
        file = GoldenFile(store.folder, stem)
        verdict, proof = examine(file, directory)
        problem = verdict.problem
        # A run that broke off can be gone on with, if the ledger knows it.
        listed = proof is not None or (verdict.verdict in {"live", "torn"} and verdict.kid is not None)
        signers = {verdict.kid}
        if proof is not None:
            signers = set(check(proof.seal, directory.keyring).good)
            proof.close()
        if listed and not signers & active:
            listed, problem = False, f"signed by {verdict.kid}, which is not active"
        elif (
            proof is not None
            and found.lost is not None
            and not is_recorded_under(file, directory.keyring, active, proof.seal.statement.sha256)
        ):
            # An active key may have signed on a schedule what a thief had sealed; with the ledger went what tells.
            listed, problem = False, "signed by an active key, but recorded under another"
        elif proof is not None:
            statement = proof.seal.statement
            lines.append(draft(Sealed, run_id=stem, file_id=statement.file_id, seal=statement))
        elif listed:
            lines.append(draft(Open, run_id=stem, file_id=_file_id(file)))
        outcomes.append(Listed(stem, verdict.verdict, listed, problem))
    if not dry_run:
        _require_writable(directory)
        with open_folder(store.folder) as folder, locked(folder, LOCK):
            data, like = _content(store)
            if data != found.dropped:
                raise there if data else _changed()
            if like is not None and data:
                _keep(store, folder, data, like)
            directory.create(*lines, instead=found.lost is not None)
    return outcomes


def needed_by(directory: Directory, kid: str) -> Iterator[tuple[str, str]]:
    """Give (run id, why) of the runs that nobody could verify without that key."""
    without = directory.keyring.with_revoked([kid])
    for stem in stems(directory.folder):
        file = GoldenFile(directory.folder, stem)
        try:
            sealed = file.read_seal(MAX_SEAL)
            seal = parse_seal(sealed) if sealed is not None else None
        except GoldenError:
            continue
        if seal is not None:
            if any(line.kid == kid for line in seal.signatures) and check(seal, without).kid is None:
                yield stem, "no other key signed its seal; `golden rotate` signs it anew"
        elif kid in _recorders(file):
            dead = f"its recorder died, `golden resume {stem}` goes on or `golden recover {stem}` seals it"
            way = "wait until it has, then `golden rotate`" if file.has_writer() else dead
            yield stem, f"the run has not ended; {way}"


def revoke(store: Store, kid: str, reason: str | None, *, dry_run: bool = False) -> bool:
    """Write into the ledger that a key out of use has no say any more; whether that was not written yet.

    All lines that are there now stay believed: it is for keys that did not leak.

    Raises:
        UsageError: a file still needs it.
    """
    entry = next((entry for entry in store.keyring if entry.kid == kid), None)
    if entry is None:
        raise UsageError(f"the keyring knows no key {kid}", hint="see `golden keys list`")
    # What it signed until now is judged by it: another directory's revocation may have reached the keyring first.
    directory = Directory(store.folder, store.keyring.with_retired(kid), memory=store.memory)
    directory.require_good()
    if kid in directory.written:
        return False
    for run_id, why in needed_by(directory, kid):
        hint = "after a leak: `golden rotate --reason compromised`"
        raise UsageError(f"run {run_id} needs key {kid}: {why}", hint=hint)
    if dry_run:
        return True
    if directory.present:
        with directory.writing():
            lines = directory.fold.lines
            directory.append(draft(KeyState, alg=entry.alg, key=kid, state="revoked", believed=lines, reason=reason))
    if store.memory is not None:
        store.memory.remember(store.folder, directory.anchor, [kid])
    return True
