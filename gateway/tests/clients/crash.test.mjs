// A node dies without a word: its clients come back elsewhere and have missed nothing, and it can come back too.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { assertIncreasing, connect, faithfulMember, MODES, ok } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';

const CLIENTS = 30;
const ROOM = 'the room';

let cluster;
before(async () => {
  cluster = await startCluster({ GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
});
after(() => cluster?.stop());

test('a node that is killed costs its clients a reconnect and nothing else', { timeout: 90_000 }, async (t) => {
  const [dying, staying] = cluster.nodes;
  const modes = Object.values(MODES);
  const members = [];
  for (let index = 0; index < CLIENTS; index++) {
    members.push(await faithfulMember(cluster.url, modes[index % modes.length], ROOM));
  }
  const held = await cluster.metric(dying, 'gateway_connections');
  assert.ok(held >= CLIENTS / 6, `${dying.name} holds only ${held} of ${CLIENTS}`);

  const speaker = await connect(staying.url, { transports: ['websocket'] });
  await ok(speaker, 'join', { room: ROOM });
  const said = [];
  const say = async () => {
    const { offset } = await ok(speaker, 'publish', { room: ROOM, data: said.length });
    said.push(offset);
  };
  for (let turn = 0; turn < 50; turn++) await say();
  cluster.signal(dying, 'SIGKILL');
  for (let turn = 0; turn < 50; turn++) await say();
  assert.equal(await cluster.ended(dying.name), 128 + 9);

  const moved = () => members.filter(({ inbox }) => inbox.disconnects.length > 0);
  await eventually('all its clients have noticed', () => moved().length >= held, 20_000);
  await eventually('everybody is connected', () => members.every(({ socket }) => socket.connected), 20_000);
  await Promise.all(members.map(({ joined }) => joined));
  await say();
  const last = said.at(-1);
  const allHeardIt = () => members.every(({ inbox }) => inbox.offsets().at(-1) === last);
  await eventually('everybody heard the last word', allHeardIt, 20_000);
  members.forEach(({ inbox }, index) => {
    assertIncreasing(inbox.offsets(), `client ${index}`);
    assert.deepEqual(inbox.offsets(), said, `client ${index} did not hear what was said`);
  });
  assert.equal(moved().length, held, 'somebody else lost a connection');

  // The load balancer finds it again, and it is a full member of the cluster.
  await cluster.startAgain(dying.name);
  const back = await eventually('it is given a client', async () => {
    const socket = await connect(cluster.url, { transports: ['websocket'] });
    if ((await cluster.metric(dying, 'gateway_connections')) > 0) return socket;
    socket.disconnect();
    return undefined;
  });
  await ok(back, 'join', { room: ROOM });
  const { offset } = await ok(back, 'publish', { room: ROOM, data: 'back' });
  const allHeardTheNews = () => members.every(({ inbox }) => inbox.offsets().at(-1) === offset);
  await eventually('everybody hears what it says', allHeardTheNews);
  t.diagnostic(`${held} of ${CLIENTS} clients moved`);
});
