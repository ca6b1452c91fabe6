"""`golden replay --pdb` at a real terminal: where the prompt opens, what is seen there, how it is left."""

import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.shell import Shell
from tests.e2e.terminal import CTRL_C, CTRL_D, PROMPT, Terminal

AGENT = """\
import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from replay import Context, external, step

PROMPT = "plan"


@external
def ask(what: str) -> int:
    return len(what)


@external
async def ask_async(what: str) -> int:
    return len(what)


@step
def plan(n: int) -> int:
    doubled = n * 2
    with TemporaryDirectory() as folder:
        found = ask(f"{PROMPT}-{n}")
    return found + doubled


@step
async def plan_async(n: int) -> int:
    halved = n // 2
    found = await ask_async(f"{PROMPT}-{n}")
    return found + halved


def agent(turns: int) -> list[int]:
    plans = [plan(n) for n in range(turns)]
    return plans


def beside(turns: int) -> list[int]:
    with ThreadPoolExecutor(1) as pool:
        return [pool.submit(think, n).result() for n in range(turns)]


def think(n: int) -> int:
    deep = n + 1
    return plan(deep)


async def awaiting(turns: int) -> list[int]:
    return [await plan_async(n) for n in range(turns)]


async def gathering(turns: int) -> list[int]:
    return await asyncio.gather(*(plan_async(n) for n in range(turns)))


def given(ctx: Context, turns: int) -> int:
    rest = turns % 2
    return ctx.external("len", len, PROMPT) + rest


def hiding(turns: int) -> int:
    try:
        return plan(turns)
    except BaseException:
        return 0
"""
REPLAY = ("replay", "r-1", "--pdb", "--function")


@pytest.fixture
def agency(shell: Shell) -> Shell:
    """A directory with a key and an agent in several forms."""
    shell.give_key()
    shell.write("agent.py", AGENT)
    return shell


def recorded(agency: Shell, name: str = "agent", run_id: str = "r-1") -> str:
    function = f"agent.py:{name}"
    done = agency.golden("record", "--function", function, "--input", "turns=2", "--run-id", run_id)
    assert done.code == 0, done
    return function


def test_the_prompt_opens_at_the_call_that_diverges_after_what_is_said_without_it(agency: Shell) -> None:
    function = recorded(agency)
    agency.edit("agent.py", 'PROMPT = "plan"', 'PROMPT = "scheme"')
    *plain, verdict = agency.golden("replay", "r-1", "--function", function).stdout.splitlines()
    with Terminal(agency, *REPLAY, function) as terminal:
        *said, note, frame, line, _ = terminal.until().splitlines()
        assert said == plain
        assert note == "  note: the step stands at this call, and ends with it; q or c leaves"
        assert frame.endswith(f"{agency.line_of('found = ask(', 'agent.py').replace(':', '(')})plan()")
        assert line == '-> found = ask(f"{PROMPT}-{n}")'
        assert "(0, 0)" in terminal.type("p n, doubled")
        # It is alive: what it opened is still open.
        assert "True" in terminal.type("p Path(folder).is_dir()")
        assert "agent()" in terminal.type("w")
        assert "replay/" not in terminal.type("w")
        assert "plans = [" in terminal.type("up")
        terminal.press("q\n")
        assert terminal.end() == (f"q\n{verdict}\n", 1)


@pytest.mark.parametrize(
    "name, old, new, typed, seen",
    [
        ("given", '"len", len', '"size", len', "p rest, ctx.seed > 0", "(0, True)"),
        ("agent", "found + doubled", "found - doubled", "p n, doubled, found", "(1, 2, 6)"),
        ("agent", "return plans", "return plans[:1]", "p plans, turns", "([6, 8], 2)"),
        ("agent", "doubled = n * 2", 'json.loads("no")', "p n", "0"),
        ("agent", "found = ask(", "found = len(", "p found", "6"),
        ("agent", "[plan(n) for", "[plan(n + 1) for", "p n", "1"),
        ("beside", "deep = n + 1", "deep = n + 2", "p deep", "3"),
        ("beside", '{PROMPT}-{n}")\n    return found + d', '{PROMPT}!{n}")\n    return found + d', "p doubled", "2"),
        ("awaiting", 'PROMPT = "plan"', 'PROMPT = "think"', "p halved", "0"),
        ("awaiting", "found + halved", "found - 1", "p halved, found", "(0, 6)"),
        ("awaiting", "halved = n // 2", "halved = n // 0", "p n", "0"),
        ("gathering", 'PROMPT = "plan"', 'PROMPT = "think"', "p halved", "0"),
        ("gathering", "found + halved", "found - 1", "p found", "6"),
        ("gathering", "plan_async(n) for n in range(turns)))", "plan_async(n+9) for n in [turns]))", "p turns", "2"),
    ],
)
def test_a_step_is_seen_as_it_was_where_it_diverged(
    agency: Shell, name: str, old: str, new: str, typed: str, seen: str
) -> None:
    function = recorded(agency, name)
    agency.edit("agent.py", old, new)
    with Terminal(agency, *REPLAY, function) as terminal:
        terminal.until()
        answer = terminal.type(typed).splitlines()
        assert answer == [typed, seen, PROMPT]
        terminal.press("c\n")
        assert terminal.end()[1] == 1


def test_an_error_is_seen_where_the_users_own_code_raised_it(agency: Shell) -> None:
    function = recorded(agency)
    agency.edit("agent.py", "return found + doubled", 'return json.loads("no")')
    with Terminal(agency, *REPLAY, function) as terminal:
        said = terminal.until()
        assert "agent/plan: error differs" in said
        assert "note: the step has ended by JSONDecodeError: its frames are as it left them" in said
        assert '-> return json.loads("no")' in said
        assert "json/__init__.py" in terminal.type("down")


def test_a_divergence_that_the_code_keeps_to_itself_opens_one_prompt(agency: Shell) -> None:
    function = recorded(agency, "hiding")
    agency.edit("agent.py", 'PROMPT = "plan"', 'PROMPT = "scheme"')
    with Terminal(agency, *REPLAY, function) as terminal:
        assert "effect differs" in terminal.until()
        # Asked from the prompt, the world is as far away as before.
        assert "*** replay.divergence.Diverged" in terminal.type("p ask('anew')")
        terminal.press("n\n")
        shown, code = terminal.end()
        assert (shown.count(PROMPT), code) == (0, 1)


def test_where_no_code_ran_nothing_is_opened(recorded: Shell) -> None:
    recorded.edit("order.json", '"estimated_cost_cents": 1', '"estimated_cost_cents": 2')
    with Terminal(recorded, "replay", "r-1", "--spec", "order.json", "--pdb") as terminal:
        shown, code = terminal.end()
    assert "spec differs" in shown
    assert "note: no code of a step ran where it differs: there is nothing to debug" in shown
    assert (PROMPT in shown, code) == (False, 1)


def test_what_matches_opens_nothing(agency: Shell) -> None:
    function = recorded(agency)
    with Terminal(agency, *REPLAY, function) as terminal:
        shown, code = terminal.end()
    assert ("matched" in shown, PROMPT in shown, code) == (True, False, 0)


def test_ctrl_c_at_the_prompt_is_the_prompts(agency: Shell) -> None:
    function = recorded(agency)
    agency.edit("agent.py", 'PROMPT = "plan"', 'PROMPT = "scheme"')
    with Terminal(agency, *REPLAY, function) as terminal:
        terminal.until()
        # A signal that comes just before a program waits for keys is heard with the next key.
        terminal.press(f"{CTRL_C}\n")
        terminal.until("--KeyboardInterrupt--")
        terminal.press("print('slow'); time.sleep(60)\n")
        terminal.until("\nslow\n")
        terminal.press(CTRL_C)
        assert "KeyboardInterrupt" in terminal.until()
        terminal.press(CTRL_D)
        assert terminal.end()[1] == 1


@pytest.mark.parametrize("old, new", [('PROMPT = "plan"', 'PROMPT = "scheme"'), ("return plans", "return plans[:1]")])
def test_whoever_is_terminated_at_the_prompt_says_so(agency: Shell, old: str, new: str) -> None:
    function = recorded(agency)
    agency.edit("agent.py", old, new)
    with Terminal(agency, *REPLAY, function) as terminal:
        terminal.until()
        terminal.process.send_signal(signal.SIGTERM)
        # See above.
        with suppress(OSError):
            terminal.press("\n")
        assert terminal.end()[1] == 143


# Some versions of Python end more than others by `exit()`.
@pytest.mark.parametrize("typed", ["interact\nexit()\nq\n", "run\n"])
def test_no_command_of_the_prompt_makes_it_a_success(agency: Shell, typed: str) -> None:
    function = recorded(agency)
    agency.edit("agent.py", "return plans", "return plans[:1]")
    with Terminal(agency, *REPLAY, function) as terminal:
        terminal.until()
        terminal.press(typed)
        shown, code = terminal.end()
    assert ("diverged: 2 of 3 steps" in shown, code) == (True, 1)


def test_the_prompt_is_at_the_terminal_and_what_a_step_prints_is_not(agency: Shell, tmp_path: Path) -> None:
    agency.edit("agent.py", "doubled = n * 2", 'doubled = n * 2\n    print("thinking")')
    function = recorded(agency)
    agency.edit("agent.py", 'PROMPT = "plan"', 'PROMPT = "scheme"')
    with (tmp_path / "log").open("wb") as log, Terminal(agency, *REPLAY, function, stderr=log) as terminal:
        assert "thinking" not in terminal.until()
        assert "\nhere\n" in terminal.type("print('here')")
        terminal.press("q\n")
        assert "diverged: 0 of 3 steps" in terminal.end()[0]
    assert (tmp_path / "log").read_text() == "thinking\n"


def test_c_goes_on_with_the_next_recording_and_q_does_not(agency: Shell) -> None:
    function, _, _ = (recorded(agency, run_id=run_id) for run_id in ("r-1", "r-2", "r-3"))
    agency.edit("agent.py", 'PROMPT = "plan"', 'PROMPT = "scheme"')
    with Terminal(agency, "replay", "--all", "--pdb", "--function", function) as terminal:
        assert "r-1\n" in terminal.until()
        assert "r-2\n" in terminal.type("c")
        terminal.press("q\n")
        shown, code = terminal.end()
    assert ("r-3" in shown, code) == (False, 1)
    assert "2 recordings: 2 diverged" in shown


@pytest.mark.parametrize(
    "argv, said", [(("--json",), "which --json leaves no room for"), (("-j", "2"), "which --jobs leaves no room for")]
)
def test_what_leaves_no_room_for_a_prompt_is_refused(agency: Shell, argv: tuple[str, ...], said: str) -> None:
    assert said in agency.golden("replay", "r-1", "--pdb", *argv).refused()


def test_no_prompt_opens_where_nobody_is(agency: Shell) -> None:
    assert "this is no terminal" in agency.golden("replay", "r-1", "--pdb").refused()
    assert "nobody answers in CI" in agency.golden("replay", "r-1", "--pdb", env={"CI": "true"}).refused()
    agency.environ["GOLDEN_DIR"] = "nowhere"
    with Terminal(agency, "replay", "--all", "--pdb", stderr=None) as terminal:
        assert terminal.end()[1] == 4
