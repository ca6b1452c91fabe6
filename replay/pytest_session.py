"""The session of golden values: one for all tests of a process, summing up and writing where pytest was started.

What is asked and compared is `checks`' business, how values are kept `shelf`'s.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from golden.clock import timestamp
from golden.errors import GoldenError, UsageError
from golden.spelling import spelt_out
from golden.version import VERSION
from golden.whereabouts import is_automatic
from replay.checks import Golden, Seen, Terms, Told, checked_name, listed
from replay.divergence import Divergence
from replay.judgement import DIFFERS, Finding, Judgement, State, StepMark, code_of, kind_of, summed_up
from replay.project import Project
from replay.report.words import counted
from replay.shelf import CHECKS, Leaf, NoValuesError, Shelf, Value, run_id_of

_GOLDEN = pytest.StashKey[Golden]()
_TOLD = "golden_told"
_REPORTS = {".html": ("html", "html_page"), ".xml": ("junit", "junit_xml")}
# Ended by somebody, or by an error: what was not asked for may have been about to be.
_BROKEN_OFF = frozenset({pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR})
_NAMED = 10
# Before the name of a doctest: a function of the same module may be called like it.
_DOCTEST = "doctest:"


class Noted(Protocol):
    """What is noted while tests are collected: all of them, files begun, and by node id whether all of it went well."""

    items: list[pytest.Item]
    begun: list[pytest.Collector]
    collected: dict[str, bool]


class Collected(msgspec.Struct):
    """What was collected: the tests of each module, run or not, and the modules of which nothing was left out.

    A module may be collected for its tests alone, for its doctests alone, or for both.
    """

    tests: dict[str, set[str]] = {}
    modules: set[str] = set()
    doctests: set[str] = set()

    def lacks(self, module: str, test: str) -> bool:
        """Whether a test is certainly not there any more."""
        whole = self.doctests if test.startswith(_DOCTEST) else self.modules
        return module in whole and test not in self.tests.get(module, ())


class GoldenSession:
    """One session; in a worker of xdist it only tells what was collected."""

    def __init__(self, config: pytest.Config, noted: Noted) -> None:
        self._config = config
        self._noted = noted
        self._rootdir = str(config.rootpath)
        self._cwd = str(config.invocation_params.dir)
        self._worker = hasattr(config, "workerinput")
        self._updating: bool = config.getoption("golden_update")
        self._report: str | None = config.getoption("golden_report")
        self._terms: Terms | GoldenError | None = None
        self._collected: Collected | None = None
        self._told: dict[tuple[str, str], Told] = {}
        self._owners: dict[tuple[str, str], list[str]] | None = None
        self._lines: list[str] = []
        self._unused: list[str] = []

    def check_options(self) -> None:
        """Refuse options that cannot be followed; raises pytest.UsageError."""
        if self._updating and is_automatic(os.environ):
            raise pytest.UsageError(
                "--golden-update: an automatic build (CI) keeps no golden values\n"
                "hint: run it where somebody looks at them, and commit them"
            )
        if self._report is not None and Path(self._report).suffix not in _REPORTS:
            raise pytest.UsageError(
                f"--golden-report: {self._report} is no kind of report\nhint: name it FILE.html or FILE.xml"
            )

    # In the process where a test runs.

    def fixture(self, request: pytest.FixtureRequest) -> Iterator[Golden]:
        """Give the test its fixture, and see that it leaves nothing open."""
        item: pytest.Item = request.node

        def folder() -> Path:
            factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
            return factory.mktemp("golden")

        try:
            _check_markers(item)
            golden = Golden(self.terms, *self._place(item), _volatile(item), folder)
            item.stash[_GOLDEN] = golden
            golden.open()
        except GoldenError as error:
            # As pytest.fail does, without showing what is being handled as well.
            raise pytest.fail.Exception(_said(error), pytrace=False) from None
        yield golden
        wrong = golden.close()
        if wrong is not None and golden.told.passed:
            golden.told.passed = False
            pytest.fail(wrong, pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        """Let the last report of a test tell what it asked."""
        report: pytest.TestReport = yield
        golden = item.stash.get(_GOLDEN, None)
        if golden is not None and report.when == "call":
            # Each subtest is reported as well, and what fails in one may be the reason that others ask for nothing.
            good = report.passed and not hasattr(report, "wasxfail")
            golden.told.passed = good and golden.told.passed is not False
        if golden is not None and report.when == "teardown":
            golden.told.passed = bool(golden.told.passed and report.passed)
            setattr(report, _TOLD, msgspec.json.encode(golden.told).decode())
            del item.stash[_GOLDEN]
        return report

    @property
    def terms(self) -> Terms:
        """What all tests have in common; raises GoldenError where there is no telling."""
        if self._terms is None:
            try:
                project = Project(self._rootdir, dict(os.environ), self._cwd)
                folder = str(self._config.getini("golden_dir") or "")
                place = Path(self._rootdir, folder) if folder else Path(project.directory, "pytest")
                shelf = Shelf(project.store(str(place)))
                self._terms = Terms(project.root, project, shelf, self._updating, reporting=self._report is not None)
            except GoldenError as error:
                self._terms = error
        if isinstance(self._terms, GoldenError):
            raise self._terms
        return self._terms

    @property
    def _root(self) -> str:
        """What modules are relative to: the project's, for other rootdirs may lie in it."""
        try:
            return self.terms.root
        except GoldenError:
            return self._rootdir

    def _place(self, item: pytest.Item) -> tuple[str, str]:
        """Return the path of a test's module, and its name there; two tests of one name are refused."""
        place = _place_of(item, self._root)
        if self._owners is None:
            self._owners = {}
            for other in item.session.items:
                if _mark(other, "name"):
                    self._owners.setdefault(_place_of(other, self._root), []).append(other.nodeid)
        owners = {*self._owners.get(place, ()), item.nodeid}
        if len(owners) > 1:
            pytest.fail(
                f"two tests keep golden values as {spelt_out(place[1])}: {', '.join(sorted(owners))}\n"
                "hint: give each its own name: @pytest.mark.golden(name=…)",
                pytrace=False,
            )
        return place

    # Where pytest was started.

    def hear(self, told: str) -> None:
        """Take in what a test asked; of one that is run again the last counts."""
        found = msgspec.json.decode(told, type=Told)
        self._told[found.run_id, found.test] = found

    def hear_collected(self, told: str) -> None:
        """Take in what a worker has collected; all collect the same."""
        self._collected = msgspec.json.decode(told, type=Collected)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write, look for what nothing uses, report; in a worker tell what was collected."""
        if self._worker:
            output: dict[str, str] = self._config.workeroutput  # type: ignore[attr-defined]  # of xdist
            output[_TOLD] = msgspec.json.encode(self._collect()).decode()
            return
        if self._collected is None and not self._workers:
            self._collected = self._collect()
        whole = exitstatus not in _BROKEN_OFF and not self._config.getoption("collectonly")
        failed = False
        try:
            unused = self._find_unused() if whole and self._collected is not None else {}
        except GoldenError as error:
            unused, failed = {}, True
            self._lines += _said(error).splitlines()
        if self._updating:
            failed |= not self._write(unused)
        elif unused:
            self._unused = [f"{leaf.module}: {name}" for leaf, names in unused.values() for name in names]
            self._say_unused()
        strict = bool(self._config.getoption("golden_strict"))
        failed |= strict and bool(self._unused)
        failed |= not self._write_report(strict=strict)
        if failed and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if isinstance(self._terms, Terms):
            self._terms.shelf.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was written, and what is unused."""
        if self._lines:
            terminalreporter.section("golden values")
            for line in self._lines:
                terminalreporter.write_line(line)

    @property
    def _workers(self) -> bool:
        return bool(getattr(self._config.option, "dist", "no") != "no")

    def _collect(self) -> Collected:
        root = self._root
        found = Collected()
        for item in self._noted.items:
            module, test = _place_of(item, root)
            found.tests.setdefault(module, set()).add(test)
        # What failed last is chosen within modules, without a word.
        begun = () if getattr(self._config.option, "lf", False) else self._noted.begun
        for file in begun:
            # Of a module that is named with a test, the others are left out, and no report is made of it.
            if self._noted.collected.get(file.nodeid):
                whole = found.doctests if type(file).__name__.startswith("Doctest") else found.modules
                whole.add(_within(str(file.path), root))
        return found

    def _find_unused(self) -> dict[str, tuple[Leaf, list[str]]]:
        """Return by run id what is kept and what of it no test asks for, as far as that is certain."""
        shelf, collected = self.terms.shelf, self._collected or Collected()
        asked: dict[str, set[str]] = {}
        passed: dict[str, set[str]] = {}
        for told in self._told.values():
            asked.setdefault(told.module, set()).update(seen.name for seen in told.seen)
            if told.passed:
                passed.setdefault(told.module, set()).add(told.test)
        known = {run_id_of(module, CHECKS) for module in {*collected.tests, *collected.modules, *collected.doctests}}
        found: dict[str, tuple[Leaf, list[str]]] = {}
        for run_id in shelf.run_ids():
            if run_id not in known and not self._covers_all:
                continue
            if any(told.refusal for told in self._told.values() if told.run_id == run_id):
                continue
            try:
                leaf = shelf.leaf(run_id)
            except NoValuesError:
                continue
            if leaf is None:
                continue
            module = leaf.module
            if not Path(self._root, module).exists():
                names = list(leaf.kept) if self._covers(module) else []
            elif leaf.kind != CHECKS:
                names = []
            else:
                names = [
                    name
                    for name, kept in leaf.kept.items()
                    if name not in asked.get(module, ())
                    and (kept.test in passed.get(module, ()) or collected.lacks(module, kept.test))
                ]
            if names:
                found[run_id] = (leaf, names)
        return found

    @property
    def _covers_all(self) -> bool:
        return any("::" not in arg and Path(self._cwd, arg).is_dir() for arg in self._config.args)

    def _covers(self, module: str) -> bool:
        """Whether a module that is gone lies where tests were looked for."""
        place = Path(self._root, module)
        return any("::" not in arg and place.is_relative_to(Path(self._cwd, arg)) for arg in self._config.args)

    def _write(self, unused: dict[str, tuple[Leaf, list[str]]]) -> bool:
        """Keep what tests that passed came to, remove what is unused; whether all of it could be written."""
        values: dict[str, dict[str, Value]] = {}
        modules: dict[str, tuple[str, str]] = {run_id: (leaf.module, leaf.kind) for run_id, (leaf, _) in unused.items()}
        fresh: dict[str, list[Seen]] = {}
        held = 0
        for told in self._told.values():
            new = [seen for seen in told.seen if seen.data is not None]
            held += 0 if told.passed else len(new)
            for seen in new if told.passed else ():
                modules[told.run_id] = (told.module, CHECKS)
                fresh.setdefault(told.run_id, []).append(seen)
                value = Value(seen.data or "", told.test, seen.volatile)
                values.setdefault(told.run_id, {})[seen.name] = value
        good = True
        for run_id, (module, kind) in sorted(modules.items()):
            gone = unused[run_id][1] if run_id in unused else []
            try:
                self.terms.shelf.rewrite(run_id, module, kind, values.get(run_id, {}), gone)
            except GoldenError as error:
                good = False
                self._lines.append(f"{spelt_out(module)}: not written: {_said(error)}")
                continue
            states = [seen.state for seen in fresh.get(run_id, [])]
            counts = {"new": states.count("new"), "changed": states.count("differs"), "removed": len(gone)}
            said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
            self._lines.append(f"{spelt_out(module)}: {said}")
        if held:
            self._lines.append(f"{counted(held, 'value')} of tests that did not pass not kept")
        return good

    def _say_unused(self) -> None:
        self._lines.append(f"{counted(len(self._unused), 'golden value')} kept that nothing uses:")
        self._lines += [f"  {spelt_out(name)}" for name in self._unused[:_NAMED]]
        if len(self._unused) > _NAMED:
            self._lines.append(f"  and {len(self._unused) - _NAMED:,} more")
        self._lines.append("hint: `pytest --golden-update` removes them")

    def _write_report(self, *, strict: bool) -> bool:
        if self._report is None:
            return True
        findings = [
            Finding("unused", f"no test asks for {name}", "pytest --golden-update removes it", DIFFERS)
            for name in (self._unused if strict else ())
        ]
        judgements = list(self._judgements())
        summary = summed_up(
            judgements,
            version=VERSION,
            python=platform.python_version(),
            when=timestamp(),
            findings=findings,
            warnings=() if strict else tuple(f"no test asks for {name}" for name in self._unused),
        )
        module, function = _REPORTS[Path(self._report).suffix]
        text = getattr(import_module(f"replay.report.{module}"), function)(summary, judgements)
        try:
            Path(self._cwd, self._report).write_text(text, "utf-8")
        except OSError as error:
            self._lines.append(f"the report {self._report} cannot be written: {error.strerror}")
            return False
        return True

    def _judgements(self) -> Iterator[Judgement]:
        """Give one judgement a module with golden values, then those on recordings that tests have replayed."""
        by_run: dict[str, list[Told]] = {}
        for told in self._told.values():
            by_run.setdefault(told.run_id, []).append(told)
        for run_id, tolds in sorted(by_run.items()):
            if any(told.seen or told.refusal for told in tolds):
                yield self._judged(run_id, tolds)
        for told in self._told.values():
            yield from told.judgements

    def _judged(self, run_id: str, tolds: list[Told]) -> Judgement:
        shelf = self.terms.shelf
        path = os.path.relpath(shelf.store.file(run_id).place, self._root)
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


def _place_of(item: pytest.Item, root: str) -> tuple[str, str]:
    """Return the path of a test's module relative to the root, and its name there, which no scheduler changes."""
    chain = item.listchain()
    below = [node.name for node in chain if isinstance(node, pytest.Class)]
    name = _mark(item, "name")
    if isinstance(item, pytest.DoctestItem):
        own = f"{_DOCTEST}{item.name}"
    else:
        own = item.name if name is None else f"{name}{item.name[item.name.index('[') :] if '[' in item.name else ''}"
    return _within(str(item.path), root), "::".join([*below, own] if name is None else [own])


def _within(path: str, root: str) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _mark(item: pytest.Item, name: str) -> Any:
    """Return what the closest marker says, None where it says nothing."""
    given = (mark.kwargs[name] for mark in item.iter_markers("golden") if name in mark.kwargs)
    return next(given, None)


def _check_markers(item: pytest.Item) -> None:
    """Refuse a marker that says what would have no effect; raises UsageError."""
    for mark in item.iter_markers("golden"):
        odd = [*map(repr, mark.args), *sorted(mark.kwargs.keys() - {"name", "volatile"})]
        if odd:
            raise UsageError(
                f"the marker golden takes name and volatile, not {', '.join(odd)}",
                hint='write @pytest.mark.golden(name="…", volatile=["…"])',
            )
        if mark.kwargs.get("name") is not None:
            checked_name(mark.kwargs["name"])


def _volatile(item: pytest.Item) -> list[str]:
    """Return the volatile places of all markers of a test."""
    given = [mark.kwargs.get("volatile", ()) for mark in item.iter_markers("golden")]
    return list(dict.fromkeys(place for places in given for place in listed(places)))


def _said(error: GoldenError) -> str:
    return f"golden: {spelt_out(error.problem)}\nhint: {spelt_out(error.hint)}"
