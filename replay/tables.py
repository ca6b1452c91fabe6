"""Tables: the attributes of two types that C code defines, `datetime` and `date`, where this interpreter gives them.

Exchanges nothing itself; see `patches`, and ADR 18 for why.
"""

from __future__ import annotations

import gc
from datetime import date, datetime
from typing import Any

CLOCKS: tuple[type, ...] = (datetime, date)


def table_of(kind: type) -> dict[str, Any] | None:
    """Return the dict of a type's attributes, of which `__dict__` is only a view; None where it lies elsewhere."""
    found = gc.get_referents(kind.__dict__)
    return found[0] if len(found) == 1 and isinstance(found[0], dict) else None


def are_open() -> bool:
    """Whether the methods of these types can be exchanged here."""
    return all(table_of(kind) is not None for kind in CLOCKS)


def forget_cached() -> None:
    """Have the interpreter look these types' attributes up anew."""
    # Loaded already wherever a command runs the user's code.
    import ctypes

    for kind in CLOCKS:
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
