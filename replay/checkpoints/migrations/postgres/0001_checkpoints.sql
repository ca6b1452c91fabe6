CREATE TABLE workflow_checkpoint_schema (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE workflow_checkpoints (
    run_id varchar(255) PRIMARY KEY,
    workflow_id varchar(255) NOT NULL,
    tenant_id varchar(255),
    next_step_index bigint NOT NULL CHECK (next_step_index >= 0),
    last_result_hash varchar(64),
    status varchar(32) NOT NULL CHECK (status IN (
        'running', 'completed', 'failed', 'aborted', 'budget_exceeded', 'emergency_stopped', 'policy_violation',
        'sandbox_rejected', 'interrupted'
    )),
    version bigint NOT NULL CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    seed numeric NOT NULL,
    spec_hash varchar(64) NOT NULL,
    golden_path text NOT NULL,
    file_id varchar(32) NOT NULL,
    events bigint NOT NULL CHECK (events >= 0),
    total_cost_cents bigint NOT NULL CHECK (total_cost_cents >= 0),
    outputs_hash varchar(64) NOT NULL,
    content_hash varchar(64) NOT NULL,
    lease_owner varchar(255),
    lease_until timestamptz,
    -- Which save this was: whoever lost the answer asks whether it was theirs.
    save_id varchar(32) NOT NULL
-- Each save writes its row anew: with room for that on the same page, the indexes stay as they are.
) WITH (fillfactor = 50);
CREATE INDEX workflow_checkpoints_status ON workflow_checkpoints (status);
CREATE INDEX workflow_checkpoints_tenant ON workflow_checkpoints (tenant_id, status);
CREATE INDEX workflow_checkpoints_workflow ON workflow_checkpoints (workflow_id, status);
CREATE TABLE workflow_step_outputs (
    run_id varchar(255) NOT NULL REFERENCES workflow_checkpoints ON DELETE CASCADE,
    version bigint NOT NULL,
    ordinal integer NOT NULL,
    step_index bigint NOT NULL,
    step_id varchar(255) NOT NULL,
    output bytea,
    output_hash varchar(64),
    PRIMARY KEY (run_id, version, ordinal)
);
