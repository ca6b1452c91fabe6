"""Story: the demo as a sequence of real commands, each run in a process of its own and shown as it went.

Everything lies in one directory; nothing is configured and nothing is left elsewhere.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cli.render import Out, bold, dim
from golden.errors import GoldenError, UsageError
from golden.event import parse_event
from golden.ledger import Anchor

SOURCE = Path(__file__).parent
FILES = ("skills.py", "weather.csv", "workflow.json")
CHANGE = ("WET_DAY_MM = 1.0", "WET_DAY_MM = 1.1")
RECORD = ("record", "workflow.json", "--seed", "7", "--input", "resamples=1000")
# What the commands of the story see; the same is written down for whoever looks around in the folder afterwards.
SETTINGS = {"GOLDEN_SECRET_FILE": "secret", "GOLDEN_SOURCES": "sources.toml", "GOLDEN_STATE_DIR": "state"}
MAX_LINES = 18
COLUMNS = 80
COMMAND_SECONDS = 60
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Command(msgspec.Struct):
    """One command of the story as it went."""

    argv: list[str]
    exit_code: int
    expected_exit_code: int
    seconds: float


class StoryError(GoldenError):
    """A command of the demo did not answer as the demo says it does."""


class Story:
    """Tells the demo in `folder`, whose commands see `environ` and nothing of the user's own keys and memory."""

    def __init__(self, out: Out, folder: Path, environ: Mapping[str, str]) -> None:
        self.out = out
        self.folder = folder
        self.environ = {name: value for name, value in environ.items() if not name.startswith("GOLDEN_")}
        self.environ |= {**SETTINGS, "COLUMNS": str(COLUMNS), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environ |= {"FORCE_COLOR": "1"} if out.colour else {"NO_COLOR": "1"}
        self.told: list[Command] = []

    def tell(self) -> None:
        """Run the whole demo; raises StoryError where a command answers otherwise than it must."""
        self._prepare()
        self._say(
            "A workflow over four years of Seattle's weather: load and check, summarise by",
            "month, bootstrap a trend from a seed, find anomalies, ask a model, report.",
            "Record it: one signed line per step, sealed at the end.",
        )
        self._run(*RECORD, "--run-id", "rain-1")
        self._say("Is the file what was recorded? Nobody needs the workflow to ask.")
        self._run("verify", "rain-1")
        self._say(
            "Run it again and compare everything. The model would word its answer anew each",
            "time: it is not asked again, its answer comes from the recording.",
        )
        self._run("replay", "rain-1")
        self._change_code()
        self._run("replay", "rain-1", expect=1)
        self._say("What does the change do to the whole run? Record it as it is now, and compare.")
        self._run(*RECORD, "--run-id", "rain-2", quiet=True)
        self._run("diff", "rain-1", "rain-2", expect=1)
        self._say("The last events of a recording, each signature checked:")
        self._run("tail", "rain-1", "-n", "4")
        place = self._flip()
        self._run("verify", place, expect=3)
        self._leak()
        self._say(
            "The change was found, and named; so were the byte and the forged run. Next:",
            "your own spec and skills, `golden record --help`; for leaks, docs/runbook.md.",
        )

    def _leak(self) -> None:
        """Let a thief sign a run with the leaked key, and change keys without blessing it."""
        self._say(
            "What has this directory seen? Its ledger knows, and the last line, the anchor,",
            "pins the ledger. Keep it where an attacker is not; here it goes to anchor.txt.",
        )
        anchor = Anchor.find(self._run("verify"))[0]
        (self.folder / "anchor.txt").write_text(f"{anchor}\n")
        self._say("Then the key leaks. A thief records a run that should not be, and signs it.")
        self._run(*RECORD, "--run-id", "forged-1", quiet=True)
        self._run("verify", "forged-1")
        self._say(
            "The signature is right, only the signer is not. Whoever checks it with the old",
            "key and signs it with a new one has laundered it. So: a new key, and",
        )
        self._run("keys", "add", "--generate", "--active", lines=2)
        self._say("a rotation that believes only what the ledger said when the anchor was taken.")
        self._run("rotate", "--reason", "compromised", "--anchor", "@anchor.txt", "--yes", expect=4)
        self._say(
            "The honest runs are under the new key, the forged one is named and not signed,",
            "the old key is dead. Set the forged run apart, take note of the thief's lines:",
        )
        self._run("quarantine", "forged-1", "--yes", lines=1)
        self._run("recover", "--yes", lines=2)
        self._run("verify")

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            taken = any(self.folder.iterdir())
        except OSError as error:
            raise UsageError(f"{self.folder}: {error.strerror}", hint="name a new directory with --dir") from None
        if taken:
            raise UsageError(f"{self.folder} is not empty", hint="name a new directory with --dir")
        for name in FILES:
            shutil.copyfile(SOURCE / name, self.folder / name)
        (self.folder / "golden.toml").write_text('skills = ["skills.py"]\n')
        for name, text in (("secret", f"{secrets.token_hex(32)}\n"), ("sources.toml", "")):
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        exports = "".join(f"export {name}={value}\n" for name, value in SETTINGS.items())
        (self.folder / "settings.sh").write_text(f"# What the demo's commands saw: `. ./settings.sh` here.\n{exports}")

    def _change_code(self) -> None:
        before, after = CHANGE
        skills = self.folder / "skills.py"
        lines = skills.read_text().splitlines()
        number = lines.index(before) + 1
        self._say("A colleague changes one line. Nothing crashes, and every number looks right.")
        self.out.answer(f"  skills.py:{number}")
        self.out.answer(f"  - {before}")
        self.out.answer(f"  + {after}")
        self.out.answer("")
        lines[number - 1] = after
        skills.write_text("\n".join(lines) + "\n")

    def _flip(self) -> str:
        """Copy the recording and flip one bit of one digit in it; return the copy's path as the command names it."""
        copy = self.folder / "copy"
        copy.mkdir()
        for suffix in (".steps.jsonl", ".steps.jsonl.sig"):
            shutil.copyfile(self.folder / f".golden/rain-1{suffix}", copy / f"rain-1{suffix}")
        path = copy / "rain-1.steps.jsonl"
        data = bytearray(path.read_bytes())
        at = data.index(b'"c_per_decade":') + len(b'"c_per_decade":')
        line = data.count(b"\n", 0, at)
        old = chr(data[at])
        data[at] ^= 1
        path.write_bytes(data)
        step = parse_event(bytes(data).splitlines()[line]).event_type
        self._say(
            f"Someone edits a copy: one bit, so that the trend begins with {chr(data[at])} instead of {old}",
            f"(byte {at}, {step} event {line}). The seal says so, the chain says where.",
        )
        return f"{copy.name}/{path.name}"

    def _run(self, *arguments: str, expect: int = 0, quiet: bool = False, lines: int = MAX_LINES) -> str:
        """Run a command and show it with what it answered, at most `lines` of it, `quiet` the last two; return that."""
        self.out.answer(bold(f"$ golden {' '.join(arguments)}"))
        started = time.monotonic()
        done = subprocess.run(  # noqa: S603  our own command line
            [sys.executable, "-m", "golden", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        command = Command(["golden", *arguments], done.returncode, expect, round(time.monotonic() - started, 3))
        self.told.append(command)
        self.out.record("demo", **msgspec.structs.asdict(command))
        told = done.stdout.splitlines()
        if done.returncode != expect:
            self._show(told)
            raise StoryError(
                f"`golden {arguments[0]}` exited with {done.returncode}, expected {expect}",
                hint="run the command shown with --debug and report what it prints",
            )
        if quiet or lines < MAX_LINES:
            self._show(told[-2:] if quiet else told[:lines])
        elif len(told) > MAX_LINES:
            self._show(told[: MAX_LINES - 1])
            self.out.answer(dim(f"… {len(told) - MAX_LINES + 1} more lines"))
        else:
            self._show(told)
        self.out.answer(dim(f"exit code {done.returncode}") + "\n" if done.returncode else "")
        return done.stdout

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            # As whoever stands in the folder would say it.
            self.out.answer(_folded(line.replace(f"{self.folder.resolve()}/", "")))

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.out.answer(f"# {line}")


def _folded(line: str) -> str:
    """Return a line with breaks where it is wider than the story, styles not counted."""
    folded, used = "", -1
    for word in line.split(" "):
        width = len(_STYLE.sub("", word))
        if used >= 0 and used + 1 + width > COLUMNS:
            folded, used = f"{folded.rstrip()}\n    {word}", 4 + width
        else:
            folded, used = f"{folded} {word}" if used >= 0 else word, used + 1 + width
    return folded
