"""A second opinion: judges golden files and directories by docs/format.md alone, short enough to be read.

Shares no code with the product and uses the standard library only. Knows keys and their states, chain, seal, ledger
and verdicts; of an event it looks at what these need, whatever else it says.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.independent_ledger import (
    HEADER_LIMIT,
    LINE_LIMIT,
    RUN_ID,
    STATEMENT,
    TEXT,
    TIME,
    Key,
    Keys,
    Ledger,
    canonical,
    derive,
    judge,
    keys_from,
    keys_of,
    pae,
    state_of,
    strongest,
    verifies,
)

SEAL_LIMIT, SUFFIX = 64 << 10, ".steps.jsonl"
MAC = re.compile(rb',"mac":"([A-Za-z0-9_-]{43})"\}')
SIGNING = re.compile(r'\{"alg":"hmac-sha256","file_id":"[0-9a-f]{32}","kid":"[0-9a-f]{16}","v":1\}')
SAID = re.compile(STATEMENT, re.ASCII)
SIGNATURE = re.compile(
    r'\{"alg":"(?:hmac-sha256","kid":"[0-9a-f]{16}","sig":"[\w-]{42}[AEIMQUYcgkosw048]'
    r'|ed25519","kid":"[0-9a-f]{16}","sig":"[\w-]{85}[AQgw])"\}',
    re.ASCII,
)
END = re.compile(
    rf'\{{"result_hash":(?:null|"[0-9a-f]{{64}}"),"status":{TEXT},'
    r'"steps_completed":\d+,"steps_total":\d+,"total_cost_cents":\d+\}',
    re.ASCII,
)
MEMBERS = {"data", "event_type", "run_id", "seq", "timestamp"}
# Keys by kid, or secrets alone.
Held = dict[str, Key] | list[bytes]
TIMED, SIGNED = ("step", "effect"), ("run_start", "run_resume")


def signed(key: bytes, message: bytes) -> str:
    """Return an HMAC-SHA256 as 43 base64url characters."""
    return base64.urlsafe_b64encode(hmac.digest(key, message, "sha256")).decode().rstrip("=")


def event_of(line: bytes) -> tuple[dict[str, Any], str] | None:
    """Return the event of a line and its MAC, None where it is not spelt canonically; RecursionError if too deep."""
    mac = MAC.fullmatch(line[-53:])
    try:
        event = json.loads(line[:-53] + b"}") if mac else None
        if not mac or not isinstance(event, dict) or canonical(event).encode() != line[:-53] + b"}":
            return None
    except ValueError:
        return None
    kind = event.get("event_type")
    more = {"timing"} if kind in TIMED else {"golden"} if kind in SIGNED else set() if kind == "run_end" else {"?"}
    if event.keys() != MEMBERS | more or not isinstance(event["data"], dict) or type(event["seq"]) is not int:
        return None
    forms = {"timestamp": re.compile(TIME), "golden": SIGNING, **({"data": END} if kind == "run_end" else {})}
    spelt = all(form.fullmatch(canonical(event[name])) for name, form in forms.items() if name in event)
    return (event, mac[1].decode()) if spelt and RUN_ID.fullmatch(str(event["run_id"])) else None


def chain(data: bytes, keys: Keys) -> tuple[str, tuple[int, int] | None]:
    """Walk the whole lines: ("live" | "tampered" | "unknown-key" | "revoked-key", (seq, offset) of the first bad)."""
    previous, offset, key, kids, run_id, kind, file_id = bytes(32), 0, b"", set[str](), "", "", ""
    for seq, line in enumerate(data.split(b"\n")[:-1]):
        found, bad = event_of(line), ("tampered", (seq, offset))
        if found is None or kind == "run_end" or found[0]["seq"] != seq:
            return bad
        event, kind, golden = found[0], found[0]["event_type"], found[0].get("golden")
        run_id, file_id = run_id or event["run_id"], file_id or golden["file_id"] if golden else file_id
        if (kind == "run_start") != (seq == 0) or event["run_id"] != run_id or not RUN_ID.fullmatch(run_id):
            return bad
        if golden and golden["file_id"] != file_id:
            return bad
        if kind == "run_resume" and event["data"].get("prefix", {}).get("bytes") != offset:
            return bad
        if golden:
            kid = golden["kid"]
            kids.add(kid)
            secret = keys[kid].secret if kid in keys else None
            if secret is None:
                return "unknown-key", None
            key = derive(secret, "event", kid, run_id, file_id)
        mac = signed(key, pae("event", previous, line[:-53]))
        if not hmac.compare_digest(mac, found[1]):
            return bad
        previous, offset = base64.urlsafe_b64decode(mac + "="), offset + len(line) + 1
    return "revoked-key" if any(state_of(keys, kid) == "revoked" for kid in kids) else "live", None


def first_bad(path: Path, keys: Held) -> tuple[int, int] | None:
    """Return (seq, byte offset) of the first line that the chain refuses, None where it refuses none."""
    data, header = path.read_bytes(), loose(path.read_bytes())
    if ("golden" not in header or newer(header["golden"])) and "mac" not in header and b'"mac":"' not in data:
        return None
    return chain(data, keys if isinstance(keys, dict) else keys_of(keys))[1]


def verdict(path: Path, keys: Held, ledger: Ledger | None = None) -> str:
    """Return the verdict on `<run_id>.steps.jsonl`, with the ledger beside it; "none" where there is nothing of it.

    `keys` may be secrets alone: the first is active, the others are retired. `ledger` is the one beside the file where
    it was judged before, by more than these keys: an intact file is then called so, whatever the ledger is worth.
    """
    aos_secret = None if isinstance(keys, dict) or not keys else keys[0]
    known = keys if isinstance(keys, dict) else keys_of(keys)
    beside = ledger if ledger is not None else judge(ledger_in(path.parent), known)
    found = alone(path, beside, aos_secret)
    whole = beside.verdict is None or beside.tolerable or ledger is not None
    return found if found != "intact" or whole else str(beside.verdict)


def directory(folder: Path, ledger: Ledger) -> dict[str, str]:
    """Return the verdict on each run that lies in a directory or should."""
    stems = {
        name.partition(SUFFIX)[0]
        for name in (p.name for p in folder.iterdir())
        if re.search(rf"{SUFFIX}(\.sig)?$", name)
    }
    known = {run_id for run_id, run in ledger.runs.items() if run.present and ledger.believes}
    return {stem: verdict(folder / f"{stem}{SUFFIX}", dict(ledger.keys), ledger) for stem in sorted(stems | known)}


def ledger_in(folder: Path) -> bytes | None:
    """Return the bytes of a directory's ledger, None where there is none."""
    return (folder / "ledger.jsonl").read_bytes() if (folder / "ledger.jsonl").exists() else None


def alone(path: Path, ledger: Ledger, aos_secret: bytes | None) -> str:
    """Judge one file by itself and by what its ledger says of it."""
    stem, beside = path.name.removesuffix(SUFFIX), path.with_name(f"{path.name}.sig")
    found = [place for place in (path, beside) if place.is_symlink() or place.exists()]
    if stem == path.name or not RUN_ID.fullmatch(stem) or any(p.is_symlink() or not p.is_file() for p in found):
        return "unreadable"
    run = ledger.runs.get(stem) if ledger.believes else None
    if path not in found:
        return "missing" if found or (run and run.present) else "none"
    data, seal = path.read_bytes(), beside.read_bytes() if beside in found else None
    header = loose(data)
    try:
        if header and not {"golden", "mac"} & header.keys() and (seal is None or re.fullmatch(b"[0-9a-f]{64}", seal)):
            return aos(path, data, header, seal, aos_secret)
        if seal is not None:
            return sealed(data, seal, stem, ledger)
        return unsealed(data, header, stem, ledger.keys, ended=run is not None and run.digest != "")
    except RecursionError:
        return "unreadable"


def sealed(data: bytes, seal: bytes, stem: str, ledger: Ledger) -> str:
    """Judge a file with a seal (rows 2 to 6)."""
    claim = loose(seal)
    if newer(claim):
        return "unreadable"
    first, *lines = seal.decode("utf-8", "surrogateescape").split("\n")
    if not lines or lines.pop() or len(seal) > SEAL_LIMIT or not 1 <= len(lines) <= 16:
        return "tampered"
    if not SAID.fullmatch(first) or canonical(claim) != first or not all(map(SIGNATURE.fullmatch, lines)):
        return "tampered"
    against = unaccepted(first, [json.loads(line) for line in lines], ledger.keys)
    if against:
        return against
    header = event_of(data.partition(b"\n")[0])
    whose = {(claim["run_id"], claim["file_id"])}
    whose |= {(header[0]["run_id"], header[0]["golden"]["file_id"])} if header and "golden" in header[0] else set()
    if whose != {(stem, claim["file_id"])}:
        return "wrong-run"
    if len(data) < claim["bytes"]:
        return "truncated"
    if (len(data), hashlib.sha256(data).hexdigest()) != (claim["bytes"], claim["sha256"]):
        return "tampered"
    return unlisted(first, stem, claim["file_id"], ledger) or doubted(data, stem, ledger) or "intact"


def unaccepted(first: str, signatures: list[dict[str, str]], keys: Keys) -> str | None:
    """Say what is against the signatures of a seal (row 3), None where one of them is accepted."""
    if len({line["kid"] for line in signatures}) != len(signatures):
        return "tampered"
    good, revoked = set(), False
    for line in signatures:
        kid = line["kid"]
        if kid not in keys:
            continue
        if keys[kid].state == "revoked":
            revoked = True
            continue
        fits = verifies(keys[kid], kid, line["sig"], pae("seal", first), "seal")
        if fits is False or (fits and line["alg"] != keys[kid].alg):
            return "tampered"
        good |= {keys[kid].alg} if fits else set()
    if good and strongest(keys) in {None, *good}:
        return None
    return "revoked-key" if revoked and not good else "unknown-key"


def unlisted(first: str, stem: str, file_id: str, ledger: Ledger) -> str | None:
    """Say what the ledger has against a file that its seal speaks for (row 6)."""
    if not ledger.exists or not ledger.believes:
        return None
    run, digest = ledger.runs.get(stem), hashlib.sha256(first.encode()).hexdigest()
    if run is None or not run.present:
        return "unlisted"
    if digest == run.digest:
        return None
    if digest in run.earlier:
        return "rolled-back"
    return None if not run.digest and run.file_id == file_id else "unlisted"


def doubted(data: bytes, stem: str, ledger: Ledger) -> str | None:
    """Say of a run that it went on after lines under a key that had no say any more when it was sealed (row 6)."""
    run = ledger.runs.get(stem) if ledger.believes else None
    if run is None:
        return None
    kids = {kid for kid, believed in ledger.believed.items() if not run.digest or run.sealed >= believed}
    before: set[str] = set()
    for found in map(event_of, data.split(b"\n")):
        if found and "golden" in found[0]:
            if before & kids:
                return "revoked-key"
            before.add(found[0]["golden"]["kid"])
    return None


def unsealed(data: bytes, header: dict[str, Any], stem: str, keys: Keys, *, ended: bool) -> str:
    """Judge a file without a seal (row 7); `ended`: its ledger knows a seal."""
    *lines, rest = data.split(b"\n")
    last = event_of(lines[-1]) if lines else None
    if ended or (last and last[0]["event_type"] == "run_end"):
        return "unsealed"
    if not lines:
        return "torn"
    if (
        newer(header.get("golden"))
        or len(lines[0]) > HEADER_LIMIT
        or any(len(x) > LINE_LIMIT for x in (*lines[1:], rest))
    ):
        return "unreadable"
    first = event_of(lines[0])
    if not first or first[0]["event_type"] != "run_start":
        return "tampered"
    if first[0]["run_id"] != stem:
        return "wrong-run"
    if state_of(keys, first[0]["golden"]["kid"]) == "revoked":
        return "revoked-key"
    found, _ = chain(data, keys)
    return "torn" if rest and found == "live" else found


def aos(path: Path, data: bytes, header: dict[str, Any], seal: bytes | None, secret: bytes | None) -> str:
    """Judge a file of the AOS system."""
    stores = (loose(beside.read_bytes()).keys() for beside in path.parent.glob("*.steps.jsonl*"))
    if (path.parent / "ledger.jsonl").exists() or any({"golden", "sha256"} & store for store in stores):
        return "unlisted"
    if seal is None or secret is None:
        return "unsigned" if seal is None else "unknown-key"
    if header.get("run_id") != path.name.removesuffix(SUFFIX):
        return "wrong-run"
    return "intact" if hmac.compare_digest(hmac.digest(secret, data, "sha256").hex().encode(), seal) else "tampered"


def loose(data: bytes) -> dict[str, Any]:
    """Return the object that a first line spells in any way, an empty one if none."""
    try:
        value = json.loads(data.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def newer(claim: Any) -> bool:
    """Whether an object says it is of a version above 1."""
    return isinstance(claim, dict) and type(claim.get("v")) is int and claim["v"] > 1


def main(arguments: list[str]) -> int:
    """Judge files and directories: the first argument is a policy file, or secret files with commas between them."""
    first, *places = arguments
    held: Held
    if first.endswith(".toml"):
        secret_files = [Path(place) for place in places if place.endswith(".secret")]
        secrets = [place.read_bytes().removesuffix(b"\n") for place in secret_files]
        held = keys_from(tomllib.loads(Path(first).read_text("utf-8"))["key"], secrets)
    else:
        held = [Path(name).read_bytes().removesuffix(b"\n") for name in first.split(",")]
    for place in (Path(place) for place in places if not place.endswith(".secret")):
        if place.is_dir():
            ledger = judge(ledger_in(place), held if isinstance(held, dict) else keys_of(held))
            for run_id, word in directory(place, ledger).items():
                sys.stdout.write(f"{word} {run_id}\n")
            sys.stdout.write(f"{ledger.verdict or 'good'} ledger {ledger.aside or ''} {ledger.anchor or ''}\n")
        else:
            sys.stdout.write(f"{verdict(place, held)} {first_bad(place, held)} {place}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
