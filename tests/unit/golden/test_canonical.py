"""Canonical form: what is in the closed set, how it is written, and how the rest is refused."""

import datetime as dt
import decimal
import enum
import math
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import msgspec
import pytest

from golden.canonical import (
    MAX_DEPTH,
    MAX_VALUE_DEPTH,
    canonical_bytes,
    decode,
    derive_seed,
    is_canonical,
    output_hash,
    pae,
    pointer,
)
from golden.errors import FormatError, LimitError, NotCanonicalError

Pair = namedtuple("Pair", "a b")  # noqa: PYI024  as a skill would write it


class Plain(enum.Enum):
    A = 1


class Whole(enum.IntEnum):
    A = 1


class Word(enum.StrEnum):
    A = "a"


class Text(str):
    __slots__ = ()


REFUSED = [
    ((1, 2), "tuple", "return a list instead"),
    (Pair(1, 2), "Pair", "return null, bool, int"),
    ({1, 2}, "set", "sorted(…)"),
    (frozenset({1}), "frozenset", "sorted(…)"),
    (b"x", "bytes", ".hex()"),
    (bytearray(b"x"), "bytearray", ".hex()"),
    (decimal.Decimal("1.5"), "Decimal", "str(…)"),
    (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "datetime", ".isoformat()"),
    (dt.date(2026, 1, 1), "date", ".isoformat()"),
    (uuid.UUID(int=1), "UUID", "str(…)"),
    (Plain.A, "Plain", "return null, bool, int"),
    (Whole.A, "Whole", "return null, bool, int"),
    (Word.A, "Word", "return null, bool, int"),
    (Text("x"), "Text", "return null, bool, int"),
    (OrderedDict(a=1), "OrderedDict", "return null, bool, int"),
    (msgspec.Raw(b"1"), "Raw", "return null, bool, int"),
    (object(), "object", "return null, bool, int"),
    (1j, "complex", "return null, bool, int"),
    (math.nan, "nan", "null or by text"),
    (math.inf, "inf", "null or by text"),
    (-math.inf, "-inf", "null or by text"),
    ("\ud800", "lone surrogate", "surrogate"),
    (10**4300, "too long", "str(…)"),
]


@pytest.mark.parametrize("value, named, hint", REFUSED, ids=[case[1] for case in REFUSED])
def test_what_lies_outside_the_closed_set_is_refused_with_path_and_hint(value: Any, named: str, hint: str) -> None:
    with pytest.raises(NotCanonicalError) as refusal:
        canonical_bytes({"rows": [0, {"a/b~c": value}]})
    assert '"/rows/1/a~1b~0c"' in refusal.value.problem
    assert named in refusal.value.problem
    assert hint in refusal.value.hint


@pytest.mark.parametrize("value, named, hint", REFUSED, ids=[case[1] for case in REFUSED])
def test_what_lies_outside_the_closed_set_is_refused_as_a_whole_value(value: Any, named: str, hint: str) -> None:
    with pytest.raises(NotCanonicalError) as refusal:
        canonical_bytes(value)
    assert 'at ""' in refusal.value.problem


@pytest.mark.parametrize("key", [1, 1.0, None, True, b"a", (1,), Word.A, Text("x")])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    with pytest.raises(NotCanonicalError, match=r'object key at "/a" is a') as refusal:
        canonical_bytes({"a": {key: 1}})
    assert "str(…)" in refusal.value.hint


def test_a_key_with_a_lone_surrogate_is_refused_as_one() -> None:
    with pytest.raises(NotCanonicalError, match="lone surrogate"):
        canonical_bytes({"a": {"\udfff": 1}})


def test_the_first_offender_in_reading_order_is_named() -> None:
    with pytest.raises(NotCanonicalError, match=r'"/1/x"'):
        canonical_bytes([1, {"x": {1}, "y": b""}, b""])


def test_a_refusal_never_shows_the_value() -> None:
    with pytest.raises(NotCanonicalError) as refusal:
        canonical_bytes({"a": b"topsecret"})
    assert "topsecret" not in str(refusal.value)


def nested(depth: int, leaf: Any = 0) -> Any:
    value = leaf
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_a_value_nests_as_deep_as_fits_into_a_line() -> None:
    value = nested(MAX_VALUE_DEPTH)
    assert decode(canonical_bytes(value)) == value


@pytest.mark.parametrize("depth", [MAX_VALUE_DEPTH + 1, MAX_DEPTH + 1, 2000, 100_000])
@pytest.mark.parametrize("leaf", [0, math.nan])
def test_a_value_nested_too_deep_is_refused_as_a_limit(depth: int, leaf: Any) -> None:
    with pytest.raises(LimitError, match="nested more than 250 deep"):
        canonical_bytes(nested(depth, leaf))


def test_a_list_that_holds_itself_is_refused_as_too_deep() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(LimitError):
        canonical_bytes(ring)


def test_a_float_at_the_deepest_level_is_still_checked() -> None:
    assert canonical_bytes(nested(MAX_VALUE_DEPTH, 1.5))
    with pytest.raises(NotCanonicalError):
        canonical_bytes(nested(MAX_VALUE_DEPTH, math.inf))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 2000, 100_000])
def test_bytes_nested_too_deep_are_a_limit_not_a_crash(depth: int) -> None:
    with pytest.raises(LimitError):
        is_canonical(b"[" * depth + b"]" * depth)


def test_a_line_may_be_nested_to_the_limit_itself() -> None:
    assert is_canonical(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**63) - 1, 10**4299, -(10**4298)], ids="abcde")
def test_integers_of_any_size_up_to_4300_digits_keep_all_digits(value: int) -> None:
    assert canonical_bytes(value) == str(value).encode()
    assert decode(canonical_bytes(value)) == value


def test_an_integer_of_more_digits_in_a_file_is_refused() -> None:
    with pytest.raises(FormatError):
        decode(b"9" * 4301)


@pytest.mark.parametrize(
    "one, other", [(1, 1.0), (0.0, -0.0), (True, 1), (None, {}), ("\u00e9", "e\u0301"), ("A", "a"), ([], {})]
)
def test_nothing_is_normalised(one: Any, other: Any) -> None:
    assert canonical_bytes(one) != canonical_bytes(other)
    assert output_hash(one) != output_hash(other)


def test_absent_is_not_null() -> None:
    assert output_hash({"a": None}) != output_hash({})


def test_members_are_sorted_by_code_point_not_by_utf16_unit() -> None:
    # U+FF5E sorts before U+1F600 as a code point, after its surrogates as a UTF-16 unit.
    assert canonical_bytes({"\U0001f600": 1, "\uff5e": 2, "a": 3, "": 4}) == '{"":4,"a":3,"\uff5e":2,"😀":1}'.encode()


def test_order_of_insertion_leaves_no_trace() -> None:
    assert output_hash({"a": 1, "b": {"c": 1, "d": 2}}) == output_hash({"b": {"d": 2, "c": 1}, "a": 1})


@pytest.mark.parametrize(
    "data",
    [
        *(b'{"a":1,"a":1}', b'{"b":1,"a":1}', b"[1, 2]", b'"\\u0061"', b'"\\/"', b"1e0", b"01", b"-0", b"NaN"),
        *(b"\xef\xbb\xbf1", b"1\n", b"", b"{", b'"\xed\xa0\x80"', b"\xff", b'"\\ud800"', b"tru", b"1.50", b'"\t"'),
    ],
)
def test_another_spelling_is_not_canonical(data: bytes) -> None:
    assert not is_canonical(data)


def test_what_is_no_json_is_a_format_error() -> None:
    with pytest.raises(FormatError, match="not JSON"):
        decode(b"{")


@pytest.mark.parametrize(
    "base, index, seed",
    [
        (12345, 0, 15554826178763638935),
        (12345, 1, 12451472201012505513),
        (42, 0, 6085284259181818738),
        (-1, 7, 15883211312419557341),
    ],
)
def test_seeds_are_those_of_the_aos_engine(base: int, index: int, seed: int) -> None:
    assert derive_seed(base, index) == seed


def test_no_two_lists_of_parts_have_one_encoding() -> None:
    assert pae(b"kid", b"hmac-sha256") == b"golden/v1 3 kid 11 hmac-sha256"
    assert len({pae(b"a", b"b"), pae(b"a b"), pae(b"ab"), pae(b"a", b"", b"b"), pae(b"a 1 b"), pae()}) == 6


def test_pointers_are_escaped_as_rfc_6901_says() -> None:
    assert pointer(()) == ""
    assert pointer(("a/b", "m~n", "", 0)) == "/a~1b/m~0n//0"
