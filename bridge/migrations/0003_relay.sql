-- Since when an item has not been carried over; the message that it waits for, beside the line of its conversation (state aside).
ALTER TABLE inbox ADD COLUMN IF NOT EXISTS waits_since timestamptz;
ALTER TABLE inbox ADD COLUMN IF NOT EXISTS awaits text;
ALTER TABLE inbox ADD COLUMN IF NOT EXISTS finished_at timestamptz;
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS waits_since timestamptz;
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS awaits text;
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS finished_at timestamptz;
-- Set before a message is given to WhatsApp and taken away when its fate is known: what has it at a start may be there already.
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS started_at timestamptz;
-- Until when the word of WhatsApp is waited for; then it is sent again.
ALTER TABLE outbox ADD COLUMN IF NOT EXISTS unsure_until timestamptz;
-- What is done is forgotten after a while: its id stays, so that a delivery that comes again changes nothing.
ALTER TABLE inbox ALTER COLUMN sealed DROP NOT NULL;
ALTER TABLE outbox ALTER COLUMN sealed DROP NOT NULL;

CREATE INDEX IF NOT EXISTS inbox_aside ON inbox (conversation, id) WHERE state = 'aside';
CREATE INDEX IF NOT EXISTS outbox_aside ON outbox (room_id, id) WHERE state = 'aside';
CREATE INDEX IF NOT EXISTS inbox_awaits ON inbox (awaits) WHERE state = 'aside';
CREATE INDEX IF NOT EXISTS outbox_awaits ON outbox (awaits) WHERE state = 'aside';
CREATE INDEX IF NOT EXISTS inbox_problem ON inbox (state) WHERE problem IS NOT NULL AND state IN ('kept', 'failed');
CREATE INDEX IF NOT EXISTS outbox_problem ON outbox (state) WHERE problem IS NOT NULL AND state IN ('kept', 'failed');
CREATE INDEX IF NOT EXISTS inbox_done ON inbox (finished_at) WHERE state = 'done' AND sealed IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_done ON outbox (finished_at) WHERE state = 'done' AND sealed IS NOT NULL;

-- A room that is being made: should we be ended before we know its id, it is looked for, not made twice.
CREATE TABLE IF NOT EXISTS portal_begun (
    number_id     text NOT NULL,
    contact       text NOT NULL,
    PRIMARY KEY (number_id, contact)
);

-- Key messages that have been taken, or could not be used: they come by two ways (bridge/missed.py), and count once.
CREATE TABLE IF NOT EXISTS key_taken (
    account       text NOT NULL,
    digest        bytea NOT NULL,
    taken_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, digest)
);
CREATE INDEX IF NOT EXISTS key_taken_at ON key_taken (taken_at);
