"""`golden status`: one screen of everything, also of what is broken, and what to do next."""

import shutil
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e import ops
from tests.e2e.conftest import open_shop
from tests.e2e.shell import Shell


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden directory of a shop with four runs, recorded once; to be copied, not touched."""
    return ops.fill(open_shop(Shell(tmp_path_factory.mktemp("ops")))).store


@pytest.fixture
def busy(shop: Shell, filled: Path) -> Shell:
    """A shop with a run that completed, one that failed, one that was too dear, and one that was killed."""
    shutil.copytree(filled, shop.store)
    return ops.breakable(shop)


def shown(shell: Shell, *argv: str, code: int = 0, env: dict[str, str | None] | None = None) -> str:
    done = shell.golden("status", *argv, env=env)
    assert done.code == code, done
    return ops.steady(done)


def following(shell: Shell, code: int = 0, env: dict[str, str | None] | None = None) -> str:
    """Return the command that status says comes next."""
    done = shell.golden("status", "--json", env=env)
    assert done.code == code, done
    return str(done.objects[0]["next"]["command"])


def test_everything_is_on_one_screen(busy: Shell, snapshot: SnapshotAssertion) -> None:
    assert shown(busy) == snapshot


def test_a_machine_is_told_the_same(busy: Shell) -> None:
    (found,) = busy.golden("status", "--json").objects
    by = {"running": 1, "budget_exceeded": 1, "failed": 1, "completed": 1}
    assert (found["runs"], found["by"], found["golden_files"], found["checkpoints_count"]) == (4, by, 4, 4)
    assert [row["run_id"] for row in found["waiting"]] == ["killed"]
    assert (found["halted"], found["missing"], found["exit_code"]) == ([], [], 0)
    assert found["checkpoints"] == "sqlite:///.golden/checkpoints.sqlite"


def test_what_waits_comes_first_then_what_ended_badly_then_nothing(shop: Shell) -> None:
    shop.record("r-1", "--inputs", "@prices.json")
    assert following(shop) == "golden verify"
    ops.breakable(shop)
    with ops.lying(shop, "broken"):
        ops.recorded(shop, "r-2", 1)
    assert following(shop) == "golden inspect r-2"
    with ops.lying(shop, "fatal"):
        ops.recorded(shop, "r-3", -9)
    assert following(shop) == "golden resume r-3"
    assert shop.golden("resume", "r-3").code == 0
    assert shop.golden("resume", "r-2").code == 0
    assert following(shop) == "golden verify"


def test_a_stop_comes_before_everything(busy: Shell, snapshot: SnapshotAssertion) -> None:
    assert busy.golden("stop", "--reason", "INC-7: wrong prices").code == 0
    assert shown(busy, env={"WORKFLOW_ENGINE_ENABLED": "0"}) == snapshot
    assert following(busy) == "golden start"
    assert busy.golden("start").code == 0
    assert following(busy, env={"WORKFLOW_EMERGENCY_STOP": "1"}) == "unset WORKFLOW_EMERGENCY_STOP"


def test_in_an_empty_place_nothing_is_there_to_be_told(shell: Shell, snapshot: SnapshotAssertion) -> None:
    assert shown(shell, code=4) == snapshot
    assert not shell.store.exists()


def test_without_its_database_the_rest_is_told(busy: Shell, snapshot: SnapshotAssertion) -> None:
    env: dict[str, str | None] = {"GOLDEN_CHECKPOINTS": "postgresql://golden:hunter2@127.0.0.1:1/golden"}
    text = shown(busy, code=4, env=env)
    assert "hunter2" not in text
    assert text == snapshot


def test_without_its_files_the_rest_is_told(busy: Shell, snapshot: SnapshotAssertion) -> None:
    busy.store.rename(busy.here / "elsewhere")
    env: dict[str, str | None] = {"GOLDEN_CHECKPOINTS": "sqlite:///elsewhere/checkpoints.sqlite"}
    assert shown(busy, code=4, env=env) == snapshot


def test_without_its_keys_the_rest_is_told(busy: Shell, snapshot: SnapshotAssertion) -> None:
    assert shown(busy, code=4, env={"GOLDEN_SECRET_FILE": "nowhere"}) == snapshot
    assert following(busy, 4, {"GOLDEN_SECRET_FILE": "nowhere"}) == "golden config"


def test_a_ledger_that_is_not_good_is_told(busy: Shell, snapshot: SnapshotAssertion) -> None:
    path = busy.store / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":1', b'"seq":7'))
    assert shown(busy, code=3) == snapshot
    assert following(busy, 3) == "golden verify"


def test_a_secret_of_somebody_elses_says_nothing_of_the_ledger(busy: Shell) -> None:
    env: dict[str, str | None] = {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": runs.RETIRED.decode()}
    assert "unknown-key" in shown(busy, code=4, env=env)


def test_how_long_a_run_may_be_silent_is_a_matter_of_taste(busy: Shell) -> None:
    assert "--stale 'soon' is no age" in busy.golden("status", "--stale", "soon").refused()
    assert "killed" in shown(busy, "--stale", "0s")
