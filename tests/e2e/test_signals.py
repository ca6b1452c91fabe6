"""Signals while recording: the run ends between two lines, sealed as `aborted`, and the exit code names the signal."""

import signal
import subprocess
import time
from pathlib import Path

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
    return signalled(running, [shell.here / "waiting"], number)


def signalled(
    running: subprocess.Popen[str], waiting: list[Path], number: int, *, pause: float = 0
) -> subprocess.CompletedProcess[str]:
    """Send a signal to a command once all these files are there, and return how it ended."""
    try:
        deadline = time.monotonic() + 30
        while not all(path.exists() for path in waiting):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(pause)
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
    done = signalled(shell.start("replay", "r-1", "--skills", "skills.py"), [shell.here / "waiting"], number)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert shell.golden("verify", "r-1").code == 0


# While `hold` is there, the world keeps everybody waiting, or fails them; `asked` is what it was asked.
HELD = """\
import asyncio
import time
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()


def ask(name):
    with Path("asked").open("a") as file:
        file.write(name + "\\n")
    return name


def asks(ctx):
    ctx.spend(1)
    found = ctx.external("ask", ask, ctx.inputs["name"])
    Path("waiting-" + found).touch()
    return found


@registry.skill("quick")
def quick(ctx):
    return asks(ctx)


@registry.skill("sleep")
def sleep(ctx):
    found = asks(ctx)
    if Path("hold").exists():
        time.sleep(60)
    return found


@registry.skill("sleep.async")
async def sleep_async(ctx):
    found = asks(ctx)
    if Path("hold").exists():
        await asyncio.sleep(60)
    return found


@registry.skill("sleep.outside")
def sleep_outside(ctx):
    found = asks(ctx)
    ctx.external("nap", time.sleep, 60 if Path("hold").exists() else 0)
    return found


@registry.skill("sleep.stubborn")
def sleep_stubborn(ctx):
    found = asks(ctx)
    end = time.monotonic() + 60
    while Path("hold").exists() and time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
    return found


@registry.skill("fails")
def fails(ctx):
    found = asks(ctx)
    if Path("hold").exists():
        raise ValueError("held")
    return found
"""
HOLDING = ["sleep", "sleep.async", "sleep.outside", "sleep.stubborn", "fails"]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_run_of_steps_side_by_side_and_it_goes_on_where_they_were(
    shell: Shell, number: int, code: int
) -> None:
    shell.give_key()
    shell.write("skills.py", HELD)
    shell.write("hold", "")
    members = {"on_error": "retry", "max_retries": 9}
    names = [skill.replace(".", "-") for skill in HOLDING]
    held = [
        {"id": name, "skill_id": skill, "inputs": {"name": name}, "depends_on": ["before"], **members}
        for name, skill in zip(names, HOLDING, strict=True)
    ]
    before = {"id": "before", "skill_id": "quick", "inputs": {"name": "before"}}
    after = {"id": "after", "skill_id": "quick", "inputs": {"name": "after"}, "depends_on": names}
    shell.write("spec.json", {"id": "spec", "steps": [before, *held, after]})
    many = ("--skills", "skills.py", "--concurrency", str(len(held)))
    running = shell.start("record", "spec.json", "--run-id", "r-1", "--seed", "7", *many)
    # Long enough for what failed to wait for its next attempt.
    done = signalled(running, [shell.here / f"waiting-{name}" for name in names], number, pause=0.2)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done
    assert shell.golden("verify", "r-1").code == 0
    (end,) = shell.golden("tail", "r-1", "--type", "run_end", "--json").objects
    assert (end["data"]["status"], end["data"]["steps_completed"]) == ("aborted", 1)
    replayed = shell.golden("replay", "r-1", "--skills", "skills.py", "--json")
    assert (replayed.code, replayed.objects[0]["steps_compared"]) == (0, 1), replayed
    asked = (shell.here / "asked").read_text().split()
    assert set(asked) == {"before", *names}
    # What the steps under way had spent is spent: a cent for each time that they asked.
    assert end["data"]["total_cost_cents"] == len(asked)

    (shell.here / "hold").unlink()
    resumed = shell.golden("resume", "r-1", *many, "--json")
    assert resumed.code == 0, resumed
    (told,) = resumed.objects
    assert (told["run_id"], told["status"], told["steps_completed"]) == ("r-1.r1", "completed", 2 + len(held))
    # What was answered is not asked again.
    assert (shell.here / "asked").read_text().split() == [*asked, "after"]
    assert shell.golden("verify").code == 0
    replayed = shell.golden("replay", "r-1.r1", "--skills", "skills.py", "--json")
    assert (replayed.code, replayed.objects[0]["verdict"]) == (0, "matched"), replayed
    assert replayed.objects[0]["steps_compared"] == 2 + len(held)
