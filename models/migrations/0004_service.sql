-- Circuit breakers, and events that are about no document.

-- One breaker for each route of the provider, under the limiter's lock.
ALTER TABLE pace ADD COLUMN broken_at {time};

ALTER TABLE pace ADD COLUMN probe_at {time};

-- The slot of the call that tries whether the provider is back.
ALTER TABLE pace ADD COLUMN probe BIGINT;

ALTER TABLE pace ADD COLUMN openings INTEGER NOT NULL DEFAULT 0;

ALTER TABLE pace ADD COLUMN broken_why TEXT NOT NULL DEFAULT '';

ALTER TABLE pace ADD COLUMN recovered_at {time};

ALTER TABLE pace ADD COLUMN refused_key TEXT;

-- Told of once in each window: a document did not fit.
ALTER TABLE budget_window ADD COLUMN exhausted_at {time};

CREATE INDEX budget_window_in_time ON budget_window (window_name);

-- An event may be about no document: then job_id is NULL, and whoever makes it sees to it that it is made once.
CREATE TABLE delivery_new (
    delivery_id {uuid} PRIMARY KEY,
    job_id {uuid} REFERENCES job (job_id) ON DELETE RESTRICT,
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

INSERT INTO delivery_new (delivery_id, job_id, event_type, target, body, tries, due_at, last_error, created_at, delivered_at, given_up_at)
    SELECT delivery_id, job_id, event_type, target, body, tries, due_at, last_error, created_at, delivered_at, given_up_at FROM delivery;

DROP TABLE delivery;

ALTER TABLE delivery_new RENAME TO delivery;

CREATE INDEX delivery_due ON delivery (due_at) WHERE due_at IS NOT NULL;

-- The mode that an order asked for.
ALTER TABLE job ADD COLUMN mode TEXT CHECK (mode IN ('real', 'mock', 'hybrid'));

-- The same work ordered again waits for the job that does it, and gets a copy of its result.
ALTER TABLE job ADD COLUMN work_key TEXT;

ALTER TABLE job ADD COLUMN twin_of {uuid};

ALTER TABLE job ADD COLUMN reused_from {uuid};

CREATE INDEX job_of_work ON job (work_key, finished_at) WHERE work_key IS NOT NULL;

CREATE INDEX job_twins ON job (twin_of) WHERE twin_of IS NOT NULL;

-- A job that does again for real what the local parser stood in for: each is done again once, unless that failed.
ALTER TABLE job ADD COLUMN redoes {uuid};

CREATE UNIQUE INDEX job_redone ON job (redoes)
    WHERE redoes IS NOT NULL AND state NOT IN ('failed', 'rejected', 'cancelled');

CREATE INDEX job_mocked ON job (created_at, job_id) WHERE state = 'completed' AND provenance = 'mock';
