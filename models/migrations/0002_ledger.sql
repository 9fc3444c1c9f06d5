-- Budgets, their windows, and the ledger that says why each balance is what it is.

CREATE TABLE budget (
    budget TEXT PRIMARY KEY,
    amount BIGINT CHECK (amount >= 0),
    extra BIGINT NOT NULL CHECK (extra >= 0),
    extra_until {time},
    configured TEXT,
    changed_at {time} NOT NULL,
    changed_by TEXT NOT NULL,
    CHECK (extra = 0 OR extra_until IS NOT NULL)
);

-- The limit stands beside the balances: so "never beyond the limit" is one statement about one row.
CREATE TABLE budget_window (
    budget TEXT NOT NULL REFERENCES budget (budget) ON DELETE RESTRICT,
    window_name TEXT NOT NULL,
    amount BIGINT CHECK (amount >= 0),
    extra BIGINT NOT NULL CHECK (extra >= 0),
    extra_until {time},
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    spent BIGINT NOT NULL CHECK (spent >= 0),
    fired INTEGER NOT NULL CHECK (fired >= 0),
    PRIMARY KEY (budget, window_name)
) {hot};

CREATE TABLE ledger_entry (
    entry_id {serial},
    attempt_id {uuid} NOT NULL REFERENCES attempt (attempt_id) ON DELETE RESTRICT,
    budget TEXT NOT NULL,
    window_name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('reserve', 'settle', 'release', 'adjust')),
    amount BIGINT NOT NULL,
    reserved_change BIGINT NOT NULL,
    spent_change BIGINT NOT NULL,
    reserved_after BIGINT NOT NULL CHECK (reserved_after >= 0),
    spent_after BIGINT NOT NULL CHECK (spent_after >= 0),
    limit_then BIGINT,
    -- The reservation that this entry settles or releases: each is closed once.
    closes BIGINT UNIQUE REFERENCES ledger_entry (entry_id),
    -- The release that this reservation follows, when a hold moves to a later window.
    follows BIGINT UNIQUE REFERENCES ledger_entry (entry_id),
    -- A hold that a new budget took over: it was accepted before the budget existed.
    carried BOOLEAN NOT NULL,
    drift BOOLEAN NOT NULL,
    at {time} NOT NULL,
    why TEXT NOT NULL,
    FOREIGN KEY (budget, window_name) REFERENCES budget_window (budget, window_name),
    CHECK (kind = 'adjust' OR amount >= 0),
    CHECK (CASE kind
        WHEN 'reserve' THEN reserved_change = amount AND spent_change = 0 AND closes IS NULL
        WHEN 'release' THEN reserved_change = -amount AND spent_change = 0 AND closes IS NOT NULL
        WHEN 'settle' THEN reserved_change <= 0 AND spent_change = amount AND closes IS NOT NULL
        ELSE reserved_change = 0 AND spent_change = amount AND closes IS NULL END),
    CHECK (follows IS NULL OR kind = 'reserve'),
    CHECK (NOT carried OR kind = 'reserve'),
    -- Nothing is accepted beyond the limit then in force.
    CHECK (kind <> 'reserve' OR carried OR limit_then IS NULL OR reserved_after + spent_after <= limit_then),
    -- More than was reserved is settled only as a drift that is on record.
    CHECK (kind <> 'settle' OR amount <= -reserved_change OR drift)
);

-- One opening for each attempt and budget, for good; a moved hold follows the one that it replaces.
CREATE UNIQUE INDEX ledger_opening ON ledger_entry (attempt_id, budget) WHERE kind = 'reserve' AND follows IS NULL;
CREATE INDEX ledger_of_attempt ON ledger_entry (attempt_id);
CREATE INDEX ledger_of_window ON ledger_entry (budget, window_name);

-- only: postgres
CREATE FUNCTION ledger_is_append_only() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$ LANGUAGE plpgsql;

-- only: postgres
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger_entry FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();

-- only: sqlite
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- only: sqlite
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger_entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- What the provider billed otherwise than was priced; it stands until it is explained.
CREATE TABLE drift (
    drift_id {serial},
    attempt_id {uuid} NOT NULL REFERENCES attempt (attempt_id) ON DELETE RESTRICT,
    kind TEXT NOT NULL CHECK (kind IN ('over_reservation', 'over_price', 'under_price', 'wrong_tier', 'unexplained_zero',
        'never_told', 'surplus')),
    priced BIGINT NOT NULL,
    billed BIGINT,
    at {time} NOT NULL,
    tries INTEGER NOT NULL CHECK (tries >= 0),
    due_at {time},
    explained_at {time},
    explanation TEXT,
    UNIQUE (attempt_id, kind),
    CHECK (explained_at IS NULL OR due_at IS NULL)
);

CREATE INDEX drift_open ON drift (at) WHERE explained_at IS NULL;
CREATE INDEX drift_due ON drift (due_at) WHERE due_at IS NOT NULL;

-- Settled at the estimate because the provider never told, until it does.
ALTER TABLE attempt ADD COLUMN assumed BOOLEAN NOT NULL DEFAULT FALSE;

-- Which key it was sent with (a part of its hash): another key may be another project's.
ALTER TABLE attempt ADD COLUMN key_id TEXT;

-- The price of a page when it was priced, millicredits: a later price list does not rewrite it.
ALTER TABLE attempt ADD COLUMN page_price BIGINT CHECK (page_price >= 0);

-- Waiting documents leave by priority, then by turn: tenants take turns.
ALTER TABLE job ADD COLUMN turn BIGINT;

ALTER TABLE job ADD COLUMN waits_for TEXT;

ALTER TABLE job ADD COLUMN parsed_pages INTEGER CHECK (parsed_pages >= 0);

CREATE INDEX job_waiting ON job (priority DESC, turn, created_at, job_id) WHERE turn IS NOT NULL;

CREATE INDEX attempt_settled ON attempt (settled_at) WHERE settled_at IS NOT NULL;

CREATE INDEX attempt_open ON attempt (state) WHERE state = 'open';

CREATE TABLE tenant_turn (
    priority INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    turn BIGINT NOT NULL,
    PRIMARY KEY (priority, tenant)
);
