"""Executors: work that a step gives to a thread pool runs in the step's context, as in `asyncio.to_thread`.

Knows no step. Of pools in this process, only while a run is under way, and only where the caller is in one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial, wraps
from threading import Lock
from typing import Any

_MODULE = "concurrent.futures.thread"
_lock = Lock()
_users = 0
_restore: Callable[[], None] | None = None


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


def _is_elsewhere(pool: Any) -> bool:
    """Whether the threads of a pool run interpreters of their own, where no context can be handed to."""
    module = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)


def _patched(pool: Any, is_wanted: Callable[[], bool]) -> Callable[[], None]:
    original = pool.submit

    @wraps(original)
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        wanted = is_wanted() and not _is_elsewhere(self)
        return original(self, partial(copy_context().run, fn) if wanted else fn, *args, **kwargs)

    def restore() -> None:
        # Somebody else may have put theirs around it meanwhile.
        if pool.submit is submit:
            pool.submit = original

    pool.submit = submit
    return restore
