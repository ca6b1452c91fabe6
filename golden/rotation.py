"""Rotation: seals signed anew, each only where its file was proven in the same read; what is not proven is named.

Knows locks, order and durability; what counts as proof is the business of `proof`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from golden.directory import Directory
from golden.errors import GoldenError, StoreError, UsageError
from golden.event import parse_header
from golden.files import exists, is_temporary, locked, open_folder, open_regular, sync_all, temporary
from golden.keyring import ED25519, HMAC_SHA256, Key, Keyring
from golden.ledger import Accept, KeyState, Rotate, draft
from golden.lines import first_line
from golden.proof import Outcome, Plan, Prover
from golden.repair import finish
from golden.seal import (
    MAX_SEAL,
)
from golden.store import SEAL_SUFFIX, GoldenFile, Store, stems

# As many seals are written before they are made durable together, and only then put in place.
BATCH = 2048
LOCK = "rotate.lock"


class Made(msgspec.Struct, frozen=True):
    """An outcome, and of a seal that was made the temporary it lies in and the seal it is to replace."""

    outcome: Outcome
    temporary: str | None = None
    before: bytes | None = None


def leaked_keys(keyring: Keyring, safe: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the kids that a leak makes worthless: all but the active HMAC key, and active Ed25519 keys made after it.

    Raises:
        UsageError: there is no newer key yet, or a key is called `safe` that is none of Ed25519.
    """
    entries = list(keyring)
    safe = set(safe)
    by_kid = {entry.kid: entry for entry in entries}
    for kid in safe:
        if kid not in by_kid or by_kid[kid].alg != ED25519:
            raise UsageError(
                f"--safe {kid} names no Ed25519 key of the keyring",
                hint="only a key whose private half never lay on the host that leaked is safe",
            )
    newest = next((entry for entry in entries if entry.alg == HMAC_SHA256 and entry.state == "active"), None)
    if newest is None:
        raise UsageError("no HMAC key is active", hint="`golden keys add --generate --active` makes one")
    later = {
        entry.kid
        for entry in entries
        if entry.alg == ED25519 and entry.state == "active" and entry.created and newest.created
        if entry.created >= newest.created
    }
    leaked = tuple(entry.kid for entry in entries if entry.kid not in {newest.kid, *safe, *later})
    if not leaked:
        raise UsageError(
            f"no key is older than the active key {newest.kid}: it would be the leaked one",
            hint="make a new one first: `golden keys add --generate --active`",
        )
    return leaked


class Rotation:
    """One rotation of one directory. Use it as a context manager: no second one can be at work there meanwhile.

    Raises:
        UsageError: another one is at work, or there is no way to prove anything.
        TamperedError, KeyringError, StoreError: the ledger is not good.
    """

    def __init__(self, store: Store, plan: Plan, *, dry_run: bool = False) -> None:
        self.store = store
        self.plan = plan
        self.dry_run = dry_run
        self.folder = store.folder
        anchors = [plan.anchor] if plan.anchor else []
        believed = dict.fromkeys(plan.leaked, plan.anchor.lines if plan.anchor else 0)
        self.directory = Directory(store.folder, store.keyring, memory=store.memory, anchors=anchors, leaked=believed)
        # First: without an anchor no line by a leaked key counts, and the ledger would only seem to be bad.
        self._require_proof()
        self.directory.require_good()
        self.signers: list[Key] = self.directory.keyring.signers
        if not self.signers:
            hint = "see `golden keys list`; `golden keys add --generate --active` makes one"
            raise UsageError("no active key is at hand to sign with", hint=hint)
        self._require_new_keys()
        self.done: Counter[str] = Counter()
        self._prover = Prover(self.directory, plan, self.signers)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the directory's rotation lock and clear away what a killed one left."""
        busy = UsageError(f"another rotation is at work in {self.folder}", hint="wait for it, then run this again")
        with open_folder(self.folder) as folder, locked(folder, LOCK, busy):
            if not self.dry_run:
                self._sweep(folder)
            yield

    def revoke(self) -> None:
        """Write down, before anything else, that the leaked keys have no say any more."""
        missing = [
            kid
            for kid in self.plan.leaked
            if self.directory.written.get(kid, -1) < 0 or self.directory.written[kid] > self.directory.believed[kid]
        ]
        memory = self.store.memory
        if self.dry_run:
            return
        if self.directory.present and missing:
            algs = {entry.kid: entry.alg for entry in self.store.keyring}
            with self.directory.writing():
                self.directory.append(
                    *(
                        draft(
                            KeyState,
                            alg=algs[kid],
                            key=kid,
                            state="revoked",
                            believed=self.directory.believed[kid],
                            reason=self.plan.note,
                        )
                        for kid in missing
                    )
                )
        elif memory is not None:
            memory.remember(self.folder, None, self.plan.leaked)

    def runs(self) -> list[str]:
        """Return the ids of all runs that lie here or should."""
        known = (run_id for run_id, run in self.directory.runs.items() if run.present)
        return sorted({*stems(self.folder), *known})

    def accept(self) -> None:
        """Take what is accepted by hash into the ledger, so that it is believed from now on."""
        found = {}
        for run_id, sha256 in self.plan.accepted.items():
            # What cannot be read is named when its turn comes.
            with suppress(OSError, GoldenError):
                outcome = self._prover.prove(run_id).outcome
                statement = self._prover.restated(run_id, sha256) if outcome.outcome == "unproven" else None
                if statement is not None:
                    found[run_id] = statement
        if self.directory.present and found and not self.dry_run:
            reason = self.plan.note or "accepted by hash"
            with self.directory.writing():
                self.directory.append(
                    *(
                        draft(Accept, run_id=run_id, file_id=statement.file_id, reason=reason, seal=statement)
                        for run_id, statement in found.items()
                    )
                )
        else:
            self._prover.accepting = found

    def make(self, run_id: str) -> Made:
        """Prove one run and write its new seal to a temporary; in a worker or not. Never raises for one file."""
        try:
            proof = self._prover.prove(run_id)
            if proof.outcome.outcome != "resealed" or self.dry_run:
                return Made(proof.outcome)
            with open_folder(self.folder) as folder:
                name = f"{run_id}{SEAL_SUFFIX}"
                like = os.stat(name.removesuffix(".sig"), dir_fd=folder, follow_symlinks=False)
                made = temporary(folder, name, proof.seal, like)
            return Made(proof.outcome, made, proof.before)
        except (OSError, GoldenError) as error:
            return Made(_failed(run_id, error))

    def settle(self, made: Iterable[Made]) -> Iterator[Outcome]:
        """Put new seals in their places, a batch at a time: durable first, then all of them; give the outcomes."""
        batch: list[Made] = []
        for one in made:
            batch.append(one)
            if len(batch) == BATCH:
                yield from self._put(batch)
                batch = []
        yield from self._put(batch)

    def finish(self) -> None:
        """Write into the ledger what was done, make it durable with everything before it."""
        if self.dry_run:
            return
        with open_folder(self.folder) as folder:
            if self.directory.present:
                with self.directory.writing():
                    keys = [key.kid for key in self.signers]
                    last = self.directory.fold.rotated
                    if self.done["resealed"] or last is None or last.keys != keys:
                        line = draft(
                            Rotate,
                            keys=keys,
                            note=self.plan.note,
                            outcomes=dict(sorted(self.done.items())),
                            reason=self.plan.reason,
                        )
                        self.directory.append(line, durable=False)
            sync_all(folder)

    def _put(self, batch: list[Made]) -> Iterator[Outcome]:
        with open_folder(self.folder) as folder:
            if any(made.temporary for made in batch):
                self._make_durable(folder, batch)
            for made in batch:
                outcome = made.outcome if made.temporary is None else self._replace(folder, made)
                self.done[outcome.outcome] += 1
                yield outcome

    def _make_durable(self, folder: int, batch: list[Made]) -> None:
        try:
            sync_all(folder)
        except OSError as error:
            for made in batch:
                with suppress(OSError):
                    os.unlink(made.temporary or "", dir_fd=folder)
            raise StoreError(
                f"the new seals in {self.folder} cannot be made durable: {error.strerror}",
                hint="check the disk and run this again; every file is as it was",
            ) from None

    def _replace(self, folder: int, made: Made) -> Outcome:
        run_id = made.outcome.run_id
        name, beside = f"{run_id}{SEAL_SUFFIX}", made.temporary or ""
        busy = UsageError(f"run {run_id} is being written", hint="run this again when it has ended")
        try:
            with locked(folder, f"{run_id}.lock", busy):
                if GoldenFile(self.folder, run_id).read_seal(MAX_SEAL) != made.before:
                    raise StoreError(f"the seal of {run_id} changed meanwhile", hint="run this again")
                os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except (OSError, GoldenError) as error:
            with suppress(OSError):
                os.unlink(beside, dir_fd=folder)
            return _failed(run_id, error)
        return made.outcome

    def _sweep(self, folder: int) -> None:
        for entry in os.listdir(self.folder):
            if not is_temporary(entry, SEAL_SUFFIX):
                continue
            run_id = entry[1:].partition(SEAL_SUFFIX)[0]
            with suppress(UsageError, OSError), locked(folder, f"{run_id}.lock", UsageError("busy", hint="wait")):
                if exists(folder, entry):
                    os.unlink(entry, dir_fd=folder)

    def _require_new_keys(self) -> None:
        """Refuse to trust a key that had signed before the leak: it lay where the others did."""
        anchor, fold = self.plan.anchor, self.directory.fold
        if self.plan.reason != "compromised" or anchor is None or not self.directory.present:
            return
        before = {kid for kid, seq in fold.since.items() if seq < anchor.lines}
        runs = ((run.seq, run_id) for run_id, run in self.directory.runs.items() if run.seq < anchor.lines)
        last = max(runs, default=None)
        if last is not None:
            before |= self._recorders(last[1])
        for entry in self.directory.keyring:
            if entry.state == "active" and entry.kid in before - self.plan.safe:
                hint = f"make a new one first: `golden keys add --generate --active --alg {entry.alg}`"
                if entry.alg == ED25519:
                    hint += f"; --safe {entry.kid} says that it never lay there"
                raise UsageError(f"key {entry.kid} was in use at the anchor and may have leaked too", hint=hint)

    def _recorders(self, run_id: str) -> set[str]:
        """Return the key whose MACs a run's file claims; the ledger may be signed by another one alone."""
        with suppress(OSError, GoldenError):
            fd = open_regular(GoldenFile(self.folder, run_id).place)
            if fd is not None:
                try:
                    header = parse_header(first_line(fd) or b"")
                finally:
                    os.close(fd)
                if header and header.signing:
                    return {header.signing.kid}
        return set()

    def _require_proof(self) -> None:
        plan, listed, found = self.plan, self.directory.present, self.directory.finding
        if not listed and found is not None and (self.store.ledger or self.directory.exists):
            # A ledger that is gone is no reason to ask for anything weaker.
            raise found.refusal()
        if plan.anchor and not listed:
            raise UsageError(
                f"{self.folder} has no ledger that an anchor could speak of",
                hint="give --anchor git:REV for goldens in git, or vouch for bytes: --accept-unproven @FILE",
            )
        if plan.reason == "scheduled":
            return
        if listed and plan.anchor is None:
            raise UsageError(
                "after a leak nothing in the directory is believed without an anchor from before it",
                hint="`golden anchors` shows those that were kept; give one with --anchor",
            )
        if not listed and plan.kept is None and not plan.accepted:
            raise UsageError(
                f"{self.folder} has no ledger: nothing but hashes from outside can prove its files",
                hint="give --anchor git:REV, or --accept-unproven @FILE with lines `<sha256>  <run id>` from a backup",
            )


def _failed(run_id: str, error: OSError | GoldenError) -> Outcome:
    if isinstance(error, GoldenError):
        return Outcome(run_id, "failed", problem=error.problem, hint=error.hint)
    return Outcome(run_id, "failed", problem=f"{error.strerror}", hint="check the disk and permissions, run this again")


Work = Callable[[Callable[[str], Made], Sequence[str]], Iterable[Made]]


def rotate(
    rotation: Rotation, runs: Sequence[str] | None = None, work: Work = map, revoked: Callable[[], Any] = lambda: None
) -> Iterator[Outcome]:
    """Do a rotation, or a dry run of one, and give the outcome of each run.

    `work` applies a function to run ids in order, in whatever processes; `revoked` is called once the ledger says that
    the leaked keys are, before any seal is signed.
    """
    with rotation.alone():
        rotation.revoke()
        revoked()
        if not rotation.dry_run:
            finish(rotation.directory)
        rotation.accept()
        yield from rotation.settle(work(rotation.make, rotation.runs() if runs is None else runs))
        rotation.finish()
