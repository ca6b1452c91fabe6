"""What happens in the life of a store while keys change: runs that go on, two at once, modes, owners, sources, git."""

import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from golden.errors import KeyringError
from golden.event import parse_header
from golden.files import locked, open_folder
from golden.ledger import LEDGER
from golden.recorder import open_recorder
from tests import runs
from tests.e2e.shell import command
from tests.stories.world import Leak, Server, World, commit, events, of, run_git

GOOD = of("intact", "a", "b", "c")
RESEALED = of("resealed", "a", "b", "c")
SCHEDULED = ("--reason", "scheduled")
NOBODY = 12345
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


# Runs that go on while keys change.


def test_a_live_run_is_passed_over_and_picked_up_by_the_next_rotation(world: World) -> None:
    with open_recorder(world.store(), "d") as recorder:
        first, *others = events("d", "honest")
        recorder.write(first)
        new = world.new_key()
        assert world.rotate(*SCHEDULED).said == (RESEALED | {"d": "live"}, None, 4)
        assert world.verify("--allow-live").said == (GOOD | {"d": "live"}, "intact", 0)
        refusal = world.golden("keys", "revoke", world.old, "--yes").refused(2)
        assert "run d needs key" in refusal
        assert "wait until it has, then `golden rotate`" in refusal
        for data in others:
            recorder.write(data, runs.duration(data))
        recorder.seal()
    # It was begun under the key that was retired meanwhile, and sealed with the one that is active by now.
    assert world.signers("d") == {new}
    assert world.rotate(*SCHEDULED).said == (of("already", "a", "b", "c", "d"), None, 0)
    assert world.golden("keys", "revoke", world.old, "--yes").code == 0
    assert world.verify().said == (GOOD | {"d": "intact"}, "intact", 0)


def test_a_live_run_whose_key_leaked_is_not_sealed(world: World) -> None:
    leak = Leak(world)
    with open_recorder(world.store(), "d") as recorder:
        for data in events("d", "honest"):
            recorder.write(data, runs.duration(data))
        assert leak.respond().by["d"] in {"live", "unproven"}
        with pytest.raises(KeyringError, match="revoked"):
            recorder.seal()
    assert not (world.goldens / "d.steps.jsonl.sig").exists()
    assert world.verify().by == GOOD | {"d": world.verify().by["d"]}
    assert leak.clear("d").said == (GOOD, "intact", 0)


def test_a_run_begins_under_the_key_that_is_active_by_then(world: World) -> None:
    store = world.store()
    runs.record(store, "d", events("d", "honest"))
    new = world.new_key()
    runs.record(store, "e", events("e", "honest"))
    header = parse_header((world.goldens / "e.steps.jsonl").read_bytes().partition(b"\n")[0])
    assert header is not None
    assert header.signing is not None
    assert header.signing.kid == new
    assert (world.signers("d"), world.signers("e")) == ({world.old}, {new})


def test_what_a_store_recorded_after_a_scheduled_revocation_verifies(world: World) -> None:
    store = world.store()
    runs.record(store, "d", events("d", "honest"))
    world.new_key()
    assert world.rotate(*SCHEDULED).code == 0
    assert world.golden("keys", "revoke", world.old, "--yes").code == 0
    runs.record(store, "e", events("e", "honest"))
    assert world.verify().said == (GOOD | of("intact", "d", "e"), "intact", 0)


# Two at once.


def start(world: World, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [command(), *argv],
        cwd=world.here,
        env=world.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_rotation_is_refused_while_the_first_is_at_work(world: World) -> None:
    world.new_key()
    before = world.files()
    with open_folder(str(world.goldens)) as folder, locked(folder, "rotate.lock"):
        done = world.golden("rotate", *SCHEDULED, "--yes")
    assert (done.code, done.stdout) == (2, "")
    assert "golden: another rotation is at work in goldens\nhint: " in done.stderr
    assert world.files() == before
    assert world.rotate(*SCHEDULED).said == (RESEALED, None, 0)


def test_two_rotations_begun_at_once_end_as_one(world: World) -> None:
    world.record(*(f"r-{n}" for n in range(30)))
    new = world.new_key()
    both = [start(world, "rotate", *SCHEDULED, "--yes") for _ in range(2)]
    done = [(*process.communicate(timeout=60), process.returncode) for process in both]
    assert {code for _, _, code in done} <= {0, 2}, done
    assert 0 in {code for _, _, code in done}, done
    assert not [err for _, err, _ in done if "Traceback" in err or "internal error" in err]
    world.only_honest(new)
    assert world.rotate(*SCHEDULED).code == 0
    assert set(world.verify().by.values()) == {"intact"}
    assert not world.left_over()


def test_recorders_go_on_while_a_rotation_is_at_work(world: World) -> None:
    world.record(*(f"r-{n}" for n in range(60)))
    world.new_key()
    process = start(world, "rotate", *SCHEDULED, "--yes")
    count = 0
    while process.poll() is None:
        world.record(f"s-{count}")
        count += 1
    assert process.communicate()[1] is not None
    assert process.returncode in {0, 4}
    assert count
    assert world.rotate(*SCHEDULED).code == 0
    found = world.verify()
    assert (set(found.by.values()), found.ledger, found.code) == ({"intact"}, "intact", 0)
    assert len(found.by) == 3 + 60 + count


def test_recover_takes_off_no_bytes_while_somebody_writes_the_ledger(world: World) -> None:
    ledger = world.goldens / LEDGER
    with ledger.open("ab") as file:
        file.write(b"{half a line")
    before = ledger.read_bytes()
    with open_folder(str(world.goldens)) as folder, locked(folder, "ledger.lock"):
        process = start(world, "recover", "--yes")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.7)
        assert ledger.read_bytes() == before
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert world.verify().said == (GOOD, "intact", 0)


# Modes and owners.


def test_a_read_only_file_is_rotated_and_stays_read_only(world: World) -> None:
    for suffix in ("", ".sig"):
        (world.goldens / f"a.steps.jsonl{suffix}").chmod(0o440)
    before = world.times()
    world.new_key()
    assert world.rotate(*SCHEDULED).said == (RESEALED, None, 0)
    assert world.times() == before
    assert stat.S_IMODE((world.goldens / "a.steps.jsonl.sig").stat().st_mode) == 0o440
    assert world.verify().said == (GOOD, "intact", 0)


@pytest.fixture
def shared(server: Server) -> Iterator[World]:
    """A world where everybody can get to, which belongs to nobody in particular."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base.chmod(0o755)
        world = World(server, base / "shared", "--hmac")
        world.record("a", "b", "c")
        world.new_key()
        for path in [world.base, *world.base.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield world


@root
def test_a_seal_whose_owner_cannot_be_kept_stays_as_it_is(shared: World) -> None:
    os.chown(shared.goldens / "a.steps.jsonl", 0, 0)
    (shared.goldens / "a.steps.jsonl").chmod(0o644)
    before = (shared.goldens / "a.steps.jsonl.sig").read_bytes()
    done = shared.golden("rotate", *SCHEDULED, "--yes", uid=NOBODY)
    assert (done.code, done.stdout.count("failed")) == (4, 2), done
    assert "Operation not permitted" in done.stdout
    assert (shared.goldens / "a.steps.jsonl.sig").read_bytes() == before
    assert not shared.left_over()
    assert shared.golden("verify", uid=NOBODY).code == 0
    os.chown(shared.goldens / "a.steps.jsonl", NOBODY, NOBODY)
    assert shared.golden("rotate", *SCHEDULED, "--yes", uid=NOBODY).code == 0
    assert (shared.goldens / "a.steps.jsonl.sig").stat().st_uid == NOBODY


@root
def test_a_seal_made_by_root_keeps_the_owner_of_its_file(shared: World) -> None:
    (shared.home / ".config/golden/sources.toml").chmod(0o600)
    for path in (shared.home / ".config/golden").rglob("*"):
        os.chown(path, 0, 0)
    done = shared.golden("rotate", *SCHEDULED, "--yes")
    assert done.code == 0, done
    assert {path.stat().st_uid for path in shared.goldens.glob("*.sig")} == {NOBODY}


@root
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_directory_that_cannot_be_written_is_left_as_it_is(shared: World, what: str) -> None:
    if what == "folder":
        os.chown(shared.goldens, 0, 0)
        shared.goldens.chmod(0o755)
    else:
        os.chown(shared.goldens / "a.steps.jsonl", 0, 0)
        (shared.goldens / "a.steps.jsonl").chmod(0o600)
    before = shared.files()
    done = shared.golden("rotate", *SCHEDULED, "--yes", uid=NOBODY)
    assert done.code == 4, done
    assert "Permission denied" in done.stdout + done.stderr
    assert shared.files()["a.steps.jsonl.sig"] == before["a.steps.jsonl.sig"]
    assert shared.golden("verify", uid=NOBODY).code == (0 if what == "folder" else 4)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_secret_that_others_can_read_is_not_used(world: World, mode: int) -> None:
    (path,) = (world.home / ".config/golden/keys").iterdir()
    path.chmod(mode)
    before = world.files()
    found = world.verify()
    assert found.said == (of("unknown-key", "a", "b", "c"), "unknown-key", 4)
    assert f"{mode:04o}" in found.answer.stderr, found.answer.stderr
    assert world.golden("rotate", *SCHEDULED, "--yes").code in {2, 4}
    with pytest.raises(KeyringError):
        world.record("d")
    assert world.files() == before
    path.chmod(0o600)
    assert world.verify().said == (GOOD, "intact", 0)


@root
@pytest.mark.parametrize("what", ["secret", "sources"])
def test_a_secret_or_a_list_of_sources_of_another_owner_is_not_used(world: World, what: str) -> None:
    (secret,) = (world.home / ".config/golden/keys").iterdir()
    path = secret if what == "secret" else world.home / ".config/golden/sources.toml"
    os.chown(path, NOBODY, NOBODY)
    done = world.golden("verify")
    assert done.code in {2, 4}, done
    assert "another user" in done.stderr or "belongs" in done.stderr, done
    assert "intact" not in done.stdout
    os.chown(path, 0, 0)
    assert world.verify().said == (GOOD, "intact", 0)


# Sources that fail.


@pytest.fixture
def asked(world: World) -> Path:
    """A program that gives the secret, and is the only one that does."""
    (secret,) = (world.home / ".config/golden/keys").iterdir()
    program = world.base / "ask"
    program.write_text(f"#!/bin/sh\nexec cat {secret}.moved\n")
    program.chmod(0o755)
    secret.rename(f"{secret}.moved")
    sources = world.home / ".config/golden/sources.toml"
    text = sources.read_text()
    place = next(line for line in text.splitlines() if line.startswith("from"))
    sources.write_text(text.replace(place, f"from = 'exec:[\"{program}\"]'"))
    assert world.verify().said == (GOOD, "intact", 0)
    return program


SOURCES = {
    "it fails": "echo nothing here >&2; exit 3",
    "it says nothing": "exit 0",
    "it hangs": "exec sleep 600",
    "it hangs with children": "sleep 600 & sleep 600",
    "it prints without end": "exec cat /dev/zero",
    "it gives another secret": "echo ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "it is killed": "kill -9 $$",
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_fails_makes_its_key_unknown_and_nothing_is_written(world: World, asked: Path, name: str) -> None:
    before = world.files()
    asked.write_text(f"#!/bin/sh\n{SOURCES[name]}\n")
    setting = {"golden.program.SECONDS": 0.3}
    began = time.monotonic()
    done = world.golden("verify", "--json", setting=setting)
    assert time.monotonic() - began < 5
    assert done.code == 4, done
    assert {row["verdict"] for row in done.objects[:-1]} == {"unknown-key"}
    assert str(asked) in done.stderr
    for argv in (("rotate", *SCHEDULED, "--yes"), ("quarantine", "a", "--yes"), ("recover", "--yes")):
        refused = world.golden(*argv, setting=setting)
        assert refused.code in {2, 4}, refused
    assert world.files() == before


def test_a_source_that_is_gone_makes_its_key_unknown(world: World, asked: Path) -> None:
    asked.unlink()
    assert world.verify().said == (of("unknown-key", "a", "b", "c"), "unknown-key", 4)


# Git.


def clone(world: World, base: Path, *config: str) -> Path:
    """Return a fresh checkout."""
    there = base / "clone"
    options = [word for item in config for word in ("-c", item)]
    run_git(base, *options, "clone", "-q", str(world.here), str(there))
    return there


@pytest.mark.parametrize("attributed", [True, False])
def test_a_checkout_that_changes_line_ends_is_harmless_with_the_line_in_gitattributes(
    git: World, tmp_path: Path, attributed: bool
) -> None:
    attributes = git.here / ".gitattributes"
    assert "*.steps.jsonl* -text -merge" in attributes.read_text()
    if not attributed:
        attributes.unlink()
        commit(git)
    there = clone(git, tmp_path, "core.autocrlf=true")
    shutil.rmtree(git.here)
    there.rename(git.here)
    data = (git.goldens / "a.steps.jsonl").read_bytes()
    assert (b"\r\n" in data) is not attributed
    found = git.verify()
    if attributed:
        assert found.said == (GOOD, "off", 0)
    else:
        assert found.code == 3
        assert set(found.by.values()) == {"tampered"}
    new = git.new_key().encode()
    assert git.rotate(*SCHEDULED).code in ({0} if attributed else {3, 4})
    assert {new in path.read_bytes() for path in git.goldens.glob("*.sig")} == {attributed}


def test_git_install_mends_a_repository_for_the_next_checkout(git: World, tmp_path: Path) -> None:
    (git.here / ".gitattributes").unlink()
    commit(git)
    assert git.golden("git", "install").code == 0
    commit(git)
    there = clone(git, tmp_path, "core.autocrlf=true")
    shutil.rmtree(git.here)
    there.rename(git.here)
    assert git.verify().said == (GOOD, "off", 0)
