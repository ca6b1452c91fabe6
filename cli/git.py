"""Git: what a repository is told about golden files, and the two commands that git then calls by itself.

Merges nothing: of two recordings one is kept, and somebody decides.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence

import click

from cli.command import Family, Session
from cli.readable import readable_line
from cli.render import dim, error_lines, mark, safe
from golden.errors import FormatError, StoreError, UsageError
from golden.event import FORMAT, MAX_HEADER, RunStart, parse_event
from golden.keyfile import edit, read_text
from golden.ledger import LEDGER
from golden.repository import Repository
from golden.seal import MAX_SEAL, parse_seal
from golden.store import SEAL_SUFFIX, SUFFIX

# Committed, so for everybody: bytes as they are; no merge, where nobody installed anything either.
_KEPT_WHOLE = "-text -merge"
ATTRIBUTES = f"*{SUFFIX}* {_KEPT_WHOLE} diff=golden"
# Of one clone alone, like the driver that it names: without that git would merge the lines as text.
_DRIVEN = f"*{SUFFIX}* merge=golden"
# The spec says that values are a test module's (`replay.shelf`, which takes long to import), and of whose.
_KEPT_BY_TESTS = {"pytest": "--golden-update", "syrupy": "--snapshot-update"}
# What a pattern would take for more than itself, or for its end.
_ODD = re.compile(r"[^\w./-]", re.ASCII)

git = Family(
    "git",
    "Make a git repository ready for golden files.",
    """golden git install
    golden git show goldens/report.steps.jsonl""",
)


@git.member("install", "golden git install")
def install(session: Session) -> int:
    """Tell git to leave golden files alone, to show what changed in them, and never to merge two of them.

    Writes .gitattributes, which is to be committed, and for this clone alone .git/config and .git/info/attributes. Then
    `git diff`, `git log -p` and `git show` tell steps, inputs and outputs (`golden git show`), and a merge of two
    changed recordings keeps ours, leaves the conflict, and says what to do (`golden git merge`).
    """
    settings = session.settings
    repository = Repository.holding(os.getcwd(), settings.user_environ())
    if repository is None:
        raise UsageError("this is no git repository", hint="run `git init`, or go to the repository")
    lines = [ATTRIBUTES]
    if os.path.exists(os.path.join(settings.directory, LEDGER)):
        lines += _ledger_line(settings.directory, repository.root)
    _write(session, os.path.join(repository.root, ".gitattributes"), lines)
    own = repository.own_attributes
    os.makedirs(os.path.dirname(own), exist_ok=True)
    changed = [repository.configure(name, value) for name, value in _configuration().items()]
    told = "git diff shows what changed in golden files, and a merge keeps ours"
    said(session, os.path.join(os.path.dirname(os.path.dirname(own)), "config"), done=any(changed), why=told)
    # Once there is a driver by that name.
    _write(session, own, [_DRIVEN, *(line.replace(_KEPT_WHOLE, "merge=golden") for line in lines[1:])])
    return 0


@git.member("show", "golden git show goldens/report.steps.jsonl")
@click.argument("file", metavar="FILE")
def show(session: Session, file: str) -> int:
    """Show a golden file or its seal as text that two versions of can be compared line by line.

    Git calls it for `git diff` and `git log -p`. FILE is a path, whatever its name; no key is needed, nothing is
    verified, and a line that has not the form of an event is shown as it stands. MACs and the times of single steps are
    left out.
    """
    out = session.out
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate((line.removesuffix(b"\n") for line in lines), start=1):
                out.record("show", path=file, number=number, line=line.decode("utf-8", "replace"), unverified=True)
                for text in () if out.json else readable_line(number, line):
                    out.answer(text)
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}", hint="check its name") from None
    return 0


@git.member("merge", "golden git merge OURS THEIRS goldens/report.steps.jsonl")
@click.argument("ours", metavar="OURS")
@click.argument("theirs", metavar="THEIRS")
@click.argument("path", metavar="PATH")
def merge(session: Session, ours: str, theirs: str, path: str) -> int:
    """Say what to do where two branches changed the same golden file; the one of OURS stays as it is.

    Git calls it in a merge, a rebase or a cherry-pick, with the two versions and the PATH that they are of. It always
    ends with 1: the conflict is left for whoever merges.
    """
    out = session.out
    advice = _advice(ours, theirs, path)
    if advice is not None:
        problem, hint = advice
        out.record("git", path=path, done="left", why=problem, kid=None)
        for line in error_lines(problem, hint):
            out.talk(line)
    return 1


def _advice(ours: str, theirs: str, path: str) -> tuple[str, str] | None:
    folder, name = os.path.split(path)
    run = name.removesuffix(SEAL_SUFFIX).removesuffix(SUFFIX)
    both = f"{shlex.quote(path)} {shlex.quote(f'{path}.sig')}"
    if name == LEDGER:
        problem = f"two branches wrote to {path}, and no ledger can have the lines of both: ours is kept"
        hint = "`golden verify` says what is unlisted now: record that anew, here; where git keeps the recordings,"
        hint += f" {folder or '.'} needs no ledger (`ledger = false`)"
    elif not name.endswith(SEAL_SUFFIX) and (found := _test_module(ours)):
        module, option = found
        problem = f"two branches changed the golden values of {module}: ours are kept, with their seal"
        hint = f"`pytest {shlex.quote(module)} {option}` keeps what the merged code comes to,"
        hint += f" `git checkout --theirs {both}` takes the other; then `git add {both}`"
    elif not name.endswith(SEAL_SUFFIX):
        problem = f"two branches changed the recording {run}: ours is kept, with its seal"
        hint = f"`golden update {run}` records it with the merged code, `git checkout --theirs {both}` takes the other;"
        hint += f" then `git add {both}`"
    elif _of_one_recording(ours, theirs):
        problem = f"two branches sealed the recording {run} anew: our signatures are kept"
        hint = f"`golden rotate --reason scheduled` signs with the active keys; then `git add {shlex.quote(path)}`"
    else:
        # Its golden file says what there is to say.
        return None
    return problem, hint


def _test_module(place: str) -> tuple[str, str] | None:
    """Return the module whose golden values a file holds, and what of pytest's options writes them; None for others."""
    try:
        with open(place, "rb") as file:
            start = parse_event(file.readline(MAX_HEADER).removesuffix(b"\n")).data
    except (OSError, FormatError):
        return None
    if not isinstance(start, RunStart) or start.spec_id not in _KEPT_BY_TESTS:
        return None
    skill = start.environment.skills.get(f"{start.spec_id}.values")
    return (skill.module, _KEPT_BY_TESTS[start.spec_id]) if skill and skill.module else None


def _of_one_recording(ours: str, theirs: str) -> bool:
    found = []
    for place in (ours, theirs):
        try:
            with open(place, "rb") as file:
                found.append(parse_seal(file.read(MAX_SEAL + 1)).statement.sha256)
        except (OSError, FormatError):
            return False
    return found[0] == found[1]


def _configuration() -> dict[str, str]:
    """Return what this clone is to know: how golden files are shown, and who is asked when two meet."""
    # This very program, wherever a later shell finds another or none; never a module of the checkout (-P).
    golden = f"{shlex.quote(sys.executable)} -P -m golden git"
    return {
        # Where the program is gone, git shows lines as they are instead of nothing at all.
        "diff.golden.textconv": f'show() {{ {golden} show -- "$1" || cat -- "$1"; }}; show',
        "diff.golden.xfuncname": "^((run|step|effect|end|seal) .*)$",
        "merge.golden.name": f"recordings of {FORMAT}: ours is kept, the conflict left",
        "merge.golden.driver": f"{golden.replace('%', '%%')} merge -- %A %B %P",
        # Nobody is told of what was between ancestors.
        "merge.golden.recursive": "binary",
    }


def _ledger_line(folder: str, root: str) -> list[str]:
    way = os.path.relpath(os.path.realpath(os.path.join(folder, LEDGER)), os.path.realpath(root))
    if way.startswith("../"):
        return []
    return [f"/{_ODD.sub('?', way)} {_KEPT_WHOLE}"]


def _write(session: Session, path: str, lines: Sequence[str]) -> None:
    missing = [line for line in lines if not has_line(path, line)]
    edit(path, with_lines(lines))
    said(session, path, done=bool(missing), why=", ".join(missing) or "what golden files need is there")


def said(session: Session, path: str, *, done: bool, why: str = "", kid: str | None = None) -> None:
    """Say of a file whether it was written, or left as it was, and why."""
    path = os.path.relpath(path) if not os.path.relpath(path).startswith("..") else path
    word = "written" if done else "left"
    session.out.record(session.out.command, path=path, done=word, why=why or None, kid=kid)
    about = dim(f"  {safe(why)}") if why else ""
    session.out.answer(f"{mark(True if done else None)} {word.ljust(7)} {safe(path)}{about}")


def has_line(path: str, wanted: str) -> bool:
    """Whether a file of attributes has a line, however it is spaced."""
    return os.path.lexists(path) and any(line.split() == wanted.split() for line in read_text(path).splitlines())


def with_lines(wanted: Sequence[str]) -> Callable[[str], str]:
    """Return a function that adds to the text of a file of attributes the lines that it has not."""

    def change(text: str) -> str:
        there = [line.split() for line in text.splitlines()]
        missing = [line for line in wanted if line.split() not in there]
        end = "" if not text or text.endswith("\n") or not missing else "\n"
        return text + end + "".join(f"{line}\n" for line in missing)

    return change
