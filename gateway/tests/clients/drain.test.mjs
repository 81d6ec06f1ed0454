// A deploy: nodes are told to stop, one or one after the other, and clients notice no more than a short reconnect.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { assertIncreasing, client, closeClients, connect, faithfulMember, MODES, ok } from './clients.mjs';
import { eventually, startCluster, startNode } from './harness.mjs';

const CLIENTS = 60;
const ROOM = 'the room';
const DRAIN_SECONDS = 20;
/** Between two events: talk, and not a flood that busy machines would close clients for. */
const PACE_MS = 4;

let cluster;
before(async () => {
  cluster = await startCluster({
    GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
    // Slow enough that the drain of a third of the clients can be watched, far from the timeout.
    GATEWAY_DRAIN__CONNECTIONS_PER_SECOND: '20',
    GATEWAY_DRAIN__TIMEOUT: `${DRAIN_SECONDS}s`,
  });
});
afterEach(closeClients);
after(() => cluster?.stop());

test('a node that drains hands its clients over without a loss', { timeout: 90_000 }, async (t) => {
  const [stopping, staying] = cluster.nodes;
  const modes = [MODES['default transports'], MODES['websocket only']];
  const members = [];
  for (let index = 0; index < CLIENTS; index++) {
    members.push(await faithfulMember(cluster.url, modes[index % modes.length], ROOM));
  }
  const held = await cluster.metric(stopping, 'gateway_connections');
  assert.ok(held >= CLIENTS / 6, `${stopping.name} holds only ${held} of ${CLIENTS}`);

  // Somebody talks all the time.
  const speaker = await connect(staying.url, { transports: ['websocket'] });
  await ok(speaker, 'join', { room: ROOM });
  const said = [];
  const say = async () => {
    const { offset } = await ok(speaker, 'publish', { room: ROOM, data: said.length });
    said.push(offset);
  };
  let over = false;
  let running = true;
  t.after(() => {
    // However the test ends, nothing of it goes on.
    over = true;
    running = false;
  });
  const talk = (async () => {
    while (!over) {
      await say();
      await delay(PACE_MS);
    }
  })();
  talk.catch(() => {});
  await eventually('somebody talks', () => said.length >= 10);

  const began = performance.now();
  const readiness = new Set();
  const watch = (async () => {
    while (running) {
      // Its end refuses the connection, or cuts it.
      const status = await cluster.readiness(stopping).catch(() => 'gone');
      readiness.add(status);
    }
  })();
  await eventually('it is ready', () => readiness.has(200));
  cluster.signal(stopping, 'SIGTERM');
  await eventually('it says that it is leaving', () => readiness.has(503));
  const newcomer = client(cluster.url, { transports: ['websocket'] });
  newcomer.connect();
  const code = await cluster.ended(stopping.name, (DRAIN_SECONDS + 10) * 1000);
  const seconds = (performance.now() - began) / 1000;
  running = false;
  await watch;
  assert.equal(code, 0);
  assert.ok(seconds < DRAIN_SECONDS, `it took ${seconds} s, as long as its timeout`);
  // From the first 503 on it never said that it was ready again.
  assert.deepEqual([...readiness].filter((status) => status !== 'gone'), [200, 503]);

  await eventually('everybody is connected', () => members.every(({ socket }) => socket.connected), 20_000);
  await eventually('who came meanwhile is in', () => newcomer.connected);
  await Promise.all(members.map(({ joined }) => joined));
  over = true;
  await talk;
  await say();
  const last = said.at(-1);
  const allHeardIt = () => members.every(({ inbox }) => inbox.offsets().at(-1) === last);
  await eventually('everybody heard the last word', allHeardIt, 20_000);

  const reasons = members.flatMap(({ inbox }) => inbox.disconnects);
  for (const reason of reasons) {
    // The only reasons after which the client comes back by itself.
    assert.ok(['transport close', 'transport error'].includes(reason), reason);
  }
  const moved = members.filter(({ inbox }) => inbox.disconnects.length > 0);
  assert.equal(moved.length, held, 'somebody else lost a connection, or a client was not told');
  assert.ok(moved.every(({ inbox }) => inbox.disconnects.length === 1), 'a client was moved twice');
  members.forEach(({ inbox }, index) => {
    assertIncreasing(inbox.offsets(), `client ${index}`);
    assert.deepEqual(inbox.offsets(), said, `client ${index} did not hear what was said`);
  });
  for (const { socket } of members) {
    await ok(socket, 'publish', { room: ROOM, data: 'still here' });
  }
  await cluster.startAgain(stopping.name);
  t.diagnostic(`${held} clients handed over in ${seconds.toFixed(1)} s while ${said.length} events were published`);
});

test('all nodes are replaced, one after the other', { timeout: 180_000 }, async (t) => {
  const room = 'the other room';
  const modes = Object.values(MODES);
  const members = [];
  for (let index = 0; index < CLIENTS; index++) {
    members.push(await faithfulMember(cluster.url, modes[index % modes.length], room));
  }
  // The speaker is moved like everybody: what it does not know to be kept it says again, under the same id.
  const speaker = await connect(cluster.url, { ...MODES['websocket only'], retries: 100, ackTimeout: 2_000 });
  speaker.emit('join', { room });
  const said = [];
  let over = false;
  t.after(() => (over = true));
  const talk = (async () => {
    while (!over) {
      const id = `word ${said.length}`;
      const ack = await speaker.emitWithAck('publish', { room, data: said.length, id });
      assert.equal(ack.ok, true, JSON.stringify(ack));
      said.push(ack.offset);
      await delay(PACE_MS);
    }
  })();
  talk.catch(() => (over = true));
  for (const node of cluster.nodes) {
    const { length } = said;
    cluster.signal(node, 'SIGTERM');
    assert.equal(await cluster.ended(node.name, (DRAIN_SECONDS + 10) * 1000), 0);
    await cluster.startAgain(node.name);
    await eventually('somebody talks', () => over || said.length > length + 10, 20_000);
  }
  await eventually('everybody is connected', () => members.every(({ socket }) => socket.connected), 20_000);
  over = true;
  await talk;
  await Promise.all(members.map(({ joined }) => joined));
  const allHeardIt = () => members.every(({ inbox }) => inbox.heard.length >= said.length);
  // Should it never be complete, the comparison below says what is missing.
  await eventually('everybody heard as much as was said', allHeardIt, 20_000).catch(() => {});
  members.forEach(({ inbox }, index) => {
    assert.deepEqual(inbox.offsets(), said, `client ${index} did not hear what was said`);
  });
  const moves = members.map(({ inbox }) => inbox.disconnects.length);
  const recovered = members.flatMap(({ inbox }) => inbox.hellos()).filter((hello) => hello.recovered).length;
  const all = moves.reduce((sum, count) => sum + count);
  assert.equal(recovered, all, 'who was moved was not recovered');
  // Who is moved before the last node's turn may be moved to a node whose turn is still to come, never back.
  assert.ok(moves.every((count) => count <= cluster.nodes.length), `somebody was moved ${Math.max(...moves)} times`);
  assert.ok(all / CLIENTS < 2, `clients were moved ${all / CLIENTS} times`);
  t.diagnostic(`${all} moves of ${CLIENTS} clients, ${recovered} recovered, ${said.length} events`);
});

test('a lone node that is told to stop has its clients back as soon as one that was killed', { timeout: 120_000 }, async (t) => {
  const lone = await startNode({ GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '0' });
  t.after(() => lone.stop());
  const [node] = lone.nodes;
  const sockets = [];
  for (let index = 0; index < 300; index++) {
    sockets.push(await connect(node.url, { transports: ['websocket'], forceNew: true }));
  }
  /** Ends the node by a signal, has it started again, and returns how long its clients were away, in ms. */
  const away = async (signal) => {
    let [first, last] = [Infinity, 0];
    const back = sockets.map(async (socket) => {
      await new Promise((resolve) => socket.once('disconnect', resolve));
      first = Math.min(first, performance.now());
      await new Promise((resolve) => socket.once('connect', resolve));
      last = Math.max(last, performance.now());
    });
    lone.signal(node, signal);
    await lone.ended(node.name);
    await lone.startAgain(node.name);
    await Promise.all(back);
    return last - first;
  };
  const killed = await away('SIGKILL');
  const stopped = await away('SIGTERM');
  t.diagnostic(`away for ${Math.round(killed)} ms after SIGKILL, ${Math.round(stopped)} ms after SIGTERM`);
  // One more attempt of somebody makes a second and a half; 503s at a pace made several.
  assert.ok(stopped < killed + 2_000, `${stopped} ms after SIGTERM, ${killed} ms after SIGKILL`);
});
