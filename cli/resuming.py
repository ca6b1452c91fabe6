"""Resuming: the commands that go on with a run that was killed, stopped or failed, and that branch one off."""

from __future__ import annotations

from typing import Any

import click

from cli.command import Session, command, only_run, run_option
from cli.commands import permit_of, permit_options
from cli.inputs import given_inputs, input_options
from cli.render import safe
from cli.running import Running, running_options
from golden.errors import UsageError
from golden.store import check_run_id
from replay.current_specs import CurrentSpecs
from replay.lineage import latest
from replay.permission import Permit
from replay.resuming import CHANGES, Terms
from replay.resuming import fork as forked
from replay.resuming import resume as resumed

_accept = click.option(
    "--accept-change",
    "accepted",
    multiple=True,
    type=click.Choice(CHANGES),
    help="Go on although that is not what it was; noted in the recording. Repeatable.",
)
_spec = click.option("--spec", "spec_path", metavar="FILE", help="The spec as it is now.  [default: as in replay]")


@command(
    """golden resume report-1
    golden resume report-1 --accept-change code
    golden resume report-1 --from 7
    golden resume report-1 --from-file""",
    skills=True,
)
@click.argument("run", metavar="RUN", required=False)
@run_option
@_accept
@_spec
@click.option("--from", "checkpoint", metavar="ID|latest", help="The checkpoint to go on from.  [default: latest]")
@click.option("--from-file", is_flag=True, help="Believe the golden file alone, whatever the checkpoints say.")
@input_options
@running_options
@permit_options
def resume(
    session: Session,
    *,
    run: str | None,
    run_option: str | None,
    accepted: tuple[str, ...],
    spec_path: str | None,
    checkpoint: str | None,
    from_file: bool,
    pairs: tuple[str, ...],
    document: str | None,
    allowed: bool,
    variables: tuple[str, ...],
    function_name: str | None,
    **how: Any,
) -> int:
    """Go on with a run: what was recorded is not run again, and not paid for again.

    A run that was killed goes on in its own file. One that failed or was stopped goes on at that step in a new run,
    RUN.r1, that carries over what succeeded; so does one whose spec or inputs changed. What was redacted in the run
    inputs must be given by --input; what was in outputs is in the checkpoints. Printed last is the id of the
    run that went on. Exits as `golden record` does; 4 if something changed that was not accepted, if the golden file
    cannot be believed, or if its checkpoint is ahead of it.
    """
    session.settings.refuse_resume_disabled()
    session.settings.refuse_stopped()
    run_id = check_run_id(only_run(run, run_option))
    running = Running(session, function_name=function_name, **how)
    running.store.keyring.active  # noqa: B018  refuses where there is none, before any code is loaded
    permit = permit_of(session.settings, variables, allowed=allowed, named=spec_path is not None)
    terms = _terms(running, accepted, spec_path, given_inputs(pairs, document), permit, _checkpoint(checkpoint))
    host = running.host(goes_on=True, saving=not from_file)
    code = running.run("resume", lambda: resumed(run_id, host, terms), lambda: latest(host.store, run_id))
    session.out.answer(safe(running.run_id or run_id))
    return code


@command(
    """golden fork report-1 --at rank --run-id report-other
    golden fork report-1 --at rank --run-id report-other --accept-change code""",
    skills=True,
)
@click.argument("run", metavar="RUN", required=False)
@run_option
@click.option("--at", "step", required=True, metavar="STEP", help="The first step that is run anew.")
@click.option("--run-id", "new_id", required=True, metavar="NEW", help="The id of the new run.")
@_accept
@_spec
@input_options
@running_options
@permit_options
def fork(
    session: Session,
    *,
    run: str | None,
    run_option: str | None,
    step: str,
    new_id: str,
    accepted: tuple[str, ...],
    spec_path: str | None,
    pairs: tuple[str, ...],
    document: str | None,
    allowed: bool,
    variables: tuple[str, ...],
    function_name: str | None,
    **how: Any,
) -> int:
    """Begin a new run with what RUN had recorded before a step, and go on live from there.

    The seed is that of RUN. What was redacted in the run inputs must be given by --input. Exits as `golden record`
    does; 4 if something changed that was not accepted, or if RUN is not intact.
    """
    session.settings.refuse_resume_disabled()
    session.settings.refuse_stopped()
    run_id = check_run_id(only_run(run, run_option))
    running = Running(session, function_name=function_name, **how)
    running.store.keyring.active  # noqa: B018  refuses where there is none, before any code is loaded
    running.store.file(new_id)
    permit = permit_of(session.settings, variables, allowed=allowed, named=spec_path is not None)
    terms = _terms(running, accepted, spec_path, given_inputs(pairs, document), permit)
    host = running.host(goes_on=True)
    return running.run("fork", lambda: forked(run_id, step, new_id, host, terms), lambda: new_id)


def _terms(
    running: Running,
    accepted: tuple[str, ...],
    spec_path: str | None,
    given: dict[str, Any],
    permit: Permit,
    checkpoint: int | None = None,
) -> Terms:
    """Return on what terms a run goes on; its spec as it is now is the one that a replay would compare it with."""
    specs = CurrentSpecs(running.session.settings.values["specs"], spec_path)
    specs.load()
    return Terms(
        current=specs.of,
        inputs=given or None,
        accepted=tuple(change for change in CHANGES if change in accepted),
        checkpoint=checkpoint,
        policy=running.policy,
        step_ceiling_cents=running.asked[0],
        workflow_ceiling_cents=running.asked[1],
        permit=permit,
    )


def _checkpoint(text: str | None) -> int | None:
    if text in {None, "latest"}:
        return None
    if not (text and text.isascii() and text.isdecimal()) or int(text) < 1:
        raise UsageError(f"{text!r} is no checkpoint id", hint="see `golden checkpoints show RUN`; `latest` is one")
    return int(text)
