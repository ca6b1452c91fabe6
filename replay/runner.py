"""Runner: records a run of a spec: header, steps, end, seal.

Chooses nothing that it is not given; comparing is the replayer's business.
"""

from __future__ import annotations

import hashlib
import locale
import os
import platform
import secrets
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Raw

from golden.canonical import canonical_bytes
from golden.clock import timestamp
from golden.errors import FormatError, UsageError
from golden.event import FORMAT, Environment, RecordedSkill, RunStart, StepData
from golden.recorder import Recorder, open_recorder
from golden.recording import Recording
from golden.store import Store
from golden.version import VERSION
from golden.volatile import Volatile
from replay.driver import Driver, refuse_running_loop
from replay.engine import Emit, Invoke, run
from replay.frames import Failure
from replay.interrupts import Interrupts
from replay.live import LiveEffects
from replay.policy import DEFAULT_STEP_CEILING, DEFAULT_WORKFLOW_CEILING, Budget
from replay.skill import SkillRegistry
from replay.spec import Spec

SEED_SCHEME = "aos-v1"
_LOCKS = ("requirements.lock", "uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "requirements.txt")


class Observer(Protocol):
    """Who watches a run being recorded."""

    def step(self, data: StepData, failure: Failure | None) -> None:
        """Take note of a step that was recorded, with what its code raised."""

    def note(self, text: str) -> None:
        """Take note of something about the run as a whole."""


def record(  # noqa: PLR0913  one parameter per choice a run has; all but two have defaults
    spec: Spec | Mapping[str, Any],
    registry: SkillRegistry,
    *,
    store: Store,
    run_id: str | None = None,
    seed: int | None = None,
    inputs: Mapping[str, Any] | None = None,
    step_ceiling_cents: int = DEFAULT_STEP_CEILING,
    workflow_ceiling_cents: int = DEFAULT_WORKFLOW_CEILING,
    volatile: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
    observer: Observer | None = None,
) -> Recording:
    """Run `spec` with the skills of `registry`, record it in `store`, and return the sealed recording.

    Run id and seed default to fresh ones. A failing step does not raise: the recording's `statement.status` says how
    the run ended. SIGINT and SIGTERM end it with status `aborted`, sealed, and are then delivered.

    Raises:
        UsageError: spec, inputs or run id cannot be used, or a skill is missing; nothing was run.
        KeyringError: there is no key to sign with.
        StoreError: the file cannot be written; what stands there stays valid as far as it goes.
    """
    spec = spec if isinstance(spec, Spec) else Spec(dict(spec))
    raw_inputs = check_inputs(spec, {} if inputs is None else dict(inputs))
    missing = missing_skills(spec, registry)
    if missing:
        raise UsageError(
            f"SKILL_NOT_FOUND: no skill {missing[0]} is registered",
            hint="load the module that registers it (--skills)",
        )
    rules = [*spec.volatile, *(rule for rule in volatile if rule not in spec.volatile)]
    try:
        volatiles = Volatile(rules)
    except FormatError as error:
        raise UsageError(error.problem, hint=error.hint) from None
    run_id = run_id or default_run_id(spec.id)
    base = secrets.randbelow(1 << 31) if seed is None else seed
    if type(base) is not int:
        raise UsageError(f"seed {base!r} is no integer", hint="give an integer, or none for a fresh one")
    ceiling = workflow_ceiling_cents if spec.budget_ceiling_cents is None else spec.budget_ceiling_cents
    budget = Budget(step_ceiling_cents, ceiling)
    versions = {skill.id: skill.version for skill in registry}
    refuse_running_loop(registry)
    # Wherever the run's code may leave us.
    path = store.file(run_id).path.absolute()
    volatiles.hash_inputs(raw_inputs)
    started = timestamp()
    # Whole before there is a file, so that what cannot be said burns no run id.
    start = RunStart(
        budget_snapshot=budget.snapshot(),
        canonical=FORMAT,
        environment=_environment(spec, registry, environ or {}),
        inputs=Raw(raw_inputs),
        policy={},
        redacted=[],
        seed=base,
        seed_scheme=SEED_SCHEME,
        spec=Raw(spec.raw),
        spec_hash=spec.hash,
        spec_id=spec.id,
        volatile=rules,
    )
    with Interrupts() as interrupts, open_recorder(store, run_id) as recorder:
        recorder.write(start, at=started)
        engine = run(spec, seed=base, inputs=raw_inputs, budget=budget, versions=versions, volatile=volatiles)
        effects = LiveEffects(recorder.write, volatiles, interrupts)
        Driver(registry, effects, _Writing(recorder, observer), interrupts, started).drive(engine)
        recorder.seal()
    if observer and volatiles.dead:
        observer.note(f"volatile paths that matched nothing: {', '.join(volatiles.dead)}")
    if interrupts.signum is not None:
        signal.raise_signal(interrupts.signum)
    return Recording.open(path, store.read())


class _Writing:
    """The sink of a recording: events are written, then shown."""

    def __init__(self, recorder: Recorder, observer: Observer | None) -> None:
        self._recorder = recorder
        self._observer = observer

    def begin(self, request: Invoke) -> None:
        """See `Sink`."""

    def emit(self, event: Emit) -> None:
        """See `Sink`."""
        self._recorder.write(event.data, event.duration_us)
        if self._observer and isinstance(event.data, StepData):
            self._observer.step(event.data, event.failure)


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


def missing_skills(spec: Spec, registry: SkillRegistry) -> list[str]:
    """Return the skill ids that `spec` names and `registry` lacks, in the spec's order."""
    return list(dict.fromkeys(step.skill_id for step in spec.steps if registry.get(step.skill_id) is None))


def recorded_skills(spec: Spec, registry: SkillRegistry) -> dict[str, RecordedSkill]:
    """Return module, version and code hash of each skill of `spec` that `registry` has."""
    used = (registry.get(skill_id) for skill_id in sorted({step.skill_id for step in spec.steps}))
    return {
        skill.id: RecordedSkill(code_hash=skill.code_hash(), module=skill.module, version=skill.version)
        for skill in used
        if skill is not None
    }


def _environment(spec: Spec, registry: SkillRegistry, environ: Mapping[str, str]) -> Environment:
    return Environment(
        cpu_count=os.cpu_count() or 0,
        env=sorted(environ),
        hash_seed=environ.get("PYTHONHASHSEED") or ("random" if sys.flags.hash_randomization else "0"),
        locale=".".join(part or "C" for part in locale.getlocale()),
        lock_hash=_lock_hash(),
        platform=platform.platform(),
        python=platform.python_version(),
        skills=recorded_skills(spec, registry),
        timezone=time.tzname[0],
        version=VERSION,
    )


def _lock_hash() -> str | None:
    for name in _LOCKS:
        try:
            # A FIFO of that name would wait for somebody to write.
            if Path(name).is_file():
                return hashlib.sha256(Path(name).read_bytes()).hexdigest()
        except OSError:
            continue
    return None
