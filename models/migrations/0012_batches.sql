-- Documents that were ordered together: one progress, and one event at the end.
CREATE TABLE batch (
    batch_id {uuid} PRIMARY KEY,
    tenant TEXT NOT NULL,
    order_sha256 TEXT NOT NULL,
    ordered_by TEXT NOT NULL,
    callback_url TEXT,
    correlation_id {uuid} NOT NULL,
    total INTEGER NOT NULL CHECK (total > 0),
    ended INTEGER NOT NULL CHECK (ended BETWEEN 0 AND total),
    created_at {time} NOT NULL,
    due_at {time},
    finished_at {time}
) {hot};

-- All have ended, and nobody was told yet.
CREATE INDEX batch_due ON batch (due_at) WHERE due_at IS NOT NULL;

ALTER TABLE job ADD COLUMN batch_id {uuid} REFERENCES batch (batch_id);

CREATE INDEX job_of_batch ON job (batch_id, created_at, job_id) WHERE batch_id IS NOT NULL;

ALTER TABLE delivery ADD COLUMN batch_id {uuid} REFERENCES batch (batch_id);
