"""Pair: two files verified side by side are as verified as one by one, and what was noted on the way is true."""

from pathlib import Path

import pytest

from golden import pair as module
from golden.difference import diff
from golden.errors import StoreError, TamperedError
from golden.event import Data
from golden.lines import BLOCK
from golden.pair import Pair
from golden.store import GoldenFile
from tests import runs


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def sealed(place: Path, name: str, *events: Data) -> GoldenFile:
    folder = place / name
    folder.mkdir()
    return runs.forge(folder, "r-1", [runs.start(), *events, runs.end()])


def big(changed: dict[int, str]) -> list[Data]:
    """Return some MiB of steps, of which a few say something else."""
    return [runs.step(n, changed.get(n, "same") * (1 + n % 7) * 500) for n in range(1500)]


def test_noted_lines_are_the_unlike_ones_across_block_borders(place: Path) -> None:
    one, other = sealed(place, "one", *big({})), sealed(place, "other", *big({3: "more", 700: "less", 1499: "none"}))
    assert one.path.stat().st_size > 3 * BLOCK
    with Pair.open(one, other, runs.keyring()) as pair:
        assert pair.unlike is not None
        shown = [pair.expected.read(*here).split(b'"step_id":"')[1][:9] for here, _ in pair.unlike]
        assert [text.split(b'"')[0] for text in shown] == [b"step-3", b"step-700", b"step-1499"]
        noted = list(diff(pair.expected, pair.actual, noted=pair.unlike))
        assert noted == list(diff(pair.expected, pair.actual))
        assert [found.step_id for found in noted] == ["step-3", "step-700", "step-1499"]


def test_files_out_of_step_note_nothing_and_are_still_verified(place: Path) -> None:
    one, other = sealed(place, "one", runs.step(0, 1)), sealed(place, "other", runs.step(0, 1), runs.step(1, 2))
    with Pair.open(one, other, runs.keyring()) as pair:
        assert pair.unlike is None
        assert [found.kind for found in diff(pair.expected, pair.actual, noted=pair.unlike)] == ["added"]


def test_what_is_noted_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NOTED", 3)
    one = sealed(place, "one", *(runs.step(n, n) for n in range(5)))
    other = sealed(place, "other", *(runs.step(n, -n - 1) for n in range(5)))
    with Pair.open(one, other, runs.keyring()) as pair:
        assert pair.unlike is None
        assert len(list(diff(pair.expected, pair.actual, noted=pair.unlike))) == 5


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.99])
def test_a_flipped_byte_in_either_file_is_tampering_and_nothing_is_compared(
    place: Path, damaged: int, at: float
) -> None:
    files = [sealed(place, name, *(runs.step(n, n) for n in range(20))) for name in ("one", "other")]
    data = bytearray(files[damaged].path.read_bytes())
    data[int(len(data) * at)] ^= 1
    files[damaged].path.write_bytes(data)
    with pytest.raises(TamperedError):
        Pair.open(files[0], files[1], runs.keyring())


def test_a_refusal_leaves_no_descriptor_open(place: Path) -> None:
    one, other = sealed(place, "one", runs.step(0, 1)), sealed(place, "other", runs.step(0, 1))
    other.seal_path.unlink()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(TamperedError, match="unsealed"):
            Pair.open(one, other, runs.keyring())
        with pytest.raises(StoreError, match="no recording"):
            Pair.open(one, GoldenFile(place, "nowhere"), runs.keyring())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_change_after_verifying_is_noticed_where_a_noted_line_is_read(place: Path) -> None:
    one, other = sealed(place, "one", runs.step(0, "a")), sealed(place, "other", runs.step(0, "b"))
    with Pair.open(one, other, runs.keyring()) as pair:
        other.path.write_bytes(other.path.read_bytes().replace(b'"output":"b"', b'"output":"c"'))
        with pytest.raises(TamperedError, match="changed while it was being read"):
            list(diff(pair.expected, pair.actual, noted=pair.unlike))
