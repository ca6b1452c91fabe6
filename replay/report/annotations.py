"""Annotations: a gate's judgements for GitHub: workflow commands beside the code, and a summary of the job.

Writes to no file and reads no variable; what GitHub makes of it is in its document "Workflow commands".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from golden.spelling import spelt_out
from replay.judgement import Judgement, Summary, worst_first
from replay.report.words import (
    counted,
    counts,
    details,
    headline,
    next_steps,
    place_of,
    rule_of,
    rule_of_finding,
    shown_time,
    sides,
    verdict_sentence,
)

# GitHub takes 1 MiB from each step of a job, and refuses all of what is longer.
MAX_SUMMARY = 1 << 20
_MAX_ROWS = 200
_MAX_DETAILS = 20
_MAX_TEXT = 2000
_PLAIN = frozenset(" -/,;=?%\"'…·✓✗‼–")
_SIGNS = {0: "✓", 1: "✗", 3: "‼", 4: "?"}


def annotation_lines(summary: Summary, judgements: Sequence[Judgement], *, prefix: str = "") -> Iterator[str]:
    """Give one workflow command per line: an error for each recording that did not pass, the worst first.

    GitHub shows the first ten of a step. `prefix` is the working directory as seen from the repository's root, with a
    slash at its end; files are named from there.
    """
    for finding in summary.findings:
        where = {"file": _below(prefix, finding.path), "line": "1"} if finding.path else {}
        yield _command("error", f"{finding.problem}\nhint: {finding.hint}", **where, title=f"gate: {finding.verdict}")
    for judgement in worst_first(judgements):
        if judgement.code:
            file, line = place_of(judgement)
            title = f"{judgement.run_id}: {rule_of(judgement)[1].title}"
            text = "\n".join(details(judgement))
            yield _command("error", text, file=_below(prefix, file), line=str(line), title=title)
    for warning in summary.warnings:
        yield _command("warning", warning, title="golden gate")


def step_summary(summary: Summary, judgements: Sequence[Judgement]) -> str:
    """Return the summary of a job's step as GitHub's Markdown, of at most 1 MiB; see `$GITHUB_STEP_SUMMARY`."""
    bad = [judgement for judgement in worst_first(judgements) if judgement.code]
    parts = list(_head(summary))
    if bad:
        parts += ["| | recording | found | where |", "|---|---|---|---|"]
        for judgement in bad[:_MAX_ROWS]:
            file, line = place_of(judgement)
            cells = (
                _SIGNS[judgement.code],
                _code(judgement.run_id),
                _text(headline(judgement)),
                _code(f"{file}:{line}"),
            )
            parts.append(f"| {' | '.join(cells)} |")
        if len(bad) > _MAX_ROWS:
            parts.append(f"\nand {counted(len(bad) - _MAX_ROWS, 'recording')} more")
        parts.append("")
    for judgement in bad[:_MAX_DETAILS]:
        parts += _details(judgement)
    text = "\n".join(parts) + "\n"
    return text if len(text.encode()) < MAX_SUMMARY else "\n".join([*_head(summary), ""])


def _head(summary: Summary) -> Iterator[str]:
    yield f"## {_SIGNS[summary.code]} golden gate: {_text(verdict_sentence(summary))}"
    yield ""
    facts = [counts(summary), f"exit code {summary.code}", f"{counted(summary.steps_compared, 'step')} compared"]
    if summary.cached:
        facts.append(f"{counted(summary.cached, 'recording')} not run, because nothing changed")
    if summary.seconds is not None:
        facts.append(shown_time(summary.seconds))
    yield _text(" · ".join(facts))
    yield ""
    for finding in summary.findings:
        title = rule_of_finding(finding)[1].title
        yield f"- **{_text(title)}**: {_text(finding.problem)}; {_text(finding.hint)}"
    for warning in summary.warnings:
        yield f"- warning: {_text(warning)}"
    if summary.findings or summary.warnings:
        yield ""


def _details(judgement: Judgement) -> Iterator[str]:
    yield f"<details><summary>{_code(judgement.run_id)}: {_text(headline(judgement))}</summary>"
    yield ""
    if judgement.divergence is not None:
        yield "| | |"
        yield "|---|---|"
        for name, value in sides(judgement):
            yield f"| {name} | {_code(value)} |"
        yield ""
    if judgement.failure is not None:
        yield f"{_code(f'{judgement.failure.type}: {judgement.failure.message}')}"
        yield ""
        for place, name, times in judgement.failure.stack:
            yield f"- at {_code(place)} in {_code(name)}" + (f", {times} times" if times > 1 else "")
        yield ""
    yield from (f"- note: {_text(note)}" for note in judgement.notes)
    for step in next_steps(judgement):
        yield f"- {_text(step.text)}" + (f": {_code(step.command)}" if step.command else "")
    yield ""
    yield "</details>"
    yield ""


def _command(name: str, message: str, **properties: str) -> str:
    said = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {said}::{_message(message)}"


def _message(text: str) -> str:
    return spelt_out(text, lines=True).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(spelt_out(text)).replace(":", "%3A").replace(",", "%2C")


def _below(prefix: str, file: str) -> str:
    return file if file.startswith("/") else f"{prefix}{file}"


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    """Return text with every character that could mean anything in Markdown or HTML as a numeric entity."""
    shown = spelt_out(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…")
    return "".join(char if char.isalnum() or char in _PLAIN else f"&#{ord(char)};" for char in shown)
