// nginx instead of HAProxy, with the lines that websockets need and without: whoever can get through loses nothing.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

import { assertIncreasing, client, connectError, faithfulMember, member, MODES, ok, settle } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';
import { Nginx, WAYS } from './nginx.mjs';

const ROOM = 'the room';
const BYTES = { image: Buffer.from([0, 255, 30]), layers: [{ mask: Buffer.alloc(300, 7) }] };
// Named, so that nobody waits for an upgrade that cannot be.
const BOTH = { transports: ['polling', 'websocket'] };
const [UPGRADES, ...POLLS] = Object.keys(WAYS);
const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };

let cluster;
let nginx;
before(async () => {
  cluster = await startCluster({ NODES: '2', GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
  nginx = await Nginx.start(cluster.nodes.map(({ url }) => url));
});
after(async () => {
  await cluster?.stop();
  await nginx?.stop();
});

for (const way of POLLS) {
  test(`${way}, an upgrade that fails changes nothing`, { timeout: 60_000 }, async () => {
    const room = `room ${way}`;
    const listener = await member(cluster.nodes[1].url, MODES['websocket only'], room);
    const socket = client(nginx.urls[way], BOTH);
    let failed = false;
    const upgrade = new Promise((resolve) => socket.io.once('open', () => resolve(once(socket.io.engine, 'upgradeError'))));
    upgrade.then(() => (failed = true));
    await settle(socket, BOTH);
    const heard = [];
    socket.on('message', ({ data }) => heard.push(data));
    await ok(socket, 'join', { room });
    // Before, while and after the client tries.
    let said = 0;
    const say = () => ok(said % 2 ? socket : listener.socket, 'publish', { room, data: { turn: said++, ...BYTES } });
    while (said < 40 || !failed) await say();
    for (const end = said + 40; said < end; ) await say();
    await eventually('all is heard', () => heard.length === said && listener.inbox.heard.length === said);
    assert.deepEqual(heard, listener.inbox.data(room));
    assert.equal(socket.io.engine.transport.name, 'polling');

    const { message, triesAgain } = await connectError(nginx.urls[way], MODES['websocket only']);
    assert.equal(message, 'websocket error');
    assert.equal(triesAgain, true);
  });
}

test('in every way, a node that is killed costs a reconnect and nothing else', { timeout: 90_000 }, async () => {
  const members = [];
  const enter = async (what, url, options) => {
    members.push({ what, ...(await faithfulMember(url, { ...options, ...SOON }, ROOM)) });
  };
  for (const [mode, options] of Object.entries(MODES)) await enter(`${UPGRADES}, ${mode}`, nginx.urls[UPGRADES], options);
  for (const way of POLLS) {
    await enter(`${way}, polling`, nginx.urls[way], MODES['polling only']);
    await enter(`${way}, both`, nginx.urls[way], BOTH);
  }
  for (const { what, socket } of members.slice(0, 3)) {
    const transport = what.includes('polling') ? 'polling' : 'websocket';
    assert.equal(socket.io.engine.transport.name, transport, what);
  }

  const held = await Promise.all(cluster.nodes.map((node) => cluster.metric(node, 'gateway_connections')));
  const [dying, staying] = held[0] > held[1] ? cluster.nodes : cluster.nodes.toReversed();
  const speaker = await member(staying.url, MODES['websocket only'], ROOM);
  for (const { socket, what } of members) await ok(socket, 'publish', { room: ROOM, data: { what, ...BYTES } });
  cluster.signal(dying, 'SIGKILL');
  assert.equal(await cluster.ended(dying.name), 128 + 9);
  await ok(speaker.socket, 'publish', { room: ROOM, data: 'missed' });
  const back = () => members.every(({ socket, inbox }) => socket.connected && inbox.disconnects.length > 0);
  await eventually('all have noticed and are back', back, 20_000);
  await Promise.all(members.map(({ joined }) => joined));
  for (const { socket, what } of members) await ok(socket, 'publish', { room: ROOM, data: { again: what, ...BYTES } });
  const count = 2 * members.length + 1;
  const everybody = [...members, { what: 'the speaker', ...speaker }];
  for (const { what, inbox } of everybody) await eventually(`${what} has heard all`, () => inbox.data(ROOM).length >= count);
  for (const { what, socket, inbox } of everybody) {
    assert.deepEqual(inbox.data(ROOM), speaker.inbox.data(ROOM), what);
    assertIncreasing(inbox.offsets(), what);
    assert.equal(socket.recovered, what !== 'the speaker', what);
  }
  await cluster.startAgain(dying.name);
});
