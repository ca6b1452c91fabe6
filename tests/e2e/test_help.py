"""What the command says about itself: help in groups, the version, completion, and what is refused by its name."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from cli import main
from tests.e2e.shell import Shell, command

COMMANDS = (
    *("demo", "init", "record", "import"),
    *("replay", "fork", "diff", "tail"),
    *("gate", "update", "review", "accept", "reject", "verify"),
    *("keys", "rotate", "resign", "quarantine", "recover", "ledger", "anchors"),
    *("resume", "status", "list", "inspect", "stats", "checkpoints", "stop", "start", "config", "git"),
)
# Commands made of commands: their own pages speak of those.
MEMBERS = (
    *("keys list", "keys show", "keys add", "keys retire", "keys revoke"),
    *("ledger init", "git install", "git show", "git merge"),
    *("checkpoints list", "checkpoints show", "checkpoints set-status", "checkpoints delete", "checkpoints prune"),
)
PAGES = (*COMMANDS, *MEMBERS)
LATER_COMMANDS = "explain backup restore prune drill doctor metrics audit rollout runbook"


def test_help_shows_the_commands_in_groups(shell: Shell, snapshot: SnapshotAssertion) -> None:
    assert shell.golden("--help").text == snapshot


@pytest.mark.parametrize("name", PAGES)
def test_each_command_has_a_help_page(shell: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    done = shell.golden(*name.split(), "--help")
    assert (done.code, done.stderr) == (0, "")
    assert f"Usage: golden {name} " in done.stdout
    examples = done.stdout.partition("\nExamples:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"  golden {name}") for line in examples)
    assert done.text == snapshot


def test_the_list_of_commands_is_complete(shell: Shell) -> None:
    assert tuple(re.findall(r"^  ([a-z]+)  +\S", shell.golden("--help").stdout, re.MULTILINE)) == COMMANDS


@pytest.mark.parametrize("name", ["", *PAGES], ids=lambda name: name or "golden")
def test_help_fits_eighty_columns(shell: Shell, name: str) -> None:
    assert max(map(len, shell.golden(*name.split(), "-h").stdout.splitlines())) <= 80


def test_short_help_is_the_long_one(shell: Shell) -> None:
    assert shell.golden("-h").stdout == shell.golden("--help").stdout


def test_version_is_that_of_the_distribution(shell: Shell) -> None:
    assert shell.golden("--version").stdout == f"golden {version('stepseal')}\n"


def test_module_is_the_command(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "golden", "--version"],
        cwd=shell.here,
        env=shell.environ,
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout == shell.golden("--version").stdout


def test_without_a_command_the_help_is_shown(shell: Shell) -> None:
    done = shell.golden()
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == shell.golden("--help").stdout


@pytest.mark.parametrize("name", ["keys", "ledger", "git", "checkpoints"])
def test_a_family_without_a_command_shows_its_help(shell: Shell, name: str) -> None:
    done = shell.golden(name)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == shell.golden(name, "--help").stdout


def test_completion_script_is_printed(shell: Shell) -> None:
    done = shell.golden(env={"_GOLDEN_COMPLETE": "bash_source"})
    assert done.code == 0, done
    assert "complete -o nosort -F _golden_completion golden" in done.stdout
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("golden ver", {"verify"}),
        ("golden re", {"record", "replay", "resign", "recover", "resume", "review", "reject"}),
        ("golden st", {"stop", "start", "stats", "status"}),
        ("golden list --status in", {"interrupted"}),
        ("golden list-running --sta", {"--stale"}),
        ("golden checkpoints set-status r-1 ab", {"aborted"}),
        ("golden ", set(COMMANDS)),
        ("golden tail --type run", {"run_start", "run_resume", "run_end"}),
        ("golden replay --fail", {"--fail-fast"}),
        ("golden keys re", {"retire", "revoke"}),
        ("golden rotate --reason comp", {"compromised"}),
    ],
)
def test_completion_offers_what_fits(shell: Shell, typed: str, offered: set[str]) -> None:
    at = str(len(typed.split(" ")) - 1)
    done = shell.golden(env={"_GOLDEN_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": at})
    assert {line.removeprefix("plain,") for line in done.stdout.splitlines()} == offered


def test_every_command_of_the_contract_is_there_or_comes_later() -> None:
    assert set(LATER_COMMANDS.split()) == main.LATER
    assert set(COMMANDS) == set(main.COMMANDS)


@pytest.mark.parametrize("name", LATER_COMMANDS.split()[::4])
def test_a_command_that_comes_later_is_refused_by_name(shell: Shell, name: str) -> None:
    assert f"the command `{name}` is not supported yet" in shell.golden(name).refused()


@pytest.mark.parametrize(
    "argv",
    [
        ("frobnicate",),
        ("--frobnicate",),
        ("verify", "--frobnicate"),
        ("verify", "-j", "0"),
        ("verify", "-j", "many"),
        ("tail",),
        ("tail", "a", "--run", "b"),
        ("tail", "a", "-n", "-1"),
        ("tail", "a", "--type", "note"),
        ("tail", "a", "--since", "yesterday"),
        ("diff", "a"),
        ("replay",),
        ("replay", "a", "--all"),
        ("record",),
        ("record", "a.json", "--seed", "x"),
        ("demo", "x"),
        ("config", "x"),
        ("rotate",),
        ("rotate", "--reason", "leaked"),
        ("rotate", "--reason", "scheduled", "-j", "0"),
        ("resign",),
        ("quarantine",),
        ("recover", "r-1", "r-2"),
        ("resume",),
        ("inspect",),
        ("list", "--status", "paused"),
        ("list", "--stale", "soon"),
        ("stats", "a", "b"),
        ("status", "now"),
        ("checkpoints", "prune"),
        ("checkpoints", "show", "a", "--at", "first"),
        ("ledger", "frob"),
        ("keys", "revoke"),
        ("anchors", "--before", "yesterday"),
    ],
    ids=" ".join,
)
def test_misuse_is_two_lines_and_exit_code_2(shell: Shell, snapshot: SnapshotAssertion, argv: tuple[str, ...]) -> None:
    done = shell.golden(*argv)
    done.refused()
    assert done.text == snapshot


def test_every_line_of_help_names_only_commands_that_exist(shell: Shell) -> None:
    pages = [shell.golden(*name.split(), "--help").stdout for name in ("", *PAGES)]
    examples = "".join(page.partition("\nExamples:\n")[2] for page in pages)
    named = {
        *re.findall(r"^  golden ([a-z]+)\b", examples, re.MULTILINE),
        *re.findall(r"`golden ([a-z]+)", "".join(pages)),
    }
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("alias, name", [("golden-tail", "tail"), ("replay-local", "replay"), ("list-running", "list")])
def test_a_runbook_spelling_is_the_command(shell: Shell, alias: str, name: str) -> None:
    one, other = shell.golden(alias, "--help"), shell.golden(name, "--help")
    assert one.code == other.code == 0
    assert one.stdout == other.stdout


@pytest.mark.parametrize("line", ["tail r-1", "verify", "replay r-1", "config", "verify -h", "-h"])
def test_an_answer_nobody_read_to_its_end_is_no_answer(recorded: Shell, line: str) -> None:
    # Neither 0 nor 1, which would mean something; the shell says 141 of a program that wrote to nobody.
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        done = subprocess.run(
            [command(), *line.split()],
            cwd=recorded.here,
            env=recorded.environ,
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 141
    assert b"Error" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_answer_that_cannot_be_written_is_an_error(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [command(), "verify"],
            cwd=recorded.here,
            env=recorded.environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert done.stderr == snapshot
