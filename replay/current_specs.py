"""Current specs: spec files as they are now, by the id that a recording names: compared with it, or gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from golden.errors import UsageError
from golden.event import RunStart
from replay.command import ONE_COMMAND
from replay.engine import BY_PATH
from replay.spec import NoSpecError, Spec, load_spec

_SUFFIXES = (".json", ".toml", ".yaml", ".yml")


class CurrentSpecs:
    """The one spec that was named (`path`), else those among the configured `places`: files, and folders of files."""

    def __init__(self, places: Sequence[str], path: str | None) -> None:
        self._places = [] if path is not None else places
        self._path = path

    @cached_property
    def named(self) -> Spec | None:
        """The spec that was named, None where none was; raises UsageError."""
        return None if self._path is None else load_spec(Path(self._path))

    @cached_property
    def _by_id(self) -> dict[str, list[Spec]]:
        found: dict[str, list[Spec]] = {}
        for path in self._files():
            spec = load_spec(path)
            found.setdefault(spec.id, []).append(spec)
        return found

    def load(self) -> None:
        """Read all files now; raises UsageError for one that is no spec."""
        if self.named is None:
            self._by_id  # noqa: B018  read once, before any code of theirs runs

    def of(self, start: RunStart) -> Spec | None:
        """Return the spec as it is now of a run with that header, None where nobody says where it is.

        The spec of a function stands in no file.

        Raises:
            UsageError: two files have its id, or none has.
        """
        if self.named is not None or start.seed_scheme == BY_PATH:
            return self.named
        spec_id = start.spec_id
        current = self._by_id.get(spec_id or "", [])
        if len(current) > 1:
            places = " and ".join(spec.source for spec in current[:2])
            raise UsageError(f"two specs with id {spec_id}: {places}", hint="rename one, or say which: --spec")
        if self._places and not current and spec_id != ONE_COMMAND:
            raise NoSpecError(
                f"no spec under `specs` has the id {spec_id}",
                hint="restore it, say which one: --spec, or unset `specs`",
            )
        return current[0] if current else None

    def _files(self) -> Iterator[Path]:
        for place in map(Path, self._places):
            if place.is_dir():
                yield from sorted(path for path in place.iterdir() if path.suffix in _SUFFIXES)
            else:
                yield place
