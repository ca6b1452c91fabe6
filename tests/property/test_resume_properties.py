"""Resuming, for any run killed at any byte, as often as one likes: it ends as the same run, and asks nothing twice."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.errors import GoldenError, StoreError
from golden.event import Data, EffectData, parse_event
from golden.keyring import Keyring
from golden.recording import Record, Recording
from golden.store import GoldenFile, Store
from golden.unfinished import open_unfinished
from golden.verdict import verify
from tests import independent_verifier, runs
from tests.property.test_canonical_properties import VALUES
from tests.runs import ACTIVE, RETIRED, STRANGER, policy

SOME: list[Data] = [
    runs.start(),
    runs.effect(0, 0, "a"),
    runs.effect(1, 0, "b"),
    runs.step(0, 1),
    runs.effect(1, 1, "c"),
    runs.step(1, "é"),
    runs.end(),
]
SECRETS = [ACTIVE, RETIRED, STRANGER]
Call = tuple[int, int, int]


def effective(file: GoldenFile, keyring: Keyring) -> tuple[dict[int, Any], Any]:
    """Return what a recording says: by index its step with its effects, and its end."""
    with Recording.open(file, keyring) as recording:
        *found, end = recording.records()
    steps = {
        item.step.index: (
            bytes(item.step.output),
            item.step.output_hash,
            [(x.attempt, x.call, x.name, bytes(x.result)) for x in item.effects],
        )
        for item in found
        if isinstance(item, Record)
    }
    assert len(steps) == len(found)
    return steps, end


def called(effects: Iterable[Data]) -> Counter[Call]:
    return Counter((x.index, x.attempt, x.call) for x in effects if isinstance(x, EffectData))


def whole_calls(data: bytes, events: Sequence[Data]) -> set[Call]:
    """Return the calls of a run that stand whole in the first bytes of its undisturbed file."""
    return set(called(events[: data.count(b"\n")]))


@pytest.mark.slow
def test_a_run_killed_at_any_byte_goes_on_and_is_the_same_run(tmp_path: Path) -> None:
    store = runs.store_in(tmp_path)
    file = runs.record(store, "r-1", SOME)
    expected, data = effective(file, store.keyring), file.path.read_bytes()
    first = data.index(b"\n") + 1
    every = called(SOME)
    for size in range(len(data) + 1):
        file.seal_path.unlink(missing_ok=True)
        file.path.write_bytes(data[:size])
        if size < first:
            with pytest.raises(StoreError, match="no complete line"):
                runs.go_on(store, "r-1", SOME)
            assert file.path.read_bytes() == data[:size]
            continue
        asked = called(runs.go_on(store, "r-1", SOME))
        assert asked == {call: 1 for call in every if call not in whole_calls(data[:size], SOME)}, size
        found = verify(file.path, store.keyring)
        assert (found.verdict, effective(file, store.keyring)) == ("intact", expected), size
        now = file.path.read_bytes()
        good = data[: data.rindex(b"\n", 0, size) + 1]
        assert now.startswith(good), size
        assert now.count(b'"event_type":"run_resume"') == (len(good) < len(data)), size
        if size % 50 == 0:
            assert independent_verifier.verdict(file.path, [ACTIVE, RETIRED]) == "intact", size


@pytest.mark.slow
def test_a_run_of_which_any_bit_was_changed_does_not_go_on_unless_its_line_is_cut_off(tmp_path: Path) -> None:
    store = runs.store_in(tmp_path)
    file = runs.broken_off(store, "r-1", SOME[:5], half=b'{"data":{"half')
    good = file.path.read_bytes()
    last = good.rindex(b"\n")
    lines = good[: good.rindex(b"\n", 0, last) + 1]
    for place in range(len(good)):
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << place % 8
        file.path.write_bytes(spoilt)
        if place < last:
            with pytest.raises(GoldenError), open_unfinished(store, "r-1"):
                pytest.fail(f"byte {place} was believed")
        else:
            # Of the last line without its end, and of what was never a line, nothing is believed, and nothing missed.
            with open_unfinished(store, "r-1") as past:
                expected = lines if place == last else good[: last + 1]
                assert b"".join(past.blocks()) == expected, place
        assert file.path.read_bytes() == spoilt


@st.composite
def disturbed(draw: st.DrawFn) -> list[Data]:
    """Runs of a few steps side by side, each with a few calls, in any order in which they could have been recorded."""
    queues: list[list[Data]] = []
    for index in range(draw(st.integers(1, 3))):
        calls = [runs.effect(index, call, draw(VALUES)) for call in range(draw(st.integers(0, 3)))]
        queues.append([*calls, runs.step(index, draw(VALUES))])
    events: list[Data] = [runs.start()]
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        events.append(queue.pop(0))
    return [*events, runs.end()]


@given(
    disturbed(),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=30), st.sampled_from(range(3))), min_size=1, max_size=4),
    st.booleans(),
)
def test_however_often_a_run_is_killed_and_under_whatever_keys_it_goes_on_it_is_the_same_run(
    events: list[Data], kills: list[tuple[float, bytes, int]], ledger: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:

        def store(active: int) -> Store:
            others = [(secret, "retired") for secret in SECRETS if secret != SECRETS[active]]
            keyring = policy((SECRETS[active], "active"), *others)  # type: ignore[arg-type]
            return Store(folder, keyring, durability="never", ledger=ledger)

        runs.record(store(0), "r-0", events)
        expected = effective(store(0).file("r-0"), store(0).keyring)
        file = runs.record(store(0), "r-1", events, sealed=False)
        first = file.path.read_bytes().index(b"\n") + 1
        asked, torn = Counter[Call](), Counter[Call]()
        under = 0
        for share, rubbish, active in kills:
            data = file.path.read_bytes()
            size = first + round(share * (len(data) - first))
            lost = data[data.rindex(b"\n", 0, size) + 1 :].splitlines()
            file.path.write_bytes(
                data[:size] + (rubbish.replace(b"\n", b"") if data[size - 1 : size] == b"\n" else b"")
            )
            torn += called(_parsed(lost))
            # A run that was killed before its seal is sealed by the key that it ended under.
            # Without a ledger nobody says when it was begun, and it goes on under the key it began with alone.
            under = under if size == len(data) or not ledger else active
            asked += called(runs.go_on(store(under), "r-1", events, sealed=False))
        # What was lost with its line is asked for again, and nothing else.
        assert all(count <= torn[call] for call, count in asked.items())
        runs.go_on(store(under), "r-1", events)
        assert verify(file.path, store(0).keyring).verdict == "intact"
        assert effective(file, store(0).keyring) == expected
        assert independent_verifier.verdict(file.path, SECRETS) == "intact"


def _parsed(lines: Iterable[bytes]) -> list[Data]:
    return [parse_event(line).data for line in lines]
