"""Report: the rows of the benchmark as a table for a terminal and as a document."""

from __future__ import annotations

import os
import platform
import subprocess
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.install import ROOT

HEADS = ("what", "measured", "peer", "ratio", "must reach", "ok?")


class Row(NamedTuple):
    """One line of the table; `good` is None for what is told but not demanded."""

    what: str
    measured: str
    peer: str = ""
    ratio: str = ""
    must: str = ""
    good: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of the line."""
        verdict = "" if self.good is None else "yes" if self.good else "NO"
        return (self.what, self.measured, self.peer, self.ratio, self.must or "told only", verdict)


class Section(NamedTuple):
    """The rows about one thing, with what is done to get them in a sentence or two."""

    title: str
    about: str
    rows: Sequence[Row]


def lines(section: Section) -> list[str]:
    """Return a section for a terminal."""
    cells = [row.cells for row in section.rows]
    widths = [max(len(row[n]) for row in [HEADS, *cells]) for n in range(len(HEADS))]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [HEADS, *cells]]
    return [section.title, *(f"  {line.rstrip()}" for line in table), ""]


def document(sections: Sequence[Section], facts: Mapping[str, str], command: str) -> str:
    """Return the whole report as Markdown."""
    missed = [row.what for section in sections for row in section.rows if row.good is False]
    demanded = sum(row.good is not None for section in sections for row in section.rows)
    met = f"{demanded - len(missed)} of {demanded} demands are met."
    parts = [
        "# Benchmarks",
        _filled(f"Written by `{command}`; do not edit. {met}" + (f" Missed: {'; '.join(missed)}." if missed else "")),
        "\n".join(_filled(f"- {name}: {value}") for name, value in facts.items()),
        "## How to run",
        _COMMANDS,
        "## How it is measured",
        _METHOD,
    ]
    for section in sections:
        table = [HEADS, ("---",) * len(HEADS), *(row.cells for row in section.rows)]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
        parts += [f"## {section.title}", _filled(section.about), text]
    parts += ["## What these numbers do not say", _CAVEATS]
    return "\n\n".join(parts) + "\n"


def facts(versions: Mapping[str, str], commit: str | None) -> dict[str, str]:
    """Return what the numbers depend on: date, commit (None for the checkout as it stands), machine, versions."""
    measured = commit or revision("HEAD") or "unknown"
    edited = not commit and _output("git", "status", "--porcelain", "golden", "replay", "cli")
    cpu = next((line.partition(": ")[2] for line in _cpu_lines() if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in _cpu_lines() if line.startswith("flags")), [])
    hashing = "SHA instructions" if "sha_ni" in flags else "no SHA instructions"
    load = f"load average {os.getloadavg()[0]:.1f} at the end"
    return {
        "Date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "Commit": measured + (" with uncommitted changes" if edited else ""),
        "Machine": f"{cpu}, {os.cpu_count()} cores, {hashing}, {platform.system()} {platform.release()}, {load}",
        "Versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }


def _filled(text: str) -> str:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def revision(name: str) -> str:
    """Return the short hash of a commit, "" where there is none."""
    return _output("git", "rev-parse", "--short", "--verify", f"{name}^{{commit}}")


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8").splitlines() if path.exists() else []


_COMMANDS = """\
```sh
uv run python -m tests.bench                          # the table: five minutes, 9 GB of disk in TMPDIR or /var/tmp
uv run python -m tests.bench --quick                  # a tenth of the sizes, three rounds: that it runs at all
uv run python -m tests.bench --only diff,start        # some of the sections
uv run python -m tests.bench --only many,rotate,jobs,peaks  # directories of many files; `jobs` wants idle cores
uv run python -m tests.bench --commit HEAD            # a commit instead of the checkout as it stands
uv run python -m tests.bench --out docs/benchmarks.md # the table and this page
uv run python -m tests.bench.false_alarms -n 1000     # unchanged replays alone
```

It exits with 1 if a demand is missed."""

_METHOD = """\
CPU time, user and system, of whole processes (`wait4`) or, for what has no command, of the calls themselves
(`time.process_time`). Product and peer run in turn, the figure is the median of at least five rounds after one that is
not counted, and a ratio is one of medians; *Jobs* alone goes by the clock, three rounds, on cores that must be free.
The product is built as a wheel from this checkout and installed, with bytecode, into an environment of its own: an
editable install pays for its import hook at every start, and a user has none. The peer `python` is the interpreter of
that environment. Files lie in the page cache, on disk."""

_CAVEATS = """\
- Ratios carry over to other machines better than milliseconds, but not unchanged. Where the processor has no SHA
  instructions, hashing is slower, and everything that is compared with `openssl dgst` looks better than here.
- CPU time leaves out waiting: `fsync` costs a recording more time by the clock than shown here (key `durability`).
- The files are made by the product's own recorder from prepared data, about 450 bytes a line. Lines of other lengths
  shift the ratios: `diff` compares line by line, so shorter lines cost more per byte.
- A directory of small files is the worst case for `verify` and `rotate`: what is done once a file outweighs the
  hashing. How long a rotation waits for the disk is not in its CPU time.
- Steps that do nothing are the worst case for steps per second, and no case anyone has.
- Other work on the same machine still shows, through caches and the clock rate: single figures move by some per cent
  from run to run."""
