"""Engine: what a step costs with its checkpoint, in each store, and that it costs the same late in a run as early."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from golden import Keyring, Store
from golden.canonical import canonical_bytes, output_hash
from replay import MemoryCheckpointStore, SqliteCheckpointStore, record
from replay.checkpoints.contract import Checkpoint, CheckpointStore, StepOutput
from tests.bench import flow

SERVER = "postgresql://postgres@127.0.0.1:5432/test"
SAVES = 60


def per_step(folder: str, kind: str, counts: str, rounds: str) -> dict[str, Any]:
    """Return the median CPU seconds of one step in runs of so many steps, by their number, one after the other."""
    found: dict[str, list[float]] = {count: [] for count in counts.split(",")}
    number = 0
    for turn in range(int(rounds) + 1):
        for count, times in found.items():
            steps = int(count)
            spec = flow.trivial(steps)
            # A short run is repeated, so that a round lasts long enough to be timed.
            repeat = max(1, 3000 // steps)
            with TemporaryDirectory(dir=folder) as place, ExitStack() as stack:
                saving: dict[str, Any] = {}
                if kind != "none":
                    store = _store(kind, Path(place))
                    stack.callback(store.close)
                    saving = {"checkpoints": store}
                golden = Store(Path(place), Keyring(os.environ["GOLDEN_SECRET"].encode()), ledger=False)
                begin = time.process_time()
                for _ in range(repeat):
                    number += 1
                    record(spec, flow.registry, store=golden, run_id=f"r-{number}", seed=7, **saving).close()
                if turn:
                    times.append((time.process_time() - begin) / repeat / steps)
    return {count: statistics.median(times) for count, times in found.items()}


def _store(kind: str, folder: Path) -> CheckpointStore:
    return MemoryCheckpointStore() if kind == "memory" else SqliteCheckpointStore(folder / "checkpoints.sqlite")


def saves(kind: str, outputs: str, width: str, rounds: str) -> dict[str, Any]:
    """Return the median seconds by the clock of saving one more output after none, and after so many."""
    before: list[float] = []
    after: list[float] = []
    with ExitStack() as stack:
        store = _server(stack) if kind == "postgres" else _local(stack)
        for turn in range(int(rounds)):
            before += _timed(store, f"early-{turn}-{os.getpid()}", 0, int(width))
            after += _timed(store, f"late-{turn}-{os.getpid()}", int(outputs), int(width))
    return {"before": statistics.median(before), "after": statistics.median(after)}


def _timed(store: CheckpointStore, run_id: str, outputs: int, width: int) -> Sequence[float]:
    held = store.create(
        Checkpoint(
            run_id=run_id,
            workflow_id="bench",
            spec_hash="a" * 64,
            seed=7,
            golden_path="bench",
            file_id="f" * 32,
            events=1,
            started_at="2026-01-01T00:00:00.000000Z",
        )
    )
    if outputs:
        held = store.save(held, [_output(n, width) for n in range(outputs)])
    times = []
    for n in range(outputs, outputs + SAVES):
        begin = time.perf_counter()
        held = store.save(held, [_output(n, width)])
        times.append(time.perf_counter() - begin)
    store.delete(run_id, held.version)
    # The first ones warm a connection up.
    return times[5:]


def _output(index: int, width: int) -> StepOutput:
    value = {"n": index, "text": "x" * (width - 20)}
    return StepOutput(
        step_index=index, step_id=f"s{index}", output=canonical_bytes(value), output_hash=output_hash(value)
    )


def _local(stack: ExitStack) -> CheckpointStore:
    folder = stack.enter_context(TemporaryDirectory(dir=os.environ["HOME"]))
    store = SqliteCheckpointStore(Path(folder) / "checkpoints.sqlite")
    stack.callback(store.close)
    return store


def _server(stack: ExitStack) -> CheckpointStore:
    psycopg = import_module("psycopg")
    name = f"golden_bench_{os.getpid()}"
    with psycopg.connect(SERVER, autocommit=True, connect_timeout=3) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    stack.callback(_drop, psycopg, name)
    store: CheckpointStore = import_module("replay.checkpoints.postgres").PostgresCheckpointStore(
        f"{SERVER}?options=-csearch_path%3D{name}"
    )
    stack.callback(store.close)
    return store


def _drop(psycopg: Any, name: str) -> None:
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {function.__name__: function for function in (per_step, saves)}
