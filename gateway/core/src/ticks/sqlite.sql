-- The last tick of each plan that was begun or passed, and the one up to which nothing is begun that was not begun before, in
-- milliseconds since 1970; the ticks that were begun, and whether they have ended; and the last runs of each schedule, as JSON.
CREATE TABLE plans (
  plan TEXT PRIMARY KEY,
  tick INTEGER NOT NULL,
  passed INTEGER NOT NULL
);
CREATE TABLE ticks (
  plan TEXT NOT NULL,
  tick INTEGER NOT NULL,
  ended INTEGER NOT NULL,
  PRIMARY KEY (plan, tick)
);
CREATE TABLE runs (
  place INTEGER PRIMARY KEY AUTOINCREMENT,
  schedule TEXT NOT NULL,
  run TEXT NOT NULL
);
CREATE INDEX runs_schedule ON runs (schedule, place);
