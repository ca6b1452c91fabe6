"""Reference: `${step.path}` and `${inputs.name}` inside a step's inputs, parsed once and resolved at run time.

Knows text and values, not where the values come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from golden.canonical import pointer
from golden.errors import FormatError

RUN_INPUTS = "inputs"
_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Reference:
    """One `${root.path}`: `root` is a step id or `inputs`, `path` the member names and list positions below it."""

    __slots__ = ("path", "root", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.root, *self.path = text.split(".")
        if not _NAME.match(self.root) or not all(self.path) or (self.root == RUN_INPUTS and not self.path):
            raise FormatError(f"${{{text}}} is no reference", hint="write ${step}, ${step.path.0} or ${inputs.name}")

    def resolve(self, value: Any) -> Any:
        """Return the part of the root's `value` that is meant; raises LookupError naming what is not there."""
        for n, part in enumerate(self.path):
            try:
                value = value[int(part)] if isinstance(value, list) and part.isdecimal() else _member(value, part)
            except (KeyError, IndexError, ValueError):
                place = pointer(self.path[: n + 1])
                raise LookupError(f'${{{self.text}}}: "{self.root}" has nothing at "{place}"') from None
        return value


class Template:
    """A step's `inputs` with the references in it; raises FormatError, with the place, for a malformed one."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.references: list[Reference] = []
        self._fixed = True
        for path, text in _texts(document, ()):
            try:
                pieces = list(_pieces(text))
            except FormatError as error:
                raise FormatError(f"{error.problem} at {pointer(path)}", hint=error.hint) from None
            self.references += [piece for piece in pieces if isinstance(piece, Reference)]
            self._fixed = self._fixed and pieces in ([text], [])

    @property
    def roots(self) -> set[str]:
        """The step ids (and `inputs`) that are referred to."""
        return {reference.root for reference in self.references}

    @property
    def fixed(self) -> bool:
        """Whether the inputs are the same for every run: no reference, nothing escaped."""
        return self._fixed

    def resolve(self, value_of: Callable[[str], Any]) -> Any:
        """Return the inputs with every reference replaced; `value_of` gives the value of a root.

        A text that is exactly one reference takes the value with its type; inside other text only text, integers,
        booleans and null can stand. Raises LookupError or TypeError, saying which reference.
        """
        return _fill(self.document, value_of)


def parse_single(text: str) -> Reference:
    """Return the reference that `text` exactly is; raises FormatError."""
    match list(_pieces(text)):
        case [Reference() as reference]:
            return reference
    raise FormatError(f'"{text}" is not exactly one reference', hint="write ${step} or ${step.path}")


def _member(value: Any, part: str) -> Any:
    if not isinstance(value, dict):
        raise KeyError(part)
    return value[part]


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _texts(child, (*path, key))
    elif isinstance(value, list):
        for n, child in enumerate(value):
            yield from _texts(child, (*path, n))


def _pieces(text: str) -> Iterator[str | Reference]:
    position = 0
    for token in _TOKEN.finditer(text):
        if token.start() > position:
            yield text[position : token.start()]
        if token.group() == "$${":
            yield "${"
        elif token.group(1) is None:
            raise FormatError(f'"{token.group()}" begins a reference that never ends', hint="write $${ for a literal")
        else:
            yield Reference(token.group(1))
        position = token.end()
    if position < len(text):
        yield text[position:]


def _fill(value: Any, value_of: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value
        pieces = list(_pieces(value))
        if len(pieces) == 1 and isinstance(pieces[0], Reference):
            return pieces[0].resolve(value_of(pieces[0].root))
        return "".join(piece if isinstance(piece, str) else _as_text(piece, value_of) for piece in pieces)
    if isinstance(value, dict):
        return {key: _fill(child, value_of) for key, child in value.items()}
    if isinstance(value, list):
        return [_fill(child, value_of) for child in value]
    return value


def _as_text(reference: Reference, value_of: Callable[[str], Any]) -> str:
    value = reference.resolve(value_of(reference.root))
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"${{{reference.text}}} is a {type(value).__name__}, which cannot stand inside text")
