"""Canonical form: the one byte string of a value, and the hashes and seeds derived from it.

Knows values only, neither files nor keys nor steps. Normative text: docs/format.md, "Canonical form".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain
from math import isfinite
from typing import Any

import msgspec

from golden.errors import FormatError, LimitError, NotCanonicalError

# Levels of lists and objects: of a line, and of a value that must still fit into one.
MAX_DEPTH = 256
MAX_VALUE_DEPTH = 250
# More items on one level than any line could hold.
MAX_ITEMS = 1 << 24

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode
_PLAIN = frozenset({type(None), bool, int, str})
_CLOSED = _PLAIN | {float, list, dict}
_HINTS = {
    "tuple": "return a list instead",
    "set": "return sorted(…), a set has no order",
    "frozenset": "return sorted(…), a set has no order",
    "bytes": "return .hex() or base64 text",
    "bytearray": "return .hex() or base64 text",
    "Decimal": "return str(…) or an integer of the smallest unit",
    "datetime": "return .isoformat()",
    "date": "return .isoformat()",
    "UUID": "return str(…)",
    "float": "replace it by null or by text",
    "str": "remove the lone surrogate",
    "int": "return str(…)",
}


def canonical_bytes(value: Any, *, max_depth: int = MAX_VALUE_DEPTH) -> bytes:
    """Return the canonical form of `value` (UTF-8 JSON, members sorted by code point, no spaces).

    The closed set is null, bool, int, finite float, str without lone surrogates, list, and dict with str keys,
    nested at most `max_depth` deep. Nothing is normalised: 1 and 1.0 differ.

    Raises:
        LimitError: nested deeper.
        NotCanonicalError: anything else, with the JSON Pointer of the offending value.
    """
    if not _in_closed_set(value, max_depth):
        raise _refusal(value, max_depth)
    try:
        return _encode(value)
    except (UnicodeEncodeError, ValueError, OverflowError):
        raise _refusal(value, max_depth) from None


def decode(data: bytes | msgspec.Raw) -> Any:
    """Return the value of canonical bytes; raises FormatError for what is not JSON or nests too deep."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"not JSON: {error}", hint="compare the bytes with a backup") from None
    except RecursionError:
        raise LimitError(f"JSON nested more than {MAX_DEPTH} deep", hint="flatten the value") from None


def is_canonical(data: bytes) -> bool:
    """Say whether `data` is exactly the canonical form of the value it denotes (duplicate keys are not).

    Raises:
        LimitError: nested more than `MAX_DEPTH` deep.
    """
    try:
        return canonical_bytes(decode(data), max_depth=MAX_DEPTH) == data
    except LimitError:
        raise
    except FormatError:
        return False


def sha256_hex(data: bytes | msgspec.Raw) -> str:
    """Return SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def output_hash(value: Any) -> str:
    """Return the hash of a value: SHA-256 of its canonical form, 64 hex digits."""
    return sha256_hex(canonical_bytes(value))


def derive_seed(base: int, index: int) -> int:
    """Return the seed of the step at `index` under scheme `aos-v1`: 64 unsigned bits, equal for every attempt.

    Source: the AOS engine's `_derive_seed`; `index` is the position in the spec's `steps`.
    """
    return int(hashlib.sha256(f"{base}:{index}".encode()).hexdigest()[:16], 16)


def path_seed(base: int, path: str) -> int:
    """Return the seed of the step at `path` under scheme `path-v1`: 64 unsigned bits, equal for every attempt."""
    return int(hashlib.sha256(f"{base}:{path}".encode()).hexdigest()[:16], 16)


def pae(*parts: bytes) -> bytes:
    """Return the pre-authentication encoding of `parts`: no two different lists give the same bytes.

    `golden/v1`, then per part a space, its length in decimal, a space, its bytes (after DSSE's PAE).
    """
    return b"golden/v1" + b"".join([b" %d %b" % (len(part), part) for part in parts])


def pointer(path: Sequence[str | int]) -> str:
    """Return the JSON Pointer (RFC 6901) of a path of member names and list positions; () is ""."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _in_closed_set(value: Any, max_depth: int) -> bool:
    if type(value) is dict and {str}.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values())):
        # Most inputs and outputs are no more than that.
        return True
    # Level by level, so that the type test runs in C over whole levels and the depth is known.
    level = [value]
    for _ in range(max_depth):
        kinds = set(map(type, level))
        if kinds <= _PLAIN:
            return True
        if not kinds <= _CLOSED:
            return False
        if float in kinds and not all(isfinite(v) for v in level if type(v) is float):
            return False
        lists = [v for v in level if type(v) is list] if list in kinds else []
        dicts = [v for v in level if type(v) is dict] if dict in kinds else []
        if dicts and not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return False
        level = list(chain(chain.from_iterable(lists), chain.from_iterable(d.values() for d in dicts)))
        if not level:
            return True
        if len(level) > MAX_ITEMS:
            # A list that holds itself twice doubles with every level.
            raise LimitError(f"value holds more than {MAX_ITEMS} items", hint="store large data elsewhere")
    return set(map(type, level)) <= _PLAIN or (
        set(map(type, level)) <= _PLAIN | {float} and all(isfinite(v) for v in level if type(v) is float)
    )


def _refusal(value: Any, max_depth: int) -> FormatError:
    path, what = _find_offender(value, max_depth)
    name = type(what).__name__
    if len(path) >= max_depth and isinstance(what, list | dict):
        return LimitError(f"value nested more than {max_depth} deep", hint="flatten the value")
    where = f'at "{pointer(path)}"'
    if isinstance(what, _Key):
        if type(what.key) is str:
            return NotCanonicalError(f"object key {where} holds a lone surrogate", hint=_HINTS["str"])
        return NotCanonicalError(
            f"object key {where} is a {type(what.key).__name__}, not text", hint="convert the key with str(…)"
        )
    match what:
        case float():
            shown = f"number {where} is {what}, which JSON cannot carry"
        case str() if name == "str":
            shown = f"text {where} holds a lone surrogate"
        case int() if name == "int":
            shown = f"integer {where} is too long to write"
        case _:
            shown = f"value {where} is a {name}"
    hint = _HINTS.get(name, "return null, bool, int, float, str, list or dict with str keys")
    return NotCanonicalError(shown, hint=hint)


class _Key:
    def __init__(self, key: Any) -> None:
        self.key = key


def _find_offender(value: Any, max_depth: int) -> tuple[tuple[str | int, ...], Any]:
    stack: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while stack:
        path, item = stack.pop()
        if len(path) >= max_depth and isinstance(item, list | dict):
            return path, item
        if type(item) is dict:
            for key in item:
                if type(key) is not str or not _encodes(key):
                    return path, _Key(key)
            stack.extend(((*path, key), child) for key, child in reversed(list(item.items())))
        elif type(item) is list:
            stack.extend(((*path, n), child) for n, child in reversed(list(enumerate(item))))
        elif type(item) not in _CLOSED or (type(item) is float and not isfinite(item)) or not _encodes(item):
            return path, item
    return (), value


def _encodes(scalar: Any) -> bool:
    try:
        _encode(scalar)
    except (UnicodeEncodeError, ValueError, OverflowError):
        return False
    return True
