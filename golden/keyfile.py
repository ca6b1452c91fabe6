"""Keyfile: the file that says which keys there are and what each may do; read strictly, edited with care.

Holds policy, never a secret: it may be committed and read by everybody. Normative text: docs/format.md, "Keys".
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from golden.errors import KeyringError, StoreError, UsageError
from golden.files import open_folder, put, sweep
from golden.keyring import HMAC_SHA256, SEVERITY, Entry, Keyring, State

NAME = "golden-keyring.toml"
MAX_FILE = 1 << 20
HEAD = """\
# The keys of this project: which there are, and what each may do. Not one secret: commit this file.
# `golden keys --help` shows the commands that change it; comments stay where they are.
"""

Form = TypeVar("Form")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: list[Entry] = []


def read_policy(path: str) -> list[Entry]:
    """Return the keys that the file at `path` names, in its order.

    Raises:
        KeyringError: it is absent or unreadable, it is no such file, or its entries contradict each other.
    """
    return _entries(read_text(path), path)


def write_policy(path: str, entries: Sequence[Entry]) -> None:
    """Make the file at `path`; raises UsageError where it exists and says anything."""

    def fill(text: str) -> str:
        if text.strip():
            raise UsageError(f"{path} exists", hint="change it with `golden keys add` and `golden keys retire`")
        return _edited(HEAD, [], entries)

    _checked(entries)
    edit(path, fill)


def add_entry(path: str, entry: Entry, *, active: bool = False) -> list[Entry]:
    """Add a key to the file at `path`, or make the file, and return all its keys; see `with_entry`."""

    def add(text: str) -> str:
        before = _entries(text, path)
        after[:] = with_entry(before, entry, active=active)
        return _edited(text or HEAD, before, after, path)

    after: list[Entry] = []
    edit(path, add)
    return after


def set_state(path: str, kid: str, state: State) -> list[Entry]:
    """Set the state of a key in the file at `path` and return all its keys; see `with_state`."""

    def change(text: str) -> str:
        before = _entries(text, path)
        after[:] = with_state(before, kid, state)
        return _edited(text, before, after, path)

    after: list[Entry] = []
    edit(path, change)
    return after


def with_entry(entries: Sequence[Entry], entry: Entry, *, active: bool = False) -> list[Entry]:
    """Return `entries` and one more; with `active` it is active, and the active key of its algorithm is retired.

    Raises:
        UsageError: the kid is there already, in whatever state: a state never gets milder.
        KeyringError: two keys would be active.
    """
    known = {known.kid: known.state for known in entries}
    if entry.kid in known:
        raise UsageError(
            f"key {entry.kid} is in the keyring already, and {known[entry.kid]}",
            hint="a key that was retired or revoked stays so; make a new one: `golden keys add --generate --active`",
        )
    if active:
        entry = msgspec.structs.replace(entry, state="active")
        retired = [
            msgspec.structs.replace(old, state="retired") if (old.alg, old.state) == (entry.alg, "active") else old
            for old in entries
        ]
        return _checked([*retired, entry])
    return _checked([*entries, entry])


def with_state(entries: Sequence[Entry], kid: str, state: State) -> list[Entry]:
    """Return `entries` with the state of one changed; the same state once more changes nothing.

    Raises:
        UsageError: no such key, a milder state, or no HMAC key would be left that signs events.
    """
    found = next((entry for entry in entries if entry.kid == kid), None)
    if found is None:
        raise UsageError(f"the keyring has no key {kid}", hint="`golden keys list` shows the keys")
    if SEVERITY[state] < SEVERITY[found.state]:
        raise UsageError(
            f"key {kid} is {found.state}, and cannot become {state} again",
            hint="make a new key: `golden keys add --generate --active`",
        )
    # At most one is active, so the active one is the last.
    if state != "active" and (found.alg, found.state) == (HMAC_SHA256, "active"):
        raise UsageError(
            f"key {kid} is the last active {HMAC_SHA256} key, and nothing could be recorded without one",
            hint="add another first: `golden keys add --generate --active` retires this one",
        )
    return _checked(msgspec.structs.replace(entry, state=state) if entry is found else entry for entry in entries)


def read_text(path: str, judge: Callable[[os.stat_result], None] = lambda _: None) -> str:
    """Return the text of a configuration file; `judge` sees the opened file before a byte is read.

    Raises:
        KeyringError: absent, unreadable, no regular file, larger than 1 MiB, no UTF-8, or what `judge` raises.
    """
    try:
        return read_regular(path, path, MAX_FILE, judge).decode()
    except UnicodeDecodeError as error:
        raise KeyringError(f"{path} is no UTF-8 at byte {error.start}", hint="correct it at that place") from None


def read_regular(path: str, name: str, limit: int, judge: Callable[[os.stat_result], None]) -> bytes:
    """Return the bytes of the regular file at `path`, which messages call `name`; links are followed.

    The opened descriptor is judged, not the path: a link may point where it likes.

    Raises:
        KeyringError: absent, unreadable, no regular file, more than `limit` bytes, or what `judge` raises.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name has a byte 0"
        raise KeyringError(f"{name} cannot be opened: {why}", hint="check the path and its permissions") from None
    data = b""
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise KeyringError(f"{name} is not a regular file", hint="check the path")
        judge(info)
        while len(data) <= limit and (block := os.read(fd, limit + 1 - len(data))):
            data += block
    except OSError as error:
        raise KeyringError(f"{name} cannot be read: {error.strerror}", hint="check the disk") from None
    finally:
        os.close(fd)
    if len(data) > limit:
        raise KeyringError(f"{name} is larger than {limit} bytes", hint="check the path")
    return data


def parsed(text: str, path: str, form: type[Form]) -> Form:
    """Return TOML text as a `form`; raises KeyringError, which names the place and shows no value."""
    # Only where there is such a file.
    import tomllib

    try:
        return msgspec.convert(tomllib.loads(text), form)
    except tomllib.TOMLDecodeError as error:
        raise KeyringError(f"{path} is no TOML: {error}", hint="correct it at that place") from None
    except msgspec.ValidationError as error:
        what = str(error).replace("`$", "`").replace("`.", "`")
        if what.startswith("Invalid enum value"):
            what = f"No such choice - at {what.rpartition(' at ')[2]}"
        raise KeyringError(f"{path}: {what[:1].lower()}{what[1:]}", hint="correct it, or restore the file") from None


def toml_table(name: str, values: object) -> str:
    """Return one entry of an array of tables, `[[name]]`, as text."""
    # Slow, and needed only where a file is edited.
    import tomlkit

    return tomlkit.dumps({name: [values]})


def edit(path: str, change: Callable[[str], str], *, mode: int = 0o644) -> None:
    """Put what `change` makes of a file's text in its place, whole or not at all; "" stands for no file.

    Mode and owner stay; a new file gets `mode`. Editors of one folder wait for each other.

    Raises:
        StoreError: it cannot be written; and what `change` raises.
    """
    path = os.path.realpath(path)
    folder_path, name = os.path.split(path)
    with open_folder(folder_path) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        here = os.path.exists(path)
        text = read_text(path) if here else ""
        changed = change(text)
        if here and changed == text:
            return
        owner = (os.geteuid(), os.getegid())
        like = os.stat(path) if here else os.stat_result((stat.S_IFREG | mode, 0, 0, 1, *owner, *[0] * 4))
        try:
            sweep(folder, name)
            put(folder, name, changed.encode(), like, durable=True)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}", hint="check the folder and its permissions"
            ) from None


def _entries(text: str, path: str) -> list[Entry]:
    return _checked(parsed(text, path, _File).key)


def _checked(entries: Iterable[Entry]) -> list[Entry]:
    return list(Keyring.of(entries, lambda _: None))


def _edited(text: str, before: Sequence[Entry], after: Sequence[Entry], path: str = NAME) -> str:
    if [entry.state for entry in after[: len(before)]] != [entry.state for entry in before]:
        # Slow, and needed only where a file is edited.
        import tomlkit

        document = tomlkit.parse(text)
        for table, old, new in zip(document["key"], before, after, strict=False):
            if old.state != new.state:
                table["state"] = new.state
        text = tomlkit.dumps(document)
    for entry in after[len(before) :]:
        text += ("" if text.endswith("\n") else "\n") + "\n" + toml_table("key", msgspec.to_builtins(entry))
    # What another tool made of the user's file is believed only if it says what was meant.
    try:
        good = _entries(text, path) == list(after)
    except KeyringError:
        good = False
    if not good:
        raise KeyringError(
            f"{path} cannot be edited as it is written", hint="give each key a table of its own: [[key]]"
        )
    return text
