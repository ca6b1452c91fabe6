"""Recovering: the command that writes down what is wrong and cannot be mended: with the ledger, or with a dead run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import click

from cli.command import Session, command
from cli.confirm import agree, destructive
from cli.render import bold, counted, dim, mark, safe
from cli.repairing import VOUCH, close
from cli.running import tell
from golden.errors import GoldenError
from golden.repair import Damage, damage, start_ledger
from golden.repair import recover as take_note
from golden.store import Store, check_run_id
from golden.unfinished import open_unfinished
from replay.host import Host
from replay.progress import Saving
from replay.resuming import recover as end_run
from replay.skill import SkillRegistry


@command(
    """golden recover --dry-run
    golden recover --reason "lines forged on 2026-11-20, see INC-7" --yes
    golden recover report-1 --yes"""
)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--reason", metavar="TEXT", default="seen and taken note of", help="Why, for the ledger.")
@destructive
def recover(session: Session, run: str | None, reason: str, yes: bool, dry_run: bool) -> int:
    """Take note of what is wrong with the ledger, so that it is a finding no longer and can be written again.

    With RUN: end a run whose recorder died and that nobody will resume. It is sealed with the steps it has, as
    `interrupted`; nothing is run.

    Without: lines set aside are named and never count; what stands at the end without a good signature is cut off and
    kept in quarantine/; a ledger that this host has seen longer is said to be lost. Where it is gone, or its first line
    is damaged, a new one is begun that lists what an active key signed: after a leak make the new key first (`golden
    keys add --generate --active`), or what the thief signed is believed.
    """
    if run is not None:
        return _end(session, check_run_id(run), yes=yes, dry_run=dry_run)
    out, store = session.out, session.settings.store()
    found = damage(store)
    lines = _words(found)
    left = [one for one in start_ledger(store, reason, found, dry_run=True) if not one.listed] if found.begun else []
    lines += [f"run {one.run_id} is not listed: {one.problem}" for one in left]
    for line in lines:
        out.talk(f"  {safe(line)}")
    if left:
        out.talk(dim(f"  hint: {VOUCH}"))
    if not found.any:
        out.answer(f"{mark(good=True)} nothing to recover in {safe(store.folder)}")
    elif dry_run:
        out.answer(bold("dry run: nothing was done"))
    else:
        agree(out, _question(found, lines), yes=yes)
        take_note(store, found, reason)
        out.answer(f"{mark(good=True)} written down: {safe('; '.join(lines))}")
    out.record("recover", found=lines, reason=reason, dry_run=dry_run)
    close(session, store, 0, Counter({"recovered": len(lines)}), 0, dry_run=dry_run)
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


def _end(session: Session, run_id: str, *, yes: bool, dry_run: bool) -> int:
    """Seal a run whose recorder died and that nobody will resume; no code of it is run, nor loaded."""
    out, settings = session.out, session.settings
    store = settings.store()
    store.keyring.active  # noqa: B018  refuses where there is none
    what = None if os.path.exists(f"{store.file(run_id).place}.sig") else _about(store, run_id)
    if what is not None and dry_run:
        out.answer(f"would {safe(what)}")
    elif what is not None:
        agree(out, f"{what}? (`golden resume {run_id}` would go on with it)", yes=yes)
    if dry_run:
        out.answer(bold("dry run: nothing was done"))
        return 0
    saving = None
    try:
        saving = Saving(settings.open_checkpoints())
        saving.store.ping()
    except GoldenError as error:
        # The file is the truth; whoever looks at the checkpoints later finds it ended.
        saving = None
        out.talk(dim(f"note: its checkpoint stays as it is: {safe(error.problem)}"))
    with end_run(run_id, Host(SkillRegistry(), store, saving)) as recording:
        anchor = session.keep(store.read())
        tell(out, "recover", recording, store.file(run_id).place, anchor)
    return 0


def _about(store: Store, run_id: str) -> str:
    """Return in words what ending a dead run comes to; raises as `open_unfinished` does."""
    with open_unfinished(store, run_id) as past:
        what = f"seal run {run_id} with the {counted(past.count, 'event')} it has, as interrupted"
        if past.ended is not None:
            what = f"seal run {run_id}, which is {past.ended.status} and lacks nothing but its seal"
        if past.dropped is not None:
            what += f", and cut off {counted(past.dropped.bytes, 'byte')} of a line that was never finished"
    return what
