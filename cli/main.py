"""Main: the command `golden`: which commands there are, and what an error looks like and exits with.

Loads a command's module only when that command is called; decides nothing about files or runs.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from golden.errors import FormatError, KeyringError, StoreError, TamperedError, UsageError
from golden.version import VERSION

GROUPS = {
    "Start": {
        "demo": ("cli.start", "see it work on bundled weather data"),
        "init": ("cli.project", "make a configuration, keys and a keyring"),
        "record": ("cli.start", "run a spec and write its golden file"),
        "import": ("cli.importing", "bring in files of the AOS system"),
    },
    "Debug": {
        "replay": ("cli.replaying", "run recordings again and compare everything"),
        "fork": ("cli.resuming", "begin a new run with the first steps of another"),
        "diff": ("cli.debug", "show where two recordings are unlike"),
        "tail": ("cli.debug", "show the last events of a golden file"),
    },
    "CI": {
        "gate": ("cli.gating", "verify and replay a set: one verdict for a pipeline"),
        "update": ("cli.updating", "record runs anew, for review"),
        "review": ("cli.reviewing", "show what changed in recordings that wait, and decide"),
        "accept": ("cli.reviewing", "put waiting recordings in the place of the golden ones"),
        "reject": ("cli.reviewing", "remove waiting recordings"),
        "verify": ("cli.ci", "say whether golden files are what was recorded"),
    },
    "Keys": {
        "keys": ("cli.keys", "show, add, retire and revoke keys"),
        "rotate": ("cli.rotating", "sign seals anew with the active keys, each if proven"),
        "resign": ("cli.rotating", "sign the seals of single runs anew"),
        "quarantine": ("cli.repairing", "set runs apart"),
        "recover": ("cli.recovering", "write down what is wrong with the ledger, or end a dead run"),
        "ledger": ("cli.repairing", "begin a ledger where there is none"),
        "anchors": ("cli.anchors", "find the anchors that were kept"),
    },
    "Operate": {
        "resume": ("cli.resuming", "go on with a run that was killed, stopped or failed"),
        "status": ("cli.status", "show everything on one screen"),
        "list": ("cli.runs", "list runs, newest first"),
        "inspect": ("cli.inspecting", "show all about one run, and what to do next"),
        "stats": ("cli.runs", "count how runs ended, with time and cost"),
        "checkpoints": ("cli.checkpoints", "look into the store of checkpoints, and clean it"),
        "stop": ("cli.stopping", "stop the engine at the next step of every run"),
        "start": ("cli.stopping", "let runs begin again"),
        "config": ("cli.operate", "show each setting and where it comes from"),
        "git": ("cli.git", "show golden files in git diff, and keep git's hands off them"),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
# The spelling of the AOS runbook.
ALIASES = {"golden-tail": "tail", "replay-local": "replay", "list-running": "list --status running"}
LATER = frozenset(  # they are in the contract, and refused by name until they are here
    """explain
    backup restore prune drill doctor metrics audit rollout runbook""".split()  # noqa: SIM905  forty lines of quotes say no more
)
EXIT_CODES = {UsageError: 2, KeyringError: 2, TamperedError: 3, StoreError: 4, FormatError: 4}
EPILOG = """\b
Examples:
  golden demo
  golden record specs/report.json --skills skills.py
  golden replay report-20260101T000000Z-1a2b
  golden verify

Exit codes: 0 yes, 1 differs, 2 misuse, 3 tampered, 4 undecided."""


class _ReaderGoneError(Exception):
    """The reader of our output has seen enough."""


@contextmanager
def _to_a_reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        _drop_output()
        raise _ReaderGoneError from error


class Commands(click.Group):
    """The commands in groups, each imported when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name the commands in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        gc.freeze()
        gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with, in any spelling; one that comes later is refused by name."""
        if args[0] in LATER:
            raise click.UsageError(f"the command `{args[0]}` is not supported yet")
        return super().resolve_command(ctx, [*ALIASES.get(args[0], args[0]).split(), *args[1:]])

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments, which may print a help page."""
        with _to_a_reader():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _to_a_reader():
            return super().invoke(ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, one section a group."""
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()], col_max=12)


def _help_width() -> int:
    # click's own way to ask imports shutil, which is felt in `golden --help`.
    try:
        columns = os.get_terminal_size(1).columns
    except OSError:
        columns = 80
    return max(min(columns, 100) - 2, 50)


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": _help_width()},
)
@click.version_option(VERSION, prog_name="golden", message="%(prog)s %(version)s")
def golden() -> None:
    """Record a run, verify it, run it again: the first thing that changed is named."""


def main() -> None:
    """Run the command line and exit with the code that the contract gives."""
    try:
        code = golden.main(prog_name="golden", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        # Nothing was asked for: the help page is the hint.
        click.echo(error.format_message(), err=True)
        code = 2
    except click.exceptions.Abort:
        code = _say("interrupted", None, 130)
    except KeyboardInterrupt:
        code = _say("interrupted", None, 130)
    except click.ClickException as error:
        code = _say(_lowered(error.format_message()), _usage_hint(error), 2)
    except _ReaderGoneError:
        # Neither 0 nor click's own 1: nobody may take an answer that was cut off for one. The shell's word for SIGPIPE.
        code = 141
    except Exception as error:  # noqa: BLE001  the last wall: no traceback reaches a user who did not ask for one
        code = _refused(error)
    sys.exit(code if isinstance(code, int) else 0)


def _refused(error: Exception) -> int:
    if "--debug" in sys.argv:
        import traceback

        traceback.print_exception(error)
    problem, hint = getattr(error, "problem", None), getattr(error, "hint", None)
    if problem is None and isinstance(error, OSError):
        _drop_output()
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "input or output"
        return _say(f"{place}: {error.strerror}", "check the disk and its permissions", 4)
    if problem is None:
        what = f"internal error: {type(error).__name__}"
        return _say(what, "run it again with --debug and report what it prints", 4)
    failure = getattr(error, "failure", None)
    codes = [code for kind, code in EXIT_CODES.items() if isinstance(error, kind)]
    verdict = getattr(error, "verdict", None)
    return _say(problem, hint, 4 if verdict == "unknown-key" else codes[0] if codes else 4, failure)


def _drop_output() -> None:
    # What is still buffered would be written, and fail again, at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say(problem: str, hint: str | None, code: int, failure: Any = None) -> int:
    from cli.render import error_lines

    with suppress(OSError, ValueError):
        for line in error_lines(problem, hint, failure):
            click.echo(line, err=True)
    return code


def _lowered(message: str) -> str:
    # click lists choices one a line, each behind a tab.
    message = message.rstrip(".").replace("\n\t", " ").replace("\n", " ")
    return message[:1].lower() + message[1:]


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'golden'} --help`"
