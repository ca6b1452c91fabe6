"""Compat: the runbook's four calls, by name, over files of either format."""

import hmac
import shutil
from pathlib import Path

import pytest

from golden import GoldenRecorder
from golden.errors import GoldenError, KeyringError, StoreError, TamperedError, UsageError
from golden.keyring import Keyring
from golden.store import GoldenFile, Store
from tests import runs
from tests.runs import ACTIVE, AOS_SECRET, FIXTURES, STRANGER


@pytest.fixture
def aos(tmp_path: Path) -> GoldenRecorder:
    """The calls over copies of files of the AOS system."""
    for path in (FIXTURES / "recordings/aos").glob("*.steps.jsonl*"):
        shutil.copy(path, tmp_path)
    return GoldenRecorder(tmp_path, secret=AOS_SECRET.decode())


@pytest.fixture
def ours(store: Store, run: GoldenFile) -> GoldenRecorder:
    """The calls over a directory that holds the run r-1."""
    return GoldenRecorder(store.directory, secret=f"{ACTIVE.decode()}\n")


def test_a_file_of_either_format_verifies_by_name(ours: GoldenRecorder, aos: GoldenRecorder) -> None:
    assert ours.verify_golden("r-1.steps.jsonl")
    assert aos.verify_golden("good-1.steps.jsonl")
    assert not aos.verify_golden("tampered-1.steps.jsonl")
    assert not aos.verify_golden("unsigned-1.steps.jsonl")


def test_a_signature_is_the_one_that_stands_there(ours: GoldenRecorder, aos: GoldenRecorder, run: GoldenFile) -> None:
    assert ours.sign_golden("r-1.steps.jsonl") in run.seal_path.read_text()
    seal = Path(aos.folder) / "good-1.steps.jsonl.sig"
    assert aos.sign_golden("good-1.steps.jsonl") == seal.read_text()


def test_nothing_unverified_is_signed_or_loaded(ours: GoldenRecorder, aos: GoldenRecorder, run: GoldenFile) -> None:
    refusals: list[tuple[GoldenRecorder, str, type[GoldenError]]] = [
        (aos, "tampered-1.steps.jsonl", TamperedError),
        (aos, "unsigned-1.steps.jsonl", StoreError),
        (aos, "absent.steps.jsonl", StoreError),
        (GoldenRecorder(ours.folder, secret=STRANGER.decode()), "r-1.steps.jsonl", KeyringError),
    ]
    for recorder, name, error in refusals:
        before = sorted(p.name for p in Path(recorder.folder).iterdir())
        for call in (recorder.sign_golden, recorder.load_golden):
            with pytest.raises(error):
                call(name)
        assert sorted(p.name for p in Path(recorder.folder).iterdir()) == before


def test_events_are_loaded_with_the_names_of_old(ours: GoldenRecorder, aos: GoldenRecorder) -> None:
    for events in (ours.load_golden("r-1.steps.jsonl"), aos.load_golden("good-1.steps.jsonl")):
        assert events[0]["event_type"] == "run_start"
        for event in events:
            assert {"event_type", "run_id", "timestamp", "data"} <= event.keys()
            assert "mac" not in event
    assert ours.load_golden("r-1.steps.jsonl")[0]["data"]["inputs"] == {"city": "Seattle"}


def test_two_runs_of_one_course_match(ours: GoldenRecorder, store: Store) -> None:
    runs.record(store, "r-2", [runs.start(), runs.step(0, 1), runs.end()])
    runs.record(store, "r-3", [runs.start(), runs.step(0, 1), runs.end()])
    same = ours.compare_golden("r-2.steps.jsonl", "r-3.steps.jsonl")
    assert same == {"match": True, "diffs": []}
    timed = ours.compare_golden("r-2.steps.jsonl", "r-3.steps.jsonl", ignore_timestamps=False)
    assert {d["path"] for d in timed["diffs"]} == {"/timestamp"}


def test_a_changed_output_is_an_event_mismatch_actual_first_in_the_call(ours: GoldenRecorder, store: Store) -> None:
    runs.record(store, "r-2", [runs.start(), runs.step(0, 1), runs.end()])
    runs.record(store, "r-3", [runs.start(), runs.step(0, 2), runs.step(1, 3), runs.end()])
    found = ours.compare_golden(actual="r-3.steps.jsonl", expected="r-2.steps.jsonl")
    assert not found["match"]
    assert found["diffs"][0] == {"type": "event_count_mismatch", "path": "", "actual": 4, "expected": 3}
    by_path = {d["path"]: (d["type"], d["expected"], d["actual"]) for d in found["diffs"][1:]}
    assert by_path["/output"] == ("event_mismatch", 1, 2)


def test_two_files_of_the_aos_system_are_compared_event_by_event(aos: GoldenRecorder) -> None:
    assert aos.compare_golden("good-1.steps.jsonl", "good-1.steps.jsonl")["match"]
    found = aos.compare_golden("good-2.steps.jsonl", "good-1.steps.jsonl")
    assert not found["match"]
    assert {d["type"] for d in found["diffs"]} <= {"event_mismatch", "event_count_mismatch"}


def test_two_formats_are_not_compared(tmp_path: Path, aos: GoldenRecorder) -> None:
    secret = b"one secret, long enough for either format"
    store = Store(tmp_path / "ours", Keyring(secret), durability="never")
    runs.record(store, "r-1", [runs.start(), runs.end()])
    path = tmp_path / "good-1.steps.jsonl"
    signature = hmac.digest(secret, path.read_bytes(), "sha256").hex()
    path.with_name(f"{path.name}.sig").write_text(signature)
    both = GoldenRecorder(tmp_path, secret=secret.decode())
    with pytest.raises(UsageError, match="two formats"):
        both.compare_golden("good-1.steps.jsonl", "ours/r-1.steps.jsonl")
