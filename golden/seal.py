"""Seal: the statement about a finished golden file and the signatures under it.

Bytes in, a judged statement out; touches no file. Normative text: docs/format.md, "The seal".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from golden.errors import FormatError
from golden.event import Count, Hash, Id128, Kid, RunId, Time
from golden.keyring import ALGORITHMS, ED25519, HMAC_SHA256, Key, Keyring

MAX_SEAL = 64 << 10
MAX_SIGNATURES = 16
SIGNATURE_LENGTH = {HMAC_SHA256: 43, ED25519: 86}
# 32 or 64 bytes in base64url without padding, whose unused last bits are zero.
_SIG = r"\A([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]|[A-Za-z0-9_-]{85}[AQgw])\Z"


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who accepted a recording as the one to believe, when, why, and at which commit."""

    actor: str
    at: Time
    commit: str | None
    reason: str


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a seal states of a file: its size, its SHA-256, how many events, whose run, how it ended."""

    accepted: Accepted | UnsetType = UNSET
    bytes: Count
    events: Annotated[int, Meta(ge=1)]
    file_id: Id128
    gen: Count
    last_mac: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z")]
    run_id: RunId
    sealed_at: Time
    sha256: Hash
    status: str
    v: int


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature line."""

    alg: str
    kid: Kid
    sig: Annotated[str, Meta(pattern=_SIG)]


class Seal(msgspec.Struct, frozen=True):
    """A well-formed `.sig` file: the statement, its exact bytes, and its signatures, none of them checked."""

    statement: Statement
    line: bytes
    signatures: list[Signature]


class Signed(msgspec.Struct, frozen=True):
    """Who vouches for a seal: the accepted kid, or the verdict that stands instead, and what was passed over.

    `good` are the kids, active or retired, whose signatures were checked and are good, accepted or not.
    """

    kid: str | None
    verdict: Literal["tampered", "unknown-key", "revoked-key"] | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    good: tuple[str, ...] = ()


class NewerSealError(FormatError):
    """The seal says more than this version of the program reads."""


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode_statement = msgspec.json.Decoder(Statement).decode
_decode_signature = msgspec.json.Decoder(Signature).decode


def statement_line(statement: Statement) -> bytes:
    """Return the first line of a seal, without LF."""
    return _encode(statement)


def make_seal(line: bytes, keys: Iterable[Key], kept: Iterable[Signature] = ()) -> bytes:
    """Return the bytes of a `.sig` file: the statement's line, one signature by each of `keys`, and those `kept`."""
    made = [Signature(key.alg, key.kid, key.sign_seal(line)) for key in keys]
    return b"".join(part + b"\n" for part in (line, *map(_encode, [*made, *kept])))


def parse_seal(data: bytes) -> Seal:
    """Return the seal in `data` (the whole `.sig` file).

    Raises:
        NewerSealError: the statement's `v` is an integer greater than 1.
        FormatError: anything that is not exactly the form of a seal.
    """
    hint = "restore the .sig from backup"
    first, *rest = data.split(b"\n")
    if not first.endswith(b',"v":1}'):
        _refuse_newer(first)
    if len(data) > MAX_SEAL:
        raise FormatError(f"seal is larger than {MAX_SEAL} bytes", hint=hint)
    if not rest or rest.pop() != b"":
        raise FormatError("last line of the seal does not end", hint=hint)
    if not 1 <= len(rest) <= MAX_SIGNATURES:
        raise FormatError(f"seal has {len(rest)} signature lines, 1 to {MAX_SIGNATURES} are allowed", hint=hint)
    try:
        statement = _decode_statement(first)
        signatures = [_decode_signature(line) for line in rest]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"seal is malformed: {error}", hint=hint) from None
    # Each form has only members of one spelling, so what encodes to the same bytes is canonical.
    if [_encode(statement), *map(_encode, signatures)] != [first, *rest] or statement.v != 1:
        raise FormatError("seal is not in canonical form", hint=hint)
    for signature in signatures:
        if len(signature.sig) != SIGNATURE_LENGTH.get(signature.alg):
            raise FormatError(f"signature by {signature.kid} is malformed", hint=hint)
    if len({signature.kid for signature in signatures}) != len(signatures):
        raise FormatError("seal has two signatures by one key", hint=hint)
    return Seal(statement, first, signatures)


def check(seal: Seal, keyring: Keyring) -> Signed:
    """Check every signature by a key that is at hand and not revoked; one that does not verify decides against it.

    Accepted is a good one of the strongest algorithm that has an active key; where none is active, any.
    """
    notes: list[str] = []
    good: list[Key] = []
    revoked = False
    for signature in seal.signatures:
        if keyring.state(signature.kid) == "revoked":
            revoked = True
            notes.append(f"signature by {signature.kid} ignored: its key is revoked")
            continue
        key = keyring.get(signature.kid)
        if key is None:
            notes.append(f"signature by {signature.kid} not checked: its key is not at hand")
        elif signature.alg != key.alg or not key.verifies_seal(seal.line, signature.sig):
            return Signed(key.kid, "tampered", f"signature by {key.kid} does not match the statement")
        else:
            good.append(key)
    strongest = keyring.strongest
    accepted = [key for key in good if strongest in (None, key.alg)]
    if accepted:
        accepted.sort(key=lambda key: (ALGORITHMS.index(key.alg), keyring.state(key.kid) != "active"))
        return Signed(accepted[0].kid, notes=tuple(notes), good=tuple(key.kid for key in good))
    kids = ", ".join(signature.kid for signature in seal.signatures)
    if revoked and not good:
        return Signed(None, "revoked-key", f"signed by {kids}, and nobody who is still trusted", tuple(notes))
    problem = f"signed by {kids}, whose key is not at hand"
    if good:
        problem = f"signed by {kids}, but not by a key of {strongest}, which this keyring asks for"
    return Signed(None, "unknown-key", problem, tuple(notes), tuple(key.kid for key in good))


def _refuse_newer(line: bytes) -> None:
    try:
        claimed = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    version = claimed.get("v") if isinstance(claimed, dict) else None
    if type(version) is int and version > 1:
        raise NewerSealError(f"seal is of format version {version}", hint="read it with a newer version")
