"""Command: the built-in skill `exec.run`: any program as a step, its output and the hashes of its files recorded.

Whether a recording may have one run is `permission`'s business; how a program runs and ends is `child`'s.
"""

from __future__ import annotations

import base64
import codecs
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from golden.canonical import decode
from golden.event import EffectData
from replay.child import Child, CommandError, Stream
from replay.context import Context
from replay.scratch import Digest, Scratch, check_path, digest
from replay.skill import SkillRegistry

SKILL = "exec.run"
# The id of a spec that stands in no file: `golden record -- COMMAND` made it.
ONE_COMMAND = "command"
# Where programs are, whose configuration they read, and how they write text and times.
USUAL = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
MAX_OUTPUT = 10 << 20
# Of a stream that is not kept whole.
HEAD = 1 << 16
_FILES = "input files"
_Text = Annotated[str, Meta(pattern=r"\A[^\0]*\Z")]
_Name = Annotated[str, Meta(pattern=r"\A[^\0=]+\Z")]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inputs of a step that runs a command."""

    argv: Annotated[list[_Text], Meta(min_length=1)]
    stdin: str | None = None
    env: tuple[_Name, ...] = USUAL
    inputs: list[str] = []
    outputs: list[str] = []
    max_output: Annotated[int, Meta(ge=0, le=1 << 40)] = MAX_OUTPUT
    check: bool = True


def asked_of(inputs: bytes | dict[str, Any]) -> Asked:
    """Return what the inputs of a step ask for; raises CommandError where they are not those of a command."""
    try:
        asked = msgspec.convert(decode(inputs) if isinstance(inputs, bytes) else inputs, Asked)
    except msgspec.ValidationError as error:
        raise CommandError("invalid inputs", f"{SKILL}: {error}", retryable=False) from None
    for path in (*asked.inputs, *asked.outputs):
        check_path(path)
    for name in asked.env:
        if name.startswith("GOLDEN_"):
            raise CommandError("invalid inputs", f"the variable {name} is handed to no command", retryable=False)
    return asked


class Commands:
    """Runs the commands of one run: in the working directory, or in `scratch`; `environ` is all they may be given."""

    def __init__(self, environ: Mapping[str, str], scratch: Scratch | None = None) -> None:
        self._environ = environ
        self._scratch = scratch

    def run(self, ctx: Context) -> dict[str, Any]:
        """Run the command that the step's inputs name; return its exit code, its output, and what its files were.

        Raises:
            CommandError: it could not be run, or did not do what it was to.
        """
        asked = asked_of(ctx.inputs)
        folder = self._scratch.folder if self._scratch else Path.cwd()
        read = {path: _digest_of(folder / path) for path in asked.inputs}
        # What stands in files is told by the world; of a run that was killed in between it may be another by now.
        if read and ctx.external(_FILES, lambda _: read, asked.inputs) != read:
            raise CommandError("input changed", "an input file is not what it was when the step began")
        environment = {name: self._environ[name] for name in asked.env if name in self._environ}
        given = None if asked.stdin is None else asked.stdin.encode()
        child = Child(asked.argv, environment, folder, given, asked.max_output)
        code = child.run()
        written = {path: digest(folder / path) for path in asked.outputs}
        if asked.check:
            _refuse_failed(code, child, written)
        if self._scratch:
            self._scratch.keep(asked.outputs)
        return {
            "exit_code": code,
            "inputs": read,
            "outputs": written,
            "stderr": _told(child.stderr),
            "stdout": _told(child.stdout),
        }


def with_commands(registry: SkillRegistry, environ: Mapping[str, str], scratch: Scratch | None = None) -> SkillRegistry:
    """Return the skills of `registry`, and `exec.run` where it has none of that id."""
    found = SkillRegistry()
    found.skill(SKILL)(Commands(environ, scratch).run)
    found.update(registry)
    return found


def one_command(
    argv: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], env: Sequence[str]
) -> dict[str, Any]:
    """Return the document of a spec whose one step is that command.

    Its failure is what is recorded, and does not fail the step: else a replay could compare nothing that it wrote.
    """
    asked: dict[str, Any] = {"argv": list(argv), "check": False}
    asked |= {name: list(value) for name, value in (("inputs", inputs), ("outputs", outputs)) if value}
    asked |= {"env": [*USUAL, *env]} if env else {}
    return {"id": ONE_COMMAND, "steps": [{"id": "command", "skill_id": SKILL, "inputs": asked}]}


def files_among(argv: Sequence[str]) -> list[str]:
    """Return the words of a command that are files below the working directory: a replay needs them."""
    found = []
    for number, word in enumerate(argv):
        # A program without a slash is looked for on the PATH.
        if (number == 0 and "/" not in word) or ".." in word.split("/") or not Path(word).is_file():
            continue
        name = os.path.normpath(word)
        with suppress(CommandError):
            check_path(name)
            found.append(name)
    return found


def recorded_files(effects: Iterable[EffectData], attempt: int) -> dict[str, Digest]:
    """Return what the input files of an attempt were, as its effects say."""
    for effect in effects:
        if effect.name == _FILES and effect.attempt == attempt and not effect.error:
            with suppress(msgspec.ValidationError):
                return msgspec.convert(decode(effect.result), dict[str, dict[str, Any]])
    return {}


def why_failed(output: Any) -> str:
    """Return how a command ended, and the last line that it wrote, from its step's output."""
    texts = [text for text in (output["stderr"], output["stdout"]) if isinstance(text, str)]
    return ": ".join([how_ended(output["exit_code"]), *_last_line("\n".join(reversed(texts)))])


def how_ended(code: int) -> str:
    """Return how a command ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _digest_of(file: Path) -> Digest:
    found = digest(file)
    if found is None:
        raise CommandError("missing input", f"input file {file.name} is missing", retryable=False)
    return found


def _refuse_failed(code: int, child: Child, written: Mapping[str, Digest | None]) -> None:
    if code:
        said = _last_line((child.stderr.tail or child.stdout.tail).decode("utf-8", "replace"))
        raise CommandError(how_ended(code), ": ".join([how_ended(code), *said]))
    for path, found in written.items():
        if found is None:
            raise CommandError("missing output", f"output file {path} was not written")


def _last_line(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()][-1:]


def _told(stream: Stream) -> Any:
    """Return what was written as text, else as base64; where it is long, its size, its hash and how it begins."""
    data = bytes(stream.start)
    if stream.bytes == len(data):
        return _as_text(data, whole=True)
    return {"bytes": stream.bytes, "head": _as_text(data[:HEAD], whole=False), "sha256": stream.sha256}


def _as_text(data: bytes, *, whole: bool) -> Any:
    try:
        # A character that the end of a head cuts in two is left out.
        return codecs.getincrementaldecoder("utf-8")().decode(data, whole)
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
