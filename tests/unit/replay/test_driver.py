"""The driver: whatever a skill does, its step has an outcome and the run an end."""

import asyncio
import functools
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from msgspec import Raw

from golden.canonical import decode
from replay import Context, replay
from replay.attempt import MAX_OUTPUT
from replay.frames import MAX_MESSAGE
from tests.unit.replay.conftest import Lab, Skill, def_line, ending, flow, here, only, python, records, skills, step


def at(function: Skill, offset: int = 0) -> str:
    return here(def_line(function) + offset, __file__)


class OwnError(BaseException):
    """A user's own exception that is no Exception."""


RAISED = [
    (ValueError("no"), "ValueError", "no"),
    (KeyError("k"), "KeyError", "'k'"),
    (SystemExit(3), "SystemExit", "3"),
    (SystemExit(), "SystemExit", ""),
    (KeyboardInterrupt(), "KeyboardInterrupt", ""),
    (GeneratorExit(), "GeneratorExit", ""),
    (OwnError("own"), "OwnError", "own"),
    (asyncio.CancelledError(), "CancelledError", ""),
    (RecursionError("deep"), "RecursionError", "deep"),
    (MemoryError(), "MemoryError", ""),
    (ValueError("a" * (20 << 20)), "ValueError", "a" * MAX_MESSAGE),
    (ValueError("\ud800\x1b[31m"), "ValueError", "?\x1b[31m"),
    (ExceptionGroup("two", [ValueError(1), ValueError(2)]), "ExceptionGroup", "two (2 sub-exceptions)"),
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error, kind, message", RAISED, ids=lambda value: value if isinstance(value, str) else "")
def test_skill_that_raises_fails_its_step_with_type_message_and_line(
    lab: Lab, error: BaseException, kind: str, message: str, is_async: bool
) -> None:
    def skill(ctx: Context) -> Any:
        raise error

    async def async_skill(ctx: Context) -> Any:
        raise error

    chosen: Skill = async_skill if is_async else skill
    error.__traceback__ = None
    recording = lab.matches(chosen)
    data = only(recording)
    assert data.error
    assert (data.error.code, data.error.type, data.error.message) == ("EXECUTION_ERROR", kind, message)
    assert data.error.location == at(chosen, 1)
    assert data.attempts[0].error == data.error
    assert (recording.statement.status, ending(recording).steps_completed) == ("failed", 0)
    assert lab.verify("r-1").verdict == "intact"


def test_steps_after_an_async_skill_that_exits_still_run_in_other_runs(lab: Lab) -> None:
    async def exits(ctx: Context) -> Any:
        raise SystemExit

    async def fine(ctx: Context) -> Any:
        await asyncio.sleep(0)
        return 1

    assert lab.matches(exits).statement.status == "failed"
    assert lab.matches(fine).statement.status == "completed"


def test_location_of_an_error_is_the_innermost_line_of_the_users_own_code(lab: Lab) -> None:
    def helper(text: str) -> Any:
        return decode(text.encode())

    def skill(ctx: Context) -> Any:
        return helper("{")

    error = only(lab.run(skill)).error
    assert error
    assert (error.type, error.location) == ("FormatError", at(helper, 1))  # type: ignore[arg-type]


class Colour(Enum):
    RED = 1


def numbers() -> Iterator[int]:
    yield 1


NESTED: Any = 1
for _ in range(2000):
    NESTED = [NESTED]
RETURNED: list[tuple[Any, str]] = [
    (b"x", 'value at "" is a bytes'),
    (bytearray(b"x"), 'value at "" is a bytearray'),
    (float("nan"), 'number at "" is nan'),
    (float("-inf"), 'number at "" is -inf'),
    ((1, 2), 'value at "" is a tuple'),
    ({"a": [1, (2,)]}, 'value at "/a/1" is a tuple'),
    ({1, 2}, 'value at "" is a set'),
    (frozenset(), 'value at "" is a frozenset'),
    ({1: 2}, "object key"),
    (Decimal("1.5"), 'value at "" is a Decimal'),
    (datetime.now(UTC), 'value at "" is a datetime'),
    (UUID(int=5), 'value at "" is a UUID'),
    (Colour.RED, 'value at "" is a Colour'),
    (Raw(b"1"), 'value at "" is a Raw'),
    (numbers(), 'value at "" is a generator'),
    (object(), 'value at "" is a object'),
    (int, 'value at "" is a type'),
    ("\ud800", "lone surrogate"),
    ({"\udfff": 1}, "object key"),
    (NESTED, "deep"),
]


@pytest.mark.parametrize("value, words", RETURNED, ids=[row[1] for row in RETURNED])
def test_output_outside_the_canonical_form_fails_its_step_with_the_place(lab: Lab, value: Any, words: str) -> None:
    def skill(ctx: Context) -> Any:
        return value

    error = only(lab.matches(skill)).error
    assert error
    assert error.code == "EXECUTION_ERROR"
    assert error.type in {"NotCanonicalError", "LimitError"}
    assert error.message.startswith("output: ")
    assert words in error.message
    assert error.location == at(skill)


def test_output_that_contains_itself_fails_its_step(lab: Lab) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert only(lab.matches(lambda _: loop)).error


@pytest.mark.parametrize("value", [None, True, 0, -0.0, 1.5, "", [], {}, {"ü": [None, {"": 1}]}, -(2**70), 1e300])
def test_output_inside_the_canonical_form_is_kept_as_it_is(lab: Lab, value: Any) -> None:
    assert repr(decode(only(lab.matches(lambda _: value)).output)) == repr(value)


def test_output_that_fits_no_line_fails_its_step_and_the_file_stays_good(lab: Lab) -> None:
    recording = lab.matches(lambda _: "x" * MAX_OUTPUT)
    error = only(recording).error
    assert error
    assert (error.type, error.message) == (
        "OversizeError",
        f"output has {MAX_OUTPUT + 2} bytes, inputs 2; at most {MAX_OUTPUT} fit a line",
    )
    assert lab.verify("r-1").verdict == "intact"


def test_largest_output_is_recorded(lab: Lab) -> None:
    assert lab.matches(lambda _: "x" * (MAX_OUTPUT - 4)).statement.status == "completed"


def test_inputs_and_output_share_a_line(lab: Lab) -> None:
    registry = skills(big=lambda _: "x" * (MAX_OUTPUT - 100), same=lambda ctx: ctx.inputs)
    document = flow(step("a", "big"), step("b", "same", inputs={"x": "${a}"}), step("c", "big"))
    recording = lab.record(document, registry)
    error = records(recording)[1].step.error
    assert error
    assert error.type == "OversizeError"
    assert replay(recording, registry).matched


def test_references_that_add_up_to_more_than_a_line_fail_their_step(lab: Lab) -> None:
    registry = skills(big=lambda _: "x" * (10 << 20), s=lambda _: 1)
    recording = lab.record(flow(step("a", "big"), step("b", "s", inputs={"x": ["${a}", "${a}"]})), registry)
    error = records(recording)[1].step.error
    assert error
    assert error.type == "LimitError"
    assert recording.statement.status == "failed"
    assert replay(recording, registry).matched


def test_error_message_with_an_endless_path_is_bounded(lab: Lab) -> None:
    error = only(lab.matches(lambda _: {"k" * (17 << 20): (1,)})).error
    assert error
    assert len(error.message) == MAX_MESSAGE


# Async


def test_async_skills_share_an_event_loop_and_plain_ones_stand_between(lab: Lab) -> None:
    loops = []

    async def asynchronous(ctx: Context) -> int:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 1

    registry = skills(a=asynchronous, p=lambda _: 2)
    recording = lab.record(flow(step("a", "a"), step("b", "p"), step("c", "a")), registry)
    assert recording.statement.status == "completed"
    assert loops[0] is loops[1]
    assert loops[0].is_closed()
    assert replay(recording, registry).matched


def test_plain_skill_may_run_an_event_loop_of_its_own(lab: Lab) -> None:
    async def asynchronous(ctx: Context) -> int:
        await asyncio.sleep(0)
        return 1

    registry = skills(a=asynchronous, p=lambda _: asyncio.run(asyncio.sleep(0, 2)))
    recording = lab.record(flow(step("a", "a"), step("b", "p"), step("c", "a")), registry)
    assert recording.statement.status == "completed"


def test_wrapped_async_skill_runs_whatever_is_wrapped_around_what(lab: Lab) -> None:
    async def inner(ctx: Context) -> int:
        return 1

    @functools.wraps(inner)
    def passes_on(ctx: Context) -> Any:
        return inner(ctx)

    @functools.wraps(inner)
    def runs(ctx: Context) -> Any:
        return asyncio.run(inner(ctx))

    def plain(ctx: Context) -> int:
        return 1

    @functools.wraps(plain)
    async def awaits(ctx: Context) -> int:
        return plain(ctx)

    for skill in (inner, passes_on, runs, awaits):
        assert decode(only(lab.matches(skill)).output) == 1


def test_lambda_that_returns_a_coroutine_fails_its_step_and_leaves_no_warning(lab: Lab) -> None:
    async def inner() -> int:
        return 1

    error = only(lab.matches(lambda _: inner())).error
    assert error
    assert error.message.startswith('output: value at "" is a coroutine')


def test_task_left_running_ends_with_its_step(lab: Lab) -> None:
    ended = []

    async def lingers() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("lingers")

    async def skill(ctx: Context) -> int:
        ctx.inputs["task"] = asyncio.create_task(lingers())
        await asyncio.sleep(0)
        return 1

    def after(ctx: Context) -> list[str]:
        return list(ended)

    recording = lab.record(flow(step("a", "s"), step("b", "after")), skills(s=skill, after=after))
    assert decode(records(recording)[1].step.output) == ["lingers"]


def test_run_may_be_recorded_in_a_thread(lab: Lab) -> None:
    async def skill(ctx: Context) -> Any:
        return await ctx.external("get", asyncio.sleep, 0, "x")

    thread = threading.Thread(target=lab.run, args=(skill,))
    thread.start()
    thread.join()
    assert lab.replay(lab.opened[0], skill).matched


def test_duration_of_a_step_is_recorded_in_microseconds(lab: Lab) -> None:
    recording = lab.run(lambda _: time.sleep(0.01))
    (timing,) = (event.timing for event in recording.events() if event.event_type == "step")
    assert timing is not None
    assert 10_000 <= timing.duration_us < 60_000_000


def test_plain_run_loads_neither_asyncio_nor_deepdiff() -> None:
    child = python(
        """
        import sys, tempfile
        from golden.keyring import Keyring
        from golden.store import Store
        from replay import SkillRegistry, record, replay

        registry = SkillRegistry()
        registry.skill("s")(lambda ctx: ctx.external("get", lambda: [ctx.seed]))
        with tempfile.TemporaryDirectory() as directory:
            store = Store(directory, Keyring(b"x" * 40), durability="never")
            with record({"id": "w", "steps": [{"id": "a", "skill_id": "s"}]}, registry, store=store) as recording:
                print(replay(recording, registry).verdict)
        print({"asyncio", "deepdiff", "difflib", "pytest"} & set(sys.modules))
        """
    )
    said, errors = child.communicate(timeout=60)
    assert (said, errors) == ("matched\nset()\n", "")
