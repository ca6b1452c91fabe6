"""What git has kept, read from real repositories, hostile ones too; and anchors kept where nothing else is touched."""

import hashlib
import os
import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from golden import repository
from golden.errors import StoreError, TamperedError, UsageError
from golden.repository import REF, Repository, hashes_at

LINES = [f"golden-anchor/v1 {n:032x} {n} {n:064x}" for n in range(1, 9)]


def environment(tmp_path: Path) -> dict[str, str]:
    """Give the environment of somebody whom git does not know."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home)}


def git(folder: Path, *argv: str) -> str:
    """Run git as the user of a repository would, with a name."""
    named = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "protocol.file.allow=always"]
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *named, "-C", folder, *argv], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip()


def committed(top: Path, files: dict[str, bytes], *options: str) -> str:
    """Make files in a repository, made where there is none, and return the commit that has them."""
    if not (top / ".git").exists():
        top.mkdir(exist_ok=True)
        git(top, "init", "-q", "-b", "main", *options)
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    git(top, "add", "-A", "-f")
    git(top, "commit", "-q", "-m", "files")
    return git(top, "rev-parse", "HEAD")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository with a ledger and two golden files in `goldens`."""
    files = {"ledger.jsonl": b"old\n", "a.steps.jsonl": b"one\n", "b.steps.jsonl": b"two\r\n", "b.steps.jsonl.sig": b""}
    committed(tmp_path / "top", {f"goldens/{name}": data for name, data in files.items()})
    return tmp_path / "top"


@pytest.fixture
def folder(top: Path) -> str:
    return str(top / "goldens")


def everything(top: Path) -> dict[str, bytes]:
    """Return all of a repository that a user works with: work tree, index, HEAD, branches."""
    paths = [path for path in top.rglob("*") if path.is_file()]
    return {
        str(path): path.read_bytes() for path in paths if not {"objects", "golden"} & set(path.relative_to(top).parts)
    }


def loose(top: Path, oid: str) -> Path:
    path = top / ".git/objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    return path


# Reading


def ledger_at(folder: str, rev: str, environment: Mapping[str, str] | None = None) -> bytes | None:
    return Repository.required(folder, environment).ledger_at(rev)


def test_a_folder_outside_git_has_no_repository(tmp_path: Path) -> None:
    assert Repository.holding(str(tmp_path)) is None
    with pytest.raises(UsageError, match="no git repository"):
        ledger_at(str(tmp_path), "HEAD")


def test_the_ledger_is_what_was_committed_not_what_lies_there(folder: str) -> None:
    Path(folder, "ledger.jsonl").write_bytes(b"new\n")
    assert ledger_at(folder, "HEAD") == b"old\n"


def test_no_ledger_at_a_revision_is_none(top: Path, folder: str) -> None:
    committed(top, {"else.txt": b""})
    assert ledger_at(str(top), "HEAD") is None
    assert ledger_at(str(top / "nowhere/at/all"), "HEAD") is None
    assert Repository.required(folder).root == str(top)


def test_hashes_are_of_the_bytes_of_golden_files_directly_in_the_folder(top: Path, folder: str) -> None:
    Path(folder, "link.steps.jsonl").symlink_to("a.steps.jsonl")
    rev = committed(
        top, {"goldens/below/c.steps.jsonl": b"", "goldens/-x.steps.jsonl": b"", "goldens/é.steps.jsonl": b""}
    )
    Path(folder, "a.steps.jsonl").write_bytes(b"changed since")
    expected = {"a": hashlib.sha256(b"one\n").hexdigest(), "b": hashlib.sha256(b"two\r\n").hexdigest()}
    assert hashes_at(folder, rev) == expected
    assert hashes_at(folder, "main@{0}") == expected
    assert hashes_at(str(top), rev) == {}


def test_a_directory_that_is_gone_is_read_all_the_same(folder: str) -> None:
    shutil.rmtree(folder)
    assert ledger_at(folder, "HEAD") == b"old\n"
    assert set(hashes_at(folder, "HEAD")) == {"a", "b"}


def test_a_repository_with_sha256_ids_is_read(tmp_path: Path) -> None:
    committed(tmp_path / "top", {"ledger.jsonl": b"x\n", "r.steps.jsonl": b"r"}, "--object-format=sha256")
    repository = Repository.required(str(tmp_path / "top"))
    assert repository.ledger_at("HEAD") == b"x\n"
    assert repository.hashes_at("HEAD") == {"r": hashlib.sha256(b"r").hexdigest()}
    repository.keep(LINES[0])
    assert [commit.subject for commit in repository.anchor_commits()[REF]] == [LINES[0]]


def test_memory_is_flat_in_the_size_of_a_file(tmp_path: Path) -> None:
    size = 48 << 20
    committed(tmp_path / "top", {"big.steps.jsonl": bytes(size)})
    tracemalloc.start()
    try:
        found = hashes_at(str(tmp_path / "top"), "HEAD")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == {"big": hashlib.sha256(bytes(size)).hexdigest()}
    assert peak < size // 8


@pytest.mark.parametrize(
    "rev",
    ["", "--output=made", "-h", "--all", "HEAD\n--output=made", "HEAD\0", "no-such", "HEAD:goldens", "HEAD..HEAD"],
)
def test_what_is_no_commit_is_refused_and_never_an_option(folder: str, rev: str) -> None:
    # What begins like an option is refused before git sees it, which would not take it for one either.
    with pytest.raises(UsageError, match="is no revision" if rev.startswith("-") else "revision|knows no commit"):
        hashes_at(folder, rev)
    assert not Path("made").exists()


# What stands in the way


def test_git_variables_of_the_caller_point_nowhere(folder: str, tmp_path: Path) -> None:
    committed(tmp_path / "other", {"ledger.jsonl": b"other\n", "goldens/ledger.jsonl": b"other\n"})
    pointing = {
        **environment(tmp_path),
        "GIT_DIR": str(tmp_path / "other/.git"),
        "GIT_WORK_TREE": str(tmp_path / "other"),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_NAMESPACE": "elsewhere",
    }
    assert ledger_at(folder, "HEAD", pointing) == b"old\n"
    Repository.required(folder, pointing).keep(LINES[0])
    assert git(Path(folder), "log", "--format=%s", REF) == LINES[0]


def test_hooks_fsmonitor_pager_and_signing_do_not_run(top: Path, folder: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 $* >> {tmp_path}/sprung\nexit 1\n")
    trap.chmod(0o755)
    for name in ("reference-transaction", "post-index-change", "pre-commit", "post-commit", "commit-msg"):
        (top / ".git/hooks" / name).parent.mkdir(exist_ok=True)
        shutil.copy(trap, top / ".git/hooks" / name)
    for name in ("core.fsmonitor", "core.pager", "gpg.program", "core.sshCommand", "core.editor"):
        git(top, "config", name, str(trap))
    for name in ("commit.gpgSign", "log.showSignature", "user.useConfigOnly"):
        git(top, "config", name, "true")
    git(top, "config", "color.ui", "always")
    found = Repository.required(folder, environment(tmp_path))
    found.keep(LINES[0])
    found.keep(LINES[1])
    assert [commit.subject for commit in found.anchor_commits()[REF]] == [LINES[1], LINES[0]]
    assert found.ledger_at("HEAD") == b"old\n"
    assert len(found.ledger_commits(9)) == 1
    assert not (tmp_path / "sprung").exists()


def test_secrets_are_not_in_the_environment_of_git(folder: str, tmp_path: Path) -> None:
    real = shutil.which("git")
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/git"
    fake.write_text(f'#!/bin/sh\nenv >> {tmp_path}/seen\nexec {real} "$@"\n')
    fake.chmod(0o755)
    env = environment(tmp_path)
    env |= {"PATH": f"{fake.parent}:{env['PATH']}", "GOLDEN_SECRET": "canary", "OTHER": "stays"}
    found = Repository.required(folder, env)
    found.keep(LINES[0])
    found.hashes_at("HEAD")
    seen = (tmp_path / "seen").read_text()
    assert "OTHER=stays" in seen
    assert "canary" not in seen


def test_a_repository_of_somebody_else_is_refused_in_two_sentences(top: Path, folder: str, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    for path in (top, top / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(UsageError, match="belongs to another user") as caught:
        ledger_at(folder, "HEAD", environment(tmp_path))
    assert "safe.directory" in caught.value.hint


def test_a_missing_git_is_said(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="git cannot be started") as caught:
        ledger_at(folder, "HEAD", {"PATH": str(tmp_path)})
    assert "install git" in caught.value.hint


def test_a_git_that_lies_in_the_checkout_is_not_started(
    top: Path, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "git").write_text("#!/bin/sh\nexit 0\n")
    (top / "git").chmod(0o755)
    monkeypatch.chdir(top)
    env = environment(tmp_path)
    assert ledger_at(folder, "HEAD", {**env, "PATH": f".:{env['PATH']}"}) == b"old\n"


def test_a_git_that_hangs_is_not_waited_for(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "SECONDS", 0.2)
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    with pytest.raises(StoreError, match="longer than"):
        ledger_at(folder, "HEAD", {**environment(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"})


def test_a_damaged_configuration_is_said(top: Path, folder: str) -> None:
    (top / ".git/config").write_text("[core\n")
    with pytest.raises(UsageError, match="bad config"):
        ledger_at(folder, "HEAD")


@pytest.mark.parametrize("what", ["HEAD:goldens/a.steps.jsonl", "HEAD:goldens", "HEAD:", "HEAD"])
def test_an_object_that_is_not_what_its_id_says_is_found_out(top: Path, folder: str, what: str) -> None:
    oid = git(top, "rev-parse", what)
    path = loose(top, oid)
    data = zlib.decompress(path.read_bytes())
    # Git itself gives these bytes without a word.
    forged = data.replace(b"one\n", b"eno\n").replace(b"a.steps", b"z.steps").replace(b"goldens", b"sgolden")
    forged = forged.replace(b"somebody", b"somebodx")
    assert forged != data
    path.write_bytes(zlib.compress(forged))
    with pytest.raises(TamperedError, match="is not what its id says"):
        hashes_at(folder, "HEAD")


def test_bytes_put_under_a_name_by_replace_are_not_taken(top: Path, folder: str) -> None:
    before = hashes_at(folder, "HEAD")
    first = git(top, "rev-parse", "HEAD")
    forged = committed(top, {"goldens/a.steps.jsonl": b"forged\n", "goldens/ledger.jsonl": b"forged\n"})
    git(top, "replace", first, forged)
    git(top, "replace", f"{first}:goldens/b.steps.jsonl", f"{forged}:goldens/a.steps.jsonl")
    assert hashes_at(folder, first) == before
    assert ledger_at(folder, first) == b"old\n"


def test_what_a_partial_clone_lacks_is_not_fetched(top: Path, tmp_path: Path) -> None:
    git(top, "config", "uploadpack.allowFilter", "true")
    git(top, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{top}", str(tmp_path / "partial"))
    with pytest.raises(StoreError, match="cannot give object") as caught:
        hashes_at(str(tmp_path / "partial/goldens"), "HEAD")
    assert "partial clone" in caught.value.hint


# Keeping


def test_keeping_touches_neither_index_nor_work_tree_nor_branch(top: Path, folder: str, tmp_path: Path) -> None:
    Path(folder, "a.steps.jsonl").write_bytes(b"half done")
    (top / "staged").write_bytes(b"staged")
    git(top, "add", "staged")
    before = everything(top), git(top, "status", "--porcelain"), git(top, "log", "--all", "--format=%H", "--branches")
    found = Repository.required(folder, environment(tmp_path))
    for line in LINES:
        found.keep(line)
    assert everything(top) == before[0]
    assert git(top, "status", "--porcelain") == before[1]
    assert git(top, "log", "--format=%H", "--branches") == before[2]
    assert git(top, "log", "--format=%s", REF).splitlines() == LINES[::-1]
    assert git(top, "ls-tree", REF) == ""


def test_the_newest_anchor_is_not_kept_twice(folder: str) -> None:
    found = Repository.required(folder)
    for line in (LINES[0], LINES[0], LINES[1], LINES[1], LINES[0]):
        found.keep(line)
    assert [commit.subject for commit in found.anchor_commits()[REF]] == [LINES[0], LINES[1], LINES[0]]


def test_anchors_are_kept_in_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    found = Repository.required(str(tmp_path))
    found.keep(LINES[0])
    assert found.ledger_commits(9) == []
    assert [commit.subject for commit in found.anchor_commits()[REF]] == [LINES[0]]


def test_no_anchor_is_lost_to_another_recorder(top: Path, folder: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Repository.required(folder).keep, LINES))
    assert set(git(top, "log", "--format=%s", REF).splitlines()) == set(LINES)


def test_anchors_are_pushed_to_a_strict_server_and_found_where_they_are_fetched(
    top: Path, folder: str, tmp_path: Path
) -> None:
    Repository.required(folder).keep(LINES[0])
    git(tmp_path, "init", "-q", "--bare", "server")
    git(tmp_path / "server", "config", "receive.fsckObjects", "true")
    git(top, "push", "-q", str(tmp_path / "server"), f"{REF}:refs/golden/host-1", "main")
    git(top, "gc", "-q", "--prune=now")
    git(tmp_path, "clone", "-q", str(tmp_path / "server"), "clone", "-b", "main")
    git(tmp_path / "clone", "fetch", "-q", "origin", "refs/golden/*:refs/golden/*")
    found = Repository.required(str(tmp_path / "clone/goldens")).anchor_commits()
    assert {ref: [commit.subject for commit in commits] for ref, commits in found.items()} == {
        "refs/golden/host-1": [LINES[0]]
    }


def test_worktrees_of_a_repository_keep_their_anchors_together(top: Path, tmp_path: Path) -> None:
    git(top, "worktree", "add", "-q", str(tmp_path / "beside"))
    Repository.required(str(tmp_path / "beside/goldens")).keep(LINES[0])
    assert git(top, "log", "--format=%s", REF) == LINES[0]


def test_a_ref_that_cannot_be_moved_is_said(top: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_TRIES", 2)
    (top / ".git/refs/golden").mkdir()
    (top / ".git/refs/golden/anchors.lock").write_bytes(b"")
    with pytest.raises(StoreError, match=r"anchors\.lock"):
        Repository.required(folder).keep(LINES[0])


def test_the_ledgers_history_is_of_this_directory_and_newest_first(top: Path, folder: str) -> None:
    revs = [git(top, "rev-parse", "HEAD")]
    revs += [committed(top, {"goldens/ledger.jsonl": data}) for data in (b"2\n", b"3\n")]
    committed(top, {"ledger.jsonl": b"of another\n", "goldens/else": b""})
    found = Repository.required(folder).ledger_commits(2)
    assert [commit.oid for commit in found] == revs[:0:-1]
    assert all(commit.seconds > 1_600_000_000 for commit in found)
