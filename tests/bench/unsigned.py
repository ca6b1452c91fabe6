"""Unsigned: a recorder that writes the same lines with the same calls and proves nothing.

What signing costs is what this one saves: MAC, running SHA-256, seal. Exists for the benchmark only.
"""

from __future__ import annotations

from typing import Any

from golden.clock import timestamp
from golden.recorder import Recorder
from golden.seal import Statement

_MAC = b',"mac":"%b"}\n' % (b"A" * 43)


class _NoChain:
    previous = bytes(32)

    def sign(self, encoded: bytes) -> bytes:
        """Return a line as long as a signed one."""
        return encoded[:-1] + _MAC


class _NoDigest:
    def update(self, data: bytes) -> None:
        """Take no notice."""


class UnsignedRecorder(Recorder):
    """The product's recorder with its chain and its digest taken out; `seal` does nothing."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        vars(self).update(_chain=_NoChain(), _digest=_NoDigest())

    def seal(self) -> Statement:
        """Seal nothing; state what nobody reads."""
        no_hash = "0" * 64
        return Statement(
            bytes=0,
            events=1,
            file_id="0" * 32,
            gen=0,
            last_mac="A" * 43,
            run_id=self.run_id,
            sealed_at=timestamp(),
            sha256=no_hash,
            status="completed",
            v=1,
        )
