// Figures of a node, for tests.

import type { ServerStats } from '../link/wire';

export function stats(serverId: string, more: Partial<ServerStats> = {}): ServerStats {
  return {
    serverId,
    hostname: 'host',
    uptime: 1,
    clientsCount: 10,
    pollingClientsCount: 2,
    namespaces: [
      { name: '/', socketsCount: 9 },
      { name: '/chat', socketsCount: 3 },
    ],
    version: '1',
    revision: 'a',
    ready: true,
    draining: false,
    hears: true,
    cpu: 0.5,
    lagMs: 1,
    memoryBytes: 1,
    rooms: 1,
    rates: { received: 100, delivered: 1000, refused: 1 },
    ack: { count: 0, p50Ms: null, p99Ms: null },
    operators: 1,
    leftOut: 0,
    ...more,
  };
}
