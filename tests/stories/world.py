"""World: a project with its home, its honest hosts, a thief with a leaked secret, and the responder's commands.

Directories are made by the real commands and the real recorder; a story says what it expects.
"""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from golden.canonical import sha256_hex
from golden.chain import Chain
from golden.event import DATA_TYPES, Data, Signing, StepData, Timing, encode_line
from golden.event import Line as EventLine
from golden.files import is_locked
from golden.keyfile import read_policy
from golden.keyring import Entry, HmacKey, Key, Keyring, key_from
from golden.ledger import LEDGER, Draft, Fold, Line, Open, Operation, Sealed, draft, parse_line, signed_line
from golden.memory import Memory
from golden.seal import Seal, Statement, make_seal, parse_seal, statement_line
from golden.sources import Pool, keyring_from, read_sources
from golden.store import Store
from tests import runs
from tests.e2e.shell import Answer

CLEAN = "intact"
_DIR = "goldens"


class Server:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stories.server"],
            cwd=runs.ROOT,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, **request: Any) -> int:
        """Have a command run and return its exit code, negative for a signal."""
        assert self.process.stdin, "it was closed"
        assert self.process.stdout, "it was closed"
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code: int = json.loads(self.process.stdout.readline())["code"]
        return code

    def close(self) -> None:
        """End it."""
        self.process.communicate()


class Judged(NamedTuple):
    """What a command said of each run, of the ledger where it speaks of it, and with what it ended."""

    by: dict[str, str]
    ledger: str | None
    code: int
    answer: Answer

    @property
    def said(self) -> tuple[dict[str, str], str | None, int]:
        """The verdicts, the word for the ledger, the exit code."""
        return self.by, self.ledger, self.code


def of(word: str, *run_ids: str) -> dict[str, str]:
    """Return the same word for each run."""
    return dict.fromkeys(run_ids, word)


class Host:
    """One machine: its home with keys, sources and memory, and the project on its disk."""

    def __init__(self, server: Server, base: Path, here: Path | None = None) -> None:
        self.server = server
        self.base = base
        self.here = here or base / "project"
        self.home = base / "home"
        for folder in (self.here, self.home):
            folder.mkdir(parents=True, exist_ok=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "160",
        }

    @property
    def goldens(self) -> Path:
        """The golden directory."""
        return self.here / _DIR

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.home / ".local/state/golden"

    @property
    def policy(self) -> Path:
        """The keyring file."""
        return self.here / "golden-keyring.toml"

    def golden(
        self,
        *argv: str,
        layer: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        uid: int = 0,
        setting: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Run the command, forked from a process that has imported everything.

        `layer` strikes it (see `Layer`), `uid` runs it as somebody else, `setting` changes constants of the product.
        """
        out, err = self.base / "stdout", self.base / "stderr"
        request = {"argv": argv, "cwd": str(self.here), "env": {**self.env, **(env or {})}, "layer": layer, "uid": uid}
        code = self.server.run(**request, out=str(out), err=str(err), set=setting)
        answer = Answer(argv, out.read_text(), err.read_text(), code)
        assert "Traceback" not in answer.stderr or "--debug" in argv, answer
        assert "internal error" not in answer.stderr, answer
        return answer

    def keyring(self) -> Keyring:
        """Return the keys as this host has them."""
        sources = self.home / ".config/golden/sources.toml"
        return keyring_from(Pool({}, read_sources(str(sources))), str(self.policy))

    @property
    def ledger(self) -> bool:
        """Whether the configuration keeps a ledger."""
        return "ledger = false" not in (self.here / "golden.toml").read_text()

    def store(self, *, memory: bool = True) -> Store:
        """Return the golden directory as this host's own programs use it."""
        remembered = Memory(str(self.state)) if memory else None
        return Store(
            self.goldens,
            self.keyring(),
            durability="never",
            ledger=self.ledger,
            memory=remembered,
            reload=self.keyring,
        )

    def record(self, *run_ids: str, value: Any = "honest") -> None:
        """Record honest runs with the real recorder."""
        for run_id in run_ids:
            runs.record(self.store(), run_id, events(run_id, value))

    def verify(self, *argv: str) -> Judged:
        """Verify the directory."""
        done = self.golden("verify", "--json", *argv)
        *rows, summary = done.objects
        assert (summary["schema"], summary["exit_code"]) == ("golden.summary/1", done.code), done
        by = {row["run_id"]: row["verdict"] for row in rows if row["run_id"] is not None}
        return Judged(by, summary.get("ledger"), done.code, done)

    def anchor(self) -> str:
        """Return the anchor that `verify` prints of a good directory."""
        done = self.verify()
        assert done.code == 0, done.answer
        anchor: str = done.answer.objects[-1]["anchor"]
        return anchor

    def rotate(self, *argv: str) -> Judged:
        """Rotate, and return the outcomes."""
        done = self.golden("rotate", "--json", "--yes", *argv)
        return _outcomes(done)

    def new_key(self, *argv: str) -> str:
        """Add a new active key and return its kid."""
        done = self.golden("keys", "add", "--generate", "--active", "--json", *argv)
        assert done.code == 0, done
        kid: str = done.objects[0]["kid"]
        return kid

    def new_key_from(self, path: Path) -> str:
        """Add the active key whose secret lies at `path` and return its kid."""
        done = self.golden("keys", "add", "--source", f"file:{path}", "--active", "--json")
        assert done.code == 0, done
        kid: str = done.objects[0]["kid"]
        return kid

    def policies(self) -> list[Entry]:
        """Return what the keyring file says of each key."""
        return read_policy(str(self.policy))

    def states(self) -> dict[str, str]:
        """Return kid → state as the keyring file has it."""
        return {entry.kid: entry.state for entry in self.policies()}

    def files(self) -> dict[str, bytes]:
        """Return everything in the golden directory."""
        return {str(p.relative_to(self.goldens)): p.read_bytes() for p in self.goldens.rglob("*") if p.is_file()}

    def times(self) -> dict[str, tuple[int, int, int]]:
        """Return mode, inode and time of the last change of each golden file."""
        found = ((path.name, path.lstat()) for path in self.goldens.glob("*.steps.jsonl"))
        return {name: (info.st_mode, info.st_ino, info.st_mtime_ns) for name, info in found}

    def put(self, files: Mapping[str, bytes]) -> None:
        """Put the golden directory's own files back as they were, and take away what was not there."""
        for path in self.goldens.iterdir():
            if path.is_file() and path.name not in files:
                path.unlink()
        for name, data in files.items():
            (self.goldens / name).write_bytes(data)

    def seal(self, run_id: str) -> Seal:
        """Return the seal of a run."""
        return parse_seal((self.goldens / f"{run_id}.steps.jsonl.sig").read_bytes())

    def signers(self, run_id: str) -> set[str]:
        """Return the kids that signed a run's seal."""
        return {signature.kid for signature in self.seal(run_id).signatures}

    def left_over(self) -> list[str]:
        """Return what no command should leave behind: temporaries, and locks that are held, wherever they lie.

        The empty file of a lock that nobody holds locks nobody out; the next to take the lock takes it away.
        """
        found = (path for path in self.base.rglob("*") if path.name.endswith((".tmp", ".lock")))
        left = (path for path in found if path.suffix == ".tmp" or path.stat().st_size or is_locked(str(path)))
        return sorted(str(path.relative_to(self.base)) for path in left)


def _outcomes(done: Answer) -> Judged:
    rows = done.objects if done.stdout else []
    by = {row["run_id"]: row["outcome"] for row in rows if row["schema"] == "golden.rotate/1"}
    return Judged(by, None, done.code, done)


def _untouched(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.endswith(".steps.jsonl")}


def events(run_id: str, value: Any) -> list[Data]:
    """Return the events of a small run whose outcome is `value`."""
    return [
        runs.start({"run": run_id}),
        runs.step(0, [1, 2]),
        runs.step(1, value),
        runs.end(steps_completed=2, steps_total=2),
    ]


class World(Host):
    """A host with a key and three honest runs, and everything honest that was ever on its disk."""

    def __init__(self, server: Server, base: Path, *init: str) -> None:
        super().__init__(server, base)
        done = self.golden("init", *init)
        assert done.code == 0, done
        self.old = next(kid for kid, state in self.states().items() if state == "active")
        self.honest: set[tuple[str, str]] = set()
        self.statements: set[bytes] = set()
        self.backup: dict[str, bytes] = {}

    def record(self, *run_ids: str, value: Any = "honest") -> None:
        """Record honest runs, and keep what they were."""
        super().record(*run_ids, value=value)
        for run_id in run_ids:
            self.honest.add((run_id, sha256_hex((self.goldens / f"{run_id}.steps.jsonl").read_bytes())))
            self.statements.add(self.seal(run_id).line)

    def save(self) -> None:
        """Make a backup of the golden directory."""
        self.backup = {name: data for name, data in self.files().items() if "/" not in name}

    def restore(self, *names: str) -> None:
        """Put files back from the backup: all of them, or those named."""
        if not names:
            self.put(self.backup)
        for name in names:
            (self.goldens / name).write_bytes(self.backup[name])

    def restore_run(self, run_id: str) -> None:
        """Put one run back from the backup."""
        self.restore(f"{run_id}.steps.jsonl", f"{run_id}.steps.jsonl.sig")

    def secret(self, kid: str | None = None) -> bytes:
        """Return a secret as it lies in this host's configuration."""
        (path,) = (self.home / ".config/golden/keys").glob(f"{kid or self.old}.*")
        return path.read_bytes().removesuffix(b"\n")

    def elsewhere(self, name: str) -> Host:
        """Return another host, with the same disk, the same keys, and no memory of its own."""
        host = Host(self.server, self.base / name, self.here)
        shutil.copytree(self.home / ".config", host.home / ".config")
        sources = host.home / ".config/golden/sources.toml"
        sources.write_text(sources.read_text().replace(str(self.home), str(host.home)))
        return host

    def only_honest(self, *kids: str, restated: bool = False) -> None:
        """Fail where a signature by one of `kids` stands over anything that the honest history did not have.

        `restated` says that statements may have been made anew, of the same bytes.
        """
        for path in self.goldens.rglob("*.sig"):
            if path.is_symlink() or not path.is_file():
                continue
            seal = parse_seal(path.read_bytes())
            signers = {signature.kid for signature in seal.signatures}
            if signers & set(kids):
                run_id = path.name.removesuffix(".steps.jsonl.sig")
                assert restated or seal.line in self.statements, f"{path.name}: nobody honest stated that"
                assert (run_id, seal.statement.sha256) in self.honest, path.name
                file = path.with_suffix("")
                assert not file.exists() or (run_id, sha256_hex(file.read_bytes())) in self.honest, path.name


class Thief:
    """Somebody else who holds a leaked secret and can write the golden directory: uses golden's own functions."""

    def __init__(self, world: Host, *secrets: bytes) -> None:
        self.world = world
        keys = [key_from(secret) for secret in secrets]
        self.key: Key = keys[-1]
        hmac = [key for key in keys if isinstance(key, HmacKey)]
        self.hmac = hmac[0]
        self.keys = keys
        self.keyring = Keyring(secrets[0])

    @property
    def ledger(self) -> Path:
        """The ledger."""
        return self.world.goldens / LEDGER

    def record(self, run_id: str, value: Any = "forged") -> None:
        """Record a run like anybody would, on a machine of one's own."""
        store = Store(self.world.goldens, Keyring(self.hmac._secret), durability="never")
        runs.record(store, run_id, events(run_id, value))

    def record_by_hand(self, run_id: str) -> None:
        """Forge a run and the lines that go with it, where golden's own recorder would refuse."""
        statement = self.forge(run_id)
        opened = draft(Open, run_id=run_id, file_id=statement.file_id)
        self.append(opened, self.sealed(statement))

    def forge(self, run_id: str, value: Any = "forged", *, file_id: str = runs.FILE_ID, gen: int = 0) -> Statement:
        """Write a run's file and its seal, chained and signed with the leaked keys; return what the seal states."""
        chain = Chain(self.hmac.event_key(run_id, file_id))
        signing = Signing(alg="hmac-sha256", file_id=file_id, kid=self.hmac.kid, v=1)
        data = b""
        for seq, said in enumerate(events(run_id, value)):
            line = EventLine(
                data=said,
                event_type=next(name for name, form in DATA_TYPES.items() if form is type(said)),
                golden=UNSET if seq else signing,
                run_id=run_id,
                seq=seq,
                timestamp=runs.NOW,
                timing=Timing(duration_us=5) if isinstance(said, StepData) else UNSET,
            )
            data += chain.sign(encode_line(line))
        statement = runs.statement_of(run_id, data, data.count(b"\n"), chain.previous)
        statement = msgspec.structs.replace(statement, file_id=file_id, gen=gen)
        (self.world.goldens / f"{run_id}.steps.jsonl").write_bytes(data)
        self.sign(statement)
        return statement

    def sign(self, statement: Statement) -> None:
        """Put a seal with this statement beside its run, signed with the leaked keys."""
        path = self.world.goldens / f"{statement.run_id}.steps.jsonl.sig"
        path.write_bytes(make_seal(statement_line(statement), self.keys))

    def state(self, run_id: str, **changes: Any) -> Statement:
        """Sign another statement about a file that stays as it is."""
        statement = msgspec.structs.replace(self.world.seal(run_id).statement, **changes)
        self.sign(statement)
        return statement

    def append(self, *drafts: Draft) -> None:
        """Append lines to the ledger, each following the one before it and signed with the leaked key."""
        lines = self.ledger.read_bytes().splitlines()
        self.write([parse_line(line)[0] for line in lines], drafts, kept=lines)

    def rewrite(self, change: Callable[[list[Operation]], Iterable[Operation]], *, dir_id: str | None = None) -> None:
        """Write the whole ledger anew from what `change` makes of its lines, every one signed with the leaked key."""
        before = [parse_line(line)[0] for line in self.ledger.read_bytes().splitlines()]
        operations = [msgspec.structs.replace(operation, kid=self.key.kid) for operation in change(before)]
        if dir_id:
            operations[0] = msgspec.structs.replace(operations[0], dir_id=dir_id)
        self.write(operations, ())

    def write(self, operations: Sequence[Operation], drafts: Sequence[Draft], kept: Sequence[bytes] = ()) -> None:
        """Write a ledger: lines that are kept as they are, or all signed anew, and then new ones."""
        out: list[bytes] = []
        previous, dir_id = "0" * 64, getattr(operations[0], "dir_id", "")
        for operation in itertools.chain(operations, drafts):
            seq = len(out)
            if seq < len(kept):
                line = kept[seq]
            else:
                made = (
                    operation(Line(actor="ci@build", kid=self.key.kid, prev=previous, seq=seq, timestamp=runs.NOW))
                    if callable(operation)
                    else msgspec.structs.replace(operation, prev=previous, seq=seq)
                )
                line = signed_line(made, self.key, dir_id).removesuffix(b"\n")
            out.append(line)
            previous = hashlib.sha256(line).hexdigest()
        self.ledger.write_bytes(b"".join(line + b"\n" for line in out))

    def sealed(self, statement: Statement) -> Draft:
        """Return the line that says that a run was sealed."""
        return draft(Sealed, run_id=statement.run_id, file_id=statement.file_id, seal=statement)


def fold(host: Host) -> Fold:
    """Return what the ledger adds up to, unchecked."""
    found = Fold(Keyring(b"x" * 32))
    for line in (host.goldens / LEDGER).read_bytes().splitlines():
        found.feed(line)
    return found


class Leak:
    """A world whose secret has leaked after its anchor was put where no attacker is, and what its responder does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.anchor = world.anchor()
        self.thief = Thief(world, world.secret())
        self.new = ""

    @property
    def reason(self) -> tuple[str, ...]:
        """The options of the rotation after a leak."""
        return ("--reason", "compromised", "--anchor", self.anchor)

    def respond(self, *more: str) -> Judged:
        """Add a key if there is no new one yet, look at the plan, rotate; fail where anything forged was signed."""
        world = self.world
        self.new = self.new or world.new_key()
        before, golden, times = world.files(), world.states(), world.times()
        plan = world.rotate(*self.reason, "--dry-run", *more)
        assert plan.code == 0, plan.answer
        assert (world.files(), world.states()) == (before, golden), "a dry run changed something"
        done = world.rotate(*self.reason, *more)
        assert plan.by == done.by, "the plan was another one"
        assert _untouched(before) == _untouched(world.files()), "a golden file was touched"
        assert times == world.times(), "a golden file was touched"
        world.only_honest(self.new)
        assert world.states()[world.old] == "revoked"
        return done

    def refused(self, *more: str) -> Answer:
        """Add a key, try to rotate, and return the refusal; fail where anything was written to the golden directory."""
        world = self.world
        self.new = self.new or world.new_key()
        before = world.files()
        done = world.golden("rotate", *self.reason, "--yes", *more)
        assert world.files() == before
        world.only_honest(self.new)
        return done

    def clear(self, *run_ids: str) -> Judged:
        """Set runs apart, take note of the rest, and verify with the anchor from before the leak."""
        world = self.world
        for run_id in run_ids:
            done = world.golden("quarantine", run_id, "--reason", "forged", "--yes")
            if "is there already" in done.stderr:
                # Set apart twice in one second.
                time.sleep(1)
                done = world.golden("quarantine", run_id, "--reason", "forged", "--yes")
            assert done.code == 0, done
        done = world.golden("recover", "--reason", "seen", "--yes")
        assert done.code == 0, done
        assert not world.left_over()
        return world.verify("--anchor", self.anchor)


def run_git(folder: Path, *argv: str) -> str:
    """Run git in a folder, as nobody in particular, without any configuration of a user's."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *argv], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout


def commit(host: Host) -> str:
    """Commit all there is, and return the revision."""
    run_git(host.here, "add", "-A")
    run_git(host.here, "commit", "-q", "--allow-empty", "-m", "as it is")
    return run_git(host.here, "rev-parse", "HEAD").strip()
