-- The ledger and the archiver's seat.
--
-- Every table carries the organisation and is under row-level security. Requests run as the role griffier_service
-- (no BYPASSRLS, owner of nothing); archiver.db.tenant_tx() switches to it and names the organisation.
-- No foreign key crosses tables that grow with messages: they distribute by room (DESIGN D13).

CREATE TABLE organisation (
    org               integer PRIMARY KEY,
    name              text NOT NULL,
    search_key        bytea NOT NULL,          -- key of the blind index, wrapped by the organisation's key
    created_at        timestamptz NOT NULL DEFAULT now()
);

-- One data key per room and month of sending; destroying the row destroys what it sealed, in back-ups too.
CREATE TABLE data_key (
    org               integer NOT NULL,
    key_id            uuid NOT NULL,
    room_id           text NOT NULL,
    month             date NOT NULL,
    wrapped           bytea NOT NULL,
    wrapped_by        text NOT NULL,           -- which organisation key wrapped it
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id, key_id),
    UNIQUE (org, room_id, month)
);

-- One row per captured event, append-only (promise 3). Who, where, when and the type are plain; what was said is sealed.
CREATE TABLE record (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    source            text NOT NULL DEFAULT 'matrix',
    type              text NOT NULL,           -- the type on the wire: m.room.encrypted for an encrypted message
    state_key         text,
    sender            text NOT NULL,
    sent_at           timestamptz NOT NULL,    -- what the sending server says
    captured_at       timestamptz NOT NULL DEFAULT now(),
    depth             bigint NOT NULL,
    rel_type          text,                    -- m.replace, m.annotation, m.thread, … or m.redaction
    relates_to        text,
    id_matches        boolean NOT NULL,
    content_matches   boolean NOT NULL,        -- false on an authentic id: pruned before we saw it (D7)
    signed_by         text[] NOT NULL,
    unsigned_by       text[] NOT NULL,
    session_id        text,                    -- Megolm session, for encrypted events
    sealed_event      bytea NOT NULL,          -- the signed event and the salt of its commitment
    commitment        bytea NOT NULL,          -- HMAC-SHA-256(salt, event): the leaf for the log (D11)
    sealed_payload    bytea,                   -- what it says, once readable: set once, never changed
    payload_type      text,                    -- m.room.message, … of the decrypted payload
    opened_at         timestamptz,
    unreadable        text,                    -- why it can't be read as yet
    PRIMARY KEY (org, room_id, event_id)
);
CREATE INDEX record_relation ON record (org, room_id, relates_to) WHERE relates_to IS NOT NULL;
CREATE INDEX record_state ON record (org, room_id, type, state_key, depth DESC) WHERE state_key IS NOT NULL;
CREATE INDEX record_unreadable ON record (org, room_id, session_id) WHERE unreadable IS NOT NULL;
CREATE INDEX record_time ON record (org, room_id, sent_at);

CREATE FUNCTION record_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'the ledger is append-only: % may not be deleted', OLD.event_id;
    END IF;
    IF OLD.sealed_payload IS NOT NULL
       OR (to_jsonb(OLD) - '{sealed_payload,payload_type,opened_at,unreadable}'::text[])
          IS DISTINCT FROM (to_jsonb(NEW) - '{sealed_payload,payload_type,opened_at,unreadable}'::text[]) THEN
        RAISE EXCEPTION 'the ledger is append-only: % may not be changed', OLD.event_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER record_append_only BEFORE UPDATE OR DELETE ON record
    FOR EACH ROW EXECUTE FUNCTION record_is_append_only();
CREATE FUNCTION ledger_is_never_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % may not be truncated', TG_TABLE_NAME;
END $$;
CREATE TRIGGER record_no_truncate BEFORE TRUNCATE ON record
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

-- What each event says came before it. An edge to an event that is no record is a hole (D6).
CREATE TABLE edge (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    prev_event_id     text NOT NULL,
    PRIMARY KEY (org, room_id, event_id, prev_event_id)
);
CREATE INDEX edge_prev ON edge (org, room_id, prev_event_id);

-- What arrived and could not be understood as an event: kept as it came, sealed.
CREATE TABLE oddity (
    org               integer NOT NULL,
    oddity_id         uuid NOT NULL,
    room_id           text NOT NULL,
    reason            text NOT NULL,
    sealed            bytea NOT NULL,
    arrived_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id, oddity_id)
);

-- Records of which the reading view must be made again; filled in the transaction that changes the ledger.
CREATE TABLE unread (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    PRIMARY KEY (org, room_id, event_id)
);

-- A room the archiver is or was in.
CREATE TABLE room (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    version           text NOT NULL,
    encrypted         boolean NOT NULL DEFAULT false,
    membership        text NOT NULL,           -- the archiver's own
    membership_why    text,
    notice_event_id   text,
    notice_seen_at    timestamptz,             -- when the server itself showed the notice in the room
    first_seen_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id)
);

-- A stretch of history still to be fetched: from `token` back to what is stored already.
CREATE TABLE stretch (
    org               integer NOT NULL,
    stretch_id        uuid NOT NULL,
    room_id           text NOT NULL,
    token             text NOT NULL,
    cause             text NOT NULL,           -- joined, limited
    until_known       boolean NOT NULL,        -- stop at the first page that holds nothing new
    failed            text,                    -- why it can't be fetched
    found_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id, stretch_id)
);

-- Media to be fetched and where it is kept.
CREATE TABLE media (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    part              text NOT NULL,           -- file or thumbnail
    sealed_source     bytea NOT NULL,          -- mxc address, key, hash, name, type
    state             text NOT NULL DEFAULT 'waiting',   -- waiting, stored, failed
    attempts          integer NOT NULL DEFAULT 0,
    due_at            timestamptz NOT NULL DEFAULT now(),
    problem           text,
    address           bytea,                   -- blinded hash of the content: name of the sealed file
    size              bigint,
    stored_at         timestamptz,
    PRIMARY KEY (org, room_id, event_id, part)
);
CREATE INDEX media_waiting ON media (due_at) WHERE state = 'waiting';

-- The archiver's device: everything it needs to go on elsewhere (D4).
CREATE TABLE seat (
    org               integer NOT NULL,
    user_id           text NOT NULL,
    device_id         text,
    sealed_secrets    bytea NOT NULL,          -- pickle key, access token, seeds of cross-signing
    account           bytea,                   -- pickled under the pickle key
    account_shared    boolean NOT NULL DEFAULT false,
    sync_token        text,
    capturing         boolean NOT NULL DEFAULT false,
    state             text NOT NULL DEFAULT 'new',
    signed_at         timestamptz,             -- when the server itself showed our device as signed
    seen_at           timestamptz,             -- last committed sync
    PRIMARY KEY (org, user_id)
);
CREATE TABLE olm_session (
    org               integer NOT NULL,
    user_id           text NOT NULL,
    sender_key        text NOT NULL,
    session_id        text NOT NULL,
    pickle            bytea NOT NULL,
    created_at        timestamptz NOT NULL,
    used_at           timestamptz NOT NULL,
    PRIMARY KEY (org, user_id, sender_key, session_id)
);
CREATE TABLE megolm_session (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    session_id        text NOT NULL,
    user_id           text NOT NULL,           -- the seat that received it
    sender_key        text NOT NULL,
    signing_key       text NOT NULL,
    first_index       bigint NOT NULL,
    forwarded         boolean NOT NULL DEFAULT false,
    pickle            bytea NOT NULL,
    received_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id, session_id, user_id)
);
CREATE TABLE withheld (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    session_id        text NOT NULL,
    code              text NOT NULL,
    sender            text NOT NULL,
    received_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id, session_id)
);
CREATE TABLE server_key (
    server_name       text NOT NULL,
    key_id            text NOT NULL,
    public_key        text NOT NULL,
    valid_until       timestamptz,
    fetched_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server_name, key_id)
);

-- Who looked at, searched, exported or changed what (promise 5). Never content.
CREATE TABLE audit (
    org               integer NOT NULL,
    audit_id          uuid NOT NULL,
    at                timestamptz NOT NULL DEFAULT now(),
    actor             text NOT NULL,
    action            text NOT NULL,
    room_id           text,
    detail            jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (org, audit_id)
);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

-- The current view: one row per message, made again from the ledger by `griffier rebuild`.
CREATE TABLE message (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    sender            text NOT NULL,
    kind              text NOT NULL,           -- text, notice, image, file, audio, video, …, unreadable, other
    sent_at           timestamptz NOT NULL,
    depth             bigint NOT NULL,
    network           text NOT NULL DEFAULT 'matrix',
    edits             integer NOT NULL DEFAULT 0,
    reactions         integer NOT NULL DEFAULT 0,
    reply_to          text,
    thread            text,
    deleted_at        timestamptz,
    deleted_by        text,
    pruned            boolean NOT NULL DEFAULT false,   -- deleted before it could be archived
    unreadable        text,
    words             tsvector NOT NULL DEFAULT '',     -- blind index: HMAC-ed stems with positions
    PRIMARY KEY (org, room_id, event_id)
);
CREATE INDEX message_words ON message USING gin (words);
CREATE INDEX message_time ON message (org, sent_at DESC);
CREATE INDEX message_room ON message (org, room_id, sent_at, depth, event_id);

DO $$
DECLARE
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'griffier_service') THEN
        CREATE ROLE griffier_service NOLOGIN NOBYPASSRLS;
    END IF;
    EXECUTE format('GRANT griffier_service TO %I', current_user);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO griffier_service', current_schema());
    FOREACH name IN ARRAY ARRAY['organisation','data_key','record','edge','oddity','unread','room','stretch','media','seat',
                                'olm_session','megolm_session','withheld','audit','message'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
    GRANT SELECT, INSERT ON record, edge, oddity, audit, organisation, data_key, withheld TO griffier_service;
    GRANT UPDATE (sealed_payload, payload_type, opened_at, unreadable) ON record TO griffier_service;
    GRANT SELECT, INSERT, UPDATE, DELETE ON unread, room, stretch, media, seat, olm_session, megolm_session, message TO griffier_service;
    GRANT SELECT, INSERT, UPDATE ON server_key TO griffier_service;
    -- Row-level security switches the search index off unless the match is leakproof (DESIGN D17); needs a superuser.
    BEGIN
        ALTER FUNCTION pg_catalog.ts_match_vq(tsvector, tsquery) LEAKPROOF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'search will be slow until a superuser runs: ALTER FUNCTION ts_match_vq(tsvector, tsquery) LEAKPROOF';
    END;
END $$;
