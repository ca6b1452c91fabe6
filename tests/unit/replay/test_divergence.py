"""Divergence: two accounts of one step or run, compared; the outermost cause is named with its place."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from golden.canonical import canonical_bytes, output_hash
from golden.event import BudgetSnapshot, EffectData, RunEnd, StepData, StepError
from golden.volatile import Volatile
from replay.budget import Budget
from replay.divergence import Divergence, after_step, args_hash, at_end, before_step, in_call

END = RunEnd(result_hash="a" * 64, status="completed", steps_completed=2, steps_total=3, total_cost_cents=5)
NONE = Volatile()


def done(output: Any = 1, error: StepError | None = None, **members: Any) -> StepData:
    raw = canonical_bytes(output)
    given: dict[str, Any] = {
        "attempts": [],
        "budget_snapshot": Budget(100, 1000).snapshot(),
        "cost_cents": 0,
        "error": error or UNSET,
        "index": 4,
        "input_hash": output_hash({"x": [1, 2]}),
        "inputs": Raw(canonical_bytes({"x": [1, 2]})),
        "output": Raw(b"null" if error else raw),
        "output_hash": None if error else output_hash(output),
        "seed": 9,
        "skill_id": "s",
        "skill_version": "1",
        "step_id": "a",
        "success": error is None,
    }
    return StepData(**{**given, **members})


def failed(
    code: str = "EXECUTION_ERROR", kind: str = "ValueError", message: str = "no", at: str = "a.py:1"
) -> StepData:
    return done(error=StepError(code=code, location=at, message=message, type=kind))


def after(recorded: StepData, actual: StepData, volatile: Volatile = NONE, at: str | None = None) -> Divergence | None:
    return after_step(recorded, actual, volatile, lambda: "s.py:5", at)


def before(recorded: StepData, inputs: Any, index: int = 4, seed: int = 9) -> Divergence | None:
    raw = canonical_bytes(inputs)
    return before_step(recorded, index, seed, raw, output_hash(inputs))


def test_equal_accounts_do_not_diverge() -> None:
    assert before(done(), {"x": [1, 2]}) is None
    assert after(done(), done()) is None
    assert after(failed(), failed()) is None
    assert at_end(END, END) is None


def test_changed_inputs_are_named_by_place_and_value() -> None:
    assert before(done(), {"x": [1, 3]}) == Divergence("inputs", "a", 4, "/x/1", 2, 3)


def test_other_position_is_a_step_and_other_seed_a_seed_divergence() -> None:
    assert before(done(), {}, index=3, seed=1) == Divergence("step", "a", 4, "/index", 4, 3)
    assert before(done(), {}, seed=1) == Divergence("seed", "a", 4, "", 9, 1)


@pytest.mark.parametrize(
    "one, other, path, expected, actual",
    [
        (1, 2, "", 1, 2),
        (1, 1.0, "", 1, 1.0),
        (True, 1, "", True, 1),
        (0.0, -0.0, "", 0.0, -0.0),
        (None, 0, "", None, 0),
        ("a", "A", "", "a", "A"),
        ({"a": 1}, {"a": 1, "b": 2}, "/b", None, 2),
        ({"a": 1, "b": 2}, {"a": 1}, "/b", 2, None),
        ({"a": {"b/c~": [1, 2]}}, {"a": {"b/c~": [1, 3]}}, "/a/b~1c~0/1", 2, 3),
        ([1, 2, 3], [1, 2], "/2", 3, None),
        ([1], [[1]], "/0", 1, [1]),
        ({"a": []}, {"a": {}}, "/a", [], {}),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, "/a", 1, 2),
        ({"rows": [{"n": 1}, {"n": 2}]}, {"rows": [{"n": 1}, {"n": 2.0}]}, "/rows/1/n", 2, 2.0),
    ],
)
def test_changed_output_is_named_by_its_first_place(
    one: Any, other: Any, path: str, expected: Any, actual: Any
) -> None:
    found = after(done(one), done(other))
    assert found is not None
    assert (found.cause, found.step_id, found.index, found.location) == ("output", "a", 4, "s.py:5")
    assert found.path == path
    assert canonical_bytes([found.expected, found.actual]) == canonical_bytes([expected, actual])


def test_error_on_one_side_only_is_an_error_divergence_at_the_place_it_was_raised() -> None:
    error = {"code": "EXECUTION_ERROR", "type": "ValueError"}
    assert after(done(), failed(), at="f.py:9") == Divergence("error", "a", 4, "", None, error, "f.py:9")
    assert after(failed(), done()) == Divergence("error", "a", 4, "", error, None, "s.py:5")


@pytest.mark.parametrize(
    "other, path, expected, actual",
    [
        (failed(kind="KeyError"), "/type", "ValueError", "KeyError"),
        (failed(code="STEP_CEILING_EXCEEDED"), "/code", "EXECUTION_ERROR", "STEP_CEILING_EXCEEDED"),
    ],
)
def test_error_of_another_code_or_type_diverges(other: StepData, path: str, expected: str, actual: str) -> None:
    found = after(failed(), other, at="f.py:9")
    assert found == Divergence("error", "a", 4, path, expected, actual, "f.py:9")


def test_error_with_another_message_or_place_does_not_diverge() -> None:
    assert after(failed(message="id 17", at="a.py:1"), failed(message="id 18", at="a.py:2")) is None


def test_changed_cost_is_a_budget_divergence_after_output() -> None:
    assert after(done(cost_cents=3), done(cost_cents=4)) == Divergence("budget", "a", 4, "/cost_cents", 3, 4, "s.py:5")
    found = after(done(1, cost_cents=3), done(2, cost_cents=4))
    assert found is not None
    assert found.cause == "output"


def test_changed_snapshot_is_a_budget_divergence() -> None:
    other = BudgetSnapshot(
        accumulated_cost_cents=1, policy_version="1.0.0", step_ceiling_cents=100, workflow_ceiling_cents=1000
    )
    found = after(done(), done(budget_snapshot=other))
    assert found == Divergence("budget", "a", 4, "/budget_snapshot/accumulated_cost_cents", 0, 1, "s.py:5")


def test_volatile_place_does_not_diverge_and_its_neighbour_is_named() -> None:
    rules = Volatile(["/steps/a/output/at"])

    def made(at: int, n: int) -> StepData:
        value = {"at": at, "n": n}
        return done(value, output_hash=rules.hash_output("a", canonical_bytes(value)))

    assert after(made(1, 5), made(2, 5), rules) is None
    assert after(made(1, 5), made(2, 6), rules) == Divergence("output", "a", 4, "/n", 5, 6, "s.py:5")


@pytest.mark.parametrize(
    "change, cause, path",
    [
        ({"status": "failed", "result_hash": None, "steps_completed": 1}, "status", ""),
        ({"steps_completed": 1, "total_cost_cents": 9}, "step", "/steps_completed"),
        ({"steps_total": 4}, "step", "/steps_total"),
        ({"total_cost_cents": 6, "result_hash": None}, "budget", "/total_cost_cents"),
        ({"result_hash": "b" * 64}, "result", ""),
    ],
)
def test_end_is_compared_from_the_outermost_cause_inwards(change: dict[str, Any], cause: str, path: str) -> None:
    found = at_end(END, msgspec.structs.replace(END, **change))
    assert found is not None
    assert (found.cause, found.path, found.step_id, found.index) == (cause, path, None, None)
    assert found.expected != found.actual


def called(name: str = "get", args: Any = (1, "x"), kwargs: Any = None) -> EffectData:
    raws = canonical_bytes(list(args)), canonical_bytes(kwargs or {})
    return EffectData(
        args=Raw(raws[0]),
        args_hash=args_hash(*raws),
        attempt=0,
        call=0,
        index=0,
        kwargs=Raw(raws[1]),
        name=name,
        result=Raw(b"1"),
        result_hash=output_hash(1),
        step_id="a",
    )


@pytest.mark.parametrize(
    "name, args, kwargs, expected",
    [
        ("get", [1, "x"], {}, None),
        ("put", [2], {}, ("/name", "get", "put", "changed")),
        ("get", [1, "y"], {}, ("/args/1", "x", "y", "changed")),
        ("get", [1], {}, ("/args/1", "x", None, "removed")),
        ("get", [1, "x"], {"k": 1}, ("/kwargs/k", None, 1, "added")),
        ("get", [1.0, "x"], {}, ("/args/0", 1, 1.0, "changed")),
    ],
)
def test_call_is_compared_by_name_and_then_by_arguments(name: str, args: Any, kwargs: Any, expected: Any) -> None:
    assert in_call(called(), name, canonical_bytes(args), canonical_bytes(kwargs)) == expected


def test_arguments_are_hashed_as_one_canonical_object() -> None:
    assert args_hash(b"[1]", b'{"k":2}') == output_hash({"args": [1], "kwargs": {"k": 2}})


def test_divergence_is_json() -> None:
    found = msgspec.json.decode(msgspec.json.encode(Divergence("output", "a", 0, "/x", [1], {"y": None}, "f.py:1")))
    assert list(found) == ["cause", "step_id", "index", "path", "expected", "actual", "location", "kind"]
