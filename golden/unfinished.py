"""Unfinished: a golden file whose recorder died, verified by its chain and held under its lock, to be gone on with.

What a resumed run does is not known here, nor whether its spec is still the same; an ended run is never added to.
Normative text: docs/format.md, "Going on after a kill".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import UNSET

from golden.canonical import sha256_hex
from golden.directory import Directory
from golden.errors import KeyringError, StoreError, TamperedError
from golden.event import EffectData, Event, Extent, RunEnd, RunResume, Signing
from golden.keyring import ED25519, HMAC_SHA256
from golden.ledger import Open, Run, draft
from golden.reading import Reading
from golden.recorder import Begun, Recorder, replaced
from golden.recording import Verified, refusal
from golden.repair import finish
from golden.store import OpenFile, Store
from golden.verdict import examine, judge_broken

_APART = "find out who put it there; `golden quarantine` sets it apart"


class Unfinished(Verified):
    """The good lines of a file that has no seal; the run's lock is held for as long as `open_unfinished` lasts.

    Attributes: `place`, its path; `signing`, as in force at the end; `count`, of the good lines, which are `size`
    bytes; `pending`, by step index, the effects of steps that were under way: all since the step's last event,
    whichever recorder wrote them, in the order of attempt and call, of which the last one counts; `dropped`,
    the incomplete last line, which going on cuts off; `ended`, how the run ended: where it did, nothing but the seal is
    missing.
    """

    def __init__(self, file: OpenFile, first: Event, signing: Signing, reading: Reading) -> None:
        super().__init__(first.run_id, file.fd, reading.walk.offset, reading.states)
        self.place = file.place
        self._start = first
        self._file = file
        self._kids = frozenset(reading.kids)
        self._resumed = len(reading.kids) > 1
        self._mac = reading.walk.mac
        self._length = self.size + len(reading.rest)
        self.signing = signing
        self.count = reading.walk.seq
        self.pending: dict[int, list[EffectData]] = {
            index: [found[call] for call in sorted(found)] for index, found in sorted(reading.pending.items())
        }
        self.dropped = Extent(bytes=len(reading.rest), sha256=sha256_hex(reading.rest)) if reading.rest else None
        self.ended: RunEnd | None = reading.end

    @property
    def is_resumed(self) -> bool:
        """Whether the run was gone on with before."""
        return self._resumed

    def recorder(self, accepted_changes: Sequence[str] = (), next_index: int = 0) -> Recorder:
        """Go on with the file: cut off what is incomplete, write `run_resume`, and return the recorder of what follows.

        Of a run that ended nothing is written: the recorder can only seal it.

        Args:
            accepted_changes: what may differ from what the run began with: `spec`, `code`, `context`.
            next_index: the step that the run goes on at.

        Raises:
            KeyringError, TamperedError: a key or the ledger has changed its mind meanwhile, or the file has changed.
            StoreError: it cannot be written; it is as it was, or lacks no more than its incomplete line.
        """
        keyring = self._file.renewed()
        told = self.require_vouched()
        key = keyring.active
        finish(self._file.directory)
        try:
            if os.fstat(self._file.fd).st_size != self._length:
                raise TamperedError(
                    f"the file of run {self.run_id} changed since it was verified",
                    hint="find out who writes to it, then run this again",
                )
            if not told:
                # First: a file of more than one line of which the ledger does not know is not gone on with.
                self._file.tell(draft(Open, run_id=self.run_id, file_id=self.signing.file_id))
            if self.dropped:
                self._file.cut(self.size)
                self._length = self.size
        except OSError as error:
            raise StoreError(
                f"run {self.run_id} cannot be gone on with: {error.strerror or error}", hint="check the disk"
            ) from None
        recorder = Recorder(self._file, self.run_id, key, self._begun())
        if self.ended is None:
            recorder.write(
                RunResume(
                    accepted_changes=list(accepted_changes),
                    dropped=self.dropped or UNSET,
                    next_index=next_index,
                    prefix=Extent(bytes=self.size, sha256=self._digest.hexdigest()),
                )
            )
        return recorder

    def require_vouched(self) -> bool:
        """Raise where nobody may vouch for these lines by going on after them; return whether the ledger knows the run.

        Raises:
            KeyringError, TamperedError: a key of theirs is revoked, or has been replaced where nothing else says that
                the run is honest; or the ledger says that this is not the run it knows.
        """
        directory = self._file.directory
        keyring = directory.keyring
        for kid in sorted(self._kids):
            if keyring.state(kid) == "revoked":
                raise TamperedError(
                    f"run {self.run_id} was recorded under {kid}, which is revoked",
                    hint="its key has leaked or is out of use; `golden quarantine` sets it apart",
                    verdict="revoked-key",
                )
        if self.ended is not None and keyring.state(self.signing.kid) != "active":
            raise replaced(self.run_id, self.signing.kid)
        if not directory.fold.lines:
            for kid in sorted(self._kids):
                if keyring.state(kid) != "active":
                    # Nobody but that key says that the run is honest.
                    raise replaced(self.run_id, kid)
            return True
        run = directory.runs.get(self.run_id)
        if run is not None:
            self._require_same(directory, run)
        elif self.count > 1 or any(keyring.state(kid) != "active" for kid in self._kids):
            # A recorder tells the ledger right after the first line, and is stopped where that fails.
            raise TamperedError(f"the ledger does not know run {self.run_id}", hint=_APART, verdict="unlisted")
        return run is not None

    def _require_same(self, directory: Directory, run: Run) -> None:
        keyring = directory.keyring
        problem, hint, verdict = None, _APART, "unlisted"
        if not run.present:
            problem = f"it is gone ({run.op}, line {run.seq + 1})"
        elif run.digest:
            problem, hint, verdict = "it was sealed, and its seal is gone", "restore the .sig from backup", "unsealed"
        elif run.file_id != self.signing.file_id:
            problem = "its file is another one"
        elif run.op == "open" and keyring.alg(run.kid) == HMAC_SHA256 and run.kid not in self._kids:
            # A recorder signs both, the first line and the ledger's, with the key that is active then.
            problem = f"it began under {run.kid}, and this is under {', '.join(sorted(self._kids))}"
        if problem:
            raise TamperedError(f"of run {self.run_id} the ledger says: {problem}", hint=hint, verdict=verdict)
        strong = [seq for kid, seq in directory.fold.since.items() if keyring.alg(kid) == ED25519]
        signs = any(key.alg == ED25519 for key in keyring.signers)
        if signs and keyring.alg(run.kid) == HMAC_SHA256 and strong and run.seq > min(strong):
            raise KeyringError(
                f"no {ED25519} key has signed that run {self.run_id} began: whoever has the weaker key could",
                hint="resume it on the host that recorded it, or set it apart (`golden quarantine`)",
                verdict="unknown-key",
            )

    def _begun(self) -> Begun:
        return Begun(
            file_id=self.signing.file_id,
            kids=self._kids,
            mac=self._mac,
            digest=self._digest,
            bytes=self.size,
            events=self.count,
            status=self.ended.status if self.ended else None,
        )

    @property
    def _digest(self) -> Any:
        # Of what verified, never of what could be read again.
        return self._states[-1]


@contextmanager
def open_unfinished(store: Store, run_id: str) -> Iterator[Unfinished]:
    """Take a run's lock, verify its file by its chain in one read, and give it to be gone on with.

    Raises:
        UsageError: the run is being written, or has ended.
        KeyringError: no active key is at hand, or not the keys of its lines.
        TamperedError, StoreError: nothing can be gone on with; the message says why, as `verify` does.
    """
    file = store.file(run_id)
    if not os.path.lexists(file.place):
        raise refusal(examine(file, store.read())[0])
    with store.reopen(run_id) as opened:
        # Under the lock: what another writer has done to the run by now counts.
        reading = Reading(opened.renewed())
        verdict = judge_broken(file, opened.fd, reading)
        first, signing = reading.first, reading.walk.signing
        if verdict.verdict not in {"live", "torn", "unsealed"} or first is None or signing is None:
            raise refusal(verdict)
        if first.run_id != run_id:
            raise TamperedError(f"{file.name} changed while it was read", hint="find out who writes to it")
        past = Unfinished(opened, first, signing, reading)
        past.require_vouched()
        yield past
