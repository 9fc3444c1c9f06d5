-- Receivers of events that have failed since a while; whoever receives again has no row.
CREATE TABLE endpoint (
    endpoint_id {uuid} PRIMARY KEY,
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    failing_since {time} NOT NULL,
    failures INTEGER NOT NULL CHECK (failures > 0),
    last_error TEXT NOT NULL,
    disabled_at {time},
    UNIQUE (tenant, url)
);

-- Lists of deliveries: what was given up, newest first; a job's.
CREATE INDEX delivery_given_up ON delivery (given_up_at) WHERE given_up_at IS NOT NULL;

-- When a person had it sent again: its three days begin anew.
ALTER TABLE delivery ADD COLUMN retried_at {time};
