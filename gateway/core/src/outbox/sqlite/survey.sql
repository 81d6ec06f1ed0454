-- How each outbox stands.
SELECT
  outboxes.name,
  (SELECT count(*) FROM outbox WHERE outbox.name = outboxes.name AND why IS NULL),
  (SELECT coalesce(sum(weight), 0) FROM outbox WHERE outbox.name = outboxes.name AND why IS NULL),
  (SELECT at FROM outbox WHERE outbox.name = outboxes.name AND why IS NULL ORDER BY id LIMIT 1),
  (SELECT count(*) FROM outbox WHERE outbox.name = outboxes.name AND why IS NOT NULL),
  outboxes.dropped
FROM outboxes ORDER BY outboxes.name
