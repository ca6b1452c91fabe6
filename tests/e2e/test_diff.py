"""`golden diff`: alike, unlike with path, expected and actual, and files that cannot be compared."""

import json
import shutil

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow

MEMBERS = {"schema", "kind", "step_id", "index", "path", "expected", "actual"}


@pytest.fixture
def two(recorded: Shell) -> Shell:
    """Two runs of the shop, the second rounded and taxed otherwise."""
    recorded.edit("skills.py", "/ 100, 2)}", "/ 100, 1)}")
    recorded.edit("skills.py", "return cents // 10", "return cents // 20")
    recorded.record("r-2", "--inputs", "@prices.json")
    return recorded


def test_a_run_repeated_is_alike(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.record("r-2", "--inputs", "@prices.json")
    done = recorded.golden("diff", "r-1", "r-2")
    assert done.code == 0
    assert done.text == snapshot
    assert recorded.golden("diff", "r-1", "r-2", "--json").stdout == ""


def test_differences_are_told_by_step(two: Shell, snapshot: SnapshotAssertion) -> None:
    done = two.golden("diff", "r-1", "r-2")
    assert done.code == 1
    assert done.text == snapshot


def test_differences_in_json(two: Shell) -> None:
    done = two.golden("diff", "r-1", "r-2", "--json")
    assert done.code == 1
    assert all(set(found) == MEMBERS and next(iter(found)) == "schema" for found in done.objects)
    assert {found["schema"] for found in done.objects} == {"golden.diff/1"}
    told = {(found["step_id"], found["path"]): (found["expected"], found["actual"]) for found in done.objects}
    assert told["price", "/output/amount"] == (8.06, 7.7)
    assert told["price", "/effects/1/result"] == (79, 39)
    assert told["receipt", ""] if ("receipt", "") in told else told["receipt", "/output"]
    assert {found["kind"] for found in done.objects} == {"changed"}
    assert next(found for found in done.objects if found["step_id"] == "price")["index"] == 1


def test_expected_comes_first(two: Shell) -> None:
    one, other = (two.golden("diff", *names, "--json").objects for names in (("r-1", "r-2"), ("r-2", "r-1")))
    assert [(found["expected"], found["actual"]) for found in one] == [
        (found["actual"], found["expected"]) for found in other
    ]


def test_members_added_and_removed_are_told_so(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.edit("skills.py", '{"code": ctx.random.randrange(1_000_000)}', '{"code": 1, "new": None}')
    recorded.edit("skills.py", ', "kinds": sorted({"apple", "fig", "melon", "pear", "plum"})', "")
    recorded.record("r-2", "--inputs", "@prices.json")
    done = recorded.golden("diff", "r-1", "r-2", "--json")
    kinds = {(found["kind"], found["path"]) for found in done.objects}
    assert {("added", "/output/new"), ("removed", "/output/kinds")} <= kinds
    assert recorded.golden("diff", "r-1", "r-2").text == snapshot


def test_a_step_more_is_added(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    spec = json.loads((recorded.here / "order.json").read_text())
    spec["steps"].append({"id": "again", "skill_id": "shop.voucher"})
    recorded.write("order.json", spec)
    recorded.record("r-2", "--inputs", "@prices.json")
    done = recorded.golden("diff", "r-1", "r-2")
    assert done.code == 1
    assert done.text == snapshot


def test_runs_of_two_seeds_differ_in_the_seed(recorded: Shell) -> None:
    recorded.golden("record", "order.json", "--run-id", "r-2", "--seed", "8", "--inputs", "@prices.json")
    done = recorded.golden("diff", "r-1", "r-2", "--json")
    assert done.code == 1
    told = {(found["step_id"], found["path"]): (found["expected"], found["actual"]) for found in done.objects}
    assert told[None, "/seed"] == (7, 8)


def test_another_environment_is_a_note_and_no_difference(recorded: Shell) -> None:
    recorded.record("r-2", "--inputs", "@prices.json", env={"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"})
    done = recorded.golden("diff", "r-1", "r-2")
    assert done.code == 0
    assert done.stderr.splitlines() == ["note: environment differs in env, hash_seed, timezone"]
    assert recorded.golden("diff", "r-1", "r-2", "-q").stderr == ""


def test_a_volatile_place_is_no_difference(shop: Shell) -> None:
    shop.edit("skills.py", "ctx.random.randrange(1_000_000)}", "__import__('random').randrange(1_000_000)}")
    spec = json.loads((shop.here / "order.json").read_text())
    shop.write("order.json", {**spec, "volatile": ["/steps/voucher/output/code"]})
    shop.record("r-1", "--inputs", "@prices.json")
    shop.record("r-2", "--inputs", "@prices.json")
    paths = {(found["step_id"], found["path"]) for found in shop.golden("diff", "r-1", "r-2", "--json").objects}
    assert ("voucher", "/output/code") not in paths


FILES = {"flipped-byte-in-output": 3, "unsealed": 3, "live": 4, "unknown-key": 4, "absent": 4, "empty": 4}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("first", [True, False], ids=["expected", "actual"])
def test_only_what_verifies_is_compared(shop: Shell, snapshot: SnapshotAssertion, name: str, first: bool) -> None:
    shutil.copytree(runs.FIXTURES / "recordings" / "v1", shop.store)
    done = shop.golden("diff", *((name, "good") if first else ("good", name)))
    assert done.refused(FILES[name]) == snapshot


def test_fixtures_of_one_run_differ_where_they_do(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shutil.copytree(runs.FIXTURES / "recordings" / "v1", shop.store)
    assert shop.golden("diff", "good", "good-failed").text == snapshot
    assert shop.golden("diff", "good", "good", "--json").code == 0


def test_colours_only_where_wanted(two: Shell) -> None:
    assert "\x1b[" not in two.golden("diff", "r-1", "r-2").stdout
    forced = two.golden("diff", "r-1", "r-2", env={"NO_COLOR": None, "FORCE_COLOR": "1"}).stdout
    assert "\x1b[32m" in forced
    assert "\x1b[31m" in forced
    assert "\x1b[" not in two.golden("diff", "r-1", "r-2", env={"NO_COLOR": "1", "FORCE_COLOR": "1"}).stdout
    assert "\x1b[" not in two.golden("diff", "r-1", "r-2", env={"NO_COLOR": None}).stdout
    assert "\x1b[" not in two.golden("diff", "r-1", "r-2", "--json", env={"NO_COLOR": None, "FORCE_COLOR": "1"}).stdout
