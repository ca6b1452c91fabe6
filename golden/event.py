"""Events: the lines of a golden file as typed values, every member of format v1.

Knows the form of a line, neither its signature nor its place in a chain. Members are declared in sorted order,
because that is the order in which they are written. Normative text: docs/format.md, "Events".
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from golden.errors import FormatError

FORMAT = "golden/v1"
MAX_LINE = 16 << 20
MAX_HEADER = 64 << 20
MAC_LENGTH = 43
# ,"mac":"<43>"} at the end of every line
MAC_SUFFIX = len(',"mac":"') + MAC_LENGTH + len('"}')

RUN_ID = r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

Count = Annotated[int, Meta(ge=0)]
Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Id128 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Kid = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
RunId = Annotated[str, Meta(pattern=rf"\A{RUN_ID}\Z")]
Time = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z")]


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A JSON object with exactly the declared members."""


class BudgetSnapshot(_Form, frozen=True, kw_only=True):
    """Ceilings and what has been charged so far, in integer cents."""

    accumulated_cost_cents: int
    policy_version: str
    step_ceiling_cents: int
    workflow_ceiling_cents: int


class RecordedSkill(_Form, frozen=True, kw_only=True):
    """Where a skill came from: `code_hash` is the SHA-256 of its module's source file, null if it has none."""

    code_hash: Hash | None
    module: str
    version: str


class Environment(_Form, frozen=True, kw_only=True):
    """The machine and interpreter of a run; `env` holds names of environment variables, never values."""

    cpu_count: Count
    env: list[str]
    hash_seed: str
    locale: str
    lock_hash: Hash | None
    platform: str
    python: str
    skills: dict[str, RecordedSkill]
    timezone: str
    version: str


class Origin(_Form, frozen=True, kw_only=True):
    """The file of another format that this recording was imported from."""

    format: str
    sha256: Hash


class ResumedFrom(_Form, frozen=True, kw_only=True):
    """The ended run whose finished steps this run carries; `at` is the step before which a fork left it.

    `kids` are the keys under which these steps were recorded: this run vouches for them no better than they do.
    """

    accepted_changes: list[str] | UnsetType = UNSET
    at: str | UnsetType = UNSET
    file_id: Id128
    kids: Annotated[list[Kid], Meta(min_length=1)]
    run_id: RunId
    sha256: Hash


class RunStart(_Form, frozen=True, kw_only=True):
    """First event: everything needed to replay the file alone."""

    budget_snapshot: BudgetSnapshot
    canonical: Annotated[str, Meta(pattern=rf"\A{FORMAT}\Z")]
    environment: Environment
    inputs: Raw
    origin: Origin | UnsetType = UNSET
    policy: dict[str, Any]
    redacted: list[str]
    resumed_from: ResumedFrom | UnsetType = UNSET
    seed: int
    seed_scheme: Annotated[str, Meta(pattern=r"\A(aos|path)-v1\Z")]
    spec: Raw
    spec_hash: Hash | None
    spec_id: str | None
    volatile: list[str]


class StepError(_Form, frozen=True, kw_only=True):
    """Why a step failed; `location` is FILE:LINE of the innermost frame of the user's code."""

    code: str
    location: str | None
    message: str
    type: str


class Attempt(_Form, frozen=True, kw_only=True):
    """One try of a step: the wait before it in milliseconds and its error, if any."""

    delay_ms: Count
    error: StepError | None


class StepData(_Form, frozen=True, kw_only=True):
    """A step that was tried, with everything a replay compares."""

    attempts: list[Attempt]
    because: str | UnsetType = UNSET
    budget_snapshot: BudgetSnapshot
    carried: bool | UnsetType = UNSET
    cost_cents: Count
    error: StepError | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    index: Count
    input_hash: Hash
    inputs: Raw
    origin_output_hash: str | UnsetType = UNSET
    output: Raw
    output_hash: Hash | None
    recovery_hint: str | UnsetType = UNSET
    seed: int
    skill_id: str
    skill_version: str
    skipped: bool | UnsetType = UNSET
    step_id: str
    success: bool


class EffectError(_Form, frozen=True, kw_only=True):
    """The exception of an external call, as the skill saw it."""

    message: str
    type: str


class EffectData(_Form, frozen=True, kw_only=True):
    """One external call of a step; `call` is numbered when the call starts, within (index, attempt)."""

    args: Raw
    args_hash: Hash
    attempt: Count
    call: Count
    error: EffectError | UnsetType = UNSET
    index: Count
    kwargs: Raw
    name: str
    result: Raw
    result_hash: Hash | None
    step_id: str


class Extent(_Form, frozen=True, kw_only=True):
    """A stretch of bytes of the file."""

    bytes: Count
    sha256: Hash


class RunResume(_Form, frozen=True, kw_only=True):
    """A killed run goes on: from this line on, itself included, the key is the one of its `golden` member."""

    accepted_changes: list[str]
    dropped: Extent | UnsetType = UNSET
    next_index: Count
    prefix: Extent


class RunEnd(_Form, frozen=True, kw_only=True):
    """Last event: how the run ended, and the hash of its result."""

    result_hash: Hash | None
    status: str
    steps_completed: Count
    steps_total: Count
    total_cost_cents: Count


class Signing(_Form, frozen=True, kw_only=True):
    """The member `golden`: which key signs from this line on."""

    alg: str
    file_id: Id128
    kid: Kid
    v: int


class Timing(_Form, frozen=True, kw_only=True):
    """How long the step or effect took, in microseconds."""

    duration_us: Count


Data = RunStart | StepData | EffectData | RunResume | RunEnd
DATA_TYPES: dict[str, type[Data]] = {
    "run_start": RunStart,
    "step": StepData,
    "effect": EffectData,
    "run_resume": RunResume,
    "run_end": RunEnd,
}


class Line(_Form, frozen=True, kw_only=True):
    """A line without its `mac`; `data` is left raw when read and holds a `Data` when written."""

    data: Any
    event_type: str
    golden: Signing | UnsetType = UNSET
    run_id: RunId
    seq: Count
    timestamp: Time
    timing: Timing | UnsetType = UNSET


class _ReadLine(Line, frozen=True, kw_only=True):
    data: Raw
    mac: str


class Event(msgspec.Struct, frozen=True):
    """One event as read: its decoded `data` and the members that may differ between two good runs."""

    event_type: str
    data: Data
    run_id: str
    seq: int
    timestamp: str
    golden: Signing | None
    timing: Timing | None


encode_line = msgspec.json.Encoder(order="deterministic").encode
# Made when first needed: verifying a sealed file decodes no event.
_decoder = cache(msgspec.json.Decoder)
# Members kept raw, with what their first byte may be; a canonical line has no space before it.
_RAW_STARTS: dict[type[Data], tuple[tuple[str, bytes], ...]] = {
    RunStart: (("inputs", b"{"), ("spec", b"{n")),
    StepData: (("inputs", b"{"),),
    EffectData: (("args", b"["), ("kwargs", b"{")),
}


def parse_event(line: bytes) -> Event:
    """Return the event of one line (without LF), its form checked, its signature not.

    Raises:
        FormatError: not JSON, an unknown event type, or members that are not those of its type.
    """
    try:
        read = _decoder(_ReadLine).decode(line)
        form = DATA_TYPES.get(read.event_type)
        if form is None:
            raise FormatError(f'unknown event type "{read.event_type}"', hint="read it with a newer version")
        data = _decoder(form).decode(read.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"not an event: {error}", hint="compare the line with a backup") from None
    for name, starts in _RAW_STARTS.get(form, ()):
        if memoryview(getattr(data, name))[0] not in starts:
            raise FormatError(f"not an event: {name} is of another type", hint="compare the line with a backup")
    signs = isinstance(data, RunStart | RunResume)
    timed = isinstance(data, StepData | EffectData)
    if signs is (read.golden is UNSET) or timed is (read.timing is UNSET):
        raise FormatError(
            f"members of a {read.event_type} event are missing or too many",
            hint="compare the line with a backup",
        )
    return Event(read.event_type, data, read.run_id, read.seq, read.timestamp, read.golden or None, read.timing or None)


class Header(msgspec.Struct, frozen=True):
    """The few members of a first line that say whose file it is; others are not looked at."""

    run_id: str = ""
    golden: Any = None
    mac: Any = None
    event_type: str = ""

    @property
    def signing(self) -> Signing | None:
        """The `golden` member if it has the form of this version."""
        try:
            signing = msgspec.convert(self.golden, Signing)
        except msgspec.ValidationError:
            return None
        return signing if signing.v == 1 and signing.alg == "hmac-sha256" else None

    @property
    def version(self) -> int | None:
        """The format version that the `golden` member claims."""
        version = self.golden.get("v") if isinstance(self.golden, dict) else None
        return version if type(version) is int else None


_decode_header = msgspec.json.Decoder(Header).decode


def parse_header(line: bytes) -> Header | None:
    """Return what a first line says about whose file it is, or None where it is not a JSON object."""
    try:
        return _decode_header(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
