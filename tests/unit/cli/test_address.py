"""Addresses of checkpoints: which there are, which file they mean, and that none shows its password."""

import pytest

from cli.address import check_address, from_base, masked, path_of
from golden.errors import UsageError

GOOD = (
    "memory:",
    "file:kept",
    "sqlite:///kept.sqlite",
    "sqlite:////srv/kept.sqlite",
    "postgresql://golden@db/golden",
    "postgres://db",
)
SECRET = "hunter2"


@pytest.mark.parametrize("url", GOOD)
def test_an_address_is_taken_as_it_is(url: str) -> None:
    assert check_address(url, "GOLDEN_CHECKPOINTS") == url


@pytest.mark.parametrize(
    "url, said",
    [
        ("mysql://u:hunter2@db/x", "it begins with mysql: and more"),
        ("postgresql+asyncpg://u:hunter2@db/x", "it begins with postgresql+asyncpg: and more"),
        ("hunter2", "it has no scheme"),
        ("host=db password=hunter2", "it has no scheme"),
        ("HUNTER2:x", "it has no scheme"),
        ("sqlite:kept", "it begins with sqlite: and more"),
        ("sqlite:///", "it begins with sqlite: and more"),
        ("file:", "it begins with file: and more"),
        ("memory:x", "it begins with memory: and more"),
        ("postgresql://", "it begins with postgresql: and more"),
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(url: str, said: str) -> None:
    with pytest.raises(UsageError, match="GOLDEN_CHECKPOINTS is no address of checkpoints") as refusal:
        check_address(url, "GOLDEN_CHECKPOINTS")
    assert said in refusal.value.problem
    assert SECRET not in str(refusal.value).lower()


def test_a_database_of_another_kind_may_stay_where_it_is() -> None:
    with pytest.raises(UsageError) as refusal:
        check_address("mysql://db/x", "DATABASE_URL")
    assert "leave it and set GOLDEN_CHECKPOINTS" in refusal.value.hint


@pytest.mark.parametrize(
    "url, path",
    [
        ("sqlite:///kept.sqlite", "kept.sqlite"),
        ("sqlite:////srv/x", "/srv/x"),
        ("file:kept", "kept"),
        ("memory:", None),
        ("postgresql://db/x", None),
    ],
)
def test_a_file_or_folder_is_named(url: str, path: str | None) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize(
    "url, found",
    [
        ("sqlite:///kept.sqlite", "sqlite:///../kept.sqlite"),
        ("sqlite:////srv/x", "sqlite:////srv/x"),
        ("file:kept", "file:../kept"),
        ("file:/srv/x", "file:/srv/x"),
        ("memory:", "memory:"),
        ("postgresql://db/x", "postgresql://db/x"),
    ],
)
def test_a_path_is_relative_to_the_file_that_names_it(url: str, found: str) -> None:
    assert from_base(url, "..") == found


@pytest.mark.parametrize(
    "url, shown",
    [
        ("postgresql://golden@db:5432/golden", "postgresql://golden@db:5432/golden"),
        ("postgresql://golden:hunter2@db:5432/golden", "postgresql://golden:…@db:5432/golden"),
        ("postgres://:hunter2@db/golden", "postgres://:…@db/golden"),
        ("postgresql://golden:hunter2@more@db/golden", "postgresql://golden:…@db/golden"),
        ("postgresql://golden:hunter2/x@db/golden", "postgresql://golden:…@db/golden"),
        ("postgresql://golden:hunter2?x@db/golden", "postgresql://golden:…@db/golden"),
        ("postgresql://golden:hunter2\n@db/golden", "postgresql://golden:…@db/golden"),
        ("postgresql://db/golden?user=me&password=hunter2", "postgresql://db/golden?…"),
        ("postgresql://db/golden?pass%77ord=hunter2", "postgresql://db/golden?…"),
        ("mysql://u:hunter2@db/x", "mysql:…"),
        ("hunter2", "…"),
        ("memory:", "memory:"),
        ("sqlite:///a?b@c", "sqlite:///a?b@c"),
        ("file:kept", "file:kept"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert SECRET not in shown
