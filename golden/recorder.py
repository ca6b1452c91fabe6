"""Recorder: writes one run's events as they happen, each with its MAC, and seals the file at the end.

Knows nothing of specs or skills; what an event says is handed in.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import UNSET

from golden import seal as seals
from golden.chain import Chain
from golden.clock import timestamp
from golden.errors import FormatError, KeyringError, StoreError, UsageError
from golden.event import (
    DATA_TYPES,
    MAC_SUFFIX,
    MAX_HEADER,
    MAX_LINE,
    Data,
    Line,
    RunEnd,
    RunResume,
    RunStart,
    Signing,
    Timing,
    encode_line,
)
from golden.keyring import HmacKey, Key, Keyring, b64
from golden.ledger import Open, Sealed, draft
from golden.repair import finish
from golden.store import NewFile, Store

_NAMES = {form: name for name, form in DATA_TYPES.items()}


class Recorder:
    """The open golden file of one run. `open_recorder` makes one; events go in by `write`, `seal` ends it."""

    def __init__(self, file: NewFile, run_id: str, key: HmacKey) -> None:
        self.run_id = run_id
        self._key = key
        self._file = file
        self._signing = Signing(alg="hmac-sha256", file_id=secrets.token_hex(16), kid=key.kid, v=1)
        self._chain = Chain(key.event_key(run_id, self._signing.file_id))
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._seq = 0
        self._status: str | None = None
        # After a line that was not written whole, nothing that follows would be good.
        self._whole = True

    def write(self, data: Data, duration_us: int | None = None, *, at: str | None = None) -> None:
        """Append one event; returns when the system has its bytes (durability `always`: the disk).

        Raises:
            FormatError: the event is larger than the format allows; nothing was written.
            UsageError: the run has ended.
            StoreError: it cannot be written; the file stays as a live or torn prefix.
        """
        self._refuse_broken()
        if self._status is not None:
            raise UsageError(f"run {self.run_id} has ended", hint="record another run")
        signs = isinstance(data, RunStart | RunResume)
        encoded = encode_line(
            Line(
                data=data,
                event_type=_NAMES[type(data)],
                golden=self._signing if signs else UNSET,
                run_id=self.run_id,
                seq=self._seq,
                timestamp=at or timestamp(),
                timing=UNSET if duration_us is None else Timing(duration_us=duration_us),
            )
        )
        limit = MAX_LINE if self._seq else MAX_HEADER
        if len(encoded) - 1 + MAC_SUFFIX > limit:
            raise FormatError(
                f"event has {len(encoded)} bytes, at most {limit >> 20} MiB are allowed",
                hint="store large data elsewhere and record its hash",
            )
        self._whole = False
        line = self._chain.sign(encoded)
        try:
            self._file.append(line)
        except OSError as error:
            raise StoreError(
                f"run {self.run_id} cannot be written: {error.strerror or error}",
                hint="what stands there stays valid up to its last whole line; free the disk and record again",
            ) from None
        # Of what was written, never of what could be read back.
        self._digest.update(line)
        self._bytes += len(line)
        self._seq += 1
        if self._seq == 1:
            self._file.tell(draft(Open, run_id=self.run_id, file_id=self._signing.file_id))
        self._whole = True
        if isinstance(data, RunEnd):
            self._status = data.status

    def seal(self) -> seals.Statement:
        """Make the file durable, put its seal beside it and return what it states: the run is recorded.

        Raises:
            StoreError: an event or the seal cannot be written; there is no seal then.
            UsageError: the run has not ended.
        """
        self._refuse_broken()
        if self._status is None:
            raise UsageError(f"run {self.run_id} has no end to seal", hint="write its run_end first")
        statement = seals.Statement(
            bytes=self._bytes,
            events=self._seq,
            file_id=self._signing.file_id,
            gen=0,
            last_mac=b64(self._chain.previous).decode(),
            run_id=self.run_id,
            sealed_at=timestamp(),
            sha256=self._digest.hexdigest(),
            status=self._status,
            v=1,
        )
        try:
            self._file.sync()
            with self._file.ending() as keyring:
                line = seals.statement_line(statement)
                self._file.seal(seals.make_seal(line, self._sealers(keyring)))
                told = draft(Sealed, run_id=self.run_id, file_id=self._signing.file_id, seal=statement)
                self._file.tell(told, spare=self._key)
        except OSError as error:
            raise StoreError(
                f"run {self.run_id} cannot be sealed: {error.strerror or error}", hint="free the disk and record again"
            ) from None
        return statement

    def _sealers(self, keyring: Keyring) -> list[Key]:
        """Return the keys that are active now; where none is at hand, a key retired meanwhile may finish its run."""
        if keyring.state(self._key.kid) == "revoked":
            raise KeyringError(
                f"key {self._key.kid} was revoked while run {self.run_id} was recorded under it",
                hint="record the run again",
                verdict="revoked-key",
            )
        return keyring.signers or [self._key]

    def _refuse_broken(self) -> None:
        if not self._whole:
            raise StoreError(
                f"run {self.run_id} is broken off: an event before could not be written",
                hint="record the run again",
            )


@contextmanager
def open_recorder(store: Store, run_id: str) -> Iterator[Recorder]:
    """Give the recorder of a new run; the file stays as it is where the block raises.

    Raises:
        KeyringError: no active key.
        UsageError: the run id is taken or is none.
    """
    with store.create(run_id) as file:
        # The next writer says of a run whose recorder was killed after its seal that it ended.
        finish(file.directory)
        yield Recorder(file, run_id, file.directory.keyring.active)
