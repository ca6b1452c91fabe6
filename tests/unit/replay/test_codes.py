"""Codes: each is what a real run ends with, no recording knows another, and whoever meets one is told what to do."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.aos_events import STATUSES
from replay import Context, Controls, Policy, codes, replay
from replay.budget import DeniedError
from replay.controls import write_stop
from replay.live import LiveEffects
from tests import runs
from tests.unit.replay.conftest import Lab, codes_of, ending, flow, records, skills, step

SOON, NEVER = 0.05, 100.0
CODES = {value for value in vars(codes).values() if isinstance(value, str) and value.isupper()}
# How a run ends that such a step has ended.
ENDS_AS = {
    "EXECUTION_ERROR": "failed",
    "STEP_TIMEOUT": "failed",
    "WORKFLOW_TIMEOUT": "failed",
    "STEP_CEILING_EXCEEDED": "budget_exceeded",
    "WORKFLOW_CEILING_EXCEEDED": "budget_exceeded",
    "POLICY_VIOLATION": "policy_violation",
    "SANDBOX_REJECTION": "sandbox_rejected",
    "EMERGENCY_STOP": "emergency_stopped",
}


class Way(msgspec.Struct):
    """How a step `b`, which comes after `a`, is made to end with a code."""

    code: str
    step: dict[str, Any]
    spec: dict[str, Any] = {}
    options: dict[str, Any] = {}
    answered: bool = False


def after_a(skill_id: str = "s", **members: Any) -> dict[str, Any]:
    return step("b", skill_id, depends_on=["a"], **members)


PLANNED: dict[str, Any] = {"planner_output": None}
WAYS = {
    "raises": Way(codes.EXECUTION_ERROR, after_a("raises")),
    "exits": Way(codes.EXECUTION_ERROR, after_a("exits")),
    "unrecordable": Way(codes.EXECUTION_ERROR, after_a("returns what cannot be recorded")),
    "unresolved": Way(codes.EXECUTION_ERROR, after_a(inputs={"x": "${a.absent}"})),
    "step-timeout": Way(codes.STEP_TIMEOUT, after_a("sleeps", timeout_seconds=SOON), answered=True),
    "run-timeout": Way(codes.WORKFLOW_TIMEOUT, after_a("sleeps"), {"timeout_seconds": NEVER}, answered=True),
    "step-estimate": Way(codes.STEP_CEILING_EXCEEDED, after_a(estimated_cost_cents=101)),
    "step-spends": Way(codes.STEP_CEILING_EXCEEDED, after_a("spends", max_cost_cents=4)),
    "run-estimate": Way(codes.WORKFLOW_CEILING_EXCEEDED, after_a(estimated_cost_cents=5), {"budget_ceiling_cents": 4}),
    "run-spends": Way(codes.WORKFLOW_CEILING_EXCEEDED, after_a("spends"), options={"workflow_ceiling_cents": 4}),
    "disabled": Way(codes.POLICY_VIOLATION, after_a(), options={"policy": Policy(disabled={"s": "broken"})}),
    "mutating": Way(codes.POLICY_VIOLATION, after_a(inputs={"method": "POST"})),
    "forbidden-skill": Way(codes.SANDBOX_REJECTION, after_a("shell.run", **PLANNED)),
    "forbidden-text": Way(codes.SANDBOX_REJECTION, after_a(inputs={"x": "${a.said}"}, **PLANNED)),
    "stopped": Way(codes.EMERGENCY_STOP, after_a()),
}


def test_the_set_of_codes_is_that_of_the_hints_and_each_ends_a_run_here() -> None:
    assert set(codes.HINTS) == CODES == ENDS_AS.keys() == {way.code for way in WAYS.values()}
    assert codes.ENDING.keys() | codes.TIMED_OUT < CODES
    # How runs end is a closed set too.
    assert {*codes.ENDING.values()} | codes.STOPPED_FROM_OUTSIDE < STATUSES


def sleeps(ctx: Context) -> None:
    for _ in range(round(NEVER * 100)):
        time.sleep(0.01)


def exits(ctx: Context) -> None:
    raise SystemExit(1)


def fails(ctx: Context) -> None:
    raise ValueError


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_step_that_fails_in_some_way_says_so_by_its_code_and_its_run_ends_so(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, way: Way, width: int
) -> None:
    folder, begun = lab.store.directory, threading.Event()
    # The run's time is nearly up once its first step has begun.
    monkeypatch.setattr(LiveEffects, "_left", lambda _, seconds: SOON if begun.is_set() else seconds)

    def begins(ctx: Context) -> Any:
        begun.set()
        if way.code == codes.EMERGENCY_STOP:
            ctx.external("stop", lambda: bool(write_stop(folder, "stop", "enough")))
        return {"said": "sudo rm"}

    registry = skills(
        **{
            "begins": begins,
            "s": lambda _: None,
            "shell.run": lambda _: None,
            "raises": fails,
            "exits": exits,
            "sleeps": sleeps,
            "spends": lambda ctx: ctx.spend(5),
            "returns what cannot be recorded": lambda _: {1},
        }
    )
    document = flow(step("a", "begins"), way.step, step("c", "s", depends_on=["b"]), **way.spec)
    options = {"controls": Controls(folder), "concurrency": width, **way.options}
    recording = lab.record(document, registry, **options)
    first, data = (record.step for record in records(recording))
    assert (first.success, first.error or None) == (True, None)
    assert data.error
    assert (data.step_id, data.error.code, data.error_code, data.success) == ("b", way.code, way.code, False)
    assert data.recovery_hint == codes.HINTS[way.code]
    assert codes_of(recording) == {way.code}
    status = ENDS_AS[way.code]
    assert (recording.statement.status, ending(recording).status) == (status, status)
    answer = replay(recording, registry)
    assert (answer.verdict, answer.steps_answered) == ("matched", int(way.answered))


def failures(line: Any) -> Iterator[dict[str, Any]]:
    """Give every object in a line that says why something failed."""
    if isinstance(line, dict):
        if {"code", "message", "type"} <= line.keys():
            yield line
        if "error_code" in line:
            yield {"code": line["error_code"]}
        for value in line.values():
            yield from failures(value)
    elif isinstance(line, list):
        for value in line:
            yield from failures(value)


def lines(path: Path) -> Iterator[Any]:
    """Give what can be read of a recording, however it is damaged."""
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue


def test_no_fixture_holds_a_code_that_there_is_not() -> None:
    """Files of the AOS system, and what was imported of them, say what that system said."""
    found = set()
    for folder in ("recordings/v1", "directories"):
        for path in sorted((runs.FIXTURES / folder).rglob("*.steps.jsonl")):
            found |= {failure["code"] for line in lines(path) for failure in failures(line)}
    assert found
    assert found <= CODES


def test_a_step_that_was_skipped_and_one_that_succeeded_have_no_code(lab: Lab) -> None:
    document = flow(step("a", "s", on_error="continue"), step("b", "s", depends_on=["a"]))
    failed, skipped = (found.step for found in records(lab.record(document, skills(s=fails))))
    assert (failed.error_code, skipped.error_code or None, skipped.recovery_hint or None) == (
        codes.EXECUTION_ERROR,
        None,
        None,
    )
    assert codes_of(lab.run(lambda _: None)) == set()


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("code", ["NONSENSE", codes.STEP_TIMEOUT, codes.POLICY_VIOLATION, codes.EMERGENCY_STOP])
def test_a_skill_cannot_say_by_which_code_it_fails(lab: Lab, code: str, width: int) -> None:
    def denies(ctx: Context) -> None:
        raise DeniedError(code, "so I say")

    recording = lab.record(flow(step("a", "s")), skills(s=denies), concurrency=width)
    (found,) = records(recording)
    assert (found.step.error_code, recording.statement.status) == (codes.EXECUTION_ERROR, "failed")
    # Not answered from the file, as one would be that the clock had ended.
    assert replay(recording, skills(s=lambda _: 1)).verdict == "diverged"
