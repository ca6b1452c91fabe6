"""Address: where checkpoints are kept, as configuration and environment say it: checked, and shown without its secrets.

Opens nothing.
"""

from __future__ import annotations

import os
import re

from golden.errors import UsageError

_MEMORY, _FILE, _SQLITE, _POSTGRES = "memory:", "file:", "sqlite:///", ("postgresql://", "postgres://")
# It may well be somebody else's.
_LEAVE = {"DATABASE_URL": "leave it and set GOLDEN_CHECKPOINTS to"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}(?=:)")


def check_address(url: str, origin: str) -> str:
    """Return `url`, an address of checkpoints that `origin` names.

    Raises:
        UsageError: it is none; only its scheme is repeated, for it may hold a password.
    """
    if url == _MEMORY or any(url.startswith(s) and len(url) > len(s) for s in (_FILE, _SQLITE, *_POSTGRES)):
        return url
    scheme = _SCHEME.match(url)
    what = f"begins with {scheme[0]}: and more" if scheme else "has no scheme"
    raise UsageError(
        f"{origin} is no address of checkpoints: it {what}",
        hint=f"{_LEAVE.get(origin, 'write')} sqlite:///PATH, postgresql://USER@HOST/DATABASE, file:DIR or memory:",
    )


def path_of(url: str) -> str | None:
    """Return the file or folder that an address of checkpoints is of, None where it is of neither."""
    for scheme in (_FILE, _SQLITE):
        if url.startswith(scheme):
            return url.removeprefix(scheme)
    return None


def from_base(url: str, base: str) -> str:
    """Return an address that a configuration file in the folder `base` gives, as it is from the working directory."""
    path = path_of(url)
    if not path or os.path.isabs(path):
        return url
    return url.removesuffix(path) + os.path.relpath(os.path.join(base, path))


def masked(url: str) -> str:
    """Return what may be shown of an address: of one with a host no password, and nothing after a question mark."""
    if path_of(url) is not None or url == _MEMORY:
        return url
    if not url.startswith(_POSTGRES):
        scheme = _SCHEME.match(url)
        return f"{scheme[0]}:…" if scheme else "…"
    # To the last @: a password may hold one, though it should not.
    shown = re.sub(r"(?s)^(\w+://[^:/?@]*):.*@", r"\1:…@", url)
    return re.sub(r"(?s)\?.*", "?…", shown)
