-- Where namespaces have a Redis of their own: up to where all of its log that is archived is in here, by its name. That of the
-- main one stays where it was.
CREATE TABLE gateway_archive_cursors (log TEXT NOT NULL PRIMARY KEY, log_offset INTEGER NOT NULL) WITHOUT ROWID, STRICT;
