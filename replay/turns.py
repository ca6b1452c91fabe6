"""Turns: recorded calls that were under way side by side are answered in the order in which they were.

Which recorded call a call is, is decided elsewhere. It only ever delays an answer, and never for long: a call that the
code does not make any more keeps nobody waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from threading import Condition
from typing import TYPE_CHECKING

from golden.recording import Ended

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

# How many seconds to wait for a call that nobody has made yet. It is halved each time that was in vain.
PATIENCE = 2.0
# Up to how many microseconds apart answers came at once, as far as an event loop can tell.
_AT_ONCE = 250
# What follows from an answer comes before the next one: within so many turns of an event loop, in threads within as
# long as it was then, up to so many seconds.
_LOOP_TURNS = 10
_PAUSE = 0.01


class Turns:
    """The order in which the calls of a step, and of the steps it calls, were answered; `ended` says when each was."""

    def __init__(self, ended: Iterable[Ended]) -> None:
        self._ended = sorted(ended, key=lambda one: one.seq)
        self._places = {one.seq: n for n, one in enumerate(self._ended)}
        self._changed = Condition()
        # All before this one were answered, or are waited for no more.
        self._next = 0
        self._over: set[int] = set()
        self._made: set[int] = set()
        # Those that wait in an event loop, and those of them that were told how many turns to give to others.
        self._wakes: dict[int, Callable[[int], object]] = {}
        self._told: set[int] = set()
        self._patience = PATIENCE
        self._dropped = False

    def make(self, seq: int) -> None:
        """Take note that a recorded call is made by now: it will be answered, or cancelled, sooner or later."""
        self._made.add(self._places[seq])

    def wait(self, seq: int) -> None:
        """Wait in a thread until it is that call's turn."""
        place = self._places[seq]
        with self._changed:
            while not self._has_come(place):
                before = self._next
                if not self._changed.wait(self._patience) and self._next == before:
                    self._go_past(place)
        after = self._after(place)
        if after:
            time.sleep(min(after / 1_000_000, _PAUSE))

    async def wait_async(self, seq: int) -> None:
        """Wait in an event loop until it is that call's turn."""
        # Loaded already where there is something to await.
        from asyncio import get_running_loop, sleep

        place = self._places[seq]
        loop, turns = get_running_loop(), None
        while turns is None:
            woken: Future[int | None] = loop.create_future()
            with self._changed:
                before = self._next
                if self._has_come(place):
                    turns = self._turns(place)
                    break
                self._wakes[place] = partial(_wake, loop, woken)
            timer = loop.call_later(self._patience, _settle, woken, None)
            try:
                turns = await woken
            finally:
                timer.cancel()
                self._wakes.pop(place, None)
            with self._changed:
                if turns is None and self._next == before:
                    self._go_past(place)
        for _ in range(turns):
            await sleep(0)

    def has_come(self, seq: int) -> bool:
        """Whether it is that call's turn by now."""
        return self._has_come(self._places[seq]) or self._places[seq] in self._told

    def end(self, seq: int) -> None:
        """Take note that a call is answered, or was cancelled: the next one may be."""
        with self._changed:
            self._over.add(self._places[seq])
            self._advance()

    def drop(self) -> None:
        """Let nobody wait any more: the replay ends."""
        with self._changed:
            self._dropped = True
            self._changed.notify_all()
            for place in sorted(self._wakes):
                self._wakes.pop(place)(0)

    def _has_come(self, place: int) -> bool:
        return place <= self._next or self._dropped

    def _advance(self) -> None:
        before = self._next
        while self._next in self._over:
            self._over.discard(self._next)
            self._next += 1
        if self._next == before:
            return
        self._changed.notify_all()
        place = self._next
        turns = self._turns(place) if place in self._wakes else 0
        # What was answered at once with it is answered with it.
        while wake := self._wakes.pop(place, None):
            self._told.add(place)
            wake(turns)
            place += 1
            if not 0 < self._after(place) <= _AT_ONCE:
                break

    def _go_past(self, place: int) -> None:
        """Wait no more for calls that nobody makes, as far as that place, unless one is made that comes before it."""
        if self._has_come(place):
            return
        missed = range(self._next, place)
        if any(n in self._made and n not in self._over for n in missed):
            return
        self._over.update(missed)
        self._patience /= 2
        self._advance()

    def _turns(self, place: int) -> int:
        return _LOOP_TURNS if self._after(place) > _AT_ONCE else 0

    def _after(self, place: int) -> int:
        """Return for how many microseconds a call was under way after the one before it had been answered."""
        if not 0 < place < len(self._ended) or self._dropped:
            return 0
        before = self._ended[place - 1].span[1]
        began, over = self._ended[place].span
        return max(over - before, 0) if began < before else 0


def _wake(loop: AbstractEventLoop, woken: Future[int | None], turns: int) -> None:
    # It may have come to its end meanwhile, and whoever waited in it with it.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, woken, turns)


def _settle(woken: Future[int | None], turns: int | None) -> None:
    if not woken.done():
        woken.set_result(turns)
