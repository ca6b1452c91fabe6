"""Ledger: what a directory of golden files has seen, as signed lines each of which names the one before it.

Bytes in, lines and what they add up to out; touches no file. Normative text: docs/format.md, "The ledger".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from sys import intern
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from golden.errors import TamperedError, UsageError
from golden.event import Count, Extent, Hash, Id128, Kid, RunId, Time
from golden.keyring import Algorithm, Key, Keyring, State
from golden.seal import SIGNATURE_LENGTH, Statement

LEDGER = "ledger.jsonl"
NO_LINE = "0" * 64
MARK = "golden-anchor/v1"
_MAC_MEMBER = b',"mac":"'
_ANCHOR = rf"{MARK} ([0-9a-f]{{32}}) ([1-9][0-9]{{0,17}}) ([0-9a-f]{{64}})(?![0-9a-zA-Z])"
_HINT = "restore ledger.jsonl from backup, or see `golden recover`"


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines by their `seq`, both ends included."""

    first: Count
    last: Count


class Remnant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ledger that somebody remembers and that is gone: how many lines it had, and the hash of the last one."""

    dir_id: Id128
    hash: Hash
    lines: Count


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every line of a ledger says besides what was done: who, when, in which place, signed by which key."""

    actor: str
    kid: Kid
    prev: Hash
    seq: Count
    timestamp: Time


class Create(Line, frozen=True, kw_only=True):
    """The first line: this directory has a ledger from now on."""

    dir_id: Id128
    op: Literal["create"] = "create"


class _OfRun(Line, frozen=True, kw_only=True):
    file_id: Id128
    run_id: RunId


class Open(_OfRun, frozen=True, kw_only=True):
    """A run began."""

    op: Literal["open"] = "open"


class Sealed(_OfRun, frozen=True, kw_only=True):
    """A run was sealed with this statement."""

    seal: Statement
    op: Literal["seal"] = "seal"


class Accept(_OfRun, frozen=True, kw_only=True):
    """Somebody took it on themselves to believe these bytes."""

    reason: str
    seal: Statement
    op: Literal["accept"] = "accept"


class Archive(_OfRun, frozen=True, kw_only=True):
    """The run lies in an archive; it need not lie here."""

    archive: str
    op: Literal["archive"] = "archive"


class Restore(_OfRun, frozen=True, kw_only=True):
    """The run came back from an archive."""

    archive: str
    op: Literal["restore"] = "restore"


class _Gone(Line, frozen=True, kw_only=True):
    file_id: Id128 | None
    reason: str
    run_id: RunId


class Delete(_Gone, frozen=True, kw_only=True):
    """The run's files are deleted on purpose."""

    op: Literal["delete"] = "delete"


class Quarantine(_Gone, frozen=True, kw_only=True):
    """The run's files are set apart; nobody believes them."""

    op: Literal["quarantine"] = "quarantine"


class KeyState(Line, frozen=True, kw_only=True):
    """A key changed its state; where it is revoked, its lines below `believed` stay believed."""

    alg: Algorithm
    key: Kid
    reason: str | None
    state: State
    believed: Count | UnsetType = UNSET
    op: Literal["key"] = "key"


class Rotate(Line, frozen=True, kw_only=True):
    """Seals were signed anew: with which keys, why, and how many ended how."""

    keys: list[Kid]
    note: str | None
    outcomes: dict[str, Count]
    reason: Literal["scheduled", "compromised"]
    op: Literal["rotate"] = "rotate"


class Recover(Line, frozen=True, kw_only=True):
    """Somebody took note of what is wrong: bytes cut off, lines without effect, a ledger that was remembered longer."""

    reason: str
    dropped: Extent | UnsetType = UNSET
    lines: Annotated[list[Span], Meta(min_length=1)] | UnsetType = UNSET
    lost: Remnant | UnsetType = UNSET
    op: Literal["recover"] = "recover"


Operation = (
    Create | Open | Sealed | Accept | Archive | Restore | Delete | Quarantine | KeyState | Rotate | Recover
)  # fmt: skip
FORMS: dict[str, type[Operation]] = {
    "create": Create,
    "open": Open,
    "seal": Sealed,
    "accept": Accept,
    "archive": Archive,
    "restore": Restore,
    "delete": Delete,
    "quarantine": Quarantine,
    "key": KeyState,
    "rotate": Rotate,
    "recover": Recover,
}
# A line that is whole once it is told its place.
Draft = Callable[[Line], Operation]
_OPS: dict[type[Line], str] = {form: op for op, form in FORMS.items()}
# What whoever holds an anchor is told of, because it takes something away from what was believed, or adds to it.
NOTABLE = frozenset({Accept, Restore, Delete, Quarantine, KeyState, Recover})

_encode = msgspec.json.Encoder(order="sorted").encode


@cache
def _decoder(op: bytes) -> Callable[[bytes], Operation] | None:
    form = FORMS.get(op.decode("utf-8", "replace"))
    return None if form is None else msgspec.json.Decoder(form).decode


class Anchor(msgspec.Struct, frozen=True):
    """What a ledger was at one moment: its directory, how many lines it had, and the hash of the last of them.

    Kept where an attacker is not, it shows every later change to those lines.
    """

    dir_id: str
    lines: int
    hash: str

    def __str__(self) -> str:
        return f"{MARK} {self.dir_id} {self.lines} {self.hash}"

    @classmethod
    def find(cls, text: str) -> list[Anchor]:
        """Return the anchors that stand in `text`, each once, in order."""
        return list(dict.fromkeys(cls(found[1], int(found[2]), found[3]) for found in re.finditer(_ANCHOR, text)))

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """Return the one anchor that `text` is; raises UsageError."""
        found = cls.find(text)
        if len(found) != 1:
            raise UsageError(
                f"{len(found) or 'no'} anchors are given, expected one",
                hint=f"an anchor is a line `{MARK} <directory id> <lines> <hash>`; see `golden anchors`",
            )
        return found[0]


def draft(form: type[Operation], **members: object) -> Draft:
    """Return a line of `form` whose place is not known yet."""
    return lambda place: form(**{**members, **msgspec.structs.asdict(place)})


def signed_line(operation: Operation, key: Key, dir_id: str) -> bytes:
    """Return the bytes of a line, LF included, signed by `key` for the directory `dir_id`."""
    body = _encode(operation)[:-1]
    return b'%b,"mac":"%b"}\n' % (body, key.sign_ledger(dir_id, body).encode())


def statement_of(line: bytes) -> bytes:
    """Return the statement's line in a well-formed `seal` or `accept` line: there it has the same spelling."""
    return line[line.index(b'"seal":{') + len(b'"seal":') : line.rindex(b',"seq":')]


def parse_line(line: bytes) -> tuple[Operation, bytes, str]:
    """Return (operation, bytes before `,"mac"`, signature) of a ledger's line without LF.

    Raises:
        ValueError: it is not exactly one of the forms; says how.
    """
    body, member, rest = line.rpartition(_MAC_MEMBER)
    mac = rest[:-2]
    if not member or rest[-2:] != b'"}' or len(mac) not in SIGNATURE_LENGTH.values():
        raise ValueError("it does not end in its signature")
    start = body.find(b'"op":"') + len(b'"op":"')
    decode = _decoder(body[start : body.find(b'"', start)])
    if decode is None:
        raise ValueError("its operation is unknown, a newer version may know it")
    whole = body + b"}"
    try:
        operation = decode(whole)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    # Each form has only members of one spelling, so what encodes to the same bytes is canonical.
    if _encode(operation) != whole:
        raise ValueError("it is not in canonical form")
    if type(operation) is Sealed or type(operation) is Accept:
        seal = operation.seal
        if (seal.run_id, seal.file_id, seal.v) != (operation.run_id, operation.file_id, 1):
            raise ValueError("its statement is of another run, or of another version")
    return operation, body, mac.decode("ascii", "replace")


class Run(msgspec.Struct):
    """What the ledger says last of one run.

    `kid` is the key that said it. `digest` is the SHA-256 of the statement believed last (b"" where there is none),
    `place` where its line begins, `sealed` the `seq` of that line, -1 where somebody accepted the bytes, `earlier` the
    digests believed before; `present` says whether its files should lie here.
    """

    op: str
    seq: int
    kid: str
    file_id: str | None
    present: bool = True
    digest: bytes = b""
    place: int = -1
    sealed: int = -1
    earlier: tuple[bytes, ...] = ()


class Stretch(msgspec.Struct):
    """Lines by one key with none between them that counts: the last one's `seq`, and whether its signature is good.

    `good` is None where it was not checked.
    """

    kid: str
    last: int
    good: bool | None = None


class Moment(msgspec.Struct, frozen=True):
    """The ledger after one of its lines: what an anchor of that length would say, and what it stood for."""

    anchor: Anchor
    timestamp: str
    kid: str
    runs: int


class Fold:
    """A forward pass over the lines of one ledger: checks form and order, and adds up what they say.

    `effect(seq, kid)` says whether a line counts. Attributes: `lines` (how many), `hash` of the last, `offset` of the
    next, `dir_id`, `runs` by run id, `notable` lines, `stretches`, the last `rotated` line, `since` (the first `seq` by
    which a key had signed anything), `moments` at the line numbers in `watch`.
    """

    def __init__(
        self,
        keyring: Keyring,
        watch: Iterable[int] = (),
        effect: Callable[[int, str], bool] = lambda _seq, _kid: True,
    ) -> None:
        self._keyring = keyring
        self._watch = frozenset(watch)
        self._effect = effect
        self.lines = 0
        self.hash = NO_LINE
        self.offset = 0
        self.dir_id = ""
        self.runs: dict[str, Run] = {}
        self.notable: list[Operation] = []
        self.stretches: list[Stretch] = []
        self.moments: dict[int, Moment] = {}
        self.rotated: Rotate | None = None
        self.since: dict[str, int] = {}
        self._last: tuple[bytes, str] = (b"", "")
        self._last_seen: Line | None = None

    @property
    def anchor(self) -> Anchor:
        """The anchor of the ledger as far as it was walked."""
        return Anchor(self.dir_id, self.lines, self.hash)

    @property
    def moment(self) -> Moment:
        """The ledger as far as it was walked."""
        last = self._last_seen
        runs = sum(run.present for run in self.runs.values())
        return Moment(self.anchor, last.timestamp if last else "", last.kid if last else "", runs)

    def feed(self, line: bytes) -> None:
        """Take the next line (without LF).

        Raises:
            TamperedError: its form, its place, or the line it names is wrong; `lines` and `offset` say which it is.
        """
        try:
            operation, body, mac = parse_line(line)
        except ValueError as error:
            raise TamperedError(f"line {self.lines + 1} of the ledger: {error}", hint=_HINT) from None
        if operation.seq != self.lines or (type(operation) is Create) is (self.lines > 0):
            raise TamperedError(f"line {self.lines + 1} of the ledger cannot stand there", hint=_HINT)
        if operation.prev != self.hash:
            raise TamperedError(f"line {self.lines + 1} of the ledger does not follow the one before it", hint=_HINT)
        if type(operation) is Create:
            self.dir_id = operation.dir_id
        self._last_seen = operation
        if self._effect(operation.seq, operation.kid):
            if not self.stretches or self.stretches[-1].kid != operation.kid:
                self.settle()
                self.stretches.append(Stretch(operation.kid, operation.seq))
                self.since.setdefault(operation.kid, operation.seq)
            self.stretches[-1].last = operation.seq
            self._last = (body, mac)
            self._add(operation)
        self.hash = hashlib.sha256(line).hexdigest()
        self.lines += 1
        self.offset += len(line) + 1
        if self.lines in self._watch:
            self.moments[self.lines] = self.moment

    def settle(self) -> None:
        """Check the signature of the last line that counts, as the end of its stretch."""
        if not self.stretches:
            return
        stretch, (body, mac) = self.stretches[-1], self._last
        # A revoked key's signature proves nothing: what it signed counts by who signed after it.
        key = self._keyring.usable(stretch.kid)
        stretch.good = None
        if key is not None:
            stretch.good = len(mac) == SIGNATURE_LENGTH[key.alg] and key.verifies_ledger(self.dir_id, body, mac)

    def _add(self, operation: Operation) -> None:
        known = self.runs.get(operation.run_id) if isinstance(operation, _OfRun) else None
        if known and not known.present and self._keyring.is_weaker(operation.kid, self._keyring.alg(known.kid)):
            # What a stronger key took away no weaker one brings back.
            return
        if type(operation) is Sealed or type(operation) is Accept:
            run = self._of(operation)
            run.earlier = (*run.earlier, run.digest) if run.digest else run.earlier
            run.digest = hashlib.sha256(statement_of(self._last[0])).digest()
            run.place, run.sealed = self.offset, operation.seq if type(operation) is Sealed else -1
        elif type(operation) is Open:
            run = self._of(operation)
            run.earlier = (*run.earlier, run.digest) if run.digest else run.earlier
            run.digest, run.place, run.sealed = b"", -1, -1
        elif isinstance(operation, Delete | Quarantine | Archive):
            self._of(operation).present = False
        elif isinstance(operation, Restore):
            self._of(operation)
        elif isinstance(operation, Rotate):
            self.rotated = operation
            for kid in operation.keys:
                self.since.setdefault(kid, operation.seq)
        if type(operation) in NOTABLE:
            self.notable.append(operation)

    def _of(self, operation: _OfRun | _Gone) -> Run:
        run = self.runs.get(operation.run_id)
        op = _OPS[type(operation)]
        if run is None:
            run = self.runs[operation.run_id] = Run(op, operation.seq, operation.kid, operation.file_id)
        # Few keys sign many lines: each kid is kept once.
        run.op, run.seq, run.kid, run.present = op, operation.seq, intern(operation.kid), True
        run.file_id = operation.file_id or run.file_id
        return run


def revocations(
    lines: Iterable[Operation], keyring: Keyring, revoked: Iterable[str], leaked: Mapping[str, int], vouched: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Say of each revoked key how many lines of this ledger stay believed if it signed them.

    A key is revoked by the keyring, by what this host remembers (`revoked`), by whoever asks (`leaked`), or by one of
    the first `vouched` lines: what nobody vouches for anybody may have written. Where two keys revoke each other, the
    one that the keyring calls active is heard first, then the retired; a weaker one never takes an active one's place.

    Returns:
        How many lines count of each revoked key; what the ledger's own lines say of that.
    """
    believed, written = dict(leaked), dict[str, int]()
    sure = {entry.kid for entry in keyring if entry.state == "revoked"} | set(revoked) | set(leaked)
    ranks = {"active": 0, "retired": 1, "revoked": 2, None: 3}
    found = [line for line in lines if isinstance(line, KeyState) and line.state == "revoked"]
    for line in sorted(found, key=lambda line: (ranks[keyring.state(line.kid)], line.seq)):
        # A key whose revocation nobody wrote down has said nothing that counts.
        limit = believed.get(line.kid, 0 if line.kid in sure else None)
        if line.believed is UNSET or line.kid == line.key or (limit is not None and line.seq >= limit):
            continue
        usurps = keyring.state(line.key) == "active" and keyring.is_weaker(line.kid, keyring.alg(line.key))
        if line.seq >= vouched or usurps:
            continue
        believed[line.key] = min(line.believed, believed.get(line.key, line.believed))
        written[line.key] = min(line.believed, written.get(line.key, line.believed))
    return {**dict.fromkeys(sure - believed.keys(), 0), **believed}, written
