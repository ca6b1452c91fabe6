"""A library finds a project's directory, keys and skills where the command finds them, wherever a test has gone."""

import os
from pathlib import Path

import pytest

from cli.settings import Settings
from golden.errors import GoldenError
from replay.project import Project
from tests import runs

KID = runs.keyring().active.kid


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a configuration, and a secret in a file; the working directory."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("GOLDEN_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "golden.toml").write_text('dir = "goldens"\nskills = ["a.py:b", "module"]\nledger = false\n')
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_bytes(runs.ACTIVE)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "environ",
    [
        {"GOLDEN_SECRET": runs.ACTIVE.decode()},
        {"GOLDEN_SECRET_FILE": "secret"},
        {"GOLDEN_SECRET_FILE": "secret", "GOLDEN_DIR": "elsewhere", "GOLDEN_STATE_DIR": "state"},
    ],
    ids=" ".join,
)
def test_library_and_command_agree(here: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    there = settings.store()
    expected = str(Path(there.folder).absolute()), settings.state_dir and str(Path(settings.state_dir).absolute())
    project = Project(str(here), dict(os.environ), str(here))
    monkeypatch.chdir("/")
    store = project.store()
    assert (store.folder, store.memory and store.memory.folder) == expected
    assert store.keyring.active.kid == KID
    assert (store.ledger, store.durability) == (there.ledger, there.durability)


def test_skills_are_named_from_where_the_configuration_lies(here: Path) -> None:
    below = here / "tests"
    below.mkdir()
    project = Project(str(below), {}, str(below))
    assert project.skills == [str(here / "a.py:b"), "module"]
    assert project.root == str(here)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("dir = 1", "golden.toml: dir must be text"),
        ("ledger = 1", "golden.toml: ledger must be true or false"),
        ("skills = [1]", "golden.toml: skills must be text or a list of texts"),
        ("dir", "golden.toml is no TOML"),
        ('durability = "often"', "durability 'often' does not exist"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(here: Path, text: str, problem: str) -> None:
    (here / "golden.toml").write_text(text)
    with pytest.raises(GoldenError, match=problem):
        _everything_of(here)


def _everything_of(here: Path) -> object:
    project = Project(str(here), {}, str(here))
    return project.skills, project.store()
