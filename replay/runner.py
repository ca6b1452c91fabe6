"""Runner: records a run of a spec: header, steps, end, seal.

Chooses nothing that it is not given; comparing is the replayer's business.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from threading import Lock
from typing import Any, Protocol

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from golden.canonical import canonical_bytes
from golden.clock import timestamp
from golden.errors import FormatError, SecretError, StoreError, UsageError
from golden.event import FORMAT, RunEnd, RunStart, StepData, StepError
from golden.recognition import Recognition
from golden.recorder import Recorder, open_recorder
from golden.recording import Record, Recording
from golden.redaction import Redaction
from golden.store import Store
from golden.volatile import Volatile
from replay import codes
from replay.budget import DEFAULT_STEP_CEILING, Budget, Ceilings
from replay.checkpoints.contract import CheckpointStore
from replay.command import with_commands
from replay.controls import Controls
from replay.driver import Driver, refuse_running_loop
from replay.engine import BY_PATH, INDEXED, Emit, Invoke, Outcome, run
from replay.environment import recorded_environment
from replay.flow import Flow, HaltedError
from replay.frames import Failure
from replay.guard import RECORDED, Guard, Mode, checked_mode
from replay.interrupts import Interrupts
from replay.live import LiveEffects
from replay.past import Past, ResumedEffects, Truth
from replay.policy import Policy
from replay.progress import Progress, Saving
from replay.skill import Skill, SkillRegistry
from replay.spec import Spec


class Observer(Protocol):
    """Who watches a run being recorded."""

    def step(self, data: StepData, failure: Failure | None) -> None:
        """Take note of a step that was recorded, with what its code raised."""

    def note(self, text: str) -> None:
        """Take note of something about the run as a whole."""


class Host(msgspec.Struct):
    """What a run is given by the place where it runs: none of it is told by the recording.

    Attributes:
        registry: the skills.
        store: where the golden file goes.
        saving: where checkpoints go, None for nowhere.
        controls: what may stop it from outside, None for nothing.
        environ: the environment whose names are recorded.
        observer: who watches.
        width: how many steps may be under way at a time.
        guard: what is done about calls that no replay could do alike.
        allow_secrets: where what looks like a secret may be written, beside the places of the spec.
    """

    registry: SkillRegistry
    store: Store
    saving: Saving | None = None
    controls: Controls | None = None
    environ: Mapping[str, str] = {}
    observer: Observer | None = None
    width: int = 1
    guard: Mode = "warn"
    allow_secrets: tuple[str, ...] = ()

    @property
    def versions(self) -> dict[str, str]:
        """The declared version of each skill."""
        return {skill.id: skill.version for skill in self.registry}

    def recognition(self, spec: Spec) -> Recognition:
        """Return what refuses undeclared secrets in a run of `spec`; raises UsageError for a place that is none."""
        try:
            return Recognition([*spec.allow_secrets, *self.allow_secrets])
        except FormatError as error:
            raise UsageError(error.problem, hint=error.hint) from None

    def refuse_halted(self) -> None:
        """Raise UsageError where somebody has stopped the engine."""
        halt = self.controls.refusal() if self.controls else None
        if halt is not None:
            raise halt.refusal()

    def refuse_unready(self, spec: Spec) -> None:
        """Raise UsageError where `spec` cannot run here: a skill is missing, or could not be awaited."""
        missing = missing_skills(spec, self.registry)
        if missing:
            raise UsageError(
                f"SKILL_NOT_FOUND: no skill {missing[0]} is registered",
                hint="load the module that registers it (--skills)",
            )
        checked_mode(self.guard)
        if self.width < 1:
            raise UsageError(f"{self.width} steps at a time is no number of steps", hint="use 1 or more")
        refuse_running_loop(self.registry)


def record(  # noqa: PLR0913  one parameter per choice a run has; all but two have defaults
    spec: Spec | Mapping[str, Any] | Callable[..., Any],
    registry: SkillRegistry | None = None,
    *,
    store: Store,
    run_id: str | None = None,
    seed: int | None = None,
    inputs: Mapping[str, Any] | None = None,
    step_ceiling_cents: int = DEFAULT_STEP_CEILING,
    workflow_ceiling_cents: int | None = None,
    policy: Policy | None = None,
    volatile: Iterable[str] = (),
    redact: Iterable[str] = (),
    allow_secrets: Iterable[str] = (),
    checkpoints: CheckpointStore | Saving | None = None,
    controls: Controls | None = None,
    concurrency: int = 1,
    environ: Mapping[str, str] | None = None,
    observer: Observer | None = None,
    guard: Mode = "warn",
) -> Recording:
    """Run `spec` with the skills of `registry`, record it in `store`, and return the sealed recording.

    Run id and seed default to fresh ones. A failing step does not raise: the recording's `statement.status` says how
    the run ended. SIGINT and SIGTERM end it with status `aborted`, sealed, and are then delivered.

    Args:
        spec: the document, checked or not, or a function: what it calls by `@step` and `@external` is recorded.
        registry: the skills; those of a function are its own.
        store: where the golden file goes.
        run_id: how it is called there.
        seed: any integer.
        inputs: the run inputs, JSON values by name.
        volatile: paths that do not enter a hash, beside those of the spec.
        redact: paths of secrets, which no file but a checkpoint will hold, beside those of the spec.
        allow_secrets: places of what looks like a secret and is none, beside those of the spec.
        environ: the environment whose names are recorded, and of which commands are given what their step names.
        observer: told of each step.
        step_ceiling_cents: what a step may cost that names no ceiling of its own; 0 means 0.
        workflow_ceiling_cents: what the run may cost; in place of what the spec says, where it is given.
        policy: what may be run, by default as `Policy()` says.
        checkpoints: where to save how far the run has come, so that operators see it and it can be resumed.
        controls: asked before every step whether the run is to stop.
        concurrency: how many steps that do not depend on each other may be under way at a time.
        guard: what to do where a step's code asks for what no replay could give it alike (the time, random numbers,
            files, the network): `off`, `warn` (tell the observer), `block` (end the step), or `virtual`: answer clock
            and random numbers from the run itself, when it is replayed too.

    Raises:
        UsageError: spec, inputs or run id cannot be used, a skill is missing, the engine is stopped; nothing was run.
        KeyringError: there is no key to sign with.
        StoreError: the file or its checkpoint cannot be written; what stands there stays valid as far as it goes.
    """
    spec, registry, scheme = _what(spec, registry, inputs or {})
    raw_inputs = check_inputs(spec, {} if inputs is None else dict(inputs))
    rules = [*spec.volatile, *(rule for rule in volatile if rule not in spec.volatile)]
    secrets_at = [*spec.redact, *(rule for rule in redact if rule not in spec.redact)]
    saving = checkpoints if isinstance(checkpoints, Saving) or checkpoints is None else Saving(checkpoints)
    registry = with_commands(registry, environ or {})
    host = Host(registry, store, saving, controls, environ or {}, observer, concurrency, guard, tuple(allow_secrets))
    host.refuse_halted()
    host.refuse_unready(spec)
    redaction = redaction_of(secrets_at, host.recognition(spec))
    written = admit_inputs(spec, raw_inputs, redaction)
    run_id = run_id or default_run_id(spec.id)
    base = secrets.randbelow(1 << 31) if seed is None else seed
    if type(base) is not int:
        raise UsageError(f"seed {base!r} is no integer", hint="give an integer, or none for a fresh one")
    ceilings = Ceilings(step_ceiling_cents, workflow_ceiling_cents)
    # Whole before there is a file, so that what cannot be said burns no run id.
    start = RunStart(
        budget_snapshot=ceilings.budget(spec.budget_ceiling_cents).snapshot(),
        canonical=FORMAT,
        environment=recorded_environment(spec, registry, host.environ),
        inputs=Raw(written),
        policy=policy_for(registry, policy, guard),
        redacted=secrets_at,
        seed=base,
        seed_scheme=scheme,
        spec=Raw(spec.raw),
        spec_hash=spec.hash,
        spec_id=spec.id,
        volatile=rules,
    )
    return begin(host, run_id, spec, start, Truth(redaction, raw_inputs))


def _what(
    given: Spec | Mapping[str, Any] | Callable[..., Any], registry: SkillRegistry | None, inputs: Mapping[str, Any]
) -> tuple[Spec, SkillRegistry, str]:
    """Return spec, skills and seed scheme of what is to be run."""
    if isinstance(given, Spec | Mapping):
        return given if isinstance(given, Spec) else Spec(dict(given)), registry or SkillRegistry(), INDEXED
    plain = import_module("replay.plain")
    return plain.spec_of(given, inputs), plain.registry_of(given), BY_PATH


World = Callable[..., LiveEffects]


def begin(
    host: Host,
    run_id: str,
    spec: Spec,
    start: RunStart,
    truth: Truth,
    past: Past | None = None,
    *,
    world: World = LiveEffects,
) -> Recording:
    """Record a new run by its header, with what is carried over from another one, and return the sealed recording.

    `world` makes what the run asks the world through, of what `LiveEffects` takes.

    Raises:
        As `record`.
    """
    # Wherever the run's code may leave us.
    path = host.store.file(run_id).path.absolute()
    try:
        Volatile(start.volatile)
    except FormatError as error:
        raise UsageError(error.problem, hint=error.hint) from None
    started = timestamp()
    with Interrupts() as interrupts, open_recorder(host.store, run_id) as recorder:
        if host.saving is not None:
            # While nothing is written: the run's id stays free where this is refused.
            host.saving.refuse_known(run_id)
        recorder.write(start, at=started)
        folder = str(path.parent)
        progress = Progress.begin(host.saving, recorder, folder, start, started) if host.saving else None
        course = Course(spec, start, started, recorder, interrupts, truth, past or Past())
        carry_out(host, course, progress, world=world)
    if interrupts.signum is not None:
        signal.raise_signal(interrupts.signum)
    return Recording.open(path, host.store.read())


class Course(msgspec.Struct):
    """One run as its header determines it, with the file it goes to and what is recorded of it already."""

    spec: Spec
    start: RunStart
    started: str
    recorder: Recorder
    interrupts: Interrupts
    truth: Truth
    past: Past


def carry_out(
    host: Host, course: Course, progress: Progress | None, *, live: bool = True, world: World = LiveEffects
) -> None:
    """Run what is not recorded yet, and seal the file; without `live`, end it at the first step that would be run."""
    start, recorder, interrupts = course.start, course.recorder, course.interrupts
    if host.observer and live and (words := course.past.words(len(course.spec.steps), start)):
        host.observer.note(words)
    policy = Policy.restored(start.policy)
    if host.observer and host.guard in RECORDED and host.guard != policy.guard:
        host.observer.note(f"guard {host.guard}: the run did not begin under it, and goes on as it began")
    guard = Guard.recording(host.guard, policy.guard, heard=host.observer is not None)
    volatile, redaction = Volatile(start.volatile), course.truth.redaction
    volatile.hash_inputs(start.inputs)
    budget = Budget.restored(start.budget_snapshot)
    engine = run(
        course.spec,
        seed=start.seed,
        scheme=start.seed_scheme,
        inputs=course.truth.inputs,
        redaction=redaction,
        budget=budget,
        policy=policy,
        versions=host.versions,
        volatile=volatile,
        order=course.past.order if live else course.past.only,
        width=host.width,
    )
    calls = world(recorder.write, volatile, interrupts, redaction, course.spec.timeout_seconds)
    goes_on = course.past.records or course.past.pending or not live
    effects = ResumedEffects(course.past, calls if live else None) if goes_on else calls
    sink = _Writing(host, course, volatile, progress, guard, live=live)
    flow = Flow(start.seed, course.started, volatile, budget, effects, sink, guard, redaction)
    Driver(host.registry, effects, sink, interrupts, flow, host.width).drive(engine)
    recorder.seal()
    if progress is not None and sink.end is not None:
        progress.end(sink.end)
    if host.observer and volatile.dead:
        host.observer.note(f"volatile paths that matched nothing: {', '.join(volatile.dead)}")
    if host.observer and redaction.dead:
        host.observer.note(f"redact paths that matched nothing: {', '.join(redaction.dead)}")


class _Writing:
    """The sink of a recording: what is not there yet is written, then its checkpoint saved, then shown."""

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


def policy_for(registry: SkillRegistry, policy: Policy | None, guard: str | None = None) -> dict[str, Any]:
    """Return the policy of a new run as its header holds it, with the skills that say that they change something."""
    snapshot = (policy or Policy()).snapshot()
    changing = {skill.id for skill in registry if skill.mutating}
    snapshot["mutating"] = sorted(changing.union(snapshot["mutating"]))
    return {**snapshot, "guard": guard} if guard in RECORDED else snapshot


def default_run_id(spec_id: str) -> str:
    """Return `<spec id>-<UTC yyyymmddThhmmssZ>-<4 hex>`."""
    return f"{spec_id}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"


def check_inputs(spec: Spec, inputs: dict[str, Any]) -> bytes:
    """Return the canonical bytes of a run's inputs; raises UsageError where the spec needs others."""
    for name in sorted(spec.run_inputs - inputs.keys()):
        raise UsageError(f"run input {name} is missing", hint=f"give it (--input {name}=VALUE)")
    try:
        return canonical_bytes(inputs)
    except FormatError as error:
        raise UsageError(f"run inputs: {error.problem}", hint=error.hint) from None


def redaction_of(rules: Sequence[str], recognition: Recognition, *, used: int = 0) -> Redaction:
    """Return the redaction of a run by its rules; raises UsageError for one that is none."""
    try:
        return Redaction(rules, recognition, used=used)
    except FormatError as error:
        raise UsageError(error.problem, hint=error.hint) from None


def admit_inputs(spec: Spec, raw: bytes, redaction: Redaction) -> bytes:
    """Return a run's inputs as they are written; raises UsageError where they, or the spec, hold a secret."""
    try:
        written = redaction.admit(("inputs",), raw)
        redaction.refuse_in(spec.raw, "the spec")
        redaction.admit(("spec",), spec.raw)
    except SecretError as error:
        raise UsageError(error.problem, hint=error.hint) from None
    return written


def missing_skills(spec: Spec, registry: SkillRegistry) -> list[str]:
    """Return the skill ids that `spec` names and `registry` lacks, in the spec's order."""
    return list(dict.fromkeys(step.skill_id for step in spec.steps if registry.get(step.skill_id) is None))
