"""Skills of the AOS system: taken in as they are, called as they were, failing by code and never by text."""

import asyncio
import functools
import hashlib
from pathlib import Path
from typing import Any

import pytest

from golden.canonical import decode, derive_seed
from golden.errors import UsageError
from golden.event import StepData
from replay import Context, SkillRegistry, aos, replay
from replay.aos import MAX_CODE, AosError, adapted
from replay.functions import is_coroutine_function
from tests.unit.replay.conftest import Lab, flow, here, only, step


class Invoked:
    """The first form; the others it has as well are not asked."""

    def invoke(self, inputs: dict[str, Any], seed: int, meta: dict[str, Any]) -> Any:
        return ["invoke", inputs, seed, meta]

    def execute(self, inputs: dict[str, Any]) -> Any:
        pytest.fail("invoke comes first")

    def __call__(self, inputs: dict[str, Any]) -> Any:
        pytest.fail("invoke comes first")


class Executed:
    def execute(self, inputs: dict[str, Any]) -> Any:
        return ["execute", inputs]

    def __call__(self, inputs: dict[str, Any]) -> Any:
        pytest.fail("execute comes first")


class Called:
    invoke = None

    def __call__(self, inputs: dict[str, Any]) -> Any:
        return ["call", inputs]


class InvokedAsync:
    async def invoke(self, inputs: dict[str, Any], seed: int, meta: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return ["invoke", inputs, seed, meta]


class ExecutedAsync:
    async def execute(self, inputs: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return ["execute", inputs]


class CalledAsync:
    async def __call__(self, inputs: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return ["call", inputs]


class Static:
    @staticmethod
    def execute(inputs: dict[str, Any]) -> Any:
        return ["execute", inputs]


class OfTheClass:
    @classmethod
    def execute(cls, inputs: dict[str, Any]) -> Any:
        return ["execute", inputs]


def function(inputs: dict[str, Any]) -> Any:
    return ["call", inputs]


async def async_function(inputs: dict[str, Any]) -> Any:
    await asyncio.sleep(0)
    return ["call", inputs]


def with_client(client: object, inputs: dict[str, Any]) -> Any:
    return ["call", inputs]


async def async_with_client(client: object, inputs: dict[str, Any]) -> Any:
    return ["call", inputs]


@functools.wraps(function)
def decorated(*args: Any) -> Any:
    return function(*args)


def line_of(code: Any) -> int:
    found: int = code.__code__.co_firstlineno
    return found


META = {"idempotency_key": None}
INVOKED = ["invoke", {"n": 1}, derive_seed(7, 0), META]
# A skill, what it returns, whether it is awaited, and the function whose code it is.
FORMS: list[tuple[Any, Any, bool, Any]] = [
    (Invoked(), INVOKED, False, Invoked.invoke),
    (Executed(), ["execute", {"n": 1}], False, Executed.execute),
    (Called(), ["call", {"n": 1}], False, Called.__call__),
    (InvokedAsync(), INVOKED, True, InvokedAsync.invoke),
    (ExecutedAsync(), ["execute", {"n": 1}], True, ExecutedAsync.execute),
    (CalledAsync(), ["call", {"n": 1}], True, CalledAsync.__call__),
    (Static(), ["execute", {"n": 1}], False, Static.execute),
    (OfTheClass, ["execute", {"n": 1}], False, OfTheClass.execute),
    (function, ["call", {"n": 1}], False, function),
    (async_function, ["call", {"n": 1}], True, async_function),
    (Called().__call__, ["call", {"n": 1}], False, Called.__call__),
    (functools.partial(with_client, None), ["call", {"n": 1}], False, with_client),
    (functools.partial(async_with_client, None), ["call", {"n": 1}], True, async_with_client),
    (decorated, ["call", {"n": 1}], False, function),
]


def registry_of(skill: Any, **options: Any) -> SkillRegistry:
    registry = SkillRegistry()
    registry.adapt("s", skill, **options)
    return registry


def outcome(lab: Lab, answer: Any, **members: Any) -> StepData:
    """Return the step of a run whose skill gives this answer, which replays as matched."""
    registry = registry_of(lambda _: answer)
    recording = lab.record(flow(step("a", "s", **members)), registry)
    assert replay(recording, registry).matched
    return only(recording)


# Forms


@pytest.mark.parametrize("skill, expected, is_async, code", FORMS)
def test_each_form_is_called_as_it_was_and_replays(
    lab: Lab, skill: Any, expected: Any, is_async: bool, code: Any
) -> None:
    registry = registry_of(skill)
    recording = lab.record(flow(step("a", "s", inputs={"n": 1})), registry)
    assert decode(only(recording).output) == expected
    assert is_coroutine_function(adapted(skill)) is is_async
    assert replay(recording, registry).matched


def test_invoke_is_given_the_idempotency_key(lab: Lab) -> None:
    recording = lab.record(flow(step("a", "s", idempotency_key="order-7")), registry_of(Invoked()))
    assert decode(only(recording).output)[3] == {"idempotency_key": "order-7"}


@pytest.mark.parametrize("skill, expected, is_async, code", FORMS)
def test_version_and_place_of_an_adapted_skill_are_those_of_the_users_code(
    lab: Lab, skill: Any, expected: Any, is_async: bool, code: Any
) -> None:
    registry = registry_of(skill, version="2.1")
    found = registry.get("s")
    assert found
    assert found.location() == here(line_of(code) + (code in {Static.execute, OfTheClass.execute}), __file__)
    recording = lab.record(flow(step("a", "s", inputs={"n": 1})), registry)
    recorded = recording.start.environment.skills["s"]
    assert (recorded.module, recorded.version, recorded.code_hash) == (
        __name__,
        "2.1",
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    )
    assert only(recording).skill_version == "2.1"


@pytest.mark.parametrize("skill", [None, 5, "s", object(), {"invoke": function}, type("T", (), {"invoke": 5})()])
def test_what_has_none_of_the_forms_is_refused(skill: Any) -> None:
    with pytest.raises(UsageError, match="is no skill"):
        registry_of(skill)


def test_what_a_skill_is_given_it_may_change_without_being_seen(lab: Lab) -> None:
    def spoils(inputs: dict[str, Any]) -> Any:
        inputs["n"] = 2
        return inputs["n"]

    recording = lab.record(flow(step("a", "s", inputs={"n": 1})), registry_of(spoils))
    assert decode(only(recording).inputs) == {"n": 1}


def test_an_adapted_skill_is_a_skill_like_any_other(lab: Lab) -> None:
    registry = registry_of(lambda inputs: {"ok": True, "n": inputs["n"]})

    @registry.skill("t")
    def own(ctx: Context) -> Any:
        return {"ok": False, "n": ctx.inputs["n"]}

    document = flow(step("a", "s", inputs={"n": 1}), step("b", "t", inputs={"n": "${a.n}"}))
    recording = lab.record(document, registry)
    # The word of a skill of our own is what it returns, whatever it calls it.
    assert recording.statement.status == "completed"


# Answers


ANSWERS: list[Any] = [
    {"ok": True},
    {"success": True, "error": {"code": "X"}},
    {"ok": None, "success": 0},
    {"ok": "false"},
    {"ok": 0},
    {"error": {"code": "X"}},
    {"result": {"ok": False}},
    [{"ok": False}],
    {"items": [{"ok": False, "error": {"code": "X"}}]},
    False,
    None,
    [],
]


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_answer_that_does_not_say_it_failed_is_the_output(lab: Lab, answer: Any) -> None:
    data = outcome(lab, answer)
    assert (data.success, decode(data.output)) == (True, answer)


FAILED: list[tuple[Any, str, str]] = [
    ({"ok": False, "error": {"code": "TIMED_OUT", "message": "no answer"}}, "TIMED_OUT", "no answer"),
    ({"success": False, "error": {"code": "X", "message": "m"}}, "X", "m"),
    ({"ok": True, "success": False, "error": {"code": "X"}}, "X", ""),
    ({"ok": False, "success": True, "error": {"code": "X", "message": None}}, "X", ""),
    ({"ok": False, "error": {"message": "m"}}, "UNKNOWN", "m"),
    ({"ok": False, "error": {"code": "", "message": "m"}}, "UNKNOWN", "m"),
    ({"ok": False, "error": {"code": 404, "message": ["m"]}}, "UNKNOWN", ""),
    ({"ok": False, "error": {}}, "UNKNOWN", ""),
    ({"ok": False, "error": "it broke"}, "UNKNOWN", "it broke"),
    ({"ok": False, "error": "TIMED_OUT: rate limited"}, "UNKNOWN", "TIMED_OUT: rate limited"),
    ({"ok": False}, "UNKNOWN", "the skill failed and gave no reason"),
    ({"ok": False, "error": None}, "UNKNOWN", "the skill failed and gave no reason"),
    ({"success": False, "error": ["X"]}, "UNKNOWN", "the skill failed and gave no reason"),
    ({"ok": False, "error": {"code": "\ud800", "message": "\udfff"}}, "?", "?"),
    ({"ok": False, "error": {"code": "X" * (17 << 20)}}, "X" * MAX_CODE, ""),
    ({"ok": False, "unrecordable": object(), "error": {"code": "X"}}, "X", ""),
]


@pytest.mark.parametrize("answer, kind, message", FAILED, ids=[str(n) for n in range(len(FAILED))])
def test_answer_that_says_it_failed_fails_the_step_by_its_code(lab: Lab, answer: Any, kind: str, message: str) -> None:
    data = outcome(lab, answer)
    assert data.error
    assert (data.error.code, data.error.type, data.error.message) == ("EXECUTION_ERROR", kind, message)
    assert (data.success, data.output_hash) == (False, None)


FAILING = {"ok": False, "error": {"code": "X"}}


async def fails_async(*_: Any) -> Any:
    return FAILING


class FailsAsync:
    invoke = staticmethod(fails_async)


class ExecutesAsync:
    async def execute(self, inputs: dict[str, Any]) -> Any:
        return FAILING


@pytest.mark.parametrize("skill", [fails_async, FailsAsync(), ExecutesAsync(), functools.partial(fails_async, None)])
def test_async_answer_that_says_it_failed_fails_the_step_too(lab: Lab, skill: Any) -> None:
    data = only(lab.record(flow(step("a", "s")), registry_of(skill)))
    assert data.error
    assert data.error.type == "X"


def test_another_code_is_another_error_and_another_message_is_not(lab: Lab) -> None:
    def answering(code: str, message: str) -> SkillRegistry:
        return registry_of(lambda _: {"ok": False, "error": {"code": code, "message": message}})

    recording = lab.record(flow(step("a", "s")), answering("X", "at noon"))
    assert replay(recording, answering("X", "at midnight")).matched
    found = replay(recording, answering("Y", "at noon")).divergence
    assert found
    assert (found.cause, found.path, found.expected, found.actual) == ("error", "/type", "X", "Y")


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "retryable, attempts", [({}, 4), ({"retryable": True}, 4), ({"retryable": None}, 4), ({"retryable": False}, 1)]
)
def test_failure_that_says_it_is_not_retryable_is_not_tried_again(
    lab: Lab, retryable: dict[str, Any], attempts: int
) -> None:
    data = outcome(lab, {"ok": False, "error": {"code": "X", **retryable}}, retry=True)
    assert len(data.attempts) == attempts


@pytest.mark.usefixtures("hurried")
def test_what_an_adapted_skill_raises_is_an_error_like_any_other(lab: Lab) -> None:
    def raises(inputs: dict[str, Any]) -> Any:
        raise LookupError("no")

    data = only(lab.record(flow(step("a", "s", retry=True)), registry_of(raises)))
    assert data.error
    assert (data.error.type, data.error.message, len(data.attempts)) == ("LookupError", "no", 4)
    assert data.error.location == here(line_of(raises) + 1, __file__)


def test_the_adapter_exposes_one_function_and_one_error() -> None:
    public = {name for name, value in vars(aos).items() if getattr(value, "__module__", None) == aos.__name__}
    assert {name for name in public if not name.startswith("_")} == {"adapted", "AosError"}
    assert not issubclass(AosError, UsageError)
