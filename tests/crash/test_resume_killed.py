"""Killed at any system call while it goes on with a run, a recorder leaves a run to go on with, and nothing worse."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from golden.directory import Directory
from golden.ledger import Open, Sealed
from golden.recording import Record, Recording
from golden.store import Store
from golden.verdict import verify
from tests import independent_verifier, runs
from tests.crash.killed_resumer import EVENTS, NEW, STORIES, store_in
from tests.runs import ACTIVE, RETIRED, ROOT, said


def says(store: Store, run_id: str) -> list[object]:
    """Return what a recording says, in the order of its steps."""
    with Recording.open(store.file(run_id), store.read()) as recording:
        return [
            (item.step.index, bytes(item.step.output), [(x.call, bytes(x.result)) for x in item.effects])
            if isinstance(item, Record)
            else item
            for item in recording.records()
        ]


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_who_goes_on_with_a_run_may_be_killed_at_any_call(tmp_path: Path, story: str) -> None:
    command = [sys.executable, "-m", "tests.crash.killed_resumer", str(tmp_path), story]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    children = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    seen: Counter[str] = Counter()
    for name, killed in children:
        store = store_in(tmp_path / name)
        file = store.file("r-1")
        count = STORIES[story][0]
        whole = b"".join(file.path.read_bytes().splitlines(keepends=True)[:count])

        # What stood there stands there, what was added is good, and the verdict is the honest one.
        found = verify(file.path, store.read())
        seen[found.verdict] += 1
        assert found.verdict in {"live", "torn", "unsealed", "intact"}, name
        assert found.verdict == "intact" or killed, name
        assert independent_verifier.verdict(file.path, [ACTIVE, RETIRED]) == found.verdict, name
        assert verify(store.file("r-0").path, store.read()).verdict == "intact", name

        # Whoever comes next goes on with it, and it ends as the same run.
        if found.verdict != "intact":
            runs.go_on(store, "r-1", EVENTS)
        assert file.path.read_bytes().startswith(whole), name
        found = verify(file.path, store.read())
        assert (found.verdict, found.kid) == ("intact", runs.HmacKey(ACTIVE).kid), name
        assert says(store, "r-1") == says(store, "r-0"), name
        assert independent_verifier.verdict(file.path, [ACTIVE, RETIRED]) == "intact", name

        # The ledger has heard of its beginning once, and of its end once the next writer has come by.
        runs.record(store, "r-2", EVENTS)
        of_run = [type(line) for line in said(store.directory) if getattr(line, "run_id", "") == "r-1"]
        expected = [Open, Sealed]
        note = "does not know that the run ended"
        if story.endswith("replaced") and not killed_before_the_line(found.notes, note):
            expected = [Open]
        assert of_run == expected, name
        directory = Directory(store.folder, NEW)
        assert directory.finding is None, name
        left = {path.name for path in store.directory.iterdir()} - {"r-1.lock", "ledger.lock", "ledger.jsonl"}
        assert left == {f"r-{n}.steps.jsonl{suffix}" for n in range(3) for suffix in ("", ".sig")}, name
    assert {"live", "intact"} <= set(seen) or story == "after its last line"
    assert len(children) > 3 * 8


def killed_before_the_line(notes: tuple[str, ...], note: str) -> bool:
    """Whether the ledger was told; where a replaced key began the run, nobody tells it later."""
    return not any(note in text for text in notes)
