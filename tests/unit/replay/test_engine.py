"""The engine driven by hand: it asks for everything, does nothing itself, and takes any answer."""

from collections.abc import Mapping
from inspect import getgeneratorlocals
from typing import Any

import pytest
from msgspec import UNSET

from golden.canonical import canonical_bytes, decode, derive_seed, output_hash
from golden.event import RunEnd, StepData, StepError
from golden.volatile import Volatile
from replay import Spec
from replay.budget import Budget
from replay.engine import Emit, Engine, Invoke, Outcome, StoppedError, run
from replay.policy import Policy
from replay.spec import MAX_INPUTS
from tests.unit.replay.conftest import flow, step

ERROR = StepError(code="EXECUTION_ERROR", location="a.py:1", message="no", type="ValueError")
CHAIN = (step("a", "s"), step("b", "t", inputs={"x": "${a}"}))


class Hand:
    """Drives one run: `outputs` gives what each step returns, an Outcome or a value."""

    def __init__(self, document: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.outputs = outputs or {}
        self.invoked: list[Invoke] = []
        self.emitted: list[Emit] = []
        self.engine = start(document, **options)

    def drive(self) -> "Hand":
        request = next(self.engine)
        while True:
            try:
                if isinstance(request, Invoke):
                    self.invoked.append(request)
                    given = self.outputs.get(request.step.id, request.step.id)
                    ready = given if isinstance(given, Outcome) else Outcome(canonical_bytes(given), None, 5)
                    request = self.engine.send(ready)
                else:
                    assert isinstance(request, Emit)
                    self.emitted.append(request)
                    request = self.engine.send(None)
            except StopIteration:
                return self

    @property
    def steps(self) -> list[StepData]:
        return [emit.data for emit in self.emitted if isinstance(emit.data, StepData)]

    @property
    def end(self) -> RunEnd:
        data = self.emitted[-1].data
        assert isinstance(data, RunEnd)
        return data


def start(document: Mapping[str, Any], **options: Any) -> Engine:
    given: dict[str, Any] = {
        "seed": 7,
        "inputs": b"{}",
        "budget": Budget(100, 1000),
        "policy": Policy(),
        "versions": {"s": "1", "t": "2"},
        "volatile": Volatile(),
        **options,
    }
    return run(Spec(document), **given)


def invoke(engine: Engine, reply: Any = None) -> Invoke:
    request = engine.send(reply)
    assert isinstance(request, Invoke)
    return request


def emit(engine: Engine, reply: Any) -> Emit:
    request = engine.send(reply)
    assert isinstance(request, Emit)
    return request


def test_step_is_asked_for_then_its_event_then_the_next_and_last_the_end() -> None:
    engine = start(flow(*CHAIN))
    first = invoke(engine)
    assert (first.step.id, first.index, first.attempt, first.inputs) == ("a", 0, 0, b"{}")
    event = emit(engine, Outcome(b'{"n":1}', None, 42))
    assert event.duration_us == 42
    assert isinstance(event.data, StepData)
    assert (event.data.step_id, bytes(event.data.output)) == ("a", b'{"n":1}')
    second = invoke(engine)
    assert (second.step.id, second.inputs, second.outputs) == ("b", b'{"x":{"n":1}}', {"a": b'{"n":1}'})
    emit(engine, Outcome(b"2", None))
    last = emit(engine, None)
    assert isinstance(last.data, RunEnd)
    assert last.duration_us is None
    with pytest.raises(StopIteration):
        engine.send(None)


def test_event_of_a_step_says_everything_about_it() -> None:
    (found,) = Hand(flow(step("a", "s", inputs={"x": "${inputs.n}"})), {"a": [1]}, inputs=b'{"n":3}').drive().steps
    assert (found.index, found.step_id, found.skill_id, found.skill_version) == (0, "a", "s", "1")
    assert (bytes(found.inputs), found.input_hash) == (b'{"x":3}', output_hash({"x": 3}))
    assert (bytes(found.output), found.output_hash, found.success) == (b"[1]", output_hash([1]), True)
    assert [(attempt.delay_ms, attempt.error) for attempt in found.attempts] == [(0, None)]
    assert (found.error, found.error_code, found.recovery_hint) == (UNSET, UNSET, UNSET)
    assert (found.carried, found.skipped, found.because) == (UNSET, UNSET, UNSET)


def test_index_is_the_position_in_the_document_and_so_the_seed() -> None:
    hand = Hand(flow(step("b", "s", depends_on=["a"]), step("c", "s"), step("a", "s"))).drive()
    assert [(data.step_id, data.index) for data in hand.steps] == [("c", 1), ("a", 2), ("b", 0)]
    assert [data.seed for data in hand.steps] == [derive_seed(7, 1), derive_seed(7, 2), derive_seed(7, 0)]
    assert [request.seed for request in hand.invoked] == [data.seed for data in hand.steps]


def test_seeds_are_those_of_the_format() -> None:
    assert Hand(flow(step("a", "s"), step("b", "s")), seed=12345).drive().steps[0].seed == 15554826178763638935
    assert Hand(flow(step("a", "s"), step("b", "s")), seed=12345).drive().steps[1].seed == 12451472201012505513


def test_output_given_back_for_an_event_is_what_later_steps_and_the_result_are_given() -> None:
    engine = start(flow(*CHAIN, result="${a}"))
    invoke(engine)
    emit(engine, Outcome(b"1"))
    assert invoke(engine, b"9").inputs == b'{"x":9}'
    emit(engine, Outcome(b"2"))
    last = emit(engine, None).data
    assert isinstance(last, RunEnd)
    assert last.result_hash == output_hash(9)


def test_output_is_given_to_dependants_only_and_released_after_its_last_use() -> None:
    steps = [
        step("a", "s"),
        step("b", "s", depends_on=["a"]),
        step("c", "s", depends_on=["a"]),
        step("d", "s", depends_on=["c"]),
    ]
    engine = start(flow(*steps))
    held = []
    reply: Any = None
    while True:
        request = engine.send(reply)
        held.append(sorted(getgeneratorlocals(engine)["course"]._outputs))
        if isinstance(request, Emit) and isinstance(request.data, RunEnd):
            break
        reply = Outcome(canonical_bytes(request.step.id)) if isinstance(request, Invoke) else None
    invoked = held[0::2]
    assert invoked == [[], ["a"], ["a"], ["c"], []]


def test_outputs_a_thousand_steps_back_are_not_kept() -> None:
    steps = [step("s0", "s"), *(step(f"s{n}", "s", inputs={"x": f"${{s{n - 1}}}"}) for n in range(1, 1000))]
    engine = start(flow(*steps))
    request, most = next(engine), 0
    while not (isinstance(request, Emit) and isinstance(request.data, RunEnd)):
        course = getgeneratorlocals(engine)["course"]
        most = max(most, len(course._outputs), len(course._values))
        request = engine.send(Outcome(b"1") if isinstance(request, Invoke) else None)
    assert most <= 2


def test_result_hash_is_of_the_hashes_of_all_steps_that_succeeded() -> None:
    hand = Hand(flow(*CHAIN), {"a": 1, "b": [2]}).drive()
    assert hand.end.result_hash == output_hash({"a": output_hash(1), "b": output_hash([2])})


@pytest.mark.parametrize(
    "reference, expected",
    [
        ("${a}", output_hash({"total": [5]})),
        ("${a.total.0}", output_hash(5)),
        ("${inputs.n}", output_hash(3)),
        ("${a.nothing}", None),
        ("${a.total.1}", None),
    ],
)
def test_named_result_is_hashed_by_value_and_null_where_its_step_has_none(reference: str, expected: str | None) -> None:
    hand = Hand(flow(*CHAIN, result=reference), {"a": {"total": [5]}}, inputs=b'{"n":3}').drive()
    assert hand.end.result_hash == expected


@pytest.mark.parametrize("reference, expected", [("${b}", None), ("${a}", output_hash("a"))])
def test_named_result_of_a_failed_run_is_null_unless_its_step_succeeded(reference: str, expected: str | None) -> None:
    assert Hand(flow(*CHAIN, result=reference), {"b": Outcome(None, ERROR)}).drive().end.result_hash == expected


def test_failed_step_is_recorded_with_its_error_and_ends_the_run() -> None:
    hand = Hand(flow(*CHAIN, step("c", "s")), {"b": Outcome(None, ERROR)}).drive()
    assert [request.step.id for request in hand.invoked] == ["a", "b"]
    failed = hand.steps[1]
    assert (failed.success, bytes(failed.output), failed.output_hash) == (False, b"null", None)
    assert (failed.error, failed.error_code) == (ERROR, "EXECUTION_ERROR")
    assert failed.attempts[0].error == ERROR
    assert failed.recovery_hint
    assert (hand.end.status, hand.end.steps_completed, hand.end.steps_total) == ("failed", 1, 3)
    assert hand.end.result_hash == output_hash({"a": output_hash("a")})


def test_null_output_is_a_success() -> None:
    hand = Hand(flow(*CHAIN), {"a": None}).drive()
    assert (hand.steps[0].success, hand.steps[0].output_hash) == (True, output_hash(None))
    assert (bytes(hand.steps[1].inputs), hand.end.status) == (b'{"x":null}', "completed")


@pytest.mark.parametrize(
    "inputs, words, kind",
    [
        ({"x": "${a.nope}"}, 'has nothing at "/nope"', "LookupError"),
        ({"x": "is ${a.f}"}, "is a float, which cannot stand inside text", "TypeError"),
        ({"x": "${a.rows.5}"}, 'has nothing at "/rows/5"', "LookupError"),
        ({"x": ["${a.deep}"]}, "deep", "LimitError"),
        ({"x": ["${a.long}"] * 9}, f"at most {MAX_INPUTS} fit a line", "LimitError"),
    ],
)
def test_inputs_that_cannot_be_made_fail_their_step_unrun_and_are_recorded_as_written(
    inputs: dict[str, Any], words: str, kind: str
) -> None:
    deep: Any = 1
    for _ in range(249):
        deep = [deep]
    given = {"f": 1.5, "rows": [1], "deep": deep, "long": "x" * (2 << 20)}
    hand = Hand(flow(step("a", "s"), step("b", "s", inputs=inputs), step("c", "s")), {"a": given}).drive()
    assert [request.step.id for request in hand.invoked] == ["a"]
    failed = hand.steps[1]
    assert decode(failed.inputs) == inputs
    assert failed.error
    assert (failed.error.code, failed.error.type) == ("EXECUTION_ERROR", kind)
    assert words in failed.error.message
    assert (failed.attempts, failed.cost_cents, hand.end.status) == ([], 0, "failed")


@pytest.mark.parametrize("before", ["a", "b"])
def test_stop_thrown_in_drops_the_step_under_way_and_still_ends_the_run(before: str) -> None:
    engine = start(flow(*CHAIN))
    invoke(engine)
    if before == "b":
        emit(engine, Outcome(b"1"))
        invoke(engine)
    last = engine.throw(StoppedError("aborted"))
    assert isinstance(last, Emit)
    assert isinstance(last.data, RunEnd)
    assert (last.data.status, last.data.steps_completed) == ("aborted", 0 if before == "a" else 1)
    with pytest.raises(StopIteration):
        engine.send(None)


def test_skill_without_a_version_has_an_empty_one() -> None:
    assert Hand(flow(step("a", "unknown"))).drive().steps[0].skill_version == ""


def test_volatile_places_stay_in_the_output_and_out_of_its_hash() -> None:
    rules = Volatile(["/steps/a/output/at", "/steps/a/output/rows/*/id"])
    value = {"at": 5, "rows": [{"id": 1, "n": 2}]}
    (found,) = Hand(flow(step("a", "s")), {"a": value}, volatile=rules).drive().steps
    assert decode(found.output) == value
    assert found.output_hash == output_hash({"rows": [{"n": 2}]})


def test_run_inputs_are_resolved_and_not_shared_with_the_budget_of_another_run() -> None:
    budget = Budget(100, 1000)
    Hand(flow(step("a", "s", estimated_cost_cents=4)), budget=budget).drive()
    assert budget.snapshot().accumulated_cost_cents == 4
