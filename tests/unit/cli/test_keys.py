"""Keys: the small decisions of the commands about keys; the commands themselves are tried as a user runs them."""

import click
import pytest

from cli.command import Family
from cli.git import ATTRIBUTES, git, with_lines
from cli.keys import _elsewhere, keys
from golden.keyring import entry_of, key_from, new_secret

NOW = "2026-01-01T00:00:00.000000Z"
LINE = f"{ATTRIBUTES}\n"
SPACED = LINE.replace(" ", "\t").replace("\n", "\r\n") + "*.png binary"


@pytest.mark.parametrize(
    "text, made",
    [
        ("", LINE),
        ("*.png binary\n", f"*.png binary\n{LINE}"),
        ("*.png binary", f"*.png binary\n{LINE}"),
        (LINE, LINE),
        (SPACED, SPACED),
        (f"# {LINE}", f"# {LINE}{LINE}"),
    ],
    ids=["no file", "other lines", "no last line end", "there", "there, spelt otherwise", "a comment"],
)
def test_the_line_of_git_is_added_once_and_nothing_else_changes(text: str, made: str) -> None:
    assert with_lines([ATTRIBUTES])(text) == made
    assert with_lines([ATTRIBUTES])(made) == made


def test_the_commands_of_a_family_stand_in_the_order_of_their_making() -> None:
    assert keys.list_commands(click.Context(keys)) == ["list", "show", "add", "retire", "revoke"]
    assert git.list_commands(click.Context(git)) == ["install", "show", "merge"]


def test_a_family_never_repeats_a_word_it_does_not_know() -> None:
    family = Family("kin", "About.", "golden kin")
    with pytest.raises(click.UsageError, match="one of the commands") as refusal:
        family.resolve_command(click.Context(family), ["canary"])
    assert "canary" not in refusal.value.format_message()


@pytest.mark.parametrize("alg", ["hmac-sha256", "ed25519"])
def test_what_other_hosts_are_told_names_the_kid_where_they_need_the_secret(alg: str) -> None:
    secret = new_secret("ed25519" if alg == "ed25519" else "hmac-sha256")
    key = key_from(secret.removesuffix(b"\n"))
    (active,) = _elsewhere(entry_of(key, "active", NOW), "k.toml")
    assert "k.toml" in active
    assert key.kid in active
    (retired,) = _elsewhere(entry_of(key, "retired", NOW), "k.toml")
    assert (key.kid in retired) is (alg == "hmac-sha256")
    assert _elsewhere(entry_of(key, "revoked", NOW), "k.toml") == []
