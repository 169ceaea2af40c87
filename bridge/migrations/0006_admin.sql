-- Whose numbers the bridge serves, since when and by whose word; what was not covered, and what an admin must look at.
CREATE TABLE IF NOT EXISTS account (
    waba_id       text PRIMARY KEY,              -- '' is the account of the settings file, and has no row
    name          text NOT NULL DEFAULT '',
    token         bytea NOT NULL,                -- sealed
    app_secret    bytea,                         -- sealed; none: bridge.app_secret
    added_at      timestamptz NOT NULL DEFAULT now(),
    added_by      text NOT NULL,
    removed_at    timestamptz,
    removed_by    text
);
CREATE TABLE IF NOT EXISTS number (
    number_id     text PRIMARY KEY,
    waba_id       text NOT NULL DEFAULT '',
    display       text NOT NULL,
    label         text NOT NULL DEFAULT '',
    per_second    real NOT NULL DEFAULT 0,       -- 0: bridge.messages_per_second
    paused_at     timestamptz,
    in_settings   text,                          -- the official that the settings file last named; none: added by an admin
    added_at      timestamptz NOT NULL DEFAULT now(),
    added_by      text NOT NULL,
    removed_at    timestamptz,
    removed_by    text
);
-- Who may speak for a number, and who might before: nothing is overwritten.
CREATE TABLE IF NOT EXISTS assignment (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number_id     text NOT NULL,
    user_id       text NOT NULL,
    role          text NOT NULL CHECK (role IN ('official', 'colleague')),
    valid_from    timestamptz NOT NULL DEFAULT now(),
    valid_until   timestamptz,
    set_by        text NOT NULL,
    ended_by      text
);
CREATE UNIQUE INDEX IF NOT EXISTS assignment_official ON assignment (number_id) WHERE role = 'official' AND valid_until IS NULL;
CREATE UNIQUE INDEX IF NOT EXISTS assignment_colleague ON assignment (number_id, user_id)
    WHERE role = 'colleague' AND valid_until IS NULL;

-- When a number's webhook was last heard of, and since when something that it sent is unanswered.
CREATE TABLE IF NOT EXISTS pulse (
    number_id     text PRIMARY KEY,
    heard_at      timestamptz,
    waits_since   timestamptz
);
-- What the bridge remembers of itself: its heartbeat, its management room.
CREATE TABLE IF NOT EXISTS bridge_state (
    name          text PRIMARY KEY,
    value         text NOT NULL,
    at            timestamptz NOT NULL DEFAULT now()
);
-- A dated interval in which a number was not covered.
CREATE TABLE IF NOT EXISTS interruption (
    id            text PRIMARY KEY,
    number_id     text NOT NULL,
    cause         text NOT NULL,
    detail        text NOT NULL,
    began_at      timestamptz NOT NULL,
    ended_at      timestamptz,
    official      text NOT NULL DEFAULT '',      -- whose number it was then
    display       text NOT NULL DEFAULT '',
    told          text NOT NULL DEFAULT ''       -- '', began, ended: what the management room has been told
);
CREATE UNIQUE INDEX IF NOT EXISTS interruption_open ON interruption (number_id, cause) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS interruption_untold ON interruption (began_at) WHERE told <> 'ended';
CREATE TABLE IF NOT EXISTS alarm (
    id            text PRIMARY KEY,
    kind          text NOT NULL,
    subject       text NOT NULL,                 -- never anything of a message
    count         bigint NOT NULL DEFAULT 1,
    since         timestamptz NOT NULL DEFAULT now(),
    cleared_at    timestamptz,
    told          text NOT NULL DEFAULT ''       -- '', raised, cleared
);

-- Rooms in which a person talks with the bot, and what was said there, until it is answered.
CREATE TABLE IF NOT EXISTS direct_room (
    room_id       text PRIMARY KEY,
    user_id       text NOT NULL,
    language      text NOT NULL DEFAULT 'nl'
);
CREATE TABLE IF NOT EXISTS asked (
    event_id      text PRIMARY KEY,
    room_id       text NOT NULL,
    sealed        bytea NOT NULL,
    arrived_at    timestamptz NOT NULL DEFAULT now(),
    attempts      integer NOT NULL DEFAULT 0,
    due_at        timestamptz NOT NULL DEFAULT now(),
    done_at       timestamptz
);
CREATE INDEX IF NOT EXISTS asked_waiting ON asked (arrived_at) WHERE done_at IS NULL;
-- A link that an admin was given to hand over a token outside the chat; good once, for a short while.
CREATE TABLE IF NOT EXISTS token_link (
    digest        bytea PRIMARY KEY,
    waba_id       text NOT NULL,
    given_to      text NOT NULL,
    valid_until   timestamptz NOT NULL,
    used_at       timestamptz
);
-- Who set a delivery aside can be asked for it again once the reason is gone.
ALTER TABLE rejected ADD COLUMN IF NOT EXISTS number_id text;
ALTER TABLE rejected ADD COLUMN IF NOT EXISTS retried_at timestamptz;
