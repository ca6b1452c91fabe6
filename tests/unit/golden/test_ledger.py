"""Ledger: one exact form per line, a chain of lines, and what they add up to."""

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from golden.canonical import canonical_bytes, pae
from golden.errors import TamperedError, UsageError
from golden.event import Extent
from golden.keyring import Ed25519Key, HmacKey, Key, Keyring, b64, entry_of, key_from
from golden.ledger import (
    FORMS,
    NOTABLE,
    Accept,
    Anchor,
    Archive,
    Create,
    Delete,
    Fold,
    KeyState,
    Line,
    Open,
    Operation,
    Quarantine,
    Recover,
    Remnant,
    Restore,
    Rotate,
    Sealed,
    Span,
    Stretch,
    draft,
    parse_line,
    revocations,
    signed_line,
)
from golden.seal import statement_line
from tests import primitives
from tests.runs import ACTIVE, DIR_ID, FILE_ID, NOW, RETIRED, STRANGER, Scribe, pem, policy, statement_of

A, B, C = HmacKey(ACTIVE), HmacKey(RETIRED), HmacKey(STRANGER)
E = key_from(pem("ledger"))
RING = policy((ACTIVE, "active"), (RETIRED, "retired"), (pem("ledger"), "retired"))
ONE = statement_of("r-1", b"one", 1, bytes(32))
TWO = statement_of("r-1", b"two", 1, bytes(32))
RUN = {"run_id": "r-1", "file_id": FILE_ID}
HASH = "0" * 64

# Every operation with every member that it may have.
WHOLE: dict[str, dict[str, Any]] = {
    "create": {"dir_id": DIR_ID},
    "open": RUN,
    "seal": {**RUN, "seal": ONE},
    "accept": {**RUN, "seal": ONE, "reason": "why"},
    "archive": {**RUN, "archive": "a.tar"},
    "restore": {**RUN, "archive": "a.tar"},
    "delete": {**RUN, "reason": "why"},
    "quarantine": {**RUN, "reason": "why"},
    "key": {"alg": "ed25519", "key": A.kid, "state": "revoked", "believed": 3, "reason": None},
    "rotate": {"keys": [A.kid], "note": "n", "outcomes": {"resealed": 3}, "reason": "scheduled"},
    "recover": {
        "reason": "why",
        "dropped": Extent(bytes=3, sha256=HASH),
        "lines": [Span(1, 2)],
        "lost": Remnant(DIR_ID, HASH, 9),
    },
}


def line_of(op: str, key: Key = A, **changes: Any) -> bytes:
    """Return a line of an operation, the fourth of its ledger."""
    place = Line(actor="a@h", kid=key.kid, prev=HASH, seq=3, timestamp=NOW)
    return signed_line(draft(FORMS[op], **{**WHOLE[op], **changes})(place), key, DIR_ID)


# The form of a line


@pytest.mark.parametrize("key", [A, E], ids=["hmac", "ed25519"])
@pytest.mark.parametrize("op", FORMS)
def test_a_line_is_read_as_it_was_written(op: str, key: Key) -> None:
    line = line_of(op, key)
    operation, body, mac = parse_line(line[:-1])
    assert type(operation) is FORMS[op]
    assert msgspec.to_builtins(operation) == msgspec.to_builtins(operation) | msgspec.to_builtins(WHOLE[op])
    assert b'%b,"mac":"%b"}\n' % (body, mac.encode()) == line
    assert len(mac) == (86 if key is E else 43)
    assert key.verifies_ledger(DIR_ID, body, mac)


def test_a_line_is_flat_its_members_sorted_its_signature_last() -> None:
    place = f'"kid":"{A.kid}","op":"open","prev":"{HASH}","run_id":"r-1","seq":3,"timestamp":"{NOW}"'
    body = f'{{"actor":"a@h","file_id":"{FILE_ID}",{place}'.encode()
    key = primitives.hkdf(ACTIVE, b"golden/v1", pae(b"ledger", A.kid.encode(), DIR_ID.encode()), 32)
    mac = b64(hmac.digest(key, pae(b"ledger", DIR_ID.encode(), body), "sha256"))
    assert line_of("open") == b'%b,"mac":"%b"}\n' % (body, mac)


def test_a_signature_is_for_one_directory_one_key_and_this_purpose_alone() -> None:
    _, body, mac = parse_line(line_of("open")[:-1])
    assert not A.verifies_ledger("0" * 32, body, mac)
    assert not B.verifies_ledger(DIR_ID, body, mac)
    assert not A.verifies_seal(body, mac)
    assert A.ledger_key(DIR_ID) not in {A.seal_key(), A.event_key("r-1", DIR_ID)}


def spoilt() -> dict[str, bytes]:
    """Return lines none of which is one, by what is wrong with them."""
    good = line_of("open")[:-1]
    body, mac = good[: -len(b',"mac":"') - 45], good[-45:-2]

    def ending(tail: bytes) -> bytes:
        return b"%b%b" % (body, tail)

    found = {
        "nothing": b"",
        "no signature": body + b"}",
        "a signature one too short": ending(b',"mac":"%b"}' % mac[1:]),
        "a signature one too long": ending(b',"mac":"%bA"}' % mac),
        "a space before the signature": ending(b', "mac":"%b"}' % mac),
        "a space behind it": good + b" ",
        "CR": good + b"\r",
        "a BOM": b"\xef\xbb\xbf" + good,
        "a space": good.replace(b":", b": ", 1),
        "members out of order": good.replace(b'"actor":"a@h",', b"").replace(b',"mac"', b',"actor":"a@h","mac"'),
        "a member twice": good.replace(b"{", b'{"actor":"a@h",', 1),
        "another operation": good.replace(b'"open"', b'"opened"'),
        "no operation": good.replace(b'"op":"open",', b""),
        "an operation of another form": good.replace(b'"open"', b'"create"'),
        "an operation within a text": good.replace(b'"op":"open",', b"").replace(b"a@h", b'\\"op\\":\\"open'),
        "not UTF-8": good.replace(b"a@h", b"\xff"),
        "an escape that need not be": good.replace(b"a@h", b"\\u0061@h"),
        "deep nesting": good.replace(b'"a@h"', b"[" * 5000),
        "a float": good.replace(b'"seq":3', b'"seq":3.0'),
        "a mac within": good.replace(b'"op"', b'"mac":"%b","op"' % mac),
        "a list": b"[]",
    }
    for op in FORMS:
        members = msgspec.json.decode(line_of(op)[:-1].rpartition(b',"mac":"')[0] + b"}")
        for name in members:
            if (op, name) not in {("key", "believed"), *(("recover", n) for n in ("dropped", "lines", "lost"))}:
                less = {n: v for n, v in members.items() if n != name}
                found[f"{op} without {name}"] = canonical_bytes(less)[:-1] + b',"mac":"%b"}' % mac
        more = canonical_bytes({**members, "more": 1})
        found[f"{op} with more"] = more[:-1] + b',"mac":"%b"}' % mac
    for op, changes in WRONG:
        members = msgspec.json.decode(line_of(op)[:-1].rpartition(b',"mac":"')[0] + b"}")
        found[f"{op} {changes}"] = canonical_bytes({**members, **changes})[:-1] + b',"mac":"%b"}' % mac
    return found


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("create", {"dir_id": "0" * 31}),
    ("create", {"dir_id": DIR_ID.upper()}),
    ("open", {"run_id": "../x"}),
    ("open", {"file_id": None}),
    ("open", {"seq": -1}),
    ("open", {"prev": "0" * 63}),
    ("open", {"kid": "x" * 16}),
    ("open", {"timestamp": "2026-01-01"}),
    ("open", {"actor": 1}),
    ("seal", {"seal": None}),
    ("seal", {"seal": {}}),
    ("archive", {"archive": None}),
    ("delete", {"reason": None}),
    ("key", {"state": "gone"}),
    ("key", {"alg": "rsa"}),
    ("key", {"believed": -1}),
    ("key", {"believed": None}),
    ("rotate", {"outcomes": {"resealed": -1}}),
    ("rotate", {"reason": "because"}),
    ("recover", {"lines": []}),
    ("recover", {"lines": [{"first": 1}]}),
    ("recover", {"dropped": {"bytes": -1, "sha256": HASH}}),
    ("recover", {"lost": None}),
]


@pytest.mark.parametrize("line", [pytest.param(line, id=name) for name, line in spoilt().items()])
def test_what_is_not_exactly_a_line_is_none(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_line(line)


def test_what_need_not_be_there_may_be_absent() -> None:
    unset = msgspec.UNSET
    for op, changes in (
        ("key", {"believed": unset}),
        ("recover", {"dropped": unset, "lines": unset, "lost": unset}),
        ("delete", {"file_id": None}),
        ("quarantine", {"file_id": None}),
        ("rotate", {"note": None}),
    ):
        operation, _, _ = parse_line(line_of(op, **changes)[:-1])
        assert all(getattr(operation, name) == value for name, value in changes.items())


def test_an_acceptance_within_a_statement_is_carried_whole() -> None:
    said = msgspec.structs.replace(ONE, gen=1)
    operation, _, _ = parse_line(line_of("accept", seal=said)[:-1])
    assert isinstance(operation, Accept)
    assert statement_line(operation.seal) == statement_line(said)


# Anchors


def test_an_anchor_is_found_wherever_it_stands() -> None:
    anchor = Anchor(DIR_ID, 12, HASH)
    assert str(anchor) == f"golden-anchor/v1 {DIR_ID} 12 {HASH}"
    assert Anchor.parse(f"  {anchor}\n") == anchor
    assert Anchor.parse(f"at 3 a.m. it was {anchor}, said the log\n{anchor}") == anchor
    other = Anchor(DIR_ID, 13, "1" * 64)
    assert Anchor.find(f"{anchor}\n{other}\n{anchor}") == [anchor, other]


@pytest.mark.parametrize(
    "text",
    [
        *("", "golden-anchor/v1", f"golden-anchor/v2 {DIR_ID} 1 {HASH}", f"golden-anchor/v1 {DIR_ID} 0 {HASH}"),
        *(f"golden-anchor/v1 {DIR_ID} 01 {HASH}", f"golden-anchor/v1 {DIR_ID} -1 {HASH}"),
        *(f"golden-anchor/v1 {DIR_ID} 1 {HASH}0", f"golden-anchor/v1 {DIR_ID} 1 {HASH[1:]}"),
        *(f"golden-anchor/v1 {DIR_ID[1:]} 1 {HASH}", f"golden-anchor/v1  {DIR_ID} 1 {HASH}"),
        f"golden-anchor/v1 {DIR_ID} 1{'0' * 18} {HASH}",
        f"golden-anchor/v1 {DIR_ID} 1 {HASH}\ngolden-anchor/v1 {DIR_ID} 2 {HASH}",
    ],
)
def test_what_is_not_one_anchor_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(UsageError, match="expected one") as refusal:
        Anchor.parse(text)
    assert "golden-anchor/v1 <directory id> <lines> <hash>" in refusal.value.hint


# The chain of lines


def folded(scribe: Scribe, ring: Keyring = RING, **options: Any) -> Fold:
    fold = Fold(ring, **options)
    for line in scribe.lines:
        fold.feed(line[:-1])
    fold.settle()
    return fold


def test_lines_that_follow_one_another_are_counted_and_hashed() -> None:
    scribe = Scribe(A).opened(A, "r-1").sealed(B, ONE)
    fold = folded(scribe, watch=[2, 9])
    assert (fold.anchor, fold.dir_id, fold.offset) == (scribe.anchor, DIR_ID, len(scribe.data))
    assert fold.stretches == [Stretch(A.kid, 1, good=True), Stretch(B.kid, 2, good=True)]
    assert list(fold.moments) == [2]
    before = fold.moments[2]
    assert before.anchor == Anchor(DIR_ID, 2, hashlib.sha256(scribe.lines[1][:-1]).hexdigest())
    assert (before.kid, before.runs, before.timestamp) == (A.kid, 1, NOW)


def test_a_line_out_of_its_place_is_tampering_at_that_line() -> None:
    scribe = Scribe(A).opened(A, "r-1").opened(A, "r-2").opened(A, "r-3")
    lines = scribe.lines
    elsewhere = Scribe(A, "0" * 32).opened(A, "r-1").lines
    for at, story in (
        (0, lines[1:]),
        (0, []),
        (1, [lines[0], lines[0]]),
        (1, [lines[0], lines[2]]),
        (2, [lines[0], lines[1], lines[1]]),
        (2, [lines[0], lines[1], lines[3]]),
        (1, [lines[0], elsewhere[1]]),
        (1, [lines[0], elsewhere[0]]),
    ):
        fold = Fold(RING)
        refused = None
        for line in story:
            try:
                fold.feed(line[:-1])
            except TamperedError as error:
                refused = error
                break
        assert (refused is None) is (not story)
        assert fold.lines == at
        assert refused is None or f"line {at + 1} of the ledger" in refused.problem
        assert fold.offset == sum(map(len, story[:at]))


def test_what_a_line_was_changed_to_shows_at_the_next() -> None:
    scribe = Scribe(A).opened(A, "r-1").opened(A, "r-2")
    fold = Fold(RING)
    fold.feed(scribe.lines[0][:-1])
    fold.feed(scribe.lines[1][:-1].replace(b"a@h", b"b@h"))
    with pytest.raises(TamperedError, match="line 3 of the ledger does not follow the one before it"):
        fold.feed(scribe.lines[2][:-1])


def test_only_the_end_of_a_stretch_is_asked_for_its_signature() -> None:
    scribe = Scribe(A).add(A, Open, signer=C, **RUN)
    assert folded(scribe).stretches == [Stretch(A.kid, 1, good=False)]
    assert folded(scribe.opened(A, "r-2")).stretches == [Stretch(A.kid, 2, good=True)]


def test_a_signature_by_a_key_not_at_hand_or_revoked_is_not_checked() -> None:
    scribe = Scribe(C).opened(B, "r-1").opened(A, "r-2")
    ring = policy((ACTIVE, "active"), (RETIRED, "revoked"))
    assert folded(scribe, ring).stretches == [Stretch(C.kid, 0), Stretch(B.kid, 1), Stretch(A.kid, 2, good=True)]


def test_a_signature_of_another_algorithm_is_none() -> None:
    assert isinstance(E, Ed25519Key)
    weaker = Scribe(A).add(E, Open, signer=A, **RUN)
    stronger = Scribe(A).add(A, Open, signer=E, **RUN)
    assert folded(weaker).stretches[-1].good is False
    assert folded(stronger).stretches[-1].good is False
    assert folded(Scribe(A).opened(E, "r-1")).stretches[-1].good is True


def test_lines_without_effect_add_nothing_and_break_no_stretch() -> None:
    scribe = Scribe(A).opened(C, "r-1").opened(A, "r-2")
    fold = folded(scribe, effect=lambda _, kid: kid != C.kid)
    assert list(fold.runs) == ["r-2"]
    assert fold.stretches == [Stretch(A.kid, 2, good=True)]
    assert fold.anchor == scribe.anchor


# What lines add up to


def of_run(*ops: str) -> Scribe:
    """Return a ledger in which these things happen to one run, sealed with another statement each time."""
    scribe, statements = Scribe(A), iter([ONE, TWO])
    for op in ops:
        more = {"seal": next(statements)} if op in {"seal", "accept"} else {}
        scribe.add(A, FORMS[op], **{**WHOLE[op], **more})
    return scribe


def digest(statement: Any) -> bytes:
    return hashlib.sha256(statement_line(statement)).digest()


STORIES: dict[str, tuple[tuple[str, ...], bool, Any, list[Any]]] = {
    "begun": (("open",), True, None, []),
    "sealed": (("open", "seal"), True, ONE, []),
    "imported or listed": (("seal",), True, ONE, []),
    "sealed again": (("open", "seal", "seal"), True, TWO, [ONE]),
    "accepted": (("open", "seal", "accept"), True, TWO, [ONE]),
    "begun again": (("open", "seal", "open"), True, None, [ONE]),
    "begun again and sealed": (("open", "seal", "open", "seal"), True, TWO, [ONE]),
    "deleted": (("open", "seal", "delete"), False, ONE, []),
    "archived": (("open", "seal", "archive"), False, ONE, []),
    "quarantined": (("open", "seal", "quarantine"), False, ONE, []),
    "quarantined unheard of": (("quarantine",), False, None, []),
    "restored": (("open", "seal", "archive", "restore"), True, ONE, []),
    "accepted after all": (("open", "seal", "quarantine", "accept"), True, TWO, [ONE]),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_is_said_last_of_a_run_is_believed(name: str) -> None:
    ops, present, statement, earlier = STORIES[name]
    scribe = of_run(*ops)
    run = folded(scribe).runs["r-1"]
    assert (run.op, run.seq, run.present, run.file_id) == (ops[-1], len(ops), present, FILE_ID)
    assert run.digest == (digest(statement) if statement else b"")
    assert list(run.earlier) == [digest(one) for one in earlier]
    if statement:
        operation, _, _ = parse_line(scribe.data[run.place :].partition(b"\n")[0])
        assert isinstance(operation, Sealed | Accept)
        assert operation.seal == statement
    else:
        assert run.place == -1
    # An acceptance rests on nobody's signature, so it does not matter when it was.
    said_at = max((n for n, op in enumerate(ops, 1) if op in {"seal", "accept", "open"}), default=0)
    assert run.sealed == (said_at if said_at and ops[said_at - 1] == "seal" else -1)


def test_what_takes_away_or_adds_belief_is_notable_and_the_last_rotation_known() -> None:
    scribe = Scribe(A)
    for op in list(FORMS)[1:]:
        scribe.add(A, FORMS[op], **WHOLE[op])
    fold = folded(scribe)
    assert [type(line) for line in fold.notable] == [
        form for form in FORMS.values() if form in {Accept, Restore, Delete, Quarantine, KeyState, Recover}
    ]
    assert set(NOTABLE) == {Accept, Restore, Delete, Quarantine, KeyState, Recover}
    assert isinstance(fold.rotated, Rotate)
    assert {Create, Open, Sealed, Archive} & set(NOTABLE) == set()


# Which lines of a revoked key count


def heard(
    scribe: Scribe, ring: Keyring, revoked: tuple[Key, ...] = (), leaked: dict[Key, int] | None = None
) -> tuple[dict[str, int], dict[str, int]]:
    """Return (believed, written) with letters for the keys."""
    lines: list[Operation] = [parse_line(line[:-1])[0] for line in scribe.lines]
    names = {A.kid: "A", B.kid: "B", C.kid: "C", E.kid: "E"}
    asked = {key.kid: n for key, n in (leaked or {}).items()}
    believed, written = revocations(lines, ring, [key.kid for key in revoked], asked, len(lines))
    return (
        {names[kid]: n for kid, n in believed.items()},
        {names[kid]: n for kid, n in written.items()},
    )


TWO_KEYS = policy((ACTIVE, "active"), (RETIRED, "retired"))
B_REVOKED = policy((ACTIVE, "active"), (RETIRED, "revoked"))


def test_nothing_revoked_nothing_limited() -> None:
    assert heard(Scribe(A).opened(B, "r-1"), TWO_KEYS) == ({}, {})


def test_a_line_by_the_active_key_takes_another_out() -> None:
    assert heard(Scribe(B).opened(B, "r-1").revoked(A, B, 2), TWO_KEYS) == ({"B": 2}, {"B": 2})


def test_a_key_that_only_the_keyring_revokes_has_said_nothing_that_counts() -> None:
    assert heard(Scribe(B).opened(B, "r-1"), B_REVOKED) == ({"B": 0}, {})


def test_what_the_ledger_says_of_a_revoked_key_tells_how_far_it_counts() -> None:
    assert heard(Scribe(B).opened(B, "r-1").revoked(A, B, 2), B_REVOKED) == ({"B": 2}, {"B": 2})


def test_what_this_host_remembers_revoked_stays_so() -> None:
    assert heard(Scribe(B), TWO_KEYS, revoked=(B,)) == ({"B": 0}, {})


def test_a_key_said_to_have_leaked_counts_up_to_the_anchor_and_no_line_raises_that() -> None:
    assert heard(Scribe(B).opened(B, "r-1").revoked(A, B, 2), TWO_KEYS, leaked={B: 1}) == ({"B": 1}, {"B": 2})


def test_of_two_revocations_the_stricter_counts() -> None:
    for first, second in ((1, 3), (3, 1)):
        scribe = Scribe(B).opened(B, "r-1").opened(B, "r-2").revoked(A, B, first).revoked(A, B, second)
        assert heard(scribe, TWO_KEYS)[0] == {"B": 1}


def test_nobody_revokes_oneself_and_no_revocation_comes_without_its_limit() -> None:
    scribe = Scribe(A).revoked(A, A, 0).revoked(A, B).revoked(A, B, 0, state="retired")
    assert heard(scribe, TWO_KEYS) == ({}, {})


def test_of_two_keys_that_revoke_each_other_the_active_one_is_heard_first_whoever_spoke_first() -> None:
    thief_first = Scribe(B).revoked(B, A, 0).revoked(A, B, 1)
    owner_first = Scribe(B).revoked(A, B, 1).revoked(B, A, 0)
    for scribe in (thief_first, owner_first):
        assert heard(scribe, TWO_KEYS) == ({"B": 1}, {"B": 1})


def test_a_revocation_by_a_weaker_key_counts_as_long_as_nobody_revoked_that_one() -> None:
    assert heard(Scribe(A).revoked(B, A, 1), TWO_KEYS) == ({"A": 1}, {"A": 1})


def test_a_stranger_is_heard_last() -> None:
    scribe = Scribe(A).revoked(C, A, 0).revoked(C, B, 0).revoked(B, C, 1)
    assert heard(scribe, TWO_KEYS) == ({"C": 1}, {"C": 1})


def test_a_line_that_nobody_vouches_for_takes_no_key_out() -> None:
    lines = [parse_line(line[:-1])[0] for line in Scribe(A).revoked(A, B, 1).revoked(A, C, 1).lines]
    assert revocations(lines, TWO_KEYS, [], {}, 2)[0] == {B.kid: 1}
    assert revocations(lines, TWO_KEYS, [], {}, 1)[0] == {}


def test_a_weaker_key_takes_no_active_one_out() -> None:
    both = Keyring.of([entry_of(A, "active"), entry_of(E, "active")], lambda _: None)
    only = Keyring.of([entry_of(A, "active"), entry_of(E, "retired")], lambda _: None)
    assert heard(Scribe(E).revoked(A, E, 1), both) == ({}, {})
    assert heard(Scribe(E).revoked(A, E, 1), only) == ({"E": 1}, {"E": 1})
    assert heard(Scribe(A).revoked(E, A, 1), both) == ({"A": 1}, {"A": 1})


def test_the_first_line_that_a_key_signed_or_was_signed_with_is_known() -> None:
    scribe = Scribe(A).opened(A, "r-1").opened(B, "r-2").opened(A, "r-3")
    assert folded(scribe).since == {A.kid: 0, B.kid: 2}
    assert folded(scribe).runs["r-2"].kid == B.kid
