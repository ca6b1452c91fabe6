"""Runs with secrets: none reaches the file, a replay and a resumption go by the true ones, and refuse without them."""

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from golden.canonical import decode, output_hash
from golden.errors import GoldenError, StoreError, UsageError
from replay import Context, EffectError, MemoryCheckpointStore, SkillRegistry, external, record, replay
from replay import step as nested
from replay.host import Host
from replay.progress import Saving
from replay.resuming import Terms, fork, recover, resume
from replay.writing import Writing
from tests.unit.replay.conftest import Lab, effects, flow, only, records, skills, step

TOKEN = "hush-hush-4711"
FRESH = "fresh-token-0815"


def text_of(lab: Lab, run_id: str = "r-1") -> str:
    """Return all that any file of the golden directory holds."""
    return "".join(path.read_text() for path in sorted(lab.store.directory.rglob("*")) if path.is_file())


def login(ctx: Context) -> Any:
    """Exchange the password for a token, and say so."""
    ask = lambda password: {"text": json.dumps({"access_token": FRESH, "for": password})}  # noqa: E731
    answer = ctx.external("http.POST", ask, ctx.inputs["password"])
    return {"token": json.loads(answer["text"])["access_token"], "greeting": f"as {ctx.inputs['password']}"}


def fetch(ctx: Context) -> Any:
    asked = ctx.external("fetch", lambda header: f"given {header}", f"Bearer {ctx.inputs['token']}")
    return {"answer": asked, "size": len(ctx.inputs["token"])}


REDACT = ["/inputs/password", "/steps/login/effects/http.POST/result/text/access_token"]
TWO = flow(
    step("login", "login", inputs={"password": "${inputs.password}"}),
    step("fetch", "fetch", inputs={"token": "${login.token}"}),
    redact=REDACT,
    result="${fetch.answer}",
)
ONE = flow(step("a", "s", inputs={"p": "${inputs.password}"}), redact=["/inputs/*"])
INPUTS = {"inputs": {"password": TOKEN}}


def both() -> SkillRegistry:
    return skills(login=login, fetch=fetch)


def test_no_secret_reaches_any_file_and_all_hashes_are_those_of_what_is_written(lab: Lab) -> None:
    recording = lab.record(TWO, both(), **INPUTS)
    assert recording.statement.status == "completed"
    text = text_of(lab)
    assert TOKEN not in text
    assert FRESH not in text
    assert recording.start.redacted == REDACT
    assert decode(recording.start.inputs) == {"password": "redacted-1"}
    first, second = (found.step for found in records(recording))
    assert decode(first.output) == {"token": "redacted-2", "greeting": "as redacted-1"}
    assert decode(second.inputs) == {"token": "redacted-2"}
    for data in (first, second):
        assert data.input_hash == output_hash(decode(data.inputs))
        assert data.output_hash == output_hash(decode(data.output))
    asked, fetched = effects(recording)
    assert decode(asked.args) == ["redacted-1"]
    assert decode(asked.result) == {"text": '{"access_token": "redacted-2", "for": "redacted-1"}'}
    assert decode(fetched.args) == ["Bearer redacted-2"]
    for effect in (asked, fetched):
        assert effect.result_hash == output_hash(decode(effect.result))
    assert recording.end is not None
    assert recording.end.result_hash == output_hash("given Bearer redacted-2")


def test_a_replay_goes_by_the_input_that_is_given(lab: Lab) -> None:
    recording = lab.record(ONE, skills(s=size), **INPUTS)
    answer = replay(recording, skills(s=size), inputs={"password": TOKEN})
    assert (answer.verdict, answer.notes) == ("matched", [])
    # One that behaves otherwise is another.
    answer = replay(recording, skills(s=size), inputs={"password": TOKEN + "!"})
    assert answer.divergence is not None
    assert (answer.divergence.cause, answer.divergence.path) == ("output", "/size")


def size(ctx: Context) -> Any:
    return {"size": len(ctx.inputs["p"]), "said": ctx.inputs["p"]}


def test_a_replay_without_the_input_is_refused_by_its_name(lab: Lab) -> None:
    recording = lab.record(TWO, both(), **INPUTS)
    answer = replay(recording, both())
    assert answer.verdict == "refused"
    assert answer.problem == "what was redacted in the run inputs is not in the file: password"
    assert answer.hint == "give it: --input password=VALUE"


def test_what_a_call_answered_stands_for_itself_in_a_replay(lab: Lab) -> None:
    said = skills(login=login, fetch=lambda ctx: f"Bearer {ctx.inputs['token']}")
    recording = lab.record({**TWO, "result": "${login}"}, said, **INPUTS)
    answer = replay(recording, said, inputs={"password": TOKEN})
    assert (answer.verdict, answer.divergence, answer.notes) == ("matched", None, [])


def test_what_a_call_says_of_a_secret_that_is_given_is_said_again(lab: Lab) -> None:
    def echo(ctx: Context) -> Any:
        said = ctx.external("echo", lambda p: {"user": p, "text": f"hello, {p}"}, ctx.inputs["p"])
        return [len(said["user"]), said["text"].upper() == f"HELLO, {ctx.inputs['p'].upper()}"]

    recording = lab.record(ONE, skills(s=echo), **INPUTS)
    assert decode(only(recording).output) == [len(TOKEN), True]
    assert replay(recording, skills(s=echo), inputs={"password": TOKEN}).matched


def test_given_inputs_must_be_redacted_alike(lab: Lab) -> None:
    document = flow(step("a", "s", inputs={"p": "${inputs.a}"}), redact=["/inputs/a", "/inputs/b"])
    recording = lab.record(document, skills(s=size), inputs={"a": "one-1", "b": "one-1"})
    assert decode(recording.start.inputs) == {"a": "redacted-1", "b": "redacted-1"}
    answer = replay(recording, skills(s=size), inputs={"a": "one-1", "b": "two-2"})
    assert answer.divergence is not None
    assert (answer.divergence.cause, answer.divergence.path) == ("inputs", "/b")
    assert (answer.divergence.expected, answer.divergence.actual) == ("redacted-1", "redacted-2")
    assert replay(recording, skills(s=size), inputs={"a": "two-2", "b": "two-2"}).matched


def test_a_divergence_shows_no_secret(lab: Lab) -> None:
    def other(ctx: Context) -> Any:
        ctx.external("fetch", str, f"Basic {ctx.inputs['token']} {TOKEN}")
        return None

    recording = lab.record(TWO, both(), **INPUTS)
    answer = replay(recording, skills(login=login, fetch=other), inputs={"password": TOKEN})
    assert answer.divergence is not None
    assert answer.divergence.actual == "Basic redacted-2 redacted-1"
    assert TOKEN not in repr(answer)


def test_a_replay_sees_volatile_values_as_recorded_and_secrets_as_given(lab: Lab) -> None:
    document = flow(
        step("a", "s", inputs={"in": "${inputs.in}"}), redact=["/inputs/in/token"], volatile=["/inputs/in/at"]
    )
    seen = []

    def look(ctx: Context) -> Any:
        seen.append(ctx.inputs["in"])
        return len(ctx.inputs["in"]["token"])

    registry = skills(s=look)
    recording = lab.record(document, registry, inputs={"in": {"token": TOKEN, "at": 1}})
    assert replay(recording, registry, inputs={"in": {"token": TOKEN, "at": 2}}).matched
    assert seen == [{"token": TOKEN, "at": 1}] * 2


def test_a_failure_tells_no_secret(lab: Lab) -> None:
    def fail(ctx: Context) -> Any:
        try:
            ctx.external("world", lambda: (_ for _ in ()).throw(KeyError(TOKEN)))
        except EffectError as error:
            raise ValueError(f"bad password {ctx.inputs['p']!r}: {error}") from error

    recording = lab.record(ONE, skills(s=fail), **INPUTS)
    assert TOKEN not in text_of(lab)
    assert only(recording).error.message == "bad password 'redacted-1': KeyError: 'redacted-1'"  # type: ignore[union-attr]
    assert effects(recording)[0].error.message == "'redacted-1'"  # type: ignore[union-attr]
    answer = replay(recording, skills(s=fail), inputs={"password": TOKEN})
    assert answer.matched


class Watching:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def step(self, data: Any, failure: Any) -> None:
        self.told += [repr(data), repr(failure)]

    def note(self, text: str) -> None:
        self.told.append(text)


def test_an_observer_hears_no_secret_and_of_rules_that_matched_nothing(lab: Lab) -> None:
    def fail(ctx: Context) -> Any:
        raise ValueError(ctx.inputs["p"])

    watching = Watching()
    document = flow(step("a", "s", inputs={"p": "${inputs.password}"}), redact=["/inputs/*", "/steps/a/output/x"])
    recording = lab.record(document, skills(s=fail), observer=watching, **INPUTS)
    assert TOKEN not in "".join(watching.told)
    assert watching.told[-1] == "redact paths that matched nothing: /steps/a/output/x"
    answer = replay(recording, skills(s=fail), inputs={"password": TOKEN})
    assert answer.notes == ["redact paths that matched nothing: /steps/a/output/x"]


def test_steps_that_steps_call_are_rid_of_secrets_too(lab: Lab) -> None:
    @external
    def token_for(password: str) -> str:
        return password[::-1]

    @nested
    def logged_in(password: str) -> dict[str, Any]:
        return {"token": token_for(password), "again": [token_for(password)]}

    def agent(password: str) -> Any:
        found = logged_in(password)
        return {"said": f"using {found['token']}", "n": len(password)}

    rules = ["/inputs/password", "/steps/*/effects/*/result"]
    recording = record(agent, store=lab.store, run_id="r-1", redact=rules, inputs={"password": TOKEN})
    assert recording.statement.status == "completed"
    text = text_of(lab)
    assert TOKEN not in text
    assert TOKEN[::-1] not in text
    assert [decode(found.step.output) for found in records(recording)] == [
        {"again": ["redacted-2"], "token": "redacted-2"},
        {"said": "using redacted-2", "n": len(TOKEN)},
    ]
    answer = replay(recording, agent, inputs={"password": TOKEN})
    assert (answer.verdict, answer.divergence, answer.notes) == ("matched", None, [])


def test_the_output_of_a_step_that_was_called_can_be_declared(lab: Lab) -> None:
    @nested
    def drawn(ctx: Context) -> str:
        return f"key-{ctx.random.random()}"

    def agent() -> Any:
        return [drawn(), drawn()]  # type: ignore[call-arg]

    recording = record(agent, store=lab.store, run_id="r-1", redact=["/steps/agent~1drawn/output"])
    outputs = {found.step.step_id: decode(found.step.output) for found in records(recording)}
    assert outputs["agent/drawn"] == "redacted-1"
    assert replay(recording, agent).matched


def test_a_token_that_is_declared_where_it_is_returned_but_was_written_before_fails_the_step(lab: Lab) -> None:
    document = {**TWO, "redact": ["/inputs/password", "/steps/login/output/token"]}
    by_text = skills(login=lambda ctx: {"token": ctx.external("http.POST", lambda: f"it is {FRESH}")[6:]}, fetch=fetch)
    error = only(lab.record(document, by_text, **INPUTS)).error
    assert error
    assert error.type == "SecretError"
    assert "/steps/login/effects/http.POST/result" in error.message
    assert FRESH not in error.message


def test_a_token_that_is_declared_nowhere_is_recognised_before_it_is_written(lab: Lab) -> None:
    error = only(lab.record({**TWO, "redact": REDACT[:1]}, both(), **INPUTS)).error
    assert error
    assert "/steps/login/effects/http.POST/result/text/access_token holds what looks like a secret" in error.message
    assert FRESH not in text_of(lab)


@pytest.mark.parametrize("name", [f"GET /?t={TOKEN}", "GET /?t=ghp_" + "aB3" * 12])
def test_a_call_whose_name_holds_a_secret_is_refused(lab: Lab, name: str) -> None:
    recording = lab.record(ONE, skills(s=lambda ctx: ctx.external(name, lambda: 1)), **INPUTS)
    error = only(recording).error
    assert error
    assert error.message.startswith("the name of ")
    assert error.message.endswith("; name it by what it does, and hand that over as an argument")
    for secret in (TOKEN, "ghp_aB3"):
        assert secret not in text_of(lab)


def test_a_secret_in_the_name_of_an_exception_or_its_place_is_not_written(lab: Lab) -> None:
    word = "hush_hush"

    def raises(ctx: Context) -> Any:
        code = f"class E_{ctx.inputs['p']}(Exception): pass\ndef f(): raise E_{ctx.inputs['p']}\nf()"
        exec(compile(code, f"/{ctx.inputs['p']}.py", "exec"), {})  # noqa: S102  ours

    recording = lab.record(ONE, skills(s=raises), inputs={"password": word})
    error = only(recording).error
    assert error
    assert (error.type, error.location) == ("E_redacted-1", "/redacted-1.py:2")
    assert word not in text_of(lab)
    assert replay(recording, skills(s=raises), inputs={"password": word}).verdict == "matched"


def test_steps_side_by_side_may_find_secrets_in_any_order(lab: Lab) -> None:
    turn, replaying = threading.Barrier(4), list[bool]()

    def draw(ctx: Context) -> Any:
        if not replaying:
            turn.wait(30)
        return {"token": f"token-{ctx.seed}", "all": "same-for-all"}

    names = ["a", "b", "c", "d"]
    last = step("e", "join", inputs={name: "${" + name + ".token}" for name in names})
    document = flow(*(step(name, "draw") for name in names), last, redact=["/steps/*/output/*"])
    registry = skills(draw=draw, join=lambda ctx: {"all": " ".join(map(str, ctx.inputs.values()))})
    recording = lab.record(document, registry, concurrency=4)
    assert recording.statement.status == "completed"
    assert "token-" not in text_of(lab)
    replaying.append(True)
    answer = replay(recording, registry)
    assert (answer.verdict, answer.divergence, answer.notes) == ("matched", None, [])


def test_a_number_that_a_call_took_is_no_other_secrets_in_a_replay(lab: Lab) -> None:
    def draw(ctx: Context) -> Any:
        ctx.external("ask", lambda: FRESH)
        return {"drawn": f"drawn-{ctx.random.random()}"}

    rules = ["/steps/a/effects/ask/result", "/steps/a/output/drawn"]
    recording = lab.record(flow(step("a", "s"), redact=rules), skills(s=draw))
    assert decode(only(recording).output) == {"drawn": "redacted-2"}
    assert replay(recording, skills(s=draw)).matched


def test_a_step_that_was_called_and_fails_tells_no_secret(lab: Lab) -> None:
    @nested
    def fails(password: str) -> None:
        raise ValueError(password)

    watching = Watching()
    record(fails_in(fails), store=lab.store, run_id="r-1", redact=["/inputs/*"], observer=watching, **INPUTS).close()  # type: ignore[arg-type]
    assert len(watching.told) == 4
    assert TOKEN not in "".join(watching.told)
    assert TOKEN not in text_of(lab)


def fails_in(called: Callable[[str], None]) -> Callable[[str], None]:
    def agent(password: str) -> None:
        called(password)

    return agent


def test_a_secret_in_the_spec_is_refused_before_there_is_a_file(lab: Lab) -> None:
    document = flow(step("a", "s", inputs={"url": f"https://h/?k={TOKEN}"}), redact=["/inputs/password"])
    with pytest.raises(UsageError, match="the value at /inputs/password stands in the spec too"):
        lab.record(document, skills(s=size), **INPUTS)
    with pytest.raises(UsageError, match="/spec/steps/0/inputs/password holds what looks like a password"):
        lab.record(flow(step("a", "s", inputs={"password": "hunter2!x"})), skills(s=size))
    assert not list(lab.store.directory.glob("*.jsonl"))


def test_an_undeclared_secret_in_the_inputs_is_refused_before_there_is_a_file(lab: Lab) -> None:
    with pytest.raises(UsageError, match="/inputs/password holds what looks like a password") as refused:
        lab.record(flow(step("a", "s")), skills(s=size), inputs={"password": "hunter2!x"})
    assert "hunter2" not in str(refused.value)
    assert not list(lab.store.directory.glob("*.jsonl"))


@pytest.mark.parametrize("where", ["output", "result", "argument", "message", "inputs"])
def test_an_undeclared_secret_in_a_run_is_never_written(lab: Lab, where: str) -> None:
    token = "ghp_" + "a1B2" * 9
    document = flow(step("first", "first"), step("a", "s", inputs={"x": "${first.x}", "api_key": "${first.y}"}))

    def first(ctx: Context) -> Any:
        return {"x": 1, "y": "a1b2c3d4e5f6a7b8c9d0" if where == "inputs" else None}

    def s(ctx: Context) -> Any:
        match where:
            case "output":
                return {"rows": [token]}
            case "result":
                return ctx.external("world", lambda: {"text": json.dumps({"t": token})}) and 1
            case "argument":
                return ctx.external("world", len, token)
            case "message":
                raise ValueError(f"401 for {token}")
        return None

    recording = lab.record(document, skills(first=first, s=s))
    assert recording.statement.status == "failed"
    assert token not in text_of(lab)
    assert replay(recording, skills(first=first, s=s)).matched
    assert text_of(lab).count("a1b2c3d4e5f6a7b8c9d0") == (where == "inputs")
    error = records(recording)[-1].step.error
    assert error
    told = "401 for (a GitHub token)" if where == "message" else "holds what looks like a"
    assert told in error.message


@pytest.mark.parametrize("where", ["output", "result", "argument", "inputs"])
def test_an_undeclared_secret_of_a_step_within_a_step_fails_a_replay_alike(lab: Lab, where: str) -> None:
    token = "ghp_" + "a1B2" * 9

    @external
    def ask(question: str) -> str:
        return token if where == "result" else question

    @nested
    def look(question: str) -> str:
        return ask(token if where == "argument" else question) and token

    def agent() -> str:
        return look(token if where == "inputs" else "?")

    recording = record(agent, store=lab.store, run_id="r-1")
    assert recording.statement.status == "failed"
    assert token not in text_of(lab)
    assert replay(recording, agent).matched


def test_a_replay_shows_no_secret_that_the_recording_does_not_hold(lab: Lab) -> None:
    token = "ghp_" + "a1B2" * 9
    found = lab.diverges(lambda _: 1, lambda _: {"t": token})
    assert (found.cause, found.expected) == ("error", None)
    assert found.actual["type"] == "SecretError"
    answer = lab.replay(lab.run(lambda _: 1), lambda _: _fail(f"401 for {token}"))
    assert answer.failure
    assert answer.failure.message == "401 for (a GitHub token)"


def _fail(message: str) -> None:
    raise ValueError(message)


def test_what_was_allowed_when_it_was_recorded_may_be_another_in_a_replay(lab: Lab) -> None:
    tokens = iter(["ghp_" + "a1B2" * 9, "ghp_" + "c3D4" * 9])
    places = ["/steps/a/output"]
    recording = lab.record(flow(step("a", "s")), skills(s=lambda _: {"t": next(tokens)}), allow_secrets=places)
    found = lab.replay(recording, lambda _: {"t": next(tokens)}).divergence
    assert found
    assert (found.cause, found.path) == ("output", "/t")


def test_a_volatile_value_that_looks_like_a_secret_only_in_a_replay_is_not_looked_at(lab: Lab) -> None:
    values = iter(["nothing special", "ghp_" + "c3D4" * 9])
    lab.matches(lambda _: {"t": next(values), "n": 1}, volatile=["/steps/a/output/t"])


def test_what_is_allowed_is_recorded_as_it_is(lab: Lab) -> None:
    token = "ghp_" + "a1B2" * 9
    document = flow(step("a", "s"), step("b", "t", inputs={"x": "${a}"}), allow_secrets=["/steps/a/output"], redact=[])
    recording = lab.record(document, skills(s=lambda _: {"published": token}, t=lambda ctx: ctx.inputs))
    assert recording.statement.status == "completed"
    assert decode(records(recording)[1].step.output) == {"x": {"published": token}}


# Going on with a run


def host(lab: Lab, registry: SkillRegistry, store: MemoryCheckpointStore | None = None) -> Host:
    return Host(registry, lab.store, None if store is None else Saving(store))


def failing_once() -> tuple[SkillRegistry, list[Any]]:
    given: list[Any] = []

    def fetch_later(ctx: Context) -> Any:
        given.append(dict(ctx.inputs))
        if len(given) == 1:
            raise OSError("not now")
        return fetch(ctx)

    return skills(login=login, fetch=fetch_later), given


def test_a_resumption_takes_true_outputs_from_the_checkpoint_and_inputs_as_given(lab: Lab) -> None:
    registry, given = failing_once()
    store = MemoryCheckpointStore()
    first = lab.record(TWO, registry, checkpoints=store, **INPUTS)
    assert first.statement.status == "failed"
    with resume("r-1", host(lab, registry, store), Terms(inputs={"password": TOKEN})) as second:
        assert second.statement.status == "completed"
        assert given == [{"token": FRESH}] * 2
        assert second.start.redacted == REDACT
        assert decode(second.start.inputs) == {"password": "redacted-1"}
        assert decode(records(second)[1].step.inputs) == {"token": "redacted-2"}
        assert FRESH not in text_of(lab)
        assert TOKEN not in text_of(lab)
        again = replay(second, skills(login=login, fetch=fetch), inputs={"password": TOKEN})
        # What counts the characters of a token that was fetched counts those of its label.
        assert again.divergence is not None
        assert (again.divergence.expected, again.divergence.actual) == (len(FRESH), len("redacted-2"))


def test_a_resumption_without_the_input_is_refused(lab: Lab) -> None:
    registry, given = failing_once()
    store = MemoryCheckpointStore()
    lab.record(TWO, registry, checkpoints=store, **INPUTS)
    with pytest.raises(UsageError, match="not in the file: password"):
        resume("r-1", host(lab, registry, store))
    assert len(given) == 1


@pytest.mark.parametrize("saving", [True, False])
def test_a_resumption_without_the_output_is_refused_and_says_where_to_begin_anew(lab: Lab, *, saving: bool) -> None:
    registry, given = failing_once()
    lab.record(TWO, registry, **INPUTS)
    store = MemoryCheckpointStore() if saving else None
    with pytest.raises(StoreError, match="the output of step login of run r-1 was redacted") as refused:
        resume("r-1", host(lab, registry, store), Terms(inputs={"password": TOKEN}))
    assert "golden fork r-1 --at login --run-id NEW" in refused.value.hint
    assert len(given) == 1
    with fork("r-1", "login", "r-2", host(lab, registry, store), Terms(inputs={"password": TOKEN})) as anew:
        assert anew.statement.status == "completed"
        assert given[1:] == [{"token": FRESH}]
    assert FRESH not in text_of(lab)


def test_a_fork_carries_what_it_knows(lab: Lab) -> None:
    registry, given = failing_once()
    store = MemoryCheckpointStore()
    lab.record(TWO, registry, checkpoints=store, **INPUTS)
    with fork("r-1", "fetch", "r-2", host(lab, registry, store), Terms(inputs={"password": TOKEN})) as branch:
        assert branch.statement.status == "completed"
        assert given[1:] == [{"token": FRESH}]
        assert decode(records(branch)[1].step.inputs) == {"token": "redacted-2"}
    assert FRESH not in text_of(lab)


def test_a_new_secret_of_a_resumption_has_a_number_of_its_own(lab: Lab) -> None:
    runs: list[int] = []

    def draw(ctx: Context) -> Any:
        runs.append(1)
        if len(runs) == 1:
            raise OSError("not now")
        return {"token": "a third secret"}

    document = flow(
        step("login", "login", inputs={"password": "${inputs.password}"}),
        step("fetch", "draw", inputs={"token": "${login.token}"}),
        redact=[*REDACT, "/steps/fetch/output/token"],
    )
    store = MemoryCheckpointStore()
    registry = skills(login=login, draw=draw)
    lab.record(document, registry, checkpoints=store, **INPUTS)
    with resume("r-1", host(lab, registry, store), Terms(inputs={"password": TOKEN})) as second:
        assert decode(records(second)[1].step.output) == {"token": "redacted-3"}


def test_a_number_that_only_a_call_has_is_not_given_twice(lab: Lab) -> None:
    drawn = ["one-1", "two-2"]

    def draw(ctx: Context) -> Any:
        ctx.external("ask", lambda: drawn.pop(0))
        return ctx.inputs["gone"]

    document = flow(step("a", "s"), step("b", "t", inputs={"a": "${a}"}), redact=["/steps/*/effects/ask/result"])
    registry = skills(s=lambda ctx: ctx.external("ask", lambda: drawn.pop(0)) and None, t=draw)
    drawn.append("three-3")
    lab.record(document, registry)
    drawn[:] = ["four-4"]
    with resume("r-1", host(lab, registry)) as second:
        assert decode(effects(second)[-1].result) == "redacted-3"


def test_other_inputs_are_another_run(lab: Lab) -> None:
    document = flow(step("a", "s", inputs={"p": "${inputs.p}", "n": "${inputs.n}"}), redact=["/inputs/p"])
    registry = skills(s=lambda ctx: ctx.inputs["absent"])
    lab.record(document, registry, inputs={"p": TOKEN, "n": 1})
    with pytest.raises(GoldenError, match="its inputs are others"):
        resume("r-1", host(lab, registry), Terms(inputs={"p": TOKEN, "n": 2}))
    again = resume("r-1", host(lab, registry), Terms(inputs={"p": TOKEN, "n": 2}, accepted=("context",)))
    with again:
        assert decode(again.start.inputs) == {"p": "redacted-1", "n": 2}


def test_nothing_is_needed_to_end_a_run_that_nobody_resumes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.writing.Writing.emit", die_at_the_second(lab))
    with pytest.raises(MemoryError):
        lab.record(TWO, both(), **INPUTS)
    monkeypatch.undo()
    with recover("r-1", host(lab, both())) as ended:
        assert ended.statement.status == "interrupted"


def test_a_run_that_was_killed_goes_on_in_its_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryCheckpointStore()
    both = partial(skills, login=login, fetch=lambda ctx: ctx.external("fetch", len, f"Bearer {ctx.inputs['token']}"))
    monkeypatch.setattr("replay.writing.Writing.emit", die_at_the_second(lab))
    with pytest.raises(MemoryError):
        lab.record({**TWO, "result": "${fetch}"}, both(), checkpoints=store, **INPUTS)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="not in the file: password"):
        resume("r-1", host(lab, both(), store))
    with resume("r-1", host(lab, both(), store), Terms(inputs={"password": TOKEN})) as ended:
        assert ended.statement.status == "completed"
        assert [decode(effect.args) for effect in effects(ended)][-1] == ["Bearer redacted-2"]
    assert FRESH not in text_of(lab)
    assert TOKEN not in text_of(lab)


def test_a_step_that_was_broken_off_after_a_redacted_answer_is_not_gone_on_with(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay.writing.Writing.emit", die_at_the_second(lab, after=0))
    store = MemoryCheckpointStore()
    with pytest.raises(MemoryError):
        lab.record(TWO, both(), checkpoints=store, **INPUTS)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="step login of run r-1 was broken off after") as refused:
        resume("r-1", host(lab, both(), store), Terms(inputs={"password": TOKEN}))
    assert "golden recover r-1" in refused.value.hint


def die_at_the_second(lab: Lab, after: int = 1) -> Callable[..., Any]:
    """Return an `emit` that dies before it writes, once so many steps are written."""
    emit = Writing.emit
    written: list[Any] = []

    def dying(self: Any, event: Any) -> Any:
        if len(written) == after:
            raise MemoryError
        written.append(event)
        return emit(self, event)

    return dying
