"""Keyfile: policy without secrets, read strictly, edited so that nothing the user wrote is lost."""

import os
import stat
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import keyfile
from golden.errors import GoldenError, KeyringError, StoreError, UsageError
from golden.keyfile import add_entry, read_policy, set_state, write_policy
from golden.keyring import Entry, HmacKey, entry_of, key_from, new_secret
from tests.runs import ACTIVE, RETIRED, STRANGER

NOW = "2026-01-01T00:00:00.000000Z"
PAIR, OTHER_PAIR = (key_from(new_secret("ed25519")) for _ in range(2))
A, B, C = (HmacKey(secret).kid for secret in (ACTIVE, RETIRED, STRANGER))
WRITTEN = f"""# the shop's keys

[[key]]  # the first
created = "{NOW}"
state   =   "active"   # since March
kid = "{A}"
alg = 'hmac-sha256'

# an old one
[[key]]
kid = "{B}"
alg = "hmac-sha256"
state = "retired"
# the end"""


def hmac(kid: str, state: Any = "active") -> Entry:
    return Entry(kid, "hmac-sha256", state, NOW)


def pair(state: Any = "active", key: Any = PAIR) -> Entry:
    return entry_of(key, state, NOW)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A keyring file that a person wrote."""
    (tmp_path / "golden-keyring.toml").write_text(WRITTEN)
    return str(tmp_path / "golden-keyring.toml")


def states(path: str) -> dict[str, str]:
    return {entry.kid: entry.state for entry in read_policy(path)}


# Reading


def test_entries_are_read_in_their_order(path: str) -> None:
    assert read_policy(path) == [
        Entry(A, "hmac-sha256", "active", NOW),
        Entry(B, "hmac-sha256", "retired"),
    ]


def test_a_file_without_keys_names_none(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("# nothing yet\n")
    assert read_policy(str(tmp_path / "k")) == []


@pytest.mark.parametrize(
    "old, new, why",
    [
        ('"active"', '"on"', r"no such choice - at `key\[0\]\.state`"),
        (f'"{A}"', '"A711C564E8977490"', r"`key\[0\]\.kid`"),
        (f'"{A}"', "3", r"expected `str`, got `int` - at `key\[0\]\.kid`"),
        ("'hmac-sha256'", "'hmac-md5'", r"no such choice - at `key\[0\]\.alg`"),
        (f'created = "{NOW}"', "created = 2026-01-01", r"`key\[0\]\.created`"),
        (f'created = "{NOW}"', 'secret = "canary"', r"unknown field `secret` - at `key\[0\]`"),
        ("# an old one", 'canary = "canary"', r"unknown field `canary`"),
        ("# the shop's keys", 'keys = "canary"', "unknown field `keys`"),
        ("'hmac-sha256'", "'ed25519'", "must have `public`"),
        ('"retired"', '"active"', "are both active"),
        (f'"{B}"', f'"{A}"', "stands twice"),
        ("[[key]]  # the first", "[[key", "is no TOML"),
        (f'created = "{NOW}"', f'public = "{"A" * 43}"', "only then"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_place(path: str, old: str, new: str, why: str) -> None:
    assert old in WRITTEN
    Path(path).write_text(WRITTEN.replace(old, new, 1))
    with pytest.raises(KeyringError, match=why) as refusal:
        read_policy(path)
    assert '"canary"' not in str(refusal.value)
    assert refusal.value.hint


def test_an_absent_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="absent cannot be opened: No such file"):
        read_policy(str(tmp_path / "absent"))


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"#" * (keyfile.MAX_FILE + 1))
    os.mkfifo(tmp_path / "fifo")
    for name, why in (("bytes", "no UTF-8"), ("large", "larger than"), ("fifo", "not a regular file")):
        with pytest.raises(KeyringError, match=why):
            read_policy(str(tmp_path / name))
    with pytest.raises(KeyringError, match="not a regular file"):
        read_policy(str(tmp_path))


# Writing


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    entries = [hmac(A), hmac(B, "retired"), hmac(C, "revoked"), pair()]
    write_policy(path, entries)
    assert read_policy(path) == entries
    assert [child.name for child in tmp_path.iterdir()] == ["new"]


def test_a_file_that_exists_is_not_written_over(path: str) -> None:
    with pytest.raises(UsageError, match="exists"):
        write_policy(path, [hmac(C)])
    assert Path(path).read_text() == WRITTEN


def test_a_policy_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="both active"):
        write_policy(str(tmp_path / "new"), [hmac(A), hmac(B)])
    assert list(tmp_path.iterdir()) == []


def test_the_first_key_makes_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    add_entry(path, hmac(A))
    assert states(path) == {A: "active"}
    assert Path(path).read_text().startswith("# The keys of this project")


def test_a_new_active_key_retires_the_active_key_of_its_algorithm_alone(path: str) -> None:
    add_entry(path, pair())
    assert states(path) == {A: "active", B: "retired", PAIR.kid: "active"}
    add_entry(path, hmac(C, "retired"), active=True)
    assert states(path) == {A: "retired", B: "retired", PAIR.kid: "active", C: "active"}
    add_entry(path, pair("retired", OTHER_PAIR), active=True)
    assert states(path) == {
        A: "retired",
        B: "retired",
        PAIR.kid: "retired",
        C: "active",
        OTHER_PAIR.kid: "active",
    }


def test_comments_order_and_spelling_of_the_user_stay(path: str) -> None:
    add_entry(path, hmac(C), active=True)
    text = Path(path).read_text()
    assert text.startswith(WRITTEN.replace('"active"', '"retired"') + "\n")
    set_state(path, B, "revoked")
    assert Path(path).read_text() == text.replace('state = "retired"\n# the end', 'state = "revoked"\n# the end')


def test_line_ends_of_the_user_stay(path: str) -> None:
    Path(path).write_bytes(WRITTEN.replace("\n", "\r\n").encode())
    set_state(path, B, "revoked")
    assert Path(path).read_bytes() == WRITTEN.replace('"retired"', '"revoked"').replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    "text",
    [
        f'key = [{{kid = "{A}", alg = "hmac-sha256", state = "active"}}]',
        f'key=[{{kid="{A}",alg="hmac-sha256",state="active"}}]\n',
    ],
)
def test_a_form_that_cannot_be_added_to_is_refused_and_left(path: str, text: str) -> None:
    Path(path).write_text(text)
    with pytest.raises(KeyringError, match="cannot be edited as it is written"):
        add_entry(path, pair())
    assert Path(path).read_text() == text


def test_a_file_that_cannot_be_read_is_never_edited(path: str) -> None:
    Path(path).write_text(WRITTEN + "\nkeyy = 3")
    with pytest.raises(KeyringError):
        add_entry(path, pair())
    with pytest.raises(KeyringError):
        set_state(path, B, "revoked")
    assert Path(path).read_text() == WRITTEN + "\nkeyy = 3"


def test_mode_stays_and_a_link_is_followed(path: str, tmp_path: Path) -> None:
    Path(path).chmod(0o664)
    (tmp_path / "link").symlink_to(path)
    set_state(str(tmp_path / "link"), B, "revoked")
    assert (tmp_path / "link").is_symlink()
    assert states(path)[B] == "revoked"
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o664


def test_a_file_is_replaced_whole_or_not_at_all(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write", "fsync", "rename"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, fail)
            with pytest.raises(StoreError, match="cannot be written: No space left"):
                set_state(path, B, "revoked")
        assert Path(path).read_text() == WRITTEN
        assert [child.name for child in Path(path).parent.iterdir()] == ["golden-keyring.toml"]


def test_editors_wait_for_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    write_policy(path, [hmac(A)])
    kids = [f"{number:016x}" for number in range(12)]
    workers = [threading.Thread(target=add_entry, args=(path, hmac(kid, "retired"))) for kid in kids]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(states(path)) == {A, *kids}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="absent"):
        add_entry(str(tmp_path / "absent" / "k"), hmac(A))


# States


@pytest.mark.parametrize(
    "now, wanted",
    [("retired", "active"), ("revoked", "active"), ("revoked", "retired")],
)
def test_a_state_never_gets_milder(tmp_path: Path, now: str, wanted: Any) -> None:
    path = str(tmp_path / "new")
    write_policy(path, [hmac(A), hmac(B, now), pair(now)])
    text = Path(path).read_text()
    for kid in (B, PAIR.kid):
        with pytest.raises(UsageError, match=f"is {now}, and cannot become {wanted} again"):
            set_state(path, kid, wanted)
    assert Path(path).read_text() == text


@pytest.mark.parametrize("state", ["active", "retired", "revoked"])
def test_a_kid_that_is_there_is_not_added_again_in_another_state(tmp_path: Path, state: Any) -> None:
    path = str(tmp_path / "new")
    write_policy(path, [hmac(A), pair(state)])
    with pytest.raises(UsageError, match=f"in the keyring already, and {state}"):
        add_entry(path, pair(), active=True)
    assert states(path)[PAIR.kid] == state


@pytest.mark.parametrize("state", ["retired", "revoked"])
def test_the_last_active_hmac_key_stays_active(path: str, state: Any) -> None:
    with pytest.raises(UsageError, match="last active hmac-sha256 key") as refusal:
        set_state(path, A, state)
    assert "add another first" in refusal.value.hint
    assert Path(path).read_text() == WRITTEN
    add_entry(path, hmac(C), active=True)
    set_state(path, A, state)
    assert states(path) == {A: state, B: "retired", C: "active"}


def test_the_last_active_ed25519_key_may_retire(path: str) -> None:
    add_entry(path, pair())
    set_state(path, PAIR.kid, "retired")
    assert states(path)[PAIR.kid] == "retired"


def test_the_same_state_once_more_changes_nothing(path: str) -> None:
    before = os.stat(path)  # noqa: PTH116  all of it is compared
    set_state(path, B, "retired")
    set_state(path, A, "active")
    assert os.stat(path).st_ino == before.st_ino  # noqa: PTH116  as above


def test_a_second_active_key_is_refused_where_it_does_not_replace_the_first(path: str) -> None:
    with pytest.raises(KeyringError, match="both active"):
        add_entry(path, hmac(C))
    assert Path(path).read_text() == WRITTEN


def test_an_unknown_key_has_no_state_to_set(path: str) -> None:
    with pytest.raises(GoldenError, match=f"no key {C}"):
        set_state(path, C, "revoked")


def test_a_policy_holds_nothing_but_policy() -> None:
    assert {field.name for field in msgspec.structs.fields(Entry)} == {"kid", "alg", "state", "created", "public"}
