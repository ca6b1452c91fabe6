"""Words: how a judgement is said in a sentence, where it points, and what to do about it, alike in every report.

Escapes nothing: each report knows what its own form cannot hold.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from golden import verdict as at_rest
from replay.judgement import MATCHED, TAMPERED, Change, Finding, Judgement, Summary

_LONGEST = 200
_ABSENT = "(absent)"


class Rule(NamedTuple):
    """What a verdict, or the cause of a divergence, means: a title, what is so, and what to do."""

    title: str
    meaning: str
    help: str


_IF_MEANT = "if it is meant, update the recording, else undo it"
_RESTORE = "leave everything as it is, tell whoever is responsible for security, then restore the file from backup"
CAUSES = {
    "spec": Rule(
        "the spec changed", "the current spec is not the one that was recorded, and no step was run", _IF_MEANT
    ),
    "seed": Rule("another seed", "a step is given another seed than it was recorded with", "record the run again"),
    "budget": Rule(
        "another cost",
        "a step costs something else than was recorded, or the budget stands elsewhere",
        f"look at what the step spends; {_IF_MEANT}",
    ),
    "step": Rule(
        "another course",
        "other steps run than were recorded, or in another order",
        f"look at what decides which step is next; {_IF_MEANT}",
    ),
    "inputs": Rule(
        "other inputs",
        "a step is given something else than it was recorded with",
        f"look at the steps before it; {_IF_MEANT}",
    ),
    "skill": Rule(
        "another skill",
        "a skill is gone, or declares another version than was recorded",
        "load the version that was recorded, or record the run again",
    ),
    "effect": Rule(
        "another outside call",
        "a step asks the world outside for something else than it was recorded with",
        f"look at the line that makes the call; {_IF_MEANT}",
    ),
    "error": Rule(
        "another error",
        "a step fails on one side only, or with another error",
        f"look at the innermost frame; {_IF_MEANT}",
    ),
    "output": Rule(
        "another output", "a step that is given the same returns something else", f"look at its skill; {_IF_MEANT}"
    ),
    "status": Rule("another end", "the run ends with another status", f"look at its last step; {_IF_MEANT}"),
    "result": Rule("another result", "the result of the run is another one", f"look at the step it is of; {_IF_MEANT}"),
}
VERDICTS = {
    "tampered": Rule("tampered with", "the file is not what was recorded", _RESTORE),
    "truncated": Rule("cut short", "the file is shorter than its seal says", _RESTORE),
    "wrong-run": Rule("another run's file", "file, seal and name are not of one run", _RESTORE),
    "missing": Rule("missing", "what was here is gone", _RESTORE),
    "unlisted": Rule("unlisted", "the ledger knows of no such recording", _RESTORE),
    "rolled-back": Rule("rolled back", "what is here is older than what was here before", _RESTORE),
    "unsealed": Rule("seal gone", "the run ended, and its seal is gone", _RESTORE),
    "revoked-key": Rule("revoked key", "only a revoked key vouches for it", _RESTORE),
    "live": Rule("still being written", "the run has not ended", "wait for its end, or resume it"),
    "torn": Rule("broken off", "the file ends inside a line", "resume the run, or recover the file as it is"),
    "unknown-key": Rule("key not at hand", "no key at hand can say what it is worth", "provide the key"),
    "unreadable": Rule("unreadable", "the file cannot be read", "look at its permissions and the disk"),
    "unsigned": Rule("never signed", "nothing vouches for the file", "import it, or take it out"),
    "intact": Rule("not replayed", "the file is intact, and nobody replayed it", "replay it"),
    "flaky": Rule(
        "not the same every time",
        "replays of one recording do not agree with each other",
        "look for what the code reads beside its inputs: the clock, random numbers, the order of a set",
    ),
    "refused": Rule("could not be replayed", "nothing was compared, so nothing is known", "provide what is missing"),
    "died": Rule("killed", "the process that replayed it was killed", "free memory or use fewer jobs, then run again"),
    "pending": Rule("waits for review", "a new recording waits to take its place", "review it"),
    "unused": Rule("unused", "nothing uses this recording", "use it, or take it out"),
}
# What is found of a place, and of no recording; what is found of a ledger has the words of a file.
FINDINGS = {
    "nothing": Rule("nothing to judge", "there is no recording", "see that it was checked out, or record a run"),
    "dead-rule": Rule("a rule without effect", "a rule of the configuration matched nothing", "correct or remove it"),
}
_UNKNOWN = Rule("something is wrong", "there is something to be looked at", "look at what is said about it")
KINDS: dict[Change, str] = {
    "new": "something new",
    "input": "other input",
    "output": "other output",
    "order": "another order",
    "format": "another form",
    "budget": "another cost",
    "environment": "another environment",
    "unused": "something left out",
}
STATUSES = {0: "matched", 1: "differs", 3: "tampered", 4: "undecided"}


class Place(NamedTuple):
    """Where somebody should look: a file, relative to the working directory if it lies below it, and a line from 1."""

    file: str
    line: int


def rule_of(judgement: Judgement) -> tuple[str, Rule]:
    """Return id and meaning of what was found: a cause where it diverged, else its verdict."""
    if judgement.verdict == "diverged" and judgement.divergence is not None:
        return f"diverged/{judgement.divergence.cause}", CAUSES[judgement.divergence.cause]
    return judgement.verdict, VERDICTS.get(judgement.verdict, _UNKNOWN)


def rule_of_finding(finding: Finding) -> tuple[str, Rule]:
    """Return id and meaning of a finding that belongs to no recording."""
    return f"gate/{finding.verdict}", (FINDINGS | VERDICTS).get(finding.verdict, _UNKNOWN)


def headline(judgement: Judgement) -> str:
    """Return what was found of a recording, in a few words."""
    found = judgement.divergence
    if found is not None:
        flaky = "flaky: " if judgement.verdict == "flaky" else ""
        where = f"{found.step_id}: " if found.step_id else ""
        return f"{flaky}{where}{found.cause} differs" + (f" at {found.path}" if found.path else "")
    if judgement.verdict == "matched":
        return f"matched: {compared(judgement)}"
    return f"{judgement.verdict}: {judgement.problem or rule_of(judgement)[1].meaning}"


def compared(judgement: Judgement) -> str:
    """Return what the match of a recording rests on."""
    if judgement.cached:
        return "nothing changed since it last matched"
    answered = f", {judgement.steps_answered} answered" if judgement.steps_answered else ""
    return f"{judgement.steps_compared} of {counted(judgement.steps_recorded, 'step')} compared{answered}"


def verdict_sentence(summary: Summary) -> str:
    """Return the answer of the whole gate as one sentence; the worst is said, as it decides."""
    recordings = counted(summary.checked, "recording")
    if summary.code == MATCHED:
        return f"{recordings} replayed as recorded" if summary.checked != summary.cached else f"{recordings} unchanged"
    bad = summary.checked - summary.by.get("matched", 0)
    if summary.code == TAMPERED:
        bad = sum(count for verdict, count in summary.by.items() if verdict in at_rest.TAMPERED)
        what = "is not what was recorded" if bad == 1 else "are not what was recorded"
        return f"{bad:,} of {recordings} {what}" if bad else "the golden directory is not what it was"
    if not summary.checked:
        return "nothing was judged"
    return f"{bad:,} of {recordings} did not pass" if bad else f"{recordings} passed, but not all is well"


def counts(summary: Summary) -> str:
    """Return how many recordings there are of each verdict."""
    return ", ".join(f"{count} {verdict}" for verdict, count in summary.by.items()) or "no recording"


def sides(judgement: Judgement) -> Iterator[tuple[str, str]]:
    """Give (`expected` or `actual`, value on one line) of a recording that diverged, absence as `(absent)`.

    Of texts with several lines, and of values that are long, the first line that differs, after (`line`, its number).
    """
    found = judgement.divergence
    if found is None:
        return
    expected = _ABSENT if found.kind == "added" else short_json(found.expected)
    actual = _ABSENT if found.kind == "removed" else short_json(found.actual)
    with_lines = any(isinstance(side, str) and "\n" in side for side in (found.expected, found.actual))
    if judgement.differences and (with_lines or _LONGEST in (len(expected), len(actual))):
        first = judgement.differences[0]
        lines = [[] if side is None else side.split("\n") for side in (first.expected, first.actual)]
        pairs = enumerate(zip_longest(*lines, fillvalue=_ABSENT))
        n, (expected, actual) = next(((n, pair) for n, pair in pairs if pair[0] != pair[1]), (0, (expected, actual)))
        yield "line", str(first.first_line + n)
    yield "expected", expected
    yield "actual", actual


def details(judgement: Judgement) -> Iterator[str]:
    """Give everything that there is to say about a recording, line by line, for reports that have no layout."""
    yield headline(judgement)
    if judgement.divergence is not None:
        for name, value in sides(judgement):
            yield f"  {name:<9} {value}"
        if judgement.divergence.location:
            yield f"  at        {judgement.divergence.location}"
        if judgement.kind is not None:
            yield f"  change    {KINDS[judgement.kind]}"
        if judgement.spec_source:
            yield f"  spec      {judgement.spec_source}"
    if judgement.failure is not None:
        yield f"  {judgement.failure.type}: {judgement.failure.message}"
        for where, name, times in judgement.failure.stack:
            yield f"    at {where} in {name}" + (f", {times} times" if times > 1 else "")
    if judgement.divergence is not None and judgement.problem:
        yield judgement.problem
    yield from (f"note: {note}" for note in judgement.notes)
    if judgement.code:
        yield from (
            f"{step.text}: {step.command}" if step.command else f"hint: {step.text}" for step in next_steps(judgement)
        )


class Next(NamedTuple):
    """One thing to do: in words, and as a command where there is one."""

    text: str
    command: str | None = None


def next_steps(judgement: Judgement) -> Iterator[Next]:
    """Give what to do about a recording that did not pass, the first thing first."""
    rule = rule_of(judgement)[1]
    run = shlex.quote(judgement.path)
    yield Next(judgement.hint or rule.help)
    if judgement.divergence is not None and judgement.spec_source:
        yield Next("see it again", f"golden replay {run}")
        yield Next("if it is meant", f"golden update {shlex.quote(judgement.run_id)}")
    elif judgement.verdict in at_rest.TAMPERED:
        yield Next("see it again", f"golden verify {run}")


def place_of(judgement: Judgement) -> Place:
    """Return where to look: a line of the user's code, the spec that changed, else the golden file."""
    found = judgement.divergence
    for location in (found and found.location, judgement.failure and judgement.failure.location):
        if location:
            return place(location)
    spec = judgement.spec_source.removeprefix("current ")
    # A spec that came from no file is called something else.
    if found is not None and found.cause == "spec" and spec != judgement.spec_source and "." in spec:
        return Place(spec, 1)
    return Place(judgement.path, 1 if judgement.event is None else judgement.event + 1)


def place(location: str) -> Place:
    """Return FILE:LINE in its two parts."""
    file, _, line = location.rpartition(":")
    return Place(file, max(int(line), 1)) if file and line.isdecimal() else Place(location, 1)


def short_json(value: Any) -> str:
    """Return a JSON value on one line, cut where that gets long."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def counted(count: int, noun: str) -> str:
    """Return `1 step`, `2 steps`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown_time(seconds: float) -> str:
    """Return a span of time, from µs to minutes, to about three digits."""
    if seconds < 0.001:  # noqa: PLR2004  the units themselves
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.1f} min"  # noqa: PLR2004
