"""User code: the conditions under which skills run inside a command: no secrets, no hold on the answer's stream."""

from __future__ import annotations

import signal
from typing import NoReturn

from cli.render import Out
from cli.settings import drop_secrets


class TerminatedError(BaseException):
    """SIGTERM came: the command ends with 143, and says what it can on the way out."""


def prepare(out: Out) -> None:
    """Make this process ready to import and run user code; called once what is needed of the secrets is in memory."""
    drop_secrets()
    out.keep_to_itself()
    heed_sigterm()


def heed_sigterm() -> None:
    """Let SIGTERM raise TerminatedError from now on."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_signum: int, _frame: object) -> NoReturn:
    raise TerminatedError
