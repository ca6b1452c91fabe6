"""Decorated: what a call of a decorated function becomes inside of a run: a step of its own, or an external call.

Decides nothing about calls outside of runs; see `decorators` for what one writes.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any, NoReturn, Self

from golden.canonical import canonical_bytes
from golden.errors import FormatError, UsageError
from replay.divergence import Diverged
from replay.effects import EffectError, UnrecordableError
from replay.exceptions import raised
from replay.flow import VERSION, Scope, outside, refuse_stray, running
from replay.functions import innermost
from replay.parameters import Parameters, UntoldError
from replay.skill import Skill
from replay.streams import StreamError, items_of, items_of_async
from replay.typed import annotation_of, as_json, is_kept, rebuilt, returned, shown


class Decorated:
    """A decorated function: how its calls are told, and which form it has."""

    kind = ""

    def __init__(self, function: Any, name: str | None, ignore: Collection[str], *, defaults: bool) -> None:
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
        self.parameters = Parameters(function, ignore=ignore, is_method="." in own, defaults=defaults)

    def scope(self) -> Scope | None:
        """Return the step that a call is part of, None where it is a plain one."""
        return running()

    def call(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a call comes to in the step `scope`, of a generator the list of its items."""
        raise NotImplementedError

    async def call_async(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `call`."""
        raise NotImplementedError

    def told(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by name as JSON values; TypeError for what the function does not take."""
        try:
            return self.parameters.told(args, kwargs)
        except UntoldError as error:
            line = f'@{self.kind}(ignore=["{error.name}"])'
            scope.refuse(f"argument {error.name} of {self.name}: {error.problem}; leave it out: {line}")

    def valued(self, scope: Scope, value: Any) -> Any:
        """Return what the function gives: of a generator its items."""
        try:
            return items_of(value) if self.is_stream else value
        except StreamError as error:
            scope.refuse(f"{self.name}: {error}")

    async def awaited(self, scope: Scope, value: Any) -> Any:
        """Return what the function gives that is to be awaited: of a generator its items."""
        try:
            return await (items_of_async(value) if self.is_async_stream else value)
        except StreamError as error:
            scope.refuse(f"{self.name}: {error}")

    def take(self, scope: Scope, sent: Any) -> None:
        """Take what a generator is sent after an item: it has come to its end by then."""
        if sent is not None:
            scope.refuse(f"{self.name} is sent a value, and has given all its items by then; call it with that")


class DecoratedStep(Decorated):
    """A function whose calls are steps: run again in a replay, what they take and give compared."""

    kind = "step"

    def __init__(self, function: Any, name: str | None, ignore: Collection[str]) -> None:
        # What nobody gives the function finds again when it is run again.
        super().__init__(function, name, ignore, defaults=False)

    def call(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Decorated`."""
        with _Doing(self, scope, args, kwargs) as doing, doing.scope.entered():
            value = self.function(*args, **self.parameters.with_context(doing.scope.context, args, kwargs))
            doing.output = value = self.valued(doing.scope, value)
        return value

    async def call_async(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Decorated`."""
        with _Doing(self, scope, args, kwargs) as doing, doing.scope.entered():
            value = self.function(*args, **self.parameters.with_context(doing.scope.context, args, kwargs))
            doing.scope.coroutine = value
            doing.output = value = await self.awaited(doing.scope, value)
        return value


class _Doing:
    """One call of a step, from its arguments to its event."""

    def __init__(self, of: DecoratedStep, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
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


class DecoratedExternal(Decorated):
    """A function whose calls ask the world: answered from the recording in a replay, by `encode` and `decode`."""

    kind = "external"

    def __init__(
        self,
        function: Any,
        name: str | None,
        ignore: Collection[str],
        encode: Callable[[Any], Any] | None,
        decode: Callable[[Any], Any] | None,
    ) -> None:
        # Nothing of the function is run in a replay: what it asks when nobody says what, only its recording can tell.
        super().__init__(function, name, ignore, defaults=True)
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
        """See `Decorated`."""
        told = self.told(scope, args, kwargs)
        before = canonical_bytes(told)

        def ask(**_: Any) -> Any:
            with outside():
                value = self.valued(scope, self.function(*args, **kwargs))
            return self._stored(scope, value, before, args, kwargs)

        try:
            return self._given(scope, scope.calls.call(self.name, ask, (), told))
        except EffectError as error:
            self._raise(scope, error)
        except (Diverged, UnrecordableError) as error:
            scope.locate(error, self.skill)
            raise

    async def call_async(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Decorated`."""
        told = self.told(scope, args, kwargs)
        before = canonical_bytes(told)

        async def ask(**_: Any) -> Any:
            with outside():
                value = await self.awaited(scope, self.function(*args, **kwargs))
            return self._stored(scope, value, before, args, kwargs)

        try:
            return self._given(scope, await scope.calls.call(self.name, ask, (), told))
        except EffectError as error:
            self._raise(scope, error)
        except (Diverged, UnrecordableError) as error:
            scope.locate(error, self.skill)
            raise

    def _stored(self, scope: Scope, value: Any, before: bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what it returned as JSON values, of which the same can be made again."""
        if canonical_bytes(self.told(scope, args, kwargs)) != before:
            scope.refuse(f"{self.name} changed an argument, which a replay would not; return what is new")
        if self._encode is not None:
            return self._encode(value)
        try:
            stored = as_json(value)
            made = self._made(stored)
        except FormatError as error:
            scope.refuse(f"result of {self.name}: {error.problem}; say how it is stored: {_CODEC}")
        if not is_kept(value, made):
            line = annotation_of(value)
            if self.is_stream or self.is_async_stream:
                line = line.replace("list", "AsyncIterator" if self.is_async_stream else "Iterator", 1)
            kind = shown(type(value))
            scope.refuse(f"result of {self.name} is a {kind}, made again it is another; annotate it: -> {line}")
        return stored

    def _given(self, scope: Scope, stored: Any) -> Any:
        try:
            return self._made(stored)
        except FormatError as error:
            # It could when it was recorded.
            scope.refuse(f"result of {self.name} cannot be made of what was recorded: {error.problem}")

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
        if error.__cause__ is not None and not isinstance(error.__cause__, type(made).__mro__[:2]):
            scope.refuse(f"{self.name} raised a {error.type}, its module sees another class of that name")
        # Where in the function it failed is known where it was called.
        made.__dict__["frames"] = error.frames
        raise made from error.__cause__


_CODEC = "@external(encode=…, decode=…)"
