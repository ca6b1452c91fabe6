"""Memory: checkpoints that last as long as this object, for tests and for runs that nobody will resume."""

from __future__ import annotations

from threading import Lock

from replay.checkpoints.base import BaseStore, Stamp, Wanted
from replay.checkpoints.contract import Checkpoint, StepOutput


class MemoryCheckpointStore(BaseStore):
    """Checkpoints in the memory of this process; nothing outside it can edit them."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[Checkpoint, list[StepOutput]]] = {}
        self._lock = Lock()

    @property
    def place(self) -> str:
        """See `CheckpointStore`."""
        return "memory"

    def is_beside(self, folder: str) -> bool:  # noqa: ARG002  wherever the golden files lie, they outlive it
        """See `CheckpointStore`."""
        return True

    def ping(self) -> None:
        """See `CheckpointStore`."""

    def close(self) -> None:
        """Keep everything: it is nowhere else."""

    def _insert(self, new: Checkpoint) -> Checkpoint | None:
        with self._lock:
            if new.run_id in self._runs:
                return None
            self._runs[new.run_id] = new, []
        return new

    def _swap(self, held: Checkpoint, new: Checkpoint, outputs: list[StepOutput]) -> Checkpoint | None:
        with self._lock:
            stored = self._runs.get(held.run_id)
            if stored is None or Stamp.of(stored[0]) != Stamp.of(held):
                return None
            stored[1].extend(outputs)
            self._runs[held.run_id] = new, stored[1]
        return new

    def _remove(self, run_id: str, stamp: Stamp) -> bool:
        with self._lock:
            if self._stamp(run_id) != stamp:
                return False
            del self._runs[run_id]
        return True

    def _stamp(self, run_id: str) -> Stamp | None:
        stored = self._runs.get(run_id)
        return Stamp.of(stored[0]) if stored else None

    def _read(self, run_id: str) -> tuple[Checkpoint, list[StepOutput]] | None:
        with self._lock:
            stored = self._runs.get(run_id)
            return (stored[0], stored[1].copy()) if stored else None

    def _newest(self, wanted: Wanted) -> list[Checkpoint]:
        with self._lock:
            found = [checkpoint for checkpoint, _ in self._runs.values()]
        return wanted.of(found)

    def _size(self, checkpoint: Checkpoint) -> int:
        found = self._read(checkpoint.run_id)
        return sum(len(output.output or b"") for output in found[1]) if found else 0
