// The stage of a rehearsal: three nodes behind HAProxy, Redis and its exporter, a database, back ends that can fail, clients that
// talk, and a Prometheus with shortened rules.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { Postgres } from '../../gateway/tests/clients/databases.mjs';
import { configured, eventually, hermeticEnvironment, makeKey, startCluster } from '../../gateway/tests/clients/harness.mjs';
import { Server } from '../../gateway/tests/clients/server.mjs';
import { io } from '../../gateway/tests/clients/node_modules/socket.io-client/build/esm/index.js';
import { BackEnd } from '../pictures/backend.mjs';
import { Crowd, SECRET } from '../pictures/crowd.mjs';
import { Prometheus } from '../pictures/prometheus.mjs';
import { shortRules } from './rules.mjs';

const SWARM = process.env.SWARM_BIN ?? 'target/release/swarm';
export const OPERATOR = 'a token of the operators';
const MEMBERS = 24;

function configuration(backEnd, entry, database, key) {
  const hook = (name, more) => `[[hook]]\nname = "${name}"\nurl = "${backEnd.url}/${name}"\nsecrets = ["a secret of the hooks"]\n${more}\n`;
  return `
    profile = "native"
    [auth]
    secret = "${SECRET}"
    jwks_url = "${backEnd.url}/keys"
    jwks_refresh = "3s"
    jwks_cooldown = "1s"
    [auth.hook]
    url = "${entry.url}"
    timeout = "1s"
    [limits]
    [recovery]
    max_events = 100
    [log]
    room_events = 50
    [emitters]
    redis = true
    streams = true
    durable = true
    lease = "2s"
    [hooks]
    backoff_max = "1s"
    [archive]
    rooms = ["chat-*"]
    lease = "2s"
    queue_events = 300
    [drain]
    timeout = "4s"
    announce = "1s"
    connections_per_second = 5
    [database]
    url = "${database}"
    timeout = "2s"
    [admin]
    token = "${OPERATOR}"
    [presence]
    lease = "2s"
    linger = "1s"
    [jobs]
    workers = 2
    [[jobs.back_end]]
    name = "billing"
    url = "${backEnd.url}/jobs"
    secrets = ["a secret of the jobs of billing"]
    timeout = "2s"
    [[jobs.back_end]]
    name = "slow"
    url = "${new URL('/jobs', entry.url)}"
    secrets = ["a secret of the jobs that take long"]
    timeout = "5s"
    ${key.toml}
    ${hook('shop', 'events = ["publish"]\nrooms = "chat-1*"\ntimeout = "1s"')}
    ${hook('legacy', 'events = ["publish"]\nrooms = "never-heard-of"')}
    [[route]]
    event = "order"
    action = "call"
    url = "${backEnd.url}/orders"
    timeout = "1s"
    [[route]]
    event = "mention"
    action = "notify"
    user = "{arg.whom}"
    message = "{arg.text}"
  `;
}

/** Who decides about those that want in, and does some jobs: everybody may, and at once, until it is told otherwise. */
async function startEntry() {
  const entry = { status: 200, takesMs: 0 };
  const server = createServer((request, response) => {
    const answer = () => response.writeHead(entry.status, { 'content-type': 'application/json' }).end('{"allow":true}');
    request.resume().on('end', () => setTimeout(answer, request.url === '/jobs' ? entry.takesMs : 0));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  entry.url = `http://127.0.0.1:${server.address().port}/entry`;
  entry.stop = async () => {
    server.closeAllConnections();
    server.close();
  };
  return entry;
}

export class Stage {
  #ends = [];
  #targets;
  #going = new Set();

  static async build(factor) {
    const stage = new Stage();
    try {
      await stage.#build(factor);
    } catch (error) {
      await stage.strike();
      throw error;
    }
    return stage;
  }

  async #build(factor) {
    const keep = (thing, end = 'stop') => {
      this.#ends.push(() => thing[end]());
      return thing;
    };
    this.folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-rehearsal.'));
    this.#ends.push(() => rm(this.folder, { recursive: true, force: true }));
    this.backEnd = keep(await BackEnd.start());
    this.entry = keep(await startEntry());
    this.postgres = keep(await Postgres.start());
    // Who stands still does not hear that it should end.
    this.#ends.push(() => this.postgres.signal('SIGCONT'));
    this.databaseUrl = await this.postgres.create('gateway');
    this.key = await makeKey('--name', 'rehearsal', '--scope', 'publish,read,control,notify,jobs,moderate,admin');
    this.settings = keep(await configured(configuration(this.backEnd, this.entry, this.databaseUrl, this.key)), 'remove');
    const limits = { GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS: '100' };
    this.cluster = keep(await startCluster({ ...this.settings.settings, ...limits }));
    this.redisPid = Number((await this.redis('INFO', 'server')).match(/process_id:(\d+)/)[1]);
    this.redisFolder = (await this.redis('CONFIG', 'GET', 'dir')).split('\n')[1].trim();
    const exporter = keep(new Server('redis_exporter'));
    const at = (port) => ['-web.listen-address', `127.0.0.1:${port}`, '-redis.addr', `redis://127.0.0.1:${this.cluster.redisPort}`];
    await exporter.run('prometheus-redis-exporter', at, {}, async (port) => (await fetch(`http://127.0.0.1:${port}/`)).ok);
    this.#targets = path.join(this.folder, 'targets.json');
    await this.targets();
    const how = { rulesFrom: await shortRules(this.folder, factor), every: '1s' };
    const data = path.join(this.folder, 'data');
    this.prometheus = keep(await Prometheus.start(data, this.#targets, [`127.0.0.1:${exporter.port}`], how));
    this.crowd = keep(new Crowd(this.cluster.url));
    await this.crowd.come(MEMBERS);
  }

  /** The node that the alerts of these cases name. */
  get node() {
    return this.cluster.nodes[0];
  }

  /** What an operator sets before anything else. */
  variables(node = this.node) {
    const NODES = [...new Set([...this.cluster.nodes, node].map(({ admin }) => admin))].join(' ');
    return { NODES, ADMIN: node.admin, ADMIN_TOKEN: OPERATOR, REDIS: `-h 127.0.0.1 -p ${this.cluster.redisPort}`, PREFIX: 'gateway' };
  }

  /** Has Prometheus know these addresses, or all nodes. */
  async targets(more = [], nodes = this.cluster.nodes) {
    const targets = [...nodes.map(({ admin }) => new URL(admin).host), ...more];
    await writeFile(this.#targets, JSON.stringify(targets.length > 0 ? [{ targets }] : []));
  }

  /** One command for Redis, as redis-cli has it. */
  async redis(...command) {
    const { stdout } = await promisify(execFile)('redis-cli', ['-h', '127.0.0.1', '-p', `${this.cluster.redisPort}`, ...command]);
    return stdout.trim();
  }

  /** A request of a back end to the HTTP API, or of somebody to elsewhere; null where nobody answers in time. */
  async ask(method, where, body, headers = {}) {
    const url = where.startsWith('http') ? where : `${this.cluster.url}${where}`;
    const said = { authorization: `Bearer ${this.key.key}`, 'content-type': 'application/json', ...headers };
    const signal = AbortSignal.timeout(5000);
    const response = await fetch(url, { method, headers: said, body: body && JSON.stringify(body), signal }).catch(() => null);
    const text = await response?.text().catch(() => '');
    return response && { status: response.status, text };
  }

  publish(room = 'chat-1') {
    return this.ask('POST', `/api/v1/rooms/${room}/events`, { event: 'news', data: 'x'.repeat(200) });
  }

  /** An order of an operator about a node, for which a node is asked. */
  order(asked, name, what) {
    return this.ask('POST', `${asked.admin}/console/api/nodes/${name}/${what}`, undefined, { authorization: `Bearer ${OPERATOR}` });
  }

  /** So many members of a room; `joined` says of each whether it is there. */
  members(room, many, options, url = this.cluster.url) {
    const sockets = Array.from({ length: many }, (_, number) => {
      const auth = { token: this.crowd.token(`member-${number}`) };
      const socket = io(url, { forceNew: true, transports: ['websocket'], auth, ...options });
      const join = async () => {
        await socket.emitWithAck('join', { room });
        socket.joined = true;
      };
      socket.on('connect', () => socket.recovered || join());
      return socket;
    });
    this.#ends.push(() => sockets.forEach((socket) => socket.disconnect()));
    return sockets;
  }

  /** Does something again and again, at a pace, until what is returned is called. */
  repeat(milliseconds, act) {
    const over = new AbortController();
    const running = (async () => {
      while (!over.signal.aborted) {
        // What is late is not waited for: a fault is to be as fast as it is said to be.
        const one = Promise.resolve(act()).catch(() => {});
        this.#going.add(one);
        one.finally(() => this.#going.delete(one));
        await delay(milliseconds, undefined, { signal: over.signal }).catch(() => {});
      }
    })();
    return async () => {
      over.abort();
      await running;
      await Promise.all(this.#going);
    };
  }

  /** A process of the load generator, which is ended by what is returned. */
  swarm(...how) {
    const leash = ['--pdeathsig', 'KILL', '--', SWARM, ...how, '--token', this.crowd.token('swarm')];
    const swarm = spawn('setpriv', leash, { stdio: 'ignore' });
    const ended = once(swarm, 'exit');
    const end = async () => {
      if (swarm.exitCode === null && swarm.signalCode === null) swarm.kill('SIGKILL');
      await ended;
    };
    this.#ends.push(end);
    return end;
  }

  /** Another node, that nobody sends clients to, with other settings; what is returned is its address and its end. */
  async odd(settings) {
    const node = new Server('another node');
    this.#ends.push(() => node.stop());
    const set = {
      GATEWAY_NODE_NAME: 'odd',
      GATEWAY_REDIS_URL: `redis://127.0.0.1:${this.cluster.redisPort}`,
      GATEWAY_DATA_DIR: path.join(this.folder, 'odd'),
      ...settings,
    };
    const program = (...ports) => [
      ...Object.entries(set).map(([name, value]) => `${name}=${value}`),
      ...['GATEWAY_LISTEN', 'GATEWAY_ADMIN_LISTEN'].map((name, at) => `${name}=127.0.0.1:${ports[at]}`),
      this.settings.settings.GATEWAY_BIN,
    ];
    const ready = async (_, admin) => (await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => null))?.ok;
    await node.run('env', program, { env: hermeticEnvironment({}) }, ready, 2);
    const [host, admin] = [`127.0.0.1:${node.ports[1]}`, `http://127.0.0.1:${node.ports[1]}`];
    return { name: set.GATEWAY_NODE_NAME, host, admin, url: `http://127.0.0.1:${node.ports[0]}`, stop: () => node.stop() };
  }

  /** Another node, with clients for which it holds most of what it may hold, as they do not read: nothing but what they were told last. */
  async deaf(settings) {
    const limit = 8 << 20;
    const node = await this.odd({
      GATEWAY_LIMITS__BUFFERED_BYTES: `${limit}`,
      // Neither of these is to be what ends them.
      GATEWAY_SOCKET__WRITE_TIMEOUT: '120s',
      GATEWAY_SOCKET__PING_INTERVAL: '120s',
      ...settings,
    });
    await this.targets([node.host]);
    const sockets = this.members('deaf', 10, { reconnection: false }, node.url);
    await eventually('they are in their room', () => sockets.every(({ joined }) => joined), 20_000);
    sockets.forEach((socket) => socket.io.engine.transport.ws._socket.pause());
    const say = () => this.ask('POST', `${node.url}/api/v1/rooms/deaf/events`, { event: 'news', data: 'x'.repeat(50_000) });
    const held = () => this.cluster.metric(node, 'gateway_buffered_bytes');
    // What the kernel takes for them is megabytes of each, and no concern of the node's.
    for (let said = 0; (await held()) < 0.83 * limit; said++) {
      if (said === 1000) throw new Error('the node holds nothing for who does not read');
      await say();
    }
    const stop = async () => {
      sockets.forEach((socket) => socket.io.engine.transport.ws.terminate());
      await node.stop();
      await this.targets();
    };
    return { ...node, stop };
  }

  /** Whether an alert fires, or is about to. */
  async fires(alert) {
    const query = `max(ALERTS{alertname="${alert}",alertstate="firing"})`;
    return (await this.prometheus.instant(query, Date.now() / 1000)).length > 0;
  }

  /** All alerts that fire. */
  async firing() {
    const all = await this.prometheus.instant('group by (alertname) (ALERTS{alertstate="firing"})', Date.now() / 1000);
    return all.map(({ metric }) => metric.alertname).sort();
  }

  /** Starts a node, or Redis, that has ended. */
  async back(name) {
    await this.cluster.startAgain(name);
    if (name === 'redis') this.redisPid = Number((await this.redis('INFO', 'server')).match(/process_id:(\d+)/)[1]);
  }

  async logOf(node = this.node) {
    return readFile(node.log, 'utf8');
  }

  /** Takes everything down again. */
  async strike() {
    for (const end of this.#ends.reverse()) await Promise.resolve(end()).catch((error) => console.error(`at the end: ${error.message}`));
    this.#ends = [];
  }
}

export { delay, eventually };
