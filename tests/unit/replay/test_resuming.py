"""Resuming: what is recorded is neither run nor paid for again, and what comes of it is what would have come of it."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from golden.canonical import decode
from golden.errors import StoreError, UsageError
from golden.event import Data, EffectData, RunResume, StepData
from golden.keyring import Keyring, kid_of
from golden.recorder import Recorder
from golden.recording import Recording
from golden.repair import quarantine
from golden.store import Store
from golden.verdict import verify
from replay import Context, SkillRegistry, replay
from replay.checkpoints.contract import LeaseHeldError
from replay.checkpoints.memory import MemoryCheckpointStore
from replay.controls import Controls, lift, write_stop
from replay.host import Host
from replay.lineage import latest
from replay.past import recorded
from replay.policy import Policy
from replay.progress import Saving
from replay.resuming import ChangedError, Terms, fork, recover, resume
from replay.spec import Spec
from tests.unit.replay.conftest import SECRET, Lab, flow, skills, step


class KilledError(BaseException):
    """The recorder is gone: nothing that it meant to write is written."""


class World:
    """What skills ask: it counts, and gives another answer each time."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.ran: list[str] = []
        self.broken: set[str] = set()

    def ask(self, what: Any) -> dict[str, Any]:
        """Answer a call as nobody could guess it."""
        self.asked.append(what)
        return {"what": what, "turn": len(self.asked)}

    def skill(self, ctx: Context) -> Any:
        """Ask twice, spend, and go on from what came before."""
        name = ctx.inputs["name"]
        self.ran.append(name)
        one = ctx.external("one", self.ask, [name, 1])
        two = ctx.external("two", self.ask, [name, 2])
        ctx.spend(2)
        if name in self.broken:
            raise ValueError(name)
        return {"answers": [one["turn"], two["turn"]], "drawn": ctx.random.random(), "before": ctx.inputs.get("before")}

    @property
    def registry(self) -> SkillRegistry:
        """The skill, registered."""
        return skills(s=self.skill)


def chain(*names: str, **members: Any) -> dict[str, Any]:
    """Return a spec whose steps each need the one before."""
    steps = []
    for n, name in enumerate(names):
        inputs = {"name": name} | ({"before": f"${{{names[n - 1]}.drawn}}"} if n else {})
        steps.append(step(name, "s", inputs=inputs, **members))
    return flow(*steps)


ABC = chain("a", "b", "c")
# run_start; per step two effects and a step; run_end.
EVENTS = 11


@pytest.fixture
def world() -> World:
    return World()


@contextmanager
def dying_after(events: int) -> Iterator[None]:
    """Let every recorder die before it writes more than so many events."""
    real, written = Recorder.write, 0

    def write(self: Recorder, data: Data, *arguments: Any, **named: Any) -> None:
        nonlocal written
        if written == events:
            raise KilledError
        real(self, data, *arguments, **named)
        written += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "write", write)
        with suppress(KilledError):
            yield


def host(lab: Lab, registry: SkillRegistry, **given: Any) -> Host:
    return Host(registry, lab.store, **given)


def killed(lab: Lab, spec: Mapping[str, Any], registry: SkillRegistry, after: int, **options: Any) -> str:
    """Record a run that is killed after so many events, and return its id."""
    with dying_after(after):
        lab.record(spec, registry, **{"run_id": "k", **options})
    return str(options.get("run_id", "k"))


def told(recording: Recording) -> list[Any]:
    """Return what a recording holds beside times and ids: inputs, effects, outputs, costs, and how it ended."""
    with recording:
        found: list[Any] = [record.step for record in recorded(recording)]
        calls = [[(e.name, e.args_hash, e.attempt, e.call) for e in record.effects] for record in recorded(recording)]
        return [*found, calls, recording.end]


def without_answers(steps: list[Any]) -> list[Any]:
    return [replace(found, output=b"", output_hash=None) if isinstance(found, StepData) else found for found in steps]


def events_of(lab: Lab, run_id: str) -> list[Data]:
    with Recording.open(lab.store.file(run_id), lab.store.read()) as recording:
        return [event.data for event in recording.events()]


@pytest.mark.parametrize("after", range(1, EVENTS + 1))
def test_killed_after_any_event_a_run_goes_on_as_if_it_had_not_been(lab: Lab, world: World, after: int) -> None:
    killed(lab, ABC, world.registry, after)
    before = list(world.asked)
    done = resume("k", host(lab, world.registry))
    assert (done.run_id, done.statement.status) == ("k", "completed")
    # A call whose line was not written is made again; no other is.
    assert len(world.asked) <= 7
    assert world.asked[: len(before)] == before
    assert verify(lab.store.file("k").path, lab.store.read()).verdict == "intact"
    assert replay(done, world.registry).matched
    undisturbed = World()
    expected = told(lab.record(ABC, undisturbed.registry, run_id="u"))
    found = told(done)
    calls = -2
    assert found[calls] == expected[calls]
    if len(world.asked) == 6:
        assert found == expected


def test_steps_that_were_recorded_are_not_run_again(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 7)
    assert world.ran == ["a", "b", "c"]
    resume("k", host(lab, world.registry))
    assert world.ran == ["a", "b", "c", "c"]


def test_answers_of_the_step_under_way_are_given_again_and_written_again(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 9)
    resume("k", host(lab, world.registry))
    assert [what for what in world.asked if what[0] == "c"] == [["c", 1], ["c", 2]]
    (noted,) = [data for data in events_of(lab, "k") if isinstance(data, RunResume)]
    assert (noted.next_index, noted.accepted_changes) == (2, [])
    of_c = [data for data in events_of(lab, "k") if isinstance(data, EffectData) and data.step_id == "c"]
    assert [data.call for data in of_c] == [0, 1, 0, 1]
    assert of_c[0].result == of_c[2].result


def test_a_step_that_asks_something_else_than_it_did_asks_the_world(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 9)

    def other(ctx: Context) -> Any:
        return ctx.external("other", world.ask, "other")

    done = resume("k", host(lab, skills(s=other)))
    assert world.asked[-1] == "other"
    (record,) = [record for record in recorded(done) if record.step.step_id == "c"]
    assert [effect.name for effect in record.effects] == ["other"]


def test_a_run_is_killed_and_resumed_again_and_again(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 2)
    for _ in range(12):
        with dying_after(2):
            resume("k", host(lab, world.registry))
    done = resume("k", host(lab, world.registry))
    assert done.statement.status == "completed"
    assert replay(done, world.registry).matched
    assert [what for n, what in enumerate(world.asked) if what not in world.asked[:n]] == [
        [name, n] for name in "abc" for n in (1, 2)
    ]


def test_attempts_of_a_step_that_was_killed_between_two_are_all_recorded(
    lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay.retry.BASE_MS", 1)
    monkeypatch.setattr("time.sleep", lambda _: None)
    world.broken = {"b"}
    spec = chain("a", "b", retry=True, max_retries=2)
    killed(lab, spec, world.registry, 7)
    done = resume("k", host(lab, world.registry))
    (failed,) = [record.step for record in recorded(done) if not record.step.success]
    assert [attempt.error is None for attempt in failed.attempts] == [False] * 3
    assert failed.cost_cents == 6
    assert replay(done, world.registry).matched
    assert [what for what in world.asked if what == ["b", 1]] == [["b", 1]] * 3


def test_failures_that_a_run_went_on_after_stand_in_a_killed_one(lab: Lab, world: World) -> None:
    world.broken = {"a"}
    steps = [
        step("a", "s", inputs={"name": "a"}, on_error="continue"),
        step("b", "s", inputs={"name": "b"}, depends_on=["a"]),
        step("c", "s", inputs={"name": "c"}),
    ]
    killed(lab, flow(*steps), world.registry, 6)
    done = resume("k", host(lab, world.registry))
    assert done.statement.status == "failed"
    assert world.ran == ["a", "c", "c"]
    assert [(record.step.step_id, record.step.skipped) for record in recorded(done)][1] == ("b", True)
    assert replay(done, world.registry).matched


def test_a_run_of_steps_side_by_side_goes_on(lab: Lab, world: World) -> None:
    spec = flow(*(step(name, "s", inputs={"name": name}) for name in "abcdef"))
    for after in (3, 6, 9, 12, 15):
        run_id = killed(lab, spec, world.registry, after, run_id=f"k{after}", concurrency=3)
        done = resume(run_id, host(lab, world.registry, width=3))
        assert done.statement.status == "completed"
        assert replay(done, world.registry).matched


def test_a_failed_run_goes_on_at_its_failed_step_in_a_new_one(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    source = lab.record(ABC, world.registry, run_id="f")
    world.broken = set()
    done = resume("f", host(lab, world.registry))
    assert (done.run_id, done.statement.status) == ("f.r1", "completed")
    assert world.ran == ["a", "b", "b", "c"]
    assert next(record.step.carried for record in recorded(done)) is True
    came_from = done.start.resumed_from
    assert came_from
    assert (came_from.run_id, came_from.file_id, came_from.sha256) == (
        "f",
        source.statement.file_id,
        source.statement.sha256,
    )
    assert came_from.kids == [lab.keyring.active.kid]
    assert verify(lab.store.file("f").path, lab.store.read()).verdict == "intact"


def test_a_run_names_the_keys_of_all_that_it_carries_over(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f")
    old = lab.keyring.active.kid
    other = b"another secret of the tests, long enough to sign"
    for secrets in (Keyring(other, [SECRET]), Keyring(other + b"2", [other, SECRET])):
        lab.store = Store(lab.store.directory, secrets, durability="never")
        resume("f", host(lab, world.registry)).close()
    world.broken = set()
    done = resume("f", host(lab, world.registry))
    assert done.run_id == "f.r3"
    assert done.start.resumed_from
    assert done.start.resumed_from.kids == sorted([old, *(kid_of(secret) for secret in (other, other + b"2"))])


def test_a_run_that_was_gone_on_with_is_replayed_alone(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f")
    world.broken = set()
    done = resume("f", host(lab, world.registry))
    for name in ("f.steps.jsonl", "f.steps.jsonl.sig"):
        (lab.store.directory / name).unlink()
    answer = replay(done, world.registry)
    assert (answer.verdict, answer.steps_compared) == ("matched", 3)


def test_what_a_failed_step_had_spent_is_spent(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f")
    world.broken = set()
    done = resume("f", host(lab, world.registry))
    assert done.start.budget_snapshot.accumulated_cost_cents == 2
    *_, last = recorded(done)
    assert last.step.budget_snapshot.accumulated_cost_cents == 8
    again = resume("f", host(lab, world.registry), Terms(workflow_ceiling_cents=7))
    assert again.run_id == "f.r1"


def test_a_run_out_of_budget_goes_on_with_more_and_not_with_the_same(lab: Lab, world: World) -> None:
    lab.record(ABC, world.registry, run_id="f", workflow_ceiling_cents=5)
    same = resume("f", host(lab, world.registry), Terms(workflow_ceiling_cents=5))
    assert (same.run_id, same.statement.status) == ("f.r1", "budget_exceeded")
    more = resume("f", host(lab, world.registry), Terms(workflow_ceiling_cents=50))
    assert (more.run_id, more.statement.status) == ("f.r2", "completed")


def test_a_run_killed_while_it_carries_over_carries_over_the_rest(lab: Lab, world: World) -> None:
    spec = chain("a", "b", "c", "d")
    world.broken = {"d"}
    lab.record(spec, world.registry, run_id="f")
    world.broken = set()
    ran = list(world.ran)
    for after in range(1, 10):
        with dying_after(after):
            resume("f", host(lab, world.registry))
    done = resume("f", host(lab, world.registry))
    assert (done.run_id, done.statement.status) == ("f.r1", "completed")
    assert set(world.ran[len(ran) :]) == {"d"}
    assert replay(done, world.registry).matched


def test_the_last_run_of_a_line_is_the_one_that_goes_on(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f")
    for number in (1, 2, 3):
        assert resume("f", host(lab, world.registry)).run_id == f"f.r{number}"
    assert latest(lab.store, "f") == "f.r3"
    world.broken = set()
    assert resume("f.r1", host(lab, world.registry)).run_id == "f.r4"
    assert resume("f", host(lab, world.registry)).run_id == "f.r4"


def test_a_finished_run_says_so(lab: Lab, world: World) -> None:
    lab.record(ABC, world.registry, run_id="f")
    notes: list[str] = []

    class Watching:
        def step(self, *_: Any) -> None:
            raise AssertionError("a finished run has no step")

        def note(self, text: str) -> None:
            notes.append(text)

    assert resume("f", host(lab, world.registry, observer=Watching())).run_id == "f"
    assert notes == ["run f has completed: there is nothing to resume"]
    assert len(world.ran) == 3


# What changed


def test_changed_code_is_refused_unless_it_is_accepted(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f")
    world.broken = set()
    other = skills("2", s=world.skill)
    with pytest.raises(ChangedError) as refused:
        resume("f", host(lab, other))
    assert refused.value.changes == ("code",)
    assert "--accept-change code" in refused.value.hint
    done = resume("f", host(lab, other), Terms(accepted=("code",)))
    assert done.start.resumed_from
    assert done.start.resumed_from.accepted_changes == ["code"]
    # What another version would make of the first step nobody knows.
    assert world.ran == ["a", "b", "a", "b", "c"]
    assert replay(done, other).matched


def test_changed_source_goes_on_in_the_same_file_and_is_noted(lab: Lab, world: World, tmp_path: Path) -> None:
    killed(lab, ABC, world.registry, 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("replay.skill.Skill.code_hash", lambda _: "0" * 64)
        with pytest.raises(ChangedError):
            resume("k", host(lab, world.registry))
        done = resume("k", host(lab, world.registry), Terms(accepted=("code",)))
    assert done.run_id == "k"
    (noted,) = [data for data in events_of(lab, "k") if isinstance(data, RunResume)]
    assert noted.accepted_changes == ["code"]


@pytest.mark.parametrize("dead", [True, False], ids=["killed", "failed"])
def test_a_changed_spec_goes_on_in_a_new_file(lab: Lab, world: World, dead: bool) -> None:
    world.broken = set() if dead else {"c"}
    if dead:
        killed(lab, ABC, world.registry, 8, run_id="f")
    else:
        lab.record(ABC, world.registry, run_id="f")
    world.broken = set()
    changed = Spec({**ABC, "version": "2", "steps": [*ABC["steps"][:2], {**ABC["steps"][2], "inputs": {"name": "C"}}]})
    with pytest.raises(ChangedError, match="the spec"):
        resume("f", host(lab, world.registry), Terms(current=lambda _: changed))
    before = len(world.ran)
    done = resume("f", host(lab, world.registry), Terms(current=lambda _: changed, accepted=("spec",)))
    assert (done.run_id, done.statement.status) == ("f.r1", "completed")
    assert world.ran[before:] == ["C"]
    with Recording.open(lab.store.file("f"), lab.store.read()) as source:
        assert source.statement.status == ("interrupted" if dead else "failed")
    assert replay(done, world.registry).matched


def test_a_step_whose_dependency_is_made_again_is_made_again(lab: Lab, world: World) -> None:
    world.broken = {"c"}
    lab.record(ABC, world.registry, run_id="f")
    world.broken = set()
    steps = [{**ABC["steps"][0], "inputs": {"name": "A"}}, *ABC["steps"][1:]]
    changed = Spec({**ABC, "steps": steps})
    done = resume("f", host(lab, world.registry), Terms(current=lambda _: changed, accepted=("spec",)))
    assert world.ran[3:] == ["A", "b", "c"]
    assert not any(record.step.carried for record in recorded(done))


def test_other_inputs_are_refused_unless_they_are_accepted(lab: Lab, world: World) -> None:
    steps = [step("a", "s", inputs={"name": "a"}), step("b", "s", inputs={"name": "${inputs.n}"})]
    world.broken = {"x"}
    lab.record(flow(*steps), world.registry, run_id="f", inputs={"n": "x"})
    with pytest.raises(ChangedError, match="inputs"):
        resume("f", host(lab, world.registry), Terms(inputs={"n": "y"}))
    done = resume("f", host(lab, world.registry), Terms(inputs={"n": "y"}, accepted=("context",)))
    assert world.ran == ["a", "x", "y"]
    assert decode(done.start.inputs) == {"n": "y"}
    same = resume("f", host(lab, world.registry), Terms(inputs={"n": "y"}))
    assert same.run_id == "f.r1"


def test_the_seed_is_that_of_the_run(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    first = lab.record(ABC, world.registry, run_id="f", seed=99)
    drawn = [decode(record.step.output)["drawn"] for record in recorded(first) if record.step.success]
    world.broken = set()
    done = resume("f", host(lab, world.registry))
    assert done.start.seed == 99
    undisturbed = lab.record(ABC, world.registry, run_id="u", seed=99)
    again = [decode(record.step.output)["drawn"] for record in recorded(done)]
    assert again == [decode(record.step.output)["drawn"] for record in recorded(undisturbed)]
    assert again[:1] == drawn


# Checkpoints


def saved(lab: Lab, world: World, after: int, interval: int = 1, **options: Any) -> MemoryCheckpointStore:
    store = MemoryCheckpointStore()
    killed(lab, ABC, world.registry, after, checkpoints=Saving(store, interval), **options)
    return store


@pytest.mark.parametrize("interval", [1, 2, 10])
@pytest.mark.parametrize("after", range(1, EVENTS))
def test_a_checkpoint_catches_up_with_the_file(lab: Lab, world: World, after: int, interval: int) -> None:
    store = saved(lab, world, after, interval)
    stored = store.load("k")
    assert stored is None or stored.status == "running"
    resume("k", host(lab, world.registry, saving=Saving(store, interval)))
    found = store.load("k")
    assert found
    assert (found.status, found.next_step_index, found.total_cost_cents) == ("completed", 3, 6)
    assert (found.lease_owner, found.ended_at is not None) == (None, True)
    assert [output.step_id for output in store.outputs("k")] == ["a", "b", "c"]


def test_a_checkpoint_that_a_kill_left_behind_its_sealed_run_is_brought_to_its_end(lab: Lab, world: World) -> None:
    store = MemoryCheckpointStore()
    with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
        patch.setattr("replay.progress.Progress.end", _die)
        lab.record(ABC, world.registry, run_id="k", checkpoints=store)
    assert store.overview(status="running").checkpoints
    done = resume("k", host(lab, world.registry, saving=Saving(store)))
    assert done.run_id == "k"
    found = store.load("k")
    assert found
    assert (found.status, found.next_step_index, found.lease_owner) == ("completed", 3, None)


def test_a_checkpoint_of_a_failed_run_stands_at_the_failed_step(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    store = MemoryCheckpointStore()
    lab.record(ABC, world.registry, run_id="f", checkpoints=Saving(store, 10))
    found = store.load("f")
    assert found
    assert (found.status, found.next_step_index, found.events) == ("failed", 1, 8)
    assert [(output.step_id, output.output is None) for output in store.outputs("f")] == [("a", False), ("b", True)]


def test_a_checkpoint_ahead_of_the_file_is_not_believed(lab: Lab, world: World) -> None:
    store = saved(lab, world, 7)
    found = store.load("k")
    assert found
    store.save(replace(found, events=99))
    with pytest.raises(StoreError, match=r"stands at 99 events, its golden file has 7"):
        resume("k", host(lab, world.registry, saving=Saving(store)))
    assert resume("k", host(lab, world.registry)).statement.status == "completed"


def test_a_checkpoint_of_another_file_is_not_believed(lab: Lab, world: World) -> None:
    store = saved(lab, world, 7)
    found = store.load("k")
    assert found
    store.save(replace(found, file_id="0" * 32))
    with pytest.raises(StoreError, match="another golden file"):
        resume("k", host(lab, world.registry, saving=Saving(store)))


def test_a_run_of_another_host_is_left_alone_while_its_lease_lasts(lab: Lab, world: World) -> None:
    store = saved(lab, world, 7)
    found = store.load("k")
    assert found
    store.save(replace(found, lease_owner="elsewhere/1/ab"))
    with pytest.raises(LeaseHeldError, match="elsewhere/1/ab"):
        resume("k", host(lab, world.registry, saving=Saving(store)))
    assert verify(lab.store.file("k").path, lab.store.read()).verdict == "live"


def test_a_run_goes_on_from_an_older_checkpoint_in_a_new_file(lab: Lab, world: World) -> None:
    store = MemoryCheckpointStore()
    lab.record(ABC, world.registry, run_id="f", checkpoints=store)
    version = store.outputs("f")[0].version
    done = resume("f", host(lab, world.registry, saving=Saving(store)), Terms(checkpoint=version))
    assert done.run_id == "f.r1"
    assert world.ran == ["a", "b", "c", "b", "c"]


def test_a_run_whose_checkpoint_cannot_be_saved_is_left_to_be_resumed(
    lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryCheckpointStore()
    real, saves = MemoryCheckpointStore.save, 0

    def save(self: MemoryCheckpointStore, *arguments: Any) -> Any:
        nonlocal saves
        saves += 1
        if saves == 2:
            raise StoreError("the place is gone", hint="bring it back")
        return real(self, *arguments)

    monkeypatch.setattr(MemoryCheckpointStore, "save", save)
    with pytest.raises(StoreError) as failed:
        lab.record(ABC, world.registry, run_id="f", checkpoints=store)
    assert failed.value.hint.endswith("`golden resume f` goes on")
    done = resume("f", host(lab, world.registry, saving=Saving(store)))
    assert done.statement.status == "completed"
    assert world.ran == ["a", "b", "c"]


def test_a_run_id_that_a_checkpoint_knows_is_not_used_twice(lab: Lab, world: World) -> None:
    store = saved(lab, world, 7)
    (lab.store.directory / "k.steps.jsonl").unlink()
    elsewhere = Lab(lab.store.directory.parent / "other")
    with pytest.raises(UsageError, match="has a checkpoint in memory"):
        elsewhere.record(ABC, world.registry, run_id="k", checkpoints=store)
    assert not (lab.store.directory.parent / "other" / "k.steps.jsonl").exists()


# Recovering and forking


@pytest.mark.parametrize("after", range(1, EVENTS))
def test_a_dead_run_is_sealed_as_it_is_and_nothing_is_run(lab: Lab, world: World, after: int) -> None:
    killed(lab, ABC, world.registry, after)
    asked = list(world.asked)
    done = recover("k", host(lab, SkillRegistry()))
    steps = (after - 1) // 3
    assert done.statement.status == ("completed" if steps == 3 else "interrupted")
    assert done.end
    assert (done.end.steps_completed, done.end.total_cost_cents) == (steps, 2 * steps)
    assert world.asked == asked
    assert replay(done, world.registry).verdict == ("matched" if steps else "refused")


def test_a_run_that_was_sealed_as_dead_goes_on_in_a_new_one(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 7)
    recover("k", host(lab, SkillRegistry())).close()
    before = len(world.ran)
    assert resume("k", host(lab, world.registry)).run_id == "k.r1"
    assert world.ran[before:] == ["c"]


def test_a_run_that_lacks_nothing_but_its_seal_is_sealed(lab: Lab, world: World) -> None:
    with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
        patch.setattr(Recorder, "seal", _die)
        lab.record(ABC, world.registry, run_id="k")
    done = resume("k", host(lab, SkillRegistry()))
    assert (done.run_id, done.statement.status, done.is_resumed) == ("k", "completed", False)


def test_a_fork_carries_over_what_came_before_its_step(lab: Lab, world: World) -> None:
    source = lab.record(ABC, world.registry, run_id="f")
    done = fork("f", "b", "other", host(lab, world.registry))
    assert (done.run_id, done.statement.status) == ("other", "completed")
    assert world.ran == ["a", "b", "c", "b", "c"]
    assert done.start.resumed_from
    assert (done.start.resumed_from.run_id, done.start.resumed_from.at) == ("f", "b")
    first, *_ = recorded(done)
    assert first.step.output == recorded(source)[0].step.output
    assert replay(done, world.registry).matched


def test_a_fork_at_a_step_that_is_not_there_is_refused(lab: Lab, world: World) -> None:
    lab.record(ABC, world.registry, run_id="f")
    with pytest.raises(UsageError, match="no step z"):
        fork("f", "z", "other", host(lab, world.registry))
    assert not lab.store.file("other").path.exists()


def test_a_fork_killed_while_it_carries_over_carries_no_more_than_it_should(lab: Lab, world: World) -> None:
    lab.record(ABC, world.registry, run_id="f")
    with dying_after(2):
        fork("f", "c", "other", host(lab, world.registry))
    before = len(world.ran)
    resume("other", host(lab, world.registry))
    assert world.ran[before:] == ["c"]


# Stops


def test_nothing_is_resumed_while_the_engine_is_stopped(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 7)
    folder = lab.store.directory
    write_stop(folder, "stop", "a reason")
    with pytest.raises(UsageError, match="a reason"):
        resume("k", host(lab, world.registry, controls=Controls(folder)))
    lift(folder)
    assert resume("k", host(lab, world.registry, controls=Controls(folder))).statement.status == "completed"


def test_a_stopped_run_goes_on_where_it_was_stopped(lab: Lab, world: World) -> None:
    folder = lab.store.directory

    def stopping(ctx: Context) -> Any:
        if ctx.inputs["name"] == "b":
            write_stop(folder, "stop", "enough")
        return world.skill(ctx)

    stopped = lab.record(ABC, skills(s=stopping), run_id="f", controls=Controls(folder))
    assert stopped.statement.status == "emergency_stopped"
    (refused,) = [record.step for record in recorded(stopped) if not record.step.success]
    assert refused.error
    assert (refused.step_id, refused.error.code, refused.attempts) == ("c", "EMERGENCY_STOP", [])
    assert "enough" in refused.error.message
    lift(folder)
    done = resume("f", host(lab, world.registry))
    assert (done.run_id, done.statement.status) == ("f.r1", "completed")
    assert world.ran == ["a", "b", "c"]


def _die(*_: object) -> None:
    raise KilledError


# What was paid is paid, and what was recorded is recorded


LONG = chain("a", "b", "c", "d")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as a person's Ctrl-C is heard, also where the tests run in the background, and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def failed(lab: Lab, world: World) -> World:
    """A run f that failed at d, which is mended by now."""
    world.broken = {"d"}
    lab.record(LONG, world.registry, run_id="f").close()
    world.broken = set()
    world.ran.clear()
    return world


def goes_on(lab: Lab, world: World, run_id: str, **terms: Any) -> None:
    """Resume f to its end: d is run, nothing else, and all that was ever spent is charged."""
    done = resume("f", host(lab, world.registry), Terms(**terms))
    assert (done.run_id, done.statement.status) == (run_id, "completed")
    assert world.ran == ["d"]
    *_, last = recorded(done)
    assert last.step.budget_snapshot.accumulated_cost_cents == 10
    assert replay(done, world.registry).matched


@pytest.mark.parametrize("after", range(1, 10))
def test_a_run_recovered_while_it_carried_over_loses_nothing(lab: Lab, failed: World, after: int) -> None:
    with dying_after(after):
        resume("f", host(lab, failed.registry))
    recover("f.r1", host(lab, SkillRegistry())).close()
    goes_on(lab, failed, "f.r2")


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_run_whose_code_changed_while_it_carried_over_loses_nothing(lab: Lab, failed: World, after: int) -> None:
    with dying_after(after):
        resume("f", host(lab, failed.registry))
    other = skills("2", s=failed.skill)
    done = resume("f", host(lab, other), Terms(accepted=("code",)))
    assert done.statement.status == "completed"
    *_, last = recorded(done)
    # Of another version all is made again, and all that was spent before stays spent.
    assert last.step.budget_snapshot.accumulated_cost_cents == 8 + 8


@contextmanager
def at_event(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Let something happen once the recorder has written so many events."""
    real, written = Recorder.write, 0

    def write(self: Recorder, data: Data, *arguments: Any, **named: Any) -> None:
        nonlocal written
        real(self, data, *arguments, **named)
        written += 1
        if written == number:
            act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "write", write)
        yield


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_run_interrupted_while_it_carried_over_loses_nothing(lab: Lab, failed: World, after: int) -> None:
    with at_event(after, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        resume("f", host(lab, failed.registry))
    with Recording.open(lab.store.file("f.r1"), lab.store.read()) as stopped:
        assert (stopped.statement.status, len(recorded(stopped))) == ("aborted", after // 3)
    goes_on(lab, failed, "f.r2")


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_stop_while_a_run_carries_over_stops_it_at_what_it_would_run(lab: Lab, failed: World, after: int) -> None:
    folder = lab.store.directory
    with at_event(after, lambda: write_stop(folder, "stop", "enough")):
        stopped = resume("f", host(lab, failed.registry, controls=Controls(folder)))
    assert [record.step.error_code or None for record in recorded(stopped)] == [None, None, None, "EMERGENCY_STOP"]
    lift(folder)
    goes_on(lab, failed, "f.r2")


def test_a_run_stopped_by_a_policy_while_it_carried_over_loses_nothing(lab: Lab, failed: World) -> None:
    stopped = resume("f", host(lab, failed.registry), Terms(policy=Policy(disabled={"s": "INC-7"})))
    assert (stopped.run_id, stopped.statement.status) == ("f.r1", "policy_violation")
    goes_on(lab, failed, "f.r2")


def test_a_run_that_cannot_pay_for_what_it_would_carry_over_says_so_and_loses_nothing(lab: Lab, failed: World) -> None:
    stopped = resume("f", host(lab, failed.registry), Terms(workflow_ceiling_cents=5))
    assert (stopped.run_id, stopped.statement.status) == ("f.r1", "budget_exceeded")
    assert replay(stopped, failed.registry).verdict != "diverged"
    goes_on(lab, failed, "f.r2", workflow_ceiling_cents=50)


def test_what_is_carried_over_fits_the_budget_that_it_is_carried_into(lab: Lab) -> None:
    def pay(ctx: Context) -> int:
        ctx.spend(ctx.inputs["cents"])
        if ctx.inputs["cents"] > 50:
            raise ValueError
        return 1

    spec = flow(
        step("a", "s", inputs={"cents": 10}, estimated_cost_cents=60),
        step("b", "s", inputs={"cents": 85}, depends_on=["a"]),
        budget_ceiling_cents=100,
    )
    lab.record(spec, skills(s=pay), run_id="f").close()
    done = resume("f", host(lab, skills(s=pay)))
    assert done.statement.status == "budget_exceeded"
    assert [record.step.error_code for record in recorded(done)] == ["WORKFLOW_CEILING_EXCEEDED"]
    assert replay(done, skills(s=pay)).verdict != "diverged"


def test_the_ceilings_of_a_run_stay_its_own(lab: Lab, world: World) -> None:
    lab.record(ABC, world.registry, run_id="f", step_ceiling_cents=3, workflow_ceiling_cents=5).close()
    done = resume("f", host(lab, world.registry))
    assert (done.run_id, done.statement.status) == ("f.r1", "budget_exceeded")
    snapshot = done.start.budget_snapshot
    assert (snapshot.step_ceiling_cents, snapshot.workflow_ceiling_cents) == (3, 5)


@pytest.mark.usefixtures("interruptible")
def test_what_a_step_had_spent_when_its_run_was_interrupted_stays_spent(lab: Lab) -> None:
    def pay(ctx: Context) -> int:
        ctx.spend(40)
        signal.raise_signal(signal.SIGINT)
        return 1

    spec = flow(step("a", "s"), budget_ceiling_cents=100)
    with pytest.raises(KeyboardInterrupt):
        lab.record(spec, skills(s=pay), run_id="f")
    with pytest.raises(KeyboardInterrupt):
        resume("f", host(lab, skills(s=pay)))
    done = resume("f", host(lab, skills(s=pay)))
    assert (done.run_id, done.statement.status) == ("f.r2", "budget_exceeded")


@pytest.mark.usefixtures("interruptible")
def test_calls_of_a_step_that_a_signal_broke_off_are_not_made_again(lab: Lab, world: World) -> None:
    hangs = [True]

    def hanging(ctx: Context) -> Any:
        found = world.skill(ctx)
        if hangs and ctx.inputs["name"] == "b":
            hangs.clear()
            signal.raise_signal(signal.SIGINT)
        return found

    with pytest.raises(KeyboardInterrupt):
        lab.record(ABC, skills(s=hanging), run_id="f")
    done = resume("f", host(lab, skills(s=hanging)))
    assert (done.run_id, done.statement.status) == ("f.r1", "completed")
    assert world.asked == [[name, n] for name in "abc" for n in (1, 2)]
    assert replay(done, skills(s=hanging)).matched


def test_what_may_be_run_is_for_the_host_to_say_not_for_the_file(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 4, policy=Policy("permissive"))
    disabled = Terms(policy=Policy(disabled={"s": "INC-7"}))
    done = resume("k", host(lab, world.registry), disabled)
    assert (done.run_id, done.statement.status) == ("k.r1", "policy_violation")
    assert world.ran in (["a"], ["a", "b"])
    with Recording.open(lab.store.file("k"), lab.store.read()) as source:
        assert source.statement.status == "interrupted"


def test_another_ceiling_for_a_killed_run_is_for_a_new_file(lab: Lab, world: World) -> None:
    killed(lab, ABC, world.registry, 7)
    done = resume("k", host(lab, world.registry), Terms(workflow_ceiling_cents=5))
    assert (done.run_id, done.statement.status) == ("k.r1", "budget_exceeded")


def test_a_step_that_had_begun_is_brought_to_its_end_after_another_ended_the_run(lab: Lab, world: World) -> None:
    released = threading.Event()

    def slow(ctx: Context) -> Any:
        found = world.skill(ctx)
        assert released.wait(10)
        return found

    def bad(ctx: Context) -> Any:
        raise ValueError

    class Watching:
        def step(self, *_: Any) -> None:
            released.set()

        def note(self, text: str) -> None:
            """Nothing to note."""

    spec = flow(step("a", "slow", inputs={"name": "a"}), step("b", "bad"))
    registry = skills(slow=slow, bad=bad)
    # run_start, the two calls of a, b.
    with dying_after(4):
        lab.record(spec, registry, run_id="k", concurrency=2, observer=Watching())
    done = resume("k", host(lab, registry, width=2))
    assert {record.step.step_id: record.step.success for record in recorded(done)} == {"a": True, "b": False}
    assert replay(done, registry).matched


def test_a_call_that_is_missing_among_others_is_made_and_they_are_not(lab: Lab) -> None:
    asked: list[int] = []

    async def ask(n: int) -> int:
        asked.append(n)
        # The second is still under way when the others are answered.
        await asyncio.sleep(0.2 if n == 1 else 0)
        return n

    async def gather(ctx: Context) -> list[int]:
        return list(await asyncio.gather(*(ctx.external("ask", ask, n) for n in range(5))))

    killed(lab, flow(step("a", "s")), skills(s=gather), 5)
    before = list(asked)
    done = resume("k", host(lab, skills(s=gather)))
    assert sorted(before) == [0, 1, 2, 3, 4]
    assert asked[len(before) :] == [1]
    assert replay(done, skills(s=gather)).matched


def test_a_run_that_is_called_like_a_resumption_is_none(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f").close()
    world.broken = set()
    lab.record(chain("x"), world.registry, run_id="f.r1").close()
    assert latest(lab.store, "f") == "f"
    assert resume("f", host(lab, world.registry)).run_id == "f.r2"
    with pytest.raises(StoreError, match=r"no recording f\.r9"):
        resume("f.r9", host(lab, world.registry))


def test_a_resumption_that_was_set_apart_leaves_no_gap(lab: Lab, world: World) -> None:
    world.broken = {"b"}
    lab.record(ABC, world.registry, run_id="f").close()
    resume("f", host(lab, world.registry)).close()
    world.broken = set()
    resume("f", host(lab, world.registry)).close()
    quarantine(lab.store, "f.r1", "a reason")
    assert resume("f", host(lab, world.registry)).run_id == "f.r2"


def test_from_a_checkpoint_and_killed_while_it_carries_over_it_carries_no_more(lab: Lab, world: World) -> None:
    store = MemoryCheckpointStore()
    lab.record(LONG, world.registry, run_id="f", checkpoints=store).close()
    version = store.outputs("f")[0].version
    with dying_after(1):
        resume("f", host(lab, world.registry, saving=Saving(store)), Terms(checkpoint=version))
    world.ran.clear()
    done = resume("f.r1", host(lab, world.registry))
    assert done.run_id == "f.r1"
    assert world.ran == ["b", "c", "d"]


def test_recovering_judges_no_step_that_was_not_begun(lab: Lab, world: World) -> None:
    steps = [ABC["steps"][0], {**ABC["steps"][1], "estimated_cost_cents": 500}]
    killed(lab, flow(*steps), world.registry, 4)
    done = recover("k", host(lab, SkillRegistry()))
    assert done.statement.status == "interrupted"
    assert [record.step.step_id for record in recorded(done)] == ["a"]


def test_a_step_that_ends_after_a_stop_is_compared_too(lab: Lab) -> None:
    folder, released = lab.store.directory, threading.Event()
    value = [1]

    def slow(ctx: Context) -> int:
        assert released.wait(10)
        return value[0]

    def quick(ctx: Context) -> int:
        write_stop(folder, "stop", "enough")
        return 1

    class Watching:
        def step(self, data: StepData, _: Any) -> None:
            if data.error_code == "EMERGENCY_STOP":
                released.set()

        def note(self, text: str) -> None:
            """Nothing to note."""

    spec = flow(step("a", "slow"), step("b", "quick"), step("c", "quick", depends_on=["b"]))
    registry = skills(slow=slow, quick=quick)
    stopped = lab.record(spec, registry, concurrency=2, controls=Controls(folder), observer=Watching())
    assert [record.step.step_id for record in recorded(stopped)] == ["b", "c", "a"]
    lift(folder)
    assert replay(stopped, registry).matched
    value[0] = 999
    divergence = replay(stopped, registry).divergence
    assert divergence
    assert (divergence.step_id, divergence.actual) == ("a", 999)


def test_a_run_that_has_ended_says_so_whatever_became_of_its_checkpoint(
    lab: Lab, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryCheckpointStore()
    lab.record(ABC, world.registry, run_id="f", checkpoints=store).close()

    def gone(*_: object) -> Any:
        raise StoreError("the place is gone", hint="bring it back")

    monkeypatch.setattr(MemoryCheckpointStore, "load", gone)
    assert resume("f", host(lab, world.registry, saving=Saving(store))).run_id == "f"
    killed(lab, ABC, world.registry, 7)
    with pytest.raises(StoreError) as refused:
        resume("k", host(lab, world.registry, saving=Saving(store)))
    assert refused.value.hint == "bring it back; or go on from the file alone: --from-file"


def test_a_run_that_ends_begins_nothing_more_for_having_been_under_way_in_another(lab: Lab, world: World) -> None:
    steps = [step(name, "s", inputs={"name": name}) for name in "ab"]
    # Killed while b was under way; a is made again, by another version of its skill, and fails.
    killed(lab, flow(*steps), world.registry, 5)
    world.broken = {"a"}
    done = resume("k", host(lab, skills("2", s=world.skill)), Terms(accepted=("code",)))
    assert (done.run_id, done.statement.status) == ("k.r1", "failed")
    assert [record.step.step_id for record in recorded(done)] == ["a"]


def test_the_policy_that_somebody_gives_stays_as_it_is(lab: Lab) -> None:
    registry, policy = SkillRegistry(), Policy()
    registry.skill("s", mutating=True)(lambda _: 1)
    recording = lab.record(flow(step("a", "s", idempotency_key="k")), registry, policy=policy)
    assert recording.start.policy["mutating"] == ["s"]
    assert policy.mutating == set()


@pytest.mark.parametrize("mode", ["virtual", "block"])
def test_a_killed_run_goes_on_in_its_own_file_under_the_guard_it_began_with(lab: Lab, mode: str) -> None:
    registry = skills(one=lambda _: 1, other=lambda _: time.time())
    run_id = killed(lab, flow(step("a", "one"), step("b", "other")), registry, after=2, guard=mode)
    with resume(run_id, host(lab, registry)) as resumed:
        assert (resumed.run_id, resumed.start.policy["guard"]) == (run_id, mode)
        assert resumed.statement.status == ("completed" if mode == "virtual" else "failed")
        assert replay(resumed, registry).matched
