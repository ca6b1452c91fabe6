"""Moments: what people type for times and ages, and how long ago something is said to be."""

import re

import click
import pytest

from cli.moments import age, ago, moment, seconds_between, span

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.mark.parametrize(
    "text, found",
    [
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000000Z"),
        ("2026-01-01T12:00:00", "2026-01-01T12:00:00.000000Z"),
        ("2026-01-01T12:00:00.5+02:00", "2026-01-01T10:00:00.500000Z"),
        ("2026-01-01", "2026-01-01T00:00:00.000000Z"),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str, found: str) -> None:
    assert moment(text, "--since") == found


def test_an_age_is_a_time_before_now() -> None:
    days, hours, now = moment("2d", "--since"), moment("47h", "--since"), moment("0s", "--since")
    assert STAMP.fullmatch(days)
    assert days < hours < now
    passed = seconds_between(days, hours)
    assert passed is not None
    assert 3600 <= passed < 3660


@pytest.mark.parametrize(
    "text", ["", "yesterday", "10", "10 m", "-1h", "1y", "99999999999d", "999999999d", "0001-01-01T00+23:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="--since"):
        moment(text, "--since")


@pytest.mark.parametrize("text, seconds", [("90s", 90), ("10m", 600), ("1h", 3600), ("30d", 2592000), ("0s", 0)])
def test_an_age_is_seconds(text: str, seconds: int) -> None:
    assert age(text, "--stale") == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "1w", "-1h", "2026-01-01", "1h ", "٣h"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="--stale"):
        age(text, "--stale")


def test_an_age_before_all_times_is_refused() -> None:
    with pytest.raises(click.UsageError, match="before all times"):
        ago(age("999999999d", "--older-than"), "--older-than")


@pytest.mark.parametrize(
    "start, end, seconds",
    [
        ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:30.500000Z", 90.5),
        ("2026-01-01T00:01:00.000000Z", "2026-01-01T00:00:00.000000Z", None),
        ("not yet", "2026-01-01T00:00:00.000000Z", None),
        ("2026-01-01T00:00:00", "2026-01-01T00:00:00.000000Z", None),
        (None, None, None),
        ("9999-01-01T00:00:00.000000Z", None, None),
    ],
)
def test_what_passed_between_two_moments_is_seconds_or_unknown(
    start: str | None, end: str | None, seconds: float | None
) -> None:
    assert seconds_between(start, end) == seconds


@pytest.mark.parametrize(
    "seconds, said",
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0384, "38 ms"),
        (1, "1 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "60 min"),
        (3600, "1 h"),
        (86400, "1 d"),
        (40 * 86400, "40 d"),
    ],
)
def test_a_span_is_said_in_its_largest_unit(seconds: float | None, said: str) -> None:
    assert span(seconds) == said
