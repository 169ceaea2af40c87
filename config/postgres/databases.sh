#!/bin/sh
# Run once, by the Postgres container, while its data folder is empty: a role and a database for each service. The passwords come
# from the services' own pgpass files (host:port:database:user:password).
set -eu
for service in griffier:griffier bridge:griffier_bridge synapse:synapse mautrix:mautrix_whatsapp; do
    name=${service#*:}
    password=$(cut -d: -f5 "/run/secrets/${service%%:*}_pgpass")
    psql --username=postgres --set=ON_ERROR_STOP=1 --set=name="$name" --set=password="$password" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING UTF8 LC_COLLATE "C" LC_CTYPE "C" TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
# What `griffier migrate` may not do itself: the roles that requests run under, and search at full speed under row-level security.
psql --username=postgres --set=ON_ERROR_STOP=1 --dbname=griffier <<'SQL'
CREATE ROLE griffier_service NOLOGIN NOBYPASSRLS;
CREATE ROLE griffier_official NOLOGIN NOBYPASSRLS;
GRANT griffier_service, griffier_official TO griffier WITH ADMIN OPTION;
ALTER FUNCTION pg_catalog.ts_match_vq(tsvector, tsquery) LEAKPROOF;
SQL
