-- concurrently
-- The indexes that 0014 to 0018 need on the tables that are large in an archive of years: made while capture goes on writing, each
-- statement by itself. One that was interrupted is left invalid: it is dropped first, so that this file can be run again.

-- What happened in a room beside its messages, in the order in which people saw it.
DROP INDEX IF EXISTS record_happened;
CREATE INDEX CONCURRENTLY record_happened ON record (org, room_id, sent_at, depth, event_id) WHERE state_key IS NOT NULL;
DROP INDEX IF EXISTS message_thread;
CREATE INDEX CONCURRENTLY message_thread ON message (org, room_id, thread, sent_at, depth, event_id) WHERE thread IS NOT NULL;
-- One index for both: Postgres intersects its lists, and looks at no row that fits one of them only.
DROP INDEX IF EXISTS message_words;
CREATE INDEX CONCURRENTLY message_words ON message USING gin (words, facts);
DROP INDEX IF EXISTS message_sequence;
CREATE INDEX CONCURRENTLY message_sequence ON message (org, room_id, sequence);
DROP INDEX IF EXISTS audit_room;
CREATE INDEX CONCURRENTLY audit_room ON audit (org, room_id, audit_id DESC) WHERE room_id IS NOT NULL;
DROP INDEX IF EXISTS audit_purpose;
CREATE INDEX CONCURRENTLY audit_purpose ON audit (org, purpose, audit_id DESC) WHERE purpose IS NOT NULL;
DROP INDEX IF EXISTS audit_case;
CREATE INDEX CONCURRENTLY audit_case ON audit (org, case_number, audit_id DESC) WHERE case_number IS NOT NULL;
