"""Values: awkward ones too differ in their own places, and only there."""

from typing import Any

import pytest

from golden.canonical import canonical_bytes
from golden.values import value_differences

AWKWARD: list[tuple[Any, Any, list[str]]] = [
    ({"__a": 1}, {"__a": 2}, ["/__a"]),
    ({"__a": 1}, {}, ["/__a"]),
    ({"x": 1, "__a": 1}, {"x": 2}, ["/__a", "/x"]),
    ({"a'b": 1}, {"a'b": 2}, ["/a'b"]),
    ({'a"b': 1}, {'a"b': 2}, ['/a"b']),
    ({"a[0]": 1, "a": [2]}, {"a[0]": 3, "a": [4]}, ["/a/0", "/a[0]"]),
    ({"": {"": 1}}, {"": {"": 2}}, ["//"]),
    ({"1": 1}, {"1": 2}, ["/1"]),
    ({"a": []}, {"a": {}}, ["/a"]),
    ({"a": ""}, {"a": None}, ["/a"]),
    ([10**17], [1e17], ["/0"]),
    ([2**60, 1], [2**60 + 1, 1], ["/0"]),
    ([{"k": True}, 0], [{"k": 1}, 5], ["/0/k", "/1"]),
    ("a\nb", "a\nc", [""]),
    (["\u00e9"], ["e\u0301"], ["/0"]),
    ([[1, 2], [3, 4]], [[1, 2], [4, 3]], ["/1/0", "/1/1"]),
    ([[0] * 600], [[0] * 599 + [1]], ["/0/599"]),
]


@pytest.mark.parametrize("one, other, paths", AWKWARD)
def test_awkward_values_differ_in_their_places(one: Any, other: Any, paths: list[str]) -> None:
    assert [path for _, path, _, _ in value_differences(one, other)] == paths


def test_a_long_list_is_compared_item_by_item() -> None:
    ones = list(range(2000))
    found = list(value_differences(ones, [*ones[:1000], -1, *ones[1001:]]))
    assert found == [("changed", "/1000", 1000, -1)]


def test_a_value_as_deep_as_it_may_be_is_compared() -> None:
    def deep(leaf: int) -> Any:
        value: Any = leaf
        for _ in range(200):
            value = [value]
        return value

    assert canonical_bytes(deep(1))
    assert [d[1] for d in value_differences(deep(1), deep(2))] == ["/0" * 200]
