"""Context: all that a step knows of the world while it runs.

Holds bytes and hands out fresh values, so that nothing a skill changes is seen elsewhere.
"""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from golden.canonical import decode
from golden.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.effects import Calls
    from replay.engine import Invoke


class Context:
    """What a skill is given. The same for every attempt of a step, in recording, replay and resume.

    Attributes: `inputs` (resolved), `outputs` (of the steps it depends on, by step id), `seed` (64 bits),
    `random` (a `random.Random` of that seed), `idempotency_key` (as the spec gives it, or None).
    """

    def __init__(self, request: Invoke, start: str, calls: Calls) -> None:
        self._request = request
        self._start = start
        self._calls = calls
        self.seed = request.seed
        self.idempotency_key = request.step.idempotency_key
        self._inputs: Any = None
        self._outputs: dict[str, Any] | None = None
        self._random: random.Random | None = None
        self._uuids: random.Random | None = None

    @property
    def inputs(self) -> Any:
        """The step's inputs, references resolved: a dict of the skill's own."""
        if self._inputs is None:
            self._inputs = decode(self._request.inputs)
        return self._inputs

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of the steps this one depends on, by step id."""
        if self._outputs is None:
            self._outputs = {step_id: decode(raw) for step_id, raw in self._request.outputs.items()}
        return self._outputs

    @property
    def entropy(self) -> random.Random:
        """The stream that `uuid4` draws from, `random.Random(f"{seed}:uuid")`."""
        if self._uuids is None:
            self._uuids = random.Random(f"{self.seed}:uuid")  # reproducible on purpose
        return self._uuids

    @property
    def random(self) -> random.Random:
        """The step's own source of random numbers, `random.Random(seed)`."""
        if self._random is None:
            self._random = random.Random(self.seed)  # reproducible on purpose
        return self._random

    def now(self) -> datetime:
        """Return the time of the run in UTC: its recorded start, and what this step and those before it have waited.

        The same in every replay.
        """
        started = datetime.fromisoformat(self._start)
        waited = self._request.waited_ms
        return started + timedelta(milliseconds=waited) if waited else started

    def uuid4(self) -> uuid.UUID:
        """Return the next UUID of the step, from the stream `entropy`."""
        return uuid.UUID(int=self.entropy.getrandbits(128), version=4)

    def external(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Ask the world: `fn(*args, **kwargs)` is called once when recording and answered from the file in a replay.

        Arguments and result are JSON values (clients come in by closure). With an async `fn` the call is awaited. An
        exception of `fn` reaches the skill as `EffectError`, with its type's name and message, in both modes.
        """
        return self._calls.call(name, fn, args, kwargs)

    def spend(self, cents: int) -> None:
        """Charge `cents` (a whole number, 0 or more) to the step; over its ceiling the step ends there.

        What is spent replaces the step's estimated cost.
        """
        if type(cents) is not int or cents < 0:
            raise UsageError(f"ctx.spend({cents!r}): not a whole number of cents", hint="pass an int of 0 or more")
        self._request.allowance.spend(cents)
