// Starts a private cluster for a test file, breaks it on request, and ends it whatever happens to the tests.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { closeClients } from './clients.mjs';

const repository = path.resolve(import.meta.dirname, '../../..');
const script = path.join(repository, 'deploy/local/cluster.sh');
/** The program that is tested. */
export const binary = process.env.GATEWAY_BIN ?? path.join(repository, 'target/release/gateway');

/** The variables of this process without the gateway's own: a developer's settings must not reach the tests. */
export function hermeticEnvironment(settings) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('GATEWAY_'));
  return { ...Object.fromEntries(inherited), ...settings };
}

/** Three nodes with one Redis behind HAProxy. All clients of a test share one address, so that limit is off. */
export function startCluster(settings = {}) {
  const noLimit = {
    GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
    GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS: '0',
  };
  return Cluster.start(['--json'], { NODES: '3', ...noLimit, ...settings });
}

/** One node in embedded mode (still behind HAProxy), with the gateway's own defaults. */
export function startNode(settings = {}) {
  return Cluster.start(['--json', '--embedded'], settings);
}

/** The settings for a gateway with a configuration file, and the way to be rid of it. */
export async function configured(toml) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'gateway-test.'));
  const [file, program] = ['gateway.toml', 'gateway'].map((name) => path.join(directory, name));
  await writeFile(file, toml);
  // The cluster starts its nodes without arguments.
  await writeFile(program, `#!/bin/sh\nexec '${binary}' --config '${file}' "$@"\n`, { mode: 0o755 });
  return { file, settings: { GATEWAY_BIN: program }, remove: () => rm(directory, { recursive: true }) };
}

/** A token as an operator mints it. */
export async function mintToken(secret, ...args) {
  const environment = hermeticEnvironment({ GATEWAY_AUTH__SECRET: secret });
  const { stdout } = await promisify(execFile)(binary, ['token', ...args], { env: environment });
  return stdout.trim();
}

/** A key for the HTTP API as an operator makes it, and what the configuration keeps of it. */
export async function makeKey(...args) {
  const { stdout } = await promisify(execFile)(binary, ['key', ...args], { env: hermeticEnvironment({}) });
  return { key: stdout.match(/gw_[\w-]+/)[0], toml: stdout };
}

/** The first truthy result of `check`; an error that it throws counts as "not yet" until the deadline. */
export async function eventually(what, check, milliseconds = 10_000) {
  const deadline = Date.now() + milliseconds;
  let last;
  for (;;) {
    try {
      const result = await check();
      if (result) return result;
      last = `it was ${JSON.stringify(result)}`;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() >= deadline) throw new Error(`not within ${milliseconds} ms: ${what} (${last})`);
    await delay(20);
  }
}

/** One HTTP request on a connection of its own, so that nothing of it outlives the test. */
export function request(url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = http.request(url, { method, headers, agent: false }, async (response) => {
      try {
        const chunks = await response.toArray();
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() });
      } catch (error) {
        reject(error);
      }
    });
    outgoing.setTimeout(10_000, () => outgoing.destroy(new Error(`no answer from ${url}`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

class Cluster {
  /** `{name, pid, url, admin, log}` of every node. */
  nodes = [];
  #process;
  #events = [];
  #complaints = '';
  #exit;

  static async start(args, settings) {
    const cluster = new Cluster();
    const environment = hermeticEnvironment({ PORT: '0', REDIS_PORT: '0', GATEWAY_BIN: binary, ...settings });
    await cluster.#spawn(args, environment);
    return cluster;
  }

  /** Sends a signal to a node. */
  signal(node, name) {
    process.kill(node.pid, name);
  }

  /** The exit code of a node, or of redis or haproxy, once it has ended. */
  async ended(name, milliseconds = 10_000) {
    const event = await this.#event('ended', name, milliseconds);
    return event.code;
  }

  /** Starts again what has ended: a node by name, redis or haproxy, at its old place with its old data. */
  async startAgain(name) {
    this.#process.stdin.write(`start ${name}\n`);
    const { pid } = await this.#event('started', name, 30_000);
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (node) node.pid = pid;
  }

  /** Sends one command to Redis; null if Redis ended the connection instead of answering. */
  redis(...command) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.redisPort, '127.0.0.1');
      let answer = '';
      const done = (value) => {
        socket.destroy();
        resolve(value);
      };
      socket.on('error', reject);
      socket.on('end', () => done(null));
      socket.on('data', (chunk) => {
        answer += chunk;
        // Status, error or number: what these tests ask for has a one-line answer.
        if (!answer.endsWith('\r\n')) return;
        const text = answer.slice(1).trim();
        done(answer.startsWith('-') ? Promise.reject(new Error(text)) : text);
      });
      const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
      socket.write(`*${parts.length}\r\n${parts.join('')}`);
    });
  }

  /** The HTTP status of a node's readiness. */
  async readiness(node) {
    return (await request(`${node.admin}/readyz`)).status;
  }

  /** The sum of a metric's samples on one node; `labels` narrows it to the series that carry all of them. */
  async metric(node, name, labels = {}) {
    const { status, body } = await request(`${node.admin}/metrics`);
    assert.equal(status, 200);
    const series = body.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    assert.notEqual(series.length, 0, `${name} is not among the metrics of ${node.name}`);
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    const matching = series.filter((line) => wanted.every((label) => line.includes(label)));
    return matching.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  /** Fails if a process of the cluster has ended that nobody waited for. */
  assertAllAlive() {
    const ended = this.#events.filter(({ event }) => event === 'ended');
    assert.deepEqual(ended, [], 'a process of the cluster has ended');
  }

  /** Lines of the nodes' logs that tell of a panic. */
  async panics() {
    const logs = await Promise.all(this.nodes.map((node) => readFile(node.log, 'utf8')));
    return logs.flatMap((log) => log.split('\n').filter((line) => line.includes('panicked')));
  }

  /** Ends the clients and the cluster. A panic anywhere in its life fails the test file, whoever caused it. */
  async stop() {
    closeClients();
    const panics = await this.panics();
    this.#process.stdin.end();
    const late = delay(40_000, 'late', { ref: false });
    const outcome = await Promise.race([this.#exit, late]);
    if (outcome === 'late') this.#process.kill('SIGKILL');
    assert.deepEqual(panics, []);
    assert.equal(outcome, 0, `the cluster's end: ${this.#complaints}`);
  }

  async #spawn(args, environment) {
    // The script ends everything when its standard input ends, which the kernel sees to if this process dies.
    this.#process = spawn(script, args, { env: environment, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process.stdin.on('error', () => {});
    this.#process.stderr.on('data', (chunk) => (this.#complaints += chunk));
    this.#exit = new Promise((resolve, reject) => {
      this.#process.on('error', reject);
      this.#process.on('exit', (code, signal) => resolve(code ?? signal));
    });
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#events.push(JSON.parse(line)));
    const started = eventually('the cluster is up', () => this.#events.find((event) => event.url), 90_000);
    const failed = this.#exit.then((code) => Promise.reject(new Error(`no cluster (${code}): ${this.#complaints}`)));
    // Both may lose the race; only the loser that matters to somebody is theirs to handle.
    failed.catch(() => {});
    started.catch(() => {});
    const description = await Promise.race([started, failed]);
    this.url = description.url;
    this.redisPort = description.redis_port;
    this.nodes = description.nodes;
  }

  /** Takes the oldest event of that kind and name, so that the next call waits for the next one. */
  async #event(kind, name, milliseconds) {
    return eventually(`${name} ${kind}`, () => {
      const failure = this.#events.find((event) => event.event === 'failed');
      assert.equal(failure, undefined, failure?.message);
      const index = this.#events.findIndex((event) => event.event === kind && event.name === name);
      return index >= 0 && this.#events.splice(index, 1)[0];
    }, milliseconds);
  }
}
