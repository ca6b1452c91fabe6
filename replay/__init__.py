"""Execution: recording a run of a spec with skills, replaying it, and going on with one that did not end well."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.checkpoints.contract import CheckpointStore, CheckpointVersionConflictError
    from replay.checkpoints.file import FileCheckpointStore
    from replay.checkpoints.memory import MemoryCheckpointStore
    from replay.checkpoints.postgres import PostgresCheckpointStore
    from replay.checkpoints.sqlite import SqliteCheckpointStore
    from replay.context import Context
    from replay.controls import Controls
    from replay.decorators import external, step
    from replay.divergence import Divergence
    from replay.effects import EffectError
    from replay.host import Host
    from replay.policy import Policy
    from replay.replayer import Replay, replay
    from replay.resuming import ChangedError, Terms, fork, recover, resume
    from replay.runner import record
    from replay.skill import SkillRegistry
    from replay.spec import Spec, Step, load_spec
    from replay.web import http

_HOMES = {
    "checkpoints.contract": ("CheckpointStore", "CheckpointVersionConflictError"),
    "checkpoints.file": ("FileCheckpointStore",),
    "checkpoints.memory": ("MemoryCheckpointStore",),
    "checkpoints.postgres": ("PostgresCheckpointStore",),
    "checkpoints.sqlite": ("SqliteCheckpointStore",),
    "context": ("Context",),
    "controls": ("Controls",),
    "decorators": ("external", "step"),
    "divergence": ("Divergence",),
    "effects": ("EffectError",),
    "host": ("Host",),
    "policy": ("Policy",),
    "replayer": ("Replay", "replay"),
    "resuming": ("ChangedError", "Terms", "fork", "recover", "resume"),
    "runner": ("record",),
    "skill": ("SkillRegistry",),
    "spec": ("Spec", "Step", "load_spec"),
    "web": ("http",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ChangedError",
    "CheckpointStore",
    "CheckpointVersionConflictError",
    "Context",
    "Controls",
    "Divergence",
    "EffectError",
    "FileCheckpointStore",
    "Host",
    "MemoryCheckpointStore",
    "Policy",
    "PostgresCheckpointStore",
    "Replay",
    "SkillRegistry",
    "Spec",
    "SqliteCheckpointStore",
    "Step",
    "Terms",
    "external",
    "fork",
    "http",
    "load_spec",
    "record",
    "recover",
    "replay",
    "resume",
    "step",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'replay' has no attribute {name!r}")
    return getattr(import_module(f"replay.{_HOME[name]}"), name)
