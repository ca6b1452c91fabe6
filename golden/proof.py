"""Proof: what may be signed anew: a golden file whose bytes somebody still trusted vouches for, found in one read.

A proof is a good signature by a key that is still trusted, the last statement that the ledger believes, the hash that
git has of the file, or the hash that somebody accepts by name. Normative text: docs/format.md, "Rotation".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from golden.aos import is_aos_header, is_aos_seal
from golden.chain import split_line
from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import FormatError
from golden.event import RunEnd, parse_event, parse_header
from golden.files import open_regular
from golden.keyring import ALGORITHMS, Key, Keyring
from golden.ledger import Anchor, Run
from golden.lines import BLOCK, Splitter, blocks, first_line, read_full
from golden.provenance import Lookout, is_recorded_under, resumed_over
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
from golden.store import RESERVED, GoldenFile
from golden.verdict import last_event_type

Reason = Literal["scheduled", "compromised"]
Word = Literal["resealed", "already", "tampered", "rolled-back", "missing", "unproven", "live", "failed"]
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


class Proof(msgspec.Struct, frozen=True):
    """An outcome, and where that is `resealed` or `already` the seal that is to stand, and the one that stands."""

    outcome: Outcome
    seal: bytes = b""
    before: bytes | None = None


class Prover:
    """Proves the runs of one directory, as a plan says; `accepting` are statements believed from now on, by run id."""

    def __init__(self, directory: Directory, plan: Plan, signers: Sequence[Key]) -> None:
        self.directory = directory
        self.folder = directory.folder
        self.plan = plan
        self.signers = signers
        self.accepting: dict[str, Statement] = {}
        self._own = {key.kid for key in signers}

    def prove(self, run_id: str) -> Proof:
        """Say what a run is, and make its new seal if it is proven.

        Raises:
            OSError, StoreError, TamperedError: it cannot be read, or the ledger changed meanwhile.
        """
        file = GoldenFile(self.folder, run_id)
        if run_id in RESERVED:
            problem, hint = f"no run is recorded under the id {run_id}", "set it apart (`golden quarantine`)"
            return Proof(Outcome(run_id, "unproven", problem=problem, hint=hint))
        sealed = file.read_seal(MAX_SEAL)
        seal, signed = _signed(sealed, self.directory.keyring)
        from_kid = _from(seal, signed)
        fd = open_regular(file.place)
        if fd is None:
            problem = "there is a seal but no file" if sealed else "the ledger knows this run, its file is gone"
            return Proof(Outcome(run_id, "missing", from_kid, problem=problem, hint="restore the file from backup"))
        try:
            lookout = Lookout() if self._doubted(run_id) else None
            size, sha256 = _digest(fd, lookout)
            header = parse_header(first_line(fd) or b"")
        finally:
            os.close(fd)
        found = Outcome(run_id, "unproven", from_kid, None, sha256)
        line, refused = self._line(run_id, found, size, seal, signed)
        if line is not None and lookout and lookout.seen and (doubt := self._doubt(found)):
            line, refused = None, doubt
        if line is None:
            if refused is None and sealed is not None and seal is None and not is_aos_seal(sealed):
                refused = msgspec.structs.replace(
                    found, outcome="tampered", problem="its seal is malformed", hint="restore the .sig from backup"
                )
            return Proof(self._named(refused or found, file, sealed))
        if header is not None and header.run_id != run_id:
            return Proof(
                msgspec.structs.replace(found, outcome="tampered", problem="it is of another run", hint=_RESTORE)
            )
        kept = self._kept(line, seal, signed)
        to_kid = self.signers[0].kid
        data = make_seal(line, self.signers, kept)
        word: Word = "already" if sealed == data or self._is_done(line, seal, signed, kept) else "resealed"
        return Proof(Outcome(run_id, word, from_kid, to_kid, sha256), seal=data, before=sealed)

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
        if self.accepting.get(run_id) is not None:
            return statement_line(self.accepting[run_id]), None
        trusted = seal is not None and self._is_trusted(run_id, found, known, seal, signed)
        if self.plan.kept is not None and self.plan.kept.get(run_id) == found.sha256 and not (trusted and fits):
            rebuilt = self.restated(run_id, found.sha256 or "", accepted=False)
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
            # A new signature may stand on what a thief had signed: after a leak the run must have begun under it too.
            # And who began a run with a key that signs now did not seal it with one that had been replaced before.
            began, sealed = known.kid in self._own, signed.kid in self._own
            return sealed and began if self.plan.reason == "compromised" else sealed or not began
        if self.plan.reason == "scheduled" or (self.plan.kept or {}).get(run_id) == found.sha256:
            return True
        file = GoldenFile(self.folder, run_id)
        trusted = {entry.kid for entry in self.directory.keyring if entry.state != "revoked"}
        return is_recorded_under(file, self.directory.keyring, trusted, found.sha256)

    def _doubted(self, run_id: str) -> set[str]:
        """Return the revoked keys that prove nothing of a run, none where somebody vouches for its bytes."""
        return self.directory.doubted(run_id) if self.directory.present and run_id not in self.accepting else set()

    def _doubt(self, found: Outcome) -> Outcome | None:
        """Return what a resumed run is where a key of the lines before may have leaked by then, else None."""
        fd = open_regular(GoldenFile(self.folder, found.run_id).place)
        if fd is None:
            return None
        try:
            kid = resumed_over(fd, self._doubted(found.run_id), found.sha256)
        finally:
            os.close(fd)
        if kid is None:
            return None
        problem = f"it goes on from lines under {kid}, which is revoked, and may have leaked by then"
        hint = (
            "compare it with a backup; vouch for its bytes (--accept-unproven), or set it apart (`golden quarantine`)"
        )
        return msgspec.structs.replace(found, problem=problem, hint=hint)

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
        # Only a statement speaks of bytes: who signed that the run began does not vouch for them.
        vouched = bool(known.digest) and keyring.alg(known.kid) == alg
        return bool(since) and known.seq >= min(since) and not vouched

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
            died = f"its recorder died; `golden resume {file.stem}` goes on or `golden recover {file.stem}` seals it"
            hint = "wait until it ends" if file.has_writer() else died
            return replace(found, outcome="live", problem=problem, hint=hint)
        if file.stem in self.plan.accepted:
            problem = "its bytes are not those that were accepted"
        elif self.plan.kept is not None:
            problem = "git does not have these bytes at that revision"
            signed = _signed(sealed, self.directory.keyring)[1]
            if signed is not None and signed.kid is not None:
                problem += f", and {signed.kid} signed them since: that goes on being good"
                hint = "set it apart for good, or make another new key (`golden keys add`) and rotate again"
                return replace(found, problem=problem, hint=hint)
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

    def restated(self, run_id: str, sha256: str, *, accepted: bool = True) -> Statement | None:
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


def _digest(fd: int, lookout: Lookout | None) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    buffer = bytearray(min(BLOCK, os.fstat(fd).st_size + 1))
    view = memoryview(buffer)
    while filled := read_full(fd, view, size):
        digest.update(view[:filled])
        if lookout:
            lookout.look(buffer, filled)
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
