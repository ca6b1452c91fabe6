"""Gate matches: where the gate keeps what matched, for whoever runs it again on the same machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from cli.settings import Settings
from golden.canonical import sha256_hex
from replay.unchanged import Match, Unchanged

# Another one for each command, and nobody's input.
_OF_THE_SHELL = frozenset({"_", "SHLVL", "OLDPWD"})
_decode = msgspec.json.Decoder(dict[str, Match]).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


class Matches:
    """Earlier matches of this project, from the user's cache folder; one that cannot be read is none."""

    def __init__(self, settings: Settings, values: Mapping[str, Any], given: Sequence[Any]) -> None:
        folder = settings.cache_dir
        name = f"gate-{sha256_hex(os.path.realpath(settings.root).encode('utf-8', 'surrogateescape'))[:16]}.json"
        self._path = None if folder is None else os.path.join(folder, name)
        self._known: dict[str, Match] = {}
        if self._path is not None:
            with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError), open(self._path, "rb") as file:
                # What somebody else wrote there is no word of ours.
                if os.fstat(file.fileno()).st_uid == os.geteuid():
                    self._known = _decode(file.read())
        names = ("skills", "functions", "specs", "guard", "volatile", "policy")
        # Their hash alone: what variables hold is no business of a cache.
        around = sorted((name, value) for name, value in settings.user_environ().items() if name not in _OF_THE_SHELL)
        variables = sha256_hex(ascii(around).encode())
        about = msgspec.to_builtins([os.getcwd(), {name: values.get(name) for name in names}, given, variables])
        self.unchanged = Unchanged(self._known, about)

    def keep(self, matches: Mapping[str, Match]) -> None:
        """Keep new matches beside those that are known, as far as their golden files are still there."""
        if self._path is None or not matches:
            return
        found = {path: match for path, match in self._known.items() if os.path.lexists(path)} | dict(matches)
        folder = os.path.dirname(self._path)
        with suppress(OSError):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            fd, beside = tempfile.mkstemp(dir=folder)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(_encode(found))
                os.replace(beside, self._path)
            except OSError:
                os.unlink(beside)
                raise
