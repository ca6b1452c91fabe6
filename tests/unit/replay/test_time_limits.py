"""Time limits: whatever a step does when its time is up, its attempt ends there and nothing of it is heard again."""

import asyncio
import gc
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, cast

import pytest

from golden import Recording
from golden.canonical import decode
from golden.event import StepData
from golden.store import OpenFile
from replay import Context, replay
from replay.crew import LeftBehindError
from replay.effects import Limit
from replay.engine import Invoke
from replay.live import LiveCalls, LiveEffects
from tests.unit.replay.conftest import Lab, Skill, effects, ending, flow, kinds, only, python, records, skills, step

# After which a step that hangs is given up, and one that is to come to its end first.
SOON, NEVER = 0.05, 100.0


def limited(lab: Lab, skill: Skill, seconds: float = SOON, /, **members: Any) -> Recording:
    """Record a step with a time limit, and one after it that runs all the same."""
    members = {"on_error": "continue", "timeout_seconds": seconds, **members}
    return lab.record(flow(step("a", "s", **members), step("b", "t")), skills(s=skill, t=lambda _: "after"))


def first(recording: Recording) -> StepData:
    return records(recording)[0].step


def codes(data: StepData) -> list[str | None]:
    """Return the code that each attempt ended with."""
    return [attempt.error.code if attempt.error else None for attempt in data.attempts]


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "golden-step"}


class Hourglass:
    """Says when the time of an attempt is up, in the place of the clock: when the step itself says so."""

    def __init__(self) -> None:
        self._up: set[tuple[int, int]] = set()

    def is_up(self, ctx: Context) -> None:
        self._up.add((ctx._request.index, ctx._request.attempt))

    def instead_of(self, limit: Limit, request: Invoke) -> Limit:
        began, up, attempt = time.monotonic(), self._up, (request.index, request.attempt)

        class Sand:
            error = limit.error

            @property
            def seconds(self) -> float:
                return 0 if attempt in up else time.monotonic() - began + 0.01

        return cast("Limit", Sand())


@pytest.fixture
def hourglass(monkeypatch: pytest.MonkeyPatch) -> Hourglass:
    """Give steps with a limit all the time they want, until they say that it is up."""
    found, limit = Hourglass(), LiveEffects.limit

    def measured(self: LiveEffects, request: Invoke) -> Limit | None:
        by_clock = limit(self, request)
        return by_clock and found.instead_of(by_clock, request)

    monkeypatch.setattr(LiveEffects, "limit", measured)
    return found


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """An event for hung steps to wait for, set at the end: their threads must end then."""
    before = threads()
    event = threading.Event()
    yield event
    event.set()
    for thread in threads() - before:
        thread.join(30)
        assert not thread.is_alive()


def sleeps(_: Context) -> None:
    for _n in range(round(NEVER * 100)):
        time.sleep(0.01)


def spins(_: Context) -> None:
    while True:
        pass


def waits_in_c(_: Context) -> None:
    # It hears of its end when the system gives it back to Python.
    select.select([], [], [], 0.3)
    time.sleep(NEVER)


def raises_in_the_end(_: Context) -> None:
    try:
        sleeps(_)
    finally:
        raise ValueError


def recurses(_: Context) -> None:
    with suppress(RecursionError):
        recurses(_)
    sleeps(_)


def asks_a_world_that_hangs(ctx: Context) -> Any:
    return ctx.external("hang", lambda: sleeps(ctx))


def floods(_: Context) -> None:
    while True:
        print("x" * 1000)


async def awaits(_: Context) -> None:
    await asyncio.sleep(NEVER)


async def awaits_nothing(_: Context) -> None:
    while True:  # noqa: ASYNC110  what is tried: a loop that never rests
        await asyncio.sleep(0)


async def never_awaits(_: Context) -> None:
    sleeps(_)


async def gathers(_: Context) -> None:
    await asyncio.gather(awaits(_), awaits_nothing(_))


async def asks_async(ctx: Context) -> Any:
    return await ctx.external("hang", asyncio.sleep, NEVER)


async def waits_beside_a_busy_task(_: Context) -> None:
    async def busy() -> None:
        while True:
            sum(range(10_000))
            await asyncio.sleep(0)

    task = asyncio.create_task(busy())
    await asyncio.sleep(NEVER)
    await task


async def waits_beside_a_busy_callback(_: Context) -> None:
    asyncio.get_running_loop().call_soon(spins, _)
    await asyncio.sleep(NEVER)


HANGING = [
    sleeps,
    spins,
    waits_in_c,
    raises_in_the_end,
    recurses,
    asks_a_world_that_hangs,
    floods,
    awaits,
    awaits_nothing,
    never_awaits,
    gathers,
    asks_async,
    waits_beside_a_busy_task,
    waits_beside_a_busy_callback,
]


@pytest.mark.parametrize("skill", HANGING)
def test_step_that_overstays_fails_as_timed_out_and_its_thread_ends_in_silence(
    lab: Lab, skill: Skill, caplog: pytest.LogCaptureFixture
) -> None:
    before = threads()
    recording = limited(lab, skill)
    data = first(recording)
    assert data.error
    assert (data.error.code, data.error.type, data.error.message) == (
        "STEP_TIMEOUT",
        "TimeoutError",
        f"no answer within {SOON} s",
    )
    assert codes(data) == ["STEP_TIMEOUT"]
    assert (data.success, data.output_hash, data.recovery_hint is not None) == (False, None, True)
    assert records(recording)[1].step.success
    assert kinds(recording.events()) == ["run_start", "step", "step", "run_end"]
    assert recording.statement.status == "failed"
    for thread in threads() - before:
        thread.join(30)
        assert not thread.is_alive()
    gc.collect()
    assert caplog.messages == []


def test_step_that_waits_for_a_lock_forever_is_given_up(lab: Lab, free: threading.Event) -> None:
    recording = limited(lab, lambda _: free.wait())
    assert codes(first(recording)) == ["STEP_TIMEOUT"]


@pytest.mark.usefixtures("free")
def test_step_that_waits_for_a_peer_forever_is_given_up(lab: Lab) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        recording = limited(lab, lambda _: ours.recv(1))
        assert codes(first(recording)) == ["STEP_TIMEOUT"]
        theirs.send(b"x")


@pytest.mark.parametrize("is_async", [False, True])
def test_step_that_catches_everything_is_given_up_all_the_same(lab: Lab, free: threading.Event, is_async: bool) -> None:
    caught: list[type[BaseException]] = []

    def stubborn(ctx: Context) -> str:
        while not free.is_set():
            try:
                while not free.is_set():
                    time.sleep(0.001)
            except BaseException as error:  # noqa: BLE001  what is tried
                caught.append(type(error))
            with suppress(BaseException):
                ctx.external("late", lambda: "must not be asked")
            with suppress(BaseException):
                ctx.spend(1)
        return "late"

    async def stubborn_async(ctx: Context) -> str:
        return stubborn(ctx)

    recording = limited(lab, stubborn_async if is_async else stubborn)
    data = first(recording)
    # It may spend and ask while its time lasts, and only then.
    assert (codes(data), data.cost_cents, effects(recording)) == (["STEP_TIMEOUT"], 0, [])
    assert kinds(recording.events()) == ["run_start", "step", "step", "run_end"]
    free.set()
    for thread in threads():
        thread.join(30)
    assert caught == [LeftBehindError]


def test_step_that_answers_in_time_is_as_if_there_were_no_limit(lab: Lab) -> None:
    def skill(ctx: Context) -> Any:
        ctx.spend(3)
        return ctx.external("get", lambda: ctx.seed)

    recording = limited(lab, skill, NEVER)
    data = first(recording)
    assert (data.success, data.cost_cents, codes(data), len(effects(recording))) == (True, 3, [None], 1)
    assert recording.statement.status == "completed"


def test_step_runs_with_a_limit_as_it_does_without_and_in_a_replay(lab: Lab) -> None:
    def divides(ctx: Context) -> str:
        return str(Decimal(1) / 3)

    with localcontext() as context:
        context.prec = 50
        recording = limited(lab, divides, NEVER)
        assert decode(first(recording).output) == f"0.{50 * '3'}"
        assert replay(recording, skills(s=divides, t=lambda _: "after")).matched


FAILING = [
    (SystemExit(3), "SystemExit"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (GeneratorExit(), "GeneratorExit"),
    (TimeoutError("its own"), "TimeoutError"),
    (ValueError("no"), "ValueError"),
]


@pytest.mark.parametrize("error, kind", FAILING)
def test_step_with_a_limit_that_raises_before_it_fails_as_without_one(
    lab: Lab, error: BaseException, kind: str
) -> None:
    def skill(ctx: Context) -> Any:
        raise error

    data = first(limited(lab, skill, NEVER))
    assert data.error
    assert (data.error.code, data.error.type) == ("EXECUTION_ERROR", kind)
    assert data.error.location


FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@FORKS
def test_step_that_forks_a_child_which_hangs_is_given_up_and_the_child_writes_nothing(
    lab: Lab, hourglass: Hourglass
) -> None:
    reading, writing = os.pipe()

    def forks(ctx: Context) -> None:
        child = os.fork()
        if not child:
            signal.alarm(60)
            time.sleep(1000)
        os.write(writing, child.to_bytes(4, "big"))
        hourglass.is_up(ctx)
        sleeps(ctx)

    recording = limited(lab, forks, NEVER)
    child = int.from_bytes(os.read(reading, 4), "big")
    try:
        assert codes(first(recording)) == ["STEP_TIMEOUT"]
        assert lab.verify("r-1").verdict == "intact"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


@FORKS
def test_child_that_comes_back_from_a_step_with_a_limit_ends_there(lab: Lab) -> None:
    def forks(ctx: Context) -> int:
        child = os.fork()
        return os.waitpid(child, 0)[1] if child else 0

    recording = limited(lab, forks, NEVER)
    assert decode(first(recording).output) == 1 << 8
    assert kinds(recording.events()) == ["run_start", "step", "step", "run_end"]


# Further attempts


@pytest.mark.usefixtures("hurried")
def test_attempt_that_overstays_is_followed_by_another_and_counts(lab: Lab, hourglass: Hourglass) -> None:
    tried: list[int] = []

    def hangs_once(ctx: Context) -> int:
        tried.append(1)
        if len(tried) == 1:
            hourglass.is_up(ctx)
            sleeps(ctx)
        return len(tried)

    recording = limited(lab, hangs_once, NEVER, retry=True)
    data = first(recording)
    assert (data.success, decode(data.output), codes(data)) == (True, 2, ["STEP_TIMEOUT", None])
    assert recording.statement.status == "completed"


@pytest.mark.usefixtures("hurried")
def test_step_whose_every_attempt_overstays_fails_with_all_of_them(lab: Lab) -> None:
    data = first(limited(lab, sleeps, retry=True, max_retries=2))
    assert codes(data) == ["STEP_TIMEOUT"] * 3


@pytest.mark.usefixtures("hurried")
def test_left_over_attempt_can_neither_spend_nor_ask_on_behalf_of_the_next(
    lab: Lab, free: threading.Event, hourglass: Hourglass
) -> None:
    tried: list[Context] = []
    refused: list[str] = []
    over = threading.Event()

    def skill(ctx: Context) -> str:
        tried.append(ctx)
        if len(tried) > 1:
            free.set()
            assert over.wait(30)
            return "second"
        ctx.spend(5)
        hourglass.is_up(ctx)
        stands_still(free)
        for late in (lambda: ctx.spend(50), lambda: ctx.external("late", lambda: 1)):
            try:
                late()
            except BaseException as error:  # noqa: BLE001  what is tried
                refused.append(str(error))
        over.set()
        return "first"

    recording = limited(lab, skill, NEVER, retry=True)
    data = first(recording)
    assert (codes(data), decode(data.output), data.cost_cents) == (["STEP_TIMEOUT", None], "second", 5)
    assert effects(recording) == []
    assert refused == [
        "ctx.spend of a step that has ended (use the Context of the step that runs)",
        "external call 'late' of a step that has ended",
    ]


@pytest.mark.usefixtures("hurried")
def test_what_a_given_up_attempt_spent_counts_towards_the_ceiling_of_the_step(lab: Lab, hourglass: Hourglass) -> None:
    def skill(ctx: Context) -> None:
        ctx.spend(60)
        hourglass.is_up(ctx)
        sleeps(ctx)

    recording = limited(lab, skill, NEVER, retry=True)
    data = first(recording)
    assert (codes(data), data.cost_cents) == (["STEP_TIMEOUT", "STEP_CEILING_EXCEEDED"], 60)
    assert recording.statement.status == "budget_exceeded"


# What comes late


def late(lab: Lab, skill: Skill, free: threading.Event) -> Recording:
    """Record a step that overstays, and while a second step runs let it go on to its end."""
    before = threads()

    def waits_for_the_late_one(ctx: Context) -> str:
        free.set()
        for thread in threads() - before - {threading.current_thread()}:
            thread.join(30)
        return "after"

    registry = skills(s=skill, t=waits_for_the_late_one)
    members = {"on_error": "continue", "timeout_seconds": NEVER}
    return lab.record(flow(step("a", "s", **members), step("b", "t")), registry)


def stands_still(free: threading.Event) -> None:
    """Wait, whatever is thrown in."""
    while not free.is_set():
        with suppress(BaseException):
            free.wait()


@pytest.mark.parametrize("fails", [False, True])
def test_answer_that_comes_late_is_not_recorded(
    lab: Lab, free: threading.Event, hourglass: Hourglass, fails: bool
) -> None:
    def skill(ctx: Context) -> Any:
        def world() -> int:
            hourglass.is_up(ctx)
            stands_still(free)
            if fails:
                raise OSError
            return 1

        return ctx.external("slow", world)

    recording = late(lab, skill, free)
    assert kinds(recording.events()) == ["run_start", "step", "step", "run_end"]
    assert lab.verify("r-1").verdict == "intact"


def test_call_of_a_thread_that_the_step_left_behind_is_not_recorded(
    lab: Lab, free: threading.Event, hourglass: Hourglass
) -> None:
    asked, over = threading.Event(), threading.Event()

    def world() -> int:
        asked.set()
        stands_still(free)
        return 1

    def skill(ctx: Context) -> None:
        def asks() -> None:
            with suppress(BaseException):
                ctx.external("slow", world)
            over.set()

        threading.Thread(target=asks, daemon=True).start()
        assert asked.wait(30)
        hourglass.is_up(ctx)
        stands_still(free)

    recording = late(lab, skill, free)
    assert over.wait(30)
    assert kinds(recording.events()) == ["run_start", "step", "step", "run_end"]


def test_call_that_was_prepared_in_time_and_awaited_late_is_not_made(
    lab: Lab, free: threading.Event, hourglass: Hourglass
) -> None:
    made: list[int] = []

    async def world() -> None:
        made.append(1)

    async def skill(ctx: Context) -> Any:
        prepared = ctx.external("late", world)
        hourglass.is_up(ctx)
        stands_still(free)
        with suppress(BaseException):
            await asyncio.sleep(0)
        return await prepared

    recording = late(lab, skill, free)
    assert kinds(recording.events()) == ["run_start", "step", "step", "run_end"]
    assert made == []


def test_line_that_is_being_written_when_time_is_up_is_written_whole(
    lab: Lab, free: threading.Event, hourglass: Hourglass, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, give_up, over = OpenFile.append, LiveCalls.give_up, threading.Event()

    def slow(self: OpenFile, line: bytes) -> None:
        if b'"event_type":"effect"' in line:
            hourglass.is_up(asking[0])
            assert over.wait(30)
            time.sleep(0.1)
        append(self, line)

    def gives_up(self: LiveCalls) -> None:
        over.set()
        give_up(self)

    monkeypatch.setattr(OpenFile, "append", slow)
    monkeypatch.setattr(LiveCalls, "give_up", gives_up)
    asking: list[Context] = []

    def asks(ctx: Context) -> None:
        asking.append(ctx)
        ctx.external("get", lambda: 1)
        sleeps(ctx)

    recording = late(lab, asks, free)
    assert kinds(recording.events()) == ["run_start", "effect", "step", "step", "run_end"]
    assert codes(first(recording)) == ["STEP_TIMEOUT"]


def test_effects_of_a_given_up_attempt_stay_as_far_as_they_were_answered(lab: Lab, hourglass: Hourglass) -> None:
    def asks_and_hangs(ctx: Context) -> None:
        ctx.external("get", lambda: 1)
        hourglass.is_up(ctx)
        sleeps(ctx)

    recording = limited(lab, asks_and_hangs, NEVER)
    assert kinds(recording.events()) == ["run_start", "effect", "step", "step", "run_end"]
    (effect,) = effects(recording)
    assert (effect.attempt, decode(effect.result)) == (0, 1)


# The run's own limit


def test_run_that_overstays_ends_there_whatever_its_steps_say(lab: Lab, hourglass: Hourglass) -> None:
    def slow(ctx: Context) -> None:
        hourglass.is_up(ctx)
        sleeps(ctx)

    steps = step("a", "quick"), step("b", "slow", on_error="continue"), step("c", "quick")
    recording = lab.record(flow(*steps, timeout_seconds=NEVER), skills(quick=lambda _: 1, slow=slow))
    (_, data) = (record.step for record in records(recording))
    assert data.error
    assert (data.error.code, data.error.message) == ("WORKFLOW_TIMEOUT", f"the run lasted longer than {NEVER} s")
    assert codes(data) == ["WORKFLOW_TIMEOUT"]
    end = ending(recording)
    assert (end.status, end.steps_completed, end.steps_total) == ("failed", 1, 3)


def test_run_that_overstays_makes_no_further_attempt(lab: Lab) -> None:
    document = flow(step("a", "s", retry=True, max_retries=12), timeout_seconds=SOON)
    data = only(lab.record(document, skills(s=sleeps)))
    assert codes(data) == ["WORKFLOW_TIMEOUT"]


def test_run_whose_time_is_up_before_a_further_attempt_ends_without_it(lab: Lab) -> None:
    def fails(ctx: Context) -> None:
        raise ValueError

    # A second and more would be waited, of which not a fraction of a millisecond is left to try anything in.
    document = flow(step("a", "s", retry=True), timeout_seconds=0.02)
    for _ in range(20):
        data = only(lab.record(document, skills(s=fails)))
        # On a busy machine the time may be up before the first.
        assert len(data.attempts) <= 1
        assert (data.error_code, data.cost_cents) == ("WORKFLOW_TIMEOUT", 0)
        assert lab.opened[-1].statement.status == "failed"


def test_step_whose_run_has_no_time_left_is_not_begun_and_costs_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def takes_all_the_time(ctx: Context) -> None:
        monkeypatch.setattr(LiveEffects, "_left", lambda *_: 0.0)

    steps = step("a", "all"), step("b", "s", estimated_cost_cents=5, on_error="continue")
    registry = skills(all=takes_all_the_time, s=lambda _: begun.append(1))
    recording = lab.record(flow(*steps, timeout_seconds=NEVER), registry)
    data = records(recording)[1].step
    assert (data.error_code, data.attempts, data.cost_cents, begun) == ("WORKFLOW_TIMEOUT", [], 0, [])
    assert recording.statement.status == "failed"
    assert replay(recording, registry).matched


@pytest.mark.parametrize("own, whole, code", [(SOON, NEVER, "STEP_TIMEOUT"), (NEVER, SOON, "WORKFLOW_TIMEOUT")])
def test_whichever_time_is_up_first_counts(lab: Lab, own: float, whole: float, code: str) -> None:
    document = flow(step("a", "s", timeout_seconds=own), timeout_seconds=whole)
    assert codes(only(lab.record(document, skills(s=sleeps)))) == [code]


# Replay


def never(ctx: Context) -> Any:
    pytest.fail("what the clock ended is not run again")


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.usefixtures("hurried")
def test_step_that_timed_out_is_answered_by_a_replay_and_counted_as_answered(
    lab: Lab, hourglass: Hourglass, retry: bool
) -> None:
    def asks_and_hangs(ctx: Context) -> None:
        ctx.external("get", lambda: 1)
        ctx.spend(2)
        hourglass.is_up(ctx)
        sleeps(ctx)

    recording = limited(lab, asks_and_hangs, NEVER, retry=retry, max_retries=1 if retry else None)
    assert first(recording).cost_cents == (4 if retry else 2)
    answer = replay(recording, skills(s=never, t=lambda _: "after"))
    assert (answer.verdict, answer.divergence, answer.problem) == ("matched", None, None)
    assert (answer.steps_recorded, answer.steps_compared, answer.steps_answered) == (2, 1, 1)


@pytest.mark.usefixtures("hurried")
def test_step_of_which_one_attempt_timed_out_is_answered_whole(lab: Lab, hourglass: Hourglass) -> None:
    tried: list[int] = []

    def hangs_once(ctx: Context) -> int:
        tried.append(1)
        if len(tried) == 1:
            hourglass.is_up(ctx)
            sleeps(ctx)
        return 5

    recording = limited(lab, hangs_once, NEVER, retry=True)
    answer = replay(recording, skills(s=never, t=lambda _: "after"))
    assert (answer.matched, answer.steps_compared, answer.steps_answered) == (True, 1, 1)


def test_run_that_overstayed_replays_as_matched(lab: Lab, hourglass: Hourglass) -> None:
    def slow(ctx: Context) -> None:
        hourglass.is_up(ctx)
        sleeps(ctx)

    document = flow(step("a", "t"), step("b", "s"), step("c", "t"), timeout_seconds=NEVER)
    recording = lab.record(document, skills(s=slow, t=lambda _: "after"))
    answer = replay(recording, skills(s=never, t=lambda _: "after"))
    assert (answer.matched, answer.steps_compared, answer.steps_answered) == (True, 1, 1)


def test_nothing_but_timed_out_steps_is_refused(lab: Lab) -> None:
    recording = lab.run(sleeps, timeout_seconds=SOON)
    answer = lab.replay(recording, never)
    assert (answer.verdict, answer.problem) == ("refused", "every step was answered from the file")


def test_a_replay_has_no_limits_and_runs_every_step_in_the_thread_it_is_called_in(lab: Lab) -> None:
    ran: list[threading.Thread] = []
    registry = skills(s=lambda _: ran.append(threading.current_thread()))
    recording = lab.record(flow(step("a", "s", timeout_seconds=NEVER), timeout_seconds=NEVER), registry)
    assert replay(recording, registry).matched
    here = threading.current_thread()
    assert [thread is here for thread in ran] == [False, True]


# What is left behind


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.usefixtures("free")
def test_many_limited_steps_leave_no_thread_and_no_descriptor(lab: Lab) -> None:
    async def asynchronous(ctx: Context) -> int:
        await asyncio.sleep(0)
        return 1

    def run() -> None:
        registry = skills(s=lambda _: 1, a=asynchronous, h=awaits)
        steps = [step(f"s{n}", "s", timeout_seconds=NEVER) for n in range(5)]
        steps += [step(f"a{n}", "a", timeout_seconds=NEVER) for n in range(5)]
        steps += [step("h", "h", timeout_seconds=0.01, on_error="continue")]
        lab.record(flow(*steps), registry).close()

    run()
    before, held = threads(), descriptors()
    for _ in range(5):
        run()
    for thread in threads() - before:
        thread.join(30)
    assert threads() <= before
    assert descriptors() <= held


CHILD = """
import sys, time, threading
from golden.keyring import Keyring
from golden.store import Store
from replay import SkillRegistry, record

registry = SkillRegistry()

@registry.skill("hang")
def hang(ctx):
    while True:
        try:
            print("ready", flush=True)
            threading.Event().wait()
        except BaseException:
            pass

spec = {"id": "flow", "steps": [{"id": "a", "skill_id": "hang", "timeout_seconds": 0.2}]}
store = Store(sys.argv[1], Keyring(b"a secret of the tests, long enough to sign"), durability="never")
with record(spec, registry, store=store, run_id="r") as recording:
    print(recording.statement.status)
"""


def test_process_ends_although_a_thread_hangs(tmp_path: Path) -> None:
    child = python(CHILD, str(tmp_path))
    said, errors = child.communicate(timeout=60)
    assert (child.returncode, said, errors) == (0, "ready\nfailed\n", "")


def test_signal_ends_a_run_whose_step_hangs_within_its_limit(tmp_path: Path) -> None:
    child = python(CHILD.replace("0.2", "100"), str(tmp_path))
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT
    assert errors.endswith("KeyboardInterrupt\n")
    assert (tmp_path / "r.steps.jsonl.sig").exists()
