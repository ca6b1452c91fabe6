"""Writing: the sink of a recording: what is not there yet is written, then its checkpoint saved, then shown.

Runs nothing; what is there already is not written again, only held against what comes.
"""

from __future__ import annotations

from threading import Lock

import msgspec
from msgspec.structs import replace

from golden.errors import StoreError
from golden.event import RunEnd, RunStart, StepData, StepError
from golden.recorder import Recorder
from golden.recording import Record
from golden.volatile import Volatile
from replay import codes
from replay.engine import Emit, Invoke, Outcome
from replay.flow import HaltedError
from replay.frames import Failure
from replay.guard import Guard
from replay.host import Host
from replay.interrupts import Interrupts
from replay.past import Past, Truth
from replay.progress import Progress
from replay.skill import Skill
from replay.spec import Spec


class Course(msgspec.Struct):
    """One run as its header determines it, with the file it goes to and what is recorded of it already."""

    spec: Spec
    start: RunStart
    started: str
    recorder: Recorder
    interrupts: Interrupts
    truth: Truth
    past: Past


class Writing:
    """Writes the run that `course` is, from where its past ends."""

    def __init__(
        self, host: Host, course: Course, volatile: Volatile, progress: Progress | None, guard: Guard, *, live: bool
    ) -> None:
        self._recorder = course.recorder
        self._steps = course.spec.steps
        self._volatile = volatile
        self._live = live
        self._past = course.past
        self._controls = host.controls
        self._observer = host.observer
        self._progress = progress
        self._interrupts = course.interrupts
        self._paths = course.past.paths(len(course.spec.steps))
        self._emitting = Lock()
        self._guard = guard
        self.end: RunEnd | None = None

    def begin(self, request: Invoke) -> Outcome | None:
        """See `Sink`: what is recorded already is not begun, so nothing can stop it."""
        return None if request.index in self._past else self._halted(untried=True)

    def identify(self, parent: Invoke, name: str, inputs: bytes, input_hash: str) -> tuple[str, int]:  # noqa: ARG002  for those that compare
        """See `Nesting`; one that was recorded before the run was killed keeps its path."""
        halted = self._halted(untried=False)
        if halted is not None:
            raise HaltedError(halted)
        return self._paths.take(parent.step.id, name, input_hash) or self._paths.new(parent.step.id, name)

    def emit_nested(self, data: StepData, duration_us: int, failure: Failure | None, skill: Skill) -> None:  # noqa: ARG002  for those that compare
        """See `Nesting`."""
        with self._interrupts.held(), self._emitting:
            self._recorder.write(data, duration_us)
            if self._observer:
                self._observer.step(data, failure)

    def close(self, parent: Invoke) -> None:
        """See `Nesting`: whatever it called is written."""

    def _halted(self, *, untried: bool) -> Outcome | None:
        halt = self._controls.halt() if self._controls else None
        if halt is None:
            return None
        error = StepError(code=codes.EMERGENCY_STOP, location=None, message=halt.problem, type="Halt")
        return Outcome(None, error, final=True, untried=untried)

    def emit(self, event: Emit) -> None:
        """See `Sink`."""
        data = event.data
        if isinstance(data, RunEnd):
            self.end = data if self._live or self._has_ended() else replace(data, status="interrupted")
            self._recorder.write(self.end)
            return
        record = self._past.records.get(data.index)
        if record is None:
            self._recorder.write(data, event.duration_us)
        else:
            self._compare(record, data)
        if record is not None and data.index not in self._past.written:
            for effect in record.effects:
                self._recorder.write(effect, 0)
            self._recorder.write(replace(record.step, carried=True, budget_snapshot=data.budget_snapshot), 0)
        if self._progress is not None:
            self._progress.step(data, event.output)
        if self._observer and record is None:
            self._observer.step(data, event.failure)
            for text in self._guard.notes():
                self._observer.note(text)

    def _compare(self, record: Record, data: StepData) -> None:
        """Raise StoreError where a step that is recorded would not come to the same by its run's own header."""
        if (record.step.success, record.step.input_hash) != (data.success, data.input_hash):
            raise StoreError(
                f"step {data.step_id} of run {self._recorder.run_id} is not what its header makes of it",
                hint="find out how it was recorded: golden replay",
            )
        for effect in record.effects:
            # This notes which volatile paths they match.
            self._volatile.hash_result(data.step_id, effect.name, effect.result)

    def _has_ended(self) -> bool:
        """Whether what is recorded is all that there is to the run: nothing more would be begun."""
        steps = [record.step for record in self._past.records.values()]
        ending = (step for step in steps if step.error and not step.skipped)
        return len(steps) == len(self._steps) or any(
            step.error_code in codes.ENDING or self._steps[step.index].on_error != "continue" for step in ending
        )
