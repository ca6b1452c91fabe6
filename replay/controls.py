"""Controls: whether the engine may go on, asked before every step: a stop file and two variables.

Decides nothing about the run that is told to stop. What cannot be read stops it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from golden.clock import timestamp
from golden.directory import actor_here
from golden.errors import StoreError, UsageError
from golden.files import StrPath, open_folder, open_regular, put

Mode = Literal["stop", "drain"]
STOP_FILE = "stop.json"
EMERGENCY_STOP = "WORKFLOW_EMERGENCY_STOP"
ENGINE_ENABLED = "WORKFLOW_ENGINE_ENABLED"
MAX_REASON = 1000
_MAX_FILE = 1 << 16
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Halt(msgspec.Struct, frozen=True):
    """Why the engine may not go on: `stop` ends runs at their next step, `drain` only lets none begin.

    `origin` is `stop.json` or the name of a variable. `actor` (user@host) and `at` (as events carry time) are known
    of a stop file alone, and only if it can be read; `reason` is what is so where nobody said why.
    """

    mode: Mode
    reason: str
    actor: str | None
    at: str | None
    origin: str

    @property
    def problem(self) -> str:
        """What is so in one sentence: who halted the engine, when and why."""
        if self.actor is None:
            return self.reason if self.origin != STOP_FILE else f"{self.reason}, and stops the engine therefore"
        verb = "stopped" if self.mode == "stop" else "drained"
        return f"{self.actor} {verb} the engine{f' at {self.at}' if self.at else ''}: {self.reason}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.origin == STOP_FILE:
            return "once that is over, `golden start` lets runs begin again"
        return f"unset {self.origin} to record again"

    def refusal(self) -> UsageError:
        """Return the error that this is for a run that was to begin."""
        return UsageError(f"EMERGENCY_STOP: {self.problem}", hint=self.hint)


class _StopFile(msgspec.Struct):
    """What the file says; whoever writes it by hand, in a hurry, may leave anything out."""

    mode: Mode = "stop"
    reason: str = "no reason given"
    actor: str = "somebody"
    at: str | None = None


class Controls:
    """The emergency controls of one golden directory, looked at anew each time they are asked.

    Args:
        folder: the golden directory, which need not exist.
        environ: where the two variables are looked up; a live mapping, for they may change.
    """

    def __init__(self, folder: StrPath, environ: Mapping[str, str] = _NO_VARIABLES) -> None:
        self._place = _place(folder)
        self._environ = environ

    def halt(self) -> Halt | None:
        """Return why a run under way must not take its next step; None where it may, also while the engine drains."""
        found = _read(self._place)
        if found is None or found.mode != "stop":
            found = self._stopped()
        return found

    def refusal(self) -> Halt | None:
        """Return why no run may begin, None where one may."""
        return next(iter(self.in_force()), None)

    def in_force(self) -> list[Halt]:
        """Return all that halts the engine now: what stops before what drains, the file before the variables."""
        found = filter(None, (_read(self._place), self._stopped(), self._drained()))
        return sorted(found, key=lambda halt: halt.mode != "stop")

    def _stopped(self) -> Halt | None:
        text = self._environ.get(EMERGENCY_STOP)
        if text is None or not is_true(text):
            return None
        return Halt("stop", f"{EMERGENCY_STOP} is set", None, None, EMERGENCY_STOP)

    def _drained(self) -> Halt | None:
        text = self._environ.get(ENGINE_ENABLED)
        if text is None or is_true(text):
            return None
        return Halt("drain", f"{ENGINE_ENABLED} is off", None, None, ENGINE_ENABLED)


def is_true(text: str) -> bool:
    """Say whether a variable that is set is on: it is unless it says 0, false, no or off."""
    return text.strip().lower() not in {"0", "false", "no", "off"}


def read_stop(folder: StrPath) -> Halt | None:
    """Return what the stop file of a golden directory says, None where there is none."""
    return _read(_place(folder))


def write_stop(folder: StrPath, mode: Mode, reason: str) -> Halt:
    """Write the stop file of a golden directory, in the place of one that is there, and return what it says.

    The directory is made where it is missing.

    Raises:
        UsageError: the reason is empty, too long, or no text.
        StoreError: it cannot be written; what was there stays in force.
    """
    if not reason.strip():
        raise UsageError("the reason is empty", hint="say why, for whoever finds the engine stopped")
    if len(reason) > MAX_REASON:
        raise UsageError(f"the reason has {len(reason)} characters, at most {MAX_REASON} fit", hint="make it shorter")
    halt = Halt(mode, reason, actor_here(), timestamp(), STOP_FILE)
    try:
        data = msgspec.json.encode({name: getattr(halt, name) for name in _StopFile.__struct_fields__}) + b"\n"
    except UnicodeEncodeError:
        raise UsageError("the reason is no text", hint="write it in UTF-8") from None
    with open_folder(os.fspath(folder), create=True) as opened:
        try:
            put(opened, STOP_FILE, data, _owner(os.fstat(opened)), durable=True)
        except OSError as error:
            raise StoreError(
                f"{STOP_FILE} cannot be written: {error.strerror}",
                hint=f"anything of the name {STOP_FILE} in the golden directory stops the engine, an empty file too",
            ) from None
    return halt


def lift(folder: StrPath) -> Halt | None:
    """Take the stop file of a golden directory away, readable or not, and return what it said; None if there was none.

    Raises:
        StoreError: it cannot be taken away; it stays in force.
    """
    found = read_stop(folder)
    if found is None:
        return None
    try:
        with open_folder(os.fspath(folder)) as opened:
            os.unlink(STOP_FILE, dir_fd=opened)
            os.fsync(opened)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"{STOP_FILE} cannot be taken away: {error.strerror}", hint="check the golden directory's permissions"
        ) from None
    return found


def _read(place: str) -> Halt | None:
    try:
        # Nothing there is the usual case; to ask so takes no descriptor, of which a step may have left none.
        os.lstat(place)
        fd = open_regular(place)
        if fd is None:
            return None
        try:
            data = os.read(fd, _MAX_FILE + 1)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        # Where there is no directory there is no run either.
        return None
    except StoreError as error:
        return _unreadable(error.problem)
    except OSError as error:
        return _unreadable(f"{STOP_FILE} cannot be read: {error.strerror}")
    if len(data) > _MAX_FILE:
        return _unreadable(f"{STOP_FILE} is larger than {_MAX_FILE} bytes")
    try:
        said = msgspec.json.decode(data, type=_StopFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _unreadable(f"{STOP_FILE} does not say what is to stop")
    return Halt(said.mode, said.reason, said.actor, said.at, STOP_FILE)


def _unreadable(problem: str) -> Halt:
    return Halt("stop", problem, None, None, STOP_FILE)


def _place(folder: StrPath) -> str:
    path = Path(folder, STOP_FILE)
    # Wherever the code of a run may take us.
    with suppress(OSError):
        path = path.absolute()
    return str(path)


def _owner(folder: os.stat_result) -> os.stat_result:
    """Return mode and owner of a stop file: as far as we may say so, the directory's, whose runs are to read it."""
    user = folder.st_uid if os.geteuid() == 0 else os.geteuid()
    group = folder.st_gid if os.geteuid() == 0 or folder.st_gid in os.getgroups() else os.getegid()
    return os.stat_result((0o640, 0, 0, 1, user, group, 0, 0, 0, 0))
