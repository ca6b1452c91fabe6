"""`golden tail`: the last events, checked; a run followed while it is written; what may not be shown, and how."""

import json
import re
import subprocess
import time
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import ACTIVE_KID, Shell

pytestmark = pytest.mark.slow

NO_KEY: dict[str, str | None] = {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET_PREVIOUS": None}


def stored(shell: Shell, run_id: str = "r-1") -> list[str]:
    return (shell.store / f"{run_id}.steps.jsonl").read_text().splitlines()


def test_the_last_events_are_shown_and_what_vouches_for_them(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("tail", "r-1")
    assert done.code == 0
    assert done.text == snapshot


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 100])
def test_n_is_how_many(recorded: Shell, count: int) -> None:
    done = recorded.golden("tail", "r-1", "-n", str(count))
    assert done.code == 0
    assert len(done.stdout.splitlines()) == min(count, 8)
    told = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert told == list(range(8))[8 - min(count, 8) :]


@pytest.mark.parametrize(
    "kind, seqs", [("run_start", [0]), ("step", [1, 4, 5, 6]), ("effect", [2, 3]), ("run_end", [7]), ("run_resume", [])]
)
def test_type_chooses_before_counting(recorded: Shell, kind: str, seqs: list[int]) -> None:
    done = recorded.golden("tail", "r-1", "--type", kind, "--json")
    assert [line["seq"] for line in done.objects] == seqs
    assert [
        line["seq"] for line in recorded.golden("tail", "r-1", "--type", kind, "-n", "1", "--json").objects
    ] == seqs[-1:]


def test_json_gives_the_stored_lines(recorded: Shell) -> None:
    done = recorded.golden("tail", "r-1", "--json")
    expected = [f'{{"schema":"golden.tail/1",{line[1:]}' for line in stored(recorded)]
    assert done.stdout.splitlines() == expected


def test_since_a_time(recorded: Shell) -> None:
    times = [json.loads(line)["timestamp"] for line in stored(recorded)]
    for at in (0, 4, 7):
        found = recorded.golden("tail", "r-1", "--since", times[at], "--json").objects
        assert [line["timestamp"] for line in found] == [moment for moment in times if moment >= times[at]]


@pytest.mark.parametrize(
    "since, shown",
    [("1h", 8), ("3650d", 8), ("2020-01-01", 8), ("2020-01-01T00:00:00+02:00", 8), ("2999-01-01T00:00:00Z", 0)],
)
def test_since_an_age_or_a_day(recorded: Shell, since: str, shown: int) -> None:
    assert len(recorded.golden("tail", "r-1", "--since", since, "--json").objects) == shown


@pytest.mark.parametrize("since", ["1w", "-1h", "99999999999d", "2026-13-01", "now", ""])
def test_since_what_is_no_time_is_misuse(recorded: Shell, since: str) -> None:
    done = recorded.golden("tail", "r-1", "--since", since)
    if since:
        done.refused()


def test_without_its_key_a_file_is_not_shown(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("tail", "r-1", env=NO_KEY)
    assert done.refused(4) == snapshot


def test_without_its_key_a_live_file_is_not_shown(damaged: Shell, snapshot: SnapshotAssertion) -> None:
    assert damaged.golden("tail", "live", env=NO_KEY).refused(4) == snapshot


def test_without_the_event_key_a_sealed_file_is_checked_whole(damaged: Shell, snapshot: SnapshotAssertion) -> None:
    # Its lines are signed by a key in no keyring; its seal is by ours.
    good = "reseal-new-key"
    env: dict[str, str | None] = {"GOLDEN_SECRET_PREVIOUS": None}
    done = damaged.golden("tail", good, env=env)
    assert done.code == 0
    assert done.text == snapshot


def test_unverified_lines_are_marked(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("tail", "r-1", "-n", "3", "--unverified", env=NO_KEY)
    assert done.code == 0
    assert all("unverified" in line for line in done.stdout.splitlines())
    assert done.text == snapshot


@pytest.mark.parametrize(
    "name, code",
    [
        ("flipped-byte-in-output", 3),
        ("truncated-at-line", 3),
        ("renamed-run", 3),
        ("seal-bad-signature", 3),
        ("seq-gap-live", 3),
        ("stripped-to-aos", 3),
        ("unknown-key", 4),
        ("newer-version", 4),
        ("empty", 4),
        ("absent", 4),
        ("seal-without-file", 3),
    ],
)
def test_what_does_not_verify_is_not_shown_whole(
    damaged: Shell, snapshot: SnapshotAssertion, name: str, code: int
) -> None:
    done = damaged.golden("tail", name)
    assert done.code == code, done
    assert done.error
    assert done.text == snapshot


@pytest.mark.parametrize("name", ["live", "torn-tail", "retired-key-live", "unsealed"])
def test_a_file_without_its_end_is_shown_as_far_as_it_is_good(
    damaged: Shell, snapshot: SnapshotAssertion, name: str
) -> None:
    assert damaged.golden("tail", name).text == snapshot


def test_bytes_that_are_no_event_are_shown_only_unverified(shell: Shell, snapshot: SnapshotAssertion) -> None:
    shell.give_key()
    shell.write(".golden/r-1.steps.jsonl", b'hello \x1b[31m\xff\x00\xc2\x9b \xe2\x80\xae\n{"data":1}\n[]\n\nend')
    assert shell.golden("tail", "r-1").code in {3, 4}
    done = shell.golden("tail", "r-1", "--unverified")
    assert not set(done.stdout + done.stderr) & set("\x1b\x00\x9b\u202e")
    assert done.text == snapshot


ESCAPES = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202edesrever\u2069 \r\b\x7f \u2028 end"


def test_escape_sequences_in_a_recording_do_not_reach_the_terminal(shell: Shell, snapshot: SnapshotAssertion) -> None:
    shell.give_key()
    shell.write("one.json", {"id": "one", "steps": [{"id": "a", "skill_id": "evil"}, {"id": "b", "skill_id": "worse"}]})
    shell.write("skills.py", EVIL.replace("@TEXT@", ascii(ESCAPES)))
    argv = ("record", "one.json", "--skills", "skills.py", "--run-id")
    answers = [shell.golden(*argv, "r-1"), shell.golden(*argv, "r-2", "--seed", "1")]
    shell.edit("skills.py", "return {TEXT: TEXT}", "return {TEXT: TEXT + 'x'}")
    answers += [
        shell.golden("tail", "r-1"),
        shell.golden("tail", "r-1", "--unverified"),
        shell.golden("tail", "r-1", env={"COLUMNS": "400"}),
        shell.golden("replay", "r-1", "--skills", "skills.py"),
        shell.golden("diff", "r-1", "r-2"),
    ]
    for answer in answers:
        found = set(answer.stdout + answer.stderr) & set(ESCAPES)
        assert not {mark for mark in found if not mark.isprintable()}, answer
    assert shell.golden("tail", "r-1", "-n", "3").text == snapshot
    # In JSON the marks are there, written as JSON writes them.
    done = shell.golden("tail", "r-1", "--type", "effect", "--json")
    assert done.objects[0]["data"]["result"] == ESCAPES


EVIL = """\
from replay import SkillRegistry

registry = SkillRegistry()
TEXT = @TEXT@


@registry.skill("evil")
def evil(ctx):
    ctx.external(TEXT, lambda: TEXT)
    return {TEXT: TEXT}


@registry.skill("worse")
def worse(ctx):
    raise ValueError(TEXT)
"""


@pytest.mark.parametrize("argv", [("--run", "r-1"), ("--run=.golden/r-1.steps.jsonl",), (".golden/r-1.steps.jsonl",)])
def test_a_run_is_named_by_id_or_path(recorded: Shell, argv: tuple[str, ...]) -> None:
    assert recorded.golden("tail", *argv).stdout == recorded.golden("tail", "r-1").stdout


def test_runbook_spelling(recorded: Shell) -> None:
    assert recorded.golden("golden-tail", "--run", "r-1").stdout == recorded.golden("tail", "r-1").stdout


def test_quiet_keeps_the_lines_only(recorded: Shell) -> None:
    assert recorded.golden("tail", "r-1", "-q").stderr == ""


@pytest.mark.parametrize("columns", [80, 200])
def test_a_line_of_the_answer_is_a_line_of_the_terminal(recorded: Shell, columns: int) -> None:
    lines = recorded.golden("tail", "r-1", env={"COLUMNS": str(columns)}).stdout.splitlines()
    assert max(map(len, lines)) <= columns


SLOW = """\
import time
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("wait")
def wait(ctx):
    Path(f"at-{ctx.inputs['n']}").touch()
    while not Path(f"go-{ctx.inputs['n']}").exists():
        time.sleep(0.01)
    return ctx.inputs["n"]
"""


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("json_", [(), ("--json",)], ids=["text", "json"])
def test_following_a_run_ends_with_the_run_and_survives_its_sealing(shell: Shell, json_: tuple[str, ...]) -> None:
    shell.give_key()
    shell.write("slow.py", SLOW)
    steps = [{"id": f"s{n}", "skill_id": "wait", "inputs": {"n": n}} for n in (0, 1, 2)]
    shell.write("slow.json", {"id": "slow", "steps": steps})
    recorder = shell.start("record", "slow.json", "--skills", "slow.py", "--run-id", "r-1")
    follower: subprocess.Popen[str] | None = None
    try:
        wait_for((shell.here / "at-0").exists)
        follower = shell.start("tail", "r-1", "-f", *json_)
        assert follower.stdout is not None
        seen = [follower.stdout.readline()]
        (shell.here / "go-0").touch()
        # The second line is there while the run goes on: it is followed, not read at its end.
        seen.append(follower.stdout.readline())
        assert recorder.poll() is None
        (shell.here / "go-1").touch()
        (shell.here / "go-2").touch()
        rest, talk = follower.communicate(timeout=30)
        recorder.communicate(timeout=30)
    finally:
        for process in filter(None, (recorder, follower)):
            process.kill()
            process.wait()
    assert follower.returncode == 0, talk
    assert recorder.returncode == 0
    lines = [line.rstrip("\n") for line in (*seen, *rest.splitlines())]
    if json_:
        assert lines == [f'{{"schema":"golden.tail/1",{line[1:]}' for line in stored(shell)]
    else:
        assert [line.split()[0] for line in lines] == ["0", "1", "2", "3", "4"]
        assert "✓ completed, 3 of 3 steps" in lines[-1]
    assert talk.splitlines() == [f"r-1: MACs checked, key {ACTIVE_KID}, not sealed"]
    assert shell.golden("verify").code == 0


def test_following_a_sealed_run_shows_it_and_ends(recorded: Shell) -> None:
    done = recorded.golden("tail", "r-1", "-f", "-n", "2")
    assert (done.code, len(done.stdout.splitlines())) == (0, 2)


def test_following_from_nothing_shows_only_what_comes(recorded: Shell) -> None:
    done = recorded.golden("tail", "r-1", "-f", "-n", "0")
    assert (done.code, done.stdout) == (0, "")


def test_a_follower_is_interrupted_with_130(damaged: Shell) -> None:
    follower = damaged.start("tail", "live", "-f")
    try:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.send_signal(2)
        _, talk = follower.communicate(timeout=30)
    finally:
        follower.kill()
        follower.wait()
    assert follower.returncode == 130
    assert "Traceback" not in talk


def test_a_line_that_does_not_fit_ends_the_following(damaged: Shell) -> None:
    path = damaged.store / "live.steps.jsonl"
    follower = damaged.start("tail", "live", "-f")
    try:
        assert follower.stdout is not None
        for _ in path.read_bytes().splitlines():
            follower.stdout.readline()
        with path.open("ab") as file:
            file.write(path.read_bytes().splitlines(keepends=True)[-1])
        rest, talk = follower.communicate(timeout=30)
    finally:
        follower.kill()
        follower.wait()
    assert (follower.returncode, rest) == (3, "")
    assert re.match(r"golden: .*\nhint: ", talk.partition("\n")[2])


def test_files_of_the_aos_engine_are_shown(shell: Shell, snapshot: SnapshotAssertion) -> None:
    aos = runs.FIXTURES / "recordings" / "aos"
    for name in (
        "good-1.steps.jsonl",
        "good-1.steps.jsonl.sig",
        "tampered-1.steps.jsonl",
        "tampered-1.steps.jsonl.sig",
    ):
        shell.write(f"aos/{name}", (aos / name).read_bytes())
    env: dict[str, str | None] = {"GOLDEN_SECRET": runs.AOS_SECRET.decode()}
    assert shell.golden("tail", "good-1", "--dir", "aos", env=env).text == snapshot
    assert shell.golden("tail", "tampered-1", "--dir", "aos", env=env).code == 3
