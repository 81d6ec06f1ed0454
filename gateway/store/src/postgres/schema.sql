-- What rooms said, and where something of it is missing; see docs/database.md. Times are milliseconds since 1970.
-- Texts, not json: PostgreSQL has no opinion then of what people say, and gives it back as it was.
CREATE TABLE gateway_schema (version integer NOT NULL);
INSERT INTO gateway_schema VALUES (1);

CREATE TABLE gateway_archive (
  -- In the order of its bytes, as everywhere in the gateway.
  room text COLLATE "C" NOT NULL,
  log_offset bigint NOT NULL,
  epoch text NOT NULL,
  at_ms bigint NOT NULL,
  user_id text,
  -- Without it the row is a tombstone.
  event text,
  -- The arguments: a JSON array.
  data text,
  -- What only the gateway reads: attachments, who did not hear it.
  apart bytea,
  bytes bigint NOT NULL,
  PRIMARY KEY (room, log_offset)
);
-- All that a user said is removed when it asks for that.
CREATE INDEX gateway_archive_by_user ON gateway_archive (user_id) WHERE user_id IS NOT NULL;
-- Gaps of all rooms have an empty room.
CREATE TABLE gateway_archive_gaps (
  room text COLLATE "C" NOT NULL,
  after_offset bigint NOT NULL,
  through_offset bigint NOT NULL,
  why text NOT NULL,
  noted_ms bigint NOT NULL,
  PRIMARY KEY (room, through_offset, after_offset)
);
-- Rooms of which there ever was anything, and up to where it went for its age.
CREATE TABLE gateway_archive_rooms (room text COLLATE "C" PRIMARY KEY, forgotten bigint);
-- Up to where all of the log that is archived is in here. Who writes locks it.
CREATE TABLE gateway_archive_cursor (one integer PRIMARY KEY CHECK (one = 1), log_offset bigint);
INSERT INTO gateway_archive_cursor VALUES (1, NULL);

CREATE TABLE gateway_notifications (
  -- The order in which they were added.
  place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL,
  receiver text NOT NULL,
  sender text,
  -- JSON, as is what comes with it.
  message text NOT NULL,
  data text,
  is_read boolean NOT NULL DEFAULT false,
  at_ms bigint NOT NULL,
  until_ms bigint,
  -- By what one is known that is added again.
  added_as text,
  collapse text
);
CREATE UNIQUE INDEX gateway_notifications_by_id ON gateway_notifications (id, receiver);
CREATE INDEX gateway_notifications_by_place ON gateway_notifications (receiver, place);
CREATE INDEX gateway_notifications_unread ON gateway_notifications (receiver, place) WHERE NOT is_read;
CREATE UNIQUE INDEX gateway_notifications_by_key ON gateway_notifications (receiver, added_as)
  WHERE added_as IS NOT NULL;
CREATE INDEX gateway_notifications_collapsing ON gateway_notifications (receiver, collapse)
  WHERE collapse IS NOT NULL AND NOT is_read;
CREATE INDEX gateway_notifications_over ON gateway_notifications (until_ms) WHERE until_ms IS NOT NULL;
CREATE INDEX gateway_notifications_old ON gateway_notifications (at_ms);
