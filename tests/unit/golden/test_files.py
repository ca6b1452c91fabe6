"""Files: opened without following or waiting, replaced whole, locked by what is still there."""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from golden import files
from golden.errors import StoreError, UsageError
from golden.files import (
    exists,
    is_locked,
    is_temporary,
    locked,
    open_folder,
    open_regular,
    put,
    sync_all,
    temporary,
    write_all,
)

BUSY = UsageError("busy", hint="wait")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's own directory."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def like(mode: int = 0o640) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, os.geteuid(), os.getegid(), 0, 0, 0, 0))


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    fd = open_regular(tmp_path / "file")
    assert fd is not None
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert open_regular(tmp_path / "absent") is None
    for name, why in (
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("fifo", "not a regular"),
        (".", "not"),
    ):
        with pytest.raises(StoreError, match=why) as refusal:
            open_regular(tmp_path / name)
        assert refusal.value.verdict == "unreadable"


def test_a_refusal_leaves_no_descriptor_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(StoreError):
            open_regular(tmp_path / "fifo")
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10


def test_a_folder_is_made_only_where_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"), open_folder(str(tmp_path / "a")):
        pytest.fail("it was opened")
    with open_folder(str(tmp_path / "a" / "b"), create=True):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) & 0o007 == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"), open_folder(str(tmp_path / "file"), create=True):
        pytest.fail("it was opened")


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path, folder: int) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    assert exists(folder, "dangling")
    assert not exists(folder, "nowhere")


def test_what_the_system_takes_in_pieces_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_is_put_in_place_whole_with_the_mode_asked_for(tmp_path: Path, folder: int) -> None:
    (tmp_path / "file").write_text("before")
    for durable in (False, True):
        for mode in (0o600, 0o644, 0o400):
            put(folder, "file", b"after", like(mode), durable=durable)
            assert (tmp_path / "file").read_bytes() == b"after"
            assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert names(tmp_path) == ["file"]


def test_a_link_is_replaced_not_written_through(tmp_path: Path, folder: int) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "file").symlink_to("target")
    put(folder, "file", b"new", like(), durable=False)
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("call", ["write", "fchmod", "fsync", "rename"])
def test_what_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "file").write_text("before")

    def fails(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        with pytest.raises(OSError, match="No space left"):
            put(folder, "file", b"after", like(), durable=True)
    assert (tmp_path / "file").read_text() == "before"
    assert names(tmp_path) == ["file"]


def test_a_durable_file_is_synced_before_it_is_renamed_and_its_folder_after(
    folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def call(*arguments: object, name: str = name, real: object = real, **named: object) -> object:
            calls.append(name)
            return real(*arguments, **named)  # type: ignore[operator]

        monkeypatch.setattr(os, name, call)
    put(folder, "file", b"x", like(), durable=True)
    assert calls == ["fsync", "rename", "fsync"]


def test_a_temporary_tells_whose_it_is_and_no_other_name_does(folder: int, tmp_path: Path) -> None:
    made = temporary(folder, "r-1.steps.jsonl.sig", b"x", like())
    assert is_temporary(made, ".steps.jsonl.sig")
    assert temporary(folder, "r-1.steps.jsonl.sig", b"x", like()) != made
    for name in (
        *("r-1.steps.jsonl.sig", ".r-1.steps.jsonl.sig", ".r-1.steps.jsonl.sig.tmp", made[1:], made + "x"),
        *(made.replace(".sig", ".gis"), f".r-1.steps.jsonl.sig.{'0' * 15}.tmp", "notes.tmp", ".tmp", ""),
    ):
        assert not is_temporary(name, ".steps.jsonl.sig"), name


def test_a_lock_is_held_and_taken_away_after(tmp_path: Path, folder: int) -> None:
    with locked(folder, "a.lock"):
        assert is_locked(str(tmp_path / "a.lock"))
        with pytest.raises(UsageError, match="busy"), locked(folder, "a.lock", BUSY):
            pytest.fail("it was locked twice")
    assert not is_locked(str(tmp_path / "a.lock"))
    assert names(tmp_path) == []


def test_who_only_asks_whether_a_lock_is_held_keeps_nobody_from_taking_it(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a.lock").write_text("")
    fd = os.open(tmp_path / "a.lock", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    timer = threading.Timer(0.02, os.close, [fd])
    timer.start()
    with locked(folder, "a.lock", BUSY):
        assert is_locked(str(tmp_path / "a.lock"))
    timer.join()


def test_nothing_is_there_below_a_file(tmp_path: Path, folder: int) -> None:
    (tmp_path / "file").write_text("")
    assert not exists(folder, "file/below")


def test_a_lock_is_free_again_after_an_error(tmp_path: Path, folder: int) -> None:
    with pytest.raises(ZeroDivisionError), locked(folder, "a.lock"):
        raise ZeroDivisionError
    with locked(folder, "a.lock", BUSY):
        pass


def test_a_lock_left_by_a_killed_process_holds_nobody_up(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a.lock").write_text("")
    assert not is_locked(str(tmp_path / "a.lock"))
    with locked(folder, "a.lock", BUSY):
        pass


def test_who_waited_for_a_lock_that_was_taken_away_takes_the_new_one(tmp_path: Path, folder: int) -> None:
    inside: list[int] = []
    most = 0

    def enters() -> None:
        nonlocal most
        for _ in range(50):
            with locked(folder, "a.lock"):
                inside.append(1)
                most = max(most, len(inside))
                inside.pop()

    threads = [threading.Thread(target=enters) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert names(tmp_path) == []


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a.lock").symlink_to("elsewhere")
    with pytest.raises(StoreError, match="cannot be opened"), locked(folder, "a.lock"):
        pytest.fail("it was locked")
    assert not (tmp_path / "elsewhere").exists()
    assert not is_locked(str(tmp_path / "a.lock"))


def test_a_reader_who_asks_disturbs_no_writer(tmp_path: Path, folder: int) -> None:
    with locked(folder, "a.lock"):
        for _ in range(3):
            assert is_locked(str(tmp_path / "a.lock"))
        fd = os.open(tmp_path / "a.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


def test_everything_is_made_durable_in_one_call_or_the_system_says_why(folder: int) -> None:
    sync_all(folder)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_all(9999)
    assert files.sync_all is sync_all
