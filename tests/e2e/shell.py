"""Shell: a user's working directory and the real command in it, run as a process of its own.

Knows how to run and how to make an answer comparable; a test says what it expects.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import runs

ACTIVE_KID = "a711c564e8977490"
SECRET = runs.ACTIVE
SECONDS = 60
# What differs from run to run or from machine to machine; the rest of an answer must stay as it is.
UNSTABLE = (
    (re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{4}\b"), "<time>-<hex>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "<time>"),
    (re.compile(r"\b\d+\.\d ms\b"), "<n> ms"),
    (re.compile(r"\b\d+\.\d s\b"), "<n> s"),
    (re.compile(r"\bgolden-anchor/v1 [0-9a-f]{32} (\d+) [0-9a-f]{64}"), r"golden-anchor/v1 <dir> \1 <hash>"),
    (re.compile(r"(?<=quarantine/)\d{8}T\d{6}Z"), "<time>"),
    (re.compile(rf"\b[a-z_][\w-]*@{re.escape(os.uname().nodename)}(?![\w.-])"), "<actor>"),
    (re.compile(r"\b[0-9a-f]{64}(?=  [\w.-]+$)", re.MULTILINE), "<sha256>"),
    (re.compile(r"\bat byte \d+\b"), "at byte <n>"),
    (re.compile(r"\bfile has \d+ bytes, its seal says \d+"), "file has <n> bytes, its seal says <n>"),
)


class Answer(NamedTuple):
    """What a command answered."""

    argv: tuple[str, ...]
    stdout: str
    stderr: str
    code: int

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of stdout as JSON objects."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def text(self) -> str:
        """Everything, as a snapshot holds it: without what no two runs have in common."""
        text = f"$ golden {' '.join(self.argv)}\n[stdout]\n{self.stdout}[stderr]\n{self.stderr}[exit {self.code}]\n"
        for pattern, instead in UNSTABLE:
            text = pattern.sub(instead, text)
        return text

    @property
    def error(self) -> list[str]:
        """The lines of stderr; fails where a traceback of ours is among them."""
        assert "Traceback" not in self.stderr, self.stderr
        assert "internal error" not in self.stderr, self.stderr
        return self.stderr.splitlines()

    def refused(self, code: int = 2) -> str:
        """Return the whole of stderr of a command that refused in two lines and answered nothing."""
        assert (self.code, len(self.error)) == (code, 2), self
        assert self.error[0].startswith("golden: "), self
        assert self.error[1].startswith("hint: "), self
        assert not self.stdout, self
        return self.stderr


@cache
def command() -> Path:
    """Find the installed command: beside this interpreter, else on the PATH."""
    found = shutil.which("golden", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, "the command golden is not installed; run the tests with: uv run pytest"
    return Path(found)


class Shell:
    """A working directory with an environment; `golden` runs the command there and waits."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.store = here / ".golden"
        self.prefix: list[str] = []
        self.environ = {
            "PATH": f"{command().parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(here),
            # What this host remembers lies beside the work, where no test of what a command leaves behind looks.
            "GOLDEN_STATE_DIR": str(here.with_name(f"{here.name}-state")),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "80",
        }

    def write(self, name: str, content: str | bytes | Mapping[str, Any]) -> Path:
        """Write a file of the working directory: text, bytes, or a value as JSON."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content, indent=1) + "\n"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def give_key(self, secret: bytes = SECRET) -> None:
        """Lay a secret beside the work and name it to the command."""
        path = self.write("secret", secret + b"\n")
        path.chmod(0o600)
        self.environ["GOLDEN_SECRET_FILE"] = "secret"

    def golden(self, *argv: str, env: Mapping[str, str | None] | None = None, cwd: Path | None = None) -> Answer:
        """Run the command; a variable of `env` that is None is unset."""
        done = subprocess.run(
            [*self.prefix, command(), *argv],
            cwd=cwd or self.here,
            env=self._environ(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        # No universal newlines: a carriage return in an answer is a finding.
        out, err = (data.decode().replace(str(self.here), "<here>") for data in (done.stdout, done.stderr))
        return Answer(argv, out, err, done.returncode)

    def start(self, *argv: str, env: Mapping[str, str | None] | None = None) -> subprocess.Popen[str]:
        """Run the command without waiting; the test ends it."""
        return subprocess.Popen(
            [command(), *argv],
            cwd=self.here,
            env=self._environ(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def record(self, run_id: str = "r-1", *argv: str, env: Mapping[str, str | None] | None = None) -> Path:
        """Record the shop's order as `run_id` and return its file."""
        done = self.golden("record", "order.json", "--run-id", run_id, "--seed", "7", *argv, env=env)
        assert done.code == 0, done
        return self.store / f"{run_id}.steps.jsonl"

    def anchor(self) -> str:
        """Return the anchor of the ledger that verify prints."""
        *_, summary = self.golden("verify", "--json").objects
        assert summary["anchor"], summary
        return str(summary["anchor"])

    def obey_modes(self) -> None:
        """Run later commands so that a file's mode binds them, also where the tests run as root."""
        if os.geteuid() == 0:
            setpriv = shutil.which("setpriv")
            if setpriv is None:
                pytest.skip("root reads everything, and there is no setpriv")
            self.prefix = [setpriv, "--bounding-set=-dac_override,-dac_read_search"]

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must stand there exactly once, in a file of the working directory."""
        path = self.here / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))

    def line_of(self, text: str, name: str = "skills.py") -> str:
        """Return FILE:LINE of the one line that holds `text`."""
        lines = (self.here / name).read_text().splitlines()
        found = [number for number, line in enumerate(lines, start=1) if text in line]
        assert len(found) == 1, f"{text!r} stands in lines {found} of {name}"
        return f"{name}:{found[0]}"

    def _environ(self, env: Mapping[str, str | None] | None) -> dict[str, str]:
        changed = {**self.environ, **(env or {})}
        return {name: value for name, value in changed.items() if value is not None}
