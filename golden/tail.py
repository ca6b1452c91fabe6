"""Tail: the last events of a golden file, checked before they are shown, and new ones as they are written.

Reads from the end: how long the file is does not matter where its event key is at hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import msgspec

from golden.chain import Walk, split_line
from golden.errors import FormatError, GoldenError, KeyringError, TamperedError
from golden.event import Event, Signing, parse_event, parse_header
from golden.files import open_regular
from golden.lines import BLOCK, Splitter, backward, blocks, first_line, reader
from golden.recording import Recording, refusal
from golden.seal import MAX_SEAL, check, parse_seal
from golden.store import GoldenFile
from golden.verdict import Trust, directory_of, examine

POLL_SECONDS = 0.1
Accept = Callable[[Event], bool]


class Shown(msgspec.Struct, frozen=True):
    """A stored line (without LF), its event where it has the form of one, and whether it was checked."""

    line: bytes
    event: Event | None
    checked: bool


class Tail:
    """The end of one golden file, opened to be shown.

    `how` says in words what vouches for the lines. Iterate to get the last `count` events that `accept` lets through,
    back to the first that is `older`; then `torn` says whether an incomplete line stands behind them, and `follow`
    gives later ones until `run_end`.

    Raises:
        StoreError, KeyringError, TamperedError: nothing may be shown, unless `unverified`.
    """

    def __init__(
        self,
        file: GoldenFile,
        trust: Trust,
        *,
        count: int,
        accept: Accept = lambda _: True,
        older: Accept = lambda _: False,
        unverified: bool = False,
    ) -> None:
        self._directory = directory_of(file, trust)
        if not unverified:
            self._directory.require_good()
        fd = open_regular(file.place)
        if fd is None:
            # A seal without its file is a verdict of its own; neither is a refusal.
            raise refusal(examine(file, self._directory)[0])
        self._fd, self._file, self._keyring = fd, file, self._directory.keyring
        self._count, self._accept, self._older = count, accept, older
        self._recording: Recording | None = None
        self._signing: Signing | None = None
        self._walk: Walk | None = None
        self._ended = self._sealed = False
        self.torn = False
        self._end = os.fstat(fd).st_size
        self._read = reader(fd)
        self.how = "UNVERIFIED: nothing vouches for these lines"
        try:
            if not unverified:
                self.how = self._choose_proof()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._recording:
            self._recording.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __iter__(self) -> Iterator[Shown]:
        start, previous = self._find_start()
        if self._signing is None:
            yield from self._unchecked(start)
        else:
            yield from self._checked(start, previous, self._signing)

    def follow(self) -> Iterator[Shown]:
        """Give events as they are appended, once the last ones have been given; ends after `run_end`.

        Raises:
            TamperedError: the file got shorter, or an appended line does not fit the chain.
        """
        position, seen = self._end, -1
        while not self._ended:
            size = os.fstat(self._fd).st_size
            if size < position:
                raise TamperedError(f"{self._file.stem} became shorter", hint="restore the file from backup")
            # Half a line is read again as a whole: whoever resumes a run cuts off what its recorder left of one.
            splitter = Splitter()
            for block in blocks(self._fd, position, size) if size != seen else ():
                for line in splitter.feed(block):
                    position += len(line) + 1
                    event = self._fed(self._walk, line) if self._walk else _parse(line)
                    self._ended = event is not None and event.event_type == "run_end"
                    if event is None or self._accept(event):
                        yield Shown(line, event, self._walk is not None)
            seen = size
            if not self._ended:
                time.sleep(POLL_SECONDS)

    def _choose_proof(self) -> str:
        line = first_line(self._fd)
        header = parse_header(line) if line else None
        signing = header.signing if header else None
        if header is None or signing is None or self._keyring.usable(signing.kid) is None:
            return self._verify_whole()
        if header.run_id != self._file.stem:
            problem = f'{self._file.stem} is the recording of run "{header.run_id}"'
            raise TamperedError(problem, hint="restore the file from backup", verdict="wrong-run")
        self._signing = signing
        how = f"MACs checked, key {signing.kid}"
        sealed = self._file.read_seal(MAX_SEAL)
        self._sealed = sealed is not None
        return f"{how}, not sealed" if sealed is None else how + self._check_seal(sealed, signing)

    def _verify_whole(self) -> str:
        verdict, proof = examine(self._file, self._directory)
        if proof is None:
            raise refusal(verdict)
        self._recording = Recording(verdict, proof)
        self._read = self._recording.read
        self._end = self._recording.statement.bytes
        return f"whole file checked against its seal, key {verdict.kid}"

    def _check_seal(self, sealed: bytes, signing: Signing) -> str:
        """Hold the file's end against its seal, without hashing the file: size and last MAC."""
        # What was sealed after we looked at its size is longer now.
        self._end = os.fstat(self._fd).st_size
        try:
            seal = parse_seal(sealed)
            signed = check(seal, self._keyring)
            last = next((line for _, line in backward(self._read, self._end)), b"")
            place = (self._end, split_line(last)[1])
        except FormatError:
            return f", {self._verify_whole()}"
        statement = seal.statement
        whose = (statement.run_id, statement.file_id)
        if signed.verdict in {"tampered", "revoked-key"} or whose != (self._file.stem, signing.file_id):
            return f", {self._verify_whole()}"
        if (statement.bytes, statement.last_mac.encode()) != place:
            return f", {self._verify_whole()}"
        listed = self._directory.listing(statement.run_id, statement.file_id, seal.line)
        if listed.verdict is not None:
            return f", {self._verify_whole()}"
        return f", sealed by {signed.kid}" if signed.kid else ", sealed by a key that is not at hand"

    def _find_start(self) -> tuple[int, bytes | None]:
        """Return the offset of the first line to show and the line before it, if any."""
        start, wanted, last = 0, self._count, True
        for offset, line in backward(self._read, self._end):
            event = _parse(line)
            if last:
                start, last = offset + len(line) + 1, False
                self._ended = event is not None and event.event_type == "run_end"
            if wanted <= 0:
                return start, line
            if event is not None and self._older(event):
                # It is checked with the others: where to stop is not for an unchecked line to say.
                wanted = 0
            if event is None or self._accept(event):
                wanted -= 1
            start = offset
        return start, None

    def _checked(self, start: int, previous: bytes | None, signing: Signing) -> Iterator[Shown]:
        try:
            if previous is None:
                walk = Walk(self._keyring)
            else:
                walk = Walk.after(self._keyring, signing, self._file.stem, previous, start)
        except FormatError as error:
            raise TamperedError(f"{self._file.stem}: {error.problem}", hint=error.hint) from None
        splitter = Splitter()
        for block in blocks(self._fd, start, self._end):
            for line in splitter.feed(block):
                try:
                    event = self._fed(walk, line)
                except (TamperedError, KeyringError):
                    if walk.offset != start or not start:
                        raise
                    # A resumed run goes on under another key: only the whole chain says which.
                    walk = self._walked_up_to(start)
                    event = self._fed(walk, line)
                if self._accept(event):
                    yield Shown(line, event, checked=True)
        self._end -= len(splitter.rest)
        self.torn = bool(splitter.rest)
        self._walk = walk

    def _fed(self, walk: Walk, line: bytes) -> Event:
        event, signing = walk.feed(line), walk.signing
        # Under a seal its last MAC vouches for the lines before, whatever became of their keys.
        if not self._sealed and signing and self._keyring.state(signing.kid) == "revoked":
            problem = f"{self._file.stem} is revoked-key: the run went on under {signing.kid}, which is revoked"
            raise TamperedError(problem, hint="`golden quarantine` sets it apart", verdict="revoked-key")
        return event

    def _walked_up_to(self, start: int) -> Walk:
        walk, splitter = Walk(self._keyring), Splitter()
        for block in blocks(self._fd, 0, start):
            for line in splitter.feed(block):
                walk.feed(line)
        return walk

    def _unchecked(self, start: int) -> Iterator[Shown]:
        """Give lines for which the seal vouches as a whole or, where that was asked for, nothing does."""
        splitter = Splitter()
        for position in range(start, self._end, BLOCK):
            for line in splitter.feed(self._read(position, min(position + BLOCK, self._end))):
                event = _parse(line)
                if event is None or self._accept(event):
                    yield Shown(line, event, checked=self._recording is not None)
        self._end -= len(splitter.rest)
        self.torn = bool(splitter.rest)


def _parse(line: bytes) -> Event | None:
    try:
        return parse_event(line)
    except GoldenError:
        return None
