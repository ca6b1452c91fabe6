"""Halves: one row from a checkpoint and a golden file: which one is believed, and what each adds."""

from typing import Any

import pytest

from cli.glance import Glance
from cli.halves import Row, row_of
from replay.checkpoints.contract import Checkpoint

EARLY, LATE = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:00.000000Z"


def checkpoint(**members: Any) -> Checkpoint:
    usual: dict[str, Any] = {
        "run_id": "r-1",
        "workflow_id": "order",
        "tenant_id": "shop",
        "spec_hash": "0" * 64,
        "seed": 7,
        "golden_path": "/goldens/r-1.steps.jsonl",
        "file_id": "0" * 32,
        "next_step_index": 1,
        "events": 2,
        "started_at": EARLY,
        "created_at": EARLY,
        "updated_at": EARLY,
        "version": 3,
        "lease_owner": "host/1/0",
        "lease_until": LATE,
    }
    return Checkpoint(**{**usual, **members})


def of_file(**members: Any) -> Glance:
    usual: dict[str, Any] = {
        "run_id": "r-1",
        "path": "/goldens/r-1.steps.jsonl",
        "workflow_id": "order",
        "seed": 7,
        "started_at": EARLY,
        "updated_at": LATE,
        "events": 4,
        "next_step_index": 2,
    }
    return Glance(**{**usual, **members})


def test_what_the_file_says_goes_before_what_its_checkpoint_says() -> None:
    row = row_of(of_file(status="completed", sealed=True, ended_at=LATE), checkpoint())
    assert (row.status, row.checkpoint_status, row.next_step_index, row.events) == ("completed", "running", 2, 4)
    assert (row.version, row.tenant_id, row.lease_owner) == (3, "shop", "host/1/0")


@pytest.mark.parametrize("status", ["completed", "aborted", "failed"])
def test_a_checkpoint_ends_no_run_whose_file_has_no_end(status: str) -> None:
    row = row_of(of_file(), checkpoint(status=status, ended_at=LATE))
    assert (row.status, row.ended_at, row.checkpoint_status) == ("running", None, status)


def test_what_only_one_half_says_is_taken_from_it() -> None:
    alone = row_of(None, checkpoint(status="failed", ended_at=LATE))
    assert (alone.status, alone.ended_at, alone.path, alone.writer) == ("failed", LATE, None, None)
    alone = row_of(of_file(), None)
    assert (alone.version, alone.tenant_id, alone.checkpoint_status, alone.created_at) == (None, None, None, EARLY)


def test_whoever_was_heard_last_says_when_it_was_updated() -> None:
    assert row_of(of_file(updated_at=EARLY), checkpoint(updated_at=LATE)).updated_at == LATE
    assert row_of(of_file(updated_at=LATE), checkpoint(updated_at=EARLY)).updated_at == LATE


def test_only_a_running_run_here_is_dead_without_a_writer() -> None:
    assert row_of(of_file(), None).is_dead
    assert not row_of(None, checkpoint()).is_dead
    assert not row_of(of_file(status="failed"), None).is_dead
    assert not Row(run_id="r-1", status="running", writer=True).is_dead


@pytest.mark.parametrize(
    "members, seconds",
    [
        ({"started_at": EARLY, "ended_at": LATE}, 60.0),
        ({"started_at": EARLY, "updated_at": LATE}, 60.0),
        ({"started_at": LATE, "ended_at": EARLY}, None),
        ({"started_at": EARLY}, None),
        ({}, None),
    ],
)
def test_how_long_a_run_took_is_known_or_not(members: dict[str, Any], seconds: float | None) -> None:
    assert Row(run_id="r-1", **members).seconds == seconds
