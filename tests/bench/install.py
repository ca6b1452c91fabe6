"""Install: the product as a user has it, in an environment of its own: wheel, run-time dependencies, bytecode.

Measured is what was built at the start, whatever happens in the checkout meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a-published-secret-of-the-benchmark-0123456789"
_INSIDE = f"import sys; sys.path.append({str(ROOT)!r}); from tests.bench.inside import main; main()"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary directory on disk: `TMPDIR`, else /var/tmp, because /tmp may be memory."""
    place = os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108  a directory of our own is made in there
    return tempfile.TemporaryDirectory(prefix="golden-bench-", dir=place)


class Product:
    """The product installed below `folder`; `golden` is its command and `python` its interpreter."""

    def __init__(self, folder: Path, commit: str | None = None) -> None:
        self.folder = folder
        self.commit = commit
        self.python = str(folder / "venv" / "bin" / "python")
        self.golden = str(folder / "venv" / "bin" / "golden")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "GOLDEN_SECRET": SECRET,
        }

    def install(self) -> None:
        """Build the wheel of the checkout, or of `commit`, and install it with the locked versions of what it needs."""
        # Not an editable install: its import hook is paid at every start, and a user has none.
        self._do(sys.executable, "-m", "venv", "--without-pip", str(self.folder / "venv"))
        source = self._exported(self.commit) if self.commit else ROOT
        self._do(_uv(), "build", "-q", "--wheel", "--out-dir", str(self.folder / "dist"), str(source))
        (wheel,) = (self.folder / "dist").glob("*.whl")
        self.add(f"{wheel}[postgres]")
        self._do(self.python, "-m", "compileall", "-q", str(ROOT / "tests" / "bench"))

    def add(self, what: str) -> None:
        """Install something more, in the locked versions."""
        constraints = ["--constraints", str(ROOT / "requirements.lock")]
        self._do(_uv(), "pip", "install", "-q", "--python", self.python, "--compile-bytecode", *constraints, what)

    def inside(self, action: str, *arguments: object) -> Any:
        """Let `inside` do `action` in a process of its own with the installed product, and return its answer."""
        command = [self.python, "-P", "-c", _INSIDE, action, *map(str, arguments)]
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{action} {arguments} failed:\n{done.stderr}")
        return json.loads(done.stdout)

    def versions(self) -> dict[str, str]:
        """Return the versions that the numbers depend on."""
        script = (
            "import json, platform, ssl; from importlib.metadata import version as v;"
            "names = ['click', 'msgspec', 'cryptography', 'deepdiff'];"
            "print(json.dumps({'Python': platform.python_version(), \"Python's OpenSSL\": ssl.OPENSSL_VERSION,"
            "**{name: v(name) for name in names}}))"
        )
        done = subprocess.run([self.python, "-c", script], env=self.env, capture_output=True, check=True)
        tool = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
        return {**json.loads(done.stdout), "openssl command": tool.strip().partition(" (")[0]}

    def _exported(self, commit: str) -> Path:
        source, archive = self.folder / "source", self.folder / "source.tar"
        self._do("git", "-C", str(ROOT), "archive", "--output", str(archive), commit)
        shutil.unpack_archive(archive, source, filter="data")
        return source

    def _do(self, *command: str) -> None:
        env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _uv() -> str:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        sys.exit("the benchmark needs uv\nhint: pip install uv")
    return uv
