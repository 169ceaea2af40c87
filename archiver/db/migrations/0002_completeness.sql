-- Completeness proved from the event graph, and what must be known of a key before its message is believed.

-- An event that others point at and that is no record (DESIGN D6).
CREATE TABLE gap (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,           -- the missing event
    state             text NOT NULL DEFAULT 'open',      -- open, kept (looked for in vain), filled
    cause             text,                    -- why it can't be had: not-visible, not-held, or what the homeserver said
    attempts          integer NOT NULL DEFAULT 0,
    due_at            timestamptz NOT NULL DEFAULT now(),
    found_at          timestamptz NOT NULL DEFAULT now(),
    settled_at        timestamptz,             -- when it was filled, or first kept
    PRIMARY KEY (org, room_id, event_id)
);
CREATE INDEX gap_due ON gap (org, due_at) WHERE state <> 'filled';

-- The newest event all of whose ancestors are there is looked up by depth.
CREATE INDEX record_depth ON record (org, room_id, depth DESC, event_id);

-- Edges of before this table was there. An owner who is no superuser sees no row of a table that forces row-level security on it.
ALTER TABLE edge NO FORCE ROW LEVEL SECURITY;
ALTER TABLE record NO FORCE ROW LEVEL SECURITY;
INSERT INTO gap (org, room_id, event_id)
SELECT DISTINCT org, room_id, prev_event_id FROM edge
WHERE NOT EXISTS (SELECT FROM record WHERE record.org = edge.org AND record.room_id = edge.room_id
                  AND record.event_id = edge.prev_event_id);
ALTER TABLE edge FORCE ROW LEVEL SECURITY;
ALTER TABLE record FORCE ROW LEVEL SECURITY;

ALTER TABLE stretch ADD attempts integer NOT NULL DEFAULT 0, ADD due_at timestamptz NOT NULL DEFAULT now();

-- Whose key opened a message, at which place in its session, and what speaks against believing it.
ALTER TABLE megolm_session ADD giver text;     -- the account whose device sent us the key; null in archives of before
ALTER TABLE record ADD message_index bigint, ADD doubts text[] NOT NULL DEFAULT '{}';
CREATE INDEX record_index ON record (org, room_id, session_id, message_index) WHERE message_index IS NOT NULL;

CREATE OR REPLACE FUNCTION record_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    addable CONSTANT text[] := '{sealed_payload,payload_type,opened_at,unreadable,message_index,doubts}';
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'the ledger is append-only: % may not be deleted', OLD.event_id;
    END IF;
    IF OLD.sealed_payload IS NOT NULL OR (to_jsonb(OLD) - addable) IS DISTINCT FROM (to_jsonb(NEW) - addable) THEN
        RAISE EXCEPTION 'the ledger is append-only: % may not be changed', OLD.event_id;
    END IF;
    RETURN NEW;
END $$;

-- The device behind a Megolm session as the homeserver showed it when the session came, and whether its owner vouched for it.
CREATE TABLE sender_device (
    org               integer NOT NULL,
    user_id           text NOT NULL,
    curve25519        text NOT NULL,
    ed25519           text NOT NULL,
    device_id         text NOT NULL,
    master_key        text,                    -- the account's cross-signing identity at that time
    cross_signed      boolean NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, user_id, curve25519)
);

-- Room keys that did not come and for which their senders' devices are asked.
CREATE TABLE key_request (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    session_id        text NOT NULL,
    sender            text NOT NULL,
    attempts          integer NOT NULL DEFAULT 0,
    due_at            timestamptz NOT NULL DEFAULT now() + interval '3 seconds',   -- most keys are only a little late
    PRIMARY KEY (org, room_id, session_id)
);
CREATE INDEX key_request_due ON key_request (org, due_at);

-- A process that drives a seat says every few seconds that it lives: one that is frozen keeps its lock but not its seat.
ALTER TABLE seat ADD alive_at timestamptz;

-- What an admin must do something about; gone once it is over.
CREATE TABLE alarm (
    org               integer NOT NULL,
    subject           text NOT NULL,           -- a room, an account
    kind              text NOT NULL,           -- can't-join, removed, no-notice, canary, …
    detail            text NOT NULL,
    raised_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, kind, subject)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['gap', 'sender_device', 'key_request', 'alarm'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON gap, key_request, alarm TO griffier_service;
GRANT SELECT, INSERT, UPDATE ON sender_device TO griffier_service;
GRANT UPDATE (message_index, doubts) ON record TO griffier_service;
