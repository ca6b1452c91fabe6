"""Excerpt: two values that differ as texts short enough to be sent and shown, cut around what differs.

Finds no differences itself and lays nothing out side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from golden.values import Kind
from replay.divergence import Divergence
from replay.judgement import Difference

CONTEXT_LINES = 3
MAX_LINES = 40
MAX_COLUMNS = 240
# Characters of one line kept before the first that differs.
_CONTEXT_COLUMNS = 60
# Characters of both sides together after which a judgement has shown enough.
MAX_CHARACTERS = 16_384
_MAX_VALUE = 2048


def excerpts(places: Iterable[tuple[Kind, str, Any, Any]]) -> tuple[tuple[Difference, ...], int]:
    """Return the differences at these places (kind, path, expected, actual), and how many more there are."""
    found: list[Difference] = []
    left, more = MAX_CHARACTERS, 0
    for place in places:
        if left <= 0:
            more += 1
            continue
        found.append(excerpt_of(*place))
        left -= sum(len(side or "") for side in (found[-1].expected, found[-1].actual)) + len(place[1])
    return tuple(found), more


def excerpt_of(kind: Kind, path: str, expected: Any, actual: Any) -> Difference:
    """Return one difference, its two sides cut to the same lines; texts with lines as they are, all else as JSON."""
    present = [value for value, absent in ((expected, "added"), (actual, "removed")) if kind != absent]
    as_text = all(isinstance(value, str) for value in present) and any("\n" in value for value in present)
    sides = [(value if as_text else _json(value)).split("\n") for value in present]
    same = _alike(sides)
    before = max(same - CONTEXT_LINES, 0)
    after = max(_alike([lines[same:][::-1] for lines in sides]) - CONTEXT_LINES, 0) if len(sides) > 1 else 0
    kept = [lines[before : max(before + 1, len(lines) - after)][:MAX_LINES] for lines in sides]
    start = _first_column([lines[same - before] for lines in kept if len(lines) > same - before])
    shown = ["\n".join(_cut(line, start) for line in lines) for lines in kept]
    whole = ["\n".join(lines) for lines in sides]
    return Difference(
        path=path,
        kind=kind,
        expected=None if kind == "added" else shown[0],
        actual=None if kind == "removed" else shown[-1],
        first_line=before + 1,
        cut=shown != whole,
    )


def short(divergence: Divergence) -> Divergence:
    """Return the divergence with a value that is long replaced by the beginning of its JSON."""
    sides = {name: _shortened(getattr(divergence, name)) for name in ("expected", "actual")}
    return msgspec.structs.replace(divergence, **sides)


def _shortened(value: Any) -> Any:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _alike(sides: list[list[str]]) -> int:
    """Return how many lines are the same on both sides, from the first."""
    if len(sides) == 1:
        return 0
    pairs = enumerate(zip(*sides, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(map(len, sides)))


def _first_column(lines: list[str]) -> int:
    if max(map(len, lines), default=0) <= MAX_COLUMNS:
        return 0
    same = next((n for n, characters in enumerate(zip(*lines, strict=False)) if len(set(characters)) > 1), 0)
    return max(same - _CONTEXT_COLUMNS, 0)


def _cut(line: str, start: int) -> str:
    if len(line) <= MAX_COLUMNS:
        return line
    start = start if start < len(line) else 0
    return ("…" if start else "") + line[start : start + MAX_COLUMNS] + ("…" if start + MAX_COLUMNS < len(line) else "")
