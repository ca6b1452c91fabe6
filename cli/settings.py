"""Settings: the only reader of the environment, and the values in force.

Says for each value where it comes from; what a value does is decided elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cli.address import check_address, from_base, masked, path_of
from cli.configuration import KEYS, checked
from golden import keyfile
from golden.errors import KeyringError, StoreError, UsageError
from golden.keyring import Keyring
from golden.memory import Memory
from golden.sources import VARIABLES, Pool, Sources, keyring_from, read_sources
from golden.store import Store
from golden.whereabouts import (
    cache_place,
    find_configuration,
    is_automatic,
    sources_place,
    state_place,
    usual_keyring,
)

if TYPE_CHECKING:
    from replay.checkpoints.contract import CheckpointStore
    from replay.controls import Controls

__all__ = ["CEILINGS", "DEFAULTS", "KEYS", "SECRETS", "SWITCHES", "Settings"]
DEFAULTS: dict[str, Any] = {
    "dir": ".golden",
    "skills": [],
    "specs": [],
    "functions": [],
    "keyring": keyfile.NAME,
    "ledger": True,
    "checkpoints": None,
    "checkpoint_interval": 1,
    "durability": "seal",
    "volatile": [],
    "policy": {},
    "anchor_to": [],
    "guard": None,
    "redact": [],
    "allow_secrets": [],
}
SECRETS = VARIABLES
# Of all that a deployment may call its database, the operators' documents know this name.
_CHECKPOINTS = ("GOLDEN_CHECKPOINTS", "DATABASE_URL")
_NO_RESUME = "GOLDEN_RESUME_DISABLED"
_ALLOW_EXEC = "GOLDEN_ALLOW_EXEC"
SWITCHES = ("WORKFLOW_EMERGENCY_STOP", "WORKFLOW_ENGINE_ENABLED", _NO_RESUME)
CEILINGS = {"DEFAULT_STEP_CEILING_CENTS": 100, "DEFAULT_WORKFLOW_CEILING_CENTS": 1000}
_DATABASE = "checkpoints.sqlite"
_PR_SET_DUMPABLE = 4
_MAX_DIGITS = 18
# Variables that hold secrets, as sources.toml says: one environment a process, one set of them.
_secret_variables: set[str] = set()


class Settings:
    """The values in force: flag before environment before configuration file before default.

    `origins` says per key where its value comes from. Raises UsageError for a configuration that cannot be used.

    With `emergency` all but the golden directory is left at its default: where that is named by flag or environment no
    file is read, and nothing in one can stand in the way of whoever has to stop the engine.
    """

    def __init__(
        self,
        *,
        dir: str | None = None,  # noqa: A002  the flag's name
        keyring: str | None = None,
        skills: tuple[str, ...] = (),
        emergency: bool = False,
    ) -> None:
        self.environ: Mapping[str, str] = dict(os.environ)
        self.tell: Callable[[str], None] | None = None
        self._home = os.getcwd()
        self.file: str | None = None
        self.values = dict(DEFAULTS)
        self.origins = dict.fromkeys(DEFAULTS, "default")
        if not (emergency and (dir or self.environ.get("GOLDEN_DIR"))):
            self.file, found = find_configuration(os.getcwd())
            self._take({key: found[key] for key in found if key == "dir" or not emergency})
        for variable in reversed(_CHECKPOINTS):
            if self.environ.get(variable):
                self._set("checkpoints", self.environ[variable], variable)
        for key, variable, given in (("dir", "GOLDEN_DIR", dir), ("keyring", "GOLDEN_KEYRING", keyring)):
            if self.environ.get(variable):
                self._set(key, self.environ[variable], variable)
            if given == "":
                raise UsageError(f"--{key} is empty", hint=f"name one, or leave --{key} out")
            if given is not None:
                self._set(key, given, f"--{key}")
        if self.origins["keyring"] == "default":
            self.values["keyring"] = None if emergency else self._usual_keyring()
        if skills:
            self._set("skills", [*self.values["skills"], *skills], "--skills")

    @property
    def directory(self) -> str:
        """The golden directory."""
        directory: str = self.values["dir"]
        return directory

    @property
    def root(self) -> str:
        """Where the project begins: the folder of the configuration file, else the working directory."""
        return os.path.dirname(self.file) if self.file else os.getcwd()

    @property
    def new_keyring(self) -> str:
        """Where a keyring file is written to, whether it is there or not."""
        path: str | None = self.values["keyring"]
        return path or os.path.relpath(os.path.join(self.root, keyfile.NAME))

    @property
    def sources_path(self) -> str | None:
        """Where this host's `sources.toml` is or would be; None where nobody knows a folder for it."""
        return sources_place(self.environ)

    @property
    def state_dir(self) -> str | None:
        """Where this host remembers anchors; None where nobody knows a folder for it."""
        return state_place(self.environ)

    @property
    def cache_dir(self) -> str | None:
        """Where this host keeps what can be made again; None where nobody knows a folder for it."""
        return cache_place(self.environ)

    @cached_property
    def sources(self) -> Sources:
        """What this host's `sources.toml` says; nothing where there is none. Raises KeyringError."""
        return self._read_sources()

    def _read_sources(self) -> Sources:
        path = self._from_home(self.sources_path)
        # One that was named must be there.
        if path is None or not (self.environ.get("GOLDEN_SOURCES") or os.path.lexists(path)):
            return Sources()
        found = read_sources(path)
        _secret_variables.update(found.variables)
        return found

    @cached_property
    def pool(self) -> Pool:
        """The secrets at hand; raises KeyringError for what the environment names and cannot be used."""
        return Pool(self.environ, self.sources, tell=lambda text: self.tell(text) if self.tell else None)

    @property
    def anchor_to(self) -> list[str]:
        """Where anchors are kept: `git` if the project says so, then the places that `sources.toml` names."""
        return [*self.values["anchor_to"], *map(str, self.sources.anchor_to)]

    def keyring(self, key: str | None = None) -> Keyring:
        """Return the keys in use, read anew; `key` is the kid that files of the AOS system are verified with.

        Raises:
            KeyringError, UsageError: see `keyring_from`.
        """
        return keyring_from(self.pool, self._from_home(self.values["keyring"]), key=key)

    def reload(self, key: str | None = None) -> Keyring:
        """Return the keys as they are by now, sources.toml and secret files read anew too; raises as `keyring` does.

        Where these cannot be read any more, what was read before stays in use: what a key may do the keyring says.
        """
        try:
            sources = self._read_sources()
            self.pool = self.pool.anew(sources)
            self.sources = sources
        except KeyringError as error:
            self.pool.note(f"{error.problem}: the secrets read before stay in use")
        return self.keyring(key)

    def store(self, key: str | None = None) -> Store:
        """Return the golden directory with the keys at hand, its ledger and what this host remembers of it."""
        return Store(
            self.directory,
            self.keyring(key),
            durability=self.values["durability"],
            ledger=self.values["ledger"],
            memory=Memory(self.state_dir) if self.state_dir else None,
            reload=lambda: self.reload(key),
        )

    def ceiling(self, name: str) -> int:
        """Return a ceiling of `CEILINGS` in integer cents; unset means its default, 0 means 0."""
        text = self.environ.get(name)
        if text is None:
            return CEILINGS[name]
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
            raise UsageError(
                f"{name} is {text!r}, not a whole number of cents", hint="set it to 0 or more, or unset it"
            )
        return int(text)

    def user_environ(self) -> dict[str, str]:
        """Return the environment that a run's code sees: all but `GOLDEN_*` and what holds a secret."""
        secret = self.sources.variables
        return {
            name.encode("utf-8", "backslashreplace").decode(): value
            for name, value in self.environ.items()
            if not name.startswith("GOLDEN_") and name not in secret
        }

    @property
    def allow_exec(self) -> bool:
        """Whether the environment lets the commands of recordings be run: only if it says 1, true, yes or on."""
        return self.environ.get(_ALLOW_EXEC, "").strip().lower() in {"1", "true", "yes", "on"}

    @property
    def is_ci(self) -> bool:
        """Whether the environment says that nobody watches: `CI`, unless it is empty or false."""
        return is_automatic(self.environ)

    @property
    def checkpoints_url(self) -> str | None:
        """The address of the checkpoints, None for the database in the golden directory. It may hold a password.

        Raises:
            UsageError: it is no such address.
        """
        url: str | None = self.values["checkpoints"]
        return None if url is None else check_address(url, self.origins["checkpoints"])

    @property
    def checkpoints_shown(self) -> str:
        """The address of the checkpoints as it may be shown, whether it is one or not."""
        return masked(self.values["checkpoints"] or f"sqlite:///{os.path.join(self.directory, _DATABASE)}")

    @property
    def keeps_no_checkpoints(self) -> bool:
        """Whether nobody has said where checkpoints are, and none are in the golden directory."""
        path = path_of(self.checkpoints_shown)
        return self.values["checkpoints"] is None and path is not None and is_absent(path)

    def use_checkpoints(self, url: str) -> None:
        """Keep checkpoints at that address, whatever else says where."""
        self._set("checkpoints", url, "--checkpoints")

    def open_checkpoints(self, *, create: bool = True) -> CheckpointStore:
        """Return the store of checkpoints; without `create` one that is there already.

        Raises:
            UsageError: there is no such kind of store, or what it needs is not installed.
            StoreError: it does not answer, or is not there.
        """
        url = self.checkpoints_url
        path = path_of(url or self.checkpoints_shown)
        if not create and path and is_absent(path):
            raise StoreError(
                f"no checkpoints are kept in {path}",
                hint="golden record makes them; if they are kept elsewhere, set GOLDEN_CHECKPOINTS",
            )
        store: CheckpointStore = import_module("replay.checkpoints.opening").open_checkpoints(url, self.directory)
        return store

    def controls(self) -> Controls:
        """Return the emergency controls of the golden directory, which look at the environment as it is then."""
        controls: Controls = import_module("replay.controls").Controls(self.directory, os.environ)
        return controls

    def refuse_stopped(self) -> None:
        """Raise UsageError where the stop file or the environment says that no run may begin."""
        halt = self.controls().refusal()
        if halt is not None:
            raise halt.refusal()

    def refuse_resume_disabled(self) -> None:
        """Raise UsageError where the environment says that no run may be resumed; a variable set to nothing does."""
        if self.switch(_NO_RESUME):
            raise UsageError(f"{_NO_RESUME} is set: no run may be resumed", hint="unset it to resume runs again")

    def switch(self, name: str) -> bool | None:
        """Return whether a variable of `SWITCHES` is on, None where it is not set."""
        text = self.environ.get(name)
        on: bool | None = None if text is None else import_module("replay.controls").is_true(text)
        return on

    def _take(self, found: dict[str, Any]) -> None:
        """Take over what the configuration file says, its paths relative to it."""
        base, values = self.root, self.values
        for key, value in found.items():
            place = self.file or ""
            self._set(key, checked(key, value, os.path.basename(place)), os.path.relpath(place))
        values["dir"] = _from(base, values["dir"])
        for key in ("skills", "functions"):
            values[key] = [_from_base(name, base) for name in values[key]]
        values["specs"] = [_from(base, name) for name in values["specs"]]
        if self.origins["keyring"] != "default":
            values["keyring"] = _from(base, values["keyring"])
        if values["checkpoints"] is not None:
            values["checkpoints"] = from_base(values["checkpoints"], base)

    def _set(self, key: str, value: Any, origin: str) -> None:
        self.values[key], self.origins[key] = value, origin

    def _usual_keyring(self) -> str | None:
        path = usual_keyring(self.root, os.getcwd())
        return None if path is None else os.path.relpath(path)

    def _from_home(self, path: str | None) -> str | None:
        """Return a path as it is found also when the code of a run has gone elsewhere."""
        with suppress(OSError):
            if os.getcwd() == self._home:
                return path
        return None if path is None else os.path.join(self._home, path)


def is_absent(path: str) -> bool:
    """Say whether there is nothing at `path`; what may not be looked at is not absent."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def drop_secrets() -> None:
    """Take secrets out of this process's environment and forbid others to read its memory, before user code runs.

    Secrets are all `GOLDEN_*` and the variables that the `sources.toml` names, once that was read.
    """
    # Only commands that run user code pay for it.
    import ctypes

    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    others = set(map(os.fsencode, _secret_variables))
    for name in [name for name in os.environb if name.startswith(b"GOLDEN_") or name in others]:
        # The block that /proc shows is not what os.environ changes.
        place = getenv(name)
        if place:
            ctypes.memset(place, 0, len(os.environb[name]))
        del os.environb[name]
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def kept_surroundings() -> Callable[[], None]:
    """Return a function that undoes what the code of a run leaves behind: another working directory, variables."""
    home, environ = os.getcwd(), dict(os.environ)

    def restore() -> None:
        os.chdir(home)
        if os.environ != environ:
            os.environ.clear()
            os.environ.update(environ)

    return restore


def colour_wanted(stream_is_tty: bool) -> bool:
    """Whether to colour what goes to a stream: `NO_COLOR`, then `FORCE_COLOR`, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("FORCE_COLOR", "0") not in {"", "0"} or stream_is_tty


def columns() -> int:
    """Return how many columns the answer may fill: `COLUMNS`, else the terminal's, else 160."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return int(os.environ["COLUMNS"])
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 160


def _from(base: str, path: str) -> str:
    return os.path.relpath(os.path.join(base, path))


def _from_base(name: str, base: str) -> str:
    path, colon, attribute = name.partition(":")
    return _from(base, path) + colon + attribute if path.endswith(".py") else name
