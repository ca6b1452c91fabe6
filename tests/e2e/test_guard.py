"""`--guard`: what a user is told of a step that asks for what no replay could give it alike."""

from pathlib import Path
from typing import get_args

import pytest
from syrupy.assertion import SnapshotAssertion

from cli.configuration import GUARDS
from replay.guard import Mode
from tests.e2e.shell import Shell

SKILLS = """\
import random
import socket
import time
import uuid
from datetime import datetime

from replay import Context, SkillRegistry

registry = SkillRegistry()


@registry.skill("legacy")
def legacy(ctx: Context) -> dict:
    now = datetime.now()
    return {"at": time.time(), "day": str(now), "drawn": random.random(), "id": str(uuid.uuid4())}


@registry.skill("rate")
def rate(ctx: Context) -> float:
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1).close()  # the service
    except OSError:
        pass
    return 1.08
"""


@pytest.fixture
def works(tmp_path: Path) -> Shell:
    """A directory with a key, two skills that ask for more than they were given, and a spec for each."""
    here = tmp_path / "work"
    here.mkdir()
    shell = Shell(here)
    shell.give_key()
    shell.write("skills.py", SKILLS)
    shell.write("golden.toml", 'skills = "skills.py"\n')
    for skill in ("legacy", "rate"):
        shell.write(f"{skill}.json", {"id": skill, "steps": [{"id": "ask", "skill_id": skill}]})
    return shell


def record(shell: Shell, spec: str, *argv: str, code: int = 0) -> str:
    """Record a spec as `r-1` with the seed 7, and return what was said."""
    done = shell.golden("record", f"{spec}.json", "--run-id", "r-1", "--seed", "7", *argv)
    assert done.code == code, done
    return done.text


@pytest.mark.parametrize("mode", get_args(Mode))
def test_recording_under_each_guard(works: Shell, mode: str, snapshot: SnapshotAssertion) -> None:
    assert record(works, "legacy", "--guard", mode, code=int(mode == "block")) == snapshot


def test_recording_warns_by_default(works: Shell) -> None:
    assert record(works, "legacy").replace("\n", " ").count("is not the same in a replay") == 4


def test_a_replay_that_opens_a_socket_is_blocked_at_its_line(works: Shell, snapshot: SnapshotAssertion) -> None:
    record(works, "rate")
    done = works.golden("replay", "r-1")
    assert done.code == 1
    assert f"at        {works.line_of('# the service')}" in done.stdout
    assert done.text == snapshot
    assert works.golden("replay", "r-1", "--guard", "warn").text == snapshot


def test_legacy_code_replays_under_the_virtual_clock(works: Shell, snapshot: SnapshotAssertion) -> None:
    record(works, "legacy", "--guard", "virtual")
    for argv in ((), ("--guard", "virtual"), ("--guard", "block")):
        assert works.golden("replay", "r-1", *argv).code == 0
    assert works.golden("replay", "r-1").text == snapshot
    assert works.golden("verify", "r-1").code == 0


def test_a_replay_under_a_clock_that_was_not_virtual_is_refused(works: Shell, snapshot: SnapshotAssertion) -> None:
    record(works, "legacy")
    done = works.golden("replay", "r-1", "--guard", "virtual")
    assert done.code == 4
    assert done.text == snapshot


def test_the_configuration_says_which_guard(works: Shell) -> None:
    works.write("golden.toml", 'skills = "skills.py"\nguard = "block"\n')
    record(works, "legacy", code=1)
    record_again = works.golden("record", "legacy.json", "--run-id", "r-2", "--guard", "off")
    assert record_again.code == 0
    assert works.golden("replay", "r-2").code == 1
    works.write("golden.toml", 'skills = "skills.py"\nguard = "virtual"\n')
    assert works.golden("record", "rate.json", "--run-id", "r-3").code == 0
    assert works.golden("replay", "r-3").code == 1


def test_a_guard_that_is_none_is_refused(works: Shell) -> None:
    works.write("golden.toml", 'guard = "loud"\n')
    assert "guard 'loud' does not exist" in works.golden("record", "legacy.json").refused()
    assert get_args(Mode) == GUARDS


def test_a_run_goes_on_under_the_virtual_clock_it_began_with(works: Shell) -> None:
    works.edit("skills.py", "    now = datetime.now()\n", "    now = datetime.now()\n    raise ValueError\n")
    record(works, "legacy", "--guard", "virtual", code=1)
    works.edit("skills.py", "    raise ValueError\n", "")
    done = works.golden("resume", "r-1", "--accept-change", "code")
    assert (done.code, "replay" in done.stderr) == (0, False), done
    assert works.golden("replay", "r-1.r1").code == 0
