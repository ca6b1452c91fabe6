"""Gate: judges recordings: verified, then replayed, and everything that must not pass for a match is said.

Writes nothing, and chooses no words for people.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from typing import Any

import msgspec
from msgspec.structs import replace

from golden.directory import Directory
from golden.errors import StoreError, TamperedError, UsageError
from golden.event import RunStart
from golden.recording import Recording, refusal
from golden.store import GoldenFile
from golden.verdict import Verdict, examine
from replay.guard import Mode
from replay.judgement import DIFFERS, TAMPERED, UNDECIDED, Judgement
from replay.judging import Watch, judged, judged_at_rest
from replay.patches import in_place
from replay.permission import Permit
from replay.replayer import replay
from replay.skill import SkillRegistry
from replay.spec import NoSpecError, Spec
from replay.unchanged import Match, Unchanged


class Terms(msgspec.Struct, frozen=True):
    """What recordings are judged by besides themselves: see `replay` for `inputs`, `permit` and `guard`.

    `timeline` says whether a judgement tells each step, for a report that shows them.
    """

    inputs: Mapping[str, Any] | None
    permit: Permit
    guard: Mode | None = None
    timeline: bool = False


class Gate:
    """Judges one recording after another, in a process that is there for nothing else.

    Args:
        directory: gives the directory that a file lies in, read and judged.
        skills: loads the skills when they are first needed: the user's code, in this process.
        spec: gives the spec as it is now of a run with that header, None where nobody says where specs are.
        terms: the rest.
        unchanged: earlier matches that need no replay, None to replay everything.

    `match` is what the last judgement hung on, where it was made by a replay and is worth keeping.
    """

    def __init__(
        self,
        directory: Callable[[str], Directory],
        skills: Callable[[], SkillRegistry],
        spec: Callable[[RunStart], Spec | None],
        terms: Terms,
        unchanged: Unchanged | None = None,
    ) -> None:
        self._directory = directory
        self._skills = skills
        self._spec = spec
        self._terms = terms
        self._unchanged = unchanged
        self._asked = False
        self.match: Match | None = None
        self._registry: SkillRegistry | None = None
        self._patches = ExitStack()

    def judge(self, file: GoldenFile) -> Judgement:
        """Return the judgement on one file.

        Raises:
            UsageError: the skills cannot be loaded, or a spec among the configured ones is none.
        """
        began = time.perf_counter()
        self.match = None
        found = self._judge(file)
        return replace(found, seconds=time.perf_counter() - began)

    def _judge(self, file: GoldenFile) -> Judgement:
        directory = self._directory(file.folder)
        try:
            verdict, proof = examine(file, directory)
        except StoreError as error:
            verdict, proof = Verdict(file.stem, file.place, "unreadable", error.problem, error.hint), None
        if proof is None:
            if verdict.verdict == "intact":
                aos = refusal(verdict)
                found = replace(judged_at_rest(verdict), verdict="refused", code=UNDECIDED)
                return replace(found, problem=aos.problem, hint=aos.hint)
            return judged_at_rest(verdict)
        with Recording(verdict, proof) as recording:
            ledger = directory.finding
            if ledger is not None and not ledger.tolerable:
                doubted = replace(verdict, verdict=ledger.verdict, problem=ledger.problem, hint=ledger.hint)
                return judged_at_rest(doubted)
            return replace(self._replayed(file, recording), kid=verdict.kid)

    def _replayed(self, file: GoldenFile, recording: Recording) -> Judgement:
        judgement = Judgement(
            run_id=recording.run_id,
            path=file.place,
            verdict="refused",
            code=UNDECIDED,
            spec_id=recording.start.spec_id,
        )
        try:
            current = self._spec(recording.start)
        except NoSpecError as error:
            unused = replace(judgement, verdict="unused", code=DIFFERS, kind="unused")
            return replace(unused, problem=error.problem, hint=error.hint)
        except UsageError as error:
            return replace(judgement, problem=error.problem, hint=error.hint)
        recalled = self._unchanged.recalled(recording, current, file.place) if self._unchanged else None
        if recalled is not None:
            return recalled
        with self._unchanged.noticing() if self._unchanged else nullcontext():
            found = self._made(file, recording, current, judgement)
        if self._unchanged and not self._asked:
            self.match = self._unchanged.match(recording, current, found)
        return found

    def _made(self, file: GoldenFile, recording: Recording, current: Spec | None, judgement: Judgement) -> Judgement:
        """Return the judgement that replaying makes of a recording; `judgement` says what is known before."""
        if self._registry is None:
            self._registry = self._skills()
            if self._terms.guard != "off":
                # For all recordings at once: this process is there for nothing else.
                self._patches.enter_context(in_place())
        watch = Watch()
        try:
            answer = replay(
                recording,
                self._registry,
                current,
                inputs=self._terms.inputs,
                observer=watch,
                permit=self._terms.permit,
                guard=self._terms.guard,
            )
            # What is not the same in every replay may be another in the next one.
            self._asked = bool(answer.asked)
            found = judged(recording, answer, watch, path=file.place, timeline=self._terms.timeline)
        except (TamperedError, StoreError) as error:
            # It was changed while it was being read, or the disk failed.
            code = TAMPERED if isinstance(error, TamperedError) else UNDECIDED
            word = "tampered" if isinstance(error, TamperedError) else "unreadable"
            return replace(judgement, verdict=word, code=code, problem=error.problem, hint=error.hint)
        if found.verdict == "matched" and answer.dead:
            problem = f"rules that matched nothing: {', '.join(answer.dead)}"
            hint = "correct the path in the spec or the configuration, or remove it, then record the run again"
            return replace(found, verdict="refused", code=UNDECIDED, problem=problem, hint=hint)
        return found
