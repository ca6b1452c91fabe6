"""Saver: keeps checkpoints in files and is killed, or failed, at every call that changes the disk; run by the tests.

    python -m tests.crash.killed_saver FOLDER WAY

For n = 1, 2, … a forked child saves a run of four steps into FOLDER/<way>-<n> and is struck at its n-th call, in one of
the ways of `tests.crash.layer`. When a child is not struck, the way is through. Prints one JSON list per child: the
folder, whether it was struck, and the versions that its saves were given.
"""

import json
import os
import sys
from pathlib import Path

from golden.errors import StoreError
from replay.checkpoints.file import FileCheckpointStore
from tests.checkpoint_places import begin, ended, step
from tests.crash.layer import WAYS, Layer

STEPS = 4


def save(folder: Path, way: str, n: int, report: int) -> None:
    """Save a run, prune another, and say each version when it was given."""
    store = FileCheckpointStore(folder)
    ended(store, "old")
    ended(store, "new")
    layer = Layer(way, n)
    layer.arm()
    try:
        held = store.create(begin())
        for number in range(STEPS):
            layer.real["write"](report, b"%d\n" % held.version)
            held = step(store, held, number)
        layer.real["write"](report, b"%d\n" % held.version)
        store.prune("2199-01-01T00:00:00.000000Z", 1)
    except StoreError as error:
        if way in WAYS or not error.hint:
            raise
    layer.real["write"](report, b"end\n" if layer.count < n else b"struck\n")


def main() -> None:
    """Strike one child after another."""
    folder, way = Path(sys.argv[1]), sys.argv[2]
    for n in range(1, 1000):
        place = folder / f"{way}-{n}"
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            code = 1
            try:
                save(place, way, n, writer)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader) as file:
            *versions, last = ["0", *file.read().split()]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in {0, -9}, (place.name, status)
        if last not in {"end", "struck"}:
            versions.append(last)
        print(json.dumps([place.name, last != "end", [int(version) for version in versions]]), flush=True)
        if last == "end":
            return


if __name__ == "__main__":
    main()
