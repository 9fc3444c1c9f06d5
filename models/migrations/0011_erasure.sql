-- What was deleted, at a person's word or by age: what is still to be removed, and what was removed where and when.
CREATE TABLE erasure (
    document_id {uuid} PRIMARY KEY REFERENCES document (document_id) ON DELETE RESTRICT,
    asked_at {time} NOT NULL,
    asked_by TEXT NOT NULL,
    why TEXT NOT NULL,
    tries INTEGER NOT NULL CHECK (tries >= 0),
    due_at {time},
    last_error TEXT,
    finished_at {time},
    CHECK ((due_at IS NULL) = (finished_at IS NOT NULL))
);

CREATE INDEX erasure_due ON erasure (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE erased_thing (
    thing_id {serial},
    document_id {uuid} NOT NULL REFERENCES erasure (document_id) ON DELETE RESTRICT,
    what TEXT NOT NULL CHECK (what IN ('raw_file', 'result', 'provider_file', 'provider_job', 'webhook_payloads')),
    place TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('removed', 'absent', 'given_up')),
    at {time} NOT NULL,
    UNIQUE (document_id, what, place)
);

ALTER TABLE job ADD COLUMN erased_at {time};

-- By age: what has ended and is kept still.
CREATE INDEX job_kept ON job (finished_at) WHERE finished_at IS NOT NULL AND erased_at IS NULL;

CREATE INDEX upload_file_by_age ON upload_file (created_at);

CREATE INDEX delivery_of_nobody ON delivery (created_at) WHERE job_id IS NULL;
