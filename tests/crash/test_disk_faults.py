"""A disk that is full, broken or read-only: each command says so, loses nothing, and can be run again."""

import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golden.canonical import decode
from golden.errors import StoreError
from golden.event import Data, EffectData, StepData, parse_event
from golden.recorder import open_recorder
from golden.store import DURABILITIES
from golden.verdict import verify
from replay import Context, SkillRegistry, record
from tests import runs
from tests.crash.layer import Layer
from tests.crash.stage import PLAYS, Play, Stage, content
from tests.stories.world import Server, World, of

GOOD = of("intact", "a", "b", "c")
# What each call fails with on a real disk.
FAULTS = {
    "open": "ENOSPC",
    "mkdir": "EROFS",
    "write": "ENOSPC",
    "fsync": "EIO",
    "fdatasync": "EIO",
    "sync": "EIO",
    "rename": "ENOSPC",
    "unlink": "EROFS",
    "ftruncate": "EIO",
    "fchmod": "EPERM",
    "fchown": "EPERM",
    "chmod": "EPERM",
}
_RANDOM = re.compile(r"[0-9a-f]{16,32}")


def faults(calls: list[str]) -> list[tuple[str, int]]:
    """Return (what it fails with, which call) for each call."""
    return [(FAULTS[name], n) for n, name in enumerate(calls, 1)]


def spoken(stderr: str) -> bool:
    """Whether the last two lines are an error and what to do next."""
    lines = stderr.splitlines()
    return len(lines) > 1 and lines[-2].startswith("golden: ") and lines[-1].startswith("hint: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLAYS if name not in {"record", "rotate compromised, two jobs"}])
def test_a_command_whose_disk_fails_at_any_call_says_so_and_can_be_run_again(
    server: Server, tmp_path: Path, name: str
) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    world, calls = stage.world, stage.calls()
    expected = stage.scene()
    bad: dict[str, list[str]] = defaultdict(list)
    for word, n in faults(calls):
        stage.reset()
        case = f"{word} {n} {calls[n - 1]}"
        done = world.golden(*stage.argv, layer={"way": word, "n": n})
        well = done.code in stage.play.again and "failed" not in done.stdout and not spoken(done.stderr)
        # Where the secret cannot be put, it is the place that was named that is wrong.
        if not well and done.code not in ({2, 4} if name == "keys add" else {4, *stage.play.again}):
            bad[f"it ends with {done.code}: {done.stderr[-200:]}"].append(case)
        if not well and not spoken(done.stderr) and "hint: " not in done.stdout:
            bad[f"it does not say what to do: {done.stderr[-200:]}"].append(case)
        if well and stage.scene().said != expected.said:
            bad[f"it ends well and has left it undone: {stage.scene().said}"].append(case)
        again = stage.again()
        found = stage.scene()
        if again.code not in stage.play.again:
            bad[f"again it ends with {again.code}: {again.stderr[-200:]}"].append(case)
        if found.said != expected.said:
            bad[f"then it is {found.said}"].append(case)
        if found.settled != expected.settled:
            bad[f"files {sorted(set(found.settled) ^ set(expected.settled))}"].append(case)
        if found.states != expected.states and name != "keys add":
            bad[f"keys {found.states}"].append(case)
        left = [_RANDOM.sub("<hex>", place) for place in world.left_over()]
        if left and calls[n - 1] != "unlink":
            bad[f"left over: {left}"].append(case)
        world.only_honest(*stage.new, restated=name in {"rotate accepting", "rotate in git"})
    assert not bad, "\n".join(f"{what}\n    {', '.join(cases)}" for what, cases in bad.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYS)
def test_a_command_whose_writes_are_all_short_is_not_troubled(server: Server, tmp_path: Path, name: str) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    stage.calls()
    expected = stage.scene()
    stage.reset()
    assert stage.world.golden(*stage.argv, layer={"way": "short"}).code in stage.play.again
    assert stage.scene()[:3] == expected[:3]
    assert not stage.world.left_over()


@pytest.mark.slow
def test_a_disk_that_is_full_while_recording_leaves_the_prefix(server: Server, tmp_path: Path) -> None:
    stage = Stage(server, tmp_path, PLAYS["record"])
    world, calls = stage.world, stage.calls()
    whole = (world.goldens / "d.steps.jsonl").read_bytes()
    seen: set[str] = set()
    bad: dict[str, list[str]] = defaultdict(list)
    for word, n in faults(calls):
        stage.reset()
        case = f"{word} {n} {calls[n - 1]}"
        done = world.golden(*stage.argv, layer={"way": word, "n": n})
        path = world.goldens / "d.steps.jsonl"
        data = path.read_bytes() if path.exists() else b""
        found = world.verify()
        judged = found.by.get("d", "absent")
        seen.add(judged)
        if data.count(b"\n") > whole.count(b"\n") or (done.code == 0) is not (
            judged == "intact" and spoken(done.stderr) is False
        ):
            bad[f"{done.code}, {judged}: {done.stderr[-160:]}"].append(case)
        if done.code not in {0, 4} or (done.code == 4 and not spoken(done.stderr)):
            bad[f"it ends with {done.code}: {done.stderr[-160:]}"].append(case)
        if {run_id: word for run_id, word in found.by.items() if run_id != "d"} != GOOD or found.ledger != "intact":
            bad[f"it is {found.said}"].append(case)
        if judged not in {"absent", "live", "torn", "unsealed", "intact"}:
            bad[f"the run is {judged}"].append(case)
        other = world.golden(*stage.argv[:3], "e", *stage.argv[4:])
        after = world.verify()
        if (other.code, after.by.get("e"), after.ledger) != (0, "intact", "intact"):
            bad[f"then {other.code}, {after.said}: {other.stderr}"].append(case)
    assert not bad, "\n".join(f"{what}\n    {', '.join(cases)}" for what, cases in bad.items())
    assert {"absent", "live", "unsealed", "intact"} <= seen


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("after", range(1, 5))
def test_a_full_disk_in_the_middle_of_a_run_leaves_a_live_or_torn_prefix(
    tmp_path: Path, durability: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = runs.store_in(tmp_path / "golden", durability=durability)
    said: list[Data] = [runs.start(), runs.step(0, [1]), runs.step(1, [2]), runs.step(2, [3]), runs.end()]
    with open_recorder(store, "r-1") as recorder:
        for data in said[:after]:
            recorder.write(data, runs.duration(data))
        whole = store.file("r-1").path.read_bytes()
        layer = Layer("ENOSPC", 0, only=("write",))
        monkeypatch.setattr("os.write", layer.guarded("write", layer.real["write"]))
        with pytest.raises(StoreError, match="No space left on device"):
            recorder.write(said[after], runs.duration(said[after]))
        monkeypatch.undo()
        # Space that comes back does not mend the run: nothing good could follow.
        with pytest.raises(StoreError, match="broken off"):
            recorder.write(said[after], runs.duration(said[after]))
        with pytest.raises(StoreError, match="broken off"):
            recorder.seal()
    assert store.file("r-1").path.read_bytes() == whole
    assert verify(store.file("r-1").path, runs.keyring()).verdict == "live"


# Each step asks twice: first all of them at once, where they are told to meet, and then as it comes.
MEETING = """\
import threading
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()
met = threading.Barrier(4)


def ask(name, n):
    with Path("asked").open("a") as file:
        file.write(f"{name} {n}\\n")
    if n == 0 and name != "after" and Path("MEET").exists():
        met.wait(20)
    return n


@registry.skill("asks", version="1")
def asks(ctx):
    name = ctx.inputs["name"]
    return [ctx.external("ask", ask, name, n) for n in range(2)] + [ctx.random.random()]
"""
SIDE_BY_SIDE = ("--skills", "skills.py", "--concurrency", "4")


def _meeting(world: World) -> tuple[str, ...]:
    names = ["a", "b", "c", "d"]
    steps: list[dict[str, Any]] = [{"id": name, "skill_id": "asks", "inputs": {"name": name}} for name in names]
    steps.append({"id": "after", "skill_id": "asks", "inputs": {"name": "after"}, "depends_on": names})
    (world.here / "spec.json").write_text(json.dumps({"id": "s", "steps": steps}))
    (world.here / "skills.py").write_text(MEETING)
    (world.here / "MEET").touch()
    return ("record", "spec.json", "--run-id", "d", "--seed", "7", *SIDE_BY_SIDE)


def events_in(data: bytes) -> list[Data]:
    """Return the events of the whole lines of a golden file."""
    return [parse_event(line).data for line in data[: data.rfind(b"\n") + 1].splitlines()]


def outcome(world: World, run_id: str) -> Any:
    """Return what a run came to, whatever the order of its steps."""
    *steps, end = content(world, run_id)
    return sorted((x.step.step_id, bytes(x.step.output), len(x.effects)) for x in steps), end


def gone_on_with(world: World, before: bytes, expected: Any) -> Iterator[str]:
    """Go on with run d, of which so much was recorded, and give what is wrong with what comes of it."""
    path, events = world.goldens / "d.steps.jsonl", events_in(before)
    begin = ("resume", "d") if events else ("record", "spec.json", "--run-id", "e", "--seed", "7")
    again = world.golden(*begin, *SIDE_BY_SIDE, "--json")
    if again.code != 0:
        yield f"then it ends with {again.code}: {again.stderr[-300:]}"
        return
    run_id = again.objects[0]["run_id"]
    if events and not path.read_bytes().startswith(before[: before.rindex(b"\n") + 1]):
        yield "what stood there is gone"
    if outcome(world, run_id) != expected:
        yield f"it comes to {outcome(world, run_id)}"
    found, replayed = world.verify(), world.golden("replay", run_id, "--skills", "skills.py")
    if (found.by.get(run_id), found.ledger) != ("intact", "intact"):
        yield f"then it is {found.said}"
    if replayed.code != 0:
        yield f"it replays with {replayed.code}: {replayed.stdout[-300:]}"
    answered = {" ".join(map(str, decode(data.args))) for data in events if isinstance(data, EffectData)}
    asked = Counter((world.here / "asked").read_text().splitlines())
    if again_asked := sorted(call for call in answered if asked[call] > 1):
        yield f"asked again although it was answered: {again_asked}"


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for-good"])
def test_a_disk_that_is_full_under_steps_side_by_side_loses_nothing_and_the_run_goes_on(
    server: Server, tmp_path: Path, lasting: bool
) -> None:
    stage = Stage(server, tmp_path, Play(_meeting))
    world, path = stage.world, stage.world.goldens / "d.steps.jsonl"
    writes: dict[str, Any] = {"only": ["write"]}
    stage.log.unlink(missing_ok=True)
    assert world.golden(*stage.argv, layer={"log": str(stage.log), **writes}).code == 0
    expected = outcome(world, "d")
    ended: set[int] = set()
    bad: dict[str, list[str]] = defaultdict(list)
    for n in range(1, len(stage.log.read_text().splitlines()) + 1):
        stage.reset()
        done = world.golden(*stage.argv, layer={"way": "ENOSPC", "n": n, "lasting": lasting, **writes})
        # Who goes on alone has nobody to meet.
        (world.here / "MEET").unlink()
        before = path.read_bytes() if path.exists() else b""
        ended.add(sum(isinstance(data, StepData) for data in events_in(before)))
        case = f"{n}, {len(events_in(before))} events"
        if done.code not in {0, 4} or (done.code == 4) is not spoken(done.stderr):
            bad[f"it ends with {done.code}: {done.stderr[-200:]}"].append(case)
        found = world.verify()
        if found.by.get("d", "absent") not in {"absent", "live", "unsealed", "intact"} or found.ledger != "intact":
            bad[f"it is {found.said}"].append(case)
        for what in gone_on_with(world, before, expected):
            bad[what].append(case)
    assert not bad, "\n".join(f"{what}\n    {'; '.join(cases)}" for what, cases in bad.items())
    # It was full under steps of which none had ended, some had, all had.
    assert {0, 4, 5} < ended


def test_a_full_disk_is_named_though_another_step_is_the_first_to_end_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, heard = threading.Event(), threading.Event()
    layer = Layer("ENOSPC", 0, only=("write",))
    made = SkillRegistry()

    @made.skill("first")
    def first(ctx: Context) -> Any:
        monkeypatch.setattr("os.write", layer.guarded("write", layer.real["write"]))
        try:
            return ctx.external("get", lambda: 1)
        finally:
            # It takes its time to clean up.
            full.set()
            heard.wait(30)

    @made.skill("second")
    def second(ctx: Context) -> Any:
        full.wait(30)
        return ctx.external("get", lambda: 2)

    steps = [{"id": name, "skill_id": name} for name in ("first", "second")]
    store = runs.store_in(tmp_path / "golden")
    try:
        with pytest.raises(StoreError, match="No space left on device"):
            record({"id": "s", "steps": steps}, made, store=store, run_id="r-1", concurrency=2)
    finally:
        heard.set()
