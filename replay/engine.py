"""Engine: the course of a run as a generator that asks for everything and does nothing itself.

It yields `Invoke` and receives an `Outcome`, or None where the step is under way beside others; `WAIT`, and receives
which of those ended and how; `Emit`, and receives the output to pass on, or None. It calls no skill, reads no clock and
opens no file; who drives it decides whether a run is recorded, replayed or resumed.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from golden.canonical import canonical_bytes, decode, derive_seed, output_hash, path_seed, sha256_hex
from golden.errors import FormatError, LimitError
from golden.event import Attempt, RunEnd, StepData, StepError
from golden.redaction import Redaction
from golden.volatile import Volatile
from replay import codes
from replay.budget import Allowance, Budget, DeniedError
from replay.frames import MAX_MESSAGE, Failure
from replay.order import Order
from replay.policy import Policy
from replay.reference import RUN_INPUTS
from replay.retry import delay_ms, retries
from replay.spec import MAX_INPUTS, Spec, Step

# How a step's seed comes of the run's: by its index in the spec, or by the path of calls that leads to it.
INDEXED, BY_PATH = "aos-v1", "path-v1"
_NULL = Raw(b"null")


class Invoke(msgspec.Struct):
    """Run this step: `inputs` and `outputs` (of its dependencies) are canonical bytes.

    `delay_ms` is how long to wait before this attempt; `waited_ms` the virtual time that has passed since the run's
    start, which is what this step and those it depends on have waited. `written` are the inputs as they are recorded,
    which is what `input_hash` is of: secrets are redacted there.
    """

    step: Step
    index: int
    attempt: int
    inputs: bytes
    input_hash: str
    seed: int
    outputs: dict[str, bytes]
    allowance: Allowance
    delay_ms: int = 0
    waited_ms: int = 0
    written: bytes = b""

    def __post_init__(self) -> None:
        """Take the inputs as they are where nothing is redacted."""
        self.written = self.written or self.inputs


class Outcome(msgspec.Struct):
    """How an attempt went: canonical output bytes, or an error, with what the user's code raised.

    `spent` is what the step said it cost in cents, over all its attempts, None where it said nothing. `final` means
    that another attempt could not go otherwise, `untried` that no code ran. `attempts` is there where the step is
    answered whole: all its tries.
    """

    output: bytes | None
    error: StepError | None = None
    duration_us: int = 0
    spent: int | None = None
    failure: Failure | None = None
    final: bool = False
    untried: bool = False
    attempts: list[Attempt] | None = None


class Emit(msgspec.Struct):
    """Write, or compare, this event; a step's carries the microseconds it took and what its code raised.

    `output` are the canonical bytes of what the step returned, nothing redacted.
    """

    data: StepData | RunEnd
    duration_us: int | None = None
    failure: Failure | None = None
    output: bytes | None = None


class Wait(msgspec.Struct, frozen=True):
    """Say which of the steps under way has ended, by its index, and how."""


class StoppedError(BaseException):
    """Thrown into the engine by its driver: the run ends here with `status`, steps under way are not recorded."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


# What it is sent: see the module's text.
Engine = Generator[Invoke | Wait | Emit, Outcome | tuple[int, Outcome] | bytes | None, None]
WAIT = Wait()


def run(  # noqa: PLR0913  one parameter for each thing that a run is determined by
    spec: Spec,
    *,
    seed: int,
    inputs: bytes,
    budget: Budget,
    policy: Policy,
    versions: Mapping[str, str],
    volatile: Volatile,
    scheme: str = INDEXED,
    redaction: Redaction | None = None,
    order: Order | None = None,
    width: int = 1,
) -> Engine:
    """Return the course of one run of `spec`; `inputs` are canonical bytes, `versions` the skills' by id.

    `scheme` says how a step's seed comes of the run's, by its index or by its path. At most `width` steps are under
    way at a time; `order` says which begins next.
    """
    course = _Course(spec, seed, scheme, decode(inputs), budget, policy, redaction or Redaction())
    order = order or Order()
    while (index := course.choose(order, width)) is not None or course.under_way:
        try:
            if index is None:
                answer = yield WAIT
                if not isinstance(answer, tuple):
                    raise TypeError("a Wait is answered with an index and an Outcome")
                index, outcome = answer
            else:
                current = course.under_way[index]
                found = current.refused or (yield current.request)
                if found is None:
                    continue
                if not isinstance(found, Outcome):
                    raise TypeError("an Invoke is answered with an Outcome or None")
                outcome = found
        except StoppedError as stopped:
            course.stop(stopped.status)
            break
        current = course.under_way[index]
        if current.try_again(outcome):
            course.again.append(index)
            continue
        data = course.conclude(index, outcome, versions, volatile)
        passed_on = yield Emit(data, current.duration_us, outcome.failure, outcome.output)
        course.settle(index, data, passed_on if isinstance(passed_on, bytes) else outcome.output)
    yield Emit(course.end())


class _Current(msgspec.Struct):
    """A step under way: what is asked for next, and what its attempts came to."""

    request: Invoke
    refused: Outcome | None
    because: str | UnsetType
    retries: int
    attempts: list[Attempt] = []
    duration_us: int = 0

    def try_again(self, outcome: Outcome) -> bool:
        """Take note of an attempt; whether another is to follow, which then is what is asked for next."""
        if outcome.attempts is not None:
            self.attempts = outcome.attempts
        elif not outcome.untried:
            self.attempts.append(Attempt(delay_ms=self.request.delay_ms, error=outcome.error))
        self.duration_us += outcome.duration_us
        if not outcome.error or outcome.final or outcome.attempts is not None or len(self.attempts) > self.retries:
            return False
        before = self.request
        wait = delay_ms(before.seed, before.attempt)
        self.request = msgspec.structs.replace(
            before,
            attempt=before.attempt + 1,
            allowance=before.allowance.again(),
            delay_ms=wait,
            waited_ms=before.waited_ms + wait,
        )
        return True


class _Course:
    """What a run has come to so far: which steps may begin, outputs while somebody needs them, hashes, cost."""

    def __init__(
        self,
        spec: Spec,
        seed: int,
        scheme: str,
        run_inputs: Any,
        budget: Budget,
        policy: Policy,
        redaction: Redaction,
    ) -> None:
        self.status = "completed"
        self.under_way: dict[int, _Current] = {}
        self.again: list[int] = []
        self._ending = False
        self._spec = spec
        self._seed = seed
        self._scheme = scheme
        self._run_inputs = run_inputs
        self._budget = budget
        self._policy = policy
        self._redaction = redaction
        self._missing = [len(needs) for needs in spec.dependencies]
        self._ready = [n for n, count in enumerate(self._missing) if count == 0]
        self._because: dict[int, str] = {}
        self._waited: dict[str, int] = {}
        self._outputs: dict[str, bytes] = {}
        self._values: dict[str, Any] = {}
        self._hashes: dict[str, str] = {}
        self._uses = _uses(spec)
        self._cost = 0

    def choose(self, order: Order, width: int) -> int | None:
        """Return the index of the step to begin, or to try again, now; None where none may."""
        if self.again:
            return self.again.pop()
        if len(self.under_way) >= width:
            return None
        index = order.pick(self._ready, ending=self._ending)
        if index is None:
            return None
        step = self._spec.steps[index]
        allowance = self._budget.allowance(step.max_cost_cents)
        if self.under_way and not self._budget.fits(allowance):
            heapq.heappush(self._ready, index)
            return None
        self._budget.reserved += allowance.ceiling
        self.under_way[index] = self._begin(step, index, allowance)
        return index

    def _begin(self, step: Step, index: int, allowance: Allowance) -> _Current:
        because = self._because.pop(index, None)
        if because is None:
            resolved, written, refused = self._resolve(step, index)
        else:
            resolved = written = canonical_bytes(step.inputs)
            refused = Outcome(None, final=True, untried=True)
        if refused is None:
            try:
                self._policy.check(step, resolved)
                allowance.check(step.estimated_cost_cents)
            except DeniedError as denied:
                refused = _refused(denied.code, denied)
        request = Invoke(
            step,
            index,
            0,
            resolved,
            sha256_hex(written),
            derive_seed(self._seed, index) if self._scheme == INDEXED else path_seed(self._seed, step.id),
            {} if refused else self._outputs_for(index),
            allowance,
            waited_ms=self._waited_before(index),
            written=written,
        )
        return _Current(request, refused, UNSET if because is None else because, retries(step))

    def _waited_before(self, index: int) -> int:
        """Return the virtual time in milliseconds at which a step begins: when the last it depends on had ended."""
        if not self._waited:
            return 0
        return max((self._waited.get(needed, 0) for needed in self._spec.dependencies[index]), default=0)

    def _resolve(self, step: Step, index: int) -> tuple[bytes, bytes, Outcome | None]:
        """Return the step's resolved inputs, these as they are written, and how it ended if they cannot be."""
        template = self._spec.templates[index]
        try:
            resolved = canonical_bytes(step.inputs if template.fixed else template.resolve(self._value_of))
            if len(resolved) > MAX_INPUTS:
                raise LimitError(
                    f"inputs have {len(resolved)} bytes, at most {MAX_INPUTS} fit a line", hint="pass on less"
                )
            # What the spec says word by word was looked at with it.
            written = resolved if template.fixed else self._redaction.admit(("steps", step.id, "inputs"), resolved)
        except (LookupError, TypeError, FormatError) as error:
            as_given = canonical_bytes(step.inputs)
            return as_given, as_given, _refused(codes.EXECUTION_ERROR, error)
        return resolved, written, None

    def _outputs_for(self, index: int) -> dict[str, bytes]:
        """Return the outputs of the steps that the one at `index` depends on."""
        needed = self._spec.dependencies[index]
        return {step_id: self._outputs[step_id] for step_id in sorted(needed)} if needed else {}

    def conclude(self, index: int, outcome: Outcome, versions: Mapping[str, str], volatile: Volatile) -> StepData:
        """Charge a step that has ended and return its event."""
        current = self.under_way.pop(index)
        request, step, failed = current.request, current.request.step, outcome.error
        spent = outcome.spent if outcome.spent is not None else request.allowance.spent
        # What it is said to cost, unless it said so itself; nothing where it never began.
        cost = spent if spent is not None else step.estimated_cost_cents if current.attempts else 0
        self._cost += cost
        self._budget.charged += cost
        self._budget.reserved -= request.allowance.ceiling
        output = None if outcome.output is None else self._redaction.hide(outcome.output)
        waited = self._waited_before(index)
        if len(current.attempts) > 1:
            waited += sum(attempt.delay_ms for attempt in current.attempts)
        if waited:
            self._waited[step.id] = waited
        return StepData(
            attempts=current.attempts,
            because=current.because,
            budget_snapshot=self._budget.snapshot(),
            cost_cents=cost,
            error=failed or UNSET,
            error_code=failed.code if failed else UNSET,
            index=index,
            input_hash=request.input_hash,
            inputs=Raw(request.written),
            output=_NULL if output is None else Raw(output),
            output_hash=None if output is None else volatile.hash_output(step.id, output),
            recovery_hint=codes.HINTS.get(failed.code, UNSET) if failed else UNSET,
            seed=request.seed,
            skill_id=step.skill_id,
            skill_version=versions.get(step.skill_id, ""),
            skipped=UNSET if current.because is UNSET else True,
            step_id=step.id,
            success=outcome.output is not None,
        )

    def settle(self, index: int, data: StepData, output: bytes | None) -> None:
        """Let a step that has ended have its consequences: for those that wait for it, and for the run."""
        step = self._spec.steps[index]
        good = data.output_hash is not None and output is not None
        if data.output_hash is not None and output is not None:
            self._hashes[step.id] = data.output_hash
            self._outputs[step.id] = output
        elif not self._ending:
            code = data.error.code if data.error else ""
            self._ending = code in codes.ENDING or not (step.on_error == "continue" or data.skipped)
            self.status = codes.ENDING.get(code, "failed")
        for done in self._spec.dependencies[index]:
            self._uses[done] -= 1
        for done in (step.id, *self._spec.dependencies[index]):
            if not self._uses[done]:
                self._outputs.pop(done, None)
                self._values.pop(done, None)
        for waiting in self._spec.dependents[index]:
            self._missing[waiting] -= 1
            if not good:
                self._because.setdefault(waiting, f"step {step.id} {'was skipped' if data.skipped else 'failed'}")
            if not self._missing[waiting]:
                heapq.heappush(self._ready, waiting)

    def stop(self, status: str) -> None:
        """End the run here: steps under way are not recorded, what they spent is."""
        self.status = status
        self._cost += sum(current.request.allowance.spent or 0 for current in self.under_way.values())

    def end(self) -> RunEnd:
        """Return the last event."""
        return RunEnd(
            result_hash=self._result_hash(),
            status=self.status,
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
            return sha256_hex(self._redaction.hide(canonical_bytes(result.resolve(self._value_of(result.root)))))
        except LookupError:
            return None


def _uses(spec: Spec) -> dict[str, int]:
    """Count, per step id, who needs its output."""
    uses = {step.id: len(spec.dependents[n]) for n, step in enumerate(spec.steps)}
    if spec.result and spec.result.root in uses:
        uses[spec.result.root] += 1
    return uses


def _refused(code: str, error: BaseException) -> Outcome:
    told = StepError(code=code, location=None, message=str(error)[:MAX_MESSAGE], type=type(error).__name__)
    return Outcome(None, told, final=True, untried=True)
