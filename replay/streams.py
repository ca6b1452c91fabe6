"""Streams: generators read to their end, because a recording holds all items of one or none.

Records nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Generator
from typing import Any

from golden.event import MAX_LINE

# Each takes two bytes of its line or more.
_MAX_ITEMS = MAX_LINE // 2


class StreamError(Exception):
    """A generator gives what no recording can hold."""


def items_of(stream: Generator[Any, Any, Any]) -> list[Any]:
    """Return the items of a generator; raises StreamError where they do not end, or are not all that it gives."""
    found: list[Any] = []
    while True:
        try:
            item = next(stream)
        except StopIteration as end:
            if end.value is not None:
                raise StreamError("it returns a value beside its items; yield it as the last one") from None
            return found
        _add(found, item)


async def items_of_async(stream: AsyncIterable[Any]) -> list[Any]:
    """Return the items of an asynchronous generator; raises StreamError where they do not end."""
    found: list[Any] = []
    async for item in stream:
        _add(found, item)
    return found


def _add(found: list[Any], item: Any) -> None:
    if len(found) >= _MAX_ITEMS:
        raise StreamError(f"it gives more than {_MAX_ITEMS} items; end it: it is read before the first is given")
    found.append(item)
