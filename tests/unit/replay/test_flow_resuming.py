"""A plain function that was killed, or stopped, goes on: what its steps were answered is not asked again."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from golden.canonical import decode
from golden.verdict import verify
from replay import Host, external, fork, record, recover, replay, resume, step
from replay.paths import is_nested
from replay.plain import registry_of
from tests.unit.replay.conftest import Lab, effects, records
from tests.unit.replay.test_resuming import dying_after

Agent = Callable[..., Any]


class World:
    """Answers each question with how many it has been asked."""

    def __init__(self, *, broken: bool = False) -> None:
        self.asked: list[str] = []
        self.broken = broken
        self.ask = external(name="ask")(self._answer)
        self.ask_async = external(name="ask")(self._answer_async)
        self.plan = step(name="plan")(self._plan)
        self.look = step(name="look")(self._look)

    def _answer(self, what: str) -> int:
        self.asked.append(what)
        return len(self.asked)

    async def _answer_async(self, what: str) -> int:
        await asyncio.sleep(0)
        return self._answer(what)

    def _plan(self, n: int) -> int:
        return int(self.ask(f"plan {n}")) + int(self.ask(f"price {n}"))

    async def _look(self, name: str) -> int:
        return int(await self.ask_async(name)) * 10

    def one_by_one(self) -> Any:
        """Ask six times, in three steps, and once outside of them."""
        found = [self.plan(n) for n in range(3)]
        if self.broken:
            raise ValueError("broken")
        return [*found, self.ask("last")]

    async def side_by_side(self) -> Any:
        """Ask seven times, in four steps at once and three after them."""
        found = await asyncio.gather(*(self.look(f"look {n}") for n in range(4)))
        return [*found, self.plan(0), self.ask("last")]


def host(lab: Lab, agent: Agent) -> Host:
    return Host(registry_of(agent), lab.store)


def killed(lab: Lab, agent: Agent, after: int) -> None:
    with dying_after(after):
        record(agent, store=lab.store, run_id="k", seed=7)


@pytest.mark.parametrize("name", ["one_by_one", "side_by_side"])
@pytest.mark.parametrize("after", range(1, 14))
def test_killed_after_any_event_it_goes_on_as_if_it_had_not_been(lab: Lab, name: str, after: int) -> None:
    world = World()
    agent = getattr(world, name)
    killed(lab, agent, after)
    done = resume("k", host(lab, agent))
    lab.opened.append(done)
    assert (done.run_id, done.statement.status) == ("k", "completed")
    assert verify(lab.store.file("k").path, lab.store.read()).verdict == "intact"
    # One whose line was not written is asked again, side by side perhaps each of the four; no other is.
    assert len(world.asked) <= (8 if name == "one_by_one" else 11)
    assert len(effects(done)) >= len(set(world.asked)) == 7
    live = len(world.asked)
    assert replay(done, agent).matched
    assert len(world.asked) == live
    paths = [found.step.step_id for found in records(done)]
    assert len(paths) == len(set(paths))
    assert len({found.step.index for found in records(done)}) == len(paths)


def test_what_was_answered_is_believed_after_a_kill(lab: Lab) -> None:
    world = World()
    # run_start; two calls and a step; two calls.
    killed(lab, world.one_by_one, 6)
    assert world.asked == ["plan 0", "price 0", "plan 1", "price 1"]
    done = resume("k", host(lab, world.one_by_one))
    lab.opened.append(done)
    assert world.asked == ["plan 0", "price 0", "plan 1", "price 1", "plan 2", "price 2", "last"]
    found = {record.step.step_id: decode(record.step.output) for record in records(done)}
    assert found["one_by_one"] == [3, 7, 11, 7]


def test_one_that_failed_begins_anew_in_a_run_of_its_own(lab: Lab) -> None:
    world = World(broken=True)
    lab.opened.append(record(world.one_by_one, store=lab.store, run_id="k", seed=7))
    assert lab.opened[0].statement.status == "failed"
    world.broken = False
    done = resume("k", host(lab, world.one_by_one))
    lab.opened.append(done)
    assert (done.run_id, done.statement.status) == ("k.r1", "completed")
    assert replay(done, world.one_by_one).matched


def test_one_that_nobody_resumes_is_sealed_as_far_as_it_came(lab: Lab) -> None:
    world = World()
    killed(lab, world.one_by_one, 6)
    done = recover("k", host(lab, world.one_by_one))
    lab.opened.append(done)
    assert done.statement.status == "interrupted"
    assert verify(lab.store.file("k").path, lab.store.read()).verdict == "intact"
    assert [record.step.step_id for record in records(done)] == ["one_by_one/plan"]
    assert len(world.asked) == 4
    answer = replay(done, world.one_by_one)
    assert answer.verdict == "refused"
    again = resume("k", host(lab, world.one_by_one))
    lab.opened.append(again)
    assert (again.run_id, again.statement.status) == ("k.r1", "completed")
    assert world.asked.count("plan 0") == 1
    assert replay(again, world.one_by_one).matched


def test_a_fork_at_its_one_step_asks_everything_again(lab: Lab) -> None:
    world = World()
    lab.opened.append(record(world.one_by_one, store=lab.store, run_id="k", seed=7))
    done = fork("k", "one_by_one", "other", host(lab, world.one_by_one))
    lab.opened.append(done)
    assert done.statement.status == "completed"
    assert len(world.asked) == 14
    assert any(is_nested(record.step.step_id) for record in records(done))
    assert replay(done, world.one_by_one).matched
