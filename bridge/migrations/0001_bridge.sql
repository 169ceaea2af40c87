-- The bridge's own database: what has come in and must go out, sealed, and which conversation is which room.
CREATE TABLE IF NOT EXISTS inbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dedupe        text NOT NULL UNIQUE,          -- a delivery that comes again changes nothing
    conversation  text NOT NULL,
    sealed        bytea NOT NULL,
    state         text NOT NULL DEFAULT 'waiting',   -- waiting, done, kept (nothing to bridge, or not understood)
    attempts      integer NOT NULL DEFAULT 0,
    due_at        timestamptz NOT NULL DEFAULT now(),
    problem       text,
    arrived_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS inbox_waiting ON inbox (conversation, id) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS rejected (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason        text NOT NULL,
    sealed        bytea NOT NULL,
    arrived_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id      text NOT NULL UNIQUE,
    room_id       text NOT NULL,
    sealed        bytea NOT NULL,
    state         text NOT NULL DEFAULT 'waiting',   -- waiting, done, failed
    attempts      integer NOT NULL DEFAULT 0,
    due_at        timestamptz NOT NULL DEFAULT now(),
    problem       text,
    arrived_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (room_id, id) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS portal (
    room_id       text PRIMARY KEY,
    number_id     text NOT NULL,
    contact       text NOT NULL,
    encrypted     boolean NOT NULL,
    UNIQUE (number_id, contact)
);
-- Which WhatsApp message is which Matrix event.
CREATE TABLE IF NOT EXISTS carried (
    number_id     text NOT NULL,
    message_id    text NOT NULL,
    room_id       text NOT NULL,
    event_id      text NOT NULL,
    PRIMARY KEY (number_id, message_id)
);
CREATE INDEX IF NOT EXISTS carried_event ON carried (event_id);
