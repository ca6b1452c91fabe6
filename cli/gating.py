"""Gating: `golden gate`, which verifies and replays a set of recordings: one verdict that a pipeline acts on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from cli.command import Session, command, run_option
from cli.commands import permit_of, permit_options
from cli.functions import function_option, with_functions
from cli.gate_matches import Matches
from cli.gate_places import Places
from cli.gate_reports import Reports, report_options
from cli.inputs import given_inputs, input_options
from cli.render import Out, bold, counted, dim, mark, safe
from cli.repeats import Repeats
from cli.replaying import divergence_lines
from cli.settings import Settings, kept_surroundings
from cli.usercode import TerminatedError, heed_sigterm, prepare
from cli.workers import Died, answers
from golden.clock import timestamp
from golden.errors import GoldenError, KeyringError, UsageError
from golden.store import SUFFIX, GoldenFile
from golden.version import VERSION
from replay.current_specs import CurrentSpecs
from replay.frames import Failure
from replay.gate import Gate, Terms
from replay.judgement import MATCHED, UNDECIDED, Judgement, Summary, summed_up
from replay.skill import SkillRegistry, load_skills
from replay.unchanged import Match


class Refusal(msgspec.Struct, tag=True):
    """What nobody can be judged without: a skill module that fails to import, a key that cannot be used."""

    problem: str
    hint: str
    failure: Failure | None
    of_key: bool

    def raised(self) -> GoldenError:
        """Return the error that it was."""
        error = (KeyringError if self.of_key else UsageError)(self.problem, hint=self.hint)
        error.__dict__["failure"] = self.failure
        return error


class Answer(msgspec.Struct, tag=True):
    """What a worker answers."""

    judgement: Judgement
    match: Match | None


# As JSON, which carries every value that a recording can hold.
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Answer | Refusal).decode


@command(
    """golden gate
    golden gate goldens/ --junit report.xml --html report.html
    golden gate 'goldens/*.steps.jsonl' -j 2 -x
    golden gate @changed.txt --github --sarif report.sarif
    golden gate --repeat 3""",
    skills=True,
)
@click.argument("places", nargs=-1, metavar="[RUN|DIR|@LIST]...")
@run_option
@click.option("--spec", "spec_path", metavar="FILE", help="Compare with this spec instead of the recorded ones.")
@input_options
@click.option("-x", "--fail-fast", is_flag=True, help="Stop after the first recording that fails.")
@click.option("-j", "--jobs", default=1, type=click.IntRange(1), metavar="N", help="Processes to use.")
@click.option(
    "--repeat",
    default=1,
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Judge N times, each in another order and with another hash seed: tells flaky from changed.",
)
@click.option("--no-cache", is_flag=True, help="Replay also what matched before and has not changed since; as in CI.")
@function_option
@permit_options
@report_options
def gate(
    session: Session,
    *,
    places: tuple[str, ...],
    run_option: str | None,
    spec_path: str | None,
    fail_fast: bool,
    jobs: int,
    repeat: int,
    no_cache: bool,
    function_name: str | None,
    allowed: bool,
    variables: tuple[str, ...],
    **given: Any,
) -> int:
    """Verify and replay recordings, and let none pass for the wrong reason.

    A RUN is a run id, a path or a pattern of paths; a DIR stands for all recordings in it and what its ledger knows,
    @LIST for a file with one of these a line; without any, the golden directory. Each is judged in a process that sees
    no secret; one that ends it is named. Exits 0 if all match, 1 if any differs, 3 if a file is tampered with, missing
    or unlisted, 4 if anything could not be decided or there is nothing to judge; the worst decides, 3 before 4 before
    1.
    """
    settings, out = session.settings, session.out
    began, when = time.perf_counter(), timestamp()
    reports = Reports(settings, out, **{name: given.pop(name) for name in Reports.OPTIONS})
    inputs = given_inputs(**given)
    store = settings.store()
    found = Places(session, store)
    for place in [*places, *([] if run_option is None else [run_option])]:
        found.add(place)
    if not places and run_option is None:
        found.add_golden_directory()
    found.close()
    configured = settings.values["guard"]
    terms = Terms(
        inputs=inputs or None,
        permit=permit_of(settings, variables, allowed=allowed, named=spec_path is not None),
        guard=None if configured == "virtual" else configured,
        timeline=reports.wants_timeline,
    )
    specs = CurrentSpecs(settings.values["specs"], spec_path)
    # What cannot be read is a mistake to be told at once, not once for each recording.
    specs.load()
    keeps = not (no_cache or settings.is_ci or repeat > 1 or terms.timeline or terms.guard == "off")
    matches = Matches(settings, session.settings.values, [function_name, inputs]) if keeps else None
    job = _Job(session, found, specs, function_name, terms, matches)
    judgements: list[Judgement] = []
    told: set[str] = set()
    heed_sigterm()
    try:
        repeats = Repeats(repeat, found.files, settings.environ)
        with reports.plain_output(), closing(job.judgements(found.files, jobs)) as judged:
            for judgement in chain(map(repeats.settled, judged), found.pending):
                judgements.append(reports.kept(judgement))
                _show(out, judgement, told)
                if fail_fast and judgement.code:
                    break
        found.find_dead_rules(judgements)
        summary = summed_up(
            judgements,
            version=VERSION,
            python=platform.python_version(),
            when=when,
            findings=found.findings,
            seconds=time.perf_counter() - began,
            jobs=jobs,
            kids=tuple(sorted(job.kids)),
            warnings=tuple(_warnings(settings, found)),
        )
        if matches:
            matches.keep(job.matches)
        reports.write(summary, judgements)
        with reports.plain_output():
            _conclude(out, summary)
            if "diverged" in summary.by and not settings.is_ci:
                out.talk(dim("hint: if what changed is meant: golden update RUN, then golden review; else undo it"))
    except TerminatedError:
        out.talk("golden: terminated")
        return 143
    return summary.code


def _misnamed(file: GoldenFile) -> Judgement:
    problem = f"{ascii(file.name)[1:-1]} is not named <run_id>.steps.jsonl"
    return Judgement(
        run_id="", path="", verdict="unreadable", code=UNDECIDED, problem=problem, hint="rename it to its run id"
    )


def _understood(written: bytes) -> Answer | Refusal | None:
    try:
        found: Answer | Refusal = _decode(written)
    except msgspec.MsgspecError:
        return None
    return found


class _Job:
    """Everything that judging one file needs, and how judgements come back from where that is done."""

    def __init__(
        self,
        session: Session,
        places: Places,
        specs: CurrentSpecs,
        function_name: str | None,
        terms: Terms,
        matches: Matches | None,
    ) -> None:
        self._session = session
        self._function_name = function_name
        self._gate = Gate(places.directory, self._skills, specs.of, terms, matches.unchanged if matches else None)
        self._restore: Callable[[], None] | None = None
        self.kids: set[str] = set()
        self.matches: dict[str, Match] = {}

    def judgements(self, files: Sequence[GoldenFile], jobs: int) -> Generator[Judgement]:
        """Give the judgement on each file in order; raises UsageError where there are no skills to judge with."""
        found: Iterator[Answer | Refusal | Died] = answers(self._answer, files, jobs, _understood)
        for file, answer in zip(files, found, strict=True):
            if isinstance(answer, Died):
                yield Judgement(
                    run_id=file.stem,
                    path=file.place,
                    verdict="died",
                    code=UNDECIDED,
                    problem=f"its code ended the process it was replayed in: {answer.how}",
                    hint=f"golden replay {file.stem} shows what it wrote; the others were judged all the same",
                )
                continue
            if isinstance(answer, Refusal):
                raise answer.raised()
            if answer.match is not None:
                self.matches[file.place] = answer.match
            self.kids.update([answer.judgement.kid] if answer.judgement.kid else [])
            # Its name never leaves this process, where it need not be UTF-8.
            yield replace(answer.judgement, run_id=file.stem, path=file.place)

    def _answer(self, file: GoldenFile) -> bytes:
        if self._restore is None:
            # This process is one for the user's code: it is left without secrets, and without the answer's stream.
            prepare(self._session.out)
            self._restore = kept_surroundings()
        try:
            return _encode(Answer(self._gate.judge(file), self._gate.match))
        except UnicodeEncodeError:
            return _encode(Answer(_misnamed(file), None))
        except (UsageError, KeyringError) as error:
            failure = getattr(error, "failure", None)
            return _encode(Refusal(error.problem, error.hint, failure, isinstance(error, KeyringError)))
        finally:
            self._restore()

    def _skills(self) -> SkillRegistry:
        values = self._session.settings.values
        registry = load_skills(values["skills"])
        with_functions(registry, values["functions"], self._function_name)
        return registry


def _warnings(settings: Settings, places: Places) -> Iterator[str]:
    if settings.is_ci and places.can_sign:
        yield (
            "a secret lies beside the code under test, which could read it: give CI the public keys alone"
            " (golden-keyring.toml), and the secret to whoever records"
        )
    if places.waiting and not places.pending:
        yield f"{counted(places.waiting, 'recording')} waiting for review: golden review"


def _show(out: Out, judgement: Judgement, told: set[str]) -> None:
    out.record("gate", **{name: getattr(judgement, name) for name in judgement.__struct_fields__})
    name = judgement.path.removesuffix(SUFFIX) if os.path.dirname(judgement.path) else judgement.run_id
    for note in judgement.notes:
        if note not in told:
            # Of the code of one skill there is the same to be said for each of a hundred recordings.
            told.add(note)
            out.talk(dim(f"note: {safe(note)}"))
    if judgement.code == MATCHED:
        counts = f"{counted(judgement.steps_compared, 'step')} compared"
        counts += f", {judgement.steps_answered} answered" if judgement.steps_answered else ""
        out.brief("unchanged" if judgement.cached else "matched", name, counts)
        return
    what = f" ({judgement.kind})" if judgement.kind not in (None, judgement.verdict) else ""
    out.answer(f"{mark(good=False)} {bold(safe(name))}  {judgement.verdict}{what}")
    if judgement.problem:
        out.answer(f"  {safe(judgement.problem)}")
    if judgement.divergence is not None:
        found, first_line = judgement.divergence, 1
        if judgement.differences and judgement.differences[0].cut:
            # The lines around what differs say more than the beginning of both.
            around = judgement.differences[0]
            found = replace(found, expected=around.expected, actual=around.actual)
            first_line = around.first_line
        for line in divergence_lines(found, judgement.failure, first_line):
            out.answer(line)
    if judgement.hint:
        out.answer(dim(f"  hint: {safe(judgement.hint)}"))


def _conclude(out: Out, summary: Summary) -> None:
    for finding in summary.findings:
        where = f" {safe(finding.path)}" if finding.path else ""
        out.record("gate", **{name: getattr(finding, name) for name in finding.__struct_fields__})
        out.answer(f"{mark(good=False)} {bold(finding.verdict)}{where}: {safe(finding.problem)}")
        out.answer(dim(f"  hint: {safe(finding.hint)}"))
    for warning in summary.warnings:
        out.talk(dim(f"warning: {safe(warning)}"))
    out.summary(
        summary.checked,
        summary.by,
        summary.code,
        cached=summary.cached,
        steps_compared=summary.steps_compared,
        steps_answered=summary.steps_answered,
        kids=summary.kids,
        warnings=summary.warnings,
    )
    counts = ", ".join(f"{count} {word}" for word, count in summary.by.items())
    steps = f"{counted(summary.steps_compared, 'step')} compared"
    steps += f", {summary.steps_answered} answered" if summary.steps_answered else ""
    by = f" · key {', '.join(summary.kids)}" if summary.kids else ""
    if summary.cached:
        counts += f" ({summary.cached} unchanged since they last did)"
    line = f"{counted(summary.checked, 'recording')}: {counts}" if summary.checked else "nothing was judged"
    if summary.checked and summary.findings:
        line += f", and {counted(len(summary.findings), 'finding')} more"
    out.answer(f"{mark(summary.code == MATCHED)} {bold(line)}" + dim(f" · {steps}{by}"))
