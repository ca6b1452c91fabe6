"""Advice: every status there is, and every verdict, has its next command."""

from pathlib import Path
from typing import get_args

import pytest

from cli import main
from cli.advice import Advice, advise
from cli.halves import Row
from golden.verdict import TAMPERED, Verdict, Word
from replay.checkpoints.contract import STATUSES
from replay.controls import Halt

STOPPED = Halt("stop", "INC-7", "me@here", None, "stop.json")
HALTED = Halt("drain", "WORKFLOW_ENGINE_ENABLED is off", None, None, "WORKFLOW_ENGINE_ENABLED")


def row(status: str, **members: object) -> Row:
    found = Row(run_id="r-1", status=status, path="goldens/r-1.steps.jsonl", sealed=True, writer=False, version=3)
    for name, value in members.items():
        setattr(found, name, value)
    return found


def verdict(word: Word) -> Verdict:
    return Verdict("r-1", "goldens/r-1.steps.jsonl", word, "what is so", "what to do")


@pytest.mark.parametrize("status", [*STATUSES, "paused", "unknown"])
@pytest.mark.parametrize("path", ["goldens/r-1.steps.jsonl", None])
def test_every_status_has_a_next_command_that_exists(status: str, path: str | None) -> None:
    found = advise(row(status, path=path))
    assert found.command is not None
    golden, name, *_ = found.command.split()
    assert golden == "golden"
    assert name in main.COMMANDS


@pytest.mark.parametrize("word", get_args(Word))
def test_every_verdict_has_a_next_command_that_exists(word: Word) -> None:
    for status in ("running", "completed", "failed"):
        found = advise(row(status), verdict(word))
        assert found.command is not None
        assert found.command.split()[1] in main.COMMANDS
        if word in TAMPERED:
            assert "resume" not in found.command


def test_a_run_that_ended_without_its_seal_is_recovered() -> None:
    for word in ("unsealed", None):
        found = advise(row("completed", sealed=False), verdict("unsealed") if word else None)
        assert found.command == "golden recover r-1"


@pytest.mark.parametrize("status", ["failed", "aborted", "emergency_stopped", "interrupted", "policy_violation"])
def test_what_can_go_on_is_resumed(status: str) -> None:
    assert advise(row(status)).command == "golden resume r-1"
    assert advise(row(status), successor="r-1.r2").command == "golden inspect r-1.r2"


@pytest.mark.parametrize(
    "code, flag", [("STEP_CEILING_EXCEEDED", "step"), ("WORKFLOW_CEILING_EXCEEDED", "workflow"), (None, "workflow")]
)
def test_a_run_that_was_too_dear_goes_on_with_another_ceiling(code: str | None, flag: str) -> None:
    assert advise(row("budget_exceeded", error_code=code)).command == f"golden resume r-1 --{flag}-ceiling CENTS"


def test_a_stopped_run_waits_for_whoever_stopped_it() -> None:
    found = advise(row("emergency_stopped"), halts=[STOPPED, HALTED])
    assert (found.command, "me@here stopped the engine: INC-7" in found.why) == ("golden start", True)
    assert advise(row("emergency_stopped"), halts=[HALTED]).command == "unset WORKFLOW_ENGINE_ENABLED"
    assert advise(row("failed"), halts=[STOPPED]).command == "golden resume r-1"


def test_a_running_run_is_followed_or_resumed() -> None:
    assert advise(row("running", writer=True)).command == "golden tail r-1 -f"
    assert advise(row("running", writer=False)).command == "golden resume r-1"
    assert advise(row("running", writer=False), ahead=True).command == "golden resume r-1 --from-file"
    assert advise(row("running", writer=True), ahead=True).command == "golden tail r-1 -f"


def test_a_file_elsewhere_is_where_to_look(tmp_path: Path) -> None:
    there = tmp_path / "my goldens" / "r-1.steps.jsonl"
    gone = advise(row("running", path=None, golden_path=str(there), lease_owner="host/1/0"))
    assert gone.command == "golden checkpoints set-status r-1 aborted --expect-version 3 --reason TEXT"
    assert "host/1/0" in gone.why
    there.parent.mkdir()
    there.touch()
    assert advise(row("running", path=None, golden_path=str(there))).command == f"golden inspect '{there}'"


def test_another_directory_is_named() -> None:
    assert advise(row("failed"), folder="my goldens").command == "golden resume r-1 --dir 'my goldens'"
    assert advise(row("completed"), verdict("tampered"), folder="g").command == "golden verify --dir g"


def test_advice_on_what_failed_repeats_the_hint_of_the_step() -> None:
    found = advise(row("failed", error_code="STEP_TIMEOUT", recovery_hint="find out what it waits for"))
    assert isinstance(found, Advice)
    assert "STEP_TIMEOUT: find out what it waits for" in found.why
