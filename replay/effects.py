"""Effects: how a step asks the world: the contract, and what live calls and recorded answers have in common.

Live calls are in `live`, recorded answers in `answers`; a skill can tell neither from the other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, NoReturn, Protocol

import msgspec

from golden.canonical import canonical_bytes, decode
from golden.errors import FormatError, NotCanonicalError, SecretError
from golden.event import MAX_LINE, StepError
from golden.redaction import Redaction
from replay.budget import DeniedError
from replay.divergence import Diverged
from replay.engine import Invoke, Outcome, StoppedError
from replay.frames import calling_place

# A result shares a line with them.
MAX_ARGUMENTS = MAX_LINE - (1 << 20)
# The error type of a call that its step gave up: it was cancelled, or still under way when the step ended.
CANCELLED = "CancelledError"
# How many calls deep we go to write down what a step does, and to tell of it.
_OUR_DEPTH = 150
# A call's name, and the canonical bytes of its arguments.
Asked = tuple[str, bytes, bytes]
_CLOSURE = "pass JSON values; let fn hold clients and other objects by closure"


class EffectError(Exception):
    """An external call failed; the same in every mode. `type` is the name of the exception's class."""

    def __init__(self, type: str, message: str) -> None:  # noqa: A002  the recorded member's name
        super().__init__(type, message)
        self.type = type
        self.message = message
        # Where in the user's code `fn` failed; known where it was called, not where it is answered.
        self.frames: list[tuple[str, str]] = []

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


class UnrecordableError(BaseException):
    """An external call whose arguments or result no recording can hold; not an Exception, so that no skill hides it."""

    def __init__(self, message: str, location: str | None) -> None:
        super().__init__(message)
        self.location = location

    def __reduce__(self) -> tuple[type, tuple[str, str | None]]:
        # From a process of a pool it comes back as a pickle.
        return type(self), (str(self), self.location)


# What ends a step or run from outside; it is passed on, not told to the skill as an error of `fn`.
ENDS = (Diverged, StoppedError, DeniedError, UnrecordableError)


class Limit(msgspec.Struct, frozen=True):
    """How many seconds an attempt may last from now on, and how it ends where it lasts longer."""

    seconds: float
    error: StepError


class Effects(Protocol):
    """The world as a driver gives it to a run."""

    def begin(self, request: Invoke) -> Outcome | Calls:
        """Return what one attempt of a step asks the world through, or its outcome where it is answered whole."""

    def pause(self, request: Invoke) -> int:
        """Return how many milliseconds really to wait before an attempt."""

    def limit(self, request: Invoke) -> Limit | None:
        """Return how long an attempt that begins now may last, None where time does not matter."""


class Calls:
    """The external calls of one attempt of one step.

    Keeps the first mismatch (`latched`) outside the skill, so that no `except` in it can make it unseen.
    """

    def __init__(self, request: Invoke, redaction: Redaction) -> None:
        self.redaction = redaction
        self.latched: BaseException | None = None
        self.step_id, self.index, self.attempt = request.step.id, request.index, request.attempt
        self._left = False
        self._numbers = count()
        self._pid = os.getpid()

    def call(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give the result of an external call, an awaitable if `fn` is async; see `Context.external`."""
        raise NotImplementedError

    def leave(self) -> None:
        """Note that the skill is done: nothing it left behind may ask the world any more."""
        self._left = True

    def give_up(self) -> None:
        """Note that nobody waits for the skill any more: nothing that it still does enters the recording."""
        self.leave()

    def finish(self, location: Callable[[], str | None]) -> None:  # noqa: ARG002  for those that diverge at the end
        """Settle the attempt, raising what was latched; `location` gives that of the skill's `def`."""
        if self.latched:
            raise self.latched

    def latch(self, stop: BaseException) -> NoReturn:
        """Keep the first reason to stop, and raise it."""
        self.latched = self.latched or stop
        raise self.latched

    def number(self, name: object) -> int:
        """Return the number of a call that starts now; raises where none may start any more."""
        self.refuse_ended(f"external call {name!r}")
        return next(self._numbers)

    def refuse_ended(self, what: str) -> None:
        """Raise where nothing may start any more in the step, RecursionError where nothing could be written of it."""
        self.refuse_child(what)
        _refuse_deep()
        if self.latched:
            raise self.latched
        if self._left:
            raise UnrecordableError(f"{what} of a step that has ended", caller())

    def refuse_child(self, what: str) -> None:
        """Raise where a process that the skill forked asks: the file is its parent's."""
        if os.getpid() != self._pid:
            raise UnrecordableError(f"{what} in a forked process; make it in the step's own", caller())

    def encoded(self, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
        """Return the canonical bytes of a call's arguments; latches what no recording can hold."""
        try:
            canonical_bytes(name)
            if not isinstance(name, str) or not name:
                raise FormatError("name is no text", hint='write ctx.external("name", fn, …)')
            encoded = canonical_bytes(list(args)), canonical_bytes(kwargs)
            if len(name) + sum(map(len, encoded)) > MAX_ARGUMENTS:
                raise FormatError(f"more than {MAX_ARGUMENTS >> 20} MiB", hint="pass a path or a hash instead")
        except FormatError as error:
            hint = _CLOSURE if isinstance(error, NotCanonicalError) else error.hint
            message = f"arguments of external call {name!r}: {error.problem}; {hint}"
            self.latch(UnrecordableError(message, caller()))
        return encoded

    def asked(self, name: str, given: tuple[bytes, bytes]) -> Asked:
        """Return a call as it is written: its name, and its arguments with nothing in them that must not be."""
        self._refuse_secret_name(name)
        place = ("steps", self.step_id, "effects", name)
        try:
            args = self.redaction.admit((*place, "args"), given[0])
            kwargs = self.redaction.admit((*place, "kwargs"), given[1])
        except SecretError as error:
            message = f"arguments of external call {name!r}: {error.problem}; {error.hint}"
            self.latch(UnrecordableError(message, caller()))
        return name, args, kwargs

    def _refuse_secret_name(self, name: str) -> None:
        """Latch a name that holds a secret: calls are told apart by it, so it stays as it is."""
        raw = canonical_bytes(name)
        try:
            hidden = self.redaction.admit(("steps", self.step_id, "effects", "*", "name"), raw)
        except SecretError as error:
            problem = f"the name of an external call holds {error.problem.rpartition(' holds ')[2]}"
        else:
            if hidden == raw:
                return
            problem = f"the name of external call {decode(hidden)!r} holds a secret"
        self.latch(
            UnrecordableError(f"{problem}; name it by what it does, and hand that over as an argument", caller())
        )


def _refuse_deep() -> None:
    """Raise RecursionError, which is then the user's code's own, before it comes upon us halfway through a line."""
    try:
        sys._getframe(sys.getrecursionlimit() // 4)  # noqa: SLF001  far quicker than trying it
    except ValueError:
        return
    _descend(_OUR_DEPTH)


def _descend(calls: int) -> None:
    if calls:
        _descend(calls - 1)


def inside_event_loop() -> bool:
    """Whether an event loop runs in this thread, asked without loading asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001  its documented fast check


def caller() -> str | None:
    """Return FILE:LINE of the user's code that called us."""
    return calling_place(sys._getframe(1))  # noqa: SLF001  the one way to ask who called
