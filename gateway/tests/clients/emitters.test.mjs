// Back ends that emit through Redis: do the libraries that teams have reach the clients of all nodes, unchanged?

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { assertIncreasing, closeClients, connect, MODES, ok } from './clients.mjs';
import { emitter, missing, streamsServer } from './emitters.mjs';
import { eventually, startCluster } from './harness.mjs';

const DATA = { text: 'Grüße 🌍', list: [1, null, true], image: Buffer.from([0, 255, 30]) };
const COUNT = 300;
const SETTINGS = {
  GATEWAY_EMITTERS__REDIS: 'true',
  GATEWAY_EMITTERS__PYTHON: 'true',
  GATEWAY_EMITTERS__STREAMS: 'true',
  GATEWAY_EMITTERS__LEASE: '1s',
};

/** What a client hears of back ends: `[event, ...args]`. */
function listen(socket) {
  const heard = [];
  socket.onAny((event, ...args) => {
    if (!event.startsWith('gateway:')) heard.push([event, ...args]);
  });
  return heard;
}

/** A member on each node, and one for each transport through the balancer: `{socket, heard}`. */
async function members(cluster, room) {
  const places = cluster.nodes.map(({ url }) => [url, MODES['websocket only']]);
  const all = [...places, ...Object.values(MODES).map((mode) => [cluster.url, mode])];
  return Promise.all(all.map(async ([url, mode]) => {
    const socket = await connect(url, mode);
    const heard = listen(socket);
    await ok(socket, 'join', { room });
    return { socket, heard };
  }));
}

const redisOf = (cluster) => `redis://127.0.0.1:${cluster.redisPort}`;

describe('heard as it is said', { timeout: 120_000 }, () => {
  let cluster;
  before(async () => {
    cluster = await startCluster(SETTINGS);
  });
  after(() => cluster?.stop());

  for (const language of ['Node', 'Python', 'Go']) {
    test(`${language}: rooms, sockets, bytes, in order, once each`, { skip: missing(language) }, async () => {
      const room = `the room of ${language}`;
      const all = await members(cluster, room);
      const backEnd = await emitter(language, redisOf(cluster));
      await backEnd.do({ emit: 'first', args: [DATA, 7], to: room });
      for (const { heard } of all) await eventually('the first is heard', () => heard.length === 1);
      for (const { heard } of all) assert.deepEqual(heard.splice(0), [['first', DATA, 7]]);

      for (let number = 0; number < COUNT; number++) await backEnd.do({ emit: 'n', args: [number], to: room });
      for (const { heard } of all) {
        await eventually('all is heard', () => heard.length >= COUNT);
        assert.deepEqual(heard.splice(0), Array.from({ length: COUNT }, (_, number) => ['n', number]));
      }

      const [one, other] = all;
      await backEnd.do({ emit: 'to one', args: [1], to: one.socket.id });
      await eventually('the one hears it', () => one.heard.length === 1);
      await backEnd.do({ emit: 'to the others', args: [1], to: room, except: [one.socket.id] });
      await backEnd.do({ emit: 'to everybody', args: [1] });
      for (const { heard } of all) await eventually('it is heard', () => heard.at(-1)?.[0] === 'to everybody');
      const names = ({ heard }) => heard.splice(0).map(([name]) => name);
      assert.deepEqual(names(one), ['to one', 'to everybody']);
      for (const member of all.slice(1)) assert.deepEqual(names(member), ['to the others', 'to everybody']);

      await backEnd.do({ to: one.socket.id, join: `${room}, inside` });
      await backEnd.do({ emit: 'inside', args: [1], to: `${room}, inside` });
      await eventually('who was put there hears it', () => one.heard.length === 1);
      await backEnd.do({ to: one.socket.id, leave: `${room}, inside` });
      await backEnd.do({ emit: 'inside', args: [2], to: `${room}, inside` });
      // The manager for Python fails with write_only=True where it should say this.
      if (language !== 'Python') {
        await backEnd.do({ disconnect: other.socket.id });
        await eventually('it is disconnected', () => !other.socket.connected);
        assert.equal(other.socket.active, false, 'it does not come back by itself');
      }
      await backEnd.do({ emit: 'last', args: [1], to: room });
      await eventually('the last is heard', () => one.heard.at(-1)?.[0] === 'last');
      assert.deepEqual(names(one), ['inside', 'last']);
      await backEnd.end();
      closeClients();
    });
  }

  test('a stream: each entry once, in order, while the node that reads is killed', async () => {
    const room = 'the room of the stream';
    const server = await streamsServer(redisOf(cluster));
    const reads = async () => {
      const reading = await Promise.all(cluster.nodes.map((node) => cluster.metric(node, 'gateway_emitters_taking', { of: 'stream' })));
      assert.equal(reading.filter((taking) => taking === 1).length, 1);
      return cluster.nodes[reading.indexOf(1)];
    };
    const dying = await eventually('one node reads', reads);
    const staying = cluster.nodes.filter((node) => node !== dying);
    const all = await Promise.all(staying.map(async ({ url }) => {
      const socket = await connect(url, MODES['websocket only']);
      const heard = listen(socket);
      await ok(socket, 'join', { room });
      return { socket, heard };
    }));
    const said = [];
    const say = async (...args) => {
      said.push(['said', ...args]);
      server.io.to([room, 'another room']).emit('said', ...args);
      if (said.length % 10 === 0) await server.flush();
    };
    await say(DATA);
    while (said.length < COUNT) await say(said.length);
    cluster.signal(dying, 'SIGKILL');
    while (said.length < COUNT * 3) await say(said.length);
    assert.equal(await cluster.ended(dying.name), 128 + 9);
    for (const { heard } of all) {
      await eventually('all is heard', () => heard.length >= said.length, 20_000);
      assert.deepEqual(heard.map((event) => event.slice(0, 2)), said);
      assertIncreasing(heard.map((event) => event[2]), 'a member');
    }
    const pending = async () => (await cluster.redis('EVAL', "return redis.call('XPENDING', 'socket.io', 'gateway')[1]", '0')) === '0';
    await eventually('all is acknowledged', pending);
    await cluster.startAgain(dying.name);
    await server.end();
    closeClients();
  });
});

test('kept: in order, with offsets, and recovered by official clients', { timeout: 90_000 }, async (t) => {
  const cluster = await startCluster({ ...SETTINGS, GATEWAY_EMITTERS__DURABLE: 'true' });
  t.after(() => cluster.stop());
  const room = 'the room';
  const taking = async () => {
    const series = cluster.nodes.map((node) => cluster.metric(node, 'gateway_emitters_taking', { of: 'channels' }));
    return (await Promise.all(series)).reduce((sum, value) => sum + value) === 1;
  };
  await eventually('one node takes', taking);
  const all = await members(cluster, room);
  const [away] = all;
  const backEnd = await emitter('Node', redisOf(cluster));
  const said = [];
  const say = async () => {
    await backEnd.do({ emit: 'n', args: [said.length], to: room });
    said.push(said.length);
  };
  for (let turn = 0; turn < 50; turn++) await say();
  await eventually('it has heard something', () => away.heard.length === said.length);
  const disconnected = new Promise((resolve) => away.socket.once('disconnect', resolve));
  away.socket.io.engine.close();
  await disconnected;
  for (let turn = 0; turn < 50; turn++) await say();
  await eventually('it is back by itself', () => away.socket.connected && away.socket.recovered, 20_000);
  await say();
  for (const { heard } of all) {
    await eventually('all is heard', () => heard.length >= said.length);
    assert.deepEqual(heard.map(([, number]) => number), said);
    assertIncreasing(heard.map(([, , offset]) => offset), 'a member');
  }
  await backEnd.end();
});
