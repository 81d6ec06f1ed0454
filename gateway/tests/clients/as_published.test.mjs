// Events as they were published: official clients that want nothing added behind the arguments.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { client, MODES, ok, settle } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';

const SOON = { reconnectionDelay: 50, reconnectionDelayMax: 200 };

let cluster;
before(async () => (cluster = await startCluster()));
after(() => cluster?.stop());

for (const [mode, options] of Object.entries(MODES)) {
  test(`${mode}: handlers get what was published, and what was missed comes once`, { timeout: 60_000 }, async () => {
    const room = `as published ${mode}`;
    const [offsets, heard, hellos] = [{}, [], []];
    const auth = (send) => send({ offset: false, offsets: Object.keys(offsets).length > 0 ? offsets : null });
    const socket = client(cluster.url, { ...options, ...SOON, auth });
    socket.on('message', (...args) => {
      heard.push(args);
      offsets[args[0].room] = args[0].offset;
    });
    socket.on('gateway:session', (...args) => hellos.push(args));
    await settle(socket, options);
    offsets[room] = (await ok(socket, 'join', { room })).offset;
    const speaker = client(cluster.nodes[0].url, MODES['websocket only']);
    await settle(speaker, MODES['websocket only']);
    await ok(speaker, 'join', { room });
    const published = [];
    const say = async (count) => {
      for (let turn = 0; turn < count; turn += 1) {
        published.push((await ok(speaker, 'publish', { room, data: published.length })).offset);
      }
    };

    await say(5);
    await eventually('all are heard', () => heard.length === 5);
    socket.io.engine.close();
    await say(20);
    await eventually('it is back', () => socket.connected && hellos.length === 2);
    await say(5);
    await eventually('all are heard', () => heard.length >= 30);
    await ok(socket, 'leave', { room });

    assert.deepEqual(heard.map((args) => args.length), Array(30).fill(1), 'one argument each');
    assert.deepEqual(heard.map(([{ data }]) => data), published.map((_, index) => index));
    assert.deepEqual(heard.map(([{ offset }]) => offset), published);
    const fresh = [{ recovered: false }];
    assert.deepEqual(hellos, [fresh, [{ recovered: true, rooms: [room] }]]);
    assert.ok(!socket.recovered, 'its client brought its rooms, not its session');
  });
}
