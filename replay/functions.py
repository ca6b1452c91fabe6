"""Functions: what a callable is wrapped around, and whether calling it gives a coroutine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

_CO_COROUTINE = 0x80


def is_coroutine_function(function: Any) -> bool:
    """Whether calling `function` gives a coroutine: `async def`, also behind partial or as `__call__`."""
    # An async wrapper may stand around a plain function as well as the other way round.
    return any(map(_is_async, _layers(function)))


def innermost(function: Any) -> Any:
    """Return the function that does the work, behind partial and functools.wraps."""
    *_, found = _layers(function)
    return found


def _layers(function: Any) -> Iterator[Any]:
    """Give a function and what it is wrapped around: by partial, by functools.wraps."""
    while function is not None:
        yield function
        function = function.func if isinstance(function, partial) else getattr(function, "__wrapped__", None)


def _is_async(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        code = getattr(type(function).__call__, "__code__", None) if callable(function) else None
    return code is not None and bool(code.co_flags & _CO_COROUTINE)
