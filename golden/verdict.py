"""Verdict: judging one golden file by its seal, or by its chain where it has none.

Reads each byte once and repairs nothing. Normative text, row by row: docs/format.md, "Verdicts".
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import msgspec

from golden.aos import aos_mac, is_aos_header, is_aos_seal, is_v1_directory, same_mac
from golden.canonical import is_canonical
from golden.chain import split_line
from golden.directory import Directory
from golden.errors import FormatError, KeyringError, LimitError, StoreError, TamperedError
from golden.event import MAX_HEADER, parse_event, parse_header
from golden.files import StrPath, open_regular
from golden.keyring import Keyring
from golden.lines import BLOCK, OversizeError, backward, blocks, first_line, read_full, reader
from golden.provenance import Lookout, resumed_over
from golden.reading import Reading
from golden.seal import MAX_SEAL, NewerSealError, Seal, check, parse_seal
from golden.store import GoldenFile, is_run_id

Word = Literal[
    "intact",
    "tampered", "truncated", "wrong-run", "missing", "unlisted", "rolled-back", "unsealed", "revoked-key",
    "live", "torn", "unknown-key", "unreadable", "unsigned",
]  # fmt: skip
TAMPERED: frozenset[Word] = frozenset(
    {"tampered", "truncated", "wrong-run", "missing", "unlisted", "rolled-back", "unsealed", "revoked-key"}
)
# What a verdict owes to the ledger, and a later line of it may change.
FROM_LEDGER: frozenset[Word] = frozenset({"missing", "unlisted", "rolled-back", "unsealed"})
# As long a run whose last line is written may take to seal it before it is called unsealed.
SEALING_SECONDS = 5.0
POLL_SECONDS = 0.02
_RESTORE = "restore the file from backup; do not re-sign it"
_VOUCH = "vouch for its bytes (`golden rotate --accept-unproven`), or set it apart (`golden quarantine`)"
_ENDED = "the run ended but its seal is gone"


class FirstBad(msgspec.Struct, frozen=True):
    """Where damage begins: the `seq` the line should have, and the byte offset of its start."""

    event: int
    offset: int


class Verdict(msgspec.Struct, frozen=True):
    """What one golden file is worth.

    `verdict` is `intact`, one of `TAMPERED`, or one of the words for what cannot be decided; `events` counts what was
    proved; `writer` is known for live files only; `problem` and `hint` are None where all is well.
    """

    run_id: str
    path: str
    verdict: Word
    problem: str | None = None
    hint: str | None = None
    events: int | None = None
    kid: str | None = None
    first_bad: FirstBad | None = None
    writer: bool | None = None
    notes: tuple[str, ...] = ()


class Proof(msgspec.Struct):
    """An intact file held open: its seal, and the states of SHA-256 before each MiB and at its end."""

    fd: int
    seal: Seal
    states: list[Any]

    def close(self) -> None:
        """Close the file, where no recording takes it over."""
        os.close(self.fd)


Judge = partial[Verdict]
# The keys at hand, or a directory already read with them.
Trust = Keyring | Directory


class Candidate:
    """A sealed file, open, whose statement is signed and fits it; only its bytes are not known yet.

    `blocks` hashes them and lets them be looked at, `conclude` judges them. Close it unless it ends in a proof.
    """

    def __init__(self, judged: Judge, fd: int, seal: Seal, directory: Directory) -> None:
        self._judged = judged
        self._fd = fd
        self._seal = seal
        self._doubted = directory.doubted(seal.statement.run_id) if directory.runs else set()
        self._lookout = Lookout()
        self._directory = directory
        self._running = hashlib.sha256()
        self._states = [self._running.copy()]
        self._size = 0

    def blocks(self) -> Iterator[memoryview]:
        """Give each MiB of the file once it is hashed; the view is good until the next one."""
        size = os.fstat(self._fd).st_size
        if size <= BLOCK:
            block = os.pread(self._fd, size, 0)
            self._running.update(block)
            self._states.append(self._running)
            self._size = len(block)
            self._look(block, len(block))
            if block:
                yield memoryview(block)
            return
        # One buffer for all blocks: nothing is allocated, so this runs at the speed of SHA-256 itself.
        buffer = bytearray(min(BLOCK, size))
        view = memoryview(buffer)
        while self._size < size and (filled := read_full(self._fd, view[: size - self._size], self._size)):
            self._running.update(view[:filled])
            self._states.append(self._running.copy())
            self._look(buffer, filled)
            self._size += filled
            yield view[:filled]

    def conclude(self) -> tuple[Verdict, Proof | None]:
        """Return the verdict, after all blocks were given, and the proof that goes with `intact`."""
        statement = self._seal.statement
        if self._size == statement.bytes and self._running.hexdigest() == statement.sha256:
            listed = self._directory.listing(statement.run_id, statement.file_id, self._seal.line)
            judged = partial(self._judged, events=statement.events)
            if listed.verdict is not None:
                return judged(listed.verdict, listed.problem, listed.hint), None
            doubt = self._refuse_doubted()
            if doubt is not None:
                return doubt, None
            verdict = judged("intact")
            if listed.note:
                verdict = msgspec.structs.replace(verdict, notes=(*verdict.notes, listed.note))
            return verdict, Proof(self._fd, self._seal, self._states)
        problem = (
            "bytes do not match the seal" if self._size == statement.bytes else "file is longer than its seal says"
        )
        return _damaged(partial(self._judged, "tampered"), problem, self._fd, self._directory.keyring), None

    def _look(self, block: bytes | bytearray, size: int) -> None:
        # Only after a leak does it matter who resumed what, and then only what was resumed is read again.
        if self._doubted:
            self._lookout.look(block, size)

    def _refuse_doubted(self) -> Verdict | None:
        """Return what a run is that went on after lines which somebody with a leaked key could have made, else None."""
        if not self._lookout.seen:
            return None
        try:
            kid = resumed_over(self._fd, self._doubted, self._seal.statement.sha256)
        except TamperedError as error:
            return self._judged("tampered", error.problem, error.hint)
        if kid is None:
            return None
        problem = f"it goes on from lines under {kid}, which is revoked, and may have leaked by then"
        return self._judged("revoked-key", problem, _VOUCH)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def verify(path: StrPath, trust: Trust) -> Verdict:
    """Return the verdict on the golden file at `path` (`<run_id>.steps.jsonl`), with the ledger beside it if any."""
    file = GoldenFile.at(path)
    return verify_file(file, directory_of(file, trust))


def verify_file(file: GoldenFile, directory: Directory) -> Verdict:
    """Return the verdict on one file; where its ledger is not good, a file that is intact is not called so.

    Raises:
        StoreError: there is neither a file nor a seal, and no ledger knows of one.
    """
    verdict, proof = examine(file, directory)
    if proof is not None:
        proof.close()
    found = directory.finding
    if verdict.verdict != "intact" or found is None or found.tolerable:
        return verdict
    return msgspec.structs.replace(verdict, verdict=found.verdict, problem=found.problem, hint=found.hint)


def directory_of(file: GoldenFile, trust: Trust) -> Directory:
    """Return the directory that `file` lies in, seen with the keys of `trust`."""
    return trust.at(file.folder) if isinstance(trust, Directory) else Directory(file.folder, trust)


def examine(file: GoldenFile, directory: Directory) -> tuple[Verdict, Proof | None]:
    """Return the verdict on `file` and, where it is an intact v1 file, the proof, which the caller closes.

    Raises:
        StoreError: there is neither a file nor a seal, and the ledger knows of none.
        KeyringError: a secret at hand is too weak to be used.
    """
    verdict, proof = _examine(file, directory)
    if verdict.verdict in FROM_LEDGER and directory.changed():
        # A run that was sealed, moved or deleted while we looked: judged once more by what the ledger says by now.
        directory.refresh()
        return _examine(file, directory)
    return verdict, proof


def _examine(file: GoldenFile, directory: Directory) -> tuple[Verdict, Proof | None]:
    found = approach(file, directory)
    if isinstance(found, Verdict):
        return found, None
    proof: Proof | None = None
    try:
        for _ in found.blocks():
            pass
        verdict, proof = found.conclude()
    except OSError as error:
        return _unreadable(file, error), None
    finally:
        if proof is None:
            found.close()
    return verdict, proof


def approach(file: GoldenFile, directory: Directory) -> Verdict | Candidate:
    """Judge `file` as far as that goes without reading a sealed file's bytes; see `examine`."""
    judged: Judge = partial(Verdict, file.stem, file.place)
    if not file.well_named:
        return judged("unreadable", f"{file.name} is not named <run_id>.steps.jsonl", "rename it to its run id")
    fd: int | None = None
    found: Verdict | Candidate | None = None
    known = directory.runs.get(file.stem)
    try:
        fd = open_regular(file.place)
        if fd is not None:
            found = _judge(judged, file, fd, directory)
        elif file.read_seal(MAX_SEAL) is not None:
            found = judged("missing", "there is a seal but no file", "restore the file from backup")
        elif known is not None and known.present:
            hint = "restore it from backup; if it is gone for good, `golden quarantine` says so"
            found = judged("missing", "the ledger knows this run, its file is gone", hint)
    except StoreError as error:
        return judged("unreadable", error.problem, error.hint)
    except OSError as error:
        return _unreadable(file, error)
    finally:
        if fd is not None and not isinstance(found, Candidate):
            os.close(fd)
    if found is None:
        raise StoreError(f"no recording {file.stem} in {file.folder}", hint="check its id and the golden directory")
    return found


def _unreadable(file: GoldenFile, error: OSError) -> Verdict:
    return Verdict(file.stem, file.place, "unreadable", f"read failed: {error.strerror}", "check the disk")


def _judge(judged: Judge, file: GoldenFile, fd: int, directory: Directory) -> Verdict | Candidate:
    keyring = directory.keyring
    sealed = file.read_seal(MAX_SEAL)
    line = _header_line(fd)
    if (sealed is None or is_aos_seal(sealed)) and line is not None and is_aos_header(line):
        return _judge_aos(judged, file, fd, line, sealed, keyring)
    known = directory.runs.get(file.stem)
    stated = known is not None and known.digest != b""
    if sealed is None and (stated or last_event_type(fd) == "run_end"):
        sealed = _await_seal(file)
        if sealed is None:
            return judged("unsealed", _ENDED, _sealing(file, stated=stated))
    if sealed is None:
        return _judge_unsealed(judged, file, fd, line, Reading(keyring))
    try:
        seal = parse_seal(sealed)
    except NewerSealError as error:
        return judged("unreadable", error.problem, error.hint)
    except FormatError as error:
        return judged("tampered", error.problem, error.hint)
    return _judge_sealed(judged, file, fd, line, seal, directory)


def _await_seal(file: GoldenFile) -> bytes | None:
    """Return the seal of a run that ended: between its last line and its seal a run has a writer, for a moment."""
    patience = SEALING_SECONDS
    while file.has_writer() and patience > 0:
        time.sleep(POLL_SECONDS)
        patience -= POLL_SECONDS
    return file.read_seal(MAX_SEAL)


def _header_line(fd: int) -> bytes | None:
    try:
        return first_line(fd)
    except OversizeError:
        return None


def _judge_sealed(
    judged: Judge, file: GoldenFile, fd: int, line: bytes | None, seal: Seal, directory: Directory
) -> Verdict | Candidate:
    statement = seal.statement
    signed = check(seal, directory.keyring)
    judged = partial(judged, kid=signed.kid, notes=signed.notes)
    if signed.verdict == "revoked-key":
        hint = "find out who sealed it; `golden quarantine` sets it apart, `golden rotate` re-seals what is proven"
        return judged(signed.verdict, signed.problem, hint)
    if signed.verdict == "unknown-key":
        hint = "set GOLDEN_SECRET_FILE (or GOLDEN_SECRET_PREVIOUS) to the secret that sealed it"
        if signed.good:
            hint = "find out who recorded it; `golden rotate` says whether anything else vouches for it"
        return judged(signed.verdict, signed.problem, hint)
    if signed.verdict is not None:
        return judged(signed.verdict, signed.problem, "restore the .sig from backup; do not re-sign the file")
    header = parse_header(line) if line else None
    signing = header.signing if header else None
    if statement.run_id != file.stem:
        return judged("wrong-run", f"its seal is of run {statement.run_id}", _RESTORE)
    if header and signing and is_run_id(header.run_id) and header.run_id != file.stem:
        return judged("wrong-run", f"its first line is of run {header.run_id}", _RESTORE)
    if signing and signing.file_id != statement.file_id:
        return judged("wrong-run", "file and seal are of different recordings of this run", _RESTORE)
    size = os.fstat(fd).st_size
    if size < statement.bytes:
        problem = f"file has {size} bytes, its seal says {statement.bytes}"
        return _damaged(partial(judged, "truncated"), problem, fd, directory.keyring)
    return Candidate(judged, fd, seal, directory)


def _damaged(judged: Judge, problem: str, fd: int, keyring: Keyring) -> Verdict:
    """Walk the chain to say how many events are good and where the first bad one is, if the event key is at hand."""
    reading = Reading(keyring)
    walk = reading.walk
    try:
        reading.through(fd)
    except KeyringError:
        problem += "; where is not known, its event key is not at hand"
    except (TamperedError, LimitError):
        bad = FirstBad(walk.seq, walk.offset)
        problem += f": event {bad.event} at byte {bad.offset} is bad"
        return judged(problem, _RESTORE, events=walk.seq, first_bad=bad)
    else:
        # Lines are missing at the end, or the seal is not of these bytes.
        problem += f"; the {walk.seq} events that are there are good"
    return judged(problem, _RESTORE, events=walk.seq)


def judge_broken(file: GoldenFile, fd: int, reading: Reading) -> Verdict:
    """Return the verdict on a file without a seal, open as `fd`, by what `reading` finds; the ledger is not asked.

    `reading` has been through it where that is `live`, `unsealed` or, with whole lines, `torn`.
    """
    judged: Judge = partial(Verdict, file.stem, file.place)
    try:
        line = _header_line(fd)
        if line is not None and is_aos_header(line):
            return _judge_aos(judged, file, fd, line, None, Keyring())
        return _judge_unsealed(judged, file, fd, line, reading)
    except OSError as error:
        return _unreadable(file, error)


def _judge_unsealed(judged: Judge, file: GoldenFile, fd: int, line: bytes | None, reading: Reading) -> Verdict:
    if line is None:
        if os.fstat(fd).st_size > MAX_HEADER:
            return judged("unreadable", f"first line is longer than {MAX_HEADER >> 20} MiB", "this is no golden file")
        return judged(
            "torn",
            "no complete line",
            "nothing was recorded: record the run again, it takes the file's place",
        )
    header = parse_header(line)
    if header is None or header.golden is None or header.version is None or header.version < 1:
        return judged("tampered", "first line is no golden/v1 header", _RESTORE, first_bad=FirstBad(0, 0))
    if header.version > 1:
        return judged("unreadable", f"file is of format version {header.version}", "read it with a newer version")
    if is_run_id(header.run_id) and header.run_id != file.stem:
        return judged("wrong-run", f'its first line is of run "{header.run_id}"', _RESTORE)
    return _judge_live(judged, file, fd, reading, header.signing.kid if header.signing else None)


def _judge_live(judged: Judge, file: GoldenFile, fd: int, reading: Reading, kid: str | None) -> Verdict:
    walk, keyring = reading.walk, reading.keyring
    revoked = "its key has leaked or is out of use; `golden quarantine` sets it apart"
    if kid is not None and keyring.state(kid) == "revoked":
        return judged("revoked-key", f"the run was recorded under {kid}, which is revoked", revoked, kid=kid)
    try:
        reading.through(fd)
    except (KeyringError, LimitError, TamperedError) as error:
        kid = walk.signing.kid if walk.signing else kid
        judged = partial(judged, hint=error.hint, kid=kid, events=walk.seq)
        if isinstance(error, TamperedError):
            return judged("tampered", error.problem, first_bad=FirstBad(walk.seq, walk.offset))
        word: Word = "unknown-key" if isinstance(error, KeyringError) else "unreadable"
        return judged(word, f"line {walk.seq + 1}: {error.problem}")
    judged = partial(judged, kid=walk.signing.kid if walk.signing else None, events=walk.seq)
    for kid in reading.kids:
        if keyring.state(kid) == "revoked":
            return judged("revoked-key", f"the run went on under {kid}, which is revoked", revoked, kid=kid)
    if walk.ended:
        return judged("unsealed", _ENDED, _sealing(file, stated=False))
    writer = file.has_writer()
    died = f"its recorder died: `golden resume {file.stem}` goes on, `golden recover {file.stem}` seals it as it is"
    hint = "wait until it ends" if writer else died
    if reading.rest:
        return judged("torn", "last line is incomplete", hint)
    return judged("live", "the run has not ended", hint, writer=writer)


def _sealing(file: GoldenFile, *, stated: bool) -> str:
    """Say what to do about a run that ended without a seal; `stated` says that it had one."""
    hint = "restore the .sig from backup"
    return hint if stated else f"{hint}; if its recorder died before it sealed, `golden recover {file.stem}` does"


def last_event_type(fd: int) -> str | None:
    """Return the type of the last event, None where there is none.

    Of the last whole line: bytes after the last LF are no line, and take nothing back.
    """
    try:
        for _, line in backward(reader(fd), os.fstat(fd).st_size):
            body, _ = split_line(line)
            return parse_event(line).event_type if is_canonical(body + b"}") else None
    except FormatError:
        pass
    return None


def _judge_aos(
    judged: Judge, file: GoldenFile, fd: int, line: bytes, sealed: bytes | None, keyring: Keyring
) -> Verdict:
    if is_v1_directory(file.folder):
        hint = "move it away, or `golden quarantine` it; `golden import` brings such files in"
        return judged("unlisted", "a file of the AOS format does not belong in a golden/v1 directory", hint)
    if sealed is None:
        return judged("unsigned", "the file was never signed", "sign it with the system that wrote it, or record anew")
    if keyring.aos_secret is None:
        return judged("unknown-key", "no secret at hand to check it", "set GOLDEN_SECRET_FILE to its secret's file")
    header = parse_header(line)
    if header and header.run_id != file.stem:
        return judged("wrong-run", f'its first line is of run "{header.run_id}"', _RESTORE)
    mac, events = aos_mac(keyring.aos_secret, blocks(fd))
    if not same_mac(mac, sealed):
        return judged("tampered", "signature does not match, or was made with another secret", _RESTORE)
    return judged("intact", events=events)
