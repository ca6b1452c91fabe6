"""Repair: what somebody does to a directory on purpose: set runs apart, acknowledge damage, list, revoke.

Each act is a signed line of the ledger first; nothing is ever deleted, and no file is sealed here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from golden.canonical import sha256_hex
from golden.directory import LOCK, Directory
from golden.errors import FormatError, GoldenError, KeyringError, StoreError, TamperedError, UsageError
from golden.event import Extent, Signing, parse_header
from golden.files import exists, locked, open_folder, open_regular, put, sweep
from golden.ledger import LEDGER, Fold, KeyState, Open, Quarantine, Recover, Remnant, Sealed, Span, draft
from golden.lines import Splitter, blocks, first_line
from golden.seal import MAX_SEAL, check, parse_seal
from golden.store import GoldenFile, Store, check_run_id, stems
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
    place = os.path.join(FOLDER, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    busy = UsageError(f"run {run_id} is being written", hint="wait until it ends")
    with open_folder(store.folder) as folder, locked(folder, f"{run_id}.lock", busy):
        names = [name for name in (file.name, f"{file.name}.sig") if exists(folder, name)]
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


def _move(folder: int, names: Sequence[str], place: str) -> None:
    for part in (FOLDER, place):
        try:
            os.mkdir(part, 0o750, dir_fd=folder)
        except FileExistsError:
            continue
    for name in names:
        target = os.path.join(place, name)
        if exists(folder, target):
            raise StoreError(f"{target} is there already", hint="run the command again in a second")
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


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


class Damage(msgspec.Struct, frozen=True):
    """What is wrong with a ledger that `recover` can write down, so that it is a finding no longer."""

    gone: bool = False
    dropped: bytes = b""
    lines: tuple[Span, ...] = ()
    lost: Remnant | None = None
    unfinished: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is anything to write down."""
        return bool(self.gone or self.dropped or self.lines or self.lost or self.unfinished)


def damage(store: Store) -> Damage:
    """Return what is wrong with a directory's ledger, as far as writing it down can help.

    Raises:
        KeyringError: no active key of this keyring is at hand, or it cannot check a single line of the ledger.
    """
    directory = store.read()
    remembered = directory.remembered.anchor if directory.remembered else None
    lost = Remnant(remembered.dir_id, remembered.hash, remembered.lines) if remembered else None
    if not directory.present:
        return Damage(gone=lost is not None, lost=lost)
    fold, trusted, dropped = _readable(directory)
    if lost is not None and remembered is not None:
        moment = fold.moments.get(remembered.lines)
        lost = None if moment is not None and moment.anchor == remembered else lost
    lines = list(directory.aside)
    if fold.lines > trusted:
        lines.append(Span(trusted, fold.lines - 1))
    return Damage(
        dropped=dropped,
        lines=tuple(_merged(lines)),
        lost=lost,
        unfinished=tuple(unfinished(directory)) if directory.finding is None else (),
    )


def recover(store: Store, found: Damage, reason: str) -> None:
    """Write down what is wrong, keeping every byte that is cut off, so that the ledger is good from here on.

    Raises:
        UsageError: it was another ledger when it was looked at.
    """
    directory = store.read()
    if found.gone:
        start_ledger(store, reason, found.lost)
        return
    if found.dropped:
        _cut(store, found.dropped)
    members = {
        "dropped": Extent(bytes=len(found.dropped), sha256=sha256_hex(found.dropped))
        if found.dropped
        else msgspec.UNSET,
        "lines": list(found.lines) or msgspec.UNSET,
        "lost": found.lost or msgspec.UNSET,
    }
    with directory.mending():
        if any(value is not msgspec.UNSET for value in members.values()):
            directory.append(draft(Recover, reason=reason, **members), instead=True)
        _finish(directory, found.unfinished)


def _readable(directory: Directory) -> tuple[Fold, int, bytes]:
    """Return the ledger as far as its lines follow one another, how many of them a trusted key vouches for, the rest.

    Raises:
        KeyringError: for none of them.
    """
    fd = open_regular(directory.place)
    remembered = directory.remembered
    fold = Fold(directory.keyring, [remembered.lines] if remembered else [])
    if fd is None:
        return fold, 0, b""
    splitter, trusted = Splitter(), 0
    with os.fdopen(fd, "rb") as file:
        with suppress(TamperedError, FormatError):
            for block in blocks(file.fileno()):
                for line in splitter.feed(block):
                    fold.feed(line)
                    # Every line, not only the last of a stretch: a bad one may stand behind good ones by its key.
                    fold.settle()
                    trusted = fold.lines if fold.stretches[-1].good else trusted
        file.seek(fold.offset)
        rest = file.read()
    if not trusted and fold.lines:
        raise KeyringError(
            "no line of the ledger is signed by a key that is at hand",
            hint="provide the secret or the keyring that it was written with",
            verdict="unknown-key",
        )
    return fold, trusted, rest


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


def _cut(store: Store, dropped: bytes) -> None:
    """Keep the unreadable end of the ledger in quarantine, then take it off; no writer comes in between."""
    with open_folder(store.folder) as folder, locked(folder, LOCK):
        sweep(folder, LEDGER)
        fd = open_regular(os.path.join(store.folder, LEDGER))
        if fd is None:
            raise StoreError("the ledger is gone", hint="restore it from backup")
        with os.fdopen(fd, "rb") as file:
            like = os.fstat(file.fileno())
            data = file.read()
        if not data.endswith(dropped):
            raise StoreError("the ledger changed meanwhile", hint="run the command again")
        if not exists(folder, FOLDER):
            os.mkdir(FOLDER, 0o750, dir_fd=folder)
        with open_folder(os.path.join(store.folder, FOLDER)) as apart:
            name = f"{LEDGER}.{sha256_hex(dropped)[:16]}"
            sweep(apart, name)
            put(apart, name, dropped, like, durable=True)
        put(folder, LEDGER, data[: len(data) - len(dropped)], like, durable=True)


def unfinished(directory: Directory) -> Iterator[str]:
    """Give the runs that are sealed, and of which the ledger knows only that they began: nobody holds their lock."""
    # A copy: recorders in other threads share the directory, and tell it of their runs meanwhile.
    for run_id, run in list(directory.runs.items()):
        if run.op != "open" or not run.present:
            continue
        file = GoldenFile(directory.folder, run_id)
        if os.path.exists(f"{file.place}.sig") and not file.has_writer():
            verdict, proof = examine(file, directory)
            if proof is not None:
                proof.close()
            if verdict.verdict == "intact":
                yield run_id


def finish(directory: Directory) -> None:
    """End in the ledger what a killed writer left: its half line, and runs that were sealed without its saying so."""
    if directory.fold.lines and (directory.finding is None or directory.finding.tolerable):
        found = list(unfinished(directory))
        if found or directory.rest:
            with directory.writing():
                _finish(directory, found)


def _finish(directory: Directory, run_ids: Sequence[str]) -> None:
    lines = []
    for run_id in run_ids:
        known = directory.runs.get(run_id)
        sealed = GoldenFile(directory.folder, run_id).read_seal(MAX_SEAL)
        if known is None or known.op != "open" or sealed is None:
            continue
        statement = parse_seal(sealed).statement
        lines.append(draft(Sealed, run_id=run_id, file_id=statement.file_id, seal=statement))
    directory.append(*lines)


class Listed(msgspec.Struct, frozen=True):
    """What became of one file when a ledger was begun: `verdict` is that of the file itself."""

    run_id: str
    verdict: str
    listed: bool
    problem: str | None = None


def start_ledger(store: Store, reason: str, lost: Remnant | None = None, *, dry_run: bool = False) -> list[Listed]:
    """Begin a ledger in a directory that has none, and list in it what verifies.

    Raises:
        UsageError: there is a ledger.
        TamperedError: this host remembers one, and `lost` does not say that it is gone for good.
    """
    directory = store.read()
    if directory.present and directory.fold.lines:
        raise UsageError(f"{store.folder} has a ledger", hint="`golden verify` says what it is worth")
    if lost is None:
        directory.require_good()
    outcomes, lines = [], []
    for stem in stems(store.folder):
        file = GoldenFile(store.folder, stem)
        verdict, proof = examine(file, directory)
        if proof is not None:
            statement = proof.seal.statement
            lines.append(draft(Sealed, run_id=stem, file_id=statement.file_id, seal=statement))
            proof.close()
        elif verdict.verdict == "live":
            lines.append(draft(Open, run_id=stem, file_id=_file_id(file)))
        listed = verdict.verdict == "live" or proof is not None
        outcomes.append(Listed(stem, verdict.verdict, listed, verdict.problem))
    if not dry_run:
        if lost is not None:
            lines.insert(0, draft(Recover, reason=reason, lost=lost))
        with directory.mending():
            directory.create(*lines, instead=lost is not None)
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
        elif (signing := _signing(file)) and signing.kid == kid:
            yield stem, "the run has not ended"


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
