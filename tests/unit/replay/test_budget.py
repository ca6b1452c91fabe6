"""Budget: ceilings of step and run in integer cents, and what a refused step or spend costs."""

import threading
import time
from typing import Any

import pytest

from golden.errors import UsageError
from golden.event import BudgetSnapshot
from replay import Context
from replay.budget import DEFAULT_STEP_CEILING, DEFAULT_WORKFLOW_CEILING, POLICY_VERSION, Budget, DeniedError
from tests.unit.replay.conftest import Lab, ending, flow, only, records, skills, step


def spends(*cents: int) -> Any:
    def skill(ctx: Context) -> int:
        for amount in cents:
            ctx.spend(amount)
        return 1

    return skill


def snapshot(accumulated: int, step_ceiling: int, workflow_ceiling: int) -> BudgetSnapshot:
    return BudgetSnapshot(
        accumulated_cost_cents=accumulated,
        policy_version=POLICY_VERSION,
        step_ceiling_cents=step_ceiling,
        workflow_ceiling_cents=workflow_ceiling,
    )


def test_ceilings_default_to_one_hundred_and_one_thousand_cents(lab: Lab) -> None:
    assert (DEFAULT_STEP_CEILING, DEFAULT_WORKFLOW_CEILING) == (100, 1000)
    assert lab.run(spends()).start.budget_snapshot == snapshot(0, 100, 1000)


def test_restored_budget_is_the_one_snapshotted() -> None:
    budget = Budget(7, 9)
    budget.charged = 5
    assert Budget.restored(budget.snapshot()).snapshot() == snapshot(5, 7, 9)


@pytest.mark.parametrize(
    "cents, step_ceiling, charged, workflow_ceiling, code, message",
    [
        (5, 5, 0, 5, None, ""),
        (0, 0, 0, 0, None, ""),
        (0, 0, 9, 9, None, ""),
        (6, 5, 0, 9, "STEP_CEILING_EXCEEDED", "the step would cost 6 cents, 5 are allowed"),
        (1, 0, 0, 9, "STEP_CEILING_EXCEEDED", "the step would cost 1 cents, 0 are allowed"),
        (5, 9, 5, 9, "WORKFLOW_CEILING_EXCEEDED", "the run would cost 10 cents, 9 are allowed"),
        (1, 9, 0, 0, "WORKFLOW_CEILING_EXCEEDED", "the run would cost 1 cents, 0 are allowed"),
        (9, 5, 9, 9, "STEP_CEILING_EXCEEDED", "the step would cost 9 cents, 5 are allowed"),
    ],
)
def test_a_ceiling_may_be_reached_and_not_passed(
    cents: int, step_ceiling: int, charged: int, workflow_ceiling: int, code: str | None, message: str
) -> None:
    budget = Budget(step_ceiling, workflow_ceiling)
    budget.charged = charged
    allowance = budget.allowance(None)
    if code is None:
        allowance.check(cents)
        assert allowance.denied is None
        return
    with pytest.raises(DeniedError) as caught:
        allowance.check(cents)
    assert (caught.value.code, str(caught.value)) == (code, message)
    assert allowance.denied is caught.value


def test_a_steps_own_ceiling_replaces_that_of_the_run_upwards_and_downwards() -> None:
    budget = Budget(5, 100)
    budget.allowance(50).spend(50)
    with pytest.raises(DeniedError):
        budget.allowance(0).spend(1)


def test_denied_spend_charges_nothing_and_denial_is_no_exception() -> None:
    allowance = Budget(5, 100).allowance(None)
    allowance.spend(3)
    with pytest.raises(DeniedError):
        allowance.spend(3)
    assert allowance.spent == 3
    assert not issubclass(DeniedError, Exception)


def test_a_further_attempt_goes_on_with_what_the_step_has_spent() -> None:
    first = Budget(5, 100).allowance(None)
    first.spend(3)
    second = first.again()
    assert second.spent == 3
    second.spend(2)
    with pytest.raises(DeniedError):
        second.spend(1)
    assert (first.spent, second.spent) == (3, 5)


def test_a_further_attempt_of_a_step_that_spent_nothing_has_still_said_nothing() -> None:
    assert Budget(5, 100).allowance(None).again().spent is None


def test_nothing_can_be_spent_once_an_allowance_is_closed_and_a_further_one_is_open() -> None:
    allowance = Budget(5, 100).allowance(None)
    allowance.spend(1)
    allowance.close()
    with pytest.raises(UsageError, match="step that has ended"):
        allowance.spend(1)
    assert allowance.spent == 1
    allowance.again().spend(1)


class SlowBudget(Budget):
    """A budget that gives other threads their turn wherever it is asked what it holds."""

    @property
    def charged(self) -> int:
        time.sleep(0.01)
        return 0

    @charged.setter
    def charged(self, _: int) -> None: ...


def test_threads_of_one_step_cannot_together_spend_more_than_its_ceiling() -> None:
    allowance = SlowBudget(10, 100).allowance(None)
    denied: list[DeniedError] = []

    def spend() -> None:
        try:
            allowance.spend(6)
        except DeniedError as error:
            denied.append(error)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (allowance.spent, len(denied)) == (6, 3)


def test_closing_waits_for_a_spend_under_way_so_that_it_is_charged() -> None:
    allowance = SlowBudget(10, 100).allowance(None)
    thread = threading.Thread(target=allowance.spend, args=(6,))
    thread.start()
    while not allowance._budget.spending.locked():
        time.sleep(0)
    allowance.close()
    assert allowance.spent == 6
    thread.join()


def test_a_step_fits_beside_others_where_all_could_spend_all_they_may() -> None:
    budget = Budget(40, 100, charged=10)
    assert budget.fits(budget.allowance(90))
    assert not budget.fits(budget.allowance(91))
    budget.reserved = 50
    assert budget.fits(budget.allowance(None))
    assert not budget.fits(budget.allowance(41))


# In a run


def test_spending_replaces_the_estimate_even_with_nothing(lab: Lab) -> None:
    steps = [
        step("spent", "two", estimated_cost_cents=9),
        step("nothing", "zero", estimated_cost_cents=9),
        step("silent", "none", estimated_cost_cents=9),
        step("free", "none"),
    ]
    recording = lab.record(flow(*steps), skills(two=spends(1, 1), zero=spends(0), none=spends()))
    found = [record.step for record in records(recording)]
    assert [data.cost_cents for data in found] == [2, 0, 9, 0]
    assert [data.budget_snapshot.accumulated_cost_cents for data in found] == [2, 2, 11, 11]
    assert ending(recording).total_cost_cents == 11
    assert recording.start.budget_snapshot.accumulated_cost_cents == 0


def test_failing_step_is_charged_what_it_spent(lab: Lab) -> None:
    def skill(ctx: Context) -> int:
        ctx.spend(4)
        raise ValueError

    recording = lab.run(skill)
    assert only(recording).cost_cents == 4
    assert ending(recording).total_cost_cents == 4
    assert recording.statement.status == "failed"


@pytest.mark.usefixtures("hurried")
def test_what_is_spent_adds_up_over_attempts_and_is_charged_once(lab: Lab) -> None:
    def skill(ctx: Context) -> int:
        ctx.spend(30)
        if ctx.external("try", attempts.__next__) < 2:
            raise ValueError
        return 1

    attempts = iter(range(9))
    recording = lab.record(flow(step("a", "s", retry=True)), skills(s=skill))
    data = only(recording)
    assert (data.success, data.cost_cents, len(data.attempts)) == (True, 90, 3)
    assert ending(recording).total_cost_cents == data.budget_snapshot.accumulated_cost_cents == 90
    assert lab.replay(recording, skill).matched


@pytest.mark.usefixtures("hurried")
def test_attempts_together_never_pass_the_ceiling_of_their_step(lab: Lab) -> None:
    def skill(ctx: Context) -> int:
        ctx.spend(40)
        raise ValueError

    recording = lab.record(flow(step("a", "s", retry=True)), skills(s=skill))
    data = only(recording)
    assert data.error
    assert (data.error.code, data.error.message) == (
        "STEP_CEILING_EXCEEDED",
        "the step would cost 120 cents, 100 are allowed",
    )
    assert [attempt.error and attempt.error.code for attempt in data.attempts] == [
        "EXECUTION_ERROR",
        "EXECUTION_ERROR",
        "STEP_CEILING_EXCEEDED",
    ]
    assert (data.cost_cents, recording.statement.status) == (80, "budget_exceeded")
    assert lab.replay(recording, skill).matched


@pytest.mark.usefixtures("hurried")
def test_estimate_of_a_step_that_says_nothing_is_charged_once_however_often_it_is_tried(lab: Lab) -> None:
    def skill(ctx: Context) -> int:
        raise ValueError

    recording = lab.record(flow(step("a", "s", retry=True, max_retries=2, estimated_cost_cents=7)), skills(s=skill))
    assert (len(only(recording).attempts), only(recording).cost_cents) == (3, 7)
    assert lab.replay(recording, skill).matched


ESTIMATES: list[tuple[dict[str, Any], dict[str, Any], dict[str, int], str]] = [
    # step members, spec members, options, code
    ({"estimated_cost_cents": 101}, {}, {}, "STEP_CEILING_EXCEEDED"),
    ({"estimated_cost_cents": 6, "max_cost_cents": 5}, {}, {}, "STEP_CEILING_EXCEEDED"),
    ({"estimated_cost_cents": 1}, {}, {"step_ceiling_cents": 0}, "STEP_CEILING_EXCEEDED"),
    ({"estimated_cost_cents": 6}, {"budget_ceiling_cents": 5}, {}, "WORKFLOW_CEILING_EXCEEDED"),
    ({"estimated_cost_cents": 1}, {"budget_ceiling_cents": 0}, {}, "WORKFLOW_CEILING_EXCEEDED"),
    ({"estimated_cost_cents": 1}, {}, {"workflow_ceiling_cents": 0}, "WORKFLOW_CEILING_EXCEEDED"),
    (
        {"estimated_cost_cents": 600, "max_cost_cents": 2000},
        {},
        {"workflow_ceiling_cents": 500},
        "WORKFLOW_CEILING_EXCEEDED",
    ),
]


@pytest.mark.parametrize("step_members, spec_members, options, code", ESTIMATES)
def test_step_whose_estimate_is_over_a_ceiling_is_refused_unrun_and_costs_nothing(
    lab: Lab, step_members: dict[str, Any], spec_members: dict[str, Any], options: dict[str, int], code: str
) -> None:
    ran = []
    registry = skills(s=lambda _: ran.append(1))
    recording = lab.record(flow(step("a", "s", **step_members), step("b", "s"), **spec_members), registry, **options)
    data = only(recording)
    assert data.error
    assert (data.error.code, data.error_code, data.error.type) == (code, code, "DeniedError")
    assert (data.attempts, data.cost_cents, data.success, data.output_hash) == ([], 0, False, None)
    assert data.recovery_hint
    end = ending(recording)
    assert (end.status, end.steps_completed, end.steps_total, end.total_cost_cents) == ("budget_exceeded", 0, 2, 0)
    assert recording.statement.status == "budget_exceeded"
    assert ran == []


def test_budget_of_the_spec_replaces_the_usual_one_and_is_replaced_by_that_of_the_run(lab: Lab) -> None:
    registry = skills(s=spends(50))
    document = flow(step("a", "s"), step("b", "s"), budget_ceiling_cents=100)
    recording = lab.record(document, registry)
    assert recording.statement.status == "completed"
    assert recording.start.budget_snapshot.workflow_ceiling_cents == 100
    recording = lab.record(document, registry, workflow_ceiling_cents=10)
    assert recording.statement.status == "budget_exceeded"
    assert recording.start.budget_snapshot.workflow_ceiling_cents == 10


@pytest.mark.parametrize("ceiling", [-1, 1.5, True, "5", 10**16])
@pytest.mark.parametrize("which", ["step_ceiling_cents", "workflow_ceiling_cents"])
def test_ceiling_that_is_no_number_of_cents_is_refused(lab: Lab, which: str, ceiling: Any) -> None:
    with pytest.raises(UsageError, match="cents is none"):
        lab.record(flow(step("a", "s")), skills(s=spends()), **{which: ceiling})


def test_run_ends_where_earlier_steps_used_up_the_budget(lab: Lab) -> None:
    steps = [step(name, "s") for name in "abc"]
    recording = lab.record(flow(*steps, budget_ceiling_cents=100), skills(s=spends(50)))
    assert recording.statement.status == "budget_exceeded"
    data = [record.step for record in records(recording)]
    assert [found.cost_cents for found in data] == [50, 50, 0]
    assert data[-1].error_code == "WORKFLOW_CEILING_EXCEEDED"
    assert ending(recording).total_cost_cents == 100


@pytest.mark.parametrize("swallows", [False, True])
def test_spending_over_a_ceiling_ends_the_run_even_where_the_skill_swallows_it(lab: Lab, swallows: bool) -> None:
    def skill(ctx: Context) -> int:
        ctx.spend(60)
        try:
            ctx.spend(60)
        except BaseException:
            if not swallows:
                raise
        return 1

    recording = lab.run(skill)
    data = only(recording)
    assert (data.error_code, data.cost_cents, data.success) == ("STEP_CEILING_EXCEEDED", 60, False)
    assert len(data.attempts) == 1
    assert recording.statement.status == "budget_exceeded"
    assert lab.replay(recording, skill).matched


@pytest.mark.parametrize("cents", [-1, 1.0, "1", True, None])
def test_spending_what_is_no_whole_number_fails_the_step(lab: Lab, cents: Any) -> None:
    recording = lab.run(spends(cents))
    data = only(recording)
    assert data.error
    assert (data.error.code, data.error.type) == ("EXECUTION_ERROR", "UsageError")
    assert "not a whole number of cents" in data.error.message
