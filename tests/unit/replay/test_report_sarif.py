"""SARIF: a log that fits the standard, with places relative to the repository and fingerprints that last."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from replay.divergence import Divergence
from replay.frames import Failure
from replay.judgement import Judgement
from replay.report.sarif import sarif_log
from tests.judgements import LEDGER_GONE, judgements, summary_of
from tests.sarif_schema import SCHEMA


@pytest.fixture
def found(tmp_path: Path) -> list[Judgement]:
    return list(judgements(tmp_path))


def run_of(found: list[Judgement], prefix: str = "", **members: Any) -> dict[str, Any]:
    log = json.loads(sarif_log(summary_of(found, **members), found, prefix=prefix))
    jsonschema.validate(log, SCHEMA)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def output(location: str | None = None, actual: Any = 2, **members: Any) -> Judgement:
    divergence = Divergence("output", "a", 0, "/n", 1, actual, location)
    facts: dict[str, Any] = {"run_id": "r-1", "path": "g/r-1.steps.jsonl", "spec_id": "s", "code": 1, **members}
    return Judgement(verdict="diverged", divergence=divergence, **facts)


def uris(result: dict[str, Any]) -> list[str]:
    places = [*result["locations"], *result["relatedLocations"]]
    return [place["physicalLocation"]["artifactLocation"]["uri"] for place in places]


def test_every_recording_that_did_not_pass_is_a_result_of_its_rule(found: list[Judgement]) -> None:
    run = run_of(found, findings=[LEDGER_GONE], warnings=("beware {0}",))
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [result["ruleId"] for result in run["results"]] == [
        "gate/missing",
        "wrong-run",
        "tampered",
        "unknown-key",
        "diverged/output",
        "diverged/output",
        "diverged/error",
        "diverged/effect",
        "diverged/spec",
    ]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [r["ruleId"] for r in run["results"]]
    assert run["invocations"][0]["exitCode"] == 3


def test_what_only_security_can_decide_is_marked_so(found: list[Judgement]) -> None:
    tags = {rule["id"]: rule["properties"]["tags"] for rule in run_of(found)["tool"]["driver"]["rules"]}
    assert {rule for rule, said in tags.items() if said == ["security"]} == {"wrong-run", "tampered"}


def test_places_are_relative_to_the_repository() -> None:
    assert uris(run_of([output("skills/a.py:3")], "sub/")["results"][0]) == [
        "sub/skills/a.py",
        "sub/g/r-1.steps.jsonl",
    ]
    assert uris(run_of([output("/opt/a b.py:3")])["results"][0])[0] == "file:///opt/a%20b.py"


def test_name_that_is_no_address_is_quoted() -> None:
    name = "a:b c%#?é\udcff.py"
    assert uris(run_of([output(f"{name}:3")])["results"][0])[0] == "a%3Ab%20c%25%23%3F%C3%A9%FF.py"


def test_fingerprint_lasts_while_lines_move_and_differs_by_place() -> None:
    def prints(judgement: Judgement) -> Any:
        return run_of([judgement])["results"][0]["partialFingerprints"]

    first = prints(output("a.py:3"))
    assert prints(output("a.py:300", actual=77)) == first
    assert prints(output("a.py:3", run_id="r-2")) != first


def test_failure_is_a_stack_with_its_innermost_frame_first() -> None:
    failure = Failure("KeyError", "'n'", [("a.py:1", "outer"), ("b.py:2", "inner")])
    (stack,) = run_of([output(failure=failure)])["results"][0]["stacks"]
    names = [frame["location"]["logicalLocations"][0]["fullyQualifiedName"] for frame in stack["frames"]]
    assert (stack["message"]["text"], names) == ("KeyError: 'n'", ["inner", "outer"])


def test_message_holds_neither_placeholder_nor_link() -> None:
    text = run_of([output(actual={"a": "[x](1)"})])["results"][0]["message"]["text"]
    assert '{{"a":"[x] (1)"}}' in text


def test_all_green_is_a_log_without_results(found: list[Judgement]) -> None:
    run = run_of(found[:1])
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])


def test_schema_of_the_tests_refuses_what_the_standard_forbids(found: list[Judgement]) -> None:
    log = json.loads(sarif_log(summary_of(found), found))
    for change in ({"ruleIndex": -1}, {"level": "fatal"}, {"message": {"text": "{0}"}}, {"colour": "red"}):
        broken = json.loads(json.dumps(log))
        broken["runs"][0]["results"][0] |= change
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


def test_log_is_the_same_text_every_time(found: list[Judgement]) -> None:
    again = msgspec.convert(msgspec.to_builtins(found), list[Judgement])
    assert sarif_log(summary_of(found), found) == sarif_log(summary_of(again), again)
