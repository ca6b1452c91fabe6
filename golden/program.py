"""Program: one that a user's own configuration names, run where no checkout can steer it, and ended with all it began.

What it is asked for and what its answer is worth is decided by whoever asks; what it says is never shown.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from golden.errors import GoldenError

if TYPE_CHECKING:
    from subprocess import Popen

SECONDS = 10.0
Refusal = Callable[[str, str], GoldenError]


def run(
    argv: Sequence[str], environment: Mapping[str, str], refusal: Refusal, *, given: bytes = b"", limit: int = 0
) -> bytes:
    """Return what a program writes to its stdout.

    Args:
        argv: the program, by its whole path, and its arguments.
        environment: what it sees, without `GOLDEN_*`.
        refusal: makes the error of a problem, in words that follow the program's name, and a hint.
        given: what it is given on its stdin, no more than a pipe holds.
        limit: how many bytes it may write; with 0 nobody reads them.

    Raises:
        GoldenError: what `refusal` makes: it cannot be started, fails, writes too much or takes too long.
    """
    # Slow, and needed only where a program is asked.
    import signal
    import subprocess

    try:
        # A session of its own, so that all it starts can be ended; / because a checkout must not steer it.
        program = subprocess.Popen(  # noqa: S603  named in a file that only this user or root can write
            argv,
            bufsize=0,
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=subprocess.PIPE if limit else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={name: value for name, value in environment.items() if not name.startswith("GOLDEN_")},
            start_new_session=True,
        )
    except OSError as error:
        raise refusal(f"cannot be started: {error.strerror}", "name a program that is there") from None
    try:
        if program.stdin:
            with suppress(BrokenPipeError), program.stdin:
                program.stdin.write(given)
        data = _output(program, limit, refusal)
    finally:
        # While it is not waited for, its id is nobody else's: the group is ended first.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        if program.stdout:
            program.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            program.wait(timeout=1)
    if program.returncode:
        how = f"exit code {program.returncode}" if program.returncode > 0 else f"signal {-program.returncode}"
        raise refusal(f"ended with {how}", "run it yourself: what it said is not shown here")
    return data


def _output(program: Popen[bytes], limit: int, refusal: Refusal) -> bytes:
    """Return what a program writes until it has ended; whoever else holds its stdout is not waited for."""
    ready = select.poll()
    if program.stdout:
        ready.register(program.stdout, select.POLLIN)
    data, open_, until = b"", program.stdout is not None, time.monotonic() + SECONDS
    while True:
        # Asked before reading: what an ended program wrote is in the pipe.
        ended = has_ended(program)
        if program.stdout and open_ and ready.poll(0 if ended else 50):
            block = os.read(program.stdout.fileno(), limit + 1 - len(data))
            data, open_ = data + block, bool(block)
        elif ended:
            return data
        elif not open_:
            time.sleep(0.002)
        if len(data) > limit:
            raise refusal(f"writes more than {limit} bytes", "let it write the secret alone")
        if time.monotonic() > until:
            raise refusal(f"takes longer than {SECONDS:g} seconds", "run it yourself and see")


def has_ended(program: Popen[bytes]) -> bool:
    """Whether a program has ended, which leaves its id its own until it is waited for."""
    if sys.platform == "darwin":
        return program.poll() is not None
    try:
        return os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        # Whoever started this process ignores SIGCHLD: what has ended is gone at once, and with it how it ended.
        return True
