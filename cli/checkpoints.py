"""Checkpoints: the commands that look into the store of checkpoints, and change or remove what lies there.

Golden files are not touched: they stay the truth about every run.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click
import msgspec

from cli.command import Family, Session
from cli.confirm import agree, destructive
from cli.halves import checkpoints_option, open_store
from cli.moments import age, ago, seconds_between, span
from cli.render import Out, aligned, bold, counted, dim, mark, safe, shown
from golden.errors import StoreError, UsageError
from golden.store import check_run_id
from replay.checkpoints.contract import (
    RUNNING,
    STATUSES,
    Checkpoint,
    CheckpointStore,
    CheckpointVersionConflictError,
    StepOutput,
)

_KIB = 1024
LATEST = "latest"
checkpoints = Family(
    "checkpoints",
    """Look into the store of checkpoints, and change or remove what lies there.

    A checkpoint says how far a run has come and who works on it; it is an index of the golden file, which stays the
    truth. Its version counts its changes and is its id.
    """,
    """golden checkpoints list
    golden checkpoints show report-1
    golden checkpoints prune --older-than 30d --keep 100 --dry-run""",
)


@checkpoints.member(
    "list",
    """golden checkpoints list
    golden checkpoints list --status running
    golden checkpoints list --spec report --limit 20 --json""",
)
@click.option(
    "--status", type=click.Choice(STATUSES), metavar="STATUS", help=f"Only those that are {', '.join(STATUSES)}."
)
@click.option("--spec", "spec_id", metavar="SPEC_ID", help="Only those of runs of this spec.")
@click.option("--limit", type=click.IntRange(0), default=100, metavar="N", help="At most so many.  [default: 100]")
@checkpoints_option
def list_checkpoints(session: Session, status: str | None, spec_id: str | None, limit: int, url: str | None) -> int:
    """List checkpoints, the one saved last first.

    Exits 0 if all could be read, 4 if the store does not answer or one of them is damaged.
    """
    out = session.out
    with closing(open_store(session.settings, url)) as store:
        found = store.overview(status=status, workflow_id=spec_id, limit=limit)
    for one in found.checkpoints:
        out.record("checkpoints", **_members(one))
    table = [
        (one.run_id, one.status, one.workflow_id, f"step {one.next_step_index}", f"version {one.version}")
        for one in found.checkpoints
    ]
    for one, (name, *rest) in zip(found.checkpoints, aligned([[*map(safe, row)] for row in table]), strict=True):
        out.answer(f"{_mark(one)} {bold(name)}  {'  '.join(rest)}" + dim(f"  saved {_ago(one.updated_at)}"))
    for error in found.bad:
        out.talk(f"golden: {safe(error.problem)}")
        out.talk(dim(f"hint: {safe(error.hint)}"))
    out.answer(bold(counted(len(found.checkpoints), "checkpoint")) + dim(f"  in {safe(store.place)}"))
    code = 4 if found.bad else 0
    by = {status: sum(one.status == status for one in found.checkpoints) for status in STATUSES}
    out.summary(len(found.checkpoints), {name: number for name, number in by.items() if number}, code)
    return code


@checkpoints.member(
    "show",
    """golden checkpoints show report-1
    golden checkpoints show report-1 --at 2
    golden checkpoints show report-1 --at latest --json""",
)
@click.argument("run", metavar="RUN")
@click.option("--at", "version", default=LATEST, metavar="ID", help="Outputs up to this version.  [default: latest]")
@checkpoints_option
def show(session: Session, run: str, version: str, url: str | None) -> int:
    """Show the checkpoint of a run and the outputs of its steps, hashes checked.

    Exits 0 if it is there and good, 4 if not.
    """
    out, wanted = session.out, _version(version)
    check_run_id(run)
    with closing(open_store(session.settings, url)) as store:
        found = _load(store, run)
        outputs = store.outputs(run, wanted)
    out.record("checkpoints", **_members(found), outputs=[_output(one) for one in outputs])
    if out.json:
        return 0
    out.answer(f"{_mark(found)} {bold(safe(run))}  {found.status}")
    for name, words in _rows(found):
        out.answer(f"  {dim(name.ljust(8))}  {safe(words)}")
    upto = "" if wanted is None else f" up to version {wanted}"
    out.answer(bold(f"{counted(len(outputs), 'output')}{upto}"))
    for one in outputs:
        head = f"  {one.step_index:>4}  {safe(one.step_id)}  version {one.version}  "
        value = click.style("failed", fg="red") if one.output is None else dim(_value(out, one, len(head)))
        out.answer(head + value)
    return 0


@checkpoints.member(
    "set-status",
    """golden checkpoints set-status actual aborted --expect-version 7 --reason INC-7""",
)
@click.argument("run", metavar="RUN")
@click.argument("status", metavar="STATUS", type=click.Choice(STATUSES))
@click.option(
    "--expect-version", type=click.IntRange(1), required=True, metavar="N", help="Only if it is this version."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the answer, which is yours to keep.")
@click.option("--dry-run", is_flag=True, help="Say exactly what would be done, and do nothing.")
@checkpoints_option
def set_status(
    session: Session, run: str, status: str, expect_version: int, reason: str, dry_run: bool, url: str | None
) -> int:
    """Say of a run, in its checkpoint alone, how it ended; and give its lease back.

    For runs whose golden file is gone or lies elsewhere: what a file says goes before what is said here. Refused where
    somebody has changed the checkpoint since --expect-version was shown. Exits 0 if it is done, 4 if not.
    """
    out = session.out
    _require_reason(reason)
    check_run_id(run)
    with closing(open_store(session.settings, url)) as store:
        before = _expected(store, run, expect_version)
        after = before if dry_run else store.set_status(run, status, expect_version)
    out.record("checkpoints", **_members(after), was=before.status, reason=reason, dry_run=dry_run)
    verb = "would be" if dry_run else "is"
    version = f", version {after.version}" if not dry_run else ""
    out.answer(f"{mark(good=True)} {bold(safe(run))}  {verb} {status}{version}; it was {before.status}: {safe(reason)}")
    if before.lease_owner:
        out.talk(dim(f"  note: it was leased by {safe(before.lease_owner)}, which can save it no more"))
    return 0


@checkpoints.member(
    "delete",
    """golden checkpoints delete report-1 --expect-version 7 --dry-run
    golden checkpoints delete report-1 --expect-version 7 --yes""",
)
@click.argument("run", metavar="RUN")
@click.option(
    "--expect-version", type=click.IntRange(1), required=True, metavar="N", help="Only if it is this version."
)
@destructive
@checkpoints_option
def delete(session: Session, run: str, expect_version: int, yes: bool, dry_run: bool, url: str | None) -> int:
    """Delete the checkpoint of a run and the outputs stored with it; its golden file stays.

    Refused where somebody has changed it since. Exits 0 if it is gone, 4 if not.
    """
    out = session.out
    check_run_id(run)
    with closing(open_store(session.settings, url)) as store:
        found = _expected(store, run, expect_version)
        count = len(store.outputs(run))
        what = f"the checkpoint of {run} ({found.status}, version {found.version}) with {counted(count, 'output')}"
        if found.lease_owner:
            what += f", leased by {found.lease_owner}"
        if not dry_run:
            agree(out, f"delete {safe(what)} from {safe(store.place)}?", yes=yes)
            store.delete(run, expect_version)
    out.record("checkpoints", **_members(found), deleted=not dry_run, dry_run=dry_run)
    out.answer(f"{mark(good=True)} {'would delete' if dry_run else 'deleted'} {safe(what)}")
    return 0


@checkpoints.member(
    "prune",
    """golden checkpoints prune --older-than 30d --keep 100 --dry-run
    golden checkpoints prune --older-than 30d --keep 100 --yes""",
)
@click.option("--older-than", required=True, metavar="AGE", help="Only those saved last before that: 12h, 30d.")
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N", help="Keep the N newest of ended runs.")
@destructive
@checkpoints_option
def prune(session: Session, older_than: str, keep: int, yes: bool, dry_run: bool, url: str | None) -> int:
    """Delete the checkpoints of runs that ended long ago, with their outputs; golden files stay.

    Never that of a running run, whatever its age. Exits 0 if that is done, 4 if the store does not answer.
    """
    out = session.out
    before = ago(age(older_than, "--older-than"), "--older-than")
    with closing(open_store(session.settings, url)) as store:
        found = store.prune(before, keep, dry_run=True)
        if not dry_run and found.removed:
            agree(out, f"delete {counted(len(found.removed), 'checkpoint')} from {safe(store.place)}?", yes=yes)
            found = store.prune(before, keep)
    for run_id in found.removed:
        out.detail(f"  {safe(run_id)}")
    ratio = len(found.removed) / found.scanned if found.scanned else 0.0
    out.record("checkpoints", **msgspec.structs.asdict(found), ratio=round(ratio, 4), dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    out.answer(
        f"{mark(good=True)} {verb} {len(found.removed)} of {counted(found.scanned, 'checkpoint')} ({ratio:.0%}),"
        f" {_size(found.reclaimed)}; {found.remaining} remain"
    )
    return 0


def _version(text: str) -> int | None:
    if text == LATEST:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):  # noqa: PLR2004  what a database counts to
        raise click.UsageError(f"--at {text!r} is no version; write `latest` or a number")
    return int(text)


def _load(store: CheckpointStore, run: str) -> Checkpoint:
    found = store.load(run)
    if found is None:
        raise StoreError(f"run {run} has no checkpoint in {store.place}", hint="see `golden checkpoints list`")
    return found


def _expected(store: CheckpointStore, run: str, version: int) -> Checkpoint:
    """Return the checkpoint of a run; raises what the store raises where it is another version."""
    found = store.load(run)
    if found is None or found.version != version:
        raise CheckpointVersionConflictError(run, version, found.version if found else 0)
    return found


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("the reason is empty", hint="say why, for whoever asks later")


def _members(found: Checkpoint) -> dict[str, Any]:
    return msgspec.structs.asdict(found)


def _output(one: StepOutput) -> dict[str, Any]:
    value = None if one.output is None else msgspec.json.decode(one.output)
    return {**msgspec.structs.asdict(one), "output": value}


def _rows(found: Checkpoint) -> list[tuple[str, str]]:
    lease = f"{found.lease_owner} until {found.lease_until}" if found.lease_owner else "none"
    return [
        ("spec", f"{found.workflow_id}  {found.spec_hash}"),
        ("seed", str(found.seed)),
        ("tenant", found.tenant_id or "none"),
        ("step", f"{found.next_step_index}, last result {found.last_result_hash or 'none'}"),
        ("version", f"{found.version}, saved {found.updated_at}, {_ago(found.updated_at)}"),
        ("started", found.started_at),
        ("ended", found.ended_at or "not yet"),
        ("cost", f"{found.total_cost_cents}¢"),
        ("file", f"{found.golden_path}, {counted(found.events, 'event')}"),
        ("lease", lease),
    ]


def _value(out: Out, one: StepOutput, indent: int) -> str:
    text = (one.output or b"").decode("utf-8", "replace")
    return safe(text) if out.verbose else shown(msgspec.json.decode(one.output or b"null"), indent)


def _mark(found: Checkpoint) -> str:
    return mark(None if found.status == RUNNING else found.status == "completed")


def _ago(text: str) -> str:
    return f"{span(seconds_between(text))} ago"


def _size(count: int) -> str:
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB"]
    while size >= _KIB and len(units) > 1:
        size /= _KIB
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
