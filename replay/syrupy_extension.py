"""The syrupy extension: snapshots as syrupy writes them, kept in signed golden files.

Compares and renders nothing itself. Whoever names it has syrupy; nothing else imports it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from syrupy.data import Snapshot, SnapshotCollection, SnapshotCollections
from syrupy.extensions.amber import AmberSnapshotExtension
from syrupy.location import PyTestLocation

from golden.canonical import canonical_bytes
from golden.errors import GoldenError, UsageError
from golden.spelling import spelt_out
from golden.whereabouts import is_automatic
from replay.project import Project
from replay.shelf import SNAPSHOTS, Shelf, Value, checked_size, run_id_of


class GoldenSnapshotExtension(AmberSnapshotExtension):
    """Amber snapshots, one signed golden file a test module, in the folder that `golden_dir` names.

    A file that does not verify is an error, for `--snapshot-update` too; that is refused where `CI` is set.
    """

    # A file's place as syrupy knows it: beside the golden file, and called like its run.
    file_extension = ""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        """Return the folder of golden values."""
        return _folder(test_location)

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: Any) -> str:  # noqa: ARG003  one file a module
        """Return the path of the golden file, without its suffix."""
        place = Path(_folder(test_location), run_id_of(_module(test_location), SNAPSHOTS))
        _modules[place.name] = _module(test_location)
        if _is_updating(test_location):
            _written.add(str(place))
        return str(place)

    @classmethod
    def discovery_dirname(cls, *, test_location: PyTestLocation) -> str:
        """Return what tells one module's snapshots from another's: each is looked for by itself."""
        return cls.get_location(test_location=test_location, index=0)

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        """Whether the snapshots at that place are of this test's module."""
        return cls.get_location(test_location=test_location, index=0) == snapshot_location

    def is_snapshot_location(self, *, location: str) -> bool:
        """Whether that is a place of ours."""
        return ".ambr-" in Path(location).name

    def discover_snapshots(
        self,
        *,
        test_location: PyTestLocation,
        ignore_extensions: list[str] | None = None,  # noqa: ARG002  there is only one
    ) -> SnapshotCollections:
        """Return the snapshots of one module."""
        found = SnapshotCollections()
        collection = self.read_snapshot_collection(
            snapshot_location=self.get_location(test_location=test_location, index=0)
        )
        if collection.has_snapshots:
            found.add(collection)
        return found

    def read_snapshot_collection(self, snapshot_location: str) -> SnapshotCollection:
        """Return what is kept at that place, nothing where it does not verify."""
        shelf, run_id = _at(snapshot_location)
        collection = SnapshotCollection(location=snapshot_location)
        try:
            leaf = shelf.leaf(run_id)
            for name in leaf.kept if leaf else ():
                collection.add(Snapshot(name=name, data=shelf.value(run_id, name)))
        except GoldenError:
            # Whoever asks for one of them is told; to find out what is unused it is as if there were none.
            return SnapshotCollection(location=snapshot_location)
        return collection

    def read_snapshot_data_from_location(
        self,
        snapshot_location: str,
        snapshot_name: str,
        session_id: str,  # noqa: ARG002  a shelf knows itself when it is out of date
    ) -> str | None:
        """Return one snapshot, None where it is not kept."""
        shelf, run_id = _at(snapshot_location)
        try:
            if snapshot_location in _written:
                _refuse_writing(shelf)
            leaf = shelf.leaf(run_id)
            text: str | None = shelf.value(run_id, snapshot_name) if leaf and snapshot_name in leaf.kept else None
        except GoldenError as error:
            # As pytest.fail does: syrupy would take any other for a snapshot that differs.
            text_of_it = f"golden: {spelt_out(error.problem)}\nhint: {spelt_out(error.hint)}"
            raise pytest.fail.Exception(text_of_it, pytrace=False) from None
        return text

    @classmethod
    def write_snapshot_collection(
        cls,
        *,
        snapshot_collection: SnapshotCollection,
        name_order: dict[str, int] | None = None,  # noqa: ARG003  they are in the order of their names
    ) -> None:
        """Keep these snapshots beside those that are there."""
        values = {
            snapshot.name: Value(checked_size(canonical_bytes(str(snapshot.data))).decode(), snapshot.name)
            for snapshot in snapshot_collection
        }
        _rewrite(snapshot_collection.location, values, set())

    def delete_snapshots(self, snapshot_location: str, snapshot_names: set[str]) -> None:
        """Remove these snapshots; where none is left the golden file goes with them."""
        _rewrite(snapshot_location, {}, snapshot_names)


# Which module a run is of, and which places are written: syrupy hands on the place alone.
_modules: dict[str, str] = {}
_written: set[str] = set()


def _is_updating(location: PyTestLocation) -> bool:
    config = getattr(location.item, "config", None)
    asked = ("update_snapshots", "update_new_snapshots_only")
    return config is not None and any(config.getoption(name, default=False) for name in asked)


def _rewrite(location: str, values: dict[str, Value], gone: set[str]) -> None:
    shelf, run_id = _at(location)
    try:
        _refuse_writing(shelf)
        module = _modules.get(run_id)
        if module is None:
            leaf = shelf.leaf(run_id)
            module = leaf.module if leaf else run_id
        shelf.rewrite(run_id, module, SNAPSHOTS, values, gone)
    except GoldenError as error:
        raise _exit(error) from None


def _exit(error: GoldenError) -> BaseException:
    """Return what ends pytest with these words: at the end of all tests any other exception is told as a traceback."""
    return pytest.exit.Exception(f"golden: {spelt_out(error.problem)}\nhint: {spelt_out(error.hint)}", returncode=1)


def _refuse_writing(shelf: Shelf) -> None:
    """Raise GoldenError where nothing can be written: once all tests are over it would be too late to say so."""
    if is_automatic(os.environ):
        raise UsageError(
            "--snapshot-update: an automatic build (CI) keeps no golden values",
            hint="run it where somebody looks at them, and commit them",
        )
    shelf.store.keyring.active  # noqa: B018  refuses where there is none


def _at(location: str) -> tuple[Shelf, str]:
    place = Path(location)
    return _shelf(str(place.parent)), place.name


@cache
def _shelf(folder: str) -> Shelf:
    try:
        return Shelf(_project(_roots.get(folder, str(Path.cwd()))).store(folder))
    except GoldenError as error:
        raise _exit(error) from None


# Where looking for the configuration begins, by the folder of golden values.
_roots: dict[str, str] = {}


def _module(location: PyTestLocation) -> str:
    return Path(os.path.relpath(location.filepath, _project(_root(location)).root)).as_posix()


def _root(location: PyTestLocation) -> str:
    config = getattr(location.item, "config", None)
    return str(config.rootpath) if config else str(Path.cwd())


def _folder(location: PyTestLocation) -> str:
    root = _root(location)
    config = getattr(location.item, "config", None)
    try:
        given = config.getini("golden_dir") if config else ""
    except ValueError:
        # The plugin is turned off.
        given = ""
    folder = str(Path(root, given) if given else Path(_project(root).directory, "pytest"))
    _roots.setdefault(folder, root)
    return folder


@cache
def _project(root: str) -> Project:
    try:
        return Project(root, dict(os.environ), str(Path.cwd()))
    except GoldenError as error:
        raise _exit(error) from None
