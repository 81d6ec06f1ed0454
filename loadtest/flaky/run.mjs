// node loadtest/flaky/run.mjs compare | kill9 [SERVER] | rolling [SERVER]: what clients lose when something fails.

import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { startCluster } from '../../gateway/tests/clients/harness.mjs';
import { Crowd, Speaker } from './crowd.mjs';

const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const CLIENTS = number('CLIENTS', 1_000);
const ROOMS = number('ROOMS', 20);
const EVENTS_PER_SECOND = number('EVENTS_PER_SECOND', 2); // in every room
const SECONDS = number('SECONDS', 90);
const WORKERS = number('WORKERS', 4);
const CUT_EVERY_MS = number('CUT_EVERY_MS', 15_000);
const CUT_LASTS_MS = number('CUT_LASTS_MS', 2_000);

const peer = path.join(import.meta.dirname, 'peer.mjs');
// Three processes, Redis and HAProxy each; all that differs is the program.
const SERVERS = {
  gateway: { GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' },
  'socket.io': { GATEWAY_BIN: peer },
  'socket.io with recovery': { GATEWAY_BIN: peer, PEER_RECOVERY: '1' },
};

/**
 * Runs `trouble` with everybody connected and somebody talking, and audits what was heard. All come through the load
 * balancer, or to the node with that number.
 */
async function audited(server, trouble, { crowdAt, speakerAt } = {}) {
  const cluster = await startCluster({ GATEWAY_LIMITS__CONNECTIONS: '0', ...SERVERS[server] });
  let crowd;
  let speaker;
  try {
    const at = (node) => ({ url: (cluster.nodes[node] ?? cluster).url, rooms: ROOMS });
    crowd = await Crowd.start({ ...at(crowdAt), clients: CLIENTS, workers: WORKERS, connectsPerSecond: 100 });
    speaker = await Speaker.start({ ...at(speakerAt), eventsPerSecond: EVENTS_PER_SECOND });
    const findings = (await trouble(cluster, crowd)) ?? {};
    await crowd.settled();
    await speaker.end();
    await crowd.finished();
    const audits = await crowd.audit(speaker.counts);
    return { ...summary(audits), ...findings, audits };
  } finally {
    crowd?.stop();
    speaker?.stop();
    await cluster.stop();
  }
}

function summary(audits) {
  const sum = (key) => audits.reduce((total, audit) => total + audit[key], 0);
  const [expected, lost, reconnects] = ['expected', 'lost', 'reconnects'].map(sum);
  return {
    'deliveries due': expected,
    'delivered, %': percent(expected - lost, expected, 3),
    lost,
    doubled: sum('doubled'),
    reordered: sum('reordered'),
    reconnects,
    'reconnects per client': (reconnects / audits.length).toFixed(2),
    'recovered, % of reconnects': percent(sum('recovered'), reconnects, 1),
    'clients that missed something': audits.filter(({ lost: own }) => own > 0).length,
  };
}

function percent(part, whole, digits) {
  // Never rounded up to all of it.
  const factor = 10 ** (digits + 2);
  return whole === 0 ? '-' : (Math.floor((part / whole) * factor) / 10 ** digits).toFixed(digits);
}

const scenarios = {
  /** The same trouble for every server: everybody's connection fails all the time. */
  async compare() {
    const results = [];
    for (const server of Object.keys(SERVERS)) {
      console.error(server);
      results.push([server, await audited(server, async (_, crowd) => {
        await crowd.fail(CUT_EVERY_MS, CUT_LASTS_MS);
        await delay(SECONDS * 1_000);
        await crowd.stopFailing();
        // Who is cut off right now comes back after this.
        await delay(CUT_LASTS_MS * 2);
      })]);
    }
    return results;
  },

  /** All clients are on one node, which is killed; they come back through the load balancer. */
  async kill9(server = 'gateway') {
    let killed;
    const result = await audited(server, async (cluster, crowd) => {
      await crowd.moveTo(cluster.url);
      await delay(5_000);
      cluster.signal(cluster.nodes[0], 'SIGKILL');
      killed = Date.now();
      await cluster.ended(cluster.nodes[0].name);
      await delay(1_000);
      await crowd.settled();
      await delay(5_000);
    }, { crowdAt: 0, speakerAt: 1 });
    const back = result.audits.map(({ since }) => since - killed).sort((a, b) => a - b);
    const after = (share) => `${(back[Math.ceil(back.length * share) - 1] / 1_000).toFixed(2)} s`;
    const times = { 'half back after': after(0.5), '99 % back after': after(0.99), 'all back after': after(1) };
    return [[server, { ...result, ...times }]];
  },

  /** Every node is told to stop and started again, one after the other. */
  async rolling(server = 'gateway') {
    return [[server, await audited(server, async (cluster, crowd) => {
      const began = performance.now();
      for (const node of cluster.nodes) {
        cluster.signal(node, 'SIGTERM');
        await cluster.ended(node.name, 60_000);
        await cluster.startAgain(node.name);
        await crowd.settled();
      }
      return { 'all replaced in': `${((performance.now() - began) / 1_000).toFixed(1)} s` };
    })]];
  },
};

function print(results) {
  const lines = Object.keys(results[0][1]).filter((line) => line !== 'audits');
  console.log(`| | ${results.map(([server]) => server).join(' | ')} |`);
  console.log(`|---|${'---|'.repeat(results.length)}`);
  for (const line of lines) console.log(`| ${line} | ${results.map(([, result]) => result[line]).join(' | ')} |`);
}

const [scenario, server] = process.argv.slice(2);
if (!(scenario in scenarios) || (server && !(server in SERVERS))) {
  const servers = Object.keys(SERVERS).map((name) => `'${name}'`).join(', ');
  console.error(`usage: run.mjs compare | kill9 [SERVER] | rolling [SERVER]; servers: ${servers}`);
  process.exit(64);
}
print(await scenarios[scenario](server));
