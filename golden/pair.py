"""Pair: two sealed files verified side by side in one pass, which notes meanwhile where their lines are unlike.

Nothing is parsed before both have verified: what is noted are places, to be read again through the recordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from golden.errors import LimitError
from golden.lines import Splitter
from golden.recording import Recording, refusal
from golden.store import GoldenFile
from golden.verdict import Candidate, Trust, Verdict, approach, directory_of

# A line as its first byte and the byte behind its last.
Place = tuple[int, int]
# More unlike lines than this are not noted; they are found again when they are compared.
MAX_NOTED = 1000
_RUN_ID = b',"run_id":"'


class OutOfStepError(Exception):
    """The two files do not say the same kind of thing about the same step at the same line."""


class Pair:
    """Two recordings, and the places of the lines of equal position that are unlike, None where they were not noted."""

    def __init__(self, expected: Recording, actual: Recording, unlike: list[tuple[Place, Place]] | None) -> None:
        self.expected = expected
        self.actual = actual
        self.unlike = unlike

    @classmethod
    def open(cls, expected: GoldenFile, actual: GoldenFile, trust: Trust) -> Pair:
        """Verify both files and return them as recordings.

        Raises:
            TamperedError, KeyringError, StoreError: one is not intact; the message says which and how.
        """
        with ExitStack() as opened:
            found = []
            for file in (expected, actual):
                directory = directory_of(file, trust)
                directory.require_good()
                candidate = approach(file, directory)
                if isinstance(candidate, Verdict):
                    raise refusal(candidate)
                opened.callback(candidate.close)
                found.append(candidate)
            one, other = found
            unlike = _verify(one, other)
            concluded = [candidate.conclude() for candidate in found]
            for verdict, proof in concluded:
                if proof is None:
                    raise refusal(verdict)
            opened.pop_all()
        left, right = (Recording(verdict, proof) for verdict, proof in concluded if proof is not None)
        return cls(left, right, unlike)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.expected.close()
        self.actual.close()


def side_by_side(
    left: Iterator[list[bytes]], right: Iterator[list[bytes]]
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Give the lines of two files in batches of equal length; raises OutOfStepError where one has more."""
    ones: list[bytes] = []
    others: list[bytes] = []
    while True:
        more = [] if ones else next(left, None)
        rival = [] if others else next(right, None)
        ones, others = ones or more or [], others or rival or []
        if more is None or rival is None:
            break
        count = min(len(ones), len(others))
        yield ones[:count], others[:count]
        ones, others = ones[count:], others[count:]
    if ones or others or any(left) or any(right):
        raise OutOfStepError


def unlike(ones: list[bytes], others: list[bytes]) -> list[int]:
    """Return the positions at which two batches of lines differ in `data` or `event_type`.

    What may differ between two good runs stands after `,"run_id":"`, so a line is like its rival if the rival begins
    with all that stands before the last such place.
    """
    heads = [one.rpartition(_RUN_ID)[0] for one in ones]
    if all(map(bytes.startswith, others, heads)):
        return []
    return [n for n, (head, other) in enumerate(zip(heads, others, strict=True)) if not other.startswith(head)]


def _verify(one: Candidate, other: Candidate) -> list[tuple[Place, Place]] | None:
    """Hash both files to their ends; return where their lines are unlike, None where they fall out of step."""
    left, right = one.blocks(), other.blocks()
    try:
        noted = _noted(left, right)
    except (OutOfStepError, LimitError):
        noted = None
    for blocks in (left, right):
        for _ in blocks:
            pass
    return noted


def _noted(left: Iterator[memoryview], right: Iterator[memoryview]) -> list[tuple[Place, Place]]:
    noted: list[tuple[Place, Place]] = []
    at, rival_at = 0, 0
    for ones, others in side_by_side(_lines(left), _lines(right)):
        for n in unlike(ones, others):
            start = at + sum(map(len, ones[:n])) + n
            rival = rival_at + sum(map(len, others[:n])) + n
            noted.append(((start, start + len(ones[n])), (rival, rival + len(others[n]))))
        if len(noted) > MAX_NOTED:
            raise OutOfStepError
        at += sum(map(len, ones)) + len(ones)
        rival_at += sum(map(len, others)) + len(others)
    return noted


def _lines(blocks: Iterator[memoryview]) -> Iterator[list[bytes]]:
    splitter = Splitter()
    for block in blocks:
        yield splitter.feed(bytes(block))
