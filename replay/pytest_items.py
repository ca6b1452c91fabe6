"""Items: what pytest's own objects say of golden values: whose they are, by what name, and what was collected.

Asks for no value, and keeps none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from golden.errors import UsageError
from replay.checks import checked_name, listed
from replay.tally import DOCTEST, Collected


class Noted(Protocol):
    """What is noted while tests are collected: all of them, files begun, and by node id whether all of it went well."""

    items: list[pytest.Item]
    begun: list[pytest.Collector]
    collected: dict[str, bool]


def collected_of(noted: Noted, root: str, *, partly: bool) -> Collected:
    """Return what was collected; where that was done `partly`, no module counts as whole."""
    found = Collected()
    for item in noted.items:
        module, test = place_of(item, root)
        found.tests.setdefault(module, set()).add(test)
    for file in () if partly else noted.begun:
        # Of a module that is named with a test the others are left out, and no report is made of it.
        if noted.collected.get(file.nodeid):
            whole = found.doctests if type(file).__name__.startswith("Doctest") else found.modules
            whole.add(_within(file, root))
    return found


def place_of(item: pytest.Item, root: str) -> tuple[str, str]:
    """Return the path of a test's module relative to the root, and its name there, which no scheduler changes."""
    module, name = _within(item, root), given_name(item)
    if isinstance(item, pytest.DoctestItem):
        return module, f"{DOCTEST}{item.name}"
    if name is not None:
        return module, f"{name}{item.name[item.name.index('[') :] if '[' in item.name else ''}"
    return module, "::".join([*(node.name for node in item.listchain() if isinstance(node, pytest.Class)), item.name])


def given_name(item: pytest.Item) -> str | None:
    """Return the name that the closest marker gives a test, None where none does."""
    return next((mark.kwargs["name"] for mark in _marks(item) if "name" in mark.kwargs), None)


def volatile_places(item: pytest.Item) -> list[str]:
    """Return the volatile places of all markers of a test."""
    given = (mark.kwargs.get("volatile", ()) for mark in _marks(item))
    return list(dict.fromkeys(place for places in given for place in listed(places)))


def check_markers(item: pytest.Item) -> None:
    """Refuse a marker that says what would have no effect; raises UsageError."""
    for mark in _marks(item):
        odd = [*map(repr, mark.args), *sorted(mark.kwargs.keys() - {"name", "volatile"})]
        if odd:
            raise UsageError(
                f"the marker golden takes name and volatile, not {', '.join(odd)}",
                hint='write @pytest.mark.golden(name="…", volatile=["…"])',
            )
        if mark.kwargs.get("name") is not None:
            checked_name(mark.kwargs["name"])


def _marks(item: pytest.Item) -> Iterator[Any]:
    return item.iter_markers("golden")


def _within(node: pytest.Item | pytest.Collector, root: str) -> str:
    return Path(os.path.relpath(node.path, root)).as_posix()
