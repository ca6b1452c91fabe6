"""Settings: the only reader of the environment and of configuration files.

Says for each value where it comes from; what a value does is decided elsewhere.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from golden import keyfile
from golden.errors import KeyringError, UsageError
from golden.keyring import Keyring
from golden.memory import Memory
from golden.sources import VARIABLES, Pool, Sources, keyring_from, read_sources
from golden.store import DURABILITIES, Store

KEYS = ("dir", "skills", "specs", "keyring", "ledger", "durability", "volatile", "anchor_to")
LATER_KEYS = ("checkpoints", "redact")
DEFAULTS: dict[str, Any] = {
    "dir": ".golden",
    "skills": [],
    "specs": [],
    "keyring": keyfile.NAME,
    "ledger": True,
    "durability": "seal",
    "volatile": [],
    "anchor_to": [],
}
SECRETS = VARIABLES
CEILINGS = {"DEFAULT_STEP_CEILING_CENTS": 100, "DEFAULT_WORKFLOW_CEILING_CENTS": 1000}
_PR_SET_DUMPABLE = 4
_MAX_DIGITS = 18
# Variables that hold secrets, as sources.toml says: one environment a process, one set of them.
_secret_variables: set[str] = set()


class Settings:
    """The values in force: flag before environment before configuration file before default.

    `origins` says per key where its value comes from. Raises UsageError for a configuration that cannot be used.
    """

    def __init__(
        self,
        *,
        dir: str | None = None,  # noqa: A002  the flag's name
        keyring: str | None = None,
        skills: tuple[str, ...] = (),
    ) -> None:
        self.environ: Mapping[str, str] = dict(os.environ)
        self.tell: Callable[[str], None] | None = None
        self._home = os.getcwd()
        self.file, found = _find_configuration(os.getcwd())
        self.values = dict(DEFAULTS)
        self.origins = dict.fromkeys(DEFAULTS, "default")
        base = self.root
        if self.file is not None:
            for key, value in found.items():
                self._set(key, _checked(key, value, os.path.basename(self.file)), os.path.relpath(self.file))
        self.values["dir"] = _from(base, self.values["dir"])
        self.values["skills"] = [_from_base(name, base) for name in self.values["skills"]]
        self.values["specs"] = [_from(base, name) for name in self.values["specs"]]
        if self.origins["keyring"] != "default":
            self.values["keyring"] = _from(base, self.values["keyring"])
        for key, variable, given in (("dir", "GOLDEN_DIR", dir), ("keyring", "GOLDEN_KEYRING", keyring)):
            if self.environ.get(variable):
                self._set(key, self.environ[variable], variable)
            if given == "":
                raise UsageError(f"--{key} is empty", hint=f"name one, or leave --{key} out")
            if given is not None:
                self._set(key, given, f"--{key}")
        if self.origins["keyring"] == "default":
            self.values["keyring"] = self._usual_keyring()
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
        return self.environ.get("GOLDEN_SOURCES") or self._of_user("XDG_CONFIG_HOME", ".config", "sources.toml")

    @property
    def state_dir(self) -> str | None:
        """Where this host remembers anchors; None where nobody knows a folder for it."""
        return self.environ.get("GOLDEN_STATE_DIR") or self._of_user("XDG_STATE_HOME", ".local/state")

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

    def refuse_stopped(self) -> None:
        """Raise UsageError where the environment says that no run may start."""
        if _is_true(self.environ.get("WORKFLOW_EMERGENCY_STOP", "0")):
            raise UsageError("EMERGENCY_STOP: WORKFLOW_EMERGENCY_STOP is set", hint="unset it to record again")
        if not _is_true(self.environ.get("WORKFLOW_ENGINE_ENABLED", "1")):
            raise UsageError("EMERGENCY_STOP: WORKFLOW_ENGINE_ENABLED is off", hint="unset it to record again")

    def _set(self, key: str, value: Any, origin: str) -> None:
        self.values[key], self.origins[key] = value, origin

    def _usual_keyring(self) -> str | None:
        for folder in dict.fromkeys((self.root, os.getcwd())):
            path = os.path.join(folder, keyfile.NAME)
            if os.path.lexists(path):
                # It says whom to believe, and nobody named it.
                _refuse_foreign(path, os.stat(path).st_uid if os.path.exists(path) else os.geteuid())
                return os.path.relpath(path)
        return None

    def _from_home(self, path: str | None) -> str | None:
        """Return a path as it is found also when the code of a run has gone elsewhere."""
        with suppress(OSError):
            if os.getcwd() == self._home:
                return path
        return None if path is None else os.path.join(self._home, path)

    def _of_user(self, variable: str, usual: str, name: str = "") -> str | None:
        """Return a path in golden's folder below the one that a variable of XDG names, else below the user's home."""
        folder = self.environ.get(variable, "")
        if not os.path.isabs(folder):
            home = self.environ.get("HOME") or _home()
            if home is None:
                return None
            folder = os.path.join(home, usual)
        return os.path.join(folder, "golden", name).rstrip("/")


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


def _find_configuration(start: str) -> tuple[str | None, dict[str, Any]]:
    """Return the nearest `golden.toml` or `[tool.golden]`, looking no higher than the repository's root."""
    folder = start
    while True:
        own, project = os.path.join(folder, "golden.toml"), os.path.join(folder, "pyproject.toml")
        if os.path.isfile(own):
            return own, _read_toml(own)
        if os.path.isfile(project):
            tools = _read_toml(project).get("tool", {})
            table = tools.get("golden") if isinstance(tools, dict) else tools
            if table is not None and not isinstance(table, dict):
                name = os.path.basename(project)
                raise UsageError(f"{name}: tool.golden is no table", hint="write [tool.golden] above its keys")
            if table is not None:
                return project, table
        above = os.path.dirname(folder)
        if above == folder or os.path.exists(os.path.join(folder, ".git")):
            return None, {}
        folder = above


def _read_toml(path: str) -> dict[str, Any]:
    # Only where there is a configuration file.
    import tomllib

    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            # It names code to run: somebody else's, found on the way up, is not ours to obey.
            _refuse_foreign(path, os.fstat(file.fileno()).st_uid)
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", hint="check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is no TOML: {error}", hint="correct it at that place") from None


def _checked(key: str, value: Any, name: str) -> Any:
    if key in LATER_KEYS:
        raise UsageError(f"{name}: the key {key} is not supported yet", hint="remove it")
    if key not in KEYS:
        raise UsageError(f"{name}: there is no key {key}", hint=f"use one of {', '.join(KEYS)}")
    if key == "ledger":
        if not isinstance(value, bool):
            raise UsageError(f"{name}: ledger must be true or false", hint="correct it")
        return value
    if key == "anchor_to":
        if value not in ("git", ["git"], []):
            raise UsageError(
                f"{name}: anchor_to can only be git here: a checkout names no program to run, no file to write",
                hint="put file: and exec: into sources.toml in your own configuration folder",
            )
        return ["git"] if value else []
    if key in ("skills", "specs", "volatile"):
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) and item for item in values):
            raise UsageError(f"{name}: {key} must be text or a list of texts", hint="correct it")
        return values
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name}: {key} must be text", hint="correct it")
    if key == "durability" and value not in DURABILITIES:
        raise UsageError(f"{name}: durability {value!r} does not exist", hint=f"use one of {', '.join(DURABILITIES)}")
    return value


def _refuse_foreign(path: str, owner: int) -> None:
    if owner not in {0, os.geteuid(), os.stat(".").st_uid}:
        raise UsageError(f"{path} belongs to another user", hint="chown it, or work in a directory of your own")


def _home() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir or None
    except KeyError:
        return None


def _is_true(text: str) -> bool:
    return text.strip().lower() not in {"0", "false", "no", "off"}


def _from(base: str, path: str) -> str:
    return os.path.relpath(os.path.join(base, path))


def _from_base(name: str, base: str) -> str:
    path, colon, attribute = name.partition(":")
    return _from(base, path) + colon + attribute if path.endswith(".py") else name
