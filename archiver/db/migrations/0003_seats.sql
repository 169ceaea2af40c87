-- Several archiver accounts fill one archive: each room is captured through one of them at a time, and a place in a homeserver's
-- history means something to the account that was given it only.

ALTER TABLE room ADD user_id text;             -- the archiver account through which the room is captured
ALTER TABLE stretch ADD user_id text;          -- the account that the token was given to
-- An owner who is no superuser sees no row of a table that forces row-level security on it.
ALTER TABLE room NO FORCE ROW LEVEL SECURITY;
ALTER TABLE stretch NO FORCE ROW LEVEL SECURITY;
ALTER TABLE seat NO FORCE ROW LEVEL SECURITY;
UPDATE room SET user_id = (SELECT min(user_id) FROM seat WHERE seat.org = room.org);
UPDATE stretch SET user_id = (SELECT min(user_id) FROM seat WHERE seat.org = stretch.org);
ALTER TABLE room FORCE ROW LEVEL SECURITY;
ALTER TABLE stretch FORCE ROW LEVEL SECURITY;
ALTER TABLE seat FORCE ROW LEVEL SECURITY;
ALTER TABLE room ALTER user_id SET NOT NULL;
ALTER TABLE stretch ALTER user_id SET NOT NULL;
-- How often the notice has been deleted in a room: each time it is posted anew.
ALTER TABLE room ADD notices_lost integer NOT NULL DEFAULT 0;
CREATE INDEX room_seat ON room (org, user_id);
