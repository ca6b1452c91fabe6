"""Writes the fixtures that carry an expected answer: vectors, recordings, test secrets.

Run it as `python -m tests.make_fixtures [FOLDER]` (default: `fixtures`). Everything in it is fixed,
so a second run changes nothing. It rests on the independent verifier, never on the product. It will
not decide what is right by asking that verifier: each verdict and each damaged line is stated here.
"""

import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests import make_ledgers
from tests.fixture_runs import (
    ACTIVE,
    FAULT,
    INPUTS,
    OLD_PAIR,
    OUTPUTS,
    PAIR,
    RETIRED,
    ROWS,
    SEALED_AT,
    SECRETS,
    STATUSES,
    STEPS,
    UNKNOWN,
    Event,
    Vector,
    base,
    chained,
    derive_seed,
    effect,
    end,
    failed,
    file_id_of,
    golden,
    joined,
    named,
    numbered,
    resume,
    seal,
    sha256,
    signature,
    skipped,
    start,
    statement,
    step,
    stranger,
    without,
    write_json,
    written,
)
from tests.primitives import (
    SUFFIX_LENGTH,
    b64,
    canonical,
    digest,
    ed25519_kid,
    ed25519_pem,
    ed25519_public,
    event_key,
    hkdf,
    kid_of,
    ledger_key,
    mac_of,
    pae,
    seal_key,
    sign,
)

# --- recordings ----------------------------------------------------------------------------------


class Shelf:
    """A folder of recordings with what each is expected to be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expect: dict[str, Vector] = {}

    def put(
        self, name: str, verdict: str, why: str, data: bytes | None, sig: bytes | None = None, bad: int = -1
    ) -> None:
        """Write a recording; `bad` is the number of the first line the chain refuses."""
        path = self.folder / f"{name}.steps.jsonl"
        if data is not None:
            path.write_bytes(data)
        if sig is not None:
            path.with_name(path.name + ".sig").write_bytes(sig)
        offset = len(joined((data or b"").split(b"\n")[: max(bad, 0)]))
        first_bad = {"event": bad, "offset": offset} if bad >= 0 else None
        self.expect[name] = {"first_bad": first_bad, "verdict": verdict, "why": why}

    def sealed(self, name: str, verdict: str, why: str, change: Callable[[bytes], bytes], bad: int) -> None:
        """Write the good run changed behind its seal's back."""
        lines = written(name, base(name))
        self.put(name, verdict, why, change(joined(lines)), seal(statement(name, lines)), bad)

    def live(self, name: str, verdict: str, why: str, events: list[Event | bytes], bad: int = -1) -> None:
        """Write an unfinished run, every line with a MAC that is right for its bytes."""
        self.put(name, verdict, why, joined(chained(events)), bad=bad)

    def close(self) -> None:
        """Write `expect.json`."""
        write_json(self.folder / "expect.json", self.expect)


def recordings(folder: Path) -> None:
    """Write every recording of format v1."""
    shelf = Shelf(folder)
    good_ones(shelf)
    damaged_ones(shelf)
    badly_sealed_ones(shelf)
    unsealed_ones(shelf)
    defective_live_ones(shelf)
    headless_and_stripped_ones(shelf)
    shelf.close()


def good_ones(shelf: Shelf) -> None:
    """Write the recordings that are intact."""

    def put(name: str, events: list[Event], why: str, *secrets: bytes, more: str = "", **said: object) -> None:
        lines = written(name, events)
        shelf.put(name, "intact", why, joined(lines), seal(statement(name, lines, **said), *secrets, more=more))

    put("good", base("good"), "three steps and one effect, sealed by the active key")
    events = [start(file_id=file_id_of("good-failed")), effect(), step(0), failed(1), skipped(2)]
    put("good-failed", [*events, end("failed", 1)], "a failed run is a good recording of a failure")
    for name, before in (("good-resumed-same-key", ACTIVE), ("good-resumed-new-key", RETIRED)):
        first = base(name, before)[:3]
        again = resume(ACTIVE, file_id_of(name), written(name, first), 1, dropped=b'{"data":{"attem')
        why = "the second half stands under the key its run_resume names"
        put(name, [*first, again, step(1), step(2), end()], why)
    name = "good-resumed-twice"
    events = [start(RETIRED, file_id=file_id_of(name)), effect(), effect(call=1)]
    events.append(resume(ACTIVE, file_id_of(name), written(name, events), 0, dropped=b"{"))
    events.append(effect())
    events.append(resume(ACTIVE, file_id_of(name), written(name, events), 0))
    why = "killed twice within a step: the effects before its resumption are not of its record"
    put(name, [*events, effect(), step(0), step(1), step(2), end()], why)
    name = "retired-key-seal"
    put(name, base(name, RETIRED), "a retired key still verifies what it sealed", RETIRED)
    name = "reseal-new-key"
    put(name, base(name, RETIRED), "rotation replaced the signature line; the event MACs stay", ACTIVE)
    name = "two-signatures"
    put(name, base(name), "one good signature is enough; the other key is not at hand", more=stranger())
    name = "two-hmac-signatures"
    put(name, base(name), "signatures of the active and of the retired key, both good", RETIRED, ACTIVE)
    name = "accepted"
    accepted = {"actor": "reviewer", "at": SEALED_AT, "commit": None, "reason": "the new mean is right"}
    put(name, base(name), "an acceptance raises gen and names who, when, why", accepted=accepted, gen=1)


def damaged_ones(shelf: Shelf) -> None:
    """Write files changed after they were sealed."""

    def lines_of(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
        return lambda data: joined(change(data.split(b"\n")[:-1]))

    seed, other = (str(derive_seed(20260101, index)).encode() for index in (1, 2))
    swap = lines_of(lambda ls: [*ls[:3], ls[4], ls[3], ls[5]])
    extra = canonical(numbered("appended-line", [*base("appended-line"), step(2)])[-1]).encode()[:-1]
    extra += b',"mac":"' + b"A" * 43 + b'"}'
    longer, shorter = "a byte was changed, the length stayed", "shorter than the seal says"
    cases: list[tuple[str, str, str, Callable[[bytes], bytes], int]] = [
        ("flipped-byte-in-output", "tampered", longer, lambda d: d.replace(b"11.7 \xc2", b"17.1 \xc2"), 4),
        (
            "changed-digit-in-seed",
            "tampered",
            longer,
            lambda d: d.replace(seed, seed[:-1] + bytes([seed[-1] ^ 1])),
            3,
        ),
        (
            "changed-timing",
            "tampered",
            "timing is outside every hash, but under the MAC",
            lambda d: d.replace(b'"duration_us":801', b'"duration_us":108'),
            3,
        ),
        (
            "swapped-seeds",
            "tampered",
            "two steps exchanged their seeds",
            lambda d: d.replace(seed, b"?").replace(other, seed).replace(b"?", other),
            3,
        ),
        ("changed-mac", "tampered", "only a MAC was changed", change_mac, 2),
        ("line-swapped", "tampered", "two lines changed places", swap, 3),
        (
            "line-duplicated",
            "tampered",
            "longer than the seal says",
            lines_of(lambda ls: [*ls[:3], *ls[2:]]),
            3,
        ),
        (
            "line-dropped",
            "truncated",
            shorter + "; the chain shows the gap",
            lines_of(lambda ls: ls[:2] + ls[3:]),
            2,
        ),
        (
            "first-line-dropped",
            "truncated",
            shorter + "; no header is left",
            lines_of(lambda ls: ls[1:]),
            0,
        ),
        ("truncated-at-line", "truncated", shorter, lines_of(lambda ls: ls[:4]), -1),
        ("truncated-mid-line", "truncated", shorter, lambda d: d[:-100], -1),
        ("truncated-to-nothing", "truncated", shorter, lambda _: b"", -1),
        ("appended-line", "tampered", "a line after run_end", lines_of(lambda ls: [*ls, extra]), 6),
        (
            "stripped-mac-sealed",
            "truncated",
            shorter + "; no line has its MAC",
            lines_of(lambda ls: [line[:-SUFFIX_LENGTH] + b"}" for line in ls]),
            0,
        ),
        ("crlf-lines", "tampered", "every line ends CR LF", lambda d: d.replace(b"\n", b"\r\n"), 0),
        ("bom", "tampered", "a byte order mark before line 1", lambda d: b"\xef\xbb\xbf" + d, 0),
        (
            "header-renamed",
            "wrong-run",
            "the header names another run than the file",
            lambda d: d.replace(b'"run_id":"header-renamed"', b'"run_id":"header-altered"', 1),
            0,
        ),
    ]
    for name, verdict, why, change, bad in cases:
        shelf.sealed(name, verdict, why, change, bad)
    name = "spliced-two-runs"
    one, two = written(name, base(name)), written(name, base(name, file_id=file_id_of("another")))
    why = "the second half is another run of the same name and length"
    shelf.put(name, "tampered", why, joined(one[:3] + two[3:]), seal(statement(name, one)), 3)


def change_mac(data: bytes) -> bytes:
    """Return a file with the first character of line 2's MAC changed."""
    lines = data.split(b"\n")
    mac = bytearray(lines[2])
    mac[-45] = ord("B") if mac[-45] == ord("A") else ord("A")
    return b"\n".join([*lines[:2], bytes(mac), *lines[3:]])


def badly_sealed_ones(shelf: Shelf) -> None:
    """Write good files whose seal is wrong, foreign, or of another key."""

    def spoiled(name: str, lines: list[bytes]) -> bytes:
        whole = seal(statement(name, lines))
        return whole[:-4] + (b"A" if whole[-4:-3] != b"A" else b"E") + whole[-3:]

    def relabelled(name: str, lines: list[bytes]) -> bytes:
        kid, said = kid_of(ACTIVE), statement(name, lines)
        forged = {"alg": "ed25519", "kid": kid, "sig": b64(hashlib.sha512(b"forged").digest())}
        return f"{said}\n{canonical(forged)}\n".encode()

    good = written("good", base("good"))
    elsewhere = file_id_of("elsewhere")
    cases: list[tuple[str, str, str, Callable[[str, list[bytes]], bytes]]] = [
        (
            "unknown-seal-key",
            "unknown-key",
            "sealed by a key that is not at hand",
            lambda n, ls: seal(statement(n, ls), UNKNOWN),
        ),
        (
            "stranger-seal-only",
            "unknown-key",
            "only an Ed25519 key that is not at hand signed",
            lambda n, ls: (statement(n, ls) + "\n" + stranger()).encode(),
        ),
        ("seal-bad-signature", "tampered", "a known key's signature is not that key's", spoiled),
        (
            "seal-other-algorithm",
            "tampered",
            "a known HMAC kid under the name of Ed25519",
            relabelled,
        ),
        (
            "seal-one-good-one-bad",
            "tampered",
            "every signature of a known key must verify",
            lambda n, ls: seal(statement(n, ls), more=signature(RETIRED, "another statement") + "\n"),
        ),
        (
            "statement-edited",
            "tampered",
            "the time of sealing was changed, the signature was not",
            lambda n, ls: seal(statement(n, ls)).replace(b"00:01:00", b"00:01:01"),
        ),
        (
            "seal-from-another-run",
            "wrong-run",
            "a good seal of the run `good`",
            lambda _, __: seal(statement("good", good)),
        ),
        (
            "file-ids-differ",
            "wrong-run",
            "seal and header name different files",
            lambda n, ls: seal(statement(n, ls, file_id=elsewhere)),
        ),
        (
            "seal-too-long-claim",
            "truncated",
            "the seal counts one byte more than there is",
            lambda n, ls: seal(statement(n, ls, bytes=len(joined(ls)) + 1)),
        ),
        (
            "seal-newer-version",
            "unreadable",
            "a statement of version 2 is beyond this reader",
            lambda n, ls: seal(statement(n, ls, v=2)),
        ),
        (
            "seal-malformed-crlf",
            "tampered",
            "the seal's lines end CR LF",
            lambda n, ls: seal(statement(n, ls)).replace(b"\n", b"\r\n"),
        ),
        (
            "seal-64-hex",
            "tampered",
            "a seal of the AOS form beside a v1 header",
            lambda _, ls: hmac.new(ACTIVE, joined(ls), "sha256").hexdigest().encode(),
        ),
        ("seal-empty", "tampered", "an empty seal is malformed", lambda _, __: b""),
    ]
    for name, verdict, why, make in cases:
        lines = written(name, base(name))
        shelf.put(name, verdict, why, joined(lines), make(name, lines))
    shelf.put(
        "renamed-run",
        "wrong-run",
        "file and seal of `good`, renamed",
        joined(good),
        seal(statement("good", good)),
    )
    name = "unknown-key"
    lines = written(name, base(name, UNKNOWN))
    why = "written and sealed under a key that is not at hand"
    shelf.put(name, "unknown-key", why, joined(lines), seal(statement(name, lines), UNKNOWN))
    name = "unknown-event-key"
    lines = written(name, base(name, UNKNOWN))
    changed = joined(lines).replace(b"11.7 \xc2", b"17.1 \xc2")
    why = "changed under a good seal; no event key is at hand, so no line can be named"
    shelf.put(name, "tampered", why, changed, seal(statement(name, lines)))
    name = "seal-without-file"
    lines = written(name, base(name))
    shelf.put(name, "missing", "a seal whose file is gone", None, seal(statement(name, lines)))
    for name in ("_not-a-run-id", "not..a-run-id"):
        lines = written(name, base(name))
        shelf.put(name, "unreadable", "the stem is no run_id", joined(lines), seal(statement(name, lines)), 0)


def unsealed_ones(shelf: Shelf) -> None:
    """Write files without a seal that nobody has changed (or that look so)."""

    def put(name: str, verdict: str, why: str, change: Callable[[list[bytes]], bytes], bad: int = -1) -> None:
        shelf.put(name, verdict, why, change(written(name, base(name))), bad=bad)

    put("unsealed", "unsealed", "ended, and the seal is gone", joined)
    put(
        "unsealed-flipped-byte",
        "unsealed",
        "that the seal is gone is said before the chain is walked",
        lambda ls: joined(ls).replace(b"11.7 \xc2", b"17.1 \xc2"),
        4,
    )
    put("live", "live", "still being written: three good lines", lambda ls: joined(ls[:3]))
    put("live-header-only", "live", "begun: one good line", lambda ls: joined(ls[:1]))
    put("torn-tail", "torn", "the last line has no end", lambda ls: joined(ls[:3]) + ls[3][:200])
    put("torn-before-lf", "torn", "the last line lacks only its LF", lambda ls: joined(ls)[:-1])
    put("torn-and-tampered", "tampered", "a damaged line outranks a torn tail", torn_and_tampered, 1)
    put("empty", "torn", "no byte was written", lambda _: b"")
    put("no-complete-line", "torn", "half of the first line", lambda ls: ls[0][:300])
    name = "retired-key-live"
    shelf.put(name, "live", "begun under the retired key", joined(written(name, base(name, RETIRED)[:3])))
    name = "unknown-key-live"
    shelf.put(name, "unknown-key", "begun under a key not at hand", joined(written(name, base(name, UNKNOWN)[:3])))
    shelf.put(
        "wrong-run-live",
        "wrong-run",
        "the header names another run than the file",
        joined(written("live", base("live")[:3])),
    )
    name = "resumed-live"
    first = [start(RETIRED, file_id=file_id_of(name)), effect()]
    again = resume(ACTIVE, file_id_of(name), written(name, first), 0)
    shelf.put(name, "live", "killed again after it went on", joined(written(name, [*first, again, effect()])))
    name = "resumed-and-ended"
    first = base(name)[:3]
    again = resume(ACTIVE, file_id_of(name), written(name, first), 1)
    why = "killed between its last line and its seal, after it went on"
    shelf.put(name, "unsealed", why, joined(written(name, [*first, again, step(1), step(2), end()])))
    name = "unknown-resume-key-live"
    first = base(name)[:3]
    again = resume(UNKNOWN, file_id_of(name), written(name, first), 1)
    why = "good up to a run_resume under a key that is not at hand"
    shelf.put(name, "unknown-key", why, joined(written(name, [*first, again, step(1)])))


def torn_and_tampered(lines: list[bytes]) -> bytes:
    """Return a torn file with a changed effect."""
    changed = lines[1].replace(b"12.8", b"18.2", 1)
    return joined([lines[0], changed, lines[2]]) + lines[3][:200]


def defective_live_ones(shelf: Shelf) -> None:
    """Write unfinished files whose MACs are right for their bytes and whose form is wrong."""

    def put(
        name: str,
        why: str,
        change: Callable[[list[Event | bytes]], list[Event | bytes]],
        bad: int,
        verdict: str = "tampered",
    ) -> None:
        events: list[Event | bytes] = list(numbered(name, base(name)))
        shelf.live(name, verdict, why, change(events), bad)

    def raw(event: Event | bytes) -> bytes:
        return event if isinstance(event, bytes) else canonical(event).encode()[:-1]

    def with_seq(event: Event | bytes, seq: int) -> Event | bytes:
        return event if isinstance(event, bytes) else event | {"seq": seq}

    def respelled(old: bytes, new: bytes) -> Callable[[list[Event | bytes]], list[Event | bytes]]:
        return lambda es: [*es[:2], raw(es[2]).replace(old, new, 1)]

    put("duplicate-key-live", "a member stands twice", respelled(b'"seq":2', b'"seq":2,"seq":2'), 2)
    put("escaped-live", "an escape nobody needs", respelled(b'"Seattle"', b'"Se\\u0061ttle"'), 2)
    put("spaced-live", "a space after a colon", respelled(b'"seq":2', b'"seq": 2'), 2)
    put("unknown-member-live", "a member the format lacks", respelled(b'"seq":2', b'"seq":2,"sig":0'), 2)
    put("seq-gap-live", "3 follows 1", lambda es: [*es[:2], with_seq(es[3], 3)], 2)
    put("seq-repeated-live", "1 follows 1", lambda es: [*es[:2], with_seq(es[2], 1)], 2)
    put("two-run-starts-live", "a second header", lambda es: [*es[:2], with_seq(es[0], 2)], 2)
    put(
        "event-after-run-end-live",
        "nothing follows a run_end",
        lambda es: [*es, with_seq(es[4], 6)],
        6,
    )
    put(
        "run-id-differs-live",
        "a line of another run_id",
        respelled(b'"run_id":"run-id-differs-live"', b'"run_id":"run-id"'),
        2,
    )
    put("no-run-start-live", "the first line is no header", lambda es: [with_seq(es[2], 0)], 0)
    name = "resume-other-file-live"
    first = base(name)[:3]
    again = resume(ACTIVE, file_id_of("elsewhere"), written(name, first), 1)
    shelf.put(name, "tampered", "a run_resume of another file_id", joined(written(name, [*first, again])), bad=3)
    name = "resume-prefix-differs-live"
    first = base(name)[:3]
    again = resume(ACTIVE, file_id_of(name), written(name, first)[:2], 1)
    why = "a run_resume whose prefix is not what stands before it"
    shelf.put(name, "tampered", why, joined(written(name, [*first, again])), bad=3)
    name = "newer-version"
    newer = start(file_id=file_id_of(name)) | {"golden": golden(ACTIVE, file_id_of(name)) | {"v": 2}}
    why = "a header of version 2 is beyond this reader"
    shelf.put(name, "unreadable", why, joined(written(name, [newer, effect(), step(0)])))
    for name, verdict, levels, why in [
        ("deep-live", "live", 256, "nested as deep as may be: 256 levels, the line's object the first"),
        ("too-deep-live", "unreadable", 257, "nested one level deeper than the limit of 256"),
    ]:
        nest: Event = {}
        for _ in range(levels - 3):  # the line's object, data, and the innermost are levels too
            nest = {"n": nest}
        events = [start(file_id=file_id_of(name)), step(0, output=nest)]
        shelf.put(name, verdict, why, joined(written(name, events)))


def headless_and_stripped_ones(shelf: Shelf) -> None:
    """Write unfinished files that lack a header, MACs, or a line, or end their lines otherwise."""
    without_golden = {name: member for name, member in start().items() if name != "golden"}
    name = "header-without-golden-but-mac"
    shelf.put(name, "tampered", "a MAC, and nothing says whose", joined(written(name, [without_golden])), bad=0)
    name = "header-without-golden-mac-inside"
    inside = canonical(numbered(name, [without_golden | {"mac": "A" * 43}])[0]).encode()
    shelf.put(name, "tampered", "a MAC that is not last, and nothing says whose", joined([inside]), bad=0)
    name = "line-dropped-live"
    lines = written(name, base(name))
    shelf.put(name, "tampered", "a line is missing in the middle", joined([*lines[:2], *lines[3:5]]), bad=2)
    name = "stripped-mac"
    lines = [line[:-SUFFIX_LENGTH] + b"}" for line in written(name, base(name)[:5])]
    shelf.put(name, "tampered", "a v1 header, and no line has its MAC", joined(lines), bad=0)
    name = "stripped-to-aos"
    lines = [canonical(event).encode() for event in numbered(name, [without_golden, effect(), step(0)])]
    why = "neither golden nor MAC: the AOS form, which nobody lists in a v1 store (outside one: unsigned)"
    shelf.put(name, "unlisted", why, joined(lines))
    name = "crlf-live"
    lines = written(name, base(name)[:3])
    shelf.put(name, "tampered", "every line ends CR LF", joined(lines).replace(b"\n", b"\r\n"), bad=0)


AOS_README = """# Golden files of another system

These were written by the AOS workflow engine itself, not by this project: lines without a MAC, 16-hex
hashes, and a `.sig` of 64 hex characters, HMAC-SHA256 over all bytes. The secret is
`aos-legacy-example-secret-0123456789abcdef`; it was published for tests. `expect.json` says what each
file is when the folder is no v1 store and that secret is the one key.
"""
AOS_EXPECT = {
    "failed-1": ("intact", "a failed run, signed"),
    "good-1": ("intact", "two steps, signed"),
    "good-2": ("intact", "two steps, signed"),
    "tampered-1": ("tampered", "changed after signing, or signed with another secret"),
    "unsigned-1": ("unsigned", "never signed"),
}
RECORDINGS_README = """# Recordings of format v1

Each is named by its scenario or its defect; `expect.json` says what it is. They are judged one by one,
without a ledger, with `../../keyrings/active.secret` as the active key and `retired.secret` as the
retired one. `verdict` is the first match of the format's list of verdicts. `first_bad` is what the
chain alone says, whatever the verdict: the seq due at the first refused line and that line's offset;
null when no complete line is refused, or when the key of the lines is not at hand.
`python -m tests.make_fixtures` writes them; change that file, not these.
"""
KEYRINGS_README = """# Test secrets

Published: whoever reads this can forge what they sign. For tests only. A secret is the file's bytes
without its one trailing newline.

- `active.secret` (kid `{active}`) writes and seals the recordings.
- `retired.secret` (kid `{retired}`) verifies and starts nothing new.
- A third secret, kid `{unknown}`, stands only in `tests/fixture_runs.py`: some recordings are signed
  by it so that their key is not at hand.
- `pair.pem` (kid `{pair}`) and `old-pair.pem` (kid `{old_pair}`) are private Ed25519 keys.

Each `.toml` is a policy file over these keys. Which secrets are at hand is said where it is used.
"""
LEDGERS_README = """# Ledgers

Each file is what may lie in a directory as `ledger.jsonl`, named by its scenario or its defect. In `expect.json` each
has `views`: somebody judges it with the policy file `../keyrings/<keyring>.toml`, having the `secrets` named, and
knowing more or less of it:

- `anchor`: a line that was kept elsewhere. `remembered`: the anchor and the revoked kids that this host has seen.
- `leaked`: kid -> how many lines by that key are to be believed, as somebody says who deals with a leak.

`expect` then has `ledger` (a verdict, null where it is good), `tolerable` (whether its lines are believed, and runs
read, all the same), `aside` (first and last `seq` of lines without effect that no believed line names) and `believed`
(revoked kid -> how many lines by that key are believed).
A ledger that is `tampered` says nothing about the last two.
`python -m tests.make_fixtures` writes these files; change that, not them.
"""
DIRECTORIES_README = """# Directories

Each folder is a golden directory, named by what happened to it. `expect.json` has the same `views` as that of
`../ledgers`; `expect` has `runs` besides: the verdict on each run that lies there or should, as a check of the whole
directory reports it. A check of one run alone says instead of `intact` what the ledger is, unless that is good or
tolerable.
`python -m tests.make_fixtures` writes these files; change that, not them.
"""

# --- vectors -------------------------------------------------------------------------------------

# What any spelling of a float is written as; the right column is typed, not computed.
FLOATS = """
0.0 0.0 | -0.0 -0.0 | 0e0 0.0 | -0e5 -0.0 | 1.0 1.0 | -1.0 -1.0 | 1e0 1.0 | 1.10 1.1 | 0.5 0.5 | 2.5 2.5
100.0 100.0 | 1e2 100.0 | 1E5 100000.0 | 1e+5 100000.0 | 123.456 123.456 | 11.7 11.7 | 4.35 4.35 | 0.1 0.1
0.1000000000000000055511151231257827 0.1 | 0.2 0.2 | 0.30000000000000004 0.30000000000000004
0.3333333333333333 0.3333333333333333 | 0.6666666666666666 0.6666666666666666 | 47.1429 47.1429
3.141592653589793 3.141592653589793 | 2.718281828459045 2.718281828459045 | 299792458.0 299792458.0
1.4142135623730951 1.4142135623730951 | 123456789.123456789 123456789.12345679
0.001 0.001 | 0.0001 0.0001 | 1e-4 0.0001 | 0.00012345 0.00012345 | 1e-5 0.00001 | 0.00001 0.00001
-1e-5 -0.00001 | 1.5e-5 0.000015 | 1.2345678901234567e-5 0.000012345678901234568 | 9.9e-5 0.000099
9.999e-6 9.999e-6 | 0.000009999 9.999e-6 | -9.999e-6 -9.999e-6 | 1e-6 1e-6 | 0.000001 1e-6
1.0e-07 1e-7 | 1.5e-7 1.5e-7 | 1e-10 1e-10 | 1.602176634e-19 1.602176634e-19 | 1e-100 1e-100
1e15 1000000000000000.0 | 1.5e15 1500000000000000.0
2251799813685248.5 2251799813685248.5 | 4503599627370496.5 4503599627370496.0
9007199254740992.0 9007199254740992.0 | 9007199254740993.0 9007199254740992.0
9007199254740994.0 9007199254740994.0 | 9999999999999998.0 9999999999999998.0
-9999999999999998.0 -9999999999999998.0 | 1e16 1e16 | 10000000000000000.0 1e16 | 1E+16 1e16 | -1e16 -1e16
10000000000000002.0 1.0000000000000002e16 | 12345678901234567.0 1.2345678901234568e16
123456789012345680.0 1.2345678901234568e17 | 1e17 1e17 | 1e20 1e20 | 1e21 1e21 | 1e22 1e22 | 1e23 1e23
9.999999999999999e22 1e23 | 6.02214076e23 6.02214076e23
18446744073709552000.0 1.8446744073709552e19
5e-324 5e-324 | 4.9e-324 5e-324 | -5e-324 -5e-324 | 2.2250738585072014e-308 2.2250738585072014e-308
2.225073858507201e-308 2.225073858507201e-308 | 1e100 1e100 | 1e308 1e308
1.7976931348623157e308 1.7976931348623157e308 | -1.7976931348623157e308 -1.7976931348623157e308
"""
INTEGERS = [0, 1, -1, 10, 1 << 31, (1 << 53) - 1, 1 << 53, (1 << 53) + 1]
INTEGERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63)]
# Name, any spelling as JSON text, the canonical text.
SPELLINGS: list[tuple[str, str, str]] = [
    ("null", "null", "null"),
    ("true", "true", "true"),
    ("false", "false", "false"),
    ("spaces go", ' { "a" : [ 1 , 2 ] } ', '{"a":[1,2]}'),
    ("integer and float stay apart", "[1,1.0]", "[1,1.0]"),
    ("minus zero as an integer", "-0", "0"),
    ("empty list", "[ ]", "[]"),
    ("empty object", "{ }", "{}"),
    ("empty string", '""', '""'),
    ("empty name", '{"":0}', '{"":0}'),
    ("empty in empty", '{"a":{},"b":[],"c":[[],{}]}', '{"a":{},"b":[],"c":[[],{}]}'),
    ("null is not absent", '{"a":null}', '{"a":null}'),
    ("list order stays", "[3,1,2]", "[3,1,2]"),
    ("quote", r'"\u0022"', r'"\""'),
    ("backslash", r'"\u005c"', r'"\\"'),
    ("slash is not escaped", r'"\/\u002f"', '"//"'),
    ("short escapes", r'"\u0008\u000c\u000a\u000d\u0009"', r'"\b\f\n\r\t"'),
    ("other controls in lower-case hex", r'"\u0000\u000B\u000E\u001F"', r'"\u0000\u000b\u000e\u001f"'),
    ("delete is not escaped", r'"\u007f"', '"\x7f"'),
    ("C1 controls are not escaped", r'"\u0080\u009f"', '"\x80\x9f"'),
    ("letters are not escaped", r'"\u0041\u00e9"', '"Aé"'),
    ("markup is not escaped", r'"\u003c&\u003e\u0027"', "\"<&>'\""),
    ("line separators are not escaped", r'"\u2028\u2029"', '"\u2028\u2029"'),
    ("byte order mark inside a string stays", r'"a\ufeff"', '"a\ufeff"'),
    ("non-characters stay", r'"\ufffe\uffff"', '"\ufffe\uffff"'),
    ("bidi controls stay", r'"\u202e"', '"\u202e"'),
    ("emoji from a surrogate pair", r'"\ud83d\ude00"', '"\U0001f600"'),
    ("last code point", r'"\udbff\udfff"', '"\U0010ffff"'),
    ("composed and decomposed stay apart", r'["\u00e9","e\u0301"]', '["é","e\u0301"]'),
    ("names sorted", '{"b":1,"a":2}', '{"a":2,"b":1}'),
    ("upper case before lower", '{"a":1,"B":2,"A":3}', '{"A":3,"B":2,"a":1}'),
    ("digits as text", '{"9":1,"10":2,"1":3}', '{"1":3,"10":2,"9":1}'),
    ("a prefix before the longer name", '{"ab":1,"a":2,"":3}', '{"":3,"a":2,"ab":1}'),
    ("punctuation by code point", '{"_":1,"a":2,"Z":3,"-":4}', '{"-":4,"Z":3,"_":1,"a":2}'),
    ("beyond ASCII by code point", '{"é":1,"z":2,"ÿ":3,"Ā":4}', '{"z":2,"é":1,"ÿ":3,"Ā":4}'),
    ("astral after private use", r'{"\ud83d\ude00":1,"\ue000":2}', '{"\ue000":2,"\U0001f600":1}'),
    ("astral after U+FFFF", r'{"\ud800\udc00":1,"\uffff":2}', '{"\uffff":2,"\U00010000":1}'),
    ("composed and decomposed names", r'{"\u00e9":1,"e\u0301":2}', '{"e\u0301":2,"é":1}'),
    ("escaped names", r'{"\n":1,"\u0041":2,"\"":3}', r'{"\n":1,"\"":3,"A":2}'),
    ("every depth is sorted", '{"b":{"d":1,"c":[{"f":2,"e":3}]}}', '{"b":{"c":[{"e":3,"f":2}],"d":1}}'),
]  # fmt: skip
# Text that is no JSON, or that would not be given back by writing it again.
REFUSED: list[tuple[str, str]] = [
    ("duplicate names", '{"a":1,"a":2}'),
    ("duplicate names of one value", '{"a":1,"a":1}'),
    ("duplicate names, one escaped", r'{"a":1,"\u0061":2}'),
    ("duplicate names, deep", '[{"x":{"a":1,"a":1}}]'),
    ("names out of order", '{"b":1,"a":2}'),
    ("names in UTF-16 order", '{"\U0001f600":1,"\ue000":2}'),
    ("NaN", "NaN"),
    ("Infinity", "Infinity"),
    ("minus Infinity", "[-Infinity]"),
    ("a float beyond the largest", "1e400"),
    ("lone high surrogate", r'"\ud800"'),
    ("lone low surrogate", r'"\udc00"'),
    ("surrogates the wrong way round", r'"\udc00\ud800"'),
    ("lone surrogate in a name", r'{"\ud800x":1}'),
    ("space before", " 1"),
    ("LF after", "1\n"),
    ("space after a comma", "[1, 2]"),
    ("space after a colon", '{"a": 1}'),
    ("byte order mark", "\ufeff1"),
    ("letter as an escape", r'"\u0041"'),
    ("escaped slash", r'"\/"'),
    ("escaped delete", r'"\u007f"'),
    ("escaped line separator", r'"\u2028"'),
    ("emoji as a surrogate pair", r'"\ud83d\ude00"'),
    ("upper-case hex", r'"\u001F"'),
    ("line feed in long form", r'"\u000a"'),
    ("quote in long form", r'"\u0022"'),
    ("raw control character", '"\t"'),
    ("unknown escape", r'"\x41"'),
    ("minus zero as an integer", "-0"),
    ("leading zero", "01"),
    ("plus sign", "+1"),
    ("nothing after the point", "1."),
    ("nothing before the point", ".5"),
    ("trailing zero", "1.10"),
    ("needless digits", "0.10000000000000001"),
    ("exponent where plain is due", "1e2"),
    ("plain where an exponent is due", "10000000000000000.0"),
    ("small and plain where an exponent is due", "0.000009999"),
    ("small exponent where plain is due", "1e-5"),
    ("exponent in upper case", "1E22"),
    ("exponent with a plus", "1e+22"),
    ("exponent with a leading zero", "1e-07"),
    ("exponent after a needless fraction", "1.0e22"),
    ("hexadecimal", "0x10"),
    ("trailing comma", "[1,]"),
    ("single quotes", "'a'"),
    ("bare name", "{a:1}"),
    ("capital literal", "True"),
    ("comment", "1//"),
    ("two values", "1 2"),
    ("unfinished list", "[1"),
    ("unfinished string", '"a'),
    ("nothing", ""),
]


def vectors(folder: Path) -> None:
    """Write every file of vectors."""
    makers = {
        "canonical": canonical_vectors,
        "ed25519": make_ledgers.ed25519_vectors,
        "events": event_vectors,
        "hashes": hash_vectors,
        "hmac-hkdf": rfc_vectors,
        "keys": key_vectors,
        "ledger": make_ledgers.ledger_vectors,
        "macs": mac_vectors,
        "redaction": redaction_vectors,
        "seal": seal_vectors,
        "seeds": seed_vectors,
    }
    for name, maker in makers.items():
        about, cases = maker()
        write_json(folder / f"{name}.json", {"about": about, "vectors": cases})


def canonical_vectors() -> tuple[str, list[Vector]]:
    """Return the one spelling of values, and spellings that are refused."""
    about = (
        "`json` is a value in any spelling: decode it, and its canonical form is `expect`. `strict` is text"
        " for a reader that accepts canonical text only, and is refused."
    )
    pairs = [pair.split() for line in FLOATS.strip().splitlines() for pair in line.split("|")]
    cases: list[Vector] = [{"name": f"float {text}", "json": text, "expect": plain} for text, plain in pairs]
    cases += [{"name": f"integer {i}", "json": str(i), "expect": str(i)} for i in INTEGERS]
    cases += [{"name": name, "json": text, "expect": plain} for name, text, plain in SPELLINGS]
    refused = {"refused": True}
    cases += [{"name": f"refused: {name}", "strict": text, "expect": refused} for name, text in REFUSED]
    return about, cases


def hash_vectors() -> tuple[str, list[Vector]]:
    """Return hashes of values, arguments and results."""
    about = (
        "`output_hash`: of `value` at JSON Pointer `at`, the paths in `volatile` applied; an effect's"
        " `result_hash` is made the same way. `args_hash`: of args and kwargs. `run_result_hash`: of the"
        " output hashes of the steps that succeeded, or of the one value a spec's `result` names (null when"
        " that step has none). `value` is JSON text; `hashed` is the text SHA-256 is taken over."
    )
    fetch, text = "/steps/fetch/output", canonical
    nested = {"a": {"at": 1, "b": 2}, "list": [{"at": 3, "c": 4}, {"at": 5}], "0": 6}
    slashes = {"a/b": 1, "m~n": 2, "*": 3}
    cases: list[tuple[str, str, object, list[str]]] = [
        ("an object", fetch, OUTPUTS[1], []),
        ("null", fetch, None, []),
        ("integer", fetch, 1, []),
        ("float of the same size", fetch, 1.0, []),
        ("beyond ASCII", fetch, OUTPUTS[2], []),
        ("empty object", fetch, {}, []),
        ("a member is left out", fetch, OUTPUTS[0], [f"{fetch}/fetched_at"]),
        ("left out is not null", fetch, {"fetched_at": None, "rows": ROWS}, []),
        ("a list item becomes null", fetch, [1, 2, 3], [f"{fetch}/1"]),
        ("the whole value becomes null", fetch, OUTPUTS[0], [fetch]),
        ("a path of another step", fetch, OUTPUTS[1], ["/steps/shape/output/mean_max_c"]),
        ("a path that matches nothing", fetch, OUTPUTS[1], [f"{fetch}/absent"]),
        ("a path goes no deeper than it says", fetch, nested, [f"{fetch}/at"]),
        ("a member inside", fetch, nested, [f"{fetch}/a/at"]),
        ("a member of each item", fetch, nested, [f"{fetch}/list/*/at"]),
        ("each item", fetch, nested, [f"{fetch}/list/*"]),
        ("each member", fetch, nested, [f"{fetch}/*"]),
        ("one segment, any name", fetch, nested, [f"{fetch}/*/at"]),
        ("a number can be a name", fetch, nested, [f"{fetch}/0"]),
        ("no item has a leading zero", fetch, [1, 2, 3], [f"{fetch}/01"]),
        ("slash in a name", fetch, slashes, [f"{fetch}/a~1b"]),
        ("tilde in a name", fetch, slashes, [f"{fetch}/m~0n"]),
        ("two paths", fetch, nested, [f"{fetch}/a", f"{fetch}/list/1"]),
        ("an effect's result", "/steps/fetch/effects/http.get/result", {"body": 1, "date": "now"},
         ["/steps/fetch/effects/http.get/result/date"]),
    ]  # fmt: skip
    found: list[Vector] = []
    for name, at, value, volatile in cases:
        hashed = text(without(value, volatile, at))
        inputs: Event = {"at": at, "value": text(value), "volatile": volatile}
        found.append(
            {"name": name, "kind": "output_hash"} | inputs | {"hashed": hashed, "expect": sha256(hashed.encode())}
        )
    calls: list[tuple[str, list[object], Event]] = [
        ("no arguments", [], {}),
        ("positional", ["https://weather.example/seattle"], {}),
        ("named", [], {"b": 1, "a": [1.5, None]}),
        ("both", [1, 1.0, "1"], {"days": 3}),
    ]
    for name, args, kwargs in calls:
        asked: Event = {"args": args, "kwargs": kwargs}
        inputs = {"args": text(args), "kwargs": text(kwargs)}
        found.append({"name": name, "kind": "args_hash"} | inputs | {"hashed": text(asked), "expect": digest(asked)})
    hashes = {step_id: step(i)["data"]["output_hash"] for i, (step_id, _) in enumerate(STEPS)}
    for name, value in [
        ("all three steps", hashes),
        ("the steps that succeeded", {"fetch": hashes["fetch"]}),
        ("no step succeeded", {}),
    ]:
        inputs = {"output_hashes": value}
        found.append(
            {"name": name, "kind": "run_result_hash"} | inputs | {"hashed": text(value), "expect": digest(value)}
        )
    name, value = "the value a spec's result names", OUTPUTS[1]["mean_max_c"]
    found.append(
        {
            "name": name,
            "kind": "run_result_hash",
            "result": text(value),
            "hashed": text(value),
            "expect": digest(value),
        }
    )
    found.append({"name": "the step named has no output", "kind": "run_result_hash", "result": None, "expect": None})
    return about, found


# Name, rules, values with their places in the order in which they are written, and what is written: typed by hand.
REDACTIONS: list[tuple[str, list[str], list[tuple[str, str]], list[str]]] = [
    ("a member", ["/inputs/token"], [("/inputs", '{"n":1,"token":"hush-hush"}')], ['{"n":1,"token":"redacted-1"}']),
    (
        "wherever it occurs",
        ["/inputs/token"],
        [
            ("/inputs", '{"token":"hush-hush"}'),
            ("/steps/a/effects/get/args", '["Bearer hush-hush",["hush-hush"]]'),
            ("/steps/a/output", '{"hush-hush":1,"x-hush-hush":"hush"}'),
        ],
        [
            '{"token":"redacted-1"}',
            '["Bearer redacted-1",["redacted-1"]]',
            '{"redacted-1":1,"x-redacted-1":"hush"}',
        ],
    ),
    (
        "numbered as found: by value, rule, and place",
        ["/inputs/*/b", "/inputs/*/a", "/steps/*/output"],
        [
            ("/inputs", '[{"a":"first","b":"third"},{"a":"third","b":"fourth"}]'),
            ("/steps/s/output", '{"x":["fifth","first"]}'),
        ],
        [
            '[{"a":"redacted-3","b":"redacted-1"},{"a":"redacted-1","b":"redacted-2"}]',
            '{"x":["redacted-4","redacted-3"]}',
        ],
    ),
    (
        "a number, as a value and in text",
        ["/inputs/pin"],
        [("/inputs", '{"pin":12345,"text":"pin 12345","other":123456}')],
        ['{"other":123456,"pin":"redacted-1","text":"pin redacted-1"}'],
    ),
    (
        "shorter than four characters: whole values only",
        ["/inputs/code", "/inputs/flag"],
        [("/inputs", '{"a":"no","b":"nobody","c":true,"code":"no","flag":true}')],
        ['{"a":"redacted-1","b":"nobody","c":"redacted-2","code":"redacted-1","flag":"redacted-2"}'],
    ),
    (
        "what hides nothing stays",
        ["/inputs"],
        [("/inputs", '{"a":null,"b":"","c":[],"d":{}}')],
        ['{"a":null,"b":"","c":[],"d":{}}'],
    ),
    (
        "below a text that is JSON",
        ["/steps/a/effects/http.POST/result/text/token"],
        [("/steps/a/effects/http.POST/result", '{"text":"{\\"token\\":\\"hush-hush\\"}"}')],
        ['{"text":"{\\"token\\":\\"redacted-1\\"}"}'],
    ),
    (
        "escaped, in a URL, and in Base64",
        ["/inputs/p"],
        [
            ("/inputs", '{"p":"a b/\\"c"}'),
            (
                "/steps/s/output",
                '["{\\"p\\":\\"a b/\\\\\\"c\\"}","p=a%20b%2F%22c","a+b%2F%22c","a%20b/%22c","YSBiLyJj","dTphIGIvImM="]',
            ),
        ],
        [
            '{"p":"redacted-1"}',
            '["{\\"p\\":\\"redacted-1\\"}","p=redacted-1","redacted-1","redacted-1","redacted-1","dTpredacted-1M="]',
        ],
    ),
    (
        "escaped twice, in markup, and without the white space at its ends",
        ["/inputs/p"],
        [
            ("/inputs", '{"p":"a<é> b\\n"}'),
            (
                "/steps/s/output",
                (
                    '["a<é> b","a<é> b\\n","a&lt;é&gt; b","\\"\\\\\\"a<\\\\\\\\u00e9> b\\\\\\\\n\\\\\\"\\"",'
                    '"dTphPMOpPiBi"]'
                ),
            ),
        ],
        [
            '{"p":"redacted-1"}',
            '["redacted-1","redacted-1","redacted-1","\\"\\\\\\"redacted-1\\\\\\"\\"","dTpredacted-1"]',
        ],
    ),
    (
        "two names that become one",
        ["/inputs/a"],
        [("/inputs", '{"a":"hush","hush":2,"redacted-1":1}')],
        ['{"a":"redacted-1","redacted-1":1,"redacted-1\'":2}'],
    ),
]


def redaction_vectors() -> tuple[str, list[Vector]]:
    """Return values of a run before and after redaction."""
    about = (
        "`rules` are those of a run, `values` what it comes to write, as [JSON Pointer, JSON text], in that order;"
        " `expect` is what is written of each, in canonical form."
    )
    return about, [
        {"name": name, "rules": rules, "values": [list(value) for value in values], "expect": written}
        for name, rules, values, written in REDACTIONS
    ]


def key_vectors() -> tuple[str, list[Vector]]:
    """Return kids and derived keys."""
    about = (
        "`secret_file` is what lies in a secret's file; one trailing newline is no part of the secret. The"
        " derived keys are for the run_id, file_id and dir_id given. `public`: 32 bytes of an Ed25519 key, as hex;"
        " `pem` is its private half as it lies in a file."
    )
    plain = "published-test-secret-for-vectors-0123456789"
    cases: list[tuple[str, str, str, str]] = [
        ("without a newline", plain, "r-1", "00" * 16),
        ("one newline is no part of it", plain + "\n", "r-1", "00" * 16),
        ("a second newline is", plain + "\n\n", "r-1", "00" * 16),
        ("a space is", plain + " \n", "r-1", "00" * 16),
        ("another run", plain, "r-2", "00" * 16),
        ("another file", plain, "r-1", "ff" * 16),
        ("run_id of one character", plain, "r", file_id_of("r")),
        ("run_id of 128 characters", plain, "r" * 128, file_id_of("r")),
        ("32 bytes", "0123456789abcdef0123456789abcdef", "r-1", "00" * 16),
        ("beyond ASCII: its UTF-8 bytes", "veröffentlichtes-Prüfgeheimnis-für-Vektoren", "r-1", "00" * 16),
        ("hex and base64 are not decoded", "00" * 32, "r-1", "00" * 16),
        ("longer than a SHA-256 block", plain * 4, "r-1", "00" * 16),
        ("the active test secret", ACTIVE.decode() + "\n", "good", file_id_of("good")),
        ("the retired test secret", RETIRED.decode() + "\n", "good", file_id_of("good")),
    ]
    found: list[Vector] = []
    for name, text, run_id, file_id in cases:
        secret = text.encode().removesuffix(b"\n")
        keys = {"k_event": event_key(secret, run_id, file_id).hex(), "k_seal": seal_key(secret).hex()}
        dir_id = make_ledgers.dir_id_of(run_id)
        keys["k_ledger"] = ledger_key(secret, dir_id).hex()
        given = {"name": name, "secret_file": text, "run_id": run_id, "file_id": file_id, "dir_id": dir_id}
        found.append(given | {"expect": {"kid": kid_of(secret)} | keys})
    # The first two are public keys of RFC 8032, section 7.1.
    for public in (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        bytes(range(32)).hex(),
    ):
        kid = ed25519_kid(bytes.fromhex(public))
        found.append({"name": f"ed25519 {public[:8]}", "public": public, "expect": {"kid": kid}})
    for seed in (PAIR, OLD_PAIR, bytes.fromhex(make_ledgers.RFC_8032[0][1])):
        own = ed25519_public(seed)
        given = {"name": f"ed25519 private {own.hex()[:8]}", "pem": ed25519_pem(seed).decode(), "public": own.hex()}
        found.append(given | {"expect": {"kid": ed25519_kid(own)}})
    return about, found


def mac_vectors() -> tuple[str, list[Vector]]:
    """Return the MAC of single lines."""
    about = (
        '`body` is a line\'s text before its `,"mac"` suffix, `previous` the raw MAC of the line before (32'
        " zero bytes for the first) and `k_event` the key, both as hex. `pae` is what the MAC is taken over."
    )
    found: list[Vector] = []
    previous, key = bytes(32), event_key(ACTIVE, "r-1", "00" * 16)
    bodies = ["", "{", '{"seq":0', '{"a":"é\u2028\U0001f600"', '{"a":"\\n\\u0000"', "x" * 999, "y" * 1000]
    for number, body in enumerate(bodies):
        message = pae(b"event", previous, body.encode())
        mac = mac_of(key, previous, body.encode())
        given = {"k_event": key.hex(), "previous": previous.hex(), "body": body}
        expect = {"pae": message.hex(), "mac": b64(mac)}
        found.append({"name": f"line {number}, body of {len(body.encode())} bytes"} | given | {"expect": expect})
        previous = mac
    return about, found


def seal_vectors() -> tuple[str, list[Vector]]:
    """Return seals beside the recording `good`, whole and malformed."""
    about = (
        "First `statement` and `k_seal` (hex), with the message and the signature expected. Then `sig`, the"
        " whole text of a seal, and the verdict when it lies beside the recording `beside` (of recordings/v1,"
        " or of recordings/aos with its own secret). Where `pad` is given, <PAD> in `sig` stands for that"
        " many letters x. Where `keyring` is given, the keys are those of that policy file, with only the"
        " `secrets` named at hand."
    )
    lines = written("good", base("good"))
    said = statement("good", lines)
    found: list[Vector] = []
    for name, secret, text in [
        ("by the active key", ACTIVE, said),
        ("by the retired key", RETIRED, said),
        ("another statement", ACTIVE, statement("good", lines, gen=1)),
    ]:
        key, message = seal_key(secret), pae(b"seal", text.encode())
        expect = {"kid": kid_of(secret), "pae": message.hex(), "sig": sign(secret, text.encode())}
        found.append({"name": name, "statement": text, "k_seal": key.hex(), "expect": expect})
    accepted = {"actor": "reviewer", "at": SEALED_AT, "commit": "0" * 40, "reason": "the new mean is right"}
    whole = {
        "one signature": seal(said),
        "two signatures": seal(said, RETIRED, ACTIVE),
        "an Ed25519 signature not at hand": seal(said, more=stranger()),
        "sixteen signatures": seal(said, more=strangers(15)),
        "accepted": seal(statement("good", lines, accepted=accepted, gen=1)),
        "every ended status is only text": seal(statement("good", lines, status="interrupted")),
    }
    for name, sig in whole.items():
        found.append({"name": name, "beside": "good", "sig": sig.decode(), "expect": {"verdict": "intact"}})
    for name, verdict, text, extra in malformed_seals(said, lines):
        found.append({"name": name, "beside": "good", "sig": text} | extra | {"expect": {"verdict": verdict}})
    aos = "d46883b9041aa5fdb7ae10412d5da01cbefaf2a8cf83ea569648ad75ad828261"
    for name, beside, text, verdict in [
        ("64 hex beside a v1 header", "good", aos, "tampered"),
        ("64 hex beside its AOS file", "aos/good-1", aos, "intact"),
        ("64 hex beside another AOS file", "aos/good-2", aos, "tampered"),
        ("63 hex beside an AOS file", "aos/good-1", aos[:-1], "tampered"),
    ]:
        found.append({"name": name, "beside": beside, "sig": text, "expect": {"verdict": verdict}})
    return about, found + make_ledgers.state_vectors()


def strangers(count: int) -> str:
    """Return signature lines by keys nobody has at hand."""
    kids = (ed25519_kid(bytes([number]) * 32) for number in range(count))
    sig = b64(hashlib.sha512(b"stranger").digest())
    return "".join(canonical({"alg": "ed25519", "kid": kid, "sig": sig}) + "\n" for kid in kids)


def malformed_seals(said: str, lines: list[bytes]) -> list[tuple[str, str, str, Vector]]:
    """Return (name, verdict, text, more members of the vector) of each malformed or newer seal.

    Wherever that can be, the signature is good for the malformed statement: only form refuses it.
    """
    document: Event = json.loads(said)
    mark = signature(ACTIVE, said)
    sig: Event = json.loads(mark)

    def signed(text: str) -> str:
        return seal(text).decode()

    def says(**changes: object) -> str:
        return signed(canonical(document | changes))

    def lacks(name: str) -> str:
        return signed(canonical({n: member for n, member in document.items() if n != name}))

    def marked(**changes: object) -> str:
        return f"{said}\n{canonical(sig | changes)}\n"

    def absent(**changes: object) -> str:
        return canonical(json.loads(stranger()) | changes) + "\n"

    good = signed(said)
    stray = sig["sig"][:-1] + chr(ord(sig["sig"][-1]) + 1)
    backwards = json.dumps(dict(sorted(document.items(), reverse=True)), separators=(",", ":"))
    disordered = f'{{"kid":"{sig["kid"]}","alg":"hmac-sha256","sig":"{sig["sig"]}"}}'
    huge = {"actor": "reviewer", "at": SEALED_AT, "commit": None, "reason": "<PAD>"}
    padded = huge | {"reason": "x" * (64 << 10)}
    too_long = seal(canonical(document | {"accepted": padded})).decode().replace("x" * (64 << 10), "<PAD>")
    cases = {
        "statement members out of order": signed(backwards),
        "signature members out of order": f"{said}\n{disordered}\n",
        "extra member in the statement": says(note="x"),
        "extra member in a signature": marked(at=SEALED_AT),
        "extra member in accepted": says(accepted=huge | {"reason": "r", "x": 0}),
        "missing member in accepted": says(accepted={"actor": "a", "at": SEALED_AT, "reason": "r"}),
        **{f"statement without {name}": lacks(name) for name in document},
        "signature without alg": f'{said}\n{{"kid":"{sig["kid"]}","sig":"{sig["sig"]}"}}\n',
        "signature without kid": f'{said}\n{{"alg":"hmac-sha256","sig":"{sig["sig"]}"}}\n',
        "signature without sig": f'{said}\n{{"alg":"hmac-sha256","kid":"{sig["kid"]}"}}\n',
        "CR LF": good.replace("\n", "\r\n"),
        "no last LF": good[:-1],
        "no last LF after two signatures": (good + stranger())[:-1],
        "text after the last LF": good + "{",
        "an empty line at the end": good + "\n",
        "an empty line between": f"{said}\n\n{mark}\n",
        "a space in the statement": signed(said.replace('"v":1', '"v": 1')),
        "a space in a signature": f"{said}\n{mark.replace(':', ': ', 1)}\n",
        "an escape nobody needs": signed(said.replace('"completed"', '"\\u0063ompleted"')),
        "a member twice": signed(said.replace('"v":1', '"v":1,"v":1')),
        "byte order mark": "\ufeff" + good,
        "no signature line": said + "\n",
        "nothing": "",
        "one LF": "\n",
        "signature line only": mark + "\n",
        "seventeen signatures": good + strangers(16),
        "two signatures of one kid": f"{good}{mark}\n",
        "padded base64": marked(sig=sig["sig"] + "="),
        "trailing bits that are not zero": marked(sig=stray),
        "trailing bits of an HMAC key not at hand": good + absent(alg="hmac-sha256", sig="A" * 42 + "B"),
        "trailing bits of an Ed25519 key not at hand": good + absent(sig="A" * 85 + "B"),
        "extra member in a signature of a key not at hand": good + absent(at=SEALED_AT),
        "unknown algorithm of a key not at hand": good + absent(alg="ed448"),
        "standard base64 alphabet": marked(sig="+" + sig["sig"][1:]),
        "42 characters": marked(sig=sig["sig"][:-1]),
        "44 characters": marked(sig=sig["sig"] + "A"),
        "signature as hex": marked(sig=base64.urlsafe_b64decode(sig["sig"] + "=").hex()),
        "kid in upper case": marked(kid="ABCDEF0123456789"),
        "kid of 15 characters": marked(kid=sig["kid"][:-1]),
        "bytes as text": says(bytes=str(document["bytes"])),
        "bytes as a float": says(bytes=float(document["bytes"])),
        "events as true": says(events=True),
        "sha256 in upper case": says(sha256=document["sha256"].upper()),
        "file_id of 31 characters": says(file_id=document["file_id"][:-1]),
        "v as text": says(v="1"),
        "v as a float": says(v=1.0),
        "v as true": says(v=True),
        "v zero": says(v=0),
        "v as a float above 1": says(v=2.0),
        "statement is a list": signed(f"[{said}]"),
    }
    assert len(joined(lines)) == document["bytes"]
    found: list[tuple[str, str, str, Vector]] = [(n, "tampered", text, {}) for n, text in cases.items()]
    found.append(("above 64 KiB", "tampered", too_long, {"pad": 64 << 10}))
    found.append(("v 2", "unreadable", says(v=2), {}))
    found.append(("v 2, lines ending CR LF", "unreadable", says(v=2).replace("\n", "\r\n"), {}))
    found.append(("v 2, no LF", "unreadable", canonical(document | {"v": 2}), {}))
    found.append(("v 2 with members this reader does not know", "unreadable", says(v=2, scheme="x"), {}))
    return found


def seed_vectors() -> tuple[str, list[Vector]]:
    """Return step seeds by both schemes."""
    about = "The seed of a step: `base` is the run's seed, `index` (aos-v1) or `path` (path-v1) its place."
    typed = {
        (12345, 0): 15554826178763638935,
        (12345, 1): 12451472201012505513,
        (42, 0): 6085284259181818738,
        (-1, 7): 15883211312419557341,
    }
    more = [(0, 0), (0, 10), (20260101, 0), (20260101, 2), ((1 << 64) - 1, 99), (-(1 << 63), 1)]
    typed |= {pair: derive_seed(*pair) for pair in more}
    found: list[Vector] = [
        {"name": f"{seed}:{index}", "scheme": "aos-v1", "base": seed, "index": index, "expect": expect}
        for (seed, index), expect in typed.items()
    ]
    for path in ("main/plan", "main/rank#2"):
        place = {"name": f"7:{path}", "scheme": "path-v1", "base": 7, "path": path}
        found.append(place | {"expect": derive_seed(7, path)})
    return about, found


def little_runs() -> dict[str, list[bytes]]:
    """Return runs that between them have every event and every member of the format."""
    ended = {
        "file_id": file_id_of("little-failed"),
        "kids": [kid_of(ACTIVE)],
        "run_id": "little-failed",
        "sha256": sha256(b"its file"),
    }
    forked = ended | {"accepted_changes": ["spec", "code"], "at": "shape"}
    origin = {"format": "aos", "sha256": sha256(b"the file imported")}
    imported: Event = {"spec": None, "spec_hash": None, "spec_id": None, "origin": origin, "volatile": []}
    no_answer = {"message": "timed out", "type": "TimeoutError"}
    retried = [{"delay_ms": 0, "error": FAULT | {"location": None}}, {"delay_ms": 250, "error": None}]
    pathed: Event = {
        "seed_scheme": "path-v1",
        "redacted": ["/inputs/token"],
        "inputs": {"token": "redacted-1"},
    }
    refused = effect(call=1, result=None, result_hash=None, error=no_answer)
    built_in = {"exec.run": {"code_hash": None, "module": "replay.skill", "version": "1"}}
    locked = start()["data"]["environment"] | {"hash_seed": "random", "lock_hash": sha256(b"lock")}
    locked["skills"] = built_in
    runs: dict[str, list[Event]] = {
        "little-ok": [start(), effect(), refused, step(0), step(1, attempts=retried), step(2), end()],
        "little-failed": [
            start(environment=locked),
            effect(),
            step(0),
            failed(1),
            skipped(2),
            end("failed", 1),
        ],
        "little-failed.r1": [start(resumed_from=ended), step(0, carried=True), step(1), step(2), end()],
        "little-forked": [start(resumed_from=forked), step(0, carried=True), step(1), step(2), end()],
        "little-imported": [start(**imported), step(0), end(done=1)],
    }
    for status in STATUSES.split():
        runs[f"little-{status}"] = runs.get(f"little-{status}", [start(), end(status, 0)])
    nothing = {"result_hash": None}
    for status in ("budget_exceeded", "interrupted"):
        runs[f"little-{status}"][-1]["data"] |= nothing
    name = "little-continued"
    events = [start(RETIRED, **pathed), step(0, seed=derive_seed(20260101, "main/fetch"))]
    for run_id, own in runs.items():
        own[0]["golden"]["file_id"] = file_id_of(run_id)
    events[0]["golden"]["file_id"] = file_id_of(name)
    events.append(resume(ACTIVE, file_id_of(name), written(name, events), 1, dropped=b'{"data":{"arg'))
    events.append(step(1, seed=derive_seed(20260101, "main/shape")))
    events.append(resume(ACTIVE, file_id_of(name), written(name, events), 2))
    events += [step(2, seed=derive_seed(20260101, "main/report")), end()]
    return {run_id: written(run_id, own) for run_id, own in (runs | {name: events}).items()}


def event_vectors() -> tuple[str, list[Vector]]:
    """Return every kind of line with its MAC, and lines that are refused."""
    about = (
        "`line` is an exact line with its LF (`line_hex` where it is no text) at position `seq` of the run"
        " `run` under `secret`, `previous` the MAC of the line before as hex. First the lines of whole little"
        " runs: `expect` has the line's MAC and its other members. Then lines to be refused when they follow"
        " the first `seq` lines of that run; their MAC, where there is one, is right for their bytes."
    )
    found: list[Vector] = []
    runs = little_runs()
    for run_id, lines in runs.items():
        secret, previous = b"", bytes(32)
        for seq, line in enumerate(lines):
            event = json.loads(line[:-SUFFIX_LENGTH] + b"}")
            if "golden" in event:
                secret = SECRETS[event["golden"]["kid"]]
            mac = line[-45:-2].decode()
            given = {"run": run_id, "secret": secret.decode(), "file_id": file_id_of(run_id), "seq": seq}
            given |= {"previous": previous.hex(), "line": line.decode() + "\n"}
            name = {"name": f"{run_id} {seq} {event['event_type']}"}
            found.append(name | given | {"expect": {"mac": mac} | event})
            previous = base64.urlsafe_b64decode(mac + "=")
    return about, found + refused_lines("little-ok", runs["little-ok"])


def refused_lines(run_id: str, lines: list[bytes]) -> list[Vector]:
    """Return lines that no reader may accept after the good lines before them."""
    key = event_key(ACTIVE, run_id, file_id_of(run_id))
    bodies = [line[:-SUFFIX_LENGTH] for line in lines]
    found: list[Vector] = []

    def previous(seq: int) -> bytes:
        return base64.urlsafe_b64decode(lines[seq - 1][-45:-2] + b"=") if seq else bytes(32)

    def put(name: str, seq: int, line: bytes) -> None:
        given: Vector = {"run": run_id, "secret": ACTIVE.decode(), "file_id": file_id_of(run_id), "seq": seq}
        given["previous"] = previous(seq).hex()
        try:
            given["line"] = line.decode() + "\n"
        except UnicodeDecodeError:
            given["line_hex"] = (line + b"\n").hex()
        found.append({"name": f"refused: {name}"} | given | {"expect": {"refused": True}})

    def body(name: str, seq: int, text: bytes) -> None:
        mac = b64(mac_of(key, previous(seq), text)).encode()
        put(name, seq, text + b',"mac":"' + mac + b'"}')

    def swap(name: str, seq: int, old: bytes, new: bytes) -> None:
        if old not in bodies[seq]:
            raise ValueError(name)
        body(name, seq, bodies[seq].replace(old, new, 1))

    for name, seq, old, new in RESPELLED:
        swap(name, seq, old.encode(), new.encode())
    swap("not UTF-8", 5, "°".encode(), b"\xb0")
    swap("a surrogate in UTF-8", 5, "°".encode(), b"\xed\xa0\x80")
    body("byte order mark", 3, b"\xef\xbb\xbf" + bodies[3])
    body("leading space", 3, b" " + bodies[3])
    body("space before the suffix", 3, bodies[3] + b" ")
    body("a line that is no object", 3, b"[1")
    body("an object with a MAC alone", 3, b"{")
    body("a second run_start", 3, bodies[0].replace(b'"seq":0', b'"seq":3'))
    body("the first line is no run_start", 0, bodies[3].replace(b'"seq":3', b'"seq":0'))
    body("an event after run_end", 7, bodies[5].replace(b'"seq":5', b'"seq":7'))
    other = resume(ACTIVE, file_id_of("elsewhere"), lines[:3], 1)
    text = canonical(numbered(run_id, [other] * 4)[3]).encode()[:-1]
    body("run_resume of another file_id", 3, text)
    good, mac = lines[3], lines[3][-45:-2]
    for name, line in {
        "no MAC": bodies[3] + b"}",
        "MAC not last": bodies[3].replace(b',"run_id"', b',"mac":"' + mac + b'","run_id"', 1) + b"}",
        "MAC of 42 characters": good[:-3] + good[-2:],
        "MAC padded": good[:-2] + b'="}',
        "MAC in the standard alphabet": good.replace(mac, b"+/" + mac[2:]),
        "MAC with stray trailing bits": good.replace(mac, mac[:-1] + bytes([mac[-1] + 1])),
        "MAC of the line before": good.replace(mac, lines[2][-45:-2]),
        "MAC changed in one bit": good.replace(mac, (b"B" if mac[:1] == b"A" else b"A") + mac[1:]),
        "MAC by the retired key": bodies[3]
        + b',"mac":"'
        + b64(mac_of(event_key(RETIRED, run_id, file_id_of(run_id)), previous(3), bodies[3])).encode()
        + b'"}',
        "MAC without the previous one": bodies[3]
        + b',"mac":"'
        + b64(mac_of(key, bytes(32), bodies[3])).encode()
        + b'"}',
        "CR before LF": good + b"\r",
        "space after the suffix": good + b" ",
        "suffix spelled otherwise": good.replace(b',"mac":"', b',"Mac":"'),
        "suffix closed by a bracket": good[:-1] + b"]",
        "member after the MAC": good[:-1] + b',"x":0}',
        "an empty line": b"",
        "two objects": good + good,
    }.items():
        put(name, 3, line)
    return found


OWN_GOLDEN = canonical(golden(ACTIVE, file_id_of("little-ok")))
INPUT_HASH = digest(INPUTS[0])
# Name, line of the run little-ok, what stands there, what is written instead.
RESPELLED: list[tuple[str, int, str, str]] = [
    ("unknown member", 3, '"seq":3', '"seq":3,"sig":0'),
    ("unknown member of data", 3, '"skill_id"', '"skill":0,"skill_id"'),
    ("a member named like an optional one", 3, '"cost_cents"', '"because?":"x","cost_cents"'),
    ("missing member of data", 3, '"cost_cents":2,', ""),
    ("missing member of run_start", 0, '"policy":{},', ""),
    ("missing member of environment", 0, '"cpu_count":4,', ""),
    ("unknown member of environment", 0, '"cpu_count":4,', '"cpu_count":4,"cpu_model":"x",'),
    ("unknown member of a budget snapshot", 3, '"policy_version":"1"', '"policy_version":"1","spent":0'),
    ("step without timing", 3, ',"timing":{"duration_us":800}', ""),
    ("effect without timing", 1, ',"timing":{"duration_us":1200}', ""),
    ("timing on run_end", 6, '.250000Z"', '.250000Z","timing":{"duration_us":0}'),
    ("unknown member of timing", 3, '"duration_us":800', '"cpu_us":1,"duration_us":800'),
    ("golden on a step", 3, '"run_id"', f'"golden":{OWN_GOLDEN},"run_id"'),
    ("unknown event_type", 3, '"event_type":"step"', '"event_type":"stop"'),
    ("event_type in upper case", 3, '"event_type":"step"', '"event_type":"Step"'),
    ("another event_type than its data", 3, '"event_type":"step"', '"event_type":"effect"'),
    ("seq as text", 3, '"seq":3', '"seq":"3"'),
    ("seq as a float", 3, '"seq":3', '"seq":3.0'),
    ("seq one too high", 3, '"seq":3', '"seq":4'),
    ("seq again", 3, '"seq":3', '"seq":2'),
    ("seq counted from 1", 0, '"seq":0', '"seq":1'),
    ("seq negative", 0, '"seq":0', '"seq":-1'),
    ("index as text", 3, '"index":0', '"index":"0"'),
    ("index true", 3, '"index":0', '"index":true'),
    ("index negative", 3, '"index":0', '"index":-1'),
    ("duration negative", 3, '"duration_us":800', '"duration_us":-1'),
    ("success as a number", 3, '"success":true', '"success":1'),
    ("seed null", 0, '"seed":20260101', '"seed":null'),
    ("seed as a float", 0, '"seed":20260101', '"seed":20260101.0'),
    ("inputs a list", 3, '"inputs":{"city":"Seattle","days":3}', '"inputs":["Seattle",3]'),
    ("args an object", 1, '"args":["https://weather.example/seattle"]', '"args":{}'),
    ("attempts null", 3, '"attempts":[{"delay_ms":0,"error":null}]', '"attempts":null'),
    ("status null", 6, '"status":"completed"', '"status":null'),
    ("data null", 6, '"data":{', '"data":null,"date":{'),
    ("hash in upper case", 3, f'"input_hash":"{INPUT_HASH}"', f'"input_hash":"{INPUT_HASH.upper()}"'),
    ("hash of 63 characters", 3, f'"input_hash":"{INPUT_HASH}"', f'"input_hash":"{INPUT_HASH[1:]}"'),
    ("hash null where it must be", 3, f'"input_hash":"{INPUT_HASH}"', '"input_hash":null'),
    ("another run_id", 3, '"run_id":"little-ok"', '"run_id":"little-no"'),
    ("a run_id that is none", 0, '"run_id":"little-ok"', '"run_id":"../little"'),
    ("another canonical form", 0, '"canonical":"golden/v1"', '"canonical":"golden/v0"'),
    ("unknown seed scheme", 0, '"seed_scheme":"aos-v1"', '"seed_scheme":"aos-v0"'),
    ("time with an offset", 4, '.250000Z"', '.250000+00:00"'),
    ("time in milliseconds", 4, '.250000Z"', '.250Z"'),
    ("another algorithm", 0, '"alg":"hmac-sha256"', '"alg":"hmac-sha512"'),
    ("v as text", 0, '"v":1}', '"v":"1"}'),
    ("v as a float", 0, '"v":1}', '"v":1.0}'),
    ("v true", 0, '"v":1}', '"v":true}'),
    ("v zero", 0, '"v":1}', '"v":0}'),
    ("unknown member of golden", 0, '"v":1}', '"v":1,"x":0}'),
    ("kid in upper case", 0, f'"kid":"{kid_of(ACTIVE)}"', f'"kid":"{kid_of(ACTIVE).upper()}"'),
    ("file_id of 31 characters", 0, file_id_of("little-ok"), file_id_of("little-ok")[1:]),
    ("a letter as an escape", 3, '"Seattle"', '"Se\\u0061ttle"'),
    ("an escaped slash", 1, "https://", "https:\\/\\/"),
    ("an escaped name", 3, '"seq":3', '"s\\u0065q":3'),
    ("degree sign as an escape", 5, "°", "\\u00b0"),
    ("space after a colon", 3, '"seq":3', '"seq": 3'),
    ("space after a comma", 3, ',"seq":3', ', "seq":3'),
    ("members out of order", 3, '"run_id":"little-ok","seq":3', '"seq":3,"run_id":"little-ok"'),
    ("data out of order", 3, '"step_id":"fetch","success":true', '"success":true,"step_id":"fetch"'),
    ("a member twice", 3, '"seq":3', '"seq":3,"seq":3'),
    ("a member twice, deep", 3, '"city":"Seattle"', '"city":"Seattle","city":"Seattle"'),
    ("float with a trailing zero", 3, "12.8", "12.80"),
    ("float with an exponent", 3, "12.8", "1.28e1"),
    ("NaN", 3, "12.8", "NaN"),
    ("a float beyond the largest", 3, "12.8", "1e999"),
    ("minus zero as an integer", 3, '"delay_ms":0', '"delay_ms":-0'),
    ("leading zero", 3, '"seq":3', '"seq":03'),
    ("lone surrogate", 3, '"Seattle"', '"\\ud800"'),
    ("raw control character", 3, '"Seattle"', '"Sea\ttle"'),
]  # fmt: skip


def rfc_vectors() -> tuple[str, list[Vector]]:
    """Return the published cases of HMAC-SHA-256 and HKDF-SHA-256."""
    about = (
        "RFC 4231 (HMAC-SHA-256; of case 5 the first 16 bytes) and RFC 5869 (HKDF-SHA-256), typed in; everything is"
        " hex."
    )
    cases: list[tuple[int, str, str, str]] = [
        (1, "0b" * 20, b"Hi There".hex(),
         "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (2, b"Jefe".hex(), b"what do ya want for nothing?".hex(),
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (3, "aa" * 20, "dd" * 50,
         "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (4, bytes(range(1, 26)).hex(), "cd" * 50,
         "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (5, "0c" * 20, b"Test With Truncation".hex(), "a3b6167473100ee06e0c796c2955552b"),
        (6, "aa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First".hex(),
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (7, "aa" * 131, b"This is a test using a larger than block-size key and a larger than block-size"
         b" data. The key needs to be hashed before being used by the HMAC algorithm.".hex(),
         "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ]  # fmt: skip
    found: list[Vector] = [
        {"name": f"RFC 4231 case {number}", "key": key, "data": data, "expect": {"mac": mac}}
        for number, key, data, mac in cases
    ]
    stretched: list[tuple[int, str, str, str, str, str]] = [
        (1, "0b" * 22, bytes(range(13)).hex(), bytes(range(0xF0, 0xFA)).hex(),
         "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        (2, bytes(range(0x50)).hex(), bytes(range(0x60, 0xB0)).hex(), bytes(range(0xB0, 0x100)).hex(),
         "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
         ("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
          "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87")),
        (3, "0b" * 22, "", "",
         "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ]  # fmt: skip
    for number, secret, salt, info, prk, okm in stretched:
        length = len(okm) // 2
        if hkdf(bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), length).hex() != okm:
            raise ValueError(number)
        given = {"ikm": secret, "salt": salt, "info": info, "length": length}
        found.append({"name": f"RFC 5869 case {number}"} | given | {"expect": {"prk": prk, "okm": okm}})
    return about, found


def main(arguments: list[str]) -> int:
    """Write everything below the folder given (default: `fixtures`)."""
    root = Path(arguments[0] if arguments else "fixtures")
    for name in ("vectors", "recordings/v1", "recordings/aos", "keyrings", "ledgers", "directories"):
        (root / name).mkdir(parents=True, exist_ok=True)
    vectors(root / "vectors")
    recordings(root / "recordings/v1")
    (root / "recordings/v1/README.md").write_text(RECORDINGS_README, encoding="ascii")
    expect = {n: {"first_bad": None, "verdict": v, "why": why} for n, (v, why) in AOS_EXPECT.items()}
    write_json(root / "recordings/aos/expect.json", expect)
    (root / "recordings/aos/README.md").write_text(AOS_README, encoding="ascii")
    (root / "keyrings/active.secret").write_bytes(ACTIVE + b"\n")
    (root / "keyrings/retired.secret").write_bytes(RETIRED + b"\n")
    (root / "keyrings/pair.pem").write_bytes(ed25519_pem(PAIR))
    (root / "keyrings/old-pair.pem").write_bytes(ed25519_pem(OLD_PAIR))
    make_ledgers.keyrings(root / "keyrings")
    make_ledgers.ledgers(root / "ledgers")
    make_ledgers.directories(root / "directories")
    (root / "ledgers/README.md").write_text(LEDGERS_README, encoding="ascii")
    (root / "directories/README.md").write_text(DIRECTORIES_README, encoding="ascii")
    kids = {"active": kid_of(ACTIVE), "retired": kid_of(RETIRED), "unknown": kid_of(UNKNOWN)}
    kids |= {"pair": named(PAIR)[1], "old_pair": named(OLD_PAIR)[1]}
    (root / "keyrings/README.md").write_text(KEYRINGS_README.format(**kids), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
