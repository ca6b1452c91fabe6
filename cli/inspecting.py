"""Inspecting: one run from both sides, its checkpoint and its golden file, for whoever has to decide what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click
import msgspec

from cli.advice import Advice, advise
from cli.command import Session, command, only_run, run_option
from cli.debug import show_line
from cli.glance import Glance, glance
from cli.halves import UNKNOWN, Row, checkpoints_option, open_store, row_of, tell_missing
from cli.moments import seconds_between, span
from cli.render import bold, counted, dim, mark, safe
from cli.runs import members_of, steps_of
from cli.settings import is_absent
from golden.directory import Directory
from golden.errors import FormatError, GoldenError, StoreError
from golden.keyring import Keyring
from golden.seal import MAX_SEAL, parse_seal
from golden.store import GoldenFile, Store, is_run_id, locate
from golden.tail import Shown, Tail
from golden.verdict import TAMPERED, Verdict, verify_file
from replay.checkpoints.contract import RUNNING, Checkpoint
from replay.lineage import latest

# A file that is gone is a half that is missing; that it should not be, `golden verify` answers for.
_NOT_RECORDED = TAMPERED - {"missing"}
_UNDECIDED = {"missing", "unknown-key", "unreadable", "unsigned"}


class _Found(msgspec.Struct):
    """What was found out about one run; what could not be is in `missing`."""

    file: GoldenFile
    seen: Glance | None = None
    verdict: Verdict | None = None
    how: str = ""
    lines: list[Shown] = []
    saved: Checkpoint | None = None
    outputs: int = 0
    place: str | None = None
    missing: list[GoldenError] = []

    def miss(self, error: GoldenError) -> None:
        """Take note of what could not be read, once."""
        if error.problem not in {one.problem for one in self.missing}:
            self.missing.append(error)

    @property
    def exit_code(self) -> int:
        """3 for a file that is not what was recorded, 4 where a half is missing or undecided, else 0."""
        word = self.verdict.verdict if self.verdict else None
        if word in _NOT_RECORDED:
            return 3
        return 4 if self.missing or word in _UNDECIDED else 0


@command(
    """golden inspect report-1
    golden inspect report-1 -n 5
    golden inspect report-1 --json"""
)
@click.argument("run", required=False, metavar="RUN")
@run_option
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0), default=20, metavar="N", help="How many events.  [default: 20]"
)
@checkpoints_option
def inspect(session: Session, run: str | None, run_option: str | None, count: int, url: str | None) -> int:
    """Show all about one run: its golden file with the verdict on it, its checkpoint, its last events, what to do next.

    Each half is shown where the other is missing or its database is down. Exits 0 if what there is to say could be
    said, 3 if the golden file is not what was recorded, 4 if a half is missing that is needed (of a run that is sealed
    its file says all), or nobody here can say what the file is worth.
    """
    settings, out = session.settings, session.out
    file = locate(only_run(run, run_option), settings.directory)
    found = _Found(file)
    _tried(found, lambda: _look_at_file(session, found, count))
    if is_run_id(file.stem):
        _tried(found, lambda: _look_at_checkpoint(session, found, url))
    if found.seen is None and found.verdict is None and found.saved is None:
        raise _nothing(session, found)
    row = row_of(found.seen, found.saved) if found.seen or found.saved else Row(run_id=file.stem)
    advice = _advice(session, found, row)
    if out.json:
        _tell_machine(session, found, row, advice)
    else:
        _tell(session, found, row)
        tell_missing(session, found.missing)
        out.answer(f"{bold('next')}  {safe(advice.command or '-')}")
        out.answer(dim(f"  {safe(advice.why)}"))
    return found.exit_code


def _tried(found: _Found, look: Callable[[], None]) -> None:
    try:
        look()
    except GoldenError as error:
        found.miss(error)


def _look_at_file(session: Session, found: _Found, count: int) -> None:
    file, settings = found.file, session.settings
    try:
        directory = settings.store().read().at(file.folder)
    except GoldenError as error:
        # Without a keyring nothing is vouched for, and can be looked at all the same.
        found.miss(error)
        directory = Directory(file.folder, Keyring())
    here = not is_absent(file.place)
    if here:
        _tried(found, lambda: setattr(found, "seen", glance(file.folder, file.stem)))
    elif not directory.runs.get(file.stem):
        raise StoreError(f"there is no golden file {file.place}", hint="check --dir, or restore it from backup")
    found.verdict = verify_file(file, directory)
    for note in found.verdict.notes:
        session.out.talk(dim(f"note: {safe(note)}"))
    if here:
        try:
            found.how, found.lines = _last(file, directory, count, unverified=False)
        except GoldenError:
            # The verdict says why.
            found.how, found.lines = _last(file, directory, count, unverified=True)


def _last(file: GoldenFile, directory: Directory, count: int, *, unverified: bool) -> tuple[str, list[Shown]]:
    ending = Tail(file, directory, count=count, unverified=unverified)
    try:
        return ending.how, list(ending)
    finally:
        ending.close()


def _look_at_checkpoint(session: Session, found: _Found, url: str | None) -> None:
    if url is None and session.settings.keeps_no_checkpoints and found.seen is not None and found.seen.sealed:
        # Nobody keeps any, and of a run that is sealed its file says everything.
        found.place = session.settings.checkpoints_shown
        return
    store = open_store(session.settings, url)
    try:
        found.place = store.place
        found.saved = store.load(found.file.stem)
        if found.saved is not None:
            found.outputs = len(store.outputs(found.file.stem))
    finally:
        store.close()


def _nothing(session: Session, found: _Found) -> GoldenError:
    """Return the refusal where neither half is there; what else went wrong is told first."""
    if found.place is None or len(found.missing) > 1:
        tell_missing(session, found.missing[1:])
        return found.missing[0]
    return StoreError(
        f"there is no run {found.file.stem}: no golden file {found.file.place}, no checkpoint in {found.place}",
        hint="`golden list` shows the runs there are; check --dir",
    )


def _advice(session: Session, found: _Found, row: Row) -> Advice:
    settings, file = session.settings, found.file
    successor = None
    if found.seen is not None:
        with suppress(GoldenError):
            successor = latest(Store(file.folder, Keyring()), file.stem)
    elsewhere = os.path.realpath(file.folder) != os.path.realpath(settings.directory)
    return advise(
        row,
        found.verdict,
        halts=settings.controls().in_force(),
        successor=None if successor == file.stem else successor,
        ahead=_is_ahead(found),
        folder=file.folder if elsewhere or settings.origins["dir"] == "--dir" else None,
    )


def _is_ahead(found: _Found) -> bool:
    seen, saved = found.seen, found.saved
    return bool(seen and saved and seen.events is not None and saved.events > seen.events)


def _is_accepted(file: GoldenFile) -> bool:
    seal = file.read_seal(MAX_SEAL)
    with suppress(FormatError):
        return seal is not None and bool(parse_seal(seal).statement.accepted)
    return False


def _differences(found: _Found) -> list[str]:
    """Say where the halves do not fit together."""
    seen, saved = found.seen, found.saved
    if seen is None or saved is None:
        return []
    if seen.file_id != saved.file_id:
        # One that was accepted in the place of another was recorded without checkpoints.
        return [] if _is_accepted(found.file) else ["the checkpoint is of another golden file of that name"]
    words = []
    if _is_ahead(found):
        words.append(
            f"the checkpoint stands at {saved.events} events, ahead of the golden file, which has {seen.events}"
        )
    if seen.status != saved.status:
        words.append(f"the checkpoint says {saved.status}; the golden file counts")
    return words


def _tell_machine(session: Session, found: _Found, row: Row, advice: Advice) -> None:
    verdict, saved, seen = found.verdict, found.saved, found.seen
    session.out.record(
        "inspect",
        **members_of(row),
        verdict=verdict.verdict if verdict else None,
        problem=verdict.problem if verdict else None,
        hint=verdict.hint if verdict else None,
        kid=verdict.kid if verdict else None,
        spec_hash=seen.spec_hash if seen else saved.spec_hash if saved else None,
        budget_ceiling_cents=seen.ceiling_cents if seen else None,
        checkpoint=None if saved is None else {**msgspec.structs.asdict(saved), "outputs": found.outputs},
        checkpoints=found.place,
        last_events=[_event(line) for line in found.lines],
        differences=_differences(found),
        missing=[{"problem": error.problem, "hint": error.hint} for error in found.missing],
        next=msgspec.structs.asdict(advice),
    )


def _event(line: Shown) -> dict[str, Any]:
    mark = {} if line.checked else {"unverified": True}
    if line.event is None:
        return {**mark, "line": line.line.decode("utf-8", "replace")}
    return {**mark, **msgspec.json.decode(line.line)}


def _tell(session: Session, found: _Found, row: Row) -> None:
    out, verdict, seen = session.out, found.verdict, found.seen
    good = None if row.status in {RUNNING, UNKNOWN} else row.status == "completed"
    good = False if verdict is not None and verdict.verdict in TAMPERED else good
    out.answer(f"{mark(good)} {bold(safe(row.run_id))}  {safe(row.standing)}")
    if verdict is not None or seen is not None:
        out.answer(bold("golden file") + f"  {safe(found.file.place)}")
    if verdict is not None:
        about = [counted(verdict.events, "event")] if verdict.events is not None else []
        about += [f"key {verdict.kid}"] if verdict.kid else []
        _line(session, "verdict", ", ".join([verdict.verdict, *about]))
        if verdict.problem:
            _line(session, "", f"{verdict.problem}; {verdict.hint}")
    if seen is not None:
        _tell_file(session, seen, row)
    if found.saved is not None:
        _tell_checkpoint(session, found.saved, found)
    elif found.place is not None:
        out.answer(bold("checkpoint") + f"   none in {safe(found.place)}")
    for words in _differences(found):
        out.answer(f"  {mark(good=False)} {safe(words)}")
    if found.lines:
        out.answer(bold(f"last {counted(len(found.lines), 'event')}") + dim(f"  {safe(found.how)}"))
        for line in found.lines:
            show_line(out, line)


def _tell_file(session: Session, seen: Glance, row: Row) -> None:
    _line(session, "spec", f"{seen.workflow_id or '-'}  {seen.spec_hash or 'no hash'}")
    _line(session, "seed", str(seen.seed))
    at = f", next {seen.next_step_id}" if seen.next_step_id else ""
    _line(session, "steps", steps_of(row) + at)
    _line(session, "cost", f"{seen.total_cost_cents}¢ of {seen.ceiling_cents}¢")
    _line(session, "started", _moment(seen.started_at))
    if seen.ended_at:
        _line(session, "ended", f"{_moment(seen.ended_at)}, took {span(row.seconds)}")
    if seen.resumed_from:
        _line(session, "resumes", seen.resumed_from)
    if seen.error_code and seen.status != "completed":
        _line(session, "failed", f"{seen.error_code}: {seen.recovery_hint or 'see its last events'}")


def _tell_checkpoint(session: Session, saved: Checkpoint, found: _Found) -> None:
    session.out.answer(bold("checkpoint") + f"   {safe(found.place or '')}")
    _line(session, "status", f"{saved.status}, version {saved.version}, saved {_moment(saved.updated_at)}")
    _line(session, "step", f"{saved.next_step_index}, {counted(found.outputs, 'output')}, {saved.events} events")
    lease = "none"
    if saved.lease_owner:
        lease = f"{saved.lease_owner} until {saved.lease_until}"
    _line(session, "lease", lease)
    if found.seen is None:
        _line(session, "spec", f"{saved.workflow_id}  {saved.spec_hash}")
        _line(session, "seed", str(saved.seed))
        _line(session, "cost", f"{saved.total_cost_cents}¢")
        _line(session, "file", saved.golden_path)


def _line(session: Session, name: str, text: str) -> None:
    session.out.answer(f"  {dim(name.ljust(8))}  {safe(text)}")


def _moment(text: str | None) -> str:
    return "-" if text is None else f"{text}, {span(seconds_between(text))} ago"
