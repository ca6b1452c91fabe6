"""What of a call is told: by name, with what nobody gave where that counts, without what is to be left out."""

import functools
import time
from typing import Any

import pytest

from golden.errors import UsageError
from replay import Context, external, step
from replay.parameters import Parameters, UntoldError


def told(function: Any, *args: Any, ignore: Any = (), defaults: bool = True, **kwargs: Any) -> dict[str, Any]:
    found = Parameters(function, ignore=ignore, is_method=False, defaults=defaults)
    return found.told(args, kwargs)


def test_what_nobody_gives_is_told_where_it_is_asked_for() -> None:
    def ask(question: str, model: str = "big", *, stop: Any = None, ctx: Context | None = None) -> None: ...

    assert told(ask, "who") == {"question": "who", "model": "big", "stop": None}
    assert told(ask, "who", "big", stop=None) == told(ask, "who")
    assert told(functools.partial(ask, model="small"), "who")["model"] == "small"
    assert told(ask, "who", ignore=["stop"]) == {"question": "who", "model": "big"}
    assert told(ask, "who", defaults=False) == {"question": "who"}


def test_a_default_is_what_it_was_when_the_function_was_defined() -> None:
    def ask(question: str, seen: list[str] = []) -> None:  # noqa: B006  what is tried
        seen.append(question)

    found = Parameters(ask, ignore=(), is_method=False, defaults=True)
    ask("before")
    assert found.told(("who",), {}) == {"question": "who", "seen": []}


def test_a_default_that_no_recording_can_hold_is_left_out_and_such_an_argument_named() -> None:
    def ask(question: str, client: object = object()) -> None: ...

    assert told(ask, "who") == {"question": "who"}
    with pytest.raises(UntoldError, match="argument client: a object is no JSON value"):
        told(ask, "who", client=object())


def test_what_is_to_be_left_out_is_so_among_those_of_any_name_too() -> None:
    def ask(question: str, **options: Any) -> None: ...

    assert told(ask, "who", api_key="secret", top=1, ignore=["api_key"]) == {"question": "who", "options": {"top": 1}}


@pytest.mark.parametrize("decorator", [step, external])
@pytest.mark.parametrize(
    "ignore, problem, hint",
    [
        ("client", "ask: ignore='client' is one text", 'write ignore=["client"]'),
        (
            ["kye"],
            "ask: ignore names kye, and there is no such parameter",
            "its parameters are key, client",
        ),
    ],
)
def test_what_is_to_be_left_out_and_is_not_there_is_refused(
    decorator: Any, ignore: Any, problem: str, hint: str
) -> None:
    def ask(key: str, client: Any) -> None: ...

    ask.__qualname__ = "ask"
    with pytest.raises(UsageError) as refused:
        decorator(ignore=ignore)(ask)
    assert (refused.value.problem, refused.value.hint) == (problem, hint)


def test_a_function_of_c_that_says_nothing_of_its_parameters_is_called_all_the_same() -> None:
    assert told(time.time) == {}
    assert told(max, 1, 2) == {"args": [1, 2]}
