"""Fixtures of the stories: the process that commands are forked from, and worlds whose secrets leak."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.world import Leak, Server, World, commit, run_git


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The process that commands are forked from, one for each process of tests."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    """A host with one HMAC key and the honest runs a, b and c."""
    world = World(server, tmp_path, "--hmac")
    world.record("a", "b", "c")
    world.save()
    return world


@pytest.fixture
def leak(world: World) -> Leak:
    """The same, its anchor kept elsewhere, its secret leaked."""
    return Leak(world)


@pytest.fixture
def pair(server: Server, tmp_path: Path) -> World:
    """A host with an HMAC and an Ed25519 key, and the honest runs a, b and c."""
    world = World(server, tmp_path)
    world.record("a", "b", "c")
    world.save()
    return world


@pytest.fixture
def git(server: Server, tmp_path: Path) -> World:
    """A git repository whose store has no ledger: the honest runs a, b and c, committed."""
    here = tmp_path / "project"
    here.mkdir(parents=True)
    run_git(here, "init", "-q", "-b", "main")
    world = World(server, tmp_path, "--hmac")
    world.record("a", "b", "c")
    world.save()
    commit(world)
    return world
