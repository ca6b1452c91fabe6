"""Driver: carries out what the engine asks for, one request after the other: the one place where attempts are made.

Whether a run is recorded, replayed or resumed lies in the effects and the sink it is given, never in here.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from golden.errors import UsageError
from replay import child, codes
from replay.attempt import Attempt
from replay.crew import Crew
from replay.effects import Effects, Limit, inside_event_loop
from replay.engine import Emit, Engine, Invoke, Outcome, StoppedError, Wait
from replay.flow import Flow, active
from replay.interrupts import PATIENCE
from replay.loops import Loops
from replay.patches import in_place

if TYPE_CHECKING:
    from threading import Thread

    from replay.interrupts import Interrupts
    from replay.skill import SkillRegistry


class Sink(Protocol):
    """Where a run's events go: written, or compared."""

    def begin(self, request: Invoke) -> Outcome | None:
        """Take note of an attempt that is about to be made; return how it ends where it may not begin."""

    def emit(self, event: Emit) -> bytes | None:
        """Take an event; return the output to pass on in place of the step's own, if another."""


class _Job(msgspec.Struct):
    """An attempt that a thread makes, or one that waits for its time, beside others."""

    request: Invoke
    due: float = 0.0
    attempt: Attempt | None = None
    limit: Limit | None = None
    began: float = 0.0

    @property
    def ends(self) -> float | None:
        """When there is something to do about it, by the monotonic clock; None where it is waited for for ever."""
        if self.attempt is None:
            return self.due
        return None if self.limit is None else self.began + self.limit.seconds


class Driver:
    """Drives one run to its end.

    Args:
        registry: has every skill that is invoked.
        flow: what the run's steps share with those that they call.
        width: how many steps may be under way at a time; the engine must be given the same.
    """

    def __init__(
        self,
        registry: SkillRegistry,
        effects: Effects,
        sink: Sink,
        interrupts: Interrupts,
        flow: Flow,
        width: int = 1,
    ) -> None:
        self._registry = registry
        self._effects = effects
        self._sink = sink
        self._interrupts = interrupts
        self._flow = flow
        self._side_by_side = width > 1
        self._loops = Loops()
        self._crew: Crew | None = None
        self._jobs: dict[int, _Job] = {}

    def drive(self, engine: Engine) -> None:
        """Carry out `engine`; what sink and effects raise (a divergence, a full disk) ends it and is passed on."""
        with active(self._flow), in_place() if self._flow.guard else nullcontext():
            self._drive(engine)

    def _drive(self, engine: Engine) -> None:
        try:
            request = next(engine)
            while True:
                if isinstance(request, Emit):
                    request = engine.send(self._sink.emit(request))
                    continue
                try:
                    answer = self._wait() if isinstance(request, Wait) else self._invoke(request)
                except StoppedError as stopped:
                    # Before the engine counts what was spent.
                    self._give_all_up()
                    request = engine.throw(stopped)
                else:
                    request = engine.send(answer)
        except StopIteration:
            return
        finally:
            engine.close()
            self._give_all_up()
            with suppress(StoppedError), self._interrupts.open():
                if self._crew is not None:
                    self._crew.close()
                self._loops.close()
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
        outcome = self._begin(_Job(request))
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
        limit = self._effects.limit(request)
        if limit is None and not self._side_by_side:
            return Attempt(skill, request, answer, self._flow, self._loops, self._interrupts).make()
        if limit is not None and limit.seconds <= 0:
            return Outcome(None, limit.error, final=True, untried=True)
        if self._crew is None:
            self._crew = Crew(at_end=self._loops.close, wake=self._wake)
        job.attempt = Attempt(skill, request, answer, self._flow, self._loops, None)
        job.limit, job.began = limit, time.monotonic()
        self._jobs[request.index] = job
        self._crew.begin(request.index, job.attempt.make)
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
                outcome = self._begin(job) if job.attempt is None else self._give_up(job, job.attempt)
                if outcome is not None:
                    return index, outcome
            moments = [job.ends for job in self._jobs.values() if job.ends is not None]
            seconds = min([PATIENCE, *(max(moment - now, 0) for moment in moments)])
            if self._crew is None:
                with self._interrupts.let_in():
                    time.sleep(seconds)
                continue
            with self._interrupts.let_in():
                found = self._crew.take(seconds)
            if found is not None:
                index, outcome = found
                del self._jobs[index]
                return index, outcome

    def _give_up(self, job: _Job, attempt: Attempt) -> Outcome:
        """Leave an attempt that has lasted for too long: nothing it still does enters the recording."""
        if self._crew is None or job.limit is None:
            raise LookupError("no thread makes this attempt")
        attempt.give_up()
        self._crew.leave_behind(job.request.index)
        return Outcome(
            None,
            job.limit.error,
            round((time.monotonic() - job.began) * 1_000_000),
            job.request.allowance.spent,
            final=job.limit.error.code in codes.ENDING,
        )

    def _wake(self, thread: Thread) -> None:
        """End what a thread that is left behind waits for."""
        child.leave(thread)
        self._loops.leave(thread)

    def _give_all_up(self) -> None:
        for job in self._jobs.values():
            if job.attempt is not None:
                job.attempt.give_up()


def refuse_running_loop(registry: SkillRegistry) -> None:
    """Raise UsageError where async skills could not run: inside an event loop that is running already."""
    if inside_event_loop() and any(skill.is_async for skill in registry):
        raise UsageError(
            "async skills cannot run inside a running event loop", hint="await asyncio.to_thread(record, …) instead"
        )
