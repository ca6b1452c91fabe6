"""Child: one program that runs while a thread waits for it, and that ends, with all it began, when nobody does.

Knows no step. What the program writes is read up to a limit, and held in memory only as far as it is short.
"""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from golden.program import has_ended
from replay.aos import AosError
from replay.interrupts import PATIENCE

if TYPE_CHECKING:
    from subprocess import Popen

# What a stream may have to be kept whole; of a longer one the size, the hash and the beginning.
WHOLE = 1 << 20
TAIL = 1500
_BLOCK = 1 << 16
_WAKE_MS = 50
_NAP = 0.005
# Seconds in which whoever holds the output of a program that has ended must let go of it.
GRACE = 1.0
# Who waits for which child, by the thread's ident: it can wait for no other meanwhile.
_waited_for: dict[int, Child] = {}


class CommandError(AosError):
    """A command did not do what it was to; `code`, which becomes the type of the step's error, says in which way."""


class Stream:
    """What a program has written to stdout or stderr: `start` is all of it as long as that has at most WHOLE bytes."""

    def __init__(self) -> None:
        self.start = bytearray()
        self.tail = b""
        self.bytes = 0
        self._hash = hashlib.sha256()

    def add(self, block: bytes) -> None:
        """Take note of what was written next."""
        self.start += block[: WHOLE - len(self.start)]
        self.tail = (self.tail + block)[-TAIL:]
        self.bytes += len(block)
        self._hash.update(block)

    @property
    def sha256(self) -> str:
        """The hash of all of it, 64 hex digits."""
        return self._hash.hexdigest()


class Child:
    """A program and its arguments, run without a shell in a session of its own.

    A thread of its own starts it and reads what it writes, in which no signal and nothing that ends a step can break
    in: there is no moment at which the program runs and nobody knows of it.

    Args:
        argv: the program and its arguments.
        environment: all that it sees of one.
        folder: where it runs.
        given: what it reads from stdin, None for nothing.
        limit: how many bytes it may write to stdout and stderr together.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, given: bytes | None, limit: int
    ) -> None:
        self.stdout, self.stderr = Stream(), Stream()
        self._argv = argv
        self._environment = environment
        self._folder = folder
        self._given = given
        self._limit = limit
        self._lock = threading.Lock()
        self._process: Popen[bytes] | None = None
        self._given_up = False
        self._gone = threading.Event()
        self._code = 0
        self._problem: BaseException | None = None

    def run(self) -> int:
        """Return the exit code, or the negative number of the signal that ended it.

        Raises:
            CommandError: it cannot be started, writes too much, or what it began holds its output open.
        """
        me = threading.get_ident()
        _waited_for[me] = self
        thread = threading.Thread(target=self._live, name="golden-child", daemon=True)
        try:
            thread.start()
            while not self._gone.wait(PATIENCE):
                pass
        except RuntimeError as error:
            raise CommandError("cannot start", f"no thread can be started for it: {error}") from None
        finally:
            self.end()
            if thread.ident is not None:
                # A process that ends takes its threads along: this one may be about to start the program.
                self._gone.wait(GRACE)
            _waited_for.pop(me, None)
        if self._problem is not None:
            raise self._problem
        return self._code

    def end(self) -> None:
        """Kill it with its group, now or as soon as it has started; does not wait until it is gone."""
        with self._lock:
            self._given_up = True
            self._kill()

    def _kill(self) -> None:
        import signal

        if self._process is not None:
            # While it is not waited for, its id is nobody else's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _live(self) -> None:
        try:
            self._code = self._last()
        except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
            self._problem = error
        finally:
            self._gone.set()

    def _last(self) -> int:
        """Start it and see it to its end."""
        import signal

        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise CommandError("cannot start", "SIGCHLD is ignored here: nobody could say how a command ends")
        process = self._start()
        with self._lock:
            self._process = process
            if self._given_up:
                self._kill()
        try:
            self._read(process)
            while not has_ended(process):
                time.sleep(_NAP)
        finally:
            with self._lock:
                self._kill()
                self._process = None
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait()
        return process.returncode

    def _start(self) -> Popen[bytes]:
        # Slow, and needed only where a command is run.
        import subprocess
        import tempfile

        stdin: IO[bytes] | int = subprocess.DEVNULL
        name = self._argv[0]
        try:
            if self._given is not None:
                # A file, and not a pipe, so that nobody waits for it to be read.
                stdin = tempfile.TemporaryFile()  # noqa: SIM115  closed below, once the child has it
                stdin.write(self._given)
                stdin.seek(0)
            return subprocess.Popen(  # noqa: S603  whoever runs us has chosen it
                self._argv,
                bufsize=0,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=dict(self._environment),
                start_new_session=True,
            )
        except FileNotFoundError:
            raise CommandError("not found", f"there is no command {name}", retryable=False) from None
        except PermissionError:
            raise CommandError("no permission", f"{name} may not be executed", retryable=False) from None
        except OSError as error:
            raise CommandError("cannot start", f"{name} cannot be started: {error.strerror}") from None
        finally:
            if not isinstance(stdin, int):
                stdin.close()

    def _read(self, process: Popen[bytes]) -> None:
        """Take in what it writes until both streams are at their end."""
        ready = select.poll()
        streams: dict[int, Stream] = {}
        for pipe, stream in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
            if pipe is not None:
                streams[pipe.fileno()] = stream
                ready.register(pipe, select.POLLIN)
        until: float | None = None
        while streams:
            # Asked before reading: what an ended program wrote is in the pipe.
            if until is None and has_ended(process):
                until = time.monotonic() + GRACE
            for number, _ in ready.poll(_WAKE_MS):
                block = os.read(number, _BLOCK)
                streams[number].add(block)
                if not block:
                    ready.unregister(number)
                    del streams[number]
            if self.stdout.bytes + self.stderr.bytes > self._limit:
                raise CommandError("too much output", f"it wrote more than {self._limit} bytes (max_output)")
            if streams and until is not None and time.monotonic() > until:
                raise CommandError(
                    "output held open",
                    f"it ended and left a process behind that holds its output open, {GRACE:g} s later still",
                )


def leave(thread: threading.Thread) -> None:
    """End the child that another thread waits for, if it waits for one."""
    child = _waited_for.get(thread.ident or 0)
    if child is not None:
        child.end()
