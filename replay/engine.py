"""Engine: the course of a run as a generator that asks for everything and does nothing itself.

It yields `Invoke` and receives an `Outcome`; it yields `Emit` and receives the output to pass on, or None. It calls no
skill, reads no clock and opens no file; who drives it decides whether a run is recorded or replayed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from golden.canonical import canonical_bytes, decode, derive_seed, output_hash, sha256_hex
from golden.errors import FormatError, LimitError
from golden.event import Attempt, RunEnd, StepData, StepError
from golden.volatile import Volatile
from replay.frames import MAX_MESSAGE, Failure
from replay.policy import HINTS, Allowance, Budget, DeniedError
from replay.reference import RUN_INPUTS
from replay.spec import MAX_INPUTS, Spec, Step

_NULL = Raw(b"null")


class Invoke(msgspec.Struct):
    """Run this step: `inputs` and `outputs` (of its dependencies) are canonical bytes."""

    step: Step
    index: int
    attempt: int
    inputs: bytes
    input_hash: str
    seed: int
    outputs: dict[str, bytes]
    allowance: Allowance


class Outcome(msgspec.Struct):
    """How an attempt went: canonical output bytes, or an error, with what the user's code raised.

    `spent` is what the step said it cost in cents, None where it said nothing.
    """

    output: bytes | None
    error: StepError | None = None
    duration_us: int = 0
    spent: int | None = None
    failure: Failure | None = None


class Emit(msgspec.Struct):
    """Write, or compare, this event; a step's carries the microseconds it took and what its code raised."""

    data: StepData | RunEnd
    duration_us: int | None = None
    failure: Failure | None = None


class StoppedError(BaseException):
    """Thrown into the engine by its driver: the run ends here with `status`, the step under way is not recorded."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


# What it is sent: an Outcome for an Invoke, the output to pass on (or None for the step's own) for an Emit.
Engine = Generator[Invoke | Emit, Outcome | bytes | None, None]


def run(
    spec: Spec, *, seed: int, inputs: bytes, budget: Budget, versions: Mapping[str, str], volatile: Volatile
) -> Engine:
    """Return the course of one run of `spec`; `inputs` are canonical bytes, `versions` the skills' by id."""
    course = _Course(spec, decode(inputs), budget)
    status = "completed"
    for index in spec.order:
        step = spec.steps[index]
        allowance = budget.allowance(step.max_cost_cents)
        step_seed = derive_seed(seed, index)
        resolved, refused = course.admit(index, allowance)
        digest = sha256_hex(resolved)
        request = Invoke(step, index, 0, resolved, digest, step_seed, course.outputs_for(index), allowance)
        try:
            outcome = refused or (yield request)
        except StoppedError as stopped:
            status = stopped.status
            break
        if not isinstance(outcome, Outcome):
            raise TypeError("an Invoke is answered with an Outcome")
        cost = 0 if refused else step.estimated_cost_cents if outcome.spent is None else outcome.spent
        course.charge(cost)
        failed = outcome.error
        hashed = None if outcome.output is None else volatile.hash_output(step.id, outcome.output)
        data = StepData(
            attempts=[] if refused else [Attempt(delay_ms=0, error=failed)],
            budget_snapshot=budget.snapshot(),
            cost_cents=cost,
            error=failed or UNSET,
            error_code=failed.code if failed else UNSET,
            index=index,
            input_hash=digest,
            inputs=Raw(resolved),
            output=_NULL if outcome.output is None else Raw(outcome.output),
            output_hash=hashed,
            recovery_hint=HINTS.get(failed.code, UNSET) if failed else UNSET,
            seed=step_seed,
            skill_id=step.skill_id,
            skill_version=versions.get(step.skill_id, ""),
            step_id=step.id,
            success=failed is None,
        )
        passed_on = yield Emit(data, outcome.duration_us, outcome.failure)
        if hashed is None or outcome.output is None:
            status = "budget_exceeded" if failed and failed.code.endswith("CEILING_EXCEEDED") else "failed"
            break
        course.keep(index, passed_on if isinstance(passed_on, bytes) else outcome.output, hashed)
    yield Emit(course.end(status))


class _Course:
    """What a run has come to so far: outputs while somebody needs them, hashes, cost."""

    def __init__(self, spec: Spec, run_inputs: Any, budget: Budget) -> None:
        self._spec = spec
        self._run_inputs = run_inputs
        self._budget = budget
        self._outputs: dict[str, bytes] = {}
        self._values: dict[str, Any] = {}
        self._hashes: dict[str, str] = {}
        self._uses = _uses(spec)
        self._cost = 0

    def admit(self, index: int, allowance: Allowance) -> tuple[bytes, Outcome | None]:
        """Return the step's resolved inputs, and how it ended if it may not even begin."""
        step, template = self._spec.steps[index], self._spec.templates[index]
        try:
            resolved = canonical_bytes(step.inputs if template.fixed else template.resolve(self._value_of))
            if len(resolved) > MAX_INPUTS:
                raise LimitError(
                    f"inputs have {len(resolved)} bytes, at most {MAX_INPUTS} fit a line", hint="pass on less"
                )
        except (LookupError, TypeError, FormatError) as error:
            return canonical_bytes(step.inputs), Outcome(None, _error("EXECUTION_ERROR", error))
        try:
            allowance.check(step.estimated_cost_cents)
        except DeniedError as denied:
            return resolved, Outcome(None, _error(denied.code, denied))
        return resolved, None

    def outputs_for(self, index: int) -> dict[str, bytes]:
        """Return the outputs of the steps that the one at `index` depends on."""
        return {step_id: self._outputs[step_id] for step_id in sorted(self._spec.dependencies[index])}

    def charge(self, cents: int) -> None:
        """Add a step's cost to the run's."""
        self._cost += cents
        self._budget.charged += cents

    def keep(self, index: int, output: bytes, digest: str) -> None:
        """Keep a step's output for as long as another step, or the result, needs it; its hash to the end."""
        step_id = self._spec.steps[index].id
        self._hashes[step_id] = digest
        self._outputs[step_id] = output
        for done in self._spec.dependencies[index]:
            self._uses[done] -= 1
        for done in (step_id, *self._spec.dependencies[index]):
            if not self._uses[done]:
                self._outputs.pop(done, None)
                self._values.pop(done, None)

    def end(self, status: str) -> RunEnd:
        """Return the last event."""
        return RunEnd(
            result_hash=self._result_hash(),
            status=status,
            steps_completed=len(self._hashes),
            steps_total=len(self._spec.steps),
            total_cost_cents=self._cost,
        )

    def _value_of(self, root: str) -> Any:
        if root == RUN_INPUTS:
            return self._run_inputs
        if root not in self._values:
            self._values[root] = decode(self._outputs[root])
        return self._values[root]

    def _result_hash(self) -> str | None:
        result = self._spec.result
        if result is None:
            return output_hash(self._hashes)
        if result.root != RUN_INPUTS and result.root not in self._outputs:
            return None
        try:
            return output_hash(result.resolve(self._value_of(result.root)))
        except LookupError:
            return None


def _uses(spec: Spec) -> dict[str, int]:
    """Count, per step id, who needs its output."""
    uses = dict.fromkeys((step.id for step in spec.steps), 0)
    for dependencies in spec.dependencies:
        for step_id in dependencies:
            uses[step_id] += 1
    if spec.result and spec.result.root in uses:
        uses[spec.result.root] += 1
    return uses


def _error(code: str, error: BaseException) -> StepError:
    return StepError(code=code, location=None, message=str(error)[:MAX_MESSAGE], type=type(error).__name__)
