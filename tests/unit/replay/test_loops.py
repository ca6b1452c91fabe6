"""Loops: one a thread, kept; one that is left comes to its end, whatever runs in it and wherever it is told so."""

import asyncio
import ctypes
import gc
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from replay.crew import LeftBehindError
from replay.engine import StoppedError
from replay.loops import GRACE, Loops

NEVER = 1000.0
Waiting = Callable[[], Awaitable[Any]]


class Waiter:
    """A thread that awaits something in its loop, as a crew's does."""

    def __init__(self, waiting: Waiting) -> None:
        self.loops = Loops()
        self.begun = threading.Event()
        self.found: Any = None
        self.closed = False
        self._waiting = waiting
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.begun.wait(30)

    def _run(self) -> None:
        try:
            with suppress(LeftBehindError):
                self.found = self.loops.run(self._begin())
        except BaseException as error:  # noqa: BLE001  what is looked at
            self.found = error
        ended = False
        while not ended:
            with suppress(LeftBehindError):
                self.loops.close()
                ended = True
        self.closed = True

    async def _begin(self) -> Any:
        self.begun.set()
        return await self._waiting()

    def told(self) -> None:
        """Have LeftBehindError raised in it, as a crew does."""
        place = ctypes.c_ulong(self.thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(place, ctypes.py_object(LeftBehindError))

    def gone(self) -> float:
        """Wait for its end; return how many seconds that took."""
        began = time.monotonic()
        self.thread.join(30)
        assert not self.thread.is_alive()
        assert self.closed
        return time.monotonic() - began


async def sleeps() -> None:
    await asyncio.sleep(NEVER)


async def rests_never() -> None:
    while True:  # noqa: ASYNC110  what is tried: a loop that never rests
        await asyncio.sleep(0)


async def keeps_it_to_itself() -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(NEVER)


async def leaves_a_stubborn_task() -> None:
    task = asyncio.create_task(keeps_it_to_itself())
    await asyncio.sleep(NEVER)
    await task


async def cleans_up_for_ever() -> None:
    try:
        await asyncio.sleep(NEVER)
    finally:
        await keeps_it_to_itself()


async def shields() -> None:
    await asyncio.shield(asyncio.create_task(keeps_it_to_itself()))


async def numbers() -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await keeps_it_to_itself()


async def leaves_a_generator_half_read() -> None:
    found = numbers()
    await anext(found)
    await asyncio.sleep(NEVER)


async def calls_itself_back() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_soon(again)

    again()
    await asyncio.sleep(NEVER)


WAITING: list[Waiting] = [
    sleeps,
    rests_never,
    keeps_it_to_itself,
    leaves_a_stubborn_task,
    cleans_up_for_ever,
    shields,
    leaves_a_generator_half_read,
    calls_itself_back,
]


@pytest.mark.parametrize("is_told", [False, True])
@pytest.mark.parametrize("waiting", WAITING)
def test_loop_that_is_left_ends_in_silence(waiting: Waiting, is_told: bool, caplog: pytest.LogCaptureFixture) -> None:
    waiter = Waiter(waiting)
    if is_told:
        waiter.told()
    waiter.loops.leave(waiter.thread)
    waiter.gone()
    gc.collect()
    assert caplog.messages == []


@pytest.mark.parametrize("kind", [LeftBehindError, StoppedError])
def test_what_breaks_into_a_callback_ends_all_that_runs(kind: type[BaseException]) -> None:
    def breaks() -> None:
        raise kind("aborted") if kind is StoppedError else kind

    async def waits() -> None:
        asyncio.get_running_loop().call_soon(breaks)
        await asyncio.sleep(NEVER)

    waiter = Waiter(waits)
    waiter.gone()
    assert isinstance(waiter.found, asyncio.CancelledError)


def test_what_breaks_into_a_task_that_nobody_asks_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise LeftBehindError

    async def waits() -> None:
        kept.append(asyncio.create_task(breaks()))
        await asyncio.sleep(0.01)

    kept: list[Any] = []
    waiter = Waiter(waits)
    waiter.gone()
    # It is said of a task when it is dropped; its loop is closed by then.
    kept.clear()
    gc.collect()
    assert caplog.messages == []


def test_error_of_any_other_callback_is_reported_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def breaks() -> None:
        raise ValueError("mine")

    async def waits() -> str:
        asyncio.get_running_loop().call_soon(breaks)
        await asyncio.sleep(0.01)
        return "done"

    loops = Loops()
    assert loops.run(waits()) == "done"
    loops.close()
    (record,) = caplog.records
    assert record.exc_info
    assert str(record.exc_info[1]) == "mine"


def test_what_lets_itself_be_cancelled_cleans_up_and_is_waited_for_no_longer_than_that() -> None:
    cleaned: list[str] = []

    async def cleans() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("task")

    async def waits() -> None:
        task = asyncio.create_task(cleans())
        try:
            await asyncio.sleep(NEVER)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("skill")
        await task

    waiter = Waiter(waits)
    # Both are to be asleep by then.
    time.sleep(0.05)
    waiter.loops.leave(waiter.thread)
    waiter.gone()
    assert sorted(cleaned) == ["skill", "task"]


def test_what_is_left_in_its_cleaning_up_has_its_grace_and_no_more() -> None:
    waiter = Waiter(keeps_it_to_itself)
    waiter.loops.leave(waiter.thread)
    assert waiter.gone() >= GRACE / 2


def test_loop_that_is_left_while_it_closes_ends_too() -> None:
    closing = threading.Event()
    kept: list[AsyncIterator[int]] = []

    async def reads() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closing.set()
            await keeps_it_to_itself()

    async def reads_half() -> None:
        kept.append(reads())
        await anext(kept[0])

    waiter = Waiter(reads_half)
    assert closing.wait(30)
    waiter.loops.leave(waiter.thread)
    waiter.gone()


def test_leaving_a_thread_that_awaits_nothing_is_nothing() -> None:
    loops = Loops()
    loops.leave(threading.Thread())
    loops.leave(threading.current_thread())
    loops.close()
    loops.close()


def test_loop_is_closed_once_and_the_next_one_is_another() -> None:
    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loops = Loops()
    first, again = loops.run(running()), loops.run(running())
    assert first is again
    loops.close()
    assert first.is_closed()
    assert loops.run(running()) is not first
    loops.close()


def test_tasks_that_fail_in_being_cancelled_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            raise ValueError("in the end")

    async def waits() -> str:
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        return "done" if not task.done() else "too soon"

    loops = Loops()
    assert loops.run(waits()) == "done"
    loops.close()
    gc.collect()
    assert caplog.messages == []


def test_a_loop_in_which_nothing_happens_wakes_now_and_then_for_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.loops.PATIENCE", 0.05)
    naps: list[float | None] = []

    async def idle() -> None:
        loop: Any = asyncio.get_running_loop()
        select = loop._selector.select

        def noted(timeout: float | None = None) -> Any:
            naps.append(timeout)
            return select(timeout)

        loop._selector.select = noted
        await asyncio.sleep(0.3)
        del loop._selector.select

    loops = Loops()
    loops.run(idle())
    loops.close()
    assert len(naps) > 3
    assert all(nap is not None and nap <= 0.06 for nap in naps)
