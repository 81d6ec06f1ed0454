// Measures publishing over HTTP, the gateway beside Centrifugo, and prints one table. README.md says how to read it.

import { parseArgs } from 'node:util';

import { apiServers } from './api_servers.mjs';
import { median } from './numbers.mjs';
import { generate, startRedis } from './servers.mjs';

const BATCH = 100;
/** Each says in the answer which offset it got, once for each publish. */
const SIGN = '"offset":';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string', default: '3' },
    before: { type: 'string', default: '' },
  },
});

const ROWS = [
  { title: 'single requests, 16 connections', kind: 'single', load: { connections: 16 } },
  { title: 'single requests, 1,000 a second', kind: 'single', load: { connections: 16, rate: 1_000 } },
  { title: `batches of ${BATCH}, 4 connections`, kind: 'batch', load: { connections: 4, items: BATCH } },
];
const STORES = { 'in memory': false, 'with Redis': true };
const COLUMNS = { cpu: 'CPU, µs per publish', rate: 'publishes/s', p50: 'p50, ms', p99: 'p99, ms' };

async function measured(start, { kind, load }, hasRedis) {
  const redis = hasRedis ? await startRedis() : undefined;
  try {
    const server = await start(redis);
    try {
      const { header, [kind]: request } = server.requests;
      const report = await generate('post', {
        header, ...request, ...load, sign: SIGN, seconds: options.seconds, 'server-pid': server.pid,
      });
      const values = {
        cpu: report.cpu.usPerPublish,
        rate: report.publishesPerSecond,
        p50: report.latency.p50Us / 1_000,
        p99: report.latency.p99Us / 1_000,
      };
      return { values, failures: report.failures };
    } finally {
      await server.stop();
    }
  } finally {
    await redis?.stop();
  }
}

const failures = [];
const servers = Object.entries(apiServers(options.before));
const lines = [];
for (const [store, hasRedis] of Object.entries(STORES)) {
  for (const row of ROWS) {
    const found = Object.fromEntries(servers.map(([name]) => [name, []]));
    // By turns, so that what the machine does otherwise hits all alike.
    for (let run = 1; run <= Number(options.runs); run++) {
      for (const [name, start] of servers) {
        const label = `${row.title}, ${store}, run ${run} of ${options.runs}: ${name}`;
        try {
          const { values, failures: broken } = await measured(start, row, hasRedis);
          console.error(`${label}: ${JSON.stringify(values)} ${broken}`);
          found[name].push(values);
          failures.push(...broken.map((failure) => `${label}: ${failure}`));
        } catch (error) {
          failures.push(`${label}: ${error.message}`);
          console.error(failures.at(-1));
        }
      }
    }
    for (const [name, runs] of Object.entries(found)) {
      if (!runs.length) continue;
      const values = Object.keys(COLUMNS).map((column) => [column, median(runs.map((run) => run[column]))]);
      lines.push({ row: `${row.title}, ${store}`, server: name, ...Object.fromEntries(values) });
    }
  }
}

const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
print(['', '', ...Object.values(COLUMNS)]);
console.log(`|---|---|${'---|'.repeat(Object.keys(COLUMNS).length)}`);
for (const [index, line] of lines.entries()) {
  const row = line.row === lines[index - 1]?.row ? '' : line.row;
  print([row, line.server, line.cpu.toFixed(1), line.rate.toFixed(0), line.p50.toFixed(2), line.p99.toFixed(2)]);
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(JSON.stringify({ seconds: Number(options.seconds), runs: Number(options.runs), lines, failures }));
process.exitCode = failures.length ? 1 : 0;
