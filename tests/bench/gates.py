"""Gates: what judging many small recordings costs, with one process and with two, its memory, and its page."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden import Keyring, Store
from replay import record
from replay.gate import Terms
from replay.permission import Permit
from tests.bench import flow
from tests.bench.install import SECRET
from tests.bench.measure import peak
from tests.bench.report import Row, Section
from tests.bench.rows import FLAT, Bench, ms

STEPS = 20
RATE, TWO_JOBS, PAGE = 9_000, 1.25, 5_000_000


def make_goldens(folder: str, count: str) -> dict[str, Any]:
    """Record so many runs of `STEPS` trivial steps."""
    store = Store(folder, Keyring(SECRET.encode()), durability="never")
    for n in range(int(count)):
        record(flow.trivial(STEPS), flow.registry, store=store, run_id=f"r-{n:04}", seed=n).close()
    return {}


def page_of(folder: str) -> dict[str, Any]:
    """Return the size in bytes of a page of all recordings in a folder, and the CPU seconds that making it takes."""
    from golden.directory import Directory
    from golden.store import GoldenFile, stems
    from replay.gate import Gate
    from replay.judgement import summed_up
    from replay.report.html import html_page

    directory = Directory(folder, Keyring(SECRET.encode()))
    terms = Terms(inputs=None, permit=Permit(), timeline=True)
    gate = Gate(lambda _: directory, lambda: flow.registry, lambda _: None, terms)
    found = [gate.judge(GoldenFile(folder, name)) for name in stems(folder)]
    begin = time.process_time()
    page = html_page(summed_up(found, version="0", python="3", when="2026-01-01T00:00:00.000000Z"), found)
    return {"bytes": len(page.encode()), "seconds": time.process_time() - begin}


def gate(bench: Bench) -> Section:
    """Cost of a gate over many recordings of few steps."""
    count, few = 1_000 // bench.scale, 100 // bench.scale
    folders: dict[int, Path] = {}
    for number in (count, few):
        folders[number] = bench.files / f"gate-{number}"
        if not folders[number].exists():
            bench.product.inside("make_goldens", folders[number], number)
    skills = ("--skills", flow.__file__)

    def judging(number: int, *more: str) -> list[str]:
        return bench.golden("gate", str(folders[number]), "--no-cache", *skills, *more)

    found = bench.in_turn({"one": judging(count), "two": judging(count, "-j", "2"), "few": judging(few)})
    one, two = found["one"].cpu, found["two"].cpu
    # What it costs to start, and to import skills, is that of no recording.
    each = (one - found["few"].cpu) / (count - few) / STEPS
    page = bench.product.inside("page_of", folders[count])
    of_many, of_few = (peak(judging(number), bench.product.env, bench.files) for number in (count, few))
    good = all(found[name].code == 0 for name in found)
    rows = [
        Row(
            f"gate, {count:,} recordings of {STEPS} steps",
            f"{1 / each:,.0f} steps/s",
            "",
            "",
            f"≥ {RATE:,} steps/s",
            good and 1 / each >= RATE,
        ),
        Row("the same, -j 2", ms(two), f"-j 1: {ms(one)}", f"{two / one:.2f}", f"≤ {TWO_JOBS}", two <= TWO_JOBS * one),
        Row(
            "peak memory",
            f"{of_many.size:.1f} MiB",
            f"of {few:,}: {of_few.size:.1f} MiB",
            f"{of_many.size / of_few.size:.2f}",
            f"≤ {FLAT:.2f}",
            of_many.size <= FLAT * of_few.size,
        ),
        Row(
            f"its page, {count:,} recordings",
            f"{page['bytes'] / 1e6:.2f} MB",
            f"made in {ms(page['seconds'])}",
            "",
            f"≤ {PAGE / 1e6:.0f} MB",
            page["bytes"] <= PAGE,
        ),
    ]
    about = (
        "`golden gate --no-cache` of a folder of recordings, whole processes with all that they start: CPU time. Steps"
        " per second are those of one core, without what a gate of a tenth of them costs."
    )
    return Section("Gate", about, rows)


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"make_goldens": make_goldens, "page_of": page_of}
SECTIONS: dict[str, Callable[[Bench], Section]] = {"gate": gate}
