-- How far a room has been looked into for what the homeserver never told us: places in its timeline, as the homeserver names them.
ALTER TABLE portal ADD COLUMN IF NOT EXISTS looked_from text;  -- where the next look begins
ALTER TABLE portal ADD COLUMN IF NOT EXISTS looked_to text;    -- where a look ended, and where looks begin once that is long enough ago
ALTER TABLE portal ADD COLUMN IF NOT EXISTS looked_at timestamptz;
