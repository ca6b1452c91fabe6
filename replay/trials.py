"""Trials: recordings as a test asks for them: one of the project replayed and judged, one made for this test alone.

Fails no test: whoever asked is given the judgement, and words for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from golden.keyring import HMAC_SHA256, Keyring, new_secret
from golden.recording import Recording
from golden.spelling import spelt_out
from golden.store import GoldenFile, Store, locate
from replay.judgement import UNDECIDED, Judgement
from replay.project import Project
from replay.report.words import headline, rule_of, sides
from replay.skill import SkillRegistry, load_skills
from replay.spec import Spec

if TYPE_CHECKING:
    from replay.replayer import Replay

Skills = SkillRegistry | str | Sequence[str]


class Trials:
    """The recordings of one test; `folder` makes an empty folder for those that it makes.

    All methods raise GoldenError where nothing can be replayed or recorded at all.
    """

    def __init__(self, project: Project, folder: Callable[[], Path]) -> None:
        self._project = project
        self._folder = folder
        self._made: list[Recording] = []

    def replay(
        self,
        run: str | os.PathLike[str] | Recording,
        skills: Skills | None,
        function: Callable[..., Any] | None,
        spec: Spec | Mapping[str, Any] | None,
        inputs: Mapping[str, Any] | None,
        *,
        timeline: bool,
    ) -> tuple[Replay, Judgement]:
        """Replay a recording, given by run id, by path or open, with a function or skills; see `Golden.replay`."""
        # Half of what replaying needs, and tests that only check values need none of it.
        judging, replayer = import_module("replay.judging"), import_module("replay.replayer")
        code = function or self._registry(skills)
        recording, path = self._opened(run)
        watch = judging.Watch()
        try:
            if spec is None and recording is not run:
                spec = self._project.specs.of(recording.start)
            answer: Replay = replayer.replay(recording, code, spec, inputs=inputs, observer=watch)
            judgement: Judgement = judging.judged(recording, answer, watch, path=path, timeline=timeline)
        finally:
            if recording is not run:
                recording.close()
        if answer.dead and judgement.verdict == "matched":
            problem = f"volatile paths that matched nothing: {', '.join(answer.dead)}"
            hint = "correct or remove them, then record the run again"
            judgement = msgspec.structs.replace(
                judgement, verdict="refused", code=UNDECIDED, problem=problem, hint=hint
            )
        return answer, judgement

    def record(self, spec: Any, skills: Skills | None, choices: Mapping[str, Any]) -> Recording:
        """Record a spec or a function in a folder and with a key of its own, and return the recording, open."""
        keyring = Keyring(new_secret(HMAC_SHA256).removesuffix(b"\n"))
        store = Store(self._folder(), keyring, durability="never", ledger=False)
        registry = None if callable(spec) else self._registry(skills)
        record = import_module("replay.runner").record
        recording: Recording = record(spec, registry, store=store, **{"seed": 0, **choices})
        self._made.append(recording)
        return recording

    def close(self) -> None:
        """Close what was recorded."""
        for recording in self._made:
            recording.close()

    def _opened(self, run: str | os.PathLike[str] | Recording) -> tuple[Recording, str]:
        if isinstance(run, Recording):
            return run, run.run_id
        store = self._project.store()
        text = os.fspath(run)
        named = "/" in text or text.endswith(".jsonl")
        file = GoldenFile.at(Path(self._project.root, text)) if named else locate(text, store.folder)
        return Recording.open(file, store.read().at(file.folder)), self._project.shown(file.place)

    def _registry(self, skills: Skills | None) -> SkillRegistry:
        if isinstance(skills, SkillRegistry):
            return skills
        names = self._project.skills if skills is None else [skills] if isinstance(skills, str) else skills
        return load_skills([self._project.skill_place(name) for name in names])


def lines_of(found: Judgement) -> Iterator[str]:
    """Give what a test says of a recording that did not replay."""
    yield spelt_out(f"{found.run_id}: {headline(found)}")
    for name, text in sides(found):
        yield f"  {name:<9} {spelt_out(text)}"
    if found.divergence is not None and found.divergence.location:
        yield spelt_out(f"  at        {found.divergence.location}")
    if found.divergence is not None and found.divergence.cause == "spec":
        yield spelt_out(f"  spec      {found.spec_source}")
    if found.failure is not None:
        yield spelt_out(f"  {found.failure.type}: {found.failure.message}")
    yield from (spelt_out(f"  note: {note}") for note in found.notes)
    yield f"hint: {spelt_out(found.hint or rule_of(found)[1].help)}"
