"""File: a checkpoint a file that people can read, with the outputs of its steps in lines beside it.

Puts aside what is damaged, and says so; never begins anew in its place.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec
from msgspec import Raw

from golden.errors import StoreError, UsageError
from golden.files import StrPath, exists, locked, open_regular, put, sweep, write_all
from golden.store import is_run_id
from replay.checkpoints.base import BaseStore, Stamp, Wanted
from replay.checkpoints.contract import Checkpoint, StepOutput
from replay.checkpoints.state import NO_OUTPUTS, content_hash, outputs_hash

SCHEMA = 1
SUFFIX = ".checkpoint.json"
OUTPUTS = ".outputs.jsonl"
PATIENCE_SECONDS = 10.0
MAX_DOCUMENT = 1 << 20
_MODE = 0o640
T = TypeVar("T")
_EXTEND = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: the checkpoint, and how many bytes of the outputs beside it are its own."""

    schema: int
    outputs_bytes: int
    checkpoint: Checkpoint


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One output as the JSON that it is; there is none where the step failed, and then it has no hash either."""

    version: int
    step_index: int
    step_id: str
    output_hash: str | None
    output: Raw


class _Schema(msgspec.Struct, frozen=True):
    schema: int = SCHEMA


class _DamagedError(Exception):
    """What is stored is not what was; the caller decides whether that is for good."""


_encode = msgspec.json.Encoder().encode
_document = msgspec.json.Decoder(_Document)
_line = msgspec.json.Decoder(_Line)
_schema = msgspec.json.Decoder(_Schema)


class FileCheckpointStore(BaseStore):
    """Checkpoints as `<run id>.checkpoint.json` and `<run id>.outputs.jsonl` in a folder.

    Args:
        folder: made with mode 0750 by the first run that is saved there; files get 0640.
        durable: whether a save waits for the disk.
    """

    def __init__(self, folder: StrPath, *, durable: bool = True) -> None:
        self._folder = Path(folder).absolute()
        self._durable = durable

    @property
    def place(self) -> str:
        """See `CheckpointStore`."""
        return str(self._folder)

    def is_beside(self, folder: str) -> bool:
        """See `CheckpointStore`."""
        return not self._durable and self._folder.resolve().is_relative_to(Path(folder).resolve())

    def ping(self) -> None:
        """See `CheckpointStore`."""
        self._names()

    def close(self) -> None:
        """See `CheckpointStore`; nothing stays open."""

    def _insert(self, new: Checkpoint) -> Checkpoint | None:
        with self._locked(new.run_id) as folder:
            name = f"{new.run_id}{SUFFIX}"
            if exists(folder, name):
                return None
            sweep(folder, name)
            # Left by a deletion that was killed half way.
            with suppress(FileNotFoundError):
                os.unlink(f"{new.run_id}{OUTPUTS}", dir_fd=folder)
            self._put(folder, new, 0)
        return new

    def _swap(self, held: Checkpoint, new: Checkpoint, outputs: list[StepOutput]) -> Checkpoint | None:
        with self._locked(new.run_id) as folder:
            stored = self._document(new.run_id)
            if stored is None or Stamp.of(stored.checkpoint) != Stamp.of(held):
                return None
            size = self._append(folder, stored, outputs) if outputs else stored.outputs_bytes
            self._put(folder, new, size)
        return new

    def _append(self, folder: int, stored: _Document, outputs: list[StepOutput]) -> int:
        """Write outputs after those that are the checkpoint's own, and return how many bytes those are then."""
        fd = os.open(f"{stored.checkpoint.run_id}{OUTPUTS}", _EXTEND, _MODE, dir_fd=folder)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size < stored.outputs_bytes:
                raise _DamagedError
            # Of a save that did not come to its end.
            os.ftruncate(fd, stored.outputs_bytes)
            os.lseek(fd, 0, os.SEEK_END)
            lines = b"".join([_line_of(output) for output in outputs])
            write_all(fd, lines)
            if self._durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        return stored.outputs_bytes + len(lines)

    def _put(self, folder: int, checkpoint: Checkpoint, outputs_bytes: int) -> None:
        document = _Document(schema=SCHEMA, outputs_bytes=outputs_bytes, checkpoint=checkpoint)
        data = msgspec.json.format(_encode(document), indent=2) + b"\n"
        like = os.stat_result((_MODE, 0, 0, 1, os.geteuid(), os.getegid(), 0, 0, 0, 0))
        put(folder, f"{checkpoint.run_id}{SUFFIX}", data, like, durable=self._durable)

    def _remove(self, run_id: str, stamp: Stamp) -> bool:
        with self._locked(run_id) as folder:
            stored = self._document(run_id)
            if stored is None or Stamp.of(stored.checkpoint) != stamp:
                return False
            os.unlink(f"{run_id}{SUFFIX}", dir_fd=folder)
            with suppress(FileNotFoundError):
                os.unlink(f"{run_id}{OUTPUTS}", dir_fd=folder)
        return True

    def _stamp(self, run_id: str) -> Stamp | None:
        stored = self._surely(run_id, lambda: self._document(run_id))
        return Stamp.of(stored.checkpoint) if stored else None

    def _read(self, run_id: str) -> tuple[Checkpoint, list[StepOutput]] | None:
        def both() -> tuple[Checkpoint, list[StepOutput]] | None:
            stored = self._document(run_id)
            if stored is None:
                self._refuse_put_aside(run_id)
                return None
            return stored.checkpoint, self._outputs(stored)

        return self._surely(run_id, both)

    def _newest(self, wanted: Wanted) -> Iterator[Checkpoint | StoreError]:
        good: list[Checkpoint] = []
        for name in self._names():
            run_id = name.removesuffix(SUFFIX)
            try:
                stored = self._document(run_id)
            except _DamagedError:
                yield _damaged(self._folder, run_id, "it was left as it is")
            except StoreError as error:
                yield error
            else:
                good += [stored.checkpoint] if stored else []
        yield from wanted.of(good)

    def _size(self, checkpoint: Checkpoint) -> int:
        size = 0
        for suffix in (SUFFIX, OUTPUTS):
            with suppress(FileNotFoundError):
                size += (self._folder / f"{checkpoint.run_id}{suffix}").lstat().st_size
        return size

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refusal(error) from None
        return [name for name in names if name.endswith(SUFFIX) and is_run_id(name.removesuffix(SUFFIX))]

    def _document(self, run_id: str) -> _Document | None:
        """Return what is stored of a run, None where nothing is; raises _DamagedError, or StoreError."""
        data = self._bytes(f"{run_id}{SUFFIX}", MAX_DOCUMENT)
        if data is None:
            return None
        try:
            schema = _schema.decode(data).schema
            if schema > SCHEMA:
                raise StoreError(
                    f"{self._folder}/{run_id}{SUFFIX} is of schema {schema}, this version knows {SCHEMA}",
                    hint="use the newer version that wrote it, or another place (GOLDEN_CHECKPOINTS)",
                )
            found = _document.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _DamagedError from None
        if found.checkpoint.run_id != run_id or content_hash(found.checkpoint) != found.checkpoint.content_hash:
            raise _DamagedError
        return found

    def _outputs(self, stored: _Document) -> list[StepOutput]:
        size, run_id = stored.outputs_bytes, stored.checkpoint.run_id
        data = (self._bytes(f"{run_id}{OUTPUTS}", size) or b"") if size else b""
        try:
            found = [_output_of(line) for line in data.splitlines(keepends=True)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _DamagedError from None
        if len(data) != size or outputs_hash(NO_OUTPUTS, found) != stored.checkpoint.outputs_hash:
            raise _DamagedError
        return found

    def _bytes(self, name: str, size: int) -> bytes | None:
        """Return at most `size` bytes of a file, None where there is none."""
        fd = open_regular(self._folder / name)
        if fd is None:
            return None
        with os.fdopen(fd, "rb") as file:
            return file.read(size)

    def _surely(self, run_id: str, read: Callable[[], T]) -> T:
        """Read what a writer may be changing; what is still damaged under the run's lock, is."""
        with self._refusing():
            try:
                return read()
            except _DamagedError:
                with self._locked(run_id):
                    return read()

    @contextmanager
    def _locked(self, run_id: str) -> Iterator[int]:
        """Hold a run's checkpoint, give a descriptor of the folder, and put aside what turns out to be damaged."""
        with self._refusing(), ExitStack() as stack:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
            busy = UsageError("", hint="")
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    # No run's golden file has a lock that begins with a dot.
                    stack.enter_context(locked(folder, f".{run_id}.checkpoint.lock", busy))
                    break
                except UsageError:
                    if time.monotonic() > end:
                        raise StoreError(
                            f"the checkpoint of run {run_id} in {self._folder} is held by another process",
                            hint="let that one end, or stop it",
                        ) from None
            try:
                yield folder
            except _DamagedError:
                self._put_aside(folder, run_id)

    def _put_aside(self, folder: int, run_id: str) -> NoReturn:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        end, count = f".corrupt-{now}", 1
        names = [name for name in (f"{run_id}{SUFFIX}", f"{run_id}{OUTPUTS}") if exists(folder, name)]
        while any(exists(folder, f"{name}{end}") for name in names):
            count += 1
            end = f".corrupt-{now}-{count}"
        for name in names:
            os.rename(name, f"{name}{end}", src_dir_fd=folder, dst_dir_fd=folder)
        raise _damaged(self._folder, run_id, f"it is called {run_id}{SUFFIX}{end} now")

    def _refuse_put_aside(self, run_id: str) -> None:
        """Raise StoreError where a run has no checkpoint because that was damaged: it is not one that never had any."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._folder)):
                if name.startswith(f"{run_id}{SUFFIX}.corrupt-"):
                    raise _damaged(self._folder, run_id, f"it is called {name} now; remove it to forget it")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> StoreError:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        return StoreError(
            f"checkpoints in {self._folder} cannot be read or written: {error.strerror}",
            hint="make room; what was saved before is good" if full else "check the directory and its permissions",
        )


def _damaged(folder: Path, run_id: str, what: str) -> StoreError:
    return StoreError(
        f"the checkpoint of run {run_id} in {folder} is damaged: {what}",
        hint=f"the golden file is the truth: `golden resume {run_id} --from-file` believes it",
    )


def _line_of(output: StepOutput) -> bytes:
    """Return an output as its line; raises UsageError where it is not JSON on one line."""
    said = Raw(b"null" if output.output is None else output.output)
    line = _encode(
        _Line(
            version=output.version,
            step_index=output.step_index,
            step_id=output.step_id,
            output_hash=output.output_hash,
            output=said,
        )
    )
    try:
        # What is put there as it is must come back so, on one line and as one member.
        good = b"\n" not in line and _output_of(line + b"\n") == output
    except (msgspec.MsgspecError, UnicodeDecodeError):
        good = False
    if not good:
        raise UsageError(f"the output of step {output.step_id} is not canonical", hint="store what the event holds")
    return line + b"\n"


def _output_of(line: bytes) -> StepOutput:
    if not line.endswith(b"\n"):
        raise _DamagedError
    found = _line.decode(line)
    return StepOutput(
        version=found.version,
        step_index=found.step_index,
        step_id=found.step_id,
        output=None if found.output_hash is None else bytes(found.output),
        output_hash=found.output_hash,
    )
