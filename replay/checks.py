"""Checks: the fixture `golden`: what a test comes to is compared with what is kept, and what differs fails the test.

Knows no test runner: what it finds is raised as AssertionError, and told as data for whoever sums up and writes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from golden.canonical import canonical_bytes, decode, sha256_hex
from golden.errors import FormatError, GoldenError, LimitError, NotCanonicalError, UsageError
from golden.recording import Recording
from golden.spelling import spelt_out
from golden.values import value_differences
from golden.volatile import Volatile
from replay.divergence import Divergence
from replay.excerpt import excerpts, short
from replay.judgement import DIFFERS, Judgement, kind_of
from replay.project import Project
from replay.report.words import counted, short_json, sides
from replay.shelf import CHECKS, Shelf, checked_size, run_id_of, stripped, volatile_of
from replay.spec import Spec
from replay.told import Seen, Told
from replay.trials import Skills, Trials, lines_of
from replay.typed import as_json

if TYPE_CHECKING:
    from replay.replayer import Replay

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_SHOWN = 9


class Terms(msgspec.Struct, frozen=True):
    """What all tests of a session have in common.

    Attributes:
        project: the project's golden directory, keys and skills; what modules and paths are relative to.
        shelf: the values.
        updating: whether values are written instead of being compared.
        reporting: whether judgements on replayed recordings are wanted.
    """

    project: Project
    shelf: Shelf
    updating: bool = False
    reporting: bool = False


class Golden:
    """What a test asks of golden values and recordings; `module` and `test` say which test.

    Args:
        terms: what it has in common with others.
        module: its path, relative to the project, with slashes.
        test: its name within the module, with classes and parameters.
        volatile: JSON Pointers below each value: places that may differ.
        folder: makes an empty folder.
    """

    def __init__(
        self, terms: Terms, module: str, test: str, volatile: Sequence[str], folder: Callable[[], Path]
    ) -> None:
        self.told = Told(run_id_of(module, CHECKS), module, test)
        self._terms = terms
        self._volatile = tuple(volatile)
        self._dead = set(self._volatile)
        self._trials = Trials(terms.project, folder)
        self._count = 0
        self._names: set[str] = set()

    def open(self) -> None:
        """Verify what there is of the module.

        Raises:
            GoldenError: it does not verify, or values are to be written and there is no key to sign with.
        """
        try:
            if self._terms.updating:
                self._terms.shelf.store.keyring.active  # noqa: B018  refuses where there is none
            self._terms.shelf.leaf(self.told.run_id)
        except GoldenError as error:
            self.told.refusal = (getattr(error, "verdict", None) or "unreadable", error.problem, error.hint)
            raise

    def check(self, value: Any, name: str | None = None, *, volatile: str | Sequence[str] = ()) -> None:
        """Assert that `value` is the golden one: JSON, a dataclass, or an object of attrs, msgspec or pydantic.

        Args:
            value: what the code under test came to.
            name: tells the values of one test apart; by default they are counted.
            volatile: JSON Pointers below the value, `*` for one segment: places that may differ, beside the marker's.

        Raises:
            AssertionError: there is no golden value, it is another, or `value` has no JSON form.
        """
        __tracebackhide__ = True
        try:
            wrong = self._checked(value, name, (*self._volatile, *listed(volatile)), sys._getframe(1))  # noqa: SLF001
        except GoldenError as error:
            wrong = _refused(error)
        if wrong is not None:
            raise AssertionError(wrong)

    def replay(
        self,
        run: str | os.PathLike[str] | Recording,
        *,
        skills: Skills | None = None,
        function: Callable[..., Any] | None = None,
        spec: Spec | Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Replay:
        """Assert that a recording replays as it was recorded, and return what `replay.replay` answers.

        Args:
            run: a run id in the golden directory, a path (relative to the project's root), or a recording.
            skills: a registry, or the names of modules as `--skills` takes them; by default the configured ones.
            function: in place of skills, the function that was recorded.
            spec: compared with; by default the current one if the configuration says where `specs` are, else the
                recorded one.
            inputs: in place of recorded run inputs.

        Raises:
            AssertionError: it diverges, or nothing can be said about it.
        """
        __tracebackhide__ = True
        wrong, answer = None, None
        try:
            answer, judgement = self._trials.replay(run, skills, function, spec, inputs, timeline=self._terms.reporting)
            wrong = None if judgement.verdict == "matched" else "\n".join(lines_of(judgement))
            if self._terms.reporting:
                self.told.judgements.append(judgement)
        except GoldenError as error:
            wrong = _refused(error)
        if wrong is not None or answer is None:
            raise AssertionError(wrong)
        return answer

    def record(
        self,
        spec: Spec | Mapping[str, Any] | Callable[..., Any],
        skills: Skills | None = None,
        **choices: Any,
    ) -> Recording:
        """Record a run in a golden directory and with a key that are this test's alone, and return it, open.

        Args:
            spec: what to run, a spec or a function.
            skills: as in `replay`.
            choices: as `replay.record` takes them; the seed is 0 unless one is given.

        Raises:
            AssertionError: it cannot be recorded. A run that fails is recorded like any other.
        """
        __tracebackhide__ = True
        try:
            return self._trials.record(spec, skills, choices)
        except GoldenError as error:
            wrong = _refused(error)
        raise AssertionError(wrong)

    def close(self) -> str | None:
        """Close what was recorded; return what is wrong with the marker's rules, None where they are right."""
        self._trials.close()
        if not self._dead or not self.told.seen:
            return None
        dead = ", ".join(spelt_out(place) for place in sorted(self._dead))
        return f"volatile paths that matched nothing in this test: {dead}\nhint: correct the marker, or remove them"

    def _checked(self, value: Any, name: str | None, volatile: tuple[str, ...], frame: FrameType) -> str | None:
        """Compare a value with the one that is kept, or take it along to be kept; return what is wrong."""
        step_id = self._step_id(name)
        data = checked_size(_canonical(value))
        rules = volatile_of(step_id, volatile) if volatile else None
        found = sha256_hex(data) if rules is None else rules.hash_output(step_id, data)
        if rules is not None:
            self._refuse_dead(rules, volatile)
        leaf = self._terms.shelf.leaf(self.told.run_id)
        kept = leaf.kept.get(step_id) if leaf else None
        wrong = None
        if kept is not None and kept.volatile == volatile and kept.output_hash == found:
            seen = Seen(step_id, "same")
        elif self._terms.updating:
            seen = Seen(step_id, "differs" if kept else "new", data.decode(), volatile)
        elif leaf is None or kept is None:
            seen, wrong = self._new(step_id, decode(data), frame)
        else:
            seen, wrong = self._compared(step_id, decode(data), rules, leaf.path, frame)
        self.told.seen.append(seen)
        return wrong

    def _new(self, step_id: str, value: Any, frame: FrameType) -> tuple[Seen, str]:
        found = Divergence("output", step_id, None, "", None, value, self._place(frame), "added")
        return Seen(step_id, "new", divergence=short(found)), (
            f"no golden value is kept for {spelt_out(step_id)} of {spelt_out(self.told.module)}\n"
            f"  actual    {spelt_out(short_json(value))}\n"
            "hint: `pytest --golden-update` keeps this one; look at it before you commit it"
        )

    def _compared(
        self, step_id: str, actual: Any, rules: Volatile | None, path: str, frame: FrameType
    ) -> tuple[Seen, str | None]:
        expected = self._terms.shelf.value(self.told.run_id, step_id)
        if rules is not None:
            expected, actual = stripped(step_id, rules, expected), stripped(step_id, rules, actual)
        places = list(value_differences(expected, actual))
        if not places:
            # The rules are others than when it was kept; by those of now it is the same.
            return Seen(step_id, "same"), None
        kind, at, one, other = places[0]
        found = short(Divergence("output", step_id, None, at, one, other, self._place(frame), kind))
        differences, more = excerpts(places)
        seen = Seen(step_id, "differs", divergence=found, differences=differences, more=more)
        return seen, "\n".join(_lines(self._judgement(seen, path), places))

    def _step_id(self, name: str | None) -> str:
        test = self.told.test
        if name is None:
            self._count += 1
            return test if self._count == 1 else f"{test}#{self._count}"
        if checked_name(name) in self._names:
            raise UsageError(f"two golden values of one test are called {name}", hint="give each a name of its own")
        self._names.add(name)
        return f"{test}#{name}"

    def _refuse_dead(self, rules: Volatile, places: tuple[str, ...]) -> None:
        dead = set(rules.dead)
        matched = {place for rule, place in zip(rules.rules, places, strict=True) if rule not in dead}
        self._dead -= matched
        for place in places[len(self._volatile) :]:
            if place not in matched:
                raise UsageError(f"volatile path {place} matches nothing in the value", hint="correct or remove it")

    def _judgement(self, seen: Seen, path: str) -> Judgement:
        found = seen.divergence
        return Judgement(
            run_id=self.told.run_id,
            path=self._terms.project.shown(path),
            verdict="diverged",
            code=DIFFERS,
            kind=kind_of(found) if found else None,
            divergence=found,
            differences=seen.differences,
            more=seen.more,
        )

    def _place(self, frame: FrameType) -> str:
        return f"{self._terms.project.shown(frame.f_code.co_filename)}:{frame.f_lineno}"


def checked_name(name: Any) -> str:
    """Return the name of a value or of a test's values; raises UsageError where it could be taken for another's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} names no golden value", hint="begin with a letter; use letters, digits, dot, dash, underscore"
        )
    return name


def listed(places: str | Sequence[str]) -> Sequence[str]:
    """Return places where one may be given by itself."""
    return [places] if isinstance(places, str) else places


def _canonical(value: Any) -> bytes:
    try:
        return canonical_bytes(value)
    except FormatError as error:
        first = error
    try:
        return canonical_bytes(as_json(value))
    except (NotCanonicalError, LimitError):
        raise
    except FormatError as error:
        raise NotCanonicalError(f"{first.problem}: {error.problem}", hint=first.hint) from None


def _refused(error: GoldenError) -> str:
    return f"{spelt_out(error.problem)}\nhint: {spelt_out(error.hint)}"


def _lines(found: Judgement, places: Sequence[tuple[Any, str, Any, Any]]) -> Iterator[str]:
    """Give what a test that fails says: the first place where the value differs, then the others."""
    at = found.divergence
    where = f" at {at.path}" if at and at.path else ""
    yield spelt_out(f"{at.step_id if at else ''} is not the golden value{where}")
    for name, text in sides(found):
        yield f"  {name:<9} {spelt_out(text)}"
    for kind, path, one, other in places[1 : _SHOWN + 1]:
        expected = "(absent)" if kind == "added" else short_json(one)
        actual = "(absent)" if kind == "removed" else short_json(other)
        yield spelt_out(f"  also at   {path}: expected {expected}, actual {actual}")
    if len(places) > _SHOWN + 1:
        yield f"  and at    {counted(len(places) - _SHOWN - 1, 'place')} more"
    yield spelt_out(f"  golden    {found.path}")
    yield "hint: if it is meant, `pytest --golden-update` keeps the new value"
