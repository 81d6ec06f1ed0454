-- Jobs of one node. A state is 0 (waits), 1 (not due yet), 2 (somebody does it), 3 (was done) or 4 (has failed); times are
-- milliseconds since 1970. Who does a job has its token until a time; how often its worker was lost is counted. The large
-- columns are the last, so that who counts does not read them.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  queue TEXT NOT NULL,
  id TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  run_at INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL,
  doubles INTEGER NOT NULL,
  backoff INTEGER NOT NULL,
  lost INTEGER NOT NULL DEFAULT 0,
  token INTEGER,
  lock_until INTEGER,
  enqueued_at INTEGER NOT NULL,
  begun_at INTEGER,
  ended_at INTEGER,
  kind TEXT NOT NULL,
  why TEXT,
  data TEXT NOT NULL,
  result TEXT,
  UNIQUE (queue, id)
);
CREATE INDEX jobs_waiting ON jobs (queue, priority, run_at, seq) WHERE state = 0;
CREATE INDEX jobs_delayed ON jobs (queue, run_at, seq) WHERE state = 1;
CREATE INDEX jobs_active ON jobs (queue, lock_until) WHERE state = 2;
CREATE INDEX jobs_done ON jobs (queue, ended_at, seq) WHERE state = 3;
CREATE INDEX jobs_failed ON jobs (queue, ended_at, seq) WHERE state = 4;
CREATE INDEX jobs_tokens ON jobs (token) WHERE token IS NOT NULL;
-- What was ever put into or worked on. By its rate so many jobs were begun since a time.
CREATE TABLE queues (
  queue TEXT PRIMARY KEY,
  paused INTEGER NOT NULL DEFAULT 0,
  begun_since INTEGER NOT NULL DEFAULT 0,
  begun INTEGER NOT NULL DEFAULT 0
);
