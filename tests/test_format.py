"""The product, the independent verifier and the fixtures say the same of every vector and every recording."""

import filecmp
import hmac
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.canonical import canonical_bytes, decode, derive_seed, is_canonical, output_hash, pae, path_seed, sha256_hex
from golden.chain import Chain, Walk, split_line
from golden.directory import Directory
from golden.errors import FormatError, TamperedError
from golden.event import EffectData, StepData
from golden.keyfile import read_policy
from golden.keyring import Ed25519Key, HmacKey, Key, Keyring, b64, hkdf, key_from, kid_of
from golden.ledger import FORMS, Anchor, parse_line, signed_line
from golden.memory import Memory
from golden.places import segments
from golden.redaction import Redaction
from golden.seal import parse_seal
from golden.store import GoldenFile, stems
from golden.verdict import examine, verify, verify_file
from golden.volatile import Volatile
from tests import independent_ledger, independent_verifier, make_fixtures, primitives, runs
from tests.independent_ledger import keys_of
from tests.runs import ACTIVE, AOS_SECRET, FIXTURES, RETIRED

SHELVES = {"v1": [ACTIVE, RETIRED], "aos": [AOS_SECRET]}


def vectors(name: str, *members: str) -> list[Any]:
    """Return the vectors of a file that have these members, each a case named as the vector is."""
    found = json.loads((FIXTURES / f"vectors/{name}.json").read_bytes())["vectors"]
    chosen = [pytest.param(v, id=v["name"]) for v in found if set(members) <= v.keys()]
    assert chosen
    return chosen


def keyring_of(secrets: list[bytes]) -> Keyring:
    return Keyring(secrets[0], secrets[1:])


def recordings() -> Iterator[Any]:
    for shelf in SHELVES:
        for name, expect in json.loads((FIXTURES / f"recordings/{shelf}/expect.json").read_bytes()).items():
            yield pytest.param(shelf, name, expect, id=f"{shelf}/{name}")


@pytest.mark.parametrize("shelf, name, expect", list(recordings()))
def test_recording_has_its_verdict(shelf: str, name: str, expect: dict[str, Any]) -> None:
    path = FIXTURES / f"recordings/{shelf}/{name}.steps.jsonl"
    found = verify(path, keyring_of(SHELVES[shelf]))
    assert independent_verifier.verdict(path, SHELVES[shelf]) == expect["verdict"]
    assert found.verdict == expect["verdict"]
    assert (found.problem is None) is (found.hint is None) is (found.verdict == "intact")
    if found.verdict in {"tampered", "truncated", "live", "torn"}:
        bad = found.first_bad and msgspec.to_builtins(found.first_bad)
        assert bad == expect["first_bad"]
        place = independent_verifier.first_bad(path, SHELVES[shelf])
        assert place == (bad and (bad["event"], bad["offset"]))


@pytest.mark.parametrize("vector", vectors("canonical", "json"))
def test_canonical_form_of(vector: dict[str, Any]) -> None:
    data = canonical_bytes(decode(vector["json"].encode()))
    assert data == vector["expect"].encode()
    assert is_canonical(data)
    assert is_canonical(vector["json"].encode()) is (vector["json"] == vector["expect"])


@pytest.mark.parametrize("vector", vectors("canonical", "strict"))
def test_canonical_reader(vector: dict[str, Any]) -> None:
    assert vector["expect"] == {"refused": True}
    assert not is_canonical(vector["strict"].encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("vector", vectors("hashes", "expect"))
def test_hash_of(vector: dict[str, Any]) -> None:
    match vector:
        case {"kind": "output_hash", "at": at, "value": value, "volatile": rules}:
            place = tuple(part.replace("~1", "/").replace("~0", "~") for part in at.split("/")[1:])
            rest = Volatile(rules).strip(place, decode(value.encode()))
            assert canonical_bytes(rest).decode() == vector["hashed"]
            assert output_hash(rest) == vector["expect"]
            if place[0] == "steps" and place[2] == "output":
                assert Volatile(rules).hash_output(place[1], value.encode()) == vector["expect"]
        case {"kind": "args_hash", "args": args, "kwargs": kwargs}:
            value = {"args": decode(args.encode()), "kwargs": decode(kwargs.encode())}
            assert output_hash(value) == vector["expect"]
        case {"output_hashes": hashes}:
            assert output_hash(hashes) == vector["expect"]
        case {"result": None}:
            assert vector["expect"] is None
        case {"result": result}:
            assert sha256_hex(result.encode()) == vector["expect"]
        case _:
            pytest.fail("a kind of vector nobody reads")


@pytest.mark.parametrize("vector", vectors("redaction", "rules"))
def test_redaction_of(vector: dict[str, Any]) -> None:
    redaction = Redaction(vector["rules"])
    for (place, value), expected in zip(vector["values"], vector["expect"], strict=True):
        assert redaction.admit(segments(place)[1:], canonical_bytes(decode(value.encode()))).decode() == expected
    assert redaction.dead == []


@pytest.mark.parametrize("vector", vectors("seeds", "index"))
def test_seed_of(vector: dict[str, Any]) -> None:
    assert derive_seed(vector["base"], vector["index"]) == vector["expect"]


@pytest.mark.parametrize("vector", vectors("seeds", "path"))
def test_seed_by_path_of(vector: dict[str, Any]) -> None:
    assert path_seed(vector["base"], vector["path"]) == vector["expect"]


@pytest.mark.parametrize("vector", vectors("hmac-hkdf", "ikm"))
def test_hkdf_is_that_of_rfc_5869(vector: dict[str, Any]) -> None:
    salt, info = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["info"])
    out = hkdf(bytes.fromhex(vector["ikm"]), salt=salt, info=info, length=vector["length"])
    assert out.hex() == vector["expect"]["okm"]


@pytest.mark.parametrize("vector", vectors("keys", "secret_file"))
def test_keys_of(vector: dict[str, Any]) -> None:
    key = HmacKey(vector["secret_file"].encode().removesuffix(b"\n"))
    found = {
        "kid": key.kid,
        "k_event": key.event_key(vector["run_id"], vector["file_id"]).hex(),
        "k_seal": key.seal_key().hex(),
        "k_ledger": key.ledger_key(vector["dir_id"]).hex(),
    }
    assert found == vector["expect"]


@pytest.mark.parametrize("vector", vectors("keys", "public"))
def test_public_key_of(vector: dict[str, Any]) -> None:
    public = bytes.fromhex(vector["public"])
    assert Ed25519Key(public).kid == vector["expect"]["kid"]
    assert independent_ledger.kid_of_public(public) == vector["expect"]["kid"]
    if "pem" in vector:
        key = key_from(vector["pem"].encode().removesuffix(b"\n"))
        assert isinstance(key, Ed25519Key)
        assert (key.public, key.kid, key.can_sign) == (public, vector["expect"]["kid"], True)


@pytest.mark.parametrize("vector", vectors("ed25519", "signature"))
def test_ed25519_is_that_of_rfc_8032(vector: dict[str, Any]) -> None:
    public, message, signature = (bytes.fromhex(vector[name]) for name in ("public", "message", "signature"))
    good = vector["expect"]["good"]
    # A key signs what has a label; the published cases are of bare messages.
    assert Ed25519Key(public)._verifies(message, b64(signature).decode()) is good
    assert independent_ledger.ed25519(public, message, signature) is good
    if "seed" in vector:
        key = key_from(primitives.ed25519_pem(bytes.fromhex(vector["seed"])).removesuffix(b"\n"))
        assert isinstance(key, Ed25519Key)
        assert (key.public, key._sign(message)) == (public, b64(signature).decode())


@pytest.mark.parametrize("vector", vectors("hmac-hkdf", "key"))
def test_hmac_is_that_of_rfc_4231(vector: dict[str, Any]) -> None:
    mac = hmac.digest(bytes.fromhex(vector["key"]), bytes.fromhex(vector["data"]), "sha256").hex()
    assert mac.startswith(vector["expect"]["mac"])
    assert len(vector["expect"]["mac"]) == (32 if vector["name"] == "RFC 4231 case 5" else 64)


@pytest.mark.parametrize("vector", vectors("macs", "body"))
def test_mac_of(vector: dict[str, Any]) -> None:
    body, previous = vector["body"].encode(), bytes.fromhex(vector["previous"])
    assert pae(b"event", previous, body).hex() == vector["expect"]["pae"]
    mac = Chain(bytes.fromhex(vector["k_event"]), previous).mac(body)
    assert b64(mac).decode() == vector["expect"]["mac"]


def line_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["line_hex"]) if "line_hex" in vector else vector["line"].encode()


RUNS: dict[str, list[bytes]] = {}
for _case in vectors("events", "run"):
    _vector = _case.values[0]
    if "mac" in _vector["expect"]:
        RUNS.setdefault(_vector["run"], []).append(line_of(_vector).removesuffix(b"\n"))


@pytest.mark.parametrize("vector", vectors("events", "run"))
def test_line_is_read_as_expected(vector: dict[str, Any]) -> None:
    walk = Walk(Keyring(ACTIVE, [RETIRED]))
    for line in RUNS[vector["run"]][: vector["seq"]]:
        walk.feed(line)
    assert walk.mac.hex() == vector["previous"]
    line = line_of(vector).removesuffix(b"\n")
    if vector["expect"] == {"refused": True}:
        with pytest.raises((TamperedError, FormatError)):
            walk.feed(line)
        assert walk.seq == vector["seq"]
        return
    event = walk.feed(line)
    said = msgspec.to_builtins(
        {
            "data": without_unset(event.data),
            "event_type": event.event_type,
            "mac": split_line(line)[1].decode(),
            "run_id": event.run_id,
            "seq": event.seq,
            "timestamp": event.timestamp,
            **{n: v for n in ("golden", "timing") if (v := getattr(event, n)) is not None},
        }
    )
    expected = {**vector["expect"], "data": decode(canonical_bytes(vector["expect"]["data"]))}
    assert {name: said[name] for name in expected} == expected
    if isinstance(event.data, StepData | EffectData):
        assert said["timing"] == expected["timing"]


def without_unset(data: Any) -> Any:
    """Return an event's data with what it holds raw decoded."""
    pairs = ((name, getattr(data, name)) for name in data.__struct_fields__)
    return {n: decode(v) if isinstance(v, msgspec.Raw) else v for n, v in pairs if v is not msgspec.UNSET}


@pytest.mark.parametrize("vector", vectors("seal", "statement"))
def test_seal_signature_of(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    secret = next(s for s in (ACTIVE, RETIRED) if HmacKey(s).kid == expect["kid"])
    assert HmacKey(secret).seal_key().hex() == vector["k_seal"]
    assert pae(b"seal", vector["statement"].encode()).hex() == expect["pae"]
    message = pae(b"seal", vector["statement"].encode())
    assert b64(hmac.digest(HmacKey(secret).seal_key(), message, "sha256")).decode() == expect["sig"]
    text = f'{vector["statement"]}\n{{"alg":"hmac-sha256","kid":"{expect["kid"]}","sig":"{expect["sig"]}"}}\n'
    assert parse_seal(text.encode()).signatures[0].sig == expect["sig"]


@pytest.mark.parametrize("vector", vectors("seal", "sig"))
def test_seal_leads_to_its_verdict(vector: dict[str, Any], tmp_path: Path) -> None:
    folder, _, name = f"v1/{vector['beside']}".rpartition("/")
    shelf = folder.rpartition("/")[2]
    path = tmp_path / f"{name}.steps.jsonl"
    shutil.copy(FIXTURES / f"recordings/{shelf}/{name}.steps.jsonl", path)
    seal = vector["sig"].replace("<PAD>", "x" * vector.get("pad", 0))
    path.with_name(f"{path.name}.sig").write_bytes(seal.encode())
    keyring, keys = keyring_of(SHELVES[shelf]), keys_of(SHELVES[shelf])
    if "keyring" in vector:
        keyring, keys = keys_for(vector)
    given = keys if "keyring" in vector else SHELVES[shelf]
    assert independent_verifier.verdict(path, given) == vector["expect"]["verdict"]
    assert verify(path, keyring).verdict == vector["expect"]["verdict"]


def key_of(vector: dict[str, Any]) -> Key:
    """Return the key that signed a vector's line."""
    if "secret" in vector:
        return HmacKey(vector["secret"].encode())
    return key_from(primitives.ed25519_pem(bytes.fromhex(vector["seed"])).removesuffix(b"\n"))


@pytest.mark.parametrize("vector", vectors("ledger", "dir_id"))
def test_ledger_line_is_read_as_expected(vector: dict[str, Any]) -> None:
    line, key, dir_id = line_of(vector).removesuffix(b"\n"), key_of(vector), vector["dir_id"]
    second = independent_ledger.line_of(line)
    if vector["expect"] == {"refused": True}:
        with pytest.raises(ValueError, match=r"^\S"):
            parse_line(line)
        assert second is None
        return
    operation, body, mac = parse_line(line)
    expect = vector["expect"]
    assert second == (expect["members"], body, mac)
    assert msgspec.json.decode(msgspec.json.encode(operation)) == expect["members"]
    assert pae(b"ledger", dir_id.encode(), body).hex() == expect["pae"]
    assert mac == expect["mac"] == key.sign_ledger(dir_id, body)
    assert key.verifies_ledger(dir_id, body, mac)
    assert signed_line(operation, key, dir_id) == line + b"\n"
    if isinstance(key, HmacKey):
        assert key.ledger_key(dir_id).hex() == vector["k_ledger"]


def test_there_is_a_line_of_every_operation() -> None:
    found = [vector.values[0] for vector in vectors("ledger", "k_ledger")]
    said = [vector["expect"]["members"] for vector in found]
    assert {members["op"] for members in said} == set(FORMS)
    for op, form in FORMS.items():
        members = {name for line in said if line["op"] == op for name in line}
        assert members == set(form.__struct_fields__), op


def keys_for(view: dict[str, Any]) -> tuple[Keyring, dict[str, independent_ledger.Key]]:
    """Return the keys of a view's policy file with only its secrets at hand, for the product and for the verifier."""
    path = FIXTURES / f"keyrings/{view['keyring']}.toml"
    secrets = [{"active": ACTIVE, "retired": RETIRED}[name] for name in view["secrets"]]
    held = {kid_of(secret): secret for secret in secrets}
    entries = tomllib.loads(path.read_text())["key"]
    return Keyring.of(read_policy(str(path)), held.get), independent_ledger.keys_from(entries, secrets)


def looked_at(folder: Path, view: dict[str, Any], state: Path) -> tuple[Directory, independent_ledger.Ledger]:
    """Return a directory as the product and as the verifier see it, with what the view knows of it."""
    keyring, keys = keys_for(view)
    anchors = [view["anchor"]] if view["anchor"] else []
    before = view["remembered"]
    memory = Memory(str(state))
    memory.remember(str(folder), Anchor.parse(before["anchor"]) if before["anchor"] else None, before["revoked"])
    seen = Directory(
        str(folder), keyring, memory=memory, anchors=[Anchor.parse(anchor) for anchor in anchors], leaked=view["leaked"]
    )
    known = [*anchors, *([before["anchor"]] if before["anchor"] else [])]
    data = independent_verifier.ledger_in(folder)
    return seen, independent_ledger.judge(data, keys, known, before["revoked"], view["leaked"])


def views(shelf: str) -> Iterator[Any]:
    for name, expect in json.loads((FIXTURES / shelf / "expect.json").read_bytes()).items():
        for number, view in enumerate(expect["views"]):
            yield pytest.param(name, view, id=f"{name}-{number}")


def judged_as_expected(seen: Directory, second: independent_ledger.Ledger, expect: dict[str, Any]) -> None:
    """Check that product and verifier say of a ledger what is expected."""
    verdict = seen.finding.verdict if seen.finding else None
    assert (verdict, second.verdict) == (expect["ledger"], expect["ledger"])
    tolerable = seen.finding is not None and seen.finding.tolerable
    assert (tolerable, second.tolerable) == (expect["tolerable"], expect["tolerable"])
    assert (str(seen.anchor) if seen.anchor else None) == second.anchor
    if verdict != "tampered":
        spans = [[span.first, span.last] for span in seen.aside]
        assert (spans, second.aside) == (expect["aside"], expect["aside"])
        assert (seen.believed, second.believed) == (expect["believed"], expect["believed"])
        for kid in expect["believed"]:
            assert seen.keyring.state(kid) in {"revoked", None}
            assert independent_ledger.state_of(second.keys, kid) == seen.keyring.state(kid)


@pytest.mark.parametrize("name, view", list(views("ledgers")))
def test_ledger_is_judged_as_expected(name: str, view: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "goldens"
    folder.mkdir()
    shutil.copy(FIXTURES / f"ledgers/{name}.jsonl", folder / "ledger.jsonl")
    seen, second = looked_at(folder, view, tmp_path / "state")
    judged_as_expected(seen, second, view["expect"])


@pytest.mark.parametrize("name, view", list(views("directories")))
def test_directory_is_judged_as_expected(name: str, view: dict[str, Any], tmp_path: Path) -> None:
    folder = FIXTURES / "directories" / name
    seen, second = looked_at(folder, view, tmp_path / "state")
    expect = view["expect"]
    judged_as_expected(seen, second, expect)
    known = {run_id for run_id, run in seen.runs.items() if run.present}
    found = {}
    for stem in sorted({*stems(str(folder)), *known}):
        file = GoldenFile(folder, stem)
        verdict, proof = examine(file, seen)
        if proof is not None:
            proof.close()
        found[stem] = verdict.verdict
        whole = verdict.verdict != "intact" or expect["ledger"] is None or expect["tolerable"]
        assert verify_file(file, seen).verdict == (verdict.verdict if whole else expect["ledger"])
    assert found == expect["runs"]
    assert independent_verifier.directory(folder, second) == expect["runs"]
    if not (view["anchor"] or view["remembered"]["anchor"] or view["remembered"]["revoked"] or view["leaked"]):
        keyring, keys = keys_for(view)
        for stem in found:
            path = folder / f"{stem}.steps.jsonl"
            assert independent_verifier.verdict(path, keys) == verify(path, keyring).verdict


def test_every_ledger_and_directory_is_expected_to_be_something() -> None:
    ledgers = {path.stem for path in (FIXTURES / "ledgers").glob("*.jsonl")}
    assert ledgers == set(json.loads((FIXTURES / "ledgers/expect.json").read_bytes()))
    folders = {path.name for path in (FIXTURES / "directories").iterdir() if path.is_dir()}
    assert folders == set(json.loads((FIXTURES / "directories/expect.json").read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("name, keyring", [("forged-tail-recovered", "hmac"), ("good-ed25519", "both")])
def test_both_say_the_same_of_a_ledger_with_any_bit_flipped(name: str, keyring: str, bit: int, tmp_path: Path) -> None:
    good = (FIXTURES / f"ledgers/{name}.jsonl").read_bytes()
    policy, keys = keys_for({"keyring": keyring, "secrets": ["active", "retired"]})
    place = tmp_path / "ledger.jsonl"
    place.write_bytes(good)
    last = good.removesuffix(b"\n").rfind(b"\n") + 1
    for at in range(len(good)):
        changed = bytearray(good)
        changed[at] ^= 1 << bit
        place.write_bytes(changed)
        seen, second = Directory(str(tmp_path), policy), independent_ledger.judge(bytes(changed), keys)
        found = seen.finding.verdict if seen.finding else None
        assert found == second.verdict, at
        # Of all but the last line no bit can be changed unnoticed, be a key at hand or not.
        assert found in ({"tampered"} if at < last else {"tampered", "unknown-key", "torn"}), at


def test_every_vector_file_is_read_here() -> None:
    names = {path.stem for path in (FIXTURES / "vectors").glob("*.json")}
    expected = {"canonical", "ed25519", "events", "hashes", "hmac-hkdf", "keys", "ledger", "macs", "redaction"}
    expected |= {"seal", "seeds"}
    assert names == expected


def test_every_recording_is_expected_to_be_something() -> None:
    for shelf in SHELVES:
        folder = FIXTURES / f"recordings/{shelf}"
        names = {path.name.partition(".steps.jsonl")[0] for path in folder.glob("*.steps.jsonl*")}
        assert names == set(json.loads((folder / "expect.json").read_bytes()))


def test_the_fixtures_are_those_their_maker_makes(tmp_path: Path) -> None:
    assert make_fixtures.main([str(tmp_path)]) == 0
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made
    unlike = [str(name) for name in sorted(made) if not filecmp.cmp(tmp_path / name, FIXTURES / name, shallow=False)]
    assert unlike == []
    for shelf in ("vectors", "recordings/v1", "ledgers", "directories", "keyrings"):
        files = (path for path in (FIXTURES / shelf).rglob("*") if path.is_file())
        committed = {path.relative_to(FIXTURES) for path in files if path.suffix != ".lock"}
        assert committed <= made


@pytest.mark.parametrize(
    "name, view", [case for case in views("ledgers") if not case.values[1]["remembered"]["anchor"]]
)
def test_ledger_that_grows_is_judged_as_if_read_afresh(name: str, view: dict[str, Any], tmp_path: Path) -> None:
    place, whole = tmp_path / "ledger.jsonl", (FIXTURES / f"ledgers/{name}.jsonl").read_bytes()
    keyring, _ = keys_for(view)
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for first, then in combinations([*ends, len(whole)], 2):
        place.write_bytes(whole[:first])
        seen = Directory(str(tmp_path), keyring)
        place.write_bytes(whole[:then])
        seen.refresh()
        fresh = Directory(str(tmp_path), keyring)
        assert (seen.finding, seen.aside, seen.believed) == (fresh.finding, fresh.aside, fresh.believed)
        assert (seen.anchor, seen.runs) == (fresh.anchor, fresh.runs)


def test_the_text_shows_a_real_ledger_and_a_real_policy_file() -> None:
    text = (FIXTURES.parent / "docs/format.md").read_text("utf-8")
    ledger = (FIXTURES / "ledgers/every-operation.jsonl").read_bytes()
    policy = (FIXTURES / "keyrings/both.toml").read_text("ascii").split("\n", 2)[2]
    assert f"```json\n{ledger.decode()}```" in text
    assert f"```toml\n{policy}```" in text
    judged = independent_ledger.judge(ledger, keys_of([ACTIVE]))
    assert f"    {judged.anchor}\n" in text
    assert f"ledger key  {HmacKey(ACTIVE).ledger_key(judged.dir_id).hex()}" in text
    body = ledger.partition(b',"mac"')[0]
    assert pae(b"ledger", judged.dir_id.encode(), body).removesuffix(body).decode() in text
    assert f"{len(ledger):,} bytes" in text


def test_the_text_names_every_operation_with_its_members() -> None:
    text = (FIXTURES.parent / "docs/format.md").read_text("utf-8")
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)}
    common = {"actor", "kid", "op", "prev", "seq", "timestamp"}
    for op, form in FORMS.items():
        optional = {name for name in form.__struct_fields__ if _optional(form, name)}
        shown = dict(re.findall(r"`(\w+)`(\??)", re.sub(r"\([^)]*\)", "", rows[op])))
        assert set(shown) == set(form.__struct_fields__) - common, op
        assert {name for name, mark in shown.items() if mark} == optional - common, op


def _optional(form: type[msgspec.Struct], name: str) -> bool:
    field = next(field for field in msgspec.structs.fields(form) if field.name == name)
    return not field.required


@pytest.mark.parametrize("policy", [{"guard": "virtual"}, {"guard": "block"}, {"of": ["a", {"later": "version"}]}])
def test_a_verifier_takes_a_policy_as_it_is(policy: dict[str, Any], tmp_path: Path) -> None:
    store = runs.store_in(tmp_path)
    file = runs.record(store, "r", [runs.start(policy=policy), runs.step(0), runs.end()])
    assert verify(file.path, store.keyring).verdict == "intact"
    assert independent_verifier.verdict(file.path, [ACTIVE]) == "intact"
