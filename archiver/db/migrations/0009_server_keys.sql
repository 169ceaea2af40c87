-- The signing keys of servers as each organisation was told of them. The first key of a name stays: what the homeserver of one
-- organisation says about another server must never be what the next organisation checks signatures with.

ALTER TABLE server_key ADD org integer;
ALTER TABLE server_key DROP CONSTRAINT server_key_pkey;
-- Every organisation goes on with the keys it checked with. An owner who is no superuser sees no row of a table that forces
-- row-level security.
ALTER TABLE organisation NO FORCE ROW LEVEL SECURITY;
INSERT INTO server_key (org, server_name, key_id, public_key, valid_until, expired_at, fetched_at)
SELECT organisation.org, server_name, key_id, public_key, valid_until, expired_at, fetched_at FROM server_key CROSS JOIN organisation;
ALTER TABLE organisation FORCE ROW LEVEL SECURITY;
DELETE FROM server_key WHERE org IS NULL;
ALTER TABLE server_key ALTER org SET NOT NULL, ADD PRIMARY KEY (org, server_name, key_id);

ALTER TABLE server_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE server_key FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON server_key USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
