"""Interception: requests that a step makes through a client library, turned into its external calls by way of vcrpy.

vcrpy knows the libraries: where a request passes, what it says, how a response is made. It is never given anything to
keep: an exchange has answers of its own, for as long as it lasts.
"""

from __future__ import annotations

import http.client
import logging
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from types import FunctionType
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import vcr.patch
import vcr.stubs
from vcr.filters import decode_response
from vcr.patch import CassettePatcherBuilder
from vcr.request import Request

from golden.errors import FormatError
from replay.divergence import Diverged
from replay.effects import EffectError, UnrecordableError
from replay.exchanges import FORM, Response, asked, restored, stored, without_secrets
from replay.flow import Scope, outside, refuse_stray, running
from replay.live import asking

_ERRNO = re.compile(r"\[Errno (\d+)\] (.*)", re.DOTALL)


@contextmanager
def intercepting(names: Collection[str]) -> Iterator[None]:
    """Intercept requests meanwhile, recording request headers of these names; for several runs at once as for one."""
    with _lock:
        if not _cassette.users:
            _patches.enter_context(_put())
        _cassette.users += 1
        _cassette.names |= frozenset(names)
    try:
        yield
    finally:
        with _lock:
            _cassette.users -= 1
            if not _cassette.users:
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
            for patcher in _Builder(_cassette).build():
                stack.enter_context(patcher)
            yield
    finally:
        log.setLevel(level)


def _pieces(response: Any, amt: int = 65536, decode_content: object = None) -> Iterator[bytes]:  # noqa: ARG001  its shape is urllib3's
    """Give the body of a response; vcrpy itself ends it by an empty piece, which no library gives."""
    while piece := response.read(amt):
        yield piece


class _Turn:
    """What vcrpy is to do with one request: say what it is, send it and keep the responses, or play some."""

    def __init__(self, responses: Sequence[Response] = (), *, looks: bool = False) -> None:
        self.looks = looks
        self.plays = bool(responses)
        self.responses = list(responses)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Let it be this context's turn meanwhile."""
        token = _turn.set(self)
        try:
            yield
        finally:
            _turn.reset(token)


class _SeenError(BaseException):
    """Ends a request once it is known what it asks for."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class _Cassette:
    """What vcrpy expects of a cassette; each answer is that of the turn which is under way."""

    # Makes its calls by a callback, not by a function that returns.
    skip_patchers = ("tornado",)
    custom_patches = ()
    write_protected = False

    def __init__(self) -> None:
        self.users = 0
        self.names: frozenset[str] = frozenset({"content-type"})

    def can_play_response_for(self, request: Request) -> bool:
        turn = _turn.get()
        if turn is None:
            # Asked by a connection that would connect already: it does by itself, once there is something to send.
            return True
        if turn.looks:
            raise _SeenError(request)
        return turn.plays

    def play_response(self, _request: Request) -> Response:
        turn = _turn.get()
        if turn is None or not turn.responses:
            raise TypeError("no response is left to play")
        return turn.responses.pop(0)

    def append(self, _request: Request, response: Response) -> None:
        turn = _turn.get()
        if turn is not None:
            turn.responses.append(response)

    def filter_request(self, request: Request) -> Request:
        return request

    def find_requests_with_most_matches(self, _request: Request) -> list[Any]:
        return []


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
        exchange = _exchange(self._vcr_request.method, "builtins", "socket", *spaces)
        if exchange is None:
            with _Turn().taken():
                return send()
        exchange.is_raw = self._is_plain
        return exchange.made(self._vcr_request, send)


def _sync(replacement: Any, original: Any, library: str) -> Any:
    def handle(transport: Any, request: Any) -> Any:
        exchange = _exchange(request.method, library)
        if exchange is None:
            return original(transport, request)
        send = partial(replacement, transport, request)
        try:
            with _Turn(looks=True).taken():
                return send()
        except _SeenError as seen:
            return exchange.made(seen.request, send)

    return handle


def _async(replacement: Any, original: Any, library: str) -> Any:
    async def handle(transport: Any, request: Any) -> Any:
        exchange = _exchange(request.method, library)
        if exchange is None:
            return await original(transport, request)
        return await exchange.seen_and_made_async(partial(replacement, transport, request))

    return handle


def _session(replacement: Any, original: Any, library: str) -> Any:
    async def request(session: Any, method: str, url: Any, **kwargs: Any) -> Any:
        exchange = _exchange(method, library)
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


class _Exchange:
    """A request of a step, its external call, and the response made of what that came to, recorded or answered."""

    # What a session takes a relative URL to begin with.
    base: Any = None
    # The body, where it is given by its fields.
    form: bytes | None = None
    # Whether the library gives a body as it comes, compressed or not.
    is_raw = False

    def __init__(self, scope: Scope, name: str, spaces: Sequence[str]) -> None:
        self._scope = scope
        self._name = name
        self._spaces = spaces
        # With the secrets that a recording has not: whoever logs in by a cookie goes on with it.
        self._live: list[Response] = []

    def made(self, request: Request, send: Callable[[], Any]) -> Any:
        """Return the response that `send` gives."""

        def ask(**_: Any) -> Any:
            turn = _Turn()
            with outside(), turn.taken():
                send()
            return self._stored(turn)

        told = self._told(request)
        with self._as_raised():
            value = self._scope.calls.call(self._name, ask, (), told)
        with self._answer(value).taken():
            return send()

    async def seen_and_made_async(
        self, send: Callable[[], Awaitable[Any]], really_send: Callable[[], Awaitable[Any]] | None = None
    ) -> Any:
        """As `made`, of a request that is known once vcrpy has looked at it, and is sent by `really_send`, if given."""

        async def ask(**_: Any) -> Any:
            turn = _Turn()
            with outside(), turn.taken():
                await (really_send or send)()
            return self._stored(turn)

        try:
            with _Turn(looks=True).taken():
                return await send()
        except _SeenError as seen:
            told = self._told(seen.request)
        with self._as_raised():
            value = await self._scope.calls.call(self._name, ask, (), told)
        with self._answer(value).taken():
            return await send()

    def _told(self, request: Request) -> dict[str, Any]:
        url = request.uri if self.base is None else str(self.base.join(type(self.base)(request.uri)))
        headers, body = request.headers, request.body
        if self.form is not None:
            headers, body = {**headers, "content-type": FORM}, self.form
        if not isinstance(body, bytes | str | dict | list | None):
            body = body.read() if hasattr(body, "read") else body
        if hasattr(body, "__next__"):
            body = b"".join(body)
        try:
            return asked(request.method, url, headers, body, _cassette.names)
        except FormatError as error:
            return self._scope.refuse(f"HTTP request to {without_secrets(url)}: {error.problem}; {error.hint}")

    def _stored(self, turn: _Turn) -> dict[str, Any]:
        decoded = list(map(_decoded, turn.responses))
        self._live = turn.responses if self.is_raw else decoded
        return stored(decoded, as_sent=turn.responses[-1] if self.is_raw else None)

    def _answer(self, value: dict[str, Any]) -> _Turn:
        responses = self._live or restored(value)
        if self._spaces[0].startswith("httpx"):
            # It takes text to be ASCII, and bytes for what a service says.
            responses = [{**one, "headers": _as_bytes(one["headers"])} for one in responses]
        return _Turn(responses)

    @contextmanager
    def _as_raised(self) -> Iterator[None]:
        try:
            yield
        except EffectError as error:
            raise _raised(error, self._spaces) from error.__cause__
        except (Diverged, UnrecordableError) as error:
            self._scope.locate(error)
            raise


def _as_bytes(headers: Mapping[str, Sequence[str]]) -> dict[str, list[bytes]]:
    return {name: [value.encode() for value in values] for name, values in headers.items()}


def _exchange(method: str, *spaces: str) -> _Exchange | None:
    """Return the exchange that begins here, None where a request is a plain one."""
    if asking.get() is not None:
        return None
    name = f"http.{method.upper()}"
    scope = running()
    if scope is None:
        refuse_stray(name)
        return None
    return _Exchange(scope, name, (*spaces, "builtins"))


def _raised(error: EffectError, spaces: Sequence[str]) -> BaseException:
    """Return the exception of a library that was recorded by its type's name and message."""
    kinds = (getattr(sys.modules.get(space), error.type, None) for space in spaces)
    kind = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)), None)
    if kind is None:
        return error
    numbered = _ERRNO.fullmatch(error.message) if issubclass(kind, OSError) else None
    args: tuple[Any, ...] = (int(numbered[1]), numbered[2]) if numbered else (error.message,)
    # Not by its own constructor, which may ask for connections and such.
    made: BaseException = kind.__new__(kind, *args)
    made.args = args
    try:
        is_told = str(made) == error.message
    except Exception:  # noqa: BLE001  it may tell what its constructor would have been given
        is_told = False
    if not is_told:
        made.__class__ = type(
            kind.__name__, (kind,), {"__str__": lambda _: error.message, "__module__": kind.__module__}
        )
    made.__dict__["frames"] = error.frames
    return made


def _decoded(response: Response) -> Response:
    """Return a response as a person can read it, where it came compressed."""
    try:
        found: Response = decode_response(response)
    except Exception:  # noqa: BLE001  one that says it is compressed, and was decoded on its way
        return response
    return found


_cassette = _Cassette()
_patches = ExitStack()
_lock = threading.Lock()
_turn: ContextVar[_Turn | None] = ContextVar("turn", default=None)
