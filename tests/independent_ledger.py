"""The lower half of the second opinion: keys and their states, signatures, and what a ledger is worth.

Written from docs/format.md alone; shares no code with the product and uses the standard library only.
`independent_verifier` judges files and directories with it.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

DEPTH_LIMIT, HEADER_LIMIT, LINE_LIMIT = 256, 64 << 20, 16 << 20
RUN_ID = re.compile(r'(?![^"]*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}')
TEXT, TIME, COUNT = r'"(?:[^"\\]|\\.)*"', r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', r"\d+"
KID, ID, HASH, ALG = r'"[0-9a-f]{16}"', r'"[0-9a-f]{32}"', r'"[0-9a-f]{64}"', '"(?:hmac-sha256|ed25519)"'
ACCEPTED = rf'"accepted":\{{"actor":{TEXT},"at":{TIME},"commit":(?:null|{TEXT}),"reason":{TEXT}\}},'
STATEMENT = (
    rf'\{{(?:{ACCEPTED})?"bytes":\d+,"events":[1-9]\d*,"file_id":{ID},"gen":\d+,'
    rf'"last_mac":"[\w-]{{42}}[AEIMQUYcgkosw048]","run_id":"{RUN_ID.pattern}","sealed_at":{TIME},'
    rf'"sha256":{HASH},"status":{TEXT},"v":1\}}'
)
ANCHOR = re.compile(r"golden-anchor/v1 ([0-9a-f]{32}) ([1-9][0-9]*) ([0-9a-f]{64})")
STRONGEST_FIRST = ("ed25519", "hmac-sha256")

# --- keys ----------------------------------------------------------------------------------------


class Key(NamedTuple):
    """What is known of a key: `secret` or `public` is None where it is not at hand, or not of this kind."""

    alg: str
    state: str
    secret: bytes | None = None
    public: bytes | None = None


Keys = Mapping[str, Key]


def pae(*parts: str | bytes) -> bytes:
    """Join parts so that no other parts give the same bytes."""
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"golden/v1" + b"".join(b" %d %b" % (len(part), part) for part in raw)


def derive(secret: bytes, *purpose: str) -> bytes:
    """Return 32 bytes by HKDF-SHA256 (RFC 5869; one block, so one round)."""
    return hmac.digest(hmac.digest(b"golden/v1", secret, "sha256"), pae(*purpose) + b"\1", "sha256")


def kid_of(secret: bytes) -> str:
    """Return the 16 hex digits that name an HMAC secret."""
    return derive(secret, "kid", "hmac-sha256")[:8].hex()


def kid_of_public(public: bytes) -> str:
    """Return the 16 hex digits that name an Ed25519 key."""
    return hashlib.sha256(pae("kid", "ed25519", public)).hexdigest()[:16]


def keys_of(secrets: Iterable[bytes]) -> dict[str, Key]:
    """Return the keys of secrets alone: the first is active, the others are retired."""
    states = ["active", *["retired"] * 99]
    return {kid_of(s): Key("hmac-sha256", state, s) for s, state in reversed(list(zip(secrets, states, strict=False)))}


def keys_from(policy: Iterable[Mapping[str, str]], secrets: Iterable[bytes] = ()) -> dict[str, Key]:
    """Return the keys of a policy file's entries, with the HMAC secrets that are at hand."""
    held = {kid_of(secret): secret for secret in secrets}
    keys = {}
    for entry in policy:
        public = base64.urlsafe_b64decode(entry["public"] + "=") if "public" in entry else None
        if public is not None and kid_of_public(public) != entry["kid"]:
            raise ValueError(entry["kid"])
        keys[entry["kid"]] = Key(entry["alg"], entry["state"], held.get(entry["kid"]), public)
    return keys


def state_of(keys: Keys, kid: str) -> str | None:
    """Return the state of a kid, None where the keyring does not know it."""
    return keys[kid].state if kid in keys else None


def revoke(keys: Keys, kids: Iterable[str]) -> dict[str, Key]:
    """Return the keys with some of them revoked; the most severe state is the one in force."""
    kids = set(kids)
    return {kid: key._replace(state="revoked") if kid in kids else key for kid, key in keys.items()}


def strongest(keys: Keys) -> str | None:
    """Return the strongest algorithm that has an active key, at hand or not."""
    active = {key.alg for key in keys.values() if key.state == "active"}
    return next((alg for alg in STRONGEST_FIRST if alg in active), None)


def is_weaker(keys: Keys, kid: str) -> bool:
    """Whether a key that is at hand is of a weaker algorithm than the strongest that has an active key."""
    known = kid in keys and bool(keys[kid].secret or keys[kid].public)
    best = strongest(keys)
    return known and best is not None and STRONGEST_FIRST.index(keys[kid].alg) > STRONGEST_FIRST.index(best)


def verifies(key: Key, kid: str, sig: str, message: bytes, *purpose: str) -> bool | None:
    """Whether `sig` is the key's over `message`; None where the key is not at hand. `purpose`: its label and place."""
    if key.alg == "ed25519":
        data = decoded(sig) if len(sig) == 86 else None
        return None if key.public is None else data is not None and ed25519(key.public, message, data)
    if key.secret is None:
        return None
    good = base64.urlsafe_b64encode(hmac.digest(derive(key.secret, purpose[0], kid, *purpose[1:]), message, "sha256"))
    return hmac.compare_digest(good.rstrip(b"="), sig.encode())


def decoded(text: str) -> bytes | None:
    """Return what base64url without padding spells, None where it is not the one spelling of it."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if base64.urlsafe_b64encode(data).decode().rstrip("=") == text else None


# --- Ed25519 (RFC 8032, section 5.1); points are (X, Y, Z, T) with x = X/Z, y = Y/Z, x*y = T/Z ----

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    return (b - a) * (d - c) % P, (d + c) * (b + a) % P, (d - c) * (d + c) % P, (b - a) * (b + a) % P


def _times(n: int, p: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while n:
        total = _add(total, p) if n & 1 else total
        p, n = _add(p, p), n >> 1
    return total


def _point(data: bytes) -> Point | None:
    sign, y = divmod(int.from_bytes(data, "little"), 1 << 255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT % P
    if y >= P or x * x % P != square or (not x and sign):
        return None
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature of 64 bytes is good; the equation is checked without the cofactor."""
    key, s = _point(public), int.from_bytes(signature[32:], "little")
    base = _point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    if key is None or base is None or s >= ORDER or len(signature) != 64:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    minus: Point = (P - key[0], key[1], 1, P - key[3])
    x, y, z, _ = _add(_times(s, base), _times(h, minus))
    x, y = x * pow(z, -1, P) % P, y * pow(z, -1, P) % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


# --- canonical form ------------------------------------------------------------------------------


def canonical(value: Any, depth: int = DEPTH_LIMIT) -> str:
    """Return the one spelling of a value; only exponents differ from what json writes."""
    if isinstance(value, list | dict) and not depth:
        raise RecursionError
    if isinstance(value, list):
        return f"[{','.join(canonical(item, depth - 1) for item in value)}]"
    if isinstance(value, dict):
        members = (f"{canonical(name)}:{canonical(value[name], depth - 1)}" for name in sorted(value))
        return f"{{{','.join(members)}}}"
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, float) and "e" in text:
        digits, _, power = text.partition("e")
        plain = f"{'-' * (value < 0)}0.0000{digits.lstrip('-').replace('.', '')}"
        return plain if power == "-05" else f"{digits}e{int(power)}"
    text.encode()
    return text


# --- the ledger ----------------------------------------------------------------------------------

EVERY = {"actor": TEXT, "kid": KID, "op": '"[a-z]+"', "prev": HASH, "seq": COUNT, "timestamp": TIME}
OF_RUN = {"file_id": ID, "run_id": f'"{RUN_ID.pattern}"'}
GONE = {"file_id": f"(?:null|{ID})", "reason": TEXT, "run_id": f'"{RUN_ID.pattern}"'}
SPAN = r'\{"first":\d+,"last":\d+\}'
# A member that ends in ? may be left out.
OPERATIONS: dict[str, dict[str, str]] = {
    "create": {"dir_id": ID},
    "open": OF_RUN,
    "seal": OF_RUN | {"seal": STATEMENT},
    "accept": OF_RUN | {"reason": TEXT, "seal": STATEMENT},
    "archive": OF_RUN | {"archive": TEXT},
    "restore": OF_RUN | {"archive": TEXT},
    "delete": GONE,
    "quarantine": GONE,
    "key": {
        "alg": ALG,
        "believed?": COUNT,
        "key": KID,
        "reason": f"(?:null|{TEXT})",
        "state": '"(?:active|retired|revoked)"',
    },
    "rotate": {
        "keys": rf"\[(?:{KID}(?:,{KID})*)?\]",
        "note": f"(?:null|{TEXT})",
        "outcomes": rf"\{{(?:{TEXT}:\d+(?:,{TEXT}:\d+)*)?\}}",
        "reason": '"(?:scheduled|compromised)"',
    },
    "recover": {
        "dropped?": rf'\{{"bytes":\d+,"sha256":{HASH}\}}',
        "lines?": rf"\[{SPAN}(?:,{SPAN})*\]",
        "lost?": rf'\{{"dir_id":{ID},"hash":{HASH},"lines":\d+\}}',
        "reason": TEXT,
    },
}
FORMS = {
    op: {name: re.compile(form, re.ASCII | re.DOTALL) for name, form in (EVERY | members).items()}
    for op, members in OPERATIONS.items()
}


class Line(NamedTuple):
    """A line of a ledger: its members, the bytes that are signed, and the signature."""

    said: dict[str, Any]
    body: bytes
    mac: str


@dataclass
class Run:
    """What a ledger says last of a run; `digest` is the hash of the statement believed last, `sealed` its line's `seq`.

    That is -1 where somebody accepted it.
    """

    op: str
    seq: int
    file_id: str | None
    kid: str
    present: bool = True
    digest: str = ""
    sealed: int = -1
    earlier: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """A ledger as it was judged: `verdict` None means that it is good.

    `tolerable` is a verdict that keeps nobody from believing its lines: torn, or ended by a weaker algorithm.
    """

    verdict: str | None
    keys: Keys
    exists: bool = True
    lines: int = 0
    hash: str = "0" * 64
    dir_id: str = ""
    runs: dict[str, Run] = field(default_factory=dict)
    believed: dict[str, int] = field(default_factory=dict)
    aside: list[list[int]] = field(default_factory=list)
    tolerable: bool = False

    @property
    def believes(self) -> bool:
        """Whether its lines are believed."""
        return self.verdict in {None, "rolled-back"} or self.tolerable

    @property
    def anchor(self) -> str | None:
        """The line that pins it."""
        return f"golden-anchor/v1 {self.dir_id} {self.lines} {self.hash}" if self.lines and self.believes else None


def line_of(data: bytes) -> Line | None:
    """Return a line (without LF), None where its form is wrong."""
    body, member, rest = data.rpartition(b',"mac":"')
    mac = rest[:-2].decode("ascii", "replace")
    if not member or rest[-2:] != b'"}' or len(rest) - 2 not in {43, 86} or len(data) > HEADER_LIMIT:
        return None
    try:
        said = json.loads(body + b"}")
        if not isinstance(said, dict) or canonical(said).encode() != body + b"}":
            return None
    except (ValueError, RecursionError):
        return None
    forms = FORMS.get(str(said.get("op")), {})
    needed = {name for name in forms if not name.endswith("?")}
    if not forms or not needed <= said.keys() <= {name.rstrip("?") for name in forms}:
        return None
    spelt = (forms.get(name) or forms[f"{name}?"] for name in said)
    good = all(form.fullmatch(canonical(value)) for form, value in zip(spelt, said.values(), strict=True))
    own = said.get("seal", said)
    good = good and all(own[name] == said[name] for name in OF_RUN if "seal" in said)
    return Line(said, body, mac) if good else None


def lines_of(data: bytes) -> tuple[list[Line], list[str]] | None:
    """Return the whole lines and the hash of each, None where form, place or `prev` of one is wrong."""
    lines, hashes = [], ["0" * 64]
    for seq, raw in enumerate(data.split(b"\n")[:-1]):
        line = line_of(raw)
        if line is None or line.said["seq"] != seq or (line.said["op"] == "create") != (seq == 0):
            return None
        if line.said["prev"] != hashes[-1] or (seq and len(raw) > LINE_LIMIT):
            return None
        lines.append(line)
        hashes.append(hashlib.sha256(raw).hexdigest())
    return lines, hashes


def vouched(lines: list[Line], hashes: list[str], keys: Keys, anchors: Iterable[str]) -> int:
    """Return how many lines somebody vouches for: by the signature that ends a stretch, or an anchor."""
    dir_id = lines[0].said["dir_id"] if lines else ""
    kept = [int(anchor.split()[2]) for anchor in anchors if extends(dir_id, hashes, anchor)]
    for seq, (line, after) in enumerate(zip_longest(lines, lines[1:])):
        kid = line.said["kid"]
        ends = after is None or after.said["kid"] != kid
        if ends and state_of(keys, kid) not in {None, "revoked"}:
            message = pae("ledger", dir_id, line.body)
            if verifies(keys[kid], kid, line.mac, message, "ledger", dir_id):
                kept.append(seq + 1)
    return max(kept, default=0)


def revocations(lines: list[Line], keys: Keys, sure: set[str], leaked: Mapping[str, int], heard: int) -> dict[str, int]:
    """Return per revoked key how many lines of the ledger stay believed if it signed them.

    `sure` are the keys that something else than the ledger calls revoked; `heard` is how many lines are vouched for.
    """
    believed = dict(leaked)
    ranks = {"active": 0, "retired": 1, "revoked": 2, None: 3}
    found = [said for said, _, _ in lines if said["op"] == "key" and said["state"] == "revoked" and "believed" in said]
    for said in sorted(found, key=lambda said: (ranks[state_of(keys, said["kid"])], said["seq"])):
        limit = believed.get(said["kid"], 0 if said["kid"] in sure else None)
        algs = [keys[kid].alg if kid in keys else None for kid in (said["kid"], said["key"])]
        usurps = state_of(keys, said["key"]) == "active" and algs == ["hmac-sha256", "ed25519"]
        if said["seq"] >= heard or usurps:
            continue
        if said["kid"] != said["key"] and (limit is None or said["seq"] < limit):
            believed[said["key"]] = min(said["believed"], believed.get(said["key"], said["believed"]))
    return dict.fromkeys(sure, 0) | believed


def judge(
    data: bytes | None,
    keys: Keys,
    anchors: Iterable[str] = (),
    revoked: Iterable[str] = (),
    leaked: Mapping[str, int] | None = None,
) -> Ledger:
    """Judge the bytes of a ledger, None where there is none.

    `anchors` are what is known of it, `revoked` the kids that this host has seen revoked, `leaked` how many lines of
    each key that is said to have leaked are to be believed.
    """
    leaked = leaked or {}
    sure = {*revoked, *leaked, *(kid for kid, key in keys.items() if key.state == "revoked")}
    keys = revoke(keys, sure)
    if data is None:
        return Ledger("missing" if list(anchors) else None, keys, exists=False)
    found = lines_of(data)
    if found is None:
        return Ledger("tampered", keys)
    lines, hashes = found
    anchors = list(anchors)
    believed = revocations(lines, keys, sure, leaked, vouched(lines, hashes, keys, anchors))
    keys = revoke(keys, believed)
    named = [
        (span["first"], span["last"])
        for said, _, _ in lines
        if said["op"] == "recover" and said["seq"] < believed.get(said["kid"], said["seq"] + 1)
        for span in said.get("lines", [])
    ]
    ledger = Ledger(None, keys, lines=len(lines), hash=hashes[-1], believed=believed)
    ledger.dir_id = lines[0].said["dir_id"] if lines else ""
    counted = []
    for line in lines:
        seq, kid = line.said["seq"], line.said["kid"]
        if seq < believed.get(kid, seq + 1):
            counted.append(line)
            add(ledger.runs, line.said, keys)
        elif any(first <= seq <= last for first, last in named):
            continue
        elif ledger.aside and ledger.aside[-1][1] == seq - 1:
            ledger.aside[-1][1] = seq
        else:
            ledger.aside.append([seq, seq])
    ledger.verdict = unsigned(counted, ledger, leaked) if lines else None
    if ledger.verdict is None and any(not extends(ledger.dir_id, hashes, anchor) for anchor in anchors):
        ledger.verdict = "rolled-back"
    elif ledger.verdict is None and counted and is_weaker(keys, counted[-1].said["kid"]):
        ledger.verdict, ledger.tolerable = "unknown-key", True
    if ledger.verdict is None and (not lines or not data.endswith(b"\n")):
        ledger.verdict, ledger.tolerable = "torn", True
    return ledger


def unsigned(counted: list[Line], ledger: Ledger, leaked: Mapping[str, int]) -> str | None:
    """Judge the signatures of the lines that count: the last one of each stretch by one key."""
    if not counted:
        return "revoked-key"
    ends = [a for a, b in pairwise(counted) if a.said["kid"] != b.said["kid"]]
    good: bool | None = None
    for line in [*ends, counted[-1]]:
        kid = line.said["kid"]
        known = state_of(ledger.keys, kid) not in {None, "revoked"}
        message = pae("ledger", ledger.dir_id, line.body)
        good = verifies(ledger.keys[kid], kid, line.mac, message, "ledger", ledger.dir_id) if known else None
        if good is False and kid not in ledger.believed:
            return "tampered"
    last = counted[-1].said["kid"]
    return "unknown-key" if (not good or last in ledger.believed) and last not in leaked else None


def extends(dir_id: str, hashes: list[str], anchor: str) -> bool:
    """Whether a ledger, given by the hashes of its lines, is the one of an anchor or goes on from it."""
    match = ANCHOR.fullmatch(anchor)
    if not match:
        raise ValueError(anchor)
    return match[1] == dir_id and int(match[2]) < len(hashes) and hashes[int(match[2])] == match[3]


def add(runs: dict[str, Run], said: dict[str, Any], keys: Keys) -> None:
    """Take in what a line says of a run; what a stronger key took away no weaker one brings back."""
    op = said["op"]
    if "run_id" not in said:
        return
    run = runs.setdefault(said["run_id"], Run(op, said["seq"], said["file_id"], said["kid"]))
    algs = [keys[kid].alg if kid in keys else None for kid in (said["kid"], run.kid)]
    if not run.present and algs == ["hmac-sha256", "ed25519"] and op not in {"delete", "quarantine"}:
        return
    run.op, run.seq, run.kid, run.file_id = op, said["seq"], said["kid"], said["file_id"] or run.file_id
    run.present = op not in {"archive", "delete", "quarantine"}
    if op in {"open", "seal", "accept"}:
        run.earlier += [run.digest] if run.digest else []
        run.digest = hashlib.sha256(canonical(said["seal"]).encode()).hexdigest() if "seal" in said else ""
        run.sealed = said["seq"] if op == "seal" else -1
