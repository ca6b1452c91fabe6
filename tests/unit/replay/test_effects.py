"""Effects: what a step asks the world, written once and answered alike, whatever the skill does around it."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from golden.canonical import decode, output_hash
from golden.errors import StoreError
from golden.event import EffectData
from golden.recorder import Recorder
from replay import Context, Divergence, EffectError, replay
from replay import answers as module
from tests.unit.replay.conftest import Lab, Skill, def_line, effects, flow, here, only, records, skills, step


def answers(recording: Any) -> list[Any]:
    return [decode(effect.result) for effect in effects(recording)]


def line_of(function: Callable[..., Any], offset: int) -> str:
    return here(def_line(function) + offset, __file__)


def asks(*calls: tuple[Any, ...]) -> Skill:
    """Return a skill that makes these calls, (name, argument…) each, and returns nothing of them."""

    def skill(ctx: Context) -> int:
        for name, *args in calls:
            ctx.external(name, lambda *_: 1, *args)
        return 0

    return skill


class Boom:
    """Raises as soon as a replay calls it."""

    def __init__(self, result: Any = None) -> None:
        self.calls = 0
        self.result = result

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        assert self.calls == 1
        return self.result


# Recorded once, answered on replay


def test_call_is_made_once_and_answered_from_the_file(lab: Lab) -> None:
    world = Boom({"rows": [1, 2.5, None]})
    recording = lab.matches(lambda ctx: ctx.external("get", world, 1, "x", n=2))
    (found,) = effects(recording)
    assert world.calls == 1
    assert (found.name, found.index, found.step_id, found.attempt, found.call) == ("get", 0, "a", 0, 0)
    assert (decode(found.args), decode(found.kwargs)) == ([1, "x"], {"n": 2})
    assert found.args_hash == output_hash({"args": [1, "x"], "kwargs": {"n": 2}})
    assert found.result_hash == output_hash({"rows": [1, 2.5, None]})
    assert not found.error
    assert decode(only(recording).output) == {"rows": [1, 2.5, None]}


def test_effect_is_written_before_the_skill_sees_its_value(lab: Lab) -> None:
    seen = []

    def skill(ctx: Context) -> int:
        ctx.external("get", lambda: "the answer")
        seen.append(b"the answer" in lab.store.file("r-1").path.read_bytes())
        return 1

    lab.run(skill)
    assert seen == [True]


def test_calls_are_numbered_per_step(lab: Lab) -> None:
    registry = skills(s=asks(("x",), ("y",)))
    recording = lab.record(flow(step("a", "s"), step("b", "s")), registry)
    numbered = [(effect.index, effect.call, effect.name) for effect in effects(recording)]
    assert numbered == [(0, 0, "x"), (0, 1, "y"), (1, 0, "x"), (1, 1, "y")]
    assert replay(recording, registry).matched


class Client:
    """A client as users have one."""

    def get(self, n: int) -> int:
        return n + time.perf_counter_ns()

    async def aget(self, n: int) -> int:
        return n + time.perf_counter_ns()

    def __call__(self, n: int) -> int:
        return n + time.perf_counter_ns()


class AsyncClient:
    async def __call__(self, n: int) -> int:
        return n + time.perf_counter_ns()


@pytest.mark.parametrize("fn", [Client().get, Client(), partial(Client().get), partial(Client(), n=1), lambda n: n])
def test_method_object_partial_and_lambda_may_be_called(lab: Lab, fn: Any) -> None:
    args = () if isinstance(fn, partial) and fn.keywords else (1,)
    lab.matches(lambda ctx: ctx.external("get", fn, *args))


@pytest.mark.parametrize("fn", [Client().aget, AsyncClient(), partial(Client().aget)])
def test_async_method_object_and_partial_may_be_awaited(lab: Lab, fn: Any) -> None:
    async def skill(ctx: Context) -> Any:
        return await ctx.external("get", fn, 1)

    lab.matches(skill)


def test_plain_call_from_an_async_skill_needs_no_await(lab: Lab) -> None:
    async def skill(ctx: Context) -> Any:
        return ctx.external("get", Client(), 1)

    lab.matches(skill)


def test_keyword_arguments_may_have_any_name(lab: Lab) -> None:
    names = {"name": 1, "fn": 2, "self": 3, "args": 4, "kwargs": 5}
    recording = lab.matches(lambda ctx: ctx.external("get", lambda **given: given, **names))
    assert answers(recording) == [names]


def test_gathered_calls_are_matched_by_start_whatever_the_order_of_completion(lab: Lab) -> None:
    turn = {"slow": 0.02, "fast": 0.0}

    async def fetch(name: str) -> str:
        await asyncio.sleep(turn[name])
        return f"{name} {time.perf_counter_ns()}"

    async def skill(ctx: Context) -> Any:
        return await asyncio.gather(*(ctx.external("get", fetch, name) for name in ("slow", "fast", "fast")))

    recording = lab.run(skill)
    assert [effect.call for effect in effects(recording)] == [1, 2, 0]
    (record,) = records(recording)
    assert [effect.call for effect in record.effects] == [0, 1, 2]
    assert decode(record.step.output) == [decode(effect.result) for effect in record.effects]
    assert lab.replay(recording, skill).matched


def test_calls_in_joined_threads_are_each_written_whole(lab: Lab) -> None:
    def skill(ctx: Context) -> int:
        def ask(n: int) -> None:
            ctx.external(f"get {n}", lambda: time.sleep(0.001))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 1

    recording = lab.run(skill)
    assert lab.verify("r-1").verdict == "intact"
    found = effects(recording)
    assert sorted(effect.call for effect in found) == list(range(32))
    assert {effect.name for effect in found} == {f"get {n}" for n in range(32)}


def test_call_from_one_joined_thread_is_answered_on_replay(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        got = []
        thread = threading.Thread(target=lambda: got.append(ctx.external("get", Client(), 1)))
        thread.start()
        thread.join()
        return got

    lab.matches(skill)


# Mutation


def test_what_fn_does_to_its_arguments_does_not_reach_the_skill(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        rows = [1]
        ctx.external("spoil", lambda given, **named: [given.append(2), named["more"].clear()], rows, more=rows)
        return rows

    assert decode(only(lab.matches(skill)).output) == [1]


def test_what_a_skill_does_to_a_result_reaches_neither_the_world_nor_the_file(lab: Lab) -> None:
    world = {"rows": [1]}

    def skill(ctx: Context) -> Any:
        first = ctx.external("get", lambda: world)
        first["rows"].append(2)
        return [first, ctx.external("get", lambda: world)]

    recording = lab.matches(skill)
    assert answers(recording) == [{"rows": [1]}, {"rows": [1]}]
    assert world == {"rows": [1]}
    assert decode(only(recording).output) == [{"rows": [1, 2]}, {"rows": [1]}]


def test_result_is_of_the_type_a_replay_would_give(lab: Lab) -> None:
    kinds: list[list[type]] = []

    def skill(ctx: Context) -> int:
        values: list[Any] = [1, 1.0, True, "x", None, [], {}]
        kinds.append([type(ctx.external("n", partial(next, iter([value])))) for value in values])
        return 1

    lab.matches(skill)
    assert kinds[0] == kinds[1] == [int, float, bool, str, type(None), list, dict]


# Exceptions of fn


@pytest.mark.parametrize(
    "error, kind, message",
    [
        (ValueError("no"), "ValueError", "no"),
        (KeyError("k"), "KeyError", "'k'"),
        (TimeoutError(), "TimeoutError", ""),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (ValueError("\ud800"), "ValueError", "?"),
        (ValueError("a" * (17 << 20)), "ValueError", "a" * 4096),
        (StopIteration(1), "StopIteration", "1"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_exception_of_fn_reaches_the_skill_as_effect_error_in_both_modes(
    lab: Lab, error: BaseException, kind: str, message: str, is_async: bool
) -> None:
    if is_async and isinstance(error, StopIteration):
        kind, message = "RuntimeError", "coroutine raised StopIteration"
    world = Boom()

    def fail() -> Any:
        world()
        raise error

    async def async_fail() -> Any:
        fail()

    def skill(ctx: Context) -> Any:
        try:
            ctx.external("get", fail)
        except EffectError as caught:
            return [caught.type, caught.message, str(caught)]

    async def async_skill(ctx: Context) -> Any:
        try:
            await ctx.external("get", async_fail)
        except EffectError as caught:
            return [caught.type, caught.message, str(caught)]

    recording = lab.matches(async_skill if is_async else skill)
    assert decode(only(recording).output) == [kind, message, f"{kind}: {message}"]
    (found,) = effects(recording)
    assert found.error
    assert (found.error.type, found.error.message) == (kind, message)
    assert (decode(found.result), found.result_hash) == (None, None)


def test_exception_that_cannot_be_put_into_words_is_told_by_its_type(lab: Lab) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail() -> None:
        raise MuteError

    recording = lab.matches(lambda ctx: ctx.external("get", fail))
    error = only(recording).error
    assert error
    assert (error.type, error.message) == ("EffectError", "MuteError: ")


def test_uncaught_effect_error_fails_the_step_at_the_line_that_failed_in_the_world(lab: Lab) -> None:
    def fail() -> None:
        raise ValueError("no")

    def skill(ctx: Context) -> Any:
        return ctx.external("get", fail)

    recording = lab.matches(skill)
    error = only(recording).error
    assert error
    assert (error.type, error.message, error.location) == ("EffectError", "ValueError: no", line_of(fail, 1))
    assert recording.statement.status == "failed"


def test_gathered_call_that_fails_first_leaves_the_run_repeatable(lab: Lab) -> None:
    async def slow() -> None:
        await asyncio.sleep(60)

    async def fast() -> None:
        raise ValueError("no")

    async def skill(ctx: Context) -> Any:
        return await asyncio.gather(ctx.external("slow", slow), ctx.external("fast", fast))

    recording = lab.matches(skill)
    assert [(effect.name, effect.error and effect.error.type) for effect in records(recording)[0].effects] == [
        ("slow", "CancelledError"),
        ("fast", "ValueError"),
    ]


def test_call_that_a_timeout_cancels_is_cancelled_again_on_replay(lab: Lab) -> None:
    async def slow() -> None:
        await asyncio.sleep(60)

    async def skill(ctx: Context) -> Any:
        try:
            await asyncio.wait_for(ctx.external("slow", slow), 0.01)
        except TimeoutError:
            return "too slow"

    assert decode(only(lab.matches(skill)).output) == "too slow"


def test_cancelled_call_that_nobody_cancels_any_more_diverges(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANCEL_WITHIN", 0.01)

    async def slow() -> None:
        await asyncio.sleep(60)

    async def impatient(ctx: Context) -> Any:
        try:
            await asyncio.wait_for(ctx.external("slow", slow), 0.01)
        except TimeoutError:
            return 1

    async def patient(ctx: Context) -> Any:
        return await ctx.external("slow", slow)

    found = lab.diverges(impatient, patient)
    assert (found.cause, found.path, found.expected, found.actual) == (
        "effect",
        "/effects/0/error/type",
        "CancelledError",
        None,
    )


def test_task_group_cancels_the_same_calls_again_on_replay(lab: Lab) -> None:
    async def slow() -> None:
        await asyncio.sleep(60)

    async def fast() -> None:
        raise ValueError("no")

    async def skill(ctx: Context) -> Any:
        told: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.external("slow", slow))
                group.create_task(ctx.external("fast", fast))
        except* EffectError as errors:
            told += [str(error) for error in errors.exceptions]
        return told

    assert decode(only(lab.matches(skill)).output) == ["ValueError: no"]


# What no recording can hold


class Thing:
    """No JSON value."""


UNHOLDABLE = [
    ((1, 2), "is a tuple"),
    (float("nan"), "is nan"),
    (Thing(), "is a Thing"),
    ({1, 2}, "is a set"),
    (b"x", "is a bytes"),
    (Decimal(1), "is a Decimal"),
    ({"a": [1, (2,)]}, 'value at "/a/1" is a tuple'),
    ({1: 2}, "object key"),
    ("\ud800", "lone surrogate"),
    ("a" * (17 << 20), "16 MiB"),
]


@pytest.mark.parametrize("swallowed", [(), (Exception,), (BaseException,)])
@pytest.mark.parametrize("value, words", UNHOLDABLE, ids=[row[1] for row in UNHOLDABLE])
def test_result_that_no_recording_can_hold_fails_the_step_in_both_modes(
    lab: Lab, value: Any, words: str, swallowed: tuple[type[BaseException], ...]
) -> None:
    def skill(ctx: Context) -> Any:
        with suppress(*swallowed):
            return ctx.external("get", lambda: value)
        return "swallowed"

    recording = lab.matches(skill)
    error = only(recording).error
    assert error
    assert (error.code, error.type) == ("EXECUTION_ERROR", "UnrecordableError")
    assert error.message.startswith("result of external call 'get': ")
    assert words in error.message
    assert error.location == line_of(skill, 2)
    assert recording.statement.status == "failed"


ARGUMENTS = [
    *((value, words.replace("/a/1", "/0/a/1")) for value, words in UNHOLDABLE[:-1]),
    ("a" * (16 << 20), "15 MiB"),
]


@pytest.mark.parametrize("swallowed", [(), (Exception,), (BaseException,)])
@pytest.mark.parametrize("value, words", ARGUMENTS, ids=[row[1] for row in ARGUMENTS])
def test_argument_that_no_recording_can_hold_fails_the_step_and_the_call_is_never_made(
    lab: Lab, value: Any, words: str, swallowed: tuple[type[BaseException], ...]
) -> None:
    called: list[Any] = []

    def skill(ctx: Context) -> Any:
        with suppress(*swallowed):
            return ctx.external("get", called.append, value)
        return "swallowed"

    recording = lab.matches(skill)
    error = only(recording).error
    assert error
    assert error.type == "UnrecordableError"
    assert error.message.startswith("arguments of external call 'get': ")
    assert words in error.message
    assert (called, effects(recording)) == ([], [])


@pytest.mark.parametrize("name", ["", 3, None, "\ud800"])
def test_name_of_a_call_must_be_text(lab: Lab, name: Any) -> None:
    recording = lab.matches(lambda ctx: ctx.external(name, lambda: 1))
    error = only(recording).error
    assert error
    assert error.type == "UnrecordableError"


def test_over_long_name_fails_the_step_and_keeps_the_recording(lab: Lab) -> None:
    recording = lab.matches(lambda ctx: ctx.external("n" * (17 << 20), lambda: 1))
    assert recording.statement.status == "failed"


def test_lambda_that_returns_a_coroutine_is_refused_with_the_way_out(lab: Lab) -> None:
    async def fetch() -> int:
        return 1

    recording = lab.matches(lambda ctx: ctx.external("get", lambda: fetch()))  # noqa: PLW0108  the mistake tested
    error = only(recording).error
    assert error
    assert error.message == "result of external call 'get': it is a coroutine; pass an `async def` function"


def test_coroutine_that_a_plain_skill_does_not_await_is_no_output(lab: Lab) -> None:
    async def fetch() -> int:
        return 1

    recording = lab.matches(lambda ctx: ctx.external("get", fetch))
    error = only(recording).error
    assert error
    assert (error.type, effects(recording)) == ("NotCanonicalError", [])


def test_call_inside_a_call_is_refused_in_both_modes(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        return ctx.external("outer", lambda: ctx.external("inner", lambda: 1))

    recording = lab.matches(skill)
    error = only(recording).error
    assert error
    assert error.message == "external call 'inner' inside external call 'outer'; make one of them a plain call"


def test_async_call_inside_a_call_is_refused_even_where_it_is_swallowed(lab: Lab) -> None:
    async def skill(ctx: Context) -> Any:
        async def inner() -> int:
            return 1

        async def outer() -> Any:
            try:
                return await ctx.external("inner", inner)
            except BaseException:  # noqa: BLE001  what is tested
                return 5

        return await ctx.external("outer", outer)

    error = only(lab.matches(skill)).error
    assert error
    assert error.type == "UnrecordableError"


# What outlives its step


def test_task_that_outlives_its_step_is_cancelled_and_writes_nothing_into_the_next(lab: Lab) -> None:
    async def slow() -> int:
        await asyncio.sleep(0.01)
        return 1

    left: set[asyncio.Task[Any]] = set()

    async def leaves(ctx: Context) -> int:
        left.add(asyncio.create_task(ctx.external("slow", slow)))
        await asyncio.sleep(0)
        return 1

    async def waits(ctx: Context) -> int:
        await asyncio.sleep(0.03)
        return 2

    registry = skills(leaves=leaves, waits=waits)
    recording = lab.record(flow(step("a", "leaves"), step("b", "waits")), registry)
    assert recording.statement.status == "completed"
    assert [(effect.step_id, effect.error and effect.error.type) for effect in effects(recording)] == [
        ("a", "CancelledError")
    ]
    assert replay(recording, registry).matched


def test_thread_that_outlives_its_step_fails_it_and_writes_nothing_more(lab: Lab) -> None:
    begun, go_on = threading.Event(), threading.Event()
    got: list[BaseException] = []
    threads: list[threading.Thread] = []

    def slow() -> int:
        begun.set()
        go_on.wait(60)
        return 1

    def skill(ctx: Context) -> int:
        def ask() -> None:
            try:
                ctx.external("slow", slow)
            except BaseException as error:  # noqa: BLE001  what is tested
                got.append(error)
            begun.set()

        threads.append(threading.Thread(target=ask))
        threads[-1].start()
        begun.wait(60)
        return 1

    recording = lab.run(skill)
    go_on.set()
    threads[0].join()
    error = only(recording).error
    assert error
    assert error.message == "external call 'slow' was still under way when its step ended; wait for its thread"
    assert lab.verify("r-1").verdict == "intact"
    assert [str(found) for found in got] == ["external call 'slow' came back after its step ended"]
    begun.clear()
    assert lab.replay(recording, skill).matched


def test_context_kept_beyond_the_run_asks_nothing(lab: Lab) -> None:
    kept: list[Context] = []
    lab.run(kept.append)
    called: list[Any] = []
    with pytest.raises(BaseException, match="of a step that has ended"):
        kept[0].external("late", called.append, 1)
    assert called == []
    assert lab.verify("r-1").verdict == "intact"


@pytest.mark.parametrize("swallowed", [(), (Exception,), (BaseException,)])
def test_file_that_can_no_longer_be_written_ends_the_run_whatever_the_skill_swallows(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, swallowed: tuple[type[BaseException], ...]
) -> None:
    write = Recorder.write

    def full(self: Recorder, data: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(data, EffectData):
            raise StoreError("no space left", hint="free the disk")
        write(self, data, *args, **kwargs)

    def skill(ctx: Context) -> int:
        with suppress(*swallowed):
            ctx.external("get", lambda: 1)
        return 1

    monkeypatch.setattr(Recorder, "write", full)
    with pytest.raises(StoreError, match="no space left"):
        lab.run(skill)
    assert lab.verify("r-1").verdict == "live"


# Divergence


def diverging(lab: Lab, recorded: Skill, replayed: Skill) -> Divergence:
    found = lab.diverges(recorded, replayed)
    assert (found.cause, found.step_id, found.index) == ("effect", "a", 0)
    return found


def call(name: str, *args: Any) -> dict[str, Any]:
    return {"name": name, "args": list(args), "kwargs": {}}


CHANGES: list[tuple[str, Skill, Skill, str, Any, Any]] = [
    ("renamed", asks(("get", 1)), asks(("put", 1)), "/effects/0/name", "get", "put"),
    ("other argument", asks(("get", 1)), asks(("get", 2)), "/effects/0/args/0", 1, 2),
    ("other type", asks(("get", 1)), asks(("get", 1.0)), "/effects/0/args/0", 1, 1.0),
    ("one argument more", asks(("get", 1)), asks(("get", 1, 2)), "/effects/0/args/1", None, 2),
    ("added at the end", asks(("get", 1)), asks(("get", 1), ("put", 2)), "/effects/1", None, call("put", 2)),
    ("added in front", asks(("get", 1)), asks(("put", 2), ("get", 1)), "/effects/0/name", "get", "put"),
    ("only one added", asks(), asks(("put", 2)), "/effects/0", None, call("put", 2)),
    ("dropped from the end", asks(("get", 1), ("put", 2)), asks(("get", 1)), "/effects/1", call("put", 2), None),
    ("all dropped", asks(("get", 1)), asks(), "/effects/0", call("get", 1), None),
    ("reordered", asks(("get", 1), ("get", 2)), asks(("get", 2), ("get", 1)), "/effects/0/args/0", 1, 2),
]


@pytest.mark.parametrize(
    "recorded, replayed, path, expected, actual", [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_changed_call_diverges_with_its_place(
    lab: Lab, recorded: Skill, replayed: Skill, path: str, expected: Any, actual: Any
) -> None:
    found = diverging(lab, recorded, replayed)
    assert (found.path, found.expected, found.actual) == (path, expected, actual)
    assert type(found.actual) is type(actual)


def test_changed_keyword_argument_diverges_with_its_place(lab: Lab) -> None:
    found = diverging(
        lab,
        lambda ctx: ctx.external("get", lambda **_: 1, n={"a": [1]}),
        lambda ctx: ctx.external("get", lambda **_: 1, n={"a": [2]}),
    )
    assert (found.path, found.expected, found.actual) == ("/effects/0/kwargs/n/a/0", 1, 2)


def test_location_of_a_changed_call_is_the_line_that_asks(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        def helper() -> Any:
            return ctx.external("get", lambda _: 1, 2)

        return helper()

    found = diverging(lab, asks(("get", 1)), skill)
    assert found.location == line_of(skill, 2)


def test_location_of_a_changed_call_in_a_gathered_task_is_the_line_that_asks(lab: Lab) -> None:
    async def fetch(_: Any) -> int:
        return 1

    def asking(change: int) -> Skill:
        async def skill(ctx: Context) -> Any:
            return await asyncio.gather(
                ctx.external("get", fetch, 1),
                ctx.external("get", fetch, 2 + change),
            )

        return skill

    replayed = asking(1)
    found = diverging(lab, asking(0), replayed)
    assert (found.path, found.location) == ("/effects/1/args/0", line_of(replayed, 3))


def test_location_of_a_dropped_call_is_the_def_of_the_skill(lab: Lab) -> None:
    def skill(ctx: Context) -> int:
        return 0

    found = diverging(lab, asks(("get", 1)), skill)
    assert found.location == line_of(skill, 0)


@pytest.mark.parametrize("swallowed", [Exception, BaseException])
@pytest.mark.parametrize("is_async", [False, True])
def test_changed_call_is_reported_even_where_the_skill_swallows_everything(
    lab: Lab, swallowed: type[BaseException], is_async: bool
) -> None:
    world: list[int] = []

    async def fetch(n: int) -> int:
        world.append(n)
        return 1

    def asking(n: int) -> Skill:
        def skill(ctx: Context) -> Any:
            with suppress(swallowed):
                ctx.external("get", world.append, n)
            return "same"

        async def async_skill(ctx: Context) -> Any:
            with suppress(swallowed):
                await ctx.external("get", fetch, n)
            return "same"

        return async_skill if is_async else skill

    found = diverging(lab, asking(1), asking(2))
    assert (found.path, found.expected, found.actual) == ("/effects/0/args/0", 1, 2)
    assert world == [1]


def test_first_of_several_changed_calls_is_the_one_reported(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        for n in (1, 5, 6):
            with suppress(BaseException):
                ctx.external("get", lambda _: 1, n)
        return 0

    found = diverging(lab, asks(("get", 1), ("get", 2), ("get", 3)), skill)
    assert (found.path, found.expected, found.actual) == ("/effects/1/args/0", 2, 5)


def test_changed_call_is_outside_of_the_error_it_causes(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        try:
            ctx.external("get", lambda _: 1, 2)
        finally:
            raise ValueError

    diverging(lab, asks(("get", 1)), skill)


def test_dropped_call_is_outside_of_the_changed_output(lab: Lab) -> None:
    diverging(lab, asks(("get", 1)), lambda _: "other")


def test_replay_of_a_changed_call_asks_the_world_nothing(lab: Lab) -> None:
    world: list[int] = []
    recording = lab.run(lambda ctx: ctx.external("get", lambda _: 1, 1))
    for replayed in (asks_world(world, "put", 1), asks_world(world, "get", 2), asks_world(world, "get", 1)):
        lab.replay(recording, replayed)
    assert world == []


def asks_world(world: list[int], name: str, n: int) -> Skill:
    return lambda ctx: ctx.external(name, world.append, n)


def test_mismatch_in_a_task_nobody_awaits_is_reported_and_logs_nothing(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    async def fetch(_: int) -> int:
        return 1

    def asking(n: int) -> Skill:
        async def skill(ctx: Context) -> int:
            task = asyncio.create_task(ctx.external("get", fetch, n))
            await asyncio.sleep(0.01)
            return int(task.done())

        return skill

    diverging(lab, asking(1), asking(2))
    assert caplog.text == ""
