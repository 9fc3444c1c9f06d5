-- Receivers of events that have failed since a while; whoever receives again has no row.
CREATE TABLE endpoint (
    endpoint_id {uuid} PRIMARY KEY,
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    failing_since {time} NOT NULL,
    failures INTEGER NOT NULL CHECK (failures > 0),
    last_error TEXT NOT NULL,
    disabled_at {time}
);

-- Whose event it is, for lists; NULL for what goes to the events exchange only.
ALTER TABLE delivery ADD COLUMN tenant TEXT;

UPDATE delivery SET tenant = (SELECT job.tenant FROM job WHERE job.job_id = delivery.job_id);

CREATE INDEX delivery_of_tenant ON delivery (tenant, created_at) WHERE target <> 'events';

CREATE INDEX delivery_to_receiver ON delivery (created_at) WHERE target <> 'events';

-- When a person had it sent again: its three days begin anew.
ALTER TABLE delivery ADD COLUMN retried_at {time};
