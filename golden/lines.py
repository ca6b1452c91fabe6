"""Lines: cutting a file's bytes at LF, forward and backward, never holding more than one line too many.

Knows sizes only, not what a line says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from golden.errors import LimitError
from golden.event import MAX_HEADER, MAX_LINE

BLOCK = 1 << 20
_SHORT = 1 << 13


class OversizeError(LimitError):
    """A line is longer than the format allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"line is longer than {limit >> 20} MiB", hint="this is no golden file")


class Splitter:
    """Turns blocks into complete lines without their LF; what is left over is `rest`.

    The first line may have `MAX_HEADER` bytes, every later one `MAX_LINE`; a longer one raises OversizeError.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = MAX_HEADER

    @property
    def rest(self) -> bytes:
        """The bytes after the last LF so far."""
        return b"".join(self._parts)

    def feed(self, block: bytes) -> list[bytes]:
        """Return the lines that end in `block`, in order."""
        lines = block.split(b"\n")
        tail = lines.pop()
        if lines:
            self._admit(len(lines[0]))
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts, self._size, self._limit = [], 0, MAX_LINE
        self._admit(len(tail))
        self._parts.append(tail)
        return lines

    def _admit(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise OversizeError(self._limit)


def blocks(fd: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Give the bytes of `fd` from `start` to `end` (default: to its end) in blocks of at most 1 MiB."""
    while end is None or start < end:
        block = os.pread(fd, BLOCK if end is None else min(BLOCK, end - start), start)
        if not block:
            return
        yield block
        start += len(block)


def read_full(fd: int, view: memoryview, start: int) -> int:
    """Fill `view` with the bytes of `fd` from `start`, as far as there are any; return how many."""
    filled = 0
    while filled < len(view) and (count := os.preadv(fd, [view[filled:]], start + filled)):
        filled += count
    return filled


def first_line(fd: int) -> bytes | None:
    """Return the first line of `fd` without LF, or None where no line is complete; raises OversizeError."""
    # Most first lines are short; what follows them is not to be read twice.
    start = os.pread(fd, _SHORT, 0)
    cut = start.find(b"\n")
    if cut >= 0:
        return start[:cut]
    splitter = Splitter()
    for block in blocks(fd):
        cut = block.find(b"\n") + 1
        for line in splitter.feed(block[:cut] if cut else block):
            return line
    return None


def reader(fd: int) -> Callable[[int, int], bytes]:
    """Return a function that reads `fd` from a start up to a stop."""
    return lambda start, stop: os.pread(fd, stop - start, start)


def backward(read: Callable[[int, int], bytes], end: int) -> Iterator[tuple[int, bytes]]:
    """Give (offset, line without LF) of the lines that end at or before `end`, the last one first.

    Bytes after the last LF before `end` are passed over. Reads 64 KiB at a time; raises OversizeError.
    """
    step = 1 << 16
    tail: list[bytes] = []  # pieces of the line that ends at the last LF seen, in order
    size, seen_lf, position = 0, False, end
    while position > 0:
        start = max(0, position - step)
        pieces = read(start, position).split(b"\n")
        for piece in reversed(pieces[1:]):
            if seen_lf:
                line = b"".join([piece, *tail])
                yield position - len(piece), line
            position -= len(piece) + 1
            seen_lf, tail, size = True, [], 0
        tail.insert(0, pieces[0])
        size += len(pieces[0])
        if size > MAX_HEADER:
            raise OversizeError(MAX_HEADER)
        position = start
    if seen_lf:
        yield 0, b"".join(tail)
