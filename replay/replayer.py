"""Replayer: runs a recording's spec again, up to the first divergence, and says what came of it.

Takes only what has verified, writes nothing, and asks the world nothing. Comparing is `comparing`'s business.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import Any, Literal

import msgspec

from golden.canonical import decode
from golden.errors import GoldenError, UsageError
from golden.recognition import Recognition
from golden.recording import Record, Recording
from golden.redaction import Redaction
from golden.volatile import Volatile
from replay.ahead import Ahead
from replay.answers import RecordedEffects
from replay.budget import Budget
from replay.codes import EMERGENCY_STOP
from replay.command import with_commands
from replay.comparing import Comparing, Observer, OverError
from replay.divergence import Diverged, Divergence, in_start
from replay.driver import Driver, refuse_running_loop
from replay.engine import INDEXED, run
from replay.environment import recorded_skills
from replay.flow import Flow, running
from replay.frames import Failure
from replay.guard import Guard, Mode, checked_mode
from replay.interrupts import Interrupts
from replay.order import AsRecorded
from replay.past import given_inputs, recorded_spec
from replay.permission import Permit, refuse_commands
from replay.policy import Policy
from replay.scratch import MissingInputError, Scratch
from replay.skill import SkillRegistry
from replay.spec import Spec
from replay.trail import Debugger, Trail


class Replay(msgspec.Struct):
    """The answer of one replay.

    `verdict` is `matched`, `diverged` (see `divergence`) or `refused` (see `problem` and `hint`); `failure` is what the
    diverging step's code raised, if it did; `dead` are the volatile and redact paths of its own spec that matched
    nothing, `idle` those of the configuration, which are about other runs as well; `asked` the notes on what is not the
    same in every replay.
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
    idle: list[str] = []
    asked: list[str] = []

    @property
    def matched(self) -> bool:
        """Whether the replay did everything the recording holds, alike."""
        return self.verdict == "matched"


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
    """One replay: what goes before and after the run that is compared."""

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

    def _run(self, inputs: bytes) -> None:
        start, answer = self.recording.start, self.answer
        self.volatile.hash_inputs(start.inputs)
        ahead = Ahead(self.recording, self.redaction)
        sink = Comparing(
            ahead,
            self.spec,
            self.registry,
            self.volatile,
            self.redaction,
            self.permit,
            self.scratch,
            self.observer,
            self.trail,
        )
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
            order=AsRecorded(ahead.upcoming),
        )
        try:
            with Interrupts() as interrupts:
                stop = self.trail.stop if self.trail else bool
                effects = RecordedEffects(ahead.record, self.redaction, lambda: ahead.turns, stop)
                at, volatile = self.recording.timestamp, self.volatile
                flow = Flow(start.seed, at, volatile, budget, effects, sink, self.guard, self.redaction, self.trail)
                driver = Driver(self.registry, effects, sink, interrupts, flow)
                try:
                    with self.trail.followed() if self.trail else nullcontext():
                        driver.drive(engine)
                except OverError:
                    pass
                except Diverged:
                    # A replay that was stopped halfway says nothing about the recording.
                    if interrupts.signum is None:
                        raise
        finally:
            answer.steps_compared, answer.steps_answered = sink.compared, sink.answered
            answer.failure = sink.failure
            answer.notes += sink.notes
        if interrupts.signum is not None:
            signal.raise_signal(interrupts.signum)
            raise KeyboardInterrupt
        if ahead.is_stopped:
            status = ahead.end.status if ahead.end else "no end"
            answer.notes.append(f"the run was stopped from outside ({status}): replayed up to its last whole step")

    def _judge(self) -> Replay:
        answer = self.answer
        if answer.steps_compared == 0:
            what = "no step was compared" if answer.steps_answered == 0 else "every step was answered from the file"
            return self._refused(what, "record a run with at least one step that is run again")
        document = decode(self.recording.start.spec) or {}
        for what, dead in (("volatile", self.volatile.dead), ("redact", self.redaction.dead)):
            for rule in dead:
                (answer.dead if rule in document.get(what, ()) else answer.idle).append(rule)
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
        end = self.recording.end
        if self.recording.start.seed_scheme == INDEXED and (end is None or end.status == "completed"):
            return end.steps_completed if end else 0
        steps = (record.step for record in self.recording.records() if isinstance(record, Record))
        return sum(step.error_code != EMERGENCY_STOP for step in steps)

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
