"""Runner: records a run of a spec: header, steps, end, seal.

Chooses nothing that it is not given; comparing is the replayer's business.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from golden.clock import timestamp
from golden.errors import FormatError, UsageError
from golden.event import RunStart
from golden.recorder import open_recorder
from golden.recording import Recording
from golden.store import Store
from golden.volatile import Volatile
from replay.budget import DEFAULT_STEP_CEILING, Budget, Ceilings
from replay.checkpoints.contract import CheckpointStore
from replay.command import with_commands
from replay.controls import Controls
from replay.driver import Driver
from replay.engine import BY_PATH, INDEXED, run
from replay.flow import Flow
from replay.guard import RECORDED, Guard, Mode
from replay.header import admit_inputs, check_inputs, header_of, merged, policy_for, redaction_of
from replay.host import Host, Observer
from replay.interrupts import Interrupts
from replay.live import LiveEffects
from replay.past import Past, ResumedEffects, Truth
from replay.policy import Policy
from replay.progress import Progress, Saving
from replay.skill import SkillRegistry
from replay.spec import Spec
from replay.writing import Course, Writing


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
    secrets_at = merged(spec.redact, redact)
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
    start = header_of(
        spec,
        host,
        inputs=written,
        seed=base,
        scheme=scheme,
        budget=ceilings.budget(spec.budget_ceiling_cents),
        policy=policy_for(registry, policy, guard),
        redacted=secrets_at,
        volatile=merged(spec.volatile, volatile),
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
    sink = Writing(host, course, volatile, progress, guard, live=live)
    flow = Flow(start.seed, course.started, volatile, budget, effects, sink, guard, redaction)
    Driver(host.registry, effects, sink, interrupts, flow, host.width).drive(engine)
    recorder.seal()
    if progress is not None and sink.end is not None:
        progress.end(sink.end)
    if host.observer and volatile.dead:
        host.observer.note(f"volatile paths that matched nothing: {', '.join(volatile.dead)}")
    if host.observer and redaction.dead:
        host.observer.note(f"redact paths that matched nothing: {', '.join(redaction.dead)}")


def default_run_id(spec_id: str) -> str:
    """Return `<spec id>-<UTC yyyymmddThhmmssZ>-<4 hex>`."""
    return f"{spec_id}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
