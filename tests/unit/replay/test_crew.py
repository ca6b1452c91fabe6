"""The crew: threads are used again, none outlives its work, and nobody waits for one that overstays."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from golden.errors import StoreError
from replay.crew import Crew, LeftBehindError


@pytest.fixture
def ended() -> list[str]:
    """Collect the names of threads that said they end."""
    return []


@pytest.fixture
def crew(ended: list[str]) -> Iterator[Crew]:
    before = set(threading.enumerate())
    made = Crew(lambda: ended.append(threading.current_thread().name), unheard)
    yield made
    made.close()
    gone(set(threading.enumerate()) - before)


def unheard(_: threading.Thread) -> None:
    """Wake a thread that runs Python code, which hears of it without."""


def gone(threads: set[threading.Thread]) -> None:
    """Wait for threads to end; one that never does is a leak."""
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def workers(crew: Crew) -> list[threading.Thread]:
    """Return the threads that are neither sent home nor left behind."""
    return [worker.thread for worker in (*crew._idle, *crew._busy.values())]


def put(crew: Crew, number: int, work: Callable[[], Any]) -> None:
    """Have work done, and wait until its result lies there, untaken."""
    crew.begin(number, work)
    while crew.done.empty():
        time.sleep(0)


def test_work_runs_in_a_daemon_thread_of_its_own_and_comes_back_by_its_number(crew: Crew) -> None:
    crew.begin(7, threading.current_thread)
    found = crew.take(None)
    assert found is not None
    assert found[0] == 7
    assert found[1] is not threading.current_thread()
    assert found[1].daemon


def test_what_the_work_raised_is_raised_by_take(crew: Crew) -> None:
    def fails() -> None:
        raise KeyError("k")

    crew.begin(1, fails)
    with pytest.raises(KeyError, match="k"):
        crew.take(None)
    crew.begin(2, lambda: "still there")
    assert crew.take(None) == (2, "still there")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_work_that_would_end_a_process_ends_no_thread(crew: Crew, error: BaseException) -> None:
    def fails() -> None:
        raise error

    crew.begin(1, fails)
    with pytest.raises(type(error)):
        crew.take(None)
    (thread,) = workers(crew)
    crew.begin(2, threading.current_thread)
    assert crew.take(None) == (2, thread)


def test_threads_are_used_again_and_there_are_no_more_than_work_at_a_time(crew: Crew) -> None:
    for number in range(20):
        crew.begin(number, lambda: 1)
        crew.take(None)
    assert len(workers(crew)) == 1
    together = threading.Barrier(3)
    for number in range(3):
        crew.begin(number, together.wait)
    assert {(crew.take(None) or (None,))[0] for _ in range(3)} == {0, 1, 2}
    assert len(workers(crew)) == 3


def test_take_gives_none_when_the_time_is_up(crew: Crew) -> None:
    free = threading.Event()
    crew.begin(1, free.wait)
    assert crew.take(0) is None
    assert crew.take(0.01) is None
    free.set()
    assert crew.take(None) == (1, True)


def test_work_left_behind_is_told_so_where_it_is_and_its_thread_ends(crew: Crew, ended: list[str]) -> None:
    begun, told = threading.Event(), threading.Event()

    def spins() -> None:
        begun.set()
        try:
            while True:
                time.sleep(0)
        except LeftBehindError:
            told.set()
            raise

    crew.begin(1, spins)
    assert begun.wait(30)
    threads = set(workers(crew))
    crew.leave_behind(1)
    assert told.wait(30)
    gone(threads)
    assert ended == ["golden-step"]
    assert crew.take(0) is None


def test_work_that_swallows_being_left_behind_gives_no_result_and_its_thread_ends(crew: Crew) -> None:
    begun = threading.Event()

    def swallows() -> str:
        begun.set()
        try:
            while True:
                time.sleep(0)
        except BaseException:  # noqa: BLE001  what is tried
            return "late"

    crew.begin(1, swallows)
    assert begun.wait(30)
    threads = set(workers(crew))
    crew.leave_behind(1)
    gone(threads)
    # Its number is free for the next attempt, whose result is not mistaken for the late one.
    crew.begin(1, lambda: "in time")
    found = None
    while found is None:
        found = crew.take(30)
    assert found == (1, "in time")


def test_thread_whose_work_ended_just_before_it_was_left_behind_ends_too(crew: Crew, ended: list[str]) -> None:
    put(crew, 1, lambda: "nobody takes it")
    threads = set(workers(crew))
    crew.leave_behind(1)
    assert crew.take(0) is None
    gone(threads)
    assert ended == ["golden-step"]


def test_thread_whose_result_was_being_taken_when_a_signal_broke_in_ends_once(crew: Crew, ended: list[str]) -> None:
    class BrokenInto(dict[int, Any]):
        def __delitem__(self, number: int) -> None:
            raise KeyboardInterrupt

    put(crew, 1, lambda: 1)
    crew._busy = BrokenInto(crew._busy)
    with pytest.raises(KeyboardInterrupt):
        crew.take(0)
    threads = set(workers(crew))
    crew.close()
    gone(threads)
    assert ended == ["golden-step"]
    assert crew._idle == []


def test_close_ends_idle_busy_and_untaken_threads_alike(ended: list[str]) -> None:
    crew = Crew(lambda: ended.append("ended"), unheard)
    free, begun = threading.Event(), threading.Event()

    def waits() -> None:
        begun.set()
        free.wait()

    crew.begin(1, waits)
    put(crew, 2, lambda: "nobody takes it")
    crew.begin(3, threading.current_thread)
    while (found := crew.take(30)) is None or found[0] != 3:
        pass
    assert begun.wait(30)
    threads = set(workers(crew))
    crew.close()
    # It is in C code, and hears of it when it comes back.
    free.set()
    gone(threads)
    assert ended == ["ended"] * len(threads)


def test_thread_that_waits_outside_of_python_is_woken_to_be_told(ended: list[str]) -> None:
    asleep, awake = threading.Event(), threading.Event()
    woken: list[threading.Thread] = []

    def wake(thread: threading.Thread) -> None:
        woken.append(thread)
        awake.set()

    def sleeps() -> None:
        asleep.set()
        awake.wait()
        time.sleep(60)

    crew = Crew(lambda: ended.append("ended"), wake)
    crew.begin(1, sleeps)
    assert asleep.wait(30)
    threads = workers(crew)
    crew.leave_behind(1)
    assert woken == threads
    gone(set(threads))
    assert ended == ["ended"]


def test_being_left_behind_while_ending_does_not_keep_the_end_from_coming(ended: list[str]) -> None:
    ending, free = threading.Event(), threading.Event()

    def at_end() -> None:
        ending.set()
        while not free.is_set():
            time.sleep(0)
        ended.append("ended")

    crew = Crew(at_end, unheard)
    crew.begin(1, threading.current_thread)
    found = crew.take(None)
    assert found is not None
    worker = crew._idle[0]
    worker.inbox.put(None)
    assert ending.wait(30)
    crew._busy[1] = worker
    crew.leave_behind(1)
    free.set()
    gone({found[1]})
    assert ended == ["ended"]


def test_system_without_threads_is_a_store_error(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StoreError, match="no thread can be started for a step: can't start new thread"):
        crew.begin(1, lambda: 1)
