"""HTTP requests and responses as JSON values: nothing that is compared gets lost, no secret gets in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.canonical import canonical_bytes
from golden.errors import FormatError, UsageError
from golden.recognition import is_secret_name
from replay.exchanges import asked, checked_names, restored, stored

URL = "https://api.example/v1"
JSON = {"Content-Type": "application/json; charset=utf-8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def response(status: int, headers: dict[str, list[str]], body: bytes) -> dict[str, Any]:
    return {"status": {"code": status, "message": "OK"}, "headers": headers, "body": {"string": body}}


SECRETS = """
    Authorization Proxy-Authorization Cookie Set-Cookie X-Api-Key x-goog-api-key apiKey api_key access_token
    refreshToken client_secret PASSWORD X-Amz-Signature X-Amz-Security-Token sig X-CSRF-Token session
"""
PLAIN = "content-type accept etag x-request-id x-ratelimit-remaining-tokens author n"


@pytest.mark.parametrize("name", SECRETS.split())
def test_a_name_that_says_secret_is_one(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["content-type", "accept", "etag", "x-request-id", "x-ratelimit-remaining-tokens", "author", "n"]
)
def test_a_name_that_says_nothing_of_the_kind_is_none(name: str) -> None:
    assert not is_secret_name(name)


def test_a_header_that_holds_a_secret_cannot_be_asked_for() -> None:
    assert checked_names(["X-Tenant"]) == {"x-tenant"}
    with pytest.raises(UsageError, match="the header X-API-Key holds a secret"):
        checked_names(["X-Tenant", "X-API-Key"])
    with pytest.raises(UsageError, match="is one name"):
        checked_names("X-Tenant")


@pytest.mark.parametrize(
    "headers, body, expected",
    [
        (JSON, b'{"b": 1, "a": [1.0, null]}', {"json": {"a": [1.0, None], "b": 1}}),
        (JSON, b"{", {"text": "{"}),
        (JSON, b'{"n": 1e999}', {"text": '{"n": 1e999}'}),
        (FORM, b"a=1&a=&password=hush", {"form": [["a", "1"], ["a", ""], ["password", "redacted"]]}),
        ({}, "héllo", {"text": "héllo"}),
        ({}, b"\xff\x00", {"base64": "/wA="}),
        ({}, {"x": 1}, {"json": {"x": 1}}),
        ({}, b"", {}),
        ({}, None, {}),
    ],
)
def test_a_body_is_told_as_what_it_is(headers: dict[str, str], body: Any, expected: dict[str, Any]) -> None:
    assert asked("post", URL, headers, body, ()) == {"method": "POST", "url": URL, **expected}


def test_a_body_that_has_no_bytes_yet_is_refused() -> None:
    with pytest.raises(FormatError, match="body is a object"):
        asked("POST", URL, {}, object(), ())


def test_the_boundary_of_parts_is_the_same_in_every_run() -> None:
    def sent(boundary: str) -> dict[str, Any]:
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return asked("POST", URL, kind, f"--{boundary}\r\n\r\nx\r\n--{boundary}--".encode(), {"content-type"})

    assert sent("a1b2") == sent("ffee99")
    assert sent("a1b2")["text"] == "--boundary\r\n\r\nx\r\n--boundary--"
    assert sent('"q"')["text"] == '--"boundary"\r\n\r\nx\r\n--"boundary"--'
    assert sent("a1b2")["headers"] == {"content-type": "multipart/form-data; boundary=boundary"}


def test_of_the_headers_only_the_named_are_told() -> None:
    headers = {"X-Tenant": "t", "Authorization": b"Bearer hush", "User-Agent": "client/1"}
    assert asked("GET", URL, headers, None, {"x-tenant"})["headers"] == {"x-tenant": "t"}


@pytest.mark.parametrize(
    "url, told",
    [
        ("https://me:hush@api.example/v1?q=a%20b#part", "https://api.example/v1?q=a%20b"),
        ("https://api.example/v1?key=hush&q=a", "https://api.example/v1?key=redacted&q=a"),
        ("https://api.example:8443/?X-Amz-Signature=hush", "https://api.example:8443/?X-Amz-Signature=redacted"),
    ],
)
def test_no_secret_of_a_url_is_told(url: str, told: str) -> None:
    assert asked("GET", url, {}, None, ())["url"] == told


def test_no_secret_of_a_response_is_stored() -> None:
    headers = {
        "Set-Cookie": ["sid=hush", "b=hush"],
        "X-Auth-Token": ["hush"],
        "Location": ["https://u:hush@h/cb?token=hush&x=1"],
        "WWW-Authenticate": ['Digest realm="r"'],
    }
    found = stored([response(200, headers, b"ok")])
    assert "hush" not in json.dumps(found)
    assert found["headers"]["www-authenticate"] == 'Digest realm="r"'
    assert found["headers"]["location"] == "https://h/cb?token=redacted&x=1"


header_names = st.sampled_from(["content-type", "x-a", "x-b", "etag"])
responses = st.builds(
    response,
    st.integers(100, 599),
    st.dictionaries(header_names, st.lists(st.text("abc ;=/", min_size=1), min_size=1, max_size=3)),
    st.binary(max_size=40) | st.text(max_size=20).map(str.encode),
)


@given(st.lists(responses, min_size=1, max_size=3))
def test_what_is_stored_is_restored(given_responses: list[dict[str, Any]]) -> None:
    value = stored(given_responses)
    canonical_bytes(value)
    assert restored(value) == given_responses
