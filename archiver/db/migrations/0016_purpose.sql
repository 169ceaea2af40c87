-- Why somebody looks, long work for them in the background, and a trail of which a later change shows.

-- What an organisation asks of its readers before content opens: append-only, the last row holds. None: as the settings say.
CREATE TABLE purpose_policy (
    org               integer NOT NULL,
    number            bigint GENERATED ALWAYS AS IDENTITY,
    at                timestamptz NOT NULL DEFAULT now(),
    made_by           text NOT NULL,
    required          boolean NOT NULL,
    purposes          text[] NOT NULL,         -- to choose from
    free_text         boolean NOT NULL,        -- whether a purpose may be written that is not among them
    case_number       text NOT NULL CHECK (case_number IN ('no', 'optional', 'required')),
    case_pattern      text NOT NULL,           -- # a digit, @ a letter, ? any sign, * anything; empty: anything
    minutes           double precision NOT NULL CHECK (minutes > 0),
    PRIMARY KEY (org, number)
);
CREATE FUNCTION purpose_policy_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of policies is append-only';
END $$;
CREATE TRIGGER purpose_policy_append_only BEFORE UPDATE OR DELETE ON purpose_policy
    FOR EACH ROW EXECUTE FUNCTION purpose_policy_is_append_only();
CREATE TRIGGER purpose_policy_no_truncate BEFORE TRUNCATE ON purpose_policy
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

ALTER TABLE web_session ADD purpose text, ADD case_number text, ADD purpose_until timestamptz;
ALTER TABLE audit ADD purpose text, ADD case_number text;

-- Each act's place in a chain: HMAC-SHA-256 over the link before it, the act, and when it got its place (archiver.ledger.chain).
CREATE TABLE audit_link (
    org               integer NOT NULL,
    number            bigint NOT NULL,         -- from 1, without holes
    audit_id          uuid NOT NULL,
    link              bytea NOT NULL,
    linked_at         timestamptz NOT NULL,    -- by the clock of the service, not of the database
    PRIMARY KEY (org, number),
    UNIQUE (org, audit_id)
);
CREATE FUNCTION audit_link_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the chain of the audit trail is append-only';
END $$;
CREATE TRIGGER audit_link_append_only BEFORE UPDATE OR DELETE ON audit_link
    FOR EACH ROW EXECUTE FUNCTION audit_link_is_append_only();
CREATE TRIGGER audit_link_no_truncate BEFORE TRUNCATE ON audit_link
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

-- Acts that are yet to get theirs. They come here in the transaction of the act itself, however late that commits.
CREATE TABLE audit_unlinked (
    org               integer NOT NULL,
    audit_id          uuid NOT NULL,
    PRIMARY KEY (org, audit_id)
);
CREATE FUNCTION audit_to_link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_unlinked (org, audit_id) VALUES (NEW.org, NEW.audit_id);
    RETURN NULL;
END $$;
CREATE TRIGGER audit_to_link AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_to_link();

-- Acts of before the chain. An owner who is no superuser sees no row of a table that forces row-level security on it.
ALTER TABLE audit NO FORCE ROW LEVEL SECURITY;
INSERT INTO audit_unlinked (org, audit_id) SELECT org, audit_id FROM audit;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;

-- Long work that somebody asked for, done by whichever web process gets to it first.
CREATE TABLE job (
    org               integer NOT NULL,
    job_id            uuid NOT NULL,
    kind              text NOT NULL,           -- export, …
    person            text NOT NULL,           -- who asked, and the only one who gets the result
    purpose           text,                    -- under which they asked
    case_number       text,
    sealed_arguments  bytea NOT NULL,          -- what is asked, wrapped by the organisation's key: it may hold words to search for
    state             text NOT NULL DEFAULT 'waiting'
                      CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled', 'expired')),
    cancel            boolean NOT NULL DEFAULT false,
    attempt           integer NOT NULL DEFAULT 0,
    died              integer NOT NULL DEFAULT 0,   -- attempts that ended without a word; an orderly stop is none
    done              bigint NOT NULL DEFAULT 0,
    total             bigint,
    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    ended_at          timestamptz,
    problem           text,                    -- why it failed: a name, never content
    media_type        text,
    suffix            text,
    size              bigint,                  -- of the result, in bytes
    wrapped_key       bytea,                   -- of the result, wrapped by the organisation's key; gone with it
    until             timestamptz,             -- when the result is thrown away
    seen              boolean NOT NULL DEFAULT false,   -- by who asked, since it ended
    PRIMARY KEY (org, job_id)
);
CREATE INDEX job_person ON job (org, person, created_at DESC);
CREATE INDEX job_open ON job (org, created_at) WHERE state IN ('waiting', 'running');
CREATE INDEX job_kept ON job (org, until) WHERE state = 'done';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['purpose_policy', 'audit_link', 'audit_unlinked', 'job'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
END $$;
GRANT SELECT, INSERT ON purpose_policy, audit_link TO griffier_service;
GRANT SELECT, INSERT, DELETE ON audit_unlinked TO griffier_service;
GRANT SELECT, INSERT, UPDATE ON job TO griffier_service;
