"""Replayer: runs a recording's spec again and compares every step with what was recorded, up to the first divergence.

Takes only what has verified, writes nothing, and asks the world nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from threading import Lock
from typing import Any, Literal, NoReturn, Protocol

import msgspec

from golden.canonical import decode, path_seed, pointer
from golden.errors import GoldenError, UsageError
from golden.event import RunEnd, StepData
from golden.recognition import Recognition
from golden.recording import Ended, Record, Recording
from golden.redaction import Redaction
from golden.volatile import Volatile
from replay.answers import RecordedEffects, is_timed_out
from replay.budget import Budget
from replay.child import CommandError
from replay.codes import EMERGENCY_STOP, STOPPED_FROM_OUTSIDE
from replay.command import SKILL, USUAL, asked_of, recorded_files, why_failed, with_commands
from replay.divergence import Diverged, Divergence, after_step, at_end, before_step, in_start
from replay.driver import Driver, refuse_running_loop
from replay.effects import caller
from replay.engine import INDEXED, AsRecorded, Emit, Invoke, Outcome, run
from replay.environment import recorded_skills
from replay.flow import Flow, HaltedError, running
from replay.frames import Failure
from replay.guard import Guard, Mode, checked_mode
from replay.interrupts import Interrupts
from replay.past import given_inputs, recorded_spec
from replay.paths import Paths, is_nested
from replay.permission import Permit, refuse_commands
from replay.policy import Policy
from replay.scratch import MissingInputError, Scratch
from replay.skill import Skill, SkillRegistry
from replay.spec import Spec
from replay.trail import Debugger, Trail
from replay.turns import Turns


class Observer(Protocol):
    """Who watches a replay."""

    def step(self, data: StepData, divergence: Divergence | None, failure: Failure | None) -> None:
        """Take note of a step that was compared, with what its code raised."""


class Replay(msgspec.Struct):
    """The answer of one replay.

    `verdict` is `matched`, `diverged` (see `divergence`) or `refused` (see `problem` and `hint`); `failure` is what the
    diverging step's code raised, if it did; `dead` are the volatile paths that matched
    nothing, `asked` the notes on what is not the same in every replay.
    """

    run_id: str
    verdict: Literal["matched", "diverged", "refused"]
    spec_source: str
    steps_recorded: int = 0
    steps_compared: int = 0
    steps_answered: int = 0
    divergence: Divergence | None = None
    problem: str | None = None
    hint: str | None = None
    failure: Failure | None = None
    notes: list[str] = []
    dead: list[str] = []
    asked: list[str] = []

    @property
    def matched(self) -> bool:
        """Whether the replay did everything the recording holds, alike."""
        return self.verdict == "matched"


class _HaltedError(BaseException):
    """The recording was stopped from outside here; there is nothing more to compare."""


def replay(
    recording: Recording,
    registry: SkillRegistry | Callable[..., Any],
    spec: Spec | Mapping[str, Any] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    permit: Permit | None = None,
    guard: Mode | None = None,
    debugger: Debugger | None = None,
) -> Replay:
    """Replay `recording` with the skills of `registry`, or a function's, and compare it with `spec`.

    `spec` is the recorded one by default. External calls are answered from the recording. Budget ceilings, seed,
    volatile paths and, unless given, inputs are the recorded ones. The first divergence ends the replay. Commands
    (`exec.run`) are run only as far as `permit` goes, each in a folder of its own; a recording that has others is
    refused before any step.

    `guard` says what is done where a step's code asks for what it was not given when it was recorded, beside what the
    recording says of it: by default a step that asks for the network ends, the rest is told in `notes`.

    `debugger` is called where the replay diverges, with the divergence, what was raised, and where to look: the user's
    frame in which the step still stands, what was raised, the frame in which its function returned, or None.

    Raises:
        UsageError: there is no such guard.
        TamperedError: the file changed since it was verified.
    """
    given = spec if isinstance(spec, Spec) or spec is None else Spec(dict(spec))
    source = f"current {given.source}" if given else "from the recording"
    skills = registry if isinstance(registry, SkillRegistry) else import_module("replay.plain").registry_of(registry)
    mode = None if guard is None else checked_mode(guard)
    with Scratch() as scratch:
        replayer = _Replayer(recording, skills, given, source, observer, permit or Permit(), scratch, mode)
        replayer.trail = Trail(debugger, _index_under_way) if debugger else None
        return replayer.replay(inputs)


class _Replayer:
    """One replay: the sink that compares, and what goes before and after the run."""

    def __init__(
        self,
        recording: Recording,
        registry: SkillRegistry,
        spec: Spec | None,
        source: str,
        observer: Observer | None,
        permit: Permit,
        scratch: Scratch,
        mode: Mode | None,
    ) -> None:
        self.recording = recording
        self.registry = with_commands(registry, permit.environ, scratch)
        self.permit = permit
        self.scratch = scratch
        self.given = spec
        self.observer = observer
        self.mode = mode
        self.trail: Trail | None = None
        self.answer = Replay(recording.run_id, "matched", source)
        self.end = recording.end
        self.records: Iterator[Record | RunEnd] = iter(())
        self.current: Record | RunEnd | None = None
        self.begun: int | None = None
        # Steps that steps called, by index: their lines come before that of the step which the spec names.
        self.nested: dict[int, Record] = {}
        self.paths = Paths(0)
        # When the calls of these were answered, by the step which the spec names.
        self.ended: dict[str, list[Ended]] = {}
        self.turns = Turns(())
        self.emitting = Lock()

    def replay(self, inputs: Mapping[str, Any] | None) -> Replay:
        """Return the answer."""
        answer, start = self.answer, self.recording.start
        answer.steps_recorded = self._steps_recorded()
        try:
            recorded = recorded_spec(start)
            self.spec = self.given or recorded
            self.volatile = Volatile(start.volatile)
            # What fails a step when it is recorded fails it here. What differs each time anyway is not looked at.
            self.redaction = Redaction(start.redacted, Recognition([*self.spec.allow_secrets, *start.volatile]))
            self.redaction.accept(start.inputs, ("inputs",))
            self.redaction.accept(start.spec)
            raw = given_inputs(start, inputs, self.redaction)
            written = None if raw is None else self.redaction.admit(("inputs",), raw)
            found = in_start(start, self.spec, written, self.volatile)
            self.policy = Policy.restored(start.policy)
            self.guard = Guard.replaying(self.mode, self.policy.guard)
            if found is None:
                self._refuse_what_cannot_run()
                refuse_commands(self.spec, bytes(start.inputs), permit=self.permit, answered=True)
        except GoldenError as error:
            return self._refused(error.problem, error.hint)
        refuse_running_loop(self.registry)
        try:
            if found is not None:
                raise Diverged(found)
            self._run(bytes(start.inputs) if raw is None else self.redaction.revealed(start.inputs, raw))
        except Diverged as diverged:
            answer.verdict, answer.divergence = "diverged", diverged.divergence
            answer.notes += self.guard.notes()
            if self.trail:
                self.trail.end(diverged, answer.failure)
            return answer
        except MissingInputError as error:
            return self._refused(error.problem, error.hint)
        return self._judge()

    def begin(self, request: Invoke) -> Outcome | None:
        """See `Sink`: compare what the step is about to be given with what it was given."""
        record = self._next(request.step.id, request.index)
        step = record.step
        if step.error and step.error.code == EMERGENCY_STOP and request.attempt == len(step.attempts):
            # It was stopped from outside at this attempt; steps that were under way then come after it.
            return Outcome(None, step.error, final=True, untried=True)
        if self.begun != request.index:
            self._compare_start(request, record)
        self.begun = request.index
        if request.step.skill_id == SKILL and not (request.step.external or is_timed_out(step)):
            self._lay_out(request, record)
        return None

    def _compare_start(self, request: Invoke, record: Record) -> None:
        step = record.step
        skill = self.registry.get(request.step.skill_id)
        self.redaction.expect(("steps", step.step_id, "output"), step.output)
        found = before_step(step, request.index, request.seed, request.written, request.input_hash)
        if found is None and not request.step.external and skill and skill.version != step.skill_version:
            versions = ("/skill_version", step.skill_version, skill.version)
            found = Divergence("skill", step.step_id, step.index, *versions, skill.location())
        if found is not None:
            raise Diverged(found)
        # Answers are not compared; this notes which rules they match.
        for effect in record.effects if self.volatile.rules or self.redaction.rules else ():
            self.volatile.hash_result(step.step_id, effect.name, effect.result)
            self.redaction.note(("steps", step.step_id, "effects", effect.name, "result"), effect.result)

    def _lay_out(self, request: Invoke, record: Record) -> None:
        """Give a command that is about to be run the files that it read, if they are what they were."""
        try:
            asked = asked_of(request.inputs)
        except CommandError:
            # As it will find out itself.
            return
        withheld = [name for name in asked.env if name not in {*USUAL, *self.permit.environ}]
        note = f"step {request.step.id} was not given {', '.join(withheld)}: not named here (--env), or not set"
        if withheld and note not in self.answer.notes:
            self.answer.notes.append(note)
        found = self.scratch.enter(asked.inputs, asked.outputs, recorded_files(record.effects, request.attempt))
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
        self.current = None
        failed_at = event.failure.location if event.failure else None
        found = None
        if self.begun != data.index:
            found = before_step(recorded, data.index, data.seed, bytes(data.inputs), data.input_hash)
        found = found or after_step(recorded, data, self.volatile, partial(self._location, data.skill_id), failed_at)
        # A step that was not even tried, its budget being refused, ran no code that could be compared.
        if found is None and data.attempts:
            answered = self.spec.steps[data.index].external or is_timed_out(recorded)
            self.answer.steps_answered += answered
            self.answer.steps_compared += not answered
        if self.observer:
            self.observer.step(data, found, event.failure)
        if found:
            self.answer.failure = event.failure
            if data.skill_id == SKILL and found.path == "/exit_code":
                self.answer.notes.append(
                    f"step {data.step_id}: {why_failed(decode(data.output))}; it is given its input files and no others"
                )
            raise Diverged(found)
        if self.trail:
            self.trail.forget(data.index)
        # Equal but for volatile places: later steps are given what the recorded ones were given.
        if not recorded.success or event.output is None:
            return None
        return self.redaction.revealed(recorded.output, event.output)

    def identify(self, parent: Invoke, name: str, inputs: bytes, input_hash: str) -> tuple[str, int]:
        """See `Nesting`: which recorded step it is, compared with what it is given."""
        found = self.paths.take(parent.step.id, name, input_hash)
        if found is None:
            error = self.current.step.error if isinstance(self.current, Record) else None
            if error and error.code == EMERGENCY_STOP:
                # It was stopped from outside here.
                raise HaltedError(Outcome(None, error, final=True))
            self._diverge(Divergence("step", parent.step.id, parent.index, "", None, name, caller(), kind="added"))
        path, index = found
        recorded = self.nested[index].step
        seed = path_seed(self.recording.start.seed, path)
        unlike = before_step(recorded, index, seed, inputs, input_hash)
        if unlike is not None:
            self._diverge(msgspec.structs.replace(unlike, location=caller()))
        self.redaction.expect(("steps", path, "output"), recorded.output)
        for effect in self.nested[index].effects if self.redaction.rules else ():
            self.redaction.note(("steps", path, "effects", effect.name, "result"), effect.result)
        return path, index

    def emit_nested(self, data: StepData, duration_us: int, failure: Failure | None, skill: Skill) -> None:  # noqa: ARG002  for those that write
        """See `Nesting`."""
        failed_at = failure.location if failure else None
        found = after_step(self.nested[data.index].step, data, self.volatile, skill.location, failed_at)
        with self.emitting:
            self.answer.steps_compared += found is None
            if self.observer:
                self.observer.step(data, found, failure)
            if found:
                self.answer.failure = failure
                self.turns.drop()
                raise Diverged(found)
        if self.trail:
            self.trail.forget(data.index)

    def close(self, parent: Invoke) -> None:
        """See `Nesting`: a recorded step that was not called is a divergence."""
        if parent.attempt < self.record(parent).last_attempt:
            # What it has not called by now a further attempt did.
            return
        left = self.paths.left_of(parent.step.id)
        if left is not None:
            raise Diverged(Divergence("step", *left, "", left[0].rpartition("/")[2], None, kind="removed"))

    def _diverge(self, found: Divergence) -> NoReturn:
        """End the replay where the user's code makes a call."""
        diverged = Diverged(found)
        self.turns.drop()
        scope = running()
        if self.trail and scope:
            # Before anybody looks around, who might ask for more.
            scope.fail(diverged)
            self.trail.stop(found)
        raise diverged

    def record(self, request: Invoke) -> Record:
        """Return the recorded step that a request is about."""
        if is_nested(request.step.id):
            return self.nested[request.index]
        if not isinstance(self.current, Record):
            raise TypeError("no step is under way")
        return self.current

    def _run(self, inputs: bytes) -> None:
        start = self.recording.start
        self.records = self.recording.records()
        self.volatile.hash_inputs(start.inputs)
        budget = Budget.restored(start.budget_snapshot)
        engine = run(
            self.spec,
            seed=start.seed,
            inputs=inputs,
            scheme=start.seed_scheme,
            budget=budget,
            policy=self.policy,
            versions={skill.id: skill.version for skill in self.registry},
            volatile=self.volatile,
            redaction=self.redaction,
            order=AsRecorded(self._upcoming),
        )
        with Interrupts() as interrupts:
            stop = self.trail.stop if self.trail else bool
            effects = RecordedEffects(self.record, self.redaction, lambda: self.turns, stop)
            at, volatile = self.recording.timestamp, self.volatile
            flow = Flow(start.seed, at, volatile, budget, effects, self, self.guard, self.redaction, self.trail)
            driver = Driver(self.registry, effects, self, interrupts, flow)
            try:
                with self.trail.followed() if self.trail else nullcontext():
                    driver.drive(engine)
            except _HaltedError:
                pass
            except Diverged:
                # A replay that was stopped halfway says nothing about the recording.
                if interrupts.signum is None:
                    raise
        if interrupts.signum is not None:
            signal.raise_signal(interrupts.signum)
            raise KeyboardInterrupt
        if self._stopped:
            status = self.end.status if self.end else "no end"
            self.answer.notes.append(f"the run was stopped from outside ({status}): replayed up to its last whole step")

    def _judge(self) -> Replay:
        answer = self.answer
        if answer.steps_compared == 0:
            what = "no step was compared" if answer.steps_answered == 0 else "every step was answered from the file"
            return self._refused(what, "record a run with at least one step that is run again")
        for what, dead in (("volatile", self.volatile.dead), ("redact", self.redaction.dead)):
            answer.dead += dead
            if dead:
                answer.notes.append(f"{what} paths that matched nothing: {', '.join(dead)}")
        answer.notes += self._code_changes()
        answer.asked = self.guard.notes()
        answer.notes += answer.asked
        return answer

    def _refused(self, problem: str, hint: str) -> Replay:
        self.answer.verdict, self.answer.problem, self.answer.hint = "refused", problem, hint
        return self.answer

    def _refuse_what_cannot_run(self) -> None:
        start = self.recording.start
        for step in self.spec.steps:
            if step.external or self.registry.get(step.skill_id):
                continue
            recorded = start.environment.skills.get(step.skill_id)
            origin = f"it was recorded from module {recorded.module}" if recorded else "it was built in"
            raise UsageError(
                f"SKILL_NOT_FOUND: no skill {step.skill_id} for step {step.id}; {origin}",
                hint="load the module that registers it (--skills)"
                if start.seed_scheme == INDEXED
                else "name the function that was recorded (--function FILE.py:NAME, or the key `functions`)",
            )

    def _steps_recorded(self) -> int:
        if self.recording.start.seed_scheme == INDEXED and (self.end is None or self.end.status == "completed"):
            return self.end.steps_completed if self.end else 0
        steps = (record.step for record in self.recording.records() if isinstance(record, Record))
        return sum(step.error_code != EMERGENCY_STOP for step in steps)

    def _peek(self) -> Record | RunEnd | None:
        """Return what the recording holds next."""
        while self.current is None:
            found = next(self.records, None)
            if not isinstance(found, Record):
                self.current = found
                break
            self._accept(found)
            ended = self.ended.setdefault(found.step.step_id.partition("/")[0], [])
            ended += found.ended
            if not is_nested(found.step.step_id):
                self.current, self.turns = found, Turns(self.ended.pop(found.step.step_id))
                break
            self.nested[found.step.index] = found
            self.paths.add(found.step.step_id, found.step.index, found.step.input_hash)
        return self.current

    def _accept(self, record: Record) -> None:
        """Take note of what was written of a step, and so may be."""
        place = ("steps", record.step.step_id)
        self.redaction.accept(record.step.inputs, (*place, "inputs"))
        self.redaction.accept(record.step.output, (*place, "output"))
        for effect in record.effects:
            called = (*place, "effects", effect.name)
            self.redaction.accept(effect.args, (*called, "args"))
            self.redaction.accept(effect.kwargs, (*called, "kwargs"))
            self.redaction.accept(effect.result, (*called, "result"))

    def _upcoming(self) -> int | None:
        found = self._peek()
        return found.step.index if isinstance(found, Record) else None

    def _next(self, step_id: str, index: int) -> Record:
        found = self._peek()
        if not isinstance(found, Record):
            if self._stopped:
                raise _HaltedError
            raise Diverged(Divergence("step", step_id, index, "", None, step_id, kind="added"))
        recorded = found.step
        if recorded.step_id != step_id:
            raise Diverged(Divergence("step", recorded.step_id, recorded.index, "", recorded.step_id, step_id))
        return found

    def _compare_end(self, data: RunEnd) -> None:
        left = self._peek()
        if isinstance(left, Record):
            name = left.step.step_id
            raise Diverged(Divergence("step", name, left.step.index, "", name, None, kind="removed"))
        if self.end is not None and not self._stopped:
            found = at_end(self.end, data)
            if found:
                raise Diverged(found)

    @property
    def _stopped(self) -> bool:
        return self.end is None or self.end.status in STOPPED_FROM_OUTSIDE

    def _location(self, skill_id: str) -> str | None:
        skill = self.registry.get(skill_id)
        return skill.location() if skill else None

    def _code_changes(self) -> list[str]:
        recorded = self.recording.start.environment.skills
        return [
            f"the code of {name} changed since it was recorded, its results did not"
            for name, now in recorded_skills(self.spec, self.registry).items()
            if name in recorded and recorded[name].code_hash != now.code_hash
        ]


def _index_under_way() -> int | None:
    scope = running()
    return None if scope is None else scope.request.index
