"""Retry: how long a step waits before it is tried again, and what is tried again; a replay tries it as often."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from golden import Recording
from golden.canonical import decode, derive_seed
from golden.event import StepData
from replay import Context, Divergence, Replay, replay
from replay.attempt import MAX_OUTPUT
from replay.live import LiveEffects
from replay.retry import delay_ms, retries
from replay.spec import Spec
from tests.unit.replay.conftest import Lab, Skill, effects, flow, only, records, skills, step

AGAIN = {"retry": True}


@pytest.mark.parametrize("attempt, expected", list(enumerate([1213, 2084, 4181, 8237])))
def test_delays_are_those_of_the_aos_system(attempt: int, expected: int) -> None:
    assert delay_ms(12345, attempt) == expected


def test_delay_is_at_least_the_power_and_at_most_half_a_base_more() -> None:
    for attempt in range(13):
        for seed in range(200):
            assert 0 <= delay_ms(seed, attempt, 100) - 100 * 2**attempt <= 50


@pytest.mark.parametrize(
    "members, expected",
    [
        ({}, 0),
        ({"on_error": "continue"}, 0),
        ({"retry": True}, 3),
        ({"on_error": "retry"}, 3),
        ({"retry": True, "max_retries": 0}, 0),
        ({"retry": True, "max_retries": 12}, 12),
        ({"on_error": "retry", "max_retries": 1}, 1),
        ({"on_error": "continue", "retry": True}, 3),
    ],
)
def test_how_often_a_step_is_tried_again(members: dict[str, Any], expected: int) -> None:
    assert retries(Spec(flow(step("a", "s", **members))).steps[0]) == expected


# In a run


def failing(times: int) -> Skill:
    """Return a skill that fails so often, by what the world says, so that a replay does as well."""
    world = count()

    def skill(ctx: Context) -> Any:
        n = ctx.external("try", world.__next__)
        if n < times:
            raise ValueError(n)
        return [n, ctx.seed, ctx.random.random(), str(ctx.uuid4()), ctx.now().isoformat()]

    return skill


def tried(data: StepData) -> list[tuple[int, str | None]]:
    """Return the delay of each attempt and the type of its error."""
    return [(attempt.delay_ms, attempt.error.type if attempt.error else None) for attempt in data.attempts]


def again(lab: Lab, skill: Skill, **members: Any) -> Recording:
    """Record a step that is tried again."""
    return lab.record(flow(step("a", "s", **{**AGAIN, **members})), skills(s=skill))


def same(lab: Lab, recording: Recording, skill: Skill) -> Replay:
    answer = lab.replay(recording, skill)
    assert (answer.verdict, answer.divergence, answer.problem) == ("matched", None, None)
    return answer


@pytest.mark.usefixtures("hurried")
def test_attempts_are_recorded_with_the_delay_before_each_and_its_error(lab: Lab) -> None:
    recording = again(lab, failing(2))
    data, seed = only(recording), derive_seed(7, 0)
    assert tried(data) == [(0, "ValueError"), (delay_ms(seed, 0), "ValueError"), (delay_ms(seed, 1), None)]
    assert [attempt.error and attempt.error.message for attempt in data.attempts] == ["0", "1", None]
    assert data.attempts[0].error
    assert data.attempts[0].error.location
    assert (data.success, data.error or None, recording.statement.status) == (True, None, "completed")


@pytest.mark.usefixtures("hurried")
def test_delays_follow_the_seed_of_the_step_and_not_that_of_the_run(lab: Lab) -> None:
    document = flow(step("a", "s"), step("b", "s", **AGAIN))
    recording = lab.record(document, skills(s=failing_at("b")), seed=12345)
    data = records(recording)[1].step
    assert data.seed == 12451472201012505513
    assert [delay for delay, _ in tried(data)][1:] == [delay_ms(data.seed, attempt) for attempt in range(3)]
    assert [delay for delay, _ in tried(data)][1:] != [1213, 2084, 4181]


def failing_at(step_id: str) -> Skill:
    def skill(ctx: Context) -> int:
        if ctx._request.step.id == step_id:
            raise ValueError
        return 1

    return skill


@pytest.mark.usefixtures("hurried")
def test_step_that_never_succeeds_is_tried_as_often_as_it_says_and_fails_with_its_last_error(lab: Lab) -> None:
    recording = again(lab, failing(99), max_retries=2)
    data = only(recording)
    assert len(data.attempts) == 3
    assert data.error
    assert (data.error.message, data.error == data.attempts[-1].error) == ("2", True)
    assert recording.statement.status == "failed"
    same(lab, recording, failing(99))


@pytest.mark.usefixtures("hurried")
def test_calls_are_numbered_within_their_attempt(lab: Lab) -> None:
    world = count()

    def skill(ctx: Context) -> int:
        ctx.external("one", world.__next__)
        if ctx.external("two", world.__next__) < 4:
            raise ValueError
        return 1

    found = effects(again(lab, skill))
    assert [(effect.attempt, effect.call, effect.name) for effect in found] == [
        (attempt, call, name) for attempt in range(3) for call, name in enumerate(("one", "two"))
    ]


@pytest.mark.usefixtures("hurried")
def test_every_attempt_has_the_seed_and_the_random_numbers_of_the_first(lab: Lab) -> None:
    seen: list[tuple[int, float, str]] = []

    def skill(ctx: Context) -> None:
        seen.append((ctx.seed, ctx.random.random(), str(ctx.uuid4())))
        raise ValueError

    again(lab, skill)
    assert len(seen) == 4
    assert len(set(seen)) == 1


@pytest.mark.usefixtures("hurried")
def test_every_attempt_has_inputs_and_outputs_of_its_own(lab: Lab) -> None:
    def spoils(ctx: Context) -> Any:
        found = [ctx.inputs["rows"], ctx.outputs["a"]]
        if len(found[0]) + len(found[1]) > 4:
            return "spoilt"
        for rows in found:
            rows.append(3)
        raise ValueError

    document = flow(step("a", "rows"), step("b", "s", inputs={"rows": "${a}"}, **AGAIN))
    data = records(lab.record(document, skills(rows=lambda _: [1, 2], s=spoils)))[1].step
    assert (data.success, len(data.attempts)) == (False, 4)


# Time


@pytest.mark.usefixtures("hurried")
def test_time_stands_still_but_for_what_a_step_and_those_before_it_have_waited(lab: Lab) -> None:
    world = count()

    def skill(ctx: Context) -> str:
        if ctx._request.step.retry and ctx.external("try", world.__next__) % 3 < 2:
            raise ValueError(ctx.now())
        return ctx.now().isoformat()

    steps = [
        step("a", "s"),
        step("b", "s", depends_on=["a"], **AGAIN),
        step("c", "s", depends_on=["b"]),
        step("d", "s", depends_on=["c"], **AGAIN),
        step("e", "s", depends_on=["d", "b"]),
        step("f", "s", depends_on=["a"]),
        step("g", "s", **AGAIN),
        step("h", "s", depends_on=["f", "c"]),
    ]
    registry = skills(s=skill)
    recording = lab.record(flow(*steps), registry)
    start = datetime.fromisoformat(recording.timestamp)
    b, d, g = (sum(delay_ms(derive_seed(7, n), attempt) for attempt in range(2)) for n in (1, 3, 6))
    seen = [datetime.fromisoformat(decode(record.step.output)) - start for record in records(recording)]
    assert [moment / timedelta(milliseconds=1) for moment in seen] == [0, b, b, b + d, b + d, 0, g, b]
    # What a failed attempt saw is in its message.
    first, second, _ = records(recording)[1].step.attempts
    assert first.error
    assert second.error
    assert (datetime.fromisoformat(first.error.message), datetime.fromisoformat(second.error.message)) == (
        start,
        start + timedelta(milliseconds=delay_ms(derive_seed(7, 1), 0)),
    )
    assert replay(recording, registry).matched


def test_recording_really_waits_as_long_as_it_says(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    data = only(again(lab, failing(2)))
    assert slept == [delay / 1000 for delay, _ in tried(data)[1:]]


def test_replay_waits_for_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(LiveEffects, "pause", lambda *_: 0)
        recording = again(lab, failing(3))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("a replay has all the time there is"))
    answer = same(lab, recording, failing(3))
    assert (answer.steps_compared, answer.steps_answered) == (1, 0)


# What is tried again


class OwnError(BaseException):
    """A user's own exception that is no Exception."""


def raises(error: BaseException) -> Skill:
    def skill(ctx: Context) -> None:
        raise error

    return skill


def coming(values: list[Any]) -> Skill:
    given: Iterator[Any] = iter(values)
    return lambda _: next(given)


def asks_for_what_cannot_be_recorded(ctx: Context) -> Any:
    return ctx.external("get", object)


def asks_with_what_cannot_be_recorded(ctx: Context) -> Any:
    return ctx.external("get", lambda _: 1, object())


def asks_in_vain(ctx: Context) -> Any:
    return ctx.external("get", lambda: 1 // 0)


def spends_nonsense(ctx: Context) -> None:
    ctx.spend(-1)


async def raises_async(ctx: Context) -> None:
    raise ValueError


def spends_too_much(ctx: Context) -> None:
    ctx.spend(101)


def swallows_a_denial(ctx: Context) -> None:
    try:
        ctx.spend(101)
    except BaseException:  # noqa: BLE001  what is tried
        raise ValueError from None


TRIED_AGAIN: list[Skill] = [
    raises(ValueError()),
    raises(TimeoutError()),
    raises(KeyError("SystemExit: not retryable")),
    raises(MemoryError()),
    raises(ExceptionGroup("", [ValueError()])),
    raises_async,
    asks_in_vain,
    spends_nonsense,
]
NOT_TRIED_AGAIN: list[Skill] = [
    raises(SystemExit(1)),
    raises(KeyboardInterrupt()),
    raises(GeneratorExit()),
    raises(OwnError()),
    raises(BaseExceptionGroup("", [OwnError()])),
    coming([{1, 2}, 1]),
    coming([float("nan"), 1]),
    coming(["x" * MAX_OUTPUT, 1]),
    asks_for_what_cannot_be_recorded,
    asks_with_what_cannot_be_recorded,
    spends_too_much,
    swallows_a_denial,
]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("skill", TRIED_AGAIN)
def test_what_a_skill_raises_is_tried_again(lab: Lab, skill: Skill) -> None:
    recording = again(lab, skill)
    assert len(only(recording).attempts) == 4
    same(lab, recording, skill)


@pytest.mark.parametrize("skill", NOT_TRIED_AGAIN)
def test_what_could_not_go_otherwise_is_not_tried_again(lab: Lab, skill: Skill) -> None:
    data = only(again(lab, skill))
    assert (len(data.attempts), data.success) == (1, False)


def test_step_whose_inputs_cannot_be_made_is_not_tried_at_all(lab: Lab) -> None:
    document = flow(step("a", "s"), step("b", "s", inputs={"x": "${a.absent}"}, **AGAIN))
    data = records(lab.record(document, skills(s=lambda _: {})))[1].step
    assert (data.attempts, data.success) == ([], False)


# Replay


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_run_with_attempts_that_failed_replays_as_matched(lab: Lab, times: int) -> None:
    recording = again(lab, failing(times))
    assert len(only(recording).attempts) == min(times + 1, 4)
    answer = same(lab, recording, failing(times))
    assert (answer.steps_compared, answer.steps_answered) == (1, 0)


def fails_times(times: int) -> Skill:
    """Return a skill that fails so often in each run, asking nobody."""
    left = [times]

    def skill(ctx: Context) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise ValueError
        left[0] = times
        return 1

    return skill


def found_in(lab: Lab, recorded: int, replayed: int) -> Divergence:
    answer = lab.replay(again(lab, fails_times(recorded)), fails_times(replayed))
    assert answer.verdict == "diverged"
    assert answer.divergence is not None
    return answer.divergence


ERROR = {"code": "EXECUTION_ERROR", "type": "ValueError"}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "recorded, replayed, path, expected, actual",
    [
        (1, 0, "/attempts/0/error", ERROR, None),
        (0, 1, "/attempts/0/error", None, ERROR),
        (2, 1, "/attempts/1/error", ERROR, None),
        (1, 2, "/attempts/1/error", None, ERROR),
    ],
)
def test_step_that_fails_once_more_or_less_diverges_at_that_attempt(
    lab: Lab, recorded: int, replayed: int, path: str, expected: Any, actual: Any
) -> None:
    found = found_in(lab, recorded, replayed)
    assert (found.cause, found.step_id, found.index) == ("error", "a", 0)
    assert (found.path, found.expected, found.actual) == (path, expected, actual)
    assert found.location


@pytest.mark.usefixtures("hurried")
def test_attempt_that_fails_in_another_way_diverges_there(lab: Lab) -> None:
    def once(error: Exception) -> Skill:
        given = iter([error])

        def skill(ctx: Context) -> int:
            for raised in given:
                raise raised
            return 1

        return skill

    answer = lab.replay(again(lab, once(ValueError())), once(KeyError()))
    assert answer.divergence
    assert (answer.divergence.path, answer.divergence.expected, answer.divergence.actual) == (
        "/attempts/0/error/type",
        "ValueError",
        "KeyError",
    )
