"""Start: the commands of the first five minutes: see it work, record a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from cli.command import Session, command, later
from cli.demo.story import Story
from cli.inputs import given_inputs, input_options
from cli.render import Out, bold, counted, dim, failure_lines, mark, safe
from cli.usercode import TerminatedError, prepare
from golden.event import StepData
from golden.ledger import Anchor
from golden.recording import Recording
from replay.frames import Failure
from replay.runner import default_run_id
from replay.runner import record as recorded
from replay.skill import load_skills
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
    golden record specs/report.toml --inputs @inputs.json""",
    skills=True,
)
@click.argument("spec_path", metavar="SPEC", required=False)
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.option("--run-id", metavar="ID", help="The run's id.  [default: <spec id>-<UTC time>-<4 hex>]")
@click.option("--seed", type=int, metavar="INT", help="The run's seed.  [default: a fresh one]")
@input_options
@later("--function", value=True)
@later("--out", value=True)
def record(
    session: Session,
    spec_path: str | None,
    rest: tuple[str, ...],
    run_id: str | None,
    seed: int | None,
    **given: Any,
) -> int:
    """Run a spec and write its golden file, signed and sealed.

    Exits 0 if the run completed, 1 if it did not (a recorded failure is a good recording), 2 if it could not begin.
    """
    if rest:
        raise click.UsageError("recording a COMMAND is not supported yet; give one SPEC")
    if spec_path is None:
        raise click.UsageError("missing argument SPEC")
    out, settings = session.out, session.settings
    settings.refuse_stopped()
    spec = load_spec(Path(spec_path))
    store = settings.store()
    active = store.keyring.active
    run_id = default_run_id(spec.id) if run_id is None else run_id
    place = store.file(run_id).place
    # Wherever the run's code may leave us.
    path = os.path.abspath(place)
    ceilings = {
        name: settings.ceiling(f"DEFAULT_{name.upper()}") for name in ("step_ceiling_cents", "workflow_ceiling_cents")
    }
    environ, places = settings.user_environ(), settings.anchor_to
    inputs = given_inputs(**given)
    prepare(out)
    registry = load_skills(settings.values["skills"])
    code = 0
    try:
        recording = recorded(
            spec,
            registry,
            store=store,
            run_id=run_id,
            seed=seed,
            inputs=inputs,
            volatile=settings.values["volatile"],
            environ=environ,
            observer=_Progress(out),
            **ceilings,
        )
    except (KeyboardInterrupt, TerminatedError) as stop:
        code = 130 if isinstance(stop, KeyboardInterrupt) else 143
        if not os.path.exists(path):
            out.talk("golden: interrupted before the first event")
            raise SystemExit(code) from None
        recording = Recording.open(path, store.read())
    anchor = session.keep(store.read(), places)
    with recording:
        answer = _tell(session, recording, place, active.kid, anchor)
    return code or answer


class _Progress:
    """Tells each step as it is recorded."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def step(self, data: StepData, failure: Failure | None) -> None:
        """See `Observer`."""
        cost = f"  {data.cost_cents}¢" if data.cost_cents else ""
        self._out.talk(f"  {mark(data.success)} {safe(data.step_id)}{dim(cost)}")
        if failure:
            for line in failure_lines(failure):
                self._out.talk(line)
        elif data.error:
            self._out.talk(f"  {safe(data.error.type)}: {safe(data.error.message)}")
            if data.error.location:
                self._out.talk(f"    at {safe(data.error.location)}")

    def note(self, text: str) -> None:
        """See `Observer`."""
        self._out.talk(dim(f"  note: {safe(text)}"))


def _tell(session: Session, recording: Recording, place: str, kid: str, anchor: Anchor | None) -> int:
    out, start, end = session.out, recording.start, recording.end
    status = recording.statement.status
    good = status == "completed"
    completed, total = (end.steps_completed, end.steps_total) if end else (0, 0)
    out.record(
        "record",
        run_id=recording.run_id,
        path=place,
        status=status,
        seed=start.seed,
        spec_id=start.spec_id,
        spec_hash=start.spec_hash,
        events=recording.statement.events,
        steps_completed=completed,
        steps_total=total,
        total_cost_cents=end.total_cost_cents if end else 0,
        result_hash=end.result_hash if end else None,
        kid=kid,
        anchor=None if anchor is None else str(anchor),
    )
    steps = f"{completed} of {counted(total, 'step')}"
    out.answer(f"{mark(good)} {bold(safe(recording.run_id))}  {safe(status)}, {steps}, seed {start.seed}")
    out.answer(dim(f"  {safe(place)}, key {kid}"))
    out.detail(f"  spec hash {start.spec_hash}, result hash {end.result_hash if end else None}")
    if anchor is not None:
        out.detail(f"  {anchor}")
    out.detail(f"  {recording.statement.events} events, {recording.statement.bytes} bytes")
    return 0 if good else 1
