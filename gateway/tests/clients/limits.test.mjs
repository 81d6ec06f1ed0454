// The limits that clients meet first, on one node with its defaults: events per session, handshakes per address.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { ask, client, connect, Inbox, ok, refusal } from './clients.mjs';
import { eventually, request, startNode } from './harness.mjs';

const websocket = { transports: ['websocket'] };

describe('events per session', { timeout: 60_000 }, () => {
  const PER_SECOND = 50;
  const BURST = 100;
  let cluster;
  before(async () => {
    cluster = await startNode();
  });
  after(() => cluster?.stop());

  test('a burst is allowed, the rest is refused with the time to wait, and nobody else pays', async () => {
    const [node] = cluster.nodes;
    const room = 'busy';
    const [loud, quiet] = await Promise.all([connect(node.url, websocket), connect(node.url, websocket)]);
    const inbox = new Inbox(quiet);
    await ok(loud, 'join', { room });
    await ok(quiet, 'join', { room });

    const began = performance.now();
    const turns = Array.from({ length: 300 }, (_, turn) => turn);
    const acks = await Promise.all(turns.map((turn) => ask(loud, 'publish', { room, data: turn })));
    const seconds = (performance.now() - began) / 1000;

    const allowed = acks.filter((ack) => ack.ok);
    const errors = acks.filter((ack) => !ack.ok).map((ack) => refusal(ack, 'publish'));
    assert.ok(allowed.length >= BURST - 1, `only ${allowed.length} of a burst of ${BURST} were allowed`);
    const most = BURST + Math.ceil(PER_SECOND * seconds);
    assert.ok(allowed.length <= most, `${allowed.length} were allowed, more than ${most}`);
    for (const { code, retryAfterMs } of errors) {
      assert.equal(code, 'rate_limited');
      assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs > 0, `it said to wait ${retryAfterMs}`);
    }

    // The wait is what the server asked for: after it, the very next event is welcome.
    await delay(errors.at(-1).retryAfterMs);
    await ok(loud, 'publish', { room, data: 'patient' });
    await ok(quiet, 'publish', { room, data: 'not affected' });
    await eventually('the last event is heard', () => inbox.data(room).includes('not affected'));
    assert.equal(inbox.heard.length, allowed.length + 2, 'what was refused was heard, or what was allowed was not');
    assert.deepEqual(inbox.disconnects, []);
    assert.equal(loud.connected, true);
    assert.equal(await cluster.metric(node, 'gateway_refusals_total', { code: 'rate_limited' }), errors.length);
  });
});

describe('handshakes per address', { timeout: 60_000 }, () => {
  let cluster;
  before(async () => {
    cluster = await startNode({ GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS: '1' });
  });
  after(() => cluster?.stop());

  const handshake = (url, address) =>
    request(`${url}/socket.io/?EIO=4&transport=polling`, { headers: { 'X-Forwarded-For': address } });

  /** Handshakes until one is refused: from then on the address has to wait. */
  const exhaust = (url, address) =>
    eventually(`${address} is refused`, async () => {
      const response = await handshake(url, address);
      if (response.status === 200) return false;
      return response;
    });

  test('too many are refused in a way that machines understand', async () => {
    const [node] = cluster.nodes;
    const { status, headers, body } = await exhaust(node.url, '203.0.113.1');
    assert.equal(status, 429);
    assert.match(headers['content-type'], /^application\/json/);
    assert.ok(Number.isInteger(Number(headers['retry-after'])), `Retry-After was ${headers['retry-after']}`);
    assert.ok(Number(headers['retry-after']) >= 1);
    const error = refusal(JSON.parse(body), 'the handshake');
    assert.equal(error.code, 'rate_limited');
    assert.ok(error.retryAfterMs > 0);
    assert.ok((await cluster.metric(node, 'gateway_handshakes_total', { result: 'rate_limited' })) >= 1);
  });

  test('another address is not affected', async () => {
    const [node] = cluster.nodes;
    await exhaust(node.url, '203.0.113.2');
    assert.equal((await handshake(node.url, '203.0.113.3')).status, 200);
  });

  test('a client cannot pass for another address', async () => {
    await exhaust(cluster.url, '203.0.113.4');
    assert.equal((await handshake(cluster.url, '203.0.113.5')).status, 429);
  });

  for (const transport of ['websocket', 'polling']) {
    test(`the official client waits and gets in, by ${transport}`, async () => {
      const [node] = cluster.nodes;
      const address = `198.51.100.${transport.length}`;
      const extraHeaders = { 'X-Forwarded-For': address };
      const socket = client(node.url, { transports: [transport], extraHeaders });
      let errors = 0;
      socket.on('connect_error', () => {
        errors += 1;
        assert.equal(socket.active, true, 'the client gave up');
      });
      await exhaust(node.url, address);
      socket.connect();
      await eventually('it is connected', () => socket.connected, 20_000);
      assert.ok(errors >= 1, 'it was not refused at first');
      await ok(socket, 'join', { room: 'patience' });
    });
  }
});
