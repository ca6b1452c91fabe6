"""Frames: the user's own places in a traceback, and failures told without trusting the exception."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from replay import frames
from replay.frames import MAX_MESSAGE, Failure, calling_place, failure_of, owner, package_of, place
from tests.unit.replay.conftest import here


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError


def boom() -> None:
    raise ValueError("no")


@pytest.mark.parametrize(
    "file, whose",
    [
        (__file__, "user"),
        ("<string>", "user"),
        (frames.__file__, "ours"),
        (pytest.__file__, "library"),
        ("/usr/lib/python3/dist-packages/x.py", "library"),
        (os.path.__file__, "stdlib"),
        ("<frozen os>", "stdlib"),
        (str(Path(frames.__file__).parents[1] / "cli/demo/skills.py"), "user"),
    ],
)
def test_a_file_belongs_to_somebody(file: str, whose: str) -> None:
    assert owner(file) == whose


@pytest.mark.parametrize(
    "file, name",
    [
        (logging.__file__, "logging"),
        (tempfile.__file__, "tempfile"),
        ("<frozen importlib._bootstrap_external>", "importlib"),
        ("<frozen os>", "os"),
    ],
)
def test_a_file_of_the_standard_library_belongs_to_a_module(file: str, name: str) -> None:
    assert package_of(file) == name


def test_file_below_the_working_directory_is_relative_and_others_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place(str(tmp_path / "sub" / "a.py"), 3) == "sub/a.py:3"
    assert place(str(tmp_path.parent / "b.py"), 4) == f"{tmp_path.parent / 'b.py'}:4"


def test_file_whose_name_is_not_utf8_gets_a_place_an_event_can_hold() -> None:
    assert msgspec.json.encode(place("/x/caf\udce9.py", 1)) == b'"/x/caf?.py:1"'


def test_place_survives_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert place("a.py", 3) == "a.py:3"


def test_failure_names_type_message_and_frames_outermost_first() -> None:
    failure = failure_of(caught(boom))
    assert (failure.type, failure.message) == ("ValueError", "no")
    assert [name for _, name in failure.frames] == ["caught", "boom"]
    assert failure.location == here(boom.__code__.co_firstlineno + 1, __file__)


def test_frames_of_the_standard_library_and_of_this_project_are_left_out() -> None:
    failure = failure_of(caught(lambda: msgspec.json.decode(b"x")))
    assert [name for _, name in failure.frames] == ["caught", "<lambda>"]
    failure = failure_of(caught(lambda: Path("/nope/nope").read_bytes()))
    assert [name for _, name in failure.frames] == ["caught", "<lambda>"]


def test_calls_that_go_round_and_round_are_told_in_few_lines() -> None:
    said = [("a.py:1", "main"), *[("a.py:2", "f")] * 900]
    assert Failure("RecursionError", "", said).stack == [("a.py:1", "main", 1), ("a.py:2", "f", 900)]
    rounds = [(f"a.py:{n % 2}", "f") for n in range(901)]
    shown = Failure("RecursionError", "", rounds).stack
    assert (shown[0], shown[10], shown[-1]) == (("a.py:0", "f", 1), ("…", "861 more", 1), ("a.py:0", "f", 1))
    assert len(shown) == 41


def test_failure_without_a_frame_of_the_user_has_no_location() -> None:
    assert failure_of(ValueError("never raised")) == Failure("ValueError", "never raised", [])
    assert failure_of(ValueError("never raised")).location is None


def test_syntax_error_points_into_the_file_that_has_it() -> None:
    failure = failure_of(caught(lambda: compile("a = (", "users.py", "exec")))
    assert failure.location == "users.py:1"


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error, message",
    [
        (UnspeakableError(), ""),
        (ValueError("a" * 10_000), "a" * MAX_MESSAGE),
        (ValueError("\ud800"), "?"),
        (ValueError(), ""),
    ],
)
def test_message_is_bounded_and_one_that_cannot_be_made_is_left_out(error: BaseException, message: str) -> None:
    assert failure_of(error).message == message


def test_calling_place_is_the_innermost_user_frame() -> None:
    frame = sys._getframe()
    assert calling_place(frame) == here(frame.f_lineno, __file__)


def test_there_is_no_calling_place_where_no_frame_is_the_users() -> None:
    assert calling_place(None) is None
