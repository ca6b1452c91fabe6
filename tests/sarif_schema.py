"""What SARIF 2.1.0 asks of the members that our logs have, as JSON Schema.

Written by hand after the OASIS standard, section by section; stricter than the official schema where code scanning is:
nothing may be there that is not named here, and rules, fingerprints and places must be.
"""

from typing import Any


def _object(required: str, /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def _list(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
# 3.11: plain text, in which a lone brace would begin a placeholder.
_MESSAGE = _object("text", text={"type": "string", "minLength": 1, "pattern": r"\A([^{}]|\{\{|\}\})*\Z"})
_URI = {
    "type": "string",
    "format": "uri-reference",
    "pattern": r"\A(file:///)?[A-Za-z0-9%._~/-]+\Z",
}
# 3.28, 3.29, 3.30
_PHYSICAL = _object(
    "artifactLocation region",
    artifactLocation=_object("uri", uri=_URI, uriBaseId={"const": "%SRCROOT%"}),
    region=_object("startLine", startLine={"type": "integer", "minimum": 1}),
)
# 3.33
_LOGICAL = _object("fullyQualifiedName", name=_TEXT, fullyQualifiedName=_TEXT, kind={"enum": ["function"]})
_LOCATION = _object(
    "physicalLocation",
    id={"type": "integer", "minimum": 0},
    message=_MESSAGE,
    physicalLocation=_PHYSICAL,
    logicalLocations=_list(_LOGICAL, uniqueItems=True),
)
# 3.44, 3.45
_STACK = _object("frames", message=_MESSAGE, frames=_list(_object("location", location=_LOCATION)))
_FINGERPRINTS = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string", "minLength": 32}}
# 3.27
_RESULT = _object(
    "ruleId ruleIndex level message locations partialFingerprints",
    ruleId=_TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=_LEVEL,
    message=_MESSAGE,
    locations=_list(_LOCATION),
    relatedLocations=_list(_LOCATION, uniqueItems=True),
    stacks=_list(_STACK, uniqueItems=True),
    partialFingerprints=_FINGERPRINTS,
    properties={"type": "object"},
)
# 3.49
_RULE = _object(
    "id name shortDescription fullDescription help",
    id=_TEXT,
    name={"type": "string", "pattern": r"\A[A-Z][A-Za-z]*\Z"},
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_object("text markdown", text=_TEXT, markdown=_TEXT),
    defaultConfiguration=_object("level", level=_LEVEL),
    properties={"type": "object", "properties": {"tags": _list(_TEXT, uniqueItems=True)}},
)
# 3.58
_NOTIFICATION = _object("message", level=_LEVEL, message=_MESSAGE)
# 3.20
_INVOCATION = _object(
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    exitCode={"type": "integer"},
    startTimeUtc={"type": "string", "pattern": r"\A[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?Z\Z"},
    toolExecutionNotifications=_list(_NOTIFICATION),
)
# 3.14, 3.17, 3.18, 3.19
_RUN = _object(
    "tool results",
    tool=_object(
        "driver", driver=_object("name version rules", name=_TEXT, version=_TEXT, rules=_list(_RULE, uniqueItems=True))
    ),
    automationDetails=_object("id", id={"type": "string", "pattern": r"/\Z"}),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    invocations=_list(_INVOCATION),
    properties={"type": "object"},
    results=_list(_RESULT),
)
# 3.13
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        "$schema version runs",
        **{"$schema": {"type": "string", "format": "uri"}},
        version={"const": "2.1.0"},
        runs=_list(_RUN, minItems=1, maxItems=1),
    ),
}
