"""`golden record`: what it takes, what it prints, and what it refuses before anything runs."""

import json
import os
import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.shell import ACTIVE_KID, Shell

STEP = {"id": "one", "skill_id": "one"}
ONE = """\
from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("one")
def one(ctx):
    return BODY
"""


def one_skill(shell: Shell, body: str, *, before: str = "") -> None:
    """Give the shell a key, a spec of one step and a skill that returns `body`."""
    shell.give_key()
    shell.write("one.json", {"id": "one", "steps": [STEP]})
    shell.write("skills.py", before + ONE.replace("BODY", body))
    shell.write("golden.toml", 'skills = ["skills.py"]\n')


def events(shell: Shell, run_id: str) -> list[dict[str, Any]]:
    text = (shell.store / f"{run_id}.steps.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_completed_run_is_told_step_by_step(shop: Shell, snapshot: SnapshotAssertion) -> None:
    done = shop.golden("record", "order.json", "--run-id", "r-1", "--seed", "7", "--inputs", "@prices.json")
    assert done.code == 0
    assert done.text == snapshot


def test_json_answer_has_one_object(shop: Shell) -> None:
    done = shop.golden("record", "order.json", "--run-id", "r-1", "--seed", "7", "--inputs", "@prices.json", "--json")
    (found,) = done.objects
    assert next(iter(found)) == "schema"
    assert (
        found.items()
        >= {
            "schema": "golden.record/1",
            "run_id": "r-1",
            "path": ".golden/r-1.steps.jsonl",
            "status": "completed",
            "seed": 7,
            "spec_id": "order",
            "events": 8,
            "steps_completed": 4,
            "steps_total": 4,
            "total_cost_cents": 3,
            "kid": ACTIVE_KID,
        }.items()
    )


def test_id_and_seed_default_and_are_printed(shop: Shell) -> None:
    done = shop.golden("record", "order.json", "--inputs", "@prices.json", "--json")
    (found,) = done.objects
    assert re.fullmatch(r"order-\d{8}T\d{6}Z-[0-9a-f]{4}", found["run_id"])
    header = events(shop, found["run_id"])[0]
    assert (header["run_id"], header["data"]["seed"]) == (found["run_id"], found["seed"])
    said = shop.golden("record", "order.json", "--inputs", "@prices.json").stdout
    run_id, seed = re.search(r"✓ (\S+)  completed, 4 of 4 steps, seed (\d+)\n", said).groups()  # type: ignore[union-attr]
    assert events(shop, run_id)[0]["data"]["seed"] == int(seed)


def test_two_runs_in_one_second_have_two_ids(shop: Shell) -> None:
    ids = {shop.golden("record", "order.json", "--inputs", "@prices.json", "--json").objects[0]["run_id"] for _ in "ab"}
    assert len(ids) == 2


@pytest.mark.parametrize("seed", ["0", "-1", "18446744073709551615"])
def test_the_seed_given_is_the_seed_recorded(shop: Shell, seed: str) -> None:
    done = shop.golden(
        "record", "order.json", "--run-id", "r-1", f"--seed={seed}", "--inputs", "@prices.json", "--json"
    )
    assert done.objects[0]["seed"] == int(seed)
    assert events(shop, "r-1")[0]["data"]["seed"] == int(seed)


def test_the_file_says_what_it_needs_to_replay_alone(recorded: Shell) -> None:
    # What `head -1 RUN.steps.jsonl | jq .data.budget_snapshot` prints.
    with (recorded.store / "r-1.steps.jsonl").open() as file:
        header = json.loads(file.readline())
    assert header["data"]["budget_snapshot"] == {
        "accumulated_cost_cents": 0,
        "policy_version": "1.0.0",
        "step_ceiling_cents": 100,
        "workflow_ceiling_cents": 50,
    }
    assert header["data"]["spec"] == json.loads((recorded.here / "order.json").read_text())
    assert header["data"]["inputs"] == {"prices": [250, 250, 297]}


def test_files_are_for_the_owner_and_the_group(shop: Shell) -> None:
    old = os.umask(0o022)
    try:
        path = shop.record("r-1", "--inputs", "@prices.json")
    finally:
        os.umask(old)
    modes = [path.stat().st_mode & 0o777, path.with_name(f"{path.name}.sig").stat().st_mode & 0o777]
    assert modes == [0o640, 0o640]
    assert shop.store.stat().st_mode & 0o777 == 0o750
    assert sorted(file.name for file in shop.store.iterdir()) == [
        "checkpoints.sqlite",
        "ledger.jsonl",
        "r-1.steps.jsonl",
        "r-1.steps.jsonl.sig",
    ]


@pytest.mark.parametrize(
    "given, expected",
    [
        ("3", 3),
        ("1.0", 1.0),
        ("-0.0", -0.0),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ('["a", {"b": 1}]', ["a", {"b": 1}]),
        ("Seattle", "Seattle"),
        ("", ""),
        ("a=b", "a=b"),
        ("[1,", "[1,"),
        ("NaN", "NaN"),
        ("é\u202e", "é\u202e"),
    ],
)
def test_an_input_is_json_where_it_parses_else_text(shell: Shell, given: str, expected: object) -> None:
    one_skill(shell, "1")
    assert shell.golden("record", "one.json", "--run-id", "r-1", "--input", f"x={given}").code == 0
    found = events(shell, "r-1")[0]["data"]["inputs"]["x"]
    assert (found, type(found)) == (expected, type(expected))


def test_a_single_input_overrides_the_document(shell: Shell) -> None:
    one_skill(shell, "1")
    done = shell.golden(
        "record", "one.json", "--run-id", "r-1", "--inputs", '{"a": 1, "b": 2}', "--input", "b=3", "--input", "c=4"
    )
    assert done.code == 0, done
    assert events(shell, "r-1")[0]["data"]["inputs"] == {"a": 1, "b": 3, "c": 4}


@pytest.mark.parametrize(
    "argv",
    [
        ("--input", "prices"),
        ("--input", "=3"),
        ("--inputs", "[1]"),
        ("--inputs", "{"),
        ("--inputs", '{"a": NaN}'),
        ("--inputs", '{"a": "\\ud800"}'),
        ("--input", 'prices={"a": 1, "a": 2}'),
        ("--inputs", '{"prices": [1], "prices": [2]}'),
        ("--inputs", '{"prices": [{"a": 1, "a": 2}]}'),
        ("--inputs", "@absent.json"),
        ("--inputs", "@bom.json"),
        ("--inputs", "@."),
        ("--inputs", '{"other": 1}'),
    ],
    ids=lambda argv: argv[1][:16],
)
def test_bad_inputs_are_refused(shop: Shell, snapshot: SnapshotAssertion, argv: tuple[str, ...]) -> None:
    shop.write("bom.json", b'\xef\xbb\xbf{"prices": [1]}')
    done = shop.golden("record", "order.json", *argv)
    assert done.refused() == snapshot
    assert not shop.store.exists()


@pytest.mark.parametrize("argv", [("--input", "prices=@"), ("--inputs", '{"prices": @}')], ids=["one", "all"])
def test_inputs_nested_too_deep_are_refused(shop: Shell, argv: tuple[str, str]) -> None:
    # How deep a parser goes, and so who refuses first, is the interpreter's business.
    done = shop.golden("record", "order.json", argv[0], argv[1].replace("@", "[" * 2000 + "]" * 2000))
    assert "nested" in done.refused()
    assert not shop.store.exists()


def test_an_existing_run_is_never_written_over(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    path = recorded.store / "r-1.steps.jsonl"
    before = path.read_bytes()
    done = recorded.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json")
    assert done.refused() == snapshot
    assert path.read_bytes() == before


def test_a_seal_without_its_file_is_not_written_over(recorded: Shell) -> None:
    (recorded.store / "r-1.steps.jsonl").unlink()
    recorded.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json").refused()


BAD_IDS = ["../x", "a/b", ".hidden", "a..b", "-x", "", " ", "a\nb", "ä", "x" * 129, "r\x1b[31m"]


@pytest.mark.parametrize("run_id", BAD_IDS)
def test_a_run_id_is_a_plain_name(shop: Shell, run_id: str) -> None:
    done = shop.golden("record", "order.json", f"--run-id={run_id}", "--inputs", "@prices.json")
    assert "is not a run id" in done.refused()
    assert "\x1b" not in done.stderr
    assert {path.name for path in shop.here.parent.iterdir()} == {"here"}
    assert not shop.store.exists()


@pytest.mark.parametrize("run_id", ["a", "0", "A.b_c-d", "x" * 128])
def test_a_run_id_may_be_any_plain_name(shop: Shell, run_id: str) -> None:
    assert shop.record(run_id, "--inputs", "@prices.json").is_file()


SECRETS: dict[str, dict[str, str | None]] = {
    "none": {"GOLDEN_SECRET_FILE": None},
    "only a retired one": {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET_PREVIOUS": "p" * 32},
    "empty": {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": ""},
    "weak": {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "s" * 31},
    "published": {"GOLDEN_SECRET_FILE": None, "GOLDEN_SECRET": "aos-legacy-example-secret-0123456789abcdef"},
    "two that disagree": {"GOLDEN_SECRET": "s" * 32},
    "weak previous": {"GOLDEN_SECRET_PREVIOUS": "short"},
    "absent file": {"GOLDEN_SECRET_FILE": "nothing-here"},
    "empty path": {"GOLDEN_SECRET_FILE": ""},
    "file others can read": {"GOLDEN_SECRET_FILE": "open"},
    "directory": {"GOLDEN_SECRET_FILE": "."},
    "fifo": {"GOLDEN_SECRET_FILE": "fifo"},
    "too large": {"GOLDEN_SECRET_FILE": "large"},
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_key_that_cannot_sign_is_refused(shop: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    shop.write("open", "o" * 40).chmod(0o644)
    shop.write("large", "l" * 5000).chmod(0o600)
    os.mkfifo(shop.here / "fifo", 0o600)
    done = shop.golden("record", "order.json", "--inputs", "@prices.json", env=SECRETS[name])
    assert done.refused() == snapshot
    assert not shop.store.exists()


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_secret_and_file_may_say_the_same(shop: Shell, ending: bytes) -> None:
    shop.write("secret", b"s" * 32 + ending)
    assert shop.record("r-1", "--inputs", "@prices.json", env={"GOLDEN_SECRET": "s" * 32}).is_file()


def test_a_skill_that_raises_shows_its_own_frames(shell: Shell, snapshot: SnapshotAssertion) -> None:
    one_skill(shell, "deeper('no')", before="def deeper(n):\n    return int(n)\n\n\n")
    done = shell.golden("record", "one.json", "--run-id", "r-1", "--seed", "7")
    assert done.code == 1
    assert done.stderr.splitlines()[1:] == [
        "  ValueError: invalid literal for int() with base 10: 'no'",
        f"    at {shell.line_of('return deeper')} in one",
        f"    at {shell.line_of('return int(n)')} in deeper",
    ]
    assert done.text == snapshot


def test_a_failed_run_is_a_good_recording(shell: Shell) -> None:
    one_skill(shell, "1 // 0")
    done = shell.golden("record", "one.json", "--run-id", "r-1", "--json")
    assert (done.code, done.objects[0]["status"], done.objects[0]["steps_completed"]) == (1, "failed", 0)
    assert shell.golden("verify", "r-1").code == 0
    step = events(shell, "r-1")[1]["data"]
    assert step["error"] == {
        "code": "EXECUTION_ERROR",
        "location": shell.line_of("return 1 // 0"),
        "message": step["error"]["message"],
        "type": "ZeroDivisionError",
    }
    assert shell.golden("replay", "r-1").code == 0


@pytest.mark.parametrize(
    "body",
    [
        "b'bytes'",
        "float('nan')",
        "{1: 2}",
        "{1, 2}",
        "(1, 2)",
        "{'a': [1, object()]}",
        "'\\ud800'",
        "exit(3)",
        "(_ for _ in ()).throw(KeyboardInterrupt)",
        "__import__('os').write(2, b'') and None",
        "ctx.external('t', lambda: (1, 2))",
        "ctx.external('t', lambda: {1, 2})",
        "ctx.external('t', lambda: object())",
        "ctx.external('t', lambda: None, object())",
        "ctx.spend(-1)",
        "ctx.spend(1.5)",
        "__import__('functools').reduce(lambda value, _: [value], range(2000))",
        "'x' * (17 << 20)",
    ],
)
def test_a_skill_that_misbehaves_fails_its_step_only(shell: Shell, snapshot: SnapshotAssertion, body: str) -> None:
    one_skill(shell, body)
    done = shell.golden("record", "one.json", "--run-id", "r-1", "--seed", "7")
    assert done.error
    assert shell.golden("verify", "r-1").code == 0
    assert done.text == snapshot


def test_external_calls_cannot_be_hidden_in_an_except(shell: Shell) -> None:
    one_skill(
        shell,
        "ask(ctx)",
        before="def ask(ctx):\n    try:\n        return ctx.external('t', object)\n    except BaseException:\n"
        "        return 'nothing happened'\n\n\n",
    )
    done = shell.golden("record", "one.json", "--run-id", "r-1")
    assert done.code == 1
    assert "UnrecordableError" in done.stderr


def test_a_step_that_changes_its_inputs_changes_nothing_else(shell: Shell) -> None:
    shell.give_key()
    shell.write(
        "two.json",
        {
            "id": "two",
            "steps": [
                {"id": "a", "skill_id": "one", "inputs": {"x": "${inputs.x}"}},
                {"id": "b", "skill_id": "one", "inputs": {"x": "${inputs.x}", "a": "${a}"}},
            ],
        },
    )
    shell.write("skills.py", ONE.replace("return BODY", 'ctx.inputs["x"].append(9)\n    return ctx.inputs["x"]'))
    assert shell.golden("record", "two.json", "--skills", "skills.py", "--run-id", "r-1", "--input", "x=[1]").code == 0
    assert [step["data"]["output"] for step in events(shell, "r-1")[1:3]] == [[1, 9], [1, 9]]
    assert events(shell, "r-1")[2]["data"]["inputs"] == {"a": [1, 9], "x": [1]}


@pytest.mark.parametrize(
    "ceilings, code, status",
    [
        ({"DEFAULT_STEP_CEILING_CENTS": "5", "DEFAULT_WORKFLOW_CEILING_CENTS": "5"}, 0, "completed"),
        ({"DEFAULT_STEP_CEILING_CENTS": "4"}, 1, "budget_exceeded"),
        ({"DEFAULT_WORKFLOW_CEILING_CENTS": "4"}, 1, "budget_exceeded"),
        ({"DEFAULT_STEP_CEILING_CENTS": "0"}, 1, "budget_exceeded"),
    ],
)
def test_ceilings_are_enforced(shell: Shell, ceilings: dict[str, str | None], code: int, status: str) -> None:
    one_skill(shell, "ctx.spend(5)")
    done = shell.golden("record", "one.json", "--run-id", "r-1", "--json", env=ceilings)
    assert (done.code, done.objects[0]["status"]) == (code, status)
    denied = events(shell, "r-1")[1]["data"].get("error_code", "")
    assert denied == ("" if code == 0 else "STEP" if "DEFAULT_STEP_CEILING_CENTS" in ceilings else "WORKFLOW") + (
        "_CEILING_EXCEEDED" if code else ""
    )


@pytest.mark.parametrize("text", ["-1", "1.5", "", "lots"])
def test_a_ceiling_is_a_whole_number_of_cents(shop: Shell, text: str) -> None:
    env = {"DEFAULT_STEP_CEILING_CENTS": text}
    done = shop.golden("record", "order.json", "--inputs", "@prices.json", env=env)
    assert "DEFAULT_STEP_CEILING_CENTS" in done.refused()


BAD_SKILLS = (
    "absent.py absent_module skills.py:nothing skills.py:basket empty.py two.py raises.py no_python.py leaves.py"
)


@pytest.mark.parametrize("name", BAD_SKILLS.split())
def test_skills_that_cannot_be_loaded_are_refused(shop: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    shop.write("empty.py", "")
    shop.write("two.py", "from replay import SkillRegistry\n\na, b = SkillRegistry(), SkillRegistry()\n")
    shop.write("raises.py", "def fail():\n    raise ValueError('not today')\n\n\nfail()\n")
    shop.write("no_python.py", "def f(:\n")
    shop.write("leaves.py", "raise SystemExit(0)\n")
    done = shop.golden("record", "order.json", "--inputs", "@prices.json", "--skills", name)
    assert (done.code, done.error[0][:8], done.stdout) == (2, "golden: ", "")
    assert done.stderr == snapshot
    assert not shop.store.exists()


def test_an_unknown_skill_is_refused_before_anything_runs(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.edit("order.json", "shop.voucher", "shop.coupon")
    done = shop.golden("record", "order.json", "--inputs", "@prices.json")
    assert "SKILL_NOT_FOUND" in done.refused()
    assert done.stderr == snapshot
    assert not shop.store.exists()


def test_later_skills_win(shop: Shell) -> None:
    shop.write(
        "mine.py",
        'from replay import SkillRegistry\n\nmine = SkillRegistry()\n\n\n@mine.skill("shop.voucher", version="2")\n'
        'def voucher(ctx):\n    return {"code": 1}\n',
    )
    shop.record("r-1", "--inputs", "@prices.json", "--skills", "mine:mine")
    steps = {e["data"]["step_id"]: e["data"] for e in events(shop, "r-1") if e["event_type"] == "step"}
    assert (steps["voucher"]["skill_version"], steps["voucher"]["output"]) == ("2", {"code": 1})
    assert steps["basket"]["skill_version"] == "1"


def test_a_golden_directory_that_cannot_be_used_is_refused(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.write("file", "")
    done = shop.golden("record", "order.json", "--inputs", "@prices.json", "--dir", "file/below")
    assert done.refused(4) == snapshot


CANARY = "canary-7c1e5b9a-secret-that-must-not-be-seen-anywhere"
SPY = """\
import os
import subprocess
import sys

LOOK = "import os; print(dict(os.environ), open('/proc/%d/cmdline' % os.getppid(), 'rb').read())"


def spy(ctx):
    child = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    return {"env": dict(os.environ), "argv": sys.argv, "child": child.stdout}


"""


@pytest.mark.parametrize("how", ["GOLDEN_SECRET", "GOLDEN_SECRET_FILE"])
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["text", "json"])
def test_no_secret_is_seen_by_a_skill_or_written_anywhere(shell: Shell, how: str, json: tuple[str, ...]) -> None:
    # /proc/self/environ keeps what the process was started with: a known limit, said in the documents.
    one_skill(shell, "spy(ctx)", before=SPY)
    shell.give_key(CANARY.encode())
    env = {"GOLDEN_SECRET_PREVIOUS": f"{CANARY}-previous", "MINE": "kept", "GOLDEN_DIR": ".golden"}
    if how == "GOLDEN_SECRET":
        env |= {"GOLDEN_SECRET": CANARY}
        del shell.environ["GOLDEN_SECRET_FILE"]
    answers = [
        shell.golden("record", "one.json", "--run-id", "r-1", "-v", *json, env=env),
        shell.golden("verify", "-v", *json, env=env),
        shell.golden("replay", "r-1", "-v", *json, env=env),
        shell.golden("tail", "r-1", "-v", *json, env=env),
        shell.golden("diff", "r-1", "r-1", "-v", *json, env=env),
        shell.golden("config", "-v", *json, env=env),
        shell.golden("record", "one.json", "--run-id", "r-1", "--debug", *json, env=env),
    ]
    # The skill answers with its own command line: the replay must tell it from that of the recording.
    assert [answer.code for answer in answers] == [0, 0, 1, 0, 0, 0, 2]
    output = events(shell, "r-1")[1]["data"]["output"]
    assert output["env"]["MINE"] == "kept"
    assert not [name for name in output["env"] if name.startswith("GOLDEN_")]
    assert "'MINE': 'kept'" in output["child"]
    written = [path for path in shell.here.rglob("*") if path.is_file() and path.name != "secret"]
    assert len(written) >= 5
    seen = [answer.stdout + answer.stderr for answer in answers] + [path.read_text("latin-1") for path in written]
    assert not [text for text in seen if CANARY in text or CANARY.encode().hex() in text]


def test_names_of_variables_are_recorded_and_no_value(shell: Shell) -> None:
    one_skill(shell, "1")
    shell.golden("record", "one.json", "--run-id", "r-1", env={"MY_VARIABLE": "my-value-4711"})
    text = (shell.store / "r-1.steps.jsonl").read_text()
    assert '"MY_VARIABLE"' in text
    assert "my-value-4711" not in text
    assert "GOLDEN_SECRET" not in text


def test_control_characters_of_a_skill_do_not_reach_the_terminal(shell: Shell, snapshot: SnapshotAssertion) -> None:
    raising = "def fail():\n    raise ValueError('\\x1b[31mred\\x07\\u202e \\x9b0m\\nnext')\n\n\n"
    one_skill(shell, "fail()", before=raising)
    done = shell.golden("record", "one.json", "--run-id", "r-1", "--seed", "7")
    assert not set(done.stdout + done.stderr) & set("\x1b\x07\u202e\x9b\r")
    assert done.text == snapshot


def test_quiet_keeps_the_answer_only(shop: Shell) -> None:
    done = shop.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json", "-q")
    assert (done.code, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


def test_skills_may_lie_in_a_package(shop: Shell) -> None:
    shop.write("pkg/__init__.py", "")
    (shop.here / "skills.py").rename(shop.here / "pkg" / "skills.py")
    shop.write("golden.toml", 'skills = ["pkg.skills"]\n')
    assert shop.record("r-1", "--inputs", "@prices.json").is_file()


def test_what_a_skill_prints_is_not_part_of_the_answer(shell: Shell) -> None:
    one_skill(shell, "print('noise') or __import__('os').write(1, b'more noise\\n')")
    done = shell.golden("record", "one.json", "--run-id", "r-1", "--json")
    assert (done.code, len(done.objects)) == (0, 1)
    assert "noise" in done.stderr
    replayed = shell.golden("replay", "r-1", "--json")
    assert (replayed.code, len(replayed.objects)) == (0, 2)


@pytest.mark.parametrize(
    "env, stopped",
    [
        ({"WORKFLOW_EMERGENCY_STOP": "1"}, True),
        ({"WORKFLOW_EMERGENCY_STOP": "yes"}, True),
        ({"WORKFLOW_EMERGENCY_STOP": "false"}, False),
        ({"WORKFLOW_ENGINE_ENABLED": "off"}, True),
        ({"WORKFLOW_ENGINE_ENABLED": "1"}, False),
    ],
)
def test_a_stop_of_the_environment_is_obeyed(shop: Shell, env: dict[str, str | None], stopped: bool) -> None:
    done = shop.golden("record", "order.json", "--inputs", "@prices.json", env=env)
    if stopped:
        assert "EMERGENCY_STOP" in done.refused()
        assert not shop.store.exists()
    else:
        assert done.code == 0
