"""Importing: AOS files recorded anew, everything they say kept, nothing added, and what cannot be kept refused."""

import hashlib
import hmac
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import importing
from golden.canonical import decode, derive_seed, output_hash
from golden.difference import diff
from golden.directory import Directory
from golden.errors import KeyringError, StoreError, TamperedError, UsageError
from golden.event import MAX_HEADER, RunEnd, RunStart, StepData
from golden.importing import Import, Importer
from golden.keyring import Keyring
from golden.recording import Recording
from golden.store import GoldenFile, OpenFile, Store
from golden.verdict import verify
from tests import runs
from tests.runs import AOS_SECRET, FIXTURES
from tests.unit.golden.test_aos_events import Event, end, failed, result, start, step, written

SHELF = FIXTURES / "recordings/aos"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A directory of the AOS system, nothing in it."""
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty golden directory that gets a ledger, as the command's own."""
    return runs.store_in(tmp_path / "golden", ledger=True)


@pytest.fixture
def aos_keyring() -> Keyring:
    """The keyring of `--key`: policy of no key of golden/v1, and the secret of the AOS system."""
    return Keyring.of([], lambda _: None, aos_secret=AOS_SECRET)


def put(folder: Path, *events: Event | bytes, run_id: str = "r-1", secret: bytes = AOS_SECRET) -> GoldenFile:
    """Write a file as the AOS system does, and sign it."""
    data = written(*events)
    file = GoldenFile(folder, run_id)
    file.path.write_bytes(data)
    file.seal_path.write_text(hmac.digest(secret, data, "sha256").hex())
    return file


def done(file: GoldenFile, keyring: Keyring, store: Store, **options: Any) -> Import:
    found = Importer(file.folder, keyring, store, **options).bring(file.stem)
    assert found is not None
    assert (found.outcome == "refused") == (found.problem is not None) == (found.hint is not None)
    return found


def content(store: Store, run_id: str = "r-1") -> tuple[RunStart, list[StepData], RunEnd]:
    with runs.opened(store.file(run_id)) as recording:
        first, *steps, last = [event.data for event in recording.events()]
    assert isinstance(first, RunStart)
    assert isinstance(last, RunEnd)
    return first, [data for data in steps if isinstance(data, StepData)], last


def test_every_file_of_the_aos_system_is_imported_or_refused_by_name(
    tmp_path: Path, aos_keyring: Keyring, store: Store
) -> None:
    shutil.copytree(SHELF, tmp_path / "old")
    expected = json.loads((SHELF / "expect.json").read_text())
    for name, told in expected.items():
        found = done(GoldenFile(tmp_path / "old", name), aos_keyring, store)
        assert (found.run_id, found.verdict) == (name, told["verdict"])
        assert found.outcome == ("imported" if told["verdict"] == "intact" else "refused")
        assert found.existing is None
    good = [name for name, told in expected.items() if told["verdict"] == "intact"]
    assert store.stems() == good == ["failed-1", "good-1", "good-2"]
    for name in good:
        assert verify(store.file(name).place, store.keyring).verdict == "intact"


def test_what_an_aos_file_says_stands_in_the_recording(tmp_path: Path, aos_keyring: Keyring, store: Store) -> None:
    shutil.copytree(SHELF, tmp_path / "old")
    source = GoldenFile(tmp_path / "old", "failed-1")
    found = done(source, aos_keyring, store)
    first, steps, last = content(store, "failed-1")
    theirs = [json.loads(line) for line in source.path.read_bytes().splitlines()]
    assert (found.events, found.sha256) == (len(theirs), hashlib.sha256(source.path.read_bytes()).hexdigest())
    assert msgspec.to_builtins(first.origin) == {"format": "aos", "sha256": found.sha256}
    assert (decode(first.spec), first.spec_hash, first.spec_id) == (None, None, "survey")
    assert (first.seed, first.seed_scheme) == (4244, "aos-v1")
    assert msgspec.to_builtins(first.budget_snapshot) == theirs[0]["data"]["budget_snapshot"]
    for ours, event in zip(steps, theirs[1:-1], strict=True):
        data = event["data"]
        for name in ("index", "step_id", "skill_id", "seed", "success"):
            assert getattr(ours, name) == data[name]
        assert (decode(ours.inputs), decode(ours.output)) == (data["inputs"], data["output"]["output"])
        assert ours.origin_output_hash == data["output_hash"]
        assert ours.input_hash == output_hash(data["inputs"])
        assert ours.output_hash == (output_hash(data["output"]["output"]) if data["success"] else None)
        assert ours.seed == derive_seed(4244, ours.index)
    assert msgspec.to_builtins(steps[-1].error) == {
        "code": "STEP_FAILED",
        "location": None,
        "message": "upstream said no",
        "type": "",
    }
    assert (steps[-1].error_code, steps[-1].recovery_hint) == ("STEP_FAILED", "Check step inputs and skill behavior")
    assert (last.status, last.steps_completed, last.steps_total, last.total_cost_cents) == ("failed", 2, 3, 0)
    with runs.opened(store.file("failed-1")) as recording:
        times = [event.timestamp for event in recording.events()]
    assert times == [event["timestamp"].replace("+00:00", "Z") for event in theirs]


def test_costs_retries_and_times_are_carried_over(old: Path, aos_keyring: Keyring, store: Store) -> None:
    second = step(result(step_id="rate", retries=2, duration_ms=0.5), index=1, step_id="rate")
    done(put(old, start(), step(), second, end()), aos_keyring, store)
    _, (one, other), last = content(store)
    assert [len(data.attempts) for data in (one, other)] == [1, 3]
    assert all(attempt == other.attempts[0] for attempt in other.attempts)
    assert [data.budget_snapshot.accumulated_cost_cents for data in (one, other)] == [8, 11]
    assert (one.cost_cents, last.total_cost_cents) == (3, 6)
    assert last.result_hash == output_hash({"pick": one.output_hash, "rate": other.output_hash})
    with runs.opened(store.file("r-1")) as recording:
        events = list(recording.events())
    assert [event.timestamp[11:] for event in events][::3] == ["00:00:00.250000Z", "00:00:02.000000Z"]
    assert [event.timing and event.timing.duration_us for event in events] == [None, 7000, 500, None]


def test_what_an_aos_file_does_not_say_is_neutral(old: Path, aos_keyring: Keyring, store: Store) -> None:
    bare = start()
    bare["data"] = {"seed": 42}
    raw = step({"raw": "text"})
    for name in ("inputs", "output_hash", "seed"):
        del raw["data"][name]
    broken = failed({}, index=1, step_id="rate")
    broken["data"]["output"] = {"step_id": "rate", "success": False, "output": None}
    done(put(old, bare, raw, broken, end("failed")), aos_keyring, store)
    first, (one, other), last = content(store)
    assert set(msgspec.to_builtins(first.budget_snapshot).values()) == {0, ""}
    assert (first.spec_id, decode(first.inputs), first.policy, first.volatile, first.redacted) == (None, {}, {}, [], [])
    assert (decode(one.output), decode(one.inputs), one.skill_version) == ({"raw": "text"}, {}, "")
    assert one.seed == derive_seed(42, 0)
    assert not one.origin_output_hash
    assert (one.cost_cents, len(one.attempts)) == (0, 1)
    assert msgspec.to_builtins(other.error) == {"code": "", "location": None, "message": "", "type": ""}
    assert (other.error_code, other.recovery_hint, decode(other.output), other.output_hash) == ("", "", None, None)
    assert (last.steps_completed, last.steps_total) == (1, 2)


def test_an_error_may_be_text(old: Path, aos_keyring: Keyring, store: Store) -> None:
    done(put(old, start(), failed({"error": "it broke"}, error_code="E"), end("failed")), aos_keyring, store)
    _, (data,), _ = content(store)
    assert data.error
    assert (data.error.code, data.error.message) == ("E", "it broke")


def test_two_imports_are_compared_step_by_step(tmp_path: Path, aos_keyring: Keyring, store: Store) -> None:
    for name in ("good-1", "good-2"):
        done(GoldenFile(SHELF, name), aos_keyring, store)
    with runs.opened(store.file("good-1")) as one, runs.opened(store.file("good-2")) as other:
        found = {(d.step_id, d.path.split("/")[1]) for d in diff(one, other)}
        assert not list(diff(one, one))
    assert found == {(None, "seed"), ("pick", "output"), ("rate", "output"), (None, "result_hash")}


def test_what_golden_v1_cannot_carry_is_refused_and_nothing_recorded(
    old: Path, aos_keyring: Keyring, store: Store
) -> None:
    file = put(old, start(), step(seed=float("inf")), end())
    found = done(file, aos_keyring, store)
    assert (found.outcome, found.verdict, found.existing) == ("refused", "intact", None)
    assert (found.problem or "").startswith('line 2: number at "/data/seed" is inf')
    assert found.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert not store.directory.exists()


def cut(file: GoldenFile) -> None:
    os.truncate(file.place, 100)


def stranger(file: GoldenFile) -> None:
    put(Path(file.folder), start(), end(), secret=b"another")


def renamed(file: GoldenFile) -> None:
    file.path.write_bytes(file.path.read_bytes().replace(b"r-1", b"r-2"))
    file.seal_path.write_text(hmac.digest(AOS_SECRET, file.path.read_bytes(), "sha256").hex())


def linked(file: GoldenFile) -> None:
    file.path.rename(Path(file.folder) / "elsewhere")
    file.path.symlink_to("elsewhere")


def planted(file: GoldenFile) -> None:
    (Path(file.folder) / "ledger.jsonl").touch()


def enlarged(file: GoldenFile) -> None:
    os.truncate(file.place, MAX_HEADER + 1)


DAMAGE: list[tuple[Callable[[GoldenFile], object], set[str]]] = [
    (cut, {"tampered"}),
    (stranger, {"tampered"}),
    (renamed, {"wrong-run"}),
    (linked, {"unreadable"}),
    (enlarged, {"unreadable"}),
    (planted, {"unlisted", "unreadable"}),
    (lambda file: file.seal_path.unlink(), {"unsigned"}),
    (lambda file: file.path.unlink(), {"missing"}),
    (lambda file: file.path.write_bytes(b""), {"tampered"}),
    (lambda file: file.path.write_bytes(b'{"golden":1}\n'), {"tampered"}),
]


@pytest.mark.parametrize("damage, verdicts", DAMAGE)
def test_what_does_not_verify_is_refused_with_its_verdict(
    old: Path, aos_keyring: Keyring, store: Store, damage: Callable[[GoldenFile], object], verdicts: set[str]
) -> None:
    file = put(old, start(), step(), end())
    damage(file)
    found = done(file, aos_keyring, store)
    assert found.outcome == "refused"
    assert found.verdict in verdicts
    assert not store.directory.exists()


def test_without_a_secret_nothing_is_imported(old: Path, store: Store) -> None:
    found = done(put(old, start(), end()), Keyring(), store)
    assert (found.outcome, found.verdict) == ("refused", "unknown-key")
    assert "--key" in (found.hint or "")


def test_a_file_too_large_is_not_read(
    old: Path, aos_keyring: Keyring, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(old, start(), end())
    os.truncate(file.place, MAX_HEADER + 1)
    monkeypatch.setattr(importing, "verify", None)
    assert done(file, aos_keyring, store).verdict == "unreadable"


def test_bytes_that_change_after_the_verdict_are_not_parsed(
    old: Path, aos_keyring: Keyring, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(old, start(), end())

    def judge(place: str, source: Directory) -> object:
        verdict = verify(place, source)
        file.path.write_bytes(file.path.read_bytes().replace(b"completed", b"cancelled"))
        return verdict

    monkeypatch.setattr(importing, "verify", judge)
    found = done(file, aos_keyring, store)
    assert (found.outcome, found.verdict, found.problem) == ("refused", "tampered", "it changed while it was read")


def test_a_file_that_goes_away_after_the_verdict_is_refused(
    old: Path, aos_keyring: Keyring, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(old, start(), end())

    def judge(place: str, source: Directory) -> object:
        verdict = verify(place, source)
        file.path.unlink()
        return verdict

    monkeypatch.setattr(importing, "verify", judge)
    assert done(file, aos_keyring, store).verdict == "unreadable"


def test_a_file_that_is_not_there_is_refused(old: Path, aos_keyring: Keyring, store: Store) -> None:
    assert done(GoldenFile(old, "r-1"), aos_keyring, store).verdict == "unreadable"


def test_an_intact_file_of_golden_v1_is_none_to_import(store: Store, run: GoldenFile, tmp_path: Path) -> None:
    assert Importer(run.folder, store.keyring, runs.store_in(tmp_path / "other")).bring("r-1") is None
    assert not (tmp_path / "other").exists()


def test_importing_again_finds_it_there(old: Path, aos_keyring: Keyring, store: Store) -> None:
    file = put(old, start(), step(), end())
    assert done(file, aos_keyring, store).outcome == "imported"
    before = store.file("r-1").path.read_bytes()
    again = done(file, aos_keyring, store)
    assert (again.outcome, again.existing, again.events) == ("already", None, 3)
    assert store.file("r-1").path.read_bytes() == before


def test_a_run_id_taken_by_another_recording_is_refused(old: Path, aos_keyring: Keyring, store: Store) -> None:
    done(put(old, start(), step(), end()), aos_keyring, store)
    found = done(put(old, start(), end()), aos_keyring, store)
    assert (found.outcome, found.existing) == ("refused", "intact")
    assert found.problem == "run r-1 is an import of another file"
    runs.record(store, "r-2", [runs.start(), runs.end()])
    named = [{**event, "run_id": "r-2"} for event in (start(), end())]
    found = done(put(old, *named, run_id="r-2"), aos_keyring, store)
    assert (found.problem, found.existing) == ("run r-2 is there and is no import", "intact")


def test_a_tampered_import_is_not_taken_for_one(old: Path, aos_keyring: Keyring, store: Store) -> None:
    file = put(old, start(), step(), end())
    done(file, aos_keyring, store)
    path = store.file("r-1").path
    path.write_bytes(path.read_bytes().replace(b'"n":1.0', b'"n":2.0'))
    assert done(file, aos_keyring, store).existing == "tampered"
    path.unlink()
    assert done(file, aos_keyring, store).existing == "missing"
    # Now the ledger alone knows of it.
    store.file("r-1").seal_path.unlink()
    found = done(file, aos_keyring, store)
    assert (found.outcome, found.verdict, found.existing) == ("refused", "intact", "missing")
    assert store.stems() == []


def test_a_ledger_that_is_not_good_takes_nothing(old: Path, aos_keyring: Keyring, store: Store) -> None:
    done(put(old, start(), end()), aos_keyring, store)
    ledger = store.directory / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"r-1"', b'"r-2"'))
    # As the next command reads it: a store at work reads no line of its ledger twice.
    with pytest.raises(TamperedError):
        done(put(old, start(), end()), aos_keyring, runs.store_in(store.directory, ledger=True))


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_directory_of_runs_without_a_ledger_takes_nothing(
    old: Path, aos_keyring: Keyring, store: Store, dry_run: bool
) -> None:
    bare = Store(store.directory, store.keyring, durability="never", ledger=False)
    runs.record(bare, "r-0", [runs.start(), runs.end()])
    with pytest.raises(UsageError):
        done(put(old, start(), end()), aos_keyring, store, dry_run=dry_run)
    assert store.stems() == ["r-0"]


@pytest.mark.parametrize("writes", range(3))
def test_an_import_that_broke_off_is_named_by_the_next(
    old: Path, aos_keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    store = Store(tmp_path / "golden", runs.keyring(), durability="never", ledger=False)
    file = put(old, start(), step(), end())
    append = OpenFile.append
    count = 0

    def full(self: OpenFile, line: bytes) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise OSError(28, "No space left on device")
        append(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(OpenFile, "append", full)
        with pytest.raises(StoreError, match="No space left") as refusal:
            done(file, aos_keyring, store)
        assert refusal.value.hint == "free the disk, then golden quarantine r-1, and import again"
    found = done(file, aos_keyring, store)
    if writes == 0:
        assert found.outcome == "imported"
        return
    assert (found.outcome, found.verdict, found.existing) == ("refused", "intact", "live")
    assert found.hint == "if an import was killed here: golden quarantine r-1, then import again"
    store.file("r-1").path.unlink()
    assert done(file, aos_keyring, store).outcome == "imported"


def test_a_run_begun_by_somebody_else_meanwhile_is_refused(
    old: Path, aos_keyring: Keyring, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(old, start(), end())
    done(file, aos_keyring, store)
    monkeypatch.setattr(Importer, "_taken", lambda *_: None)
    found = done(file, aos_keyring, store)
    assert (found.outcome, found.existing) == ("refused", None)
    assert found.problem == "run r-1 exists"


def test_a_store_that_takes_no_run_is_an_error(
    old: Path, aos_keyring: Keyring, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store) -> object:
        raise UsageError("not here", hint="elsewhere")

    monkeypatch.setattr(Store, "prepare", refuse)
    with pytest.raises(UsageError, match="not here"):
        done(put(old, start(), end()), aos_keyring, store)


def test_a_store_without_a_key_is_an_error(old: Path, aos_keyring: Keyring, tmp_path: Path) -> None:
    with pytest.raises(KeyringError):
        done(put(old, start(), end()), aos_keyring, Store(tmp_path / "new", Keyring()))


def test_a_dry_run_writes_nothing_and_says_what_would_come(old: Path, aos_keyring: Keyring, store: Store) -> None:
    file = put(old, start(), step(), end())
    told = done(file, aos_keyring, store, dry_run=True)
    assert not store.directory.exists()
    assert done(file, aos_keyring, store) == told
    assert done(file, aos_keyring, store, dry_run=True).outcome == "already"


SPOILT: list[Any] = [
    None,
    True,
    -1,
    10**30,
    0.5,
    -0.0,
    1e308,
    "",
    "\x00",
    "x" * 300,
    [],
    [[]],
    {},
    {"": None},
    {"code": 1},
]


def test_whatever_a_file_says_it_is_imported_whole_or_refused(old: Path, aos_keyring: Keyring, tmp_path: Path) -> None:
    rng = random.Random(20260101)
    outcomes = set()
    for number in range(400):
        events = json.loads(json.dumps([start(), step(), failed({"error": {"code": "E"}}, index=1), end()]))
        events[2]["data"]["step_id"] = events[2]["data"]["output"]["step_id"] = "rate"
        target = rng.choice(events)
        for _ in range(rng.randrange(4)):
            inner = [value for value in target.values() if isinstance(value, dict) and value]
            target = rng.choice(inner) if inner else target
        target[rng.choice([*target, "more"])] = rng.choice(SPOILT)
        store = runs.store_in(tmp_path / f"{number}")
        found = done(put(old, *events), aos_keyring, store)
        outcomes.add(found.outcome)
        if found.outcome == "imported":
            # Every event is read back through the strict forms of the format.
            with Recording.open(store.file("r-1"), store.keyring) as recording:
                assert len(list(recording.events())) == 4
        else:
            assert not store.directory.exists()
    assert outcomes == {"imported", "refused"}
