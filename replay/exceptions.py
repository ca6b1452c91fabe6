"""Exceptions: what the world raised, made again of what is recorded of it: the name of its type, and its message.

Knows no run. Nothing that is recorded chooses a class: it is the function's own module that names it.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

from replay.functions import innermost


def raised(function: Callable[..., Any], type_name: str, message: str) -> BaseException | None:
    """Return an exception of the class of that name that a function's module sees, None where it is not just one.

    Nearest first: its own names, those of modules that it has imported, the built-in ones, and then what lies deeper,
    as `urllib.error.URLError` does.
    """
    space = getattr(innermost(function), "__globals__", {})
    modules = [one for one in space.values() if isinstance(one, ModuleType) and one is not builtins]
    inner = (vars(one) for module in modules for one in _modules_in(module, {module.__name__}))
    for names in ([space], map(vars, modules), [vars(builtins)], inner):
        seen = {kind for kind in (one.get(type_name) for one in names) if isinstance(kind, type)}
        classes = [kind for kind in seen if issubclass(kind, Exception)]
        if classes:
            return _made(classes[0], message) if len(classes) == 1 else None
    return None


def _modules_in(package: ModuleType, known: set[str]) -> Iterator[ModuleType]:
    inside = f"{package.__name__}."
    for one in list(vars(package).values()):
        if isinstance(one, ModuleType) and one.__name__.startswith(inside) and one.__name__ not in known:
            known.add(one.__name__)
            yield one
            yield from _modules_in(one, known)


def _made(kind: Any, message: str) -> Exception | None:
    try:
        stands_for: type[Exception] = _told_again(kind)
        made = stands_for.__new__(stands_for)
        made.args = (message,)
    except Exception:  # noqa: BLE001  a class of the user's may ask for anything
        return None
    return made


@lru_cache(maxsize=256)
def _told_again(kind: Any) -> Any:
    """Return a class as `kind` of which each object says what was recorded, and that nothing else was."""
    fields = [] if issubclass(kind, SyntaxError) else [name for name in dir(kind) if _is_field(kind, name)]
    by_arguments: object = Exception.__str__
    if not fields and kind.__module__ == "builtins" and kind.__str__ is by_arguments:
        return kind

    def missing(self: Exception, name: str) -> Any:  # noqa: ARG001  its place is Python's
        raise AttributeError(
            f"{name} of a {kind.__name__} that was raised in an @external: only its message is recorded;"
            " catch it in there, and return what is needed of it"
        )

    members: dict[str, Any] = {name: property(partial(missing, name=name)) for name in fields}
    members |= {"__str__": lambda self: self.args[0], "__getattr__": missing, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), {**members, "__module__": kind.__module__})


def _is_field(kind: type[Exception], name: str) -> bool:
    """Whether C code keeps something of that name in such exceptions, beside what it keeps in all of them."""
    found = getattr(kind, name, None)
    return isinstance(found, GetSetDescriptorType | MemberDescriptorType) and not hasattr(Exception, name)
