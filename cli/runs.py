"""Runs: the commands that show many runs at once, from checkpoints and golden files, whichever there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import click
import msgspec

from cli.command import Session, command
from cli.halves import Row, all_runs, checkpoints_option, tell_missing, told
from cli.moments import age, ago, seconds_between, span
from cli.render import aligned, bold, counted, dim, mark, safe
from replay.checkpoints.contract import RUNNING, STATUSES

Function = Callable[..., Any]
_BAR = 24


def _called(name: str) -> Callable[[Function], Function]:
    """Return a decorator that gives a function a name which Python keeps to itself; the command is called so."""

    def rename(function: Function) -> Function:
        function.__name__ = name
        return function

    return rename


@command(
    """golden list
    golden list --status failed --limit 20
    golden list --stale 1h
    golden list --json"""
)
@click.option(
    "--status", type=click.Choice(STATUSES), metavar="STATUS", help=f"Only runs that are {', '.join(STATUSES)}."
)
@click.option(
    "--stale", metavar="AGE", help="Only running ones that nothing was heard of for so long: 90s, 10m, 1h, 2d."
)
@click.option("--limit", type=click.IntRange(0), default=100, metavar="N", help="At most so many.  [default: 100]")
@checkpoints_option
@_called("list")
def list_(session: Session, status: str | None, stale: str | None, limit: int, url: str | None) -> int:
    """List runs, newest first.

    Checkpoints and golden files are brought together as they say of themselves; `golden verify` says what the files are
    worth. A run that was killed is `running`, and dead where nobody writes it. Exits 0 if both could be read, 4 if not:
    what could be read is shown.
    """
    silent = None if stale is None else ago(age(stale, "--stale"), "--stale")
    if silent is not None and status not in (None, RUNNING):
        raise click.UsageError("--stale is about running runs")
    runs = all_runs(session.settings, url)
    rows = [row for row in runs.rows if status in (None, row.status) and (silent is None or is_stale(row, silent))]
    shown = rows[:limit]
    _show(session, shown)
    tell_missing(session, [*runs.missing, *runs.bad])
    by = Counter(row.status for row in rows)
    if not session.out.json:
        counts = ", ".join(f"{number} {word}" for word, number in sorted(by.items()))
        left = f", the newest {len(shown)} shown" if len(shown) < len(rows) else ""
        session.out.answer(bold(f"{counted(len(rows), 'run')}{': ' if counts else ''}{counts}") + dim(left))
    session.out.summary(len(rows), dict(by), runs.exit_code, missing=told(runs))
    return runs.exit_code


@command(
    """golden stats
    golden stats report
    golden stats report -n 50 --json"""
)
@click.argument("spec_id", metavar="[SPEC_ID]", required=False)
@click.option(
    "-n", "--last", "count", type=click.IntRange(0), default=10, metavar="N", help="How many of the last runs."
)
@checkpoints_option
def stats(session: Session, spec_id: str | None, count: int, url: str | None) -> int:
    """Count how the runs of a spec ended, and show the last ones with time and cost.

    Without SPEC_ID, of all specs. From checkpoints and golden files as they say of themselves. Exits 0 if both could be
    read, 4 if not, or if there is no such run.
    """
    out, runs = session.out, all_runs(session.settings, url)
    rows = [row for row in runs.rows if spec_id in (None, row.workflow_id)]
    code = runs.exit_code if rows else 4
    by = Counter(row.status for row in rows)
    what = f"{safe(spec_id)}: " if spec_id else ""
    out.answer(bold(f"{what}{counted(len(rows), 'run')}"))
    width = max(map(len, by), default=0)
    for status, number in sorted(by.items(), key=lambda pair: (-pair[1], pair[0])):
        share = number / len(rows)
        bar = "█" * max(1, round(share * _BAR))
        out.answer(f"  {_mark(status)} {safe(status).ljust(width)} {number:>6} {share:>5.0%}  {dim(bar)}")
    last = rows[:count]
    if last:
        out.answer(bold(f"last {counted(len(last), 'run')}") if len(last) > 1 else bold("last run"))
    _show(session, last, long=True)
    if not rows:
        out.talk(dim("hint: `golden list` shows the runs there are"))
    tell_missing(session, [*runs.missing, *runs.bad])
    out.summary(len(rows), dict(by), code, missing=told(runs))
    return code


globals()["list"] = list_


def members_of(row: Row) -> dict[str, Any]:
    """Return what a machine is told of a run."""
    return {**msgspec.structs.asdict(row), "dead": row.is_dead, "duration_seconds": row.seconds}


def _show(session: Session, rows: list[Row], *, long: bool = False) -> None:
    out = session.out
    if out.json:
        for row in rows:
            out.record(out.command, **members_of(row))
        return
    for row, (name, *rest) in zip(rows, aligned([_cells(row, long=long) for row in rows]), strict=True):
        out.answer(f"{_mark(row.status)} {bold(name)}  {'  '.join(rest)}".rstrip())


def _cells(row: Row, *, long: bool) -> list[str]:
    """Return what a line says of a run: its id, status, spec and step; then cost and time, or the ages."""
    cells = [safe(row.run_id), safe(row.standing), safe(row.workflow_id or "-"), steps_of(row)]
    begun = span(seconds_between(row.started_at))
    if long:
        return [*cells, _cents(row.total_cost_cents), f"took {span(row.seconds)}", f"{begun} ago"]
    heard = f"heard of {span(seconds_between(row.updated_at))} ago" if row.status == RUNNING else ""
    return [*cells, f"{begun} ago", heard]


def steps_of(row: Row) -> str:
    """Return how far a run came, as `3 of 4 steps`."""
    if row.steps_completed is None:
        return "-" if row.next_step_index is None else f"at step {row.next_step_index}"
    return f"{row.steps_completed} of {row.steps_total if row.steps_total is not None else '?'} steps"


def _cents(cents: int | None) -> str:
    return "-" if cents is None else f"{cents}¢"


def _mark(status: str) -> str:
    return mark(None if status == RUNNING else status == "completed")


def is_stale(row: Row, since: str) -> bool:
    """Whether a run is running and nothing was heard of it since a moment."""
    return row.status == RUNNING and (row.updated_at or "") <= since
