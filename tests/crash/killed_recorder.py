"""A recorder that is killed at every system call it makes, one process per call; run as a module by the tests.

    python -m tests.crash.killed_recorder FOLDER DURABILITY

For n = 1, 2, … and each way to die, a forked child records run `r-1` into FOLDER/<way>-<n> and sends itself SIGKILL
at its n-th call: `before` it, `after` it, or `within` it (half of what a write was given is written). When a child
comes to its end, its way is through. Prints one JSON list per child: [folder, name of the call, was it killed].
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden.chain import Chain
from golden.event import Data
from tests import runs

EVENTS: list[Data] = [runs.start(), runs.effect(0, 0, {"a": 1}), runs.step(0, [1, 2]), runs.step(1, "x"), runs.end()]
CALLS = ("open", "write", "fsync", "fdatasync", "fchmod", "rename", "unlink", "close", "makedirs", "mkdir", "listdir")
WAYS = ("before", "after", "within")


class Killer:
    """Stands before the calls of `os` and ends the process at the n-th."""

    def __init__(self, way: str, n: int, report: Path) -> None:
        self.way, self.left, self.report = way, n, report
        self.real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}

    def arm(self) -> None:
        for name in CALLS:
            setattr(os, name, self.guarded(name))

    def disarm(self) -> None:
        for name, real in self.real.items():
            setattr(os, name, real)

    def guarded(self, name: str) -> Callable[..., Any]:
        real = self.real[name]

        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left:
                return real(*arguments, **named)
            self.disarm()
            self.report.write_text(name)
            if self.way == "after":
                real(*arguments, **named)
            elif self.way == "within" and name == "write":
                fd, data = arguments
                real(fd, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return call


def child(folder: Path, durability: str, way: str, n: int) -> None:
    """Record one run and die on the way, or not."""
    store = runs.store_in(folder / "golden", durability=durability)
    killer = Killer(way, n, folder / "killed-at")
    killer.arm()
    runs.record(store, "r-1", EVENTS)
    killer.disarm()


def main(base: Path, durability: str) -> None:
    """Fork a child for each call and each way until one gets through."""
    Chain(bytes(32))  # imports what a recorder imports late, once for all children
    for way in WAYS:
        for n in range(1, 1000):
            folder = base / f"{way}-{n:03}"
            folder.mkdir(parents=True)
            pid = os.fork()
            if pid == 0:
                child(folder, durability, way, n)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            if not killed and status:
                sys.exit(f"child {folder.name} failed: {status}")
            name = (folder / "killed-at").read_text() if killed else ""
            sys.stdout.write(json.dumps([folder.name, name, killed]) + "\n")
            sys.stdout.flush()
            if not killed:
                break


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
