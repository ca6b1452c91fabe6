"""JUnit: one case per recording, read back by a reader of its own, with what pipelines look at."""

from pathlib import Path

import msgspec
import pytest
from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from replay.judgement import Judgement
from replay.report.junit import junit_xml
from tests.judgements import LEDGER_GONE, judgements, summary_of


@pytest.fixture
def found(tmp_path: Path) -> list[Judgement]:
    return list(judgements(tmp_path))


def suites(text: str) -> list[TestSuite]:
    return list(JUnitXml.fromstring(text.encode()))


def cases(suite: TestSuite) -> list[TestCase]:
    return list(suite)


def test_every_recording_is_one_case_in_the_order_given(found: list[Judgement]) -> None:
    (suite,) = suites(junit_xml(summary_of(found), found))
    assert [case.name for case in cases(suite)] == [x.run_id for x in found]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (9, 5, 3, 0)


def test_difference_is_a_failure_and_tampered_or_undecided_an_error(found: list[Judgement]) -> None:
    (suite,) = suites(junit_xml(summary_of(found), found))
    kinds = {0: [], 1: [Failure], 3: [Error], 4: [Error]}
    assert [[type(result) for result in case.result] for case in cases(suite)] == [kinds[x.code] for x in found]


def test_case_names_spec_file_and_time_and_its_failure_what_differs(found: list[Judgement]) -> None:
    (suite,) = suites(junit_xml(summary_of(found), found))
    case = cases(suite)[1]
    assert (case.classname, case.time) == ("weather-report", 0.25)
    assert case._elem.get("file") == "goldens/report-reworded.steps.jsonl"
    (failure,) = case.result
    assert (failure.type, failure.message) == ("diverged/output", "report: output differs at /text")
    assert "  expected  The mean maximum was" in failure.text
    assert "golden replay goldens/report-reworded.steps.jsonl" in failure.text


def test_match_tells_what_it_rests_on(found: list[Judgement]) -> None:
    notes = msgspec.structs.replace(found[0], notes=("a note",))
    (suite,) = suites(junit_xml(summary_of([notes]), [notes]))
    assert cases(suite)[0].system_out == "4 of 5 steps compared, 1 answered\na note"


def test_finding_that_belongs_to_no_recording_has_a_suite_of_its_own(found: list[Judgement]) -> None:
    text = junit_xml(summary_of(found, findings=[LEDGER_GONE]), found)
    recordings, beside = suites(text)
    assert (recordings.tests, beside.tests, beside.errors) == (9, 1, 1)
    whole = JUnitXml.fromstring(text.encode())
    assert (whole.tests, whole.failures, whole.errors, whole.time) == (10, 5, 4, 2.5)


def test_nothing_judged_is_still_a_document_that_fails() -> None:
    text = junit_xml(summary_of([], findings=[msgspec.structs.replace(LEDGER_GONE, code=4)]), [])
    assert JUnitXml.fromstring(text.encode()).errors == 1


def test_characters_that_xml_cannot_hold_are_spelt_out() -> None:
    text = "\x00\x08\x1b\x7f\x9b\ud800\ufffe\uffff<&\"'>]]>\r\n"
    judgement = Judgement(run_id=text, path=text, verdict="refused", code=4, problem=text, hint=text, spec_id=text)
    (suite,) = suites(junit_xml(summary_of([judgement]), [judgement]))
    (case,) = cases(suite)
    said = "\\x00\\x08\\x1b\\x7f\\x9b\\ud800\\ufffe\\uffff<&\"'>]]>\\x0d\n"
    assert (case.name, case.classname) == (said, said)
    assert case.result[0].text == f"refused: {said}\nhint: {said}"
