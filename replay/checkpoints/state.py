"""State: how one version of a checkpoint follows another, and what makes a stored one believable. Stores nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import force_setattr, replace

from golden.canonical import sha256_hex
from golden.clock import timestamp
from golden.errors import StoreError, UsageError
from golden.event import Time
from golden.store import check_run_id
from replay.checkpoints.contract import LEASE_SECONDS, Checkpoint, StepOutput

NO_OUTPUTS = sha256_hex(b"")
_UNHASHED = {"content_hash", "lease_owner", "lease_until", "updated_at"}
_content = attrgetter(*[name for name in Checkpoint.__struct_fields__ if name not in _UNHASHED])
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Checkpoint).decode
_MAX_NUMBER = (1 << 63) - 1
# What a save changes, and what a store fills in.
_CHANGING: dict[str, Any] = {
    "next_step_index": 0,
    "last_result_hash": None,
    "events": 0,
    "total_cost_cents": 0,
    "version": 0,
    "created_at": "1970-01-01T00:00:00.000000Z",
    "updated_at": "1970-01-01T00:00:00.000000Z",
    "lease_until": None,
    "outputs_hash": NO_OUTPUTS,
    "content_hash": NO_OUTPUTS,
}


def check_time(text: str) -> str:
    """Return `text`, a time as `golden.clock.timestamp` gives it; raises UsageError for what is none."""
    try:
        return msgspec.convert(text, Time)
    except msgspec.ValidationError:
        raise UsageError(f"{text!r} is no time", hint="write it as 2025-06-01T10:00:00.000000Z") from None


def content_hash(checkpoint: Checkpoint) -> str:
    """Return SHA-256 (64 hex digits) of what a checkpoint says, lease and `updated_at` aside."""
    return sha256_hex(_encode(_content(checkpoint)))


def outputs_hash(before: str, outputs: Iterable[StepOutput]) -> str:
    """Return the running hash (64 hex digits) of outputs that follow those whose hash is `before`.

    It is SHA-256 of the canonical list of the hash before, version, step index, step id and, where the step did not
    fail, output hash and output.
    """
    for each in outputs:
        told: tuple[object, ...] = (before, each.version, each.step_index, each.step_id)
        if each.output is not None:
            told = (*told, each.output_hash, msgspec.Raw(each.output))
        before = sha256_hex(_encode(told))
    return before


def first(checkpoint: Checkpoint) -> Checkpoint:
    """Return version 1 of a checkpoint; raises UsageError where it is none that can be stored."""
    if checkpoint.version:
        raise UsageError(f"run {checkpoint.run_id} has been stored already", hint="save its next version")
    fresh = replace(checkpoint, outputs_hash=NO_OUTPUTS, created_at=timestamp(), updated_at="")
    return following(fresh, (), checkpoint.lease_owner)[0]


def following(
    held: Checkpoint, outputs: Sequence[StepOutput], owner: str | None
) -> tuple[Checkpoint, list[StepOutput]]:
    """Return the version that follows `held`, with `outputs` added and the lease given to `owner`, and those outputs.

    Raises:
        UsageError: it says what no checkpoint can.
    """
    check_run_id(held.run_id)
    # Checking all of it costs as much as all else here, and most of it stays as it is from save to save.
    _check(replace(held, lease_owner=owner, **_CHANGING))
    counts = (held.next_step_index, held.events, held.total_cost_cents)
    if min(counts) < 0 or max(counts) > _MAX_NUMBER or len(held.last_result_hash or NO_OUTPUTS) != len(NO_OUTPUTS):
        raise UsageError(
            f"the checkpoint of run {held.run_id} cannot be stored: {counts}, {held.last_result_hash}",
            hint=f"give counts from 0 to {_MAX_NUMBER} and a hash of 64 hex digits",
        )
    version = held.version + 1
    added = [_added(output, version) for output in outputs]
    new = replace(
        held,
        version=version,
        updated_at=max(timestamp(), held.updated_at),
        lease_owner=owner,
        lease_until=timestamp(LEASE_SECONDS) if owner else None,
        outputs_hash=outputs_hash(held.outputs_hash, added),
    )
    # Nobody has seen it yet.
    force_setattr(new, "content_hash", content_hash(new))
    return new, added


@lru_cache(maxsize=64)
def _check(checkpoint: Checkpoint) -> None:
    try:
        _decode(_encode(checkpoint))
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError) as error:
        raise UsageError(
            f"the checkpoint of run {checkpoint.run_id} cannot be stored: {error}",
            hint="compare it with what a Checkpoint may hold",
        ) from None


def _added(output: StepOutput, version: int) -> StepOutput:
    if (output.output is None) is not (output.output_hash is None):
        raise UsageError(
            f"the output of step {output.step_id} has no hash, or a hash has no output", hint="store both, or neither"
        )
    return replace(output, version=version)


def verified(checkpoint: Checkpoint, place: str, outputs: Iterable[StepOutput] | None = None) -> Checkpoint:
    """Return a stored checkpoint whose hash is right, and that of all its outputs where they are given.

    Raises:
        StoreError: it was edited or damaged.
    """
    if content_hash(checkpoint) != checkpoint.content_hash:
        raise changed(checkpoint.run_id, place, "checkpoint is")
    if outputs is not None and outputs_hash(NO_OUTPUTS, outputs) != checkpoint.outputs_hash:
        raise changed(checkpoint.run_id, place, "outputs are")
    return checkpoint


def changed(run_id: str, place: str, what: str) -> StoreError:
    """Return the refusal of something stored that was edited or damaged since."""
    return StoreError(
        f"run {run_id} in {place}: the {what} not what was stored",
        hint=f"the golden file is the truth: `golden resume {run_id} --from-file` believes it",
    )
