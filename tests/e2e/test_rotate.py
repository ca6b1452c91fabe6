"""`golden rotate` and `golden resign`: what is proven is signed anew and nothing else, what is not is named."""

import hashlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from golden.keyring import HmacKey, Keyring
from golden.store import Store
from tests import runs
from tests.e2e.shell import ACTIVE_KID, Answer, Shell, command

pytestmark = pytest.mark.slow

NEW_KID = HmacKey(runs.RETIRED).kid
COMPROMISED = ("rotate", "--reason", "compromised", "--anchor", "@anchor.txt")
SCHEDULED = ("rotate", "--reason", "scheduled")
MEMBERS = ["schema", "run_id", "outcome", "from_kid", "to_kid", "sha256", "problem", "hint", "dry_run"]
ELSEWHERE: dict[str, str | None] = {"GOLDEN_STATE_DIR": "never-seen"}


def everything(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return bytes, mode and time of every file that a command left."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def goldens(shell: Shell) -> dict[str, tuple[bytes, int, int]]:
    return {name: held for name, held in everything(shell.store).items() if name.endswith(".steps.jsonl")}


def outcomes(done: Answer) -> dict[str, str]:
    return {row["run_id"]: row["outcome"] for row in done.objects[:-1]}


def kids(shell: Shell, run_id: str) -> list[str]:
    seal = (shell.store / f"{run_id}.steps.jsonl.sig").read_bytes().splitlines()
    return [json.loads(line)["kid"] for line in seal[1:]]


def last_line(shell: Shell) -> dict[str, Any]:
    line: dict[str, Any] = json.loads((shell.store / "ledger.jsonl").read_bytes().splitlines()[-1])
    return line


# Scheduled.


def test_a_routine_rotation_is_a_non_event(rekeyed: Shell, snapshot: SnapshotAssertion) -> None:
    before = goldens(rekeyed)
    dry, done, again = (
        rekeyed.golden(*SCHEDULED, *flags) for flags in (("--dry-run",), ("--yes", "--note", "yearly"), ("--yes",))
    )
    assert (dry.code, done.code, again.code) == (0, 0, 0)
    assert dry.text == snapshot(name="dry run")
    assert done.text == snapshot(name="rotate")
    assert again.text == snapshot(name="again")
    assert goldens(rekeyed) == before
    assert [kids(rekeyed, f"r-{n}") for n in (1, 2, 3)] == [[NEW_KID]] * 3
    # The old secret is needed for nothing any more.
    assert rekeyed.golden("verify", env={"GOLDEN_SECRET_FILE": None}).code == 0
    line = last_line(rekeyed)
    assert (line["op"], line["reason"], line["note"]) == ("rotate", "scheduled", "yearly")
    assert line["outcomes"] == {"resealed": 3}


def test_a_rotation_in_json(rekeyed: Shell) -> None:
    done = rekeyed.golden(*SCHEDULED, "--yes", "--json")
    assert done.stderr.count("\n") == 1
    *rows, summary = done.objects
    for row in rows:
        assert list(row) == MEMBERS
        assert row["schema"] == "golden.rotate/1"
        assert (row["outcome"], row["from_kid"], row["to_kid"]) == ("resealed", ACTIVE_KID, NEW_KID)
        data = (rekeyed.store / f"{row['run_id']}.steps.jsonl").read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert list(summary) == ["schema", "command", "checked", "by", "exit_code", "anchor", "anchors", "dry_run"]
    assert summary["anchor"] == rekeyed.anchor()
    assert summary["anchors"] == {".golden": summary["anchor"]}
    assert (summary["checked"], summary["by"], summary["exit_code"]) == (3, {"resealed": 3}, 0)


def test_a_dry_run_changes_nothing_and_needs_no_yes(leaked: Shell) -> None:
    state = leaked.here.with_name("here-state")
    before = everything(leaked.here), everything(state)
    for argv in (SCHEDULED, COMPROMISED):
        done = leaked.golden(*argv, "--dry-run", "--json")
        assert (done.code, done.objects[-1]["anchor"], done.objects[-1]["dry_run"]) == (0, None, True)
    assert (everything(leaked.here), everything(state)) == before


def test_keep_old_leaves_the_signatures_of_retired_keys(rekeyed: Shell) -> None:
    assert rekeyed.golden(*SCHEDULED, "--keep-old", "--yes").code == 0
    assert {kids(rekeyed, "r-1")[0], kids(rekeyed, "r-1")[1]} == {NEW_KID, ACTIVE_KID}
    assert outcomes(rekeyed.golden(*SCHEDULED, "--keep-old", "--yes", "--json")) == dict.fromkeys(
        ("r-1", "r-2", "r-3"), "already"
    )
    # A host that has only the old secret yet verifies such a file, and one without that signature no more.
    old: dict[str, str | None] = {"GOLDEN_SOURCES": str(empty_sources(rekeyed))}
    for code in (0, 4):
        folder = rekeyed.here / f"sent-{code}"
        folder.mkdir()
        for path in rekeyed.store.glob("r-1.*"):
            shutil.copyfile(path, folder / path.name)
        assert rekeyed.golden("verify", f"{folder.name}/r-1.steps.jsonl", env=old).code == code
        assert rekeyed.golden(*SCHEDULED, "--yes").code == 0
    assert kids(rekeyed, "r-1") == [NEW_KID]


def empty_sources(shell: Shell) -> Path:
    path = shell.write("empty-sources.toml", "")
    path.chmod(0o600)
    return path


def test_what_is_not_proven_is_not_signed_and_says_so(rekeyed: Shell, snapshot: SnapshotAssertion) -> None:
    (rekeyed.store / "r-1.steps.jsonl").write_bytes(b"{}\n")
    (rekeyed.store / "r-2.steps.jsonl").unlink()
    shutil.copyfile(rekeyed.store / "r-3.steps.jsonl.sig", rekeyed.store / "r-9.steps.jsonl.sig")
    before = everything(rekeyed.store)
    done = rekeyed.golden(*SCHEDULED, "--yes")
    assert done.code == 3
    assert done.text == snapshot
    changed = {name for name, held in everything(rekeyed.store).items() if before.get(name) != held}
    assert changed == {"r-3.steps.jsonl.sig", "ledger.jsonl"}


def test_a_live_run_is_left_alone_and_taken_up_by_the_next_rotation(rekeyed: Shell) -> None:
    sealed = rekeyed.store / "r-2.steps.jsonl"
    lines = sealed.read_bytes().splitlines(keepends=True)
    (rekeyed.store / "ledger.jsonl").write_bytes(
        b"".join((rekeyed.store / "ledger.jsonl").read_bytes().splitlines(keepends=True)[:4])
    )
    for name in ("r-3.steps.jsonl", "r-3.steps.jsonl.sig", "r-2.steps.jsonl.sig"):
        (rekeyed.store / name).unlink()
    sealed.write_bytes(b"".join(lines[:-1]))
    done = rekeyed.golden(*SCHEDULED, "--yes", "--json", env=ELSEWHERE)
    assert (done.code, outcomes(done)) == (4, {"r-1": "resealed", "r-2": "live"})


def test_without_somebody_who_says_yes_nothing_is_done(rekeyed: Shell, snapshot: SnapshotAssertion) -> None:
    before = everything(rekeyed.store)
    done = rekeyed.golden(*SCHEDULED)
    assert done.code == 2
    assert done.text == snapshot
    assert everything(rekeyed.store) == before


def test_a_key_that_no_file_needs_is_revoked_and_one_that_is_needed_is_not(
    rekeyed: Shell, snapshot: SnapshotAssertion
) -> None:
    revoke = ("keys", "revoke", ACTIVE_KID)
    early = rekeyed.golden(*revoke, "--yes")
    assert early.refused() == snapshot(name="too early")
    assert rekeyed.golden(*SCHEDULED, "--yes").code == 0
    assert rekeyed.golden(*revoke).refused() == snapshot(name="without --yes")
    dry = rekeyed.golden(*revoke, "--dry-run")
    assert dry.text == snapshot(name="dry run")
    done, again = rekeyed.golden(*revoke, "--reason", "yearly", "--yes"), rekeyed.golden(*revoke, "--yes")
    assert (dry.code, done.code, again.code) == (0, 0, 0)
    assert done.text == snapshot(name="revoked")
    assert again.text == snapshot(name="again")
    line = last_line(rekeyed)
    assert [line[name] for name in ("op", "key", "state", "believed", "reason")] == [
        "key", ACTIVE_KID, "revoked", line["seq"], "yearly",
    ]  # fmt: skip
    assert rekeyed.golden("verify").code == 0


def test_not_even_the_keyring_takes_a_revocation_back(rekeyed: Shell, three_runs: Path) -> None:
    assert rekeyed.golden(*SCHEDULED, "--yes").code == 0
    assert rekeyed.golden("keys", "revoke", ACTIVE_KID, "--yes").code == 0
    rekeyed.edit("golden-keyring.toml", '"revoked"', '"retired"')
    assert rekeyed.golden("verify").code == 0
    shutil.copyfile(three_runs / "r-1.steps.jsonl.sig", rekeyed.store / "r-1.steps.jsonl.sig")
    for env in ({}, ELSEWHERE):
        assert rekeyed.golden("verify", "r-1", "--json", env=env).objects[0]["verdict"] == "revoked-key"


def test_the_last_key_that_signs_is_not_revoked(rekeyed: Shell, snapshot: SnapshotAssertion) -> None:
    assert rekeyed.golden("keys", "revoke", NEW_KID, "--yes").refused() == snapshot


# Compromised.


def test_a_forged_run_is_named_and_the_honest_ones_are_signed_anew(leaked: Shell, snapshot: SnapshotAssertion) -> None:
    before = goldens(leaked)
    dry = leaked.golden(*COMPROMISED, "--dry-run")
    assert dry.code == 0
    assert dry.text == snapshot(name="dry run")
    done = leaked.golden(*COMPROMISED, "--note", "INC-7", "--yes")
    assert done.code == 4
    assert done.text == snapshot(name="rotate")
    assert goldens(leaked) == before
    assert [kids(leaked, run_id) for run_id in ("r-1", "r-2", "r-3", "forged-1")] == [[NEW_KID]] * 3 + [[ACTIVE_KID]]
    # The old secret is dead, and not needed.
    (leaked.here / "secret").unlink()
    del leaked.environ["GOLDEN_SECRET_FILE"]
    verified = leaked.golden("verify")
    assert verified.code == 3
    assert verified.text == snapshot(name="verify")
    assert leaked.golden("quarantine", "forged-1", "--reason", "INC-7", "--yes").code == 0
    assert leaked.golden("recover", "--reason", "INC-7", "--yes").code == 0
    ended = leaked.golden("verify", "--anchor", "@anchor.txt")
    assert ended.code == 0
    assert ended.text == snapshot(name="in the end")
    again = leaked.golden(*COMPROMISED, "--yes", "--json")
    assert (again.code, set(outcomes(again).values())) == (0, {"already"})


def test_the_keyring_file_says_what_the_ledger_says(leaked: Shell) -> None:
    assert leaked.golden(*COMPROMISED, "--yes").code == 4
    states = {row["kid"]: row["state"] for row in leaked.golden("keys", "list", "--json").objects}
    assert states == {ACTIVE_KID: "revoked", NEW_KID: "active"}


def test_after_a_leak_there_is_no_rotation_without_an_anchor(leaked: Shell, snapshot: SnapshotAssertion) -> None:
    before = everything(leaked.here)
    done = leaked.golden("rotate", "--reason", "compromised", "--yes")
    assert done.refused() == snapshot
    assert everything(leaked.here) == before


def test_after_a_leak_a_newer_key_comes_first(three: Shell, snapshot: SnapshotAssertion) -> None:
    assert three.golden(*COMPROMISED, "--yes").refused() == snapshot


def test_an_anchor_from_after_the_leak_believes_the_thief_and_the_plan_shows_it(leaked: Shell) -> None:
    """The one mistake that is left to make: so the plan says from when the anchor is and how many runs it has."""
    leaked.write("late.txt", leaked.anchor())
    done = leaked.golden("rotate", "--reason", "compromised", "--anchor", "@late.txt", "--dry-run", "--json")
    assert outcomes(done)["forged-1"] == "resealed"
    told = leaked.golden("rotate", "--reason", "compromised", "--anchor", "@late.txt", "--dry-run").stderr
    assert re.search(r"anchor: line 9 of 9, \S+Z, 4 runs, key a711c564e8977490", told)


def test_somebody_may_vouch_for_bytes_by_their_hash(leaked: Shell, snapshot: SnapshotAssertion) -> None:
    dry = leaked.golden(*COMPROMISED, "--dry-run")
    (line,) = [line.strip() for line in dry.stdout.splitlines() if re.match(r"  [0-9a-f]{64}  ", line)]
    leaked.write("mine.txt", f"{line}\n")
    argv = (*COMPROMISED, "--accept-unproven", "@mine.txt", "--note", "checked by hand", "--yes")
    done = leaked.golden(*argv)
    assert done.code == 0
    assert done.text == snapshot
    ledger = (leaked.store / "ledger.jsonl").read_bytes().splitlines()
    (accepted,) = [one for one in map(json.loads, ledger) if one["op"] == "accept"]
    assert (accepted["run_id"], accepted["reason"]) == ("forged-1", "checked by hand")
    assert leaked.golden("recover", "--yes").code == 0
    told = leaked.golden("verify", "--anchor", "@anchor.txt")
    assert told.code == 0
    assert "accept forged-1" in told.stdout


def test_hashes_are_taken_as_the_dry_run_and_sha256sum_print_them(leaked: Shell) -> None:
    dry = leaked.golden(*COMPROMISED, "--dry-run")
    (line,) = [line for line in dry.stdout.splitlines() if re.match(r"  [0-9a-f]{64}  ", line)]
    paths = sorted(leaked.store.glob("*.steps.jsonl"))
    given = {
        "printed": f"{line}\n",
        "summed": "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  .golden/{path.name}\n" for path in paths),
    }
    for name, text in given.items():
        leaked.write(name, text)
        done = leaked.golden(*COMPROMISED, "--accept-unproven", f"@{name}", "--dry-run", "--json")
        assert set(outcomes(done).values()) == {"resealed"}, name


@pytest.mark.parametrize(
    "name, why",
    [
        ("r-1.steps.jsonl.sig", "names 'r-1.steps.jsonl.sig', which is no *.steps.jsonl"),
        (".golden/ledger.jsonl", "names 'ledger.jsonl', which is no *.steps.jsonl"),
        ("forged-2", "no recording forged-2 in .golden"),
    ],
)
def test_a_hash_of_what_is_no_run_here_is_refused_before_anything_is_done(leaked: Shell, name: str, why: str) -> None:
    leaked.write("mine.txt", f"{'0' * 64}  {name}\n")
    before = everything(leaked.here)
    assert why in leaked.golden(*COMPROMISED, "--accept-unproven", "@mine.txt", "--yes").refused()
    assert everything(leaked.here) == before


def test_a_hash_of_other_bytes_vouches_for_nothing(leaked: Shell) -> None:
    leaked.write("mine.txt", f"{'0' * 64}  forged-1\n")
    done = leaked.golden(*COMPROMISED, "--accept-unproven", "@mine.txt", "--yes", "--json")
    assert outcomes(done)["forged-1"] == "unproven"
    assert kids(leaked, "forged-1") == [ACTIVE_KID]


@pytest.mark.parametrize(
    "given", ["mine.txt", "@nowhere.txt", "@text", "@twice", "@binary"], ids=lambda given: given.replace("@", "at-")
)
def test_what_does_not_name_bytes_is_refused(leaked: Shell, snapshot: SnapshotAssertion, given: str) -> None:
    leaked.write("text", "forged-1 is fine\n")
    leaked.write("twice", f"{'0' * 64}  forged-1\n{'1' * 64}  forged-1\n")
    leaked.write("binary", b"\xff\xfe\n")
    assert leaked.golden(*COMPROMISED, "--accept-unproven", given, "--yes").refused() == snapshot


@pytest.mark.parametrize("kid", [ACTIVE_KID, "0" * 16])
def test_only_an_ed25519_key_can_be_called_safe(leaked: Shell, snapshot: SnapshotAssertion, kid: str) -> None:
    assert leaked.golden(*COMPROMISED, "--safe", kid, "--dry-run").refused() == snapshot
    assert "--safe goes with" in leaked.golden(*SCHEDULED, "--safe", kid, "--dry-run").refused()


# A store that has no ledger.


@pytest.fixture
def in_git(leaked: Shell) -> Shell:
    """A store that git keeps: three runs committed before the leak, the thief's after it, no ledger."""
    (leaked.store / "ledger.jsonl").unlink()
    leaked.environ["GOLDEN_STATE_DIR"] = str(leaked.here.with_name("git-state"))
    leaked.write("golden.toml", 'skills = ["skills.py"]\nledger = false\n')
    env = {**leaked.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for argv in (
        ("init", "-q"),
        ("add", *(f".golden/r-{n}.steps.jsonl{suffix}" for n in (1, 2, 3) for suffix in ("", ".sig"))),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "goldens"),
    ):
        subprocess.run(["git", *argv], cwd=leaked.here, env=env, check=True, capture_output=True)
    return leaked


def test_a_store_without_a_ledger_says_what_proves_its_files(in_git: Shell, snapshot: SnapshotAssertion) -> None:
    argv = ("rotate", "--reason", "compromised", "--yes")
    assert in_git.golden(*argv).refused() == snapshot(name="no proof")
    line = (in_git.here / "anchor.txt").read_text().strip()
    assert in_git.golden(*argv, "--anchor", line).refused() == snapshot(name="an anchor of a ledger")


def test_what_git_kept_before_the_leak_proves_its_files(in_git: Shell, snapshot: SnapshotAssertion) -> None:
    argv = ("rotate", "--reason", "compromised", "--anchor", "git:HEAD")
    done = in_git.golden(*argv, "--yes")
    assert done.code == 4
    assert done.text == snapshot
    assert [kids(in_git, run_id) for run_id in ("r-1", "forged-1")] == [[NEW_KID], [ACTIVE_KID]]
    del in_git.environ["GOLDEN_SECRET_FILE"]
    verdicts = {row["run_id"]: row["verdict"] for row in in_git.golden("verify", "--json").objects[:-1]}
    assert verdicts == {"forged-1": "revoked-key", "r-1": "intact", "r-2": "intact", "r-3": "intact"}


def test_hashes_from_a_backup_prove_the_files_of_a_store_without_a_ledger(in_git: Shell) -> None:
    text = "".join(f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, (held, _, _) in goldens(in_git).items())
    in_git.write("sums", "".join(line for line in text.splitlines(keepends=True) if "forged" not in line))
    argv = ("rotate", "--reason", "compromised", "--accept-unproven", "@sums", "--yes", "--json")
    done = in_git.golden(*argv)
    assert (done.code, outcomes(done)) == (
        4, {"forged-1": "unproven", "r-1": "resealed", "r-2": "resealed", "r-3": "resealed"},
    )  # fmt: skip
    accepted = json.loads((in_git.store / "r-1.steps.jsonl.sig").read_bytes().splitlines()[0])
    assert (accepted["gen"], accepted["accepted"]["reason"]) == (1, "accepted by hash")


# Several directories, several processes, a terminal.


def test_several_directories_are_rotated_at_once(leaked: Shell, snapshot: SnapshotAssertion) -> None:
    shutil.copytree(leaked.store, leaked.here / "other")
    done = leaked.golden(*COMPROMISED, ".golden", "other", "--yes")
    assert done.code == 4
    assert done.text == snapshot
    for folder in (".golden", "other"):
        verdicts = leaked.golden("verify", "--dir", folder, "--json").objects[-1]["by"]
        assert verdicts == {"intact": 3, "revoked-key": 1}


def test_each_of_several_directories_takes_the_anchor_that_is_its_own(three: Shell) -> None:
    three.record("o-1", "--inputs", "@prices.json", "--dir", "other")
    anchor = three.golden("verify", "--dir", "other", "--json").objects[-1]["anchor"]
    three.write("new", runs.RETIRED + b"\n").chmod(0o600)
    assert three.golden("keys", "add", "--source", "file:new", "--active").code == 0
    refusal = three.golden(*COMPROMISED, ".golden", "other", "--yes").refused()
    assert "no anchor that is given is of <here>/other, whose id is " in refusal
    assert "recover" not in refusal
    done = three.golden(*COMPROMISED, "--anchor", anchor, ".golden", "other", "./other/", "--dry-run", "--json")
    assert done.code == 0
    assert [row["run_id"] for row in done.objects[:-1]] == ["r-1", "r-2", "r-3", "o-1"], (
        "a directory named twice is one"
    )
    assert set(outcomes(done).values()) == {"resealed"}


def test_several_directories_in_json_say_which(rekeyed: Shell) -> None:
    shutil.copytree(rekeyed.store, rekeyed.here / "other")
    *rows, summary = rekeyed.golden(*SCHEDULED, ".golden", "other", "--yes", "--json").objects
    assert [row["dir"] for row in rows] == [".golden"] * 3 + ["other"] * 3
    assert set(summary["anchors"]) == {".golden", "other"}
    assert summary["anchor"] is None
    assert summary["by"] == {"resealed": 6}


def test_a_directory_that_is_none_is_refused_before_anything_is_done(rekeyed: Shell) -> None:
    before = everything(rekeyed.store)
    assert "nowhere is no directory" in rekeyed.golden(*SCHEDULED, ".golden", "nowhere", "--yes").refused()
    assert everything(rekeyed.store) == before


def many(shell: Shell, count: int) -> None:
    """Record as many small runs, unsynced, under the first key."""
    store = Store(shell.store, Keyring(runs.ACTIVE), durability="never")
    for number in range(count):
        runs.record(store, f"run-{number:03}", [runs.start(), runs.step(0), runs.end()])


def test_several_processes_do_the_same(shop: Shell) -> None:
    many(shop, 40)
    shop.write("new", runs.RETIRED).chmod(0o600)
    assert shop.golden("keys", "add", "--source", "file:new", "--active").code == 0
    shutil.copytree(shop.store, shop.here / "other")
    one = shop.golden(*SCHEDULED, "--yes", "--json")
    two = shop.golden(*SCHEDULED, "--dir", "other", "-j", "2", "--yes", "--json")
    assert (one.code, two.code) == (0, 0)
    assert one.objects[:-1] == two.objects[:-1]
    names = {path.name for path in shop.store.iterdir() if path.suffix == ".sig"}
    assert {name: (shop.here / "other" / name).read_bytes() for name in names} == {
        name: (shop.store / name).read_bytes() for name in names
    }
    assert shop.golden("verify", "--dir", "other", "-j", "2", env=ELSEWHERE).code == 0


def at_a_terminal(shell: Shell, *argv: str, answer: str) -> tuple[int, str]:
    """Run a command at a pseudo-terminal, answer what it asks, and return (exit code, what it showed)."""
    ours, theirs = pty.openpty()
    environ = {**shell.environ, "TERM": "xterm", "COLUMNS": "100"}
    running = subprocess.Popen(
        [command(), *argv], cwd=shell.here, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, asked, until = b"", False, time.monotonic() + 60
    try:
        while time.monotonic() < until:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                block = os.read(ours, 65536)
            except OSError:
                break
            if not block:
                break
            shown += block
            if not asked and b"[y/N]" in shown:
                os.write(ours, answer.encode() + b"\n")
                asked = True
    finally:
        if time.monotonic() >= until:
            running.kill()
        code = running.wait()
        os.close(ours)
    return code, shown.decode()


def test_at_a_terminal_it_asks_and_shows_how_far_it_is(shop: Shell) -> None:
    many(shop, 210)
    shop.write("new", runs.RETIRED).chmod(0o600)
    assert shop.golden("keys", "add", "--source", "file:new", "--active").code == 0
    code, shown = at_a_terminal(shop, *SCHEDULED, answer="n")
    assert code == 2
    assert "nothing was done" in shown
    assert f"sign 210 seals anew with {NEW_KID} (hmac-sha256)? [y/N]" in shown
    code, shown = at_a_terminal(shop, *SCHEDULED, answer="y")
    assert code == 0
    assert re.search(r"signing .*\d+/210", shown)
    assert "210 runs: 210 resealed" in shown


def test_the_question_alone_says_what_is_agreed_to(leaked: Shell) -> None:
    before = goldens(leaked)
    code, shown = at_a_terminal(leaked, *COMPROMISED, "-q", answer="n")
    assert code == 2
    shown = re.sub(r"\s+", " ", shown)
    asked = rf"revoke {ACTIVE_KID} and sign 4 seals anew with {NEW_KID} \(hmac-sha256\), believing \S*\.golden up to "
    assert re.search(rf"{asked}line 7 of 9, \S+Z, 3 runs, key {ACTIVE_KID}\? \[y/N\]", shown), shown
    code, shown = at_a_terminal(leaked, "quarantine", "-q", "r-1", "r-2", "r-3", "forged-1", answer="n")
    assert code == 2
    assert "move 4 runs into quarantine: r-1, r-2, r-3, forged-1? [y/N]" in re.sub(r"\s+", " ", shown)
    with (leaked.store / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b"rubbish\n")
    code, shown = at_a_terminal(leaked, "recover", "-q", answer="n")
    assert code == 2
    assert re.search(
        r"write down: 8 bytes at its end are .* kept in quarantine/\? \[y/N\]", re.sub(r"\s+", " ", shown)
    ), shown
    assert goldens(leaked) == before


def test_a_bar_is_shown_to_nobody_who_does_not_watch(shop: Shell) -> None:
    many(shop, 210)
    done = shop.golden(*SCHEDULED, "--yes")
    assert done.code == 0
    assert "signing" not in done.stdout + done.stderr


# resign


def test_single_runs_are_signed_anew_by_the_same_rules(rekeyed: Shell, snapshot: SnapshotAssertion) -> None:
    (rekeyed.store / "r-2.steps.jsonl.sig").unlink()
    (rekeyed.store / "r-3.steps.jsonl").write_bytes(b"{}\n")
    before = everything(rekeyed.store)
    done = rekeyed.golden("resign", "r-1", "r-2", "r-3", "--dry-run")
    assert done.code == 0
    assert everything(rekeyed.store) == before
    done = rekeyed.golden("resign", "r-1", "--run", "r-2")
    assert done.code == 0
    assert done.text == snapshot(name="good")
    assert kids(rekeyed, "r-1") == kids(rekeyed, "r-2") == [NEW_KID]
    # The statement comes from the ledger, word for word.
    lines = map(json.loads, (rekeyed.store / "ledger.jsonl").read_bytes().splitlines())
    (said,) = [line["seal"] for line in lines if line["op"] == "seal" and line["run_id"] == "r-2"]
    assert json.loads((rekeyed.store / "r-2.steps.jsonl.sig").read_bytes().splitlines()[0]) == said
    done = rekeyed.golden("resign", "r-3")
    assert done.code == 3
    assert done.text == snapshot(name="tampered")


def test_a_run_that_is_not_there_is_not_signed(rekeyed: Shell, snapshot: SnapshotAssertion) -> None:
    assert rekeyed.golden("resign", "r-9").refused() == snapshot
    assert "is not a run id" in rekeyed.golden("resign", "../r-1").refused()


def test_a_run_that_its_author_never_sealed_is_not_blessed(rekeyed: Shell) -> None:
    rekeyed.golden("record", "order.json", "--run-id", "r-9", "--inputs", "@prices.json", "--dir", "other")
    shutil.copyfile(rekeyed.here / "other" / "r-9.steps.jsonl", rekeyed.store / "r-9.steps.jsonl")
    done = rekeyed.golden("resign", "r-9", "--json")
    assert (done.code, outcomes(done)) == (4, {"r-9": "unproven"})
    assert not (rekeyed.store / "r-9.steps.jsonl.sig").exists()
