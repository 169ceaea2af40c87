-- Search by everything that is known of a message, at once, in ten million of them.

-- Its room, sender, time and what it has, as blind lexemes: archiver.reading.facts.
ALTER TYPE composed ADD ATTRIBUTE facts text;
ALTER TABLE message ADD facts tsvector NOT NULL DEFAULT '';

-- Messages of before: whoever projects reads them again. An owner who is no superuser sees no row of a table that forces
-- row-level security.
ALTER TABLE message NO FORCE ROW LEVEL SECURITY;
ALTER TABLE unread NO FORCE ROW LEVEL SECURITY;
INSERT INTO unread (org, room_id, event_id) SELECT org, room_id, event_id FROM message ON CONFLICT DO NOTHING;
ALTER TABLE message FORCE ROW LEVEL SECURITY;
ALTER TABLE unread FORCE ROW LEVEL SECURITY;

-- A search that somebody keeps. Its name and what it asks for say what content is about, so both are sealed.
CREATE TABLE saved_search (
    org               integer NOT NULL,
    search_id         uuid NOT NULL,
    person            text NOT NULL,           -- whose it is; nobody else sees it
    sealed            bytea NOT NULL,          -- by the organisation's key
    saved_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, search_id)
);
CREATE INDEX saved_search_person ON saved_search (org, person);
ALTER TABLE saved_search ENABLE ROW LEVEL SECURITY;
ALTER TABLE saved_search FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON saved_search USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON saved_search TO griffier_service;
