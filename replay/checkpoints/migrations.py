"""Migrations: the numbered SQL files that bring a database to the form this version writes. Runs none of them."""

from __future__ import annotations

from pathlib import Path

from golden.errors import StoreError

CHECKPOINTS = "workflow_checkpoints"
# Says that the other tables are ours, and which migrations they have seen.
SCHEMA = "workflow_checkpoint_schema"
_FOLDER = Path(__file__).with_name("migrations")


def pending(dialect: str, applied: int, place: str, *, occupied: bool) -> list[tuple[int, list[str]]]:
    """Return the migrations that a database still needs, each as its number and its statements.

    Args:
        dialect: the folder of its migrations.
        applied: the number of the last one that it has seen, 0 where it has seen none.
        place: what to call it.
        occupied: whether it has a table of the checkpoints' name.

    Raises:
        StoreError: it has seen later ones than there are, or that table is somebody else's.
    """
    files = sorted((_FOLDER / dialect).glob("*.sql"))
    if applied > len(files):
        raise StoreError(
            f"the checkpoints in {place} are of schema {applied}, this version knows {len(files)}",
            hint="use the newer version that wrote them, or another place (GOLDEN_CHECKPOINTS)",
        )
    if occupied and not applied:
        raise StoreError(
            f"{place} has a table {CHECKPOINTS} that is not ours",
            hint="use another database or schema (GOLDEN_CHECKPOINTS); nothing there was touched",
        )
    return [
        (number, [statement for statement in file.read_text("utf-8").split(";\n") if statement.strip()])
        for number, file in enumerate(files[applied:], applied + 1)
    ]
