"""Repairing: what a responder does to runs and the ledger on purpose: set apart, take note, list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from cli.command import Family, Session, command, run_option
from cli.confirm import agree, destructive
from cli.render import bold, counted, dim, mark, safe
from golden.errors import GoldenError
from golden.repair import Damage, damage, start_ledger
from golden.repair import quarantine as set_apart
from golden.repair import recover as take_note
from golden.store import Store, check_run_id

DEFAULT_REASON = "set apart by hand"
_VOUCH = "if their bytes are known to be good (backup, git), vouch for them: golden rotate --accept-unproven @FILE"


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
    _close(session, store, len(names), Counter({"quarantined": len(names)}), 0, dry_run=dry_run)
    return 0


@command(
    """golden recover --dry-run
    golden recover --reason "lines forged on 2026-11-20, see INC-7" --yes"""
)
@click.argument("run", required=False, metavar="")
@click.option("--reason", metavar="TEXT", default="seen and taken note of", help="Why, for the ledger.")
@destructive
def recover(session: Session, run: str | None, reason: str, yes: bool, dry_run: bool) -> int:
    """Take note of what is wrong with the ledger, so that it is a finding no longer and can be written again.

    Lines set aside are named and never count; what stands at the end without a good signature is cut off and kept in
    quarantine/; a ledger that this host has seen longer is said to be lost. Where it is gone, or its first line is
    damaged, a new one is begun that lists what an active key signed: after a leak make the new key first (`golden keys
    add --generate --active`), or what the thief signed is believed.
    """
    if run is not None:
        raise click.UsageError("recovering a single RUN is not supported yet")
    out, store = session.out, session.settings.store()
    found = damage(store)
    lines = _words(found)
    left = [one for one in start_ledger(store, reason, found, dry_run=True) if not one.listed] if found.begun else []
    lines += [f"run {one.run_id} is not listed: {one.problem}" for one in left]
    for line in lines:
        out.talk(f"  {safe(line)}")
    if left:
        out.talk(dim(f"  hint: {_VOUCH}"))
    if not found.any:
        out.answer(f"{mark(good=True)} nothing to recover in {safe(store.folder)}")
    elif dry_run:
        out.answer(bold("dry run: nothing was done"))
    else:
        agree(out, _question(found, lines), yes=yes)
        take_note(store, found, reason)
        out.answer(f"{mark(good=True)} written down: {safe('; '.join(lines))}")
    out.record("recover", found=lines, reason=reason, dry_run=dry_run)
    _close(session, store, 0, Counter({"recovered": len(lines)}), 0, dry_run=dry_run)
    return 0


def _question(found: Damage, lines: Sequence[str]) -> str:
    count, kids = counted(sum(found.strangers.values()), "line"), ", ".join(found.strangers)
    cut = f", and cut off {count} by {kids}, whoever that is" if found.strangers else ""
    return f"write down: {safe('; '.join(lines))}{cut}?"


def _words(found: Damage) -> list[str]:
    words = []
    if found.begun:
        what = f"the ledger of {counted(found.lost.lines, 'line')}" if found.lost else "the ledger"
        state = "cannot be read from its first line on" if found.dropped else "is gone"
        words.append(f"{what} {state}: a new one is begun with what an active key signed")
    elif found.lost:
        words.append(f"this host has seen the ledger with {counted(found.lost.lines, 'line')}: they are lost")
    if found.dropped and found.begun:
        words.append(f"{counted(len(found.dropped), 'byte')} of the old one are kept in quarantine/")
    elif found.dropped:
        words.append(f"{counted(len(found.dropped), 'byte')} at its end are no good line: cut off, kept in quarantine/")
        words += [
            f"{counted(count, 'line')} of these by key {kid}, which the keyring does not name"
            for kid, count in found.strangers.items()
        ]
    for span in found.lines:
        one = span.first == span.last
        which = f"line {span.first + 1} has" if one else f"lines {span.first + 1} to {span.last + 1} have"
        words.append(f"{which} no effect")
    words += [f"run {run.run_id} was sealed, which the ledger does not know yet" for run in found.unfinished]
    return words


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
        out.talk(dim(f"hint: {_VOUCH}"))
    _close(session, store, sum(by.values()), by, code, dry_run=dry_run)
    return code


def _close(session: Session, store: Store, checked: int, by: Counter[str], code: int, *, dry_run: bool) -> None:
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
