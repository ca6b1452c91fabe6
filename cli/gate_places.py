"""Gate places: the recordings that `golden gate` was told to judge, each once, and what is wrong with the places.

Judges none of them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence

from cli.ci import ledger_of
from cli.command import Session
from golden.directory import Directory
from golden.errors import KeyringError, StoreError, UsageError
from golden.review import pending_folder, waiting
from golden.store import SEAL_SUFFIX, GoldenFile, Store, locate, stems
from replay.judgement import DIFFERS, UNDECIDED, Finding, Judgement, code_of


class Places:
    """The recordings that were named, each once, and what is to be said of the places themselves."""

    def __init__(self, session: Session, store: Store) -> None:
        self._session = session
        self._store = store
        self._seen: set[str] = set()
        # Apart: one that is named itself is judged, and waits all the same.
        self._waiting: set[str] = set()
        self._folders: dict[str, Directory] = {}
        self.files: list[GoldenFile] = []
        self.findings: list[Finding] = []
        # Recordings that wait for review; in CI nobody will.
        self.pending: list[Judgement] = []
        self.waiting = 0
        self._has_folder = False

    def add(self, place: str) -> None:
        """Take a RUN, a folder, a pattern, or a list of these."""
        if place.startswith("@"):
            for line in _lines(place[1:]):
                if line.startswith("@"):
                    raise UsageError(f"the list {place[1:]} names another list: {line}", hint="give both as @LIST")
                self.add(line)
        elif os.path.isdir(place):
            try:
                self._add_folder(place)
            except StoreError as error:
                self._find("unreadable", error.problem, error.hint, place)
        elif any(sign in place for sign in "*?[") and not os.path.lexists(place):
            paths = sorted(glob.glob(place, recursive=True))
            for path in paths:
                self.add(path)
            if not paths:
                self._find("nothing", "there is no recording to judge", "nothing has a name like that", place)
        else:
            # A seal stands for what it seals: a pattern, and whoever lists what changed, names both.
            file = locate(place.removesuffix(".sig") if place.endswith(SEAL_SUFFIX) else place, self._store.folder)
            self._add(file)
            waits = GoldenFile(pending_folder(file.folder), file.stem).place
            if os.path.lexists(waits) or os.path.lexists(f"{waits}.sig"):
                self._add_pending(file.folder, file.stem)
            finding = self.directory(file.folder).finding
            if finding is not None:
                self._find(finding.verdict, finding.problem, finding.hint, self.directory(file.folder).place)

    def add_golden_directory(self) -> None:
        """Take what is judged where nothing is named."""
        if os.path.isdir(self._store.folder):
            self.add(self._store.folder)
        else:
            self._find(
                "nothing",
                "there is no golden directory",
                "golden record SPEC makes it; check --dir",
                self._store.folder,
            )

    @property
    def can_sign(self) -> bool:
        """Whether a secret is at hand that signs."""
        try:
            return bool(self._store.keyring.signers)
        except KeyringError:
            return False

    def directory(self, folder: str) -> Directory:
        """Return the folder that a file lies in, as its ledger sees it."""
        name = os.path.realpath(folder)
        if name not in self._folders:
            self._folders[name] = self._store.read().at(folder)
        return self._folders[name]

    def find_dead_rules(self, judgements: Sequence[Judgement]) -> None:
        """Take note of rules of the configuration that match nothing anywhere, where all of a folder was judged."""
        if not self._has_folder or any(judgement.code for judgement in judgements):
            return
        values = self._session.settings.values
        dead = {*values["volatile"], *values["redact"]}.intersection(*(judgement.idle for judgement in judgements))
        if dead:
            problem = f"rules of the configuration that matched nothing in any recording: {', '.join(sorted(dead))}"
            place = self._session.settings.file
            self._find("dead-rule", problem, "correct the path, or remove it", place and os.path.relpath(place))

    def close(self) -> None:
        """Take note of having found nothing at all."""
        if not self.files and not self.findings:
            self._find("nothing", "there is no recording to judge", "golden record SPEC writes one; check --dir")

    def _add_folder(self, folder: str) -> None:
        self._has_folder = True
        directory = self.directory(folder)
        found = stems(folder)
        names = sorted({*found, *(run_id for run_id, run in directory.runs.items() if run.present)})
        for name in names:
            self._add(GoldenFile(folder, name))
        _, finding = ledger_of(self._session, directory, empty=not found)
        if finding is not None:
            self._find(finding.verdict, finding.problem, finding.hint, directory.place)
        elif not names:
            self._find("nothing", "there is no recording to judge", "check that it was checked out", folder)
        for name in waiting(folder):
            self._add_pending(folder, name)

    def _add(self, file: GoldenFile) -> None:
        if self._is_new(file, self._seen):
            self.files.append(file)

    def _add_pending(self, folder: str, name: str) -> None:
        file = GoldenFile(pending_folder(folder), name)
        if self._is_new(file, self._waiting):
            self.waiting += 1
            if self._session.settings.is_ci:
                self.pending.append(_pending(file))

    @staticmethod
    def _is_new(file: GoldenFile, seen: set[str]) -> bool:
        place = os.path.join(os.path.realpath(file.folder), file.name)
        known = place in seen
        seen.add(place)
        return not known

    def _find(self, word: str, problem: str, hint: str, path: str | None = None) -> None:
        code = UNDECIDED if word == "nothing" else code_of(word)  # type: ignore[arg-type]
        found = Finding(word, problem, hint, code, path)
        if found not in self.findings:
            self.findings.append(found)


def _pending(file: GoldenFile) -> Judgement:
    return Judgement(
        run_id=file.stem,
        path=file.place,
        verdict="pending",
        code=DIFFERS,
        problem="a recording waits for review, which nobody does here",
        hint="golden review, where it was made; then commit what was accepted, and no pending one",
    )


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise UsageError(f"the list {path} cannot be read: {error.strerror}", hint="check its name") from None
    yield from (line for line in lines if line and not line.startswith("#"))
