"""Divergence: the first place where a replay leaves its recording, with its cause.

Compares two accounts of the same step or run; words for people are the CLI's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from golden.canonical import decode, sha256_hex
from golden.event import EffectData, RunEnd, RunStart, StepData, StepError
from golden.values import Kind, value_differences
from golden.volatile import Volatile
from replay.spec import Spec, first_place

# Outermost first: a cause on the left makes those on its right happen.
Cause = Literal["spec", "seed", "budget", "step", "inputs", "skill", "effect", "error", "output", "status", "result"]


class Divergence(msgspec.Struct, frozen=True):
    """Where and why a replay differs.

    `path` is a JSON Pointer into what is compared ("" is the whole), `expected` and `actual` are JSON values, and
    `location` is FILE:LINE in the user's code where there is one. `kind` tells a value that is absent on one side
    (`added`, `removed`) from one that is null.
    """

    cause: Cause
    step_id: str | None
    index: int | None
    path: str
    expected: Any
    actual: Any
    location: str | None = None
    kind: Kind = "changed"


class Diverged(BaseException):
    """Ends a replay at its first divergence; not an Exception, so that no skill catches it."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.cause)
        self.divergence = divergence


def in_start(start: RunStart, spec: Spec, inputs: bytes | None, volatile: Volatile) -> Divergence | None:
    """Compare the current spec and inputs (canonical bytes, None for the recorded ones) with those of a recording."""
    if start.spec_hash != spec.hash:
        recorded = decode(start.spec)
        found = _at("spec", (None, None), recorded, spec.document)
        step_id = first_place(spec.document, found.path) or first_place(recorded, found.path)
        return msgspec.structs.replace(found, step_id=step_id, index=_index(found.path))
    if inputs is not None and volatile.hash_inputs(inputs) != volatile.hash_inputs(start.inputs):
        one, other = (volatile.strip(("inputs",), decode(raw)) for raw in (start.inputs, inputs))
        return _at("inputs", (None, None), one, other)
    return None


def before_step(recorded: StepData, index: int, seed: int, inputs: bytes, input_hash: str) -> Divergence | None:
    """Compare what a step is about to be given with what it was given."""
    about = (recorded.step_id, recorded.index)
    if recorded.index != index:
        return Divergence("step", *about, "/index", recorded.index, index)
    if recorded.seed != seed:
        return Divergence("seed", *about, "", recorded.seed, seed)
    if recorded.input_hash != input_hash:
        return _at("inputs", about, decode(recorded.inputs), decode(inputs))
    return None


def after_step(
    recorded: StepData,
    actual: StepData,
    volatile: Volatile,
    location: Callable[[], str | None],
    failed_at: str | None,
) -> Divergence | None:
    """Compare what a step did with what it did when recorded; its cost last, because error and output cause it."""
    about = (recorded.step_id, recorded.index)
    one, other = _error(recorded), _error(actual)
    if one != other:
        return _at("error", about, one, other, failed_at or location())
    tried, again = _attempts(recorded), _attempts(actual)
    if tried != again:
        return _at("error", about, tried, again, failed_at or location(), below="/attempts")
    if (recorded.skipped, recorded.because) != (actual.skipped, actual.because):
        return Divergence("step", *about, "/because", recorded.because or None, actual.because or None)
    if recorded.output_hash != actual.output_hash:
        place = ("steps", recorded.step_id, "output")
        was, came = (volatile.strip(place, decode(raw)) for raw in (recorded.output, actual.output))
        return _at("output", about, was, came, location())
    if recorded.cost_cents != actual.cost_cents:
        return Divergence("budget", *about, "/cost_cents", recorded.cost_cents, actual.cost_cents, location())
    if recorded.budget_snapshot != actual.budget_snapshot:
        was, came = (msgspec.to_builtins(data.budget_snapshot) for data in (recorded, actual))
        return _at("budget", about, was, came, location(), below="/budget_snapshot")
    return None


def at_end(recorded: RunEnd, actual: RunEnd) -> Divergence | None:
    """Compare how a run ended."""
    if recorded.status != actual.status:
        return Divergence("status", None, None, "", recorded.status, actual.status)
    for name in ("steps_completed", "steps_total"):
        if getattr(recorded, name) != getattr(actual, name):
            return Divergence("step", None, None, f"/{name}", getattr(recorded, name), getattr(actual, name))
    if recorded.total_cost_cents != actual.total_cost_cents:
        return Divergence("budget", None, None, "/total_cost_cents", recorded.total_cost_cents, actual.total_cost_cents)
    if recorded.result_hash != actual.result_hash:
        return Divergence("result", None, None, "", recorded.result_hash, actual.result_hash)
    return None


def in_call(recorded: EffectData, name: str, args: bytes, kwargs: bytes) -> tuple[str, Any, Any, Kind] | None:
    """Compare an external call with the recorded one it is matched with: (path, expected, actual, kind) or None."""
    if recorded.name != name:
        return "/name", recorded.name, name, "changed"
    if recorded.args_hash != args_hash(args, kwargs):
        both = ((recorded.args, recorded.kwargs), (args, kwargs))
        was, came = ({"args": decode(a), "kwargs": decode(k)} for a, k in both)
        found = _at("effect", (None, None), was, came)
        return found.path, found.expected, found.actual, found.kind
    return None


def args_hash(args: bytes, kwargs: bytes) -> str:
    """Return the hash of `{"args":…,"kwargs":…}` from the canonical bytes of both."""
    return sha256_hex(b'{"args":%b,"kwargs":%b}' % (args, kwargs))


def _at(
    cause: Cause,
    about: tuple[str | None, int | None],
    expected: Any,
    actual: Any,
    location: str | None = None,
    *,
    below: str = "",
) -> Divergence:
    """Return the divergence at the first place where two values differ."""
    for kind, path, one, other in value_differences(expected, actual):
        return Divergence(cause, *about, below + path, one, other, location, kind)
    return Divergence(cause, *about, below, expected, actual, location)


def _error(data: StepData) -> dict[str, str] | None:
    return _told(data.error) if data.error else None


def _attempts(data: StepData) -> list[dict[str, Any]]:
    return [
        {"delay_ms": attempt.delay_ms, "error": _told(attempt.error) if attempt.error else None}
        for attempt in data.attempts
    ]


def _told(error: StepError) -> dict[str, str]:
    return {"code": error.code, "type": error.type}


def _index(path: str) -> int | None:
    match path.split("/"):
        case ["", "steps", n, *_] if n.isdecimal():
            return int(n)
    return None
