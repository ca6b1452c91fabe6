"""What is put in place while steps run: it breaks nothing, and none of it stays, however a run ends."""

import copy
import datetime as dt
import importlib
import os
import pickle
import random
import secrets
import signal
import socket
import sys
import threading
import time
import types
import uuid
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from time import time as bound_before
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from golden import StoreError
from golden.errors import UsageError
from replay import Context, SkillRegistry, replay
from replay.guard import Watch, watching
from replay.patches import Patched, in_place
from replay.tables import table_of
from tests.unit.replay.conftest import Lab, flow, skills, step

MODULES = (time, random, os, secrets, uuid, dt, threading)
# The module loads what it seeds from text with when it first does, and keeps it.
random.Random("text")
CLASSES = (random.Random, random.SystemRandom, type(os.environ), threading.Thread)


def everything() -> list[dict[str, Any]]:
    """Return all that a patch could have changed, as it is now."""
    tables = [dict(table_of(kind) or {}) for kind in (datetime, date)]
    mine = {"bound_before": bound_before}
    return [*(dict(vars(place)) for place in (*MODULES, *CLASSES)), *tables, mine, {"environ": type(os.environ)}]


class Watching:
    """An observer that fails where it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def step(self, *_: object) -> None:
        """See `Observer`."""
        if self.fails:
            raise StoreError("the disk is full", hint="make room")

    def note(self, text: str) -> None:
        """See `Observer`."""


def ends_well(ctx: Context) -> float:
    return time.time() * 0


def raises(ctx: Context) -> None:
    raise ValueError


def exits(ctx: Context) -> None:
    raise SystemExit(3)


def interrupts_itself(ctx: Context) -> None:
    raise KeyboardInterrupt


def overstays(ctx: Context) -> None:
    for _ in range(2000):
        time.sleep(0.001)


def is_interrupted(ctx: Context) -> None:
    signal.raise_signal(signal.SIGINT)


def returns_nonsense(ctx: Context) -> object:
    return object()


ENDINGS = (ends_well, raises, exits, interrupts_itself, overstays, is_interrupted, returns_nonsense)


def run(lab: Lab, ending: Any, mode: str, *, fails: bool = False) -> None:
    """Record one step that ends so; what the run raises is no matter here."""
    members = {"timeout_seconds": 0.05} if ending is overstays else {}
    spec = flow(step("a", "s", **members))
    name = f"r-{uuid.uuid4()}"
    with suppress(KeyboardInterrupt, StoreError):
        lab.record(spec, skills(s=ending), guard=mode, observer=Watching(fails=fails), run_id=name)


@pytest.mark.parametrize("mode", ["warn", "block", "virtual"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_stays_however_a_run_ends(lab: Lab, ending: Any, mode: str) -> None:
    before = everything()
    run(lab, ending, mode)
    assert everything() == before


def test_nothing_stays_where_the_run_itself_breaks_off(lab: Lab) -> None:
    before = everything()
    run(lab, ends_well, "warn", fails=True)
    assert everything() == before


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(ENDINGS[:4]), st.sampled_from(["warn", "block", "virtual"])), max_size=4))
def test_nothing_stays_after_any_runs_inside_each_other(lab: Lab, runs: list[tuple[Any, str]]) -> None:
    before = everything()

    def nested(left: list[tuple[Any, str]]) -> Any:
        def skill(ctx: Context) -> Any:
            if left[1:]:
                run(lab, nested(left[1:]), left[1][1])
            return left[0][0](ctx)

        return skill

    if runs:
        run(lab, nested(runs), runs[0][1])
    assert everything() == before


def test_two_runs_at_once_share_the_patches_until_the_last_one_ends() -> None:
    original = time.time
    first, second = in_place(), in_place()
    with first:
        patched = time.time
        second.__enter__()
        assert time.time is patched
    assert time.time is patched
    second.__exit__(None, None, None)
    assert time.time is original
    assert type(original) is types.BuiltinFunctionType


def test_two_runs_at_once_are_each_watched(tmp_path: Path) -> None:
    both, found = threading.Barrier(2), dict[str, Any]()

    def asks(ctx: Context) -> float:
        both.wait(10)
        asked = time.time()
        both.wait(10)
        return asked

    def one(mode: str) -> None:
        lab = Lab(tmp_path / mode)
        recording = lab.record(flow(step("a", "s")), skills(s=asks), guard=mode, observer=Watching())
        found[mode] = recording.statement.status, lab.replay(recording, lambda ctx: ctx.now().timestamp()).verdict
        lab.close()

    threads = [threading.Thread(target=one, args=[mode]) for mode in ("warn", "virtual")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"warn": ("completed", "diverged"), "virtual": ("completed", "matched")}


def test_a_name_bound_before_is_seen_and_given_back(lab: Lab) -> None:
    kept = bound_before
    seen: list[Any] = []

    def looks(ctx: Context) -> int:
        seen.append(bound_before)
        return 0

    run(lab, looks, "warn")
    assert type(seen[0]) is Patched
    assert bound_before is kept


def test_a_module_imported_in_a_step_is_left_with_the_functions_themselves(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bound_late.py").write_text("from time import time\nfrom random import choice\n")

    def imports(ctx: Context) -> int:
        sys.path.insert(0, str(tmp_path))
        try:
            __import__("bound_late")
        finally:
            sys.path.remove(str(tmp_path))
        assert type(vars(sys.modules["bound_late"])["time"]) is Patched
        return 0

    run(lab, imports, "warn")
    late = sys.modules.pop("bound_late")
    assert vars(late)["time"] is time.time
    assert vars(late)["choice"] == random.choice


def in_a_step(lab: Lab, skill: Any, mode: str = "virtual") -> None:
    """Run assertions inside a step."""
    recording = lab.record(flow(step("a", "s")), skills(s=skill), guard=mode, observer=Watching())
    assert recording.statement.status == "completed", list(recording.records())


def test_a_moment_is_a_moment_like_any_other(lab: Lab) -> None:
    class Mine(datetime):
        pass

    def asserts(ctx: Context) -> int:
        now = datetime.now(tz=UTC)
        assert type(now) is datetime is dt.datetime
        assert isinstance(now, datetime)
        assert isinstance(now, date)
        assert pickle.loads(pickle.dumps(now)) == now == copy.deepcopy(now)  # noqa: S301  its own
        assert type(date.today()) is date  # noqa: DTZ011  as legacy code asks
        assert type(Mine.now(tz=UTC)) is type(Mine.today()) is Mine
        assert now < Mine.now(tz=UTC)
        return 0

    in_a_step(lab, asserts)
    in_a_step(lab, asserts, "warn")


def test_a_function_in_place_behaves_as_the_one_it_stands_for(lab: Lab) -> None:
    def asserts(ctx: Context) -> int:
        class Timer:
            clock = time.time

        assert isinstance(vars(Timer)["clock"](), float)
        timer: Any = Timer()
        assert isinstance(timer.clock(), float)
        assert pickle.loads(pickle.dumps(time.time)) is copy.deepcopy(time.time) is time.time  # noqa: S301  as above
        assert pickle.loads(pickle.dumps(random.choice)) is random.choice  # noqa: S301  as above
        assert time.time.__name__ == "time"
        assert time.strftime("%Y", time.gmtime(0)) == "1970"
        assert sorted(random.sample(range(3), k=3)) == [0, 1, 2]
        assert "PATH" in os.environ
        assert os.environ.get("GOLDEN_NO_SUCH_VARIABLE") is None
        return 0

    in_a_step(lab, asserts)
    in_a_step(lab, asserts, "warn")


def test_variables_are_seen_however_often_patches_were_put_in_place_before() -> None:
    # Python 3.13 keeps no count of the changes of a class beyond the thousandth.
    watch = create_autospec(Watch, instance=True, open=True)
    for _ in range(700):
        with in_place():
            token = watching.set(watch)
            os.environ.get("GOLDEN_NO_SUCH_VARIABLE")
            watching.reset(token)
        for _ in range(20):
            os.environ.get("GOLDEN_NO_SUCH_VARIABLE")
    assert watch.judge.call_count == 700


def test_what_somebody_else_puts_in_place_meanwhile_stays_theirs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def mine() -> float:
        return 1.0

    def patches(ctx: Context) -> int:
        monkeypatch.setattr(time, "time", mine)
        return 0

    kept = time.time
    in_a_step(lab, patches, "warn")
    assert time.time is mine
    monkeypatch.undo()
    assert time.time() - kept() < 60
    time.time = kept


def test_a_socket_made_in_a_step_works(lab: Lab) -> None:
    def talks(ctx: Context) -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as peer:
                peer.sendall(b"hello")
            with server.accept()[0] as other:
                return other.recv(5).decode()

    in_a_step(lab, talks, "warn")


def test_the_generators_of_numpy_are_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = random.Random(1)
    numpy = types.ModuleType("numpy.random")
    for name, function in (("random", shared.random), ("seed", shared.seed), ("default_rng", random.Random)):
        setattr(numpy, name, function)
    monkeypatch.setitem(sys.modules, "numpy.random", numpy)
    told: list[str] = []

    class Notes(Watching):
        def note(self, text: str) -> None:
            told.append(text.split(" at ", maxsplit=1)[0])

    def draws(ctx: Context) -> int:
        vars(numpy)["random"]()
        vars(numpy)["default_rng"](7)
        vars(numpy)["default_rng"]()
        vars(numpy)["seed"](7)
        vars(numpy)["random"]()
        return 0

    lab.record(flow(step("a", "s")), skills(s=draws), guard="virtual", observer=Notes())
    assert told == ["step a: numpy.random.random", "step a: numpy.random.default_rng"]
    assert vars(numpy)["random"] == shared.random


def test_a_part_of_numpy_that_it_loads_when_it_is_asked_for_is_named_too(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(
        "def __getattr__(name):\n    from numpy import random as r\n    return r\n"
    )
    (tmp_path / "numpy" / "random.py").write_text("from random import Random\nrandom = Random(1).random\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "numpy"}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    try:
        numpy = importlib.import_module("numpy")
        told: list[str] = []

        class Notes(Watching):
            def note(self, text: str) -> None:
                told.append(text.split(" at ", maxsplit=1)[0])

        def draws(ctx: Context) -> float:
            found: float = numpy.random.random()
            numpy.random.RandomState(7)
            numpy.random.seed(7)
            return found + float(numpy.random.random())

        lab.record(flow(step("a", "s")), skills(s=draws), guard="warn", observer=Notes())
    finally:
        for name in ("numpy", "numpy.random"):
            sys.modules.pop(name, None)
    assert told == ["step a: numpy.random.random"]


def test_what_a_thread_that_was_left_behind_asks_is_nobodys(lab: Lab) -> None:
    told: list[str] = []
    late = threading.Event()

    class Notes(Watching):
        def note(self, text: str) -> None:
            told.append(text)

    def leaves(ctx: Context) -> int:
        def asks() -> None:
            late.wait(10)
            time.time()

        threads.append(threading.Thread(target=asks))
        threads[0].start()
        return 0

    def waits(ctx: Context) -> int:
        late.set()
        threads[0].join()
        return 0

    threads: list[threading.Thread] = []
    registry = SkillRegistry()
    registry.skill("l")(leaves)
    registry.skill("w")(waits)
    lab.record(flow(step("a", "l"), step("b", "w")), registry, observer=Notes())
    assert told == []


def test_where_types_are_closed_they_go_unseen_and_nobody_is_promised_a_clock_of_his_own(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay.tables.table_of", lambda _: None)
    spec, registry = flow(step("a", "s")), skills(s=lambda _: str(datetime.now(UTC)) and "done")
    before = datetime.__dict__["now"]
    with in_place():
        assert datetime.__dict__["now"] is before
    for guard in ("warn", "block"):
        assert lab.record(spec, registry, guard=guard).statement.status == "completed"
    with pytest.raises(UsageError, match="there is no guard virtual"):
        lab.record(spec, registry, guard="virtual", run_id="v-1")
    assert not lab.store.file("v-1").path.exists()


def test_a_recording_under_a_virtual_clock_is_refused_where_there_is_none(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, registry = flow(step("a", "s")), skills(s=lambda _: str(datetime.now(UTC)))
    recording = lab.record(spec, registry, guard="virtual")
    assert replay(recording, registry).matched
    monkeypatch.setattr("replay.tables.table_of", lambda _: None)
    answer = replay(recording, registry)
    assert (answer.verdict, answer.problem) == (
        "refused",
        "this Python lets nobody give datetime another clock: there is no guard virtual",
    )
