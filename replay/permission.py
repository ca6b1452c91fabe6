"""Permission: whether the commands that a recording names may be run here: only whoever invokes us can say so.

Looks at a spec and runs nothing. Normative text: docs/format.md, "A recording chooses no code".
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from golden.canonical import decode
from golden.errors import StoreError
from replay.command import SKILL
from replay.reference import RUN_INPUTS
from replay.spec import Spec


class Permit(msgspec.Struct, frozen=True):
    """What whoever replays a recording, or goes on with it, lets its commands do; nothing, unless they say so.

    Attributes:
        commands: whether any command is run.
        named: whether the spec in force is one that they named themselves: its commands are run if all of each stands
            there. What comes into it by a reference comes from the recording.
        environ: the variables that a command may be given, of those that the recording names.
    """

    commands: bool = False
    named: bool = False
    environ: Mapping[str, str] = {}


class CommandRefusedError(StoreError):
    """A recording would have commands run, and nobody has said that they may be."""


def refuse_commands(spec: Spec, inputs: bytes, permit: Permit, *, answered: bool) -> None:
    """Raise CommandRefusedError where `spec` has a command that `permit` does not cover.

    Args:
        spec: the spec in force.
        inputs: the run's inputs, canonical.
        permit: what is allowed.
        answered: whether steps that are `external` are answered from the recording.
    """
    if permit.commands:
        return
    refused = [
        (step.id, _argv(spec, n, decode(inputs)))
        for n, step in enumerate(spec.steps)
        if step.skill_id == SKILL
        and not (answered and step.external)
        and not (permit.named and spec.templates[n].fixed)
    ]
    if refused:
        told = "; ".join(f"step {step_id} would run: {argv}" for step_id, argv in refused)
        raise CommandRefusedError(
            f"the recording chooses what is executed: {told}", hint="if you trust these commands: --allow-exec"
        )


def _argv(spec: Spec, n: int, inputs: Any) -> str:
    """Return a command as a shell would be given it, with what the run's inputs put into it."""

    def value_of(root: str) -> Any:
        if root != RUN_INPUTS:
            raise LookupError(root)
        return inputs

    try:
        resolved = spec.templates[n].resolve(value_of)
    except (LookupError, TypeError):
        resolved = spec.steps[n].inputs
    argv = resolved.get("argv")
    return shlex.join(map(str, argv)) if isinstance(argv, list) else str(argv)
