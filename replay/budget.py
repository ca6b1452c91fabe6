"""Budget: what a run and each of its steps may spend and has spent, in integer cents.

Knows no skill and no rule but ceilings; fails closed.
"""

from __future__ import annotations

from threading import Lock

import msgspec

from golden.errors import UsageError
from golden.event import BudgetSnapshot
from replay import codes

POLICY_VERSION = "1.0.0"
DEFAULT_STEP_CEILING = 100
DEFAULT_WORKFLOW_CEILING = 1000
# More money than there is; as much as every number in an event can carry, many times over.
MAX_CEILING = 10**15


class DeniedError(BaseException):
    """A step may not go on; not an Exception, so that no skill keeps it to itself. `code` is one of `replay.codes`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Ceilings(msgspec.Struct, frozen=True):
    """What a run may cost, in integer cents; 0 means 0.

    Attributes:
        step: for a step that names no ceiling of its own.
        workflow: for the run, whatever its spec says; None to leave it to that.
        usual: for the run where neither says anything.
    """

    step: int = DEFAULT_STEP_CEILING
    workflow: int | None = None
    usual: int = DEFAULT_WORKFLOW_CEILING

    def budget(self, of_spec: int | None) -> Budget:
        """Return the budget of a new run whose spec names the ceiling `of_spec`; raises UsageError for what is none."""
        whole = next(ceiling for ceiling in (self.workflow, of_spec, self.usual) if ceiling is not None)
        for ceiling in (self.step, whole):
            if type(ceiling) is not int or not 0 <= ceiling <= MAX_CEILING:
                raise UsageError(f"a ceiling of {ceiling!r} cents is none", hint="use a whole number, 0 or more")
        return Budget(self.step, whole)


class Budget:
    """Ceilings of a run, what has been charged so far, and what steps under way could still spend."""

    def __init__(self, step_ceiling: int, workflow_ceiling: int, charged: int = 0) -> None:
        self.step_ceiling = step_ceiling
        self.workflow_ceiling = workflow_ceiling
        self.charged = charged
        self.reserved = 0
        self.version = POLICY_VERSION
        # Threads of one step may spend side by side, and after it was given up.
        self.spending = Lock()

    @classmethod
    def restored(cls, snapshot: BudgetSnapshot) -> Budget:
        """Return the budget that a recording began with."""
        budget = cls(snapshot.step_ceiling_cents, snapshot.workflow_ceiling_cents, snapshot.accumulated_cost_cents)
        budget.version = snapshot.policy_version
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

    def fits(self, allowance: Allowance) -> bool:
        """Whether a step could spend all it may beside those under way.

        Steps side by side are held to this, so that none is refused because of what another happens to spend
        meanwhile. Where money is short, which of them finds none left can depend on the order in which they became
        ready: the order in which they ended, which the recording holds.
        """
        return self.charged + self.reserved + allowance.ceiling <= self.workflow_ceiling


class Allowance:
    """What one step may spend over all its attempts, and what it has spent: `spent` is None until it says so."""

    __slots__ = ("_budget", "_closed", "above", "ceiling", "denied", "spent")

    def __init__(self, budget: Budget, ceiling: int, above: Allowance | None = None) -> None:
        self._budget = budget
        self.above = above
        self.ceiling = ceiling
        self.spent: int | None = None
        self._closed = False
        self.denied: DeniedError | None = None

    def again(self) -> Allowance:
        """Return what a further attempt may spend: the same, what was spent so far counted in."""
        further = Allowance(self._budget, self.ceiling)
        further.spent = self.spent
        return further

    def nested(self) -> Allowance:
        """Return the allowance of a step that this one calls: what it spends is spent by both."""
        return Allowance(self._budget, self.ceiling, self)

    def check(self, cents: int) -> None:
        """Raise DeniedError where a total of `cents` for the step would go over a ceiling."""
        if cents > self.ceiling:
            self.denied = DeniedError(
                codes.STEP_CEILING_EXCEEDED, f"the step would cost {cents} cents, {self.ceiling} are allowed"
            )
        elif self._budget.charged + cents > self._budget.workflow_ceiling:
            total = self._budget.charged + cents
            self.denied = DeniedError(
                codes.WORKFLOW_CEILING_EXCEEDED,
                f"the run would cost {total} cents, {self._budget.workflow_ceiling} are allowed",
            )
        if self.denied:
            raise self.denied

    def spend(self, cents: int) -> None:
        """Charge `cents`; raises DeniedError, and charges nothing, where that goes over a ceiling."""
        with self._budget.spending:
            if self._closed:
                raise UsageError("ctx.spend of a step that has ended", hint="use the Context of the step that runs")
            everyone = [self]
            while (above := everyone[-1].above) is not None:
                everyone.append(above)
            top = everyone[-1]
            top.check((top.spent or 0) + cents)
            for each in everyone:
                each.spent = (each.spent or 0) + cents

    def close(self) -> None:
        """Let nothing more be spent: what is in `spent` from now on is what is charged."""
        with self._budget.spending:
            self._closed = True
