"""Parallel: one function over many files, in this process or in several that inherit everything by fork."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from golden.errors import StoreError

Item = TypeVar("Item")
Result = TypeVar("Result")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_function: Callable[[Any], Any]


def in_order(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """Give `function(item)` for each item in order, from at most `jobs` processes.

    `function` reaches the workers by fork, with the keys it holds: nothing but items and results is ever pickled.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(function, items)
        return
    # 20 ms to import, needed only for several processes.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    global _function  # noqa: PLW0603  what a forked worker finds in its memory
    _function = function
    chunk = max(1, min(64, len(items) // (jobs * 4)))
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, mp_context=fork, initializer=die_with_parent) as pool:
        try:
            yield from pool.map(_call, items, chunksize=chunk)
        except BrokenProcessPool:
            raise StoreError(
                "a worker process was killed", hint="free memory or use fewer --jobs, then run the command again"
            ) from None


def die_with_parent() -> None:
    """End this process when the one ends that forked it."""
    # A worker whose parent was killed would wait for its next file forever.
    import signal

    _control(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans(*, wanted: bool) -> None:
    """Be the parent of every process below this one whose own parent ends, or no more; where the system knows that."""
    _control(_PR_SET_CHILD_SUBREAPER, int(wanted))


def _control(option: int, value: int) -> None:
    import ctypes

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(option, value, 0, 0, 0)


def _call(item: Any) -> Any:
    return _function(item)
