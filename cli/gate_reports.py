"""Gate reports: the options that name them, and writing what `replay.report` makes of a gate's judgements."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click
from msgspec.structs import replace

from cli.render import Out
from cli.settings import Settings
from golden.errors import UsageError
from replay.judgement import Judgement, Summary

_OURS = (".jsonl", ".sig", ".lock", ".sqlite", ".toml", ".py")
_FILES = {
    "junit": ("junit", "junit_xml"),
    "html": ("html", "html_page"),
    "sarif": ("sarif", "sarif_log"),
}


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in (
        click.option("--github", is_flag=True, help="Annotations for GitHub on stdout, and a summary of the job."),
        click.option("--sarif", metavar="FILE", help="Write a SARIF 2.1.0 log."),
        click.option("--html", metavar="FILE", help="Write one page to look at, which asks for nothing else."),
        click.option("--junit", metavar="FILE", help="Write JUnit XML."),
    ):
        function = option(function)
    return function


class Reports:
    """The reports that were asked for; a place that cannot be written to is refused before anything is judged."""

    OPTIONS = ("junit", "html", "sarif", "github")

    def __init__(
        self,
        settings: Settings,
        out: Out,
        *,
        junit: str | None,
        html: str | None,
        sarif: str | None,
        github: bool,
    ) -> None:
        asked = {"junit": junit, "html": html, "sarif": sarif}
        self._out = out
        # Whatever the code of a run does to where we are.
        self._places = {name: os.path.abspath(place) for name, place in asked.items() if place is not None}
        if len(set(self._places.values())) < len(self._places):
            raise UsageError("two reports would be written to one file", hint="give each a name of its own")
        self._github = github
        self._summary = settings.environ.get("GITHUB_STEP_SUMMARY") if github else None
        for place in [*self._places.values(), *([self._summary] if self._summary else [])]:
            _try(place)
        for place in self._places.values():
            # What an earlier gate said is no report of this one, however this one ends.
            if os.path.isfile(place):
                _write(place, "", "w")
        self.wants_timeline = html is not None
        self._prefix = _below_repository(settings.environ.get("GITHUB_WORKSPACE"))

    @contextmanager
    def plain_output(self) -> Iterator[None]:
        """Let GitHub obey nothing of what is written meanwhile, which recordings and their code have a say in."""
        if not self._github:
            yield
            return
        # Slow, and only for GitHub.
        import secrets

        token = secrets.token_hex(16)
        self._command(f"::stop-commands::{token}")
        try:
            yield
        finally:
            self._command(f"::{token}::")

    def _command(self, line: str) -> None:
        # To stdout, where the runner reads them; machines that read --json have that for themselves.
        (self._out.talk if self._out.json else self._out.answer)(line)

    def kept(self, judgement: Judgement) -> Judgement:
        """Return as much of a judgement as some report needs."""
        if self._places or self._github:
            return judgement
        return replace(judgement, steps=(), differences=(), divergence=None, failure=None)

    def write(self, summary: Summary, judgements: Sequence[Judgement]) -> None:
        """Write them all; raises UsageError."""
        for name, place in self._places.items():
            module, function = _FILES[name]
            # Each is for those who ask for it.
            make = getattr(import_module(f"replay.report.{module}"), function)
            text = make(summary, judgements, prefix=self._prefix) if name == "sarif" else make(summary, judgements)
            _write(place, text, "w")
        if self._github:
            annotations = import_module("replay.report.annotations")
            for line in annotations.annotation_lines(summary, judgements, prefix=self._prefix):
                self._command(line)
            if self._summary:
                _write(self._summary, annotations.step_summary(summary, judgements), "a")


def _below_repository(workspace: str | None) -> str:
    """Return where we are below the root of the repository, as reports name files from there: "", or `a/b/`."""
    folder = os.getcwd()
    root = workspace
    above = folder
    while root is None and above != os.path.dirname(above):
        root = above if os.path.lexists(os.path.join(above, ".git")) else None
        above = os.path.dirname(above)
    relative = os.path.relpath(folder, root) if root else "."
    return "" if relative == "." or relative.startswith("..") else f"{relative}/"


def _try(place: str) -> None:
    if place.endswith(_OURS):
        raise UsageError(f"a report would replace {place}", hint="name another file, such as report.xml")
    try:
        with open(place, "ab"):
            pass
    except OSError as error:
        raise _refused(place, error) from None


def _write(place: str, text: str, mode: str) -> None:
    try:
        with open(place, mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _refused(place, error) from None


def _refused(place: str, error: OSError) -> UsageError:
    return UsageError(f"the report {place} cannot be written: {error.strerror}", hint="name another place for it")
