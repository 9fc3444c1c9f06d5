-- Documents, jobs, attempts, results, deliveries, settings, tokens, history.

CREATE TABLE schema_migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at {time} NOT NULL
);

CREATE TABLE document (
    document_id {uuid} PRIMARY KEY,
    user_id {uuid} NOT NULL,
    tenant TEXT NOT NULL,
    order_sha256 TEXT NOT NULL,
    source TEXT,
    filename TEXT NOT NULL,
    raw_path TEXT NOT NULL,
    raw_sha256 TEXT,
    raw_bytes BIGINT CHECK (raw_bytes > 0),
    created_at {time} NOT NULL,
    deleted_at {time},
    CHECK ((raw_sha256 IS NULL) = (raw_bytes IS NULL))
);

CREATE TABLE job (
    job_id {uuid} PRIMARY KEY,
    document_id {uuid} NOT NULL REFERENCES document (document_id) ON DELETE RESTRICT,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'reserved', 'submitting', 'in_doubt', 'parsing', 'ingesting',
        'completed', 'failed', 'deferred', 'rejected', 'cancelled')),
    tier TEXT NOT NULL,
    options {json} NOT NULL,
    tags {json} NOT NULL,
    priority INTEGER NOT NULL,
    correlation_id {uuid} NOT NULL,
    callback_url TEXT,
    pages INTEGER CHECK (pages > 0),
    pages_guessed BOOLEAN NOT NULL,
    estimate BIGINT CHECK (estimate >= 0),
    cost BIGINT NOT NULL CHECK (cost >= 0),
    provenance TEXT CHECK (provenance IN ('real', 'cached', 'mock')),
    truncated BOOLEAN NOT NULL,
    parsed_path TEXT,
    parsed_sha256 TEXT,
    reason TEXT,
    message TEXT,
    tries INTEGER NOT NULL CHECK (tries >= 0),
    due_at {time},
    created_at {time} NOT NULL,
    updated_at {time} NOT NULL,
    finished_at {time},
    -- One clock: what is not finished says when it must be looked at again.
    CHECK ((due_at IS NULL) = (state IN ('completed', 'failed', 'rejected', 'cancelled'))),
    CHECK ((finished_at IS NULL) = (due_at IS NOT NULL)),
    CHECK (state <> 'completed' OR (parsed_sha256 IS NOT NULL AND provenance IS NOT NULL)),
    CHECK (state <> 'failed' OR (reason IS NOT NULL AND message IS NOT NULL))
) {hot};

CREATE INDEX job_due ON job (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX job_of_document ON job (document_id);
CREATE INDEX job_by_age ON job (created_at, job_id);

CREATE TABLE attempt (
    attempt_id {uuid} PRIMARY KEY,
    job_id {uuid} NOT NULL REFERENCES job (job_id) ON DELETE RESTRICT,
    number INTEGER NOT NULL CHECK (number > 0),
    state TEXT NOT NULL CHECK (state IN ('open', 'submitting', 'in_doubt', 'sent', 'completed', 'failed', 'cancelled',
        'never_made')),
    provenance TEXT NOT NULL CHECK (provenance IN ('real', 'cached', 'mock')),
    estimate BIGINT NOT NULL CHECK (estimate >= 0),
    billed BIGINT CHECK (billed >= 0),
    base_url TEXT,
    project_id TEXT,
    file_id TEXT,
    provider_job_id TEXT,
    provider_date {time},
    submitted_at {time},
    tries INTEGER NOT NULL CHECK (tries >= 0),
    due_at {time},
    created_at {time} NOT NULL,
    settled_at {time},
    UNIQUE (job_id, number),
    CHECK ((settled_at IS NULL) = (billed IS NULL)),
    CHECK (state <> 'sent' OR provider_job_id IS NOT NULL),
    CHECK (settled_at IS NULL OR due_at IS NULL)
) {hot};

CREATE INDEX attempt_due ON attempt (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX attempt_at_provider ON attempt (provider_job_id, base_url) WHERE provider_job_id IS NOT NULL;
-- A job has one attempt under way at most: the second is what would be paid twice.
CREATE UNIQUE INDEX attempt_under_way ON attempt (job_id) WHERE state IN ('open', 'submitting', 'in_doubt', 'sent');

CREATE TABLE result (
    job_id {uuid} PRIMARY KEY REFERENCES job (job_id) ON DELETE RESTRICT,
    attempt_id {uuid} NOT NULL REFERENCES attempt (attempt_id) ON DELETE RESTRICT,
    provenance TEXT NOT NULL CHECK (provenance IN ('real', 'cached', 'mock')),
    markdown_path TEXT NOT NULL,
    markdown_sha256 TEXT NOT NULL,
    markdown_bytes BIGINT NOT NULL CHECK (markdown_bytes >= 0),
    pages_path TEXT NOT NULL,
    pages INTEGER NOT NULL CHECK (pages >= 0),
    failed_pages INTEGER NOT NULL CHECK (failed_pages BETWEEN 0 AND pages),
    truncated BOOLEAN NOT NULL,
    created_at {time} NOT NULL
);

CREATE TABLE delivery (
    delivery_id {uuid} PRIMARY KEY,
    job_id {uuid} NOT NULL REFERENCES job (job_id) ON DELETE RESTRICT,
    event_type TEXT NOT NULL,
    target TEXT NOT NULL,
    body TEXT NOT NULL,
    tries INTEGER NOT NULL CHECK (tries >= 0),
    due_at {time},
    last_error TEXT,
    created_at {time} NOT NULL,
    delivered_at {time},
    given_up_at {time},
    UNIQUE (job_id, event_type, target),
    CHECK ((due_at IS NOT NULL) = (delivered_at IS NULL AND given_up_at IS NULL))
);

CREATE INDEX delivery_due ON delivery (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value {json} NOT NULL,
    changed_at {time} NOT NULL,
    changed_by TEXT NOT NULL
);

CREATE TABLE token (
    token_id {uuid} PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    token_sha256 TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL CHECK (scope IN ('submit', 'read', 'admin')),
    tenant TEXT NOT NULL,
    created_at {time} NOT NULL,
    expires_at {time},
    revoked_at {time}
);

CREATE TABLE history (
    history_id {serial},
    job_id {uuid} NOT NULL,
    attempt_id {uuid},
    before TEXT,
    after TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    at {time} NOT NULL
);

CREATE INDEX history_of_job ON history (job_id, history_id);
