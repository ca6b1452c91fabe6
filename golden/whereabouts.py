"""Whereabouts: where a project's configuration and keyring lie, and what is this user's alone.

Is given the environment and reads none itself; what the values do is decided elsewhere.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any

from golden import keyfile
from golden.errors import UsageError


def find_configuration(start: str) -> tuple[str | None, dict[str, Any]]:
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


def refuse_foreign(path: str, owner: int) -> None:
    """Raise UsageError for a file that was found, not named, and belongs to somebody else."""
    if owner not in {0, os.geteuid(), os.stat(".").st_uid}:
        raise UsageError(f"{path} belongs to another user", hint="chown it, or work in a directory of your own")


def usual_keyring(*folders: str) -> str | None:
    """Return the keyring file in the first of these folders that has one, None where none has."""
    for folder in dict.fromkeys(folders):
        path = os.path.join(folder, keyfile.NAME)
        if os.path.lexists(path):
            # It says whom to believe, and nobody named it.
            refuse_foreign(path, os.stat(path).st_uid if os.path.exists(path) else os.geteuid())
            return path
    return None


def sources_place(environ: Mapping[str, str]) -> str | None:
    """Return where this host's `sources.toml` is or would be; None where nobody knows a folder for it."""
    return environ.get("GOLDEN_SOURCES") or _of_user(environ, "XDG_CONFIG_HOME", ".config", "sources.toml")


def state_place(environ: Mapping[str, str]) -> str | None:
    """Return where this host remembers anchors; None where nobody knows a folder for it."""
    return environ.get("GOLDEN_STATE_DIR") or _of_user(environ, "XDG_STATE_HOME", ".local/state")


def cache_place(environ: Mapping[str, str]) -> str | None:
    """Return where this host keeps what can be made again; None where nobody knows a folder for it."""
    return _of_user(environ, "XDG_CACHE_HOME", ".cache")


def is_automatic(environ: Mapping[str, str]) -> bool:
    """Whether this is an automatic build (`CI`), which decides nothing and writes no golden file."""
    return environ.get("CI", "").strip().lower() not in {"", "0", "false", "no", "off"}


def _of_user(environ: Mapping[str, str], variable: str, usual: str, name: str = "") -> str | None:
    """Return a path in golden's folder below the one that a variable of XDG names, else below the user's home."""
    folder = environ.get(variable, "")
    if not os.path.isabs(folder):
        home = environ.get("HOME") or _home()
        if home is None:
            return None
        folder = os.path.join(home, usual)
    return os.path.join(folder, "golden", name).rstrip("/")


def _home() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir or None
    except KeyError:
        return None


def _read_toml(path: str) -> dict[str, Any]:
    # Only where there is a configuration file.
    import tomllib

    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            # It names code to run: somebody else's, found on the way up, is not ours to obey.
            refuse_foreign(path, os.fstat(file.fileno()).st_uid)
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", hint="check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is no TOML: {error}", hint="correct it at that place") from None
