"""Anchors as a responder finds them at 3 a.m.: which there are, which one to take, and what the ledger says to them."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from golden.ledger import Anchor
from tests.e2e.shell import ACTIVE_KID, Answer, Shell
from tests.unit.golden.test_repository import git

pytestmark = pytest.mark.slow

# After the lines were written: sooner nobody can have stored an anchor of them.
TIMES = ("2101-01-01T00:00:00.000000Z", "2101-02-01T00:00:00.000000Z", "2101-03-01T00:00:00.000000Z")


@pytest.fixture
def place(recorded: Shell, tmp_path: Path) -> Path:
    """A file for anchors, named in the user's own sources.toml."""
    place = tmp_path / "elsewhere"
    path = recorded.write(".config/golden/sources.toml", f'anchor_to = ["file:{place}"]\n')
    path.chmod(0o600)
    return place


@pytest.fixture
def kept(recorded: Shell, place: Path) -> list[Anchor]:
    """The anchors of a ledger that grew by a run a month, oldest first, each stored on its day."""
    found = []
    for run_id in ("r-1", "r-2", "r-3"):
        if run_id != "r-1":
            recorded.record(run_id, "--inputs", "@prices.json")
        found.append(anchor_of(recorded))
    place.write_text("".join(f"{anchor}  {time}\n" for anchor, time in zip(found, TIMES, strict=True)))
    return found


def anchor_of(shell: Shell) -> Anchor:
    return Anchor.parse(str(shell.golden("verify", "--json").objects[-1]["anchor"]))


def rows(answer: Answer) -> list[dict[str, Any]]:
    *found, summary = answer.objects
    assert {row["schema"] for row in found} <= {"golden.anchors/1"}
    assert (summary["schema"], summary["command"]) == ("golden.summary/1", "anchors")
    assert (summary["checked"], summary["exit_code"]) == (len(found), answer.code)
    return found


def cut(shell: Shell, lines: int) -> None:
    ledger = shell.store / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:lines]))


def test_anchors_are_listed_newest_first_with_all_that_tells_them_apart(recorded: Shell, kept: list[Anchor]) -> None:
    done = recorded.golden("anchors", "--json")
    found = rows(done)
    assert done.code == 0
    assert [row["anchor"] for row in found] == [str(anchor) for anchor in reversed(kept)]
    assert [row["stored"] for row in found] == list(reversed(TIMES))
    assert [row["runs"] for row in found] == [3, 2, 1]
    assert [row["lines"] for row in found] == [anchor.lines for anchor in reversed(kept)]
    assert {(row["kid"], row["extends"]) for row in found} == {(ACTIVE_KID, "yes")}


def test_people_can_copy_the_whole_line_however_narrow_the_terminal(recorded: Shell, kept: list[Anchor]) -> None:
    done = recorded.golden("anchors", env={"COLUMNS": "40"})
    assert Anchor.find(done.stdout) == kept[::-1]
    assert all(re.search(rf"^  {re.escape(str(anchor))}$", done.stdout, re.MULTILINE) for anchor in kept)
    assert f"✓ stored {TIMES[2]}  3 runs" in done.stdout
    assert f"key {ACTIVE_KID}  the ledger extends it" in done.stdout
    assert "BEFORE the earliest possible leak" in done.stderr


def test_the_first_one_before_the_leak_is_the_one_to_take(recorded: Shell, kept: list[Anchor]) -> None:
    found = rows(recorded.golden("anchors", "--before", "2101-02-15T12:00+02:00", "--json"))
    assert [row["anchor"] for row in found] == [str(kept[1]), str(kept[0])]
    done = recorded.golden("verify", "--anchor", found[0]["anchor"])
    assert done.code == 0, done


def test_nothing_from_before_the_leak_is_4_and_says_what_was_left_out(recorded: Shell, kept: list[Anchor]) -> None:
    done = recorded.golden("anchors", "--before", TIMES[0])
    assert (done.code, Anchor.find(done.stdout)) == (4, [])
    assert "3 anchors that were stored later" in done.stderr


def test_an_anchor_said_to_be_older_than_its_line_is_no_good(recorded: Shell, place: Path) -> None:
    """Whoever can write where anchors are kept would have one from after the leak chosen."""
    place.write_text(f"{anchor_of(recorded)}  2026-01-01T00:00:00.000000Z\n")
    done = recorded.golden("anchors")
    assert done.code == 3
    assert "✗ stored 2026-01-01T00:00:00.000000Z" in done.stdout
    assert "IT CANNOT HAVE BEEN STORED THEN" in done.stdout
    chosen = recorded.golden("anchors", "--before", "2026-01-02", "--json")
    assert (chosen.code, rows(chosen)) == (3, [])
    (row,) = rows(recorded.golden("anchors", "--json"))
    assert (row["extends"], row["possible"]) == ("yes", False)


def test_few_are_shown_and_the_rest_counted(recorded: Shell, kept: list[Anchor]) -> None:
    done = recorded.golden("anchors", "-n", "1")
    assert Anchor.find(done.stdout) == [kept[2]]
    assert "and 2 older" in done.stdout


def test_a_ledger_that_was_cut_is_3_and_the_longer_anchors_are_named(recorded: Shell, kept: list[Anchor]) -> None:
    cut(recorded, kept[0].lines)
    done = recorded.golden("anchors", "--json")
    assert done.code == 3
    assert [row["extends"] for row in rows(done)] == ["no", "no", "yes"]
    text = recorded.golden("anchors")
    assert text.stdout.count("THE LEDGER DOES NOT EXTEND IT") == 2
    # Also where the one that shows it is not among those asked for.
    assert recorded.golden("anchors", "--before", TIMES[1]).code == 3


def test_a_ledger_that_was_cut_and_went_on_is_3_where_nobody_remembers(recorded: Shell, kept: list[Anchor]) -> None:
    cut(recorded, kept[0].lines)
    for name in ("r-2", "r-3"):
        for path in recorded.store.glob(f"{name}.*"):
            path.unlink()
    recorded.environ["GOLDEN_STATE_DIR"] = str(recorded.here / "forgetful")
    for name in ("r-4", "r-5", "r-6"):
        recorded.record(name, "--inputs", "@prices.json")
    assert recorded.golden("verify").code == 0
    done = recorded.golden("anchors")
    assert done.code == 3
    assert done.stdout.count("(other lines stand there)") == 2


def test_a_directory_that_is_gone_still_has_its_anchors(recorded: Shell, kept: list[Anchor]) -> None:
    shutil.rmtree(recorded.store)
    done = recorded.golden("anchors", "--json")
    assert done.code == 3
    assert [row["anchor"] for row in rows(done)] == [str(anchor) for anchor in reversed(kept)]


def test_anchors_need_no_key(recorded: Shell, kept: list[Anchor]) -> None:
    done = recorded.golden("anchors", env={"GOLDEN_SECRET_FILE": None})
    assert done.code == 0
    assert Anchor.find(done.stdout) == kept[::-1]


def test_no_anchor_is_4_and_says_how_they_are_kept(shop: Shell) -> None:
    done = shop.golden("anchors")
    assert (done.code, done.stdout) == (4, "no anchor of .golden is found\n")
    assert "anchor_to" in done.stderr
    assert rows(shop.golden("anchors", "--json")) == []


def test_without_a_ledger_git_takes_the_place_of_anchors(shop: Shell) -> None:
    shop.write("golden.toml", "ledger = false\n")
    done = shop.golden("anchors")
    assert done.code == 4
    assert "--anchor git:REV" in done.stderr


def test_a_ledger_in_git_gives_an_anchor_for_each_commit(recorded: Shell) -> None:
    git(recorded.here, "init", "-q")
    git(recorded.here, "add", ".golden")
    git(recorded.here, "commit", "-q", "-m", "goldens")
    rev = git(recorded.here, "rev-parse", "HEAD")
    first = anchor_of(recorded)
    recorded.record("r-2", "--inputs", "@prices.json")
    found = {row["anchor"]: row for row in rows(recorded.golden("anchors", "--json"))}
    assert f"git:{rev[:12]}" in found[str(first)]["where"]
    assert recorded.golden("verify", "--anchor", f"git:{rev[:12]}").code == 0


def test_a_program_that_was_told_is_named_as_not_asked(recorded: Shell) -> None:
    path = recorded.write(".config/golden/sources.toml", """anchor_to = 'exec:["/bin/true"]'\n""")
    path.chmod(0o600)
    assert "exec:/bin/true cannot be asked" in recorded.golden("anchors").stderr


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "\x1b[2J", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_is_none_is_misuse(recorded: Shell, text: str) -> None:
    assert recorded.golden("anchors", "--before", text).refused(2)


def test_names_of_places_cannot_steer_a_terminal(recorded: Shell, tmp_path: Path) -> None:
    git(recorded.here, "init", "-q")
    anchor = anchor_of(recorded)
    tree = git(recorded.here, "write-tree")
    commit = git(recorded.here, "commit-tree", tree, "-m", str(anchor))
    git(recorded.here, "update-ref", "refs/golden/\u202e\u009b2J", commit)
    done = recorded.golden("anchors")
    assert str(anchor) in done.stdout
    assert "refs/golden/\\u202e\\x9b2J" in done.stdout
