"""Checkpoints in SQLite: one file that many may use, which says in two sentences why it cannot be used."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from golden.errors import StoreError
from replay.checkpoints import sqlite
from replay.checkpoints.contract import Checkpoint
from replay.checkpoints.sqlite import SqliteCheckpointStore
from tests.checkpoint_places import InSqlite, begin, ended, step
from tests.runs import ROOT

Attempt = Callable[[], object]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[InSqlite]:
    """A database that is not there yet, in a folder that is not there yet."""
    found = InSqlite(tmp_path / "a" / "c.sqlite")
    yield found
    found.close()


@pytest.fixture
def store(here: InSqlite) -> SqliteCheckpointStore:
    """A store there."""
    store = here.store()
    assert isinstance(store, SqliteCheckpointStore)
    return store


@pytest.fixture
def held(store: SqliteCheckpointStore) -> Checkpoint:
    """A run of one step in it."""
    return step(store, store.create(begin()), "one")


def refused(attempt: Attempt, why: str) -> StoreError:
    """Return the refusal of an attempt, which says why and what to do."""
    with pytest.raises(StoreError, match=why) as caught:
        attempt()
    assert caught.value.hint
    return caught.value


def test_others_cannot_read_it_nor_its_journals(here: InSqlite, held: Checkpoint) -> None:
    folder = here.path.parent
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "c.sqlite": 0o640,
        "c.sqlite-wal": 0o640,
        "c.sqlite-shm": 0o640,
    }
    assert folder.stat().st_mode & 0o777 == 0o750


def test_a_strict_umask_stays_strict(here: InSqlite, store: SqliteCheckpointStore) -> None:
    before = os.umask(0o077)
    try:
        store.create(begin())
    finally:
        os.umask(before)
    assert here.path.stat().st_mode & 0o777 == 0o600


def test_readers_do_not_wait_for_a_writer(here: InSqlite, store: SqliteCheckpointStore, held: Checkpoint) -> None:
    assert here.execute("PRAGMA journal_mode") == [("wal",)]
    writer = sqlite3.connect(here.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert store.load("r-1") == held
    writer.close()


def test_a_database_that_others_hold_is_waited_for_and_then_refused(
    here: InSqlite, held: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    store = here.store()
    writer = sqlite3.connect(here.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    refused(lambda: step(store, held), "c.sqlite is locked")
    writer.execute("ROLLBACK")
    writer.close()
    step(store, held)


def test_a_full_disk_is_said_and_what_was_saved_stays(store: SqliteCheckpointStore, held: Checkpoint) -> None:
    connection = store._opened.connection
    assert connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    refused(lambda: step(store, held, "x" * 100_000), "cannot grow: the disk is full")
    assert store.load("r-1") == held
    connection.execute("PRAGMA max_page_count = 1000000")
    step(store, held, "x" * 100_000)


def test_a_newer_schema_is_refused_and_stays(here: InSqlite, store: SqliteCheckpointStore, held: Checkpoint) -> None:
    store.close()
    here.execute("INSERT INTO workflow_checkpoint_schema (version) VALUES (7)")
    attempts: list[Attempt] = [lambda: store.load("r-1"), lambda: step(store, held), store.overview, store.ping]
    for attempt in attempts:
        refused(attempt, "are of schema 7, this version knows 1")
    here.execute("DELETE FROM workflow_checkpoint_schema WHERE version = 7")
    assert store.load("r-1") == held


def test_a_table_of_somebody_else_is_not_touched(here: InSqlite, store: SqliteCheckpointStore) -> None:
    here.path.parent.mkdir()
    here.execute("CREATE TABLE workflow_checkpoints (run_id TEXT, mine INTEGER)")
    here.execute("INSERT INTO workflow_checkpoints VALUES ('r-1', 42)")
    attempts: list[Attempt] = [lambda: store.create(begin()), lambda: store.load("r-1"), store.overview]
    for attempt in attempts:
        refused(attempt, "has a table workflow_checkpoints that is not ours")
    assert here.execute("SELECT * FROM workflow_checkpoints") == [("r-1", 42)]
    assert here.execute("SELECT count(*) FROM sqlite_master") == [(1,)]


def test_other_tables_live_beside_ours(here: InSqlite, store: SqliteCheckpointStore) -> None:
    here.path.parent.mkdir()
    here.execute("CREATE TABLE theirs (n INTEGER)")
    here.path.chmod(0o604)
    assert store.load("r-1") is None
    step(store, store.create(begin()))
    assert here.execute("SELECT count(*) FROM theirs") == [(0,)]
    assert here.path.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize(
    "data, why",
    [
        (b"no database at all, but long enough to be one" * 100, "is not a database"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "is not a database|is damaged"),
    ],
    ids=["text", "a header alone"],
)
def test_what_is_no_database_is_refused_and_stays(
    here: InSqlite, store: SqliteCheckpointStore, data: bytes, why: str
) -> None:
    here.path.parent.mkdir()
    here.path.write_bytes(data)
    for attempt in (lambda: store.create(begin()), store.overview):
        refused(attempt, why)
    assert here.path.read_bytes() == data


def test_a_damaged_database_is_refused(here: InSqlite, store: SqliteCheckpointStore, held: Checkpoint) -> None:
    for _ in range(50):
        held = step(store, held, "x" * 500)
    store.close()
    here.path.write_bytes(here.path.read_bytes()[:4096] + b"\xff" * 4096)
    refused(lambda: store.load("r-1"), "is damaged")


@pytest.mark.parametrize("what", ["directory", "link", "fifo"])
def test_what_is_no_file_is_refused_and_nobody_waits(here: InSqlite, store: SqliteCheckpointStore, what: str) -> None:
    here.path.parent.mkdir()
    if what == "directory":
        here.path.mkdir()
    elif what == "link":
        here.path.symlink_to("elsewhere.sqlite")
    else:
        os.mkfifo(here.path)
    attempts: list[Attempt] = [lambda: store.create(begin()), lambda: store.load("r-1"), store.overview, store.ping]
    for attempt in attempts:
        refused(attempt, "is not a regular file")
    assert len(list(here.path.parent.iterdir())) == 1


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteCheckpointStore(tmp_path / "file" / "c.sqlite")
    refused(lambda: store.create(begin()), "Not a directory")


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_saves_do_not_vanish_into_a_file_that_was_taken_away(
    here: InSqlite, store: SqliteCheckpointStore, held: Checkpoint, how: str
) -> None:
    here.path.rename(here.path.with_name("away"))
    if how == "replaced":
        here.path.write_bytes(b"")
    refused(lambda: step(store, held), "was removed or replaced while it was in use")


def test_two_stores_of_one_process_do_not_lose_each_others_locks(here: InSqlite) -> None:
    one, two = here.store(), here.store()
    held = one.create(begin())
    for number in range(20):
        writer, reader = (one, two) if number % 2 else (two, one)
        held = step(writer, held, number)
        assert reader.load("r-1") == held
        reader.close()


def test_a_row_deleted_by_hand_leaves_no_outputs_to_its_successor(
    here: InSqlite, store: SqliteCheckpointStore, held: Checkpoint
) -> None:
    here.execute("DELETE FROM workflow_checkpoints")
    step(store, store.create(begin()), "two")
    assert [o.output for o in store.outputs("r-1")] == [b'"two"']


def test_a_forked_child_leaves_its_parents_connection_alone(store: SqliteCheckpointStore, held: Checkpoint) -> None:
    parents = store._opened.connection
    child = os.fork()
    if not child:
        code = 1
        try:
            store.load("r-1")
            mine = store._opened.connection
            store.close()
            # Closed or dropped here, the parent's would take the parent's locks along.
            code = 0 if mine is not parents and parents and parents.total_changes else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store._opened.connection is parents
    step(store, held)


def test_pruning_makes_the_file_smaller(here: InSqlite, store: SqliteCheckpointStore) -> None:
    for run_id in ("a", "b"):
        held = ended(store, run_id)
        for _ in range(20):
            held = step(store, held, "x" * 10_000)
    store.close()
    size = here.path.stat().st_size
    store.prune("2199-01-01T00:00:00.000000Z", 1)
    store.close()
    assert here.path.stat().st_size < 0.7 * size


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_migrate_it_once(here: InSqlite) -> None:
    script = """
import sys
from replay.checkpoints.sqlite import SqliteCheckpointStore
from tests.checkpoint_places import begin, step
sys.stdin.read()
store = SqliteCheckpointStore(sys.argv[1])
held = store.create(begin(sys.argv[2]))
for n in range(5):
    held = step(store, held, n)
store.close()
"""
    for _ in range(4):
        here.close()
        for path in here.path.parent.glob("c.sqlite*"):
            path.unlink()
        children = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(here.path), f"r-{n}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(5)
        ]
        assert [child.communicate("go", timeout=60)[1] for child in children] == [""] * 5
        found = here.store().overview()
        assert {c.run_id: c.version for c in found.checkpoints} == {f"r-{n}": 6 for n in range(5)}
        assert here.execute("SELECT version FROM workflow_checkpoint_schema") == [(1,)]
