"""Clock: the present moment as events, seals and ledger lines carry it."""

from __future__ import annotations

import time


def timestamp() -> str:
    """Return the present moment in UTC with six digits of a second."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"
