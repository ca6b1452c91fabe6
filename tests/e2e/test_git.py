"""What `golden git install` makes of a repository: real git shows what changed, and never merges two recordings."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Shell

pytestmark = pytest.mark.slow

SKILLS = """\
from replay import Context, SkillRegistry

registry = SkillRegistry()


@registry.skill("greet")
def greet(ctx: Context) -> dict:
    answer = ctx.external("ask", lambda who: who.upper(), ctx.inputs["name"])
    return {"text": f"Dear {answer},\\nhello.\\nYours", "words": 3}
"""
SPEC = {"id": "greet", "steps": [{"id": "greet", "skill_id": "greet", "inputs": {"name": "${inputs.name}"}}]}
ADA, SEAL = "goldens/ada.steps.jsonl", "goldens/ada.steps.jsonl.sig"


@pytest.fixture
def repository(tmp_path: Path) -> Shell:
    """A repository that golden is installed in, with one recording on the branch main."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    here, home = tmp_path / "work", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    shell = Shell(here)
    person = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    shell.environ |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **person}
    git(shell, "init", "-q", "-b", "main")
    shell.write("skills.py", SKILLS)
    shell.write("greet.json", SPEC)
    for command in (("init",), ("git", "install")):
        assert shell.golden(*command).code == 0
    record(shell)
    return shell


def git(shell: Shell, *argv: str, code: int = 0) -> str:
    """Run git as a user of the repository would, and return all that it says."""
    done = subprocess.run(
        ["git", *argv], cwd=shell.here, env=shell.environ, text=True, stdout=-1, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == code, done
    return done.stdout


def pytest_of(shell: Shell, *argv: str) -> None:
    """Run the repository's own tests, which pass."""
    environ = {name: value for name, value in shell.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *argv]
    done = subprocess.run(command, cwd=shell.here, env=environ, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done


def record(shell: Shell, run_id: str = "ada", name: str = "Ada") -> None:
    """Record a run, in the place of what was recorded of it before, and commit all that there is."""
    for path in (*shell.here.glob(f"goldens/{run_id}.*"), *shell.here.glob("goldens/checkpoints.sqlite*")):
        path.unlink()
    argv = ("record", "greet.json", "--skills", "skills.py", "--run-id", run_id, "--input", f"name={name}")
    done = shell.golden(*argv, "--seed", "7")
    assert done.code == 0, done
    git(shell, "add", "-A")
    git(shell, "commit", "-q", "-m", f"record {run_id}")


@pytest.fixture
def branches(repository: Shell) -> Shell:
    """Two branches, main and other, on each of which the recording was made anew."""
    git(repository, "checkout", "-q", "-b", "other")
    record(repository, name="Bob")
    git(repository, "checkout", "-q", "main")
    record(repository, name="Eve")
    return repository


def test_installing_twice_changes_nothing(repository: Shell) -> None:
    kept = [repository.here / name for name in (".gitattributes", ".git/config", ".git/info/attributes")]
    before = [path.read_bytes() for path in kept]
    rows = repository.golden("git", "install", "--json").objects
    assert [(row["path"], row["done"]) for row in rows] == [
        (".gitattributes", "left"),
        (".git/config", "left"),
        (".git/info/attributes", "left"),
    ]
    assert [path.read_bytes() for path in kept] == before
    git(repository, "config", "diff.golden.textconv", "cat")
    rows = repository.golden("git", "install", "--json").objects
    assert [row["done"] for row in rows] == ["left", "written", "left"]
    assert kept[1].read_bytes() == before[1]


def test_it_says_what_it_writes(repository: Shell, snapshot: SnapshotAssertion) -> None:
    (repository.here / ".gitattributes").write_text("*.steps.jsonl* -text\n*.png binary")
    git(repository, "config", "--remove-section", "merge.golden")
    assert repository.golden("git", "install").text == snapshot
    assert (repository.here / ".gitattributes").read_text().splitlines() == [
        "*.steps.jsonl* -text",
        "*.png binary",
        "*.steps.jsonl* -text -merge diff=golden",
    ]


def test_in_a_second_work_tree_the_settings_are_those_of_the_repository(repository: Shell) -> None:
    git(repository, "worktree", "add", "-q", "../second", "-b", "second")
    rows = repository.golden("git", "install", "--json", cwd=repository.here / "../second").objects
    assert {row["done"] for row in rows} == {"left"}


def test_a_diff_shows_what_changed_and_not_how_it_is_signed(repository: Shell, snapshot: SnapshotAssertion) -> None:
    repository.edit("skills.py", "hello", "good evening")
    record(repository)
    changed = git(repository, "diff", "-U0", "HEAD~1", "--", ADA)
    lines = [line for line in changed.splitlines() if line[0] in "+-@" and line[:3] not in {"+++", "---"}]
    assert [line for line in lines if "recorded" not in line] == snapshot
    # The same where git reads both from what it keeps.
    assert "+    good evening.\\n" in git(repository, "log", "-p", "-1")
    assert "+    good evening.\\n" in git(repository, "show")


def test_what_is_no_golden_file_any_more_is_shown_all_the_same(repository: Shell, snapshot: SnapshotAssertion) -> None:
    path = repository.here / ADA
    whole = path.read_bytes()
    odd = b'{"data":1,"event_type":"later"}\n\xff\x1b[31m\n<<<<<<< ours\n\n[[[\n'
    path.write_bytes(odd + whole.splitlines()[1][:40])
    shown = repository.golden("git", "show", ADA)
    assert shown.code == 0
    assert shown.text == snapshot
    assert "line 2 is no event" in git(repository, "diff")
    path.write_bytes(b"")
    assert repository.golden("git", "show", ADA).text == f"$ golden git show {ADA}\n[stdout]\n[stderr]\n[exit 0]\n"
    assert repository.golden("git", "show", "nowhere").refused(4)
    assert repository.golden("git", "show", ".").refused(4)


def test_json_shows_each_line_as_unverified(repository: Shell) -> None:
    shown = repository.golden("git", "show", ADA, "--json").objects
    assert [(row["schema"], row["number"], row["unverified"]) for row in shown] == [
        ("golden.show/1", number, True) for number in range(1, 5)
    ]
    assert [row["line"] for row in shown] == (repository.here / ADA).read_text().splitlines()


@pytest.mark.parametrize("standing", ["configuration", "program"])
def test_where_golden_cannot_run_git_shows_the_lines(repository: Shell, standing: str) -> None:
    if standing == "configuration":
        repository.write("golden.toml", "<<<<<<< ours\n")
    else:
        command = git(repository, "config", "diff.golden.textconv").strip()
        git(repository, "config", "diff.golden.textconv", command.replace(" -P -m golden", "-that-is-gone"))
    with (repository.here / ADA).open("a") as file:
        file.write("one line more\n")
    assert "+one line more" in git(repository, "diff", "--", ADA)


def test_a_package_of_the_checkout_is_not_taken_for_the_program(repository: Shell) -> None:
    for name in ("golden", "cli"):
        repository.write(f"{name}/__init__.py", "raise SystemExit('code of the checkout ran')\n")
    repository.edit("skills.py", "hello", "good evening")
    shown = git(repository, "log", "-p", "-1", "--", ADA)
    assert "step greet ok" in shown
    assert "code of the checkout ran" not in shown


def test_a_merge_keeps_ours_whole_and_says_what_to_do(branches: Shell, snapshot: SnapshotAssertion) -> None:
    ours = (branches.here / ADA).read_bytes(), (branches.here / SEAL).read_bytes()
    said = git(branches, "merge", "other", code=1)
    assert "\n".join(line for line in said.splitlines() if line.startswith(("golden: ", "hint: "))) == snapshot
    assert ((branches.here / ADA).read_bytes(), (branches.here / SEAL).read_bytes()) == ours
    assert git(branches, "status", "--short").splitlines() == [f"UU {ADA}", f"UU {SEAL}"]
    assert branches.golden("verify").code == 0
    # What the hint says.
    git(branches, "checkout", "--theirs", ADA, SEAL)
    git(branches, "add", ADA, SEAL)
    git(branches, "commit", "-q", "-m", "theirs")
    assert branches.golden("verify").code == 0
    assert '"Bob"' in branches.golden("git", "show", ADA).stdout


VALUES = """\
def test_one(golden):
    golden.check("NAME")

def test_snapshot(snapshot):
    from replay.syrupy_extension import GoldenSnapshotExtension
    assert "NAME" == snapshot.use_extension(GoldenSnapshotExtension)
"""


def test_a_merge_of_golden_values_says_how_pytest_keeps_them(repository: Shell, snapshot: SnapshotAssertion) -> None:
    def keep(name: str) -> None:
        repository.write("test_a.py", VALUES.replace("NAME", name))
        pytest_of(repository, "--golden-update", "--snapshot-update")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", name)

    for branch in ("other", "main"):
        git(repository, "checkout", "-q", "-B", branch, "main")
        keep(branch)
    said = git(repository, "merge", "other", code=1)
    assert "\n".join(line for line in said.splitlines() if line.startswith(("golden: ", "hint: "))) == snapshot
    # What the hints say.
    keep("both")
    pytest_of(repository, "--golden-strict")
    assert repository.golden("verify", "--dir", "goldens/pytest").code == 0


@pytest.mark.parametrize("course", [("rebase", "main"), ("cherry-pick", "main")], ids=lambda course: course[0])
def test_a_rebase_and_a_cherry_pick_keep_one_of_them_whole(branches: Shell, course: tuple[str, str]) -> None:
    git(branches, "checkout", "-q", "other")
    assert "golden: two branches changed the recording goldens/ada" not in git(branches, "status")
    said = git(branches, *course, code=1)
    assert said.count("golden: two branches changed the recording ada: ours is kept") == 1
    assert branches.golden("verify").code == 0
    git(branches, course[0], "--abort")
    assert branches.golden("verify").code == 0


def test_a_clone_where_nothing_is_installed_merges_no_lines_either(branches: Shell, tmp_path: Path) -> None:
    there = Shell(tmp_path / "clone")
    git(branches, "clone", "-q", str(branches.here), str(there.here))
    there.environ |= branches.environ
    ours = (there.here / ADA).read_bytes()
    said = git(there, "merge", "origin/other", code=1)
    assert "CONFLICT" in said
    assert "golden: " not in said
    assert (there.here / ADA).read_bytes() == ours
    git(there, "diff")


def test_recordings_of_one_branch_alone_are_merged_without_a_word(repository: Shell) -> None:
    git(repository, "checkout", "-q", "-b", "other")
    record(repository, "bob", "Bob")
    git(repository, "checkout", "-q", "main")
    record(repository, "eve", "Eve")
    assert "golden" not in git(repository, "merge", "other", "-q", "--no-edit").replace("goldens/", "")
    done = repository.golden("verify", "--json")
    assert (done.code, done.objects[-1]["by"]) == (0, {"intact": 3})


def test_two_rotations_of_one_recording_leave_its_seal_to_be_signed_again(
    repository: Shell, snapshot: SnapshotAssertion
) -> None:
    for branch in ("other", "main"):
        git(repository, "checkout", "-q", "-B", branch, "main")
        for alg in ("hmac-sha256", "ed25519"):
            assert repository.golden("keys", "add", "--generate", "--active", "--alg", alg).code == 0
        assert repository.golden("rotate", "--reason", "scheduled", "--yes").code == 0
        git(repository, "add", "goldens")
        git(repository, "commit", "-q", "-m", "rotated", "goldens")
        git(repository, "stash", "-q") if branch == "other" else None
    said = git(repository, "merge", "other", code=1)
    assert "\n".join(line for line in said.splitlines() if line.startswith(("golden: ", "hint: "))) == snapshot
    assert git(repository, "status", "--short", "goldens").splitlines() == [f"UU {SEAL}"]
    assert repository.golden("verify").code == 0


def test_a_ledger_is_kept_as_ours_and_verify_names_what_the_other_branch_brought(
    repository: Shell, snapshot: SnapshotAssertion
) -> None:
    shutil.rmtree(repository.here / "goldens")
    repository.write("golden.toml", 'dir = "goldens"\n')
    record(repository)
    assert repository.golden("git", "install").code == 0
    lines = (repository.here / ".gitattributes").read_text().splitlines()
    assert lines[-1] == "/goldens/ledger.jsonl -text -merge"
    git(repository, "commit", "-q", "-a", "-m", "attributes")
    for branch, name in (("other", "bob"), ("main", "eve")):
        # Each branch is another host's work: this one would remember the longer ledger.
        shutil.rmtree(repository.environ["GOLDEN_STATE_DIR"])
        git(repository, "checkout", "-q", *(["-b"] if branch == "other" else []), branch)
        record(repository, name, name)
    said = git(repository, "merge", "other", code=1)
    assert "\n".join(line for line in said.splitlines() if line.startswith(("golden: ", "hint: "))) == snapshot
    done = repository.golden("verify", "--json")
    assert done.code == 3
    assert {row["run_id"]: row["verdict"] for row in done.objects[:-1]} == {
        "ada": "intact",
        "bob": "unlisted",
        "eve": "intact",
    }


def test_json_tells_of_a_conflict(repository: Shell) -> None:
    done = repository.golden("git", "merge", "--json", ADA, ADA, ADA)
    assert (done.code, done.objects[0]["path"], done.objects[0]["done"]) == (1, ADA, "left")


def test_a_path_that_is_none_of_a_plain_name_is_quoted_in_what_is_to_be_typed(repository: Shell) -> None:
    done = repository.golden("git", "merge", "a", "b", "$(x) y/\x1br.steps.jsonl")
    assert "'$(x) y/\\x1br.steps.jsonl'" in done.stderr
