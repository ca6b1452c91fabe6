"""Driver: the one place where a step runs; carries out what the engine asks for, one request after the other.

Whether a run is recorded or replayed lies in the effects and the sink it is given, never in here.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from golden.canonical import canonical_bytes
from golden.errors import LimitError, NotCanonicalError, UsageError
from golden.event import MAX_LINE, StepError
from replay.context import Context
from replay.effects import ENDS, Calls, Effects, UnrecordableError, inside_event_loop
from replay.engine import Emit, Engine, Invoke, Outcome, StoppedError
from replay.frames import MAX_MESSAGE, failure_of
from replay.policy import DeniedError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Runner

    from replay.interrupts import Interrupts
    from replay.skill import Skill, SkillRegistry

# Inputs, output and the rest of a step event share one line.
MAX_OUTPUT = MAX_LINE - (1 << 20)


class Sink(Protocol):
    """Where a run's events go: written, or compared."""

    def begin(self, request: Invoke) -> None:
        """Take note of a step that is about to run."""

    def emit(self, event: Emit) -> bytes | None:
        """Take an event; return the output to pass on in place of the step's own, if another."""


class Driver:
    """Drives one run to its end.

    Args:
        registry: has every skill that is invoked.
        start: the run's recorded start, for `Context.now`.
    """

    def __init__(
        self, registry: SkillRegistry, effects: Effects, sink: Sink, interrupts: Interrupts, start: str
    ) -> None:
        self._registry = registry
        self._effects = effects
        self._sink = sink
        self._interrupts = interrupts
        self._start = start
        self._runner: Runner | None = None
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
                    outcome = self._invoke(request)
                except StoppedError as stopped:
                    request = engine.throw(stopped)
                else:
                    request = engine.send(outcome)
        except StopIteration:
            return
        finally:
            engine.close()
            if self._runner is not None:
                with suppress(StoppedError), self._interrupts.open():
                    self._runner.close()
                self._interrupts.shut()

    def _invoke(self, request: Invoke) -> Outcome:
        self._interrupts.check()
        self._sink.begin(request)
        answer = self._effects.begin(request)
        if isinstance(answer, Outcome):
            return answer
        skill = self._registry.get(request.step.skill_id)
        if skill is None:
            raise UsageError(f"SKILL_NOT_FOUND: no skill {request.step.skill_id}", hint="load the module that has it")
        context = Context(request.inputs, request.outputs, request.seed, self._start, answer, request.allowance)
        started = time.perf_counter_ns()
        outcome = self._attempt(skill, context, answer, request)
        outcome.duration_us = (time.perf_counter_ns() - started) // 1000
        outcome.spent = request.allowance.spent
        return outcome

    def _attempt(self, skill: Skill, context: Context, calls: Calls, request: Invoke) -> Outcome:
        try:
            value = self._call(skill, context, calls, request)
        except DeniedError as denied:
            error = StepError(code=denied.code, location=None, message=str(denied), type="DeniedError")
            return Outcome(None, error)
        except UnrecordableError as error:
            return _failed("UnrecordableError", str(error), error.location or skill.location())
        except BaseException as error:  # a skill may raise anything, SystemExit too
            # Ours, and not one of the same kind that the skill made itself.
            if error is calls.latched or self._interrupts.signum is not None:
                raise
            failure = failure_of(error)
            outcome = _failed(failure.type, failure.message, failure.location)
            outcome.failure = failure
            return outcome
        try:
            output = canonical_bytes(value)
        except (NotCanonicalError, LimitError) as error:
            _discard(value)
            return _failed(type(error).__name__, f"output: {error.problem}; {error.hint}", skill.location())
        if len(output) + len(request.inputs) > MAX_OUTPUT:
            message = f"output has {len(output)} bytes, inputs {len(request.inputs)}; at most {MAX_OUTPUT} fit a line"
            return _failed("OversizeError", message, skill.location())
        return Outcome(output)

    def _call(self, skill: Skill, context: Context, calls: Calls, request: Invoke) -> Any:
        try:
            with self._interrupts.let_in():
                value = skill.function(context)
                return self._awaited(value) if skill.is_async and hasattr(value, "__await__") else value
        finally:
            # What happened outside counts, whatever the skill made of it.
            self._interrupts.shut()
            if os.getpid() != self._pid:
                # A child that the skill forked came back: its parent goes on with the run, it must not.
                os._exit(1)
            request.allowance.closed = True
            calls.leave()
            self._interrupts.check()
            if request.allowance.denied:
                raise request.allowance.denied
            calls.finish(skill.location)

    def _awaited(self, value: Any) -> Any:
        if self._runner is None:
            # 30 ms to import, needed only by async skills; one event loop per run.
            from asyncio import Runner

            self._runner = Runner()
            self._runner.get_loop().set_exception_handler(_report)
        try:
            return self._runner.run(value)
        finally:
            self._cancel_rest(self._runner.get_loop())

    def _cancel_rest(self, loop: AbstractEventLoop) -> None:
        # What a skill left running ends with its step, so that nothing of it speaks in a later one.
        from asyncio import all_tasks, gather

        tasks = all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(gather(*tasks, return_exceptions=True))


def refuse_running_loop(registry: SkillRegistry) -> None:
    """Raise UsageError where async skills could not run: inside an event loop that is running already."""
    if inside_event_loop() and any(skill.is_async for skill in registry):
        raise UsageError(
            "async skills cannot run inside a running event loop", hint="await asyncio.to_thread(record, …) instead"
        )


def _report(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), ENDS):
        loop.default_exception_handler(context)


def _discard(value: Any) -> None:
    # A coroutine that is never awaited says so on stderr, unless it is closed.
    if hasattr(value, "__await__"):
        getattr(value, "close", bool)()


def _failed(kind: str, message: str, location: str | None) -> Outcome:
    error = StepError(code="EXECUTION_ERROR", location=location, message=message[:MAX_MESSAGE], type=kind)
    return Outcome(None, error)
