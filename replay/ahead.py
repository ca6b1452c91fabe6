"""Ahead: what a recording holds next: a step with those that it called, and when their calls were answered.

Compares nothing. Lines of steps that steps called come before that of the step which the spec names.
"""

from __future__ import annotations

from collections.abc import Iterator

from golden.event import RunEnd
from golden.recording import Ended, Record, Recording
from golden.redaction import Redaction
from replay.codes import STOPPED_FROM_OUTSIDE
from replay.engine import Invoke
from replay.paths import Paths, is_nested
from replay.turns import Turns


class Ahead:
    """The steps of a recording, one after the other; `redaction` is told what was written, and so may be.

    Attributes:
        seed: the run's.
        end: how the run ended, None where that is not recorded.
        nested: the steps that steps called, by index, as far as it was read.
        paths: which of these a call is.
        turns: the order in which the calls below the step that is next were answered.
    """

    def __init__(self, recording: Recording, redaction: Redaction) -> None:
        self.seed = recording.start.seed
        self.end = recording.end
        self.nested: dict[int, Record] = {}
        self.paths = Paths(0)
        # Of steps without calls, as most are: nobody waits.
        self.turns = self._no_turns = Turns(())
        self._redaction = redaction
        self._records: Iterator[Record | RunEnd] = recording.records()
        self._ended: dict[str, list[Ended]] = {}
        self._next: Record | RunEnd | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the run was stopped from outside: then it holds less than there was to do."""
        return self.end is None or self.end.status in STOPPED_FROM_OUTSIDE

    def peek(self) -> Record | RunEnd | None:
        """Return what the recording holds next, None where that is nothing."""
        while self._next is None:
            found = next(self._records, None)
            if not isinstance(found, Record):
                self._next = found
                break
            self._accept(found)
            step = found.step
            if found.ended:
                self._ended.setdefault(step.step_id.partition("/")[0], []).extend(found.ended)
            if is_nested(step.step_id):
                self.nested[step.index] = found
                self.paths.add(step.step_id, step.index, step.input_hash)
            else:
                ended = self._ended.pop(step.step_id, None)
                self._next, self.turns = found, Turns(ended) if ended else self._no_turns
        return self._next

    def upcoming(self) -> int | None:
        """Return the index of the step that comes next, None at the end."""
        found = self.peek()
        return found.step.index if isinstance(found, Record) else None

    def go_on(self) -> None:
        """Take note that the step that was next has ended."""
        self._next = None

    def record(self, request: Invoke) -> Record:
        """Return the recorded step that a request is about."""
        if is_nested(request.step.id):
            return self.nested[request.index]
        if not isinstance(self._next, Record):
            raise TypeError("no step is under way")
        return self._next

    def _accept(self, record: Record) -> None:
        place = ("steps", record.step.step_id)
        self._redaction.accept(record.step.inputs, (*place, "inputs"))
        self._redaction.accept(record.step.output, (*place, "output"))
        for effect in record.effects:
            called = (*place, "effects", effect.name)
            self._redaction.accept(effect.args, (*called, "args"))
            self._redaction.accept(effect.kwargs, (*called, "kwargs"))
            self._redaction.accept(effect.result, (*called, "result"))
