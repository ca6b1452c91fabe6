"""Replaying: the command that runs recordings again, in one process or several, and tells what came of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from cli.command import Session, command, run_option
from cli.commands import permit_of, permit_options
from cli.configuration import GUARDS
from cli.functions import function_option, with_functions
from cli.inputs import given_inputs, input_options
from cli.parallel import in_order
from cli.render import bold, counted, dim, failure_lines, mark, safe, shown
from cli.usercode import TerminatedError, prepare
from golden.errors import GoldenError, KeyringError, TamperedError, UsageError
from golden.event import StepData
from golden.recording import Recording
from golden.store import GoldenFile, Store, locate
from replay.current_specs import CurrentSpecs
from replay.divergence import Divergence
from replay.frames import Failure
from replay.guard import Mode
from replay.permission import Permit
from replay.replayer import Replay
from replay.replayer import replay as replayed
from replay.skill import SkillRegistry, load_skills

if TYPE_CHECKING:
    from cli.debugger import Prompt
    from replay.trail import Where


class Answer(msgspec.Struct):
    """What replaying one RUN came to, ready to be shown: lines per step, and the answer or the error in its place."""

    run_id: str
    lines: list[str] = []
    replay: dict[str, Any] = {}
    exit_code: int = 0


@command(
    """golden replay report-20260101T000000Z-1a2b --skills skills.py
    golden replay report-1 --spec specs/report.json
    golden replay agent-1 --function agent.py:agent
    golden replay report-1 --allow-exec
    golden replay --all -x -j 2""",
    skills=True,
)
@click.argument("runs", nargs=-1, metavar="RUN...")
@run_option
@click.option("--all", "everything", is_flag=True, help="Every recording of the golden directory.")
@click.option("--spec", "spec_path", metavar="FILE", help="Compare with this spec instead of the recorded one.")
@input_options
@click.option("-x", "--fail-fast", is_flag=True, help="Stop after the first recording that does not match.")
@click.option("-j", "--jobs", default=1, type=click.IntRange(1), metavar="N", help="Processes to use.")
@click.option("-k", "text", metavar="TEXT", help="Only recordings whose run id contains TEXT.")
@function_option
@permit_options
@click.option(
    "--guard",
    type=click.Choice(GUARDS),
    metavar="MODE",
    help="As in record.  [default: the network is blocked, the rest warned of; virtual as recorded]",
)
@click.option("--pdb", "debugging", is_flag=True, help="Open the debugger where a replay diverges.")
def replay(
    session: Session,
    *,
    runs: tuple[str, ...],
    run_option: str | None,
    everything: bool,
    spec_path: str | None,
    fail_fast: bool,
    jobs: int,
    text: str | None,
    allowed: bool,
    variables: tuple[str, ...],
    function_name: str | None,
    guard: Mode | None,
    debugging: bool,
    **given: Any,
) -> int:
    """Run recordings again and compare everything; the first thing that changed is named.

    Compared with the spec given by --spec, else the file with the recorded id among the configured `specs`, else the
    recorded spec itself. A function is the one given by --function, else the one so called among the configured
    `functions`. External calls are answered from the recording. Commands (exec.run) are run, in a folder of
    their own, only with --allow-exec or where --spec names the same spec. What was redacted in the run inputs must be
    given by --input. Exits 0 if all match, 1 if any diverges, 3 if
    a file is tampered with, 4 if a replay is refused.
    """
    settings, out = session.settings, session.out
    names = [*runs, *([] if run_option is None else [run_option])]
    if bool(names) is everything:
        raise click.UsageError("give RUN or --all")
    # 40 ms to import.
    prompt: Prompt | None = import_module("cli.debugger").Prompt(session, jobs) if debugging else None
    store = settings.store()
    files = [locate(name, store.folder) for name in names] or [GoldenFile(store.folder, stem) for stem in store.stems()]
    files = [GoldenFile.at(os.path.abspath(file.place)) for file in files if text is None or text in file.stem]
    inputs = given_inputs(**given)
    permit = permit_of(settings, variables, allowed=allowed, named=spec_path is not None)
    configured = settings.values["guard"]
    # Whether the clock is virtual the recording says.
    mode = guard or (None if configured == "virtual" else configured)
    job = _ReplayJob(session, store, _Code(spec_path, function_name), inputs or None, permit, mode)
    job.prompt = prompt
    by: Counter[str] = Counter()
    code = 0 if files else 4
    try:
        for answer in in_order(job.answer, files, jobs):
            for line in answer.lines:
                out.answer(line)
            by[answer.replay["verdict"]] += 1
            out.record("replay", **answer.replay)
            code = max(code, answer.exit_code, key=(0, 1, 4, 3).index)
            if (fail_fast and answer.exit_code) or (prompt and prompt.is_over):
                break
    except TerminatedError:
        out.talk("golden: terminated")
        return 143
    if not files:
        out.answer(
            f"nothing to replay: no golden file in {safe(store.folder)}" + (f" with {safe(text)}" if text else "")
        )
    elif len(files) > 1:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(by.items()))
        out.answer(bold(f"{counted(sum(by.values()), 'recording')}: {counts}"))
    out.summary(sum(by.values()), dict(by), code)
    return code


class _Code(NamedTuple):
    """What was named to be run: a spec, a function, or neither."""

    spec_path: str | None
    function_name: str | None


class _ReplayJob:
    """Everything that replaying one file needs."""

    def __init__(
        self,
        session: Session,
        store: Store,
        code: _Code,
        inputs: dict[str, Any] | None,
        permit: Permit,
        guard: Mode | None,
    ) -> None:
        self.session = session
        self.store = store
        self.function_name = code.function_name
        self.specs = CurrentSpecs(session.settings.values["specs"], code.spec_path)
        self.inputs = inputs
        self.permit = permit
        self.guard = guard
        self.home = os.getcwd()
        self.registry: SkillRegistry | None = None
        self.prompt: Prompt | None = None

    def answer(self, file: GoldenFile) -> Answer:
        """Verify, then replay one file."""
        answer = Answer(file.stem, [f"{bold(safe(file.stem))}"])
        # The code replayed before may have left us elsewhere.
        os.chdir(self.home)
        try:
            with Recording.open(file, self.store.keyring) as recording:
                self._replay(recording, self._load(), answer)
        except UsageError:
            raise
        except GoldenError as error:
            if isinstance(error, KeyringError) and error.verdict is None:
                raise
            self._refuse(answer, error.problem, error.hint, 3 if isinstance(error, TamperedError) else 4)
        return answer

    def _load(self) -> SkillRegistry:
        # Skills are the user's code: they are loaded once a recording has verified, and see no secret.
        if self.registry is not None:
            return self.registry
        values = self.session.settings.values
        self.specs.load()
        prepare(self.session.out)
        self.registry = load_skills(values["skills"])
        with_functions(self.registry, values["functions"], self.function_name)
        return self.registry

    def _replay(self, recording: Recording, registry: SkillRegistry, answer: Answer) -> None:
        try:
            current = self.specs.of(recording.start)
        except UsageError as error:
            self._refuse(answer, error.problem, error.hint, 4)
            return
        if self.session.out.verbose:
            here = recording.start.environment
            answer.lines.append(
                dim(f"  recorded {recording.timestamp}, Python {safe(here.python)}, {safe(here.platform)}")
            )
        observe = _StepLines(answer.lines)
        prompt = self.prompt

        def debug(divergence: Divergence, failure: Failure | None, where: Where) -> None:
            for line in (*answer.lines, *divergence_lines(divergence, failure)):
                self.session.out.answer(line)
            answer.lines.clear()
            if prompt:
                prompt.open(where)

        found = replayed(
            recording,
            registry,
            current,
            inputs=self.inputs,
            observer=observe,
            permit=self.permit,
            guard=self.guard,
            debugger=debug if prompt else None,
        )
        answer.replay = _replay_members(found)
        answer.exit_code = {"matched": 0, "diverged": 1, "refused": 4}[found.verdict]
        if found.divergence is not None and prompt is None:
            answer.lines += divergence_lines(found.divergence, found.failure)
        if found.verdict == "refused":
            answer.lines.append(f"  {mark(good=False)} refused: {safe(found.problem or '')}")
            answer.lines.append(dim(f"  hint: {safe(found.hint or '')}"))
        else:
            counts = f"{found.steps_compared} of {counted(found.steps_recorded, 'step')} compared"
            counts += f", {found.steps_answered} answered" if found.steps_answered else ""
            answer.lines.append(
                f"  {mark(found.matched)} {bold(found.verdict)}: {counts}, spec {safe(found.spec_source)}"
            )
        answer.lines += [dim(f"  note: {safe(note)}") for note in found.notes]

    def _refuse(self, answer: Answer, problem: str, hint: str, code: int) -> None:
        refused = Replay(answer.run_id, "refused", "", problem=problem, hint=hint)
        answer.replay = _replay_members(refused)
        answer.exit_code = code
        answer.lines += [f"  {mark(good=False)} refused: {safe(problem)}", dim(f"  hint: {safe(hint)}")]


class _StepLines:
    """Turns each replayed step into a line; the diverging one is told by its divergence."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def step(self, data: StepData, divergence: Divergence | None, _failure: Failure | None) -> None:
        """See `Observer`."""
        what = "" if data.success or divergence else f"  fails as recorded ({safe(data.error_code or '')})"
        if divergence is None:
            self._lines.append(f"  {mark(good=True)} {safe(data.step_id)}{dim(what)}")


def _replay_members(found: Replay) -> dict[str, Any]:
    names = ("run_id", "verdict", "spec_source", "steps_recorded", "steps_compared", "steps_answered")
    members = {name: getattr(found, name) for name in names}
    divergence = msgspec.to_builtins(found.divergence)
    return {
        **members,
        "divergence": divergence,
        "problem": found.problem,
        "hint": found.hint,
        "notes": found.notes,
    }


def divergence_lines(found: Divergence, failure: Failure | None, first_line: int = 1) -> Iterator[str]:
    """Give the lines that tell a divergence: what differs and where, expected, actual, the line of code, the frames.

    Of texts that begin somewhere in longer ones, `first_line` is the number of their first line.
    """
    where = f"{found.step_id}: " if found.step_id else ""
    yield f"  {mark(good=False)} {bold(safe(where) + found.cause)} differs" + (
        f" at {safe(found.path)}" if found.path else ""
    )
    number, *lines = _first_unlike_line(found.expected, found.actual)
    if number:
        yield f"    line      {number + first_line - 1}"
    expected = "(absent)" if found.kind == "added" else shown(lines[0])
    actual = "(absent)" if found.kind == "removed" else shown(lines[1])
    yield f"    expected  {click.style(expected, fg='green')}"
    yield f"    actual    {click.style(actual, fg='red')}"
    if found.location:
        yield f"    at        {bold(safe(found.location))}"
    if failure is not None:
        yield from (f"    {line.strip()}" for line in failure_lines(failure))


def _first_unlike_line(expected: Any, actual: Any) -> tuple[int, Any, Any]:
    """Return number and texts of the first line in which two texts differ; 0 and both whole where one has no lines."""
    if not (isinstance(expected, str) and isinstance(actual, str) and "\n" in expected + actual):
        return 0, expected, actual
    pairs = zip_longest(expected.splitlines(keepends=True), actual.splitlines(keepends=True), fillvalue="")
    unlike = ((n, one, other) for n, (one, other) in enumerate(pairs, start=1) if one != other)
    # Of longer texts that were cut, what is left may be alike.
    return next(unlike, (0, expected, actual))
