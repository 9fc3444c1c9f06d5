-- LlamaCloud's own interface: files that wait for an order, what a caller wrote on a job, and repeats of a call.
CREATE TABLE upload_file (
    file_id {uuid} PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    external_file_id TEXT,
    sha256 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    path TEXT NOT NULL,
    created_at {time} NOT NULL
);

CREATE INDEX upload_file_of_tenant ON upload_file (tenant, created_at, file_id);

-- What the caller wrote on the job, given back as it came; only jobs that came by this interface have it.
ALTER TABLE job ADD COLUMN user_metadata {json};

-- The job that a call made, by the call's own hash: a client that repeats a call by itself gets it again.
CREATE TABLE made_call (
    call_sha256 TEXT PRIMARY KEY,
    job_id {uuid} REFERENCES job (job_id) ON DELETE RESTRICT,
    was_repeat BOOLEAN NOT NULL,
    made_at {time} NOT NULL
);

CREATE INDEX made_call_in_time ON made_call (made_at);
