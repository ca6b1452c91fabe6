"""Shelf: golden values of test modules, one signed recording a module: looked up, and written anew.

Knows no test runner, and does not say what it means that a value differs. Each value is the output of a step.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from golden.canonical import canonical_bytes, decode, path_seed, pointer, sha256_hex
from golden.errors import FormatError, GoldenError, StoreError, TamperedError, UsageError
from golden.event import FORMAT, MAX_LINE, Attempt, Data, RecordedSkill, RunEnd, RunStart, StepData, parse_event
from golden.recording import Recording
from golden.replacing import is_broken_off, open_replacement
from golden.store import RESERVED, Store, stems
from golden.volatile import Volatile
from replay.budget import Ceilings
from replay.engine import BY_PATH
from replay.environment import recorded_environment
from replay.policy import Policy
from replay.skill import SkillRegistry
from replay.spec import Spec

# The spec of a recording says by whom its values are compared; nobody can replay one.
CHECKS, SNAPSHOTS = "pytest", "syrupy"
# What a line says besides the value.
_ROOM = 64 << 10
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)*")
_LONGEST = 100
_WRITING_SECONDS = 5.0
_POLL_SECONDS = 0.02


class Value(msgspec.Struct, frozen=True):
    """A value to be kept: its canonical form, the test it is of, and where it may differ (pointers below it)."""

    data: str
    test: str
    volatile: tuple[str, ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """A value that is kept: its hash without volatile places, which these are, whose it is, where its line lies."""

    output_hash: str
    volatile: tuple[str, ...]
    test: str
    start: int
    stop: int


class _Inputs(msgspec.Struct, frozen=True):
    test: str = ""
    volatile: tuple[str, ...] = ()


class _Step(msgspec.Struct, frozen=True):
    step_id: str = ""
    output_hash: str = ""
    inputs: _Inputs = _Inputs()


class _Line(msgspec.Struct, frozen=True):
    data: _Step
    event_type: str


_decode_line = msgspec.json.Decoder(_Line).decode


class NoValuesError(UsageError):
    """A recording lies where golden values are kept, and is none of them."""


class Leaf:
    """The values of one module, all of which verified when it was made: `kept` by name, in the order of their names.

    `path` is that of the golden file, `module` the module's, `kind` who compares them.

    Raises:
        NoValuesError: the recording is of something else.
    """

    def __init__(self, recording: Recording, path: str) -> None:
        start = recording.start
        self.path = path
        kind = next((kind for kind in (CHECKS, SNAPSHOTS) if start.spec_hash == _spec(kind).hash), None)
        if kind is None:
            raise NoValuesError(
                f"{recording.run_id} is the recording of a workflow, and holds no golden values",
                hint="keep recordings and golden values in two directories (golden_dir)",
            )
        self.kind = kind
        self.module: str = decode(start.inputs)["module"]
        self.sha256 = recording.statement.sha256
        self.kept: dict[str, Kept] = {}
        at = 0
        for batch in recording.lines():
            for line in batch:
                stop = at + len(line)
                if b'"event_type":"step"' in line:
                    data = _decode_line(line).data
                    inputs = data.inputs
                    self.kept[data.step_id] = Kept(data.output_hash, inputs.volatile, inputs.test, at, stop)
                at = stop + 1


class Shelf:
    """The golden directory `store`, holding the values of test modules; each file is verified when first asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._leaves: dict[str, Leaf | None] = {}
        # The one that was asked last: a module's tests mostly come one after another.
        self._open: Recording | None = None

    def leaf(self, run_id: str) -> Leaf | None:
        """Return the values under `run_id`, None where none are kept.

        Raises:
            TamperedError, KeyringError, StoreError: they do not verify.
            NoValuesError: it is another recording.
        """
        if run_id not in self._leaves:
            self._leaves[run_id] = self._read(run_id)
        return self._leaves[run_id]

    def forget(self, run_id: str) -> None:
        """Read the values anew when they are next asked for."""
        self._leaves.pop(run_id, None)
        self.close()

    def value(self, run_id: str, name: str) -> Any:
        """Return the value called `name` as it is kept; raises TamperedError where its file changed meanwhile."""
        leaf = self.leaf(run_id)
        if leaf is None:
            raise KeyError(name)
        kept = leaf.kept[name]
        return decode(_step_at(self._opened(run_id, leaf), kept).output)

    def run_ids(self) -> list[str]:
        """Return what is kept here, sorted."""
        return [name for name in stems(self.store.folder) if os.path.lexists(self.store.file(name).place)]

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            self._open.close()
        self._open = None

    def rewrite(
        self, run_id: str, module: str, kind: str, values: Mapping[str, Value], gone: Collection[str] = ()
    ) -> None:
        """Keep `values` beside those that are there, without the `gone` ones; where none is left there is no file.

        Raises:
            TamperedError, KeyringError: what is there does not verify, or there is no key to sign with.
            StoreError, FormatError: it cannot be written; what was there is there still.
        """
        self.forget(run_id)
        self.store.keyring.active  # noqa: B018  refuses where there is none, before anything is made
        with open_replacement(self.store, run_id) as place:
            old = Leaf(place.recording, "") if place.recording else None
            if old is not None and (old.module, old.kind) != (module, kind):
                raise UsageError(
                    f"{run_id} holds the golden values of {old.module}, not of {module}",
                    hint="give the two projects a golden directory each (golden_dir)",
                )
            there = old.kept if old else {}
            names = sorted({*there, *values} - {*gone} | {*values})
            if not names:
                place.remove(f"no test of {module} has a golden value")
                return
            place.record(_events(module, kind, names, values, there, place.recording))

    def _read(self, run_id: str) -> Leaf | None:
        file = self.store.file(run_id)
        patience = _WRITING_SECONDS
        while True:
            directory = self.store.read()
            known = directory.runs.get(run_id)
            there = any(map(os.path.lexists, (file.place, f"{file.place}.sig")))
            directory.require_good()
            if not there and not (known and known.present):
                return None
            try:
                recording = Recording.open(file, directory)
            except GoldenError as error:
                # Between file and seal whoever replaces them has the lock, for a moment.
                if file.has_writer() and patience > 0:
                    time.sleep(_POLL_SECONDS)
                    patience -= _POLL_SECONDS
                    continue
                if is_broken_off(file):
                    error.hint = "writing it was broken off, and is completed by whatever updates it next"
                raise
            self.close()
            self._open = recording
            return Leaf(recording, file.place)

    def _opened(self, run_id: str, leaf: Leaf) -> Recording:
        if self._open is None or self._open.run_id != run_id:
            self.close()
            self._open = Recording.open(self.store.file(run_id), self.store.read())
        if self._open.statement.sha256 != leaf.sha256:
            raise TamperedError(f"{run_id} changed while it was in use", hint="run the tests again")
        return self._open


def run_id_of(module: str, kind: str) -> str:
    """Return the run id of the values of a module, given by its path; no two modules have one.

    `tests/test_api.py` is `tests.test_api`; a path that does not come back from that has its hash beside it.
    """
    stem = module.removesuffix(".py")
    if kind == SNAPSHOTS:
        # syrupy knows whose a file is by what stands before its last dot, and by nothing else.
        name = re.sub(r"[^A-Za-z0-9_-]", "_", Path(stem).name)[:_LONGEST]
        return f"{name}.ambr-{_short_hash(module)}" if name[:1].isalnum() else f"x{name}.ambr-{_short_hash(module)}"
    if _PLAIN.fullmatch(stem) and len(stem) <= _LONGEST and stem not in RESERVED and module.endswith(".py"):
        return stem.replace("/", ".")
    name = re.sub(r"[^A-Za-z0-9_-]+", ".", stem)[-_LONGEST:].strip(".-_") or "tests"
    return f"{name}-{_short_hash(module)}"


def volatile_of(name: str, places: Collection[str]) -> Volatile:
    """Return the rules for the value called `name`: JSON Pointers below it, `*` for one segment.

    Raises:
        FormatError: one of them is no such pointer.
    """
    for place in places:
        if not place.startswith("/"):
            raise FormatError(
                f"volatile path {place!r} is no JSON Pointer below the value", hint="write /name, /list/0, or /list/*/x"
            )
    return Volatile(_rules(name, places))


def stripped(name: str, rules: Volatile, value: Any) -> Any:
    """Return `value` (a fresh decode, changed in place) without its volatile places."""
    return rules.strip(("steps", name, "output"), value)


def checked_size(data: bytes) -> bytes:
    """Return the canonical form of a value if it fits into a golden file; raises FormatError."""
    if len(data) > MAX_LINE - _ROOM:
        raise FormatError(
            f"the value has {len(data)} bytes, at most {(MAX_LINE - _ROOM) >> 10} KiB are kept",
            hint="keep a hash of it, or a part",
        )
    return data


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _rules(name: str, places: Collection[str]) -> list[str]:
    return [pointer(("steps", name, "output")) + place for place in places]


def _step_at(recording: Recording, kept: Kept) -> StepData:
    data = parse_event(recording.read(kept.start, kept.stop)).data
    if not isinstance(data, StepData):
        raise StoreError(f"{recording.run_id} changed while it was in use", hint="run the tests again")
    return data


@cache
def _spec(kind: str) -> Spec:
    return Spec({"id": kind, "steps": [{"id": "values", "skill_id": f"{kind}.values"}]})


def _events(
    module: str,
    kind: str,
    names: list[str],
    values: Mapping[str, Value],
    there: Mapping[str, Kept],
    recording: Recording | None,
) -> Iterator[Data]:
    spec = _spec(kind)
    # Whoever tries to replay it is told where the values come from.
    skills = {f"{kind}.values": RecordedSkill(code_hash=None, module=module, version="1")}
    budget = Ceilings().budget(None).snapshot()
    volatile = [
        rule for name in names for rule in _rules(name, (values[name] if name in values else there[name]).volatile)
    ]
    yield RunStart(
        budget_snapshot=budget,
        canonical=FORMAT,
        environment=msgspec.structs.replace(recorded_environment(spec, SkillRegistry(), {}), skills=skills),
        inputs=Raw(canonical_bytes({"module": module})),
        policy=Policy().snapshot(),
        redacted=[],
        seed=0,
        seed_scheme=BY_PATH,
        spec=Raw(spec.raw),
        spec_hash=spec.hash,
        spec_id=spec.id,
        volatile=volatile,
    )
    hashes: dict[str, str | None] = {}
    for index, name in enumerate(names):
        if recording is None or name in values:
            step = _step(kind, name, values[name])
        else:
            step = _step_at(recording, there[name])
        hashes[name] = step.output_hash
        yield msgspec.structs.replace(step, index=index, budget_snapshot=budget)
    yield RunEnd(
        result_hash=sha256_hex(canonical_bytes(hashes)),
        status="completed",
        steps_completed=len(names),
        steps_total=len(names),
        total_cost_cents=0,
    )


def _step(kind: str, name: str, value: Value) -> StepData:
    inputs = canonical_bytes({"test": value.test, "volatile": list(value.volatile)})
    data = value.data.encode()
    return StepData(
        attempts=[Attempt(delay_ms=0, error=None)],
        budget_snapshot=Ceilings().budget(None).snapshot(),
        cost_cents=0,
        index=0,
        input_hash=sha256_hex(inputs),
        inputs=Raw(inputs),
        output=Raw(data),
        output_hash=volatile_of(name, value.volatile).hash_output(name, data),
        seed=path_seed(0, name),
        skill_id=f"{kind}.values",
        skill_version="1",
        step_id=name,
        success=True,
    )
