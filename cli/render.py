"""Render: the only writer of words about results: lines for people, objects for machines, two sentences for errors.

Knows how things are said, not how they came about.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click
import msgspec

from cli.settings import colour_wanted, columns
from golden.spelling import LINE_ENDS, TURNS, spelt_out

_encode = msgspec.json.Encoder().encode
# As many things are done before anybody wonders.
LONG = 200
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *TURNS, *LINE_ENDS)}


def safe(text: str) -> str:
    """Return `text` as it may reach a terminal: control and direction characters, line ends too, are spelt out."""
    return spelt_out(text)


def json_safe(text: str) -> str:
    """Return JSON text with the same value and nothing that a terminal would act on."""
    return text.translate(_JSON_ESCAPES)


def _encoded(value: Any) -> str:
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        # A file name that is no UTF-8: its odd bytes are spelt out.
        return _encode(_spelt_out(value)).decode()


def _spelt_out(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_spelt_out(key): _spelt_out(child) for key, child in value.items()}
    return [_spelt_out(child) for child in value] if isinstance(value, list) else value


def shown(value: Any, indent: int = 14) -> str:
    """Return a JSON value on one line, cut where the line ends if it begins after `indent` characters."""
    return cut(safe(_encode(value).decode()), indent)


def cut(text: str, indent: int) -> str:
    """Return `text` cut where the line ends if it begins after `indent` characters."""
    limit = max(columns() - indent, 20)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the cells of a table, each as wide as the widest of its column; to be coloured after that."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def error_lines(problem: str, hint: str | None, failure: Any = None) -> Iterator[str]:
    """Give the lines of an error: what is so, the user's own frames if any, what to do next."""
    red = click.style("golden:", fg="red", bold=True) if colour_wanted(sys.stderr.isatty()) else "golden:"
    yield f"{red} {safe(problem)}"
    if failure is not None:
        yield from failure_lines(failure)
    if hint:
        yield f"hint: {safe(hint)}"


def failure_lines(failure: Any) -> Iterator[str]:
    """Give type and message of an exception of the user's code, then its frames."""
    yield f"  {safe(failure.type)}: {safe(failure.message)}"
    for place, name, times in failure.stack:
        yield f"    at {safe(place)} in {safe(name)}" + (f", {times} times" if times > 1 else "")


class Out:
    """Where a command's words go: the answer to stdout, the talk to stderr, one object per line with `json`."""

    def __init__(self, *, command: str, json: bool, quiet: bool, verbose: bool) -> None:
        self.command = command
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.colour = colour_wanted(sys.stdout.isatty())
        self._colour_err = colour_wanted(sys.stderr.isatty())
        self._stream: IO[str] | None = None
        self._flats = False

    def keep_to_itself(self) -> None:
        """Take stdout away from everybody else in this process: what user code prints goes to stderr from now on."""
        sys.stdout.flush()
        self._stream = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        os.dup2(2, 1)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give stdout back meanwhile, to somebody who talks with the user."""
        sys.stdout.flush()
        if self._stream is not None:
            self._stream.flush()
            os.dup2(self._stream.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            if self._stream is not None:
                os.dup2(2, 1)

    def answer(self, text: str) -> None:
        """Write a line of the answer for people; nothing with `json`."""
        if not self.json:
            self._write(text)

    def brief(self, good: str, name: str, more: str) -> None:
        """Write a line like thousands of others: that `name` is well. Without colour it costs next to nothing."""
        if self.colour:
            self.answer(f"{mark(good=True)} {bold(safe(name))}  {good}" + dim(f"  {more}"))
        elif not self.json:
            self._flat(f"✓ {safe(name)}  {good}  {more}\n")

    def talk(self, text: str) -> None:
        """Write a line beside the answer, for people; nothing with `quiet`, nor where nobody can hear it."""
        if self.quiet:
            return
        try:
            if self._flats:
                self._flats = False
                (self._stream or sys.stdout).flush()
            click.echo(text, err=True, color=self._colour_err)
        except (OSError, ValueError, AttributeError):
            # Closed, full, or a reader that left: no reason to stop a run.
            self.quiet = True

    def detail(self, text: str) -> None:
        """Write a line beside the answer that only `verbose` asks for."""
        if self.verbose:
            self.talk(dim(text))

    def record(self, schema: str, **members: Any) -> None:
        """Write one object of the answer for machines."""
        if self.json:
            found = {"schema": f"golden.{schema}/1", **msgspec.to_builtins(members)}
            self._write(json_safe(_encoded(found)))

    def raw(self, line: bytes, *, checked: bool) -> None:
        """Write a stored line that is an event as an object of the answer, its own members kept as they stand."""
        if self.json:
            mark = "" if checked else '"unverified":true,'
            self._write(json_safe(f'{{"schema":"golden.{self.command}/1",{mark}{line[1:].decode()}'))

    def _flat(self, line: str) -> None:
        stream = self._stream or sys.stdout
        try:
            stream.write(line)
            self._flats = True
        except UnicodeEncodeError:
            self._write(line.removesuffix("\n"))

    def _write(self, text: str) -> None:
        try:
            click.echo(text, file=self._stream, color=self.colour)
        except OSError:
            if self._stream is not None:
                # What is still buffered would be written, and fail again, at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise

    def summary(self, checked: int, by: dict[str, int], exit_code: int, **members: Any) -> None:
        """Write the last object of an answer over several recordings."""
        self.record("summary", command=self.command, checked=checked, by=by, exit_code=exit_code, **members)


@contextmanager
def progress(out: Out, what: str, total: int) -> Iterator[Callable[[], None]]:
    """Give a function to call after each of `total` things; at a terminal a bar shows rate and time left."""
    if out.quiet or out.json or total < LONG or not sys.stderr.isatty():
        yield lambda: None
        return
    # 60 ms to import, for whoever watches.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many a second."""

        def render(self, task: Task) -> Text:
            """See `ProgressColumn`."""
            return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

    columns_ = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns_, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def mark(good: bool | None) -> str:
    """Return the sign before a line: good, bad, or neither."""
    if good is None:
        return click.style("•", fg="yellow")
    return click.style("✓", fg="green") if good else click.style("✗", fg="red", bold=True)


def dim(text: str) -> str:
    """Return what matters less."""
    return click.style(text, dim=True)


def bold(text: str) -> str:
    """Return what matters more."""
    return click.style(text, bold=True)


def counted(count: int, noun: str) -> str:
    """Return `1 step`, `2 steps`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
