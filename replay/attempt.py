"""Attempt: one call of a skill, and what it comes to, whatever the skill does.

Decides how an ending is told, by the exception's type alone, never by what it says; when an attempt is made, and for
how long it is waited, is the driver's business.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from golden.canonical import canonical_bytes
from golden.errors import LimitError, NotCanonicalError, SecretError
from golden.event import MAX_LINE, StepError
from replay import codes
from replay.aos import AosError
from replay.effects import Calls, UnrecordableError
from replay.engine import Invoke, Outcome
from replay.flow import Flow, HaltedError, Scope
from replay.frames import MAX_MESSAGE, Failure, failure_of

if TYPE_CHECKING:
    from replay.interrupts import Interrupts
    from replay.loops import Loops
    from replay.skill import Skill

# Inputs, output and the rest of a step event share one line.
MAX_OUTPUT = MAX_LINE - (1 << 20)


class Attempt:
    """One call of `skill`; `flow` is its run's, `loops` await what is to be awaited.

    `interrupts` may break into it, None where another thread than the main one makes it.
    """

    def __init__(
        self, skill: Skill, request: Invoke, calls: Calls, flow: Flow, loops: Loops, interrupts: Interrupts | None
    ) -> None:
        self.request = request
        self._skill = skill
        self._flow = flow
        self._calls = calls
        self._scope = Scope(flow, request, calls)
        self._trail = flow.trail
        if self._trail:
            self._trail.begin(request.index, skill.function)
        self._loops = loops
        self._interrupts = interrupts
        # What an attempt sets in its context (decimal's precision) is gone after it, wherever it is made.
        self._variables = copy_context()
        self._pid = os.getpid()
        self._given_up = False

    def make(self) -> Outcome:
        """Call the skill and return how that went; what ends the run (a lost disk, a divergence) is raised."""
        started = time.perf_counter_ns()
        with self._scope.at_work():
            outcome = self._variables.run(self._outcome)
        outcome.duration_us = (time.perf_counter_ns() - started) // 1000
        outcome.spent = self.request.allowance.spent
        self._hide(outcome)
        return outcome

    def _hide(self, outcome: Outcome) -> None:
        """Take secrets out of what is told of a failure: its message, and names that code made of data."""
        told, failure, hidden = outcome.error, outcome.failure, self._flow.redaction.message
        if told:
            location = told.location and hidden(told.location)
            outcome.error = replace(told, message=hidden(told.message), type=hidden(told.type), location=location)
        if failure:
            frames = [(hidden(place), hidden(name)) for place, name in failure.frames]
            outcome.failure = Failure(hidden(failure.type), hidden(failure.message), frames)

    def give_up(self) -> None:
        """Note that nobody waits for it any more: nothing that it still does counts, or enters the recording."""
        self._given_up = True
        self._calls.give_up()
        if self._scope.watch:
            self._scope.watch.close()
        self.request.allowance.close()

    def _outcome(self) -> Outcome:
        try:
            value = self._call()
        except UnrecordableError as error:
            outcome = _failed(type(error).__name__, str(error), error.location or self._skill.location())
            failure = failure_of(error)
            # One of another thread has no frames here: its place is all that is known.
            outcome.failure = failure if failure.frames else None
            return outcome
        except BaseException as error:  # a skill may raise anything, SystemExit too
            # Ours, and not one of the same kind that the skill made itself.
            if isinstance(error, HaltedError) and error is self._calls.latched:
                return error.outcome
            denied = self.request.allowance.denied
            if denied is not None and denied is error:
                told = StepError(code=denied.code, location=None, message=str(denied), type="DeniedError")
                return Outcome(None, told, final=True)
            if error is self._calls.latched or self._given_up or (self._interrupts and self._interrupts.signum):
                raise
            return _raised(error)
        return self._told(value)

    def _call(self) -> Any:
        skill, interrupts, request = self._skill, self._interrupts, self.request
        try:
            self._scope.enter()
            with interrupts.let_in() if interrupts else nullcontext():
                value = skill.function(self._scope.context)
                self._scope.coroutine = value
                return self._loops.run(value) if skill.is_async and hasattr(value, "__await__") else value
        except BaseException as error:
            if self._trail:
                self._trail.fail(request.index, error)
            raise
        finally:
            # What happened outside counts, whatever the skill made of it.
            if interrupts:
                interrupts.shut()
            if os.getpid() != self._pid:
                # A child that the skill forked came back: its parent goes on with the run, it must not.
                os._exit(1)
            if self._scope.watch:
                self._scope.watch.close()
            request.allowance.close()
            self._calls.leave()
            if interrupts:
                interrupts.check()
            if request.allowance.denied:
                raise request.allowance.denied
            self._calls.finish(skill.location)
            self._scope.close(self._skill, sys.exception())

    def _told(self, value: Any) -> Outcome:
        """Return the outcome of an attempt that returned `value`."""
        try:
            output = canonical_bytes(value)
        except (NotCanonicalError, LimitError) as error:
            _discard(value)
            return _failed(type(error).__name__, f"output: {error.problem}; {error.hint}", self._skill.location())
        inputs = len(self.request.inputs)
        if len(output) + inputs > MAX_OUTPUT:
            message = f"output has {len(output)} bytes, inputs {inputs}; at most {MAX_OUTPUT} fit a line"
            return _failed("OversizeError", message, self._skill.location())
        try:
            self._flow.redaction.admit(("steps", self.request.step.id, "output"), output)
        except SecretError as error:
            return _failed(type(error).__name__, f"output: {error.problem}; {error.hint}", self._skill.location())
        return Outcome(output)


def _discard(value: Any) -> None:
    # A coroutine that is never awaited says so on stderr, unless it is closed.
    if hasattr(value, "__await__"):
        getattr(value, "close", bool)()


def _raised(error: BaseException) -> Outcome:
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
