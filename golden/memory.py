"""Memory: what this host has seen of each directory's ledger, so that an older one put in its place is noticed.

Lies in the user's state directory, away from the golden files; holds no secret and vouches for nothing alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cache

import msgspec

from golden.errors import StoreError
from golden.event import Count, Hash, Id128, Kid
from golden.files import locked, open_folder, open_regular, put, sweep
from golden.ledger import Anchor

MAX_MEMORY = 1 << 20


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One directory as it was seen last: its ledger's anchor, if it had one, and the keys seen revoked there."""

    dir_id: Id128 | None = None
    hash: Hash | None = None
    lines: Count = 0
    path: str
    revoked: list[Kid] = []

    @property
    def anchor(self) -> Anchor | None:
        """The ledger as it was seen last, None where there was none."""
        return Anchor(self.dir_id, self.lines, self.hash) if self.dir_id and self.hash and self.lines else None


_decoder = cache(msgspec.json.Decoder)
_encode = msgspec.json.Encoder(order="sorted").encode


class Memory:
    """The state directory at `folder`; directories are found in it by their real paths."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def recall(self, directory: str) -> Remembered | None:
        """Return what is remembered of a directory; raises StoreError where that cannot be read."""
        place = os.path.join(self.folder, self._name(directory))
        fd = open_regular(place)
        if fd is None:
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(MAX_MEMORY)
        try:
            found: Remembered = _decoder(Remembered).decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise StoreError(
                f"the memory of {directory} in {place} is damaged",
                hint="compare the ledger with an anchor (`golden verify --anchor`), remove that file, and revoke anew"
                " what was revoked on this host alone",
            ) from None
        return found

    def remember(self, directory: str, anchor: Anchor | None, revoked: Iterable[str], *, instead: bool = False) -> None:
        """Keep a directory's anchor and the keys seen revoked; a shorter ledger is kept only `instead` of a longer one.

        Raises:
            StoreError: the state directory cannot be written.
        """
        kids = set(revoked)
        if self._joined(directory, anchor, kids, instead=instead) is None:
            return
        name = self._name(directory)
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with open_folder(self.folder) as folder, locked(folder, f"{name}.lock"):
                # Once more, now that nobody else adds to it.
                found = self._joined(directory, anchor, kids, instead=instead)
                if found is not None:
                    sweep(folder, name)
                    like = os.stat_result((0o600, 0, 0, 1, os.geteuid(), os.getegid(), 0, 0, 0, 0))
                    # An anchor is seen again; a revocation may be remembered nowhere else.
                    before = self.recall(directory)
                    durable = not kids.issubset(before.revoked if before else ())
                    put(folder, name, _encode(found) + b"\n", like, durable=durable)
        except OSError as error:
            raise self._unwritable(error.strerror) from None
        except StoreError as error:
            raise self._unwritable(error.problem) from None

    def _joined(self, directory: str, anchor: Anchor | None, revoked: set[str], *, instead: bool) -> Remembered | None:
        """Return what is to be remembered from now on, None where that is nothing new."""
        before = self.recall(directory)
        known = before.anchor if before else None
        stale = anchor is None or (
            known is not None and not instead and (anchor.dir_id != known.dir_id or anchor.lines <= known.lines)
        )
        kept = known if stale else anchor
        kids = sorted({*revoked, *(before.revoked if before else ())})
        found = Remembered(
            dir_id=kept.dir_id if kept else None,
            hash=kept.hash if kept else None,
            lines=kept.lines if kept else 0,
            path=os.path.realpath(directory),
            revoked=kids,
        )
        return None if found == before or (before is None and kept is None and not kids) else found

    def require_writable(self, directory: str) -> None:
        """Raise StoreError where nothing more of a directory can be remembered: a writer must be able to."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with open_folder(self.folder) as folder, locked(folder, ".probe.lock"):
                pass
        except OSError as error:
            raise self._unwritable(error.strerror) from None
        except StoreError as error:
            raise self._unwritable(error.problem) from None
        self.recall(directory)

    def _unwritable(self, why: str | None) -> StoreError:
        return StoreError(
            f"the state directory {self.folder} cannot be written: {why}", hint="set GOLDEN_STATE_DIR to one that can"
        )

    def _name(self, directory: str) -> str:
        return hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:32] + ".json"
