"""The runner: what a recording says of its run, and that whatever a skill does leaves a whole file, or none."""

import asyncio
import hashlib
import os
import re
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from golden import Recording
from golden.canonical import decode, derive_seed, output_hash
from golden.errors import FormatError, GoldenError, KeyringError, UsageError
from golden.event import StepData
from golden.keyring import Keyring
from golden.store import Store
from golden.verdict import verify
from golden.version import VERSION
from replay import Context, SkillRegistry, Spec, record, replay
from replay.divergence import Diverged, Divergence
from replay.engine import StoppedError
from replay.frames import Failure
from replay.policy import Policy
from replay.runner import default_run_id
from tests.unit.replay.conftest import SECRET, Lab, effects, ending, flow, only, python, records, skills, step

ONE = flow(step("a", "s"))


def one(ctx: Context) -> int:
    return 1


def left(lab: Lab) -> list[str]:
    """Return the names of what lies in the golden directory besides its ledger, which is of no run."""
    names = (path.name for path in lab.store.directory.iterdir()) if lab.store.directory.exists() else ()
    return sorted(name for name in names if name != "ledger.jsonl")


# The header


def test_header_holds_all_that_a_replay_needs(lab: Lab) -> None:
    spec = flow(step("a", "s", inputs={"n": "${inputs.n}"}), name="Flow", budget_ceiling_cents=50)
    recording = lab.record(spec, skills(s=one), inputs={"n": [1, None]}, step_ceiling_cents=5)
    start = recording.start
    assert decode(start.spec) == spec
    assert (start.spec_id, start.spec_hash) == ("flow", output_hash(spec))
    assert decode(start.inputs) == {"n": [1, None]}
    assert (start.seed, start.seed_scheme, start.canonical) == (7, "aos-v1", "golden/v1")
    assert (start.policy, start.redacted, start.volatile) == (Policy().snapshot(), [], [])
    assert (start.budget_snapshot.step_ceiling_cents, start.budget_snapshot.workflow_ceiling_cents) == (5, 50)
    assert only(recording).seed == derive_seed(7, 0)


def test_environment_has_names_of_variables_in_order_and_no_values(lab: Lab) -> None:
    secret = "value-nobody-may-see"
    recording = lab.record(ONE, skills(s=one), environ={"TOKEN": secret, "HOME": secret, "A": ""})
    assert recording.start.environment.env == ["A", "HOME", "TOKEN"]
    assert secret.encode() not in lab.store.file("r-1").path.read_bytes()


def test_environment_variables_of_the_process_are_not_looked_at(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPSEAL_TEST_VARIABLE", "x")
    monkeypatch.setenv("PYTHONHASHSEED", "31")
    environment = lab.record(ONE, skills(s=one)).start.environment
    assert environment.env == []
    assert environment.hash_seed != "31"


@pytest.mark.parametrize("given, expected", [("0", "0"), ("31", "31"), ("random", "random")])
def test_hash_seed_is_what_the_environment_given_says(lab: Lab, given: str, expected: str) -> None:
    environ = {"PYTHONHASHSEED": given}
    assert lab.record(ONE, skills(s=one), environ=environ).start.environment.hash_seed == expected


@pytest.mark.parametrize("environ", [{}, {"PYTHONHASHSEED": ""}])
def test_hash_seed_nobody_fixed_is_random(lab: Lab, environ: dict[str, str]) -> None:
    expected = "random" if sys.flags.hash_randomization else "0"
    assert lab.record(ONE, skills(s=one), environ=environ).start.environment.hash_seed == expected


def test_environment_says_machine_and_version(lab: Lab) -> None:
    environment = lab.run(one).start.environment
    assert environment.version == VERSION
    assert environment.python == ".".join(map(str, sys.version_info[:3]))
    assert environment.cpu_count == os.cpu_count()
    assert environment.platform
    assert environment.locale
    assert environment.timezone == time.tzname[0]


def test_skills_are_recorded_with_module_version_and_code_hash_and_only_those_used(lab: Lab) -> None:
    registry = skills("3", s=one, unused=one)
    environment = lab.record(ONE, registry).start.environment
    assert list(environment.skills) == ["s"]
    found = environment.skills["s"]
    code_hash = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert (found.module, found.version, found.code_hash) == (__name__, "3", code_hash)
    assert only(lab.opened[0]).skill_version == "3"


def test_lock_file_of_the_working_directory_is_hashed(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lab.run(one).start.environment.lock_hash is None
    (tmp_path / "requirements.txt").write_bytes(b"second")
    assert lab.run(one).start.environment.lock_hash == hashlib.sha256(b"second").hexdigest()
    (tmp_path / "requirements.lock").write_bytes(b"first")
    assert lab.run(one).start.environment.lock_hash == hashlib.sha256(b"first").hexdigest()


@pytest.mark.parametrize("kind", ["directory", "unreadable", "loop"])
def test_lock_file_that_cannot_be_read_breaks_no_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lock = tmp_path / "requirements.lock"
    if kind == "directory":
        lock.mkdir()
    elif kind == "loop":
        lock.symlink_to(lock)
    else:
        lock.touch(0)
    monkeypatch.chdir(tmp_path)
    assert lab.run(one).statement.status == "completed"


@pytest.mark.timeout(10)
def test_lock_file_that_is_a_fifo_does_not_hold_the_run_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "requirements.lock")
    script = f"""
        import os, sys
        os.chdir(sys.argv[1])
        from golden.keyring import Keyring
        from golden.store import Store
        from replay import SkillRegistry, record
        registry = SkillRegistry()
        registry.skill("s")(lambda ctx: 1)
        record({ONE!r}, registry, store=Store("golden", Keyring({SECRET!r}), durability="never"), run_id="r")
        print("done")
    """
    with python(script, str(tmp_path)) as child:
        try:
            assert child.communicate(timeout=8)[0] == "done\n"
        finally:
            child.kill()


def test_volatile_rules_are_those_of_the_spec_and_then_those_given_each_once(lab: Lab) -> None:
    spec = {**ONE, "volatile": ["/steps/a/output/x", "/inputs/y"]}
    given = ["/inputs/y", "/steps/a/output/z"]
    recording = lab.record(spec, skills(s=one), volatile=iter(given))
    assert recording.start.volatile == ["/steps/a/output/x", "/inputs/y", "/steps/a/output/z"]


# Ids and seeds


def test_run_id_defaults_to_spec_id_time_and_four_hex() -> None:
    assert re.fullmatch(r"my-flow-\d{8}T\d{6}Z-[0-9a-f]{4}", default_run_id("my-flow"))
    assert len({default_run_id("f") for _ in range(20)}) > 1


def test_run_without_an_id_is_recorded_under_a_fresh_one(lab: Lab) -> None:
    first, second = (lab.record(ONE, skills(s=one), run_id=None) for _ in range(2))
    assert re.fullmatch(r"flow-\d{8}T\d{6}Z-[0-9a-f]{4}", first.run_id)
    assert first.run_id != second.run_id


def test_longest_spec_id_still_gives_a_run_id(lab: Lab) -> None:
    assert lab.record({**ONE, "id": "f" * 64}, skills(s=one), run_id=None).statement.status == "completed"


def test_seeds_are_fresh_unless_given(lab: Lab) -> None:
    seeds = [lab.record(ONE, skills(s=one), seed=None).start.seed for _ in range(4)]
    assert len(set(seeds)) > 1
    assert all(0 <= seed < 1 << 31 for seed in seeds)


@pytest.mark.parametrize("seed", [0, -1, 1 << 62])
def test_seed_given_is_recorded_and_replays(lab: Lab, seed: int) -> None:
    registry = skills(s=lambda ctx: [ctx.seed, ctx.random.random()])
    recording = lab.record(ONE, registry, seed=seed)
    assert recording.start.seed == seed
    assert replay(recording, registry).matched


# Refused before there is a file


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (flow(step("a", "s", inputs={"n": "${inputs.n}"})), {}, "run input n is missing"),
    (flow(step("a", "s"), result="${inputs.n}"), {}, "run input n is missing"),
    (flow(step("a", "s", inputs={"n": "${inputs.n}"})), {"inputs": {"m": 1}}, "run input n is missing"),
    (ONE, {"inputs": {"n": (1,)}}, "run inputs: .*tuple"),
    (ONE, {"inputs": {"n": float("nan")}}, "run inputs: .*nan"),
    (ONE, {"inputs": {1: 1}}, "run inputs: object key"),
    (flow(step("a", "absent")), {}, "SKILL_NOT_FOUND: no skill absent"),
    (flow(step("a", "s"), step("b", "absent", external=True)), {}, "SKILL_NOT_FOUND: no skill absent"),
    (ONE, {"volatile": ["/nowhere"]}, 'volatile path "/nowhere"'),
    (ONE, {"seed": 1.5}, "seed 1.5 is no integer"),
    (ONE, {"seed": True}, "seed True is no integer"),
    (ONE, {"seed": "7"}, "seed '7' is no integer"),
    ({"id": "flow"}, {}, "steps"),
    (ONE, {"redact": ["/nowhere"]}, 'redact path "/nowhere"'),
    (ONE, {"redact": ["/spec/id"]}, 'redact path "/spec/id"'),
    (ONE, {"allow_secrets": ["inputs"]}, 'allow_secrets: "inputs" is no place'),
    (ONE, {"concurrency": 0}, "0 steps at a time"),
    (ONE, {"run_id": "../x"}, r"\.\./x"),
    (ONE, {"run_id": "a/b"}, "a/b"),
]


@pytest.mark.parametrize("spec, options, words", REFUSED)
def test_what_cannot_be_run_is_refused_before_anything_runs_and_leaves_no_file(
    lab: Lab, spec: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        lab.record(spec, skills(s=lambda _: pytest.fail("nothing runs")), **options)
    assert left(lab) == []


@pytest.mark.parametrize("where", ["inputs", "metadata"])
def test_header_larger_than_allowed_leaves_no_file(lab: Lab, where: str) -> None:
    large = {"n": "x" * (64 << 20)}
    spec = {**ONE, "metadata": large} if where == "metadata" else ONE
    with pytest.raises(FormatError, match="at most 64 MiB"):
        lab.record(spec, skills(s=one), inputs=large if where == "inputs" else {})
    assert left(lab) == []


def test_run_id_that_is_taken_is_refused_and_its_recording_stays(lab: Lab) -> None:
    lab.run(one)
    before = lab.store.file("r-1").path.read_bytes()
    with pytest.raises(UsageError, match="r-1"):
        lab.record(ONE, skills(s=lambda _: pytest.fail("nothing runs")), run_id="r-1")
    assert lab.store.file("r-1").path.read_bytes() == before
    assert lab.verify("r-1").verdict == "intact"


def test_store_without_a_key_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    registry = skills(s=lambda _: pytest.fail("nothing runs"))
    with pytest.raises(KeyringError):
        record(ONE, registry, store=Store(tmp_path / "golden", Keyring()), run_id="r")
    assert not list(tmp_path.rglob("*.jsonl"))


# Watching, counts, failures


class Watching:
    def __init__(self) -> None:
        self.steps: list[tuple[str, bool, str | None]] = []
        self.notes: list[str] = []

    def step(self, data: StepData, failure: Failure | None) -> None:
        self.steps.append((data.step_id, data.success, failure.type if failure else None))

    def note(self, text: str) -> None:
        self.notes.append(text)


def fails(ctx: Context) -> Any:
    raise ValueError("no")


def test_observer_is_told_each_step_once_it_is_written(lab: Lab) -> None:
    observer = Watching()
    lab.record(flow(step("a", "s"), step("b", "fails"), step("c", "s")), skills(s=one, fails=fails), observer=observer)
    assert observer.steps == [("a", True, None), ("b", False, "ValueError")]
    assert observer.notes == []


def test_observer_is_told_of_volatile_rules_that_matched_nothing(lab: Lab) -> None:
    observer = Watching()
    rules = ["/steps/a/output/gone", "/inputs/n"]
    lab.record(ONE, skills(s=one), inputs={"n": 1}, volatile=rules, observer=observer)
    assert observer.notes == ["volatile paths that matched nothing: /steps/a/output/gone"]


def test_end_counts_steps_and_cents(lab: Lab) -> None:
    def spends(ctx: Context) -> None:
        ctx.spend(3)

    spec = flow(step("a", "spends"), step("b", "s", estimated_cost_cents=4), step("c", "s"))
    end = ending(lab.record(spec, skills(s=one, spends=spends)))
    assert (end.status, end.steps_completed, end.steps_total, end.total_cost_cents) == ("completed", 3, 3, 7)
    assert end.result_hash == output_hash({"a": output_hash(None), "b": output_hash(1), "c": output_hash(1)})


def test_failing_run_is_recorded_up_to_its_failure_and_sealed(lab: Lab) -> None:
    def fails_after_spending(ctx: Context) -> Any:
        ctx.external("get", lambda: 1)
        ctx.spend(2)
        raise ValueError("no")

    spec = flow(step("a", "s"), step("b", "fails"), step("c", "s"))
    recording = lab.record(spec, skills(s=one, fails=fails_after_spending))
    end = ending(recording)
    assert (end.status, end.steps_completed, end.steps_total, end.total_cost_cents) == ("failed", 1, 3, 2)
    assert [record.step.step_id for record in records(recording)] == ["a", "b"]
    failed = records(recording)[1].step
    assert (failed.success, failed.error_code, failed.output_hash, decode(failed.output)) == (
        False,
        "EXECUTION_ERROR",
        None,
        None,
    )
    assert [effect.name for effect in effects(recording)] == ["get"]
    assert (recording.statement.status, lab.verify("r-1").verdict) == ("failed", "intact")


# Whatever a skill does


def test_skill_that_changes_the_working_directory_leaves_the_recording_where_it_was(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def leaves(ctx: Context) -> int:
        os.chdir(tmp_path / "elsewhere")
        return 1

    store = Store("relative/golden", Keyring(SECRET), durability="never")
    with record(flow(step("a", "s"), step("b", "s")), skills(s=leaves), store=store, run_id="r") as recording:
        assert recording.statement.events == 4
    assert verify(tmp_path / "relative/golden/r.steps.jsonl", Keyring(SECRET)).verdict == "intact"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_skill_that_removes_its_working_directory_is_recorded(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)

    def removes(ctx: Context) -> int:
        gone.rmdir()
        raise ValueError

    assert lab.run(removes).statement.status == "failed"
    assert lab.verify("r-1").verdict == "intact"


@pytest.mark.parametrize("directory", ["golden", "./golden", "a/../golden"])
def test_relative_store_directory_is_that_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with record(ONE, skills(s=one), store=Store(directory, Keyring(SECRET), durability="never"), run_id="r"):
        assert (tmp_path / "golden/r.steps.jsonl.sig").exists()


def test_run_inside_a_skill_of_another_run_disturbs_neither(lab: Lab) -> None:
    def inner(ctx: Context) -> Any:
        return ctx.external("inner", lambda: 2)

    def outer(ctx: Context) -> Any:
        with record(ONE, skills(s=inner), store=lab.store, run_id="inner", seed=1) as recording:
            return [ctx.external("outer", lambda: 1), decode(only(recording).output)]

    recording = lab.run(outer)
    assert decode(only(recording).output) == [1, 2]
    assert [effect.name for effect in effects(recording)] == ["outer"]
    assert [lab.verify(run_id).verdict for run_id in ("r-1", "inner")] == ["intact", "intact"]


def test_two_runs_at_once_in_one_process_keep_apart(lab: Lab) -> None:
    both = threading.Barrier(2, timeout=30)

    def asks(ctx: Context) -> Any:
        both.wait()
        return [ctx.external(ctx.inputs["name"], lambda n: n, n) for n in range(20)]

    async def awaits(ctx: Context) -> Any:
        await asyncio.to_thread(both.wait)
        return [await ctx.external(ctx.inputs["name"], asyncio.sleep, 0, n) for n in range(20)]

    def run(name: str) -> Recording:
        spec = flow(step("a", "asks", inputs={"name": name}), step("b", "awaits", inputs={"name": name}))
        return record(spec, skills(asks=asks, awaits=awaits), store=lab.store, run_id=name, seed=1)

    with ThreadPoolExecutor(2) as pool:
        lab.opened += pool.map(run, ["left", "right"])
    for name, recording in zip(["left", "right"], lab.opened, strict=True):
        assert {effect.name for effect in effects(recording)} == {name}
        assert len(effects(recording)) == 40
        assert lab.verify(name).verdict == "intact"


OURS: list[BaseException] = [
    Diverged(Divergence("output", "a", 0, "", 1, 2)),
    StoppedError("aborted"),
    StoppedError("completed"),
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", OURS, ids=["diverged", "aborted", "completed"])
def test_skill_that_raises_what_only_we_raise_fails_its_step(lab: Lab, error: BaseException, is_async: bool) -> None:
    def skill(ctx: Context) -> Any:
        raise error

    async def async_skill(ctx: Context) -> Any:
        raise error

    error.__traceback__ = None
    recording = lab.matches(async_skill if is_async else skill)
    found = only(recording).error
    assert found
    assert (found.code, found.type) == ("EXECUTION_ERROR", type(error).__name__)
    assert recording.statement.status == "failed"


@pytest.mark.parametrize("error", OURS, ids=["diverged", "aborted", "completed"])
def test_call_that_raises_what_only_we_raise_fails_its_step_at_most(lab: Lab, error: BaseException) -> None:
    def asked() -> None:
        raise error

    def skill(ctx: Context) -> Any:
        return ctx.external("get", asked)

    error.__traceback__ = None
    recording = lab.run(skill)
    assert (recording.statement.status, lab.verify("r-1").verdict) == ("failed", "intact")


def test_context_of_an_earlier_step_can_neither_ask_nor_spend(lab: Lab) -> None:
    kept: list[Context] = []
    asked: list[int] = []

    def keeps(ctx: Context) -> int:
        kept.append(ctx)
        return 1

    def asks(ctx: Context) -> Any:
        return kept[-1].external("late", asked.append, 1)

    def spends(ctx: Context) -> Any:
        kept[-1].spend(1)

    def reads(ctx: Context) -> Any:
        return [kept[-1].inputs, kept[-1].seed]

    registry = skills(keeps=keeps, asks=asks, spends=spends, reads=reads)
    for skill_id, status in (("asks", "failed"), ("spends", "failed"), ("reads", "completed")):
        recording = lab.record(flow(step("a", "keeps"), step("b", skill_id)), registry)
        assert recording.statement.status == status
        assert (effects(recording), asked, ending(recording).total_cost_cents) == ([], [], 0)
        assert replay(recording, registry).matched


def test_context_of_an_earlier_step_asks_nothing_even_where_the_refusal_is_swallowed(lab: Lab) -> None:
    kept: list[Context] = []

    def swallows(ctx: Context) -> int:
        kept.append(ctx)
        ctx.external("now", lambda: 1)
        with suppress(BaseException):
            if len(kept) > 1:
                kept[0].external("late", pytest.fail, "is never asked")
        return 1

    registry = skills(s=swallows)
    recording = lab.record(flow(step("a", "s"), step("b", "s")), registry)
    assert [effect.name for effect in effects(recording)] == ["now", "now"]
    assert replay(recording, registry).matched


def test_child_that_a_skill_forks_and_that_comes_back_ends_and_the_recording_is_whole(tmp_path: Path) -> None:
    said = run_child(
        tmp_path,
        """
        def skill(ctx):
            pid = os.fork()
            if pid == 0:
                return "child"
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status)
        """,
    )
    assert said == "completed\n"
    with Recording.open(tmp_path / "golden/r.steps.jsonl", Keyring(SECRET)) as recording:
        assert decode(records(recording)[0].step.output) == 1
        assert [record.step.step_id for record in records(recording)] == ["a", "b"]


def test_child_that_a_skill_forks_and_that_raises_ends_and_the_recording_is_whole(tmp_path: Path) -> None:
    said = run_child(
        tmp_path,
        """
        def skill(ctx):
            pid = os.fork()
            if pid == 0:
                raise ValueError("child")
            os.waitpid(pid, 0)
            return ctx.external("get", lambda: 1)
        """,
    )
    assert said == "completed\n"
    with Recording.open(tmp_path / "golden/r.steps.jsonl", Keyring(SECRET)) as recording:
        assert recording.statement.events == 5


def test_child_that_a_skill_forks_asks_nothing_into_the_parents_file(tmp_path: Path) -> None:
    said = run_child(
        tmp_path,
        """
        def skill(ctx):
            pid = os.fork()
            if pid == 0:
                try:
                    ctx.external("get", lambda: "child")
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            return ctx.external("get", lambda: "parent")
        """,
    )
    assert said == "completed\n"
    with Recording.open(tmp_path / "golden/r.steps.jsonl", Keyring(SECRET)) as recording:
        assert {decode(effect.result) for effect in effects(recording)} == {"parent"}


def test_child_that_an_external_call_forks_and_that_comes_back_writes_nothing(tmp_path: Path) -> None:
    said = run_child(
        tmp_path,
        """
        def forks():
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            return "parent" if pid else "child"

        def skill(ctx):
            return ctx.external("get", forks)
        """,
    )
    assert said == "completed\n"
    with Recording.open(tmp_path / "golden/r.steps.jsonl", Keyring(SECRET)) as recording:
        assert [decode(effect.result) for effect in effects(recording)] == ["parent"]


@pytest.mark.parametrize(
    "closing", ["sys.stdout.close(); sys.stderr.close()", "os.close(1); os.close(2)", "sys.stdout = sys.stderr = None"]
)
def test_skill_that_closes_its_streams_is_recorded_whole(tmp_path: Path, closing: str) -> None:
    run_child(tmp_path, f"def skill(ctx):\n    {closing}\n    return 1\n", expect=None)
    with Recording.open(tmp_path / "golden/r.steps.jsonl", Keyring(SECRET)) as recording:
        assert recording.statement.status in {"completed", "failed"}
        assert records(recording)[0].step.success


CHILD = """
import os, sys, signal, time
from golden.keyring import Keyring
from golden.store import Store
from replay import record, SkillRegistry
{skill}
registry = SkillRegistry()
registry.skill("s")(skill)
registry.skill("t")(lambda ctx: 1)
spec = {{"id": "flow", "steps": [{{"id": "a", "skill_id": "s"}}, {{"id": "b", "skill_id": "t"}}]}}
store = Store(sys.argv[1], Keyring({secret!r}), durability="never")
recording = record(spec, registry, store=store, run_id="r", seed=7)
print(recording.statement.status, flush=True)
"""


def run_child(tmp_path: Path, skill: str, expect: int | None = 0) -> str:
    """Record two steps, the first with this skill, in a process of its own; return what it said."""
    child = python(CHILD.format(skill=textwrap.dedent(skill), secret=SECRET), str(tmp_path / "golden"))
    said, errors = child.communicate(timeout=60)
    if expect is not None:
        assert (child.returncode, errors) == (expect, "")
    return said


# Interrupted


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_interrupted_run_is_sealed_as_aborted_and_the_signal_delivered_again(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    skill = f"def skill(ctx):\n    ctx.external('get', lambda: 1)\n    os.kill(os.getpid(), {int(number)})\n"
    child = python(CHILD.format(skill=skill + "    time.sleep(60)\n", secret=SECRET), str(tmp_path / "golden"))
    said, errors = child.communicate(timeout=60)
    assert (said, child.returncode) == ("", code)
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    with Recording.open(tmp_path / "golden/r.steps.jsonl", Keyring(SECRET)) as recording:
        end = ending(recording)
        assert (recording.statement.status, end.status, end.steps_completed, end.steps_total) == (
            "aborted",
            "aborted",
            0,
            2,
        )
        assert [effect.name for effect in effects(recording)] == ["get"]


# What a user gives


def test_spec_may_be_a_document_or_a_checked_spec_and_is_left_as_it_is(lab: Lab) -> None:
    document = flow(step("a", "s", inputs={"n": "${inputs.n}"}))
    held = repr(document)
    one_way = lab.record(document, skills(s=one), inputs={"n": 1})
    other_way = lab.record(Spec(document), skills(s=one), inputs={"n": 1})
    assert one_way.start.spec_hash == other_way.start.spec_hash
    assert repr(document) == held


def test_registry_that_grows_while_a_run_goes_on_does_not_change_it(lab: Lab) -> None:
    registry = SkillRegistry()

    def grows(ctx: Context) -> int:
        registry.skill("late")(one)
        return 1

    registry.skill("s")(grows)
    assert lab.record(ONE, registry).statement.status == "completed"


def test_every_refusal_says_what_to_do(lab: Lab) -> None:
    for spec, options, _ in REFUSED:
        with pytest.raises(GoldenError) as caught:
            lab.record(spec, skills(s=one), **options)
        assert caught.value.hint


@pytest.fixture(autouse=True)
def _stay_here() -> Iterator[None]:
    """Come back to the working directory, wherever a skill went."""
    here = Path.cwd()
    yield
    os.chdir(here)
