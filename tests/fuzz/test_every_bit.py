"""Every bit, byte and line of a small recording changed: never intact, never a surprise, and two verifiers agree."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from golden.errors import GoldenError
from golden.event import Data
from golden.keyring import Keyring
from golden.verdict import verify
from tests import independent_verifier, runs
from tests.runs import ACTIVE

SMALL: list[Data] = [
    runs.start(environment=msgspec.structs.replace(runs.ENVIRONMENT, timezone="")),
    runs.step(0, 1.5, attempts=[]),
    runs.end(),
]


class Bench:
    """One golden file on a bench: it is changed, judged twice, and what is wrong is written down."""

    def __init__(self, folder: Path, run_id: str = "r-1", events: list[Data] = SMALL) -> None:
        self.file = runs.record(runs.store_in(folder), run_id, events)
        self.path, self.seal_path = self.file.path, self.file.seal_path
        self.good, self.seal = self.path.read_bytes(), self.seal_path.read_bytes()
        self.keyring = Keyring(ACTIVE)
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        assert self.judge("as recorded", {"intact"}) == "intact"

    def judge(self, case: str, allowed: set[str]) -> str:
        found: str
        try:
            found = verify(self.path, self.keyring).verdict
        except GoldenError as error:
            found = repr(error)
        except Exception as error:  # noqa: BLE001  the very thing that must not happen
            found = f"traceback: {error!r}"
        second = independent_verifier.verdict(self.path, [ACTIVE])
        if found not in allowed or found != second:
            self.wrong.append(f"{case}: {found}, second verifier {second}, allowed {sorted(allowed)}")
        self.seen[found] += 1
        return found

    def flip(self, path: Path, allowed: Callable[[int], set[str]]) -> None:
        good = path.read_bytes()
        fd = os.open(path, os.O_RDWR)
        try:
            for place, byte in enumerate(good):
                for bit in range(8):
                    os.pwrite(fd, bytes([byte ^ 1 << bit]), place)
                    self.judge(f"byte {place} of {path.name}, bit {bit}", allowed(place))
                os.pwrite(fd, bytes([byte]), place)
        finally:
            os.close(fd)
        assert path.read_bytes() == good

    def put(self, data: bytes, case: str, allowed: set[str]) -> str:
        self.path.write_bytes(data)
        return self.judge(case, allowed)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A sealed recording; at the end nothing may be wrong with what was seen."""
    bench = Bench(tmp_path / "golden")
    yield bench
    assert bench.wrong == []


def span(data: bytes, text: bytes) -> range:
    """Return where the first occurrence of a text lies."""
    start = data.index(text)
    return range(start, start + len(text))


def whose(bench: Bench) -> set[int]:
    """Return the places of the header that say whose file it is: names and values."""
    head = bench.good.partition(b"\n")[0]
    golden = head[head.index(b'"golden":') : head.index(b',"seq"')]
    return set(span(bench.good, golden))


@pytest.mark.slow
def test_every_bit_of_a_sealed_file(bench: Bench) -> None:
    names = whose(bench)
    bench.flip(bench.path, lambda place: {"tampered", "wrong-run"} if place in names else {"tampered"})
    assert bench.seen["wrong-run"]


@pytest.mark.slow
def test_every_bit_of_a_seal(bench: Bench) -> None:
    version = set(span(bench.seal, b'"v":1'))
    kid = set(span(bench.seal, b'"kid":"' + bench.keyring.active.kid.encode()))

    def allowed(place: int) -> set[str]:
        more = {"unreadable"} if place in version else {"unknown-key"} if place in kid else set()
        return {"tampered", *more}

    bench.flip(bench.seal_path, allowed)
    assert bench.seen["unknown-key"]
    assert bench.seen["unreadable"]


@pytest.mark.slow
def test_every_bit_of_an_ended_file_without_its_seal(bench: Bench) -> None:
    bench.seal_path.unlink()
    last = bench.good.rindex(b"\n", 0, -1) + 1

    def allowed(place: int) -> set[str]:
        if place == len(bench.good) - 1:
            return {"torn"}
        # Before its last line nothing hides that the run ended; in it, a change may.
        return {"unsealed"} if place < last - 1 else {"unsealed", "tampered"}

    bench.flip(bench.path, allowed)


@pytest.mark.slow
def test_every_bit_of_a_live_file(bench: Bench) -> None:
    bench.seal_path.unlink()
    live = bench.good[: bench.good.rindex(b"\n", 0, -1) + 1]
    bench.put(live, "cut after a step", {"live"})
    names = whose(bench)

    def allowed(place: int) -> set[str]:
        if place == len(live) - 1:
            return {"torn"}
        return {"tampered", "wrong-run", "unknown-key", "unreadable"} if place in names else {"tampered"}

    bench.flip(bench.path, allowed)


SEALED, ENDED, LIVE = "sealed", "ended", "live"


@pytest.fixture(params=[SEALED, ENDED, LIVE])
def shape(request: pytest.FixtureRequest, bench: Bench) -> str:
    """The recording as it was sealed; the same without its seal; the same before it ended."""
    if request.param != SEALED:
        bench.seal_path.unlink()
    if request.param == LIVE:
        bench.good = bench.good[: bench.good.rindex(b"\n", 0, -1) + 1]
    return str(request.param)


# What a changed file of each shape may be called. None of them is better than what the file was.
WORSE = {
    SEALED: {"tampered", "truncated", "wrong-run"},
    ENDED: {"unsealed", "tampered", "torn", "live"},
    LIVE: {"tampered", "torn", "live"},
}


def test_every_line_dropped_swapped_and_duplicated(bench: Bench, shape: str) -> None:
    lines = bench.good.splitlines(keepends=True)
    for n, line in enumerate(lines):
        is_last = n == len(lines) - 1
        # A file without seal that lost its last lines is a file that was cut: docs/format.md says so.
        cut = {SEALED: {"truncated"}, ENDED: {"live"}, LIVE: {"live"}}[shape]
        dropped = cut if is_last or shape == SEALED else WORSE[shape] - {"live"}
        bench.put(b"".join(lines[:n] + lines[n + 1 :]), f"line {n} dropped", dropped)
        bench.put(b"".join([*lines[:n], line, *lines[n:]]), f"line {n} twice", WORSE[shape] - {"live", "truncated"})
        if not is_last:
            swapped = [*lines[:n], lines[n + 1], line, *lines[n + 2 :]]
            bench.put(b"".join(swapped), f"line {n} swapped", WORSE[shape] - {"live", "truncated"})


def test_every_truncation(bench: Bench, shape: str) -> None:
    ends = {n + 1 for n, byte in enumerate(bench.good) if byte == 0x0A}
    for size in range(len(bench.good)):
        allowed = {"truncated"} if shape == SEALED else {"live"} if size in ends else {"torn"}
        bench.put(bench.good[:size], f"cut at {size}", allowed)


def test_every_byte_appended_and_inserted(bench: Bench, shape: str) -> None:
    first = bench.good.index(b"\n")
    # A byte after run_end is no line and takes nothing back; an LF there is an empty line, which is one.
    appended = {SEALED: {"tampered"}, ENDED: {"unsealed"}, LIVE: {"torn"}}[shape]
    for byte in range(256):
        char = bytes([byte])
        bench.put(bench.good + char, f"{char!r} appended", appended if byte != 0x0A else {"tampered"})
        for place in (0, 1, first, first + 1, first + 60, len(bench.good) - 30, len(bench.good) - 1):
            data = bench.good[:place] + char + bench.good[place:]
            if data == bench.good + b"\n":
                continue
            bench.put(data, f"{char!r} inserted at {place}", WORSE[shape] - {"live", "truncated"})


def test_every_byte_removed(bench: Bench, shape: str) -> None:
    allowed = {"truncated", "wrong-run"} if shape == SEALED else WORSE[shape] - {"live"} | {"wrong-run", "unreadable"}
    for place in range(len(bench.good)):
        bench.put(bench.good[:place] + bench.good[place + 1 :], f"byte {place} removed", allowed)


def test_two_recordings_spliced_at_every_line(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other", "r-1", [*SMALL[:1], runs.step(0, 2.5, attempts=[]), *SMALL[1:2], *SMALL[2:]])
    ones, others = bench.good.splitlines(keepends=True), other.good.splitlines(keepends=True)
    splices = {b"".join(ones[:n] + others[m:]) for n in range(len(ones) + 1) for m in range(len(others) + 1)} - {
        bench.good,
        other.good,
        b"",
    }
    assert len(splices) > 15
    for seal in (bench.seal, other.seal):
        bench.seal_path.write_bytes(seal)
        for data in splices:
            bench.put(data, f"{len(data)} bytes", {"tampered", "truncated", "wrong-run"})
    bench.seal_path.unlink()
    for data in splices:
        # Prefixes of either are just that; everything else shows.
        prefix = bench.good.startswith(data) or other.good.startswith(data)
        bench.put(data, f"{len(data)} bytes", {"live"} if prefix else {"tampered", "unsealed"})


def test_seals_swapped_and_files_renamed(bench: Bench, tmp_path: Path) -> None:
    again = Bench(tmp_path / "again", "r-1")
    other = Bench(tmp_path / "other", "r-2")
    for seal in (again.seal, other.seal):
        bench.seal_path.write_bytes(seal)
        bench.judge("another seal", {"wrong-run"})
    bench.seal_path.write_bytes(bench.seal)
    for good in (again.good, other.good):
        bench.put(good, "another file", {"wrong-run"})
    other.seal_path.write_bytes(bench.seal)
    other.put(bench.good, "renamed", {"wrong-run"})
    other.seal_path.unlink()
    other.judge("renamed without its seal", {"unsealed"})
    other.put(bench.good[: bench.good.rindex(b"\n", 0, -1) + 1], "renamed while live", {"wrong-run"})
    assert again.wrong + other.wrong == []


def test_every_truncation_and_growth_of_a_seal(bench: Bench) -> None:
    for size in range(len(bench.seal)):
        bench.seal_path.write_bytes(bench.seal[:size])
        bench.judge(f"seal cut at {size}", {"tampered"})
    for byte in range(256):
        for place in (0, 1, bench.seal.index(b"\n"), bench.seal.index(b"\n") + 1, len(bench.seal)):
            bench.seal_path.write_bytes(bench.seal[:place] + bytes([byte]) + bench.seal[place:])
            bench.judge(f"{byte} inserted at {place} of the seal", {"tampered"})
    lines = bench.seal.splitlines(keepends=True)
    for data in (lines[0], lines[1], lines[1] + lines[0], lines[0] + lines[1] * 2, lines[0] * 2 + lines[1], b"\n"):
        bench.seal_path.write_bytes(data)
        bench.judge(f"seal {data!r}", {"tampered"})
