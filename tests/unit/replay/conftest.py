"""What the tests of replay share: a laboratory that records and replays, and children that are real processes."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from golden import Recording
from golden.event import EffectData, Event, RunEnd, StepData
from golden.keyring import Keyring
from golden.recording import Record
from golden.store import Store
from golden.verdict import Verdict, verify
from replay import Context, Divergence, Replay, SkillRegistry, Spec, codes, record, replay
from replay.live import LiveEffects

ROOT = Path(__file__).resolve().parents[3]
SECRET = b"a secret of the tests, long enough to sign"
Skill = Callable[[Context], Any]


def step(step_id: str, skill_id: str, /, **members: Any) -> dict[str, Any]:
    """Return one step of a spec document."""
    return {"id": step_id, "skill_id": skill_id, **members}


def flow(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return a spec document with these steps."""
    return {"id": "flow", "steps": list(steps), **members}


def skills(version: str = "1", /, **functions: Skill) -> SkillRegistry:
    """Return a registry that holds each function under its keyword."""
    registry = SkillRegistry()
    for skill_id, function in functions.items():
        registry.skill(skill_id, version=version)(function)
    return registry


def def_line(function: Skill) -> int:
    """Return the line of a function's `def`, for one that has no decorator."""
    return function.__code__.co_firstlineno


def here(line: int, file: str = __file__) -> str:
    """Return FILE:LINE as a divergence or error names it."""
    relative = os.path.relpath(file)
    return f"{file if relative.startswith('..') else relative}:{line}"


class Lab:
    """A golden directory of its own, with recording, replaying and reading in one short call each."""

    def __init__(self, directory: Path) -> None:
        self.keyring = Keyring(SECRET)
        self.store = Store(directory, self.keyring, durability="never")
        self.opened: list[Recording] = []

    def record(self, spec: Spec | Mapping[str, Any], registry: SkillRegistry, **options: Any) -> Recording:
        """Record a run as `r-1`, `r-2`, … with seed 7 unless told otherwise."""
        options = {"run_id": f"r-{len(self.opened) + 1}", "seed": 7, **options}
        self.opened.append(record(spec, registry, store=self.store, **options))
        # Whatever a test records, and why ever it fails: the set of codes is closed.
        assert codes_of(self.opened[-1]) <= codes.HINTS.keys()
        return self.opened[-1]

    def run(self, skill: Skill, **members: Any) -> Recording:
        """Record a run of one step `a` with one skill `s`."""
        return self.record(flow(step("a", "s"), **members), skills(s=skill))

    def replay(self, recording: Recording, skill: Skill, **options: Any) -> Replay:
        """Replay a run that `run` recorded."""
        return replay(recording, skills(s=skill), **options)

    def diverges(self, recorded: Skill, replayed: Skill, **members: Any) -> Divergence:
        """Record one skill, replay the other in its place, and return the divergence that must be found."""
        answer = self.replay(self.run(recorded, **members), replayed)
        assert answer.verdict == "diverged"
        assert answer.divergence is not None
        return answer.divergence

    def matches(self, skill: Skill, **members: Any) -> Recording:
        """Record a skill, check that it replays as matched, and return the recording."""
        recording = self.run(skill, **members)
        answer = self.replay(recording, skill)
        assert (answer.verdict, answer.divergence, answer.problem) == ("matched", None, None)
        return recording

    def verify(self, run_id: str) -> Verdict:
        """Return the verdict on a run of this directory."""
        return verify(self.store.file(run_id).path, self.keyring)

    def close(self) -> None:
        """Close what was opened."""
        for recording in self.opened:
            recording.close()


def records(recording: Recording) -> list[Record]:
    """Return the effective records of a recording."""
    return [found for found in recording.records() if isinstance(found, Record)]


def only(recording: Recording) -> StepData:
    """Return the one step of a recording."""
    (found,) = records(recording)
    return found.step


def effects(recording: Recording) -> list[EffectData]:
    """Return all effects of a recording in the order of the file."""
    return [event.data for event in recording.events() if isinstance(event.data, EffectData)]


def ending(recording: Recording) -> RunEnd:
    """Return how a recording ended."""
    assert recording.end is not None
    return recording.end


def codes_of(recording: Recording) -> set[str]:
    """Return every code that a recording gives for a failure: of its steps, and of each of their attempts."""
    steps = [event.data for event in recording.events() if isinstance(event.data, StepData)]
    errors = [error for data in steps for error in (data.error, *(attempt.error for attempt in data.attempts)) if error]
    return {error.code for error in errors} | {data.error_code for data in steps if data.error_code}


def kinds(events: Iterator[Event]) -> list[str]:
    """Return the types of events."""
    return [event.event_type for event in events]


def python(script: str, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a Python process of its own that runs `script`, with this checkout on its path and pipes to talk."""
    # A shell without job control starts its background jobs with SIGINT ignored, and children inherit that.
    prelude = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(script), *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A laboratory in a directory of its own."""
    laboratory = Lab(tmp_path / "golden")
    yield laboratory
    laboratory.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further attempts are made at once; the delay that is recorded stays what it is."""
    monkeypatch.setattr(LiveEffects, "pause", lambda *_: 0)
