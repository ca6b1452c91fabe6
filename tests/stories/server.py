"""Server: runs the command line many times without starting an interpreter for each; run as a module.

    python -m tests.stories.server

Imports everything once, then forks a child per request: a line of JSON on stdin, the answer on stdout. The child is a
process of its own with its own directory, environment and descriptors; nothing it does stays in the parent.
"""

import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from tests.crash.layer import Layer

SECONDS = 60
# What commands import late: once for all children.
WARM = """
    cli.ci cli.keys cli.rotating cli.repairing cli.start cli.importing cli.anchors cli.debug cli.operate cli.replaying
    ctypes multiprocessing concurrent.futures.process tomllib tomlkit pathlib secrets subprocess traceback select
    cryptography.hazmat.primitives.asymmetric.ed25519 cryptography.hazmat.primitives.serialization
    cryptography.hazmat.primitives.hmac
""".split()  # noqa: SIM905  one name a line would fill the page


def child(request: dict[str, Any]) -> None:
    """Become the command that is asked for; never returns."""
    signal.alarm(SECONDS)
    for fd, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY),
        (2, request["err"], os.O_WRONLY),
    ):
        opened = os.open(name, flags | (os.O_CREAT | os.O_TRUNC if fd else 0), 0o600)
        os.dup2(opened, fd)
        os.close(opened)
    # What stands there was buffered for the parent's.
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, "w" if fd else "r", closefd=False) for fd in range(3))
    if request.get("uid"):
        os.setgroups([])
        os.setgid(request["uid"])
        os.setuid(request["uid"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["golden", *request["argv"]]
    for name, value in (request.get("set") or {}).items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    if request.get("layer"):
        Layer(**request["layer"]).arm()
    code: object = 0
    try:
        importlib.import_module("cli.main").main()
    except SystemExit as exit_:
        code = exit_.code
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def main() -> None:
    """Answer requests until stdin ends."""
    for name in WARM:
        with suppress(ModuleNotFoundError):
            importlib.import_module(name)
    importlib.import_module("cli.main")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                child(request)
            finally:
                os._exit(99)
        status = os.waitpid(pid, 0)[1]
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
