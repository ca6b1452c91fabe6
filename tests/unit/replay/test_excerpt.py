"""Excerpts: short, and what differs is always in them."""

from typing import Any

import pytest

from golden.values import Kind
from replay.divergence import Divergence
from replay.excerpt import MAX_COLUMNS, MAX_LINES, excerpt_of, excerpts, short
from replay.judgement import Difference


@pytest.mark.parametrize(
    "kind, expected, actual, sides",
    [
        ("changed", 1, "1", ("1", '"1"')),
        ("changed", "a ", "a", ('"a "', '"a"')),
        ("changed", "a\n", "a", ("a\n", "a")),
        ("changed", "a\nb", None, ('"a\\nb"', "null")),
        ("added", None, {"b": [1]}, (None, '{\n  "b": [\n    1\n  ]\n}')),
        ("removed", "a\nb", None, ("a\nb", None)),
    ],
)
def test_texts_with_lines_are_as_they_are_and_all_else_is_json(
    kind: Kind, expected: Any, actual: Any, sides: tuple[str, str]
) -> None:
    assert excerpt_of(kind, "/p", expected, actual) == Difference("/p", kind, *sides)


def test_lines_around_what_differs_are_kept_with_their_number() -> None:
    lines = [f"line {n}" for n in range(1, 101)]
    found = excerpt_of("changed", "", "\n".join(lines), "\n".join([*lines[:49], "other", *lines[50:]]))
    assert found.first_line == 47
    assert found.cut
    assert (found.expected or "").split("\n") == lines[46:53]
    assert (found.actual or "").split("\n")[3] == "other"


@pytest.mark.parametrize("at", [0, 500, 99_999])
def test_long_line_is_cut_around_what_differs(at: int) -> None:
    text = "x" * 100_000
    found = excerpt_of("changed", "", text, text[:at] + "y" + text[at + 1 :])
    assert "y" in (found.actual or "")
    assert max(len(found.expected or ""), len(found.actual or "")) <= MAX_COLUMNS + 2


def test_many_lines_that_differ_are_cut() -> None:
    found = excerpt_of("changed", "", "a\n" * 1000, "b\n" * 1000)
    assert (found.actual or "").count("\n") < MAX_LINES
    assert found.cut


def test_what_is_too_much_is_counted() -> None:
    found, more = excerpts([("changed", f"/{n}", "a" * 200, "b" * 200) for n in range(100)])
    assert len(found) + more == 100
    assert more > 0


def test_long_values_of_a_divergence_are_shortened_and_others_kept() -> None:
    found = short(Divergence("output", "a", 0, "", "x" * 10_000, {"n": 1}))
    assert found.expected == "x" * 2048 + "…"
    assert found.actual == {"n": 1}
