"""Layer: stands before the calls of `os` that change the disk, and at the n-th of them kills the process or fails it.

Works wherever Python does, without a tracer; that it sees what the system sees is tested beside strace.
"""

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

# Every call of `os` that changes what is on the disk, as strace names the system calls that it comes to.
CALLS = {
    "write": ("write", "pwrite64"),
    "open": ("open", "openat", "creat"),
    "fsync": ("fsync",),
    "fdatasync": ("fdatasync",),
    "sync": ("sync", "syncfs"),
    "rename": ("rename", "renameat", "renameat2"),
    "replace": (),
    "unlink": ("unlink", "unlinkat"),
    "remove": (),
    "mkdir": ("mkdir", "mkdirat"),
    "rmdir": ("rmdir",),
    "ftruncate": ("ftruncate", "truncate"),
    "truncate": (),
    "link": ("link", "linkat"),
    "symlink": ("symlink", "symlinkat"),
    "fchmod": ("fchmod", "fchmodat"),
    "chmod": ("chmod",),
    "fchown": ("fchown", "fchownat"),
    "chown": ("chown",),
}
SYSTEM = sorted({name for names in CALLS.values() for name in names})
WAYS = ("before", "within", "after")


class Layer:
    """What happens at the n-th call that changes the disk.

    Args:
        way: `before` or `after` it the process is killed, `within` it only half of a write is written first; `log`
            only counts; `short` writes half and says so; any other word is the name of an errno with which it fails.
        n: which call, from 1; 0 for every call.
        log: a file that every call is written to as it comes, a name a line.
        only: the calls that count.
        lasting: every call from the n-th on.
    """

    def __init__(
        self,
        way: str = "log",
        n: int = 0,
        log: str = "",
        only: tuple[str, ...] = tuple(CALLS),
        *,
        lasting: bool = False,
    ) -> None:
        self.way, self.n, self.only, self.lasting = way, n, only, lasting
        self.count = 0
        # Threads write side by side: a number is taken in one step.
        self._numbers = count(1)
        self.fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) if log else -1
        self.real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}
        self.syncfs = ctypes.CDLL(None, use_errno=True).syncfs
        self.cdll = ctypes.CDLL

    def arm(self) -> None:
        """Stand before the calls, in this process for good."""
        for name in CALLS:
            if name in self.only:
                setattr(os, name, self.guarded(name, self.real[name]))
        layer, real = self, self.cdll

        class Guarded:
            def __init__(self, *arguments: Any, **named: Any) -> None:
                self._library = real(*arguments, **named)
                if "sync" in layer.only:
                    self.syncfs = layer.guarded("sync", layer.syncfs)

            def __getattr__(self, name: str) -> Any:
                return getattr(self._library, name)

        ctypes.CDLL = Guarded  # type: ignore[assignment,misc]

    def guarded(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that stands before `real`."""

        def call(*arguments: Any, **named: Any) -> Any:
            if not _changes(name, arguments):
                return real(*arguments, **named)
            number = self.count = next(self._numbers)
            if self.fd >= 0:
                self.real["write"](self.fd, f"{name}\n".encode())
            struck = number >= self.n if self.lasting else self.n in {0, number}
            if not struck or self.way == "log":
                return real(*arguments, **named)
            return self._strike(name, real, *arguments, **named)

        return call

    def _strike(self, name: str, real: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        half = name == "write" and self.way in {"within", "short"}
        if half:
            fd, data = arguments
            arguments = (fd, bytes(data)[: max(1, len(data) // 2)])
        if self.way == "short":
            return real(*arguments, **named)
        if self.way == "after" or half:
            real(*arguments, **named)
        if self.way in WAYS:
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, self.way)
        if real is self.syncfs:
            ctypes.set_errno(code)
            return -1
        raise OSError(code, os.strerror(code))


def _changes(name: str, arguments: tuple[Any, ...]) -> bool:
    if name == "open":
        return bool(arguments[1] & os.O_CREAT)
    # What is said on stdout and stderr changes no file.
    return not (name == "write" and arguments[0] in {1, 2})
