"""The demo's skills, each run under a small deterministic Context, and its spec run from end to end."""

import csv
import json
import re
import runpy
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID

import pytest

from cli.demo import skills
from replay import Context

DEMO = Path(skills.__file__).parent
WET_DAY_LINE = "WET_DAY_MM = 1.0\n"
Skill = Callable[[Context], dict[str, Any]]
SKILLS: dict[str, Skill] = {
    "weather.load": skills.load,
    "weather.monthly": skills.monthly,
    "weather.trend": skills.trend,
    "weather.anomalies": skills.anomalies,
    "weather.headline": skills.headline,
    "weather.report": skills.report,
}


class StandIn:
    """What a skill may ask for: fixed time and seed, and the model's recorded answers where there are any."""

    def __init__(self, inputs: dict[str, Any], seed: int = 7, answers: list[Any] | None = None) -> None:
        self.inputs = inputs
        self.outputs: dict[str, Any] = {}
        self.seed = seed
        self.random = Random(seed)
        self.asked: list[tuple[Any, ...]] = []
        self.answers = answers
        self.recorded: list[Any] = []
        self.spent = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def uuid4(self) -> UUID:
        return UUID(int=Random(f"{self.seed}:uuid").getrandbits(128), version=4)

    def external(self, name: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.asked.append((name, *args))
        self.recorded.append(fn(*args, **kwargs) if self.answers is None else self.answers.pop(0))
        return self.recorded[-1]

    def spend(self, cents: int) -> None:
        self.spent += cents


def context(stand_in: StandIn) -> Context:
    return cast("Context", stand_in)


def run(skill: Skill, seed: int = 7, /, **inputs: Any) -> dict[str, Any]:
    return skill(context(StandIn(inputs, seed)))


@pytest.fixture(scope="module", name="daily")
def fixture_daily() -> dict[str, Any]:
    return run(skills.load, file="weather.csv")


@pytest.fixture(scope="module", name="by_month")
def fixture_by_month(daily: dict[str, Any]) -> dict[str, Any]:
    return run(skills.monthly, daily=daily)


def days_of(month: str) -> list[dict[str, str]]:
    """Read one month's rows by other means than the skill's."""
    with (DEMO / "weather.csv").open(newline="", encoding="ascii") as file:
        return [row for row in csv.DictReader(file) if row["date"].replace("/", "-").startswith(month)]


def test_load_returns_every_day_in_columns(daily: dict[str, Any]) -> None:
    columns = ("dates", "precipitation", "temp_max", "temp_min", "wind", "weather")
    assert {len(daily[name]) for name in columns} == {daily["rows"]} == {1461}
    assert (daily["dates"][0], daily["dates"][-1]) == ("2012-01-01", "2015-12-31")
    assert [daily[name][1] for name in columns] == ["2012-01-02", 10.9, 10.6, 2.8, 4.5, "rain"]


def test_provenance_names_the_bytes_that_are_loaded(daily: dict[str, Any]) -> None:
    assert daily["sha256"] == sha256((DEMO / "weather.csv").read_bytes()).hexdigest()
    assert daily["sha256"] in (DEMO / "PROVENANCE.md").read_text(encoding="utf-8")


BROKEN = {
    "other-header": ("date,precipitation", "day,precipitation", "line 1, column date: expected the header "),
    "byte-order-mark": ("date,precip", "\ufeffdate,precip", "line 1, column date: expected the header "),
    "date-not-a-day": ("2012/01/31,", "2012/01/32,", "line 32, column date: expected a day as YYYY/MM/DD"),
    "date-other-form": ("2012/01/03,", "20120103,", "line 4, column date: expected a day as YYYY/MM/DD"),
    "day-missing": (
        "2012/01/02,10.9,10.6,2.8,4.5,rain\n",
        "",
        "line 3, column date: expected the day after ",
    ),
    "day-twice": ("2012/01/03,", "2012/01/02,", "line 4, column date: expected the day after 2012-01-02"),
    "unknown-weather": (
        "2.8,4.5,rain",
        "2.8,4.5,hail",
        "line 3, column weather: expected one of drizzle, fog",
    ),
    "undecodable-weather": ("2.8,4.5,rain", "2.8,4.5,r\udcffin", "line 3, column weather: expected one of"),
    "negative-rain": (
        ",10.9,10.6,",
        ",-10.9,10.6,",
        "line 3, column precipitation: expected a number from 0",
    ),
    "too-hot": (",10.9,10.6,", ",10.9,106,", "line 3, column temp_max: expected a number from -40 to 50"),
    "nan-wind": ("2.8,4.5,rain", "2.8,nan,rain", "line 3, column wind: expected a number from 0 to 60"),
    "empty-number": (
        "10.9,10.6,2.8,",
        "10.9,10.6,,",
        "line 3, column temp_min: expected a number from -40 to 50",
    ),
    "min-above-max": (
        "10.9,10.6,2.8,",
        "10.9,10.6,12.8,",
        "line 3, column temp_min: expected at most temp_max 10.6",
    ),
    "cell-missing": ("2.8,4.5,rain", "2.8,4.5", "line 3, column weather: expected 6 cells, found '5'"),
    "cell-too-many": ("2.8,4.5,rain", "2.8,4.5,rain,", "line 3, column weather: expected 6 cells, found '7'"),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_file_is_refused_with_line_and_column(tmp_path: Path, defect: str) -> None:
    old, new, message = BROKEN[defect]
    text = (DEMO / "weather.csv").read_text(encoding="ascii")
    assert text.count(old) == 1
    copy = tmp_path / "weather.csv"
    copy.write_text(text.replace(old, new), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=f"^{re.escape(f'weather.csv: {message}')}"):
        run(skills.load, file=str(copy))


@pytest.mark.parametrize(
    "content, place",
    [("", "line 1"), ("date,precipitation,temp_max,temp_min,wind,weather\n", "line 2")],
    ids=["empty-file", "header-only"],
)
def test_a_file_without_days_is_refused(tmp_path: Path, content: str, place: str) -> None:
    (tmp_path / "weather.csv").write_text(content, encoding="ascii")
    with pytest.raises(ValueError, match=f"^weather.csv: {place}, column date: "):
        run(skills.load, file=str(tmp_path / "weather.csv"))


def test_an_absent_file_is_refused_by_name_alone() -> None:
    with pytest.raises(ValueError, match=r"^absent\.csv: no such file beside the skills$"):
        run(skills.load, file="absent.csv")


@pytest.mark.parametrize("month", ["2012-02", "2015-12"])
def test_a_month_is_summarised_as_counted_by_hand(by_month: dict[str, Any], month: str) -> None:
    days = days_of(month)
    assert len(days) == {"2012-02": 29, "2015-12": 31}[month]
    rain_tenths = [int(day["precipitation"].replace(".", "")) for day in days]
    assert by_month["rain_mm"][month] == sum(rain_tenths) / 10
    assert by_month["wet_days"][month] == sum(tenths >= 10 for tenths in rain_tenths)
    for name, column in (("mean_max_c", "temp_max"), ("mean_min_c", "temp_min")):
        mean = sum(float(day[column]) for day in days) / len(days)
        assert by_month[name][month] == pytest.approx(mean, abs=0.00501)


def test_every_month_is_summarised(by_month: dict[str, Any]) -> None:
    months = [f"{year}-{month:02}" for year in range(2012, 2016) for month in range(1, 13)]
    assert list(by_month) == ["mean_max_c", "mean_min_c", "rain_mm", "wet_days"]
    assert all(list(values) == months for values in by_month.values())


def test_a_colleagues_wet_day_changes_the_wet_days_and_nothing_else(
    tmp_path: Path, daily: dict[str, Any], by_month: dict[str, Any]
) -> None:
    source = (DEMO / "skills.py").read_text(encoding="utf-8")
    assert source.count(WET_DAY_LINE) == 1
    (tmp_path / "skills.py").write_text(source.replace(WET_DAY_LINE, "WET_DAY_MM = 2.0\n"), encoding="utf-8")
    changed = run(runpy.run_path(str(tmp_path / "skills.py"))["monthly"], daily=daily)
    assert {name for name in by_month if changed[name] != by_month[name]} == {"wet_days"}


def straight_line(per_year: float) -> dict[str, float]:
    """Four years of months with seasons of 10 °C and the given slope."""
    return {
        f"{2000 + year}-{month:02}": 10 * (month > 6) + per_year * year for year in range(4) for month in range(1, 13)
    }


@pytest.mark.parametrize("per_year", [-0.5, 0.0, 0.25])
def test_trend_of_a_straight_line_is_its_slope_without_doubt(per_year: float) -> None:
    months = straight_line(per_year)
    found = run(skills.trend, mean_max_c=months, mean_min_c=months, resamples=50)
    assert found == dict.fromkeys(("c_per_decade", "low", "high"), 10 * per_year) | {"resamples": 50}


def test_trend_is_repeated_by_its_seed_alone(by_month: dict[str, Any]) -> None:
    inputs = {"mean_max_c": by_month["mean_max_c"], "mean_min_c": by_month["mean_min_c"], "resamples": 200}
    first = run(skills.trend, 1, **inputs)
    assert run(skills.trend, 1, **inputs) == first
    other = run(skills.trend, 2, **inputs)
    assert (other["low"], other["high"]) != (first["low"], first["high"])
    assert other["c_per_decade"] == first["c_per_decade"]
    assert first["low"] < first["c_per_decade"] < first["high"]


@pytest.mark.parametrize("resamples", [0, 100_001, 1.5, "1000", True, None])
def test_trend_refuses_resamples_that_are_no_count(resamples: object) -> None:
    months = straight_line(0.0)
    with pytest.raises(ValueError, match="resamples: expected a whole number from 1 to 100000"):
        run(skills.trend, mean_max_c=months, mean_min_c=months, resamples=resamples)


def test_trend_refuses_a_single_year() -> None:
    year = {month: value for month, value in straight_line(1.0).items() if month.startswith("2000")}
    with pytest.raises(ValueError, match="months: expected a calendar month of two years"):
        run(skills.trend, mean_max_c=year, mean_min_c=year, resamples=10)


def test_anomalies_measure_a_day_against_its_own_calendar_month() -> None:
    dates = ["2012-01-01", "2012-01-02", "2013-01-01", "2013-01-02", "2012-07-01"]
    found = run(skills.anomalies, dates=dates, temp_max=[0.0, 4.0, 4.0, 4.0, 30.0], top=2)
    assert found == {
        "days": [
            {"date": "2012-01-01", "temp_max": 0.0, "usual": 3.0, "z": -1.73},
            {"date": "2012-01-02", "temp_max": 4.0, "usual": 3.0, "z": 0.58},
        ]
    }


HEADLINE = {
    "rain_mm": {"2012-01": 9.5, "2012-02": 12.0, "2012-03": 12.0},
    "strangest": {"date": "2012-02-03", "temp_max": 25.0, "usual": 9.0, "z": 4.0},
}


def test_the_model_never_answers_twice_alike() -> None:
    first, second = run(skills.headline, **HEADLINE), run(skills.headline, **HEADLINE)
    assert first["request_id"] != second["request_id"]
    assert "12.0 mm of rain in 2012-02, 25.0 °C on 2012-02-03" in first["text"]


def test_headline_takes_a_recorded_answer_and_spends_its_cents() -> None:
    live = StandIn(HEADLINE)
    expected = skills.headline(context(live))
    replayed = StandIn(HEADLINE, answers=live.recorded)
    assert skills.headline(context(replayed)) == expected
    assert replayed.asked == live.asked
    assert live.asked[0][0] == "headline.model"
    assert replayed.spent == live.spent == 2


def resolve(value: Any, known: dict[str, Any]) -> Any:
    """Put outputs in the place of references, as the spec's reader does."""
    if isinstance(value, dict):
        return {name: resolve(member, known) for name, member in value.items()}
    if isinstance(value, str) and (reference := re.fullmatch(r"\$\{(.+)\}", value)):
        found: Any = known
        for part in reference[1].split("."):
            found = found[int(part)] if isinstance(found, list) else found[part]
        return found
    return value


def run_spec(spec: dict[str, Any], answers: list[Any] | None) -> tuple[dict[str, Any], list[Any], int]:
    """Run every step in the order written; return the outputs, the model's answers and the cents spent."""
    known: dict[str, Any] = {"inputs": {"resamples": 100}}
    recorded: list[Any] = []
    spent = 0
    for step in spec["steps"]:
        stand_in = StandIn(resolve(step["inputs"], known), answers=answers)
        output = SKILLS[step["skill_id"]](context(stand_in))
        assert json.loads(json.dumps(output, allow_nan=False)) == output
        known[step["id"]] = output
        recorded += stand_in.recorded
        spent += stand_in.spent
    return known, recorded, spent


def test_the_spec_runs_to_a_report_and_repeats_it_from_the_recorded_answer() -> None:
    spec = json.loads((DEMO / "workflow.json").read_bytes())
    outputs, recorded, spent = run_spec(spec, None)
    report = outputs["report"]
    assert set(SKILLS) == {step["skill_id"] for step in spec["steps"]}
    assert spent <= sum(step.get("estimated_cost_cents", 0) for step in spec["steps"])
    assert spent <= spec["budget_ceiling_cents"]
    assert resolve(spec["result"], outputs) == report["markdown"]
    assert report["months"] == 48
    assert report["wet_days"] == sum(outputs["monthly"]["wet_days"].values())
    assert outputs["headline"]["text"] in report["markdown"]
    assert f"Made on 2026-01-02 from 1461 days, sha256 {outputs['load']['sha256'][:16]}." in report["markdown"]
    assert max(len(line) for line in report["markdown"].splitlines()) <= 80
    assert f"Report {report['report_id']}." in report["markdown"]
    assert run_spec(spec, recorded)[0] == outputs


def test_a_copy_of_the_demo_runs_on_the_csv_beside_it(tmp_path: Path) -> None:
    shutil.copy(DEMO / "skills.py", tmp_path)
    lines = (DEMO / "weather.csv").read_bytes().splitlines(keepends=True)[:11]
    (tmp_path / "weather.csv").write_bytes(b"".join(lines))
    assert run(runpy.run_path(str(tmp_path / "skills.py"))["load"], file="weather.csv")["rows"] == 10
