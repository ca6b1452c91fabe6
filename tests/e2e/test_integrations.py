"""What other tools find in the repository: hooks for pre-commit, and an action for GitHub whose shell is really run."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
ACTION = ROOT / ".github" / "actions" / "gate" / "action.yml"
SKILLS = """\
from replay import Context, SkillRegistry

registry = SkillRegistry()


@registry.skill("echo")
def echo(ctx: Context) -> str:
    return "as it was"
"""


@pytest.fixture
def project(tmp_path: Path) -> Shell:
    """A project in git with one recording, and the public keys alone, as a pipeline checks it out."""
    here = tmp_path / "work place"
    here.mkdir()
    shell = Shell(here)
    home = tmp_path / "home"
    home.mkdir()
    shell.environ |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    shell.environ |= {f"GIT_{role}_{name}": "a@b" for role in ("AUTHOR", "COMMITTER") for name in ("NAME", "EMAIL")}
    run(shell, "git", "init", "-q")
    shell.write("skills.py", SKILLS)
    shell.write("echo.json", {"id": "echo", "steps": [{"id": "echo", "skill_id": "echo"}]})
    assert shell.golden("init").code == 0
    configuration = here / "golden.toml"
    configuration.write_text(configuration.read_text() + 'skills = "skills.py"\n')
    assert shell.golden("record", "echo.json", "--run-id", "a", "--seed", "7").code == 0
    run(shell, "git", "add", "-A")
    run(shell, "git", "commit", "-q", "-m", "all")
    shutil.rmtree(home / ".config")
    return shell


def run(shell: Shell, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**shell.environ, **environ}
    return subprocess.run(argv, cwd=shell.here, env=env, text=True, capture_output=True, check=False, timeout=120)


# pre-commit


def hooks() -> dict[str, dict[str, Any]]:
    return {hook["id"]: hook for hook in yaml.safe_load(MANIFEST.read_text())}


def pre_commit() -> str:
    found = shutil.which("pre-commit")
    if found is None:
        pytest.skip("pre-commit is not installed; pip install pre-commit, and it is tried here")
    return found


def test_pre_commit_takes_the_manifest(project: Shell) -> None:
    done = run(project, pre_commit(), "validate-manifest", str(MANIFEST))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_verify_is_asked_where_what_it_judges_changed() -> None:
    pattern = hooks()["golden-verify"]["files"]
    for name in ("goldens/a.steps.jsonl", "goldens/a.steps.jsonl.sig", "golden-keyring.toml", "goldens/ledger.jsonl"):
        assert re.search(pattern, name)
    for name in ("skills.py", "a.steps.jsonl.orig", "golden.toml"):
        assert not re.search(pattern, name)


@pytest.mark.parametrize("name", ["golden-verify", "golden-gate"])
def test_what_a_hook_runs_passes_a_good_project_and_stops_a_bad_one(project: Shell, name: str) -> None:
    argv = hooks()[name]["entry"].split()
    assert argv[0] == "golden"
    assert project.golden(*argv[1:]).code == 0
    path = project.here / "goldens/a.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"as it was", b"as it is!"))
    assert project.golden(*argv[1:]).code == 3


def test_pre_commit_runs_the_gate(project: Shell) -> None:
    argv = [pre_commit(), "try-repo", str(ROOT), "golden-gate", "--hook-stage", "manual", "--verbose"]
    assert "1 recording: 1 matched" in run(project, *argv).stdout
    project.edit("skills.py", "as it was", "another")
    run(project, "git", "add", "-A")
    done = run(project, *argv)
    assert done.returncode == 1
    assert "output differs" in done.stdout


# GitHub


def action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    return found


def play(shell: Shell, **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the step of the gate as GitHub's runner does, and return how it ended and its outputs."""
    (step,) = [step for step in action()["runs"]["steps"] if step.get("id") == "gate"]
    values = {name: given["default"] for name, given in action()["inputs"].items()} | inputs
    environ = {name: filled(text, values) for name, text in step["env"].items()}
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        path = shell.here.with_name(name)
        path.write_text("")
        environ[name] = str(path)
    environ |= {"RUNNER_TEMP": str(shell.here.parent), "GITHUB_WORKSPACE": str(shell.here), "CI": "true"}
    script = shell.write("../step.sh", step["run"])
    done = run(shell, "bash", "--noprofile", "--norc", "-eo", "pipefail", str(script), **environ)
    lines = Path(environ["GITHUB_OUTPUT"]).read_text().splitlines()
    return done, dict(line.split("=", 1) for line in lines)


def filled(text: str, inputs: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], text)


def test_the_action_has_what_github_asks_of_one() -> None:
    found = action()
    assert set(found) == {"name", "description", "inputs", "outputs", "runs"}
    assert found["runs"]["using"] == "composite"
    assert all(set(given) == {"description", "default"} for given in found["inputs"].values())
    assert all(set(given) == {"description", "value"} for given in found["outputs"].values())
    for step in found["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        # Required of each step of an action that runs anything.
        assert "uses" in step or step["shell"] == "bash"
    used = set(re.findall(r"inputs\.([\w-]+)", ACTION.read_text()))
    assert used == set(found["inputs"])
    assert ACTION.relative_to(ROOT).parts == (".github", "actions", "gate", "action.yml")


def test_nothing_that_is_given_becomes_part_of_a_script() -> None:
    assert not [step for step in action()["runs"]["steps"] if "${{" in step.get("run", "")]


def test_the_action_says_what_the_gate_says(project: Shell) -> None:
    done, outputs = play(project)
    assert (done.returncode, done.stderr, outputs["exit-code"]) == (0, "", "0")
    assert {path.name for path in Path(outputs["reports"]).iterdir()} == {"gate.xml", "gate.html"}
    assert "replayed as recorded" in project.here.with_name("GITHUB_STEP_SUMMARY").read_text()
    project.edit("skills.py", "as it was", "another")
    done, outputs = play(project)
    assert (done.returncode, outputs["exit-code"]) == (1, "1")
    assert "::error file=skills.py,line=" in done.stdout
    assert "<failure" in (Path(outputs["reports"]) / "gate.xml").read_text()


@pytest.mark.parametrize(
    "inputs, code",
    [
        ({"places": "a\n\ngoldens\n", "args": "-j 2  --repeat 2"}, 0),
        ({"places": "goldens/a b"}, 4),
        ({"places": "-x"}, 2),
        ({"places": "$(touch /tmp/x) `id`; exit 0"}, 4),
        ({"args": "--no-such-option; exit 0"}, 2),
    ],
)
def test_the_action_takes_places_and_options_as_they_stand(project: Shell, inputs: dict[str, str], code: int) -> None:
    done, outputs = play(project, **inputs)
    assert (done.returncode, outputs["exit-code"]) == (code, str(code)), done


def test_the_action_installs_what_it_came_with_or_what_is_named(project: Shell) -> None:
    (step,) = [step for step in action()["runs"]["steps"] if step["name"] == "Install stepseal"]
    project.write("bin/python", '#!/bin/sh\nprintf "%s\\n" "$@"\n').chmod(0o755)
    path = f"{project.here / 'bin'}:{project.environ['PATH']}"
    for named, expected in (("", f"{ACTION.parent}/../../.."), ("stepseal[yaml] == 0.1.*", "stepseal[yaml] == 0.1.*")):
        environ = {"GITHUB_ACTION_PATH": str(ACTION.parent), "PATH": path, "GOLDEN_GATE_INSTALL": named}
        done = run(project, "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"], **environ)
        assert done.stdout.splitlines()[-2:] == ["--", expected]
    assert (ACTION.parent / "../../.." / "pyproject.toml").is_file()
