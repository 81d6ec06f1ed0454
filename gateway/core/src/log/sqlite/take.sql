-- What is taken back: a part of the transaction of an append. $10 the offsets, each with its room.
UPDATE rooms SET kept = kept - (
  SELECT count(*) FROM json_each($10) JOIN events ON events.offset = value ->> 0
  WHERE value ->> 1 = rooms.name AND events.room = rooms.id
)
WHERE name IN (SELECT value ->> 1 FROM json_each($10));

DELETE FROM events WHERE offset IN (SELECT value ->> 0 FROM json_each($10)) AND room = (
  SELECT rooms.id FROM json_each($10) JOIN rooms ON rooms.name = value ->> 1 WHERE value ->> 0 = events.offset
);

