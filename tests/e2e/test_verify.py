"""`golden verify`: the table of verdicts on real files, what a directory adds, and files that are no files."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import ACTIVE_KID, Shell

pytestmark = pytest.mark.slow

RECORDINGS = runs.FIXTURES / "recordings"
EXPECTED = json.loads((RECORDINGS / "v1" / "expect.json").read_text())
AOS = json.loads((RECORDINGS / "aos" / "expect.json").read_text())
TAMPERED = {"tampered", "truncated", "wrong-run", "missing", "unlisted", "rolled-back", "unsealed", "revoked-key"}
MEMBERS = ["run_id", "path", "verdict", "events", "kid", "first_bad", "problem", "hint", "writer"]
AOS_SECRET = {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": runs.AOS_SECRET.decode()}


def anchor(shell: Shell) -> str:
    """Return the anchor of the ledger as it lies there."""
    lines = (shell.store / "ledger.jsonl").read_bytes().splitlines()
    return f"golden-anchor/v1 {json.loads(lines[0])['dir_id']} {len(lines)} {hashlib.sha256(lines[-1]).hexdigest()}"


def exit_code(verdict: str) -> int:
    return 0 if verdict == "intact" else 3 if verdict in TAMPERED else 4


def test_every_fixture_has_its_verdict(damaged: Shell) -> None:
    done = damaged.golden("verify", "--json")
    assert all(line.startswith("  note: ") for line in done.error)
    *found, summary = done.objects
    assert {answer["run_id"]: answer["verdict"] for answer in found} == {
        name: expected["verdict"] for name, expected in EXPECTED.items()
    }
    for answer in found:
        assert (next(iter(answer)), answer["schema"]) == ("schema", "golden.verify/1")
        assert [name for name in answer if name in MEMBERS] == MEMBERS
        assert set(answer) == {"schema", *MEMBERS, "notes"}
        good = answer["verdict"] == "intact"
        assert (answer["problem"] is None, answer["hint"] is None) == (good, good), answer
        assert (answer["writer"] is None) == (answer["verdict"] != "live")
        expected = EXPECTED[answer["run_id"]]["first_bad"]
        if answer["verdict"] == "tampered" and answer["first_bad"]:
            assert answer["first_bad"] == expected
    assert (summary["checked"], summary["ledger"], summary["anchor"]) == (len(EXPECTED), "off", None)
    assert (done.code, summary["exit_code"]) == (3, 3)


@pytest.mark.parametrize("name", ["flipped-byte-in-output", "line-swapped", "seq-gap-live", "crlf-live", "bom"])
def test_the_first_bad_event_is_named_with_its_offset(damaged: Shell, name: str) -> None:
    (answer, _) = damaged.golden("verify", name, "--json").objects
    assert answer["first_bad"] == EXPECTED[name]["first_bad"]
    line = (damaged.store / f"{name}.steps.jsonl").read_bytes()[answer["first_bad"]["offset"] :]
    assert line.startswith((b'{"data":', b"\xef\xbb\xbf{"))


# One of each verdict, and of each way to it that reads differently.
TOLD = """
    good good-failed two-signatures flipped-byte-in-output truncated-at-line truncated-to-nothing appended-line
    header-renamed file-ids-differ unknown-key unknown-event-key seal-newer-version seal-empty renamed-run
    seal-without-file unsealed live torn-tail empty newer-version too-deep-live stripped-to-aos bom crlf-lines
    crlf-live not..a-run-id _not-a-run-id
"""


@pytest.mark.parametrize("name", TOLD.split())
def test_a_verdict_is_told_in_words_with_its_exit_code(damaged: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    done = damaged.golden("verify", f".golden/{name}.steps.jsonl")
    assert done.code == exit_code(EXPECTED[name]["verdict"])
    assert done.text == snapshot


def test_each_file_alone_has_the_verdict_it_has_in_the_directory(damaged: Shell) -> None:
    # Many runs named at once are many judgements, not one of the directory.
    names = [f".golden/{name}.steps.jsonl" for name in EXPECTED]
    *found, summary = damaged.golden("verify", *names, "--json").objects
    assert [answer["verdict"] for answer in found] == [expected["verdict"] for expected in EXPECTED.values()]
    assert set(summary) == {"schema", "command", "checked", "by", "exit_code"}


@pytest.mark.parametrize("jobs", ["1", "2", "3"])
def test_several_processes_give_the_same_answer(damaged: Shell, jobs: str) -> None:
    assert damaged.golden("verify", "--json", "-j", jobs).stdout == damaged.golden("verify", "--json").stdout


def test_a_good_directory(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.record("r-2", "--inputs", "@prices.json")
    assert recorded.golden("verify").text == snapshot
    *_, summary = recorded.golden("verify", "--json").objects
    assert summary == {
        "schema": "golden.summary/1",
        "command": "verify",
        "checked": 2,
        "by": {"intact": 2},
        "exit_code": 0,
        "anchor": anchor(recorded),
        "ledger": "intact",
        "kids": [ACTIVE_KID],
    }


def test_the_worst_finding_decides(damaged: Shell) -> None:
    one = damaged.golden("verify", "good", "live", "--json")
    assert (one.code, one.objects[-1]["exit_code"]) == (4, 4)
    assert damaged.golden("verify", "live", "good", "unsealed", "torn-tail").code == 3


@pytest.mark.parametrize("argv", [(), ("--dir", "nowhere")], ids=["no directory", "--dir"])
def test_nothing_to_check_is_no_success(shell: Shell, snapshot: SnapshotAssertion, argv: tuple[str, ...]) -> None:
    shell.give_key()
    done = shell.golden("verify", *argv)
    assert done.code == 4
    assert done.text == snapshot
    (summary,) = shell.golden("verify", *argv, "--json").objects
    assert (summary["checked"], summary["by"], summary["exit_code"]) == (0, {}, 4)


def test_an_empty_directory_is_nothing_to_check(shell: Shell) -> None:
    shell.give_key()
    shell.store.mkdir()
    (shell.store / "notes.txt").write_text("none of ours")
    assert shell.golden("verify").code == 4


def test_without_a_key_nothing_is_decided(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("verify", env={"GOLDEN_SECRET_FILE": None})
    assert done.code == 4
    assert done.text == snapshot


def test_another_secret_is_unknown_and_not_tampered(recorded: Shell) -> None:
    done = recorded.golden("verify", "r-1", "--json", env={"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "s" * 40})
    assert (done.code, done.objects[0]["verdict"]) == (4, "unknown-key")


def test_a_retired_secret_verifies(recorded: Shell) -> None:
    env = {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "s" * 40, "GOLDEN_SECRET_PREVIOUS": runs.ACTIVE.decode()}
    done = recorded.golden("verify", "r-1", "--json", env=env)
    assert (done.code, done.objects[0]["verdict"], done.objects[0]["kid"]) == (0, "intact", ACTIVE_KID)


def test_a_run_that_is_not_there_is_undecided(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("verify", "r-2")
    assert done.code == 4
    assert done.text == snapshot


def test_an_empty_run_is_not_the_whole_directory(recorded: Shell) -> None:
    for name in ("verify", "replay"):
        assert "is not a run id" in recorded.golden(name, "--run", "").refused()


@pytest.mark.parametrize("name", ["../r-1", "a b", "", "-", "..", "r\x1b[31m"])
def test_what_is_no_run_is_refused(recorded: Shell, name: str) -> None:
    done = recorded.golden("verify", "--", name)
    assert done.code in {2, 4}
    assert "\x1b" not in done.stdout + done.stderr
    assert done.error is not None


SLOW = """\
import time
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("quick")
def quick(ctx):
    return 1


@registry.skill("slow")
def slow(ctx):
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return 2
"""


def started(shell: Shell, run_id: str) -> subprocess.Popen[str]:
    """Start a recorder that stays in its second step until the file `go` is there."""
    shell.give_key()
    shell.write("slow.py", SLOW)
    steps = [{"id": "a", "skill_id": "quick"}, {"id": "b", "skill_id": "slow"}]
    shell.write("slow.json", {"id": "slow", "steps": steps})
    running = shell.start("record", "slow.json", "--skills", "slow.py", "--run-id", run_id)
    deadline = time.monotonic() + 30
    while not (shell.here / "waiting").exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return running


def test_a_run_being_written_is_live_with_a_writer(shell: Shell, snapshot: SnapshotAssertion) -> None:
    running = started(shell, "r-1")
    try:
        plain, tolerant = shell.golden("verify"), shell.golden("verify", "--allow-live")
        (answer, _) = shell.golden("verify", "--json").objects
        second = shell.golden("record", "slow.json", "--skills", "slow.py", "--run-id", "r-1")
    finally:
        (shell.here / "go").touch()
        running.communicate(timeout=30)
    assert (plain.code, tolerant.code) == (4, 0)
    assert (answer["verdict"], answer["writer"], answer["events"]) == ("live", True, 2)
    assert plain.text == snapshot(name="without --allow-live")
    assert tolerant.text == snapshot(name="with --allow-live")
    assert second.refused() == snapshot(name="recording it again")
    assert running.returncode == 0
    assert shell.golden("verify").code == 0


def test_a_run_whose_recorder_was_killed_is_live_without_a_writer(shell: Shell, snapshot: SnapshotAssertion) -> None:
    running = started(shell, "r-1")
    running.kill()
    running.communicate(timeout=30)
    plain, tolerant = shell.golden("verify"), shell.golden("verify", "--allow-live")
    assert (plain.code, tolerant.code) == (4, 4)
    assert shell.golden("verify", "--json").objects[0]["writer"] is False
    assert plain.text == snapshot


def test_files_of_the_aos_engine(shell: Shell, snapshot: SnapshotAssertion) -> None:
    shutil.copytree(RECORDINGS / "aos", shell.here / "aos")
    done = shell.golden("verify", "--dir", "aos", env=AOS_SECRET)
    assert done.code == 3
    assert done.text == snapshot
    for name, expected in AOS.items():
        one = shell.golden("verify", f"aos/{name}.steps.jsonl", "--json", env=AOS_SECRET)
        assert (one.code, one.objects[0]["verdict"]) == (exit_code(expected["verdict"]), expected["verdict"])
    codes = [shell.golden("verify", name, "--dir", "aos", env=AOS_SECRET).code for name in sorted(AOS)]
    assert dict(zip(sorted(AOS), codes, strict=True)) == {
        "failed-1": 0,
        "good-1": 0,
        "good-2": 0,
        "tampered-1": 3,
        "unsigned-1": 4,
    }


def test_files_of_the_aos_engine_without_their_secret(shell: Shell) -> None:
    shutil.copytree(RECORDINGS / "aos", shell.here / "aos")
    done = shell.golden("verify", "good-1", "--dir", "aos", "--json")
    assert (done.code, done.objects[0]["verdict"]) == (4, "unknown-key")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def closed(path: Path) -> None:
    path.chmod(0)


@pytest.mark.parametrize("suffix", ["", ".sig"], ids=["file", "seal"])
@pytest.mark.parametrize("instead", [fifo, link, dangling, folder, closed], ids=lambda instead: instead.__name__)
def test_what_is_no_regular_file_is_never_read(
    recorded: Shell, snapshot: SnapshotAssertion, instead: Any, suffix: str
) -> None:
    if instead is closed:
        recorded.obey_modes()
    instead(recorded.store / f"r-1.steps.jsonl{suffix}")
    done = recorded.golden("verify", "r-1")
    assert done.code == 4
    assert done.text == snapshot
    for argv in (("replay", "r-1"), ("diff", "r-1", "r-1"), ("tail", "r-1")) if not suffix else ():
        answer = recorded.golden(*argv)
        assert answer.code == 4, answer
        assert answer.error is not None


def test_a_directory_that_cannot_be_listed_is_undecided(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.obey_modes()
    recorded.store.chmod(0)
    try:
        done = recorded.golden("verify")
    finally:
        recorded.store.chmod(0o750)
    assert done.refused(4) == snapshot


def test_a_file_in_place_of_the_directory_is_undecided(shell: Shell) -> None:
    shell.give_key()
    shell.store.write_text("a file")
    shell.golden("verify").refused(4)


HEADER = (RECORDINGS / "v1" / "live-header-only.steps.jsonl").read_bytes()
CONTENTS = {
    "empty": (b"", "torn"),
    "one line feed": (b"\n", "tampered"),
    "no JSON": (b"hello\n", "tampered"),
    "nul bytes": (b"\0" * 4096, "torn"),
    "2000 nested arrays": (b"[" * 2000 + b"]" * 2000 + b"\n", "tampered"),
    "2000 nested arrays in an event": (HEADER + b'{"data":' + b"[" * 2000 + b"]" * 2000 + b"}\n", "tampered"),
    "byte order mark": (b"\xef\xbb\xbf" + HEADER, "tampered"),
    "CRLF": (HEADER.replace(b"\n", b"\r\n"), "tampered"),
    "no UTF-8": (HEADER + b'{"data":"\xff"}\n', "tampered"),
    "lone surrogate": (HEADER + b'{"data":"\\ud800"}\n', "tampered"),
    "NaN": (HEADER + b'{"data":NaN}\n', "tampered"),
    "twice the header": (HEADER * 2, "tampered"),
    "header alone": (HEADER, "live"),
    "header without LF": (HEADER[:-1], "torn"),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("sealed", [False, True], ids=["live", "sealed"])
def test_bytes_that_are_no_recording_have_a_verdict(shell: Shell, name: str, sealed: bool) -> None:
    content, verdict = CONTENTS[name]
    shell.give_key()
    shell.write(".golden/live-header-only.steps.jsonl", content)
    if sealed:
        shutil.copy(RECORDINGS / "v1" / "good.steps.jsonl.sig", shell.store / "live-header-only.steps.jsonl.sig")
        verdict = "wrong-run"
    done = shell.golden("verify", "live-header-only", "--json")
    assert done.error == []
    assert done.objects[0]["verdict"] == verdict
    assert done.code == exit_code(verdict)
    for argv in () if sealed else (("tail", "--unverified"),):
        answer = shell.golden(argv[0], "live-header-only", *argv[1:])
        assert answer.error is not None
        assert "\0" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("start", [b"", HEADER], ids=["first", "second"])
@pytest.mark.parametrize("ending", [b"", b"\n"], ids=["torn", "whole"])
def test_a_line_of_200_megabytes_is_bounded(shell: Shell, start: bytes, ending: bytes) -> None:
    shell.give_key()
    path = shell.write(".golden/live-header-only.steps.jsonl", start)
    with path.open("r+b") as file:
        file.truncate(200 << 20)
        file.seek(0, os.SEEK_END)
        file.write(ending)
    limited = f"ulimit -v {600 << 10}; exec golden verify live-header-only --json"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=shell.here, env=shell.environ, text=True, capture_output=True, check=False
    )
    assert done.stderr == ""
    answer = json.loads(done.stdout.splitlines()[0])
    assert (done.returncode, answer["verdict"]) == (4, "unreadable")
    for argv in (("tail",), ("tail", "--unverified", "-n", "1")) if ending else ():
        assert "Traceback" not in shell.golden(argv[0], "live-header-only", *argv[1:]).stderr


def test_every_kind_of_damage_to_a_real_run_is_found(recorded: Shell) -> None:
    path = recorded.store / "r-1.steps.jsonl"
    good = path.read_bytes()
    seal = path.with_name(f"{path.name}.sig")
    lines = good.splitlines(keepends=True)
    damages = {
        "flipped": good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
        "dropped": b"".join(lines[:2] + lines[3:]),
        "swapped": b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]),
        "cut": good[:-1],
        "longer": good + lines[-1],
        "emptied": b"",
    }
    stored = seal.read_bytes()
    for number, (name, content) in enumerate(damages.items()):
        other = recorded.store.parent / f"damage-{number}"
        other.mkdir()
        (other / path.name).write_bytes(content)
        (other / seal.name).write_bytes(stored)
        done = recorded.golden("verify", "--dir", other.name, "--json")
        assert (done.code, done.objects[0]["verdict"] in {"tampered", "truncated"}) == (3, True), name


def test_a_name_on_the_disk_does_not_reach_the_terminal(recorded: Shell) -> None:
    (recorded.store / "a\x1b[31m\u202e\n.steps.jsonl").write_bytes(HEADER)
    done = recorded.golden("verify")
    assert done.code == 4
    assert not set(done.stdout + done.stderr) & set("\x1b\u202e")
    # Each file has its line and its hint; then the count and the anchor.
    assert len(done.stdout.splitlines()) <= 5


def test_verify_imports_no_code_of_the_project(recorded: Shell) -> None:
    recorded.write("golden.toml", 'skills = ["skills.py"]\n')
    recorded.write("skills.py", "raise SystemExit('code was loaded')\n")
    for argv in (("verify",), ("tail", "r-1"), ("diff", "r-1", "r-1"), ("config",)):
        assert recorded.golden(*argv).code == 0


def test_quiet_says_only_the_answer(damaged: Shell) -> None:
    assert damaged.golden("verify", "-q").stderr == ""


def test_a_directory_given_as_a_run_is_told_how_it_is_named(recorded: Shell) -> None:
    for name in (".golden/", "./.golden", "kept"):
        if name == "kept":
            (recorded.store).rename(recorded.here / "kept")
        refusal = recorded.golden("verify", name).refused()
        assert f"{name} is a directory, not a RUN" in refusal
        assert f"golden verify --dir {name}" in refusal


def test_an_anchor_is_not_passed_over_for_files_that_lie_elsewhere(recorded: Shell) -> None:
    """Their ledger could have been rolled back, and the answer would be green for the wrong reason."""
    anchor = recorded.anchor()
    (recorded.store).rename(recorded.here / "kept")
    path = "kept/r-1.steps.jsonl"
    refusal = recorded.golden("verify", "--anchor", anchor, path).refused()
    assert f"{path} lies outside .golden, which --anchor is about" in refusal
    assert recorded.golden("verify", "--anchor", anchor, "--dir", "kept", f"./{path}").code == 0
