"""The pytest plugin: options, settings, the marker and the fixture `golden`; a session that uses none pays nothing.

Imports nothing of this project at the start of pytest; what a test asks is answered by `checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from replay.checks import Golden
    from replay.pytest_session import GoldenSession

__all__ = ["GoldenPlugin"]
MARK = "golden(name=None, volatile=()): another name of the test's golden values; JSON Pointers that may differ in each"
TOLD = "golden_told"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options and settings."""
    group = parser.getgroup("golden", "golden values")
    group.addoption("--golden-update", action="store_true", help="keep what the tests that pass come to, remove unused")
    group.addoption("--golden-strict", action="store_true", help="fail where golden values are kept that nothing uses")
    group.addoption("--golden-report", metavar="FILE", help="write a report: FILE.html a page, FILE.xml JUnit XML")
    parser.addini(
        "golden_dir", "where golden values are kept, relative to rootdir (default: pytest/ in the golden dir)"
    )
    parser.addini("golden_name", "the name of the fixture", default="golden")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be done before anything is collected, and make the fixture under its name."""
    config.addinivalue_line("markers", MARK)
    plugin = GoldenPlugin(config)
    config.pluginmanager.register(plugin, "stepseal-plugin")
    config.pluginmanager.register(_fixture_of(plugin, config.getini("golden_name")), "stepseal-fixture")
    if any(config.getoption(name) for name in ("golden_update", "golden_strict", "golden_report")):
        # Values that no test asks for any more are found even where no test asks for one.
        plugin.session.check_options()


class GoldenPlugin:
    """What is there from the start: notes what is collected, and makes the session when a test first asks."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._session: GoldenSession | None = None
        self.items: list[pytest.Item] = []
        self.begun: list[pytest.Collector] = []
        self.collected: dict[str, bool] = {}

    @property
    def session(self) -> GoldenSession:
        """The part that is imported where it is needed."""
        if self._session is None:
            # Needs half of this project, and few sessions need it.
            session: GoldenSession = import_module("replay.pytest_session").GoldenSession(self._config, self)
            self._config.pluginmanager.register(session, "stepseal-session")
            self._session = session
        return self._session

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Take note of a test that is there, whether it will be run or not: what leaves tests out need not say so."""
        self.items.append(item)

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """Take note of what is about to be collected; one file may be so twice, for its tests and for its doctests."""
        if isinstance(collector, pytest.File):
            self.begun.append(collector)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take note of files that were collected whole, of which nothing failed."""
        self.collected[report.nodeid] = report.passed and self.collected.get(report.nodeid, True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear what a test came to, be it in a worker of xdist."""
        told = report.__dict__.get(TOLD)
        if told is not None and not hasattr(self._config, "workerinput"):
            self.session.hear(told)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hear what a worker of xdist has collected; one that died says nothing."""
        told = getattr(node, "workeroutput", {}).get(TOLD)
        if told is not None:
            self.session.hear_collected(told)


def _fixture_of(plugin: GoldenPlugin, name: str) -> ModuleType:
    """Return a plugin that holds the fixture under its name: pytest looks for fixtures in modules and classes alone."""

    @pytest.fixture(name=name)
    def golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
        """Golden values and recordings: `check(value)`, `replay(run)`, `record(spec)`."""
        yield from plugin.session.fixture(request)

    holder = ModuleType("golden_fixture")
    holder.__dict__["golden"] = golden
    return holder
