-- Sealed bytes can't be compressed: trying costs more than writing them (measured: 33 -> 19 µs of Postgres per record), and an
-- ordinary message with its payload stays whole in its row.
ALTER TABLE record ALTER sealed_event SET STORAGE EXTERNAL, ALTER sealed_payload SET STORAGE EXTERNAL,
                   SET (toast_tuple_target = 8160);
