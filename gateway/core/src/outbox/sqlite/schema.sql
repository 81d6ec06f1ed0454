-- What happened, on its way out, in the file of the log. Times are in milliseconds since 1970.
CREATE TABLE IF NOT EXISTS outbox (
  -- Never given twice: one order, also for what was delivered again.
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  happening BLOB NOT NULL,
  -- Why it was given up, if it was.
  why TEXT
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (name, id, weight) WHERE why IS NULL;
CREATE INDEX IF NOT EXISTS outbox_given_up ON outbox (name, id) WHERE why IS NOT NULL;

CREATE TABLE IF NOT EXISTS outboxes (
  name TEXT PRIMARY KEY,
  -- When somebody last wanted it.
  wanted INTEGER NOT NULL,
  dropped INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Between which numbers something was dropped for want of room, until that is settled.
CREATE TABLE IF NOT EXISTS outbox_lost (
  name TEXT PRIMARY KEY,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL
) WITHOUT ROWID;
