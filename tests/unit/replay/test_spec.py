"""The spec: what a document may say, in which order its steps run, and how everything else is refused."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from golden.canonical import output_hash
from golden.errors import UsageError
from replay import Spec, load_spec
from replay.spec import MAX_RETRIES, MAX_SPEC, first_place
from tests.unit.replay.conftest import flow, step

A = step("a", "s")
ONE = flow(A)
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a spec file into the working directory."""
    monkeypatch.chdir(tmp_path)

    def written(name: str, content: str | bytes) -> Path:
        path = Path(name)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def refusal(document: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        Spec(document, source="flow.json")
    assert caught.value.problem.startswith("flow.json: ")
    return caught.value


def problem(document: Any) -> str:
    return refusal(document).problem.removeprefix("flow.json: ")


def test_members_left_out_take_the_documented_defaults() -> None:
    spec = Spec(ONE)
    (only,) = spec.steps
    assert (spec.id, spec.name, spec.version, spec.budget_ceiling_cents) == ("flow", "flow", "0", None)
    assert (spec.metadata, spec.volatile, spec.result, spec.run_inputs) == ({}, [], None, set())
    assert (only.inputs, only.depends_on, only.on_error, only.external) == ({}, [], "abort", False)
    assert (only.estimated_cost_cents, only.max_cost_cents) == (0, None)


def test_every_member_that_is_supported_is_kept() -> None:
    full = {
        **A,
        "inputs": {"x": [1, {"y": None}]},
        "depends_on": ["b"],
        "estimated_cost_cents": 3,
        "max_cost_cents": 5,
        "on_error": "abort",
        "external": True,
    }
    spec = Spec(
        flow(
            full,
            step("b", "t"),
            name="A flow",
            version="2",
            budget_ceiling_cents=0,
            metadata={"team": "x"},
            volatile=["/steps/a/output/at"],
            result="${a.total}",
        )
    )
    first = spec.steps[0]
    assert (spec.name, spec.version, spec.budget_ceiling_cents) == ("A flow", "2", 0)
    assert (spec.metadata, spec.volatile) == ({"team": "x"}, ["/steps/a/output/at"])
    assert spec.result is not None
    assert spec.result.text == "a.total"
    assert (first.inputs, first.external) == ({"x": [1, {"y": None}]}, True)
    assert (first.estimated_cost_cents, first.max_cost_cents) == (3, 5)


def test_hash_is_of_the_document_as_given_without_defaults() -> None:
    assert Spec(ONE).hash == output_hash(ONE)
    assert Spec({**ONE, "name": "flow"}).hash != Spec(ONE).hash


@pytest.mark.parametrize("document", [None, [], "flow", 3, True])
def test_document_that_is_no_object_is_refused(document: Any) -> None:
    assert problem(document).startswith("document: expected `object`, got")


@pytest.mark.parametrize(
    "document, expected",
    [
        ({"steps": [A]}, "document: object missing required field `id`"),
        ({"id": "flow"}, "document: object missing required field `steps`"),
        (flow({"id": "a"}), "steps[0]: object missing required field `skill_id`"),
        (flow(A, {"skill_id": "s"}), "steps[1]: object missing required field `id`"),
    ],
)
def test_missing_member_is_named_with_its_place(document: Any, expected: str) -> None:
    assert problem(document) == expected


def test_spec_without_steps_is_refused() -> None:
    assert problem(flow()).startswith("steps: expected `array` of length >= 1")


@pytest.mark.parametrize(
    "document, name, place",
    [
        (flow(A, stepz=1), "stepz", "document"),
        (flow({**A, "skil": "s"}), "skil", "steps[0]"),
        (flow(A, {**A, "id": "b", "outputs": {}}), "outputs", "steps[1]"),
    ],
)
def test_unknown_member_is_named_with_its_place(document: Any, name: str, place: str) -> None:
    assert problem(document) == f"{place}: object contains unknown field `{name}`"


@pytest.mark.parametrize(
    "document, place",
    [
        ({**ONE, "id": 3}, "id"),
        ({**ONE, "name": 3}, "name"),
        ({**ONE, "version": 2}, "version"),
        ({**ONE, "metadata": []}, "metadata"),
        ({**ONE, "steps": {}}, "steps"),
        ({**ONE, "steps": ["a"]}, "steps[0]"),
        ({**ONE, "volatile": "/inputs"}, "volatile"),
        ({**ONE, "volatile": [3]}, "volatile[0]"),
        ({**ONE, "result": ["${a}"]}, "result"),
        ({**ONE, "budget_ceiling_cents": "5"}, "budget_ceiling_cents"),
        ({**ONE, "budget_ceiling_cents": -1}, "budget_ceiling_cents"),
        ({**ONE, "budget_ceiling_cents": 1.5}, "budget_ceiling_cents"),
        ({**ONE, "budget_ceiling_cents": True}, "budget_ceiling_cents"),
        (flow({**A, "id": 3}), "steps[0].id"),
        (flow({**A, "skill_id": ""}), "steps[0].skill_id"),
        (flow({**A, "skill_id": None}), "steps[0].skill_id"),
        (flow({**A, "inputs": []}), "steps[0].inputs"),
        (flow({**A, "depends_on": "b"}), "steps[0].depends_on"),
        (flow({**A, "depends_on": [1]}), "steps[0].depends_on[0]"),
        (flow({**A, "estimated_cost_cents": -1}), "steps[0].estimated_cost_cents"),
        (flow({**A, "max_cost_cents": 0.5}), "steps[0].max_cost_cents"),
        (flow({**A, "external": 1}), "steps[0].external"),
        (flow({**A, "on_error": "stop"}), "steps[0].on_error"),
    ],
)
def test_wrong_type_or_range_is_named_with_its_place(document: Any, place: str) -> None:
    assert problem(document).startswith(f"{place}: ")


@pytest.mark.parametrize("name", ["", "a b", "ü", "a.b", "a/b", "a\n", "a" * 65, "../x"])
def test_bad_step_id_is_refused(name: str) -> None:
    assert problem(flow({**A, "id": name})).startswith("steps[0].id: ")


@pytest.mark.parametrize("name", ["a", "A-b_9", "-", "_", "9", "a" * 64])
def test_good_step_id_is_taken(name: str) -> None:
    assert Spec(flow({**A, "id": name})).steps[0].id == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a/b", "a.b", "a\n", "a" * 65])
def test_bad_spec_id_is_refused(name: str) -> None:
    assert problem({**ONE, "id": name}).startswith("id: ")


@pytest.mark.parametrize("name", ["a", "9", "a-b_C", "a" * 64])
def test_good_spec_id_is_taken(name: str) -> None:
    assert Spec({**ONE, "id": name}).id == name


@pytest.mark.parametrize("name", ["redact", "allow_secrets", "volatile"])
def test_a_path_that_points_nowhere_is_refused(name: str) -> None:
    assert '"/nowhere"' in problem({**ONE, name: ["/nowhere"]})


@pytest.mark.parametrize("where", ["spec", "step"])
@pytest.mark.parametrize("seconds", [0, -1, 1e9, "5", True])
def test_time_limit_is_a_number_of_seconds_above_zero(where: str, seconds: Any) -> None:
    limit = {"timeout_seconds": seconds}
    assert "timeout_seconds" in problem(flow(A, **limit) if where == "spec" else flow({**A, **limit}))


def test_time_limits_of_run_and_step_may_be_fractions() -> None:
    spec = Spec(flow({**A, "timeout_seconds": 0.5}, timeout_seconds=30))
    assert (spec.steps[0].timeout_seconds, spec.timeout_seconds) == (0.5, 30)


@pytest.mark.parametrize("count", [-1, MAX_RETRIES + 1, 1.5, "2"])
def test_number_of_retries_is_bounded_because_the_wait_doubles(count: Any) -> None:
    assert "steps[0].max_retries" in problem(flow({**A, "retry": True, "max_retries": count}))


def test_retries_that_nothing_asks_for_are_refused() -> None:
    assert problem(flow({**A, "max_retries": 2})) == "steps[0].max_retries stands without retry"
    Spec(flow({**A, "max_retries": 2, "retry": True}))
    Spec(flow({**A, "max_retries": 2, "on_error": "retry"}))


def test_idempotency_key_is_fixed_text() -> None:
    assert problem(flow({**A, "idempotency_key": "k-${inputs.n}"})).startswith("steps[0].idempotency_key holds a ref")
    assert "steps[0].idempotency_key" in problem(flow({**A, "idempotency_key": ""}))
    assert "steps[0].idempotency_key" in problem(flow({**A, "idempotency_key": 1}))


def test_on_error_is_one_of_three_words() -> None:
    assert "steps[0].on_error" in problem(flow({**A, "on_error": "ignore"}))
    for word in ("abort", "continue", "retry"):
        assert Spec(flow({**A, "on_error": word})).steps[0].on_error == word


@pytest.mark.parametrize("plan", [None, False, {}, "text"])
def test_a_plan_is_any_value_even_null_and_absent_is_none(plan: Any) -> None:
    assert Spec(flow({**A, "planner_output": plan})).steps[0].planner_output == plan
    assert Spec(flow(A)).steps[0].planner_output is UNSET


def test_dependents_of_a_step_are_those_that_need_it() -> None:
    spec = Spec(flow(A, step("b", "s", inputs={"x": "${a}"}), step("c", "s", depends_on=["a", "b"])))
    assert spec.dependents == [[1, 2], [2], []]


def test_duplicate_step_id_names_both_places() -> None:
    assert problem(flow(A, step("b", "s"), A)) == 'steps[2].id "a" is also that of steps[0]'


def test_step_may_not_be_called_inputs() -> None:
    assert problem(flow(step("inputs", "s"))) == 'steps[0].id is "inputs"'


def test_unknown_dependency_is_named_and_the_nearest_suggested() -> None:
    error = refusal(flow(step("load", "s"), step("b", "s", depends_on=["lod"])))
    assert error.problem == 'flow.json: steps[1].depends_on: there is no step "lod"'
    assert error.hint == 'did you mean "load"'


@pytest.mark.parametrize("text", ["${lod}", "is ${lod.x}"])
def test_unknown_reference_is_named_and_the_nearest_suggested(text: str) -> None:
    error = refusal(flow(step("load", "s"), step("b", "s", inputs={"x": [text]})))
    assert error.problem == 'flow.json: steps[1].inputs: there is no step "lod"'
    assert error.hint == 'did you mean "load"'


def test_unknown_result_is_named() -> None:
    assert problem({**ONE, "result": "${b}"}) == 'result: there is no step "b"'


@pytest.mark.parametrize("text", ["a", "${a", "x ${a}", "${}"])
def test_result_that_is_no_reference_is_refused(text: str) -> None:
    problem({**ONE, "result": text})


def test_malformed_reference_is_refused_with_step_and_place() -> None:
    document = flow(A, step("b", "s", inputs={"x": {"y": ["${a..b}"]}}))
    assert problem(document) == "steps[1].inputs: ${a..b} is no reference at /x/y/0"


@pytest.mark.parametrize(
    "steps, cycle",
    [
        ([step("a", "s", depends_on=["a"])], "a -> a"),
        ([step("a", "s", inputs={"x": "${a}"})], "a -> a"),
        ([step("a", "s", depends_on=["b"]), step("b", "s", inputs={"x": "${a}"})], "a -> b -> a"),
        ([A, *(step(x, "s", depends_on=[y]) for x, y in ("bc", "cd", "db"))], "b -> c -> d -> b"),
    ],
)
def test_cycle_is_refused_with_its_steps(steps: list[dict[str, Any]], cycle: str) -> None:
    assert problem(flow(*steps)) == f"steps wait for each other: {cycle}"


@pytest.mark.parametrize("rule", ["", "inputs/x", "/steps/a", "/step/a/output", "/steps/a/effects/e", "/outputs"])
def test_volatile_rule_that_points_nowhere_is_refused(rule: str) -> None:
    assert problem({**ONE, "volatile": [rule]}).startswith(f'volatile path "{rule}" points at nothing')


@pytest.mark.parametrize(
    "value, words",
    [
        (float("nan"), "number at"),
        (float("inf"), "number at"),
        ("\ud800", "lone surrogate"),
        ((1, 2), "is a tuple"),
        (b"x", "is a bytes"),
        ({1: 2}, "object key at"),
    ],
)
def test_value_outside_the_canonical_form_is_refused_with_its_place(value: Any, words: str) -> None:
    found = problem(flow(A, step("b", "s", inputs={"x": [value]})))
    assert words in found
    assert '"/steps/1/inputs/x/0"' in found


def test_literal_inputs_too_large_for_a_line_are_refused_before_anything_runs() -> None:
    document = flow(A, step("b", "s", inputs={"x": "a" * (16 << 20)}))
    assert problem(document) == f"steps[1].inputs have {(16 << 20) + 8} bytes, at most {15 << 20} fit a line"


# Order


def order(*steps: dict[str, Any]) -> list[str]:
    spec = Spec(flow(*steps))
    return [spec.steps[n].id for n in spec.order]


def test_independent_steps_run_in_document_order() -> None:
    assert order(*(step(name, "s") for name in "dbca")) == list("dbca")


def test_dependencies_run_first_and_otherwise_document_order_holds() -> None:
    steps = [
        step("d", "s", depends_on=["a"]),
        step("c", "s", inputs={"x": "is ${b.x}"}),
        step("b", "s"),
        step("a", "s", inputs={"x": ["${b}"]}),
        step("e", "s"),
    ]
    assert order(*steps) == ["b", "c", "a", "d", "e"]


def test_dependencies_are_those_declared_and_those_referred_to() -> None:
    steps = [A, step("b", "s"), step("c", "s", depends_on=["a", "a"], inputs={"x": "${b}", "y": "${inputs.z}"})]
    assert Spec(flow(*steps)).dependencies == [set(), set(), {"a", "b"}]


def test_ten_thousand_chained_steps_are_ordered() -> None:
    steps = [step("n0", "s"), *(step(f"n{n}", "s", depends_on=[f"n{n - 1}"]) for n in range(1, 10_000))]
    assert Spec(flow(*reversed(steps))).order == list(range(9_999, -1, -1))


def test_run_inputs_are_all_names_referred_to() -> None:
    steps = [step("a", "s", inputs={"x": "${inputs.city}", "y": ["${inputs.days.0} days"]})]
    assert Spec(flow(*steps, result="${inputs.limit}")).run_inputs == {"city", "days", "limit"}


# Files

JSON = """{"id": "flow", "version": "2", "steps": [
  {"id": "a", "skill_id": "s", "inputs": {"n": 1, "f": 1.0, "t": "ü \\u00fc", "ok": true, "l": [1, "x"]}},
  {"id": "b", "skill_id": "t", "inputs": {"x": "${a.rows}"}, "depends_on": ["a"], "estimated_cost_cents": 2}
]}"""
TOML = """
id = "flow"
version = "2"

[[steps]]
id = "a"
skill_id = "s"
inputs = { n = 1, f = 1.0, t = "ü \\u00fc", ok = true, l = [1, "x"] }

[[steps]]
id = "b"
skill_id = "t"
inputs.x = "${a.rows}"
depends_on = ["a"]
estimated_cost_cents = 2
"""
YAML = """
id: flow
version: "2"
steps:
  - id: a
    skill_id: s
    inputs: {n: 1, f: 1.0, t: "ü ü", ok: true, l: [1, x]}
  - id: b
    skill_id: t
    inputs:
      x: ${a.rows}
    depends_on: [a]
    estimated_cost_cents: 2
"""


@pytest.mark.parametrize("name, text", [("f.toml", TOML), ("f.yaml", YAML), ("f.yml", YAML), ("F.JSON", JSON)])
def test_toml_and_yaml_give_the_hash_of_json(write: Write, name: str, text: str) -> None:
    assert load_spec(write(name, text)).hash == Spec(json.loads(JSON)).hash


def test_json_members_in_any_order_give_one_hash(write: Write) -> None:
    turned = json.dumps(dict(reversed(json.loads(JSON).items())), indent=3)
    assert load_spec(write("a.json", turned)).hash == load_spec(write("b.json", JSON)).hash


def test_source_of_a_loaded_spec_is_its_path_from_the_working_directory(write: Write) -> None:
    assert load_spec(write("f.json", JSON).absolute()).source == "f.json"


def test_yaml_merge_keys_are_expanded_and_may_be_overridden(write: Write) -> None:
    text = "id: flow\nsteps:\n- &a {id: a, skill_id: s, inputs: {x: 1}}\n- {<<: *a, id: b}\n"
    assert [(s.id, s.inputs) for s in load_spec(write("f.yaml", text)).steps] == [("a", {"x": 1}), ("b", {"x": 1})]


def in_json(value: str) -> str:
    return f'{{"id": "flow", "steps": [{{"id": "a", "skill_id": "s", "inputs": {{"x": {value}}}}}]}}'


def in_yaml(value: str) -> str:
    return f"id: flow\nsteps:\n- {{id: a, skill_id: s, inputs: {{x: {value}}}}}\n"


def in_toml(value: str) -> str:
    return f'id = "flow"\n[[steps]]\nid = "a"\nskill_id = "s"\ninputs.x = {value}\n'


BAD_FILES: list[tuple[str, str | bytes, str]] = [
    # name, content, what the message says
    ("empty.json", "", "Expecting value: line 1 column 1"),
    ("empty.toml", "", "object missing required field `id`"),
    ("empty.yaml", "", "expected `object`, got `null`"),
    ("half.json", '{"id": "flow"', "line 1 column 14"),
    ("half.toml", "id = ", "at end of document"),
    ("half.yaml", "id: [", "line 1, column 6"),
    ("two.json", "{} {}", "Extra data: line 1 column 4"),
    ("two.yaml", "a: 1\n---\na: 2\n", "expected a single document"),
    ("twice.json", '{"id": "a", "id": "b", "steps": []}', 'member "id" stands twice in one object'),
    ("twice-deep.json", in_json('[{"y": 1, "z": 2, "y": 1}]'), 'member "y" stands twice in one object'),
    ("twice.toml", 'id = "a"\nid = "b"\n', "Cannot overwrite a value (at line 2"),
    ("twice.yaml", "id: a\nid: b\n", 'member "id" stands twice in one object'),
    ("twice-deep.yaml", in_yaml("[{y: 1, y: 1}]"), 'member "y" stands twice in one object'),
    ("nan.json", in_json("NaN"), "NaN is not JSON"),
    ("infinite.json", in_json("-Infinity"), "-Infinity is not JSON"),
    ("overflow.json", in_json("1e999"), 'number at "/steps/0/inputs/x" is inf'),
    ("nan.toml", in_toml("nan"), 'number at "/steps/0/inputs/x" is nan'),
    ("nan.yaml", in_yaml(".nan"), 'number at "/steps/0/inputs/x" is nan'),
    ("surrogate.json", in_json('"\\ud800"'), 'text at "/steps/0/inputs/x" holds a lone surrogate'),
    ("bom.json", b"\xef\xbb\xbf" + JSON.encode(), "BOM"),
    ("bom.toml", b"\xef\xbb\xbf" + TOML.encode(), "(at line 1, column 1)"),
    ("date.toml", in_toml("2026-01-02"), 'value at "/steps/0/inputs/x" is a date'),
    ("time.toml", in_toml("10:00:00"), 'value at "/steps/0/inputs/x" is a time'),
    ("moment.toml", in_toml("2026-01-02T03:04:05Z"), 'value at "/steps/0/inputs/x" is a datetime'),
    ("date.yaml", in_yaml("2026-01-02"), 'value at "/steps/0/inputs/x" is a date'),
    ("moment.yaml", in_yaml("2026-01-02 03:04:05"), 'value at "/steps/0/inputs/x" is a datetime'),
    ("no-date.yaml", in_yaml("2026-99-99"), "month must be in 1..12"),
    ("set.yaml", in_yaml("!!set {a}"), 'value at "/steps/0/inputs/x" is a set'),
    ("bytes.yaml", in_yaml("!!binary aGk="), 'value at "/steps/0/inputs/x" is a bytes'),
    ("object.yaml", in_yaml("!!python/object/apply:os.getpid []"), "could not determine a constructor"),
    ("number-key.yaml", in_yaml("{1: 2}"), "is a int, not text"),
    ("list-key.yaml", in_yaml("{[a]: 1}"), "unhashable key"),
    ("int-tag.yaml", in_yaml('!!int ""'), "a value does not fit its tag"),
    ("bool-tag.yaml", in_yaml("!!bool maybe"), "a value does not fit its tag"),
    ("time-tag.yaml", in_yaml("!!timestamp x"), "a value does not fit its tag"),
    ("no-anchor.yaml", in_yaml("*nothing"), "found undefined alias"),
    ("self.yaml", in_yaml("&a [*a]"), "an alias stands inside what it is an alias of"),
    ("doubling-self.yaml", in_yaml("&a [*a, *a]"), "an alias stands inside what it is an alias of"),
    ("control.yaml", in_yaml('"\x07"'), "special characters are not allowed"),
    ("deep.json", in_json("[" * 2000 + "]" * 2000), ""),
    ("deep.toml", in_toml("[" * 2000 + "]" * 2000), ""),
    ("deep.yaml", in_yaml("[" * 2000 + "]" * 2000), ""),
    ("less-deep.json", in_json("[" * 300 + "]" * 300), "deep"),
    ("latin.json", JSON.replace("\\u00fc", "ü").encode("latin-1"), "'utf-8' codec can't decode"),
    ("utf-16.json", JSON.encode("utf-16"), "'utf-8' codec can't decode"),
    ("long-number.json", in_json("9" * 5000), "integer string conversion"),
]


@pytest.mark.parametrize("name, content, words", BAD_FILES, ids=[row[0] for row in BAD_FILES])
def test_file_that_is_no_spec_is_refused_in_two_lines(
    write: Write, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_spec(write(name, content))
    assert name in caught.value.problem
    assert words in caught.value.problem
    assert "\n" not in caught.value.problem + caught.value.hint


def test_yaml_whose_aliases_swell_is_refused_at_once(write: Write) -> None:
    lines = ["id: flow", "metadata:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(UsageError, match="aliases make more than 1000000 values of it"):
        load_spec(write("bomb.yaml", "\n".join(lines)))


def test_file_over_the_limit_is_refused_without_being_parsed(write: Write) -> None:
    path = write("f.json", "[")
    os.truncate(path, MAX_SPEC + 1)
    with pytest.raises(UsageError, match=r"f\.json is larger than 64 MiB"):
        load_spec(path)


def test_absent_file_is_refused(write: Write) -> None:
    with pytest.raises(UsageError, match=r"spec nope\.json cannot be read: No such file or directory"):
        load_spec(Path("nope.json"))


def test_directory_is_refused(write: Write) -> None:
    Path("f.json").mkdir()
    with pytest.raises(UsageError, match=r"spec f\.json cannot be read: Is a directory"):
        load_spec(Path("f.json"))


def test_file_without_permission_is_refused(write: Write) -> None:
    path = write("f.json", JSON)
    path.chmod(0)
    before = os.geteuid()
    # Root may read everything, so it steps back for a moment.
    os.seteuid(65534 if before == 0 else before)
    try:
        with pytest.raises(UsageError, match=r"spec f\.json cannot be read: Permission denied"):
            load_spec(path)
    finally:
        os.seteuid(before)


def test_loop_of_links_is_refused(write: Write) -> None:
    Path("f.json").symlink_to("f.json")
    with pytest.raises(UsageError, match=r"spec f\.json cannot be read: Too many levels of symbolic links"):
        load_spec(Path("f.json"))


@pytest.mark.parametrize("name", ["flow", "flow.txt", "flow.json5", ".json"])
def test_file_of_another_kind_is_refused(write: Write, name: str) -> None:
    with pytest.raises(UsageError, match=r"is neither \.json nor \.toml nor \.yaml"):
        load_spec(write(name, JSON))


def test_yaml_without_the_extra_names_the_extra(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match="reading YAML needs the extra `yaml`") as caught:
        load_spec(write("f.yaml", YAML))
    assert caught.value.hint == "pip install 'stepseal[yaml]'"


def test_error_of_a_loaded_document_names_file_and_place(write: Write) -> None:
    with pytest.raises(UsageError) as caught:
        load_spec(write("f.toml", in_toml("1") + "retry = 3\n"))
    assert caught.value.problem == "f.toml: steps[0].retry: expected `bool`, got `int`"


# Places


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/steps/0/inputs/x", "a"),
        ("/steps/1", "b"),
        ("/steps/2", None),
        ("/steps/x", None),
        ("/steps", None),
        ("/name", None),
        ("", None),
    ],
)
def test_place_in_a_document_lies_in_a_step_or_in_none(path: str, expected: str | None) -> None:
    assert first_place(flow(A, step("b", "s")), path) == expected


@pytest.mark.parametrize("document", [None, [], {"steps": {}}, {"steps": [1]}, {"steps": [{"id": 5}]}, {}])
def test_place_in_what_is_no_spec_is_in_no_step(document: Any) -> None:
    assert first_place(document, "/steps/0/id") is None
