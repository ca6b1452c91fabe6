"""Server: connections to PostgreSQL that neither wait for ever nor give up when the server is away for a moment.

Knows nothing of checkpoints, and says in two sentences what went wrong.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from golden.errors import GoldenError, StoreError, UsageError

T = TypeVar("T")
CONNECT_SECONDS = 3
LOCK_SECONDS = 5
STATEMENT_SECONDS = 10
# Where the server, or the network, says nothing at all.
ANSWER_SECONDS = 15.0
# A server that restarts is back by then.
RETRY_SECONDS = 8.0
CONNECTIONS = 8
_DOWN = "start the server, or check the address; the golden files are the truth and need no database"
_REASONS: dict[type[psycopg.Error], tuple[str, str]] = {
    errors.InsufficientPrivilege: ("permits this user too little", "grant it CREATE on the schema"),
    errors.InvalidSchemaName: ("has no schema to keep checkpoints in", "create the schema of its search path"),
    errors.UndefinedTable: ("has lost its tables", "find out who dropped them; the golden files are the truth"),
    errors.DiskFull: ("cannot grow: the disk is full", "make room; what was saved before is good"),
    errors.ReadOnlySqlTransaction: ("can only be read", "use the primary server, not a standby"),
    errors.QueryCanceled: (f"took longer than {STATEMENT_SECONDS} seconds", "see what else the server is doing"),
    errors.LockNotAvailable: (f"kept a row locked for {LOCK_SECONDS} seconds", "see who holds it (pg_locks)"),
}
# Has no connection left; and what asks to be tried again.
_COMING_BACK = {"53300", "40001", "40P01"}

# They would write to the terminal of whoever has not set logging up; those who have still get every line.
for _name in ("psycopg.pool", "stamina"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that answers in time, or is closed."""

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """See `psycopg.Connection`."""
        return super().wait(self._in_time(gen), *args, **options)

    def _in_time(self, gen: PQGen[T]) -> PQGen[T]:
        # Whoever drives this wakes us several times a second, whether there is news or not.
        end = monotonic() + ANSWER_SECONDS
        try:
            ready = yield next(gen)
            while monotonic() < end:
                ready = yield gen.send(ready)
        except StopIteration as done:
            found: T = done.value
            return found
        self.pgconn.finish()
        raise errors.OperationalError(f"no answer for {ANSWER_SECONDS:.0f} seconds")


class _Opened:
    """One process's connections; others may not use them, not even to close them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = Lock()
        self.pool: ConnectionPool[Connection] | None = None


# Those of a parent process: a child that drops them would end the parent's sessions.
_inherited: list[_Opened] = []


class Server:
    """The PostgreSQL server at `url`, connected to when first asked, and anew in each forked process.

    `place` is its address without password.

    Raises:
        UsageError: that is no address of a database.
    """

    def __init__(self, url: str) -> None:
        given = _parsed(url)
        user, host, port, database = (str(given.get(name) or "") for name in ("user", "host", "port", "dbname"))
        self.place = f"postgresql://{user}{'@' if user else ''}{host or 'localhost'}:{port or 5432}/{database}"
        limits = f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s"
        self._options: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": int(1000 * ANSWER_SECONDS),
            "fallback_application_name": "golden",
            **given,
            "client_encoding": "utf8",
            "options": f"{limits} {given.get('options') or ''}",
            "autocommit": True,
        }
        self._opened = _Opened()

    def close(self) -> None:
        """Close what this process has open; the next use opens it anew."""
        opened = self._mine()
        with opened.lock:
            if opened.pool:
                opened.pool.close()
            opened.pool = None

    def tried(self, work: Callable[[Connection, bool], T]) -> T:
        """Return what `work` does with a connection, each of whose statements is a transaction of its own.

        Where the connection is lost, or the server asks for it, `work` is done again for some seconds; the second
        argument then is True, for nobody knows whether it was done before.

        Raises:
            StoreError: the server does not answer, or refuses.
            UsageError: it cannot take what it was given.
        """
        try:
            # Refused at once where nothing answers from the start.
            pool = self._pool()
            try:
                return _once(pool, work, again=False)
            except psycopg.Error as error:
                if not _is_transient(error):
                    raise
            # 100 ms to import, and rarely needed.
            from stamina import RetryingCaller

            caller = RetryingCaller(attempts=None, timeout=RETRY_SECONDS, wait_initial=0.05, wait_max=1, wait_jitter=0)
            return caller.on(_is_transient)(_once, pool, work, again=True)
        except psycopg.Error as error:
            raise self._refusal(error) from None

    def _pool(self) -> ConnectionPool[Connection]:
        opened = self._mine()
        with opened.lock:
            if opened.pool is None:
                Connection.connect(**self._options).close()
                opened.pool = ConnectionPool(
                    connection_class=Connection,
                    kwargs=self._options,
                    min_size=1,
                    max_size=CONNECTIONS,
                    timeout=CONNECT_SECONDS,
                    reconnect_timeout=RETRY_SECONDS,
                    num_workers=1,
                    open=True,
                )
            return opened.pool

    def _mine(self) -> _Opened:
        if self._opened.pid != os.getpid():
            _inherited.append(self._opened)
            self._opened = _Opened()
        return self._opened

    def _refusal(self, error: psycopg.Error) -> GoldenError:
        told = error.diag.message_primary or str(error)
        if isinstance(error, errors.DataError):
            return UsageError(f"{self.place} cannot store that: {told}", hint="correct what is to be stored")
        for kind, (what, hint) in _REASONS.items():
            if isinstance(error, kind):
                return StoreError(f"{self.place} {what}", hint=hint)
        if error.sqlstate and not _is_transient(error):
            return StoreError(f"{self.place} refuses: {told}", hint="see the server's log")
        return StoreError(f"{self.place} does not answer: {_reason(error)}", hint=_DOWN)


def _parsed(url: str) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(url)
        if "@" in f"{given.get('host')}{given.get('dbname')}" or not re.fullmatch(
            "[0-9,]*", f"{given.get('port', '')}"
        ):
            raise psycopg.ProgrammingError
    except psycopg.Error:
        # What is read as host or database may be the end of a password, and so may what the driver says of it.
        raise UsageError(
            "the address of the PostgreSQL database cannot be read",
            hint="write postgresql://USER@HOST:PORT/DATABASE, what is special in a password as %XX",
        ) from None
    return given


def _once(pool: ConnectionPool[Connection], work: Callable[[Connection, bool], T], *, again: bool) -> T:
    if again:
        # What ended one session has ended those that lie idle.
        pool.drain()
    with pool.connection() as connection:
        return work(connection, again)


def _is_transient(error: Exception) -> bool:
    """Whether the same may go well in a moment: the connection was lost, or the server is busy with itself."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    # Class 08: connection exceptions; 57P: the server shuts down, has crashed, is not up yet.
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P")) or error.sqlstate in _COMING_BACK


def _reason(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    told = next((line for line in lines if "failed: " in line), lines[0] if lines else type(error).__name__)
    return told.rpartition("failed: ")[2].rstrip(".")
