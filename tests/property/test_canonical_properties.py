"""Canonical form, for any value: it comes back, it is the only spelling, and equal hashes mean equal values."""

from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from golden.canonical import canonical_bytes, decode, is_canonical, output_hash, pae, pointer, sha256_hex
from golden.volatile import Volatile

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers() | st.integers(-(10**40), 10**40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT


def trees(
    leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str] = TEXT, *, lists: bool = True
) -> st.SearchStrategy[Any]:
    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        objects = st.dictionaries(keys, inner, max_size=4)
        return objects | st.lists(inner, max_size=4) if lists else objects

    return st.recursive(leaves, larger, max_leaves=12)


VALUES = trees(SCALARS)


def exact(value: Any) -> Any:
    """Return a value that is equal to another's exactly where type, order and sign of zero are too."""
    if isinstance(value, dict):
        return "dict", sorted((key, exact(child)) for key, child in value.items())
    if isinstance(value, list):
        return "list", [exact(child) for child in value]
    return type(value).__name__, repr(value)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    data = canonical_bytes(value)
    assert exact(decode(data)) == exact(value)
    assert canonical_bytes(decode(data)) == data
    assert is_canonical(data)
    assert output_hash(value) == sha256_hex(data)


@given(VALUES, VALUES)
def test_bytes_are_equal_exactly_where_values_are(one: Any, other: Any) -> None:
    same = exact(one) == exact(other)
    assert (canonical_bytes(one) == canonical_bytes(other)) is same
    assert (output_hash(one) == output_hash(other)) is same


@given(FLOATS)
def test_a_float_is_written_with_the_digits_of_repr(value: float) -> None:
    text = canonical_bytes(value).decode()
    assert repr(float(text)) == repr(value)
    mantissa, _, exponent = text.partition("e")
    whole, _, digits = repr(value).partition("e")[0].partition(".")
    plain = (mantissa.replace(".", "").strip("-").strip("0"), exponent)
    assert plain[0] == (whole + digits).replace(".", "").strip("-").strip("0")
    assert bool(exponent) is not (value == 0 or 1e-5 <= abs(value) < 1e16)
    assert "+" not in text
    assert exponent or "." in text


@given(trees(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT, st.text("abcXYZ09 _é\u20ac")))
def test_without_floats_and_astral_names_it_is_what_rfc_8785_writes(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_in_which_members_were_put_leaves_no_trace(value: Any, random: Any) -> None:
    def shuffled(item: Any) -> Any:
        if isinstance(item, dict):
            pairs = [(key, shuffled(child)) for key, child in item.items()]
            random.shuffle(pairs)
            return dict(pairs)
        return [shuffled(child) for child in item] if isinstance(item, list) else item

    assert canonical_bytes(shuffled(value)) == canonical_bytes(value)


@given(st.binary(max_size=40) | st.text('[]{}":,0123456789.e-+ntrufalse\\ ', max_size=20).map(str.encode))
def test_any_bytes_are_canonical_or_not_and_nothing_else_happens(data: bytes) -> None:
    if is_canonical(data):
        assert canonical_bytes(decode(data)) == data


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_lists_of_parts_meet_in_one_encoding(ones: list[bytes], others: list[bytes]) -> None:
    assert (pae(*ones) == pae(*others)) is (ones == others)


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_no_two_paths_meet_in_one_pointer(ones: list[str], others: list[str]) -> None:
    assert (pointer(ones) == pointer(others)) is (ones == others)


def places(value: Any) -> list[list[str | int]]:
    """Return the path of every value below the whole."""
    children: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [[key, *rest] for key, child in children for rest in [[], *places(child)]]


@given(VALUES, st.data())
def test_a_volatile_place_does_not_enter_the_hash_and_every_other_does(value: Any, data: st.DataObject) -> None:
    found = [path for path in places(value) if "*" not in path]
    if not found:
        return
    path, elsewhere = data.draw(st.sampled_from(found)), data.draw(st.sampled_from(found))
    rules = Volatile([f"/steps/s/output{pointer(path)}"])
    before = rules.hash_output("s", canonical_bytes(value))
    assert rules.dead == []
    changed = replaced(value, path, ["something", "else"])
    assert rules.hash_output("s", canonical_bytes(changed)) == before
    if elsewhere[: len(path)] != path and path[: len(elsewhere)] != elsewhere:
        other = replaced(value, elsewhere, ["something", "else", "again"])
        assert rules.hash_output("s", canonical_bytes(other)) != before


def replaced(value: Any, path: list[str | int], new: Any) -> Any:
    copy = decode(canonical_bytes(value))
    parent = copy
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = new
    return copy
