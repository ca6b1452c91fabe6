"""Many save at once: of each version one wins, all others hear of it, and nothing is lost."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.checkpoints.contract import CheckpointVersionConflictError, LeaseHeldError
from tests.checkpoint_places import KINDS, InFiles, InPostgres, InSqlite, Place, begin, place, step
from tests.runs import ROOT

PROCESSES = 5


@pytest.fixture(params=KINDS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place of each kind."""
    with place(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=KINDS[1:])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place of each kind that processes share, with a run in it."""
    with place(request.param, tmp_path) as found:
        found.store().create(begin())
        yield found


def where(found: Place) -> list[str]:
    """Return the arguments that name a place to another process."""
    if isinstance(found, InPostgres):
        return [found.kind, found.schema]
    assert isinstance(found, InFiles | InSqlite)
    return [found.kind, str(found.folder if isinstance(found, InFiles) else found.path)]


class Saver:
    """Another process that saves when it is told to."""

    def __init__(self, found: Place, *what: str) -> None:
        command = [sys.executable, "-m", "tests.faults.saver", *where(found), *what]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def tell(self) -> None:
        """Let it go on."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def hear(self) -> object:
        """Return what it says next."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        return json.loads(line) if line else self.process.communicate()[1]

    def end(self) -> None:
        """Let it come to its end, or end it."""
        try:
            assert self.process.communicate(timeout=30)[1] == ""
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def savers() -> Iterator[list[Saver]]:
    """Those that were started, ended when the test is."""
    found: list[Saver] = []
    yield found
    for saver in found:
        saver.end()


@pytest.mark.slow
def test_of_processes_that_hold_the_same_version_one_wins_forty_times(shared: Place, savers: list[Saver]) -> None:
    savers += [Saver(shared, "race") for _ in range(PROCESSES)]
    rounds = 40
    for version in range(1, rounds + 1):
        for saver in savers:
            saver.tell()
        assert [saver.hear() for saver in savers] == ["ready"] * PROCESSES
        for saver in savers:
            saver.tell()
        heard = Counter(str(saver.hear()) for saver in savers)
        assert heard == {f"{version + 1}": 1, f"[{version}, {version + 1}]": PROCESSES - 1}
    assert len(shared.store().outputs("r-1")) == rounds


@pytest.mark.slow
def test_two_hundred_saves_of_five_processes_all_land(shared: Place, savers: list[Saver]) -> None:
    each = 200 // PROCESSES
    savers += [Saver(shared, "land", str(each)) for _ in range(PROCESSES)]
    assert [saver.hear() for saver in savers] == ["ready"] * PROCESSES
    for saver in savers:
        saver.tell()
    assert all(type(saver.hear()) is int for saver in savers)
    outputs = [json.loads(found.output or b"") for found in shared.store().outputs("r-1")]
    found = shared.store().load("r-1")
    assert found is not None
    assert (found.version, found.next_step_index) == (201, 200)
    assert Counter(process for process, _ in outputs) == {saver.process.pid: each for saver in savers}
    for saver in savers:
        assert [number for process, number in outputs if process == saver.process.pid] == list(range(each))


def test_of_two_hundred_threads_that_hold_the_same_version_one_wins(here: Place) -> None:
    store = here.store()
    held = store.create(begin())
    results: list[object] = []

    def save(number: int) -> None:
        try:
            results.append(step(store, held, number).version)
        except CheckpointVersionConflictError as error:
            results.append((error.run_id, error.expected, error.actual))
        except Exception as error:  # noqa: BLE001  whatever it is, it is neither
            results.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(map(str, results)) == {"2": 1, "('r-1', 1, 2)": 199}
    assert len(store.outputs("r-1")) == 1


def test_threads_save_their_own_runs_beside_each_other(here: Place) -> None:
    store = here.store()
    failures: list[BaseException] = []

    def run(run_id: str) -> None:
        try:
            held = store.create(begin(run_id))
            for number in range(20):
                held = step(store, held, number)
            assert store.load(run_id) == held
        except BaseException as error:  # noqa: BLE001  a thread has nobody to raise to
            failures.append(error)

    threads = [threading.Thread(target=run, args=(f"r-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [found.version for found in store.overview().checkpoints] == [21] * 8


def test_who_reads_while_a_run_is_saved_sees_a_whole_version(here: Place) -> None:
    store, reader = here.store(), here.store()
    held = store.create(begin())
    seen: list[tuple[int, int]] = []
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                found = reader.load("r-1")
                assert found is not None
                seen.append((found.version, len(reader.outputs("r-1", found.version))))
            except Exception as error:  # noqa: BLE001  whatever it is, it is a failure
                failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(200):
            held = step(store, held, "x" * (number * 10))
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert all(outputs == version - 1 for version, outputs in seen)
    # Nothing was taken for damaged.
    assert here.store().load("r-1") == held


def test_of_twenty_that_take_a_lease_at_once_one_has_it(here: Place) -> None:
    store = here.store()
    store.create(begin())
    results: list[object] = []

    def take(owner: str) -> None:
        try:
            results.append(store.acquire("r-1", owner, lambda _: False).lease_owner)
        except LeaseHeldError as error:
            results.append(error)

    threads = [threading.Thread(target=take, args=(f"host:{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (owner,) = [result for result in results if isinstance(result, str)]
    held = [result for result in results if isinstance(result, LeaseHeldError)]
    assert [error.owner for error in held] == [owner] * 19
