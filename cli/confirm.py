"""Confirm: nothing is taken away or signed anew before somebody has said yes to exactly that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from cli.render import Out

Function = Callable[..., Any]


def destructive(function: Function) -> Function:
    """Add `--yes` and `--dry-run` to a command."""
    yes = click.option("--yes", is_flag=True, help="Do it without asking; needed where nobody sits at a terminal.")
    dry = click.option("--dry-run", is_flag=True, help="Say exactly what would be done, and do nothing.")
    return yes(dry(function))


def agreed(out: Out, question: str, *, yes: bool) -> bool:
    """Whether to go on: by `--yes`, or by asking at the terminal; raises click.UsageError where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("this needs --yes when it is not run at a terminal; --dry-run shows what it would do")
    out.talk("")
    return click.confirm(question, err=True)
