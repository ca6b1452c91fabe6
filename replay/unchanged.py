"""Unchanged: what a recording's last match hung on, so that it need not be replayed while all of it is the same.

For whoever judges the same recordings again and again where they work; what nobody can see of a run (whether a file is
there, what the clock says) it cannot know, so a build that decides something does without.
"""

from __future__ import annotations

import hashlib
import os
import platform
import site
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import msgspec

from golden.canonical import canonical_bytes, sha256_hex
from golden.recording import Recording
from golden.version import VERSION
from replay.frames import owner, package_of
from replay.hearing import EVENTS
from replay.judgement import Judgement
from replay.spec import Spec

_READS = os.O_WRONLY | os.O_RDWR
# After any of these but `open` a run has asked for more than files that could be compared, or has done something.
_HEARD = frozenset(
    {*EVENTS, "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
)


class Match(msgspec.Struct, frozen=True):
    """A match, and what it hung on: the golden file, the spec, the surroundings, and the files that were read."""

    golden: str
    spec_hash: str
    around: str
    files: dict[str, str]
    spec_source: str
    steps_recorded: int
    steps_compared: int
    steps_answered: int
    notes: tuple[str, ...]
    idle: tuple[str, ...]


class Unchanged:
    """Knows earlier matches, by the path of the golden file, and notices what a new one hangs on.

    Args:
        known: earlier matches.
        about: what else the answer depends on, as JSON values: options, configured modules.
    """

    def __init__(self, known: Mapping[str, Match], about: Any) -> None:
        self._known = known
        self._around = surroundings(about)
        self._hashes: dict[str, str] = {}
        self._began = time.time_ns()
        self._files: set[str] = set()
        self._beyond = False
        self._always_beyond = False
        self._watching = False
        self._listens = False

    def recalled(self, recording: Recording, spec: Spec | None, path: str) -> Judgement | None:
        """Return the judgement on a recording that matched before and nothing of which has changed, else None."""
        found = self._known.get(path)
        if (
            found is None
            or (found.golden, found.around) != (recording.statement.sha256, self._around)
            or found.spec_hash != (_spec_hash(recording, spec))
            or any(self._hash(file) != digest for file, digest in found.files.items())
        ):
            return None
        return Judgement(
            run_id=recording.run_id,
            path=path,
            verdict="matched",
            code=0,
            spec_id=recording.start.spec_id,
            spec_source=found.spec_source,
            steps_recorded=found.steps_recorded,
            steps_compared=found.steps_compared,
            steps_answered=found.steps_answered,
            notes=found.notes,
            idle=found.idle,
            cached=True,
        )

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Notice meanwhile what the code of a run reads."""
        if not self._listens:
            # For as long as the process lasts.
            sys.addaudithook(self._hear)
            self._listens = True
        self._beyond = self._always_beyond
        self._watching = True
        try:
            yield
        finally:
            self._watching = False

    def match(self, recording: Recording, spec: Spec | None, judgement: Judgement) -> Match | None:
        """Return what a judgement just made hung on, None where it may be another with all of that the same."""
        if judgement.verdict != "matched" or self._beyond:
            return None
        files = {file: self._hash(file) for file in sorted(self._files.union(_loaded()))}
        if any(digest and self._is_new(file) for file, digest in files.items()):
            return None
        return Match(
            golden=recording.statement.sha256,
            spec_hash=_spec_hash(recording, spec),
            around=self._around,
            files=files,
            spec_source=judgement.spec_source,
            steps_recorded=judgement.steps_recorded,
            steps_compared=judgement.steps_compared,
            steps_answered=judgement.steps_answered,
            notes=judgement.notes,
            idle=judgement.idle,
        )

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._watching or event not in _HEARD:
            return
        # To ask who called is an event, too.
        caller = sys._getframe(1)  # noqa: SLF001  the one way
        if event == "open":
            self._opened(caller, args[0], args[2])
        elif not _imports(caller):
            self._went_beyond(caller)

    def _opened(self, caller: FrameType, opened: Any, flags: int) -> None:
        if isinstance(opened, int) or owner(path := os.fsdecode(opened)) != "user":
            return
        if _imports(caller) and (flags & _READS or path.endswith(".pyc")):
            # Bytecode is made of what is compared. Modules read their data in the same way as their code.
            return
        if flags & _READS:
            self._went_beyond(caller)
        else:
            # For good: what one run has read, a later one in this process may have in memory.
            self._files.add(os.path.abspath(path))  # noqa: PTH100  plain text, for many files

    def _went_beyond(self, caller: FrameType) -> None:
        self._beyond = True
        # So it is with what a module of the user's asked for when it was imported, which happens in one run alone.
        self._always_beyond = self._always_beyond or _is_import_of_theirs(caller)

    def _hash(self, path: str) -> str:
        """Return the hash of a file's bytes; nothing for one that cannot be read, which is an answer as well."""
        if path not in self._hashes:
            try:
                with open(path, "rb") as file:  # noqa: PTH123  as above
                    self._hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                self._hashes[path] = ""
        return self._hashes[path]

    def _is_new(self, path: str) -> bool:
        """Whether a file was written since we began: what was read of it may be what it was before."""
        return os.stat(path).st_mtime_ns >= self._began  # noqa: PTH116  as above


def _spec_hash(recording: Recording, spec: Spec | None) -> str:
    return spec.hash if spec else recording.start.spec_hash or ""


def _imports(frame: FrameType) -> bool:
    """Whether the interpreter looks for modules there: those that it finds, and what is installed, is compared."""
    return package_of(frame.f_code.co_filename) == "importlib"


def _is_import_of_theirs(caller: FrameType) -> bool:
    frame: FrameType | None = caller
    while frame is not None and owner(frame.f_code.co_filename) == "stdlib":
        frame = frame.f_back
    if frame is None or owner(frame.f_code.co_filename) != "user":
        return False
    while frame is not None and not _imports(frame):
        frame = frame.f_back
    return frame is not None


def surroundings(about: Any) -> str:
    """Return a hash of what every run here depends on: this program, Python, the machine, what is installed."""
    return sha256_hex(
        canonical_bytes([VERSION, sys.version, platform.platform(), sorted(_installed()), sys.path, about])
    )


def _installed() -> Iterator[str]:
    """Give the names of what is installed, with their versions, as folders have them."""
    for folder in {*site.getsitepackages(), site.getusersitepackages(), *sys.path}:
        try:
            yield from (name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info", ".pth")))  # noqa: PTH208
        except OSError:
            continue


def _loaded() -> Iterable[str]:
    """Give the files of the user's modules."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and owner(file) == "user" and not file.endswith(".pyc"):
            yield os.path.abspath(file)  # noqa: PTH100  as above
