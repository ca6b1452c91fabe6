"""A plain function by the commands: recorded, replayed, its change named, gone on with after a kill."""

import signal
import time

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.conftest import ORDER
from tests.e2e.shell import Shell

AGENT = """\
import time
from pathlib import Path

from replay import external, step

PROMPT = "plan"


@external
def ask(what: str) -> int:
    with Path("asked.log").open("a") as log:
        log.write(what + "\\n")
    return len(Path("asked.log").read_text().split())


@step
def plan(n: int) -> int:
    time.sleep(NAP)
    return ask(f"{PROMPT}-{n}") * 2


def agent(turns: int) -> list[int]:
    return [plan(n) for n in range(turns)]
"""


@pytest.fixture
def agency(shop: Shell) -> Shell:
    """A shop that has an agent beside its skills."""
    shop.write("agent.py", AGENT.replace("NAP", "0"))
    return shop


def recorded(agency: Shell, *argv: str) -> None:
    done = agency.golden("record", "--function", "agent.py:agent", "--input", "turns=2", "--run-id", "a-1", *argv)
    assert done.code == 0, done


def test_a_function_is_recorded_and_replayed(agency: Shell, snapshot: SnapshotAssertion) -> None:
    done = agency.golden(
        "record", "--function", "agent.py:agent", "--inputs", '{"turns":2}', "--run-id", "a-1", "--seed", "7"
    )
    assert done.code == 0
    assert done.text == snapshot
    assert agency.golden("verify", "a-1").code == 0
    live = (agency.here / "asked.log").read_text()
    done = agency.golden("replay", "a-1", "--function", "agent.py:agent")
    assert done.code == 0
    assert done.text == snapshot
    assert (agency.here / "asked.log").read_text() == live


def test_a_changed_prompt_is_named_with_its_line(agency: Shell, snapshot: SnapshotAssertion) -> None:
    recorded(agency)
    agency.write("agent.py", AGENT.replace("NAP", "0").replace('PROMPT = "plan"', 'PROMPT = "scheme"'))
    done = agency.golden("replay", "a-1", "--function", "agent.py:agent")
    assert done.code == 1
    assert done.text == snapshot


def test_a_recorded_function_is_named_by_whoever_replays_it(agency: Shell) -> None:
    recorded(agency)
    done = agency.golden("replay", "a-1")
    assert done.code == 4
    assert "no skill agent for step agent; it was recorded from module agent" in done.stdout
    assert "--function FILE.py:NAME" in done.stdout


def test_a_function_that_is_configured_is_replayed_beside_specs(agency: Shell, snapshot: SnapshotAssertion) -> None:
    agency.write("golden.toml", 'skills = ["skills.py"]\nspecs = "specs"\nfunctions = ["code/agent.py:agent"]\n')
    agency.write("specs/order.json", ORDER)
    agency.write("code/agent.py", (agency.here / "agent.py").read_text())
    recorded(agency)
    agency.record("r-1", "--inputs", "@prices.json")
    done = agency.golden("replay", "--all")
    assert done.code == 0
    assert done.text == snapshot
    # From wherever it is asked for: the place is relative to the configuration.
    (agency.here / "deep").mkdir()
    env = {"GOLDEN_SECRET_FILE": str(agency.here / "secret")}
    assert agency.golden("replay", "--all", "-j", "2", env=env, cwd=agency.here / "deep").code == 0


def test_a_function_that_is_named_wins_over_the_configured_one(agency: Shell) -> None:
    agency.write("golden.toml", 'functions = ["other.py:agent"]\n')
    agency.write("other.py", AGENT.replace("NAP", "0").replace('"plan"', '"scheme"'))
    recorded(agency)
    assert agency.golden("replay", "a-1").code == 1
    assert agency.golden("replay", "a-1", "--function", "agent.py:agent").code == 0


def test_specs_are_compared_beside_a_function_that_is_named(agency: Shell) -> None:
    agency.write("golden.toml", 'skills = ["skills.py"]\nspecs = "order.json"\n')
    recorded(agency)
    agency.record("r-1", "--inputs", "@prices.json")
    agency.edit("order.json", '"estimated_cost_cents": 1', '"estimated_cost_cents": 2')
    done = agency.golden("replay", "--all", "--function", "agent.py:agent")
    assert done.code == 1
    assert "spec differs at /steps/2/estimated_cost_cents" in done.stdout
    assert "3 of 3 steps compared" in done.stdout


def test_a_function_that_is_configured_is_forked(agency: Shell) -> None:
    agency.write("golden.toml", 'functions = ["agent.py:agent"]\nspecs = "order.json"\n')
    recorded(agency)
    done = agency.golden("fork", "a-1", "--at", "agent", "--run-id", "a-2")
    assert done.code == 0, done
    assert agency.golden("replay", "--all").code == 0


@pytest.mark.parametrize(
    "text, said",
    [
        (
            'functions = ["agent.py:agent", "other.py:agent"]',
            "other.py:agent is called agent, and so is agent.py:agent",
        ),
        ('functions = ["agent.py:agent"]\nskills = ["taken.py"]', "agent.py:agent is called agent, and so is a skill"),
        ('functions = ["agent.py:nobody"]', "agent.py has no function nobody"),
        ('functions = ["agent.py"]', "agent.py names no function"),
        ('functions = ["nowhere.py:agent"]', "there is no file nowhere.py"),
    ],
)
def test_functions_that_cannot_be_told_apart_or_found_are_refused(agency: Shell, text: str, said: str) -> None:
    recorded(agency)
    agency.write("other.py", AGENT.replace("NAP", "0"))
    agency.write(
        "taken.py",
        "from replay import SkillRegistry\n\nregistry = SkillRegistry()\nregistry.skill('agent')(lambda ctx: None)\n",
    )
    agency.write("golden.toml", f"{text}\n")
    for argv in (("replay", "--all"), ("resume", "a-1")):
        done = agency.golden(*argv)
        assert done.code == 2
        assert said in done.error[0]


def test_specs_that_are_configured_do_not_speak_of_functions(agency: Shell) -> None:
    agency.write("golden.toml", 'skills = ["skills.py"]\nspecs = ["order.json"]\n')
    recorded(agency)
    assert agency.golden("replay", "a-1", "--function", "agent.py:agent").code == 0
    assert agency.golden("replay", "a-1").code == 4


@pytest.mark.parametrize(
    "argv, said",
    [
        (("--function", "agent.py"), "agent.py names no function"),
        (("--function", "agent.py:nobody"), "agent.py has no function nobody"),
        (("--function", "agent.py:PROMPT"), "agent.py has no function PROMPT"),
        (("--function", "nowhere.py:agent"), "there is no file nowhere.py"),
        (("--function", "agent.py:agent"), "agent: missing a required argument: 'turns'"),
        (("--function", "agent.py:agent", "--input", "n=1"), "agent: missing a required argument: 'turns'"),
        (("--function", "agent.py:agent", "order.json"), "give one SPEC, or --function, or `--` and a COMMAND"),
        (("--function", "agent.py:agent", "--", "true"), "give one SPEC, or --function, or `--` and a COMMAND"),
        ((), "give one SPEC, or --function, or `--` and a COMMAND"),
    ],
)
def test_what_is_no_function_is_refused_and_burns_no_run_id(agency: Shell, argv: tuple[str, ...], said: str) -> None:
    done = agency.golden("record", "--run-id", "a-1", *argv)
    assert done.code == 2
    assert said in done.stderr
    recorded(agency)


def test_a_function_that_was_killed_goes_on_and_asks_nothing_twice(agency: Shell) -> None:
    agency.write("agent.py", AGENT.replace("NAP", "0.2"))
    argv = ("record", "--function", "agent.py:agent", "--input", "turns=5", "--run-id", "a-1")
    process = agency.start(*argv)
    file = agency.store / "a-1.steps.jsonl"
    until = time.monotonic() + 30
    while (not file.exists() or file.read_bytes().count(b'"event_type":"step"') < 3) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert agency.golden("verify", "a-1").code == 4
    agency.write("agent.py", AGENT.replace("NAP", "0"))
    # Beside specs, none of which is its own.
    agency.write("golden.toml", 'functions = ["agent.py:agent"]\nspecs = "order.json"\n')
    done = agency.golden("resume", "a-1", "--accept-change", "code")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "a-1")
    asked = (agency.here / "asked.log").read_text().split()
    assert asked == [f"plan-{n}" for n in range(5)]
    done = agency.golden("replay", "a-1", "--function", "agent.py:agent")
    assert done.code == 0, done
    assert "6 of 6 steps compared" in done.stdout


def test_a_function_that_is_interrupted_is_not_to_blame(agency: Shell) -> None:
    agency.write("agent.py", AGENT.replace("NAP", "0").replace("log.write(", "time.sleep(0.2); log.write("))
    process = agency.start("record", "--function", "agent.py:agent", "--input", "turns=500", "--run-id", "a-1")
    file = agency.store / "a-1.steps.jsonl"
    until = time.monotonic() + 30
    while (not file.exists() or file.read_bytes().count(b'"event_type":"step"') < 2) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    answer, talk = process.communicate()
    assert process.returncode == 130
    assert "aborted, 0 of 1 step" in answer
    assert "Error" not in talk
