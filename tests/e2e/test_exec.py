"""`golden record -- COMMAND`, and what it takes to run the commands of a recording again."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import Answer, Shell

SCRIPT = """\
import sys
from pathlib import Path

rain = [float(line) for line in Path(sys.argv[1]).read_text().split()]
print("days", len(rain))
print("mm", sum(rain))
print("read", sys.argv[1], file=sys.stderr)
Path("report.txt").write_text(f"{sum(rain)} mm\\n")
"""
CLOCK = 'import time\nprint("the time is")\nprint(time.time_ns())\n'
PWNED = {"id": "pwned", "steps": [{"id": "a", "skill_id": "exec.run", "inputs": {"argv": ["touch", "PWNED"]}}]}


@pytest.fixture
def desk(shell: Shell) -> Shell:
    """A working directory with a key, a script that is deterministic, and one that is not."""
    shell.give_key()
    shell.write("script.py", SCRIPT)
    shell.write("clock.py", CLOCK)
    shell.write("rain.txt", "1.5 0.0 7.25\n")
    return shell


def recorded(desk: Shell, run_id: str = "r-1") -> Answer:
    done = desk.golden(
        *("record", "--run-id", run_id, "--seed", "7", "--out", "report.txt"),
        *("--", "python3", "script.py", "rain.txt"),
    )
    assert done.code == 0, done
    return done


def fixed(shell: Shell, spec: dict[str, Any] = PWNED) -> None:
    """Record a spec whose step touches PWNED, and take that away again."""
    shell.write("pwned.json", spec)
    done = shell.golden("record", "pwned.json", "--run-id", "r-1", "--seed", "7")
    assert done.code == 0, done
    (shell.here / "PWNED").unlink()


# Recording


def test_what_a_command_wrote_is_shown_after_it(desk: Shell, snapshot: SnapshotAssertion) -> None:
    assert recorded(desk).text == snapshot


def test_json_answer_is_that_of_any_run(desk: Shell) -> None:
    done = desk.golden("record", "--json", "-q", "--", "echo", "one")
    (found,) = done.objects
    assert (found["status"], found["spec_id"], found["steps_completed"]) == ("completed", "command", 1)
    assert done.stderr == ""


@pytest.mark.parametrize("script", ["echo out; echo err >&2; exit 3", "kill -9 $$"])
def test_command_that_fails_is_recorded_whole_and_answered_with_1(
    desk: Shell, script: str, snapshot: SnapshotAssertion
) -> None:
    done = desk.golden("record", "--run-id", "r-1", "--seed", "7", "--", "sh", "-c", script)
    assert done.code == 1
    assert done.text == snapshot
    assert desk.golden("verify", "r-1").code == 0
    assert desk.golden("replay", "r-1", "--allow-exec").code == 0


def test_missing_command_is_a_run_that_failed(desk: Shell, snapshot: SnapshotAssertion) -> None:
    done = desk.golden("record", "--run-id", "r-1", "--seed", "7", "--", "no-such-command")
    assert done.code == 1
    assert done.text == snapshot


def test_file_that_was_not_written_is_a_failure(desk: Shell) -> None:
    done = desk.golden("record", "--out", "absent", "--", "true")
    assert done.code == 1
    assert "note: the command has not written absent" in done.stderr


def test_what_is_no_text_and_what_is_long_is_said(desk: Shell) -> None:
    done = desk.golden("record", "--", "head", "-c", "100", "/dev/zero")
    assert "\\x00\\x00" in done.stderr
    done = desk.golden("record", "--", "printf", r"\377")
    assert "  stdout is no text" in done.stderr
    done = desk.golden("record", "--", "sh", "-c", "yes | head -c 2000000")
    assert "… 2000000 bytes of stdout in all, of which the recording has the hash" in done.stderr


def test_what_a_command_writes_cannot_play_with_the_terminal(desk: Shell) -> None:
    done = desk.golden("record", "--", "printf", r"\033[2Jx\n")
    assert "\\x1b[2Jx\n" in done.stderr
    assert "\033" not in done.stderr


@pytest.mark.parametrize(
    "argv, problem",
    [
        (("spec.json", "--", "ls"), "give one SPEC, or --function, or `--` and a COMMAND"),
        (("--",), "there is no COMMAND after `--`"),
        ((), "give one SPEC, or --function, or `--` and a COMMAND"),
        (("--out", "x", "spec.json"), "--in, --out and --env are about a COMMAND: give one after `--`"),
        (("spec.json", "more.json"), "got unexpected extra argument (more.json)"),
        (("--out", "../x", "--", "ls"), "file '../x' is not a plain path below the working directory, without `..`"),
        (("--in", "/etc/passwd", "--", "ls"), "file '/etc/passwd' is not a plain path below"),
        (("--env", "GOLDEN_SECRET", "--", "env"), "the variable GOLDEN_SECRET is handed to no command"),
    ],
)
def test_misuse_is_refused_before_anything_is_written(desk: Shell, argv: tuple[str, ...], problem: str) -> None:
    assert problem in desk.golden("record", *argv).refused()
    assert not desk.store.exists()


def test_options_after_the_dashes_are_the_commands(desk: Shell) -> None:
    done = desk.golden("record", "--", "echo", "--seed", "--", "x")
    assert "\n--seed -- x\n" in done.stderr


def test_no_command_sees_a_secret_or_what_nobody_named(desk: Shell) -> None:
    desk.environ |= {"GOLDEN_SECRET": runs.ACTIVE.decode(), "WEATHER": "rain", "API_TOKEN": "a token"}
    done = desk.golden("record", "--env", "WEATHER", "--", "sh", "-c", "env; cat /proc/self/environ")
    assert "WEATHER=rain" in done.stderr
    assert "GOLDEN" not in done.stderr
    assert "token" not in done.stderr.lower()


@pytest.mark.parametrize(
    "argv",
    [
        ("--", "curl", "-H", "X-Key: {secret}"),
        ("--function", "agent.py:agent", "--input", "key={secret}"),
        ("--function", "agent.py:agent", "--inputs", '{{"key": "{secret}"}}'),
    ],
)
def test_no_secret_of_a_key_is_recorded_that_somebody_puts_in_the_command_line(
    desk: Shell, argv: tuple[str, ...]
) -> None:
    secret = "a secret/of+36 characters and of four more"
    desk.give_key(secret.encode())
    done = desk.golden("record", "--run-id", "r-1", *(word.format(secret=secret) for word in argv))
    assert (done.code, done.error[0]) == (2, "golden: the secret of GOLDEN_SECRET_FILE would be recorded")
    assert not list(desk.here.rglob("r-1*"))


def test_interrupted_command_is_killed_and_the_run_aborted(desk: Shell) -> None:
    running = desk.start("record", "--run-id", "r-1", "--", "sh", "-c", "sleep 1000 & echo $! > pid; wait")
    pid = desk.here / "pid"
    for _ in range(1000):
        if pid.exists() and pid.read_text().endswith("\n"):
            break
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "aborted" in out
    for _ in range(500):
        status = Path(f"/proc/{int(pid.read_text())}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("what the command began is still there")


# Replaying


def test_replay_refuses_and_shows_what_would_be_run(desk: Shell, snapshot: SnapshotAssertion) -> None:
    recorded(desk)
    done = desk.golden("replay", "r-1")
    assert done.code == 4
    assert done.text == snapshot


def test_deterministic_command_matches(desk: Shell, snapshot: SnapshotAssertion) -> None:
    recorded(desk)
    (desk.here / "report.txt").write_text("edited since")
    done = desk.golden("replay", "r-1", "--allow-exec")
    assert done.code == 0
    assert done.text == snapshot
    assert (desk.here / "report.txt").read_text() == "edited since"


def test_command_that_prints_the_time_diverges_at_its_line(desk: Shell) -> None:
    assert desk.golden("record", "--run-id", "r-1", "--", "python3", "clock.py").code == 0
    done = desk.golden("replay", "r-1", "--allow-exec")
    assert done.code == 1
    assert '✗ command: output differs at /stdout\n    line      2\n    expected  "1' in done.stdout
    (found, _) = desk.golden("replay", "r-1", "--allow-exec", "--json").objects
    assert (found["divergence"]["cause"], found["divergence"]["path"]) == ("output", "/stdout")
    assert found["divergence"]["expected"].startswith("the time is\n")


def test_changed_input_file_is_a_divergence_and_a_missing_one_a_refusal(
    desk: Shell, snapshot: SnapshotAssertion
) -> None:
    recorded(desk)
    desk.write("rain.txt", "1.5 0.0 7.5\n")
    changed = desk.golden("replay", "r-1", "--allow-exec")
    (desk.here / "rain.txt").unlink()
    missing = desk.golden("replay", "r-1", "--allow-exec")
    assert (changed.code, missing.code) == (1, 4)
    assert changed.text + missing.text == snapshot


def test_a_command_that_misses_a_file_nobody_declared_says_what_it_said(desk: Shell) -> None:
    desk.write("helper.py", "RAIN = 1\n")
    desk.write("main.py", "import helper\nprint(helper.RAIN)\n")
    assert desk.golden("record", "--run-id", "r-1", "--", "python3", "main.py").code == 0
    done = desk.golden("replay", "r-1", "--allow-exec")
    assert done.code == 1
    assert "✗ command: output differs at /exit_code" in done.text
    note = "note: step command: exit code 1: ModuleNotFoundError: No module named 'helper'; it is given its input files"
    assert note in done.text


def test_the_environment_can_allow_it_and_a_file_of_the_project_cannot(desk: Shell) -> None:
    recorded(desk)
    for text, code in (("1", 0), ("true", 0), ("0", 4), ("no", 4), ("", 4), ("maybe", 4)):
        assert desk.golden("replay", "r-1", env={"GOLDEN_ALLOW_EXEC": text}).code == code, text
    desk.write("golden.toml", "allow_exec = true\n")
    assert "there is no key allow_exec" in desk.golden("replay", "r-1").refused()


def test_the_same_spec_named_by_the_invoker_allows_it(desk: Shell) -> None:
    fixed(desk)
    assert desk.golden("replay", "r-1", "--spec", "pwned.json").code == 0
    desk.write("other.json", {**PWNED, "version": "2"})
    assert desk.golden("replay", "r-1", "--spec", "other.json").code == 1
    assert not (desk.here / "PWNED").exists()


def test_the_same_spec_found_by_the_project_does_not(desk: Shell) -> None:
    fixed(desk)
    desk.write("golden.toml", 'specs = ["pwned.json"]\n')
    done = desk.golden("replay", "r-1")
    assert (done.code, "would run: touch PWNED" in done.stdout) == (4, True)


def test_a_spec_that_takes_its_command_from_the_recording_does_not(desk: Shell) -> None:
    argv = {"argv": "${inputs.argv}"}
    desk.write("any.json", {"id": "any", "steps": [{"id": "a", "skill_id": "exec.run", "inputs": argv}]})
    done = desk.golden("record", "any.json", "--run-id", "r-1", "--input", 'argv=["touch", "PWNED"]')
    assert done.code == 0, done
    done = desk.golden("replay", "r-1", "--spec", "any.json")
    assert (done.code, "would run: touch PWNED" in done.stdout) == (4, True)


def test_a_command_is_replayed_where_specs_are_configured(desk: Shell) -> None:
    desk.write("specs/pwned.json", PWNED)
    desk.write("golden.toml", 'specs = ["specs"]\n')
    recorded(desk)
    assert desk.golden("replay", "r-1", "--allow-exec").code == 0


def test_further_variables_are_handed_on_where_both_name_them(desk: Shell) -> None:
    weather = {"WEATHER": "rain"}
    assert desk.golden("record", "--run-id", "r-1", "--env", "WEATHER", "--", "env", env=weather).code == 0
    assert desk.golden("replay", "r-1", "--allow-exec", env=weather).code == 1
    assert desk.golden("replay", "r-1", "--allow-exec", "--env", "WEATHER", env=weather).code == 0


# Going on


def interrupted(shell: Shell) -> None:
    """Record a run that ends before its command."""
    steps = [
        {"id": "a", "skill_id": "fails"},
        {"id": "b", "skill_id": "exec.run", "inputs": {"argv": ["touch", "PWNED"]}, "depends_on": ["a"]},
    ]
    shell.write(
        "skills.py",
        "from pathlib import Path\n\nfrom replay import SkillRegistry\n\nregistry = SkillRegistry()\n\n\n"
        "@registry.skill('fails')\ndef fails(ctx):\n    return Path('good').read_text()\n",
    )
    shell.write("golden.toml", 'skills = ["skills.py"]\n')
    shell.write("spec.json", {"id": "spec", "steps": steps})
    assert shell.golden("record", "spec.json", "--run-id", "r-1", "--seed", "7").code == 1
    shell.write("good", "1")


@pytest.mark.parametrize("command", [("resume", "r-1"), ("fork", "r-1", "--at", "b", "--run-id", "r-9")])
def test_going_on_is_refused_before_anything_is_run_or_written(
    desk: Shell, command: tuple[str, ...], snapshot: SnapshotAssertion
) -> None:
    interrupted(desk)
    before = sorted(desk.store.iterdir())
    done = desk.golden(*command)
    assert done.code == 4
    assert done.text == snapshot
    assert sorted(desk.store.iterdir()) == before
    assert not (desk.here / "PWNED").exists()


@pytest.mark.parametrize("command", [("resume", "r-1"), ("fork", "r-1", "--at", "b", "--run-id", "r-9")])
def test_going_on_runs_commands_where_that_is_allowed(desk: Shell, command: tuple[str, ...]) -> None:
    interrupted(desk)
    done = desk.golden(*command, "--allow-exec")
    assert done.code == 0, done
    assert (desk.here / "PWNED").exists()


# Keys


@pytest.mark.parametrize(
    "command", [("replay", "r-1"), ("resume", "r-1"), ("fork", "r-1", "--at", "a", "--run-id", "n")]
)
def test_nothing_is_run_of_a_file_whose_key_is_unknown_or_revoked(desk: Shell, command: tuple[str, ...]) -> None:
    fixed(desk)
    other = {"GOLDEN_SECRET": runs.RETIRED.decode(), "GOLDEN_SECRET_FILE": None}
    unknown = desk.golden(*command, "--allow-exec", env=other)
    assert unknown.code == 4, unknown
    desk.write("new", runs.RETIRED + b"\n").chmod(0o600)
    assert desk.golden("keys", "add", "--source", "file:new", "--active").code == 0
    desk.edit("golden-keyring.toml", 'state = "retired"', 'state = "revoked"')
    revoked = desk.golden(*command, "--allow-exec")
    assert revoked.code == 3, revoked
    assert not (desk.here / "PWNED").exists()


def test_what_a_command_writes_is_not_the_answer(desk: Shell) -> None:
    done = desk.golden("record", "--", "echo", "noise")
    assert ("noise" in done.stdout, "noise" in done.stderr) == (False, True)
