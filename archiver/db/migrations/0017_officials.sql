-- Who the officials are, and when: terms of office, devices, numbers. Periods are whole days, the last one included; a day is a
-- day in the Netherlands. Names and functions of officials are no content of messages: they stay plain, to choose by.

CREATE TABLE official (
    org               integer NOT NULL,
    official_id       uuid NOT NULL,
    name              text NOT NULL,
    withdrawn         boolean NOT NULL DEFAULT false,   -- entered by mistake: it counts no more, and stays in the history
    PRIMARY KEY (org, official_id)
);

-- A function that somebody held, with the Matrix account that was theirs in it.
CREATE TABLE term (
    org               integer NOT NULL,
    entry_id          uuid NOT NULL,
    official_id       uuid NOT NULL,
    matrix_id         text NOT NULL,
    function          text NOT NULL,
    unit              text NOT NULL,
    sole              boolean NOT NULL,        -- one person at a time holds this function in this unit
    from_day          date NOT NULL,
    until_day         date,                    -- null: until further notice
    withdrawn         boolean NOT NULL DEFAULT false,
    -- A column, as an index on what a function makes of one is not used under row-level security.
    function_key      text NOT NULL GENERATED ALWAYS AS (lower(function) || E'\x1f' || lower(unit)) STORED,
    PRIMARY KEY (org, entry_id),
    CHECK (until_day >= from_day)
);
CREATE INDEX term_official ON term (org, official_id);
CREATE INDEX term_account ON term (org, matrix_id, from_day DESC);
CREATE INDEX term_function ON term (org, function_key);

CREATE TABLE device (
    org               integer NOT NULL,
    entry_id          uuid NOT NULL,
    official_id       uuid NOT NULL,
    label             text NOT NULL,           -- as it is written on it: the asset number, the model
    kind              text NOT NULL CHECK (kind IN ('phone', 'tablet', 'computer', 'other')),
    owner             text NOT NULL CHECK (owner IN ('organisation', 'official')),
    from_day          date NOT NULL,
    until_day         date,
    withdrawn         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (org, entry_id),
    CHECK (until_day >= from_day)
);
CREATE INDEX device_official ON device (org, official_id);

CREATE TABLE channel (
    org               integer NOT NULL,
    entry_id          uuid NOT NULL,
    official_id       uuid NOT NULL,
    number            text NOT NULL,           -- E.164: +31612345678
    label             text NOT NULL,
    from_day          date NOT NULL,
    until_day         date,
    withdrawn         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (org, entry_id),
    CHECK (until_day >= from_day)
);
CREATE INDEX channel_official ON channel (org, official_id);
CREATE INDEX channel_number ON channel (org, number);

-- A file of officials that was uploaded: sealed until it is confirmed or half an hour has gone by, then only what it was.
CREATE TABLE official_import (
    org               integer NOT NULL,
    import_id         uuid NOT NULL,
    made_by           text NOT NULL,
    made_at           timestamptz NOT NULL DEFAULT now(),
    file_name         text NOT NULL,
    sealed            bytea,                   -- the file, wrapped by the organisation's key
    confirmed_at      timestamptz,
    undone_at         timestamptz,
    PRIMARY KEY (org, import_id)
);

-- Everything that was ever said of them: what it was and what it became, by whom, when. The tables above write it themselves, so
-- that nothing is changed without it.
CREATE TABLE official_change (
    org               integer NOT NULL,
    number            bigint GENERATED ALWAYS AS IDENTITY,
    at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by           text NOT NULL,
    official_id       uuid NOT NULL,
    what              text NOT NULL,           -- official, term, device, channel
    entry_id          uuid NOT NULL,
    before            jsonb,                   -- null: added
    after             jsonb NOT NULL,
    reason            text,
    import_id         uuid,
    PRIMARY KEY (org, number)
);
CREATE INDEX official_change_of ON official_change (org, official_id, number DESC);
CREATE INDEX official_change_entry ON official_change (org, entry_id, number DESC);
CREATE INDEX official_change_import ON official_change (org, import_id, number) WHERE import_id IS NOT NULL;
CREATE FUNCTION official_change_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of officials is append-only';
END $$;
CREATE TRIGGER official_change_append_only BEFORE UPDATE OR DELETE ON official_change
    FOR EACH ROW EXECUTE FUNCTION official_change_is_append_only();
CREATE TRIGGER official_change_no_truncate BEFORE TRUNCATE ON official_change
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_never_truncated();

CREATE FUNCTION keep_official_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    actor text := nullif(current_setting('griffier.actor', true), '');
BEGIN
    IF actor IS NULL THEN
        RAISE EXCEPTION 'nobody is named who changes the %', TG_TABLE_NAME;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    INSERT INTO official_change (org, made_by, official_id, what, entry_id, before, after, reason, import_id)
    VALUES (NEW.org, actor, NEW.official_id, TG_TABLE_NAME,
            CASE TG_TABLE_NAME WHEN 'official' THEN NEW.official_id ELSE (to_jsonb(NEW) ->> 'entry_id')::uuid END,
            CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) - '{org,official_id,entry_id,function_key}'::text[] END,
            to_jsonb(NEW) - '{org,official_id,entry_id,function_key}'::text[],
            nullif(current_setting('griffier.reason', true), ''),
            nullif(current_setting('griffier.import', true), '')::uuid);
    RETURN NULL;
END $$;

-- An exclusion constraint over a text and a period needs an extension that not every Postgres has, and can't say what is asked here.
-- What two transactions can't see of each other they wait for: each takes the organisation's lock, and looks after that.
CREATE FUNCTION no_two_at_once() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    period daterange := daterange(NEW.from_day, NEW.until_day, '[]');
    clash text;
BEGIN
    IF NEW.withdrawn THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('griffier officials|' || NEW.org, 0));
    IF TG_TABLE_NAME = 'term' THEN
        SELECT CASE WHEN t.matrix_id = NEW.matrix_id AND t.official_id <> NEW.official_id THEN 'account'
                    WHEN t.official_id = NEW.official_id THEN 'term' ELSE 'function' END INTO clash
        FROM term AS t
        WHERE t.org = NEW.org AND t.entry_id <> NEW.entry_id AND NOT t.withdrawn
          AND daterange(t.from_day, t.until_day, '[]') && period
          AND (t.matrix_id = NEW.matrix_id AND t.official_id <> NEW.official_id
               OR t.function_key = NEW.function_key AND (t.official_id = NEW.official_id OR t.sole OR NEW.sole))
        ORDER BY 1 LIMIT 1;
    ELSIF TG_TABLE_NAME = 'channel' THEN
        SELECT 'number' INTO clash FROM channel AS c
        WHERE c.org = NEW.org AND c.entry_id <> NEW.entry_id AND NOT c.withdrawn AND c.number = NEW.number
          AND daterange(c.from_day, c.until_day, '[]') && period LIMIT 1;
    ELSE
        SELECT 'device' INTO clash FROM device AS d
        WHERE d.org = NEW.org AND d.entry_id <> NEW.entry_id AND NOT d.withdrawn AND d.official_id = NEW.official_id
          AND lower(d.label) = lower(NEW.label) AND daterange(d.from_day, d.until_day, '[]') && period LIMIT 1;
    END IF;
    IF clash IS NOT NULL THEN
        RAISE EXCEPTION 'two at once: %', clash USING ERRCODE = 'exclusion_violation', CONSTRAINT = clash;
    END IF;
    RETURN NULL;
END $$;

-- Whose account it is, of who reads as an official: of the latest of those who had it.
CREATE FUNCTION official_who_reads() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT official_id FROM term
    WHERE org = nullif(current_setting('griffier.org', true), '')::integer AND matrix_id = current_setting('griffier.reader', true)
      AND NOT withdrawn AND from_day <= (now() AT TIME ZONE 'Europe/Amsterdam')::date
    ORDER BY from_day DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION official_who_reads() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION official_who_reads() TO griffier_service, griffier_official;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['official', 'term', 'device', 'channel', 'official_import', 'official_change'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format($p$CREATE POLICY organisation ON %I USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
                          WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))$p$, name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['official', 'term', 'device', 'channel'] LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION keep_official_change()',
                       name || '_change', name);
        -- An official sees what is known of them: their own terms, devices and numbers.
        EXECUTE format('CREATE POLICY official ON %I AS RESTRICTIVE FOR SELECT TO griffier_official '
                       'USING (official_id = (SELECT official_who_reads()))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['term', 'device', 'channel'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER INSERT OR UPDATE ON %I DEFERRABLE INITIALLY IMMEDIATE '
                       'FOR EACH ROW EXECUTE FUNCTION no_two_at_once()', name || '_alone', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE ON official, term, device, channel TO griffier_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON official_import TO griffier_service;
GRANT SELECT, INSERT ON official_change TO griffier_service;
GRANT SELECT ON official, term, device, channel TO griffier_official;
