"""Volatile paths: which places of inputs, outputs and effect results are recorded but do not enter a hash.

Knows pointers and values; what is recorded, replayed or compared is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from golden.canonical import canonical_bytes, decode, sha256_hex
from golden.places import Path, below, keys_at, rule_path


class Volatile:
    """The volatile rules of one run: JSON Pointers in which `*` stands for one segment.

    A rule lies under `/steps/<id>/output`, `/steps/<id>/effects/<name>/result` or `/inputs`.

    Raises:
        FormatError: a rule that is no such pointer.
    """

    def __init__(self, rules: Sequence[str] = ()) -> None:
        self.rules = tuple(rules)
        self._paths = [(rule, rule_path(rule, "volatile", "volatile")) for rule in self.rules]
        self._dead = set(self.rules)

    @property
    def dead(self) -> list[str]:
        """The rules that have matched nothing so far, in order."""
        return [rule for rule in self.rules if rule in self._dead]

    def hash_output(self, step_id: str, output: bytes | msgspec.Raw) -> str:
        """Return the hash of a step's output (canonical bytes) without its volatile places."""
        return self._hash(("steps", step_id, "output"), output) if self._paths else sha256_hex(output)

    def hash_result(self, step_id: str, name: str, result: bytes | msgspec.Raw) -> str:
        """Return the hash of an effect's result (canonical bytes) without its volatile places."""
        if not self._paths:
            return sha256_hex(result)
        return self._hash(("steps", step_id, "effects", name, "result"), result)

    def hash_inputs(self, inputs: bytes | msgspec.Raw) -> str:
        """Return the hash of the run's inputs (canonical bytes) without their volatile places."""
        return self._hash(("inputs",), inputs) if self._paths else sha256_hex(inputs)

    def strip(self, place: Path, value: Any) -> Any:
        """Return `value` (a fresh decode, changed in place) as it lies at `place`, volatile places taken out.

        An object's member is left out; a list item, or the whole value, becomes null.
        """
        for rule, path in self._paths:
            rest = below(path, place)
            if rest is None:
                continue
            if not rest:
                self._dead.discard(rule)
                return None
            if _cut(value, rest):
                self._dead.discard(rule)
        return value

    def _hash(self, place: Path, data: bytes | msgspec.Raw) -> str:
        if not any(below(path, place) is not None for _, path in self._paths):
            return sha256_hex(data)
        return sha256_hex(canonical_bytes(self.strip(place, decode(data))))


def _cut(value: Any, path: Path) -> bool:
    keys, rest = keys_at(value, path[0]), path[1:]
    if rest:
        return any([_cut(value[key], rest) for key in keys])  # noqa: C419  every match is cut, not the first
    for key in keys:
        if isinstance(value, dict):
            del value[key]
        else:
            value[key] = None
    return bool(keys)
