"""What becomes of a step, of those that depend on it, of the others and of the run, for each way to fail and on_error.

Each row of the table is a claim; docs/reference/spec.md says the same in words.
"""

import threading
import time
from itertools import count
from typing import Any

import pytest

from golden.event import StepData
from replay import Context, Controls, Policy, SkillRegistry, replay
from replay.controls import lift, write_stop
from tests.unit.replay.conftest import Lab, Skill, ending, flow, records, skills, step

SOON, NEVER = 0.05, 100.0
# What a step says of failures. With "again" it is tried again whatever its on_error.
HOW: dict[str, dict[str, Any]] = {
    "abort": {"on_error": "abort"},
    "continue": {"on_error": "continue"},
    "retry": {"on_error": "retry"},
    "again": {"on_error": "continue", "retry": True},
}
# What happens to it: its skill, and what else it says.
WHAT: dict[str, dict[str, Any]] = {
    "fails once": {"skill_id": "fails once"},
    "fails always": {"skill_id": "fails always"},
    "denied by policy": {"skill_id": "disabled"},
    "denied by budget": {"skill_id": "well", "estimated_cost_cents": 101},
    "spends too much": {"skill_id": "spends", "max_cost_cents": 4},
    "times out": {"skill_id": "sleeps", "timeout_seconds": SOON},
    "stopped before": {"skill_id": "well"},
    "stopped between": {"skill_id": "stops and fails"},
    "no such input": {"skill_id": "well", "inputs": {"x": "${first.absent}"}},
    "exits": {"skill_id": "exits"},
    "own BaseException": {"skill_id": "raises its own"},
}
# Its attempts, its error code, then the run, the steps that do not depend on it, and those that do.
TABLE = [
    ("abort", "fails once", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("abort", "fails always", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("abort", "denied by policy", 0, "POLICY_VIOLATION", "policy_violation", "not begun", "not begun"),
    ("abort", "denied by budget", 0, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("abort", "spends too much", 1, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("abort", "times out", 1, "STEP_TIMEOUT", "failed", "not begun", "not begun"),
    ("abort", "stopped before", 0, "EMERGENCY_STOP", "emergency_stopped", "not begun", "not begun"),
    ("abort", "stopped between", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("abort", "no such input", 0, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("abort", "exits", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("abort", "own BaseException", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("continue", "fails once", 1, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("continue", "fails always", 1, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("continue", "denied by policy", 0, "POLICY_VIOLATION", "policy_violation", "not begun", "not begun"),
    ("continue", "denied by budget", 0, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("continue", "spends too much", 1, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("continue", "times out", 1, "STEP_TIMEOUT", "failed", "run", "skipped"),
    ("continue", "stopped before", 0, "EMERGENCY_STOP", "emergency_stopped", "not begun", "not begun"),
    # The run goes on as far as the next step, which is the one that is stopped.
    ("continue", "stopped between", 1, "EXECUTION_ERROR", "emergency_stopped", "stopped", "skipped"),
    ("continue", "no such input", 0, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("continue", "exits", 1, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("continue", "own BaseException", 1, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("retry", "fails once", 2, None, "completed", "run", "run"),
    ("retry", "fails always", 4, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("retry", "denied by policy", 0, "POLICY_VIOLATION", "policy_violation", "not begun", "not begun"),
    ("retry", "denied by budget", 0, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("retry", "spends too much", 1, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("retry", "times out", 4, "STEP_TIMEOUT", "failed", "not begun", "not begun"),
    ("retry", "stopped before", 0, "EMERGENCY_STOP", "emergency_stopped", "not begun", "not begun"),
    ("retry", "stopped between", 1, "EMERGENCY_STOP", "emergency_stopped", "not begun", "not begun"),
    ("retry", "no such input", 0, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("retry", "exits", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("retry", "own BaseException", 1, "EXECUTION_ERROR", "failed", "not begun", "not begun"),
    ("again", "fails once", 2, None, "completed", "run", "run"),
    ("again", "fails always", 4, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("again", "denied by policy", 0, "POLICY_VIOLATION", "policy_violation", "not begun", "not begun"),
    ("again", "denied by budget", 0, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("again", "spends too much", 1, "STEP_CEILING_EXCEEDED", "budget_exceeded", "not begun", "not begun"),
    ("again", "times out", 4, "STEP_TIMEOUT", "failed", "run", "skipped"),
    ("again", "stopped before", 0, "EMERGENCY_STOP", "emergency_stopped", "not begun", "not begun"),
    ("again", "stopped between", 1, "EMERGENCY_STOP", "emergency_stopped", "not begun", "not begun"),
    ("again", "no such input", 0, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("again", "exits", 1, "EXECUTION_ERROR", "failed", "run", "skipped"),
    ("again", "own BaseException", 1, "EXECUTION_ERROR", "failed", "run", "skipped"),
]


class OwnError(BaseException):
    """A user's own exception that is no Exception."""


class Happening:
    """One thing that happens to a step `it`, and what is recorded of the steps around it.

    Beside others, the step `other` begins before anything happens, and ends after `it`.
    """

    def __init__(self, lab: Lab, how: str, what: str, *, width: int) -> None:
        self.lab, self.what, self.width = lab, what, width
        self.begun, self.ended = threading.Event(), threading.Event()
        self.steps = [
            step("first", "first"),
            {"id": "it", "depends_on": ["first"], **WHAT[what], **HOW[how]},
            step("needs", "well", depends_on=["it"]),
            step("needs-that", "well", depends_on=["needs"]),
            step("other", "other", depends_on=["first"]),
            step("last", "well", depends_on=["other"]),
        ]
        folder = lab.store.directory
        policy, controls = Policy(disabled={"disabled": "broken"}), Controls(folder)
        made = self.registry()
        recording = lab.record(
            flow(*self.steps), made, policy=policy, controls=controls, concurrency=width, observer=self
        )
        lift(folder)
        assert replay(recording, made).matched
        assert lab.verify("r-1").verdict == "intact"
        self.found = {record.step.step_id: record.step for record in records(recording)}
        self.end = ending(recording)
        assert self.end.status == recording.statement.status
        assert self.end.steps_completed == sum(data.success for data in self.found.values())

    def step(self, data: StepData, _: object) -> None:
        """Take note of a step that was recorded, as an observer."""
        if data.step_id == "it":
            self.ended.set()

    def note(self, text: str) -> None:
        """Nothing that is said of the run as a whole matters."""

    def stop(self) -> bool:
        """Stop the engine, once another step is under way where there is one."""
        assert self.width == 1 or self.what != "stopped between" or self.begun.wait(30)
        return bool(write_stop(self.lab.store.directory, "stop", "enough"))

    def meet(self) -> bool:
        """Wait beside others for `it` to end."""
        self.begun.set()
        return self.width == 1 or self.ended.wait(30)

    def registry(self) -> SkillRegistry:
        """Return all that is needed for something to happen to a step."""
        turns = count()

        def first(ctx: Context) -> Any:
            return {"stopped": ctx.external("stop", self.stop)} if self.what == "stopped before" else {}

        def other(ctx: Context) -> Any:
            return ctx.external("meet", self.meet)

        def fails_once(ctx: Context) -> int:
            if ctx.external("turn", turns.__next__) == 0:
                raise ValueError
            return 1

        def stops_and_fails(ctx: Context) -> None:
            ctx.external("stop", self.stop)
            raise ValueError

        def sleeps(ctx: Context) -> None:
            for _ in range(round(NEVER * 100)):
                time.sleep(0.01)

        made: dict[str, Skill] = {"first": first, "other": other, "well": well, "disabled": well, "sleeps": sleeps}
        made |= {"exits": raises(SystemExit), "raises its own": raises(OwnError), "fails always": raises(ValueError)}
        made |= {"fails once": fails_once, "stops and fails": stops_and_fails, "spends": lambda ctx: ctx.spend(5)}
        return skills(**made)

    def word(self, name: str) -> str:
        """Return what became of a step."""
        data = self.found.get(name)
        if data is None:
            return "not begun"
        if data.skipped:
            assert data.because == {"needs": "step it failed", "needs-that": "step needs was skipped"}[name]
            return "skipped"
        return "run" if data.success else "stopped" if data.error_code == "EMERGENCY_STOP" else "failed"

    @property
    def row(self) -> tuple[Any, ...]:
        """What a row of the table says of it."""
        it = self.found["it"]
        assert it.success is (not it.error)
        assert self.word("needs-that") == self.word("needs")
        return len(it.attempts), it.error_code or None, self.end.status, self.word("other"), self.word("needs")


def well(ctx: Context) -> int:
    return 1


def raises(kind: type[BaseException]) -> Skill:
    def skill(ctx: Context) -> None:
        raise kind

    return skill


def test_the_table_has_a_row_for_each_way_to_fail_and_on_error() -> None:
    assert [row[:2] for row in TABLE] == [(how, what) for how in HOW for what in WHAT]


ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}".replace(" ", "-"))


@pytest.mark.usefixtures("hurried")
@ROWS
def test_one_by_one_a_step_fails_as_the_table_says(lab: Lab, row: tuple[Any, ...]) -> None:
    how, what, *expected = row
    found = Happening(lab, how, what, width=1)
    assert found.row == tuple(expected)
    others = {"run": "run", "not begun": "not begun", "stopped": "not begun"}
    assert found.word("last") == others[found.word("other")]


@pytest.mark.usefixtures("hurried")
@ROWS
def test_side_by_side_it_fails_alike_and_what_is_under_way_is_brought_to_its_end(
    lab: Lab, row: tuple[Any, ...]
) -> None:
    how, what, attempts, code, status, others, needs = row
    found = Happening(lab, how, what, width=2)
    # What is refused is never under way beside another.
    assert found.row == (attempts, code, status, "run" if attempts else others, needs)
    assert found.word("last") == others
