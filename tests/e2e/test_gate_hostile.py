"""`golden gate` where names, values, places and code are against it: nothing passes, hangs, or speaks in its name."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.shell import Answer, Shell
from tests.e2e.test_signals import signalled

pytestmark = pytest.mark.slow

SKILLS = """\
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from replay import Context, SkillRegistry

registry = SkillRegistry()
print("printed at import")


@registry.skill("echo")
def echo(ctx: Context) -> str:
    return ctx.inputs["text"]
"""
SPEC = {"id": "echo", "steps": [{"id": "echo", "skill_id": "echo", "inputs": {"text": "${inputs.text}"}}]}


@pytest.fixture
def team(shell: Shell) -> Shell:
    """Two recordings, a and b, in the folder goldens."""
    shell.give_key()
    shell.write("skills.py", SKILLS)
    shell.write("golden.toml", 'dir = "goldens"\nskills = "skills.py"\nledger = false\n')
    shell.write("echo.json", SPEC)
    record(shell, "a", "one")
    record(shell, "b", "two")
    return shell


def record(shell: Shell, run_id: str, text: str) -> None:
    done = shell.golden("record", "echo.json", "--run-id", run_id, "--seed", "7", "--input", f"text={text}")
    assert done.code == 0, done


def act(shell: Shell, *lines: str) -> None:
    """Let the skill do something before it answers."""
    text = "".join(f"    {line}\n" for line in lines)
    shell.edit("skills.py", '    return ctx.inputs["text"]', f'{text}    return ctx.inputs["text"]')


def by(answer: Answer) -> dict[str, str]:
    return {found["path"]: found["verdict"] for found in answer.objects if "path" in found}


def test_what_a_module_prints_at_import_is_no_part_of_the_answer(team: Shell) -> None:
    done = team.golden("gate", "--json", "-j", "8")
    assert (done.code, len(done.objects)) == (0, 3)
    assert "printed at import" in done.stderr


@pytest.mark.parametrize("argv", [("goldens", "link"), ("link/a.steps.jsonl", "a", "./goldens/../goldens/*")])
def test_a_recording_is_judged_once_by_whatever_paths_it_is_named(team: Shell, argv: tuple[str, ...]) -> None:
    (team.here / "link").symlink_to("goldens")
    for path in (team.here / "goldens").glob("checkpoints*"):
        path.unlink()
    done = team.golden("gate", *argv, "--json")
    assert (done.code, done.objects[-1]["checked"]) == (0, 2)


def test_a_link_in_the_place_of_a_recording_does_not_pass(team: Shell) -> None:
    (team.here / "goldens/c.steps.jsonl").symlink_to("a.steps.jsonl")
    done = team.golden("gate", "--json")
    assert (done.code, by(done)["goldens/c.steps.jsonl"]) == (4, "unreadable")


def test_a_pattern_that_matches_nothing_does_not_pass_beside_others(team: Shell) -> None:
    done = team.golden("gate", "a", "lost-*", "--json")
    assert (done.code, by(done)) == (4, {"goldens/a.steps.jsonl": "matched", "lost-*": "nothing"})


def test_two_stars_stand_for_any_depth(team: Shell) -> None:
    (team.here / "goldens/deep/er").mkdir(parents=True)
    for path in team.here.glob("goldens/b.*"):
        path.rename(team.here / "goldens/deep/er" / path.name)
    done = team.golden("gate", "goldens/**/*.steps.jsonl", "--json")
    assert set(by(done)) == {"goldens/a.steps.jsonl", "goldens/deep/er/b.steps.jsonl"}
    assert done.code == 0


def test_a_name_that_is_not_utf8_is_found_and_the_rest_judged(team: Shell) -> None:
    (team.here / "goldens" / os.fsdecode(b"\xff.steps.jsonl")).touch()
    for options in ((), ("--repeat", "2")):
        done = team.golden("gate", "--github", "--junit", "r.xml", "--html", "r.html", "--sarif", "r.sarif", *options)
        assert done.code == 4
        assert not done.error or "internal" not in done.stderr
        assert "✗ goldens/\\udcff  unreadable\n  \\udcff.steps.jsonl is not named <run_id>.steps.jsonl" in done.stdout
        assert "✓ goldens/b  matched" in done.stdout
    assert team.golden("gate", "--json").objects[-1]["by"] == {"matched": 2, "unreadable": 1}


@pytest.mark.parametrize("place", ["nowhere", "skills.py"])
def test_a_golden_directory_that_is_none_is_said_to_be_none(team: Shell, place: str) -> None:
    done = team.golden("gate", "--dir", place)
    assert (done.code, done.stdout.splitlines()[0]) == (4, f"✗ nothing {place}: there is no golden directory")


def test_a_folder_that_cannot_be_read_is_found_and_the_rest_judged(team: Shell) -> None:
    team.obey_modes()
    (team.here / "locked").mkdir(mode=0)
    done = team.golden("gate", "locked", "goldens", "--json")
    assert (done.code, by(done)["locked"], done.objects[-1]["checked"]) == (4, "unreadable", 2)


@pytest.mark.parametrize("place", ["", "@", "@-", "@self", "-x/", "--", "a\nb", "@goldens"])
def test_a_place_that_is_none_is_refused_or_undecided(team: Shell, place: str) -> None:
    team.write("self", "@self\n")
    done = team.golden("gate", "--", place)
    assert done.code in {2, 4}
    assert not done.error or len(done.error) == 2
    assert "matched" not in done.stdout


def test_a_list_may_be_long(team: Shell) -> None:
    team.write("list", "a\nb\n" * 20_000)
    assert team.golden("gate", "@list", "--json").objects[-1]["checked"] == 2


def test_every_report_of_calls_without_end_is_short(team: Shell) -> None:
    act(team, "def ping(n): return pong(n) + pong(n)", "def pong(n): return ping(n + 1)", "ping(0)")
    done = team.golden("gate", "a", "--github", "--junit", "r.xml", "--html", "r.html", "--sarif", "r.sarif")
    assert done.code == 1
    assert max(map(len, done.stdout.splitlines())) < 4000
    assert {len((team.here / name).read_text()) < 40_000 for name in ("r.xml", "r.html", "r.sarif")} == {True}


@pytest.mark.parametrize("length", [5, 50_000_000_000])
def test_what_code_writes_to_the_line_of_its_worker_is_no_answer(team: Shell, length: int) -> None:
    act(
        team,
        "import socket, struct",
        "if ctx.inputs['text'] == 'one':",
        "    for fd in range(3, 40):",
        "        try: socket.socket(fileno=os.dup(fd)).send(struct.pack('<QQ', 0, " + str(length) + ") + b'junk!')",
        "        except OSError: pass",
    )
    done = team.golden("gate", "--json")
    assert (done.code, by(done)) == (4, {"goldens/a.steps.jsonl": "died", "goldens/b.steps.jsonl": "matched"}), done


def test_a_number_of_any_size_differs_like_any_other(team: Shell) -> None:
    act(team, "return 10**400")
    assert by(team.golden("gate", "--json")) == dict.fromkeys(
        ("goldens/a.steps.jsonl", "goldens/b.steps.jsonl"), "diverged"
    )


def test_two_reports_in_one_file_are_refused(team: Shell) -> None:
    assert "one file" in team.golden("gate", "--junit", "r.xml", "--html", "./r.xml").refused()


def test_github_obeys_nothing_that_a_recording_or_its_code_says(team: Shell) -> None:
    record(team, "c", "##[error]x\n::set-output name=a::b%0A")
    act(team, 'print("::warning::from the code"); return "x\\n::error::y##[set-output name=c]d"')
    done = team.golden("gate", "--github")
    assert done.code == 1
    token, heard = "", []
    for line in done.stdout.splitlines():
        stop = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", line)
        if token:
            token = "" if line == f"::{token}::" else token
        elif stop:
            token = stop[1]
        else:
            heard.append(line)
    assert not token
    assert [line.partition(" ")[0] for line in heard] == ["::error"] * 3
    assert "from the code" not in done.stdout
    others = team.golden("gate", "--github")
    assert len(set(re.findall(r"(?m)^::stop-commands::(.*)$", done.stdout + others.stdout))) == 4


def test_commands_of_github_are_heard_again_after_a_mistake(team: Shell) -> None:
    team.write("skills.py", "import nowhere\n")
    done = team.golden("gate", "--github")
    assert done.code == 2
    (token,) = re.findall(r"(?m)^::stop-commands::(.*)$", done.stdout)
    assert done.stdout.splitlines()[-1] == f"::{token}::"


def test_github_is_told_of_files_as_they_lie_in_the_repository(team: Shell) -> None:
    (team.here / "deep/er").mkdir(parents=True)
    act(team, "return 1")
    for path in list(team.here.iterdir()):
        if path.name != "deep":
            path.rename(team.here / "deep/er" / path.name)
    env = {"GITHUB_WORKSPACE": str(team.here)}
    done = team.golden("gate", "--github", "--sarif", "r.sarif", cwd=team.here / "deep/er", env=env)
    assert "::error file=deep/er/skills.py," in done.stdout
    assert '"deep/er/goldens/a.steps.jsonl"' in (team.here / "deep/er/r.sarif").read_text()


STUBBORN = ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal.signal(signal.SIGINT, signal.SIG_IGN)")
WAITING = ('Path(f"at-{os.getpid()}").touch()', "time.sleep(60)")


@pytest.mark.parametrize("options", [(), ("-j", "8"), ("--repeat", "3")], ids=["one", "many", "repeated"])
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_and_every_process_of_it(
    team: Shell, number: int, code: int, options: tuple[str, ...]
) -> None:
    act(team, *STUBBORN, 'subprocess.Popen(["sleep", "60"], start_new_session=True)', *WAITING)
    running = team.start("gate", *options)
    deadline = time.monotonic() + 30
    while len(list(team.here.glob("at-*"))) < (2 if "8" in options else 1):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done = signalled(running, [], number)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert not alive(team.here)


def test_what_code_leaves_running_ends_with_the_gate(team: Shell) -> None:
    act(team, 'subprocess.Popen(["sleep", "60"], start_new_session=True)')
    assert team.golden("gate").code == 0
    assert not alive(team.here)


def alive(folder: Path) -> list[str]:
    """Name the processes that work in a folder, once those that were ended have had time to go."""
    found = [""]
    deadline = time.monotonic() + 5
    while found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = []
        for place in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if place.samefile(folder):
                    found.append(place.with_name("cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return [words for words in found if words]
