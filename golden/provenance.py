"""Provenance: under whose keys the lines of a golden file stand, and whether a run went on after them from the disk.

Reads files without judging them; what follows from it is said by `verdict`, `proof` and `repair`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

from golden.chain import Walk
from golden.errors import FormatError, GoldenError, TamperedError
from golden.event import Event, RunStart, parse_event
from golden.files import open_regular
from golden.keyring import Keyring
from golden.lines import Splitter, blocks
from golden.store import GoldenFile

# In every line with a `golden` member, and in few others.
_SIGNS = b'"event_type":"run_'
# In every resumption, and in the first line of every run that carries over what another one recorded.
_TRACES = (b'"event_type":"run_resume"', b'"resumed_from":{"')
_LONGEST = max(map(len, _TRACES))


class Lookout:
    """Notes, while a file is read for something else, whether it may hold a resumption."""

    def __init__(self) -> None:
        self.seen = False
        self._edge = b""

    def look(self, block: bytes | bytearray, size: int) -> None:
        """Look at the next bytes of the file, the first `size` of `block`."""
        if not self.seen:
            edge = self._edge + bytes(block[: min(size, _LONGEST)])
            self.seen = any(block.find(trace, 0, size) >= 0 or trace in edge for trace in _TRACES)
            self._edge = (self._edge + bytes(block[max(size - _LONGEST, 0) : size]))[-_LONGEST:]


def resumed_over(fd: int, kids: Collection[str], sha256: str | None) -> str | None:
    """Return one of these keys under which lines stand that the run in the file `fd` goes on from, None where none is.

    Whoever resumed it had these lines from the disk, be they before its own or in another run's file: nothing but the
    keys of then vouched for them, whatever signed the seal since.

    Raises:
        TamperedError: the file has another hash.
    """
    digest, splitter = hashlib.sha256(), Splitter()
    before: list[str] = []
    found = None
    for block in blocks(fd):
        digest.update(block)
        for carried, kid in _signing(splitter.feed(block)):
            before += carried
            found = found or next((each for each in before if each in kids), None)
            before.append(kid)
    if digest.hexdigest() != sha256:
        raise TamperedError("the file changed while it was being read", hint="find out who writes to it")
    return found


def signed_by(fd: int) -> set[str]:
    """Return the kids that the `golden` members of the file `fd` name, none of them checked."""
    splitter = Splitter()
    found: set[str] = set()
    with suppress(FormatError):
        for block in blocks(fd):
            found.update(kid for _, kid in _signing(splitter.feed(block)))
    return found


def recorded_under(batches: Iterable[list[bytes]]) -> list[str]:
    """Return the kids, sorted, of all keys that vouch for a file's lines (in batches) or for what they carry over."""
    return sorted({each for batch in batches for carried, kid in _signing(batch) for each in (*carried, kid)})


def is_recorded_under(file: GoldenFile, keyring: Keyring, kids: Collection[str], sha256: str | None) -> bool:
    """Whether a file's bytes are events with good MACs by keys of these kids: nobody else can have written them."""
    walk, splitter, digest = Walk(keyring), Splitter(), hashlib.sha256()
    fd = open_regular(file.place)
    if fd is None:
        return False
    try:
        for block in blocks(fd):
            digest.update(block)
            for line in splitter.feed(block):
                event = walk.feed(line)
                if event.golden is not None and not {event.golden.kid, *_carried(event)} <= set(kids):
                    return False
    except GoldenError:
        return False
    finally:
        os.close(fd)
    return walk.ended and not splitter.rest and digest.hexdigest() == sha256


def _signing(lines: list[bytes]) -> Iterator[tuple[list[str], str]]:
    """Give, of each line with a `golden` member, the kids of what it carries over, and the one it signs with."""
    for line in lines:
        # What is no event vouches for nothing, and was never gone on after.
        with suppress(FormatError):
            if _SIGNS in line and (event := parse_event(line)).golden is not None:
                yield _carried(event), event.golden.kid


def _carried(event: Event) -> list[str]:
    data = event.data
    return data.resumed_from.kids if isinstance(data, RunStart) and data.resumed_from else []
