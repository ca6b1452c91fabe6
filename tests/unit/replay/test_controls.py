"""Controls: what stops the engine, what only drains it, and that whatever cannot be read stops it."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from golden.errors import StoreError, UsageError
from replay import controls
from replay.controls import EMERGENCY_STOP, ENGINE_ENABLED, STOP_FILE, Controls, Halt, lift, read_stop, write_stop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A golden directory that does not exist yet."""
    return tmp_path / "golden"


def stop_file(folder: Path, content: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / STOP_FILE
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def both(folder: Path, environ: dict[str, str] | None = None) -> tuple[Halt | None, Halt | None]:
    """Return what keeps a run from going on, and one from beginning."""
    found = Controls(folder, environ or {})
    return found.halt(), found.refusal()


# Who may go on


def test_without_a_directory_nothing_is_halted(folder: Path) -> None:
    assert both(folder) == (None, None)
    assert not folder.exists()


def test_an_empty_directory_halts_nothing(folder: Path) -> None:
    folder.mkdir()
    assert both(folder) == (None, None)


def test_a_stop_keeps_runs_from_going_on_and_from_beginning(folder: Path) -> None:
    said = write_stop(folder, "stop", "INC-7: wrong prices")
    assert both(folder) == (said, said)
    assert (said.mode, said.reason, said.origin) == ("stop", "INC-7: wrong prices", STOP_FILE)
    assert said.actor is not None
    assert said.actor.endswith(f"@{os.uname().nodename}")


def test_a_drain_only_keeps_runs_from_beginning(folder: Path) -> None:
    said = write_stop(folder, "drain", "a release")
    assert both(folder) == (None, said)


def test_controls_are_read_anew_each_time(folder: Path) -> None:
    environ: dict[str, str] = {}
    found = Controls(folder, environ)
    assert found.halt() is None
    write_stop(folder, "stop", "now")
    assert found.halt() is not None
    lift(folder)
    assert found.halt() is None
    environ[EMERGENCY_STOP] = "1"
    assert found.halt() is not None
    del environ[EMERGENCY_STOP]
    assert found.halt() is None


@pytest.mark.parametrize("text", ["1", "true", "yes", "on", "", "anything"])
def test_a_variable_that_is_set_is_on(folder: Path, text: str) -> None:
    halted = Halt("stop", f"{EMERGENCY_STOP} is set", None, None, EMERGENCY_STOP)
    assert both(folder, {EMERGENCY_STOP: text}) == (halted, halted)
    assert both(folder, {ENGINE_ENABLED: text}) == (None, None)


@pytest.mark.parametrize("text", ["0", "false", "no", "off", "FALSE", " Off "])
def test_a_variable_that_says_no_is_off(folder: Path, text: str) -> None:
    drained = Halt("drain", f"{ENGINE_ENABLED} is off", None, None, ENGINE_ENABLED)
    assert both(folder, {EMERGENCY_STOP: text}) == (None, None)
    assert both(folder, {ENGINE_ENABLED: text}) == (None, drained)


def test_what_stops_comes_before_what_drains_and_the_file_before_variables(folder: Path) -> None:
    environ = {EMERGENCY_STOP: "1", ENGINE_ENABLED: "0"}
    write_stop(folder, "drain", "a release")
    found = Controls(folder, environ)
    assert [halt.origin for halt in found.in_force()] == [EMERGENCY_STOP, STOP_FILE, ENGINE_ENABLED]
    assert [halt.origin for halt in (found.halt(), found.refusal()) if halt] == [EMERGENCY_STOP, EMERGENCY_STOP]
    write_stop(folder, "stop", "INC-7")
    assert [halt.origin for halt in found.in_force()] == [STOP_FILE, EMERGENCY_STOP, ENGINE_ENABLED]
    assert [halt.origin for halt in (found.halt(), found.refusal()) if halt] == [STOP_FILE, STOP_FILE]


def test_a_relative_directory_is_the_one_meant_when_the_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = Controls("golden")
    write_stop("golden", "stop", "now")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert found.halt() is not None


def test_without_a_stop_file_no_descriptor_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A step that has used up all of them is no emergency.
    def none_left(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    folder.mkdir()
    monkeypatch.setattr(os, "open", none_left)
    assert Controls(folder).halt() is None


# What cannot be read


def loop(path: Path) -> None:
    path.symlink_to(path)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_text(""), "does not say"),
    "no JSON": (lambda path: path.write_text("stop!"), "does not say"),
    "cut": (lambda path: path.write_text('{"mode":"sto'), "does not say"),
    "two": (lambda path: path.write_text('{"mode":"drain"}{}'), "does not say"),
    "a list": (lambda path: path.write_text('["drain"]'), "does not say"),
    "another mode": (lambda path: path.write_text('{"mode":"pause"}'), "does not say"),
    "no text": (lambda path: path.write_bytes(b'{"mode":"drain","reason":"\xff"}'), "does not say"),
    "a number for a reason": (lambda path: path.write_text('{"mode":"drain","reason":1}'), "does not say"),
    "deep": (lambda path: path.write_text('{"x":' + "[" * 9999 + "]" * 9999 + "}"), "does not say"),
    "large": (lambda path: path.write_text('{"mode":"drain"}' + " " * 65536), "larger than"),
    "a directory": (Path.mkdir, "is not a regular file"),
    "a FIFO": (os.mkfifo, "is not a regular file"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "is a symbolic link"),
    "a link to a file": (lambda path: path.symlink_to(__file__), "is a symbolic link"),
    "a loop": (loop, "is a symbolic link"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_stop_file_that_cannot_be_read_stops(folder: Path, name: str) -> None:
    folder.mkdir()
    make, said = UNREADABLE[name]
    make(folder / STOP_FILE)
    halt, refusal = both(folder)
    assert halt == refusal
    assert halt is not None
    assert (halt.mode, halt.actor, halt.at, halt.origin) == ("stop", None, None, STOP_FILE)
    assert said in halt.reason
    assert halt.reason.startswith(STOP_FILE)
    assert halt.problem == f"{halt.reason}, and stops the engine therefore"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_stop_file_that_may_not_be_read_stops(folder: Path) -> None:
    stop_file(folder, '{"mode":"drain"}').chmod(0)
    halt, _ = both(folder)
    assert halt is not None
    assert "Permission denied" in halt.reason


@pytest.mark.parametrize("call", ["lstat", "open", "read"])
def test_a_system_that_refuses_to_say_stops(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    stop_file(folder, '{"mode":"drain"}')
    monkeypatch.setattr(os, call, refuse)
    halt, _ = both(folder)
    assert halt is not None
    assert "Input/output error" in halt.reason


def test_a_directory_that_is_none_holds_no_run_to_stop(folder: Path) -> None:
    folder.touch()
    assert both(folder) == (None, None)
    assert lift(folder) is None


@pytest.mark.parametrize("mode", ["stop", "drain"])
def test_whoever_writes_one_by_hand_may_leave_everything_else_out(folder: Path, mode: str) -> None:
    stop_file(folder, json.dumps({"mode": mode, "ticket": "INC-7"}))
    halt = read_stop(folder)
    assert halt is not None
    assert (halt.mode, halt.reason, halt.actor, halt.at) == (mode, "no reason given", "somebody", None)
    assert halt.problem == f"somebody {'stopped' if mode == 'stop' else 'drained'} the engine: no reason given"


# Writing and lifting


def test_the_file_says_who_when_and_why(folder: Path) -> None:
    said = write_stop(folder, "drain", "a release")
    path = folder / STOP_FILE
    assert json.loads(path.read_text()) == {
        "mode": "drain",
        "reason": "a release",
        "actor": said.actor,
        "at": said.at,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(folder.stat().st_mode) & ~0o750 == 0
    assert [path.name for path in folder.iterdir()] == [STOP_FILE]


def test_a_second_stop_takes_the_place_of_the_first(folder: Path) -> None:
    write_stop(folder, "drain", "a release")
    said = write_stop(folder, "stop", "INC-7")
    assert read_stop(folder) == said
    assert [path.name for path in folder.iterdir()] == [STOP_FILE]


def test_a_stop_takes_the_place_of_what_cannot_be_read(folder: Path) -> None:
    folder.mkdir()
    (folder / STOP_FILE).symlink_to("nothing")
    said = write_stop(folder, "drain", "a release")
    assert read_stop(folder) == said
    assert not (folder / "nothing").exists()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001, "\udcff"])
def test_a_reason_that_says_nothing_or_cannot_be_kept_is_refused(folder: Path, reason: str) -> None:
    with pytest.raises(UsageError, match="the reason"):
        write_stop(folder, "stop", reason)
    assert not folder.exists()


def test_a_stop_that_cannot_be_written_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    said = write_stop(folder, "drain", "a release")
    monkeypatch.setattr(controls, "put", full)
    with pytest.raises(StoreError, match="No space left on device") as refusal:
        write_stop(folder, "stop", "INC-7")
    assert "an empty file too" in refusal.value.hint
    assert read_stop(folder) == said


def test_lifting_says_what_was_lifted(folder: Path) -> None:
    said = write_stop(folder, "stop", "INC-7")
    assert lift(folder) == said
    assert lift(folder) is None
    assert list(folder.iterdir()) == []


def test_lifting_where_there_is_no_directory_lifts_nothing(folder: Path) -> None:
    assert lift(folder) is None


@pytest.mark.parametrize("content", ["", "stop!", '{"mode":"pause"}'])
def test_lifting_takes_away_what_cannot_be_read(folder: Path, content: str) -> None:
    path = stop_file(folder, content)
    found = lift(folder)
    assert found is not None
    assert "does not say" in found.reason
    assert not path.exists()


def test_what_cannot_be_lifted_stays_in_force(folder: Path) -> None:
    (folder / STOP_FILE).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"{STOP_FILE} cannot be taken away"):
        lift(folder)
    with pytest.raises(StoreError, match=f"{STOP_FILE} cannot be written"):
        write_stop(folder, "drain", "a release")
    assert Controls(folder).halt() is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_stop_by_root_is_readable_for_whose_directory_it_is(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 23456)
    write_stop(folder, "stop", "INC-7")
    info = (folder / STOP_FILE).stat()
    assert (info.st_uid, info.st_gid) == (12345, 23456)


# What a halt says


def test_a_refusal_names_who_when_and_why(folder: Path) -> None:
    said = write_stop(folder, "stop", "INC-7: wrong prices")
    error = said.refusal()
    assert error.problem == f"EMERGENCY_STOP: {said.actor} stopped the engine at {said.at}: INC-7: wrong prices"
    assert "golden start" in error.hint
    drained = write_stop(folder, "drain", "a release").refusal()
    assert " drained the engine at " in drained.problem


def test_a_refusal_by_a_variable_names_it(folder: Path) -> None:
    refusal = Controls(folder, {EMERGENCY_STOP: "1"}).refusal()
    assert refusal is not None
    assert refusal.refusal().problem == f"EMERGENCY_STOP: {EMERGENCY_STOP} is set"
    assert refusal.hint == f"unset {EMERGENCY_STOP} to record again"
