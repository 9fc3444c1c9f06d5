-- When a token was last shown, to a minute.
ALTER TABLE token ADD COLUMN last_used_at {time};
