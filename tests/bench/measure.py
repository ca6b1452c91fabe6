"""Measure: CPU seconds and peak memory of child processes, product and peer in turn.

CPU time (user and system, from `wait4`), because other work on the machine changes it far less than the clock. The
seconds by the clock are kept too, for what is about throughput.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

# Starts a command and tells its peak memory in MiB. A process's peak is never less than what the one that started it
# held then, so a starter must be small: this one is an interpreter with nothing imported but `os`.
_STARTER = """
import os, sys
null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
"""


class Usage(NamedTuple):
    """The CPU seconds that a process took, how it exited, and the seconds by the clock."""

    cpu: float
    code: int
    wall: float


class Peak(NamedTuple):
    """The largest resident size of a process in MiB, and how it exited."""

    size: float
    code: int


def usage(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> Usage:
    """Run `command` with nothing to read and no one to talk to."""
    begin = time.monotonic()
    child = subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Usage(used.ru_utime + used.ru_stime, child.returncode, time.monotonic() - begin)


def in_turn(
    commands: Mapping[str, Sequence[str]],
    env: Mapping[str, str],
    cwd: Path,
    rounds: int,
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Usage]:
    """Run each of `commands` in turn, `rounds` times after one that is not counted; give medians and the last code.

    `more` holds, by a command's name, what only that one finds in its environment.
    """
    own = {name: {**env, **(more or {}).get(name, {})} for name in commands}
    found: dict[str, list[Usage]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            found[name].append(usage(command, own[name], cwd))
            if found[name][-1].code not in (0, 1):
                _complain(command, own[name], cwd)
    return {
        name: Usage(
            statistics.median(each.cpu for each in runs[1:]),
            runs[-1].code,
            statistics.median(each.wall for each in runs[1:]),
        )
        for name, runs in found.items()
    }


def peak(command: Sequence[str], env: Mapping[str, str], cwd: Path, rounds: int = 3) -> Peak:
    """Run `command`, its program given as a path, `rounds` times and return the largest peak."""
    found: list[Peak] = []
    for _ in range(rounds):
        starter = [sys.executable, "-I", "-S", "-c", _STARTER, *command]
        done = subprocess.run(starter, env=env, cwd=cwd, capture_output=True, text=True, check=True)
        size, code = done.stdout.split()
        if int(code) not in (0, 1):
            _complain(command, env, cwd)
        found.append(Peak(float(size), int(code)))
    return max(found)


def _complain(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> NoReturn:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    sys.exit(f"{' '.join(command)} exits with {done.returncode}:\n{done.stdout}{done.stderr}")
