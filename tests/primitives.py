"""Primitives: the few formulas of docs/format.md that the fixture maker builds everything from.

Shares no code with the product: what it writes is a claim about the format, not an echo of the implementation.
"""

import base64
import hashlib
import hmac
import json
from functools import cache

SUFFIX_LENGTH = 53  # ,"mac":" + 43 characters + "}


def pae(*parts: bytes) -> bytes:
    """Return the unambiguous joining of parts that every key and MAC is made over."""
    return b"golden/v1" + b"".join(b" %d %b" % (len(part), part) for part in parts)


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes by HKDF-SHA-256 (RFC 5869, extract then expand)."""
    prk = hmac.digest(salt or bytes(32), secret, "sha256")
    block, output = b"", b""
    for count in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([count]), "sha256")
        output += block
    return output[:length]


def kid_of(secret: bytes) -> str:
    """Return the 16 hex characters that name an HMAC secret."""
    return hkdf(secret, b"golden/v1", pae(b"kid", b"hmac-sha256"), 8).hex()


def event_key(secret: bytes, run_id: str, file_id: str) -> bytes:
    """Return the 32 bytes that authenticate the events of one file."""
    parts = (text.encode() for text in ("event", kid_of(secret), run_id, file_id))
    return hkdf(secret, b"golden/v1", pae(*parts), 32)


def seal_key(secret: bytes) -> bytes:
    """Return the 32 bytes that sign seals."""
    info = pae(b"seal", kid_of(secret).encode())
    return hkdf(secret, b"golden/v1", info, 32)


def mac_of(key: bytes, previous: bytes, body: bytes) -> bytes:
    """Return the MAC of a line whose bytes before its `,"mac"` suffix are `body`."""
    return hmac.digest(key, pae(b"event", previous, body), "sha256")


def sign(secret: bytes, statement: bytes) -> str:
    """Return the signature over a seal's first line (without its LF)."""
    return b64(hmac.digest(seal_key(secret), pae(b"seal", statement), "sha256"))


def ledger_key(secret: bytes, dir_id: str) -> bytes:
    """Return the 32 bytes that sign the lines of one directory's ledger."""
    info = pae(b"ledger", kid_of(secret).encode(), dir_id.encode())
    return hkdf(secret, b"golden/v1", info, 32)


def ledger_message(dir_id: str, body: bytes) -> bytes:
    """Return what a ledger's line is signed over; `body` is its bytes before `,"mac"`."""
    return pae(b"ledger", dir_id.encode(), body)


# Ed25519 as in RFC 8032, section 5.1, with affine points: slow, and short enough to be compared with the text.
_P, _ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)


def _add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    cross = _D * p[0] * q[0] * p[1] * q[1] % _P
    x = (p[0] * q[1] + q[0] * p[1]) * pow(1 + cross, -1, _P)
    y = (p[1] * q[1] + p[0] * q[0]) * pow(1 - cross, -1, _P)
    return x % _P, y % _P


def _times_base(number: int) -> bytes:
    total, power = (0, 1), _BASE
    while number:
        total = _add(total, power) if number & 1 else total
        power, number = _add(power, power), number >> 1
    return (total[1] | (total[0] & 1) << 255).to_bytes(32, "little")


def _expanded(seed: bytes) -> tuple[int, bytes]:
    half = hashlib.sha512(seed).digest()
    clamped = int.from_bytes(half[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return clamped, half[32:]


@cache
def ed25519_public(seed: bytes) -> bytes:
    """Return the 32 public bytes of an Ed25519 key from its 32 private ones."""
    return _times_base(_expanded(seed)[0])


@cache
def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """Return the 64 bytes of an Ed25519 signature."""
    secret, prefix = _expanded(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % _ORDER
    point, public = _times_base(nonce), ed25519_public(seed)
    share = int.from_bytes(hashlib.sha512(point + public + message).digest(), "little")
    return point + ((nonce + share * secret) % _ORDER).to_bytes(32, "little")


def ed25519_kid(public: bytes) -> str:
    """Return the kid of an Ed25519 key from its 32 public bytes."""
    return hashlib.sha256(pae(b"kid", b"ed25519", public)).digest()[:8].hex()


def ed25519_pem(seed: bytes) -> bytes:
    """Return the private key as PKCS#8 in PEM (RFC 8410)."""
    der = bytes.fromhex("302e020100300506032b657004220420") + seed
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(der) + b"\n-----END PRIVATE KEY-----\n"


def b64(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: float) -> str:
    """Return a finite float's one spelling; only exponents differ from `repr`."""
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        if digits in ("inf", "-inf", "nan"):
            raise ValueError(digits)
        return digits
    if exponent != "-05":
        return f"{digits}e{int(exponent)}"
    minus = "-" * (value < 0)
    return f"{minus}0.0000{digits.removeprefix('-').replace('.', '')}"


def canonical(value: object) -> str:
    """Return a value's one spelling as JSON text; ValueError outside the closed set."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, dict):
        names = sorted(value)
        members = (f"{canonical(n)}:{canonical(value[n])}" for n in names)
        return f"{{{','.join(members)}}}"
    text = json.dumps(value, ensure_ascii=False)
    text.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return text


def digest(value: object) -> str:
    """Return the hash of a value: SHA-256 over its canonical form, 64 hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
