// The promise of order and exactly-once, audited event by event: 200 clients of every kind on three nodes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import { assertIncreasing, byOffset, connect, Inbox, MODES, ok } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';

const CLIENTS = 200;
const ROOMS = 40;
const ROOMS_PER_CLIENT = 2; // so that the order over several rooms is audited too: 10 members per room
const EVENTS_PER_CLIENT = 50; // 10,000 published, 100,000 delivered
const IN_FLIGHT_PER_CLIENT = 4;
const CONNECTING_AT_ONCE = 20;

let cluster;
before(async () => {
  cluster = await startCluster({ GATEWAY_LIMITS__EVENTS_PER_SECOND: '0' });
});
after(() => cluster?.stop());

/** Two different rooms for every client, ten members for every room, neighbours never twice together. */
function roomsOf(index) {
  const shifted = index + 1 + 7 * Math.floor(index / ROOMS);
  return [`room-${index % ROOMS}`, `room-${shifted % ROOMS}`];
}

/** Runs `work` for every number below `count`, no more than `lanes` at once. */
async function inLanes(count, lanes, work) {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

const show = (event) => (event ? `${event.id} in ${event.room} at ${event.offset}` : 'nothing');

async function joinedMember(index) {
  const modes = Object.values(MODES);
  const socket = await connect(cluster.url, modes[index % modes.length]);
  const inbox = new Inbox(socket);
  const rooms = roomsOf(index);
  for (const room of rooms) await ok(socket, 'join', { room });
  return { name: `client ${index}`, socket, inbox, rooms };
}

test('every member hears every event once, in one order', { timeout: 150_000 }, async (t) => {
  const members = [];
  await inLanes(CLIENTS, CONNECTING_AT_ONCE, async (index) => {
    members[index] = await joinedMember(index);
  });
  for (const node of cluster.nodes) {
    const held = await cluster.metric(node, 'gateway_connections');
    assert.ok(held >= CLIENTS / 6, `${node.name} holds only ${held} of ${CLIENTS} connections`);
  }

  const began = performance.now();
  const published = []; // {room, id, offset} of every acknowledged event
  await Promise.all(
    members.map(({ name, socket, rooms }) =>
      inLanes(EVENTS_PER_CLIENT, IN_FLIGHT_PER_CLIENT, async (turn) => {
        const room = rooms[turn % ROOMS_PER_CLIENT];
        const id = `${name}, event ${turn}`;
        const { offset } = await ok(socket, 'publish', { room, data: id });
        published.push({ room, id, offset });
      }),
    ),
  );
  const acknowledged = performance.now();
  assert.equal(published.length, CLIENTS * EVENTS_PER_CLIENT);

  // The last event of every room. As order holds, nothing of the room can come after it; where it did not hold,
  // the comparison below says so.
  const markers = new Map();
  for (const { socket, rooms } of members) {
    const room = rooms[0];
    if (markers.has(room)) continue;
    const { offset } = await ok(socket, 'publish', { room, data: 'the end' });
    markers.set(room, { room, id: 'the end', offset });
  }
  assert.equal(markers.size, ROOMS);
  published.push(...markers.values());
  const expectedPerClient = (published.length / ROOMS) * ROOMS_PER_CLIENT;
  const complete = () => members.every(({ inbox }) => inbox.heard.length >= expectedPerClient);
  // Should it never be complete, the comparison below says what is missing.
  await eventually('everybody heard as much as was published', complete, 60_000).catch(() => {});
  const delivered = performance.now();

  assert.equal(new Set(published.map(({ offset }) => offset)).size, published.length, 'an offset was given twice');
  published.sort((a, b) => byOffset(a.offset, b.offset));
  for (const { name, inbox, rooms } of members) {
    const expected = published.filter(({ room }) => rooms.includes(room));
    const heard = inbox.heard.map(({ payload, offset }) => ({ room: payload.room, id: payload.data, offset }));
    assert.deepEqual(inbox.disconnects, [], `${name} lost its connection`);
    assertIncreasing(inbox.offsets(), name);
    const wrong = expected.findIndex((event, index) => !isDeepStrictEqual(event, heard[index]));
    assert.equal(wrong, -1, `${name} should have heard ${show(expected[wrong])} and heard ${show(heard[wrong])}`);
    assert.equal(heard.length, expected.length, `${name} heard more than was published`);
  }
  const seconds = (from, to) => ((to - from) / 1000).toFixed(1);
  t.diagnostic(
    `${published.length} published in ${seconds(began, acknowledged)} s, ` +
      `${expectedPerClient * CLIENTS} delivered in ${seconds(began, delivered)} s`,
  );
});
