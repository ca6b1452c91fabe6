"""Cassette: what vcrpy is given in place of something to keep exchanges in: the cue that holds says what it is to do.

Knows no step, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from vcr.filters import decode_response
from vcr.request import Request

from replay.exchanges import Response


class Cue:
    """What vcrpy is to do with one request: say what it is, send it and keep the responses, or play some."""

    def __init__(self, responses: Sequence[Response] = (), *, looks: bool = False) -> None:
        self.looks = looks
        self.plays = bool(responses)
        self.responses = list(responses)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Let it hold for what this context does meanwhile."""
        token = _cue.set(self)
        try:
            yield
        finally:
            _cue.reset(token)


class SeenError(BaseException):
    """Ends a request once it is known what it asks for."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class Cassette:
    """What vcrpy expects of a cassette; each answer is that of the cue which holds."""

    # Makes its calls by a callback, not by a function that returns.
    skip_patchers = ("tornado",)
    custom_patches = ()
    write_protected = False

    def __init__(self) -> None:
        self.users = 0
        self.names: frozenset[str] = frozenset({"content-type"})

    def can_play_response_for(self, request: Request) -> bool:
        """Say whether a response is played; ends a request that is only looked at."""
        cue = _cue.get()
        if cue is None:
            # Asked by a connection that would connect already: it does by itself, once there is something to send.
            return True
        if cue.looks:
            raise SeenError(request)
        return cue.plays

    def play_response(self, _request: Request) -> Response:
        """Give the next response."""
        cue = _cue.get()
        if cue is None or not cue.responses:
            raise TypeError("no response is left to play")
        return cue.responses.pop(0)

    def append(self, _request: Request, response: Response) -> None:
        """Take a response that was sent."""
        cue = _cue.get()
        if cue is not None:
            cue.responses.append(response)

    def filter_request(self, request: Request) -> Request:
        """Give the request as it is."""
        return request

    def find_requests_with_most_matches(self, _request: Request) -> list[Any]:
        """Say that nothing was recorded."""
        return []


def decoded(response: Response) -> Response:
    """Return a response as a person can read it, where it came compressed."""
    try:
        found: Response = decode_response(response)
    except Exception:  # noqa: BLE001  one that says it is compressed, and was decoded on its way
        return response
    return found


_cue: ContextVar[Cue | None] = ContextVar("cue", default=None)
CASSETTE = Cassette()
