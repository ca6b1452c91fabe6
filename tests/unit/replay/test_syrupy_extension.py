"""Snapshots of syrupy lie in signed golden files; syrupy's own options decide what becomes of them."""

import os
from pathlib import Path

import pytest

from golden.recording import Record, Recording
from golden.store import Store
from golden.verdict import verify
from tests import runs

TESTS = """\
import pytest
from replay.syrupy_extension import GoldenSnapshotExtension

@pytest.fixture
def snapshot(snapshot):
    return snapshot.use_extension(GoldenSnapshotExtension)

def test_one(snapshot):
    assert {"a": [1, 2], "b": {3}} == snapshot
    assert "two" == snapshot

def test_other(snapshot):
    assert [1] == snapshot(name="named")
"""


class Snapshots:
    """A project whose tests are run with syrupy."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.goldens = pytester.path / "goldens/pytest"

    def write(self, text: str, name: str = "test_a") -> None:
        path = self._pytester.path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(self, *args: str, **outcomes: int) -> pytest.RunResult:
        plugins = ("-p", "syrupy", "-p", "xdist.plugin", "-p", "replay.pytest_plugin", "--import-mode=importlib")
        result = self._pytester.runpytest_subprocess(*plugins, *args)
        result.assert_outcomes(**outcomes)
        return result

    def names(self) -> list[list[str]]:
        store = Store(self.goldens, runs.keyring(), ledger=False)
        found = []
        for stem in store.stems():
            with Recording.open(store.file(stem), store.read()) as recording:
                found.append([record.step.step_id for record in recording.records() if isinstance(record, Record)])
        return found

    @property
    def file(self) -> Path:
        (path,) = self.goldens.glob("*.jsonl")
        return path


@pytest.fixture
def snapshots(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Snapshots:
    """A project with a key in the environment."""
    for name in [name for name in os.environ if name.startswith(("GOLDEN_", "XDG_", "PYTEST_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("HOME", str(pytester.path))
    monkeypatch.setenv("GOLDEN_SECRET", runs.ACTIVE.decode())
    (pytester.path / "golden.toml").write_text('dir = "goldens"\ndurability = "never"\nledger = false\n')
    return Snapshots(pytester)


@pytest.mark.slow
def test_snapshots_are_kept_signed_compared_changed_and_removed(snapshots: Snapshots) -> None:
    snapshots.write(TESTS)
    snapshots.write(TESTS, "below/test_a")
    snapshots.run(failed=4)
    assert not snapshots.goldens.exists()
    snapshots.run("--snapshot-update", "-n", "2", passed=4)
    snapshots.run(passed=4)
    assert snapshots.names() == [["test_one", "test_one.1", "test_other[named]"]] * 2
    for path in snapshots.goldens.glob("*.jsonl"):
        assert verify(path, runs.keyring()).verdict == "intact"
    snapshots.write(TESTS.replace('"two"', '"three"').replace("def test_other", "def test_another"))
    result = snapshots.run(failed=2, passed=2)
    result.stdout.fnmatch_lines(["E * - 'two'", "E * + 'three'"])
    snapshots.run("--snapshot-update", passed=4)
    assert sorted(snapshots.names()) == [
        ["test_another[named]", "test_one", "test_one.1"],
        ["test_one", "test_one.1", "test_other[named]"],
    ]
    snapshots.run("-k", "one", "--snapshot-update", passed=2, deselected=2)
    snapshots.run("--golden-strict", passed=4)


@pytest.mark.slow
def test_snapshots_that_do_not_verify_fail_and_are_never_signed(snapshots: Snapshots) -> None:
    snapshots.write(TESTS)
    snapshots.run("--snapshot-update", passed=2)
    snapshots.file.write_bytes(snapshots.file.read_bytes().replace(b"two", b"2wo"))
    before = snapshots.file.read_bytes()
    for args in ((), ("--snapshot-update",)):
        result = snapshots.run(*args, failed=2)
        result.stdout.fnmatch_lines(["golden: test_a.ambr-* is tampered: *", "hint: restore the file *"])
        assert "Traceback" not in result.stdout.str() + result.stderr.str()
        assert snapshots.file.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["CI", "GOLDEN_SECRET"])
def test_without_a_key_or_where_nobody_looks_none_are_written(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    snapshots.write(TESTS)
    if variable == "CI":
        monkeypatch.setenv("CI", "true")
    else:
        monkeypatch.delenv(variable)
    result = snapshots.run("--snapshot-update", failed=2)
    result.stdout.fnmatch_lines(["golden: *", "hint: *"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert not snapshots.goldens.exists()
