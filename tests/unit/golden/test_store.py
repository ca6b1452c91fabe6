"""Store: names, modes, locks, and that nothing of another's is ever opened, overwritten or followed."""

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from golden import repair
from golden.errors import KeyringError, StoreError, TamperedError, UsageError
from golden.event import Data
from golden.files import open_regular
from golden.keyring import HmacKey, Keyring
from golden.ledger import Create, KeyState, Open, Sealed, draft
from golden.memory import Memory
from golden.recorder import open_recorder
from golden.store import SUFFIX, GoldenFile, Store, check_run_id, is_run_id, locate
from golden.verdict import verify
from tests import runs
from tests.runs import ACTIVE, RETIRED, ROOT, policy, said

EVENTS: list[Data] = [runs.start(), runs.end()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that hides nothing from anybody by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


GOOD_IDS = ["r", "R-1", "0", "a.b", "a_b-c.d", "a" * 128, "a.jsonl", "a.steps.jsonl", "a.lock", "a.", "a-"]
BAD_IDS = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/a",
    "a..b",
    "a" * 129,
    ".a",
    "-a",
    "_a",
    "a b",
    "a\n",
    "a\0",
    "é",
    "a\\b",
    "~",
]


@pytest.mark.parametrize("run_id", GOOD_IDS)
def test_a_run_id_names_a_file_of_its_own(store: Store, run_id: str) -> None:
    assert is_run_id(run_id)
    file = runs.record(store, run_id, EVENTS)
    assert file.path.name == run_id + SUFFIX
    assert sorted(p.name for p in store.directory.iterdir()) == [file.path.name, f"{file.path.name}.sig"]
    assert verify(file.path, store.keyring).verdict == "intact"
    assert store.stems() == [run_id]


@pytest.mark.parametrize("run_id", BAD_IDS)
def test_what_is_no_run_id_is_refused_before_anything_is_made(store: Store, run_id: str) -> None:
    assert not is_run_id(run_id)
    with pytest.raises(UsageError, match="is not a run id"):
        check_run_id(run_id)
    with pytest.raises(UsageError), open_recorder(store, run_id):
        pytest.fail("it was opened")
    assert not store.directory.exists()


def test_a_file_and_a_directory_have_their_modes_whatever_the_umask(store: Store, open_umask: None) -> None:
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        assert mode(store.directory / "r-1.lock") == 0o640
        recorder.write(runs.end())
        recorder.seal()
    assert mode(store.directory) == 0o750
    assert mode(store.file("r-1").path) == mode(store.file("r-1").seal_path) == 0o640


def test_a_tighter_umask_is_kept_by_the_seal_too(store: Store) -> None:
    before = os.umask(0o077)
    try:
        file = runs.record(store, "r-1", EVENTS)
    finally:
        os.umask(before)
    assert mode(file.path) == mode(file.seal_path) == 0o600
    assert mode(store.directory) == 0o700


def test_a_run_that_exists_is_never_written_again(store: Store, run: GoldenFile) -> None:
    before = run.path.read_bytes()
    with pytest.raises(UsageError, match="run r-1 exists") as refusal, open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert "choose another" in refusal.value.hint
    assert run.path.read_bytes() == before
    assert not (store.directory / "r-1.lock").exists()


def test_a_seal_without_its_file_is_not_buried_under_a_new_one(store: Store, run: GoldenFile) -> None:
    run.path.unlink()
    with pytest.raises(UsageError, match="seal without a file"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert not run.path.exists()


@pytest.mark.parametrize("target", ["there", "not-there"])
def test_a_link_in_place_of_the_file_is_not_followed(store: Store, tmp_path: Path, target: str) -> None:
    store.directory.mkdir()
    (tmp_path / "there").write_text("precious")
    store.file("r-1").path.symlink_to(tmp_path / target)
    with pytest.raises(UsageError, match="exists"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert (tmp_path / "there").read_text() == "precious"
    assert not (tmp_path / "not-there").exists()


def test_a_fifo_or_a_directory_in_place_of_the_file_is_refused_without_waiting(store: Store) -> None:
    store.directory.mkdir()
    os.mkfifo(store.file("fifo").path)
    store.file("folder").path.mkdir()
    for run_id in ("fifo", "folder"):
        with pytest.raises(UsageError, match="exists"), open_recorder(store, run_id):
            pytest.fail("it was opened")


def test_a_link_in_place_of_the_lock_is_not_followed(store: Store, tmp_path: Path) -> None:
    store.directory.mkdir()
    (store.directory / "r-1.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be opened"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "golden").write_text("")
    store = runs.store_in(tmp_path / "golden")
    with pytest.raises(StoreError, match="cannot be used"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")


HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o640)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def another_writer(store: Store) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock of run r-1."""
    store.directory.mkdir()
    command = [sys.executable, "-c", HOLDER, str(store.directory / "r-1.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_another_process_writes_is_refused(store: Store, another_writer: "subprocess.Popen[str]") -> None:
    assert store.file("r-1").has_writer()
    with pytest.raises(UsageError, match="run r-1 is being written"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    runs.record(store, "r-2", EVENTS)
    another_writer.kill()
    another_writer.wait()
    assert not store.file("r-1").has_writer()
    assert verify(runs.record(store, "r-1", EVENTS).path, store.keyring).verdict == "intact"


def test_a_live_file_says_whether_it_has_a_writer(store: Store) -> None:
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        assert verify(store.file("r-1").path, store.keyring).writer is True
    found = verify(store.file("r-1").path, store.keyring)
    assert (found.verdict, found.writer) == ("live", False)


def test_a_run_between_its_last_line_and_its_seal_is_waited_for(store: Store) -> None:
    path = store.file("r-1").path
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        recorder.write(runs.end())
        sealing = threading.Timer(0.2, recorder.seal)
        sealing.start()
        assert verify(path, store.keyring).verdict == "intact"
        sealing.join()


def test_a_lock_hides_a_missing_seal_for_a_moment_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.verdict.SEALING_SECONDS", 0.1)
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        recorder.write(runs.end())
        assert verify(store.file("r-1").path, store.keyring).verdict == "unsealed"


def test_a_lock_left_by_a_killed_process_holds_nobody_up(store: Store) -> None:
    store.directory.mkdir()
    (store.directory / "r-1.lock").write_text("")
    assert not store.file("r-1").has_writer()
    runs.record(store, "r-1", EVENTS)
    assert not (store.directory / "r-1.lock").exists()


def test_a_lock_taken_away_by_hand_does_not_cost_the_run(store: Store) -> None:
    with open_recorder(store, "r-1") as recorder:
        recorder.write(runs.start())
        (store.directory / "r-1.lock").unlink()
        recorder.write(runs.end())
        recorder.seal()
    assert verify(store.file("r-1").path, store.keyring).verdict == "intact"


def test_what_is_no_lock_has_no_writer(store: Store, tmp_path: Path) -> None:
    store.directory.mkdir()
    os.mkfifo(store.directory / "fifo.lock")
    (store.directory / "folder.lock").mkdir()
    (store.directory / "link.lock").symlink_to(tmp_path)
    for run_id in ("fifo", "link", "absent", "folder"):
        assert not store.file(run_id).has_writer()


def test_a_run_in_which_nothing_was_recorded_leaves_its_id_free(store: Store) -> None:
    with open_recorder(store, "r-1"):
        pass
    assert list(store.directory.iterdir()) == []
    assert verify(runs.record(store, "r-1", EVENTS).path, store.keyring).verdict == "intact"


def test_a_name_is_taken_apart_into_folder_and_stem(tmp_path: Path) -> None:
    assert GoldenFile.at(tmp_path / "a.steps.jsonl").stem == "a"
    assert GoldenFile.at(tmp_path / "a.jsonl.steps.jsonl").stem == "a.jsonl"
    assert GoldenFile.at(tmp_path / "a.jsonl.steps.jsonl").path == tmp_path / "a.jsonl.steps.jsonl"
    assert GoldenFile.at(tmp_path / "a.jsonl").path == tmp_path / "a.jsonl"
    assert not GoldenFile.at(tmp_path / "a.jsonl").well_named
    assert GoldenFile.at("a.steps.jsonl").path == Path("a.steps.jsonl")


def test_a_run_is_an_id_or_a_path(tmp_path: Path) -> None:
    assert locate("r-1", tmp_path).path == tmp_path / "r-1.steps.jsonl"
    assert locate("./r-1.steps.jsonl", tmp_path).path == Path("r-1.steps.jsonl")
    assert locate("r-1.steps.jsonl", tmp_path).path == Path("r-1.steps.jsonl")
    with pytest.raises(UsageError, match="is not a run id"):
        locate("..", tmp_path)


def test_a_directory_lists_files_and_seals_once(store: Store, run: GoldenFile) -> None:
    (store.directory / "alone.steps.jsonl.sig").write_text("")
    (store.directory / "alone2.steps.jsonl").write_text("")
    (store.directory / "notes.txt").write_text("")
    assert store.stems() == ["alone", "alone2", "r-1"]
    assert runs.store_in(store.directory / "absent").stems() == []
    with pytest.raises(StoreError, match="cannot be listed"):
        runs.store_in(run.path).stems()


def test_only_known_durabilities_exist(tmp_path: Path, keyring: Keyring) -> None:
    with pytest.raises(UsageError, match="durability 'sometimes' does not exist"):
        Store(tmp_path, keyring, durability="sometimes")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    assert open_regular(tmp_path / "absent") is None
    for name, why in (("link", "is a symbolic link"), ("fifo", "not a regular file"), (".", "not a regular file")):
        with pytest.raises(StoreError, match=why) as refusal:
            open_regular(tmp_path / name)
        assert refusal.value.verdict == "unreadable"
    with pytest.raises(StoreError, match="cannot be opened"):
        open_regular(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_regular(tmp_path / ("x" * 300))


UNPRIVILEGED = """
import os, sys
from golden.errors import GoldenError
from golden.keyring import Keyring
from golden.recorder import open_recorder
from golden.store import Store
from golden.verdict import verify
import cryptography.hazmat.primitives.hmac, pathlib
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
keyring = Keyring(os.environb[b"SECRET"])
try:
    with open_recorder(Store(".", keyring, ledger=False), "r-2"):
        print("opened")
except GoldenError as error:
    print(type(error).__name__, error.problem)
print(verify("./r-1.steps.jsonl", keyring).verdict)
"""


def unprivileged(folder: Path) -> list[str]:
    """Record r-2 and verify r-1 as somebody who is not root, with the folder as working directory."""
    environment = {"SECRET": ACTIVE.decode(), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", UNPRIVILEGED, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_a_directory_that_cannot_be_written_is_refused_and_still_read(store: Store, run: GoldenFile) -> None:
    run.path.chmod(0o644)
    run.seal_path.chmod(0o644)
    store.directory.chmod(0o555)
    try:
        said, verdict = unprivileged(store.directory)
    finally:
        store.directory.chmod(0o755)
    assert said == "StoreError r-2.lock cannot be opened: Permission denied"
    assert verdict == "intact"


@pytest.mark.parametrize("which", ["path", "seal_path"])
def test_a_file_that_may_not_be_read_is_unreadable(store: Store, run: GoldenFile, which: str) -> None:
    store.directory.chmod(0o755)
    for path in (run.path, run.seal_path):
        path.chmod(0o644)
    getattr(run, which).chmod(0o000)
    assert unprivileged(store.directory)[-1] == "unreadable"


def test_a_lock_is_held_as_long_as_a_run_is_open(store: Store) -> None:
    with open_recorder(store, "r-1"):
        fd = os.open(store.directory / "r-1.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


# Ledgers


def seen(store: Store) -> list[str]:
    """Return the names of what lies in a store's directory."""
    return sorted(path.name for path in store.directory.iterdir()) if store.directory.exists() else []


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """A host's memory."""
    return Memory(str(tmp_path / "state"))


def with_ledger(directory: Path, memory: Memory | None = None, *, ledger: bool = True) -> Store:
    return Store(directory, runs.keyring(), durability="never", ledger=ledger, memory=memory)


@pytest.mark.parametrize("run_id", ["ledger", "rotate"])
@pytest.mark.parametrize("ledger", [True, False])
def test_the_names_of_the_directorys_own_locks_are_no_runs(tmp_path: Path, run_id: str, ledger: bool) -> None:
    store = with_ledger(tmp_path / "golden", ledger=ledger)
    with pytest.raises(UsageError, match=f"the run id {run_id} is taken"), open_recorder(store, run_id):
        pytest.fail("it was opened")
    assert seen(store) == []


def test_the_first_run_in_an_empty_directory_begins_its_ledger(tmp_path: Path) -> None:
    store = with_ledger(tmp_path / "golden")
    runs.record(store, "r-1", EVENTS)
    assert [type(line) for line in said(store.directory)] == [Create, Open, Sealed]
    runs.record(with_ledger(tmp_path / "golden"), "r-2", EVENTS)
    assert [type(line) for line in said(store.directory)] == [Create, Open, Sealed, Open, Sealed]


@pytest.mark.parametrize("left", ["file and seal", "seal", "file", "rubbish"])
def test_nothing_is_recorded_beside_golden_files_that_no_ledger_knows(tmp_path: Path, left: str) -> None:
    file = runs.record(runs.store_in(tmp_path / "golden"), "r-0", EVENTS)
    if left == "seal":
        file.path.unlink()
    elif left == "file":
        file.seal_path.unlink()
    elif left == "rubbish":
        file.seal_path.unlink()
        file.path.write_text("")
    store = with_ledger(tmp_path / "golden")
    before = seen(store)
    with pytest.raises(UsageError, match="holds golden files but no ledger") as refusal, open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert "golden ledger init" in refusal.value.hint
    assert seen(store) == before


def test_other_files_are_no_golden_files(tmp_path: Path) -> None:
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "notes.txt").write_text("")
    runs.record(with_ledger(tmp_path / "golden"), "r-1", EVENTS)


def test_doing_without_a_ledger_is_obeyed_where_there_never_was_one(tmp_path: Path, memory: Memory) -> None:
    store = with_ledger(tmp_path / "golden", memory, ledger=False)
    runs.record(store, "r-1", EVENTS)
    assert "ledger.jsonl" not in seen(store)
    assert verify(store.file("r-1").path, store.read()).verdict == "intact"


def test_doing_without_a_ledger_is_not_obeyed_where_there_is_one(tmp_path: Path, memory: Memory) -> None:
    runs.record(with_ledger(tmp_path / "golden", memory), "r-1", EVENTS)
    without = with_ledger(tmp_path / "golden", memory, ledger=False)
    runs.record(without, "r-2", EVENTS)
    assert len(said(without.directory)) == 5
    assert verify(without.file("r-2").path, with_ledger(tmp_path / "golden").read()).verdict == "intact"


@pytest.mark.parametrize("ledger", [True, False])
def test_nothing_is_recorded_where_this_host_remembers_a_ledger(tmp_path: Path, memory: Memory, ledger: bool) -> None:
    first = with_ledger(tmp_path / "golden", memory)
    runs.record(first, "r-1", EVENTS)
    (first.directory / "ledger.jsonl").unlink()
    store = with_ledger(tmp_path / "golden", memory, ledger=ledger)
    with pytest.raises(TamperedError, match="the ledger is gone"), open_recorder(store, "r-2"):
        pytest.fail("it was opened")
    assert seen(store) == ["r-1.steps.jsonl", "r-1.steps.jsonl.sig"]


@pytest.mark.parametrize("ledger", [True, False])
def test_nothing_is_recorded_where_the_ledger_was_cut(tmp_path: Path, memory: Memory, ledger: bool) -> None:
    first = with_ledger(tmp_path / "golden", memory)
    runs.record(first, "r-1", EVENTS)
    place = first.directory / "ledger.jsonl"
    place.write_bytes(b"".join(place.read_bytes().splitlines(keepends=True)[:-1]))
    before = place.read_bytes()
    # By the process that wrote it, which goes on, as by the next.
    for store in (first, with_ledger(tmp_path / "golden", memory, ledger=ledger)):
        with pytest.raises(TamperedError, match="it had 3"), open_recorder(store, "r-2"):
            pytest.fail("it was opened")
    assert place.read_bytes() == before
    assert "r-2.steps.jsonl" not in seen(first)


def test_nothing_is_recorded_where_nothing_can_be_remembered(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    store = with_ledger(tmp_path / "golden", Memory(str(tmp_path / "state")))
    with pytest.raises(StoreError, match="state directory") as refusal, open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert "GOLDEN_STATE_DIR" in refusal.value.hint
    assert seen(store) == []


def test_a_run_that_the_ledger_knows_is_not_recorded_again_where_its_file_is_missing(tmp_path: Path) -> None:
    store = with_ledger(tmp_path / "golden")
    file = runs.record(store, "r-1", EVENTS)
    file.path.unlink()
    file.seal_path.unlink()
    with pytest.raises(UsageError, match="its file is missing"), open_recorder(store, "r-1"):
        pytest.fail("it was opened")
    assert seen(store) == ["ledger.jsonl"]


def test_the_id_of_a_run_that_is_gone_on_purpose_is_free(tmp_path: Path) -> None:
    store = with_ledger(tmp_path / "golden")
    runs.record(store, "r-1", EVENTS)
    repair.quarantine(store, "r-1", "why")
    assert verify(runs.record(store, "r-1", EVENTS).path, store.read()).verdict == "intact"


def test_a_key_revoked_in_the_ledger_begins_no_run_whatever_the_keyring_says(tmp_path: Path) -> None:
    newer = policy((ACTIVE, "retired"), (RETIRED, "active"))
    store = Store(tmp_path / "golden", newer, durability="never")
    runs.record(store, "r-1", EVENTS)
    directory = store.read()
    with directory.writing():
        members = {"alg": "hmac-sha256", "key": HmacKey(ACTIVE).kid, "state": "revoked", "reason": None}
        directory.append(draft(KeyState, believed=0, **members))
    older = Store(tmp_path / "golden", policy((ACTIVE, "active"), (RETIRED, "retired")), durability="never")
    with pytest.raises(KeyringError), open_recorder(older, "r-2"):
        pytest.fail("it was opened")
    assert "r-2.steps.jsonl" not in seen(store)


def test_a_run_in_which_nothing_was_recorded_is_told_to_nobody(tmp_path: Path) -> None:
    store = with_ledger(tmp_path / "golden")
    with open_recorder(store, "r-1"):
        pass
    assert [type(line) for line in said(store.directory)] == [Create]
    assert seen(store) == ["ledger.jsonl"]


@pytest.mark.parametrize("share", [0, 1, 10, 26, 27, 400])
def test_file_whose_recorder_died_within_its_first_line_is_taken_over(tmp_path: Path, share: int) -> None:
    store = runs.store_in(tmp_path, ledger=True)
    with open_recorder(store, "whole") as recorder:
        recorder.write(EVENTS[0])
    line = store.file("whole").path.read_bytes()
    store.file("r-1").path.write_bytes(line[:share])
    assert not store.is_begun("r-1")
    with open_recorder(store, "r-1") as recorder:
        for event in EVENTS:
            recorder.write(event)
        recorder.seal()
    assert verify(store.file("r-1").path, store.read()).verdict == "intact"


@pytest.mark.parametrize("there", ["a whole line", "other bytes", "a seal", "a ledger line", "a link", "a folder"])
def test_what_may_be_evidence_is_not_taken_over(tmp_path: Path, there: str) -> None:
    store = runs.store_in(tmp_path, ledger=True)
    with open_recorder(store, "r-1" if there == "a ledger line" else "whole") as recorder:
        recorder.write(EVENTS[0])
    path = store.file("r-1").path
    start = store.file("r-1" if there == "a ledger line" else "whole").path.read_bytes()[:300]
    match there:
        case "a whole line":
            path.write_bytes(store.file("whole").path.read_bytes())
        case "other bytes":
            path.write_bytes(b"notes of mine")
        case "a link":
            path.symlink_to(tmp_path / "elsewhere")
        case "a folder":
            path.mkdir()
        case _:
            path.write_bytes(start)
    if there == "a seal":
        store.file("r-1").seal_path.write_bytes(b"")
    before = path.lstat()
    with pytest.raises(UsageError, match="exists"), open_recorder(store, "r-1"):
        pass
    assert path.lstat() == before
