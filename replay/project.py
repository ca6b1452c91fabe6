"""Project: what a library is told of a project: golden directories, keys, skills, specs, found as the command does.

Is given the environment, and reads no key of the configuration that is the command's alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from golden.errors import UsageError
from golden.keyring import Keyring
from golden.memory import Memory
from golden.sources import Pool, Sources, keyring_from, read_sources
from golden.store import Store
from golden.whereabouts import find_configuration, sources_place, state_place, usual_keyring
from replay.current_specs import CurrentSpecs

_PATHS = ("GOLDEN_DIR", "GOLDEN_KEYRING", "GOLDEN_SOURCES", "GOLDEN_STATE_DIR", "GOLDEN_SECRET_FILE")


class Project:
    """The project that the folder `root` lies in. All paths are absolute: the code of a test may go elsewhere.

    Args:
        root: where looking for the configuration begins, upwards.
        environ: the environment.
        cwd: what paths in the environment are relative to.

    Raises:
        UsageError: the configuration cannot be used.
    """

    def __init__(self, root: str, environ: Mapping[str, str], cwd: str) -> None:
        paths = {name: str(Path(cwd, environ[name])) for name in _PATHS if environ.get(name)}
        self._environ = {**environ, **paths}
        self._file, self._values = find_configuration(root)
        self.root = str(Path(self._file).parent) if self._file else root
        self.directory = paths.get("GOLDEN_DIR") or str(Path(self.root, self._text("dir", ".golden")))
        self._keyring: Keyring | None = None

    @property
    def skills(self) -> list[str]:
        """The configured skill modules, paths absolute."""
        return [self.skill_place(name) for name in self._names("skills")]

    @cached_property
    def specs(self) -> CurrentSpecs:
        """The configured spec files, read when one of them is first asked for."""
        return CurrentSpecs([str(Path(self.root, name)) for name in self._names("specs")], None)

    def skill_place(self, name: str) -> str:
        """Return where skills are loaded from, a path absolute, the name of a module as it is."""
        return str(Path(self.root, name)) if name.partition(":")[0].endswith(".py") else name

    def shown(self, path: str) -> str:
        """Return a path as the project's people know it: relative to its root, if it lies below it."""
        relative = os.path.relpath(path, self.root)
        return path if relative.startswith("..") else relative

    def store(self, folder: str | None = None) -> Store:
        """Return a golden directory, by default the project's, with the keys at hand.

        Raises:
            KeyringError, UsageError: keys or configuration cannot be used.
        """
        ledger = self._values.get("ledger", True)
        if not isinstance(ledger, bool):
            raise self._wrong("ledger", "true or false")
        state = state_place(self._environ)
        return Store(
            folder or self.directory,
            self._keys(),
            durability=self._text("durability", "seal"),
            ledger=ledger,
            memory=Memory(state) if state else None,
        )

    def _keys(self) -> Keyring:
        if self._keyring is None:
            path = self._environ.get("GOLDEN_KEYRING") or self._text("keyring", "")
            policy = str(Path(self.root, path)) if path else usual_keyring(self.root)
            self._keyring = keyring_from(Pool(self._environ, self._sources()), policy)
        return self._keyring

    def _sources(self) -> Sources:
        path = sources_place(self._environ)
        # One that was named must be there.
        if path is None or not (self._environ.get("GOLDEN_SOURCES") or os.path.lexists(path)):
            return Sources()
        return read_sources(path)

    def _names(self, key: str) -> list[str]:
        given = self._values.get(key, [])
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise self._wrong(key, "text or a list of texts")
        return names

    def _text(self, key: str, default: str) -> str:
        value: Any = self._values.get(key, default)
        if not isinstance(value, str) or (not value and key in self._values):
            raise self._wrong(key, "text")
        return value

    def _wrong(self, key: str, what: str) -> UsageError:
        return UsageError(f"{Path(self._file or '').name}: {key} must be {what}", hint="correct it")
