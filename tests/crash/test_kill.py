"""Killed at any system call, a recorder leaves a file that says what it is, and nobody is held up by it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from golden.errors import StoreError, UsageError
from golden.store import DURABILITIES
from golden.verdict import verify
from tests import independent_verifier, runs
from tests.crash.killed_recorder import EVENTS
from tests.runs import ACTIVE, ROOT

Child = tuple[str, str, bool]


@pytest.fixture(params=DURABILITIES)
def children(request: pytest.FixtureRequest, tmp_path: Path) -> list[Child]:
    """Every child that was killed, and the last of each way, which was not."""
    command = [sys.executable, "-m", "tests.crash.killed_recorder", str(tmp_path), request.param]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def judged(path: Path) -> str:
    """Return the verdict, `absent` where there is neither a file nor a seal."""
    try:
        return verify(path, runs.keyring()).verdict
    except StoreError:
        return "absent"


@pytest.mark.slow
def test_a_recorder_killed_at_any_call_leaves_a_prefix_or_the_whole(children: list[Child], tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for name, call, killed in children:
        store = runs.store_in(tmp_path / name / "golden")
        file = store.file("r-1")
        case = f"{name}, killed at {call}"
        found = judged(file.path)
        seen[found] += 1

        # What is there is a prefix of a run, and called just that.
        data = file.path.read_bytes() if file.path.exists() else None
        lines = 0 if data is None else data.count(b"\n")
        expected = (
            "absent"
            if data is None
            else "intact"
            if file.seal_path.exists()
            else "unsealed"
            if lines == len(EVENTS)
            else "live"
            if data.endswith(b"\n")
            else "torn"
        )
        assert found == expected, case
        assert found == "intact" or killed, case
        assert not (found == "intact" and lines < len(EVENTS)), case
        if data is not None:
            assert independent_verifier.verdict(file.path, [ACTIVE]) == found, case
            assert verify(file.path, runs.keyring()).writer in {None, False}, case

        # The dead one holds nobody up.
        assert judged(runs.record(store, "r-2", EVENTS).path) == "intact", case
        if not lines:
            # Nothing was recorded: the run's id is free.
            assert judged(runs.record(store, "r-1", EVENTS).path) == "intact", case
        else:
            before = data
            with pytest.raises(UsageError, match="run r-1 exists"):
                runs.record(store, "r-1", EVENTS)
            assert file.path.read_bytes() == before, case
            assert judged(file.path) == found, case

        # Nothing lies about of a run that was sealed.
        left = {path.name for path in store.directory.iterdir()} - {"r-1.lock"}
        whole = {f"{run_id}.steps.jsonl{suffix}" for run_id in ("r-1", "r-2") for suffix in ("", ".sig")}
        temporaries = {n for n in left if n.endswith(".tmp")}
        assert left - temporaries <= whole, case
        assert not temporaries or found == "unsealed", case
    assert {"absent", "torn", "live", "unsealed", "intact"} == set(seen)
    assert len(children) >= 3 * 17


@pytest.mark.slow
def test_every_kind_of_call_was_a_place_to_die(children: list[Child]) -> None:
    died_at = {call for _, call, killed in children if killed}
    assert {"open", "write", "rename", "unlink", "close", "fchmod"} <= died_at
    assert Counter(killed for _, _, killed in children)[False] == 3
