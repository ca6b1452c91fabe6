"""Places of checkpoints for the tests: the four stores, opened as often as one likes, and edited behind their backs."""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import asdict, replace

from golden.canonical import canonical_bytes, output_hash
from golden.clock import timestamp
from replay.checkpoints.contract import Checkpoint, CheckpointStore, StepOutput
from replay.checkpoints.file import FileCheckpointStore
from replay.checkpoints.memory import MemoryCheckpointStore
from replay.checkpoints.postgres import PostgresCheckpointStore
from replay.checkpoints.sqlite import SqliteCheckpointStore

SERVER = "postgresql://postgres@127.0.0.1:5432/test"
STARTED = "2025-06-01T10:00:00.000000Z"
PAST = "2020-01-01T00:00:00.000000Z"


class Place:
    """A place of checkpoints; what stands there can be changed as no store would."""

    kind = ""

    def __init__(self) -> None:
        self.opened: list[CheckpointStore] = []

    def store(self) -> CheckpointStore:
        """Return a store of this place, another one each time."""
        self.opened.append(self.new())
        return self.opened[-1]

    def new(self) -> CheckpointStore:
        """Return a store of this place that the caller closes."""
        raise NotImplementedError

    def edit(self, run_id: str, /, **changes: Any) -> None:
        """Change members of a stored checkpoint, its hash excepted."""
        raise NotImplementedError

    def edit_output(self, run_id: str, step_index: int, /, **changes: Any) -> None:
        """Change a stored output."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every store."""
        for store in self.opened:
            store.close()


class InMemory(Place):
    """There is one store, and nobody behind its back but us."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self._store = MemoryCheckpointStore()

    def new(self) -> CheckpointStore:
        return self._store

    def edit(self, run_id: str, /, **changes: Any) -> None:
        checkpoint, outputs = self._store._runs[run_id]
        self._store._runs[run_id] = replace(checkpoint, **changes), outputs


class InFiles(Place):
    """A folder."""

    kind = "file"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def new(self) -> CheckpointStore:
        return FileCheckpointStore(self.folder, durable=False)

    def edit(self, run_id: str, /, **changes: Any) -> None:
        path = self.folder / f"{run_id}.checkpoint.json"
        document = json.loads(path.read_text())
        document["checkpoint"] |= changes
        path.write_text(json.dumps(document))

    def edit_output(self, run_id: str, step_index: int, /, **changes: Any) -> None:
        path = self.folder / f"{run_id}.outputs.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [{**line, **changes} if line["step_index"] == step_index else line for line in lines]
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


class InSqlite(Place):
    """A database in a file."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def new(self) -> CheckpointStore:
        return SqliteCheckpointStore(self.path)

    def execute(self, statement: str, values: Any = ()) -> list[Any]:
        """Run a statement as an operator would."""
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def edit(self, run_id: str, /, **changes: Any) -> None:
        self.execute(*_update("workflow_checkpoints", changes, {"run_id": run_id}, "?"))

    def edit_output(self, run_id: str, step_index: int, /, **changes: Any) -> None:
        chosen = {"run_id": run_id, "step_index": step_index}
        self.execute(*_update("workflow_step_outputs", changes, chosen, "?"))


class InPostgres(Place):
    """A schema of its own in the tests' database."""

    kind = "postgres"

    def __init__(self, schema: str, server: str = SERVER) -> None:
        super().__init__()
        self.schema = schema
        self.url = f"{server}?options=-csearch_path%3D{schema}"

    def new(self) -> CheckpointStore:
        return PostgresCheckpointStore(self.url)

    def execute(self, statement: str, values: Any = ()) -> list[Any]:
        """Run a statement as an operator would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def edit(self, run_id: str, /, **changes: Any) -> None:
        self.execute(*_update("workflow_checkpoints", changes, {"run_id": run_id}, "%s"))

    def edit_output(self, run_id: str, step_index: int, /, **changes: Any) -> None:
        chosen = {"run_id": run_id, "step_index": step_index}
        self.execute(*_update("workflow_step_outputs", changes, chosen, "%s"))


def _update(table: str, changes: Mapping[str, Any], chosen: Mapping[str, Any], mark: str) -> tuple[str, list[Any]]:
    put = ", ".join(f"{name} = {mark}" for name in changes)
    where = " AND ".join(f"{name} = {mark}" for name in chosen)
    return f"UPDATE {table} SET {put} WHERE {where}", [*changes.values(), *chosen.values()]


@contextmanager
def schema() -> Iterator[str]:
    """Give the name of an empty schema in the tests' database; skips where no server listens, fails in CI."""
    name = f"golden_test_{secrets.token_hex(6)}"
    try:
        connection = psycopg.connect(SERVER, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"PostgreSQL must answer at {SERVER}: {error}")
        pytest.skip(f"no PostgreSQL answers at {SERVER}")
    with connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        try:
            yield name
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


KINDS = ("memory", "file", "sqlite", "postgres")


@contextmanager
def place(kind: str, folder: Path) -> Iterator[Place]:
    """Give an empty place of a kind; in a folder where it needs one."""
    with ExitStack() as stack:
        found: Place
        if kind == "memory":
            found = InMemory()
        elif kind == "file":
            found = InFiles(folder / "kept")
        elif kind == "sqlite":
            found = InSqlite(folder / "c.sqlite")
        else:
            found = InPostgres(stack.enter_context(schema()))
        stack.callback(found.close)
        yield found


def begin(run_id: str = "r-1", **members: Any) -> Checkpoint:
    """Return the first checkpoint of a run."""
    given = {
        "workflow_id": "flow",
        "spec_hash": "a" * 64,
        "seed": 7,
        "golden_path": "golden/r-1.steps.jsonl",
        "file_id": "f" * 32,
        "events": 1,
        "started_at": STARTED,
        **members,
    }
    return Checkpoint(run_id=run_id, **given)


def output(index: int, value: Any = None, **members: Any) -> StepOutput:
    """Return the output of a step that succeeded."""
    given = {"step_index": index, "step_id": f"step-{index}", **members}
    return StepOutput(**{"output": canonical_bytes(value), "output_hash": output_hash(value), **given})


def failed(index: int) -> StepOutput:
    """Return what a failed step leaves."""
    return output(index, output=None, output_hash=None)


def step(store: CheckpointStore, held: Checkpoint, value: Any = None, **members: Any) -> Checkpoint:
    """Save that one more step has succeeded."""
    index = held.next_step_index
    done = output(index, value)
    changes = {"next_step_index": index + 1, "events": held.events + 1, "last_result_hash": done.output_hash, **members}
    return store.save(replace(held, **changes), [done])


def ended(store: CheckpointStore, run_id: str, status: str = "completed", **members: Any) -> Checkpoint:
    """Store a run of one step that has ended."""
    held = step(store, store.create(begin(run_id, **members)), run_id)
    return store.save(replace(held, status=status, ended_at=timestamp()))


def said(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a caller says in a checkpoint."""
    members = asdict(checkpoint)
    filled = ("version", "created_at", "updated_at", "lease_until", "outputs_hash", "content_hash")
    return {name: value for name, value in members.items() if name not in filled}
