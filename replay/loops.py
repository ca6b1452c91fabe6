"""Loops: the event loop of each thread that awaits async skills, kept for as long as the run lasts.

Knows nothing of steps. A loop that is left comes to its end, whatever runs in it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from replay.crew import LeftBehindError
from replay.effects import ENDS
from replay.engine import StoppedError
from replay.interrupts import PATIENCE

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task, TimerHandle

# Seconds that what is left has to clean up after itself.
GRACE = 1.0


class Loops:
    """The event loops of one run. All but `leave` is about the calling thread's."""

    def __init__(self) -> None:
        self._loops: dict[int, _Loop] = {}

    def run(self, value: Awaitable[Any]) -> Any:
        """Return what `value` comes to; what it leaves running is cancelled, and waited for."""
        loop = self._loops.get(threading.get_ident())
        if loop is None:
            loop = self._loops[threading.get_ident()] = _Loop()
        return loop.run(value)

    def leave(self, thread: threading.Thread) -> None:
        """End what another thread awaits: it is cancelled now, and after GRACE seconds it is dropped."""
        loop = self._loops.get(thread.ident or 0)
        if loop is not None:
            loop.leave()

    def close(self) -> None:
        """Close the loop, its asynchronous generators first; threads at work in its executor are not waited for."""
        loop = self._loops.get(threading.get_ident())
        if loop is not None:
            loop.close()
            # Only now: whoever is broken off in there closes it once more.
            del self._loops[threading.get_ident()]


class _Loop:
    def __init__(self) -> None:
        # 30 ms to import, needed only by async skills.
        from asyncio import new_event_loop

        self._left = False
        self._looks: TimerHandle | None = None
        self._loop = new_event_loop()
        self._loop.set_exception_handler(self._report)

    def run(self, value: Awaitable[Any]) -> Any:
        self._look_up()
        try:
            try:
                return self._loop.run_until_complete(value)
            finally:
                # What a skill left running ends with its step, so that nothing of it speaks in a later one.
                tasks = self._cancel_all()
                if tasks:
                    self._wait(tasks)
        finally:
            if self._looks is not None:
                self._looks.cancel()

    def _look_up(self) -> None:
        """Wake now and then, for a signal that has come."""
        self._looks = self._loop.call_later(PATIENCE, self._look_up)

    def leave(self) -> None:
        self._left = True
        # Closed already: then nobody waits in it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    def close(self) -> None:
        from asyncio import CancelledError

        try:
            # It may have been left a moment ago, and hear of it only in here, or its time may be up.
            with suppress(CancelledError, RuntimeError):
                self._wait({self._loop.create_task(self._loop.shutdown_asyncgens())})
        finally:
            self._loop.close()

    def _wait(self, tasks: set[Task[Any]]) -> None:
        from asyncio import gather, wait

        # Gathered, so that nobody is told of an error that came of being cancelled.
        ended = gather(*tasks, return_exceptions=True)
        self._loop.run_until_complete(wait([ended], timeout=GRACE if self._left else None))

    def _cancel_all(self) -> set[Task[Any]]:
        from asyncio import all_tasks

        tasks = all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        return tasks

    def _end(self) -> None:
        """End what runs, from within the loop; what does not let itself be cancelled is waited for no longer."""
        self._left = True
        self._cancel_all()
        self._loop.call_later(GRACE, self._loop.stop)

    def _report(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, (StoppedError, LeftBehindError)):
            # It was meant for all that runs here, and broke into a callback, whose errors a loop keeps to itself.
            if not loop.is_closed():
                self._end()
        elif not self._left and not isinstance(error, ENDS):
            loop.default_exception_handler(context)
