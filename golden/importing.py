"""Importing: golden files of the AOS system that verify, recorded anew as golden/v1 under their own run ids.

What their events become is said in `aos_events`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Literal

import msgspec

from golden.aos import aos_mac, same_mac
from golden.aos_events import AOS, LEFT, Written, events_of
from golden.directory import Directory, no_ledger
from golden.errors import FormatError, GoldenError, KeyringError, StoreError, TamperedError, UsageError
from golden.event import MAX_HEADER, Origin
from golden.files import open_regular
from golden.keyring import Keyring, kid_of
from golden.lines import blocks
from golden.recorder import open_recorder
from golden.recording import Recording
from golden.repair import finish
from golden.seal import MAX_SEAL
from golden.store import GoldenFile, Store
from golden.verdict import Verdict, Word, verify

_NONE_NAMED = "set GOLDEN_SECRET_FILE to its secret's file and, where there is a keyring, name its kid (--key)"
_BROKEN = frozenset({"live", "torn", "unsealed"})


class Import(msgspec.Struct, frozen=True):
    """What became of one AOS file.

    `imported` (or would be, in a dry run), `already` (an intact import of the same bytes is there), or `refused`.
    `verdict` is the AOS file's; `existing` the one of the recording that has its run id, if that is in the way.
    `sha256` and `events` are known of a file that verified.
    """

    run_id: str
    path: str
    outcome: Literal["imported", "already", "refused"]
    verdict: Word
    problem: str | None = None
    hint: str | None = None
    sha256: str | None = None
    events: int | None = None
    existing: Word | None = None


class Importer:
    """Brings the AOS files of one directory into a store, one at a time.

    Args:
        folder: the directory they lie in.
        keyring: its `aos_secret` verifies them.
        store: where they are recorded.
        dry_run: do all of it but the writing.

    Raises:
        TamperedError, KeyringError, StoreError: the store's ledger is not good.
    """

    def __init__(self, folder: str, keyring: Keyring, store: Store, *, dry_run: bool = False) -> None:
        self._folder = folder
        self._keyring = keyring
        self._source = Directory(folder, keyring)
        self._store = store
        self._target = store.read()
        self._target.require_good()
        kid = kid_of(keyring.aos_secret) if keyring.aos_secret else ""
        if self._target.keyring.state(kid) == "revoked":
            raise KeyringError(f"key {kid} is revoked: what it signed proves nothing", hint="import from a backup")
        if not dry_run:
            # An import that was killed is run again, and may find each of its files there already.
            finish(self._target)
        self._dry_run = dry_run
        self._prepared = False

    def bring(self, stem: str) -> Import | None:
        """Record the file anew if it verifies, and say what became of it; None for an intact file of golden/v1.

        Raises:
            KeyringError: the store's keys cannot be used.
            StoreError, TamperedError, UsageError: the store cannot be written at all.
        """
        file = GoldenFile(self._folder, stem)
        verdict = self._judged(file)
        if verdict.verdict == "intact" and verdict.kid is not None:
            return None
        found = Import(stem, file.place, "refused", verdict.verdict, verdict.problem, verdict.hint)
        if verdict.verdict == "unknown-key" and self._keyring.aos_secret is None:
            return msgspec.structs.replace(found, hint=_NONE_NAMED)
        if verdict.verdict != "intact":
            return found
        try:
            data = _verified_bytes(file, self._keyring)
        except (StoreError, TamperedError) as error:
            return Import(stem, file.place, "refused", _word(error), error.problem, error.hint)
        found = msgspec.structs.replace(found, sha256=hashlib.sha256(data).hexdigest(), events=verdict.events)
        taken = self._taken(found)
        if taken is not None:
            return taken
        try:
            events = list(events_of(data, stem))
            self._prepare()
            self._record(stem, events)
        except (FormatError, _RefusedError) as error:
            return msgspec.structs.replace(found, problem=error.problem, hint=error.hint)
        return msgspec.structs.replace(found, outcome="imported", events=len(events))

    def _judged(self, file: GoldenFile) -> Verdict:
        try:
            if os.lstat(file.place).st_size > MAX_HEADER:
                problem = f"file is longer than {MAX_HEADER >> 20} MiB, which is more than is imported"
                return Verdict(file.stem, file.place, "unreadable", problem, LEFT)
        except OSError:
            # It is gone, or only its seal is there; who verifies it says so.
            pass
        try:
            return verify(file.place, self._source)
        except StoreError as error:
            return Verdict(file.stem, file.place, "unreadable", error.problem, error.hint)

    def _taken(self, found: Import) -> Import | None:
        """Return the answer where the run id is taken in the store, None where it is free."""
        place = self._store.file(found.run_id)
        known = self._target.runs.get(found.run_id)
        if not (os.path.lexists(place.place) or os.path.lexists(f"{place.place}.sig") or (known and known.present)):
            return None
        existing: Word = "intact"
        origin: Origin | None = None
        try:
            with Recording.open(place, self._target) as recording:
                origin = recording.start.origin or None
            problem = "is an import of another file" if origin else "is there and is no import"
            hint = "import into another golden directory (--dir)"
        except GoldenError as error:
            if isinstance(error, KeyringError) and error.verdict is None:
                raise
            existing = getattr(error, "verdict", None) or "intact"
            problem, hint = f"is taken: {error.problem}", error.hint
            if existing in _BROKEN and not place.has_writer():
                hint = f"if an import was killed here: golden quarantine {found.run_id}, then import again"
        if origin == Origin(format=AOS, sha256=found.sha256 or ""):
            return msgspec.structs.replace(found, outcome="already")
        return msgspec.structs.replace(found, problem=f"run {found.run_id} {problem}", hint=hint, existing=existing)

    def _prepare(self) -> None:
        # Once, and apart from a single run: what is wrong with the directory is no fault of a file.
        if self._dry_run:
            if self._store.ledger and not self._target.present and self._store.stems():
                raise no_ledger(self._store.folder)
        elif not self._prepared:
            self._store.prepare()
            self._prepared = True

    def _record(self, run_id: str, events: Iterable[Written]) -> None:
        if self._dry_run:
            return
        try:
            with open_recorder(self._store, run_id) as recorder:
                try:
                    for event in events:
                        recorder.write(event.data, event.duration_us, at=event.at)
                    recorder.seal()
                except StoreError as error:
                    # An import is not gone on with: what it comes from is still there, whole.
                    hint = f"free the disk, then golden quarantine {run_id}, and import again"
                    raise StoreError(error.problem, hint=hint) from None
        except UsageError as error:
            # Somebody else began the same run just now, or the id is one that no run may have here.
            raise _RefusedError(error.problem, hint="look at what is there, then import again") from None


class _RefusedError(GoldenError):
    """One run cannot be recorded; others can."""


def _verified_bytes(file: GoldenFile, keyring: Keyring) -> bytes:
    """Return the bytes of the file, verified once more: what is parsed is what was signed."""
    fd = open_regular(file.place)
    if fd is None:
        raise StoreError(f"{file.name} is gone", hint="restore it from backup")
    try:
        data = b"".join(blocks(fd, end=MAX_HEADER + 1))
    except OSError as error:
        raise StoreError(f"read failed: {error.strerror}", hint="check the disk") from None
    finally:
        os.close(fd)
    if not same_mac(aos_mac(keyring.aos_secret or b"", [data])[0], file.read_seal(MAX_SEAL) or b""):
        hint = "find out who writes to it, restore it from backup"
        raise TamperedError("it changed while it was read", hint=hint)
    return data


def _word(error: StoreError | TamperedError) -> Word:
    return "tampered" if isinstance(error, TamperedError) else "unreadable"
