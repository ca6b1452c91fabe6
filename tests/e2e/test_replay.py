"""`golden replay`: what it says of an unchanged run, and each cause of divergence, reached as a user reaches it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import runs
from tests.e2e.shell import Shell

MEMBERS = {
    "schema",
    "run_id",
    "verdict",
    "spec_source",
    "steps_recorded",
    "steps_compared",
    "steps_answered",
    "divergence",
    "problem",
    "hint",
    "notes",
}
DIVERGENCE = {"cause", "step_id", "index", "path", "kind", "expected", "actual", "location"}
SUMMARY = {"schema", "command", "checked", "by", "exit_code"}


def the_answer(shell: Shell, *argv: str, code: int, env: dict[str, str | None] | None = None) -> dict[str, Any]:
    """Replay one run and return its object, after looking at the form of the whole answer."""
    done = shell.golden("replay", *argv, "--json", env=env)
    assert done.code == code, done
    assert done.error == []
    answer, summary = done.objects
    assert (next(iter(answer)), answer["schema"], set(answer)) == ("schema", "golden.replay/1", MEMBERS)
    assert answer["divergence"] is None or set(answer["divergence"]) == DIVERGENCE
    assert summary == {
        "schema": "golden.summary/1",
        "command": "replay",
        "checked": 1,
        "by": {answer["verdict"]: 1},
        "exit_code": code,
    }
    return answer


def test_an_unchanged_run_matches(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    done = recorded.golden("replay", "r-1")
    assert (done.code, done.stderr) == (0, "")
    assert done.text == snapshot


def test_a_match_in_json(recorded: Shell) -> None:
    assert the_answer(recorded, "r-1", code=0) == {
        "schema": "golden.replay/1",
        "run_id": "r-1",
        "verdict": "matched",
        "spec_source": "from the recording",
        "steps_recorded": 4,
        "steps_compared": 4,
        "steps_answered": 0,
        "divergence": None,
        "problem": None,
        "hint": None,
        "notes": [],
    }


@pytest.mark.parametrize("seed", ["0", "4711", None])
def test_hash_order_alone_is_no_divergence(recorded: Shell, seed: str | None) -> None:
    the_answer(recorded, "r-1", code=0, env={"PYTHONHASHSEED": seed})


def test_the_world_is_not_asked_again(recorded: Shell) -> None:
    recorded.edit("skills.py", 'return {"EUR": 0.92, "GBP": 0.79}[currency]', 'raise OSError("the world is gone")')
    answer = the_answer(recorded, "r-1", code=0)
    assert answer["notes"]
    assert all("changed since it was recorded" in note for note in answer["notes"])


def test_a_recording_replays_alone_in_another_directory(recorded: Shell, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("secret", "skills.py", ".golden/r-1.steps.jsonl", ".golden/r-1.steps.jsonl.sig"):
        shutil.copy(recorded.here / name, elsewhere)
    shutil.rmtree(recorded.store)
    (recorded.here / "order.json").unlink()
    done = recorded.golden("replay", "r-1.steps.jsonl", "--skills", "skills.py", cwd=elsewhere)
    assert done.code == 0, done
    assert "4 of 4 steps compared" in done.stdout


def in_skills(old: str, new: str) -> Callable[[Shell], None]:
    return lambda shell: shell.edit("skills.py", old, new)


def exchanged(shell: Shell) -> None:
    asking = '    rate = ctx.external("rate", todays_rate, "EUR")\n'
    shell.edit("skills.py", asking, "")
    shell.edit("skills.py", "    ctx.spend(2)\n", f"{asking}    ctx.spend(2)\n")


# name → what changes after recording; what must be named: cause, step, path, expected, actual, and a text that stands
# in the line of the location.
STORIES: dict[str, tuple[Callable[[Shell], None], tuple[str, str | None, str, Any, Any, str | None]]] = {
    "output": (
        in_skills("/ 100, 2)}", "/ 100, 1)}"),
        ("output", "price", "/amount", 8.06, 8.1, "def price"),
    ),
    "type of an output": (
        in_skills('{"code": ctx.random.randrange(1_000_000)}', '{"code": float(ctx.random.randrange(1_000_000))}'),
        ("output", "voucher", "/code", 644839, 644839.0, "def voucher"),
    ),
    "member gone": (
        in_skills(', "kinds": sorted({"apple", "fig", "melon", "pear", "plum"})', ""),
        ("output", "basket", "/kinds", ["apple", "fig", "melon", "pear", "plum"], None, "def basket"),
    ),
    "text of the result": (
        in_skills("EUR, voucher", "EUR with voucher"),
        ("output", "receipt", "", "8.06 EUR, voucher 644839", "8.06 EUR with voucher 644839", "def receipt"),
    ),
    "external call with other arguments": (
        in_skills('todays_rate, "EUR"', 'todays_rate, "GBP"'),
        ("effect", "price", "/effects/0/args/0", "EUR", "GBP", 'ctx.external("rate"'),
    ),
    "external call renamed": (
        in_skills('ctx.external("tax"', 'ctx.external("vat"'),
        ("effect", "price", "/effects/1/name", "tax", "vat", 'ctx.external("vat"'),
    ),
    "external call dropped": (
        in_skills('ctx.external("tax", tax_on, ctx.inputs["cents"])', "tax_on(797)"),
        (
            "effect",
            "price",
            "/effects/1",
            {"name": "tax", "args": [797], "kwargs": {}},
            None,
            "def price",
        ),
    ),
    "external call added": (
        in_skills("    ctx.spend(2)\n", '    ctx.spend(2)\n    ctx.external("more", tax_on, 1)\n'),
        (
            "effect",
            "price",
            "/effects/2",
            None,
            {"name": "more", "args": [1], "kwargs": {}},
            'ctx.external("more"',
        ),
    ),
    "external calls exchanged": (
        exchanged,
        ("effect", "price", "/effects/0/name", "rate", "tax", 'ctx.external("tax"'),
    ),
    "skill version": (
        in_skills('"shop.voucher", version="1"', '"shop.voucher", version="2"'),
        ("skill", "voucher", "/skill_version", "1", "2", "def voucher"),
    ),
    "ctx.spend": (
        in_skills("ctx.spend(2)", "ctx.spend(3)"),
        ("budget", "price", "/cost_cents", 2, 3, "def price"),
    ),
    "over the ceiling": (
        in_skills("ctx.spend(2)", "ctx.spend(51)"),
        ("error", "price", "", None, {"code": "WORKFLOW_CEILING_EXCEEDED", "type": "DeniedError"}, "def price"),
    ),
    "fails now": (
        in_skills("rate / 100, 2)}", "int('no') / 100, 2)}"),
        (
            "error",
            "price",
            "",
            None,
            {"code": "EXECUTION_ERROR", "type": "ValueError"},
            "int('no')",
        ),
    ),
    "returns what is no JSON": (
        in_skills("sorted({", "set({"),
        ("error", "basket", "", None, {"code": "EXECUTION_ERROR", "type": "NotCanonicalError"}, "def basket"),
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_change_of_code_is_named(recorded: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    change, (cause, step_id, path, expected, actual, place) = STORIES[name]
    change(recorded)
    answer = the_answer(recorded, "r-1", code=1)
    assert answer["verdict"] == "diverged"
    found = answer["divergence"]
    assert (found["cause"], found["step_id"], found["path"]) == (cause, step_id, path)
    assert (found["expected"], type(found["expected"])) == (expected, type(expected))
    assert (found["actual"], type(found["actual"])) == (actual, type(actual))
    assert found["location"] == (recorded.line_of(place) if place else None)
    assert found["index"] == ["basket", "price", "voucher", "receipt"].index(str(step_id))
    done = recorded.golden("replay", "r-1")
    assert done.code == 1
    assert done.text == snapshot


def in_spec(**members: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec.update(members)


def renamed(spec: dict[str, Any]) -> None:
    spec["steps"][2]["id"] = "coupon"
    spec["steps"][3]["inputs"]["code"] = "${coupon.code}"


def dropped(spec: dict[str, Any]) -> None:
    del spec["steps"][2:]
    spec["result"] = "${price}"


def added(spec: dict[str, Any]) -> None:
    spec["steps"].append({"id": "more", "skill_id": "shop.voucher"})


def dearer(spec: dict[str, Any]) -> None:
    spec["steps"][2]["estimated_cost_cents"] = 2


SPECS: dict[str, tuple[Callable[[dict[str, Any]], None], tuple[str | None, str, Any, Any]]] = {
    "version": (in_spec(version="2"), (None, "/version", "1", "2")),
    "name": (in_spec(name="Order"), (None, "/name", None, "Order")),
    "budget": (in_spec(budget_ceiling_cents=60), (None, "/budget_ceiling_cents", 50, 60)),
    "step renamed": (renamed, ("coupon", "/steps/2/id", "voucher", "coupon")),
    "cost of a step": (dearer, ("voucher", "/steps/2/estimated_cost_cents", 1, 2)),
    "step added": (added, ("more", "/steps/4", None, {"id": "more", "skill_id": "shop.voucher"})),
}


@pytest.mark.parametrize("how", ["--spec", "specs"])
@pytest.mark.parametrize("name", SPECS)
def test_a_change_of_the_spec_is_named(recorded: Shell, snapshot: SnapshotAssertion, how: str, name: str) -> None:
    change, (step_id, path, expected, actual) = SPECS[name]
    spec = json.loads((recorded.here / "order.json").read_text())
    change(spec)
    recorded.write("specs/current.json", spec)
    if how == "specs":
        recorded.write("golden.toml", 'skills = ["skills.py"]\nspecs = "specs"\n')
    argv = ("--spec", "specs/current.json") if how == "--spec" else ()
    answer = the_answer(recorded, "r-1", *argv, code=1)
    assert (answer["spec_source"], answer["steps_compared"]) == ("current specs/current.json", 0)
    found = answer["divergence"]
    assert (found["cause"], found["step_id"], found["path"]) == ("spec", step_id, path)
    assert (found["expected"], found["actual"]) == (expected, actual)
    if how == "--spec":
        assert recorded.golden("replay", "r-1", *argv).text == snapshot


def test_a_step_dropped_from_the_spec_is_named(recorded: Shell) -> None:
    spec = json.loads((recorded.here / "order.json").read_text())
    dropped(spec)
    recorded.write("order.json", spec)
    found = the_answer(recorded, "r-1", "--spec", "order.json", code=1)["divergence"]
    assert (found["cause"], found["actual"] in (None, "${price}")) == ("spec", True)


def test_the_same_spec_written_otherwise_is_the_same(recorded: Shell) -> None:
    document = json.loads((recorded.here / "order.json").read_text())
    recorded.write("specs/order.json", json.dumps(dict(reversed(document.items())), indent=7))
    answer = the_answer(recorded, "r-1", "--spec", "specs/order.json", code=0)
    assert answer["spec_source"] == "current specs/order.json"


def test_configured_specs_are_found_from_below(recorded: Shell) -> None:
    recorded.write("golden.toml", 'skills = ["skills.py"]\nspecs = ["specs", "order.json"]\n')
    recorded.write("specs/another.toml", 'id = "another"\n[[steps]]\nid = "a"\nskill_id = "b"\n')
    below = recorded.here / "below"
    below.mkdir()
    done = recorded.golden("replay", "r-1", "--json", cwd=below, env={"GOLDEN_SECRET_FILE": "../secret"})
    assert (done.code, done.objects[0]["spec_source"]) == (0, "current ../order.json")


def test_two_specs_with_one_id_are_refused(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.write("golden.toml", 'skills = ["skills.py"]\nspecs = ["order.json", "specs"]\n')
    recorded.write("specs/copy.json", (recorded.here / "order.json").read_text())
    answer = the_answer(recorded, "r-1", code=4)
    assert answer["verdict"] == "refused"
    done = recorded.golden("replay", "r-1")
    assert done.code == 4
    assert done.text == snapshot
    assert recorded.golden("replay", "r-1", "--spec", "order.json").code == 0


@pytest.mark.parametrize("bad", ["broken.json", "absent.json", ""])
def test_a_spec_given_that_is_none_is_misuse(recorded: Shell, bad: str) -> None:
    recorded.write("broken.json", "{")
    recorded.golden("replay", "r-1", "--spec", bad).refused()


@pytest.mark.parametrize("argv", [("--input", "prices=[1]"), ("--inputs", '{"prices": [1]}')])
def test_changed_inputs_are_named(recorded: Shell, argv: tuple[str, ...]) -> None:
    found = the_answer(recorded, "r-1", *argv, code=1)["divergence"]
    assert (found["cause"], found["path"]) == ("inputs", "/prices/0")
    assert (found["expected"], found["actual"]) == (250, 1)


def test_the_same_inputs_given_again_match(recorded: Shell) -> None:
    the_answer(recorded, "r-1", "--inputs", "@prices.json", code=0)


SET = "sorted({"


def test_set_order_is_caught_under_another_hash_seed(shop: Shell) -> None:
    shop.edit("skills.py", SET, "list({")
    shop.record("r-1", "--inputs", "@prices.json", env={"PYTHONHASHSEED": "1"})
    the_answer(shop, "r-1", code=0, env={"PYTHONHASHSEED": "1"})
    answer = the_answer(shop, "r-1", code=1, env={"PYTHONHASHSEED": "2"})
    found = answer["divergence"]
    assert (found["cause"], found["step_id"]) == ("output", "basket")
    assert re.fullmatch(r"/kinds/\d", found["path"])
    assert found["location"] == shop.line_of("def basket")
    assert found["expected"] != found["actual"]


@pytest.mark.parametrize(
    "value",
    [
        "__import__('random').random()",
        "__import__('time').time_ns()",
        "str(__import__('uuid').uuid4())",
        "id(object())",
    ],
)
def test_a_value_from_nowhere_is_caught(shop: Shell, value: str) -> None:
    shop.edit("skills.py", "ctx.random.randrange(1_000_000)}", f"644839, 'x': {value}}}")
    shop.record("r-1", "--inputs", "@prices.json")
    found = the_answer(shop, "r-1", code=1)["divergence"]
    assert (found["cause"], found["step_id"], found["path"]) == ("output", "voucher", "/x")
    assert found["location"] == shop.line_of("def voucher")


def test_a_volatile_value_is_passed_on_as_recorded(shop: Shell) -> None:
    shop.edit("skills.py", "ctx.random.randrange(1_000_000)}", "__import__('random').randrange(1_000_000)}")
    spec = json.loads((shop.here / "order.json").read_text())
    shop.write("order.json", {**spec, "volatile": ["/steps/voucher/output/code"]})
    shop.record("r-1", "--inputs", "@prices.json")
    the_answer(shop, "r-1", code=0)


def test_volatile_paths_of_the_configuration_are_stored(shop: Shell) -> None:
    shop.edit("skills.py", "ctx.random.randrange(1_000_000)}", "__import__('random').randrange(1_000_000)}")
    shop.write(
        "golden.toml", 'skills = "skills.py"\nvolatile = ["/steps/voucher/output/code", "/steps/basket/output/x"]\n'
    )
    shop.record("r-1", "--inputs", "@prices.json")
    shop.write("golden.toml", 'skills = "skills.py"\n')
    answer = the_answer(shop, "r-1", code=0)
    assert answer["notes"] == [
        "volatile paths that matched nothing: /steps/basket/output/x",
        f"step voucher: random.randrange at {shop.line_of('randrange')} is not the same in a replay; use ctx.random",
    ]


def test_a_step_that_is_external_as_a_whole_is_answered(shop: Shell, snapshot: SnapshotAssertion) -> None:
    spec = json.loads((shop.here / "order.json").read_text())
    spec["steps"][2]["external"] = True
    shop.write("order.json", spec)
    shop.record("r-1", "--inputs", "@prices.json")
    shop.edit("skills.py", "ctx.random.randrange(1_000_000)", "1 // 0")
    answer = the_answer(shop, "r-1", code=0)
    assert (answer["steps_compared"], answer["steps_answered"]) == (3, 1)
    assert shop.golden("replay", "r-1").text == snapshot


def test_nothing_but_answered_steps_is_no_match(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.write("one.json", {"id": "one", "steps": [{"id": "a", "skill_id": "shop.voucher", "external": True}]})
    assert shop.golden("record", "one.json", "--run-id", "r-1").code == 0
    assert the_answer(shop, "r-1", code=4)["verdict"] == "refused"
    assert shop.golden("replay", "r-1").text == snapshot


def test_a_failure_that_fails_alike_matches(shop: Shell, snapshot: SnapshotAssertion) -> None:
    shop.edit("skills.py", "rate / 100, 2", "int('no'), 2")
    assert shop.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json").code == 1
    the_answer(shop, "r-1", code=0)
    assert shop.golden("replay", "r-1").text == snapshot
    shop.edit("skills.py", "int('no'), 2", "rate / {}[0], 2")
    found = the_answer(shop, "r-1", code=1)["divergence"]
    assert (found["cause"], found["path"], found["expected"]) == ("error", "/type", "ValueError")
    assert found["actual"] == "KeyError"


def test_a_failure_that_does_not_fail_is_named(shop: Shell) -> None:
    shop.edit("skills.py", "rate / 100, 2", "int('no'), 2")
    shop.golden("record", "order.json", "--run-id", "r-1", "--inputs", "@prices.json")
    shop.edit("skills.py", "int('no'), 2", "rate / 100, 2")
    found = the_answer(shop, "r-1", code=1)["divergence"]
    assert (found["cause"], found["step_id"], found["actual"]) == ("error", "price", None)


def test_a_failure_of_the_world_is_answered_alike(shop: Shell) -> None:
    shop.edit("skills.py", '{"EUR": 0.92, "GBP": 0.79}[currency]', "1 // 0")
    shop.edit("skills.py", '    rate = ctx.external("rate", todays_rate, "EUR")\n', RETRY)
    shop.record("r-1", "--inputs", "@prices.json")
    the_answer(shop, "r-1", code=0)


RETRY = """\
    try:
        rate = ctx.external("rate", todays_rate, "EUR")
    except Exception as error:
        rate = len(str(error))
"""


def test_an_except_does_not_hide_a_divergence(recorded: Shell) -> None:
    recorded.edit("skills.py", '    tax = ctx.external("tax", tax_on, ctx.inputs["cents"])\n', HIDDEN)
    found = the_answer(recorded, "r-1", code=1)["divergence"]
    assert (found["cause"], found["path"]) == ("effect", "/effects/1/name")


HIDDEN = """\
    try:
        tax = ctx.external("vat", tax_on, ctx.inputs["cents"])
    except BaseException:
        tax = 79
"""


def test_a_missing_skill_is_refused_with_its_module(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.edit("skills.py", "shop.receipt", "shop.slip")
    assert the_answer(recorded, "r-1", code=4)["verdict"] == "refused"
    assert recorded.golden("replay", "r-1").text == snapshot


def test_nothing_in_a_recording_is_imported(recorded: Shell, snapshot: SnapshotAssertion) -> None:
    recorded.write("golden.toml", "")
    done = recorded.golden("replay", "r-1")
    assert done.code == 4
    assert done.text == snapshot


# What replay makes of files that are not intact: verdicts are verify's, 3 for security, 4 for undecided.
FILES = {
    "flipped-byte-in-output": 3,
    "truncated-at-line": 3,
    "wrong-run-live": 3,
    "renamed-run": 3,
    "seal-without-file": 3,
    "unsealed": 3,
    "stripped-to-aos": 3,
    "live": 4,
    "torn-tail": 4,
    "unknown-key": 4,
    "newer-version": 4,
    "empty": 4,
    "no-such-run": 4,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_intact_is_not_replayed(shop: Shell, snapshot: SnapshotAssertion, name: str) -> None:
    shop.write("golden.toml", 'skills = ["proof.py"]\n')
    shop.write("proof.py", "raise SystemExit('code was loaded')\n")
    shutil.copytree(runs.FIXTURES / "recordings" / "v1", shop.store)
    answer = the_answer(shop, name, code=FILES[name])
    assert (answer["verdict"], answer["steps_compared"]) == ("refused", 0)
    assert answer["problem"]
    assert answer["hint"]
    done = shop.golden("replay", name)
    assert done.code == FILES[name]
    assert done.text == snapshot


def test_all_reports_every_recording_and_the_worst_finding_decides(
    recorded: Shell, snapshot: SnapshotAssertion
) -> None:
    recorded.record("r-2", "--inputs", "@prices.json")
    recorded.edit("skills.py", "/ 100, 2)}", "/ 100, 1)}")
    recorded.record("r-3", "--inputs", "@prices.json")
    done = recorded.golden("replay", "--all")
    assert done.code == 1
    assert done.text == snapshot
    path = recorded.store / "r-2.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"8.06", b"9.06"))
    done = recorded.golden("replay", "--all", "--json")
    *answers, summary = done.objects
    assert [(answer["run_id"], answer["verdict"]) for answer in answers] == [
        ("r-1", "diverged"),
        ("r-2", "refused"),
        ("r-3", "matched"),
    ]
    assert set(summary) == SUMMARY
    assert (done.code, summary["exit_code"], summary["checked"]) == (3, 3, 3)
    assert summary["by"] == {"diverged": 1, "refused": 1, "matched": 1}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_several_processes_give_the_same_answer(recorded: Shell, jobs: str) -> None:
    recorded.record("r-2", "--inputs", "@prices.json")
    recorded.edit("skills.py", "/ 100, 2)}", "/ 100, 1)}")
    recorded.record("r-3", "--inputs", "@prices.json")
    done = recorded.golden("replay", "--all", "-j", jobs, "--json")
    assert done.code == 1
    assert [answer.get("run_id") for answer in done.objects] == ["r-1", "r-2", "r-3", None]
    assert done.objects[-1]["by"] == {"diverged": 2, "matched": 1}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_fail_fast_stops_after_the_first_that_does_not_match(recorded: Shell, jobs: str) -> None:
    recorded.record("r-2", "--inputs", "@prices.json")
    recorded.edit("skills.py", "/ 100, 2)}", "/ 100, 1)}")
    done = recorded.golden("replay", "--all", "-x", "-j", jobs, "--json")
    assert done.code == 1
    assert (len(done.objects), done.objects[-1]["checked"]) == (2, 1)


def test_k_chooses_by_run_id(recorded: Shell) -> None:
    recorded.record("other-1", "--inputs", "@prices.json")
    done = recorded.golden("replay", "--all", "-k", "other", "--json")
    assert (done.code, [answer.get("run_id") for answer in done.objects]) == (0, ["other-1", None])
    assert recorded.golden("replay", "r-1", "other-1", "-k", "other", "--json").objects[-1]["checked"] == 1


@pytest.mark.parametrize("argv", [("--all", "-k", "nothing"), ("--all", "--dir", "nothing-here")], ids=" ".join)
def test_nothing_replayed_is_no_success(recorded: Shell, snapshot: SnapshotAssertion, argv: tuple[str, ...]) -> None:
    done = recorded.golden("replay", *argv)
    assert done.code == 4
    assert done.text == snapshot
    (summary,) = recorded.golden("replay", *argv, "--json").objects
    assert (summary["checked"], summary["exit_code"]) == (0, 4)


@pytest.mark.parametrize(
    "argv", [("r-1",), ("--run", "r-1"), (".golden/r-1.steps.jsonl",), ("--run=./.golden/r-1.steps.jsonl",)]
)
def test_a_run_is_named_by_id_or_path(recorded: Shell, argv: tuple[str, ...]) -> None:
    assert the_answer(recorded, *argv, code=0)["run_id"] == "r-1"


def test_runbook_spelling(recorded: Shell) -> None:
    assert recorded.golden("replay-local", "--run", "r-1").stdout == recorded.golden("replay", "r-1").stdout


def test_an_edit_within_one_second_is_seen(recorded: Shell) -> None:
    # Same size, same second: bytecode cached for the old text must not be run.
    for _ in range(2):
        the_answer(recorded, "r-1", code=0)
        recorded.edit("skills.py", "/ 100, 2)}", "/ 100, 1)}")
        the_answer(recorded, "r-1", code=1)
        recorded.edit("skills.py", "/ 100, 1)}", "/ 100, 2)}")


def test_replay_writes_nothing(recorded: Shell) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in recorded.store.rglob("*") if path.is_file()}

    before = files()
    recorded.golden("replay", "r-1")
    recorded.golden("verify")
    recorded.golden("tail", "r-1")
    recorded.golden("diff", "r-1", "r-1")
    assert files() == before


def test_changed_ceilings_of_the_environment_are_not_the_recordings(recorded: Shell) -> None:
    # Ceilings are part of the recording: the machine that replays has no say.
    the_answer(recorded, "r-1", code=0, env={"DEFAULT_STEP_CEILING_CENTS": "0", "DEFAULT_WORKFLOW_CEILING_CENTS": "0"})


@pytest.mark.parametrize("at", [20, -300], ids=["head", "tail"])
def test_a_file_changed_after_it_verified_is_found(recorded: Shell, at: int) -> None:
    # Skills are loaded once the file has verified: the moment between the check and the first step.
    recorded.write("evil.py", EVIL.replace("AT", str(at)))
    answer = the_answer(recorded, "r-1", "--skills", "evil.py", code=3)
    assert (answer["verdict"], answer["steps_compared"]) == ("refused", 0)
    assert "changed" in answer["problem"]


EVIL = """\
from pathlib import Path

from replay import SkillRegistry

registry = SkillRegistry()
path = Path(".golden/r-1.steps.jsonl")
data = bytearray(path.read_bytes())
data[AT] ^= 1
path.write_bytes(data)
"""


def test_a_value_that_is_absent_is_told_from_null(recorded: Shell) -> None:
    recorded.edit("skills.py", '{"code": ctx.random.randrange(1_000_000)}', '{"code": 644839, "more": None}')
    found = the_answer(recorded, "r-1", code=1)["divergence"]
    assert (found["kind"], found["path"], found["expected"], found["actual"]) == ("added", "/more", None, None)
    lines = [line.split() for line in recorded.golden("replay", "r-1").stdout.splitlines()]
    assert ["expected", "(absent)"] in lines
    assert ["actual", "null"] in lines


def test_a_recording_without_its_spec_under_specs_is_refused(recorded: Shell) -> None:
    # Where specs are configured, the recorded spec alone would be green for the wrong reason.
    recorded.write("golden.toml", 'skills = ["skills.py"]\nspecs = "specs"\n')
    recorded.write("specs/another.json", '{"id": "another", "steps": [{"id": "a", "skill_id": "b"}]}')
    answer = the_answer(recorded, "r-1", code=4)
    assert "no spec under `specs` has the id order" in answer["problem"]
    assert recorded.golden("replay", "r-1", "--spec", "order.json").code == 0


@pytest.mark.parametrize("env", [{"GOLDEN_SECRET": "short"}, {"GOLDEN_SECRET_FILE": "absent"}, {"GOLDEN_SECRET": ""}])
def test_a_secret_that_cannot_be_used_is_misuse(recorded: Shell, env: dict[str, str | None]) -> None:
    recorded.golden("replay", "r-1", env={"GOLDEN_SECRET_FILE": None, **env}).refused()


def test_code_that_goes_elsewhere_does_not_lose_the_next_recording(recorded: Shell) -> None:
    recorded.record("r-2", "--inputs", "@prices.json")
    recorded.edit("skills.py", "    ctx.spend(2)\n", "    ctx.spend(2)\n    __import__('os').chdir('/')\n")
    done = recorded.golden("replay", "r-1", ".golden/r-2.steps.jsonl", "--json")
    assert (done.code, done.objects[-1]["by"]) == (0, {"matched": 2})
