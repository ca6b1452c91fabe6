"""AOS events: what the bytes of an AOS file say, as events of golden/v1; touches no file.

Nothing is invented. Kept: run id, times (in UTC), `spec_id`, seed, budget, and of each step index, ids, seed, inputs,
output, success, error, cost, duration, and the hash that the AOS system gave its output. What an AOS file does not say
gets the neutral value of the format:

- spec and `spec_hash` are null, so that such a recording is never replayed; run inputs, policy, volatile and redacted
  places are empty; of the environment only our own version is known, the rest is "", 0, [] or null;
- inputs are as AOS wrote them: its references (`${step}`) are not resolved, for the file does not say to what;
- a step's skill version and its error's type are "", its error's location is null;
- `retries: n` are n attempts before the last one, of which nothing is known: no error, no wait;
- without a budget snapshot all ceilings are 0 and the policy's version is ""; that of a step is the run's, with the
  costs of the steps so far added; without `steps_count` the steps of the file are all; a step without a seed has the
  one of scheme `aos-v1`, which is AOS's own; without `cost_cents`, `duration_ms` or `retries`, 0.

Not kept: `spec_name`, `spec_version`, `replay`, AOS's hash of the spec, what an error has besides code, message and
recovery hint, and such a hint where nothing failed. `origin.sha256` names the file that has them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw

from golden.canonical import MAX_VALUE_DEPTH, canonical_bytes, derive_seed, output_hash, sha256_hex
from golden.errors import FormatError
from golden.event import (
    FORMAT,
    MAX_HEADER,
    MAX_LINE,
    Attempt,
    BudgetSnapshot,
    Count,
    Data,
    Environment,
    Origin,
    RunEnd,
    RunStart,
    StepData,
    StepError,
    encode_line,
)
from golden.version import VERSION

AOS = "aos"
LEFT = "keep the AOS file as it is; golden/v1 cannot carry it"
STATUSES = frozenset(
    """completed failed aborted interrupted budget_exceeded emergency_stopped policy_violation
    sandbox_rejected""".split()  # noqa: SIM905  as the glossary lists them
)
# What a line has besides its data: run id, number, time, key, MAC.
_ENVELOPE = 1024
Form = TypeVar("Form")
Said = TypeVar("Said")


class Written(msgspec.Struct, frozen=True):
    """One event to be recorded: how long it took in microseconds, if its kind says so, and when it was written."""

    data: Data
    duration_us: int | None
    at: str


# The forms of AOS events, as its recorder wrote them; what is not listed is not kept.


class _Event(msgspec.Struct):
    data: dict[str, Any]
    event_type: str
    run_id: str
    timestamp: str


class _Budget(msgspec.Struct):
    accumulated_cost_cents: int = 0
    policy_version: str = ""
    step_ceiling_cents: int = 0
    workflow_ceiling_cents: int = 0


class _Start(msgspec.Struct):
    seed: int
    budget_snapshot: _Budget | None = None
    spec_id: str | None = None
    steps_count: Count | None = None


class _Step(msgspec.Struct):
    index: Count
    skill_id: str
    step_id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    success: bool
    error_code: str | None = None
    inputs: dict[str, Any] = {}
    output: Any = None
    output_hash: str | None = None
    recovery_hint: str | None = None
    seed: int | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    recovery: str | None = None


class _Result(msgspec.Struct):
    """What the engine wraps a step's output in."""

    step_id: str
    success: bool
    cost_cents: Count = 0
    duration_ms: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    error: _Error | str | None = None
    error_code: str | None = None
    output: Any = None
    recovery_hint: str | None = None
    retries: Annotated[int, Meta(ge=0, le=10_000)] = 0


_WRAPPED = {"step_id", "success", "output"}


class _End(msgspec.Struct):
    status: str


def events_of(data: bytes, run_id: str) -> Iterator[Written]:
    """Give the events of golden/v1 that say what the bytes of an AOS file say, in their order.

    Raises:
        FormatError: golden/v1 cannot carry it, or it is no file of one whole run; the message says in which line.
    """
    run = _Run(Origin(format=AOS, sha256=hashlib.sha256(data).hexdigest()))
    number = 0
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            event = _form(_parsed(line), _Event, "")
            if event.run_id != run_id:
                raise FormatError(f'it is of run "{event.run_id}"', hint="restore the file from backup")
            written = Written(run.take(event), run.duration_us, _time(event.timestamp))
            _check_size(written.data)
        except FormatError as error:
            raise type(error)(f"line {number}: {error.problem}", hint=error.hint) from None
        yield written
    if not run.ended:
        raise FormatError(f"line {number}: the run has no end", hint="the AOS system never finished it; record it anew")


class _Run:
    """One run as its events are taken in order: what later ones need of earlier ones."""

    def __init__(self, origin: Origin) -> None:
        self.ended = False
        self.duration_us: int | None = None
        self._origin = origin
        self._start: _Start | None = None
        self._seen: set[int | str] = set()
        self._hashes: dict[str, str] = {}
        self._steps = 0
        self._cost = 0

    def take(self, event: _Event) -> Data:
        """Return the event of golden/v1 for one of AOS."""
        self.duration_us = None
        if self.ended:
            raise FormatError(f"a {event.event_type} stands after the run's end", hint="two runs share this file")
        if (self._start is None) is not (event.event_type == "run_start"):
            what = "is no run_start" if self._start is None else "is another run_start"
            raise FormatError(f"it {what}", hint="the file does not hold one whole run")
        match event.event_type:
            case "run_start":
                return self._started(_form(event.data, _Start, "/data"))
            case "step":
                return self._stepped(_form(event.data, _Step, "/data"))
            case "run_end":
                return self._over(_form(event.data, _End, "/data"))
        raise FormatError(f'unknown event type "{event.event_type}"', hint=LEFT)

    def _started(self, start: _Start) -> RunStart:
        self._start = start
        return RunStart(
            budget_snapshot=self._budget(),
            canonical=FORMAT,
            environment=Environment(
                cpu_count=0,
                env=[],
                hash_seed="",
                locale="",
                lock_hash=None,
                platform="",
                python="",
                skills={},
                timezone="",
                version=VERSION,
            ),
            inputs=Raw(b"{}"),
            origin=self._origin,
            policy={},
            redacted=[],
            seed=start.seed,
            seed_scheme="aos-v1",
            spec=Raw(b"null"),
            spec_hash=None,
            spec_id=start.spec_id,
            volatile=[],
        )

    def _stepped(self, step: _Step) -> StepData:
        if {step.index, step.step_id} & self._seen:
            raise FormatError(f"step {step.step_id}, index {step.index}, stands twice", hint="two runs share this file")
        self._seen |= {step.index, step.step_id}
        wrapped = isinstance(step.output, dict) and step.output.keys() >= _WRAPPED
        result = (
            _form(step.output, _Result, "/data/output")
            if wrapped
            else _Result(step_id=step.step_id, success=step.success, output=step.output)
        )
        _agreed("step_id", step.step_id, result.step_id)
        _agreed("success", step.success, result.success)
        error = _error(step, result)
        if error is None and (result.error, result.error_code, step.error_code) != (None, None, None):
            raise FormatError("a step that succeeded has an error", hint=LEFT)
        if error is not None and result.output is not None:
            raise FormatError("a step that failed has an output", hint=LEFT)
        recovery = result.error.recovery if isinstance(result.error, _Error) else None
        inputs, output = canonical_bytes(step.inputs), canonical_bytes(result.output)
        hashed = sha256_hex(output) if error is None else None
        if hashed is not None:
            self._hashes[step.step_id] = hashed
        self._steps += 1
        self._cost += result.cost_cents
        self.duration_us = round(result.duration_ms * 1000)
        seed = self._start.seed if self._start else 0
        return StepData(
            attempts=[Attempt(delay_ms=0, error=None)] * result.retries + [Attempt(delay_ms=0, error=error)],
            budget_snapshot=self._budget(),
            cost_cents=result.cost_cents,
            error=error or UNSET,
            error_code=error.code if error else UNSET,
            index=step.index,
            input_hash=sha256_hex(inputs),
            inputs=Raw(inputs),
            origin_output_hash=UNSET if step.output_hash is None else step.output_hash,
            output=Raw(output),
            output_hash=hashed,
            recovery_hint=(_agreed("recovery_hint", step.recovery_hint, result.recovery_hint) or recovery or "")
            if error
            else UNSET,
            seed=derive_seed(seed, step.index) if step.seed is None else step.seed,
            skill_id=step.skill_id,
            skill_version="",
            step_id=step.step_id,
            success=step.success,
        )

    def _over(self, end: _End) -> RunEnd:
        if end.status not in STATUSES:
            raise FormatError(f'"{end.status}" is no status of an ended run', hint=LEFT)
        self.ended = True
        total = self._start.steps_count if self._start else None
        return RunEnd(
            result_hash=output_hash(self._hashes),
            status=end.status,
            steps_completed=len(self._hashes),
            steps_total=self._steps if total is None else total,
            total_cost_cents=self._cost,
        )

    def _budget(self) -> BudgetSnapshot:
        said = (self._start and self._start.budget_snapshot) or _Budget()
        return BudgetSnapshot(
            accumulated_cost_cents=said.accumulated_cost_cents + self._cost,
            policy_version=said.policy_version,
            step_ceiling_cents=said.step_ceiling_cents,
            workflow_ceiling_cents=said.workflow_ceiling_cents,
        )


def _error(step: _Step, result: _Result) -> StepError | None:
    if step.success:
        return None
    said = _Error(message=result.error) if isinstance(result.error, str) else result.error or _Error()
    code = _agreed("error_code", step.error_code, result.error_code, said.code)
    return StepError(code=code or "", location=None, message=said.message or "", type="")


def _agreed(name: str, *said: Said | None) -> Said | None:
    """Return what the places that say something say; raises FormatError where they contradict each other."""
    found = [value for value in said if value is not None]
    if any(value != found[0] for value in found):
        raise FormatError(f"{name} is said to be {' and '.join(map(repr, found))}", hint=LEFT)
    return found[0] if found else None


def _parsed(line: bytes) -> Any:
    try:
        # Not msgspec: it neither says where a NaN stands nor that a name stands twice.
        event = json.loads(line.decode(), object_pairs_hook=_members)
    except RecursionError:
        raise FormatError("nested too deep", hint=LEFT) from None
    except ValueError as error:
        raise FormatError(f"not JSON: {error}", hint=LEFT) from None
    # A step's output lies three levels deep.
    canonical_bytes(event, max_depth=MAX_VALUE_DEPTH + 3)
    return event


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(f'object key "{twice}" stands twice in one object', hint=LEFT)
    return found


def _form(value: Any, form: type[Form], place: str) -> Form:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        where = place + path.rstrip("`").replace(".", "/")
        raise FormatError(f'at "{where}": {problem[:1].lower()}{problem[1:]}', hint=LEFT) from None


def _check_size(data: Data) -> None:
    # Before there is a file: a recorder that refuses an event leaves the run behind without its end.
    limit = MAX_HEADER if isinstance(data, RunStart) else MAX_LINE
    try:
        size = len(encode_line(data))
    except (ValueError, OverflowError):
        raise FormatError("a sum of costs is too long to write", hint=LEFT) from None
    if size > limit - _ENVELOPE:
        raise FormatError(f"event is larger than {limit >> 20} MiB", hint=LEFT)


def _time(text: str) -> str:
    """Return a moment as events of golden/v1 carry it, from ISO 8601 with any offset."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise FormatError(f'timestamp "{text}" does not say its time zone', hint=LEFT)
        return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    except (ValueError, OverflowError):
        raise FormatError(f'timestamp "{text}" is no time', hint=LEFT) from None
