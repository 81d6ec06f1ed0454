-- What found no room in the archive's outbox: a part of the transaction of an append. $11 the first and the last number.
INSERT INTO outbox_lost (name, first, last) VALUES ('=archive', $11 ->> '$[0][0]', $11 ->> '$[0][1]')
ON CONFLICT (name) DO UPDATE SET last = excluded.last;

