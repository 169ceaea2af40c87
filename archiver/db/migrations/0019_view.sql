-- What the reading view is made of, how far it is, and what officials may know of what is missing.

-- What people say now is shown before what is made anew. What is in the queue already may be all of the archive: that is late,
-- said by the default, so that no row need be written.
ALTER TABLE unread ADD late boolean NOT NULL DEFAULT true;
ALTER TABLE unread ALTER late SET DEFAULT false;
CREATE INDEX unread_first ON unread (org, late);

-- One row per organisation: whose word was believed of other networks, and how far the view is while it is made anew.
CREATE TABLE reading_view (
    org               integer PRIMARY KEY,
    bridges           text[],                  -- null: not known
    total             bigint NOT NULL DEFAULT 0,   -- records that were to be read again
    done              bigint NOT NULL DEFAULT 0
);
ALTER TABLE unread NO FORCE ROW LEVEL SECURITY;
INSERT INTO reading_view (org, total) SELECT org, count(*) FROM unread GROUP BY org;
ALTER TABLE unread FORCE ROW LEVEL SECURITY;
ALTER TABLE reading_view ENABLE ROW LEVEL SECURITY;
ALTER TABLE reading_view FORCE ROW LEVEL SECURITY;
CREATE POLICY organisation ON reading_view USING (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer))
    WITH CHECK (org = (SELECT nullif(current_setting('griffier.org', true), '')::integer));
GRANT SELECT, INSERT, UPDATE, DELETE ON reading_view TO griffier_service;
GRANT SELECT ON reading_view TO griffier_official;

-- That an event is missing is said by the event that points at it. Officials know of it who could see that one.
DROP POLICY official ON gap;
CREATE POLICY official ON gap AS RESTRICTIVE FOR SELECT TO griffier_official USING (EXISTS (
    SELECT FROM edge
    JOIN record ON record.org = edge.org AND record.room_id = edge.room_id AND record.event_id = edge.event_id
    JOIN membership AS m ON m.org = record.org AND m.room_id = record.room_id
        AND record.depth BETWEEN m.from_depth AND m.until_depth AND record.sent_at BETWEEN m.from_at AND m.until_at
    WHERE edge.org = gap.org AND edge.room_id = gap.room_id AND edge.prev_event_id = gap.event_id
      AND m.user_id = (SELECT current_setting('griffier.reader', true))));
