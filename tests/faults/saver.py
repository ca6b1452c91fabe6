"""Saver: a process that saves checkpoints when it is told to; run as a module by the tests.

    python -m tests.faults.saver KIND PLACE race     one save a line read, of the version that stands there
    python -m tests.faults.saver KIND PLACE land N   N saves that all must land, each tried until it does
    python -m tests.faults.saver KIND PLACE go RUN   saves until it is killed, and says each version that it was given

Prints one JSON value a line. KIND is `file`, `sqlite` or `postgres`; PLACE a path, or a schema.
"""

import json
import os
import sys
from pathlib import Path

from replay.checkpoints.contract import CheckpointStore, CheckpointVersionConflictError
from tests.checkpoint_places import InFiles, InPostgres, InSqlite, begin, step


def opened(kind: str, place: str) -> CheckpointStore:
    """Return a store of that kind."""
    if kind == "postgres":
        return InPostgres(place).new()
    path = Path(place)
    return InFiles(path).new() if kind == "file" else InSqlite(path).new()


def say(value: object) -> None:
    """Print a value at once."""
    print(json.dumps(value), flush=True)


def race(store: CheckpointStore) -> None:
    """Save what stands there, when told to: a number for a win, a pair for a conflict."""
    for _ in sys.stdin:
        held = store.load("r-1")
        assert held is not None
        say("ready")
        sys.stdin.readline()
        try:
            say(step(store, held, os.getpid()).version)
        except CheckpointVersionConflictError as error:
            say([error.expected, error.actual])


def land(store: CheckpointStore, count: int) -> None:
    """Save so many times, whatever it takes; say how many conflicts there were."""
    conflicts = 0
    say("ready")
    sys.stdin.readline()
    for number in range(count):
        while True:
            held = store.load("r-1")
            assert held is not None
            try:
                step(store, held, [os.getpid(), number])
                break
            except CheckpointVersionConflictError as error:
                conflicts += error.actual > error.expected
    say(conflicts)


def go(store: CheckpointStore, run_id: str) -> None:
    """Save until killed."""
    if store.load(run_id) is None:
        store.create(begin(run_id))
    held = store.acquire(run_id, f"process:{os.getpid()}", lambda _: True)
    while True:
        held = step(store, held, held.next_step_index)
        say(held.version)


if __name__ == "__main__":
    found = opened(*sys.argv[1:3])
    if sys.argv[3] == "race":
        race(found)
    elif sys.argv[3] == "land":
        land(found, int(sys.argv[4]))
    else:
        go(found, sys.argv[4])
    found.close()
