"""The reference documents name everything there is and nothing else: JSON members, settings, spec members, Context."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from cli import ci, settings
from golden import whereabouts
from golden.keyring import kid_of
from replay import Context, codes, spec
from replay.divergence import Cause
from tests import runs
from tests.e2e.shell import Shell

REFERENCE = runs.ROOT / "docs" / "reference"
ROW = re.compile(r"^\| `([^`]+)`", re.MULTILINE)


def section(document: str, heading: str) -> str:
    """Return the text under a heading, up to the next one."""
    text = (REFERENCE / document).read_text("utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{document} has no section {heading}"
    return found[1]


def rows(text: str) -> list[str]:
    return ROW.findall(text)


def members(value: dict[str, Any], nested: set[str]) -> Iterator[str]:
    for name, child in value.items():
        if name != "schema":
            yield name
        if name in nested and isinstance(child, dict):
            yield from (f"{name}.{below}" for below in child)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Real objects by schema: of good, bad and failing runs, live and damaged files."""
    shell = Shell(tmp_path_factory.mktemp("answers"))
    shell.give_key()
    shell.write("golden.toml", 'skills = ["skills.py"]\n')
    shell.write("one.json", {"id": "one", "steps": [{"id": "a", "skill_id": "say"}]})
    shell.write(
        "skills.py",
        "from replay import SkillRegistry\n\nregistry = SkillRegistry()\n\n\n@registry.skill('say')\n"
        "def say(ctx):\n    return ctx.external('ask', lambda: 1)\n",
    )
    shutil.copytree(runs.FIXTURES / "recordings" / "v1", shell.here / "damaged")
    commands = [
        ("record", "one.json", "--run-id", "r-1", "--seed", "1"),
        ("record", "one.json", "--run-id", "r-2", "--seed", "2"),
        ("replay", "r-1"),
        ("replay", "absent"),
        ("verify",),
        ("verify", "--dir", "damaged"),
        ("diff", "r-1", "r-2"),
        ("tail", "r-1"),
        ("tail", "r-1", "--unverified"),
        ("tail", "garbage.jsonl", "--unverified"),
        ("config",),
        ("demo",),
        ("verify", "--anchor", "@anchor.txt"),
        ("anchors",),
        ("keys", "add", "--generate", "--active"),
        ("rotate", "--reason", "scheduled", ".golden", "other", "--yes"),
        ("resign", "r-1"),
        ("quarantine", "r-2", "--yes"),
        ("recover", "--yes"),
        ("ledger", "init", "--dir", "damaged"),
        ("import", "aos", "--format", "aos", "--dir", "imported", "--key", kid_of(runs.AOS_SECRET)),
        ("git", "install"),
        ("git", "merge", "ours", "theirs", "goldens/r-1.steps.jsonl"),
        ("git", "show", ".golden/r-1.steps.jsonl"),
        ("init",),
        ("record", "one.json", "--run-id", "r-3", "--seed", "3"),
        ("resume", "r-3"),
        ("fork", "r-3", "--at", "a", "--run-id", "r-4"),
        ("list",),
        ("stats",),
        ("inspect", "r-3"),
        ("status",),
        ("checkpoints", "list"),
        ("checkpoints", "show", "r-3"),
        ("checkpoints", "set-status", "r-3", "failed", "--expect-version", "3", "--reason", "x"),
        ("checkpoints", "delete", "r-3", "--expect-version", "4", "--yes"),
        ("checkpoints", "prune", "--older-than", "1d", "--keep", "1"),
        ("stop", "--reason", "x"),
        ("stop", "--reason", "y"),
        ("start",),
    ]
    shutil.copytree(runs.FIXTURES / "recordings" / "aos", shell.here / "aos")
    subprocess.run(["git", "init", "-q"], cwd=shell.here, env=shell.environ, check=True)
    shell.write("garbage.jsonl", "no event\n")
    found: dict[str, list[dict[str, Any]]] = {}
    for argv in commands:
        if argv[0] == "rotate":
            shutil.copytree(shell.store, shell.here / "other")
        if "@anchor.txt" in argv:
            shell.write("anchor.txt", shell.anchor())
        # A secret that is published, which only files of the AOS system may be checked with.
        env = {"GOLDEN_SECRET_PREVIOUS": runs.AOS_SECRET.decode()} if argv[0] == "import" else {}
        for answer in shell.golden(*argv, "--json", env=env).objects:
            found.setdefault(answer["schema"], []).append(answer)
    shell.edit("skills.py", "lambda: 1", "lambda: 1, 2")
    changed = [
        ("replay", "r-1"),
        ("gate", "r-1", "nothing-*"),
        ("update", "r-1", "r-3", "absent", "--live"),
        ("review",),
        ("accept", "r-1", "--reason", "x"),
        ("reject", "r-3", "--reason", "x"),
    ]
    for argv in changed:
        for answer in shell.golden(*argv, "--json").objects:
            found.setdefault(answer["schema"], []).append(answer)
    return found


def test_every_schema_is_documented(answers: dict[str, list[dict[str, Any]]]) -> None:
    text = (REFERENCE / "json.md").read_text("utf-8")
    assert set(re.findall(r"^## (golden\.\w+/\d+)$", text, re.MULTILINE)) == set(answers)


@pytest.mark.parametrize(
    "schema",
    sorted(set(re.findall(r"^## (golden\.\w+/\d+)$", (REFERENCE / "json.md").read_text("utf-8"), re.MULTILINE))),
)
def test_every_member_is_documented_and_every_documented_member_is_there(
    answers: dict[str, list[dict[str, Any]]], schema: str
) -> None:
    documented = rows(section("json.md", schema))
    nested = {name.partition(".")[0] for name in documented if "." in name}
    real = {name for answer in answers[schema] for name in members(answer, nested)}
    assert set(documented) == real
    assert len(documented) == len(set(documented))


ORDERED = """
    record verify replay diff config demo keys rotate resign quarantine recover ledger anchors import init git show
    resume fork stop start status list stats inspect
"""


@pytest.mark.parametrize("schema", ORDERED.split())
def test_members_stand_in_the_order_documented(answers: dict[str, list[dict[str, Any]]], schema: str) -> None:
    documented = [name for name in rows(section("json.md", f"golden.{schema}/1")) if "." not in name]
    for answer in answers[f"golden.{schema}/1"]:
        assert list(answer) == ["schema", *documented]


def test_members_of_what_happened_since_an_anchor_are_documented() -> None:
    (row,) = [line for line in section("json.md", "golden.summary/1").splitlines() if line.startswith("| `since`")]
    source = Path(ci.__file__).read_text("utf-8").partition("def _since")[2].partition("\ndef ")[0]
    assert re.findall(r"`(\w+)`", row.partition("Objects of")[2]) == re.findall(r'^ +"(\w+)": ', source, re.MULTILINE)


def test_causes_are_those_of_the_code() -> None:
    shown = section("json.md", "golden.replay/1")
    line = next(line for line in shown.splitlines() if "divergence.cause" in line)
    assert re.findall(r"`(\w+)`", line) == list(get_args(Cause))


def test_every_key_of_the_configuration_is_documented() -> None:
    table = section("configuration.md", "Keys")
    assert set(rows(table)) == set(settings.KEYS)
    for name, default in settings.DEFAULTS.items():
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{name}`")]
        shown = row.split("|")[3].strip().strip("`")
        assert shown == ("none" if default in ([], {}, None) else json.dumps(default).strip('"'))


def test_every_variable_is_documented() -> None:
    documented = set(rows(section("configuration.md", "Variables")))
    source = "".join(Path(str(module.__file__)).read_text("utf-8") for module in (settings, whereabouts))
    read = set(re.findall(r'"((?:GOLDEN|XDG|WORKFLOW|NO|FORCE)_[A-Z_]*[A-Z]|DATABASE_URL|HOME|COLUMNS|CI)"', source))
    assert documented == read | set(settings.SECRETS) | set(settings.CEILINGS)


def test_every_member_of_a_spec_is_documented() -> None:
    text = section("spec.md", "The file")
    of_spec, _, of_step = text.partition("\nA step:\n")
    for shown, struct in ((of_spec, spec._Document), (of_step, spec.Step)):
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        assert set(rows(shown)) == set(fields)
        for name, field in fields.items():
            (row,) = [line for line in shown.splitlines() if line.startswith(f"| `{name}`")]
            assert (row.split("|")[3].strip() == "required") == field.required, name


def test_every_error_code_is_documented_with_how_the_run_ends() -> None:
    documented = rows(section("spec.md", "When a step fails").partition("| code |")[2])
    assert set(documented) == set(codes.HINTS)
    text = section("spec.md", "When a step fails")
    for code, status in codes.ENDING.items():
        assert re.search(rf"^\| `{code}` .*\| `{status}` \|$", text, re.MULTILINE), code


def test_every_member_of_the_context_is_documented() -> None:
    documented = {re.match(r"ctx\.(\w+)", name)[1] for name in rows(section("spec.md", "Context"))}  # type: ignore[index]
    public = {name for name in vars(Context) if not name.startswith("_")}
    assert documented == public | {"idempotency_key", "seed"}


def test_every_exit_code_stands_on_the_front_page() -> None:
    readme = (runs.ROOT / "README.md").read_text("utf-8")
    commands = (REFERENCE / "commands.md").read_text("utf-8")
    for code in (0, 1, 2, 3, 4, 130, 143):
        assert re.search(rf"^\|[^|]*\b{code}\b", readme, re.MULTILINE), code
        assert re.search(rf"^\|[^|]*\b{code}\b", commands, re.MULTILINE), code
