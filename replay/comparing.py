"""Comparing: the sink of a replay: each step, and each that steps call, is held against the recorded one.

Runs nothing, and asks nobody. The first thing that is not as it was is raised as `Diverged`.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import NoReturn, Protocol

import msgspec

from golden.canonical import decode, path_seed, pointer
from golden.event import RunEnd, StepData
from golden.recording import Record
from golden.redaction import Redaction
from golden.volatile import Volatile
from replay.ahead import Ahead
from replay.answers import is_timed_out
from replay.child import CommandError
from replay.codes import EMERGENCY_STOP
from replay.command import SKILL, USUAL, asked_of, recorded_files, why_failed
from replay.divergence import Diverged, Divergence, after_step, at_end, before_step
from replay.effects import caller
from replay.engine import Emit, Invoke, Outcome
from replay.flow import HaltedError, running
from replay.frames import Failure
from replay.permission import Permit
from replay.scratch import Scratch
from replay.skill import Skill, SkillRegistry
from replay.spec import Spec
from replay.trail import Trail


class Observer(Protocol):
    """Who watches a replay."""

    def step(self, data: StepData, divergence: Divergence | None, failure: Failure | None) -> None:
        """Take note of a step that was compared, with what its code raised."""


class OverError(BaseException):
    """The recording was stopped from outside here; there is nothing more to compare."""


class Comparing:
    """Holds what a run of `spec` does against what is `ahead` in its recording.

    Attributes:
        compared: how many steps were run again, and came to the same.
        answered: how many were answered whole instead.
        failure: what the code of the diverging step raised, if it did.
        notes: what else there is to say.
    """

    def __init__(  # noqa: PLR0913, PLR0917  what a run is, and what it is held against
        self,
        ahead: Ahead,
        spec: Spec,
        registry: SkillRegistry,
        volatile: Volatile,
        redaction: Redaction,
        permit: Permit,
        scratch: Scratch,
        observer: Observer | None,
        trail: Trail | None,
    ) -> None:
        self.compared = 0
        self.answered = 0
        self.failure: Failure | None = None
        self.notes: list[str] = []
        self._ahead = ahead
        self._spec = spec
        self._registry = registry
        self._volatile = volatile
        self._redaction = redaction
        self._permit = permit
        self._scratch = scratch
        self._observer = observer
        self._trail = trail
        self._begun: int | None = None
        self._emitting = Lock()

    def begin(self, request: Invoke) -> Outcome | None:
        """See `Sink`: compare what the step is about to be given with what it was given."""
        record = self._next(request.step.id, request.index)
        step = record.step
        if step.error and step.error.code == EMERGENCY_STOP and request.attempt == len(step.attempts):
            # It was stopped from outside at this attempt; steps that were under way then come after it.
            return Outcome(None, step.error, final=True, untried=True)
        if self._begun != request.index:
            self._compare_start(request, record)
        self._begun = request.index
        if request.step.skill_id == SKILL and not (request.step.external or is_timed_out(step)):
            self._lay_out(request, record)
        return None

    def _compare_start(self, request: Invoke, record: Record) -> None:
        step = record.step
        skill = self._registry.get(request.step.skill_id)
        self._redaction.expect(("steps", step.step_id, "output"), step.output)
        found = before_step(step, request.index, request.seed, request.written, request.input_hash)
        if found is None and not request.step.external and skill and skill.version != step.skill_version:
            versions = ("/skill_version", step.skill_version, skill.version)
            found = Divergence("skill", step.step_id, step.index, *versions, skill.location())
        if found is not None:
            raise Diverged(found)
        # Answers are not compared; this notes which rules they match.
        for effect in record.effects if self._volatile.rules or self._redaction.rules else ():
            self._volatile.hash_result(step.step_id, effect.name, effect.result)
            self._redaction.note(("steps", step.step_id, "effects", effect.name, "result"), effect.result)

    def _lay_out(self, request: Invoke, record: Record) -> None:
        """Give a command that is about to be run the files that it read, if they are what they were."""
        try:
            asked = asked_of(request.inputs)
        except CommandError:
            # As it will find out itself.
            return
        withheld = [name for name in asked.env if name not in {*USUAL, *self._permit.environ}]
        note = f"step {request.step.id} was not given {', '.join(withheld)}: not named here (--env), or not set"
        if withheld and note not in self.notes:
            self.notes.append(note)
        found = self._scratch.enter(asked.inputs, asked.outputs, recorded_files(record.effects, request.attempt))
        if found is not None:
            path, expected, actual = found
            place = pointer(("inputs", path, "sha256"))
            hashes = expected.get("sha256"), actual["sha256"]
            raise Diverged(Divergence("inputs", record.step.step_id, record.step.index, place, *hashes))

    def emit(self, event: Emit) -> bytes | None:
        """See `Sink`: compare what the step, or the run, came to."""
        data = event.data
        if isinstance(data, RunEnd):
            self._compare_end(data)
            return None
        recorded = self._next(data.step_id, data.index).step
        self._ahead.go_on()
        failed_at = event.failure.location if event.failure else None
        found = None
        if self._begun != data.index:
            found = before_step(recorded, data.index, data.seed, bytes(data.inputs), data.input_hash)
        found = found or after_step(recorded, data, self._volatile, partial(self._location, data.skill_id), failed_at)
        # A step that was not even tried, its budget being refused, ran no code that could be compared.
        if found is None and data.attempts:
            answered = self._spec.steps[data.index].external or is_timed_out(recorded)
            self.answered += answered
            self.compared += not answered
        if self._observer:
            self._observer.step(data, found, event.failure)
        if found:
            self.failure = event.failure
            if data.skill_id == SKILL and found.path == "/exit_code":
                self.notes.append(
                    f"step {data.step_id}: {why_failed(decode(data.output))}; it is given its input files and no others"
                )
            raise Diverged(found)
        if self._trail:
            self._trail.forget(data.index)
        # Equal but for volatile places: later steps are given what the recorded ones were given.
        if not recorded.success or event.output is None:
            return None
        return self._redaction.revealed(recorded.output, event.output)

    def identify(self, parent: Invoke, name: str, inputs: bytes, input_hash: str) -> tuple[str, int]:
        """See `Nesting`: which recorded step it is, compared with what it is given."""
        found = self._ahead.paths.take(parent.step.id, name, input_hash)
        if found is None:
            current = self._ahead.peek()
            error = current.step.error if isinstance(current, Record) else None
            if error and error.code == EMERGENCY_STOP:
                # It was stopped from outside here.
                raise HaltedError(Outcome(None, error, final=True))
            self._diverge(Divergence("step", parent.step.id, parent.index, "", None, name, caller(), kind="added"))
        path, index = found
        recorded = self._ahead.nested[index].step
        seed = path_seed(self._ahead.seed, path)
        unlike = before_step(recorded, index, seed, inputs, input_hash)
        if unlike is not None:
            self._diverge(msgspec.structs.replace(unlike, location=caller()))
        self._redaction.expect(("steps", path, "output"), recorded.output)
        for effect in self._ahead.nested[index].effects if self._redaction.rules else ():
            self._redaction.note(("steps", path, "effects", effect.name, "result"), effect.result)
        return path, index

    def emit_nested(self, data: StepData, duration_us: int, failure: Failure | None, skill: Skill) -> None:  # noqa: ARG002  for those that write
        """See `Nesting`."""
        failed_at = failure.location if failure else None
        found = after_step(self._ahead.nested[data.index].step, data, self._volatile, skill.location, failed_at)
        with self._emitting:
            self.compared += found is None
            if self._observer:
                self._observer.step(data, found, failure)
            if found:
                self.failure = failure
                self._ahead.turns.drop()
                raise Diverged(found)
        if self._trail:
            self._trail.forget(data.index)

    def close(self, parent: Invoke) -> None:
        """See `Nesting`: a recorded step that was not called is a divergence."""
        if parent.attempt < self._ahead.record(parent).last_attempt:
            # What it has not called by now a further attempt did.
            return
        left = self._ahead.paths.left_of(parent.step.id)
        if left is not None:
            raise Diverged(Divergence("step", *left, "", left[0].rpartition("/")[2], None, kind="removed"))

    def _diverge(self, found: Divergence) -> NoReturn:
        """End the replay where the user's code makes a call."""
        diverged = Diverged(found)
        self._ahead.turns.drop()
        scope = running()
        if self._trail and scope:
            # Before anybody looks around, who might ask for more.
            scope.fail(diverged)
            self._trail.stop(found)
        raise diverged

    def _next(self, step_id: str, index: int) -> Record:
        found = self._ahead.peek()
        if not isinstance(found, Record):
            if self._ahead.is_stopped:
                raise OverError
            raise Diverged(Divergence("step", step_id, index, "", None, step_id, kind="added"))
        recorded = found.step
        if recorded.step_id != step_id:
            raise Diverged(Divergence("step", recorded.step_id, recorded.index, "", recorded.step_id, step_id))
        return found

    def _compare_end(self, data: RunEnd) -> None:
        left = self._ahead.peek()
        if isinstance(left, Record):
            name = left.step.step_id
            raise Diverged(Divergence("step", name, left.step.index, "", name, None, kind="removed"))
        if self._ahead.end is not None and not self._ahead.is_stopped:
            found = at_end(self._ahead.end, data)
            if found:
                raise Diverged(found)

    def _location(self, skill_id: str) -> str | None:
        skill = self._registry.get(skill_id)
        return skill.location() if skill else None
