"""Repository: what git has kept of a golden directory, a ref of its own where anchors are kept, and what git is told.

The only module that starts git. Touches no index, work tree or branch; runs no hook, pager or filter, asks no network.
What git answers is hashed here: an object counts only if it is what its id says.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Self

import msgspec

from golden.errors import StoreError, TamperedError, UsageError
from golden.ledger import LEDGER
from golden.lines import BLOCK
from golden.store import SUFFIX, is_run_id

if TYPE_CHECKING:
    from subprocess import CompletedProcess, Popen

REFS = "refs/golden/"
REF = f"{REFS}anchors"
SECONDS = 30.0
# More than a host records in a year; older anchors are found by name.
MAX_ANCHORS = 50_000
_TRIES = 20
_SHA1_DIGITS = 40
_PATH = "/usr/local/bin:/usr/bin:/bin"
_GIT = (
    "git",
    "--no-pager",
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.fsync=loose-object,reference"),
)
_ALWAYS = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_AUTHOR_EMAIL": "golden@localhost",
    "GIT_AUTHOR_NAME": "golden",
    "GIT_COMMITTER_EMAIL": "golden@localhost",
    "GIT_COMMITTER_NAME": "golden",
    "GIT_NO_LAZY_FETCH": "1",
    # A ref below refs/replace/ would put other bytes under a commit's name.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class Commit(msgspec.Struct, frozen=True):
    """A commit: its id, when its committer says it was made (seconds since 1970), and its first line."""

    oid: str
    seconds: int
    subject: str


def hashes_at(folder: str, rev: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return run id → SHA-256 of each golden file's bytes as git has them at `rev`; raises as `Repository` does."""
    return Repository.required(folder, environment).hashes_at(rev)


def head(folder: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the commit that is checked out where `folder` lies, None where there is none, or no git."""
    try:
        done = _git(folder, environment, "rev-parse", "--verify", "--quiet", "HEAD")
    except (UsageError, StoreError):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None if done.returncode == 0 else None


def plain_environment() -> dict[str, str]:
    """Return an environment that owes nothing to this process's: the usual programs, this user's home."""
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/"
    return {"PATH": _PATH, "HOME": home}


class Repository:
    """The git repository around a golden directory, which need not be there any more.

    Args:
        folder: the golden directory.
        top: the repository's top folder.
        environment: what git sees, without `GIT_*` and `GOLDEN_*`; default: as good as nothing.

    Methods raise UsageError where git is not there or does not trust the repository or knows no such revision,
    StoreError where it cannot read or write, TamperedError where an object is not what its id says.
    """

    def __init__(self, folder: str, top: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.root = top
        self._environment = environment
        way = os.path.relpath(os.path.realpath(folder), os.path.realpath(top))
        self._way = [] if way == "." else way.split(os.sep)

    @classmethod
    def holding(cls, folder: str, environment: Mapping[str, str] | None = None) -> Repository | None:
        """Return the repository that holds `folder`, or None; raises UsageError where git refuses to say."""
        here = os.path.realpath(folder)
        while not os.path.isdir(here):
            here = os.path.dirname(here)
        done = _git(here, environment, "rev-parse", "--show-toplevel")
        if not done.returncode:
            return cls(folder, os.fsdecode(done.stdout[:-1]), environment)
        said = done.stderr.decode("utf-8", "replace")
        if "not a git repository" in said or "must be run in a work tree" in said:
            return None
        if "dubious ownership" in said or "unsafe repository" in said:
            raise UsageError(
                f"git does not trust the repository around {folder}: it belongs to another user",
                hint="if you do, name its top folder: `git config --global --add safe.directory FOLDER`",
            )
        raise UsageError(
            f"git cannot read the repository around {folder}: {_why(done)}", hint=f"try `git -C {folder} status`"
        )

    @classmethod
    def required(cls, folder: str, environment: Mapping[str, str] | None = None) -> Repository:
        """Return the repository that holds `folder`; raises UsageError where there is none."""
        found = cls.holding(folder, environment)
        if found is None:
            raise UsageError(f"{folder} lies in no git repository", hint="give a directory that git keeps")
        return found

    def commit(self, rev: str) -> str:
        """Return the id of the commit that `rev` names: a commit id, or a name that somebody can move."""
        # Neither an option nor a second argument can be made of what was given.
        if not rev or rev.startswith("-") or "\0" in rev or not rev.isprintable():
            raise UsageError(f"{rev!r} is no revision", hint="name a commit, like 1a2b3c4d, v1.2 or main@{yesterday}")
        done = self._git("rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}")
        if b"hash mismatch" in done.stderr:
            raise self.forged(rev)
        if done.returncode:
            raise UsageError(
                f"git knows no commit {rev} in {self.root}", hint="check the name; in a shallow clone fetch it first"
            )
        return done.stdout.decode().strip()

    def ledger_at(self, rev: str) -> bytes | None:
        """Return the bytes of `ledger.jsonl` in the directory at `rev`, None where it was not there."""
        oid = self.commit(rev)
        with _Objects(self) as objects:
            for name, blob in objects.files(oid, self._way):
                if name == LEDGER:
                    return objects.read(blob, "blob")
        return None

    def hashes_at(self, rev: str) -> dict[str, str]:
        """Return run id → SHA-256 of the bytes of each golden file in the directory at `rev`.

        One git reads them all, none is held as a whole.
        """
        oid = self.commit(rev)
        found: dict[str, str] = {}
        with _Objects(self) as objects:
            for name, blob in objects.files(oid, self._way):
                run_id = name.removesuffix(SUFFIX)
                if name != run_id and is_run_id(run_id):
                    found[run_id] = objects.sha256(blob)
        return found

    def ledger_commits(self, count: int) -> list[Commit]:
        """Return the newest commits, up to `count`, that changed the ledger on the branch that is checked out."""
        if self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}").returncode:
            return []
        return self._commits(count, "HEAD", "--", ":(top,literal)" + "/".join([*self._way, LEDGER]))

    def anchor_commits(self) -> dict[str, list[Commit]]:
        """Return, for each ref below `refs/golden/`, the commits that it keeps, newest first."""
        names = self._done("for-each-ref", "--format=%(refname)", REFS).decode("utf-8", "replace").split()
        return {name: self._commits(MAX_ANCHORS, name, "--") for name in names}

    def keep(self, text: str) -> None:
        """Add a commit with nothing but the line `text` to `refs/golden/anchors`, unless it is its newest."""
        why = ""
        for attempt in range(_TRIES):
            said = self._done("for-each-ref", "--format=%(objectname) %(contents:subject)", REF).decode().rstrip("\n")
            tip, _, newest = said.partition(" ")
            if newest == text:
                return
            tree = self._done("mktree").decode().strip()
            parents = ["-p", tip] if tip else []
            commit = self._done("commit-tree", "--no-gpg-sign", tree, *parents, "-m", text).decode().strip()
            done = self._git("update-ref", "-m", "golden: anchor", REF, commit, tip)
            if not done.returncode:
                return
            # Another recorder was faster: this anchor comes after its.
            why = _why(done)
            time.sleep(0.005 * (attempt + 1))
        raise StoreError(f"git does not move {REF}: {why}", hint=f"see `git log {REF}`")

    def configure(self, name: str, value: str) -> bool:
        """Give a setting of this repository its one value; return whether it had another, or none."""
        # Values, not what git makes of them: one may hold line ends, or be there twice.
        there = self._git("config", "--local", "--null", "--get-all", name).stdout
        if there == value.encode() + b"\0":
            return False
        self._done("config", "--local", "--replace-all", name, value)
        return True

    @property
    def own_attributes(self) -> str:
        """The file of attributes that are this repository's alone, and stronger than those that are committed."""
        place = os.fsdecode(self._done("rev-parse", "--git-path", "info/attributes")[:-1])
        return os.path.join(self.root, place)

    def _commits(self, count: int, *what: str) -> list[Commit]:
        said = self._done("rev-list", f"--max-count={count}", "--format=%H %ct %s", *what).decode("utf-8", "replace")
        rows = (line.split(" ", 2) for line in said.split("\n") if line and not line.startswith("commit "))
        return [Commit(oid, int(seconds), subject) for oid, seconds, subject in rows]

    def _done(self, *arguments: str) -> bytes:
        done = self._git(*arguments)
        if done.returncode:
            raise StoreError(
                f"git {arguments[0]} fails in {self.root}: {_why(done)}", hint=f"try `git -C {self.root} fsck`"
            )
        return done.stdout

    def _git(self, *arguments: str) -> CompletedProcess[bytes]:
        return _git(self.root, self._environment, *arguments)

    def forged(self, name: str) -> TamperedError:
        """Return the refusal of an object whose bytes were changed."""
        return TamperedError(
            f"object {name} in {self.root} is not what its id says",
            hint="clone the repository anew from where nobody could change it; `git fsck` names what is damaged",
        )

    def reader(self) -> Popen[bytes]:
        """Return a started `git cat-file --batch`; who asks for it ends it."""
        # Slow, and needed only where git is asked.
        import subprocess

        return subprocess.Popen(  # noqa: S603  git as the user has it
            [*_GIT, "-C", self.root, "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_seen(self._environment),
        )


class _Objects:
    """Objects by their ids, read through one git and hashed on the way."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def __enter__(self) -> Self:
        self._program = self._repository.reader()
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()
        for stream in (self._program.stdin, self._program.stdout):
            if stream:
                stream.close()
        self._program.wait()

    def files(self, commit: str, way: list[str]) -> list[tuple[str, str]]:
        """Return (name, id) of the regular files in the folder that `way` leads to; [] where it was not there."""
        said = self.read(commit, "commit").split(b"\n", 1)[0]
        oid = said.removeprefix(b"tree ").decode("ascii", "replace")
        for step in way:
            inside = {name: child for mode, name, child in self._entries(oid) if mode == b"40000"}
            if step not in inside:
                return []
            oid = inside[step]
        return [(name, blob) for mode, name, blob in self._entries(oid) if mode.startswith(b"100")]

    def read(self, oid: str, kind: str) -> bytes:
        """Return an object's bytes."""
        return b"".join(self._blocks(oid, kind))

    def sha256(self, oid: str) -> str:
        """Return the SHA-256 of a blob's bytes, which are not held."""
        running = hashlib.sha256()
        for block in self._blocks(oid, "blob"):
            running.update(block)
        return running.hexdigest()

    def _entries(self, oid: str) -> Iterator[tuple[bytes, str, str]]:
        data, width, at = self.read(oid, "tree"), len(oid) // 2, 0
        while at < len(data):
            space = data.index(b" ", at)
            end = data.index(b"\0", space)
            name = os.fsdecode(data[space + 1 : end])
            yield data[at:space], name, data[end + 1 : end + 1 + width].hex()
            at = end + 1 + width

    def _blocks(self, oid: str, kind: str) -> Iterator[bytes]:
        asked, answers = self._program.stdin, self._program.stdout
        if asked is None or answers is None:
            return
        try:
            asked.write(b"%b\n" % oid.encode())
            asked.flush()
        except BrokenPipeError:
            raise self._unreadable(oid) from None
        said = answers.readline().split()
        if said[1:2] != [kind.encode()] or len(said) != 3:  # noqa: PLR2004  id, kind, size
            raise self._unreadable(oid)
        size = left = int(said[2])
        # Git does not look whether an object is what its id says; whoever writes into .git could give any bytes.
        running = hashlib.sha1(usedforsecurity=False) if len(oid) == _SHA1_DIGITS else hashlib.sha256()
        running.update(b"%b %d\0" % (kind.encode(), size))
        while left and (block := answers.read(min(left, BLOCK))):
            left -= len(block)
            running.update(block)
            yield block
        if left or answers.read(1) != b"\n":
            raise self._unreadable(oid)
        if running.hexdigest() != oid:
            raise self._repository.forged(oid)

    def _unreadable(self, oid: str) -> StoreError:
        return StoreError(
            f"git cannot give object {oid} in {self._repository.root}",
            hint="fetch what a shallow or partial clone lacks; `git fsck` names what is damaged",
        )


def _git(folder: str, environment: Mapping[str, str] | None, *arguments: str) -> CompletedProcess[bytes]:
    # Slow, and needed only where git is asked.
    import subprocess

    try:
        return subprocess.run(  # noqa: S603  git as the user has it; what a user gave never stands where an option may
            [*_GIT, "-C", folder, *arguments],
            input=b"",
            capture_output=True,
            # Not the checkout: a PATH with a relative folder in it must not find a git there.
            cwd="/",
            env=_seen(environment),
            timeout=SECONDS,
            check=False,
        )
    except OSError as error:
        raise UsageError(f"git cannot be started: {error.strerror}", hint="install git, or check the PATH") from None
    except subprocess.TimeoutExpired:
        raise StoreError(
            f"git {arguments[0]} takes longer than {SECONDS:g} seconds in {folder}", hint="run it yourself and see"
        ) from None


def _seen(environment: Mapping[str, str] | None) -> dict[str, str]:
    environment = plain_environment() if environment is None else environment
    kept = {name: value for name, value in environment.items() if not name.startswith(("GIT_", "GOLDEN_"))}
    return {**kept, **_ALWAYS}


def _why(done: CompletedProcess[bytes]) -> str:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in said if line.startswith("fatal: ")), said[-1]).removeprefix("fatal: ")
