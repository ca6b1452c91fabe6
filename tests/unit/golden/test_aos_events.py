"""AOS events: each line's form, and the run they make up, are taken as they are or refused with the place."""

import json
from typing import Any

import pytest

from golden.aos_events import events_of
from golden.errors import FormatError

BUDGET = {
    "accumulated_cost_cents": 5,
    "policy_version": "1.0.0",
    "step_ceiling_cents": 100,
    "workflow_ceiling_cents": 1000,
}
Event = dict[str, Any]


def start(**changes: Any) -> Event:
    data = {"budget_snapshot": BUDGET, "replay": False, "seed": 42, "spec_id": "survey", "steps_count": 2, **changes}
    return {"data": data, "event_type": "run_start", "run_id": "r-1", "timestamp": "2026-01-01T00:00:00.25+00:00"}


def result(**changes: Any) -> dict[str, Any]:
    said = {"cost_cents": 3, "duration_ms": 7, "error": None, "error_code": None, "output": {"n": 1.0}, "retries": 0}
    return {**said, "recovery_hint": None, "step_id": "pick", "success": True, **changes}


def step(wrapped: Any = None, **changes: Any) -> Event:
    data = {
        "index": 0,
        "inputs": {"of": "${x}"},
        "output": result() if wrapped is None else wrapped,
        "output_hash": "00112233aabbccdd",
        "seed": 9,
        "skill_id": "sample",
        "step_id": "pick",
        "success": True,
        **changes,
    }
    return {"data": data, "event_type": "step", "run_id": "r-1", "timestamp": "2026-01-01T00:00:01+00:00"}


def failed(wrapped: dict[str, Any], **changes: Any) -> Event:
    return step(result(success=False, output=None, **wrapped), success=False, **changes)


def end(status: str = "completed") -> Event:
    return {
        "data": {"status": status},
        "event_type": "run_end",
        "run_id": "r-1",
        "timestamp": "2026-01-01T01:00:02+01:00",
    }


def written(*events: Event | bytes) -> bytes:
    """Return the bytes of a file as the AOS system writes it."""
    lines = (
        e if isinstance(e, bytes) else json.dumps(e, sort_keys=True, separators=(",", ":")).encode() for e in events
    )
    return b"".join(line + b"\n" for line in lines)


def test_each_event_has_its_time_in_utc_and_how_long_it_took() -> None:
    found = list(events_of(written(start(), step(), end()), "r-1"))
    assert [(event.at[11:], event.duration_us) for event in found] == [
        ("00:00:00.250000Z", None),
        ("00:00:01.000000Z", 7000),
        ("00:00:02.000000Z", None),
    ]


DEEP = b'{"data":' + b"[" * 5000
TABLE: dict[str, tuple[tuple[Event | bytes, ...], str]] = {
    "NaN": (
        (start(), step(result(output={"a": [1, float("nan")]})), end()),
        'line 2: number at "/data/output/output/a/1"',
    ),
    "infinity": ((start(), step(seed=float("inf")), end()), 'line 2: number at "/data/seed" is inf'),
    "lone surrogate": ((start(), step(skill_id="\ud800"), end()), 'line 2: text at "/data/skill_id" holds a lone surr'),
    "too deep": ((start(), DEEP, end()), "line 2: "),
    "a little too deep": (
        (start(), step(inputs=json.loads('{"a":' * 300 + "1" + "}" * 300)), end()),
        "line 2: value nes",
    ),
    "no JSON": ((start(), b'{"data":', end()), "line 2: not JSON"),
    "no UTF-8": ((start(), b"\xff\xfe", end()), "line 2: not JSON"),
    "byte order mark": ((start(), b"\xef\xbb\xbf{}", end()), "line 2: not JSON"),
    "empty line": ((start(), b"", step(), end()), "line 2: not JSON"),
    "integer of 5000 digits": ((start(), b'{"data":%s}' % (b"9" * 5000), end()), "line 2: not JSON"),
    "a name twice": ((start(), b'{"data":{"index":0,"index":1}}', end()), 'line 2: object key "index" stands twice'),
    "no object": ((start(), b"[1]", end()), "line 2: at "),
    "no event": ((start(), b"{}", end()), "line 2: at "),
    "no seed": (({**start(), "data": {}}, step(), end()), 'line 1: at "/data": object missing required field `seed`'),
    "seed as text": ((start(seed="42"), step(), end()), 'line 1: at "/data/seed": expected `int`, got `str`'),
    "no such ceiling": ((start(budget_snapshot={**BUDGET, "step_ceiling_cents": None}), end()), "line 1: at"),
    "negative index": ((start(), step(index=-1), end()), 'line 2: at "/data/index"'),
    "step id with a slash": (
        (start(), step(result(step_id="a/b"), step_id="a/b"), end()),
        'line 2: at "/data/step_id"',
    ),
    "cost as fraction": ((start(), step(result(cost_cents=0.5)), end()), 'line 2: at "/data/output/cost_cents"'),
    "a million retries": ((start(), step(result(retries=10**6)), end()), 'line 2: at "/data/output/retries"'),
    "negative duration": ((start(), step(result(duration_ms=-1)), end()), 'line 2: at "/data/output/duration_ms"'),
    "two step ids": ((start(), step(result(step_id="other")), end()), "line 2: step_id is said to be 'pick' and 'oth"),
    "two successes": ((start(), step(result(success=False)), end()), "line 2: success is said to be True and False"),
    "two codes": ((start(), failed({"error_code": "A"}, error_code="B"), end()), "line 2: error_code is said to be"),
    "success with an error": ((start(), step(result(error="no")), end()), "line 2: a step that succeeded has an error"),
    "success with a code": ((start(), step(error_code="E"), end()), "line 2: a step that succeeded has an error"),
    "failure with an output": (
        (start(), step(result(success=False), success=False), end()),
        "line 2: a step that failed has an output",
    ),
    "a step twice": ((start(), step(), step(), end()), "line 3: step pick, index 0, stands twice"),
    "another event": ((start(), {**step(), "event_type": "note"}, end()), 'line 2: unknown event type "note"'),
    "no start": ((step(), end()), "line 1: it is no run_start"),
    "two starts": ((start(), start(), end()), "line 2: it is another run_start"),
    "two runs": ((start(), end(), step()), "line 3: a step stands after the run's end"),
    "no end": ((start(), step()), "line 2: the run has no end"),
    "another run": ((start(), {**step(), "run_id": "r-2"}, end()), 'line 2: it is of run "r-2"'),
    "still running": ((start(), end("running")), 'line 2: "running" is no status of an ended run'),
    "no time": ((start(), {**end(), "timestamp": "yesterday"}), 'line 2: timestamp "yesterday" is no time'),
    "no time zone": (
        (start(), {**end(), "timestamp": "2026-01-01T00:00:00"}),
        'line 2: timestamp "2026-01-01T00:00:00" does not say its time zone',
    ),
    "before all time": ((start(), {**end(), "timestamp": "0001-01-01T00:00:00+10:00"}), "line 2: timestamp"),
    "costs beyond writing": (
        (start(budget_snapshot={**BUDGET, "accumulated_cost_cents": 10**4300 - 1}), step(), end()),
        "line 2: a sum of costs is too long",
    ),
    "large event": ((start(), step(inputs={"a": "x" * (16 << 20)}), end()), "line 2: event is larger than 16 MiB"),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_golden_v1_cannot_carry_is_refused_with_its_place(name: str) -> None:
    events, problem = TABLE[name]
    with pytest.raises(FormatError) as refusal:
        list(events_of(written(*events), "r-1"))
    assert refusal.value.problem.startswith(problem)
    assert refusal.value.hint
