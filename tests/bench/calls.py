"""Calls: what plain Python pays for its decorators, and for the import of them."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.report import Row, Section
from tests.bench.rows import Bench, ms, us

RECORDED, REPLAYED, OUTSIDE = 100e-6, 80e-6, 1e-6
GROWTH, GUARDED, IMPORTED = 1.2, 1.05, 1.5


def plain(bench: Bench) -> Section:
    """Cost of a decorated call, in a run and outside of one, of the guard, and of the import."""
    rounds = max(bench.rounds, 5)
    few, many = 1_000 // bench.scale, 10_000 // bench.scale
    found = bench.product.inside("calls", bench.files, f"{few},{many}", rounds)
    alone = bench.product.inside("outside", rounds)
    guarded = bench.product.inside("guarded", bench.files, many, bench.many)
    rows = []
    for how, most in (("record", RECORDED), ("replay", REPLAYED)):
        one, other = found[f"{how} {many}"], found[f"{how} {few}"]
        rows += [
            Row(f"{how}, a call of a `@step`, {many:,} in a run", us(one), "", "", f"≤ {us(most)}", one <= most),
            Row(
                f"{how}, the same against {few:,} in a run",
                us(one),
                f"{few:,}: {us(other)}",
                f"{one / other:.2f}",
                f"≤ {GROWTH:.2f}",
                one <= GROWTH * other,
            ),
        ]
    outside, bare = alone["step"], alone["bare"]
    rows.append(
        Row(
            "a call of a `@step` outside of any run",
            us(outside),
            f"bare: {us(bare)}",
            "",
            f"≤ {us(OUTSIDE)}",
            outside <= OUTSIDE,
        )
    )
    for kind, what in (("steps", "a step of a spec"), ("calls", "a call of a `@step`")):
        of = guarded[kind]
        rows.append(
            Row(
                f"record, {what}, under the guard (`warn`)",
                us(of["warn"]),
                f"off: {us(of['off'])}",
                f"{of['ratio']:.2f}",
                f"≤ {GUARDED:.2f}",
                of["ratio"] <= GUARDED,
            )
        )
    used = bench.in_turn(
        {
            "msgspec": bench.importing("msgspec"),
            "import replay": bench.importing("replay"),
            "from replay import external, step": [
                bench.product.python,
                "-c",
                "from replay import external, step",
            ],
        },
        bench.many,
    )
    peer = used.pop("msgspec").cpu
    for what, one_import in used.items():
        ratio, demanded = one_import.cpu / peer, what == "import replay"
        rows.append(
            Row(
                f"`{what}`",
                ms(one_import.cpu),
                f"`import msgspec`: {ms(peer)}",
                f"{ratio:.2f}",
                f"≤ {IMPORTED}" if demanded else "",
                ratio <= IMPORTED if demanded else None,
            )
        )
    about = (
        "A function that calls a `@step` so many times, one after the other, which adds one to a number: CPU time of"
        " one call, that of a run without any taken off. Recording includes making, sealing and verifying the file, and"
        " the guard, which warns; replaying starts from an open recording, with the network blocked. What the guard"
        " costs is the median over the rounds of the ratio with it to without, of code that gives it nothing to say."
        " Imports are whole processes, their bytecode compiled."
    )
    return Section("Plain Python", about, rows)


SECTIONS: dict[str, Callable[[Bench], Section]] = {"plain": plain}
