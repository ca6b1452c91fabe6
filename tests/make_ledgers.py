"""Writes the fixtures of keys, ledgers and directories, each with the judgement expected of it.

Part of `make_fixtures`; what is right is stated here, nobody is asked.
"""

import hmac
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.fixture_runs import (
    ACTIVE,
    OLD_PAIR,
    PAIR,
    RETIRED,
    SEALED_AT,
    UNKNOWN,
    Event,
    Seed,
    Vector,
    base,
    effect,
    end,
    file_id_of,
    joined,
    named,
    resume,
    seal,
    sha256,
    signature,
    start,
    statement,
    step,
    write_json,
    written,
)
from tests.primitives import b64, canonical, ed25519_public, ed25519_sign, ledger_key, ledger_message

# File name, and (key, state) of each entry; the first that was made stands first.
KEYRINGS: dict[str, list[tuple[bytes, str]]] = {
    "hmac": [(RETIRED, "retired"), (ACTIVE, "active")],
    "before": [(RETIRED, "active")],
    "revoked": [(RETIRED, "revoked"), (ACTIVE, "active")],
    "both": [(RETIRED, "retired"), (ACTIVE, "active"), (PAIR, "active")],
    "both-retired": [(RETIRED, "retired"), (OLD_PAIR, "retired"), (ACTIVE, "active")],
    "pair-revoked": [(ACTIVE, "active"), (OLD_PAIR, "revoked"), (PAIR, "active")],
    "pair-retired": [(RETIRED, "retired"), (ACTIVE, "active"), (PAIR, "retired")],
    "none-active": [(RETIRED, "retired"), (OLD_PAIR, "retired")],
}
SECRET_FILES = {"active": ACTIVE, "retired": RETIRED}
Signer = bytes
HOLDS = ["active", "retired"]


def keyrings(folder: Path) -> None:
    """Write the policy files, and the private keys as they lie on a host."""
    for name, entries in KEYRINGS.items():
        parts = ["# Keys that are published: for tests only.\n"]
        for number, (key, state) in enumerate(entries):
            alg, kid = named(key)
            parts.append(f'\n[[key]]\nkid = "{kid}"\nalg = "{alg}"\nstate = "{state}"\n')
            parts.append(f'created = "2026-01-0{number + 1}T00:00:00.000000Z"\n')
            if isinstance(key, Seed):
                parts.append(f'public = "{b64(ed25519_public(key))}"\n')
        (folder / f"{name}.toml").write_text("".join(parts), encoding="ascii")


class Book:
    """A ledger being written; every line is a minute after the one before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dir_id = dir_id_of(name)
        self.lines: list[bytes] = []

    def add(self, signer: Signer, op: str, **members: object) -> "Book":
        """Append a line; members that are given replace those that are due."""
        body = canonical(self.said(signer, op) | members).encode()[:-1]
        self.lines.append(body + b',"mac":"' + mac_of(signer, self.dir_id, body).encode() + b'"}')
        return self

    def said(self, signer: Signer, op: str) -> Event:
        """Return the members that every line has."""
        prev = sha256(self.lines[-1]) if self.lines else "0" * 64
        at = f"2026-01-02T00:{len(self.lines):02}:00.000000Z"
        said: Event = {"actor": "recorder@host", "kid": named(signer)[1], "op": op, "prev": prev, "timestamp": at}
        return said | {"seq": len(self.lines)}

    def create(self, signer: Signer) -> "Book":
        """Append the first line."""
        return self.add(signer, "create", dir_id=self.dir_id)

    def recorded(self, signer: Signer, run_id: str, said: str | None = None) -> "Book":
        """Append the two lines of a run that was recorded and sealed."""
        self.add(signer, "open", **whose(run_id))
        return self.add(signer, "seal", **whose(run_id), seal=json.loads(said or statement(run_id, small(run_id))))

    def revoked(self, signer: Signer, key: Signer, believed: int | None, reason: str | None = None) -> "Book":
        """Append the line that revokes a key."""
        alg, kid = named(key)
        members: Event = {"alg": alg, "key": kid, "reason": reason, "state": "revoked"}
        return self.add(signer, "key", **members, **({} if believed is None else {"believed": believed}))

    def rotated(self, *keys: Signer, resealed: int = 1, reason: str = "compromised") -> "Book":
        """Append the line that a rotation ends with."""
        kids = [named(key)[1] for key in keys]
        return self.add(keys[0], "rotate", keys=kids, note=None, outcomes={"resealed": resealed}, reason=reason)

    @property
    def data(self) -> bytes:
        """The ledger's bytes."""
        return joined(self.lines)

    def anchor(self, lines: int | None = None) -> str:
        """Return the anchor after so many lines, all by default."""
        count = len(self.lines) if lines is None else lines
        return f"golden-anchor/v1 {self.dir_id} {count} {sha256(self.lines[count - 1])}"


def dir_id_of(name: str) -> str:
    """Return a fixed dir_id (a real one is 128 random bits)."""
    return sha256(b"dir_id of " + name.encode())[:32]


def mac_of(signer: Signer, dir_id: str, body: bytes) -> str:
    """Return the signature of a ledger's line."""
    message = ledger_message(dir_id, body)
    if isinstance(signer, Seed):
        return b64(ed25519_sign(signer, message))
    return b64(hmac.digest(ledger_key(signer, dir_id), message, "sha256"))


def whose(run_id: str) -> Event:
    """Return the members that name a run."""
    return {"file_id": file_id_of(run_id), "run_id": run_id}


def small(run_id: str, secret: bytes = ACTIVE) -> list[bytes]:
    """Return the lines of a run without any step."""
    return written(run_id, [start(secret, file_id=file_id_of(run_id)), end(done=0)])


def resumed(run_id: str, *keys: bytes) -> list[bytes]:
    """Return the lines of a run that was begun under the first of these keys and gone on with under each other one."""
    events = [start(keys[0], file_id=file_id_of(run_id)), effect()]
    for secret in keys[1:]:
        events += [resume(secret, file_id_of(run_id), written(run_id, events), 0), effect()]
    return written(run_id, [*events, step(0), end(done=1)])


def view(
    keyring: str = "hmac",
    secrets: Iterable[str] = ("active", "retired"),
    *,
    ledger: str | None = None,
    aside: Iterable[tuple[int, int]] = (),
    believed: dict[Signer, int] | None = None,
    anchor: str | None = None,
    remembered: str | None = None,
    revoked: Iterable[Signer] = (),
    leaked: dict[Signer, int] | None = None,
    **more: object,
) -> Vector:
    """Return who looks, with what, and what is to be seen; `ledger` None means that it is good."""
    seen: Vector = {
        "ledger": ledger,
        "aside": [list(span) for span in aside],
        "believed": {named(key)[1]: lines for key, lines in (believed or {}).items()},
        "tolerable": ledger == "torn",
    }
    return {
        "keyring": keyring,
        "secrets": list(secrets),
        "anchor": anchor,
        "remembered": {"anchor": remembered, "revoked": [named(key)[1] for key in revoked]},
        "leaked": {named(key)[1]: lines for key, lines in (leaked or {}).items()},
        "expect": seen | more,
    }


# --- ledgers -------------------------------------------------------------------------------------


def ledgers(folder: Path) -> None:
    """Write ledgers alone, and `expect.json`."""
    expect: dict[str, Vector] = {}

    def put(name: str, why: str, data: bytes, *views: Vector) -> None:
        (folder / f"{name}.jsonl").write_bytes(data)
        expect[name] = {"why": why, "views": list(views) or [view()]}

    sound_ledgers(put)
    broken_ledgers(put)
    revoking_ledgers(put)
    quarrelling_ledgers(put)
    write_json(folder / "expect.json", expect)


Put = Callable[..., None]


def plain(name: str, signer: Signer = ACTIVE, run_id: str = "r-1") -> Book:
    """Return a ledger of one run: three lines."""
    return Book(name).create(signer).recorded(signer, run_id)


def sound_ledgers(put: Put) -> None:
    """Write ledgers whose lines are as they were written."""
    book = plain("good-hmac")
    put(
        "good-hmac",
        "one run, recorded and sealed",
        book.data,
        view(),
        view(anchor=book.anchor()),
        view(anchor=book.anchor(1)),
        view(remembered=book.anchor(2)),
        view(secrets=[], ledger="unknown-key"),
        view("before", ["retired"], ledger="unknown-key"),
    )
    book = plain("good-ed25519", PAIR)
    put("good-ed25519", "whoever has the public key can judge it", book.data, view("both", []), view("both"))
    book = plain("good-two-keys", RETIRED).recorded(ACTIVE, "r-2")
    why = "a stretch whose key is not at hand counts, because a later one by a key at hand vouches for it"
    last = view(secrets=["retired"], ledger="unknown-key")
    put("good-two-keys", why, book.data, view(), view(secrets=["active"]), last)
    book = plain("hmac-after-ed25519", PAIR).recorded(ACTIVE, "r-2")
    why = "an HMAC key signed last where an Ed25519 key is active: its lines are believed by who has that key"
    weaker = view("both", ledger="unknown-key", tolerable=True)
    views = [weaker, view("both", [], ledger="unknown-key"), view("pair-retired")]
    put(
        "hmac-after-ed25519",
        why,
        book.data,
        *views,
        view("both", anchor=book.anchor(), ledger="unknown-key", tolerable=True),
    )
    anchor = book.anchor()
    book.lines = book.lines[:3]
    book.add(ACTIVE, "delete", **whose("r-1"), reason="whoever has the HMAC secret alone can say so")
    why = "cut, and an HMAC key signed instead: that lines are gone is worse than who signed the others"
    views = [
        weaker,
        view("both", anchor=anchor, ledger="rolled-back"),
        view("both", remembered=anchor, ledger="rolled-back"),
    ]
    put("hmac-after-a-cut", why, book.data, *views)
    book = plain("ed25519-after-hmac").recorded(PAIR, "r-2")
    put("ed25519-after-hmac", "the stronger algorithm signed last", book.data, view("both"), view("both", []))
    book = plain("unknown-key-between").recorded(UNKNOWN, "r-2").recorded(ACTIVE, "r-3")
    put("unknown-key-between", "a stretch by a key that nobody here knows", book.data)
    book = every_operation()
    put("every-operation", "each operation once", book.data, view(believed={RETIRED: 8}))
    book = Book("bad-mac-inside-a-stretch").create(ACTIVE).add(ACTIVE, "open", **whose("r-1"))
    spoil(book, 1)
    book.add(ACTIVE, "delete", **whose("r-1"), reason="never recorded")
    put("bad-mac-inside-a-stretch", "of a stretch the last signature is checked; it covers all", book.data)


def spoil(book: Book, seq: int) -> None:
    """Change the signature of a line."""
    mac = bytearray(book.lines[seq])
    mac[-10] = ord("B") if mac[-10] == ord("A") else ord("A")
    book.lines[seq] = bytes(mac)


def every_operation() -> Book:
    """Return a ledger with a line of each operation."""
    book, alg_kid = plain("every-operation"), dict(zip(("alg", "key"), named(PAIR), strict=True))
    accepted = {"actor": "reviewer", "at": SEALED_AT, "commit": None, "reason": "the new mean is right"}
    said = json.loads(statement("r-1", small("r-1"), accepted=accepted, gen=1))
    book.add(ACTIVE, "accept", **whose("r-1"), reason="the new mean is right", seal=said)
    book.add(ACTIVE, "archive", **whose("r-1"), archive="golden-20260102.tar")
    book.add(ACTIVE, "restore", **whose("r-1"), archive="golden-20260102.tar")
    book.add(ACTIVE, "delete", **whose("r-1"), reason="older than 30 days")
    book.add(ACTIVE, "quarantine", file_id=None, run_id="r-2", reason="nobody can read it")
    book.add(ACTIVE, "key", **alg_kid, reason=None, state="retired")
    book.revoked(ACTIVE, RETIRED, 8, "out of use")
    outcomes = {"already": 1, "resealed": 999}
    book.add(ACTIVE, "rotate", keys=[named(ACTIVE)[1]], note="new year", outcomes=outcomes, reason="scheduled")
    dropped = {"bytes": 6, "sha256": sha256(b'{"acto')}
    return book.add(ACTIVE, "recover", dropped=dropped, reason="the last line was incomplete")


def broken_ledgers(put: Put) -> None:
    """Write ledgers with which something was done, or which are not whole."""
    good = plain("good-hmac")
    lines, full, short = good.lines, good.anchor(), good.anchor(1)
    gone: Vector = {"ledger": "rolled-back"}
    put(
        "cut",
        "the last line is missing: only who remembers it can say so",
        joined(lines[:2]),
        view(),
        view(anchor=short),
        view(anchor=full, **gone),
        view(remembered=full, **gone),
        view(secrets=[], anchor=full, ledger="unknown-key"),
    )
    torn = joined(lines) + b'{"actor":"recorder@'
    put("torn", "the last line has no end", torn, view(ledger="torn"), view(anchor=full, ledger="torn"))
    torn = joined(lines[:2]) + lines[2]
    put("torn-before-lf", "the last line lacks its LF", torn, view(ledger="torn"), view(anchor=full, **gone))
    put("half-a-line", "no whole line", lines[0][:99], view(ledger="torn"), view(anchor=full, **gone))
    put("empty", "no byte", b"", view(ledger="torn"), view(anchor=full, **gone))
    bad = [view(ledger="tampered"), view(secrets=[], ledger="tampered"), view(anchor=full, ledger="tampered")]
    put("dropped-line", "a line is missing in the middle", joined([lines[0], lines[2]]), *bad)
    put("dropped-first-line", "it begins with the second line", joined(lines[1:]), *bad)
    put("swapped-lines", "two lines changed places", joined([lines[0], lines[2], lines[1]]), *bad)
    put("doubled-line", "a line stands twice", joined([*lines, lines[2]]), *bad)
    put("crlf", "every line ends CR LF", joined(lines).replace(b"\n", b"\r\n"), *bad)
    put("changed-line", "a time in the middle", joined(lines).replace(b"T00:01:00", b"T00:01:09", 1), *bad)
    changed = joined(lines).replace(b"2026-01-02T00:02:00", b"2026-01-02T00:02:09")
    why = "a time in the last line: without its key nobody can tell"
    put("changed-last-line", why, changed, bad[0], view(secrets=[], ledger="unknown-key"))
    book = plain("good-hmac")
    spoil(book, 2)
    put("changed-mac", "the last signature", book.data, view(ledger="tampered"), view(secrets=[], ledger="unknown-key"))
    book = plain("bad-mac-ends-a-stretch", RETIRED)
    spoil(book, 2)
    book.recorded(ACTIVE, "r-2")
    why = "the last signature of a stretch is checked where its key is at hand"
    put("bad-mac-ends-a-stretch", why, book.data, view(ledger="tampered"), view(secrets=["active"]))
    put(
        "another-directory",
        "a whole ledger of another directory",
        plain("another-directory").data,
        view(),
        view(anchor=full, **gone),
    )
    book = Book("elsewhere").add(ACTIVE, "create", dir_id=dir_id_of("said")).recorded(ACTIVE, "r-1")
    put("dir-id-not-the-signed-one", "signed for another directory than it says", book.data, view(ledger="tampered"))
    book = plain("two-creates").add(ACTIVE, "create", dir_id=dir_id_of("two-creates"))
    put("two-creates", "only the first line creates", book.data, bad[0])
    book = Book("no-create").recorded(ACTIVE, "r-1")
    put("no-create", "the first line creates", book.data, bad[0])
    book = plain("seq-gap").add(ACTIVE, "open", **whose("r-2"), seq=4)
    put("seq-gap", "4 follows 2", book.data, bad[0])
    book = plain("prev-is-not-the-line-before").add(ACTIVE, "open", **whose("r-2"), prev="0" * 64)
    put("prev-is-not-the-line-before", "signed, and it names no line", book.data, bad[0])
    put("unknown-key", "all by a key that nobody here knows", plain("x", UNKNOWN).data, view(ledger="unknown-key"))
    book = plain("unknown-key-last").add(UNKNOWN, "delete", **whose("r-1"), reason="gone")
    put("unknown-key-last", "the last stretch must be checked", book.data, view(ledger="unknown-key"))
    for name, signer, length in [("ed25519-mac-too-short", PAIR, 43), ("hmac-mac-too-long", ACTIVE, 86)]:
        book = plain(name, signer)
        last = book.lines[-1]
        book.lines[-1] = last[: last.rindex(b'"mac":"') + 7] + b"A" * length + b'"}'
        put(name, "a signature of the other algorithm's length", book.data, view("both", ledger="tampered"))


def revoking_ledgers(put: Put) -> None:
    """Write ledgers in which a key is revoked, and what its thief writes."""
    three = {RETIRED: 3}
    scheduled = plain("revoked-on-schedule", RETIRED).revoked(ACTIVE, RETIRED, 3, "rotated on schedule")
    put(
        "revoked-on-schedule",
        "all lines of the old key stay believed; a keyring that calls it retired takes nothing back",
        scheduled.data,
        view(believed=three),
        view("revoked", believed=three),
        view("revoked", ["active"], believed=three),
        view("before", ["retired"], ledger="unknown-key"),
    )
    nothing = {RETIRED: 0}
    why = "a key that the keyring, this host or whoever asks calls revoked, and no line says how far"
    all_aside = view("revoked", ledger="revoked-key", aside=[(0, 2)], believed=nothing)
    from_memory = view(revoked=[RETIRED], ledger="revoked-key", aside=[(0, 2)], believed=nothing)
    asked = view(leaked={RETIRED: 2}, aside=[(2, 2)], believed={RETIRED: 2})
    put("revoked-without-a-line", why, plain("revoked-without-a-line", RETIRED).data, all_aside, from_memory, asked)
    book = plain("key-retired-by-a-line", RETIRED).add(
        ACTIVE,
        "key",
        **dict(zip(("alg", "key"), named(RETIRED), strict=True)),
        reason=None,
        state="retired",
        believed=1,
    )
    put("key-retired-by-a-line", "only `revoked` sets lines aside", book.data)
    book = plain("revoked-without-believed", RETIRED).revoked(ACTIVE, RETIRED, None)
    put("revoked-without-believed", "a revocation that says no number has no effect", book.data)
    book = plain("revokes-itself", RETIRED).revoked(RETIRED, RETIRED, 1)
    put("revokes-itself", "nobody revokes their own key", book.data)
    book = plain("revoked-by-a-stranger", RETIRED).revoked(UNKNOWN, RETIRED, 1).recorded(ACTIVE, "r-2")
    why = "a stranger's line counts, because who wrote after it knew the key"
    put("revoked-by-a-stranger", why, book.data, view(aside=[(1, 2)], believed={RETIRED: 1}))

    forged = plain("forged-tail", RETIRED).recorded(RETIRED, "forged")
    honest = forged.anchor(3)
    why = "lines by a leaked key: nothing is against them until it is revoked"
    leak: Vector = {"leaked": three, "believed": three, "aside": [(3, 4)]}
    put("forged-tail-unnoticed", why, forged.data, view(), view(anchor=honest), view(anchor=honest, **leak))
    forged.revoked(ACTIVE, RETIRED, 3, "leaked").rotated(ACTIVE)
    aside: Vector = {"believed": three, "aside": [(3, 4)]}
    why = "what the leaked key signed after the anchor is set aside"
    put("forged-tail", why, forged.data, view(**aside), view(anchor=honest, **aside), view("revoked", **aside))
    forged.add(ACTIVE, "recover", lines=[{"first": 3, "last": 4}], reason="forged")
    put("forged-tail-recovered", "the lines are named, and a finding no more", forged.data, view(believed=three))
    book = plain("forged-recover", RETIRED).recorded(RETIRED, "forged").revoked(ACTIVE, RETIRED, 3)
    book.add(RETIRED, "recover", lines=[{"first": 3, "last": 4}], reason="nothing to see")
    put(
        "forged-recover", "a line without effect names nothing", book.data, view(aside=[(3, 4), (6, 6)], believed=three)
    )


def quarrelling_ledgers(put: Put) -> None:
    """Write ledgers in which keys revoke each other, or one is revoked and goes on."""
    three = {RETIRED: 3}
    thief = plain("thief-revokes-the-new-key", RETIRED).revoked(RETIRED, ACTIVE, 0).revoked(ACTIVE, RETIRED, 3)
    put(
        "thief-revokes-the-new-key",
        "of two keys that revoke each other the keyring's active one is heard first",
        thief.data,
        view(believed=three, aside=[(3, 3)]),
        view("before", ["retired"], believed={ACTIVE: 0}, aside=[(4, 4)]),
    )
    book = plain("mutual-both-active", PAIR).revoked(ACTIVE, PAIR, 3).revoked(PAIR, ACTIVE, 0)
    put(
        "mutual-both-active",
        "the weaker key takes the stronger one out for nobody, whichever spoke first",
        book.data,
        view("both", believed={ACTIVE: 0}, aside=[(3, 3)]),
    )
    book = plain("mutual-both-retired", RETIRED).revoked(OLD_PAIR, RETIRED, 3).revoked(RETIRED, OLD_PAIR, 0)
    book.recorded(ACTIVE, "r-2")
    seen = view("both-retired", believed=three, aside=[(4, 4)])
    put("mutual-both-retired", "of two alike the earlier line is heard", book.data, seen)
    book = plain("revoked-and-gone-on-beside", RETIRED).revoked(ACTIVE, RETIRED, 3)
    book.recorded(RETIRED, "forged").recorded(ACTIVE, "r-2")
    why = "an honest line after the forged ones does not make them count"
    put("revoked-and-gone-on-beside", why, book.data, view(believed=three, aside=[(4, 5)]))
    for name, first, then in [("revoked-twice", 5, 3), ("revoked-twice-in-vain", 3, 5)]:
        book = plain(name, RETIRED).recorded(RETIRED, "r-2").revoked(ACTIVE, RETIRED, first)
        book.revoked(ACTIVE, RETIRED, then)
        put(name, "the lowest number counts", book.data, view(believed=three, aside=[(3, 4)]))
    book = plain("revoked-and-gone-on", RETIRED).revoked(ACTIVE, RETIRED, 3).recorded(RETIRED, "r-2")
    why = "the last line that counts is the revocation"
    put("revoked-and-gone-on", why, book.data, view(believed=three, aside=[(4, 5)]))


# --- directories ---------------------------------------------------------------------------------


class Place:
    """A golden directory being written, with its ledger."""

    def __init__(self, root: Path, name: str, why: str, expect: dict[str, Vector], signer: Signer = ACTIVE) -> None:
        self.folder = root / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.expect, self.name, self.why = expect, name, why
        self.book = Book(name).create(signer)

    def file(self, run_id: str, lines: list[bytes], sig: bytes | None = None) -> None:
        """Write the files of a run."""
        path = self.folder / f"{run_id}.steps.jsonl"
        path.write_bytes(joined(lines))
        if sig is not None:
            path.with_name(path.name + ".sig").write_bytes(sig)

    def record(self, run_id: str, *signers: Signer, by: Signer | None = None, events: Signer = ACTIVE) -> "Place":
        """Write a run and its ledger lines, sealed by `signers`, the ledger by the first of them or `by`."""
        signers = signers or (ACTIVE,)
        lines = small(run_id, events)
        self.file(run_id, lines, seal(statement(run_id, lines), *signers))
        self.book.recorded(by or signers[0], run_id, statement(run_id, lines))
        return self

    def resume(self, run_id: str, *keys: bytes, by: Signer | None = None) -> "Place":
        """Write a run begun and gone on with under these keys, and its ledger lines, by the first and last or `by`."""
        lines = resumed(run_id, *keys)
        said = statement(run_id, lines)
        self.file(run_id, lines, seal(said, ACTIVE))
        self.book.add(by or keys[0], "open", **whose(run_id))
        self.book.add(by or ACTIVE, "seal", **whose(run_id), seal=json.loads(said))
        return self

    def close(self, *views: Vector, ledger: bool = True) -> None:
        """Write the ledger, and what is expected."""
        if ledger:
            (self.folder / "ledger.jsonl").write_bytes(self.book.data)
        self.expect[self.name] = {"why": self.why, "views": list(views)}


def runs(word: str = "intact", *names: str, **others: str) -> Vector:
    """Return the verdict on each run; an underscore in a name stands for a dash."""
    return dict.fromkeys(names or ("r-1",), word) | {name.replace("_", "-"): other for name, other in others.items()}


def directories(root: Path) -> None:
    """Write whole directories, and `expect.json`."""
    expect: dict[str, Vector] = {}

    def place(name: str, why: str, signer: Signer = ACTIVE) -> Place:
        return Place(root, name, why, expect, signer)

    sound_directories(place)
    resumed_directories(place)
    changed_directories(place)
    taken_away_directories(place)
    leaked_directories(place)
    misled_directories(place)
    write_json(root / "expect.json", expect)


Make = Callable[..., Place]


def sound_directories(place: Make) -> None:
    """Write directories in which nothing is wrong."""
    here = place("good", "two runs, and one that has not ended").record("r-1").record("r-2")
    live = written("live", base("live")[:2])
    here.file("live", live)
    here.book.add(ACTIVE, "open", **whose("live"))
    here.close(view(runs=runs("intact", "r-1", "r-2", live="live")))

    here = place("unfinished", "its recorder was killed between the seal and the ledger's line")
    lines = small("r-1")
    here.file("r-1", lines, seal(statement("r-1", lines)))
    here.book.add(ACTIVE, "open", **whose("r-1"))
    here.close(view(runs=runs()))

    here = place("torn-ledger", "the recorder of the last line was killed; runs are judged all the same").record("r-1")
    (here.folder / "ledger.jsonl").write_bytes(here.book.data + b'{"actor":"rec')
    here.close(view(ledger="torn", runs=runs()), ledger=False)

    why = "with the public key alone files and ledger verify; an HMAC key at hand changes nothing"
    here = place("public-key-only", why, PAIR).record("r-1", PAIR, ACTIVE)
    here.close(view("both", [], runs=runs()), view("both", runs=runs()))

    why = "the retired key's signature was replaced; its lines stay believed up to the revocation"
    here = place("rotated", why, RETIRED)
    here.record("r-1", ACTIVE, by=RETIRED, events=RETIRED)
    here.book.rotated(ACTIVE, reason="scheduled").revoked(ACTIVE, RETIRED, 4)
    known = {RETIRED: 4}
    here.close(
        view(believed=known, runs=runs()),
        view("revoked", ["active"], believed=known, runs=runs()),
        view("before", ["retired"], ledger="unknown-key", runs=runs("unknown-key")),
    )

    why = "old signatures were kept during an overlap: hosts with either keyring verify"
    here = place("rotated-old-kept", why, RETIRED)
    here.record("r-1", ACTIVE, RETIRED, by=RETIRED, events=RETIRED)
    here.close(
        view(runs=runs()),
        view("before", ["retired"], runs=runs()),
        view("revoked", aside=[(0, 2)], believed={RETIRED: 0}, ledger="revoked-key", runs=runs()),
    )

    here = place("archived-and-restored", "what was archived may come back, what was deleted may not")
    for run_id in ("r-1", "r-2", "r-3"):
        here.record(run_id)
        here.book.add(ACTIVE, "archive", **whose(run_id), archive="golden-20260102.tar")
    here.book.add(ACTIVE, "restore", **whose("r-1"), archive="golden-20260102.tar")
    here.book.add(ACTIVE, "delete", **whose("r-2"), reason="older than 30 days")
    for name in ("r-2.steps.jsonl", "r-2.steps.jsonl.sig", "r-3.steps.jsonl", "r-3.steps.jsonl.sig"):
        (here.folder / name).unlink()
    here.close(view(runs=runs()))

    here = place("recorded-again", "a run that was deleted, then recorded under the same id").record("r-1")
    here.book.add(ACTIVE, "delete", **whose("r-1"), reason="once more")
    lines = written("r-1", [start(file_id=file_id_of("again")), end(done=0)])
    said = statement("r-1", lines, file_id=file_id_of("again"))
    here.book.add(ACTIVE, "open", file_id=file_id_of("again"), run_id="r-1")
    here.book.add(ACTIVE, "seal", file_id=file_id_of("again"), run_id="r-1", seal=json.loads(said))
    here.file("r-1", lines, seal(said))
    here.close(view(runs=runs()))


def resumed_directories(place: Make) -> None:
    """Write directories with runs that were killed and went on, under the same key or another one."""
    why = (
        "the old key was taken out of use on a schedule, after the runs that it began had been sealed with the new one"
    )
    here = place("resumed-across-a-rotation", why, RETIRED).resume("r-1", RETIRED, ACTIVE)
    here.resume("r-2", RETIRED, ACTIVE, RETIRED, by=ACTIVE)
    here.book.rotated(ACTIVE, reason="scheduled").revoked(ACTIVE, RETIRED, 6)
    here.file("live", resumed("live", ACTIVE, RETIRED, ACTIVE)[:5])
    here.book.add(ACTIVE, "open", **whose("live"))
    seen: Vector = {"believed": {RETIRED: 6}, "runs": runs("intact", "r-1", "r-2", live="revoked-key")}
    alone = {**seen, "runs": runs("intact", "r-1", "r-2", live="unknown-key")}
    here.close(view(**seen), view("revoked", **seen), view("hmac", ["active"], **alone))

    why = "sealed when the old key had leaked: whoever had it could have made the lines that a run went on after"
    here = place("resumed-over-a-leaked-key", why, RETIRED).resume("r-1", RETIRED, ACTIVE)
    here.resume("same-key", RETIRED, RETIRED, by=ACTIVE).resume("between", ACTIVE, RETIRED, ACTIVE)
    here.resume("after", ACTIVE, ACTIVE).record("never-died", ACTIVE, events=RETIRED)
    lines = resumed("not-told", RETIRED, ACTIVE)
    here.file("not-told", lines, seal(statement("not-told", lines), ACTIVE))
    here.book.add(ACTIVE, "open", **whose("not-told"))
    here.resume("accepted", RETIRED, ACTIVE, by=ACTIVE)
    reason = "compared with a backup"
    lines = resumed("accepted", RETIRED, ACTIVE)
    who = {"actor": "reviewer", "at": SEALED_AT, "commit": None, "reason": reason}
    accepted = statement("accepted", lines, accepted=who, gen=1)
    here.file("accepted", lines, seal(accepted, ACTIVE))
    here.book.add(ACTIVE, "accept", **whose("accepted"), reason=reason, seal=json.loads(accepted))
    here.book.revoked(ACTIVE, RETIRED, 2, "leaked")
    words = runs("revoked-key", "r-1", "same-key", "between", "not-told")
    here.close(view(believed={RETIRED: 2}, runs=words | runs("intact", "after", "never-died", "accepted")))


def changed_directories(place: Make) -> None:
    """Write directories in which somebody without a key moved files about."""
    here = place("unlisted-run", "a good file that the ledger does not know").record("r-1")
    lines = small("r-2")
    here.file("r-2", lines, seal(statement("r-2", lines)))
    here.close(view(runs=runs(r_2="unlisted")))

    for name, kept, word in [("accepted-run", 1, "intact"), ("rolled-back-run", 0, "rolled-back")]:
        here = place(name, "a new version was accepted; the files are those of version " + str(kept)).record("r-1")
        lines = small("r-1")
        accepted = {"actor": "reviewer", "at": SEALED_AT, "commit": None, "reason": "right"}
        versions = [statement("r-1", lines), statement("r-1", lines, accepted=accepted, gen=1)]
        here.book.add(ACTIVE, "accept", **whose("r-1"), reason="right", seal=json.loads(versions[1]))
        here.file("r-1", lines, seal(versions[kept]))
        here.close(view(runs=runs(word)))

    here = place("older-recording", "the files of a run that was deleted and recorded again are put back").record("r-1")
    here.book.add(ACTIVE, "delete", **whose("r-1"), reason="once more")
    here.book.add(ACTIVE, "open", file_id=file_id_of("again"), run_id="r-1")
    here.close(view(runs=runs("rolled-back")))

    here = place("other-seal", "a seal by the right key that the ledger has never seen").record("r-1")
    lines = small("r-1")
    here.file("r-1", lines, seal(statement("r-1", lines, sealed_at="2026-01-01T09:00:00.000000Z")))
    here.close(view(runs=runs("unlisted")))

    here = place("other-seal-of-an-open-run", "sealed as another file than the one that was opened")
    lines = written("r-1", [start(file_id=file_id_of("another")), end(done=0)])
    here.book.add(ACTIVE, "open", **whose("r-1"))
    here.file("r-1", lines, seal(statement("r-1", lines, file_id=file_id_of("another"))))
    here.close(view(runs=runs("unlisted")))

    here = place("unsealed-run", "cut before its end, and the seal is gone: the ledger says that it ended").record(
        "r-1"
    )
    here.file("r-1", small("r-1")[:1])
    (here.folder / "r-1.steps.jsonl.sig").unlink()
    here.close(view(runs=runs("unsealed")))

    here = place("unlisted-unsealed", "begun, or so it looks, and the ledger does not know it").record("r-1")
    here.file("r-2", small("r-2")[:1])
    here.close(view(runs=runs(r_2="live")))

    here = place("stripped-ed25519", "the stronger signature was taken off", PAIR).record("r-1", PAIR, ACTIVE)
    lines = small("r-1")
    here.file("r-1", lines, seal(statement("r-1", lines), ACTIVE))
    here.close(view("both", runs=runs("unknown-key")), view("both", [], runs=runs("unknown-key")))

    why = "an HMAC key alone signed the ledger's last lines: that is told, and keeps nobody from reading"
    here = place("weaker-tail", why, PAIR).record("r-1", PAIR, ACTIVE).record("r-2", PAIR, ACTIVE, by=ACTIVE)
    seen: Vector = {"ledger": "unknown-key", "tolerable": True}
    here.close(view("both", **seen, runs=runs("intact", "r-1", "r-2")))

    here = place("aos-file", "a file without MACs, sealed as the AOS system does").record("r-1")
    event = {"data": {}, "event_type": "run_start", "run_id": "old", "timestamp": "2026-01-01T00:00:00Z"}
    here.file("old", [canonical(event).encode()], b"0" * 64)
    here.close(view(runs=runs(old="unlisted")))

    here = place("changed-ledger", "of a ledger that was changed nothing is believed").record("r-1").record("r-2")
    changed = here.book.data.replace(b"T00:01:00", b"T00:01:09", 1)
    (here.folder / "ledger.jsonl").write_bytes(changed)
    here.close(view(ledger="tampered", runs=runs("intact", "r-1", "r-2")), ledger=False)


def taken_away_directories(place: Make) -> None:
    """Write directories from which something is gone."""
    here = place("missing-run", "file and seal are gone").record("r-1").record("r-2")
    for name in ("r-2.steps.jsonl", "r-2.steps.jsonl.sig"):
        (here.folder / name).unlink()
    here.close(view(runs=runs(r_2="missing")))

    here = place("missing-file", "the file is gone, its seal is not").record("r-1").record("r-2")
    (here.folder / "r-2.steps.jsonl").unlink()
    here.close(view(runs=runs(r_2="missing")))

    here = place("quarantined", "a forged run was set apart; the ledger says so").record("r-1").record("forged")
    here.book.add(ACTIVE, "quarantine", **whose("forged"), reason="forged")
    for name in ("forged.steps.jsonl", "forged.steps.jsonl.sig"):
        (here.folder / name).unlink()
    here.close(view(runs=runs()))

    here = place("quarantined-and-back", "what was set apart lies there again").record("r-1").record("forged")
    here.book.add(ACTIVE, "quarantine", **whose("forged"), reason="forged")
    here.close(view(runs=runs(forged="unlisted")))

    here = place("ledger-gone", "without a ledger each file is judged alone").record("r-1")
    here.close(
        view(runs=runs()),
        view(remembered=here.book.anchor(), ledger="missing", runs=runs()),
        view(anchor=here.book.anchor(), ledger="missing", runs=runs()),
        view(revoked=[RETIRED], runs=runs()),
        ledger=False,
    )

    here = place("ledger-cut", "the newest lines are gone, and the run they speak of").record("r-1").record("r-2")
    full, lines = here.book.anchor(), here.book.lines
    here.book.lines = lines[:3]
    for name in ("r-2.steps.jsonl", "r-2.steps.jsonl.sig"):
        (here.folder / name).unlink()
    seen: Vector = {"ledger": "rolled-back", "runs": runs()}
    here.close(view(runs=runs()), view(anchor=full, **seen), view(remembered=full, **seen))

    here = place("ledger-cut-only", "the newest lines are gone, their run is not").record("r-1").record("r-2")
    full, lines = here.book.anchor(), here.book.lines
    here.book.lines = lines[:3]
    seen = {"runs": runs(r_2="unlisted")}
    here.close(view(**seen), view(anchor=full, ledger="rolled-back", **seen))

    anchor = Book("new-dir-id-before").create(ACTIVE).anchor()
    here = place("new-dir-id", "directory and ledger are new: only an anchor or a memory tells").record("r-1")
    seen = {"ledger": "rolled-back", "runs": runs()}
    here.close(view(runs=runs()), view(anchor=anchor, **seen), view(remembered=anchor, **seen))


def old(place: Make, name: str, why: str) -> Place:
    """Return a directory with one run, everything in it by the old key."""
    return place(name, why, RETIRED).record("r-1", RETIRED, events=RETIRED)


def leaked_directories(place: Make) -> None:
    """Write directories of somebody whose old HMAC key leaked; the new one is active."""
    three = {RETIRED: 3}
    aside: Vector = {"believed": three, "aside": [(3, 4)]}

    here = old(place, "leaked-key-unnoticed", "until it is revoked, whoever has the key can forge")
    here.record("forged", RETIRED, events=RETIRED)
    honest = here.book.anchor(3)
    here.close(
        view(runs=runs(forged="intact")),
        view(anchor=honest, runs=runs(forged="intact")),
        view(leaked=three, anchor=honest, **aside, runs=runs("revoked-key", "r-1", "forged")),
    )

    here = old(place, "leaked-key-forged-run", "r-1 was proven by the ledger and sealed anew, the forged run was not")
    here.record("forged", RETIRED, events=RETIRED)
    here.book.revoked(ACTIVE, RETIRED, 3, "leaked").rotated(ACTIVE)
    lines = small("r-1", RETIRED)
    here.file("r-1", lines, seal(statement("r-1", lines)))
    seen: Vector = {**aside, "runs": runs(forged="revoked-key")}
    here.close(
        view(**seen),
        view("revoked", **seen),
        view("hmac", ["active"], **seen),
        view(anchor=honest_anchor(here), **seen),
    )

    here = old(place, "leaked-key-recovered", "the forged run was set apart, its lines were named")
    here.book.recorded(RETIRED, "forged").revoked(ACTIVE, RETIRED, 3, "leaked").rotated(ACTIVE)
    here.book.add(ACTIVE, "quarantine", **whose("forged"), reason="forged")
    here.book.add(ACTIVE, "recover", lines=[{"first": 3, "last": 4}], reason="forged")
    here.file("r-1", lines, seal(statement("r-1", lines)))
    here.close(view(believed=three, runs=runs()))

    why = "r-1 was rewritten and sealed anew by the thief; the ledger's believed lines know another file"
    here = old(place, "leaked-key-rewritten-run", why)
    lines = written("r-1", [start(RETIRED, file_id=file_id_of("r-1"), seed=666), end(done=0)])
    forged = statement("r-1", lines)
    here.book.add(RETIRED, "seal", **whose("r-1"), seal=json.loads(forged)).revoked(ACTIVE, RETIRED, 3, "leaked")
    here.file("r-1", lines, seal(forged, RETIRED))
    seen = {"believed": three, "aside": [(3, 3)]}
    here.close(view(**seen, runs=runs("revoked-key")))

    why = "the same with a seal that the new key signed, as a rotation would have done that trusts the old signature"
    here = old(place, "laundered-run", why)
    here.book.add(RETIRED, "seal", **whose("r-1"), seal=json.loads(forged)).revoked(ACTIVE, RETIRED, 3, "leaked")
    here.file("r-1", lines, seal(forged, ACTIVE))
    here.close(view(**seen, runs=runs("unlisted")))


def misled_directories(place: Make) -> None:
    """Write directories whose ledger or keyring the thief of the old key has turned against their owner."""
    three = {RETIRED: 3}
    seen: Vector = {"believed": three, "aside": [(3, 3)]}

    here = old(place, "forged-delete", "a line that deletes is set aside: the run is missed")
    here.book.add(RETIRED, "delete", **whose("r-1"), reason="old").revoked(ACTIVE, RETIRED, 3, "leaked")
    for name in ("r-1.steps.jsonl", "r-1.steps.jsonl.sig"):
        (here.folder / name).unlink()
    here.close(view(**seen, runs=runs("missing")))

    here = old(place, "thief-revokes-the-new-key", "the new key is active in the keyring, so it is heard first")
    here.book.revoked(RETIRED, ACTIVE, 0).revoked(ACTIVE, RETIRED, 3, "leaked")
    lines = small("r-1", RETIRED)
    here.file("r-1", lines, seal(statement("r-1", lines)))
    here.close(view(**seen, runs=runs()))

    why = "everything is the thief's: without an anchor from outside nobody can tell"
    here = place("all-forged", why, RETIRED).record("r-1", RETIRED, events=RETIRED)
    anchor = Book("all-forged").create(RETIRED).recorded(RETIRED, "other").anchor()
    seen = {"ledger": "rolled-back", "runs": runs()}
    here.close(view(runs=runs()), view(anchor=anchor, **seen), view(remembered=anchor, **seen))

    why = "the ledger says that the key is revoked, the keyring was set back: the more severe counts"
    here = old(place, "unrevoked-in-the-keyring", why)
    here.record("live", RETIRED, events=RETIRED)
    here.file("live", small("live", RETIRED)[:1])
    (here.folder / "live.steps.jsonl.sig").unlink()
    here.book.lines.pop()
    here.book.revoked(ACTIVE, RETIRED, 4)
    here.close(view(believed={RETIRED: 4}, runs=runs("revoked-key", "live", "r-1")))


def honest_anchor(place: Place) -> str:
    """Return the anchor from before the leak."""
    return place.book.anchor(3)


# --- vectors -------------------------------------------------------------------------------------


def ledger_vectors() -> tuple[str, list[Vector]]:
    """Return a line of every operation with every member, and lines that are refused whatever stands before them."""
    about = (
        "`line` is an exact line with its LF, in the ledger of the directory `dir_id`, signed by the HMAC `secret`"
        " or the Ed25519 private key `seed` (hex); `k_ledger` is the derived key (hex). `expect` has what is signed"
        " (`pae`, hex), the signature and the line's members. Then lines to be refused for their form, wherever they"
        " stand; their signature, where there is one, is right for their bytes."
    )
    found: list[Vector] = []
    for signer in (ACTIVE, PAIR):
        for name, op, members in operations():
            book = Book("vectors")
            line = book.add(signer, op, **members).lines[0]
            said = json.loads(line[: line.rindex(b',"mac"')] + b"}")
            body = line[: line.rindex(b',"mac"')]
            keys: Vector = {"seed": signer.hex()}
            if not isinstance(signer, Seed):
                keys = {"secret": signer.decode(), "k_ledger": ledger_key(signer, book.dir_id).hex()}
            given = {"name": f"{name}, {named(signer)[0]}", "dir_id": book.dir_id, **keys, "line": line.decode() + "\n"}
            pae_hex = ledger_message(book.dir_id, body).hex()
            mac = line[line.rindex(b':"') + 2 : -2].decode()
            found.append(given | {"expect": {"pae": pae_hex, "mac": mac, "members": said}})
    return about, found + refused_ledger_lines()


def operations() -> list[tuple[str, str, Event]]:
    """Return (name, operation, members) of lines that between them have every member."""
    said = json.loads(statement("r-1", small("r-1")))
    accepted = said | {"accepted": {"actor": "reviewer", "at": SEALED_AT, "commit": "0" * 40, "reason": "right"}}
    accepted["gen"] = 1
    whom, key = whose("r-1"), dict(zip(("alg", "key"), named(RETIRED), strict=True))
    pair = dict(zip(("alg", "key"), named(PAIR), strict=True))
    rotation: Event = {"keys": [named(PAIR)[1], named(ACTIVE)[1]], "reason": "compromised"}
    dropped = {"bytes": 6, "sha256": sha256(b'{"acto')}
    lost = {"dir_id": dir_id_of("before"), "hash": sha256(b"its last line"), "lines": 12}
    spans = [{"first": 3, "last": 4}, {"first": 9, "last": 9}]
    return [
        ("create", "create", {"dir_id": dir_id_of("vectors")}),
        ("open", "open", whom),
        ("seal", "seal", whom | {"seal": said}),
        ("seal of an accepted run", "seal", whom | {"seal": accepted}),
        ("accept", "accept", whom | {"reason": "the new mean is right \u2013 see #7", "seal": accepted}),
        ("archive", "archive", whom | {"archive": "golden-20260102.tar"}),
        ("restore", "restore", whom | {"archive": "golden-20260102.tar"}),
        ("delete", "delete", whom | {"reason": "older than 30 days"}),
        ("delete, file_id not known", "delete", whom | {"file_id": None, "reason": ""}),
        ("quarantine", "quarantine", whom | {"reason": "forged"}),
        ("quarantine, file_id not known", "quarantine", whom | {"file_id": None, "reason": "no header"}),
        ("key active", "key", pair | {"reason": None, "state": "active"}),
        ("key retired", "key", key | {"reason": "replaced", "state": "retired"}),
        ("key revoked", "key", key | {"believed": 3, "reason": "leaked", "state": "revoked"}),
        ("rotate", "rotate", rotation | {"note": None, "outcomes": {"resealed": 999, "unproven": 3}}),
        (
            "rotate, nothing there",
            "rotate",
            rotation | {"keys": [], "note": "x", "outcomes": {}, "reason": "scheduled"},
        ),
        ("recover, a torn line", "recover", {"dropped": dropped, "reason": "the last line was incomplete"}),
        ("recover, lines", "recover", {"lines": spans, "reason": "forged"}),
        ("recover, a ledger lost", "recover", {"lost": lost, "reason": "the disk died"}),
        ("recover, all", "recover", {"dropped": dropped, "lines": spans, "lost": lost, "reason": "all of it"}),
        ("recover, nothing", "recover", {"reason": "seen"}),
    ]


def refused_ledger_lines() -> list[Vector]:
    """Return lines that are refused for their form."""
    found: list[Vector] = []
    book = Book("vectors")
    good = {name: book.said(ACTIVE, op) | members for name, op, members in operations()}

    def put(name: str, line: bytes) -> None:
        given: Vector = {"name": f"refused: {name}", "dir_id": book.dir_id, "secret": ACTIVE.decode()}
        try:
            given["line"] = line.decode() + "\n"
        except UnicodeDecodeError:
            given["line_hex"] = (line + b"\n").hex()
        found.append(given | {"expect": {"refused": True}})

    def body(name: str, text: bytes) -> None:
        put(name, text + b',"mac":"' + mac_of(ACTIVE, book.dir_id, text).encode() + b'"}')

    def says(name: str, which: str, **changes: object) -> None:
        body(name, canonical(good[which] | changes).encode()[:-1])

    for which, said in good.items():
        if "," not in which:
            optional = {"believed"} if which == "key revoked" else set()
            for member in sorted(said.keys() - optional - {"op"}):
                body(f"{which} without {member}", canonical({n: said[n] for n in said if n != member}).encode()[:-1])
            says(f"{which} with a member too many", which, note_="x")
    for name, which, changes in WRONG:
        says(name, which, **changes)
    says("seal: v as text", "seal", seal=good["seal"]["seal"] | {"v": "1"})
    says("seal: v 2", "seal", seal=good["seal"]["seal"] | {"v": 2})
    says("seal: a statement of another run", "seal", seal=good["seal"]["seal"] | {"run_id": "r-2"})
    says("seal: a statement of another file", "seal", seal=good["seal"]["seal"] | {"file_id": "0" * 32})
    says("accept: a statement of another run", "accept", run_id="r-2")
    says("seal: a statement with a member too many", "seal", seal=good["seal"]["seal"] | {"x": 0})
    says("accept: a statement without sha256", "accept", seal={"v": 1})
    text = canonical(good["open"]).encode()[:-1]
    body("no op", canonical({n: m for n, m in good["open"].items() if n != "op"}).encode()[:-1])
    body("a space", text.replace(b":", b": ", 1))
    body("an escape nobody needs", text.replace(b"recorder", b"re\\u0063order", 1))
    body("a member twice", text.replace(b'"op"', b'"op":"open","op"', 1))
    body("members out of order", text.replace(b'{"actor":"recorder@host",', b"{", 1) + b',"actor":"recorder@host"')
    body("byte order mark", b"\xef\xbb\xbf" + text)
    body("not UTF-8", text.replace(b"recorder", b"recorder\xb0", 1))
    body("a surrogate in UTF-8", text.replace(b"recorder", b"recorder\xed\xa0\x80", 1))
    body("no object", b"[1")
    whole = Book("vectors").add(ACTIVE, "open", **whose("r-1")).lines[0]
    for name, line in {
        "no mac": text + b"}",
        "mac of 42 characters": whole[:-3] + whole[-2:],
        "mac of 44 characters": whole[:-2] + b'A"}',
        "mac not last": whole[:-1] + b',"x":0}',
        "CR before LF": whole + b"\r",
        "a space after": whole + b" ",
        "an empty line": b"",
        "two objects": whole + whole,
    }.items():
        put(name, line)
    return found


# Name, line that is changed, members instead.
WRONG: list[tuple[str, str, Event]] = [
    ("an operation nobody knows", "open", {"op": "opened"}),
    ("op in upper case", "open", {"op": "Open"}),
    ("another op than its members", "open", {"op": "create"}),
    ("seq as text", "open", {"seq": "0"}),
    ("seq as a float", "open", {"seq": 0.0}),
    ("seq negative", "open", {"seq": -1}),
    ("seq true", "open", {"seq": True}),
    ("prev in upper case", "open", {"prev": "A" * 64}),
    ("prev of 63 characters", "open", {"prev": "0" * 63}),
    ("kid in upper case", "open", {"kid": "A" * 16}),
    ("time in milliseconds", "open", {"timestamp": "2026-01-02T00:00:00.000Z"}),
    ("actor null", "open", {"actor": None}),
    ("file_id null", "open", {"file_id": None}),
    ("run_id that is none", "open", {"run_id": "../r-1"}),
    ("run_id with two dots", "open", {"run_id": "r..1"}),
    ("dir_id of 31 characters", "create", {"dir_id": "0" * 31}),
    ("reason null", "delete", {"reason": None}),
    ("reason null in accept", "accept", {"reason": None}),
    ("another algorithm", "key revoked", {"alg": "ed448"}),
    ("another state", "key revoked", {"state": "lost"}),
    ("believed negative", "key revoked", {"believed": -1}),
    ("believed null", "key revoked", {"believed": None}),
    ("key in upper case", "key revoked", {"key": "A" * 16}),
    ("another reason for a rotation", "rotate", {"reason": "bored"}),
    ("keys as text", "rotate", {"keys": "0" * 16}),
    ("an outcome as text", "rotate", {"outcomes": {"resealed": "1"}}),
    ("an outcome negative", "rotate", {"outcomes": {"resealed": -1}}),
    ("no lines", "recover, lines", {"lines": []}),
    ("a span of one number", "recover, lines", {"lines": [{"first": 1}]}),
    ("a span of three", "recover, lines", {"lines": [{"first": 1, "last": 2, "x": 3}]}),
    ("dropped without sha256", "recover, a torn line", {"dropped": {"bytes": 1}}),
    ("lost without lines", "recover, a ledger lost", {"lost": {"dir_id": "0" * 32, "hash": "0" * 64}}),
]  # fmt: skip


def state_vectors() -> list[Vector]:
    """Return seals by keys of both algorithms and all states, with the verdict on a good file."""
    lines = written("good", base("good"))
    said = statement("good", lines)

    def by(*signers: Signer, wrong: Signer | None = None, alg: str = "") -> str:
        text = seal(said, *signers).decode() if signers else said + "\n"
        if wrong is not None:
            own = json.loads(signature(wrong, said))
            other = json.loads(signature(wrong, said + " "))
            text += canonical(own | {"sig": other["sig"]} | ({"alg": alg} if alg else {})) + "\n"
        return text

    relabelled = {"alg": "ed25519", "kid": named(ACTIVE)[1], "sig": json.loads(signature(PAIR, said))["sig"]}
    cases: list[tuple[str, str, list[str], str, str]] = [
        ("both algorithms", "both", HOLDS, by(PAIR, ACTIVE), "intact"),
        ("both algorithms, public key only", "both", [], by(PAIR, ACTIVE), "intact"),
        ("Ed25519 alone", "both", [], by(PAIR), "intact"),
        ("HMAC alone where Ed25519 is active", "both", HOLDS, by(ACTIVE), "unknown-key"),
        ("a retired HMAC key where Ed25519 is active", "both", HOLDS, by(RETIRED), "unknown-key"),
        ("Ed25519 signature bad, HMAC good", "both", HOLDS, by(ACTIVE, wrong=PAIR), "tampered"),
        ("HMAC signature bad, Ed25519 good", "both", HOLDS, by(PAIR, wrong=ACTIVE), "tampered"),
        ("HMAC signature bad, its secret not at hand", "both", [], by(PAIR, wrong=ACTIVE), "intact"),
        ("an HMAC kid called Ed25519", "both", HOLDS, f"{said}\n{canonical(relabelled)}\n", "tampered"),
        ("a retired Ed25519 key where only HMAC is active", "both-retired", HOLDS, by(OLD_PAIR), "unknown-key"),
        ("that with an active HMAC key beside it", "both-retired", HOLDS, by(OLD_PAIR, ACTIVE), "intact"),
        ("a retired HMAC key", "both-retired", HOLDS, by(RETIRED), "intact"),
        ("a revoked HMAC key", "revoked", HOLDS, by(RETIRED), "revoked-key"),
        ("a revoked key whose signature is bad", "revoked", HOLDS, by(wrong=RETIRED), "revoked-key"),
        ("a revoked key, and the active one", "revoked", HOLDS, by(RETIRED, ACTIVE), "intact"),
        ("a revoked key, and one that nobody knows", "revoked", HOLDS, by(RETIRED, UNKNOWN), "revoked-key"),
        ("a revoked Ed25519 key, HMAC, not the active one", "pair-revoked", HOLDS, by(OLD_PAIR, ACTIVE), "unknown-key"),
        ("a revoked Ed25519 key alone", "pair-revoked", HOLDS, by(OLD_PAIR), "revoked-key"),
        ("no key is active, a retired HMAC key", "none-active", HOLDS, by(RETIRED), "intact"),
        ("no key is active, a retired Ed25519 key", "none-active", [], by(OLD_PAIR), "intact"),
        ("a key of the keyring whose secret is not at hand", "hmac", [], by(ACTIVE), "unknown-key"),
    ]  # fmt: skip
    return [
        {"name": f"state: {name}", "beside": "good", "keyring": keyring, "secrets": held, "sig": text}
        | {"expect": {"verdict": verdict}}
        for name, keyring, held, text, verdict in cases
    ]


def ed25519_vectors() -> tuple[str, list[Vector]]:
    """Return the published cases of Ed25519."""
    about = (
        "RFC 8032, section 7.1, tests 1, 2, 3 and SHA(abc), typed in; everything is hex. Then signatures to be refused."
    )
    order = 2**252 + 27742317777372353535851937790883648493
    found: list[Vector] = []
    for name, seed, public, message, signature_ in RFC_8032:
        if ed25519_sign(bytes.fromhex(seed), bytes.fromhex(message)).hex() != signature_:
            raise ValueError(name)
        given = {"seed": seed, "public": public, "message": message, "signature": signature_}
        found.append({"name": f"RFC 8032 7.1 {name}"} | given | {"expect": {"good": True}})
    _, _, public, message, good = RFC_8032[1]
    share = int.from_bytes(bytes.fromhex(good[64:]), "little")
    for name, key, text, sig in [
        ("another message", public, "73", good),
        ("another key", RFC_8032[0][2], message, good),
        ("a bit of R", public, message, f"{int(good[:2], 16) ^ 1:02x}{good[2:]}"),
        ("a bit of S", public, message, good[:64] + f"{int(good[64:66], 16) ^ 1:02x}" + good[66:]),
        ("S and the order: not the one way to write it", public, message,
         good[:64] + (share + order).to_bytes(32, "little").hex()),
        ("63 bytes", public, message, good[:-2]),
        ("nothing", public, message, ""),
        ("all zero", public, message, "00" * 64),
    ]:  # fmt: skip
        given = {"public": key, "message": text, "signature": sig}
        found.append({"name": f"refused: {name}"} | given | {"expect": {"good": False}})
    return about, found


RFC_8032 = [
    ("TEST 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     ("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
      "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")),
    ("TEST 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     ("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")),
    ("TEST 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     ("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
      "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")),
    ("TEST SHA(abc)", "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
     "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     ("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"),
     ("dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
      "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704")),
]  # fmt: skip
