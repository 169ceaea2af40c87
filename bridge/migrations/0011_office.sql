-- The accounts with whose secret a delivery that was set aside is signed: taken after all, it may still speak for no other.
ALTER TABLE rejected ADD COLUMN IF NOT EXISTS signers text[];   -- none: of before this was written down
-- What was set aside is forgotten after a while (bridge.keep_failed_days): its digest stays, so that it comes only once.
ALTER TABLE rejected ALTER COLUMN sealed DROP NOT NULL;
CREATE INDEX IF NOT EXISTS inbox_set_aside ON inbox (coalesce(finished_at, arrived_at))
    WHERE state IN ('kept', 'failed') AND sealed IS NOT NULL;
CREATE INDEX IF NOT EXISTS outbox_set_aside ON outbox (coalesce(finished_at, arrived_at))
    WHERE state IN ('kept', 'failed') AND sealed IS NOT NULL;
