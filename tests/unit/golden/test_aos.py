"""AOS: files of the older system are told apart, judged with one secret, and stay out of our directories."""

import hashlib
import hmac
import os
import shutil
from pathlib import Path

import pytest

from golden.aos import aos_mac, is_aos_header, is_aos_seal, is_v1_directory, same_mac
from golden.keyring import Keyring
from golden.store import GoldenFile, Store
from golden.verdict import verify
from tests.runs import AOS_SECRET, FIXTURES

SHELF = FIXTURES / "recordings/aos"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with copies of the files of the older system."""
    for path in SHELF.glob("*.steps.jsonl*"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name, verdict",
    [
        ("good-1", "intact"),
        ("good-2", "intact"),
        ("failed-1", "intact"),
        ("tampered-1", "tampered"),
        ("unsigned-1", "unsigned"),
    ],
)
def test_files_of_the_older_system_have_their_verdicts(folder: Path, name: str, verdict: str) -> None:
    found = verify(folder / f"{name}.steps.jsonl", Keyring(AOS_SECRET))
    assert (found.verdict, found.kid) == (verdict, None)
    if verdict == "intact":
        assert found.events == (folder / f"{name}.steps.jsonl").read_bytes().count(b"\n")


def test_another_secret_cannot_be_told_from_a_change(folder: Path) -> None:
    found = verify(folder / "good-1.steps.jsonl", Keyring(b"another"))
    assert found.verdict == "tampered"
    assert "another secret" in (found.problem or "")


def test_a_secret_of_any_length_but_none_verifies(folder: Path) -> None:
    path = folder / "good-1.steps.jsonl"
    sealed = hmac.digest(b"x", path.read_bytes(), "sha256").hex()
    path.with_name(f"{path.name}.sig").write_text(sealed)
    assert verify(path, Keyring(b"x")).verdict == "intact"
    for ring in (Keyring(), Keyring(None, [b"x"]), Keyring(b"")):
        assert verify(path, ring).verdict == "unknown-key"


def test_a_renamed_file_is_wrong_run(folder: Path) -> None:
    for suffix in ("", ".sig"):
        (folder / f"good-1.steps.jsonl{suffix}").rename(folder / f"good-9.steps.jsonl{suffix}")
    assert verify(folder / "good-9.steps.jsonl", Keyring(AOS_SECRET)).verdict == "wrong-run"


def test_a_file_of_the_older_system_beside_ours_is_unlisted(folder: Path, run: GoldenFile) -> None:
    shutil.copy(run.path, folder)
    for name in ("good-1", "unsigned-1", "tampered-1"):
        assert verify(folder / f"{name}.steps.jsonl", Keyring(AOS_SECRET)).verdict == "unlisted"


def test_a_header_of_ours_with_a_seal_of_theirs_is_malformed(run: GoldenFile, keyring: Keyring) -> None:
    sealed = hmac.digest(AOS_SECRET, run.path.read_bytes(), "sha256").hex()
    run.seal_path.write_text(sealed)
    for ring in (keyring, Keyring(AOS_SECRET + b"x" * 32)):
        assert verify(run.path, ring).verdict == "tampered"


@pytest.mark.parametrize("data", [b"0" * 63, b"0" * 65, b"A" * 64, b"0" * 64 + b"\n", b"", b" " + b"0" * 64, b"g" * 64])
def test_only_64_hex_digits_are_their_seal(data: bytes) -> None:
    assert is_aos_seal(b"0f" * 32)
    assert not is_aos_seal(data)


@pytest.mark.parametrize(
    "line, is_theirs",
    [
        (b'{"event_type":"run_start","run_id":"r-1"}', True),
        (b'{"event_type":"run_start","run_id":"r-1","golden":{}}', False),
        (b'{"event_type":"run_start","run_id":"r-1","mac":"x"}', False),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_their_header_has_no_key_and_no_mac(line: bytes, is_theirs: bool) -> None:
    assert is_aos_header(line) is is_theirs


def test_the_mac_is_over_all_blocks() -> None:
    blocks = [b"a\nb", b"", b"\nc\n"]
    mac, lines = aos_mac(b"key", blocks)
    assert mac == hmac.new(b"key", b"a\nb\nc\n", hashlib.sha256).hexdigest()
    assert lines == 3
    assert same_mac(mac, mac.encode())
    assert not same_mac(mac, mac.encode() + b"\n")
    assert not same_mac(mac, b"\xff")


def test_a_directory_is_a_v1_store_by_its_files(store: Store, run: GoldenFile, tmp_path: Path) -> None:
    assert is_v1_directory(store.folder)
    run.path.unlink()
    assert is_v1_directory(store.folder)
    run.seal_path.unlink()
    assert not is_v1_directory(store.folder)
    (store.directory / "a.steps.jsonl").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(store.directory / "b.steps.jsonl")
    assert not is_v1_directory(store.folder)
    (store.directory / "ledger.jsonl").write_text("")
    assert is_v1_directory(store.folder)
