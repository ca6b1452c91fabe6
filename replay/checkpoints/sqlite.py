"""SQLite: checkpoints in one file, the default; readers and one writer at a time, in any number of processes.

Knows SQLite alone. Reading makes no file, and changes none but one of an older schema.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from urllib.parse import quote

from golden.errors import StoreError
from golden.files import StrPath
from replay.checkpoints.base import BaseStore, Stamp, Wanted
from replay.checkpoints.contract import Checkpoint, Pruned, StepOutput
from replay.checkpoints.migrations import CHECKPOINTS, SCHEMA, pending
from replay.checkpoints.rows import COLUMNS, OUTPUT_COLUMNS, checkpoint_of, condition, outputs_of, values
from replay.checkpoints.state import verified

BUSY_SECONDS = 10.0
POLL_SECONDS = 0.01
_FIELDS = ", ".join(COLUMNS)
_FIND = f"SELECT {_FIELDS} FROM {CHECKPOINTS} WHERE run_id = ?"
_STAMP = f"SELECT version, content_hash FROM {CHECKPOINTS} WHERE run_id = ?"
_INSERT = f"INSERT INTO {CHECKPOINTS} ({_FIELDS}) VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT DO NOTHING"
_HELD = "WHERE run_id = ? AND version = ? AND content_hash = ?"
_UPDATE = f"UPDATE {CHECKPOINTS} SET {', '.join(f'{name} = ?' for name in COLUMNS[1:])} {_HELD}"
_DELETE = f"DELETE FROM {CHECKPOINTS} {_HELD}"
_APPEND = "INSERT INTO workflow_step_outputs VALUES (?, ?, ?, ?, ?, ?, ?)"
_OUTPUTS = f"SELECT {', '.join(OUTPUT_COLUMNS)} FROM workflow_step_outputs WHERE run_id = ? ORDER BY version, ordinal"
_APPLIED = "CAST(coalesce(max(version), 0) AS INTEGER)"
_DROP_OUTPUTS = "DELETE FROM workflow_step_outputs WHERE run_id = ?"
_SIZE = """SELECT coalesce(sum(length(output) + length(step_id) + length(output_hash)), 0)
    FROM workflow_step_outputs WHERE run_id = ?"""
_PERMISSIONS = "check its permissions and those of its directory"
_REASONS = {  # by primary result code: https://www.sqlite.org/rescode.html
    sqlite3.SQLITE_BUSY: ("is locked", "let the other process end, it has held it for 10 seconds"),
    sqlite3.SQLITE_LOCKED: ("is locked", "let the other process end"),
    sqlite3.SQLITE_READONLY: ("cannot be written", _PERMISSIONS),
    sqlite3.SQLITE_PERM: ("cannot be used", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input/output error", "check the disk"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "make room; what was saved before is good"),
    sqlite3.SQLITE_NOTADB: ("is not a database", "move it away; the golden files are the truth"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "move it away; the golden files are the truth"),
}


class _Opened:
    """One process's connection; others may not use it, not even to close it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = RLock()
        self.connection: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None

    def close(self) -> None:
        """Close it; the next use opens it anew."""
        if self.connection:
            self.connection.close()
        self.connection = None


# Those of a parent process: a child that drops them would close them, and take the parent's locks with them.
_inherited: list[_Opened] = []


class SqliteCheckpointStore(BaseStore):
    """Checkpoints in the SQLite file at `path`, made with mode 0640 by the first run that is saved there."""

    def __init__(self, path: StrPath) -> None:
        self._path = Path(path).absolute()
        self._opened = _Opened()

    @property
    def place(self) -> str:
        """See `CheckpointStore`."""
        return str(self._path)

    def is_beside(self, folder: str) -> bool:
        """See `CheckpointStore`."""
        return self._path.parent.resolve().is_relative_to(Path(folder).resolve())

    def ping(self) -> None:
        """See `CheckpointStore`."""
        with self._reading() as connection:
            if connection:
                connection.execute(f"SELECT count(*) FROM {SCHEMA}").fetchone()

    def close(self) -> None:
        """See `CheckpointStore`."""
        opened = self._mine()
        with opened.lock, self._refusing():
            opened.close()

    def _insert(self, new: Checkpoint) -> Checkpoint | None:
        with self._writing() as connection:
            if not connection.execute(_INSERT, values(new)).rowcount:
                return None
            # Left by whoever deleted the run by hand.
            connection.execute(_DROP_OUTPUTS, (new.run_id,))
        return new

    def _swap(self, held: Checkpoint, new: Checkpoint, outputs: list[StepOutput]) -> Checkpoint | None:
        with self._writing() as connection:
            row = [*values(new)[1:], held.run_id, *Stamp.of(held)]
            if not connection.execute(_UPDATE, row).rowcount:
                return None
            rows = (
                (new.run_id, o.version, n, o.step_index, o.step_id, o.output, o.output_hash)
                for n, o in enumerate(outputs)
            )
            connection.executemany(_APPEND, rows)
        return new

    def _remove(self, run_id: str, stamp: Stamp) -> bool:
        with self._writing() as connection:
            if not connection.execute(_DELETE, (run_id, *stamp)).rowcount:
                return False
            connection.execute(_DROP_OUTPUTS, (run_id,))
        return True

    def _stamp(self, run_id: str) -> Stamp | None:
        with self._reading() as connection:
            row = connection.execute(_STAMP, (run_id,)).fetchone() if connection else None
        return Stamp(*row) if row else None

    def _read(self, run_id: str) -> tuple[Checkpoint, list[StepOutput]] | None:
        with self._reading() as connection:
            row = connection.execute(_FIND, (run_id,)).fetchone() if connection else None
            if not connection or not row:
                return None
            rows = connection.execute(_OUTPUTS, (run_id,)).fetchall()
        found, outputs = checkpoint_of(row, self.place), outputs_of(rows, run_id, self.place)
        return verified(found, self.place, outputs), outputs

    def _newest(self, wanted: Wanted) -> Iterator[Checkpoint | StoreError]:
        chosen, given = condition(wanted, "?")
        with self._reading() as connection:
            query = f"SELECT {_FIELDS} FROM {CHECKPOINTS} {chosen}"
            rows = connection.execute(query, given).fetchall() if connection else []
        for row in rows:
            try:
                yield checkpoint_of(row, self.place)
            except StoreError as error:
                yield error

    def _size(self, checkpoint: Checkpoint) -> int:
        with self._reading() as connection:
            found = connection.execute(_SIZE, (checkpoint.run_id,)).fetchone() if connection else (0,)
        return int(found[0])

    def prune(self, before: str, keep: int, *, dry_run: bool = False) -> Pruned:
        """See `CheckpointStore`; the file gets smaller."""
        pruned = super().prune(before, keep, dry_run=dry_run)
        with self._in_use() as opened:
            if opened.connection and pruned.removed and not dry_run:
                # As a script: a single statement would be stepped once, and give back one page.
                opened.connection.executescript("PRAGMA incremental_vacuum")
        return pruned

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._in_use() as opened:
            connection = opened.connection or self._connect(opened)
            with _transaction(connection, "BEGIN IMMEDIATE"):
                yield connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Give a connection that sees one moment of the database; None where there is none yet."""
        with self._in_use() as opened:
            if not opened.connection and not self._identity():
                yield None
                return
            connection = opened.connection or self._connect(opened)
            with _transaction(connection, "BEGIN"):
                yield connection

    @contextmanager
    def _in_use(self) -> Iterator[_Opened]:
        opened = self._mine()
        with opened.lock, self._refusing():
            if opened.connection and opened.file != self._identity():
                opened.close()
                raise StoreError(
                    f"{self._path} was removed or replaced while it was in use",
                    hint="put it back, or resume from the golden files, which are the truth",
                )
            yield opened

    def _mine(self) -> _Opened:
        if self._opened.pid != os.getpid():
            _inherited.append(self._opened)
            self._opened = _Opened()
        return self._opened

    def _identity(self) -> tuple[int, int] | None:
        # Looked at, never opened: closing any descriptor of it would take away the locks of other connections.
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{self._path} is not a regular file", hint="put the file itself in its place")
        return found.st_dev, found.st_ino

    def _connect(self, opened: _Opened) -> sqlite3.Connection:
        there = self._identity()
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self._path))}?mode={'rw' if there else 'rwc'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if not there:
                # Its journals will be like it.
                self._path.chmod(stat.S_IMODE(self._path.stat().st_mode) & 0o640)
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA trusted_schema = OFF")
            _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
            connection.execute("PRAGMA synchronous = NORMAL")
            # Four times the default: writing the journal back is all that waits for the disk.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        opened.connection, opened.file = connection, self._identity()
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if not self._pending(connection):
            return
        with _transaction(connection, "BEGIN IMMEDIATE"):
            # Once more, now that nobody else is at it.
            for number, statements in self._pending(connection):
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"INSERT INTO {SCHEMA} (version) VALUES (?)", (number,))

    def _pending(self, connection: sqlite3.Connection) -> list[tuple[int, list[str]]]:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        (applied,) = connection.execute(f"SELECT {_APPLIED} FROM {SCHEMA}").fetchone() if SCHEMA in tables else (0,)
        return pending("sqlite", applied, self.place, occupied=CHECKPOINTS in tables)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # An extended code says more than anybody can act on; its lowest byte is the primary one.
            reason = _REASONS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            what, hint = reason or (f"cannot be used: {error}", "see the golden files, which are the truth")
            raise StoreError(f"{self._path} {what}", hint=hint) from error
        except UnicodeDecodeError as error:
            # Text of a damaged database, be it what the library says of it.
            what, hint = _REASONS[sqlite3.SQLITE_CORRUPT]
            raise StoreError(f"{self._path} {what}", hint=hint) from error
        except OSError as error:
            raise StoreError(f"{self._path} cannot be used: {error.strerror}", hint=_PERMISSIONS) from None


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors have ended it themselves.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _patiently(attempt: Callable[[], object]) -> None:
    """Try again while the database is busy: nobody waits for whoever else is changing its journal mode."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            attempt()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return
