"""Decorators: `@step` and `@external`, by which plain Python functions are steps and external calls of a run.

Outside of a run a decorated function is the function. What a call becomes inside of one is decided in `flow`.
"""

from __future__ import annotations

# Loaded by now, so that a run finds it, and hands the step on with what is given to a pool.
import concurrent.futures.thread  # noqa: F401  as said
import inspect
import time
from collections.abc import AsyncIterator, Callable, Collection, Generator
from functools import cached_property, wraps
from typing import Any, NoReturn, Self, TypeVar, overload

from golden.canonical import canonical_bytes
from golden.errors import FormatError, UsageError
from replay.context import Context
from replay.divergence import Diverged
from replay.effects import EffectError, UnrecordableError, caller
from replay.flow import VERSION, Scope, outside, refuse_stray, running
from replay.functions import innermost
from replay.skill import Skill
from replay.typed import as_json, is_kept, raised, rebuilt, returned, shown

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
        return lambda given: _wrapped(_Step(given, name, ignore))
    return _wrapped(_Step(function, name, ignore))


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
        return lambda given: _wrapped(_External(given, name, ignore, encode, decode))
    return _wrapped(_External(function, name, ignore, encode, decode))


class _Decorated:
    """A decorated function: how its calls are told, and which form it has."""

    kind = ""

    def __init__(self, function: Any, name: str | None, ignore: Collection[str]) -> None:
        if isinstance(function, classmethod | staticmethod | property) or not callable(function):
            raise UsageError(
                f"@{self.kind} of a {type(function).__name__}", hint=f"put @{self.kind} next to the function itself"
            )
        found = innermost(function)
        own = getattr(found, "__qualname__", type(found).__qualname__).rpartition("<locals>.")[2]
        self.function = function
        self.skill = Skill(name or own, VERSION, function)
        self.name = self.skill.id
        self.is_async = self.skill.is_async
        self.is_stream = inspect.isgeneratorfunction(found)
        self.is_async_stream = inspect.isasyncgenfunction(found)
        self._ignored = frozenset(ignore)
        self._is_method = "." in own

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @cached_property
    def _unrecorded(self) -> frozenset[str]:
        first = next(iter(self._signature.parameters), "")
        own = {first} if self._is_method and first in {"self", "cls"} else set[str]()
        return self._ignored | own

    @cached_property
    def _contexts(self) -> list[str]:
        """The parameters that are given the step's Context."""
        return context_parameters(self._signature)

    def scope(self) -> Scope | None:
        """Return the step that a call is part of, None where it is a plain one."""
        return running()

    def told(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by name as JSON values; TypeError for what the function does not take."""
        # A Context that is missing is given to it.
        bind = self._signature.bind_partial if self._contexts else self._signature.bind
        bound = bind(*args, **kwargs)
        found: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if name in self._unrecorded or (name in self._contexts and isinstance(value, Context)):
                continue
            try:
                found[name] = as_json(value)
            except FormatError as error:
                line = f'@{self.kind}(ignore=["{name}"])'
                self.refuse(scope, f"argument {name} of {self.name}: {error.problem}; leave it out: {line}")
        return found

    def with_context(self, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call with the Context that nobody gave."""
        if not self._contexts:
            return kwargs
        given = self._signature.bind_partial(*args, **kwargs).arguments
        return {**kwargs, **{name: context for name in self._contexts if name not in given}}

    def refuse(self, scope: Scope, message: str) -> NoReturn:
        """End the run's step: no recording can hold this call."""
        error = UnrecordableError(message, caller())
        scope.fail(error)
        raise error


class _Step(_Decorated):
    kind = "step"

    def call(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Doing(self, scope, args, kwargs) as doing, doing.scope.entered():
            value = self.function(*args, **self.with_context(doing.scope.context, args, kwargs))
            if self.is_stream:
                value = list(value)
            doing.output = value
        return value

    async def call_async(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Doing(self, scope, args, kwargs) as doing, doing.scope.entered():
            value = self.function(*args, **self.with_context(doing.scope.context, args, kwargs))
            doing.scope.coroutine = value
            value = [item async for item in value] if self.is_async_stream else await value
            doing.output = value
        return value


class _Doing:
    """One call of a step, from its arguments to its event."""

    def __init__(self, of: _Step, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._of = of
        inputs = canonical_bytes(of.told(scope, args, kwargs))
        self.scope = scope.begin(of.skill, inputs)
        self.output: Any = None

    def __enter__(self) -> Self:
        self._began = time.perf_counter_ns()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        raw = None
        taken = (time.perf_counter_ns() - self._began) // 1000
        if error is None:
            try:
                raw = canonical_bytes(as_json(self.output))
            except FormatError as refused:
                where = self._of.skill.location()
                error = UnrecordableError(f"output of {self._of.name}: {refused.problem}", where)
        self.scope.end(self._of.skill, raw, error, taken)
        if isinstance(error, UnrecordableError):
            raise error


class _External(_Decorated):
    kind = "external"

    def __init__(
        self,
        function: Any,
        name: str | None,
        ignore: Collection[str],
        encode: Callable[[Any], Any] | None,
        decode: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(function, name, ignore)
        self._encode = encode
        self._decode = decode

    def scope(self) -> Scope | None:
        """See above; a call of which nobody can say whose it is, is refused."""
        found = running()
        if found is None:
            refuse_stray(self.name)
        return found

    @cached_property
    def _returned(self) -> Any:
        return returned(self.function, stream=self.is_stream or self.is_async_stream)

    def call(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        told = self.told(scope, args, kwargs)
        before = canonical_bytes(told)

        def ask(**_: Any) -> Any:
            with outside():
                value = self.function(*args, **kwargs)
                value = list(value) if self.is_stream else value
            return self._stored(scope, value, before, args, kwargs)

        try:
            return self._made(scope.calls.call(self.name, ask, (), told))
        except EffectError as error:
            self._raise(scope, error)
        except (Diverged, UnrecordableError) as error:
            scope.locate(error, self.skill)
            raise

    async def call_async(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        told = self.told(scope, args, kwargs)
        before = canonical_bytes(told)

        async def ask(**_: Any) -> Any:
            with outside():
                value = self.function(*args, **kwargs)
                value = [item async for item in value] if self.is_async_stream else await value
            return self._stored(scope, value, before, args, kwargs)

        try:
            return self._made(await scope.calls.call(self.name, ask, (), told))
        except EffectError as error:
            self._raise(scope, error)
        except (Diverged, UnrecordableError) as error:
            scope.locate(error, self.skill)
            raise

    def _stored(self, scope: Scope, value: Any, before: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what it returned as JSON values, of which the same can be made again."""
        if canonical_bytes(self.told(scope, args, kwargs)) != before:
            self.refuse(scope, f"{self.name} changed an argument, which a replay would not; return what is new")
        if self._encode is not None:
            return self._encode(value)
        try:
            stored = as_json(value)
            made = self._made(stored)
        except FormatError as error:
            self.refuse(scope, f"result of {self.name}: {error.problem}; say how it is stored: {_CODEC}")
        if not is_kept(value, made):
            kind = shown(type(value[0] if self.is_stream or self.is_async_stream else value))
            self.refuse(scope, f"result of {self.name} is a {kind}, made again it is another; annotate it: -> {kind}")
        return stored

    def _made(self, stored: Any) -> Any:
        if self._decode is not None:
            return self._decode(stored)
        if self.is_stream or self.is_async_stream:
            return [rebuilt(item, self._returned) for item in stored]
        return rebuilt(stored, self._returned)

    def _raise(self, scope: Scope, error: EffectError) -> NoReturn:
        made = raised(self.function, error.type, error.message)
        if made is None:
            raise error
        if error.__cause__ is not None and not isinstance(error.__cause__, type(made)):
            self.refuse(scope, f"{self.name} raised a {error.type}, its module sees another class of that name")
        # Where in the function it failed is known where it was called.
        made.__dict__["frames"] = error.frames
        raise made from error.__cause__


_CODEC = "@external(encode=…, decode=…)"


def context_parameters(signature: inspect.Signature) -> list[str]:
    """Return the names of parameters that stand for the step's Context, by name or annotation."""
    return [
        parameter.name
        for parameter in signature.parameters.values()
        if (parameter.name in {"ctx", "context"} and parameter.annotation in _UNTYPED) or parameter.annotation in _TYPED
    ]


_NAMES = ("Context", "replay.Context")
_TYPED = (Context, Context | None, *_NAMES, *(f"{name} | None" for name in _NAMES))
_UNTYPED = (inspect.Parameter.empty, *_TYPED)


def _wrapped(of: _Step | _External) -> Any:
    """Return the function that stands in place of a decorated one, of the same form."""
    form = _stream_async if of.is_async_stream else _stream if of.is_stream else _call_async if of.is_async else _call
    made = wraps(of.function)(form(of, of.function))
    made.__dict__["decorated"] = of
    return made


def _stream_async(of: _Step | _External, function: Any) -> Any:
    async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        scope = of.scope()
        if scope is None:
            async for item in function(*args, **kwargs):
                yield item
        else:
            for item in await of.call_async(scope, args, kwargs):
                yield item

    return stream


def _stream(of: _Step | _External, function: Any) -> Any:
    def stream(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        scope = of.scope()
        return (yield from function(*args, **kwargs) if scope is None else of.call(scope, args, kwargs))

    return stream


def _call_async(of: _Step | _External, function: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        scope = of.scope()
        return await (function(*args, **kwargs) if scope is None else of.call_async(scope, args, kwargs))

    return call


def _call(of: _Step | _External, function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        scope = of.scope()
        return function(*args, **kwargs) if scope is None else of.call(scope, args, kwargs)

    return call
