"""`golden gate`: green for one reason only, and every other answer in words and a code of its own."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import Answer, Shell

pytestmark = pytest.mark.slow
SKILLS = """\
import os
import signal
import sys

from replay import Context, SkillRegistry

registry = SkillRegistry()


@registry.skill("greet")
def greet(ctx: Context) -> dict:
    return {"text": f"Hello, {ctx.inputs['name']}", "words": 2}


@registry.skill("kind")
def kind(ctx: Context) -> list:
    return ["a", "b", "c"]
"""
SPEC = {"steps": [{"id": "greet", "skill_id": "greet", "inputs": {"name": "${inputs.name}"}}]}


@pytest.fixture
def team(tmp_path: Path) -> Shell:
    """Three recordings of one spec, in the folder `goldens`, with specs and skills configured."""
    here = tmp_path / "work"
    here.mkdir()
    shell = Shell(here)
    shell.give_key()
    shell.write("skills.py", SKILLS)
    shell.write("golden.toml", 'dir = "goldens"\nskills = "skills.py"\nspecs = "specs"\n')
    shell.write("specs/greet.json", {"id": "greet", **SPEC})
    shell.write("specs/kind.json", {"id": "kind", "steps": [{"id": "kind", "skill_id": "kind"}]})
    for name in ("ada", "bob"):
        assert record(shell, "greet", f"greet-{name}", "--input", f"name={name}").code == 0
    assert record(shell, "kind", "kind-1").code == 0
    return shell


def record(shell: Shell, spec: str, run_id: str, *options: str) -> Answer:
    return shell.golden("record", f"specs/{spec}.json", "--run-id", run_id, "--seed", "7", *options)


def change(shell: Shell, old: str, new: str) -> None:
    path = shell.here / "skills.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def by(answer: Answer) -> dict[str, str]:
    """Return the verdict on each recording."""
    return {found["run_id"]: found["verdict"] for found in answer.objects if "run_id" in found}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_all_is_well(team: Shell, snapshot: SnapshotAssertion) -> None:
    done = team.golden("gate")
    assert done.code == 0
    assert done.text == snapshot
    found = team.golden("gate", "--json", "-j", "2")
    assert by(found) == {"greet-ada": "matched", "greet-bob": "matched", "kind-1": "matched"}
    summary = found.objects[-1]
    assert (summary["schema"], summary["checked"], summary["by"]) == ("golden.summary/1", 3, {"matched": 3})
    assert (summary["exit_code"], summary["steps_compared"], len(summary["kids"])) == (0, 3, 1)


def test_one_divergence_is_1_and_names_the_line(team: Shell, snapshot: SnapshotAssertion) -> None:
    change(team, "Hello", "Goodbye")
    done = team.golden("gate")
    assert done.code == 1
    assert team.line_of("def greet") in done.stdout
    assert done.text == snapshot


def test_one_forged_file_is_3_whatever_else_there_is(team: Shell, snapshot: SnapshotAssertion) -> None:
    change(team, "Hello", "Goodbye")
    flip(team.here / "goldens/kind-1.steps.jsonl")
    shutil.copy(team.here / "goldens/greet-bob.steps.jsonl", team.here / "goldens/copy-1.steps.jsonl")
    done = team.golden("gate")
    assert done.code == 3
    assert done.text == snapshot


@pytest.mark.parametrize(
    "argv, said",
    [
        (("empty",), "there is no recording to judge"),
        (("empty/*.jsonl",), "there is no recording to judge"),
        (("@list",), "there is no recording to judge"),
        (("nobody",), "no recording nobody in goldens"),
    ],
)
def test_nothing_to_judge_is_4(team: Shell, argv: tuple[str, ...], said: str) -> None:
    (team.here / "empty").mkdir()
    team.write("list", "# nothing yet\n\n")
    done = team.golden("gate", *argv)
    assert (done.code, done.error) == (4, [])
    assert said in done.stdout


def test_a_set_is_named_in_many_ways_and_each_recording_judged_once(team: Shell) -> None:
    team.write("list", "# some\ngreet-ada\ngoldens/kind-1.steps.jsonl\n")
    found = team.golden("gate", "@list", "greet-ada", "goldens/greet-*.steps.jsonl", "--json")
    assert list(by(found)) == ["greet-ada", "kind-1", "greet-bob"]
    assert by(team.golden("gate", "goldens", "--json")).keys() == {"greet-ada", "greet-bob", "kind-1"}


def test_of_a_hundred_thousand_lines_the_one_that_differs_is_shown(team: Shell) -> None:
    change(team, 'return ["a", "b", "c"]', 'return "\\n".join(f"line {n}" for n in range(100_000))')
    assert record(team, "kind", "long-1").code == 0
    change(team, 'f"line {n}"', 'f"line {n}" + "!" * (n == 77_776)')
    done = team.golden("gate", "long-1", "--html", "r.html", "--junit", "r.xml", "--sarif", "r.sarif", "--github")
    assert done.code == 1, done
    assert '    line      77777\n    expected  "line 77776\\n"\n    actual    "line 77776!\\n"\n' in done.stdout
    assert all((team.here / name).stat().st_size < 200_000 for name in ("r.html", "r.xml", "r.sarif"))


def test_fail_fast_ends_with_the_first(team: Shell) -> None:
    change(team, "Hello", "Goodbye")
    assert list(by(team.golden("gate", "-x", "--json"))) == ["greet-ada"]


Story = Callable[[Shell], None]


def _is_gone(shell: Shell) -> None:
    (shell.here / "goldens/kind-1.steps.jsonl").unlink()


def _is_cut(shell: Shell) -> None:
    path = shell.here / "goldens/kind-1.steps.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def _has_no_seal(shell: Shell) -> None:
    (shell.here / "goldens/kind-1.steps.jsonl.sig").unlink()


def _has_no_ledger(shell: Shell) -> None:
    (shell.here / "goldens/ledger.jsonl").unlink()
    shutil.rmtree(shell.environ["GOLDEN_STATE_DIR"])


def _has_no_key(shell: Shell) -> None:
    shell.give_key(b"another secret, and a long enough one at that")
    shutil.rmtree(shell.environ["GOLDEN_STATE_DIR"])


def _has_no_spec(shell: Shell) -> None:
    (shell.here / "specs/kind.json").unlink()


def _is_killed(shell: Shell) -> None:
    change(shell, 'return ["a", "b", "c"]', "os.kill(os.getpid(), signal.SIGKILL)")


def _leaves(shell: Shell) -> None:
    change(shell, 'return ["a", "b", "c"]', "os._exit(0)")


@pytest.mark.parametrize(
    "story, code, verdict",
    [
        (_is_gone, 3, "missing"),
        (_is_cut, 3, "truncated"),
        (_has_no_seal, 3, "unsealed"),
        (_has_no_spec, 1, "unused"),
        (_is_killed, 4, "died"),
        (_leaves, 4, "died"),
    ],
)
def test_what_must_not_pass_is_named_and_the_rest_still_judged(
    team: Shell, story: Story, code: int, verdict: str, snapshot: SnapshotAssertion
) -> None:
    story(team)
    done = team.golden("gate", "--json")
    assert done.code == code, done.error
    assert by(done) == {"greet-ada": "matched", "greet-bob": "matched", "kind-1": verdict}
    assert team.golden("gate").text == snapshot


@pytest.mark.parametrize("story, code", [(_has_no_ledger, 3), (_has_no_key, 4)])
def test_what_is_wrong_with_all_of_them(team: Shell, story: Story, code: int, snapshot: SnapshotAssertion) -> None:
    story(team)
    done = team.golden("gate")
    assert done.code == code, done.error
    assert done.text == snapshot


def test_a_rule_that_matches_nothing_does_not_pass(team: Shell) -> None:
    team.write(
        "specs/dead.json", {"id": "dead", **SPEC, "volatile": ["/steps/greet/output/words", "/steps/greet/output/no"]}
    )
    record(team, "dead", "dead-1", "--input", "name=eve")
    done = team.golden("gate", "dead-1")
    assert done.code == 4
    assert "rules that matched nothing: /steps/greet/output/no" in done.stdout


def test_a_rule_of_the_configuration_passes_unless_it_matches_nothing_in_any_recording(team: Shell) -> None:
    shutil.rmtree(team.here / "goldens")
    config = (team.here / "golden.toml").read_text() + 'volatile = ["/steps/*/output/words"{}]\n'
    told = {"GOLDEN_STATE_DIR": "elsewhere"}
    for name, more, code in (("one", "", 0), ("two", ', "/steps/*/output/no"', 4)):
        team.write("golden.toml", config.format(more))
        for spec, *inputs in (("greet", "--input", "name=ada"), ("kind",)):
            done = team.golden("record", f"specs/{spec}.json", "--run-id", spec, "--dir", name, *inputs, env=told)
            assert done.code == 0
        assert team.golden("gate", "--dir", name, env=told).code == code
        # From what matched before.
        assert team.golden("gate", "--dir", name, env=told).code == code
        assert team.golden("gate", "kind", "--dir", name, env=told).code == 0
    done = team.golden("gate", "--dir", "two", env=told)
    assert "dead-rule golden.toml: rules of the configuration that matched nothing in any recording: " in done.stdout
    assert "/steps/*/output/words" not in done.stdout.partition("dead-rule")[2]
    team.write("golden.toml", config.format(""))
    assert team.golden("gate", "--dir", "two", env=told).code == 0


def test_what_a_recording_holds_and_nobody_asks_for_is_named(team: Shell) -> None:
    spec = {"id": "kind", "steps": []}
    team.write("specs/kind.json", {**spec, "steps": [{"id": "other", "skill_id": "kind"}]})
    done = team.golden("gate", "kind-1", "--json")
    assert (done.code, by(done)) == (1, {"kind-1": "diverged"})


def test_a_live_file_does_not_pass(team: Shell) -> None:
    lines = (team.here / "goldens/kind-1.steps.jsonl").read_bytes().splitlines(keepends=True)
    alone = team.here / "alone"
    alone.mkdir()
    (alone / "kind-1.steps.jsonl").write_bytes(b"".join(lines[:-1]))
    done = team.golden("gate", "alone/kind-1.steps.jsonl", "--json")
    assert (done.code, by(done)) == (4, {"kind-1": "live"})


def test_a_directory_of_the_aos_system_is_refused(team: Shell) -> None:
    shutil.copytree(Path(__file__).parents[2] / "fixtures/recordings/aos", team.here / "aos")
    done = team.golden("gate", "aos", env={"GOLDEN_SECRET": None})
    assert done.code in {3, 4}
    assert "matched" not in done.stdout


def test_skills_that_cannot_be_imported_are_a_mistake_at_once(team: Shell) -> None:
    team.write("skills.py", "import nowhere\n")
    done = team.golden("gate", "-j", "2")
    assert (done.code, done.stdout) == (2, "")
    assert "ModuleNotFoundError: No module named 'nowhere'" in done.stderr
    assert "at skills.py:1" in done.stderr


def test_chance_is_told_from_change(team: Shell) -> None:
    change(team, 'return ["a", "b", "c"]', 'return sorted({"a", "b", "c"}, key=hash)')
    assert record(team, "kind", "kind-2").code == 0
    # That six seeds order three texts alike happens once in 7,776 times.
    tries = [team.golden("gate", "kind-2", "--repeat", "6") for _ in range(2)]
    assert "✗ goldens/kind-2  flaky" in tries[0].stdout + tries[1].stdout
    assert "judged 6 times: " in tries[0].stdout + tries[1].stdout
    assert 1 in {done.code for done in tries}
    change(team, "Hello", "Goodbye")
    assert by(team.golden("gate", "greet-ada", "--repeat", "3", "--json")) == {"greet-ada": "diverged"}


def test_a_repetition_that_judged_nothing_does_not_pass(team: Shell) -> None:
    team.write("skills.py", 'import os\nassert "PYTHONHASHSEED" not in os.environ\n' + SKILLS)
    done = team.golden("gate", "--repeat", "2")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-2] == "golden: a repetition ended with exit code 2 before it had judged everything"


def test_a_repetition_judges_what_a_list_cannot_name_as_it_is_and_believes_no_earlier_match(team: Shell) -> None:
    (team.here / "goldens").rename(team.here / "#goldens")
    change(team, '"words": 2', '"words": 3 if os.environ.get("PYTHONHASHSEED", "random") != "random" else 2')
    told = {"CI": None, "GOLDEN_STATE_DIR": str(team.here / "elsewhere")}
    assert team.golden("gate", "--dir", "#goldens", env=told).code == 0
    done = team.golden("gate", "--dir", "#goldens", "--repeat", "3", "--json", "-x", env=told)
    assert (done.code, by(done)) == (1, {"greet-ada": "flaky"})


HIDES_A_SEAL = """\
import os
from pathlib import Path

seal, gone = Path("goldens/greet-ada.steps.jsonl.sig"), Path("gone")
if "PYTHONHASHSEED" not in os.environ and gone.exists():
    gone.rename(seal)
elif "PYTHONHASHSEED" in os.environ and seal.exists():
    seal.rename(gone)
"""


def test_a_file_that_one_repetition_finds_forged_decides(team: Shell) -> None:
    team.write("skills.py", HIDES_A_SEAL + SKILLS)
    done = team.golden("gate", "kind-1", "greet-ada", "--repeat", "3", "--json")
    assert (done.code, by(done)["greet-ada"]) == (3, "flaky")


def test_what_the_code_of_one_leaves_behind_the_next_does_not_see(team: Shell) -> None:
    change(team, "    return {", '    assert os.getcwd() != "/" and "LEFT" not in os.environ\n    return {')
    change(team, 'return ["a', 'os.chdir("/"), os.environ.update(LEFT="1")\n    return ["a')
    team.write("list", "kind-1\ngreet-ada\nkind-1\ngreet-bob\n")
    assert team.golden("gate", "@list").code == 0


def test_what_skills_print_is_no_part_of_the_answer(team: Shell) -> None:
    change(team, "    return {", '    print("noise"); sys.stdout.flush(); os.write(1, b"more noise")\n    return {')
    done = team.golden("gate", "--json")
    assert (done.code, len(done.objects)) == (0, 4)
    assert "noise" in done.stderr


def test_the_code_under_test_sees_no_secret(team: Shell) -> None:
    change(team, "    return {", '    assert not any(name.startswith("GOLDEN_") for name in os.environ)\n    return {')
    assert team.golden("gate").code == 0


def test_in_ci_it_warns_of_a_secret_beside_the_code(team: Shell) -> None:
    assert "a secret lies beside the code under test" in team.golden("gate", env={"CI": "true"}).stderr
    assert team.golden("gate", env={"CI": "false"}).stderr == ""


def test_a_machine_with_public_keys_alone_judges(tmp_path: Path) -> None:
    here = tmp_path / "work"
    here.mkdir()
    shell = Shell(here)
    shell.write("skills.py", SKILLS)
    shell.write("specs/kind.json", {"id": "kind", "steps": [{"id": "kind", "skill_id": "kind"}]})
    assert shell.golden("init").code == 0
    assert record(shell, "kind", "kind-1", "--skills", "skills.py").code == 0
    shutil.rmtree(here / ".config")
    done = shell.golden("gate", "--skills", "skills.py", env={"CI": "true"})
    assert (done.code, done.stderr) == (0, "")


def test_pending_recordings_fail_it_in_ci_alone(team: Shell) -> None:
    shutil.copytree(team.here / "goldens", team.here / "goldens/pending")
    done = team.golden("gate", env={"CI": "true", "GOLDEN_SECRET_FILE": "secret"})
    assert done.code == 1
    assert "pending/kind-1  pending" in done.stdout
    named = team.golden("gate", "goldens/*.steps.jsonl", "kind-1", "goldens", "--json", env={"CI": "true"})
    assert (named.code, named.objects[-1]["by"]) == (1, {"matched": 3, "pending": 3})
    assert team.golden("gate", "goldens/kind-1.steps.jsonl", env={"CI": "true"}).code == 1
    assert team.golden("gate", "goldens/pending", "goldens", env={"CI": "true"}).code == 1
    done = team.golden("gate")
    assert done.code == 0
    assert "3 recordings waiting for review" in done.stderr


@pytest.mark.parametrize("place, said", [("no/such/report.xml", "cannot be written"), ("goldens/r.jsonl", "replace")])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_judged(
    team: Shell, place: str, said: str
) -> None:
    assert said in team.golden("gate", "--junit", place).refused(2)


def test_a_gate_that_judges_nothing_leaves_no_report_of_an_earlier_one(team: Shell) -> None:
    reports = {"--junit": "r.xml", "--html": "r.html", "--sarif": "r.sarif"}
    argv = [word for pair in reports.items() for word in pair]
    assert team.golden("gate", *argv).code == 0
    team.write("skills.py", "import nowhere\n")
    assert team.golden("gate", *argv).code == 2
    assert [(team.here / name).read_text() for name in reports.values()] == ["", "", ""]


def test_json_keeps_what_it_says_of_a_place_apart(team: Shell) -> None:
    found = json.loads(team.golden("gate", "nowhere/*", "--json").stdout.splitlines()[0])
    assert found["verdict"] == "nothing"
    assert found["code"] == 4


def cached(answer: Answer) -> dict[str, bool]:
    """Return of each recording whether it was not replayed."""
    return {found["run_id"]: found["cached"] for found in answer.objects if "run_id" in found}


ALL = ("greet-ada", "greet-bob", "kind-1")


def test_what_matched_and_has_not_changed_is_not_replayed(team: Shell, snapshot: SnapshotAssertion) -> None:
    assert cached(team.golden("gate", "--json")) == dict.fromkeys(ALL, False)
    assert cached(team.golden("gate", "--json")) == dict.fromkeys(ALL, True)
    assert team.golden("gate").text == snapshot
    assert cached(team.golden("gate", "--json", "--no-cache")) == dict.fromkeys(ALL, False)
    assert cached(team.golden("gate", "--json", env={"CI": "1"})) == dict.fromkeys(ALL, False)


def _another_skill(shell: Shell) -> None:
    change(shell, '"words": WORDS', '"words": WORDS + 1')


def _another_helper(shell: Shell) -> None:
    shell.write("helper.py", "WORDS = 3\n")


def _another_file(shell: Shell) -> None:
    shell.write("words.txt", "3")


def _another_spec(shell: Shell) -> None:
    shell.write("specs/greet.json", {"id": "greet", "version": "2", **SPEC})


def _another_golden(shell: Shell) -> None:
    flip(shell.here / "goldens/greet-ada.steps.jsonl")
    flip(shell.here / "goldens/greet-bob.steps.jsonl")


@pytest.mark.parametrize("story", [_another_skill, _another_helper, _another_file, _another_spec, _another_golden])
def test_whatever_it_hung_on_makes_it_replayed(team: Shell, story: Story) -> None:
    team.write("helper.py", "WORDS = 2\n")
    team.write("words.txt", "2")
    change(team, '"words": 2', '"words": WORDS')
    change(team, "import os\n", "import os\nimport helper\nWORDS = int(open('words.txt').read()) * helper.WORDS // 2\n")
    assert team.golden("gate", "--no-cache").code == 0
    for path in team.here.glob("*.*"):
        os.utime(path, (1, 1))
    team.golden("gate")
    assert cached(team.golden("gate", "--json")) == dict.fromkeys(ALL, True)
    story(team)
    done = team.golden("gate", "--json")
    assert done.code != 0, done
    assert not cached(done)["greet-ada"]


def test_another_variable_of_the_environment_makes_it_replayed(team: Shell) -> None:
    change(team, "registry = ", 'WORDS = int(os.environ.get("WORDS", "2"))\n\nregistry = ')
    change(team, '"words": 2', '"words": WORDS')
    for known in (False, True):
        assert set(cached(team.golden("gate", "--json", env={"SHLVL": str(known)})).values()) == {known}
    assert team.golden("gate", env={"WORDS": "3"}).code == 1


def test_another_data_file_of_a_package_makes_it_replayed(team: Shell) -> None:
    team.write("words/__init__.py", "")
    data = team.write("words/count.txt", "2")
    os.utime(data, (1, 1))
    change(team, "import sys\n", 'import pkgutil\nimport sys\n\nWORDS = int(pkgutil.get_data("words", "count.txt"))\n')
    change(team, '"words": 2', '"words": WORDS')
    for path in (*team.here.glob("*.py"), *team.here.glob("words/*.py")):
        os.utime(path, (1, 1))
    for known in (False, True):
        assert set(cached(team.golden("gate", "--json")).values()) == {known}
    data.write_text("3")
    assert team.golden("gate").code == 1


def test_what_a_module_asks_for_when_it_is_imported_counts_for_all_that_use_it(team: Shell) -> None:
    change(team, "registry = ", 'WORDS = len(os.listdir("specs"))\n\nregistry = ')
    change(team, '"words": 2', '"words": WORDS')
    os.utime(team.here / "skills.py", (1, 1))
    for _ in range(2):
        assert set(cached(team.golden("gate", "--json")).values()) == {False}


BEYOND = ["os.listdir('.')", "__import__('time').time()", "open('out', 'w').close()", "os.fork() or os._exit(0)"]


@pytest.mark.parametrize("ask", BEYOND)
def test_what_asks_for_more_than_can_be_compared_is_replayed_each_time(team: Shell, ask: str) -> None:
    change(team, "    return {", f"    {ask}\n    return {{")
    for path in team.here.glob("*.*"):
        os.utime(path, (1, 1))
    for known in (False, True):
        found = cached(team.golden("gate", "--json"))
        assert (found["greet-ada"], found["kind-1"]) == (False, known)


def test_a_cache_that_is_not_one_is_none(team: Shell) -> None:
    team.golden("gate")
    (path,) = (team.here / ".cache/golden").glob("gate-*.json")
    path.write_text("{")
    assert cached(team.golden("gate", "--json")) == dict.fromkeys(ALL, False)
    assert cached(team.golden("gate", "--json")) == dict.fromkeys(ALL, True)
