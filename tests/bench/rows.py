"""Rows: each demand on speed and memory, measured.

Every function makes the files it needs below the bench's folder, or takes those made before, and returns a section.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.install import Product
from tests.bench.measure import Peak, Usage, in_turn, peak
from tests.bench.report import Row, Section

UNWANTED = ("deepdiff", "rich", "pytest", "jinja2", "cryptography", "asyncio")
CHANGED = (70, 5_000, 9_990)
FLAT = 1.10  # ten times the file may take a tenth more memory: one SHA-256 state a MiB is kept
_MODULES = (
    "import sys; from golden.__main__ import main; sys.argv = ['golden', *sys.argv[1:]]\n"
    "try: main()\n"
    f"finally: sys.stderr.write('LOADED ' + ' '.join(n for n in {UNWANTED} if n in sys.modules))"
)


class Bench:
    """The installed product, the files made so far, and how thoroughly to measure."""

    def __init__(self, product: Product, folder: Path, *, quick: bool) -> None:
        self.product = product
        self.files = folder / "files"
        self.files.mkdir()
        self.quick = quick
        self.scale = 10 if quick else 1
        self.rounds = 3 if quick else 7
        self.many = 5 if quick else 25
        self._made: dict[str, dict[str, Any]] = {}

    def path(self, run_id: str) -> str:
        """Return the place of a run's file."""
        return str(self.files / f"{run_id}.steps.jsonl")

    def make(
        self, run_id: str, steps: int, calls: int, *, width: int = 8, changed: Sequence[int] = ()
    ) -> dict[str, Any]:
        """Make a sealed file of steps with external calls each, once."""
        if run_id not in self._made:
            steps = steps // self.scale if steps > 10 else steps
            other = ",".join(str(n // self.scale) for n in changed)
            answer = self.product.inside("make_file", self.files, run_id, steps, calls, width, other)
            self._made[run_id] = answer
        return self._made[run_id]

    def pair(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make the two long files, 1,000,000 events each, that differ in three outputs."""
        return self.make("long-a", 10_000, 99), self.make("long-b", 10_000, 99, changed=CHANGED)

    def in_turn(self, commands: dict[str, Sequence[str]], rounds: int | None = None) -> dict[str, Usage]:
        """Measure commands in turn; see `measure`."""
        return in_turn(commands, self.product.env, self.files, rounds or self.rounds)

    def peak(self, *arguments: str) -> Peak:
        """Measure the peak memory of a command of the product."""
        return peak(self.golden(*arguments), self.product.env, self.files)

    def importing(self, *modules: str) -> list[str]:
        """Return the command that only imports."""
        return [self.product.python, "-c", f"import {', '.join(modules)}"]

    def golden(self, *arguments: str) -> list[str]:
        """Return the product's command."""
        return [self.product.golden, *arguments]


def verify(bench: Bench) -> Section:
    rows = []
    for run_id, steps, calls in (("long-a", 10_000, 99), ("wide", 100_000, 9)):
        made = bench.make(run_id, steps, calls)
        path = bench.path(run_id)
        title = f"{millions(made['events'])} events, {made['bytes'] / 1e6:.0f} MB"
        found = bench.in_turn(
            {
                "verify": bench.golden("verify", path),
                "openssl": ["openssl", "dgst", "-sha256", path],
                "import": bench.importing("click", "msgspec"),
            }
        )
        allowed = 1.05 * found["openssl"].cpu + found["import"].cpu
        rows.append(
            Row(
                f"verify, {title}, a spec of {steps // bench.scale:,} steps",
                ms(found["verify"].cpu),
                f"1.05 × {ms(found['openssl'].cpu)} + {ms(found['import'].cpu)} = {ms(allowed)}",
                f"{found['verify'].cpu / allowed:.2f}",
                "≤ 1.00",
                found["verify"].code == 0 and found["verify"].cpu <= allowed,
            )
        )
    about = (
        "`golden verify FILE` of a sealed file, the whole command, against `openssl dgst -sha256 FILE` and what"
        ' `python -c "import click, msgspec"` costs. The second file has ten times the header: a spec of ten times the'
        " steps."
    )
    return Section("Verify", about, rows)


def signing(bench: Bench) -> Section:
    rows = []
    for kind, steps in (("trivial", 10_000), ("large", 1_000)):
        count = steps // bench.scale
        found = bench.product.inside("signing", bench.files, kind, count, bench.rounds)
        rate = found["unsigned"] / found["signed"]
        demanded = kind == "trivial"
        rows.append(
            Row(
                f"record, signed, {count:,} steps, " + ("trivial" if demanded else "outputs of 64 KiB"),
                f"{count / found['signed']:,.0f} steps/s",
                f"unsigned: {count / found['unsigned']:,.0f} steps/s",
                f"{rate * 100:.0f} %",
                "≥ 70 %" if demanded else "",
                rate >= 0.7 if demanded else None,
            )
        )
    about = (
        "`replay.record` against the same through a sink that exists in the bench only: same engine, encoding and"
        " writes, but no MAC, no SHA-256, no seal, and no verifying of what was written before it returns."
        " With large outputs three passes of SHA-256 over the bytes (MAC, digest, verifying) are most of the work."
    )
    return Section("Record", about, rows)


def diff(bench: Bench) -> Section:
    made = bench.pair()[0]
    for run_id, changed in (("short-a", ()), ("short-b", CHANGED)):
        bench.make(run_id, 10_000, 9, changed=changed)
    long, short = ([bench.path(f"{length}-{end}") for end in "ab"] for length in ("long", "short"))
    api = bench.product.inside("differ", bench.files, "long-a", "long-b", bench.rounds)
    found = bench.in_turn(
        {"diff": bench.golden("diff", *long), "openssl": ["openssl", "dgst", "-sha256", *long]}, bench.rounds
    )
    peaks = [bench.peak("diff", *paths) for paths in (short, long)]
    differences = [path for path in api["found"] if path.startswith("/output")]
    good = len(differences) == 3 and found["diff"].code == 1
    openssl = found["openssl"].cpu
    rows = [
        Row(
            f"diff of two open recordings ({millions(made['events'])} events each)",
            ms(api["diff"]),
            f"openssl, both: {ms(openssl)}",
            f"{api['diff'] / openssl:.2f}",
            "≤ 2.5",
            good and api["diff"] <= 2.5 * openssl,
        ),
        Row(
            "golden diff, the whole command, verifying both",
            ms(found["diff"].cpu),
            f"openssl, both: {ms(openssl)}",
            f"{found['diff'].cpu / openssl:.2f}",
            "≤ 2.5",
            good and found["diff"].cpu <= 2.5 * openssl,
        ),
        Row("deepdiff calls for 3 different outputs", str(api["deepdiff"]), "", "", "≤ 100", api["deepdiff"] <= 100),
        memory_row("peak memory of golden diff", *peaks),
    ]
    about = (
        "Two recordings of one spec with three different outputs (and so another result hash). *Open* means already"
        " verified: what is timed is the pass that compares, and it hashes every block again, to see that it is the one"
        " that verified. The whole command verifies both files and notes their unlike lines in the same pass, and"
        " parses only those, once both have verified."
    )
    return Section("Diff", about, rows)


def tail(bench: Bench) -> Section:
    free = shutil.disk_usage(bench.files).free
    width = 360 if bench.quick else 3_700 if free > 12e9 else 600
    made = bench.make("big", 10_000, 99, width=width)
    bench.make("ten", 8, 0)
    big, small = bench.path("big"), bench.path("ten")
    found = bench.in_turn(
        {"big": bench.golden("tail", "-n", "30", big), "small": bench.golden("tail", "-n", "30", small)}, bench.many
    )
    api = bench.product.inside("tail", big, small, bench.rounds)
    title = f"tail -n 30, {made['bytes'] / 1e9:.1f} GB ({millions(made['events'])} events)"
    rows = []
    for name, one, other, good in (
        ("the whole command", found["big"].cpu, found["small"].cpu, found["big"].code == 0),
        ("in process", api["big"], api["small"], api["big_lines"] == 30),
    ):
        more = (one - other) * 1000
        rows.append(
            Row(
                f"{title}, {name}",
                ms(one),
                f"10 events: {ms(other)}",
                f"{more:+.1f} ms",
                "≤ 5 ms more",
                good and more <= 5,
            )
        )
    about = (
        "`golden tail -n 30` with the event key at hand, against the same of a file of ten events: the MACs of the"
        " lines shown are checked, the rest of the file is not read. Every line of the large file is really chained."
    )
    return Section("Tail", about, rows)


def steps(bench: Bench) -> Section:
    rounds = max(bench.rounds, 5)
    counts = (100, 1_000, 10_000)
    found = {count: bench.product.inside("steps_per_second", bench.files, count, rounds) for count in counts}
    rows = []
    for name, least in (("replay", 15_000), ("record", 12_000)):
        for count in counts:
            rate = count / found[count][name]
            rows.append(
                Row(
                    f"{name} of {count:,} trivial steps",
                    f"{rate:,.0f} steps/s",
                    f"bare calls: {count / found[count]['bare']:,.0f}/s",
                    f"{rate / least:.1f} × the least",
                    f"≥ {least:,}/s",
                    rate >= least,
                )
            )
        growth = found[10_000][name] / 10 / found[1_000][name]
        rows.append(
            Row(
                f"{name}, cost of a step at 10,000 steps",
                us(found[10_000][name] / 10_000),
                f"at 1,000: {us(found[1_000][name] / 1_000)}",
                f"{growth:.2f}",
                "≤ 1.20",
                growth <= 1.2,
            )
        )
    about = (
        "`replay.record` and `replay.replay` of independent steps that add one to a number, on one core. Recording"
        " includes creating, sealing and verifying the file; replaying starts from an open recording. Bare calls are"
        " those of the same skill without a run."
    )
    return Section("Steps", about, rows)


def engine(bench: Bench) -> Section:
    """Cost of a step with its checkpoint, and of a save late in a run."""
    inside = bench.product.inside
    many = 10_000 // bench.scale
    rates = {kind: inside("per_step", bench.files, kind, str(many), bench.rounds) for kind in ("none", "memory")}
    rate = 1 / rates["memory"][str(many)]
    flat = inside("per_step", bench.files, "sqlite", "100,3000", bench.rounds)
    late = inside("saves", "postgres", 1000, 250, bench.rounds)
    grown, slower = flat["3000"] / flat["100"], late["after"] / late["before"]
    rows = [
        Row(
            f"{many:,} trivial steps, recorded, checkpoints in memory",
            f"{rate:,.0f} steps/s",
            f"without checkpoints: {1 / rates['none'][str(many)]:,.0f} steps/s",
            "",
            "≥ 10,000 steps/s",
            rate >= 10_000,
        ),
        Row(
            "a step of 3,000, checkpoints in SQLite",
            us(flat["3000"]),
            f"a step of 100: {us(flat['100'])}",
            f"{grown:.2f}",
            "≤ 1.30",
            grown <= 1.3,
        ),
        Row(
            "a save after 1,000 outputs of 250 bytes, PostgreSQL, by the clock",
            us(late["after"]),
            f"after none: {us(late['before'])}",
            f"{slower:.2f}",
            "≤ 2.00",
            slower <= 2,
        ),
    ]
    about = (
        "`replay.record` of steps that add one, golden file and all, with a checkpoint saved after every step; and one"
        " save of one more output to a server on this machine, most of whose work is not ours, so by the clock."
    )
    return Section("Engine and checkpoints", about, rows)


def start(bench: Bench) -> Section:
    bench.make("ten", 8, 0)
    commands = {"--help": ["--help"], "verify, a file of 10 events": ["verify", bench.path("ten")]}
    found = bench.in_turn(
        {"click": bench.importing("click"), **{name: bench.golden(*words) for name, words in commands.items()}},
        bench.many,
    )
    rows = []
    for (name, words), most in zip(commands.items(), (1.15, 1.45), strict=True):
        ratio = found[name].cpu / found["click"].cpu
        peer = f'python -c "import click": {ms(found["click"].cpu)}'
        good = ratio <= most and found[name].code == 0
        rows.append(Row(f"golden {name}", ms(found[name].cpu), peer, f"{ratio:.2f}", f"≤ {most}", good))
        loaded = modules(bench, words)
        rows.append(Row(f"slow libraries that golden {words[0]} loads", loaded or "none", "", "", "none", not loaded))
    about = f"What a command costs before it does anything. Looked for in `sys.modules`: {', '.join(UNWANTED)}."
    return Section("Start", about, rows)


def modules(bench: Bench, words: Sequence[str]) -> str:
    """Return which of the unwanted modules a command loads."""
    command = [bench.product.python, "-c", _MODULES, *words]
    done = subprocess.run(command, env=bench.product.env, cwd=bench.files, capture_output=True, text=True, check=False)
    return done.stderr.partition("LOADED ")[2] if done.returncode == 0 else f"exit {done.returncode}"


def memory(bench: Bench) -> Section:
    bench.pair()
    for run_id in ("short-a", "short-b"):
        bench.make(run_id, 10_000, 9, changed=CHANGED if run_id == "short-b" else ())
    skills = ["--skills", str(Path(__file__).with_name("flow.py"))]
    replayed = 2_000 // bench.scale
    calls = {"short": 5, "long": 50}
    for length, count in calls.items():
        bench.product.inside("make_run", bench.files, f"run-{length}", replayed, count, 500)
    commands: dict[str, Callable[[str], list[str]]] = {
        "verify": lambda length: ["verify", bench.path(f"{length}-a")],
        "tail -n 30": lambda length: ["tail", "-n", "30", bench.path(f"{length}-a")],
        "diff": lambda length: ["diff", bench.path(f"{length}-a"), bench.path(f"{length}-b")],
        "replay": lambda length: ["replay", bench.path(f"run-{length}"), *skills],
    }
    rows = []
    for name, words in commands.items():
        peaks = [bench.peak(*words(length)) for length in ("short", "long")]
        rows.append(memory_row(f"golden {name}", *peaks))
    idle = peak([bench.product.python, "-c", "pass"], bench.product.env, bench.files)
    about = (
        "Largest resident size (`ru_maxrss`) at two lengths of file a factor of ten apart, of the same number of steps:"
        f" 100,000 and 1,000,000 events; for replay {replayed * 6:,} and {replayed * 51:,}, with as many external calls"
        f" answered. An interpreter that does nothing takes {idle.size:.1f} MiB."
    )
    return Section("Memory", about, rows)


def memory_row(what: str, short: Peak, long: Peak) -> Row:
    """Return the row that compares the peaks over a file and one ten times as long."""
    ratio = long.size / short.size
    good = ratio <= FLAT and long.code == short.code
    return Row(
        what, f"{long.size:.1f} MiB", f"a tenth as long: {short.size:.1f} MiB", f"{ratio:.2f}", f"≤ {FLAT:.2f}", good
    )


def ms(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


def us(seconds: float) -> str:
    """Return seconds as microseconds."""
    return f"{seconds * 1e6:.1f} µs"


def millions(count: int) -> str:
    """Return a count of events as people say it."""
    return f"{count / 1e6:.0f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


SECTIONS: dict[str, Callable[[Bench], Section]] = {
    function.__name__: function for function in (verify, signing, diff, tail, steps, engine, start, memory)
}
