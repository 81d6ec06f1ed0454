// Measures what a second Redis brings: two namespaces in one, and each in its own. README.md says how to read it.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';

import { median } from './numbers.mjs';
import { address, environment, generate, launch, release, startRedis } from './servers.mjs';

const NAMESPACES = ['/a', '/b'];
const BATCH = 100;
const DATA = JSON.stringify({ text: 'x'.repeat(100 - '{"text":""}'.length) });

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    runs: { type: 'string', default: '3' },
    nodes: { type: 'string', default: '2' },
  },
});

const KINDS = { 'both in one Redis': 1, 'each in its own Redis': 2 };
const ROUTES = NAMESPACES.map((name) => `[[route]]\nnamespace = "${name}"\nevent = "join"\naction = "join"\n`).join('\n');

async function startNodes(key, [main, second], folder) {
  const file = path.join(folder, 'gateway.toml');
  await writeFile(file, `profile = "none"\n${ROUTES}\n${key}`);
  const settings = {
    GATEWAY_LISTEN: '127.0.0.1:0',
    GATEWAY_ADMIN_LISTEN: '127.0.0.1:0',
    GATEWAY_DATA_DIR: '',
    GATEWAY_REDIS_URL: main.url,
    GATEWAY_TELEMETRY__FORMAT: 'json',
    GATEWAY_API__REQUESTS_PER_SECOND: '0',
    ...(second && { GATEWAY_REDIS__OF__SECOND__URL: second.url, GATEWAY_REDIS__OF__SECOND__NAMESPACES: NAMESPACES[1] }),
  };
  const start = () => launch(release('gateway'), ['--config', file], settings, address);
  return Promise.all(Array.from({ length: Number(options.nodes) }, start));
}

async function measured(count) {
  const stops = [];
  try {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-bench.'));
    stops.push(() => rm(folder, { recursive: true }));
    const { stdout: key } = await promisify(execFile)(
      release('gateway'), ['key', '--name', 'bench', '--scope', 'publish'], { env: environment({}) });
    const redis = [];
    for (let number = 0; number < count; number++) {
      redis.push(await startRedis());
      stops.push(redis.at(-1).stop);
    }
    const nodes = await startNodes(key, redis, folder);
    nodes.forEach(({ stop }) => stops.push(stop));
    // A node publishes to both, as any would; which one a generator asks changes nothing.
    const load = (namespace, index) => {
      const own = `{"event":"tick","data":${DATA},"id":"{n}"}`;
      const to = `/api/v1/rooms/bench-{room}/events?namespace=${encodeURIComponent(namespace)}`;
      return generate('post', {
        header: `Authorization: Bearer ${key.match(/gw_[\w-]+/)[0]}`,
        url: `http://${nodes[index % nodes.length].found}/api/v1/batch`,
        body: '{"items":[{items}]}',
        item: `{"method":"POST","path":"${to}","body":${own}}`,
        items: BATCH, connections: 4, sign: '"offset":', seconds: options.seconds, 'server-pid': redis[index % redis.length].pid,
      });
    };
    const reports = await Promise.all(NAMESPACES.map(load));
    const rate = reports.reduce((sum, report) => sum + report.publishesPerSecond, 0);
    const cores = reports.slice(0, count).map((report) => report.cpu.cores);
    const all = cores.reduce((sum, one) => sum + one, 0);
    const p99 = Math.max(...reports.map((report) => report.latency.p99Us)) / 1_000;
    const values = { rate, busiest: Math.max(...cores), cpu: (all * 1_000_000) / rate, p99 };
    return { values, failures: reports.flatMap((report) => report.failures) };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

const failures = [];
const found = Object.fromEntries(Object.keys(KINDS).map((name) => [name, []]));
// By turns, so that what the machine does otherwise hits all alike.
for (let run = 1; run <= Number(options.runs); run++) {
  for (const [name, count] of Object.entries(KINDS)) {
    const label = `${name}, run ${run} of ${options.runs}`;
    try {
      const { values, failures: broken } = await measured(count);
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
  rate: 'publishes/s, both', busiest: 'cores of the busiest Redis', cpu: 'Redis, µs per publish', p99: 'p99 of a batch, ms',
};
const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
print(['', ...Object.values(COLUMNS)]);
console.log(`|---|${'---|'.repeat(Object.keys(COLUMNS).length)}`);
const lines = Object.entries(found).filter(([, runs]) => runs.length).map(([name, runs]) => {
  const values = Object.keys(COLUMNS).map((column) => [column, median(runs.map((run) => run[column]))]);
  return { name, ...Object.fromEntries(values) };
});
for (const { name, rate, busiest, cpu, p99 } of lines) {
  print([name, rate.toFixed(0), busiest.toFixed(2), cpu.toFixed(1), p99.toFixed(1)]);
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(JSON.stringify({ seconds: Number(options.seconds), runs: Number(options.runs), lines, failures }));
process.exitCode = failures.length ? 1 : 0;
