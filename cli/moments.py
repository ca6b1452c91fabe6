"""Moments: times and ages as people type and read them, and as events carry them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE = re.compile(r"([0-9]{1,9})([smhd])")
_SHOWN = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))


def moment(text: str, option: str) -> str:
    """Return a moment as events carry it, from an ISO time or an age like 10m; raises click.UsageError."""
    age = _AGE.fullmatch(text)
    try:
        found = _now() - timedelta(seconds=_seconds(age)) if age else datetime.fromisoformat(text)
        return _stamp(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise click.UsageError(f"{option} {text!r} is no time; write 2026-01-01T12:00:00Z or 10m") from None


def age(text: str, option: str) -> int:
    """Return the seconds of an age like 90s, 10m, 1h or 30d; raises click.UsageError."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise click.UsageError(f"{option} {text!r} is no age; write 90s, 10m, 1h or 30d")
    return _seconds(found)


def ago(seconds: int, option: str) -> str:
    """Return the moment so many seconds ago, as events carry it; raises click.UsageError where there was none."""
    try:
        return _stamp(_now() - timedelta(seconds=seconds))
    except OverflowError:
        raise click.UsageError(f"{option} lies before all times") from None


def seconds_between(start: str | None, end: str | None = None) -> float | None:
    """Return the seconds from one moment to another, or to now; None where either is none, or they are out of order."""
    try:
        last = datetime.fromisoformat(end) if end else _now()
        passed = (last - datetime.fromisoformat(start or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return passed if passed >= 0 else None


def span(seconds: float | None) -> str:
    """Return how long something took or is ago, in its largest unit, as `12 min`; `-` where nobody knows."""
    if seconds is None:
        return "-"
    size, unit = next(((size, unit) for size, unit in _SHOWN if seconds >= size), _SHOWN[-1])
    return f"{seconds / size:.0f} {unit}"


def _seconds(found: re.Match[str]) -> int:
    return int(found[1]) * _UNITS[found[2]]


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def _stamp(found: datetime) -> str:
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
