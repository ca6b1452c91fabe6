"""Turns: calls side by side are answered in the order in which they were, and nobody waits for one that is not made."""

import asyncio
import queue
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed
from concurrent.futures import wait as wait_for_first
from typing import Any

import pytest

from golden.recording import Ended
from replay import Context, external, record, replay
from replay import step as nested
from replay.turns import PATIENCE, Turns
from tests.unit.replay.conftest import Lab, Skill, only, records

# In the order in which they are made, how long each takes in seconds: the last is answered first. They lie so far apart
# that none catches up with another where the machine is busy: what is answered at once has no order.
WAITS = [0.36, 0.2, 0.28, 0.12]


async def late(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def asking(ctx: Context, seconds: float) -> Any:
    return ctx.external("late", late, seconds)


async def as_they_come(ctx: Context) -> Any:
    return [await one for one in asyncio.as_completed([asking(ctx, n) for n in WAITS])]


async def two_in_a_row_each(ctx: Context) -> Any:
    found: list[float] = []

    async def worker(n: float) -> None:
        found.append(await asking(ctx, n))
        found.append(await asking(ctx, n / 2))

    await asyncio.gather(*map(worker, WAITS))
    return found


async def through_other_tasks(ctx: Context) -> Any:
    found: list[float] = []

    async def deep(n: float, depth: int) -> None:
        found.append(await asking(ctx, n)) if not depth else await asyncio.gather(deep(n, depth - 1))

    await asyncio.gather(*(deep(n, depth) for depth, n in enumerate(WAITS)))
    return found


async def the_first_and_then_none(ctx: Context) -> Any:
    tasks = [asyncio.ensure_future(asking(ctx, n)) for n in WAITS]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait(rest)
    return [task.result() for task in done]


async def the_first_failure(ctx: Context) -> Any:
    async def fails(n: float) -> None:
        await asyncio.sleep(n)
        raise (ValueError if n == min(WAITS) else LookupError)(n)

    calls = (ctx.external("fails", fails, n) for n in WAITS)
    await asyncio.gather(*calls)


async def one_that_lasts_too_long(ctx: Context) -> Any:
    found: list[float] = []

    async def worker(n: float) -> None:
        try:
            found.append(await asyncio.wait_for(asking(ctx, 2 * n), 0.48))
        except TimeoutError:
            found.append(-1)

    await asyncio.gather(*map(worker, WAITS))
    return found


def threads_as_they_come(ctx: Context) -> Any:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(ctx.external, "slow", slow, n) for n in WAITS]
        return [future.result() for future in as_completed(futures)]


def the_first_of_threads(ctx: Context) -> Any:
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(ctx.external, "slow", slow, n) for n in WAITS]
        done, _ = wait_for_first(futures, return_when=FIRST_COMPLETED)
        return [future.result() for future in done]


async def threads_of_a_loop(ctx: Context) -> Any:
    calls = (asyncio.to_thread(ctx.external, "slow", slow, n) for n in WAITS)
    return [await one for one in asyncio.as_completed(calls)]


async def the_loops_own_thread_asks_too(ctx: Context) -> Any:
    task = asyncio.ensure_future(asking(ctx, 0.01))
    await asyncio.sleep(0)
    return [ctx.external("slow", slow, 0.03), await task]


@pytest.mark.parametrize(
    "skill",
    [
        as_they_come,
        two_in_a_row_each,
        through_other_tasks,
        the_first_and_then_none,
        the_first_failure,
        one_that_lasts_too_long,
        the_loops_own_thread_asks_too,
    ],
)
def test_what_came_first_comes_first_in_a_replay(lab: Lab, skill: Skill) -> None:
    recording = lab.run(skill)
    if only(recording).success and skill is as_they_come:
        assert bytes(only(recording).output) == b"[0.12,0.2,0.28,0.36]"
    for _ in range(3):
        answer = lab.replay(recording, skill)
        assert (answer.verdict, answer.divergence) == ("matched", None)


@pytest.mark.parametrize("skill", [threads_as_they_come, the_first_of_threads, threads_of_a_loop])
def test_what_came_first_comes_first_in_threads_unless_one_of_them_is_held_up(lab: Lab, skill: Skill) -> None:
    recording = lab.run(skill)
    # Nobody can keep a busy machine from letting a thread wait for longer than it is waited for.
    assert any(lab.replay(recording, skill).matched for _ in range(5))


def test_steps_that_steps_call_are_answered_in_one_order(lab: Lab) -> None:
    ask = external(late)

    @nested
    async def look(seconds: float) -> float:
        return await ask(seconds)

    async def agent() -> list[float]:
        return [await one for one in asyncio.as_completed([look(n) for n in WAITS])]

    recording = record(agent, store=lab.store, run_id="r-1")
    for _ in range(3):
        assert replay(recording, agent).divergence is None
    recording.close()


def test_a_call_that_is_not_made_any_more_keeps_the_others_waiting_for_a_moment_only(lab: Lab) -> None:
    async def fewer(ctx: Context) -> Any:
        return [await one for one in asyncio.as_completed([asking(ctx, n) for n in WAITS if n != min(WAITS)])]

    began = time.monotonic()
    found = lab.diverges(as_they_come, fewer)
    assert time.monotonic() - began < 2 * PATIENCE + 1
    assert (found.cause, found.kind, found.expected["args"]) == ("effect", "removed", [0.12])


def test_a_call_that_is_cancelled_long_before_its_turn_was_never_answered(lab: Lab) -> None:
    async def impatient(ctx: Context) -> Any:
        tasks = [asyncio.ensure_future(asking(ctx, n)) for n in WAITS]
        await tasks[-1]
        for task in tasks:
            task.cancel()
        return sorted(WAITS)

    async def patient(ctx: Context) -> Any:
        await asyncio.gather(*(asking(ctx, n) for n in WAITS))
        return sorted(WAITS)

    found = lab.diverges(patient, impatient)
    assert (found.cause, found.kind) == ("effect", "removed")


def test_nothing_waits_for_a_change_that_is_found(lab: Lab) -> None:
    def other(ctx: Context) -> Any:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: ctx.external("slow", slow, n + 1 if n == min(WAITS) else n), WAITS))

    began = time.monotonic()
    assert lab.diverges(threads_as_they_come, other).cause == "effect"
    assert time.monotonic() - began < PATIENCE


def turns(*gaps_us: int, duration_us: int = 900_000) -> Turns:
    """Return the turns of calls that were answered so many microseconds after each other."""
    at, ended = 0, []
    for seq, gap in enumerate(gaps_us):
        at += gap
        ended.append(Ended(seq, f"2026-01-01T00:00:00.{at:06d}Z", duration_us))
    return Turns(ended)


def test_what_was_answered_at_once_is_answered_in_the_same_turn_of_the_loop() -> None:
    async def answers(found: Turns) -> list[int]:
        turn, answered = 0, []

        async def call(seq: int) -> None:
            found.make(seq)
            await found.wait_async(seq)
            answered.append(turn)
            found.end(seq)

        tasks = [asyncio.ensure_future(call(seq)) for seq in (3, 2, 1, 0)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            turn += 1
        return answered

    zero, one, two, three = asyncio.run(answers(turns(0, 5000, 50, 5000)))
    assert zero < one == two < three
    assert three - two >= 10


def test_a_thread_waits_for_what_is_made_and_not_for_what_is_not() -> None:
    found = turns(0, 10, 10)
    found.make(1)
    found.make(2)
    waiting = threading.Thread(target=found.wait, args=[2])
    waiting.start()
    waiting.join(PATIENCE + 0.5)
    # The first is not made, but the second is, and will come to its end.
    assert waiting.is_alive()
    found.wait(1)
    found.end(1)
    waiting.join(1)
    assert not waiting.is_alive()


def test_a_recording_says_of_each_call_when_it_was_answered(lab: Lab) -> None:
    (found,) = records(lab.run(two_at_once))
    assert [ended.seq for ended in found.ended] == [2, 1]
    assert all(ended.duration_us > 5_000 for ended in found.ended)


async def two_at_once(ctx: Context) -> Any:
    return await asyncio.gather(asking(ctx, 0.02), asking(ctx, 0.01))


def a_thread_feeds_the_step(ctx: Context) -> Any:
    """The step's own thread asks while another does: which call comes first is another each time."""
    fed: queue.Queue[float | None] = queue.Queue()

    def feed() -> None:
        for n in WAITS:
            fed.put(ctx.external("slow", slow, n / 2))
        fed.put(None)

    found = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(feed)
        while (n := fed.get()) is not None:
            found.append(ctx.external("slow", slow, n / 3))
    return found


def test_the_steps_own_thread_may_ask_beside_another(lab: Lab) -> None:
    recording = lab.run(a_thread_feeds_the_step)
    for _ in range(3):
        assert lab.replay(recording, a_thread_feeds_the_step).divergence is None


def test_calls_in_a_row_are_held_to_their_order_where_others_ran_side_by_side(lab: Lab) -> None:
    def asks(*names: str) -> Skill:
        def skill(ctx: Context) -> Any:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda n: ctx.external("slow", slow, n), WAITS))
            return sorted(ctx.external(name, slow, 0.001) for name in names)

        return skill

    found = lab.diverges(asks("one", "two"), asks("two", "one"))
    assert (found.cause, found.expected, found.actual) == ("effect", "one", "two")


@pytest.mark.parametrize("turns_before", [0, 1, 2])
def test_a_call_that_is_cancelled_as_soon_as_it_is_made_is_so_in_a_replay(lab: Lab, turns_before: int) -> None:
    async def skill(ctx: Context) -> Any:
        task = asyncio.ensure_future(asking(ctx, 5))
        for _ in range(turns_before):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    lab.matches(skill)
