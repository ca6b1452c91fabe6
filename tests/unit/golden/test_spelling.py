"""Spelling: what would act on a terminal or a page is told, not done."""

import pytest

from golden.spelling import spelt_out


@pytest.mark.parametrize(
    "text, said",
    [
        ("plain, even °C and 漢字", "plain, even °C and 漢字"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\r\n\tb", r"a\x0d\x0a\x09b"),
        ("\x9b1m\x7f", r"\x9b1m\x7f"),
        ("\u202eevil\u2069", r"\u202eevil\u2069"),
        ("a\u2028b", r"a\u2028b"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_what_would_act_is_spelt_out(text: str, said: str) -> None:
    assert spelt_out(text) == said


def test_lines_and_tabs_stay_where_lines_are_wanted_and_nothing_else_does() -> None:
    assert spelt_out("a\n\tb\r\n\x1b\u2028", lines=True) == "a\n\tb\\x0d\n\\x1b\\u2028"
