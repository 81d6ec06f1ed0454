// The native profile as an application uses it, once for every way in which a client may be connected.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { assertIncreasing, connect, connectError, Inbox, MODES, ok, refused } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';

let cluster;
before(async () => {
  cluster = await startCluster();
});
after(() => cluster?.stop());

let rooms = 0;
const freshRoom = () => `room ${++rooms}`;

for (const [mode, options] of Object.entries(MODES)) {
  describe(mode, { timeout: 60_000 }, () => {
    /** A client through the load balancer and one on each node, all in `room`. */
    async function membersOf(room) {
      const urls = [cluster.url, ...cluster.nodes.map(({ url }) => url)];
      return Promise.all(
        urls.map(async (url) => {
          const socket = await connect(url, options);
          const inbox = new Inbox(socket);
          const ack = await ok(socket, 'join', { room });
          assert.equal(ack.room, room);
          assert.match(ack.offset, /^[0-9]+$/);
          return { socket, inbox };
        }),
      );
    }

    test('it is connected the way it was asked to be', async () => {
      const socket = await connect(cluster.url, options);
      assert.equal(socket.io.engine.transport.name, mode === 'polling only' ? 'polling' : 'websocket');
    });

    test('what one member publishes, every member hears, the sender too', async () => {
      const room = freshRoom();
      const members = await membersOf(room);
      const before = Date.now();
      const data = { text: 'ein Gruß 🌍', list: [1, null, true] };
      const first = await ok(members[0].socket, 'publish', { room, data });
      const second = await ok(members[1].socket, 'publish', { room, event: 'note', data: 'second' });
      assert.deepEqual(Object.keys(first).sort(), ['offset', 'ok']);
      assertIncreasing([first.offset, second.offset], 'the publisher');
      for (const { inbox } of members) {
        await eventually('both events are heard', () => inbox.heard.length >= 2);
        const [one, two] = inbox.heard;
        assert.equal(one.event, 'message');
        assert.equal(one.offset, first.offset);
        assert.deepEqual(one.rest, []);
        assert.deepEqual(Object.keys(one.payload).sort(), ['at', 'data', 'offset', 'room', 'user']);
        assert.deepEqual(one.payload.data, data);
        assert.equal(one.payload.offset, first.offset);
        const at = new Date(one.payload.at).getTime();
        assert.ok(at >= before - 5_000 && at <= Date.now() + 5_000, `it was published at ${one.payload.at}`);
        assert.equal(two.event, 'note');
        assert.equal(two.offset, second.offset);
        assert.equal(two.payload.data, 'second');
      }
    });

    test('a signal is heard without an offset, and is not kept', async () => {
      const room = freshRoom();
      const members = await membersOf(room);
      const ack = await ok(members[0].socket, 'signal', { room, event: 'typing', data: { on: true } });
      assert.deepEqual(ack, { ok: true });
      for (const { inbox } of members.slice(1)) {
        await eventually('the signal is heard', () => inbox.heard.length >= 1);
        const { event, payload, offset, rest } = inbox.heard[0];
        assert.equal(event, 'typing');
        assert.deepEqual(Object.keys(payload).sort(), ['data', 'room', 'user']);
        assert.deepEqual(payload.data, { on: true });
        assert.equal(offset, undefined);
        assert.deepEqual(rest, []);
      }
      assert.deepEqual(await ok(members[1].socket, 'history', { room }), { ok: true, events: [], more: false });
    });

    test('the history is what was heard, in pages', async () => {
      const room = freshRoom();
      const members = await membersOf(room);
      const offsets = [];
      for (let turn = 0; turn < 5; turn++) {
        offsets.push((await ok(members[turn % 4].socket, 'publish', { room, data: turn })).offset);
      }
      const reader = members[3];
      await eventually('all five are heard', () => reader.inbox.heard.length >= 5);
      const page = async (query) => {
        const { events, more } = await ok(reader.socket, 'history', { room, ...query });
        return { offsets: events.map(({ offset }) => offset), more, events };
      };
      const whole = await page({});
      assert.deepEqual(whole.offsets, offsets);
      assert.equal(whole.more, false);
      whole.events.forEach((event, index) => {
        assert.equal(event.event, 'message');
        assert.deepEqual(event.args[0], reader.inbox.heard[index].payload);
      });
      const forward = await page({ after: offsets[0], limit: 2 });
      assert.deepEqual(forward.offsets, offsets.slice(1, 3));
      assert.equal(forward.more, true);
      const rest = await page({ after: offsets[2], limit: 2 });
      assert.deepEqual(rest.offsets, offsets.slice(3));
      assert.equal(rest.more, false);
      const earlier = await page({ before: offsets[2] });
      assert.deepEqual(earlier.offsets, offsets.slice(0, 2));
      assert.equal(earlier.more, false);
    });

    test('bytes stay bytes, at any depth, on every node and in the history', async () => {
      const room = freshRoom();
      const members = await membersOf(room);
      const image = randomBytes(3_000);
      const data = { name: 'picture', image, layers: [{ mask: Buffer.from([0, 255, 30]) }, Buffer.alloc(0)] };
      await ok(members[0].socket, 'publish', { room, data });
      // An event without bytes behind one with bytes must not be mixed up with the attachments.
      await ok(members[0].socket, 'publish', { room, data: 'after it' });
      for (const { inbox } of members) {
        await eventually('both events are heard', () => inbox.heard.length >= 2);
        assert.ok(Buffer.isBuffer(inbox.heard[0].payload.data.image));
        assert.deepEqual(inbox.data(room), [data, 'after it']);
        assert.deepEqual(inbox.disconnects, []);
      }
      for (const { socket } of members) {
        const { events } = await ok(socket, 'history', { room });
        assert.deepEqual(events.map(({ args }) => args[0].data), [data, 'after it']);
      }
      await ok(members[1].socket, 'signal', { room, event: 'cursor', data: Buffer.from('here') });
      await eventually('the signal is heard', () => members[2].inbox.heard.length >= 3);
      assert.deepEqual(members[2].inbox.heard[2].payload.data, Buffer.from('here'));
    });

    test('the same id is published once', async () => {
      const room = freshRoom();
      const members = await membersOf(room);
      const first = await ok(members[0].socket, 'publish', { room, data: 1, id: 'order-77' });
      const again = await ok(members[0].socket, 'publish', { room, data: 1, id: 'order-77' });
      const other = await ok(members[0].socket, 'publish', { room, data: 2, id: 'order-78' });
      assert.equal(again.offset, first.offset);
      for (const { inbox } of members) {
        await eventually('the second event is heard', () => inbox.offsets().includes(other.offset));
        assert.deepEqual(inbox.data(room), [1, 2]);
      }
    });

    test('who has left hears nothing and may do nothing', async () => {
      const room = freshRoom();
      const elsewhere = freshRoom();
      const members = await membersOf(room);
      const [stays, leaves] = members;
      await ok(leaves.socket, 'join', { room: elsewhere });
      await ok(stays.socket, 'join', { room: elsewhere });
      assert.deepEqual(await ok(leaves.socket, 'leave', { room }), { ok: true });
      await ok(stays.socket, 'publish', { room, data: 'not for you' });
      await ok(stays.socket, 'signal', { room, event: 'nor', data: 'this' });
      // All rooms of a session come in one order: when this one is here, the others would have been.
      await ok(stays.socket, 'publish', { room: elsewhere, data: 'for you' });
      await eventually('the later event is heard', () => leaves.inbox.heard.length >= 1);
      assert.deepEqual(leaves.inbox.heard.map(({ payload }) => payload.data), ['for you']);
      for (const [event, body] of [
        ['publish', { room, data: 1 }],
        ['signal', { room, event: 'x', data: 1 }],
        ['history', { room }],
      ]) {
        assert.equal((await refused(leaves.socket, event, body)).code, 'not_in_room', event);
      }
      await ok(leaves.socket, 'join', { room });
      await ok(stays.socket, 'publish', { room, data: 'welcome back' });
      await eventually('it hears again', () => leaves.inbox.data(room).includes('welcome back'));
      assert.deepEqual(leaves.inbox.data(room), ['welcome back']);
    });

    test('who comes back with an offset hears what came after it, in order', async () => {
      const room = freshRoom();
      const [speaker, away] = await membersOf(room);
      const first = await ok(speaker.socket, 'publish', { room, data: 'heard' });
      await eventually('it is heard', () => away.inbox.heard.length >= 1);
      await ok(away.socket, 'leave', { room });
      for (let turn = 0; turn < 5; turn++) await ok(speaker.socket, 'publish', { room, data: turn });
      const ack = await ok(away.socket, 'join', { room, after: first.offset });
      assert.equal(ack.recovered, true);
      await ok(speaker.socket, 'publish', { room, data: 'live' });
      await eventually('the live event is heard', () => away.inbox.data(room).includes('live'));
      assert.deepEqual(away.inbox.data(room), ['heard', 0, 1, 2, 3, 4, 'live']);
      assertIncreasing(away.inbox.offsets(), 'who came back');
    });

    test('a room that a client has not joined is closed to it', async () => {
      const room = freshRoom();
      await membersOf(room);
      const stranger = await connect(cluster.url, options);
      assert.equal((await refused(stranger, 'publish', { room, data: 1 })).code, 'not_in_room');
      assert.equal((await refused(stranger, 'history', { room })).code, 'not_in_room');
    });

    test('a namespace that does not exist is a final error', async () => {
      const { message, triesAgain } = await connectError(`${cluster.url}/nope`, options);
      assert.equal(message, 'Invalid namespace');
      assert.equal(triesAgain, false);
    });
  });
}

test('a websocket-only client with an old cookie is not tied to its node', { timeout: 30_000 }, async () => {
  const count = async () => Promise.all(cluster.nodes.map((node) => cluster.metric(node, 'gateway_connections')));
  const before = await count();
  const extraHeaders = { cookie: 'SIO_NODE=node-1' };
  for (let turn = 0; turn < 6; turn++) await connect(cluster.url, { transports: ['websocket'], extraHeaders });
  const after = await count();
  assert.ok(after[0] - before[0] < 6, `all six went to node-1: ${before} became ${after}`);
});

test('clients that keep no cookie, as on pages of other origins, stay on their nodes', { timeout: 30_000 }, async () => {
  for (const options of [{}, { transports: ['polling'] }]) {
    const sockets = await Promise.all(Array.from({ length: 6 }, () => connect(cluster.url, options)));
    for (const socket of sockets) await ok(socket, 'join', { room: 'without cookies' });
  }
});

test('a client that goes in the middle of a poll is gone at once, behind the load balancer too', { timeout: 30_000 }, async () => {
  const url = `${cluster.url}/socket.io/?EIO=4&transport=polling`;
  const opened = await fetch(url);
  const headers = { cookie: opened.headers.getSetCookie()[0].split(';')[0] };
  const { sid } = JSON.parse((await opened.text()).slice(1));
  const poll = (options) => fetch(`${url}&sid=${sid}`, { headers, ...options });
  const count = async () => {
    const counts = cluster.nodes.map((node) => cluster.metric(node, 'gateway_connections', { transport: 'polling' }));
    return (await Promise.all(counts)).reduce((sum, each) => sum + each);
  };
  const before = await count();
  await (await poll({ method: 'POST', body: '40' })).text();
  for (let heard = ''; !heard.includes('gateway:session'); ) heard += await (await poll()).text();
  assert.equal(await count(), before + 1);
  const going = new AbortController();
  const waiting = poll({ signal: going.signal });
  // It has to be on its way to its node; a ping comes only after 25 s.
  await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 200))]);
  going.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  await eventually('its connection is gone', async () => (await count()) === before, 5_000);
});
