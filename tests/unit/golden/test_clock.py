"""Clock: one spelling of the present moment, in UTC, with six digits of a second."""

import time

import msgspec
import pytest

from golden.clock import timestamp
from golden.event import Time


@pytest.mark.parametrize(
    "now, text",
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_767_225_600_000_001_999, "2026-01-01T00:00:00.000001Z"),
        (1_767_225_599_999_999_999, "2025-12-31T23:59:59.999999Z"),
    ],
)
def test_a_moment_is_cut_to_microseconds_never_rounded_up(monkeypatch: pytest.MonkeyPatch, now: int, text: str) -> None:
    monkeypatch.setattr("golden.clock.time_ns", lambda: now)
    assert timestamp() == text


def test_a_later_moment_is_so_many_seconds_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.clock.time_ns", lambda: 1_767_225_599_999_999_999)
    assert (timestamp(1), timestamp(-60)) == ("2026-01-01T00:00:00.999999Z", "2025-12-31T23:58:59.999999Z")


def test_the_local_time_zone_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.clock.time_ns", lambda: 86_400_000_000_000)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert timestamp() == "1970-01-02T00:00:00.000000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_present_moment_has_the_form_that_events_ask_for_and_goes_on() -> None:
    moments = [msgspec.convert(timestamp(), Time) for _ in range(3)]
    assert moments == sorted(moments)
