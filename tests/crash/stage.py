"""Stage: a world set up once for a command, put back before each performance of it, killed or failed on the way.

Says what the commands are, and what a directory looks like; the tests say what must be true.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from golden.directory import Directory
from golden.keyring import kid_of
from golden.ledger import LEDGER
from golden.recording import Record, Recording
from tests import runs
from tests.e2e.shell import Answer
from tests.stories.world import Leak, Server, Thief, World, commit, run_git

SPEC = '{"id": "s", "steps": [{"id": "one", "skill_id": "one", "inputs": {"n": 1}}, {"id": "two", "skill_id": "one"}]}'
SKILLS = """\
from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("one", version="1")
def one(ctx):
    return {"read": ctx.external("read", lambda: 7)}
"""
LONG = """\
{"id": "s", "steps": [{"id": "one", "skill_id": "one", "inputs": {"n": 1}},
 {"id": "two", "skill_id": "two", "inputs": {"drawn": "${one.drawn}"}}, {"id": "three", "skill_id": "one"}]}
"""
FALLIBLE = """\
import os
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("one", version="1")
def one(ctx):
    return {"read": ctx.external("read", lambda: 7), "drawn": ctx.random.random()}


@registry.skill("two", version="1")
def two(ctx):
    found = ctx.external("read", lambda: 8)
    if Path("KILL").exists():
        Path("KILL").unlink()
        os.kill(os.getpid(), 9)
    if Path("FAIL").exists():
        raise ValueError(found)
    return found
"""
# What a torn ledger, or a half import, leaves for whoever wants to see it.
_SET_APART = re.compile(r"quarantine/(ledger\.jsonl\.|<moment>/good-)")
_LEFT = re.compile(r"golden quarantine ([A-Za-z0-9-]+)")
_MOMENT = re.compile(r"\d{8}T\d{6}Z")


class Play(NamedTuple):
    """A command: what is there before it, its words, and the codes that it may end with when it is run again."""

    prepare: Callable[[World], tuple[str, ...]]
    again: tuple[int, ...] = (0,)
    init: tuple[str, ...] = ("--hmac",)


class Scene(NamedTuple):
    """What there is after a command: verdicts, ledger, exit code; files; what the keyring says, most severe last."""

    by: dict[str, str]
    ledger: str | None
    code: int
    files: list[str]
    states: list[str]

    @property
    def said(self) -> tuple[dict[str, str], str | None, int]:
        """The verdicts, the word for the ledger, the exit code."""
        return self.by, self.ledger, self.code

    @property
    def settled(self) -> list[str]:
        """The files, without what is left over and what was kept of a torn ledger."""
        passing = (".tmp", ".lock", "-wal", "-shm")
        return [name for name in self.files if not name.endswith(passing) and not _SET_APART.match(name)]


def _record(world: World) -> tuple[str, ...]:
    (world.here / "spec.json").write_text(SPEC)
    (world.here / "skills.py").write_text(SKILLS)
    return ("record", "spec.json", "--run-id", "d", "--seed", "7", "--skills", "skills.py")


def _killed(world: World) -> None:
    """Have a run killed in the middle of its second step, whose call is answered by then."""
    (world.here / "spec.json").write_text(LONG)
    (world.here / "skills.py").write_text(FALLIBLE)
    (world.here / "KILL").touch()
    done = world.golden("record", "spec.json", "--run-id", "d", "--seed", "7", "--skills", "skills.py")
    assert done.code == -9, done


def _resume_killed(world: World) -> tuple[str, ...]:
    _killed(world)
    return ("resume", "d", "--skills", "skills.py")


def _resume_failed(world: World) -> tuple[str, ...]:
    (world.here / "spec.json").write_text(LONG)
    (world.here / "skills.py").write_text(FALLIBLE)
    (world.here / "FAIL").touch()
    done = world.golden("record", "spec.json", "--run-id", "d", "--seed", "7", "--skills", "skills.py")
    assert done.code == 1, done
    (world.here / "FAIL").unlink()
    return ("resume", "d", "--skills", "skills.py")


def _recover_run(world: World) -> tuple[str, ...]:
    _killed(world)
    return ("recover", "d", "--yes")


def _scheduled(world: World) -> tuple[str, ...]:
    world.new_key()
    return ("rotate", "--reason", "scheduled", "--yes")


def _compromised(world: World) -> tuple[str, ...]:
    leak = Leak(world)
    leak.thief.record("f")
    leak.thief.forge("b", file_id=world.seal("b").statement.file_id)
    world.new_key()
    return ("rotate", *leak.reason, "--yes")


def _in_git(world: World) -> tuple[str, ...]:
    for name in ("ledger.jsonl", "ledger.lock"):
        (world.goldens / name).unlink(missing_ok=True)
    shutil.rmtree(world.state, ignore_errors=True)
    with (world.here / "golden.toml").open("a") as file:
        file.write("ledger = false\n")
    run_git(world.here, "init", "-q")
    revision = commit(world)
    Thief(world, world.secret()).forge("f")
    world.new_key()
    return ("rotate", "--reason", "compromised", "--anchor", f"git:{revision}", "--yes")


def _in_two_processes(world: World) -> tuple[str, ...]:
    return (*_compromised(world), "-j", "2")


def _accepting(world: World) -> tuple[str, ...]:
    leak = Leak(world)
    world.record("late")
    world.new_key()
    (world.here / "accepted").write_text(f"{world.seal('late').statement.sha256}  late\n")
    return ("rotate", *leak.reason, "--accept-unproven", "@accepted", "--yes")


def _resign(world: World) -> tuple[str, ...]:
    world.new_key()
    (world.goldens / "a.steps.jsonl.sig").unlink()
    return ("resign", "a", "b")


def _after_a_leak(world: World) -> None:
    leak = Leak(world)
    leak.thief.record("f")
    leak.respond()


def _quarantine(world: World) -> tuple[str, ...]:
    _after_a_leak(world)
    return ("quarantine", "f", "c", "--yes")


def _recover_lines(world: World) -> tuple[str, ...]:
    _after_a_leak(world)
    world.golden("quarantine", "f", "--yes")
    return ("recover", "--yes")


def _recover_bytes(world: World) -> tuple[str, ...]:
    with (world.goldens / LEDGER).open("ab") as file:
        file.write(b'{"no":"line"}\n{"half')
    return ("recover", "--yes")


def _recover_lost(world: World) -> tuple[str, ...]:
    world.verify()
    lines = (world.goldens / LEDGER).read_bytes().splitlines(keepends=True)
    (world.goldens / LEDGER).write_bytes(b"".join(lines[:-2]))
    world.golden("verify")
    return ("recover", "--yes")


def _recover_gone(world: World) -> tuple[str, ...]:
    world.verify()
    (world.goldens / LEDGER).unlink()
    return ("recover", "--yes")


def _ledger_init(world: World) -> tuple[str, ...]:
    (world.goldens / LEDGER).unlink()
    shutil.rmtree(world.state)
    return ("ledger", "init")


def _import(world: World) -> tuple[str, ...]:
    old = world.here / "old"
    old.mkdir()
    for path in (runs.FIXTURES / "recordings/aos").glob("good-*"):
        shutil.copy(path, old)
    secret = world.home / "aos.secret"
    secret.write_bytes(runs.AOS_SECRET)
    secret.chmod(0o600)
    world.env["GOLDEN_SECRET_FILE"] = str(secret)
    return ("import", "old", "--format", "aos", "--key", kid_of(runs.AOS_SECRET))


def _keys_add(world: World) -> tuple[str, ...]:
    return ("keys", "add", "--generate", "--active")


def _revoke(world: World) -> tuple[str, ...]:
    world.new_key()
    world.rotate("--reason", "scheduled")
    return ("keys", "revoke", world.old, "--reason", "old", "--yes")


def _accept(world: World) -> tuple[str, ...]:
    done = world.golden(*_record(world))
    assert done.code == 0, done
    (world.here / "skills.py").write_text(SKILLS.replace("7", "7.5"))
    done = world.golden("update", "d", "--live", "--skills", "skills.py")
    assert done.code == 0, done
    return ("accept", "d", "--reason", "finer")


def _accept_in_git(world: World) -> tuple[str, ...]:
    for name in ("ledger.jsonl", "ledger.lock"):
        (world.goldens / name).unlink(missing_ok=True)
    shutil.rmtree(world.state, ignore_errors=True)
    with (world.here / "golden.toml").open("a") as file:
        file.write("ledger = false\n")
    return _accept(world)


def _reject(world: World) -> tuple[str, ...]:
    return ("reject", *_accept(world)[1:])


PLAYS = {
    "accept": Play(_accept, (0, 2)),
    "accept without a ledger": Play(_accept_in_git, (0, 2)),
    "reject": Play(_reject, (0, 2)),
    "record": Play(_record, (0, 2)),
    "resume a killed run": Play(_resume_killed),
    "resume a failed run": Play(_resume_failed),
    "recover a dead run": Play(_recover_run, (0, 2)),
    "rotate scheduled": Play(_scheduled),
    "rotate scheduled, two keys": Play(_scheduled, init=()),
    "rotate compromised": Play(_compromised, (3,)),
    "rotate compromised, two jobs": Play(_in_two_processes, (3,)),
    "rotate in git": Play(_in_git, (4,)),
    "rotate accepting": Play(_accepting),
    "resign": Play(_resign),
    "quarantine": Play(_quarantine),
    "recover lines": Play(_recover_lines),
    "recover bytes": Play(_recover_bytes),
    "recover a shorter ledger": Play(_recover_lost),
    "recover a lost ledger": Play(_recover_gone),
    "ledger init": Play(_ledger_init, (0, 2)),
    "import": Play(_import),
    "keys add": Play(_keys_add),
    "keys revoke": Play(_revoke),
}


class Stage:
    """One command's world, as it was before it; `reset` brings it back."""

    def __init__(self, server: Server, base: Path, play: Play) -> None:
        self.play = play
        self.live, self._kept = base / "live", base / "kept"
        self.world = World(server, self.live, *play.init)
        self.world.record("a", "b", "c")
        self.argv = play.prepare(self.world)
        self.new = {kid for kid in self.world.states() if kid != self.world.old}
        shutil.copytree(self.live, self._kept, symlinks=True)
        self.log = base / "log"

    def reset(self) -> None:
        """Put everything back."""
        shutil.rmtree(self.live)
        shutil.copytree(self._kept, self.live, symlinks=True)

    def calls(self) -> list[str]:
        """Perform undisturbed, and return the calls that change the disk, in order."""
        self.log.unlink(missing_ok=True)
        done = self.world.golden(*self.argv, layer={"log": str(self.log)})
        assert done.code in self.play.again, done
        return self.log.read_text().splitlines()

    def again(self) -> Answer:
        """Perform once more; what an import says that it left half-done is set apart, as it asks for."""
        done = self.world.golden(*self.argv)
        if self.argv[0] != "import" or done.code == 0:
            return done
        for run_id in _LEFT.findall(done.stdout):
            assert self.world.golden("quarantine", run_id, "--yes").code == 0, run_id
        return self.world.golden(*self.argv)

    def scene(self) -> Scene:
        """Look at what there is."""
        found = self.world.verify()
        files = sorted(_MOMENT.sub("<moment>", name) for name in self.world.files())
        return Scene(*found.said, files, sorted(self.world.states().values()))


def content(world: World, run_id: str) -> list[Any]:
    """Return what a run holds that is no time and no id: each step with its calls, and how it ended."""
    directory = Directory(str(world.goldens), world.keyring())
    with Recording.open(world.goldens / f"{run_id}.steps.jsonl", directory) as recording:
        return [replace(item, ended=[]) if isinstance(item, Record) else item for item in recording.records()]
