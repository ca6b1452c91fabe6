"""Words: what is said of a judgement, where it points, and commands that exist."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.main import COMMANDS
from replay.divergence import Divergence
from replay.frames import Failure
from replay.judgement import Difference, Judgement, Outcome, Summary, code_of
from replay.report.words import (
    KINDS,
    details,
    headline,
    next_steps,
    place,
    place_of,
    rule_of,
    shown_time,
    sides,
    verdict_sentence,
)
from tests.judgements import LEDGER_GONE, judgements, summary_of
from tests.runs import ROOT


def judgement(verdict: Outcome = "diverged", divergence: Divergence | None = None, **members: Any) -> Judgement:
    facts = {"run_id": "r-1", "path": "g/r-1.steps.jsonl", **members}
    return Judgement(verdict=verdict, code=code_of(verdict), divergence=divergence, **facts)


def output(expected: Any, actual: Any, path: str = "/n", location: str | None = None, **members: Any) -> Judgement:
    return judgement("diverged", Divergence("output", "a", 0, path, expected, actual, location), **members)


@pytest.mark.parametrize(
    "found, said",
    [
        (output(1, 2), "a: output differs at /n"),
        (output(1, 2, ""), "a: output differs"),
        (judgement("flaky", Divergence("status", None, None, "", 1, 2)), "flaky: status differs"),
        (judgement("matched", steps_recorded=3, steps_compared=2, steps_answered=1), "matched: 2 of 3 steps compared"),
        (judgement("matched", cached=True), "matched: nothing changed since it last matched"),
        (judgement("tampered", problem="bytes do not match"), "tampered: bytes do not match"),
        (judgement("died"), "died: the process that replayed it was killed"),
    ],
)
def test_headline_says_it_in_a_few_words(found: Judgement, said: str) -> None:
    assert headline(found).startswith(said)


@pytest.mark.parametrize(
    "found, where",
    [
        (output(1, 2, location="skills.py:12"), ("skills.py", 12)),
        (output(1, 2, failure=Failure("E", "m", [("a.py:1", "f"), ("C:/b.py:7", "g")])), ("C:/b.py", 7)),
        (output(1, 2), ("g/r-1.steps.jsonl", 1)),
        (judgement("tampered", event=4), ("g/r-1.steps.jsonl", 5)),
        (
            judgement("diverged", Divergence("spec", None, None, "/id", 1, 2), spec_source="current specs/s.json"),
            ("specs/s.json", 1),
        ),
        (
            judgement("diverged", Divergence("spec", None, None, "/id", 1, 2), spec_source="current spec"),
            ("g/r-1.steps.jsonl", 1),
        ),
    ],
)
def test_place_is_the_users_line_else_the_spec_else_the_golden_file(found: Judgement, where: tuple[str, int]) -> None:
    assert place_of(found) == where


def test_place_without_a_line_is_its_first() -> None:
    assert place("skills.py") == ("skills.py", 1)
    assert place(":3") == (":3", 1)


def test_sides_of_texts_are_the_first_line_that_differs() -> None:
    found = output("a\nb\n", "a\nc\n", differences=(Difference("/n", "changed", "a\nb\n", "a\nc\n", 11),))
    assert list(sides(found)) == [("line", "12"), ("expected", "b"), ("actual", "c")]


def test_sides_of_long_values_show_what_differs() -> None:
    found = output("x" * 500 + "1", "x" * 500 + "2", differences=(Difference("/n", "changed", "…x1", "…x2", cut=True),))
    assert list(sides(found)) == [("line", "1"), ("expected", "…x1"), ("actual", "…x2")]


def test_side_that_is_absent_is_not_null() -> None:
    found = judgement("diverged", Divergence("output", "a", 0, "/n", None, None, None, "added"))
    assert list(sides(found)) == [("expected", "(absent)"), ("actual", "null")]


def test_every_judgement_that_did_not_pass_says_what_next(tmp_path: Path) -> None:
    for found in judgements(tmp_path):
        assert bool(found.code) == any(line.startswith("hint: ") for line in details(found))


def test_commands_are_quoted_and_exist(tmp_path: Path) -> None:
    replayed = output(1, 2, spec_source="from the recording")
    found = [*judgements(tmp_path), replayed]
    commands = [step.command for one in found if one.code for step in next_steps(one) if step.command]
    assert commands
    assert {re.split(r"\s", command)[1] for command in commands} <= set(COMMANDS)
    hostile = msgspec.structs.replace(replayed, path="a b;$(c).steps.jsonl")
    assert "golden replay 'a b;$(c).steps.jsonl'" in [step.command for step in next_steps(hostile)]


def test_what_was_not_replayed_is_not_to_be_seen_again_by_a_replay() -> None:
    assert [step.command for step in next_steps(output(1, 2))] == [None]


def test_flaky_recording_is_flaky_wherever_it_diverged() -> None:
    assert rule_of(judgement("flaky", Divergence("output", "a", 0, "", 1, 2)))[0] == "flaky"


def summary(*verdicts: Outcome, **members: Any) -> Summary:
    return summary_of([judgement(verdict) for verdict in verdicts], **members)


@pytest.mark.parametrize(
    "found, said",
    [
        (summary("matched", "matched"), "2 recordings replayed as recorded"),
        (summary("matched"), "1 recording replayed as recorded"),
        (summary("matched", "diverged", "refused"), "2 of 3 recordings did not pass"),
        (summary("matched", "diverged", "missing"), "1 of 3 recordings is not what was recorded"),
        (summary("missing", "unlisted"), "2 of 2 recordings are not what was recorded"),
        (summary("matched", findings=[LEDGER_GONE]), "the golden directory is not what it was"),
        (
            summary("matched", findings=[msgspec.structs.replace(LEDGER_GONE, code=1)]),
            "1 recording passed, but not all is well",
        ),
        (summary(), "nothing was judged"),
    ],
)
def test_verdict_of_the_gate_is_one_sentence_about_the_worst(found: Summary, said: str) -> None:
    assert verdict_sentence(found) == said


def test_document_of_the_reports_lists_every_kind() -> None:
    text = (ROOT / "docs" / "reference" / "reports.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE)) == set(KINDS)


@pytest.mark.parametrize(
    "seconds, said",
    [(0, "0 µs"), (17e-6, "17 µs"), (0.00423, "4.23 ms"), (0.25, "250 ms"), (2.5, "2.5 s"), (150, "2.5 min")],
)
def test_times_have_about_three_digits(seconds: float, said: str) -> None:
    assert shown_time(seconds) == said
