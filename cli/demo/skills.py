"""The skills of the demo workflow: they read one CSV file and ask one stand-in model, and write nothing.

Units: °C, mm of rain, m/s of wind. Days are `YYYY-MM-DD`, months `YYYY-MM`. Floats are added by `math.fsum`,
so that no interpreter's own way of adding them can show in a recording.
"""

import hashlib
import math
import re
import secrets
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from replay import Context, SkillRegistry

registry = SkillRegistry()

# A day is wet from this much rain on (mm).
WET_DAY_MM = 1.0

HEADER = ["date", "precipitation", "temp_max", "temp_min", "wind", "weather"]
RANGES = {"precipitation": (0, 500), "temp_max": (-40, 50), "temp_min": (-40, 50), "wind": (0, 60)}
WEATHER = frozenset({"drizzle", "fog", "rain", "snow", "sun"})
BLOCK_MONTHS = 3
MAX_RESAMPLES = 100_000
MODEL_CENTS = 2
PHRASINGS = ("Seattle in short: {}", "Bring an umbrella: {}", "What the gauges saw: {}")


@registry.skill("weather.load", version="1")
def load(ctx: Context) -> dict[str, Any]:
    """Read and validate the CSV named by the input `file`, relative to this module's folder.

    Returns `{dates, precipitation, temp_max, temp_min, wind, weather, rows, sha256}`: six lists in day order,
    their length, and the file's hash. Raises ValueError naming line and column where the file is not right.
    """
    path = Path(__file__).parent / ctx.inputs["file"]
    if not path.is_file():
        raise ValueError(f"{path.name}: no such file beside the skills")
    data = path.read_bytes()
    # An undecodable byte becomes U+FFFD, which no cell may hold: so its refusal names line and column, too.
    header, *lines = [line.decode("utf-8", "replace") for line in data.splitlines() or [b""]]
    if header.split(",") != HEADER:
        raise _bad(path, 1, "date", f"the header {','.join(HEADER)}", header)
    if not lines:
        raise _bad(path, 2, "date", "a day", "the end of the file")
    columns: dict[str, list[Any]] = {name: [] for name in HEADER}
    previous: date | None = None
    for number, line in enumerate(lines, start=2):
        cells = line.split(",")
        if len(cells) != len(HEADER):
            column = HEADER[min(len(cells), len(HEADER) - 1)]
            raise _bad(path, number, column, f"{len(HEADER)} cells", f"{len(cells)}")
        row = dict(zip(HEADER, cells, strict=True))
        day = _day(path, number, row["date"])
        if previous is not None and day - previous != timedelta(days=1):
            raise _bad(path, number, "date", f"the day after {previous.isoformat()}", row["date"])
        previous = day
        columns["date"].append(day.isoformat())
        for name in RANGES:
            columns[name].append(_number(path, number, name, row[name]))
        if columns["temp_min"][-1] > columns["temp_max"][-1]:
            raise _bad(path, number, "temp_min", f"at most temp_max {row['temp_max']}", row["temp_min"])
        if row["weather"] not in WEATHER:
            raise _bad(path, number, "weather", f"one of {', '.join(sorted(WEATHER))}", row["weather"])
        columns["weather"].append(row["weather"])
    dates = columns.pop("date")
    return {"dates": dates, **columns, "rows": len(dates), "sha256": hashlib.sha256(data).hexdigest()}


@registry.skill("weather.monthly", version="1")
def monthly(ctx: Context) -> dict[str, Any]:
    """Summarise the input `daily` (the output of `weather.load`) by month.

    Returns `{mean_max_c, mean_min_c, rain_mm, wet_days}`, each `{month: value}`, to 0.01 °C and 0.1 mm.
    """
    daily = ctx.inputs["daily"]
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    values = zip(daily["temp_max"], daily["temp_min"], daily["precipitation"], strict=True)
    for day, value in zip(daily["dates"], values, strict=True):
        rows[day[:7]].append(value)
    return {
        "mean_max_c": {month: round(fmean(high for high, _, _ in days), 2) for month, days in rows.items()},
        "mean_min_c": {month: round(fmean(low for _, low, _ in days), 2) for month, days in rows.items()},
        "rain_mm": {month: round(math.fsum(rain for _, _, rain in days), 1) for month, days in rows.items()},
        "wet_days": {month: sum(rain >= WET_DAY_MM for _, _, rain in days) for month, days in rows.items()},
    }


@registry.skill("weather.trend", version="1")
def trend(ctx: Context) -> dict[str, Any]:
    """Estimate the trend of the monthly mean temperature, with the seasons taken out, and how sure it is.

    Inputs: `mean_max_c` and `mean_min_c` (`{month: °C}`), `resamples` (1 to 100,000). The slope is by least
    squares with a level per calendar month; its 90 % interval is from a circular block bootstrap (Politis and
    Romano, 1992), whose blocks of three months keep a warm spell together; it holds the levels fixed. Returns
    `{c_per_decade, low, high, resamples}`, to 0.01. Raises ValueError without a calendar month of two years.
    """
    highs, lows, resamples = ctx.inputs["mean_max_c"], ctx.inputs["mean_min_c"], ctx.inputs["resamples"]
    if type(resamples) is not int or not 1 <= resamples <= MAX_RESAMPLES:
        raise ValueError(f"resamples: expected a whole number from 1 to {MAX_RESAMPLES}, found {resamples!r}")
    months = sorted(highs)
    years = _without_seasons(months, [float(month[:4]) for month in months])
    temperatures = _without_seasons(months, [(highs[month] + lows[month]) / 2 for month in months])
    xy = [x * y for x, y in zip(years, temperatures, strict=True)]
    xx = [x * x for x in years]
    if not any(xx):
        raise ValueError(f"months: expected a calendar month of two years, found {', '.join(months)}")
    slope = math.fsum(xy) / math.fsum(xx)
    # Every block's two sums, by its first month: a resample then only adds blocks up.
    block_xy, block_xx = _circular_sums(xy), _circular_sums(xx)
    blocks = max(1, len(months) // BLOCK_MONTHS)
    rng, slopes = ctx.random, []
    for _ in range(resamples):
        starts = rng.choices(range(len(months)), k=blocks)
        weight = math.fsum(block_xx[start] for start in starts)
        slopes.append(math.fsum(block_xy[start] for start in starts) / weight if weight else slope)
    slopes.sort()
    low, high = (slopes[round(share * (resamples - 1))] for share in (0.05, 0.95))
    per_decade = {"c_per_decade": slope, "low": low, "high": high}
    return {**{name: round(10 * value, 2) for name, value in per_decade.items()}, "resamples": resamples}


@registry.skill("weather.anomalies", version="1")
def anomalies(ctx: Context) -> dict[str, Any]:
    """Find the days whose maximum is furthest from the mean maximum of their calendar month.

    Inputs: `dates` and `temp_max` (lists of one length), `top` (how many). Returns `{days: [{date, temp_max,
    usual, z}]}`, furthest first, then earliest: `usual` is that mean, `z` counts standard deviations from it.
    """
    by_month: dict[str, list[float]] = defaultdict(list)
    pairs = list(zip(ctx.inputs["dates"], ctx.inputs["temp_max"], strict=True))
    for day, value in pairs:
        by_month[day[5:7]].append(value)
    usual = {month: (fmean(values), pstdev(values)) for month, values in by_month.items()}
    days = []
    for day, value in pairs:
        mean, spread = usual[day[5:7]]
        z = round((value - mean) / spread, 2) if spread else 0.0
        days.append({"date": day, "temp_max": value, "usual": round(mean, 2), "z": z})
    days.sort(key=lambda found: (-abs(found["z"]), found["date"]))
    return {"days": days[: ctx.inputs["top"]]}


@registry.skill("weather.headline", version="1")
def headline(ctx: Context) -> dict[str, Any]:
    """Have the model word one headline; on replay its answer comes from the recording.

    Inputs: `rain_mm` (`{month: mm}`) and `strangest` (a day of `weather.anomalies`). Returns `{text,
    request_id}` and spends `MODEL_CENTS` cents.
    """
    rain, strangest = ctx.inputs["rain_mm"], ctx.inputs["strangest"]
    wettest = min(rain, key=lambda month: (-rain[month], month))
    facts = f"{rain[wettest]} mm of rain in {wettest}, {strangest['temp_max']} °C on {strangest['date']}"
    answer = ctx.external("headline.model", ask_model, f"Word one headline. Facts: {facts}")
    ctx.spend(MODEL_CENTS)
    return {"text": answer["text"], "request_id": answer["request_id"]}


@registry.skill("weather.report", version="1")
def report(ctx: Context) -> dict[str, Any]:
    """Assemble the report from what the other steps found, dated by the run's own clock.

    Inputs: `headline` (text), `monthly` and `trend` (outputs), `days` (of `weather.anomalies`), `rows` and
    `sha256` (of `weather.load`). Returns `{markdown, report_id, months, wet_days}`, the last two as counts.
    """
    by_month, slope = ctx.inputs["monthly"], ctx.inputs["trend"]
    months, wet_days, report_id = sorted(by_month["rain_mm"]), by_month["wet_days"], str(ctx.uuid4())
    days = ctx.inputs["days"]
    years = sorted({month[:4] for month in months})
    verdict = "includes zero" if slope["low"] <= 0 <= slope["high"] else "excludes zero"
    lines = [
        f"# Seattle weather, {months[0]} to {months[-1]}",
        "",
        f"> {ctx.inputs['headline']}",
        "",
        "| year | mean max °C | mean min °C | rain mm | wet days |",
        "|------|------------:|------------:|--------:|---------:|",
    ]
    for year in years:
        within = [month for month in months if month.startswith(year)]
        high = fmean(by_month["mean_max_c"][month] for month in within)
        low = fmean(by_month["mean_min_c"][month] for month in within)
        rain = math.fsum(by_month["rain_mm"][month] for month in within)
        wet = sum(wet_days[month] for month in within)
        lines.append(f"| {year} | {high:11.1f} | {low:11.1f} | {rain:7.1f} | {wet:8} |")
    lines += [
        "",
        "Trend: {c_per_decade:+.2f} °C per decade. Its 90 % interval, {low:+.2f} to {high:+.2f},".format(**slope),
        f"{verdict} ({slope['resamples']} resamples); {len(years)} years are weather, not climate.",
        "",
        "Days furthest from the mean maximum of their calendar month:",
        "",
    ]
    lines += ["- {date}: {temp_max:.1f} °C, usual {usual:.1f} °C, z = {z:+.2f}".format(**day) for day in days]
    lines += [
        "",
        f"Made on {ctx.now().date()} from {ctx.inputs['rows']} days, sha256 {ctx.inputs['sha256'][:16]}.",
        f"Report {report_id}.",
    ]
    counts = {"months": len(months), "wet_days": sum(wet_days.values())}
    return {"markdown": "\n".join(lines) + "\n", "report_id": report_id, **counts}


def ask_model(prompt: str) -> dict[str, str]:
    """Stand in for a language model: wording and request id by chance, so that no two answers are alike."""
    facts = prompt.partition("Facts: ")[2]
    return {"text": secrets.choice(PHRASINGS).format(facts), "request_id": f"req-{secrets.token_hex(6)}"}


def _bad(path: Path, line: int, column: str, expected: str, actual: str) -> ValueError:
    return ValueError(f"{path.name}: line {line}, column {column}: expected {expected}, found {actual!r}")


def _day(path: Path, line: int, text: str) -> date:
    try:
        if re.fullmatch(r"\d{4}/\d\d/\d\d", text, re.ASCII):
            return date.fromisoformat(text.replace("/", "-"))
    except ValueError:
        pass
    raise _bad(path, line, "date", "a day as YYYY/MM/DD", text)


def _number(path: Path, line: int, column: str, text: str) -> float:
    least, most = RANGES[column]
    if not re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII) or not least <= float(text) <= most:
        raise _bad(path, line, column, f"a number from {least:g} to {most:g}", text)
    return float(text)


def _without_seasons(months: list[str], values: list[float]) -> list[float]:
    """Subtract from each value the mean of its calendar month."""
    seasons: dict[str, list[float]] = defaultdict(list)
    for month, value in zip(months, values, strict=True):
        seasons[month[5:]].append(value)
    means = {season: fmean(members) for season, members in seasons.items()}
    return [value - means[month[5:]] for month, value in zip(months, values, strict=True)]


def _circular_sums(values: list[float]) -> list[float]:
    """Sum `BLOCK_MONTHS` values from each position on, going round the end."""
    count = len(values)
    blocks = [[(start + step) % count for step in range(BLOCK_MONTHS)] for start in range(count)]
    return [math.fsum(values[index] for index in block) for block in blocks]
