// Operators: whichever node one is connected to, it hears all of them, in the words of the official Admin UI.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { instrument } from '@socket.io/admin-ui';
import { Server } from 'socket.io';

import { client, connect, connectError, MODES, settle } from './clients.mjs';
import { eventually, mintToken, startCluster } from './harness.mjs';

const [TOKEN, VIEWER, SECRET] = ['a token of operators', 'a token of viewers', 'a secret'];

let cluster;
before(async () => {
  cluster = await startCluster({
    GATEWAY_ADMIN__TOKEN: TOKEN, GATEWAY_ADMIN__VIEWER_TOKEN: VIEWER, GATEWAY_ADMIN__PAYLOADS: 'true',
    GATEWAY_AUTH__SECRET: SECRET,
  });
});
after(() => cluster?.stop());

const EVENTS = [
  'session', 'config', 'server_stats', 'all_sockets', 'socket_connected', 'socket_disconnected', 'room_joined', 'room_left',
  'event_received', 'event_sent',
];
const CONTROLS = ['EMIT', 'JOIN', 'LEAVE', 'DISCONNECT', 'MJOIN', 'MLEAVE', 'MDISCONNECT'];
const FIGURES = ['AGGREGATED_EVENTS', 'ALL_EVENTS'];

/** An operator's connection to a server, with the arguments of everything that it hears, by event. */
async function operator(url, options = {}) {
  const socket = client(`${url}/admin`, options);
  const heard = Object.fromEntries(EVENTS.map((event) => [event, []]));
  for (const event of Object.keys(heard)) socket.on(event, (...args) => heard[event].push(args));
  await settle(socket, options);
  return { socket, heard };
}

/** The newest figures of every node that told some, by its name. */
const figures = (heard) => Object.fromEntries(heard.server_stats.map(([stats]) => [stats.serverId, stats]));

/** What happened, as figures told it: those of one node, or of all. */
function happened(heard, name) {
  const told = heard.server_stats.filter(([{ serverId }]) => name === undefined || serverId === name);
  return told.flatMap(([stats]) => stats.aggregatedEvents);
}

async function hearsAll(heard) {
  await eventually('all nodes tell their figures', () => Object.keys(figures(heard)).length === 3);
  assert.deepEqual(Object.keys(figures(heard)).sort(), cluster.nodes.map(({ name }) => name).sort());
}

for (const [mode, options] of Object.entries(MODES)) {
  describe(mode, { timeout: 60_000 }, () => {
    test('an operator of one node hears the figures of all, and who comes to another and leaves', async () => {
      const [first, , third] = cluster.nodes;
      const { heard } = await operator(first.admin, { ...options, auth: { token: TOKEN } });
      await hearsAll(heard);
      assert.deepEqual(heard.config[0][0].supportedFeatures, [...CONTROLS, ...FIGURES]);
      const user = `alice, ${mode}`;
      const alice = await connect(third.url, { ...options, auth: { token: await mintToken(SECRET, '--user', user) } });
      const came = () => heard.socket_connected.find(([{ data }]) => data.user === user);
      const [socket, at] = await eventually('she is seen', came);
      assert.match(socket.id, /^[0-9a-f]{32}$/);
      assert.equal(socket.nsp, '/');
      assert.equal(socket.handshake.address, '127.0.0.1');
      assert.equal(socket.transport, options.transports?.[0] ?? 'polling');
      assert.deepEqual(socket.data, { user, node: third.name });
      assert.ok(Math.abs(new Date(at) - Date.now()) < 5_000, at);
      const text = JSON.stringify(Object.values(heard));
      assert.ok(!text.includes(alice.io.engine.id), 'the id of her transport is nobody else\'s business');
      await eventually('she counts', () => figures(heard)[third.name].clientsCount === 1);
      assert.deepEqual(figures(heard)[third.name].namespaces, [{ name: '/', socketsCount: 1 }]);
      assert.equal(figures(heard)[first.name].clientsCount, 0);
      alice.disconnect();
      const gone = () => heard.socket_disconnected.find(([, id]) => id === socket.id);
      const left = await eventually('she is seen leaving', gone);
      assert.deepEqual(left.slice(0, 3), ['/', socket.id, 'client namespace disconnect']);
      await eventually('she no longer counts', () => figures(heard)[third.name].clientsCount === 0);
      const events = happened(heard, third.name);
      const count = (type) => events.filter((one) => one.type === type).reduce((sum, one) => sum + one.count, 0);
      assert.deepEqual([count('rawConnection'), count('rawDisconnection')], [1, 1]);
      assert.ok(count('bytesIn') > 0 && count('bytesOut') > 0);
    });

    test('who does not know the token is refused for good', async () => {
      const url = `${cluster.nodes[1].admin}/admin`;
      const ended = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcGVyYXRvciIsImV4cCI6MX0.x';
      const wrong = [undefined, {}, { token: '' }, { token: 'x' }, { token: 7 }, { password: 'x' }, { sessionId: ended }];
      for (const auth of wrong) {
        assert.deepEqual(await connectError(url, { ...options, auth }), {
          message: 'invalid credentials', triesAgain: false,
        }, JSON.stringify(auth));
      }
      const { message } = await connectError(cluster.nodes[1].admin, { ...options, auth: { token: TOKEN } });
      assert.equal(message, 'Invalid namespace', 'clients have their own listener');
    });
  });
}

test('what is told has the form of what the official package tells', { timeout: 30_000 }, async () => {
  const http = createServer();
  const server = new Server(http);
  instrument(server, { auth: false, mode: 'development' });
  server.on('connection', (socket) => {
    socket.on('join', ({ room }, ack) => { socket.join(room); ack({ ok: true }); });
    socket.on('leave', ({ room }, ack) => { socket.leave(room); ack({ ok: true }); });
    socket.on('publish', ({ room, data }, ack) => { server.to(room).emit('message', { room, data }); ack({ ok: true }); });
  });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  const officialUrl = `http://127.0.0.1:${http.address().port}`;
  try {
    const official = await operator(officialUrl);
    const ours = await operator(cluster.nodes[0].admin, { auth: { username: 'anybody', password: TOKEN } });
    await hearsAll(ours.heard);
    for (const [{ heard }, url] of [[official, officialUrl], [ours, cluster.nodes[2].url]]) {
      const token = await mintToken(SECRET, '--user', 'bob');
      const bob = await connect(url, { transports: ['websocket'], auth: { token } });
      const came = await eventually('he is seen', () => heard.socket_connected.find(([{ nsp }]) => nsp === '/'));
      const ask = (event, argument) => bob.timeout(5_000).emitWithAck(event, argument);
      await ask('join', { room: 'lounge' });
      const hears = new Promise((resolve) => bob.once('message', resolve));
      await ask('publish', { room: 'lounge', data: 'hello' });
      // Who has left is not handed what comes then.
      await hears;
      await ask('leave', { room: 'lounge' });
      await eventually('all that he did is told', () => Object.keys(DID).every((event) => did({ heard }, event)));
      bob.disconnect();
      await eventually('and leaving', () => heard.socket_disconnected.find(([, id]) => id === came[0].id));
      await eventually('figures tell of it', () => happened(heard).some(({ type }) => type === 'rawDisconnection'));
    }
    // What a connection was like before it was one is not kept.
    const untold = ['secure', 'url', 'xdomain'];
    assertLike(official.heard.config[0], ours.heard.config[0], 'config', []);
    assertLike(official.heard.all_sockets[0].slice(0, 0), ours.heard.all_sockets[0], 'all_sockets', []);
    for (const event of Object.keys(DID)) assertLike(did(official, event), did(ours, event), event, []);
    const ofThird = ours.heard.server_stats.filter(([stats]) => stats.serverId === cluster.nodes[2].name);
    assertLike(official.heard.server_stats.at(-1), ofThird.at(-1), 'server_stats', []);
    assertLike(firstOf(official), firstOf(ours), 'socket_connected', untold);
    assertLike(leaver(official), leaver(ours), 'socket_disconnected', []);
    const one = ({ heard }) => happened(heard).find(({ type }) => type === 'rawDisconnection');
    assertLike(one(official), one(ours), 'aggregatedEvents.0', []);
  } finally {
    server.close();
  }
});

/** What shows that somebody has joined, published, heard and left. */
const DID = {
  room_joined: ([, room]) => room === 'lounge',
  event_received: ([, , [name]]) => name === 'publish',
  event_sent: ([, , [name]]) => name === 'message',
  room_left: ([, room]) => room === 'lounge',
};
const did = ({ heard }, event) => heard[event].find(DID[event]);
const firstOf = ({ heard }) => heard.socket_connected.find(([{ nsp }]) => nsp === '/');
const leaver = ({ heard }) => heard.socket_disconnected.find(([nsp]) => nsp === '/');

/** Fails unless everything of an example, but what is `untold`, is there too and is of its kind. */
function assertLike(example, value, path, untold) {
  assert.equal(typeof value, typeof example, path);
  assert.equal(Array.isArray(value), Array.isArray(example), path);
  // These are whatever a client sends or an application says, or are compared on their own.
  if (/(headers|query|data|rooms|supportedFeatures|aggregatedEvents)$/.test(path)) return;
  if (typeof example !== 'object') return;
  // There may be more namespaces on the one side than on the other.
  const keys = path.endsWith('namespaces') ? [0] : Object.keys(example);
  for (const key of keys) {
    if (!untold.includes(key)) assertLike(example[key], value[key], `${path}.${key}`, untold);
  }
}

test('who was let in once needs no password again, on no node, and a viewer does nothing', { timeout: 60_000 }, async () => {
  const [first, second] = cluster.nodes;
  const viewer = await operator(first.admin, { auth: { username: 'anybody', password: VIEWER } });
  await eventually('it is told what it may', () => viewer.heard.config.length > 0 && viewer.heard.session.length > 0);
  assert.deepEqual(viewer.heard.config[0][0].supportedFeatures, FIGURES);
  const [sessionId] = viewer.heard.session[0];
  const again = await operator(second.admin, { auth: { sessionId } });
  await eventually('it is told again', () => again.heard.config.length > 0);
  assert.deepEqual(again.heard.config[0][0].supportedFeatures, FIGURES);
  assert.deepEqual(again.heard.session, [], 'it has one');
  const alice = await connect(second.url, { auth: { token: await mintToken(SECRET, '--user', 'alice') } });
  for (const args of [['_disconnect', '/', true], ['join', '/', 'r'], ['emit', '/', undefined, 'hello']]) {
    const { ok, error } = await again.socket.timeout(5_000).emitWithAck(...args);
    assert.deepEqual([ok, error.code], [false, 'not_allowed'], args[0]);
  }
  assert.ok(alice.connected);
});

test('an operator has sessions of other nodes join, hear, leave and go', { timeout: 60_000 }, async () => {
  const [first, second, third] = cluster.nodes;
  const { socket } = await operator(first.admin, { auth: { token: TOKEN } });
  const [alice, bob] = await Promise.all([second, third].map(async ({ url }, index) => (
    connect(url, { auth: { token: await mintToken(SECRET, '--user', `guest ${index}`) } })
  )));
  const heard = [alice, bob].map((one) => {
    const all = [];
    one.on('hello', (said) => all.push(said));
    return all;
  });
  const ask = (...args) => socket.timeout(5_000).emitWithAck(...args);
  assert.equal((await ask('join', '/', 'guests')).ok, true);
  await ask('leave', '/', 'guests', bob.id);
  await ask('emit', '/', 'guests', 'hello', 'guests');
  await ask('emit', '/', undefined, 'hello', 'all');
  await eventually('all have heard', () => heard.every((all) => all.includes('all')));
  assert.deepEqual(heard, [['guests', 'all'], ['all']]);
  const gone = Promise.all([alice, bob].map((one) => new Promise((resolve) => one.once('disconnect', resolve))));
  assert.equal((await ask('_disconnect', '/', false)).sessions >= 2, true);
  assert.deepEqual(await gone, ['io server disconnect', 'io server disconnect']);
});

test('a node that dies is heard no more, and an operator of another goes on', { timeout: 60_000 }, async () => {
  const [first, second] = cluster.nodes;
  const { heard } = await operator(first.admin, { auth: { token: TOKEN } });
  await hearsAll(heard);
  cluster.signal(second, 'SIGKILL');
  await cluster.ended(second.name);
  // What it sent before it died may still come.
  await delay(500);
  const told = (name) => heard.server_stats.filter(([stats]) => stats.serverId === name).length;
  const before = cluster.nodes.map(({ name }) => told(name));
  const goesOn = (index) => told(cluster.nodes[index].name) > before[index] + 1;
  await eventually('the others go on', () => goesOn(0) && goesOn(2));
  assert.equal(told(second.name), before[1]);
  await cluster.startAgain(second.name);
  await eventually('it is heard again', () => told(second.name) > before[1]);
});
