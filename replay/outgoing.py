"""Outgoing: a request that a step makes through a library, as its external call, and the response that comes of it.

How a library is made to hand a request over is `interception`'s business, how both look in a recording `exchanges`'.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vcr.request import Request

from golden.errors import FormatError
from replay.cassette import CASSETTE, Cue, SeenError, decoded
from replay.divergence import Diverged
from replay.effects import EffectError, UnrecordableError
from replay.exchanges import FORM, Response, asked, restored, stored, without_secrets
from replay.flow import Scope, outside, refuse_stray, running
from replay.live import asking

_ERRNO = re.compile(r"\[Errno (\d+)\] (.*)", re.DOTALL)


class Exchange:
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
            cue = Cue()
            with outside(), cue.taken():
                send()
            return self._stored(cue)

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
            cue = Cue()
            with outside(), cue.taken():
                await (really_send or send)()
            return self._stored(cue)

        try:
            with Cue(looks=True).taken():
                return await send()
        except SeenError as seen:
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
            return asked(request.method, url, headers, body, CASSETTE.names)
        except FormatError as error:
            return self._scope.refuse(f"HTTP request to {without_secrets(url)}: {error.problem}; {error.hint}")

    def _stored(self, cue: Cue) -> dict[str, Any]:
        readable = list(map(decoded, cue.responses))
        self._live = cue.responses if self.is_raw else readable
        return stored(readable, as_sent=cue.responses[-1] if self.is_raw else None)

    def _answer(self, value: dict[str, Any]) -> Cue:
        responses = self._live or restored(value)
        if self._spaces[0].startswith("httpx"):
            # It takes text to be ASCII, and bytes for what a service says.
            responses = [{**one, "headers": _as_bytes(one["headers"])} for one in responses]
        return Cue(responses)

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


def exchange_of(method: str, *spaces: str) -> Exchange | None:
    """Return the exchange that begins here, None where a request is a plain one."""
    if asking.get() is not None:
        return None
    name = f"http.{method.upper()}"
    scope = running()
    if scope is None:
        refuse_stray(name)
        return None
    return Exchange(scope, name, (*spaces, "builtins"))


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
