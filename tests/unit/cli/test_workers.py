"""Workers: every item is answered in order, whatever the code of one does to the process that it runs in."""

import faulthandler
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cli import workers
from cli.workers import Died

Function = Callable[[int], bytes]
JOBS = [1, 3]


def answers(function: Callable[[int], bytes], items: Sequence[int], jobs: int) -> Iterator[bytes | Died]:
    return workers.answers(function, items, jobs, bytes)


def said(item: int) -> bytes:
    return f"item {item}".encode()


def where_it_is_2(act: Callable[[], object]) -> Function:
    """Return a function of items that does something first where the item is 2."""

    def function(item: int) -> bytes:
        if item == 2:
            act()
        return said(item)

    return function


def alive(pid: int) -> bool:
    """Say whether a process is there that does anything any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("jobs", [1, 2, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_each_item_is_answered_in_order(jobs: int, count: int) -> None:
    assert list(answers(said, range(count), jobs)) == [said(item) for item in range(count)]


def test_no_more_processes_than_items_and_jobs() -> None:
    def pid(_: int) -> bytes:
        time.sleep(0.02)
        return str(os.getpid()).encode()

    assert len(set(answers(pid, range(9), 1))) == 1
    assert len(set(answers(pid, range(9), 3))) <= 3
    assert os.getpid() not in set(map(int, filter(lambda told: isinstance(told, bytes), answers(pid, range(2), 8))))  # type: ignore[arg-type]


def test_an_answer_may_be_long_or_nothing() -> None:
    sizes = [0, 1, 70_000, 5_000_000, 3]
    assert [len(told) for told in answers(lambda size: b"x" * size, sizes, 2)] == sizes


def _aborted() -> None:
    # Nobody wants to read where.
    faulthandler.disable()
    os.abort()


def _unreadable() -> None:
    os.closerange(3, 300)


def _unreadable_and_at_work() -> None:
    os.closerange(3, 300)
    time.sleep(60)


ENDS: dict[str, tuple[Callable[[], object], str]] = {
    "is killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
    "aborts": (_aborted, "killed by SIGABRT"),
    "exits": (lambda: os._exit(0), "ended with exit code 0"),
    "exits with a code": (lambda: os._exit(7), "ended with exit code 7"),
    "closes every file": (_unreadable, "ended with exit code 1"),
    "closes every file and goes on": (_unreadable_and_at_work, "it closed the line that it answers through"),
}


@pytest.mark.parametrize("jobs", JOBS)
@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_is_told_and_the_rest_is_answered(
    how: str, jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    act, told = ENDS[how]
    found = list(answers(where_it_is_2(act), range(5), jobs))
    assert found == [said(0), said(1), Died(told), said(3), said(4)]
    assert "Traceback" not in capfd.readouterr().err


def test_all_may_end() -> None:
    assert list(answers(lambda _: os._exit(1), range(4), 2)) == [Died("ended with exit code 1")] * 4


def test_what_ours_raises_is_said_in_two_lines(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_: int) -> bytes:
        raise LookupError

    assert list(answers(fail, [1], 1)) == [Died("ended with exit code 1")]
    assert capfd.readouterr().err.splitlines() == [
        "golden: internal error: LookupError",
        "hint: run it again with --debug to see where",
    ]


def test_a_copy_of_the_process_answers_for_no_other_item() -> None:
    def copy() -> None:
        if os.fork() == 0:
            # By now the first has answered, and was given its next item.
            time.sleep(0.1)

    def slow(item: int) -> bytes:
        if item == 3:
            time.sleep(0.4)
        return where_it_is_2(copy)(item)

    assert list(answers(slow, range(5), 1)) == [said(item) for item in range(5)]


def test_what_was_never_asked_for_is_no_answer() -> None:
    def twice(item: int) -> bytes:
        if item == 1:
            frame = inspect.currentframe()
            while frame is not None and frame.f_code.co_name != "_serve":
                frame = frame.f_back
            assert frame is not None
            frame.f_locals["line"].sendall((4).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"yes")
            time.sleep(60)
        return said(item)

    assert list(answers(twice, range(3), 1)) == [said(0), Died("it gave an answer that nobody asked for"), said(2)]


@pytest.mark.skipif(sys.platform != "linux", reason="who the parent of an orphan is, elsewhere nobody can say")
@pytest.mark.parametrize("jobs", JOBS)
def test_nothing_is_left_running(tmp_path: Path, jobs: int) -> None:
    told = tmp_path / "pids"

    def leave() -> None:
        left = subprocess.Popen(["sleep", "60"])
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                deeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
                told.write_text(f"{left.pid} {os.getpid()} {deeper.pid}")
                time.sleep(60)
            os._exit(0)
        while not told.exists() or not told.read_text():
            time.sleep(0.01)

    ours = subprocess.Popen(["sleep", "60"])
    try:
        assert list(answers(where_it_is_2(leave), range(4), jobs)) == [said(item) for item in range(4)]
        pids = [int(pid) for pid in told.read_text().split()]
        assert (len(pids), [pid for pid in pids if alive(pid)]) == (3, [])
        assert alive(ours.pid)
    finally:
        ours.kill()
        ours.wait()


def test_who_stops_asking_ends_those_at_work(tmp_path: Path) -> None:
    def work(item: int) -> bytes:
        (tmp_path / str(os.getpid())).touch()
        if item:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        return said(item)

    asking = answers(work, range(3), 3)
    assert next(asking) == said(0)
    while len(list(tmp_path.iterdir())) < 3:
        time.sleep(0.01)
    asking.close()  # type: ignore[attr-defined]
    assert [pid for pid in (int(path.name) for path in tmp_path.iterdir()) if alive(pid)] == []


def test_threads_that_never_end_hold_nobody_up() -> None:
    def think() -> None:
        for _ in range(3):
            threading.Thread(target=time.sleep, args=(60,)).start()

    began = time.monotonic()
    assert list(answers(where_it_is_2(think), range(4), 2)) == [said(item) for item in range(4)]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("jobs", JOBS)
def test_what_is_written_is_written_once(jobs: int) -> None:
    program = """
import os, sys
from cli.workers import answers

def function(item):
    print("item", item)
    if item in (1, 3):
        sys.stdout.flush()
        os._exit(1)
    return b""

print("before")
for number, _ in enumerate(answers(function, range(5), int(sys.argv[1]), bytes)):
    print("after", number)
"""
    # Without -E a variable could have the stream pass on each piece of a line by itself.
    done = subprocess.run([sys.executable, "-E", "-c", program, str(jobs)], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == sorted(
        ["before", *(f"{word} {number}" for word in ("item", "after") for number in range(5))]
    )


def test_what_is_not_understood_is_told_with_its_item_and_the_rest_goes_on() -> None:
    found = list(workers.answers(said, range(3), 1, lambda told: None if told == said(1) else told))
    assert found == [said(0), Died("it gave an answer that is none"), said(2)]
