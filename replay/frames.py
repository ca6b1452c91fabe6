"""Frames: where in the user's own code something happened, told apart from ours and from libraries.

Words about a traceback only; raises and catches nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal

import msgspec

MAX_MESSAGE = 4096
_HOUSE = Path(__file__).parents[1]
_OURS = tuple(f"{_HOUSE / name}{os.sep}" for name in ("golden", "replay", "cli"))
_ATTEMPT = str(_HOUSE / "replay" / "attempt.py")
_DEMO = f"{_HOUSE / 'cli' / 'demo'}{os.sep}"
_STDLIB = f"{Path(os.__file__).parent}{os.sep}"
_LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
# Of calls that go round and round nobody reads a thousand.
_OUTERMOST, _INNERMOST = 10, 30
# What stands for the place of those that are left out.
CUT = "…"
Owner = Literal["user", "ours", "library", "stdlib"]


class Failure(msgspec.Struct, frozen=True):
    """An exception of the user's code: type, message, and its frames as (FILE:LINE, function), outermost first."""

    type: str
    message: str
    frames: list[tuple[str, str]]

    @property
    def location(self) -> str | None:
        """FILE:LINE of the innermost frame of the user's code."""
        return self.frames[-1][0] if self.frames else None

    @property
    def stack(self) -> list[tuple[str, str, int]]:
        """The frames as they are shown: (FILE:LINE, function, how often in a row), of very many both ends."""
        found = [(*frame, len(list(same))) for frame, same in groupby(self.frames)]
        left_out = len(found) - _OUTERMOST - _INNERMOST
        if left_out <= 1:
            return found
        return [*found[:_OUTERMOST], (CUT, f"{left_out} more", 1), *found[-_INNERMOST:]]


def place(file: str, line: int) -> str:
    """Return FILE:LINE with FILE relative to the working directory where it lies below it."""
    try:
        relative = os.path.relpath(file)
    except (OSError, ValueError):
        relative = file
    shown = file if relative.startswith("..") else relative
    # A name that is not UTF-8 comes as lone surrogates, which no event can hold.
    return f"{shown.encode('utf-8', 'replace').decode()}:{line}"


def failure_of(error: BaseException) -> Failure:
    """Return type, message and user frames of a caught exception; a message that cannot be made is left out."""
    try:
        message = str(error)[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    except BaseException:  # noqa: BLE001  __str__ is the user's code as well
        message = ""
    frames = [(file, line, name) for file, line, name in _raised_through(error) if owner(file) == "user"]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 1, "<module>"))
    shown = [(place(file, line), name) for file, line, name in frames]
    # An external call that failed tells where in its function, too.
    shown += getattr(error, "frames", [])
    return Failure(type(error).__name__, message, shown)


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the user's own code."""
    return owner(frame.f_code.co_filename) == "user"


def place_of(frame: FrameType) -> str:
    """Return FILE:LINE of where a frame stands."""
    return place(frame.f_code.co_filename, frame.f_lineno)


def calling_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's code at or above `frame`, as far as the step goes that it is part of."""
    while frame is not None and not is_users(frame):
        # Above it stands whoever makes the run: of a task that nobody's code calls, no frame is the step's.
        frame = None if frame.f_code.co_filename == _ATTEMPT else frame.f_back
    return frame


def calling_place(frame: FrameType | None) -> str | None:
    """Return FILE:LINE of `calling_frame`."""
    found = calling_frame(frame)
    return None if found is None else place_of(found)


def awaiting_place(coroutine: Any) -> str | None:
    """Return FILE:LINE of the innermost frame of the user's code at which a coroutine is suspended."""
    found = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None and is_users(frame):
            found = place_of(frame)
        coroutine = getattr(coroutine, "cr_await", None)
    return found


def _raised_through(error: BaseException) -> Iterator[tuple[str, int, str]]:
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        yield code.co_filename, trace.tb_lineno, code.co_name
        trace = trace.tb_next


@lru_cache(maxsize=4096)
def owner(file: str) -> Owner:
    """Return whose code a file holds, by its name as code objects carry it."""
    if file.startswith(_OURS):
        return "user" if file.startswith(_DEMO) else "ours"
    if any(part in file for part in _LIBRARIES):
        return "library"
    return "stdlib" if file.startswith(("<frozen", _STDLIB)) else "user"


@lru_cache(maxsize=4096)
def package_of(file: str) -> str:
    """Return the top-level name of the module of the standard library, or of another one, that a file belongs to."""
    if file.startswith("<frozen "):
        return file[len("<frozen ") : -1].partition(".")[0]
    for part in (*_LIBRARIES, _STDLIB):
        _, found, rest = file.rpartition(part)
        if found:
            return rest.partition(os.sep)[0].removesuffix(".py")
    return ""
