-- The provider's pace: slots that were promised, used and ended, and what is set and learned for each route.

CREATE TABLE slot (
    slot_id {serial},
    route TEXT NOT NULL CHECK (route IN ('upload', 'create', 'read')),
    holder {uuid} NOT NULL,
    job_id {uuid},
    at {time} NOT NULL,
    why TEXT NOT NULL,
    used_at {time},
    done_at {time},
    outcome TEXT CHECK (outcome IN ('ok', 'busy', 'failed', 'lost')),
    CHECK ((outcome IS NULL) = (done_at IS NULL)),
    CHECK (done_at IS NULL OR used_at IS NOT NULL),
    CHECK (done_at >= used_at)
) {hot};

-- Asking again gives the same slot.
CREATE UNIQUE INDEX slot_promised ON slot (route, holder) WHERE used_at IS NULL;
CREATE INDEX slot_open ON slot (route, slot_id) WHERE done_at IS NULL;
CREATE INDEX slot_ended ON slot (route, done_at) WHERE done_at IS NOT NULL;
CREATE INDEX slot_ended_of_all ON slot (done_at) WHERE done_at IS NOT NULL;

-- Who takes a slot locks every row of this table: slots are handed out one at a time.
CREATE TABLE pace (
    name TEXT PRIMARY KEY CHECK (name IN ('upload', 'create', 'read', 'hourly', 'in_flight')),
    override TEXT,
    changed_at {time},
    changed_by TEXT,
    ceiling INTEGER CHECK (ceiling > 0),
    cut_at {time},
    proven INTEGER CHECK (proven > 0),
    window_s INTEGER CHECK (window_s > 0),
    hold_until {time},
    seen_at {time},
    CHECK ((ceiling IS NULL) = (cut_at IS NULL)),
    CHECK ((proven IS NULL) = (window_s IS NULL)),
    CHECK (ceiling IS NULL OR proven IS NOT NULL)
) {hot};

INSERT INTO pace (name) VALUES ('upload'), ('create'), ('read'), ('hourly'), ('in_flight');
