"""The documents do what they say: what they ask to be typed is typed, links resolve, tables are complete."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from cli import main
from golden.keyfile import read_policy
from golden.keyring import kid_of
from golden.sources import read_sources
from tests import make_reference, make_transcript, runs

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"^`(?P<name>[\w./-]+)`:\n\n\Z", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
# An anchor cannot have been stored before its line was written: the documents' new year is one that is to come.
NEW_YEAR = f"{time.gmtime().tm_year + 1}-01-01"
MARK = "\x1e"  # what the script prints around each command; no document and no output holds it


class File(NamedTuple):
    """A file the reader is asked to write."""

    name: str
    text: str


@dataclass
class Command:
    """A command the reader is asked to type, and what the document shows of its answer."""

    line: str
    shown: list[str]

    def fits(self, output: str) -> bool:
        """Say whether the shown lines stand in the output in this order; `…` stands for anything."""
        lines = iter(output.splitlines())
        patterns = (".*".join(map(re.escape, line.split("…"))) for line in self.shown)
        return all(any(re.fullmatch(pattern, line.rstrip()) for line in lines) for pattern in patterns)


def script_of(text: str) -> Iterator[File | Command]:
    """Read what a document asks for, in order: files to write, and the commands of its console blocks."""
    for fence in FENCE.finditer(text):
        named = FILE_NAME.search(text[: fence.start()])
        if named:
            yield File(named["name"], fence["body"])
        elif fence["kind"] == "console":
            for command in re.split(r"^\$ ", fence["body"], flags=re.MULTILINE)[1:]:
                line, *shown = command.splitlines()
                while line.endswith("\\"):
                    line += "\n" + shown.pop(0)
                yield Command(line, shown)


def as_bash(parts: list[File | Command]) -> str:
    """Turn a tutorial into one bash script: what a command exports or changes lasts, as for a reader."""
    script = [f"mark() {{ local status=$?; printf '{MARK}%s{MARK}' $status; return $status; }}"]
    for part in parts:
        if isinstance(part, File):
            script += [f"cat > {part.name} <<'{MARK}'\n{part.text}{MARK}"]
        else:
            script += [f"{{ {part.line}\n}} 2>&1", "mark"]
    return "\n".join(script) + "\n"


@cache
def golden_command() -> Path:
    """Find the installed command: beside this interpreter, else on the PATH."""
    found = shutil.which("golden", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, "the command golden is not installed; run the tests with: uv run pytest"
    return Path(found)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give a reader's environment: an empty home, the command on the PATH, no setting and no secret."""
    home = tmp_path / "home"
    home.mkdir()
    path = f"{golden_command().parent}{os.pathsep}{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "80"}


SCRIPTS = [
    document
    for document in DOCUMENTS
    if document.name not in {"README.md", "runbook.md"}
    and any(isinstance(part, Command) for part in script_of(document.read_text("utf-8")))
]


def test_tutorial_and_reference_have_commands() -> None:
    assert {document.stem for document in SCRIPTS} >= {"tutorial", "json", "spec", "configuration"}
    text = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    tutorial = [part for part in script_of(text) if isinstance(part, Command)]
    assert len(tutorial) >= 10, "the tutorial has lost its commands"


@pytest.mark.slow
@pytest.mark.parametrize("document", SCRIPTS, ids=lambda path: path.stem)
def test_document_works_as_written(document: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    there = tmp_path / "reader"
    there.mkdir()
    play(document.read_text("utf-8"), there, environment)


def play(text: str, there: Path, environment: dict[str, str]) -> None:
    """Do in a folder what a text asks for, and compare each answer with what the text shows of it."""
    parts = list(script_of(text))
    commands = [part for part in parts if isinstance(part, Command)]
    script = there.with_name("script.sh")
    script.write_text(as_bash(parts), "utf-8")
    done = subprocess.run(
        ["bash", script],
        cwd=there,
        env=environment,
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
        check=False,
    )
    pieces = done.stdout.split(MARK)
    outputs, statuses = pieces[:-1:2], [int(status) for status in pieces[1::2]]
    assert len(statuses) == len(commands), done.stdout + done.stderr
    for at, (command, output, status) in enumerate(zip(commands, outputs, statuses, strict=True)):
        asked = at + 1 < len(commands) and commands[at + 1].line == "echo $?"
        assert asked or status == 0, f"$ {command.line}\n{output}(exit {status})"
        assert command.fits(output), f"$ {command.line}\n{output}(shown is {command.shown})"


SKILLS = """\
from replay import SkillRegistry

registry = SkillRegistry()


@registry.skill("say")
def say(ctx):
    return f"{ctx.inputs['text']} {ctx.random.random()}"
"""
POWER_CUT = """\


@registry.skill("sort")
def sort(ctx):
    import os
    import signal

    if os.path.exists("dark"):
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.seed
"""
STEP = {"id": "say", "skill_id": "say", "inputs": {"text": "Oslo"}}

# The runbook: each situation in a store of its own, where it has come to that.

OLD = runs.ACTIVE
OLD_KID, NEW_KID = kid_of(OLD), kid_of(runs.RETIRED)
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
SITUATIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?\n```console\n.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


@dataclass
class Site:
    """A project on a host: its folder `here`, where `golden` runs, and the home of its user."""

    here: Path
    environment: dict[str, str]

    @property
    def home(self) -> Path:
        return Path(self.environment["HOME"])

    @property
    def goldens(self) -> Path:
        return self.here / "goldens"

    def golden(self, *argv: str, code: int = 0) -> str:
        command = [str(golden_command()), *argv]
        done = subprocess.run(
            command, cwd=self.here, env=self.environment, stdin=subprocess.DEVNULL, text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done
        return done.stdout

    def record(self, run_id: str) -> None:
        self.golden("record", "specs/report.json", "--run-id", run_id, "--seed", "7")

    def keep_anchor(self, moment: str) -> None:
        """Keep the ledger's anchor as if it was kept at that moment, and not when it really was."""
        anchor = self.golden("verify").splitlines()[-1]
        path = self.home / ".config/golden/anchors"
        kept = [line for line in path.read_text().splitlines() if NEW_YEAR in line]
        path.write_text("".join(f"{line}\n" for line in [*kept, f"{anchor}  {moment}.000000Z"]))


def settled(site: Site) -> None:
    """Three runs under a key, and an anchor of them kept where `sources.toml` says."""
    folder = site.home / ".config/golden"
    (folder / "keys").mkdir(parents=True)
    for name, text in {
        "sources.toml": f'anchor_to = "file:anchors"\n\n[[source]]\nkid = "{OLD_KID}"\nfrom = "file:keys/old"\n',
        "keys/old": OLD.decode(),
        "anchors": "",
    }.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    key = f'[[key]]\nkid = "{OLD_KID}"\nalg = "hmac-sha256"\nstate = "active"\n'
    for name, text in {
        "golden-keyring.toml": key,
        "golden.toml": 'dir = "goldens"\nskills = ["skills.py"]\n',
        "skills.py": SKILLS,
        "specs/report.json": json.dumps({"id": "report", "steps": [STEP]}),
    }.items():
        (site.here / name).parent.mkdir(parents=True, exist_ok=True)
        (site.here / name).write_text(text)
    for number in (1, 2, 3):
        site.record(f"report-{number}")
    site.keep_anchor(f"{NEW_YEAR}T02:00:00")


def leaked(site: Site) -> None:
    """A thief with the key recorded a run, and the anchor was kept once more."""
    site.record("report-4")
    site.keep_anchor(f"{NEW_YEAR}T06:00:00")


def confirmed(site: Site) -> None:
    """Whoever was on call has chosen an anchor and made a new key."""
    leaked(site)
    (site.here / "anchor.txt").write_text(site.golden("anchors", "--before", f"{NEW_YEAR}T03:00:00Z", "-n", "1"))
    site.golden("keys", "add", "--generate", "--active")


def tampered(site: Site) -> None:
    """A character of a file was changed since the backup."""
    shutil.copytree(site.goldens, site.here / "backup")
    path = site.goldens / "report-2.steps.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Oslo", b"Rome"))


def restored(site: Site) -> None:
    """The golden directory was put back from a backup older than its last run."""
    shutil.copytree(site.goldens, site.here / "backup")
    site.record("report-4")
    site.golden("verify")
    shutil.rmtree(site.goldens)
    shutil.copytree(site.here / "backup", site.goldens)


def replicated(site: Site) -> None:
    """Another host has changed keys; its directory and its keyring are here, its secret is not in use yet."""
    secret = site.here / "delivered"
    secret.touch(mode=0o600)
    secret.write_bytes(runs.RETIRED)
    sources = site.home / ".config/golden/sources.toml"
    before = sources.read_bytes()
    site.golden("keys", "add", "--source", "file:delivered", "--active")
    site.golden("rotate", "--reason", "scheduled", "--yes")
    sources.write_bytes(before)


def without_power(site: Site) -> None:
    """The process of a run was killed in its second step; nothing else has changed."""
    steps = [STEP, {"id": "sort", "skill_id": "sort"}, {**STEP, "id": "send"}]
    (site.here / "specs/report.json").write_text(json.dumps({"id": "report", "steps": steps}))
    (site.here / "skills.py").write_text(SKILLS + POWER_CUT)
    (site.here / "dark").touch()
    site.golden("record", "specs/report.json", "--run-id", "report-4", "--seed", "7", code=-9)
    (site.here / "dark").unlink()


PREPARED: dict[str, Callable[[Site], None]] = {
    "A suspected leak": leaked,
    "A confirmed leak": confirmed,
    "Routine rotation": lambda _: None,
    "TAMPER_DETECTED": tampered,
    "Restored from a backup": restored,
    "Replicas disagree": replicated,
    "Stop everything": lambda _: None,
    "A run that does not go on": without_power,
}


def test_runbook_has_every_situation() -> None:
    assert list(SITUATIONS) == list(PREPARED)


@pytest.mark.parametrize("name", PREPARED)
def test_situation_of_the_runbook_takes_four_commands(name: str) -> None:
    commands = [part.line for part in script_of(SITUATIONS[name]) if isinstance(part, Command)]
    assert 2 <= sum(line != "echo $?" for line in commands) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", PREPARED)
def test_situation_of_the_runbook_is_dealt_with_as_written(
    name: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    here = tmp_path / "host"
    here.mkdir()
    site = Site(here, environment)
    settled(site)
    PREPARED[name](site)
    play(SITUATIONS[name].replace("2026-01-01", NEW_YEAR), here, environment)
    # In the end the directory is as it should be; a suspicion alone changed nothing in it.
    site.golden("verify")


def anchors(document: Path) -> set[str]:
    """Name the headings of a document as links spell them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    text = FENCE.sub("", document.read_text("utf-8"))
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = document.parent / name if name else document
        if not to.exists() or (anchor and anchor not in anchors(to)):
            broken.append(target)
    assert not broken


def test_example_of_the_format_is_a_real_recording() -> None:
    recordings = ROOT / "fixtures" / "recordings" / "v1"
    shown = [fence["body"] for fence in FENCE.finditer((ROOT / "docs" / "format.md").read_text("utf-8"))]
    names = ("good.steps.jsonl", "good.steps.jsonl.sig")
    assert shown[:2] == [(recordings / name).read_text("utf-8") for name in names]


def test_examples_of_the_keyring_file_and_of_sources_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text("utf-8")
    keyring, sources = (fence["body"] for fence in FENCE.finditer(text) if fence["kind"] == "toml")
    for name, body in (("keyring", keyring), ("sources", sources)):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(body)
    assert [entry.state for entry in read_policy(str(tmp_path / "keyring"))] == ["retired", "active"]
    found = read_sources(str(tmp_path / "sources"))
    assert [where.scheme for where in found.anchor_to] == ["file", "exec"]


def test_every_document_is_reached_from_the_index() -> None:
    reached, waiting = set[Path](), [ROOT / "docs" / "index.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        targets = [target.partition("#")[0] for target in LINK.findall(document.read_text("utf-8"))]
        linked = {(document.parent / name).resolve() for name in targets if name.endswith(".md")}
        waiting += [path for path in linked - reached if path.is_relative_to(ROOT) and path.exists()]
    assert set((ROOT / "docs").rglob("*.md")) <= reached


def test_readme_names_exactly_the_commands_there_are(environment: dict[str, str]) -> None:
    command = [str(golden_command()), "--help"]
    text = subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout
    table = set(re.findall(r"^\| `golden ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    # A command's line is indented by two, with its help two spaces or more behind it.
    listed = set(re.findall(r"^  ([a-z]+)  +\S", text, re.MULTILINE))
    assert table == listed


def test_reference_of_the_commands_is_current() -> None:
    assert make_reference.TARGET.read_text("utf-8") == make_reference.document(), "python -m tests.make_reference"


def test_every_command_and_option_is_documented(environment: dict[str, str]) -> None:
    reference = make_reference.TARGET.read_text("utf-8")
    headings = re.findall(r"^### golden ([a-z -]+)$", reference, re.MULTILINE)
    assert headings == [name for name, _ in make_reference.leaves()]
    assert set(make_reference.EXIT_CODES) == set(headings)
    for name in headings:
        page = [golden_command(), *name.split(), "--help"]
        told = subprocess.run(page, env=environment, text=True, capture_output=True, check=True).stdout
        flags = set(re.findall(r"^  .*?(--[a-z-]+)", told, re.MULTILINE))
        assert flags
        assert {flag for flag in flags if flag not in reference} == set()


RUNS = (
    (".golden", "report-1", "7"),
    (".golden", "report-2", "8"),
    (".golden", "report-20260101T000000Z-1a2b", "9"),
    (".golden", "actual", "1"),
    ("goldens", "report", "1"),
    ("goldens", "expected", "2"),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A directory where every example of the help pages makes sense, and its environment."""
    here = tmp_path_factory.mktemp("reader")
    (here / "specs").mkdir()
    (here / "skills.py").write_text(SKILLS)
    (here / "golden.toml").write_text('skills = ["skills.py"]\n')
    (here / "agent.py").write_text("def agent(question: str) -> str:\n    return question\n")
    (here / "data.csv").write_text("2\n1\n")
    (here / "inputs.json").write_text('{"city": "Oslo"}')
    steps = [STEP, *({**STEP, "id": name} for name in ("rank", "sort", "check", "send"))]
    (here / "specs" / "report.json").write_text(json.dumps({"id": "report", "steps": steps}))
    (here / "specs" / "report.toml").write_text(
        'id = "report"\n[[steps]]\nid = "say"\nskill_id = "say"\ninputs = { text = "${inputs.city}" }\n'
    )
    env = {"PATH": os.environ["PATH"], "HOME": str(here), "NO_COLOR": "1", "GOLDEN_SECRET": OLD.decode()}
    site = Site(here, env)
    for folder, run_id, seed in RUNS:
        site.golden("record", "specs/report.json", "--dir", folder, "--run-id", run_id, "--seed", seed)
    (here / "anchor.txt").write_text(site.golden("verify"))
    (here / "changed.txt").write_text("report-1\n")
    return here, env


# What comes before an example, where it needs that.
NEW_KEY = ("keys", "add", "--generate", "--active")
FORGED = (
    ("record", "specs/report.json", "--run-id", "forged-1"),
    ("record", "specs/report.json", "--run-id", "forged-2"),
)
PENDING = (("update", "report-1", "report-2", "--input", "city=Lima"),)
BEFORE: dict[str, tuple[tuple[str, ...], ...]] = {
    "golden record specs/report.json --run-id report-1": (
        ("quarantine", "report-1", "--yes"),
        ("checkpoints", "delete", "report-1", "--expect-version", "7", "--yes"),
    ),
    "golden replay agent-1": (
        ("record", "--function", "agent.py:agent", "--input", "question=why", "--run-id", "agent-1"),
    ),
    "golden update agent-1": (
        ("record", "--function", "agent.py:agent", "--input", "question=why", "--run-id", "agent-1"),
    ),
    **dict.fromkeys(("golden review", "golden accept", "golden reject"), PENDING),
    "golden keys retire": (NEW_KEY,),
    "golden keys revoke": (NEW_KEY, ("rotate", "--reason", "scheduled", "--yes")),
    "golden rotate": (NEW_KEY,),
    "golden resign": (NEW_KEY,),
    "golden quarantine": FORGED,
    "golden anchors": (("verify",),),
}
# They name programs, devices and directories of other hosts; tests/e2e/test_keys.py and test_import.py type the like.
# And nobody types what git does: tests/e2e/test_git.py has git do it.
ELSEWHERE = ("golden import ", "golden keys add --source ", "golden git show ", "golden git merge ")


def examples() -> list[str]:
    """Every `golden` command line of the reference, the front page's help included."""
    blocks = [
        fence["body"] for fence in FENCE.finditer(make_reference.TARGET.read_text("utf-8")) if fence["kind"] == "sh"
    ]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("golden ")]
    front = [line.strip() for line in main.EPILOG.splitlines() if line.startswith("  golden ")]
    return [line for line in dict.fromkeys([*lines, *front]) if not line.startswith(ELSEWHERE)]


@pytest.mark.slow
@pytest.mark.parametrize("line", examples())
def test_every_example_can_be_typed(line: str, reader: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    kept, env = reader
    here = tmp_path / "here"
    shutil.copytree(kept, here)
    subprocess.run(["git", "init", "-q"], cwd=here, env=env, check=True)
    if line.startswith("golden ledger init"):
        (here / ".golden" / "ledger.jsonl").unlink()
    if "--before" in line:
        keep = here / ".config/golden/sources.toml"
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.touch(mode=0o600)
        keep.write_text('anchor_to = "file:kept"\n')
        anchor = (here / "anchor.txt").read_text().splitlines()[-1]
        (keep.parent / "kept").write_text(f"{anchor}  {NEW_YEAR}T02:00:00.000000Z\n")
    site = Site(here, {**env, "HOME": str(here)})
    for start, commands in BEFORE.items():
        for command in commands if line.startswith(start) else ():
            site.golden(*command)
    env = site.environment
    argv = [str(golden_command()), *shlex.split(line.replace("2026-01-01", NEW_YEAR))[1:]]
    done = subprocess.run(
        argv, cwd=here, env=env, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False
    )
    # Runs of two seeds are unlike, and of two that wait a review says so; everything else says yes.
    assert done.returncode == line.startswith(("golden diff", "golden review")), done
    assert done.stdout


def test_transcript_of_the_front_page_is_of_this_demo() -> None:
    shown = make_transcript.session((ROOT / "README.md").read_text("utf-8"))
    now = make_transcript.told()
    assert make_transcript.commands(shown) == make_transcript.commands(now), "python -m tests.make_transcript"
    assert len(make_transcript.commands(shown)) >= 6
    # The story told between the commands, too; what the commands say may differ in times and keys.
    told = [
        [line for line in text.splitlines() if line.startswith("# ")] for text in (shown, make_transcript.stable(now))
    ]
    assert told[0] == told[1], "python -m tests.make_transcript"
