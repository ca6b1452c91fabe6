"""Codes: the closed set of words for why a step failed, with what to do about each and how such a run ends."""

from __future__ import annotations

EXECUTION_ERROR = "EXECUTION_ERROR"
STEP_TIMEOUT = "STEP_TIMEOUT"
WORKFLOW_TIMEOUT = "WORKFLOW_TIMEOUT"
STEP_CEILING_EXCEEDED = "STEP_CEILING_EXCEEDED"
WORKFLOW_CEILING_EXCEEDED = "WORKFLOW_CEILING_EXCEEDED"
POLICY_VIOLATION = "POLICY_VIOLATION"
SANDBOX_REJECTION = "SANDBOX_REJECTION"
EMERGENCY_STOP = "EMERGENCY_STOP"

HINTS = {
    EXECUTION_ERROR: "correct the skill or its inputs, then resume the run",
    STEP_TIMEOUT: "find out what the step waits for, or raise its timeout_seconds, then resume the run",
    WORKFLOW_TIMEOUT: "raise the spec's timeout_seconds or drop steps, then resume the run",
    STEP_CEILING_EXCEEDED: "raise the step's max_cost_cents or DEFAULT_STEP_CEILING_CENTS, or make it cheaper",
    WORKFLOW_CEILING_EXCEEDED: "raise budget_ceiling_cents or DEFAULT_WORKFLOW_CEILING_CENTS, or drop steps",
    POLICY_VIOLATION: "give the step what the policy asks for, or change the policy, then resume the run",
    SANDBOX_REJECTION: "have the plan made anew without what was rejected; do not run it as it is",
    EMERGENCY_STOP: "find out whether the reason still holds; `golden start` lifts the stop, then resume the run",
}
# A step that ends like this ends its run, whatever its on_error says; with what status.
ENDING = {
    WORKFLOW_TIMEOUT: "failed",
    STEP_CEILING_EXCEEDED: "budget_exceeded",
    WORKFLOW_CEILING_EXCEEDED: "budget_exceeded",
    POLICY_VIOLATION: "policy_violation",
    SANDBOX_REJECTION: "sandbox_rejected",
    EMERGENCY_STOP: "emergency_stopped",
}
# What the clock decided: no replay can decide it again, so it is answered from the recording.
TIMED_OUT = frozenset({STEP_TIMEOUT, WORKFLOW_TIMEOUT})
# A replay compares such a run as far as it came: what ended it lies outside of it.
STOPPED_FROM_OUTSIDE = frozenset({"aborted", "emergency_stopped", "interrupted"})
