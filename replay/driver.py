"""Driver: the one place where a step runs; carries out what the engine asks for, one request after the other.

Whether a run is recorded, replayed or resumed lies in the effects and the sink it is given, never in here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from golden.canonical import canonical_bytes
from golden.errors import LimitError, NotCanonicalError, UsageError
from golden.event import MAX_LINE, StepError
from replay import codes
from replay.aos import AosError
from replay.budget import DeniedError
from replay.context import Context
from replay.crew import Crew, LeftBehindError
from replay.effects import ENDS, Calls, Effects, Limit, UnrecordableError, inside_event_loop
from replay.engine import Emit, Engine, Invoke, Outcome, StoppedError, Wait
from replay.frames import MAX_MESSAGE, failure_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

    from replay.interrupts import Interrupts
    from replay.skill import Skill, SkillRegistry

# Inputs, output and the rest of a step event share one line.
MAX_OUTPUT = MAX_LINE - (1 << 20)


class Sink(Protocol):
    """Where a run's events go: written, or compared."""

    def begin(self, request: Invoke) -> Outcome | None:
        """Take note of an attempt that is about to be made; return how it ends where it may not begin."""

    def emit(self, event: Emit) -> bytes | None:
        """Take an event; return the output to pass on in place of the step's own, if another."""


class _Job(msgspec.Struct):
    """An attempt that is made, or waits for its time, beside others: `ends` is when it is waited for no more."""

    request: Invoke
    due: float
    calls: Calls | None = None
    limit: Limit | None = None
    began: float = 0.0

    @property
    def ends(self) -> float | None:
        """When there is something to do about it, by the monotonic clock."""
        if self.calls is None:
            return self.due
        return None if self.limit is None else self.began + self.limit.seconds


class Driver:
    """Drives one run to its end.

    Args:
        registry: has every skill that is invoked.
        start: the run's recorded start, for `Context.now`.
        width: how many steps may be under way at a time; the engine must be given the same.
    """

    def __init__(
        self,
        registry: SkillRegistry,
        effects: Effects,
        sink: Sink,
        interrupts: Interrupts,
        start: str,
        width: int = 1,
    ) -> None:
        self._registry = registry
        self._effects = effects
        self._sink = sink
        self._interrupts = interrupts
        self._start = start
        self._side_by_side = width > 1
        self._crew: Crew | None = None
        self._jobs: dict[int, _Job] = {}
        # One event loop a thread, for as long as the run lasts.
        self._local = threading.local()
        self._pid = os.getpid()

    def drive(self, engine: Engine) -> None:
        """Carry out `engine`; what sink and effects raise (a divergence, a full disk) ends it and is passed on."""
        try:
            request = next(engine)
            while True:
                if isinstance(request, Emit):
                    request = engine.send(self._sink.emit(request))
                    continue
                try:
                    answer = self._wait() if isinstance(request, Wait) else self._invoke(request)
                except StoppedError as stopped:
                    request = engine.throw(stopped)
                else:
                    request = engine.send(answer)
        except StopIteration:
            return
        finally:
            engine.close()
            for job in self._jobs.values():
                if job.calls is not None:
                    job.calls.leave()
            with suppress(StoppedError), self._interrupts.open():
                if self._crew is not None:
                    self._crew.close()
                self._close_loop()
            self._interrupts.shut()

    def _invoke(self, request: Invoke) -> Outcome | None:
        """Return how an attempt went, or None where it is made beside others."""
        pause = self._effects.pause(request)
        if self._side_by_side and pause:
            self._jobs[request.index] = _Job(request, time.monotonic() + pause / 1000)
            return None
        if pause:
            with self._interrupts.let_in():
                time.sleep(pause / 1000)
        job = _Job(request, 0.0)
        outcome = self._begin(job)
        if outcome is not None or self._side_by_side:
            return outcome
        return self._wait()[1]

    def _begin(self, job: _Job) -> Outcome | None:
        """Make an attempt: return how it went, or None where a thread makes it."""
        request = job.request
        self._interrupts.check()
        refused = self._sink.begin(request)
        if refused is not None:
            return refused
        answer = self._effects.begin(request)
        if isinstance(answer, Outcome):
            return answer
        skill = self._registry.get(request.step.skill_id)
        if skill is None:
            raise UsageError(f"SKILL_NOT_FOUND: no skill {request.step.skill_id}", hint="load the module that has it")
        context = Context(request, self._start, answer)
        job.limit = self._effects.limit(request)
        if job.limit is None and not self._side_by_side:
            attempt = partial(self._attempt, skill, context, answer, request, self._interrupts.let_in)
            return copy_context().run(self._timed, attempt)
        if job.limit is not None and job.limit.seconds <= 0:
            return Outcome(None, job.limit.error, final=True, untried=True)
        if self._crew is None:
            self._crew = Crew(self._close_loop)
        job.calls, job.began = answer, time.monotonic()
        self._jobs[request.index] = job
        attempt = partial(self._attempt, skill, context, answer, request, nullcontext)
        # What an attempt sets in its context (decimal's precision) is gone after it, wherever it is made.
        self._crew.begin(request.index, partial(copy_context().run, self._timed, attempt))
        return None

    def _wait(self) -> tuple[int, Outcome]:
        """Return the index and outcome of the first attempt under way that ends, or has lasted for too long."""
        while True:
            self._interrupts.check()
            now = time.monotonic()
            for index, job in sorted(self._jobs.items()):
                if job.ends is None or job.ends > now:
                    continue
                del self._jobs[index]
                outcome = self._begin(job) if job.calls is None else self._give_up(job)
                if outcome is not None:
                    return index, outcome
            moments = [job.ends for job in self._jobs.values() if job.ends is not None]
            if self._crew is None:
                with self._interrupts.let_in():
                    time.sleep(max(min(moments) - now, 0))
                continue
            with self._interrupts.let_in():
                found = self._crew.take(max(min(moments) - now, 0) if moments else None)
            if found is not None:
                index, outcome = found
                del self._jobs[index]
                return index, outcome

    def _give_up(self, job: _Job) -> Outcome:
        """Leave an attempt that has lasted for too long: nothing it still does enters the recording."""
        if self._crew is None or job.calls is None or job.limit is None:
            raise LookupError("no thread makes this attempt")
        job.calls.give_up()
        job.request.allowance.close()
        self._crew.leave_behind(job.request.index)
        return Outcome(
            None,
            job.limit.error,
            round((time.monotonic() - job.began) * 1_000_000),
            job.request.allowance.spent,
            final=job.limit.error.code in codes.ENDING,
        )

    def _timed(self, attempt: Callable[[], Outcome]) -> Outcome:
        started = time.perf_counter_ns()
        outcome = attempt()
        outcome.duration_us = (time.perf_counter_ns() - started) // 1000
        return outcome

    def _attempt(
        self,
        skill: Skill,
        context: Context,
        calls: Calls,
        request: Invoke,
        let_in: Callable[[], AbstractContextManager[None]],
    ) -> Outcome:
        outcome = self._outcome(skill, context, calls, request, let_in)
        outcome.spent = request.allowance.spent
        return outcome

    def _outcome(
        self,
        skill: Skill,
        context: Context,
        calls: Calls,
        request: Invoke,
        let_in: Callable[[], AbstractContextManager[None]],
    ) -> Outcome:
        try:
            value = self._call(skill, context, calls, request, let_in)
        except DeniedError as denied:
            error = StepError(code=denied.code, location=None, message=str(denied), type="DeniedError")
            return Outcome(None, error, final=True)
        except UnrecordableError as error:
            return _failed("UnrecordableError", str(error), error.location or skill.location())
        except LeftBehindError:
            raise
        except BaseException as error:  # a skill may raise anything, SystemExit too
            # Ours, and not one of the same kind that the skill made itself.
            if error is calls.latched or self._interrupts.signum is not None:
                raise
            return _raised(error)
        try:
            output = canonical_bytes(value)
        except (NotCanonicalError, LimitError) as error:
            _discard(value)
            return _failed(type(error).__name__, f"output: {error.problem}; {error.hint}", skill.location())
        if len(output) + len(request.inputs) > MAX_OUTPUT:
            message = f"output has {len(output)} bytes, inputs {len(request.inputs)}; at most {MAX_OUTPUT} fit a line"
            return _failed("OversizeError", message, skill.location())
        return Outcome(output)

    def _call(
        self,
        skill: Skill,
        context: Context,
        calls: Calls,
        request: Invoke,
        let_in: Callable[[], AbstractContextManager[None]],
    ) -> Any:
        ours = threading.current_thread() is threading.main_thread()
        try:
            with let_in():
                value = skill.function(context)
                return self._awaited(value) if skill.is_async and hasattr(value, "__await__") else value
        finally:
            # What happened outside counts, whatever the skill made of it.
            if ours:
                self._interrupts.shut()
            if os.getpid() != self._pid:
                # A child that the skill forked came back: its parent goes on with the run, it must not.
                os._exit(1)
            request.allowance.close()
            calls.leave()
            if ours:
                self._interrupts.check()
            if request.allowance.denied:
                raise request.allowance.denied
            calls.finish(skill.location)

    def _awaited(self, value: Any) -> Any:
        loop: AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is None:
            # 30 ms to import, needed only by async skills.
            from asyncio import new_event_loop

            self._local.loop = loop = new_event_loop()
            loop.set_exception_handler(_report)
            if self._crew is not None:
                self._crew.waits_by(partial(_leave, loop))
        try:
            return loop.run_until_complete(value)
        finally:
            self._cancel_rest(loop)

    def _cancel_rest(self, loop: AbstractEventLoop) -> None:
        # What a skill left running ends with its step, so that nothing of it speaks in a later one.
        from asyncio import gather

        tasks = _cancel_all(loop)
        if tasks:
            loop.run_until_complete(gather(*tasks, return_exceptions=True))

    def _close_loop(self) -> None:
        loop: AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is None:
            return
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            # Threads that a skill left at work in the loop's executor are not waited for.
            loop.close()


def refuse_running_loop(registry: SkillRegistry) -> None:
    """Raise UsageError where async skills could not run: inside an event loop that is running already."""
    if inside_event_loop() and any(skill.is_async for skill in registry):
        raise UsageError(
            "async skills cannot run inside a running event loop", hint="await asyncio.to_thread(record, …) instead"
        )


def _report(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), (*ENDS, LeftBehindError)):
        loop.default_exception_handler(context)


def _cancel_all(loop: AbstractEventLoop) -> set[Task[Any]]:
    from asyncio import all_tasks

    tasks = all_tasks(loop)
    for task in tasks:
        task.cancel()
    return tasks


def _leave(loop: AbstractEventLoop) -> None:
    """Wake a loop in another thread that is left behind; whichever task of it was told so, all are to end."""
    # Closed already: then nobody waits in it.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_cancel_all, loop)


def _discard(value: Any) -> None:
    # A coroutine that is never awaited says so on stderr, unless it is closed.
    if hasattr(value, "__await__"):
        getattr(value, "close", bool)()


def _raised(error: BaseException) -> Outcome:
    """Return how an attempt ended whose code raised: by the exception's type alone, never by what it says."""
    failure = failure_of(error)
    kind = error.code if isinstance(error, AosError) else failure.type
    outcome = _failed(kind, failure.message, failure.location)
    outcome.failure = failure
    # What ends a process, and what a skill says cannot succeed, is not tried again.
    outcome.final = not isinstance(error, Exception) or (isinstance(error, AosError) and not error.retryable)
    return outcome


def _failed(kind: str, message: str, location: str | None) -> Outcome:
    error = StepError(code=codes.EXECUTION_ERROR, location=location, message=message[:MAX_MESSAGE], type=kind)
    return Outcome(None, error, final=True)
