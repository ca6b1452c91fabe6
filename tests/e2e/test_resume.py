"""`golden resume`, `fork` and `recover RUN`: what they take, what they print, and what they refuse."""

import json
import signal
import time
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.checkpoint_places import SERVER, schema
from tests.e2e.ops import breakable, lying, steady
from tests.e2e.shell import Shell

LONG = """\
import os
import signal
import time
from pathlib import Path

from replay import Context, SkillRegistry

registry = SkillRegistry()


@registry.skill("work", version="1")
def work(ctx: Context) -> dict:
    n = ctx.inputs["n"]
    asked = ctx.external("ask", ask, n)
    if n == 11 and Path("fatal").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if Path("slow").exists():
        Path("begun").touch()
        time.sleep(0.2)
    return {"n": n, "asked": asked, "drawn": ctx.random.random()}


def ask(n: int) -> int:
    with open("asked", "a") as file:
        file.write(f"{n}\\n")
    return n * n
"""


@pytest.fixture
def long(shell: Shell) -> Shell:
    """A shell with a run of twenty steps, each of which needs the one before."""
    shell.give_key()
    steps = [
        {"id": f"s{n}", "skill_id": "work", "inputs": {"n": n, **({"before": f"${{s{n - 1}.drawn}}"} if n else {})}}
        for n in range(20)
    ]
    shell.write("long.json", {"id": "long", "steps": steps})
    shell.write("skills.py", LONG)
    shell.write("golden.toml", 'skills = ["skills.py"]\n')
    return shell


@pytest.fixture
def broken(shop: Shell) -> Shell:
    """A shop whose third step failed, in a run f."""
    breakable(shop)
    with lying(shop, "broken"):
        done = shop.golden("record", "order.json", "--run-id", "f", "--seed", "7", "--inputs", "@prices.json")
    assert done.code == 1, done
    return shop


@pytest.fixture
def dead(shop: Shell) -> Shell:
    """A shop whose recorder was killed in the third step, in a run d."""
    breakable(shop)
    with lying(shop, "fatal"):
        done = shop.golden("record", "order.json", "--run-id", "d", "--seed", "7", "--inputs", "@prices.json")
    assert done.code == -signal.SIGKILL, done
    return shop


def asked(shell: Shell) -> list[int]:
    return [int(line) for line in (shell.here / "asked").read_text().splitlines()]


def steps_of(shell: Shell, run_id: str) -> list[dict[str, object]]:
    lines = (shell.store / f"{run_id}.steps.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event["data"] for event in events if event["event_type"] == "step"]


def story(shell: Shell) -> None:
    with lying(shell, "fatal"):
        done = shell.golden("record", "long.json", "--run-id", "x", "--seed", "7")
    assert done.code == -signal.SIGKILL
    listed = shell.golden("list", "--json").objects[0]
    assert (listed["run_id"], listed["status"], listed["next_step_index"]) == ("x", "running", 11)
    done = shell.golden("resume", "x")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "x")
    assert shell.golden("verify").code == 0
    assert shell.golden("replay", "x").code == 0
    # The call that was answered before the kill is not made again.
    assert asked(shell) == list(range(20))
    assert shell.golden("record", "long.json", "--run-id", "u", "--seed", "7").code == 0
    assert steps_of(shell, "x") == steps_of(shell, "u")
    assert shell.golden("diff", "x", "u").code == 0
    (row,) = [row for row in shell.golden("list", "--json").objects if row.get("run_id") == "x"]
    assert (row["status"], row["next_step_index"]) == ("completed", 20)


def test_a_run_killed_at_step_eleven_is_resumed_verified_and_replayed(long: Shell) -> None:
    story(long)


def test_the_same_with_checkpoints_in_postgres(long: Shell) -> None:
    with schema() as name:
        long.environ["GOLDEN_CHECKPOINTS"] = f"{SERVER}?options=-csearch_path%3D{name}"
        story(long)
    assert not (long.store / "checkpoints.sqlite").exists()


def test_the_same_with_checkpoints_in_files(long: Shell) -> None:
    long.environ["GOLDEN_CHECKPOINTS"] = "file:saved"
    story(long)
    assert (long.here / "saved" / "x.checkpoint.json").is_file()


def test_a_killed_run_goes_on(dead: Shell, snapshot: SnapshotAssertion) -> None:
    assert steady(dead.golden("resume", "d")) == snapshot
    assert dead.golden("verify").code == 0


def test_a_failed_run_goes_on_at_its_failed_step(broken: Shell, snapshot: SnapshotAssertion) -> None:
    assert steady(broken.golden("resume", "f")) == snapshot
    assert broken.golden("verify").code == 0
    assert broken.golden("replay", "f.r1").code == 0


def test_a_finished_run_says_so(broken: Shell, snapshot: SnapshotAssertion) -> None:
    assert broken.golden("resume", "f").code == 0
    assert steady(broken.golden("resume", "f")) == snapshot


def test_changed_code_is_refused_until_it_is_accepted(broken: Shell, snapshot: SnapshotAssertion) -> None:
    broken.edit("skills.py", "raise ValueError", "raise KeyError")
    done = broken.golden("resume", "f")
    assert done.refused(4) == snapshot
    done = broken.golden("resume", "f", "--accept-change", "code", "--json")
    assert done.code == 0
    (found,) = done.objects
    assert (found["schema"], found["run_id"], found["resumed_from"]) == ("golden.resume/1", "f.r1", "f")


def test_a_changed_spec_goes_on_in_a_new_run(dead: Shell) -> None:
    dead.edit("order.json", '"version": "1"', '"version": "2"')
    done = dead.golden("resume", "d", "--spec", "order.json")
    assert "the spec order.json is another" in done.refused(4)
    done = dead.golden("resume", "d", "--spec", "order.json", "--accept-change", "spec")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "d.r1")
    assert {row["run_id"]: row["status"] for row in dead.golden("list", "--json").objects if "run_id" in row} == {
        "d": "interrupted",
        "d.r1": "completed",
    }


def test_other_inputs_are_a_change(dead: Shell) -> None:
    assert "its inputs are others" in dead.golden("resume", "d", "--input", "prices=[1]").refused(4)


def test_a_run_out_of_budget_goes_on_with_more(shop: Shell) -> None:
    argv = ("record", "order.json", "--run-id", "b", "--inputs", "@prices.json", "--workflow-ceiling", "2")
    done = shop.golden(*argv)
    assert (done.code, "budget_exceeded" in done.stdout) == (1, True)
    done = shop.golden("resume", "b", "--workflow-ceiling", "2")
    assert "budget_exceeded" in done.stdout
    done = shop.golden("resume", "b", "--workflow-ceiling", "3")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "b.r2")


def test_a_run_goes_on_from_an_older_checkpoint(shop: Shell) -> None:
    breakable(shop)
    assert shop.golden("record", "order.json", "--run-id", "o", "--inputs", "@prices.json").code == 0
    done = shop.golden("resume", "o", "--from", "2")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "o.r1")
    assert [data.get("carried", False) for data in steps_of(shop, "o.r1")] == [True, False, False, False]


@pytest.mark.parametrize("argv", [("resume",), ("resume", "d", "--from", "soon"), ("resume", "d", "--from", "0")])
def test_what_cannot_be_meant_is_refused(dead: Shell, argv: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    assert dead.golden(*argv).refused() == snapshot


@pytest.mark.parametrize("value", ["1", "true", "", "yes"])
def test_resuming_is_switched_off_by_a_variable(dead: Shell, value: str) -> None:
    said = dead.golden("resume", "d", env={"GOLDEN_RESUME_DISABLED": value}).refused()
    assert "GOLDEN_RESUME_DISABLED" in said
    assert dead.golden("resume", "d", env={"GOLDEN_RESUME_DISABLED": "off"}).code == 0


def test_a_run_that_is_not_there_is_refused(shop: Shell, snapshot: SnapshotAssertion) -> None:
    assert shop.golden("resume", "nowhere").refused(4) == snapshot


def test_an_edited_run_is_not_gone_on_with(dead: Shell) -> None:
    path = dead.store / "d.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"cents":797', b'"cents":1', 1))
    dead.golden("resume", "d").refused(3)


def test_a_database_that_is_down_keeps_a_run_from_beginning_and_from_going_on(dead: Shell) -> None:
    nowhere = {"GOLDEN_CHECKPOINTS": "postgresql://postgres:hunter2@127.0.0.1:1/test"}
    argv = ("record", "order.json", "--run-id", "new", "--inputs", "@prices.json")
    for done in (dead.golden(*argv, env=nowhere), dead.golden("resume", "d", env=nowhere)):
        assert "hunter2" not in done.refused(4)
    assert not (dead.store / "new.steps.jsonl").exists()
    assert dead.golden("resume", "d", "--from-file", env=nowhere).code == 0


def test_a_run_that_is_being_written_is_left_alone(long: Shell) -> None:
    with lying(long, "slow"):
        writing = long.start("record", "long.json", "--run-id", "w")
        try:
            _wait_for(long.here / "begun")
            assert "is being written" in long.golden("resume", "w").refused()
            assert "is being written" in long.golden("recover", "w", "--yes").refused()
        finally:
            writing.kill()
            writing.communicate()
    assert long.golden("resume", "w").code == 0


def test_two_resumptions_at_once_are_one(long: Shell) -> None:
    with lying(long, "fatal"):
        assert long.golden("record", "long.json", "--run-id", "x").code == -signal.SIGKILL
    with lying(long, "slow"):
        both = [long.start("resume", "x") for _ in range(2)]
        ended = sorted(process.wait(60) for process in both)
        for process in both:
            process.communicate()
    assert ended == [0, 2]
    assert long.golden("verify").code == 0
    assert asked(long) == list(range(20))


def test_stop_in_another_terminal_ends_a_run_at_its_next_step_and_start_lets_it_go_on(long: Shell) -> None:
    with lying(long, "slow"):
        writing = long.start("record", "long.json", "--run-id", "s")
        _wait_for(long.here / "begun")
        assert long.golden("stop", "--reason", "INC-7: the provider melts").code == 0
        _, said = writing.communicate(timeout=60)
    assert writing.returncode == 1
    assert "INC-7: the provider melts" in said
    refused = long.golden("resume", "s").refused()
    assert "INC-7: the provider melts" in refused
    assert long.golden("start").code == 0
    done = long.golden("resume", "s")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "s.r1")
    assert long.golden("verify").code == 0
    assert asked(long) == list(range(20))


# Forking


def test_a_fork_goes_on_live_from_its_step(broken: Shell, snapshot: SnapshotAssertion) -> None:
    done = broken.golden("fork", "f", "--at", "voucher", "--run-id", "other")
    assert steady(done) == snapshot
    assert broken.golden("replay", "other").code == 0


@pytest.mark.parametrize(
    "argv",
    [
        ("fork", "f", "--at", "nowhere", "--run-id", "other"),
        ("fork", "f", "--at", "voucher", "--run-id", "f"),
        ("fork", "f", "--at", "voucher", "--run-id", "../f"),
        ("fork", "f", "--at", "voucher"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(broken: Shell, argv: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    assert broken.golden(*argv).refused() == snapshot


# Ending a dead run


def test_a_dead_run_is_sealed_as_it_is(dead: Shell, snapshot: SnapshotAssertion) -> None:
    said = [dead.golden("recover", "d", "--dry-run"), dead.golden("recover", "d", "--yes")]
    assert "\n".join(map(steady, said)) == snapshot
    assert dead.golden("verify").code == 0
    (row,) = [row for row in dead.golden("list", "--json").objects if row.get("run_id") == "d"]
    assert row["status"] == "interrupted"


def test_a_dead_run_is_not_sealed_unless_somebody_says_so(dead: Shell) -> None:
    assert "--yes" in dead.golden("recover", "d").refused()
    assert dead.golden("verify").code == 4


def test_a_dead_run_is_sealed_without_its_database(dead: Shell) -> None:
    done = dead.golden("recover", "d", "--yes", env={"GOLDEN_CHECKPOINTS": "postgresql://postgres@127.0.0.1:1/test"})
    assert done.code == 0
    assert "its checkpoint stays as it is" in done.stderr
    # With the database back it is brought to its end.
    assert dead.golden("recover", "d", "--yes").code == 0


def test_a_torn_line_is_cut_off_and_noted(dead: Shell) -> None:
    path = dead.store / "d.steps.jsonl"
    with path.open("ab") as file:
        file.write(b'{"data":{"torn')
    assert "cut off 14 bytes" in dead.golden("recover", "d", "--dry-run").stdout
    assert dead.golden("resume", "d").code == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (noted,) = [line["data"] for line in lines if line["event_type"] == "run_resume"]
    assert noted["dropped"]["bytes"] == 14


def _wait_for(path: Path) -> None:
    ends = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < ends, f"{path.name} never came"
        time.sleep(0.01)
