"""Rows: two texts side by side, line by line, with the parts marked that differ.

Takes excerpts, which are short; what is too long to compare was left out before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import NamedTuple

from golden.spelling import spelt_out
from replay.judgement import Difference

# Lines that have less in common are told apart as a whole.
_ALIKE = 0.35
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


class Part(NamedTuple):
    """Some text, and whether it stands on its side only."""

    text: str
    marked: bool


class Line(NamedTuple):
    """A line by its number, in parts."""

    number: int
    parts: list[Part]


class Row(NamedTuple):
    """What stands side by side; None where one side has no such line."""

    expected: Line | None
    actual: Line | None
    differs: bool


def side_by_side(difference: Difference) -> Iterator[Row]:
    """Give the lines of both sides, those that differ with what differs in them."""
    one, other = (_lines(side) for side in (difference.expected, difference.actual))
    first = difference.first_line
    for tag, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        for n, (left, right) in enumerate(zip_longest(one[a:b], other[c:d])):
            if tag == "equal" or left is None or right is None:
                parts = _whole(left, tag), _whole(right, tag)
            else:
                parts = _marked(left, right)
            yield Row(_line(first + a + n, parts[0]), _line(first + c + n, parts[1]), tag != "equal")


def _lines(text: str | None) -> list[str]:
    return [] if text is None else [spelt_out(line, lines=True) for line in text.split("\n")]


def _line(number: int, parts: list[Part] | None) -> Line | None:
    return None if parts is None else Line(number, parts)


def _whole(text: str | None, tag: str) -> list[Part] | None:
    return None if text is None else [Part(text, tag != "equal")]


def _marked(left: str, right: str) -> tuple[list[Part], list[Part]]:
    one, other = _TOKEN.findall(left), _TOKEN.findall(right)
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return [Part(left, marked=True)], [Part(right, marked=True)]
    codes = matcher.get_opcodes()
    return (
        _joined((one[a:b], tag) for tag, a, b, _, _ in codes),
        _joined((other[c:d], tag) for tag, _, _, c, d in codes),
    )


def _joined(parts: Iterator[tuple[Sequence[str], str]]) -> list[Part]:
    """Return the parts of one side; a space alone between two that are marked is marked with them."""
    found: list[Part] = []
    for tokens, tag in parts:
        part = Part("".join(tokens), tag != "equal")
        if part.marked and len(found) > 1 and found[-2].marked and found[-1].text.isspace():
            space, before = found.pop(), found.pop()
            found.append(Part(before.text + space.text + part.text, marked=True))
        elif part.text:
            found.append(part)
    return found
