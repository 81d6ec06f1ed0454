-- The oldest events of a room after an offset, and where the log stands, as of one moment. At least one row.
-- ?1 room, ?2 what is not younger than this is gone, ?3 the offset, ?4 how many
WITH here AS MATERIALIZED (SELECT id, trimmed FROM rooms WHERE name = ?1 AND last_at > ?2)
SELECT
  log.head,
  (SELECT min(before) FROM clock WHERE at > ?2) AS floor,
  (SELECT trimmed FROM here) AS trimmed,
  (SELECT min(offset) FROM events WHERE room = (SELECT id FROM here)) AS oldest,
  page.offset,
  page.event
FROM log LEFT JOIN (
  SELECT offset, event FROM events WHERE room = (SELECT id FROM here) AND offset > ?3 ORDER BY offset LIMIT ?4
) AS page
