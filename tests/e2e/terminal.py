"""Terminal: the real command at a terminal of its own, at which a test sees what a user sees, and types."""

import os
import pty
import select
import subprocess
import sys
from contextlib import suppress
from typing import IO, Self

from tests.e2e.shell import SECONDS, Shell, command

PROMPT = "(Pdb) "
CTRL_C, CTRL_D = "\x03", "\x04"
# It becomes the terminal that the process is controlled by: what a key means is said to it as a signal.
_LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """One command at a terminal, from its start to its end; its stderr goes there too, unless it is given a file."""

    def __init__(self, shell: Shell, *argv: str, stderr: IO[bytes] | None = None) -> None:
        self._reader, theirs = pty.openpty()
        environ = {**shell.environ, "TERM": "dumb"}
        environ.pop("CI", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, command(), *argv],
            cwd=shell.here,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=stderr or theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._new = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._reader)

    def until(self, text: str = PROMPT) -> str:
        """Return what was shown since the last time, up to `text` and with it."""
        while text not in self._new:
            assert self._read(), f"the command ended without {text!r}: {self._new}"
        found, mark, self._new = self._new.partition(text)
        return found + mark

    def type(self, line: str) -> str:
        """Type a line at the prompt, and return what was shown up to the next prompt."""
        self.press(line + "\n")
        return self.until()

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._reader, keys.encode())

    def end(self) -> tuple[str, int]:
        """Wait for the end; return what was shown since the last time, and the exit code."""
        while self._read():
            pass
        return self._new, self.process.wait(SECONDS)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._reader], [], [], SECONDS)
        assert ready, f"nothing more was shown: {self._new}"
        data = b""
        # The other end is closed.
        with suppress(OSError):
            data = os.read(self._reader, 1 << 16)
        self._new += data.decode().replace("\r\n", "\n")
        return bool(data)
