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


def agree(out: Out, question: str, *, yes: bool) -> None:
    """Go on by `--yes`, or by asking at the terminal; the question says all that is agreed to, for `-q` shows no more.

    Raises:
        click.UsageError: nobody can be asked.
        click.exceptions.Exit: somebody said no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("this needs --yes when it is not run at a terminal; --dry-run shows what it would do")
    out.talk("")
    if not click.confirm(question, err=True):
        out.talk("nothing was done")
        raise click.exceptions.Exit(2)
