"""SARIF: what a gate found as SARIF 2.1.0, the form that code scanning and editors read.

One rule per cause of divergence and per verdict, one result per recording that did not pass; matched ones are no
results. Form: OASIS, Static Analysis Results Interchange Format 2.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from golden.canonical import sha256_hex
from golden.spelling import spelt_out
from golden.verdict import TAMPERED
from replay.frames import CUT
from replay.judgement import Finding, Judgement, Summary, worst_first
from replay.report.words import Rule, details, headline, place, place_of, rule_of, rule_of_finding

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# Below the repository, or wherever else the reader's files lie.
_ROOT = "%SRCROOT%"
# Half a character that stands for no byte of a file name.
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_SECURITY = {"tags": ["security"], "security-severity": "9.0"}


def sarif_log(summary: Summary, judgements: Sequence[Judgement], *, prefix: str = "") -> str:
    """Return the log as JSON; `prefix` is as in `annotation_lines`."""
    rules: dict[str, dict[str, Any]] = {}
    results = [
        *(_finding(finding, rules, prefix) for finding in summary.findings),
        *(_result(judgement, rules, prefix) for judgement in worst_first(judgements) if judgement.code),
    ]
    run = {
        "tool": {"driver": {"name": "golden", "version": summary.version, "rules": list(rules.values())}},
        "automationDetails": {"id": "golden/gate/"},
        "columnKind": "utf16CodeUnits",
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": summary.code,
                "startTimeUtc": summary.when,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": _message(warning)} for warning in summary.warnings
                ],
            }
        ],
        "properties": {"by": summary.by, "checked": summary.checked, "kids": list(summary.kids)},
        "results": results,
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(log), indent=1).decode() + "\n"


def _result(judgement: Judgement, rules: dict[str, dict[str, Any]], prefix: str) -> dict[str, Any]:
    rule_id, rule = rule_of(judgement)
    found = judgement.divergence
    step_id = found.step_id if found else None
    names = [name for name in (judgement.spec_id, judgement.run_id, step_id) if name] or [rule_id]
    about = [judgement.run_id, step_id, found.path if found else None]
    result: dict[str, Any] = {
        "ruleId": rule_id,
        "ruleIndex": _index(rule_id, rule, rules),
        "level": "error",
        "message": _message("\n".join([f"{judgement.run_id}: {headline(judgement)}", *list(details(judgement))[1:]])),
        "locations": [
            {
                "physicalLocation": _physical(*place_of(judgement), prefix),
                "logicalLocations": [
                    {"name": spelt_out(names[-1]), "fullyQualifiedName": "/".join(map(spelt_out, names))}
                ],
            }
        ],
        "relatedLocations": [
            {"id": 1, "message": _message("the recording"), "physicalLocation": _physical(judgement.path, 1, prefix)}
        ],
        # The same finding in the next run, whatever lines moved meanwhile.
        "partialFingerprints": {"golden/v1": _fingerprint(rule_id, *about)},
        "properties": {"verdict": judgement.verdict, **({"kind": judgement.kind} if judgement.kind else {})},
    }
    if judgement.failure is not None:
        shown = reversed(judgement.failure.stack)
        frames = [_frame(location, name, prefix) for location, name, _ in shown if location != CUT]
        said = f"{judgement.failure.type}: {judgement.failure.message}"
        result["stacks"] = [{"message": _message(said), "frames": frames}]
    return result


def _finding(finding: Finding, rules: dict[str, dict[str, Any]], prefix: str) -> dict[str, Any]:
    rule_id, rule = rule_of_finding(finding)
    return {
        "ruleId": rule_id,
        "ruleIndex": _index(rule_id, rule, rules),
        "level": "error",
        "message": _message(f"{finding.problem}\nhint: {finding.hint}"),
        "locations": [{"physicalLocation": _physical(finding.path, 1, prefix)}] if finding.path else [],
        "partialFingerprints": {"golden/v1": _fingerprint(rule_id, finding.path)},
    }


def _index(rule_id: str, rule: Rule, rules: dict[str, dict[str, Any]]) -> int:
    """Return the number of a rule, which is written down when it is first broken."""
    security = rule_id.rpartition("/")[2] in TAMPERED
    rules.setdefault(
        rule_id,
        {
            "id": rule_id,
            "name": "".join(word.capitalize() for word in rule_id.replace("/", "-").split("-")),
            "shortDescription": {"text": _sentence(rule.title)},
            "fullDescription": {"text": _sentence(rule.meaning)},
            "help": {
                "text": f"{_sentence(rule.meaning)} {_sentence(rule.help)}",
                "markdown": f"{_sentence(rule.meaning)}\n\n{_sentence(rule.help)}",
            },
            "defaultConfiguration": {"level": "error"},
            "properties": _SECURITY if security else {"tags": ["determinism"]},
        },
    )
    return list(rules).index(rule_id)


def _frame(location: str, name: str, prefix: str) -> dict[str, Any]:
    return {
        "location": {
            "physicalLocation": _physical(*place(location), prefix),
            "logicalLocations": [{"fullyQualifiedName": spelt_out(name), "kind": "function"}],
        }
    }


def _physical(file: str, line: int, prefix: str) -> dict[str, Any]:
    path = quote(_NO_BYTE.sub("\ufffd", file).encode("utf-8", "surrogateescape"), safe="/-._~")
    # A first segment with a colon would be taken for a scheme, were the colon not quoted.
    below = {"uri": quote(prefix) + path, "uriBaseId": _ROOT}
    artifact = {"uri": f"file://{path}"} if file.startswith("/") else below
    return {"artifactLocation": artifact, "region": {"startLine": line}}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _fingerprint(*about: str | None) -> str:
    return sha256_hex(msgspec.json.encode([None if part is None else spelt_out(part) for part in about]))


def _message(text: str) -> dict[str, str]:
    return {"text": "\n".join(_lines(text))}


def _lines(text: str) -> Iterator[str]:
    # What could be a link is none with a space in it; braces hold placeholders (3.11.5, 3.11.6).
    for line in spelt_out(text, lines=True).split("\n"):
        yield line.replace("](", "] (").replace("{", "{{").replace("}", "}}")
