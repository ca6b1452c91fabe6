"""Killed at any system call while it goes on with a run, a recorder leaves a run to go on with, and nothing worse."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from golden.directory import Directory
from golden.errors import StoreError
from golden.keyring import HmacKey
from golden.ledger import Open, Sealed
from golden.recording import Record, Recording
from golden.store import Store
from golden.verdict import verify
from tests import independent_verifier, runs
from tests.crash.killed_resumer import EVENTS, NEW, STORIES, break_off, store_in
from tests.crash.layer import CALLS, Layer
from tests.runs import ACTIVE, RETIRED, ROOT, said

# What a call fails with on a real disk, one after the other.
FAULTS = ("ENOSPC", "EIO")


def says(store: Store, run_id: str) -> list[object]:
    """Return what a recording says, in the order of its steps."""
    with Recording.open(store.file(run_id), store.read()) as recording:
        return [
            (item.step.index, bytes(item.step.output), [(x.call, bytes(x.result)) for x in item.effects])
            if isinstance(item, Record)
            else item
            for item in recording.records()
        ]


def settle(store: Store, story: str, whole: bytes, case: str) -> None:
    """Go on with what was left, and fail where it is not the same run then, or anything is left over."""
    file = store.file("r-1")
    if verify(file.path, store.read()).verdict != "intact":
        runs.go_on(store, "r-1", EVENTS)
    found = verify(file.path, store.read())
    assert file.path.read_bytes().startswith(whole), case
    assert (found.verdict, found.kid) == ("intact", HmacKey(ACTIVE).kid), case
    assert says(store, "r-1") == says(store, "r-0"), case
    assert independent_verifier.verdict(file.path, [ACTIVE, RETIRED]) == "intact", case

    # The ledger has heard of its beginning once, and of its end at the latest once the next writer has come by; of a
    # run that a replaced key began nobody tells it then.
    untold = any("does not know that the run ended" in note for note in found.notes)
    runs.record(store, "r-2", EVENTS)
    of_run = [type(line) for line in said(store.directory) if getattr(line, "run_id", "") == "r-1"]
    assert of_run == ([Open] if untold and STORIES[story][2] is not NEW else [Open, Sealed]), case
    assert Directory(store.folder, NEW).finding is None, case
    left = {path.name for path in store.directory.iterdir()} - {"r-1.lock", "ledger.lock", "ledger.jsonl"}
    assert left == {f"r-{n}.steps.jsonl{suffix}" for n in range(3) for suffix in ("", ".sig")}, case


def whole_lines(store: Store, story: str) -> bytes:
    """Return the good lines that the dead recorder left."""
    return b"".join(store.file("r-1").path.read_bytes().splitlines(keepends=True)[: STORIES[story][0]])


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
        whole = whole_lines(store, story)
        found = verify(store.file("r-1").path, store.read())
        seen[found.verdict] += 1
        assert found.verdict in {"live", "torn", "unsealed", "intact"}, name
        assert found.verdict == "intact" or killed, name
        assert independent_verifier.verdict(store.file("r-1").path, [ACTIVE, RETIRED]) == found.verdict, name
        assert verify(store.file("r-0").path, store.read()).verdict == "intact", name
        settle(store, story, whole, name)
    assert {"unsealed", "intact"} <= set(seen)
    assert "live" in seen or story == "after its last line"
    assert Counter(killed for _, killed in children)[False] == 3
    assert len(children) > 3 * 8


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("story", STORIES)
def test_a_disk_that_fails_at_any_call_is_named_and_the_run_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: str, fault: str
) -> None:
    hints: list[str] = []
    n = 0
    while True:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        break_off(folder, story)
        store = store_in(folder)
        whole = whole_lines(store, story)
        layer = Layer(fault, n)
        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, layer.guarded(name, layer.real[name]))
            try:
                runs.go_on(store, "r-1", EVENTS)
            except StoreError as error:
                hints.append(error.hint)
        # Of a lock that cannot be taken away nobody hears; it keeps nobody out.
        settle(store_in(folder), story, whole, f"{n}")
        if layer.count < n:
            break
    assert len(hints) > 8
    assert all(hints)
