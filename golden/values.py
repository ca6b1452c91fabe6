"""Values: the places where two JSON values differ, by path.

The one home of deepdiff, which is asked only about lists and objects known to differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from golden.canonical import canonical_bytes, pointer

Kind = Literal["changed", "added", "removed"]
# Lists longer than this are compared item by item: aligning them costs the square of their length.
ALIGN_LIMIT = 500


def value_differences(expected: Any, actual: Any) -> Iterator[tuple[Kind, str, Any, Any]]:
    """Give (kind, path, expected, actual) for each place where two JSON values differ, "" being the whole."""
    if canonical_bytes(expected) == canonical_bytes(actual):
        return
    places = {tuple(place[1]): place for place in _equal_but_unlike(expected, actual, [])}
    places |= {tuple(place[1]): place for place in _deepdiff(expected, actual)}
    for path in sorted(places, key=_order):
        kind, _, one, other = places[path]
        yield kind, pointer(path), one, other
    if not places:
        yield "changed", "", expected, actual


def _deepdiff(expected: Any, actual: Any) -> Iterator[tuple[Kind, list[str | int], Any, Any]]:
    if type(expected) is not type(actual) or not isinstance(expected, dict | list):
        yield "changed", [], expected, actual
        return
    # 50 ms to import, needed only once two values are known to differ.
    from deepdiff import DeepDiff

    tree = DeepDiff(
        expected,
        actual,
        view="tree",
        threshold_to_diff_deeper=0,
        ignore_private_variables=False,
        zip_ordered_iterables=_longest_list(expected, actual) > ALIGN_LIMIT,
    )
    for report, nodes in tree.items():
        kind: Kind = "added" if report.endswith("_added") else "removed" if report.endswith("_removed") else "changed"
        for node in nodes:
            path = node.path(output_format="list", force="fake")
            yield kind, path, None if kind == "added" else node.t1, None if kind == "removed" else node.t2


def _longest_list(*values: Any) -> int:
    longest, stack = 0, list(values)
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            longest = max(longest, len(value))
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
    return longest


def _order(path: tuple[str | int, ...]) -> list[tuple[int, int, str]]:
    return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in path]


def _equal_but_unlike(one: Any, other: Any, path: list[str | int]) -> Iterator[tuple[Kind, list[str | int], Any, Any]]:
    # What == cannot tell apart, and deepdiff not everywhere: 0.0 and -0.0, 1 and 1.0 and true.
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() & other.keys():
            yield from _equal_but_unlike(one[key], other[key], [*path, key])
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other):
            for n, (left, right) in enumerate(zip(one, other, strict=True)):
                yield from _equal_but_unlike(left, right, [*path, n])
    elif one == other and canonical_bytes(one) != canonical_bytes(other):
        yield "changed", path, one, other
