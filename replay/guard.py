"""Guard: says of a call that a step's code makes whether a replay could do it alike, else where it is and what to use.

`patches` brings the calls before it. No sandbox: it is for code that forgot, not for code that hides.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, get_args

from golden.canonical import decode
from golden.errors import UsageError
from replay.effects import UnrecordableError
from replay.frames import owner, package_of, place
from replay.live import asking
from replay.tables import are_open

if TYPE_CHECKING:
    from replay.context import Context
    from replay.effects import Calls
    from replay.engine import Invoke

Kind = Literal["clock", "random", "entropy", "environment", "file", "network", "subprocess"]
Mode = Literal["off", "warn", "block", "virtual"]
MODES: tuple[Mode, ...] = get_args(Mode)
# What these change about a run its recording says; the others change nothing.
RECORDED = ("block", "virtual")
_INSTEAD: dict[Kind, str] = {
    "clock": "use ctx.now()",
    "random": "use ctx.random",
    "entropy": "use ctx.uuid4() or ctx.random",
    "environment": "make it an input of the step",
    "file": "name the file in the step's inputs",
    "network": 'use ctx.external("name", fn), or replay.http() for clients of HTTP',
    "subprocess": 'use ctx.external("name", fn)',
}
_OUTSIDE: tuple[Kind, ...] = ("network", "subprocess")
_VIRTUAL: tuple[Kind, ...] = ("clock", "random", "entropy")
# What these do for their own purposes no step gets to see, of clients of HTTP only in their requests; of what they do
# outside, everybody does.
_QUIET_NAMES = (
    "asyncio bdb codecs concurrent copy encodings http importlib inspect linecache logging multiprocessing pdb pkgutil"
    " runpy selectors ssl subprocess tempfile threading traceback urllib warnings zipimport zoneinfo"
    " aiohttp anyio httpcore httpx httpx2 requests urllib3 vcr"
)
_QUIET = frozenset(_QUIET_NAMES.split())
_MAX_PATH = 4096
# As much the system's as its library is: where it keeps what it knows of time zones.
_ZONES = tuple(f"{folder}/zoneinfo/" for folder in ("/usr/share", "/usr/lib", "/usr/share/lib", "/etc"))


class BlockedError(UnrecordableError):
    """A call that no replay could do alike, where the guard blocks; no Exception, so that no skill hides it."""


class Guard:
    """The guard of one run: what it does about each kind of call, and what it has noticed so far.

    Build it with `recording` or `replaying`.
    """

    def __init__(self, usual: Mode, *, virtual: bool, network: Mode | None = None) -> None:
        if virtual:
            _refuse_closed_types()
        self.modes: dict[Kind, Mode] = dict.fromkeys(get_args(Kind), usual)
        self.modes["network"] = network or usual
        if virtual:
            self.modes.update(dict.fromkeys(_VIRTUAL, "virtual"))
        self._told: set[tuple[str, object, int]] = set()
        # By what is told in one sentence: the step, through which library's function, and where.
        self._notes: dict[tuple[str, str, str], dict[str, Kind]] = {}

    @classmethod
    def recording(cls, asked: Mode, recorded: str | None, *, heard: bool) -> Guard:
        """Return the guard of a run that is recorded; with nobody to tell it (not `heard`) it only warns in vain.

        `recorded` is what the run's header says: a run goes on as it began.
        """
        usual: Mode = "block" if recorded == "block" else "off" if asked == "off" or not heard else "warn"
        return cls(usual, virtual=recorded == "virtual")

    @classmethod
    def replaying(cls, asked: Mode | None, recorded: str | None) -> Guard:
        """Return the guard of a replay: as it was recorded, and nothing is asked over the network unless `asked`.

        Raises:
            UsageError: `virtual` is asked for, and it was not recorded so.
        """
        virtual = recorded == "virtual"
        if asked == "virtual" and not virtual:
            raise UsageError(
                "it was not recorded under a virtual clock", hint="leave out --guard virtual, or record it so"
            )
        if asked is None or asked == "virtual":
            return cls("block" if recorded == "block" else "warn", virtual=virtual, network="block")
        return cls(asked, virtual=virtual)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return set(self.modes.values()) == {"off"}

    def tell(self, found: tuple[str, object, int]) -> bool:
        """Take note of a call (its name, code and line); return whether it is the first of its kind."""
        new = found not in self._told
        self._told.add(found)
        return new

    def note(self, about: tuple[str, str, str], call: str, kind: Kind) -> None:
        """Keep a call for whoever watches the run: `about` which step, through which function, and where, as told."""
        self._notes.setdefault(about, {})[call] = kind

    def notes(self) -> list[str]:
        """Return what was noticed since the last time."""
        found = [text for about, calls in self._notes.items() for text in _told(*about, calls)]
        self._notes.clear()
        return found


class Watch:
    """The guard's watch over one attempt of a step.

    Attributes:
        seeded: modules whose generator the step's own code has seeded: what it gives is the same in every replay.
        elapsed: by how many microseconds the step's own clock went on.
        open: whether the attempt is under way, and somebody waits for it.
    """

    __slots__ = (
        *("context", "elapsed", "modes", "open", "seeded"),
        *("_calls", "_declared", "_guard", "_own", "_request", "_written"),
    )

    def __init__(self, guard: Guard, request: Invoke, context: Context, calls: Calls) -> None:
        self.context = context
        self.modes = guard.modes
        # Most steps ask for nothing: what only some need is made then.
        self.seeded: frozenset[str] = frozenset()
        self.elapsed = 0
        self.open = True
        self._guard = guard
        self._request = request
        self._calls = calls
        self._own: set[str] = set()
        self._written: set[str] = set()
        self._declared: set[str] | None = None

    def judge(self, kind: Kind, call: str, frame: FrameType | None, detail: str = "", *, virtual: bool = True) -> bool:
        """Say whether the step itself is to answer a call that `frame` makes, in place of the world.

        Args:
            kind: what it asks.
            call: how it is called, as `time.time`.
            frame: who calls.
            detail: what exactly it asks for, shown with it.
            virtual: whether there is an answer of the step's own.

        Raises:
            BlockedError: it is not to be made.
        """
        mode = self.modes[kind]
        if mode == "off":
            return False
        by, through = _caller(kind, frame)
        if by is None:
            return False
        if mode == "virtual" and virtual:
            return True
        if mode != "block" and not self._guard.tell((call, by.f_code, by.f_lineno)):
            return False
        # Where only the standard library's code stands, as in a thread of its own, no line is the user's.
        where = None if owner(by.f_code.co_filename) == "stdlib" else place(by.f_code.co_filename, by.f_lineno)
        function, at = _through(through, call), f" at {where}" if where else ""
        if mode == "block":
            what = f"{call}{detail}{_by(function)}{at}"
            self._calls.latch(BlockedError(f"{what} would not be the same in a replay; {_INSTEAD[kind]}", where))
        self._guard.note((self._request.step.id, function, at), f"{call}{detail}", kind)
        return False

    def judge_file(self, call: str, path: Any, frame: FrameType | None, *, writes: bool = False) -> None:
        """Judge a call that opens a file or lists a folder; raises BlockedError."""
        whole = None if self.modes["file"] == "off" else _whole(path)
        if whole is None or whole in self._written or self._is_declared(whole) or _is_code(whole):
            return
        self.judge("file", call, frame, f"({_text(path)!r})")
        if writes:
            # What it wrote itself is no news to it.
            self._written.add(whole)

    def own(self, path: Any) -> None:
        """Take note of a temporary file or folder of the step's own."""
        if whole := _whole(path):
            self._own.add(whole)

    def now(self) -> datetime:
        """Return the moment on the step's own clock, in UTC.

        It stands at `ctx.now()`, goes on by what the step sleeps, and by a microsecond with each look at it: so that
        nothing that waits for it waits for ever, and no two moments are the same.
        """
        moment = self.context.now() + timedelta(microseconds=self.elapsed)
        self.elapsed += 1
        return moment

    def close(self) -> None:
        """Note that the attempt is over, or that nobody waits for it any more."""
        self.open = False

    def _is_declared(self, path: str) -> bool:
        """Whether a text in the step's inputs, or in an output it depends on, names the file or a folder above it."""
        if self._declared is None:
            values = [self._request.inputs, *self._request.outputs.values()]
            texts = {text for value in values for text in _texts(decode(value)) if 0 < len(text) <= _MAX_PATH}
            self._declared = {os.path.normpath(text) for text in texts} - {os.curdir, os.pardir, os.sep}
            self._own.update(filter(None, map(_whole, self._declared)))
        tail, above = path, path
        while tail:
            # A step's code may take a path as relative to wherever it likes.
            if tail in self._declared:
                return True
            tail = tail.partition(os.sep)[2]
        while above not in self._own:
            if above == (above := os.path.dirname(above)):  # noqa: PTH120  plain text, for many folders
                return False
        return True


watching: ContextVar[Watch | None] = ContextVar("watching", default=None)


def current() -> Watch | None:
    """Return the watch over whoever runs here, None for all that no step does, and within an external call."""
    watch = watching.get()
    return watch if watch is not None and watch.open and asking.get() is None else None


def checked_mode(mode: Any) -> Mode:
    """Return a mode; raises UsageError where there is none of that name."""
    if mode not in MODES:
        raise UsageError(f"there is no guard {mode!r}", hint=f"use one of {', '.join(MODES)}")
    if mode == "virtual":
        _refuse_closed_types()
    found: Mode = mode
    return found


def _refuse_closed_types() -> None:
    if not are_open():
        raise UsageError(
            "this Python lets nobody give datetime another clock: there is no guard virtual",
            hint="leave it out, and use ctx.now()",
        )


def _caller(kind: Kind, frame: FrameType | None) -> tuple[FrameType | None, FrameType | None]:
    """Return the frame that is to answer for a call, None where no step does, and the last one on the way to it."""
    library = through = None
    while frame is not None:
        file = frame.f_code.co_filename
        match owner(file):
            case "user" if not file.startswith("<"):
                return frame, through
            case "ours":
                # We ask nobody over the network.
                return library or (through if kind == "network" else None), None
            case whose:
                if kind not in _OUTSIDE and package_of(file) in _QUIET:
                    return None, None
                library = library or (frame if whose == "library" else None)
        through, frame = frame, frame.f_back
    return library or (through if kind in _OUTSIDE else None), None


def _through(through: FrameType | None, call: str) -> str:
    """Name the function between a call and whoever answers for it, where that says more than the call."""
    module = "" if through is None else str(through.f_globals.get("__name__", "?")).partition("._")[0]
    if through is None or module == "collections.abc" or call.startswith(f"{module}."):
        return ""
    return f"{module}.{through.f_code.co_name}"


def _by(function: str) -> str:
    return f" (by {function})" if function else ""


def _told(step_id: str, function: str, at: str, calls: Mapping[str, Kind]) -> Iterator[str]:
    """Say what was noticed at one place: what a library asks for, of which nobody can change one by one, at once."""
    if function and len(calls) > 1:
        yield f"step {step_id}: {function}{at} asks for what is not the same in a replay: {', '.join(calls)}"
        return
    for call, kind in calls.items():
        yield f"step {step_id}: {call}{_by(function)}{at} is not the same in a replay; {_INSTEAD[kind]}"


def _text(path: Any) -> str:
    return os.fsdecode(path)


def _whole(path: Any) -> str | None:
    """Return a path from the root on, None for what names no file: a descriptor, or nothing at all."""
    try:
        return os.path.abspath(_text(path)) if path else None  # noqa: PTH100  no link is followed
    except (TypeError, OSError):
        return None


def _is_code(path: str) -> bool:
    """Whether a file belongs to the interpreter, to a library, or is a module that is loaded."""
    if path == os.devnull or path.startswith(_ZONES) or owner(path) != "user":
        return True
    return path.endswith(".py") and any(
        getattr(module, "__dict__", {}).get("__file__") == path for module in list(sys.modules.values())
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(child)
