// Figures of nodes, put together.

import { describe, expect, it } from 'vitest';

import type { ServerStats } from '../link/wire';
import { byName, GONE_MS, heard, isSilent, SILENT_MS, swept, totals, type Cluster } from './cluster';
import { stats } from './stats.fixture';

describe('the cluster', () => {
  it('has each node once, as it said last, by name', () => {
    let cluster: Cluster = new Map();
    for (const [name, at] of [
      ['b', 1],
      ['a', 2],
      ['b', 3],
    ] as const)
      cluster = heard(cluster, stats(name, { clientsCount: at }), at);
    expect(byName(cluster).map((node) => [node.serverId, node.clientsCount, node.heardAt])).toEqual([
      ['a', 2, 2],
      ['b', 3, 3],
    ]);
  });

  it('adds up what nodes say, and takes the worst of what cannot be added', () => {
    let cluster = heard(new Map(), stats('a', { cpu: 0.9, ack: { count: 5, p50Ms: 2, p99Ms: 8 } }), 0);
    cluster = heard(cluster, stats('b', { lagMs: 7 }), 0);
    const all = totals(cluster, 0);
    expect(all).toMatchObject({
      nodes: 2,
      connections: 20,
      polling: 4,
      sessions: 24,
      received: 200,
      delivered: 2000,
      refused: 2,
    });
    expect([all.cpu, all.lag, all.ackP50, all.ackP99]).toEqual([0.9, 7, 2, 8]);
    expect(totals(new Map(), 0).ackP99).toBeUndefined();
  });

  it('takes in a node of an older version, which says less', () => {
    const { serverId, hostname, uptime, clientsCount, pollingClientsCount, namespaces, leftOut } = stats('old');
    const said = { serverId, hostname, uptime, clientsCount, pollingClientsCount, namespaces, leftOut };
    const cluster = heard(heard(new Map(), stats('new'), 0), said as ServerStats, 0);
    expect(totals(cluster, 0)).toMatchObject({ nodes: 2, connections: 20, received: 100, cpu: 0.5, lag: 1 });
    expect(byName(cluster)[1]).toMatchObject({ version: 'an older version', ready: true });
  });

  it('leaves a silent node out of the sums, shows it for a while, and then forgets it', () => {
    let cluster = heard(new Map(), stats('a'), 0);
    cluster = heard(cluster, stats('b'), SILENT_MS);
    const now = SILENT_MS;
    expect(byName(cluster).map((node) => isSilent(node, now))).toEqual([true, false]);
    expect(totals(cluster, now).nodes).toBe(1);
    expect(swept(cluster, GONE_MS - 1)).toBe(cluster);
    expect([...swept(cluster, GONE_MS).keys()]).toEqual(['b']);
  });
});
