"""Small runs and ledgers for the tests: events with everything defaulted, written by the product's own recorder.

Nothing here judges; a test says what it expects.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import UNSET, Raw, UnsetType

from golden import ledger
from golden import seal as seals
from golden.canonical import canonical_bytes, derive_seed, output_hash
from golden.chain import Chain
from golden.event import (
    DATA_TYPES,
    Attempt,
    BudgetSnapshot,
    Data,
    EffectData,
    EffectError,
    Environment,
    Extent,
    Line,
    RunEnd,
    RunResume,
    RunStart,
    Signing,
    StepData,
    StepError,
    Timing,
    encode_line,
)
from golden.keyring import HmacKey, Key, Keyring, State, b64, entry_of, key_from, kid_of
from golden.ledger import (
    LEDGER,
    NO_LINE,
    Anchor,
    Create,
    KeyState,
    Open,
    Operation,
    Sealed,
    draft,
    parse_line,
    signed_line,
)
from golden.recorder import open_recorder
from golden.recording import Record, Recording
from golden.store import GoldenFile, Store
from golden.unfinished import open_unfinished
from golden.volatile import Volatile

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "fixtures"
ACTIVE = (FIXTURES / "keyrings/active.secret").read_bytes().removesuffix(b"\n")
RETIRED = (FIXTURES / "keyrings/retired.secret").read_bytes().removesuffix(b"\n")
STRANGER = b"published-test-secret-in-no-keyring-never-use-it-for-anything-real"
AOS_SECRET = b"aos-legacy-example-secret-0123456789abcdef"
FILE_ID = "0123456789abcdef0123456789abcdef"
DIR_ID = "fedcba9876543210fedcba9876543210"
NOW = "2026-01-01T00:00:00.000000Z"

BUDGET = BudgetSnapshot(
    accumulated_cost_cents=0, policy_version="1", step_ceiling_cents=100, workflow_ceiling_cents=1000
)
ENVIRONMENT = Environment(
    cpu_count=1,
    env=[],
    hash_seed="0",
    locale="C",
    lock_hash=None,
    platform="-",
    python="3",
    skills={},
    timezone="UTC",
    version="0",
)


def raw(value: Any) -> Raw:
    """Return the canonical form of a value as it is put into an event."""
    return Raw(canonical_bytes(value))


def keyring() -> Keyring:
    """Return a keyring with an active and a retired key; give each store one of its own."""
    return Keyring(ACTIVE, [RETIRED])


def store_in(directory: Path, *, durability: str = "never", ledger: bool = False) -> Store:
    """Return a store that loses nothing a test could see by not syncing.

    It makes no ledger unless a test asks for one: most are about files that no recorder wrote, and a ledger knows none.
    """
    return Store(directory, keyring(), durability=durability, ledger=ledger)


def start(inputs: Any = None, spec: Any = None, **changes: Any) -> RunStart:
    """Return the first event of a run."""
    spec = {"id": "s", "steps": []} if spec is None else spec
    event = RunStart(
        budget_snapshot=BUDGET,
        canonical="golden/v1",
        environment=ENVIRONMENT,
        inputs=raw(inputs or {}),
        policy={},
        redacted=[],
        seed=7,
        seed_scheme="aos-v1",
        spec=raw(spec),
        spec_hash=output_hash(spec),
        spec_id="s",
        volatile=[],
    )
    return msgspec.structs.replace(event, **changes)


def step(index: int, output: Any = None, *, volatile: Iterable[str] = (), **changes: Any) -> StepData:
    """Return the event of a step that succeeded, called `step-<index>` unless told otherwise."""
    inputs = changes.pop("inputs", {"n": index})
    step_id = changes.get("step_id", f"step-{index}")
    event = StepData(
        attempts=[Attempt(delay_ms=0, error=None)],
        budget_snapshot=BUDGET,
        cost_cents=0,
        index=index,
        input_hash=output_hash(inputs),
        inputs=raw(inputs),
        output=raw(output),
        output_hash=Volatile(tuple(volatile)).hash_output(step_id, canonical_bytes(output)),
        seed=derive_seed(7, index),
        skill_id="skill",
        skill_version="1",
        step_id=step_id,
        success=True,
    )
    return msgspec.structs.replace(event, **changes)


def failed(index: int, message: str = "no", *, attempts: int = 1, **changes: Any) -> StepData:
    """Return the event of a step all of whose attempts failed."""
    error = StepError(code="EXECUTION_ERROR", location="skills.py:3", message=message, type="ValueError")
    tries = [Attempt(delay_ms=0, error=error) for _ in range(attempts)]
    event = step(index, None, attempts=tries, error=error, error_code=error.code, recovery_hint="look")
    return msgspec.structs.replace(event, output_hash=None, success=False, **changes)


def effect(index: int, call: int = 0, result: Any = None, *, attempt: int = 0, **changes: Any) -> EffectData:
    """Return the event of an external call with one argument."""
    args, kwargs = changes.pop("args", ["a"]), changes.pop("kwargs", {})
    event = EffectData(
        args=raw(args),
        args_hash=output_hash({"args": args, "kwargs": kwargs}),
        attempt=attempt,
        call=call,
        index=index,
        kwargs=raw(kwargs),
        name="get",
        result=raw(result),
        result_hash=output_hash(result),
        step_id=f"step-{index}",
    )
    return msgspec.structs.replace(event, **changes)


def failed_effect(index: int, call: int = 0, message: str = "refused") -> EffectData:
    """Return the event of an external call that raised."""
    error = EffectError(message=message, type="OSError")
    return effect(index, call, None, error=error, result_hash=None)


def end(status: str = "completed", **changes: Any) -> RunEnd:
    """Return the last event of a run."""
    event = RunEnd(result_hash=None, status=status, steps_completed=1, steps_total=1, total_cost_cents=0)
    return msgspec.structs.replace(event, **changes)


def resume(next_index: int) -> RunResume:
    """Return the event of a resumption; `forge` fills in the prefix."""
    return RunResume(
        accepted_changes=[], next_index=next_index, prefix=Extent(bytes=0, sha256=hashlib.sha256().hexdigest())
    )


def duration(data: Data) -> int | None:
    """Return how long an event took, for those that say so."""
    return 5 if isinstance(data, StepData | EffectData) else None


def record(store: Store, run_id: str, events: Iterable[Data], *, sealed: bool = True) -> GoldenFile:
    """Record a run through the product's recorder, the events taken as they are."""
    with open_recorder(store, run_id) as recorder:
        for data in events:
            recorder.write(data, duration(data))
        if sealed:
            recorder.seal()
    return store.file(run_id)


def broken_off(store: Store, run_id: str, events: Iterable[Data], *, half: bytes = b"") -> GoldenFile:
    """Record a run whose recorder dies: there is no seal, and `half` a line may stand at its end."""
    file = record(store, run_id, events, sealed=False)
    with file.path.open("ab") as out:
        out.write(half)
    return file


def go_on(store: Store, run_id: str, events: Sequence[Data], *, sealed: bool = True) -> list[EffectData]:
    """Resume a run from wherever it broke off, as an engine does; return the calls that the world was asked for.

    `events` are those of the undisturbed run: steps that stand in the file are kept, of a step that was under way the
    calls are answered from the file as far as they stand there.
    """
    asked = []
    with open_unfinished(store, run_id) as past:
        done = {record.step.index for record in past.records() if isinstance(record, Record)}
        pending = {(x.index, x.attempt, x.call): x for effects in past.pending.values() for x in effects}
        left = [data for data in events[1:] if getattr(data, "index", None) not in done]
        steps = [data.index for data in left if isinstance(data, StepData)]
        recorder = past.recorder([], min(steps, default=len(done)))
        for data in left if past.ended is None else ():
            answer: Data = data
            if isinstance(data, EffectData):
                answer = pending.get((data.index, data.attempt, data.call), data)
                asked += [data] if answer is data else []
            recorder.write(answer, duration(answer))
        if sealed:
            recorder.seal()
    return asked


def forge(
    directory: Path, run_id: str, events: Iterable[Data], *, keys: Iterable[HmacKey] = (), sealed: bool = True
) -> GoldenFile:
    """Write a file with the key and the members one likes, as no recorder does: resumptions above all.

    The first key signs until the first resumption, the second from there, and so on; the last one signs the seal.
    """
    remaining = list(keys) or [HmacKey(ACTIVE)] * 9
    chain: Chain | None = None
    key = remaining[0]
    written = b""
    count = 0
    for seq, data in enumerate(events):
        signing = None
        if chain is None or isinstance(data, RunResume):
            key = remaining.pop(0)
            signing = Signing(alg="hmac-sha256", file_id=FILE_ID, kid=key.kid, v=1)
            chain = Chain(key.event_key(run_id, FILE_ID), chain.previous if chain else bytes(32))
        said: Data = data
        if isinstance(data, RunResume):
            extent = Extent(bytes=len(written), sha256=hashlib.sha256(written).hexdigest())
            said = msgspec.structs.replace(data, prefix=extent)
        took = duration(data)
        line = Line(
            data=said,
            event_type=next(name for name, form in DATA_TYPES.items() if form is type(data)),
            golden=signing or UNSET,
            run_id=run_id,
            seq=seq,
            timestamp=NOW,
            timing=UNSET if took is None else Timing(duration_us=took),
        )
        written += chain.sign(encode_line(line))
        count += 1
    file = GoldenFile(directory, run_id)
    file.path.write_bytes(written)
    if sealed and chain is not None:
        said_of = seals.statement_line(statement_of(run_id, written, count, chain.previous))
        file.seal_path.write_bytes(seals.make_seal(said_of, [key]))
    return file


def statement_of(run_id: str, data: bytes, events: int, last_mac: bytes) -> seals.Statement:
    """Return the statement that is true of these bytes."""
    return seals.Statement(
        bytes=len(data),
        events=events,
        file_id=FILE_ID,
        gen=0,
        last_mac=b64(last_mac).decode(),
        run_id=run_id,
        sealed_at=NOW,
        sha256=hashlib.sha256(data).hexdigest(),
        status="completed",
        v=1,
    )


def pem(name: str) -> bytes:
    """Return the secret of an Ed25519 key that is the same every time: a PKCS#8 PEM."""
    seed = hashlib.sha256(b"published test key " + name.encode()).digest()
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def policy(*states: tuple[bytes, State], held: Iterable[bytes] | None = None) -> Keyring:
    """Return the keyring that gives these states to the keys of these secrets, of which only `held` are at hand."""
    secrets = [secret for secret, _ in states] if held is None else held
    found = {kid_of(secret): secret for secret in secrets}
    return Keyring.of([entry_of(key_from(secret), state) for secret, state in states], found.get)


class Scribe:
    """Writes a ledger line by line, by whatever keys and with whatever members one likes, as no writer does."""

    def __init__(self, key: Key, dir_id: str = DIR_ID) -> None:
        self.dir_id = dir_id
        self.lines: list[bytes] = []
        self.add(key, Create, dir_id=dir_id)

    def add(self, key: Key, form: type[Operation], /, *, signer: Key | None = None, **members: Any) -> Self:
        """Add a line that says it is by `key`, signed by `signer` where that is another."""
        prev = hashlib.sha256(self.lines[-1][:-1]).hexdigest() if self.lines else NO_LINE
        place = ledger.Line(actor="a@h", kid=key.kid, prev=prev, seq=len(self.lines), timestamp=NOW)
        self.lines.append(signed_line(draft(form, **members)(place), signer or key, self.dir_id))
        return self

    def opened(self, key: Key, run_id: str) -> Self:
        """Say that a run began."""
        return self.add(key, Open, run_id=run_id, file_id=FILE_ID)

    def sealed(self, key: Key, statement: seals.Statement) -> Self:
        """Say that a run was sealed."""
        return self.add(key, Sealed, run_id=statement.run_id, file_id=statement.file_id, seal=statement)

    def revoked(self, by: Key, revoked: Key, believed: int | UnsetType = UNSET, **members: Any) -> Self:
        """Say that a key is revoked; `believed` is left out where it is UNSET."""
        said = {"alg": revoked.alg, "key": revoked.kid, "state": "revoked", "believed": believed, "reason": None}
        return self.add(by, KeyState, **{**said, **members})

    @property
    def data(self) -> bytes:
        """The bytes of the ledger."""
        return b"".join(self.lines)

    @property
    def anchor(self) -> Anchor:
        """The anchor of the ledger as it is now."""
        return Anchor(self.dir_id, len(self.lines), hashlib.sha256(self.lines[-1][:-1]).hexdigest())

    def write(self, folder: Path) -> Path:
        """Put the ledger into a directory, which is made."""
        folder.mkdir(exist_ok=True)
        (folder / LEDGER).write_bytes(self.data)
        return folder / LEDGER


def said(folder: Path) -> list[Operation]:
    """Return what the lines of a directory's ledger say, none of them checked."""
    return [parse_line(line)[0] for line in (folder / LEDGER).read_bytes().splitlines()]


def opened(file: GoldenFile) -> Recording:
    """Return the file as a recording; the test closes it."""
    return Recording.open(file, keyring())
