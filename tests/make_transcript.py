"""Put a real session into README.md: `python -m tests.make_transcript` runs `golden demo` and shows what it said.

What differs from run to run is replaced by something of the same form, so that running it again changes nothing.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- transcript:demo -->\n", "<!-- /transcript:demo -->"
# Keys and the words of the demo's model are random, times and durations the clock's, and how many bytes there are
# before a place depends on the machine's name for itself.
STABLE = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "2026-01-01T09:41:07.402118Z"),
    (re.compile(r"(?<=quarantine/)\d{8}T\d{6}Z"), "20260101T094108Z"),
    (re.compile(r"(?<=^   \d )\d\d:\d\d:\d\d\.\d{3}", re.MULTILINE), "09:41:07.318"),
    (re.compile(r"\b\d+\.\d ms (.*)…$", re.MULTILINE), r"0.1 ms \1…"),
    (re.compile(r"\b\d+\.\d ms"), "0.1 ms"),
    (re.compile(r'(?<="request_id":")req-[0-9a-f]*…'), "req-4be1…"),
    (re.compile(r"(?<=\(byte )\d+"), "116941"),
    (re.compile(r"(?<=at byte )\d+"), "115091"),
    (re.compile(r"(?<=^… )\d+(?= more lines$)", re.MULTILINE), "124"),
    (re.compile(r"\d+\.\d s;"), "1.3 s;"),
)


def told() -> str:
    """Run the demo as a reader does, in an empty directory, and return what it says."""
    with tempfile.TemporaryDirectory() as here:
        done = subprocess.run(
            [sys.executable, "-m", "golden", "demo"],
            cwd=here,
            env={"PATH": os.environ["PATH"], "HOME": here, "TMPDIR": here, "LANG": "C.UTF-8", "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout


def stable(text: str) -> str:
    """Return `text` with something fixed in place of what no two runs have in common."""
    for pattern, instead in STABLE:
        text = pattern.sub(instead, text)
    # Kids, ids of directories and hashes: each another one, and each the same throughout.
    for digits in (16, 32, 64):
        found = re.compile(rf"\b[0-9a-f]{{{digits}}}\b")
        names = {name: number for number, name in enumerate(dict.fromkeys(found.findall(text)))}
        for name, number in names.items():
            text = text.replace(name, hashlib.sha256(f"{digits} {number}".encode()).hexdigest()[:digits])
    return text


def session(text: str) -> str:
    """Return the transcript of a README."""
    return text.partition(BEGIN)[2].partition(END)[0]


def with_session(readme: str, transcript: str) -> str:
    """Return a README with another transcript."""
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n```console\n$ golden demo\n{transcript}```\n\n{END}{after}"


def commands(transcript: str) -> list[tuple[str, int]]:
    """Return the commands of the story with their exit codes."""
    found: list[tuple[str, int]] = []
    for line in transcript.splitlines():
        if line.startswith("$ golden ") and line != "$ golden demo":
            found.append((line.removeprefix("$ "), 0))
        elif code := re.fullmatch(r"exit code (\d+)", line):
            found[-1] = (found[-1][0], int(code[1]))
    return found


if __name__ == "__main__":
    TARGET.write_text(with_session(TARGET.read_text("utf-8"), stable(told())), "utf-8")
