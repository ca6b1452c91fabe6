"""`exec.run`: what a step of it records, what a replay compares, and what it refuses."""

import base64
import hashlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from golden import Recording
from golden.canonical import canonical_bytes, decode
from replay import Policy, Replay, SkillRegistry, replay
from replay.child import WHOLE, CommandError
from replay.command import (
    HEAD,
    USUAL,
    Commands,
    asked_of,
    files_among,
    how_ended,
    one_command,
    recorded_files,
    with_commands,
)
from replay.permission import Permit
from tests import runs
from tests.unit.replay.conftest import Lab, effects, ending, flow, only, python, records, skills, step
from tests.unit.replay.test_child import is_gone, pid_in

ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/home/of", "WEATHER": "rain", "GOLDEN_SECRET": "a secret"}
NONE = SkillRegistry()
ALL = Permit(commands=True, environ={"PATH": ENVIRON["PATH"]})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def command(*argv: str, step_id: str = "a", members: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    """Return a step that runs a command."""
    return step(step_id, "exec.run", inputs={"argv": list(argv), **inputs}, **(members or {}))


def sh(script: str, **inputs: Any) -> dict[str, Any]:
    return command("sh", "-c", script, **inputs)


def run(lab: Lab, *steps: dict[str, Any], **options: Any) -> Recording:
    return lab.record(flow(*steps), NONE, **{"environ": ENVIRON, **options})


def output(recording: Recording) -> Any:
    found = only(recording)
    assert found.success, found.error
    return decode(found.output)


def error(recording: Recording) -> tuple[str, str, str]:
    found = only(recording).error
    assert found
    return found.code, found.type, found.message


def again(recording: Recording, permit: Permit = ALL) -> Replay:
    return replay(recording, NONE, permit=permit)


def place(answer: Replay) -> tuple[str, str]:
    assert answer.divergence is not None, answer
    return answer.divergence.cause, answer.divergence.path


# What is recorded


def test_output_is_exit_code_streams_and_files(lab: Lab) -> None:
    Path("in.txt").write_text("in")
    found = run(lab, sh("cat in.txt; echo err >&2; printf out > out.txt", inputs=["in.txt"], outputs=["out.txt"]))
    assert output(found) == {
        "exit_code": 0,
        "inputs": {"in.txt": {"bytes": 2, "sha256": hashlib.sha256(b"in").hexdigest()}},
        "outputs": {"out.txt": {"bytes": 3, "sha256": hashlib.sha256(b"out").hexdigest()}},
        "stderr": "err\n",
        "stdout": "in",
    }


def test_no_shell_stands_between(lab: Lab) -> None:
    assert output(run(lab, command("printf", "%s", "$HOME; *")))["stdout"] == "$HOME; *"


@pytest.mark.parametrize("written", [b"\xff\x00\xfe", b"half a character \xc3"])
def test_what_is_no_utf8_is_base64_and_says_so(lab: Lab, written: bytes) -> None:
    Path("bin").write_bytes(written)
    assert output(run(lab, command("cat", "bin")))["stdout"] == {"base64": base64.b64encode(written).decode()}


@pytest.mark.parametrize("size, whole", [(WHOLE, True), (WHOLE + 1, False)])
def test_long_output_is_kept_as_size_hash_and_head(lab: Lab, size: int, whole: bool) -> None:
    text = "é" * (size // 2) + "x" * (size % 2)
    Path("big").write_bytes(text.encode())
    told = output(run(lab, command("cat", "big")))["stdout"]
    head = text.encode()[:HEAD].decode()
    long = {"bytes": size, "head": head, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert told == (text if whole else long)


def test_a_character_that_the_end_of_the_head_cuts_is_left_out(lab: Lab) -> None:
    Path("big").write_bytes(b"x" + "é".encode() * WHOLE)
    assert output(run(lab, command("cat", "big")))["stdout"]["head"] == "x" + "é" * (HEAD // 2 - 1)


def test_control_characters_of_two_whole_streams_fit_a_line(lab: Lab) -> None:
    Path("zeros").write_bytes(bytes(WHOLE))
    told = output(run(lab, sh("cat zeros; cat zeros >&2")))
    assert (len(told["stdout"]), len(told["stderr"])) == (WHOLE, WHOLE)


def test_too_much_output_fails_the_step(lab: Lab) -> None:
    code, kind, message = error(run(lab, command("yes", max_output=5000)))
    assert (code, kind, message) == ("EXECUTION_ERROR", "too much output", "it wrote more than 5000 bytes (max_output)")


def test_environment_is_the_usual_names_unless_others_are_named(lab: Lab) -> None:
    assert output(run(lab, command("env")))["stdout"].splitlines() == [f"PATH={ENVIRON['PATH']}", "HOME=/home/of"]
    assert output(run(lab, command("/usr/bin/env", env=["WEATHER", "ABSENT"])))["stdout"] == "WEATHER=rain\n"


def test_no_command_is_handed_a_variable_of_ours(lab: Lab) -> None:
    assert error(run(lab, command("env", env=["GOLDEN_SECRET"])))[1] == "invalid inputs"


def test_stdin_is_given(lab: Lab) -> None:
    assert output(run(lab, command("cat", stdin="text é")))["stdout"] == "text é"


# How it fails


@pytest.mark.parametrize(
    "script, kind, message",
    [
        ("echo why >&2; exit 3", "exit code 3", "exit code 3: why"),
        ("echo where >&2; echo why >&2; echo >&2; exit 3", "exit code 3", "exit code 3: why"),
        ("echo why; exit 3", "exit code 3", "exit code 3: why"),
        ("exit 3", "exit code 3", "exit code 3"),
        ("kill -9 $$", "killed by SIGKILL", "killed by SIGKILL"),
    ],
)
def test_command_that_fails_fails_its_step(lab: Lab, script: str, kind: str, message: str) -> None:
    recording = run(lab, sh(script))
    assert error(recording) == ("EXECUTION_ERROR", kind, message)
    assert ending(recording).status == "failed"


@pytest.mark.parametrize("script, code", [("exit 3", 3), ("kill -9 $$", -9)])
def test_without_check_how_it_ended_is_its_output(lab: Lab, script: str, code: int) -> None:
    assert output(run(lab, sh(script, check=False)))["exit_code"] == code


def test_numbers_of_signals_have_names_where_they_have_one() -> None:
    assert how_ended(-signal.SIGTERM) == "killed by SIGTERM"
    assert how_ended(-40) == "killed by signal 40"


def test_output_file_that_was_not_written_fails_a_checked_step(lab: Lab) -> None:
    assert error(run(lab, command("true", outputs=["x"])))[1:] == ("missing output", "output file x was not written")
    assert output(run(lab, command("true", outputs=["x"], check=False)))["outputs"] == {"x": None}


def test_input_file_that_is_missing_fails_the_step_before_it_runs(lab: Lab) -> None:
    recording = run(lab, sh("touch ran", inputs=["x"]))
    assert error(recording)[1:] == ("missing input", "input file x is missing")
    assert not Path("ran").exists()
    assert again(recording).matched


def test_input_that_is_no_regular_file_is_refused(lab: Lab) -> None:
    os.mkfifo("fifo")
    Path("folder").mkdir()
    for name in ("fifo", "folder"):
        assert error(run(lab, sh("true", inputs=[name])))[1:] == ("unreadable file", f"{name} is no regular file")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "", "./x", "a//b", "a\0b"])
@pytest.mark.parametrize("member", ["inputs", "outputs"])
def test_path_outside_the_folder_is_refused(member: str, path: str) -> None:
    with pytest.raises(CommandError, match="is not a plain path") as caught:
        asked_of({"argv": ["true"], member: [path]})
    assert (caught.value.code, caught.value.retryable) == ("invalid inputs", False)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"argv": []},
        {"argv": "ls"},
        {"argv": [1]},
        {"argv": ["a\0b"]},
        {"argv": ["ls"], "shell": True},
        {"argv": ["ls"], "env": ["A=B"]},
        {"argv": ["ls"], "max_output": -1},
    ],
)
def test_inputs_of_another_form_fail_the_step(lab: Lab, inputs: dict[str, Any]) -> None:
    recording = lab.record(flow(step("a", "exec.run", inputs=inputs)), NONE)
    assert error(recording)[1] == "invalid inputs"


def test_missing_command_is_not_tried_again(lab: Lab) -> None:
    recording = run(lab, command("no-such-command", members={"retry": True}))
    assert error(recording)[1] == "not found"
    assert len(only(recording).attempts) == 1


# When it is to end


def test_hanging_command_ends_with_its_step_and_all_it_began(lab: Lab) -> None:
    hanging = sh("sleep 1000 & echo $! > pid; wait", members={"timeout_seconds": 1.0})
    recording = run(lab, hanging)
    assert error(recording)[0] == "STEP_TIMEOUT"
    assert is_gone(pid_in(Path("pid")))
    # What the clock decided is answered: nothing is compared, and nothing is run.
    assert again(recording).verdict == "refused"


def test_commands_run_side_by_side(lab: Lab) -> None:
    # Each waits for the other one.
    one = command("sh", "-c", "touch one; until [ -e two ]; do sleep 0.01; done; echo 1", step_id="one")
    two = command("sh", "-c", "touch two; until [ -e one ]; do sleep 0.01; done; echo 2", step_id="two")
    recording = run(lab, one, two, concurrency=2)
    assert ending(recording).status == "completed"


def test_interrupted_run_is_aborted_and_leaves_no_process(lab: Lab, tmp_path: Path) -> None:
    script = """
        import os, sys
        from golden.keyring import Keyring
        from golden.store import Store
        from replay import SkillRegistry, record
        store = Store(sys.argv[1], Keyring(sys.argv[2].encode()), durability="never")
        spec = {"id": "f", "steps": [{"id": "a", "skill_id": "exec.run", "inputs": {
            "argv": ["sh", "-c", "sleep 1000 & echo $! > pid; wait"]}}]}
        record(spec, SkillRegistry(), store=store, run_id="r-1", environ=dict(os.environ))
    """
    program = python(script, str(lab.store.directory), "a secret of the tests, long enough to sign")
    pid = pid_in(Path("pid"))
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=30)
    assert program.returncode in {1, -signal.SIGINT, 130}, said
    assert is_gone(pid)
    with Recording.open(lab.store.file("r-1").path, lab.keyring) as recording:
        assert ending(recording).status == "aborted"


def test_planned_step_may_run_no_command(lab: Lab) -> None:
    planned = command("touch", "ran", members={"planner_output": {"goal": "x"}})
    for policy in (Policy(), Policy("permissive")):
        recording = run(lab, planned, policy=policy)
        assert error(recording)[0] == "SANDBOX_REJECTION"
    assert not Path("ran").exists()


def test_command_can_be_disabled(lab: Lab) -> None:
    recording = run(lab, command("touch", "ran"), policy=Policy(disabled={"exec.run": "INC-7"}))
    assert error(recording)[0] == "POLICY_VIOLATION"
    assert not Path("ran").exists()


# Replay


def test_deterministic_command_matches_and_nothing_of_the_users_is_touched(lab: Lab) -> None:
    Path("in.txt").write_text("1")
    Path("out").mkdir()
    recording = run(lab, sh("cat in.txt | tee out/a.txt; echo x > stray", inputs=["in.txt"], outputs=["out/a.txt"]))
    Path("out/a.txt").write_text("the user's own by now")
    Path("stray").write_text("this too")
    answer = again(recording)
    assert (answer.verdict, answer.problem, answer.divergence) == ("matched", None, None)
    assert Path("out/a.txt").read_text() == "the user's own by now"
    assert Path("stray").read_text() == "this too"


@pytest.mark.parametrize(
    "script, path",
    [
        ("cat /proc/sys/kernel/random/uuid", "/stdout"),
        ("cat /proc/sys/kernel/random/uuid >&2", "/stderr"),
        ("cat /proc/sys/kernel/random/uuid > out", "/outputs/out/sha256"),
    ],
)
def test_what_differs_is_named_by_its_path(lab: Lab, script: str, path: str) -> None:
    answer = again(run(lab, sh(f": > out; {script}", outputs=["out"])))
    assert place(answer) == ("output", path)
    # No line of ours is to blame.
    assert answer.divergence is not None
    assert answer.divergence.location is None


def test_another_exit_code_is_named_before_what_was_written(lab: Lab) -> None:
    script = "test -e once && exit 3; touch once; exit 4"
    Path("once").touch()
    assert place(again(run(lab, sh(script, check=False)))) == ("output", "/exit_code")
    divergence = again(run(lab, sh(script))).divergence
    assert divergence is not None
    assert (divergence.path, divergence.expected, divergence.actual) == ("/type", "exit code 3", "exit code 4")
    assert divergence.cause == "error"


def test_changed_input_file_diverges_before_the_command_runs(lab: Lab, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    Path("in").write_text("1")
    recording = run(lab, sh(f"echo >> {mark}", inputs=["in"]))
    Path("in").write_text("2")
    answer = again(recording)
    assert place(answer) == ("inputs", "/inputs/in/sha256")
    assert mark.read_text() == "\n"


def test_input_file_that_is_gone_refuses_the_replay(lab: Lab) -> None:
    Path("in").write_text("1")
    recording = run(lab, sh("cat in", inputs=["in"]))
    Path("in").unlink()
    answer = again(recording)
    assert (answer.verdict, answer.problem) == ("refused", "input file in is missing")


def test_undeclared_file_is_not_there(lab: Lab) -> None:
    Path("in").write_text("1")
    assert place(again(run(lab, sh("ls", check=False)))) == ("output", "/stdout")


def test_a_command_reads_what_one_before_it_wrote(lab: Lab) -> None:
    first = sh("echo 1 > a", outputs=["a"])
    second = command("sh", "-c", "cat a; echo 2 > a", step_id="b", inputs=["a"], outputs=["a"])
    second["depends_on"] = ["a"]
    third = command("cat", "a", step_id="c", inputs=["a"])
    third["depends_on"] = ["b"]
    recording = run(lab, first, second, third)
    assert [decode(found.step.output)["stdout"] for found in records(recording)] == ["", "1\n", "2\n"]
    Path("a").write_text("the user's own by now")
    assert again(recording).matched


def test_what_a_link_leads_to_stays_where_it_is(lab: Lab, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_text("precious")
    first = sh(f"rmdir sub 2>/dev/null; ln -sfn {home} sub; ln -sf {home}/a b", outputs=["sub/a", "b"])
    second = command("cat", "sub/a", "b", step_id="b", inputs=["sub/a", "b"])
    second["depends_on"] = ["a"]
    recording = run(lab, first, second)
    assert decode(records(recording)[-1].step.output)["stdout"] == "preciousprecious"
    assert again(recording).matched
    assert (home / "a").read_text() == "precious"


def test_a_script_stays_executable(lab: Lab) -> None:
    Path("script").write_text("#!/bin/sh\necho 1\n")
    Path("script").chmod(0o755)
    assert again(run(lab, command("./script", inputs=["script"]))).matched


def test_each_attempt_has_a_folder_of_its_own(lab: Lab, hurried: None) -> None:
    failing = sh("test ! -e mark || exit 9; touch mark; exit 3", members={"retry": True, "max_retries": 1})
    recording = run(lab, failing)
    assert [attempt.error.type for attempt in only(recording).attempts if attempt.error] == [
        "exit code 3",
        "exit code 9",
    ]
    # In the working directory the second attempt finds the mark of the first; in a folder of its own it does not.
    divergence = again(recording).divergence
    assert divergence is not None
    assert divergence.path == "/type"
    assert divergence.actual == "exit code 3"


def test_volatile_output_may_differ(lab: Lab) -> None:
    document = flow(sh("cat /proc/sys/kernel/random/uuid"), volatile=["/steps/a/output/stdout"])
    assert again(lab.record(document, NONE, environ=ENVIRON)).matched


def test_scratch_folders_are_gone_afterwards(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "scratch"
    there.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(there))
    assert again(run(lab, sh("mkdir locked; touch locked/x; chmod 0 locked; echo 1"))).matched
    assert list(there.iterdir()) == []


def test_variables_are_those_that_both_name(lab: Lab) -> None:
    recording = run(lab, command("/usr/bin/env", env=["WEATHER", "HOME"]))
    permit = Permit(commands=True, environ={"WEATHER": "rain", "SECRET": "of the invoker", "GOLDEN_SECRET": "x"})
    divergence = again(recording, permit).divergence
    assert divergence is not None
    assert (divergence.expected, divergence.actual) == ("WEATHER=rain\nHOME=/home/of\n", "WEATHER=rain\n")


def test_what_a_command_was_not_given_is_noted(lab: Lab) -> None:
    recording = run(lab, command("true", env=["WEATHER", "HOME"]))
    assert again(recording).notes == ["step a was not given WEATHER: not named here (--env), or not set"]
    assert again(recording, Permit(commands=True, environ=ENVIRON)).notes == []


def test_effect_names_the_files_that_were_read(lab: Lab) -> None:
    Path("in").write_text("1")
    (found,) = effects(run(lab, command("cat", "in", inputs=["in"])))
    assert (found.name, decode(found.args)) == ("input files", [["in"]])
    assert effects(run(lab, command("true"))) == []


def test_a_file_that_changed_while_nobody_was_at_work_ends_a_resumed_step() -> None:
    Path("in").write_text("1")

    class Resumed:
        inputs: ClassVar = {"argv": ["touch", "ran"], "inputs": ["in"]}

        def external(self, *_: object) -> Any:
            return {"in": {"bytes": 1, "sha256": "of what it was when the run was killed"}}

    with pytest.raises(CommandError, match="is not what it was when the step began"):
        Commands({}).run(cast("Any", Resumed()))
    assert not Path("ran").exists()


def test_files_are_those_of_the_attempt() -> None:
    said = [runs.effect(0, result={"x": {"n": n}}, attempt=n, name="input files") for n in (0, 1)]
    assert [recorded_files(said, attempt) for attempt in (0, 1, 2)] == [{"x": {"n": 0}}, {"x": {"n": 1}}, {}]
    assert recorded_files([runs.effect(0, result=["x"], name="input files")], 0) == {}
    assert recorded_files([runs.effect(0, result={"x": {}}, name="other")], 0) == {}


def test_step_that_is_answered_needs_no_file(lab: Lab) -> None:
    Path("in").write_text("1")
    told = command("cat", "in", inputs=["in"], members={"external": True})
    recording = run(lab, told, command("true", step_id="b"))
    Path("in").unlink()
    answer = again(recording)
    assert (answer.verdict, answer.steps_answered, answer.steps_compared) == ("matched", 1, 1)


# What is known without being asked for


def test_skill_of_the_user_with_its_id_wins(lab: Lab) -> None:
    own = skills("7", **{"exec.run": lambda _: "mine"})
    assert {skill.version for skill in with_commands(own, {})} == {"7"}
    assert decode(only(lab.record(flow(command("false")), own)).output) == "mine"


def test_built_in_skill_has_a_version_and_no_source(lab: Lab) -> None:
    found = run(lab, command("true")).start.environment.skills["exec.run"]
    assert (found.code_hash, found.module, found.version) == (None, "replay.command", "1")


def test_words_that_are_files_are_found() -> None:
    Path("src").mkdir()
    for name in ("script.py", "src/data.csv", "tool", "src/link"):
        Path(name).touch()
    found = files_among(
        ["tool", "./script.py", "src/data.csv", "src", "../elsewhere/tool", str(Path("tool").resolve()), "-x"]
    )
    assert found == ["script.py", "src/data.csv"]
    assert files_among(["./tool"]) == ["tool"]


def test_spec_of_one_command_keeps_its_failure() -> None:
    (made,) = one_command(["false"], [], [], [])["steps"]
    assert made["inputs"] == {"argv": ["false"], "check": False}
    (made,) = one_command(["x"], ["i"], ["o"], ["E"])["steps"]
    assert made["inputs"]["env"] == [*USUAL, "E"]
    asked_of(canonical_bytes(made["inputs"]))


def test_no_thread_is_left_behind(lab: Lab) -> None:
    run(lab, command("true"))
    for thread in threading.enumerate():
        if thread.name == "golden-child":
            thread.join(30)
            assert not thread.is_alive()


def test_python_of_the_environment_is_the_one_that_runs(lab: Lab) -> None:
    assert output(run(lab, command(sys.executable, "-c", "print(6 * 7)")))["stdout"] == "42\n"
