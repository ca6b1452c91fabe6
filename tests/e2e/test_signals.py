"""Signals while recording: the run ends between two lines, sealed as `aborted`, and the exit code names the signal."""

import signal
import subprocess
import time

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Shell

WAITING = """\
import asyncio
import time
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("quick")
def quick(ctx):
    return ctx.external("one", lambda: 1)


@registry.skill("sleep")
def sleep(ctx):
    Path("waiting").touch()
    time.sleep(60)


@registry.skill("sleep.async")
async def sleep_async(ctx):
    Path("waiting").touch()
    await asyncio.sleep(60)


@registry.skill("sleep.outside")
def sleep_outside(ctx):
    Path("waiting").touch()
    ctx.external("nap", time.sleep, 60)


@registry.skill("sleep.stubborn")
def sleep_stubborn(ctx):
    Path("waiting").touch()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except BaseException:
            return "I go on"
"""


def interrupted(shell: Shell, skill: str, number: int) -> subprocess.CompletedProcess[str]:
    """Record two steps, the second of which sleeps, and send a signal while it does."""
    shell.give_key()
    shell.write("skills.py", WAITING)
    steps = [{"id": "a", "skill_id": "quick"}, {"id": "b", "skill_id": skill}, {"id": "c", "skill_id": "quick"}]
    shell.write("spec.json", {"id": "spec", "steps": steps})
    running = shell.start("record", "spec.json", "--skills", "skills.py", "--run-id", "r-1", "--seed", "7")
    try:
        deadline = time.monotonic() + 30
        while not (shell.here / "waiting").exists():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()
    return subprocess.CompletedProcess([], running.returncode, out, err)


@pytest.mark.parametrize("skill", ["sleep", "sleep.async", "sleep.outside", "sleep.stubborn"])
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_sealed_as_aborted(
    shell: Shell, snapshot: SnapshotAssertion, skill: str, number: int, code: int
) -> None:
    done = interrupted(shell, skill, number)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert done.stdout + done.stderr == snapshot
    (answer, _) = shell.golden("verify", "r-1", "--json").objects
    assert answer["verdict"] == "intact"
    (end,) = shell.golden("tail", "r-1", "--type", "run_end", "--json").objects
    assert (end["data"]["status"], end["data"]["steps_completed"]) == ("aborted", 1)
    replayed = shell.golden("replay", "r-1", "--skills", "skills.py", "--json")
    assert replayed.code == 0
    assert replayed.objects[0]["steps_compared"] == 1
    assert any("stopped from outside" in note for note in replayed.objects[0]["notes"])


def test_an_aborted_run_leaves_nothing_beside_its_files(shell: Shell) -> None:
    interrupted(shell, "sleep", signal.SIGINT)
    assert sorted(path.name for path in shell.store.iterdir()) == [
        "checkpoints.sqlite",
        "ledger.jsonl",
        "r-1.steps.jsonl",
        "r-1.steps.jsonl.sig",
    ]


def test_json_tells_of_an_aborted_run(shell: Shell) -> None:
    interrupted(shell, "sleep", signal.SIGTERM)
    done = shell.golden("replay", "r-1", "--skills", "skills.py", "--json")
    assert done.objects[0]["steps_recorded"] == 1


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_replay(shell: Shell, number: int, code: int) -> None:
    shell.give_key()
    shell.write("skills.py", WAITING)
    steps = [{"id": "a", "skill_id": "quick"}, {"id": "b", "skill_id": "sleep.outside"}]
    shell.write("spec.json", {"id": "spec", "steps": steps})
    shell.edit("skills.py", 'ctx.external("nap", time.sleep, 60)', 'ctx.external("nap", time.sleep, 0)')
    assert shell.golden("record", "spec.json", "--skills", "skills.py", "--run-id", "r-1").code == 0
    (shell.here / "waiting").unlink()
    shell.edit("skills.py", 'ctx.external("nap", time.sleep, 0)', "time.sleep(60)")
    running = shell.start("replay", "r-1", "--skills", "skills.py")
    try:
        deadline = time.monotonic() + 30
        while not (shell.here / "waiting").exists():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(number)
        _, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == code
    assert "Traceback" not in err
    assert shell.golden("verify", "r-1").code == 0
