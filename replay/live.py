"""Live: external calls that are made for real, each written down before the skill sees its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import UNSET, Raw

from golden import event
from golden.canonical import canonical_bytes, decode
from golden.errors import FormatError, StoreError
from golden.event import EffectData, StepError
from replay import codes
from replay.divergence import args_hash
from replay.effects import CANCELLED, ENDS, Asked, Calls, EffectError, Limit, UnrecordableError, caller
from replay.engine import Invoke, Outcome
from replay.frames import MAX_MESSAGE, failure_of
from replay.functions import is_coroutine_function

if TYPE_CHECKING:
    from golden.redaction import Redaction
    from golden.volatile import Volatile
    from replay.interrupts import Interrupts

_NULL = Raw(b"null")
_UNRECORDABLE = partial(event.EffectError, type="UnrecordableError")
# Whose external call runs here, and its name: inside of one, code is what the world is for.
asking: ContextVar[tuple[object, str] | None] = ContextVar("asking", default=None)


class LiveEffects:
    """The world itself; `write` records each answer before the skill sees it.

    `seconds` is how long the run may last from now on, None for ever.
    """

    def __init__(
        self,
        write: Callable[[EffectData, int], None],
        volatile: Volatile,
        interrupts: Interrupts,
        redaction: Redaction,
        seconds: float | None = None,
    ) -> None:
        self.write = write
        self.redaction = redaction
        self.volatile = volatile
        self.interrupts = interrupts
        self._seconds = seconds
        self._began = time.monotonic()

    def begin(self, request: Invoke) -> Outcome | Calls:
        """See `Effects`; nothing is ever answered whole."""
        return LiveCalls(self, request)

    def pause(self, request: Invoke) -> int:
        """See `Effects`; a run that is over before waits no longer than that, and until it is over."""
        if self._seconds is None:
            return request.delay_ms
        return min(request.delay_ms, max(ceil(self._left(self._seconds) * 1000), 0))

    def limit(self, request: Invoke) -> Limit | None:
        """See `Effects`: the step's own limit, or what is left of the run's."""
        own, whole = request.step.timeout_seconds, self._seconds
        if whole is not None and (own is None or self._left(whole) < own):
            return Limit(self._left(whole), _timeout(codes.WORKFLOW_TIMEOUT, f"the run lasted longer than {whole} s"))
        return None if own is None else Limit(own, _timeout(codes.STEP_TIMEOUT, f"no answer within {own} s"))

    def _left(self, seconds: float) -> float:
        return seconds - (time.monotonic() - self._began)


class LiveCalls(Calls):
    """Calls of one attempt that are made for real."""

    def __init__(self, world: LiveEffects, request: Invoke) -> None:
        super().__init__(request, world.redaction)
        self._world = world
        self._lock = threading.Lock()
        self._under_way: dict[int, Asked] = {}

    def leave(self) -> None:
        """See `Calls`; waits for a line that a thread is writing."""
        with self._lock:
            super().leave()

    def give_up(self) -> None:
        """See `Calls`; a call that is under way leaves no line, and waits for one that is being written."""
        with self._lock:
            super().leave()
            self._under_way.clear()

    def finish(self, location: Callable[[], str | None]) -> None:
        """Raise what was latched; a call that a thread has not come back from cannot be repeated."""
        with self._lock:
            # After a line that could not be written there is nothing left to write.
            unfinished = {} if isinstance(self.latched, StoreError) else self._under_way
            for number, asked in sorted(unfinished.items()):
                message = f"external call {asked[0]!r} was still under way when its step ended; wait for its thread"
                self._put(number, asked, 0, None, None, _UNRECORDABLE(message=message[:MAX_MESSAGE]))
                self.latched = self.latched or UnrecordableError(message, location())
        super().finish(location)

    def call(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `fn` with copies of its arguments and write the effect; see `Context.external`."""
        self._world.interrupts.check()
        number = self.number(name)
        given = self.encoded(name, args, kwargs)
        asked = self.asked(name, given)
        outer = asking.get()
        if outer and outer[0] is self:
            message = f"external call {name!r} inside external call {outer[1]!r}; make one of them a plain call"
            self.latch(UnrecordableError(message, caller()))
        recalled = self.recall(number, asked)
        if is_coroutine_function(fn):
            return self._call_async(number, asked, given, fn, caller(), recalled)
        if recalled is not None:
            return self._told(number, asked, recalled)
        started = time.perf_counter_ns()
        try:
            with self._asks(number, asked):
                result = fn(*decode(given[0]), **decode(given[1]))
        except ENDS:
            self._ended(number, asked, started)
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it is recorded and told to the skill
            return self._failed(number, asked, error, started)
        return self._answered(number, asked, result, started, caller)

    def recall(self, number: int, asked: Asked) -> EffectData | None:  # noqa: ARG002  for a run that was killed
        """Return the call as it was answered already, None where the world is to be asked."""
        return None

    def _told(self, number: int, asked: Asked, recalled: EffectData) -> Any:
        """Give what a call was answered before, and write it as this attempt's."""
        self._start(number, asked)
        told = recalled.error or None
        raw = None if told else bytes(recalled.result)
        self._record(number, asked, time.perf_counter_ns(), raw, recalled.result_hash, told)
        if told:
            raise EffectError(told.type, told.message)
        return decode(recalled.result)

    async def _call_async(
        self,
        number: int,
        asked: Asked,
        given: tuple[bytes, bytes],
        fn: Callable[..., Any],
        location: str | None,
        recalled: EffectData | None,
    ) -> Any:
        # Loaded already where there is something to await.
        from asyncio import CancelledError, sleep

        if recalled is not None:
            # Others get their turn, as they did when the world took its time.
            await sleep(0)
            return self._told(number, asked, recalled)
        started = time.perf_counter_ns()
        try:
            with self._asks(number, asked):
                result = await fn(*decode(given[0]), **decode(given[1]))
        except ENDS:
            self._ended(number, asked, started)
            raise
        except (CancelledError, GeneratorExit):
            if not self._left and not self.latched and self._world.interrupts.signum is None:
                told = event.EffectError(message="", type=CANCELLED)
                self._record(number, asked, started, None, None, told)
            raise
        except BaseException as error:  # noqa: BLE001  as in call
            return self._failed(number, asked, error, started)
        return self._answered(number, asked, result, started, lambda: location)

    def _start(self, number: int, asked: Asked) -> None:
        with self._lock:
            # It may have been numbered long before it was awaited.
            if self._left:
                raise UnrecordableError(f"external call {asked[0]!r} of a step that has ended", None)
            self._under_way[number] = asked

    @contextmanager
    def _asks(self, number: int, asked: Asked) -> Iterator[None]:
        self._start(number, asked)
        token = asking.set((self, asked[0]))
        try:
            yield
        finally:
            asking.reset(token)

    def _ended(self, number: int, asked: Asked, started: int) -> None:
        # A call that led to one which no recording can hold cannot be held either.
        if isinstance(self.latched, UnrecordableError):
            message = str(self.latched)[:MAX_MESSAGE]
            self._record(number, asked, started, None, None, _UNRECORDABLE(message=message))

    def _answered(
        self,
        number: int,
        asked: Asked,
        result: Any,
        started: int,
        location: Callable[[], str | None],
    ) -> Any:
        if self.latched:
            self._ended(number, asked, started)
            raise self.latched
        name = asked[0]
        try:
            raw = canonical_bytes(result)
            written = self.redaction.admit(("steps", self.step_id, "effects", name, "result"), raw)
            digest = self._world.volatile.hash_result(self.step_id, name, written)
            self._record(number, asked, started, written, digest)
        except FormatError as error:
            problem, hint = error.problem, error.hint
            if hasattr(result, "__await__"):
                problem, hint = "it is a coroutine", "pass an `async def` function"
                getattr(result, "close", bool)()
            message = f"result of external call {name!r}: {problem}; {hint}"[:MAX_MESSAGE]
            self._record(number, asked, started, None, None, _UNRECORDABLE(message=message))
            self.latch(UnrecordableError(message, location()))
        return decode(raw)

    def _failed(self, number: int, asked: Asked, error: BaseException, started: int) -> NoReturn:
        if self.latched:
            self._ended(number, asked, started)
            raise self.latched
        failure = failure_of(error)
        # The skill is told what a replay will tell it.
        hidden = self.redaction.message
        told = event.EffectError(message=hidden(failure.message), type=hidden(failure.type))
        self._record(number, asked, started, None, None, told)
        raised = EffectError(told.type, told.message)
        raised.frames = failure.frames
        raise raised from error

    def _record(
        self,
        number: int,
        asked: Asked,
        started: int,
        raw: bytes | None,
        digest: str | None,
        error: event.EffectError | None = None,
    ) -> None:
        self.refuse_child(f"external call {asked[0]!r}")
        with self._world.interrupts.held(), self._lock:
            if self._left or number not in self._under_way:
                raise UnrecordableError(f"external call {asked[0]!r} came back after its step ended", None)
            self._put(number, asked, (time.perf_counter_ns() - started) // 1000, raw, digest, error)
            del self._under_way[number]

    def _put(
        self,
        number: int,
        asked: Asked,
        duration_us: int,
        raw: bytes | None,
        digest: str | None,
        error: event.EffectError | None,
    ) -> None:
        name, args, kwargs = asked
        data = EffectData(
            args=Raw(args),
            args_hash=args_hash(args, kwargs),
            attempt=self.attempt,
            call=number,
            error=error or UNSET,
            index=self.index,
            kwargs=Raw(kwargs),
            name=name,
            result=_NULL if raw is None else Raw(raw),
            result_hash=digest,
            step_id=self.step_id,
        )
        try:
            self._world.write(data, duration_us)
        except StoreError as lost:
            # The run cannot be recorded any further, whatever the skill makes of it.
            self.latched = self.latched or lost
            raise


def _timeout(code: str, message: str) -> StepError:
    return StepError(code=code, location=None, message=message, type=TimeoutError.__name__)
