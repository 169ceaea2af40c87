-- What the archive understands of conversations that a bridge carries over from another network.

-- Whom the archiver believes (`archiver.bridges`), for those who read: written when it starts.
ALTER TABLE seat ADD bridges text[] NOT NULL DEFAULT '{}';

-- Who an account was in a room, and when: its names, and of a bridge's ghost its phone number and other ids there. Made from the
-- ledger by the reading view. A row stands for one set of them on one day: what came in whatever order adds up to the same rows.
CREATE TABLE identity (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    user_id           text NOT NULL,
    origin            text NOT NULL,           -- member (an event of the room's membership) or message (what the bridge said with one)
    day               date NOT NULL,           -- by UTC
    digest            bytea NOT NULL,          -- blinded: which set it is
    first_at          timestamptz NOT NULL,
    first_event_id    text NOT NULL,
    last_at           timestamptz NOT NULL,
    sealed            bytea NOT NULL,          -- names and numbers are sealed, like the member events that they come from
    PRIMARY KEY (org, room_id, user_id, origin, day, digest)
);

-- A time in which a bridge did not cover a number, as the bridge itself says: one row for each, by the id that it gave it.
CREATE TABLE interruption (
    org               integer NOT NULL,
    told_by           text NOT NULL,           -- the bridge's account
    interruption_id   text NOT NULL,
    network           text NOT NULL,
    number_id         text,                    -- absent: all numbers of that bridge
    number            text,
    official          text,
    from_at           timestamptz NOT NULL,
    until_at          timestamptz,             -- null while it lasts
    cause             text NOT NULL,
    told_at           timestamptz NOT NULL,    -- the latest word on it
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    PRIMARY KEY (org, told_by, interruption_id)
);
CREATE INDEX interruption_open ON interruption (org) WHERE until_at IS NULL;

-- The latest word of a bridge on each of its alarms; those that are not cleared are alarms of the archive too.
CREATE TABLE bridge_alarm (
    org               integer NOT NULL,
    told_by           text NOT NULL,
    alarm_id          text NOT NULL,
    kind              text NOT NULL,
    subject           text NOT NULL,
    cleared           boolean NOT NULL,
    told_at           timestamptz NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    PRIMARY KEY (org, told_by, alarm_id)
);

-- Counted on every look at the metrics.
CREATE INDEX message_unreadable ON message (org) WHERE unreadable LIKE 'bridge:%';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['identity', 'interruption', 'bridge_alarm'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity, interruption, bridge_alarm TO griffier_service;
