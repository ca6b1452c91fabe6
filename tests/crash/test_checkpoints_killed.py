"""Killed at any call, a saver leaves the version before or the one after, whole, and its successor goes on."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from golden.errors import StoreError
from replay.checkpoints.contract import CheckpointStore
from replay.checkpoints.file import FileCheckpointStore
from tests.checkpoint_places import KINDS, InFiles, InPostgres, InSqlite, Place, begin, output, place, step
from tests.crash.killed_saver import STEPS
from tests.runs import ROOT

FAILURES = ("ENOSPC", "EIO", "EDQUOT", "short")
Child = tuple[str, bool, list[int]]


def struck(folder: Path, way: str) -> list[Child]:
    """Return every child that was struck, and the last, which was not."""
    command = [sys.executable, "-m", "tests.crash.killed_saver", str(folder), way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def check_run(store: CheckpointStore, run_id: str, given: int) -> None:
    """Check that what stands there is the last version given or the next, whole, and can be gone on with."""
    found = store.load(run_id)
    if found is None:
        assert given == 0
        found = store.create(begin(run_id))
    assert given <= found.version <= given + 1
    assert [o.output for o in store.outputs(run_id)] == [b"%d" % number for number in range(found.version - 1)]
    found = store.acquire(run_id, "host:2", lambda _: True)
    step(store, found, "went on")
    assert store.outputs(run_id)[-1].output == b'"went on"'


@pytest.mark.slow
@pytest.mark.parametrize("way", ["before", "within", "after", *FAILURES])
def test_files_hold_a_whole_version_whatever_call_was_the_last(way: str, tmp_path: Path) -> None:
    children = struck(tmp_path, way)
    assert len(children) > 30
    assert [name for name, was_struck, _ in children if not was_struck] == [children[-1][0]]
    for name, _, versions in children:
        store = FileCheckpointStore(tmp_path / name, durable=False)
        survey = store.overview()
        assert survey.bad == [], name
        assert {found.run_id for found in survey.checkpoints} - {"r-1"} in ({"new"}, {"old", "new"}), name
        check_run(store, "r-1", max(versions))
        for path in (tmp_path / name).glob(".*.lock"):
            path.unlink()
        assert not list((tmp_path / name).glob("*corrupt*")), name
    assert max(children[-1][2]) == STEPS + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_saver_that_is_killed_at_any_moment_loses_nothing_it_was_told(kind: str, tmp_path: Path) -> None:
    with place(kind, tmp_path) as found:
        given = 0
        for attempt in range(10):
            given = kill_one(found, attempt, given)
        assert given > 30


def kill_one(found: Place, attempt: int, given: int) -> int:
    """Let a process save and kill it in the midst; return the version that stands there, which is its last or next."""
    if isinstance(found, InPostgres):
        where = found.schema
    else:
        assert isinstance(found, InFiles | InSqlite)
        where = str(found.folder if isinstance(found, InFiles) else found.path)
    command = [sys.executable, "-m", "tests.faults.saver", found.kind, where, "go", "r-1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        # Not at the same place of its work each time.
        said = [int(process.stdout.readline()) for _ in range(1 + attempt * 7 % 11)]
        process.kill()
        said += [int(line) for line in process.stdout.read().splitlines()]
    assert said == list(range(said[0], said[0] + len(said)))
    # What was created, then taken, then saved.
    assert said[0] == (3 if given == 0 else given + 2)
    store = found.new()
    checkpoint = store.load("r-1")
    outputs = store.outputs("r-1")
    store.close()
    assert checkpoint is not None
    assert said[-1] <= checkpoint.version <= said[-1] + 1
    assert [o.output for o in outputs] == [b"%d" % number for number in range(checkpoint.next_step_index)]
    return checkpoint.version


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_a_file_that_may_not_grow_is_a_refusal_and_what_was_saved_stays(kind: str, tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from golden.errors import StoreError
from tests.checkpoint_places import begin, place, step
with place(sys.argv[1], Path(sys.argv[2])) as found:
    store = found.store()
    held = store.create(begin())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for number in range(1000):
        try:
            held = step(store, held, "x" * 10_000)
        except StoreError as error:
            print(number, error.problem, "|", error.hint)
            break
    assert store.load("r-1") == held
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    held = step(store, held, "went on")
    assert store.load("r-1") == held
    print(len(store.outputs("r-1")))
"""
    command = [sys.executable, "-c", script, kind, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refusal, outputs = done.stdout.splitlines()
    number = int(refusal.split()[0])
    assert "cannot be read or written" in refusal or "cannot grow" in refusal
    assert 3 < number < 40
    assert int(outputs) == number + 1


def test_an_output_that_could_not_be_written_is_written_by_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileCheckpointStore(tmp_path / "kept", durable=False)
    held = step(store, store.create(begin()), 0)

    def write(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patched:
        patched.setattr("golden.files.os.write", write)
        with pytest.raises(StoreError, match="No space left") as caught:
            store.save(held, [output(1, 1)])
    assert caught.value.hint.startswith("make room")
    step(store, held, 1)
    assert [o.output for o in store.outputs("r-1")] == [b"0", b"1"]
