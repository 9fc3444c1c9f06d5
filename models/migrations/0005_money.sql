-- A limit as it was written, where that was in dollars: another price of a credit makes other credits of it.
ALTER TABLE budget ADD COLUMN usd TEXT;

-- Who explained a bill that was not what was priced; NULL if the provider did.
ALTER TABLE drift ADD COLUMN explained_by TEXT;

-- Documents that wait to be admitted are looked at apart from the others.
CREATE INDEX job_waiting_due ON job (due_at) WHERE turn IS NOT NULL;
