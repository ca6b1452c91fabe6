"""The door: `golden` and `python -m golden` enter the command line here."""

from __future__ import annotations

import gc
import os
import sys
from importlib.machinery import PathFinder


def main() -> None:
    """Run the command line of the `cli` package that was installed beside this one."""
    # No garbage is made while modules load; cli.main turns the collector on again when a command begins.
    gc.disable()
    # A descriptor below 3 that is closed would be given to the next file opened, and what is printed written into it.
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", closefd=False))
    # `cli` is a name that others use too: not one line of a stranger's package may run in our place.
    here, found = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), PathFinder.find_spec("cli")
    origin = os.path.abspath(found.origin) if found and found.origin else "nowhere"
    if origin != os.path.join(here, "cli", "__init__.py"):
        sys.exit(
            f"golden: the package `cli` found first is another project's: {origin}, expected beside {here}\n"
            "hint: install stepseal into an environment of its own, or take the other one off PYTHONPATH"
        )
    import cli.main

    cli.main.main()


if __name__ == "__main__":
    main()
