"""Executors: work that a step gives to a thread pool runs in the step's context, as in `asyncio.to_thread`.

Knows no step. Of pools in this process, only while a run is under way, and only where the caller is in one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial, wraps
from threading import Lock
from typing import Any

from replay.frames import calling_frame, place

_MODULE = "concurrent.futures.thread"
_lock = Lock()
_users = 0
_restore: Callable[[], None] | None = None
_given_at: ContextVar[tuple[str, int] | None] = ContextVar("given_at", default=None)


@contextmanager
def carried(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Hand the caller's context on with work that is submitted to a ThreadPoolExecutor, where `is_wanted` says so."""
    global _users, _restore  # noqa: PLW0603  a class of the standard library is there once
    with _lock:
        _users += 1
        # Nobody has a pool yet where its module is not loaded.
        module = sys.modules.get(_MODULE)
        if module is not None and _restore is None:
            _restore = _patched(module.ThreadPoolExecutor, is_wanted)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and _restore is not None:
                _restore()
                _restore = None


def given_place() -> str | None:
    """Return FILE:LINE of where the user's code gave to a pool what runs here, None where that is not known."""
    found = _given_at.get()
    return None if found is None else place(*found)


def _is_elsewhere(pool: Any) -> bool:
    """Whether the threads of a pool run interpreters of their own, where no context can be handed to."""
    module = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)


def _patched(pool: Any, is_wanted: Callable[[], bool]) -> Callable[[], None]:
    original = pool.submit

    @wraps(original)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not is_wanted() or _is_elsewhere(self):
            return original(self, fn, *args, **kwargs)
        context = copy_context()
        # By the time that somebody asks, whoever gives it may be anywhere.
        frame = calling_frame(sys._getframe(1))  # noqa: SLF001  the one way to ask who called
        context.run(_given_at.set, (frame.f_code.co_filename, frame.f_lineno) if frame else None)
        return original(self, partial(context.run, fn), *args, **kwargs)

    def restore() -> None:
        # Somebody else may have put theirs around it meanwhile.
        if pool.submit is submit:
            pool.submit = original

    pool.submit = submit
    return restore
