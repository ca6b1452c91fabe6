"""Parameters: how a call of a user's function is told: its arguments by name, as JSON values.

Calls nothing, and knows no run.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

from golden.canonical import canonical_bytes, decode
from golden.errors import FormatError, UsageError
from replay.context import Context
from replay.functions import innermost
from replay.typed import as_json

_NAMES = ("Context", "replay.Context")
_TYPED = (Context, Context | None, *_NAMES, *(f"{name} | None" for name in _NAMES))
_UNTYPED = (inspect.Parameter.empty, *_TYPED)
# What some of C's functions do not say about themselves.
_ANY = inspect.signature(lambda *args, **kwargs: (args, kwargs))


class UntoldError(Exception):
    """An argument is no JSON value: `name` and `problem` say which and why."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"argument {name}: {problem}")
        self.name = name
        self.problem = problem


class Parameters:
    """The parameters of `function`; those of `ignore` are not told, nor is the first one of a method.

    With `defaults`, what nobody gives is told as well.

    Raises:
        UsageError: a name of `ignore` is no parameter's.
    """

    def __init__(self, function: Any, *, ignore: Collection[str], is_method: bool, defaults: bool) -> None:
        self._function = function
        self._is_method = is_method
        if isinstance(ignore, str):
            raise UsageError(f"{self._name}: ignore={ignore!r} is one text", hint=f'write ignore=["{ignore}"]')
        self._ignored = frozenset(ignore)
        # They are as they were defined, whatever the function does with them later on.
        self._defaults = dict(self._told_defaults()) if defaults else {}
        unknown = [] if not ignore or self._collects else sorted(self._ignored.difference(self._signature.parameters))
        if unknown:
            raise UsageError(
                f"{self._name}: ignore names {', '.join(unknown)}, and there is no such parameter",
                hint=f"its parameters are {', '.join(self._signature.parameters)}",
            )

    def told(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call.

        Raises:
            TypeError: the function does not take them.
            UntoldError: one is no JSON value.
        """
        # A Context that is missing is given to it.
        bind = self._signature.bind_partial if self.contexts else self._signature.bind
        bound = bind(*args, **kwargs)
        found = dict(self._defaults)
        for name, value in bound.arguments.items():
            if name in self._untold or (name in self.contexts and isinstance(value, Context)):
                continue
            if name == self._collects and self._ignored:
                value = {key: given for key, given in value.items() if key not in self._ignored}  # noqa: PLW2901  without these
            try:
                found[name] = as_json(value)
            except FormatError as error:
                raise UntoldError(name, error.problem) from None
        return found

    def with_context(self, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call with the Context that nobody gave."""
        if not self.contexts:
            return kwargs
        given = self._signature.bind_partial(*args, **kwargs).arguments
        return {**kwargs, **{name: context for name in self.contexts if name not in given}}

    @cached_property
    def contexts(self) -> list[str]:
        """The parameters that are given the step's Context."""
        return context_parameters(self._signature)

    @property
    def _name(self) -> str:
        return getattr(innermost(self._function), "__qualname__", repr(self._function))

    @cached_property
    def _signature(self) -> inspect.Signature:
        try:
            return inspect.signature(self._function)
        except ValueError:
            return _ANY

    @cached_property
    def _collects(self) -> str | None:
        """The parameter that takes whatever is given by another name."""
        kinds = {parameter.kind: name for name, parameter in self._signature.parameters.items()}
        return kinds.get(inspect.Parameter.VAR_KEYWORD)

    @cached_property
    def _untold(self) -> frozenset[str]:
        first = next(iter(self._signature.parameters), "")
        own = {first} if self._is_method and first in {"self", "cls"} else set[str]()
        return self._ignored | own

    def _told_defaults(self) -> Iterator[tuple[str, Any]]:
        for name, parameter in self._signature.parameters.items():
            if parameter.default is not inspect.Parameter.empty and name not in {*self._untold, *self.contexts}:
                # A client, say: nobody has given it.
                with suppress(FormatError):
                    yield name, decode(canonical_bytes(as_json(parameter.default)))


def context_parameters(signature: inspect.Signature) -> list[str]:
    """Return the names of parameters that stand for the step's Context, by name or annotation."""
    return [
        parameter.name
        for parameter in signature.parameters.values()
        if (parameter.name in {"ctx", "context"} and parameter.annotation in _UNTYPED) or parameter.annotation in _TYPED
    ]
