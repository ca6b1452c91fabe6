CREATE TABLE workflow_checkpoint_schema (
    version INTEGER PRIMARY KEY,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);
CREATE TABLE workflow_checkpoints (
    run_id TEXT PRIMARY KEY,
    workflow_id TEXT NOT NULL,
    tenant_id TEXT,
    next_step_index INTEGER NOT NULL CHECK (next_step_index >= 0),
    last_result_hash TEXT,
    status TEXT NOT NULL CHECK (status IN (
        'running', 'completed', 'failed', 'aborted', 'budget_exceeded', 'emergency_stopped', 'policy_violation',
        'sandbox_rejected', 'interrupted'
    )),
    version INTEGER NOT NULL CHECK (version >= 1),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    -- As text: a seed has up to 64 unsigned bits, or more.
    seed TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    golden_path TEXT NOT NULL,
    file_id TEXT NOT NULL,
    events INTEGER NOT NULL CHECK (events >= 0),
    total_cost_cents INTEGER NOT NULL CHECK (total_cost_cents >= 0),
    outputs_hash TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    lease_owner TEXT,
    lease_until TEXT
) WITHOUT ROWID;
-- No index on the status: each save would write it anew, and the runs of one directory are soon read.
CREATE TABLE workflow_step_outputs (
    run_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    step_index INTEGER NOT NULL,
    step_id TEXT NOT NULL,
    output BLOB,
    output_hash TEXT,
    PRIMARY KEY (run_id, version, ordinal)
) WITHOUT ROWID;
