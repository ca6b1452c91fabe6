"""Functions: `--function FILE.py:NAME`, a plain Python function in place of a spec and its skills."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from replay.skill import SkillRegistry, load_function

Function = Callable[..., Any]


def function_option(function: Function) -> Function:
    """Add the option to a command under which steps run."""
    return click.option(
        "--function",
        "function_name",
        metavar="FILE.py:NAME",
        help="The plain Python function that is run, in place of a spec.",
    )(function)


def with_function(registry: SkillRegistry, name: str | None) -> Function | None:
    """Register the function of that name, which is the user's code, and return it; None where there is no name."""
    if name is None:
        return None
    function = load_function(name)
    registry.update(import_module("replay.plain").registry_of(function))
    return function
