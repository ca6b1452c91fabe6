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
    """Return the running hash (64 hex digits) of outputs that follow those whose hash is `before`."""
    for o in outputs:
        told: tuple[object, ...] = (before, o.version, o.step_index, o.step_id)
        if o.output is not None:
            told = (*told, o.output_hash, msgspec.Raw(o.output))
        before = sha256_hex(_encode(told))
    return before


def first(checkpoint: Checkpoint) -> Checkpoint:
    """Return version 1 of a checkpoint; raises UsageError where it is none that can be stored."""
    check_run_id(checkpoint.run_id)
    for name in ("workflow_id", "tenant_id"):
        text = getattr(checkpoint, name)
        if text is not None and not (0 < len(text) <= MAX_TEXT and text.isprintable()):
            raise UsageError(f"{name} {text!r} cannot be stored", hint=f"use 1 to {MAX_TEXT} printable characters")
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
    counts = (held.next_step_index, held.events, held.total_cost_cents)
    if held.status not in _STATUSES or min(counts) < 0 or max(counts) > MAX_INT:
        raise UsageError(
            f"run {held.run_id} cannot be stored with status {held.status!r} and the counts {counts}",
            hint=f"use a status of {', '.join(STATUSES)}, and counts from 0 to {MAX_INT}",
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


def same(stored: Checkpoint, held: Checkpoint) -> bool:
    """Whether what is stored is what somebody holds: a run begun anew under its old name counts from 1 again."""
    return stored.version == held.version and stored.content_hash == held.content_hash


def verified(checkpoint: Checkpoint, place: str, outputs: Iterable[StepOutput] | None = None) -> Checkpoint:
    """Return a stored checkpoint whose hash is right, and that of all its outputs where they are given.

    Raises:
        StoreError: it was edited or damaged.
    """
    wrong = "checkpoint is" if content_hash(checkpoint) != checkpoint.content_hash else None
    if wrong is None and outputs is not None and outputs_hash(NO_OUTPUTS, outputs) != checkpoint.outputs_hash:
        wrong = "outputs are"
    if wrong:
        raise StoreError(
            f"run {checkpoint.run_id} in {place}: the {wrong} not what was stored",
            hint=f"the golden file is the truth: `golden resume {checkpoint.run_id} --from-file` believes it",
        )
    return checkpoint
