"""`golden import`: a directory of the AOS system brought in by a real process, each file of it told by name."""

import hmac
import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from golden.keyring import kid_of
from tests import runs
from tests.e2e.shell import ACTIVE_KID, SECRET, Shell

SHELF = runs.FIXTURES / "recordings" / "aos"
GOOD = ["failed-1", "good-1", "good-2"]
MEMBERS = ["run_id", "path", "outcome", "verdict", "problem", "hint", "sha256", "events"]
IMPORT = ("import", "old", "--format", "aos")
SECONDS = 30


def sign(path: Path, secret: bytes = SECRET) -> None:
    path.with_name(f"{path.name}.sig").write_text(hmac.digest(secret, path.read_bytes(), "sha256").hex())


@pytest.fixture
def host(shell: Shell) -> Shell:
    """A host of the AOS system whose secret is strong enough for golden/v1, with its directory `old`."""
    shell.give_key()
    shutil.copytree(SHELF, shell.here / "old")
    for name in GOOD:
        sign(shell.here / "old" / f"{name}.steps.jsonl")
    return shell


@pytest.fixture
def clean(host: Shell) -> Shell:
    """The same without the files that do not verify."""
    for path in (host.here / "old").iterdir():
        if not path.name.startswith(tuple(GOOD)):
            path.unlink()
    return host


def outcomes(objects: list[dict[str, Any]]) -> dict[str, str]:
    return {found["run_id"]: found["outcome"] for found in objects[:-1]}


def test_what_verifies_is_imported_and_the_rest_is_refused_by_name(host: Shell) -> None:
    done = host.golden(*IMPORT)
    assert (done.code, done.stderr) == (3, "")
    assert done.stdout == (
        "✓ failed-1  imported  5 events\n"
        "✓ good-1  imported  4 events\n"
        "✓ good-2  imported  4 events\n"
        "✗ tampered-1  refused, tampered: signature does not match, or was made with another secret\n"
        "  hint: restore the file from backup; do not re-sign it\n"
        "✗ unsigned-1  refused, unsigned: the file was never signed\n"
        "  hint: sign it with the system that wrote it, or record anew\n"
        "5 files: 3 imported, 2 refused\n"
    )
    names = {path.name for path in host.store.iterdir() if ".steps.jsonl" in path.name}
    assert names == {f"{name}.steps.jsonl{seal}" for name in GOOD for seal in ("", ".sig")}


def test_each_file_is_one_object_and_a_summary_ends_the_answer(host: Shell) -> None:
    *found, summary = host.golden(*IMPORT, "--json").objects
    expected = json.loads((SHELF / "expect.json").read_text())
    assert {answer["run_id"]: answer["verdict"] for answer in found} == {n: e["verdict"] for n, e in expected.items()}
    for answer in found:
        assert (next(iter(answer)), answer["schema"]) == ("schema", "golden.import/1")
        assert [name for name in answer if name in MEMBERS] == MEMBERS
        good = answer["run_id"] in GOOD
        assert answer["outcome"] == ("imported" if good else "refused")
        assert (answer["problem"] is None, answer["hint"] is None, answer["sha256"] is None) == (good, good, not good)
        assert answer["path"] == f"old/{answer['run_id']}.steps.jsonl"
    assert (summary["schema"], summary["command"]) == ("golden.summary/1", "import")
    assert (summary["checked"], summary["by"], summary["exit_code"]) == (5, {"imported": 3, "refused": 2}, 3)


def test_an_import_verifies_is_shown_and_compared_and_never_replayed(clean: Shell) -> None:
    assert clean.golden(*IMPORT).code == 0
    *found, summary = clean.golden("verify", "--json").objects
    assert (summary["exit_code"], {answer["verdict"] for answer in found}) == (0, {"intact"})
    first, *_ = clean.golden("tail", "good-1", "--json").objects
    assert (first["data"]["origin"]["format"], first["data"]["spec"], first["data"]["seed"]) == ("aos", None, 4242)
    assert clean.golden("diff", "good-1", "good-1").code == 0
    differences = clean.golden("diff", "good-1", "good-2", "--json")
    assert (differences.code, differences.objects[0]["path"]) == (1, "/seed")
    replayed = clean.golden("replay", "good-1", "--json")
    assert (replayed.code, replayed.objects[0]["verdict"]) == (4, "refused")
    assert replayed.objects[0]["problem"] == "the recording has no spec"


def test_importing_again_changes_nothing(clean: Shell) -> None:
    clean.golden(*IMPORT)
    before = {path.name: path.read_bytes() for path in clean.store.iterdir() if ".steps.jsonl" in path.name}
    again = clean.golden(*IMPORT, "--json")
    assert (again.code, set(outcomes(again.objects).values())) == (0, {"already"})
    assert {path.name: path.read_bytes() for path in clean.store.iterdir() if ".steps.jsonl" in path.name} == before


def test_a_dry_run_tells_the_same_and_writes_nothing(host: Shell) -> None:
    told = host.golden(*IMPORT, "--dry-run", "--json")
    assert not host.store.exists()
    assert host.golden(*IMPORT, "--dry-run").stdout.splitlines()[0] == "✓ failed-1  would be imported  5 events"
    done = host.golden(*IMPORT, "--json")
    assert told.code == done.code == 3
    assert [{**one, "dry_run": False} for one in told.objects] == done.objects


def test_a_taken_run_id_is_misuse_and_the_others_are_imported(clean: Shell) -> None:
    clean.golden(*IMPORT)
    path = clean.here / "old" / "good-1.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"47.1429", b"47.5"))
    sign(path)
    done = clean.golden(*IMPORT)
    assert done.code == 2
    assert "✗ good-1  refused: run good-1 is an import of another file\n" in done.stdout
    assert done.stdout.endswith("3 files: 2 already, 1 refused\n")


def test_what_cannot_be_carried_is_undecided(clean: Shell) -> None:
    path = clean.here / "old" / "good-1.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"47.1429", b"NaN"))
    sign(path)
    done = clean.golden(*IMPORT)
    assert done.code == 4
    assert '✗ good-1  refused: line 3: number at "/data/output/output/score" is nan' in done.stdout
    assert not (clean.store / "good-1.steps.jsonl").exists()


def test_the_worst_finding_decides(clean: Shell) -> None:
    unsigned = clean.here / "old" / "good-1.steps.jsonl.sig"
    unsigned.unlink()
    assert clean.golden(*IMPORT, "--dry-run").code == 4
    (clean.here / "old" / "good-2.steps.jsonl").unlink()
    assert clean.golden(*IMPORT, "--dry-run").code == 3


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_nothing_to_import_is_no_success(shell: Shell, folder: str) -> None:
    shell.give_key()
    (shell.here / "empty").mkdir()
    done = shell.golden("import", folder, "--format", "aos")
    assert (done.code, done.stdout) == (4, f"nothing to import: no file of the AOS system in {folder}\n")
    (summary,) = shell.golden("import", folder, "--format", "aos", "--json").objects
    assert (summary["checked"], summary["by"], summary["exit_code"]) == (0, {}, 4)


def test_the_golden_directory_is_not_imported_into_itself(clean: Shell) -> None:
    (clean.here / "alias").symlink_to("old")
    for name in ("old", "alias", "./old/"):
        assert (
            "is the golden directory itself"
            in clean.golden("import", name, "--format", "aos", "--dir", "old").refused()
        )


@pytest.mark.parametrize("argv", [("import",), ("import", "old"), ("import", "old", "--format", "zip")], ids=" ".join)
def test_misuse_is_refused(host: Shell, argv: tuple[str, ...]) -> None:
    host.golden(*argv).refused()
    assert not host.store.exists()


@pytest.mark.parametrize("secret", [None, runs.AOS_SECRET.decode(), "short"])
def test_without_a_key_for_golden_v1_nothing_begins(host: Shell, secret: str | None) -> None:
    done = host.golden(*IMPORT, env={"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": secret})
    assert "nothing can be sealed" in done.refused()
    assert "`golden init`" in done.stderr
    assert "--key" in done.stderr
    assert not host.store.exists()


def test_a_secret_too_weak_for_golden_v1_verifies_beside_a_keyring(shell: Shell) -> None:
    shutil.copytree(SHELF, shell.here / "old")
    assert shell.golden("init", "--hmac").code == 0
    env = {"GOLDEN_SECRET": runs.AOS_SECRET.decode()}
    unnamed = shell.golden(*IMPORT, "--json", env=env)
    assert (unnamed.code, set(outcomes(unnamed.objects).values())) == (4, {"refused"})
    # Which kid it has is said to whoever has not named it.
    kid = kid_of(runs.AOS_SECRET)
    assert kid in unnamed.stderr
    done = shell.golden(*IMPORT, "--key", kid, "--json", env=env)
    assert done.code == 3
    assert "not used" not in done.stderr
    assert [name for name, outcome in outcomes(done.objects).items() if outcome == "imported"] == GOOD
    assert runs.AOS_SECRET.decode() not in done.stdout + done.stderr
    first, *_ = shell.golden("verify", "good-1", "--json").objects
    assert first["verdict"] == "intact"
    assert first["kid"] != kid


@pytest.mark.parametrize("key", ["0123456789abcdef", "published"])
def test_a_key_that_is_not_at_hand_is_refused(clean: Shell, key: str) -> None:
    clean.golden(*IMPORT, "--key", key).refused(4 if len(key) == 16 else 2)
    assert not clean.store.exists()


def test_another_secret_refuses_every_file_and_shows_none(host: Shell) -> None:
    done = host.golden(*IMPORT, "--json", env={"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "s" * 40})
    assert (done.code, set(outcomes(done.objects).values())) == (3, {"refused"})
    assert "s" * 40 not in done.stdout + done.stderr
    assert not host.store.exists()


def test_a_recording_of_golden_v1_in_the_directory_is_passed_over(recorded: Shell) -> None:
    recorded.store.rename(recorded.here / "old")
    done = recorded.golden(*IMPORT)
    assert (done.code, "  note: r-1 is golden/v1 already" in done.stderr) == (4, True)


def test_a_file_name_reaches_the_terminal_escaped(clean: Shell) -> None:
    (clean.here / "old" / "a\x1b[31m.steps.jsonl").write_text("{}\n")
    done = clean.golden(*IMPORT)
    assert done.code == 4
    assert "\x1b" not in done.stdout
    assert "a\\x1b[31m" in done.stdout


def test_a_killed_import_goes_on_and_names_what_it_left(clean: Shell) -> None:
    # Without a ledger, what was left can just be removed.
    clean.write("golden.toml", "ledger = false\n")
    line = (clean.here / "old" / "good-1.steps.jsonl").read_text()
    names = [f"run-{number:03}" for number in range(200)]
    for name in names:
        path = clean.write(f"old/{name}.steps.jsonl", line.replace("good-1", name))
        sign(path)
    process = clean.start(*IMPORT)
    seal = clean.store / "run-020.steps.jsonl.sig"
    deadline = time.monotonic() + SECONDS
    while not seal.exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = outcomes(clean.golden(*IMPORT, "--json").objects)
    assert set(found) == {*GOOD, *names}
    left = [name for name, outcome in found.items() if outcome == "refused"]
    assert len(left) <= 1
    assert "already" in found.values()
    for name in left:
        assert f"golden quarantine {name}" in clean.golden(*IMPORT).stdout
        (clean.store / f"{name}.steps.jsonl").unlink()
    assert clean.golden(*IMPORT).code == 0


def test_a_reader_without_rights_to_write_keeps_what_there_is(clean: Shell) -> None:
    clean.obey_modes()
    clean.store.mkdir()
    clean.store.chmod(0o550)
    done = clean.golden(*IMPORT)
    clean.store.chmod(0o750)
    assert done.code == 4
    assert len(done.error) == 2
    assert list(clean.store.iterdir()) == []


def test_the_kid_of_the_seals_is_the_active_key(clean: Shell) -> None:
    clean.golden(*IMPORT)
    first, *_ = clean.golden("verify", "good-1", "--json").objects
    assert first["kid"] == ACTIVE_KID


def test_what_was_imported_without_a_spec_is_updated_only_by_one_that_is_named(clean: Shell) -> None:
    assert clean.golden(*IMPORT).code == 0
    said = clean.golden("update", "good-1").refused(2)
    assert "the recording has no spec" in said
    assert "it was imported" in said
    assert "name one (--spec FILE)" in said


@pytest.mark.parametrize("command", ["replay", "gate", "resume", "fork", "update"])
def test_what_can_be_done_with_what_was_imported_is_said_alike_everywhere(clean: Shell, command: str) -> None:
    clean.golden(*IMPORT)
    run = "failed-1" if command == "resume" else "good-1"
    more = ["--at", "pick", "--run-id", "new-1"] if command == "fork" else []
    done = clean.golden(command, run, *more)
    assert done.code in {2, 4}
    assert "verified and compared, not replayed" in done.stdout + done.stderr


def test_what_was_imported_goes_on_by_a_spec_that_is_named(clean: Shell) -> None:
    clean.golden(*IMPORT)
    clean.write("skills.py", SKILLS)
    spec = {"id": "survey", "budget_ceiling_cents": 10, "steps": [{"id": "pick", "skill_id": "one"}]}
    clean.write("survey.json", json.dumps(spec))
    going = ["--spec", "survey.json", "--skills", "skills.py", "--accept-change", "spec"]
    done = clean.golden("resume", "failed-1", *going)
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "failed-1.r1")
    assert clean.golden("replay", "failed-1.r1", "--skills", "skills.py").code == 0


SKILLS = """
from replay import SkillRegistry

registry = SkillRegistry()
registry.skill("one")(lambda ctx: 1)
"""
