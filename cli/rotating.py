"""Rotating: the commands that sign seals anew: a rotation of whole directories, or of single runs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import click

from cli.command import Session, command, run_option
from cli.confirm import agree, destructive
from cli.parallel import in_order
from cli.render import bold, counted, dim, mark, progress, safe
from golden import keyfile
from golden.anchors import given
from golden.errors import UsageError
from golden.ledger import Anchor
from golden.memory import Memory
from golden.proof import Outcome, Plan, Reason
from golden.repository import hashes_at
from golden.rotation import Made, Rotation, leaked_keys
from golden.rotation import rotate as rotated
from golden.store import SEAL_SUFFIX, SUFFIX, Store, check_run_id

# As the dry run prints it, or as sha256sum does.
_ACCEPTED = re.compile(r"\s*([0-9a-f]{64}) [ *](.+)")
_GOOD = {"resealed", "already"}
_SECURITY = {"tampered", "rolled-back", "missing"}


@command(
    """golden rotate --reason scheduled --dry-run
    golden rotate --reason scheduled --yes
    golden rotate --reason compromised --anchor @anchor.txt --dry-run
    golden rotate --reason compromised --anchor @anchor.txt --yes --json"""
)
@click.argument("directories", nargs=-1, metavar="[DIRECTORY]...")
@click.option(
    "--reason",
    type=click.Choice(["scheduled", "compromised"]),
    required=True,
    help="Why: this decides what counts as proof.",
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="ANCHOR",
    help="What the ledger was before the leak: a line, @FILE, or git:REV.",
)
@click.option("--safe", multiple=True, metavar="KID", help="An Ed25519 key that did not leak.  Repeatable.")
@click.option("--accept-unproven", "accepted", metavar="@FILE", help="Vouch for bytes: lines `<sha256>  <run id>`.")
@click.option("--keep-old", is_flag=True, help="Leave signatures by retired keys beside the new ones.")
@click.option("--note", metavar="TEXT", help="A word for the ledger.")
@click.option("-j", "--jobs", default=1, type=click.IntRange(1), metavar="N", help="Processes to use.")
@destructive
def rotate(  # noqa: PLR0917  click passes them by name
    session: Session,
    directories: tuple[str, ...],
    reason: Reason,
    anchors: tuple[str, ...],
    safe: tuple[str, ...],
    accepted: str | None,
    keep_old: bool,
    note: str | None,
    jobs: int,
    yes: bool,
    dry_run: bool,
) -> int:
    """Sign the seals anew with the active keys, each only if its file is proven.

    scheduled: proven is what a trusted signature or the ledger vouches for. compromised: every key older than the
    newest active one is revoked first, and only what the ledger said at the anchor counts. The golden files themselves
    are not touched. Exits 0 if all runs are under the active keys, 3 if one is tampered with, rolled back or missing, 4
    if one is unproven or live; run it again after an interruption.
    """
    settings = session.settings
    folders = {os.path.realpath(folder): folder for folder in reversed(directories or (settings.directory,))}
    stores = [_store(session, folder) for folder in reversed(folders.values())]
    leaked = leaked_keys(stores[0].keyring, safe) if reason == "compromised" else ()
    if safe and reason != "compromised":
        raise click.UsageError("--safe goes with --reason compromised")
    wanted = _accepted(accepted) if accepted else {}
    works = []
    for store in stores:
        anchor, kept = _proof(store, anchors, settings.user_environ(), alone=len(stores) == 1)
        plan = Plan(reason, anchor, leaked, wanted, kept, keep_old, note, frozenset(safe))
        works.append(Rotation(store, plan, dry_run=dry_run))
    unknown = wanted.keys() - {run_id for work in works for run_id in work.runs()}
    if unknown:
        where = ", ".join(store.folder for store in stores)
        hint = "check the ids in --accept-unproven @FILE, and that all their directories are named"
        raise UsageError(f"no recording {', '.join(sorted(unknown))} in {where}", hint=hint)
    for work in works:
        _tell_plan(session, work)
    if not dry_run:
        agree(session.out, _question(works, leaked), yes=yes)
    return _work(session, works, None, jobs, dry_run=dry_run, revoked=_revoker(session, leaked))


@command(
    """golden resign report-1
    golden resign report-1 report-2 --json"""
)
@click.argument("runs", nargs=-1, metavar="RUN...")
@run_option
@click.option("--keep-old", is_flag=True, help="Leave signatures by retired keys beside the new ones.")
@click.option("--dry-run", is_flag=True, help="Say exactly what would be done, and do nothing.")
def resign(session: Session, runs: tuple[str, ...], run_option: str | None, keep_old: bool, dry_run: bool) -> int:
    """Sign the seals of single runs anew, by the rules of `golden rotate --reason scheduled`.

    A seal that is lost is made again from the ledger, if the file's bytes are what it says. Never signs what is not
    proven; exits like `golden rotate`.
    """
    names = [check_run_id(name) for name in (*runs, *([] if run_option is None else [run_option]))]
    if not names:
        raise click.UsageError("give at least one RUN")
    store = session.settings.store()
    work = Rotation(store, Plan("scheduled", keep_old=keep_old), dry_run=dry_run)
    unknown = [name for name in names if name not in work.runs()]
    if unknown:
        raise UsageError(f"no recording {unknown[0]} in {store.folder}", hint="check its id and the golden directory")
    return _work(session, [work], names, 1, dry_run=dry_run, revoked=lambda: None)


def _store(session: Session, folder: str) -> Store:
    settings = session.settings
    own = settings.store()
    if os.path.realpath(folder) == os.path.realpath(own.folder):
        return own
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no directory", hint="name golden directories, or none for the configured one")
    memory = Memory(settings.state_dir) if settings.state_dir else None
    return Store(folder, own.keyring, durability=own.durability, ledger=own.ledger, memory=memory, reload=own.reload)


def _proof(
    store: Store, anchors: Sequence[str], environment: Mapping[str, str], *, alone: bool
) -> tuple[Anchor | None, dict[str, str] | None]:
    """Return the anchor that was given for a directory, or what git has kept of one without a ledger."""
    directory = store.read()
    if not anchors:
        return None, None
    if directory.exists:
        return given(anchors, directory, environment, alone=alone), None
    revisions = [text.removeprefix("git:") for text in anchors if text.startswith("git:")]
    if len(revisions) != len(anchors) or len(revisions) != 1:
        raise UsageError(
            f"{store.folder} has no ledger: the only anchor for it is one --anchor git:REV",
            hint="name a revision from before the leak, or vouch for bytes: --accept-unproven @FILE",
        )
    return None, hashes_at(store.folder, revisions[0], environment)


def _accepted(given_: str) -> dict[str, str]:
    if not given_.startswith("@"):
        raise click.UsageError("--accept-unproven takes @FILE, with lines `<sha256>  <run id>`")
    found: dict[str, str] = {}
    try:
        with open(given_[1:], encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                match = _ACCEPTED.fullmatch(line.rstrip("\n"))
                if match is None:
                    raise click.UsageError(f"--accept-unproven: line {number} is not `<sha256>  <run id>`")
                name = os.path.basename(match[2].strip())
                if name.endswith(SEAL_SUFFIX) or ("/" in match[2] and not name.endswith(SUFFIX)):
                    raise click.UsageError(f"--accept-unproven: line {number} names {name!r}, which is no *{SUFFIX}")
                run_id = check_run_id(name.removesuffix(SUFFIX))
                if found.setdefault(run_id, match[1]) != match[1]:
                    raise click.UsageError(f"--accept-unproven: line {number} gives {run_id} a second hash")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise click.UsageError(f"--accept-unproven {given_}: {why}") from None
    return found


def _signers(work: Rotation) -> str:
    return " and ".join(f"{key.kid} ({key.alg})" for key in work.signers)


def _tell_plan(session: Session, work: Rotation) -> None:
    out, plan, directory = session.out, work.plan, work.directory
    out.talk(f"{bold(safe(work.folder))}: {counted(len(work.runs()), 'run')}, to be signed by {_signers(work)}")
    for entry in directory.keyring:
        if entry.state == "active" and entry.kid not in {key.kid for key in work.signers}:
            out.talk(
                dim(f"  note: key {entry.kid} ({entry.alg}) is active and cannot sign here; its signatures are kept")
            )
    if plan.anchor is not None:
        age = _age(work)
        if age:
            out.talk(f"  anchor: {age}")
            out.talk(dim("  it must be older than the earliest possible leak: what was sealed later is not believed"))
    for kid in plan.leaked:
        out.talk(f"  revoked first: {kid}")
    for note in directory.notes:
        out.talk(dim(f"  note: {safe(note)}"))


def _age(work: Rotation) -> str | None:
    """Say which moment the anchor of a rotation stands for; None where it has none."""
    fold, anchor = work.directory.fold, work.plan.anchor
    moment = fold.moments.get(anchor.lines) if anchor else None
    if moment is None:
        return None
    lines = moment.anchor.lines
    return f"line {lines} of {fold.lines}, {moment.timestamp}, {counted(moment.runs, 'run')}, key {moment.kid}"


def _question(works: Sequence[Rotation], leaked: Sequence[str]) -> str:
    total = counted(sum(len(work.runs()) for work in works), "seal")
    verb = f"revoke {', '.join(leaked)} and sign" if leaked else "sign"
    believed = "".join(f", believing {safe(work.folder)} up to {age}" for work in works if (age := _age(work)))
    accepted = works[0].plan.accepted
    vouched = f", vouching for {', '.join(sorted(accepted))}" if accepted else ""
    return f"{verb} {total} anew with {_signers(works[0])}{believed}{vouched}?"


def _revoker(session: Session, leaked: Sequence[str]) -> Callable[[], None]:
    def revoke() -> None:
        path = session.settings.values["keyring"]
        for kid in leaked if path and os.path.exists(path) else ():
            keyfile.set_state(path, kid, "revoked")

    return revoke


def _work(
    session: Session,
    works: Sequence[Rotation],
    runs: Sequence[str] | None,
    jobs: int,
    *,
    dry_run: bool,
    revoked: Callable[[], None],
) -> int:
    out = session.out
    by: Counter[str] = Counter()
    anchors = {}
    total = sum(len(runs or work.runs()) for work in works)
    with progress(out, "signing" if not dry_run else "checking", total) as advance:
        for work in works:
            ids = runs or work.runs()
            where = work.folder if len(works) > 1 else None
            for outcome in rotated(work, ids, partial(_in_order, jobs), (lambda: None) if dry_run else revoked):
                by[outcome.outcome] += 1
                _show(session, outcome, where, dry_run=dry_run)
                advance()
            anchor = None if dry_run else session.keep(work.directory)
            if anchor is not None:
                anchors[work.folder] = anchor
    code = 3 if by.keys() & _SECURITY else 4 if by.keys() - _GOOD else 0
    code = 0 if dry_run else code
    _conclude(session, by, anchors, code, dry_run=dry_run)
    return code


def _in_order(jobs: int, function: Callable[[str], Made], run_ids: Sequence[str]) -> Iterator[Made]:
    return in_order(function, run_ids, jobs)


def _show(session: Session, outcome: Outcome, where: str | None, *, dry_run: bool) -> None:
    out = session.out
    more = {} if where is None else {"dir": where}
    out.record(
        out.command,
        run_id=outcome.run_id,
        outcome=outcome.outcome,
        from_kid=outcome.from_kid,
        to_kid=outcome.to_kid,
        sha256=outcome.sha256,
        problem=outcome.problem,
        hint=outcome.hint,
        dry_run=dry_run,
        **more,
    )
    good = outcome.outcome in _GOOD
    name = outcome.run_id if where is None else os.path.join(where, outcome.run_id)
    line = f"{mark(good)} {bold(safe(name))}  {outcome.outcome}"
    if good:
        if out.verbose:
            out.answer(line + dim(f"  {outcome.from_kid or 'no key'} → {outcome.to_kid}"))
        return
    out.answer(f"{line}: {safe(outcome.problem or '')}")
    if outcome.hint:
        out.answer(dim(f"  hint: {safe(outcome.hint)}"))
    if outcome.outcome == "unproven" and outcome.sha256:
        out.answer(dim(f"  {outcome.sha256}  {safe(outcome.run_id)}"))


def _conclude(session: Session, by: Counter[str], anchors: dict[str, Anchor], code: int, *, dry_run: bool) -> None:
    out = session.out
    counts = ", ".join(f"{count} {word}" for word, count in sorted(by.items())) or "nothing there"
    would = " would be" if dry_run and by else ""
    out.answer(
        bold(f"{counted(sum(by.values()), 'run')}{would}: {counts}") + dim("; nothing was done" if dry_run else "")
    )
    only = next(iter(anchors.values())) if len(anchors) == 1 else None
    out.summary(
        sum(by.values()),
        dict(by),
        code,
        anchor=None if only is None else str(only),
        anchors={folder: str(anchor) for folder, anchor in anchors.items()},
        dry_run=dry_run,
    )
    for folder, anchor in anchors.items():
        out.answer(dim(str(anchor) if only else f"{anchor}  {safe(folder)}"))
