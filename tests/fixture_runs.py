"""One small run, its lines and its seal, from which all fixtures are made.

Everything is fixed: keys, ids, times. Rests on `primitives`, never on the product.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.primitives import (
    SUFFIX_LENGTH,
    b64,
    canonical,
    digest,
    ed25519_kid,
    ed25519_public,
    ed25519_sign,
    event_key,
    kid_of,
    mac_of,
    pae,
    sign,
)


class Seed(bytes):
    """The private half of an Ed25519 key; other bytes are HMAC secrets."""


Event = dict[str, Any]
Vector = dict[str, Any]

ACTIVE = b"published-test-secret-active-never-use-it-for-anything-real"
RETIRED = b"published-test-secret-retired-never-use-it-for-anything-real"
UNKNOWN = b"published-test-secret-in-no-keyring-never-use-it-for-anything-real"
# Ed25519: 32 private bytes.
PAIR = Seed(b"published-test-seed-do-not-use-1")
OLD_PAIR = Seed(b"published-test-seed-do-not-use-2")
SECRETS = {kid_of(secret): secret for secret in (ACTIVE, RETIRED, UNKNOWN)}
SEALED_AT = "2026-01-01T00:01:00.000000Z"

# --- one small run, from which everything else is made -------------------------------------------

SPEC = {
    "id": "mean-report",
    "steps": [
        {"id": "fetch", "inputs": {"city": "${inputs.city}", "days": 3}, "skill_id": "weather.fetch"},
        {"id": "shape", "inputs": {"rows": "${fetch.rows}"}, "skill_id": "weather.shape"},
        {"id": "report", "inputs": {"mean": "${shape.mean_max_c}"}, "skill_id": "weather.report"},
    ],
    "version": "1",
}
ROWS = [
    {"day": "2012-01-01", "max_c": 12.8},
    {"day": "2012-01-02", "max_c": 10.6},
    {"day": "2012-01-03", "max_c": 11.7},
]
VOLATILE = ["/steps/fetch/output/fetched_at"]
INPUTS: list[Event] = [{"city": "Seattle", "days": 3}, {"rows": ROWS}, {"mean": 11.7}]
OUTPUTS: list[Event] = [
    {"fetched_at": "2026-01-01T00:00:00.250000Z", "rows": ROWS},
    {"mean_max_c": 11.7},
    {"text": "Mean maximum over 3 days: 11.7 °C"},
]
STEPS = [(step["id"], step["skill_id"]) for step in SPEC["steps"] if isinstance(step, dict)]
FAULT = {
    "code": "EXECUTION_ERROR",
    "location": "skills.py:41",
    "message": "no rows to shape",
    "type": "ValueError",
}
STATUSES = "completed failed aborted budget_exceeded emergency_stopped policy_violation sandbox_rejected interrupted"


def sha256(data: bytes) -> str:
    """Return SHA-256 as 64 hex characters."""
    return hashlib.sha256(data).hexdigest()


def file_id_of(name: str) -> str:
    """Return a fixed file_id (a real one is 128 random bits)."""
    return sha256(b"file_id of " + name.encode())[:32]


def derive_seed(base: int, position: object) -> int:
    """Return a step's seed: position is its index (aos-v1) or its call path (path-v1)."""
    return int(sha256(f"{base}:{position}".encode())[:16], 16)


def without(value: object, paths: list[str], here: str = "") -> Any:
    """Return a value as it is hashed: volatile members left out, volatile items null."""

    def hit(place: str) -> bool:
        return any(_same(place.split("/"), path.split("/")) for path in paths)

    if hit(here):
        return None
    if isinstance(value, list):
        return [without(item, paths, f"{here}/{number}") for number, item in enumerate(value)]
    if isinstance(value, dict):
        places = {name: here + "/" + name.replace("~", "~0").replace("/", "~1") for name in value}
        return {n: without(value[n], paths, place) for n, place in places.items() if not hit(place)}
    return value


def _same(place: list[str], path: list[str]) -> bool:
    return len(place) == len(path) and all(p in ("*", here) for here, p in zip(place, path, strict=True))


def budget(spent: int) -> Event:
    """Return a budget snapshot with the default ceilings."""
    return {
        "accumulated_cost_cents": spent,
        "policy_version": "1",
        "step_ceiling_cents": 100,
        "workflow_ceiling_cents": 1000,
    }


def golden(secret: bytes, file_id: str) -> Event:
    """Return the member that says under which key a file's lines stand."""
    return {"alg": "hmac-sha256", "file_id": file_id, "kid": kid_of(secret), "v": 1}


def start(secret: bytes = ACTIVE, file_id: str = "", **changes: object) -> Event:
    """Return a run_start; its run_id, seq and time are filled in by `numbered`."""
    skill = {"code_hash": sha256(b"skills.py"), "module": "skills", "version": "1"}
    data = {
        "budget_snapshot": budget(0),
        "canonical": "golden/v1",
        "environment": {
            "cpu_count": 4,
            "env": ["HOME", "LANG", "PATH"],
            "hash_seed": "0",
            "locale": "C.UTF-8",
            "lock_hash": None,
            "platform": "Linux-6.1-x86_64",
            "python": "3.11.9",
            "skills": {skill_id: skill for _, skill_id in STEPS},
            "timezone": "UTC",
            "version": "0.1.0",
        },
        "inputs": {"city": "Seattle"},
        "policy": {},
        "redacted": [],
        "seed": 20260101,
        "seed_scheme": "aos-v1",
        "spec": SPEC,
        "spec_hash": digest(SPEC),
        "spec_id": "mean-report",
        "volatile": VOLATILE,
    }
    return {"data": data | changes, "event_type": "run_start", "golden": golden(secret, file_id)}


def effect(index: int = 0, **changes: object) -> Event:
    """Return an effect: the rows fetched from the world."""
    asked = {"args": ["https://weather.example/seattle"], "kwargs": {"days": 3}}
    data = {
        "args_hash": digest(asked),
        "attempt": 0,
        "call": 0,
        "index": index,
        "name": "http.get",
        "result": ROWS,
        "result_hash": digest(ROWS),
        "step_id": STEPS[index][0],
    }
    return {"data": data | asked | changes, "event_type": "effect", "timing": {"duration_us": 1200}}


def step(index: int, **changes: object) -> Event:
    """Return a step that succeeded."""
    step_id, skill_id = STEPS[index]
    hashed = without(OUTPUTS[index], VOLATILE, f"/steps/{step_id}/output")
    data = {
        "attempts": [{"delay_ms": 0, "error": None}],
        "budget_snapshot": budget(2),
        "cost_cents": 2 if index == 0 else 0,
        "index": index,
        "input_hash": digest(INPUTS[index]),
        "inputs": INPUTS[index],
        "output": OUTPUTS[index],
        "output_hash": digest(hashed),
        "seed": derive_seed(20260101, index),
        "skill_id": skill_id,
        "skill_version": "1",
        "step_id": step_id,
        "success": True,
    }
    return {"data": data | changes, "event_type": "step", "timing": {"duration_us": 800 + index}}


def failed(index: int) -> Event:
    """Return a step that failed at both of its attempts."""
    attempts = [{"delay_ms": 0, "error": FAULT}, {"delay_ms": 500, "error": FAULT}]
    changes = {"error": FAULT, "error_code": FAULT["code"], "recovery_hint": "check what fetch returned"}
    return step(index, attempts=attempts, output=None, output_hash=None, success=False, **changes)


def skipped(index: int) -> Event:
    """Return a step that was never begun."""
    nothing: Event = {"attempts": [], "output": None, "output_hash": None, "success": False}
    inputs = {"input_hash": digest({}), "inputs": {}}
    return step(index, **nothing, **inputs, skipped=True, because="shape failed")


def resume(secret: bytes, file_id: str, before: list[bytes], next_index: int, dropped: bytes = b"") -> Event:
    """Return a run_resume that vouches for the lines before it."""
    prefix = b"".join(line + b"\n" for line in before)
    data: Event = {
        "accepted_changes": ["code"] if dropped else [],
        "next_index": next_index,
        "prefix": {"bytes": len(prefix), "sha256": sha256(prefix)},
    }
    if dropped:
        data["dropped"] = {"bytes": len(dropped), "sha256": sha256(dropped)}
    return {"data": data, "event_type": "run_resume", "golden": golden(secret, file_id)}


def end(status: str = "completed", done: int = 3, result: Event | None = None) -> Event:
    """Return a run_end; without a spec's `result`, its hash is over the output hashes."""
    if result is None:
        result = {step_id: step(i)["data"]["output_hash"] for i, (step_id, _) in enumerate(STEPS[:done])}
    counts = {"steps_completed": done, "steps_total": 3, "total_cost_cents": 2 if done else 0}
    return {"data": {"result_hash": digest(result), "status": status} | counts, "event_type": "run_end"}


def numbered(run_id: str, events: list[Event]) -> list[Event]:
    """Return events with run_id, seq and timestamp where they have none."""
    return [
        {"run_id": run_id, "seq": seq, "timestamp": f"2026-01-01T00:00:{seq:02}.250000Z"} | event
        for seq, event in enumerate(events)
    ]


def chained(events: list[Event | bytes]) -> list[bytes]:
    """Return lines (without LF), each with its MAC; bytes are taken as a body written as they are."""
    key, previous, lines, run_id = b"", bytes(32), [], ""
    for event in events:
        body = event if isinstance(event, bytes) else canonical(event).encode()[:-1]
        if not isinstance(event, bytes) and "golden" in event:
            run_id = run_id or event["run_id"]
            key = event_key(SECRETS[event["golden"]["kid"]], run_id, event["golden"]["file_id"])
        previous = mac_of(key, previous, body)
        lines.append(body + b',"mac":"' + b64(previous).encode() + b'"}')
    return lines


def written(run_id: str, events: list[Event]) -> list[bytes]:
    """Return the lines of a run as its recorder writes them."""
    return chained(list(numbered(run_id, events)))


def base(run_id: str, secret: bytes = ACTIVE, file_id: str = "") -> list[Event]:
    """Return the six events of the good run."""
    return [start(secret, file_id or file_id_of(run_id)), effect(), step(0), step(1), step(2), end()]


def joined(lines: list[bytes]) -> bytes:
    """Return lines as they stand in a file."""
    return b"".join(line + b"\n" for line in lines)


def statement(run_id: str, lines: list[bytes], **changes: object) -> str:
    """Return line 1 of a seal (without LF)."""
    body = lines[-1][:-SUFFIX_LENGTH] + b"}"
    said = {
        "bytes": len(joined(lines)),
        "events": len(lines),
        "file_id": file_id_of(run_id),
        "gen": 0,
        "last_mac": lines[-1][-45:-2].decode(),
        "run_id": run_id,
        "sealed_at": SEALED_AT,
        "sha256": sha256(joined(lines)),
        "status": json.loads(body)["data"]["status"],
        "v": 1,
    }
    return canonical(said | changes)


def named(secret: bytes) -> tuple[str, str]:
    """Return (algorithm, kid) of a key."""
    if isinstance(secret, Seed):
        return "ed25519", ed25519_kid(ed25519_public(secret))
    return "hmac-sha256", kid_of(secret)


def signature(secret: bytes, said: str) -> str:
    """Return one signature line of a seal (without LF)."""
    alg, kid = named(secret)
    message = pae(b"seal", said.encode())
    sig = b64(ed25519_sign(secret, message)) if isinstance(secret, Seed) else sign(secret, said.encode())
    return canonical({"alg": alg, "kid": kid, "sig": sig})


def seal(said: str, *secrets: bytes, more: str = "") -> bytes:
    """Return a whole `.sig`."""
    lines = [said, *(signature(secret, said) for secret in secrets or (ACTIVE,))]
    return "".join(line + "\n" for line in lines).encode() + more.encode()


def stranger() -> str:
    """Return a signature line by an Ed25519 key that nobody has at hand."""
    kid = ed25519_kid(bytes(range(32)))
    return canonical({"alg": "ed25519", "kid": kid, "sig": b64(hashlib.sha512(b"stranger").digest())}) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file in ASCII, so that no editor changes a character."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="ascii")
