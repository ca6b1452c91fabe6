"""Lines: cut at LF and nowhere else, forward and backward, within limits."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from golden import lines as module
from golden.event import MAX_HEADER, MAX_LINE
from golden.lines import BLOCK, OversizeError, Splitter, backward, blocks, first_line, reader


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An empty file, open for reading and writing."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_only_lf_ends_a_line() -> None:
    splitter = Splitter()
    data = b"a\rb\x0bc\x0cd\x1ce\xc2\x85f\xe2\x80\xa8g\x00h"
    assert splitter.feed(data + b"\n") == [data]
    assert splitter.rest == b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_it_does_not_matter_where_blocks_end(size: int) -> None:
    data = b"one\n\n\ntwo three\nfour"
    splitter = Splitter()
    found = [line for n in range(0, len(data), size) for line in splitter.feed(data[n : n + size])]
    assert found == [b"one", b"", b"", b"two three"]
    assert splitter.rest == b"four"


def test_the_first_line_may_be_longer_than_later_ones() -> None:
    splitter = Splitter()
    block = b"x" * BLOCK
    for _ in range(MAX_HEADER // BLOCK):
        splitter.feed(block)
    assert len(splitter.feed(b"\n")[0]) == MAX_HEADER
    for _ in range(MAX_LINE // BLOCK):
        splitter.feed(block)
    assert len(splitter.feed(b"\n")[0]) == MAX_LINE
    for _ in range(MAX_LINE // BLOCK):
        splitter.feed(block)
    with pytest.raises(OversizeError, match="longer than 16 MiB"):
        splitter.feed(b"x\n")


def test_a_first_line_over_its_limit_is_refused_before_it_ends() -> None:
    splitter = Splitter()
    for _ in range(MAX_HEADER // BLOCK):
        splitter.feed(b"x" * BLOCK)
    with pytest.raises(OversizeError, match="longer than 64 MiB"):
        splitter.feed(b"x")


@pytest.mark.parametrize(
    "data, expected",
    [(b"", None), (b"x", None), (b"\n", b""), (b"x\ny", b"x"), (b"x" * (BLOCK + 5) + b"\ny\n", b"x" * (BLOCK + 5))],
    ids="abcde",
)
def test_the_first_line_is_found(fd: int, data: bytes, expected: bytes | None) -> None:
    os.write(fd, data)
    assert first_line(fd) == expected


def test_blocks_are_the_bytes_from_start_to_end(fd: int) -> None:
    data = os.urandom(3 * BLOCK + 17)
    os.write(fd, data)
    assert b"".join(blocks(fd)) == data
    assert b"".join(blocks(fd, 5, 2 * BLOCK + 9)) == data[5 : 2 * BLOCK + 9]
    assert list(blocks(fd, 7, 7)) == []
    assert b"".join(blocks(fd, 5, len(data) + 100)) == data[5:]


@pytest.mark.parametrize("data", [b"", b"x", b"\n", b"a\n", b"a\nb", b"\n\n", b"a\n\nb\nc", b"l\n" * 100_000])
def test_backward_is_forward_read_from_the_end(fd: int, data: bytes) -> None:
    os.write(fd, data)
    complete = data.split(b"\n")[:-1]
    found = list(backward(reader(fd), len(data)))
    assert [line for _, line in found] == complete[::-1]
    for offset, line in found:
        assert data[offset : offset + len(line) + 1] == line + b"\n"


def test_backward_joins_a_line_over_many_steps(fd: int) -> None:
    data = b"a\n" + b"x" * 300_000 + b"\nb\n"
    os.write(fd, data)
    assert [len(line) for _, line in backward(reader(fd), len(data))] == [1, 300_000, 1]


def test_backward_refuses_a_line_without_end(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEADER", 1 << 18)
    data = b"x" * (1 << 20) + b"\n"
    os.write(fd, data)
    with pytest.raises(OversizeError):
        list(backward(reader(fd), len(data)))
