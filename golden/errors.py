"""Refusals: the exceptions this project raises on purpose, each saying what is so and what to do next."""

from __future__ import annotations


class GoldenError(Exception):
    """A refusal in two sentences: `problem` says what is so, `hint` what to do next.

    Neither sentence ever holds a secret. Both are lower case and carry no full stop.
    """

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem} ({self.hint})"

    def __reduce__(self) -> tuple[object, ...]:
        # By state, not by arguments: a worker's refusal must reach its parent whole, whatever its constructor takes.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[GoldenError], args: tuple[object, ...], state: dict[str, object]) -> GoldenError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class FormatError(GoldenError):
    """Bytes or a document do not have the form they must have."""


class NotCanonicalError(FormatError):
    """A value lies outside the closed set of the canonical form."""


class LimitError(FormatError):
    """A line is longer, or a value nested deeper, than the format allows."""


class SecretError(FormatError):
    """A value that must not be written: a secret that nobody declared, or declared too late."""


class TamperedError(GoldenError):
    """A file is not what its seal or chain says; `verdict` names how (docs/format.md, verdicts)."""

    def __init__(self, problem: str, *, hint: str, verdict: str = "tampered") -> None:
        super().__init__(problem, hint=hint)
        self.verdict = verdict


class KeyringError(GoldenError):
    """A secret is absent, unusable or contradictory; `verdict` is `unknown-key` where a file asks for another key."""

    def __init__(self, problem: str, *, hint: str, verdict: str | None = None) -> None:
        super().__init__(problem, hint=hint)
        self.verdict = verdict


class StoreError(GoldenError):
    """A file or directory cannot be read or written, or its state cannot be decided."""

    def __init__(self, problem: str, *, hint: str, verdict: str | None = None) -> None:
        super().__init__(problem, hint=hint)
        self.verdict = verdict


class UsageError(GoldenError):
    """What was asked for is not possible: an invalid spec, an existing run id, a feature that is not there."""
