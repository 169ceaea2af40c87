-- People on WhatsApp: each a set of names, with the time that each was theirs. A number alone is nobody.
CREATE TABLE IF NOT EXISTS person (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    localpart     text NOT NULL UNIQUE,          -- of their ghost, for ever
    shown         text NOT NULL DEFAULT '',      -- the profile that the homeserver has of it
    merged_into   bigint,                        -- proved to be somebody who was known already
    merged_by     text                           -- number|message that proved it
);
CREATE INDEX IF NOT EXISTS person_merged ON person (merged_into) WHERE merged_into IS NOT NULL;
CREATE TABLE IF NOT EXISTS identity (
    person        bigint NOT NULL,
    kind          text NOT NULL,                 -- wa_id, user_id, parent_user_id, username, name
    scope         text NOT NULL,                 -- user_id: the number that knows them by it; else empty
    value         text NOT NULL,
    valid_from    timestamptz NOT NULL,
    valid_until   timestamptz,
    source        text NOT NULL,                 -- number|message that said so
    ended_by      text                           -- number|message that said otherwise
);
CREATE UNIQUE INDEX IF NOT EXISTS identity_one ON identity (person, kind, scope) WHERE valid_until IS NULL;
CREATE INDEX IF NOT EXISTS identity_value ON identity (kind, value);
CREATE INDEX IF NOT EXISTS identity_ended ON identity (ended_by) WHERE ended_by IS NOT NULL;
-- How an official has written somebody down on the business phone; sealed, and shown in that official's own rooms only.
CREATE TABLE IF NOT EXISTS address_book (
    number_id     text NOT NULL,
    wa_id         text NOT NULL,
    sealed        bytea,                         -- none: taken out again
    said_at       timestamptz NOT NULL,
    PRIMARY KEY (number_id, wa_id)
);
-- A conversation is with a person or with a group; `contact` is where an answer goes now.
ALTER TABLE portal ADD COLUMN IF NOT EXISTS person bigint;
ALTER TABLE portal ADD COLUMN IF NOT EXISTS is_group boolean NOT NULL DEFAULT false;
ALTER TABLE portal ADD COLUMN IF NOT EXISTS made_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE portal ADD COLUMN IF NOT EXISTS shown text NOT NULL DEFAULT '';    -- digest of the state that the room has
ALTER TABLE portal ADD COLUMN IF NOT EXISTS timer integer NOT NULL DEFAULT 0;  -- seconds that messages last; 0: they stay
CREATE INDEX IF NOT EXISTS portal_person ON portal (person);
-- Messages whose file is still to come: what is shown in its place is filled in when it is there.
CREATE TABLE IF NOT EXISTS missing_file (
    number_id     text NOT NULL,
    message_id    text NOT NULL,
    room_id       text NOT NULL,
    event_id      text NOT NULL,
    sealed        bytea,                         -- the change, to fetch its file again; none: the network sends another
    attempts      integer NOT NULL DEFAULT 0,
    due_at        timestamptz,
    since         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (number_id, message_id)
);
CREATE INDEX IF NOT EXISTS missing_file_due ON missing_file (due_at) WHERE due_at IS NOT NULL;
-- Files fetched before their message has its turn: their addresses expire in minutes. Sealed.
CREATE TABLE IF NOT EXISTS fetched_file (
    number_id     text NOT NULL,
    media_id      text NOT NULL,
    sealed        bytea NOT NULL,
    fetched_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (number_id, media_id)
);
