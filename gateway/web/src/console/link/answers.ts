// What nodes answer over HTTP: docs/console.md, docs/jobs.md, docs/schedules.md, docs/hooks.md and docs/notifications.md have it.

/** A session, as it is found. */
export interface Session {
  id: string;
  node: string;
  namespace: string;
  user: string | null;
  address: string;
  transport: string;
  since: number;
  rooms: number;
  queue: { packets: number; bytes: number };
  refused: number;
}

export interface Sessions {
  sessions: Session[];
  next: string | null;
  total: number;
  missing: number;
}

/** A session with all that is known of it. */
export interface WholeSession extends Omit<Session, 'rooms'> {
  roles: string[];
  rooms: { room: string; via: string }[];
  roomsTotal: number;
  refusals: { at: number | string; event: string; code: string }[];
}

export interface Room {
  room: string;
  namespace: string;
  members: number;
  nodes: number;
}

export interface Rooms {
  rooms: Room[];
  next: string | null;
  missing: number;
}

export interface WholeRoom {
  room: string;
  namespace: string;
  members: number;
  nodes: { node: string; members: number }[];
  log: { first: string | null; last: string | null } | null;
  sessions: Session[];
  missing: number;
}

/** How nodes share their clients, as the one that answers sees it. */
export interface Balance {
  state: 'off' | 'waiting' | 'stopped' | 'even' | 'moving' | 'given_up';
  why: string | null;
  moves: number;
  nodes: {
    node: string;
    connections: number;
    share: number | null;
    weight: number;
    open: boolean;
    moves: number;
  }[];
}

/** How many sessions something was done to, and how many nodes did not say. */
export interface Done {
  sessions: number;
  missing: number;
  /** Whose tokens were taken back. */
  revoked?: string | null;
}

export interface Queue {
  name: string;
  paused: boolean;
  concurrency: number;
  waiting: number;
  delayed: number;
  active: number;
  completed: number;
  failed: number;
}

export interface Job {
  id: string;
  queue: string;
  kind: string;
  state: string;
  data: unknown;
  attempt: number;
  attempts: number;
  lost: number;
  priority: number;
  enqueuedAt: string;
  dueAt?: string;
  begunAt?: string;
  endedAt?: string;
  why?: string;
  result?: unknown;
}

export interface Schedule {
  name: string;
  cron: string;
  timezone: string;
  kind: string;
  queue: string;
  next?: string;
  runs: {
    tick: string;
    node: string;
    begunAt: string;
    tookMs: number;
    attempt: number;
    failed?: string;
    last: boolean;
  }[];
}

export interface Notification {
  id: string;
  receiverId: string;
  senderId?: string | null;
  message: unknown;
  data?: unknown;
  isRead: boolean;
  timestamp: string;
  expiresAt?: string | null;
}

export interface Hook {
  name: string;
  url?: string;
  here: boolean;
  waiting: number;
  bytes: number;
  oldestMs?: number;
  dropped: number;
  givenUp: number;
  refused: { id: string; type?: string; time?: number; room?: string; why: string }[];
}

export interface Check {
  name: string;
  ok: boolean;
  severity: string;
  value: number | string | boolean | null;
  limit: number | string | boolean | null;
  words: string;
}

export interface Health {
  node: string;
  ok: boolean;
  checks: Check[];
}

export interface Route {
  number: number;
  namespace: string;
  event: string;
  action: string;
  place: string;
  line: string;
}

export interface Routes {
  node: string;
  profile: string | null;
  file: string | null;
  routes: Route[];
}

export interface Tried {
  known: boolean;
  answer: { code: string; message: string } | null;
  routes: {
    number: number;
    place: string;
    line: string;
    applies: boolean;
    verdict: string;
    code?: string;
    message?: string;
    room?: string;
  }[];
}

export interface Reloaded {
  changed: boolean;
  added: string[];
  removed: string[];
  error: string | null;
  nodes: { node: string; changed: boolean; error: string | null }[];
  missing: number;
}
