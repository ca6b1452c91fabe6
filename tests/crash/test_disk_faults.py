"""A disk that is full, broken or read-only: each command says so, loses nothing, and can be run again."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from golden.errors import StoreError
from golden.event import Data
from golden.recorder import open_recorder
from golden.store import DURABILITIES
from golden.verdict import verify
from tests import runs
from tests.crash.layer import Layer
from tests.crash.stage import PLAYS, Stage
from tests.stories.world import Server, of

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
