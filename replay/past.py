"""Past: what is recorded of a run already, and so is answered when the run is gone through again: steps and calls.

Answers only what was recorded of the very same step; whatever else is asked goes to the world.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from golden.canonical import canonical_bytes, decode
from golden.errors import UsageError
from golden.event import EffectData, Event, RunStart, StepData
from golden.recording import Record
from golden.redaction import Redaction, names_of
from golden.volatile import Volatile
from replay.answers import answered
from replay.budget import Budget
from replay.divergence import args_hash
from replay.effects import CANCELLED, Asked, Calls, Limit, UnrecordableError
from replay.engine import Invoke, Outcome, StoppedError, run
from replay.live import LiveCalls, LiveEffects
from replay.order import Order, take
from replay.paths import Paths, is_nested
from replay.policy import Policy
from replay.spec import Spec

if TYPE_CHECKING:
    from golden.recording import Verified

# Calls that the world never answered: they are made anew.
_UNFINISHED = (CANCELLED, UnrecordableError.__name__)


class Truth(msgspec.Struct):
    """What a recording does not say: what was redacted in it.

    `inputs` are the run's, canonical; `outputs` those of steps in whose recorded ones something is redacted, by index.
    """

    redaction: Redaction
    inputs: bytes
    outputs: dict[int, bytes] = {}


def recorded_spec(start: RunStart) -> Spec:
    """Return the spec that a recording holds; raises UsageError for one that was imported, and holds none."""
    spec = _parsed(bytes(start.spec))
    if spec is None:
        raise UsageError(
            "the recording has no spec",
            hint="it was imported, so it can be verified and compared, not replayed; golden update, resume and fork"
            " make a run of it that can: name one (--spec FILE)",
        )
    return spec


# A gate replays one recording after another of one spec.
@lru_cache(maxsize=1)
def _parsed(raw: bytes) -> Spec | None:
    document = decode(raw)
    return None if document is None else Spec(document, source="the recording")


def given_inputs(start: RunStart, inputs: Mapping[str, Any] | None, redaction: Redaction) -> bytes | None:
    """Return a recording's inputs with those that are given, canonical; None where that is what is recorded.

    Raises:
        UsageError: something was redacted in one that is not given.
    """
    recorded = decode(start.inputs)
    missing = names_of(recorded, inputs or ()) if redaction.rules else []
    if missing:
        names, given = ", ".join(missing), " ".join(f"--input {name}=VALUE" for name in missing)
        raise UsageError(f"what was redacted in the run inputs is not in the file: {names}", hint=f"give it: {given}")
    redaction.expect(("inputs",), start.inputs)
    if inputs is None:
        return None
    return canonical_bytes({**recorded, **inputs})


class Past:
    """Steps of a run that are not run again, by their index, and calls of those that were under way.

    Args:
        written: what stands in the file that is being written.
        carried: what is to be carried over into it, from the run that it resumes.
        pending: calls of steps that were under way, by the index of their step.
        begun: which of these steps began in the file that is being written: they are brought to their end.
        outputs: what steps returned in whose recorded outputs something is redacted, by their index.
    """

    def __init__(
        self,
        written: Iterable[Record] = (),
        carried: Iterable[Record] = (),
        pending: Mapping[int, list[EffectData]] | None = None,
        begun: Iterable[int] = (),
        outputs: Mapping[int, bytes] | None = None,
    ) -> None:
        self.outputs = dict(outputs or {})
        everything = list(written)
        self.records = {record.step.index: record for record in everything if not is_nested(record.step.step_id)}
        self.written = frozenset(self.records)
        self.records |= {record.step.index: record for record in carried if record.step.index not in self.written}
        self.pending = dict(pending or {})
        self._begun = frozenset(begun)
        # Steps that steps called are run again with these, as part of them: what they asked was answered.
        self._nested = [record for record in everything if is_nested(record.step.step_id)]
        self.pending |= {record.step.index: record.effects for record in self._nested}

    def paths(self, first: int) -> Paths:
        """Return the paths of steps that were called by steps that are under way; `first` is the first index free."""
        paths = Paths(first)
        for record in self._nested:
            paths.add(record.step.step_id, record.step.index, record.step.input_hash)
        known = {record.step.index for record in self._nested}
        for index, effects in self.pending.items():
            if index not in known and effects:
                paths.add(effects[0].step_id, index, None)
        return paths

    def __contains__(self, index: int) -> bool:
        return index in self.records

    def words(self, total: int, start: RunStart) -> str:
        """Return what is not run again, in words; nothing where that is nothing."""
        written, carried = len(self.written), len(self.records) - len(self.written)
        told = [f"{written} of {total} steps are recorded"] if written or self._begun else []
        if start.resumed_from and (carried or not written):
            told.append(f"{carried} of {total} steps are carried over from {start.resumed_from.run_id}")
        return ", ".join(told)

    @property
    def order(self) -> Order:
        """What is recorded first, in the order in which it is: so the budget stands at each step where it stood."""
        return _First(self.records, self._begun)

    @property
    def only(self) -> Order:
        """What is recorded, in the order in which it is, and nothing else."""
        return _First(self.records, (), others=False)


def under_way(events: Iterable[Event]) -> dict[int, list[EffectData]]:
    """Return the calls of steps that never came to their end, by index; of each call the last line counts."""
    found: dict[int, dict[tuple[int, int], EffectData]] = {}
    for event in events:
        if isinstance(event.data, EffectData):
            found.setdefault(event.data.index, {})[event.data.attempt, event.data.call] = event.data
        elif isinstance(event.data, StepData) and not is_nested(event.data.step_id):
            # With it, the steps that it called have come to their end.
            ended = f"{event.data.step_id}/"
            for index in [n for n, calls in found.items() if next(iter(calls.values())).step_id.startswith(ended)]:
                del found[index]
            found.pop(event.data.index, None)
    return {index: [calls[key] for key in sorted(calls)] for index, calls in found.items()}


class _First(Order):
    """Begins the steps of `indexes` in their order, then the `others`; once the run is to end, those `begun` alone."""

    def __init__(self, indexes: Iterable[int], begun: Iterable[int], *, others: bool = True) -> None:
        self._left = deque(indexes)
        self._begun = set(begun)
        self._others = others

    def pick(self, ready: list[int], *, ending: bool) -> int | None:
        """See `Order`; what is recorded after the step that ended the run was under way by then."""
        if self._left and self._left[0] in ready:
            return take(ready, self._left.popleft())
        if ending and (under_way := self._begun.intersection(ready)):
            return take(ready, min(under_way))
        return super().pick(ready, ending=ending or not self._others)


class _Only(Order):
    """Begins none but the steps of `records`."""

    def __init__(self, records: Mapping[int, Record]) -> None:
        self._records = records

    def pick(self, ready: list[int], *, ending: bool) -> int | None:  # noqa: ARG002  a failed run went on nowhere
        """See `Order`."""
        ready[:] = sorted(index for index in ready if index in self._records)
        return ready.pop(0) if ready else None


def recorded(file: Verified) -> list[Record]:
    """Return the effective records of a verified file."""
    return [record for record in file.records() if isinstance(record, Record)]


def carried_over(
    records: Iterable[Record], start: RunStart, spec: Spec, versions: Mapping[str, str], truth: Truth
) -> list[Record]:
    """Return those records that a run by the header `start` need not make again.

    A step is carried over if it succeeded and is the same step, by the same version of its skill, with the same seed
    and inputs, and all it depends on is carried over as well.
    """
    good = {record.step.index: record for record in records if record.step.success}
    found = []
    engine = run(
        spec,
        seed=start.seed,
        inputs=truth.inputs,
        redaction=truth.redaction,
        budget=Budget.restored(start.budget_snapshot),
        policy=Policy.restored(start.policy),
        versions=versions,
        volatile=Volatile(start.volatile),
        order=_Only(good),
    )
    answer: Any = None
    try:
        while True:
            request = engine.send(answer)
            answer = None
            if isinstance(request, Invoke):
                record = good[request.index]
                if is_same(record.step, request, versions):
                    found.append(record)
                    answer = answered(record.step, truth.outputs.get(request.index))
                else:
                    answer = Outcome(None, None, final=True, untried=True)
    except StopIteration:
        return found


def is_same(recorded: StepData, request: Invoke, versions: Mapping[str, str]) -> bool:
    """Whether a step that is asked for is the one that was recorded: then it would come to the same again."""
    step = request.step
    # Of a step that is answered whole no code of ours runs, whatever its version.
    versioned = step.external or recorded.skill_version == versions.get(step.skill_id)
    same = (recorded.step_id, recorded.skill_id, recorded.seed, recorded.input_hash)
    return versioned and same == (step.id, step.skill_id, request.seed, request.input_hash)


class ResumedEffects:
    """The world for a run that goes on: recorded steps are answered whole, calls of a broken-off one while they last.

    Without `live` nothing is run: the first step that is not recorded ends the run as `interrupted`.
    """

    def __init__(self, past: Past, live: LiveEffects | None) -> None:
        self._past = past
        self._live = live

    def begin(self, request: Invoke) -> Outcome | Calls:
        """See `Effects`."""
        record = self._past.records.get(request.index)
        if record is not None:
            return answered(record.step, self._past.outputs.get(request.index))
        if self._live is None:
            raise StoppedError("interrupted")
        known = [effect for effect in self._past.pending.get(request.index, ()) if effect.attempt == request.attempt]
        return _ResumedCalls(self._live, request, known) if known else self._live.begin(request)

    def pause(self, request: Invoke) -> int:
        """See `Effects`."""
        return 0 if self._live is None else self._live.pause(request)

    def limit(self, request: Invoke) -> Limit | None:
        """See `Effects`."""
        return None if self._live is None else self._live.limit(request)


class _ResumedCalls(LiveCalls):
    """Calls of an attempt that a kill broke off: what was answered then is answered alike, and written again.

    A call is known by its number, name and arguments; side by side, by name and arguments alone. After the first one
    that is not known the skill goes another way than it did, and nothing more is answered.
    """

    def __init__(self, world: LiveEffects, request: Invoke, known: Iterable[EffectData]) -> None:
        super().__init__(world, request)
        self._known = {effect.call: effect for effect in known}

    def recall(self, number: int, asked: Asked) -> EffectData | None:
        """See `LiveCalls`."""
        with self._lock:
            wanted = asked[0], args_hash(*asked[1:])
            ordered = sorted(self._known.values(), key=lambda effect: (effect.call != number, effect.call))
            found = next((effect for effect in ordered if (effect.name, effect.args_hash) == wanted), None)
            if found is None or (found.error and found.error.type in _UNFINISHED):
                # One that was under way beside others has no line: it is missing among them, and they are not.
                if number in self._known:
                    self._known.clear()
                return None
            del self._known[found.call]
            return found
