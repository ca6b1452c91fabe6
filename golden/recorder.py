"""Recorder: writes one run's events as they happen, each with its MAC, and seals the file at the end.

Knows nothing of specs or skills; what an event says is handed in. How a run that broke off is gone on with is the
business of `unfinished`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import msgspec
from msgspec import UNSET

from golden import seal as seals
from golden.chain import NO_MAC, Chain
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
from golden.store import OpenFile, Store

_NAMES = {form: name for name, form in DATA_TYPES.items()}


class Begun(msgspec.Struct, frozen=True):
    """How far a file is written that a recorder goes on with, as it was just verified.

    `kids` are the keys of its lines, `mac` is that of the last one, `digest` the state of SHA-256 after it; `status` is
    how the run ended, None where it did not.
    """

    file_id: str
    kids: frozenset[str] = frozenset()
    mac: bytes = NO_MAC
    digest: Any = None
    bytes: int = 0
    events: int = 0
    status: str | None = None


class Recorder:
    """The open golden file of one run. Events go in by `write`, from any thread; `seal` ends it.

    `open_recorder` makes one of a new run, `Unfinished.recorder` one that goes on.
    """

    def __init__(self, file: OpenFile, run_id: str, key: HmacKey, begun: Begun | None = None) -> None:
        begun = begun or Begun(secrets.token_hex(16))
        self.run_id = run_id
        self._key = key
        self._file = file
        self._signing = Signing(alg="hmac-sha256", file_id=begun.file_id, kid=key.kid, v=1)
        self._chain = Chain(key.event_key(run_id, begun.file_id), begun.mac)
        self._digest = hashlib.sha256() if begun.digest is None else begun.digest.copy()
        self._bytes = begun.bytes
        self._seq = begun.events
        self._status = begun.status
        self._kids = begun.kids | {key.kid}
        # Found with its end, the file was known from the disk alone.
        self._found_ended = begun.status is not None
        # After a line that was not written whole, nothing that follows would be good.
        self._whole = True
        self._why = "an event before could not be written"
        self._writing = Lock()

    @property
    def file_id(self) -> str:
        """The id of this file, 32 hex digits; another recording of the same run has another."""
        return self._signing.file_id

    @property
    def events(self) -> int:
        """How many events the file holds by now."""
        return self._seq

    def write(self, data: Data, duration_us: int | None = None, *, at: str | None = None) -> None:
        """Append one event; returns when the system has its bytes (durability `always`: the disk).

        Raises:
            FormatError: the event is larger than the format allows; nothing was written.
            UsageError: the run has ended.
            StoreError: it cannot be written; the file stays as a live or torn prefix.
        """
        with self._writing:
            self._write(data, duration_us, at)

    def sync(self) -> None:
        """Make all events so far durable, for somebody who relies on them elsewhere; durability `never`: nothing.

        Raises:
            StoreError: the disk does not say that they are.
        """
        with self._writing:
            self._refuse_broken()
            try:
                self._file.sync(name=True)
            except OSError as error:
                # Whether its lines are on the disk is not known any more, whatever a second try would say.
                self._whole = False
                raise self._unwritable(error) from None

    def _write(self, data: Data, duration_us: int | None, at: str | None) -> None:
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
            raise self._unwritable(error) from None
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
        with self._writing:
            return self._seal()

    def _seal(self) -> seals.Statement:
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
                f"run {self.run_id} cannot be sealed: {error.strerror or error}",
                hint=f"free the disk; `golden resume {self.run_id}` seals it then",
            ) from None
        return statement

    def _sealers(self, keyring: Keyring) -> list[Key]:
        """Return the keys that are active now; where none is at hand, a key retired meanwhile may finish its run."""
        for kid in sorted(self._kids):
            if keyring.state(kid) == "revoked":
                raise KeyringError(
                    f"key {kid} was revoked while run {self.run_id} was recorded under it",
                    hint="record the run again",
                    verdict="revoked-key",
                )
        if self._found_ended and keyring.state(self._key.kid) != "active":
            raise replaced(self.run_id, self._key.kid)
        return keyring.signers or [self._key]

    def _refuse_broken(self) -> None:
        if not self._whole:
            raise StoreError(
                f"run {self.run_id} is broken off: {self._why}",
                hint=f"`golden resume {self.run_id}` goes on with it",
            )

    def _unwritable(self, error: OSError) -> StoreError:
        # Whoever writes next may be heard first.
        self._why = error.strerror or str(error)
        return StoreError(
            f"run {self.run_id} cannot be written: {self._why}",
            hint="what stands there stays valid up to its last whole line; free the disk, then"
            f" `golden resume {self.run_id}` goes on with it",
        )


def replaced(run_id: str, kid: str) -> KeyringError:
    """Return the refusal to vouch for a run whose lines nothing but a key that is not active any more speaks for."""
    return KeyringError(
        f"run {run_id} stands under key {kid}, which has been replaced since: whoever has it could have written that",
        hint="vouch for its bytes (`golden rotate --reason scheduled --accept-unproven @FILE`), or record it again",
        verdict="unknown-key",
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
