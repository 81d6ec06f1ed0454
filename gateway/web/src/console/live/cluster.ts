// The nodes, by the figures that they send, and what they add up to.

import type { ServerStats } from '../link/wire';

/** A node that has said nothing for so long is shown as silent: two of its figures are missing. */
export const SILENT_MS = 6_500;
/** And is not shown any more after so long. */
export const GONE_MS = 60_000;

export interface NodeFigures extends ServerStats {
  /** When they came, by the clock of this page. */
  heardAt: number;
}

export type Cluster = ReadonlyMap<string, NodeFigures>;

/** What a node of a version before these figures does not send, while a deployment is upgraded. */
const UNSAID = {
  version: 'an older version',
  revision: 'unknown',
  ready: true,
  draining: false,
  hears: true,
  cpu: Number.NaN,
  lagMs: Number.NaN,
  memoryBytes: Number.NaN,
  rooms: Number.NaN,
  rates: { received: 0, delivered: 0, refused: 0 },
  ack: { count: 0, p50Ms: null, p99Ms: null },
  operators: Number.NaN,
};

/** The nodes after one has sent its figures. */
export function heard(cluster: Cluster, stats: ServerStats, now: number): Cluster {
  const next = new Map(cluster);
  next.set(stats.serverId, { ...UNSAID, ...stats, heardAt: now });
  return next;
}

/** The nodes without those that are gone; the same, if none is. */
export function swept(cluster: Cluster, now: number): Cluster {
  const there = [...cluster].filter(([, node]) => now - node.heardAt < GONE_MS);
  return there.length === cluster.size ? cluster : new Map(there);
}

export function isSilent(node: NodeFigures, now: number): boolean {
  return now - node.heardAt >= SILENT_MS;
}

/** By name, so that cards stay where they are. */
export function byName(cluster: Cluster): NodeFigures[] {
  return [...cluster.values()].sort((one, other) => (one.serverId < other.serverId ? -1 : 1));
}

export interface Totals {
  nodes: number;
  connections: number;
  polling: number;
  sessions: number;
  received: number;
  delivered: number;
  refused: number;
  /** Of the node where it is worst, in ms. */
  ackP50: number | undefined;
  ackP99: number | undefined;
  lag: number | undefined;
  /** Of the node that is busiest, as a share of a core. */
  cpu: number | undefined;
}

/** What the nodes that speak add up to. */
export function totals(cluster: Cluster, now: number): Totals {
  const nodes = [...cluster.values()].filter((node) => !isSilent(node, now));
  const sum = (of: (node: NodeFigures) => number) => nodes.reduce((sofar, node) => sofar + of(node), 0);
  const most = (of: (node: NodeFigures) => number | null) =>
    nodes.reduce<number | undefined>((sofar, node) => {
      const value = of(node);
      return value === null || Number.isNaN(value) || (sofar !== undefined && sofar >= value) ? sofar : value;
    }, undefined);
  return {
    nodes: nodes.length,
    connections: sum((node) => node.clientsCount),
    polling: sum((node) => node.pollingClientsCount),
    sessions: sum((node) => node.namespaces.reduce((sofar, namespace) => sofar + namespace.socketsCount, 0)),
    received: sum((node) => node.rates.received),
    delivered: sum((node) => node.rates.delivered),
    refused: sum((node) => node.rates.refused),
    ackP50: most((node) => node.ack.p50Ms),
    ackP99: most((node) => node.ack.p99Ms),
    lag: most((node) => node.lagMs),
    cpu: most((node) => node.cpu),
  };
}
