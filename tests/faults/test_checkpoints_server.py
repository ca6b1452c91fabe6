"""A PostgreSQL server goes away, comes back, loses its answers or has none: nothing is lost or twice, nobody hangs."""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from golden.errors import StoreError, UsageError
from replay.checkpoints import server
from replay.checkpoints.contract import Checkpoint, CheckpointVersionConflictError
from replay.checkpoints.postgres import PostgresCheckpointStore
from tests.checkpoint_places import SERVER, InPostgres, begin, output, schema, step
from tests.faults.proxy import Proxy

Attempt = Callable[[], object]
END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = %s AND pid <> pg_backend_pid()"""


@pytest.fixture
def here() -> Iterator[InPostgres]:
    """A schema of its own."""
    with schema() as name:
        found = InPostgres(name)
        yield found
        found.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A way to the server that can be disturbed."""
    found = Proxy()
    yield found
    found.close()


@pytest.fixture
def store(here: InPostgres, proxy: Proxy) -> Iterator[PostgresCheckpointStore]:
    """A store whose way to the server can be disturbed, and whose sessions can be told from others."""
    url = here.url.replace(":5432", f":{proxy.port}") + f"&application_name={here.schema}"
    found = PostgresCheckpointStore(url)
    yield found
    found.close()


@pytest.fixture
def held(store: PostgresCheckpointStore) -> Checkpoint:
    """A run of one step in it."""
    return step(store, store.create(begin()), 0)


def outputs(here: InPostgres) -> list[bytes | None]:
    """Return the outputs of the run, read past the proxy."""
    return [found.output for found in here.store().outputs("r-1")]


def refused(attempt: Attempt, why: str) -> StoreError:
    """Return the refusal of an attempt, which says why and what to do."""
    with pytest.raises(StoreError, match=why) as caught:
        attempt()
    assert caught.value.hint
    return caught.value


def lose_the_next_answer(proxy: Proxy, meanwhile: Attempt = lambda: None) -> None:
    """Let the server do what it is asked next, but nobody hear of it; then something else, then end the connection."""
    once = threading.Lock()

    def lost() -> None:
        if once.acquire(blocking=False):
            meanwhile()
            proxy.deaf = False
            proxy.cut()

    proxy.lost = lost
    proxy.deaf = True


# The connection is lost


def test_a_session_that_was_ended_between_two_saves_is_made_anew(
    here: InPostgres, store: PostgresCheckpointStore, held: Checkpoint
) -> None:
    assert here.execute(END_SESSIONS, (here.schema,))
    held = step(store, held, 1)
    assert here.execute(END_SESSIONS, (here.schema,))
    assert store.load("r-1") == held
    assert outputs(here) == [b"0", b"1"]


@pytest.mark.slow
def test_sessions_ended_all_the_time_lose_no_save_and_make_none_twice(
    here: InPostgres, store: PostgresCheckpointStore, held: Checkpoint
) -> None:
    done = threading.Event()
    ended: list[int] = []

    def end_sessions() -> None:
        while not done.wait(0.05):
            ended.append(len(here.execute(END_SESSIONS, (here.schema,))))

    thread = threading.Thread(target=end_sessions)
    thread.start()
    try:
        for number in range(1, 200):
            held = step(store, held, number)
    finally:
        done.set()
        thread.join()
    assert sum(ended) > 5
    assert outputs(here) == [b"%d" % number for number in range(200)]
    assert held.version == 201
    assert here.store().load("r-1") == held


def test_a_save_whose_answer_is_lost_is_there_once(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    lose_the_next_answer(proxy)
    saved = step(store, held, 1)
    assert saved.version == 3
    assert here.store().load("r-1") == saved
    assert outputs(here) == [b"0", b"1"]


def test_a_first_save_whose_answer_is_lost_is_there_once(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    lose_the_next_answer(proxy)
    created = store.create(begin("r-2"))
    assert here.store().load("r-2") == created


def test_a_deletion_whose_answer_is_lost_is_one(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    # The first answer is that to the question for the version.
    assert store._stamp("r-1")
    stamp = store._stamp("r-1")
    assert stamp
    lose_the_next_answer(proxy)
    assert store._remove("r-1", stamp)
    assert here.store().load("r-1") is None


def test_a_save_that_is_lost_on_its_way_is_made_again(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    proxy.mute = True

    def cut() -> None:
        proxy.cut()
        proxy.mute = False

    timer = threading.Timer(0.2, cut)
    timer.start()
    saved = step(store, held, 1)
    timer.join()
    assert here.store().load("r-1") == saved
    assert outputs(here) == [b"0", b"1"]


def test_who_lost_the_answer_takes_nothing_back_that_another_has_saved_since(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    def another() -> None:
        found = here.store().acquire("r-1", "host:2", lambda _: True)
        step(here.store(), found, "another's")

    lose_the_next_answer(proxy, another)
    with pytest.raises(CheckpointVersionConflictError) as caught:
        step(store, held, 1)
    assert (caught.value.expected, caught.value.actual) == (2, 5)
    assert outputs(here) == [b"0", b"1", b'"another\'s"']


def test_who_lost_the_answer_does_not_take_the_same_save_of_another_for_its_own(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    saved: list[Checkpoint] = []
    proxy.mute = True

    def another() -> None:
        saved.append(step(here.store(), held, 1))
        proxy.cut()
        proxy.mute = False

    timer = threading.Timer(0.2, another)
    timer.start()
    with pytest.raises(CheckpointVersionConflictError) as caught:
        step(store, held, 1)
    timer.join()
    assert (caught.value.expected, caught.value.actual) == (2, 3)
    assert here.store().load("r-1") == saved[0]
    assert outputs(here) == [b"0", b"1"]


# The server is away


@pytest.mark.slow
def test_a_server_that_comes_back_in_a_moment_is_waited_for(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint
) -> None:
    proxy.refuse()
    proxy.cut()
    timer = threading.Timer(1.5, proxy.listen)
    timer.start()
    saved = step(store, held, 1)
    timer.join()
    assert here.store().load("r-1") == saved
    assert outputs(here) == [b"0", b"1"]


@pytest.mark.slow
def test_a_server_that_stays_away_is_given_up_and_found_again_later(
    here: InPostgres, store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.5)
    proxy.refuse()
    proxy.cut()
    error = refused(lambda: step(store, held, 1), f"127.0.0.1:{proxy.port}/test does not answer")
    assert "the golden files are the truth" in error.hint
    proxy.listen()
    step(store, held, 1)
    assert outputs(here) == [b"0", b"1"]


def test_nobody_at_that_port_is_said_at_once_with_host_and_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = PostgresCheckpointStore(f"postgresql://postgres:geheim@127.0.0.1:{port}/test")
    attempts: list[Attempt] = [store.ping, store.overview, lambda: store.create(begin())]
    for attempt in attempts:
        error = refused(attempt, f"postgresql://postgres@127.0.0.1:{port}/test does not answer: Connection refused")
        assert "geheim" not in str(error)


@pytest.mark.parametrize(
    "url, why",
    [
        ("postgresql://nobody-of-that-name:geheim@127.0.0.1:5432/test", "nobody-of-that-name"),
        ("postgresql://postgres:geheim@127.0.0.1:5432/none-of-that-name", "none-of-that-name"),
        ("postgresql://postgres:geheim@no-such-host.invalid/test", "no-such-host.invalid"),
    ],
)
def test_who_is_not_let_in_learns_why_and_no_password_is_told(here: InPostgres, url: str, why: str) -> None:
    error = refused(PostgresCheckpointStore(url).ping, f"does not answer: .*{why}")
    assert "geheim" not in str(error)
    assert "\n" not in error.problem


@pytest.mark.slow
def test_a_port_that_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        store = PostgresCheckpointStore(f"postgresql://postgres@127.0.0.1:{port}/test?connect_timeout=2")
        refused(store.ping, "does not answer: connection timeout expired")


@pytest.mark.slow
def test_a_server_that_falls_silent_is_given_up(
    store: PostgresCheckpointStore, proxy: Proxy, held: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.5)
    proxy.deaf = True
    refused(lambda: step(store, held, 1), "does not answer")


# The server refuses


def test_a_table_of_somebody_else_is_not_touched(here: InPostgres) -> None:
    here.execute("CREATE TABLE workflow_checkpoints (run_id text, mine integer)")
    here.execute("INSERT INTO workflow_checkpoints VALUES ('r-1', 42)")
    attempts: list[Attempt] = [
        lambda: here.store().create(begin()),
        lambda: here.store().load("r-1"),
        here.store().overview,
    ]
    for attempt in attempts:
        refused(attempt, "has a table workflow_checkpoints that is not ours")
    assert here.execute("SELECT * FROM workflow_checkpoints") == [("r-1", 42)]
    tables = here.execute("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
    assert tables == [("workflow_checkpoints",)]


def test_a_newer_schema_is_refused(here: InPostgres, held: Checkpoint) -> None:
    here.execute("INSERT INTO workflow_checkpoint_schema (version) VALUES (7)")
    attempts: list[Attempt] = [here.store().overview, lambda: step(here.store(), held, 1)]
    for attempt in attempts:
        refused(attempt, "are of schema 7, this version knows 1")


@pytest.mark.parametrize(
    "option, why",
    [
        ("default_transaction_read_only=on", "can only be read"),
        ("role=pg_read_all_data", "permits this user too little"),
        ("search_path=no_such_schema", "has no schema to keep checkpoints in"),
    ],
)
def test_a_server_that_does_not_let_us_is_quoted(here: InPostgres, option: str, why: str) -> None:
    store = PostgresCheckpointStore(f"{here.url}%20-c{option.replace('=', '%3D')}")
    refused(lambda: store.create(begin()), why)
    store.close()


def test_tables_that_were_dropped_are_missed(
    here: InPostgres, store: PostgresCheckpointStore, held: Checkpoint
) -> None:
    here.execute("DROP TABLE workflow_step_outputs, workflow_checkpoints")
    refused(lambda: step(store, held, 1), "has lost its tables")


@pytest.mark.slow
def test_a_row_that_another_session_locks_is_not_waited_for_for_ever(
    here: InPostgres, held: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOCK_SECONDS", 1)
    other, locker = here.store(), here.store()
    assert isinstance(locker, PostgresCheckpointStore)

    def attempt(connection: server.Connection, _: bool) -> None:
        with connection.transaction():
            connection.execute("SELECT 1 FROM workflow_checkpoints FOR UPDATE")
            refused(lambda: step(other, held, 1), "kept a row locked for")

    locker._server.tried(attempt)
    step(other, held, 1)


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_ended(here: InPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STATEMENT_SECONDS", 1)
    store = here.store()
    assert isinstance(store, PostgresCheckpointStore)

    def attempt(connection: server.Connection, _: bool) -> None:
        connection.execute("SELECT pg_sleep(20)")

    refused(lambda: store._server.tried(attempt), "took longer than")


def test_what_the_database_cannot_hold_is_misuse_and_changes_nothing(
    here: InPostgres, store: PostgresCheckpointStore, held: Checkpoint
) -> None:
    for bad in (output(1, step_id="a\x00b"), output(1, step_id="x" * 300)):
        with pytest.raises(UsageError, match="cannot store that"):
            store.save(held, [bad])
    with pytest.raises(UsageError, match="cannot store that"):
        store.save(replace(held, ended_at="2025-02-30T00:00:00.000000Z"))
    assert here.store().load("r-1") == held


# Everything at once


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_whatever_isolation_is_the_default_one_wins_and_the_others_hear_of_it(here: InPostgres, level: str) -> None:
    option = f"%20-cdefault_transaction_isolation%3D{level.replace(' ', '%5C%20')}"
    store = PostgresCheckpointStore(here.url + option)
    held = store.create(begin())
    results: list[int | tuple[int, int]] = []

    def save() -> None:
        try:
            results.append(step(store, held, 1).version)
        except CheckpointVersionConflictError as error:
            results.append((error.expected, error.actual))

    threads = [threading.Thread(target=save) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert sorted(results, key=str) == [(1, 2)] * 19 + [2]
    assert outputs(here) == [b"1"]


def test_the_servers_clock_decides_about_leases(here: InPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    (clock,) = here.execute("SELECT extract(epoch FROM clock_timestamp())::float8")[0]
    monkeypatch.setattr("golden.clock.time_ns", lambda: 10**18)
    held = here.store().create(begin(lease_owner="host:1"))
    assert held.created_at.startswith("2001-")
    times = "SELECT extract(epoch FROM lease_until)::float8, extract(epoch FROM updated_at)::float8"
    (until, updated) = here.execute(f"{times} FROM workflow_checkpoints")[0]
    assert clock <= updated < clock + 60
    assert round(until - updated) == 300
    assert re.match(r"20\d\d-", held.lease_until or "")


def test_a_forked_child_leaves_its_parents_connections_alone(
    here: InPostgres, store: PostgresCheckpointStore, held: Checkpoint
) -> None:
    parents = store._server._opened.pool
    child = os.fork()
    if not child:
        code = 1
        try:
            step(store, held, "child")
            code = 0 if store._server._opened.pool is not parents else 2
            store.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert parents
    with parents.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_operators_columns_are_there(here: InPostgres, held: Checkpoint) -> None:
    columns = here.execute(
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = 'workflow_checkpoints'",
        (here.schema,),
    )
    promised = {
        ("run_id", "character varying", 255),
        ("workflow_id", "character varying", 255),
        ("tenant_id", "character varying", 255),
        ("next_step_index", "bigint", None),
        ("last_result_hash", "character varying", 64),
        ("status", "character varying", 32),
        ("version", "bigint", None),
        *((name, "timestamp with time zone", None) for name in ("created_at", "updated_at", "started_at", "ended_at")),
    }
    assert promised <= set(columns)
    indexes = {row[0] for row in here.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = %s", (here.schema,))}
    for told in ("(status)", "(tenant_id, status)", "(workflow_id, status)"):
        assert any(index.endswith(told) for index in indexes)


def test_a_row_deleted_by_hand_takes_its_outputs_along(
    here: InPostgres, store: PostgresCheckpointStore, held: Checkpoint
) -> None:
    here.execute("DELETE FROM workflow_checkpoints")
    store.create(begin())
    assert outputs(here) == []


def test_a_status_that_does_not_exist_is_refused_by_the_table_too(here: InPostgres, held: Checkpoint) -> None:
    with pytest.raises(Exception, match="workflow_checkpoints_status_check"):
        here.edit("r-1", status="paused")


def test_the_tests_server_is_the_one_of_the_documents() -> None:
    assert SERVER == "postgresql://postgres@127.0.0.1:5432/test"


def test_a_search_path_that_leads_nowhere_is_not_an_empty_store(here: InPostgres) -> None:
    store = PostgresCheckpointStore(SERVER + "?options=-csearch_path%3Dno_such_schema_of_ours")
    asks: list[Attempt] = [store.ping, lambda: store.load("r-1"), store.overview, lambda: store.create(begin())]
    for ask in asks:
        with pytest.raises(StoreError, match="schema"):
            ask()
    store.close()
