"""Tally: what the tests of a session have told, summed up: what is to be kept, what nothing uses, what a report says.

Knows no test runner, and writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from replay.divergence import Divergence
from replay.judgement import Judgement, State, StepMark, code_of, kind_of
from replay.shelf import CHECKS, Leaf, NoValuesError, Shelf, Value, run_id_of
from replay.told import Seen, Told

# By run id: what is kept, and the names of those values in it that no test asks for any more.
Unused = dict[str, tuple[Leaf, list[str]]]
# Before the name of a doctest: a function of the same module may be called like it.
DOCTEST = "doctest:"


class Collected(msgspec.Struct):
    """What was collected: the tests of each module, run or not, and the modules of which nothing was left out.

    A module may be collected for its tests alone, for its doctests alone, or for both.
    """

    tests: dict[str, set[str]] = {}
    modules: set[str] = set()
    doctests: set[str] = set()

    def lacks(self, module: str, test: str) -> bool:
        """Whether a test is certainly not there any more."""
        whole = self.doctests if test.startswith(DOCTEST) else self.modules
        return module in whole and test not in self.tests.get(module, ())


class Change(msgspec.Struct):
    """What is to become of the values of one module: some are kept, some are gone.

    Of those that are kept, `new` were not there and `changed` were others.
    """

    module: str
    kind: str
    values: dict[str, Value] = {}
    gone: list[str] = []
    new: int = 0
    changed: int = 0

    def __str__(self) -> str:
        """Return how many values of each sort there are."""
        counts = {"new": self.new, "changed": self.changed, "removed": len(self.gone)}
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


class Tally:
    """What was told so far; `held` counts new values of tests that did not pass."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], Told] = {}
        self.held = 0

    def add(self, told: Told) -> None:
        """Take in what a test asked; of one that is run again the last counts."""
        self._told[told.run_id, told.test] = told

    def unused(self, shelf: Shelf, collected: Collected, root: str, searched: Collection[Path]) -> Unused:
        """Return what no test asks for, as far as that is certain.

        `searched` are the folders in which tests were looked for: a module that is gone may have been there.

        Raises:
            GoldenError: what is kept does not verify.
        """
        asked: dict[str, set[str]] = {}
        passed: dict[str, set[str]] = {}
        for told in self._told.values():
            asked.setdefault(told.module, set()).update(seen.name for seen in told.seen)
            if told.passed:
                passed.setdefault(told.module, set()).add(told.test)
        known = {run_id_of(module, CHECKS) for module in {*collected.tests, *collected.modules, *collected.doctests}}
        refused = {told.run_id for told in self._told.values() if told.refusal}
        found: Unused = {}
        for run_id in shelf.run_ids():
            if run_id in refused or not (searched or run_id in known):
                continue
            try:
                leaf = shelf.leaf(run_id)
            except NoValuesError:
                continue
            if leaf is None:
                continue
            place = Path(root, leaf.module)
            if not place.exists():
                names = list(leaf.kept) if any(place.is_relative_to(folder) for folder in searched) else []
            elif leaf.kind == CHECKS:
                names = list(_unused_of(leaf, collected, asked.get(leaf.module, ()), passed.get(leaf.module, ())))
            else:
                # syrupy says itself what it does not use.
                names = []
            if names:
                found[run_id] = (leaf, names)
        return found

    def changes(self, unused: Unused) -> dict[str, Change]:
        """Return by run id what is to be written: the values of tests that passed, without unused ones."""
        found = {run_id: Change(leaf.module, leaf.kind, gone=names) for run_id, (leaf, names) in unused.items()}
        self.held = 0
        for told in self._told.values():
            for seen in told.seen:
                if seen.data is None:
                    continue
                if not told.passed:
                    self.held += 1
                    continue
                change = found.setdefault(told.run_id, Change(told.module, CHECKS))
                change.values[seen.name] = Value(seen.data, told.test, seen.volatile)
                change.new += seen.state == "new"
                change.changed += seen.state == "differs"
        return found

    def judgements(self, shelf: Shelf, root: str) -> Iterator[Judgement]:
        """Give one judgement a module with golden values, then those on recordings that tests have replayed."""
        by_run: dict[str, list[Told]] = {}
        for told in self._told.values():
            by_run.setdefault(told.run_id, []).append(told)
        for run_id, tolds in sorted(by_run.items()):
            if any(told.seen or told.refusal for told in tolds):
                yield _judged(run_id, tolds, shelf, root)
        for told in self._told.values():
            yield from told.judgements


def _unused_of(leaf: Leaf, collected: Collected, asked: Collection[str], passed: Collection[str]) -> Iterator[str]:
    for name, kept in leaf.kept.items():
        if name not in asked and (kept.test in passed or collected.lacks(leaf.module, kept.test)):
            yield name


def _judged(run_id: str, tolds: list[Told], shelf: Shelf, root: str) -> Judgement:
    path = os.path.relpath(shelf.store.file(run_id).place, root)
    refusal = next((told.refusal for told in tolds if told.refusal), None)
    if refusal is not None:
        word: Any = refusal[0]
        return Judgement(
            run_id=run_id, path=path, verdict=word, code=code_of(word), problem=refusal[1], hint=refusal[2]
        )
    seen = {one.name: one for told in tolds for one in told.seen}
    leaf = shelf.leaf(run_id)
    names = list(dict.fromkeys([*(leaf.kept if leaf else ()), *seen]))
    wrong = next((one for one in seen.values() if one.divergence is not None), None)
    found: Divergence | None = wrong.divergence if wrong else None
    return Judgement(
        run_id=run_id,
        path=path,
        verdict="diverged" if found else "matched",
        code=code_of("diverged" if found else "matched"),
        kind=kind_of(found) if found else None,
        spec_id=CHECKS,
        steps_recorded=len(leaf.kept) if leaf else 0,
        steps_compared=sum(one.state == "same" for one in seen.values()),
        divergence=found,
        differences=wrong.differences if wrong else (),
        more=wrong.more if wrong else 0,
        hint="look at the code; if it is meant, `pytest --golden-update` keeps the new value" if found else None,
        steps=tuple(StepMark(name, n, _state(seen.get(name))) for n, name in enumerate(names)),
    )


def _state(seen: Seen | None) -> State:
    if seen is None:
        return "not reached"
    return "diverged" if seen.divergence is not None else "compared"
