"""Paths: what a step is called that another one calls, `agent/plan`, `agent/rank#2`, and which recorded one it is.

Compares nothing, runs nothing. Steps side by side begin in another order each time: which one a call is, what it is
given says best.
"""

from __future__ import annotations

import re
from collections import Counter
from threading import Lock

_PLACE = re.compile(r"(.*)/([^/]*?)(?:#([0-9]+))?\Z", re.DOTALL)


class Paths:
    """Paths and indexes of the steps that steps call, in one run; `first` is the first index that is free for them."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._highest: Counter[tuple[str, str]] = Counter()
        self._left: dict[tuple[str, str], list[tuple[int, str, str | None]]] = {}
        self._lock = Lock()

    def add(self, path: str, index: int, input_hash: str | None) -> None:
        """Take note of a recorded step; `input_hash` is None where it never came to its end."""
        found = _PLACE.match(path)
        if found is None:
            return
        place = found[1], found[2]
        with self._lock:
            self._next = max(self._next, index + 1)
            self._highest[place] = max(self._highest[place], int(found[3] or 1))
            self._left.setdefault(place, []).append((index, path, input_hash))

    def take(self, parent: str, name: str, input_hash: str) -> tuple[str, int] | None:
        """Return path and index of the recorded step that `parent` calls now.

        That is the first one left that was given the same, else the first one left; None where none is.
        """
        with self._lock:
            left = self._left.get((parent, name))
            if not left:
                return None
            index, path, _ = min(left, key=lambda step: (step[2] != input_hash, step[0]))
            left[:] = [step for step in left if step[0] != index]
        return path, index

    def new(self, parent: str, name: str) -> tuple[str, int]:
        """Return path and index of a step that is not recorded."""
        with self._lock:
            self._highest[parent, name] += 1
            number, index = self._highest[parent, name], self._next
            self._next += 1
        return f"{parent}/{name}" + (f"#{number}" if number > 1 else ""), index

    def left_of(self, parent: str) -> tuple[str, int] | None:
        """Return path and index of a recorded step that `parent` has not called, the first to begin of these."""
        with self._lock:
            found = [step for (above, _), left in self._left.items() if above == parent for step in left]
        index, path, _ = min(found, default=(0, "", None), key=lambda step: step[0])
        return (path, index) if found else None


def is_nested(step_id: str) -> bool:
    """Whether a step was called by another: the ids of a spec's own steps hold no slash."""
    return "/" in step_id
