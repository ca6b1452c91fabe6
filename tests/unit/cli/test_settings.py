"""Settings: which keyring, which sources, which secrets are dropped; where each value comes from."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from cli import settings
from cli.settings import Settings
from golden.errors import KeyringError, StoreError, UsageError
from golden.keyfile import write_policy
from golden.keyring import Entry, HmacKey
from tests import runs
from tests.runs import ACTIVE, RETIRED

KID = HmacKey(ACTIVE).kid
VARIABLES = (
    "GOLDEN_DIR GOLDEN_KEYRING GOLDEN_SOURCES GOLDEN_STATE_DIR GOLDEN_SECRET GOLDEN_SECRET_FILE"
    " GOLDEN_SECRET_PREVIOUS XDG_CONFIG_HOME XDG_STATE_HOME GOLDEN_CHECKPOINTS DATABASE_URL"
    " WORKFLOW_EMERGENCY_STOP WORKFLOW_ENGINE_ENABLED GOLDEN_RESUME_DISABLED"
)

# What is left in the environment, and in the block of it that /proc shows.
CHILD = """
import os
from cli.settings import Settings, drop_secrets

Settings().user_environ()
drop_secrets()
print(*os.environ, end="\\0")
try:
    print(open("/proc/self/environ", errors="replace").read())
except OSError:
    pass
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in a repository, a home beside it, and no setting."""
    for name in VARIABLES.split():
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    here = tmp_path / "project"
    (here / ".git").mkdir(parents=True)
    (here / "below").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(here)
    monkeypatch.setattr(settings, "_secret_variables", set())
    return here


def keyring_at(path: Path, state: str = "active") -> Path:
    entry = Entry(KID, "hmac-sha256", "active") if state == "active" else Entry(KID, "hmac-sha256", "retired")
    write_policy(str(path), [entry])
    return path


def sources_at(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def from_variable(name: str) -> str:
    return f'[[source]]\nkid = "{KID}"\nfrom = "env:{name}"\n'


# The keyring file


def test_without_a_keyring_file_there_is_none_and_a_place_for_it(project: Path) -> None:
    found = Settings()
    assert found.values["keyring"] is None
    assert found.new_keyring == "golden-keyring.toml"
    assert list(found.keyring()) == []


def test_a_keyring_beside_the_configuration_is_found_from_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "golden.toml").touch()
    keyring_at(project / "golden-keyring.toml")
    monkeypatch.chdir(project / "below")
    found = Settings()
    assert (found.values["keyring"], found.origins["keyring"]) == ("../golden-keyring.toml", "default")
    assert [entry.kid for entry in found.keyring()] == [KID]


def test_a_keyring_beside_the_configuration_comes_before_one_in_the_working_directory(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "golden.toml").touch()
    keyring_at(project / "below" / "golden-keyring.toml")
    monkeypatch.chdir(project / "below")
    assert Settings().values["keyring"] == "golden-keyring.toml"
    keyring_at(project / "golden-keyring.toml")
    assert Settings().values["keyring"] == "../golden-keyring.toml"


def test_flag_beats_variable_beats_configuration_beats_default(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring_at(project / "golden-keyring.toml")
    (project / "golden.toml").write_text('keyring = "below/k.toml"\n')
    monkeypatch.chdir(project / "below")
    found = Settings()
    assert (found.values["keyring"], found.origins["keyring"]) == ("k.toml", "../golden.toml")
    monkeypatch.setenv("GOLDEN_KEYRING", "v.toml")
    found = Settings()
    assert (found.values["keyring"], found.origins["keyring"]) == ("v.toml", "GOLDEN_KEYRING")
    found = Settings(keyring="f.toml")
    assert (found.values["keyring"], found.origins["keyring"]) == ("f.toml", "--keyring")
    assert found.new_keyring == "f.toml"


def test_a_keyring_that_was_named_must_be_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyringError, match=r"f\.toml cannot be opened"):
        Settings(keyring="f.toml").keyring()
    monkeypatch.setenv("GOLDEN_KEYRING", "v.toml")
    with pytest.raises(KeyringError, match=r"v\.toml cannot be opened"):
        Settings().keyring()
    monkeypatch.delenv("GOLDEN_KEYRING")
    (project / "golden.toml").write_text('keyring = "c.toml"\n')
    with pytest.raises(KeyringError, match=r"c\.toml cannot be opened"):
        Settings().keyring()


def test_a_keyring_that_leads_nowhere_is_no_keyring_that_is_not_there(project: Path) -> None:
    (project / "golden-keyring.toml").symlink_to("absent")
    with pytest.raises(KeyringError, match="cannot be opened"):
        Settings().keyring()


def test_an_empty_flag_is_refused() -> None:
    with pytest.raises(UsageError, match="--keyring is empty"):
        Settings(keyring="")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_keyring_of_somebody_else_must_be_named(project: Path) -> None:
    os.chown(keyring_at(project / "golden-keyring.toml"), 65534, -1)
    with pytest.raises(UsageError, match="belongs to another user"):
        Settings()
    assert [entry.kid for entry in Settings(keyring="golden-keyring.toml").keyring()] == [KID]


def test_the_keyring_is_read_anew_each_time(project: Path) -> None:
    found = Settings(keyring=str(keyring_at(project / "k")))
    assert found.keyring().state(KID) == "active"
    (project / "k").unlink()
    keyring_at(project / "k", "retired")
    assert found.keyring().state(KID) == "retired"


# sources.toml and the state directory


def test_sources_lie_in_the_users_configuration_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    assert Settings().sources_path == f"{home}/.config/golden/sources.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert Settings().sources_path == f"{home}/.config/golden/sources.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", f"{tmp_path}/xdg")
    assert Settings().sources_path == f"{tmp_path}/xdg/golden/sources.toml"
    monkeypatch.setenv("GOLDEN_SOURCES", "mine.toml")
    assert Settings().sources_path == "mine.toml"


def test_the_state_directory_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().state_dir == f"{tmp_path}/home/.local/state/golden"
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/xdg")
    assert Settings().state_dir == f"{tmp_path}/xdg/golden"
    monkeypatch.setenv("GOLDEN_STATE_DIR", "/state")
    assert Settings().state_dir == "/state"


def test_without_home_the_password_file_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert Settings().sources_path == f"{home}/.config/golden/sources.toml"


def test_a_user_whom_nobody_knows_has_no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    found = Settings()
    assert (found.sources_path, found.state_dir) == (None, None)
    assert list(found.keyring()) == []


def test_sources_that_were_named_must_be_there_and_usual_ones_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().sources.entries == ()
    monkeypatch.setenv("GOLDEN_SOURCES", "mine.toml")
    with pytest.raises(KeyringError, match=r"mine\.toml cannot be opened"):
        Settings().keyring()


def test_a_secret_is_found_through_sources(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring_at(project / "golden-keyring.toml")
    sources_at(tmp_path / "home/.config/golden/sources.toml", from_variable("MINE"))
    with pytest.raises(KeyringError, match=f"active key {KID} is not at hand"):
        _ = Settings().keyring().active
    monkeypatch.setenv("MINE", ACTIVE.decode())
    assert Settings().keyring().active.kid == KID


def test_what_cannot_be_read_any_more_stays_in_use_and_is_told_once(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    keyring_at(project / "golden-keyring.toml")
    sources = sources_at(tmp_path / "sources.toml", from_variable("MINE"))
    monkeypatch.setenv("GOLDEN_SOURCES", str(sources))
    monkeypatch.setenv("MINE", ACTIVE.decode())
    found = Settings()
    found.tell = heard.append
    store = found.store()
    assert store.keyring.active.kid == KID
    sources.unlink()
    for _ in range(2):
        assert found.reload().active.kid == KID
    assert heard == [f"{sources} cannot be opened: No such file or directory: the secrets read before stay in use"]


def test_what_is_wrong_with_a_source_is_told_when_it_is_found(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring_at(project / "golden-keyring.toml")
    sources_at(tmp_path / "home/.config/golden/sources.toml", from_variable("MINE"))
    monkeypatch.setenv("MINE", RETIRED.decode())
    heard: list[str] = []
    found = Settings()
    found.tell = heard.append
    assert found.keyring().get(KID) is None
    assert found.keyring().get(KID) is None
    assert heard == found.pool.notes
    assert len(heard) == 1


# What a checkout may say


@pytest.mark.parametrize("text", ["false", "true"])
def test_a_ledger_is_kept_or_not(project: Path, text: str) -> None:
    assert Settings().values["ledger"] is True
    (project / "golden.toml").write_text(f"ledger = {text}\n")
    assert Settings().values["ledger"] is (text == "true")


@pytest.mark.parametrize("text", ['"git"', '["git"]'])
def test_a_project_may_keep_anchors_in_git(project: Path, tmp_path: Path, text: str) -> None:
    assert Settings().anchor_to == []
    (project / "golden.toml").write_text(f"anchor_to = {text}\n")
    assert Settings().anchor_to == ["git"]
    sources_at(tmp_path / "home/.config/golden/sources.toml", 'anchor_to = ["file:/a/anchors", \'exec:["/bin/true"]\']')
    assert Settings().anchor_to == ["git", "file:/a/anchors", 'exec:["/bin/true"]']


@pytest.mark.parametrize(
    "text", ['"file:/etc/passwd"', "'exec:[\"/bin/rm\"]'", '["git", "file:x"]', "3", '""', "true", '["git", "git"]']
)
def test_a_project_names_no_program_and_no_file_for_anchors(project: Path, text: str) -> None:
    (project / "golden.toml").write_text(f"anchor_to = {text}\n")
    with pytest.raises(UsageError, match="anchor_to can only be git here") as refusal:
        Settings()
    assert "sources.toml" in refusal.value.hint


# Checkpoints


def test_checkpoints_are_kept_in_the_golden_directory_unless_somebody_says_otherwise(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().checkpoints_url is None
    (project / "golden.toml").write_text('checkpoints = "sqlite:///kept.sqlite"\n')
    monkeypatch.chdir(project / "below")
    found = Settings()
    assert (found.checkpoints_url, found.origins["checkpoints"]) == ("sqlite:///../kept.sqlite", "../golden.toml")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/theirs")
    found = Settings()
    assert (found.checkpoints_url, found.origins["checkpoints"]) == ("postgresql://db/theirs", "DATABASE_URL")
    monkeypatch.setenv("GOLDEN_CHECKPOINTS", "file:kept")
    found = Settings()
    assert (found.checkpoints_url, found.origins["checkpoints"]) == ("file:kept", "GOLDEN_CHECKPOINTS")
    monkeypatch.setenv("GOLDEN_CHECKPOINTS", "")
    assert Settings().origins["checkpoints"] == "DATABASE_URL"


def test_a_database_of_another_kind_stands_in_nobodys_way_who_needs_no_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@db/theirs")
    found = Settings()
    with pytest.raises(UsageError, match="DATABASE_URL is no address of checkpoints") as refusal:
        _ = found.checkpoints_url
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(UsageError, match="DATABASE_URL"):
        found.open_checkpoints()


@pytest.mark.parametrize("url", [None, "sqlite:///kept.sqlite", "file:kept"])
def test_a_reader_makes_no_store_where_there_is_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    if url:
        monkeypatch.setenv("GOLDEN_CHECKPOINTS", url)
    with pytest.raises(StoreError, match="no checkpoints are kept in"):
        Settings().open_checkpoints(create=False)
    assert not (project / ".golden").exists()
    assert not (project / "kept").exists()


# The emergency


def test_an_emergency_needs_no_more_of_a_configuration_than_where_the_directory_is(project: Path) -> None:
    (project / "golden.toml").write_text('dir = "kept"\ncolour = "blue"\ncheckpoints = "mysql:x"\nkeyring = "k"\n')
    with pytest.raises(UsageError):
        Settings()
    found = Settings(emergency=True)
    assert (found.directory, found.values["keyring"]) == ("kept", None)


def test_an_emergency_reads_no_configuration_where_the_directory_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "golden.toml").write_text("dir = \n")
    with pytest.raises(UsageError, match="no TOML"):
        Settings(emergency=True)
    assert Settings(dir="kept", emergency=True).directory == "kept"
    monkeypatch.setenv("GOLDEN_DIR", "elsewhere")
    assert Settings(emergency=True).directory == "elsewhere"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_keyring_of_somebody_else_stands_in_no_emergencys_way(project: Path) -> None:
    os.chown(keyring_at(project / "golden-keyring.toml"), 65534, -1)
    assert Settings(emergency=True).values["keyring"] is None


@pytest.mark.parametrize("variable", ["WORKFLOW_EMERGENCY_STOP", "WORKFLOW_ENGINE_ENABLED"])
def test_controls_see_the_environment_as_it_is_then(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    found = Settings()
    controls = found.controls()
    assert controls.refusal() is None
    found.refuse_stopped()
    monkeypatch.setenv(variable, "1" if variable.endswith("STOP") else "0")
    halt = controls.refusal()
    assert halt is not None
    assert halt.origin == variable
    with pytest.raises(UsageError, match=f"EMERGENCY_STOP: {variable}"):
        found.refuse_stopped()


def test_a_stop_file_is_a_reason_to_begin_nothing(project: Path) -> None:
    (project / ".golden").mkdir()
    (project / ".golden" / "stop.json").write_text('{"mode":"drain","actor":"a@b","reason":"INC-7"}')
    with pytest.raises(UsageError, match="EMERGENCY_STOP: a@b drained the engine: INC-7"):
        Settings().refuse_stopped()


@pytest.mark.parametrize("text, refused", [("1", True), ("", True), ("yes", True), ("0", False), ("off", False)])
def test_resuming_is_forbidden_by_a_variable(monkeypatch: pytest.MonkeyPatch, text: str, refused: bool) -> None:
    Settings().refuse_resume_disabled()
    monkeypatch.setenv("GOLDEN_RESUME_DISABLED", text)
    if not refused:
        Settings().refuse_resume_disabled()
        return
    with pytest.raises(UsageError, match="GOLDEN_RESUME_DISABLED"):
        Settings().refuse_resume_disabled()


# Dropping


def test_where_checkpoints_are_is_kept_from_user_code_and_its_own_database_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOLDEN_CHECKPOINTS", "postgresql://golden:hunter2@db/golden")
    monkeypatch.setenv("DATABASE_URL", "postgresql://theirs:own@db/theirs")
    seen = Settings().user_environ()
    assert "GOLDEN_CHECKPOINTS" not in seen
    assert seen["DATABASE_URL"] == "postgresql://theirs:own@db/theirs"


def test_user_code_sees_no_variable_that_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources_at(tmp_path / "home/.config/golden/sources.toml", from_variable("MINE"))
    monkeypatch.setenv("MINE", ACTIVE.decode())
    monkeypatch.setenv("YOURS", "kept")
    monkeypatch.setenv("GOLDEN_SECRET", RETIRED.decode())
    found = Settings()
    seen = found.user_environ()
    assert seen["YOURS"] == "kept"
    assert not {"MINE", "GOLDEN_SECRET"} & seen.keys()
    # In a process of its own: it forbids that others read this one's memory, for good.
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=runs.ROOT, capture_output=True, text=True, check=True)
    names, _, block = done.stdout.partition("\0")
    assert "YOURS" in names.split()
    assert not {"MINE", "GOLDEN_SECRET"} & set(names.split())
    assert ACTIVE.decode() not in block
    assert RETIRED.decode() not in block
