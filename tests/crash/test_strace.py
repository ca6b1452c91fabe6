"""Where strace works: the layer that stands before `os` misses no system call, and a kill by the tracer ends alike."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.crash.layer import CALLS, SYSTEM
from tests.crash.stage import PLAYS, Stage, content
from tests.e2e.shell import command
from tests.stories.world import Server

_CALL = re.compile(r"^\d+ +([a-z0-9]+)\((.*)")
NAMES = {system: name for name, systems in CALLS.items() for system in systems}
KILLED_AT = ("write", "rename", "fsync", "fdatasync", "syncfs", "unlink", "unlinkat", "renameat")
# What SQLite writes with; how often the others are called differs from run to run.
SAVED_BY = ("pwrite64", "fsync", "fdatasync", "ftruncate", "unlink")


@cache
def works() -> bool:
    """Whether strace is there and may trace."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not works(), reason="strace is not there, or may not trace here"),
]


def traced(stage: Stage, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run the stage's command under strace."""
    return subprocess.run(
        ["strace", "-f", "-y", "-qq", *options, command(), *stage.argv],
        cwd=stage.world.here,
        # No .pyc is to be written where there was none.
        env={**stage.world.env, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def changing(log: str, *, database: bool = False) -> Iterator[tuple[str, int]]:
    """Give (system call, which one of its name) of the calls in a log of strace that change the disk.

    Those of SQLite's library, which no layer stands before, are given instead where `database` says so.
    """
    counted: Counter[str] = Counter()
    for line in log.splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        name, arguments = found[1], found[2]
        counted[name] += 1
        if name in {"openat", "open"} and "O_CREAT" not in arguments:
            continue
        if name == "write" and "<pipe:[" in arguments.partition(",")[0]:
            # What is said on stdout and stderr, wherever the program has put them.
            continue
        if _is_of_sqlite(name, arguments) is database:
            yield name, counted[name]


def _is_of_sqlite(name: str, arguments: str) -> bool:
    # A new database's folder is made durable by it, with a call that we never use for folders; its mode is our doing.
    if name == "fdatasync":
        return ".sqlite" in arguments or _is_folder(arguments)
    return name != "chmod" and "/checkpoints.sqlite" in arguments


def _is_folder(arguments: str) -> bool:
    found = re.search(r"<([^>]*)>", arguments)
    return found is not None and "." not in found[1].rpartition("/")[2].removeprefix(".")


@pytest.mark.parametrize("name", [name for name in PLAYS if "jobs" not in name])
def test_the_layer_sees_every_call_that_changes_the_disk(server: Server, tmp_path: Path, name: str) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    calls = stage.calls()
    stage.reset()
    log = tmp_path / "strace"
    done = traced(stage, "-e", f"trace=?{',?'.join(SYSTEM)}", "-o", str(log))
    assert done.returncode in stage.play.again, done
    assert [NAMES[name] for name, _ in changing(log.read_text())] == calls


@pytest.mark.parametrize("name", ["rotate compromised"])
def test_a_rotation_killed_by_the_tracer_and_run_again_ends_the_same(server: Server, tmp_path: Path, name: str) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    stage.calls()
    expected = stage.scene()
    stage.reset()
    log = tmp_path / "strace"
    traced(stage, "-e", f"trace=?{',?'.join(SYSTEM)}", "-o", str(log))
    places = [(system, n) for system, n in changing(log.read_text()) if system in KILLED_AT]
    assert len(places) > 20
    for system, n in places:
        stage.reset()
        done = traced(stage, "-o", "/dev/null", "-e", f"inject={system}:signal=SIGKILL:when={n}")
        assert done.returncode in {-9, 137}, (system, n, done)
        assert stage.again().code in stage.play.again, (system, n)
        assert stage.scene().said == expected.said, (system, n)
        assert stage.scene().settled == expected.settled, (system, n)
        stage.world.only_honest(*stage.new)


@pytest.mark.parametrize("name", ["record", "resume a killed run"])
def test_a_run_killed_while_a_checkpoint_is_saved_goes_on_as_itself(server: Server, tmp_path: Path, name: str) -> None:
    stage = Stage(server, tmp_path, PLAYS[name])
    stage.calls()
    expected, said = content(stage.world, "d"), stage.scene().said
    stage.reset()
    log = tmp_path / "strace"
    traced(stage, "-e", f"trace=?{',?'.join(SYSTEM)}", "-o", str(log))
    places = [(system, n) for system, n in changing(log.read_text(), database=True) if system in SAVED_BY]
    assert len(places) > 10
    for system, n in places:
        stage.reset()
        killed = traced(stage, "-o", "/dev/null", "-e", f"inject={system}:signal=SIGKILL:when={n}")
        assert killed.returncode in {-9, 137}, (system, n, killed)
        done = stage.world.golden("resume", "d", "--skills", "skills.py")
        if done.code and not (stage.world.goldens / "d.steps.jsonl").read_bytes():
            # It was killed while it looked whether there is a checkpoint of that name.
            done = stage.world.golden(*stage.argv)
        assert done.code == 0, (system, n, done)
        assert content(stage.world, "d") == expected, (system, n)
        assert stage.scene().said == said, (system, n)
