"""Web: `http()`, by which the HTTP requests of client libraries are external calls of the step that makes them.

Only says that it is wanted; how it is done is loaded when a run begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec

from golden.errors import UsageError

_wanted: list[frozenset[str]] = []
_under_way: list[bool] = []


def http(*, headers: Collection[str] = ()) -> None:
    """Record the requests of httpx, requests, urllib3, aiohttp and http.client in the runs of this process from now on.

    Call it once, where a module is loaded. Each request that a step makes is an external call named `http.METHOD`: in a
    replay its method, URL, body and content type are compared, and its response is answered from the recording, or the
    exception that it raised. Outside of a run, and inside another external call, requests are what they always are.
    Of the headers that hold secrets, and of such parameters, no value is ever recorded.

    Args:
        headers: further request headers that are recorded and compared.

    Raises:
        UsageError: a header that holds a secret is among them, a run has begun without it, or vcrpy is not installed.
    """
    if find_spec("vcr") is None:
        raise UsageError(
            "recording HTTP clients needs the library vcrpy, which is not installed",
            hint="pip install 'stepseal[http]'",
        )
    # What it takes is for those who ask for it.
    names: frozenset[str] = import_module("replay.exchanges").checked_names(headers)
    if _under_way and not (_wanted and names <= frozenset().union(*_wanted)):
        raise UsageError("http() within a run", hint="call it at the top of a module, which is loaded before the run")
    _wanted.append(names)


@contextmanager
def intercepted() -> Iterator[None]:
    """Intercept requests meanwhile, where `http` was called."""
    # A second's work: it loads every client library that is installed.
    with import_module("replay.interception").intercepting(frozenset().union(*_wanted)) if _wanted else nullcontext():
        _under_way.append(True)
        try:
            yield
        finally:
            _under_way.pop()
