-- Requests that may come again. A run is 16 hexadecimal digits; the answer is nothing as long as it is under way; until is
-- milliseconds since 1970.
CREATE TABLE repeats (
  name TEXT PRIMARY KEY,
  print TEXT NOT NULL,
  run TEXT NOT NULL,
  answer BLOB,
  until INTEGER NOT NULL
);
CREATE INDEX repeats_until ON repeats (until);
