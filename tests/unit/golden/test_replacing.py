"""A recording takes the place of another whole or not at all, whenever whoever does it is killed."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from golden.directory import Directory
from golden.errors import KeyringError, StoreError, TamperedError
from golden.event import Data
from golden.keyring import Keyring
from golden.recording import Recording
from golden.replacing import folder_of, is_broken_off, open_replacement
from golden.store import Store
from golden.verdict import verify
from tests import runs


def events(output: str) -> list[Data]:
    return [runs.start(), runs.step(0, output), runs.end()]


def put(store: Store, output: str) -> None:
    with open_replacement(store, "r-1") as place:
        place.record(events(output))


def output_of(store: Store) -> str:
    with Recording.open(store.file("r-1"), store.read()) as recording:
        return bytes(next(recording.records()).step.output).decode()  # type: ignore[union-attr]


@pytest.fixture(params=[True, False], ids=["ledger", "no ledger"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A golden directory with a ledger or without."""
    return runs.store_in(tmp_path / "golden", ledger=request.param)


def test_what_is_replaced_is_there_until_the_other_is_whole(place: Store) -> None:
    put(place, "one")
    assert output_of(place) == '"one"'
    put(place, "two")
    assert output_of(place) == '"two"'
    assert verify(place.file("r-1").path, place.read()).verdict == "intact"
    assert not (place.directory / folder_of(place.file("r-1"))).exists()
    assert not list(place.directory.glob("*.lock"))


def test_an_earlier_recording_put_back_is_rolled_back(tmp_path: Path) -> None:
    store = runs.store_in(tmp_path / "golden", ledger=True)
    put(store, "one")
    file = store.file("r-1")
    old = file.path.read_bytes(), file.seal_path.read_bytes()
    put(store, "two")
    file.path.write_bytes(old[0])
    file.seal_path.write_bytes(old[1])
    assert verify(file.path, store.read()).verdict == "rolled-back"


def test_what_does_not_verify_is_not_replaced(place: Store) -> None:
    put(place, "one")
    file = place.file("r-1")
    file.path.write_bytes(file.path.read_bytes().replace(b'"one"', b'"two"'))
    before = file.path.read_bytes()
    with pytest.raises(TamperedError, match="r-1 is tampered"):
        put(place, "three")
    assert file.path.read_bytes() == before


def test_without_a_key_nothing_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "golden", Keyring(), ledger=False)
    with pytest.raises(KeyringError), open_replacement(store, "r-1") as place:
        place.record(events("one"))
    assert not (tmp_path / "golden/r-1.steps.jsonl").exists()


def test_a_removed_run_is_gone_and_may_come_again(place: Store) -> None:
    put(place, "one")
    with open_replacement(place, "r-1") as there:
        there.remove("nobody asks for it")
    assert place.stems() == []
    assert place.read().finding is None
    put(place, "two")
    assert output_of(place) == '"two"'


class KilledError(BaseException):
    """What a kill is to the process that it hits."""


@pytest.mark.parametrize("call", ["rename", "unlink", "fsync"])
@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_call_the_old_or_the_new_one_is_there_next_time(
    place: Store, monkeypatch: pytest.MonkeyPatch, call: str, at: int, after: bool
) -> None:
    put(place, "one")
    real: Callable[..., None] = getattr(os, call)
    count = 0

    def killed(*args: object, **kwargs: object) -> None:
        nonlocal count
        if str(args[0]).endswith(".lock"):
            # The system lets go of the locks of whom it kills.
            return real(*args, **kwargs)
        count += 1
        if count == at + 1 and after:
            real(*args, **kwargs)
        if count > at:
            raise KilledError
        return real(*args, **kwargs)

    again = Store(place.folder, runs.keyring(), durability="seal", ledger=place.ledger)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, killed)
        with suppress(KilledError):
            put(again, "two")
    fresh = Store(place.folder, runs.keyring(), durability="never", ledger=place.ledger)
    with open_replacement(fresh, "r-1"):
        pass
    assert output_of(fresh) in {'"one"', '"two"'}
    assert fresh.read().finding is None
    assert not is_broken_off(fresh.file("r-1"))


def test_a_directory_that_cannot_be_written_is_said_in_words(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, "one")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with open_replacement(place, "r-1") as there, monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        with pytest.raises(StoreError, match="cannot be replaced: Permission denied"):
            there.remove("nobody asks for it")


def test_two_runs_are_replaced_at_once(place: Store) -> None:
    second = runs.store_in(place.directory, ledger=place.ledger)
    with open_replacement(place, "r-1") as one, open_replacement(second, "r-2") as other:
        one.record(events("one"))
        other.record(events("other"))
    assert output_of(place) == '"one"'
    assert verify(place.file("r-2").path, place.read()).verdict == "intact"


def test_a_killed_replacement_is_no_finding_of_its_directory(tmp_path: Path) -> None:
    store = runs.store_in(tmp_path / "golden", ledger=True)
    put(store, "one")
    staged = store.directory / folder_of(store.file("r-1"))
    staged.mkdir()
    (staged / "r-1.steps.jsonl").write_bytes(b"half")
    assert verify(store.file("r-1").path, Directory(store.folder, store.keyring)).verdict == "intact"
    with open_replacement(store, "r-1"):
        pass
    assert not staged.exists()
