"""Judgements for the tests of reports: of real recordings that were replayed with other code, and damaged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from golden.keyring import Keyring
from golden.store import Store
from golden.verdict import verify
from replay import Context, SkillRegistry, record, replay
from replay.judgement import Finding, Judgement, Summary, summed_up
from replay.judging import Watch, judged, judged_at_rest

SECRET = b"a secret of the tests, long enough to sign"
WHEN = "2026-01-01T00:00:00.000000Z"
ROWS = [{"day": f"2012-01-{day:02}", "max_c": 10.0 + day % 7, "rain": day % 3 == 0} for day in range(1, 15)]
SPEC: dict[str, Any] = {
    "id": "weather-report",
    "steps": [
        {"id": "fetch", "skill_id": "fetch", "inputs": {"city": "${inputs.city}"}},
        {"id": "shape", "skill_id": "shape", "inputs": {"rows": "${fetch.rows}"}},
        {"id": "rank", "skill_id": "rank", "inputs": {"rows": "${fetch.rows}"}},
        {"id": "report", "skill_id": "report", "inputs": {"mean": "${shape.mean}", "city": "${inputs.city}"}},
        {"id": "send", "skill_id": "send", "inputs": {"text": "${report.text}"}, "external": True},
    ],
}
Skill = Callable[[Context], Any]


def rows_of(_city: str) -> Any:
    return ROWS


def fetch(ctx: Context) -> Any:
    return {"rows": ctx.external("get", rows_of, ctx.inputs["city"])}


def fetch_elsewhere(ctx: Context) -> Any:
    return {"rows": ctx.external("get", rows_of, ctx.inputs["city"].upper())}


def shape(ctx: Context) -> Any:
    rows = ctx.inputs["rows"]
    return {"mean": round(sum(row["max_c"] for row in rows) / len(rows), 1), "days": len(rows), "unit": "°C"}


def shape_otherwise(ctx: Context) -> Any:
    return {"mean": 12.5, "days": "14", "method": "median", "unit": "°C"}


def rank(ctx: Context) -> Any:
    return sorted(ctx.inputs["rows"], key=lambda row: row["max_c"])


def rank_fails(ctx: Context) -> Any:
    raise KeyError(ctx.inputs["rows"][0]["max"])


def report(ctx: Context) -> Any:
    lines = [f"# Weather in {ctx.inputs['city']}", "", f"The mean maximum was {ctx.inputs['mean']} °C.", ""]
    return {"text": "\n".join([*lines, *(f"- {row['day']}: {row['max_c']}" for row in ROWS), ""])}


def report_reworded(ctx: Context) -> Any:
    return {"text": report(ctx)["text"].replace("The mean maximum was", "On average, the maximum was")}


def send(ctx: Context) -> Any:
    return {"id": 17}


def registry(**others: Skill) -> SkillRegistry:
    """Return the skills of the report, with others in the place of some."""
    made = SkillRegistry()
    for name, skill in {"fetch": fetch, "shape": shape, "rank": rank, "report": report, "send": send, **others}.items():
        made.skill(name, version="1")(skill)
    return made


def judgement_of(store: Store, run_id: str, spec: dict[str, Any] | None = None, **others: Skill) -> Judgement:
    """Return the judgement on a recording of the report, replayed with other skills or another spec."""
    recorded = record(SPEC, registry(), store=store, run_id=run_id, seed=7, inputs={"city": "Seattle"})
    watch = Watch()
    with recorded as recording:
        answer = replay(recording, registry(**others), spec, observer=watch)
        found = judged(recording, answer, watch, path=f"goldens/{run_id}.steps.jsonl")
        return replace(found, seconds=0.25)


def judgements(folder: Path) -> Iterator[Judgement]:
    """Give one judgement of each sort, from a golden directory that is made in `folder`."""
    store = Store(folder, Keyring(SECRET), durability="never", ledger=False)
    yield judgement_of(store, "report-1")
    yield judgement_of(store, "report-reworded", report=report_reworded)
    yield judgement_of(store, "report-shaped", shape=shape_otherwise)
    yield judgement_of(store, "report-fails", rank=rank_fails)
    yield judgement_of(store, "report-elsewhere", fetch=fetch_elsewhere)
    steps = [*SPEC["steps"][:4], {"id": "save", "skill_id": "send", "external": True}]
    yield judgement_of(store, "report-respec", {**SPEC, "steps": steps})
    store.file("report-1").path.rename(store.file("report-copy").path)
    store.file("report-1").seal_path.rename(store.file("report-copy").seal_path)
    yield judged_at_rest(verify(store.file("report-copy").path, store.keyring))
    damaged = store.file("report-fails").path
    damaged.write_bytes(damaged.read_bytes().replace(b"Seattle", b"Seattl3", 1))
    yield judged_at_rest(verify(damaged, store.keyring))
    yield judged_at_rest(verify(store.file("report-shaped").path, Keyring(b"another secret, and long enough too")))


def summary_of(found: list[Judgement], **members: Any) -> Summary:
    """Return the summary of judgements, with everything else defaulted."""
    defaults: dict[str, Any] = {"version": "0.1.0", "python": "3.11.7", "when": WHEN, "seconds": 2.5, "jobs": 2}
    return summed_up(found, **{**defaults, "kids": ("0123456789abcdef",), **members})


LEDGER_GONE = Finding(
    "missing", "golden files, but no ledger that knows them", "`golden ledger init` lists what verifies", 3, "goldens"
)
