-- The oldest events of a room after an offset, and where the log stands, as of one moment. At least one row.
-- ?1 room, ?2 what is not younger than this is gone, ?3 the offset, ?4 how many, ?5 how many bytes of them; at least one
WITH here AS MATERIALIZED (SELECT id, trimmed FROM rooms WHERE name = ?1 AND last_at > ?2),
-- Their lengths are known without reading them.
near AS MATERIALIZED (
  SELECT offset, length(event) AS size FROM events WHERE room = (SELECT id FROM here) AND offset > ?3
  ORDER BY offset LIMIT ?4
),
page AS MATERIALIZED (
  SELECT offset FROM (SELECT offset, size, sum(size) OVER (ORDER BY offset) AS total FROM near)
  WHERE total <= ?5 OR total = size
)
SELECT
  log.head,
  (SELECT min(before) FROM clock WHERE at > ?2) AS floor,
  (SELECT trimmed FROM here) AS trimmed,
  (SELECT min(offset) FROM events WHERE room = (SELECT id FROM here)) AS oldest,
  (SELECT count(*) FROM near) > (SELECT count(*) FROM page) AS cut,
  events.offset,
  events.event
FROM log LEFT JOIN events ON events.offset IN (SELECT offset FROM page)
