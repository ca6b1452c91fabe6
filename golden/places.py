"""Places: JSON Pointers into what a run records, in which the segment `*` stands for exactly one.

Knows paths and values; what becomes of a value at a place is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from golden.canonical import canonical_bytes, decode
from golden.errors import FormatError

Path = tuple[str, ...]


def segments(rule: str) -> Path:
    """Return the segments of a pointer, the empty one before its first slash included."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in rule.split("/"))


def rule_path(rule: str, what: str, done: str) -> Path:
    """Return the path of a `what` rule: what lies under an output, a call's result, or the run's inputs can be `done`.

    Raises:
        FormatError: it is no such pointer.
    """
    match segments(rule):
        case ("", *rest) if is_value(tuple(rest)):
            return tuple(rest)
    raise FormatError(
        f'{what} path "{rule}" points at nothing that can be {done}',
        hint="write /steps/<id>/output/…, /steps/<id>/effects/<name>/result/… or /inputs/…",
    )


def is_value(path: Path) -> bool:
    """Whether a path lies where a run's values come from: its inputs, outputs, and what calls gave."""
    match path:
        case ("inputs", *_) | ("steps", _, "output", *_) | ("steps", _, "effects", _, "result", *_):
            return True
    return False


def below(path: Path, place: Path) -> Path | None:
    """Return what is left of a rule's path at `place`, None where it leads elsewhere."""
    if len(path) < len(place) or any(p not in ("*", q) for p, q in zip(path, place, strict=False)):
        return None
    return path[len(place) :]


def keys_at(value: Any, head: str) -> list[Any]:
    """Return the members or positions of `value` that a rule's segment stands for."""
    if isinstance(value, dict):
        return list(value) if head == "*" else [head] if head in value else []
    if isinstance(value, list):
        in_range = head.isascii() and head.isdigit() and int(head) < len(value) and str(int(head)) == head
        return list(range(len(value))) if head == "*" else [int(head)] if in_range else []
    return []


def leaves(value: Any, path: Path) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Give each value that is no list and no object at or below a rule's `path`, with the way to it.

    Where the path goes on below a text, it goes on in the JSON that this text is.
    """
    if path:
        value = opened(value)
        for key in keys_at(value, path[0]):
            for way, leaf in leaves(value[key], path[1:]):
                yield (key, *way), leaf
    elif isinstance(value, dict | list):
        for key in keys_at(value, "*"):
            for way, leaf in leaves(value[key], ()):
                yield (key, *way), leaf
    else:
        yield (), value


def follow(value: Any, way: tuple[str | int, ...]) -> Any:
    """Return the value at the end of a way that `leaves` gave; None where there is none."""
    for key in way:
        value = opened(value)
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def opened(value: Any) -> Any:
    """Return the list or object that a text is in JSON, and any other value as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        found = decode(value.encode())
        # Refuses what nests deeper than a value may.
        canonical_bytes(found)
    except FormatError:
        return value
    return found
