"""Policy: whether a step may run and spend, decided before it does, in integer cents.

Fails closed; decides nothing about what a step returns.
"""

from __future__ import annotations

from golden.errors import UsageError
from golden.event import BudgetSnapshot

POLICY_VERSION = "1.0.0"
DEFAULT_STEP_CEILING = 100
DEFAULT_WORKFLOW_CEILING = 1000
HINTS = {
    "STEP_CEILING_EXCEEDED": "raise the step's max_cost_cents or DEFAULT_STEP_CEILING_CENTS, or make it cheaper",
    "WORKFLOW_CEILING_EXCEEDED": "raise budget_ceiling_cents or DEFAULT_WORKFLOW_CEILING_CENTS, or drop steps",
    "EXECUTION_ERROR": "correct the skill or its inputs, then record again",
}


class DeniedError(BaseException):
    """A step spent beyond a ceiling; not an Exception, so that no skill keeps it to itself."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Budget:
    """Ceilings of a run and what has been charged so far."""

    def __init__(self, step_ceiling: int, workflow_ceiling: int) -> None:
        self.step_ceiling = step_ceiling
        self.workflow_ceiling = workflow_ceiling
        self.charged = 0
        self.version = POLICY_VERSION

    @classmethod
    def restored(cls, snapshot: BudgetSnapshot) -> Budget:
        """Return the budget that a recording began with."""
        budget = cls(snapshot.step_ceiling_cents, snapshot.workflow_ceiling_cents)
        budget.version = snapshot.policy_version
        budget.charged = snapshot.accumulated_cost_cents
        return budget

    def snapshot(self) -> BudgetSnapshot:
        """Return the budget as events carry it."""
        return BudgetSnapshot(
            accumulated_cost_cents=self.charged,
            policy_version=self.version,
            step_ceiling_cents=self.step_ceiling,
            workflow_ceiling_cents=self.workflow_ceiling,
        )

    def allowance(self, max_cost_cents: int | None) -> Allowance:
        """Return what one step may spend; its own `max_cost_cents` replaces the run's step ceiling."""
        return Allowance(self, self.step_ceiling if max_cost_cents is None else max_cost_cents)


class Allowance:
    """What one step may spend, and what it has spent: `spent` is None until it says so."""

    __slots__ = ("_budget", "_ceiling", "closed", "denied", "spent")

    def __init__(self, budget: Budget, ceiling: int) -> None:
        self._budget = budget
        self._ceiling = ceiling
        self.spent: int | None = None
        self.closed = False
        self.denied: DeniedError | None = None

    def check(self, cents: int) -> None:
        """Raise DeniedError where a total of `cents` for the step would go over a ceiling."""
        if cents > self._ceiling:
            self.denied = DeniedError(
                "STEP_CEILING_EXCEEDED", f"the step would cost {cents} cents, {self._ceiling} are allowed"
            )
        elif self._budget.charged + cents > self._budget.workflow_ceiling:
            total = self._budget.charged + cents
            self.denied = DeniedError(
                "WORKFLOW_CEILING_EXCEEDED",
                f"the run would cost {total} cents, {self._budget.workflow_ceiling} are allowed",
            )
        if self.denied:
            raise self.denied

    def spend(self, cents: int) -> None:
        """Charge `cents`; raises DeniedError, and charges nothing, where that goes over a ceiling."""
        if self.closed:
            raise UsageError("ctx.spend of a step that has ended", hint="use the Context of the step that runs")
        self.check((self.spent or 0) + cents)
        self.spent = (self.spent or 0) + cents
