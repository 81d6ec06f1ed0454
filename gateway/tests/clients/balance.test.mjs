// A node that comes back is filled: official clients over each transport, some of them polling by a cookie, move once and lose nothing.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { assertIncreasing, faithfulMember, MODES, ok } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';

const CLIENTS = 45;
const ROOM = 'the room';

let cluster;
before(async () => {
  cluster = await startCluster({
    GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
    GATEWAY_BALANCE__ENABLED: 'on',
    GATEWAY_BALANCE__AFTER: '3s',
    // Nothing else may move anybody in this test.
    GATEWAY_DRAIN__ANNOUNCE: '0s',
  });
});
after(() => cluster?.stop());

const connections = (node) => cluster.metric(node, 'gateway_connections');
const moves = async (nodes = cluster.nodes) => {
  const all = await Promise.all(nodes.map((node) => cluster.metric(node, 'gateway_balance_moves_total')));
  return all.reduce((sum, count) => sum + count, 0);
};

test('a node that comes back draws its share, over every transport', { timeout: 120_000 }, async (t) => {
  const [away, ...others] = cluster.nodes;
  cluster.signal(away, 'SIGTERM');
  assert.equal(await cluster.ended(away.name), 0);
  const modes = Object.values(MODES);
  const members = [];
  for (let index = 0; index < CLIENTS; index++) {
    members.push(await faithfulMember(cluster.url, modes[index % modes.length], ROOM));
  }
  const [speaker] = members;
  const said = [];
  const say = async () => {
    const { offset } = await ok(speaker.socket, 'publish', { room: ROOM, data: said.length });
    said.push(offset);
  };
  await say();
  assert.equal(await moves(others), 0, 'two nodes were even');

  const began = performance.now();
  await cluster.startAgain(away.name);
  const tolerance = CLIENTS / 3 / 10;
  await eventually('all nodes have their share', async () => {
    const counts = await Promise.all(cluster.nodes.map(connections));
    const isEven = counts.every((count) => Math.abs(count - CLIENTS / 3) <= Math.max(tolerance, 1));
    return isEven && members.every(({ socket }) => socket.connected);
  }, 60_000);
  const seconds = (performance.now() - began) / 1000;
  for (let word = 0; word < 10; word++) {
    await eventually('the speaker is there', () => speaker.socket.connected);
    await say();
  }
  await Promise.all(members.map(({ joined }) => joined));
  for (const { inbox } of members) {
    await eventually('everybody heard the last word', () => inbox.offsets().at(-1) === said.at(-1), 20_000);
  }
  members.forEach(({ inbox }, index) => {
    assert.ok(inbox.disconnects.length <= 1, `client ${index} was moved ${inbox.disconnects.length} times`);
    assert.ok(inbox.disconnects.every((reason) => ['transport close', 'transport error'].includes(reason)));
    assertIncreasing(inbox.offsets(), `client ${index}`);
    // Who came later did not hear the first ones.
    assert.deepEqual(inbox.offsets(), said.slice(-inbox.offsets().length), `client ${index} missed something`);
    assert.ok(inbox.offsets().length >= 10);
  });
  const moved = await moves();
  assert.ok(moved >= CLIENTS / 3 - 3 && moved <= CLIENTS / 2, `${moved} moves`);
  const counts = await Promise.all(others.map(connections));
  t.diagnostic(`${moved} moves, even after ${seconds.toFixed(1)} s; the others have ${counts}`);
});
