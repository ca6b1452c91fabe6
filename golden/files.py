"""Files: opening without surprises, locking, writing whole, replacing at once. Knows names and modes, no contents."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from golden.errors import StoreError, UsageError

StrPath = str | os.PathLike[str]

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
EXTEND = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CREATE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Whoever asks whether a lock is held takes it for a moment: that is nobody at work.
BUSY_SECONDS = 0.1
POLL_SECONDS = 0.005
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(path: StrPath, flags: int = READ, folder: int | None = None) -> int | None:
    """Return a descriptor of the regular file at `path`, for reading by default, or None where nothing is there.

    `folder` is a descriptor of the directory that a relative path starts from.

    Raises:
        StoreError: a link, a FIFO, a directory, no permission, an I/O error.
    """
    try:
        fd = os.open(path, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        name, link = os.path.basename(path), error.errno == errno.ELOOP
        raise StoreError(
            f"{name} is a symbolic link" if link else f"{name} cannot be opened: {error.strerror}",
            hint="put the file itself in its place" if link else "check the file's type and permissions",
            verdict="unreadable",
        ) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(f"{os.path.basename(path)} is not a regular file", hint="move it away", verdict="unreadable")
    return fd


@contextmanager
def open_folder(path: str, *, create: bool = False) -> Iterator[int]:
    """Give a descriptor of a directory, made with mode 0750 where `create` says so; raises StoreError."""
    try:
        if create:
            os.makedirs(path, mode=0o750, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(
            f"golden directory {path} cannot be used: {error.strerror}",
            hint="check the golden directory and its permissions",
        ) from None
    try:
        yield folder
    finally:
        os.close(folder)


def exists(folder: int, name: str) -> bool:
    """Whether `name` is there, be it a link that leads nowhere."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def write_all(fd: int, data: bytes) -> None:
    """Write `data`, in one call where the system takes it whole."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def temporary(folder: int, name: str, data: bytes, like: os.stat_result) -> str:
    """Write `data` to a new file beside `name`, with the mode and owner of `like`; return what it is called.

    Nothing is left where that fails. Errors are the system's own.
    """
    beside = f".{name}.{os.urandom(8).hex()}.tmp"
    out = os.open(beside, CREATE, 0o600, dir_fd=folder)
    try:
        write_all(out, data)
        os.fchmod(out, stat.S_IMODE(like.st_mode))
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(out, like.st_uid, like.st_gid)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise
    finally:
        os.close(out)
    return beside


def is_temporary(entry: str, suffix: str) -> bool:
    """Whether a directory's entry is a temporary of a file whose name ends in `suffix`."""
    name, dot, tail = entry.removesuffix(".tmp").rpartition(".")
    return bool(dot) and entry.endswith(".tmp") and name.startswith(".") and name.endswith(suffix) and len(tail) == 16  # noqa: PLR2004


def sweep(folder: int, name: str) -> None:
    """Remove what killed writers of `name` left beside it; to be called under its lock."""
    for entry in os.listdir(folder):
        if is_temporary(entry, name) and entry.startswith(f".{name}."):
            with suppress(OSError):
                os.unlink(entry, dir_fd=folder)


def put(folder: int, name: str, data: bytes, like: os.stat_result, *, durable: bool) -> None:
    """Put a file in the place of `name`: whole, or not at all. Errors are the system's own."""
    beside = temporary(folder, name, data, like)
    try:
        if durable:
            fd = os.open(beside, READ, dir_fd=folder)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise
    if durable:
        os.fsync(folder)


# A lock is held for as long as anybody has its descriptor; a child that the code of a run forks must not have it.
_held: set[int] = set()


def _let_go() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: int, name: str, busy: UsageError | None = None) -> Iterator[None]:
    """Hold the lock called `name`; where somebody holds it raise `busy`, or wait if there is none.

    Raises:
        StoreError: the lock cannot be opened.
    """
    patience = BUSY_SECONDS
    while True:
        try:
            fd = os.open(name, _LOCK, 0o640, dir_fd=folder)
        except OSError as error:
            raise StoreError(f"{name} cannot be opened: {error.strerror}", hint="check its permissions") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            os.close(fd)
            if busy and patience <= 0:
                raise busy from None
            time.sleep(POLL_SECONDS)
            patience -= POLL_SECONDS
            continue
        except BaseException:
            os.close(fd)
            raise
        # The holder before us removed the file: what we hold is no longer the lock.
        if os.fstat(fd).st_nlink:
            break
        os.close(fd)
    _held.add(fd)
    try:
        yield
    finally:
        # Not in a child, whose parent holds it still.
        if fd in _held:
            _held.remove(fd)
            # Whoever took the file away, or the directory, did not take what it stands for.
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            os.close(fd)


def is_locked(path: str) -> bool:
    """Whether a process holds the lock at `path` now."""
    try:
        fd = os.open(path, READ)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def sync_all(folder: int) -> None:
    """Make everything durable that was written to the file system of `folder`, in one call; raises OSError."""
    # Slow to import; only commands that write many files pay for it.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
    elif libc.syncfs(folder):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
