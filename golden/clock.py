"""Clock: the present moment as events, seals and ledger lines carry it."""

from __future__ import annotations

import time
from functools import lru_cache

# Taken now: what the guard puts in its place in `time` judges every call, and this is made for every line.
from time import time_ns


def timestamp(later: int = 0) -> str:
    """Return the present moment in UTC with six digits of a second, or one `later` by so many seconds."""
    seconds, rest = divmod(time_ns(), 1_000_000_000)
    return f"{_second(seconds + later)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    # Most of what it costs, and the same for all that is written within a second.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
