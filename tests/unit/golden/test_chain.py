"""Chain: each line is signed over the one before, and a walk believes nothing else."""

import hmac
from typing import Any

import pytest

from golden.canonical import canonical_bytes, decode, pae
from golden.chain import NO_MAC, Chain, Walk, split_line
from golden.errors import FormatError, KeyringError, LimitError, TamperedError
from golden.event import Data
from golden.keyring import HmacKey, Keyring, b64, unb64
from golden.store import GoldenFile, Store
from tests import runs
from tests.runs import ACTIVE, FILE_ID, RETIRED, STRANGER

KEY = HmacKey(ACTIVE)


def lines_of(file: GoldenFile) -> list[bytes]:
    return file.path.read_bytes().splitlines()


def resigned(line: bytes, previous: bytes, **changes: Any) -> bytes:
    """Return a line with other members under a MAC that is right for it."""
    body, _ = split_line(line)
    event = {**decode(body + b"}"), **changes}
    event = {name: value for name, value in event.items() if value is not None}
    return Chain(KEY.event_key("r-1", FILE_ID), previous).sign(canonical_bytes(event)).removesuffix(b"\n")


@pytest.fixture
def lines(store: Store) -> list[bytes]:
    """The lines of a run with one file id for all tests, without LF."""
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.effect(0, 0, 1), runs.step(0, 2), runs.end()]
    return lines_of(runs.forge(store.directory, "r-1", events))


def walk_to(lines: list[bytes], count: int, ring: Keyring | None = None) -> Walk:
    walk = Walk(ring or Keyring(ACTIVE))
    for line in lines[:count]:
        walk.feed(line)
    return walk


def test_a_mac_is_over_the_line_and_the_mac_before_it() -> None:
    chain = Chain(b"k" * 32)
    first = chain.mac(b'{"a":1')
    assert first == hmac.digest(b"k" * 32, pae(b"event", NO_MAC, b'{"a":1'), "sha256")
    assert chain.mac(b"") == hmac.digest(b"k" * 32, pae(b"event", first, b""), "sha256")


def test_a_signed_line_ends_in_its_mac_and_lf() -> None:
    line = Chain(b"k" * 32).sign(b'{"a":1}')
    assert line.endswith(b'"}\n')
    body, mac = split_line(line.removesuffix(b"\n"))
    assert (body, len(mac)) == (b'{"a":1', 43)


def test_a_walk_ends_where_the_recorder_ended(store: Store, run: GoldenFile, keyring: Keyring) -> None:
    walk = Walk(keyring)
    kinds = [walk.feed(line).event_type for line in lines_of(run)]
    assert kinds == ["run_start", "effect", "step", "step", "run_end"]
    assert (walk.seq, walk.offset, walk.ended) == (5, run.path.stat().st_size, True)
    assert b64(walk.mac).decode() in run.seal_path.read_text()


def test_a_walk_goes_on_after_a_trusted_line(lines: list[bytes]) -> None:
    signing = walk_to(lines, 1).signing
    assert signing is not None
    offset = sum(len(line) + 1 for line in lines[:2])
    walk = Walk.after(Keyring(ACTIVE), signing, "r-1", lines[1], offset)
    assert [walk.feed(line).seq for line in lines[2:]] == [2, 3]


@pytest.mark.parametrize("place", range(4))
def test_a_line_of_an_unknown_key_is_not_tried_with_others(lines: list[bytes], place: int) -> None:
    with pytest.raises(KeyringError, match=f"key {KEY.kid} is not at hand") as refusal:
        walk_to(lines, 4, Keyring(STRANGER, [RETIRED]))
    assert refusal.value.verdict == "unknown-key"


DEFECTS: list[tuple[str, int, dict[str, Any], str]] = [
    ("another seq", 1, {"seq": 2}, "seq is 2, expected 1"),
    ("a negative seq", 1, {"seq": -1}, "not an event"),
    ("a seq that is a float", 1, {"seq": 1.0}, "not an event"),
    ("another run", 1, {"run_id": "r-2"}, 'run_id is "r-2", expected "r-1"'),
    ("no run id", 1, {"run_id": "../r-1"}, "not an event"),
    ("an unknown type", 1, {"event_type": "note"}, "unknown event type"),
    ("an unknown member", 1, {"more": 1}, "not an event"),
    ("a timing without length", 1, {"timing": {"duration_us": -1}}, "not an event"),
    ("no timing", 1, {"timing": None}, "missing or too many"),
    ("a timing too many", 3, {"timing": {"duration_us": 1}}, "missing or too many"),
    ("a key too many", 1, {"golden": {"alg": "hmac-sha256", "file_id": FILE_ID, "kid": KEY.kid, "v": 1}}, "too many"),
    ("a time without microseconds", 1, {"timestamp": "2026-01-01T00:00:00Z"}, "not an event"),
    ("a second run_start", 1, {"event_type": "run_start"}, "not an event"),
]


@pytest.mark.parametrize("place, changes, why", [case[1:] for case in DEFECTS], ids=[case[0] for case in DEFECTS])
def test_a_line_of_wrong_form_is_refused_even_where_its_mac_is_right(
    lines: list[bytes], place: int, changes: dict[str, Any], why: str
) -> None:
    walk = walk_to(lines, place)
    before = walk.mac
    with pytest.raises(TamperedError, match=f"line {place + 1}: .*{why}"):
        walk.feed(resigned(lines[place], before, **changes))
    assert (walk.seq, walk.mac) == (place, before)


@pytest.mark.parametrize("member", [{"v": 2}, {"alg": "ed25519"}, {"kid": "x"}, {"file_id": "0"}, {"more": 1}])
def test_a_header_of_another_make_is_refused(lines: list[bytes], member: dict[str, Any]) -> None:
    golden = {"alg": "hmac-sha256", "file_id": FILE_ID, "kid": KEY.kid, "v": 1, **member}
    with pytest.raises(TamperedError, match="line 1"):
        Walk(Keyring(ACTIVE)).feed(resigned(lines[0], NO_MAC, golden=golden))


def test_nothing_may_follow_run_end(lines: list[bytes]) -> None:
    walk = walk_to(lines, 4)
    with pytest.raises(TamperedError, match="event after run_end"):
        walk.feed(resigned(lines[2], walk.mac, seq=4))


def test_no_line_but_run_start_begins_a_file(lines: list[bytes]) -> None:
    with pytest.raises(TamperedError, match="step cannot stand here"):
        Walk(Keyring(ACTIVE)).feed(resigned(lines[2], NO_MAC, seq=0))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace(b'"seq":1', b'"seq": 1'),
        lambda line: line + b" ",
        lambda line: line + b"\r",
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: line[:-2] + b"]",
        lambda line: line[:-3] + b"=" + line[-2:],
        lambda line: line.replace(b',"mac":"', b',"MAC":"'),
        lambda _: b"",
        lambda line: line[-53:],
        lambda line: line[:40],
        lambda _: b"\x00" * 100,
        lambda _: b"\xff" * 100,
    ],
)
def test_a_line_of_other_bytes_is_refused(lines: list[bytes], spoil: Any) -> None:
    walk = walk_to(lines, 1)
    with pytest.raises(TamperedError, match="line 2"):
        walk.feed(spoil(lines[1]))


def test_a_mac_of_another_place_is_refused(lines: list[bytes]) -> None:
    walk = walk_to(lines, 1)
    with pytest.raises(TamperedError, match="MAC does not match"):
        walk.feed(lines[1][:-45] + lines[2][-45:])


def test_a_line_nested_too_deep_is_a_limit(lines: list[bytes]) -> None:
    walk = walk_to(lines, 2)
    deep = lines[2].replace(b'"output":2', b'"output":' + b"[" * 300 + b"]" * 300)
    with pytest.raises(LimitError):
        walk.feed(deep)


def test_a_resumed_file_goes_on_under_the_key_its_resumption_names(store: Store) -> None:
    store.directory.mkdir()
    events: list[Data] = [runs.start(), runs.step(0, 1), runs.resume(1), runs.step(1, 2), runs.end()]
    file = runs.forge(store.directory, "r-1", events, keys=[HmacKey(RETIRED), KEY])
    walk = walk_to(lines_of(file), 5, Keyring(ACTIVE, [RETIRED]))
    assert walk.ended
    assert walk.signing is not None
    assert walk.signing.kid == KEY.kid
    for ring, fed in ((Keyring(ACTIVE), 0), (Keyring(RETIRED), 2)):
        walk = walk_to(lines_of(file), fed, ring)
        with pytest.raises(KeyringError):
            walk.feed(lines_of(file)[fed])


@pytest.mark.parametrize("text", [b"", b"A", b"AA", b"A" * 43, b"_-" * 20 + b"_-8"])
def test_base64_has_one_spelling(text: bytes) -> None:
    data = unb64(text)
    assert data is None or b64(data) == text


@pytest.mark.parametrize("text", [b"AB", b"A" * 42 + b"B", b"AA==", b"A+", b"A/AA", b"A A A", b"AAAA\n", b"\xff"])
def test_another_spelling_of_base64_is_refused(text: bytes) -> None:
    assert unb64(text) is None


def test_a_line_without_its_mac_is_a_format_error() -> None:
    for line in (b"", b"{}", b'{"a":1}', b',"mac":"' + b"A" * 43 + b'"}'):
        with pytest.raises(FormatError, match="does not end in its MAC"):
            split_line(line)
