-- A room's version that nobody would tell is a guess, good for the page at hand: it is asked for again until it is known.

ALTER TABLE room ADD version_guessed boolean NOT NULL DEFAULT false;
-- Of the rooms of before, those may have been guessed of which the event that made them is not there. All organisations' rows:
-- an owner that is no superuser sees them only while row-level security is not forced upon it.
ALTER TABLE room NO FORCE ROW LEVEL SECURITY;
ALTER TABLE record NO FORCE ROW LEVEL SECURITY;
UPDATE room SET version_guessed = true
WHERE version = '11' AND NOT EXISTS (SELECT FROM record WHERE record.org = room.org AND record.room_id = room.room_id
                                     AND record.type = 'm.room.create' AND record.state_key = '');
ALTER TABLE room FORCE ROW LEVEL SECURITY;
ALTER TABLE record FORCE ROW LEVEL SECURITY;
