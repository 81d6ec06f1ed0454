// No sticky sessions: official clients behind a balancer that sends each request to the next node, whoever has the connection.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { assertIncreasing, closeClients, connect, faithfulMember, MODES, ok } from './clients.mjs';
import { eventually, startCluster } from './harness.mjs';
import { RoundRobin } from './round_robin.mjs';

const CLIENTS = 30;
/** Between two events. */
const PACE_MS = 10;
const DRAIN_SECONDS = 20;

let cluster;
let proxy;
before(async () => {
  cluster = await startCluster({
    GATEWAY_LIMITS__EVENTS_PER_SECOND: '0',
    GATEWAY_DRAIN__ANNOUNCE: '1s',
    GATEWAY_DRAIN__CONNECTIONS_PER_SECOND: '50',
    GATEWAY_DRAIN__TIMEOUT: `${DRAIN_SECONDS}s`,
  });
  proxy = await RoundRobin.start(cluster.nodes);
});
afterEach(closeClients);
after(async () => {
  await proxy?.stop();
  await cluster?.stop();
});

/** Members over all transports, and somebody who talks until it is told to stop; what was said is kept whatever happens meanwhile. */
async function conversation(t, room) {
  const modes = Object.values(MODES);
  const members = [];
  for (let index = 0; index < CLIENTS; index++) {
    members.push(await faithfulMember(proxy.url, modes[index % modes.length], room));
  }
  const speaker = await connect(proxy.url, { ...MODES['websocket only'], retries: 100, ackTimeout: 2_000 });
  speaker.emit('join', { room });
  const said = [];
  let over = false;
  t.after(() => (over = true));
  const say = async () => {
    const ack = await speaker.emitWithAck('publish', { room, data: said.length, id: `word ${said.length}` });
    assert.equal(ack.ok, true, JSON.stringify(ack));
    said.push(ack.offset);
  };
  const talk = (async () => {
    while (!over) {
      await say();
      await delay(PACE_MS);
    }
  })();
  talk.catch(() => {});
  /** Everybody has heard everything, once and in order. */
  const end = async () => {
    await eventually('everybody is connected', () => members.every(({ socket }) => socket.connected), 30_000);
    await Promise.all(members.map(({ joined }) => joined));
    over = true;
    await talk;
    await say();
    const heardLast = ({ inbox }) => inbox.offsets().at(-1) === said.at(-1);
    await eventually('everybody heard the last word', () => members.every(heardLast), 30_000);
    members.forEach(({ inbox }, index) => {
      assertIncreasing(inbox.offsets(), `client ${index}`);
      assert.deepEqual(inbox.offsets(), said, `client ${index} did not hear what was said`);
      for (const reason of inbox.disconnects) {
        assert.ok(['transport close', 'transport error', 'ping timeout'].includes(reason), reason);
      }
    });
    for (const { socket } of members) await ok(socket, 'publish', { room, data: 'still here' });
    return said.length;
  };
  const talks = (more) => {
    const { length } = said;
    return eventually('somebody talks', () => said.length >= length + more, 30_000);
  };
  return { members, talks, end };
}

test('nobody loses a connection or an event behind round robin', { timeout: 120_000 }, async (t) => {
  const { members, talks, end } = await conversation(t, 'all well');
  await talks(200);
  const said = await end();
  assert.deepEqual(members.flatMap(({ inbox }) => inbox.disconnects), [], 'somebody had to connect again');
  const answered = await Promise.all(
    cluster.nodes.map((node) => cluster.metric(node, 'gateway_passed_on_total', { result: 'answered' })),
  );
  assert.ok(answered.every((count) => count > CLIENTS), `each node passes on: ${answered}`);
  t.diagnostic(`${said} events to ${CLIENTS} clients; passed on: ${answered.join(', ')}`);
});

test('a node is killed, and nobody loses an event', { timeout: 120_000 }, async (t) => {
  const { talks, end } = await conversation(t, 'killed');
  await talks(50);
  const [victim] = cluster.nodes;
  cluster.signal(victim, 'SIGKILL');
  await cluster.ended(victim.name);
  await talks(50);
  await end();
  await cluster.startAgain(victim.name);
});

test('all nodes are replaced one after the other, and nobody loses an event', { timeout: 240_000 }, async (t) => {
  const { talks, end } = await conversation(t, 'rolling');
  for (const node of cluster.nodes) {
    await talks(50);
    cluster.signal(node, 'SIGTERM');
    assert.equal(await cluster.ended(node.name, (DRAIN_SECONDS + 10) * 1000), 0);
    await cluster.startAgain(node.name);
    await eventually('it is ready', async () => (await cluster.readiness(node)) === 200, 20_000);
  }
  await end();
});
