"""A canary secret, looked for wherever one could get to: arguments, environments, output, files, tracebacks.

Every command of a responder's day is run with secrets in a variable, in a file and in a program's answer, so that each
way in is also a way that something could leak.
"""

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from golden.keyring import HmacKey
from tests import runs
from tests.e2e.shell import Answer, Shell

CANARY = {
    "GOLDEN_SECRET": b"canary-in-the-variable-0f3d1c58a7e64b29-never-to-be-seen",
    "GOLDEN_SECRET_PREVIOUS": b"canary-of-yesterday-8c2e5a9b7d104f36-never-to-be-seen-again",
    "file": b"canary-in-a-file-5b8f2d7c1e904a63-never-to-be-seen",
    "program": b"canary-of-a-program-1d7e9c4b2a605f38-never-to-be-seen",
    "variable": b"canary-of-my-own-6a1f8e3d9c7b4052-never-to-be-seen",
}
SPY = """\
import json, os, subprocess, sys
from pathlib import Path
from replay import SkillRegistry

registry = SkillRegistry()
LOOK = "import os, sys; sys.stdout.buffer.write(open('/proc/self/environ', 'rb').read() + b'|' + " \\
    "open('/proc/%d/cmdline' % os.getppid(), 'rb').read())"


@registry.skill("spy", version="1")
def spy(ctx):
    seen = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, check=True).stdout
    Path("seen-by-a-child").write_bytes(seen)
    Path("seen-inside").write_text(json.dumps(dict(os.environ)) + repr(sys.argv) + repr(ctx) + repr(registry))
    Path("seen-in-proc").write_bytes(Path("/proc/self/environ").read_bytes() + Path("/proc/self/cmdline").read_bytes())
    if ctx.inputs.get("fail"):
        raise RuntimeError("the skill has failed, and shows where it was")
    return {"n": 1}
"""


def spellings(secret: bytes) -> Iterator[bytes]:
    """Give what a secret, or what is derived from it, looks like."""
    for data in (secret, HmacKey(secret).seal_key()):
        yield data
        yield data.hex().encode()
        yield base64.b64encode(data).rstrip(b"=")
        yield base64.urlsafe_b64encode(data).rstrip(b"=")
    yield secret[:24]


NEEDLES = {name: list(spellings(secret)) for name, secret in CANARY.items()}


def found_in(data: bytes) -> list[str]:
    return [name for name, needles in NEEDLES.items() if any(needle in data for needle in needles)]


def clean(answer: Answer) -> Answer:
    assert not found_in(f"{answer.stdout}\n{answer.stderr}".encode()), answer.argv
    return answer


@pytest.fixture
def spied(tmp_path: Path) -> Shell:
    """A project whose secrets come by every way, with a skill that looks around and programs that write down all."""
    here, home, scratch = (tmp_path / name for name in ("here", "home", "scratch"))
    for folder in (here, home, scratch):
        folder.mkdir()
    shell = Shell(here)
    shell.environ.update(HOME=str(home), TMPDIR=str(scratch))
    shell.write("skills.py", SPY)
    step = {"id": "look", "skill_id": "spy", "inputs": {"fail": "${inputs.fail}"}}
    shell.write("spec.json", {"id": "s", "steps": [step]})
    shell.write("golden.toml", 'dir = "goldens"\nskills = ["skills.py"]\n')
    secret = home / "a.secret"
    secret.write_bytes(CANARY["file"] + b"\n")
    secret.chmod(0o600)
    program = home / "ask"
    program.write_text(
        f"#!/bin/sh\ncat /proc/self/environ /proc/$PPID/cmdline /proc/$$/cmdline >>{shell.here}/seen-by-a-source\n"
        f"printf %s {CANARY['program'].decode()}\n"
    )
    program.chmod(0o700)
    keeper = home / "keep"
    keeper.write_text(
        f'#!/bin/sh\n{{ env; cat; echo "$0 $*"; cat /proc/self/cmdline; }} >>{shell.here}/seen-by-a-keeper\n'
    )
    keeper.chmod(0o700)
    sources = home / ".config/golden/sources.toml"
    sources.parent.mkdir(parents=True)
    sources.write_text(f"anchor_to = ['exec:[\"{keeper}\"]', 'file:{home}/anchors']\n")
    sources.chmod(0o600)
    return shell


def everywhere(shell: Shell) -> Iterator[tuple[Path, bytes]]:
    """Give every file that was written, but those where a secret belongs."""
    home = Path(shell.environ["HOME"])
    own = {home / "a.secret", home / "ask"}
    for folder in (shell.here, home, Path(shell.environ["TMPDIR"])):
        for path in folder.rglob("*"):
            if path.is_file() and path not in own:
                yield path, path.read_bytes()


def day(shell: Shell) -> Iterator[Answer]:
    """Live through a responder's day, and give every answer."""
    golden, home = shell.golden, Path(shell.environ["HOME"])
    first = {name: CANARY[name].decode() for name in ("GOLDEN_SECRET", "GOLDEN_SECRET_PREVIOUS")}
    record = ("record", "spec.json", "--seed", "1", "--input")
    yield golden(*record, "fail=false", "--run-id", "a", env=first)
    yield golden(*record, "fail=true", "--run-id", "b", env=first)
    yield golden("verify", "--json", env=first)
    places = (f"file:{home}/a.secret", f'exec:["{home}/ask"]', "env:MINE")
    for place in places:
        if place == "env:MINE":
            # Before, nobody could know that it is a secret.
            first["MINE"] = CANARY["variable"].decode()
        yield golden("keys", "add", "--source", place, "--active", env=first)
        yield golden("rotate", "--reason", "scheduled", "--yes", "--json", env=first)
        yield golden(*record, "fail=false", "--run-id", f"run-{places.index(place)}", env=first)
    yield golden("keys", "show", "-v", env=first)
    yield golden("verify", "-j", "2", "-v", env=first)
    anchor = golden("verify", "--json", env=first).objects[-1]["anchor"]
    yield golden("replay", "a", env=first)
    yield golden("tail", "a", env=first)
    yield golden("diff", "a", "run-0", env=first)
    yield golden("config", "-v", env=first)
    forged = runs.store_in(shell.here / "goldens").file("f")
    forged.path.write_bytes((shell.here / "goldens/a.steps.jsonl").read_bytes())
    yield golden("keys", "add", "--generate", "--active", env=first)
    # Without it the answer would be another.
    yield golden("rotate", "--reason", "compromised", "--anchor", anchor, "--yes", "-j", "2", "--debug", env=first)
    yield golden("quarantine", "f", "--yes", "--debug", env=first)
    yield golden("recover", "--yes", "--debug", env=first)
    yield golden("anchors", env=first)
    yield golden("verify", env=first)
    # What goes wrong shows no more.
    (shell.here / "goldens/a.steps.jsonl.sig").write_bytes(b"noise")
    for argv in (("verify", "a"), ("resign", "a"), ("keys", "add", "--source", "env:GOLDEN_SECRET", "--active")):
        yield golden(*argv, "--debug", env=first)
    for secret in CANARY.values():
        bad = {"GOLDEN_SECRET": secret.decode()[:20], "GOLDEN_SECRET_PREVIOUS": ""}
        yield golden("verify", "--debug", env=bad)
    conflict = {"GOLDEN_SECRET": CANARY["variable"].decode(), "GOLDEN_SECRET_FILE": f"{home}/a.secret"}
    yield golden("verify", "--debug", env=conflict)


@pytest.mark.slow
def test_no_secret_is_seen_in_output_files_arguments_or_environments(spied: Shell) -> None:
    answers = [clean(answer) for answer in day(spied)]
    assert {answer.code for answer in answers} <= {0, 1, 2, 3, 4}
    assert sum(answer.code == 0 for answer in answers) > 12, [(a.argv, a.code, a.stderr) for a in answers if a.code]
    seen = {path.name for path, _ in everywhere(spied)}
    spies = {"seen-by-a-child", "seen-inside", "seen-in-proc", "seen-by-a-source", "seen-by-a-keeper"}
    assert spies <= seen, "a spy has not looked"
    assert {"ledger.jsonl", "sources.toml", "golden-keyring.toml", "anchors"} <= seen
    bad = {str(path): found for path, data in everywhere(spied) if (found := found_in(data))}
    assert not bad
    assert not list(Path(spied.environ["TMPDIR"]).iterdir())


def test_a_traceback_shows_no_secret(spied: Shell) -> None:
    """The program itself is broken, in the innermost place where it holds a secret."""
    spied.write(
        "broken/sitecustomize.py",
        "import golden.keyring as keyring\n"
        "def broken(self, *_):\n"
        "    secret = self._secret\n"
        "    raise ZeroDivisionError('broken on purpose')\n"
        "keyring.HmacKey.seal_key = keyring.HmacKey.event_key = broken\n",
    )
    env = {"GOLDEN_SECRET": CANARY["GOLDEN_SECRET"].decode(), "PYTHONPATH": f"{spied.here}/broken"}
    record = ("record", "spec.json", "--run-id", "a", "--input", "fail=false")
    assert spied.golden(*record, env={"GOLDEN_SECRET": env["GOLDEN_SECRET"]}).code == 0
    for argv in (("verify",), ("verify", "-j", "2"), (*record[:-3], "b", *record[-2:])):
        plain = clean(spied.golden(*argv, env=env))
        assert "Traceback" not in plain.stderr
        told = clean(spied.golden(*argv, "--debug", env=env))
        assert "broken on purpose" in told.stderr
        assert "Traceback" in told.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked at in /proc")
def test_no_process_carries_a_secret_in_its_arguments(spied: Shell) -> None:
    """Looked at from outside, all the time, by somebody who may see every process."""
    env = {"GOLDEN_SECRET": CANARY["GOLDEN_SECRET"].decode()}
    spied.golden("record", "spec.json", "--run-id", "a", "--input", "fail=false", env=env)
    home = Path(spied.environ["HOME"])
    looked = 0
    for argv in (
        ("keys", "add", "--source", f'exec:["{home}/ask"]', "--active"),
        ("verify", "-j", "2"),
        ("keys", "show"),
    ):
        process = spied.start(*argv, env=env)
        while process.poll() is None:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    data = path.read_bytes()
                except OSError:
                    continue
                looked += 1
                assert not found_in(data), data
        process.communicate()
    assert looked > 10
    assert os.getpid()
