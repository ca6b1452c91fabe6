"""`golden list` and `golden stats`: many runs at once, from checkpoints and golden files, whichever can be read."""

import json
import os
import shutil
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e import ops
from tests.e2e.conftest import open_shop
from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow

CONTRACT = (
    "run_id workflow_id tenant_id next_step_index last_result_hash status version created_at updated_at started_at"
    " ended_at"
)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden directory of a shop with four runs, recorded once; to be copied, not touched."""
    return ops.fill(open_shop(Shell(tmp_path_factory.mktemp("ops")))).store


@pytest.fixture
def busy(shop: Shell, filled: Path) -> Shell:
    """A shop with a run that completed, one that failed, one that was too dear, and one that was killed."""
    shutil.copytree(filled, shop.store)
    return ops.breakable(shop)


def names(shell: Shell, *argv: str, code: int = 0) -> list[str]:
    done = shell.golden("list", "--json", *argv)
    assert done.code == code, done
    return [row["run_id"] for row in done.objects[:-1]]


def without_database(shell: Shell) -> None:
    for path in shell.store.glob("checkpoints.sqlite*"):
        path.unlink()


# list


def test_runs_are_listed_newest_first(busy: Shell, snapshot: SnapshotAssertion) -> None:
    done = busy.golden("list")
    assert done.code == 0
    assert ops.steady(done) == snapshot
    assert names(busy) == ["killed", "dear", "failed", "done"]


def test_a_row_has_the_members_that_operators_know(busy: Shell) -> None:
    *rows, summary = busy.golden("list", "--json").objects
    assert all(list(row)[1:12] == CONTRACT.split() for row in rows)
    killed, dear, failed, done = rows
    assert [row["status"] for row in rows] == ["running", "budget_exceeded", "failed", "completed"]
    assert [row["next_step_index"] for row in rows] == [2, 2, 2, 4]
    assert {row["workflow_id"] for row in rows} == {"order"}
    assert (killed["ended_at"], killed["dead"], killed["writer"]) == (None, True, False)
    assert (failed["error_code"], dear["error_code"]) == ("EXECUTION_ERROR", "WORKFLOW_CEILING_EXCEEDED")
    assert done["started_at"] < done["ended_at"] < done["updated_at"]
    assert done["version"] == 6
    by = {"running": 1, "budget_exceeded": 1, "failed": 1, "completed": 1}
    assert (summary["checked"], summary["by"], summary["exit_code"]) == (4, by, 0)


@pytest.mark.parametrize("missing", ["the database", "the files"])
def test_either_half_is_enough_to_say_how_runs_stand(busy: Shell, snapshot: SnapshotAssertion, missing: str) -> None:
    whole = {row["run_id"]: row for row in busy.golden("list", "--json").objects[:-1]}
    if missing == "the database":
        without_database(busy)
    else:
        # Where they were recorded, and not here.
        for path in busy.store.glob("*.steps.jsonl*"):
            path.unlink()
    done = busy.golden("list", "--json")
    same = ("workflow_id", "next_step_index", "last_result_hash", "status", "started_at", "total_cost_cents", "seed")
    for row in done.objects[:-1]:
        assert {name: row[name] for name in same} == {name: whole[row["run_id"]][name] for name in same}
    assert len(done.objects) == 5
    assert done.code == (4 if missing == "the database" else 0)
    assert ops.steady(busy.golden("list")) == snapshot


def test_runs_are_chosen_by_status(busy: Shell) -> None:
    assert names(busy, "--status", "failed") == ["failed"]
    assert names(busy, "--status", "policy_violation") == []
    assert names(busy, "--limit", "2") == ["killed", "dear"]
    assert names(busy, "--limit", "0") == []
    assert busy.golden("list", "--limit", "1", "--json").objects[-1]["checked"] == 4


def test_a_silent_run_is_stale(busy: Shell) -> None:
    assert names(busy, "--stale", "0s") == ["killed"]
    assert names(busy, "--stale", "1h") == []
    assert names(busy, "--stale", "0s", "--status", "running") == ["killed"]
    assert "--stale is about running runs" in busy.golden("list", "--stale", "1h", "--status", "failed").refused()


def test_the_runbooks_spelling_lists_what_runs(busy: Shell) -> None:
    done = busy.golden("list-running", "--json")
    assert [row.get("run_id") for row in done.objects] == ["killed", None]
    assert busy.golden("list-running", "--status", "failed", "--json").objects[0]["run_id"] == "failed"


def test_a_run_that_is_being_written_is_not_dead(shop: Shell) -> None:
    shop.write(
        "skills.py",
        "import time\nfrom pathlib import Path\n\nfrom replay import SkillRegistry\n\nregistry = SkillRegistry()\n\n\n"
        "@registry.skill('wait')\ndef wait(ctx):\n    Path('there').touch()\n"
        "    while not Path('go').exists():\n        time.sleep(0.01)\n",
    )
    shop.write("wait.json", {"id": "wait", "steps": [{"id": "wait", "skill_id": "wait"}]})
    running = shop.start("record", "wait.json", "--run-id", "r-1")
    try:
        while not (shop.here / "there").exists():
            assert running.poll() is None
        (row,) = shop.golden("list", "--json").objects[:-1]
        assert (row["status"], row["writer"], row["dead"]) == ("running", True, False)
        assert "golden tail r-1 -f" in shop.golden("inspect", "r-1").stdout
    finally:
        (shop.here / "go").touch()
        running.communicate(timeout=60)
    assert running.returncode == 0
    assert shop.golden("list", "--json").objects[0]["status"] == "completed"


def test_a_run_that_ended_without_its_seal_is_told_apart(shop: Shell) -> None:
    shop.record("r-1", "--inputs", "@prices.json")
    # As if the power had gone between its last line and its seal.
    (shop.store / "r-1.steps.jsonl.sig").unlink()
    ledger = shop.store / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:2]))
    shutil.rmtree(shop.environ["GOLDEN_STATE_DIR"])
    assert "r-1  completed, not sealed" in shop.golden("list").stdout
    (found,) = shop.golden("status", "--json").objects
    assert (found["waiting"][0]["unsealed"], found["next"]["command"]) == (True, "golden recover r-1")
    assert shop.golden("recover", "r-1", "--yes").code == 0
    assert "r-1  completed  " in shop.golden("list").stdout


def test_the_golden_file_is_believed_where_the_checkpoint_says_otherwise(busy: Shell) -> None:
    ops.sql(busy.store / "checkpoints.sqlite", "DELETE FROM workflow_checkpoints WHERE run_id != 'done'")
    done = busy.golden("checkpoints", "set-status", "done", "failed", "--expect-version", "6", "--reason", "a mistake")
    assert done.code == 0, done
    rows = {row["run_id"]: row for row in busy.golden("list", "--json").objects[:-1]}
    assert (rows["done"]["status"], rows["done"]["checkpoint_status"], rows["done"]["version"]) == (
        "completed",
        "failed",
        7,
    )
    assert (rows["failed"]["version"], rows["failed"]["checkpoint_status"]) == (None, None)


def test_one_damaged_file_hides_no_other(busy: Shell, snapshot: SnapshotAssertion) -> None:
    busy.write(".golden/garbage.steps.jsonl", b"\x00\xff" * 100)
    busy.write(".golden/empty.steps.jsonl", "")
    busy.write(".golden/stranger.steps.jsonl", (busy.store / "done.steps.jsonl").read_bytes())
    Path(os.fsdecode(os.fsencode(busy.store) + b"/\xff.steps.jsonl")).write_text("no text either")
    (busy.store / "folder.steps.jsonl").mkdir()
    (busy.store / "link.steps.jsonl").symlink_to("done.steps.jsonl")
    (busy.store / "seal.steps.jsonl.sig").write_text("orphan")
    os.mkfifo(busy.store / "fifo.steps.jsonl")
    (busy.store / "dear.steps.jsonl.sig").write_text("{}\n")
    done = busy.golden("list")
    assert done.code == 4
    assert ops.steady(done) == snapshot
    *rows, summary = busy.golden("list", "--json").objects
    assert {row["run_id"] for row in rows} == {"killed", "dear", "failed", "done"}
    assert len(summary["missing"]) == 9


def test_of_many_damaged_files_only_some_are_told(shop: Shell) -> None:
    for number in range(30):
        shop.write(f".golden/bad-{number}.steps.jsonl", "garbage\n")
    done = shop.golden("list")
    assert done.code == 4
    assert "and 21 more of these" in done.stderr
    assert len(shop.golden("list", "--json").objects[-1]["missing"]) == 31


def test_one_damaged_checkpoint_hides_no_other(busy: Shell) -> None:
    ops.sql(busy.store / "checkpoints.sqlite", "UPDATE workflow_checkpoints SET seed = 8 WHERE run_id = 'done'")
    done = busy.golden("list")
    assert done.code == 4
    assert "run done" in done.stderr
    assert len(busy.golden("list", "--json").objects) == 5


def test_a_run_whose_file_is_gone_is_missed(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.record("r-1", "--inputs", "@prices.json")
    for path in shop.store.glob("r-1*"):
        path.unlink()
    done = shop.golden("list")
    assert done.code == 4
    assert ops.steady(done) == snapshot


def test_where_nothing_is_both_halves_are_missed(shell: Shell, snapshot: SnapshotAssertion) -> None:
    for name in ("list", "stats"):
        done = shell.golden(name)
        assert done.code == 4
        assert done.text == snapshot
    assert not shell.store.exists()


def test_a_project_may_keep_no_checkpoints(shop: Shell) -> None:
    shop.write("golden.toml", 'skills = ["skills.py"]\ncheckpoints = "memory:"\n')
    shop.record("r-1", "--inputs", "@prices.json")
    assert not list(shop.store.glob("checkpoints*"))
    assert shop.golden("list").code == 0


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("argv", [("list",), ("stats",), ("status",), ("inspect", "done")])
def test_no_checkpoints_are_missed_where_every_run_is_sealed_and_nobody_has_said_where_they_are(
    busy: Shell, argv: tuple[str, ...], chosen: bool
) -> None:
    # As in a checkout that has golden files alone.
    without_database(busy)
    for path in [*busy.store.glob("killed*"), *busy.store.glob("stop*")]:
        path.unlink()
    busy.golden("ledger", "init")
    env: dict[str, str | None] = {"GOLDEN_CHECKPOINTS": "sqlite:///.golden/checkpoints.sqlite"} if chosen else {}
    done = busy.golden(*argv, env=env)
    assert done.code == (4 if chosen else 0), done
    assert ("no checkpoints are kept" in done.stderr) is chosen
    assert not list(busy.store.glob("checkpoints*"))


@pytest.mark.parametrize(
    "address, said",
    [
        ("postgresql://golden:hunter2@127.0.0.1:1/golden", "postgresql://golden@127.0.0.1:1/golden does not answer"),
        ("mysql://golden:hunter2@127.0.0.1/golden", "GOLDEN_CHECKPOINTS is no address of checkpoints"),
        ("sqlite:///nowhere.sqlite", "no checkpoints are kept in nowhere.sqlite"),
        ("sqlite:///garbage", "is not a database"),
        ("file:garbage", "garbage"),
    ],
)
def test_a_database_that_cannot_be_read_leaves_the_files(busy: Shell, address: str, said: str) -> None:
    busy.write("garbage", b"\x01\x02" * 4000)
    for argv in (("list",), ("stats", "order"), ("inspect", "done"), ("status",)):
        done = busy.golden(*argv, env={"GOLDEN_CHECKPOINTS": address})
        assert done.code == 4, done
        assert said in done.stderr
        assert "hint: " in done.stderr
        assert "hunter2" not in done.stdout + done.stderr
        assert "completed" in done.stdout
    assert not (busy.here / "nowhere.sqlite").exists()


def test_checkpoints_elsewhere_are_named_by_flag(shop: Shell) -> None:
    done = shop.golden(
        "record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json", "--checkpoints", "file:kept"
    )
    assert done.code == 0, done
    (row, _) = shop.golden("list", "--json").objects
    assert row["version"] is None
    (row, _) = shop.golden("list", "--checkpoints", "file:kept", "--json").objects
    assert row["version"] == 6


def test_a_directory_that_may_not_be_read_is_missed(busy: Shell) -> None:
    busy.obey_modes()
    busy.store.chmod(0)
    try:
        for argv in (("list",), ("stats",), ("status",), ("inspect", "done"), ("checkpoints", "list")):
            done = busy.golden(*argv)
            assert done.code == 4, done
            assert "Permission denied" in done.stderr
    finally:
        busy.store.chmod(0o750)


# stats


def test_runs_are_counted_by_how_they_ended(busy: Shell, snapshot: SnapshotAssertion) -> None:
    done = busy.golden("stats", "order")
    assert done.code == 0
    assert ops.steady(done) == snapshot
    *rows, summary = busy.golden("stats", "order", "-n", "2", "--json").objects
    assert [row["run_id"] for row in rows] == ["killed", "dear"]
    assert summary["by"] == {"running": 1, "budget_exceeded": 1, "failed": 1, "completed": 1}
    assert all(row["duration_seconds"] >= 0 for row in rows)


def test_stats_need_no_database(busy: Shell) -> None:
    without_database(busy)
    done = busy.golden("stats", "order", "--json")
    assert done.code == 4
    assert done.objects[-1]["checked"] == 4
    assert [row["total_cost_cents"] for row in done.objects[:-1]] == [2, 2, 3, 3]


def test_a_spec_that_never_ran_has_no_stats(busy: Shell, snapshot: SnapshotAssertion) -> None:
    done = busy.golden("stats", "nope")
    assert done.code == 4
    assert done.text == snapshot


def test_what_files_say_shows_nothing_to_a_terminal(busy: Shell) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    path = busy.store / "done.steps.jsonl"
    first, *rest = path.read_text().splitlines()
    event = json.loads(first)
    event["data"]["spec_id"] = evil
    path.write_text("\n".join([json.dumps(event), *rest, ""]))
    busy.write(f".golden/{evil}.steps.jsonl", first + "\n")
    for argv in (("list",), ("list", "--json"), ("stats",), ("stats", evil), ("status",), ("inspect", "done")):
        done = busy.golden(*argv)
        assert not set(done.stdout + done.stderr) & set(evil[:1] + evil[-2:]), argv
