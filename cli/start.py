"""Start: the commands of the first five minutes: see it work, record a run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from cli.command import Session, command
from cli.commands import BeforeDashes, WatchingCommand, command_options, refuse_secrets, spec_of
from cli.demo.story import Story
from cli.inputs import given_inputs, input_options
from cli.render import counted, dim, safe
from cli.running import Running, running_options
from replay.runner import default_run_id
from replay.runner import record as recorded
from replay.spec import load_spec


@command(
    """golden demo
    golden demo --dir weather-demo""",
    directory="Where its files go, and stay.  [default: a temporary directory]",
)
def demo(session: Session) -> int:
    """See it work: record, replay, a change of code, a flipped byte, a leaked key, on four years of real weather data.

    Runs real commands and shows each. Needs no configuration; with --dir the files stay there to look around in, else
    they are removed at the end.
    """
    out, settings = session.out, session.settings
    kept = settings.origins["dir"] == "--dir"
    folder = Path(settings.directory if kept else tempfile.mkdtemp(prefix="golden-demo-"))
    story = Story(out, folder, settings.environ)
    try:
        story.tell()
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    seconds = sum(command.seconds for command in story.told)
    where = "`golden demo --dir DIR` keeps the files"
    if kept:
        where = f"the files are in {safe(str(folder))}\nlook around there after `. ./settings.sh`"
    out.answer(dim(f"{counted(len(story.told), 'command')} in {seconds:.1f} s; {where}"))
    return 0


@command(
    """golden record specs/report.json --skills skills.py
    golden record specs/report.json --run-id report-1 --seed 7 --input city=Oslo
    golden record specs/report.toml --inputs @inputs.json
    golden record specs/report.json --concurrency 4 --workflow-ceiling 500
    golden record --function agent.py:agent --input question="How warm is it?"
    golden record --out sorted.csv -- sort -o sorted.csv data.csv""",
    skills=True,
    cls=BeforeDashes,
)
@click.argument("spec_path", metavar="SPEC | -- COMMAND...", required=False)
@click.option("--run-id", metavar="ID", help="The run's id.  [default: <spec id>-<UTC time>-<4 hex>]")
@click.option("--seed", type=int, metavar="INT", help="The run's seed.  [default: a fresh one]")
@input_options
@running_options
@command_options
def record(
    session: Session,
    *,
    spec_path: str | None,
    argv: tuple[str, ...] | None,
    read: tuple[str, ...],
    outputs: tuple[str, ...],
    variables: tuple[str, ...],
    run_id: str | None,
    seed: int | None,
    pairs: tuple[str, ...],
    document: str | None,
    function_name: str | None,
    **how: Any,
) -> int:
    """Run a spec, a plain Python function, or one command, and write the golden file, signed and sealed.

    What a function calls by `@step` and `@external` is recorded with it; its inputs are its arguments.

    Secrets that spec or configuration declare (`redact`) never reach the file; -v counts them. What looks like a secret
    and is not declared is refused.

    COMMAND is run as it is, without a shell. Files below the working directory that are among its words are what it
    reads: a replay needs them unchanged. What it asks the network is not recorded.

    Exits 0 if the run completed, or COMMAND succeeded, 1 if not (a recorded failure is a good recording), 2 if it could
    not begin, 4 if it had to be left unfinished; `golden resume` goes on with one that failed, was stopped or was
    killed.
    """
    if argv is None and (read or outputs or variables):
        raise click.UsageError("--in, --out and --env are about a COMMAND: give one after `--`")
    if [spec_path, argv, function_name].count(None) != 2:  # noqa: PLR2004  one of three
        raise click.UsageError("give one SPEC, or --function, or `--` and a COMMAND")
    if argv == ():
        raise click.UsageError("there is no COMMAND after `--`")
    session.settings.refuse_stopped()
    spec = None
    if function_name is None:
        spec = spec_of(argv, read, outputs, variables) if argv else load_spec(Path(spec_path or ""))
    running = Running(session, function_name=function_name, **how)
    running.store.keyring.active  # noqa: B018  refuses where there is none, before any code is loaded
    refuse_secrets(session.settings, [*(argv or ()), *pairs, document or ""])
    name = default_run_id(spec.id if spec else str(function_name).rpartition(":")[2]) if run_id is None else run_id
    running.store.file(name)
    inputs = given_inputs(pairs, document)
    host = running.host()
    what: Any = spec or running.function
    watching = WatchingCommand(session.out) if argv else None
    code = running.run(
        "record",
        lambda: recorded(
            what,
            host.registry,
            store=host.store,
            run_id=name,
            seed=seed,
            inputs=inputs,
            step_ceiling_cents=running.ceilings.step,
            workflow_ceiling_cents=running.ceilings.budget(
                spec.budget_ceiling_cents if spec else None
            ).workflow_ceiling,
            policy=running.policy,
            volatile=session.settings.values["volatile"],
            redact=session.settings.values["redact"],
            allow_secrets=host.allow_secrets,
            checkpoints=host.saving,
            controls=host.controls,
            concurrency=host.width,
            environ=host.environ,
            observer=watching or host.observer,
            guard=host.guard,
        ),
        lambda: name,
    )
    return code or int(watching is not None and not watching.succeeded)
