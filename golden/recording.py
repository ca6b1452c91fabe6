"""Recording: a golden file that verified, held open, and read again only as the bytes that verified.

What is judged intact is `verdict`'s business, what is whole enough to go on with `unfinished`'s; here every later pass
is held to it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from golden.errors import FormatError, GoldenError, KeyringError, StoreError, TamperedError
from golden.event import EffectData, Event, RunEnd, RunResume, RunStart, StepData, parse_event
from golden.files import StrPath
from golden.lines import BLOCK, Splitter, backward, blocks
from golden.store import GoldenFile
from golden.verdict import TAMPERED, Proof, Trust, Verdict, directory_of, examine


class Ended(msgspec.Struct, frozen=True):
    """When a call was answered: the number and moment of its line, and the microseconds that it took."""

    seq: int
    at: str
    duration_us: int

    @property
    def span(self) -> tuple[int, int]:
        """When it began and when it was answered, in microseconds of one clock."""
        over = round(datetime.fromisoformat(self.at).timestamp() * 1_000_000)
        return over - self.duration_us, over


class Record(msgspec.Struct, frozen=True):
    """The effective record of one step: its last `step` event with its effects, by attempt and call.

    `ended` says of each effect when it was answered.
    """

    step: StepData
    effects: list[EffectData]
    ended: list[Ended] = []

    @property
    def last_effects(self) -> list[EffectData]:
        """The effects of the last attempt, which are what two recordings are compared by."""
        return [effect for effect in self.effects if effect.attempt == self.last_attempt]

    @property
    def last_attempt(self) -> int:
        """The number of the last attempt, from 0."""
        return max(len(self.step.attempts) - 1, 0)


class Verified:
    """A golden file that verified, held open. Every pass over it compares the bytes with those that verified.

    Args:
        run_id: the run's id.
        fd: the file; whoever makes this closes it.
        size: how many bytes verified.
        states: of SHA-256 before each MiB of these, and after the last one.
    """

    def __init__(self, run_id: str, fd: int, size: int, states: list[Any]) -> None:
        self.run_id = run_id
        self.size = size
        self._fd = fd
        self._states = states
        self._start: Event | None = None

    @property
    def timestamp(self) -> str:
        """When the run started, as recorded."""
        return self._first.timestamp

    @property
    def start(self) -> RunStart:
        """The data of the first event."""
        data = self._first.data
        if not isinstance(data, RunStart):
            raise FormatError(f"{self.run_id} does not begin with run_start", hint="record the run again")
        return data

    def blocks(self) -> Iterator[bytes]:
        """Give the file's bytes in blocks of 1 MiB, each compared with the verified bytes before it is given.

        Raises:
            TamperedError: the file changed since it was verified.
        """
        for n in range(len(self._states) - 1):
            yield self._block(n)

    def lines(self) -> Iterator[list[bytes]]:
        """Give the file's lines (without LF) in batches, in order."""
        splitter = Splitter()
        for block in self.blocks():
            yield splitter.feed(block)

    def events(self) -> Iterator[Event]:
        """Give the file's events in order."""
        for batch in self.lines():
            for line in batch:
                yield parse_event(line)

    def records(self) -> Iterator[Record | RunEnd]:
        """Give the effective record of each step in the order of the file, then how the run ended.

        Effects of a step that never completed (an aborted run's last one) belong to no record, nor do those that a
        resumption found of a step under way: the step begins anew after it, and writes again what it was answered.
        """
        last = self._superseding()
        effects: dict[int, dict[tuple[int, int], tuple[EffectData, Ended]]] = {}
        for event in self.events():
            data = event.data
            if isinstance(data, EffectData):
                ended = Ended(event.seq, event.timestamp, event.timing.duration_us if event.timing else 0)
                effects.setdefault(data.index, {})[data.attempt, data.call] = data, ended
            elif isinstance(data, StepData):
                found = effects.pop(data.index, {})
                if last is None or last[data.index] == event.seq:
                    ordered = [found[key] for key in sorted(found)]
                    yield Record(data, [effect for effect, _ in ordered], [ended for _, ended in ordered])
            elif isinstance(data, RunResume):
                effects.clear()
            elif isinstance(data, RunEnd):
                yield data

    @property
    def end(self) -> RunEnd | None:
        """The data of the last event, or None where that is no `run_end`."""
        line = next((line for _, line in backward(self.read, self.size)), b"")
        data = parse_event(line).data
        return data if isinstance(data, RunEnd) else None

    @property
    def is_resumed(self) -> bool:
        """Whether the run was killed and went on in this file; costs a pass over it."""
        return any(b'"event_type":"run_resume"' in line for batch in self.lines() for line in batch)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, compared with the verified ones first; raises TamperedError."""
        first, last = start // BLOCK, -(-stop // BLOCK)
        return b"".join(map(self._block, range(first, last)))[start - first * BLOCK : stop - first * BLOCK]

    def _block(self, n: int) -> bytes:
        start, stop = n * BLOCK, min((n + 1) * BLOCK, self.size)
        try:
            block = b"".join(blocks(self._fd, start, stop))
        except OSError as error:
            raise StoreError(
                f"{self.run_id} cannot be read: {error.strerror}", hint="check the disk", verdict="unreadable"
            ) from None
        running = self._states[n].copy()
        running.update(block)
        if running.digest() != self._states[n + 1].digest():
            raise TamperedError(
                f"{self.run_id} changed while it was being read, after byte {n * BLOCK}",
                hint="find out who writes to it, restore it from backup",
            )
        return block

    @property
    def _first(self) -> Event:
        if self._start is None:
            self._start = next(self.events())
        return self._start

    def _superseding(self) -> dict[int, int] | None:
        # Only a resumed file can hold two step events of one index, and only it pays for knowing which is the last.
        if not self.is_resumed:
            return None
        return {event.data.index: event.seq for event in self.events() if isinstance(event.data, StepData)}


class Recording(Verified):
    """An intact golden file, held open. Use it as a context manager, or call `close`."""

    def __init__(self, verdict: Verdict, proof: Proof) -> None:
        statement = proof.seal.statement
        super().__init__(statement.run_id, proof.fd, statement.bytes, proof.states)
        self.verdict = verdict
        self.statement = statement
        # A recording that is dropped keeps no descriptor.
        self._close = weakref.finalize(self, os.close, proof.fd)

    @classmethod
    def open(cls, path: StrPath | GoldenFile, trust: Trust) -> Recording:
        """Verify the golden file at `path` and return it as a recording.

        Raises:
            TamperedError, KeyringError, StoreError: it is not intact, or its ledger is not good; the message says how.
        """
        file = path if isinstance(path, GoldenFile) else GoldenFile.at(path)
        directory = directory_of(file, trust)
        directory.require_good()
        verdict, proof = examine(file, directory)
        if proof is None:
            raise refusal(verdict)
        return cls(verdict, proof)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; closing twice is fine."""
        self._close()


def refusal(verdict: Verdict) -> GoldenError:
    """Return the error that a verdict other than `intact` is for whoever needs a recording."""
    problem = f"{verdict.run_id} is {verdict.verdict}: {verdict.problem}"
    hint = verdict.hint or "see golden verify"
    if verdict.verdict == "intact":
        return FormatError(
            f"{verdict.run_id} is a file of the AOS format",
            hint="it can be verified, not replayed or compared",
        )
    if verdict.verdict in TAMPERED:
        return TamperedError(problem, hint=hint, verdict=verdict.verdict)
    if verdict.verdict == "unknown-key":
        return KeyringError(problem, hint=hint, verdict=verdict.verdict)
    return StoreError(problem, hint=hint, verdict=verdict.verdict)
