"""Difference: every place where two recordings are unlike, and only those, whatever way they were compared."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import difference as module
from golden.canonical import derive_seed, output_hash
from golden.difference import Difference, diff, environment_differs
from golden.errors import TamperedError
from golden.event import Data
from golden.pair import Pair
from tests import runs
from tests.runs import ROOT

Compare = Callable[[list[Data], list[Data]], list[tuple[Any, ...]]]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Seal two runs of the same id and give their differences, shortened."""

    def compare(one: list[Data], other: list[Data]) -> list[tuple[Any, ...]]:
        folders = [tmp_path / name for name in ("expected", "actual")]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        files = [runs.forge(f, "r-1", events) for f, events in zip(folders, (one, other), strict=True)]
        with runs.opened(files[0]) as expected, runs.opened(files[1]) as actual:
            there, back = list(diff(expected, actual)), list(diff(actual, expected))
        with Pair.open(files[0], files[1], runs.keyring()) as pair:
            assert list(diff(pair.expected, pair.actual, noted=pair.unlike)) == there
        assert sorted(map(repr, map(turned, there))) == sorted(repr(shortened(d)) for d in back)
        return [shortened(d) for d in there]

    return compare


def shortened(found: Difference) -> tuple[Any, ...]:
    return found.kind, found.step_id, found.path, found.expected, found.actual


def turned(found: Difference) -> tuple[Any, ...]:
    kind = {"added": "removed", "removed": "added"}.get(found.kind, "changed")
    return kind, found.step_id, found.path, found.actual, found.expected


def run_of(*events: Data, **changes: Any) -> list[Data]:
    return [runs.start(**changes), *events, runs.end()]


def test_a_recording_is_like_itself_and_like_another_of_the_same_course(compare: Compare) -> None:
    events = run_of(runs.effect(0, 0, 1), runs.step(0, {"a": [1.5]}), runs.failed(1))
    assert compare(events, events) == []


def test_two_runs_of_other_times_names_and_files_are_alike(tmp_path: Path) -> None:
    ones = runs.record(runs.store_in(tmp_path), "r-1", run_of(runs.step(0, 1)))
    others = runs.record(runs.store_in(tmp_path), "r-2", run_of(runs.step(0, 1)))
    with runs.opened(ones) as expected, runs.opened(others) as actual:
        assert list(diff(expected, actual)) == []


@pytest.mark.parametrize(
    "one, other, expected",
    [
        (run_of(runs.step(0, 1)), run_of(runs.step(0, 2)), ("changed", "step-0", "/output", 1, 2)),
        (
            run_of(runs.step(0, {"a": [1, {"b/c": 2}]})),
            run_of(runs.step(0, {"a": [1, {"b/c": 3}]})),
            ("changed", "step-0", "/output/a/1/b~1c", 2, 3),
        ),
        (run_of(runs.step(0, {"a": 1})), run_of(runs.step(0, {})), ("removed", "step-0", "/output/a", 1, None)),
        (run_of(runs.step(0, [1])), run_of(runs.step(0, [1, 2])), ("added", "step-0", "/output/1", None, 2)),
        (run_of(runs.step(0, {"a": None})), run_of(runs.step(0, {})), ("removed", "step-0", "/output/a", None, None)),
        (run_of(runs.step(0, 1)), run_of(runs.step(0, 1.0)), ("changed", "step-0", "/output", 1, 1.0)),
        (run_of(runs.step(0, [True])), run_of(runs.step(0, [1])), ("changed", "step-0", "/output/0", True, 1)),
        (run_of(runs.step(0, "a")), run_of(runs.step(0, ["a"])), ("changed", "step-0", "/output", "a", ["a"])),
        (
            run_of(runs.step(0, 1, inputs={"n": 1})),
            run_of(runs.step(0, 1, inputs={"n": 2})),
            ("changed", "step-0", "/inputs/n", 1, 2),
        ),
        (run_of(runs.step(0, 1)), run_of(runs.step(0, 1, seed=5)), ("changed", "step-0", "/seed", None, 5)),
        (
            run_of(runs.step(0, 1)),
            run_of(runs.step(0, 1, skill_version="2")),
            ("changed", "step-0", "/skill_version", "1", "2"),
        ),
        (
            run_of(runs.step(0, 1)),
            run_of(runs.step(0, 1, skill_id="other")),
            ("changed", "step-0", "/skill_id", "skill", "other"),
        ),
        (run_of(runs.step(0, 1)), run_of(runs.step(0, 1, cost_cents=3)), ("changed", "step-0", "/cost_cents", 0, 3)),
        (
            run_of(runs.effect(0, 0, {"a": 1}), runs.step(0, 1)),
            run_of(runs.effect(0, 0, {"a": 2}), runs.step(0, 1)),
            ("changed", "step-0", "/effects/0/result/a", 1, 2),
        ),
        (
            run_of(runs.effect(0, 0, 1, args=["x"]), runs.step(0, 1)),
            run_of(runs.effect(0, 0, 1, args=["y"]), runs.step(0, 1)),
            ("changed", "step-0", "/effects/0/args/0", "x", "y"),
        ),
        (
            run_of(runs.effect(0, 0, 1, kwargs={"k": 1}), runs.step(0, 1)),
            run_of(runs.effect(0, 0, 1), runs.step(0, 1)),
            ("removed", "step-0", "/effects/0/kwargs/k", 1, None),
        ),
        (
            run_of(runs.effect(0, 0, 1), runs.step(0, 1)),
            run_of(runs.effect(0, 0, 1, name="put"), runs.step(0, 1)),
            ("changed", "step-0", "/effects/0/name", "get", "put"),
        ),
        (
            run_of(runs.failed_effect(0, 0, "one"), runs.step(0, 1)),
            run_of(runs.failed_effect(0, 0, "two"), runs.step(0, 1)),
            ("changed", "step-0", "/effects/0/error/message", "one", "two"),
        ),
        (
            run_of(runs.effect(0, 0, 1), runs.step(0, 1)),
            run_of(runs.step(0, 1)),
            ("removed", "step-0", "/effects/0", {"name": "get", "args": ["a"], "kwargs": {}}, None),
        ),
        (
            run_of(runs.step(0, 1)),
            run_of(runs.step(0, 1), runs.step(1, 2)),
            ("added", "step-1", "", None, {"skill_id": "skill", "success": True, "output": 2}),
        ),
        (run_of(seed=1), run_of(seed=2), ("changed", None, "/seed", 1, 2)),
        (run_of(inputs={"a": 1}), run_of(inputs={"a": 2}), ("changed", None, "/inputs/a", 1, 2)),
        (run_of(spec={"id": "s"}), run_of(spec={"id": "t"}), ("changed", None, "/spec/id", "s", "t")),
        (run_of(volatile=["/inputs/a"]), run_of(), ("removed", None, "/volatile/0", "/inputs/a", None)),
        (
            [runs.start(), runs.end("completed")],
            [runs.start(), runs.end("aborted")],
            ("changed", None, "/status", "completed", "aborted"),
        ),
        (
            [runs.start(), runs.end(result_hash="0" * 64)],
            [runs.start(), runs.end(result_hash="1" * 64)],
            ("changed", None, "/result_hash", "0" * 64, "1" * 64),
        ),
    ],
)
def test_one_change_is_one_difference(
    compare: Compare, one: list[Data], other: list[Data], expected: tuple[Any, ...]
) -> None:
    found = compare(one, other)
    if expected[2] == "/seed" and expected[3] is None:
        expected = (*expected[:3], derive_seed(7, 0), 5)
    assert found == [expected]


def test_the_environment_is_told_apart_but_is_no_difference(tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(runs.ENVIRONMENT, cpu_count=64, timezone="CET")
    files = [
        runs.record(runs.store_in(tmp_path / name), "r-1", run_of(**changes))
        for name, changes in (("a", {}), ("b", {"environment": elsewhere}))
    ]
    with runs.opened(files[0]) as expected, runs.opened(files[1]) as actual:
        assert list(diff(expected, actual)) == []
        assert environment_differs(expected, actual) == ["cpu_count", "timezone"]


def test_a_failure_differs_in_code_type_and_message_not_in_its_place(compare: Compare) -> None:
    same = runs.failed(0, "no")
    found = compare(run_of(same), run_of(runs.failed(0, "never")))
    assert found == [("changed", "step-0", "/error/message", "no", "never")]
    assert same.error is not msgspec.UNSET
    moved = msgspec.structs.replace(same, error=msgspec.structs.replace(same.error, location="other.py:1"))
    assert compare(run_of(same), run_of(moved)) == []
    other = msgspec.structs.replace(same.error, type="KeyError")
    changed = msgspec.structs.replace(same, error=other)
    assert compare(run_of(same), run_of(changed)) == [("changed", "step-0", "/error/type", "ValueError", "KeyError")]


def test_a_step_that_fails_instead_of_succeeding_says_so(compare: Compare) -> None:
    paths = [found[2] for found in compare(run_of(runs.step(0, 1)), run_of(runs.failed(0)))]
    assert paths == ["/success", "/error", "/output"]


def test_another_number_of_attempts_is_a_difference(compare: Compare) -> None:
    found = compare(run_of(runs.failed(0, attempts=1)), run_of(runs.failed(0, attempts=3)))
    assert found == [("changed", "step-0", "/attempts", 1, 3)]


VOLATILE = ["/steps/*/output/at", "/steps/step-0/effects/get/result/at", "/inputs/at"]


def test_what_the_expected_one_declares_volatile_is_no_difference(compare: Compare) -> None:
    def volatile_run(at: int, rest: int) -> list[Data]:
        value = {"at": at, "n": rest}
        effect = runs.effect(0, 0, value, result_hash=output_hash({"n": rest}))
        step = runs.step(0, value, volatile=VOLATILE)
        return run_of(effect, step, inputs=value, volatile=VOLATILE)

    assert compare(volatile_run(1, 5), volatile_run(2, 5)) == []
    found = compare(volatile_run(1, 5), volatile_run(2, 6))
    assert [(d[2], d[3], d[4]) for d in found] == [
        ("/inputs/n", 5, 6),
        ("/effects/0/result/n", 5, 6),
        ("/output/n", 5, 6),
    ]


def test_negative_zero_is_another_number_beside_other_changes_too(compare: Compare) -> None:
    found = compare(run_of(runs.step(0, [0.0, 1, {"a": 0.0}])), run_of(runs.step(0, [-0.0, 2, {"a": -0.0}])))
    assert [d[2] for d in found] == ["/output/0", "/output/1", "/output/2/a"]
    assert math.copysign(1, found[0][4]) == -1


# Retries, resumptions, other orders: effective records are compared, never lines.


def tried(index: int, times: int, output: Any) -> Data:
    attempts = [*runs.failed(index, attempts=times - 1).attempts, *runs.step(index).attempts]
    return runs.step(index, output, attempts=attempts)


def test_effects_of_earlier_attempts_do_not_count(compare: Compare) -> None:
    one = run_of(runs.effect(0, 0, 1), runs.effect(0, 0, 5, attempt=1), tried(0, 2, 1))
    other = run_of(runs.effect(0, 0, 2), runs.effect(0, 0, 5, attempt=1), tried(0, 2, 1))
    assert compare(one, other) == []


def test_effects_of_a_step_that_never_ended_do_not_count(compare: Compare) -> None:
    assert compare(run_of(runs.effect(0, 0, 1)), run_of(runs.effect(0, 0, 2))) == []


def test_a_superseded_step_does_not_count(compare: Compare) -> None:
    def resumed(before: int, after: int) -> list[Data]:
        return run_of(runs.step(0, before), runs.resume(0), runs.step(0, after))

    assert compare(resumed(1, 5), resumed(2, 5)) == []
    assert compare(resumed(1, 5), run_of(runs.step(0, 5))) == []
    assert compare(resumed(1, 5), resumed(1, 6)) == [("changed", "step-0", "/output", 5, 6)]
    assert compare(resumed(1, 5), resumed(2, 6)) == [("changed", "step-0", "/output", 5, 6)]
    assert compare(run_of(runs.step(0, 2)), resumed(2, 6)) == [("changed", "step-0", "/output", 2, 6)]


def test_effects_that_a_resumption_found_under_way_are_not_compared(compare: Compare) -> None:
    def killed(*before: Any) -> list[Data]:
        found = [runs.effect(0, call, result) for call, result in enumerate(before)]
        return run_of(*found, runs.resume(0), runs.effect(0, 0, "a"), runs.step(0, 1))

    undisturbed = run_of(runs.effect(0, 0, "a"), runs.step(0, 1))
    for other in (killed("b"), killed("a", "b"), killed(), undisturbed):
        assert compare(killed("a"), other) == compare(other, killed("a")) == []
    other = run_of(runs.effect(0, 0, "b"), runs.step(0, 1))
    assert compare(killed("b"), other) == [("changed", "step-0", "/effects/0/result", "a", "b")]


def test_a_superseded_step_does_not_count_behind_many_differences(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNCERTAIN", 3)
    many = [[runs.step(n, n + more) for n in range(10)] for more in (0, 1)]
    found = compare(run_of(*many[0]), run_of(*many[1]))
    assert [d[1] for d in found] == [f"step-{n}" for n in range(10)]
    one, other = (run_of(*steps, runs.resume(9), runs.step(9, "same")) for steps in many)
    assert [d[1] for d in compare(one, other)] == [f"step-{n}" for n in range(9)]


def test_steps_are_aligned_by_id_whatever_their_order(compare: Compare) -> None:
    steps = [runs.step(n, n) for n in range(4)]
    assert compare(run_of(*steps), run_of(*reversed(steps))) == []
    other = [runs.step(3, 3), runs.step(1, "x"), runs.step(0, 0)]
    assert compare(run_of(*steps), run_of(*other)) == [
        ("changed", "step-1", "/output", 1, "x"),
        ("removed", "step-2", "", {"skill_id": "skill", "success": True, "output": 2}, None),
    ]


def test_a_renamed_step_is_one_removed_and_one_added(compare: Compare) -> None:
    found = compare(run_of(runs.step(0, 1)), run_of(runs.step(0, 1, step_id="new")))
    assert [(d[0], d[1]) for d in found] == [("removed", "step-0"), ("added", "new")]


def test_a_step_that_moved_says_where(compare: Compare) -> None:
    found = compare(
        run_of(runs.step(0, 1), runs.step(1, 2)),
        run_of(runs.step(0, 2, step_id="step-1", inputs={"n": 1}), runs.step(1, 1, step_id="step-0", inputs={"n": 0})),
    )
    assert {(d[1], d[2]) for d in found} == {(s, p) for s in ("step-0", "step-1") for p in ("/index", "/seed")}


def test_an_ended_and_an_aborted_run_are_compared_as_far_as_both_go(compare: Compare) -> None:
    found = compare(run_of(runs.step(0, 1), runs.step(1, 2)), [runs.start(), runs.step(0, 1), runs.end("aborted")])
    assert [(d[0], d[1], d[2]) for d in found] == [("removed", "step-1", ""), ("changed", None, "/status")]


def test_effects_in_another_order_of_lines_are_aligned_by_call(compare: Compare) -> None:
    effects = [runs.effect(0, 0, "a"), runs.effect(0, 1, "b"), runs.effect(1, 0, "c")]
    steps = [runs.step(0, 1), runs.step(1, 1)]
    assert compare(run_of(*effects, *steps), run_of(*reversed(effects), *steps)) == []


def test_a_change_while_comparing_is_met(tmp_path: Path) -> None:
    files = [runs.record(runs.store_in(tmp_path / n), "r-1", run_of(runs.step(0, n))) for n in "ab"]
    with runs.opened(files[0]) as expected, runs.opened(files[1]) as actual:
        files[1].path.write_bytes(files[0].path.read_bytes())
        with pytest.raises(TamperedError):
            list(diff(expected, actual))


IMPORTS = """
import sys
from pathlib import Path
from golden.difference import diff
from tests import runs
files = [Path(name) for name in sys.argv[1:]]
ring = runs.keyring()
with runs.Recording.open(files[0], ring) as one, runs.Recording.open(files[1], ring) as other:
    print(len(list(diff(one, other))), "deepdiff" in sys.modules)
"""


def test_deepdiff_is_not_imported_where_nothing_differs(tmp_path: Path) -> None:
    events = run_of(runs.effect(0, 0, {"a": 1}), runs.step(0, {"a": [1]}))
    unlike = run_of(runs.effect(0, 0, {"a": 1}), runs.step(0, {"a": [2]}))
    paths = [
        runs.record(runs.store_in(tmp_path / str(n)), "r-1", chosen).path
        for n, chosen in enumerate((events, events, unlike))
    ]
    for other, said in ((paths[1], "0 False"), (paths[2], "1 True")):
        command = [sys.executable, "-c", IMPORTS, str(paths[0]), str(other)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == said
