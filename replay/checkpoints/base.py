"""Base: what every store does alike, on top of comparing a stored version with the one held and swapping it.

Knows no file and no database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple, NoReturn

import msgspec
from msgspec.structs import replace

from golden.clock import timestamp
from golden.errors import StoreError, UsageError
from golden.store import check_run_id
from replay.checkpoints.contract import (
    RUNNING,
    STATUSES,
    Checkpoint,
    CheckpointVersionConflictError,
    LeaseHeldError,
    Overview,
    Pruned,
    StepOutput,
)
from replay.checkpoints.state import check_time, first, following

_AGE = attrgetter("updated_at", "run_id")
# How often a lease is tried for that somebody else takes in between.
_ATTEMPTS = 10


class Stamp(NamedTuple):
    """What tells a stored version from every other: a run begun anew under its old name counts from 1 again."""

    version: int
    content_hash: str

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Stamp:
        """Return the stamp of a checkpoint as it was stored, or as it was read."""
        return cls(checkpoint.version, checkpoint.content_hash)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which checkpoints are asked for, None where it does not matter."""

    status: str | None = None
    workflow_id: str | None = None
    before: str | None = None
    limit: int | None = None

    def of(self, checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Return those that fit, newest first."""
        fitting = [
            found
            for found in checkpoints
            if self.status in {None, found.status}
            and self.workflow_id in {None, found.workflow_id}
            and (self.before is None or found.updated_at < self.before)
        ]
        return sorted(fitting, key=_AGE, reverse=True)[: self.limit]


class BaseStore(ABC):
    """A `CheckpointStore` but for where it keeps things; what a store adds are the methods that begin with `_`."""

    @property
    @abstractmethod
    def place(self) -> str:
        """See `CheckpointStore`."""

    @abstractmethod
    def is_beside(self, folder: str) -> bool:
        """See `CheckpointStore`."""

    @abstractmethod
    def ping(self) -> None:
        """See `CheckpointStore`."""

    @abstractmethod
    def close(self) -> None:
        """See `CheckpointStore`."""

    @abstractmethod
    def _insert(self, new: Checkpoint) -> Checkpoint | None:
        """Store a first version and return it as stored; None where the run has a checkpoint."""

    @abstractmethod
    def _swap(self, held: Checkpoint, new: Checkpoint, outputs: list[StepOutput]) -> Checkpoint | None:
        """Store `new` in place of `held`, append `outputs`, and return it as stored; None where `held` is not there."""

    @abstractmethod
    def _remove(self, run_id: str, stamp: Stamp) -> bool:
        """Remove a run's checkpoint and outputs; False where what has that stamp is not there."""

    @abstractmethod
    def _stamp(self, run_id: str) -> Stamp | None:
        """Return the stamp of a run's checkpoint, be the checkpoint believable or not; None where there is none."""

    @abstractmethod
    def _read(self, run_id: str) -> tuple[Checkpoint, list[StepOutput]] | None:
        """Return a run's checkpoint and outputs as of one moment, both checked."""

    @abstractmethod
    def _newest(self, wanted: Wanted) -> Iterable[Checkpoint | StoreError]:
        """Give what is wanted, newest first, hashes checked; a refusal in the place of each bad one."""

    @abstractmethod
    def _size(self, checkpoint: Checkpoint) -> int:
        """Return the bytes that a checkpoint and its outputs take."""

    def _now(self) -> str:
        """Return the time by the clock that leases run by."""
        return timestamp()

    def create(self, checkpoint: Checkpoint) -> Checkpoint:
        """See `CheckpointStore`."""
        stored = self._insert(first(checkpoint))
        if stored is None:
            found = self._stamp(checkpoint.run_id)
            raise CheckpointVersionConflictError(checkpoint.run_id, 0, found.version if found else 0)
        return stored

    def save(self, checkpoint: Checkpoint, outputs: Sequence[StepOutput] = ()) -> Checkpoint:
        """See `CheckpointStore`."""
        owner = checkpoint.lease_owner if checkpoint.status == RUNNING else None
        new, added = following(checkpoint, outputs, owner)
        stored = self._swap(checkpoint, new, added)
        return self._conflict(checkpoint.run_id, checkpoint.version) if stored is None else stored

    def _conflict(self, run_id: str, expected: int) -> NoReturn:
        found = self._stamp(run_id)
        if found and found.version == expected:
            raise StoreError(
                f"run {run_id} was begun anew: its version {expected} in {self.place} is another",
                hint=f"another process works on it; see `golden inspect {run_id}`",
            )
        raise CheckpointVersionConflictError(run_id, expected, found.version if found else 0)

    def load(self, run_id: str) -> Checkpoint | None:
        """See `CheckpointStore`."""
        found = self._read(check_run_id(run_id))
        return found[0] if found else None

    def outputs(self, run_id: str, version: int | None = None) -> list[StepOutput]:
        """See `CheckpointStore`."""
        found = self._read(check_run_id(run_id))
        if found is None:
            raise self._absent(run_id)
        checkpoint, outputs = found
        if version is None:
            return outputs
        if not 1 <= version <= checkpoint.version:
            raise StoreError(
                f"checkpoint not found: {version} of run {run_id} in {self.place}",
                hint=f"use `latest` or a version from 1 to {checkpoint.version}",
            )
        return [output for output in outputs if output.version <= version]

    def overview(
        self,
        *,
        status: str | None = None,
        workflow_id: str | None = None,
        updated_before: str | None = None,
        limit: int = 100,
    ) -> Overview:
        """See `CheckpointStore`."""
        if status is not None and status not in STATUSES:
            raise UsageError(f"status {status!r} does not exist", hint=f"use one of {', '.join(STATUSES)}")
        if updated_before is not None:
            check_time(updated_before)
        if limit < 0:
            raise UsageError(f"limit {limit} is negative", hint="give 0 or more")
        checkpoints: list[Checkpoint] = []
        bad: list[StoreError] = []
        wanted = Wanted(status=status, workflow_id=workflow_id, before=updated_before, limit=limit)
        for found in self._newest(wanted):
            if isinstance(found, Checkpoint):
                checkpoints.append(found)
            else:
                bad.append(found)
        return Overview(checkpoints=checkpoints, bad=bad)

    def acquire(self, run_id: str, owner: str, is_dead: Callable[[str], bool]) -> Checkpoint:
        """See `CheckpointStore`."""
        for _ in range(_ATTEMPTS):
            found = self.load(run_id)
            if found is None:
                raise self._absent(run_id)
            held = self._is_leased(found) and found.lease_owner != owner
            if held and found.lease_owner and not is_dead(found.lease_owner):
                raise LeaseHeldError(run_id, found.lease_owner, found.lease_until or "")
            stored = self._swap(found, following(found, (), owner)[0], [])
            if stored is not None:
                return stored
        raise StoreError(
            f"run {run_id} changes faster than its lease can be taken", hint="stop whoever saves it without a lease"
        )

    def set_status(self, run_id: str, status: str, expected_version: int) -> Checkpoint:
        """See `CheckpointStore`."""
        found = self.load(run_id)
        if found is None:
            raise self._absent(run_id)
        if found.version != expected_version:
            raise CheckpointVersionConflictError(run_id, expected_version, found.version)
        ended = None if status == RUNNING else found.ended_at or self._now()
        new, _ = following(replace(found, status=status, ended_at=ended), (), None)
        stored = self._swap(found, new, [])
        return self._conflict(run_id, expected_version) if stored is None else stored

    def delete(self, run_id: str, expected_version: int) -> None:
        """See `CheckpointStore`."""
        found = self._stamp(check_run_id(run_id))
        if found is None:
            raise self._absent(run_id)
        if found.version != expected_version or not self._remove(run_id, found):
            self._conflict(run_id, expected_version)

    def _is_leased(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.lease_until is not None and checkpoint.lease_until > self._now()

    def _absent(self, run_id: str) -> StoreError:
        return StoreError(f"checkpoint not found: run {run_id} in {self.place}", hint="see `golden checkpoints list`")

    def prune(self, before: str, keep: int, *, dry_run: bool = False) -> Pruned:
        """See `CheckpointStore`."""
        if keep < 1:
            raise UsageError(f"prune cannot keep {keep}", hint="keep 1 or more, or delete single checkpoints")
        check_time(before)
        scanned, ended = 0, list[Checkpoint]()
        for found in self._newest(Wanted()):
            scanned += 1
            if isinstance(found, Checkpoint) and found.status != RUNNING and not self._is_leased(found):
                ended.append(found)
        removed: list[str] = []
        reclaimed = 0
        for old in sorted(ended[keep:], key=_AGE):
            if old.updated_at >= before:
                break
            size = self._size(old)
            # One that has changed since is somebody's: it stays.
            if dry_run or self._remove(old.run_id, Stamp.of(old)):
                removed.append(old.run_id)
                reclaimed += size
        return Pruned(scanned=scanned, removed=removed, reclaimed=reclaimed, remaining=scanned - len(removed))
