"""Interception: client libraries made to hand over each request of a step, by way of vcrpy.

vcrpy knows the libraries: where a request passes, what it says, how a response is made. What becomes of a request is
`outgoing`'s business.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from types import FunctionType
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import vcr.patch
import vcr.stubs
from vcr.patch import CassettePatcherBuilder
from vcr.request import Request

from replay.cassette import CASSETTE, Cue, SeenError
from replay.outgoing import exchange_of


@contextmanager
def intercepting(names: Collection[str]) -> Iterator[None]:
    """Intercept requests meanwhile, recording request headers of these names; for several runs at once as for one."""
    with _lock:
        if not CASSETTE.users:
            _patches.enter_context(_put())
        CASSETTE.users += 1
        CASSETTE.names |= frozenset(names)
    try:
        yield
    finally:
        with _lock:
            CASSETTE.users -= 1
            if not CASSETTE.users:
                _patches.close()


@contextmanager
def _put() -> Iterator[None]:
    log = logging.getLogger("vcr")
    level = log.level
    # It tells every URL at INFO, secrets and all.
    log.setLevel(logging.WARNING)
    try:
        with ExitStack() as stack:
            # It would take every patch away, in all threads, while a connection is made: which looks at none of them.
            stack.enter_context(patch.object(vcr.patch, "force_reset", nullcontext))
            stack.enter_context(patch.object(vcr.stubs.VCRHTTPResponse, "stream", _pieces))
            for patcher in _Builder(CASSETTE).build():
                stack.enter_context(patcher)
            yield
    finally:
        log.setLevel(level)


def _pieces(response: Any, amt: int = 65536, decode_content: object = None) -> Iterator[bytes]:  # noqa: ARG001  its shape is urllib3's
    """Give the body of a response; vcrpy itself ends it by an empty piece, which no library gives."""
    while piece := response.read(amt):
        yield piece


class _Builder(CassettePatcherBuilder):  # type: ignore[misc]
    """Builds vcrpy's patches around ours."""

    def _build_cassette_subclass(self, base: type) -> type:
        members: dict[str, Any] = {"cassette": self._cassette}
        real = getattr(base, "_baseclass", None)
        if real is http.client.HTTPSConnection:
            members["_baseclass"] = _by_its_own_name(real)
        return type(base.__name__, (_Connection, base), members)

    def _build_patcher(self, owner: Any, name: str, replacement: Any) -> Any:
        wrap = {"handle_request": _sync, "handle_async_request": _async, "_request": _session}.get(name)
        if wrap and hasattr(owner, name):
            replacement = wrap(replacement, getattr(owner, name), owner.__module__.partition(".")[0])
        return super()._build_patcher(owner, name, replacement)


def _by_its_own_name(real: type) -> type:
    """Return a class whose constructor finds it by its name, which a patch gives to another class, as it ever did."""
    init: Any = real.__init__  # type: ignore[misc]
    found = FunctionType(
        init.__code__, {**init.__globals__, real.__name__: real}, init.__name__, init.__defaults__, init.__closure__
    )
    found.__kwdefaults__ = init.__kwdefaults__
    return type(real.__name__, (real,), {"__init__": found, "__module__": real.__module__})


class _Connection:
    """A connection of http.client or urllib3, in front of vcrpy's own."""

    _baseclass: type
    _vcr_request: Request
    # What came of a request before it is asked for.
    _early: Any = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Take a request; of http.client it is known to raise here where nobody can be reached."""
        super().request(*args, **kwargs)  # type: ignore[misc]
        self._early = None
        if not self._is_plain:
            # urllib3 does not mind where.
            return
        # What comes in chunks is sent as a whole.
        self._vcr_request.headers.pop("transfer-encoding", None)
        try:
            self._early = self._response()
        except (ConnectionResetError, BrokenPipeError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and error.errno:
                # Of a connection that was never made; a server that is waited for in vain has no number.
                raise
            self._early = error

    @property
    def _is_plain(self) -> bool:
        return self._baseclass.__module__ == http.client.__name__

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        early, self._early = self._early, None
        if isinstance(early, OSError):
            raise early
        return early or self._response(*args, **kwargs)

    def _response(self, *args: Any, **kwargs: Any) -> Any:
        send = partial(super().getresponse, *args, **kwargs)  # type: ignore[misc]
        # urllib3 has a TimeoutError and others of its own, which no connection raises.
        spaces = ("http.client", "ssl") if self._is_plain else ("ssl", "http.client", "urllib3.exceptions")
        exchange = exchange_of(self._vcr_request.method, "builtins", "socket", *spaces)
        if exchange is None:
            with Cue().taken():
                return send()
        exchange.is_raw = self._is_plain
        return exchange.made(self._vcr_request, send)


def _sync(replacement: Any, original: Any, library: str) -> Any:
    def handle(transport: Any, request: Any) -> Any:
        exchange = exchange_of(request.method, library)
        if exchange is None:
            return original(transport, request)
        send = partial(replacement, transport, request)
        try:
            with Cue(looks=True).taken():
                return send()
        except SeenError as seen:
            return exchange.made(seen.request, send)

    return handle


def _async(replacement: Any, original: Any, library: str) -> Any:
    async def handle(transport: Any, request: Any) -> Any:
        exchange = exchange_of(request.method, library)
        if exchange is None:
            return await original(transport, request)
        return await exchange.seen_and_made_async(partial(replacement, transport, request))

    return handle


def _session(replacement: Any, original: Any, library: str) -> Any:
    async def request(session: Any, method: str, url: Any, **kwargs: Any) -> Any:
        exchange = exchange_of(method, library)
        if exchange is None:
            return await original(session, method, url, **kwargs)
        data: Any = kwargs.get("data")
        # What can be read only once is read here: the request is looked at before it is sent.
        if hasattr(data, "__aiter__"):
            kwargs["data"] = b"".join([chunk async for chunk in data])
        elif hasattr(data, "read"):
            kwargs["data"] = data.read()
        exchange.base = getattr(session, "_base_url", None)
        exchange.form = _form(kwargs.get("data"))
        send = partial(replacement, session, method, url, **kwargs)
        # A status is an error of the response, which there is by then.
        return await exchange.seen_and_made_async(send, partial(send, raise_for_status=False))

    return request


def _form(data: Any) -> bytes | None:
    """Return the body of a form whose fields are texts, None for other data."""
    pairs = data.items() if isinstance(data, Mapping) else data
    if isinstance(pairs, bytes | str) or not isinstance(pairs, Iterable):
        return None
    fields = list(pairs) if isinstance(pairs, Collection) else []
    is_form = all(isinstance(field, tuple) and list(map(type, field)) == [str, str] for field in fields)
    return urlencode(fields).encode() if fields and is_form else None


_patches = ExitStack()
_lock = threading.Lock()
