"""Volatile rules: what they match, what they take out, and that a rule without effect is known."""

from typing import Any

import pytest

from golden.canonical import canonical_bytes, decode, output_hash, sha256_hex
from golden.errors import FormatError
from golden.volatile import Volatile

OUTPUT = {"at": "now", "rows": [{"id": 1, "at": 2}, {"id": 3, "at": 4}], "a/b": {"~": 5}}
PLACE = ("steps", "s", "output")


def stripped(rule: str, value: Any = OUTPUT, place: tuple[str, ...] = PLACE) -> Any:
    return Volatile([rule]).strip(place, decode(canonical_bytes(value)))


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("/steps/s/output/at", {k: v for k, v in OUTPUT.items() if k != "at"}),
        ("/steps/*/output/rows/*/at", {**OUTPUT, "rows": [{"id": 1}, {"id": 3}]}),
        ("/steps/s/output/rows/0", {**OUTPUT, "rows": [None, {"id": 3, "at": 4}]}),
        ("/steps/s/output/rows/*", {**OUTPUT, "rows": [None, None]}),
        ("/steps/s/output/rows/1/at", {**OUTPUT, "rows": [{"id": 1, "at": 2}, {"id": 3}]}),
        ("/steps/s/output/a~1b/~0", {**OUTPUT, "a/b": {}}),
        ("/steps/s/output/*", {}),
        ("/steps/s/output", None),
    ],
)
def test_a_member_is_left_out_and_an_item_or_a_whole_value_becomes_null(rule: str, expected: Any) -> None:
    volatile = Volatile([rule])
    assert volatile.strip(PLACE, decode(canonical_bytes(OUTPUT))) == expected
    assert volatile.dead == []
    assert volatile.hash_output("s", canonical_bytes(OUTPUT)) == output_hash(expected)


@pytest.mark.parametrize(
    "rule",
    [
        "/steps/t/output/at",
        "/steps/s/output/absent",
        "/steps/s/output/rows/2",
        "/steps/s/output/rows/-1",
        "/steps/s/output/rows/00",
        "/steps/s/output/rows/\u0660",
        "/steps/s/output/at/deeper",
        "/steps/s/output/rows/*/id/*",
        "/inputs/at",
        "/steps/s/effects/get/result/at",
    ],
)
def test_a_rule_that_matches_nothing_changes_nothing_and_is_dead(rule: str) -> None:
    volatile = Volatile([rule])
    assert volatile.hash_output("s", canonical_bytes(OUTPUT)) == output_hash(OUTPUT)
    assert volatile.dead == [rule]


def test_a_rule_that_matched_once_is_alive_for_good() -> None:
    volatile = Volatile(["/steps/*/output/at", "/inputs/never"])
    volatile.hash_output("a", b'{"at":1}')
    volatile.hash_output("b", b"{}")
    assert volatile.dead == ["/inputs/never"]


@pytest.mark.parametrize(
    "rule",
    [
        *("", "/", "steps/s/output", "/steps", "/steps/s", "/steps/s/input", "/steps/s/effects", "/output", "/o/x"),
        *("/steps/s/effects/get", "/steps/s/effects/get/args", "inputs", "//inputs", "/steps/s/outputs/a"),
    ],
)
def test_a_rule_that_points_at_nothing_volatile_is_refused(rule: str) -> None:
    with pytest.raises(FormatError, match="points at nothing that can be volatile"):
        Volatile([rule])


def test_effects_and_inputs_have_their_own_places() -> None:
    rules = ["/steps/*/effects/http.get/result/date", "/inputs/token"]
    volatile = Volatile(rules)
    assert volatile.hash_result("s", "http.get", b'{"date":1,"n":2}') == output_hash({"n": 2})
    assert volatile.hash_result("s", "http.put", b'{"date":1,"n":2}') == output_hash({"date": 1, "n": 2})
    assert volatile.hash_inputs(b'{"date":1,"token":3}') == output_hash({"date": 1})
    assert volatile.dead == []


def test_without_rules_the_hash_is_of_the_bytes() -> None:
    volatile = Volatile()
    for found in (
        volatile.hash_output("s", b"1.5"),
        volatile.hash_result("s", "n", b"1.5"),
        volatile.hash_inputs(b"1.5"),
    ):
        assert found == sha256_hex(b"1.5")


def test_two_runs_that_differ_in_volatile_places_only_have_one_hash() -> None:
    rules = ["/steps/s/output/at", "/steps/s/output/rows/*/at"]
    other = {**OUTPUT, "at": [1, 2], "rows": [{"id": 1, "at": None}, {"id": 3}]}
    assert Volatile(rules).hash_output("s", canonical_bytes(OUTPUT)) == Volatile(rules).hash_output(
        "s", canonical_bytes(other)
    )


def test_a_star_in_the_value_is_a_name_like_another() -> None:
    assert stripped("/steps/s/output/*/x", {"*": {"x": 1, "y": 2}, "b": {"x": 3}}) == {"*": {"y": 2}, "b": {}}
