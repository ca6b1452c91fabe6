"""Debugger: a pdb prompt at the user's terminal, in the user's frame where a replay diverges.

Says where it opens, not what diverged. It is `pdb` that opens, whatever PYTHONBREAKPOINT says.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pdb import Pdb, Restart
from types import FrameType, TracebackType

from cli.command import Session
from cli.render import Out, dim, safe
from golden.errors import UsageError
from replay.divergence import Diverged
from replay.frames import owner
from replay.trail import Where

_LEAVE = "q or c leaves"


class Prompt:
    """Opens a prompt wherever it is asked to; `is_over` once the user said `q`, which means: no further one.

    Raises:
        UsageError: there is no terminal, or nobody at it.
    """

    def __init__(self, session: Session, jobs: int) -> None:
        self._out = session.out
        self.is_over = False
        if session.out.json or jobs > 1:
            given = "--json" if session.out.json else "--jobs"
            raise UsageError(f"--pdb opens a prompt, which {given} leaves no room for", hint=f"leave out {given}")
        if session.settings.is_ci:
            raise UsageError("--pdb opens a prompt, and nobody answers in CI", hint="replay the run at a terminal")
        if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
            raise UsageError("--pdb opens a prompt, and this is no terminal", hint="do not redirect input or output")

    def open(self, where: Where) -> None:
        """Let the user look around, until he has seen enough."""
        match where:
            case None:
                self._out.answer(dim("  note: no code of a step ran where it differs: there is nothing to debug"))
                return
            case Diverged():
                said = "the step has ended at this call: its frames are as it left them"
            case BaseException():
                said = f"the step has ended by {safe(type(where).__name__)}: its frames are as it left them"
            case _ if where in _running():
                said = "the step stands at this call, and ends with it"
            case _:
                said = "the step has returned: its frame is as it left it"
        self._out.answer(dim(f"  note: {said}; {_LEAVE}"))
        with _at_terminal(self._out):
            prompt = _Pdb(nosigint=True)
            prompt.reset()
            # Neither `run` nor `exit()` in `interact` ends more than the prompt.
            with suppress(Restart, SystemExit):
                if isinstance(where, BaseException):
                    trace = where.__traceback__
                    prompt.interaction(trace.tb_frame.f_back if trace else None, trace)
                else:
                    prompt.interaction(where, None)
            self.is_over = prompt.quitting


class _Pdb(Pdb):
    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the frames from the step's own code on, ours left out, and which of them is the user's innermost."""
        stack, index = super().get_stack(f, t)
        whose = [owner(frame.f_code.co_filename) for frame, _ in stack]
        # Above our first one stands whoever called us.
        begin = whose.index("ours") if "ours" in whose else 0
        if "user" not in whose[begin:]:
            return stack, index
        begin = whose.index("user", begin)
        found = [n for n in range(begin, len(stack)) if whose[n] != "ours"]
        return [stack[n] for n in found], max(at for at, n in enumerate(found) if whose[n] == "user")


@contextmanager
def _at_terminal(out: Out) -> Iterator[None]:
    """Give the user the terminal meanwhile: Ctrl-C is the prompt's, and so is what was rerouted, also by a step."""
    stdin, before = sys.stdin, signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = sys.__stdin__
    try:
        with out.lent(), redirect_stdout(sys.__stdout__):
            yield
    finally:
        sys.stdin = stdin
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _running() -> list[FrameType]:
    found: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  the one way to ask
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found
