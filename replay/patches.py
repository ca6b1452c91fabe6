"""Patches: what is put in place while steps run, so that the guard sees their calls, and taken back afterwards.

Whoever runs no step gets what he always got. Judges nothing; C extensions that ask the system themselves go unseen.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, datetime
from functools import partial, update_wrapper
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

from replay.frames import owner
from replay.guard import Kind, Watch, current, watching
from replay.hearing import listen
from replay.tables import are_open, forget_cached, table_of
from replay.virtual import CLOCK, Answer, Heed, drawn, is_drawn, is_without, randbits, urandom, uuid1

_GENERATOR = "__self__"


class Patched:
    """A function in the place of `original`, of which the guard hears; no descriptor, as built-in functions are none.

    `heed` may take note of a call, and says whether it is to be judged; `answer` is what a step itself answers.
    """

    def __init__(
        self,
        original: Callable[..., Any],
        kind: Kind,
        call: str,
        answer: Answer | None = None,
        heed: Heed | None = None,
    ) -> None:
        self.original = original
        self._kind: Kind = kind
        self._call = call
        self._answer = answer
        self._heed = heed
        update_wrapper(self, original)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return what the step itself answers, or what `original` returns."""
        watch = current()
        if watch is not None and (self._heed is None or self._heed(watch, args)):
            answer, caller = self._answer, sys._getframe(1)  # noqa: SLF001  the one way to ask who called
            if watch.judge(self._kind, self._call, caller, virtual=answer is not None) and answer is not None:
                return answer(watch, *args, **kwargs)
        return self.original(*args, **kwargs)

    def __reduce__(self) -> str:
        # A function: pickled by its name, and copied as itself.
        return self.original.__name__


@contextmanager
def in_place() -> Iterator[None]:
    """Keep the patches in place; several runs at once share them, and the last one takes them back."""
    with _lock:
        if not _users:
            _put()
        _users.append(None)
    try:
        yield
    finally:
        with _lock:
            _users.pop()
            if not _users:
                _taken_back.close()


_lock = threading.Lock()
_users: list[None] = []
_taken_back = ExitStack()


def _put() -> None:
    listen()
    with ExitStack() as stack:
        patched = {}
        for module, name, patch in _functions():
            patched[id(patch.original)] = patch
            _set(stack, module, name, patch)
        for kind, name, function in _methods():
            _set(stack, kind, name, function)
        _put_environment(stack)
        _put_types(stack)
        stack.callback(_unbind, set(sys.modules))
        _bind(patched)
        _taken_back.push(stack.pop_all())


def _set(stack: ExitStack, place: Any, name: str, value: Any) -> None:
    stack.callback(_set_back, place, name, value, vars(place)[name])
    setattr(place, name, value)


def _set_back(place: Any, name: str, value: Any, original: Any) -> None:
    # What somebody else has put there meanwhile is theirs.
    if vars(place)[name] is value:
        setattr(place, name, original)


# Functions of modules.


def _functions() -> Iterator[tuple[Any, str, Patched]]:
    """Give (module, name, patch) of each function."""
    if "numpy" in sys.modules:
        # It loads this part of itself when somebody asks for it: in the midst of a step, and what is patched by then.
        with suppress(ImportError):
            import_module("numpy.random")
    numpy = sys.modules.get("numpy.random")
    for name, (answer, heed) in CLOCK.items():
        yield time, name, Patched(getattr(time, name), "clock", f"time.{name}", answer, heed)
    yield from _generator(random, random.random, virtual=True)
    yield os, "urandom", Patched(os.urandom, "entropy", "os.urandom", urandom)
    yield secrets, "randbits", Patched(secrets.randbits, "entropy", "secrets.randbits", randbits)
    yield uuid, "uuid1", Patched(uuid.uuid1, "entropy", "uuid.uuid1", uuid1)
    if numpy is not None:
        yield from _generator(numpy, getattr(numpy, "random", None), virtual=False)
        if hasattr(numpy, "default_rng"):
            unseeded = partial(is_without, 0)
            yield numpy, "default_rng", Patched(numpy.default_rng, "random", "numpy.random.default_rng", heed=unseeded)


def _generator(module: Any, one: Any, *, virtual: bool) -> Iterator[tuple[Any, str, Patched]]:
    """Give the functions of a module that share one generator, that of `one`."""
    shared = getattr(one, _GENERATOR, None)
    for name, function in list(vars(module).items()):
        # That of numpy is a function of its own.
        is_its_own = name == "seed" or getattr(function, _GENERATOR, None) is shared
        if shared is not None and is_its_own and not name.startswith("_"):
            answer = partial(drawn, name) if virtual else None
            heed = partial(is_drawn, module.__name__, name, virtual=virtual)
            call = f"{module.__name__}.{name}"
            yield module, name, Patched(function, "random", call, answer, heed)


# Methods of classes, whoever has the class by now.


def _methods() -> Iterator[tuple[Any, str, Any]]:
    """Give (class, name, function) of each method of a class that Python code defines."""
    yield random.Random, "seed", _seed_of(random.Random.seed)
    for name in ("random", "getrandbits", "randbytes"):
        yield random.SystemRandom, name, _system_random(name, vars(random.SystemRandom)[name])
    yield threading.Thread, "start", _start_of(threading.Thread.start)


def _seed_of(original: Answer) -> Answer:
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        watch = current() if a is None else None
        if watch is not None and watch.judge("random", "random.Random", sys._getframe(1)):  # noqa: SLF001  as in Patched
            a = watch.context.random.getrandbits(64)
        original(self, a, version)

    return seed


def _system_random(name: str, original: Answer) -> Answer:
    def draw(self: random.SystemRandom, *args: Any) -> Any:
        watch = current()
        if watch is not None and watch.judge("entropy", "random.SystemRandom", sys._getframe(1)):  # noqa: SLF001  as in Patched
            return getattr(watch.context.entropy, name)(*args)
        return original(self, *args)

    return draw


def _start_of(original: Answer) -> Answer:
    def start(self: threading.Thread) -> None:
        watch = current()
        if watch is not None:
            # A thread that a step starts is the step's; nothing else of its context is handed on.
            self.run = partial(_watched, self, watch)  # type: ignore[method-assign]
        original(self)

    return start


def _watched(thread: threading.Thread, watch: Watch) -> None:
    del thread.run
    watching.set(watch)
    thread.run()


# The environment: its two objects change their class, not the class its methods. Python 3.13 counts how often a class
# changes, and from some five hundred runs on `os.environ.get` would go on with the method that it knew last.


class _Environ(os._Environ[Any]):  # noqa: SLF001  it has no public name
    def __getitem__(self, key: Any) -> Any:
        _asked_environment(sys._getframe(1), f"[{key!r}]")  # noqa: SLF001  as in Patched
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        _asked_environment(sys._getframe(1))  # noqa: SLF001  as in Patched
        return super().__iter__()


def _asked_environment(frame: FrameType, detail: str = "") -> None:
    watch = current()
    if watch is not None:
        watch.judge("environment", "os.environ", frame, detail, virtual=False)


def _put_environment(stack: ExitStack) -> None:
    # Nothing of it is read here, and nothing may be.
    for environment in (os.environ, getattr(os, "environb", None)):
        if type(environment) is os._Environ:  # noqa: SLF001  it has no public name
            stack.callback(_take_back_environment, environment)
            environment.__class__ = _Environ


def _take_back_environment(environment: Any) -> None:
    environment.__class__ = os._Environ  # noqa: SLF001  it has no public name


# Types that C code defines. A subclass under the same name would be another type to whoever compares types, pickles,
# or asks a library that knows the real one; so their own table of methods is what changes.


def _put_types(stack: ExitStack) -> None:
    if not are_open():
        # They are not seen then; whoever counts on it was refused before.
        return
    stack.callback(forget_cached)
    for kind, name in ((datetime, "now"), (datetime, "utcnow"), (date, "today")):
        methods = table_of(kind) or {}
        stack.callback(methods.__setitem__, name, methods[name])
        methods[name] = _moment(name, methods[name])
    forget_cached()


def _moment(name: str, original: Any) -> Any:
    def moment(cls: Any, *args: Any, **kwargs: Any) -> Any:
        watch = current()
        call = f"{'datetime' if issubclass(cls, datetime) else 'date'}.{name}"
        if watch is None or not watch.judge("clock", call, sys._getframe(1)):  # noqa: SLF001  as in Patched
            return original.__get__(None, cls)(*args, **kwargs)
        zone = (*args, *kwargs.values(), None)[0]
        now = watch.now() if zone is None else watch.now().astimezone(zone)
        day = (now.year, now.month, now.day)
        if not issubclass(cls, datetime):
            return cls(*day)
        return cls(*day, now.hour, now.minute, now.second, now.microsecond, zone, fold=now.fold)

    return classmethod(moment)


# Names that the user's modules were given before: `from time import time`.


def _bind(patched: dict[int, Patched]) -> None:
    for names in _namespaces(set(sys.modules)):
        for name, value in list(names.items()):
            if id(value) in patched:
                names[name] = patched[id(value)]


def _unbind(before: set[str]) -> None:
    """Give every module that could have got hold of a patch the function it stands for."""
    for names in _namespaces(before):
        for name, value in list(names.items()):
            if type(value) is Patched:
                names[name] = value.original


def _namespaces(known: set[str]) -> Iterator[dict[str, Any]]:
    """Give the global names of the user's modules, and of all that are not among `known`."""
    for name, module in list(sys.modules.items()):
        # Some that stand there only say that they are modules.
        if not issubclass(type(module), ModuleType):
            continue
        # Not by getattr: a lazy module would be loaded by it.
        names = object.__getattribute__(module, "__dict__")
        if name not in known or owner(str(names.get("__file__") or "<frozen>")) == "user":
            yield names
