-- What an item has been waiting for since waits_since: the time that it waited for something else is not held against it.
ALTER TABLE inbox ADD COLUMN IF NOT EXISTS waits_for text;
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS waits_for text;
-- An edit or a deletion whose message never came has been told of, and still follows it for a week (awaits stays).
CREATE INDEX IF NOT EXISTS inbox_kept_awaits ON inbox (awaits) WHERE state = 'kept' AND awaits IS NOT NULL;
-- What the bridge itself puts in the outbox (receipts, strangers to be told) goes behind a room's messages and holds none up.
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS lane text
    GENERATED ALWAYS AS (CASE WHEN starts_with(event_id, 'nl.griffier.') THEN 'behind|' || room_id ELSE room_id END) STORED;
CREATE INDEX IF NOT EXISTS outbox_lane_waiting ON outbox (lane, id) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS outbox_lane_aside ON outbox (lane, id) WHERE state = 'aside';
-- What waits is looked through for files again and again, past all that is done.
CREATE INDEX IF NOT EXISTS inbox_unfinished ON inbox (id) WHERE state IN ('waiting', 'aside');
-- Whose file it is: it is kept as long as its message waits.
ALTER TABLE fetched_file ADD COLUMN IF NOT EXISTS dedupe text;
-- Attempts at showing a file, apart from those at fetching it.
ALTER TABLE missing_file ADD COLUMN IF NOT EXISTS troubles integer NOT NULL DEFAULT 0;
-- How far WhatsApp is in telling a number's history, and what of that the management room has been told.
CREATE TABLE IF NOT EXISTS history_import (
    number_id     text NOT NULL,
    phase         integer NOT NULL,
    percent       integer NOT NULL,
    began_at      timestamptz NOT NULL DEFAULT now(),
    at            timestamptz NOT NULL DEFAULT now(),
    told          text NOT NULL DEFAULT '',      -- '', began, whole
    PRIMARY KEY (number_id, phase)
);
-- What is forgotten by age.
CREATE INDEX IF NOT EXISTS noticed_day ON noticed (day);
CREATE INDEX IF NOT EXISTS withdrawn_at ON withdrawn (at);
CREATE INDEX IF NOT EXISTS delivery_at ON delivery (at);
