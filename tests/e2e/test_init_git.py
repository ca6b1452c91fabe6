"""`golden init` in a git repository: what is of one host alone stays out of it, and nothing that exists is changed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from cli.project import IGNORED
from tests.e2e.shell import Shell

LOCAL = ("checkpoints.sqlite", "checkpoints.sqlite-wal", "checkpoints.sqlite-shm", "stop.json", "r-1.lock")
KEPT = ("r-1.steps.jsonl", "r-1.steps.jsonl.sig", "ledger.jsonl")


@pytest.fixture
def repository(shell: Shell, tmp_path: Path) -> Shell:
    """A git repository, and a home elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    shell.environ["HOME"] = str(home)
    git(shell, "init", "-q")
    return shell


def git(shell: Shell, *argv: str) -> str:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    env = {**shell.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *argv], cwd=shell.here, env=env, text=True, capture_output=True, check=True).stdout


def test_git_sees_golden_files_and_nothing_of_one_host_alone(repository: Shell) -> None:
    assert repository.golden("init").code == 0
    for name in (*LOCAL, *KEPT, "quarantine/20260101T000000Z/r-2.steps.jsonl"):
        repository.write(f"goldens/{name}", "x")
    seen = set(git(repository, "status", "--short", "-uall", "goldens").split()) - {"??"}
    assert seen == {f"goldens/{name}" for name in (*KEPT, ".gitignore")}
    assert (repository.here / "goldens").stat().st_mode & 0o777 == 0o750


def test_the_directory_that_is_configured_is_the_one(repository: Shell) -> None:
    repository.write("golden.toml", 'dir = "deep/kept"\n')
    assert repository.golden("init").code == 0
    assert (repository.here / "deep" / "kept" / ".gitignore").read_text().split() == list(IGNORED)
    assert not (repository.here / "goldens").exists()


def test_what_git_is_told_already_is_left(repository: Shell, snapshot: SnapshotAssertion) -> None:
    path = repository.write("goldens/.gitignore", "*.png\nstop.json\n")
    repository.golden("init")
    assert path.read_text() == "*.png\nstop.json\n"
    (told,) = [line for line in repository.golden("init").stdout.splitlines() if ".gitignore" in line]
    assert told == snapshot
    path.write_text("\n".join([*IGNORED, "*.png"]))
    (told,) = [line for line in repository.golden("init").stdout.splitlines() if ".gitignore" in line]
    assert told == snapshot


def test_outside_git_nothing_is_ignored(shell: Shell, tmp_path: Path) -> None:
    shell.environ["HOME"] = str(tmp_path)
    assert shell.golden("init").code == 0
    assert not (shell.here / "goldens").exists()


def test_a_link_to_nowhere_in_its_place_is_not_followed(repository: Shell) -> None:
    (repository.here / "goldens").mkdir()
    (repository.here / "goldens" / ".gitignore").symlink_to("nowhere")
    assert ".gitignore cannot be opened" in repository.golden("init").stderr
    assert not (repository.here / "goldens" / "nowhere").exists()
