"""Revealing: what a recording does not say because it was redacted, and what a run that goes on needs nevertheless.

Run inputs are given anew by whoever resumes, outputs are found in checkpoints; what is known by neither is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from golden.canonical import decode
from golden.errors import StoreError
from golden.event import EffectData
from golden.recording import Record, Recording, Verified
from golden.redaction import Redaction, labels
from golden.volatile import Volatile
from replay.header import admit_inputs, check_inputs, redaction_of
from replay.host import Host
from replay.past import Truth, given_inputs
from replay.spec import Spec


def given(file: Verified, spec: Spec, inputs: Mapping[str, Any] | None, host: Host) -> tuple[Truth, bytes]:
    """Return what is known of a run that is to go on, before its steps are looked at, and its inputs as written.

    Raises:
        UsageError: something was redacted in an input that is not among `inputs`, or these hold a secret.
    """
    start = file.start
    used = max((max(labels(line), default=0) for batch in file.lines() for line in batch), default=0)
    redaction = redaction_of(start.redacted, host.recognition(spec), used=used if start.redacted else 0)
    # What stands there already is no news.
    redaction.accept(start.inputs)
    redaction.accept(start.spec)
    merged = given_inputs(start, inputs, redaction)
    raw = bytes(start.inputs) if merged is None else check_inputs(spec, decode(merged))
    return Truth(redaction, raw), admit_inputs(spec, raw, redaction)


def find_outputs(records: Iterable[Record], file: Verified, host: Host, truth: Truth) -> None:
    """Find in checkpoints what steps returned in whose recorded outputs something is redacted.

    The checkpoint of the run, else of the one it resumes; what does not come to the recorded hash is another output.
    """
    volatile = Volatile(file.start.volatile)
    for record in records:
        truth.redaction.accept(record.step.output)
        truth.redaction.accept(record.step.inputs)
        for effect in record.effects:
            truth.redaction.accept(effect.result)
    if not truth.redaction.rules:
        return
    came_from = file.start.resumed_from
    saved = [_saved(run_id, host) for run_id in (file.run_id, *([came_from.run_id] if came_from else []))]
    for step in (record.step for record in records if record.step.success and labels(record.step.output)):
        for outputs in saved:
            output = outputs.get(step.index)
            if output is None or labels(output):
                continue
            truth.redaction.bind(step.output, output)
            if volatile.hash_output(step.step_id, truth.redaction.hide(output)) == step.output_hash:
                truth.outputs[step.index] = output
                break


def refuse_unknown(
    run_id: str,
    spec: Spec,
    records: Sequence[Record],
    pending: Mapping[int, Sequence[EffectData]],
    truth: Truth,
) -> None:
    """Raise StoreError where a step would be given the label of a secret in its place."""
    if not truth.redaction.rules:
        return
    done = {record.step.index for record in records}
    for step in (record.step for record in records if record.step.success):
        if step.index >= len(spec.steps) or step.index in truth.outputs or not labels(step.output):
            continue
        if not done.issuperset(spec.dependents[step.index]):
            raise StoreError(
                f"the output of step {step.step_id} of run {run_id} was redacted, and no checkpoint holds it",
                hint=_hint(run_id, step.step_id),
            )
    for effect in (effect for effects in pending.values() for effect in effects):
        if labels(effect.result):
            raise StoreError(
                f"step {effect.step_id} of run {run_id} was broken off after {effect.name} had answered with a secret,"
                " which was redacted",
                hint=_hint(run_id, effect.step_id.partition("/")[0]),
            )


def counts_of(recording: Recording) -> dict[str, int]:
    """Return how many distinct values each redaction rule of a recording has replaced."""
    start = recording.start
    redaction = Redaction(start.redacted)
    redaction.note(("inputs",), start.inputs)
    for step, effects in ((r.step, r.effects) for r in recording.records() if isinstance(r, Record)):
        redaction.note(("steps", step.step_id, "output"), step.output)
        for effect in effects:
            redaction.note(("steps", step.step_id, "effects", effect.name, "result"), effect.result)
    return redaction.counts


def _saved(run_id: str, host: Host) -> dict[int, bytes]:
    if host.saving is None or host.saving.store.load(run_id) is None:
        return {}
    outputs = host.saving.store.outputs(run_id)
    return {output.step_index: output.output for output in outputs if output.output is not None}


def _hint(run_id: str, step_id: str) -> str:
    return (
        f"begin anew there, once the run has ended (golden recover {run_id}):"
        f" golden fork {run_id} --at {step_id} --run-id NEW"
    )
