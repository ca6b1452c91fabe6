"""Who goes on with a run is killed at every call that changes the disk, one process per call; run as a module.

    python -m tests.crash.killed_resumer FOLDER STORY

For n = 1, 2, … and each way to die, FOLDER/<way>-<n> gets a run that broke off as STORY says, and a forked child goes
on with it and sends itself SIGKILL at its n-th call. When a child comes to its end, its way is through. Prints one JSON
list per child: [folder, was it killed].
"""

import json
import os
import signal
import sys
from pathlib import Path

from golden.chain import Chain
from golden.event import Data
from golden.keyring import Keyring
from golden.ledger import LEDGER
from golden.store import Store
from tests import runs
from tests.crash.layer import WAYS, Layer
from tests.runs import ACTIVE, RETIRED, policy

EVENTS: list[Data] = [
    runs.start(),
    runs.effect(0, 0, {"a": 1}),
    runs.step(0, [1, 2]),
    runs.effect(1, 0, "b"),
    runs.step(1, "x"),
    runs.end(),
]
OLD = policy((RETIRED, "active"))
NEW = policy((RETIRED, "retired"), (ACTIVE, "active"))
# How many events stand there, whether half a line does, who recorded them, and whether the ledger was told.
STORIES: dict[str, tuple[int, bytes, Keyring, bool]] = {
    "in the middle": (4, b'{"data":{"half', NEW, True),
    "in the middle, before the key was replaced": (4, b'{"data":{"half', OLD, True),
    "after its first line": (1, b"", NEW, False),
    "after its last line": (6, b"", NEW, True),
}


def store_in(folder: Path, keyring: Keyring = NEW) -> Store:
    """Return the golden directory of a child, which syncs as by default."""
    return Store(folder / "golden", keyring, durability="seal")


def break_off(folder: Path, story: str) -> None:
    """Leave a run as a recorder does that was killed."""
    count, half, keyring, told = STORIES[story]
    runs.record(store_in(folder, keyring), "r-0", EVENTS)
    ledger = folder / "golden" / LEDGER
    before = ledger.read_bytes()
    runs.broken_off(store_in(folder, keyring), "r-1", EVENTS[:count], half=half)
    if not told:
        ledger.write_bytes(before)


def main(base: Path, story: str) -> None:
    """Fork a child for each call and each way until one gets through."""
    Chain(bytes(32))  # imports what a recorder imports late, once for all children
    for way in WAYS:
        for n in range(1, 1000):
            folder = base / f"{way}-{n:03}"
            folder.mkdir(parents=True)
            break_off(folder, story)
            pid = os.fork()
            if pid == 0:
                Layer(way, n).arm()
                runs.go_on(store_in(folder), "r-1", EVENTS)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            if not killed and status:
                sys.exit(f"child {folder.name} failed: {status}")
            sys.stdout.write(json.dumps([folder.name, killed]) + "\n")
            sys.stdout.flush()
            if not killed:
                break


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
