"""The signed record: what is true of a golden file lying still, without any spec or skill."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golden.canonical import canonical_bytes, derive_seed, output_hash
    from golden.compat import GoldenRecorder
    from golden.difference import diff
    from golden.errors import FormatError, GoldenError, KeyringError, StoreError, TamperedError
    from golden.keyring import Keyring
    from golden.recorder import Recorder
    from golden.recording import Recording
    from golden.store import Store
    from golden.verdict import Verdict, verify

_HOMES = {
    "canonical": ("canonical_bytes", "derive_seed", "output_hash"),
    "difference": ("diff",),
    "errors": ("FormatError", "GoldenError", "KeyringError", "StoreError", "TamperedError"),
    "compat": ("GoldenRecorder",),
    "keyring": ("Keyring",),
    "recorder": ("Recorder",),
    "recording": ("Recording",),
    "store": ("Store",),
    "verdict": ("Verdict", "verify"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "FormatError",
    "GoldenError",
    "GoldenRecorder",
    "Keyring",
    "KeyringError",
    "Recorder",
    "Recording",
    "Store",
    "StoreError",
    "TamperedError",
    "Verdict",
    "canonical_bytes",
    "derive_seed",
    "diff",
    "output_hash",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'golden' has no attribute {name!r}")
    return getattr(import_module(f"golden.{_HOME[name]}"), name)
