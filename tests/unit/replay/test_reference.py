"""References: what `${…}` means in a step's inputs, alone and inside text."""

from typing import Any

import pytest

from golden.errors import FormatError
from replay.reference import Reference, Template, parse_single

VALUES: dict[str, Any] = {
    "load": {
        "rows": [{"n": 1}, {"n": 2}],
        "mean": 2.5,
        "ok": True,
        "none": None,
        "name": "a",
        "deep": {"0": "text key"},
        "": "empty",
    },
    "list": [10, [20, 21]],
    "inputs": {"city": "Seattle", "limit": 3},
}


def resolve(inputs: Any) -> Any:
    return Template(inputs).resolve(VALUES.__getitem__)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("${load}", VALUES["load"]),
        ("${load.rows}", [{"n": 1}, {"n": 2}]),
        ("${load.rows.1.n}", 2),
        ("${load.mean}", 2.5),
        ("${load.ok}", True),
        ("${load.none}", None),
        ("${load.deep.0}", "text key"),
        ("${list.1.0}", 20),
        ("${inputs.limit}", 3),
    ],
)
def test_exactly_one_reference_takes_the_value_with_its_type(text: str, expected: Any) -> None:
    found = resolve({"x": text})["x"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("in ${inputs.city}!", "in Seattle!"),
        ("${inputs.limit} of ${list.0}", "3 of 10"),
        ("${load.ok}/${load.none}", "true/null"),
        (" ${inputs.limit}", " 3"),
        ("${inputs.limit}${inputs.limit}", "33"),
    ],
)
def test_inside_text_stand_text_integers_booleans_and_null(text: str, expected: str) -> None:
    assert resolve({"x": text}) == {"x": expected}


@pytest.mark.parametrize("reference, kind", [("load.mean", "float"), ("load.rows", "list"), ("load", "dict")])
def test_floats_lists_and_objects_cannot_stand_inside_text(reference: str, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"^\$\{{{reference}\}} is a {kind}, which cannot stand inside text$"):
        resolve({"x": f"is ${{{reference}}}"})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("$${load}", "${load}"),
        ("a $${b} ${inputs.city}", "a ${b} Seattle"),
        ("$${", "${"),
        ("$$$${x}", "$$${x}"),
        ("$", "$"),
        ("$load", "$load"),
        ("{load}", "{load}"),
        ("$ {load}", "$ {load}"),
        ("", ""),
        ("price: 5$", "price: 5$"),
    ],
)
def test_two_dollars_make_a_literal_and_other_dollars_mean_nothing(text: str, expected: str) -> None:
    assert resolve({"x": text}) == {"x": expected}


def test_references_are_found_at_any_depth_of_values_but_not_in_names() -> None:
    inputs = {"${load}": [{"x": ["${list.0}"]}, 1, 2.5, None, True]}
    assert resolve(inputs) == {"${load}": [{"x": [10]}, 1, 2.5, None, True]}
    assert Template(inputs).roots == {"list"}


def test_what_a_reference_gives_is_not_resolved_again() -> None:
    template = Template({"x": "${a}", "y": "is ${a}"})
    assert template.resolve({"a": "${b}"}.__getitem__) == {"x": "${b}", "y": "is ${b}"}


@pytest.mark.parametrize(
    "text, place",
    [
        ("${load.nope}", "/nope"),
        ("${load.rows.2}", "/rows/2"),
        ("${load.rows.1.m}", "/rows/1/m"),
        ("${load.rows.-1}", "/rows/-1"),
        ("${load.rows.first}", "/rows/first"),
        ("${load.name.0}", "/name/0"),
        ("${load.mean.x}", "/mean/x"),
        ("${load.none.x}", "/none/x"),
        ("${list.1.2}", "/1/2"),
    ],
)
def test_missing_place_is_named(text: str, place: str) -> None:
    with pytest.raises(LookupError) as caught:
        resolve({"x": text})
    root = text[2:].partition(".")[0]
    assert str(caught.value) == f'{text}: "{root}" has nothing at "{place}"'


def test_list_position_of_5000_digits_is_a_missing_place() -> None:
    with pytest.raises(LookupError, match='"list" has nothing at'):
        resolve({"x": "${list." + "9" * 5000 + "}"})


@pytest.mark.parametrize(
    "text",
    [
        "${}",
        "${.a}",
        "${a.}",
        "${a..b}",
        "${a b}",
        "${inputs}",
        "${a/b}",
        "${ü}",
        "${a }",
        "${a\n}",
        f"${{{'a' * 65}}}",
    ],
)
def test_malformed_reference_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(FormatError, match=r"is no reference at /deep/1 \("):
        Template({"deep": [0, text]})


@pytest.mark.parametrize("text", ["${load", "a ${", "${a${b}}", "${a{b}"])
def test_reference_that_never_ends_is_refused_and_the_literal_is_shown(text: str) -> None:
    with pytest.raises(FormatError, match="begins a reference that never ends at /x") as caught:
        Template({"x": text})
    assert caught.value.hint == "write $${ for a literal"


@pytest.mark.parametrize(
    "inputs, fixed",
    [
        ({"x": 1, "y": ["text", "", {}]}, True),
        ({"x": "cost: $5"}, True),
        ({"x": "$${literal}"}, False),
        ({"x": "${load}"}, False),
    ],
)
def test_inputs_are_fixed_where_nothing_is_referred_to_or_escaped(inputs: Any, fixed: bool) -> None:
    assert Template(inputs).fixed is fixed


def test_step_ids_may_hold_dashes_and_underscores() -> None:
    reference = Reference("a-b_C9.x.0")
    assert (reference.root, reference.path) == ("a-b_C9", ["x", "0"])


@pytest.mark.parametrize("text", ["load", "a ${load}", "${load}${load}", "", "$${load}"])
def test_result_must_be_exactly_one_reference(text: str) -> None:
    with pytest.raises(FormatError, match="is not exactly one reference"):
        parse_single(text)


def test_result_reference_gives_the_part_of_its_step() -> None:
    assert parse_single("${load.rows.0}").resolve(VALUES["load"]) == {"n": 1}
