"""A line of a golden file as text: every type of event, values cut where nobody reads on, nothing a terminal obeys."""

import json
from pathlib import Path

import msgspec
import pytest

from cli.readable import MAX_COLUMNS, MAX_LINES, readable_line
from cli.render import safe
from golden.store import GoldenFile
from tests import runs


def shown(line: bytes | str) -> list[str]:
    return list(readable_line(1, line.encode() if isinstance(line, str) else line))


@pytest.mark.parametrize("path", sorted((runs.FIXTURES / "recordings").rglob("*.jsonl*")), ids=lambda path: path.name)
def test_every_line_of_every_fixture_can_be_shown(path: Path) -> None:
    for line in path.read_bytes().split(b"\n"):
        for text in shown(line):
            assert text == safe(text)


def test_of_each_type_the_first_line_says_which(run: GoldenFile) -> None:
    lines = [shown(line) for line in run.path.read_bytes().splitlines()]
    assert [line[0].split(" ")[0] for line in lines] == ["run", "effect", "step", "step", "end"]
    assert all(text.startswith("  ") for line in lines for text in line[1:])
    seal = [shown(line)[0].split()[0] for line in run.seal_path.read_bytes().splitlines()]
    assert seal == ["seal", "signed"]


def test_a_text_of_many_lines_is_shown_over_as_many() -> None:
    text = json.dumps({"text": "a\nb\\n\\\nc\n"}, separators=(",", ":"))
    assert shown(text)[1:] == ["    {", '      "text": "a\\n', "    b\\\\n\\\\\\n", '    c\\n"', "    }"]


def test_what_nobody_reads_is_counted_and_left_out() -> None:
    many = shown(msgspec.json.encode(list(range(MAX_LINES))))
    assert len(many) == MAX_LINES + 2
    assert many[-1] == "    … 2 lines more"
    (_, long) = shown(msgspec.json.encode("x" * MAX_COLUMNS))
    assert long.endswith(f"x… of {MAX_COLUMNS + 2} characters")


@pytest.mark.parametrize("line", ["", "null", "[" * 5000, "\x1b[31m\u202e", '{"event_type":"step"}', "{"])
def test_no_line_is_refused_or_obeyed(line: str) -> None:
    first, *rest = shown(line)
    assert first == "line 1 is no event of golden/v1, not verified"
    assert all(text == safe(text) for text in rest)
