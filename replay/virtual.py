"""Virtual: what a step itself answers in place of the world, from its Context, and which calls have such an answer.

Puts nothing in place, and decides nothing about whether it is asked.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from replay.guard import Watch

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What is answered, and whether a call is to be judged at all.
Answer = Callable[..., Any]
Heed = Callable[[Watch, tuple[Any, ...]], bool]


def is_drawn(module: str, name: str, watch: Watch, args: tuple[Any, ...], *, virtual: bool) -> bool:
    """Whether what a shared generator is asked for is anybody's guess: not once the step has seeded it."""
    if name in {"seed", "setstate", "set_state"} and not is_without(0, watch, args):
        watch.seeded |= {module}
    return module not in watch.seeded or (virtual and watch.modes["random"] == "virtual")


def drawn(name: str, watch: Watch, *args: Any, **kwargs: Any) -> Any:
    """Answer as the step's own generator does."""
    return getattr(watch.context.random, name)(*args, **kwargs)


def is_without(place: int, _watch: Watch, args: tuple[Any, ...]) -> bool:
    """Whether the argument of that place is missing, or None."""
    return len(args) <= place or args[place] is None


def _is_wall_clock(_watch: Watch, args: tuple[Any, ...]) -> bool:
    return args[:1] == (time.CLOCK_REALTIME,)


def _is_slept(watch: Watch, args: tuple[Any, ...]) -> bool:
    """Put the step's clock forward by what it sleeps; sleeping itself is no matter of the guard's."""
    if args and isinstance(args[0], int | float) and 0 <= args[0] < threading.TIMEOUT_MAX:
        watch.elapsed += round(args[0] * 1_000_000)
    return False


def _seconds(watch: Watch) -> float:
    return watch.now().timestamp()


def _nanoseconds(watch: Watch) -> int:
    return (watch.now() - _EPOCH) // timedelta(microseconds=1) * 1000


def _fields(watch: Watch, _: None = None) -> time.struct_time:
    # There is no telling where the next replay is made: the step's clock shows UTC.
    return time.gmtime(_seconds(watch))


def urandom(watch: Watch, size: int) -> bytes:
    """Answer with bytes of the step's own."""
    # In this order uuid.uuid4() is what ctx.uuid4() is.
    bits: int = watch.context.entropy.getrandbits(8 * size)
    return bits.to_bytes(size, "big")


def randbits(watch: Watch, bits: int) -> int:
    """Answer as `secrets.randbits` does."""
    found: int = watch.context.entropy.getrandbits(bits)
    return found


def uuid1(watch: Watch, *_: Any, **__: Any) -> uuid.UUID:
    """Answer with a UUID that names no host and no time."""
    return uuid.UUID(int=watch.context.entropy.getrandbits(128), version=1)


_FIRST = partial(is_without, 0)
CLOCK: dict[str, tuple[Answer | None, Heed | None]] = {
    "time": (_seconds, None),
    "time_ns": (_nanoseconds, None),
    "clock_gettime": (lambda watch, _: _seconds(watch), _is_wall_clock),
    "clock_gettime_ns": (lambda watch, _: _nanoseconds(watch), _is_wall_clock),
    "localtime": (_fields, _FIRST),
    "gmtime": (_fields, _FIRST),
    "ctime": (lambda watch, *_: time.asctime(_fields(watch)), _FIRST),
    "asctime": (lambda watch, *_: time.asctime(_fields(watch)), _FIRST),
    "strftime": (lambda watch, form, *_: time.strftime(form, _fields(watch)), partial(is_without, 1)),
    "sleep": (None, _is_slept),
}
