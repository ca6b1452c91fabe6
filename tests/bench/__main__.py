"""`python -m tests.bench`: measures everything, prints the table, and writes it as a document with `--out`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.bench import calls, checks, gates, many, report, rows
from tests.bench.false_alarms import CONTROLS, count_alarms
from tests.bench.install import Product, scratch
from tests.bench.report import Row, Section
from tests.bench.rows import Bench

SECTIONS = {**rows.SECTIONS, **calls.SECTIONS, **gates.SECTIONS, **checks.SECTIONS, **many.SECTIONS}


def alarms(product: Product, folder: Path, times: int) -> Section:
    """Return the section about replays that nothing was changed for."""
    found = count_alarms(product, folder, times, os.cpu_count() or 1)
    wrong = times - found.verdicts["matched"]
    caught = found.control["diverged"]
    table = [
        Row(
            f"{times:,} unchanged replays",
            f"{found.verdicts['matched']:,} matched",
            f"{found.steps:,} steps compared in {found.wall:.0f} s",
            f"{wrong} alarms",
            "0 alarms",
            found.good or not wrong,
        ),
        Row(
            "control: an answer that depends on the hash seed",
            f"{caught} diverged",
            f"of {CONTROLS}",
            "",
            f"{CONTROLS}",
            caught == CONTROLS,
        ),
    ]
    about = (
        "`golden replay` of a run of six steps (dicts, sorted sets, floats, seeded random numbers, an async external"
        " call), each in a fresh process with a random `PYTHONHASHSEED`."
    )
    return Section("False alarms", about, table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what the product must reach.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, three rounds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table as Markdown too")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join([*SECTIONS, 'alarms'])}, by comma")
    parser.add_argument(
        "-n", type=int, default=100, metavar="N", help="how many replays to look for false alarms (100)"
    )
    parser.add_argument("--commit", metavar="REV", help="measure this commit instead of the checkout as it stands")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else [*SECTIONS, "alarms"]
    unknown = sorted({*chosen} - {*SECTIONS, "alarms"})
    if unknown or (given.out and given.only):
        parser.error(f"there is no {', '.join(unknown)}" if unknown else "--out wants the whole table, not --only")
    revision = report.revision(given.commit) if given.commit else None
    sections = []
    with scratch() as name:
        folder = Path(name)
        product = Product(folder, revision)
        product.install()
        bench = Bench(product, folder, quick=given.quick)
        for section in chosen:
            done = SECTIONS[section](bench) if section in SECTIONS else alarms(product, folder, given.n)
            print("\n".join(report.lines(done)), flush=True)
            sections.append(done)
        facts = report.facts(product.versions(), revision)
    print("\n".join(f"{title}: {value}" for title, value in facts.items()))
    if given.out:
        options = [*(["--quick"] if given.quick else []), *(["-n", str(given.n)] if given.n != 100 else [])]
        options += ["--commit", given.commit] if given.commit else []
        command = " ".join(["python -m tests.bench", *options, "--out", str(given.out)])
        given.out.write_text(report.document(sections, facts, command), "utf-8")
    if given.quick:
        print("quick: on files this small the start of the interpreter outweighs what is compared; no demand applies")
        return 0
    return 1 if any(row.good is False for section in sections for row in section.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
