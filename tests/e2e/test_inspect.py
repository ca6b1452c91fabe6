"""`golden inspect`: one run from both sides, with either side missing, damaged or shut, and what to do next."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e import ops
from tests.e2e.conftest import open_shop
from tests.e2e.shell import ACTIVE_KID, Shell

pytestmark = pytest.mark.slow

RUNS = ("done", "failed", "dear", "killed")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden directory of a shop with four runs, recorded once; to be copied, not touched."""
    return ops.fill(open_shop(Shell(tmp_path_factory.mktemp("ops")))).store


@pytest.fixture
def busy(shop: Shell, filled: Path) -> Shell:
    """A shop with a run that completed, one that failed, one that was too dear, and one that was killed."""
    shutil.copytree(filled, shop.store)
    return ops.breakable(shop)


def inspected(shell: Shell, run: str, *argv: str, code: int = 0, env: dict[str, str | None] | None = None) -> Any:
    done = shell.golden("inspect", run, "--json", *argv, env=env)
    assert done.code == code, done
    (found,) = done.objects
    return found


def drop_files(shell: Shell, run_id: str) -> None:
    for path in shell.store.glob(f"{run_id}.steps.jsonl*"):
        path.unlink()


def drop_database(shell: Shell) -> None:
    for path in shell.store.glob("checkpoints.sqlite*"):
        path.unlink()


def without_ledger(shell: Shell) -> None:
    """Leave nothing that knows which runs there were."""
    (shell.store / "ledger.jsonl").unlink()
    shutil.rmtree(shell.environ["GOLDEN_STATE_DIR"], ignore_errors=True)


@pytest.mark.parametrize("run_id", RUNS)
def test_a_run_is_shown_from_both_sides(busy: Shell, snapshot: SnapshotAssertion, run_id: str) -> None:
    done = busy.golden("inspect", run_id)
    assert done.code == 0
    assert ops.steady(done) == snapshot


def test_a_machine_is_told_the_same(busy: Shell) -> None:
    found = inspected(busy, "failed")
    assert (found["status"], found["verdict"], found["kid"], found["next_step_index"]) == (
        "failed",
        "intact",
        ACTIVE_KID,
        2,
    )
    assert found["checkpoint"]["outputs"] == 3
    assert found["checkpoint"]["version"] == found["version"]
    assert [event["event_type"] for event in found["last_events"]][-2:] == ["step", "run_end"]
    assert not any("unverified" in event for event in found["last_events"])
    assert (found["differences"], found["missing"]) == ([], [])
    assert found["next"]["command"] == "golden resume failed"


def test_as_many_events_are_shown_as_asked_for(busy: Shell) -> None:
    assert len(inspected(busy, "done", "-n", "2")["last_events"]) == 2
    assert inspected(busy, "done", "-n", "0")["last_events"] == []
    assert len(inspected(busy, "done")["last_events"]) == 8


@pytest.mark.parametrize("spelling", [("--run", "done"), (".golden/done.steps.jsonl",), ("./.golden/done",)])
def test_a_run_is_found_by_any_of_its_names(busy: Shell, spelling: tuple[str, ...]) -> None:
    done = busy.golden("inspect", *spelling)
    assert done.code == 0
    assert "✓ done  completed" in done.stdout


# One half missing


@pytest.mark.parametrize("run_id", ["done", "killed"])
def test_without_a_database_the_golden_half_is_shown(busy: Shell, snapshot: SnapshotAssertion, run_id: str) -> None:
    drop_database(busy)
    done = busy.golden("inspect", run_id, "-n", "1")
    # Of a run that is sealed its file says everything.
    assert done.code == (0 if run_id == "done" else 4)
    assert ops.steady(done) == snapshot


def test_with_the_database_down_the_golden_half_is_shown(busy: Shell, snapshot: SnapshotAssertion) -> None:
    env: dict[str, str | None] = {"DATABASE_URL": "postgresql://golden:hunter2@127.0.0.1:1/golden"}
    done = busy.golden("inspect", "killed", "-n", "1", env=env)
    assert done.code == 4
    assert "hunter2" not in done.stdout + done.stderr
    assert ops.steady(done) == snapshot


def test_a_damaged_database_leaves_the_golden_half(busy: Shell) -> None:
    drop_database(busy)
    busy.write(".golden/checkpoints.sqlite", b"\x00\x01garbage" * 1000)
    found = inspected(busy, "done", code=4)
    assert (found["verdict"], found["checkpoint"]) == ("intact", None)
    assert "is not a database" in found["missing"][0]["problem"]


def test_a_damaged_checkpoint_leaves_the_golden_half(busy: Shell) -> None:
    ops.sql(busy.store / "checkpoints.sqlite", "UPDATE workflow_checkpoints SET next_step_index = 1")
    found = inspected(busy, "done", code=4)
    assert (found["verdict"], found["checkpoint"], len(found["missing"])) == ("intact", None, 1)


def test_edited_outputs_leave_the_golden_half(busy: Shell) -> None:
    ops.sql(busy.store / "checkpoints.sqlite", "UPDATE workflow_step_outputs SET output = '1' WHERE step_id = 'price'")
    assert inspected(busy, "done", code=4)["verdict"] == "intact"


def test_a_run_without_a_checkpoint_is_whole_all_the_same(busy: Shell, snapshot: SnapshotAssertion) -> None:
    ops.sql(busy.store / "checkpoints.sqlite", "DELETE FROM workflow_checkpoints WHERE run_id = 'done'")
    done = busy.golden("inspect", "done", "-n", "0")
    assert done.code == 0
    assert ops.steady(done) == snapshot


@pytest.mark.parametrize("run_id", RUNS)
def test_without_a_file_the_checkpoint_is_shown(shop: Shell, snapshot: SnapshotAssertion, run_id: str) -> None:
    ops.fill(shop)
    drop_files(shop, run_id)
    without_ledger(shop)
    done = shop.golden("inspect", run_id)
    assert done.code == 4
    assert ops.steady(done) == snapshot


def test_a_file_that_the_ledger_misses_is_one_for_verify(busy: Shell, snapshot: SnapshotAssertion) -> None:
    drop_files(busy, "done")
    done = busy.golden("inspect", "done")
    assert (done.code, busy.golden("verify").code) == (4, 3)
    assert ops.steady(done) == snapshot


def test_a_file_that_lies_elsewhere_is_found_by_its_checkpoint(shop: Shell) -> None:
    shop.record("r-1", "--inputs", "@prices.json", "--checkpoints", "file:kept")
    shop.store.rename(shop.here / "moved")
    (shop.here / ".golden").mkdir()
    found = inspected(shop, "r-1", "--checkpoints", "file:kept", code=4)
    assert found["next"]["command"] == "golden checkpoints show r-1"
    (shop.here / ".golden").rmdir()
    (shop.here / "moved").rename(shop.store)
    (shop.here / "other").mkdir()
    found = inspected(shop, "r-1", "--checkpoints", "file:kept", "--dir", "other", code=4)
    assert found["next"]["command"] == f"golden inspect {shop.store}/r-1.steps.jsonl".replace(str(shop.here), "<here>")


def test_of_a_run_that_nobody_knows_both_halves_are_missed(busy: Shell, snapshot: SnapshotAssertion) -> None:
    done = busy.golden("inspect", "nobody")
    assert (done.code, done.stdout) == (4, "")
    assert done.text == snapshot
    drop_database(busy)
    done = busy.golden("inspect", "nobody")
    assert (done.code, done.stdout) == (4, "")
    assert done.text == snapshot


# What the file is worth


def test_a_tampered_file_is_shown_and_not_gone_on_with(busy: Shell, snapshot: SnapshotAssertion) -> None:
    path = busy.store / "killed.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"apple", b"ample", 1))
    done = busy.golden("inspect", "killed")
    assert done.code == 3
    assert ops.steady(done) == snapshot
    assert "resume" not in done.stdout


def test_tampering_is_worse_than_a_database_that_is_down(busy: Shell) -> None:
    path = busy.store / "done.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"apple", b"ample"))
    drop_database(busy)
    found = inspected(busy, "done", code=3)
    assert (found["verdict"], found["checkpoint"]) == ("tampered", None)
    assert all(event["unverified"] for event in found["last_events"])


@pytest.mark.parametrize(
    "env",
    [
        {"GOLDEN_SECRET_FILE": None},
        {"GOLDEN_SECRET_FILE": "nowhere"},
        {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "short"},
        {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": runs.RETIRED.decode()},
        {"GOLDEN_KEYRING": "nowhere.toml"},
    ],
    ids=["none", "missing", "short", "another", "no keyring"],
)
def test_without_its_key_a_run_is_shown_unverified(busy: Shell, env: dict[str, str | None]) -> None:
    for run_id in ("done", "killed"):
        found = inspected(busy, run_id, code=4, env=env)
        assert found["verdict"] == "unknown-key"
        assert found["checkpoint"]["run_id"] == run_id
        assert all(event["unverified"] for event in found["last_events"])
        assert "what its file is worth" in found["next"]["why"]


def test_a_torn_line_is_no_reason_to_hide_the_rest(busy: Shell) -> None:
    with (busy.store / "killed.steps.jsonl").open("ab") as file:
        file.write(b'{"data":{"ind')
    found = inspected(busy, "killed")
    assert (found["verdict"], found["status"], found["dead"]) == ("torn", "running", True)
    assert found["next"]["command"] == "golden resume killed"


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"{}\n", b"\x00" * 100])
def test_a_file_that_says_nothing_leaves_its_checkpoint(busy: Shell, content: bytes) -> None:
    (busy.store / "killed.steps.jsonl").write_bytes(content)
    done = busy.golden("inspect", "killed", "--json")
    assert done.code in (3, 4)
    assert done.objects[0]["checkpoint"]["run_id"] == "killed"


# Where the halves do not fit


def test_a_checkpoint_ahead_of_its_file_is_told(busy: Shell, snapshot: SnapshotAssertion) -> None:
    path = busy.store / "killed.steps.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    done = busy.golden("inspect", "killed")
    assert done.code == 0
    assert ops.steady(done) == snapshot


def test_a_checkpoint_of_another_file_is_told(shop: Shell) -> None:
    ops.breakable(shop)
    shop.record("r-1", "--inputs", "@prices.json", "--checkpoints", "file:kept")
    shutil.rmtree(shop.store)
    shutil.rmtree(shop.environ["GOLDEN_STATE_DIR"])
    shop.record("r-1", "--inputs", "@prices.json", "--checkpoints", "memory:")
    found = inspected(shop, "r-1", "--checkpoints", "file:kept")
    assert found["differences"] == ["the checkpoint is of another golden file of that name"]


# What to do next


def command(shell: Shell, run: str, **env: str | None) -> str:
    return str(json.loads(shell.golden("inspect", run, "--json", env=env).stdout)["next"]["command"])


def test_every_way_a_run_may_stand_has_its_next_command(busy: Shell) -> None:
    assert command(busy, "done") == "golden replay done"
    assert command(busy, "failed") == "golden resume failed"
    assert command(busy, "dear") == "golden resume dear --workflow-ceiling CENTS"
    assert command(busy, "killed") == "golden resume killed"


def test_a_stopped_run_waits_for_the_engine(shop: Shell) -> None:
    ops.breakable(shop)
    shop.edit("skills.py", 'return {"cents"', 'Path(".golden/stop.json").write_text("{}")\n    return {"cents"')
    ops.recorded(shop, "stopped", 1)
    assert inspected(shop, "stopped")["status"] == "emergency_stopped"
    assert command(shop, "stopped") == "golden start"
    assert shop.golden("start").code == 0
    assert command(shop, "stopped", WORKFLOW_EMERGENCY_STOP="1") == "unset WORKFLOW_EMERGENCY_STOP"
    assert command(shop, "stopped") == "golden resume stopped"


def test_what_is_advised_works(busy: Shell) -> None:
    for run_id in ("failed", "killed"):
        argv = command(busy, run_id).split()[1:]
        done = busy.golden(*argv, "--accept-change", "code")
        assert done.code == 0, done
    assert command(busy, "failed") == "golden inspect failed.r1"
    assert command(busy, "killed") == "golden replay killed"
    assert busy.golden("replay", "killed").code == 0


def test_another_directory_is_named_in_what_is_advised(busy: Shell) -> None:
    busy.store.rename(busy.here / "my goldens")
    found = inspected(busy, "killed", "--dir", "my goldens")
    assert found["next"]["command"] == "golden resume killed --dir 'my goldens'"
    found = inspected(busy, "my goldens/killed", code=4)
    assert found["next"]["command"] == "golden resume killed --dir 'my goldens'"


def test_what_halves_say_shows_nothing_to_a_terminal(shop: Shell) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    shop.write(
        "order.json",
        {"id": "order", "steps": [{"id": "basket", "skill_id": "shop.basket", "inputs": {"prices": [1, evil]}}]},
    )
    shop.golden("record", "order.json", "--run-id", "r-1")
    for argv in (("inspect", "r-1"), ("inspect", "r-1", "--json"), ("inspect", evil), ("inspect", f"{evil}/x")):
        done = shop.golden(*argv)
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", done.stdout + done.stderr), argv


@pytest.mark.parametrize(
    "argv", [(), ("a", "b"), ("a", "--run", "b"), ("..",), ("a b",), ("done", "-n", "-1")], ids=" ".join
)
def test_misuse_is_refused(busy: Shell, argv: tuple[str, ...]) -> None:
    busy.golden("inspect", *argv).refused()
