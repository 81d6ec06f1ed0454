// Starts the servers that are measured, each fresh and on ports of its own, and ends them.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

export const repository = path.resolve(import.meta.dirname, '../..');
/** Which build is measured. Only a release's figures mean anything; `debug` shows whether a bench works. */
export const PROFILE = process.env.BENCH_PROFILE || 'release';
export const release = (name) => path.join(repository, 'target', PROFILE, name);
const STARTS_WITHIN_MS = 20_000;

// What limits clients would limit the measurement. Only what every version of the gateway knows.
const NO_LIMITS = {
  GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
  GATEWAY_LIMITS__BYTES_PER_SECOND: '0',
  GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
  GATEWAY_LIMITS__HANDSHAKES_PER_SECOND: '0',
  GATEWAY_LIMITS__CONNECTIONS: '0',
};

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** This process's variables without the servers' own: a developer's settings must not reach what is measured. */
export function environment(settings) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(GATEWAY|PEER|CENTRIFUGO|TOKIO)_/.test(name));
  return { ...Object.fromEntries(inherited), ...settings };
}

/** A process, and what `find` makes of one of its lines. `as` is whose it is, and where. */
export async function launch(command, args, settings, find, as = {}) {
  const child = spawn(command, args, { ...as, env: environment(settings), stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let last = '';
  const ended = new Promise((resolve) => child.on('close', resolve)).then(() => running.delete(child));
  const ready = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${command} was not ready in time: ${last}`)), STARTS_WITHIN_MS);
    child.on('error', reject);
    ended.then(() => reject(new Error(`${command} ended: ${last}`)));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        last = line;
        const found = find(line);
        if (found === undefined) return;
        clearTimeout(late);
        resolve(found);
      });
    }
  });
  const found = await ready;
  // Nothing that is measured is kept, so nobody needs to be asked to go.
  return { pid: child.pid, found, stop: () => (child.kill('SIGKILL'), ended) };
}

/** The address in the line of JSON that says that a server is ready. */
export function address(line) {
  try {
    const { address: own, fields } = JSON.parse(line);
    return own ?? (fields?.message === 'ready' ? fields.address : undefined);
  } catch {
    return undefined;
  }
}

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.on('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A Redis that keeps nothing on disk. */
export async function startRedis() {
  const port = String(await freePort());
  const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', os.tmpdir()];
  const isReady = (line) => (/ready to accept connections/i.test(line) ? true : undefined);
  const { pid, stop } = await launch('redis-server', args, {}, isReady);
  return { pid, stop, url: `redis://127.0.0.1:${port}` };
}

/** Processes that clients can connect to: their `urls`, their `pids`, and how to `stop` them. */
function together(processes, afterwards = async () => {}) {
  return {
    urls: processes.map(({ found }) => `http://${found}`),
    pids: processes.map(({ pid }) => pid),
    stop: async () => {
      await Promise.all(processes.map(({ stop }) => stop()));
      await afterwards();
    },
  };
}

const several = (count, start) => Promise.all(Array.from({ length: count }, start));

const startFloor = async () => together([await launch(release('floor'), [], {}, address)]);

const startPeers = async ({ nodes = 1, redis }) => {
  const settings = redis ? { PEER_REDIS_URL: redis.url } : {};
  const peer = path.join(import.meta.dirname, 'peer.mjs');
  return together(await several(nodes, () => launch(process.execPath, [peer], settings, address)));
};

const gatewayAt = (binary) => async ({ nodes = 1, redis, disk = false, threads, settings: more }) => {
  const directory = disk ? await mkdtemp(path.join(os.tmpdir(), 'gateway-bench.')) : undefined;
  const settings = {
    ...NO_LIMITS,
    GATEWAY_LISTEN: '127.0.0.1:0',
    GATEWAY_ADMIN_LISTEN: '127.0.0.1:0',
    GATEWAY_DATA_DIR: directory ?? '',
    GATEWAY_REDIS_URL: redis?.url ?? '',
    GATEWAY_TELEMETRY__FORMAT: 'json',
    ...(threads && { TOKIO_WORKER_THREADS: String(threads) }),
    ...more,
  };
  const processes = await several(nodes, () => launch(binary, [], settings, address));
  return together(processes, async () => directory && rm(directory, { recursive: true }));
};

/** Name -> how to start it. `before` is another gateway's program, to be measured beside this one's. */
export function servers(before) {
  const known = { floor: startFloor, node: startPeers, gateway: gatewayAt(release('gateway')) };
  return before ? { ...known, before: gatewayAt(path.resolve(before)) } : known;
}

/**
 * One run of swarm. Its findings, and `failures` if it broke a promise; `onLine` hears what it says on the way.
 */
export async function swarm(scenario, { urls, pids }, options, onLine = () => {}) {
  return generate(scenario, { url: urls, 'server-pid': pids, 'source-addresses': 50, ...options }, onLine);
}

/** The same with all options as they are; a list is an option that is there several times. */
export async function generate(scenario, options, onLine = () => {}) {
  const args = [scenario, '--json'];
  for (const [name, values] of Object.entries(options)) {
    for (const value of [values].flat()) args.push(`--${name}`, ...(value === true ? [] : [String(value)]));
  }
  const child = spawn(release('swarm'), args, { env: environment({}), stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let last = '';
  const complaints = [];
  createInterface({ input: child.stdout }).on('line', (line) => (last = line));
  createInterface({ input: child.stderr }).on('line', (line) => {
    complaints.push(line);
    onLine(line);
  });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  running.delete(child);
  if (code !== 0 && code !== 1) throw new Error(`swarm ${scenario}: ${complaints.join('; ') || `code ${code}`}`);
  return JSON.parse(last);
}

/** Processor time of processes so far, user and system, in microseconds; the kernel counts in 10 ms. */
export async function cpuMicroseconds(pids) {
  const TICK_US = 10_000;
  const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8')));
  return stats.reduce((sum, stat) => {
    // The second field is the program's name in brackets, in which anything may stand.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [user, system] = [Number(fields[11]), Number(fields[12])];
    return sum + (user + system) * TICK_US;
  }, 0);
}
