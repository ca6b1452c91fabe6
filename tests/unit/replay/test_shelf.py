"""Golden values of modules: each under a name of its own, verified before they are read, kept beside each other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.canonical import canonical_bytes
from golden.errors import FormatError, KeyringError, TamperedError, UsageError
from golden.keyring import Keyring
from golden.store import Store, is_run_id
from golden.verdict import verify
from replay.shelf import CHECKS, SNAPSHOTS, Shelf, Value, checked_size, run_id_of, volatile_of

MODULE = "tests/test_api.py"
RUN = "tests.test_api"


def value(of: object, test: str = "test_a", volatile: tuple[str, ...] = ()) -> Value:
    return Value(canonical_bytes(of).decode(), test, volatile)


@pytest.fixture
def shelf(store: Store) -> Shelf:
    return Shelf(store)


def test_what_is_kept_is_found_and_beside_it_what_was_there(shelf: Shelf) -> None:
    assert shelf.leaf(RUN) is None
    shelf.rewrite(RUN, MODULE, CHECKS, {"b": value([1]), "a": value({"x": 1})})
    shelf.rewrite(RUN, MODULE, CHECKS, {"c": value("new"), "a": value({"x": 2})})
    leaf = shelf.leaf(RUN)
    assert leaf is not None
    assert list(leaf.kept) == ["a", "b", "c"]
    assert [shelf.value(RUN, name) for name in leaf.kept] == [{"x": 2}, [1], "new"]
    assert (leaf.module, leaf.kind) == (MODULE, CHECKS)
    assert verify(shelf.store.file(RUN).path, shelf.store.read()).verdict == "intact"


def test_what_is_gone_is_gone_and_with_the_last_one_the_file(shelf: Shelf) -> None:
    shelf.rewrite(RUN, MODULE, CHECKS, {"a": value(1), "b": value(2)})
    shelf.rewrite(RUN, MODULE, CHECKS, {}, ["a"])
    leaf = shelf.leaf(RUN)
    assert leaf is not None
    assert list(leaf.kept) == ["b"]
    shelf.rewrite(RUN, MODULE, CHECKS, {}, ["b"])
    assert shelf.leaf(RUN) is None
    assert shelf.run_ids() == []


def test_a_value_that_was_changed_in_the_file_is_never_read(shelf: Shelf) -> None:
    shelf.rewrite(RUN, MODULE, CHECKS, {"a": value("one")})
    path = shelf.store.file(RUN).path
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"two"'))
    with pytest.raises(TamperedError, match=f"{RUN} is tampered"):
        Shelf(shelf.store).leaf(RUN)
    with pytest.raises(TamperedError):
        shelf.rewrite(RUN, MODULE, CHECKS, {"b": value(1)})


def test_a_file_that_is_replaced_while_it_is_in_use_is_not_mixed_with_the_other(shelf: Shelf) -> None:
    shelf.rewrite(RUN, MODULE, CHECKS, {"a": value("one")})
    shelf.leaf(RUN)
    shelf.close()
    Shelf(shelf.store).rewrite(RUN, MODULE, CHECKS, {"a": value("two")})
    with pytest.raises(TamperedError, match="changed while it was in use"):
        shelf.value(RUN, "a")


def test_volatile_places_do_not_enter_the_hash_of_a_value(shelf: Shelf) -> None:
    places = ("/at", "/rows/*/id")
    for at, number in ((1, 2), (3, 4)):
        data = {"at": at, "rows": [{"id": number, "n": 1}]}
        shelf.rewrite(RUN, MODULE, CHECKS, {f"a{at}": value(data, volatile=places)})
    leaf = shelf.leaf(RUN)
    assert leaf is not None
    assert leaf.kept["a1"].output_hash == leaf.kept["a3"].output_hash
    assert leaf.kept["a1"].volatile == places


def test_without_the_key_values_are_not_read_and_none_are_written(shelf: Shelf, tmp_path: Path) -> None:
    shelf.rewrite(RUN, MODULE, CHECKS, {"a": value(1)})
    stranger = Shelf(Store(shelf.store.folder, Keyring(), ledger=False))
    with pytest.raises(KeyringError) as refused:
        stranger.leaf(RUN)
    assert refused.value.verdict == "unknown-key"
    with pytest.raises(KeyringError, match="no key to sign with"):
        Shelf(Store(tmp_path / "other", Keyring(), ledger=False)).rewrite(RUN, MODULE, CHECKS, {"a": value(1)})
    assert not (tmp_path / "other").exists()


def test_another_modules_values_are_not_taken_for_ones_own(shelf: Shelf) -> None:
    shelf.rewrite(RUN, MODULE, CHECKS, {"a": value(1)})
    with pytest.raises(UsageError, match=r"holds the golden values of tests/test_api\.py, not of other/test_api\.py"):
        shelf.rewrite(RUN, "other/test_api.py", CHECKS, {"a": value(2)})


segment = st.text(st.sampled_from("ab._- é"), min_size=1, max_size=6)
modules = st.lists(segment, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".py")


@given(st.lists(modules, min_size=2, max_size=2, unique=True), st.sampled_from([CHECKS, SNAPSHOTS]))
def test_each_module_has_a_run_id_of_its_own(both: list[str], kind: str) -> None:
    one, other = (run_id_of(module, kind) for module in both)
    assert one != other
    assert is_run_id(one)


@pytest.mark.parametrize("module", ["ledger.py", "rotate.py", "a.b/test.py", "../test.py", "x" * 300 + ".py", "é.py"])
def test_a_path_that_is_no_run_id_has_its_hash_beside_it(module: str) -> None:
    run_id = run_id_of(module, CHECKS)
    assert is_run_id(run_id)
    assert run_id not in {"ledger", "rotate"}
    assert run_id[-13] == "-"


def test_what_is_no_pointer_is_no_volatile_place() -> None:
    with pytest.raises(FormatError, match="volatile path 'at' is no JSON Pointer below the value"):
        volatile_of("test_a", ["at"])


def test_a_value_that_no_line_could_hold_is_refused_at_once() -> None:
    with pytest.raises(FormatError, match="at most 16320 KiB are kept"):
        checked_size(b"x" * (16 << 20))
