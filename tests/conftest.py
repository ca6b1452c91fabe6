"""Fixtures that several folders of tests share: a keyring, a store, one small recorded run."""

import sys
from pathlib import Path

import pytest

from golden.event import Data
from golden.keyring import Keyring
from golden.store import GoldenFile, Store
from tests import runs

pytest_plugins = ["pytester"]


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Let pass what a thread that is left behind is told while it happens to be in a finalizer of somebody's."""
    heard = sys.unraisablehook

    def hear(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type.__name__ != "LeftBehindError":
            heard(unraisable)

    sys.unraisablehook = hear


@pytest.fixture
def keyring() -> Keyring:
    """A keyring with one active and one retired key."""
    return runs.keyring()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty golden directory that syncs nothing."""
    return runs.store_in(tmp_path / "golden")


@pytest.fixture
def run(store: Store) -> GoldenFile:
    """A sealed run `r-1` of two steps, the first of which asks the world once."""
    events: list[Data] = [
        runs.start({"city": "Seattle"}),
        runs.effect(0, 0, {"max_c": 12.8}),
        runs.step(0, {"rows": [1, 2, 3]}),
        runs.step(1, "mean 2"),
        runs.end(steps_completed=2, steps_total=2),
    ]
    return runs.record(store, "r-1", events)
