// Other versions and parsers of the JavaScript client in the same rooms: do they all hear the same, and come back?

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

import io2 from 'socket.io-client-2';
import { io as io3 } from 'socket.io-client-3';
import msgpack from 'socket.io-msgpack-parser';

import { assertIncreasing, faithfulMember, MODES, ok } from './clients.mjs';
import { eventually, request, startCluster } from './harness.mjs';

const KINDS = {
  '3.x': { library: io3 },
  '4.x': {},
  '4.x with msgpack': { parser: msgpack },
};
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
const DATA = {
  text: 'ein Gruß 🌍',
  numbers: [0, -1, 2 ** 31, 1.5, 2 ** 40, -(2 ** 33)],
  nothing: null,
  bytes: Buffer.from([0, 255, 30]),
  layers: [{ mask: Buffer.alloc(300, 7) }, Buffer.alloc(0)],
};

let cluster;
before(async () => {
  cluster = await startCluster({ GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
});
after(() => cluster?.stop());

/** A member of each kind on each transport, named. */
async function everybody(room) {
  const members = [];
  for (const [kind, client] of Object.entries(KINDS)) {
    for (const [mode, options] of Object.entries(MODES)) {
      // Version 3 keeps no cookies outside browsers: it has to know its node itself, where it polls.
      const direct = kind === '3.x' && mode !== 'websocket only';
      const url = direct ? cluster.nodes[0].url : cluster.url;
      members.push({ who: `${kind}, ${mode}`, ...(await faithfulMember(url, { ...client, ...options, ...SOON }, room)) });
    }
  }
  return members;
}

test('all of them say and hear the same, and so they do after a node was killed', { timeout: 90_000 }, async () => {
  const room = 'the room';
  const members = await everybody(room);
  const expected = [];
  const allHaveHeard = async () => {
    for (const { who, inbox } of members) {
      await eventually(`${who} has heard everything`, () => inbox.data(room).length >= expected.length, 20_000);
      assert.deepEqual(inbox.data(room), expected, who);
      assertIncreasing(inbox.offsets(), who);
    }
  };
  const say = async ({ socket, who }, more) => {
    const data = { who, ...more };
    expected.push(data);
    await ok(socket, 'publish', { room, event: 'é "note"', data });
  };

  for (const member of members) await say(member, DATA);
  await allHaveHeard();
  for (const { who, socket, inbox } of members) {
    const read = [];
    // What these clients take in one packet, bytes of few events, ends a page.
    for (let more = true; more; ) {
      const page = await ok(socket, 'history', { room, after: read.at(-1)?.offset ?? '0' });
      read.push(...page.events);
      more = page.more;
    }
    assert.deepEqual(read.map(({ args }) => args[0].data), expected, `${who} asked for the history`);
    assert.ok(Buffer.isBuffer(inbox.heard[0].payload.data.bytes), who);
  }

  const [dying] = cluster.nodes;
  const held = await cluster.metric(dying, 'gateway_connections');
  assert.ok(held >= 3, `${dying.name} holds only ${held}`);
  cluster.signal(dying, 'SIGKILL');
  assert.equal(await cluster.ended(dying.name), 128 + 9);
  const stayed = members.find(({ inbox }) => inbox.disconnects.length === 0);
  await say(stayed, { missed: DATA.bytes });
  await cluster.startAgain(dying.name);
  const moved = () => members.filter(({ inbox }) => inbox.disconnects.length > 0);
  await eventually('all its clients have noticed', () => moved().length >= held, 20_000);
  await eventually('everybody is connected', () => members.every(({ socket }) => socket.connected), 20_000);
  await Promise.all(members.map(({ joined }) => joined));
  for (const member of members) await say(member, { bytes: DATA.bytes });
  await allHaveHeard();
  for (const { who, socket, inbox } of members.filter(({ who }) => who.startsWith('4.x'))) {
    assert.equal(socket.recovered, inbox.disconnects.length > 0, who);
  }
});

// What it is told over a websocket, outdated.test.mjs knows.
test('a client of version 2 is told that it cannot', { timeout: 20_000 }, async () => {
  const socket = io2(cluster.url, { transports: ['polling'], forceNew: true, reconnection: false });
  const [error] = await once(socket, 'connect_error', { signal: AbortSignal.timeout(10_000) });
  assert.match(String(error.description?.message ?? error.description), /400/);
  socket.close();
  // The words of Socket.IO's own server.
  const { status, body } = await request(`${cluster.url}/socket.io/?EIO=3&transport=polling`);
  assert.equal(status, 400);
  assert.deepEqual(JSON.parse(body), { code: 5, message: 'Unsupported protocol version' });
});
