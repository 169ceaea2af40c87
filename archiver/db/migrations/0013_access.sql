-- Who may open what in the web application, who is signed in, and what an official may see.

-- A session. The cookie's token is not here, only its SHA-256: who reads this table can't use a session.
CREATE TABLE web_session (
    org               integer NOT NULL,
    session_id        uuid NOT NULL,
    token_hash        bytea NOT NULL,
    issuer            text NOT NULL,
    subject           text NOT NULL,           -- the identity provider's `sub` and `sid`: how it names them when it ends a session
    sid               text,
    person            text NOT NULL,           -- how the audit trail and the roles name somebody
    name              text NOT NULL,           -- for people to read
    matrix_id         text,
    roles             text[] NOT NULL,         -- those of the claims; what an admin assigned is looked up at each request
    sealed_id_token   bytea NOT NULL,          -- wrapped by the organisation's key; the provider wants it when they sign out
    started_at        timestamptz NOT NULL DEFAULT now(),
    seen_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, session_id),
    UNIQUE (org, token_hash)
);
CREATE INDEX web_session_subject ON web_session (org, issuer, subject);

-- Somebody on their way to the identity provider and back; used once.
CREATE TABLE sign_in_attempt (
    org               integer NOT NULL,
    state_hash        bytea NOT NULL,
    browser_hash      bytea NOT NULL,          -- of a cookie: the answer must come to the browser that asked
    return_to         text NOT NULL,
    made_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, state_hash)
);

-- Logout tokens that were obeyed; none is obeyed twice.
CREATE TABLE logout_token (
    org               integer NOT NULL,
    issuer            text NOT NULL,
    jti_hash          bytea NOT NULL,
    until             timestamptz NOT NULL,
    PRIMARY KEY (org, issuer, jti_hash)
);

-- Roles given and taken, append-only: what holds now is the last word on each person and role.
CREATE TABLE role_change (
    org               integer NOT NULL,
    number            bigint GENERATED ALWAYS AS IDENTITY,
    at                timestamptz NOT NULL DEFAULT now(),
    made_by           text NOT NULL,
    person            text NOT NULL,
    role              text NOT NULL,
    granted           boolean NOT NULL,
    matrix_id         text,                    -- whose conversations an official sees
    reason            text,
    PRIMARY KEY (org, number)
);
CREATE INDEX role_change_person ON role_change (org, person, role, number DESC);
CREATE FUNCTION role_change_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of roles is append-only';
END $$;
CREATE TRIGGER role_change_append_only BEFORE UPDATE OR DELETE ON role_change
    FOR EACH ROW EXECUTE FUNCTION role_change_is_append_only();
CREATE TRIGGER role_change_no_truncate BEFORE TRUNCATE ON role_change
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

-- When somebody was in a room: from a join to what ended it. Made from the ledger when they come to read.
CREATE TABLE membership (
    org               integer NOT NULL,
    user_id           text NOT NULL,
    room_id           text NOT NULL,
    from_depth        bigint NOT NULL,
    from_at           timestamptz NOT NULL,
    until_depth       bigint NOT NULL,         -- the largest there is: still a member
    until_at          timestamptz NOT NULL,
    PRIMARY KEY (org, user_id, room_id, from_depth)
);
CREATE INDEX record_member ON record (org, state_key) WHERE type = 'm.room.member';

-- The trail as auditors read it: newest first, of one person or of one kind of act.
CREATE INDEX audit_actor ON audit (org, actor, audit_id DESC);
CREATE INDEX audit_action ON audit (org, action, audit_id DESC);

DO $$
DECLARE
    name text;
    member text := $m$EXISTS (SELECT FROM membership AS m WHERE m.org = %1$I.org AND m.room_id = %1$I.room_id
                       AND m.user_id = (SELECT current_setting('griffier.reader', true)) %2$s)$m$;
    during text := 'AND %1$I.depth BETWEEN m.from_depth AND m.until_depth AND %1$I.sent_at BETWEEN m.from_at AND m.until_at';
BEGIN
    FOREACH name IN ARRAY ARRAY['web_session','sign_in_attempt','logout_token','role_change','membership'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
    GRANT SELECT, INSERT, UPDATE, DELETE ON web_session, sign_in_attempt, logout_token, membership TO griffier_service;
    GRANT SELECT, INSERT ON role_change TO griffier_service;

    -- A reader who sees only the rooms in which they were, as they were then. It has the service's rights, less what these
    -- policies take away; the service itself is not touched by them, nor slowed down.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'griffier_official') THEN
        CREATE ROLE griffier_official NOLOGIN NOBYPASSRLS;
    END IF;
    EXECUTE format('GRANT griffier_official TO %I', current_user);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO griffier_official', current_schema());
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO griffier_official', current_schema());
    REVOKE ALL ON web_session, sign_in_attempt, logout_token, role_change, audit, oddity FROM griffier_official;
    -- What says nothing of its place in the conversation is a room's as a whole.
    FOR name IN SELECT DISTINCT c.table_name FROM information_schema.columns AS c JOIN pg_class AS t ON t.relname = c.table_name
                WHERE c.table_schema = current_schema() AND c.column_name = 'room_id' AND t.relkind = 'r'
                  AND t.relnamespace = current_schema()::regnamespace
                  AND c.table_name NOT IN ('record', 'message', 'media', 'membership', 'identity', 'interruption') LOOP
        EXECUTE format('CREATE POLICY official ON %I AS RESTRICTIVE FOR SELECT TO griffier_official USING (' ||
                       format(member, name, '') || ')', name);
    END LOOP;
    EXECUTE 'CREATE POLICY official ON message AS RESTRICTIVE FOR SELECT TO griffier_official USING (' ||
            format(member, 'message', format(during, 'message')) || ')';
    -- Of the state of a room (its name, its members) also what was so before they came; nothing of after they left.
    EXECUTE 'CREATE POLICY official ON record AS RESTRICTIVE FOR SELECT TO griffier_official USING (' ||
            format(member, 'record', format(during, 'record')) || ' OR record.state_key IS NOT NULL AND ' ||
            format(member, 'record', 'AND record.depth <= m.until_depth AND record.sent_at <= m.until_at') || ')';
    EXECUTE 'CREATE POLICY official ON identity AS RESTRICTIVE FOR SELECT TO griffier_official USING (' ||
            format(member, 'identity', 'AND identity.first_at <= m.until_at') || ')';
    -- When their own number was not covered is theirs to know, wherever the bridge said it.
    EXECUTE 'CREATE POLICY official ON interruption AS RESTRICTIVE FOR SELECT TO griffier_official USING (' ||
            format(member, 'interruption', '') || $o$ OR official = (SELECT current_setting('griffier.reader', true)))$o$;
    CREATE POLICY official ON media AS RESTRICTIVE FOR SELECT TO griffier_official USING (EXISTS (
        SELECT FROM record WHERE record.org = media.org AND record.room_id = media.room_id AND record.event_id = media.event_id));
    CREATE POLICY official ON membership AS RESTRICTIVE FOR SELECT TO griffier_official
        USING (user_id = (SELECT current_setting('griffier.reader', true)));
END $$;
