-- What the API needs: personal access tokens, and an order in which messages came or changed.

-- A token of somebody's own programs. Only its SHA-256 is here: who reads this table can't use a token.
CREATE TABLE personal_token (
    org               integer NOT NULL,
    token_id          uuid NOT NULL,
    token_hash        bytea NOT NULL,
    issuer            text NOT NULL,           -- whose it is, as the identity provider names them
    subject           text NOT NULL,
    person            text NOT NULL,           -- as the audit trail and the roles name them
    name              text NOT NULL,
    matrix_id         text,                    -- those of the claims at their last sign-in; what an admin assigned is looked up
    roles             text[] NOT NULL,
    claimed_at        timestamptz NOT NULL DEFAULT now(),   -- when that was: the claims count for some days only
    label             text NOT NULL,
    scopes            text[] NOT NULL,
    made_at           timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    used_at           timestamptz,
    PRIMARY KEY (org, token_id),
    UNIQUE (org, token_hash),
    CHECK (expires_at <= made_at + interval '366 days')
);
CREATE INDEX personal_token_subject ON personal_token (org, issuer, subject);
ALTER TABLE personal_token ENABLE ROW LEVEL SECURITY;
ALTER TABLE personal_token FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON personal_token USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON personal_token TO griffier_service;

-- Rises with each message that is new or changed. One projector works at a time for an organisation and keeps its lock until it
-- commits, so whoever has read up to a number misses nothing that gets a lower one.
-- A message of before has none until it is projected again, which 0015 asks of all: an identity would rewrite the whole table now.
ALTER TABLE message ADD sequence bigint;
CREATE SEQUENCE message_sequence_number OWNED BY message.sequence;
ALTER TABLE message ALTER sequence SET DEFAULT nextval('message_sequence_number');
GRANT USAGE ON SEQUENCE message_sequence_number TO griffier_service;
