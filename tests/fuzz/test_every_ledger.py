"""Every bit, byte and line of a small ledger changed: never good with the same runs, and never a traceback."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from golden.directory import Directory
from golden.errors import GoldenError, StoreError
from golden.keyring import HmacKey, Keyring, key_from
from golden.ledger import Accept, Anchor, Open, Quarantine, Recover, Rotate, Span, draft
from golden.memory import Memory
from golden.repair import damage
from golden.seal import statement_line
from golden.store import Store
from tests import runs
from tests.runs import ACTIVE, FILE_ID, RETIRED, Scribe, pem, policy

A, B, E = HmacKey(ACTIVE), HmacKey(RETIRED), key_from(pem("fuzz"))
RING = policy((ACTIVE, "active"), (RETIRED, "retired"), (pem("fuzz"), "retired"))
ONE = runs.statement_of("r-1", b"x", 1, bytes(32))
TWO = runs.statement_of("r-2", b"x", 1, bytes(32))
RUN: dict[str, Any] = {"run_id": "r-1", "file_id": FILE_ID, "reason": "r"}


def scribe() -> Scribe:
    """Return a ledger with three keys, lines set aside and lines acknowledged."""
    made = Scribe(B).opened(B, "r-1").sealed(B, ONE).opened(E, "r-2").revoked(A, B, 3).opened(B, "thief")
    made.add(A, Recover, lines=[Span(5, 5)], reason="r").sealed(A, TWO)
    made.add(A, Accept, seal=ONE, **RUN).add(A, Rotate, keys=[A.kid], note=None, outcomes={}, reason="scheduled")
    return made.opened(A, "r-3")


def small() -> Scribe:
    """Return a ledger of four lines by one key."""
    return Scribe(A).opened(A, "r-1").sealed(A, ONE).add(A, Quarantine, **RUN)


class Bench:
    """One ledger on a bench: it is changed, judged with and without memory and anchor; what is wrong is kept."""

    def __init__(self, folder: Path, good: Scribe, ring: Keyring = RING) -> None:
        self.folder, self.ring = folder, ring
        self.path = good.write(folder)
        self.good, self.anchor = good.data, good.anchor
        self.memory = Memory(str(folder.parent / "state"))
        first = self.look(self.memory)
        assert first.finding is None
        first.remember()
        self.runs = self.believed(first)
        self.ends = {sum(map(len, good.lines[:n])) for n in range(len(good.lines) + 1)}
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def look(self, memory: Memory | None = None, *anchors: Anchor) -> Directory:
        return Directory(str(self.folder), self.ring, memory=memory, anchors=anchors)

    @staticmethod
    def believed(directory: Directory) -> object:
        return {run_id: (run.op, run.present, run.digest) for run_id, run in directory.runs.items()}

    def judge(self, case: str, *, is_cut: bool = False, torn: bool = False) -> None:
        """Hold the changed ledger against what may be said of it.

        `is_cut` where every line of it is good, but they are not all; `torn` where they are all there and half a line.
        """
        try:
            alone, known, anchored = self.look(), self.look(self.memory), self.look(None, self.anchor)
            words = [found.finding.verdict if found.finding else "intact" for found in (alone, known, anchored)]
            for found in (alone, known, anchored):
                self.use(found)
        except Exception as error:  # noqa: BLE001  the very thing that must not happen
            self.wrong.append(f"{case}: traceback {error!r}")
            return
        self.seen.update(words)
        if is_cut:
            # Nobody but who has seen more can know.
            if words[1:] != ["rolled-back"] * 2:
                self.wrong.append(f"{case}: {words}")
        elif words != ["torn"] * 3 if torn else "intact" in words or known.anchor == self.anchor:
            self.wrong.append(f"{case}: {words}")

    def use(self, directory: Directory) -> None:
        """Ask everything of a directory that a command asks."""
        for run_id in ("r-1", "r-2"):
            directory.listing(run_id, FILE_ID, statement_line(ONE))
            try:
                directory.statement(run_id)
            except GoldenError as error:
                self.wrong.append(f"a statement is refused: {error}")
        directory.changed()
        directory.refresh()

    def put(self, data: bytes, case: str, *, is_cut: bool = False) -> None:
        if data != self.good:
            self.path.write_bytes(data)
            is_cut = is_cut or (len(data) in self.ends and self.good.startswith(data) and data != b"")
            torn = data.startswith(self.good) and b"\n" not in data[len(self.good) :]
            self.judge(case, is_cut=is_cut, torn=torn)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A ledger of many kinds of lines; at the end nothing may be wrong with what was seen."""
    made = Bench(tmp_path / "golden", scribe())
    yield made
    assert made.wrong == []


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Bench]:
    """A ledger of four lines; at the end nothing may be wrong with what was seen."""
    made = Bench(tmp_path / "golden", small())
    yield made
    assert made.wrong == []


@pytest.mark.slow
def test_every_bit_of_a_small_ledger(little: Bench) -> None:
    fd = os.open(little.path, os.O_RDWR)
    for place, byte in enumerate(little.good):
        for bit in range(8):
            os.pwrite(fd, bytes([byte ^ 1 << bit]), place)
            little.judge(f"byte {place}, bit {bit}")
        os.pwrite(fd, bytes([byte]), place)
    os.close(fd)
    assert little.path.read_bytes() == little.good
    assert little.seen["tampered"]


@pytest.mark.slow
def test_one_bit_of_every_byte_of_a_ledger_by_many_keys(bench: Bench) -> None:
    for place, byte in enumerate(bench.good):
        changed = bytes([byte ^ 1 << place % 8])
        bench.put(bench.good[:place] + changed + bench.good[place + 1 :], f"byte {place}")


@pytest.mark.slow
def test_every_truncation(bench: Bench) -> None:
    for size in range(len(bench.good)):
        bench.put(bench.good[:size], f"cut at {size}")
    assert bench.seen["torn"]
    assert bench.seen["rolled-back"]


def test_every_line_dropped_duplicated_and_swapped(bench: Bench) -> None:
    lines = bench.good.splitlines(keepends=True)
    for n, line in enumerate(lines):
        bench.put(b"".join(lines[:n] + lines[n + 1 :]), f"line {n} dropped")
        for m in range(len(lines) + 1):
            bench.put(b"".join([*lines[:m], line, *lines[m:]]), f"line {n} again at {m}")
        for m in range(n):
            swapped = list(lines)
            swapped[n], swapped[m] = swapped[m], swapped[n]
            bench.put(b"".join(swapped), f"lines {n} and {m} swapped")


def test_every_byte_appended_and_inserted(bench: Bench) -> None:
    places = [0, 1, *(end + more for end in sorted(bench.ends)[1:] for more in (-46, -3, -1, 0))]
    for byte in range(256):
        for place in places[byte % 4 :: 4]:
            data = bench.good[:place] + bytes([byte]) + bench.good[place:]
            bench.put(data, f"{byte} inserted at {place}")


@pytest.mark.slow
def test_every_byte_removed(little: Bench) -> None:
    for place in range(len(little.good)):
        little.put(little.good[:place] + little.good[place + 1 :], f"byte {place} removed")


def test_two_ledgers_spliced_at_every_line(little: Bench) -> None:
    ones = little.good.splitlines(keepends=True)
    others = (
        small().lines,
        Scribe(A, "0" * 32).opened(A, "r-1").sealed(A, ONE).lines,
        Scribe(A).opened(A, "r-9").sealed(A, ONE).opened(A, "r-1").lines,
    )
    for other in others:
        for n in range(1, len(ones) + 1):
            for m in range(len(other)):
                data = b"".join(ones[:n] + other[m:])
                # What the same key signed as a whole is a ledger; only not the one that was seen.
                little.put(data, f"{n} lines and {other[m][:60]!r}", is_cut=data == b"".join(other))


def test_signatures_swapped_between_lines_and_keys(bench: Bench) -> None:
    lines = bench.good.splitlines(keepends=True)
    for n, line in enumerate(lines):
        for other in lines:
            changed = line.rpartition(b',"mac":"')[0] + b"".join(other.rpartition(b',"mac":"')[1:])
            bench.put(b"".join([*lines[:n], changed, *lines[n + 1 :]]), f"line {n} with another signature")


def test_no_writer_and_no_repair_ends_in_a_traceback(tmp_path: Path) -> None:
    good = small()
    place = good.write(tmp_path / "golden")
    memory = Memory(str(tmp_path / "state"))
    Directory(str(tmp_path / "golden"), RING, memory=memory).remember()
    line = draft(Open, run_id="r-9", file_id=FILE_ID)
    wrote = 0
    for at in range(0, len(good.data), 7):
        for data in (good.data[:at], good.data[:at] + b"\n", good.data[:at] + b"x" + good.data[at + 1 :]):
            place.write_bytes(data)
            if data == good.data:
                continue
            with suppress(GoldenError):
                damage(Store(tmp_path / "golden", RING, memory=memory))
            directory = Directory(str(tmp_path / "golden"), RING, memory=memory)
            before = place.read_bytes()
            try:
                with directory.writing():
                    directory.append(line)
                wrote += 1
            except GoldenError:
                assert place.read_bytes() == before
    # Not one of them is what this host remembers.
    assert wrote == 0


def test_a_ledger_that_is_no_file_of_ours_is_refused_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    for data in (
        b"\0" * 100,
        b"\n" * 100,
        b"{" * 100_000 + b"\n",
        b"[" * 5000 + b"\n",
        b"\xff\xfe\n",
        b"null\n",
        b'""\n',
    ):
        (folder / "ledger.jsonl").write_bytes(data)
        found = Directory(str(folder), RING)
        assert found.finding is not None
        assert found.finding.verdict in {"tampered", "torn"}
        assert found.runs == {}
    (folder / "ledger.jsonl").unlink()
    (folder / "ledger.jsonl").mkdir()
    with pytest.raises(StoreError):
        Directory(str(folder), RING).require_good()
