"""The replayer: matched where all is alike, else the outermost cause and its place; never green for less."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw, structs

from golden import Recording
from golden.canonical import canonical_bytes, decode, derive_seed, output_hash
from golden.errors import TamperedError, UsageError
from golden.event import Data, RunEnd, RunStart, StepData
from golden.keyring import Keyring
from golden.recorder import open_recorder
from golden.store import GoldenFile
from replay import Context, Divergence, Replay, SkillRegistry, Spec, record, replay
from replay.frames import Failure
from tests import runs
from tests.unit.replay.conftest import ROOT, Lab, Skill, def_line, effects, flow, here, records, skills, step

Change = Callable[[Data], Data | None]


def forged(lab: Lab, recording: Recording, change: Change) -> Recording:
    """Return the recording with each event changed (None: left out), signed and sealed as if it had happened."""
    run_id = f"forged-{len(lab.opened)}"
    with open_recorder(lab.store, run_id) as recorder:
        for event in recording.events():
            data = change(event.data)
            if data is not None:
                recorder.write(data, event.timing.duration_us if event.timing else None, at=event.timestamp)
        recorder.seal()
    lab.opened.append(Recording.open(lab.store.file(run_id).path, lab.keyring))
    return lab.opened[-1]


def changing(form: type[Data], **members: Any) -> Change:
    """Return a change of these members of each event of one form."""
    return lambda data: structs.replace(data, **members) if isinstance(data, form) else data


def at(function: Skill, offset: int = 0) -> str:
    return here(def_line(function) + offset, __file__)


def diverged(answer: Replay) -> Divergence:
    assert (answer.verdict, answer.matched, answer.problem) == ("diverged", False, None)
    assert answer.divergence is not None
    return answer.divergence


def refused(answer: Replay) -> tuple[str, str]:
    assert (answer.verdict, answer.matched, answer.divergence) == ("refused", False, None)
    assert answer.problem is not None
    assert answer.hint is not None
    return answer.problem, answer.hint


def counts(answer: Replay) -> tuple[int, int, int]:
    return answer.steps_recorded, answer.steps_compared, answer.steps_answered


def numbers(ctx: Context) -> Any:
    return {"n": ctx.inputs["n"], "rows": [ctx.inputs["n"], 2]}


def doubles(ctx: Context) -> Any:
    return ctx.inputs["n"] * 2


def draws(ctx: Context) -> Any:
    return [ctx.seed, ctx.random.random(), str(ctx.uuid4()), ctx.now().isoformat()]


def fails(ctx: Context) -> Any:
    raise ValueError("no")


def spends(ctx: Context) -> Any:
    ctx.spend(3)
    return 1


THREE = flow(
    step("a", "numbers", inputs={"n": "${inputs.n}"}),
    step("b", "doubles", inputs={"n": "${a.rows.0}"}),
    step("c", "draws", depends_on=["b"]),
    result="${b}",
)


def three(**others: Skill) -> SkillRegistry:
    return skills(**{"numbers": numbers, "doubles": doubles, "draws": draws, **others})


@pytest.fixture
def recorded(lab: Lab) -> Recording:
    """A recording of three steps, each of another kind."""
    return lab.record(THREE, three(), inputs={"n": 5})


# Matched


def test_unchanged_run_matches_and_counts_what_it_compared(recorded: Recording) -> None:
    answer = replay(recorded, three())
    assert answer.matched
    assert counts(answer) == (3, 3, 0)
    assert (answer.divergence, answer.problem, answer.hint, answer.failure, answer.notes) == (
        None,
        None,
        None,
        None,
        [],
    )
    assert (answer.run_id, answer.spec_source) == ("r-1", "from the recording")


def test_recording_may_be_replayed_any_number_of_times(recorded: Recording) -> None:
    assert [replay(recorded, three()).verdict for _ in range(3)] == ["matched"] * 3


def files(lab: Lab) -> dict[str, tuple[int, int]]:
    stats = {path.name: path.stat() for path in lab.store.directory.iterdir()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def test_replay_writes_nothing(lab: Lab, recorded: Recording) -> None:
    before = files(lab)
    replay(recorded, three())
    replay(recorded, three(doubles=fails))
    assert files(lab) == before


def test_current_spec_that_is_the_recorded_one_matches_and_is_named(recorded: Recording) -> None:
    answer = replay(recorded, three(), Spec(dict(reversed(list(THREE.items()))), source="specs/flow.json"))
    assert answer.matched
    assert answer.spec_source == "current specs/flow.json"


def test_failed_recording_that_fails_alike_is_matched(lab: Lab) -> None:
    spec = flow(step("a", "s"), step("b", "fails"), step("c", "s"))
    registry = skills(s=lambda _: 1, fails=fails)
    answer = replay(lab.record(spec, registry), registry)
    assert answer.matched
    assert counts(answer) == (2, 2, 0)


# Each cause, with its place


@pytest.mark.parametrize(
    "document, path, step_id, index, kind, expected, actual",
    [
        ({**THREE, "version": "2"}, "/version", None, None, "added", None, "2"),
        ({**THREE, "metadata": {}}, "/metadata", None, None, "added", None, {}),
        ({**THREE, "result": "${c}"}, "/result", None, None, "changed", "${b}", "${c}"),
        ({key: THREE[key] for key in ("id", "steps")}, "/result", None, None, "removed", "${b}", None),
        (
            {**THREE, "steps": [*THREE["steps"][:2], {**THREE["steps"][2], "depends_on": ["a"]}]},
            "/steps/2/depends_on/0",
            "c",
            2,
            "changed",
            "b",
            "a",
        ),
    ],
)
def test_changed_spec_is_named_and_nothing_runs(  # noqa: PLR0917  one parameter per column
    lab: Lab,
    recorded: Recording,
    document: dict[str, Any],
    path: str,
    step_id: str | None,
    index: int | None,
    kind: Any,
    expected: Any,
    actual: Any,
) -> None:
    def never(ctx: Context) -> Any:
        pytest.fail("a spec divergence ends the replay before any step")

    answer = replay(recorded, skills(numbers=never, doubles=never, draws=never), document)
    assert diverged(answer) == Divergence("spec", step_id, index, path, expected, actual, None, kind)
    assert counts(answer) == (3, 0, 0)
    assert answer.spec_source == "current spec"


def test_spec_that_names_a_missing_skill_is_a_spec_divergence_first(recorded: Recording) -> None:
    document = {**THREE, "steps": [*THREE["steps"], step("d", "nobody")]}
    found = diverged(replay(recorded, three(), document))
    assert (found.cause, found.step_id, found.path, found.kind) == ("spec", "d", "/steps/3", "added")


def test_recording_whose_spec_is_not_that_of_its_hash_cannot_hide_it(lab: Lab, recorded: Recording) -> None:
    other = canonical_bytes({**THREE, "steps": [*THREE["steps"], step("d", "draws")]})
    found = diverged(replay(forged(lab, recorded, changing(RunStart, spec=Raw(other))), three()))
    assert found.cause == "spec"


def test_other_base_seed_in_the_header_is_a_seed_divergence_at_the_first_step(lab: Lab, recorded: Recording) -> None:
    found = diverged(replay(forged(lab, recorded, changing(RunStart, seed=8)), three()))
    assert found == Divergence("seed", "a", 0, "", derive_seed(7, 0), derive_seed(8, 0))


def test_other_seed_of_one_step_is_a_seed_divergence_there(lab: Lab, recorded: Recording) -> None:
    def change(data: Data) -> Data:
        return structs.replace(data, seed=99) if isinstance(data, StepData) and data.step_id == "c" else data

    answer = replay(forged(lab, recorded, change), three())
    assert diverged(answer) == Divergence("seed", "c", 2, "", 99, derive_seed(7, 2))
    assert counts(answer) == (3, 2, 0)


def test_other_spending_is_a_budget_divergence_at_the_skill(lab: Lab) -> None:
    def spends_more(ctx: Context) -> Any:
        ctx.spend(4)
        return 1

    assert lab.diverges(spends, spends_more) == Divergence("budget", "a", 0, "/cost_cents", 3, 4, at(spends_more))


def test_other_budget_snapshot_of_a_step_is_a_budget_divergence(lab: Lab) -> None:
    recording = lab.run(spends)
    snapshot = structs.replace(records(recording)[0].step.budget_snapshot, step_ceiling_cents=99)
    found = diverged(lab.replay(forged(lab, recording, changing(StepData, budget_snapshot=snapshot)), spends))
    path = "/budget_snapshot/step_ceiling_cents"
    assert found == Divergence("budget", "a", 0, path, 99, 100, at(spends))


def test_other_total_cost_is_a_budget_divergence_of_the_run(lab: Lab) -> None:
    recording = forged(lab, lab.run(spends), changing(RunEnd, total_cost_cents=4))
    assert diverged(lab.replay(recording, spends)) == Divergence("budget", None, None, "/total_cost_cents", 4, 3)


def test_step_that_the_recording_lacks_is_a_step_divergence(lab: Lab, recorded: Recording) -> None:
    def without_b(data: Data) -> Data | None:
        return None if isinstance(data, StepData) and data.step_id == "b" else data

    found = diverged(replay(forged(lab, recorded, without_b), three()))
    assert found == Divergence("step", "c", 2, "", "c", "b")


def test_step_that_the_recording_lacks_at_its_end_is_a_step_divergence(lab: Lab, recorded: Recording) -> None:
    def without_c(data: Data) -> Data | None:
        return None if isinstance(data, StepData) and data.step_id == "c" else data

    answer = replay(forged(lab, recorded, without_c), three())
    assert diverged(answer) == Divergence("step", "c", 2, "", None, "c", kind="added")
    assert answer.steps_compared == 2


def test_renamed_step_is_a_step_divergence(lab: Lab, recorded: Recording) -> None:
    def rename(data: Data) -> Data:
        return structs.replace(data, step_id="z") if isinstance(data, StepData) and data.step_id == "b" else data

    assert diverged(replay(forged(lab, recorded, rename), three())) == Divergence("step", "z", 1, "", "z", "b")


def test_recorded_step_that_is_left_over_is_a_step_divergence(lab: Lab, recorded: Recording) -> None:
    extra = structs.replace(records(recorded)[2].step, index=3, step_id="d")
    events = [event.data for event in recorded.events()]
    started = recorded.timestamp
    with open_recorder(lab.store, "longer") as recorder:
        recorder.write(events[0], at=started)
        for data in (*events[1:-1], extra):
            recorder.write(data, 1)
        recorder.write(events[-1])
        recorder.seal()
    with Recording.open(lab.store.file("longer").path, lab.keyring) as recording:
        assert diverged(replay(recording, three())) == Divergence("step", "d", 3, "", "d", None, kind="removed")


@pytest.mark.parametrize("member", ["steps_completed", "steps_total"])
def test_other_number_of_steps_at_the_end_is_a_step_divergence(lab: Lab, recorded: Recording, member: str) -> None:
    found = diverged(replay(forged(lab, recorded, changing(RunEnd, **{member: 9})), three()))
    assert found == Divergence("step", None, None, f"/{member}", 9, 3)


@pytest.mark.parametrize(
    "changed, path, kind, expected, actual",
    [
        ({"n": 6}, "/n", "changed", 5, 6),
        ({"n": 5.0}, "/n", "changed", 5, 5.0),
        ({"n": "5"}, "/n", "changed", 5, "5"),
        ({"m": None}, "/m", "added", None, None),
    ],
)
def test_other_run_inputs_are_named_before_anything_runs(
    recorded: Recording, changed: dict[str, Any], path: str, kind: str, expected: Any, actual: Any
) -> None:
    answer = replay(recorded, three(), inputs=changed)
    found = diverged(answer)
    assert (found.cause, found.step_id, found.path, found.kind) == ("inputs", None, path, kind)
    assert canonical_bytes([found.expected, found.actual]) == canonical_bytes([expected, actual])
    assert answer.steps_compared == 0


def test_run_inputs_given_again_match_and_those_left_out_are_the_recorded_ones(recorded: Recording) -> None:
    assert replay(recorded, three(), inputs={"n": 5}).matched
    assert replay(recorded, three(), inputs={}).matched


def test_run_inputs_that_no_recording_can_hold_are_refused(recorded: Recording) -> None:
    assert "is a set" in refused(replay(recorded, three(), inputs={"n": {1}}))[0]


def test_volatile_run_inputs_may_be_others(lab: Lab) -> None:
    recording = lab.record(THREE, three(), inputs={"n": 5, "at": "noon"}, volatile=["/inputs/at"])
    assert replay(recording, three(), inputs={"at": "midnight"}).matched
    assert diverged(replay(recording, three(), inputs={"n": 6})).path == "/n"


def test_other_inputs_of_a_step_are_named_with_step_and_place(lab: Lab, recorded: Recording) -> None:
    def change(data: Data) -> Data:
        if isinstance(data, StepData) and data.step_id == "b":
            return structs.replace(data, inputs=Raw(b'{"n":null}'), input_hash=output_hash({"n": None}))
        return data

    answer = replay(forged(lab, recorded, change), three())
    assert diverged(answer) == Divergence("inputs", "b", 1, "/n", None, 5)
    assert answer.steps_compared == 1


def test_other_skill_version_is_a_skill_divergence_before_the_skill_runs(lab: Lab) -> None:
    def never(ctx: Context) -> Any:
        pytest.fail("another version is not run")

    recording = lab.run(lambda _: 1)
    answer = replay(recording, skills("2", s=never))
    assert diverged(answer) == Divergence("skill", "a", 0, "/skill_version", "1", "2", at(never))
    assert counts(answer) == (1, 0, 0)


def test_changed_call_is_an_effect_divergence_at_the_line_that_asks(lab: Lab) -> None:
    def asks(ctx: Context) -> Any:
        return ctx.external("get", lambda _: 1, {"page": None})

    def asks_otherwise(ctx: Context) -> Any:
        return ctx.external("get", lambda _: 1, {})

    found = lab.diverges(asks, asks_otherwise)
    expected = ("effect", "a", 0, "/effects/0/args/0/page", None, None, at(asks_otherwise, 1))
    assert (
        found.cause,
        found.step_id,
        found.index,
        found.path,
        found.expected,
        found.actual,
        found.location,
    ) == expected


def test_argument_left_out_of_a_call_is_told_from_one_that_is_null(lab: Lab) -> None:
    found = lab.diverges(
        lambda ctx: ctx.external("get", lambda _: 1, {"page": None}), lambda ctx: ctx.external("get", lambda _: 1, {})
    )
    assert found.kind == "removed"


def test_call_added_or_dropped_has_that_kind(lab: Lab) -> None:
    def asks(ctx: Context) -> Any:
        ctx.external("get", lambda: 1)

    assert lab.diverges(asks, lambda _: None).kind == "removed"
    assert lab.diverges(lambda _: None, asks).kind == "added"


def test_failure_on_one_side_only_is_an_error_divergence_at_the_line_that_raised(lab: Lab) -> None:
    error = {"code": "EXECUTION_ERROR", "type": "ValueError"}
    assert lab.diverges(lambda _: 1, fails) == Divergence("error", "a", 0, "", None, error, at(fails, 1))

    def succeeds(ctx: Context) -> Any:
        return None

    assert lab.diverges(fails, succeeds) == Divergence("error", "a", 0, "", error, None, at(succeeds))


def test_failure_of_another_type_is_an_error_divergence_and_comes_with_its_frames(lab: Lab) -> None:
    def fails_otherwise(ctx: Context) -> Any:
        return ctx.inputs["absent"]

    answer = lab.replay(lab.run(fails), fails_otherwise)
    location = at(fails_otherwise, 1)
    assert diverged(answer) == Divergence("error", "a", 0, "/type", "ValueError", "KeyError", location)
    assert answer.failure == Failure("KeyError", "'absent'", [(location, "fails_otherwise")])


def test_failure_with_another_message_matches(lab: Lab) -> None:
    def fails_now(ctx: Context) -> Any:
        raise ValueError(time.perf_counter_ns())

    lab.matches(fails_now)


def giving(value: Any) -> Skill:
    return lambda _: value


@pytest.mark.parametrize(
    "was, now, path, kind, expected, actual",
    [
        ({"a": 1}, {"a": 2}, "/a", "changed", 1, 2),
        ({"a": 1}, {"a": 1, "b": None}, "/b", "added", None, None),
        ({"a": 1, "b": None}, {"a": 1}, "/b", "removed", None, None),
        ({"a": 1, "b": None}, {"a": 1, "b": 0}, "/b", "changed", None, 0),
        ({"a": 0}, {"a": None}, "/a", "changed", 0, None),
        ([1], [1, None], "/1", "added", None, None),
        ([1, None], [1], "/1", "removed", None, None),
        (None, {}, "", "changed", None, {}),
        ({"a/b": {"~": [1.0]}}, {"a/b": {"~": [1]}}, "/a~1b/~0/0", "changed", 1.0, 1),
    ],
)
def test_other_output_is_named_with_place_and_kind(
    lab: Lab, was: Any, now: Any, path: str, kind: str, expected: Any, actual: Any
) -> None:
    replayed = giving(now)
    found = lab.diverges(giving(was), replayed)
    assert (found.cause, found.step_id, found.index, found.path, found.kind) == ("output", "a", 0, path, kind)
    assert canonical_bytes([found.expected, found.actual]) == canonical_bytes([expected, actual])
    assert found.location == at(replayed)


def test_output_that_is_not_that_of_its_recorded_hash_is_a_divergence_of_the_whole(lab: Lab) -> None:
    replayed = giving([1])
    recording = forged(lab, lab.run(replayed), changing(StepData, output_hash="0" * 64))
    assert diverged(lab.replay(recording, replayed)) == Divergence("output", "a", 0, "", [1], [1], at(replayed))


def test_first_step_that_differs_is_the_one_named(recorded: Recording) -> None:
    def wrong(ctx: Context) -> Any:
        return "wrong"

    answer = replay(recorded, three(doubles=wrong, draws=wrong))
    assert diverged(answer) == Divergence("output", "b", 1, "", 10, "wrong", at(wrong))
    # The one that differs counts as neither.
    assert counts(answer) == (3, 1, 0)


def test_other_status_is_a_status_divergence_of_the_run(lab: Lab, recorded: Recording) -> None:
    found = diverged(replay(forged(lab, recorded, changing(RunEnd, status="policy_violation")), three()))
    assert found == Divergence("status", None, None, "", "policy_violation", "completed")


def test_other_result_is_a_result_divergence_of_the_run(lab: Lab, recorded: Recording) -> None:
    found = diverged(replay(forged(lab, recorded, changing(RunEnd, result_hash="0" * 64)), three()))
    assert found == Divergence("result", None, None, "", "0" * 64, output_hash(10))


def test_causes_are_named_outermost_first(lab: Lab) -> None:
    def asks_and_spends(ctx: Context) -> Any:
        ctx.external("get", lambda: 1)
        ctx.spend(1)
        return 1

    def fails_and_spends(ctx: Context) -> Any:
        ctx.spend(2)
        raise ValueError

    def differs_and_spends(ctx: Context) -> Any:
        ctx.spend(2)
        return 2

    assert lab.diverges(asks_and_spends, fails_and_spends).cause == "effect"
    assert lab.diverges(spends, fails_and_spends).cause == "error"
    assert lab.diverges(spends, differs_and_spends).cause == "output"


# Refused


def test_nothing_but_answered_steps_is_refused(lab: Lab) -> None:
    spec = flow(step("a", "s", external=True), step("b", "s", external=True))
    answer = replay(lab.record(spec, skills(s=lambda _: 1)), SkillRegistry())
    assert refused(answer)[0] == "every step was answered from the file"
    assert counts(answer) == (2, 0, 2)


def test_answered_step_beside_a_compared_one_matches_and_is_counted_apart(lab: Lab) -> None:
    spec = flow(step("a", "world", external=True), step("b", "s", inputs={"n": "${a}"}))
    recording = lab.record(spec, skills(world=lambda _: time.perf_counter_ns(), s=lambda ctx: ctx.inputs["n"]))
    answer = replay(recording, skills(s=lambda ctx: ctx.inputs["n"]))
    assert answer.matched
    assert counts(answer) == (2, 1, 1)


def test_version_of_an_answered_step_is_not_compared(lab: Lab) -> None:
    spec = flow(step("a", "s", external=True), step("b", "t"))
    registry = skills(t=lambda _: 1)
    registry.skill("s", version="1")(lambda _: 1)
    recording = lab.record(spec, registry)
    later = skills(t=lambda _: 1)
    later.skill("s", version="2")(lambda _: 2)
    assert replay(recording, later).matched


def test_answered_step_with_a_cost_needs_no_skill_at_all(lab: Lab) -> None:
    spec = flow(step("a", "s", external=True, estimated_cost_cents=2), step("b", "t"))
    recording = lab.record(spec, skills(s=lambda _: 1, t=lambda _: 1))
    assert replay(recording, skills(t=lambda _: 1)).matched


def test_step_refused_by_its_budget_does_not_count_as_compared(lab: Lab) -> None:
    recording = lab.record(flow(step("a", "s", estimated_cost_cents=101)), skills(s=lambda _: 1))
    answer = replay(recording, skills(s=lambda _: pytest.fail("was refused")))
    assert refused(answer)[0] == "no step was compared"
    assert counts(answer) == (1, 0, 0)


def test_step_that_spent_too_much_was_run_and_counts_as_compared(lab: Lab) -> None:
    def greedy(ctx: Context) -> Any:
        ctx.spend(101)

    recording = lab.matches(greedy)
    assert recording.statement.status == "budget_exceeded"
    assert lab.replay(recording, greedy).steps_compared == 1


def test_step_whose_inputs_could_not_be_made_is_no_comparison(lab: Lab) -> None:
    spec = flow(step("a", "s", inputs={"n": "${inputs.n.absent}"}))
    registry = skills(s=lambda _: 1)
    recording = lab.record(spec, registry, inputs={"n": {}})
    assert recording.statement.status == "failed"
    assert refused(replay(recording, registry))[0] == "no step was compared"


def test_missing_skill_is_refused_and_the_module_that_recorded_it_is_named(recorded: Recording) -> None:
    registry = skills(numbers=lambda _: pytest.fail("nothing runs"), draws=draws)
    problem, hint = refused(replay(recorded, registry))
    assert problem == f"SKILL_NOT_FOUND: no skill doubles for step b; it was recorded from module {__name__}"
    assert "--skills" in hint


def test_missing_skill_that_no_module_is_known_of_is_refused_too(lab: Lab, recorded: Recording) -> None:
    environment = structs.replace(recorded.start.environment, skills={})
    recording = forged(lab, recorded, changing(RunStart, environment=environment))
    assert "no skill numbers for step a" in refused(replay(recording, SkillRegistry()))[0]


@pytest.mark.parametrize("spec", [None, THREE])
def test_recording_without_a_spec_is_refused(lab: Lab, recorded: Recording, spec: Any) -> None:
    recording = forged(lab, recorded, changing(RunStart, spec=Raw(b"null"), spec_hash=None, spec_id=None))
    answer = replay(recording, three(), spec)
    assert refused(answer)[0] == "the recording has no spec"


def test_recorded_spec_of_a_later_version_is_refused_by_name(lab: Lab, recorded: Recording) -> None:
    document = {**THREE, "later": []}
    change = changing(RunStart, spec=Raw(canonical_bytes(document)), spec_hash=output_hash(document))
    problem, _ = refused(replay(forged(lab, recorded, change), three()))
    assert "later" in problem


@pytest.mark.parametrize("status", ["aborted", "emergency_stopped", "interrupted"])
def test_stopped_run_without_a_whole_step_is_refused(lab: Lab, recorded: Recording, status: str) -> None:
    def change(data: Data) -> Data | None:
        if isinstance(data, RunEnd):
            return structs.replace(data, status=status, steps_completed=0, result_hash=None)
        return None if isinstance(data, StepData) else data

    answer = replay(forged(lab, recorded, change), three())
    assert refused(answer)[0] == "no step was compared"
    assert counts(answer) == (0, 0, 0)


def test_spec_given_that_is_none_is_a_usage_error(recorded: Recording) -> None:
    with pytest.raises(UsageError, match="steps"):
        replay(recorded, three(), {"id": "flow"})


# Stopped from outside


@pytest.mark.parametrize("status", ["aborted", "emergency_stopped", "interrupted"])
def test_stopped_run_is_compared_up_to_its_last_whole_step_and_says_so(
    lab: Lab, recorded: Recording, status: str
) -> None:
    def change(data: Data) -> Data | None:
        if isinstance(data, RunEnd):
            return structs.replace(data, status=status, steps_completed=2, result_hash=None)
        return None if isinstance(data, StepData) and data.step_id == "c" else data

    recording = forged(lab, recorded, change)
    answer = replay(recording, three(draws=lambda _: pytest.fail("was never completed")))
    assert answer.matched
    assert counts(answer) == (2, 2, 0)
    assert answer.notes == [f"the run was stopped from outside ({status}): replayed up to its last whole step"]
    assert diverged(replay(recording, three(doubles=lambda _: 11))).step_id == "b"


def test_run_stopped_after_its_last_step_matches_whatever_its_status(lab: Lab, recorded: Recording) -> None:
    answer = replay(forged(lab, recorded, changing(RunEnd, status="aborted", result_hash=None)), three())
    assert answer.matched
    assert answer.steps_compared == 3


# Volatile


def test_volatile_output_passes_the_recorded_value_on(lab: Lab) -> None:
    spec = flow(step("a", "clock"), step("b", "doubles", inputs={"n": "${a.at}"}), step("c", "seen", depends_on=["a"]))
    registry = skills(clock=lambda _: {"at": time.perf_counter_ns(), "n": 1}, doubles=doubles, seen=seen)
    recording = lab.record(spec, registry, volatile=["/steps/a/output/at"])
    answer = replay(recording, registry)
    assert answer.matched
    assert answer.notes == []
    changed = skills(clock=lambda _: {"at": time.perf_counter_ns(), "n": 2}, doubles=doubles, seen=seen)
    found = diverged(replay(recording, changed))
    assert (found.step_id, found.path, found.expected, found.actual) == ("a", "/n", 1, 2)


def seen(ctx: Context) -> Any:
    return ctx.outputs


def test_volatile_place_that_is_gone_altogether_still_matches(lab: Lab) -> None:
    recording = lab.run(lambda _: {"at": 1}, volatile=["/steps/a/output/at"])
    assert lab.replay(recording, lambda _: {}).matched


def test_volatile_rules_that_matched_nothing_are_noted(lab: Lab) -> None:
    rules = ["/steps/a/output/gone", "/steps/a/output/at", "/inputs/none", "/steps/a/effects/get/result/id"]
    recording = lab.run(ask_and_tell, volatile=rules)
    answer = lab.replay(recording, ask_and_tell)
    assert answer.matched
    assert answer.notes == ["volatile paths that matched nothing: /steps/a/output/gone, /inputs/none"]


def ask_and_tell(ctx: Context) -> Any:
    return {"at": ctx.external("get", lambda: {"id": 5})["id"]}


# Code


def test_code_that_changed_without_changing_results_is_only_noted(lab: Lab, recorded: Recording) -> None:
    old = recorded.start.environment
    changed = structs.replace(old.skills["doubles"], code_hash="0" * 64)
    environment = structs.replace(old, skills={**old.skills, "doubles": changed})
    answer = replay(forged(lab, recorded, changing(RunStart, environment=environment)), three())
    assert answer.matched
    assert answer.notes == ["the code of doubles changed since it was recorded, its results did not"]


def test_environment_is_not_compared(lab: Lab, recorded: Recording) -> None:
    environment = structs.replace(recorded.start.environment, python="2.7", platform="x", hash_seed="5", env=["X"])
    answer = replay(forged(lab, recorded, changing(RunStart, environment=environment)), three())
    assert (answer.verdict, answer.notes) == ("matched", [])


# Budget


def test_ceilings_are_the_recorded_ones_whatever_the_defaults(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(ctx: Context) -> Any:
        ctx.spend(500)
        return 1

    recording = lab.record(flow(step("a", "s")), skills(s=greedy), step_ceiling_cents=500, workflow_ceiling_cents=500)
    assert recording.statement.status == "completed"
    monkeypatch.setenv("DEFAULT_STEP_CEILING_CENTS", "1")
    assert lab.replay(recording, greedy).matched
    lower = lab.record(flow(step("a", "s")), skills(s=greedy), step_ceiling_cents=499)
    assert lower.statement.status == "budget_exceeded"
    assert lab.replay(lower, greedy).matched


# Watching


class Watching:
    def __init__(self) -> None:
        self.seen: list[tuple[str, bool, str | None, str | None]] = []

    def step(self, data: StepData, divergence: Divergence | None, failure: Failure | None) -> None:
        cause, kind = divergence.cause if divergence else None, failure.type if failure else None
        self.seen.append((data.step_id, data.success, cause, kind))


def test_observer_is_told_each_step_in_order(recorded: Recording) -> None:
    observer = Watching()
    replay(recorded, three(), observer=observer)
    assert observer.seen == [("a", True, None, None), ("b", True, None, None), ("c", True, None, None)]


def test_observer_is_told_the_step_that_diverges_and_none_after_it(recorded: Recording) -> None:
    observer = Watching()
    replay(recorded, three(doubles=fails), observer=observer)
    assert observer.seen == [("a", True, None, None), ("b", False, "error", "ValueError")]


# The file changes


@pytest.mark.parametrize("how", ["flipped", "shorter"])
def test_file_changed_between_opening_and_its_first_step_is_tampered(lab: Lab, recorded: Recording, how: str) -> None:
    path = lab.store.file("r-1").path
    held = path.read_bytes()
    changed = held.replace(b'"output":10', b'"output":11') if how == "flipped" else held[:-20]
    assert changed != held
    with path.open("r+b") as file:
        file.write(changed)
        file.truncate()
    ran: list[int] = []
    with pytest.raises(TamperedError, match="changed while it was being read"):
        replay(recorded, three(numbers=lambda _: ran.append(1)))
    assert ran == []


def test_file_put_in_its_place_changes_nothing(lab: Lab, recorded: Recording) -> None:
    path = lab.store.file("r-1").path
    path.unlink()
    path.write_bytes(b"another file")
    assert replay(recorded, three()).matched


def test_file_changed_while_its_steps_run_is_tampered(lab: Lab) -> None:
    rows = "x" * (3 << 20)
    spec = flow(step("a", "s"), step("b", "s"), step("c", "s"))
    recording = lab.record(spec, skills(s=lambda _: rows))
    path = lab.store.file("r-1").path

    def changes(ctx: Context) -> Any:
        with path.open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(b"9")
        return rows

    with pytest.raises(TamperedError):
        replay(recording, skills(s=changes))


# Event loops


def test_async_skills_inside_a_running_loop_are_refused_before_anything_happens(lab: Lab, recorded: Recording) -> None:
    async def skill(ctx: Context) -> Any:
        pytest.fail("nothing runs")

    def never(ctx: Context) -> Any:
        pytest.fail("nothing runs")

    async def main() -> None:
        with pytest.raises(UsageError, match="async skills cannot run inside a running event loop"):
            replay(recorded, skills(numbers=never, doubles=never, draws=skill))
        with pytest.raises(UsageError, match="async skills cannot run inside a running event loop"):
            record(flow(step("a", "s")), skills(s=skill), store=lab.store, run_id="none")

    asyncio.run(main())
    assert not lab.store.file("none").path.exists()


def test_plain_skills_replay_inside_a_running_loop(recorded: Recording) -> None:
    async def main() -> Replay:
        return replay(recorded, three())

    assert asyncio.run(main()).matched


# Resumed


@pytest.mark.parametrize("name", ["good-resumed-same-key", "good-resumed-new-key"])
def test_resumed_recording_is_read_as_one_run(name: str) -> None:
    folder = ROOT / "fixtures/recordings/v1"
    with Recording.open(folder / f"{name}.steps.jsonl", runs.keyring()) as recording:
        assert recording.is_resumed
        found = records(recording)
        assert [record.step.step_id for record in found] == ["fetch", "shape", "report"]
        assert [[effect.name for effect in record.effects] for record in found] == [["http.get"], [], []]
        ran: list[str] = []

        def fetch(ctx: Context) -> Any:
            ran.append("fetch")
            rows = ctx.external("http.get", lambda *_, **__: None, "https://weather.example/seattle", days=3)
            ctx.spend(2)
            return {"fetched_at": ctx.now().isoformat(), "rows": rows}

        registry = SkillRegistry()
        for skill_id, function in (("weather.fetch", fetch), ("weather.shape", fetch), ("weather.report", fetch)):
            registry.skill(skill_id)(function)
        answer = replay(recording, registry)
        # Inputs, seed, effect, output, cost and the policy's version are alike; the second step has the wrong skill.
        assert ran == ["fetch", "fetch"]
        found_first = diverged(answer)
        assert (found_first.cause, found_first.step_id, answer.steps_compared) == ("effect", "shape", 1)


def test_step_that_a_resumption_did_again_is_compared_once_as_it_was_last(lab: Lab) -> None:
    def asks(ctx: Context) -> Any:
        return ctx.external("get", lambda: 1)

    spec = flow(step("a", "numbers", inputs={"n": 1}), step("b", "asks"))
    registry = skills(numbers=numbers, asks=asks)
    recording = lab.record(spec, registry)
    start, first, effect, second, end = (event.data for event in recording.events())
    (asked,) = effects(recording)
    stale = structs.replace(asked, result=Raw(b"0"), result_hash=output_hash(0))
    # Away from the ledger, which knows no file that its recorder did not write.
    folder = lab.store.directory / "forged"
    folder.mkdir()
    keyring = Keyring(runs.ACTIVE)
    file: GoldenFile = runs.forge(folder, "resumed", [start, first, stale, runs.resume(1), effect, second, end])
    with Recording.open(file, keyring) as resumed:
        assert [decode(record.effects[0].result) for record in records(resumed)[1:]] == [1]
        answer = replay(resumed, registry)
        assert answer.matched
        assert counts(answer) == (2, 2, 0)
