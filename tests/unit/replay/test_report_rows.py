"""Rows: what stands side by side is what belongs together, and only what differs is marked."""

import pytest

from golden.values import Kind
from replay.judgement import Difference
from replay.report.rows import Line, Row, side_by_side


def laid_out(expected: str | None, actual: str | None, kind: Kind = "changed", first: int = 1) -> list[Row]:
    return list(side_by_side(Difference("/p", kind, expected, actual, first)))


def marked(line: Line | None) -> str:
    """Return a line with brackets around what is marked."""
    return "" if line is None else "".join(f"[{text}]" if mark else text for text, mark in line.parts)


def sides(found: list[Row]) -> list[tuple[str, str]]:
    return [(marked(row.expected), marked(row.actual)) for row in found]


@pytest.mark.parametrize(
    "expected, actual, said",
    [
        ("the mean was 1", "the mean was 2", [("the mean was [1]", "the mean was [2]")]),
        ("The mean maximum", "On average, the maximum", [("[The mean] maximum", "[On average, the] maximum")]),
        ("13.0", "12.5", [("[13.0]", "[12.5]")]),
        ("abc", "xyz", [("[abc]", "[xyz]")]),
        ("a\nb\nc", "a\nc", [("a", "a"), ("[b]", ""), ("c", "c")]),
        ("a\nc", "a\nb\nc", [("a", "a"), ("", "[b]"), ("c", "c")]),
        ("a", "a\n", [("a", "a"), ("", "[]")]),
        ("a\x1b", "a", [("a[\\x1b]", "a")]),
    ],
)
def test_lines_stand_beside_theirs(expected: str, actual: str, said: list[tuple[str, str]]) -> None:
    assert [(one, other) for one, other in sides(laid_out(expected, actual))] == said


def test_absent_side_has_no_line() -> None:
    assert sides(laid_out(None, "a\nb", "added")) == [("", "[a]"), ("", "[b]")]
    assert [row.expected for row in laid_out(None, "a\nb", "added")] == [None, None]


def test_numbers_go_on_from_the_first_line_of_the_excerpt() -> None:
    found = laid_out("a\nb\nc", "a\nx\ny\nc", first=40)
    assert [row.expected and row.expected.number for row in found] == [40, 41, None, 42]
    assert [row.actual and row.actual.number for row in found] == [40, 41, 42, 43]
    assert [row.differs for row in found] == [False, True, True, False]
