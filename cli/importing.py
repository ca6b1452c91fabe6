"""Importing: the command that brings golden files of another system into the golden directory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import click
import msgspec

from cli.command import Function, Session, command
from cli.render import bold, counted, dim, mark, safe
from golden.aos_events import AOS
from golden.errors import KeyringError, UsageError
from golden.importing import Import, Importer
from golden.store import Store, stems
from golden.verdict import TAMPERED


def _called(name: str) -> Callable[[Function], Function]:
    """Return a decorator that gives a function a name which Python keeps to itself; the command is called so."""

    def rename(function: Function) -> Function:
        function.__name__ = name
        return function

    return rename


@command(
    """golden import /var/lib/aos/golden --format aos
    golden import /var/lib/aos/golden --format aos --dry-run
    golden import old --format aos --key a711c564e8977490 --json""",
)
@click.argument("folder", metavar="DIR")
@click.option("--format", required=True, type=click.Choice([AOS]), expose_value=False, help="What wrote DIR's files.")
@click.option("--key", metavar="KID", help="The key that signed them, where there is a keyring.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@_called("import")
def import_(session: Session, folder: str, key: str | None, dry_run: bool) -> int:
    """Record verified golden files of the AOS system anew in the golden directory.

    Each keeps its run id and names the file it came from. They can be verified, shown and compared, not replayed: an
    AOS file does not hold its spec. Exits 0 if all of DIR is imported, also when it was before; 3 if a file is tampered
    with, 4 if it cannot be verified or carried over or there is nothing to import, 2 if a run id is taken. Nothing of a
    refused file is written; the others are imported.
    """
    out, settings = session.out, session.settings
    store = settings.store(key)
    if os.path.isdir(folder) and os.path.isdir(store.folder) and os.path.samefile(folder, store.folder):
        raise UsageError(f"{folder} is the golden directory itself", hint="import into another one (--dir)")
    _check_key(store)
    by: Counter[str] = Counter()
    code = 0
    importer = Importer(folder, store.keyring, store, dry_run=dry_run)
    for stem in stems(folder):
        found = importer.bring(stem)
        if found is None:
            out.talk(dim(f"  note: {safe(stem)} is golden/v1 already, there is nothing to import"))
            continue
        by[found.outcome] += 1
        code = max(code, _exit_code(found), key=(0, 2, 4, 3).index)
        _show(session, found, dry_run=dry_run)
    code = code if by else 4
    out.summary(by.total(), dict(by), code, dry_run=dry_run)
    if not by:
        out.answer(f"nothing to import: no file of the AOS system in {safe(folder)}")
        out.talk(dim("hint: check DIR; files below it are not looked at"))
    elif by.total() > 1:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(by.items()))
        out.answer(bold(f"{counted(by.total(), 'file')}: {counts}"))
    if dry_run:
        out.answer(dim("dry run: nothing was written"))
    return code


# Where the command line looks for the command `import`.
globals()["import"] = import_


def _check_key(store: Store) -> None:
    # The secret of the AOS system is often too weak for golden/v1: then it takes two keys, and who has one must know.
    try:
        _ = store.keyring.active
    except KeyringError as error:
        hint = "`golden init` makes a key for it; leave the old secret where it is and name its kid (--key)"
        raise KeyringError(f"nothing can be sealed: {error.problem}", hint=hint) from None


def _exit_code(found: Import) -> int:
    if found.outcome != "refused":
        return 0
    if {found.verdict, found.existing} & TAMPERED:
        return 3
    return 2 if found.existing == "intact" else 4


def _show(session: Session, found: Import, *, dry_run: bool) -> None:
    out = session.out
    out.record("import", **msgspec.structs.asdict(found), dry_run=dry_run)
    good = found.outcome != "refused"
    what = f"would be {found.outcome}" if dry_run and found.outcome == "imported" else found.outcome
    line = f"{mark(good)} {bold(safe(found.run_id))}  {what}"
    if good:
        out.answer(line + dim(f"  {counted(found.events or 0, 'event')}"))
    else:
        why = "" if found.verdict == "intact" else f", {found.verdict}"
        out.answer(f"{line}{why}: {safe(found.problem or '')}")
        out.answer(dim(f"  hint: {safe(found.hint or '')}"))
    out.detail(f"  {safe(found.path)}")
