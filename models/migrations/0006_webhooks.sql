-- Webhooks that were not let in, or that changed nothing: the last thousand, and how many there were for each reason.
CREATE TABLE rejected_webhook (
    rejection_id {serial},
    at {time} NOT NULL,
    route TEXT NOT NULL,
    reason TEXT NOT NULL,
    job_id TEXT,
    headers {json} NOT NULL,
    said {json} NOT NULL,
    body_sha256 TEXT,
    body_bytes BIGINT
);

CREATE TABLE rejection_count (
    reason TEXT PRIMARY KEY,
    count BIGINT NOT NULL CHECK (count > 0)
);
