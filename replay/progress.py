"""Progress: a run's checkpoint, saved behind its golden file: an event is written first, then how far the run has come.

Decides when to save; how is the store's business.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from golden.clock import timestamp
from golden.errors import StoreError, UsageError
from golden.event import RunEnd, RunStart, StepData
from replay.checkpoints.contract import RUNNING, Checkpoint, CheckpointStore, CheckpointVersionConflictError, StepOutput


class Written(Protocol):
    """The golden file that a checkpoint is about; a Recorder is one."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def file_id(self) -> str:
        """The file's id."""

    @property
    def events(self) -> int:
        """How many lines it has."""

    def sync(self) -> None:
        """Make them durable."""


class Sealed(msgspec.Struct, frozen=True):
    """A file that has all its lines, durable."""

    run_id: str
    file_id: str
    events: int

    def sync(self) -> None:
        """See `Written`."""


class Saving(msgspec.Struct, frozen=True):
    """Where checkpoints go, and after how many steps: a step that fails, and the end, are saved at once."""

    store: CheckpointStore
    interval: int = 1

    def refuse_known(self, run_id: str) -> None:
        """Raise UsageError where there is a checkpoint of that run already, StoreError where nobody answers."""
        found = self.store.load(run_id)
        if found is not None:
            remove = f"golden checkpoints delete {run_id} --expect-version {found.version}"
            raise UsageError(
                f"run {run_id} has a checkpoint in {self.store.place}",
                hint=f"choose another run id, or remove it: {remove}",
            )


class Progress:
    """How far one run has come. `begin` stores it for the first time, `take_over` goes on with what is stored."""

    def __init__(self, saving: Saving, recorder: Written, folder: str, checkpoint: Checkpoint) -> None:
        self._store = saving.store
        self._interval = saving.interval
        self._recorder = recorder
        self._synced = saving.store.is_beside(folder)
        self._saved = checkpoint
        self._stored: Collection[int] = ()
        self._done: set[int] = set()
        self._next = 0
        self._outputs: list[StepOutput] = []
        self._result: str | None = None
        self._cost = 0

    @classmethod
    def begin(cls, saving: Saving, recorder: Written, folder: str, start: RunStart, at: str) -> Progress:
        """Store the first checkpoint of a run whose `run_start` is written.

        Raises:
            CheckpointVersionConflictError: it has one already.
        """
        progress = cls(saving, recorder, folder, _first(recorder, folder, start, at))
        progress._sync()
        progress._saved = saving.store.create(progress._saved)
        return progress

    @classmethod
    def take_over(cls, saving: Saving, recorder: Written, folder: str, start: RunStart, at: str) -> Progress:
        """Go on with the checkpoint of a run that was killed; the run's lock is held, so nobody here works on it.

        Raises:
            StoreError: it is another host's, or ahead of the file.
        """
        found = saving.store.load(recorder.run_id)
        if found is None:
            return cls.begin(saving, recorder, folder, start, at)
        held = saving.store.acquire(recorder.run_id, _owner(), lambda owner: owner.partition("/")[0] == _host())
        progress = cls(saving, recorder, folder, replace(held, status=RUNNING, ended_at=None))
        progress._stored = {output.step_index for output in saving.store.outputs(recorder.run_id)}
        return progress

    def step(self, data: StepData, returned: bytes | None) -> None:
        """Take note of a step whose event is written, and of what it returned; save where that is due."""
        if data.success:
            self._done.add(data.index)
            while self._next in self._done:
                self._done.remove(self._next)
                self._next += 1
            self._result = data.output_hash
        self._cost += data.cost_cents
        if data.index not in self._stored:
            # What was redacted in the event: who resumes the run needs it.
            output = returned if data.success else None
            self._outputs.append(
                StepOutput(step_index=data.index, step_id=data.step_id, output=output, output_hash=data.output_hash)
            )
        if self._outputs and (len(self._outputs) >= self._interval or not data.success):
            self._save(status=RUNNING)

    def end(self, data: RunEnd) -> None:
        """Store how a run that is sealed ended, and give its lease back."""
        self._save(status=data.status, ended_at=timestamp(), lease_owner=None)

    def _save(self, **changes: object) -> None:
        self._sync()
        changed = replace(
            self._saved,
            next_step_index=self._next,
            last_result_hash=self._result,
            total_cost_cents=self._cost,
            events=self._recorder.events,
            **changes,
        )
        try:
            self._saved = self._store.save(changed, self._outputs)
        except CheckpointVersionConflictError:
            raise
        except StoreError as error:
            raise StoreError(
                f"the checkpoint of {self._recorder.run_id} cannot be saved: {error.problem}",
                hint=f"nothing is lost: once that is mended, `golden resume {self._recorder.run_id}` goes on",
            ) from None
        self._outputs.clear()

    def _sync(self) -> None:
        # A checkpoint elsewhere is never ahead of the file, not even after the power failed.
        if not self._synced:
            self._recorder.sync()


def refuse_ahead(checkpoint: Checkpoint, file_id: str, events: int) -> None:
    """Raise StoreError where a checkpoint speaks of events that the golden file does not hold, or of another file."""
    hint = "find out what happened to the file; `--from-file` goes on from what it holds"
    if checkpoint.file_id != file_id:
        raise StoreError(f"the checkpoint of {checkpoint.run_id} is of another golden file of that name", hint=hint)
    if checkpoint.events > events:
        raise StoreError(
            f"the checkpoint of {checkpoint.run_id} stands at {checkpoint.events} events, its golden file has {events}",
            hint=hint,
        )


def _first(recorder: Written, folder: str, start: RunStart, at: str) -> Checkpoint:
    return Checkpoint(
        run_id=recorder.run_id,
        workflow_id=start.spec_id or "",
        spec_hash=start.spec_hash or "",
        seed=start.seed,
        golden_path=str(Path(folder, f"{recorder.run_id}.steps.jsonl")),
        file_id=recorder.file_id,
        events=recorder.events,
        started_at=at,
        lease_owner=_owner(),
    )


def _host() -> str:
    return os.uname().nodename


def _owner() -> str:
    """Return a name for this process that no other has had: host, process, and a random part."""
    return f"{_host()}/{os.getpid()}/{secrets.token_hex(4)}"
