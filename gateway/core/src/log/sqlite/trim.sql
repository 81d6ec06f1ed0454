-- Drops the oldest $2 events of the room $1.
BEGIN IMMEDIATE;

DELETE FROM events WHERE offset IN (SELECT offset FROM events WHERE room = $1 ORDER BY offset LIMIT $2);

UPDATE rooms SET kept = kept - $2, trimmed = 1 WHERE id = $1;

COMMIT;
