"""`golden checkpoints`: what lies in a store of each kind, and what is changed or taken away there on purpose."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.checkpoint_places import InPostgres, schema
from tests.e2e import ops
from tests.e2e.conftest import open_shop
from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow

ADDRESSES = ("sqlite:///kept.sqlite", "file:kept")
NOWHERE = ("postgresql://golden:hunter2@127.0.0.1:1/golden", "sqlite:///nowhere", "file:nowhere", "mysql://u:hunter2@h")


@pytest.fixture(scope="session", params=ADDRESSES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An address, and a shop that keeps its checkpoints there, with four runs; to be copied, not touched."""
    shop = open_shop(Shell(tmp_path_factory.mktemp("ops")))
    shop.environ["GOLDEN_CHECKPOINTS"] = request.param
    return request.param, ops.fill(shop).here


@pytest.fixture
def busy(shell: Shell, filled: tuple[str, Path]) -> Shell:
    """A shop with four runs and their checkpoints, in each kind of store."""
    address, here = filled
    subprocess.run(["cp", "-a", f"{here}/.", shell.here], check=True)
    shell.environ |= {"GOLDEN_CHECKPOINTS": address, "GOLDEN_SECRET_FILE": "secret"}
    return shell


def told(shell: Shell, *argv: str, code: int = 0) -> list[dict[str, Any]]:
    done = shell.golden("checkpoints", *argv, "--json")
    assert done.code == code, done
    return done.objects


def names(shell: Shell, *argv: str) -> set[str]:
    return {row["run_id"] for row in told(shell, "list", *argv)[:-1]}


def steady(text: str) -> str:
    """Return an answer as one snapshot holds it for every store."""
    return re.sub(r"<here>/kept(\.sqlite)?", "<store>", ops.steadied(text))


# Looking


def test_checkpoints_are_listed(busy: Shell, snapshot: SnapshotAssertion) -> None:
    done = busy.golden("checkpoints", "list")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="list")
    *rows, summary = told(busy, "list")
    assert [row["run_id"] for row in rows] == ["killed", "dear", "failed", "done"]
    assert (summary["command"], summary["checked"], summary["exit_code"]) == ("checkpoints", 4, 0)


def test_checkpoints_are_chosen(busy: Shell) -> None:
    assert names(busy, "--status", "failed") == {"failed"}
    assert names(busy, "--spec", "order", "--limit", "2") == {"killed", "dear"}
    assert names(busy, "--spec", "nope") == set()


def test_one_is_shown_with_its_outputs(busy: Shell, snapshot: SnapshotAssertion) -> None:
    done = busy.golden("checkpoints", "show", "failed")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="show")


def test_outputs_are_shown_as_of_a_version(busy: Shell) -> None:
    def steps(*argv: str) -> list[str]:
        (found,) = told(busy, "show", "done", *argv)
        return [one["step_id"] for one in found["outputs"]]

    everything = ["basket", "price", "voucher", "receipt"]
    assert steps() == steps("--at", "latest") == everything
    assert [steps("--at", str(version)) for version in (1, 2, 3)] == [[], everything[:1], everything[:2]]
    (found,) = told(busy, "show", "done")
    assert found["outputs"][3]["output"] == json.loads('"8.06 EUR, voucher 644839"')
    assert busy.golden("checkpoints", "show", "done", "--at", "99").code == 4


@pytest.mark.parametrize("version", ["", "first", "-1", "1.5", "9" * 30])
def test_what_is_no_version_is_refused(busy: Shell, version: str) -> None:
    assert "is no version" in busy.golden("checkpoints", "show", "done", f"--at={version}").refused()


@pytest.mark.parametrize("address", NOWHERE)
def test_a_store_that_does_not_answer_is_said(busy: Shell, address: str) -> None:
    for argv in (
        ("list",),
        ("show", "done"),
        ("set-status", "done", "failed", "--expect-version", "1", "--reason", "x"),
        ("delete", "done", "--expect-version", "1", "--yes"),
        ("prune", "--older-than", "0s", "--keep", "1", "--yes"),
    ):
        done = busy.golden("checkpoints", *argv, env={"GOLDEN_CHECKPOINTS": address})
        assert done.code == (2 if address.startswith("mysql") else 4), done
        assert len(done.error) == 2
        assert "hunter2" not in done.stdout + done.stderr


# Changing


def test_a_status_is_set_once_it_is_known_what_it_was(busy: Shell, snapshot: SnapshotAssertion) -> None:
    argv = ("checkpoints", "set-status", "killed", "aborted", "--expect-version", "3", "--reason", "its host is gone")
    done = busy.golden(*argv, "--dry-run")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="dry run")
    assert names(busy, "--status", "running") == {"killed"}
    done = busy.golden(*argv)
    assert done.code == 0
    assert steady(done.text) == snapshot(name="set")
    (found,) = told(busy, "show", "killed")
    assert (found["status"], found["version"], found["lease_owner"]) == ("aborted", 4, None)
    done = busy.golden(*argv)
    assert done.code == 4
    assert steady(done.text) == snapshot(name="conflict")
    assert "CheckpointVersionConflictError: run killed expected version 3, actual 4" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("set-status", "done", "failed", "--reason", "x"),
        ("set-status", "done", "failed", "--expect-version", "6"),
        ("set-status", "done", "failed", "--expect-version", "6", "--reason", " "),
        ("set-status", "done", "paused", "--expect-version", "6", "--reason", "x"),
        ("set-status", "../done", "failed", "--expect-version", "6", "--reason", "x"),
        ("delete", "done", "--yes"),
        ("delete", "done", "--expect-version", "0", "--yes"),
        ("delete", "done", "--expect-version", "6"),
        ("prune", "--older-than", "0s", "--keep", "1"),
        ("prune", "--older-than", "0s", "--keep", "0", "--yes"),
        ("prune", "--older-than", "soon", "--keep", "1", "--yes"),
        ("prune", "--keep", "1", "--yes"),
        ("prune", "--older-than", "0s", "--yes"),
        ("show", "a b"),
        ("show",),
        ("frob",),
        ("list", "--status", "paused"),
    ],
    ids=" ".join,
)
def test_misuse_changes_nothing(busy: Shell, argv: tuple[str, ...]) -> None:
    before = told(busy, "list")
    busy.golden("checkpoints", *argv).refused()
    assert told(busy, "list") == before


def test_of_a_run_that_is_not_there_nothing_is_changed(busy: Shell) -> None:
    for argv in (
        ("show", "nobody"),
        ("set-status", "nobody", "failed", "--expect-version", "1", "--reason", "x"),
        ("delete", "nobody", "--expect-version", "1", "--yes"),
    ):
        done = busy.golden("checkpoints", *argv)
        assert (done.code, len(done.error)) == (4, 2), done


# Taking away


def test_one_is_deleted_and_its_golden_file_stays(busy: Shell, snapshot: SnapshotAssertion) -> None:
    argv = ("checkpoints", "delete", "done", "--expect-version", "6")
    done = busy.golden(*argv, "--dry-run")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="dry run")
    assert "done" in names(busy)
    done = busy.golden(*argv, "--yes")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="deleted")
    assert "done" not in names(busy)
    assert busy.golden("verify", "done").code == 0
    assert busy.golden(*argv, "--yes").code == 4


def test_one_that_has_changed_since_is_left(busy: Shell) -> None:
    for argv in (
        ("delete", "done", "--expect-version", "5", "--yes"),
        ("delete", "done", "--expect-version", "5", "--dry-run"),
        ("set-status", "done", "failed", "--expect-version", "5", "--reason", "x", "--dry-run"),
    ):
        done = busy.golden("checkpoints", *argv)
        assert done.code == 4
        assert "expected version 5, actual 6" in done.stderr
    assert "done" in names(busy, "--status", "completed")


def test_old_ones_are_pruned_and_running_ones_never(busy: Shell, snapshot: SnapshotAssertion) -> None:
    argv = ("checkpoints", "prune", "--older-than", "0s", "--keep", "1")
    done = busy.golden(*argv, "--dry-run", "-v")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="dry run")
    assert len(names(busy)) == 4
    done = busy.golden(*argv, "--yes")
    assert done.code == 0
    assert steady(done.text) == snapshot(name="pruned")
    assert names(busy) == {"killed", "dear"}
    (again,) = told(busy, *argv[1:], "--yes")
    assert (again["scanned"], again["removed"], again["remaining"], again["ratio"]) == (2, [], 2, 0.0)
    assert busy.golden("verify", "done", "failed", "dear").code == 0


def test_young_ones_are_not_pruned(busy: Shell) -> None:
    (found,) = told(busy, "prune", "--older-than", "1d", "--keep", "1")
    assert (found["scanned"], found["removed"]) == (4, [])
    assert len(names(busy)) == 4


def test_hostile_text_in_a_checkpoint_reaches_no_terminal(busy: Shell) -> None:
    evil = "\x1b]0;owned\x07"
    for path in busy.here.glob("kept/done.checkpoint.json"):
        path.write_text(path.read_text().replace('"order"', json.dumps(evil)))
    for path in busy.here.glob("kept.sqlite"):
        ops.sql(path, "UPDATE workflow_checkpoints SET workflow_id = ?, run_id = run_id || ?", evil, evil)
    for argv in (("list",), ("show", "done"), ("show", evil), ("list", "--spec", evil)):
        done = busy.golden("checkpoints", *argv)
        assert not re.search("[\x00-\x09\x0b-\x1f]", done.stdout + done.stderr), argv


@pytest.mark.slow
def test_on_a_server_everything_works_as_in_a_file(shop: Shell) -> None:
    with schema() as name:
        place = InPostgres(name)
        shop.environ["DATABASE_URL"] = place.url
        ops.fill(shop)
        assert [row["run_id"] for row in told(shop, "list")[:-1]] == ["killed", "dear", "failed", "done"]
        (found,) = told(shop, "show", "failed", "--at", "3")
        assert (found["version"], [one["step_id"] for one in found["outputs"]]) == (5, ["basket", "price"])
        for argv in (("list",), ("stats", "order"), ("status",), ("inspect", "killed")):
            assert shop.golden(*argv).code == 0, argv
        told(shop, "set-status", "killed", "aborted", "--expect-version", "3", "--reason", "x")
        assert "actual 4" in shop.golden("checkpoints", "delete", "killed", "--expect-version", "3", "--yes").stderr
        told(shop, "delete", "killed", "--expect-version", "4", "--yes")
        (pruned,) = told(shop, "prune", "--older-than", "0s", "--keep", "1", "--yes")
        assert (pruned["removed"], pruned["remaining"]) == (["done", "failed"], 1)
        # What nobody can believe is told, and hides nothing.
        place.edit("dear", next_step_index=0)
        done = shop.golden("list", "--json")
        assert (done.code, len(done.objects)) == (4, 5)
        assert shop.golden("inspect", "dear").code == 4
