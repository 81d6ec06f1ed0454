-- How many of the oldest events of the room ?1 are beyond ?3 bytes, if all together are more than ?2; the newest does not count.
-- Their lengths are known without reading them.
WITH sizes AS MATERIALIZED (
  SELECT offset, sum(length(event)) OVER (ORDER BY offset DESC) AS total FROM events WHERE room = ?1
)
SELECT
  CASE WHEN (SELECT max(total) FROM sizes) > ?2
  THEN (SELECT count(*) FROM sizes WHERE total > ?3 AND offset < (SELECT max(offset) FROM sizes))
  ELSE 0 END
