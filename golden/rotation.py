"""Rotation: seals signed anew, each only where its file was proven in the same read; what is not proven is named.

A proof is a good signature by a key that is still trusted, the last statement that the ledger believes, the hash that
git has of the file, or the hash that somebody accepts by name. Normative text: docs/format.md, "Rotation".
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import msgspec

from golden.aos import is_aos_header, is_aos_seal
from golden.chain import Walk, split_line
from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import FormatError, GoldenError, StoreError, UsageError
from golden.event import RunEnd, parse_event, parse_header
from golden.files import exists, is_temporary, locked, open_folder, open_regular, sync_all, temporary
from golden.keyring import ALGORITHMS, ED25519, HMAC_SHA256, Key, Keyring
from golden.ledger import Accept, Anchor, KeyState, Rotate, Run, draft
from golden.lines import BLOCK, Splitter, blocks, first_line, read_full
from golden.repair import finish
from golden.seal import (
    MAX_SEAL,
    Accepted,
    Seal,
    Signature,
    Signed,
    Statement,
    check,
    make_seal,
    parse_seal,
    statement_line,
)
from golden.store import SEAL_SUFFIX, GoldenFile, Store, stems
from golden.verdict import last_event_type

Reason = Literal["scheduled", "compromised"]
Word = Literal["resealed", "already", "tampered", "rolled-back", "missing", "unproven", "live", "failed"]
# As many seals are written before they are made durable together, and only then put in place.
BATCH = 2048
LOCK = "rotate.lock"
_RESTORE = "restore the file from backup; nobody can vouch for these bytes"


class Outcome(msgspec.Struct, frozen=True):
    """What came of one run: `sha256` is that of its bytes as they lie there, None where they were not read.

    `failed` means that the system refused to write its seal; the run is as it was.
    """

    run_id: str
    outcome: Word
    from_kid: str | None = None
    to_kid: str | None = None
    sha256: str | None = None
    problem: str | None = None
    hint: str | None = None


class Made(msgspec.Struct, frozen=True):
    """An outcome, and of a seal that was made the temporary it lies in and the seal it is to replace."""

    outcome: Outcome
    temporary: str | None = None
    before: bytes | None = None


class Plan(msgspec.Struct, frozen=True):
    """What a rotation rests on.

    Args:
        reason: `scheduled`, or `compromised`, where no signature by a leaked key proves anything.
        anchor: what is known of the ledger from before the leak.
        leaked: the kids that are revoked first.
        accepted: run id → SHA-256 of bytes that somebody takes it on themselves to believe.
        kept: run id → SHA-256 of bytes that git has kept, where there is no ledger.
        keep_old: leave good signatures by retired keys where they are.
        note: free text for the ledger.
        safe: kids that stay although they were in use before the leak.
    """

    reason: Reason
    anchor: Anchor | None = None
    leaked: tuple[str, ...] = ()
    accepted: Mapping[str, str] = {}
    kept: Mapping[str, str] | None = None
    keep_old: bool = False
    note: str | None = None
    safe: frozenset[str] = frozenset()


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
        self._own = {key.kid for key in self.signers}
        self._require_new_keys()
        self.done: Counter[str] = Counter()
        self._accepting: dict[str, Statement] = {}

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
                outcome = self._prove(run_id).outcome
                statement = self._restated(run_id, sha256) if outcome.outcome == "unproven" else None
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
            self._accepting = found

    def make(self, run_id: str) -> Made:
        """Prove one run and write its new seal to a temporary; in a worker or not. Never raises for one file."""
        try:
            proof = self._prove(run_id)
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

    def _prove(self, run_id: str) -> _Proof:
        file = GoldenFile(self.folder, run_id)
        sealed = file.read_seal(MAX_SEAL)
        seal, signed = _signed(sealed, self.directory.keyring)
        from_kid = _from(seal, signed)
        fd = open_regular(file.place)
        if fd is None:
            problem = "there is a seal but no file" if sealed else "the ledger knows this run, its file is gone"
            return _Proof(Outcome(run_id, "missing", from_kid, problem=problem, hint="restore the file from backup"))
        try:
            size, sha256 = _digest(fd)
            header = parse_header(first_line(fd) or b"")
        finally:
            os.close(fd)
        found = Outcome(run_id, "unproven", from_kid, None, sha256)
        line, refused = self._line(run_id, found, size, seal, signed)
        if line is None:
            if refused is None and sealed is not None and seal is None and not is_aos_seal(sealed):
                refused = msgspec.structs.replace(
                    found, outcome="tampered", problem="its seal is malformed", hint="restore the .sig from backup"
                )
            return _Proof(self._named(refused or found, file, sealed))
        if header is not None and header.run_id != run_id:
            return _Proof(
                msgspec.structs.replace(found, outcome="tampered", problem="it is of another run", hint=_RESTORE)
            )
        kept = self._kept(line, seal, signed)
        to_kid = self.signers[0].kid
        data = make_seal(line, self.signers, kept)
        word: Word = "already" if sealed == data or self._is_done(line, seal, signed, kept) else "resealed"
        return _Proof(Outcome(run_id, word, from_kid, to_kid, sha256), seal=data, before=sealed)

    def _line(  # noqa: PLR0911  one return per kind of proof, the first that holds
        self, run_id: str, found: Outcome, size: int, seal: Seal | None, signed: Signed | None
    ) -> tuple[bytes | None, Outcome | None]:
        """Return the statement that these bytes are proven by, or None and what they are instead."""
        replace = msgspec.structs.replace
        known = self.directory.runs.get(run_id)
        line = self.directory.statement(run_id)
        own = seal.statement if seal else None
        fits = own is not None and (own.run_id, own.bytes, own.sha256) == (run_id, size, found.sha256)
        if line is not None:
            said = parse_statement(line)
            if (said.bytes, said.sha256) == (size, found.sha256):
                return (None, self._doubtful(found)) if self._is_doubtful(known, signed, fits=fits) else (line, None)
            digest = hashlib.sha256(seal.line).digest() if seal else b""
            if fits and known and digest in known.earlier:
                problem = "this is an earlier version of the run; the ledger knows a later one"
                return None, replace(found, outcome="rolled-back", problem=problem, hint="restore the later version")
            return None, replace(
                found, outcome="tampered", problem="its bytes are not what the ledger says", hint=_RESTORE
            )
        if signed is not None and signed.verdict == "tampered":
            return None, replace(found, outcome="tampered", problem=signed.problem, hint=_RESTORE)
        if self._accepting.get(run_id) is not None:
            return statement_line(self._accepting[run_id]), None
        trusted = seal is not None and self._is_trusted(run_id, found, known, seal, signed)
        if self.plan.kept is not None and self.plan.kept.get(run_id) == found.sha256 and not (trusted and fits):
            rebuilt = self._restated(run_id, found.sha256 or "", accepted=False)
            return (statement_line(rebuilt), None) if rebuilt else (None, None)
        if seal is None or not trusted:
            return None, None
        if self._is_doubtful(known, signed, fits=fits):
            return None, self._doubtful(found)
        if not fits:
            return None, replace(found, outcome="tampered", problem="its bytes do not match the seal", hint=_RESTORE)
        return seal.line, None

    def _is_trusted(self, run_id: str, found: Outcome, known: Run | None, seal: Seal, signed: Signed | None) -> bool:
        """Whether the signature on a seal proves what it says, where the ledger has no statement of the run."""
        if signed is None or not signed.good:
            return False
        if self.directory.present:
            if known is None or not known.present or known.file_id != seal.statement.file_id:
                return False
            # After a leak a new signature may stand on what the thief had signed: the run must have begun under it too.
            return self.plan.reason == "scheduled" or {known.kid, signed.kid} <= self._own
        if self.plan.reason == "scheduled" or (self.plan.kept or {}).get(run_id) == found.sha256:
            return True
        file = GoldenFile(self.folder, run_id)
        return _is_recorded_under(file, self.directory.keyring, found.sha256)

    def _is_doubtful(self, known: Run | None, signed: Signed | None, *, fits: bool) -> bool:
        """Whether nobody vouches for a run but a weaker key than those that had signed the ledger before.

        What was there when the stronger algorithm came into use is believed; whoever has no more than the weaker key
        could have added the rest.
        """
        keyring = self.directory.keyring
        alg = keyring.strongest
        if known is None or alg in {None, ALGORITHMS[-1]} or (fits and signed is not None and signed.kid is not None):
            return False
        since = [seq for kid, seq in self.directory.fold.since.items() if keyring.alg(kid) == alg]
        return bool(since) and known.seq > min(since) and keyring.alg(known.kid) != alg

    def _doubtful(self, found: Outcome) -> Outcome:
        alg = self.directory.keyring.strongest
        problem = f"no {alg} key has signed for it, as they have for others before it: whoever has the weaker key could"
        hint = (
            "find out who recorded it; vouch for its bytes (--accept-unproven), or set it apart (`golden quarantine`)"
        )
        return msgspec.structs.replace(found, problem=problem, hint=hint)

    def _named(self, found: Outcome, file: GoldenFile, sealed: bytes | None) -> Outcome:
        """Say of a run that is not proven what it is."""
        unsealed = sealed is None
        if found.outcome != "unproven" or found.problem is not None:
            return found
        replace = msgspec.structs.replace
        if unsealed and not _has_ended(file):
            problem = "the run has not ended"
            hint = "wait until it ends" if file.has_writer() else "its recorder died; `golden quarantine` sets it apart"
            return replace(found, outcome="live", problem=problem, hint=hint)
        if file.stem in self.plan.accepted:
            problem = "its bytes are not those that were accepted"
        elif self.plan.kept is not None:
            problem = "git does not have these bytes at that revision"
        elif unsealed:
            problem = "the run ended, but neither a seal nor the ledger speaks of it"
        elif self.directory.present:
            problem = "the ledger says nothing of these bytes that can be believed"
        else:
            problem = "no signature that can still be trusted"
        hint = "set it apart (`golden quarantine`), or vouch for its bytes: --accept-unproven"
        return replace(found, problem=problem, hint=hint)

    def _kept(self, line: bytes, seal: Seal | None, signed: Signed | None) -> list[Signature]:
        """Return the signatures that stay: by active keys that cannot sign here, by strangers, if asked by retired."""
        if seal is None or signed is None or seal.line != line:
            return []
        keyring, own = self.directory.keyring, {key.kid for key in self.signers}
        stay = {"active", None, "retired"} if self.plan.keep_old else {"active", None}
        others = (s for s in seal.signatures if s.kid not in own and keyring.state(s.kid) in stay)
        return [s for s in others if _stands(line, s, keyring)]

    def _is_done(self, line: bytes, seal: Seal | None, signed: Signed | None, kept: Sequence[Signature]) -> bool:
        if seal is None or signed is None or seal.line != line:
            return False
        wanted = {key.kid for key in self.signers}
        return wanted <= set(signed.good) and len(seal.signatures) == len(wanted) + len(kept)

    def _restated(self, run_id: str, sha256: str, *, accepted: bool = True) -> Statement | None:
        """Return a statement made from the file itself, None where it is no whole run of that hash."""
        file = GoldenFile(self.folder, run_id)
        seal, _ = _signed(file.read_seal(MAX_SEAL), self.directory.keyring)
        fd = open_regular(file.place)
        if fd is None:
            return None
        try:
            size, events, digest, splitter, last, header = 0, 0, hashlib.sha256(), Splitter(), b"", b""
            for block in blocks(fd):
                digest.update(block)
                size += len(block)
                for line in splitter.feed(block):
                    header = header or line
                    last = line
                    if parse_event(line).seq != events:
                        return None
                    events += 1
            head, end = parse_header(header), parse_event(last).data
            signing = head.signing if head else None
            if digest.hexdigest() != sha256 or splitter.rest or signing is None or not isinstance(end, RunEnd):
                return None
            if head is None or head.run_id != run_id:
                return None
            who = Accepted(self.directory.actor, timestamp(), None, self.plan.note or "accepted by hash")
            return Statement(
                accepted=who if accepted else msgspec.UNSET,
                bytes=size,
                events=events,
                file_id=signing.file_id,
                gen=(seal.statement.gen if seal else 0) + accepted,
                last_mac=split_line(last)[1].decode(),
                run_id=run_id,
                sealed_at=timestamp(),
                sha256=sha256,
                status=end.status,
                v=1,
            )
        except FormatError:
            return None
        finally:
            os.close(fd)

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


class _Proof(msgspec.Struct, frozen=True):
    outcome: Outcome
    seal: bytes = b""
    before: bytes | None = None


def parse_statement(line: bytes) -> Statement:
    """Return the statement of a seal's first line."""
    return msgspec.json.decode(line, type=Statement)


def _signed(sealed: bytes | None, keyring: Keyring) -> tuple[Seal | None, Signed | None]:
    if sealed is None:
        return None, None
    try:
        seal = parse_seal(sealed)
    except FormatError:
        return None, None
    return seal, check(seal, keyring)


def _stands(line: bytes, signature: Signature, keyring: Keyring) -> bool:
    """Whether a signature is good, or nobody here can tell."""
    key = keyring.get(signature.kid)
    return key is None or (key.alg == signature.alg and key.verifies_seal(line, signature.sig))


def _from(seal: Seal | None, signed: Signed | None) -> str | None:
    if seal is None:
        return None
    return (signed.kid if signed else None) or seal.signatures[0].kid


def _digest(fd: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    view = memoryview(bytearray(min(BLOCK, os.fstat(fd).st_size + 1)))
    while filled := read_full(fd, view, size):
        digest.update(view[:filled])
        size += filled
    return size, digest.hexdigest()


def _has_ended(file: GoldenFile) -> bool:
    fd = open_regular(file.place)
    if fd is None:
        return False
    try:
        # A file of the AOS system has no events of ours, and is not being written here.
        return is_aos_header(first_line(fd) or b"") or last_event_type(fd) == "run_end"
    finally:
        os.close(fd)


def _is_recorded_under(file: GoldenFile, keyring: Keyring, sha256: str | None) -> bool:
    """Whether these bytes are events with good MACs by keys that are not revoked: nobody else can have written them."""
    walk, splitter, digest = Walk(keyring), Splitter(), hashlib.sha256()
    fd = open_regular(file.place)
    if fd is None:
        return False
    try:
        for block in blocks(fd):
            digest.update(block)
            for line in splitter.feed(block):
                event = walk.feed(line)
                if event.golden is not None and keyring.usable(event.golden.kid) is None:
                    return False
    except GoldenError:
        return False
    finally:
        os.close(fd)
    return walk.ended and not splitter.rest and digest.hexdigest() == sha256


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
