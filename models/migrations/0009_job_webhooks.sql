-- Webhooks that an order by LlamaCloud's interface asked for. What the caller gave (a secret, headers) is sealed.
CREATE TABLE job_webhook (
    webhook_id {uuid} PRIMARY KEY,
    job_id {uuid} NOT NULL REFERENCES job (job_id) ON DELETE RESTRICT,
    url TEXT NOT NULL,
    events {json},
    output_format TEXT NOT NULL CHECK (output_format IN ('string', 'json')),
    sealed TEXT NOT NULL
);

CREATE INDEX job_webhook_of_job ON job_webhook (job_id);

ALTER TABLE job ADD COLUMN has_webhooks BOOLEAN NOT NULL DEFAULT FALSE;
