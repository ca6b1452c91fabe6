"""The determinism guard: which calls it names and where, what each mode does about them, what it leaves alone."""

import asyncio
import copy
import importlib.util
import logging
import os
import random
import runpy
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
import zoneinfo
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import make_msgid
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from golden.errors import UsageError
from golden.recording import Recording
from replay import Context, Divergence, external, record, replay, resume
from replay import step as step_of_python
from replay.guard import MODES
from replay.host import Host
from tests.runs import FIXTURES
from tests.unit.replay.conftest import Lab, Skill, def_line, flow, here, only, records, skills, step

time_before = time.time
NOBODY = "127.0.0.1", 9


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, *_: object) -> None:
        """See `Observer`."""

    def note(self, text: str) -> None:
        """See `Observer`."""
        self.notes.append(text)


def guarded(
    lab: Lab, skill: Skill, guard: str = "warn", inputs: Any = None, **members: Any
) -> tuple[Recording, list[str]]:
    """Record one step, and return the recording and what the guard told."""
    watching = Notes()
    spec = flow(step("a", "s", inputs=inputs or {}, **members))
    recording = lab.record(spec, skills(s=skill), guard=guard, observer=watching)
    return recording, watching.notes


def asks_the_time(ctx: Context) -> str:
    return str(time.time())


def asks_a_clock_of_old(ctx: Context) -> str:
    return str(time_before())


def asks_the_day(ctx: Context) -> str:
    return str(date.today())  # noqa: DTZ011  legacy code does


def asks_the_moment(ctx: Context) -> str:
    return str(datetime.now(tz=UTC))


def asks_for_its_fields(ctx: Context) -> str:
    return time.strftime("%H:%M:%S")


def asks_the_system_clock(ctx: Context) -> str:
    return str(time.clock_gettime(time.CLOCK_REALTIME))


def draws(ctx: Context) -> float:
    return random.random()


def draws_of_its_own(ctx: Context) -> float:
    return random.Random().random()


def asks_for_an_id(ctx: Context) -> str:
    return str(uuid.uuid4())


def asks_for_an_old_id(ctx: Context) -> str:
    return str(uuid.uuid1())


def asks_for_a_token(ctx: Context) -> str:
    return secrets.token_hex(8)


def asks_for_bits(ctx: Context) -> int:
    return secrets.randbits(40)


def asks_for_entropy(ctx: Context) -> str:
    return os.urandom(8).hex()


def reads_a_variable(ctx: Context) -> int:
    return len(os.environ["PATH"]) * 0


def lists_variables(ctx: Context) -> int:
    return len(dict(os.environ)) * 0


def reads_a_file(ctx: Context) -> int:
    return len(Path("/proc/meminfo").read_bytes()) * 0


def lists_a_folder(ctx: Context) -> int:
    return len(os.listdir("/proc/self/task")) * 0  # noqa: PTH208  the call itself is meant


def opens_a_database(ctx: Context) -> int:
    with suppress(sqlite3.OperationalError):
        sqlite3.connect("/proc/none").close()
    return 0


def connects(ctx: Context) -> int:
    with socket.socket() as peer, suppress(OSError):
        peer.connect(NOBODY)
    return 0


def starts_a_process(ctx: Context) -> int:
    return subprocess.run(["true"], check=True).returncode


CALLS = [
    (asks_the_time, "clock", "time.time"),
    (asks_a_clock_of_old, "clock", "time.time"),
    (asks_the_day, "clock", "date.today"),
    (asks_the_moment, "clock", "datetime.now"),
    (asks_for_its_fields, "clock", "time.strftime"),
    (asks_the_system_clock, "clock", "time.clock_gettime"),
    (draws, "random", "random.random"),
    (draws_of_its_own, "random", "random.Random"),
    (asks_for_an_id, "entropy", "os.urandom (by uuid.uuid4)"),
    (asks_for_an_old_id, "entropy", "uuid.uuid1"),
    (asks_for_a_token, "entropy", "random.SystemRandom (by secrets.token_hex)"),
    (asks_for_bits, "entropy", "secrets.randbits"),
    (asks_for_entropy, "entropy", "os.urandom"),
    (reads_a_variable, "environment", "os.environ['PATH']"),
    (lists_variables, "environment", "os.environ"),
    (reads_a_file, "file", "open('/proc/meminfo') (by pathlib.read_bytes)"),
    (lists_a_folder, "file", "os.listdir('/proc/self/task')"),
    (opens_a_database, "file", "sqlite3.connect('/proc/none')"),
    (connects, "network", "socket.connect"),
    (starts_a_process, "subprocess", "subprocess.Popen"),
]
VIRTUAL = {"clock", "random", "entropy"}
each_call = pytest.mark.parametrize("skill, kind, call", CALLS, ids=lambda value: getattr(value, "__name__", None))


def place_of(skill: Skill) -> str:
    """Return FILE:LINE of the first line below a function's `def`."""
    return here(def_line(skill) + 1, __file__)


@each_call
def test_a_call_is_named_with_its_place(lab: Lab, skill: Skill, kind: str, call: str) -> None:
    recording, notes = guarded(lab, skill)
    assert recording.statement.status == "completed"
    told = [note for note in notes if note.startswith(f"step a: {call} at ")]
    assert len(told) == 1, notes
    assert told[0].split(" at ", 1)[1].split(" ")[0].rpartition(":")[0] == place_of(skill).rpartition(":")[0]
    assert int(told[0].split(" is not")[0].rpartition(":")[2]) - def_line(skill) in {1, 2}
    assert "ctx." in told[0] or "input" in told[0]


@each_call
def test_off_says_nothing(lab: Lab, skill: Skill, kind: str, call: str) -> None:
    recording, notes = guarded(lab, skill, "off")
    assert (recording.statement.status, notes) == ("completed", [])


@each_call
def test_block_ends_the_step_at_the_call(lab: Lab, skill: Skill, kind: str, call: str) -> None:
    recording, notes = guarded(lab, skill, "block")
    error = only(recording).error
    assert error
    assert (error.code, error.type, notes) == ("EXECUTION_ERROR", "BlockedError", [])
    assert error.message.startswith(f"{call} at {error.location} ")
    assert error.location
    assert int(error.location.rpartition(":")[2]) - def_line(skill) in {1, 2}


@each_call
def test_what_was_blocked_is_blocked_in_a_replay(lab: Lab, skill: Skill, kind: str, call: str) -> None:
    recording, _ = guarded(lab, skill, "block")
    answer = lab.replay(recording, skill)
    assert (answer.verdict, answer.divergence) == ("matched", None)


@each_call
def test_virtual_answers_what_the_run_can_answer_and_warns_of_the_rest(
    lab: Lab, skill: Skill, kind: str, call: str
) -> None:
    recording, notes = guarded(lab, skill, "virtual")
    answer = lab.replay(recording, skill, guard=None if kind in VIRTUAL else "warn")
    assert (answer.verdict, answer.divergence) == ("matched", None)
    assert bool(notes) is bool(answer.notes) is (kind not in VIRTUAL)


@pytest.mark.parametrize("mode", [None, "warn", "off", "block", "virtual"])
def test_a_replay_keeps_the_virtual_clock_whatever_is_asked(lab: Lab, mode: Any) -> None:
    recording, _ = guarded(lab, asks_the_time, "virtual")
    assert lab.replay(recording, asks_the_time, guard=mode).matched


def test_what_is_caught_is_blocked_all_the_same(lab: Lab) -> None:
    def catches(ctx: Context) -> str:
        try:
            return str(time.time())
        except BaseException:  # noqa: BLE001  as the worst of skills does
            return "never mind"

    recording, _ = guarded(lab, catches, "block")
    error = only(recording).error
    assert error
    assert (error.type, error.location) == ("BlockedError", here(def_line(catches) + 2, __file__))


def test_a_blocked_step_is_not_tried_again(lab: Lab) -> None:
    recording, _ = guarded(lab, asks_the_time, "block", on_error="retry", max_retries=3)
    assert len(only(recording).attempts) == 1


def test_each_call_is_told_once_a_place_and_run(lab: Lab) -> None:
    def twice(ctx: Context) -> float:
        for _ in range(3):
            time.time()
            random.random()
        return time.time() * 0

    watching = Notes()
    lab.record(flow(step("a", "s"), step("b", "s")), skills(s=twice), guard="warn", observer=watching)
    assert [note.split(" at ")[0] for note in watching.notes] == [
        *("step a: time.time", "step a: random.random", "step a: time.time")
    ]


@pytest.mark.parametrize("mode", ["warn", "block"])
def test_an_external_call_may_ask_whatever_it_likes(lab: Lab, mode: str) -> None:
    def world() -> list[str]:
        found = [str(time.time()), str(random.random()), str(uuid.uuid4()), str(datetime.now(tz=UTC))]
        thread = threading.Thread(target=lambda: found.append(str(time.time())))
        thread.start()
        thread.join()
        return [*found, os.environ["PATH"], Path("/proc/meminfo").read_text(), str(connects(None))]  # type: ignore[arg-type]

    async def later() -> float:
        return await asyncio.to_thread(time.time)

    async def asks(ctx: Context) -> Any:
        return [ctx.external("world", world), await ctx.external("later", later)]

    recording, notes = guarded(lab, asks, mode)
    assert (only(recording).error or None, notes) == (None, [])
    assert lab.replay(recording, asks).matched


def test_what_stands_around_an_external_call_is_still_the_steps(lab: Lab) -> None:
    def asks(ctx: Context) -> Any:
        ctx.external("world", dict)
        return time.time() * 0

    assert len(guarded(lab, asks)[1]) == 1


def harmless(lab: Lab, skill: Skill, inputs: Any = None) -> None:
    """Check that nothing is said of a skill, nor anything blocked."""
    recording, notes = guarded(lab, skill, "warn", inputs)
    assert (recording.statement.status, notes) == ("completed", [])
    recording, _ = guarded(lab, skill, "block", inputs)
    assert not only(recording).error


def test_what_the_standard_library_does_for_itself_is_no_alarm(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "late_module.py").write_text("import json\nVALUE = 1\n")

    def temporary(folder: str, file: str) -> list[str]:
        Path(folder, "x").write_text("y")
        Path(os.devnull).write_text(time.strftime("%Y", time.gmtime(0)) + time.ctime(0))
        return [file, *os.listdir(folder)] if Path(file).read_bytes() == b"" else []  # noqa: PTH208  as above

    async def busy(ctx: Context) -> int:
        logging.getLogger("golden.tests").info("time and thread are in its record")
        await asyncio.sleep(0.001)
        await asyncio.to_thread(sum, [1])
        started = time.monotonic(), time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            total = sum(pool.map(abs, [1, -2]))
        with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as file:
            total += len(temporary(folder, file.name))
        sys.path.insert(0, str(tmp_path))
        try:
            module = importlib.import_module("late_module")
        finally:
            sys.path.remove(str(tmp_path))
            sys.modules.pop("late_module", None)
        sqlite3.connect(":memory:").close()
        return int(total + module.VALUE + (started[0] < 0))

    harmless(lab, busy)


def test_seeded_generators_are_no_alarm(lab: Lab) -> None:
    def seeded(ctx: Context) -> list[float]:
        random.seed(7)
        copied = copy.deepcopy(random.Random(3))
        return [random.random(), random.Random(3).random(), ctx.random.random(), copied.random()]

    state = random.getstate()
    try:
        harmless(lab, seeded)
    finally:
        random.setstate(state)


def test_the_files_that_inputs_name_are_no_alarm(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.csv").write_text("1")
    (tmp_path / "b.csv").write_text("2")

    def reads(ctx: Context) -> str:
        (tmp_path / "out.txt").write_text("done")
        whole = [Path(ctx.inputs["list"][0]["file"]), *sorted(Path("data").iterdir()), Path("out.txt")]
        return "".join(path.read_text() for path in whole)

    harmless(lab, reads, {"list": [{"file": str(tmp_path / "b.csv")}], "folder": "data", "out": "out.txt"})


def test_a_file_relative_to_elsewhere_and_one_that_an_earlier_step_names_are_no_alarm(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("2")

    def names(ctx: Context) -> str:
        return str(tmp_path / "b.csv")

    def reads(ctx: Context) -> str:
        return str(Path(ctx.outputs["a"]).read_text() + (tmp_path / ctx.inputs["name"]).read_text())

    watching = Notes()
    spec = flow(step("a", "n"), step("b", "r", depends_on=["a"], inputs={"name": "b.csv"}))
    lab.record(spec, skills(n=names, r=reads), observer=watching)
    assert watching.notes == []


def test_a_file_beside_the_one_that_is_named_is_an_alarm(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "b.csv2").write_text("2")

    def reads(ctx: Context) -> str:
        return (tmp_path / "b.csv2").read_text()

    assert len(guarded(lab, reads, inputs={"file": str(tmp_path / "b.csv"), "dot": ".", "slash": "/"})[1]) == 1


def test_what_a_step_wrote_itself_is_told_once(lab: Lab, tmp_path: Path) -> None:
    def writes(ctx: Context) -> str:
        (tmp_path / "x").write_text("y")
        return (tmp_path / "x").read_text()

    (note,) = guarded(lab, writes)[1]
    assert "pathlib.write_text" in note


def test_a_thread_that_a_step_starts_is_the_steps(lab: Lab) -> None:
    def in_threads(ctx: Context) -> int:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asks_the_time, ctx).result()
        thread = threading.Thread(target=draws, args=[ctx])
        thread.start()
        thread.join()
        return 0

    assert [note.split(" at ")[0] for note in guarded(lab, in_threads)[1]] == [
        *("step a: time.time", "step a: random.random")
    ]
    assert "BlockedError" in str(only(guarded(lab, in_threads, "block")[0]).error)


def test_other_threads_have_the_world(lab: Lab) -> None:
    asked, answered = threading.Event(), threading.Event()
    found: list[Any] = []

    def outside() -> None:
        asked.wait(10)
        found.extend([time.time(), datetime.now(tz=UTC), random.random(), uuid.uuid4(), os.environ["PATH"]])
        answered.set()

    def waits(ctx: Context) -> float:
        asked.set()
        answered.wait(10)
        return time.time()

    thread = threading.Thread(target=outside)
    thread.start()
    recording, notes = guarded(lab, waits, "block")
    thread.join()
    assert time_before() - found[0] < 60
    assert datetime.now(tz=UTC) - found[1] < timedelta(minutes=1)
    assert (len(found), notes) == (5, [])
    assert only(recording).error


def test_steps_side_by_side_are_told_apart(lab: Lab) -> None:
    both = threading.Barrier(2)

    def one(ctx: Context) -> int:
        both.wait(10)
        random.random()
        both.wait(10)
        return 0

    def other(ctx: Context) -> int:
        both.wait(10)
        time.time()
        both.wait(10)
        return 0

    watching = Notes()
    lab.record(flow(step("a", "x"), step("b", "y")), skills(x=one, y=other), observer=watching, concurrency=2)
    assert sorted(note.split(" at ")[0] for note in watching.notes) == [*("step a: random.random", "step b: time.time")]


def test_what_a_library_asks_for_at_one_line_is_told_at_once(lab: Lab) -> None:
    def names(ctx: Context) -> str:
        return make_msgid(domain="x")

    where = here(def_line(names) + 1, __file__)
    asks = "asks for what is not the same in a replay: time.time, random.getrandbits"
    _, notes = guarded(lab, names)
    assert notes == [f"step a: email.utils.make_msgid at {where} {asks}"]


# Replay.


def test_a_replay_blocks_the_network_and_says_where(lab: Lab) -> None:
    recording, _ = guarded(lab, connects)
    answer = lab.replay(recording, connects)
    found = answer.divergence
    assert isinstance(found, Divergence)
    assert (answer.verdict, found.cause, found.expected) == ("diverged", "error", None)
    assert found.actual == {"code": "EXECUTION_ERROR", "type": "BlockedError"}
    assert found.location == here(def_line(connects) + 2, __file__)
    assert answer.failure
    assert answer.failure.message.endswith('use ctx.external("name", fn), or replay.http() for clients of HTTP')


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_replay_blocks_what_an_event_loop_asks_the_network_for_a_step(lab: Lab, host: str) -> None:
    async def connects_later(ctx: Context) -> int:
        with suppress(OSError):
            await asyncio.open_connection(host, 9)
        return 0

    recording, notes = guarded(lab, connects_later)
    assert any("socket.connect (by asyncio" in note for note in notes)
    found = lab.replay(recording, connects_later).divergence
    assert found
    # A name is looked up in a thread where no line of the skill stands.
    assert (found.cause, found.location) == ("error", here(def_line(connects_later) + 2, __file__))


def test_a_replay_warns_of_the_rest(lab: Lab) -> None:
    def constant(ctx: Context) -> float:
        return time.time() * 0

    recording, _ = guarded(lab, constant)
    answer = lab.replay(recording, constant)
    place = place_of(constant)
    assert (answer.verdict, answer.notes) == (
        "matched",
        [f"step a: time.time at {place} is not the same in a replay; use ctx.now()"],
    )


def test_a_replay_does_as_it_is_asked(lab: Lab) -> None:
    recording, _ = guarded(lab, connects)
    assert lab.replay(recording, connects, guard="warn").matched
    assert lab.replay(recording, connects, guard="off").notes == []
    recording, _ = guarded(lab, reads_a_file)
    assert lab.replay(recording, reads_a_file, guard="block").verdict == "diverged"


def test_a_replay_is_not_virtual_that_was_not_recorded_so(lab: Lab) -> None:
    recording, _ = guarded(lab, asks_the_time)
    answer = lab.replay(recording, asks_the_time, guard="virtual")
    assert (answer.verdict, answer.problem) == ("refused", "it was not recorded under a virtual clock")


def test_an_import_through_a_socket_is_still_the_network(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "asking_module.py").write_text("import socket\nsocket.getaddrinfo('127.0.0.1', 80)\n")

    def imports(ctx: Context) -> int:
        spec = importlib.util.spec_from_file_location("asking_module", tmp_path / "asking_module.py")
        assert spec
        assert spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return 0

    recording, notes = guarded(lab, imports)
    assert len(notes) == 1
    assert "asking_module.py:2 " in notes[0]
    assert lab.replay(recording, imports).verdict == "diverged"


def test_a_library_that_tries_what_the_host_can_do_may_be_imported_in_a_step(lab: Lab, tmp_path: Path) -> None:
    trying = "import socket\nwith socket.socket() as one:\n    one.bind(('127.0.0.1', 0))\n"
    (tmp_path / "trying_module.py").write_text(trying)

    def imports(ctx: Context) -> int:
        runpy.run_path(str(tmp_path / "trying_module.py"))
        return 0

    harmless(lab, imports)


def test_the_port_of_a_server_is_the_network(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()

    def serves(ctx: Context) -> int:
        with socket.create_server(taken):
            return 0

    (note,) = guarded(lab, serves)[1]
    assert "socket.bind" in note


def test_time_zones_are_no_alarm(lab: Lab) -> None:
    def zones(ctx: Context) -> str:
        return str(zoneinfo.ZoneInfo.no_cache("Europe/Berlin"))

    harmless(lab, zones)


# What a recording says of it.


@pytest.mark.parametrize("mode", MODES)
def test_the_header_names_a_guard_that_changes_something(lab: Lab, mode: str) -> None:
    recording, _ = guarded(lab, draws, mode)
    assert recording.start.policy.get("guard") == (mode if mode in {"block", "virtual"} else None)


def test_a_policy_with_another_guard_is_refused(lab: Lab) -> None:
    recording, _ = guarded(lab, draws, "virtual")
    recording.start.policy["guard"] = "clairvoyant"
    answer = lab.replay(recording, draws)
    assert answer.verdict == "refused"
    assert answer.problem
    assert "the recorded policy is of another form" in answer.problem


def test_there_are_four_modes(lab: Lab) -> None:
    with pytest.raises(UsageError, match="there is no guard 'loud'"):
        guarded(lab, draws, "loud")
    assert lab.store.stems() == []
    with pytest.raises(UsageError, match="there is no guard 'loud'"):
        lab.replay(guarded(lab, draws)[0], draws, guard="loud")


def test_with_nobody_to_tell_nothing_is_put_in_place(lab: Lab) -> None:
    def looks(ctx: Context) -> str:
        return type(time.time).__name__

    assert bytes(only(lab.run(looks)).output) == b'"builtin_function_or_method"'
    recording, _ = guarded(lab, looks)
    assert bytes(only(recording).output) == b'"Patched"'


@pytest.mark.parametrize("mode", ["virtual", "block"])
@pytest.mark.parametrize("asked", MODES)
def test_a_run_goes_on_under_the_guard_it_began_with(lab: Lab, mode: str, asked: Any) -> None:
    def fails_once(ctx: Context) -> float:
        if failing:
            raise ValueError
        return time.time()

    failing, watching = [True], Notes()
    registry = skills(s=lambda _: 1, f=fails_once)
    lab.record(flow(step("a", "s"), step("b", "f")), registry, guard=mode)
    failing.clear()
    resumed = resume("r-1", Host(registry, lab.store, observer=watching, guard=asked))
    lab.opened.append(resumed)
    assert resumed.start.policy["guard"] == mode
    assert resumed.statement.status == ("completed" if mode == "virtual" else "failed")
    assert replay(resumed, registry).matched
    assert any("goes on as it began" in note for note in watching.notes) is (asked in {"virtual", "block"} - {mode})


def test_a_run_does_not_become_virtual_halfway(lab: Lab) -> None:
    failing, watching = [True], Notes()

    def fails_once(ctx: Context) -> float:
        if failing:
            raise ValueError
        return time.time()

    registry = skills(f=fails_once)
    lab.record(flow(step("b", "f")), registry)
    failing.clear()
    resumed = resume("r-1", Host(registry, lab.store, observer=watching, guard="virtual"))
    lab.opened.append(resumed)
    assert "guard" not in resumed.start.policy
    assert [note.split(":")[0] for note in watching.notes if note.startswith("guard")] == ["guard virtual"]
    assert any("time.time" in note for note in watching.notes)


# Virtual.


def test_virtual_answers_are_those_of_the_context(lab: Lab) -> None:
    def legacy(ctx: Context) -> Any:
        return [random.random(), random.randint(1, 9), str(uuid.uuid4()), time.time(), str(uuid.uuid4())]

    def rewritten(ctx: Context) -> Any:
        drawn = [ctx.random.random(), ctx.random.randint(1, 9)]
        return [*drawn, str(ctx.uuid4()), ctx.now().timestamp(), str(ctx.uuid4())]

    recording, _ = guarded(lab, legacy, "virtual")
    assert lab.replay(recording, rewritten).divergence is None


def test_the_virtual_clock_ticks_and_goes_on_by_what_is_slept(lab: Lab) -> None:
    def looks(ctx: Context) -> Any:
        one, other = time.time_ns(), time.time_ns()
        time.sleep(0.02)
        return [other - one, time.time_ns() - other, str(ctx.now())]

    recording, _ = guarded(lab, looks, "virtual")
    assert bytes(only(recording).output).startswith(b"[1000,20001000,")
    assert lab.replay(recording, looks).matched


def test_who_waits_for_the_virtual_clock_does_not_wait_for_ever(lab: Lab) -> None:
    def polls(ctx: Context) -> int:
        until, looked = time.time() + 0.05, 0
        while time.time() < until:
            time.sleep(0.01)
            looked += 1
        return looked

    recording, _ = guarded(lab, polls, "virtual")
    assert bytes(only(recording).output) == b"5"


def test_every_way_to_ask_the_virtual_clock_gives_the_same_moment(lab: Lab) -> None:
    def asks(ctx: Context) -> Any:
        moments = [
            datetime.fromtimestamp(time.time(), tz=UTC),
            datetime.fromtimestamp(time.time_ns() / 1e9, tz=UTC),
            datetime.fromtimestamp(time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e9, tz=UTC),
            datetime.now(tz=UTC),
            datetime.now().replace(tzinfo=UTC),  # noqa: DTZ005  legacy code does
            datetime.today().replace(tzinfo=UTC),  # noqa: DTZ002  as above
            datetime(*time.localtime()[:6], tzinfo=UTC),
            datetime(*time.gmtime(None)[:6], tzinfo=UTC),
            datetime.strptime(time.ctime(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC),
            datetime.strptime(time.asctime(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC),
            datetime.strptime(time.strftime("%Y-%m-%d %H:%M:%S"), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC),
        ]
        assert date.today() == ctx.now().date()  # noqa: DTZ011  as above
        assert datetime.now(tz=UTC).tzinfo is UTC
        return [abs(moment - ctx.now()) <= timedelta(seconds=1) for moment in moments]

    recording, _ = guarded(lab, asks, "virtual")
    assert bytes(only(recording).output) == b"[" + b",".join([b"true"] * 11) + b"]"


def test_an_archive_of_the_standard_library_replays_under_the_virtual_clock(lab: Lab) -> None:
    def packs(ctx: Context) -> str:
        out = BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("x", "y")
        return out.getvalue().hex()

    assert "zipfile" in guarded(lab, packs)[1][0]
    recording, _ = guarded(lab, packs, "virtual")
    assert lab.replay(recording, packs).matched


def test_seeding_is_for_the_step_alone_under_the_virtual_clock(lab: Lab) -> None:
    def seeds(ctx: Context) -> list[float]:
        random.seed(7)
        return [random.random(), random.choice([1.0, 2.0])]

    before = random.getstate()
    recording, _ = guarded(lab, seeds, "virtual")
    assert random.getstate() == before
    assert bytes(only(recording).output).startswith(str([random.Random(7).random()]).removesuffix("]").encode())


# Whole programs.


NAMED = {
    "c10_lookup_key": {"time.time": 15},
    "c13_record_ids": {"os.urandom (by uuid.uuid4)": 19},
    "c15_audit_sample": {"random.sample": 14},
    "c16_quiz": {"random.Random": 14},
    "c25_endpoint": {"os.environ['APP_REGION']": 15, "os.environ['APP_VERBOSE']": 16},
    "c41_exchange": {"socket.getaddrinfo (by urllib.request.urlopen)": 16},
    "c43_batch_size": {"open('/proc/meminfo')": 12},
    "c49_statement": {"datetime.now": 30, "random.random": 24},
    "k01_labels_sorted": {},
    "k04_parallel_map": {},
}


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Import one of the programs as a user's module."""
    name = request.param
    spec = importlib.util.spec_from_file_location(name, FIXTURES / "nondet" / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.mark.parametrize("program", NAMED, indirect=True)
def test_what_is_named_in_a_program_that_is_not_deterministic(lab: Lab, program: Any) -> None:
    _, notes = guarded(lab, lambda ctx: program.step(ctx.inputs), inputs=program.INPUTS)
    expected = NAMED[program.__name__]
    told = {
        (note.removeprefix("step a: ").partition(" at ")[0], int(note.split(" is not")[0].rpartition(":")[2]))
        for note in notes
    }
    assert told >= set(expected.items())
    assert bool(told) is bool(expected)


def test_under_a_virtual_clock_each_nested_step_has_numbers_of_its_own(lab: Lab) -> None:
    @step_of_python
    async def draws(n: int) -> list[float]:
        await ask(n)
        return [random.random(), time.time(), float(n)]

    @external
    async def ask(n: int) -> int:
        # In another order each time.
        await asyncio.sleep(slow.random() / 200)
        return n

    async def agent() -> Any:
        return await asyncio.gather(*(draws(n) for n in range(6)))

    slow = random.SystemRandom()
    for turn in range(4):
        recording = record(agent, store=lab.store, run_id=f"nested-{turn}", seed=turn, guard="virtual")
        lab.opened.append(recording)
        assert recording.statement.status == "completed"
        for _ in range(5):
            assert replay(recording, agent).matched


def test_a_call_of_a_nested_step_that_is_blocked_fails_it_and_the_run(lab: Lab) -> None:
    @step_of_python
    def asks() -> float:
        return time.time()

    def agent() -> float:
        try:
            return float(asks())
        except BaseException:  # noqa: BLE001  what is tried
            return 0.0

    recording = record(agent, store=lab.store, run_id="nested", seed=1, guard="block")
    lab.opened.append(recording)
    found = {each.step.step_id: each.step for each in records(recording)}
    assert recording.statement.status == "failed"
    for name in ("agent/asks", "agent"):
        error = found[name].error
        assert error
        assert error.type == "BlockedError"
    assert replay(recording, agent).matched
