"""Steps side by side, for any spec: what is recorded is what one by one would have come to, and replays so."""

import asyncio
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from golden import Recording
from golden.event import EffectData, StepData
from golden.recording import Record
from golden.verdict import verify
from replay import Context, SkillRegistry, Spec, record, replay
from replay.codes import ENDING
from replay.live import LiveEffects
from tests import independent_verifier, runs

FEW = settings(max_examples=120)
# Longer than the world takes for any answer, shorter than anybody notices.
PAUSE_MS = 4
WIDTHS = st.sampled_from([3, 2, 4, 1])
ALWAYS = 99


class World:
    """What the steps of one run ask: it takes its time, and takes note of who asks and what is recorded by then."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.most = 0
        self._turns = Counter[str]()
        self._lock = threading.Lock()
        self._at_work: set[str] = set()

    def begins(self, name: str) -> int:
        """Take note that an attempt begins, and say which."""
        with self._lock:
            self.log.append(("begins", name))
            self._at_work.add(name)
            self.most = max(self.most, len(self._at_work))
            self._turns[name] += 1
            return self._turns[name] - 1

    def step(self, data: StepData, _: object) -> None:
        """Take note of a step that was recorded, as an observer."""
        with self._lock:
            self.log.append(("recorded", data.step_id))
            self._at_work.discard(data.step_id)

    def note(self, text: str) -> None:
        """Nothing that is said of the run as a whole matters."""


def waits(ms: int) -> int:
    time.sleep(ms / 1000)
    return ms


async def waits_async(ms: int) -> int:
    await asyncio.sleep(ms / 1000)
    return ms


def registry(world: World) -> SkillRegistry:
    """Return skills that ask, wait, spend, and fail in as many attempts as their inputs say."""
    made = SkillRegistry()

    @made.skill("works")
    def works(ctx: Context) -> Any:
        turn = ctx.external("begins", world.begins, ctx.inputs["name"])
        ctx.external("waits", waits, ctx.inputs["ms"])
        return comes_to(ctx, turn)

    @made.skill("awaits")
    async def awaits(ctx: Context) -> Any:
        turn = ctx.external("begins", world.begins, ctx.inputs["name"])
        await asyncio.gather(*(ctx.external("waits", waits_async, ms) for ms in (ctx.inputs["ms"], 0)))
        return comes_to(ctx, turn)

    return made


def comes_to(ctx: Context, turn: int) -> Any:
    for cents in ctx.inputs["spends"]:
        ctx.spend(cents)
    if turn < ctx.inputs["fails"]:
        raise ValueError(ctx.inputs["name"])
    drawn = [ctx.random.randrange(1 << 30), str(ctx.uuid4())]
    at = {"at": str(ctx.now())} if ctx.inputs["dated"] else {}
    return {"n": len(ctx.outputs) + turn, "drawn": drawn, "seen": [ctx.inputs, ctx.outputs], **at}


class Plan(NamedTuple):
    """A spec, and the ceilings under which it is run."""

    document: dict[str, Any]
    step_ceiling: int
    workflow_ceiling: int

    @property
    def spec(self) -> Spec:
        return Spec(self.document)

    def ceiling(self, step_id: str) -> int:
        """Return what a step may cost."""
        own = next(step for step in self.spec.steps if step.id == step_id).max_cost_cents
        return self.step_ceiling if own is None else own

    def needs(self, step_id: str) -> set[str]:
        """Return the steps that one depends on."""
        spec = self.spec
        return next(needs for step, needs in zip(spec.steps, spec.dependencies, strict=True) if step.id == step_id)


@st.composite
def plans(draw: st.DrawFn, *, well: bool = False) -> Plan:
    """Specs whose steps need any of those before them, wait, fail and spend, near their ceilings and that of the run.

    With `well` each succeeds in the end, and the money is enough for all, whichever comes first: often just enough.
    """
    names = [f"s{n}" for n in range(draw(st.sampled_from([6, 5, 7, 4, 3, 2, 1])))]
    steps, enough = [], 0
    for n, name in enumerate(names):
        others = st.lists(st.sampled_from(names[:n]), unique=True, max_size=1) if n else st.just([])
        on_error = draw(st.sampled_from(["continue", "abort", "retry", "continue"]))
        more = draw(st.integers(0, 2))
        tried = {"max_retries": more} | ({} if on_error == "retry" and draw(st.booleans()) else {"retry": True})
        again = tried if on_error == "retry" or draw(st.booleans()) else {}
        fails = draw(st.integers(0, more if again else 0) if well else st.sampled_from([0] * 8 + [1, ALWAYS]))
        spends = draw(st.lists(st.integers(0, 4), max_size=2))
        estimate = draw(st.integers(0, 3))
        most = max((fails + 1) * sum(spends), estimate)
        enough += most
        # A ceiling near what is spent, mostly at it or above.
        ceiling = draw(
            st.sampled_from([most, most + 1, most + 2, None] if well else [most, most + 1, 9, most - 1, None])
        )
        inputs = {
            "name": name,
            "ms": draw(st.sampled_from([3, 2, 1, 0, 5])),
            "fails": fails,
            "spends": spends,
            "dated": not well,
            **{f"of-{other}": f"${{{other}.n}}" for other in draw(others)},
        }
        skill = draw(st.sampled_from(["works", "works", "awaits"]))
        steps.append(
            {"id": name, "skill_id": skill, "inputs": inputs, "depends_on": draw(others), "on_error": on_error}
            | {
                "estimated_cost_cents": estimate,
                "max_cost_cents": None if ceiling is None else max(ceiling, 0),
                **again,
            }
        )
    document = {"id": "flow", "steps": draw(st.permutations(steps))}
    if well:
        return Plan(document, 100, enough + draw(st.sampled_from([1000, 9, 0])))
    return Plan(
        document, draw(st.sampled_from([12, 100, 6, 0])), draw(st.just(1000) | st.integers(enough // 2, enough + 9))
    )


@st.composite
def short_of_money(draw: st.DrawFn) -> Plan:
    """Specs of steps that are all ready at once and spend about all they may, which is more than the run may."""
    ceilings = draw(st.lists(st.integers(1, 6), min_size=3, max_size=7))
    steps = []
    for n, ceiling in enumerate(ceilings):
        inputs = {"name": f"s{n}", "ms": draw(st.integers(1, 3)), "fails": 0, "dated": False}
        spends = [ceiling - draw(st.sampled_from([0, 0, 0, 1]))]
        members = {"max_cost_cents": ceiling, "on_error": draw(st.sampled_from(["continue", "abort"]))}
        steps.append({"id": f"s{n}", "skill_id": "works", "inputs": {**inputs, "spends": spends}, **members})
    return Plan({"id": "flow", "steps": steps}, 100, draw(st.integers(max(ceilings), sum(ceilings) - 1)))


ANY = plans() | short_of_money()


class Run(NamedTuple):
    """What was recorded of a plan, and what the world saw of it meanwhile."""

    plan: Plan
    path: Path
    recording: Recording
    world: World

    @property
    def steps(self) -> list[StepData]:
        """The steps in the order in which they ended."""
        return [found.step for found in self.recording.records() if isinstance(found, Record)]


@contextmanager
def recorded(plan: Plan, width: int) -> Iterator[Run]:
    world = World()
    with tempfile.TemporaryDirectory() as folder:
        store = runs.store_in(Path(folder))
        found = record(
            plan.document,
            registry(world),
            store=store,
            run_id="r",
            seed=7,
            step_ceiling_cents=plan.step_ceiling,
            workflow_ceiling_cents=plan.workflow_ceiling,
            concurrency=width,
            observer=world,
        )
        with found as recording:
            event(f"side by side: {world.most}")
            yield Run(plan, store.file("r").path, recording, world)


@pytest.fixture(autouse=True, scope="module")
def _hurried() -> Iterator[None]:
    """Let steps wait before a further attempt as they do, only not for so long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveEffects, "pause", lambda _, request: min(request.delay_ms, PAUSE_MS))
        yield


@FEW
@given(ANY, st.integers(2, 4))
def test_any_run_of_steps_side_by_side_verifies_and_replays_as_matched(plan: Plan, width: int) -> None:
    for at_a_time in (1, width):
        with recorded(plan, at_a_time) as run:
            assert verify(run.path, runs.keyring()).verdict == "intact"
            assert independent_verifier.verdict(run.path, [runs.ACTIVE, runs.RETIRED]) == "intact"
            answer = replay(run.recording, registry(World()), plan.document)
            assert answer.divergence is None
            # Of a run that ran no code there is nothing to compare.
            tried = sum(bool(data.attempts) for data in run.steps)
            assert (answer.verdict, answer.steps_compared) == ("matched" if tried else "refused", tried)


@FEW
@given(plans(well=True), st.integers(2, 4))
def test_a_run_in_which_all_goes_well_is_the_same_at_any_width_but_for_the_order(plan: Plan, width: int) -> None:
    found = []
    for at_a_time in (1, width):
        with recorded(plan, at_a_time) as run:
            end = run.recording.end
            assert end is not None
            assert (end.status, end.steps_completed) == ("completed", len(run.plan.spec.steps))
            calls = {
                each.step.step_id: [(x.attempt, x.call, x.name, bytes(x.args), bytes(x.result)) for x in each.effects]
                for each in run.recording.records()
                if isinstance(each, Record)
            }
            found.append((sorted(map(told, run.steps)), {name: sorted(calls[name]) for name in calls}, end))
    assert found[0] == found[1]


def told(data: StepData) -> tuple[Any, ...]:
    """Return all that a step's event says but for what was spent in the run by then."""
    return (
        data.step_id,
        data.index,
        bytes(data.inputs),
        data.input_hash,
        bytes(data.output),
        data.output_hash,
        data.seed,
        [
            (attempt.delay_ms, attempt.error and (attempt.error.type, attempt.error.message))
            for attempt in data.attempts
        ],
        data.cost_cents,
        data.success,
        data.skill_id,
        data.skill_version,
    )


@FEW
@given(plans(), WIDTHS)
def test_no_step_begins_before_those_it_depends_on_have_ended(plan: Plan, width: int) -> None:
    with recorded(plan, width) as run:
        ended: set[str] = set()
        for line in run.recording.events():
            if isinstance(line.data, EffectData | StepData):
                assert plan.needs(line.data.step_id) <= ended
                assert line.data.step_id not in ended
            if isinstance(line.data, StepData):
                ended.add(line.data.step_id)
        # A line of a call is written when it is answered; so much for when it was asked.
        noted: set[str] = set()
        for what, name in run.world.log:
            assert plan.needs(name) <= noted
            if what == "recorded":
                noted.add(name)
        assert noted == ended


@FEW
@given(ANY, WIDTHS)
def test_there_are_never_more_steps_under_way_than_there_may_be(plan: Plan, width: int) -> None:
    with recorded(plan, width) as run:
        assert run.world.most <= width
        # What is recorded after the step that ended the run was under way beside it.
        after = [n for n, data in enumerate(run.steps) if ends(plan, data)]
        assert not after or len(run.steps) - 1 - after[0] < width


def ends(plan: Plan, data: StepData) -> bool:
    """Whether a step ends its run: by its code, or because nobody said that the run goes on."""
    if data.success or data.skipped:
        return False
    on_error = next(step for step in plan.spec.steps if step.id == data.step_id).on_error
    return data.error_code in ENDING or on_error != "continue"


@FEW
@given(ANY, WIDTHS)
def test_nothing_is_charged_over_a_ceiling_and_all_that_is_charged_adds_up(plan: Plan, width: int) -> None:
    with recorded(plan, width) as run:
        steps, end = run.steps, run.recording.end
        assert end is not None
        for data in steps:
            assert 0 <= data.cost_cents <= plan.ceiling(data.step_id)
            assert data.cost_cents == 0 or data.attempts
        charged = [data.budget_snapshot.accumulated_cost_cents for data in steps]
        assert charged == list(accumulate(data.cost_cents for data in steps))
        assert charged == sorted(charged)
        assert end.total_cost_cents == sum(data.cost_cents for data in steps) <= plan.workflow_ceiling
        ceilings = {(x.budget_snapshot.step_ceiling_cents, x.budget_snapshot.workflow_ceiling_cents) for x in steps}
        assert ceilings <= {(plan.step_ceiling, plan.workflow_ceiling)}


@FEW
@given(plans(), WIDTHS)
def test_a_step_is_skipped_exactly_where_one_that_it_depends_on_failed_or_was_skipped(plan: Plan, width: int) -> None:
    with recorded(plan, width) as run:
        bad: dict[str, str] = {}
        for data in run.steps:
            because = [f"step {name} {how}" for name, how in bad.items() if name in plan.needs(data.step_id)]
            assert (data.skipped is True) == bool(because)
            # The first of them that came to nothing is the one that is named.
            assert (data.because or None) == next(iter(because), None)
            if data.skipped:
                assert (data.attempts, data.success, data.cost_cents, data.error or None) == ([], False, 0, None)
            if not data.success:
                bad[data.step_id] = "was skipped" if data.skipped else "failed"


@FEW
@given(plans(), WIDTHS)
def test_a_run_goes_on_to_its_end_unless_a_step_ended_it_and_ends_as_that_one_says(plan: Plan, width: int) -> None:
    with recorded(plan, width) as run:
        steps, end = run.steps, run.recording.end
        assert end is not None
        failed = [data for data in steps if not data.success]
        ending = next((data for data in steps if ends(plan, data)), None)
        if ending is None:
            assert {data.step_id for data in steps} == {step.id for step in plan.spec.steps}
            assert end.status == ("failed" if failed else "completed")
        else:
            assert end.status == ENDING.get(ending.error_code or "", "failed")
        assert (end.steps_completed, end.steps_total) == (len(steps) - len(failed), len(plan.spec.steps))


@pytest.mark.parametrize("width", range(1, 5))
def test_as_many_steps_are_under_way_as_there_may_be(tmp_path: Path, width: int) -> None:
    met = threading.Barrier(width, timeout=30)
    made = SkillRegistry()

    @made.skill("meets")
    def meets(ctx: Context) -> None:
        ctx.external("others", lambda: bool(met.wait() >= 0))

    steps = [{"id": f"s{n}", "skill_id": "meets", "max_cost_cents": 0} for n in range(3 * width)]
    store = runs.store_in(tmp_path)
    with record({"id": "flow", "steps": steps}, made, store=store, run_id="r", concurrency=width) as recording:
        assert recording.statement.status == "completed"
        assert replay(recording, made).matched
