"""Chain and lines, for any run: what was written walks, what was changed does not, and cutting is cutting."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.chain import Walk
from golden.errors import GoldenError
from golden.event import Data
from golden.keyring import Keyring, b64, unb64
from golden.lines import Splitter, backward, reader
from golden.verdict import verify
from tests import runs
from tests.property.test_canonical_properties import VALUES
from tests.runs import ACTIVE

SOME: list[Data] = [runs.start(), runs.effect(0, 0, {"a": 1}), runs.step(0, [1, "x"]), runs.failed(1), runs.end()]


def events() -> st.SearchStrategy[list[Data]]:
    """Runs of any steps with any values."""
    step = st.builds(runs.step, st.integers(0, 3), VALUES)
    effect = st.builds(runs.effect, st.integers(0, 3), st.integers(0, 2), VALUES)
    middle = st.lists(step | effect | st.builds(runs.failed, st.integers(0, 3)), max_size=5)
    return st.builds(lambda inputs, rest: [runs.start({"in": inputs}), *rest, runs.end()], VALUES, middle)


@given(events())
def test_any_run_that_was_recorded_walks_and_is_intact(run: list[Data]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = runs.record(runs.store_in(Path(folder)), "r-1", run)
        walk = Walk(Keyring(ACTIVE))
        for line in file.path.read_bytes().split(b"\n")[:-1]:
            walk.feed(line)
        assert (walk.seq, walk.offset, walk.ended) == (len(run), file.path.stat().st_size, True)
        assert verify(file.path, Keyring(ACTIVE)).events == len(run)
        with runs.opened(file) as recording:
            assert [type(event.data) for event in recording.events()] == [type(data) for data in run]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of one run."""
    return runs.record(runs.store_in(tmp_path_factory.mktemp("golden")), "r-1", SOME).path.read_bytes()


def walked(data: bytes) -> bool:
    walk = Walk(Keyring(ACTIVE))
    try:
        for line in data.split(b"\n")[:-1]:
            walk.feed(line)
    except GoldenError:
        return False
    return walk.ended and data.endswith(b"\n")


def edit(data: bytes, kind: str, start: int, stop: int, new: bytes) -> bytes:
    before, chosen, after = data[:start], data[start:stop], data[stop:]
    match kind:
        case "replace":
            return before + new + data[start + len(new) :]
        case "insert":
            return before + new + chosen + after
        case "delete":
            return before + after
        case "move":
            return before + after + chosen
    return before + chosen + chosen + after


@given(
    st.sampled_from(["replace", "insert", "delete", "move", "repeat"]),
    st.floats(0, 1),
    st.integers(1, 60),
    st.binary(min_size=1, max_size=5) | st.just(b"\n"),
)
def test_any_edit_is_caught(data: bytes, kind: str, where: float, length: int, new: bytes) -> None:
    start = int(where * (len(data) - 1))
    edited = edit(data, kind, start, min(start + length, len(data)), new)
    assert walked(data)
    assert walked(edited) is (edited == data)


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_lines_do_not_depend_on_where_blocks_end(data: bytes, sizes: list[int]) -> None:
    splitter, found, place, turn = Splitter(), [], 0, 0
    while place < len(data):
        size = sizes[turn % len(sizes)]
        found += splitter.feed(data[place : place + size])
        place, turn = place + size, turn + 1
    assert [*found, splitter.rest] == data.split(b"\n")


@given(st.lists(st.integers(0, 12) | st.integers(60_000, 70_000), max_size=5), st.binary(max_size=3), st.floats(0, 1))
def test_backward_gives_the_lines_of_split_in_reverse(lengths: list[int], rest: bytes, cut: float) -> None:
    data = b"".join(bytes([65 + n]) * length + b"\n" for n, length in enumerate(lengths)) + rest
    end = int(cut * len(data))
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        found = list(backward(reader(file.fileno()), end))
    lines = data[:end].split(b"\n")[:-1]
    assert [line for _, line in found] == lines[::-1]
    for offset, line in found:
        assert data[offset : offset + len(line)] == line
        assert offset == 0 or data[offset - 1 : offset] == b"\n"


@given(st.binary(max_size=70))
def test_base64_comes_back(data: bytes) -> None:
    assert unb64(b64(data)) == data


@given(st.binary(max_size=12))
def test_base64_has_one_spelling(text: bytes) -> None:
    data = unb64(text)
    assert data is None or b64(data) == text
