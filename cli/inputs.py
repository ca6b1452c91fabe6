"""Inputs: run inputs as options: `--input NAME=VALUE` and `--inputs JSON|@FILE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from golden.canonical import decode
from golden.errors import FormatError, LimitError


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the two options to a command."""
    one = click.option(
        "--input",
        "pairs",
        multiple=True,
        metavar="NAME=VALUE",
        help="A run input; JSON where it parses, else text.",
    )
    whole = click.option("--inputs", "document", metavar="JSON|@FILE", help="All run inputs as one JSON object.")
    return one(whole(function))


def given_inputs(pairs: tuple[str, ...], document: str | None) -> dict[str, Any]:
    """Return the run inputs that were given; raises click.UsageError."""
    inputs = {} if document is None else _document(document)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            # It may be a secret, whose name was forgotten.
            raise click.UsageError("--input takes NAME=VALUE, and was given something else")
        try:
            inputs[name] = _parsed(text.encode())
        except LimitError as error:
            raise click.UsageError(f"--input {name}: {error.problem}") from None
        except (FormatError, UnicodeEncodeError):
            inputs[name] = text
    return inputs


def _document(text: str) -> dict[str, Any]:
    try:
        data = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        found = _parsed(data)
    except OSError as error:
        raise click.UsageError(f"--inputs {text}: {error.strerror}") from None
    except FormatError as error:
        raise click.UsageError(f"--inputs: {error.problem}") from None
    if not isinstance(found, dict):
        raise click.UsageError("--inputs must be a JSON object")
    return found


def _parsed(data: bytes) -> Any:
    value = decode(data)
    if data.lstrip()[:1] in (b"{", b"["):
        # Only where a member can stand twice; msgspec would keep the last one and say nothing.
        import json

        try:
            json.loads(data, object_pairs_hook=_members, parse_int=str, parse_float=str)
        except RecursionError:
            raise LimitError("JSON nested too deep", hint="flatten the value") from None
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f'input member "{name}" stands twice in one object')
    return dict(pairs)
