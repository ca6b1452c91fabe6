"""Seal: one exact form, signatures that verify or decide against it."""

import hmac
from typing import Any

import msgspec
import pytest

from golden.canonical import canonical_bytes, decode, pae
from golden.errors import FormatError, KeyringError
from golden.keyring import Ed25519Key, HmacKey, Keyring, b64, key_from
from golden.seal import (
    MAX_SEAL,
    MAX_SIGNATURES,
    Accepted,
    NewerSealError,
    Seal,
    Statement,
    check,
    make_seal,
    parse_seal,
    statement_line,
)
from tests.runs import ACTIVE, RETIRED, STRANGER, pem, policy, statement_of

STATEMENT = statement_of("r-1", b"x", 1, bytes(32))
GOOD = make_seal(statement_line(STATEMENT), [HmacKey(ACTIVE)])
LINE = GOOD.splitlines()[0]
SIGNATURE = GOOD.splitlines()[1]


def sign(secret: bytes, line: bytes) -> str:
    return b64(hmac.digest(HmacKey(secret).seal_key(), pae(b"seal", line), "sha256")).decode()


def said(**changes: Any) -> bytes:
    """Return the statement's line with other members; None takes one out."""
    members = {**msgspec.to_builtins(STATEMENT), **changes}
    return canonical_bytes({name: value for name, value in members.items() if value is not None})


def signature(secret: bytes, line: bytes = LINE, **changes: Any) -> bytes:
    return canonical_bytes({"alg": "hmac-sha256", "kid": HmacKey(secret).kid, "sig": sign(secret, line), **changes})


def sealed(*lines: bytes) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def test_a_seal_is_read_as_it_was_written() -> None:
    read = parse_seal(GOOD)
    assert (read.statement, read.line, len(read.signatures)) == (STATEMENT, LINE, 1)
    assert check(read, Keyring(ACTIVE)).kid == HmacKey(ACTIVE).kid


def test_a_signature_is_over_the_labelled_statement() -> None:
    assert signature(ACTIVE) == SIGNATURE


MALFORMED = {
    "nothing": b"",
    "an LF": b"\n",
    "no last LF": GOOD[:-1],
    "no signature": sealed(LINE),
    "an empty line at the end": GOOD + b"\n",
    "an empty line between": sealed(LINE, b"", SIGNATURE),
    "CR LF": GOOD.replace(b"\n", b"\r\n"),
    "a BOM": b"\xef\xbb\xbf" + GOOD,
    "a space": sealed(LINE.replace(b":", b": ", 1), SIGNATURE),
    "a space in a signature": sealed(LINE, SIGNATURE + b" "),
    "members out of order": sealed(
        LINE, SIGNATURE.replace(b'"alg":"hmac-sha256",', b"")[:-1] + b',"alg":"hmac-sha256"}'
    ),
    "a member twice": sealed(b'{"bytes":1,' + LINE[1:], SIGNATURE),
    "two signatures by one kid": sealed(LINE, SIGNATURE, SIGNATURE),
    "seventeen signatures": sealed(LINE, *[signature(bytes([65 + n]) * 32) for n in range(17)]),
    "not UTF-8": GOOD.replace(b"r-1", b"r-\xff"),
    "two statements": sealed(LINE, LINE, SIGNATURE),
    "a list": sealed(b"[]", SIGNATURE),
    "the signature first": sealed(SIGNATURE, LINE),
    "64 hex digits": b"0" * 64,
    "more than 64 KiB": sealed(said(status="x" * MAX_SEAL), SIGNATURE),
    "deep nesting": sealed(b"[" * 5000, SIGNATURE),
}
STATEMENTS = {
    "bytes": (1.0, -1, None),
    "events": (0, 1.5, None),
    "file_id": ("0" * 31, "A" * 32, None),
    "gen": (-1, None),
    "last_mac": ("A" * 42, "A" * 42 + "B", None),
    "run_id": ("../x", "", None),
    "sealed_at": ("2026-01-01", None),
    "sha256": ("A" * 64, "0" * 63, None),
    "status": (1, None),
    "v": (True, 1.0, None),
    "more": (1,),
}
SIGNATURES = {
    "alg": ("none", "ed25519", None),
    "kid": ("x" * 16, "0" * 15, "A" * 16, None),
    "sig": ("A" * 42, "A" * 44, "A" * 86, "A" * 42 + "B", "A" * 42 + "=", "+" * 42 + "A", "A" * 42 + "\u00e9", None),
    "more": (1,),
}
MALFORMED |= {
    f"statement with {name} {value}": sealed(said(**{name: value}), SIGNATURE)
    for name, values in STATEMENTS.items()
    for value in values
}
MALFORMED |= {
    f"signature with {name} {value}": sealed(LINE, signature(ACTIVE, LINE, **{name: value}))
    for name, values in SIGNATURES.items()
    for value in values
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in MALFORMED.items()])
def test_a_malformed_seal_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as refusal:
        parse_seal(data)
    assert not isinstance(refusal.value, NewerSealError)
    assert "restore" in refusal.value.hint


@pytest.mark.parametrize(
    "data",
    [
        sealed(said(v=2), SIGNATURE),
        sealed(said(v=10**30), SIGNATURE),
        b'{"v": 2, "new": []}',
        b'{"v":2}\r\n',
        sealed(said(v=2, status="x" * MAX_SEAL)),
    ],
)
def test_a_later_version_is_told_apart_whatever_else_is_wrong(data: bytes) -> None:
    with pytest.raises(NewerSealError, match="format version"):
        parse_seal(data)


@pytest.mark.parametrize("version", [2.0, "2", True, 0, -1, None, [2]])
def test_only_an_integer_is_a_later_version(version: Any) -> None:
    with pytest.raises(FormatError) as refusal:
        parse_seal(sealed(canonical_bytes({**decode(LINE), "v": version}), SIGNATURE))
    assert not isinstance(refusal.value, NewerSealError)


ACCEPTED = {"actor": "a", "at": "2026-01-01T00:00:00.000000Z", "commit": "abc", "reason": "r"}


def test_a_statement_may_say_who_accepted_its_bytes_and_when_and_why() -> None:
    for commit in (None, "abc"):
        statement = msgspec.structs.replace(STATEMENT, accepted=Accepted("a", ACCEPTED["at"], commit, "r"), gen=1)
        line = statement_line(statement)
        assert line == said(accepted={**ACCEPTED, "commit": commit}, gen=1) if commit else line
        assert line.startswith(b'{"accepted":{"actor":"a","at":"2026-01-01T00:00:00.000000Z","commit":')
        seal = parse_seal(make_seal(line, [HmacKey(ACTIVE)]))
        assert (seal.statement, check(seal, Keyring(ACTIVE)).kid) == (statement, HmacKey(ACTIVE).kid)


@pytest.mark.parametrize(
    "accepted",
    [
        *(1, "a", [], {}, {**ACCEPTED, "more": 1}, {**ACCEPTED, "actor": 1}, {**ACCEPTED, "at": "2026-01-01"}),
        *({**ACCEPTED, "commit": 1}, {**ACCEPTED, "reason": None}),
        *({n: v for n, v in ACCEPTED.items() if n != name} for name in ACCEPTED),
    ],
)
def test_a_malformed_acceptance_is_refused(accepted: Any) -> None:
    with pytest.raises(FormatError) as refusal:
        parse_seal(sealed(said(accepted=accepted), SIGNATURE))
    assert not isinstance(refusal.value, NewerSealError)


def test_an_acceptance_that_is_null_is_not_one_that_is_absent() -> None:
    line = canonical_bytes({**msgspec.to_builtins(STATEMENT), "accepted": None})
    with pytest.raises(FormatError):
        parse_seal(sealed(line, signature(ACTIVE, line)))


def read(*lines: bytes) -> Seal:
    return parse_seal(sealed(LINE, *lines))


def test_sixteen_signatures_are_allowed() -> None:
    lines = [signature(bytes([65 + n]) * 32) for n in range(MAX_SIGNATURES - 1)]
    assert check(read(*lines, SIGNATURE), Keyring(ACTIVE)).kid == HmacKey(ACTIVE).kid


def test_a_retired_key_verifies_what_it_sealed() -> None:
    assert check(read(signature(RETIRED)), Keyring(ACTIVE, [RETIRED])).kid == HmacKey(RETIRED).kid


def test_the_active_key_is_named_where_both_signed() -> None:
    for lines in ([SIGNATURE, signature(RETIRED)], [signature(RETIRED), SIGNATURE]):
        assert check(read(*lines), Keyring(ACTIVE, [RETIRED])).kid == HmacKey(ACTIVE).kid


def test_a_signature_whose_key_is_not_at_hand_is_reported_not_checked() -> None:
    signed = check(read(signature(STRANGER, sig="A" * 43), SIGNATURE), Keyring(ACTIVE))
    assert (signed.kid, signed.verdict) == (HmacKey(ACTIVE).kid, None)
    assert signed.notes == (f"signature by {HmacKey(STRANGER).kid} not checked: its key is not at hand",)


def test_no_key_at_hand_is_unknown_key_not_tampered() -> None:
    signed = check(read(signature(STRANGER)), Keyring(ACTIVE))
    assert (signed.kid, signed.verdict) == (None, "unknown-key")
    assert check(read(SIGNATURE), Keyring()).verdict == "unknown-key"


@pytest.mark.parametrize(
    "bad",
    [
        signature(RETIRED, sig="A" * 43),
        signature(RETIRED, said(status="failed")),
        signature(RETIRED, sig=sign(ACTIVE, LINE)),
        signature(RETIRED, alg="ed25519", sig="A" * 86),
    ],
)
def test_one_signature_that_does_not_verify_decides_against_the_seal(bad: bytes) -> None:
    for lines in ([bad], [bad, SIGNATURE], [SIGNATURE, bad]):
        signed = check(read(*lines), Keyring(ACTIVE, [RETIRED]))
        assert (signed.kid, signed.verdict) == (HmacKey(RETIRED).kid, "tampered")
        assert "does not match the statement" in (signed.problem or "")


def test_an_ed25519_signature_is_passed_over_not_believed() -> None:
    line = signature(STRANGER, alg="ed25519", sig="A" * 86)
    assert check(read(line), Keyring(ACTIVE)).verdict == "unknown-key"
    assert check(read(line, SIGNATURE), Keyring(ACTIVE)).kid == HmacKey(ACTIVE).kid


def test_a_statement_signed_for_another_purpose_does_not_count() -> None:
    as_event = HmacKey(ACTIVE).event_key("r-1", STATEMENT.file_id)
    assert as_event != HmacKey(ACTIVE).seal_key()
    assert isinstance(read(SIGNATURE).statement, Statement)


# Ed25519 beside HMAC, and who is believed

ED, OLD_ED = pem("seal"), pem("seal, once")
BOTH = policy((ACTIVE, "active"), (ED, "active"), (RETIRED, "retired"), (OLD_ED, "retired"))


def by(*secrets: bytes) -> list[bytes]:
    """Return one signature line by each of these secrets, of either algorithm."""
    return make_seal(LINE, [key_from(secret) for secret in secrets]).splitlines()[1:]


def kid(secret: bytes) -> str:
    return key_from(secret).kid


def test_a_seal_by_both_algorithms_is_read_and_each_is_checked() -> None:
    signed = check(read(*by(ACTIVE, ED)), BOTH)
    assert (signed.kid, signed.verdict, signed.notes) == (kid(ED), None, ())
    assert set(signed.good) == {kid(ACTIVE), kid(ED)}


def test_a_public_key_alone_verifies_and_signs_nothing() -> None:
    public = policy((ED, "active"), held=[])
    assert check(read(*by(ED)), public).kid == kid(ED)
    key = public.get(kid(ED))
    assert key is not None
    assert not key.can_sign
    assert public.signers == []
    with pytest.raises(KeyringError, match="private half"):
        make_seal(LINE, [key])


@pytest.mark.parametrize(
    "ring, secrets, accepted",
    [
        (BOTH, [ED], ED),
        (BOTH, [OLD_ED], OLD_ED),
        (BOTH, [ACTIVE], None),
        (BOTH, [ACTIVE, RETIRED], None),
        (BOTH, [ACTIVE, OLD_ED], OLD_ED),
        (BOTH, [OLD_ED, ED], ED),
        (policy((ACTIVE, "active"), (ED, "retired")), [ACTIVE], ACTIVE),
        (policy((ACTIVE, "active"), (ED, "retired")), [ED], None),
        (policy((ACTIVE, "active"), (ED, "retired")), [ED, ACTIVE], ACTIVE),
        (policy((ACTIVE, "retired"), (ED, "retired")), [ACTIVE], ACTIVE),
        (policy((ACTIVE, "retired"), (ED, "retired")), [ACTIVE, ED], ED),
        (policy((ACTIVE, "retired"), (ED, "revoked")), [ACTIVE], ACTIVE),
        (policy((ACTIVE, "active"), (ED, "active"), held=[ED]), [ACTIVE, ED], ED),
        (policy((ACTIVE, "active"), (ED, "active"), held=[]), [ACTIVE], None),
    ],
)
def test_accepted_is_a_key_of_the_strongest_algorithm_that_has_an_active_one(
    ring: Keyring, secrets: list[bytes], accepted: bytes | None
) -> None:
    for order in (secrets, secrets[::-1]):
        signed = check(read(*by(*order)), ring)
        assert signed.kid == (kid(accepted) if accepted else None)
        assert signed.verdict == (None if accepted else "unknown-key")


def test_a_seal_whose_stronger_signature_was_taken_off_says_what_is_asked_for() -> None:
    signed = check(read(*by(ACTIVE)), BOTH)
    assert (signed.verdict, signed.good) == ("unknown-key", (kid(ACTIVE),))
    assert "not by a key of ed25519" in (signed.problem or "")


def test_a_signature_relabelled_to_the_weaker_algorithm_is_tampered() -> None:
    key = key_from(ED)
    assert isinstance(key, Ed25519Key)
    # Whoever holds the public key may take it for a shared secret; nobody else does.
    forged = b64(hmac.digest(key.public, pae(b"seal", LINE), "sha256")).decode()
    line = canonical_bytes({"alg": "hmac-sha256", "kid": key.kid, "sig": forged})
    for lines in ([line], [line, *by(ACTIVE)]):
        assert check(read(*lines), BOTH).verdict == "tampered"
    as_secret = HmacKey(key.public)
    assert check(parse_seal(make_seal(LINE, [as_secret])), BOTH).verdict == "unknown-key"


def test_a_signature_under_the_name_of_another_key_is_tampered() -> None:
    sig = decode(by(ED)[0])["sig"]
    line = canonical_bytes({"alg": "ed25519", "kid": kid(OLD_ED), "sig": sig})
    signed = check(read(line, *by(ED)), BOTH)
    assert (signed.kid, signed.verdict) == (kid(OLD_ED), "tampered")


REVOKED = policy((ACTIVE, "active"), (RETIRED, "revoked"))


def test_a_signature_by_a_revoked_key_is_ignored_and_reported_good_or_bad() -> None:
    for line in (signature(RETIRED), signature(RETIRED, sig="A" * 43)):
        signed = check(read(line, SIGNATURE), REVOKED)
        assert (signed.kid, signed.verdict, signed.good) == (kid(ACTIVE), None, (kid(ACTIVE),))
        assert signed.notes == (f"signature by {kid(RETIRED)} ignored: its key is revoked",)


def test_a_seal_by_revoked_keys_alone_is_revoked_key_at_hand_or_not() -> None:
    for ring in (REVOKED, policy((ACTIVE, "active"), (RETIRED, "revoked"), held=[ACTIVE])):
        for lines in ([signature(RETIRED)], [signature(RETIRED), signature(STRANGER)]):
            signed = check(read(*lines), ring)
            assert (signed.kid, signed.verdict, signed.good) == (None, "revoked-key", ())


def test_signature_lines_are_kept_in_the_order_given_after_the_new_ones() -> None:
    kept = parse_seal(make_seal(LINE, [HmacKey(RETIRED), key_from(OLD_ED)])).signatures
    lines = make_seal(LINE, [key_from(ED), HmacKey(ACTIVE)], kept).splitlines()
    assert lines == [LINE, *by(ED), *by(ACTIVE), *by(RETIRED), *by(OLD_ED)]
