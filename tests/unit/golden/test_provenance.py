"""Provenance: whose keys a file's lines stand under, said of the very bytes that somebody asks about."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from golden.errors import TamperedError
from golden.event import Data
from golden.keyring import HmacKey
from golden.provenance import Lookout, resumed_over, signed_by
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


def over(file: GoldenFile, *keys: HmacKey, sha256: str | None = None) -> str | None:
    with read(file) as fd:
        return resumed_over(fd, {key.kid for key in keys}, sha256 or hashlib.sha256(file.path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    "keys, expected", [([A], A), ([B], B), ([C], None), ([B, A], A), ([], None), ([C, A], A), ([C, B], B)]
)
def test_a_run_is_resumed_over_the_keys_before_its_last_resumption(
    file: GoldenFile, keys: list[HmacKey], expected: HmacKey | None
) -> None:
    assert over(file, *keys) == (expected.kid if expected else None)


def test_a_run_that_never_died_is_resumed_over_nothing(tmp_path: Path) -> None:
    file = runs.forge(tmp_path, "r-1", [EVENTS[0], EVENTS[1], EVENTS[-1]], keys=[A])
    assert over(file, A, B) is None


def test_of_other_bytes_nothing_is_said(file: GoldenFile) -> None:
    with pytest.raises(TamperedError, match="changed while it was being read"):
        over(file, sha256="0" * 64)


def test_what_is_no_event_went_on_after_nothing(file: GoldenFile) -> None:
    lines = file.path.read_bytes().splitlines(keepends=True)
    file.path.write_bytes(b"".join([*lines[:2], b'{"event_type":"run_resume"}\n', b'"event_type":"run_oops"\n']))
    assert over(file, A) is None


def test_a_step_that_speaks_of_resumptions_is_none(tmp_path: Path) -> None:
    said = {"event_type": "run_resume", "golden": {"kid": B.kid}}
    file = runs.forge(tmp_path, "r-1", [EVENTS[0], runs.step(0, said), EVENTS[-1]], keys=[A])
    assert b'"event_type":"run_resume"' in file.path.read_bytes()
    assert over(file, A) is None


def test_the_keys_that_a_file_names_are_found_whatever_else_stands_there(file: GoldenFile) -> None:
    with read(file) as fd:
        assert signed_by(fd) == {A.kid, B.kid, C.kid}
    lines = file.path.read_bytes().splitlines(keepends=True)
    file.path.write_bytes(b"".join([*lines[:3], b'{"event_type":"run_oops"}\n', *lines[3:], b'"event_type":"run_']))
    with read(file) as fd:
        assert signed_by(fd) == {A.kid, B.kid, C.kid}


@pytest.mark.parametrize("size", [1, 7, 24, 25, 26, 100, 5000])
def test_a_resumption_is_seen_wherever_the_blocks_end(file: GoldenFile, size: int) -> None:
    def seen(data: bytes) -> bool:
        lookout = Lookout()
        buffer = bytearray(b"#" * size)
        for start in range(0, len(data), size):
            block = data[start : start + size]
            buffer[: len(block)] = block
            lookout.look(buffer, len(block))
        return lookout.seen

    data = file.path.read_bytes()
    assert seen(data)
    assert not seen(data.replace(b'"run_resume"', b'"run_restart"'))
    for shift in range(60):
        assert seen(b"x" * shift + b'"event_type":"run_resume"')
        assert not seen(b"x" * shift + b'"event_type":"run_resume')
