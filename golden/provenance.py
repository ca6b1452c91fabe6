"""Provenance: under whose keys the lines of a golden file stand, and whether a run went on after them from the disk.

Reads files without judging them; what follows from it is said by `verdict`, `proof` and `repair`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from golden.chain import Walk
from golden.errors import FormatError, GoldenError
from golden.event import Signing, parse_event, parse_header
from golden.files import open_regular
from golden.keyring import Keyring
from golden.lines import Splitter, blocks
from golden.store import GoldenFile

# In every line with a `golden` member, and in few others.
_SIGNS = b'"event_type":"run_'


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


def began_under(block: memoryview) -> str | None:
    """Return the kid that a file's first line names, None where that does not end in `block`, its first bytes."""
    line, ends, _ = bytes(block).partition(b"\n")
    header = parse_header(line) if ends else None
    return header.signing.kid if header and header.signing else None


def is_resumed_over(fd: int, kids: Collection[str], sha256: str | None) -> bool:
    """Whether the run in the file `fd` went on after lines under one of these keys; also where its hash is another.

    Whoever resumed it had these lines from the disk: nothing but their MACs vouched for them, whatever signed the seal.
    """
    digest, splitter = hashlib.sha256(), Splitter()
    before: set[str] = set()
    over = False
    try:
        for block in blocks(fd):
            digest.update(block)
            for signing in _signing(splitter.feed(block)):
                over |= not before.isdisjoint(kids)
                before.add(signing.kid)
    except FormatError:
        return True
    return over or digest.hexdigest() != sha256


def signed_by(fd: int) -> set[str]:
    """Return the kids that the `golden` members of the file `fd` name, none of them checked, up to what is no event."""
    splitter = Splitter()
    found: set[str] = set()
    with suppress(FormatError):
        for block in blocks(fd):
            for signing in _signing(splitter.feed(block)):
                found.add(signing.kid)
    return found


def _signing(lines: list[bytes]) -> Iterator[Signing]:
    for line in lines:
        if _SIGNS in line and (event := parse_event(line)).golden is not None:
            yield event.golden
