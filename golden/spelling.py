"""Spelling: text from files with everything spelt out that a terminal, a page or a reader's eye would act on.

Knows no terminal and no page: what may stand beside that, line ends above all, whoever shows it says.
"""

from __future__ import annotations

LINE_ENDS = frozenset({0x2028, 0x2029})
# Marks that turn the direction of text.
TURNS = frozenset({*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C})
# C0, DEL, C1; marks of direction, and ends of lines that are no line feed.
_SPELT = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_SPELT |= {code: f"\\u{code:04x}" for code in (*TURNS, *LINE_ENDS)}
_SPELT_IN_LINES = {code: said for code, said in _SPELT.items() if code not in (0x09, 0x0A)}


def spelt_out(text: str, *, lines: bool = False) -> str:
    """Return `text` with control and direction characters, and halves of characters, spelt out in hexadecimal.

    Line feeds and tabs stay as they are where `lines` are wanted.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_SPELT_IN_LINES if lines else _SPELT).encode("utf-8", "backslashreplace").decode()
