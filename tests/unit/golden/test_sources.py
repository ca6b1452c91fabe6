"""Sources: secrets from the environment and from files, read with care."""

import os
import signal
import stat
import subprocess
import sys
import time
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden import program as programs
from golden.errors import KeyringError, UsageError
from golden.keyfile import write_policy
from golden.keyring import Entry, HmacKey, Keyring, entry_of, key_from, kid_of, new_secret
from golden.sources import (
    MAX_SECRET,
    Pool,
    Sources,
    Where,
    add_source,
    fetch,
    keyring_from,
    read_secret_file,
    read_sources,
    save_secret,
    where_of,
)
from tests.runs import ACTIVE, AOS_SECRET, RETIRED, STRANGER

KID, OLD_KID = HmacKey(ACTIVE).kid, HmacKey(RETIRED).kid
NOW = "2026-01-01T00:00:00.000000Z"
CANARY = "canary-that-is-seen-nowhere-but-where-it-lies"


def ring_of(environment: dict[str, str]) -> Keyring:
    return keyring_from(Pool(environment))


def secret_file(folder: Path, data: bytes = ACTIVE, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_nothing_set_is_an_empty_keyring() -> None:
    assert list(ring_of({})) == []


def test_secret_and_file_are_active_and_previous_is_retired(tmp_path: Path) -> None:
    by_value = ring_of({"GOLDEN_SECRET": ACTIVE.decode(), "GOLDEN_SECRET_PREVIOUS": RETIRED.decode()})
    by_file = ring_of({"GOLDEN_SECRET_FILE": str(secret_file(tmp_path)), "GOLDEN_SECRET_PREVIOUS": RETIRED.decode()})
    for ring in (by_value, by_file):
        assert [(entry.kid, entry.state) for entry in ring] == [
            (HmacKey(RETIRED).kid, "retired"),
            (HmacKey(ACTIVE).kid, "active"),
        ]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_only_its_owner_reads_is_accepted(tmp_path: Path, mode: int) -> None:
    assert read_secret_file(str(secret_file(tmp_path, mode=mode))) == ACTIVE


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o610, 0o666])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyringError, match=f"mode {mode:04o}") as refusal:
        read_secret_file(str(secret_file(tmp_path, mode=mode)))
    assert "chmod 600" in refusal.value.hint


def test_a_link_to_a_good_file_is_followed_and_the_target_judged(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(secret_file(tmp_path))
    assert read_secret_file(str(link)) == ACTIVE
    secret_file(tmp_path, mode=0o644)
    with pytest.raises(KeyringError, match="mode 0644"):
        read_secret_file(str(link))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    os.chown(path, 65534, -1)
    with pytest.raises(KeyringError, match="belongs to another user"):
        read_secret_file(str(path))


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyringError, match="not a regular file"):
        read_secret_file(str(tmp_path / "fifo"))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="not a regular file"):
        read_secret_file(str(tmp_path))


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="absent cannot be opened"):
        ring_of({"GOLDEN_SECRET_FILE": str(tmp_path / "absent")})


@pytest.mark.parametrize("data", [b"", b"\n"])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(KeyringError, match="is empty"):
        read_secret_file(str(secret_file(tmp_path, data)))


@pytest.mark.parametrize(
    "data, secret",
    [
        (ACTIVE + b"\n", ACTIVE),
        (ACTIVE + b"\n\n", ACTIVE + b"\n"),
        (ACTIVE + b"\r\n", ACTIVE + b"\r"),
        (b" " + ACTIVE, b" " + ACTIVE),
        (b"\n" + ACTIVE, b"\n" + ACTIVE),
    ],
    ids=["one LF", "two LF", "CR LF", "a space before", "an LF before"],
)
def test_one_trailing_newline_is_no_part_of_a_secret_and_nothing_else_is_cut(
    tmp_path: Path, data: bytes, secret: bytes
) -> None:
    assert read_secret_file(str(secret_file(tmp_path, data))) == secret
    by_value = ring_of({"GOLDEN_SECRET": os.fsdecode(data)})
    assert by_value.active.kid == HmacKey(secret).kid


def test_a_file_larger_than_a_secret_can_be_is_refused(tmp_path: Path) -> None:
    assert len(read_secret_file(str(secret_file(tmp_path, b"x" * MAX_SECRET)))) == MAX_SECRET
    with pytest.raises(KeyringError, match="larger than 4096 bytes"):
        read_secret_file(str(secret_file(tmp_path, b"x" * (MAX_SECRET + 1))))


@pytest.mark.parametrize("name", ["GOLDEN_SECRET", "GOLDEN_SECRET_PREVIOUS", "GOLDEN_SECRET_FILE"])
def test_a_variable_that_is_set_but_empty_is_refused(name: str) -> None:
    with pytest.raises(KeyringError, match=f"{name} is set but empty"):
        ring_of({name: ""})


def test_a_secret_and_a_file_that_disagree_are_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    with pytest.raises(KeyringError, match="hold different secrets"):
        ring_of({"GOLDEN_SECRET": RETIRED.decode(), "GOLDEN_SECRET_FILE": str(path)})


def test_a_secret_and_a_file_that_agree_are_one_key(tmp_path: Path) -> None:
    path = secret_file(tmp_path, ACTIVE + b"\n")
    ring = ring_of({"GOLDEN_SECRET": ACTIVE.decode(), "GOLDEN_SECRET_FILE": str(path)})
    assert [entry.kid for entry in ring] == [HmacKey(ACTIVE).kid]


def test_a_value_that_is_no_utf8_is_its_bytes() -> None:
    secret = b"\xff\xfe" * 16
    assert ring_of({"GOLDEN_SECRET": os.fsdecode(secret)}).active.kid == HmacKey(secret).kid


def test_no_refusal_shows_a_secret(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"a-secret-that-is-never-shown-anywhere", mode=0o644)
    settings = [
        {"GOLDEN_SECRET_FILE": str(path)},
        {"GOLDEN_SECRET": "a-secret-that-is-never-shown-anywhere", "GOLDEN_SECRET_FILE": str(path.parent)},
    ]
    for environment in settings:
        with pytest.raises(KeyringError) as refusal:
            ring_of(environment)
        assert "never-shown" not in str(refusal.value)


def test_a_descriptor_is_closed_whatever_happens(tmp_path: Path) -> None:
    path = secret_file(tmp_path, mode=0o644)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(KeyringError):
            read_secret_file(str(path))
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20


def program(text: str) -> Where:
    """A source that runs a shell script."""
    return where_of("exec:" + msgspec.json.encode(["/bin/sh", "-c", text]).decode())


def policy(folder: Path, *entries: Entry) -> str:
    path = folder / "golden-keyring.toml"
    write_policy(str(path), entries)
    return str(path)


def entry(secret: bytes = ACTIVE, state: Any = "active") -> Entry:
    return entry_of(key_from(secret), state, NOW)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or ends within a second."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


# What a source is called


@pytest.mark.parametrize(
    "text, where",
    [
        ("file:/a/b", Where("file", "/a/b")),
        ("file:b", Where("file", "/base/b")),
        ("file:../b", Where("file", "/b")),
        ("env:A_1", Where("env", "A_1")),
        ("keyring:team golden", Where("keyring", "team golden")),
        ('exec:["/bin/a", "b c"]', Where("exec", '["/bin/a","b c"]', ("/bin/a", "b c"))),
    ],
)
def test_a_place_is_read_from_its_text(text: str, where: Where) -> None:
    assert where_of(text, "/base") == where
    assert where_of(str(where)) == where


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"secret:{CANARY}",
        f"FILE:/{CANARY}",
        "env:canary-with-dashes",
        f"env:1{CANARY}",
        "env:",
        f"file:~/{CANARY}",
        f"file:/a\n{CANARY}",
        "file:",
        "keyring:",
        f"exec:{CANARY}",
        f'exec:["{CANARY}"]',
        f'exec:["bin/{CANARY}"]',
        f'exec:["/bin/sh", 3, "{CANARY}"]',
        f'exec:["/bin/sh", "\\u0000{CANARY}"]',
        "exec:[]",
        "",
    ],
)
def test_what_is_no_place_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        where_of(text)
    assert "canary" not in str(refusal.value)


def test_messages_call_a_program_by_its_path_alone() -> None:
    assert program(CANARY).label == "exec:/bin/sh"


# Fetching


def test_a_variable_is_read_and_must_be_set() -> None:
    assert fetch(Where("env", "X"), {"X": "value\n"}) == b"value"
    for environment, why in (({}, "X is not set"), ({"X": "\n"}, "X is set but empty")):
        with pytest.raises(KeyringError, match=why):
            fetch(Where("env", "X"), environment)


def test_a_file_is_read_with_the_care_of_a_secret_file(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    assert fetch(Where("file", str(path)), {}) == ACTIVE
    path.chmod(0o644)
    with pytest.raises(KeyringError, match="mode 0644"):
        fetch(Where("file", str(path)), {})


def test_what_a_program_writes_is_the_secret_minus_one_newline() -> None:
    assert fetch(program("echo secret; echo noise >&2"), {}) == b"secret"
    assert fetch(program("printf 'a\\n\\n'"), {}) == b"a\n"
    assert fetch(program(f"head -c {MAX_SECRET} /dev/zero"), {}) == bytes(MAX_SECRET)


def test_a_program_has_no_stdin_no_checkout_and_no_secret_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "GOLDEN_SECRET": CANARY,
        "GOLDEN_DIR": "x",
        "MINE": CANARY,
        "VAULT_TOKEN": "t",
        "PATH": "/usr/bin:/bin",
    }
    shown = fetch(program("cat; pwd; env"), environment, hidden={"MINE"}).decode().split("\n")
    assert shown[0] == "/"
    assert "VAULT_TOKEN=t" in shown
    assert not [line for line in shown if "GOLDEN" in line or "canary" in line]


@pytest.mark.parametrize(
    "script, why",
    [
        ("echo canary; echo canary >&2; exit 3", "exec:/bin/sh ended with exit code 3"),
        ("echo canary; kill -9 $$", "exec:/bin/sh ended with signal 9"),
        (":", "exec:/bin/sh is empty"),
        ("echo", "exec:/bin/sh is empty"),
    ],
)
def test_a_program_that_fails_is_refused_and_what_it_said_is_not_shown(
    script: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyringError, match=why) as refusal:
        fetch(program(script), {"PATH": "/usr/bin:/bin"})
    assert "canary" not in str(refusal.value) + "".join(capfd.readouterr())


def test_a_program_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyringError, match="/not/there cannot be started: No such file"):
        fetch(where_of('exec:["/not/there"]'), {})


def test_a_program_that_prints_a_gigabyte_is_ended_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(KeyringError, match="writes more than 4096 bytes"):
        fetch(program(f"echo $$ > {tmp_path}/pid; exec head -c 1000000000 /dev/zero"), {"PATH": "/usr/bin:/bin"})
    assert time.monotonic() - begun < 5
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SECONDS", 0.3)
    script = f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/pid; trap '' TERM; sleep 60"
    begun = time.monotonic()
    with pytest.raises(KeyringError, match="takes longer than"):
        fetch(program(script), {"PATH": "/usr/bin:/bin"})
    assert time.monotonic() - begun < 5
    assert is_gone(int((tmp_path / "child").read_text()))
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_program_is_given_ten_seconds() -> None:
    assert programs.SECONDS == 10


def test_a_grandchild_that_holds_the_pipe_is_not_waited_for_and_does_not_outlive_it(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert fetch(program(f"sleep 60 & echo $! > {tmp_path}/child; echo secret"), {"PATH": "/usr/bin:/bin"}) == b"secret"
    assert time.monotonic() - begun < 5
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_program_that_closes_its_output_is_still_asked_how_it_ended() -> None:
    with pytest.raises(KeyringError, match="exit code 3"):
        fetch(program("echo secret; exec >&-; sleep 0.1; exit 3"), {"PATH": "/usr/bin:/bin"})


def test_a_program_is_heard_where_ended_children_are_not_waited_for() -> None:
    asked = 'fetch(where_of(\'exec:["/bin/sh","-c","sleep 0.1; echo secret"]\'), {})'
    done = subprocess.run(
        [sys.executable, "-c", f"from golden.sources import fetch, where_of; print({asked})"],
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("b'secret'\n", 0), done.stderr


def test_a_program_is_no_child_that_a_terminal_could_stop() -> None:
    assert (
        fetch(program("ps -o pgid= -p $$ | tr -d ' '; echo $$"), {"PATH": "/usr/bin:/bin"}).split()[0]
        != str(os.getpgid(0)).encode()
    )


def test_no_descriptor_and_no_child_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir())), children()
    for script in ("echo a", "exit 1", "yes"):
        with suppress(KeyringError):
            fetch(program(script), {"PATH": "/usr/bin:/bin"})
    assert (len(list(Path("/proc/self/fd").iterdir())), children()) == before


def children() -> set[str]:
    """Return the children of this process, also those that have ended and that nobody waited for."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(path.parent.name)
    return found


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """The keyring library with a store of its own."""
    store: dict[tuple[str, str], str] = {}
    fake: Any = types.ModuleType("keyring")
    fake.get_password = lambda service, name: store.get((service, name))
    fake.set_password = lambda service, name, text: store.update({(service, name): text})
    monkeypatch.setitem(sys.modules, "keyring", fake)
    return store


def test_the_os_keyring_is_asked_by_name(library: dict[tuple[str, str], str]) -> None:
    where = Where("keyring", "mine")
    with pytest.raises(KeyringError, match="the OS keyring has no mine"):
        fetch(where, {})
    save_secret(where, ACTIVE + b"\n")
    assert library == {("golden", "mine"): ACTIVE.decode() + "\n"}
    assert fetch(where, {}) == ACTIVE
    with pytest.raises(UsageError, match="has mine already"):
        save_secret(where, RETIRED)


def test_an_os_keyring_that_refuses_says_no_more_than_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_service: str, _name: str) -> str:
        raise RuntimeError(CANARY)

    fake: Any = types.ModuleType("keyring")
    fake.get_password = refuse
    monkeypatch.setitem(sys.modules, "keyring", fake)
    with pytest.raises(KeyringError, match="refuses mine: RuntimeError") as refusal:
        fetch(Where("keyring", "mine"), {})
    assert "canary" not in str(refusal.value)


def test_without_the_extra_the_os_keyring_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyringError, match=r"stepseal\[keyring\]"):
        fetch(Where("keyring", "mine"), {})


# sources.toml


def sources_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "sources.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_sources_are_read_in_their_order(tmp_path: Path) -> None:
    text = f"""
        anchor_to = ["file:anchors", 'exec:["/bin/true"]']
        [[source]]
        kid = "{KID}"
        from = "file:secrets/a"
        [[source]]
        kid = "{OLD_KID}"
        from = "env:OLD"
    """
    found = read_sources(sources_file(tmp_path, text))
    assert found.entries == ((KID, Where("file", f"{tmp_path}/secrets/a")), (OLD_KID, Where("env", "OLD")))
    assert [str(where) for where in found.anchor_to] == [f"file:{tmp_path}/anchors", 'exec:["/bin/true"]']
    assert found.variables == {"OLD"}


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o755])
def test_sources_that_only_their_owner_writes_are_read(tmp_path: Path, mode: int) -> None:
    assert read_sources(sources_file(tmp_path, "", mode)) == Sources()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_sources_that_others_can_write_are_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyringError, match=f"mode {mode:04o}, others can write it"):
        read_sources(sources_file(tmp_path, "", mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_sources_of_another_user_are_refused(tmp_path: Path) -> None:
    path = sources_file(tmp_path, "")
    os.chown(path, 65534, -1)
    with pytest.raises(KeyringError, match="belongs to another user"):
        read_sources(path)


def test_sources_that_are_a_fifo_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyringError, match="not a regular file"):
        read_sources(str(tmp_path / "fifo"))


@pytest.mark.parametrize(
    "text, why",
    [
        ("[[source]]\nkid = 3", "kid"),
        (f'[[source]]\nkid = "{KID}"', "missing required field `from`"),
        (f'[[source]]\nkid = "{CANARY}"\nfrom = "env:X"', "kid"),
        (f'[[source]]\nkid = "{KID}"\nfrom = "{CANARY}"', "no scheme that is known"),
        (f'[[source]]\nkid = "{KID}"\nfrom = "env:X"\nsecret = "{CANARY}"', "unknown field `secret`"),
        (f'secret = "{CANARY}"', "unknown field `secret`"),
        ('anchor_to = "git"', "no scheme"),
        ('anchor_to = "env:X"', "anchor_to is neither file: nor exec:"),
        ("source = 3", "source"),
        ("[[source", "is no TOML"),
    ],
)
def test_sources_of_another_form_are_refused_and_no_value_is_shown(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(KeyringError, match=why) as refusal:
        read_sources(sources_file(tmp_path, text))
    assert "sources.toml" in refusal.value.problem
    assert "canary" not in str(refusal.value)


def test_a_source_is_added_to_a_file_that_only_its_owner_sees(tmp_path: Path) -> None:
    path = tmp_path / "a" / "golden" / "sources.toml"
    where = where_of('exec:["/bin/a", "q\\"uote", "\\u007f"]')
    assert add_source(str(path), KID, where)
    assert not add_source(str(path), KID, where)
    assert add_source(str(path), OLD_KID, Where("env", "OLD"))
    assert read_sources(str(path)).entries == ((KID, where), (OLD_KID, Where("env", "OLD")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [child.name for child in path.parent.iterdir()] == ["sources.toml"]


def test_what_stands_in_the_file_stays_when_a_source_is_added(tmp_path: Path) -> None:
    text = f'# mine\nanchor_to = "file:/x"  # why\n[[source]]\nfrom="env:OLD" # old\nkid = "{OLD_KID}"'
    path = sources_file(tmp_path, text)
    add_source(path, KID, Where("env", "NEW"))
    assert Path(path).read_text().startswith(text + "\n")


def test_no_source_is_added_to_a_file_that_others_can_write(tmp_path: Path) -> None:
    path = sources_file(tmp_path, "", 0o666)
    with pytest.raises(KeyringError, match="others can write it"):
        add_source(path, KID, Where("env", "NEW"))
    assert Path(path).read_text() == ""


# Saving


def test_a_secret_is_saved_where_only_its_owner_reads_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        save_secret(Where("file", str(tmp_path / "keys" / "k")), ACTIVE + b"\n")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "k").stat().st_mode) == 0o600
    assert read_secret_file(str(tmp_path / "keys" / "k")) == ACTIVE


def test_a_secret_is_never_saved_over_anything(tmp_path: Path) -> None:
    path = secret_file(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in (path, tmp_path / "link"):
        with pytest.raises(UsageError, match="exists"):
            save_secret(Where("file", str(name)), RETIRED)
    assert read_secret_file(str(path)) == ACTIVE
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("text", ["env:X", 'exec:["/bin/true"]'])
def test_nothing_is_saved_where_nothing_can_be_put(text: str) -> None:
    with pytest.raises(UsageError, match="nothing can be put"):
        save_secret(where_of(text), ACTIVE)


# The pool


def test_a_source_is_asked_only_for_its_own_kid_and_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    found = Sources(
        (
            (KID, program(f"echo x >> {asked}; printf %s {ACTIVE.decode()}")),
            (OLD_KID, program(f"echo other >> {asked}; printf %s {RETIRED.decode()}")),
        )
    )
    pool = Pool({"PATH": "/usr/bin:/bin"}, found)
    assert pool.look(KID) == ("exec:/bin/sh", None)
    assert not asked.exists()
    for _ in range(3):
        assert pool.find(KID) == ACTIVE
    assert asked.read_text() == "x\n"
    assert pool.look(KID) == ("exec:/bin/sh", True)
    assert pool.find("0" * 16) is None
    assert pool.notes == []


def test_a_source_that_gives_another_key_is_reported_with_both_kids_and_not_used() -> None:
    heard: list[str] = []
    pool = Pool({"X": RETIRED.decode()}, Sources(((KID, Where("env", "X")),)), tell=heard.append)
    assert pool.find(KID) is None
    assert pool.find(OLD_KID) is None
    assert pool.notes == heard == [f"the source env:X is to give key {KID}, and gives key {OLD_KID}"]


def test_a_source_that_fails_makes_its_key_not_at_hand_and_says_why(tmp_path: Path) -> None:
    path = secret_file(tmp_path, CANARY.encode(), mode=0o644)
    pool = Pool({}, Sources(((KID, Where("file", str(path))), (OLD_KID, program("exit 3")))))
    assert (pool.find(KID), pool.find(OLD_KID)) == (None, None)
    first, second = pool.notes
    assert f"the source of key {KID} fails: secret file {path} has mode 0644" in first
    assert f"the source of key {OLD_KID} fails: exec:/bin/sh ended with exit code 3" in second
    assert "canary" not in first


def test_the_next_source_of_a_key_is_asked_when_one_fails() -> None:
    pool = Pool({"B": ACTIVE.decode()}, Sources(((KID, Where("env", "A")), (KID, Where("env", "B")))))
    assert pool.find(KID) == ACTIVE
    assert pool.notes == [f"the source of key {KID} fails: A is not set"]


def test_a_secret_in_the_environment_comes_before_sources() -> None:
    pool = Pool({"GOLDEN_SECRET": ACTIVE.decode()}, Sources(((KID, program("exit 3")),)))
    assert pool.find(KID) == ACTIVE
    assert pool.look(KID) == ("GOLDEN_SECRET", True)


def test_a_pool_made_anew_finds_what_came_since_and_asks_no_program_twice(tmp_path: Path) -> None:
    asked, place = tmp_path / "asked", Where("file", str(tmp_path / "new"))
    found = Sources(((KID, program(f"echo x >> {asked}; exit 3")), (OLD_KID, place)))
    heard: list[str] = []
    first = Pool({"PATH": "/usr/bin:/bin"}, found, tell=heard.append)
    assert (first.find(KID), first.find(OLD_KID)) == (None, None)
    secret_file(tmp_path, RETIRED).rename(place.name)
    second = first.anew(found)
    assert (second.find(KID), second.find(OLD_KID)) == (None, RETIRED)
    assert asked.read_text() == "x\n"
    assert len(heard) == 2, "each failure is told once"


def test_a_secret_file_that_was_replaced_leaves_the_secret_before_it_to_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = secret_file(tmp_path, RETIRED)
    first = Pool({"GOLDEN_SECRET_FILE": path.name})
    path.write_bytes(ACTIVE)
    monkeypatch.chdir("/")
    ring = keyring_from(first.anew(Sources()))
    assert {entry.kid: entry.state for entry in ring} == {KID: "active", OLD_KID: "retired"}
    assert ring.active.kid == KID


# The keyring


def test_a_keyring_file_decides_what_a_secret_may_do(tmp_path: Path) -> None:
    path = policy(tmp_path, entry(RETIRED), entry(ACTIVE, "retired"))
    ring = keyring_from(Pool({"GOLDEN_SECRET": ACTIVE.decode(), "GOLDEN_SECRET_PREVIOUS": RETIRED.decode()}), path)
    assert ring.active.kid == OLD_KID
    assert ring.state(KID) == "retired"


def test_a_secret_that_the_keyring_does_not_name_is_not_used_and_reported(tmp_path: Path) -> None:
    pool = Pool({"GOLDEN_SECRET": STRANGER.decode()})
    ring = keyring_from(pool, policy(tmp_path, entry()))
    kid = HmacKey(STRANGER).kid
    assert ring.get(kid) is None
    (note,) = pool.notes
    assert note.startswith(
        f"GOLDEN_SECRET holds the secret of key {kid}, which {tmp_path}/golden-keyring.toml does not"
    )


def test_two_different_active_secrets_are_refused_with_a_keyring_file_too(tmp_path: Path) -> None:
    environment = {"GOLDEN_SECRET": RETIRED.decode(), "GOLDEN_SECRET_FILE": str(secret_file(tmp_path))}
    with pytest.raises(KeyringError, match="hold different secrets"):
        keyring_from(Pool(environment), policy(tmp_path, entry()))


def test_two_spellings_of_one_private_key_are_one_key(tmp_path: Path) -> None:
    pem = new_secret("ed25519")
    path = secret_file(tmp_path, pem + b"\n\n")
    assert Pool({"GOLDEN_SECRET": pem.decode(), "GOLDEN_SECRET_FILE": str(path)}).active is not None


def test_a_pool_that_holds_the_public_key_only_verifies(tmp_path: Path) -> None:
    pem = new_secret("ed25519")
    path = policy(tmp_path, entry(), entry(pem))
    ring = keyring_from(Pool({}), path)
    assert ring.signers == []
    assert ring.get(kid_of(pem)) is not None


def test_files_of_the_aos_system_use_the_active_secret_only_without_a_keyring_file(tmp_path: Path) -> None:
    environment = {"GOLDEN_SECRET": AOS_SECRET.decode()}
    assert keyring_from(Pool(environment)).aos_secret == AOS_SECRET
    assert keyring_from(Pool(environment), policy(tmp_path, entry())).aos_secret is None


def test_a_named_key_of_any_strength_verifies_files_of_the_aos_system(tmp_path: Path) -> None:
    weak = b"aos"
    found = Sources(((kid_of(weak), Where("env", "AOS")),))
    for path in (None, policy(tmp_path, entry())):
        pool = Pool({"AOS": "aos", "GOLDEN_SECRET": ACTIVE.decode()}, found)
        ring = keyring_from(pool, path, key=kid_of(weak))
        assert ring.aos_secret == weak
        assert ring.active.kid == KID
        assert pool.notes == []


def test_a_secret_that_was_named_is_used_and_needs_no_note(tmp_path: Path) -> None:
    pool = Pool({"GOLDEN_SECRET": "aos"})
    assert keyring_from(pool, policy(tmp_path, entry()), key=kid_of(b"aos")).aos_secret == b"aos"
    assert pool.notes == []


def test_a_named_key_that_is_not_at_hand_is_an_unknown_key() -> None:
    with pytest.raises(KeyringError, match="is not at hand") as refusal:
        keyring_from(Pool({}), key=KID)
    assert refusal.value.verdict == "unknown-key"


def test_what_is_no_kid_may_be_a_secret_and_is_not_repeated() -> None:
    with pytest.raises(UsageError, match="no kid") as refusal:
        keyring_from(Pool({}), key=CANARY)
    assert "canary" not in str(refusal.value)


def test_no_text_of_a_pool_shows_a_secret() -> None:
    pool = Pool({"GOLDEN_SECRET": CANARY})
    assert "canary" not in repr(pool) + str(pool) + f"{[pool]}"
