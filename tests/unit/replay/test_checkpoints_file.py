"""Checkpoints in files: readable, put aside when damaged, and never begun anew in silence."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from golden.errors import StoreError, UsageError
from golden.files import locked, open_folder
from replay.checkpoints import file
from replay.checkpoints.contract import Checkpoint, CheckpointVersionConflictError
from replay.checkpoints.file import FileCheckpointStore
from tests.checkpoint_places import begin, output, step

Attempt = Callable[[], object]


@pytest.fixture
def store(tmp_path: Path) -> FileCheckpointStore:
    """A store in a folder that does not exist yet."""
    return FileCheckpointStore(tmp_path / "a" / "kept", durable=False)


@pytest.fixture
def held(store: FileCheckpointStore) -> Checkpoint:
    """A run of two steps in it."""
    return step(store, step(store, store.create(begin()), "one"), {"two": 2})


@pytest.fixture
def document(held: Checkpoint, tmp_path: Path) -> Path:
    """Its checkpoint."""
    return tmp_path / "a" / "kept" / "r-1.checkpoint.json"


@pytest.fixture
def lines(document: Path) -> Path:
    """Its outputs."""
    return document.with_name("r-1.outputs.jsonl")


def names(path: Path) -> set[str]:
    """Return what lies beside a file."""
    return {found.name for found in path.parent.iterdir()}


def test_people_can_read_it(document: Path, lines: Path, held: Checkpoint) -> None:
    text = document.read_text()
    assert text.splitlines()[1] == '  "schema": 1,'
    assert json.loads(text)["checkpoint"]["next_step_index"] == 2
    assert json.loads(text)["outputs_bytes"] == lines.stat().st_size
    assert [json.loads(line)["output"] for line in lines.read_text().splitlines()] == ["one", {"two": 2}]


def test_others_cannot_read_it(document: Path, lines: Path) -> None:
    assert [path.stat().st_mode & 0o777 for path in (document, lines, document.parent)] == [0o640, 0o640, 0o750]
    assert names(document) == {document.name, lines.name}


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "no JSON": lambda document, _: document.write_bytes(b"{"),
    "empty": lambda document, _: document.write_bytes(b""),
    "not UTF-8": lambda document, _: document.write_bytes(b"\xff\xfe"),
    "a member too many": lambda document, _: document.write_text(document.read_text().replace("{", '{"x":1,', 1)),
    "a member less": lambda document, _: document.write_text(document.read_text().replace('"seed": 7,', "")),
    "a value edited": lambda document, _: document.write_text(document.read_text().replace('"seed": 7', '"seed": 8')),
    "nested deep": lambda document, _: document.write_text("[" * 100_000),
    "another run's": lambda document, _: document.write_text(document.read_text().replace("r-1", "r-2")),
    "outputs gone": lambda _, lines: lines.unlink(),
    "outputs cut": lambda _, lines: os.truncate(lines, lines.stat().st_size - 1),
    "outputs edited": lambda _, lines: lines.write_bytes(lines.read_bytes().replace(b"one", b"two")),
    "outputs swapped": lambda _, lines: lines.write_bytes(b"".join(reversed(lines.read_bytes().splitlines(True)))),
    "counts less": lambda document, _: document.write_text(re.sub(r"(_bytes.: )\d+", r"\g<1>10", document.read_text())),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_put_aside_and_named(
    store: FileCheckpointStore, document: Path, lines: Path, damage: str
) -> None:
    DAMAGE[damage](document, lines)
    before = {path.name: path.read_bytes() for path in document.parent.iterdir()}
    with pytest.raises(StoreError, match="the checkpoint of run r-1 in ") as caught:
        store.load("r-1")
    found = re.search(r"r-1\.checkpoint\.json(\.corrupt-\d{8}T\d{6}Z)", caught.value.problem)
    assert found
    assert {f"{name}{found[1]}": data for name, data in before.items()} == {
        path.name: path.read_bytes() for path in document.parent.iterdir()
    }


def test_a_good_checkpoint_under_the_name_of_another_run_is_not_believed(
    store: FileCheckpointStore, document: Path
) -> None:
    store.create(begin("r-2"))
    document.with_name("r-2.checkpoint.json").write_bytes(document.read_bytes())
    with pytest.raises(StoreError, match="the checkpoint of run r-2 in "):
        store.load("r-2")


def test_evidence_is_not_overwritten_by_the_next_damage(store: FileCheckpointStore, document: Path) -> None:
    for text in ("first", "second", "third"):
        document.write_text(text)
        with pytest.raises(StoreError):
            store.load("r-1")
    kept = sorted(path.read_text() for path in document.parent.glob("r-1.checkpoint.json.corrupt-*"))
    assert kept == ["first", "second", "third"]


def test_a_save_puts_aside_what_is_damaged_too(store: FileCheckpointStore, document: Path, held: Checkpoint) -> None:
    document.write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        step(store, held)
    assert document.name not in names(document)
    with pytest.raises(CheckpointVersionConflictError) as caught:
        step(store, held)
    assert (caught.value.expected, caught.value.actual) == (3, 0)


def test_an_overview_moves_nothing(store: FileCheckpointStore, document: Path) -> None:
    document.write_text("{}")
    found = store.overview()
    assert [error.problem.endswith("damaged: it was left as it is") for error in found.bad] == [True]
    assert document.read_text() == "{}"


@pytest.mark.parametrize("other", ["notes.txt", ".checkpoint.json", "a b.checkpoint.json", "r-1.checkpoint.json.old"])
def test_other_files_are_left_alone(store: FileCheckpointStore, document: Path, other: str) -> None:
    document.with_name(other).write_text("{")
    found = store.overview()
    assert (len(found.checkpoints), found.bad) == (1, [])


def test_a_newer_schema_is_refused_and_stays(store: FileCheckpointStore, document: Path, held: Checkpoint) -> None:
    newer = document.read_text().replace('"schema": 1', '"schema": 2, "new": {}')
    document.write_text(newer)
    attempts: list[Attempt] = [lambda: store.load("r-1"), lambda: step(store, held), lambda: store.delete("r-1", 3)]
    for attempt in attempts:
        with pytest.raises(StoreError, match="is of schema 2, this version knows 1"):
            attempt()
    assert ["schema 2" in error.problem for error in store.overview().bad] == [True]
    assert document.read_text() == newer


@pytest.mark.parametrize("tail", [b"x", b'{"version":4', b"\n\n", b'{"version":4,"step_index":9}\n' * 50])
def test_what_a_save_that_failed_left_behind_is_cut_off_by_the_next(
    store: FileCheckpointStore, lines: Path, held: Checkpoint, tail: bytes
) -> None:
    with lines.open("ab") as outputs:
        outputs.write(tail)
    assert store.load("r-1") == held
    step(store, held, "three")
    assert [o.output for o in store.outputs("r-1")] == [b'"one"', b'{"two":2}', b'"three"']
    assert [json.loads(line)["step_index"] for line in lines.read_bytes().splitlines()] == [0, 1, 2]


@pytest.mark.parametrize("bad", [b"1\n2", b"{", b"", b"{} {}", b"\xff", b'{"a":1},"output":2'])
def test_an_output_that_is_no_json_line_is_refused(store: FileCheckpointStore, held: Checkpoint, bad: bytes) -> None:
    with pytest.raises(UsageError, match="the output of step step-2 is not canonical"):
        store.save(held, [output(2, output=bad)])
    assert store.load("r-1") == held


@pytest.mark.parametrize("what", ["directory", "link", "fifo"])
@pytest.mark.parametrize("which", ["checkpoint.json", "outputs.jsonl"])
def test_what_is_no_file_is_refused_and_nobody_waits(
    store: FileCheckpointStore, document: Path, held: Checkpoint, what: str, which: str
) -> None:
    path = document.with_name(f"r-1.{which}")
    path.rename(document.parent / "moved")
    if what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to("moved")
    else:
        os.mkfifo(path)
    attempts: list[Attempt] = [lambda: store.load("r-1"), lambda: step(store, held)]
    for attempt in attempts:
        with pytest.raises(StoreError):
            attempt()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileCheckpointStore(tmp_path / "file" / "kept")
    attempts: list[Attempt] = [lambda: store.create(begin()), store.overview, lambda: store.load("r-1"), store.ping]
    for attempt in attempts:
        with pytest.raises(StoreError, match="Not a directory"):
            attempt()


def test_somebody_who_never_lets_go_is_not_waited_for_for_ever(
    store: FileCheckpointStore, document: Path, held: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PATIENCE_SECONDS", 0.0)
    with (
        open_folder(str(document.parent)) as folder,
        locked(folder, ".r-1.checkpoint.lock"),
        pytest.raises(StoreError, match="is held by another process"),
    ):
        step(store, held)
    step(store, held)


def test_what_killed_writers_left_is_swept_away(store: FileCheckpointStore, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "kept"
    folder.mkdir(parents=True)
    (folder / f".r-1.checkpoint.json.{'0' * 16}.tmp").write_text("half")
    (folder / "r-1.outputs.jsonl").write_text("left by a deletion that was killed\n")
    store.create(begin())
    assert names(folder / "x") == {"r-1.checkpoint.json"}
    assert store.outputs("r-1") == []


def test_a_run_whose_name_is_anothers_lock_is_not_in_its_way(store: FileCheckpointStore, tmp_path: Path) -> None:
    (tmp_path / "a" / "kept").mkdir(parents=True)
    with open_folder(str(tmp_path / "a" / "kept")) as folder, locked(folder, "r-1.checkpoint.lock"):
        step(store, store.create(begin()))


def test_reclaimed_bytes_are_those_of_the_files(store: FileCheckpointStore, document: Path, lines: Path) -> None:
    held = store.load("r-1")
    assert held is not None
    store.save(replace(held, status="failed"))
    other = store.create(begin("r-2"))
    store.save(replace(other, status="failed"))
    size = document.stat().st_size + lines.stat().st_size
    pruned = store.prune("2199-01-01T00:00:00.000000Z", 1)
    assert (pruned.removed, pruned.reclaimed) == (["r-1"], size)
    assert names(document) == {"r-2.checkpoint.json"}
