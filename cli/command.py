"""Command: what every command has: the common options, the settings in force, and where its words go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from cli.render import Out, dim, safe
from cli.settings import Settings
from golden.anchors import keep
from golden.directory import Directory
from golden.ledger import Anchor

Function = Callable[..., Any]


class Session:
    """What a command is called with besides its own parameters."""

    def __init__(self, settings: Settings, out: Out) -> None:
        self.settings = settings
        self.out = out

    def keep(self, directory: Directory, places: Sequence[str] | None = None) -> Anchor | None:
        """Keep a directory's anchor wherever this host is told to, say where that fails, and return it."""
        anchor = directory.anchor
        places = self.settings.anchor_to if places is None else places
        if anchor is not None and places:
            for note in keep(anchor, places, directory.folder, self.settings.user_environ()):
                self.out.talk(dim(f"note: {safe(note)}"))
        return anchor


class Examples(click.Command):
    """A command whose epilog keeps its line breaks, so that examples stay examples."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they stand."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


class Family(Examples, click.Group):
    """A command made of commands, like `golden keys add`, which answer with one schema.

    Args:
        name: what the family is called, and its schema.
        about: its help text.
        examples: one a line.
    """

    def __init__(self, name: str, about: str, examples: str) -> None:
        super().__init__(name, help=about, epilog=examples, subcommand_metavar="COMMAND [ARGS]...")

    def member(self, name: str, examples: str) -> Callable[[Function], click.Command]:
        """Return a decorator that makes a function taking a Session first a command of the family."""

        def decorate(function: Function) -> click.Command:
            found = command(examples, schema=self.name)(function)
            self.add_command(found, name)
            return found

        return decorate

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name the commands in the order in which they were made."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with; what is none is not repeated, for it may be a secret."""
        if args[0] not in self.commands:
            raise click.UsageError(f"`{ctx.command_path}` takes one of the commands {', '.join(self.commands)}", ctx)
        return super().resolve_command(ctx, args)


def command(
    examples: str,
    *,
    skills: bool = False,
    directory: str = "The golden directory.  [default: .golden]",
    schema: str | None = None,
    emergency: bool = False,
    cls: type[click.Command] = Examples,
) -> Callable[[Function], click.Command]:
    """Return a decorator that makes a click command of a function taking a Session first.

    One for an `emergency` needs no more of the settings than where the golden directory is; `cls` parses its arguments.
    """

    def decorate(function: Function) -> click.Command:
        @wraps(function)
        def call(**options: Any) -> Any:
            out = Out(
                command=schema or function.__name__,
                json=options.pop("json"),
                quiet=options.pop("quiet"),
                verbose=options.pop("verbose"),
            )
            options.pop("debug")
            settings = Settings(
                dir=options.pop("dir"),
                keyring=options.pop("keyring"),
                skills=options.pop("skills", ()),
                emergency=emergency,
            )
            settings.tell = lambda text: out.talk(dim(f"note: {safe(text)}"))
            return function(Session(settings, out), **options)

        found: Any = call
        # The command's own options stand before the common ones: click lists them from the last to the first.
        own, found.__click_params__ = getattr(function, "__click_params__", []), []
        for option in reversed(_common(skills, directory)):
            found = option(found)
        found.__click_params__ += own
        return click.command(cls=cls, epilog=examples)(found)

    return decorate


def run_option(function: Function) -> Function:
    """Accept `--run RUN` beside the argument RUN, as the AOS runbook writes it."""
    return click.option("--run", "run_option", metavar="RUN", hidden=True, help="The same as the argument RUN.")(
        function
    )


def only_run(argument: str | None, option: str | None) -> str:
    """Return the one RUN that was given; raises click.UsageError."""
    given = [run for run in (argument, option) if run]
    if len(given) != 1:
        raise click.UsageError("give one RUN: a run id, or a path with a `/` or the suffix .jsonl")
    return given[0]


def _common(skills: bool, directory: str) -> list[Callable[[Function], Function]]:
    named = click.option(
        "--skills",
        multiple=True,
        metavar="MODULE",
        help="Skills: MODULE[:ATTR] or a .py file. Repeatable; later ones win.",
    )
    return [
        *([named] if skills else []),
        click.option("--dir", metavar="DIR", help=directory),
        click.option("--keyring", metavar="FILE", help="The keyring file.  [default: golden-keyring.toml]"),
        click.option("--json", is_flag=True, help="One JSON object per line on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Nothing beside the answer."),
        click.option("-v", "--verbose", is_flag=True, help="More beside the answer."),
        click.option("--debug", is_flag=True, help="A traceback where the program itself fails."),
    ]
