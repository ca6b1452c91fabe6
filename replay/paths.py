"""Paths: what a step is called that another one calls, `agent/plan`, `agent/rank#2`, and which recorded one it is.

Compares nothing, runs nothing. Steps side by side begin in another order each time: which one a call is, what it is
given says best.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from threading import Lock

_PLACE = re.compile(r"(.*)/([^/]*?)(?:#([0-9]+))?\Z", re.DOTALL)


class Paths:
    """Paths and indexes of the steps that steps call, in one run; `first` is the first index that is free for them."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._highest: Counter[tuple[str, str]] = Counter()
        self._left: dict[str, dict[str, _Left]] = {}
        self._lock = Lock()

    def add(self, path: str, index: int, input_hash: str | None) -> None:
        """Take note of a recorded step; `input_hash` is None where it never came to its end."""
        found = _PLACE.match(path)
        if found is None:
            return
        parent, name, number = found.groups()
        with self._lock:
            self._next = max(self._next, index + 1)
            self._highest[parent, name] = max(self._highest[parent, name], int(number or 1))
            self._left.setdefault(parent, {}).setdefault(name, _Left()).add(path, index, input_hash)

    def take(self, parent: str, name: str, input_hash: str) -> tuple[str, int] | None:
        """Return path and index of the recorded step that `parent` calls now.

        That is the first one left that was given the same, else the first one left; None where none is.
        """
        with self._lock:
            left = self._left.get(parent, {}).get(name)
            return left.take(input_hash) if left else None

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
            firsts = [left.first for left in self._left.get(parent, {}).values() if left]
        return min(firsts, key=lambda step: step[1], default=None)


class _Left:
    """Recorded steps of one name below one parent that nobody has called yet."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {}
        self._alike: dict[str | None, list[int]] = {}

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def first(self) -> tuple[str, int]:
        """The one that began first."""
        index = min(self._paths)
        return self._paths[index], index

    def add(self, path: str, index: int, input_hash: str | None) -> None:
        self._paths[index] = path
        # The first is taken first; they come in the order in which they ended.
        heapq.heappush(self._alike.setdefault(input_hash, []), index)

    def take(self, input_hash: str) -> tuple[str, int] | None:
        if not self._paths:
            return None
        alike = self._alike.get(input_hash, [])
        while alike and alike[0] not in self._paths:
            heapq.heappop(alike)
        index = alike[0] if alike else min(self._paths)
        return self._paths.pop(index), index


def is_nested(step_id: str) -> bool:
    """Whether a step was called by another: the ids of a spec's own steps hold no slash."""
    return "/" in step_id
