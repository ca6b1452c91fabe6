"""Keyring: derivation, who signs and who verifies, and that a secret is never seen."""

import copy
import pickle
import traceback
from typing import Any

import pytest

from golden.errors import KeyringError
from golden.keyring import Ed25519Key, Entry, HmacKey, Keyring, entry_of, hkdf, key_from, kid_of, new_secret, weakness
from tests.runs import ACTIVE, AOS_SECRET, RETIRED, STRANGER

KID_ACTIVE, KID_RETIRED = "a711c564e8977490", "815a6a45e48224ea"


def test_kids_are_those_the_published_keyrings_name() -> None:
    assert (HmacKey(ACTIVE).kid, HmacKey(RETIRED).kid) == (KID_ACTIVE, KID_RETIRED)


def test_each_purpose_run_and_file_has_a_key_of_its_own() -> None:
    key = HmacKey(ACTIVE)
    found = {
        key.seal_key(),
        key.event_key("r-1", "0" * 32),
        key.event_key("r-2", "0" * 32),
        key.event_key("r-1", "1" * 32),
        HmacKey(RETIRED).seal_key(),
        HmacKey(RETIRED).event_key("r-1", "0" * 32),
    }
    assert len(found) == 6
    assert {len(secret) for secret in found} == {32}


def test_hkdf_gives_more_than_one_block() -> None:
    assert hkdf(b"s", salt=b"", info=b"", length=100)[:32] == hkdf(b"s", salt=b"", info=b"", length=32)
    assert len(hkdf(b"s", salt=b"", info=b"", length=8160)) == 8160


@pytest.mark.parametrize(
    "secret, why",
    [
        (b"", "is empty"),
        (b"x", "has 1 bytes, 32 are needed"),
        (b"x" * 31, "has 31 bytes"),
        (AOS_SECRET, "is a published sample"),
        (b"changeme", "is a published sample"),
    ],
)
def test_a_weak_secret_signs_and_verifies_nothing(secret: bytes, why: str) -> None:
    assert why in (weakness(secret) or "")
    with pytest.raises(KeyringError, match=why):
        HmacKey(secret)
    for ring in (Keyring(secret), Keyring(ACTIVE, [secret])):
        with pytest.raises(KeyringError, match=why):
            ring.get(KID_ACTIVE)


def test_32_bytes_are_enough() -> None:
    assert weakness(b"x" * 32) is None


def test_a_weak_secret_is_refused_when_asked_for_not_before() -> None:
    ring = Keyring(b"short")
    assert ring.aos_secret == b"short"
    with pytest.raises(KeyringError):
        _ = ring.active


def test_active_signs_and_retired_only_verifies() -> None:
    ring = Keyring(ACTIVE, [RETIRED])
    assert ring.active.kid == KID_ACTIVE
    assert ring.state(KID_RETIRED) == "retired"
    assert ring.get(KID_RETIRED) is not None
    with pytest.raises(KeyringError, match="no key to sign with"):
        _ = Keyring(None, [RETIRED]).active


def test_a_secret_that_is_active_and_retired_is_active() -> None:
    ring = Keyring(ACTIVE, [ACTIVE])
    assert [entry.state for entry in ring] == ["active"]


def test_an_unknown_kid_is_not_at_hand() -> None:
    assert Keyring(ACTIVE, [RETIRED]).get(HmacKey(STRANGER).kid) is None


def test_an_empty_secret_is_no_aos_secret() -> None:
    assert Keyring(b"").aos_secret is None
    assert Keyring().aos_secret is None


@pytest.mark.parametrize("holder", [HmacKey(ACTIVE), Keyring(ACTIVE, [RETIRED])], ids=["key", "keyring"])
@pytest.mark.parametrize("warm", [False, True])
def test_no_secret_is_in_any_text_of_a_key(holder: Any, warm: bool) -> None:
    if warm and isinstance(holder, Keyring):
        _ = holder.active
    shown = repr(holder) + str(holder) + f"{holder}" + repr([holder]) + repr({"k": holder})
    for secret in (ACTIVE, RETIRED):
        assert secret.decode() not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("holder", [HmacKey(ACTIVE), Keyring(ACTIVE)], ids=["key", "keyring"])
def test_a_key_is_never_pickled(holder: Any, protocol: int) -> None:
    with pytest.raises(KeyringError, match="cannot be pickled"):
        pickle.dumps(holder, protocol)
    with pytest.raises(KeyringError):
        copy.deepcopy(holder)


def test_no_secret_is_in_a_refusal() -> None:
    weak = b"weak-but-not-for-your-eyes"
    with pytest.raises(KeyringError) as refusal:
        HmacKey(weak)
    shown = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value.args) + refusal.value.hint
    assert weak.decode() not in shown


NOW = "2026-01-01T00:00:00.000000Z"
HMAC_A, HMAC_B = (Entry(HmacKey(secret).kid, "hmac-sha256", "active") for secret in (ACTIVE, RETIRED))
PEM = new_secret("ed25519")
PAIR = key_from(PEM)
SECRETS = {KID_ACTIVE: ACTIVE, KID_RETIRED: RETIRED, PAIR.kid: PEM}


def in_state(entry: Entry, state: Any) -> Entry:
    return Entry(entry.kid, entry.alg, state, entry.created, entry.public)


def public_half(state: Any = "active") -> Entry:
    return entry_of(PAIR, state, NOW)


def test_a_fresh_secret_is_strong_and_makes_a_key_of_its_algorithm() -> None:
    for alg in ("hmac-sha256", "ed25519"):
        secret, other = new_secret(alg), new_secret(alg)
        assert secret != other
        assert secret.endswith(b"\n")
        assert key_from(secret.removesuffix(b"\n")).alg == alg
        assert weakness(secret) is None


def test_a_key_has_one_kid_with_and_without_the_last_newline() -> None:
    assert kid_of(PEM) == kid_of(PEM.removesuffix(b"\n")) == PAIR.kid


def test_a_secret_of_any_strength_has_a_kid() -> None:
    assert kid_of(ACTIVE) == KID_ACTIVE
    assert len(kid_of(b"x")) == 16


@pytest.mark.parametrize(
    "pem", [PEM[:40], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"], ids=["cut", "nonsense"]
)
def test_a_pem_that_is_no_ed25519_key_is_refused_without_showing_it(pem: bytes) -> None:
    with pytest.raises(KeyringError, match="no Ed25519 private key") as refusal:
        key_from(pem)
    assert pem.decode() not in "".join(traceback.format_exception(refusal.value))


def test_a_public_key_verifies_and_cannot_sign() -> None:
    alone = Keyring.of([public_half()], lambda _: None)
    key = alone.get(PAIR.kid)
    assert isinstance(key, Ed25519Key)
    assert key.verifies_seal(b"statement", PAIR.sign_seal(b"statement"))
    assert not key.verifies_seal(b"statemenT", PAIR.sign_seal(b"statement"))
    assert not key.can_sign
    with pytest.raises(KeyringError, match="private half"):
        key.sign_seal(b"statement")


def test_a_secret_is_looked_for_when_its_key_is_asked_for_and_once() -> None:
    asked: list[str] = []

    def find(kid: str) -> bytes | None:
        asked.append(kid)
        return SECRETS[kid]

    ring = Keyring.of([HMAC_A, in_state(HMAC_B, "retired"), public_half()], find)
    assert [entry.kid for entry in ring] == [KID_ACTIVE, KID_RETIRED, PAIR.kid]
    assert ring.strongest == "ed25519"
    assert asked == []
    for _ in range(3):
        assert ring.active.kid == KID_ACTIVE
        assert [key.kid for key in ring.signers] == [PAIR.kid, KID_ACTIVE]
    assert sorted(asked) == sorted([KID_ACTIVE, PAIR.kid])


def test_an_active_key_that_is_not_at_hand_is_named() -> None:
    with pytest.raises(KeyringError, match=f"active key {KID_ACTIVE} is not at hand"):
        _ = Keyring.of([HMAC_A], lambda _: None).active


def test_a_revoked_key_is_known_and_not_usable() -> None:
    ring = Keyring.of([HMAC_A, in_state(HMAC_B, "revoked")], SECRETS.get)
    assert ring.state(KID_RETIRED) == "revoked"
    assert ring.usable(KID_RETIRED) is None
    assert ring.usable(KID_ACTIVE) is not None


def test_what_was_revoked_elsewhere_is_revoked_and_nothing_takes_it_back() -> None:
    ring = Keyring.of([HMAC_A, in_state(HMAC_B, "retired")], SECRETS.get).with_revoked([KID_RETIRED, "0" * 16])
    assert ring.state(KID_RETIRED) == "revoked"
    assert ring.with_revoked([]).state(KID_RETIRED) == "revoked"
    assert ring.state("0" * 16) is None


@pytest.mark.parametrize(
    "entries, why",
    [
        ([HMAC_A, HMAC_B], "are both active for hmac-sha256"),
        ([HMAC_A, in_state(HMAC_A, "retired")], "stands twice"),
        ([Entry(KID_ACTIVE, "ed25519", "active")], "must have `public`"),
        ([Entry(KID_ACTIVE, "hmac-sha256", "active", NOW, public_half().public)], "must have `public`"),
        ([Entry(KID_ACTIVE, "ed25519", "active", NOW, public_half().public)], "is another key's"),
    ],
    ids=["two actives", "twice", "ed25519 without public", "hmac with public", "public of another"],
)
def test_a_policy_that_contradicts_itself_is_refused(entries: list[Entry], why: str) -> None:
    with pytest.raises(KeyringError, match=why):
        Keyring.of(entries, SECRETS.get)


def test_one_active_key_of_each_algorithm_is_no_contradiction() -> None:
    assert len(list(Keyring.of([HMAC_A, public_half()], SECRETS.get))) == 2
