"""Policy: whether a step may be run at all, decided from what is about to be executed; money is `budget`'s business.

Fails closed; decides nothing about what a step returns. A recording holds the policy it was made under, and a replay
decides by that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

import msgspec

from golden.canonical import decode
from golden.errors import UsageError
from replay import codes
from replay.budget import DeniedError
from replay.spec import Step

Profile = Literal["conservative", "standard", "permissive"]
# Methods of HTTP that change something: an input called `method` with one of them makes a step a mutating one.
MUTATING_METHODS = frozenset({"DELETE", "PATCH", "POST", "PUT"})
# What no plan may call. `*` at the end stands for the rest of the id.
FORBIDDEN_SKILLS = (
    "admin.*",
    "code.eval",
    "exec.*",
    "file.delete",
    "fs.delete",
    "process.*",
    "python.*",
    "shell.*",
    "sql.execute",
    "subprocess.*",
    "system.*",
)
# What no text in the inputs of a planned step may hold: traces of an attempt to break out of what the skill is for.
FORBIDDEN_PATTERNS = (
    r"\.\./",
    r"/etc/(?:passwd|shadow|sudoers)",
    r"\brm\s+-\w*[rf]",
    r"\bsudo\s",
    r"__import__|\b(?:eval|exec)\s*\(",
    r"\$\(",
    r"(?i)<script\b|javascript:",
    r"(?i);\s*(?:drop|delete|truncate|alter)\s+\w|\bunion\s+(?:all\s+)?select\b",
)
# As long as the text it looks at, never longer: whoever is looked at may write a text to wear it out.
_URL = re.compile(r"(?i)[a-z0-9+.-]://|(?:^|\s)//\w|\bwww\.\w")


class _Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The policy as `run_start` holds it."""

    disabled: dict[str, str]
    forbidden_patterns: list[str]
    forbidden_skills: list[str]
    guard: Literal["block", "virtual"] | msgspec.UnsetType = msgspec.UNSET
    mutating: list[str]
    profile: Profile


class Policy:
    """The rules of a run.

    | profile | mutating step without an idempotency key | URL in the inputs of a planned step |
    | --- | --- | --- |
    | conservative (default) | denied | denied |
    | standard | denied | allowed |
    | permissive | allowed | allowed |

    A planned step is one that carries `planner_output`; whatever the profile, what it executes is held to the forbidden
    skills and patterns, and so is the plan itself.

    Args:
        profile: one of the three; any other word means conservative, and `note` says so.
        disabled: why, by the id of a skill that may not run.
        forbidden_skills: beside `FORBIDDEN_SKILLS`.
        forbidden_patterns: regular expressions beside `FORBIDDEN_PATTERNS`.
        mutating: ids of skills that change something outside.

    Raises:
        UsageError: a pattern is no regular expression.
    """

    def __init__(
        self,
        profile: str = "conservative",
        *,
        disabled: Mapping[str, str] | None = None,
        forbidden_skills: Iterable[str] = (),
        forbidden_patterns: Iterable[str] = (),
        mutating: Iterable[str] = (),
    ) -> None:
        self.note: str | None = None
        # What the determinism guard does to the run's steps, where it does something to them.
        self.guard: Literal["block", "virtual"] | None = None
        if profile not in get_args(Profile):
            self.note = f'there is no policy profile "{profile}": conservative is used'
            profile = "conservative"
        self.profile = profile
        self.disabled = dict(disabled or {})
        self.mutating = set(mutating)
        self.forbidden_skills = [*FORBIDDEN_SKILLS, *forbidden_skills]
        self.forbidden_patterns = [*FORBIDDEN_PATTERNS, *forbidden_patterns]
        self._patterns = [_compiled(pattern) for pattern in self.forbidden_patterns]

    @classmethod
    def restored(cls, recorded: Mapping[str, Any]) -> Policy:
        """Return the policy that a recording was made under; one that holds none was made under no rules.

        Raises:
            UsageError: it has another form.
        """
        policy = cls("permissive")
        policy.forbidden_skills, policy.forbidden_patterns, policy._patterns = [], [], []
        if not recorded:
            return policy
        try:
            found = msgspec.convert(recorded, _Recorded)
        except msgspec.ValidationError as error:
            raise UsageError(f"the recorded policy is of another form: {error}", hint="use a newer version") from None
        policy.profile, policy.disabled, policy.mutating = found.profile, found.disabled, set(found.mutating)
        policy.forbidden_skills, policy.forbidden_patterns = found.forbidden_skills, found.forbidden_patterns
        policy._patterns = [_compiled(pattern) for pattern in found.forbidden_patterns]
        policy.guard = found.guard or None
        return policy

    def snapshot(self) -> dict[str, Any]:
        """Return the policy as `run_start` holds it."""
        snapshot = {
            "disabled": dict(sorted(self.disabled.items())),
            "forbidden_patterns": self.forbidden_patterns,
            "forbidden_skills": self.forbidden_skills,
            "mutating": sorted(self.mutating),
            "profile": self.profile,
        }
        return {**snapshot, "guard": self.guard} if self.guard else snapshot

    def check(self, step: Step, inputs: bytes) -> None:
        """Raise DeniedError where `step` may not be run with these resolved inputs (canonical bytes)."""
        if step.skill_id in self.disabled:
            reason = self.disabled[step.skill_id]
            raise DeniedError(codes.POLICY_VIOLATION, f"skill {step.skill_id} is disabled: {reason}")
        planned = step.planner_output is not msgspec.UNSET
        # Decoded only for those who have something to look for: most steps are neither planned nor ask by a method.
        if step.idempotency_key is None and self.profile != "permissive" and self._is_mutating(step, inputs):
            raise DeniedError(
                codes.POLICY_VIOLATION,
                f"skill {step.skill_id} changes something outside: the step needs an idempotency_key",
            )
        if planned:
            self._check_plan(step, decode(inputs))

    def _is_mutating(self, step: Step, inputs: bytes) -> bool:
        if step.skill_id in self.mutating:
            return True
        if b'"method"' not in inputs:
            return False
        method = decode(inputs).get("method")
        return isinstance(method, str) and method.strip().upper() in MUTATING_METHODS

    def _check_plan(self, step: Step, inputs: Any) -> None:
        for rule in self.forbidden_skills:
            if _names(rule, step.skill_id):
                raise _rejected(f"a plan may not call {step.skill_id}: {rule} is forbidden")
        for place, value in (("inputs", inputs), ("planner_output", step.planner_output)):
            for text in _texts(value):
                # A skill that the plan names is one it means to call, whatever step it was made into.
                named = place == "planner_output" and not any(map(str.isspace, text))
                if named and any(_names(rule, text) for rule in self.forbidden_skills):
                    raise _rejected(f'planner_output names "{text}", which no plan may call')
                for pattern in self._patterns:
                    if pattern.search(text):
                        raise _rejected(f"{place} match the forbidden pattern {pattern.pattern}")
                if self.profile == "conservative" and _URL.search(text):
                    raise _rejected(f"{place} hold a URL, which a plan may not under the profile conservative")


def _rejected(message: str) -> DeniedError:
    return DeniedError(codes.SANDBOX_REJECTION, message)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"forbidden pattern {pattern!r}: {error}", hint="correct it; no run starts without it"
        ) from None


def _names(rule: str, skill_id: str) -> bool:
    rule, skill_id = rule.lower(), skill_id.lower()
    return skill_id.startswith(rule[:-1]) if rule.endswith("*") else skill_id == rule


def _texts(value: Any) -> Iterator[str]:
    """Give every text in a JSON value, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)
