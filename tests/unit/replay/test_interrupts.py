"""Interrupts: SIGINT and SIGTERM end a real run of a real process between two of its lines."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from golden.event import EffectData, RunEnd, StepData
from golden.keyring import Keyring
from golden.recording import Recording
from golden.verdict import verify
from replay import replay
from replay.engine import StoppedError
from replay.interrupts import Interrupts
from tests.unit.replay.conftest import SECRET, Lab, flow, kinds, python, skills, step

# One child, many skills: each says "ready" where it wants to be interrupted, and would then go on for a minute.
CHILD = """
import asyncio, sys, time
from golden.keyring import Keyring
from golden.store import Store
from replay import SkillRegistry, record, replay

directory, case = sys.argv[1:]
registry = SkillRegistry()

def ready(*_):
    print("ready", flush=True)

def wait(seconds=60):
    ready()
    time.sleep(seconds)

async def async_wait(*_):
    ready()
    await asyncio.sleep(60)

@registry.skill("first")
def first(ctx):
    return ctx.external("get", lambda: {"n": 1})

@registry.skill("sleeps")
def sleeps(ctx):
    wait()

@registry.skill("spins")
def spins(ctx):
    ready()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass

@registry.skill("inside-effect")
def inside_effect(ctx):
    ctx.external("before", lambda: 1)
    return ctx.external("slow", wait)

@registry.skill("swallows")
def swallows(ctx):
    try:
        wait()
    except BaseException:
        pass
    return "swallowed"

@registry.skill("swallows-around-effect")
def swallows_around_effect(ctx):
    try:
        ctx.external("slow", wait)
    except BaseException:
        pass
    try:
        return ctx.external("after", lambda: "must not be asked")
    except BaseException:
        return "swallowed"

@registry.skill("swallows-twice")
def swallows_twice(ctx):
    for _ in range(2):
        try:
            wait()
        except BaseException:
            pass
    return "swallowed"

@registry.skill("cleans-up")
def cleans_up(ctx):
    try:
        wait()
    finally:
        print("cleaned up", flush=True)

@registry.skill("async")
async def async_skill(ctx):
    await async_wait()

@registry.skill("async-spins")
async def async_spins(ctx):
    spins(ctx)

@registry.skill("async-inside-effect")
async def async_inside_effect(ctx):
    await asyncio.gather(ctx.external("slow", async_wait), ctx.external("slow", asyncio.sleep, 60))

@registry.skill("async-swallows")
async def async_swallows(ctx):
    try:
        await async_wait()
    except BaseException:
        pass
    return "swallowed"

@registry.skill("async-cleans-up")
async def async_cleans_up(ctx):
    try:
        await async_wait()
    finally:
        await ctx.external("cleanup", asyncio.sleep, 0)

@registry.skill("async-leaves-a-task")
async def async_leaves_a_task(ctx):
    async def stubborn():
        try:
            await asyncio.sleep(60)
        finally:
            await ctx.external("late", asyncio.sleep, 0)
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await async_wait()
    return task.done()

spec = {"id": "flow", "steps": [{"id": "a", "skill_id": "first"}, {"id": "b", "skill_id": case},
                                {"id": "c", "skill_id": "first"}]}
store = Store(directory, Keyring(b"a secret of the tests, long enough to sign"), durability="never")
record(spec, registry, store=store, run_id="r", seed=7)
print("not reached")
"""
CASES = [
    "sleeps",
    "spins",
    "inside-effect",
    "swallows",
    "swallows-around-effect",
    "cleans-up",
    "async",
    "async-spins",
    "async-inside-effect",
    "async-swallows",
    "async-cleans-up",
    "async-leaves-a-task",
]


def stopped(directory: Path, case: str, number: signal.Signals, times: int = 1) -> tuple[int, str, str]:
    """Run a case, send the signal each time it says ready, and return (exit, what it said, its stderr)."""
    child = python(CHILD, str(directory), case)
    assert child.stdout
    for _ in range(times):
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
    said, errors = child.communicate(timeout=60)
    return child.returncode, said, errors


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Recording]]:
    """Open what the child recorded, which must be intact."""
    held: list[Recording] = []

    def now() -> Recording:
        path = tmp_path / "r.steps.jsonl"
        found = verify(path, Keyring(SECRET))
        assert (found.verdict, found.problem) == ("intact", None)
        held.append(Recording.open(path, Keyring(SECRET)))
        return held[-1]

    yield now
    for recording in held:
        recording.close()


def check_aborted(recording: Recording) -> None:
    events = list(recording.events())
    assert recording.statement.status == "aborted"
    assert isinstance(events[-1].data, RunEnd)
    assert (events[-1].data.status, events[-1].data.steps_completed) == ("aborted", 1)
    assert [event.data.step_id for event in events if isinstance(event.data, StepData)] == ["a"]
    assert [event.seq for event in events] == list(range(len(events)))
    names = [event.data.name for event in events if isinstance(event.data, EffectData)]
    assert set(names) <= {"get", "before", "slow"}
    first = skills(first=lambda ctx: ctx.external("get", lambda: 0))
    for skill_id in CASES:
        first.skill(skill_id)(lambda _: pytest.fail("a step that was never completed is not replayed"))
    first.skill("swallows-twice")(lambda _: 0)
    answer = replay(recording, first)
    assert (answer.verdict, answer.steps_recorded, answer.steps_compared) == ("matched", 1, 1)
    assert answer.notes[0] == "the run was stopped from outside (aborted): replayed up to its last whole step"


@pytest.mark.parametrize("case", CASES)
def test_control_c_seals_the_run_as_aborted_and_is_then_delivered(
    tmp_path: Path, case: str, opened: Callable[[], Recording]
) -> None:
    code, said, errors = stopped(tmp_path, case, signal.SIGINT)
    assert "not reached" not in said
    assert errors.endswith("KeyboardInterrupt\n")
    assert "never retrieved" not in errors
    assert "never awaited" not in errors
    assert code == -signal.SIGINT
    check_aborted(opened())
    assert ("cleaned up" in said) == (case == "cleans-up")


@pytest.mark.parametrize("case", ["sleeps", "inside-effect", "swallows", "async-inside-effect"])
def test_sigterm_seals_the_run_as_aborted_and_then_ends_the_process(
    tmp_path: Path, case: str, opened: Callable[[], Recording]
) -> None:
    assert stopped(tmp_path, case, signal.SIGTERM) == (-signal.SIGTERM, "", "")
    check_aborted(opened())


def test_second_signal_breaks_in_where_a_skill_kept_the_first_to_itself(
    tmp_path: Path, opened: Callable[[], Recording]
) -> None:
    code, _, _ = stopped(tmp_path, "swallows-twice", signal.SIGINT, times=2)
    assert code == -signal.SIGINT
    check_aborted(opened())


def test_killed_run_leaves_a_live_file_whose_lines_are_whole(tmp_path: Path) -> None:
    code, _, _ = stopped(tmp_path, "inside-effect", signal.SIGKILL)
    assert code == -signal.SIGKILL
    found = verify(tmp_path / "r.steps.jsonl", Keyring(SECRET))
    assert (found.verdict, found.writer, found.events) == ("live", False, 4)


# In this process


@pytest.fixture
def interruptible() -> Iterator[list[int]]:
    """Collect the signals that are delivered to this process."""
    got: list[int] = []
    before = {number: signal.signal(number, lambda n, _: got.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupts_itself(_: Any) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return 1


def test_signal_in_the_last_step_drops_it_and_is_delivered_afterwards(lab: Lab, interruptible: list[int]) -> None:
    recording = lab.record(flow(step("a", "s"), step("b", "t")), skills(s=lambda _: 1, t=interrupts_itself))
    assert interruptible == [signal.SIGINT]
    assert recording.statement.status == "aborted"
    assert kinds(recording.events()) == ["run_start", "step", "run_end"]


def test_interrupted_replay_is_no_divergence_but_an_interrupt(lab: Lab, interruptible: list[int]) -> None:
    document = flow(step("a", "s"), step("b", "t"), step("c", "s"))
    recording = lab.record(document, skills(s=lambda _: 1, t=lambda _: 1))
    with pytest.raises(KeyboardInterrupt):
        replay(recording, skills(s=lambda _: 1, t=interrupts_itself))
    assert interruptible == [signal.SIGINT]


def test_interrupted_replay_of_the_last_step_is_an_interrupt_too(lab: Lab, interruptible: list[int]) -> None:
    recording = lab.run(lambda _: 1)
    with pytest.raises(KeyboardInterrupt):
        lab.replay(recording, interrupts_itself)


def test_recording_of_which_no_step_was_completed_is_refused(lab: Lab, interruptible: list[int]) -> None:
    recording = lab.run(interrupts_itself)
    answer = lab.replay(recording, interrupts_itself)
    assert (answer.verdict, answer.problem) == ("refused", "no step was compared")


def test_handlers_are_put_back(lab: Lab, interruptible: list[int]) -> None:
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    lab.matches(lambda _: 1)
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before


def test_run_in_a_thread_leaves_signals_alone(lab: Lab) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def skill(_: Any) -> int:
        seen.append(signal.getsignal(signal.SIGINT))
        return 1

    thread = threading.Thread(target=lab.run, args=(skill,))
    thread.start()
    thread.join()
    assert seen == [before]
    assert lab.opened[0].statement.status == "completed"


def test_signal_outside_of_user_code_waits_for_the_next_check(interruptible: list[int]) -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.signum == signal.SIGTERM
        with pytest.raises(StoppedError, match="aborted"):
            interrupts.check()
        with pytest.raises(StoppedError, match="aborted"), interrupts.let_in():
            pytest.fail("user code is not begun any more")


def test_signal_within_our_own_code_within_the_users_waits_until_it_is_done(interruptible: list[int]) -> None:
    done: list[str] = []

    def user_code(interrupts: Interrupts) -> None:
        with interrupts.let_in():
            with interrupts.held():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("ours")
            done.append("the user's")

    with Interrupts() as interrupts, pytest.raises(StoppedError):
        user_code(interrupts)
    assert done == ["ours"]


def test_a_process_that_a_step_forked_is_ended_by_a_signal_as_any_is(tmp_path: Path) -> None:
    script = """
        import multiprocessing, sys, time
        from golden.keyring import Keyring
        from golden.store import Store
        from replay import record

        context = multiprocessing.get_context("fork")

        def works(ready):
            ready.set()
            time.sleep(60)

        def forks():
            ready = context.Event()
            other = context.Process(target=works, args=(ready,))
            other.start()
            ready.wait()
            other.terminate()
            other.join()
            return other.exitcode

        store = Store(sys.argv[1], Keyring(sys.argv[2].encode()), durability="never")
        with record(forks, store=store, inputs={}, run_id="r-1") as recording:
            print(bytes(next(recording.records()).step.output).decode())
    """
    said, errors = python(script, str(tmp_path / "goldens"), SECRET.decode()).communicate(timeout=60)
    assert (errors, said) == ("", "-15\n")
