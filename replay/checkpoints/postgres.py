"""PostgreSQL: checkpoints in a database that hosts share, leases by the server's clock.

Knows PostgreSQL alone. Reading makes no table; a save is one statement, there as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any, TypeVar

from msgspec.structs import replace

from golden.errors import StoreError
from replay.checkpoints.base import BaseStore, Stamp, Wanted
from replay.checkpoints.contract import LEASE_SECONDS, Checkpoint, StepOutput
from replay.checkpoints.migrations import CHECKPOINTS, SCHEMA, pending
from replay.checkpoints.rows import COLUMNS, OUTPUT_COLUMNS, checkpoint_of, condition, outputs_of, values
from replay.checkpoints.server import Connection, Server
from replay.checkpoints.state import verified

T = TypeVar("T")
_MIGRATING = int.from_bytes(b"stepseal")
_TIMES = {"created_at", "updated_at", "started_at", "ended_at", "lease_until"}


def _text(time: str) -> str:
    """Return the expression for a time in the form a checkpoint has it."""
    return f"""to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _shown(name: str) -> str:
    """Return the expression that reads a column."""
    return _text(name) if name in _TIMES else f"{name}::text" if name == "seed" else name


_CLOCK = {  # what the server's clock decides
    "updated_at": "greatest(%(updated_before)s::timestamptz, clock_timestamp())",
    "lease_until": f"CASE WHEN %(leased)s THEN clock_timestamp() + interval '{LEASE_SECONDS}s' END",
}
_GIVEN = {name: _CLOCK.get(name, f"%({name})s") for name in COLUMNS} | {"save_id": "%(save_id)s"}
_KEPT = f"{_shown('updated_at')}, {_shown('lease_until')}"
_SELECT = f"SELECT {', '.join(map(_shown, COLUMNS))} FROM {CHECKPOINTS}"
_FIND = f"{_SELECT} WHERE run_id = %s".encode()
_STAMP = f"SELECT version, content_hash FROM {CHECKPOINTS} WHERE run_id = %s".encode()
_INSERT = f"""
    INSERT INTO {CHECKPOINTS} ({", ".join(_GIVEN)}) VALUES ({", ".join(_GIVEN.values())})
    ON CONFLICT DO NOTHING RETURNING {_KEPT}
""".encode()
_UPDATE = f"""
    WITH kept AS (
        UPDATE {CHECKPOINTS} SET {", ".join(f"{name} = {given}" for name, given in _GIVEN.items() if name != "run_id")}
        WHERE run_id = %(run_id)s AND version = %(held_version)s AND content_hash = %(held_hash)s
        RETURNING updated_at, lease_until
    ), appended AS (
        INSERT INTO workflow_step_outputs (run_id, version, ordinal, step_index, step_id, output, output_hash)
        SELECT %(run_id)s, %(version)s, given.*
        FROM kept, unnest(%(ordinals)s::integer[], %(indexes)s::bigint[], %(ids)s::text[], %(outputs)s::bytea[],
                          %(hashes)s::text[]) AS given
    )
    SELECT {_KEPT} FROM kept
""".encode()
_SAVED = f"SELECT {_KEPT} FROM {CHECKPOINTS} WHERE run_id = %s AND save_id = %s".encode()
_DELETE = f"DELETE FROM {CHECKPOINTS} WHERE run_id = %s AND version = %s AND content_hash = %s".encode()
_OUTPUTS = f"""
    SELECT {", ".join(OUTPUT_COLUMNS)} FROM workflow_step_outputs WHERE run_id = %s ORDER BY version, ordinal
""".encode()
_SIZE = b"SELECT coalesce(sum(pg_column_size(o.*)), 0)::bigint FROM workflow_step_outputs AS o WHERE run_id = %s"
_NOW = f"SELECT {_text('clock_timestamp()')}".encode()
_TABLES = f"""
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = current_schema() AND relname IN ('{SCHEMA}', '{CHECKPOINTS}')
""".encode()
_VERSION = f"SELECT coalesce(max(version), 0) FROM {SCHEMA}".encode()
_APPLIED = f"INSERT INTO {SCHEMA} (version) VALUES (%s)".encode()


class PostgresCheckpointStore(BaseStore):
    """Checkpoints in the database at `url`, in the first schema of its search path.

    Raises:
        UsageError: that is no address of a database.
    """

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        self._migrated = False

    @property
    def place(self) -> str:
        """See `CheckpointStore`."""
        return self._server.place

    def is_beside(self, folder: str) -> bool:  # noqa: ARG002  whatever folder, it has a disk of its own
        """See `CheckpointStore`."""
        return False

    def ping(self) -> None:
        """See `CheckpointStore`."""
        self._reading(lambda connection: connection.execute("SELECT 1").fetchone())

    def close(self) -> None:
        """See `CheckpointStore`."""
        self._server.close()

    def _insert(self, new: Checkpoint) -> Checkpoint | None:
        row = {**self._row(new), "updated_before": new.created_at}
        return self._writing(lambda connection, again: self._kept(connection, _INSERT, row, new, again=again))

    def _swap(self, held: Checkpoint, new: Checkpoint, outputs: list[StepOutput]) -> Checkpoint | None:
        row = {
            **self._row(new),
            "updated_before": held.updated_at,
            "held_version": held.version,
            "held_hash": held.content_hash,
            "ordinals": list(range(len(outputs))),
            "indexes": [output.step_index for output in outputs],
            "ids": [output.step_id for output in outputs],
            "outputs": [output.output for output in outputs],
            "hashes": [output.output_hash for output in outputs],
        }
        return self._writing(lambda connection, again: self._kept(connection, _UPDATE, row, new, again=again))

    def _row(self, new: Checkpoint) -> dict[str, Any]:
        return {
            **dict(zip(COLUMNS, values(new), strict=True)),
            "save_id": token_hex(16),
            "leased": bool(new.lease_owner),
        }

    def _kept(
        self, connection: Connection, statement: bytes, row: dict[str, Any], new: Checkpoint, *, again: bool
    ) -> Checkpoint | None:
        found = connection.execute(statement, row).fetchone()
        if found is None and again:
            # The answer to an earlier attempt was lost: what is in our way may be what it stored.
            found = connection.execute(_SAVED, (new.run_id, row["save_id"])).fetchone()
        return replace(new, updated_at=found[0], lease_until=found[1]) if found else None

    def _remove(self, run_id: str, stamp: Stamp) -> bool:
        def remove(connection: Connection, again: bool) -> bool:  # noqa: FBT001
            # The outputs go with it.
            removed = connection.execute(_DELETE, (run_id, *stamp)).rowcount
            return bool(removed) or (again and connection.execute(_STAMP, (run_id,)).fetchone() is None)

        return self._writing(remove)

    def _stamp(self, run_id: str) -> Stamp | None:
        row = self._reading(lambda connection: connection.execute(_STAMP, (run_id,)).fetchone())
        return Stamp(*row) if row else None

    def _read(self, run_id: str) -> tuple[Checkpoint, list[StepOutput]] | None:
        def both(connection: Connection) -> tuple[tuple[Any, ...] | None, list[tuple[Any, ...]]]:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                row = connection.execute(_FIND, (run_id,)).fetchone()
                return row, connection.execute(_OUTPUTS, (run_id,)).fetchall()

        row, rows = self._reading(both) or (None, [])
        if row is None:
            return None
        outputs = outputs_of(rows, run_id, self.place)
        return verified(checkpoint_of(row, self.place), self.place, outputs), outputs

    def _newest(self, wanted: Wanted) -> Iterator[Checkpoint | StoreError]:
        chosen, given = condition(wanted, "%s")
        query = f"{_SELECT} {chosen}".encode()
        for row in self._reading(lambda connection: connection.execute(query, given).fetchall()) or ():
            try:
                yield checkpoint_of(row, self.place)
            except StoreError as error:
                yield error

    def _size(self, checkpoint: Checkpoint) -> int:
        found = self._reading(lambda connection: connection.execute(_SIZE, (checkpoint.run_id,)).fetchone())
        return int(found[0]) if found else 0

    def _now(self) -> str:
        found = self._reading(lambda connection: connection.execute(_NOW).fetchone())
        return found[0] if found else super()._now()

    def _reading(self, read: Callable[[Connection], T]) -> T | None:
        """Return what `read` does, None where there are no tables yet."""
        return self._server.tried(lambda c, _: read(c) if self._is_migrated(c, make=False) else None)

    def _writing(self, write: Callable[[Connection, bool], T]) -> T:
        def work(connection: Connection, again: bool) -> T:  # noqa: FBT001
            self._is_migrated(connection, make=True)
            return write(connection, again)

        return self._server.tried(work)

    def _is_migrated(self, connection: Connection, *, make: bool) -> bool:
        """Whether the tables are as this version writes them; makes them so, but those that are missing for `make`."""
        if self._migrated:
            return True
        todo = self._pending(connection)
        if todo and todo[0][0] == 1 and not make:
            return False
        if todo:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
                # Once more, now that nobody else is at it.
                for number, statements in self._pending(connection):
                    for statement in statements:
                        connection.execute(statement.encode())
                    connection.execute(_APPLIED, (number,))
        self._migrated = True
        return True

    def _pending(self, connection: Connection) -> list[tuple[int, list[str]]]:
        schema = connection.execute("SELECT current_schema()").fetchone()
        if schema is None or schema[0] is None:
            raise StoreError(
                f"{self.place} has no schema to keep checkpoints in", hint="create the schema of its search path"
            )
        tables = {name for (name,) in connection.execute(_TABLES)}
        applied = connection.execute(_VERSION).fetchone() if SCHEMA in tables else None
        return pending("postgres", applied[0] if applied else 0, self.place, occupied=CHECKPOINTS in tables)
