"""Events: what is written is what is read, and only exactly that."""

from typing import Any

import msgspec
import pytest

from golden.canonical import canonical_bytes, decode, is_canonical
from golden.errors import FormatError
from golden.event import Data, Event, parse_event, parse_header
from golden.store import Store
from tests import runs

ALL: list[Data] = [
    runs.start({"city": "Seattle"}),
    runs.effect(0, 0, {"n": 1}),
    runs.failed_effect(0, 1),
    runs.step(0, [1.5, None, "x"]),
    runs.failed(1),
    runs.step(2, None, skipped=True, because="its input failed", attempts=[], success=False, output_hash=None),
    runs.resume(3),
    runs.step(3, 1, carried=True),
    runs.end("failed"),
]


@pytest.fixture
def lines(store: Store) -> list[bytes]:
    """One line of every event with every member."""
    store.directory.mkdir()
    return runs.forge(store.directory, "r-1", ALL).path.read_bytes().splitlines()


def test_every_event_comes_back_as_it_was_written(lines: list[bytes]) -> None:
    for line, data in zip(lines, ALL, strict=True):
        event = parse_event(line)
        if event.event_type != "run_resume":
            assert canonical_bytes(msgspec.to_builtins(plain(event))) == canonical_bytes(
                msgspec.to_builtins(plain(msgspec.structs.replace(event, data=data)))
            )


def plain(event: Event) -> dict[str, Any]:
    pairs = ((name, getattr(event.data, name)) for name in event.data.__struct_fields__)
    return {n: decode(v) if isinstance(v, msgspec.Raw) else v for n, v in pairs if v is not msgspec.UNSET}


def test_every_line_is_written_in_canonical_form(lines: list[bytes]) -> None:
    for line in lines:
        assert is_canonical(line[:-53] + b"}")


def members(line: bytes) -> dict[str, Any]:
    value = decode(line)
    assert isinstance(value, dict)
    return value


OPTIONAL = {
    *("because", "carried", "error", "error_code", "recovery_hint", "skipped", "origin_output_hash"),
    *("origin", "resumed_from", "dropped"),
}


def test_a_missing_member_is_refused(lines: list[bytes]) -> None:
    for line in lines:
        event = members(line)
        for name in event["data"].keys() - OPTIONAL:
            data = {n: v for n, v in event["data"].items() if n != name}
            with pytest.raises(FormatError, match=name):
                parse_event(canonical_bytes({**event, "data": data}))
        for name in event:
            with pytest.raises(FormatError):
                parse_event(canonical_bytes({n: v for n, v in event.items() if n != name}))


def test_an_unknown_member_is_refused_at_every_level(lines: list[bytes]) -> None:
    for line in lines:
        event = members(line)
        for spoiled in spoilt(event):
            with pytest.raises(FormatError):
                parse_event(canonical_bytes(spoiled))


def spoilt(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the event with a member too many, once per object whose members the format lists."""
    data = event["data"]
    changed = [{**event, "x": 1}, {**event, "data": {**data, "x": 1}}]
    objects = [n for n in ("budget_snapshot", "environment", "error", "prefix") if isinstance(data.get(n), dict)]
    changed.extend({**event, "data": {**data, name: {**data[name], "x": 1}}} for name in objects)
    if data.get("attempts"):
        changed.append({**event, "data": {**data, "attempts": [{**data["attempts"][0], "x": 1}]}})
    changed.extend({**event, name: {**event[name], "x": 1}} for name in ("golden", "timing") if name in event)
    return changed


@pytest.mark.parametrize(
    "place, name, value",
    [
        (0, "inputs", []),
        (0, "inputs", None),
        (0, "spec", "s"),
        (0, "spec", []),
        (0, "canonical", "golden/v2"),
        (0, "seed_scheme", "aos-v2"),
        (0, "seed", 1.0),
        (0, "seed", None),
        (0, "volatile", "/inputs"),
        (0, "spec_hash", "A" * 64),
        (1, "args", {}),
        (1, "kwargs", []),
        (1, "call", -1),
        (1, "result_hash", "0" * 63),
        (3, "inputs", 1),
        (3, "success", 1),
        (3, "index", True),
        (3, "attempts", {}),
        (3, "cost_cents", -1),
        (8, "status", None),
        (8, "steps_total", 1.5),
    ],
)
def test_a_member_of_another_type_is_refused(lines: list[bytes], place: int, name: str, value: Any) -> None:
    event = members(lines[place])
    with pytest.raises(FormatError):
        parse_event(canonical_bytes({**event, "data": {**event["data"], name: value}}))


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{", b"\xff", b'"x"', b"{}", b"[" * 5000])
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(FormatError):
        parse_event(line)


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{", b"\xff", b'{"run_id":1}', b"[" * 5000, b'{"a":' * 5000])
def test_what_is_no_header_is_none(line: bytes) -> None:
    assert parse_header(line) is None


@pytest.mark.parametrize(
    "golden, version, signs",
    [
        ({"alg": "hmac-sha256", "file_id": "0" * 32, "kid": "0" * 16, "v": 1}, 1, True),
        ({"alg": "hmac-sha256", "file_id": "0" * 32, "kid": "0" * 16, "v": 2, "new": 1}, 2, False),
        ({"alg": "ed25519", "file_id": "0" * 32, "kid": "0" * 16, "v": 1}, 1, False),
        ({"v": True}, None, False),
        ({"v": 2.0}, None, False),
        ({"v": "2"}, None, False),
        ([], None, False),
        (7, None, False),
    ],
)
def test_a_header_says_its_version_and_its_key(golden: Any, version: int | None, signs: bool) -> None:
    header = parse_header(canonical_bytes({"run_id": "r-1", "golden": golden}))
    assert header is not None
    assert (header.version, header.signing is not None) == (version, signs)
