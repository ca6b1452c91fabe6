"""Ops: a shop whose runs ended in several ways, and answers of the operators' commands made comparable."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.conftest import SKILLS
from tests.e2e.shell import Answer, Shell

# Times, and names that no two processes have in common.
UNSTEADY = (
    (re.compile(r"\b\d+ (ms|s|min)\b"), "<n>"),
    # A column is as wide as the longest time in it.
    (re.compile(r"(<n>(?: ago)?) {2,}"), r"\1  "),
    (re.compile(r"\S+/\d+/[0-9a-f]{8}\b"), "<owner>"),
    (re.compile(r"\b\d+ bytes\b|\b\d+\.\d [KM]iB\b"), "<size>"),
    (re.compile(r"/\S*(?=/\.golden\b)"), "<here>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<hash>"),
    (re.compile(r"[ ]+(?=\n)"), ""),
)
BROKEN = '''
    if Path("broken").exists():
        raise ValueError("the printer of vouchers is out of paper")
    if Path("fatal").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return {"code"'''


def steady(done: Answer) -> str:
    """Return an answer as a snapshot holds it."""
    return steadied(done.text)


def steadied(text: str) -> str:
    """Return a text without what no two runs have in common."""
    for pattern, instead in UNSTEADY:
        text = pattern.sub(instead, text)
    return text


def breakable(shop: Shell) -> Shell:
    """Let the shop's third step fail where a file `broken` lies, and kill its process where `fatal` does."""
    skills = SKILLS.replace('\n    return {"code"', BROKEN).replace(
        "from replay import", "import os\nimport signal\nfrom pathlib import Path\n\nfrom replay import", 1
    )
    assert "SIGKILL" in skills
    shop.write("skills.py", skills)
    return shop


@contextmanager
def lying(shop: Shell, name: str) -> Iterator[None]:
    """Let a file of that name lie beside the work."""
    path = shop.write(name, "")
    try:
        yield
    finally:
        path.unlink()


def recorded(shop: Shell, run_id: str, code: int = 0, **env: str | None) -> Answer:
    """Record the order as `run_id`."""
    argv = ("record", "order.json", "--run-id", run_id, "--seed", "7", "--inputs", "@prices.json")
    done = shop.golden(*argv, env=env)
    assert done.code == code, done
    return done


def fill(shop: Shell) -> Shell:
    """Record four runs: `done` completed, `failed` failed, `dear` met its ceiling, `killed` was killed."""
    breakable(shop)
    recorded(shop, "done")
    with lying(shop, "broken"):
        recorded(shop, "failed", 1)
    shop.edit("order.json", '"budget_ceiling_cents": 50', '"budget_ceiling_cents": 2')
    recorded(shop, "dear", 1)
    shop.edit("order.json", '"budget_ceiling_cents": 2', '"budget_ceiling_cents": 50')
    with lying(shop, "fatal"):
        recorded(shop, "killed", -9)
    return shop


def sql(path: Path, statement: str, *given: Any) -> None:
    """Change a database behind the command's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, given)
