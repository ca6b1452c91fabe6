"""An address means one store, imports its driver alone, and what is none is refused without its secrets."""

import subprocess
import sys
from pathlib import Path

import pytest

from golden.errors import UsageError
from replay.checkpoints.file import FileCheckpointStore
from replay.checkpoints.opening import open_checkpoints
from tests.checkpoint_places import begin
from tests.runs import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The golden directory, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "golden")


@pytest.mark.parametrize(
    "url, kind, place",
    [
        ("memory:", "MemoryCheckpointStore", "memory"),
        ("file:kept", "FileCheckpointStore", "{here}/kept"),
        ("file:{here}/kept", "FileCheckpointStore", "{here}/kept"),
        ("file:///{here}/kept", "FileCheckpointStore", "{here}/kept"),
        ("sqlite:///c.db", "SqliteCheckpointStore", "{here}/c.db"),
        ("sqlite:///{here}/c.db", "SqliteCheckpointStore", "{here}/c.db"),
        (None, "SqliteCheckpointStore", "{here}/golden/checkpoints.sqlite"),
        ("postgresql://me:geheim@db:5433/runs", "PostgresCheckpointStore", "postgresql://me@db:5433/runs"),
        ("postgres://db/runs?password=geheim", "PostgresCheckpointStore", "postgresql://db:5432/runs"),
        (
            "postgresql://me%40corp:geheim@[::1]:5433/runs",
            "PostgresCheckpointStore",
            "postgresql://me@corp@::1:5433/runs",
        ),
        ("postgresql://", "PostgresCheckpointStore", "postgresql://localhost:5432/"),
    ],
)
def test_an_address_means_a_store(url: str | None, kind: str, place: str, folder: str) -> None:
    here = str(Path.cwd())
    store = open_checkpoints(url and url.format(here=here), folder)
    assert type(store).__name__ == kind
    assert store.place == place.format(here=here)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "geheim",
        "memory:geheim",
        "memory",
        "file:",
        "file://geheim/kept",
        "sqlite:",
        "sqlite://geheim/c.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///c.db?geheim=1",
        "mysql://me:geheim@db/runs",
        "postgresql+asyncpg://me:geheim@db/runs",
        "postgresql:geheim",
        "postgresql://me:geheim%zz@db/runs",
        "postgresql://me:geheim@db:port/runs?geheim=1",
        "Sqlite:///geheim",
        "postgresql://me:ge@heim@db/geheim",
        "postgresql://me:a/geheim@db/runs",
        "postgresql://me:1/geheim@db/runs",
        "postgresql://me:a:b@geheim@db/runs",
        "postgresql://geheim:a@b@c",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str, folder: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_checkpoints(url, folder)
    assert "geheim" not in f"{caught.value.problem} {caught.value.hint}"
    assert "://" in caught.value.hint


@pytest.mark.parametrize("url, durable", [("file:kept", True), ("file:golden", False), ("file:golden/kept", False)])
def test_files_beside_the_golden_files_are_no_more_durable_than_they(url: str, durable: bool, folder: str) -> None:
    store = open_checkpoints(url, folder)
    assert isinstance(store, FileCheckpointStore)
    assert store._durable is durable
    assert store.is_beside(folder) is not durable


def test_a_store_brings_its_own_driver_and_no_other(tmp_path: Path) -> None:
    script = f"""
import sys
from replay.checkpoints.opening import open_checkpoints
drivers = {{"sqlite3", "psycopg", "psycopg_pool", "stamina"}}
def brought(url):
    open_checkpoints(url, {str(tmp_path)!r})
    return sorted(drivers & set(sys.modules))
print(brought("memory:"), brought("file:x"), brought(None), brought("postgresql://db/x"))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[] [] ['sqlite3'] ['psycopg', 'psycopg_pool', 'sqlite3']\n"


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
def test_without_the_extra_postgresql_is_refused_with_what_to_install(missing: str, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules[{missing!r}] = None
from golden.errors import UsageError
from replay.checkpoints.opening import open_checkpoints
try:
    open_checkpoints("postgresql://me:geheim@db/x", {str(tmp_path)!r})
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install 'stepseal[postgres]'" in done.stdout
    assert "geheim" not in done.stdout


def test_a_default_store_is_made_in_the_golden_directory_when_a_run_is_saved(folder: str) -> None:
    store = open_checkpoints(None, folder)
    store.create(begin())
    store.close()
    assert [path.name for path in Path(folder).iterdir()] == ["checkpoints.sqlite"]
    assert Path(folder).stat().st_mode & 0o777 == 0o750
