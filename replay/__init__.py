"""Execution: recording a run of a spec with skills, and replaying it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.context import Context
    from replay.divergence import Divergence
    from replay.effects import EffectError
    from replay.replayer import Replay, replay
    from replay.runner import record
    from replay.skill import SkillRegistry
    from replay.spec import Spec, Step, load_spec

_HOMES = {
    "context": ("Context",),
    "divergence": ("Divergence",),
    "effects": ("EffectError",),
    "replayer": ("Replay", "replay"),
    "runner": ("record",),
    "skill": ("SkillRegistry",),
    "spec": ("Spec", "Step", "load_spec"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Context",
    "Divergence",
    "EffectError",
    "Replay",
    "SkillRegistry",
    "Spec",
    "Step",
    "load_spec",
    "record",
    "replay",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'replay' has no attribute {name!r}")
    return getattr(import_module(f"replay.{_HOME[name]}"), name)
