"""Start-up: what a command does not need it does not load. Never a timed test: modules are counted, not seconds."""

import subprocess
import sys

import pytest

from tests.e2e.shell import Shell

HEAVY = {"deepdiff", "rich", "pytest", "jinja2", "cryptography", "asyncio"}
CHILD = """\
import sys

sys.argv = ["golden", *sys.argv[1:]]
from golden.__main__ import main

try:
    main()
except SystemExit as done:
    code = done.code
print("\\n".join(sys.modules), file=sys.stderr)
sys.exit(code)
"""


def loaded(shell: Shell, *argv: str) -> set[str]:
    """Return the top-level modules that a successful command has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, *argv],
        cwd=shell.here,
        env=shell.environ,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done
    return {name.strip().partition(".")[0] for name in done.stderr.splitlines()}


@pytest.mark.parametrize(
    "line", ["--help", "--version", "verify", "verify r-1", "verify r-1 --json", "config", "tail r-1"]
)
def test_a_quick_command_loads_nothing_heavy(recorded: Shell, line: str) -> None:
    found = loaded(recorded, *line.split())
    assert {"golden", "cli"} <= found
    # A live file's chain and a line's MAC are the business of cryptography; a verdict on a sealed file is not.
    allowed = {"cryptography"} if line.startswith("tail") else set()
    assert not (found & HEAVY) - allowed


def test_help_loads_no_engine(shell: Shell) -> None:
    assert "replay" not in loaded(shell, "--help")


@pytest.mark.parametrize("line", ["verify", "tail r-1", "diff r-1 r-1"])
def test_a_command_about_files_loads_no_execution(recorded: Shell, line: str) -> None:
    assert "replay" not in loaded(recorded, *line.split())


def test_tools_of_the_tests_are_never_loaded(recorded: Shell) -> None:
    for line in ("replay r-1", "diff r-1 r-1"):
        assert not loaded(recorded, *line.split()) & {"pytest", "syrupy", "jinja2", "rich"}
