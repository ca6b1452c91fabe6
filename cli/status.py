"""Status: one screen of everything, and what to do next."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click
import msgspec

from cli.advice import Advice, advise, of_halt
from cli.command import Session, command
from cli.halves import Row, Runs, all_runs, checkpoints_option, tell_missing
from cli.moments import age, ago, seconds_between, span
from cli.render import bold, counted, dim, mark, safe
from cli.runs import is_stale
from cli.settings import Settings
from golden.errors import GoldenError, TamperedError
from golden.store import Store
from replay.controls import Halt

_MOST = 10
_NOTHING = Advice("nothing was recorded here yet", "golden record SPEC")
_NO_KEY = Advice("there is no key to sign with yet", "golden init")
_ALL_WELL = Advice(
    "nothing waits for anybody; whether the files are what was recorded is another question", "golden verify"
)


class _Part(msgspec.Struct):
    """One line of the screen: what is so, and whether that is good, bad or neither."""

    words: str
    good: bool | None = True
    error: GoldenError | None = None


@command(
    """golden status
    golden status --stale 10m
    golden status --json"""
)
@click.option("--stale", metavar="AGE", default="1h", help="After how long a silent run is told of.  [default: 1h]")
@checkpoints_option
def status(session: Session, stale: str, url: str | None) -> int:
    """Show everything on one screen: engine, keys, ledger, checkpoints, runs, and what to do next.

    Verifies no file: `golden verify` does. Exits 0 if all of it could be said, 3 if the ledger is tampered with, 4 if
    something could not be read.
    """
    out, settings = session.out, session.settings
    silent = ago(age(stale, "--stale"), "--stale")
    halts = settings.controls().in_force()
    keys, ledger = _trust(settings)
    runs = all_runs(settings, url)
    by = Counter(row.status for row in runs.rows)
    waiting = [row for row in runs.rows if row.is_dead or row.is_unsealed or is_stale(row, silent)]
    broken = [part.error for part in (keys, ledger) if part.error is not None]
    code = 3 if any(isinstance(error, TamperedError) for error in broken) else 4 if broken else runs.exit_code
    advice = _next(runs, halts, waiting, (keys, ledger))
    if out.json:
        out.record(
            "status",
            dir=settings.directory,
            halted=[msgspec.structs.asdict(halt) for halt in halts],
            golden_files=runs.files,
            keys=keys.words,
            ledger=ledger.words,
            checkpoints=settings.checkpoints_shown,
            checkpoints_count=runs.checkpoints,
            runs=len(runs.rows),
            by=dict(by),
            waiting=[_member(row) for row in waiting],
            missing=[{"problem": e.problem, "hint": e.hint} for e in [*broken, *runs.missing, *runs.bad]],
            next=msgspec.structs.asdict(advice),
            exit_code=code,
        )
        return code
    _tell_engine(session, halts)
    files = "cannot be read" if runs.files is None else f"{counted(runs.files, 'golden file')}"
    _line(session, "directory", f"{settings.directory}: {files}", good=runs.files is not None)
    _line(session, "keys", keys.words, good=keys.good)
    _line(session, "ledger", ledger.words, good=ledger.good)
    saved = "cannot be read" if runs.checkpoints is None else str(runs.checkpoints)
    _line(session, "checkpoints", f"{settings.checkpoints_shown}: {saved}", good=runs.checkpoints is not None)
    counts = ", ".join(f"{number} {word}" for word, number in sorted(by.items())) or "none"
    _line(session, "runs", counts, good=None if waiting or not runs.rows else True)
    for row in waiting[:_MOST]:
        heard = span(seconds_between(row.updated_at))
        what = row.standing if row.is_dead or row.is_unsealed else "silent"
        out.answer(f"  {mark(good=None)} {bold(safe(row.run_id))}  {what}, last heard of {heard} ago")
    if len(waiting) > _MOST:
        out.answer(dim(f"  and {len(waiting) - _MOST} more: golden list --stale {stale}"))
    tell_missing(session, [*broken, *runs.missing, *runs.bad])
    out.answer(f"{bold('next')}  {safe(advice.command or '-')}")
    out.answer(dim(f"  {safe(advice.why)}"))
    return code


def _trust(settings: Settings) -> tuple[_Part, _Part]:
    """Return what there is to say of the keys, and of the ledger, which nobody can judge without them."""
    try:
        store = settings.store()
        keys = _keys(store)
    except GoldenError as error:
        return _Part("cannot be used", good=False, error=error), _Part("not judged, for want of keys", good=None)
    try:
        directory = store.read()
    except GoldenError as error:
        return keys, _Part("cannot be read", good=False, error=error)
    if directory.finding is not None:
        return keys, _Part(
            f"{directory.finding.verdict}: {directory.finding.problem}", False, directory.finding.refusal()
        )
    if not directory.present:
        return keys, _Part("none", good=None)
    return keys, _Part(f"intact, {counted(directory.fold.lines, 'line')}")


def _keys(store: Store) -> _Part:
    entries = list(store.keyring)
    if not entries:
        return _Part("none: nothing can be recorded or verified", good=False)
    try:
        active = store.keyring.active.kid
    except GoldenError as error:
        return _Part(f"{counted(len(entries), 'key')}, {error.problem}", good=None)
    return _Part(f"{counted(len(entries), 'key')}, {active} signs")


def _next(runs: Runs, halts: list[Halt], waiting: list[Row], trust: tuple[_Part, _Part]) -> Advice:
    """Return the one thing to do first: what stops everything, then what is broken, then what waits."""
    if halts:
        return of_halt(halts[0])
    for part, first in zip(trust, ("golden config", "golden verify"), strict=True):
        if part.error is not None:
            return Advice(part.error.hint, first)
    if waiting:
        return advise(waiting[0])
    if runs.bad:
        return Advice(runs.bad[0].hint, "golden verify")
    went_on = {row.resumed_from for row in runs.rows}
    open_ends = [row for row in runs.rows if row.status not in {"completed", "running"} and row.run_id not in went_on]
    if not runs.rows and trust[0].good is False:
        return _NO_KEY
    if runs.missing:
        return Advice(runs.missing[0].hint, "golden config")
    if open_ends:
        return Advice(f"it ended as {open_ends[0].status}", f"golden inspect {open_ends[0].run_id}")
    return _ALL_WELL if runs.rows else _NOTHING


def _tell_engine(session: Session, halts: list[Halt]) -> None:
    _line(session, "engine", "stopped" if any(h.mode == "stop" for h in halts) else "drained" if halts else "may run",
          good=not halts)  # fmt: skip
    for halt in halts:
        session.out.answer(f"  {mark(good=False)} {safe(halt.problem)}")


def _line(session: Session, name: str, words: str, *, good: bool | None) -> None:
    session.out.answer(f"{mark(good)} {bold(name.ljust(11))}  {safe(words)}")


def _member(row: Row) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "status": row.status,
        "dead": row.is_dead,
        "unsealed": row.is_unsealed,
        "updated_at": row.updated_at,
    }
