"""`golden stop` and `golden start`: an emergency by a real process, with whatever else is broken."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Answer, Shell

WHY = "INC-7: wrong prices"


def text(done: Answer) -> str:
    """Return an answer as a snapshot holds it: how long a stop lasted is another time each run."""
    return re.sub(r"after \d+ (ms|s|min)\b", "after <n> s", done.text)


def stopped(shell: Shell, *argv: str, **env: str | None) -> Answer:
    done = shell.golden("stop", "--reason", WHY, *argv, env=env)
    assert done.code == 0, done
    return done


def record(shop: Shell, run_id: str = "r-1", env: dict[str, str | None] | None = None) -> Answer:
    return shop.golden("record", "order.json", "--run-id", run_id, "--inputs", "@prices.json", env=env)


def test_a_stopped_engine_begins_no_run_until_it_is_started(shop: Shell, snapshot: SnapshotAssertion) -> None:
    assert text(stopped(shop)) == snapshot
    refused = record(shop)
    assert WHY in refused.refused()
    assert refused.text == snapshot
    assert not (shop.store / "r-1.steps.jsonl").exists()
    assert text(shop.golden("start")) == snapshot
    assert record(shop).code == 0


def test_a_drained_engine_begins_no_run_either(shop: Shell, snapshot: SnapshotAssertion) -> None:
    assert text(stopped(shop, "--drain")) == snapshot
    refused = record(shop)
    assert refused.refused()
    assert refused.text == snapshot


def test_stopping_again_says_who_had_and_takes_its_place(shop: Shell, snapshot: SnapshotAssertion) -> None:
    stopped(shop, "--drain")
    done = shop.golden("stop", "--reason", "INC-7: worse than we thought")
    assert done.code == 0
    assert text(done) == snapshot
    found = json.loads((shop.store / "stop.json").read_text())
    assert (found["mode"], found["reason"]) == ("stop", "INC-7: worse than we thought")


def test_starting_what_runs_is_no_error(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("start")
    assert done.code == 0
    assert done.text == snapshot


def test_starting_says_what_halts_the_engine_still(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    stopped(recorded)
    done = recorded.golden("start", env={"WORKFLOW_EMERGENCY_STOP": "1", "WORKFLOW_ENGINE_ENABLED": "no"})
    assert done.code == 4
    assert text(done) == snapshot
    assert not (recorded.store / "stop.json").exists()


def test_stopping_says_what_halts_the_engine_besides(recorded: Shell) -> None:
    assert "and besides: WORKFLOW_ENGINE_ENABLED is off" in stopped(recorded, WORKFLOW_ENGINE_ENABLED="0").stdout


def test_a_directory_that_is_not_there_is_made_by_stop_and_missed_by_start(
    shell: Shell, snapshot: SnapshotAssertion
) -> None:
    done = shell.golden("start")
    assert (done.code, done.stdout) == (4, "")
    assert done.text == snapshot
    assert text(stopped(shell)) == snapshot
    assert shell.store.stat().st_mode & 0o777 == 0o750


def test_json_answers_hold_what_was_and_what_is(shop: Shell) -> None:
    (first,) = stopped(shop, "--drain", "--json").objects
    (second,) = stopped(shop, "--json", WORKFLOW_ENGINE_ENABLED="off").objects
    halt = {name: first[name] for name in ("mode", "reason", "actor", "at", "origin")}
    assert (first["schema"], first["dir"], first["previous"], first["others"]) == ("golden.stop/1", ".golden", None, [])
    assert (halt["mode"], halt["reason"], halt["origin"]) == ("drain", WHY, "stop.json")
    assert second["previous"] == halt
    assert [other["origin"] for other in second["others"]] == ["WORKFLOW_ENGINE_ENABLED"]
    (lifted,) = shop.golden("start", "--json").objects
    assert (lifted["schema"], lifted["others"]) == ("golden.start/1", [])
    assert (lifted["lifted"]["mode"], lifted["lifted"]["at"]) == ("stop", second["at"])
    assert 0 <= lifted["seconds"] < 60
    (again,) = shop.golden("start", "--json").objects
    assert (again["lifted"], again["seconds"]) == (None, None)


def test_a_stop_works_whatever_else_is_broken(shell: Shell) -> None:
    broken = {
        "GOLDEN_SECRET": "short",
        "GOLDEN_KEYRING": "nowhere.toml",
        "GOLDEN_SOURCES": "nowhere.toml",
        "GOLDEN_CHECKPOINTS": "postgresql://golden:hunter2@127.0.0.1:1/golden",
        "DATABASE_URL": "mysql://golden:hunter2@127.0.0.1:1/golden",
    }
    shell.write("golden-keyring.toml", "no TOML")
    shell.write("golden.toml", 'dir = "kept"\ncolour = "blue"\nkeyring = "nowhere.toml"\n')
    shell.write("kept/ledger.jsonl", "garbage\n")
    done = stopped(shell, **broken)
    assert "hunter2" not in done.stdout + done.stderr
    assert (shell.here / "kept" / "stop.json").is_file()
    assert shell.golden("start", env=dict(broken)).code == 0
    shell.write("golden.toml", "dir = \n")
    assert "no TOML" in shell.golden("stop", "--reason", WHY).refused()
    assert stopped(shell, "--dir", "kept", **broken).code == 0
    assert shell.golden("start", env={**broken, "GOLDEN_DIR": "kept"}).code == 0


@pytest.mark.parametrize("content", ["", "stop!", '{"mode":"pause"}'])
def test_a_stop_file_that_cannot_be_read_stops_and_is_taken_away(
    shop: Shell, snapshot: SnapshotAssertion, content: str
) -> None:
    shop.write(".golden/stop.json", content)
    assert record(shop).refused() == snapshot
    done = shop.golden("start")
    assert done.code == 0
    assert done.text == snapshot
    assert record(shop).code == 0


def test_a_stop_file_that_may_not_be_read_stops(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.obey_modes()
    shop.write(".golden/stop.json", '{"mode":"drain"}').chmod(0)
    assert record(shop).refused() == snapshot


def test_a_stop_that_cannot_be_written_or_lifted_says_so(shop: Shell, snapshot: SnapshotAssertion) -> None:
    (shop.store / "stop.json").mkdir(parents=True)
    for argv in (("stop", "--reason", WHY), ("start",)):
        done = shop.golden(*argv)
        assert (done.code, done.stdout) == (4, "")
        assert done.text == snapshot
    assert "EMERGENCY_STOP" in record(shop).refused()


def test_a_directory_nobody_may_write_is_said(shop: Shell) -> None:
    shop.obey_modes()
    shop.store.mkdir()
    shop.store.chmod(0o550)
    done = shop.golden("stop", "--reason", WHY)
    assert done.code == 4
    assert "stop.json cannot be written: Permission denied" in done.error[0]


def test_a_stop_written_by_hand_shows_nothing_to_a_terminal(shop: Shell) -> None:
    evil = "\x1b]0;owned\x07\u202e\r\n"
    shop.write(".golden/stop.json", {"mode": "stop", "reason": evil, "actor": evil, "at": evil})
    for argv in (("record", "order.json"), ("stop", "--reason", evil), ("start",), ("start", "--json")):
        done = shop.golden(*argv)
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", done.stdout + done.stderr), argv


MISUSE: dict[str, tuple[str, ...]] = {
    "no reason": ("stop",),
    "an empty reason": ("stop", "--reason", ""),
    "a blank reason": ("stop", "--reason", " "),
    "a long reason": ("stop", "--reason", "x" * 1001),
    "a word": ("stop", "now"),
    "a word to start": ("start", "now"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_stops_nothing(shell: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    assert shell.golden(*MISUSE[name]).refused() == snapshot
    assert not shell.store.exists()


def test_a_link_in_the_place_of_the_stop_file_leads_nowhere(shop: Shell, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    shop.store.mkdir()
    (shop.store / "stop.json").symlink_to(target)
    assert "is a symbolic link" in record(shop).refused()
    stopped(shop)
    assert target.read_text() == "theirs"
    assert not (shop.store / "stop.json").is_symlink()


# A run under way

WAITING = """\
import time
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("wait")
def wait(ctx):
    Path(ctx.inputs["name"]).touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return ctx.seed
"""


@contextmanager
def under_way(shell: Shell) -> Iterator[Callable[[], int]]:
    """Start a run of three steps, wait until it is in the first, and give what lets it go on to its end."""
    shell.write("skills.py", WAITING)
    steps = [{"id": name, "skill_id": "wait", "inputs": {"name": name}} for name in ("one", "two", "three")]
    shell.write("wait.json", {"id": "wait", "steps": steps})
    running = shell.start("record", "wait.json", "--run-id", "r-1")

    def end() -> int:
        (shell.here / "go").touch()
        running.communicate(timeout=60)
        return running.returncode

    try:
        while not (shell.here / "one").exists():
            assert running.poll() is None
            time.sleep(0.01)
        yield end
    finally:
        end()


def test_a_stop_in_another_terminal_ends_a_run_at_its_next_step(shop: Shell) -> None:
    with under_way(shop) as end:
        stopped(shop)
        assert end() == 1
    assert not (shop.here / "two").exists()
    found = json.loads(shop.golden("inspect", "r-1", "--json").stdout)
    assert (found["status"], found["next_step_id"]) == ("emergency_stopped", "two")
    assert found["error_code"] == "EMERGENCY_STOP"
    (step,) = [line for line in found["last_events"] if line["event_type"] == "step" and not line["data"]["success"]]
    assert WHY in step["data"]["error"]["message"]
    assert WHY in shop.golden("resume", "r-1").refused()
    assert shop.golden("start").code == 0
    done = shop.golden("resume", "r-1")
    assert done.code == 0, done
    resumed = done.stdout.splitlines()[-1]
    assert shop.golden("replay", resumed).code == 0
    assert shop.golden("verify").code == 0


def test_a_drain_lets_a_run_end(shop: Shell) -> None:
    with under_way(shop) as end:
        stopped(shop, "--drain")
        assert "drained the engine" in record(shop, "r-2").refused()
        assert end() == 0
    assert shop.golden("replay", "r-1").code == 0


def test_a_stop_that_was_taken_back_in_time_stops_nothing(shop: Shell) -> None:
    with under_way(shop) as end:
        stopped(shop)
        assert shop.golden("start").code == 0
        assert end() == 0


def test_a_stop_file_that_cannot_be_read_ends_a_run_too(shop: Shell) -> None:
    with under_way(shop) as end:
        (shop.store / "stop.json").mkdir()
        assert end() == 1
    assert not (shop.here / "two").exists()
    (shop.store / "stop.json").rmdir()
    assert shop.golden("resume", "r-1").code == 0
