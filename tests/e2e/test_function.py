"""A plain function by the commands: recorded, replayed, its change named, gone on with after a kill."""

import signal
import time

import pytest
from syrupy.assertion import SnapshotAssertion

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
    done = agency.golden("resume", "a-1", "--function", "agent.py:agent", "--accept-change", "code")
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "a-1")
    asked = (agency.here / "asked.log").read_text().split()
    assert asked == [f"plan-{n}" for n in range(5)]
    done = agency.golden("replay", "a-1", "--function", "agent.py:agent")
    assert done.code == 0, done
    assert "6 of 6 steps compared" in done.stdout
