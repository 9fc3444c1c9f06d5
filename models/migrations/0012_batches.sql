-- Documents that were ordered together: one progress, and one event at the end.
CREATE TABLE batch (
    batch_id {uuid} PRIMARY KEY,
    tenant TEXT NOT NULL,
    order_sha256 TEXT NOT NULL,
    ordered_by TEXT NOT NULL,
    callback_url TEXT,
    correlation_id {uuid} NOT NULL,
    total INTEGER NOT NULL CHECK (total > 0),
    created_at {time} NOT NULL,
    finished_at {time}
);

-- Nobody was told of its end yet.
CREATE INDEX batch_open ON batch (created_at) WHERE finished_at IS NULL;

ALTER TABLE job ADD COLUMN batch_id {uuid} REFERENCES batch (batch_id);

CREATE INDEX job_open_in_batch ON job (batch_id) WHERE batch_id IS NOT NULL AND finished_at IS NULL;

CREATE INDEX job_of_batch ON job (batch_id, created_at, job_id) WHERE batch_id IS NOT NULL;

ALTER TABLE delivery ADD COLUMN batch_id {uuid} REFERENCES batch (batch_id);
