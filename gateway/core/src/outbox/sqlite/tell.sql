-- What an append tells: a part of its transaction. $8 and $9 what happened, as events and dedupe keys are packed.
INSERT INTO outbox (name, at, weight, happening)
SELECT value ->> 0, value ->> 1, value ->> 2, substr($9, value ->> 3, value ->> 4) FROM json_each($8);

