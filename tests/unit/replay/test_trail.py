"""Trail: what is kept of a step for a debugger, for as long as it may be asked for and no longer."""

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from replay import Context, Divergence, external, record, replay, step
from replay.divergence import Diverged
from replay.frames import Failure
from replay.trail import Where
from tests.unit.replay.conftest import Lab, here

Found = tuple[Divergence, Failure | None, Where]
word = "recorded"


@external
def ask(what: str) -> str:
    return what


@external
async def ask_async(what: str) -> str:
    return what


def debugged(lab: Lab, agent: Callable[..., Any], change: Callable[[], None], look: Callable[[Found], object]) -> None:
    """Record a function, change something, and replay it; what the debugger is called with, once, is looked at."""
    with record(agent, store=lab.store, run_id="r-1", seed=7, inputs={}) as recording:
        change()
        seen: list[Divergence] = []
        wrong: list[BaseException] = []

        def debugger(*found: Any) -> None:
            seen.append(found[0])
            # What is raised in here is raised in the step.
            try:
                look(found)
            except BaseException as error:  # noqa: BLE001  see above
                wrong.append(error)

        answer = replay(recording, agent, debugger=debugger)
    assert not wrong
    assert seen == [answer.divergence]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes what is asked another thing."""
    return lambda: monkeypatch.setattr(sys.modules[__name__], "word", "replayed")


def test_the_frame_of_a_call_still_stands(lab: Lab, other: Callable[[], None]) -> None:
    stands = False

    def agent() -> str:
        nonlocal stands
        stands = True
        try:
            return ask(word)
        finally:
            stands = False

    def look(found: Found) -> None:
        divergence, failure, where = found
        assert (divergence.cause, failure, stands) == ("effect", None, True)
        assert isinstance(where, FrameType)
        assert where.f_code is agent.__code__
        assert divergence.location == here(where.f_lineno, __file__)

    debugged(lab, agent, other, look)
    assert not stands


def test_the_frame_of_a_step_that_returned_keeps_what_was_in_it(lab: Lab, other: Callable[[], None]) -> None:
    def fact(n: int) -> int:
        return n * fact(n - 1) if n else 1

    def agent() -> str:
        same = fact(3)
        return f"{same} {word}"

    def look(found: Found) -> None:
        where = found[2]
        assert isinstance(where, FrameType)
        assert (where.f_code, where.f_locals["same"]) == (agent.__code__, 6)

    debugged(lab, agent, other, look)


def test_of_a_step_that_calls_itself_the_first_frame_is_the_steps(lab: Lab, other: Callable[[], None]) -> None:
    @step
    def count(n: int) -> list[str]:
        def down(m: int) -> list[str]:
            return [word, *down(m - 1)] if m else []

        return down(n)

    def look(found: Found) -> None:
        where = found[2]
        assert isinstance(where, FrameType)
        assert where.f_locals["n"] == 3

    debugged(lab, lambda: count(3), other, look)


def test_what_a_step_raised_is_kept_with_its_frames(lab: Lab, other: Callable[[], None]) -> None:
    def agent() -> int:
        return {"recorded": 1}[word]

    def look(found: Found) -> None:
        divergence, failure, where = found
        assert isinstance(where, KeyError)
        assert divergence.cause == "error"
        assert failure
        assert where.__traceback__

    debugged(lab, agent, other, look)


def test_a_step_that_did_what_was_recorded_is_let_go(lab: Lab, other: Callable[[], None]) -> None:
    class Thing:
        """Big, and some step's own."""

    things: list[weakref.ref[Thing]] = []

    @step
    def use() -> int:
        thing = Thing()
        things.append(weakref.ref(thing))
        return 1

    def agent() -> str:
        use()
        return ask(word)

    debugged(lab, agent, other, lambda _: None)
    assert [thing() for thing in things] == [None, None]


def test_in_another_thread_the_call_is_seen_when_the_replay_has_ended(lab: Lab, other: Callable[[], None]) -> None:
    def agent() -> str:
        return asyncio.run(asyncio.to_thread(think))

    def think() -> str:
        deep = word
        return ask(deep)

    def look(found: Found) -> None:
        assert threading.current_thread() is threading.main_thread()
        trace = found[2].__traceback__ if isinstance(found[2], BaseException) else None
        frames = []
        while trace:
            frames.append(trace.tb_frame)
            trace = trace.tb_next
        assert [frame.f_locals["deep"] for frame in frames if frame.f_code is think.__code__] == ["replayed"]

    debugged(lab, agent, other, look)


def test_a_call_in_a_task_is_told_where_the_step_waits_for_it(lab: Lab, other: Callable[[], None]) -> None:
    @step
    async def plan(what: str) -> str:
        return await ask_async(what)

    async def agent() -> list[str]:
        return list(await asyncio.gather(plan(word)))

    def look(found: Found) -> None:
        # Whoever replays it is no part of it.
        assert found[0].location == here(agent.__code__.co_firstlineno + 1, __file__)

    debugged(lab, agent, other, look)


def test_where_no_code_of_a_step_ran_there_is_nothing_to_look_at(lab: Lab) -> None:
    def returns(ctx: Context) -> int:
        return ctx.seed and 1

    recording = lab.run(returns)
    seen: list[Found] = []
    lab.replay(recording, returns, inputs={"n": 1}, debugger=lambda *found: seen.append(found))
    assert [(divergence.cause, where) for divergence, _, where in seen] == [("inputs", None)]


def test_whoever_traced_before_traces_again(lab: Lab) -> None:
    def traces(*_: Any) -> None:
        """Do nothing."""

    def agent() -> str:
        return ask("anything")

    with record(agent, store=lab.store, run_id="r-1", seed=7, inputs={}) as recording:
        before = sys.gettrace(), threading.gettrace()
        sys.settrace(traces)
        threading.settrace(traces)
        try:
            replay(recording, agent, debugger=lambda *_: None)
            after = sys.gettrace(), threading.gettrace()
        finally:
            sys.settrace(before[0])
            threading.settrace(before[1])
    assert after == (traces, traces)


@pytest.mark.parametrize("form", ["external", "step"])
def test_what_is_asked_at_the_prompt_changes_no_verdict(lab: Lab, other: Callable[[], None], form: str) -> None:
    @step
    def plan(what: str) -> str:
        return what

    def agent() -> list[str]:
        return [ask(word), plan("same")] if form == "external" else [plan(word), ask("same")]

    def look(_: Found) -> None:
        for asks in (ask, plan):
            with pytest.raises(Diverged):
                asks("anything else")

    debugged(lab, agent, other, look)
