"""Executors: a pool is patched while a run is under way, and only for who wants it; afterwards it is as it was."""

import contextvars
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replay.executors import carried
from tests.unit.replay.conftest import ROOT

VALUE: contextvars.ContextVar[int] = contextvars.ContextVar("value", default=0)


def seen_in_a_pool() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(VALUE.get).result(30)


def test_work_runs_in_the_context_of_who_gives_it_where_that_is_wanted() -> None:
    before = ThreadPoolExecutor.submit
    wanted = [True]
    token = VALUE.set(7)
    try:
        with carried(lambda: wanted[0]):
            assert seen_in_a_pool() == 7
            wanted[0] = False
            assert seen_in_a_pool() == 0
        assert seen_in_a_pool() == 0
    finally:
        VALUE.reset(token)
    assert ThreadPoolExecutor.submit is before


def test_a_pool_of_interpreters_is_given_what_can_be_handed_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class InterpreterPoolExecutor(ThreadPoolExecutor):
        """As Python 3.14 has it, of threads that pickle what they are given."""

    module = types.ModuleType("concurrent.futures.interpreter")
    vars(module)["InterpreterPoolExecutor"] = InterpreterPoolExecutor
    monkeypatch.setitem(sys.modules, module.__name__, module)
    token = VALUE.set(7)
    try:
        with carried(lambda: True), InterpreterPoolExecutor(1) as pool:
            assert pool.submit(VALUE.get).result(30) == 0
    finally:
        VALUE.reset(token)


def test_the_last_of_several_puts_it_back() -> None:
    before = ThreadPoolExecutor.submit
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with carried(lambda: True):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with carried(lambda: True):
        thread.start()
        assert entered.wait(30)
    assert ThreadPoolExecutor.submit is not before
    leave.set()
    thread.join()
    assert ThreadPoolExecutor.submit is before


def test_who_has_decorated_functions_has_pools_loaded_by_the_time_of_a_run(tmp_path: Path) -> None:
    script = "import sys; from replay import external; external; print('concurrent.futures.thread' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
