"""Fixtures of the crash tests: the process that commands are forked from."""

from collections.abc import Iterator

import pytest

from tests.stories.world import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The process that commands are forked from, one for each process of tests."""
    server = Server()
    yield server
    server.close()
