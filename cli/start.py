"""Start: the commands of the first five minutes: see it work, record a run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from cli.command import Session, command, later
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
    golden record specs/report.json --concurrency 4 --workflow-ceiling 500""",
    skills=True,
)
@click.argument("spec_path", metavar="SPEC", required=False)
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.option("--run-id", metavar="ID", help="The run's id.  [default: <spec id>-<UTC time>-<4 hex>]")
@click.option("--seed", type=int, metavar="INT", help="The run's seed.  [default: a fresh one]")
@input_options
@running_options
@later("--function", value=True)
@later("--out", value=True)
def record(
    session: Session,
    spec_path: str | None,
    rest: tuple[str, ...],
    run_id: str | None,
    seed: int | None,
    pairs: tuple[str, ...],
    document: str | None,
    **how: Any,
) -> int:
    """Run a spec and write its golden file, signed and sealed.

    Exits 0 if the run completed, 1 if it did not (a recorded failure is a good recording), 2 if it could not begin, 4
    if it had to be left unfinished; `golden resume` goes on with one that failed, was stopped or was killed.
    """
    if rest:
        raise click.UsageError("recording a COMMAND is not supported yet; give one SPEC")
    if spec_path is None:
        raise click.UsageError("missing argument SPEC")
    session.settings.refuse_stopped()
    spec = load_spec(Path(spec_path))
    running = Running(session, **how)
    running.store.keyring.active  # noqa: B018  refuses where there is none, before any code is loaded
    name = default_run_id(spec.id) if run_id is None else run_id
    running.store.file(name)
    inputs = given_inputs(pairs, document)
    host = running.host()
    return running.run(
        "record",
        lambda: recorded(
            spec,
            host.registry,
            store=host.store,
            run_id=name,
            seed=seed,
            inputs=inputs,
            step_ceiling_cents=running.ceilings.step,
            workflow_ceiling_cents=running.ceilings.budget(spec.budget_ceiling_cents).workflow_ceiling,
            policy=running.policy,
            volatile=session.settings.values["volatile"],
            checkpoints=host.saving,
            controls=host.controls,
            concurrency=host.width,
            environ=host.environ,
            observer=host.observer,
            guard=host.guard,
        ),
        lambda: name,
    )
