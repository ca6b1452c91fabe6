"""CI: the commands whose answer a pipeline acts on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from cli.command import Session, command, run_option
from cli.parallel import in_order
from cli.render import bold, counted, dim, mark, safe
from golden.anchors import given
from golden.aos import is_v1_directory
from golden.directory import Directory, Finding
from golden.errors import StoreError, UsageError
from golden.ledger import Anchor
from golden.store import GoldenFile, Store, locate, stems
from golden.verdict import TAMPERED, Verdict, examine, verify_file

MEMBERS = ("run_id", "path", "verdict", "events", "kid", "first_bad", "problem", "hint", "writer", "notes")


@command(
    """golden verify
    golden verify report-20260101T000000Z-1a2b
    golden verify goldens/report.steps.jsonl --json
    golden verify --anchor @anchor.txt
    golden verify -j 2 --allow-live""",
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@run_option
@click.option(
    "--anchor", "anchors", multiple=True, metavar="ANCHOR", help="Hold the ledger to it: a line, @FILE, or git:REV."
)
@click.option("-j", "--jobs", default=1, type=click.IntRange(1), metavar="N", help="Processes to use.")
@click.option("--allow-live", is_flag=True, help="Runs that are being written now do not count against the answer.")
@click.option("--key", metavar="KID", help="The key that files of the AOS system are checked with.")
def verify(
    session: Session,
    runs: tuple[str, ...],
    run_option: str | None,
    anchors: tuple[str, ...],
    jobs: int,
    allow_live: bool,
    key: str | None,
) -> int:
    """Say whether golden files are what was recorded.

    RUN is a run id, or a path with a `/` or the suffix .jsonl; without RUN, the whole golden directory with its ledger,
    and its anchor is printed. Exits 0 if all are intact, 3 if anything is tampered with or missing, 4 if that cannot be
    decided or there is nothing to check.
    """
    store = session.settings.store(key)
    names = [*runs, *([] if run_option is None else [run_option])]
    checking = _Checking(session, allow_live=allow_live)
    if names:
        files = [locate(name, store.folder) for name in names]
        for name, file in zip(names, files, strict=True):
            _refuse_elsewhere(name, file, store, anchors)
        base = _anchored(store, anchors, session.settings.user_environ())
        places = {file.folder: base.at(file.folder) for file in files}
        at = partial(locate, directory=store.folder)
        checking.check(lambda file: verify_file(file, places[file.folder]), names, jobs, at)
        for directory in places.values():
            directory.remember()
            checking.tell(directory)
        session.out.summary(len(files), dict(checking.by), checking.code)
        checking.close(len(files))
        return checking.code
    # The files first: whatever is written meanwhile the ledger knows, not the other way round.
    found = store.stems()
    directory = _anchored(store, anchors, session.settings.user_environ())
    known = (run_id for run_id, run in directory.runs.items() if run.present)
    # Each file's place is made when its turn comes: ten thousand of them would be much of the peak memory.
    names = sorted({*found, *known})
    checking.check(partial(_examined, directory), names, jobs, partial(GoldenFile, store.folder))
    word, finding = ledger_of(session, directory, empty=not found)
    if finding is not None:
        checking.ledger(directory, finding)
    directory.remember()
    checking.tell(directory)
    # Of a ledger that is not what it was nobody should keep an anchor, nor hear what happened since.
    good = directory.finding is None or directory.finding.verdict == "torn"
    anchor = directory.anchor if good else None
    since = _since(directory) if anchors and good else None
    session.out.summary(
        len(names),
        dict(checking.by),
        checking.code if names or finding else 4,
        anchor=None if anchor is None else str(anchor),
        ledger=word,
        kids=sorted(checking.kids),
        **({"since": since} if anchors else {}),
    )
    return _conclude(session, store, checking, len(names), word, since, anchor)


def _refuse_elsewhere(name: str, file: GoldenFile, store: Store, anchors: Sequence[str]) -> None:
    """Raise UsageError for a RUN that is a directory, or that the ledger which an anchor is about says nothing of."""
    if os.path.isdir(name) and ("/" in name or stems(name)) and not os.path.lexists(file.place):
        raise UsageError(f"{name} is a directory, not a RUN", hint=f"name it like this: golden verify --dir {name}")
    if anchors and os.path.realpath(file.folder) != os.path.realpath(store.folder):
        raise UsageError(
            f"{name} lies outside {store.folder}, which --anchor is about",
            hint=f"golden verify --dir {file.folder} --anchor …",
        )


def _anchored(store: Store, texts: Sequence[str], environment: Mapping[str, str]) -> Directory:
    directory = store.read()
    if not texts:
        return directory
    return Directory(store.folder, store.keyring, memory=store.memory, anchors=[given(texts, directory, environment)])


def _conclude(
    session: Session,
    store: Store,
    checking: _Checking,
    count: int,
    word: str,
    since: list[dict[str, Any]] | None,
    anchor: Anchor | None,
) -> int:
    out = session.out
    if not count and checking.code != 3:  # noqa: PLR2004  a ledger that is gone is more than nothing to check
        out.answer(f"nothing to check: no golden file in {safe(store.folder)}")
        out.talk(dim("hint: golden record SPEC writes one; check --dir"))
        return max(checking.code, 4)
    checking.close(count, f" · ledger: {word}")
    if since is not None:
        out.answer("since the anchor:" + ("" if since else " nothing was taken away or let in"))
        for line in since:
            what = "".join(f" {safe(line[name])}" for name in ("run_id", "key", "state") if line[name])
            why = f": {safe(line['reason'])}" if line["reason"] else ""
            place = f"line {line['seq'] + 1}, {line['timestamp']}, {safe(line['actor'])}"
            out.answer(f"  {line['op']}{what}  {dim(place)}{why}")
    if anchor is not None:
        out.answer(dim(str(anchor)))
    return checking.code


def _since(directory: Directory) -> list[dict[str, Any]]:
    start = min((anchor.lines for anchor in directory.anchors), default=0)
    return [
        {
            "seq": line.seq,
            "op": getattr(line, "op", None),
            "run_id": getattr(line, "run_id", None),
            "key": getattr(line, "key", None),
            "state": getattr(line, "state", None),
            "actor": line.actor,
            "timestamp": line.timestamp,
            "reason": getattr(line, "reason", None),
        }
        for line in directory.fold.notable
        if line.seq >= start
    ]


def ledger_of(session: Session, directory: Directory, *, empty: bool) -> tuple[str, Finding | None]:
    """Return the word for the directory's ledger, and what is to be said against it."""
    wanted = session.settings.values["ledger"]
    if directory.finding is not None:
        return directory.finding.verdict, directory.finding
    if directory.aside:
        count = sum(span.last - span.first + 1 for span in directory.aside)
        lines = ", ".join(
            f"{span.first + 1}" if span.first == span.last else f"{span.first + 1} to {span.last + 1}"
            for span in directory.aside
        )
        problem = f"{counted(count, 'line')} by revoked keys set aside: {lines}"
        hint = "once their runs are dealt with, `golden recover` takes note of them"
        return "lines set aside", Finding("revoked-key", problem, hint)
    if directory.present:
        return "intact", None
    if not wanted:
        return "off", None
    if not empty and is_v1_directory(directory.folder):
        hint = "`golden ledger init` lists what verifies; `ledger = false` in golden.toml does without"
        return "missing", Finding("missing", "golden files, but no ledger that knows them", hint)
    return "none", None


def _examined(directory: Directory, file: GoldenFile) -> Verdict:
    verdict, proof = examine(file, directory)
    if proof is not None:
        proof.close()
    return verdict


class _Checking:
    """The verdicts so far: shown as they come, counted, and the code that they make together."""

    def __init__(self, session: Session, *, allow_live: bool) -> None:
        self._session = session
        self._allow_live = allow_live
        self._told: set[str] = set()
        self.by: Counter[str] = Counter()
        self.kids: set[str] = set()
        self.code = 0

    def check(
        self,
        judge: Callable[[GoldenFile], Verdict],
        names: Sequence[str],
        jobs: int,
        at: Callable[[str], GoldenFile],
    ) -> None:
        """Judge every file, which `at` finds by its name, and show its verdict."""
        for verdict in in_order(lambda name: _judged(judge, at(name)), names, jobs):
            self.by[verdict.verdict] += 1
            self.kids.update([verdict.kid] if verdict.verdict == "intact" and verdict.kid else [])
            tolerated = self._allow_live and verdict.verdict == "live" and bool(verdict.writer)
            found = 0 if verdict.verdict == "intact" or tolerated else _code(verdict.verdict)
            self.code = max(self.code, found, key=(0, 4, 3).index)
            _show(self._session, verdict, good=None if tolerated else found == 0)

    def ledger(self, directory: Directory, finding: Finding) -> None:
        """Show what is to be said against the ledger, like a file that is not intact."""
        self.code = max(self.code, _code(finding.verdict), key=(0, 4, 3).index)
        verdict = Verdict("", directory.place, finding.verdict, finding.problem, finding.hint)
        members = {name: getattr(verdict, name) for name in MEMBERS}
        self._session.out.record("verify", **{**members, "run_id": None})
        self._session.out.answer(f"{mark(good=False)} {bold('ledger')}  {finding.verdict}: {safe(finding.problem)}")
        self._session.out.answer(dim(f"  hint: {safe(finding.hint)}"))

    def tell(self, directory: Directory) -> None:
        """Say what else there is to say about a directory."""
        for note in directory.notes:
            if note not in self._told:
                self._told.add(note)
                self._session.out.talk(dim(f"note: {safe(note)}"))

    def close(self, count: int, more: str = "") -> None:
        """Write the last line for people, where there is more than one file to speak of."""
        counts = ", ".join(f"{number} {word}" for word, number in sorted(self.by.items()))
        if count > 1 or more:
            self._session.out.answer(bold(f"{counted(count, 'file')}: {counts}") + dim(more))


def _judged(judge: Callable[[GoldenFile], Verdict], file: GoldenFile) -> Verdict:
    try:
        return judge(file)
    except StoreError as error:
        return Verdict(file.stem, file.place, "unreadable", problem=error.problem, hint=error.hint)


def _code(verdict: str) -> int:
    return 3 if verdict in TAMPERED else 4


def _show(session: Session, verdict: Verdict, *, good: bool | None) -> None:
    out = session.out
    if out.json:
        out.record("verify", **{name: getattr(verdict, name) for name in MEMBERS})
    elif verdict.verdict == "intact" and verdict.kid and not verdict.notes and not out.verbose:
        out.brief("intact", verdict.run_id, f"{counted(verdict.events or 0, 'event')}, key {verdict.kid}")
        return
    about = [counted(verdict.events, "event") if verdict.events is not None else ""]
    about += [f"key {verdict.kid}" if verdict.kid else ""]
    if verdict.verdict == "live":
        about.append("being written" if verdict.writer else "no writer")
    line = f"{mark(good)} {bold(safe(verdict.run_id))}  {verdict.verdict}"
    if verdict.problem:
        out.answer(f"{line}: {safe(verdict.problem)}")
        if verdict.hint and not good:
            out.answer(dim(f"  hint: {safe(verdict.hint)}"))
    else:
        out.answer(line + dim("  " + ", ".join(part for part in about if part)))
    out.detail(f"  {safe(verdict.path)}")
    for note in verdict.notes:
        out.talk(dim(f"  note: {safe(note)}"))
