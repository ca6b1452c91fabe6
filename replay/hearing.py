"""Hearing: what only the interpreter tells of a step's code: opened files, connections, processes, by its audit events.

Judges nothing; the one hook stays for as long as the process lasts, for there is no way to take it back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from replay.guard import Watch, current


def listen() -> None:
    """Hear of every event from now on, once for the process."""
    if not _listening:
        sys.addaudithook(_hear)
        _listening.append(True)


_listening: list[bool] = []


def _hear(event: str, args: tuple[Any, ...]) -> None:
    hears = EVENTS.get(event)
    if hears is not None and (watch := current()) is not None:
        hears(watch, event, args)


def _open(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    path, _, flags = args
    if not isinstance(path, int):
        watch.judge_file(event, path, _asking(), writes=bool(flags & (os.O_WRONLY | os.O_RDWR)))


def _place(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    place = args[0] if args and args[0] is not None else os.curdir
    if not isinstance(place, int) and place != ":memory:":
        watch.judge_file(event, place, _asking())


def _temporary(watch: Watch, _event: str, args: tuple[Any, ...]) -> None:
    watch.own(args[0])


def _network(watch: Watch, event: str, _args: tuple[Any, ...]) -> None:
    watch.judge("network", event, _asking(), virtual=False)


def _bind(watch: Watch, event: str, args: tuple[Any, ...]) -> None:
    address = args[1]
    # At a port that nobody named nobody is expected: so libraries find out, as they are imported, what a host can do.
    if not (isinstance(address, tuple) and address[1:2] == (0,)):
        watch.judge("network", event, _asking(), virtual=False)


def _subprocess(watch: Watch, event: str, _args: tuple[Any, ...]) -> None:
    watch.judge("subprocess", event, _asking(), virtual=False)


def _asking() -> FrameType:
    return sys._getframe(3)  # noqa: SLF001  beyond the one that asks, and `_hear`


EVENTS: dict[str, Callable[[Watch, str, tuple[Any, ...]], None]] = {
    "open": _open,
    "os.listdir": _place,
    "os.scandir": _place,
    "sqlite3.connect": _place,
    "tempfile.mkdtemp": _temporary,
    "tempfile.mkstemp": _temporary,
    "socket.bind": _bind,
    "socket.connect": _network,
    "socket.getaddrinfo": _network,
    "socket.gethostbyaddr": _network,
    "socket.gethostbyname": _network,
    "socket.getnameinfo": _network,
    "socket.sendmsg": _network,
    "socket.sendto": _network,
    "os.exec": _subprocess,
    "os.fork": _subprocess,
    "os.forkpty": _subprocess,
    "os.posix_spawn": _subprocess,
    "os.system": _subprocess,
    "pty.spawn": _subprocess,
    "subprocess.Popen": _subprocess,
}
