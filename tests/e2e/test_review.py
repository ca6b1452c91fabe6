"""`golden update`, `review`, `accept`, `reject`: what changed is looked at by somebody, and taken over for a reason."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Shell
from tests.e2e.terminal import Terminal

pytestmark = pytest.mark.slow
SKILLS = """\
from pathlib import Path

from replay import Context, SkillRegistry

registry = SkillRegistry()


def rate(currency: str) -> float:
    with Path("asked").open("a") as asked:
        asked.write(currency)
    return 0.5 + len(Path("asked").read_text())


@registry.skill("greet")
def greet(ctx: Context) -> dict:
    return {"text": f"Hello, {ctx.inputs['name']}", "words": 2}


@registry.skill("price")
def price(ctx: Context) -> dict:
    return {"price": 10 * ctx.external("rate", rate, "EUR")}
"""


@pytest.fixture
def team(tmp_path: Path) -> Shell:
    """Two greetings and a price, recorded."""
    here = tmp_path / "work"
    here.mkdir()
    shell = Shell(here)
    shell.give_key()
    shell.write("skills.py", SKILLS)
    shell.write("golden.toml", 'dir = "goldens"\nskills = "skills.py"\n')
    greet = {"id": "greet", "skill_id": "greet", "inputs": {"name": "${inputs.name}"}}
    shell.write("greet.json", {"id": "greet", "steps": [greet]})
    shell.write("price.json", {"id": "price", "steps": [{"id": "price", "skill_id": "price"}]})
    for spec, run_id, *inputs in (
        ("greet", "ada", "--input", "name=Ada"),
        ("greet", "bob", "--input", "name=Ada"),
        ("price", "eur"),
    ):
        assert shell.golden("record", f"{spec}.json", "--run-id", run_id, "--seed", "7", *inputs).code == 0
    return shell


def change(shell: Shell, old: str, new: str) -> None:
    path = shell.here / "skills.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def golden(shell: Shell, run_id: str) -> bytes:
    return (shell.here / f"goldens/{run_id}.steps.jsonl").read_bytes()


def seal(shell: Shell, run_id: str) -> dict[str, Any]:
    line = (shell.here / f"goldens/{run_id}.steps.jsonl.sig").read_bytes().splitlines()[0]
    found: dict[str, Any] = json.loads(line)
    return found


def test_what_comes_out_alike_leaves_nothing(team: Shell, snapshot: SnapshotAssertion) -> None:
    before = golden(team, "eur")
    done = team.golden("update", "--all")
    assert done.code == 0
    assert done.text == snapshot
    assert golden(team, "eur") == before
    assert not list((team.here / "goldens/pending").glob("*.jsonl*"))
    assert (team.here / "asked").read_text() == "EUR"
    assert team.golden("review").code == 0


def test_what_changed_waits_is_shown_and_taken_over(team: Shell, snapshot: SnapshotAssertion) -> None:
    change(team, "Hello", "Goodbye")
    change(team, '"price": 10', '"price": 11')
    before = golden(team, "ada")
    done = team.golden("update", "--all")
    assert done.code == 0
    assert done.text == snapshot
    assert (team.here / "asked").read_text() == "EUR"
    assert golden(team, "ada") == before
    shown = team.golden("review")
    assert shown.code == 1
    assert shown.text == snapshot
    assert team.golden("gate").code == 1
    done = team.golden("accept", "ada", "bob", "--reason", "we close")
    assert done.code == 0
    assert done.text == snapshot
    assert golden(team, "ada") != before
    assert seal(team, "ada")["accepted"].keys() == {"actor", "at", "commit", "reason"}
    assert (seal(team, "ada")["accepted"]["reason"], seal(team, "ada")["gen"]) == ("we close", 1)
    last = json.loads((team.here / "goldens/ledger.jsonl").read_bytes().splitlines()[-1])
    assert (last["op"], last["reason"], last["run_id"]) == ("accept", "we close", "bob")
    assert team.golden("reject", "eur", "--reason", "no").code == 0
    assert team.golden("verify").code == 0
    change(team, '"price": 11', '"price": 10')
    assert team.golden("gate").code == 0
    assert "another golden file" not in team.golden("inspect", "ada").stdout


def test_accepted_twice_its_generation_goes_up_and_the_earlier_one_is_rolled_back(team: Shell) -> None:
    change(team, "Hello", "Bye")
    kept = {path: path.read_bytes() for path in (team.here / "goldens").glob("ada.*")}
    team.golden("update", "ada")
    assert team.golden("accept", "ada", "--reason", "one").code == 0
    change(team, "Bye", "Ciao")
    team.golden("update", "ada")
    assert team.golden("accept", "ada", "--reason", "two").code == 0
    assert seal(team, "ada")["gen"] == 2
    for path, data in kept.items():
        path.write_bytes(data)
    done = team.golden("verify", "ada")
    assert done.code == 3
    assert "rolled-back" in done.stdout


def test_the_commit_is_noted(team: Shell) -> None:
    def git(*argv: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        return subprocess.run(["git", *who, *argv], cwd=team.here, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", "skills.py")
    git("commit", "-qm", "skills")
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    assert team.golden("accept", "ada", "--reason", "x").code == 0
    assert seal(team, "ada")["accepted"]["commit"] == git("rev-parse", "HEAD").strip()


def test_a_call_that_the_recording_does_not_hold_is_refused_unless_live(team: Shell) -> None:
    change(team, '"EUR"', '"NOK"')
    said = team.golden("update", "eur").refused(2)
    assert "step price makes an external call 'rate' that the recording does not hold, at skills.py:" in said
    assert "golden update --live asks the world" in said
    assert not list((team.here / "goldens/pending").glob("*.jsonl*"))
    assert team.golden("update", "eur", "--live").code == 0
    assert (team.here / "asked").read_text() == "EURNOK"
    assert team.golden("accept", "eur", "--reason", "another currency").code == 0
    assert team.golden("replay", "eur").code == 0


def test_an_update_that_is_refused_or_killed_leaves_what_waits(team: Shell) -> None:
    change(team, '"EUR"', '"NOK"')
    assert team.golden("update", "eur", "--live").code == 0
    waits = (team.here / "goldens/pending/eur.steps.jsonl").read_bytes()
    assert team.golden("update", "eur").code == 2
    change(team, "    return {", "    import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n    return {")
    assert team.golden("update", "--all").code == -9
    assert (team.here / "goldens/pending/eur.steps.jsonl").read_bytes() == waits
    assert team.golden("review", "--json").objects[0]["run_id"] == "eur"
    assert team.golden("accept", "eur", "--reason", "another currency").code == 0
    change(team, "    import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n", "")
    assert team.golden("update", "--all").code == 0
    assert not list((team.here / "goldens/pending").iterdir())


def test_one_refused_run_keeps_no_other_from_being_updated(team: Shell) -> None:
    change(team, '"EUR"', '"NOK"')
    change(team, "Hello", "Bye")
    found = team.golden("update", "--all", "--json")
    assert found.code == 2
    assert {o["run_id"]: o["outcome"] for o in found.objects[:-1]} == {
        "ada": "pending",
        "bob": "pending",
        "eur": "refused",
    }


def test_another_input_makes_another_recording_of_the_same_run(team: Shell) -> None:
    assert team.golden("update", "ada", "--input", "name=Eve").code == 0
    found = team.golden("review", "--json").objects[0]
    assert found["kinds"] == {"input": 3, "output": 1} or "input" in found["kinds"]
    assert team.golden("accept", "ada", "--reason", "renamed").code == 0
    assert b"Hello, Eve" in golden(team, "ada")


def test_a_golden_that_was_tampered_with_is_not_replaced(team: Shell) -> None:
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    path = team.here / "goldens/ada.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Hullo"))
    assert "ada is tampered" in team.golden("accept", "ada", "--reason", "x").refused(3)
    assert "ada is tampered" in team.golden("update", "ada").refused(3)


def test_a_pending_file_that_was_tampered_with_is_not_accepted(team: Shell) -> None:
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    path = team.here / "goldens/pending/ada.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Bye", b"Die"))
    before = golden(team, "ada")
    assert "ada is tampered" in team.golden("accept", "ada", "--reason", "x").refused(3)
    assert golden(team, "ada") == before
    assert team.golden("verify").code == 0


def test_one_that_is_not_intact_keeps_no_other_from_being_shown_or_accepted(team: Shell) -> None:
    change(team, "Hello", "Bye")
    change(team, '"price": 10', '"price": 11')
    team.golden("update", "--all")
    pending = team.here / "goldens/pending"
    path = pending / "ada.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Bye", b"Die"))
    for suffix in ("", ".sig"):
        shutil.copy(pending / f"eur.steps.jsonl{suffix}", pending / f"zed.steps.jsonl{suffix}")
    shown = team.golden("review")
    assert shown.code == 3
    assert "bob  1 output" in shown.text
    assert "ada  refused: pending ada is tampered" in shown.text
    assert "zed  refused: pending zed is wrong-run" in shown.text
    assert "hint: nothing else holds it: `golden reject ada`, then `golden update ada`" in shown.text
    done = team.golden("accept", "--all", "--reason", "x", "--json")
    assert done.code == 3
    assert {o["run_id"]: o["outcome"] for o in done.objects[:-1]} == {
        "ada": "refused",
        "bob": "accepted",
        "eur": "accepted",
        "zed": "refused",
    }
    assert done.objects[-1]["by"] == {"accepted": 2, "refused": 2}
    assert team.golden("reject", "--all", "--reason", "broken").code == 0
    assert team.golden("verify").code == 0


def test_a_path_is_no_run_that_waits(team: Shell) -> None:
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    for name in ("goldens/pending/ada.steps.jsonl", "../ada"):
        assert "is not a run id" in team.golden("accept", name, "--reason", "x").refused(2)


@pytest.mark.parametrize("letter", ["a", "r"])
def test_what_took_the_place_of_the_recording_shown_is_not_decided_about_for_it(team: Shell, letter: str) -> None:
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    before = golden(team, "ada")
    with Terminal(team, "review") as terminal:
        terminal.until("accept (a), reject (r), skip (s), quit (q)? ")
        change(team, "Bye", "Anything")
        assert team.golden("update", "ada").code == 0
        terminal.press(f"{letter}\n")
        terminal.until("reason: ")
        terminal.press("a farewell\n")
        text, code = terminal.end()
    assert code == 2
    assert "what waits of ada is not what was shown" in text
    assert golden(team, "ada") == before
    assert team.golden("review", "--json").objects[0]["run_id"] == "ada"


@pytest.mark.parametrize(
    "argv", [("update", "ada"), ("accept", "ada", "--reason", "x"), ("reject", "ada", "--reason", "x")]
)
def test_ci_never_writes(team: Shell, argv: tuple[str, ...]) -> None:
    change(team, "Hello", "Bye")
    assert team.golden("update", "ada").code == 0
    said = team.golden(*argv, env={"CI": "true"}).refused(2)
    assert f"golden {argv[0]} is for people, and this is CI" in said


@pytest.mark.parametrize("argv", [("accept", "ada"), ("accept", "--reason", "x"), ("accept", "ada", "--reason", " ")])
def test_a_decision_has_a_subject_and_a_reason(team: Shell, argv: tuple[str, ...]) -> None:
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    team.golden(*argv).refused(2)
    assert (team.here / "goldens/pending/ada.steps.jsonl").exists()


def test_nothing_waits(team: Shell) -> None:
    assert "no recording of ada waits for review" in team.golden("accept", "ada", "--reason", "x").refused(2)
    assert "nothing waits" in team.golden("review").stdout


def test_a_recording_without_a_golden_one_is_new(team: Shell) -> None:
    change(team, "Hello", "Bye")
    team.golden("update", "ada")
    for path in (team.here / "goldens/pending").glob("ada*"):
        path.unlink()
    shutil.copytree(
        team.here / "goldens", team.here / "other/pending", ignore=shutil.ignore_patterns("ledger*", "*.sqlite*")
    )
    done = team.golden("review", "--dir", "other", "--json")
    assert {o["run_id"]: o["kinds"] for o in done.objects[:-1]}["bob"] == {"new": 1}
    assert team.golden("accept", "bob", "--dir", "other", "--reason", "the first").code == 0
    assert team.golden("verify", "bob", "--dir", "other").code == 0


def test_at_a_terminal_one_answer_is_for_all_that_changed_alike(team: Shell) -> None:
    change(team, "Hello", "Goodbye")
    change(team, '"price": 10', '"price": 11')
    team.golden("update", "--all")
    with Terminal(team, "review") as terminal:
        terminal.until("all 2 alike: accept (a), reject (r), skip (s), one by one (o), quit (q)? ")
        terminal.press("a\n")
        terminal.until("reason: ")
        terminal.press("we close\n")
        terminal.until("accept (a), reject (r), skip (s), quit (q)? ")
        terminal.press("s\n")
        assert terminal.end()[1] == 1
    assert seal(team, "bob")["accepted"]["reason"] == "we close"
    assert team.golden("review", "--json").objects[0]["run_id"] == "eur"


def test_at_a_terminal_a_reason_is_asked_for_until_there_is_one_and_one_refusal_ends_nothing(team: Shell) -> None:
    change(team, "Hello", "Goodbye")
    change(team, '"price": 10', '"price": 11')
    team.golden("update", "--all")
    with Terminal(team, "review", "bob", "eur") as terminal:
        terminal.until("quit (q)? ")
        terminal.press("a\n")
        terminal.until("reason: ")
        terminal.press("  \n")
        terminal.until("reason: ")
        path = team.here / "goldens/bob.steps.jsonl"
        path.write_bytes(path.read_bytes().replace(b"Hello", b"Hullo"))
        terminal.press("we close\n")
        terminal.until("bob  refused: ")
        terminal.until("quit (q)? ")
        terminal.press("a\n")
        terminal.until("reason: ")
        terminal.press("dearer\n")
        text, code = terminal.end()
    assert code == 3
    assert "eur  accepted" in text
    assert team.golden("review").code == 3


def test_a_function_is_updated(team: Shell) -> None:
    team.write("agent.py", "def agent(name: str) -> str:\n    return f'Hi, {name}'\n")
    assert team.golden("record", "--function", "agent.py:agent", "--input", "name=Ada", "--run-id", "agent-1").code == 0
    team.write("agent.py", "def agent(name: str) -> str:\n    return f'Hey, {name}'\n")
    assert team.golden("update", "agent-1", "--function", "agent.py:agent").code == 0
    assert team.golden("accept", "agent-1", "--reason", "shorter").code == 0
    assert team.golden("replay", "agent-1", "--function", "agent.py:agent").code == 0
