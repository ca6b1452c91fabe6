"""Resuming: what is recorded is neither run nor paid for again, and what comes of it is what would have come of it."""

from collections.abc import Iterator, Mapping
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
from golden.store import Store
from golden.verdict import verify
from replay import Context, SkillRegistry, replay
from replay.checkpoints.contract import LeaseHeldError
from replay.checkpoints.memory import MemoryCheckpointStore
from replay.controls import Controls, lift, write_stop
from replay.past import recorded
from replay.progress import Saving
from replay.resuming import ChangedError, Terms, fork, latest, recover, resume
from replay.runner import Host
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
