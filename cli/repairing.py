"""Repairing: what a responder does to runs and the ledger on purpose: set apart, take note, list."""

from __future__ import annotations

from collections import Counter

import click

from cli.command import Family, Session, command, run_option
from cli.confirm import agree, destructive
from cli.render import bold, counted, dim, mark, safe
from golden.errors import GoldenError
from golden.repair import quarantine as set_apart
from golden.repair import start_ledger
from golden.store import Store, check_run_id

DEFAULT_REASON = "set apart by hand"
VOUCH = "if their bytes are known to be good (backup, git), vouch for them: golden rotate --accept-unproven @FILE"


@command(
    """golden quarantine forged-1 --reason "signed with the leaked key" --yes
    golden quarantine forged-1 forged-2 --dry-run"""
)
@click.argument("runs", nargs=-1, metavar="RUN...")
@run_option
@click.option("--reason", metavar="TEXT", default=DEFAULT_REASON, help="Why, for the ledger.")
@destructive
def quarantine(
    session: Session, runs: tuple[str, ...], run_option: str | None, reason: str, yes: bool, dry_run: bool
) -> int:
    """Set runs apart: their files move into quarantine/ below the golden directory, and the ledger says so.

    Nothing is deleted. `golden verify` does not look there, and does not miss them.
    """
    out, store = session.out, session.settings.store()
    names = [check_run_id(name) for name in (*runs, *([] if run_option is None else [run_option]))]
    if not names:
        raise click.UsageError("give at least one RUN")
    for name in names:
        # All are there, or none is touched.
        set_apart(store, name, reason, dry_run=True)
    if not dry_run:
        agree(out, f"move {counted(len(names), 'run')} into quarantine: {', '.join(names)}?", yes=yes)
    for name in names:
        place = set_apart(store, name, reason, dry_run=dry_run)
        out.record("quarantine", run_id=name, outcome="quarantined", place=place, reason=reason, dry_run=dry_run)
        verb = "would move" if dry_run else "moved"
        out.answer(f"{mark(good=True)} {bold(safe(name))}  {verb} to {safe(store.folder)}/{place}")
    close(session, store, len(names), Counter({"quarantined": len(names)}), 0, dry_run=dry_run)
    return 0


ledger = Family("ledger", "Begin a ledger where there is none.", "golden ledger init --dry-run\n    golden ledger init")


@ledger.member(
    "init",
    """golden ledger init --dry-run
    golden ledger init""",
)
@click.option("--dry-run", is_flag=True, help="Say exactly what would be done, and do nothing.")
def init_ledger(session: Session, dry_run: bool) -> int:
    """Begin a ledger in a directory that has none, and list in it what verifies now by an active key's signature.

    What does not is named and not listed: `golden verify` will go on calling it `unlisted`. Exits 0 if all is listed,
    else like `golden verify`.
    """
    out, store = session.out, session.settings.store()
    by: Counter[str] = Counter()
    code, doubtful = 0, False
    for listed in start_ledger(store, "begun by `golden ledger init`", dry_run=dry_run):
        by["listed" if listed.listed else "left out"] += 1
        out.record(
            "ledger",
            run_id=listed.run_id,
            verdict=listed.verdict,
            listed=listed.listed,
            problem=listed.problem,
            dry_run=dry_run,
        )
        line = f"{mark(listed.listed)} {bold(safe(listed.run_id))}  {listed.verdict}"
        out.answer(line if listed.listed else f"{line}: {safe(listed.problem or '')}")
        code = code if listed.listed else 3
        doubtful |= not listed.listed and listed.verdict in {"intact", "live"}
    if doubtful:
        out.talk(dim(f"hint: {VOUCH}"))
    close(session, store, sum(by.values()), by, code, dry_run=dry_run)
    return code


def close(session: Session, store: Store, checked: int, by: Counter[str], code: int, *, dry_run: bool) -> None:
    """Keep the directory's anchor, show it, and end the answer for machines."""
    out = session.out
    anchor = None
    try:
        # The anchor of a dry run is that of what is not set right yet.
        anchor = None if dry_run else session.keep(store.read())
    except GoldenError as error:
        out.talk(dim(f"note: {safe(error.problem)}"))
    if anchor is not None:
        out.answer(dim(str(anchor)))
    out.summary(checked, dict(by), code, anchor=None if anchor is None else str(anchor), dry_run=dry_run)
