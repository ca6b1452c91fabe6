"""Provenance: under whose keys the lines of a golden file stand, and whether a run went on after them from the disk.

Reads files without judging them; what follows from it is said by `verdict`, `proof` and `repair`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from golden.chain import Walk
from golden.errors import FormatError, GoldenError, TamperedError
from golden.event import Signing, parse_event
from golden.files import open_regular
from golden.keyring import Keyring
from golden.lines import Splitter, blocks
from golden.store import GoldenFile

# In every line with a `golden` member, in every resumption, and in few others.
_SIGNS = b'"event_type":"run_'
_RESUMES = b'"event_type":"run_resume"'


class Lookout:
    """Notes, while a file is read for something else, whether it may hold a resumption."""

    def __init__(self) -> None:
        self.seen = False
        self._edge = b""

    def look(self, block: bytes | bytearray, size: int) -> None:
        """Look at the next bytes of the file, the first `size` of `block`."""
        if not self.seen:
            edge = self._edge + bytes(block[: min(size, len(_RESUMES))])
            self.seen = block.find(_RESUMES, 0, size) >= 0 or _RESUMES in edge
            self._edge = (self._edge + bytes(block[max(size - len(_RESUMES), 0) : size]))[-len(_RESUMES) :]


def resumed_over(fd: int, kids: Collection[str], sha256: str | None) -> str | None:
    """Return one of these keys under which lines stand that the run in the file `fd` went on after, None where none is.

    Whoever resumed it had these lines from the disk: nothing but their MACs vouched for them, whatever signed the seal.

    Raises:
        TamperedError: the file has another hash.
    """
    digest, splitter = hashlib.sha256(), Splitter()
    before: list[str] = []
    found = None
    for block in blocks(fd):
        digest.update(block)
        for signing in _signing(splitter.feed(block)):
            found = found or next((kid for kid in before if kid in kids), None)
            before.append(signing.kid)
    if digest.hexdigest() != sha256:
        raise TamperedError("the file changed while it was being read", hint="find out who writes to it")
    return found


def signed_by(fd: int) -> set[str]:
    """Return the kids that the `golden` members of the file `fd` name, none of them checked."""
    splitter = Splitter()
    found: set[str] = set()
    with suppress(FormatError):
        for block in blocks(fd):
            found.update(signing.kid for signing in _signing(splitter.feed(block)))
    return found


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
                if event.golden is not None and event.golden.kid not in kids:
                    return False
    except GoldenError:
        return False
    finally:
        os.close(fd)
    return walk.ended and not splitter.rest and digest.hexdigest() == sha256


def _signing(lines: list[bytes]) -> Iterator[Signing]:
    for line in lines:
        # What is no event vouches for nothing, and was never gone on after.
        with suppress(FormatError):
            if _SIGNS in line and (event := parse_event(line)).golden is not None:
                yield event.golden
