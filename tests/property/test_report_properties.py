"""Reports of whatever texts: the forms stay whole, and nothing that was recorded becomes part of them."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.values import Kind
from replay.divergence import Cause, Divergence
from replay.frames import Failure
from replay.judgement import Difference, Finding, Judgement, Outcome, StepMark, Summary, code_of, kind_of
from replay.report.annotations import annotation_lines, step_summary
from replay.report.html import html_page
from replay.report.junit import junit_xml
from replay.report.sarif import sarif_log
from tests.judgements import summary_of
from tests.sarif_schema import SCHEMA

# Whatever ends, opens, escapes or hides something in one of the forms.
BITS = [
    *("<script>alert(1)</script>", "</script>", "</style>", "<!--", "-->", "]]>", "<![CDATA[", "&amp;", "&#x3c;"),
    *('"', "'", "<img src=x onerror=alert(1)>", "::error::", "::set-output name=a::b", "%0A", "%", ",", ":", "\n"),
    *("\r\n", "\t", "\x00", "\x1b[2J", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\ufffe", "\uffff", "\ud800"),
    *("\udfff", "{{ 7*7 }}", "{% raw %}", "{0}", "[a](b)", "`", "*", "_", "~", "#", "@user", "\\", "$(id)", "𝄞"),
    *("\u0301", "javascript:alert(1)", "a b", "|"),
]
ANY = st.text(st.characters(codec=None), max_size=5)
TEXTS = st.lists(st.sampled_from(BITS) | ANY, max_size=5).map("".join)
# A path, a name or a warning is never empty.
SOMETHING = TEXTS.map(lambda text: text or "x")
PLACES = SOMETHING.map(lambda text: f"{text}:3")
# What a recording can hold: no half of a character.
VALUES = TEXTS.map(lambda text: text.encode("utf-8", "replace").decode())


OUTCOMES: list[Outcome] = ["matched", "diverged", "flaky", "tampered", "refused", "died"]
CAUSES: list[Cause] = ["output", "effect", "spec", "error", "step"]
KINDS: list[Kind] = ["changed", "added", "removed"]


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    """Give a judgement all of whose texts are hostile."""
    verdict = draw(st.sampled_from(OUTCOMES))
    divergence = None
    if verdict in ("diverged", "flaky"):
        cause, kind = draw(st.sampled_from(CAUSES)), draw(st.sampled_from(KINDS))
        location = draw(st.none() | PLACES)
        divergence = Divergence(
            cause, draw(VALUES), 0, draw(VALUES), draw(VALUES), {draw(VALUES): [draw(VALUES)]}, location, kind
        )
    differences = (
        Difference(draw(VALUES), "changed", draw(VALUES), draw(VALUES)),
        Difference(draw(VALUES), "added", None, draw(VALUES)),
    )
    return Judgement(
        run_id=draw(TEXTS),
        path=draw(SOMETHING),
        verdict=verdict,
        code=code_of(verdict),
        kind=kind_of(divergence) if divergence else None,
        spec_id=draw(st.none() | TEXTS),
        spec_source=draw(TEXTS),
        divergence=divergence,
        differences=differences if divergence else (),
        failure=draw(st.none() | st.builds(Failure, TEXTS, TEXTS, st.lists(st.tuples(PLACES, SOMETHING), max_size=2))),
        problem=draw(st.none() | TEXTS),
        hint=draw(st.none() | TEXTS),
        notes=(draw(TEXTS),),
        steps=(StepMark(draw(VALUES), 0, "diverged", 1, 2, draw(st.none() | VALUES)), StepMark("b", 1, "compared")),
    )


@st.composite
def gates(draw: st.DrawFn) -> tuple[Summary, list[Judgement]]:
    """Give what a gate found, beside some recordings too."""
    found = draw(st.lists(judgements(), max_size=3))
    code, path = draw(st.sampled_from([1, 3, 4])), draw(st.none() | SOMETHING)
    finding = Finding("missing", draw(SOMETHING), draw(TEXTS), code, path)
    summary = summary_of(found, findings=[finding], warnings=(draw(SOMETHING),), version="1")
    return summary, found


class Shape(HTMLParser):
    """The elements and attributes of a page, without what they say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.scripts += tag == "script"

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data}")


Gate = tuple[Summary, list[Judgement]]


@given(gates())
def test_junit_stays_a_document_with_one_case_per_recording(gate: Gate) -> None:
    root = ET.fromstring(junit_xml(*gate).encode("utf-8"))  # noqa: S314  our own text
    assert {element.tag for element in root.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "system-out", "system-err",
    }  # fmt: skip
    assert [len(suite.findall("testcase")) for suite in root] == [len(gate[1]), 1]


@given(gates())
def test_annotations_stay_one_line_each(gate: Gate) -> None:
    summary, found = gate
    lines = list(annotation_lines(summary, found))
    assert len(lines) == 2 + sum(judgement.code > 0 for judgement in found)
    for line in lines:
        assert line.splitlines() == [line]
        assert line.startswith(("::error ", "::warning "))
        assert line.isprintable() or "\t" in line or not line.isascii()
        line.encode("utf-8")
        # Of properties nothing is left that could end them before the second pair of colons.
        properties = line.split(" ", 1)[1].split("::", 1)[0].split(",")
        assert [said.partition("=")[0] for said in properties] in (["title"], ["file", "line", "title"])


@given(gates())
def test_summary_of_a_step_has_no_markup_but_ours(gate: Gate) -> None:
    text = step_summary(*gate)
    text.encode("utf-8")

    shape = Shape(text)
    assert shape.tags <= {"details", "summary", "code"}
    assert not shape.attributes
    begins = ("## ", "- ", "|", "<details>", "</details>", "<code>")
    for line in text.splitlines():
        assert line == "" or line.startswith(begins) or "exit code" in line
        if line.startswith("|"):
            assert line.count("|") in (3, 5)


@given(gates(), st.sampled_from(["", "sub/"]))
def test_sarif_stays_valid(gate: Gate, prefix: str) -> None:
    jsonschema.validate(json.loads(sarif_log(*gate, prefix=prefix)), SCHEMA)


OURS = (
    "html head meta title link style body a header div span p h1 h2 svg rect path ul li strong code main button i b "
    "label input details summary section table caption colgroup col thead tbody tr th td del ins em ol footer kbd "
    "script"
)


@given(gates())
def test_page_has_no_element_that_is_not_ours(gate: Gate) -> None:
    text = html_page(*gate)
    text.encode("utf-8")
    shape = Shape(text)
    assert shape.tags <= set(OURS.split(" "))
    assert shape.scripts == 1
    assert not {name for name in shape.attributes if name.startswith("on") or name in ("style", "src", "srcdoc")}
    assert not {char for char in text if char in "\x00\x1b\x7f\x9b\u2028\u202e\u2066\r"}
