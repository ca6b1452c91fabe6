"""Provenance: whose keys a file's lines stand under, said of the very bytes that somebody asks about."""

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from golden.event import Data
from golden.keyring import HmacKey
from golden.provenance import began_under, is_resumed_over, signed_by
from golden.store import GoldenFile
from tests import runs
from tests.runs import ACTIVE, RETIRED, STRANGER

A, B, C = HmacKey(ACTIVE), HmacKey(RETIRED), HmacKey(STRANGER)
EVENTS: list[Data] = [runs.start(), runs.step(0, 1), runs.resume(1), runs.step(1, 2), runs.resume(2), runs.end()]


@pytest.fixture
def file(tmp_path: Path) -> GoldenFile:
    """A run begun under A, gone on with under B, then under C."""
    return runs.forge(tmp_path, "r-1", EVENTS, keys=[A, B, C])


@contextmanager
def read(file: GoldenFile) -> Iterator[int]:
    fd = os.open(file.path, os.O_RDONLY)
    yield fd
    os.close(fd)


def over(file: GoldenFile, kids: Collection[str], sha256: str | None = None) -> bool:
    with read(file) as fd:
        return is_resumed_over(fd, kids, sha256 or hashlib.sha256(file.path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    "keys, expected", [([A], True), ([B], True), ([C], False), ([A, B], True), ([], False), ([C, A], True)]
)
def test_a_run_is_resumed_over_the_keys_before_its_last_resumption(
    file: GoldenFile, keys: list[HmacKey], expected: bool
) -> None:
    assert over(file, {key.kid for key in keys}) is expected


def test_a_run_that_never_died_is_resumed_over_nothing(tmp_path: Path) -> None:
    file = runs.forge(tmp_path, "r-1", [EVENTS[0], EVENTS[1], EVENTS[-1]], keys=[A])
    assert not over(file, {A.kid, B.kid})


def test_of_other_bytes_the_worst_is_said(file: GoldenFile) -> None:
    assert over(file, set(), "0" * 64)
    file.path.write_bytes(b"".join(file.path.read_bytes().splitlines(keepends=True)[:2]) + b"{}\n")
    assert not over(file, {B.kid})
    file.path.write_bytes(file.path.read_bytes() + b'{"event_type":"run_resume"}\n')
    assert over(file, {B.kid})


def test_a_step_that_speaks_of_resumptions_is_none(tmp_path: Path) -> None:
    said = {"event_type": "run_resume", "golden": {"kid": B.kid}}
    file = runs.forge(tmp_path, "r-1", [EVENTS[0], runs.step(0, said), EVENTS[-1]], keys=[A])
    assert b'"event_type":"run_resume"' in file.path.read_bytes()
    assert not over(file, {A.kid})


def test_the_keys_that_a_file_names_are_found_as_far_as_it_can_be_read(file: GoldenFile) -> None:
    with read(file) as fd:
        assert signed_by(fd) == {A.kid, B.kid, C.kid}
    lines = file.path.read_bytes().splitlines(keepends=True)
    file.path.write_bytes(b"".join([*lines[:3], b'{"event_type":"run_oops"}\n', *lines[3:]]))
    with read(file) as fd:
        assert signed_by(fd) == {A.kid, B.kid}


def test_the_first_line_says_who_began_where_it_is_whole(file: GoldenFile) -> None:
    data = file.path.read_bytes()
    end = data.index(b"\n")
    assert began_under(memoryview(data)) == A.kid
    assert began_under(memoryview(data)[: end + 1]) == A.kid
    assert began_under(memoryview(data)[:end]) is None
    assert began_under(memoryview(b"{}\n")) is None
    assert began_under(memoryview(b"rubbish\n")) is None
    assert began_under(memoryview(b"")) is None
