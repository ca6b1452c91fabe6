"""Replacing: puts a new recording in the place of an older one of the same run, whole or not at all.

Decides nothing about what is recorded; what is replaced must verify first. A replacement that was killed halfway is
completed, or forgotten, by the next one of the same run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from golden.canonical import sha256_hex
from golden.directory import Directory
from golden.errors import FormatError, StoreError
from golden.event import Data, EffectData, StepData
from golden.files import exists, locked, open_folder
from golden.ledger import Delete, Sealed, draft
from golden.recorder import open_recorder
from golden.recording import Recording
from golden.seal import MAX_SEAL, Statement, parse_seal, statement_line
from golden.store import GoldenFile, Store

# Of the folder beside a run's file, in which its successor is recorded; each has its own, as each has its own lock.
_SUFFIX = ".replacing"


class Replacement:
    """A run whose lock is held: `recording` is what is there, None where nothing is."""

    def __init__(self, store: Store, directory: Directory, file: GoldenFile, recording: Recording | None) -> None:
        self.recording = recording
        self._store = store
        self._directory = directory
        self._file = file

    def record(self, events: Iterable[Data]) -> Statement:
        """Record the run anew and put it in the place of what is there.

        Raises:
            KeyringError: there is no key to sign with.
            FormatError, StoreError: it cannot be written; what was there is there still.
        """
        staging = _staging(self._store, self._directory, self._file)
        with open_recorder(staging, self._file.stem) as recorder:
            for data in events:
                recorder.write(data, 0 if isinstance(data, StepData | EffectData) else None)
            statement = recorder.seal()
        if self._directory.present:
            with self._directory.writing():
                members = {"run_id": statement.run_id, "file_id": statement.file_id, "seal": statement}
                self._directory.append(draft(Sealed, **members), durable=self._durable)
        with open_folder(self._store.folder) as folder, _told(self._file):
            _put_in_place(folder, self._file, durable=self._durable)
        return statement

    def remove(self, reason: str) -> None:
        """Delete the run's files, which the ledger is told first."""
        if self.recording is None:
            return
        if self._directory.present:
            members = {"run_id": self._file.stem, "file_id": self.recording.statement.file_id, "reason": reason}
            with self._directory.writing():
                self._directory.append(draft(Delete, **members), durable=self._durable)
        with open_folder(self._store.folder) as folder, _told(self._file):
            _unlink(folder, *_names(self._file))

    @property
    def _durable(self) -> bool:
        return self._store.durability != "never"


@contextmanager
def open_replacement(store: Store, run_id: str) -> Iterator[Replacement]:
    """Hold a run's lock, which is waited for, and give what is there to be replaced.

    Raises:
        TamperedError, KeyringError, StoreError: what is there, or its ledger, is not good; nothing was written.
        UsageError: golden files lie there that no ledger knows.
    """
    file = store.file(run_id)
    directory = store.prepare()
    with open_folder(store.folder) as folder, locked(folder, f"{run_id}.lock"):
        directory.refresh()
        with _told(file):
            _finish(folder, file, directory, durable=store.durability != "never")
        known = directory.runs.get(run_id)
        there = any(exists(folder, name) for name in _names(file)) or (known is not None and known.present)
        recording = Recording.open(file, directory) if there else None
        try:
            yield Replacement(store, directory, file, recording)
        finally:
            if recording is not None:
                recording.close()


def is_broken_off(file: GoldenFile) -> bool:
    """Whether a recording lies ready whose putting in place was broken off."""
    return os.path.lexists(os.path.join(file.folder, folder_of(file), f"{file.name}.sig"))


def folder_of(file: GoldenFile) -> str:
    """Return the name of the folder in which the successor of a run's file is recorded."""
    return f"{file.stem}{_SUFFIX}"


def _staging(store: Store, directory: Directory, file: GoldenFile) -> Store:
    return Store(
        os.path.join(store.folder, folder_of(file)), directory.keyring, durability=store.durability, ledger=False
    )


def _names(file: GoldenFile) -> tuple[str, str]:
    return file.name, f"{file.name}.sig"


def _finish(folder: int, file: GoldenFile, directory: Directory, *, durable: bool) -> None:
    """End what a killed replacement began: complete it where it had begun to count, else forget it."""
    known = directory.runs.get(file.stem)
    if known is not None and known.op == "delete":
        _unlink(folder, *_names(file))
    aside = folder_of(file)
    if not exists(folder, aside):
        return
    staged = [name for name in _names(file) if exists(folder, os.path.join(aside, name))]
    # The file is put in its place first: a seal without one is the other half.
    if staged == [f"{file.name}.sig"] or (len(staged) > 1 and _counts(file, directory)):
        _put_in_place(folder, file, durable=durable)
        return
    _unlink(folder, *(os.path.join(aside, name) for name in staged))
    with suppress(OSError):
        os.rmdir(aside, dir_fd=folder)


def _unlink(folder: int, *names: str) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _counts(file: GoldenFile, directory: Directory) -> bool:
    """Whether the ledger believes the staged seal to be the run's."""
    known = directory.runs.get(file.stem)
    sealed = GoldenFile(os.path.join(file.folder, folder_of(file)), file.stem).read_seal(MAX_SEAL)
    try:
        line = statement_line(parse_seal(sealed or b"").statement)
    except FormatError:
        return False
    return known is not None and known.present and known.digest == bytes.fromhex(sha256_hex(line))


@contextmanager
def _told(file: GoldenFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"{file.name} cannot be replaced: {error.strerror}"
        raise StoreError(problem, hint="check the golden directory and its permissions") from None


def _put_in_place(folder: int, file: GoldenFile, *, durable: bool) -> None:
    for name in _names(file):
        with suppress(FileNotFoundError):
            os.rename(os.path.join(folder_of(file), name), name, src_dir_fd=folder, dst_dir_fd=folder)
    if durable:
        os.fsync(folder)
    with suppress(OSError):
        os.rmdir(folder_of(file), dir_fd=folder)
