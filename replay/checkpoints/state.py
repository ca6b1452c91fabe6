"""State: how one version of a checkpoint follows another, and what makes a stored one believable. Stores nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import attrgetter

import msgspec
from msgspec.structs import force_setattr, replace

from golden.canonical import sha256_hex
from golden.errors import StoreError, UsageError
from golden.store import check_run_id
from replay.checkpoints.contract import LEASE_SECONDS, STATUSES, Checkpoint, StepOutput

# What a text column of a database takes, and its 64-bit integers.
MAX_TEXT = 255
MAX_INT = (1 << 63) - 1
NO_OUTPUTS = sha256_hex(b"")
_UNHASHED = {"content_hash", "lease_owner", "lease_until", "updated_at"}
_content = attrgetter(*[name for name in Checkpoint.__struct_fields__ if name not in _UNHASHED])
_encode = msgspec.json.Encoder().encode
_STATUSES = frozenset(STATUSES)
_NAME = f"use 1 to {MAX_TEXT} printable characters"


def moment(later: int = 0) -> str:
    """Return the present moment as `golden.clock.timestamp` does, or one `later` by so many seconds."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds + later)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def content_hash(checkpoint: Checkpoint) -> str:
    """Return SHA-256 (64 hex digits) of what a checkpoint says, lease and `updated_at` aside.

    Raises:
        UsageError: it holds text that is none, or a number beyond 64 bits.
    """
    try:
        return sha256_hex(_encode(_content(checkpoint)))
    except (UnicodeEncodeError, OverflowError) as error:
        raise UsageError(f"run {checkpoint.run_id!r} cannot be stored: {error}", hint="give it another name") from None


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
    check_run_id(checkpoint.run_id)
    for name in ("workflow_id", "tenant_id"):
        text = getattr(checkpoint, name)
        if text is not None and not _is_name(text):
            raise UsageError(f"{name} {text!r} cannot be stored", hint=_NAME)
    if checkpoint.version:
        raise UsageError(f"run {checkpoint.run_id} has been stored already", hint="save its next version")
    fresh = replace(checkpoint, outputs_hash=NO_OUTPUTS, created_at=moment(), updated_at="")
    return following(fresh, (), checkpoint.lease_owner)[0]


def following(
    held: Checkpoint, outputs: Sequence[StepOutput], owner: str | None
) -> tuple[Checkpoint, list[StepOutput]]:
    """Return the version that follows `held`, with `outputs` added and the lease given to `owner`, and those outputs.

    Raises:
        UsageError: it says what no checkpoint can.
    """
    if owner is not None and not _is_name(owner):
        raise UsageError(f"lease owner {owner!r} cannot be stored", hint=_NAME)
    counts = (held.next_step_index, held.events, held.total_cost_cents)
    if held.status not in _STATUSES or min(counts) < 0 or max(counts) > MAX_INT:
        raise UsageError(
            f"run {held.run_id} cannot be stored with status {held.status!r} and the counts {counts}",
            hint=f"use a status of {', '.join(STATUSES)}, and counts from 0 to {MAX_INT}",
        )
    for output in outputs:
        if (output.output is None) is not (output.output_hash is None):
            raise UsageError(
                f"the output of step {output.step_id} has no hash, or a hash has no output", hint="store both or none"
            )
    version = held.version + 1
    added = [replace(output, version=version) for output in outputs]
    new = replace(
        held,
        version=version,
        updated_at=max(moment(), held.updated_at),
        lease_owner=owner,
        lease_until=moment(LEASE_SECONDS) if owner else None,
        outputs_hash=outputs_hash(held.outputs_hash, added),
    )
    # Nobody has seen it yet.
    force_setattr(new, "content_hash", content_hash(new))
    return new, added


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isprintable()


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
