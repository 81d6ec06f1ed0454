-- Users and where they get mail. Who gave it is 'api' or 'token'; times are milliseconds since 1970. Without an address only that
-- somebody wants no mail is kept.
CREATE TABLE contacts (
  user TEXT PRIMARY KEY,
  email TEXT,
  name TEXT,
  given TEXT,
  refuses INTEGER NOT NULL DEFAULT 0,
  seen_ms INTEGER NOT NULL DEFAULT 0,
  mailed_ms INTEGER NOT NULL DEFAULT 0
);
