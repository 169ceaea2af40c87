-- What the ledger's statements cost. Measured on Postgres 18, a batch of 500 encrypted events at a time.

-- An event on its way into the ledger. One array of these is read twice as fast as an array for each column.
CREATE TYPE arriving AS (
    room_id           text,
    event_id          text,
    type              text,
    state_key         text,
    sender            text,
    sent_at           timestamptz,
    depth             bigint,
    rel_type          text,
    relates_to        text,
    id_matches        boolean,
    content_matches   boolean,
    signed_by         text[],
    unsigned_by       text[],
    session_id        text,
    sealed_event      bytea,
    commitment        bytea,
    sealed_payload    bytea,
    payload_type      text,
    unreadable        text,
    message_index     bigint,
    doubts            text[]
);

-- A message of the reading view on its way into it.
CREATE TYPE composed AS (
    room_id           text,
    event_id          text,
    sender            text,
    kind              text,
    sent_at           timestamptz,
    depth             bigint,
    network           text,
    edits             integer,
    reactions         integer,
    reply_to          text,
    thread            text,
    deleted_at        timestamptz,
    deleted_by        text,
    pruned            boolean,
    unreadable        text,
    words             text                     -- the blind index, as a tsvector is written
);

-- No statement reads the ledger by time: people read `message`.
DROP INDEX record_time;
-- The order among events of one depth is worked out when it is asked for: few are.
DROP INDEX record_depth;
CREATE INDEX record_depth ON record (org, room_id, depth DESC);
-- Edges are looked up by what they point at, so the key begins with it and needs no second index beside it.
ALTER TABLE edge DROP CONSTRAINT edge_pkey, ADD PRIMARY KEY (org, room_id, prev_event_id, event_id);
DROP INDEX edge_prev;
