"""Plain: a Python function as a run: the spec of one step that stands for it, and the skill that calls it.

Runs nothing. What it calls by `@step` and `@external` is found while it runs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from golden.errors import FormatError, UsageError
from replay.context import Context
from replay.functions import innermost, is_coroutine_function
from replay.parameters import context_parameters
from replay.skill import SkillRegistry
from replay.spec import Spec
from replay.streams import items_of, items_of_async
from replay.typed import as_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def name_of(function: Callable[..., Any]) -> str:
    """Return what the one step of a function's run is called: as the function is, `main` where that is no step id."""
    name = getattr(innermost(function), "__name__", "")
    return name if _NAME.match(name) else "main"


def spec_of(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Spec:
    """Return the spec of one step that calls `function` with the run's inputs.

    Raises:
        UsageError: it takes others.
    """
    name = name_of(function)
    signature, contexts, as_one = _form(function)
    try:
        signature.bind(**dict.fromkeys(contexts), **({"inputs": inputs} if as_one else inputs))
    except TypeError as error:
        raise UsageError(f"{name}: {error}", hint="give its arguments as run inputs (--input NAME=VALUE)") from None
    given = {key: "${inputs." + key + "}" for key in inputs}
    return Spec({"id": name, "steps": [{"id": name, "skill_id": name, "inputs": given}]}, source=name)


def registry_of(function: Callable[..., Any]) -> SkillRegistry:
    """Return the one skill of a function's run.

    A parameter that is named or annotated as Context is given it, a single other one called `inputs` the dict of the
    inputs, and otherwise each input is an argument.

    Raises:
        UsageError: it is no function.
    """
    if not callable(function):
        raise UsageError(f"{function!r} is no function", hint="give the function that is to be run")
    # The run's own step is the function itself, whether it is a step elsewhere or not.
    of = getattr(function, "__dict__", {}).get("decorated")
    if of is not None:
        function = of.function
    registry = SkillRegistry()
    registry.skill(name_of(function))(_called(function))
    return registry


def _called(function: Callable[..., Any]) -> Callable[[Context], Any]:
    _, contexts, as_one = _form(function)

    def arguments(ctx: Context) -> dict[str, Any]:
        given = {"inputs": ctx.inputs} if as_one else ctx.inputs
        return {**dict.fromkeys(contexts, ctx), **given}

    if is_coroutine_function(function) or inspect.isasyncgenfunction(innermost(function)):

        async def call_async(ctx: Context) -> Any:
            value = function(**arguments(ctx))
            return _told(await (items_of_async(value) if hasattr(value, "__aiter__") else value))

        return wraps(innermost(function))(call_async)

    def call(ctx: Context) -> Any:
        value = function(**arguments(ctx))
        return _told(items_of(value) if inspect.isgenerator(value) else value)

    return wraps(innermost(function))(call)


def _form(function: Callable[..., Any]) -> tuple[inspect.Signature, list[str], bool]:
    """Return how a function is called, which parameters are given the Context, and whether one takes all inputs."""
    signature = inspect.signature(function)
    contexts = context_parameters(signature)
    return signature, contexts, [name for name in signature.parameters if name not in contexts] == ["inputs"]


def _told(value: Any) -> Any:
    try:
        return as_json(value)
    except FormatError:
        # Whoever looks at it next says where it is no JSON value.
        return value
