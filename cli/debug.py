"""Debug: the commands of an engineer whose run does not give the same answer twice."""

from __future__ import annotations

import click
import msgspec

from cli.command import Session, command, only_run, run_option
from cli.moments import moment
from cli.render import Out, bold, counted, cut, dim, mark, safe, shown
from golden.difference import Difference, environment_differs
from golden.difference import diff as differences
from golden.event import EffectData, Event, RunEnd, RunResume, RunStart, StepData
from golden.pair import Pair
from golden.store import locate
from golden.tail import Shown, Tail


@command(
    """golden diff report-1 report-2
    golden diff goldens/expected.steps.jsonl .golden/actual.steps.jsonl --json""",
)
@click.argument("expected", metavar="EXPECTED")
@click.argument("actual", metavar="ACTUAL")
def diff(session: Session, expected: str, actual: str) -> int:
    """Show where two recordings are unlike, step by step.

    Not compared: run ids, times, signatures, the environment (noted once), and what the expected recording declares
    volatile. Exits 0 if they are alike, 1 if they differ, 3 if a file is tampered with.
    """
    settings, out = session.settings, session.out
    keyring = settings.keyring()
    files = [locate(name, settings.directory) for name in (expected, actual)]
    count = 0
    with Pair.open(files[0], files[1], keyring) as pair:
        step: object = ""
        for found in differences(pair.expected, pair.actual, noted=pair.unlike):
            count += 1
            out.record("diff", **msgspec.structs.asdict(found))
            if not out.json:
                if found.step_id != step:
                    out.answer(bold(f"step {safe(found.step_id)}" if found.step_id else "run"))
                    step = found.step_id
                show_difference(out, found)
        unlike = environment_differs(pair.expected, pair.actual)
    if unlike:
        out.talk(dim(f"note: environment differs in {', '.join(unlike)}"))
    out.answer(
        bold(counted(count, "difference")) if count else f"{mark(good=True)} alike: {safe(expected)}, {safe(actual)}"
    )
    return 1 if count else 0


def show_difference(out: Out, found: Difference) -> None:
    """Write the lines that tell one place where two recordings are unlike."""
    out.answer(f"  {found.kind} {safe(found.path) or '(whole)'}")
    if found.kind != "added":
        out.answer(f"    expected  {click.style(shown(found.expected), fg='green')}")
    if found.kind != "removed":
        out.answer(f"    actual    {click.style(shown(found.actual), fg='red')}")


@command(
    """golden tail report-1
    golden tail report-1 -n 5 --type step
    golden tail report-1 -f
    golden tail report-1 --since 10m --json""",
)
@click.argument("run", required=False, metavar="RUN")
@run_option
@click.option("-n", "--lines", "count", type=click.IntRange(0), metavar="N", help="How many events.  [default: 20]")
@click.option("-f", "--follow", is_flag=True, help="Go on as the file grows, until the run ends.")
@click.option("--since", metavar="TIME", help="Only events since TIME: 2026-01-01T12:00:00Z, or 30s, 10m, 2h, 1d ago.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["run_start", "step", "effect", "run_resume", "run_end"]),
    help="Only events of this type.",
)
@click.option("--unverified", is_flag=True, help="Show lines that nothing vouches for, and say so.")
def tail(
    session: Session,
    run: str | None,
    run_option: str | None,
    count: int | None,
    follow: bool,
    since: str | None,
    kind: str | None,
    unverified: bool,
) -> int:
    """Show the last events of a golden file, checked.

    With the event key at hand each line's MAC is checked; else a sealed file is checked whole against its seal; else
    nothing is shown (4), unless --unverified.
    """
    out, settings = session.out, session.settings
    keyring = settings.keyring()
    file = locate(only_run(run, run_option), settings.directory)
    start = moment(since, "--since") if since else ""
    # --since alone means all since then.
    wanted = count if count is not None else (1 << 62) if since else 20
    ending = Tail(
        file,
        keyring,
        count=wanted,
        accept=lambda event: (kind is None or event.event_type == kind) and event.timestamp >= start,
        older=lambda event: event.timestamp < start,
        unverified=unverified,
    )
    try:
        out.talk(dim(f"{safe(file.stem)}: {ending.how}"))
        for line in ending:
            show_line(out, line)
        if ending.torn:
            out.talk(dim("  note: an incomplete line stands behind these"))
        if follow:
            for line in ending.follow():
                show_line(out, line)
    finally:
        ending.close()
    return 0


def show_line(out: Out, line: Shown) -> None:
    """Write one line of a golden file, marked where nothing vouches for it."""
    if line.event is None:
        out.record("tail", line=line.line.decode("utf-8", "replace"), unverified=True)
    else:
        out.raw(line.line, checked=line.checked)
    sign = "" if line.checked else click.style("unverified ", fg="yellow")
    if line.event is None:
        out.answer(f"{sign}{shown(line.line.decode('utf-8', 'replace'))}")
    elif not out.json:
        event = line.event
        out.answer(
            f"{sign}{dim(f'{event.seq:>4} {event.timestamp[11:23]}')} {event.event_type:<9} {_event_words(event)}"
        )


def _event_words(event: Event) -> str:
    match event.data:
        case RunStart() as data:
            ceiling = data.budget_snapshot.workflow_ceiling_cents
            return f"spec {safe(data.spec_id or '-')} seed {data.seed} budget {ceiling}¢"
        case StepData() as data if data.success:
            took = f"{event.timing.duration_us / 1000:.1f} ms" if event.timing else ""
            cost = f" {data.cost_cents}¢" if data.cost_cents else ""
            words = f"{mark(good=True)} {bold(safe(data.step_id))}{cost} {dim(took)} "
            return words + _cut(data.output, words)
        case StepData() as data:
            error = data.error
            what = f"{error.code} {error.type}: {error.message}" if error else "failed"
            return f"{mark(good=False)} {bold(safe(data.step_id))} {safe(what)}"
        case EffectData() as data:
            words = f"{safe(data.step_id)} → {safe(data.name)} "
            return words + (
                safe(f"{data.error.type}: {data.error.message}") if data.error else _cut(data.result, words)
            )
        case RunResume() as data:
            return f"goes on at index {data.next_index}"
        case RunEnd() as data:
            good = data.status == "completed"
            return f"{mark(good)} {safe(data.status)}, {data.steps_completed} of {counted(data.steps_total, 'step')}"


def _cut(raw: msgspec.Raw, before: str) -> str:
    text = safe(bytes(raw)[:400].decode("utf-8", "ignore"))
    return dim(cut(text, 29 + len(click.unstyle(before))))
