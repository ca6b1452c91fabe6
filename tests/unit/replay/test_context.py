"""Context: all that a step knows, the same in record and replay, and nothing that leaks out of it."""

import random
import uuid
from datetime import UTC, datetime
from typing import Any

from golden.canonical import decode, derive_seed
from replay import Context, replay
from tests.unit.replay.conftest import Lab, flow, only, records, skills, step


def output(recording: Any) -> Any:
    return decode(only(recording).output)


def test_now_is_the_recorded_start_in_utc_and_stays(lab: Lab) -> None:
    recording = lab.matches(lambda ctx: [ctx.now().isoformat(), ctx.now().isoformat(), str(ctx.now().tzinfo)])
    first, second, zone = output(recording)
    assert first == second
    assert datetime.fromisoformat(first) == datetime.fromisoformat(recording.timestamp)
    assert datetime.fromisoformat(first).tzinfo is UTC
    assert zone == "UTC"


def test_seed_is_derived_from_the_runs_seed_and_the_position_of_the_step(lab: Lab) -> None:
    registry = skills(s=lambda ctx: [ctx.seed, ctx.random.random(), ctx.random.getrandbits(64)])
    document = flow(step("b", "s", depends_on=["a"]), step("a", "s"))
    recording = lab.record(document, registry, seed=-12)
    for record in records(recording):
        stream = random.Random(derive_seed(-12, record.step.index))
        seed = derive_seed(-12, record.step.index)
        assert decode(record.step.output) == [seed, stream.random(), stream.getrandbits(64)]
        assert record.step.seed == seed
    assert replay(recording, registry).matched


def test_uuid4_has_a_stream_of_its_own_and_is_a_version_4_uuid(lab: Lab) -> None:
    def with_random(ctx: Context) -> list[str]:
        ctx.random.random()
        return [str(ctx.uuid4()), str(ctx.uuid4())]

    found = output(lab.matches(with_random))
    stream = random.Random(f"{derive_seed(7, 0)}:uuid")
    assert found == [str(uuid.UUID(int=stream.getrandbits(128), version=4)) for _ in range(2)]
    assert {uuid.UUID(text).version for text in found} == {4}
    assert found[0] != found[1]


def test_outputs_are_those_of_its_dependencies_only(lab: Lab) -> None:
    registry = skills(s=lambda ctx: ctx.inputs.get("v", 0), look=lambda ctx: ctx.outputs)
    document = flow(
        step("a", "s", inputs={"v": 1}),
        step("b", "s", inputs={"v": [2]}),
        step("c", "s", inputs={"v": 3}),
        step("d", "s", depends_on=["c"], inputs={"v": 4}),
        step("look", "look", depends_on=["d"], inputs={"x": "${b.0}"}),
    )
    recording = lab.record(document, registry)
    assert decode(records(recording)[-1].step.output) == {"b": [2], "d": 4}


def test_step_without_dependencies_sees_no_outputs(lab: Lab) -> None:
    registry = skills(s=lambda ctx: ctx.outputs)
    recording = lab.record(flow(step("a", "s"), step("b", "s")), registry)
    assert [decode(record.step.output) for record in records(recording)] == [{}, {}]


def test_what_a_skill_does_to_its_inputs_and_outputs_is_seen_nowhere_else(lab: Lab) -> None:
    kept: list[Any] = []

    def make(ctx: Context) -> Any:
        kept.append({"rows": [1, 2]})
        return kept[-1]

    def spoil(ctx: Context) -> Any:
        ctx.inputs["rows"].append(99)
        ctx.inputs["extra"] = 1
        ctx.outputs["make"]["rows"].clear()
        kept[-1]["rows"].append(77)
        return 0

    document = flow(
        step("make", "make"),
        step("spoil", "spoil", inputs={"rows": "${make.rows}", "run": "${inputs.list}"}),
        step("look", "look", inputs={"rows": "${make.rows}", "all": "${make}", "run": "${inputs.list}"}),
    )
    registry = skills(make=make, spoil=spoil, look=lambda ctx: [ctx.inputs, ctx.outputs])
    given = [1]
    recording = lab.record(document, registry, inputs={"list": given})
    rows = {"rows": [1, 2]}
    spoiled, looked = (record.step for record in records(recording)[1:])
    assert decode(spoiled.inputs) == {**rows, "run": [1]}
    assert decode(looked.output) == [{**rows, "all": rows, "run": [1]}, {"make": rows}]
    assert replay(recording, registry).matched
    assert given == [1]


def test_inputs_and_outputs_are_the_skills_own_and_keep_what_it_does_to_them(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        ctx.inputs["x"] = 1
        return ctx.inputs

    assert output(lab.matches(skill)) == {"x": 1}


def test_output_that_is_kept_and_changed_later_is_recorded_as_it_was_returned(lab: Lab) -> None:
    shared: list[int] = [1]

    def first(ctx: Context) -> Any:
        return shared

    def second(ctx: Context) -> Any:
        shared.append(2)
        return ctx.outputs["a"]

    recording = lab.record(flow(step("a", "a"), step("b", "b", depends_on=["a"])), skills(a=first, b=second))
    assert [decode(record.step.output) for record in records(recording)] == [[1], [1]]


def test_values_cross_a_border_with_their_json_types(lab: Lab) -> None:
    value: dict[str, Any] = {
        "i": 1,
        "f": 1.0,
        "z": -0.0,
        "b": True,
        "n": None,
        "s": "ü",
        "l": [],
        "d": {},
        "big": 2**63,
    }
    registry = skills(make=lambda _: value, look=lambda ctx: [repr(ctx.inputs["x"]), repr(ctx.outputs["a"])])
    recording = lab.record(flow(step("a", "make"), step("b", "look", inputs={"x": "${a}"})), registry)
    assert decode(records(recording)[1].step.output) == [repr(dict(sorted(value.items())))] * 2
    assert replay(recording, registry).matched


def test_spend_and_the_rest_work_from_async_skills(lab: Lab) -> None:
    async def skill(ctx: Context) -> Any:
        ctx.spend(3)
        return [ctx.seed, str(ctx.uuid4()), ctx.now().isoformat(), ctx.inputs, ctx.outputs]

    assert only(lab.matches(skill)).cost_cents == 3


def test_context_is_fresh_for_every_step(lab: Lab) -> None:
    kept: list[Context] = []

    def skill(ctx: Context) -> int:
        seen = len(ctx.inputs)
        ctx.inputs["x"] = 1
        kept.append(ctx)
        return seen

    recording = lab.record(flow(step("a", "s"), step("b", "s")), skills(s=skill))
    assert [decode(record.step.output) for record in records(recording)] == [0, 0]
    assert kept[0] is not kept[1]
