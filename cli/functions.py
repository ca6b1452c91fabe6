"""Functions: plain Python functions in place of specs and their skills: `--function` and the key `functions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import click

from golden.errors import UsageError
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


def with_functions(registry: SkillRegistry, configured: Sequence[str], name: str | None) -> Function | None:
    """Register the functions that are configured, and the one that was named, which wins; return that one.

    Each is the user's code, and known by its own name, as a run of it is.

    Raises:
        UsageError: two have one name, or a skill has it; or there is no such function.
    """
    origins = dict.fromkeys((skill.id for skill in registry), "a skill")
    for place in configured:
        found = _registered(load_function(place))
        for skill in found:
            if skill.id in origins:
                problem = f"functions: {place} is called {skill.id}, and so is {origins[skill.id]}"
                raise UsageError(problem, hint="give one of them another name, or leave it out")
            origins[skill.id] = place
        registry.update(found)
    if name is None:
        return None
    function = load_function(name)
    registry.update(_registered(function))
    return function


def _registered(function: Function) -> SkillRegistry:
    # Only whoever runs one pays for it.
    found: SkillRegistry = import_module("replay.plain").registry_of(function)
    return found
