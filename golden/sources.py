"""Sources: where secrets lie on this host, and reading them with care.

Finds secrets for a Keyring; never prints one, nor gives one to a program. Normative text: docs/format.md, "Keys".
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec

from golden.errors import KeyringError, UsageError
from golden.event import Kid
from golden.files import write_all
from golden.keyfile import edit, parsed, read_policy, read_regular, read_text, toml_table
from golden.keyring import Keyring, kid_of
from golden.program import run

MAX_SECRET = 4096
SERVICE = "golden"
VARIABLES = ("GOLDEN_SECRET", "GOLDEN_SECRET_FILE", "GOLDEN_SECRET_PREVIOUS")
HEAD = """\
# Where the secrets of golden's keys lie on this host. Not one secret stands here; the file is yours alone.
"""
_SCHEME = r"(file|env|exec|keyring):(.*)"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_KID = r"[0-9a-f]{16}"
_FORMS = 'file:PATH, env:NAME, exec:["/program","argument"] or keyring:NAME'


class Where(msgspec.Struct, frozen=True):
    """A place that a secret lies in: `name` is a path, a variable, an argv as JSON, or a name of the OS keyring."""

    scheme: Literal["file", "env", "exec", "keyring"]
    name: str
    argv: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"

    @property
    def label(self) -> str:
        """What messages call it: of a program its path alone."""
        return f"exec:{self.argv[0]}" if self.argv else str(self)


class Sources(msgspec.Struct, frozen=True):
    """What a host's `sources.toml` says: where the secret of a kid lies, and where anchors go."""

    entries: tuple[tuple[str, Where], ...] = ()
    anchor_to: tuple[Where, ...] = ()

    @property
    def variables(self) -> set[str]:
        """The environment variables that hold secrets."""
        return {where.name for _, where in self.entries if where.scheme == "env"}


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kid: Kid
    place: str = msgspec.field(name="from")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: list[_Source] = []
    anchor_to: str | list[str] = []


class Pool:
    """The secrets at hand on this host, found by kid; a source is asked only for its own kid, and once.

    Args:
        environment: read for `GOLDEN_SECRET`, `GOLDEN_SECRET_FILE`, `GOLDEN_SECRET_PREVIOUS`, and for env: sources.
        sources: what `sources.toml` says.
        tell: hears each note when it is made.

    `notes` says of each source that failed, or gave another key's secret, what was wrong: such a key is not at hand.

    Raises:
        KeyringError: an empty value, a secret file that others can read, or two different active secrets.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        sources: Sources | None = None,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._sources = sources or Sources()
        self._tell = tell
        self._asked: dict[tuple[str, Where], bytes | None] = {}
        path = environment.get("GOLDEN_SECRET_FILE")
        if path == "":
            raise KeyringError("GOLDEN_SECRET_FILE is set but empty", hint="set it to a path, or unset it")
        # It may be read again when the code of a run has gone elsewhere.
        self._environment = {**environment, "GOLDEN_SECRET_FILE": os.path.abspath(path)} if path else environment
        given = _from_variable(environment, "GOLDEN_SECRET")
        read = read_secret_file(path) if path else None
        self.previous = _from_variable(environment, "GOLDEN_SECRET_PREVIOUS")
        self._given = [*zip(VARIABLES, (given, read, self.previous), strict=True)]
        self.active = given if given is not None else read
        if given is not None and read not in {None, given} and kid_of(given) != kid_of(read or b""):
            raise KeyringError(
                "GOLDEN_SECRET and GOLDEN_SECRET_FILE hold different secrets",
                hint="unset the one that is out of date",
            )

    def anew(self, sources: Sources) -> Pool:
        """Return the pool as it is by now: files are read again, programs and the OS keyring not asked twice.

        What was found is kept: a kid names its secret for good, and a run goes on under the key that it began with.
        """
        pool = Pool(self._environment, sources, tell=self._tell)
        pool.notes = self.notes
        pool._given += [given for given in self._given if given not in pool._given]
        pool._asked = {
            (kid, where): secret
            for (kid, where), secret in self._asked.items()
            if secret is not None or where.scheme != "file"
        }
        return pool

    def given(self) -> Iterator[tuple[str, str, bytes]]:
        """Give (variable, kid, secret) of the secrets that the environment names."""
        for name, secret in self._given:
            if secret is not None:
                yield name, kid_of(secret), secret

    def find(self, kid: str) -> bytes | None:
        """Return the secret of that kid, of whatever strength, or None where it is not at hand; asks its sources."""
        for _, known, secret in self.given():
            if known == kid:
                return secret
        found = (self._ask(kid, where) for where in self._of(kid))
        return next((secret for secret in found if secret is not None), None)

    def look(self, kid: str, *, ask: bool = False) -> tuple[str | None, bool | None]:
        """Return (where the secret of that kid should lie, whether it is at hand); None: nobody knows.

        Programs and the OS keyring are not asked for it, unless `ask` says so.
        """
        for name, known, _ in self.given():
            if known == kid:
                return name, True
        label, at_hand = None, False
        for where in self._of(kid):
            if not ask and where.scheme in {"exec", "keyring"} and (kid, where) not in self._asked:
                return where.label, None
            label, at_hand = label or where.label, self._ask(kid, where) is not None
            if at_hand:
                return where.label, True
        return label, at_hand

    def note(self, text: str) -> None:
        """Say what is wrong, once."""
        if text not in self.notes:
            self.notes.append(text)
            if self._tell:
                self._tell(text)

    def _of(self, kid: str) -> list[Where]:
        return [where for known, where in self._sources.entries if known == kid]

    def _ask(self, kid: str, where: Where) -> bytes | None:
        if (kid, where) not in self._asked:
            secret = None
            try:
                secret = fetch(where, self._environment, hidden=self._sources.variables)
                found = kid_of(secret)
                if found != kid:
                    self.note(f"the source {where.label} is to give key {kid}, and gives key {found}")
                    secret = None
            except KeyringError as error:
                secret = None
                self.note(f"the source of key {kid} fails: {error.problem}")
            self._asked[kid, where] = secret
        return self._asked[kid, where]


def keyring_from(pool: Pool, policy: str | None = None, *, key: str | None = None) -> Keyring:
    """Return the keys of the policy file at `policy`, found in `pool`.

    Without a policy file the secret of `GOLDEN_SECRET` or `GOLDEN_SECRET_FILE` is active, that of
    `GOLDEN_SECRET_PREVIOUS` retired. `key` is the kid of the secret that files of the AOS system are verified with;
    without it that is the active one where there is no policy file, and none where there is one.

    Raises:
        KeyringError: the policy file cannot be used, or the secret of `key` is not at hand (`unknown-key`).
        UsageError: `key` is no kid.
    """
    aos_secret = None if key is None else _named(pool, key)
    if policy is None:
        active = None if pool.active is None else kid_of(pool.active)
        keyring = Keyring(pool.active, [secret for _, kid, secret in pool.given() if kid != active])
        keyring.aos_secret = keyring.aos_secret if key is None else aos_secret
        return keyring
    entries = read_policy(policy)
    known = {entry.kid for entry in entries}
    for name, kid, _ in pool.given():
        if kid not in known and kid != key:
            pool.note(f"{name} holds the secret of key {kid}, which {policy} does not name: it is not used")
    return Keyring.of(entries, pool.find, aos_secret=aos_secret)


def check_kid(text: str) -> str:
    """Return `text` if it is a kid; raises UsageError, which does not repeat what may be a secret."""
    if not re.fullmatch(_KID, text):
        raise UsageError("what was given is no kid: that has 16 hex digits", hint="`golden keys list` shows the kids")
    return text


def where_of(text: str, folder: str = "") -> Where:
    """Return the place that `text` names; a relative path is relative to `folder`.

    Raises:
        UsageError: not one of `file:PATH`, `env:NAME`, `exec:ARGV-JSON`, `keyring:NAME`. It never repeats `text`.
    """
    match = re.fullmatch(_SCHEME, text, flags=re.DOTALL)
    if not match:
        raise UsageError("a source has no scheme that is known", hint=f"write {_FORMS}, never the secret itself")
    scheme, name = match.groups()
    if scheme == "exec":
        return Where("exec", *_argv(name))
    if not name or "\0" in name or not name.isprintable():
        raise UsageError(f"a source {scheme}: names nothing that can be there", hint=f"write {_FORMS}")
    if scheme == "env":
        if not re.fullmatch(_VARIABLE, name):
            raise UsageError("a source env: is no name of a variable", hint="write env:NAME, never the secret itself")
        return Where("env", name)
    if scheme == "keyring":
        return Where("keyring", name)
    if name.startswith("~"):
        raise UsageError("a source file: begins with ~, which nobody expands here", hint="write the whole path")
    return Where("file", os.path.abspath(os.path.join(folder, name)))


def read_sources(path: str) -> Sources:
    """Return what the `sources.toml` at `path` says.

    Raises:
        KeyringError: absent or unreadable, not of this user or root, writable by others, or no such file.
    """
    found = parsed(read_text(path, _refuse_others(path)), path, _File)
    folder = os.path.dirname(os.path.abspath(path))
    anchors = [found.anchor_to] if isinstance(found.anchor_to, str) else found.anchor_to
    try:
        entries = tuple((source.kid, where_of(source.place, folder)) for source in found.source)
        anchor_to = tuple(where_of(anchor, folder) for anchor in anchors)
    except UsageError as error:
        raise KeyringError(f"{path}: {error.problem}", hint=error.hint) from None
    if any(where.scheme not in {"file", "exec"} for where in anchor_to):
        raise KeyringError(f"{path}: anchor_to is neither file: nor exec:", hint="correct it")
    return Sources(entries, anchor_to)


def add_source(path: str, kid: str, where: Where) -> bool:
    """Note in the `sources.toml` at `path`, made where there is none, that the secret of `kid` lies at `where`.

    Returns:
        Whether that was news.

    Raises:
        KeyringError, StoreError: the file cannot be used, or not be written.
    """
    make_private(os.path.dirname(os.path.abspath(path)))
    if os.path.exists(path) and (kid, where) in read_sources(path).entries:
        return False
    entry = toml_table("source", {"kid": kid, "from": str(where)})
    edit(
        path, lambda text: f"{text or HEAD}{'' if not text or text.endswith(chr(10)) else chr(10)}\n{entry}", mode=0o600
    )
    return True


def make_private(folder: str) -> None:
    """Make a folder that nobody else may enter, if it is not there; raises KeyringError."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise KeyringError(f"{folder} cannot be made: {error.strerror}", hint="check its permissions") from None


def save_secret(where: Where, secret: bytes) -> None:
    """Put a new secret where it is to lie: a file of mode 0600 in a folder of mode 0700, or the OS keyring.

    Raises:
        UsageError: something is there already, or nothing can be put there (env:, exec:).
        KeyringError: it cannot be written.
    """
    if where.scheme == "keyring":
        library = _library()
        if _of_library(library.get_password, where) is not None:
            raise UsageError(f"the OS keyring has {where.name} already", hint="choose another name")
        _of_library(library.set_password, where, secret.decode())
        return
    if where.scheme != "file":
        raise UsageError(
            f"nothing can be put into {where.scheme}:", hint="use --generate with file:PATH or keyring:NAME"
        )
    make_private(os.path.dirname(where.name))
    try:
        fd = os.open(where.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{where.name} exists", hint="leave out --generate to use what is there, or choose another path"
        ) from None
    except OSError as error:
        raise KeyringError(f"{where.name} cannot be made: {error.strerror}", hint="check its folder") from None
    try:
        write_all(fd, secret)
        os.fsync(fd)
    except OSError as error:
        with suppress(OSError):
            os.unlink(where.name)
        raise KeyringError(f"{where.name} cannot be written: {error.strerror}", hint="check the disk") from None
    finally:
        os.close(fd)


def fetch(where: Where, environment: Mapping[str, str], *, hidden: Collection[str] = ()) -> bytes:
    """Return the secret that lies at `where`, minus one trailing newline.

    Args:
        where: the place.
        environment: read by env:, and given to a program without `GOLDEN_*` and without the variables in `hidden`.
        hidden: names of variables that hold secrets.

    Raises:
        KeyringError: it is not there, others can read it, or the program fails, says too much or takes too long.
    """
    if where.scheme == "file":
        return read_secret_file(where.name)
    if where.scheme == "env":
        secret = _from_variable(environment, where.name)
        if secret is None:
            raise KeyringError(f"{where.name} is not set", hint=f"set {where.name}, or name another source")
        return secret
    if where.scheme == "keyring":
        text = _of_library(_library().get_password, where)
        if text is None:
            raise KeyringError(
                f"the OS keyring has no {where.name}", hint=f"put it there: `keyring set {SERVICE} NAME`"
            )
        data = str(text).encode()
    else:
        shown = {name: value for name, value in environment.items() if name not in hidden}
        data = run(where.argv, shown, partial(_of_program, where), limit=MAX_SECRET)
    return _stripped(data, where.label)


def read_secret_file(path: str) -> bytes:
    """Return the secret in the file at `path`, minus one trailing newline.

    Raises:
        KeyringError: unreadable, not a regular file of this user or root, or readable by group or others.
    """
    name = f"secret file {path}"

    def judge(info: os.stat_result) -> None:
        if info.st_uid not in {0, os.geteuid()}:
            raise KeyringError(f"{name} belongs to another user", hint=f"chown it to yourself: {path}")
        if info.st_mode & 0o077:
            raise KeyringError(
                f"{name} has mode {stat.S_IMODE(info.st_mode):04o}, others can read it",
                hint=f"chmod 600 {path}, and rotate the secret if others were on this host",
            )

    return _stripped(read_regular(path, name, MAX_SECRET, judge), name)


def _named(pool: Pool, key: str) -> bytes:
    secret = pool.find(check_kid(key))
    if secret is None:
        hint = "set GOLDEN_SECRET_FILE to it, or name its place with `golden keys add --source`"
        raise KeyringError(f"the secret of key {key} is not at hand", hint=hint, verdict="unknown-key")
    return secret


def _refuse_others(path: str) -> Callable[[os.stat_result], None]:
    def judge(info: os.stat_result) -> None:
        if info.st_uid not in {0, os.geteuid()}:
            raise KeyringError(f"{path} belongs to another user", hint="it names programs to run: make one of your own")
        if info.st_mode & 0o022:
            raise KeyringError(
                f"{path} has mode {stat.S_IMODE(info.st_mode):04o}, others can write it", hint=f"chmod 600 {path}"
            )

    return judge


def _argv(text: str) -> tuple[str, tuple[str, ...]]:
    try:
        argv = msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.MsgspecError:
        argv = ()
    if not argv or not os.path.isabs(argv[0]) or any("\0" in word for word in argv):
        raise UsageError(
            "a source exec: is no JSON list of texts that begins with an absolute path",
            hint='write it like exec:["/usr/bin/vault","read","-field=value","secret/golden"]',
        )
    return msgspec.json.encode(argv).decode(), argv


def _from_variable(environment: Mapping[str, str], name: str) -> bytes | None:
    value = environment.get(name)
    if value is None:
        return None
    secret = os.fsencode(value).removesuffix(b"\n")
    if not secret:
        raise KeyringError(f"{name} is set but empty", hint="set it to a secret of 32 bytes or more, or unset it")
    return secret


def _stripped(data: bytes, name: str) -> bytes:
    secret = data.removesuffix(b"\n")
    if not secret:
        raise KeyringError(f"{name} is empty", hint="put a secret of 32 bytes or more there")
    return secret


def _of_program(where: Where, problem: str, hint: str) -> KeyringError:
    return KeyringError(f"{where.label} {problem}", hint=hint)


def _library() -> Any:
    # Slow, and an extra.
    try:
        import keyring
    except ImportError:
        raise KeyringError(
            "the OS keyring needs the library keyring, which is not installed", hint="pip install 'stepseal[keyring]'"
        ) from None
    return keyring


def _of_library(call: Callable[..., Any], where: Where, *values: str) -> Any:
    try:
        return call(SERVICE, where.name, *values)
    except Exception as error:  # noqa: BLE001  each backend has its own; their words may hold anything
        raise KeyringError(
            f"the OS keyring refuses {where.name}: {type(error).__name__}", hint="unlock it, or use another source"
        ) from None
