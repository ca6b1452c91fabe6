"""Review: recordings that wait beside the golden ones, and their acceptance: by whom, when, why, at which commit.

Compares nothing: what differs is said by `difference`, and judged by people.
"""

from __future__ import annotations

import os
from contextlib import suppress

from msgspec.structs import replace

from golden.clock import timestamp
from golden.directory import Directory
from golden.errors import FormatError, StoreError, TamperedError, UsageError
from golden.files import locked, open_folder, put, sweep
from golden.ledger import Accept, draft
from golden.recording import Recording, refusal
from golden.seal import MAX_SEAL, Accepted, Statement, make_seal, parse_seal, statement_line
from golden.store import SEAL_SUFFIX, SUFFIX, GoldenFile, Store, check_run_id, stems
from golden.verdict import Verdict, examine, verify_file

PENDING = "pending"


def pending_folder(folder: str) -> str:
    """Return where the recordings wait that may take the place of those in `folder`."""
    return os.path.join(folder, PENDING)


def waiting(folder: str) -> list[str]:
    """Return the ids of the runs that wait for review, sorted."""
    return stems(pending_folder(folder))


def pending_store(store: Store) -> Store:
    """Return the store that recordings wait in: with the same keys, and of no ledger's concern."""
    folder = pending_folder(store.folder)
    return Store(folder, store.keyring, durability=store.durability, ledger=False, reload=store.reload)


def draft_store(store: Store) -> Store:
    """Return the store that a recording is made in before it waits: what waits already stays until it is whole."""
    return pending_store(pending_store(store))


def submit(store: Store, run_id: str) -> None:
    """Let the drafted recording of a run wait, in the place of what waited before.

    Raises:
        UsageError: what waits of it is being decided about.
        StoreError: the folder cannot be written.
    """
    folder = pending_folder(store.folder)
    with open_folder(folder) as opened, locked(opened, f"{run_id}.lock", _busy(run_id)):
        # Of two that nobody has looked at yet the later one counts.
        _discard(store.folder, run_id)
        for name in (f"{run_id}{SUFFIX}", f"{run_id}{SEAL_SUFFIX}"):
            os.rename(os.path.join(pending_folder(folder), name), os.path.join(folder, name))
        if store.durability != "never":
            os.fsync(opened)
    discard_draft(store, run_id)


def discard_draft(store: Store, run_id: str) -> None:
    """Remove what was drafted of a run, if anything was."""
    drafts = pending_store(store)
    if run_id in waiting(drafts.folder):
        reject(drafts, run_id)
    with suppress(OSError):
        os.rmdir(pending_folder(drafts.folder))


def pending(store: Store, run_id: str) -> Recording:
    """Return the recording of a run that waits.

    Raises:
        UsageError: there is none.
        TamperedError, KeyringError, StoreError: it is not intact.
    """
    file = GoldenFile(pending_folder(store.folder), check_run_id(run_id))
    if not os.path.lexists(file.place):
        raise _absent(run_id)
    try:
        return Recording.open(file, store.read().keyring)
    except TamperedError as error:
        hint = f"nothing else holds it: `golden reject {run_id}`, then `golden update {run_id}`"
        raise TamperedError(f"pending {error.problem}", hint=hint, verdict=error.verdict) from None


def accept(
    store: Store, run_id: str, *, reason: str, commit: str | None = None, file_id: str | None = None
) -> Statement:
    """Put the waiting recording of a run in the place of the golden one, or beside the others; return its statement.

    Who did it, when, why and at which commit stands in its seal, and in the ledger before anything is moved. It may be
    killed at any moment: done again, it brings to its end what was begun. With `file_id` it is that recording or none.

    Raises:
        UsageError: nothing waits, or another recording; the reason is empty, or the run is being written.
        TamperedError, KeyringError, StoreError: what waits, the golden one or the ledger is not intact.
    """
    if not reason.strip():
        raise UsageError("the reason is empty", hint="say why the new recording is right (--reason)")
    check_run_id(run_id)
    directory = store.prepare()
    directory.keyring.active  # noqa: B018  refuses where nobody can sign
    with open_folder(store.folder) as folder, locked(folder, f"{run_id}.lock", _busy(run_id)):
        if _is_done(store, run_id):
            _discard(store.folder, run_id)
            return _sealed(store, run_id)
        with _pending(store, run_id, file_id) as recording:
            statement = _stated(store, directory, recording, reason, commit)
            name = store.file(run_id).name
            for each in (name, f"{name}.sig"):
                sweep(folder, each)
            keys = directory.keyring.signers or [directory.keyring.active]
            like = os.stat(os.path.join(pending_folder(store.folder), name))
            durable = store.durability != "never"
            put(folder, name, b"".join(recording.blocks()), like, durable=durable)
            put(folder, f"{name}.sig", make_seal(statement_line(statement), keys), like, durable=durable)
        found = verify_file(store.file(run_id), store.read())
        if found.verdict != "intact":
            raise refusal(found)
        _discard(store.folder, run_id)
        return statement


def reject(store: Store, run_id: str, *, file_id: str | None = None) -> None:
    """Remove the waiting recording of a run, whatever it is worth; with `file_id` that recording or none.

    Raises:
        UsageError: none waits, or another one, or it is being written.
        TamperedError, KeyringError, StoreError: with `file_id`, what waits is not intact any more.
    """
    folder = pending_folder(store.folder)
    if run_id not in waiting(store.folder):
        raise _absent(run_id)
    with open_folder(folder) as opened, locked(opened, f"{run_id}.lock", _busy(run_id)):
        if file_id is not None:
            _pending(store, run_id, file_id).close()
        _discard(store.folder, run_id)


def _pending(store: Store, run_id: str, file_id: str | None) -> Recording:
    recording = pending(store, run_id)
    if file_id not in {None, recording.statement.file_id}:
        recording.close()
        raise UsageError(f"what waits of {run_id} is not what was shown", hint=f"golden review {run_id} shows it")
    return recording


def _stated(store: Store, directory: Directory, recording: Recording, reason: str, commit: str | None) -> Statement:
    """Return the statement of an accepted recording, once the ledger, where there is one, has it."""
    run_id, file_id = recording.run_id, recording.statement.file_id
    known = directory.runs.get(run_id)
    if known is not None and (known.op, known.file_id) == ("accept", file_id):
        # This was killed after that.
        line = directory.statement(run_id)
        if line is not None:
            return parse_seal(make_seal(line, directory.keyring.signers)).statement
    before = _golden(store, directory, recording)
    by = Accepted(actor=directory.actor, at=timestamp(), commit=commit, reason=reason)
    statement = replace(recording.statement, accepted=by, gen=max(before, recording.statement.gen) + 1)
    if directory.present:
        with directory.writing():
            directory.append(
                draft(Accept, run_id=run_id, file_id=file_id, reason=reason, seal=statement),
                durable=store.durability != "never",
            )
    return statement


def _golden(store: Store, directory: Directory, recording: Recording) -> int:
    """Return the generation of the golden recording, 0 where there is none; raises for one that is not intact."""
    file = store.file(recording.run_id)
    if not os.path.lexists(file.place) and not os.path.lexists(f"{file.place}.sig"):
        return 0
    verdict, proof = examine(file, directory)
    if proof is not None:
        proof.close()
        return proof.seal.statement.gen
    if _has_bytes_of(file, recording):
        # This was killed between putting the file in its place and its seal.
        seal = file.read_seal(MAX_SEAL)
        with suppress(FormatError):
            return parse_seal(seal).statement.gen if seal else 0
    raise refusal(verdict)


def _has_bytes_of(file: GoldenFile, recording: Recording) -> bool:
    try:
        with open(file.place, "rb") as there:
            return all(there.read(len(block)) == block for block in recording.blocks()) and not there.read(1)
    except OSError:
        return False


def _is_done(store: Store, run_id: str) -> bool:
    """Whether all but the removal of what waited was done before; raises UsageError where nothing waits."""
    place = os.path.join(pending_folder(store.folder), f"{run_id}{SUFFIX}")
    if os.path.lexists(place):
        return False
    if not os.path.lexists(f"{place}.sig"):
        raise _absent(run_id)
    return _verdict(store, run_id).verdict == "intact"


def _verdict(store: Store, run_id: str) -> Verdict:
    return verify_file(store.file(run_id), store.read())


def _sealed(store: Store, run_id: str) -> Statement:
    seal = store.file(run_id).read_seal(MAX_SEAL)
    if seal is None:
        raise StoreError(f"run {run_id} has no seal", hint=f"`golden verify {run_id}` says what it is worth")
    return parse_seal(seal).statement


def _discard(folder: str, run_id: str) -> None:
    # The seal last: alone it says that nothing waits any more.
    for suffix in (SUFFIX, SEAL_SUFFIX):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(pending_folder(folder), f"{run_id}{suffix}"))


def _absent(run_id: str) -> UsageError:
    return UsageError(f"no recording of {run_id} waits for review", hint="golden review lists those that do")


def _busy(run_id: str) -> UsageError:
    return UsageError(f"run {run_id} is being written", hint="wait until it ends")
