-- The sessions of a node that may come back. A holder is 16 hexadecimal digits, or nothing once it was released.
CREATE TABLE sessions (
  pid TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  owner TEXT NOT NULL,
  record BLOB NOT NULL,
  until INTEGER NOT NULL
);
