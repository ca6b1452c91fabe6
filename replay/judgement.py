"""Judgement: what a gate found, of each recording and altogether, as data that reports are made from.

Judges nothing and finds no words for people: `judging` makes judgements of replays, `report` shows them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from golden import verdict as at_rest
from golden.values import Kind
from replay.divergence import Divergence
from replay.frames import Failure

if TYPE_CHECKING:
    from golden.difference import Difference as Unlike

# A file that is not intact keeps its own verdict; `died` is a recording whose worker process was killed, `flaky` one
# whose replays do not agree, `pending` one whose successor waits for review, `unused` one that nothing asks for.
Outcome = at_rest.Word | Literal["matched", "diverged", "flaky", "refused", "died", "pending", "unused"]
Change = Literal["new", "input", "output", "order", "format", "budget", "environment", "unused"]
State = Literal["compared", "answered", "skipped", "diverged", "not reached"]

MATCHED, DIFFERS, TAMPERED, UNDECIDED = 0, 1, 3, 4
# The worst decides; `golden gate` ends with it.
_SEVERITY = (MATCHED, DIFFERS, UNDECIDED, TAMPERED)
_DIFFERS: frozenset[Outcome] = frozenset({"diverged", "flaky", "pending", "unused"})
_BUDGET = re.compile(r"/(budget_ceiling_cents|steps/[0-9]+/(estimated_cost_cents|max_cost_cents))(/|\Z)")
_WHOLE_STEP = re.compile(r"/steps/[0-9]+\Z")
_OTHER_CALL = re.compile(r"/effects/[0-9]+/name\Z")
_WHOLE_CALL = re.compile(r"(/effects/[0-9]+)?\Z")


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place where expected and actual differ, as text that is short enough to be shown.

    `expected` and `actual` are a text as it is, any other value as JSON; None is absence (`kind` says on which side).
    Of long ones the lines around what differs: `first_line` is the number of the first line that is here, from 1, the
    same on both sides. `cut` says that something was left out.
    """

    path: str
    kind: Kind
    expected: str | None
    actual: str | None
    first_line: int = 1
    cut: bool = False


class StepMark(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step on the line of time: what became of it, when it began after its run did, and how long it took (µs).

    Times are the recorded ones; None where the recording says nothing. `error_code` is of a step that failed as
    recorded.
    """

    step_id: str
    index: int
    state: State
    offset_us: int | None = None
    duration_us: int | None = None
    error_code: str | None = None


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a gate found of one recording.

    Attributes:
        run_id: the run's id, as its file is named.
        path: the golden file as it was found, relative where it was given so.
        verdict: a file's own verdict where it is not intact, else what came of the replay.
        code: the exit code that it asks for by itself: 0, 1, 3 or 4.
        kind: what changed, of a recording that diverged; see `kind_of`.
        spec_id, spec_source: the spec that it was compared with, as a replay says it.
        divergence: where it left its recording; long values are cut.
        differences: all that differs there, the divergence's own place first; `more` counts those left out.
        failure: what the diverging step's code raised.
        event: the number of the first bad event, of a damaged file.
        problem, hint: why it is neither matched nor diverged, and what to do next.
        idle: rules of the configuration that matched nothing in this run.
        steps: the steps in the order of the file.
        seconds: how long judging took.
        cached: nothing changed since it last matched, and nothing was run.
        kid: the key whose signature was believed.
    """

    run_id: str
    path: str
    verdict: Outcome
    code: int
    kind: Change | None = None
    spec_id: str | None = None
    spec_source: str = ""
    steps_recorded: int = 0
    steps_compared: int = 0
    steps_answered: int = 0
    divergence: Divergence | None = None
    differences: tuple[Difference, ...] = ()
    more: int = 0
    failure: Failure | None = None
    event: int | None = None
    problem: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    steps: tuple[StepMark, ...] = ()
    seconds: float | None = None
    cached: bool = False
    kid: str | None = None


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a gate found that belongs to no recording: nothing to judge, a ledger that is not what it was.

    `path` is the file or directory it is about, if any; `code` the exit code that it asks for.
    """

    verdict: str
    problem: str
    hint: str
    code: int
    path: str | None = None


class Summary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a gate found altogether.

    Attributes:
        code: the exit code: the worst of all, 3 before 4 before 1.
        by: how many recordings there are of each verdict.
        checked: how many recordings there are; `cached` of them were not run.
        kids: the keys whose signatures were believed.
        when: RFC 3339, when the gate began.
        python, version: what it ran on.
    """

    code: int
    by: dict[str, int]
    checked: int
    version: str
    python: str
    when: str
    cached: int = 0
    steps_compared: int = 0
    steps_answered: int = 0
    seconds: float | None = None
    jobs: int = 1
    kids: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def code_of(outcome: Outcome) -> int:
    """Return the exit code that a verdict asks for; an intact file that nobody replayed is undecided."""
    if outcome in at_rest.TAMPERED:
        return TAMPERED
    if outcome in _DIFFERS:
        return DIFFERS
    return MATCHED if outcome == "matched" else UNDECIDED


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that decides: 3, then 4, then 1; of none at all 4, because nothing was checked."""
    return max(codes, key=_SEVERITY.index, default=UNDECIDED)


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Return judgements as they are read: what is worst first, else in the order given."""
    return sorted(judgements, key=lambda judgement: -_SEVERITY.index(judgement.code))


def summed_up(
    judgements: Sequence[Judgement],
    *,
    version: str,
    python: str,
    when: str,
    findings: Sequence[Finding] = (),
    **more: Any,
) -> Summary:
    """Return the summary of these judgements and findings; `more` are members of `Summary` that only a gate knows."""
    return Summary(
        code=worst([*(judgement.code for judgement in judgements), *(finding.code for finding in findings)]),
        by=dict(sorted(Counter(judgement.verdict for judgement in judgements).items())),
        checked=len(judgements),
        cached=sum(judgement.cached for judgement in judgements),
        steps_compared=sum(judgement.steps_compared for judgement in judgements),
        steps_answered=sum(judgement.steps_answered for judgement in judgements),
        findings=tuple(findings),
        version=version,
        python=python,
        when=when,
        **more,
    )


def kind_of(divergence: Divergence) -> Change:
    """Return what kind of change a divergence is: what whoever decides about it has to look at.

    - `new`: a step or an outside call that the recording does not have.
    - `unused`: a recorded step or outside call that nobody asked for.
    - `order`: another step or call than the recorded one at this point, or a step skipped for another reason.
    - `input`: what a step, a call or the run is given; a spec that differs otherwise.
    - `format`: an output in another form: a member more or less, another type, white space alone.
    - `output`: an output, error, status or result that differs otherwise.
    - `budget`: a cost or a ceiling.
    - `environment`: the code that there is, or its seed: a skill of another version.
    """
    cause, path = divergence.cause, divergence.path
    come_or_gone: Change | None = {"added": "new", "removed": "unused"}.get(divergence.kind)  # type: ignore[assignment]
    if cause == "spec":
        if come_or_gone and _WHOLE_STEP.match(path):
            return come_or_gone
        return "budget" if _BUDGET.match(path) else "input"
    if cause == "step":
        return come_or_gone if come_or_gone and path == "" else "order"
    if cause == "effect":
        if come_or_gone and _WHOLE_CALL.match(path):
            return come_or_gone
        return "order" if _OTHER_CALL.match(path) else "input"
    if cause == "output" and _another_form(divergence):
        return "format"
    return _KINDS[cause]


def kind_between(found: Unlike) -> Change:
    """Return what kind of change a difference between a golden recording and a new one of its run is; see `kind_of`."""
    path, kind = found.path, found.kind
    come_or_gone: Change | None = {"added": "new", "removed": "unused"}.get(kind)  # type: ignore[assignment]
    head, *rest = path.split("/")[1:] or [""]
    if head == "" or (head == "effects" and len(rest) == 1):
        return come_or_gone or "input"
    if head == "spec":
        return "budget" if _BUDGET.match(path.removeprefix("/spec")) else "input"
    if head == "effects":
        return "order" if rest[1:] == ["name"] else "input"
    if head == "output":
        place = Divergence("output", found.step_id, found.index, path, found.expected, found.actual, None, kind)
        return "format" if _another_form(place) else "output"
    return _MEMBERS.get(head, "output")


_MEMBERS: dict[str, Change] = {
    "inputs": "input",
    "input_hash": "input",
    "budget_snapshot": "budget",
    "cost_cents": "budget",
    "total_cost_cents": "budget",
    "seed": "environment",
    "seed_scheme": "environment",
    "skill_version": "environment",
    "policy": "environment",
    "volatile": "environment",
    "redacted": "environment",
    "index": "order",
    "skill_id": "input",
}
_KINDS: dict[str, Change] = {
    "seed": "environment",
    "budget": "budget",
    "inputs": "input",
    "skill": "environment",
    "error": "output",
    "output": "output",
    "status": "output",
    "result": "output",
}


def _another_form(found: Divergence) -> bool:
    if found.kind != "changed":
        # A list with an item more is other data, an object with a member more another form.
        return not found.path.rpartition("/")[2].isdecimal()
    if isinstance(found.expected, str) and isinstance(found.actual, str):
        return found.expected.split() == found.actual.split()
    return type(found.expected) is not type(found.actual) and None not in (found.expected, found.actual)
