"""JUnit: a gate's judgements as the XML that GitLab, Jenkins and GitHub read test results from.

One `<testcase>` per recording, the class being its spec: `<failure>` where the code is 1, `<error>` where it is 3 or 4.
What belongs to no recording stands in a suite of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from golden.spelling import spelt_out
from replay.judgement import DIFFERS, MATCHED, Finding, Judgement, Summary
from replay.report.words import compared, details, headline, rule_of, rule_of_finding

# Not even an escape may stand for them in XML 1.0.
_NO_CHARACTERS = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}


def junit_xml(summary: Summary, judgements: Sequence[Judgement]) -> str:
    """Return the XML document."""
    root = Element("testsuites", name="golden gate")
    suite = SubElement(root, "testsuite", name="golden gate", timestamp=summary.when[:19])
    properties = SubElement(suite, "properties")
    said = {
        "golden.version": summary.version,
        "golden.python": summary.python,
        "golden.exit_code": str(summary.code),
        "golden.kids": " ".join(summary.kids),
    }
    for name, value in said.items():
        SubElement(properties, "property", name=name, value=_legal(value))
    for judgement in judgements:
        _add_case(suite, judgement)
    _count(suite, [judgement.code for judgement in judgements], sum(x.seconds or 0 for x in judgements))
    if summary.warnings:
        SubElement(suite, "system-err").text = _legal("\n".join(summary.warnings))
    codes = [judgement.code for judgement in judgements]
    if summary.findings:
        beside = SubElement(root, "testsuite", name="golden gate: beside the recordings", timestamp=summary.when[:19])
        for finding in summary.findings:
            _add_finding(beside, finding)
        _count(beside, [finding.code for finding in summary.findings], 0)
        codes += [finding.code for finding in summary.findings]
    _count(root, codes, summary.seconds or 0)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _add_case(suite: Element, judgement: Judgement) -> None:
    case = SubElement(
        suite,
        "testcase",
        classname=_legal(judgement.spec_id or "golden"),
        name=_legal(judgement.run_id),
        file=_legal(judgement.path),
        time=_seconds(judgement.seconds or 0),
    )
    if judgement.code != MATCHED:
        _add_result(case, judgement.code, rule_of(judgement)[0], headline(judgement), "\n".join(details(judgement)))
    else:
        SubElement(case, "system-out").text = _legal("\n".join([compared(judgement), *judgement.notes]))


def _add_finding(suite: Element, finding: Finding) -> None:
    case = SubElement(suite, "testcase", classname="golden", name=_legal(finding.path or finding.verdict), time="0")
    text = f"{finding.problem}\nhint: {finding.hint}"
    _add_result(case, finding.code, rule_of_finding(finding)[0], finding.problem, text)


def _add_result(case: Element, code: int, kind: str, message: str, text: str) -> None:
    tag = "failure" if code == DIFFERS else "error"
    SubElement(case, tag, type=_legal(kind), message=_legal(message)).text = _legal(text)


def _count(element: Element, codes: Sequence[int], seconds: float) -> None:
    failures = codes.count(DIFFERS)
    element.set("tests", str(len(codes)))
    element.set("failures", str(failures))
    element.set("errors", str(len(codes) - failures - codes.count(MATCHED)))
    element.set("skipped", "0")
    element.set("time", _seconds(seconds))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _legal(text: str) -> str:
    return spelt_out(text, lines=True).translate(_NO_CHARACTERS)
