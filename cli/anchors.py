"""Anchors: the command that finds the anchors which were kept, for whoever must choose one in a hurry."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import click

from cli.command import Session, command
from cli.render import bold, counted, dim, mark, safe
from golden.anchors import Found, Kept, known
from golden.clock import timestamp

_WORDS = {
    "yes": "the ledger extends it",
    "no": "THE LEDGER DOES NOT EXTEND IT",
    "other directory": "THE LEDGER IS OF ANOTHER DIRECTORY",
    None: "no ledger here says whose it is",
}
_GOOD = {"yes": True, "no": False, "other directory": False, None: None}
_TAMPERED = {"tampered", "rolled-back", "missing", "revoked-key"}


@command(
    """golden anchors
    golden anchors --before 2026-01-01T03:00:00Z
    golden anchors --json"""
)
@click.option(
    "--before",
    metavar="TIME",
    help="Only those stored before TIME, like 2026-01-01T03:00:00Z; without Z it is UTC too.",
)
@click.option(
    "-n", "--number", default=10, type=click.IntRange(1), metavar="N", help="How many to show.  [default: 10]"
)
def anchors(session: Session, before: str | None, number: int) -> int:
    """Show the anchors of the golden directory, newest first.

    Looks where anchor_to names git or files, in git's history of the ledger, and in this host's memory. After a leak
    take the newest one stored before the earliest possible leak: --before TIME puts it on top. Exits 0 if one is found,
    3 if the ledger does not extend one of them or one cannot have been stored when its place says, 4 if there is none.
    """
    settings, out = session.settings, session.out
    limit = _moment(before) if before else None
    directory = settings.store().read()
    found = known(directory, settings.anchor_to, settings.user_environ())
    chosen = [one for one in found.kept if limit is None or _before(one, limit)]
    finding = directory.finding
    # Of all, chosen or not: a ledger that was rolled back is no matter of taste.
    bad = any(_GOOD[one.extends] is False or not one.possible for one in found.kept)
    bad = bad or (finding is not None and finding.verdict in _TAMPERED)
    code = 3 if bad else 0 if any(one.extends for one in chosen) else 4
    for one in chosen:
        out.record(
            "anchors",
            anchor=str(one.anchor),
            dir_id=one.anchor.dir_id,
            lines=one.anchor.lines,
            stored=one.stored,
            timestamp=one.timestamp,
            runs=one.runs,
            kid=one.kid,
            where=list(one.where),
            extends=one.extends,
            possible=one.possible,
        )
    by = Counter(str(one.extends or "unknown") for one in chosen)
    out.summary(len(chosen), dict(by), code, lines=found.lines, notes=list(found.notes))
    for one in chosen[:number]:
        _show(session, one, found.lines)
    if len(chosen) > number:
        out.answer(dim(f"… and {len(chosen) - number} older: -n {len(chosen)} shows all"))
    for note in found.notes:
        out.talk(dim(f"note: {safe(note)}"))
    if finding is not None:
        out.talk(f"{mark(False)} ledger: {finding.verdict}: {safe(finding.problem)}")
        out.talk(dim(f"  hint: {safe(finding.hint)}"))
    _advise(session, found, chosen, limit)
    return code


def _before(one: Kept, limit: str) -> bool:
    return one.possible and one.stored is not None and one.stored < limit


def _show(session: Session, one: Kept, lines: int) -> None:
    out = session.out
    stored = f"stored {one.stored}" if one.stored else "stored at a time that nobody knows"
    about = [counted(one.runs, "run")] if one.runs is not None else []
    about += [counted(one.anchor.lines, "line"), *([f"key {one.kid}"] if one.kid else [])]
    words, good = _WORDS[one.extends], _GOOD[one.extends]
    if one.extends == "no":
        words += f" (it has {counted(lines, 'line')})" if lines < one.anchor.lines else " (other lines stand there)"
    if not one.possible:
        words, good = "IT CANNOT HAVE BEEN STORED THEN: its last line was written later", False
    out.answer(f"{mark(good)} {bold(safe(stored))}  {'  '.join(about)}  {words}")
    if one.timestamp:
        out.answer(dim(f"  last line written {safe(one.timestamp)}"))
    out.answer(dim(f"  in {safe(', '.join(one.where))}"))
    out.answer(f"  {one.anchor}")


def _advise(session: Session, found: Found, chosen: list[Kept], limit: str | None) -> None:
    out, settings = session.out, session.settings
    if chosen:
        out.talk(dim(f"  it is {timestamp()} now; all times are UTC"))
        out.talk(
            dim(
                "hint: after a leak take the newest one stored BEFORE the earliest possible leak:"
                " golden rotate --reason compromised --anchor '…'"
            )
        )
        if not any(one.stored for one in found.kept):
            out.talk(dim("hint: only this host remembers one; set anchor_to to keep them where an attacker is not"))
        return
    out.answer(f"no anchor of {safe(settings.directory)} is found" + (f" from before {limit}" if limit else ""))
    if found.kept:
        out.talk(
            dim(f"hint: {counted(len(found.kept), 'anchor')} that were stored later or nobody knows when are left out")
        )
    elif not settings.values["ledger"]:
        out.talk(dim("hint: with `ledger = false` git's history is what counts: golden rotate … --anchor git:REV"))
    else:
        out.talk(
            dim(
                'hint: keep them from now on: `anchor_to = "git"` in golden.toml, or'
                ' `anchor_to = ["file:/mnt/elsewhere/anchors"]` in your sources.toml'
            )
        )


def _moment(text: str) -> str:
    """Return a moment as anchors are stored with it."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError):
        raise click.UsageError(f"--before {text!r} is no time; write 2026-01-01T03:00:00Z") from None
