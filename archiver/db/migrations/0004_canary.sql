-- The canary: rounds of a test pair through the whole chain, and how long the archive took for each part of one.

-- Append-only; old rounds are thrown away. Never what was said: that is in the ledger, like all that people say.
CREATE TABLE canary_round (
    org               integer NOT NULL,
    round_id          uuid NOT NULL,
    started_at        timestamptz NOT NULL,
    ended_at          timestamptz NOT NULL DEFAULT now(),
    room_id           text,                    -- the pair's room; null when there was none to be had
    heard             boolean NOT NULL,        -- the other one of the pair received and read the message
    message_ms        integer,                 -- from when the homeserver took it until it was here and readable; null: it lacks
    edit_ms           integer,
    file_ms           integer,
    deletion_ms       integer,
    lacking           jsonb NOT NULL DEFAULT '{}',   -- for each part that lacks, why
    PRIMARY KEY (org, round_id)
);
CREATE INDEX canary_round_time ON canary_round (org, started_at DESC);

-- Counted on every look at the metrics.
CREATE INDEX media_failed ON media (org) WHERE state = 'failed';

ALTER TABLE canary_round ENABLE ROW LEVEL SECURITY;
ALTER TABLE canary_round FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON canary_round USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
GRANT SELECT, INSERT, DELETE ON canary_round TO griffier_service;
