-- The audit log: who changed what about the service. What happens to jobs is in their history.
CREATE TABLE change (
    change_id {serial},
    at {time} NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    subject TEXT NOT NULL,
    before {json},
    after {json}
);

CREATE INDEX change_of_what ON change (what, change_id);
