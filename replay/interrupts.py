"""Interrupts: SIGINT and SIGTERM end a run between two of its lines, never inside one.

Decides when a signal may break in; what becomes of the run is the driver's business.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, Self

from replay.engine import StoppedError

# How many seconds to wait at a time: a signal that comes just before we wait does not wake us.
PATIENCE = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While open as a context manager in the main thread, the first signal stops the run.

    A further one breaks in again, for code that kept the first to itself.

    `signum` is the signal that came, or None; `is_open` whether one breaks in now.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.is_open = False
        self._before: dict[signal.Signals, Any] = {}
        self._pid = os.getpid()
        self._letting_in, self.is_opening = _Window(self, self.check), _Window(self, bool)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # A signal that was ignored (nohup, a background job) stays ignored.
            heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._arrive) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # None: it was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def check(self) -> None:
        """Raise StoppedError("aborted") if a signal has come."""
        if self.signum is not None:
            raise StoppedError("aborted")

    def let_in(self) -> AbstractContextManager[None]:
        """Run the user's code: a signal breaks in at once, one that has come already right away."""
        return self._letting_in

    def open(self) -> AbstractContextManager[None]:
        """Run the user's code that cleans up: only a further signal breaks in."""
        return self.is_opening

    def shut(self) -> None:
        """Let nothing break in any more, wherever the last signal came from `let_in` or `open`."""
        self.is_open = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run our own code within the user's: a signal waits until it is done."""
        if threading.current_thread() is not threading.main_thread():
            # No signal is ever delivered here, and what the main thread runs meanwhile is its own affair.
            yield
            return
        was_open, self.is_open = self.is_open, False
        try:
            yield
        finally:
            self.is_open = was_open
        if was_open:
            self.check()

    def _arrive(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A process that a step forked is none of ours: it ends as it would without us.
            self.__exit__()
            signal.raise_signal(signum)
            return
        self.signum = signum
        if self.is_open:
            raise StoppedError("aborted")


class _Window:
    """While it is entered a signal breaks in. Once a step, so it is no generator; it holds nothing of its own."""

    __slots__ = ("_check", "_of")

    def __init__(self, of: Interrupts, check: Callable[[], object]) -> None:
        self._of = of
        self._check = check

    def __enter__(self) -> None:
        self._of.is_open = True
        try:
            self._check()
        except StoppedError:
            self._of.is_open = False
            raise

    def __exit__(self, *_: object) -> None:
        self._of.is_open = False
