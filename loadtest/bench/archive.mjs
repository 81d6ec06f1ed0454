// Measures what the archive costs publishing, and what publishing notices of its database. README.md says how to read it.

import { parseArgs } from 'node:util';

import { median } from './numbers.mjs';
import { startPostgres } from './postgres.mjs';
import { servers, startRedis, swarm } from './servers.mjs';

const ROOM = 9;
const RATE = 1_000;

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    connections: { type: 'string', default: '900' },
    runs: { type: 'string', default: '3' },
    before: { type: 'string', default: '' },
  },
});

const { gateway, before } = servers(options.before);
/** What is measured: a program, and what happens to its database when clients have come; without that, there is no archive. */
const KINDS = {
  'no archive': { start: gateway },
  'the archive': { start: gateway, happens: () => {} },
  'its database stands still': { start: gateway, happens: (database) => database.freeze() },
  'its database is killed': { start: gateway, happens: (database) => database.kill() },
  ...(before && {
    'before: no archive': { start: before },
    'before: the archive': { start: before, happens: () => {} },
  }),
};

async function measured({ start, happens }) {
  const stops = [];
  try {
    const redis = await startRedis();
    stops.push(redis.stop);
    const database = happens && (await startPostgres());
    if (database) stops.push(database.stop);
    const settings = database && { GATEWAY_DATABASE__URL: database.url, GATEWAY_ARCHIVE__ROOMS: '*' };
    const server = await start({ nodes: 3, redis, settings });
    stops.push(server.stop);
    const onLine = (line) => {
      if (/rooms are full/.test(line)) happens?.(database);
    };
    const report = await swarm('rooms', server, {
      connections: Math.floor(Number(options.connections) / ROOM) * ROOM, 'room-size': ROOM, rate: RATE, bytes: 100,
      seconds: options.seconds, warmup: '3s', 'connect-rate': 1_500, 'redis-pid': redis.pid,
    }, onLine);
    const nodes = report.serverCpu.usPerDelivery * ROOM;
    const { p50Us, p99Us } = report.ackLatency;
    const all = nodes + report.redisUsPerPublish;
    const values = { nodes, redis: report.redisUsPerPublish, all, p50: p50Us / 1_000, p99: p99Us / 1_000 };
    return { values, failures: report.failures };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

const failures = [];
const found = Object.fromEntries(Object.keys(KINDS).map((name) => [name, []]));
// By turns, so that what the machine does otherwise hits all alike.
for (let run = 1; run <= Number(options.runs); run++) {
  for (const [name, kind] of Object.entries(KINDS)) {
    const label = `${name}, run ${run} of ${options.runs}`;
    try {
      const { values, failures: broken } = await measured(kind);
      console.error(`${label}: ${JSON.stringify(values)} ${broken}`);
      found[name].push(values);
      failures.push(...broken.map((failure) => `${label}: ${failure}`));
    } catch (error) {
      failures.push(`${label}: ${error.message}`);
      console.error(failures.at(-1));
    }
  }
}

const COLUMNS = {
  nodes: 'nodes, µs per publish', redis: 'Redis, µs per publish', all: 'both', p50: 'ack p50, ms', p99: 'ack p99, ms',
};
const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
print(['', ...Object.values(COLUMNS)]);
console.log(`|---|${'---|'.repeat(Object.keys(COLUMNS).length)}`);
const lines = Object.entries(found).filter(([, runs]) => runs.length).map(([name, runs]) => {
  const values = Object.keys(COLUMNS).map((column) => [column, median(runs.map((run) => run[column]))]);
  return { name, ...Object.fromEntries(values) };
});
for (const { name, nodes, redis, all, p50, p99 } of lines) {
  print([name, nodes.toFixed(0), redis.toFixed(0), all.toFixed(0), p50.toFixed(2), p99.toFixed(2)]);
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(JSON.stringify({ seconds: Number(options.seconds), runs: Number(options.runs), lines, failures }));
process.exitCode = failures.length ? 1 : 0;
