"""Paths: a recorded step is found by what it is given, wherever it stands; what is new is called as nothing else is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.paths import Paths, is_nested


def known(*steps: tuple[str, int, str | None]) -> Paths:
    paths = Paths(1)
    for each in steps:
        paths.add(*each)
    return paths


def test_new_steps_are_numbered_by_name_below_their_caller() -> None:
    paths = Paths(3)
    assert [paths.new("a", "f"), paths.new("a", "f"), paths.new("a", "g"), paths.new("a/f", "f")] == [
        ("a/f", 3),
        ("a/f#2", 4),
        ("a/g", 5),
        ("a/f/f", 6),
    ]


def test_a_step_is_known_by_what_it_is_given_else_by_its_turn() -> None:
    paths = known(("a/f#2", 2, "two"), ("a/f", 1, "one"), ("a/f#3", 3, "two"), ("b/f", 4, "one"))
    assert paths.take("a", "f", "two") == ("a/f#2", 2)
    assert paths.take("a", "f", "none of them") == ("a/f", 1)
    assert paths.take("a", "f", "two") == ("a/f#3", 3)
    assert paths.take("a", "f", "two") is None
    assert paths.take("a", "g", "two") is None
    assert paths.left_of("a") is None
    assert paths.left_of("b") == ("b/f", 4)


def test_what_is_left_is_named_by_who_began_first() -> None:
    paths = known(("a/g", 5, "x"), ("a/f#2", 4, "x"), ("a/f", 2, "x"))
    assert paths.left_of("a") == ("a/f", 2)
    paths.take("a", "f", "x")
    assert paths.left_of("a") == ("a/f#2", 4)
    assert paths.left_of("") is None


def test_what_is_new_beside_what_is_known_has_a_path_and_an_index_of_its_own() -> None:
    paths = known(("a/f#7", 9, None), ("a/g#2x", 3, "x"))
    assert paths.new("a", "f") == ("a/f#8", 10)
    assert paths.new("a", "g#2x") == ("a/g#2x#2", 11)


@given(st.lists(st.integers(0, 5), max_size=40), st.randoms(use_true_random=False))
def test_whatever_the_order_each_call_finds_one_that_was_given_the_same(
    inputs: list[int], chance: random.Random
) -> None:
    paths = Paths(1)
    begun = [(*paths.new("a", "f"), str(value)) for value in inputs]
    ended = begun.copy()
    chance.shuffle(ended)
    again = known(*ended)
    order = inputs.copy()
    chance.shuffle(order)
    of = {index: value for _, index, value in begun}
    found = [again.take("a", "f", str(value)) for value in order]
    assert [of[step[1]] for step in found if step] == [str(value) for value in order]
    assert len(set(found)) == len(inputs)
    assert again.left_of("a") is None


@pytest.mark.parametrize("step_id, nested", [("a", False), ("a/f", True), ("a/f#2/g", True)])
def test_a_nested_step_is_told_by_its_path(step_id: str, nested: bool) -> None:
    assert is_nested(step_id) is nested
    assert Paths(1).take("", step_id, "x") is None
