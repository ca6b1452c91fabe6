"""Judgements: which kind of change a divergence is, which code decides, and that they travel whole."""

import pickle
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from golden.verdict import TAMPERED, Word
from replay.divergence import Cause, Divergence
from replay.judgement import (
    Change,
    Judgement,
    Outcome,
    Summary,
    code_of,
    kind_of,
    summed_up,
    worst,
    worst_first,
)
from replay.report.words import CAUSES, KINDS, VERDICTS
from tests.judgements import LEDGER_GONE, judgements, summary_of

OUTCOMES: list[Outcome] = [word for part in get_args(Outcome) for word in get_args(part)]


def diverged(cause: Cause, path: str = "", expected: Any = 1, actual: Any = 2, *, kind: Any = "changed") -> Divergence:
    return Divergence(cause, "a", 0, path, expected, actual, None, kind)


@pytest.mark.parametrize(
    "found, kind",
    [
        (diverged("step", "", None, "b", kind="added"), "new"),
        (diverged("step", "", "a", None, kind="removed"), "unused"),
        (diverged("step", "", "a", "b"), "order"),
        (diverged("step", "/index"), "order"),
        (diverged("step", "/because", None, "x failed"), "order"),
        (diverged("step", "/steps_total"), "order"),
        (diverged("effect", "/effects/0", None, {}, kind="added"), "new"),
        (diverged("effect", "/effects/12", {}, None, kind="removed"), "unused"),
        (diverged("effect", "/effects/0/name", "get", "put"), "order"),
        (diverged("effect", "/effects/0/args/1"), "input"),
        (diverged("effect", "/effects/0/kwargs/name", "x", None, kind="removed"), "input"),
        (diverged("inputs", "/n"), "input"),
        (diverged("spec", "/steps/1/inputs/n"), "input"),
        (diverged("spec", "/steps/1", None, {}, kind="added"), "new"),
        (diverged("spec", "/steps/1", {}, None, kind="removed"), "unused"),
        (diverged("spec", "/budget_ceiling_cents"), "budget"),
        (diverged("spec", "/steps/3/max_cost_cents"), "budget"),
        (diverged("spec", "/steps/3/inputs/max_cost_cents"), "input"),
        (diverged("budget", "/cost_cents"), "budget"),
        (diverged("seed"), "environment"),
        (diverged("skill", "/skill_version"), "environment"),
        (diverged("error", "/type"), "output"),
        (diverged("status"), "output"),
        (diverged("result"), "output"),
        (diverged("output", "/n", 1, 2), "output"),
        (diverged("output", "/n", "one two", "one three"), "output"),
        (diverged("output", "/n", None, 2), "output"),
        (diverged("output", "/rows/3", None, {}, kind="added"), "output"),
        (diverged("output", "/n", 14, "14"), "format"),
        (diverged("output", "/n", 1, 1.0), "format"),
        (diverged("output", "/n", "one two", "one\n two "), "format"),
        (diverged("output", "/n", None, 2, kind="added"), "format"),
        (diverged("output", "/n", 2, None, kind="removed"), "format"),
    ],
)
def test_kind_says_what_is_to_be_looked_at(found: Divergence, kind: Change) -> None:
    assert kind_of(found) == kind


def test_every_cause_verdict_and_kind_has_words() -> None:
    assert set(CAUSES) == set(get_args(Cause))
    assert set(VERDICTS) == set(OUTCOMES) - {"matched", "diverged"}
    assert set(KINDS) == set(get_args(Change))


def test_only_matched_is_green() -> None:
    assert [word for word in OUTCOMES if code_of(word) == 0] == ["matched"]


def test_verdict_at_rest_asks_for_the_code_that_verify_ends_with() -> None:
    words = get_args(Word)
    assert {word for word in words if code_of(word) == 3} == TAMPERED
    assert {code_of(word) for word in set(words) - TAMPERED} == {4}


@pytest.mark.parametrize("codes, code", [([0, 0], 0), ([0, 1], 1), ([1, 4, 0], 4), ([4, 3, 1], 3), ([], 4)])
def test_worst_decides_and_nothing_is_not_enough(codes: list[int], code: int) -> None:
    assert worst(codes) == code


def judgement(verdict: Outcome, **members: Any) -> Judgement:
    return Judgement(run_id=verdict, path="r-1.steps.jsonl", verdict=verdict, code=code_of(verdict), **members)


def test_summary_counts_recordings_and_findings_decide_with_them() -> None:
    found = [judgement("matched", steps_compared=3, cached=True), judgement("diverged", steps_answered=1)]
    facts: dict[str, Any] = {"version": "1", "python": "3", "when": "2026-01-01T00:00:00Z"}
    summary = summed_up(found, **facts, jobs=2)
    assert (summary.code, summary.by, summary.checked) == (1, {"diverged": 1, "matched": 1}, 2)
    assert (summary.cached, summary.steps_compared, summary.steps_answered, summary.jobs) == (1, 3, 1, 2)
    assert summed_up(found, **facts, findings=[LEDGER_GONE]).code == 3
    assert summed_up([], **facts).code == 4


def test_worst_is_read_first_and_equals_keep_their_order() -> None:
    words: list[Outcome] = ["matched", "flaky", "refused", "diverged", "torn", "missing"]
    assert [x.verdict for x in worst_first(map(judgement, words))] == [
        "missing",
        "refused",
        "torn",
        "flaky",
        "diverged",
        "matched",
    ]


def test_judgements_and_summaries_travel_whole(tmp_path: Path) -> None:
    found = list(judgements(tmp_path))
    summary = summary_of(found, findings=[LEDGER_GONE], warnings=("w",))
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301  our own bytes
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[Judgement]) == found
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary
