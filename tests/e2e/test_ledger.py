"""`golden verify` of a directory: what its ledger and an anchor find, in words and in JSON, with public keys alone."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import ACTIVE_KID, Shell

pytestmark = pytest.mark.slow

ELSEWHERE: dict[str, str | None] = {"GOLDEN_STATE_DIR": "never-seen"}


def lines(shell: Shell) -> list[bytes]:
    return (shell.store / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def rewrite(shell: Shell, content: list[bytes]) -> None:
    (shell.store / "ledger.jsonl").write_bytes(b"".join(content))


def edited(shell: Shell) -> None:
    text = lines(shell)
    text[3] = text[3].replace(b'"seq":3', b'"seq":4')
    rewrite(shell, text)


def actor_changed(shell: Shell) -> None:
    text = lines(shell)
    actor = json.loads(text[-1])["actor"].encode()
    text[-1] = text[-1].replace(actor, b"nobody")
    rewrite(shell, text)


def cut(shell: Shell) -> None:
    rewrite(shell, lines(shell)[:-2])


def of_another_directory(shell: Shell) -> None:
    shell.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json", "--dir", "other")
    shutil.copyfile(shell.here / "other" / "ledger.jsonl", shell.store / "ledger.jsonl")


def gone(shell: Shell) -> None:
    (shell.store / "ledger.jsonl").unlink()


def torn(shell: Shell) -> None:
    text = lines(shell)
    rewrite(shell, [*text, text[-1][:100]])


def no_file(shell: Shell) -> None:
    gone(shell)
    (shell.store / "ledger.jsonl").mkdir()


def revoked(shell: Shell) -> None:
    shell.write("new", runs.RETIRED).chmod(0o600)
    assert shell.golden("keys", "add", "--source", "file:new", "--active").code == 0
    shell.edit("golden-keyring.toml", '"retired"', '"revoked"')


FINDINGS: dict[str, tuple[Callable[[Shell], None], str, int]] = {
    "a line that cannot stand there": (edited, "tampered", 3),
    "a line that was changed": (actor_changed, "tampered", 3),
    "lines cut off": (cut, "rolled-back", 3),
    "the ledger of another directory": (of_another_directory, "rolled-back", 3),
    "no ledger any more": (gone, "missing", 3),
    "half a line": (torn, "torn", 4),
    "a folder in its place": (no_file, "unreadable", 4),
    "nothing but lines by a revoked key": (revoked, "revoked-key", 3),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_wrong_with_the_ledger_is_told_like_a_file(
    three: Shell, snapshot: SnapshotAssertion, name: str
) -> None:
    damage, verdict, code = FINDINGS[name]
    damage(three)
    done = three.golden("verify")
    assert done.code == code
    assert re.sub(r"\b[0-9a-f]{32}\b", "<dir>", done.text) == snapshot
    *answers, summary = three.golden("verify", "--json").objects
    (found,) = [answer for answer in answers if answer["run_id"] is None]
    assert (found["verdict"], found["path"]) == (verdict, "<here>/.golden/ledger.jsonl")
    assert found["problem"]
    assert found["hint"]
    assert (summary["ledger"], summary["exit_code"]) == (verdict, code)
    # Whoever kept the anchor of such a ledger would have the damage vouched for; half a line more is no damage.
    assert (summary["anchor"] is None) == (verdict != "torn")
    assert ("golden-anchor/v1 " in done.stdout) == (verdict == "torn")


# These two only a host finds that has seen the directory before; see the test of verify below.
ALONE = [name for name in FINDINGS if name not in {"lines cut off", "no ledger any more"}]


@pytest.mark.parametrize("name", ALONE)
def test_nobody_works_with_a_run_of_a_ledger_that_is_not_good(three: Shell, name: str) -> None:
    damage, verdict, code = FINDINGS[name]
    damage(three)
    for argv in (("verify", "r-1"), ("tail", "r-1"), ("diff", "r-1", "r-2"), ("replay", "r-1")):
        # Half a line says that somebody was interrupted, and nothing about the run.
        assert three.golden(*argv).code == (0 if verdict == "torn" else code)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_single_run_is_not_verified_by_a_ledger_that_is_not_good(three: Shell, name: str) -> None:
    damage, verdict, code = FINDINGS[name]
    damage(three)
    assert three.golden("verify", "r-1").code == (0 if verdict == "torn" else code)


def test_a_writer_refuses_a_ledger_that_is_not_good(three: Shell) -> None:
    cut(three)
    before = lines(three)
    done = three.golden("record", "order.json", "--run-id", "r-4", "--inputs", "@prices.json")
    assert "it had 7" in done.refused(3)
    assert lines(three) == before
    assert not (three.store / "r-4.steps.jsonl").exists()


def test_a_torn_line_is_cut_by_the_next_writer_who_says_so(three: Shell) -> None:
    torn(three)
    three.record("r-4", "--inputs", "@prices.json")
    assert [json.loads(line)["op"] for line in lines(three)[7:]] == ["recover", "open", "seal"]
    assert three.golden("verify").code == 0


# Without what this host remembers: what an anchor finds that nobody else can.


@pytest.mark.parametrize("damage", [cut, of_another_directory], ids=lambda damage: damage.__name__)
def test_an_anchor_finds_what_the_ledger_alone_does_not_show(
    three: Shell, snapshot: SnapshotAssertion, damage: Callable[[Shell], None]
) -> None:
    damage(three)
    done = three.golden("verify", "--anchor", "@anchor.txt", env=ELSEWHERE)
    assert done.code == 3
    text = re.sub(r"\b[0-9a-f]{32}\b", "<dir>", done.text)
    assert text == snapshot
    # What the ledger says happened since is not repeated where it is not what it was.
    assert "since the anchor" not in text
    assert three.golden("verify", "--anchor", "@anchor.txt", "--json", env=ELSEWHERE).objects[-1]["since"] is None


def test_a_whole_directory_put_back_is_found_by_its_anchor_alone(three: Shell, three_runs: Path) -> None:
    three.record("r-4", "--inputs", "@prices.json")
    three.write("anchor.txt", three.anchor())
    shutil.rmtree(three.store)
    shutil.copytree(three_runs, three.store)
    assert three.golden("verify", env=ELSEWHERE).code == 0
    assert three.golden("verify", "--anchor", "@anchor.txt", env={"GOLDEN_STATE_DIR": "never-seen-2"}).code == 3


def test_a_host_that_has_seen_more_needs_no_anchor(three: Shell, three_runs: Path) -> None:
    three.record("r-4", "--inputs", "@prices.json")
    shutil.rmtree(three.store)
    shutil.copytree(three_runs, three.store)
    (ledger,) = [a for a in three.golden("verify", "--json").objects if a.get("run_id", "") is None]
    assert (ledger["verdict"], "this host has seen it" in ledger["problem"]) == ("rolled-back", True)


def test_an_anchor_that_holds_says_what_happened_since(three: Shell, snapshot: SnapshotAssertion) -> None:
    done = three.golden("verify", "--anchor", "@anchor.txt")
    assert done.code == 0
    assert done.text == snapshot(name="nothing")
    three.record("r-4", "--inputs", "@prices.json")
    three.golden("quarantine", "r-2", "--reason", "sealed on the\nwrong \x1b[31mhost", "--yes")
    three.golden("quarantine", "r-4", "--yes")
    done = three.golden("verify", "--anchor", "@anchor.txt")
    assert done.code == 0
    assert done.text == snapshot(name="something")
    assert not {"\x1b", "\r"} & set(done.stdout)


def test_what_happened_since_an_anchor_is_in_the_summary(rekeyed: Shell) -> None:
    since = rekeyed.golden("verify", "--anchor", "@anchor.txt", "--json").objects[-1]["since"]
    assert since == []
    rekeyed.golden("rotate", "--reason", "scheduled", "--yes")
    assert rekeyed.golden("keys", "revoke", ACTIVE_KID, "--reason", "out of use", "--yes").code == 0
    (line,) = rekeyed.golden("verify", "--anchor", "@anchor.txt", "--json").objects[-1]["since"]
    assert list(line) == ["seq", "op", "run_id", "key", "state", "actor", "timestamp", "reason"]
    assert (line["op"], line["run_id"], line["key"], line["state"]) == ("key", None, ACTIVE_KID, "revoked")
    assert (line["seq"], line["reason"]) == (8, "out of use")
    assert "since" not in rekeyed.golden("verify", "--json").objects[-1]


@pytest.mark.parametrize(
    "anchor",
    ["", "x", "@nowhere.txt", "@secret", "golden-anchor/v1 0 1 2", "git:HEAD", "backup:a.tar"],
)
def test_what_is_no_anchor_is_refused(three: Shell, snapshot: SnapshotAssertion, anchor: str) -> None:
    done = three.golden("verify", "--anchor", anchor)
    assert done.refused() == snapshot
    assert runs.ACTIVE.decode() not in done.stderr


def test_an_anchor_may_be_given_as_a_line_or_in_a_file_with_other_words(three: Shell) -> None:
    line = (three.here / "anchor.txt").read_text().strip()
    three.write("mail.txt", f"Ann,\n\nthis is it: {line} (from Monday)\n")
    assert three.golden("verify", "--anchor", line).code == 0
    assert three.golden("verify", "--anchor", "@mail.txt").code == 0


def test_the_anchor_that_is_printed_is_that_of_the_ledger(three: Shell) -> None:
    text = lines(three)
    dir_id = json.loads(text[0])["dir_id"]
    expected = f"golden-anchor/v1 {dir_id} 7 {hashlib.sha256(text[-1].rstrip()).hexdigest()}"
    assert three.golden("verify").stdout.splitlines()[-1] == expected
    assert three.anchor() == expected


def test_an_anchor_is_checked_for_single_runs_too(three: Shell) -> None:
    cut(three)
    done = three.golden("verify", "r-1", "--anchor", "@anchor.txt", "--json", env=ELSEWHERE)
    assert (done.code, done.objects[0]["verdict"]) == (3, "rolled-back")


# What the ledger says of runs.


def test_runs_that_the_ledger_does_not_know_as_they_are(three: Shell, snapshot: SnapshotAssertion) -> None:
    three.golden("record", "order.json", "--run-id", "r-9", "--inputs", "@prices.json", "--dir", "other")
    three.golden("record", "order.json", "--run-id", "r-2", "--inputs", "@prices.json", "--dir", "other")
    for path in (three.here / "other").glob("r-*"):
        shutil.copyfile(path, three.store / path.name)
    for path in three.store.glob("r-1*"):
        path.unlink()
    done = three.golden("verify")
    assert done.code == 3
    assert done.text == snapshot
    (summary,) = three.golden("verify", "--json").objects[-1:]
    assert (summary["checked"], summary["by"]) == (4, {"missing": 1, "unlisted": 2, "intact": 1})


def test_a_run_whose_last_line_of_the_ledger_was_lost_is_intact_and_recover_adds_it(
    three: Shell, snapshot: SnapshotAssertion
) -> None:
    rewrite(three, lines(three)[:-1])
    done = three.golden("verify", env=ELSEWHERE)
    assert done.code == 0
    assert done.text == snapshot
    done = three.golden("recover", "--yes", env=ELSEWHERE)
    assert done.text == snapshot(name="recover")
    added = [(json.loads(line)["op"], json.loads(line)["run_id"]) for line in lines(three)[6:]]
    assert added == [("seal", "r-3")]
    assert three.golden("verify", env=ELSEWHERE).stderr == ""


def test_golden_files_without_a_ledger_are_a_finding_and_what_to_do_is_said(
    three: Shell, snapshot: SnapshotAssertion
) -> None:
    gone(three)
    done = three.golden("verify", env=ELSEWHERE)
    assert done.code == 3
    assert done.text == snapshot(name="verify")
    done = three.golden("record", "order.json", "--run-id", "r-4", "--inputs", "@prices.json", env=ELSEWHERE)
    assert done.refused() == snapshot(name="record")


def test_git_may_keep_the_directory_instead(three: Shell) -> None:
    gone(three)
    three.write("golden.toml", "ledger = false\n")
    done = three.golden("verify", "--json", env=ELSEWHERE)
    assert (done.code, done.objects[-1]["ledger"], done.objects[-1]["anchor"]) == (0, "off", None)
    # A ledger that this host has seen cannot be wished away.
    assert three.golden("verify").code == 3


def test_a_state_directory_that_cannot_be_written_is_a_note_for_readers_and_stops_writers(
    three: Shell, snapshot: SnapshotAssertion
) -> None:
    three.write("file", "")
    env: dict[str, str | None] = {"GOLDEN_STATE_DIR": "file/below"}
    done = three.golden("verify", env=env)
    assert done.code == 0
    assert re.sub(r"\b[0-9a-f]{32}\b", "<name>", done.text) == snapshot(name="verify")
    done = three.golden("record", "order.json", "--run-id", "r-4", "--inputs", "@prices.json", env=env)
    assert done.refused(4) == snapshot(name="record")
    assert not (three.store / "r-4.steps.jsonl").exists()


def test_a_damaged_memory_is_a_note_for_readers_and_stops_writers(three: Shell) -> None:
    (path,) = Path(three.environ["GOLDEN_STATE_DIR"]).glob("*.json")
    path.write_text("{")
    place = f"<here>-state/{path.name}"
    done = three.golden("verify")
    assert (done.code, f"{place} is damaged" in done.stderr) == (0, True), done.stderr
    done = three.golden("record", "order.json", "--run-id", "r-4", "--inputs", "@prices.json")
    assert f"{place} is damaged" in done.refused(4)
    assert not (three.store / "r-4.steps.jsonl").exists()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_directory_of_every_finding_reads_the_same_in_several_processes(leaked: Shell, jobs: str) -> None:
    assert leaked.golden("rotate", "--reason", "compromised", "--anchor", "@anchor.txt", "--yes").code == 4
    one, other = (leaked.golden("verify", "-j", n, "--json").objects for n in ("1", jobs))
    assert one == other


# A machine that holds public keys only.


@pytest.fixture
def ci(shop: Shell, tmp_path: Path) -> Shell:
    """A checkout on a CI host: recordings, ledger and keyring of a host with both keys, and no secret anywhere."""
    home: dict[str, str | None] = {"HOME": str(tmp_path / "home"), "GOLDEN_SECRET_FILE": None}
    assert shop.golden("init", env=home).code == 0
    for run_id in ("r-1", "r-2"):
        done = shop.golden("record", "order.json", "--run-id", run_id, "--inputs", "@prices.json", env=home)
        assert done.code == 0
    (shop.here / "secret").unlink()
    del shop.environ["GOLDEN_SECRET_FILE"]
    shop.environ["GOLDEN_STATE_DIR"] = str(tmp_path / "ci-state")
    return shop


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_machine_with_public_keys_only_verifies_files_and_ledger(ci: Shell) -> None:
    done = ci.golden("verify", "--json")
    assert done.code == 0, done
    *answers, summary = done.objects
    keys = {row["kid"]: row["alg"] for row in ci.golden("keys", "list", "--json").objects}
    assert [answer["verdict"] for answer in answers] == ["intact", "intact"]
    assert (summary["ledger"], [keys[kid] for kid in summary["kids"]]) == ("intact", ["ed25519"])
    # Found out by that key alone, too.
    path = ci.store / "r-1.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"7", b"8", 1))
    assert ci.golden("verify", "r-1").code == 3
    actor_changed(ci)
    assert ci.golden("verify", env={"GOLDEN_STATE_DIR": "fresh"}).code == 3


@pytest.mark.parametrize(
    "argv",
    [
        ("record", "order.json", "--run-id", "r-3", "--inputs", "@prices.json"),
        ("rotate", "--reason", "scheduled", "--yes"),
        ("resign", "r-1"),
        ("quarantine", "r-1", "--yes"),
    ],
    ids=lambda argv: argv[0],
)
def test_a_machine_with_public_keys_only_cannot_sign(
    ci: Shell, snapshot: SnapshotAssertion, argv: tuple[str, ...]
) -> None:
    before = everything(ci.store)
    done = ci.golden(*argv)
    assert done.code == 2
    assert "\n".join(done.error).replace(active(ci), "<kid>") == snapshot
    left = {name: data for name, data in everything(ci.store).items() if not name.endswith(".lock")}
    assert left == before


def active(shell: Shell) -> str:
    rows = shell.golden("keys", "list", "--json").objects
    return next(str(row["kid"]) for row in rows if (row["alg"], row["state"]) == ("hmac-sha256", "active"))


def test_what_a_machine_with_public_keys_makes_up_is_not_believed(ci: Shell) -> None:
    """A run sealed with a secret of its own; then with the public key's name put to it; then listed by itself."""
    (ed25519,) = [row["kid"] for row in ci.golden("keys", "list", "--json").objects if row["alg"] == "ed25519"]
    own: dict[str, str | None] = {"GOLDEN_SECRET": "f" * 40, "GOLDEN_DIR": "goldens"}
    work = ci.here.with_name("work")
    work.mkdir()
    for name in ("skills.py", "order.json", "prices.json"):
        shutil.copyfile(ci.here / name, work / name)
    argv = ("record", "order.json", "--skills", "skills.py", "--run-id", "r-9", "--inputs", "@prices.json")
    assert ci.golden(*argv, env=own, cwd=work).code == 0
    for path in (work / "goldens").glob("r-9*"):
        shutil.copyfile(path, ci.store / path.name)

    def verdict() -> str:
        (found,) = [a for a in ci.golden("verify", "--json").objects if a.get("run_id") == "r-9"]
        return str(found["verdict"])

    assert verdict() == "unknown-key"
    seal = ci.store / "r-9.steps.jsonl.sig"
    statement, signature = map(json.loads, seal.read_text().splitlines())
    signature |= {"alg": "ed25519", "kid": ed25519, "sig": "A" * 86}
    seal.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (statement, signature)))
    assert verdict() == "tampered"
    # A ledger that lists it: signed by a stranger, or by nobody under the public key's name.
    line = lines(ci)[-1]
    members = json.loads(line)
    for kid, mac in ((members["kid"], members["mac"]), (ed25519, "A" * 86)):
        forged = {**members, "run_id": "r-9", "seal": statement, "kid": kid, "seq": members["seq"] + 1}
        forged |= {"file_id": statement["file_id"], "prev": hashlib.sha256(line.rstrip()).hexdigest()}
        forged.pop("mac")
        body = json.dumps(dict(sorted(forged.items())), separators=(",", ":"))
        rewrite(ci, [*lines(ci)[: members["seq"] + 1], f'{body[:-1]},"mac":"{mac}"}}\n'.encode()])
        done = ci.golden("verify", "--json", env={"GOLDEN_STATE_DIR": "fresh"})
        assert (done.code, done.objects[-1]["ledger"]) == (3, "tampered")


def test_golden_files_survive_a_checkout_that_changes_line_ends(three: Shell) -> None:
    env = {**three.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*argv: str, cwd: Path = three.here) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true", *argv],
            cwd=cwd, env=env, check=True, capture_output=True,
        )  # fmt: skip

    git("init", "-q")
    assert three.golden("git", "install").code == 0
    git("add", ".gitattributes", ".golden")
    git("commit", "-qm", "goldens")
    git("clone", "-q", ".", "clone")
    done = three.golden("verify", "--dir", "clone/.golden", "--json")
    assert [a["verdict"] for a in done.objects[:-1] if a["run_id"]] == ["intact"] * 3
