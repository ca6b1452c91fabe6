"""Resuming: going on with a run that was killed or that ended early, forking one, and ending one that nobody resumes.

What is recorded is the truth: it is read from the golden file, never from a checkpoint, which only says whose it is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from golden.canonical import decode
from golden.errors import StoreError, UsageError
from golden.event import ResumedFrom, RunEnd, RunStart
from golden.provenance import recorded_under
from golden.recording import Record, Recording, Verified
from golden.redaction import Redaction
from golden.repair import finish
from golden.unfinished import Unfinished, open_unfinished
from replay.budget import Budget, Ceilings
from replay.checkpoints.contract import RUNNING
from replay.command import with_commands
from replay.environment import recorded_skills
from replay.header import check_inputs, header_of, policy_for
from replay.host import Host
from replay.interrupts import Interrupts
from replay.lineage import has_run, history, latest, next_id, origin, until
from replay.past import Past, Truth, carried_over, recorded, recorded_spec, under_way
from replay.permission import Permit, refuse_commands
from replay.policy import Policy
from replay.progress import Progress, Saving, Sealed, Written, refuse_ahead
from replay.revealing import find_outputs, given, refuse_unknown
from replay.runner import begin, carry_out
from replay.spec import Spec
from replay.writing import Course

Change = Literal["spec", "code", "context"]
CHANGES: tuple[Change, ...] = ("spec", "code", "context")


class ChangedError(StoreError):
    """What a run rests on is not what it was; `changes` says what, `details` how."""

    def __init__(self, run_id: str, found: Mapping[Change, str]) -> None:
        flags = " ".join(f"--accept-change {change}" for change in found)
        super().__init__(
            f"run {run_id} cannot simply go on: {'; '.join(found.values())}",
            hint=f"put it back as it was, or go on with what it is now: {flags}",
        )
        self.changes = tuple(found)


class Terms(msgspec.Struct, frozen=True):
    """On what terms a run goes on.

    Attributes:
        current: gives the spec as it is now of a run with that header, None for the recorded one.
        inputs: other inputs than the recorded ones, None for these.
        accepted: which changes are accepted: `spec`, `code`, `context`.
        checkpoint: the id of the checkpoint to go on from, None for the latest: what came after it is made again.
        policy: what may be run; a run that was killed under another one goes on in a new file under this one.
        step_ceiling_cents: what a step may cost from now on that names no ceiling; None for what the run began with.
        workflow_ceiling_cents: what the run may cost from now on; None for what it began with.
        permit: which commands (`exec.run`) may be run; by default none.
    """

    current: Callable[[RunStart], Spec | None] = lambda _: None
    inputs: Mapping[str, Any] | None = None
    accepted: tuple[Change, ...] = ()
    checkpoint: int | None = None
    policy: Policy | None = None
    step_ceiling_cents: int | None = None
    workflow_ceiling_cents: int | None = None
    permit: Permit = Permit()

    def spec(self, start: RunStart) -> Spec:
        """Return the spec as it is now of a run with that header; raises UsageError where there is none."""
        return self.current(start) or recorded_spec(start)


def resume(run_id: str, host: Host, terms: Terms | None = None) -> Recording:
    """Go on with a run, or with the last one that resumed it, and return the sealed recording of the one that went on.

    A run that was killed goes on in its own file. A run that ended, and one that goes on with another spec or other
    inputs, goes on in `<run>.r<N>`: what succeeded is carried over. One that completed is returned as it is.

    Raises:
        UsageError: it is being written, or the engine is stopped.
        ChangedError: spec, code or inputs changed, and nobody accepted that.
        StoreError, TamperedError, KeyringError: its file is not what was recorded, or its checkpoint is ahead of it.
    """
    terms = terms or Terms()
    host = _equipped(host, terms)
    host.refuse_halted()
    if not host.store.is_begun(run_id):
        # Says what is so: not there, gone, or nothing in it.
        Recording.open(host.store.file(run_id), host.store.read()).close()
    asked, run_id = run_id, latest(host.store, run_id)
    if host.observer and run_id != asked:
        host.observer.note(f"run {asked} was resumed as {run_id}")
    if not _is_sealed(run_id, host):
        with open_unfinished(host.store, run_id) as past:
            truth, _ = given(past, terms.spec(past.start), terms.inputs, host)
            found = _changes(past.start, run_id, host, terms, truth)
            if past.ended is None and not _needs_new_file(past, found, host, terms):
                return _go_on(past, host, [change for change in CHANGES if change in found], truth)
            _end(past, host).close()
    ended = _ended(run_id, host)
    if ended.statement.status == "completed" and terms.checkpoint is None:
        if host.observer:
            host.observer.note(f"run {run_id} has completed: there is nothing to resume")
        return ended
    with ended:
        return _anew(ended, host, terms)


def fork(run_id: str, step_id: str, new_id: str, host: Host, terms: Terms | None = None) -> Recording:
    """Begin run `new_id` with what `run_id` had recorded before its step `step_id`, and go on live from there.

    Raises:
        UsageError: the spec has no such step, or the new id is taken.
        As `resume`; a run that has not ended must be resumed or recovered first.
    """
    terms = terms or Terms()
    host = _equipped(host, terms)
    host.refuse_halted()
    with Recording.open(host.store.file(run_id), host.store.read()) as source:
        spec = terms.spec(source.start)
        if step_id not in {step.id for step in spec.steps}:
            raise UsageError(f"the spec has no step {step_id}", hint="name one of its steps")
        return _anew(source, host, terms, new_id=new_id, before=step_id)


def recover(run_id: str, host: Host) -> Recording:
    """End a run whose recorder died and that nobody will resume: seal it as it is, as `interrupted`.

    One that was killed after its last step is `completed` or `failed`, as it was; one that is sealed stays as it is.

    Raises:
        As `resume`; nothing is run.
    """
    if _is_sealed(run_id, host):
        return _ended(run_id, host)
    with open_unfinished(host.store, run_id) as past:
        return _end(past, host)


def _equipped(host: Host, terms: Terms) -> Host:
    """Return the host with the skill that runs commands, which are given no more than the terms say."""
    return replace(host, registry=with_commands(host.registry, terms.permit.environ))


def _changes(start: RunStart, run_id: str, host: Host, terms: Terms, truth: Truth) -> dict[Change, str]:
    """Return what changed since a run was recorded, in words.

    Raises:
        ChangedError: it is not accepted.
        CommandRefusedError: the run has commands, and nobody has said that they may be run.
    """
    found: dict[Change, str] = {}
    spec = terms.spec(start)
    inputs = truth.redaction.hide(truth.inputs)
    refuse_commands(spec, inputs, terms.permit, answered=False)
    if spec.hash != start.spec_hash:
        found["spec"] = f"the spec {spec.source} is another"
    was = start.environment.skills
    now = recorded_skills(spec, host.registry)
    changed = sorted(name for name in was.keys() & now.keys() if was[name] != now[name])
    if changed:
        found["code"] = f"the code of {', '.join(changed)} changed"
    if inputs != bytes(start.inputs):
        found["context"] = "its inputs are others"
    missing = {change: why for change, why in found.items() if change not in terms.accepted}
    if missing:
        raise ChangedError(run_id, missing)
    return found


def _needs_new_file(past: Unfinished, found: Mapping[Change, str], host: Host, terms: Terms) -> bool:
    """Whether a run goes on otherwise than its header says: nobody could replay it then.

    What may be run and what it may cost is for the host to say now, not for the file.
    """
    start, versions = past.start, host.versions
    was, asked = start.budget_snapshot, (terms.step_ceiling_cents, terms.workflow_ceiling_cents)
    skills = start.environment.skills.items()
    anew = [name for name, skill in skills if versions.get(name, skill.version) != skill.version]
    dearer = any(
        ceiling not in {None, recorded}
        for ceiling, recorded in zip(asked, (was.step_ceiling_cents, was.workflow_ceiling_cents), strict=True)
    )
    other = policy_for(host.registry, terms.policy, start.policy.get("guard")) != start.policy
    return bool("spec" in found or "context" in found or anew or dearer or other or terms.checkpoint is not None)


def _go_on(past: Unfinished, host: Host, accepted: list[str], truth: Truth | None = None) -> Recording:
    """Go on in a run's own file; without its `truth`, which nothing but a step needs, end it where it stands."""
    spec, start = recorded_spec(past.start), past.start
    live = truth is not None
    truth = truth or Truth(Redaction(start.redacted), bytes(start.inputs))
    if live:
        host.refuse_unready(spec)
    path = Path(past.place).absolute()
    if host.saving is not None:
        try:
            found = host.saving.store.load(past.run_id)
        except StoreError as error:
            raise StoreError(error.problem, hint=f"{error.hint}; or go on from the file alone: --from-file") from None
        if found is not None:
            refuse_ahead(found, past.signing.file_id, past.count)
    written = recorded(past)
    carried = _still_to_carry(past, spec, host, truth)
    if live:
        find_outputs([*written, *carried], past, host, truth)
        refuse_unknown(past.run_id, spec, [*written, *carried], past.pending, truth)
    so_far = Past(written, carried, past.pending, begun=past.pending, outputs=truth.outputs)
    with Interrupts() as interrupts:
        following = next((index for index in spec.order if index not in so_far), len(spec.steps))
        recorder = past.recorder(accepted, following)
        progress = None
        if host.saving is not None:
            progress = Progress.take_over(host.saving, recorder, str(path.parent), start, past.timestamp)
        carry_out(host, Course(spec, start, past.timestamp, recorder, interrupts, truth, so_far), progress, live=live)
    if interrupts.signum is not None:
        signal.raise_signal(interrupts.signum)
    return Recording.open(path, host.store.read())


def _still_to_carry(past: Unfinished, spec: Spec, host: Host, truth: Truth) -> list[Record]:
    """Return what a run that resumes another, and was killed while it carried steps over, has yet to carry over."""
    start = past.start
    if not start.resumed_from or has_run(recorded(past)):
        return []
    with origin(past.run_id, start.resumed_from, host.store) as source:
        records, _ = history(source, host.store)
    versions = {name: skill.version for name, skill in start.environment.skills.items()}
    carried = until(records, start.resumed_from.at or None)
    find_outputs(carried, past, host, truth)
    return carried_over(carried, start, spec, versions, truth)


def _end(past: Unfinished, host: Host) -> Recording:
    """Seal a run whose recorder died, before its last line or after it."""
    if past.ended is None:
        return _go_on(past, host, [])
    path = Path(past.place).absolute()
    recorder = past.recorder([], 0)
    recorder.seal()
    if host.saving is not None:
        _catch_up(host.saving, recorder, str(path.parent), past, past.ended)
    return Recording.open(path, host.store.read())


def _catch_up(saving: Saving, written: Written, folder: str, file: Verified, end: RunEnd) -> None:
    """Bring the checkpoint of a run that is sealed to its end."""
    progress = Progress.take_over(saving, written, folder, file.start, file.timestamp)
    for record in recorded(file):
        progress.step(record.step, bytes(record.step.output))
    progress.end(end)


def _is_sealed(run_id: str, host: Host) -> bool:
    return host.store.file(run_id).seal_path.exists()


def _ended(run_id: str, host: Host) -> Recording:
    """Return the recording of a sealed run, after saying elsewhere too what a killed recorder did not get to."""
    directory = host.store.read()
    finish(directory)
    ended = Recording.open(host.store.file(run_id), directory)
    try:
        _settle(ended, host)
    except (StoreError, UsageError) as error:
        # The file is the truth, and it has ended.
        if host.observer:
            host.observer.note(f"its checkpoint stays as it is: {error.problem}")
    return ended


def _settle(ended: Recording, host: Host) -> None:
    """Bring the checkpoint of a sealed run up to it, where its recorder was killed before that."""
    found = host.saving.store.load(ended.run_id) if host.saving is not None else None
    if host.saving is None or found is None or found.status != RUNNING or ended.end is None:
        return
    statement = ended.statement
    refuse_ahead(found, statement.file_id, statement.events)
    sealed = Sealed(statement.run_id, statement.file_id, statement.events)
    _catch_up(host.saving, sealed, str(host.store.directory), ended, ended.end)


def _anew(
    source: Recording, host: Host, terms: Terms, *, new_id: str | None = None, before: str | None = None
) -> Recording:
    """Record a new run that carries over what a run that ended had come to."""
    was = source.start
    truth, written = given(source, terms.spec(source.start), terms.inputs, host)
    found = _changes(was, source.run_id, host, terms, truth)
    spec = terms.spec(was)
    host.refuse_unready(spec)
    check_inputs(spec, decode(truth.inputs))
    budget = _budget(spec, was, terms)
    everything, spent = history(source, host.store)
    # A fork is another run, and begins with nothing; what is resumed stays spent.
    resumes = before is None
    before = before or _after_checkpoint(everything, source, host, terms)
    came_from = ResumedFrom(
        accepted_changes=[change for change in CHANGES if change in found] or UNSET,
        at=UNSET if before is None else before,
        file_id=source.statement.file_id,
        kids=recorded_under(source.lines()),
        run_id=source.run_id,
        sha256=source.statement.sha256,
    )
    start = header_of(
        spec,
        host,
        inputs=written,
        seed=was.seed,
        scheme=was.seed_scheme,
        budget=budget,
        policy=policy_for(host.registry, terms.policy, was.policy.get("guard")),
        redacted=was.redacted,
        volatile=was.volatile,
        resumed_from=came_from,
    )
    carried, fewer = until(everything, before), None
    find_outputs(carried, source, host, truth)
    # What is not carried over is made again, and was paid for all the same: that may leave too little for others.
    while fewer is None or len(fewer) < len(carried):
        carried = carried if fewer is None else fewer
        if resumes:
            kept = sum(record.step.cost_cents for record in carried if record.step.success)
            budget.charged = spent - kept
            start = replace(start, budget_snapshot=budget.snapshot())
        fewer = carried_over(carried, start, spec, host.versions, truth)
    # A step that was under way is not paid for again as far as it had come.
    past = Past(carried=carried, pending=under_way(source.events()) if before is None else None, outputs=truth.outputs)
    refuse_unknown(source.run_id, spec, carried, past.pending, truth)
    return begin(host, new_id or next_id(host.store, source.run_id), spec, start, truth, past)


def _after_checkpoint(records: list[Record], source: Recording, host: Host, terms: Terms) -> str | None:
    """Return the id of the first step that had not ended by the checkpoint to go on from, None for the latest."""
    if terms.checkpoint is None:
        return None
    if host.saving is None:
        raise UsageError("no checkpoints are read", hint="leave out --from-file, or --from")
    outputs = host.saving.store.outputs(source.run_id, terms.checkpoint)
    saved = {output.step_index: output.output_hash for output in outputs}
    # The file is the truth: what it says otherwise by now counts.
    later = (record.step for record in records if saved.get(record.step.index, "") != record.step.output_hash)
    return next((step.step_id for step in later), None)


def _budget(spec: Spec, was: RunStart, terms: Terms) -> Budget:
    """Return the budget of a run that goes on: as it began, unless somebody or a changed spec says otherwise."""
    snapshot, of_spec = was.budget_snapshot, spec.budget_ceiling_cents
    ceiling = snapshot.workflow_ceiling_cents
    # What was imported has no spec, and so none that said otherwise.
    said = (decode(was.spec) or {}).get("budget_ceiling_cents")
    if spec.hash != was.spec_hash and of_spec is not None and of_spec != said:
        ceiling = of_spec
    step = snapshot.step_ceiling_cents if terms.step_ceiling_cents is None else terms.step_ceiling_cents
    whole = ceiling if terms.workflow_ceiling_cents is None else terms.workflow_ceiling_cents
    return Ceilings(step, whole).budget(None)
