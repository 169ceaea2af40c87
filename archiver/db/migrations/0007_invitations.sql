-- Rooms that an archiver is invited to, or that go on in another one, until it has joined them. A homeserver tells of an invitation
-- once: it is kept with the page that tells of it, so that no crash and no outage between the two leaves a room without its archiver.

CREATE TABLE invitation (
    org               integer NOT NULL,
    user_id           text NOT NULL,           -- the archiver that is to join
    room_id           text NOT NULL,
    via               text NOT NULL,           -- a server to ask; empty where our own knows the room
    attempts          integer NOT NULL DEFAULT 0,
    due_at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, user_id, room_id)
);

ALTER TABLE invitation ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitation FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON invitation USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON invitation TO griffier_service;
