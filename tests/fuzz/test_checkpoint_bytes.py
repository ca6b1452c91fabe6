"""Whatever byte of a stored checkpoint is changed, the checkpoint is the same or is not believed."""

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from golden.errors import StoreError
from replay.checkpoints.contract import Checkpoint, CheckpointStore, StepOutput
from replay.checkpoints.file import FileCheckpointStore
from replay.checkpoints.sqlite import SqliteCheckpointStore
from tests.checkpoint_places import begin, failed, step


def stored(store: CheckpointStore) -> tuple[Checkpoint, list[StepOutput]]:
    """Store a run of three steps, and return what it says."""
    held = step(
        store, step(store, store.create(begin(tenant_id="acme", lease_owner="host:1")), "one"), {"two": [2, "ü"]}
    )
    held = store.save(replace(held, total_cost_cents=7), [failed(2)])
    outputs = store.outputs("r-1")
    store.close()
    return held, outputs


def hashed(checkpoint: Checkpoint) -> Checkpoint:
    """Return what the hash of a checkpoint covers: neither the lease nor when it was updated."""
    return replace(checkpoint, lease_owner=None, lease_until=None, updated_at="")


def check(store: CheckpointStore, held: Checkpoint, outputs: list[StepOutput], case: object) -> bool:
    """Check that a store gives what was stored or refuses; say whether it refused."""
    try:
        found = store.load("r-1")
        given = store.outputs("r-1")
    except StoreError:
        return True
    finally:
        store.close()
    if found is None:
        # A row that cannot be found any more is none: a run is resumed from its golden file.
        return isinstance(store, SqliteCheckpointStore)
    assert hashed(found) == hashed(held), case
    assert given == outputs, case
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r-1.checkpoint.json", "r-1.outputs.jsonl"])
def test_every_byte_of_a_file_counts(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    held, outputs = stored(FileCheckpointStore(folder, durable=False))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    data = files[name]
    refused = 0
    changes = [data[:size] for size in range(len(data))]
    for place in range(len(data)):
        changes += [data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :] for bit in (0x01, 0x10, 0x80)]
    for number, changed in enumerate(changes):
        for path in folder.iterdir():
            path.unlink()
        for other, content in files.items():
            (folder / other).write_bytes(changed if other == name else content)
        refused += check(FileCheckpointStore(folder, durable=False), held, outputs, (number, changed))
        # What is not believed is kept.
        assert changed in [path.read_bytes() for path in folder.iterdir()], number
    assert refused > 0.8 * len(changes)


@pytest.mark.slow
def test_damage_to_a_database_is_noticed_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    held, outputs = stored(SqliteCheckpointStore(path))
    data = path.read_bytes()
    chance = random.Random(7)
    refused = 0
    for number in range(1500):
        changed = bytearray(data)
        if number % 5:
            for _ in range(chance.choice([1, 1, 2, 8])):
                changed[chance.randrange(len(data))] = chance.randrange(256)
        else:
            del changed[chance.randrange(len(data)) :]
        path.write_bytes(changed)
        refused += check(SqliteCheckpointStore(path), held, outputs, number)
        for left in tmp_path.glob("c.sqlite-*"):
            left.unlink()
    assert refused > 100
