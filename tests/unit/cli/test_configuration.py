"""Configuration: what a file may say for each key; its being found and read is tested with the settings."""

from typing import Any

import pytest

from cli.configuration import checked
from golden.errors import UsageError

POLICY = {
    "profile": "conservative",
    "disabled": {"web.post": "INC-7"},
    "forbidden_skills": ["shell.*"],
    "forbidden_patterns": ["rm -rf"],
}


@pytest.mark.parametrize("value", [{}, POLICY, {"disabled": {}}, {"profile": "lax"}])
def test_a_policy_is_handed_on_as_it_is(value: dict[str, Any]) -> None:
    assert checked("policy", value, "golden.toml") == value


def test_a_single_text_stands_for_a_list() -> None:
    found = checked("policy", {"forbidden_skills": "shell.*", "forbidden_patterns": "rm"}, "golden.toml")
    assert found == {"forbidden_skills": ["shell.*"], "forbidden_patterns": ["rm"]}


@pytest.mark.parametrize(
    "value, said",
    [
        (True, "policy is no table"),
        ([], "policy is no table"),
        ({"profil": "standard"}, r"no key policy\.profil"),
        ({"profile": ""}, r"policy\.profile"),
        ({"profile": 3}, r"policy\.profile"),
        ({"profile": ["standard"]}, r"policy\.profile"),
        ({"disabled": ["web.post"]}, r"policy\.disabled"),
        ({"disabled": {"web.post": ""}}, r"policy\.disabled"),
        ({"disabled": {"web.post": True}}, r"policy\.disabled"),
        ({"forbidden_skills": [3]}, r"policy\.forbidden_skills"),
        ({"forbidden_patterns": {"a": "b"}}, r"policy\.forbidden_patterns"),
        ({"forbidden_patterns": [""]}, r"policy\.forbidden_patterns"),
    ],
)
def test_a_policy_of_another_form_is_refused(value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=rf"golden\.toml: .*{said}"):
        checked("policy", value, "golden.toml")


@pytest.mark.parametrize("value", [1, 50, (1 << 31) - 1])
def test_an_interval_is_a_number_of_steps(value: int) -> None:
    assert checked("checkpoint_interval", value, "golden.toml") == value


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, 1 << 31])
def test_an_interval_that_is_no_number_of_steps_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="checkpoint_interval must be"):
        checked("checkpoint_interval", value, "golden.toml")


@pytest.mark.parametrize("value", [3, "", ["memory:"], "mysql://u:hunter2@db/x"])
def test_an_address_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"golden\.toml: checkpoints") as refusal:
        checked("checkpoints", value, "golden.toml")
    assert "hunter2" not in str(refusal.value)
