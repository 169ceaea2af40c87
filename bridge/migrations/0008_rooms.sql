-- A room is one official's: given to another, a number's conversations begin anew, in rooms of the other's own.
ALTER TABLE portal ADD COLUMN IF NOT EXISTS official text NOT NULL DEFAULT '';
ALTER TABLE portal ADD COLUMN IF NOT EXISTS ended boolean NOT NULL DEFAULT false;  -- gone, or its conversation goes on in another
-- Whether its people have been invited: they are once it is noted, so that their first words in it are heard.
ALTER TABLE portal ADD COLUMN IF NOT EXISTS seated boolean NOT NULL DEFAULT true;
UPDATE portal SET official = coalesce((
        SELECT user_id FROM assignment
        WHERE assignment.number_id = portal.number_id AND role = 'official'
          AND CASE WHEN closed_at IS NULL THEN valid_until IS NULL ELSE valid_from <= closed_at END
        ORDER BY valid_until < closed_at, valid_from DESC LIMIT 1), '')
    WHERE official = '';
-- The contacts on a phone are its official's.
ALTER TABLE address_book ADD COLUMN IF NOT EXISTS official text NOT NULL DEFAULT '';
UPDATE address_book SET official = assignment.user_id FROM assignment
    WHERE assignment.number_id = address_book.number_id AND role = 'official' AND valid_until IS NULL
      AND address_book.official = '';
