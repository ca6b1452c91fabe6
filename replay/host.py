"""Host: what a run is given by the place where it runs, and what that place refuses.

Runs nothing. None of it is told by a recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from golden.errors import FormatError, UsageError
from golden.event import StepData
from golden.recognition import Recognition
from golden.store import Store
from replay.controls import Controls
from replay.driver import refuse_running_loop
from replay.frames import Failure
from replay.guard import Mode, checked_mode
from replay.progress import Saving
from replay.skill import SkillRegistry
from replay.spec import Spec


class Observer(Protocol):
    """Who watches a run being recorded."""

    def step(self, data: StepData, failure: Failure | None) -> None:
        """Take note of a step that was recorded, with what its code raised."""

    def note(self, text: str) -> None:
        """Take note of something about the run as a whole."""


class Host(msgspec.Struct):
    """What a run is given by the place where it runs: none of it is told by the recording.

    Attributes:
        registry: the skills.
        store: where the golden file goes.
        saving: where checkpoints go, None for nowhere.
        controls: what may stop it from outside, None for nothing.
        environ: the environment whose names are recorded.
        observer: who watches.
        width: how many steps may be under way at a time.
        guard: what is done about calls that no replay could do alike.
        allow_secrets: where what looks like a secret may be written, beside the places of the spec.
    """

    registry: SkillRegistry
    store: Store
    saving: Saving | None = None
    controls: Controls | None = None
    environ: Mapping[str, str] = {}
    observer: Observer | None = None
    width: int = 1
    guard: Mode = "warn"
    allow_secrets: tuple[str, ...] = ()

    @property
    def versions(self) -> dict[str, str]:
        """The declared version of each skill."""
        return {skill.id: skill.version for skill in self.registry}

    def recognition(self, spec: Spec) -> Recognition:
        """Return what refuses undeclared secrets in a run of `spec`; raises UsageError for a place that is none."""
        try:
            return Recognition([*spec.allow_secrets, *self.allow_secrets])
        except FormatError as error:
            raise UsageError(error.problem, hint=error.hint) from None

    def refuse_halted(self) -> None:
        """Raise UsageError where somebody has stopped the engine."""
        halt = self.controls.refusal() if self.controls else None
        if halt is not None:
            raise halt.refusal()

    def refuse_unready(self, spec: Spec) -> None:
        """Raise UsageError where `spec` cannot run here: a skill is missing, or could not be awaited."""
        missing = missing_skills(spec, self.registry)
        if missing:
            raise UsageError(
                f"SKILL_NOT_FOUND: no skill {missing[0]} is registered",
                hint="load the module that registers it (--skills)",
            )
        checked_mode(self.guard)
        if self.width < 1:
            raise UsageError(f"{self.width} steps at a time is no number of steps", hint="use 1 or more")
        refuse_running_loop(self.registry)


def missing_skills(spec: Spec, registry: SkillRegistry) -> list[str]:
    """Return the skill ids that `spec` names and `registry` lacks, in the spec's order."""
    return list(dict.fromkeys(step.skill_id for step in spec.steps if registry.get(step.skill_id) is None))
