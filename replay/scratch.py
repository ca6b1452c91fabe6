"""Scratch: the files that commands name: told by their hashes, and copied to where a replay runs a command.

A replay touches no file of the user's: it reads those that are declared, and writes into folders of its own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from golden.errors import StoreError
from replay.child import CommandError

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

# What is said of a file: {"bytes": …, "sha256": …}.
Digest = dict[str, Any]
_BLOCK = 1 << 20


class MissingInputError(StoreError):
    """A file that a recorded command read is not there, so that the command cannot be run again."""


def check_path(path: str) -> None:
    """Raise CommandError where `path` could lie elsewhere than below the folder of the command."""
    parts = path.split("/")
    if "\0" in path or not {"", ".", ".."}.isdisjoint(parts):
        message = f"file {path!r} is not a plain path below the working directory, without `..`"
        raise CommandError("invalid inputs", message, retryable=False)


def digest(file: Path, copy: IO[bytes] | None = None) -> Digest | None:
    """Return size and hash of a file, None where there is none; `copy` is given what was hashed.

    Raises:
        CommandError: it is no regular file, or cannot be read.
    """
    try:
        # Not blocking: a FIFO would wait for somebody to write.
        number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CommandError("unreadable file", f"{file.name} cannot be read: {error.strerror}") from None
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise CommandError("unreadable file", f"{file.name} is no regular file", retryable=False)
    with os.fdopen(number, "rb", buffering=0) as source:
        sha256, size = hashlib.sha256(), 0
        while block := source.read(_BLOCK):
            sha256.update(block)
            size += len(block)
            if copy is not None:
                copy.write(block)
        if copy is not None:
            # A script is copied as one.
            os.fchmod(copy.fileno(), stat.S_IMODE(mode) & 0o777 | 0o600)
    return {"bytes": size, "sha256": sha256.hexdigest()}


class Scratch:
    """Where the commands of one replay run: a new folder for each attempt, all of them gone in the end.

    What a command was to write is kept for those after it, as it would be in the working directory.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self._root: TemporaryDirectory[str] | None = None
        self._kept: dict[str, Path] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._root is not None:
            self._root.cleanup()

    def enter(
        self, inputs: Iterable[str], outputs: Iterable[str], recorded: Mapping[str, Digest]
    ) -> tuple[str, Digest, Digest] | None:
        """Make a new folder with copies of `inputs`.

        Returns:
            The first that is not as it was `recorded`: its path, what it was, what it is; None where all are.

        Raises:
            MissingInputError: one is not there any more, or cannot be copied.
        """
        self.folder = self._new()
        for path in outputs:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        for path in inputs:
            # What was not there when it was recorded ended the step, and will again.
            if path not in recorded:
                continue
            try:
                found = self._copy(path)
            except (CommandError, OSError) as error:
                raise MissingInputError(
                    f"input file {path} cannot be copied: {error}", hint="make it what it was when it was recorded"
                ) from None
            if found is None:
                raise MissingInputError(
                    f"input file {path} is missing", hint=f"put it back, with the hash {recorded[path].get('sha256')}"
                )
            if found != recorded[path]:
                return path, recorded[path], found
        return None

    def _copy(self, path: str) -> Digest | None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy:
            return digest(self._kept.get(path, Path(path)), copy)

    def keep(self, outputs: Iterable[str]) -> None:
        """Keep what a command was to write, where it has written it: a link may lead to what is the user's own."""
        self._kept |= {path: self.folder / path for path in outputs if (self.folder / path).exists()}

    def _new(self) -> Path:
        # Slow, and needed only where a command is run again.
        from tempfile import TemporaryDirectory

        if self._root is None:
            self._root = TemporaryDirectory(prefix="golden-replay-", ignore_cleanup_errors=True)
        self._count += 1
        folder = Path(self._root.name) / str(self._count)
        folder.mkdir()
        return folder
