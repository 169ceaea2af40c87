-- What an item comes to once people have been told of it.
ALTER TABLE inbox ADD COLUMN IF NOT EXISTS verdict text;
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS verdict text;
