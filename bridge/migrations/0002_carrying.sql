-- The present reaction of each person to a WhatsApp message: a new one takes its place, an empty one withdraws it.
CREATE TABLE IF NOT EXISTS reaction (
    number_id     text NOT NULL,
    target        text NOT NULL,
    sender        text NOT NULL,
    event_id      text NOT NULL,
    PRIMARY KEY (number_id, target, sender)
);

-- A delivery that can't be read comes again for days: it is kept once.
ALTER TABLE rejected ADD COLUMN IF NOT EXISTS digest bytea;
CREATE UNIQUE INDEX IF NOT EXISTS rejected_digest ON rejected (digest);
-- A room that is gone keeps its place in the history of its conversation, which goes on in another.
ALTER TABLE portal ADD COLUMN IF NOT EXISTS closed_at timestamptz;
ALTER TABLE portal DROP CONSTRAINT IF EXISTS portal_number_id_contact_key;
CREATE UNIQUE INDEX IF NOT EXISTS portal_open ON portal (number_id, contact) WHERE closed_at IS NULL;
