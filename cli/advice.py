"""Advice: what to do next about a run, for every way it may stand there. Decides nothing and does nothing."""

from __future__ import annotations

import os
from shlex import quote

import msgspec

from cli.halves import Row
from golden.verdict import TAMPERED, Verdict
from replay.checkpoints.contract import RUNNING
from replay.controls import STOP_FILE, Halt

_GOES_ON = {
    "aborted": "a signal ended it: it goes on where it was",
    "emergency_stopped": "the engine may run again: it goes on where it was stopped",
    "interrupted": "somebody ended it with `golden recover`: it can still go on",
    "policy_violation": "give the step what the policy asks for, or change [policy] in golden.toml: then it goes on",
}


class Advice(msgspec.Struct, frozen=True):
    """Why, and the command to type next, None where there is none."""

    why: str
    command: str | None


def advise(
    row: Row,
    verdict: Verdict | None = None,
    *,
    halts: list[Halt] | None = None,
    successor: str | None = None,
    ahead: bool = False,
    folder: str | None = None,
) -> Advice:
    """Return what to do next about a run.

    Args:
        row: both halves of it.
        verdict: on its golden file, None where nobody asked or there is none.
        halts: what halts the engine now.
        successor: the run that resumed it last.
        ahead: whether its checkpoint speaks of more than its golden file holds.
        folder: the golden directory, where that has to be named.
    """
    at = f" --dir {quote(folder)}" if folder else ""
    if verdict is not None and verdict.verdict != "intact":
        found = _of_verdict(row, verdict, at)
        if found is not None:
            return found
    if row.path is None:
        return _without_file(row, at)
    if row.is_unsealed:
        return Advice("it ended, and its recorder died before it sealed", f"golden recover {row.run_id}{at}")
    if row.status == RUNNING and not row.writer and ahead:
        why = "its checkpoint is ahead of its golden file: find out what happened to that; this believes the file"
        return Advice(why, f"golden resume {row.run_id}{at} --from-file")
    if row.status == RUNNING:
        return _of_running(row, at)
    if successor is not None:
        return Advice(f"{successor} went on with it", f"golden inspect {successor}{at}")
    return _of_ended(row, halts or [], at)


def of_halt(halt: Halt, at: str = "") -> Advice:
    """Return how to let the engine run again, once whoever halted it agrees."""
    command = f"golden start{at}" if halt.origin == STOP_FILE else f"unset {halt.origin}"
    return Advice(f"{halt.problem}; once that is over, this lets runs begin again", command)


def _of_verdict(row: Row, verdict: Verdict, at: str) -> Advice | None:
    """Say what comes before anything else where a file is not intact; None for a run that has merely not ended."""
    word, hint = verdict.verdict, verdict.hint or "see golden verify"
    if word == "unsealed" and row.is_unsealed:
        return Advice(f"it ended, and its recorder died before it sealed: {hint}", f"golden recover {row.run_id}{at}")
    if word in TAMPERED:
        return Advice(f"{word}: nothing goes on with this file; {hint}", f"golden verify{at}")
    if word in {"unknown-key", "unsigned"}:
        return Advice(f"nobody can say here what its file is worth: {hint}", f"golden keys list{at}")
    return None if word in {"live", "torn"} else Advice(hint, f"golden verify {row.run_id}{at}")


def _without_file(row: Row, at: str) -> Advice:
    """Say where the golden file of a run may be of which there is only the checkpoint here."""
    place = row.golden_path or "-"
    if os.path.lexists(place):
        return Advice(f"its golden file is {place}", f"golden inspect {quote(place)}")
    show = f"golden checkpoints show {row.run_id}{at}"
    if row.status != RUNNING:
        return Advice(f"its golden file {place} is not on this host: restore it from backup", show)
    whose = f"ask {row.lease_owner}, who ran it" if row.lease_owner else "restore it from backup"
    return Advice(
        f"its golden file {place} is not on this host: {whose}; if it is gone for good, say so",
        f"golden checkpoints set-status {row.run_id}{at} aborted --expect-version {row.version} --reason TEXT",
    )


def _of_running(row: Row, at: str) -> Advice:
    run = f"{row.run_id}{at}"
    if row.writer:
        return Advice("it is being written now", f"golden tail {run} -f")
    return Advice("nobody writes it, so its recorder died; `golden recover` would end it", f"golden resume {run}")


def _of_ended(row: Row, halts: list[Halt], at: str) -> Advice:
    run, resume = f"{row.run_id}{at}", f"golden resume {row.run_id}{at}"
    if row.status == "failed":
        cause = f" ({row.error_code}: {row.recovery_hint})" if row.recovery_hint else ""
        return Advice(f"once its cause is mended{cause}, it goes on at the step that failed", resume)
    if row.status == "budget_exceeded":
        flag = "step" if (row.error_code or "").startswith("STEP_") else "workflow"
        return Advice("if it may cost more, it goes on", f"{resume} --{flag}-ceiling CENTS")
    if row.status == "emergency_stopped" and halts:
        return of_halt(halts[0], at)
    if row.status in _GOES_ON:
        return Advice(_GOES_ON[row.status], resume)
    if row.status == "sandbox_rejected":
        return Advice("have the plan made anew without what was rejected, and record that", "golden record SPEC")
    if row.status == "completed":
        return Advice("it is complete", f"golden replay {run}")
    return Advice("it ended in a way that this version does not know", f"golden verify {run}")
