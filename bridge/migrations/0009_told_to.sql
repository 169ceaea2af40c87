-- Of every name, which of our numbers were told it: accounts know nothing of each other's people, and a number shows what it was told.
ALTER TABLE identity ADD COLUMN IF NOT EXISTS told_to text[];
-- Whoever was shared by two accounts stays the first one's; the other meets them anew, in the room that it has.
WITH owned AS (
    SELECT DISTINCT ON (i.person) i.person, n.waba_id
    FROM identity AS i JOIN number AS n ON n.number_id = split_part(i.source, '|', 1)
    WHERE i.told_to IS NULL ORDER BY i.person, i.valid_from, i.source
), apart AS (
    UPDATE portal SET person = NULL FROM owned, number AS n
    WHERE portal.person = owned.person AND n.number_id = portal.number_id AND n.waba_id <> owned.waba_id
)
DELETE FROM identity AS i USING owned, number AS n
WHERE i.person = owned.person AND i.told_to IS NULL AND n.number_id = split_part(i.source, '|', 1) AND n.waba_id <> owned.waba_id;
UPDATE identity AS i SET told_to = ARRAY(
    SELECT split_part(i.source, '|', 1) UNION SELECT p.number_id FROM portal AS p WHERE p.person = i.person AND p.contact = i.value
) WHERE i.told_to IS NULL;
-- What a group is called stands in its room's state, and in no column.
ALTER TABLE portal DROP COLUMN IF EXISTS subject;
ALTER TABLE portal DROP COLUMN IF EXISTS description;
