"""Stopping: the two commands of an emergency. They need a golden directory, and nothing else that may be broken."""

from __future__ import annotations

import os
from typing import Any

import click
import msgspec

from cli.command import Session, command
from cli.moments import seconds_between, span
from cli.render import bold, dim, mark, safe
from golden.errors import StoreError
from replay.controls import STOP_FILE, Halt, lift, read_stop, write_stop


@command(
    """golden stop --reason "INC-7: wrong prices"
    golden stop --drain --reason "release 1.4" """,
    emergency=True,
)
@click.option("--drain", is_flag=True, help="Let the runs under way end; only begin no new ones.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for whoever finds the engine stopped.")
def stop(session: Session, drain: bool, reason: str) -> int:
    """Stop the engine: every run ends before its next step, and none begins.

    Writes stop.json into the golden directory, which every run looks for before each step, without a restart. A run
    that is stopped is sealed as emergency_stopped and can be resumed. Needs no key, no database and no configuration;
    a second stop takes the place of the first. Exits 0 once the engine is stopped.
    """
    out, settings = session.out, session.settings
    folder = settings.directory
    new = not os.path.isdir(folder)
    before = read_stop(folder)
    now = write_stop(folder, "drain" if drain else "stop", reason)
    others = [halt for halt in settings.controls().in_force() if halt.origin != STOP_FILE]
    out.record(
        "stop", dir=folder, **msgspec.structs.asdict(now), previous=_members(before), others=[*map(_members, others)]
    )
    what = "runs under way go on to their end" if drain else "runs end before their next step"
    out.answer(f"{mark(good=True)} {bold('drained' if drain else 'stopped')}: {what}, none begins")
    out.answer(dim(f"  {safe(os.path.join(folder, STOP_FILE))}, by {safe(now.actor or '')}: {safe(reason)}"))
    if before is not None:
        out.answer(f"  it was halted before: {safe(before.problem)}")
    for halt in others:
        out.answer(f"  and besides: {safe(halt.problem)}")
    if new:
        out.talk(dim(f"  note: {safe(folder)} was not there and has been made; check --dir"))
    out.talk(dim("hint: `golden start` takes it back"))
    return 0


@command("golden start", emergency=True)
def start(session: Session) -> int:
    """Let runs begin again: take back what `golden stop` did, whoever did it.

    Runs that were stopped do not go on by themselves. Exits 0 if the engine may run, 4 if the environment halts it
    still, or there is no golden directory.
    """
    out, settings = session.out, session.settings
    folder = settings.directory
    if not os.path.isdir(folder):
        raise StoreError(f"there is no golden directory {folder}", hint="check --dir")
    found = lift(folder)
    seconds = seconds_between(found.at) if found else None
    left = settings.controls().in_force()
    out.record("start", dir=folder, lifted=_members(found), seconds=seconds, others=[*map(_members, left)])
    if found is None:
        out.answer(f"{mark(good=None)} there was nothing to take back: no {STOP_FILE} in {safe(folder)}")
    else:
        lasted = f", after {span(seconds)}" if seconds is not None else ""
        out.answer(f"{mark(good=True)} {bold('started')}: taken back{lasted}: {safe(found.problem)}")
    for halt in left:
        out.answer(f"{mark(good=False)} the engine is halted still: {safe(halt.problem)}")
        out.talk(dim(f"hint: {safe(halt.hint)}"))
    return 4 if left else 0


def _members(halt: Halt | None) -> dict[str, Any] | None:
    return None if halt is None else msgspec.structs.asdict(halt)
