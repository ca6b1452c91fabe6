"""Decorators: `@step` and `@external`, by which plain Python functions are steps and external calls of a run.

Outside of a run a decorated function is the function. What a call becomes inside of one is `decorated`'s business.
"""

from __future__ import annotations

# Loaded by now, so that a run finds it, and hands the step on with what is given to a pool.
import concurrent.futures.thread  # noqa: F401  as said
from collections.abc import AsyncIterator, Callable, Collection, Generator
from functools import wraps
from typing import Any, TypeVar, overload

from golden.errors import UsageError
from replay.decorated import Decorated, DecoratedExternal, DecoratedStep

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def step(function: Function, /) -> Function: ...
@overload
def step(*, name: str | None = None, ignore: Collection[str] = ()) -> Callable[[Function], Function]: ...
def step(function: Any = None, /, *, name: str | None = None, ignore: Collection[str] = ()) -> Any:
    """Make a function a step: in a run its arguments and what it returns are recorded, in a replay compared.

    It is run again in a replay. Arguments and result are JSON values, or dataclasses, attrs, msgspec or pydantic
    objects; of a generator the list of its items, which are made before the first is given. Outside of a run it is the
    function itself.

    Args:
        function: sync or async, a generator, a method.
        name: how it is called in paths (`agent/<name>`), by default as the function is.
        ignore: parameters that are not recorded, such as clients.

    Raises:
        UsageError: it is no function.
    """
    if function is None:
        return lambda given: _wrapped(DecoratedStep(given, name, ignore))
    return _wrapped(DecoratedStep(function, name, ignore))


@overload
def external(function: Function, /) -> Function: ...
@overload
def external(
    *,
    name: str | None = None,
    ignore: Collection[str] = (),
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Callable[[Function], Function]: ...
def external(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    ignore: Collection[str] = (),
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Any:
    """Make a function one that asks the world: in a run it is called once and recorded, in a replay never called.

    What it returns is stored as JSON and made again of it, in a run as in a replay, as the type that it is annotated
    to return. An exception that it raises is raised again by its type, where the function's module can see that, else
    as `EffectError`. Outside of a run it is the function itself.

    Args:
        function: sync or async, a generator, a method.
        name: how the call is named in the recording, by default as the function is.
        ignore: parameters that are not recorded, such as clients.
        encode: gives JSON values for what it returns.
        decode: makes what it returns of these.

    Raises:
        UsageError: it is no function, or encode comes without decode.
    """
    if (encode is None) is not (decode is None):
        raise UsageError("@external has one of encode and decode", hint="give both, or neither")
    if function is None:
        return lambda given: _wrapped(DecoratedExternal(given, name, ignore, encode, decode))
    return _wrapped(DecoratedExternal(function, name, ignore, encode, decode))


def _wrapped(of: Decorated) -> Any:
    """Return the function that stands in place of a decorated one, of the same form."""
    form = _stream_async if of.is_async_stream else _stream if of.is_stream else _call_async if of.is_async else _call
    made = wraps(of.function)(form(of, of.function))
    made.__dict__["decorated"] = of
    return made


def _stream_async(of: Decorated, function: Any) -> Any:
    async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        scope = of.scope()
        if scope is None:
            async for item in function(*args, **kwargs):
                yield item
        else:
            for item in await of.call_async(scope, args, kwargs):
                of.take(scope, (yield item))

    return stream


def _stream(of: Decorated, function: Any) -> Any:
    def stream(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        scope = of.scope()
        if scope is None:
            return (yield from function(*args, **kwargs))
        for item in of.call(scope, args, kwargs):
            of.take(scope, (yield item))
        return None

    return stream


def _call_async(of: Decorated, function: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        scope = of.scope()
        return await (function(*args, **kwargs) if scope is None else of.call_async(scope, args, kwargs))

    return call


def _call(of: Decorated, function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        scope = of.scope()
        return function(*args, **kwargs) if scope is None else of.call(scope, args, kwargs)

    return call
