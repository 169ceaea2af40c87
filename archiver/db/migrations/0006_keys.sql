-- What proves a server's signature, and what is found out about one after the event came.

ALTER TABLE server_key ADD expired_at timestamptz;   -- since when the server itself calls it an old key

-- Each answer of a server about its keys, as it signed it: whoever doubts a signature can check it again from here.
CREATE TABLE server_key_answer (
    org               integer NOT NULL,
    server_name       text NOT NULL,
    digest            bytea NOT NULL,          -- SHA-256 of the answer
    answer            text NOT NULL,           -- canonical JSON, signatures included
    fetched_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, server_name, digest)
);

-- Events with a signature that could not be judged for want of the server's key, and the servers to ask for it.
CREATE TABLE signature_wait (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    server_name       text NOT NULL,
    PRIMARY KEY (org, room_id, event_id, server_name)
);
CREATE INDEX signature_wait_server ON signature_wait (org, server_name, room_id, event_id);
CREATE TABLE server_wait (
    org               integer NOT NULL,
    server_name       text NOT NULL,
    attempts          integer NOT NULL DEFAULT 0,
    due_at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, server_name)
);

-- What a check found when the key had come: beside the record, which stays as it was (promise 3).
CREATE TABLE later_check (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    checked_at        timestamptz NOT NULL DEFAULT now(),
    signed_by         text[] NOT NULL,
    unsigned_by       text[] NOT NULL,
    PRIMARY KEY (org, room_id, event_id, checked_at)
);
CREATE FUNCTION later_check_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: the later checks of % may not be changed', OLD.event_id;
END $$;
CREATE TRIGGER later_check_append_only BEFORE UPDATE OR DELETE ON later_check
    FOR EACH ROW EXECUTE FUNCTION later_check_is_append_only();
CREATE TRIGGER later_check_no_truncate BEFORE TRUNCATE ON later_check
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

-- What the virus scanner found: null when none was set as the file came, waiting, clean, infected.
ALTER TABLE media ADD scan text, ADD scanned_at timestamptz,
    ADD scan_note text,                        -- of an infected file: the scanner's own word for it
    ADD scan_attempts integer NOT NULL DEFAULT 0, ADD scan_due_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX media_scan ON media (scan_due_at) WHERE scan = 'waiting';

-- Up to where the room keys are backed up on the homeserver, for who wants that.
ALTER TABLE megolm_session ADD backed_up_at timestamptz;   -- in the version below; null again when a better key comes
CREATE INDEX megolm_session_to_back_up ON megolm_session (org, user_id, room_id, session_id) WHERE backed_up_at IS NULL;
ALTER TABLE seat ADD backup_version text;

-- Only who sent a message can say that its key is withheld, and may say so again for another reason.
ALTER TABLE withheld DROP CONSTRAINT withheld_pkey, ADD PRIMARY KEY (org, room_id, session_id, sender, code);

-- Who had read up to an event, and when; only where the organisation wants that kept.
CREATE TABLE receipt (
    org               integer NOT NULL,
    room_id           text NOT NULL,
    event_id          text NOT NULL,
    user_id           text NOT NULL,
    thread            text NOT NULL,           -- the thread's root, main, or empty: all threads
    read_at           timestamptz NOT NULL,    -- what the reader's server says
    received_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, room_id, event_id, user_id, thread)
);
CREATE FUNCTION receipt_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'receipts are append-only';
END $$;
CREATE TRIGGER receipt_append_only BEFORE UPDATE OR DELETE ON receipt
    FOR EACH ROW EXECUTE FUNCTION receipt_is_append_only();
CREATE TRIGGER receipt_no_truncate BEFORE TRUNCATE ON receipt
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

-- Records of before these tables were there. An owner who is no superuser sees no row of a table that forces row-level security.
ALTER TABLE record NO FORCE ROW LEVEL SECURITY;
INSERT INTO signature_wait (org, room_id, event_id, server_name)
SELECT org, room_id, event_id, unnest(unsigned_by) FROM record WHERE cardinality(unsigned_by) > 0 ON CONFLICT DO NOTHING;
INSERT INTO server_wait (org, server_name) SELECT DISTINCT org, server_name FROM signature_wait;
ALTER TABLE record FORCE ROW LEVEL SECURITY;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['server_key_answer', 'signature_wait', 'server_wait', 'later_check', 'receipt'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
END $$;
GRANT SELECT, INSERT ON server_key_answer, later_check, receipt TO griffier_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON signature_wait, server_wait TO griffier_service;
