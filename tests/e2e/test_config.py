"""Settings as a user meets them: where each value comes from, which one wins, and what is refused by its name."""

import os
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import ACTIVE_KID, Shell

pytestmark = pytest.mark.slow


def values(
    shell: Shell, *argv: str, env: dict[str, str | None] | None = None, cwd: Path | None = None
) -> dict[str, Any]:
    """Return what `golden config` says: key → (value, origin)."""
    done = shell.golden("config", "--json", *argv, env=env, cwd=cwd)
    assert done.code == 0, done
    for row in done.objects:
        assert list(row) == ["schema", "key", "value", "origin"]
        assert row["schema"] == "golden.config/1"
    return {row["key"]: (row["value"], row["origin"]) for row in done.objects}


def test_every_setting_has_a_default(shell: Shell, snapshot: SnapshotAssertion) -> None:
    done = shell.golden("config")
    assert done.code == 0
    assert done.text == snapshot
    assert values(shell) == {
        "dir": (".golden", "default"),
        "skills": ([], "default"),
        "specs": ([], "default"),
        "functions": ([], "default"),
        "keyring": (None, "default"),
        "ledger": (True, "default"),
        "checkpoints": ("sqlite:///.golden/checkpoints.sqlite", "default"),
        "checkpoint_interval": (1, "default"),
        "durability": ("seal", "default"),
        "volatile": ([], "default"),
        "policy": ({}, "default"),
        "anchor_to": ([], "default"),
        "guard": (None, "default"),
        "redact": ([], "default"),
        "allow_secrets": ([], "default"),
        "sources": (None, "default"),
        "state_dir": (shell.environ["GOLDEN_STATE_DIR"].replace(str(shell.here), "<here>"), "GOLDEN_STATE_DIR"),
        "DEFAULT_STEP_CEILING_CENTS": (100, "default"),
        "DEFAULT_WORKFLOW_CEILING_CENTS": (1000, "default"),
        "WORKFLOW_EMERGENCY_STOP": (None, "default"),
        "WORKFLOW_ENGINE_ENABLED": (None, "default"),
        "GOLDEN_RESUME_DISABLED": (None, "default"),
        "keys": ([], "default"),
    }


def test_each_value_says_where_it_comes_from(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.write(
        "golden.toml",
        'dir = "kept"\nskills = ["skills.py", "pkg.mod:reg"]\nspecs = "specs"\nledger = false\ndurability = "never"\n'
        'volatile = ["/inputs/day"]\nanchor_to = "git"\nkeyring = "keys.toml"\n',
    )
    shop.write("other", runs.RETIRED).chmod(0o600)
    shop.golden("keys", "add", "--source", "file:other", "--active", "--keyring", "keys.toml")
    sources = shop.here / ".config/golden/sources.toml"
    sources.write_text('anchor_to = ["file:/srv/anchors"]\n' + sources.read_text())
    shop.write("mine.toml", sources.read_bytes()).chmod(0o600)
    env = {"GOLDEN_SOURCES": "mine.toml", "DEFAULT_STEP_CEILING_CENTS": "0", "GOLDEN_DIR": "elsewhere"}
    done = shop.golden("config", "--dir", "here", env=env)
    assert done.code == 0
    assert done.text == snapshot


def test_where_checkpoints_are_is_shown_without_a_password(shell: Shell) -> None:
    address = "postgresql://golden:hunter2@db:5432/golden?sslmode=require"
    for variable in ("GOLDEN_CHECKPOINTS", "DATABASE_URL"):
        assert values(shell, env={variable: address})["checkpoints"] == (
            "postgresql://golden:…@db:5432/golden?…",
            variable,
        )
        done = shell.golden("config", "-v", env={variable: "mysql://golden:hunter2@db"})
        assert "hunter2" not in done.stdout + done.stderr
    shell.write("golden.toml", 'checkpoints = "sqlite:///kept.sqlite"\n')
    below = shell.here / "below"
    below.mkdir()
    assert values(shell, cwd=below)["checkpoints"] == ("sqlite:///../kept.sqlite", "../golden.toml")


def test_a_policy_and_the_switches_are_shown(shell: Shell, snapshot: SnapshotAssertion) -> None:
    shell.write(
        "golden.toml",
        'checkpoint_interval = 10\n[policy]\nprofile = "conservative"\nforbidden_skills = "shell.*"\n'
        '[policy.disabled]\n"web.post" = "INC-7"\n',
    )
    env = {"WORKFLOW_EMERGENCY_STOP": "off", "WORKFLOW_ENGINE_ENABLED": "1", "GOLDEN_RESUME_DISABLED": ""}
    done = shell.golden("config", env=dict(env))
    assert done.code == 0
    assert done.text == snapshot
    found = values(shell, env=dict(env))
    assert [found[name][0] for name in env] == [False, True, True]


def test_flag_beats_environment_beats_file_beats_default(shell: Shell) -> None:
    assert values(shell)["dir"] == (".golden", "default")
    shell.write("golden.toml", 'dir = "from-file"\n')
    assert values(shell)["dir"] == ("from-file", "golden.toml")
    env: dict[str, str | None] = {"GOLDEN_DIR": "from-environment"}
    assert values(shell, env=env)["dir"] == ("from-environment", "GOLDEN_DIR")
    assert values(shell, "--dir", "from-flag", env=env)["dir"] == ("from-flag", "--dir")
    assert values(shell, env={"GOLDEN_DIR": ""})["dir"] == ("from-file", "golden.toml")


def test_the_settings_shown_are_those_in_force(recorded: Shell) -> None:
    recorded.store.rename(recorded.here / "kept")
    assert recorded.golden("verify").code == 4
    assert recorded.golden("verify", "--dir", "kept").code == 0
    assert recorded.golden("verify", env={"GOLDEN_DIR": "kept"}).code == 0
    assert recorded.golden("verify", "--dir", "nothing", env={"GOLDEN_DIR": "kept"}).code == 4
    recorded.write("golden.toml", 'dir = "kept"\n')
    assert recorded.golden("verify").code == 0


def test_pyproject_has_a_table(shell: Shell) -> None:
    shell.write("pyproject.toml", '[project]\nname = "x"\n\n[tool.golden]\ndir = "kept"\n')
    assert values(shell)["dir"] == ("kept", "pyproject.toml")
    shell.write("golden.toml", 'dir = "own"\n')
    assert values(shell)["dir"] == ("own", "golden.toml")


def test_pyproject_without_the_table_is_passed_over(shell: Shell) -> None:
    shell.write("golden.toml", 'dir = "kept"\n')
    shell.write("below/pyproject.toml", '[project]\nname = "x"\n')
    assert values(shell, cwd=shell.here / "below")["dir"] == ("../kept", "../golden.toml")


def test_paths_of_a_file_are_relative_to_it(shell: Shell) -> None:
    shell.write("golden.toml", 'dir = "kept"\nskills = ["code/skills.py:registry", "pkg.mod"]\nspecs = ["specs"]\n')
    below = shell.here / "a" / "b"
    below.mkdir(parents=True)
    found = values(shell, cwd=below)
    assert found["dir"][0] == "../../kept"
    assert found["skills"][0] == ["../../code/skills.py:registry", "pkg.mod"]
    assert found["specs"][0] == ["../../specs"]
    assert found["dir"][1] == "../../golden.toml"


def test_a_configuration_above_the_repository_is_not_ours(shell: Shell) -> None:
    shell.write("golden.toml", 'dir = "not-mine"\n')
    repository = shell.here / "repository"
    (repository / ".git").mkdir(parents=True)
    assert values(shell, cwd=repository)["dir"] == (".golden", "default")


def test_skills_of_the_flag_come_after_those_of_the_file(recorded: Shell) -> None:
    recorded.write("mine.py", "from replay import SkillRegistry\n\nregistry = SkillRegistry()\n")
    assert recorded.golden("replay", "r-1", "--skills", "mine.py").code == 0


@pytest.mark.parametrize(
    "text",
    [
        'checkpoints = "mysql://golden:hunter2@db/x"',
        "checkpoint_interval = 0",
        "policy = true",
        "policy = {profil = 'standard'}",
        "policy = {profile = 3}",
        "[policy]\ndisabled = ['web.post']",
        "[policy.disabled]\n'web.post' = true",
        "policy.forbidden_patterns = [3]",
        "redact = 3",
        "allow_secrets = [3]",
        'anchor_to = "file:/tmp/anchors"',
        'anchor_to = ["git", "exec:[\\"/bin/true\\"]"]',
        "keyring = 3",
        'ledger = "off"',
        'colour = "blue"',
        "dir = 3",
        'dir = ""',
        "skills = [3]",
        'specs = [""]',
        "functions = {agent = 'agent.py:agent'}",
        'durability = "often"',
        "volatile = {}",
        "dir = ",
        "[tool.golden]\ndir = 'x'",
    ],
)
def test_what_a_configuration_may_not_say_is_refused(shell: Shell, snapshot: SnapshotAssertion, text: str) -> None:
    shell.write("golden.toml", f"{text}\n")
    assert shell.golden("config").refused() == snapshot


@pytest.mark.parametrize("text", ["redact = true", 'colour = "blue"'])
def test_the_table_of_a_pyproject_is_held_to_the_same(shell: Shell, text: str) -> None:
    shell.write("pyproject.toml", f"[tool.golden]\n{text}\n")
    assert "pyproject.toml: " in shell.golden("verify").refused()


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\ngolden = 3", "[tool]\ngolden = []", "[[tool]]\nx = 1"])
def test_a_pyproject_of_another_shape_is_refused(shell: Shell, text: str) -> None:
    shell.write("pyproject.toml", f"{text}\n")
    assert "pyproject.toml: tool.golden is no table" in shell.golden("config").refused()


def test_a_configuration_that_cannot_be_read_is_refused(shell: Shell) -> None:
    shell.obey_modes()
    shell.write("golden.toml", "").chmod(0)
    assert "golden.toml cannot be read" in shell.golden("config").refused()


def test_a_configuration_that_is_no_text_is_refused(shell: Shell) -> None:
    shell.write("golden.toml", b'dir = "\xff"\n')
    assert "golden.toml is no TOML" in shell.golden("config").refused()


@pytest.mark.parametrize("name", ["GOLDEN_KEYRING", "GOLDEN_SOURCES"])
def test_a_file_of_keys_that_was_named_must_be_there(shell: Shell, name: str) -> None:
    done = shell.golden("config", env={name: "nowhere.toml"})
    assert done.code == 2
    assert "nowhere.toml" in done.error[0]
    assert len(done.error) == 2


def test_a_configuration_file_that_is_a_fifo_does_not_stop_anything(shell: Shell) -> None:
    os.mkfifo(shell.here / "golden.toml")
    assert shell.golden("config").code == 0


def test_secrets_are_shown_as_key_ids(shop: Shell, snapshot: SnapshotAssertion) -> None:
    env: dict[str, str | None] = {"GOLDEN_SECRET_PREVIOUS": "p" * 32}
    keys, origin = values(shop, env=env)["keys"]
    assert {key["state"]: key["kid"] for key in keys}["active"] == ACTIVE_KID
    assert origin == "GOLDEN_SECRET_FILE, GOLDEN_SECRET_PREVIOUS"
    done = shop.golden("config", env=env)
    assert "p" * 32 not in done.stdout + done.stderr


def test_a_key_that_cannot_be_used_is_an_error_after_the_rest(shell: Shell, snapshot: SnapshotAssertion) -> None:
    done = shell.golden("config", env={"GOLDEN_SECRET": "short"})
    assert done.code == 2
    assert done.text == snapshot


def test_colour_follows_the_conventions(shop: Shell) -> None:
    def coloured(**env: str | None) -> bool:
        return "\x1b[" in shop.golden("config", env={"NO_COLOR": None, **env}).stdout

    assert not coloured()
    assert coloured(FORCE_COLOR="1")
    assert not coloured(FORCE_COLOR="1", NO_COLOR="1")
    assert coloured(FORCE_COLOR="1", NO_COLOR="")


def test_durability_never_records_too(shop: Shell) -> None:
    for durability in ("always", "seal", "never"):
        shop.write("golden.toml", f'skills = "skills.py"\ndurability = "{durability}"\n')
        shop.record(f"r-{durability}", "--inputs", "@prices.json")
    assert shop.golden("verify").code == 0


def test_the_keyring_of_the_flag_beats_that_of_the_environment_and_of_the_file(shop: Shell) -> None:
    for name in ("of-flag", "of-environment", "of-file"):
        shop.write(f"{name}.toml", "")
    assert values(shop)["keyring"] == (None, "default")
    shop.write("golden-keyring.toml", "")
    assert values(shop)["keyring"] == ("golden-keyring.toml", "default")
    shop.write("golden.toml", 'keyring = "of-file.toml"\n')
    assert values(shop)["keyring"] == ("of-file.toml", "golden.toml")
    env: dict[str, str | None] = {"GOLDEN_KEYRING": "of-environment.toml"}
    assert values(shop, env=env)["keyring"] == ("of-environment.toml", "GOLDEN_KEYRING")
    assert values(shop, "--keyring", "of-flag.toml", env=env)["keyring"] == ("of-flag.toml", "--keyring")


def test_a_ledger_is_made_unless_the_configuration_does_without(shop: Shell) -> None:
    shop.record("r-1", "--inputs", "@prices.json")
    assert (shop.store / "ledger.jsonl").exists()
    shop.write("golden.toml", 'skills = ["skills.py"]\nledger = false\ndir = "other"\n')
    assert shop.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json").code == 0
    assert not (shop.here / "other" / "ledger.jsonl").exists()
    assert "ledger: off" in shop.golden("verify").stdout


def test_a_directory_that_has_a_ledger_is_not_talked_out_of_it(recorded: Shell) -> None:
    recorded.write("golden.toml", 'skills = ["skills.py"]\nledger = false\n')
    recorded.record("r-2", "--inputs", "@prices.json")
    assert "ledger: intact" in recorded.golden("verify").stdout
    (recorded.store / "r-1.steps.jsonl").unlink()
    assert recorded.golden("verify").code == 3
