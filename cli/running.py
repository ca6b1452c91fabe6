"""Running: what commands have in common under which steps run: options, who watches, what is told at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from cli.command import Session
from cli.configuration import GUARDS
from cli.functions import function_option, with_functions
from cli.render import Out, bold, counted, dim, failure_lines, mark, safe
from cli.usercode import TerminatedError, prepare
from golden.event import StepData
from golden.ledger import Anchor
from golden.recording import Recording
from golden.store import SUFFIX, GoldenFile, Store
from replay.budget import Ceilings
from replay.codes import EXECUTION_ERROR
from replay.frames import Failure
from replay.guard import Mode
from replay.host import Host
from replay.policy import Policy
from replay.progress import Saving
from replay.revealing import counts_of
from replay.skill import load_skills

Function = Callable[..., Any]
guard_option = click.option(
    "--guard",
    type=click.Choice(GUARDS),
    metavar="MODE",
    help="Where a step asks for what no replay could give it alike: off, warn, block, virtual.  [default: warn]",
)
_CENTS = click.IntRange(0, 10**15)


def running_options(function: Function) -> Function:
    """Add what commands take under which steps run: a function, ceilings, checkpoints, how many steps at a time."""
    for option in (
        click.option("--concurrency", type=click.IntRange(1, 256), metavar="N", help="Steps at a time.  [default: 1]"),
        click.option("--checkpoints", metavar="URL", help="Where checkpoints go.  [default: in the golden directory]"),
        click.option(
            "--workflow-ceiling", type=_CENTS, metavar="CENTS", help="What the run may cost, whatever its spec says."
        ),
        click.option(
            "--step-ceiling",
            type=_CENTS,
            metavar="CENTS",
            help="What a step may cost, unless it says so itself.",
        ),
        function_option,
        guard_option,
    ):
        function = option(function)
    return function


class Running:
    """One command under which steps run: settings turned into what a run is given."""

    def __init__(
        self,
        session: Session,
        *,
        concurrency: int | None,
        checkpoints: str | None,
        workflow_ceiling: int | None,
        step_ceiling: int | None,
        function_name: str | None,
        guard: Mode | None,
    ) -> None:
        self.session = session
        self.function_name = function_name
        # What is run in place of a spec, once the user's code is loaded.
        self.function: Function | None = None
        settings = session.settings
        if checkpoints is not None:
            settings.use_checkpoints(checkpoints)
        self.store: Store = settings.store()
        usual = [settings.ceiling(name) for name in ("DEFAULT_STEP_CEILING_CENTS", "DEFAULT_WORKFLOW_CEILING_CENTS")]
        # What was asked for, which is all that a run goes on with that it did not begin with.
        self.asked = step_ceiling, workflow_ceiling
        self.ceilings = Ceilings(usual[0] if step_ceiling is None else step_ceiling, workflow_ceiling, usual[1])
        self._guard: Mode = guard or settings.values["guard"] or "warn"
        self._width = 1 if concurrency is None else concurrency
        self._saving: Saving | None = None
        # Of the run that happened, once it has.
        self.run_id: str | None = None
        self._places = settings.anchor_to
        self._environ = settings.user_environ()
        self.policy = Policy(**settings.values["policy"])
        if self.policy.note:
            session.out.talk(dim(f"note: {safe(self.policy.note)}"))

    def host(self, *, goes_on: bool = False, saving: bool = True) -> Host:
        """Load the user's code and return what a run is given here; from now on no secret is in the environment.

        A run that `goes_on` may be one of a function that is configured. Without `saving` no checkpoints are read or
        written.
        """
        settings = self.session.settings
        controls, interval = settings.controls(), settings.values["checkpoint_interval"]
        self._saving = Saving(settings.open_checkpoints(), interval) if saving else None
        prepare(self.session.out)
        registry = load_skills(settings.values["skills"])
        configured = settings.values["functions"] if goes_on else ()
        self.function = with_functions(registry, configured, self.function_name)
        watching = Watching(self.session.out)
        return Host(
            registry,
            self.store,
            self._saving,
            controls,
            self._environ,
            watching,
            self._width,
            self._guard,
            tuple(settings.values["allow_secrets"]),
        )

    def run(self, command: str, act: Callable[[], Recording], run_id: Callable[[], str]) -> int:
        """Let a run happen by `act`, keep the anchor, say how it ended, and return the exit code.

        A run that a signal ended is sealed by then: `run_id` says which it is.
        """
        code, out = 0, self.session.out
        folder = os.path.abspath(self.store.folder)
        try:
            recording = act()
        except (KeyboardInterrupt, TerminatedError) as stop:
            code = 130 if isinstance(stop, KeyboardInterrupt) else 143
            file = GoldenFile(folder, run_id())
            if not os.path.exists(file.seal_path):
                out.talk("golden: interrupted before the first event")
                raise SystemExit(code) from None
            recording = Recording.open(file, self.store.read())
        finally:
            if self._saving is not None:
                self._saving.store.close()
        anchor = self.session.keep(self.store.read(), self._places)
        self.run_id = recording.run_id
        with recording:
            place = os.path.join(self.store.folder, f"{recording.run_id}{SUFFIX}")
            answer = tell(out, command, recording, place, anchor)
        return code or answer


class Watching:
    """Tells each step as it is recorded."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def step(self, data: StepData, failure: Failure | None) -> None:
        """See `Observer`."""
        cost = f"  {data.cost_cents}¢" if data.cost_cents else ""
        tries = f"  {counted(len(data.attempts), 'attempt')}" if len(data.attempts) > 1 else ""
        skipped = f"  skipped: {safe(data.because)}" if data.because else ""
        self._out.talk(f"  {mark(data.success)} {safe(data.step_id)}{dim(cost + tries + skipped)}")
        if failure:
            for line in failure_lines(failure):
                self._out.talk(line)
        elif data.error:
            what = data.error.type if data.error.code == EXECUTION_ERROR else data.error.code
            self._out.talk(f"  {safe(what)}: {safe(data.error.message)}")
            if data.error.location:
                self._out.talk(f"    at {safe(data.error.location)}")
        # What was raised says more than a hint could.
        if data.error and data.recovery_hint and data.error_code != EXECUTION_ERROR:
            self._out.talk(dim(f"  hint: {safe(data.recovery_hint)}"))

    def note(self, text: str) -> None:
        """See `Observer`."""
        self._out.talk(dim(f"  note: {safe(text)}"))


def tell(out: Out, command: str, recording: Recording, place: str, anchor: Anchor | None) -> int:
    """Say how a run ended; return 0 where it completed."""
    start, end, kid = recording.start, recording.end, recording.verdict.kid
    status = recording.statement.status
    good = status == "completed"
    completed, total = (end.steps_completed, end.steps_total) if end else (0, 0)
    out.record(
        command,
        run_id=recording.run_id,
        path=place,
        status=status,
        seed=start.seed,
        spec_id=start.spec_id,
        spec_hash=start.spec_hash,
        events=recording.statement.events,
        steps_completed=completed,
        steps_total=total,
        total_cost_cents=end.total_cost_cents if end else 0,
        result_hash=end.result_hash if end else None,
        resumed_from=start.resumed_from.run_id if start.resumed_from else None,
        kid=kid,
        anchor=None if anchor is None else str(anchor),
    )
    steps = f"{completed} of {counted(total, 'step')}"
    out.answer(f"{mark(good)} {bold(safe(recording.run_id))}  {safe(status)}, {steps}, seed {start.seed}")
    out.answer(dim(f"  {safe(place)}, key {kid}"))
    out.detail(f"  spec hash {start.spec_hash}, result hash {end.result_hash if end else None}")
    if anchor is not None:
        out.detail(f"  {anchor}")
    for rule, count in (counts_of(recording) if out.verbose else {}).items():
        out.detail(f"  redacted {safe(rule)}: {counted(count, 'value')}")
    out.detail(f"  {recording.statement.events} events, {recording.statement.bytes} bytes")
    return 0 if good else 1
