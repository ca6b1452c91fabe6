"""`golden demo`: the first thing a reader runs must work anywhere, leave nothing behind and fit the screen."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from golden.keyring import kid_of
from tests.e2e.shell import Answer, Shell

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Shell]:
    """One demo in an empty directory, kept in `kept`, with a hostile environment around it."""
    shell = Shell(tmp_path_factory.mktemp("demo"))
    (shell.here / "tmp").mkdir()
    shell.environ["TMPDIR"] = str(shell.here / "tmp")
    shell.environ |= {"GOLDEN_SECRET": "short", "GOLDEN_DIR": "nowhere", "PYTHONHASHSEED": "3"}
    return shell.golden("demo", "--dir", "kept"), shell


def test_demo_succeeds(told: tuple[Answer, Shell]) -> None:
    done, _ = told
    assert (done.code, done.stderr) == (0, "")


def test_demo_fits_eighty_columns(told: tuple[Answer, Shell]) -> None:
    done, _ = told
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


def test_demo_shows_its_commands_and_their_exit_codes(told: tuple[Answer, Shell]) -> None:
    done, _ = told
    commands = re.findall(r"^\$ golden (\w+)", done.stdout, re.MULTILINE)
    first = {"record", "verify", "replay", "diff", "tail"}
    assert set(commands) == first | {"keys", "rotate", "quarantine", "recover"}
    assert re.findall(r"^exit code (\d)$", done.stdout, re.MULTILINE) == ["1", "1", "3", "4"]
    for finding in (
        "✓ matched: 6 of 6 steps compared",
        "tampered: bytes do not match the seal: event ",
        "at        skills.py:",
    ):
        assert finding in done.stdout


def test_demo_shows_that_what_a_thief_signed_is_not_laundered(told: tuple[Answer, Shell]) -> None:
    done, shell = told
    story = done.stdout
    # With the leaked key it verifies; the rotation names it, and signs the two honest ones.
    assert re.search(r"^✓ forged-1  intact", story, re.MULTILINE)
    assert re.search(r"^✗ forged-1  unproven: .*\n(.*\n)+3 runs: 2 resealed, 1 unproven\n", story, re.MULTILINE)
    assert story.index("forged-1  intact") < story.index("forged-1  unproven") < story.index("forged-1  moved to")
    kept = shell.here / "kept" / ".golden"
    old, new = (key["kid"] for key in tomllib.loads((kept.parent / "golden-keyring.toml").read_text())["key"])
    for run_id, kid in (("rain-1", new), ("rain-2", new), ("quarantine/*/forged-1", old)):
        (seal,) = kept.glob(f"{run_id}.steps.jsonl.sig")
        assert [json.loads(line)["kid"] for line in seal.read_text().splitlines()[1:]] == [kid]


def test_demo_is_quick(told: tuple[Answer, Shell]) -> None:
    done, _ = told
    seconds = re.search(r"^(\d+) commands in ([\d.]+) s", done.stdout, re.MULTILINE)
    assert seconds
    assert float(seconds[2]) < 10


def test_demo_leaves_nothing_outside_its_directory(told: tuple[Answer, Shell]) -> None:
    _, shell = told
    assert sorted(path.name for path in shell.here.iterdir()) == ["kept", "tmp"]
    assert list((shell.here / "tmp").iterdir()) == []
    kept = {path.name for path in (shell.here / "kept").iterdir()}
    assert kept == {
        *("skills.py", "weather.csv", "workflow.json", "golden.toml", "golden-keyring.toml", ".golden", "copy"),
        *("secret", "keys", "sources.toml", "state", "settings.sh", "anchor.txt"),
    }


def test_demo_keeps_files_that_can_be_used(told: tuple[Answer, Shell], tmp_path: Path) -> None:
    _, shell = told
    kept = shutil.copytree(shell.here / "kept", tmp_path / "kept")
    script = ". ./settings.sh && golden verify --anchor @anchor.txt && golden replay rain-2 && golden keys list"
    env = {name: value for name, value in shell.environ.items() if not name.startswith("GOLDEN_")}
    done = subprocess.run(["bash", "-ec", script], cwd=kept, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert "since the anchor:" in done.stdout
    for path in (kept / "secret", kept / "sources.toml", *(kept / "keys").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600


def test_demo_tells_in_json_what_it_ran(shell: Shell) -> None:
    done = shell.golden("demo", "--json", env={"GOLDEN_SECRET": "x"})
    assert (done.code, done.stderr) == (0, "")
    assert all(row["schema"] == "golden.demo/1" for row in done.objects)
    assert [row["exit_code"] for row in done.objects] == [row["expected_exit_code"] for row in done.objects]
    assert done.objects[0]["argv"][:2] == ["golden", "record"]
    assert list(shell.here.iterdir()) == []


def test_demo_refuses_a_directory_that_is_not_its_own(shell: Shell) -> None:
    mine = shell.write("mine/thesis.txt", "years of work")
    done = shell.golden("demo", "--dir", "mine")
    assert "is not empty" in done.refused()
    assert mine.read_text() == "years of work"
    assert [path.name for path in mine.parent.iterdir()] == ["thesis.txt"]
    shell.golden("demo", "--dir", "mine/thesis.txt").refused()


def test_demo_of_a_broken_installation_says_which_command_failed(shell: Shell, tmp_path: Path) -> None:
    # A module of the user's that hides one of ours: the story must not end in success.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "msgspec.py").write_text("raise ImportError('not today')\n")
    done = shell.golden("demo", env={"PYTHONPATH": str(hidden)})
    assert done.code != 0


def test_secret_of_the_demo_is_a_fresh_one(told: tuple[Answer, Shell]) -> None:
    _, shell = told
    secret = (shell.here / "kept" / "secret").read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    assert kid_of(secret.encode()) in told[0].stdout
