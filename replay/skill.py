"""Skill: the functions that steps name, collected in registries, and loading them from where the invoker says.

Calls no skill. Nothing that is written in a golden file is ever imported.
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from importlib.util import cache_from_source, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

from golden.errors import UsageError
from replay.aos import adapted
from replay.frames import Failure, failure_of, place
from replay.functions import innermost, is_coroutine_function

Function = TypeVar("Function", bound=Callable[..., Any])
ENTRY_POINTS = "golden.skills"


class Skill:
    """One skill: its id, declared version and function, which takes a Context and returns a JSON value.

    `mutating` says that it changes something outside, so that a step needs an idempotency key to call it.
    """

    __slots__ = ("function", "id", "is_async", "mutating", "version")

    def __init__(self, skill_id: str, version: str, function: Callable[..., Any], *, mutating: bool = False) -> None:
        self.id = skill_id
        self.version = version
        self.function = function
        self.mutating = mutating
        self.is_async = is_coroutine_function(function)

    @property
    def module(self) -> str:
        """The name of the module that defines the function."""
        return getattr(innermost(self.function), "__module__", None) or "?"

    @property
    def _is_built_in(self) -> bool:
        return self.module.startswith("replay.")

    def code_hash(self) -> str | None:
        """Return SHA-256 (64 hex) of the source file of the skill's module, or None where there is none, or it is ours.

        What a built-in skill does its version says.
        """
        if self._is_built_in:
            return None
        file = getattr(sys.modules.get(self.module), "__file__", None)
        try:
            return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
        except OSError:
            return None

    def location(self) -> str | None:
        """Return FILE:LINE of the function's `def`, relative to the working directory, or None."""
        code = getattr(innermost(self.function), "__code__", None)
        if code is None or self._is_built_in:
            return None
        line = code.co_firstlineno
        if code.co_name == "<lambda>":
            return place(code.co_filename, line)
        # The first line of a decorated function is its first decorator.
        while (text := linecache.getline(code.co_filename, line)) and not text.lstrip().startswith(_DEFS):
            line += 1
        return place(code.co_filename, line if text else code.co_firstlineno)


class SkillRegistry:
    """Skills by id. Later registrations of another registry win when registries are merged."""

    def __init__(self) -> None:
        self._skills: dict[str, Skill] = {}

    def skill(self, skill_id: str, *, version: str = "1", mutating: bool = False) -> Callable[[Function], Function]:
        """Return a decorator that registers a function under `skill_id` and leaves it as it is.

        `mutating` says that it changes something outside: a step then needs an `idempotency_key`.

        Raises:
            UsageError: the id is taken in this registry, or id or version is no text.
        """

        def register(function: Function) -> Function:
            self._add(Skill(skill_id, version, function, mutating=mutating))
            return function

        return register

    def adapt(self, skill_id: str, skill: Any, *, version: str = "1", mutating: bool = False) -> None:
        """Register a skill written for the AOS system; see `replay.aos.adapted` for its forms.

        Raises:
            UsageError: it has none of these forms, or as `skill` does.
        """
        self._add(Skill(skill_id, version, adapted(skill), mutating=mutating))

    def _add(self, skill: Skill) -> None:
        if not skill.id or not {type(skill.id), type(skill.version)} <= {str}:
            raise UsageError(f"skill {skill.id!r}: id and version must be text", hint='write version="1"')
        if skill.id in self._skills:
            raise UsageError(f"skill {skill.id} is registered twice", hint="give one of them another id")
        self._skills[skill.id] = skill

    def get(self, skill_id: str) -> Skill | None:
        """Return the skill of that id, or None."""
        return self._skills.get(skill_id)

    def update(self, other: SkillRegistry) -> None:
        """Take over the skills of `other`, which win over those of the same id here."""
        self._skills.update(other._skills)

    def __iter__(self) -> Iterator[Skill]:
        return iter(self._skills.values())

    def __len__(self) -> int:
        return len(self._skills)


class SkillImportError(UsageError):
    """A skill module raised while it was imported; `failure` holds the user's own frames."""

    def __init__(self, name: str, failure: Failure) -> None:
        super().__init__(f"skill module {name} cannot be imported", hint="correct it, it runs when it is imported")
        self.failure = failure


def load_skills(names: Iterable[str], *, entry_points: bool = True) -> SkillRegistry:
    """Return the merged skills of the entry-point group `golden.skills` and then of `names`; later ones win.

    A name is `MODULE[:ATTR]` or a `.py` path (`[:ATTR]` too), relative to the working directory; without ATTR its
    `registry`, else its only SkillRegistry.

    Raises:
        UsageError: there is no such module or registry.
        SkillImportError: the module raised.
    """
    _trust_no_stale_bytecode()
    merged = SkillRegistry()
    if entry_points:
        for name in _entry_points():
            merged.update(_load(name))
    for name in names:
        merged.update(_load(name))
    return merged


def load_function(name: str) -> Callable[..., Any]:
    """Return the function that `name` says, `FILE.py:NAME` or `MODULE:NAME`, relative to the working directory.

    Raises:
        UsageError: there is no such module, or nothing in it that can be called by that name.
        SkillImportError: the module raised.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise UsageError(f"{name} names no function", hint="write FILE.py:NAME or MODULE:NAME")
    _trust_no_stale_bytecode()
    found = getattr(_module(module_name), attribute, None)
    if not callable(found):
        raise UsageError(f"{module_name} has no function {attribute}", hint="check the name after the colon")
    function: Callable[..., Any] = found
    return function


_DEFS = ("def ", "async def ")


class _FreshLoader(SourceFileLoader):
    """Runs the source as it is now.

    Cached bytecode tells its source by size and whole seconds: an edit that keeps both would run the old code and be
    called a match. So it is trusted only if it was written in a later second than its source (git's racy-clean rule).
    """

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code, compiled anew where the cache might be of an earlier edit."""
        path = self.get_filename(fullname)
        try:
            racy = int(os.stat(cache_from_source(path)).st_mtime) <= int(os.stat(path).st_mtime)  # noqa: PTH116
        except (OSError, NotImplementedError):
            racy = False
        return self.source_to_code(self.get_data(path), path) if racy else super().get_code(fullname)


def _trust_no_stale_bytecode() -> None:
    if _FIND_FRESH not in sys.path_hooks:
        sys.path_hooks.insert(0, _FIND_FRESH)
        sys.path_importer_cache.clear()


_FIND_FRESH = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (_FreshLoader, SOURCE_SUFFIXES))


def _entry_points() -> Iterator[str]:
    # 10 ms to import.
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        yield point.value


def _load(name: str) -> SkillRegistry:
    module_name, _, attribute = name.partition(":")
    module = _module(module_name)
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, SkillRegistry):
            raise UsageError(f"{name} is no SkillRegistry", hint="name one: MODULE:ATTR")
        return found
    found = getattr(module, "registry", None)
    if isinstance(found, SkillRegistry):
        return found
    candidates = {id(v): v for v in vars(module).values() if isinstance(v, SkillRegistry)}
    if len(candidates) != 1:
        many = f"has {len(candidates)} registries" if candidates else "has no SkillRegistry"
        raise UsageError(f"{name} {many}", hint="add `registry = SkillRegistry()`, or name one: MODULE:ATTR")
    return next(iter(candidates.values()))


def _module(name: str) -> ModuleType:
    try:
        return _import_file(Path(name)) if name.endswith(".py") else _import_module(name)
    except (UsageError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001  whatever the user's module does on import is told, not passed on
        raise SkillImportError(name, failure_of(error)) from None


def _import_module(name: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {name}", hint="check the name of the skill module") from None
        raise


def _import_file(path: Path) -> ModuleType:
    path = Path(os.path.abspath(path))  # noqa: PTH100  links stay as the user wrote them
    if not path.is_file():
        raise UsageError(f"there is no file {os.path.relpath(path)}", hint="check the name of the skill module")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    name = path.stem if loaded is None else f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path, loader=_FreshLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise UsageError(f"{os.path.relpath(path)} cannot be imported", hint="check the name of the skill module")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
