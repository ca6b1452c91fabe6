"""Killed at any call that changes the disk and run again, every command of a responder ends as if it had not been."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.crash.stage import PLAYS, Play, Stage, content
from tests.stories.world import Server, fold, of

GOOD = of("intact", "a", "b", "c")
KILLED = -9
REPEATED = [name for name in PLAYS if name != "record"]
_RANDOM = re.compile(r"[0-9a-f]{16,32}")


def places(calls: list[str]) -> list[tuple[str, int]]:
    """Return where a command that makes these calls can be killed: before each, within each write, after the last."""
    before = [("before", n) for n in range(1, len(calls) + 1)]
    within = [("within", n) for n, name in enumerate(calls, 1) if name == "write"]
    return [*before, *within, ("after", len(calls))]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPEATED)
def test_a_command_killed_at_any_call_and_run_again_ends_the_same(server: Server, tmp_path: Path, name: str) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    calls = stage.calls()
    expected = stage.scene()
    assert not stage.world.left_over()
    bad: dict[str, list[str]] = defaultdict(list)
    for way, n in places(calls):
        stage.reset()
        case = f"{way} {n} {calls[n - 1]}"
        done = stage.world.golden(*stage.argv, layer={"way": way, "n": n})
        # With two jobs it may be a worker that is killed, and the parent says so.
        if done.code != KILLED and "jobs" not in name:
            bad["was not killed"].append(case)
        if n % 2:
            # Every other time somebody looks before it is run again.
            stage.world.verify()
        again = stage.again()
        found = stage.scene()
        if again.code not in stage.play.again:
            bad[f"ended with {again.code}: {again.stderr[-200:]}"].append(case)
        if found.said != expected.said:
            bad[f"it is {found.said}"].append(case)
        if found.settled != expected.settled:
            bad[f"files {sorted(set(found.settled) ^ set(expected.settled))}"].append(case)
        if found.states != expected.states and name != "keys add":
            bad[f"keys {found.states}"].append(case)
        left = [_RANDOM.sub("<hex>", place) for place in stage.world.left_over()]
        if left:
            bad[f"left over: {left}"].append(case)
        stage.world.only_honest(*stage.new, restated=name in {"rotate accepting", "rotate in git"})
    assert not bad, "\n".join(f"{what}\n    {', '.join(cases)}" for what, cases in bad.items())


@pytest.mark.slow
def test_a_record_killed_at_any_call_leaves_a_prefix_or_the_whole_and_holds_nobody_up(
    server: Server, tmp_path: Path
) -> None:
    stage = Stage(server, tmp_path, PLAYS["record"])
    world, calls = stage.world, stage.calls()
    other = ("record", "spec.json", "--run-id", "e", "--skills", "skills.py")
    seen: set[str] = set()
    bad: dict[str, list[str]] = defaultdict(list)
    for way, n in places(calls):
        stage.reset()
        case = f"{way} {n} {calls[n - 1]}"
        assert world.golden(*stage.argv, layer={"way": way, "n": n}).code == KILLED, case
        path = world.goldens / "d.steps.jsonl"
        # Without a whole line nothing was recorded, and the run's id is free.
        there = path.exists() and b"\n" in path.read_bytes()
        before = world.verify()
        word = before.by.get("d", "absent")
        seen.add(word)
        if {run_id: word for run_id, word in before.by.items() if run_id != "d"} != GOOD:
            bad[f"it is {before.said}"].append(case)
        if before.ledger not in {"intact", "torn"}:
            bad[f"the ledger is {before.ledger}"].append(case)
        again = world.golden(*stage.argv)
        if again.code != (2 if there else 0):
            bad[f"again: {again.code} {again.stderr}"].append(case)
        done = world.golden(*other)
        if done.code != 0:
            bad[f"another: {done.code} {done.stderr}"].append(case)
        after = world.verify()
        if after.by != {**GOOD, "d": word if there else "intact", "e": "intact"} or after.ledger != "intact":
            bad[f"then it is {after.said}"].append(case)
        if after.by["d"] == "intact" and fold(world).runs["d"].op != "seal":
            bad["the next writer does not say in the ledger that the run was sealed"].append(case)
        if after.by["d"] != "intact" and world.golden("quarantine", "d", "--yes").code != 0:
            bad["what is left of the run cannot be set apart"].append(case)
        if world.verify().said != (
            {**after.by, "d": "intact"} if after.by["d"] == "intact" else GOOD | {"e": "intact"},
            "intact",
            0,
        ):
            bad[f"in the end it is {world.verify().said}"].append(case)
        left = [_RANDOM.sub("<hex>", place) for place in world.left_over()]
        if left:
            bad[f"left over: {left}"].append(case)
    assert not bad, "\n".join(f"{what}\n    {', '.join(cases)}" for what, cases in bad.items())
    assert seen == {"absent", "torn", "live", "unsealed", "intact"}


@pytest.mark.slow
def test_a_record_killed_at_any_call_and_resumed_is_the_run_it_would_have_been(server: Server, tmp_path: Path) -> None:
    stage = Stage(server, tmp_path, PLAYS["record"])
    world, calls = stage.world, stage.calls()
    expected, scene = content(world, "d"), stage.scene()
    bad: dict[str, list[str]] = defaultdict(list)
    for way, n in places(calls):
        stage.reset()
        case = f"{way} {n} {calls[n - 1]}"
        assert world.golden(*stage.argv, layer={"way": way, "n": n}).code == KILLED, case
        done = world.golden("resume", "d", "--skills", "skills.py")
        path = world.goldens / "d.steps.jsonl"
        if done.code and not (path.exists() and b"\n" in path.read_bytes()):
            # Nothing was recorded that could be gone on with.
            done = world.golden(*stage.argv)
        if done.code:
            bad[f"ended with {done.code}: {done.stderr[-200:]}"].append(case)
            continue
        if content(world, "d") != expected:
            bad["it is another run"].append(case)
        found = stage.scene()
        if (found.said, found.settled) != (scene.said, scene.settled):
            bad[f"it is {found}"].append(case)
        if world.golden("replay", "d", "--skills", "skills.py").code:
            bad["it does not replay"].append(case)
    assert not bad, "\n".join(f"{what}\n    {', '.join(cases)}" for what, cases in bad.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rotate compromised", "rotate scheduled"])
def test_a_rotation_killed_again_and_again_gets_through_in_the_end(server: Server, tmp_path: Path, name: str) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    calls = stage.calls()
    expected = stage.scene()
    stage.reset()
    for n in [*range(1, len(calls)), *range(len(calls), 0, -3)]:
        stage.world.golden(*stage.argv, layer={"way": "before", "n": n})
    assert stage.world.golden(*stage.argv).code in stage.play.again
    assert stage.scene().said == expected.said


def test_every_command_that_writes_has_its_play() -> None:
    assert all(isinstance(play, Play) for play in PLAYS.values())
    words = {name.split()[0].rstrip(",") for name in PLAYS}
    keys = {"rotate", "resign", "quarantine", "recover", "ledger", "import", "keys"}
    assert words == {"record", "resume", "accept", "reject", *keys}
