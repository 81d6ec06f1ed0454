-- What was revoked. A subject is "t:" and a token's id, or "u:" and a user; times are seconds since 1970.
CREATE TABLE revocations (
  subject TEXT PRIMARY KEY,
  issued_before INTEGER NOT NULL,
  until INTEGER NOT NULL
);
