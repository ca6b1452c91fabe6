"""Reviewing: `golden review`, `accept` and `reject`: what becomes of recordings that wait beside the golden ones."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import msgspec

from cli.command import Session, command, run_option
from cli.debug import show_difference
from cli.render import Out, bold, counted, dim, mark, safe
from cli.updating import refuse_in_ci, tell_refused, telling, worst
from golden.canonical import canonical_bytes, sha256_hex
from golden.difference import Difference, diff
from golden.errors import GoldenError
from golden.pair import Pair
from golden.repository import head
from golden.review import accept as accepted
from golden.review import pending, pending_folder, waiting
from golden.review import reject as rejected
from golden.store import GoldenFile, Store
from replay.judgement import Change, kind_between

# Of one recording; more of them nobody reads at once.
_SHOWN = 20


class Group(msgspec.Struct):
    """Recordings that changed alike: their runs with the ids of the files, and how; `new` ones have no golden one."""

    runs: dict[str, str]
    new: bool
    differences: list[Difference]
    kinds: dict[Change, int]
    status: str


@command(
    """golden review
    golden review report-1
    golden review --json""",
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@run_option
@click.option("--reason", metavar="TEXT", help="Why what you accept is right; else you are asked.")
def review(session: Session, *, runs: tuple[str, ...], run_option: str | None, reason: str | None) -> int:
    """Show what changed in recordings that wait, and decide: accept, reject, skip, all that changed alike at once.

    Not at a terminal it only shows them. Exits 0 if nothing waits any more, 1 if something does.
    """
    settings, out = session.settings, session.out
    if reason is not None and not reason.strip():
        raise click.UsageError("--reason is empty: say why")
    store = settings.store()
    names = _chosen(store, [*runs, *([] if run_option is None else [run_option])])
    groups, refused = _grouped(store, names)
    if len(names) == 1 and refused:
        raise refused[names[0]]
    asks = not out.json and sys.stdin.isatty() and sys.stdout.isatty() and not settings.is_ci
    if not names:
        out.answer(f"nothing waits in {safe(pending_folder(store.folder))}")
    decide = _Decisions(session, store, reason)
    for number, group in enumerate(groups, start=1):
        _show(out, store, group, f"{number} of {len(groups)}" if asks else "")
        if asks and not decide.ask(group):
            break
    codes = [tell_refused(out, run_id, error) for run_id, error in refused.items()]
    left = [run_id for run_id in waiting(store.folder) if run_id in names]
    code = worst([int(bool(left)), *codes, *decide.codes])
    out.summary(len(names), {"accepted": decide.accepted, "rejected": decide.rejected, "waiting": len(left)}, code)
    if left and not asks:
        some = " ".join(left[:3]) + (" …" if len(left) > 3 else "")  # noqa: PLR2004  as many as fit a line
        out.answer(f"{counted(len(left), 'recording')} waiting; decide at a terminal, or:")
        out.answer(f"  golden accept {safe(some)} --reason TEXT")
        out.answer(f"  golden reject {safe(some)} --reason TEXT")
    return code


def _deciding(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--reason", required=True, metavar="TEXT", help="Why."),
        click.option("--all", "everything", is_flag=True, help="All that wait."),
        run_option,
        click.argument("runs", nargs=-1, metavar="[RUN]..."),
    ):
        function = option(function)
    return function


@command(
    """golden accept report-1 --reason "prices are in cents now"
    golden accept --all --reason "new greeting, see #12\"""",
)
@_deciding
def accept(session: Session, *, runs: tuple[str, ...], run_option: str | None, everything: bool, reason: str) -> int:
    """Put waiting recordings in the place of the golden ones.

    Who did it, when, why and at which commit is signed with the recording, and stands in the ledger. A golden file that
    is not what was recorded is not replaced. Refused in CI. Exits 0 if all were accepted.
    """
    return _decide(session, "accept", runs, run_option, reason, everything=everything)


@command(
    """golden reject report-1 --reason "the rounding is a mistake"
    golden reject --all --reason "recorded with the wrong branch\"""",
)
@_deciding
def reject(session: Session, *, runs: tuple[str, ...], run_option: str | None, everything: bool, reason: str) -> int:
    """Remove waiting recordings; the golden ones stay as they are.

    The reason stands in the answer and is kept nowhere, as nothing is of what is removed. Refused in CI. Exits 0 if all
    were removed.
    """
    return _decide(session, "reject", runs, run_option, reason, everything=everything)


def _decide(
    session: Session, name: str, runs: Sequence[str], run_option: str | None, reason: str, *, everything: bool
) -> int:
    refuse_in_ci(session.settings, name)
    given = [*runs, *([] if run_option is None else [run_option])]
    if bool(given) is everything:
        raise click.UsageError("give RUN or --all")
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why")
    store = session.settings.store()
    decide = _Decisions(session, store, reason)
    chosen = _chosen(store, given)
    if not chosen:
        session.out.answer(f"nothing waits in {safe(pending_folder(store.folder))}")
    codes = [0]
    for run_id in chosen:
        try:
            decide.accept(run_id, reason) if name == "accept" else decide.reject(run_id, reason)
        except GoldenError as error:
            if len(chosen) == 1:
                raise
            codes.append(tell_refused(session.out, run_id, error))
    by = {"accepted": decide.accepted, "rejected": decide.rejected, "refused": len(codes) - 1}
    session.out.summary(len(chosen), {word: count for word, count in by.items() if count}, worst(codes))
    return worst(codes)


class _Decisions:
    """Carries out what was decided, and says so."""

    def __init__(self, session: Session, store: Store, reason: str | None) -> None:
        self._session = session
        self._store = store
        self._reason = reason
        self._commit = head(os.path.abspath(store.folder), session.settings.user_environ())
        self.accepted = 0
        self.rejected = 0
        # Of what was decided and could not be done.
        self.codes: list[int] = []

    def ask(self, group: Group) -> bool:
        """Ask about recordings that changed alike; return whether to go on asking."""
        many = len(group.runs) > 1
        words = f"all {len(group.runs)} alike: " if many else ""
        letters = ["a", "r", "s", *(["o"] if many else []), "q"]
        one = ", one by one (o)" if many else ""
        answer = click.prompt(
            f"{words}accept (a), reject (r), skip (s){one}, quit (q)?",
            prompt_suffix=" ",
            type=click.Choice(letters),
            show_choices=False,
        )
        if answer == "o":
            return all(
                self.ask(msgspec.structs.replace(group, runs={run_id: file_id}))
                for run_id, file_id in group.runs.items()
            )
        if answer in {"a", "r"}:
            reason = self._reason or _asked_reason()
            decide = self.accept if answer == "a" else self.reject
            for run_id, file_id in group.runs.items():
                try:
                    decide(run_id, reason, file_id)
                except GoldenError as error:
                    # What is wrong with one keeps nobody from deciding about the others.
                    self.codes.append(tell_refused(self._session.out, run_id, error))
        return bool(answer != "q")

    def accept(self, run_id: str, reason: str, file_id: str | None = None) -> None:
        """Accept one recording, that of this id, if somebody has seen it."""
        statement = accepted(self._store, run_id, reason=reason, commit=self._commit, file_id=file_id)
        self.accepted += 1
        by = statement.accepted or None
        out = self._session.out
        members = msgspec.to_builtins(by) if by else {}
        out.record("accept", run_id=run_id, outcome="accepted", gen=statement.gen, **members)
        out.answer(f"{mark(good=True)} {bold(safe(run_id))}  accepted" + (dim(f" by {safe(by.actor)}") if by else ""))
        self._session.keep(self._store.read())

    def reject(self, run_id: str, reason: str, file_id: str | None = None) -> None:
        """Reject one recording, that of this id, if somebody has seen it."""
        rejected(self._store, run_id, file_id=file_id)
        self.rejected += 1
        self._session.out.record("reject", run_id=run_id, outcome="rejected", reason=reason)
        self._session.out.answer(f"{mark(None)} {bold(safe(run_id))}  rejected: {safe(reason)}")


def _asked_reason() -> str:
    reason = ""
    while not reason:
        reason = click.prompt("reason", prompt_suffix=": ").strip()
    return reason


def _chosen(store: Store, given: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(given)) or waiting(store.folder)


def _grouped(store: Store, names: Iterable[str]) -> tuple[list[Group], dict[str, GoldenError]]:
    """Return what changed, with the runs that changed alike together, and why of others nobody can say."""
    groups: dict[str, Group] = {}
    refused: dict[str, GoldenError] = {}
    for name in names:
        try:
            found = _change(store, name)
        except GoldenError as error:
            refused[name] = error
            continue
        about = [[d.step_id, d.path, d.kind, d.expected, d.actual] for d in found.differences]
        key = name if found.new else sha256_hex(canonical_bytes(about))
        if key in groups:
            groups[key].runs |= found.runs
        else:
            groups[key] = found
    return list(groups.values()), refused


def _change(store: Store, run_id: str) -> Group:
    golden = store.file(run_id)
    with pending(store, run_id) as found:
        status, runs = found.statement.status, {run_id: found.statement.file_id}
    if not golden.path.exists() and not golden.seal_path.exists():
        return Group(runs, True, [], {"new": 1}, status)
    with Pair.open(golden, GoldenFile(pending_folder(store.folder), run_id), store.read()) as pair:
        differences = telling(diff(pair.expected, pair.actual, noted=pair.unlike))
    return Group(runs, False, differences, dict(Counter(map(kind_between, differences))), status)


def _show(out: Out, store: Store, group: Group, count: str) -> None:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(group.kinds.items()))
    for run_id in group.runs:
        out.record(
            "review",
            run_id=run_id,
            new=group.new,
            status=group.status,
            kinds=group.kinds,
            alike=list(group.runs),
            differences=group.differences,
        )
    if out.json:
        return
    named = ", ".join(safe(run_id) for run_id in list(group.runs)[:5])
    title = named + (f" and {len(group.runs) - 5} more" if len(group.runs) > 5 else "")  # noqa: PLR2004
    out.answer(bold(title) + f"  {kinds}" + dim(f"  {count}" if count else ""))
    if group.status != "completed":
        out.answer(f"  {mark(good=False)} the new run ended {safe(group.status)}")
    step: object = ""
    for found in group.differences[:_SHOWN]:
        if found.step_id != step:
            out.answer(f"  step {bold(safe(found.step_id))}" if found.step_id else "  run")
            step = found.step_id
        show_difference(out, found)
    if len(group.differences) > _SHOWN:
        one = next(iter(group.runs))
        there = GoldenFile(pending_folder(store.folder), one).place
        out.answer(dim(f"  and {len(group.differences) - _SHOWN} more: golden diff {safe(one)} {safe(there)}"))
