"""Plain: what a call of a decorated function costs: recorded, replayed, outside of a run, and what the guard adds."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from golden import Keyring, Recording, Store
from golden.event import StepData
from replay import record, replay, step
from replay.frames import Failure
from tests.bench import flow

SEED = 7
OUTSIDE = 100_000


def add(n: int) -> int:
    return n + 1


add_step = step(add)


def agent(calls: int) -> int:
    n = 0
    while n < calls:
        n = add_step(n)
    return n


class _Listens:
    """Stands for whoever is told what the guard notices: without one it has nobody to tell."""

    def step(self, data: StepData, failure: Failure | None) -> None:
        """Take note of nothing."""

    def note(self, text: str) -> None:
        """Take note of nothing but that there was something."""
        raise AssertionError(text)


class _Runs:
    """Records under fresh ids, and takes what was recorded away."""

    def __init__(self, folder: str) -> None:
        self.store = Store(Path(folder), Keyring(os.environ["GOLDEN_SECRET"].encode()), ledger=False)
        self._count = 0

    def record(self, what: Any, **options: Any) -> Recording:
        self._count += 1
        run_id = f"plain-{os.getpid()}-{self._count}"
        return record(what, store=self.store, run_id=run_id, seed=SEED, observer=_Listens(), **options)

    def record_and_remove(self, what: Any, **options: Any) -> None:
        with self.record(what, **options) as done:
            assert done.statement.status == "completed"
            path = self.store.file(done.run_id).path
        path.unlink()
        path.with_name(f"{path.name}.sig").unlink()


def calls(folder: str, counts: str, rounds: str) -> dict[str, Any]:
    """Return the median CPU seconds of one call in runs of so many, recorded and replayed, by their number.

    A run without a call is taken off.
    """
    runs, numbers = _Runs(folder), [int(count) for count in counts.split(",")]
    kept = {count: runs.record(agent, inputs={"calls": count}) for count in (0, *numbers)}
    works: dict[str, Callable[[], object]] = {}
    for count, recording in kept.items():
        works[f"record {count}"] = partial(runs.record_and_remove, agent, inputs={"calls": count})
        works[f"replay {count}"] = partial(_replayed, recording, count)
    found = _in_turn(works, int(rounds))
    for recording in kept.values():
        recording.close()
    return {
        f"{how} {count}": statistics.median(
            (whole - empty) / count for whole, empty in zip(found[f"{how} {count}"], found[f"{how} 0"], strict=True)
        )
        for how in ("record", "replay")
        for count in numbers
    }


def _replayed(recording: Recording, count: int) -> None:
    answer = replay(recording, agent)
    assert answer.matched, answer
    assert answer.steps_compared == count + 1


def outside(rounds: str) -> dict[str, Any]:
    """Return the median CPU seconds of a call outside of any run: of the function itself, and as a step."""

    def many(function: Callable[[int], int]) -> None:
        for n in range(OUTSIDE):
            function(n)

    found = _in_turn({"bare": partial(many, add), "step": partial(many, add_step)}, int(rounds))
    return {name: statistics.median(times) / OUTSIDE for name, times in found.items()}


def guarded(folder: str, steps: str, rounds: str) -> dict[str, Any]:
    """Return the median CPU seconds of recording trivial steps with the guard, `warn`, and without, and of the calls.

    What is told is the median of the ratios of each round.
    """
    runs, count = _Runs(folder), int(steps)
    spec, inputs = flow.trivial(count), {"calls": count}
    answer: dict[str, Any] = {}
    for kind, what, more in (
        ("steps", spec, {"registry": flow.registry}),
        ("calls", agent, {"inputs": inputs}),
    ):
        modes = ("off", "warn")
        works = {mode: partial(runs.record_and_remove, what, guard=mode, **more) for mode in modes}
        found = _in_turn(works, int(rounds))
        answer[kind] = {
            **{mode: statistics.median(found[mode]) / count for mode in modes},
            "ratio": statistics.median(warn / off for warn, off in zip(found["warn"], found["off"], strict=True)),
        }
    return answer


def _in_turn(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each of `works` in turn, `rounds` times over after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            gc.collect()
            begin = time.process_time()
            work()
            if turn:
                found[name].append(time.process_time() - begin)
    return found


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (calls, outside, guarded)
}
