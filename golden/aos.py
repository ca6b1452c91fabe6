"""AOS: the golden files of the AOS workflow system, told apart from ours and checked.

Lines without MAC, and a `.sig` of 64 hex digits over all bytes; nothing here writes that format.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable
from functools import lru_cache

from golden.errors import StoreError
from golden.event import parse_header
from golden.files import open_regular
from golden.lines import OversizeError, first_line
from golden.store import SEAL_SUFFIX, SUFFIX

_AOS_SEAL = rb"[0-9a-f]{64}\Z"


def is_aos_seal(data: bytes) -> bool:
    """Whether the bytes of a `.sig` are the 64 hex digits of the AOS format."""
    return bool(re.match(_AOS_SEAL, data))


def is_aos_header(line: bytes) -> bool:
    """Whether a first line is of the AOS format: an event without the members `golden` and `mac`."""
    header = parse_header(line)
    return header is not None and header.golden is None and header.mac is None and bool(header.event_type)


def aos_mac(secret: bytes, blocks: Iterable[bytes]) -> tuple[str, int]:
    """Return (64 hex digits of HMAC-SHA256 over all blocks, the number of lines in them)."""
    mac, lines = hmac.new(secret, digestmod="sha256"), 0
    for block in blocks:
        mac.update(block)
        lines += block.count(b"\n")
    return mac.hexdigest(), lines


def same_mac(mac: str, sealed: bytes) -> bool:
    """Compare a computed MAC with the bytes of a `.sig` in constant time."""
    return hmac.compare_digest(mac.encode(), sealed)


def is_v1_directory(folder: str) -> bool:
    """Whether `folder` holds a ledger or any v1 golden file or seal; AOS files do not belong there."""
    return _is_v1_directory(folder, os.stat(folder).st_mtime_ns)


@lru_cache(maxsize=64)
def _is_v1_directory(folder: str, _changed: int) -> bool:
    # Asked for every AOS file of a directory, answered once for as long as no entry comes or goes.
    names = os.listdir(folder)
    return "ledger.jsonl" in names or any(_is_v1(folder, name) for name in names)


def _is_v1(folder: str, name: str) -> bool:
    if not name.endswith((SUFFIX, SEAL_SUFFIX)):
        return False
    try:
        fd = open_regular(os.path.join(folder, name))
    except StoreError:
        return False
    if fd is None:
        return False
    try:
        if name.endswith(SEAL_SUFFIX):
            return os.pread(fd, 1, 0) == b"{"
        line = first_line(fd)
    except OversizeError:
        return False
    finally:
        os.close(fd)
    header = parse_header(line) if line else None
    return header is not None and header.golden is not None
