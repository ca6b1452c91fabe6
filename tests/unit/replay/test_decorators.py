"""`@step` and `@external`: plain Python is recorded and replayed as it stands, whatever form its functions have."""

import asyncio
import contextlib
import contextvars
import dataclasses
import datetime as dt
import functools
import inspect
import itertools
import json
import multiprocessing
import random
import sqlite3
import subprocess
import threading
import time
import urllib.error
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from golden import Recording
from golden.canonical import decode, path_seed
from golden.errors import UsageError
from golden.event import StepData
from replay import Context, Controls, EffectError, external, record, replay, step
from replay.effects import UnrecordableError
from tests.unit.replay.conftest import Lab, effects, ending, flow, here, records, skills
from tests.unit.replay.conftest import step as spec_step

Agent = Callable[..., Any]
Decorator = Callable[[Callable[[str], str]], Callable[[str], str]]
# What was really asked, by name.
asked: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_asked_yet() -> None:
    asked.clear()


def run(lab: Lab, agent: Agent, /, inputs: dict[str, Any] | None = None, **options: Any) -> Recording:
    """Record a plain function."""
    options = {"run_id": f"r-{len(lab.opened) + 1}", "seed": 7, **options}
    lab.opened.append(record(agent, store=lab.store, inputs=inputs or {}, **options))
    return lab.opened[-1]


def matches(lab: Lab, agent: Agent, /, inputs: dict[str, Any] | None = None, times: int = 1) -> Recording:
    """Record a plain function and replay it, the world unasked."""
    recording = run(lab, agent, inputs)
    assert recording.statement.status == "completed", [found.step.error for found in records(recording)]
    live = len(asked)
    for _ in range(times):
        answer = replay(recording, agent)
        assert (answer.verdict, answer.divergence, answer.problem) == ("matched", None, None)
        assert answer.steps_compared == answer.steps_recorded == len(records(recording))
    assert len(asked) == live
    assert lab.verify(recording.run_id).verdict == "intact"
    return recording


def steps(recording: Recording) -> dict[str, StepData]:
    return {found.step.step_id: found.step for found in records(recording)}


def output(recording: Recording) -> Any:
    """Return what the run's own step came to."""
    return decode(steps(recording)[recording.start.spec_id or ""].output)


def failure(recording: Recording) -> str:
    """Return the message of the run's own step, which failed."""
    found = steps(recording)[recording.start.spec_id or ""].error
    assert found
    return found.message


@external
def ask(what: str) -> float:
    asked.append(what)
    return random.random()


@external
async def ask_async(what: str) -> float:
    asked.append(what)
    await asyncio.sleep(random.random() / 500)
    return random.random()


@step
def double(n: float) -> float:
    return n * 2


@step
async def double_async(n: float) -> float:
    await asyncio.sleep(0)
    return n * 2


# Outside of a run


def test_outside_of_a_run_a_decorated_function_is_the_function() -> None:
    class Client:
        """No recording could hold one."""

    client = Client()

    @step
    def same(one: Client, *rest: Any, key: Any = None) -> Any:
        """Say what it does."""
        return one, rest, key

    asks = external(lambda given: given)
    assert same(client, 1, key=2) == (client, (1,), 2)
    assert asks(client) is client  # type: ignore[no-untyped-call]
    assert (same.__name__, same.__doc__) == ("same", "Say what it does.")
    assert asyncio.run(double_async(2)) == 4
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        double()  # type: ignore[call-arg]


def test_outside_of_a_run_a_generator_gives_item_after_item() -> None:
    given: list[int] = []

    @external
    def stream() -> Iterator[int]:
        for n in range(3):
            given.append(n)
            yield n

    @step
    async def stream_async() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    async def read() -> list[int]:
        return [n async for n in stream_async()]

    assert next(stream()) == 0
    assert given == [0]
    assert asyncio.run(read()) == [0, 1, 2]


# Forms of functions


class Tool:
    def __init__(self, name: str) -> None:
        self.name = name

    @external
    def look(self, n: int) -> float:
        asked.append((self.name, n))
        return n + random.random()

    @step
    def twice(self, n: float) -> float:
        return 2 * n

    @classmethod
    @step
    def of_class(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    @staticmethod
    @external
    def of_nothing(n: int) -> int:
        asked.append(n)
        return n + 1


def test_methods_are_recorded_without_the_object_that_has_them(lab: Lab) -> None:
    def agent() -> Any:
        tool = Tool("hammer")
        return [tool.twice(tool.look(1)), Tool.of_class(2), tool.of_nothing(3)]

    recording = matches(lab, agent)
    assert list(steps(recording)) == ["agent/Tool.twice", "agent/Tool.of_class", "agent"]
    assert [(effect.name, decode(effect.kwargs)) for effect in effects(recording)] == [
        ("Tool.look", {"n": 1}),
        ("Tool.of_nothing", {"n": 3}),
    ]
    assert decode(steps(recording)["agent/Tool.of_class"].inputs) == {"n": 2}


def test_what_is_wrapped_around_what_does_not_matter(lab: Lab) -> None:
    def noisy(function: Any) -> Any:
        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return around

    def add(a: int, b: int) -> int:
        return a + b

    class Adder:
        def __call__(self, a: int) -> int:
            return a + 1

    inside, outside = noisy(step(add)), step(noisy(add))
    part, unnamed, called = step(functools.partial(add, 1)), step(lambda n: n + 1), step(Adder())

    def agent() -> int:
        return int(inside(1, 2) + outside(a=1, b=2) + part(2) + unnamed(4) + called(5))  # type: ignore[no-untyped-call]

    recording = matches(lab, agent)
    assert output(recording) == 3 + 3 + 3 + 5 + 6
    assert list(steps(recording)) == [
        "agent/add",
        "agent/add#2",
        "agent/add#3",
        "agent/<lambda>",
        "agent/Adder",
        "agent",
    ]


def test_a_name_and_ignored_parameters_are_as_one_says(lab: Lab) -> None:
    @external(name="llm", ignore=["client"])
    def complete(client: Any, prompt: str) -> str:
        asked.append(prompt)
        return f"{prompt} {random.random()}"

    @step(name="plan", ignore=("client",))
    def planning(client: Any) -> str:
        return complete(client, prompt="go")

    recording = matches(lab, lambda: planning(object()))
    assert [effect.name for effect in effects(recording)] == ["llm"]
    assert decode(effects(recording)[0].kwargs) == {"prompt": "go"}
    assert decode(steps(recording)["main/plan"].inputs) == {}


def test_a_call_is_told_by_the_names_of_its_parameters_however_it_is_made(lab: Lab) -> None:
    @step
    def takes(a: int, /, b: int, *rest: int, c: int = 3, **more: int) -> int:
        return a + b + sum(rest) + c + sum(more.values())

    def agent() -> int:
        return takes(1, 2, 4, c=5, d=6) + takes(1, b=2)

    found = steps(matches(lab, agent))
    assert decode(found["agent/takes"].inputs) == {"a": 1, "b": 2, "rest": [4], "c": 5, "more": {"d": 6}}
    assert decode(found["agent/takes#2"].inputs) == {"a": 1, "b": 2}


def test_a_call_that_the_function_does_not_take_fails_as_it_does_without_us(lab: Lab) -> None:
    def agent() -> str:
        try:
            double(1, 2)  # type: ignore[call-arg]
        except TypeError as error:
            return str(error)
        return "taken"

    recording = matches(lab, agent)
    assert output(recording) == "too many positional arguments"
    assert list(steps(recording)) == ["agent"]


@pytest.mark.parametrize("form", [classmethod, staticmethod, property])
def test_what_is_no_function_is_refused_where_it_is_decorated(form: Any) -> None:
    with pytest.raises(UsageError, match=f"@step of a {form.__name__}"):
        step(form(lambda _: 1))
    with pytest.raises(UsageError, match="@external of a int"):
        external(3)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="has one of encode and decode"):
        external(encode=str)


def test_a_context_is_given_to_who_asks_for_one(lab: Lab) -> None:
    @step
    def rolls(sides: int, ctx: Context) -> int:
        return ctx.random.randint(1, sides)

    @step
    def named(context) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001  known by its name
        return f"{context.seed} {context.uuid4()} {context.now()}"

    def agent(ctx: Context) -> Any:
        return [rolls(6), rolls(6), named(), ctx.seed]  # type: ignore[call-arg]

    recording = matches(lab, agent)
    found = steps(recording)
    assert found["agent"].seed == path_seed(7, "agent") == output(recording)[3]
    assert found["agent/rolls#2"].seed == path_seed(7, "agent/rolls#2")
    assert recording.start.seed_scheme == "path-v1"
    assert decode(found["agent/rolls"].inputs) == {"sides": 6}


def test_a_function_takes_its_inputs_one_by_one_or_as_one(lab: Lab) -> None:
    def one_by_one(city: str, days: int = 3) -> str:
        return f"{city} {days}"

    def as_one(inputs: dict[str, Any]) -> Any:
        return inputs

    def with_context(ctx: Context, city: str) -> str:
        return city

    assert output(matches(lab, one_by_one, {"city": "Oslo"})) == "Oslo 3"
    assert output(matches(lab, as_one, {"city": "Oslo", "n": 1})) == {"city": "Oslo", "n": 1}
    assert output(matches(lab, with_context, {"city": "Oslo"})) == "Oslo"


def test_a_step_is_a_run_of_its_own_where_it_is_the_one_that_is_run(lab: Lab) -> None:
    assert list(steps(matches(lab, double, {"n": 2}))) == ["double"]
    assert list(steps(matches(lab, double_async, {"n": 2}))) == ["double_async"]


def test_steps_of_a_spec_call_steps_too(lab: Lab) -> None:
    spec = flow(spec_step("a", "s"), spec_step("b", "s", depends_on=["a"]))
    registry = skills(s=lambda ctx: double(ask(str(ctx.seed))))
    recording = lab.record(spec, registry)
    assert list(steps(recording)) == ["a/double", "a", "b/double", "b"]
    answer = replay(recording, registry)
    assert (answer.verdict, answer.steps_compared) == ("matched", 4)


def test_each_attempt_of_a_step_calls_steps_of_its_own(lab: Lab, hurried: None) -> None:
    def fails_twice(ctx: Context) -> float:
        tried.append(1)
        found = double(len(tried) % 3)
        if len(tried) % 3:
            raise OwnError
        return found

    tried: list[int] = []
    registry = skills(s=fails_twice)
    recording = lab.record(flow(spec_step("a", "s", on_error="retry", max_retries=3)), registry)
    assert recording.statement.status == "completed"
    assert list(steps(recording)) == ["a/double", "a/double#2", "a/double#3", "a"]
    assert replay(recording, registry).matched


# Streams


def test_a_generator_is_recorded_with_all_its_items_however_many_are_taken(lab: Lab) -> None:
    @external
    def tokens(n: int) -> Iterator[float]:
        asked.append(n)
        for _ in range(n):
            yield random.random()

    @external
    async def tokens_async(n: int) -> AsyncIterator[float]:
        asked.append(n)
        for _ in range(n):
            yield random.random()

    @step
    def halves(n: int) -> Iterator[float]:
        for token in tokens(n):
            yield token / 2

    async def agent() -> Any:
        half_read = tokens(5)
        taken = next(half_read)
        return [taken, list(halves(3)), [token async for token in tokens_async(2)]]

    recording = matches(lab, agent)
    assert [len(decode(effect.result)) for effect in effects(recording)] == [5, 3, 2]
    assert len(decode(steps(recording)["agent/halves"].output)) == 3


def test_a_generator_that_nobody_reads_asks_nothing(lab: Lab) -> None:
    @external
    def tokens() -> Iterator[int]:
        asked.append("tokens")
        yield 1

    def agent() -> None:
        tokens()

    assert effects(matches(lab, agent)) == []
    assert asked == []


def test_a_generator_that_gives_more_than_its_items_or_takes_some_is_refused(lab: Lab) -> None:
    @step
    def counts() -> Generator[int, None, int]:
        yield 1
        return 2

    @external
    def sums() -> Generator[int, int | None, None]:
        total = 0
        for _ in range(3):
            total += (yield total) or 0

    def sends() -> int:
        sum_of = sums()
        next(sum_of)
        return sum_of.send(1)

    def returns() -> list[int]:
        return list(counts())

    beside = "counts: it returns a value beside its items; yield it as the last one"
    assert failure(run(lab, returns)).endswith(beside)
    assert failure(run(lab, sends)).endswith(
        "sums is sent a value, and has given all its items by then; call it with that"
    )


@pytest.mark.parametrize("kind", [step, external])
def test_a_generator_without_end_is_refused(lab: Lab, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.streams._MAX_ITEMS", 1000)

    def numbers() -> Iterator[int]:
        yield from itertools.count()

    async def numbers_async() -> AsyncIterator[int]:
        for n in itertools.count():
            yield n

    async def reads() -> int:
        return await anext(kind(numbers_async)())

    for agent in (lambda: next(kind(numbers)()), reads):
        assert "it gives more than 1000 items; end it" in failure(run(lab, agent))


# Side by side


async def gathers(n: int) -> Any:
    async def one(name: str) -> float:
        return await double_async(await ask_async(name))

    return sorted(await asyncio.gather(*(one(f"tool {k}") for k in range(n))))


def test_calls_side_by_side_are_known_by_what_they_were_given(lab: Lab) -> None:
    for _ in range(5):
        matches(lab, gathers, {"n": 4}, times=10)


def test_twins_side_by_side_are_known_by_their_order(lab: Lab) -> None:
    async def agent() -> Any:
        return await asyncio.gather(*(double_async(1) for _ in range(5)))

    assert list(steps(matches(lab, agent, times=5)))[:5] == [
        "agent/double_async",
        *(f"agent/double_async#{n}" for n in range(2, 6)),
    ]


def test_threads_of_a_pool_know_their_step(lab: Lab) -> None:
    def work(n: int) -> float:
        return double(ask(f"{n}"))

    async def agent() -> Any:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, range(4)))
            found.append(await loop.run_in_executor(pool, work, 4))
        found.append(await loop.run_in_executor(None, work, 5))
        found.append(await asyncio.to_thread(work, 6))
        return found

    before = ThreadPoolExecutor.submit
    recording = matches(lab, agent, times=5)
    assert len(effects(recording)) == 7
    assert ThreadPoolExecutor.submit is before


STRAY = "external call 'ask' from code that does not know its step; start its thread by asyncio.to_thread or an exec"


def thread_of(what: str) -> int:
    def work() -> None:
        with pytest.raises(UsageError):
            ask(what)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return 1


def pool_of(what: str) -> Any:
    with ThreadPool(2) as pool:
        return pool.map(ask, [what])


def empty_context(what: str) -> Any:
    return contextvars.Context().run(ask, what)


async def task_of(what: str) -> Any:
    return await asyncio.create_task(ask_async(what), context=contextvars.Context())


@pytest.mark.parametrize("agent", [thread_of, pool_of, empty_context, task_of])
def test_code_that_does_not_know_its_step_is_refused_and_named(lab: Lab, agent: Agent) -> None:
    recording = run(lab, agent, {"what": "from nowhere"})
    assert failure(recording).replace("ask_async", "ask").startswith(STRAY)
    assert replay(recording, agent).matched
    assert asked == []


def test_a_process_of_a_pool_is_refused_and_named(lab: Lab) -> None:
    def agent() -> str:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            try:
                pool.submit(ask, "from there").result(30)
            except UnrecordableError as error:
                return str(error)
        return "asked"

    assert output(run(lab, agent)) == "external call 'ask' in a forked process; make it in the step's own"


def test_of_several_steps_at_work_none_answers_for_a_thread_that_knows_none(lab: Lab) -> None:
    together = threading.Barrier(2, timeout=30)

    def agent(what: str) -> int:
        together.wait()
        found = thread_of(what)
        together.wait()
        return found

    with ThreadPoolExecutor(2) as pool:
        recordings = list(pool.map(lambda n: run(lab, agent, {"what": "x"}, run_id=f"at-once-{n}"), range(2)))
    assert [found.statement.status for found in recordings] == ["completed"] * 2
    assert asked == []


def test_a_call_after_the_run_has_ended_is_refused(lab: Lab) -> None:
    left: list[BaseException] = []
    over = threading.Event()

    def later() -> None:
        over.wait(30)
        for call in (ask, double):
            try:
                call(1)  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001  what is looked at
                left.append(error)

    def agent() -> int:
        threads.append(pool.submit(later))
        return 1

    threads: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        recording = run(lab, agent)
        over.set()
        threads[0].result(30)
    assert recording.statement.status == "completed"
    assert [str(error) for error in left] == [
        "external call 'ask' of a step that has ended",
        "step 'double' of a step that has ended",
    ]
    assert asked == []


def test_two_runs_at_once_in_one_process_do_not_meet(lab: Lab) -> None:
    meet = threading.Barrier(2, timeout=30)

    def agent(name: str) -> Any:
        meet.wait()
        found = [ask(f"{name} {n}") for n in range(20)]
        meet.wait()
        return [double(n) for n in found]

    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(record, agent, store=lab.store, run_id=f"both-{n}", seed=n, inputs={"name": f"{n}"})
            for n in range(2)
        ]
        recordings = [each.result(60) for each in both]
    lab.opened += recordings
    for n, recording in enumerate(recordings):
        assert {decode(effect.kwargs)["what"].split()[0] for effect in effects(recording)} == {f"{n}"}
        alone = threading.Barrier(1)
        meet = alone
        assert replay(recording, agent).matched


# Values


@dataclasses.dataclass
class Plain:
    name: str
    when: dt.datetime
    parts: tuple[int, ...] = ()


@attrs.define
class Attrs:
    n: int


class Packed(msgspec.Struct):
    n: int


class Model(pydantic.BaseModel):
    n: int
    when: dt.date


NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
TYPED: list[tuple[Any, Any]] = [
    (Plain, Plain("a", NOW, (1, 2))),
    (Attrs, Attrs(1)),
    (Packed, Packed(2)),
    (Model, Model(n=3, when=NOW.date())),
    (list[Model], [Model(n=3, when=NOW.date())]),
    (Model | None, None),
    (dt.datetime, NOW),
    (tuple[int, str], (1, "a")),
    (set[int], {3, 1}),
    (bytes, b"\x00\xff"),
    (dict[int, Attrs], {1: Attrs(2)}),
]


@pytest.mark.parametrize("kind, value", TYPED, ids=lambda given: str(given)[:20])
def test_a_typed_result_is_made_again_as_it_is_annotated(lab: Lab, kind: Any, value: Any) -> None:
    def world() -> Any:
        asked.append("world")
        return value

    world.__annotations__["return"] = kind
    got: list[Any] = []
    asking = external(world)

    def agent() -> None:
        got.append(asking())

    matches(lab, agent)
    assert got == [value, value]
    assert [type(each) for each in got] == [type(value)] * 2
    assert got[0] is not value or value is None


@pytest.mark.parametrize("kind, value", TYPED, ids=lambda given: str(given)[:20])
def test_typed_arguments_and_outputs_of_steps_are_compared(lab: Lab, kind: Any, value: Any) -> None:
    @step
    def same(given: Any) -> Any:
        return given

    kept: list[Any] = []

    def agent() -> None:
        kept.append(same(value))

    matches(lab, agent)
    assert kept[0] is value


class Foreign:
    """Nothing says what it holds."""


REFUSED: list[tuple[Any, str]] = [
    (Plain("a", NOW), "result of world is a Plain, made again it is another; annotate it: -> Plain"),
    ((1, 2), "result of world is a tuple, made again it is another; annotate it: -> tuple[int, int]"),
    ({"a": (1,)}, "result of world is a dict, made again it is another; annotate it: -> dict[str, tuple[int]]"),
    ({1: "a", 2: None}, "made again it is another; annotate it: -> dict[int, str | None]"),
    ([Plain("a", NOW)], "result of world is a list, made again it is another; annotate it: -> list[Plain]"),
    (Foreign(), "result of world: a Foreign is no JSON value"),
    (float("nan"), 'result of world: number at "" is nan'),
]


@pytest.mark.parametrize("value, message", REFUSED, ids=lambda given: str(given)[:20])
def test_a_result_that_cannot_be_made_again_is_refused_with_the_line_to_add(lab: Lab, value: Any, message: str) -> None:
    @external
    def world():  # type: ignore[no-untyped-def]  # noqa: ANN202  what is tried
        return value

    def agent() -> int:
        try:
            world()  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001  it does not help
            return 1
        return 2

    recording = run(lab, agent)
    assert recording.statement.status == "failed"
    assert message in failure(recording)
    assert replay(recording, agent).matched


def test_a_result_that_can_no_longer_be_made_again_is_named_whatever_catches_it(lab: Lab) -> None:
    def agent_of(kind: Any) -> Agent:
        def world():  # type: ignore[no-untyped-def]  # noqa: ANN202  annotated below
            return [1]

        world.__annotations__["return"] = kind
        asks: Any = external(world)

        def agent() -> int:
            try:
                asks()
            except Exception:  # noqa: BLE001  it does not help
                return 1
            return 1

        return agent

    answer = replay(run(lab, agent_of(list[int])), agent_of(int))
    assert answer.divergence
    assert (answer.divergence.cause, answer.divergence.path) == ("error", "")
    assert answer.failure
    message = "result of world cannot be made of what was recorded: it is no int: Expected `int`, got `array`"
    assert answer.failure.message == message


def test_a_codec_stores_what_has_no_form_of_its_own(lab: Lab) -> None:
    class Handle:
        def __init__(self, n: float) -> None:
            self.n = n

    @external(encode=lambda handle: handle.n, decode=Handle)
    def opens() -> Handle:
        asked.append("opens")
        return Handle(random.random())

    def agent() -> float:
        return opens().n

    matches(lab, agent)


def test_an_argument_that_no_recording_can_hold_is_refused_with_the_line_to_add(lab: Lab) -> None:
    @external
    def asks(client: Any) -> int:
        asked.append(client)
        return 1

    @step
    def plans(client: Any) -> int:
        return 1

    for function, kind in ((asks, "external"), (plans, "step")):
        recording = run(lab, lambda function=function: function(Foreign()))
        line = f'leave it out: @{kind}(ignore=["client"])'
        assert failure(recording).endswith(line)
    assert asked == []


def test_an_external_that_changes_its_argument_is_refused(lab: Lab) -> None:
    @external
    def fills(into: list[int]) -> int:
        into.append(1)
        return len(into)

    recording = run(lab, lambda: fills([]))
    assert failure(recording) == "fills changed an argument, which a replay would not; return what is new"


# Errors


class OwnError(Exception):
    """One that the module of the function sees."""


def unseen() -> type[Exception]:
    """Return a class that only its maker can name."""

    class UnseenError(Exception):
        """Nobody else sees it."""

    return UnseenError


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error, caught",
    [
        (ValueError("no"), ValueError),
        (OwnError("own"), OwnError),
        (unseen()("hidden"), EffectError),
        (ConnectionError("lost"), ConnectionError),
        (json.JSONDecodeError("bad", "{", 1), json.JSONDecodeError),
        # Deeper than the module that is imported, and called as a built-in one.
        (urllib.error.URLError("no route"), urllib.error.URLError),
        (sqlite3.OperationalError("locked"), sqlite3.OperationalError),
        (subprocess.CalledProcessError(1, "false"), subprocess.CalledProcessError),
        (KeyError("k"), LookupError),
        (FileNotFoundError(2, "No such file", "x"), OSError),
    ],
)
def test_an_exception_of_the_world_is_caught_by_its_type_in_a_replay_too(
    lab: Lab, error: Exception, caught: type[Exception], is_async: bool
) -> None:
    @external
    def fails() -> None:
        asked.append("fails")
        raise error

    @external
    async def fails_async() -> None:
        asked.append("fails")
        raise error

    async def agent() -> str:
        try:
            await fails_async() if is_async else fails()
        except caught as found:
            return f"{type(found).__name__}: {found}"
        return "nothing"

    told = f"{type(error).__name__}: {error}"
    assert output(matches(lab, agent)) == (f"EffectError: {told}" if caught is EffectError else told)


@pytest.mark.parametrize(
    "error, name", [(subprocess.CalledProcessError(1, "false"), "returncode"), (OSError(2, "x"), "errno")]
)
def test_what_of_an_exception_is_not_recorded_says_so(lab: Lab, error: Any, name: str) -> None:
    @external
    def fails() -> None:
        raise error

    def agent() -> Any:
        try:
            fails()
        except type(error) as found:
            return getattr(found, name)

    assert failure(run(lab, agent)).startswith(
        f"{name} of a {type(error).__name__} that was raised in an @external: only"
    )


def test_a_step_that_fails_is_recorded_and_its_caller_may_go_on(lab: Lab) -> None:
    @step
    def fails(n: int) -> int:
        raise OwnError(f"at {n}")

    def agent() -> str:
        try:
            return str(fails(1))
        except OwnError as error:
            return str(error)

    recording = matches(lab, agent)
    found = steps(recording)["agent/fails"]
    assert found.error
    assert (found.success, found.error_code, found.error.type, found.error.message) == (
        False,
        "EXECUTION_ERROR",
        "OwnError",
        "at 1",
    )
    line = fails.__wrapped__.__code__.co_firstlineno  # type: ignore[attr-defined]
    assert found.error.location == here(line + 2, __file__)
    assert output(recording) == "at 1"


def test_an_exception_that_nobody_catches_fails_every_step_on_its_way(lab: Lab) -> None:
    @step
    def inner() -> None:
        raise OwnError

    @step
    def outer() -> None:
        inner()

    def agent() -> None:
        outer()

    recording = run(lab, agent)
    assert [(name, data.success) for name, data in steps(recording).items()] == [
        ("agent/outer/inner", False),
        ("agent/outer", False),
        ("agent", False),
    ]
    assert replay(recording, agent).matched


def test_a_step_that_is_cancelled_is_so_in_a_replay(lab: Lab) -> None:
    @step
    async def slow() -> float:
        return await ask_slowly()

    @external
    async def ask_slowly() -> float:
        asked.append("slowly")
        await asyncio.sleep(60)
        return 1.0

    async def agent() -> str:
        try:
            await asyncio.wait_for(slow(), 0.01)
        except TimeoutError:
            return "given up"
        return "answered"

    assert output(matches(lab, agent)) == "given up"


def test_a_task_that_its_caller_leaves_is_cancelled_and_so_is_its_step(lab: Lab) -> None:
    @step
    async def waits() -> None:
        await asyncio.sleep(60)

    tasks: list[Any] = []

    async def agent() -> int:
        tasks.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)
        return 1

    found = steps(matches(lab, agent))["agent/waits"]
    assert found.error
    assert found.error.type == "CancelledError"


def test_a_step_that_its_caller_does_not_wait_for_fails_the_caller(lab: Lab) -> None:
    begun, over = threading.Event(), threading.Event()

    @step
    def waits() -> None:
        begun.set()
        over.wait(30)

    def agent() -> int:
        pool.submit(waits)
        begun.wait(30)
        return 1

    with ThreadPoolExecutor(1) as pool:
        recording = run(lab, agent)
        over.set()
    assert failure(recording) == "step agent/waits was still under way when agent ended; wait for it"


def test_an_exception_whose_class_is_not_the_one_that_its_module_sees_is_refused(lab: Lab) -> None:
    class OwnError(Exception):
        """Called like the one above."""

    @external
    def fails() -> None:
        raise OwnError

    assert failure(run(lab, fails_of(fails))) == "fails raised a OwnError, its module sees another class of that name"


def fails_of(function: Any) -> Agent:
    def agent() -> Any:
        return function()

    return agent


def test_a_value_called_context_is_recorded_as_any_other(lab: Lab) -> None:
    @step
    def answers(question, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  known by its name
        return f"{question} {context}"

    recording = matches(lab, lambda: answers("who", "what was found"))  # type: ignore[no-untyped-call]
    assert decode(steps(recording)["main/answers"].inputs) == {"question": "who", "context": "what was found"}


def test_a_recursion_has_a_path_for_each_turn(lab: Lab) -> None:
    @step
    def countdown(n: int) -> int:
        return 0 if n == 0 else countdown(n - 1) + 1

    recording = matches(lab, lambda: countdown(20))
    assert max(steps(recording), key=len) == "main" + "/countdown" * 21


def test_a_recursion_without_end_fails_as_it_does_without_us(lab: Lab) -> None:
    @step
    def down(n: int) -> int:
        return down(n + 1)

    def asks(n: int) -> int:
        ask(f"{n}")
        return asks(n + 1)

    def agent() -> list[str]:
        found = []
        for call in (down, asks):
            try:
                call(0)
            except RecursionError as error:
                found.append(str(error))
        return found

    recording = run(lab, agent)
    assert output(recording) == ["maximum recursion depth exceeded"] * 2
    assert lab.verify(recording.run_id).verdict == "intact"
    deepest = max(steps(recording).values(), key=lambda found: found.index)
    assert deepest.error
    assert deepest.error.type == "RecursionError"


def test_a_call_inside_of_an_external_one_is_part_of_it(lab: Lab) -> None:
    @external
    def outer() -> float:
        return double(ask("inner"))

    recording = matches(lab, lambda: outer())  # noqa: PLW0108  a function of its own
    assert [effect.name for effect in effects(recording)] == ["outer"]
    assert list(steps(recording)) == ["main"]


# Money, and being stopped


def test_what_a_step_spends_is_spent_by_who_called_it_too(lab: Lab) -> None:
    @step
    def pays(cents: int, ctx: Context) -> None:
        ctx.spend(cents)

    def agent(ctx: Context) -> None:
        pays(3)  # type: ignore[call-arg]
        pays(4)  # type: ignore[call-arg]
        ctx.spend(1)

    recording = matches(lab, agent)
    assert {name: data.cost_cents for name, data in steps(recording).items()} == {
        "agent/pays": 3,
        "agent/pays#2": 4,
        "agent": 8,
    }
    assert ending(recording).total_cost_cents == 8


def test_a_step_over_the_ceiling_ends_the_run_whatever_its_caller_catches(lab: Lab) -> None:
    @step
    def pays(ctx: Context) -> None:
        ctx.spend(60)

    def agent() -> int:
        pays()  # type: ignore[call-arg]
        try:
            pays()  # type: ignore[call-arg]
        except BaseException:  # noqa: BLE001  what is tried
            return 1
        return 2

    recording = run(lab, agent, step_ceiling_cents=100)
    found = steps(recording)
    assert (found["agent/pays#2"].error_code, found["agent"].error_code) == ("STEP_CEILING_EXCEEDED",) * 2
    assert (recording.statement.status, ending(recording).total_cost_cents) == ("budget_exceeded", 60)
    assert replay(recording, agent).matched


def test_a_stop_is_heard_before_the_next_step(lab: Lab) -> None:
    environ: dict[str, str] = {}

    def agent() -> int:
        double(1)
        environ["WORKFLOW_EMERGENCY_STOP"] = "1"
        double(2)
        return 3

    recording = run(lab, agent, controls=Controls(str(lab.store.folder), environ))
    assert recording.statement.status == "emergency_stopped"
    assert list(steps(recording)) == ["agent/double", "agent"]
    assert steps(recording)["agent"].error_code == "EMERGENCY_STOP"
    environ.clear()
    assert replay(recording, agent).matched


# Divergences


def diverges(lab: Lab, recorded: Agent, replayed: Agent) -> tuple[Any, ...]:
    replayed.__name__ = recorded.__name__
    answer = replay(run(lab, recorded), replayed)
    assert answer.verdict == "diverged", answer
    found = answer.divergence
    assert found
    return found.cause, found.step_id, found.path, found.expected, found.actual, found.kind


hidden: list[Any] = []


def calling(*calls: Callable[[], Any]) -> Agent:
    def agent() -> None:
        for call in calls:
            try:
                call()
            except BaseException:  # noqa: BLE001  no skill hides what we found
                hidden.append(call)

    return agent


def changed(factor: float) -> Any:
    @step(name="double")
    def other(n: float) -> float:
        return n * factor

    return other


def prompt(text: str) -> Callable[[], Any]:
    return lambda: ask(text)


def asked_by_default(model: str) -> Callable[[], Any]:
    @external(name="ask")
    def other(what: str = model) -> str:
        return what

    return lambda: other()  # noqa: PLW0108  its name is not the caller's


DIVERGING: list[tuple[str, Agent, Agent, tuple[Any, ...]]] = [
    (
        "a step is given something else",
        calling(lambda: double(1)),
        calling(lambda: double(2)),
        ("inputs", "agent/double", "/n", 1, 2, "changed"),
    ),
    (
        "a step comes to something else",
        calling(lambda: double(1)),
        calling(lambda: changed(3)(1)),
        ("output", "agent/double", "", 2, 3, "changed"),
    ),
    (
        "a step is called once more",
        calling(lambda: double(1)),
        calling(lambda: double(1), lambda: double(1)),
        ("step", "agent", "", None, "double", "added"),
    ),
    (
        "a step is not called",
        calling(lambda: double(1)),
        calling(),
        ("step", "agent/double", "", "double", None, "removed"),
    ),
    (
        "a prompt is another",
        calling(prompt("a")),
        calling(prompt("b")),
        ("effect", "agent", "/effects/0/kwargs/what", "a", "b", "changed"),
    ),
    (
        "what nobody gives is another",
        calling(asked_by_default("big")),
        calling(asked_by_default("small")),
        ("effect", "agent", "/effects/0/kwargs/what", "big", "small", "changed"),
    ),
    (
        "the world is asked once more",
        calling(prompt("a")),
        calling(prompt("a"), prompt("b")),
        ("effect", "agent", "/effects/1", None, {"name": "ask", "args": [], "kwargs": {"what": "b"}}, "added"),
    ),
    (
        "the world is not asked",
        calling(prompt("a")),
        calling(),
        ("effect", "agent", "/effects/0", {"name": "ask", "args": [], "kwargs": {"what": "a"}}, None, "removed"),
    ),
]


@pytest.mark.parametrize("name, recorded, replayed, found", DIVERGING, ids=[row[0] for row in DIVERGING])
def test_the_first_divergence_is_named_and_nothing_hides_it(
    lab: Lab, name: str, recorded: Agent, replayed: Agent, found: tuple[Any, ...]
) -> None:
    assert diverges(lab, recorded, replayed) == found, name
    assert len(asked) <= 1


def test_where_a_step_is_not_called_is_where_its_caller_failed_else_the_caller(lab: Lab) -> None:
    how = "calls"

    @step
    def plans() -> None:
        if how == "fails":
            raise OwnError
        if how == "calls":
            double(1)

    def agent() -> None:
        with contextlib.suppress(OwnError):
            plans()

    recording = run(lab, agent)
    lines, first = inspect.getsourcelines(plans.__wrapped__)  # type: ignore[attr-defined]
    found = {}
    for how in ("fails", "leaves out"):
        divergence = replay(recording, agent).divergence
        assert divergence
        found[how] = divergence.step_id, divergence.location
    raising = next(n for n, line in enumerate(lines) if "raise" in line)
    assert found["fails"] == ("agent/plans/double", here(first + raising, __file__))
    assert found["leaves out"] == ("agent/plans/double", here(first + 1, __file__))


def test_a_divergence_inside_a_step_names_the_line(lab: Lab) -> None:
    word = "recorded"

    @step
    def plans() -> float:
        return ask(word)

    def agent() -> float:
        return plans()

    recording = run(lab, agent)
    word = "replayed"
    found = replay(recording, agent).divergence
    assert found
    line = plans.__wrapped__.__code__.co_firstlineno + 2  # type: ignore[attr-defined]
    assert (found.step_id, found.expected, found.actual, found.location) == (
        "agent/plans",
        "recorded",
        "replayed",
        here(line, __file__),
    )


@pytest.mark.parametrize("decorated", [step, external])
def test_a_call_that_a_pool_makes_is_named_where_it_was_given_to_the_pool(lab: Lab, decorated: Decorator) -> None:
    word = "recorded"

    @decorated
    def look(what: str) -> str:
        return what

    def agent() -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(look, word), pool.submit(look, "other")]
            return [future.result() for future in futures]

    recording = run(lab, agent)
    word = "replayed"
    found = replay(recording, agent).divergence
    assert found
    assert found.actual == "replayed"
    assert found.location == here(agent.__code__.co_firstlineno + 2, __file__)


# Being killed, and going on


def test_one_run_is_recorded_alike_each_time(lab: Lab) -> None:
    def agent() -> Any:
        return [double(n) for n in range(3)]

    one, other = run(lab, agent), run(lab, agent)
    assert [msgspec.json.encode(found.step) for found in records(one)] == [
        msgspec.json.encode(found.step) for found in records(other)
    ]


def test_time_that_a_step_takes_is_its_own(lab: Lab) -> None:
    @step
    def naps() -> None:
        time.sleep(0.02)

    recording = matches(lab, lambda: naps())  # noqa: PLW0108  a function of its own
    taken = [event.timing.duration_us for event in recording.events() if event.event_type == "step" and event.timing]
    assert all(20_000 <= each < 20_000_000 for each in taken)
