-- One event can become several messages: which part of how many a message is; which event shows its text, if not the event itself
-- (a template is asked for by a command); and whether it was said by the other side, so that it can be told to have been read.
ALTER TABLE carried ADD COLUMN IF NOT EXISTS part smallint NOT NULL DEFAULT 1;
ALTER TABLE carried ADD COLUMN IF NOT EXISTS parts smallint NOT NULL DEFAULT 1;
ALTER TABLE carried ADD COLUMN IF NOT EXISTS shown text;
ALTER TABLE carried ADD COLUMN IF NOT EXISTS heard boolean NOT NULL DEFAULT false;
ALTER TABLE carried ADD COLUMN IF NOT EXISTS carried_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX IF NOT EXISTS carried_shown ON carried (shown) WHERE shown IS NOT NULL;
CREATE INDEX IF NOT EXISTS carried_heard ON carried (room_id, carried_at) WHERE heard;
CREATE INDEX IF NOT EXISTS reaction_event ON reaction (event_id);
CREATE INDEX IF NOT EXISTS outbox_held ON outbox (room_id, id) WHERE state = 'held';   -- until the other side says something again

-- How far each message got with each receiver; never back from read to delivered.
CREATE TABLE IF NOT EXISTS delivery (
    number_id     text NOT NULL,
    message_id    text NOT NULL,
    recipient     text NOT NULL,                 -- empty: of a group as a whole
    state         text NOT NULL,
    at            timestamptz,
    PRIMARY KEY (number_id, message_id, recipient)
);
-- When the other side of a conversation last said something: WhatsApp's window of 24 hours.
CREATE TABLE IF NOT EXISTS spoken (
    number_id     text NOT NULL,
    contact       text NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (number_id, contact)
);
-- Up to where the other side was told that it was read.
CREATE TABLE IF NOT EXISTS seen (
    room_id       text PRIMARY KEY,
    carried_at    timestamptz NOT NULL
);
-- What a room was told, so that it is not told every time.
CREATE TABLE IF NOT EXISTS noticed (
    room_id       text NOT NULL,
    kind          text NOT NULL,
    day           date NOT NULL,
    PRIMARY KEY (room_id, kind, day)
);
-- The templates as they were last numbered in a room.
CREATE TABLE IF NOT EXISTS offer (
    event_id      text PRIMARY KEY,
    room_id       text NOT NULL,
    names         text[] NOT NULL,               -- "name language" of each, in the order of their numbers
    at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS offer_room ON offer (room_id, at);
-- Messages that were deleted before they were sent.
CREATE TABLE IF NOT EXISTS withdrawn (
    event_id      text PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT now()
);
