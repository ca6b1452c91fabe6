"""False alarms: replays of an unchanged run, each in a fresh process with its own PYTHONHASHSEED; none may diverge.

As a control, a run whose answer does depend on the hash seed is replayed in the same way: each must diverge.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.bench.install import ROOT, Product, scratch

FLOW = ROOT / "tests" / "bench" / "flow.py"
CONTROLS = 20
STEPS = ["load", "group", "ask", "draw", "average", "report"]
SIX = {
    "id": "six",
    "result": "${report.text}",
    "steps": [
        {"id": "load", "skill_id": "alarm.load"},
        {"id": "group", "skill_id": "alarm.group", "inputs": {"words": "${load.words}"}},
        {"id": "ask", "skill_id": "alarm.ask", "inputs": {"words": "${group.sorted}"}},
        {"id": "draw", "skill_id": "alarm.draw", "inputs": {"numbers": "${load.numbers}"}},
        {"id": "average", "skill_id": "alarm.average", "inputs": {"drawn": "${draw}", "lengths": "${ask}"}},
        {"id": "report", "skill_id": "alarm.report", "inputs": {"average": "${average}", "groups": "${group}"}},
    ],
}
CONTROL = {"id": "control", "steps": [{"id": "order", "skill_id": "alarm.order"}]}


class Alarms(NamedTuple):
    """What the replays came to: verdicts by count, of the control too, and the seconds they took."""

    verdicts: Counter[str]
    control: Counter[str]
    steps: int
    wall: float
    cpu: float

    @property
    def good(self) -> bool:
        """Whether every unchanged replay matched, step for step, and every control diverged."""
        total = sum(self.verdicts.values())
        return (
            self.verdicts["matched"] == total
            and self.steps == total * len(STEPS)
            and self.control["diverged"] == CONTROLS
        )

    def __str__(self) -> str:
        names = ("matched", "diverged", "refused")
        counts = ", ".join(f"{self.verdicts[name]} {name}" for name in names)
        return (
            f"{sum(self.verdicts.values())} unchanged replays: {counts}; {self.steps} steps compared; "
            f"control: {self.control['diverged']} of {sum(self.control.values())} diverged; "
            f"{self.wall:.0f} s, {self.cpu:.0f} s of CPU"
        )


def count_alarms(product: Product, folder: Path, times: int, jobs: int) -> Alarms:
    """Record the two runs below `folder` and replay the first `times` times, `jobs` at once."""
    for spec in (SIX, CONTROL):
        path = folder / f"{spec['id']}.json"
        path.write_text(json.dumps(spec), "utf-8")
        command = ["record", str(path), "--run-id", str(spec["id"])]
        _golden(product, folder, *command, hash_seed=0)
    begin, used = time.monotonic(), _children()
    with ThreadPoolExecutor(jobs) as pool:
        answers = list(pool.map(lambda _: _replay(product, folder, "six"), range(times)))
        wall, cpu = time.monotonic() - begin, _children() - used
        controls = list(pool.map(lambda _: _replay(product, folder, "control"), range(CONTROLS)))
    return Alarms(
        Counter(verdict for verdict, _ in answers),
        Counter(verdict for verdict, _ in controls),
        sum(steps for _, steps in answers),
        wall,
        cpu,
    )


def _replay(product: Product, folder: Path, run_id: str) -> tuple[str, int]:
    # Not 0: that is the seed of the recording.
    answer = json.loads(_golden(product, folder, "replay", run_id, hash_seed=1 + secrets.randbelow(2**32 - 1)))
    if answer["verdict"] == "refused":
        sys.exit(f"{run_id} was refused: {answer}")
    return answer["verdict"], answer["steps_compared"]


def _golden(product: Product, folder: Path, *command: str, hash_seed: int) -> str:
    done = subprocess.run(
        [product.golden, *command, "--skills", str(FLOW), "--dir", str(folder / "alarms"), "--json"],
        env={**product.env, "PYTHONHASHSEED": str(hash_seed)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"golden {' '.join(command)} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout.partition("\n")[0]


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the false alarms among unchanged replays; none is expected.")
    parser.add_argument("-n", type=int, default=1000, help="how many replays, each a fresh process (1000)")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, help="how many at once (one per core)")
    given = parser.parse_args()
    with scratch() as name:
        product = Product(Path(name))
        product.install()
        alarms = count_alarms(product, Path(name), given.n, given.j)
    print(alarms)
    return 0 if alarms.good else 1


if __name__ == "__main__":
    sys.exit(main())
