"""Annotations and the summary for GitHub: one line each, nothing that a hostile name could make of them."""

from pathlib import Path

import msgspec
import pytest

from replay.judgement import Judgement
from replay.report.annotations import MAX_SUMMARY, annotation_lines, step_summary
from tests.judgements import LEDGER_GONE, judgements, summary_of


@pytest.fixture
def found(tmp_path: Path) -> list[Judgement]:
    return list(judgements(tmp_path))


def refused(text: str) -> Judgement:
    return Judgement(run_id=text, path=text, verdict="refused", code=4, problem=text, hint=text)


def test_every_recording_that_did_not_pass_is_an_error_at_its_place_the_worst_first(found: list[Judgement]) -> None:
    lines = list(annotation_lines(summary_of(found), found))
    assert len(lines) == 8
    assert [line.partition("::")[2].partition("title=")[2].partition("%3A")[0] for line in lines] == [
        "report-copy",
        "report-fails",
        "report-shaped",
        "report-reworded",
        "report-shaped",
        "report-fails",
        "report-elsewhere",
        "report-respec",
    ]
    assert lines[3].startswith("::error file=tests/judgements.py,line=")


def test_line_holds_place_title_and_everything_there_is_to_say() -> None:
    judgement = Judgement(
        run_id="r-1", path="g/r-1.steps.jsonl", verdict="torn", code=4, event=2, problem="50%", hint="h"
    )
    assert list(annotation_lines(summary_of([judgement]), [judgement])) == [
        "::error file=g/r-1.steps.jsonl,line=3,title=r-1%3A broken off::torn: 50%25%0Ahint: h"
    ]


def test_hostile_text_ends_neither_line_nor_property() -> None:
    text = "a,b:c%0A\r\n::stop-commands::x\u2028\x1b"
    (line,) = annotation_lines(summary_of([refused(text)]), [refused(text)])
    said = "a%2Cb%3Ac%250A\\x0d\\x0a%3A%3Astop-commands%3A%3Ax\\u2028\\x1b"
    assert line.startswith(f"::error file={said},line=1,title={said}%3A could not be replayed::refused: a,b:c%250A")
    assert line.splitlines() == [line]


def test_files_are_named_from_the_repository_and_absolute_ones_left_alone() -> None:
    inside, outside = refused("r-1"), refused("/elsewhere/r-2")
    lines = list(annotation_lines(summary_of([inside, outside]), [inside, outside], prefix="sub/dir/"))
    assert [line.split(",")[0] for line in lines] == ["::error file=sub/dir/r-1", "::error file=/elsewhere/r-2"]


def test_findings_come_first_and_warnings_last() -> None:
    summary = summary_of([refused("r-1")], findings=[LEDGER_GONE], warnings=("beware",))
    first, _, last = annotation_lines(summary, [refused("r-1")])
    assert first.startswith("::error file=goldens,line=1,title=gate%3A missing::")
    assert last == "::warning title=golden gate::beware"


def test_matched_recordings_are_not_annotated(found: list[Judgement]) -> None:
    assert list(annotation_lines(summary_of(found[:1]), found[:1])) == []


def test_summary_of_a_step_shows_verdict_table_and_details(found: list[Judgement]) -> None:
    text = step_summary(summary_of(found, findings=[LEDGER_GONE]), found)
    assert text.startswith("## ‼ golden gate: 2 of 9 recordings are not what was recorded\n")
    assert "| ✗ | <code>report-reworded</code> | report&#58; output differs at /text | <code>tests/judgements" in text
    assert text.count("<details>") == text.count("</details>") == 8


def test_hostile_text_is_no_markup_in_a_summary() -> None:
    text = "a|b`c`<img src=x>[l](http://x)\n# h *b* _i_ ~s~ @u &amp; \\ ![i](j)"
    said = step_summary(summary_of([refused(text)]), [refused(text)])
    for mark in ("|b", "`", "<img", "](", "\n# h", "*b", "_i", "~s", "@u", "&amp;", "\\", "http:"):
        assert mark not in said
    assert "a&#124;b&#96;c&#96;&#60;img src=x&#62;" in said


def test_summary_of_many_recordings_stays_below_what_github_takes(found: list[Judgement]) -> None:
    long = ["|" * 10_000 + str(n) for n in range(3000)]
    many = [msgspec.structs.replace(found[1], run_id=name, notes=(name,) * 9) for name in long]
    text = step_summary(summary_of(many), many)
    assert len(text.encode()) < MAX_SUMMARY
    assert "3,000 of 3,000 recordings did not pass" in text
