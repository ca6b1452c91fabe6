"""Commands: `golden record -- COMMAND`, and what lets the commands of a recording be run: options, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from cli.command import Examples
from cli.render import Out, dim, mark, safe
from cli.running import Watching
from cli.settings import Settings
from golden.canonical import decode
from golden.errors import UsageError
from golden.event import StepData
from replay.child import CommandError
from replay.command import USUAL, asked_of, files_among, how_ended, one_command
from replay.frames import Failure
from replay.permission import Permit
from replay.spec import Spec

Function = Callable[..., Any]
_env = click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME",
    help=f"A variable that commands see, besides {', '.join(USUAL)}. Repeatable.",
)


def command_options(function: Function) -> Function:
    """Add what `golden record -- COMMAND` takes before the `--`."""
    for option in (
        _env,
        click.option("--out", "outputs", multiple=True, metavar="FILE", help="A file that COMMAND writes. Repeatable."),
        click.option(
            "--in",
            "read",
            multiple=True,
            metavar="FILE",
            help="A file that COMMAND reads, besides those among its words. Repeatable.",
        ),
    ):
        function = option(function)
    return function


def permit_options(function: Function) -> Function:
    """Add what lets the commands of a recording be run."""
    allow = click.option(
        "--allow-exec", "allowed", is_flag=True, help="Run the commands (exec.run) that the recording names."
    )
    return allow(_env(function))


def permit_of(settings: Settings, variables: tuple[str, ...], *, allowed: bool, named: bool) -> Permit:
    """Return what was allowed by flag or environment; `named` says that the spec in force was given by --spec."""
    handed = {*USUAL, *variables}
    environ = {name: value for name, value in settings.user_environ().items() if name in handed}
    return Permit(allowed or settings.allow_exec, named, environ)


class BeforeDashes(Examples):
    """A command that is given what stands after the first `--` as `argv`: None where there is no `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before the first `--`."""
        own, dashes, rest = args, "--" in args, []
        if dashes:
            at = args.index("--")
            own, rest = args[:at], args[at + 1 :]
        left = super().parse_args(ctx, own)
        ctx.params["argv"] = tuple(rest) if dashes else None
        return left


def spec_of(argv: tuple[str, ...], read: tuple[str, ...], outputs: tuple[str, ...], env: tuple[str, ...]) -> Spec:
    """Return the spec of one step that runs a command; raises click.UsageError."""
    files = [name for name in files_among(argv) if name not in outputs]
    document = one_command(argv, list(dict.fromkeys([*files, *read])), outputs, env)
    try:
        asked_of(document["steps"][0]["inputs"])
    except CommandError as error:
        raise click.UsageError(str(error)) from None
    return Spec(document, source="the command")


def refuse_secrets(settings: Settings, words: Iterable[str]) -> None:
    """Raise UsageError where a word that would be recorded holds a secret of this host's keys."""
    secrets = {name: secret.decode("utf-8", "surrogateescape") for name, _, secret in settings.pool.given()}
    secrets |= {name: settings.environ.get(name, "") for name in settings.sources.variables}
    told = "\n".join(words)
    for name, secret in secrets.items():
        if secret and secret in told:
            raise UsageError(f"the secret of {name} would be recorded", hint="leave it out: no run is given it")


class WatchingCommand(Watching):
    """Tells the one step of a command with what the command wrote, and whether it succeeded."""

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._to = out
        self.succeeded = False

    def step(self, data: StepData, failure: Failure | None) -> None:
        """See `Observer`."""
        if data.success:
            self._tell(data)
        else:
            super().step(data, failure)
        self.note("what a command asks the network, and what it does outside its files, is not recorded")

    def _tell(self, data: StepData) -> None:
        told = decode(data.output)
        missing = [path for path, digest in told["outputs"].items() if digest is None]
        self.succeeded = told["exit_code"] == 0 and not missing
        self._to.talk(f"  {mark(self.succeeded)} {data.step_id}")
        for name in ("stdout", "stderr"):
            self._show(name, told[name])
        if told["exit_code"]:
            self.note(f"the command failed: {how_ended(told['exit_code'])}")
        for path in missing:
            self.note(f"the command has not written {path}")

    def _show(self, name: str, written: Any) -> None:
        long = isinstance(written, dict) and "head" in written
        shown = written["head"] if long else written
        if isinstance(shown, str):
            for line in shown.removesuffix("\n").split("\n") if shown else ():
                self._to.talk(safe(line))
        else:
            self._to.talk(dim(f"  {name} is no text"))
        if long:
            self._to.talk(dim(f"  … {written['bytes']} bytes of {name} in all, of which the recording has the hash"))
