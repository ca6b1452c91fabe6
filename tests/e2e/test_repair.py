"""`golden quarantine`, `golden recover`, `golden ledger init`: what is set right, and that nothing is lost."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from golden.keyring import HmacKey
from golden.store import RESERVED
from tests import runs
from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow


def everything(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def ledger(shell: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shell.store / "ledger.jsonl").read_bytes().splitlines()]


# quarantine


def test_a_run_set_apart_is_neither_deleted_nor_missed(three: Shell, snapshot: SnapshotAssertion) -> None:
    before = everything(three.store)
    dry = three.golden("quarantine", "r-1", "r-2", "--dry-run")
    assert dry.code == 0
    assert dry.text == snapshot(name="dry run")
    assert everything(three.store) == before
    done = three.golden("quarantine", "r-1", "--run", "r-2", "--reason", "INC-7", "--yes")
    assert done.code == 0
    assert done.text == snapshot(name="done")
    apart = {Path(name).name: data for name, data in everything(three.store).items() if name.startswith("quarantine/")}
    assert apart == {name: data for name, data in before.items() if name.startswith(("r-1.", "r-2."))}
    verified = three.golden("verify", "--json")
    assert (verified.code, verified.objects[-1]["by"]) == (0, {"intact": 1})
    assert [(line["op"], line["run_id"], line["reason"]) for line in ledger(three)[7:]] == [
        ("quarantine", "r-1", "INC-7"),
        ("quarantine", "r-2", "INC-7"),
    ]


def test_a_run_put_back_from_quarantine_is_found(three: Shell, snapshot: SnapshotAssertion) -> None:
    assert three.golden("quarantine", "r-1", "--yes").code == 0
    for path in (three.store / "quarantine").glob("*/r-1*"):
        shutil.copyfile(path, three.store / path.name)
    done = three.golden("verify", "r-1")
    assert done.code == 3
    assert done.text == snapshot


@pytest.mark.parametrize("run_id", RESERVED)
def test_a_file_under_the_name_of_a_lock_is_set_apart_at_once(three: Shell, run_id: str) -> None:
    path = three.write(f".golden/{run_id}.steps.jsonl", "rubbish")
    argv = [sys.executable, "-m", "golden", "quarantine", run_id, "--yes"]
    # It took the lock that it then waited for.
    subprocess.run(argv, cwd=three.here, env=three.environ, capture_output=True, timeout=60, check=True)
    assert not path.exists()
    assert three.golden("verify").code == 0


def test_quarantine_in_json(three: Shell) -> None:
    row, summary = three.golden("quarantine", "r-1", "--reason", "INC-7", "--yes", "--json").objects
    assert list(row) == ["schema", "run_id", "outcome", "place", "reason", "dry_run"]
    assert (row["schema"], row["outcome"], row["reason"]) == ("golden.quarantine/1", "quarantined", "INC-7")
    assert (three.store / row["place"] / "r-1.steps.jsonl").exists()
    assert list(summary) == ["schema", "command", "checked", "by", "exit_code", "anchor", "dry_run"]
    assert summary["anchor"] == three.anchor()


def test_all_runs_that_are_named_must_be_there(three: Shell, snapshot: SnapshotAssertion) -> None:
    before = everything(three.store)
    done = three.golden("quarantine", "r-1", "r-9", "--yes")
    assert done.refused(4) == snapshot
    assert everything(three.store) == before


def test_a_run_whose_file_is_gone_can_be_set_apart_in_the_ledger(three: Shell) -> None:
    for path in three.store.glob("r-1*"):
        path.unlink()
    assert three.golden("verify").code == 3
    assert three.golden("quarantine", "r-1", "--reason", "disk failed, no backup", "--yes").code == 0
    assert three.golden("verify").code == 0


def test_quarantine_and_recover_ask_somebody(three: Shell, snapshot: SnapshotAssertion) -> None:
    before = everything(three.store)
    assert three.golden("quarantine", "r-1").refused() == snapshot
    (three.store / "ledger.jsonl").write_bytes(before["ledger.jsonl"] + b"half a line")
    done = three.golden("recover")
    assert done.code == 2
    assert done.error[-2:] == snapshot(name="recover")
    assert everything(three.store) == before | {"ledger.jsonl": before["ledger.jsonl"] + b"half a line"}


# recover


def cut(shell: Shell) -> None:
    path = shell.store / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def gone(shell: Shell) -> None:
    (shell.store / "ledger.jsonl").unlink()


def garbage(shell: Shell) -> None:
    with (shell.store / "ledger.jsonl").open("ab") as file:
        file.write(b'no line of a ledger\n{"half":')


DAMAGES = {"lines cut off": cut, "no ledger any more": gone, "garbage at its end": garbage}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_is_written_down_and_then_no_finding_any_more(
    three: Shell, snapshot: SnapshotAssertion, name: str
) -> None:
    DAMAGES[name](three)
    before = everything(three.here), everything(three.here.with_name("here-state"))
    dry = three.golden("recover", "--dry-run")
    assert dry.code == 0
    assert (everything(three.here), everything(three.here.with_name("here-state"))) == before
    assert dry.text == snapshot(name="dry run")
    done = three.golden("recover", "--reason", "INC-7", "--yes")
    assert done.code == 0
    assert done.text == snapshot(name="done")
    assert three.golden("verify").text == snapshot(name="verify")
    again = three.golden("recover", "--yes")
    assert again.code == 0
    assert "nothing to recover" in again.stdout
    # Nobody should keep an anchor of what is not set right yet.
    assert "golden-anchor/v1 " not in dry.stdout


def test_bytes_that_are_cut_off_are_kept(three: Shell) -> None:
    garbage(three)
    assert three.golden("recover", "--yes").code == 0
    (kept,) = (three.store / "quarantine").iterdir()
    assert kept.read_bytes() == b'no line of a ledger\n{"half":'


def test_nothing_forged_is_believed_because_it_was_written_down(leaked: Shell) -> None:
    assert leaked.golden("rotate", "--reason", "compromised", "--anchor", "@anchor.txt", "--yes").code == 4
    assert leaked.golden("recover", "--yes").code == 0
    done = leaked.golden("verify", "--json")
    assert (done.code, done.objects[-1]["ledger"]) == (3, "intact")
    assert done.objects[0]["run_id"] == "forged-1"
    assert done.objects[0]["verdict"] == "revoked-key"
    assert ledger(leaked)[-1]["lines"] == [{"first": 7, "last": 8}]


def test_lines_by_a_key_that_the_keyring_does_not_name_are_named_before_they_are_cut_off(
    three: Shell, snapshot: SnapshotAssertion
) -> None:
    lines = (three.store / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    scribe = runs.Scribe(HmacKey(runs.STRANGER), ledger(three)[0]["dir_id"])
    scribe.lines = lines
    scribe.opened(HmacKey(runs.STRANGER), "r-8").opened(HmacKey(runs.STRANGER), "r-9").write(three.store)
    assert three.golden("verify").code == 4
    (found, _) = three.golden("recover", "--dry-run", "--json").objects
    assert f"2 lines of these by key {HmacKey(runs.STRANGER).kid}, which the keyring does not name" in found["found"]
    done = three.golden("recover", "--yes")
    assert done.code == 0
    assert done.text == snapshot
    (kept,) = (three.store / "quarantine").iterdir()
    assert kept.read_bytes() == b"".join(scribe.lines[7:])
    assert three.golden("verify").code == 0


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_a_ledger_without_a_line_to_go_on_from_is_begun_anew(
    three: Shell, snapshot: SnapshotAssertion, damage: bytes
) -> None:
    path = three.store / "ledger.jsonl"
    path.write_bytes(damage + path.read_bytes() if damage else b"")
    assert three.golden("verify").code == 3
    done = three.golden("recover", "--yes")
    assert done.code == 0
    # How long the lines are depends on who wrote them.
    assert re.sub(r"\d+ bytes", "<n> bytes", done.text) == snapshot
    assert three.golden("verify").code == 0


def test_recover_in_json(three: Shell) -> None:
    garbage(three)
    row, summary = three.golden("recover", "--reason", "INC-7", "--yes", "--json").objects
    assert list(row) == ["schema", "found", "reason", "dry_run"]
    assert (row["schema"], row["reason"], len(row["found"])) == ("golden.recover/1", "INC-7", 1)
    assert (summary["command"], summary["anchor"]) == ("recover", three.anchor())


def test_a_good_ledger_has_nothing_to_recover(three: Shell) -> None:
    before = everything(three.store)
    done = three.golden("recover", "--yes")
    assert (done.code, "nothing to recover in .golden" in done.stdout) == (0, True)
    assert everything(three.store) == before


def test_a_ledger_that_no_key_at_hand_vouches_for_is_not_touched(three: Shell, snapshot: SnapshotAssertion) -> None:
    env: dict[str, str | None] = {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "s" * 40}
    garbage(three)
    before = everything(three.store)
    assert three.golden("recover", "--yes", env=env).refused(4) == snapshot
    assert everything(three.store) == before


# ledger init


@pytest.fixture
def unlisted(three: Shell) -> Shell:
    """Three runs and no ledger that anybody remembers; the first is tampered with."""
    gone(three)
    three.environ["GOLDEN_STATE_DIR"] = str(three.here.with_name("other-state"))
    path = three.store / "r-1.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"7", b"8", 1))
    return three


def test_a_ledger_begins_with_what_verifies(unlisted: Shell, snapshot: SnapshotAssertion) -> None:
    before = everything(unlisted.store)
    dry = unlisted.golden("ledger", "init", "--dry-run")
    assert dry.code == 3
    assert dry.text == snapshot(name="dry run")
    assert everything(unlisted.store) == before
    done = unlisted.golden("ledger", "init")
    assert done.code == 3
    assert done.text == snapshot(name="done")
    assert [(line["op"], line.get("run_id")) for line in ledger(unlisted)] == [
        ("create", None),
        ("seal", "r-2"),
        ("seal", "r-3"),
    ]
    # What was left out stays a finding until somebody deals with it.
    assert unlisted.golden("verify").code == 3
    assert unlisted.golden("quarantine", "r-1", "--yes").code == 0
    assert unlisted.golden("verify").code == 0


def test_ledger_init_in_json(unlisted: Shell) -> None:
    *rows, summary = unlisted.golden("ledger", "init", "--json").objects
    for row in rows:
        assert list(row) == ["schema", "run_id", "verdict", "listed", "problem", "dry_run"]
        assert row["schema"] == "golden.ledger/1"
    assert [(row["run_id"], row["verdict"], row["listed"]) for row in rows] == [
        ("r-1", "tampered", False),
        ("r-2", "intact", True),
        ("r-3", "intact", True),
    ]
    assert (summary["by"], summary["exit_code"]) == ({"left out": 1, "listed": 2}, 3)


def test_there_is_one_ledger(three: Shell, snapshot: SnapshotAssertion) -> None:
    assert three.golden("ledger", "init").refused() == snapshot(name="it is there")
    gone(three)
    # This host has seen one: that it is gone is for somebody to say.
    done = three.golden("ledger", "init")
    assert done.refused(3) == snapshot(name="it was there")


def test_an_empty_directory_can_be_given_a_ledger(shop: Shell) -> None:
    shop.store.mkdir()
    assert shop.golden("ledger", "init").code == 0
    shop.record("r-1", "--inputs", "@prices.json")
    assert shop.golden("verify").code == 0
