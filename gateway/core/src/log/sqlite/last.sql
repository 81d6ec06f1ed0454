-- The newest event of each of the rooms ?1, if the log has any.
SELECT name, (SELECT max(offset) FROM events WHERE room = rooms.id)
FROM rooms WHERE name IN (SELECT value FROM json_each(?1))
