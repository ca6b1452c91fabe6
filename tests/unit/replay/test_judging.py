"""Judging: a judgement says what its replay said, with everything that differs and the steps in time."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.keyring import Keyring
from golden.store import Store
from golden.verdict import verify
from replay import Context, replay
from replay.judgement import Judgement
from replay.judging import Watch, judged, judged_at_rest
from tests import judgements as samples
from tests.unit.replay.conftest import Lab, flow, skills, step


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, Keyring(samples.SECRET), durability="never", ledger=False)


def states(judgement: Judgement) -> list[tuple[str, str]]:
    return [(mark.step_id, mark.state) for mark in judgement.steps]


def test_match_names_what_was_compared_and_answered(store: Store) -> None:
    found = samples.judgement_of(store, "r-1")
    assert (found.run_id, found.verdict, found.code, found.kind, found.differences) == ("r-1", "matched", 0, None, ())
    assert (found.spec_id, found.spec_source, found.path) == (
        "weather-report",
        "from the recording",
        "goldens/r-1.steps.jsonl",
    )
    assert (found.steps_recorded, found.steps_compared, found.steps_answered) == (5, 4, 1)
    assert states(found) == [
        ("fetch", "compared"),
        ("shape", "compared"),
        ("rank", "compared"),
        ("report", "compared"),
        ("send", "answered"),
    ]


def test_steps_follow_each_other_on_the_line_of_time(store: Store) -> None:
    marks = samples.judgement_of(store, "r-1").steps
    begins = [mark.offset_us for mark in marks]
    assert None not in begins
    assert begins == sorted(begins, key=lambda began: began or 0)
    assert all(mark.duration_us is not None for mark in marks)


def test_everything_that_differs_in_an_output_is_told_the_named_place_first(store: Store) -> None:
    found = samples.judgement_of(store, "r-1", shape=samples.shape_otherwise)
    assert found.divergence is not None
    assert (found.verdict, found.code, found.kind, found.divergence.path) == ("diverged", 1, "format", "/days")
    assert [(x.path, x.kind, x.expected, x.actual) for x in found.differences] == [
        ("/days", "changed", "14", '"14"'),
        ("/mean", "changed", "13.0", "12.5"),
        ("/method", "added", None, '"median"'),
    ]
    assert states(found)[:3] == [("fetch", "compared"), ("shape", "diverged"), ("rank", "not reached")]


def test_volatile_place_is_no_difference(lab: Lab) -> None:
    def one(ctx: Context) -> Any:
        return {"at": 1, "n": 1}

    def other(ctx: Context) -> Any:
        return {"at": 2, "n": 2}

    spec = flow(step("a", "s"), volatile=["/steps/a/output/at"])
    recording, watch = lab.record(spec, skills(s=one)), Watch()
    answer = replay(recording, skills(s=other), observer=watch)
    assert [x.path for x in judged(recording, answer, watch, path="p").differences] == ["/n"]


def test_failure_and_its_frames_are_kept(store: Store) -> None:
    found = samples.judgement_of(store, "r-1", rank=samples.rank_fails)
    assert found.failure is not None
    assert (found.failure.type, found.failure.frames[-1][1]) == ("KeyError", "rank_fails")
    assert [x.path for x in found.differences] == [""]


def test_step_that_the_recording_lacks_is_on_the_line_too(lab: Lab) -> None:
    def s(ctx: Context) -> Any:
        return 1

    recording, watch = lab.record(flow(step("a", "s")), skills(s=s)), Watch()
    answer = replay(recording, skills(s=s), flow(step("a", "s"), step("b", "s")), observer=watch)
    assert states(judged(recording, answer, watch, path="p")) == [("a", "not reached"), ("b", "diverged")]


def test_step_that_was_not_tried_is_neither_compared_nor_lost(lab: Lab) -> None:
    def fails(ctx: Context) -> Any:
        raise ValueError

    def s(ctx: Context) -> Any:
        return 1

    spec = flow(step("a", "fails", on_error="continue"), step("b", "s", depends_on=["a"]))
    recording, watch = lab.record(spec, skills(fails=fails, s=s)), Watch()
    answer = replay(recording, skills(fails=fails, s=s), observer=watch)
    found = judged(recording, answer, watch, path="p")
    assert states(found) == [("a", "compared"), ("b", "skipped")]
    assert found.steps[0].error_code == "EXECUTION_ERROR"


def test_refusal_keeps_its_two_sentences(lab: Lab) -> None:
    def s(ctx: Context) -> Any:
        return 1

    recording, watch = lab.record(flow(step("a", "s")), skills(s=s)), Watch()
    answer = replay(recording, skills(), observer=watch)
    found = judged(recording, answer, watch, path="p")
    assert (found.verdict, found.code, found.problem, found.hint) == ("refused", 4, answer.problem, answer.hint)


def test_file_that_is_not_intact_keeps_its_own_verdict_and_place(store: Store) -> None:
    samples.judgement_of(store, "r-1")
    file = store.file("r-1").path
    file.write_bytes(file.read_bytes().replace(b'"city":"Seattle"', b'"city":"Tacoma!"', 1))
    verdict = verify(file, store.keyring)
    found = judged_at_rest(verdict)
    assert (found.verdict, found.code, found.event) == ("tampered", 3, 0)
    assert (found.problem, found.hint) == (verdict.problem, verdict.hint)


def test_judgement_stays_small_whatever_the_outputs(lab: Lab) -> None:
    def one(ctx: Context) -> Any:
        return {"text": "same\n" * 50_000 + "x" * 100_000, "rows": list(range(5_000))}

    def other(ctx: Context) -> Any:
        return {"text": "same\n" * 50_000 + "x" * 99_000 + "y" * 1_000, "rows": list(range(1, 5_001))}

    recording, watch = lab.record(flow(step("a", "s")), skills(s=one)), Watch()
    found = judged(recording, replay(recording, skills(s=other), observer=watch), watch, path="p")
    assert found.verdict == "diverged"
    assert found.more > 0
    assert len(msgspec.json.encode(found)) < 80_000
