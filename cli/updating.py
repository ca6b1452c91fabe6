"""Updating: `golden update`, which records runs anew beside the golden ones, where they wait for review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from cli.command import Session, command, run_option
from cli.commands import permit_of, permit_options
from cli.functions import function_option, with_functions
from cli.inputs import given_inputs, input_options
from cli.render import Out, bold, dim, mark, safe
from cli.running import Watching
from cli.settings import Settings, kept_surroundings
from cli.usercode import TerminatedError, prepare
from golden.difference import Difference, diff
from golden.errors import GoldenError, TamperedError, UsageError
from golden.recording import Recording
from golden.review import discard_draft, draft_store, pending_folder, reject, submit, waiting
from golden.store import GoldenFile, Store
from replay.command import with_commands
from replay.current_specs import CurrentSpecs
from replay.host import Host
from replay.judgement import Change, kind_between
from replay.permission import Permit
from replay.skill import SkillRegistry, load_skills
from replay.updating import update as updated


@command(
    """golden update report-1
    golden update report-1 report-2 --spec specs/report.json
    golden update --all --live
    golden update agent-1 --function agent.py:agent --input city=Oslo""",
    skills=True,
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@run_option
@click.option("--all", "everything", is_flag=True, help="Every recording of the golden directory.")
@click.option("--live", is_flag=True, help="Ask the world, instead of answering calls from the recording.")
@click.option("--spec", "spec_path", metavar="FILE", help="The spec to run, instead of the recorded or configured one.")
@input_options
@function_option
@permit_options
def update(
    session: Session,
    *,
    runs: tuple[str, ...],
    run_option: str | None,
    everything: bool,
    live: bool,
    spec_path: str | None,
    function_name: str | None,
    allowed: bool,
    variables: tuple[str, ...],
    **given: Any,
) -> int:
    """Record runs anew with the code and specs of today, for review: `golden review` shows what changed.

    A new recording has the id, seed and inputs of its golden one, which stays as it is until `golden accept`. External
    calls are answered from the golden recording, by name and arguments; a call that it does not hold is refused,
    unless --live. What comes out alike is dropped. Refused in CI, which decides nothing. Exits 0 if every run was
    recorded anew or is unchanged, 2 to 4 if one was refused.
    """
    settings, out = session.settings, session.out
    refuse_in_ci(settings, "update")
    store = settings.store()
    names = [*runs, *([] if run_option is None else [run_option])]
    if bool(names) is everything:
        raise click.UsageError("give RUN or --all")
    names = names or store.stems()
    store.keyring.active  # noqa: B018  refuses where there is none, before any code is loaded
    specs = CurrentSpecs(settings.values["specs"], spec_path)
    specs.load()
    permit = permit_of(settings, variables, allowed=allowed, named=spec_path is not None)
    job = _Update(session, store, specs, given_inputs(**given), permit, live=live)
    environ = settings.user_environ()
    prepare(out)
    registry = load_skills(settings.values["skills"])
    with_functions(registry, settings.values["functions"], function_name)
    restore = kept_surroundings()
    codes = [0]
    by: Counter[str] = Counter()
    for name in names:
        try:
            by[job.update(name, registry, environ)] += 1
        except TerminatedError:
            out.talk("golden: terminated")
            return 143
        except GoldenError as error:
            if len(names) == 1:
                raise
            by["refused"] += 1
            codes.append(tell_refused(out, name, error))
        finally:
            restore()
    code = worst(codes)
    out.summary(sum(by.values()), dict(by), code)
    if by["pending"]:
        out.talk(dim("hint: golden review shows what changed; golden accept RUN --reason TEXT takes it over"))
    return code


class _Update:
    """Everything that recording one run anew needs."""

    def __init__(
        self,
        session: Session,
        store: Store,
        specs: CurrentSpecs,
        inputs: dict[str, Any],
        permit: Permit,
        *,
        live: bool,
    ) -> None:
        self._session = session
        self._store = store
        self._specs = specs
        self._inputs = inputs
        self._permit = permit
        self._live = live

    def update(self, run_id: str, registry: SkillRegistry, environ: dict[str, str]) -> str:
        """Record one run anew, and return what came of it: `pending` or `unchanged`."""
        settings, out = self._session.settings, self._session.out
        with Recording.open(self._store.file(run_id), self._store.read()) as golden:
            # Of an update that was killed.
            discard_draft(self._store, run_id)
            host = Host(
                with_commands(registry, environ),
                draft_store(self._store),
                controls=settings.controls(),
                environ=environ,
                observer=Watching(out) if out.verbose else None,
                guard=settings.values["guard"] or "warn",
                allow_secrets=tuple(settings.values["allow_secrets"]),
            )
            try:
                found = updated(
                    host,
                    golden,
                    self._specs.of(golden.start),
                    inputs=self._inputs,
                    live=self._live,
                    volatile=settings.values["volatile"],
                    redact=settings.values["redact"],
                    permit=self._permit,
                )
            except BaseException:
                discard_draft(self._store, run_id)
                raise
            with found:
                kinds = Counter(map(kind_between, telling(diff(golden, found))))
        if kinds:
            submit(self._store, run_id)
        else:
            discard_draft(self._store, run_id)
            if run_id in waiting(self._store.folder):
                reject(self._store, run_id)
        self._tell(run_id, kinds)
        return "pending" if kinds else "unchanged"

    def _tell(self, run_id: str, kinds: Counter[Change]) -> None:
        out = self._session.out
        place = GoldenFile(pending_folder(self._store.folder), run_id).place if kinds else None
        members = {"run_id": run_id, "outcome": "pending" if kinds else "unchanged", "path": place}
        out.record("update", **members, kinds=dict(kinds), problem=None, hint=None)
        if kinds:
            told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            out.answer(f"{mark(None)} {bold(safe(run_id))}  pending: {told}")
        else:
            out.answer(f"{mark(good=True)} {bold(safe(run_id))}  unchanged")


def telling(differences: Iterable[Difference]) -> list[Difference]:
    """Return differences without the hash of the result, where others say why it is another."""
    found = list(differences)
    return [difference for difference in found if difference.path != "/result_hash"] or found


def tell_refused(out: Out, run_id: str, error: GoldenError) -> int:
    """Say why one run of several was refused, and return the exit code for that."""
    out.record(out.command, run_id=run_id, outcome="refused", problem=error.problem, hint=error.hint)
    out.answer(f"{mark(good=False)} {bold(safe(run_id))}  refused: {safe(error.problem)}")
    out.answer(dim(f"  hint: {safe(error.hint)}"))
    if isinstance(error, TamperedError):
        return 3
    return 2 if isinstance(error, UsageError) else 4


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of a command, of those for the single runs."""
    return max(codes, key=(0, 1, 2, 4, 3).index)


def refuse_in_ci(settings: Settings, name: str) -> None:
    """Raise UsageError where this is an automatic build: it decides nothing, and writes no golden file."""
    if settings.is_ci:
        raise UsageError(
            f"golden {name} is for people, and this is CI",
            hint=f"run golden {name} where you work, and commit what it makes",
        )
