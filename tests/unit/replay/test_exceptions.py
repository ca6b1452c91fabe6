"""Which class an exception of the world has that is made again: the nearest of its name, and only if there is one."""

import builtins
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from replay.exceptions import raised


def seeing(**names: Any) -> Callable[..., Any]:
    """Return a function of a module that has these names."""
    space: dict[str, Any] = {"__builtins__": builtins, **names}
    exec("def function(): ...", space)  # noqa: S102  a module without a file
    found: Callable[..., Any] = space["function"]
    return found


@pytest.mark.parametrize(
    "names, kind",
    [
        ({}, ConnectionError),
        # As `import requests` does.
        ({"client": sqlite3}, sqlite3.Warning),
        ({"client": sqlite3, "Warning": UserWarning}, UserWarning),
        ({"urllib": urllib}, urllib.error.HTTPError),
        ({"request": urllib.request, "error": urllib.error}, urllib.error.URLError),
    ],
)
def test_the_nearest_class_of_a_name_is_the_one(names: dict[str, Any], kind: type[Exception]) -> None:
    found = raised(seeing(**names), "Warning" if "Warning" in names else kind.__name__, "no")
    assert isinstance(found, kind)
    assert str(found) == "no"


def test_of_two_as_near_it_is_neither() -> None:
    other = type(sqlite3)("other")
    vars(other)["Warning"] = ValueError
    assert raised(seeing(sqlite3=sqlite3, other=other), "Warning", "no") is None


@pytest.mark.parametrize("name", ["ExceptionGroup", "Nowhere", "int", "KeyboardInterrupt"])
def test_what_is_no_such_class_or_cannot_be_made_is_none(name: str) -> None:
    assert raised(seeing(), name, "no") is None


def test_one_made_again_looks_as_it_did() -> None:
    found = raised(seeing(), "FileNotFoundError", "[Errno 2] No such file: 'x'")
    assert repr(found) == """FileNotFoundError("[Errno 2] No such file: 'x'")"""
    assert (type(found).__module__, type(found).__qualname__) == ("builtins", "FileNotFoundError")
    assert type(raised(seeing(), "ValueError", "no")) is ValueError
