"""Exchanges: an HTTP request and its response as JSON values, for a recording, and the response made again of them.

Asks nobody. What holds a secret by its name (a header, a parameter of the URL or of a form) is never in these values.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from golden.canonical import canonical_bytes
from golden.errors import FormatError, UsageError
from golden.recognition import is_secret_name

# A response as vcrpy has it: `status` {code, message}, `headers` name → values, `body` {string: bytes}.
Response = dict[str, Any]
REDACTED = "redacted"
FORM = "application/x-www-form-urlencoded"
_CHALLENGES = frozenset({"proxy-authenticate", "www-authenticate"})
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_PART = re.compile(rb'(.*?\bname="?([^";\r\n]*).*?\r\n\r\n).*(\r\n)', re.DOTALL)
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
_COOKIE = re.compile(r"=[^;]*")


def checked_names(headers: Collection[str]) -> frozenset[str]:
    """Return names of request headers to be recorded, in lower case; UsageError for one that holds a secret."""
    if isinstance(headers, str):
        raise UsageError(f"http(headers={headers!r}) is one name", hint=f"write http(headers=[{headers!r}])")
    for name in headers:
        if is_secret_name(name):
            raise UsageError(f"the header {name} holds a secret", hint="leave it out: it is sent, and never recorded")
    return frozenset(name.lower() for name in headers)


def asked(method: str, url: str, headers: Mapping[str, Any], body: Any, names: Collection[str]) -> dict[str, Any]:
    """Return a request as JSON values: `method`, `url`, the `headers` of these names, and its body.

    The body is `json`, `form`, `text` or `base64`, absent where there is none. FormatError where it is of a type that
    has no bytes yet.
    """
    sent = {name.lower(): _text(value) for name, value in headers.items()}
    kind = sent.get("content-type", "")
    found: dict[str, Any] = {"method": method.upper(), "url": without_secrets(url)}
    found |= _body(body, kind)
    kept = {name: value for name, value in sent.items() if name in names}
    boundary = _BOUNDARY.search(kind)
    if "content-type" in kept and boundary:
        kept["content-type"] = kind.replace(boundary[1], "boundary")
    if kept:
        found["headers"] = kept
    return found


def stored(responses: list[Response], as_sent: Response | None = None) -> dict[str, Any]:
    """Return the response to a request as JSON values, with those of the redirects before it under `redirects`.

    `as_sent` is the last one as it came, where it is to be made again compressed as it was: `compressed` says how.
    """
    *before, last = [_stored(response) for response in responses]
    if as_sent and as_sent["body"] != responses[-1]["body"]:
        headers = {name.lower(): values for name, values in as_sent["headers"].items()}
        last["compressed"] = _text(headers["content-encoding"])
    return {**last, "redirects": before} if before else last


def restored(value: dict[str, Any]) -> list[Response]:
    """Return the responses, redirects first, that `stored` gave `value` for."""
    return [_restored(one) for one in (*value.get("redirects", ()), value)]


def _stored(response: Response) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    for name, values in response["headers"].items():
        headers.setdefault(name.lower(), []).extend(_header(name.lower(), _text(value)) for value in values)
    found = {
        "status": response["status"]["code"],
        "reason": response["status"]["message"] or "",
        "headers": {name: values[0] if len(values) == 1 else values for name, values in headers.items()},
    }
    return found | _bytes(response["body"].get("string") or b"")


def _restored(value: dict[str, Any]) -> Response:
    headers = {name: [values] if isinstance(values, str) else values for name, values in value["headers"].items()}
    body = value["text"].encode() if "text" in value else base64.b64decode(value.get("base64", ""))
    if value.get("compressed") in _COMPRESS:
        body = _COMPRESS[value["compressed"]](body)
        headers |= {"content-encoding": [value["compressed"]], "content-length": [str(len(body))]}
    return {
        "status": {"code": value["status"], "message": value["reason"]},
        "headers": headers,
        "body": {"string": body},
    }


def _header(name: str, value: str) -> str:
    if name in _CHALLENGES:
        return value
    if name == "set-cookie":
        # Whoever looks whether there is one finds it in a replay too.
        return _COOKIE.sub(f"={REDACTED}", value, count=1) if "=" in value.partition(";")[0] else REDACTED
    if is_secret_name(name):
        return REDACTED
    return without_secrets(value) if name in {"location", "content-location"} else value


def without_secrets(url: str) -> str:
    """Return a URL without user, password, fragment, and the values of parameters that hold a secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = parts.query
    if any(is_secret_name(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        query = urlencode(_pairs(query))
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = parse_qsl(text, keep_blank_values=True)
    return [(name, REDACTED if is_secret_name(name) else value) for name, value in pairs]


def _body(body: Any, kind: str) -> dict[str, Any]:
    if body is None or body == b"":
        return {}
    if not isinstance(body, bytes | bytearray | str):
        # A library that has not made bytes of it yet.
        try:
            canonical_bytes(body)
        except FormatError:
            raise FormatError(
                f"body is a {type(body).__name__}", hint="send bytes, text or JSON, or decorate the call (@external)"
            ) from None
        return {"json": body}
    raw = body.encode() if isinstance(body, str) else bytes(body)
    if kind.partition(";")[0].strip().lower() == FORM:
        return {"form": [list(pair) for pair in _pairs(raw.decode("utf-8", "replace"))]}
    if "json" in kind.lower():
        try:
            value = msgspec.json.decode(raw)
            canonical_bytes(value)
        except (msgspec.MsgspecError, FormatError, RecursionError):
            pass
        else:
            return {"json": value}
    boundary = _BOUNDARY.search(kind)
    if boundary:
        # It is another each time, and says nothing.
        mark = boundary[1].encode()
        raw = b"boundary".join(map(_part, raw.split(mark)) if mark in raw else [raw])
    return _bytes(raw)


def _part(part: bytes) -> bytes:
    """Return one part of a form, its value redacted where its name says that it holds a secret."""
    found = _PART.match(part)
    if found and is_secret_name(found[2].decode("utf-8", "replace")):
        return found[1] + REDACTED.encode() + part[found.start(3) :]
    return part


def _bytes(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"base64": binascii.b2a_base64(raw, newline=False).decode()}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    # aiohttp gives what is no UTF-8 as surrogates, which no recording can hold.
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
