"""Contract: what a checkpoint is, what every store of checkpoints does with it, and how it refuses.

Keeps nothing itself. A checkpoint is an index of the golden file, which is the truth: whoever saves one has written
the file's event before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol, get_args

import msgspec
from msgspec import Meta

from golden.errors import StoreError, UsageError
from golden.event import Hash, Id128, RunId, Time

Status = Literal[
    "running",
    "completed",
    "failed",
    "aborted",
    "budget_exceeded",
    "emergency_stopped",
    "policy_violation",
    "sandbox_rejected",
    "interrupted",
]
STATUSES: tuple[Status, ...] = get_args(Status)
RUNNING: Status = "running"
# What the columns of a database take, and what people can read.
Name = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]{1,255}\Z")]
Path = Annotated[str, Meta(pattern=r"\A[^\x00]+\Z")]
Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
# How long a run is its owner's after a save; each save begins it anew.
LEASE_SECONDS = 300


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a run has come, as of one version of it. The caller fills in the upper part, the store the lower one.

    Times are text as `golden.clock.timestamp` gives it; `content_hash` covers everything but itself, the lease and
    `updated_at`. It tells damage and careless editing, not a forger: it has no key.

    Attributes:
        run_id: the run.
        workflow_id: the id of its spec.
        tenant_id: whose run it is, None where nobody said.
        spec_hash: of the spec that the run is of, 64 hex digits.
        seed: the run's base seed.
        golden_path: where its golden file lies.
        file_id: which file that is.
        next_step_index: the position of the first step of the document that has not succeeded; the number of steps
            where all have.
        last_result_hash: the output hash of the step that succeeded last, None before there is one.
        status: one of `STATUSES`.
        events: lines of the golden file when this was saved.
        total_cost_cents: what the run has been charged.
        started_at: when the run began.
        ended_at: when it ended, None while it runs.
        lease_owner: who writes the run now, None where nobody does.
        version: counts the changes from 1; 0 is not stored yet. It is the checkpoint's id among those of its run.
        created_at: when version 1 was stored.
        updated_at: when this version was; never before an earlier one, whatever the clock does.
        lease_until: when the lease runs out, by the store's clock.
        outputs_hash: a running SHA-256 over all outputs stored so far.
        content_hash: SHA-256 of the canonical form of the list of what it covers, in this order of members.
    """

    run_id: RunId
    workflow_id: Name
    tenant_id: Name | None = None
    spec_hash: Hash
    seed: int
    golden_path: Path
    file_id: Id128
    next_step_index: Number = 0
    last_result_hash: Hash | None = None
    status: Status = "running"
    events: Number
    total_cost_cents: Number = 0
    started_at: Time
    ended_at: Time | None = None
    lease_owner: Name | None = None

    version: Number = 0
    created_at: Time = ""
    updated_at: Time = ""
    lease_until: Time | None = None
    outputs_hash: Hash = ""
    content_hash: Hash = ""


class StepOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a step that has ended returned.

    Attributes:
        step_index: its position in the document.
        step_id: its id there.
        output: the canonical bytes, None where the step failed.
        output_hash: as its event has it, which leaves volatile paths out; None where it failed.
        version: the version of the checkpoint that it came with; the store fills it in.
    """

    step_index: int
    step_id: str
    output: bytes | None
    output_hash: str | None
    version: int = 0


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoints that were asked for, newest first, and a refusal for each one that cannot be read."""

    checkpoints: list[Checkpoint]
    bad: list[StoreError]


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What `prune` did, or would do.

    Attributes:
        scanned: how many checkpoints there were.
        removed: the runs whose checkpoints went, oldest first.
        reclaimed: the bytes that were theirs.
        remaining: how many checkpoints are left.
    """

    scanned: int
    removed: list[str]
    reclaimed: int
    remaining: int


class CheckpointVersionConflictError(StoreError):
    """Somebody else has changed a run's checkpoint since it was read; `actual` is 0 where there is none any more."""

    def __init__(self, run_id: str, expected: int, actual: int) -> None:
        super().__init__(
            f"CheckpointVersionConflictError: run {run_id} expected version {expected}, actual {actual}",
            hint=f"another process works on it; see `golden inspect {run_id}`",
        )
        self.run_id = run_id
        self.expected = expected
        self.actual = actual


class LeaseHeldError(UsageError):
    """Somebody else works on the run until a time that has not come yet."""

    def __init__(self, run_id: str, owner: str, until: str) -> None:
        super().__init__(
            f"run {run_id} belongs to {owner} until {until}", hint="let it end, or wait until its lease has run out"
        )
        self.run_id = run_id
        self.owner = owner
        self.until = until


class CheckpointStore(Protocol):
    """A place of checkpoints, one a run, with the outputs of its steps. Safe to use from several threads.

    Every method raises StoreError where the place does not answer, is full, or holds what cannot be believed, and
    UsageError for what cannot be a run id.
    """

    @property
    def place(self) -> str:
        """What people call it: a path, or an address without its password."""

    def is_beside(self, folder: str) -> bool:
        """Whether it outlives no file of the golden directory `folder`: a save then needs no sync of the file first."""

    def ping(self) -> None:
        """Do nothing, if the place answers."""

    def create(self, checkpoint: Checkpoint) -> Checkpoint:
        """Store the first checkpoint of a run and return it as version 1, its lease begun if it names an owner.

        Raises:
            CheckpointVersionConflictError: the run has one; expected 0.
        """

    def save(self, checkpoint: Checkpoint, outputs: Sequence[StepOutput] = ()) -> Checkpoint:
        """Store the next version of a checkpoint and return that; append `outputs`; all of it or nothing.

        Args:
            checkpoint: the one this store gave last, with what has changed in the upper part. Its lease begins anew
                while the run is running and names an owner; else it is given back.
            outputs: of the steps that ended since, in whatever order they did.

        Raises:
            CheckpointVersionConflictError: it is not the version that is stored.
        """

    def load(self, run_id: str) -> Checkpoint | None:
        """Return a run's checkpoint, None where there is none; its hash and those of its outputs are checked."""

    def outputs(self, run_id: str, version: int | None = None) -> list[StepOutput]:
        """Return the outputs of a run's steps, checked, in the order they were stored; those up to `version` if given.

        Raises:
            StoreError: also for a run or a version that is not there.
        """

    def overview(
        self,
        *,
        status: str | None = None,
        workflow_id: str | None = None,
        updated_before: str | None = None,
        limit: int = 100,
    ) -> Overview:
        """Return at most `limit` checkpoints that fit, newest first, their hashes checked but not their outputs'.

        Raises:
            UsageError: no such status, no time, a negative limit.
        """

    def acquire(self, run_id: str, owner: str, is_dead: Callable[[str], bool]) -> Checkpoint:
        """Take a run's lease and return its next version, so that whoever had it can save no more.

        Raises:
            LeaseHeldError: another owner's has not run out, and `is_dead` is not sure that this owner is gone.
            StoreError: also where the run has no checkpoint.
        """

    def set_status(self, run_id: str, status: str, expected_version: int) -> Checkpoint:
        """Store another status and give the lease back.

        Raises:
            CheckpointVersionConflictError: it is not the version expected that is stored.
            StoreError: also where the run has no checkpoint.
        """

    def delete(self, run_id: str, expected_version: int) -> None:
        """Remove a run's checkpoint and outputs; raises as `set_status` does."""

    def prune(self, before: str, keep: int, *, dry_run: bool = False) -> Pruned:
        """Remove the checkpoints of ended runs last updated before a time, except the newest `keep` ended ones.

        Raises:
            UsageError: `keep` is less than 1, `before` no time.
        """

    def close(self) -> None:
        """Let go of files and connections; using the store again opens them anew."""
