-- What rooms said, and where something of it is missing; see docs/database.md. Times are milliseconds since 1970.
CREATE TABLE gateway_archive (
  room TEXT NOT NULL,
  log_offset INTEGER NOT NULL,
  epoch TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  user_id TEXT,
  -- Without it the row is a tombstone.
  event TEXT,
  -- The arguments: a JSON array.
  data TEXT,
  -- What only the gateway reads: attachments, who did not hear it.
  apart BLOB,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (room, log_offset)
) WITHOUT ROWID, STRICT;
-- All that a user said is removed when it asks for that.
CREATE INDEX gateway_archive_by_user ON gateway_archive (user_id) WHERE user_id IS NOT NULL;
-- Gaps of all rooms have an empty room.
CREATE TABLE gateway_archive_gaps (
  room TEXT NOT NULL,
  after_offset INTEGER NOT NULL,
  through_offset INTEGER NOT NULL,
  why TEXT NOT NULL,
  noted_ms INTEGER NOT NULL,
  PRIMARY KEY (room, through_offset, after_offset)
) WITHOUT ROWID, STRICT;
-- Rooms of which there ever was anything, and up to where it went for its age.
CREATE TABLE gateway_archive_rooms (room TEXT NOT NULL PRIMARY KEY, forgotten INTEGER) WITHOUT ROWID, STRICT;
-- Up to where all of the log that is archived is in here.
CREATE TABLE gateway_archive_cursor (one INTEGER PRIMARY KEY CHECK (one = 1), log_offset INTEGER) STRICT;
INSERT INTO gateway_archive_cursor VALUES (1, NULL);

CREATE TABLE gateway_notifications (
  -- The order in which they were added.
  place INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  receiver TEXT NOT NULL,
  sender TEXT,
  -- JSON, as is what comes with it.
  message TEXT NOT NULL,
  data TEXT,
  is_read INTEGER NOT NULL DEFAULT 0,
  at_ms INTEGER NOT NULL,
  until_ms INTEGER,
  -- By what one is known that is added again.
  added_as TEXT,
  collapse TEXT
) STRICT;
CREATE UNIQUE INDEX gateway_notifications_by_id ON gateway_notifications (id, receiver);
CREATE INDEX gateway_notifications_by_place ON gateway_notifications (receiver, place);
CREATE INDEX gateway_notifications_unread ON gateway_notifications (receiver, place) WHERE is_read = 0;
CREATE UNIQUE INDEX gateway_notifications_by_key ON gateway_notifications (receiver, added_as)
  WHERE added_as IS NOT NULL;
CREATE INDEX gateway_notifications_collapsing ON gateway_notifications (receiver, collapse)
  WHERE collapse IS NOT NULL AND is_read = 0;
CREATE INDEX gateway_notifications_over ON gateway_notifications (until_ms) WHERE until_ms IS NOT NULL;
CREATE INDEX gateway_notifications_old ON gateway_notifications (at_ms);
