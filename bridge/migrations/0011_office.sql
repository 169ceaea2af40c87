-- The accounts with whose secret a delivery that was set aside is signed: taken after all, it may still speak for no other.
ALTER TABLE rejected ADD COLUMN IF NOT EXISTS signers text[];   -- none: of before this was written down
