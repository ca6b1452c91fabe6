"""Directory: a folder of golden files as its ledger sees it: read, judged, and written under its lock.

Judges the ledger and says what it knows of a run; what a golden file itself is worth is `verdict`'s business.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from threading import RLock
from typing import Literal

import msgspec

from golden.canonical import sha256_hex
from golden.clock import timestamp
from golden.errors import GoldenError, KeyringError, LimitError, StoreError, TamperedError, UsageError
from golden.event import MAX_HEADER, Extent
from golden.files import is_locked, locked, open_folder, open_regular, put, sweep, write_all
from golden.keyring import Key, Keyring
from golden.ledger import (
    LEDGER,
    Anchor,
    Create,
    Draft,
    Fold,
    Line,
    Moment,
    Recover,
    Run,
    Span,
    draft,
    parse_line,
    revocations,
    signed_line,
)
from golden.lines import Splitter, backward, blocks, reader
from golden.memory import Memory, Remembered
from golden.seal import statement_line

Word = Literal["tampered", "rolled-back", "missing", "revoked-key", "torn", "unknown-key", "unreadable"]
LOCK = "ledger.lock"
APPENDING_SECONDS = 5.0
POLL_SECONDS = 0.02
_RESTORE = "restore ledger.jsonl from backup; if it is gone for good, see `golden recover`"
_WRITE = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with a ledger, in a verdict's word.

    `tolerable` is what keeps nobody from reading single runs, nor from writing: a last line that was not written whole,
    or lines at the end by a weaker algorithm than the keyring asks for, written where the stronger key is not at hand.
    """

    verdict: Word
    problem: str
    hint: str
    tolerable: bool = False

    def refusal(self) -> GoldenError:
        """Return the error that this is for whoever needs the ledger."""
        if self.verdict == "unknown-key":
            return KeyringError(self.problem, hint=self.hint, verdict=self.verdict)
        if self.verdict in {"torn", "unreadable"}:
            return StoreError(self.problem, hint=self.hint, verdict=self.verdict)
        return TamperedError(self.problem, hint=self.hint, verdict=self.verdict)


class Listing(msgspec.Struct, frozen=True):
    """What the ledger has against a sealed file, and what is worth knowing where it has nothing against it."""

    verdict: Literal["rolled-back", "unlisted"] | None = None
    problem: str | None = None
    hint: str | None = None
    note: str | None = None


class Directory:
    """A golden directory, its ledger read and judged when this is made, and again by `refresh`.

    Args:
        folder: the directory.
        keyring: the policy in force; `keyring` then is the effective one, with every revocation that counts.
        memory: what this host has seen of it, None to have none.
        anchors: what its ledger must extend besides.
        leaked: how many lines of each key that somebody says has leaked are to be believed.

    Attributes: `finding` is None where the ledger is good or there is none; `fold` what it adds up to; `believed` how
    many lines of each revoked key count, `written` what its own lines say of that; `aside` lines without effect that
    nobody has acknowledged; `rest` the bytes of an incomplete last line; `notes` what a reader should be told.
    """

    def __init__(
        self,
        folder: str,
        keyring: Keyring,
        *,
        memory: Memory | None = None,
        anchors: Iterable[Anchor] = (),
        leaked: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = _absolute(folder)
        self.memory = memory
        self._policy = keyring
        self.anchors = tuple(anchors)
        self._leaked = dict(leaked or {})
        self._locked = False
        self._busy = RLock()
        self._judged: tuple[int, int] | None = None
        self._size = -1
        self.present = False
        self.remembered: Remembered | None = None
        self.notes: list[str] = []
        self.finding: Finding | None = None
        self.aside: list[Span] = []
        self.believed: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.certain: set[str] = set()
        self.rest = b""
        self.keyring = keyring
        self.fold = Fold(keyring)
        self.refresh()

    @property
    def actor(self) -> str:
        """Who is at work, as the ledger names them: user and host."""
        return actor_here()

    @property
    def place(self) -> str:
        """The path of the ledger."""
        return os.path.join(self.folder, LEDGER)

    @property
    def exists(self) -> bool:
        """Whether there is a ledger, or has been one that this host remembers."""
        return self.present or bool(self.remembered and self.remembered.anchor)

    @property
    def anchor(self) -> Anchor | None:
        """The anchor of a ledger that is good, None where there is none."""
        return self.fold.anchor if self.fold.lines and self.believes else None

    @property
    def runs(self) -> dict[str, Run]:
        """What is believed of each run; nothing where the ledger itself is not."""
        return self.fold.runs if self.believes else {}

    @property
    def believes(self) -> bool:
        """Whether the lines of the ledger are believed, be they fewer than they were."""
        return self.finding is None or self.finding.tolerable or self.finding.verdict == "rolled-back"

    def at(self, folder: str) -> Directory:
        """Return the directory at `folder`, seen with the same keys and memory: this one, if it is the same."""
        if os.path.realpath(folder) == os.path.realpath(self.folder):
            return self
        return Directory(folder, self._policy, memory=self.memory)

    def refresh(self, keyring: Keyring | None = None) -> None:
        """Read and judge the ledger anew, from now on by another `keyring` where one is given.

        Of a ledger that was good and has grown since, only what is new is read.
        """
        with self._busy:
            fd = None
            try:
                fd = open_regular(self.place)
                if keyring is not None or fd is None or not self._went_on(fd):
                    self._policy = keyring or self._policy
                    self._read(fd)
            except StoreError as error:
                self._forget()
                self.present = True
                self.finding = Finding("unreadable", error.problem, error.hint)
            except OSError as error:
                self.finding = Finding("unreadable", f"the ledger cannot be read: {error.strerror}", "check the disk")
            finally:
                if fd is not None:
                    os.close(fd)

    def _forget(self) -> list[str]:
        """Begin anew with what this host remembers; return the keys that it has seen revoked."""
        self.notes, self.aside, self.believed, self.written, self.rest = [], [], {}, {}, b""
        self.finding = self._judged = None
        self._size = -1
        self.remembered = self._recall()
        revoked = self.remembered.revoked if self.remembered else []
        self.certain = {*revoked, *self._leaked}
        self.keyring = self._policy.with_revoked(self.certain)
        self.fold = Fold(self.keyring)
        return revoked

    def _read(self, fd: int | None) -> None:
        revoked = self._forget()
        self.present = fd is not None
        if fd is not None:
            self._judge(fd, revoked)
        elif self.remembered and self.remembered.anchor:
            problem = f"the ledger is gone; this host has seen it with {self.remembered.lines} lines"
            self.finding = Finding("missing", problem, _RESTORE)
        elif self.anchors:
            problem = f"the ledger is gone; an anchor says that it had {self.anchors[0].lines} lines"
            self.finding = Finding("missing", problem, _RESTORE)

    def _went_on(self, fd: int) -> bool:
        """Take in what was appended to a ledger that was good as a whole; whether there was nothing else to judge."""
        info = os.fstat(fd)
        if self._judged != (info.st_dev, info.st_ino) or self.finding or info.st_size < self._size:
            return False
        known = len(self.fold.notable)
        try:
            _, last = next(backward(reader(fd), self._size), (0, b""))
            if sha256_hex(last) != self.fold.hash:
                return False
            self._walked(fd, self.fold, self._size)
        except (TamperedError, LimitError):
            return False
        self._size = self.fold.offset
        if self.rest or len(self.fold.notable) != known or _reaches_beyond(self.fold, self.believed):
            return False
        return self._unsigned() is None and self._is_remembered()

    def _is_remembered(self) -> bool:
        """Whether this host remembers no more of the ledger than was read of it, and no other key revoked."""
        self.remembered = self._recall()
        if self.remembered is None:
            return True
        return self.remembered.anchor in {None, self.fold.anchor} and self.certain.issuperset(self.remembered.revoked)

    def changed(self) -> bool:
        """Whether the ledger has another length than when it was read."""
        try:
            return os.stat(self.place).st_size != self._size
        except OSError:
            return self._size >= 0

    def require_good(self) -> None:
        """Raise the refusal that a bad ledger is, unless that is tolerable."""
        if self.finding is not None and not self.finding.tolerable:
            raise self.finding.refusal()

    def listing(self, run_id: str, file_id: str, line: bytes) -> Listing:
        """Say what the ledger has against a file of this run, sealed with the statement `line` (row 6)."""
        if not self.fold.lines or not self.believes:
            return Listing()
        run = self.runs.get(run_id)
        hint = "find out who put it there; `golden quarantine` sets it apart"
        if run is None:
            return Listing("unlisted", "the ledger does not know this run", hint)
        digest = bytes.fromhex(sha256_hex(line))
        if not run.present:
            return Listing("unlisted", f"the ledger says that it is gone ({run.op}, line {run.seq + 1})", hint)
        if digest == run.digest:
            return Listing()
        if digest in run.earlier:
            problem = "this is an earlier version of the run; the ledger knows a later one"
            return Listing("rolled-back", problem, "restore the later version from backup")
        if not run.digest and run.file_id == file_id:
            return Listing(note="the ledger does not know that the run ended; its own recorder's keys may say so")
        return Listing("unlisted", "the ledger knows this run with another seal", "restore the file from backup")

    def doubted(self, run_id: str) -> set[str]:
        """Return the revoked keys that prove nothing of a run: it was sealed when they may have leaked already.

        Where the ledger has no statement of the run, all of them; none where somebody has accepted its bytes.
        """
        run = self.runs.get(run_id)
        if run is None or not run.digest:
            return set(self.believed)
        return {kid for kid, believed in self.believed.items() if run.sealed >= believed}

    def statement(self, run_id: str) -> bytes | None:
        """Return the statement line believed last of a run, as the ledger has it, None where there is none.

        Raises:
            TamperedError: the ledger changed since it was judged.
        """
        run = self.runs.get(run_id)
        if run is None or not run.digest or not run.present:
            return None
        fd = open_regular(self.place)
        found = b""
        if fd is not None:
            with os.fdopen(fd, "rb") as file:
                file.seek(run.place)
                found = file.readline(MAX_HEADER).removesuffix(b"\n")
        with suppress(ValueError):
            line = statement_line(parse_line(found)[0].seal)  # type: ignore[union-attr]
            if bytes.fromhex(sha256_hex(line)) == run.digest:
                return line
        raise TamperedError("the ledger changed while it was being read", hint=_RESTORE)

    @contextmanager
    def writing(self, keyring: Keyring | None = None) -> Iterator[None]:
        """Hold the ledger's lock, with the ledger read anew under it; a torn last line is cut and said to be.

        `keyring` is the one in force from now on, where that has changed.

        Raises:
            TamperedError, KeyringError, StoreError: the ledger is not good; nothing is written.
        """
        if self.memory is not None:
            self.memory.require_writable(self.folder)
        with self._busy, open_folder(self.folder) as folder, locked(folder, LOCK):
            self._locked = True
            try:
                self.refresh(keyring)
                self.require_good()
                if self.rest:
                    self._cut()
                yield
            finally:
                self._locked = False

    @contextmanager
    def mending(self) -> Iterator[None]:
        """Hold the lock of a ledger that may not be good, but whose lines follow one another to its end.

        Raises:
            TamperedError, StoreError: they do not.
        """
        if self.memory is not None:
            self.memory.require_writable(self.folder)
        with self._busy, open_folder(self.folder) as folder, locked(folder, LOCK):
            self._locked = True
            try:
                self.refresh()
                if self.finding and self.present and self._size != os.stat(self.place).st_size:
                    raise self.finding.refusal()
                if self.rest:
                    self._cut()
                yield
            finally:
                self._locked = False

    def create(self, *drafts: Draft, instead: bool = False) -> None:
        """Begin a ledger with these lines after its first one, whole or not at all; to be called under its lock.

        Raises:
            KeyringError: no active key is at hand.
            StoreError: it cannot be written; there is none then.
        """
        signer = next(iter(self.keyring.signers), None) or self.keyring.active
        fold = Fold(self.keyring)
        data = b"".join(_written(fold, signer, (draft(Create, dir_id=os.urandom(16).hex()), *drafts)))
        like = os.stat_result((0o640, 0, 0, 1, os.geteuid(), os.getegid(), 0, 0, 0, 0))
        try:
            with open_folder(self.folder) as folder:
                sweep(folder, LEDGER)
                put(folder, LEDGER, data, like, durable=True)
        except OSError as error:
            raise _unwritable(error) from None
        if self.memory is not None:
            self.memory.remember(self.folder, fold.anchor, self.certain, instead=instead)
        self.refresh()

    def append(self, *drafts: Draft, durable: bool = True, instead: bool = False, spare: Key | None = None) -> None:
        """Append lines in one write, remember them, and take them in; to be called while `writing`.

        `spare` signs where no active key is at hand.

        Raises:
            KeyringError: no active key is at hand.
            StoreError: they cannot be written; the ledger stays as it was.
        """
        if not drafts:
            return
        signer = next(iter(self.keyring.signers), spare) or self.keyring.active
        # What fails below, or changes whom to believe, makes the next look read everything.
        judged, self._judged = self._judged, None
        fold, known = self.fold, len(self.fold.notable)
        try:
            self._write(b"".join(_written(fold, signer, drafts)), durable=durable)
        except OSError as error:
            raise _unwritable(error) from None
        self._size = fold.offset
        if len(fold.notable) == known:
            self._judged = judged
        if self.memory is not None:
            self.memory.remember(self.folder, fold.anchor, self.certain, instead=instead)

    def remember(self) -> None:
        """Keep in memory what a reader has seen of a good ledger; what cannot be kept becomes a note."""
        if self.memory is None or (self.finding is not None and not self.finding.tolerable):
            return
        try:
            self.memory.remember(self.folder, self.anchor, self.certain)
        except StoreError as error:
            self.notes.append(f"{error.problem}: what was seen here is not remembered")

    def _recall(self) -> Remembered | None:
        if self.memory is None:
            return None
        try:
            return self.memory.recall(self.folder)
        except StoreError as error:
            if self._locked:
                raise
            if error.problem not in self.notes:
                self.notes.append(error.problem)
            return None

    def _judge(self, fd: int, forgotten: list[str]) -> None:
        known = self.remembered.anchor if self.remembered else None
        anchors = [*self.anchors, *([known] if known else [])]
        watch = [anchor.lines for anchor in anchors]
        try:
            self.fold = fold = self._walked(fd, Fold(self.keyring, watch))
            vouched = _vouched(fold, anchors)
            self.believed, self.written = revocations(fold.notable, self.keyring, forgotten, self._leaked, vouched)
            # What a line says is kept by the ledger itself: a thief's line must not outlive its being set aside.
            self.certain |= {entry.kid for entry in self.keyring if entry.state == "revoked"}
            self.keyring = self.keyring.with_revoked(self.believed)
            named = self._named(fold)
            if named or _reaches_beyond(fold, self.believed):
                aside = _Aside(self.believed, named)
                self.fold = self._walked(fd, Fold(self.keyring, watch, aside.counts))
                self.aside = aside.unnamed
                if self.fold.anchor != fold.anchor:
                    raise TamperedError("the ledger changed while it was being read", hint=_RESTORE)
        except (TamperedError, LimitError) as error:
            self.finding = Finding("tampered", error.problem, _RESTORE)
            return
        self._size = self.fold.offset + len(self.rest)
        self.finding = self._unsigned()
        if self.finding is None or self.finding.tolerable:
            # Worse than who signed the last lines is that others are gone.
            self.finding = _rolled_back(self.fold, known, self.anchors) or self.finding
        if self.finding is None and (self.rest or not self.fold.lines):
            problem = "the last line of the ledger is incomplete" if self.rest else "the ledger is empty"
            hint = "the next command that writes cuts it off and says so"
            if not self.fold.lines:
                hint = "restore ledger.jsonl from backup; without one `golden ledger init` lists what verifies"
            self.finding = Finding("torn", problem, hint, tolerable=True)
        if self.finding is None and not self.aside and not named:
            info = os.fstat(fd)
            self._judged = (info.st_dev, info.st_ino)

    def _walked(self, fd: int, fold: Fold, position: int = 0) -> Fold:
        patience = 0.0 if self._locked else APPENDING_SECONDS
        splitter = Splitter()
        while True:
            for block in blocks(fd, position):
                position += len(block)
                for line in splitter.feed(block):
                    fold.feed(line)
            self.rest = splitter.rest
            # Half a line under a held lock is being written.
            if not self.rest or patience <= 0 or not is_locked(os.path.join(self.folder, LOCK)):
                break
            time.sleep(POLL_SECONDS)
            patience -= POLL_SECONDS
        fold.settle()
        return fold

    def _named(self, fold: Fold) -> list[Span]:
        """Return the lines that somebody believed has acknowledged, where they are without effect."""
        found = []
        for line in fold.notable:
            if isinstance(line, Recover) and line.lines and line.seq < self.believed.get(line.kid, line.seq + 1):
                found += line.lines
        return found

    def _unsigned(self) -> Finding | None:
        """Judge the signatures: every stretch that can be checked must be good, and the last one must be checked."""
        if not self.fold.lines:
            return None
        for stretch in self.fold.stretches:
            if stretch.good is False and stretch.kid not in self.believed:
                problem = f"line {stretch.last + 1} of the ledger is not signed by key {stretch.kid}"
                return Finding("tampered", problem, _RESTORE)
        if not self.fold.stretches:
            hint = "after a leak `golden rotate --reason compromised` says so here, else `golden keys revoke`"
            return Finding("revoked-key", "every line of the ledger is by a key that is revoked", hint)
        last = self.fold.stretches[-1]
        # For what a leaked key signed, the anchor vouches.
        if (not last.good or last.kid in self.believed) and last.kid not in self._leaked:
            return Finding(
                "unknown-key",
                f"the ledger is signed by {last.kid}, whose key is not at hand or revoked",
                "provide the secret, or the keyring that has its public key",
            )
        if self.keyring.is_weaker(last.kid, self.keyring.strongest):
            return Finding(
                "unknown-key",
                f"the last lines of the ledger are signed by {last.kid} alone, but this keyring asks for"
                f" {self.keyring.strongest}",
                "find out who wrote them; the next command that signs with the stronger key goes on after them, and"
                " `golden rotate` names their runs unproven",
                tolerable=True,
            )
        return None

    def _cut(self) -> None:
        dropped = Extent(bytes=len(self.rest), sha256=sha256_hex(self.rest))
        fd = os.open(self.place, _WRITE)
        try:
            os.ftruncate(fd, self.fold.offset)
            os.fsync(fd)
        finally:
            os.close(fd)
        self.rest, self.finding = b"", None
        if self.fold.lines:
            self.append(draft(Recover, dropped=dropped, reason="the last line was incomplete"))

    def _write(self, data: bytes, *, durable: bool) -> None:
        fd = os.open(self.place, _WRITE)
        try:
            size = os.fstat(fd).st_size
            try:
                write_all(fd, data)
                if durable:
                    os.fdatasync(fd)
            except OSError:
                # What stands there half is not to be found by the next writer.
                os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)


class _Aside:
    """Which lines have no effect, and which of these nobody has named yet."""

    def __init__(self, believed: Mapping[str, int], named: list[Span]) -> None:
        self._believed = believed
        self._named = named
        self.unnamed: list[Span] = []

    def counts(self, seq: int, kid: str) -> bool:
        limit = self._believed.get(kid)
        if limit is None or seq < limit:
            return True
        if any(span.first <= seq <= span.last for span in self._named):
            return False
        if self.unnamed and self.unnamed[-1].last == seq - 1:
            self.unnamed[-1] = Span(self.unnamed[-1].first, seq)
        else:
            self.unnamed.append(Span(seq, seq))
        return False


def _vouched(fold: Fold, anchors: Iterable[Anchor]) -> int:
    """Return how many lines somebody vouches for: by a signature that was checked, or an anchor that they extend."""
    signed = [stretch.last + 1 for stretch in fold.stretches if stretch.good]
    kept = [anchor.lines for anchor in anchors if (at := fold.moments.get(anchor.lines)) and at.anchor == anchor]
    return max([0, *signed, *kept])


def _reaches_beyond(fold: Fold, believed: Mapping[str, int]) -> bool:
    """Whether there are lines beyond what is believed of their keys."""
    return any(stretch.last >= believed.get(stretch.kid, stretch.last + 1) for stretch in fold.stretches)


def _rolled_back(fold: Fold, known: Anchor | None, anchors: Iterable[Anchor]) -> Finding | None:
    for anchor in (*([known] if known else []), *anchors):
        seen = "this host has seen it" if anchor is known else "an anchor says so"
        moment: Moment | None = fold.moments.get(anchor.lines)
        problem = None
        if not fold.lines:
            problem = f"the ledger is empty, it had {anchor.lines} lines: {seen}"
        elif anchor.dir_id != fold.dir_id:
            problem = f"the ledger is of another directory, {fold.dir_id}, expected {anchor.dir_id}: {seen}"
        elif moment is None:
            problem = f"the ledger has {fold.lines} lines, it had {anchor.lines}: {seen}"
        elif moment.anchor != anchor:
            problem = f"the first {anchor.lines} lines of the ledger are not what they were: {seen}"
        if problem:
            return Finding("rolled-back", problem, _RESTORE)
    return None


def _written(fold: Fold, signer: Key, drafts: Iterable[Draft]) -> Iterator[bytes]:
    """Give the bytes of new lines, and take each into `fold` at once: the next one names it."""
    for drafted in drafts:
        line_of = Line(actor=actor_here(), kid=signer.kid, prev=fold.hash, seq=fold.lines, timestamp=timestamp())
        operation = drafted(line_of)
        line = signed_line(operation, signer, operation.dir_id if isinstance(operation, Create) else fold.dir_id)
        fold.feed(line[:-1])
        yield line


def _unwritable(error: OSError) -> StoreError:
    return StoreError(f"the ledger cannot be written: {error.strerror}", hint="free the disk and run the command again")


def _absolute(folder: str) -> str:
    """Return `folder` as it is found wherever the code of a run may take us, unless it is found from here alone."""
    try:
        absolute = os.path.abspath(folder)
    except OSError:
        return folder
    return folder if os.path.exists(folder) and not os.path.exists(absolute) else absolute


@cache
def actor_here() -> str:
    """Return who is at work, as ledger and stop file name them: user and host."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    return f"{name}@{os.uname().nodename}"


def no_ledger(folder: str) -> UsageError:
    """Return the refusal to write beside golden files that no ledger knows."""
    return UsageError(
        f"{folder} holds golden files but no ledger",
        hint="`golden ledger init` lists what verifies; `ledger = false` in golden.toml does without",
    )
