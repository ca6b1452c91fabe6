"""Opening: which store an address means. Imports the drivers of that one alone, and asks nothing of it yet."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from golden.errors import UsageError
from replay.checkpoints.contract import CheckpointStore
from replay.checkpoints.memory import MemoryCheckpointStore

DEFAULT_NAME = "checkpoints.sqlite"
_FORMS = "use memory:, file:DIR, sqlite:///PATH or postgresql://USER@HOST/DATABASE"


def open_checkpoints(url: str | None, folder: str) -> CheckpointStore:
    """Return the store of checkpoints at `url`; reading finds nothing where nothing has been saved yet.

    Args:
        url: `memory:`, `file:DIR`, `sqlite:///PATH` (`sqlite:////PATH` for an absolute one) or `postgresql://…`;
            relative paths are from the working directory. None means SQLite in the golden directory.
        folder: the golden directory.

    Raises:
        UsageError: another address, or one whose driver is not installed.
    """
    if url is None:
        return _sqlite(Path(folder) / DEFAULT_NAME)
    # What stands behind the scheme may hold a password: no refusal repeats it.
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory" and not rest:
        return MemoryCheckpointStore()
    if colon and scheme == "file" and rest and not (rest.startswith("//") and not rest.startswith("///")):
        return _file(Path(rest), folder)
    if scheme == "sqlite" and rest.startswith("///") and rest not in {"///", "///:memory:"} and "?" not in rest:
        return _sqlite(Path(rest[3:]))
    if scheme in {"postgresql", "postgres"} and rest.startswith("//"):
        return _postgres(url)
    raise UsageError(f"checkpoints cannot be kept at an address of the form {scheme if colon else '?'}:…", hint=_FORMS)


def _sqlite(path: Path) -> CheckpointStore:
    store: CheckpointStore = import_module("replay.checkpoints.sqlite").SqliteCheckpointStore(path)
    return store


def _file(path: Path, folder: str) -> CheckpointStore:
    kind = import_module("replay.checkpoints.file").FileCheckpointStore
    # Beside the golden files it must not be more durable than they are: a checkpoint is never ahead of its file.
    store: CheckpointStore = kind(path, durable=False)
    return store if store.is_beside(folder) else kind(path)


def _postgres(url: str) -> CheckpointStore:
    try:
        kind = import_module("replay.checkpoints.postgres").PostgresCheckpointStore
    except ImportError as error:
        raise UsageError(
            f"checkpoints in PostgreSQL need a driver that cannot be imported: {error}",
            hint="install it with `pip install 'stepseal[postgres]'`",
        ) from None
    store: CheckpointStore = kind(url)
    return store
