// What nodes tell the console by events, as docs/console.md has it.

export type Role = 'operator' | 'viewer';

/** What a node says first. */
export interface Config {
  role: Role;
  node: string;
  version: string;
}

/** The figures of one node. */
export interface ServerStats {
  serverId: string;
  hostname: string;
  uptime: number;
  clientsCount: number;
  pollingClientsCount: number;
  namespaces: { name: string; socketsCount: number }[];
  version: string;
  revision: string;
  ready: boolean;
  draining: boolean;
  hears: boolean;
  cpu: number;
  lagMs: number;
  memoryBytes: number;
  rooms: number;
  rates: { received: number; delivered: number; refused: number };
  ack: { count: number; p50Ms: number | null; p99Ms: number | null };
  operators: number;
  leftOut: number;
}

/** What a route of a node refused since its figures before. */
export interface Refused {
  namespace: string;
  event: string;
  place: string;
  action: string;
  code: string;
  count: number;
}

export interface Refusals {
  node: string;
  refusals: Refused[];
  leftOut: number;
}

/** A session, as events tell of it. */
export interface Socket {
  id: string;
  nsp: string;
  transport: string;
  data: { user: string | null; node: string };
  handshake: { address: string; issued: number };
  rooms: string[];
}

export interface TailEvent {
  tail: number;
  room: string;
  namespace: string;
  event: string;
  offset: string | null;
  user: string | null;
  node: string;
  bytes: number;
  at: string | number;
  data?: unknown;
}
