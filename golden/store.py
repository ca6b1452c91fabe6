"""Store: where golden files lie, what they are called, how a new one comes into being and a broken off one goes on.

Knows names, order and durability, not what the bytes mean.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from golden.directory import Directory, no_ledger
from golden.errors import LimitError, StoreError, UsageError
from golden.event import RUN_ID
from golden.files import (
    CREATE,
    EXTEND,
    StrPath,
    exists,
    is_locked,
    locked,
    open_folder,
    open_regular,
    put,
    sweep,
    write_all,
)
from golden.lines import first_line

if TYPE_CHECKING:
    from pathlib import Path

    from golden.keyring import Key, Keyring
    from golden.ledger import Draft
    from golden.memory import Memory

SUFFIX = ".steps.jsonl"
SEAL_SUFFIX = f"{SUFFIX}.sig"
# `ledger.lock` and `rotate.lock` are the directory's, not a run's.
RESERVED = ("ledger", "rotate")
DURABILITIES = ("always", "seal", "never")
_RUN_ID = re.compile(RUN_ID)
_SHORT = 4096
# With them every recording begins.
_FIRST_BYTES = b'{"data":{"budget_snapshot":{'


def is_run_id(text: str) -> bool:
    """Say whether `text` may name a run: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}` without `..`."""
    return bool(_RUN_ID.fullmatch(text))


def check_run_id(run_id: str) -> str:
    """Return `run_id`; raises UsageError where it may not name a run."""
    if not is_run_id(run_id):
        raise UsageError(
            f"{run_id!r} is not a run id",
            hint="use letters, digits, dot, dash and underscore, at most 128, starting with a letter or digit",
        )
    return run_id


class GoldenFile:
    """The place of one golden file: its directory and its stem, which a good file's `run_id` equals.

    `place` is the path of the `.steps.jsonl`, or of the named file itself where it has another suffix.
    """

    def __init__(self, directory: StrPath, stem: str, *, suffix: str = SUFFIX) -> None:
        self.folder = os.fspath(directory)
        self.stem = stem
        self.name = f"{stem}{suffix}"
        self.place = os.path.join(self.folder, self.name)

    @classmethod
    def at(cls, path: StrPath) -> GoldenFile:
        """Return the place of the file at `path`, whose name is taken as it is if it ends in another `.jsonl`."""
        folder, name = os.path.split(os.fspath(path))
        if name.endswith(".jsonl") and not name.endswith(SUFFIX):
            return cls(folder or ".", name, suffix="")
        return cls(folder or ".", name.removesuffix(SUFFIX))

    @property
    def well_named(self) -> bool:
        """Whether the file is called `<run_id>.steps.jsonl`."""
        return self.name.endswith(SUFFIX) and is_run_id(self.stem)

    @property
    def path(self) -> Path:
        """The same as a Path."""
        return _path(self.place)

    @property
    def seal_path(self) -> Path:
        """The `.sig` beside it."""
        return _path(f"{self.place}.sig")

    def read_seal(self, limit: int) -> bytes | None:
        """Return at most `limit` + 1 bytes of the `.sig`, or None where there is none; raises StoreError."""
        fd = open_regular(f"{self.place}.sig")
        if fd is None:
            return None
        try:
            # Most seals are short: room for the longest would cost more than reading one.
            data = os.read(fd, _SHORT)
            while len(data) >= _SHORT and len(data) <= limit and (more := os.read(fd, limit + 1 - len(data))):
                data += more
            return data
        finally:
            os.close(fd)

    def has_writer(self) -> bool:
        """Whether a process holds the run's lock now."""
        return is_locked(os.path.join(self.folder, f"{self.stem}.lock"))


class Store:
    """A directory of golden files with the keys that seal and verify them, and the ledger of what it has seen.

    Args:
        directory: made with mode 0750 when a run is first recorded.
        keyring: signs new runs and verifies old ones.
        durability: `always` syncs every event, `seal` the file before it is sealed, `never` nothing.
        ledger: whether a directory without a ledger gets one; a ledger that is there is kept either way.
        memory: what this host has seen of directories; None to have no memory.
        reload: gives the keyring as it is by now; a run asks again before it is sealed.
    """

    def __init__(
        self,
        directory: StrPath,
        keyring: Keyring,
        *,
        durability: str = "seal",
        ledger: bool = True,
        memory: Memory | None = None,
        reload: Callable[[], Keyring] | None = None,
    ) -> None:
        if durability not in DURABILITIES:
            raise UsageError(f"durability {durability!r} does not exist", hint=f"use one of {', '.join(DURABILITIES)}")
        self.folder = os.fspath(directory)
        self.keyring = keyring
        self.durability = durability
        self.ledger = ledger
        self.memory = memory
        self.reload = reload
        self._read: Directory | None = None

    @property
    def directory(self) -> Path:
        """The directory as a Path."""
        return _path(self.folder)

    def file(self, run_id: str) -> GoldenFile:
        """Return the place of a run's golden file; raises UsageError for what is no run id."""
        return GoldenFile(self.folder, check_run_id(run_id))

    def is_begun(self, run_id: str) -> bool:
        """Whether there is anything of a run: a seal, a whole line, or bytes that are not the beginning of one."""
        file = self.file(run_id)
        if os.path.lexists(f"{file.place}.sig"):
            return True
        try:
            fd = open_regular(file.place)
            if fd is None:
                return False
            try:
                start = os.pread(fd, len(_FIRST_BYTES), 0)
                return not _FIRST_BYTES.startswith(start) or first_line(fd) is not None
            finally:
                os.close(fd)
        except (StoreError, LimitError):
            return True

    def read(self) -> Directory:
        """Return the directory as its ledger sees it now."""
        if self._read is None:
            self._read = Directory(self.folder, self.keyring, memory=self.memory)
        else:
            self._read.refresh()
        return self._read

    def stems(self) -> list[str]:
        """Return the stems of all golden files and seals in the directory, sorted; [] where it does not exist."""
        return stems(self.folder)

    def reloaded(self) -> Keyring | None:
        """Return the keyring if it has changed since it was read last, and use it from now on."""
        keyring = self.reload() if self.reload else self.keyring
        if list(keyring) == list(self.keyring):
            return None
        self.keyring = keyring
        return keyring

    def prepare(self) -> Directory:
        """Return the directory ready to be written, with a ledger where it is to have one.

        Raises:
            UsageError: golden files lie there that no ledger knows.
            TamperedError, KeyringError, StoreError: the ledger is not good.
        """
        with open_folder(self.folder, create=True):
            pass
        directory = self.read()
        changed = self.reloaded()
        if changed is not None:
            directory.refresh(changed)
        if directory.present or directory.exists or self.ledger:
            directory.require_good()
            if self.memory is not None:
                # Before there is a file that the ledger cannot be told of.
                self.memory.require_writable(self.folder)
        if self.ledger and not directory.fold.lines:
            with directory.writing():
                if not directory.fold.lines:
                    if self.stems():
                        raise no_ledger(self.folder)
                    directory.create()
        return directory

    @contextmanager
    def create(self, run_id: str) -> Iterator[OpenFile]:
        """Create a run's file under its lock and give it; closes and unlocks at the end.

        Raises:
            KeyringError: no active key.
            UsageError: the run exists.
            StoreError: the directory cannot be made or written.
        """
        name = self._writable(run_id).name
        self.keyring.active  # noqa: B018  refuses where there is none, before there is a directory or a ledger
        directory = self.prepare()
        directory.keyring.active  # noqa: B018  nor one that was revoked here
        known = directory.runs.get(run_id)
        if known and known.present and not os.path.exists(os.path.join(self.folder, name)):
            raise UsageError(
                f"the ledger knows a run {run_id}, its file is missing", hint="restore it, or choose another run id"
            )
        busy = UsageError(f"run {run_id} is being written", hint="choose another run id (--run-id)")
        with open_folder(self.folder) as folder, locked(folder, f"{run_id}.lock", busy):
            # A seal without its file is evidence; a new file under its name would bury it.
            if exists(folder, f"{name}.sig") and not exists(folder, name):
                raise UsageError(
                    f"run {run_id} has a seal without a file", hint="restore it, or choose another run id (--run-id)"
                )
            if known is None and not self.is_begun(run_id):
                # Its recorder was killed before the first line was whole.
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            try:
                fd = os.open(name, CREATE, 0o640, dir_fd=folder)
            except FileExistsError:
                raise UsageError(f"run {run_id} exists", hint="choose another run id (--run-id)") from None
            except OSError as error:
                raise StoreError(f"{name} cannot be created: {error.strerror}", hint="check its permissions") from None
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise StoreError(f"{name} is not a regular file", hint="move it away")
                yield OpenFile(self, directory, folder, name, fd)
            finally:
                if not os.fstat(fd).st_size:
                    # Nothing was recorded: the run's id is still free.
                    with suppress(OSError):
                        os.unlink(name, dir_fd=folder)
                os.close(fd)

    @contextmanager
    def reopen(self, run_id: str) -> Iterator[OpenFile]:
        """Open the file of a run that has no seal, under its lock, and give it; nothing of it is judged yet.

        Raises:
            KeyringError: no active key.
            UsageError: the run is being written, or has ended.
            StoreError: it is not there, is no regular file, or cannot be written.
            TamperedError: the ledger is not good.
        """
        name = self._writable(run_id).name
        directory = self.prepare()
        directory.keyring.active  # noqa: B018  refuses where there is none
        busy = UsageError(f"run {run_id} is being written", hint="wait until it ends")
        with open_folder(self.folder) as folder, locked(folder, f"{run_id}.lock", busy):
            fd = open_regular(name, EXTEND, folder)
            if fd is None:
                raise StoreError(f"no recording {run_id} in {self.folder}", hint="check its id and the directory")
            try:
                if exists(folder, f"{name}.sig"):
                    raise UsageError(f"run {run_id} has ended", hint=f"`golden verify {run_id}` says what it is worth")
                if os.fstat(fd).st_nlink > 1:
                    hint = "its lines would appear there too: put a copy in its place (cp), then run this again"
                    raise StoreError(f"{name} has another name elsewhere (a hard link)", hint=hint)
                # What a recorder killed while it sealed has left, and no other recorder would come to.
                sweep(folder, f"{name}.sig")
                yield OpenFile(self, directory, folder, name, fd)
            finally:
                os.close(fd)

    def _writable(self, run_id: str) -> GoldenFile:
        file = self.file(run_id)
        if run_id in RESERVED:
            raise UsageError(f"the run id {run_id} is taken by the directory's own lock", hint="choose another run id")
        return file


class OpenFile:
    """A golden file being written: lines go to its end, the seal beside it. Errors are the system's own."""

    def __init__(self, store: Store, directory: Directory, folder: int, name: str, fd: int) -> None:
        self.directory = directory
        self._store = store
        self._durability = store.durability
        self._durable = store.durability != "never"
        self._folder = folder
        self._name = name
        self.place = os.path.join(store.folder, name)
        self.fd = fd
        self._ending = False
        # Whether the disk is known to have all bytes, and the directory the name.
        self._synced = self._named = False

    def append(self, line: bytes) -> None:
        """Write one line, in one call where the system takes it whole; durable where every event is."""
        self._synced = False
        write_all(self.fd, line)
        if self._durability == "always":
            os.fdatasync(self.fd)
            self._synced = True

    def sync(self, *, name: bool = False) -> None:
        """Make what was written durable, as far as it is not yet; with `name` its name in the directory too."""
        if not self._durable:
            return
        if not self._synced:
            os.fsync(self.fd)
            self._synced = True
        if name and not self._named:
            os.fsync(self._folder)
            self._named = True

    def cut(self, size: int) -> None:
        """Take off what stands behind the first `size` bytes."""
        self._synced = False
        os.ftruncate(self.fd, size)
        self.sync()

    def renewed(self) -> Keyring:
        """Return the keys in force by now, with the ledger read anew; raises what a bad ledger is."""
        self.directory.refresh(self._store.reloaded())
        self.directory.require_good()
        return self.directory.keyring

    def tell(self, draft: Draft, spare: Key | None = None) -> None:
        """Append a line about this run to the ledger, where there is one; `spare` signs where no active key can."""
        if not self.directory.present:
            return
        with nullcontext() if self._ending else self.directory.writing():
            self.directory.append(draft, durable=self._durable, spare=spare)

    @contextmanager
    def ending(self) -> Iterator[Keyring]:
        """Give the keys that are in force by now, and let no other writer come between the seal and its line."""
        keyring = self._store.reloaded()
        if not self.directory.present:
            self.directory.refresh(keyring)
            yield self.directory.keyring
            return
        with self.directory.writing(keyring):
            self._ending = True
            yield self.directory.keyring

    def seal(self, data: bytes) -> None:
        """Put the seal beside the file, with its mode and owner: whole, or not at all."""
        put(self._folder, f"{self._name}.sig", data, os.fstat(self.fd), durable=self._durable)


def stems(folder: str) -> list[str]:
    """Return the stems of all golden files and seals in `folder`, sorted; [] where it does not exist."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be listed: {error.strerror}", hint="check the golden directory") from None
    found = {n.removesuffix(SUFFIX) for n in names if n.endswith(SUFFIX)}
    return sorted(found | {n.removesuffix(SEAL_SUFFIX) for n in names if n.endswith(SEAL_SUFFIX)})


def _path(place: str) -> Path:
    # 4 ms to import, felt by every verify, and needed by none.
    from pathlib import Path

    return Path(place)


def locate(run: str, directory: StrPath) -> GoldenFile:
    """Return the place of RUN: with a `/` or the suffix `.jsonl` a path, else an id in `directory`."""
    if "/" in run or run.endswith(".jsonl"):
        return GoldenFile.at(run)
    return GoldenFile(directory, check_run_id(run))
