"""Anchors: kept at the places that were named, found there again, and picked out of what a responder gives.

What an anchor proves is the ledger's business; how git keeps one, the repository's.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from golden.canonical import sha256_hex
from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import GoldenError, LimitError, StoreError, TamperedError, UsageError
from golden.files import open_regular, write_all
from golden.keyring import Keyring
from golden.ledger import LEDGER, MARK, Anchor, Create, Fold, parse_line
from golden.lines import Splitter, blocks
from golden.program import run
from golden.repository import Repository, plain_environment
from golden.sources import where_of

GIT = "git"
# Ledgers in git's history that are looked at: who wants an older one names its revision.
MAX_REVISIONS = 50
MAX_FILE = 64 << 20
LOCK_SECONDS = 2.0
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TAIL = 4096
_SHORT = 12
_SECOND = len("2026-01-01T00:00:00")
_TIME = r"\s+(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)(?!\S)"


class Kept(msgspec.Struct, frozen=True):
    """An anchor that was found.

    Args:
        anchor: what it says.
        where: the places it was found at.
        stored: when it was put at the first of them, as that place says; None where none says.
        timestamp: of the ledger's line that it names; None, as for `runs` and `kid`, unless the ledger extends it.
        runs: how many runs the ledger held there.
        kid: the key that signed that line.
        extends: whether the ledger still extends it; None where no ledger says whose it is.
        possible: whether it can have been stored when its places say: not before the line that it names was written.
    """

    anchor: Anchor
    where: tuple[str, ...]
    stored: str | None = None
    timestamp: str | None = None
    runs: int | None = None
    kid: str | None = None
    extends: Literal["yes", "no", "other directory"] | None = None
    possible: bool = True


class Found(msgspec.Struct, frozen=True):
    """The anchors of a directory, newest first; how many lines its ledger has now; what the reader should be told."""

    kept: tuple[Kept, ...]
    lines: int
    notes: tuple[str, ...]


class _Sighting(msgspec.Struct, frozen=True):
    """An anchor at a place; `own` where the place speaks of this directory alone."""

    anchor: Anchor
    where: str
    stored: str | None
    own: bool = False


def keep(anchor: Anchor, places: Iterable[str], folder: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Store an anchor at each of `places` (`git`, `file:PATH`, `exec:ARGV-JSON`), durably, and say what failed.

    Args:
        anchor: what to keep.
        places: as `Settings.anchor_to` has them.
        folder: the golden directory, for git.
        environment: what git and programs see; never `GOLDEN_*`. Default: as good as nothing.

    Returns:
        One note for each place that did not take it. It never raises for one: what was recorded is recorded.
    """
    notes = []
    for place in places:
        label = place.partition(":")[0]
        try:
            if place == GIT:
                Repository.required(folder, environment).keep(str(anchor))
                continue
            where = where_of(place)
            label = where.label
            if where.scheme == "file":
                _append(where.name, anchor)
            elif where.scheme == "exec":
                seen = plain_environment() if environment is None else environment
                run(where.argv, seen, _untold, given=b"%b\n" % str(anchor).encode())
            else:
                raise UsageError("no anchor can be kept there", hint="use git, file: or exec:")
        except GoldenError as error:
            notes.append(f"the anchor is not kept in {label}: {error.problem}")
        except OSError as error:
            notes.append(f"the anchor is not kept in {label}: {error.strerror}")
    return notes


def given(
    texts: Sequence[str], directory: Directory, environment: Mapping[str, str] | None = None, *, alone: bool = True
) -> Anchor:
    """Return the one anchor among `texts` that is of `directory`.

    A text is a line with an anchor in it, `@FILE` with such lines, or `git:REV`, the ledger as it was at REV. Where
    several anchors are given, those of other directories are passed over; a single one is taken as it is, so that a
    ledger of another directory is found out, unless it is not for `directory` alone.

    Raises:
        UsageError: none, or more than one, is of this directory.
        TamperedError: the ledger at REV is damaged.
    """
    found = list(dict.fromkeys(anchor for text in texts for anchor in _read(text, directory, environment)))
    if len(found) == 1 and alone:
        return found[0]
    known = directory.remembered
    dir_id = (known.dir_id if known else None) or directory.fold.dir_id
    if not dir_id:
        raise UsageError(
            f"{len(found)} anchors are given, and {directory.folder} has no ledger that says which is its own",
            hint="give one; `golden anchors` shows them",
        )
    fitting = [anchor for anchor in found if anchor.dir_id == dir_id]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UsageError(
            f"no anchor that is given is of {directory.folder}, whose id is {dir_id}",
            hint="give one for each directory; `golden anchors` shows those that were kept for it",
        )
    raise UsageError(
        f"{len(fitting)} anchors of {directory.folder} are given, expected one",
        hint="give the newest that was stored before the earliest possible leak: `golden anchors` says when each was",
    )


def known(directory: Directory, places: Sequence[str], environment: Mapping[str, str] | None = None) -> Found:
    """Return every anchor of a directory that can be found: at `places`, in git, in this host's memory.

    Looks at no signature: an anchor says what was, not that it was good.
    """
    notes: list[str] = []
    sightings = [*_remembered(directory), *_in_git(directory.folder, environment, notes, wanted=GIT in places)]
    for place in places:
        if place != GIT:
            sightings += _at(place, notes)
    fold = _present(directory, {sighting.anchor.lines for sighting in sightings}, notes)
    own = {sighting.anchor.dir_id for sighting in sightings if sighting.own} | ({fold.dir_id} - {""})
    by: dict[Anchor, list[_Sighting]] = {}
    passed = set()
    for sighting in sightings:
        if own and sighting.anchor.dir_id not in own:
            passed.add(sighting.anchor)
        else:
            by.setdefault(sighting.anchor, []).append(sighting)
    if passed:
        notes.append(f"anchors of other directories were passed over: {len(passed)}")
    kept = [_judged(anchor, seen, fold, own) for anchor, seen in by.items()]
    kept.sort(key=lambda one: (one.stored or one.timestamp or "", one.anchor.lines), reverse=True)
    return Found(tuple(kept), fold.lines, tuple(notes))


def _judged(anchor: Anchor, seen: list[_Sighting], fold: Fold, own: set[str]) -> Kept:
    where = tuple(dict.fromkeys(sighting.where for sighting in seen))
    times = [sighting.stored for sighting in seen if sighting.stored]
    stored = min(times, default=None)
    moment = fold.moments.get(anchor.lines)
    if moment is not None and moment.anchor == anchor:
        # Git knows whole seconds.
        true = [time for time in times if time[:_SECOND] >= moment.timestamp[:_SECOND]]
        stored, possible = min(true, default=stored), bool(true) or not times
        return Kept(anchor, where, stored, moment.timestamp, moment.runs, moment.kid, "yes", possible)
    if not own:
        return Kept(anchor, where, stored)
    other = bool(fold.dir_id) and anchor.dir_id != fold.dir_id
    return Kept(anchor, where, stored, extends="other directory" if other else "no")


def _read(text: str, directory: Directory, environment: Mapping[str, str] | None) -> list[Anchor]:
    """Return the anchors that one text gives."""
    if text.startswith("backup:"):
        raise UsageError("an anchor from a backup is not supported yet", hint="give a line, @FILE or git:REV")
    if text.startswith("git:"):
        return [_at_revision(text.removeprefix("git:"), directory, environment)]
    if not text.startswith("@"):
        if not (found := Anchor.find(text)):
            hint = f"give a line that begins with {MARK}, @FILE with such a line, or git:REV; see `golden anchors`"
            raise UsageError("what is given is no anchor", hint=hint)
        return found
    try:
        with open(text[1:], "rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name has a byte 0"
        raise UsageError(f"{text[1:]} cannot be read: {why}", hint="check the path after the @") from None
    if len(data) > MAX_FILE:
        raise UsageError(f"{text[1:]} is larger than {MAX_FILE >> 20} MiB", hint="give the one line that is wanted")
    found = Anchor.find(data.decode("utf-8", "replace"))
    if not found:
        raise UsageError(f"{text[1:]} holds no anchor", hint=f"an anchor begins with {MARK}; see `golden anchors`")
    return found


def _at_revision(rev: str, directory: Directory, environment: Mapping[str, str] | None) -> Anchor:
    data = Repository.required(directory.folder, environment).ledger_at(rev)
    fold = Fold(Keyring())
    try:
        for line in Splitter().feed(data or b""):
            fold.feed(line)
    except (TamperedError, LimitError) as error:
        raise TamperedError(
            f"git:{rev}: {error.problem}", hint="name an earlier revision; see `golden anchors`"
        ) from None
    if not fold.lines:
        raise UsageError(
            f"git has no {LEDGER} of {directory.folder} at {rev}", hint="name another revision; see `golden anchors`"
        )
    return fold.anchor


def _present(directory: Directory, watch: Iterable[int], notes: list[str]) -> Fold:
    """Walk the ledger as it lies there, as far as its lines follow one another."""
    fold = Fold(Keyring(), watch)
    fd = None
    try:
        fd = open_regular(directory.place)
        splitter = Splitter()
        for block in blocks(fd) if fd is not None else ():
            for line in splitter.feed(block):
                fold.feed(line)
    except (TamperedError, LimitError, StoreError) as error:
        notes.append(f"the ledger is read as far as line {fold.lines}: {error.problem}")
    finally:
        if fd is not None:
            os.close(fd)
    return fold


def _remembered(directory: Directory) -> Iterator[_Sighting]:
    anchor = directory.remembered.anchor if directory.remembered else None
    if anchor is not None:
        yield _Sighting(anchor, "this host's memory", None, own=True)


def _in_git(folder: str, environment: Mapping[str, str] | None, notes: list[str], *, wanted: bool) -> list[_Sighting]:
    found: list[_Sighting] = []
    try:
        repository = Repository.holding(folder, environment)
        if repository is None:
            if wanted:
                notes.append(f"{folder} lies in no git repository: anchor_to names git in vain")
            return found
        for ref, commits in repository.anchor_commits().items():
            for commit in commits:
                found += [
                    _Sighting(anchor, f"git {ref}", _moment(commit.seconds)) for anchor in Anchor.find(commit.subject)
                ]
        for commit in repository.ledger_commits(MAX_REVISIONS):
            anchor = _end_of(repository.ledger_at(commit.oid) or b"")
            if anchor is not None:
                found.append(_Sighting(anchor, f"git:{commit.oid[:_SHORT]}", _moment(commit.seconds), own=True))
    except GoldenError as error:
        notes.append(f"what git keeps is not listed, or not all of it: {error.problem}")
    return found


def _end_of(data: bytes) -> Anchor | None:
    """Return the anchor of a ledger's bytes, whose lines are taken as they are."""
    lines = data.split(b"\n")[:-1]
    try:
        first = parse_line(lines[0])[0]
    except (IndexError, ValueError):
        return None
    return Anchor(first.dir_id, len(lines), sha256_hex(lines[-1])) if isinstance(first, Create) else None


def _at(place: str, notes: list[str]) -> list[_Sighting]:
    """Return the anchors at a place of `anchor_to`, where it can be read back."""
    try:
        where = where_of(place)
        if where.scheme != "file":
            notes.append(f"{where.label} cannot be asked for what it was given: look there yourself")
            return []
        fd = open_regular(where.name)
        if fd is None:
            return []
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            if size > MAX_FILE:
                notes.append(f"of {where.label} only the last {MAX_FILE >> 20} MiB were read")
            file.seek(max(0, size - MAX_FILE))
            lines = file.read(MAX_FILE).decode("utf-8", "replace").split("\n")
    except GoldenError as error:
        notes.append(f"{place.partition(':')[0]}: in anchor_to is not read: {error.problem}")
        return []
    return [
        _Sighting(anchor, where.label, _time_in(line, str(anchor))) for line in lines for anchor in Anchor.find(line)
    ]


def _time_in(line: str, anchor: str) -> str | None:
    """Return the time that stands behind an anchor."""
    found = re.match(_TIME, line.partition(anchor)[2])
    return found[1] if found else None


def _moment(seconds: int) -> str | None:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return None


def _untold(problem: str, hint: str) -> StoreError:
    return StoreError(f"it {problem}", hint=hint)


def _append(path: str, anchor: Anchor) -> None:
    """Append an anchor to the file at `path`, unless it is the last there; half a line stays a line of its own."""
    if os.path.islink(path):
        raise StoreError("it is a symbolic link", hint="name the file itself")
    fd = os.open(path, _APPEND, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreError("it is not a regular file", hint="name another")
        _lock(fd)
        size = os.fstat(fd).st_size
        *whole, torn = os.pread(fd, _TAIL, max(0, size - _TAIL)).split(b"\n")
        if whole and Anchor.find(whole[-1].decode("utf-8", "replace"))[-1:] == [anchor]:
            return
        write_all(fd, b"%b%b  %b\n" % (b"\n" if torn else b"", str(anchor).encode(), timestamp().encode()))
        os.fsync(fd)
    finally:
        os.close(fd)
    if not size:
        _sync_folder(os.path.dirname(path))


def _lock(fd: int) -> None:
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StoreError("somebody holds it", hint="find out who") from None
            time.sleep(0.01)
        except OSError:
            # A file system without locks: one append is one write all the same.
            return
        else:
            return


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
