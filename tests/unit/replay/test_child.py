"""Children: real programs, and that none outlives whoever waits for it."""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from replay import child
from replay.child import WHOLE, Child, CommandError

PLENTY = 100 << 20


def sh(script: str, folder: Path, *, given: bytes | None = None, limit: int = PLENTY) -> Child:
    return made(["sh", "-c", script], folder, given=given, limit=limit)


def made(
    argv: list[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    given: bytes | None = None,
    limit: int = PLENTY,
) -> Child:
    return Child(argv, {"PATH": os.environ["PATH"]} if environment is None else environment, folder, given, limit)


def python(script: str, folder: Path) -> Child:
    return made([sys.executable, "-I", "-c", script], folder)


def is_gone(pid: int) -> bool:
    """Wait until a process is no more, or only waits to be buried."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def pid_in(path: Path) -> int:
    """Wait until a process has told its id."""
    for _ in range(1000):
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError("nothing was started")


def test_exit_code_and_both_streams_are_told(tmp_path: Path) -> None:
    told = sh("echo out; echo err >&2; exit 3", tmp_path)
    assert told.run() == 3
    assert (bytes(told.stdout.start), bytes(told.stderr.start)) == (b"out\n", b"err\n")


def test_signal_is_a_negative_code(tmp_path: Path) -> None:
    assert sh("kill -9 $$", tmp_path).run() == -signal.SIGKILL


def test_streams_filled_in_turn_block_nobody(tmp_path: Path) -> None:
    told = python(
        "import os\nfor _ in range(40): os.write(1, b'o' * 65536); os.write(2, b'e' * 65536)\nos.write(1, b'.')",
        tmp_path,
    )
    assert told.run() == 0
    assert (told.stdout.bytes, told.stderr.bytes) == (40 * 65536 + 1, 40 * 65536)


def test_of_a_long_stream_the_hash_is_of_all_and_little_is_held(tmp_path: Path) -> None:
    told = python(f"import os\nfor _ in range(40): os.write(1, b'x' * {1 << 16})", tmp_path)
    told.run()
    assert told.stdout.sha256 == hashlib.sha256(b"x" * (40 << 16)).hexdigest()
    assert len(told.stdout.start) == WHOLE


def test_program_that_writes_without_end_is_killed(tmp_path: Path) -> None:
    told = sh("echo $$ > pid; exec yes", tmp_path, limit=1000)
    with pytest.raises(CommandError, match="more than 1000 bytes") as caught:
        told.run()
    assert caught.value.code == "too much output"
    assert is_gone(pid_in(tmp_path / "pid"))
    assert told.stdout.bytes < 1 << 20


def test_limit_is_for_both_streams_together(tmp_path: Path) -> None:
    assert sh("printf 12345; printf 12345 >&2", tmp_path, limit=10).run() == 0
    with pytest.raises(CommandError):
        sh("printf 12345; printf 123456 >&2", tmp_path, limit=10).run()


def test_stdin_is_closed_unless_given(tmp_path: Path) -> None:
    told = sh("cat; echo $?", tmp_path)
    told.run()
    assert bytes(told.stdout.start) == b"0\n"


def test_what_we_are_given_on_stdin_is_not_the_childs(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    kept = os.dup(0)
    os.dup2(ours, 0)
    try:
        os.write(theirs, b"ours")
        os.close(theirs)
        told = sh("cat", tmp_path)
        told.run()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(ours)
    assert told.stdout.bytes == 0


@pytest.mark.parametrize("given", [b"", b"a line\n", b"x" * (1 << 20)])
def test_stdin_is_what_was_given_though_nobody_reads_it_at_once(tmp_path: Path, given: bytes) -> None:
    told = sh("sleep 0.05; sha256sum", tmp_path, given=given)
    told.run()
    assert bytes(told.stdout.start)[:64].decode() == hashlib.sha256(given).hexdigest()
    assert sh("exit 0", tmp_path, given=given).run() == 0


def test_environment_is_what_is_given_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDEN_SECRET", "nobody may see it")
    told = made(["/usr/bin/env"], tmp_path, environment={"A": "1"})
    told.run()
    assert bytes(told.stdout.start) == b"A=1\n"


def test_no_descriptor_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        told = sh("ls /proc/self/fd | wc -l", tmp_path)
        told.run()
    # Its three streams, and the folder that is listed.
    assert int(bytes(told.stdout.start)) == 4


@pytest.mark.parametrize(
    "name, code",
    [("no-such-command", "not found"), ("./plain", "no permission"), ("./garbage", "cannot start")],
)
def test_what_cannot_be_started_is_told_by_its_kind(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "plain").write_text("text")
    (tmp_path / "garbage").write_text("garbage")
    (tmp_path / "garbage").chmod(0o700)
    with pytest.raises(CommandError) as caught:
        made([name], tmp_path).run()
    assert caught.value.code == code


def test_whoever_ignores_the_end_of_children_is_told_so(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(CommandError, match="SIGCHLD"):
            sh("exit 3", tmp_path).run()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_what_holds_the_output_open_is_an_error_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE", 0.1)
    told = sh("sleep 1000 & echo $! > pid; echo done", tmp_path)
    with pytest.raises(CommandError, match="left a process behind") as caught:
        told.run()
    assert caught.value.code == "output held open"
    assert is_gone(pid_in(tmp_path / "pid"))


def test_what_lets_go_of_the_output_in_time_is_heard_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE", 30)
    told = sh("(sleep 0.1; echo late) & echo soon", tmp_path)
    assert told.run() == 0
    assert bytes(told.stdout.start) == b"soon\nlate\n"


def test_what_stays_behind_silently_is_killed(tmp_path: Path) -> None:
    assert sh("sleep 1000 > /dev/null 2>&1 & echo $! > pid", tmp_path).run() == 0
    assert is_gone(pid_in(tmp_path / "pid"))


def test_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    assert sh("exec > /dev/null 2>&1; sleep 0.1; exit 5", tmp_path).run() == 5


def test_group_ends_with_whoever_is_left_behind(tmp_path: Path) -> None:
    told = sh("sleep 1000 & echo $! > pid; wait", tmp_path)
    waiting = threading.Thread(target=told.run)
    waiting.start()
    pid = pid_in(tmp_path / "pid")
    child.leave(waiting)
    waiting.join(10)
    assert not waiting.is_alive()
    assert is_gone(pid)


def test_leaving_a_thread_that_waits_for_nothing_does_nothing() -> None:
    child.leave(threading.current_thread())
    child.leave(threading.Thread())


def test_ended_before_it_began_it_runs_for_no_time(tmp_path: Path) -> None:
    told = sh("sleep 1000", tmp_path)
    told.end()
    assert told.run() == -signal.SIGKILL


def test_what_breaks_in_ends_the_group(tmp_path: Path) -> None:
    def arrive(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, arrive)
    try:
        told = sh("sleep 1000 & echo $! > pid; wait", tmp_path)
        pids: list[int] = []

        def interrupt() -> None:
            pids.append(pid_in(tmp_path / "pid"))
            os.kill(os.getpid(), signal.SIGUSR1)

        helper = threading.Thread(target=interrupt)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            told.run()
        helper.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert is_gone(pids[0])
    assert threading.get_ident() not in child._waited_for


def test_a_system_without_threads_is_an_error_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(CommandError, match="can't start new thread"):
        sh("exit 0", tmp_path).run()


class Waits(threading.Event):
    """An event that knows for how long it was waited for at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return super().wait(timeout)


def test_a_signal_that_comes_just_before_the_wait_is_not_slept_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PATIENCE", 0.05)
    found = sh("sleep 0.2", tmp_path)
    found._gone = waits = Waits()
    assert found.run() == 0
    assert len(waits.seconds) > 2
    assert None not in waits.seconds
