"""The session of golden values: one for all tests of a process; where pytest was started it writes and reports.

What is asked and compared is `checks`' business, what all of it comes to `tally`'s, how values are kept `shelf`'s.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.clock import timestamp
from golden.errors import GoldenError
from golden.spelling import spelt_out
from golden.version import VERSION
from golden.whereabouts import is_automatic
from replay.checks import Golden, Terms
from replay.judgement import DIFFERS, Finding, Judgement, code_of, summed_up
from replay.project import Project
from replay.pytest_items import Noted, check_markers, collected_of, given_name, place_of, volatile_places
from replay.report.words import counted
from replay.shelf import Shelf
from replay.tally import Collected, Tally, Unused
from replay.told import Told

_GOLDEN = pytest.StashKey[Golden]()
# As the plugin calls it, which cannot be imported by what it imports.
_TOLD = "golden_told"
_REPORTS = {".html": ("html", "html_page"), ".xml": ("junit", "junit_xml")}
# Ended by somebody, or by an error: what was not asked for may have been about to be.
_BROKEN_OFF = frozenset({pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR})
_NAMED = 10


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
        self._tally = Tally()
        self._owners: dict[tuple[str, str], list[str]] | None = None
        self._lines: list[str] = []
        self._findings: list[Finding] = []
        self._warnings: list[str] = []
        self._failed = False

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
            check_markers(item)
            golden = Golden(self.terms, *self._place(item), volatile_places(item), folder)
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
                self._terms = Terms(project, shelf, self._updating, reporting=self._report is not None)
            except GoldenError as error:
                self._terms = error
        if isinstance(self._terms, GoldenError):
            raise self._terms
        return self._terms

    @property
    def _root(self) -> str:
        """What modules are relative to: the project's, for other rootdirs may lie in it."""
        try:
            return self.terms.project.root
        except GoldenError:
            return self._rootdir

    def _place(self, item: pytest.Item) -> tuple[str, str]:
        """Return the path of a test's module, and its name there; two tests of one name are refused."""
        place = place_of(item, self._root)
        if self._owners is None:
            self._owners = {}
            for other in item.session.items:
                if given_name(other) is not None:
                    self._owners.setdefault(place_of(other, self._root), []).append(other.nodeid)
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
        """Take in what a test asked."""
        self._tally.add(msgspec.json.decode(told, type=Told))

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
        unused: Unused = {}
        try:
            unused = self._find_unused() if whole and self._collected is not None else {}
        except GoldenError as error:
            self._fail(error)
        if self._updating:
            self._write(unused)
        else:
            self._say_unused([f"{leaf.module}: {name}" for leaf, names in unused.values() for name in names])
        self._write_report()
        if self._failed and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
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
        # What failed last is chosen within modules, without a word.
        return collected_of(self._noted, self._root, partly=bool(getattr(self._config.option, "lf", False)))

    def _find_unused(self) -> Unused:
        # Of a module that is gone nothing is known where nobody looked for it.
        searched = [place for arg in self._config.args if "::" not in arg and (place := Path(self._cwd, arg)).is_dir()]
        return self._tally.unused(self.terms.shelf, self._collected or Collected(), self._root, searched)

    def _write(self, unused: Unused) -> None:
        """Keep what tests that passed came to, remove what is unused."""
        for run_id, change in sorted(self._tally.changes(unused).items()):
            said = str(change)
            try:
                self.terms.shelf.rewrite(run_id, change.module, change.kind, change.values, change.gone)
            except GoldenError as error:
                self._failed = True
                said = f"not written: {_said(error)}"
            self._lines.append(f"{spelt_out(change.module)}: {said}")
        if self._tally.held:
            self._lines.append(f"{counted(self._tally.held, 'value')} of tests that did not pass not kept")

    def _say_unused(self, names: list[str]) -> None:
        if not names:
            return
        self._lines.append(f"{counted(len(names), 'golden value')} kept that nothing uses:")
        self._lines += [f"  {spelt_out(name)}" for name in names[:_NAMED]]
        if len(names) > _NAMED:
            self._lines.append(f"  and {len(names) - _NAMED:,} more")
        self._lines.append("hint: `pytest --golden-update` removes them")
        said = [f"no test asks for {name}" for name in names]
        if self._config.getoption("golden_strict"):
            self._failed = True
            self._findings += [Finding("unused", one, "pytest --golden-update removes it", DIFFERS) for one in said]
        else:
            self._warnings += said

    def _write_report(self) -> None:
        if self._report is None:
            return
        judgements: list[Judgement] = []
        try:
            judgements += self._tally.judgements(self.terms.shelf, self._root)
        except GoldenError as error:
            self._fail(error)
        summary = summed_up(
            judgements,
            version=VERSION,
            python=platform.python_version(),
            when=timestamp(),
            findings=self._findings,
            warnings=tuple(self._warnings),
        )
        module, function = _REPORTS[Path(self._report).suffix]
        text = getattr(import_module(f"replay.report.{module}"), function)(summary, judgements)
        try:
            Path(self._cwd, self._report).write_text(text, "utf-8")
        except OSError as error:
            self._failed = True
            self._lines.append(f"golden: the report {self._report} cannot be written: {error.strerror}")
            self._lines.append("hint: make its folder, or give it another name")

    def _fail(self, error: GoldenError) -> None:
        """Take note of what keeps values from being judged, once."""
        self._failed = True
        verdict: Any = getattr(error, "verdict", None) or "refused"
        finding = Finding(verdict, error.problem, error.hint, code_of(verdict))
        if finding not in self._findings:
            self._findings.append(finding)
            self._lines += _said(error).splitlines()


def _said(error: GoldenError) -> str:
    return f"golden: {spelt_out(error.problem)}\nhint: {spelt_out(error.hint)}"
