-- A token may be bound to a user: what it orders is that user's, and held in that user's budget.
ALTER TABLE token ADD COLUMN user_id {uuid};
