"""Checks: what a golden value costs in a test, early and late, and what the plugin costs where no test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.report import Row, Section
from tests.bench.rows import FLAT, Bench, ms

CHECK, START = 0.0005, 0.020
_MODULE = """\
VALUE = {{"rows": [{{"id": n, "name": f"n{{n}}", "part": n * 1.5}} for n in range(10)]}}

def test_values({fixture}):
    for n in range({count}):
        {check}
"""
_CHECKS = {
    "golden": "golden.check({**VALUE, 'n': n})",
    "plain": "assert {**VALUE, 'n': n} == {**VALUE, 'n': n}",
}


def checks(bench: Bench) -> Section:
    """Cost of `golden.check` over a plain assert, and of the plugin at the start of pytest."""
    bench.product.add("pytest")
    many, few = 10_000 // bench.scale, 1_000 // bench.scale
    folder = bench.files / "checks"
    folder.mkdir()
    (folder / "golden.toml").write_text("ledger = false\n")
    pytest = [bench.product.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    commands: dict[str, Sequence[str]] = {}
    for kind, count in (("golden", many), ("golden", few), ("plain", many), ("plain", few), ("plain", 1)):
        commands[f"{kind} {count}"] = [*pytest, str(_module(folder, kind, count))]
    commands["without"] = [*commands["plain 1"], "-p", "no:stepseal"]
    bench.in_turn({"keep": [*pytest, "--golden-update", str(folder)]}, rounds=1)
    found = bench.in_turn(commands, rounds=2 * bench.rounds)
    each = {count: (found[f"golden {count}"].cpu - found[f"plain {count}"].cpu) / count for count in (many, few)}
    start = found["plain 1"].cpu - found["without"].cpu
    # What it takes to begin is that of the first check, and of a few it is much.
    late = (found[f"golden {many}"].cpu - found[f"golden {few}"].cpu) / (many - few)
    good = all(usage.code == 0 for usage in found.values())
    rows = [
        Row(
            f"golden.check over a plain assert, {many:,} of them",
            f"{1e6 * each[many]:.0f} µs",
            f"of {few:,}: {1e6 * each[few]:.0f} µs",
            f"{late / each[many]:.2f}",
            f"≤ {ms(CHECK)}, flat",
            good and each[many] <= CHECK and late <= FLAT * each[few],
        ),
        Row(
            "start of pytest with the plugin",
            ms(found["plain 1"].cpu),
            f"without: {ms(found['without'].cpu)}",
            "",
            f"≤ + {ms(START)}",
            good and start <= START,
        ),
    ]
    about = "Sessions of pytest, whole processes, of one test with so many values of 450 bytes: CPU time."
    return Section("pytest", about, rows)


def _module(folder: Path, kind: str, count: int) -> Path:
    path = folder / f"test_{kind}_{count}.py"
    fixture = "golden" if kind == "golden" else ""
    path.write_text(_MODULE.format(fixture=fixture, count=count, check=_CHECKS[kind]))
    return path


SECTIONS: dict[str, Callable[[Bench], Section]] = {"checks": checks}
