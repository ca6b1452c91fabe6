"""Trail: what a debugger can look at where a replay diverges: frames of the step's own code, alive or not.

Kept only for a replay that is debugged; opens no prompt, and runs nothing a second time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any

from replay.divergence import Diverged, Divergence
from replay.frames import Failure, calling_frame, is_users, place_of
from replay.functions import innermost

# A frame that still runs or has returned, what was raised, or None where no code of a step ran.
Where = FrameType | BaseException | None
Debugger = Callable[[Divergence, Failure | None, Where], None]


class Trail:
    """What one replay leaves behind for `debugger`, which is called once, in the thread of the replay.

    `under_way` gives the index of the step in which the caller runs, None outside of any.
    """

    def __init__(self, debugger: Debugger, under_way: Callable[[], int | None]) -> None:
        self._debugger = debugger
        self._under_way = under_way
        self._thread = threading.get_ident()
        # By index of the step.
        self._code: dict[int, CodeType | None] = {}
        self._frames: dict[int, FrameType] = {}
        self._raised: dict[int, BaseException] = {}
        self._is_in_call = False
        self._is_done = False

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Keep the frames of the steps that are called meanwhile, in threads that begin meanwhile too."""
        before, in_threads = sys.gettrace(), threading.gettrace()
        sys.settrace(self._see)
        threading.settrace(self._see)
        try:
            yield
        finally:
            sys.settrace(before)
            # None where there was none.
            threading.settrace(in_threads)

    def begin(self, index: int, function: Any) -> None:
        """Note that an attempt of a step begins, which calls `function`."""
        self.forget(index)
        self._code[index] = getattr(innermost(function), "__code__", None)

    def fail(self, index: int, error: BaseException) -> None:
        """Keep what an attempt of a step raised."""
        self._raised[index] = error

    def forget(self, index: int) -> None:
        """Let go of a step that did what was recorded: its locals live no longer than they would."""
        for kept in (self._code, self._frames, self._raised):
            kept.pop(index, None)

    def stop(self, divergence: Divergence) -> None:
        """Call the debugger where the user's code makes the call that diverges, as long as it stands there.

        Where it made the call in another thread, or in a task that is waited for elsewhere, that is left to `end`.
        """
        self._is_in_call = True
        frame = calling_frame(sys._getframe(1))  # noqa: SLF001  the one way to ask who called
        if threading.get_ident() == self._thread and frame is not None and place_of(frame) == divergence.location:
            self._call(divergence, None, frame)

    def end(self, diverged: Diverged, failure: Failure | None) -> None:
        """Call the debugger with what is left, now that the replay has ended, unless it was called before."""
        divergence = diverged.divergence
        index = -1 if divergence.index is None else divergence.index
        where = self._raised.get(index) or self._frames.get(index)
        if self._is_in_call and _is_of_user(diverged.__traceback__):
            where = diverged
        self._call(divergence, failure, where)

    def _call(self, divergence: Divergence, failure: Failure | None, where: Where) -> None:
        if not self._is_done:
            self._is_done = True
            self._debugger(divergence, failure, where)

    def _see(self, frame: FrameType, _event: str, _arg: Any) -> None:
        """Note the frame of a step's own function: of all calls in that step the first one of this function."""
        code = frame.f_code
        if code not in self._code.values():
            return
        index = self._under_way()
        if index is not None and self._code.get(index) is code and is_users(frame):
            self._frames.setdefault(index, frame)


def _is_of_user(trace: TracebackType | None) -> bool:
    while trace is not None:
        if is_users(trace.tb_frame):
            return True
        trace = trace.tb_next
    return False
