"""Flow: steps that call steps: where the call that runs now stands in its run, and what becomes of it.

One for every way to drive a run. Which recorded step a call is, and where its event goes, is the sink's business.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec
from msgspec import UNSET, Raw

from golden.canonical import path_seed, sha256_hex
from golden.errors import SecretError, UsageError
from golden.event import Attempt, StepData, StepError
from replay import codes
from replay.budget import Budget, DeniedError
from replay.context import Context
from replay.crew import LeftBehindError
from replay.divergence import Diverged
from replay.effects import ENDS, Calls, UnrecordableError, caller, inside_event_loop
from replay.engine import Invoke, Outcome
from replay.executors import carried, given_place
from replay.frames import MAX_MESSAGE, Failure, awaiting_place, calling_place, failure_of
from replay.guard import Watch, watching
from replay.spec import Step
from replay.web import intercepted

if TYPE_CHECKING:
    from golden.redaction import Redaction
    from golden.volatile import Volatile
    from replay.effects import Effects
    from replay.guard import Guard
    from replay.skill import Skill
    from replay.trail import Trail

VERSION = "1"
_active: list[Flow] = []
# The steps of specs that run now, by the thread in which they do.
_at_work: dict[int, Scope] = {}
_NULL = Raw(b"null")
_OUTSIDE = object()
# None where nobody has said anything: a thread that was started without its starter's context.
_running: ContextVar[Scope | object | None] = ContextVar("running", default=None)


class Nesting(Protocol):
    """Where the events of nested steps go: written, or compared."""

    def identify(self, parent: Invoke, name: str, inputs: bytes, input_hash: str) -> tuple[str, int]:
        """Return path and index of the step that `parent` calls now; raises what ends the run there."""

    def emit_nested(self, data: StepData, duration_us: int, failure: Failure | None, skill: Skill) -> None:
        """Take the event of a nested step, the microseconds it took and what it raised, from whichever thread."""

    def close(self, parent: Invoke) -> None:
        """Take note that `parent` calls no more steps; raises where it should have."""


class Flow:
    """What all steps of a run have in common: its `seed`, its `start` as recorded, and so on.

    `guard` watches over what their code does; here it is None where it has nothing to do. `trail` is kept where
    somebody debugs.
    """

    def __init__(  # noqa: PLR0913, PLR0917  what the steps of a run have in common
        self,
        seed: int,
        start: str,
        volatile: Volatile,
        budget: Budget,
        effects: Effects,
        nesting: Nesting,
        guard: Guard,
        redaction: Redaction,
        trail: Trail | None = None,
    ) -> None:
        self.seed = seed
        self.start = start
        self.volatile = volatile
        self.budget = budget
        self.effects = effects
        self.nesting = nesting
        self.redaction = redaction
        self.guard = None if guard.idle else guard
        self.trail = trail


class HaltedError(BaseException):
    """Ends a step from within, before another that it would call: `outcome` is how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error.message if outcome.error else "")
        self.outcome = outcome


# What ends a step that is not at its end, whatever it was about to say.
_BREAKS_OFF = (*(kind for kind in ENDS if kind is not UnrecordableError), HaltedError, LeftBehindError)


class Scope:
    """A step that runs, as the code in it sees it; `above` is the one that called it, None for one of the spec's."""

    def __init__(self, flow: Flow, request: Invoke, calls: Calls, above: Scope | None = None) -> None:
        self.request = request
        self.calls = calls
        self.context = Context(request, flow.start, calls)
        self.watch = Watch(flow.guard, request, self.context, calls) if flow.guard else None
        # What it awaits, if it does: where in it a thread was started no stack tells.
        self.coroutine: Any = None
        self._thread = threading.get_ident()
        self._flow = flow
        self._above = above
        self.root: Scope = above.root if above else self
        # Each of its operations is whole, whichever thread makes it.
        self._under_way: dict[int, str] = {}

    def enter(self) -> None:
        """Make it the step that runs in this context, and in whatever copies it."""
        self._thread = threading.get_ident()
        _running.set(self)
        watching.set(self.watch)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let it be known that this thread is at work on it."""
        me = threading.get_ident()
        # A step's code may make a run of its own.
        before = _at_work.get(me)
        _at_work[me] = self
        try:
            yield
        finally:
            del _at_work[me]
            if before is not None:
                _at_work[me] = before

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make it the step that runs meanwhile."""
        token, before = _running.set(self), watching.set(self.watch)
        try:
            yield
        finally:
            watching.reset(before)
            _running.reset(token)

    def begin(self, skill: Skill, inputs: bytes) -> Scope:
        """Return the step that this one calls now; `inputs` are canonical bytes."""
        name = skill.id
        self.calls.refuse_ended(f"step {name!r}")
        try:
            written = self._flow.redaction.admit(("steps", f"{self.request.step.id}/{name}", "inputs"), inputs)
        except SecretError as error:
            self.refuse(f"arguments of step {name!r}: {error.problem}; {error.hint}")
        digest = sha256_hex(written)
        try:
            path, index = self._flow.nesting.identify(self.request, name, written, digest)
        except BaseException as error:
            self.locate(error, skill)
            self.fail(error)
            raise
        request = Invoke(
            Step(id=path, skill_id=name),
            index,
            0,
            inputs,
            digest,
            path_seed(self._flow.seed, path),
            {},
            self.request.allowance.nested(),
            waited_ms=self.request.waited_ms,
            written=written,
        )
        calls = self._flow.effects.begin(request)
        if isinstance(calls, Outcome):
            raise TypeError("a nested step is not answered whole")
        self._under_way[index] = path
        if self._flow.trail:
            self._flow.trail.begin(index, skill.function)
        return Scope(self._flow, request, calls, self)

    def end(self, skill: Skill, output: bytes | None, error: BaseException | None, duration_us: int) -> None:
        """Emit the event of a nested step that returned (canonical bytes), or raised."""
        if error and self._flow.trail:
            self._flow.trail.fail(self.request.index, error)
        try:
            if self.watch:
                self.watch.close()
            self.calls.leave()
            self.request.allowance.close()
            # What was broken off, its calls too, is not to blame for that.
            if isinstance(error, _BREAKS_OFF) and error is not self._denied:
                raise error
            try:
                self.calls.finish(skill.location)
                self.close(skill, error)
                if output is not None and error is None:
                    self._admit(skill, output)
            except UnrecordableError as found:
                error = found
            if isinstance(error, UnrecordableError):
                self.fail(error)
            self._emit(skill, None if error else output, error, duration_us)
        except BaseException as ours:
            self.fail(ours)
            raise
        finally:
            if self._above is not None:
                self._above.forget(self.request.index)

    def _admit(self, skill: Skill, output: bytes) -> None:
        try:
            self._flow.redaction.admit(("steps", self.request.step.id, "output"), output)
        except SecretError as error:
            message = f"output of {skill.id}: {error.problem}; {error.hint}"
            raise UnrecordableError(message, skill.location()) from None

    def close(self, skill: Skill, error: BaseException | None) -> None:
        """Settle what it called: steps still under way, and recorded ones that it did not call.

        Where it did not, is where it raised `error`, else all of `skill`.
        """
        left = list(self._under_way.values()) if self._under_way else ()
        try:
            if left:
                message = f"step {left[0]} was still under way when {self.request.step.id} ended; wait for it"
                raise UnrecordableError(message, None)
            self._flow.nesting.close(self.request)
        except BaseException as found:
            if isinstance(found, Diverged) and found.divergence.location is None:
                place = (failure_of(error).location if error else None) or skill.location()
                found.divergence = msgspec.structs.replace(found.divergence, location=place)
            self.fail(found)
            raise

    def forget(self, index: int) -> None:
        """Note that a step it called has ended."""
        self._under_way.pop(index, None)

    def refuse(self, message: str) -> NoReturn:
        """End the step: no recording can hold what it does here."""
        error = UnrecordableError(message, caller())
        self.fail(error)
        raise error

    def locate(self, error: BaseException, skill: Skill | None = None) -> None:
        """Say in an error where the user made a call, or where `skill` is: a thread's own stack does not tell."""
        if isinstance(error, Diverged) and error.divergence.location is None:
            error.divergence = msgspec.structs.replace(error.divergence, location=self._place(skill))
        elif isinstance(error, UnrecordableError) and error.location is None:
            error.location = self._place(skill)

    def fail(self, error: BaseException) -> None:
        """Keep what ends the run, so that no code of the user's makes it unseen."""
        calls = self.root.calls
        calls.latched = calls.latched or error

    @property
    def _denied(self) -> DeniedError | None:
        return self.root.request.allowance.denied

    def _emit(self, skill: Skill, output: bytes | None, error: BaseException | None, duration_us: int) -> None:
        request, flow = self.request, self._flow
        failure = failure_of(error) if error else None
        if failure:
            failure = msgspec.structs.replace(failure, message=flow.redaction.message(failure.message))
        output = None if output is None else flow.redaction.hide(output)
        told = self._told(error, failure, skill) if error and failure else None
        step_id = request.step.id
        data = StepData(
            attempts=[Attempt(delay_ms=0, error=told)],
            budget_snapshot=flow.budget.snapshot(),
            cost_cents=request.allowance.spent or 0,
            error=told or UNSET,
            error_code=told.code if told else UNSET,
            index=request.index,
            input_hash=request.input_hash,
            inputs=Raw(request.written),
            output=_NULL if output is None else Raw(output),
            output_hash=None if output is None else flow.volatile.hash_output(step_id, output),
            recovery_hint=codes.HINTS.get(told.code, UNSET) if told else UNSET,
            seed=request.seed,
            skill_id=skill.id,
            skill_version=skill.version,
            step_id=step_id,
            success=output is not None,
        )
        flow.nesting.emit_nested(data, duration_us, failure, skill)

    def _place(self, skill: Skill | None) -> str | None:
        """Return where the step's own code started this thread, else where it stands by now, or where `skill` is."""
        if not inside_event_loop() and (given := given_place()):
            return given
        for _ in range(2):
            # Either it is suspended, or it runs; between the two looks it may have gone from one to the other.
            found = awaiting_place(self.coroutine) or calling_place(sys._current_frames().get(self._thread))  # noqa: SLF001  the one way to ask
            if found:
                return found
        return skill.location() if skill else None

    def _told(self, error: BaseException, failure: Failure, skill: Skill) -> StepError:
        denied = self._denied
        code = denied.code if denied is not None and error is denied else codes.EXECUTION_ERROR
        place = error.location if isinstance(error, UnrecordableError) else failure.location
        return StepError(
            code=code, location=place or skill.location(), message=failure.message[:MAX_MESSAGE], type=failure.type
        )


def running() -> Scope | None:
    """Return the step in which the caller runs, None outside of any."""
    found = _running.get()
    return found if isinstance(found, Scope) else None


@contextmanager
def outside() -> Iterator[None]:
    """Run what is no part of the step's own code: the functions it calls there are plain ones."""
    token = _running.set(_OUTSIDE)
    try:
        yield
    finally:
        _running.reset(token)


@contextmanager
def active(flow: Flow) -> Iterator[None]:
    """Let it be known that a run is under way in this process; work that its code gives to executors is its own too."""
    _active.append(flow)
    try:
        with carried(lambda: running() is not None), intercepted():
            yield
    finally:
        _active.remove(flow)


def refuse_stray(name: str) -> None:
    """Raise where a run is under way, and nobody can say whether this call is part of it.

    The step that it must be part of fails, if there is one: whoever is in a thread may not hear of what it raises.
    """
    if _running.get() is not None or not _active:
        return
    whose = _at_work.get(threading.get_ident())
    if whose is None and threading.current_thread() is threading.main_thread():
        return
    problem = f"external call {name!r} from code that does not know its step"
    hint = "start its thread by asyncio.to_thread or an executor, or run it in contextvars.copy_context()"
    if whose is None and len(_at_work) == 1:
        (whose,) = _at_work.values()
    if whose is not None:
        whose.fail(UnrecordableError(f"{problem}; {hint}", caller()))
    # One that pools pass on to who waits for them, as they do no BaseException.
    raise UsageError(problem, hint=hint)
