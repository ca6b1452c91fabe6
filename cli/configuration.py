"""Configuration: what the project's `golden.toml` or `[tool.golden]` says, checked key by key.

Reads no environment, and decides nothing about what a value does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cli.address import check_address
from golden.errors import UsageError
from golden.store import DURABILITIES

KEYS = (
    *("dir", "skills", "specs", "functions", "keyring", "ledger", "checkpoints", "checkpoint_interval"),
    *("durability", "volatile", "redact", "allow_secrets", "policy", "anchor_to", "guard"),
)
# As in replay.guard, which no command needs that only reads a configuration.
GUARDS = ("off", "warn", "block", "virtual")
_POLICY = ("profile", "disabled", "forbidden_skills", "forbidden_patterns")
_MAX_INTERVAL = (1 << 31) - 1


def checked(key: str, value: Any, name: str) -> Any:
    """Return what a configuration file called `name` gives for `key`, a single text as a list where that is wanted.

    Raises:
        UsageError: there is no such key, or it cannot have that value.
    """
    if key not in KEYS:
        raise UsageError(f"{name}: there is no key {key}", hint=f"use one of {', '.join(KEYS)}")
    if key in _CHECKS:
        return _CHECKS[key](value, name)
    if key in ("skills", "specs", "functions", "volatile", "redact", "allow_secrets"):
        return _texts(key, value, name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name}: {key} must be text", hint="correct it")
    if key == "durability" and value not in DURABILITIES:
        raise UsageError(f"{name}: durability {value!r} does not exist", hint=f"use one of {', '.join(DURABILITIES)}")
    if key == "guard" and value not in GUARDS:
        raise UsageError(f"{name}: guard {value!r} does not exist", hint=f"use one of {', '.join(GUARDS)}")
    return check_address(value, f"{name}: checkpoints") if key == "checkpoints" else value


def _ledger(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}: ledger must be true or false", hint="correct it")
    return value


def _anchor_to(value: Any, name: str) -> list[str]:
    if value not in ("git", ["git"], []):
        raise UsageError(
            f"{name}: anchor_to can only be git here: a checkout names no program to run, no file to write",
            hint="put file: and exec: into sources.toml in your own configuration folder",
        )
    return ["git"] if value else []


def _interval(value: Any, name: str) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_INTERVAL:
        raise UsageError(f"{name}: checkpoint_interval must be a whole number of steps", hint="write 1 or more")
    return value


def _texts(key: str, value: Any, name: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) and item for item in values):
        raise UsageError(f"{name}: {key} must be text or a list of texts", hint="correct it")
    return values


def _policy(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{name}: policy is no table", hint="write [policy] above its keys")
    found: dict[str, Any] = {}
    for key, given in value.items():
        if key not in _POLICY:
            raise UsageError(f"{name}: there is no key policy.{key}", hint=f"use one of {', '.join(_POLICY)}")
        # Which there are the policy knows: one that it does not know is its strictest.
        if key == "profile" and not (isinstance(given, str) and given):
            raise UsageError(f"{name}: policy.profile must be text", hint="correct it")
        if key == "disabled" and not (
            isinstance(given, dict) and all(isinstance(reason, str) and reason for reason in given.values())
        ):
            raise UsageError(
                f"{name}: policy.disabled must be a table of skill ids and reasons",
                hint='write [policy.disabled] and below it "web.post" = "why"',
            )
        found[key] = given if key in ("profile", "disabled") else _texts(f"policy.{key}", given, name)
    return found


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "ledger": _ledger,
    "anchor_to": _anchor_to,
    "checkpoint_interval": _interval,
    "policy": _policy,
}
