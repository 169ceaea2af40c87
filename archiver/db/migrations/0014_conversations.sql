-- What pages read of conversations, so that ten thousand of them, or a million messages in one, cost no more than a few.

-- One row per room: what the list of conversations selects and sorts by. What a room is called stays sealed.
CREATE TABLE conversation (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    network           text NOT NULL DEFAULT 'matrix',    -- by the word of a believed bridge
    official          text,                    -- whose conversation it is on that network
    messages          bigint NOT NULL DEFAULT 0,
    unreadable        bigint NOT NULL DEFAULT 0,
    deleted           bigint NOT NULL DEFAULT 0,
    pruned            bigint NOT NULL DEFAULT 0,
    first_at          timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',   -- of a message; of none, the year 1
    last_at           timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
    PRIMARY KEY (org, room_id)
);
CREATE INDEX conversation_last ON conversation (org, last_at DESC, room_id);
CREATE INDEX conversation_official ON conversation (org, official) WHERE official IS NOT NULL;

-- The counts are kept by the transaction that changes the messages, whoever changes them. One projector works at a time.
CREATE FUNCTION conversation_counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A table that is not there for this kind of change is not named in what runs.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO conversation AS c (org, room_id, messages, unreadable, deleted, pruned)
        SELECT org, room_id, count(*), count(unreadable), count(deleted_at), count(*) FILTER (WHERE pruned) FROM added GROUP BY 1, 2
        ON CONFLICT (org, room_id) DO UPDATE SET messages = c.messages + excluded.messages,
            unreadable = c.unreadable + excluded.unreadable, deleted = c.deleted + excluded.deleted, pruned = c.pruned + excluded.pruned;
        UPDATE conversation AS c SET last_at = greatest(c.last_at, a.last_at),
            first_at = CASE WHEN c.messages = a.messages THEN a.first_at ELSE least(c.first_at, a.first_at) END
        FROM (SELECT org, room_id, count(*) AS messages, min(sent_at) AS first_at, max(sent_at) AS last_at FROM added GROUP BY 1, 2) AS a
        WHERE c.org = a.org AND c.room_id = a.room_id;
    ELSIF TG_OP = 'UPDATE' THEN
        -- When something was sent is of the ledger and does not change.
        UPDATE conversation AS c SET unreadable = c.unreadable + d.unreadable, deleted = c.deleted + d.deleted,
            pruned = c.pruned + d.pruned
        FROM (SELECT org, room_id, sum(n * (unreadable IS NOT NULL)::int) AS unreadable, sum(n * (deleted_at IS NOT NULL)::int) AS deleted,
                     sum(n * pruned::int) AS pruned
              FROM (SELECT 1 AS n, org, room_id, unreadable, deleted_at, pruned FROM added
                    UNION ALL SELECT -1, org, room_id, unreadable, deleted_at, pruned FROM removed) AS both_of_them GROUP BY 1, 2) AS d
        WHERE c.org = d.org AND c.room_id = d.room_id AND (d.unreadable, d.deleted, d.pruned) <> (0, 0, 0);
    ELSE
        UPDATE conversation AS c SET messages = c.messages - d.messages, unreadable = c.unreadable - d.unreadable,
            deleted = c.deleted - d.deleted, pruned = c.pruned - d.pruned,
            first_at = coalesce((SELECT min(sent_at) FROM message WHERE message.org = c.org AND message.room_id = c.room_id), '0001-01-01 00:00:00+00'),
            last_at = coalesce((SELECT max(sent_at) FROM message WHERE message.org = c.org AND message.room_id = c.room_id), '0001-01-01 00:00:00+00')
        FROM (SELECT org, room_id, count(*) AS messages, count(unreadable) AS unreadable, count(deleted_at) AS deleted,
                     count(*) FILTER (WHERE pruned) AS pruned FROM removed GROUP BY 1, 2) AS d
        WHERE c.org = d.org AND c.room_id = d.room_id;
    END IF;
    RETURN NULL;
END $$;

-- A room is a conversation before anything is said in it.
CREATE FUNCTION room_is_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO conversation (org, room_id) VALUES (NEW.org, NEW.room_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER room_is_conversation AFTER INSERT ON room FOR EACH ROW EXECUTE FUNCTION room_is_conversation();

-- Of before this table was there. An owner who is no superuser sees no row of a table that forces row-level security.
ALTER TABLE room NO FORCE ROW LEVEL SECURITY;
ALTER TABLE message NO FORCE ROW LEVEL SECURITY;
ALTER TABLE record NO FORCE ROW LEVEL SECURITY;
ALTER TABLE unread NO FORCE ROW LEVEL SECURITY;
INSERT INTO conversation (org, room_id) SELECT org, room_id FROM room;
INSERT INTO conversation (org, room_id, messages, unreadable, deleted, pruned, first_at, last_at)
SELECT org, room_id, count(*), count(unreadable), count(deleted_at), count(*) FILTER (WHERE pruned), min(sent_at), max(sent_at)
FROM message GROUP BY 1, 2
ON CONFLICT (org, room_id) DO UPDATE SET messages = excluded.messages, unreadable = excluded.unreadable, deleted = excluded.deleted,
    pruned = excluded.pruned, first_at = excluded.first_at, last_at = excluded.last_at;
-- Which network a room is of is sealed: whoever projects reads it again.
INSERT INTO unread (org, room_id, event_id)
SELECT org, room_id, event_id FROM record WHERE type IN ('m.bridge', 'uk.half-shot.bridge') AND state_key IS NOT NULL
ON CONFLICT DO NOTHING;
ALTER TABLE room FORCE ROW LEVEL SECURITY;
ALTER TABLE message FORCE ROW LEVEL SECURITY;
ALTER TABLE record FORCE ROW LEVEL SECURITY;
ALTER TABLE unread FORCE ROW LEVEL SECURITY;

CREATE TRIGGER message_added AFTER INSERT ON message REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION conversation_counts();
CREATE TRIGGER message_changed AFTER UPDATE ON message REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION conversation_counts();
CREATE TRIGGER message_removed AFTER DELETE ON message REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION conversation_counts();

ALTER TABLE conversation ENABLE ROW LEVEL SECURITY;
ALTER TABLE conversation FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON conversation USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON conversation TO griffier_service;
-- What was counted is of the whole conversation, also of when an official was not there: they see none of it but whose it is.
CREATE POLICY official ON conversation AS RESTRICTIVE FOR SELECT TO griffier_official USING (EXISTS (
    SELECT FROM membership AS m WHERE m.org = conversation.org AND m.room_id = conversation.room_id
    AND m.user_id = (SELECT current_setting('griffier.reader', true))));
GRANT SELECT (org, room_id, network, official) ON conversation TO griffier_official;
