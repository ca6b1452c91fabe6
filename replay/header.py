"""Header: what a run says of itself before anything is run: spec, inputs, seed, budget, policy, rules.

Writes nothing; a header that cannot be is refused here, before there is a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET, Raw, UnsetType

from golden.canonical import canonical_bytes
from golden.errors import FormatError, SecretError, UsageError
from golden.event import FORMAT, ResumedFrom, RunStart
from golden.recognition import Recognition
from golden.redaction import Redaction
from replay.budget import Budget
from replay.environment import recorded_environment
from replay.guard import RECORDED
from replay.host import Host
from replay.policy import Policy
from replay.skill import SkillRegistry
from replay.spec import Spec


def header_of(  # noqa: PLR0913  one parameter for each thing that a run says of itself
    spec: Spec,
    host: Host,
    *,
    inputs: bytes,
    seed: int,
    scheme: str,
    budget: Budget,
    policy: dict[str, Any],
    redacted: list[str],
    volatile: list[str],
    resumed_from: ResumedFrom | UnsetType = UNSET,
) -> RunStart:
    """Return the header of a new run of `spec`; `inputs` are as they are written."""
    return RunStart(
        budget_snapshot=budget.snapshot(),
        canonical=FORMAT,
        environment=recorded_environment(spec, host.registry, host.environ),
        inputs=Raw(inputs),
        policy=policy,
        redacted=redacted,
        resumed_from=resumed_from,
        seed=seed,
        seed_scheme=scheme,
        spec=Raw(spec.raw),
        spec_hash=spec.hash,
        spec_id=spec.id,
        volatile=volatile,
    )


def merged(own: Sequence[str], more: Iterable[str]) -> list[str]:
    """Return the rules of a spec, and those beside them."""
    return [*own, *(rule for rule in more if rule not in own)]


def policy_for(registry: SkillRegistry, policy: Policy | None, guard: str | None = None) -> dict[str, Any]:
    """Return the policy of a new run as its header holds it, with the skills that say that they change something."""
    snapshot = (policy or Policy()).snapshot()
    changing = {skill.id for skill in registry if skill.mutating}
    snapshot["mutating"] = sorted(changing.union(snapshot["mutating"]))
    return {**snapshot, "guard": guard} if guard in RECORDED else snapshot


def check_inputs(spec: Spec, inputs: dict[str, Any]) -> bytes:
    """Return the canonical bytes of a run's inputs; raises UsageError where the spec needs others."""
    for name in sorted(spec.run_inputs - inputs.keys()):
        raise UsageError(f"run input {name} is missing", hint=f"give it (--input {name}=VALUE)")
    try:
        return canonical_bytes(inputs)
    except FormatError as error:
        raise UsageError(f"run inputs: {error.problem}", hint=error.hint) from None


def redaction_of(rules: Sequence[str], recognition: Recognition, *, used: int = 0) -> Redaction:
    """Return the redaction of a run by its rules; raises UsageError for one that is none."""
    try:
        return Redaction(rules, recognition, used=used)
    except FormatError as error:
        raise UsageError(error.problem, hint=error.hint) from None


def admit_inputs(spec: Spec, raw: bytes, redaction: Redaction) -> bytes:
    """Return a run's inputs as they are written; raises UsageError where they, or the spec, hold a secret."""
    try:
        written = redaction.admit(("inputs",), raw)
        redaction.refuse_in(spec.raw, "the spec")
        redaction.admit(("spec",), spec.raw)
    except SecretError as error:
        raise UsageError(error.problem, hint=error.hint) from None
    return written
