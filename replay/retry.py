"""Retry: how often a step is tried, and how long it waits before it is tried again: the same in every run of a seed."""

from __future__ import annotations

from random import Random

from replay.spec import Step

BASE_MS = 1000
DEFAULT_RETRIES = 3


def delay_ms(seed: int, attempt: int, base: int = BASE_MS) -> int:
    """Return the milliseconds to wait after failed attempt number `attempt` (from 0): exponential, with seeded jitter.

    `base·2^attempt + Random(seed^attempt).randint(0, base//2)`, as the AOS system computes it.
    """
    return base * (1 << attempt) + Random(seed ^ attempt).randint(0, base // 2)


def retries(step: Step) -> int:
    """Return how often a step is tried again after it failed."""
    if not step.retry and step.on_error != "retry":
        return 0
    return DEFAULT_RETRIES if step.max_retries is None else step.max_retries
