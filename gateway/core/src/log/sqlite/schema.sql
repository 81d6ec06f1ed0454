-- The log of a node. Times are in milliseconds since 1970.

-- One row: where the log stands. `boot` is which start of the machine the last writes were made in, or nothing if they
-- are all on the disk.
CREATE TABLE log (
  epoch TEXT NOT NULL,
  began INTEGER NOT NULL,
  head INTEGER NOT NULL,
  boot TEXT NOT NULL
);

CREATE TABLE rooms (
  -- Never given twice: events of a room that is gone may still be there.
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  kept INTEGER NOT NULL,
  trimmed INTEGER NOT NULL DEFAULT 0,
  last_at INTEGER NOT NULL
);
CREATE INDEX rooms_by_age ON rooms (last_at);

CREATE TABLE events (
  offset INTEGER PRIMARY KEY,
  room INTEGER NOT NULL,
  event BLOB NOT NULL
);
CREATE INDEX events_by_room ON events (room);

-- Rooms whose events are yet to be removed.
CREATE TABLE gone (room INTEGER PRIMARY KEY);

-- When which offset was the newest, now and then: what came after it is no older.
CREATE TABLE clock (at INTEGER NOT NULL, before INTEGER NOT NULL);

-- The offsets that dedupe keys got.
CREATE TABLE once (key BLOB PRIMARY KEY, offset INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX once_by_age ON once (at);
