"""Answers: calls that run side by side are matched by what they ask, those in a row by their number; none is missed."""

import asyncio
import inspect
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from golden.canonical import decode
from replay import Context, Divergence, EffectError
from tests.unit.replay.conftest import Lab, Skill, def_line, effects, here, only, records

# What the world does is not repeatable: that is the point.
LATENCY = random.Random()


async def fetch(*asked: Any) -> Any:
    await asyncio.sleep(LATENCY.random() / 500)
    return [*asked, time.perf_counter_ns()]


def slow(*asked: Any) -> Any:
    time.sleep(LATENCY.random() / 500)
    return [*asked, time.perf_counter_ns()]


def gathering(*asked: tuple[Any, ...], swallow: tuple[type[BaseException], ...] = ()) -> Skill:
    """Return a skill that makes these calls, (name, argument…) each, at once."""

    async def skill(ctx: Context) -> Any:
        with suppress(*swallow):
            return await asyncio.gather(*(ctx.external(name, fetch, *args) for name, *args in asked))
        return "swallowed"

    return skill


def pooling(*asked: tuple[Any, ...], swallow: tuple[type[BaseException], ...] = ()) -> Skill:
    """Return a skill that makes these calls from threads."""

    def skill(ctx: Context) -> Any:
        def ask(call: tuple[Any, ...]) -> Any:
            name, *args = call
            with suppress(*swallow):
                return ctx.external(name, slow, *args)
            return "swallowed"

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(ask, asked))

    return skill


Making = Callable[..., Skill]
SIDE_BY_SIDE = pytest.mark.parametrize("making", [gathering, pooling])


def call(name: str, *args: Any) -> dict[str, Any]:
    return {"name": name, "args": list(args), "kwargs": {}}


def diverging(lab: Lab, recorded: Skill, replayed: Skill) -> Divergence:
    found = lab.diverges(recorded, replayed)
    assert (found.cause, found.step_id, found.index) == ("effect", "a", 0)
    return found


# Matched


def test_workers_that_each_ask_twice_in_a_row_replay_alike_every_time(lab: Lab) -> None:
    async def skill(ctx: Context) -> Any:
        async def worker(n: int) -> Any:
            first = await ctx.external("list", fetch, n)
            return await ctx.external("get", fetch, n, first[-1])

        return await asyncio.gather(*(worker(n) for n in range(5)))

    recorded_orders = set()
    for _ in range(50):
        recording = lab.run(skill)
        recorded_orders.add(tuple(tuple(decode(effect.args)[:1]) for effect in records(recording)[0].effects))
        answer = lab.replay(recording, skill)
        assert (answer.verdict, answer.divergence) == ("matched", None)
    assert len(recorded_orders) > 1


def test_workers_that_take_from_one_queue_replay_alike(lab: Lab) -> None:
    async def skill(ctx: Context) -> Any:
        waiting = list(range(12))
        got: dict[str, Any] = {}

        async def worker() -> None:
            while waiting:
                n = waiting.pop()
                got[str(n)] = await ctx.external("get", fetch, n)

        await asyncio.gather(worker(), worker(), worker())
        return got

    for _ in range(5):
        lab.matches(skill)


def test_fifty_calls_of_a_thread_pool_replay_alike(lab: Lab) -> None:
    skill = pooling(*(("get", n) for n in range(50)))
    for _ in range(5):
        recording = lab.matches(skill)
        assert sorted(decode(effect.args) for effect in effects(recording)) == [[n] for n in range(50)]


def test_threads_that_each_ask_twice_in_a_row_replay_alike(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        def worker(n: int) -> Any:
            return ctx.external("get", slow, ctx.external("list", slow, n)[-1])

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(worker, range(8)))

    for _ in range(5):
        lab.matches(skill)


@SIDE_BY_SIDE
def test_calls_that_ask_the_same_get_each_answer_once(lab: Lab, making: Making) -> None:
    skill = making(("get", 1), ("get", 1), ("get", 2), ("get", 1))
    recording = lab.run(skill)
    given: list[Any] = []

    async def shows(ctx: Context) -> Any:
        given.extend(await asyncio.gather(*(ctx.external("get", fetch, n) for n in (1, 1, 2, 1))))
        return decode(only(recording).output)

    assert lab.replay(recording, shows).matched
    answers = [decode(effect.result) for effect in effects(recording)]
    assert Counter(map(tuple, given)) == Counter(map(tuple, answers))


def test_gathered_calls_that_ask_the_same_get_their_answers_in_the_order_they_started(lab: Lab) -> None:
    for _ in range(10):
        lab.matches(gathering(("get", 1), ("get", 1), ("get", 1)))


def test_calls_side_by_side_may_start_in_another_order(lab: Lab) -> None:
    async def asks(ctx: Context, order: list[int]) -> Any:
        got = await asyncio.gather(*(ctx.external("get", constant, n) for n in order))
        return sorted(got)

    async def forward(ctx: Context) -> Any:
        return await asks(ctx, [1, 2, 3])

    async def backward(ctx: Context) -> Any:
        return await asks(ctx, [3, 2, 1])

    assert lab.replay(lab.run(forward), backward).matched


async def constant(n: int) -> int:
    await asyncio.sleep(0)
    return n


def test_failed_call_among_others_fails_again_for_the_one_that_asked_it(lab: Lab) -> None:
    async def fails_for_three(n: int) -> Any:
        await fetch()
        if n == 3:
            raise ValueError(n)
        return n

    async def skill(ctx: Context) -> Any:
        async def worker(n: int) -> str:
            await ctx.external("wait", fetch, n)
            try:
                return str(await ctx.external("get", fails_for_three, n))
            except EffectError as error:
                return str(error)

        return await asyncio.gather(*map(worker, range(5)))

    for _ in range(5):
        recording = lab.matches(skill)
        assert decode(only(recording).output) == ["0", "1", "2", "ValueError: 3", "4"]


# Diverged


@SIDE_BY_SIDE
def test_changed_argument_among_others_is_named_with_the_recorded_one(lab: Lab, making: Making) -> None:
    found = diverging(
        lab,
        making(("get", 1), ("get", 2), ("get", 3), ("put", 4)),
        making(("get", 1), ("get", 9), ("get", 3), ("put", 4)),
    )
    assert (found.path.split("/")[3:], found.actual, found.kind) == (["args", "0"], 9, "changed")
    assert found.expected in {1, 2, 3}


def test_changed_argument_of_gathered_calls_is_named_with_its_own_recorded_one(lab: Lab) -> None:
    found = diverging(lab, gathering(("get", 1), ("get", 2), ("get", 3)), gathering(("get", 1), ("get", 9), ("get", 3)))
    assert (found.path, found.expected, found.actual) == ("/effects/1/args/0", 2, 9)


@SIDE_BY_SIDE
def test_changed_name_among_others_is_a_divergence(lab: Lab, making: Making) -> None:
    found = diverging(lab, making(("get", 1), ("get", 2)), making(("get", 1), ("put", 2)))
    # Gathered calls start in a fixed order; of threads either may be the one left over.
    assert (found.path.split("/")[3:], found.actual) in ((["name"], "put"), ([], call("put", 2)))


@SIDE_BY_SIDE
def test_dropped_call_is_found_at_the_end(lab: Lab, making: Making) -> None:
    replayed = silent(making(("get", 1), ("get", 3)))
    found = diverging(lab, silent(making(("get", 1), ("get", 2), ("get", 3))), replayed)
    assert (found.expected, found.actual, found.kind) == (call("get", 2), None, "removed")
    assert found.path.startswith("/effects/")
    assert found.location == here(def_line(replayed), __file__)


@SIDE_BY_SIDE
def test_added_call_is_a_divergence(lab: Lab, making: Making) -> None:
    found = diverging(lab, silent(making(("get", 1), ("get", 2))), silent(making(("get", 1), ("get", 2), ("put", 3))))
    # Which number a thread's call gets is the scheduler's business.
    assert re.fullmatch("/effects/[012]", found.path)
    assert (found.expected, found.actual, found.kind) == (None, call("put", 3), "added")


@SIDE_BY_SIDE
def test_same_call_made_once_more_is_a_divergence(lab: Lab, making: Making) -> None:
    found = diverging(lab, silent(making(("get", 1))), silent(making(("get", 1), ("get", 1))))
    assert (found.expected, found.actual) == (None, call("get", 1))


def silent(skill: Skill) -> Skill:
    """Return a skill that makes the same calls and gives the same whatever they answer."""

    async def async_skill(ctx: Context) -> Any:
        value = skill(ctx)
        if hasattr(value, "__await__"):
            await value
        return "same"

    def plain_skill(ctx: Context) -> Any:
        skill(ctx)
        return "same"

    return async_skill if inspect.iscoroutinefunction(skill) else plain_skill


@pytest.mark.parametrize("swallow", [(), (Exception,), (BaseException,)])
@pytest.mark.parametrize(
    "recorded, replayed",
    [
        ([("get", 1), ("get", 2)], [("get", 1), ("get", 9)]),
        ([("get", 1), ("get", 2)], [("get", 1)]),
        ([("get", 1)], [("get", 1), ("get", 2)]),
        ([("get", 1)], [("put", 1)]),
        ([], [("get", 1)]),
        ([("get", 1)], []),
    ],
    ids=["changed", "dropped", "added", "renamed", "first", "last"],
)
@SIDE_BY_SIDE
def test_no_except_hides_a_changed_call(
    lab: Lab,
    making: Making,
    recorded: list[tuple[Any, ...]],
    replayed: list[tuple[Any, ...]],
    swallow: tuple[type[BaseException], ...],
) -> None:
    diverging(lab, silent(making(*recorded, swallow=swallow)), silent(making(*replayed, swallow=swallow)))


def test_gather_that_returns_exceptions_hides_nothing(lab: Lab) -> None:
    def asking(n: int) -> Skill:
        async def skill(ctx: Context) -> Any:
            calls = (ctx.external("get", fetch, k) for k in (1, n))
            await asyncio.gather(*calls, return_exceptions=True)
            return "same"

        return skill

    assert diverging(lab, asking(2), asking(3)).actual == 3


# In a row


def in_a_row(*asked: tuple[Any, ...], swallow: tuple[type[BaseException], ...] = ()) -> Skill:
    def skill(ctx: Context) -> Any:
        for name, *args in asked:
            with suppress(*swallow):
                ctx.external(name, slow, *args)
        return "same"

    return skill


@pytest.mark.parametrize("swallow", [(), (BaseException,)])
def test_calls_in_a_row_that_change_places_diverge(lab: Lab, swallow: tuple[type[BaseException], ...]) -> None:
    found = diverging(
        lab,
        in_a_row(("get", 1), ("get", 2), ("get", 3), swallow=swallow),
        in_a_row(("get", 1), ("get", 3), ("get", 2), swallow=swallow),
    )
    assert (found.path, found.expected, found.actual) == ("/effects/1/args/0", 2, 3)


def test_calls_of_other_names_in_a_row_that_change_places_diverge(lab: Lab) -> None:
    found = diverging(lab, in_a_row(("get", 1), ("put", 1)), in_a_row(("put", 1), ("get", 1)))
    assert (found.path, found.expected, found.actual) == ("/effects/0/name", "get", "put")


def test_awaited_calls_of_one_task_are_held_to_their_order(lab: Lab) -> None:
    def asking(*order: int) -> Skill:
        async def skill(ctx: Context) -> Any:
            for n in order:
                await ctx.external("get", fetch, n)
            return "same"

        return skill

    answer = lab.replay(lab.run(asking(1, 2)), asking(2, 1))
    assert answer.divergence is not None
    assert (answer.divergence.path, answer.divergence.expected, answer.divergence.actual) == ("/effects/0/args/0", 1, 2)
    assert lab.replay(lab.run(asking(1, 2)), asking(1, 2)).matched


def test_replay_inside_a_running_loop_still_holds_plain_calls_to_their_order(lab: Lab) -> None:
    recording = lab.run(in_a_row(("put", 1), ("put", 2)))

    async def main() -> Any:
        return lab.replay(recording, in_a_row(("put", 2), ("put", 1)))

    assert asyncio.run(main()).verdict == "diverged"


def test_replay_in_a_thread_holds_calls_to_their_order(lab: Lab) -> None:
    recording = lab.run(in_a_row(("get", 1), ("get", 2)))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lab.replay, recording, in_a_row(("get", 2), ("get", 1))).result().verdict == "diverged"
        assert pool.submit(lab.replay, recording, in_a_row(("get", 1), ("get", 2))).result().matched


# Never a live call


@SIDE_BY_SIDE
def test_replay_never_asks_the_world_whatever_differs(
    lab: Lab, making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = lab.run(silent(making(("get", 1), ("get", 2))))
    asked: list[Any] = []

    async def spy(*args: Any) -> None:
        asked.append(args)

    monkeypatch.setitem(globals(), "fetch", spy)
    monkeypatch.setitem(globals(), "slow", lambda *args: asked.append(args))
    for calls in ([("get", 1), ("get", 2)], [("get", 3)], [("put", 1)], [("get", 1)] * 3, []):
        lab.replay(recording, silent(making(*calls, swallow=(BaseException,))))
    assert asked == []
