"""Updating: a recording made anew by the code and spec of today, with what it asks the world answered from the old one.

Where the new one goes, and whether it is believed, is decided elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from golden.canonical import decode
from golden.errors import GoldenError, UsageError
from golden.event import EffectData
from golden.recording import Record, Recording
from replay.answers import answered, is_timed_out
from replay.budget import Ceilings
from replay.command import SKILL
from replay.divergence import args_hash
from replay.effects import CANCELLED, Calls, UnrecordableError, caller
from replay.engine import Invoke, Outcome
from replay.header import admit_inputs, check_inputs, header_of, merged, redaction_of
from replay.host import Host
from replay.live import LiveCalls, LiveEffects
from replay.past import Truth, given_inputs, recorded_spec
from replay.permission import Permit, refuse_commands
from replay.runner import begin
from replay.spec import Spec

if TYPE_CHECKING:
    from golden.redaction import Redaction
    from golden.volatile import Volatile
    from replay.interrupts import Interrupts

_UNFINISHED = (CANCELLED, UnrecordableError.__name__)


def update(
    host: Host,
    source: Recording,
    spec: Spec | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    live: bool = False,
    volatile: Iterable[str] = (),
    redact: Iterable[str] = (),
    permit: Permit | None = None,
) -> Recording:
    """Record the run of `source` once more into the store of `host`, by its run id, seed and inputs, and return it.

    Args:
        host: what it is given here; its registry has every skill.
        source: the recording as it is; calls that it holds are answered from it, by name and arguments.
        spec: as it is by now, by default the recorded one.
        inputs: in place of the recorded ones, by name.
        live: ask the world for all of them instead.
        volatile: paths that do not enter a hash, beside those of the spec.
        redact: paths of secrets, which no file will hold, beside those of the spec.
        permit: what lets commands be run.

    Raises:
        UsageError: it cannot run here, or asks the world for what the recording does not hold; nothing is left then.
    """
    old = source.start
    spec = spec or recorded_spec(old)
    host.refuse_halted()
    host.refuse_unready(spec)
    secrets_at = merged(spec.redact, redact)
    redaction = redaction_of(secrets_at, host.recognition(spec))
    changed = given_inputs(old, inputs, redaction)
    raw = check_inputs(spec, decode(old.inputs if changed is None else changed))
    refuse_commands(spec, raw, permit=permit or Permit(), answered=not live)
    snapshot = old.budget_snapshot
    ceilings = Ceilings(snapshot.step_ceiling_cents, None, snapshot.workflow_ceiling_cents)
    start = header_of(
        spec,
        host,
        inputs=admit_inputs(spec, raw, redaction),
        seed=old.seed,
        scheme=old.seed_scheme,
        budget=ceilings.budget(spec.budget_ceiling_cents),
        policy=old.policy,
        redacted=secrets_at,
        volatile=merged(spec.volatile, volatile),
    )
    truth = Truth(redaction, raw)
    if live:
        return begin(host, source.run_id, spec, start, truth)
    worlds: list[RecalledEffects] = []
    records = {record.step.step_id: record for record in source.records() if isinstance(record, Record)}
    found = begin(host, source.run_id, spec, start, truth, world=partial(_noted, worlds, records))
    refused = worlds[0].refused if worlds else None
    if refused is not None:
        found.close()
        raise refused
    return found


def _noted(worlds: list[RecalledEffects], records: Mapping[str, Record], *args: Any) -> RecalledEffects:
    worlds.append(RecalledEffects(records, *args))
    return worlds[0]


class RecalledEffects(LiveEffects):
    """The world as an older recording of the run remembers it, by step; whatever it does not hold is refused.

    `refused` is the first refusal: the run that it ends is no recording to keep.
    """

    def __init__(
        self,
        records: Mapping[str, Record],
        write: Callable[[EffectData, int], None],
        volatile: Volatile,
        interrupts: Interrupts,
        redaction: Redaction,
        seconds: float | None = None,
    ) -> None:
        super().__init__(write, volatile, interrupts, redaction, seconds)
        self._records = records
        self.refused: GoldenError | None = None

    def begin(self, request: Invoke) -> Outcome | Calls:
        """See `Effects`: what the spec calls `external` is answered whole."""
        if request.step.skill_id == SKILL:
            # A command is run, and what it calls are its own files.
            return super().begin(request)
        record = self._records.get(request.step.id)
        same = record is not None and record.step.input_hash == request.input_hash
        if record is not None and same and (request.step.external or is_timed_out(record.step)):
            return answered(record.step)
        if request.step.external:
            self.refuse(f"step {request.step.id} is external, and given what the recording does not hold")
            return Outcome(None, None, final=True, untried=True)
        return _RecalledCalls(self, request, record.last_effects if record else ())

    def pause(self, request: Invoke) -> int:  # noqa: ARG002  its shape is the protocol's
        """See `Effects`; time is that of the recording."""
        return 0

    def refuse(self, problem: str) -> None:
        """Keep the first thing that the recording does not hold."""
        hint = "golden update --live asks the world; or golden record makes a new one"
        self.refused = self.refused or UsageError(problem, hint=hint)


class _RecalledCalls(LiveCalls):
    """Calls of one attempt: each answered as one of the same name and arguments was, whatever their order by now."""

    def __init__(self, world: RecalledEffects, request: Invoke, known: Sequence[EffectData]) -> None:
        super().__init__(world, request)
        self._recalling = threading.Lock()
        self._refuse = world.refuse
        self._known = [effect for effect in known if not (effect.error and effect.error.type in _UNFINISHED)]

    def recall(self, number: int, asked: tuple[str, bytes, bytes]) -> EffectData:
        """See `LiveCalls`; raises where nothing like it was recorded."""
        wanted = asked[0], args_hash(*asked[1:])
        with self._recalling:
            alike = [effect for effect in self._known if (effect.name, effect.args_hash) == wanted]
            found = next((effect for effect in alike if effect.call == number), next(iter(alike), None))
            if found is not None:
                self._known.remove(found)
                return found
        where = caller()
        problem = f"step {self.step_id} makes an external call {asked[0]!r} that the recording does not hold"
        self._refuse(problem + (f", at {where}" if where else ""))
        return self.latch(UnrecordableError(problem, where))
