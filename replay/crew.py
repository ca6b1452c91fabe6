"""Crew: threads that run what they are given, so that several run side by side and one that overstays is left behind.

Knows nothing of steps; what it runs catches its own errors.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from golden.errors import StoreError

Work = Callable[[], Any]


class LeftBehindError(BaseException):
    """Raised in a thread that nobody waits for any more, wherever it is by then."""


class _Worker:
    """One thread and what it is to do next."""

    def __init__(self, crew: Crew) -> None:
        self.inbox: queue.SimpleQueue[tuple[int, Work] | None] = queue.SimpleQueue()
        self._crew = crew
        # A daemon: a hung step does not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name="golden-step", daemon=True)
        try:
            self.thread.start()
        except RuntimeError as error:
            raise StoreError(
                f"no thread can be started for a step: {error}",
                hint="let fewer steps run side by side, or raise the limit of processes",
            ) from None

    def _run(self) -> None:
        with suppress(LeftBehindError):
            self._work()
        # Whoever is left behind while it ends is told so only here.
        ended = False
        while not ended:
            with suppress(LeftBehindError):
                self._crew.at_end()
                ended = True

    def _work(self) -> None:
        while (job := self.inbox.get()) is not None:
            number, work = job
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001  it belongs to whoever waits for the work
                error = raised
            self._crew.done.put((number, self, result, error))


class Crew:
    """Threads, made when they are needed and used again.

    `at_end` is called in each before it ends; `wake` with one that is left behind, to end its waiting for what is not
    Python code.
    """

    def __init__(self, at_end: Callable[[], None], wake: Callable[[threading.Thread], None]) -> None:
        self.at_end = at_end
        self._wake = wake
        self.done: queue.SimpleQueue[tuple[int, _Worker, Any, BaseException | None]] = queue.SimpleQueue()
        self._idle: list[_Worker] = []
        self._busy: dict[int, _Worker] = {}

    def begin(self, number: int, work: Work) -> None:
        """Run `work` in a thread; `take` gives what it returns, by its number.

        Raises:
            StoreError: the system has no thread left.
        """
        worker = self._idle.pop() if self._idle else _Worker(self)
        self._busy[number] = worker
        worker.inbox.put((number, work))

    def take(self, seconds: float | None) -> tuple[int, Any] | None:
        """Return (number, result) of what has ended, raise what it raised, or return None after so many seconds."""
        try:
            number, worker, result, error = self.done.get(timeout=seconds)
        except queue.Empty:
            return None
        if self._busy.get(number) is not worker:
            # It ended just before it was left behind.
            return None
        # In this order: whoever breaks in between finds it busy, and leaves it behind.
        self._idle.append(worker)
        del self._busy[number]
        if error is not None:
            raise error
        return number, result

    def leave_behind(self, number: int) -> None:
        """Wait for that work no more, and end its thread as soon as it runs Python code again."""
        # Slow to import, and few steps ever overstay.
        import ctypes

        worker = self._busy.pop(number)
        place = ctypes.c_ulong(worker.thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(place, ctypes.py_object(LeftBehindError))
        # Only now, for a thread that has ended could hear of it no more; it may wait for work by then.
        worker.inbox.put(None)
        self._wake(worker.thread)

    def close(self) -> None:
        """Send the idle home, and leave the others behind."""
        for number in list(self._busy):
            self.leave_behind(number)
        for worker in self._idle:
            worker.inbox.put(None)
        for worker in self._idle:
            worker.thread.join()
        self._idle.clear()
