"""Typed: values of the user's own types as JSON values, and back again by what a function is annotated to return.

Knows no run. Nothing that is recorded chooses a class: it is the function's own annotation and module that name it.
"""

from __future__ import annotations

import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any

import msgspec

from golden.canonical import canonical_bytes
from golden.errors import FormatError
from replay.functions import innermost

_STREAMS = (AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator)


def as_json(value: Any) -> Any:
    """Return `value` as JSON values: pydantic, dataclass, attrs and msgspec objects, dates and such in what they hold.

    Raises:
        FormatError: a part of it has no such form.
    """
    try:
        canonical_bytes(value)
    except FormatError:
        return _unfolded(value)
    return value


def is_kept(value: Any, again: Any) -> bool:
    """Whether an object that was made again of its JSON values is as the one was that they were made of."""
    if type(value) is not type(again) or as_json(value) != as_json(again):
        return False
    # What compares by identity alone is no other for that.
    by_identity: object = object.__eq__
    return value == again or type(value).__eq__ is by_identity


def rebuilt(value: Any, kind: Any) -> Any:
    """Return the object of type `kind` that JSON values stand for; raises FormatError where they are none."""
    if kind is Any:
        return value
    try:
        return msgspec.convert(value, kind, str_keys=True, dec_hook=_decoded)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise FormatError(f"it is no {shown(kind)}: {error}", hint="") from None


def returned(function: Callable[..., Any], *, stream: bool) -> Any:
    """Return the type that a function is annotated to return, of a `stream` that of its items; Any where none is."""
    function = innermost(function)
    try:
        kind = typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError, AttributeError):
        # A name that only type checkers see.
        return Any
    if stream:
        args = typing.get_args(kind)
        kind = args[0] if args and typing.get_origin(kind) in _STREAMS else Any
    return kind


def shown(kind: Any) -> str:
    """Return a type as one would write it."""
    return kind.__qualname__ if isinstance(kind, type) else str(kind)


def annotation_of(value: Any) -> str:
    """Return how a type is annotated whose value it is: with what is in it, since a `list` alone does not say that."""
    kind = "None" if value is None else shown(type(value))
    if type(value) is tuple:
        parts = [annotation_of(child) for child in value]
    elif type(value) is dict:
        parts = [_any_of(value), _any_of(value.values())]
    else:
        parts = [_any_of(value)] if type(value) in {list, set, frozenset} else []
    return f"{kind}[{', '.join(parts)}]" if value and parts else kind


def _any_of(values: Iterable[Any]) -> str:
    return " | ".join(dict.fromkeys(map(annotation_of, values)))


def _unfolded(value: Any) -> Any:
    try:
        found = _listed(msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_encoded))
        canonical_bytes(found)
        # As text it still has every member, of those that are called alike too.
        if len(msgspec.json.encode(value, enc_hook=_encoded)) != len(msgspec.json.encode(found)):
            raise FormatError(f"a {type(value).__name__} has two keys that are one in JSON, as 1 and '1' are", hint="")
    except FormatError:
        raise
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise FormatError(f"a {type(value).__name__} is no JSON value: {error}", hint="") from None
    return found


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(child) for key, child in value.items()}
    return [_listed(child) for child in value] if isinstance(value, list | tuple) else value


def _encoded(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__qualname__} is neither plain data nor pydantic, msgspec, attrs or a dataclass")
    return dump(value, mode="json")


def _decoded(kind: type, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise TypeError(f"nothing says how a {shown(kind)} is made")
    return validate(value)
