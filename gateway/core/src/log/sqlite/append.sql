-- A batch of appends. One text, because every statement alone is a way to the thread of the database and back.
-- $1 the rooms, each with how many events it gets, $2 the time, $3 and $4 the events, $5 and $6 the dedupe keys, $7 the
-- newest offset. Returns the rooms' ids, how many events they then have, and their names.
BEGIN IMMEDIATE;

INSERT INTO rooms (name, kept, last_at) SELECT value ->> 0, value ->> 1, $2 FROM json_each($1) WHERE true
ON CONFLICT (name) DO UPDATE SET kept = kept + excluded.kept, last_at = excluded.last_at
RETURNING id, kept, name;

INSERT INTO events (offset, room, event)
SELECT value ->> 0, (SELECT id FROM rooms WHERE name = value ->> 1), substr($4, value ->> 2, value ->> 3)
FROM json_each($3);

-- One that is forgotten may still be there.
INSERT OR REPLACE INTO once (key, offset, at)
SELECT substr($6, value ->> 1, value ->> 2), value ->> 0, $2 FROM json_each($5);

UPDATE log SET head = $7;

COMMIT;
