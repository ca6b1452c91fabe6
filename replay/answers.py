"""Answers: external calls answered from a recording; what it does not hold is a divergence, never a live call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NoReturn

from golden.canonical import decode
from golden.event import EffectData, StepData
from golden.recording import Record
from golden.redaction import Redaction
from golden.values import Kind
from replay import codes
from replay.divergence import Diverged, Divergence, args_hash, in_call
from replay.effects import CANCELLED, Asked, Calls, EffectError, UnrecordableError, caller, inside_event_loop
from replay.engine import Invoke, Outcome
from replay.functions import is_coroutine_function
from replay.paths import is_nested
from replay.turns import Turns

# How long a replay waits for a call to be cancelled that was cancelled when it was recorded, in seconds.
CANCEL_WITHIN = 60
# Told of a divergence while the code that made the call still stands there.
Stop = Callable[[Divergence], object]


class RecordedEffects:
    """The world as a recording remembers it; `record` gives the recorded step that a request is about.

    `turns` gives the order in which the calls of the step of the spec that is under way were answered. `stop` is called
    where an external call diverges, before the step is ended.
    """

    def __init__(
        self,
        record: Callable[[Invoke], Record],
        redaction: Redaction,
        turns: Callable[[], Turns],
        stop: Stop = bool,
    ) -> None:
        self._record = record
        self._redaction = redaction
        self._turns = turns
        self._stop = stop

    def begin(self, request: Invoke) -> Outcome | Calls:
        """See `Effects`; what its spec calls `external`, and what the clock ended, is answered whole."""
        record = self._record(request)
        if request.step.external or (is_timed_out(record.step) and not is_nested(request.step.id)):
            return answered(record.step)
        return _RecordedCalls(request, self._redaction, record, self._turns(), self._stop)

    def pause(self, request: Invoke) -> int:  # noqa: ARG002  its shape is the protocol's
        """See `Effects`; time is that of the recording."""
        return 0

    def limit(self, request: Invoke) -> None:
        """See `Effects`; time is that of the recording."""


def is_timed_out(step: StepData) -> bool:
    """Whether the clock ended the step or one of its attempts: running it again says nothing about that."""
    errors = [attempt.error for attempt in step.attempts] + [step.error or None]
    return any(error.code in codes.TIMED_OUT for error in errors if error)


def answered(step: StepData, output: bytes | None = None) -> Outcome:
    """Return a recorded step as the outcome of being asked for it, all its attempts at once.

    `output` is what it returned, where something is redacted in what is recorded of that.
    """
    return Outcome(
        (output or bytes(step.output)) if step.success else None,
        step.error or None,
        spent=step.cost_cents,
        final=True,
        attempts=step.attempts,
    )


class _RecordedCalls(Calls):
    def __init__(self, request: Invoke, redaction: Redaction, record: Record, turns: Turns, stop: Stop) -> None:
        super().__init__(request, redaction)
        self._stop = stop
        self._turns = turns
        calls = zip(record.effects, record.ended, strict=True)
        known = [(effect, ended) for effect, ended in calls if effect.attempt == request.attempt]
        self._left_over = {effect.call: effect for effect, _ in known}
        self._ended = {effect.call: ended for effect, ended in known}
        self._thread = threading.get_ident()
        # A loop that ran before the step did is the caller's, not the skill's.
        self._loop_before = inside_event_loop()
        self._lock = threading.Lock()

    def call(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer the call, or end the replay; see `Context.external`."""
        number = self.number(name)
        asked = self.asked(name, self.encoded(name, args, kwargs))
        if is_coroutine_function(fn):
            return self._answer_async(number, asked, caller())
        recorded, seq = self._taken(number, asked, caller)
        try:
            # Who waits in an event loop's own thread keeps all others in it from being answered.
            if not inside_event_loop():
                self._turns.wait(seq)
        finally:
            self._turns.end(seq)
        return self._answer(recorded, caller)

    def finish(self, location: Callable[[], str | None]) -> None:
        """See `Calls`; a recorded call that was never made is a divergence."""
        super().finish(location)
        for number in sorted(self._left_over):
            self.latch(self._diverged(number, ("", _shown(self._left_over[number]), None, "removed"), location()))

    async def _answer_async(self, number: int, asked: Asked, location: str | None) -> Any:
        # Loaded already where there is something to await.
        from asyncio import CancelledError, sleep

        recorded, seq = self._taken(number, asked, lambda: location)
        has_waited = False
        try:
            # Others get their turn, as they did when the world took its time.
            await sleep(0)
            has_waited = True
            if recorded.error and recorded.error.type == CANCELLED:
                await sleep(CANCEL_WITHIN)
                return self._diverge(number, ("/error/type", CANCELLED, None, "removed"), location)
            await self._turns.wait_async(seq)
        except CancelledError:
            # One whose turn it was may have been answered a moment before it was cancelled, as it was then.
            if not recorded.error and not (has_waited and self._turns.has_come(seq)):
                self._left_over[recorded.call] = recorded
            raise
        finally:
            self._turns.end(seq)
        return self._answer(recorded, lambda: location)

    def _taken(self, number: int, asked: Asked, location: Callable[[], str | None]) -> tuple[EffectData, int]:
        """Return the recorded call that a call is, and the number of its line."""
        if self.latched:
            raise self.latched
        with self._lock:
            recorded = self._recorded_for(number, asked)
            mismatch = in_call(recorded, *asked) if recorded else None
            if recorded and not mismatch:
                del self._left_over[recorded.call]
        if recorded is None:
            name, args, kwargs = asked
            actual = {"name": name, "args": decode(args), "kwargs": decode(kwargs)}
            self._diverge(number, ("", None, actual, "added"), location())
        if mismatch:
            self._diverge(recorded.call, mismatch, location())
        seq = self._ended[recorded.call].seq
        self._turns.make(seq)
        return recorded, seq

    def _answer(self, recorded: EffectData, location: Callable[[], str | None]) -> Any:
        if self.latched:
            raise self.latched
        if recorded.error:
            if recorded.error.type == UnrecordableError.__name__:
                self.latch(UnrecordableError(recorded.error.message, location()))
            raise EffectError(recorded.error.type, recorded.error.message)
        return self.redaction.reveal(recorded.result)

    def _recorded_for(self, number: int, asked: Asked) -> EffectData | None:
        """Return the recorded call of this number; of calls that run side by side, one that asked the same thing.

        Tasks and threads start their calls in another order each time, so there the number alone says nothing.
        """
        recorded = self._left_over.get(number)
        name, digest = asked[0], args_hash(*asked[1:])
        if recorded and (recorded.name, recorded.args_hash) == (name, digest):
            return recorded
        rest = sorted(self._left_over.items())
        alike = [effect for _, effect in rest if (effect.name, effect.args_hash) == (name, digest)]
        akin = [effect for _, effect in rest if effect.name == name]
        if self._side_by_side():
            return next(iter([*alike, *akin]), None)
        # Beside a thread that it has started, a step's own makes calls as well.
        return next(filter(self._was_beside_others, alike if recorded else [*alike, *akin]), recorded)

    def _was_beside_others(self, effect: EffectData) -> bool:
        """Whether a recorded call was under way together with another one of its step."""
        began, over = self._ended[effect.call].span
        others = (ended.span for call, ended in self._ended.items() if call != effect.call)
        return any(begin < over and began < end for begin, end in others)

    def _side_by_side(self) -> bool:
        if threading.get_ident() != self._thread:
            return True
        if self._loop_before or not inside_event_loop():
            return False
        # Loaded already where a loop runs. One task alone makes its calls in a row.
        from asyncio import all_tasks

        return len(all_tasks()) > 1

    def _diverge(self, number: int, mismatch: tuple[str, Any, Any, Kind], location: str | None) -> NoReturn:
        found = self._diverged(number, mismatch, location)
        self._turns.drop()
        if self.latched is None:
            # Before anybody looks around, who might ask for more.
            self.latched = found
            self._stop(found.divergence)
        self.latch(found)

    def _diverged(self, number: int, mismatch: tuple[str, Any, Any, Kind], location: str | None) -> Diverged:
        path, expected, actual, kind = mismatch
        where = f"/effects/{number}{path}"
        return Diverged(Divergence("effect", self.step_id, self.index, where, expected, actual, location, kind))


def _shown(effect: EffectData) -> dict[str, Any]:
    return {"name": effect.name, "args": decode(effect.args), "kwargs": decode(effect.kwargs)}
