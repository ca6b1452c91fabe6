"""Memory: what a host has seen of directories; only ever more of it, nobody else's business, and never a secret."""

import os
import stat
import threading
from pathlib import Path

import pytest

from golden.errors import StoreError
from golden.ledger import Anchor
from golden.memory import Memory, Remembered
from tests.runs import DIR_ID

ONE, TWO, THREE = (Anchor(DIR_ID, n, f"{n}" * 64) for n in (1, 2, 3))
OTHER = Anchor("0" * 32, 9, "9" * 64)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """A memory in a state directory that is not there yet."""
    return Memory(str(tmp_path / "home" / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A directory to remember."""
    made = tmp_path / "golden"
    made.mkdir()
    return str(made)


def anchor_of(memory: Memory, folder: str) -> Anchor | None:
    found = memory.recall(folder)
    return found.anchor if found else None


def test_what_was_never_seen_is_not_remembered_and_asking_makes_nothing(memory: Memory, folder: str) -> None:
    assert memory.recall(folder) is None
    memory.remember(folder, None, [])
    assert not Path(memory.folder).exists()


def test_what_was_seen_last_is_remembered(memory: Memory, folder: str) -> None:
    for anchor in (ONE, TWO, THREE):
        memory.remember(folder, anchor, ["a" * 16])
        assert memory.recall(folder) == Remembered(
            dir_id=DIR_ID, hash=anchor.hash, lines=anchor.lines, path=folder, revoked=["a" * 16]
        )


def test_a_shorter_ledger_or_another_never_takes_the_place_of_a_longer_one(memory: Memory, folder: str) -> None:
    memory.remember(folder, TWO, [])
    for anchor in (ONE, OTHER, None, Anchor(DIR_ID, 2, "0" * 64)):
        memory.remember(folder, anchor, [])
        assert anchor_of(memory, folder) == TWO
    memory.remember(folder, ONE, [], instead=True)
    assert anchor_of(memory, folder) == ONE
    memory.remember(folder, OTHER, [], instead=True)
    assert anchor_of(memory, folder) == OTHER


def test_a_key_seen_revoked_is_never_forgotten(memory: Memory, folder: str) -> None:
    memory.remember(folder, None, ["b" * 16])
    memory.remember(folder, ONE, ["a" * 16])
    memory.remember(folder, OTHER, [], instead=True)
    found = memory.recall(folder)
    assert found is not None
    assert found.revoked == ["a" * 16, "b" * 16]


def test_a_revocation_is_durable_before_anybody_goes_on(
    memory: Memory, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def call(*arguments: object, name: str = name, real: object = real, **named: object) -> object:
            calls.append(name)
            return real(*arguments, **named)  # type: ignore[operator]

        monkeypatch.setattr(os, name, call)
    memory.remember(folder, ONE, [])
    assert calls == ["rename"]
    memory.remember(folder, TWO, ["a" * 16])
    assert calls == ["rename", "fsync", "rename", "fsync"]
    memory.remember(folder, THREE, ["a" * 16])
    assert calls[4:] == ["rename"]


def test_a_directory_is_known_by_its_real_path(memory: Memory, folder: str, tmp_path: Path) -> None:
    memory.remember(folder, ONE, [])
    (tmp_path / "link").symlink_to(folder)
    assert anchor_of(memory, str(tmp_path / "link")) == ONE
    assert anchor_of(memory, f"{folder}/../golden/.") == ONE
    assert anchor_of(memory, str(tmp_path)) is None


def test_it_is_for_its_owner_alone_whatever_the_umask(memory: Memory, folder: str) -> None:
    before = os.umask(0)
    try:
        memory.remember(folder, ONE, [])
    finally:
        os.umask(before)
    (path,) = Path(memory.folder).glob("*.json")
    assert stat.S_IMODE(Path(memory.folder).stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in Path(memory.folder).iterdir()] == [path.name]


def test_nothing_is_written_where_nothing_is_new(memory: Memory, folder: str) -> None:
    memory.remember(folder, TWO, ["a" * 16])
    (path,) = Path(memory.folder).glob("*.json")
    before = path.stat()
    memory.remember(folder, TWO, [])
    memory.remember(folder, ONE, ["a" * 16])
    assert path.stat() == before


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"path":"x","lines":-1}', b'{"path":"x","more":1}'])
def test_a_damaged_memory_is_a_refusal_that_says_where(memory: Memory, folder: str, data: bytes) -> None:
    memory.remember(folder, ONE, [])
    (path,) = Path(memory.folder).glob("*.json")
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged") as refusal:
        memory.recall(folder)
    assert str(path) in refusal.value.problem
    with pytest.raises(StoreError, match="is damaged"):
        memory.remember(folder, TWO, [])
    assert path.read_bytes() == data


def test_a_memory_that_is_a_link_is_not_followed(memory: Memory, folder: str, tmp_path: Path) -> None:
    memory.remember(folder, ONE, [])
    (path,) = Path(memory.folder).glob("*.json")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        memory.recall(folder)


def test_a_state_directory_that_cannot_be_written_is_refused_with_what_to_set(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file", "file/below", "link"):
        memory = Memory(str(tmp_path / place))
        with pytest.raises(StoreError, match="cannot be written") as refusal:
            memory.require_writable(folder)
        assert "GOLDEN_STATE_DIR" in refusal.value.hint
        assert place in refusal.value.problem


def test_asking_whether_it_can_be_written_leaves_nothing_behind(memory: Memory, folder: str) -> None:
    memory.require_writable(folder)
    assert list(Path(memory.folder).iterdir()) == []


def test_many_who_remember_at_once_keep_the_longest_and_every_key(memory: Memory, folder: str) -> None:
    def remembers(n: int) -> None:
        memory.remember(folder, Anchor(DIR_ID, n, f"{n:064x}"), [f"{n:016x}"])

    threads = [threading.Thread(target=remembers, args=(n,)) for n in range(1, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = memory.recall(folder)
    assert found is not None
    assert (found.lines, len(found.revoked)) == (29, 29)
