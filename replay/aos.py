"""AOS: skills written for the AOS system, taken in as they are: `invoke`, `execute`, or a plain callable of inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from golden.errors import UsageError
from replay.context import Context
from replay.functions import innermost, is_coroutine_function

UNKNOWN = "UNKNOWN"
# Of a code that a skill gives, which is recorded as the type of the error.
MAX_CODE = 256


class AosError(Exception):
    """A skill answered that it failed; `code` is the one it gave, `retryable` whether another attempt makes sense."""

    def __init__(self, code: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


def adapted(skill: Any) -> Callable[[Context], Any]:
    """Return a function of a Context that calls `skill` as that system did, sync or async.

    In this order: `skill.invoke(inputs, seed, meta)`, `skill.execute(inputs)`, `skill(inputs)`; `meta` is
    `{"idempotency_key": …}`. A dict whose `ok` or `success` is false is a failure by the code of its
    `error`, never by the text of it.

    Raises:
        UsageError: it has none of the three forms.
    """
    call, code = _call_of(skill), _code_of(skill)
    if is_coroutine_function(code):

        async def run_async(ctx: Context) -> Any:
            return _result(await call(ctx))

        return wraps(code)(run_async)

    def run(ctx: Context) -> Any:
        return _result(call(ctx))

    return wraps(code)(run)


def _call_of(skill: Any) -> Callable[[Context], Any]:
    if callable(getattr(skill, "invoke", None)):
        return lambda ctx: skill.invoke(ctx.inputs, ctx.seed, {"idempotency_key": ctx.idempotency_key})
    if callable(getattr(skill, "execute", None)):
        return lambda ctx: skill.execute(ctx.inputs)
    if callable(skill):
        return lambda ctx: skill(ctx.inputs)
    raise UsageError(f"{skill!r} is no skill", hint="give an object with invoke or execute, or a function of inputs")


def _code_of(skill: Any) -> Any:
    """Return the function that does the work: where it stands is where the skill is."""
    for name in ("invoke", "execute"):
        found = getattr(skill, name, None)
        if callable(found):
            return getattr(found, "__func__", found)
    return skill if hasattr(innermost(skill), "__code__") else type(skill).__call__


def _result(value: Any) -> Any:
    if not isinstance(value, dict) or (value.get("ok") is not False and value.get("success") is not False):
        return value
    error = value.get("error")
    if not isinstance(error, dict):
        raise AosError(UNKNOWN, error if isinstance(error, str) else "the skill failed and gave no reason")
    code, message = error.get("code"), error.get("message")
    raise AosError(
        code[:MAX_CODE].encode("utf-8", "replace").decode() if isinstance(code, str) and code else UNKNOWN,
        message if isinstance(message, str) else "",
        retryable=error.get("retryable") is not False,
    )
