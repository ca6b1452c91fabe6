"""Difference, for any two runs: nothing exactly where their effective records are equal, and the same both ways."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from golden.canonical import canonical_bytes, decode
from golden.difference import Difference, diff
from golden.event import Data, EffectData, RunResume, StepData
from golden.recording import Record, Recording
from golden.values import value_differences
from tests import runs
from tests.property.test_canonical_properties import SCALARS, VALUES, exact, trees


def turned(kind: str) -> str:
    return {"added": "removed", "removed": "added"}.get(kind, kind)


@given(VALUES, VALUES)
def test_two_values_differ_somewhere_exactly_where_their_bytes_do(one: Any, other: Any) -> None:
    there = [path for _, path, _, _ in value_differences(one, other)]
    assert bool(there) is (canonical_bytes(one) != canonical_bytes(other))
    assert len(set(there)) == len(there)


@given(trees(SCALARS, lists=False), trees(SCALARS, lists=False))
def test_two_objects_differ_in_the_same_places_both_ways(one: Any, other: Any) -> None:
    # Lists may be aligned otherwise on the way back.
    there = [(kind, path, exact(x), exact(y)) for kind, path, x, y in value_differences(one, other)]
    back = [(turned(kind), path, exact(y), exact(x)) for kind, path, x, y in value_differences(other, one)]
    assert there == back


@given(VALUES, st.data())
def test_a_value_changed_in_one_place_differs_at_or_above_that_place(value: Any, data: st.DataObject) -> None:
    copy = decode(canonical_bytes([value]))
    path, parent = "/0", copy
    key: Any = 0
    while isinstance(parent[key], dict | list) and parent[key]:
        parent = parent[key]
        key = data.draw(st.sampled_from(sorted(parent))) if isinstance(parent, dict) else len(parent) - 1
        path += "/" + str(key).replace("~", "~0").replace("/", "~1")
    parent[key] = {"not": "there before"}
    found = [place for _, place, _, _ in value_differences([value], copy)]
    assert len(found) == 1
    assert path == found[0] or found[0].startswith(path)


STEPS = st.tuples(st.integers(0, 2), st.sampled_from([0, 0.0, -0.0, 1, True, None, "x", [1], {"a": 1}]))
EFFECTS = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from([0, 1, {"a": 1}]))


def courses() -> st.SearchStrategy[list[Data]]:
    """Runs of few steps and values, so that two of them are alike now and then; some are resumed."""
    step = st.builds(lambda given: runs.step(*given), STEPS)
    effect = st.builds(lambda given: runs.effect(*given), EFFECTS)
    rest = st.lists(step | effect | st.builds(runs.resume, st.just(0)), max_size=5)
    return st.builds(lambda middle: [runs.start(), *middle, runs.end()], rest)


def effective(recording: Recording) -> dict[str, Any]:
    """Return what the format calls the effective record, worked out from the events alone."""
    last: dict[str, Any] = {}
    for item in recording.records():
        if isinstance(item, Record):
            effects = [(e.call, e.name, exact(decode(e.args)), exact(decode(e.result))) for e in item.last_effects]
            last[item.step.step_id] = (item.step.index, exact(decode(item.step.output)), effects)
    return last


def is_written_by_a_recorder(events: list[Data]) -> bool:
    """Say whether no step and no call stands twice, and no call behind its step, without a resumption between."""
    ended: set[int] = set()
    called: set[tuple[int, int]] = set()
    for data in events:
        match data:
            case RunResume():
                ended, called = set(), set()
            case StepData(index=index) | EffectData(index=index) if index in ended:
                return False
            case StepData(index=index):
                ended.add(index)
            case EffectData(index=index, call=call):
                if (index, call) in called:
                    return False
                called.add((index, call))
    return True


COURSES = courses().filter(is_written_by_a_recorder)


@given(COURSES, COURSES)
def test_two_runs_differ_exactly_where_their_effective_records_do(one: list[Data], other: list[Data]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [runs.forge(Path(folder), name, events) for name, events in (("a", one), ("b", other))]
        with runs.opened(files[0]) as expected, runs.opened(files[1]) as actual:
            there, back = list(diff(expected, actual)), list(diff(actual, expected))
            same = effective(expected) == effective(actual)
    assert (not there) is same

    def brief(found: Difference) -> tuple[str, str | None, str]:
        return found.kind, found.step_id, found.path

    assert sorted((turned(kind), step or "", path) for kind, step, path in map(brief, there)) == sorted(
        (kind, step or "", path) for kind, step, path in map(brief, back)
    )
