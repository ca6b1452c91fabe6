"""Keyring: which keys there are, what each may do, and the keys derived from each secret.

Holds secrets and never shows them; where secrets lie is the business of `sources`.
Derivation is HKDF-SHA256 (RFC 5869), public keys are Ed25519 (RFC 8032); normative text: docs/format.md, "Keys".
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn

import msgspec
from msgspec import UNSET, Meta, UnsetType

from golden.canonical import pae
from golden.errors import KeyringError
from golden.event import Kid, Time

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HMAC_SHA256: Final = "hmac-sha256"
ED25519: Final = "ed25519"
Algorithm = Literal["hmac-sha256", "ed25519"]
# The strongest first: with an active Ed25519 key, a seal that only an HMAC key signed is not accepted.
ALGORITHMS: tuple[Algorithm, ...] = (ED25519, HMAC_SHA256)
State = Literal["active", "retired", "revoked"]
SEVERITY: dict[State, int] = {"active": 0, "retired": 1, "revoked": 2}
MIN_SECRET = 32
_PEM = b"-----BEGIN PRIVATE KEY-----"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_SAMPLES = frozenset(
    {
        b"aos-legacy-example-secret-0123456789abcdef",
        b"test-secret",
        b"changeme",
        b"your-secret-here",
    }
)


def b64(data: bytes) -> bytes:
    """Return base64url of `data` without padding (RFC 4648, section 5)."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=")


def unb64(text: bytes) -> bytes | None:
    """Return the bytes of unpadded base64url, or None where it is not the one way to write them."""
    try:
        data = a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4))
    except Base64Error:
        return None
    return data if b64(data) == text else None


def hkdf(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes (at most 8160) derived from `secret` by HKDF-SHA256 (RFC 5869)."""
    key = hmac.digest(salt, secret, "sha256")
    block, out = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        out += block
    return out[:length]


def weakness(secret: bytes) -> str | None:
    """Say why `secret` must not sign golden/v1 files, or None if it may."""
    if not secret:
        return "is empty"
    if secret in _SAMPLES:
        return "is a published sample"
    if len(secret) < MIN_SECRET:
        return f"has {len(secret)} bytes, {MIN_SECRET} are needed"
    return None


class HmacKey:
    """A key made from a shared secret: whoever can verify with it can sign with it."""

    __slots__ = ("_ledger_keys", "_seal_key", "_secret", "kid")
    alg: Algorithm = "hmac-sha256"
    can_sign = True

    def __init__(self, secret: bytes) -> None:
        problem = weakness(secret)
        if problem:
            raise KeyringError(
                f"the secret {problem}", hint="make one with `openssl rand -hex 32` and keep it in a file"
            )
        self._secret = secret
        self.kid = self._derive(pae(b"kid", HMAC_SHA256.encode()), 8).hex()
        self._seal_key: bytes | None = None
        self._ledger_keys: dict[str, bytes] = {}

    def event_key(self, run_id: str, file_id: str) -> bytes:
        """Return the 32-byte key that signs the lines of one file."""
        return self._derive(pae(b"event", self.kid.encode(), run_id.encode(), file_id.encode()), 32)

    def seal_key(self) -> bytes:
        """Return the 32-byte key that signs seals."""
        if self._seal_key is None:
            self._seal_key = self._derive(pae(b"seal", self.kid.encode()), 32)
        return self._seal_key

    def ledger_key(self, dir_id: str) -> bytes:
        """Return the 32-byte key that signs the ledger of one directory."""
        if dir_id not in self._ledger_keys:
            self._ledger_keys[dir_id] = self._derive(pae(b"ledger", self.kid.encode(), dir_id.encode()), 32)
        return self._ledger_keys[dir_id]

    def sign_seal(self, statement: bytes) -> str:
        """Return the signature (base64url) of a seal's statement line, without its LF."""
        return b64(hmac.digest(self.seal_key(), pae(b"seal", statement), "sha256")).decode()

    def sign_ledger(self, dir_id: str, body: bytes) -> str:
        """Return the signature (base64url) of a ledger line's bytes before its `mac`."""
        return b64(hmac.digest(self.ledger_key(dir_id), pae(b"ledger", dir_id.encode(), body), "sha256")).decode()

    def verifies_seal(self, statement: bytes, signature: str) -> bool:
        """Whether `signature` is this key's over a seal's statement line; takes the same time either way."""
        return hmac.compare_digest(self.sign_seal(statement).encode(), signature.encode())

    def verifies_ledger(self, dir_id: str, body: bytes, signature: str) -> bool:
        """Whether `signature` is this key's over a ledger line; takes the same time either way."""
        return hmac.compare_digest(self.sign_ledger(dir_id, body).encode(), signature.encode())

    def _derive(self, info: bytes, length: int) -> bytes:
        return hkdf(self._secret, salt=b"golden/v1", info=info, length=length)

    def __repr__(self) -> str:
        return f"HmacKey(kid={self.kid!r})"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable()


class Ed25519Key:
    """A key pair, or its public half alone, which verifies and cannot sign.

    Args:
        public: 32 bytes.
        private: gives the private key's PKCS#8 PEM when a signature is wanted, or None where it is not at hand.
    """

    __slots__ = ("_private", "_signer", "kid", "public")
    alg: Algorithm = "ed25519"

    def __init__(self, public: bytes, private: Callable[[], bytes | None] = lambda: None) -> None:
        self.public = public
        self.kid = hashlib.sha256(pae(b"kid", ED25519.encode(), public)).digest()[:8].hex()
        self._private = private
        self._signer: Ed25519PrivateKey | None = None

    @property
    def can_sign(self) -> bool:
        """Whether the private half is at hand; asks its source the first time."""
        if self._signer is None:
            pem = self._private()
            self._signer = None if pem is None else _load_private(pem)
        return self._signer is not None

    def sign_seal(self, statement: bytes) -> str:
        """Return the signature (base64url) of a seal's statement line, without its LF; raises KeyringError."""
        return self._sign(pae(b"seal", statement))

    def sign_ledger(self, dir_id: str, body: bytes) -> str:
        """Return the signature (base64url) of a ledger line's bytes before its `mac`; raises KeyringError."""
        return self._sign(pae(b"ledger", dir_id.encode(), body))

    def verifies_seal(self, statement: bytes, signature: str) -> bool:
        """Whether `signature` is this key's over a seal's statement line."""
        return self._verifies(pae(b"seal", statement), signature)

    def verifies_ledger(self, dir_id: str, body: bytes, signature: str) -> bool:
        """Whether `signature` is this key's over a ledger line."""
        return self._verifies(pae(b"ledger", dir_id.encode(), body), signature)

    def _sign(self, message: bytes) -> str:
        if not self.can_sign or self._signer is None:
            raise KeyringError(f"the private half of key {self.kid} is not at hand", hint="see `golden keys show`")
        return b64(self._signer.sign(message)).decode()

    def _verifies(self, message: bytes, signature: str) -> bool:
        # Slow to import, and needed only where such a key is in use.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(unb64(signature.encode()) or b"", message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __repr__(self) -> str:
        return f"Ed25519Key(kid={self.kid!r})"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable()


Key = HmacKey | Ed25519Key


def key_from(secret: bytes) -> Key:
    """Return the key that a secret makes: Ed25519 of a PKCS#8 PEM, else HMAC; raises KeyringError."""
    if not secret.startswith(_PEM):
        return HmacKey(secret)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = _load_private(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Ed25519Key(public, lambda: secret)


def kid_of(secret: bytes) -> str:
    """Return the kid of a secret of any strength; raises KeyringError for a PEM that is no Ed25519 key."""
    if secret.startswith(_PEM):
        return key_from(secret).kid
    return hkdf(secret, salt=b"golden/v1", info=pae(b"kid", HMAC_SHA256.encode()), length=8).hex()


def new_secret(alg: Algorithm) -> bytes:
    """Return a fresh secret as it is kept in a file: 64 hex digits, or the PKCS#8 PEM of an Ed25519 key."""
    if alg == HMAC_SHA256:
        import secrets

        return secrets.token_hex(32).encode() + b"\n"
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_private(pem: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyringError(
            "the PEM is no Ed25519 private key in PKCS#8",
            hint="make one with `openssl genpkey -algorithm ed25519` or `golden keys add --generate --alg ed25519`",
        )
    return private


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a keyring says of one key; `public` (32 bytes in base64url) is there for Ed25519, and only there."""

    kid: Kid
    alg: Algorithm
    state: State
    created: Time | UnsetType = UNSET
    public: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{43}\Z")] | UnsetType = UNSET


class Keyring:
    """The keys that are in use, found by kid, and the state of each; at most one per algorithm is active.

    `Keyring(secret, previous)` makes one of secrets alone: the first is active, the others retired. `Keyring.of` makes
    one of a policy and of something that finds secrets. A secret is looked for when its key is first asked for, and a
    weak one is refused then, because files of the AOS system are verified with secrets of any length.
    """

    def __init__(self, secret: bytes | None = None, previous: Sequence[bytes] = ()) -> None:
        self.aos_secret = secret or None
        self._secrets: list[tuple[bytes, State]] = [(old, "retired") for old in previous]
        # Later ones win: a secret that is both active and retired is active.
        self._secrets += [] if secret is None else [(secret, "active")]
        self._entries: dict[str, Entry] | None = None
        self._find: Callable[[str], bytes | None] = self._given
        self._keys: dict[str, Key | None] = {}
        self._strongest: list[Algorithm] | None = None

    @classmethod
    def of(
        cls, entries: Iterable[Entry], find: Callable[[str], bytes | None], *, aos_secret: bytes | None = None
    ) -> Keyring:
        """Return the keyring of a policy; `find(kid)` gives a secret, or None where it is not at hand.

        Raises:
            KeyringError: two entries of one kid, two active keys of one algorithm, a public key that is not its kid's.
        """
        keyring = cls()
        keyring._entries = _checked(entries)
        keyring._find = find
        keyring.aos_secret = aos_secret
        return keyring

    @property
    def active(self) -> HmacKey:
        """The key that signs events; raises KeyringError where there is none."""
        for kid in self._active("hmac-sha256"):
            key = self.get(kid)
            if isinstance(key, HmacKey):
                return key
            raise KeyringError(f"the secret of the active key {kid} is not at hand", hint="see `golden keys list`")
        raise KeyringError(
            "no key to sign with",
            hint="`golden init` makes one; or set GOLDEN_SECRET_FILE to a file of mode 0600 with a secret in it",
        )

    @property
    def signers(self) -> list[Key]:
        """The active keys that can sign here, the strongest algorithm first: all of them sign a seal."""
        keys = (self.get(kid) for alg in ALGORITHMS for kid in self._active(alg))
        return [key for key in keys if key is not None and key.can_sign]

    @property
    def strongest(self) -> Algorithm | None:
        """The strongest algorithm that has an active key, at hand or not; None where no key is active."""
        if self._strongest is None:
            self._strongest = [alg for alg in ALGORITHMS if any(self._active(alg))]
        return self._strongest[0] if self._strongest else None

    def get(self, kid: str) -> Key | None:
        """Return the key of that kid if it is at hand, whatever its state; an unknown kid is never tried."""
        entry = self._policy().get(kid)
        if entry is None:
            return None
        if kid not in self._keys:
            self._keys[kid] = self._made(entry)
        return self._keys[kid]

    def state(self, kid: str) -> State | None:
        """Return the state of that kid, None where the keyring does not know it."""
        entry = self._policy().get(kid)
        return None if entry is None else entry.state

    def alg(self, kid: str) -> Algorithm | None:
        """Return the algorithm of that kid, None where the keyring does not know it."""
        entry = self._policy().get(kid)
        return None if entry is None else entry.alg

    def is_weaker(self, kid: str, alg: Algorithm | None) -> bool:
        """Whether that kid is known, and of a weaker algorithm than `alg`."""
        own = self.alg(kid)
        return own is not None and alg is not None and ALGORITHMS.index(own) > ALGORITHMS.index(alg)

    def usable(self, kid: str) -> Key | None:
        """Return the key of that kid if it is at hand and not revoked."""
        return None if self.state(kid) == "revoked" else self.get(kid)

    def with_revoked(self, kids: Iterable[str]) -> Keyring:
        """Return this keyring with the keys of `kids` revoked: nothing else takes that back."""
        return self._with("revoked", {kid for kid in kids if self.state(kid) not in {None, "revoked"}})

    def with_retired(self, kid: str) -> Keyring:
        """Return this keyring with one key retired, whatever it was; for judging what it signed before."""
        return self._with("retired", {kid})

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._policy().values())

    def __repr__(self) -> str:
        return "Keyring()" if self._entries is None else f"Keyring({list(self._entries)!r})"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable()

    def _with(self, state: State, kids: set[str]) -> Keyring:
        if not kids:
            return self
        replace = msgspec.structs.replace
        entries = (replace(entry, state=state) if entry.kid in kids else entry for entry in self)
        keyring = Keyring.of(entries, self._find, aos_secret=self.aos_secret)
        keyring._keys = self._keys  # noqa: SLF001  made once, whatever their states
        return keyring

    def _active(self, alg: Algorithm) -> Iterator[str]:
        return (entry.kid for entry in self if entry.alg == alg and entry.state == "active")

    def _policy(self) -> dict[str, Entry]:
        if self._entries is None:
            made = [entry_of(key_from(secret), state) for secret, state in self._secrets]
            self._entries = _checked({entry.kid: entry for entry in made}.values())
        return self._entries

    def _made(self, entry: Entry) -> Key | None:
        if entry.public is not UNSET:
            return Ed25519Key(unb64(entry.public.encode()) or b"", cache(lambda: self._find(entry.kid)))
        secret = self._find(entry.kid)
        return None if secret is None else HmacKey(secret)

    def _given(self, kid: str) -> bytes | None:
        return next((secret for secret, _ in self._secrets if kid_of(secret) == kid), None)


def entry_of(key: Key, state: State, created: str | UnsetType = UNSET) -> Entry:
    """Return what a keyring says of a key."""
    return Entry(key.kid, key.alg, state, created, _public(key))


def _public(key: Key) -> str | UnsetType:
    return b64(key.public).decode() if isinstance(key, Ed25519Key) else UNSET


def _checked(entries: Iterable[Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    active: dict[str, str] = {}
    for entry in entries:
        if entry.kid in found:
            raise KeyringError(f"key {entry.kid} stands twice in the keyring", hint="remove one of the entries")
        if (entry.alg == ED25519) is (entry.public is UNSET):
            raise KeyringError(
                f"key {entry.kid} must have `public` if it is Ed25519, and only then", hint="restore the keyring file"
            )
        if entry.public is not UNSET and Ed25519Key(unb64(entry.public.encode()) or b"").kid != entry.kid:
            raise KeyringError(f"the public key of {entry.kid} is another key's", hint="restore the keyring file")
        if entry.state == "active" and active.setdefault(entry.alg, entry.kid) != entry.kid:
            problem = f"keys {active[entry.alg]} and {entry.kid} are both active for {entry.alg}"
            raise KeyringError(problem, hint="retire one of them")
        found[entry.kid] = entry
    return found


def _unpicklable() -> KeyringError:
    return KeyringError("a key cannot be pickled", hint="let workers inherit it by fork")
