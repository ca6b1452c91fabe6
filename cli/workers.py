"""Workers: one function over many items, in processes that may die: what one was at is told, and the rest goes on.

The function reaches them by fork, with the keys it holds; what they answer is bytes, and never code.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, NoReturn, TypeVar

import click

from cli.parallel import adopt_orphans, die_with_parent
from cli.render import error_lines
from cli.usercode import TerminatedError

T = TypeVar("T")
_ASKED = struct.Struct("<Q")
_NO_MORE = (1 << 64) - 1
# What is longer is no answer of ours, but of the code of an item.
_MAX_ANSWER, _PART = 1 << 30, 1 << 20
# What comes before an answer: which item it is of, and how long it is.
_HEAD = struct.Struct("<QQ")
# How long to wait for word of a worker before looking whether it still lives, in seconds.
_LOOK = 0.5
_MOMENT, _MOMENTS = 0.01, 50


class Died(NamedTuple):
    """A worker ended before it had answered; `how` says by what."""

    how: str


def answers(
    function: Callable[[Any], bytes],
    items: Sequence[Any],
    jobs: int,
    understood: Callable[[bytes], T | None],
) -> Iterator[T | Died]:
    """Give `understood(function(item))` for each item in order, made by at most `jobs` processes side by side.

    What is not understood (None) does not come from the function, but from the code of an item.
    """
    waiting = iter(range(len(items)))
    ready: dict[int, T | Died] = {}
    crew: dict[int, _Worker] = {}
    following = 0
    with _leaving_nothing():
        try:
            while following < len(items):
                while len(crew) < min(jobs, len(items)) and (index := next(waiting, None)) is not None:
                    worker = _Worker(function, items)
                    crew[worker.fileno()] = worker
                    worker.ask(index)
                for worker in _heard(crew):
                    written = worker.answer()
                    if written is None:
                        continue
                    answer = written if isinstance(written, Died) else understood(written)
                    if answer is None:
                        answer = worker.cut_off("it gave an answer that is none")
                    ready[worker.index] = answer
                    index = None if isinstance(answer, Died) else next(waiting, None)
                    if index is None:
                        del crew[worker.fileno()]
                        worker.dismiss()
                    else:
                        worker.ask(index)
                while following in ready:
                    yield ready.pop(following)
                    following += 1
        finally:
            for worker in crew.values():
                worker.kill()


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """End, in the end, what the code of the items has left running: it would hold on to what our callers wait for."""
    others = _children()
    adopt_orphans(wanted=True)
    try:
        yield
    finally:
        # What one of them has started is ours once it has ended.
        while left := _children() - others:
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                others.add(pid)
        adopt_orphans(wanted=False)


def _children() -> set[int]:
    """Return the processes whose parent this one is; none where the system does not say."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return set(map(int, file.read().split()))
    except OSError:
        return set()


def _heard(crew: dict[int, _Worker]) -> list[_Worker]:
    """Return those that have said something, or all where nobody has for a while: one may be gone without a word."""
    poll = select.poll()
    for descriptor in crew:
        poll.register(descriptor, select.POLLIN)
    found = [crew[descriptor] for descriptor, _ in poll.poll(_LOOK * 1000)]
    return found or list(crew.values())


class _Worker:
    """One process, and the item it is at."""

    def __init__(self, function: Callable[[Any], bytes], items: Sequence[Any]) -> None:
        self.index = -1
        self._line, theirs = socket.socketpair()
        # What waits to be written would be written by both.
        _flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._line.close()
            _serve(theirs, function, items)
        theirs.close()

    def fileno(self) -> int:
        """The descriptor that it answers through."""
        return self._line.fileno()

    def ask(self, index: int) -> None:
        """Give it the next item; one that has died meanwhile tells so when it is to answer."""
        self.index = index
        with suppress(OSError):
            self._line.sendall(_ASKED.pack(index))

    def answer(self) -> bytes | Died | None:
        """Return what it answered, or how it ended; None where it is still at work."""
        with suppress(BlockingIOError, ConnectionError):
            head = self._line.recv(_HEAD.size, socket.MSG_DONTWAIT | socket.MSG_PEEK)
            if len(head) == _HEAD.size:
                self._line.recv(_HEAD.size)
                index, length = _HEAD.unpack(head)
                good = index == self.index and length <= _MAX_ANSWER
                found = _exactly(self._line, length) if good else None
                if found is not None:
                    return found
                return self.cut_off("it gave an answer that nobody asked for")
            if not head:
                # Its code closed what is not its own; what it does now nobody will hear of.
                return self.cut_off("it closed the line that it answers through")
        return self._died(os.WNOHANG)

    def dismiss(self) -> None:
        """Let it go."""
        # Its line does not end by being closed: workers that were forked later have it too.
        with suppress(OSError):
            self._line.sendall(_ASKED.pack(_NO_MORE))
        self._line.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def kill(self) -> None:
        """End it, whatever it is at."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self.dismiss()

    def cut_off(self, how: str) -> Died:
        """End it, and say how it ended, by default so."""
        # One that is ending has its line closed a moment before it can be waited for.
        for _ in range(_MOMENTS):
            if (died := self._died(os.WNOHANG)) is not None:
                return died
            time.sleep(_MOMENT)
        os.kill(self._pid, signal.SIGKILL)
        self._died(0)
        return Died(how)

    def _died(self, flags: int) -> Died | None:
        try:
            pid, status = os.waitpid(self._pid, flags)
        except ChildProcessError:
            # Told before.
            return Died("ended")
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return Died(f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}")


def _serve(line: socket.socket, function: Callable[[Any], bytes], items: Sequence[Any]) -> NoReturn:
    code, here = 1, os.getpid()
    try:
        die_with_parent()
        while (asked := _exactly(line, _ASKED.size)) is not None and (index := _ASKED.unpack(asked)[0]) != _NO_MORE:
            answer = function(items[index])
            _flush()
            if os.getpid() != here:
                # A copy of this process that the code of an item made and let go on: one answer is enough.
                break
            line.sendall(_HEAD.pack(index, len(answer)) + answer)
        code = 0
    except (KeyboardInterrupt, TerminatedError, ConnectionError):
        # Who asked is gone, or is going.
        pass
    except BaseException as error:  # noqa: BLE001  ours, or what the code of an item did to us: told as main tells it
        _tell(error)
    finally:
        # Nothing of the parent's is written twice, and nobody goes on as if he were it.
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # The code of an item may have closed it, or put something else there.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _tell(error: BaseException) -> None:
    if "--debug" in sys.argv:
        import traceback

        traceback.print_exception(error)
    for line in error_lines(f"internal error: {type(error).__name__}", "run it again with --debug to see where"):
        click.echo(line, err=True)


def _exactly(line: socket.socket, size: int) -> bytes | None:
    """Return so many bytes, None where the other side has gone before."""
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(min(size - len(parts), _PART))
        if not part:
            return None
        parts += part
    return bytes(parts)
