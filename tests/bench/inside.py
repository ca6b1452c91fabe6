"""Inside: what the benchmark does in a process of its own with the installed product; prints one JSON object.

Makes the files that are measured and times what has no command. Started by `rows`, never imported by it, so that the
measuring process stays small: a child's peak memory cannot be less than that of the process that started it.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import deepdiff
from msgspec import Raw

from golden import Keyring, Recording, Store, derive_seed, diff, recorder
from golden.canonical import canonical_bytes, output_hash, sha256_hex
from golden.event import (
    Attempt,
    BudgetSnapshot,
    EffectData,
    Environment,
    RunEnd,
    RunStart,
    StepData,
)
from golden.tail import Tail
from replay import SkillRegistry, Spec, record, replay, runner
from tests.bench import engine, flow, gates, plain
from tests.bench.unsigned import UnsignedRecorder

SEED = 7
STAMP = "2026-01-01T00:00:00.000000Z"
VARIANTS = 512  # different results among the effects of a file: enough that nothing is the same line twice in a block


def store_at(folder: str) -> Store:
    return Store(Path(folder), Keyring(os.environ["GOLDEN_SECRET"].encode()))


# files


def make_file(folder: str, run_id: str, steps: str, calls: str, width: str, changed: str = "") -> dict[str, Any]:
    """Write a sealed file of `steps` steps with `calls` external calls each, through the product's recorder.

    Its hashes, seeds and sums are those a run would have. `width` is the length of the text in each result; the steps
    named in `changed` (positions, by comma) have another output.
    """
    other = {int(n) for n in changed.split(",") if n}
    store = store_at(folder)
    texts = [f"reading {n:x} ".ljust(int(width), "x") for n in range(VARIANTS)]
    results = [Raw(canonical_bytes(text)) for text in texts]
    hashes = [sha256_hex(raw) for raw in results]
    # Of each run its own, so that the lines of two runs are not of one length.
    clock = random.Random(run_id)
    took = [clock.randrange(20, 3000) for _ in range(VARIANTS)]
    document = {"id": "bench", "steps": [{"id": f"s{n}", "skill_id": "fan"} for n in range(int(steps))]}
    spec = Spec(document)
    with recorder.open_recorder(store, run_id) as open_file:
        open_file.write(run_start(spec), at=STAMP)
        outputs = {}
        for index in range(int(steps)):
            step_id = f"s{index}"
            for call in range(int(calls)):
                args = b"[%d]" % call
                pick = (index * int(calls) + call) % VARIANTS
                open_file.write(
                    EffectData(
                        args=Raw(args),
                        args_hash=sha256_hex(b'{"args":%b,"kwargs":{}}' % args),
                        attempt=0,
                        call=call,
                        index=index,
                        kwargs=Raw(b"{}"),
                        name="read",
                        result=results[pick],
                        result_hash=hashes[pick],
                        step_id=step_id,
                    ),
                    took[pick],
                    at=STAMP,
                )
            output = canonical_bytes({"mean": index / 7, "count": int(calls) + (index in other)})
            outputs[step_id] = sha256_hex(output)
            open_file.write(step_data(index, step_id, output), took[index % VARIANTS], at=STAMP)
        open_file.write(run_end(int(steps), output_hash(outputs)), at=STAMP)
        open_file.seal()
    size = store.file(run_id).path.stat().st_size
    events = int(steps) * (int(calls) + 1) + 2
    return {"bytes": size, "events": events, "header": len(spec.raw)}


def make_runs(folder: str, count: str, events: str, width: str) -> dict[str, Any]:
    """Write `count` sealed runs of `events` events each, through the product's recorder, with the ledger they get."""
    store = Store(Path(folder), Keyring(os.environ["GOLDEN_SECRET"].encode()), durability="never")
    outputs = [canonical_bytes({"text": f"reading {n:x} ".ljust(int(width), "x")}) for n in range(int(events) - 2)]
    steps = [step_data(index, f"s{index}", output) for index, output in enumerate(outputs)]
    start = run_start(Spec({"id": "bench", "steps": [{"id": step.step_id, "skill_id": "fan"} for step in steps]}))
    end = run_end(len(steps), output_hash({step.step_id: step.output_hash for step in steps}))
    size = 0
    for number in range(int(count)):
        with recorder.open_recorder(store, f"run-{number:05d}") as open_file:
            open_file.write(start, at=STAMP)
            for step in steps:
                open_file.write(step, 100, at=STAMP)
            open_file.write(end, at=STAMP)
            size += open_file.seal().bytes
    return {"bytes": size}


def run_start(spec: Spec) -> RunStart:
    environment = Environment(
        cpu_count=2,
        env=[],
        hash_seed="random",
        locale="C",
        lock_hash=None,
        platform="bench",
        python="3",
        skills={},
        timezone="UTC",
        version="0",
    )
    return RunStart(
        budget_snapshot=budget(),
        canonical="golden/v1",
        environment=environment,
        inputs=Raw(b"{}"),
        policy={},
        redacted=[],
        seed=SEED,
        seed_scheme="aos-v1",
        spec=Raw(spec.raw),
        spec_hash=spec.hash,
        spec_id=spec.id,
        volatile=[],
    )


def step_data(index: int, step_id: str, output: bytes) -> StepData:
    return StepData(
        attempts=[Attempt(delay_ms=0, error=None)],
        budget_snapshot=budget(),
        cost_cents=0,
        index=index,
        input_hash=sha256_hex(b"{}"),
        inputs=Raw(b"{}"),
        output=Raw(output),
        output_hash=sha256_hex(output),
        seed=derive_seed(SEED, index),
        skill_id="fan",
        skill_version="1",
        step_id=step_id,
        success=True,
    )


def budget() -> BudgetSnapshot:
    return BudgetSnapshot(
        accumulated_cost_cents=0, policy_version="1.0.0", step_ceiling_cents=100, workflow_ceiling_cents=1000
    )


def run_end(steps: int, result: str) -> RunEnd:
    return RunEnd(result_hash=result, status="completed", steps_completed=steps, steps_total=steps, total_cost_cents=0)


def make_run(folder: str, run_id: str, steps: str, calls: str, width: str) -> dict[str, Any]:
    """Record a real run with the skills of `flow`, to be replayed."""
    store = store_at(folder)
    spec = flow.fan_out(int(steps), int(calls), int(width))
    record(spec, flow.registry, store=store, run_id=run_id, seed=SEED).close()
    return {"bytes": store.file(run_id).path.stat().st_size}


# times


def timed(work: Callable[[], object], times: int = 1) -> float:
    """Return the CPU seconds of one call of `work`, the mean of `times`, garbage collected before."""
    gc.collect()
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def medians(works: Mapping[str, Callable[[], object]], rounds: int, times: int = 1) -> dict[str, float]:
    """Time each of `works` in turn, `rounds` times over, and return the median of each."""
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(timed(work, times))
    return {name: statistics.median(times) for name, times in found.items()}


class Runs:
    """Records runs of one spec under fresh ids."""

    def __init__(self, folder: str, spec: Spec, registry: SkillRegistry) -> None:
        self.store = store_at(folder)
        self.spec = spec
        self.registry = registry
        self.count = 0

    def record(self) -> Path:
        self.count += 1
        # A ledger forgets no run: its id is never used again, not by the next process either.
        run_id = f"{self.spec.id}-{len(self.spec.steps)}-{os.getpid()}-{self.count}"
        record(self.spec, self.registry, store=self.store, run_id=run_id, seed=SEED).close()
        return self.store.file(run_id).path

    def record_and_remove(self) -> None:
        path = self.record()
        path.unlink()
        path.with_name(path.name + ".sig").unlink(missing_ok=True)


def steps_per_second(folder: str, count: str, rounds: str) -> dict[str, Any]:
    """Time recording, replaying and calling bare the same trivial steps."""
    steps = int(count)
    runs = Runs(folder, flow.trivial(steps), flow.registry)
    skill = flow.registry.get("add")
    assert skill is not None
    with Recording.open(runs.record(), runs.store.keyring) as kept:

        def replayed() -> None:
            answer = replay(kept, flow.registry)
            assert answer.matched, answer
            assert answer.steps_compared == steps

        def bare() -> None:
            for n in range(steps):
                skill.function(flow.Given({"n": n}))

        works = {"record": runs.record_and_remove, "replay": replayed, "bare": bare}
        return medians(works, int(rounds), max(1, 1000 // steps))


class _Unopened:
    """Stands for a recording that has no seal, so that it cannot be opened again."""

    @staticmethod
    def open(*_: object) -> _Unopened:
        return _Unopened()

    def close(self) -> None:
        """Close nothing."""


def signing(folder: str, kind: str, count: str, rounds: str) -> dict[str, Any]:
    """Time recording the same run signed and unsigned: `trivial` steps, or steps with `large` outputs."""
    spec = flow.trivial(int(count)) if kind == "trivial" else flow.large(int(count), 65536)
    runs = Runs(folder, spec, flow.registry)

    def unsigned_record() -> None:
        with patch.object(recorder, "Recorder", UnsignedRecorder), patch.object(runner, "Recording", _Unopened):
            runs.record_and_remove()

    return medians({"signed": runs.record_and_remove, "unsigned": unsigned_record}, int(rounds))


def differ(folder: str, expected: str, actual: str, rounds: str) -> dict[str, Any]:
    """Time the difference of two recordings that are open already, and count what deepdiff is asked."""
    store = store_at(folder)
    with (
        Recording.open(store.file(expected), store.keyring) as one,
        Recording.open(store.file(actual), store.keyring) as other,
    ):
        with patch.object(deepdiff, "DeepDiff", wraps=deepdiff.DeepDiff) as asked:
            found = [each.path for each in diff(one, other)]
        seconds = medians({"diff": lambda: list(diff(one, other))}, int(rounds)) if int(rounds) else {}
    return {"found": found, "deepdiff": asked.call_count, **seconds}


def tail(big: str, small: str, rounds: str) -> dict[str, Any]:
    """Time the last 30 events of a big and a small file, key at hand."""

    def shown(path: str) -> int:
        folder = str(Path(path).parent)
        ending = Tail(
            store_at(folder).file(Path(path).name.removesuffix(".steps.jsonl")),
            store_at(folder).keyring,
            count=30,
        )
        try:
            assert ending.how.startswith("MACs checked")
            return len(list(ending))
        finally:
            ending.close()

    lines = {"big_lines": shown(big), "small_lines": shown(small)}
    return lines | medians({"big": lambda: shown(big), "small": lambda: shown(small)}, int(rounds), 5)


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    action.__name__: action for action in (make_file, make_runs, make_run, steps_per_second, signing, differ, tail)
} | {**engine.ACTIONS, **gates.ACTIONS, **plain.ACTIONS}


def main() -> None:
    print(json.dumps(ACTIONS[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
