"""Base: what every store does alike, on top of comparing a stored version with the one held and swapping it.

Knows no file and no database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import NoReturn

import msgspec
from msgspec.structs import replace

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
from replay.checkpoints.state import first, following, moment, verified

_AGE = attrgetter("updated_at", "run_id")


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
    def _remove(self, held: Checkpoint) -> bool:
        """Remove a run's checkpoint and outputs; False where `held` is not there."""

    @abstractmethod
    def _find(self, run_id: str) -> Checkpoint | None:
        """Return a run's checkpoint as stored."""

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
        return moment()

    def create(self, checkpoint: Checkpoint) -> Checkpoint:
        """See `CheckpointStore`."""
        stored = self._insert(first(checkpoint))
        if stored is None:
            found = self._find(checkpoint.run_id)
            raise CheckpointVersionConflictError(checkpoint.run_id, 0, found.version if found else 0)
        return stored

    def save(self, checkpoint: Checkpoint, outputs: Sequence[StepOutput] = ()) -> Checkpoint:
        """See `CheckpointStore`."""
        owner = checkpoint.lease_owner if checkpoint.status == RUNNING else None
        new, added = following(checkpoint, outputs, owner)
        stored = self._swap(checkpoint, new, added)
        return self._conflict(checkpoint) if stored is None else stored

    def _conflict(self, held: Checkpoint) -> NoReturn:
        found = self._find(held.run_id)
        if found and found.version == held.version:
            raise StoreError(
                f"run {held.run_id} was begun anew: its version {held.version} in {self.place} is another",
                hint=f"another process works on it; see `golden inspect {held.run_id}`",
            )
        raise CheckpointVersionConflictError(held.run_id, held.version, found.version if found else 0)

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
        while True:
            found = self.load(run_id)
            if found is None:
                raise self._absent(run_id)
            holder, until = found.lease_owner, found.lease_until
            if holder and until and holder != owner and until > self._now() and not is_dead(holder):
                raise LeaseHeldError(run_id, holder, until)
            stored = self._swap(found, following(found, (), owner)[0], [])
            # Whoever came between has it now: that ends here, one way or the other.
            if stored is not None:
                return stored

    def set_status(self, run_id: str, status: str, expected_version: int) -> Checkpoint:
        """See `CheckpointStore`."""
        found = verified(self._expected(run_id, expected_version), self.place)
        ended = None if status == RUNNING else found.ended_at or self._now()
        new, _ = following(replace(found, status=status, ended_at=ended), (), None)
        stored = self._swap(found, new, [])
        return self._conflict(found) if stored is None else stored

    def delete(self, run_id: str, expected_version: int) -> None:
        """See `CheckpointStore`."""
        found = self._expected(run_id, expected_version)
        if not self._remove(found):
            self._conflict(found)

    def _expected(self, run_id: str, version: int) -> Checkpoint:
        found = self._find(check_run_id(run_id))
        if found is None or found.version != version:
            raise CheckpointVersionConflictError(run_id, version, found.version if found else 0)
        return found

    def _absent(self, run_id: str) -> StoreError:
        return StoreError(f"checkpoint not found: run {run_id} in {self.place}", hint="see `golden checkpoints list`")

    def prune(self, before: str, keep: int, *, dry_run: bool = False) -> Pruned:
        """See `CheckpointStore`."""
        if keep < 1:
            raise UsageError(f"prune cannot keep {keep}", hint="keep 1 or more, or delete single checkpoints")
        scanned, ended = 0, list[Checkpoint]()
        for found in self._newest(Wanted()):
            scanned += 1
            if isinstance(found, Checkpoint) and found.status != RUNNING:
                ended.append(found)
        removed: list[str] = []
        reclaimed = 0
        for old in sorted(ended[keep:], key=_AGE):
            if old.updated_at >= before:
                break
            size = self._size(old)
            # One that has changed since is somebody's: it stays.
            if dry_run or self._remove(old):
                removed.append(old.run_id)
                reclaimed += size
        return Pruned(scanned=scanned, removed=removed, reclaimed=reclaimed, remaining=scanned - len(removed))
